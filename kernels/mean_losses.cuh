// Means over all elements as losses, and their gradients.
#pragma once

#include "kernels/indexing.cuh"
#include "kernels/reduce.cuh"

namespace cuttle::kernels {

constexpr int mean_threads = 256;

// op: loss[0] = sum of partial / n
// layout: partial (tiles), loss (1)
// launch: one block of 256, static shared 2 KB
// order: a thread adds tiles t, t + 256, ..., then the tree of column_sum
// limits: any
// cost: nothing
template <class T>
CUTTLE_KERNEL mean_of_tiles_kernel(const double* partial_sums, std::int64_t tiles, std::int64_t n, T* mean) {
  CUTTLE_SHARED(double, shared, mean_threads);
  const Global<const double> partial = partial_sums;
  const Global<T> loss = mean;
  double sum = 0;
  for (std::int64_t tile = threadIdx.x; tile < tiles; tile += mean_threads) sum += partial[tile];
  sum = column_sum<mean_threads>(sum, shared);
  if (threadIdx.x == 0) loss[0] = static_cast<T>(sum / static_cast<double>(n));
}

// op: partial[tile] = sum of (a[i] - b[i])^2 over the tile
// layout: a, b (n), partial (tiles)
// launch: a block of 256 for each tile, static shared 2 KB
// order: a thread adds elements first + t, first + t + 256, ... in double, then the tree of column_sum
// limits: n >= 1
// cost: 2 * sizeof(T) bytes an element: bound by memory
template <class T>
CUTTLE_KERNEL mean_squared_difference_kernel(seam::MeanSquaredDifferenceArgs<T> args) {
  CUTTLE_SHARED(double, shared, mean_threads);
  const Global<const T> a = args.a, b = args.b;
  const Global<double> partial = args.partial;
  const std::int64_t tile = blockIdx.x, end = args.n * (tile + 1) / args.tiles;
  double sum = 0;
  for (std::int64_t i = args.n * tile / args.tiles + threadIdx.x; i < end; i += mean_threads) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum = fma(difference, difference, sum);
  }
  sum = column_sum<mean_threads>(sum, shared);
  if (threadIdx.x == 0) partial[tile] = sum;
}

template <class T>
void launch_mean_squared_difference(const seam::MeanSquaredDifferenceArgs<T>& a, seam::Stream stream) {
  launch("mean_squared_difference", &mean_squared_difference_kernel<T>, dim3(static_cast<unsigned>(a.tiles)),
         dim3(mean_threads), 0, stream, a);
  launch("mean_squared_difference", &mean_of_tiles_kernel<T>, dim3(1), dim3(mean_threads), 0, stream, a.partial,
         a.tiles, a.n, a.loss);
}

// op: da[i] = dloss[0] * 2/n * (a[i] - b[i]), db[i] = -da[i]
// layout: a, b, da, db (n), the last two or null; dloss (1)
// launch: a thread for each element, blocks of 256, striding over the grid
// order: every element by itself
// limits: any n
// cost: up to 4 * sizeof(T) bytes an element: copy bandwidth
template <class T>
CUTTLE_KERNEL mean_squared_difference_backward_kernel(seam::MeanSquaredDifferenceArgs<T> args) {
  const Global<const T> a = args.a, b = args.b, dloss = args.dloss;
  const Global<T> da = args.da, db = args.db;
  const T factor = static_cast<T>(2 * static_cast<double>(dloss[0]) / static_cast<double>(args.n));
  for (std::int64_t i = thread_index(); i < args.n; i += thread_count()) {
    const T gradient = factor * (a[i] - b[i]);
    if (args.da != nullptr) da[i] = gradient;
    if (args.db != nullptr) db[i] = -gradient;
  }
}

template <class T>
void launch_mean_squared_difference_backward(const seam::MeanSquaredDifferenceArgs<T>& a, seam::Stream stream) {
  if (a.da == nullptr && a.db == nullptr) return;
  launch("mean_squared_difference_backward", &mean_squared_difference_backward_kernel<T>, dim3(blocks_for(a.n, 256)),
         dim3(256), 0, stream, a);
}

// log(1 + e) for e in [0, 1] to the last digits, also where 1 + e rounds (Goldberg 1991, theorem 4).
CUTTLE_DEVICE double log_of_one_plus(double e) {
  const double one_more = 1 + e;
  return one_more == 1 ? e : log(one_more) * e / (one_more - 1);
}

// op: partial[tile] = sum of log(1 + exp(x_i)) - t_i x_i over the tile; t_i is labels[i], or label where that is null
// layout: logits, labels (n), partial (tiles)
// launch, order, limits: as mean_squared_difference
// cost: some 60 double operations an element; meant for a logit an image
template <class T>
CUTTLE_KERNEL binary_cross_entropy_kernel(seam::BinaryCrossEntropyArgs<T> args) {
  CUTTLE_SHARED(double, shared, mean_threads);
  const Global<const T> logits = args.logits, labels = args.labels;
  const Global<double> partial = args.partial;
  const std::int64_t tile = blockIdx.x, end = args.n * (tile + 1) / args.tiles;
  double sum = 0;
  for (std::int64_t i = args.n * tile / args.tiles + threadIdx.x; i < end; i += mean_threads) {
    const double x = static_cast<double>(logits[i]);
    const double label = args.labels != nullptr ? static_cast<double>(labels[i]) : args.label;
    sum += fma(-label, x, x > 0 ? x : 0) + log_of_one_plus(exp(-fabs(x)));
  }
  sum = column_sum<mean_threads>(sum, shared);
  if (threadIdx.x == 0) partial[tile] = sum;
}

template <class T>
void launch_binary_cross_entropy(const seam::BinaryCrossEntropyArgs<T>& a, seam::Stream stream) {
  launch("binary_cross_entropy", &binary_cross_entropy_kernel<T>, dim3(static_cast<unsigned>(a.tiles)),
         dim3(mean_threads), 0, stream, a);
  launch("binary_cross_entropy", &mean_of_tiles_kernel<T>, dim3(1), dim3(mean_threads), 0, stream, a.partial, a.tiles,
         a.n, a.loss);
}

// op: dlogits[i] = dloss[0]/n * (sigmoid(x_i) - t_i)
// layout: logits, labels (or null), dlogits (n), dloss (1)
// launch, order, limits: as mean_squared_difference_backward
// cost: some 40 double operations an element
template <class T>
CUTTLE_KERNEL binary_cross_entropy_backward_kernel(seam::BinaryCrossEntropyArgs<T> args) {
  const Global<const T> logits = args.logits, labels = args.labels, dloss = args.dloss;
  const Global<T> dlogits = args.dlogits;
  const double factor = static_cast<double>(dloss[0]) / static_cast<double>(args.n);
  for (std::int64_t i = thread_index(); i < args.n; i += thread_count()) {
    const double label = args.labels != nullptr ? static_cast<double>(labels[i]) : args.label;
    dlogits[i] = static_cast<T>(factor * (1 / (1 + exp(-static_cast<double>(logits[i]))) - label));
  }
}

template <class T>
void launch_binary_cross_entropy_backward(const seam::BinaryCrossEntropyArgs<T>& a, seam::Stream stream) {
  launch("binary_cross_entropy_backward", &binary_cross_entropy_backward_kernel<T>, dim3(blocks_for(a.n, 256)),
         dim3(256), 0, stream, a);
}

}  // namespace cuttle::kernels
