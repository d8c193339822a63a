"""PyTorch peer of bench/bench_squid.cpp: SQUID in training, as its authors configure it for chest radiographs.

16 images of 128 x 128, 32 channels at the first level; a step is one update of the generator and two of the
discriminator. The networks are those of the method, with what changes no result left out here as well: the teacher and
the record for the gradients in the generator's pass of the discriminator's update. Augmentation and the choice of
batches are not part of the time here, though they are part of ours.

    squid_step.py [--threads N] [--rounds N] [--cpu-time] [--only step] [--bench path/to/bench_squid]
    squid_step.py --device cuda [--json FILE]

On the CPU each memory layout is timed, the slower one in the first round only, and, with --bench, each round runs that
too, on as many threads, in both of its modes; the ratios are those of the least times. Wall seconds, or with --cpu-time
process CPU seconds. On CUDA it is float32 without TF32, eager and compiled.
"""

import argparse
import json
import re
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F
from torch import nn

BATCH, SIDE, GRID, LEVELS, ROOT, COMBINE = 16, 128, 2, 4, 32, 2
PATCHES, SLOTS, KEPT, HEADS, SHARE = GRID * GRID, 200, 5, 8, 0.95
CHANNELS = [ROOT * 2**i for i in range(LEVELS + 1)]
CONCAT = (True, True, False, False)  # by up-sampling block
MEMORY_AT = (2, 3)  # levels from the top behind which the student has a memory, four matrices each
STEP_CALLS = {"step": "dgd", "discriminator": "d", "generator": "g"}


