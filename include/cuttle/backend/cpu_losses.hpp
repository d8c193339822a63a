// Losses over a few thousand rows on the CPU: sums in double, row after row.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuttle/core/error.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

namespace detail {
// log(sum_i exp(x_i)) in double, around the largest entry so that nothing overflows.
template <class T>
double log_sum_exp(const T* x, std::int64_t n) {
  const double largest = static_cast<double>(*std::max_element(x, x + n));
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) - largest);
  return largest + std::log(sum);
}

template <class T>
double squared_distance(const T* a, const T* b, std::int64_t D) {
  double squared = 0;
  for (std::int64_t d = 0; d < D; ++d) {
    const double difference = static_cast<double>(a[d]) - static_cast<double>(b[d]);
    squared += difference * difference;
  }
  return squared;
}
}  // namespace detail

template <class T>
void cross_entropy(const seam::CrossEntropyArgs<T>& a) {
  double loss = 0;
  std::int64_t right = 0;
  for (std::int64_t b = 0; b < a.B; ++b) {
    const T* row = a.logits + b * a.classes;
    loss += detail::log_sum_exp(row, a.classes) - static_cast<double>(row[a.labels[b]]);
    right += std::max_element(row, row + a.classes) - row == a.labels[b];
  }
  *a.loss = static_cast<T>(loss / static_cast<double>(a.B));
  *a.right = static_cast<T>(right);
}

template <class T>
void cross_entropy_backward(const seam::CrossEntropyArgs<T>& a) {
  const double factor = static_cast<double>(*a.dloss) / static_cast<double>(a.B);
  for (std::int64_t b = 0; b < a.B; ++b) {
    const T* row = a.logits + b * a.classes;
    const double log_sum = detail::log_sum_exp(row, a.classes);
    for (std::int64_t i = 0; i < a.classes; ++i)
      a.dlogits[b * a.classes + i] =
          static_cast<T>(factor * (std::exp(static_cast<double>(row[i]) - log_sum) - (i == a.labels[b] ? 1.0 : 0.0)));
  }
}

template <class T>
void mean_distance(const seam::MeanDistanceArgs<T>& a) {
  double loss = 0;
  for (std::int64_t b = 0; b < a.B; ++b) loss += std::sqrt(detail::squared_distance(a.a + b * a.D, a.b + b * a.D, a.D));
  *a.loss = static_cast<T>(loss / static_cast<double>(a.B));
}

template <class T>
void mean_distance_backward(const seam::MeanDistanceArgs<T>& a) {
  const double factor = static_cast<double>(*a.dloss) / static_cast<double>(a.B);
  for (std::int64_t b = 0; b < a.B; ++b) {
    const T *x = a.a + b * a.D, *y = a.b + b * a.D;
    const double squared = detail::squared_distance(x, y, a.D);
    const double over_norm = squared > 0 ? factor / std::sqrt(squared) : 0.0;
    for (std::int64_t d = 0; d < a.D; ++d)
      a.da[b * a.D + d] = static_cast<T>(over_norm * (static_cast<double>(x[d]) - static_cast<double>(y[d])));
  }
}

template <class T>
void unit_columns(const seam::UnitColumnsArgs<T>& a) {
  for (std::int64_t c = 0; c < a.C; ++c) {
    double squared = 0;
    for (std::int64_t o = 0; o < a.O; ++o) {
      const double w = static_cast<double>(a.weight[o * a.C + c]);
      squared += w * w;
    }
    require(squared > 0, "unit_columns: column ", c, " of weight is zero");
    const double over_norm = 1 / std::sqrt(squared);
    for (std::int64_t o = 0; o < a.O; ++o)
      a.unit[o * a.C + c] = static_cast<T>(static_cast<double>(a.weight[o * a.C + c]) * over_norm);
  }
}

}  // namespace cuttle::cpu
