"""PyTorch peer of bench/bench_conv2d.cpp: the Patch SVDD encoder (K = 32) on the CPU, in both memory layouts.

Prints, for each layout, the median seconds of one training step (forward and backward of the eight convolutions over
`--patches` patches of 32 x 32 x 3; the input needs no gradient) and of the dense encoding of one 256 x 256 image.
With `--bench path/to/bench_conv2d` each round runs that too, on as many threads, in both of its modes, and the ratios of
the medians to the faster layout's are printed. Wall seconds, or with `--cpu-time` process CPU seconds.
"""

import argparse
import re
import statistics
import subprocess
import time

import torch
from torch import nn

# (in, out, stride) of the 3 x 3 convolutions, unpadded; LeakyReLU(0.1) after each, tanh after the last.
LAYERS = [(3, 32, 2), (32, 64, 1), (64, 128, 1), (128, 128, 1), (128, 64, 1), (64, 32, 1), (32, 32, 1), (32, 64, 1)]


def encoder():
    modules = []
    for index, (channels, out, stride) in enumerate(LAYERS):
        last = index == len(LAYERS) - 1
        modules += [nn.Conv2d(channels, out, 3, stride), nn.Tanh() if last else nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*modules)


def timed(clock, body):
    start = clock()
    body()
    return clock() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--patches", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bench", help="bench_conv2d, to alternate with")
    parser.add_argument("--cpu-time", action="store_true", help="process CPU seconds, for a busy machine")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)

    bodies = {}
    for name, layout in (("nchw", torch.contiguous_format), ("channels_last", torch.channels_last)):
        net = encoder().to(memory_format=layout)
        patches = torch.randn(options.patches, 3, 32, 32).contiguous(memory_format=layout)
        image = torch.randn(1, 3, 256, 256).contiguous(memory_format=layout)
        gradient = torch.randn(options.patches, 64, 1, 1)

        def step(net=net, patches=patches, gradient=gradient):
            net.zero_grad(set_to_none=False)
            net(patches).backward(gradient)

        def dense(net=net, image=image):
            with torch.inference_mode():
                net(image)

        bodies[f"step/{name}"] = step
        bodies[f"dense/{name}"] = dense

    def ours(what, math):
        command = [options.bench, f"--threads={options.threads}", f"--patches={options.patches}", "--seconds", what, math,
                   "1" if what == "step" else "5"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        wall, cpu = re.search(r"median.*: ([0-9.]+) s wall, ([0-9.]+) s CPU", text).groups()
        return float(cpu if options.cpu_time else wall)

    for body in bodies.values():
        body()
    seconds = {name: [] for name in bodies}
    for _ in range(options.rounds):
        for name, body in bodies.items():
            seconds[name].append(timed(clock, body))
        for what in ("step", "dense") if options.bench else ():
            for math in ("fp32", "winograd"):
                seconds.setdefault(f"{what}/cuttle {math}", []).append(ours(what, math))
    for name, values in seconds.items():
        print(f"{name:24s} {statistics.median(values):8.4f} s  (min {min(values):.4f}, {options.threads} threads, "
              f"{options.patches} patches, torch {torch.__version__})")
    for what in ("step", "dense") if options.bench else ():
        median = {name: statistics.median(values) for name, values in seconds.items() if name.startswith(what)}
        peer = min(median[f"{what}/nchw"], median[f"{what}/channels_last"])
        for math in ("fp32", "winograd"):
            print(f"{what}: torch's faster layout / cuttle {math} = {peer / median[f'{what}/cuttle {math}']:.2f}")


if __name__ == "__main__":
    main()
