// Sums, differences and multiples of tensors of one shape.
#pragma once

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

namespace detail {
template <class T>
void require_same_shape(const char* op, const Tensor<T>& a, const Tensor<T>& b) {
  require(a.shape() == b.shape(), op, ": a has shape ", a.shape(), ", b has shape ", b.shape());
  require_on_cpu(op, a, b);
}
}  // namespace detail

// a + b.
template <class T>
Tensor<T> add(const Tensor<T>& a, const Tensor<T>& b) {
  detail::require_same_shape("add", a, b);
  Tensor<T> y = Tensor<T>::empty(a.shape());
  cpu::map(a.numel(), y.data(), a.data(), b.data(), [](T x, T z) { return x + z; });
  return y;
}

// a += b.
template <class T>
void add_into(Tensor<T>& a, const Tensor<T>& b) {
  detail::require_same_shape("add_into", a, b);
  cpu::map(a.numel(), a.data(), a.data(), b.data(), [](T x, T z) { return x + z; });
}

// a - b.
template <class T>
Tensor<T> sub(const Tensor<T>& a, const Tensor<T>& b) {
  detail::require_same_shape("sub", a, b);
  Tensor<T> y = Tensor<T>::empty(a.shape());
  cpu::map(a.numel(), y.data(), a.data(), b.data(), [](T x, T z) { return x - z; });
  return y;
}

// factor * a.
template <class T>
Tensor<T> scale(const Tensor<T>& a, double factor) {
  detail::require_on_cpu("scale", a);
  Tensor<T> y = Tensor<T>::empty(a.shape());
  cpu::map(a.numel(), y.data(), a.data(), [f = static_cast<T>(factor)](T x) { return f * x; });
  return y;
}

// a[i] = value for every i.
template <class T>
void fill(Tensor<T>& a, T value) {
  detail::require_on_cpu("fill", a);
  cpu::for_ranges(a.numel(), [p = a.data(), value](std::int64_t first, std::int64_t last) {
    std::fill(p + first, p + last, value);
  });
}

}  // namespace cuttle
