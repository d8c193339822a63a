// permute: the one place where a layout is changed.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <span>

#include "cuttle/backend/cpu_layout.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

// y of shape (x.size(order[0]), x.size(order[1]), ...) with y[i_0, i_1, ...] = x at index i_k in dimension order[k]
// (PyTorch's permute(...).contiguous()). order names each of x's dimensions once.
template <class T>
Tensor<T> permute(const Tensor<T>& x, std::span<const int> order) {
  require(static_cast<int>(order.size()) == x.rank(), "permute: ", order.size(), " dimensions for shape ", x.shape());
  const int rank = x.rank();
  std::array<std::int64_t, Shape::max_rank> x_stride{};
  std::int64_t below = 1;
  for (int i = rank - 1; i >= 0; --i) {
    x_stride[static_cast<std::size_t>(i)] = below;
    below *= x.size(i);
  }
  Shape shape;
  std::array<bool, Shape::max_rank> seen{};
  seam::PermuteArgs<T> args{rank, {}, {}, x.data(), nullptr};
  static_assert(Shape::max_rank <= std::size(args.extent));
  for (int from : order) {
    require(from >= 0 && from < rank && !seen[static_cast<std::size_t>(from)], "permute: dimension ", from,
            " is repeated or not one of shape ", x.shape());
    seen[static_cast<std::size_t>(from)] = true;
    args.extent[shape.rank()] = x.size(from);
    args.stride[shape.rank()] = x_stride[static_cast<std::size_t>(from)];
    shape.push_back(x.size(from));
  }
  Tensor<T> y = Tensor<T>::empty(shape, x.device());
  args.y = y.data();
  detail::dispatch<T>("permute", x.device(), &cpu::permute<T>, &seam::OpTable<T>::permute, args);
  return y;
}

// The same for an order written out.
template <class T>
Tensor<T> permute(const Tensor<T>& x, std::initializer_list<int> order) {
  return permute(x, std::span<const int>(order.begin(), order.size()));
}

}  // namespace cuttle
