// k_center_greedy: the coreset of a memory bank, 1 % of N rows of 64, as PatchCore keeps. Operations count 3 N D for
// each centre, so that leaving rows out by proof, as the CPU does, can be faster than any arithmetic.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "bench/support/embeddings.hpp"
#include "bench/support/harness.hpp"
#include "cuttle/ops/k_center_greedy.hpp"

namespace cuttle_bench {
namespace {

constexpr std::int64_t D = Embeddings::D, percent = 100;

double squared(const Tensor<float>& rows, std::int64_t a, std::int64_t b) {
  double sum = 0;
  for (std::int64_t d = 0; d < D; ++d) {
    const double difference = as_double(rows.data()[a * D + d]) - as_double(rows.data()[b * D + d]);
    sum = std::fma(difference, difference, sum);
  }
  return sum;
}

// The definition at some of the choices: what was chosen is the row that was farthest then, ties and all.
void check_centres(const Tensor<float>& rows, const cuttle::Centres<float>& centres) {
  const auto index = on_host(centres.index);
  const auto radius = on_host(centres.radius);
  const std::int64_t N = rows.size(0), K = index.numel();
  std::vector<double> nearest(static_cast<std::size_t>(N), std::numeric_limits<double>::infinity());
  for (std::int64_t j = 0; j < std::min<std::int64_t>(K, 30); ++j) {
    for (std::int64_t n = 0; n < N; ++n) {
      double& least = nearest[static_cast<std::size_t>(n)];
      least = std::min(least, squared(rows, n, index.data()[j]));
    }
    const auto farthest = std::ranges::max_element(nearest) - nearest.begin();
    check_value("k_center_greedy: radius", j, as_double(radius.data()[j]),
                as_double(static_cast<float>(std::sqrt(nearest[static_cast<std::size_t>(farthest)]))), 0);
    if (j + 1 < K) check_value("k_center_greedy: index", j + 1, as_double(index.data()[j + 1]), as_double(farthest), 0);
  }
  // All rows are covered, at the end, as tightly as it says.
  double covered = 0;
  for_some(N, [&](std::int64_t n) {
    double least = std::numeric_limits<double>::infinity();
    for (std::int64_t j = 0; j < K; ++j) least = std::min(least, squared(rows, n, index.data()[j]));
    covered = std::max(covered, std::sqrt(least));
  });
  cuttle::require(covered <= as_double(radius.data()[K - 1]) * (1 + 1e-6), "k_center_greedy: a row at ", covered,
                  " from its centre, beyond the radius ", radius.data()[K - 1]);
}

Case coreset_case(Device device, const char* kind, std::int64_t N) {
  struct State {
    Tensor<float> rows, there;
    cuttle::Centres<float> centres;
  };
  auto s = std::make_shared<State>();
  s->rows = Embeddings(kind).rows(N);
  s->there = s->rows.to(device);
  return {.run = [s, N] { s->centres = cuttle::k_center_greedy(s->there, N / percent); },
          .check = [s] { check_centres(s->rows, s->centres); },
          .bytes = static_cast<double>(4 * N * D),
          .flop = 3.0 * static_cast<double>(N) * D * static_cast<double>(N / percent),
          .only_queues = false};
}

const bool added = [] {
  for (const char* kind : {"spread", "rich", "clustered", "collapsed"})
    add(cuttle::concat("k_center_greedy/", kind, "/N=20000"),
        [kind](Device device) { return coreset_case(device, kind, 20000); });
  add(
      "k_center_greedy/rich/N=1000000", [](Device device) { return coreset_case(device, "rich", 1000000); },
      Where::cuda);
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
