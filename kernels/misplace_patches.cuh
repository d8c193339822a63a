// Images of a batch with parts where they do not belong.
#pragma once

#include "cuttle/seam/misplaced_piece.hpp"
#include "kernels/extract_patches.cuh"

namespace cuttle::kernels {

constexpr int misplace_threads = 256,
              misplace_values = 4 * misplace_threads;  // of an image, that a block writes at once
constexpr std::int64_t misplace_blocks = 2048;         // at most: more than run at a time

// op: misplace_patches: y = images, then y[b,i,j,c] = opacity * content + (1 - opacity) * y[b,i,j,c] for each piece of
//     image b that covers (i, j), one after the other; content is of images, mirrored or exchanged, or a constant
//     (after Li et al., CVPR 2021, and Tan et al., 2020).
// layout: images and y (B,H,H,C), which do not overlap; state (1) or null.
// launch: a block of 256 for each 1024 values of an image, striding over `tiles` = B * ceil(H*H*C / 1024); shared: a
//     piece's 40 bytes for each of most_pieces, which the block's first threads draw.
// order: every value is one thread's, its pieces in their order; one product and one fma a piece: the CPU's bits.
// limits: Index holds H*H*C + 2048; most_pieces <= 256.
// cost: 2 * sizeof(T) bytes a value and sizeof(T) for each piece over it: copy bandwidth, behind seven Philox blocks
//     and two barriers; at SQUID's batch of 16 images of 128 x 128 the launch itself.
template <class T, class Index>
CUTTLE_KERNEL misplace_patches_kernel(seam::MisplacePatchesArgs<T> a, Index values, std::int64_t tiles) {
  CUTTLE_DYNAMIC_SHARED(seam::MisplacedPiece, drawn);
  const Global<const T> images = a.images;
  const Global<T> y = a.y;
  const std::uint64_t stream = a.stream + static_cast<std::uint64_t>(step_of(a.state, a.step));
  const Index H = static_cast<Index>(a.H), C = static_cast<Index>(a.C);
  const std::int64_t tiles_an_image = (std::int64_t{values} + misplace_values - 1) / misplace_values;
  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const std::int64_t b = tile / tiles_an_image, image = b * std::int64_t{values};
    const int pieces = static_cast<int>(seam::count_misplaced_pieces(a.options, a.seed, stream, b));
    __syncthreads();  // the last tile's pieces are done with
    if (static_cast<int>(threadIdx.x) < pieces)
      drawn[threadIdx.x] =
          seam::sample_misplaced_piece(a.options, a.B, a.H, a.grid, a.seed, stream, b, std::int64_t{threadIdx.x});
    __syncthreads();
    const Index first = static_cast<Index>((tile - b * tiles_an_image) * misplace_values) + threadIdx.x;
    for (Index e = first; e < values && e < first + misplace_values; e += misplace_threads) {
      const Index pixel = e / C, c = e - pixel * C, i = pixel / H, j = pixel - i * H;
      T value = images[image + e];
      for (int k = 0; k < pieces; ++k) {
        const seam::MisplacedPiece p = drawn[k];
        if (!seam::covers(p, i, j)) continue;
        T content = static_cast<T>(p.gray);
        if (p.image >= 0) {
          const seam::PiecePixel from = seam::piece_source(p, i, j);
          content = images[p.image * std::int64_t{values} + (from.row * a.H + from.column) * a.C + c];
        }
        value = seam::lay_piece(p.opacity, content, value);
      }
      y[image + e] = value;
    }
  }
}

template <class T>
void launch_misplace_patches(const seam::MisplacePatchesArgs<T>& a, seam::Stream stream) {
  static_assert(seam::most_misplaced_pieces <= misplace_threads);
  const std::int64_t values = a.H * a.H * a.C, tiles = a.B * ((values + misplace_values - 1) / misplace_values);
  with_index(values, [&](auto count) {
    launch("misplace_patches", &misplace_patches_kernel<T, decltype(count)>,
           static_cast<unsigned>(tiles < misplace_blocks ? tiles : misplace_blocks), misplace_threads,
           static_cast<std::size_t>(a.options.most_pieces) * sizeof(seam::MisplacedPiece), stream, a, count, tiles);
  });
}

}  // namespace cuttle::kernels
