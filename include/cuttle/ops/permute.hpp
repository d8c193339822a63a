// permute: the one place where a layout is changed.
#pragma once

#include <array>
#include <cstdint>

#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

// y of shape (x.size(order[0]), x.size(order[1]), ...) with y[i_0, i_1, ...] = x at index i_k in dimension order[k]
// (PyTorch's permute(...).contiguous()). order names each of x's dimensions once.
template <class T>
Tensor<T> permute(const Tensor<T>& x, std::initializer_list<int> order) {
  require(static_cast<int>(order.size()) == x.rank(), "permute: ", order.size(), " dimensions for shape ", x.shape());
  detail::require_on_cpu("permute", x);
  const int rank = x.rank();
  std::array<std::int64_t, Shape::max_rank> x_stride{}, stride{}, index{};
  std::int64_t below = 1;
  for (int i = rank - 1; i >= 0; --i) {
    x_stride[static_cast<std::size_t>(i)] = below;
    below *= x.size(i);
  }
  Shape shape;
  std::array<bool, Shape::max_rank> seen{};
  for (int from : order) {
    require(from >= 0 && from < rank && !seen[static_cast<std::size_t>(from)], "permute: dimension ", from,
            " is repeated or not one of shape ", x.shape());
    seen[static_cast<std::size_t>(from)] = true;
    stride[static_cast<std::size_t>(shape.rank())] = x_stride[static_cast<std::size_t>(from)];
    shape.push_back(x.size(from));
  }
  Tensor<T> y = Tensor<T>::empty(shape);
  std::int64_t from = 0;
  for (std::int64_t to = 0; to < y.numel(); ++to) {
    y.data()[to] = x.data()[from];
    for (int i = rank - 1; i >= 0; --i) {
      const auto k = static_cast<std::size_t>(i);
      from += stride[k];
      if (++index[k] < shape[i]) break;
      from -= stride[k] * shape[i];
      index[k] = 0;
    }
  }
  return y;
}

}  // namespace cuttle
