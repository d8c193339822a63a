// resize_bilinear to twice the size, as between a decoder's levels, and its gradient: bound by memory.
#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/resize_bilinear.hpp"

namespace cuttle_bench {
namespace {

constexpr std::int64_t B = 16, in = 32, out = 64, C = 64;

struct Tap {
  std::int64_t first, second;
  double fraction;
};
Tap tap(std::int64_t i) {
  const double at = std::max(0.0, (static_cast<double>(i) + 0.5) * in / out - 0.5);
  const auto first = static_cast<std::int64_t>(at);
  return {first, std::min(first + 1, in - 1), at - std::floor(at)};
}

Case resize_case(Device device, bool backward) {
  struct State {
    Tensor<float> from, to;
  };
  const std::int64_t side = backward ? out : in;
  auto s = std::make_shared<State>(State{normal({B, side, side, C}, 1).to(device), {}});
  const auto check_forward = [s] {
    const auto x = on_host(s->from), y = on_host(s->to);
    for_some(y.numel(), [&](std::int64_t at) {
      const std::int64_t c = at % C, b = at / C / out / out;
      const Tap column = tap(at / C % out), row = tap(at / C / out % out);
      const auto value = [&](std::int64_t h, std::int64_t w) {
        return as_double(x.data()[((b * in + h) * in + w) * C + c]);
      };
      const auto along = [&](std::int64_t h) {
        return (1 - column.fraction) * value(h, column.first) + column.fraction * value(h, column.second);
      };
      const double expected = (1 - row.fraction) * along(row.first) + row.fraction * along(row.second);
      check_value("resize_bilinear", at, as_double(y.data()[at]), expected, 2e-6);
    });
  };
  const auto check_backward = [s] {
    const auto dy = on_host(s->from), dx = on_host(s->to);
    for_some(dx.numel(), [&](std::int64_t at) {
      const std::int64_t c = at % C, w = at / C % in, h = at / C / in % in, b = at / C / in / in;
      const auto weight = [](std::int64_t i, std::int64_t k) {
        const Tap t = tap(i);
        return (t.first == k ? 1 - t.fraction : 0) + (t.second == k ? t.fraction : 0);
      };
      double expected = 0;
      for (std::int64_t i = 0; i < out; ++i)
        for (std::int64_t j = 0; j < out; ++j)
          if (const double both = weight(i, h) * weight(j, w); both != 0)
            expected += both * as_double(dy.data()[((b * out + i) * out + j) * C + c]);
      check_value("resize_bilinear_backward", at, as_double(dx.data()[at]), expected, 1e-5);
    });
  };
  return {.run =
              [s, backward] {
                s->to = backward ? cuttle::resize_bilinear_backward(s->from, in, in)
                                 : cuttle::resize_bilinear(s->from, out, out);
              },
          .check = backward ? std::function<void()>(check_backward) : check_forward,
          .bytes = 4.0 * B * C * (in * in + out * out),
          .flop = 6.0 * B * C * out * out};
}

const bool added = [] {
  for (const bool backward : {false, true})
    add(cuttle::concat("resize_bilinear/", backward ? "backward" : "forward", "/B=16/32x32-64x64/C=64"),
        [backward](Device device) { return resize_case(device, backward); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
