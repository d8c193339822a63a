// add and adam: bound by memory alone.
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/adam.hpp"
#include "cuttle/ops/elementwise.hpp"

namespace cuttle_bench {
namespace {

Case add_case(Device device, std::int64_t n) {
  struct State {
    Tensor<float> a, b, y;
  };
  auto s = std::make_shared<State>(State{normal({n}, 1).to(device), normal({n}, 2).to(device), {}});
  return {.run = [s] { s->y = cuttle::add(s->a, s->b); },
          .check =
              [s, n] {
                const auto a = on_host(s->a), b = on_host(s->b), y = on_host(s->y);
                for_some(n, [&](std::int64_t i) {
                  check_value("add", i, as_double(y.data()[i]), as_double(a.data()[i] + b.data()[i]), 0);
                });
              },
          .bytes = 12.0 * static_cast<double>(n),
          .flop = static_cast<double>(n)};
}

Case adam_case(Device device, std::int64_t n) {
  struct State {
    Tensor<float> before, grad, value, m, v;
    std::int64_t step = 0;
  };
  const cuttle::AdamOptions options{.learning_rate = 1e-4};
  const Tensor<float> before = normal({n}, 1);
  auto s = std::make_shared<State>(State{before, normal({n}, 2).to(device), before.to(device).clone(),
                                         Tensor<float>::zeros({n}, device), Tensor<float>::zeros({n}, device)});
  return {.run = [s, options] { cuttle::adam(s->value, s->grad, s->m, s->v, ++s->step, options); },
          .check =
              [s, n, options] {
                cuttle::require(s->step == 1, "adam: the first step is checked");
                const auto grad = on_host(s->grad), value = on_host(s->value);
                for_some(n, [&](std::int64_t i) {
                  // After one step m / (1 - beta1) = g and v / (1 - beta2) = g^2.
                  const double g = as_double(grad.data()[i]), w = as_double(s->before.data()[i]);
                  const double expected = w - options.learning_rate * g / (std::abs(g) + options.epsilon);
                  check_value("adam", i, as_double(value.data()[i]), expected, 1e-6 * (std::abs(w) + 1e-3));
                });
              },
          .bytes = 28.0 * static_cast<double>(n),
          .flop = 12.0 * static_cast<double>(n)};
}

const bool added = [] {
  add("add/n=16777216", [](Device device) { return add_case(device, 16777216); });
  for (const std::int64_t n : {std::int64_t{453712}, std::int64_t{44500000}})  // Patch SVDD's parameters, SQUID's
    add(cuttle::concat("adam/n=", n), [n](Device device) { return adam_case(device, n); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
