// The coreset of a memory bank: 1,000 of 20,000 rows of 64 numbers, in bunches as embeddings are, and spread evenly.
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/k_center_greedy.hpp"

namespace cuttle_bench {
namespace {

Case coreset_case(Device device, std::int64_t N, std::int64_t D, std::int64_t K, bool bunches) {
  struct State {
    Tensor<float> rows;
    cuttle::Centres<float> centres;
  };
  auto rows = Tensor<float>::empty({N, D});
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    const float noise = cuttle::random_normal(1, 0, static_cast<std::uint64_t>(i));
    const auto bunch = static_cast<std::uint64_t>(i / D % 200 * D + i % D);
    rows.data()[i] = bunches ? 10 * cuttle::random_normal(1, 1, bunch) + noise : noise;
  }
  auto s = std::make_shared<State>(State{rows.to(device), {}});
  return {.run = [s, K] { s->centres = cuttle::k_center_greedy(s->rows, K); },
          .check =
              [s, rows, N, D, K] {
                const auto index = on_host(s->centres.index);
                const auto radius = on_host(s->centres.radius);
                double farthest = 0;
                for_some(N, [&](std::int64_t n) {
                  double nearest = 1e300;
                  for (std::int64_t j = 0; j < K; ++j) {
                    double squared = 0;
                    for (std::int64_t d = 0; d < D; ++d) {
                      const double x = as_double(rows.data()[n * D + d]);
                      const double difference = x - as_double(rows.data()[index.data()[j] * D + d]);
                      squared += difference * difference;
                    }
                    nearest = squared < nearest ? squared : nearest;
                  }
                  farthest = nearest > farthest ? nearest : farthest;
                });
                const double bound = as_double(radius.data()[K - 1]) * (1 + 1e-6);
                check_value("k_center_greedy", K, farthest <= bound * bound ? 0 : farthest, 0, 0);
              },
          .bytes = 4.0 * static_cast<double>(N * D * K)};
}

const bool added = [] {
  add("k_center_greedy/N=20000/D=64/K=1000/bunches", [](Device d) { return coreset_case(d, 20000, 64, 1000, true); });
  add("k_center_greedy/N=20000/D=64/K=1000/spread", [](Device d) { return coreset_case(d, 20000, 64, 1000, false); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
