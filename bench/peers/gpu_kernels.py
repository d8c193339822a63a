"""PyTorch peers of bench_kernels on one device: what a careful user of PyTorch would write for each kernel.

    gpu_kernels.py [--device cuda] [--json FILE] [--filter TEXT] [--seconds 50]

Times are medians by the device's events, with 256 MB overwritten between runs, as bench_kernels does it; sizes and names
are its own, so that table.py can put both side by side. float32 without TF32 throughout, except where the name says tf32. What is
composed by hand here, the memory's lookup and its shrinkage, is first compared with itself in float64.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

D, QUERIES = 64, 3249


class Timer:
    def __init__(self, device):
        self.device = device
        self.scratch = torch.empty(64 << 20, device=device)

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def once(self, run):
        self.scratch.fill_(1)
        if self.device != "cuda":
            start = time.perf_counter()
            run()
            return time.perf_counter() - start
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        return 1e-3 * begin.elapsed_time(end)

    def median(self, run):
        start = time.perf_counter()
        for _ in range(3):
            self.once(run)
        self.wait()
        runs = int(min(50, max(3, 1.5 / (time.perf_counter() - start))))
        return statistics.median(self.once(run) for _ in range(runs))


def shrinkage(scores, k=5):
    """Softmax, cut at the k-th largest, L1: the composition of SQUID's code, over the last axis."""
    y = F.softmax(scores, -1)
    threshold = torch.topk(y, k, -1).values[..., -1:]
    h = F.relu(y - threshold) * y / (torch.abs(y - threshold) + 1e-12)
    return F.normalize(h, p=1, dim=-1)


def straight_through(scores):
    y = F.softmax(scores, -1)
    return shrinkage(scores).detach() - y.detach() + y


def gumbel_shrinkage(device):
    for rows in (64, 65536, 1048576):
        scores = 3 * torch.randn(rows, 200, device=device)
        some = shrinkage(scores)[:8].double()
        assert torch.allclose(some, shrinkage(scores[:8].double()), atol=1e-5)
        yield f"gumbel_shrinkage/forward/R={rows}/M=200", "torch softmax, topk, relu, L1", lambda: shrinkage(scores)
        leaf, gradient = scores.clone().requires_grad_(), torch.randn_like(scores)
        weights = straight_through(leaf)
        yield (f"gumbel_shrinkage/backward/R={rows}/M=200", "torch autograd",
               lambda: torch.autograd.grad(weights, leaf, gradient, retain_graph=True))


def lookup(queries, memory):
    """queries (S,B,E), memory (S,M,E): all segments in one batched product."""
    return torch.bmm(shrinkage(torch.bmm(queries, memory.transpose(1, 2))), memory)


def lookup_by_segment(queries, memory):
    """One segment after the other, as the published code does it."""
    return torch.stack([F.linear(shrinkage(F.linear(q, m)), m.t()) for q, m in zip(queries, memory)])


def memory_lookup(device):
    for S, M, E, B in ((4, 200, 2048, 16), (9, 200, 1024, 16), (4, 200, 8192, 16), (4, 200, 4096, 16), (4, 200, 2048, 256)):
        name = f"S={S}/M={M}/E={E}/B={B}"
        queries = torch.randn(S, B, E, device=device) / E**0.25
        memory = torch.randn(S, M, E, device=device) / E**0.25
        exact = lookup(queries[:, :2].double(), memory.double())
        assert torch.allclose(lookup(queries, memory)[:, :2].double(), exact, atol=1e-4)
        yield f"memory_lookup/forward/{name}", "torch bmm, softmax, topk, bmm", lambda: lookup(queries, memory)
        yield f"memory_lookup/forward/{name}", "torch, segment by segment", lambda: lookup_by_segment(queries, memory)
        q, m = queries.clone().requires_grad_(), memory.clone().requires_grad_()
        read = torch.bmm(straight_through(torch.bmm(q, m.transpose(1, 2))), m)
        gradient = torch.randn_like(read)
        yield (f"memory_lookup/backward/{name}", "torch autograd",
               lambda: torch.autograd.grad(read, (q, m), gradient, retain_graph=True))


def random_patch_pairs(device):
    """Random crops, noise and colour shift of one step: gather by index, randn, add, for each of the four tasks."""
    images = torch.randint(0, 256, (391, 256, 256, 3), dtype=torch.uint8, device=device)
    mean = torch.full((256, 256, 3), 127.5, device=device)

    def crops(size, noise):
        n = torch.randint(0, 391, (64, 1, 1), device=device)
        offset = torch.arange(size, device=device)
        y = torch.randint(0, 257 - size, (64, 1, 1), device=device) + offset[None, :, None]
        x = torch.randint(0, 257 - size, (64, 1, 1), device=device) + offset[None, None, :]
        patch = (images[n, y, x].float() - mean[y, x]) / 255
        if noise:
            patch += 0.02 * torch.randn_like(patch) + 0.02 * torch.randn(64, 1, 1, 3, device=device)
        return patch

    def step():
        return [crops(size, noise) for size in (64, 32) for noise in (True, False) for _ in range(2)]

    yield "random_patch_pairs/step/B=64", "torch gather, randn", step


