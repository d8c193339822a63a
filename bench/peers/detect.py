"""What `detect` replaces: every patch of a 256 x 256 image encoded by itself, and a KD-tree for its nearest neighbour.

    detect.py path/to/folder/of/benches [--data spread] [--rows 200000] [--rounds 3] [--queries 24]

One thread, process CPU seconds. Theirs: PyTorch encodes 57 x 57 patches of 32 pixels and 13 x 13 of 64 (four tiles each),
in its faster layout, and scikit-learn's KDTree searches `--rows` rows of 64 numbers, timed over some of the queries and
scaled to 3249 + 169. Ours: bench_conv2d encodes the image densely, bench_nearest_patch searches the same rows, exactly,
scaled likewise. Prints the seconds of each part and the ratio.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from sklearn.neighbors import KDTree  # noqa: E402

from patch_svdd_step import encoder  # noqa: E402

SMALL, LARGE = 57 * 57, 13 * 13


def cpu_seconds(body):
    start = time.process_time()
    body()
    return time.process_time() - start


def seconds_in(command, pattern):
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(pattern, text).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches")
    parser.add_argument("--data", default="spread")
    parser.add_argument("--rows", type=int, default=200000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    search = f"{options.benches}/bench_nearest_patch"
    dense = f"{options.benches}/bench_conv2d"

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([search, "--dump", options.data, str(options.rows), folder], check=True)
        rows = np.fromfile(f"{folder}/rows.f32", np.float32).reshape(-1, 64)
        queries = np.fromfile(f"{folder}/queries.f32", np.float32).reshape(-1, 64)[: options.queries]
    tree = KDTree(rows)
    net = encoder().to(memory_format=torch.channels_last)
    tiles = torch.randn(SMALL + 4 * LARGE, 3, 32, 32).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode():
        for part in tiles.split(256):
            net(part)

    times = {"patch-wise encoding": [], "KD-tree": [], "dense encoding": [], "nearest_patch": []}
    scale = (SMALL + LARGE) / SMALL
    for _ in range(options.rounds):
        times["patch-wise encoding"].append(cpu_seconds(encode))
        each = cpu_seconds(lambda: tree.query(queries, k=1)) / options.queries
        times["KD-tree"].append(each * (SMALL + LARGE))
        times["dense encoding"].append(
            seconds_in([dense, "--threads=1", "--seconds", "dense", "fp32", "3"], r"median.* ([0-9.]+) s CPU"))
        times["nearest_patch"].append(scale * seconds_in([search, "--ratio", options.data, str(options.rows), "1", "1"],
                                                         r": ([0-9.]+) s ="))
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in median.items():
        print(f"{name:20s} {seconds:9.3f} s an image")
    theirs = median["patch-wise encoding"] + median["KD-tree"]
    ours = median["dense encoding"] + median["nearest_patch"]
    print(f"{options.data} N={options.rows}: {theirs:.2f} s against {ours:.3f} s an image, ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
