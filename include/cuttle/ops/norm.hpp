// batch_norm (Ioffe and Szegedy 2015) over the last axis and layer_norm (Ba, Kiros and Hinton 2016) along it, each with
// a residual and an activation behind it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/backend/cpu_norm.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

using seam::Activation;

// y = act((x - mean) / sqrt(var + epsilon) * weight + bias + residual), activation none, relu or leaky_relu.
struct NormOptions {
  double epsilon = 1e-5;
  Activation activation = Activation::none;
  double slope = 0.01;  // of leaky_relu
};
// Batch normalisation, whose statistics are the batch's or running ones.
struct BatchNormOptions : NormOptions {
  // In training the batch's mean and variance normalise, and the running ones become (1 - momentum) * running +
  // momentum * batch; else the running ones normalise.
  bool training = true;
  double momentum = 0.1;
};

// A normalised tensor, and the mean and 1/sqrt(var + epsilon) that backward reads.
template <class T>
struct Normalised {
  Tensor<T> y;
  Tensor<double> statistics;
};

// Gradients of what a normalisation took as (...,C) tensors; undefined where not wanted.
template <class T>
struct NormGradients {
  Tensor<T> dx, dresidual;
};

namespace detail {

template <class T>
void require_norm(const char* op, const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
                  const Tensor<T>& residual, const NormOptions& options) {
  require(x.rank() >= 2 && x.size(-1) >= 1, op, ": x has shape ", x.shape(), ", expected (...,C)");
  const Shape channels{x.size(-1)};
  require(weight.shape() == channels, op, ": weight has shape ", weight.shape(), ", x ", x.shape());
  require(!bias.defined() || bias.shape() == channels, op, ": bias has shape ", bias.shape(), ", x ", x.shape());
  require(!residual.defined() || residual.shape() == x.shape(), op, ": residual has shape ", residual.shape(), ", x ",
          x.shape());
  const Activation f = options.activation;
  require(f == Activation::none || f == Activation::relu || f == Activation::leaky_relu, op,
          ": activation must be none, relu or leaky_relu");
  require(options.epsilon > 0, op, ": epsilon must be positive, got ", options.epsilon);
  require(options.slope >= 0, op, ": slope must not be negative, got ", options.slope);
}

template <class T>
void require_norm_gradients(const char* op, const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& y,
                            const Tensor<T>& dy, const Tensor<T>& dweight, const Tensor<T>& dbias) {
  require(y.shape() == x.shape() && dy.shape() == x.shape(), op, ": x has shape ", x.shape(), ", y ", y.shape(),
          ", dy ", dy.shape());
  require(!dweight.defined() || dweight.shape() == weight.shape(), op, ": dweight has shape ", dweight.shape(),
          ", weight ", weight.shape());
  require(!dbias.defined() || dbias.shape() == weight.shape(), op, ": dbias has shape ", dbias.shape(), ", weight ",
          weight.shape());
}

// Ranges of rows with partial sums of their own: enough to fill a device, each long enough to pay for its sum.
inline std::int64_t norm_tiles(std::int64_t N, std::int64_t C) {
  return std::clamp<std::int64_t>(std::min(N, N * C / 8192), 1, 512);
}

}  // namespace detail

// x (...,C) with the channels last, as images (B,H,W,C); weight, bias (C); residual as x or undefined; running_mean and
// running_var (C), which training updates in place and may go without (both undefined). Training needs at least two
// values a channel. Sums are in double over ranges cut by shape.
template <class T>
Normalised<T> batch_norm(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, const Tensor<T>& residual,
                         Tensor<T> running_mean, Tensor<T> running_var, const BatchNormOptions& options = {}) {
  const char* op = "batch_norm";
  require(bias.defined(), op, ": bias is undefined");
  detail::require_norm(op, x, weight, bias, residual, options);
  const Device device = detail::common_device(op, x, weight, bias, residual, running_mean, running_var);
  const std::int64_t C = x.size(-1), N = x.numel() / C;
  require(running_mean.defined() == running_var.defined(), op, ": running_mean and running_var come together");
  require(options.training || running_mean.defined(), op, ": evaluation needs running_mean and running_var");
  require(!running_mean.defined() || (running_mean.shape() == Shape{C} && running_var.shape() == Shape{C}), op,
          ": running_mean has shape ", running_mean.shape(), ", running_var ", running_var.shape(), ", x ", x.shape());
  require(!options.training || N >= 2, op, ": training needs two values a channel or more, x has shape ", x.shape());
  const std::int64_t tiles = detail::norm_tiles(N, C);
  Normalised<T> result{Tensor<T>::empty(x.shape(), device), Tensor<double>::empty({2, C}, device)};
  auto partial = Tensor<double>::empty({tiles, 2, C}, device);
  detail::dispatch<T>(
      op, device, &cpu::batch_norm<T>, &seam::OpTable<T>::batch_norm,
      seam::BatchNormArgs<T>{N, C, options.training, options.epsilon, options.momentum, options.activation,
                             options.slope, x.data(), weight.data(), bias.data(), residual.data(), running_mean.data(),
                             running_var.data(), result.y.data(), result.statistics.data(), tiles, partial.data()});
  return result;
}

