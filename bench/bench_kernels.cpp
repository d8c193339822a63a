// Every kernel over its table of sizes, on the CPU and on a CUDA device: see support/harness.hpp. The cases are in
// kernels/, a file for each family; each is checked against its formula in double before it is timed.
//
//   bench_kernels [--device cpu|cuda|auto] [--threads N] [--json FILE] [--ceilings FILE] [Google Benchmark's options]
//   bench_kernels --benchmark_filter=cpu/memory_lookup
#include "bench/support/harness.hpp"

int main(int argc, char** argv) { return cuttle_bench::run(argc, argv); }
