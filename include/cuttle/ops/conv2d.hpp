// conv2d: cross-correlation with bias and a fused activation, channels last (PyTorch's Conv2d):
//   y[b,i,j,o] = act(bias[o] + sum_{r,s,c} x[b, i*stride + r*dilation - padding, j*stride + s*dilation - padding, c]
//                                          * weight[o,r,s,c])
#pragma once

#include "cuttle/backend/cpu_conv2d.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

using seam::Activation;
using seam::Math;

// Stride, padding (zeros, on every side) and dilation in pixels, of both axes; what is fused behind the sum; how
// products are computed.
struct Conv2dOptions {
  std::int64_t stride = 1, padding = 0, dilation = 1;
  Activation activation = Activation::none;
  double slope = 0.01;  // of leaky_relu
  Math math = Math::fp32;
};

namespace detail {

template <class T>
seam::Conv2dShape conv2d_shape(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
                               const Conv2dOptions& options) {
  require(x.rank() == 4, "conv2d: x has shape ", x.shape(), ", expected (B,H,W,C)");
  require(weight.rank() == 4, "conv2d: weight has shape ", weight.shape(), ", expected (O,R,S,C)");
  require(weight.size(3) == x.size(3), "conv2d: x ", x.shape(), " has ", x.size(3), " channels, weight ",
          weight.shape(), " expects ", weight.size(3));
  require(!bias.defined() || bias.shape() == Shape{weight.size(0)}, "conv2d: bias has shape ", bias.shape(),
          ", expected [", weight.size(0), "]");
  require(options.stride >= 1 && options.dilation >= 1 && options.padding >= 0, "conv2d: stride ", options.stride,
          ", dilation ", options.dilation, ", padding ", options.padding);
  require(weight.size(1) >= 1 && weight.size(2) >= 1, "conv2d: weight ", weight.shape(), " has no taps");
  require(options.activation != Activation::sigmoid, "conv2d: sigmoid is not fused; use activate");
  const auto extent = [&](std::int64_t size, std::int64_t taps) {
    const std::int64_t room = size + 2 * options.padding - options.dilation * (taps - 1) - 1;
    require(room >= 0, "conv2d: x ", x.shape(), " is smaller than the reach of weight ", weight.shape(),
            " with padding ", options.padding, " and dilation ", options.dilation);
    return room / options.stride + 1;
  };
  common_device("conv2d", x, weight, bias);
  return {x.size(0),
          x.size(1),
          x.size(2),
          x.size(3),
          weight.size(0),
          weight.size(1),
          weight.size(2),
          extent(x.size(1), weight.size(1)),
          extent(x.size(2), weight.size(2)),
          options.stride,
          options.padding,
          options.dilation,
          options.activation,
          options.slope,
          options.math};
}

// The scratch that the device wants for this shape; the CPU wants none.
template <class T>
Tensor<std::byte> conv2d_workspace(Device device, const seam::Conv2dShape& shape, bool backward) {
  if (device.is_cpu()) return {};
  const std::size_t bytes = table_of(device).conv2d_workspace(device.index, shape, sizeof(T), backward);
  return Tensor<std::byte>::empty({static_cast<std::int64_t>(bytes)}, device);
}

}  // namespace detail

// x (B,H,W,C), weight (O,R,S,C), bias (O) or undefined -> (B,OH,OW,O).
template <class T>
Tensor<T> conv2d(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
                 const Conv2dOptions& options = {}) {
  const seam::Conv2dShape shape = detail::conv2d_shape(x, weight, bias, options);
  const Device device = detail::common_device("conv2d", x, weight, bias);
  Tensor<T> y = Tensor<T>::empty({shape.B, shape.OH, shape.OW, shape.O}, device);
  Tensor<std::byte> workspace = detail::conv2d_workspace<T>(device, shape, false);
  detail::dispatch<T>("conv2d", device, &cpu::conv2d<T>, &seam::OpTable<T>::conv2d,
                      {shape, x.data(), weight.data(), bias.data(), y.data(), workspace.data(),
                       static_cast<std::size_t>(workspace.numel())});
  return y;
}

// The gradients for y = conv2d(x, weight, ...) and dy = d(loss)/dy. dx is made where want_dx; dweight and dbias, where
// defined, are added to.
template <class T>
Tensor<T> conv2d_backward(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& y, const Tensor<T>& dy,
                          const Conv2dOptions& options, bool want_dx, Tensor<T> dweight, Tensor<T> dbias) {
  const seam::Conv2dShape shape = detail::conv2d_shape(x, weight, dbias, options);
  require(y.shape() == Shape({shape.B, shape.OH, shape.OW, shape.O}) && dy.shape() == y.shape(),
          "conv2d_backward: y has shape ", y.shape(), ", dy has shape ", dy.shape());
  require(!dweight.defined() || dweight.shape() == weight.shape(), "conv2d_backward: dweight has shape ",
          dweight.shape(), ", weight ", weight.shape());
  const Device device = detail::common_device("conv2d_backward", x, weight, y, dy, dweight, dbias);
  Tensor<T> dx = want_dx ? Tensor<T>::empty(x.shape(), device) : Tensor<T>();
  Tensor<std::byte> workspace = detail::conv2d_workspace<T>(device, shape, true);
  detail::dispatch<T>("conv2d_backward", device, &cpu::conv2d_backward<T>, &seam::OpTable<T>::conv2d_backward,
                      {shape, x.data(), weight.data(), y.data(), dy.data(), dx.data(), dweight.data(), dbias.data(),
                       workspace.data(), static_cast<std::size_t>(workspace.numel())});
  return dx;
}

}  // namespace cuttle