// Gradients for result = batch_norm(x, ...) and dy = d(loss)/d(result.y). dx and dresidual are made where wanted;
// dweight and dbias, where defined, are added to. In training the statistics depend on x; else they are constants.
template <class T>
NormGradients<T> batch_norm_backward(const Tensor<T>& x, const Tensor<T>& weight, const Normalised<T>& result,
                                     const Tensor<T>& dy, const BatchNormOptions& options, bool want_dx,
                                     bool want_dresidual, Tensor<T> dweight, Tensor<T> dbias) {
  const char* op = "batch_norm_backward";
  detail::require_norm(op, x, weight, {}, {}, options);
  detail::require_norm_gradients(op, x, weight, result.y, dy, dweight, dbias);
  const Device device = detail::common_device(op, x, weight, result.y, result.statistics, dy, dweight, dbias);
  const std::int64_t C = x.size(-1), N = x.numel() / C, tiles = detail::norm_tiles(N, C);
  NormGradients<T> gradients;
  if (want_dx) gradients.dx = Tensor<T>::empty(x.shape(), device);
  if (want_dresidual) gradients.dresidual = Tensor<T>::empty(x.shape(), device);
  auto sums = Tensor<double>::empty({2, C}, device), partial = Tensor<double>::empty({tiles, 2, C}, device);
  detail::dispatch<T>(
      op, device, &cpu::batch_norm_backward<T>, &seam::OpTable<T>::batch_norm_backward,
      seam::BatchNormBackwardArgs<T>{N, C, options.training, options.activation, options.slope, x.data(), weight.data(),
                                     result.y.data(), dy.data(), result.statistics.data(), gradients.dx.data(),
                                     gradients.dresidual.data(), dweight.data(), dbias.data(), sums.data(), tiles,
                                     partial.data()});
  return gradients;
}

// x (...,D), each of whose rows is normalised by its own mean and variance; weight, bias (D); residual as x or
// undefined.
template <class T>
Normalised<T> layer_norm(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, const Tensor<T>& residual,
                         const NormOptions& options = {}) {
  const char* op = "layer_norm";
  require(bias.defined(), op, ": bias is undefined");
  detail::require_norm(op, x, weight, bias, residual, options);
  const Device device = detail::common_device(op, x, weight, bias, residual);
  const std::int64_t D = x.size(-1), N = x.numel() / D;
  Normalised<T> result{Tensor<T>::empty(x.shape(), device), Tensor<double>::empty({N, 2}, device)};
  detail::dispatch<T>(
      op, device, &cpu::layer_norm<T>, &seam::OpTable<T>::layer_norm,
      seam::LayerNormArgs<T>{N, D, options.epsilon, options.activation, options.slope, x.data(), weight.data(),
                             bias.data(), residual.data(), result.y.data(), result.statistics.data()});
  return result;
}

// As batch_norm_backward.
template <class T>
NormGradients<T> layer_norm_backward(const Tensor<T>& x, const Tensor<T>& weight, const Normalised<T>& result,
                                     const Tensor<T>& dy, const NormOptions& options, bool want_dx, bool want_dresidual,
                                     Tensor<T> dweight, Tensor<T> dbias) {
  const char* op = "layer_norm_backward";
  detail::require_norm(op, x, weight, {}, {}, options);
  detail::require_norm_gradients(op, x, weight, result.y, dy, dweight, dbias);
  const Device device = detail::common_device(op, x, weight, result.y, result.statistics, dy, dweight, dbias);
  const std::int64_t D = x.size(-1), N = x.numel() / D;
  NormGradients<T> gradients;
  if (want_dx) gradients.dx = Tensor<T>::empty(x.shape(), device);
  if (want_dresidual) gradients.dresidual = Tensor<T>::empty(x.shape(), device);
  detail::dispatch<T>(
      op, device, &cpu::layer_norm_backward<T>, &seam::OpTable<T>::layer_norm_backward,
      seam::LayerNormBackwardArgs<T>{N, D, options.activation, options.slope, x.data(), weight.data(), result.y.data(),
                                     dy.data(), result.statistics.data(), gradients.dx.data(),
                                     gradients.dresidual.data(), dweight.data(), dbias.data()});
  return gradients;
}

}  // namespace cuttle
