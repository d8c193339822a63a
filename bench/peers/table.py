"""A table of bench_kernels' JSON with the ceilings of the same run and the peers beside it, in Markdown.

    table.py KERNELS.json [--ceilings CEILINGS.json] [--peers PEERS.json...]

Peers are what gpu_kernels.py and squid_step.py wrote.
"""

import argparse
import json
import os


def load(path):
    if not path or not os.path.exists(path) or os.path.getsize(path) == 0:
        return {}
    with open(path) as file:
        return json.load(file)


def short(x):
    """Three digits, without an exponent; nothing for 0, what is not known."""
    return "" if x == 0 else f"{x:.0f}" if x >= 100 else f"{x:.3g}" if x >= 1e-3 else f"{x:.5f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels")
    parser.add_argument("--ceilings")
    parser.add_argument("--peers", nargs="+", default=[])
    options = parser.parse_args()
    kernels, ceilings = load(options.kernels), load(options.ceilings)

    if ceilings:
        print(f"{ceilings['device']}: copy {ceilings['copy_bytes_per_s'] / 1e12:.2f} TB/s, fill "
              f"{ceilings['fill_bytes_per_s'] / 1e12:.2f} TB/s, fp16 {ceilings['fp16_flops'] / 1e12:.0f} TFLOP/s, TF32 "
              f"{ceilings['tf32_flops'] / 1e12:.0f}, FFMA {ceilings['ffma_flops'] / 1e12:.1f}, launch "
              f"{ceilings['launch_s'] * 1e6:.2f} us, graph node {ceilings['graph_node_s'] * 1e6:.2f} us\n")
    best = {}
    for peer in (peer for path in options.peers for peer in load(path).get("results", [])):
        best.setdefault(peer["name"], []).append(peer)

    print("| kernel | ms | replayed, us | GB/s | GFLOP/s | floor, ms | share | peer | its ms | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for run in kernels.get("benchmarks", []):
        name = run["name"].split("/iterations:")[0]
        if run.get("error_occurred"):
            print(f"| {name} | FAILED: {run.get('error_message', '')} | | | | | | | | |")
            continue
        seconds = 1e-6 * run["real_time"]

        def number(key):
            return short(run[key]) if key in run else ""

        rows = best.get(name.split("/", 1)[1]) or [None]
        for i, peer in enumerate(rows):
            ours = [""] * 7 if i else [name, short(1e3 * seconds), number("replay_us"), number("GB/s"), number("GFLOP/s"),
                                       short(1e-3 * run.get("floor_us", 0)), number("share")]
            theirs = [peer["peer"], short(1e3 * peer["seconds"]), short(peer["seconds"] / seconds)] if peer else [""] * 3
            print("| " + " | ".join(ours + theirs) + " |")


if __name__ == "__main__":
    main()
