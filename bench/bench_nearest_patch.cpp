// nearest_patch: Google Benchmark timings, and two modes for ratios on a busy machine.
//
//   bench_nearest_patch [Google Benchmark's options]
//   bench_nearest_patch --ratio DATA [N [k [rounds]]]   searches and OpenBLAS sgemm 2048^3 in turn, medians and their
//   ratio bench_nearest_patch --dump DATA N DIRECTORY          writes rows.f32 and queries.f32, for
//   peers/nearest_patch.py
//
// One thread, process CPU seconds, D = 64, Q = 3249 = 57^2 (the patches of 32 with stride 4 of one 256 x 256 image); a
// search counts as 2 Q N D operations, the ranking in double included. Each run first checks some answers.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "cuttle/ops/nearest_patch.hpp"

#if defined(CUTTLE_BENCH_OPENBLAS)
#include <cblas.h>
#endif

namespace {

using cuttle::NearestPatchIndex;
using cuttle::Tensor;

constexpr std::int64_t Q = 3249, D = 64;

double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Embeddings as encoders give them: in (-1, 1) after a tanh, drawn so that queries and bank have one distribution.
//   spread     independent coordinates: nothing to prune
//   rich       96 overlapping clusters, variance falling over the dimensions
//   clustered  300 clusters of 8 intrinsic dimensions
//   collapsed  norm 0.42, spread 0.15 along one direction, 0.0018 from the nearest neighbour
//   repeated   1000 different rows, each many times
class Embeddings {
 public:
  explicit Embeddings(std::string_view kind) : kind_(kind) {
    const std::int64_t clusters = kind == "rich" ? 96 : kind == "repeated" ? 1000 : 300;
    centres_.resize(static_cast<std::size_t>(clusters * D));
    for (float& x : centres_) x = draw();
    bases_.resize(static_cast<std::size_t>(300 * 8 * D));
    for (float& x : bases_) x = 0.12f * draw();
    cuttle::require(
        kind == "spread" || kind == "rich" || kind == "clustered" || kind == "collapsed" || kind == "repeated",
        "bench_nearest_patch: data '", kind, "' is none of spread, rich, clustered, collapsed, repeated");
  }

  Tensor<float> rows(std::int64_t n) {
    Tensor<float> rows = Tensor<float>::empty({n, D});
    for (std::int64_t r = 0; r < n; ++r) fill(rows.data() + r * D);
    return rows;
  }

 private:
  float draw() { return normal_(random_); }

  void fill(float* y) {
    const auto cluster = static_cast<std::int64_t>(random_() % (centres_.size() / D));
    const float* centre = centres_.data() + cluster * D;
    if (kind_ == "repeated") {
      for (std::int64_t i = 0; i < D; ++i) y[i] = std::tanh(centre[i]);
    } else if (kind_ == "collapsed") {
      const float along = 0.15f / 8 * draw();
      for (std::int64_t i = 0; i < D; ++i) y[i] = (i % 2 ? 0.0525f : -0.0525f) + along + 0.00022f * draw();
    } else if (kind_ == "clustered") {
      float factors[8];
      for (float& f : factors) f = draw();
      for (std::int64_t i = 0; i < D; ++i) {
        float x = centre[i];
        for (std::int64_t j = 0; j < 8; ++j)
          x += factors[j] * bases_[static_cast<std::size_t>((cluster * 8 + j) * D + i)];
        y[i] = std::tanh(x);
      }
    } else if (kind_ == "rich") {
      for (std::int64_t i = 0; i < D; ++i) {
        const float deviation = 1.0f / (1.0f + 0.25f * static_cast<float>(i));
        y[i] = std::tanh(2 * deviation * centre[i] + 0.7f * deviation * draw());
      }
    } else {
      for (std::int64_t i = 0; i < D; ++i) y[i] = std::tanh(draw());
    }
  }

  std::string kind_;
  std::mt19937_64 random_{1};
  std::normal_distribution<float> normal_;
  std::vector<float> centres_, bases_;
};

void check(const NearestPatchIndex<float>& index, const Tensor<float>& queries) {
  const Tensor<float> some = queries.slice(0, 24);
  const auto found = index.search(some), expected = index.search_by_definition(some);
  for (std::int64_t i = 0; i < some.size(0); ++i)
    cuttle::require(
        found.index.data()[i] == expected.index.data()[i] && found.distance.data()[i] == expected.distance.data()[i],
        "bench_nearest_patch: query ", i, " found row ", found.index.data()[i], ", not ", expected.index.data()[i]);
}

void search(benchmark::State& state, std::string_view kind) {
  cuttle::set_num_threads(1);
  Embeddings embeddings(kind);
  const std::int64_t N = state.range(0);
  const NearestPatchIndex<float> index(embeddings.rows(N));
  const Tensor<float> queries = embeddings.rows(Q);
  check(index, queries);
  for (auto _ : state) benchmark::DoNotOptimize(index.search(queries, static_cast<int>(state.range(1))));
  state.counters["flop/s"] =
      benchmark::Counter(2.0 * Q * static_cast<double>(N) * D, benchmark::Counter::kIsIterationInvariantRate);
}

void build(benchmark::State& state, std::string_view kind) {
  cuttle::set_num_threads(1);
  Embeddings embeddings(kind);
  const Tensor<float> rows = embeddings.rows(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(NearestPatchIndex<float>(rows));
}

BENCHMARK_CAPTURE(search, spread, "spread")->Args({200000, 1})->Args({200000, 9})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(search, rich, "rich")->Args({200000, 1})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(search, clustered, "clustered")->Args({200000, 1})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(search, collapsed, "collapsed")->Args({200000, 1})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(search, repeated, "repeated")->Args({200000, 1})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(build, spread, "spread")->Arg(200000)->Unit(benchmark::kMillisecond);

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
    if (mode == "--dump") return dump(options);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
