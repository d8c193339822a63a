// Sums on the CPU whose order follows from sizes alone.
#pragma once

#include <cstdint>

#include "cuttle/core/parallel.hpp"

namespace cuttle::cpu::detail {

// Calls body(tile, first, count) for `tiles` ranges that cover [0, n).
template <class Body>
void for_tiles(std::int64_t n, std::int64_t tiles, Body&& body) {
  parallel_for(tiles, [&](std::int64_t tile) {
    const std::int64_t first = n * tile / tiles;
    body(tile, first, n * (tile + 1) / tiles - first);
  });
}

// The sum over the tiles of entry i of partial (tiles, size).
inline double over_tiles(const double* partial, std::int64_t tiles, std::int64_t size = 1, std::int64_t i = 0) {
  double sum = 0;
  for (std::int64_t tile = 0; tile < tiles; ++tile) sum += partial[tile * size + i];
  return sum;
}

// The sum of f(i) for i < n: sixteen sums that take turns, so that the compiler can use vectors, then a tree.
template <class T = double, class F>
T sum_of(std::int64_t n, F f) {
  constexpr std::int64_t ways = 16;
  T sums[ways] = {};
  std::int64_t i = 0;
  for (; i + ways <= n; i += ways)
    for (std::int64_t k = 0; k < ways; ++k) sums[k] += f(i + k);
  for (std::int64_t k = 0; i + k < n; ++k) sums[k] += f(i + k);
  for (std::int64_t half = ways / 2; half > 0; half /= 2)
    for (std::int64_t k = 0; k < half; ++k) sums[k] += sums[k + half];
  return sums[0];
}

}  // namespace cuttle::cpu::detail
