// Farthest-first traversal: the rows of a coreset, one after the other.
#pragma once

#include "kernels/vocab.cuh"

namespace cuttle::kernels {

constexpr int k_center_threads = 128;

// A row and how far it is from its nearest centre, squared. Of two rows that are equally far the lower comes first,
// whatever the order in which they meet.
struct FarthestRow {
  double squared = -2;  // below every row's
  std::int64_t index = 0;

  CUTTLE_DEVICE void meet(double other_squared, std::int64_t other_index) {
    if (other_squared > squared || (other_squared == squared && other_index < index)) {
      squared = other_squared;
      index = other_index;
    }
  }
};

// The farthest of the block's rows, known to thread 0 alone.
CUTTLE_DEVICE FarthestRow farthest_in_block(FarthestRow mine, Shared<double> squared, Shared<std::int64_t> index) {
  const int t = static_cast<int>(threadIdx.x);
  squared[t] = mine.squared;
  index[t] = mine.index;
  __syncthreads();
  for (int half = k_center_threads / 2; half > 0; half /= 2) {
    if (t < half) {
      mine.meet(squared[t + half], index[t + half]);
      squared[t] = mine.squared;
      index[t] = mine.index;
    }
    __syncthreads();
  }
  return mine;
}

// op: nearest[n] = min(nearest[n], sum_d fma((double)rows[n,d] - (double)rows[c,d], same, acc)), c = index[step]
//     (Gonzalez 1985), -1 from then on for n = c; partial, partial_index = the farthest row of each block
// layout: rows (N,D), index (K), nearest (N), partial and partial_index (blocks); none aliases another
// launch: grid seam::k_center_blocks(N), block 128, one thread a row; static shared 128 * 64 bytes of rows and padding,
//     128 * 16 for the farthest
// order: each sum by one thread in index order; the farthest by (distance, lower index), so in any order: deterministic
// limits: any N, D >= 1; rows finite
// cost: N * D * sizeof(T) bytes read once, coalesced through shared memory, and 16 N for nearest; N * D fma in double:
//     bandwidth bound where double runs at half or a quarter of the rate of float
template <class T>
CUTTLE_KERNEL k_center_update_kernel(seam::KCenterGreedyArgs<T> a, std::int64_t step) {
  constexpr int threads = k_center_threads, columns = 64 / static_cast<int>(sizeof(T)), stride = columns + 1;
  CUTTLE_SHARED(T, slice, threads * stride);
  CUTTLE_SHARED(double, squares, threads);
  CUTTLE_SHARED(std::int64_t, indices, threads);
  const Global<const T> rows = a.rows;
  const Global<const std::int64_t> chosen = a.index;
  const Global<double> nearest = a.nearest;
  const Global<double> partial = a.partial;
  const Global<std::int64_t> partial_index = a.partial_index;
  const int t = static_cast<int>(threadIdx.x);
  const std::int64_t centre = chosen[step];
  FarthestRow farthest;
  for (std::int64_t first = std::int64_t{blockIdx.x} * threads; first < a.N;
       first += std::int64_t{gridDim.x} * threads) {
    const std::int64_t n = first + t;
    double squared = 0;
    for (std::int64_t d0 = 0; d0 < a.D; d0 += columns) {
      __syncthreads();
      for (int e = t; e < threads * columns; e += threads) {
        const std::int64_t row = first + e / columns, d = d0 + e % columns;
        if (row < a.N && d < a.D) slice[e / columns * stride + e % columns] = rows[row * a.D + d];
      }
      __syncthreads();
      const std::int64_t left = a.D - d0, end = left < columns ? left : columns;
      if (n < a.N)
        for (int d = 0; d < end; ++d) {
          const double x =
              static_cast<double>(slice[t * stride + d]) - static_cast<double>(rows[centre * a.D + d0 + d]);
          squared = fma(x, x, squared);
        }
    }
    if (n < a.N) {
      const double before = step == 0 ? squared : nearest[n];
      const double now = n == centre ? -1 : before < squared ? before : squared;
      nearest[n] = now;
      farthest.meet(now, n);
    }
  }
  farthest = farthest_in_block(farthest, squares, indices);
  if (t == 0) {
    partial[blockIdx.x] = farthest.squared;
    partial_index[blockIdx.x] = farthest.index;
  }
}

// op: radius[step] = sqrt(max(0, max_b partial[b])), index[step+1] = partial_index of the first such b
// layout: partial, partial_index (blocks), index, radius (K)
// launch: grid 1, block 128; static shared 128 * 16 bytes
// order: as above; after the update of the same step
// limits: step + 1 == K leaves index as it is
// cost: 16 bytes a block
template <class T>
CUTTLE_KERNEL k_center_select_kernel(seam::KCenterGreedyArgs<T> a, std::int64_t step) {
  CUTTLE_SHARED(double, squares, k_center_threads);
  CUTTLE_SHARED(std::int64_t, indices, k_center_threads);
  const Global<const double> partial = a.partial;
  const Global<const std::int64_t> partial_index = a.partial_index;
  const Global<std::int64_t> index = a.index;
  const Global<T> radius = a.radius;
  const std::int64_t blocks = seam::k_center_blocks(a.N);
  FarthestRow farthest;
  for (std::int64_t b = threadIdx.x; b < blocks; b += k_center_threads) farthest.meet(partial[b], partial_index[b]);
  farthest = farthest_in_block(farthest, squares, indices);
  if (threadIdx.x != 0) return;
  radius[step] = static_cast<T>(sqrt(fmax(farthest.squared, 0.0)));
  if (step + 1 < a.K) index[step + 1] = farthest.index;
}

template <class T>
void launch_k_center_greedy(const seam::KCenterGreedyArgs<T>& a, seam::Stream stream) {
  const auto blocks = static_cast<unsigned>(seam::k_center_blocks(a.N));
  for (std::int64_t step = 0; step < a.K; ++step) {
    launch("k_center_greedy", &k_center_update_kernel<T>, dim3(blocks), dim3(k_center_threads), 0, stream, a, step);
    launch("k_center_greedy", &k_center_select_kernel<T>, dim3(1), dim3(k_center_threads), 0, stream, a, step);
  }
}

}  // namespace cuttle::kernels
