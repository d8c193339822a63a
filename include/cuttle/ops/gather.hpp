// gather_rows: chosen rows of a matrix, and its adjoint.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

namespace detail {
template <class T>
void require_rows(const char* op, const Tensor<T>& x, const Tensor<std::int32_t>& index) {
  require(x.rank() == 2 && index.rank() == 1, op, ": x has shape ", x.shape(), ", index ", index.shape(),
          ", expected (N,D) and (Q)");
  require_on_cpu(op, x, index);
  for (const std::int32_t row : index.span())
    require(row >= 0 && row < x.size(0), op, ": index ", row, " is no row of x ", x.shape());
}
}  // namespace detail

// y[q,:] = x[index[q],:]; x (N,D), index (Q) -> (Q,D).
template <class T>
Tensor<T> gather_rows(const Tensor<T>& x, const Tensor<std::int32_t>& index) {
  detail::require_rows("gather_rows", x, index);
  const std::int64_t Q = index.numel(), D = x.size(1);
  Tensor<T> y = Tensor<T>::empty({Q, D});
  for (std::int64_t q = 0; q < Q; ++q) std::copy_n(x.data() + index.data()[q] * D, D, y.data() + q * D);
  return y;
}

// The adjoint: dx[index[q],:] += dy[q,:] for q = 0, 1, ... in this order, so that repeated rows sum reproducibly.
template <class T>
void add_rows(Tensor<T>& dx, const Tensor<std::int32_t>& index, const Tensor<T>& dy) {
  detail::require_rows("add_rows", dx, index);
  const std::int64_t Q = index.numel(), D = dx.size(1);
  require(dy.shape() == Shape({Q, D}), "add_rows: dy has shape ", dy.shape(), ", expected ", Shape({Q, D}));
  for (std::int64_t q = 0; q < Q; ++q) {
    T* row = dx.data() + index.data()[q] * D;
    for (std::int64_t d = 0; d < D; ++d) row[d] += dy.data()[q * D + d];
  }
}

}  // namespace cuttle
