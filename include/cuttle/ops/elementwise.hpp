// Sums, differences, products and multiples of tensors of one shape.
#pragma once

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

namespace detail {
template <class T>
void elementwise(const char* op, seam::Elementwise f, const Tensor<T>& a, const Tensor<T>& b, double factor,
                 Tensor<T>& y) {
  require(!b.defined() || a.shape() == b.shape(), op, ": a has shape ", a.shape(), ", b has shape ", b.shape());
  const Device device = common_device(op, a, b);
  if (!y.defined()) y = Tensor<T>::empty(a.shape(), device);
  dispatch<T>(op, device, &cpu::elementwise<T>, &seam::OpTable<T>::elementwise,
              {f, a.numel(), a.data(), b.data(), factor, y.data()});
}
template <class T>
Tensor<T> elementwise(const char* op, seam::Elementwise f, const Tensor<T>& a, const Tensor<T>& b, double factor = 1) {
  Tensor<T> y;
  elementwise(op, f, a, b, factor, y);
  return y;
}
}  // namespace detail

// a + b.
template <class T>
Tensor<T> add(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::elementwise("add", seam::Elementwise::add, a, b);
}

// a += b.
template <class T>
void add_into(Tensor<T>& a, const Tensor<T>& b) {
  detail::elementwise("add_into", seam::Elementwise::add, a, b, 1, a);
}

// a - b.
template <class T>
Tensor<T> sub(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::elementwise("sub", seam::Elementwise::sub, a, b);
}

// a * b, element by element.
template <class T>
Tensor<T> multiply(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::elementwise("multiply", seam::Elementwise::multiply, a, b);
}

// factor * a.
template <class T>
Tensor<T> scale(const Tensor<T>& a, double factor) {
  return detail::elementwise("scale", seam::Elementwise::scale, a, Tensor<T>(), factor);
}

}  // namespace cuttle
