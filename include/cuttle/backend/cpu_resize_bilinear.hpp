// Bilinear resizing and its adjoint on the CPU; the weights are in seam/bilinear.hpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/core/parallel.hpp"
#include "cuttle/seam/args.hpp"
#include "cuttle/seam/bilinear.hpp"

namespace cuttle::cpu {

template <class T>
void resize_bilinear(const seam::ResizeBilinearArgs<T>& a) {
  const auto H = static_cast<std::int32_t>(a.H), W = static_cast<std::int32_t>(a.W),
             OH = static_cast<std::int32_t>(a.OH), OW = static_cast<std::int32_t>(a.OW);
  parallel_for(a.B * a.OH, [&](std::int64_t row) {
    const seam::BilinearTap down = seam::bilinear_tap(static_cast<std::int32_t>(row % a.OH), H, OH);
    const T* const image = a.x + row / a.OH * a.H * a.W * a.C;
    const T *const top = image + down.first * a.W * a.C, *const bottom = image + down.second * a.W * a.C;
    const T below = static_cast<T>(down.fraction), above = static_cast<T>(1 - down.fraction);
    T* y = a.y + row * a.OW * a.C;
    for (std::int32_t w = 0; w < OW; ++w, y += a.C) {
      const seam::BilinearTap across = seam::bilinear_tap(w, W, OW);
      const T right = static_cast<T>(across.fraction), left = static_cast<T>(1 - across.fraction);
      const std::int64_t i = across.first * a.C, j = across.second * a.C;
      for (std::int64_t c = 0; c < a.C; ++c)
        y[c] =
            above * (left * top[i + c] + right * top[j + c]) + below * (left * bottom[i + c] + right * bottom[j + c]);
    }
  });
}

template <class T>
void resize_bilinear_backward(const seam::ResizeBilinearArgs<T>& a) {
  const auto H = static_cast<std::int32_t>(a.H), W = static_cast<std::int32_t>(a.W),
             OH = static_cast<std::int32_t>(a.OH), OW = static_cast<std::int32_t>(a.OW);
  parallel_for(a.B * a.H, [&](std::int64_t row) {
    const auto h = static_cast<std::int32_t>(row % a.H);
    const seam::BilinearReaders rows = seam::bilinear_readers(h, H, OH);
    T* dx = a.dx + row * a.W * a.C;
    for (std::int32_t w = 0; w < W; ++w, dx += a.C) {
      const seam::BilinearReaders columns = seam::bilinear_readers(w, W, OW);
      std::fill_n(dx, a.C, T(0));
      for (std::int32_t i = rows.first; i < rows.last; ++i) {
        const double down = seam::bilinear_weight(i, h, H, OH);
        if (down == 0) continue;
        for (std::int32_t j = columns.first; j < columns.last; ++j) {
          const T weight = static_cast<T>(down * seam::bilinear_weight(j, w, W, OW));
          if (weight == 0) continue;
          const T* const dy = a.dy + ((row / a.H * a.OH + i) * a.OW + j) * a.C;
          for (std::int64_t c = 0; c < a.C; ++c) dx[c] += weight * dy[c];
        }
      }
    }
  });
}

}  // namespace cuttle::cpu
