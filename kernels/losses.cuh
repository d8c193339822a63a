// Losses over a few thousand rows. Sums are in double; rows that fall to one thread come first, in ascending order,
// then a fixed tree over the block (reduce.cuh). The CPU adds row after row: the sums agree to a few 2^-53, and after
// rounding to T mostly to the bit.
#pragma once

#include "kernels/indexing.cuh"
#include "kernels/reduce.cuh"

namespace cuttle::kernels {

constexpr int loss_threads = 512, loss_row_threads = 64;

// The largest of a row's logits, where it is first, and log(sum_i exp(logit_i)) around it.
struct RowOfLogits {
  std::int64_t argmax;
  double log_sum_exp;
};
template <class T>
CUTTLE_DEVICE RowOfLogits read_logits(Global<const T> row, std::int64_t classes) {
  T largest = row[0];
  std::int64_t argmax = 0;
  for (std::int64_t i = 1; i < classes; ++i) {
    const T x = row[i];
    if (largest < x) {
      largest = x;
      argmax = i;
    }
  }
  double sum = 0;
  for (std::int64_t i = 0; i < classes; ++i) sum += exp(static_cast<double>(row[i]) - static_cast<double>(largest));
  return {argmax, static_cast<double>(largest) + log(sum)};
}

// op: cross_entropy: loss = mean_b (log sum_i exp(logits[b,i]) - logits[b,label_b]); right = how many rows have their
//     largest logit, the first of equal ones, at the label. A label outside [0, classes) makes the loss NaN.
// layout: logits (B,classes), labels (B), loss (1), right (1).
// launch: one block of 512 threads, a row a thread.
// order: as above; right is exact.
// limits: B, classes >= 1.
// cost: B * classes exponentials in double on one multiprocessor, some microseconds for thousands of rows.
template <class T>
CUTTLE_KERNEL cross_entropy(seam::CrossEntropyArgs<T> a) {
  CUTTLE_SHARED(double, sums, loss_threads);
  const Global<const T> logits = a.logits;
  const Global<const std::int32_t> labels = a.labels;
  double loss = 0, right = 0;
  for (std::int64_t b = threadIdx.x; b < a.B; b += loss_threads) {
    const std::int64_t label = labels[b];
    const RowOfLogits row = read_logits<T>(logits + b * a.classes, a.classes);
    if (label >= 0 && label < a.classes)
      loss += row.log_sum_exp - static_cast<double>(logits[b * a.classes + label]);
    else
      loss = std::numeric_limits<double>::quiet_NaN();
    right += row.argmax == label ? 1 : 0;
  }
  loss = column_sum<loss_threads>(loss, sums);
  right = column_sum<loss_threads>(right, sums);
  if (threadIdx.x != 0) return;
  const Global<T> mean = a.loss, count = a.right;
  mean[0] = static_cast<T>(loss / static_cast<double>(a.B));
  count[0] = static_cast<T>(right);
}
template <class T>
void launch_cross_entropy(const seam::CrossEntropyArgs<T>& a, seam::Stream stream) {
  launch("cross_entropy", &cross_entropy<T>, 1, loss_threads, 0, stream, a);
}

// op: cross_entropy_backward: dlogits[b,i] = dloss / B * (softmax(logits[b])_i - [i = label_b]).
// layout: logits, dlogits (B,classes), which do not overlap; labels (B), dloss (1).
// launch: a thread for each row, blocks of 64, striding over the grid.
// order: each row by one thread, in double, rounded once.
// limits: B, classes >= 1.
// cost: 2 B * classes exponentials in double.
template <class T>
CUTTLE_KERNEL cross_entropy_backward(seam::CrossEntropyArgs<T> a) {
  const Global<const T> logits = a.logits, dloss = a.dloss;
  const Global<const std::int32_t> labels = a.labels;
  const Global<T> dlogits = a.dlogits;
  const double factor = static_cast<double>(dloss[0]) / static_cast<double>(a.B);
  for (std::int64_t b = thread_index(); b < a.B; b += thread_count()) {
    const std::int64_t label = labels[b], row = b * a.classes;
    const double log_sum = read_logits<T>(logits + row, a.classes).log_sum_exp;
    for (std::int64_t i = 0; i < a.classes; ++i)
      dlogits[row + i] =
          static_cast<T>(factor * (exp(static_cast<double>(logits[row + i]) - log_sum) - (i == label ? 1.0 : 0.0)));
  }
}
template <class T>
void launch_cross_entropy_backward(const seam::CrossEntropyArgs<T>& a, seam::Stream stream) {
  launch("cross_entropy_backward", &cross_entropy_backward<T>, blocks_for(a.B, loss_row_threads), loss_row_threads, 0,
         stream, a);
}

// Eight neighbouring lanes share a row: |a[row] - b[row]|^2 over D, each lane its d in ascending order, then the eight
// by shuffles. Every lane of the warp calls it; a row past the end is all zeros.
constexpr int distance_lanes = 8;
template <class T>
CUTTLE_DEVICE double squared_distance(const seam::MeanDistanceArgs<T>& a, std::int64_t row) {
  const Global<const T> x = a.a, y = a.b;
  double squared = 0;
  if (row < a.B)
    for (std::int64_t d = threadIdx.x % distance_lanes; d < a.D; d += distance_lanes) {
      const double difference = static_cast<double>(x[row * a.D + d]) - static_cast<double>(y[row * a.D + d]);
      squared = fma(difference, difference, squared);
    }
  for (int apart = distance_lanes / 2; apart > 0; apart /= 2) squared += __shfl_xor_sync(full_mask, squared, apart);
  return squared;
}

// op: mean_distance: loss = mean_b |a[b] - b[b]|.
// layout: a, b (B,D), loss (1).
// launch: one block of 512 threads, eight lanes a row.
// order: as above.
// limits: B >= 1; any D.
// cost: both matrices read once by one multiprocessor: 5 us for 1024 rows of 64.
template <class T>
CUTTLE_KERNEL mean_distance(seam::MeanDistanceArgs<T> a) {
  CUTTLE_SHARED(double, sums, loss_threads);
  constexpr int rows = loss_threads / distance_lanes;
  double sum = 0;
  for (std::int64_t first = 0; first < a.B; first += rows) {
    const double squared = squared_distance(a, first + threadIdx.x / distance_lanes);
    if (threadIdx.x % distance_lanes == 0) sum += sqrt(squared);
  }
  sum = column_sum<loss_threads>(sum, sums);
  if (threadIdx.x != 0) return;
  const Global<T> loss = a.loss;
  loss[0] = static_cast<T>(sum / static_cast<double>(a.B));
}
template <class T>
void launch_mean_distance(const seam::MeanDistanceArgs<T>& a, seam::Stream stream) {
  launch("mean_distance", &mean_distance<T>, 1, loss_threads, 0, stream, a);
}

// op: mean_distance_backward: da[b,:] = dloss / B * (a[b] - b[b]) / |a[b] - b[b]|, zero where the rows are equal.
// layout: a, b, da (B,D), da overlaps neither; dloss (1).
// launch: eight lanes a row, blocks of 64, striding over the grid.
// order: each row's distance as above.
// limits: B >= 1; any D.
// cost: a and b read twice, the second time from the caches, da written once: bandwidth.
template <class T>
CUTTLE_KERNEL mean_distance_backward(seam::MeanDistanceArgs<T> a) {
  const Global<const T> x = a.a, y = a.b, dloss = a.dloss;
  const Global<T> da = a.da;
  const double factor = static_cast<double>(dloss[0]) / static_cast<double>(a.B);
  constexpr std::int64_t rows = loss_row_threads / distance_lanes;
  for (std::int64_t first = blockIdx.x * rows; first < a.B; first += gridDim.x * rows) {
    const std::int64_t row = first + threadIdx.x / distance_lanes;
    const double squared = squared_distance(a, row);
    if (row >= a.B) continue;
    const double over_norm = squared > 0 ? factor / sqrt(squared) : 0.0;
    for (std::int64_t d = threadIdx.x % distance_lanes; d < a.D; d += distance_lanes)
      da[row * a.D + d] =
          static_cast<T>(over_norm * (static_cast<double>(x[row * a.D + d]) - static_cast<double>(y[row * a.D + d])));
  }
}
template <class T>
void launch_mean_distance_backward(const seam::MeanDistanceArgs<T>& a, seam::Stream stream) {
  launch("mean_distance_backward", &mean_distance_backward<T>, blocks_for(a.B * distance_lanes, loss_row_threads),
         loss_row_threads, 0, stream, a);
}

}  // namespace cuttle::kernels
