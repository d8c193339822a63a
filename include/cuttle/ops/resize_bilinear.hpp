// resize_bilinear: images to an exact size, as PyTorch's interpolate(mode = "bilinear", align_corners = false).
// (data/resize.hpp resizes pictures, with antialiasing; this is for networks.)
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_resize_bilinear.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

namespace detail {
inline void require_resize(const char* op, const Shape& small, const char* what, std::int64_t OH, std::int64_t OW) {
  require(small.rank() == 4 && small[1] >= 1 && small[2] >= 1, op, ": ", what, " has shape ", small,
          ", expected (B,H,W,C) with pixels");
  require(OH >= 1 && OW >= 1, op, ": the other size is ", OH, " x ", OW);
  for (const std::int64_t extent : {small[1], small[2], OH, OW})
    require(extent <= seam::most_bilinear, op, ": ", extent, " pixels along an axis are more than ",
            seam::most_bilinear);
}
}  // namespace detail

// x (B,H,W,C) -> (B,OH,OW,C). Output pixel i of an axis lies at max(0, (i + 1/2) * size / output size - 1/2).
template <class T>
Tensor<T> resize_bilinear(const Tensor<T>& x, std::int64_t OH, std::int64_t OW) {
  detail::require_resize("resize_bilinear", x.shape(), "x", OH, OW);
  const std::int64_t B = x.size(0), C = x.size(3);
  Tensor<T> y = Tensor<T>::empty({B, OH, OW, C}, x.device());
  detail::dispatch<T>(
      "resize_bilinear", x.device(), &cpu::resize_bilinear<T>, &seam::OpTable<T>::resize_bilinear,
      seam::ResizeBilinearArgs<T>{B, x.size(1), x.size(2), C, OH, OW, x.data(), y.data(), nullptr, nullptr});
  return y;
}

// Its adjoint, as a gather: dy (B,OH,OW,C) -> dx (B,H,W,C).
template <class T>
Tensor<T> resize_bilinear_backward(const Tensor<T>& dy, std::int64_t H, std::int64_t W) {
  detail::require_resize("resize_bilinear_backward", dy.shape(), "dy", H, W);
  const std::int64_t B = dy.size(0), C = dy.size(3);
  Tensor<T> dx = Tensor<T>::empty({B, H, W, C}, dy.device());
  detail::dispatch<T>(
      "resize_bilinear_backward", dy.device(), &cpu::resize_bilinear_backward<T>,
      &seam::OpTable<T>::resize_bilinear_backward,
      seam::ResizeBilinearArgs<T>{B, H, W, C, dy.size(1), dy.size(2), nullptr, nullptr, dy.data(), dx.data()});
  return dx;
}

}  // namespace cuttle
