// Seconds of the Patch SVDD encoder's convolutions (K = 32): a training step over 1280 patches (forward, both
// gradients, none for the input), or the dense encoding of one 256 x 256 image. For ratios on a busy machine:
// peers/patch_svdd_step.py alternates it with PyTorch. bench_kernels has the layers one by one.
//
//   bench_conv2d [--threads=N] [--patches=N] --seconds step|dense fp32|winograd [rounds]
//   prints seconds a call, wall and process CPU, one line a round, then their medians
//
// Each run first checks some outputs against the formula in double.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "cuttle/backend/cpu_conv2d.hpp"

namespace {

using cuttle::Tensor;
using cuttle::seam::Activation;
using cuttle::seam::Conv2dShape;
using cuttle::seam::Math;

constexpr int layer_count = 8;
constexpr std::int64_t channels[layer_count + 1] = {3, 32, 64, 128, 128, 64, 32, 32, 64};
std::int64_t patches = 1280;

// Layer `index` of the encoder on B maps of `size` x `size`.
Conv2dShape layer_shape(int index, std::int64_t B, std::int64_t size, Math math) {
  const std::int64_t stride = index == 0 ? 2 : 1, out = (size - 3) / stride + 1;
  return {B,
          size,
          size,
          channels[index],
          channels[index + 1],
          3,
          3,
          out,
          out,
          stride,
          0,
          1,
          index + 1 == layer_count ? Activation::tanh : Activation::leaky_relu,
          0.1,
          math};
}

Tensor<float> normal(const cuttle::Shape& shape, double deviation) {
  static std::mt19937 generator(1);
  std::normal_distribution<float> distribution(0, static_cast<float>(deviation));
  auto t = Tensor<float>::empty(shape);
  for (float& value : t.span()) value = distribution(generator);
  return t;
}

struct Layer {
  Conv2dShape s;
  Tensor<float> x, weight, bias, y, dy, dweight, dbias;

  explicit Layer(const Conv2dShape& shape, const Tensor<float>& input)
      : s(shape),
        x(input),
        weight(normal({s.O, s.R, s.S, s.C}, std::sqrt(2.0 / static_cast<double>(s.R * s.S * s.C)))),
        bias(normal({s.O}, 0.1)),
        y(Tensor<float>::empty({s.B, s.OH, s.OW, s.O})),
        dweight(Tensor<float>::zeros(weight.shape())),
        dbias(Tensor<float>::zeros(bias.shape())) {}

  void forward() { cuttle::cpu::conv2d<float>({s, x.data(), weight.data(), bias.data(), y.data(), nullptr, 0}); }
  void backward(float* dx, bool parameters) {
    cuttle::cpu::conv2d_backward<float>({s, x.data(), weight.data(), y.data(), dy.data(), dx,
                                         parameters ? dweight.data() : nullptr, parameters ? dbias.data() : nullptr,
                                         nullptr, 0});
  }

  void check() const {
    const double bound = (s.math == Math::winograd ? 1e-3 : 1e-4) * std::sqrt(static_cast<double>(s.R * s.S * s.C));
    for (std::int64_t i = 0; i < y.numel(); i += y.numel() / 100 + 1) {
      const std::int64_t o = i % s.O, w = i / s.O % s.OW, h = i / s.O / s.OW % s.OH, b = i / s.O / s.OW / s.OH;
      double z = static_cast<double>(bias.data()[o]);
      for (std::int64_t r = 0; r < s.R; ++r)
        for (std::int64_t k = 0; k < s.S; ++k)
          for (std::int64_t c = 0; c < s.C; ++c)
            z += static_cast<double>(x.data()[((b * s.H + h * s.stride + r) * s.W + w * s.stride + k) * s.C + c]) *
                 static_cast<double>(weight.data()[((o * s.R + r) * s.S + k) * s.C + c]);
      const double expected = s.activation == Activation::tanh ? std::tanh(z) : z > 0 ? z : s.slope * z;
      cuttle::require(std::abs(expected - static_cast<double>(y.data()[i])) < bound, "bench_conv2d: output ", i, " is ",
                      y.data()[i], ", expected ", expected);
    }
  }
};

// The eight layers on B maps of size x size, and the buffers of their gradients.
class Encoder {
 public:
  Encoder(std::int64_t B, std::int64_t size, Math math) {
    Tensor<float> x = normal({B, size, size, channels[0]}, 1);
    for (int i = 0; i < layer_count; ++i) {
      layers_.emplace_back(layer_shape(i, B, size, math), x);
      x = layers_.back().y;
      size = layers_.back().s.OH;
    }
    forward();
    for (const Layer& layer : layers_) layer.check();
  }

  void forward() {
    for (Layer& layer : layers_) layer.forward();
  }

  void step() {
    forward();
    layers_.back().dy = gradient_.defined() ? gradient_ : gradient_ = normal(layers_.back().y.shape(), 1);
    for (int i = layer_count - 1; i >= 0; --i) {
      Layer& layer = layers_[static_cast<std::size_t>(i)];
      Tensor<float> dx;
      if (i > 0) dx = Tensor<float>::empty(layer.x.shape());
      layer.backward(i > 0 ? dx.data() : nullptr, true);
      layer.dy = Tensor<float>();
      if (i > 0) layers_[static_cast<std::size_t>(i - 1)].dy = dx;
    }
  }

 private:
  std::vector<Layer> layers_;
  Tensor<float> gradient_;
};

double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int print_seconds(std::string_view what, Math math, int rounds) {
  const bool step = what == "step";
  cuttle::require(step || what == "dense", "bench_conv2d: --seconds step or dense, got '", what, "'");
  Encoder encoder(step ? patches : 1, step ? 32 : 256, math);
  if (step) encoder.step();
  std::vector<double> wall, cpu;
  for (int round = 0; round < rounds; ++round) {
    const double wall_start = wall_seconds(), cpu_start = cpu_seconds();
    step ? encoder.step() : encoder.forward();
    wall.push_back(wall_seconds() - wall_start);
    cpu.push_back(cpu_seconds() - cpu_start);
    std::printf("%.*s: %.4f s wall, %.4f s CPU\n", static_cast<int>(what.size()), what.data(), wall.back(), cpu.back());
  }
  std::printf("median of %d: %.4f s wall, %.4f s CPU (%d threads)\n", rounds, median(wall), median(cpu),
              cuttle::num_threads());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::vector<char*> rest;
    for (int i = 0; i < argc; ++i) {
      const std::string_view argument = argv[i];
      if (argument.starts_with("--threads="))
        cuttle::set_num_threads(std::atoi(argv[i] + std::strlen("--threads=")));
      else if (argument.starts_with("--patches="))
        patches = std::max(1, std::atoi(argv[i] + std::strlen("--patches=")));
      else
        rest.push_back(argv[i]);
    }
    if (rest.size() >= 4 && std::string_view(rest[1]) == "--seconds") {
      const std::string_view math = rest[3];
      cuttle::require(math == "fp32" || math == "winograd", "bench_conv2d: math is fp32 or winograd, got '", math, "'");
      return print_seconds(rest[2], math == "fp32" ? Math::fp32 : Math::winograd,
                           rest.size() > 4 ? std::max(1, std::atoi(rest[4])) : 5);
    }
    std::cerr << "bench_conv2d [--threads=N] [--patches=N] --seconds step|dense fp32|winograd [rounds]\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
