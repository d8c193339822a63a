// The losses of both models: Patch SVDD's at a training step's size, bound by their launch, and SQUID's over images.
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/losses.hpp"
#include "cuttle/ops/mean_losses.hpp"

namespace cuttle_bench {
namespace {

Case cross_entropy_case(Device device, std::int64_t B, std::int64_t classes) {
  struct State {
    Tensor<float> logits;
    Tensor<std::int32_t> labels;
    Tensor<float> loss;
  };
  Tensor<std::int32_t> labels = Tensor<std::int32_t>::empty({B});
  for (std::int64_t b = 0; b < B; ++b) labels.data()[b] = static_cast<std::int32_t>(b * 5 % classes);
  auto s = std::make_shared<State>(State{normal({B, classes}, 1).to(device), labels.to(device), {}});
  return {.run = [s] { s->loss = cuttle::classify(s->logits, s->labels).loss; },
          .check =
              [s, labels, B, classes] {
                const auto logits = on_host(s->logits);
                double sum = 0;
                for (std::int64_t b = 0; b < B; ++b) {
                  double total = 0;
                  for (std::int64_t i = 0; i < classes; ++i)
                    total += std::exp(as_double(logits.data()[b * classes + i]));
                  sum += std::log(total) - as_double(logits.data()[b * classes + labels.data()[b]]);
                }
                check_value("cross_entropy", 0, as_double(s->loss.item()), sum / static_cast<double>(B), 1e-5);
              },
          .bytes = 4.0 * static_cast<double>(B * (classes + 1)),
          .flop = 3.0 * static_cast<double>(B * classes)};
}

Case mean_distance_case(Device device, std::int64_t B, std::int64_t D) {
  struct State {
    Tensor<float> a, b, loss;
  };
  auto s = std::make_shared<State>(State{normal({B, D}, 1).to(device), normal({B, D}, 2).to(device), {}});
  return {.run = [s] { s->loss = cuttle::mean_distance(s->a, s->b); },
          .check =
              [s, B, D] {
                const auto a = on_host(s->a), b = on_host(s->b);
                double sum = 0;
                for (std::int64_t r = 0; r < B; ++r) {
                  double squares = 0;
                  for (std::int64_t i = r * D; i < (r + 1) * D; ++i)
                    squares += std::pow(as_double(a.data()[i]) - as_double(b.data()[i]), 2);
                  sum += std::sqrt(squares);
                }
                const double expected = sum / static_cast<double>(B);
                check_value("mean_distance", 0, as_double(s->loss.item()), expected, 1e-6 * expected);
              },
          .bytes = 8.0 * static_cast<double>(B * D),
          .flop = 3.0 * static_cast<double>(B * D)};
}

Case mean_squared_difference_case(Device device, std::int64_t n) {
  struct State {
    Tensor<float> a, b, loss;
  };
  auto s = std::make_shared<State>(State{normal({n}, 1).to(device), normal({n}, 2).to(device), {}});
  return {.run = [s] { s->loss = cuttle::mean_squared_difference(s->a, s->b); },
          .check =
              [s, n] {
                const auto a = on_host(s->a), b = on_host(s->b);
                double sum = 0;
                for (std::int64_t i = 0; i < n; ++i)
                  sum += std::pow(as_double(a.data()[i]) - as_double(b.data()[i]), 2);
                const double expected = sum / static_cast<double>(n);
                check_value("mean_squared_difference", 0, as_double(s->loss.item()), expected, 1e-6 * expected);
              },
          .bytes = 8.0 * static_cast<double>(n),
          .flop = 3.0 * static_cast<double>(n)};
}

const bool added = [] {
  add("mean_squared_difference/n=4194304", [](Device device) { return mean_squared_difference_case(device, 4194304); });
  add("cross_entropy/B=64", [](Device device) { return cross_entropy_case(device, 64, 8); });
  add("mean_distance/B=64", [](Device device) { return mean_distance_case(device, 64, 64); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