def distribute_scores(device):
    for B in (1, 1024):
        for patch, stride in ((32, 4), (64, 16)):
            grid = (256 - patch) // stride + 1
            scores = torch.randn(B, grid, grid, device=device)
            chunk = max(1, min(B, (1 << 30) // (4 * patch * patch * grid * grid)))  # columns of at most a gigabyte

            def fold(x):
                columns = x.reshape(len(x), 1, -1).expand(-1, patch * patch, -1)
                return F.fold(columns, 256, patch, stride=stride)[:, 0]

            count = fold(torch.ones(1, grid, grid, device=device))
            yield (f"distribute_scores/patch_size={patch}/stride={stride}/B={B}", "torch F.fold",
                   lambda: [fold(part) / count for part in scores.split(chunk)])
        maps = torch.randn(B, 256 * 256, device=device)
        yield f"max_over_pixels/B={B}", "torch amax", lambda: maps.amax(1)


def nearest(queries, rows, k):
    """anomalib's PatchCore: distances of chunks of queries by the expanded form, a matrix at a time, then the least."""
    norms = (rows**2).sum(1)
    found = []
    for chunk in queries.split(1024):
        d = torch.matmul(chunk, rows.T)
        d.mul_(-2).add_((chunk**2).sum(1, keepdim=True)).add_(norms).clamp_(min=0).sqrt_()
        found.append(d.min(1) if k == 1 else d.topk(k, largest=False))
    return found


def nearest_patch(device):
    for N in (100000, 1000000, 10000000):
        if device != "cuda" and N > 100000:
            continue
        rows = torch.tanh(torch.randn(N, D, device=device))
        queries = torch.tanh(torch.randn(QUERIES, D, device=device))
        for k in (1, 9) if N < 10000000 else (1,):
            yield (f"nearest_patch/spread/N={N}/k={k}", "torch, chunks of 1024 queries, as anomalib",
                   lambda: nearest(queries, rows, k))
            if N == 1000000:  # what is in the bank makes no difference to it
                for kind in ("rich", "clustered", "collapsed"):
                    if k == 1:
                        yield (f"nearest_patch/{kind}/N={N}/k=1", "torch, chunks of 1024 queries, as anomalib",
                               lambda: nearest(queries, rows, 1))


def elementwise(device):
    a, b = torch.randn(16777216, device=device), torch.randn(16777216, device=device)
    yield "add/n=16777216", "torch add", lambda: a + b
    for n in (453712, 44500000):
        p = torch.randn(n, device=device, requires_grad=True)
        p.grad = torch.randn(n, device=device)
        fused = {"fused": True} if device == "cuda" else {}
        optimizer = torch.optim.Adam([p], lr=1e-4, **fused)
        yield f"adam/n={n}", "torch Adam, fused, one tensor", optimizer.step


def norms(device):
    x = torch.randn(16, 64, 64, 64, device=device).to(memory_format=torch.channels_last)
    norm = torch.nn.BatchNorm2d(64, track_running_stats=False).to(device)
    yield "batch_norm/forward/N=65536/C=64", "torch BatchNorm2d, channels last", lambda: norm(x)
    leaf = x.detach().requires_grad_()
    y, gradient = norm(leaf), torch.randn_like(x)
    wanted = (leaf, norm.weight, norm.bias)
    yield ("batch_norm/backward/N=65536/C=64", "torch autograd",
           lambda: torch.autograd.grad(y, wanted, gradient, retain_graph=True))
    tokens = torch.randn(4096, 512, device=device)
    layer = torch.nn.LayerNorm(512).to(device)
    yield "layer_norm/forward/N=4096/D=512", "torch LayerNorm", lambda: layer(tokens)
    leaf2 = tokens.clone().requires_grad_()
    z, gradient2 = layer(leaf2), torch.randn_like(tokens)
    wanted2 = (leaf2, layer.weight, layer.bias)
    yield ("layer_norm/backward/N=4096/D=512", "torch autograd",
           lambda: torch.autograd.grad(z, wanted2, gradient2, retain_graph=True))


def conv2d(device):
    channels, sizes = (3, 32, 64, 128, 128, 64, 32, 32, 64), (32, 15, 13, 11, 9, 7, 5, 3)
    for mode in ("fp32", "tf32") if device == "cuda" else ("fp32",):
        for i in range(8):
            x = torch.randn(1280, channels[i], sizes[i], sizes[i], device=device).to(memory_format=torch.channels_last)
            conv = torch.nn.Conv2d(channels[i], channels[i + 1], 3, stride=2 if i == 0 else 1).to(device)
            conv = conv.to(memory_format=torch.channels_last)
            act = torch.tanh if i == 7 else (lambda y: F.leaky_relu(y, 0.1))

            def forward(x, mode=mode):
                torch.backends.cudnn.allow_tf32 = mode == "tf32"
                return act(conv(x))

            yield f"conv2d/{mode}/forward/layer={i + 1}", "torch Conv2d, channels last", lambda: forward(x)
            leaf = x.detach().requires_grad_()
            y = forward(leaf)
            gradient = torch.randn_like(y)
            wanted = (leaf, conv.weight, conv.bias)

            def backward(mode=mode):
                torch.backends.cudnn.allow_tf32 = mode == "tf32"
                return torch.autograd.grad(y, wanted, gradient, retain_graph=True)

            yield f"conv2d/{mode}/backward/layer={i + 1}", "torch autograd", backward


FAMILIES = (nearest_patch, memory_lookup, gumbel_shrinkage, random_patch_pairs, distribute_scores, elementwise, norms, conv2d)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json")
    parser.add_argument("--filter", default="")
    parser.add_argument("--seconds", type=float, default=50, help="no family is begun after so long")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(1)
    timer = Timer(options.device)
    results, start = [], time.monotonic()
    for family in FAMILIES:
        if time.monotonic() - start > options.seconds:
            print(f"left out for want of time: {family.__name__}")
            continue
        for name, peer, run in family(options.device):
            if options.filter not in name:
                continue
            seconds = timer.median(run)
            results.append({"name": name, "peer": peer, "seconds": seconds})
            print(f"{name:56} {1e3 * seconds:10.4f} ms   {peer}", flush=True)
            if options.json:
                with open(options.json, "w") as file:
                    json.dump({"torch": torch.__version__, "device": options.device, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
