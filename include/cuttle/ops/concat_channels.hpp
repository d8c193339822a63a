// concat_channels and slice_channels: tensors side by side along their last axis, and a part of one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/backend/cpu_activation.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

namespace detail {
// The shape with another last extent.
inline Shape with_channels(const Shape& shape, std::int64_t C) {
  Shape changed;
  for (int i = 0; i + 1 < shape.rank(); ++i) changed.push_back(shape[i]);
  changed.push_back(C);
  return changed;
}
}  // namespace detail

// y[..., c] = a[..., c] for c < C, b[..., c - C] above: a (...,C), b (...,D) -> (...,C+D). Images are (B,H,W,C).
template <class T>
Tensor<T> concat_channels(const Tensor<T>& a, const Tensor<T>& b) {
  const char* op = "concat_channels";
  require(a.rank() >= 1 && a.rank() == b.rank() &&
              detail::with_channels(a.shape(), 0) == detail::with_channels(b.shape(), 0),
          op, ": a has shape ", a.shape(), ", b ", b.shape(), ", expected to differ in the last extent alone");
  const Device device = detail::common_device(op, a, b);
  const std::int64_t C = a.size(-1), D = b.size(-1);
  Tensor<T> y = Tensor<T>::empty(detail::with_channels(a.shape(), C + D), device);
  const std::int64_t N = y.numel() / std::max<std::int64_t>(C + D, 1);
  const auto copy = [&](const Tensor<T>& from, std::int64_t first) {
    detail::dispatch<T>(
        op, device, &cpu::copy_channels<T>, &seam::OpTable<T>::copy_channels,
        seam::CopyChannelsArgs<T>{N, from.size(-1), from.size(-1), C + D, from.data(), y.data() + first});
  };
  copy(a, 0);
  copy(b, C);
  return y;
}

// Channels [first, last) of x (...,C): (...,last-first).
template <class T>
Tensor<T> slice_channels(const Tensor<T>& x, std::int64_t first, std::int64_t last) {
  require(x.rank() >= 1 && 0 <= first && first <= last && last <= x.size(-1), "slice_channels: channels ", first,
          " to ", last, " of shape ", x.shape());
  Tensor<T> y = Tensor<T>::empty(detail::with_channels(x.shape(), last - first), x.device());
  const std::int64_t C = x.size(-1), N = x.numel() / std::max<std::int64_t>(C, 1);
  detail::dispatch<T>("slice_channels", x.device(), &cpu::copy_channels<T>, &seam::OpTable<T>::copy_channels,
                      seam::CopyChannelsArgs<T>{N, last - first, C, last - first, x.data() + first, y.data()});
  return y;
}

}  // namespace cuttle
