// k_center_greedy on the CPU; formula in seam/args.hpp.
//
// A row whose nearest centre c lies close is not looked at when the new centre z is far from c: by the triangle
// inequality d(row, z) >= d(c, z) - d(row, c), so that d(c, z) >= 2 d(row, c) leaves the nearest as it is. That holds
// for true distances; the definition's d^2 are off by a factor within (1 + 2^-53)^(D+3) < 1 + 2^-40 for D <= 4096, far
// below the margin of 1e-9 that is asked for on top. Squares that could underflow or overflow are always looked at.
// Where that leaves out few rows of a tile, the next seven centres do without asking: a row that is looked at in vain
// stays as it is. Of the rows that are left, floats are looked at in float first (cpu_nearest_patch.hpp, item 5), which
// spares most the sum in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuttle/backend/cpu_nearest_patch.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

namespace detail {

// Whether a centre at squared distance `apart` from a row's own centre, whose squared distance is `nearest`, may be
// nearer to the row.
inline bool may_be_nearer(double apart, double nearest) noexcept {
  if (nearest <= 0) return false;
  const double far_enough = 4 * (1 + 1e-9) * nearest;
  return !(nearest > 1e-200 && far_enough < std::numeric_limits<double>::infinity() && apart >= far_enough);
}

}  // namespace detail

template <class T>
void k_center_greedy(const seam::KCenterGreedyArgs<T>& a) {
  constexpr std::int64_t tile = 1024, run = 128;
  const std::int64_t tiles = (a.N + tile - 1) / tile;
  std::vector<std::int64_t> owner(static_cast<std::size_t>(a.N), 0);  // of each row: which centre is nearest
  std::vector<double> apart(static_cast<std::size_t>(a.K), 0);        // squared, of the new centre and the others
  std::vector<double> farthest(static_cast<std::size_t>(tiles), 0);   // of the rows of each tile
  std::vector<int> unasked(static_cast<std::size_t>(tiles), 0);       // centres that do without asking
  std::fill_n(a.nearest, a.N, std::numeric_limits<double>::infinity());

  for (std::int64_t j = 0; j < a.K; ++j) {
    const std::int64_t centre = a.index[j];
    const T* const x = a.rows + centre * a.D;
    parallel_for((j + tile - 1) / tile, [&](std::int64_t part) {
      const std::int64_t first = part * tile, n = std::min(tile, j - first);
      CUTTLE_ISA_CALL(exact_squared_distances, x, a.rows, a.index + first, n, a.D, apart.data() + first);
    });
    parallel_for(tiles, [&](std::int64_t part) {
      const std::int64_t first = part * tile, last = std::min(a.N, first + tile);
      std::int64_t looked_at[run];
      double squared[run];
      // Rows looked_at[0] to looked_at[count - 1], which follow one another where it is said.
      const auto look = [&](std::int64_t count, bool in_order) {
        if constexpr (std::is_same_v<T, float>) {
          float approximate[run];
          CUTTLE_ISA_CALL(approximate_squared_distances, x, in_order ? a.rows + looked_at[0] * a.D : a.rows,
                          in_order ? nullptr : looked_at, count, a.D, approximate);
          std::int64_t left = 0;
          for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t n = looked_at[i];
            looked_at[left] = n;
            left += static_cast<double>(approximate[i]) <= approximate_limit(a.nearest[n], a.D) ||
                    approximate[i] > std::numeric_limits<float>::max();
          }
          count = left;
        }
        CUTTLE_ISA_CALL(exact_squared_distances, x, a.rows, looked_at, count, a.D, squared);
        for (std::int64_t i = 0; i < count; ++i)
          if (squared[i] < a.nearest[looked_at[i]]) {
            a.nearest[looked_at[i]] = squared[i];
            owner[static_cast<std::size_t>(looked_at[i])] = j;
          }
      };
      if (auto& left = unasked[static_cast<std::size_t>(part)]; left > 0 || j == 0) {
        left = std::max(left - 1, 0);
        for (std::int64_t n = first; n < last; n += run) {
          const std::int64_t count = std::min(run, last - n);
          std::iota(looked_at, looked_at + count, n);
          look(count, true);
        }
      } else {
        std::int64_t count = 0, all = 0;
        for (std::int64_t n = first; n < last; ++n) {
          const auto own = static_cast<std::size_t>(owner[static_cast<std::size_t>(n)]);
          if (!detail::may_be_nearer(apart[own], a.nearest[n])) continue;
          looked_at[count++] = n;
          ++all;
          if (count == run) look(std::exchange(count, 0), false);
        }
        if (count > 0) look(count, false);
        if (all >= (last - first) / 2) left = 7;
      }
      if (centre >= first && centre < last) a.nearest[centre] = -1;
      farthest[static_cast<std::size_t>(part)] = CUTTLE_ISA_CALL(largest, a.nearest + first, last - first);
    });
    const std::int64_t part = std::ranges::max_element(farthest) - farthest.begin();
    const double radius = farthest[static_cast<std::size_t>(part)];
    const std::int64_t best = std::find(a.nearest + part * tile, a.nearest + a.N, radius) - a.nearest;
    a.radius[j] = static_cast<T>(std::sqrt(std::max(radius, 0.0)));
    if (j + 1 < a.K) a.index[j + 1] = best;
  }
}

}  // namespace cuttle::cpu
