// Layers: parameters with the op that uses them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
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
  // Draws nothing: for parameters that will be read from a file. Where it is said how many numbers that has, a module
  // that has more is an Error before its memory is taken.
  static Initializer to_be_read(std::int64_t numbers = std::numeric_limits<std::int64_t>::max()) {
    Initializer init(0);
    init.left_to_read_ = numbers;
    return init;
  }

  // A weight whose outputs are sums of fan_in products, before that activation.
  template <class T>
  Tensor<T> weight(const Shape& shape, std::int64_t fan_in, Activation activation, double slope) {
    const double fan = static_cast<double>(fan_in);
    if (scheme_ == Scheme::pytorch) return uniform<T>(shape, 1 / std::sqrt(fan));
    const double kept = activation == Activation::leaky_relu ? (1 + slope * slope) / 2
                        : activation == Activation::relu     ? 0.5
                                                             : 1;
    return uniform<T>(shape, std::sqrt(3 / (kept * fan)));
  }
  // Uniform in +-bound, whatever the scheme.
  template <class T>
  Tensor<T> uniform(const Shape& shape, double bound) {
    if (left_to_read_) {
      require(shape.numel() <= *left_to_read_, "a parameter of shape ", shape, " cannot be among the ", *left_to_read_,
              " numbers that are left to be read");
      *left_to_read_ -= shape.numel();
      return Tensor<T>::empty(shape);
    }
    Tensor<T> values = Tensor<T>::empty(shape);
    const std::uint64_t stream = initialisation_streams + next_++;
    for (std::int64_t i = 0; i < values.numel(); ++i)
      values.data()[i] =
          static_cast<T>(bound * (2 * random_uniform_double(seed_, stream, static_cast<std::uint64_t>(i)) - 1));
    return values;
  }
  // (n), by the scheme.
  template <class T>
  Tensor<T> bias(std::int64_t n, std::int64_t fan_in) {
    return uniform<T>({n}, scheme_ == Scheme::pytorch ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0);
  }

 private:
  std::uint64_t seed_;
  Scheme scheme_;
  std::uint64_t next_ = 0;
  std::optional<std::int64_t> left_to_read_;
};

// Whether a layer has a bias.
enum class Bias { none, learned };

// A convolution with fused activation and, unless told otherwise, a bias; weight (out, size, size, in).
template <class T>
struct Conv2d {
  Parameter<T> weight, bias;
  Conv2dOptions options;

  // A square kernel of size x size taps, from `in` to `out` channels.
  Conv2d(std::int64_t in, std::int64_t out, std::int64_t size, const Conv2dOptions& conv2d_options, Initializer& init,
         Bias with_bias = Bias::learned)
      : weight{init.weight<T>({out, size, size, in}, in * size * size, conv2d_options.activation, conv2d_options.slope),
               {},
               true},
        bias{with_bias == Bias::learned ? init.bias<T>(out, in * size * size) : Tensor<T>(), {}, true},
        options(conv2d_options) {}

  // x (B,H,W,in) -> (B,OH,OW,out); without a tape it only computes.
  Var<T> operator()(const Var<T>& x, Tape<T>* tape) const { return (*this)(x, tape, options); }
  // With other options for this call: a stride or dilation that suits dense evaluation.
  Var<T> operator()(const Var<T>& x, Tape<T>* tape, const Conv2dOptions& call_options) const {
    return conv2d(x, weight.on(tape), bias.value.defined() ? bias.on(tape) : Var<T>(), call_options);
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    visit(prefix + "weight", weight);
    if (bias.value.defined()) visit(prefix + "bias", bias);
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

  // x (B,in) -> (B,out).
  Var<T> operator()(const Var<T>& x, Tape<T>* tape) const { return linear(x, weight.on(tape), bias.on(tape), options); }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    visit(prefix + "weight", weight);
    visit(prefix + "bias", bias);
  }
};

// Which mean and variance a batch normalisation takes: those of the batch, and the running ones follow (training);
// those of the batch, and nothing changes; or the running ones.
enum class Statistics { training, batch, running };

// Batch normalisation of the last axis with fused residual and activation.
template <class T>
struct BatchNorm {
  Parameter<T> weight, bias, running_mean, running_var;

  explicit BatchNorm(std::int64_t channels)
      : weight{Tensor<T>::full({channels}, T(1)), {}, true},
        bias{Tensor<T>::zeros({channels}), {}, true},
        running_mean{Tensor<T>::zeros({channels}), {}, false},
        running_var{Tensor<T>::full({channels}, T(1)), {}, false} {}

  // residual may be a default Var, which is none; slope is of leaky_relu.
  Var<T> operator()(const Var<T>& x, Tape<T>* tape, Statistics statistics, Activation activation = Activation::none,
                    const Var<T>& residual = {}, double slope = 0.01) const {
    BatchNormOptions options;
    options.training = statistics != Statistics::running;
    options.activation = activation;
    options.slope = slope;
    const bool untracked = statistics == Statistics::batch;
    return batch_norm(x, weight.on(tape), bias.on(tape), residual, untracked ? Tensor<T>() : running_mean.value,
                      untracked ? Tensor<T>() : running_var.value, options);
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    visit(prefix + "weight", weight);
    visit(prefix + "bias", bias);
    visit(prefix + "running_mean", running_mean);
    visit(prefix + "running_var", running_var);
  }
};

// Layer normalisation along the last axis with fused residual and activation.
template <class T>
struct LayerNorm {
  Parameter<T> weight, bias;

  explicit LayerNorm(std::int64_t D)
      : weight{Tensor<T>::full({D}, T(1)), {}, true}, bias{Tensor<T>::zeros({D}), {}, true} {}

  // x (...,D); residual as x, or a default Var, which is none.
  Var<T> operator()(const Var<T>& x, Tape<T>* tape, Activation activation = Activation::none,
                    const Var<T>& residual = {}) const {
    NormOptions options;
    options.activation = activation;
    return layer_norm(x, weight.on(tape), bias.on(tape), residual, options);
  }

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    visit(prefix + "weight", weight);
    visit(prefix + "bias", bias);
  }
};

}  // namespace cuttle::nn
