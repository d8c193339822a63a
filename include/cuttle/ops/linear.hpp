// linear: y[b,o] = act(bias[o] + sum_c x[b,c] * weight[o,c]) (PyTorch's Linear), a convolution over one pixel.
#pragma once

#include "cuttle/ops/conv2d.hpp"

namespace cuttle {

// The activation behind a linear layer.
struct LinearOptions {
  Activation activation = Activation::none;
  double slope = 0.01;  // of leaky_relu
};

namespace detail {
template <class T>
Tensor<T> as_pixels(const char* name, const Tensor<T>& x) {
  require(x.rank() == 2, "linear: ", name, " has shape ", x.shape(), ", expected two extents");
  return x.reshape({x.size(0), 1, 1, x.size(1)});
}
inline Conv2dOptions conv2d_options(const LinearOptions& options) {
  return {.activation = options.activation, .slope = options.slope};
}
}  // namespace detail

// x (B,C), weight (O,C), bias (O) or undefined -> (B,O).
template <class T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
                 const LinearOptions& options = {}) {
  return conv2d(detail::as_pixels("x", x), detail::as_pixels("weight", weight), bias, detail::conv2d_options(options))
      .reshape({x.size(0), weight.size(0)});
}

// As conv2d_backward: returns dx where wanted, adds to dweight and dbias where they are defined.
template <class T>
Tensor<T> linear_backward(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& y, const Tensor<T>& dy,
                          const LinearOptions& options, bool want_dx, const Tensor<T>& dweight,
                          const Tensor<T>& dbias) {
  const Tensor<T> dx =
      conv2d_backward(detail::as_pixels("x", x), detail::as_pixels("weight", weight), detail::as_pixels("y", y),
                      detail::as_pixels("dy", dy), detail::conv2d_options(options), want_dx,
                      dweight.defined() ? detail::as_pixels("dweight", dweight) : dweight, dbias);
  return want_dx ? dx.reshape(x.shape()) : dx;
}

}  // namespace cuttle
