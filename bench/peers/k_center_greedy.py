"""numpy peer of bench_nearest_patch --coreset: the greedy k-centre coreset by a full update for each centre, in turn
with ours.

    k_center_greedy.py path/to/bench_nearest_patch [--data spread] [--rows 50000] [--kept 500] [--rounds 3]

Theirs is as fast as arrays allow: float32, |x|^2 + |c|^2 - 2 x.c by one product of matrix and vector (OpenBLAS), into
memory that is there. Prints the median CPU seconds of both (one thread each), their ratio, and the radius that either
one's centres reach: numpy's distances are rounded, so that its choices may part from the exact ones.
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


def k_center_greedy(rows, kept):
    norms = np.einsum("nd,nd->n", rows, rows)
    nearest = np.full(len(rows), np.inf, np.float32)
    squared = np.empty_like(nearest)
    chosen = [0]
    for _ in range(kept):
        centre = chosen[-1]
        np.dot(rows, rows[centre], out=squared)
        squared *= -2
        squared += norms
        squared += norms[centre]
        np.minimum(nearest, squared, out=nearest)
        chosen.append(int(nearest.argmax()))
    return chosen[:kept], float(np.sqrt(max(nearest.max(), 0)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--data", default="spread")
    parser.add_argument("--rows", type=int, default=50000)
    parser.add_argument("--kept", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([options.bench, "--dump", options.data, str(options.rows), folder], check=True)
        rows = np.fromfile(f"{folder}/rows.f32", np.float32).reshape(-1, 64)

    theirs, ours = [], []
    for _ in range(options.rounds):
        start = time.process_time()
        radius = k_center_greedy(rows, options.kept)[1]
        theirs.append(time.process_time() - start)
        command = [options.bench, "--coreset", options.data, str(options.rows), str(options.kept), "1"]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        ours.append(float(re.search(r": ([0-9.]+) s", line).group(1)))
        exact = float(re.search(r"radius ([0-9.]+)", line).group(1))

    a, b = statistics.median(theirs), statistics.median(ours)
    print(f"{options.data} N={options.rows} K={options.kept}: numpy {np.__version__} {a:.3f} s, k_center_greedy {b:.3f} s, "
          f"ratio {a / b:.2f}; radius {radius:.6f} and {exact:.6f}")


if __name__ == "__main__":
    main()
