"""faiss peer of bench_nearest_patch: IndexFlatL2 on the same data, in turn with ours.

    nearest_patch.py path/to/bench_nearest_patch [--data spread] [--rows 200000] [--k 1] [--rounds 3]

Prints the median CPU seconds of both searches (one thread each), their ratio, and how many of faiss's answers differ from
the nearest row in double precision, over some of the queries.
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

import faiss  # noqa: E402
import numpy as np  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--data", default="spread")
    parser.add_argument("--rows", type=int, default=200000)
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([options.bench, "--dump", options.data, str(options.rows), folder], check=True)
        rows = np.fromfile(f"{folder}/rows.f32", np.float32).reshape(-1, 64)
        queries = np.fromfile(f"{folder}/queries.f32", np.float32).reshape(-1, 64)
    index = faiss.IndexFlatL2(64)
    index.add(rows)

    theirs, ours = [], []
    for _ in range(options.rounds):
        start = time.process_time()
        distance, found = index.search(queries, options.k)
        theirs.append(time.process_time() - start)
        command = [options.bench, "--ratio", options.data, str(options.rows), str(options.k), "1"]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        ours.append(float(re.search(r": ([0-9.]+) s =", line).group(1)))

    wrong = 0
    checked = range(0, len(queries), 64)
    for q in checked:
        exact = ((rows.astype(np.float64) - queries[q].astype(np.float64)) ** 2).sum(1)
        wrong += exact[found[q, 0]] > exact.min()
    a, b = statistics.median(theirs), statistics.median(ours)
    print(f"{options.data} N={options.rows} k={options.k}: faiss {faiss.__version__} IndexFlatL2 {a:.3f} s, "
          f"nearest_patch {b:.3f} s, ratio {a / b:.2f}; faiss misses the nearest row of {wrong} of {len(checked)} queries")


if __name__ == "__main__":
    main()
