// Sums over the threads of a block in a fixed tree.
#pragma once

#include "kernels/vocab.cuh"

namespace cuttle::kernels {

// The sum of `value` over all of the block's `threads` threads with the same threadIdx.x % width; width and threads are
// powers of two, shared holds `threads` values. Every thread gets its column's sum, and shared is free again.
template <int threads>
CUTTLE_DEVICE double column_sum(double value, Shared<double> shared, int width = 1) {
  const int t = static_cast<int>(threadIdx.x);
  shared[t] = value;
  __syncthreads();
  for (int n = threads / 2; n >= width; n /= 2) {
    if (t < n) shared[t] += shared[t + n];
    __syncthreads();
  }
  const double sum = shared[t % width];
  __syncthreads();
  return sum;
}

}  // namespace cuttle::kernels
