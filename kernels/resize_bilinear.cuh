// Bilinear resizing of images with their channels last, and its adjoint.
#pragma once

#include "cuttle/seam/bilinear.hpp"
#include "kernels/vocab.cuh"

namespace cuttle::kernels {

constexpr int resize_threads = 256;

// Neighbouring channels that neighbouring threads take: a power of two up to 32; the rest of a block takes pixels.
inline int resize_width(std::int64_t C) {
  int width = 1;
  while (width < 32 && width < C) width *= 2;
  return width;
}
inline dim3 resize_grid(std::int64_t rows, std::int64_t C) {
  const int width = resize_width(C);
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>((C + width - 1) / width));
}

// op: y[b,i,j,c] = sum of x[b,h,w,c] at the taps of i and j, with weights (1 - fraction) or fraction of each axis
// layout: x (B,H,W,C), y (B,OH,OW,C)
// launch: grid (B*OH, ceil(C/width)), block 256: width channels times 256/width pixels of a row
// order: above * (left, right) + below * (left, right), each one product and one fma
// limits: extents up to seam::most_bilinear, B*OH < 2^31
// cost: 4 reads, mostly cached, and a write an element: bound by memory
template <class T>
CUTTLE_KERNEL resize_bilinear_kernel(seam::ResizeBilinearArgs<T> a, int width) {
  const Global<const T> x = a.x;
  const Global<T> y = a.y;
  const int t = static_cast<int>(threadIdx.x);
  const std::int64_t row = blockIdx.x, c = static_cast<std::int64_t>(blockIdx.y) * width + t % width;
  if (c >= a.C) return;
  const std::int32_t W = static_cast<std::int32_t>(a.W), OW = static_cast<std::int32_t>(a.OW);
  const seam::BilinearTap down = seam::bilinear_tap(static_cast<std::int32_t>(row % a.OH),
                                                    static_cast<std::int32_t>(a.H), static_cast<std::int32_t>(a.OH));
  const std::int64_t image = row / a.OH * a.H, top = (image + down.first) * a.W, bottom = (image + down.second) * a.W;
  const T below = static_cast<T>(down.fraction), above = static_cast<T>(1 - down.fraction);
  for (std::int32_t w = t / width; w < OW; w += resize_threads / width) {
    const seam::BilinearTap across = seam::bilinear_tap(w, W, OW);
    const T right = static_cast<T>(across.fraction), left = static_cast<T>(1 - across.fraction);
    const T upper =
        fma(right, static_cast<T>(x[(top + across.second) * a.C + c]), left * x[(top + across.first) * a.C + c]);
    const T lower =
        fma(right, static_cast<T>(x[(bottom + across.second) * a.C + c]), left * x[(bottom + across.first) * a.C + c]);
    y[(row * a.OW + w) * a.C + c] = fma(below, lower, above * upper);
  }
}

template <class T>
void launch_resize_bilinear(const seam::ResizeBilinearArgs<T>& a, seam::Stream stream) {
  launch("resize_bilinear", &resize_bilinear_kernel<T>, resize_grid(a.B * a.OH, a.C), dim3(resize_threads), 0, stream,
         a, resize_width(a.C));
}

// op: dx[b,h,w,c] = sum over the output pixels that read (h, w) of their weight times dy[b,i,j,c]
// layout: dy (B,OH,OW,C), dx (B,H,W,C)
// launch: grid (B*H, ceil(C/width)), block as above
// order: i ascending, then j: a gather, deterministic
// limits: as above with B*H
// cost: about (2 OH/H + 2) (2 OW/W + 2) cached reads an element
template <class T>
CUTTLE_KERNEL resize_bilinear_backward_kernel(seam::ResizeBilinearArgs<T> a, int width) {
  const Global<const T> dy = a.dy;
  const Global<T> dx = a.dx;
  const int t = static_cast<int>(threadIdx.x);
  const std::int64_t row = blockIdx.x, c = static_cast<std::int64_t>(blockIdx.y) * width + t % width;
  if (c >= a.C) return;
  const std::int32_t H = static_cast<std::int32_t>(a.H), W = static_cast<std::int32_t>(a.W),
                     OH = static_cast<std::int32_t>(a.OH), OW = static_cast<std::int32_t>(a.OW);
  const std::int32_t h = static_cast<std::int32_t>(row % a.H);
  const seam::BilinearReaders rows = seam::bilinear_readers(h, H, OH);
  for (std::int32_t w = t / width; w < W; w += resize_threads / width) {
    const seam::BilinearReaders columns = seam::bilinear_readers(w, W, OW);
    T sum = 0;
    for (std::int32_t i = rows.first; i < rows.last; ++i) {
      const double down = seam::bilinear_weight(i, h, H, OH);
      if (down == 0) continue;
      for (std::int32_t j = columns.first; j < columns.last; ++j) {
        const T weight = static_cast<T>(down * seam::bilinear_weight(j, w, W, OW));
        if (weight != 0) sum = fma(weight, static_cast<T>(dy[((row / a.H * a.OH + i) * a.OW + j) * a.C + c]), sum);
      }
    }
    dx[(row * a.W + w) * a.C + c] = sum;
  }
}

template <class T>
void launch_resize_bilinear_backward(const seam::ResizeBilinearArgs<T>& a, seam::Stream stream) {
  launch("resize_bilinear_backward", &resize_bilinear_backward_kernel<T>, resize_grid(a.B * a.H, a.C),
         dim3(resize_threads), 0, stream, a, resize_width(a.C));
}

}  // namespace cuttle::kernels
