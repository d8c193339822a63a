// Means over all elements as losses, on the CPU; formulas in seam/args.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/backend/cpu_sums.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

namespace detail {
// The mean of f(i) over i < n, by tiles whose sums are put into partial.
template <class F>
double mean_over_tiles(std::int64_t n, std::int64_t tiles, double* partial, F f) {
  for_tiles(n, tiles, [&](std::int64_t tile, std::int64_t first, std::int64_t count) {
    partial[tile] = sum_of(count, [&](std::int64_t i) { return f(first + i); });
  });
  return over_tiles(partial, tiles) / static_cast<double>(n);
}
}  // namespace detail

template <class T>
void mean_squared_difference(const seam::MeanSquaredDifferenceArgs<T>& a) {
  a.loss[0] = static_cast<T>(detail::mean_over_tiles(a.n, a.tiles, a.partial, [&](std::int64_t i) {
    const double difference = static_cast<double>(a.a[i]) - static_cast<double>(a.b[i]);
    return difference * difference;
  }));
}

template <class T>
void mean_squared_difference_backward(const seam::MeanSquaredDifferenceArgs<T>& a) {
  const T factor = static_cast<T>(2 * static_cast<double>(a.dloss[0]) / static_cast<double>(a.n));
  if (a.da) map(a.n, a.da, a.a, a.b, [factor](T x, T y) { return factor * (x - y); });
  if (a.db) map(a.n, a.db, a.a, a.b, [factor](T x, T y) { return factor * (y - x); });
}

template <class T>
void binary_cross_entropy(const seam::BinaryCrossEntropyArgs<T>& a) {
  a.loss[0] = static_cast<T>(detail::mean_over_tiles(a.n, a.tiles, a.partial, [&](std::int64_t i) {
    const double x = static_cast<double>(a.logits[i]);
    const double label = a.labels ? static_cast<double>(a.labels[i]) : a.label;
    return (x > 0 ? x : 0) - label * x + std::log1p(std::exp(-std::abs(x)));
  }));
}

template <class T>
void binary_cross_entropy_backward(const seam::BinaryCrossEntropyArgs<T>& a) {
  const double factor = static_cast<double>(a.dloss[0]) / static_cast<double>(a.n);
  for_ranges(a.n, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const double label = a.labels ? static_cast<double>(a.labels[i]) : a.label;
      a.dlogits[i] = static_cast<T>(factor * (1 / (1 + std::exp(-static_cast<double>(a.logits[i]))) - label));
    }
  });
}

}  // namespace cuttle::cpu