def cut(x, n):
    """(B,C,nh,nw) -> (B*n*n,C,h,w), image by image and row by row."""
    B, C, H, W = x.shape
    return x.reshape(B, C, n, H // n, n, W // n).permute(0, 2, 4, 1, 3, 5).reshape(B * n * n, C, H // n, W // n)


def join(x, n):
    N, C, h, w = x.shape
    return x.reshape(N // (n * n), n, n, C, h, w).permute(0, 3, 1, 4, 2, 5).reshape(N // (n * n), C, n * h, n * w)


def lookup(queries, memory):
    """queries (S,B,E), memory (S,M,E): softmax, what is above the k-th largest, L1; the gradient is the softmax's."""
    y = torch.softmax(torch.bmm(queries, memory.transpose(1, 2)), -1)
    above = y.detach() - torch.topk(y.detach(), KEPT, -1).values[..., -1:]
    h = F.normalize(F.relu(above) * y.detach() / (above.abs() + 1e-12), p=1, dim=-1)
    return torch.bmm((h - y).detach() + y, memory)


def kept_by(mask, there, before):
    return mask * there + (1 - mask) * before


class Residual(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(channels, out, 3, stride, 1), nn.Conv2d(out, out, 3, 1, 1),
                                    nn.Conv2d(out, out, 3, 1, 1)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(out) for _ in range(3)])

    def forward(self, x):
        a = F.relu(self.norms[0](self.convs[0](x)))
        b = F.relu(self.norms[1](self.convs[1](a)))
        return F.relu(self.norms[2](self.convs[2](b)) + a)


class Inpainting(nn.Module):
    def __init__(self):
        super().__init__()
        C, side = CHANNELS[LEVELS], SIDE // GRID // 2**LEVELS
        self.C, self.E = C, C // 4 * side * side
        self.code_bits = PATCHES.bit_length()
        self.reduce, self.reduce_norm = nn.Conv2d(C, C // 4, 1, bias=False), nn.BatchNorm2d(C // 4)
        self.register_buffer("queues", (2 * torch.rand(PATCHES, SLOTS, self.E) - 1) / self.E**0.5)
        self.attention = nn.MultiheadAttention(self.E, HEADS)
        self.norm1, self.norm2 = nn.LayerNorm(self.E), nn.LayerNorm(self.E)
        self.ff1, self.ff2 = nn.Linear(self.E, self.E // 4), nn.Linear(self.E // 4, self.E)
        self.expand, self.expand_norm = nn.Conv2d(C // 4 + self.code_bits, C, 1), nn.BatchNorm2d(C)
        bits = [[patch >> (self.code_bits - 1 - bit) & 1 for bit in range(self.code_bits)] for patch in range(PATCHES)]
        self.register_buffer("code", torch.tensor(bits, dtype=torch.float32))

    def forward(self, x, mask):
        N, C, h, w = x.shape
        f = F.relu(self.reduce_norm(self.reduce(x))).reshape(N // PATCHES, PATCHES, self.E)
        m = lookup(f.transpose(0, 1), self.queues).transpose(0, 1)
        # The eight neighbours of each patch, tokens of zeros beyond the border: (8,N,E).
        grid = F.pad(m.reshape(-1, GRID, GRID, self.E), (0, 0, 1, 1, 1, 1))
        tokens = torch.stack([grid[:, r:r + GRID, c:c + GRID].reshape(N, self.E)
                              for r in range(3) for c in range(3) if (r, c) != (1, 1)])
        attended = self.attention(f.reshape(1, N, self.E), tokens, tokens, need_weights=False)[0][0]
        z = F.relu(self.norm1(attended) + m.reshape(N, self.E))
        z = F.relu(self.norm2(self.ff2(F.relu(self.ff1(z)))) + z)
        code = self.code.repeat(N // PATCHES, 1)[:, :, None, None].expand(-1, -1, h, w)
        out = F.relu(self.expand_norm(self.expand(torch.cat([z.reshape(N, C // 4, h, w), code], 1))))
        return kept_by(mask, out, x), f.detach()


class Memory(nn.Module):
    """Every map cut into 2 x 2 windows, one matrix for each window; flattened with the channels last."""

    def __init__(self, level):
        super().__init__()
        dim = CHANNELS[level] * (SIDE // GRID // 2**level // 2)**2
        self.matrices = nn.Parameter((2 * torch.rand(4, SLOTS, dim) - 1) / dim**0.5)

    def forward(self, x, mask):
        N, C, h, w = x.shape
        windows = cut(x, 2).permute(0, 2, 3, 1).reshape(N, 4, -1).transpose(0, 1)
        read = lookup(windows, self.matrices).transpose(0, 1).reshape(4 * N, h // 2, w // 2, C).permute(0, 3, 1, 2)
        return kept_by(mask, join(read, 2), x)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()

        def up():
            blocks = []
            for i in range(LEVELS):
                below, out = CHANNELS[LEVELS - i], CHANNELS[LEVELS - 1 - i]
                blocks.append(Residual(below + out if CONCAT[i] else below, out, 1))
            return nn.ModuleList(blocks)

        self.first = Residual(1, ROOT, 1)
        self.down = nn.ModuleList([Residual(CHANNELS[i], CHANNELS[i + 1], 2) for i in range(LEVELS)])
        self.inpainting = Inpainting()
        self.up, self.teacher_up = up(), up()
        self.out, self.teacher_out = nn.Conv2d(ROOT, 1, 1), nn.Conv2d(ROOT, 1, 1)
        self.memories = nn.ModuleDict({str(level): Memory(level) for level in MEMORY_AT})

    def forward(self, images, masks, teacher):
        """masks[0] is the in-painting's, masks[i] those of level i. Returns student, teacher, distance, for the queues."""
        x = self.first(cut(images, GRID))
        skips = []
        for i, block in enumerate(self.down):
            skips.append(join(x, GRID) if i < COMBINE else x)
            x = block(x)
        t = x.detach()
        x, remembered = self.inpainting(x, masks[0])
        distance = 0.0
        for i in range(LEVELS):
            level = LEVELS - 1 - i
            if COMBINE == LEVELS - i:
                x = join(x, GRID)
                t = join(t, GRID) if teacher else t
            skip = skips[level]

            def raised(below, features):
                u = F.interpolate(below, skip.shape[2:], mode="bilinear", align_corners=False)
                return torch.cat([features, u], 1) if CONCAT[i] else u

            x = self.up[i](raised(x, skip))
            if level in MEMORY_AT:
                x = self.memories[str(level)](x, masks[level])
            if teacher:
                t = self.teacher_up[i](raised(t, skip.detach()))
                distance = distance + F.mse_loss(x, t)
        student = torch.sigmoid(self.out(x))
        return student, torch.sigmoid(self.teacher_out(t)) if teacher else None, distance, remembered


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        channels = (1, 16, 32, 64, 128, 128)
        layers = []
        for i in range(5):
            layers.append(nn.Conv2d(channels[i], channels[i + 1], 5, 2, 2))
            if i > 0:
                layers.append(nn.BatchNorm2d(channels[i + 1]))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.convs = nn.Sequential(*layers)
        self.regressor = nn.Linear(channels[5] * (SIDE // 32)**2, 1)

    def forward(self, x):
        return self.regressor(self.convs(x).flatten(1))


def bce(logits, label):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


class Training:
    def __init__(self, device="cpu", layout=torch.contiguous_format, compiled=False):
        self.device = device
        self.g, self.d = Generator(), Discriminator()
        for network, parameters in ((self.g, 44469506), (self.d, 681921)):
            count = sum(p.numel() for p in network.parameters())
            assert count == parameters, f"{type(network).__name__} has {count} parameters, not {parameters}"
            network.to(device, memory_format=layout)
        fused = {"fused": True} if device == "cuda" else {}
        self.g_adam = torch.optim.Adam(self.g.parameters(), 1e-4, (0.5, 0.999), 1e-7, 1e-5, **fused)
        self.d_adam = torch.optim.Adam(self.d.parameters(), 1e-4, (0.5, 0.999), 1e-8, **fused)
        self.images = torch.rand(BATCH, 1, SIDE, SIDE, device=device).contiguous(memory_format=layout)
        self.pointer = 0
        wrap = torch.compile if compiled else lambda network: network
        self.run_g, self.run_d = wrap(self.g), wrap(self.d)

    def masks(self):
        def mask(level):
            side = SIDE // GRID // 2**level
            return torch.bernoulli(torch.full((BATCH * PATCHES, 1, side, side), SHARE, device=self.device))

        return {0: mask(LEVELS), **{level: mask(level) for level in MEMORY_AT}}

    def discriminator(self):
        with torch.no_grad():
            fake = self.run_g(self.images, self.masks(), False)[0]
        self.d_adam.zero_grad(set_to_none=True)
        loss = 0.005 * (bce(self.run_d(self.images), 1.0) + bce(self.run_d(fake), 0.0))
        loss.backward()
        self.d_adam.step()
        return loss

    def generator(self):
        self.g_adam.zero_grad(set_to_none=True)
        student, teacher, distance, remembered = self.run_g(self.images, self.masks(), True)
        loss = (10 * F.mse_loss(student, self.images) + 0.005 * bce(self.run_d(student), 1.0)
                + 0.01 * F.mse_loss(teacher, self.images) + 0.001 * distance)
        loss.backward()
        self.g_adam.step()
        rows = (self.pointer + torch.arange(BATCH, device=self.device)) % SLOTS
        self.g.inpainting.queues[:, rows] = remembered.transpose(0, 1)
        self.pointer = (self.pointer + BATCH) % SLOTS
        return loss

    def run(self, what):
        """What is named, ending with its losses on the host, as a loop that reports them does."""
        losses = [self.discriminator() if call == "d" else self.generator() for call in STEP_CALLS[what]]
        for loss in losses:
            assert torch.isfinite(loss), f"{what}: the loss is {loss}"


def timed(clock, body):
    start = clock()
    body()
    return clock() - start


def on_cpu(options):
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    layouts = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
    peers = {name: Training(layout=layout) for name, layout in layouts.items()}

    def ours(what, math):
        command = [options.bench, f"--threads={options.threads}", what, math, "1"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        wall, cpu = re.search(r"least.*: ([0-9.]+) s wall, ([0-9.]+) s CPU", text).groups()
        return float(cpu if options.cpu_time else wall)

    for peer in peers.values():
        for what in ("discriminator", "generator"):
            peer.run(what)
    seconds, faster = {}, {}

    def note(what, name, taken):
        seconds.setdefault((what, name), []).append(taken)
        print(f"{what:14} {name:16} {taken:8.3f} s", flush=True)

    for turn in range(options.rounds):
        for what in options.only:
            if turn == 1:  # the slower layout costs more time than it is worth
                faster[what] = min(layouts, key=lambda name: seconds[what, name][0])
            for name, peer in peers.items():
                if name != faster.get(what, name):
                    continue
                note(what, name, timed(clock, lambda: peer.run(what)))
            for math in ("fp32", "winograd") if options.bench else ():
                note(what, f"cuttle {math}", ours(what, math))
    for (what, name), values in seconds.items():
        listed = " ".join(f"{value:.3f}" for value in values)
        print(f"{what:14} {name:16} {min(values):8.3f} s  ({listed}; {options.threads} threads, torch {torch.__version__})")
    for what in options.only if options.bench else ():
        peer = min(min(seconds[what, name]) for name in layouts)
        for math in ("fp32", "winograd"):
            print(f"{what}: torch's faster layout / cuttle {math} = {peer / min(seconds[what, f'cuttle {math}']):.2f}")


def on_cuda(options):
    """Written to the file after each, since a compilation may outlast the time there is; names are bench_kernels'."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    results = []
    ways = [("eager", torch.contiguous_format, False), ("eager, channels last", torch.channels_last, False)]
    if hasattr(torch, "compile"):
        ways.append(("compiled, channels last", torch.channels_last, True))
    for way, layout, compiled in ways:
        peer = Training("cuda", layout, compiled)
        for what in options.only:
            for _ in range(3):
                peer.run(what)
            torch.cuda.synchronize()
            seconds = statistics.median(timed(time.perf_counter, lambda: peer.run(what)) for _ in range(10))
            results.append({"name": f"squid/{what}/fp32", "peer": f"torch {way}", "seconds": seconds})
            print(f"squid/{what}/fp32 {1e3 * seconds:10.3f} ms   torch {way}", flush=True)
            if options.json:
                with open(options.json, "w") as file:
                    json.dump({"torch": torch.__version__, "device": "cuda", "results": results}, file, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(STEP_CALLS), default=list(STEP_CALLS))
    parser.add_argument("--bench", help="bench_squid, to alternate with")
    parser.add_argument("--cpu-time", action="store_true", help="process CPU seconds, for a busy machine")
    parser.add_argument("--json", help="on CUDA: the results")
    options = parser.parse_args()
    torch.manual_seed(1)
    on_cuda(options) if options.device == "cuda" else on_cpu(options)


if __name__ == "__main__":
    main()
