// Layers: parameters with the op that uses them.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/core/random.hpp"
#include "cuttle/nn/parameter.hpp"

namespace cuttle::nn {

// Random streams from here on draw initial parameters, one stream a parameter tensor.
inline constexpr std::uint64_t initialisation_streams = std::uint64_t{1} << 56;

// Draws the parameters of one layer after another, each from a random stream of its own.
//
// pytorch: weights and biases uniform in +-1/sqrt(fan_in), the defaults of PyTorch's convolution and linear layers.
// he: weights uniform with the variance that keeps that of activations: 2/((1 + slope^2) fan_in) before a leaky ReLU
//     (He et al. 2015, eq. 10 and 15), 1/fan_in before tanh or nothing (LeCun et al. 1998); biases zero.
class Initializer {
 public:
  enum class Scheme { pytorch, he };

  explicit Initializer(std::uint64_t seed, Scheme scheme = Scheme::pytorch) : seed_(seed), scheme_(scheme) {}

  template <class T>
  Tensor<T> weight(const Shape& shape, std::int64_t fan_in, Activation activation, double slope) {
    const double fan = static_cast<double>(fan_in);
    if (scheme_ == Scheme::pytorch) return uniform<T>(shape, 1 / std::sqrt(fan));
    const double kept = activation == Activation::leaky_relu ? (1 + slope * slope) / 2
                        : activation == Activation::relu     ? 0.5
                                                             : 1;
    return uniform<T>(shape, std::sqrt(3 / (kept * fan)));
  }
  template <class T>
  Tensor<T> bias(std::int64_t n, std::int64_t fan_in) {
    return uniform<T>({n}, scheme_ == Scheme::pytorch ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0);
  }

 private:
  template <class T>
  Tensor<T> uniform(const Shape& shape, double bound) {
    Tensor<T> values = Tensor<T>::empty(shape);
    const std::uint64_t stream = initialisation_streams + next_++;
    for (std::int64_t i = 0; i < values.numel(); ++i)
      values.data()[i] =
          static_cast<T>(bound * (2 * random_uniform_double(seed_, stream, static_cast<std::uint64_t>(i)) - 1));
    return values;
  }

  std::uint64_t seed_;
  Scheme scheme_;
  std::uint64_t next_ = 0;
};

// A convolution with bias and fused activation; weight (out, size, size, in).
template <class T>
struct Conv2d {
  Parameter<T> weight, bias;
  Conv2dOptions options;

  Conv2d(std::int64_t in, std::int64_t out, std::int64_t size, const Conv2dOptions& conv2d_options, Initializer& init)
      : weight{init.weight<T>({out, size, size, in}, in * size * size, conv2d_options.activation, conv2d_options.slope),
               {},
               true},
        bias{init.bias<T>(out, in * size * size), {}, true},
        options(conv2d_options) {}

  Var<T> operator()(const Var<T>& x, Tape<T>* tape) const { return (*this)(x, tape, options); }
  // With other options for this call: a stride or dilation that suits dense evaluation.
  Var<T> operator()(const Var<T>& x, Tape<T>* tape, const Conv2dOptions& call_options) const {
    return conv2d(x, weight.on(tape), bias.on(tape), call_options);
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    visit(prefix + "weight", weight);
    visit(prefix + "bias", bias);
  }
};

// A linear layer with bias and fused activation; weight (out, in).
template <class T>
struct Linear {
  Parameter<T> weight, bias;
  LinearOptions options;

  Linear(std::int64_t in, std::int64_t out, const LinearOptions& linear_options, Initializer& init)
      : weight{init.weight<T>({out, in}, in, linear_options.activation, linear_options.slope), {}, true},
        bias{init.bias<T>(out, in), {}, true},
        options(linear_options) {}

  Var<T> operator()(const Var<T>& x, Tape<T>* tape) const { return linear(x, weight.on(tape), bias.on(tape), options); }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    visit(prefix + "weight", weight);
    visit(prefix + "bias", bias);
  }
};

}  // namespace cuttle::nn
