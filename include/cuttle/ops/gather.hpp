// gather_rows: chosen rows of a matrix, and its adjoint.
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_layout.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

namespace detail {
template <class T>
Device require_rows(const char* op, const Tensor<T>& x, const Tensor<std::int32_t>& index) {
  require(x.rank() == 2 && index.rank() == 1, op, ": x has shape ", x.shape(), ", index ", index.shape(),
          ", expected (N,D) and (Q)");
  const Device device = common_device(op, x, index);
  if (device.is_cpu())
    for (const std::int32_t row : index.span())
      require(row >= 0 && row < x.size(0), op, ": index ", row, " is no row of x ", x.shape());
  return device;
}
}  // namespace detail

// y[q,:] = x[index[q],:]; x (N,D), index (Q) -> (Q,D). An index that is no row throws on the CPU; on a device, where
// that would mean waiting for it, its row of y is NaN.
template <class T>
Tensor<T> gather_rows(const Tensor<T>& x, const Tensor<std::int32_t>& index) {
  const Device device = detail::require_rows("gather_rows", x, index);
  const std::int64_t N = x.size(0), D = x.size(1), Q = index.numel();
  Tensor<T> y = Tensor<T>::empty({Q, D}, device);
  detail::dispatch<T>("gather_rows", device, &cpu::gather_rows<T>, &seam::OpTable<T>::gather_rows,
                      {N, D, Q, const_cast<T*>(x.data()), index.data(), y.data()});
  return y;
}

// The adjoint: dx[index[q],:] += dy[q,:] for q = 0, 1, ... in this order, so that repeated rows sum reproducibly. On a
// device an index that is no row is left out.
template <class T>
void add_rows(Tensor<T>& dx, const Tensor<std::int32_t>& index, const Tensor<T>& dy) {
  const Device device = detail::require_rows("add_rows", dx, index);
  const std::int64_t N = dx.size(0), D = dx.size(1), Q = index.numel();
  require(dy.shape() == Shape({Q, D}), "add_rows: dy has shape ", dy.shape(), ", expected ", Shape({Q, D}));
  detail::common_device("add_rows", dx, dy);
  detail::dispatch<T>("add_rows", device, &cpu::add_rows<T>, &seam::OpTable<T>::add_rows,
                      {N, D, Q, dx.data(), index.data(), const_cast<T*>(dy.data())});
}

}  // namespace cuttle
