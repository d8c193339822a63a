// nearest_patch for ratios on a busy machine; bench_kernels has its table of sizes.
//
//   bench_nearest_patch --ratio DATA [N [k [rounds]]]   searches and OpenBLAS sgemm 2048^3 in turn, medians and ratio
//   bench_nearest_patch --coreset DATA N K [rounds]     k_center_greedy of the rows alone, median
//   bench_nearest_patch --dump DATA N DIRECTORY         writes rows.f32 and queries.f32, for peers/*.py
//
// One thread, process CPU seconds, D = 64, Q = 3249 = 57^2 (the patches of 32 with stride 4 of one 256 x 256 image); a
// search counts as 2 Q N D operations, the ranking in double included. Each run first checks some answers.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "bench/support/embeddings.hpp"
#include "cuttle/ops/k_center_greedy.hpp"
#include "cuttle/ops/nearest_patch.hpp"

#if defined(CUTTLE_BENCH_OPENBLAS)
#include <cblas.h>
#endif

namespace {

using cuttle::NearestPatchIndex;
using cuttle::Tensor;
using cuttle_bench::Embeddings;

constexpr std::int64_t Q = 3249, D = Embeddings::D;

double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void check(const NearestPatchIndex<float>& index, const Tensor<float>& queries) {
  const Tensor<float> some = queries.slice(0, 24);
  const auto found = index.search(some), expected = index.search_by_definition(some);
  for (std::int64_t i = 0; i < some.size(0); ++i)
    cuttle::require(
        found.index.data()[i] == expected.index.data()[i] && found.distance.data()[i] == expected.distance.data()[i],
        "bench_nearest_patch: query ", i, " found row ", found.index.data()[i], ", not ", expected.index.data()[i]);
}

#if defined(CUTTLE_BENCH_OPENBLAS)
extern "C" void openblas_set_num_threads(int);

double sgemm_gflops() {
  constexpr int n = 2048;
  static const std::vector<float> a(n * n, 1.0f), b(n * n, 0.5f);
  static std::vector<float> c(n * n);
  const double start = cpu_seconds();
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(), n);
  return 2e-9 * n * n * n / (cpu_seconds() - start);
}
#else
double sgemm_gflops() { return 0; }
#endif

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

int print_ratio(const std::vector<std::string>& options) {
  const std::string kind = options.at(0);
  const std::int64_t N = options.size() > 1 ? std::stoll(options[1]) : 200000;
  const int k = options.size() > 2 ? std::stoi(options[2]) : 1, rounds = options.size() > 3 ? std::stoi(options[3]) : 7;
  cuttle::set_num_threads(1);
#if defined(CUTTLE_BENCH_OPENBLAS)
  openblas_set_num_threads(1);
#endif
  Embeddings embeddings(kind);
  const Tensor<float> rows = embeddings.rows(N), queries = embeddings.rows(Q);
  double start = cpu_seconds();
  const NearestPatchIndex<float> index(rows);
  const double build_seconds = cpu_seconds() - start;
  check(index, queries);
  std::vector<double> seconds, peer;
  for (int round = 0; round < rounds; ++round) {
    peer.push_back(sgemm_gflops());
    start = cpu_seconds();
    index.search(queries, k);
    seconds.push_back(cpu_seconds() - start);
  }
  const double gflops = 2e-9 * Q * static_cast<double>(N) * D / median(seconds);
  std::printf("%s N=%lld k=%d: %.3f s = %.1f GFLOP/s; sgemm %.1f GFLOP/s; ratio %.3f; build %.3f s\n", kind.c_str(),
              static_cast<long long>(N), k, median(seconds), gflops, median(peer), gflops / median(peer),
              build_seconds);
  return 0;
}

int print_coreset(const std::vector<std::string>& options) {
  const std::int64_t N = std::stoll(options.at(1)), K = std::stoll(options.at(2));
  const int rounds = options.size() > 3 ? std::stoi(options[3]) : 3;
  cuttle::set_num_threads(1);
  const Tensor<float> rows = Embeddings(options.at(0)).rows(N);
  std::vector<double> seconds;
  double radius = 0;
  for (int round = 0; round < rounds; ++round) {
    const double start = cpu_seconds();
    radius = static_cast<double>(cuttle::k_center_greedy(rows, K).radius.data()[K - 1]);
    seconds.push_back(cpu_seconds() - start);
  }
  std::printf("%s N=%lld K=%lld: %.3f s, radius %.6f\n", options[0].c_str(), static_cast<long long>(N),
              static_cast<long long>(K), median(seconds), radius);
  return 0;
}

int dump(const std::vector<std::string>& options) {
  Embeddings embeddings(options.at(0));
  const auto write = [&](const char* name, const Tensor<float>& tensor) {
    const std::string path = options.at(2) + "/" + name;
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(tensor.data()), tensor.numel() * static_cast<std::int64_t>(sizeof(float)));
    if (!file.flush()) throw cuttle::IoError(path, "cannot be written");
  };
  write("rows.f32", embeddings.rows(std::stoll(options.at(1))));
  write("queries.f32", embeddings.rows(Q));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    const std::vector<std::string> options(argv + std::min(argc, 2), argv + argc);
    if (mode == "--ratio") return print_ratio(options);
    if (mode == "--coreset") return print_coreset(options);
    if (mode == "--dump") return dump(options);
    std::cerr << "bench_nearest_patch --ratio DATA [N [k [rounds]]] | --coreset DATA N K [rounds] | "
                 "--dump DATA N DIRECTORY\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
