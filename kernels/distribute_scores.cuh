// Score maps: from patches to pixels, and the largest pixel.
#pragma once

#include "cuttle/seam/patch_range.hpp"
#include "kernels/indexing.cuh"

namespace cuttle::kernels {

constexpr int distribute_threads = 64;

// op: distribute_scores: maps[b,y,x] = mean of scores[b,i,j] over all patches (i, j) that cover (y, x) (Yi, Yoon, ACCV
//     2020, section 3.4); where none does, those of the nearest pixel that has some (seam/patch_range.hpp).
// layout: scores (B,I,J), maps (B,H,W).
// launch: a block of 64 threads for each tile of `stride` rows x 64 N columns. Within it the rows with the same
//     patches, mostly all, form a run: the block sums the patch rows over them once, column by column, into shared
//     memory (8 bytes for each of the at most (64 N + patch_size) / stride + 2 patches), then each thread makes the
//     mean of N neighbouring pixels, once where they have the same patches, and writes it to every row of the run.
// order: sums in double from zero, patch rows before columns, ascending, and one division: the CPU's bits.
// limits: N > 1 where W is a multiple of N and maps aligned to 16 bytes; H, W < 2^30; (64 N + patch_size) / stride up
//     to 20000, by the shared memory.
// cost: sizeof(T) written a pixel; the reads are stride^2 times fewer, the sums patch_size / stride a patch and a
//     pixel quadruple: write bandwidth.
template <class T, int N>
CUTTLE_KERNEL distribute_scores(seam::DistributeScoresArgs<T> a) {
  using Range = seam::PatchRange<std::int32_t>;
  CUTTLE_DYNAMIC_SHARED(double, sums);
  const Global<const T> scores = a.scores;
  const Global<T> maps = a.maps;
  const auto I = static_cast<std::int32_t>(a.I), J = static_cast<std::int32_t>(a.J);
  const auto H = static_cast<std::int32_t>(a.H), W = static_cast<std::int32_t>(a.W);
  const auto patch_size = static_cast<std::int32_t>(a.patch_size), stride = static_cast<std::int32_t>(a.stride);
  constexpr std::int32_t width = distribute_threads * N;
  const std::int32_t bands = (H - 1) / stride + 1, columns = (W - 1) / width + 1;
  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  for (std::int64_t work = blockIdx.x; work < a.B * bands * columns; work += gridDim.x) {
    const std::int64_t b = work / columns / bands;
    const std::int32_t y0 = static_cast<std::int32_t>(work / columns % bands) * stride,
                       x0 = static_cast<std::int32_t>(work % columns) * width;
    const std::int32_t end_y = H - y0 < stride ? H : y0 + stride, end_x = W - x0 < width ? W : x0 + width;
    const std::int32_t first_j = seam::patches_over(x0, J, patch_size, stride).first;
    const std::int32_t last_j = seam::patches_over(end_x - 1, J, patch_size, stride).last;
    for (std::int32_t y = y0, end_run; y < end_y; y = end_run) {
      const Range rows = seam::patches_over(y, I, patch_size, stride);
      end_run = y + 1;
      while (end_run < end_y && seam::patches_over(end_run, I, patch_size, stride) == rows) ++end_run;

      for (std::int32_t j = first_j + thread; j < last_j; j += distribute_threads) {
        double sum = 0;
        for (std::int32_t i = rows.first; i < rows.last; ++i)
          sum += static_cast<double>(scores[(b * a.I + i) * a.J + j]);
        sums[j - first_j] = sum;
      }
      __syncthreads();
      const std::int32_t x = x0 + thread * N;
      if (x < end_x) {
        const auto mean_over = [&](const Range& cols) {
          double sum = 0;
          for (std::int32_t j = cols.first; j < cols.last; ++j) sum += sums[j - first_j];
          return static_cast<T>(sum / static_cast<double>(std::int64_t{rows.size()} * cols.size()));
        };
        const Range first = seam::patches_over(x, J, patch_size, stride);
        const Range last = seam::patches_over(x + N - 1, J, patch_size, stride);
        T means[N];
        for (int k = 0; k < N; ++k)
          means[k] = k == 0          ? mean_over(first)
                     : first == last ? means[0]
                                     : mean_over(seam::patches_over(x + k, J, patch_size, stride));
        for (std::int32_t row = y; row < end_run; ++row) store_values(maps + ((b * a.H + row) * a.W + x), means);
      }
      __syncthreads();  // before the next run's sums
    }
  }
}

template <class T>
void launch_distribute_scores(const seam::DistributeScoresArgs<T>& a, seam::Stream stream) {
  const char* op = "distribute_scores";
  constexpr std::int64_t most_pixels = std::numeric_limits<std::int32_t>::max() / 2;
  if (a.H > most_pixels || a.W > most_pixels) throw Error(std::string(op) + ": H and W must be below 2^30");
  seam::DistributeScoresArgs<T> args = a;  // the stride of a single patch is any number
  args.stride = a.I == 1 && a.J == 1 ? a.H + a.W : a.stride;
  constexpr int N = pack_size<T>;
  const bool packs = a.W % N == 0 && aligned(a.maps);
  const std::int64_t width = distribute_threads * (packs ? N : 1);
  const std::int64_t blocks = a.B * ((a.H - 1) / args.stride + 1) * ((a.W - 1) / width + 1);
  const std::int64_t most = (width + a.patch_size) / args.stride + 2;
  const auto kernel = packs ? &distribute_scores<T, N> : &distribute_scores<T, 1>;
  launch(op, kernel, blocks_for(blocks, 1), distribute_threads,
         static_cast<std::size_t>(most < a.J ? most : a.J) * sizeof(double), stream, args);
}

// op: max_over_pixels: scores[b] = the largest of maps[b,0..n-1]; NaN where one of them is.
// layout: maps (B,n), scores (B).
// launch: a block of 512 threads for each image, striding over the grid.
// order: each thread its pixels, then a shuffle tree in each warp, then one warp over the warps' results; the largest
//     value does not depend on the order, NaN wins over all.
// limits: n >= 1; packs where n is a multiple and maps aligned to 16 bytes.
// cost: the maps read once: bandwidth for many images, the bandwidth of one multiprocessor for one.
constexpr int max_threads = 512;
template <class T>
CUTTLE_DEVICE T larger_or_nan(T a, T b) {
  return a != a ? a : a < b || b != b ? b : a;
}
template <class T>
CUTTLE_DEVICE T warp_max(T value) {
  for (int apart = warp_size / 2; apart > 0; apart /= 2)
    value = larger_or_nan(value, __shfl_xor_sync(full_mask, value, apart));
  return value;
}
template <class T, int N>
CUTTLE_KERNEL max_over_pixels(seam::MaxOverPixelsArgs<T> a) {
  constexpr int warps = max_threads / warp_size;
  CUTTLE_SHARED(T, warp_largest, warps);
  const Global<const T> maps = a.maps;
  const Global<T> scores = a.scores;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size;
  for (std::int64_t b = blockIdx.x; b < a.B; b += gridDim.x) {
    T largest = maps[b * a.n];
    for (std::int64_t i = thread; i < a.n / N; i += max_threads) {
      const Pack<T, N> pack = load_pack<N>(maps + (b * a.n + i * N));
      for (int k = 0; k < N; ++k) largest = larger_or_nan(largest, pack.at[k]);
    }
    largest = warp_max(largest);
    if (lane == 0) warp_largest[thread / warp_size] = largest;
    __syncthreads();
    if (thread < warp_size) {
      largest = warp_max(lane < warps ? static_cast<T>(warp_largest[lane]) : largest);
      if (lane == 0) scores[b] = largest;
    }
    __syncthreads();  // before the next image's
  }
}

template <class T>
void launch_max_over_pixels(const seam::MaxOverPixelsArgs<T>& a, seam::Stream stream) {
  constexpr int N = pack_size<T>;
  const auto kernel = a.n % N == 0 && aligned(a.maps) ? &max_over_pixels<T, N> : &max_over_pixels<T, 1>;
  launch("max_over_pixels", kernel, blocks_for(a.B, 1), max_threads, 0, stream, a);
}

}  // namespace cuttle::kernels
