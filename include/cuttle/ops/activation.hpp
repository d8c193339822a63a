// activate: an activation by itself; conv2d, linear and the normalisations have it fused.
#pragma once

#include "cuttle/backend/cpu_activation.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

using seam::Activation;

// act(x): relu max(x, 0), leaky_relu x or slope * x where x < 0, tanh, sigmoid 1/(1 + exp(-x)), none x. NaN stays NaN.
template <class T>
Tensor<T> activate(const Tensor<T>& x, Activation activation, double slope = 0.01) {
  require(slope >= 0, "activate: slope must not be negative, got ", slope);
  const Device device = x.device();
  Tensor<T> y = Tensor<T>::empty(x.shape(), device);
  detail::dispatch<T>("activate", device, &cpu::activate<T>, &seam::OpTable<T>::activate,
                      seam::ActivationArgs<T>{x.numel(), activation, slope, x.data(), y.data(), nullptr, nullptr});
  return y;
}

// dy * act'(x), for y = activate(x, ...), which is all it needs; at a kink the slope of its left side.
template <class T>
Tensor<T> activate_backward(const Tensor<T>& y, const Tensor<T>& dy, Activation activation, double slope = 0.01) {
  require(y.shape() == dy.shape(), "activate_backward: y has shape ", y.shape(), ", dy ", dy.shape());
  require(slope >= 0, "activate_backward: slope must not be negative, got ", slope);
  const Device device = detail::common_device("activate_backward", y, dy);
  Tensor<T> dx = Tensor<T>::empty(y.shape(), device);
  detail::dispatch<T>(
      "activate_backward", device, &cpu::activate_backward<T>, &seam::OpTable<T>::activate_backward,
      seam::ActivationArgs<T>{y.numel(), activation, slope, nullptr, const_cast<T*>(y.data()), dy.data(), dx.data()});
  return dx;
}

}  // namespace cuttle
