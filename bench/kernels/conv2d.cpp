// conv2d: the layers of Patch SVDD's trunk over the 1280 patches of a training step, and both gradients, in every mode
// the device has. Operations count a direct convolution, whatever the method.
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/conv2d.hpp"

namespace cuttle_bench {
namespace {

using cuttle::Activation;
using cuttle::Math;

constexpr int layers = 8;
constexpr std::int64_t channels[layers + 1] = {3, 32, 64, 128, 128, 64, 32, 32, 64};
constexpr std::int64_t sizes[layers] = {32, 15, 13, 11, 9, 7, 5, 3};
constexpr std::int64_t patches = 1280;
constexpr double slope = 0.1;

struct State {
  Tensor<float> x, weight, bias, dy, y, dx, dweight, dbias;
  cuttle::Conv2dOptions options;
};

void check(const State& s, bool backward, double relative) {
  const auto x = on_host(s.x), weight = on_host(s.weight), bias = on_host(s.bias), y = on_host(s.y);
  const std::int64_t H = x.size(1), C = x.size(3), OH = y.size(1), O = y.size(3), stride = s.options.stride;
  const double bound = relative * std::sqrt(static_cast<double>(9 * C));
  for_some(y.numel(), [&](std::int64_t i) {
    const std::int64_t o = i % O, w = i / O % OH, h = i / O / OH % OH, b = i / O / OH / OH;
    double z = as_double(bias.data()[o]);
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t k = 0; k < 3; ++k)
        for (std::int64_t c = 0; c < C; ++c)
          z += as_double(x.data()[((b * H + h * stride + r) * H + w * stride + k) * C + c]) *
               as_double(weight.data()[((o * 3 + r) * 3 + k) * C + c]);
    const double expected = s.options.activation == Activation::tanh ? std::tanh(z) : z > 0 ? z : slope * z;
    check_value("conv2d", i, as_double(y.data()[i]), expected, bound);
  });
  if (!backward) return;
  const auto dy = on_host(s.dy), dx = on_host(s.dx);
  for_some(dx.numel(), [&](std::int64_t i) {
    const std::int64_t c = i % C, w = i / C % H, h = i / C / H % H, b = i / C / H / H;
    double expected = 0;
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t k = 0; k < 3; ++k) {
        const std::int64_t oh = h - r, ow = w - k;
        if (oh % stride || ow % stride || oh < 0 || ow < 0 || oh / stride >= OH || ow / stride >= OH) continue;
        for (std::int64_t o = 0; o < O; ++o) {
          const std::int64_t at = ((b * OH + oh / stride) * OH + ow / stride) * O + o;
          const double value = as_double(y.data()[at]);
          const double slope_there = s.options.activation == Activation::tanh ? 1 - value * value
                                     : value > 0                              ? 1
                                                                              : slope;
          expected += as_double(dy.data()[at]) * slope_there * as_double(weight.data()[((o * 3 + r) * 3 + k) * C + c]);
        }
      }
    check_value("conv2d_backward: dx", i, as_double(dx.data()[i]), expected,
                10 * relative * std::sqrt(static_cast<double>(9 * O)));
  });
}

Case layer_case(Device device, int layer, Math math, bool backward) {
  const std::int64_t in = channels[layer], out = channels[layer + 1], size = sizes[layer];
  auto s = std::make_shared<State>();
  s->options = {.stride = layer == 0 ? 2 : 1,
                .activation = layer + 1 == layers ? Activation::tanh : Activation::leaky_relu,
                .slope = slope,
                .math = math};
  s->x = normal({patches, size, size, in}, 1).to(device);
  s->weight = normal({out, 3, 3, in}, 2, std::sqrt(2.0 / static_cast<double>(9 * in))).to(device);
  s->bias = normal({out}, 3, 0.1).to(device);
  const auto forward = [s] { s->y = cuttle::conv2d(s->x, s->weight, s->bias, s->options); };
  forward();
  const double moved = static_cast<double>(s->x.numel() + s->weight.numel() + s->y.numel());
  const double flop = 2.0 * static_cast<double>(s->y.numel() * 9 * in);
  // tf32 rounds the factors to 11 bits, the transforms of winograd multiply the error of float32.
  const double relative = math == Math::tf32 || math == Math::bf16 ? 4e-3 : math == Math::winograd ? 1e-3 : 1e-5;
  const Unit unit = math == Math::tf32 || math == Math::bf16 ? Unit::tf32 : Unit::fp32;
  if (!backward)
    return {
        .run = forward, .check = [=] { check(*s, false, relative); }, .bytes = 4 * moved, .flop = flop, .unit = unit};
  s->dy = normal(s->y.shape(), 4).to(device);
  s->dweight = Tensor<float>::zeros(s->weight.shape(), device);
  s->dbias = Tensor<float>::zeros(s->bias.shape(), device);
  return {.run =
              [s] {
                s->dx = cuttle::conv2d_backward(s->x, s->weight, s->y, s->dy, s->options, true, s->dweight, s->dbias);
              },
          .check = [=] { check(*s, true, relative); },
          .bytes = 4 * (2 * moved + static_cast<double>(s->y.numel())),
          .flop = 2 * flop,
          .unit = unit};
}

const bool added = [] {
  struct Mode {
    const char* name;
    Math math;
    Where where;
  };
  for (const Mode& mode : {Mode{"fp32", Math::fp32, Where::everywhere},
                           {"winograd", Math::winograd, Where::cpu},
                           {"tf32", Math::tf32, Where::cuda}})
    for (const bool backward : {false, true})
      for (int layer = 0; layer < layers; ++layer)
        add(
            cuttle::concat("conv2d/", mode.name, "/", backward ? "backward" : "forward", "/layer=", layer + 1),
            [=](Device device) { return layer_case(device, layer, mode.math, backward); }, mode.where);
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
