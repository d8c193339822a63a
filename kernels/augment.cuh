// Images of a batch, shifted and zoomed at random.
#pragma once

#include "cuttle/seam/random_affine.hpp"
#include "kernels/extract_patches.cuh"

namespace cuttle::kernels {

constexpr int augment_rows = 8;  // of an image, that a thread goes down

// op: augment: y[b,i,j,c] = image[rows[b], i', j', c] / 255, i' = floor((i + 1/2 - H/2 - down) / scale + H/2) and j'
//     likewise, 0 outside the image (Xiang et al., CVPR 2023: SQUID's training images); NaN where rows[b] is no image.
// layout: image (N,H,W,C) bytes, rows (B), y (B,H,W,C).
// launch: a thread for each value of a row in each strip of 8 rows, blocks of 128, striding over the grid;
//     threads = B * ceil(H/8) * W*C. Every thread draws its image's map: integer work that neighbours share, and no
//     barrier.
// order: every value by itself; one correctly rounded quotient: the CPU's bits.
// limits: Index holds `threads` and a grid's stride more.
// cost: 1 byte read and sizeof(T) written a value, nine divisions in double for eight values and two Philox blocks: at
//     SQUID's batch of 16 images of 128 x 128 the launch itself.
template <class T, class Index>
CUTTLE_KERNEL augment_kernel(seam::AugmentArgs<T> a, Index threads) {
  const Global<const std::uint8_t> image = a.images;
  const Global<const std::int64_t> rows = a.rows;
  const Global<T> y = a.y;
  const std::int64_t step = step_of(a.state, a.step), width = a.W * a.C;
  const Index row_values = static_cast<Index>(width), C = static_cast<Index>(a.C);
  const Index strips = static_cast<Index>((a.H + augment_rows - 1) / augment_rows);
  for (Index e = static_cast<Index>(thread_index()); e < threads; e += static_cast<Index>(thread_count())) {
    const Index strip = e / row_values, value = e - strip * row_values, j = value / C;
    const std::int64_t b = strip / strips, top = std::int64_t{strip % strips} * augment_rows, row = rows[b];
    const bool known = row >= 0 && row < a.N;
    const seam::AffineMap map = seam::sample_affine_map(a.options, a.H, a.W, a.seed, step, b);
    const std::int64_t column = seam::affine_source(j, a.W, map.right, map.scale);
    const std::int64_t from = row * a.H * width + column * a.C + (value - j * C);
    const std::int64_t to = b * a.H * width + value;
#pragma unroll
    for (int k = 0; k < augment_rows; ++k) {
      const std::int64_t i = top + k;
      if (i >= a.H) break;
      const std::int64_t line = seam::affine_source(i, a.H, map.down, map.scale);
      T shown = known ? T(0) : std::numeric_limits<T>::quiet_NaN();
      if (known && column >= 0 && line >= 0) shown = static_cast<T>(image[from + line * width]) / T(255);
      y[to + i * width] = shown;
    }
  }
}

template <class T>
void launch_augment(const seam::AugmentArgs<T>& a, seam::Stream stream) {
  const std::int64_t threads = a.B * ((a.H + augment_rows - 1) / augment_rows) * a.W * a.C;
  with_index(threads, [&](auto count) {
    launch("augment", &augment_kernel<T, decltype(count)>, blocks_for(threads, 128), 128, 0, stream, a, count);
  });
}

}  // namespace cuttle::kernels
