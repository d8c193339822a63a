// Score maps on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuttle/core/parallel.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"
#include "cuttle/seam/patch_range.hpp"

namespace cuttle::cpu {

// Pixels [begin, end) along one axis that the same patches cover.
struct CoveredRun {
  std::int64_t begin, end;
  seam::PatchRange<std::int64_t> patches;
};

// Cuts 0 .. extent-1 into runs, as many as it returns.
inline std::int64_t covered_runs(std::int64_t extent, std::int64_t patches, std::int64_t patch_size,
                                 std::int64_t stride, CoveredRun* runs) {
  std::int64_t count = 0;
  for (std::int64_t x = 0; x < extent; ++x) {
    const auto range = seam::patches_over(x, patches, patch_size, stride);
    if (count == 0 || !(runs[count - 1].patches == range)) runs[count++] = {x, x, range};
    runs[count - 1].end = x + 1;
  }
  return count;
}

// Every pixel of a cell (row run x column run) has the same patches, so each cell is summed once, separably in double:
// patch rows in ascending order, then patch columns; then one division. Maps repeat the cells.
template <class T>
void distribute_scores(const seam::DistributeScoresArgs<T>& a) {
  Tensor<CoveredRun> runs = Tensor<CoveredRun>::empty({a.H + a.W});
  CoveredRun *down = runs.data(), *across = down + a.H;
  const std::int64_t cell_rows = covered_runs(a.H, a.I, a.patch_size, a.stride, down);
  const std::int64_t cell_cols = covered_runs(a.W, a.J, a.patch_size, a.stride, across);
  parallel_for_with_scratch<double>(a.B * cell_rows, a.J, [&](std::int64_t strip, double* sums) {
    const CoveredRun rows = down[strip % cell_rows];
    const T* scores = a.scores + strip / cell_rows * a.I * a.J;
    std::fill_n(sums, a.J, 0.0);
    for (std::int64_t i = rows.patches.first; i < rows.patches.last; ++i)
      for (std::int64_t j = 0; j < a.J; ++j) sums[j] += static_cast<double>(scores[i * a.J + j]);
    T* map = a.maps + (strip / cell_rows * a.H + rows.begin) * a.W;
    for (const CoveredRun* cols = across; cols != across + cell_cols; ++cols) {
      double sum = 0;
      for (std::int64_t j = cols->patches.first; j < cols->patches.last; ++j) sum += sums[j];
      const auto patches = static_cast<double>(rows.patches.size() * cols->patches.size());
      std::fill(map + cols->begin, map + cols->end, static_cast<T>(sum / patches));
    }
    for (std::int64_t y = 1; y < rows.end - rows.begin; ++y) std::copy_n(map, a.W, map + y * a.W);
  });
}

// The largest of n >= 1 values; NaN if one of them is. Sixteen maxima side by side, whose order does not matter,
// because a single one would wait for the latency of every comparison.
template <class T>
T largest_of(const T* values, std::int64_t n) {
  using Flag = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  constexpr std::int64_t ways = 16;
  T largest[ways];
  Flag nan[ways] = {};
  std::fill_n(largest, ways, values[0]);
  const auto take = [&](std::int64_t k, T x) {
    largest[k] = largest[k] < x ? x : largest[k];
    nan[k] |= static_cast<Flag>(x != x);
  };
  std::int64_t i = 0;
  for (; i + ways <= n; i += ways)
    for (std::int64_t k = 0; k < ways; ++k) take(k, values[i + k]);
  for (; i < n; ++i) take(0, values[i]);
  const bool any_nan = std::any_of(nan, nan + ways, [](Flag flag) { return flag != 0; });
  return any_nan ? std::numeric_limits<T>::quiet_NaN() : *std::max_element(largest, largest + ways);
}

template <class T>
void max_over_pixels(const seam::MaxOverPixelsArgs<T>& a) {
  parallel_for(a.B, [&](std::int64_t b) { a.scores[b] = largest_of(a.maps + b * a.n, a.n); });
}

}  // namespace cuttle::cpu
