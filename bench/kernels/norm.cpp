// batch_norm in training and layer_norm, forward and backward: bound by memory. x is read twice, once for its
// statistics and once to be normalised; the floor counts it once.
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/norm.hpp"

namespace cuttle_bench {
namespace {

struct State {
  Tensor<float> x, weight, bias, dy;
  cuttle::Normalised<float> result;
  cuttle::NormGradients<float> gradients;
  Tensor<float> dweight, dbias;
};

std::shared_ptr<State> make_state(Device device, std::int64_t N, std::int64_t C) {
  return std::make_shared<State>(State{normal({N, C}, 1).to(device),
                                       normal({C}, 2).to(device),
                                       normal({C}, 3).to(device),
                                       normal({N, C}, 4).to(device),
                                       {},
                                       {},
                                       Tensor<float>::zeros({C}, device),
                                       Tensor<float>::zeros({C}, device)});
}

// What y and dx have to be, where the values that share one mean are `length` values `apart` elements apart.
struct Oracle {
  double mean = 0, inverse = 0, mean_g = 0, mean_g_xhat = 0;

  Oracle(const float* x, const float* g, const float* weight, std::int64_t length, std::int64_t apart) {
    double squares = 0;
    for (std::int64_t i = 0; i < length; ++i) mean += as_double(x[i * apart]);
    mean /= static_cast<double>(length);
    for (std::int64_t i = 0; i < length; ++i) squares += std::pow(as_double(x[i * apart]) - mean, 2);
    inverse = 1 / std::sqrt(squares / static_cast<double>(length) + 1e-5);
    for (std::int64_t i = 0; i < length; ++i) {
      // A batch norm's weight is one for all; a layer norm's is that of the place.
      const double scaled = as_double(g[i * apart]) * as_double(apart == 1 ? weight[i] : weight[0]);
      mean_g += scaled / static_cast<double>(length);
      mean_g_xhat += scaled * xhat(x[i * apart]) / static_cast<double>(length);
    }
  }
  double xhat(float x) const { return (as_double(x) - mean) * inverse; }
  double dx(float x, float g, float weight) const {
    return inverse * (as_double(g) * as_double(weight) - mean_g - xhat(x) * mean_g_xhat);
  }
};

void check(const State& s, bool batch, bool backward) {
  const auto x = on_host(s.x), weight = on_host(s.weight), bias = on_host(s.bias), dy = on_host(s.dy);
  const auto out = on_host(backward ? s.gradients.dx : s.result.y);
  const std::int64_t N = x.size(0), C = x.size(1);
  const std::int64_t groups = batch ? C : N, length = batch ? N : C, apart = batch ? C : 1;
  for (std::int64_t group = 0; group < groups; group += groups / 5 + 1) {
    const std::int64_t first = batch ? group : group * C;
    const Oracle oracle(x.data() + first, dy.data() + first, weight.data() + (batch ? group : 0), length, apart);
    for_some(length, [&](std::int64_t i) {
      const std::int64_t at = first + i * apart, c = at % C;
      const double expected = backward
                                  ? oracle.dx(x.data()[at], dy.data()[at], weight.data()[c])
                                  : oracle.xhat(x.data()[at]) * as_double(weight.data()[c]) + as_double(bias.data()[c]);
      check_value(batch ? "batch_norm" : "layer_norm", at, as_double(out.data()[at]), expected, 2e-5);
    });
  }
}

const bool added = [] {
  // SQUID at batch 16: maps of 64 x 64 of 64 channels, and tokens of its attention.
  for (const bool backward : {false, true}) {
    const char* pass = backward ? "backward" : "forward";
    add(cuttle::concat("batch_norm/", pass, "/N=65536/C=64"), [backward](Device device) -> Case {
      auto s = make_state(device, 65536, 64);
      const auto forward = [s] { s->result = cuttle::batch_norm<float>(s->x, s->weight, s->bias, {}, {}, {}); };
      if (backward) forward();
      return {.run =
                  [s, backward, forward] {
                    if (!backward) return forward();
                    s->gradients = cuttle::batch_norm_backward(s->x, s->weight, s->result, s->dy, {}, true, false,
                                                               s->dweight, s->dbias);
                  },
              .check = [s, backward] { check(*s, true, backward); },
              .bytes = (backward ? 12.0 : 8.0) * 65536 * 64,
              .flop = 8.0 * 65536 * 64};
    });
    add(cuttle::concat("layer_norm/", pass, "/N=4096/D=512"), [backward](Device device) -> Case {
      auto s = make_state(device, 4096, 512);
      const auto forward = [s] { s->result = cuttle::layer_norm<float>(s->x, s->weight, s->bias, {}); };
      if (backward) forward();
      return {.run =
                  [s, backward, forward] {
                    if (!backward) return forward();
                    s->gradients = cuttle::layer_norm_backward(s->x, s->weight, s->result, s->dy, {}, true, false,
                                                               s->dweight, s->dbias);
                  },
              .check = [s, backward] { check(*s, false, backward); },
              .bytes = (backward ? 12.0 : 8.0) * 4096 * 512,
              .flop = 8.0 * 4096 * 512};
    });
  }
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
