// Exact nearest neighbours on the CPU: clusters and a float filter with proven bounds, then a ranking in double.
//
// The answer is the k rows y that come first by (d^2, row index), where
//   d^2 = sum_i fma((double)x_i - (double)y_i, same, acc), i in index order.
// Everything else works on x' = float(s(x - c)), y' = float(s(y - c)), c the mean of the bank and s a power of two that
// brings the largest |s(y - c)| into [1/2, 1), and only decides which rows need not be ranked:
//  - A large bank is split into clusters by k-means. A cluster is skipped for a query whose k-th best distance so far
//  no
//    row of it can beat, by the triangle inequality (a ball round the cluster's centre) or because all of it lies
//    beyond the plane halfway to the centre nearest to the query.
//  - In the others, v(x, y) = x'.y' - |y'|^2/2 falls as the distance grows, |x' - y'|^2 = |x'|^2 - 2v. It is computed
//  like
//    a matrix product, of which only the largest v of each block of rows is kept: no Q x N matrix, no index.
//  - Blocks with a v too small to matter are dropped, the rows of the others ranked by d^2, in float first where T is
//  float.
//
// Layout: a panel holds 32 rows as (D, 32); a cell is up to 64 panels of one cluster; column c of all the panels of a
// cell belongs to its block c%16, so that the running maximum of a block stays in one lane and no kernel reduces across
// lanes. Unused columns have -|y'|^2/2 = -infinity. Of equal rows a cluster keeps the nine with the lowest indices.
//
// Bounds. Let u = 2^-24, X = |x'|, Y at least |y'| for all y of a cell, D <= 4096, and V = (X^2 - s^2 d^2)/2 with the
// true d.
//  1. x' and y' are s(x-c) and s(y-c) with each component within a factor 1 + u(1 + 2^-28), so
//     |sd - |x'-y'|| <= u'(X+Y) and |V - (x'.y' - |y'|^2/2)| <= u'(X+Y)^2, where u' < 1.01 u.
//  2. The kernel starts at -|y'|^2/2 rounded and adds D products, with or without fma: at most D+2 roundings meet any
//     term, so its error is at most (D+2)u/(1-(D+2)u) (XY + Y^2/2) <= (D+4)u (XY + Y^2/2).
//  3. d^2 of the definition differs from the true one by a factor within (1 + 2^-53)^(D+3), hence by less than
//     2^-40 s^2 d^2 in V.
//  4. Underflow anywhere, flushed to zero or not, adds less than 2^-64: components of x' are at most 2^44, of y' at
//  most 1.
// Together |v - V| < e(X, Y) = gamma (XY + Y^2/2) + 2u(X+Y)^2 + 2^-64 with gamma = filter_gamma(D) = (D + 16) u. With k
// rows ranked, the last at d_k, blocks whose v + e is below (X^2 - s^2 d_k^2)/2, less the rounding of that, hold no
// answer.
//  5. A float sum of squared differences meets at most D+8 roundings a term: within a factor 1 +- gamma of the true
//  sum.
//     This holds for d^2 itself, and for the squared distances from x' to the centres m' of clusters.
//  6. With t = s d_k + u'(X+Y), rows of a cluster of centre m' and radius R are too far if |x'-m'| > t + R; and, as
//  each y'
//     is at least as near to m' as to the centre n' nearest to x', if |x'-m'|^2 - |x'-n'|^2 > 2 t |m'-n'|. Which centre
//     is the nearer one was decided by the definition's d^2, off by a factor within 1 +- 2^-40: far below gamma.
//
// Bytes. Where the processor multiplies bytes (isa() is avx512_vnni), a query that has k rows ranked compares bytes
// first: a_i = x'_i / t and b_i = y'_i / t rounded to integers in [-127, 127], one t for the bank. The kernel keeps of
// each block the largest w(x, y) = sum_i a_i (b_i + 128) - ceil(|b|^2/2): the left factor of the product is unsigned,
// and the 128 sum_i a_i that this adds is the query's own.
//  7. Integers do not round, nor do they overflow: |w| <= 4096 (127 * 255 + 127^2/2) < 2^28. Unused columns have
//     w = no_row = -2^30, below all others.
//  8. By the triangle inequality, with r_x >= |x' - t a| and r_y >= |y' - t b| as measured in double, whatever the
//     rounding and even where a value beyond 127 t was cut off, t|a - b| <= |x'-y'| + r_x + r_y. With item 1, rows of
//     s d <= s d_k have |a - b| <= A = (s d_k + 2u(X+Y) + r_x + r_y + 2^-60)/t, s d_k a factor 1 + 2^-30 up for what
//     items 3 and 4 say: w >= (|a|^2 - A^2)/2 + 128 sum_i a_i - 1/2. In double that is off by less than 1 wherever it
//     exceeds no_row, as |a|^2 + A^2 < 2^32 there. So blocks with w at most (|a|^2 - A^2)/2 + 128 sum_i a_i - 3 hold no
//     answer.
// Bytes pay where r_x + r_y is a small part of s d_k, so that few rows lie between s d_k and t A; elsewhere v is taken.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuttle/backend/cpu_simd.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

inline constexpr int panel_columns = 32, tile_queries = 12, block_lanes = 16, max_cell_panels = 64;
inline constexpr int max_neighbours = 9;
inline constexpr std::int64_t max_dim = 4096;
inline constexpr std::int32_t no_row = -(1 << 30);  // the w of an unused column

// Relative error of a float sum of D products or squares, and the few roundings around it (items 2 and 5 above).
inline double filter_gamma(std::int64_t D) noexcept { return static_cast<double>(D + 16) * 0x1p-24; }

// What approximate_squared_distances says of a row whose d^2 is at most `limit` is at most this (item 5 above); the
// last term is for what underflows.
inline double approximate_limit(double limit, std::int64_t D) noexcept {
  return limit * (1 + 2 * filter_gamma(D)) + static_cast<double>(D) * 0x1p-125;
}

// e(X, Y) of the head of this file.
inline double filter_error(double X, double Y, std::int64_t D) noexcept {
  const double both = X + Y;
  return std::fma(filter_gamma(D), std::fma(0.5 * Y, Y, X * Y), std::fma(0x1p-23 * both, both, 0x1p-64));
}

// Whether the byte kernels run.
inline bool multiplies_bytes() noexcept { return isa() == Isa::avx512_vnni; }

// A float at least x, and above x where x is finite; infinity past the largest.
inline float round_up(double x) noexcept {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  return x < static_cast<double>(std::numeric_limits<float>::max()) ? std::nextafter(static_cast<float>(x), infinity)
                                                                    : infinity;
}

// Up to 64 panels of rows of one cluster.
struct FilterCell {
  std::int64_t first_panel, panels, cluster;
  double norm;      // Y: at least |y'| of its rows
  double radius;    // at least |y' - m'| of its rows, m' the cluster's centre; infinity where there are no clusters
  double residual;  // r_y: at least |y' - t b| of its rows
};

// The same rows in bytes, four coordinates of a column side by side, the last ones 0 if D is no multiple of 4.
struct Int8Panels {
  float step = 0;              // t
  Tensor<std::uint8_t> bytes;  // (panels, ceil(D/4), 32, 4), b + 128
  Tensor<std::int32_t> start;  // (panels, 32), -ceil(|b|^2/2)
};

// What the filter keeps of a bank of N rows, derived from the rows alone.
struct NearestPatchFilter {
  std::int64_t N = 0, D = 0;
  double scale = 1;                // s
  Tensor<double> centre;           // (D), c
  Tensor<float> panels;            // (panels, D, 32), y'
  Tensor<float> minus_half_norms;  // (panels, 32), -|y'|^2/2
  Int8Panels int8;                 // undefined where it was built for a processor without byte products
  Tensor<std::int64_t> rows;       // (panels, 32), the bank's row in each column, -1 for none
  Tensor<FilterCell> cells;        // none: the magnitudes do not allow a filter, every row is ranked
  Tensor<float> cluster_centres;   // (clusters, D), m'; undefined for one cluster
  Tensor<float> between_centres;   // (clusters, clusters), at least |m' - n'|
  std::int64_t clusters() const noexcept { return cluster_centres.defined() ? cluster_centres.size(0) : 1; }
};

}  // namespace cuttle::cpu

#define CUTTLE_KERNELS "cuttle/backend/nearest_patch.inl"
#include "cuttle/backend/foreach_isa.inl"
#define CUTTLE_KERNELS "cuttle/backend/nearest_patch_int8.inl"
#include "cuttle/backend/foreach_vnni.inl"

namespace cuttle::cpu {

template <class T>
void nearest_patch(const seam::NearestPatchArgs<T>& args, const NearestPatchFilter& filter);

namespace detail {

// The mean of the rows, summed in an order that depends on N alone.
template <class T>
Tensor<double> mean_of_rows(const T* rows, std::int64_t N, std::int64_t D) {
  constexpr std::int64_t tile = 4096;
  const std::int64_t tiles = (N + tile - 1) / tile;
  Tensor<double> sums = Tensor<double>::zeros({tiles, D});
  parallel_for(tiles, [&](std::int64_t t) {
    double* sum = sums.data() + t * D;
    for (std::int64_t r = t * tile; r < std::min(N, (t + 1) * tile); ++r)
      for (std::int64_t i = 0; i < D; ++i) sum[i] += static_cast<double>(rows[r * D + i]);
  });
  Tensor<double> mean = Tensor<double>::zeros({D});
  for (std::int64_t t = 0; t < tiles; ++t)
    for (std::int64_t i = 0; i < D; ++i) mean.data()[i] += sums.data()[t * D + i];
  for (std::int64_t i = 0; i < D; ++i) mean.data()[i] /= static_cast<double>(N);
  return mean;
}

// The k rows that come first by (squared distance, index) among those offered.
class RankedRows {
 public:
  explicit RankedRows(int k) noexcept : k_(k) {}

  bool full() const noexcept { return count_ == k_; }
  // A row farther than this can no longer enter.
  double limit() const noexcept { return full() ? squared_[k_ - 1] : std::numeric_limits<double>::infinity(); }

  // A row is to be offered once.
  void offer(double squared, std::int64_t index) noexcept {
    const auto before = [&](int j) { return squared < squared_[j] || (squared == squared_[j] && index < index_[j]); };
    if (full() && !before(k_ - 1)) return;
    int j = full() ? k_ - 1 : count_++;
    for (; j > 0 && before(j - 1); --j) {
      squared_[j] = squared_[j - 1];
      index_[j] = index_[j - 1];
    }
    squared_[j] = squared;
    index_[j] = index;
  }

  // Where the bank has fewer than k rows, the rest is distance infinity, index -1.
  template <class T>
  void write(T* distance, std::int64_t* index) const noexcept {
    for (int j = 0; j < k_; ++j) {
      distance[j] = j < count_ ? static_cast<T>(std::sqrt(squared_[j])) : std::numeric_limits<T>::infinity();
      index[j] = j < count_ ? index_[j] : -1;
    }
  }

 private:
  int k_, count_ = 0;
  double squared_[max_neighbours];
  std::int64_t index_[max_neighbours];
};

template <class T>
bool all_finite(const T* x, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i)
    if (!std::isfinite(x[i])) return false;
  return true;
}

// Ranks the n rows of the bank named by `rows`; for float a first look in float spares most of them the sum in double.
template <class T>
void rank_rows(const T* x, const T* bank, const std::int64_t* rows, std::int64_t n, std::int64_t D,
               RankedRows& ranked) {
  constexpr std::int64_t together = 128;
  for (; n > 0; rows += together, n -= together) {
    const std::int64_t some = std::min(together, n);
    if constexpr (std::is_same_v<T, float>) {
      const auto most_of = [&] { return round_up(approximate_limit(ranked.limit(), D)); };
      float approximate[together];
      CUTTLE_ISA_CALL(approximate_squared_distances, x, bank, rows, some, D, approximate);
      float most = most_of();
      for (std::int64_t r = 0; r < some; ++r) {
        if (approximate[r] > most) continue;
        double squared;
        CUTTLE_ISA_CALL(exact_squared_distances, x, bank, rows + r, std::int64_t{1}, D, &squared);
        ranked.offer(squared, rows[r]);
        most = most_of();
      }
    } else {
      double squared[together];
      CUTTLE_ISA_CALL(exact_squared_distances, x, bank, rows, some, D, squared);
      for (std::int64_t r = 0; r < some; ++r) ranked.offer(squared[r], rows[r]);
    }
  }
}

template <class T>
void rank_all_rows(const T* x, const seam::NearestPatchArgs<T>& args, RankedRows& ranked) {
  std::int64_t rows[128];
  for (std::int64_t first = 0; first < args.N; first += 128) {
    std::iota(rows, rows + 128, first);
    rank_rows(x, args.bank, rows, std::min<std::int64_t>(128, args.N - first), args.D, ranked);
  }
}

// The s d_k that bytes need, in units of r_x + r_y.
inline constexpr double int8_reach = 8;

// One query on its way through the cells.
struct alignas(64) FilteredQuery {
  double squared_norm;              // X^2
  double norm;                      // X, rounded up
  double reach;                     // at least s d_k
  std::int64_t nearest_centre = 0;  // n'
  float to_nearest_centre = 0;      // |x' - n'|^2
  double residual = 0;              // r_x
  double int8_offset = 0;           // |a|^2/2 + 128 sum_i a_i
  RankedRows ranked;

  FilteredQuery(int k, double squared) noexcept
      : squared_norm(squared),
        norm(std::sqrt(squared) * (1 + 0x1p-30)),
        reach(std::numeric_limits<double>::infinity()),
        ranked(k) {}

  void update_reach(double scale) noexcept { reach = scale * std::sqrt(ranked.limit()) * (1 + 0x1p-30); }

  // Blocks of the cell with v at most this hold no answer.
  float threshold(const NearestPatchFilter& filter, const FilterCell& cell) const noexcept {
    if (!ranked.full()) return -std::numeric_limits<float>::infinity();
    const double squared_reach = filter.scale * filter.scale * ranked.limit();
    const double least = std::fma(-0x1p-38, squared_norm + squared_reach, 0.5 * (squared_norm - squared_reach));
    return -round_up(filter_error(norm, cell.norm, filter.D) - least);
  }

  // Writes a (D) for the query x'.
  void quantise(const NearestPatchFilter& filter, const float* centred, std::int8_t* a) noexcept {
    residual = std::sqrt(CUTTLE_ISA_CALL(quantise_row, centred, filter.int8.step, filter.D, a)) * (1 + 0x1p-30);
    std::int32_t squared = 0, sum = 0;
    for (std::int64_t i = 0; i < filter.D; ++i) {
      squared += a[i] * a[i];
      sum += a[i];
    }
    int8_offset = 0.5 * static_cast<double>(squared) + 128.0 * static_cast<double>(sum);
  }

  // Item 8: blocks of the cell with w at most this hold no answer.
  std::int32_t int8_threshold(const NearestPatchFilter& filter, const FilterCell& cell) const noexcept {
    const double far = (reach + residual + cell.residual + 0x1p-23 * (norm + cell.norm) + 0x1p-60) /
                       static_cast<double>(filter.int8.step);
    const double least = std::fma(-0.5 * far, far, int8_offset) - 3;
    return least > static_cast<double>(no_row) ? static_cast<std::int32_t>(std::floor(least)) : no_row;
  }

  // Whether bytes are likely to leave but a few blocks of the cell; false before k rows are ranked.
  bool prefers_int8(const FilterCell& cell) const noexcept {
    return ranked.full() && reach > int8_reach * (residual + cell.residual);
  }
};

// The block of the largest of 16 values where that is above `threshold`, else -1.
inline int largest_above(const float* values, float threshold) noexcept {
  return CUTTLE_ISA_CALL(largest_above, values, threshold);
}
inline int largest_above(const std::int32_t* values, std::int32_t threshold) noexcept {
  const std::int32_t* largest = std::max_element(values, values + block_lanes);
  return *largest > threshold ? static_cast<int>(largest - values) : -1;
}

// Ranks the blocks of a cell that may hold an answer, the most promising first. `best` holds the largest v (float) or w
// (integer) of each block.
template <class T, class Value>
void rank_blocks(const T* x, const T* bank, const NearestPatchFilter& filter, const FilterCell& cell, Value* best,
                 FilteredQuery& query) {
  for (;;) {
    int block;
    if constexpr (std::is_same_v<Value, float>)
      block = largest_above(best, query.threshold(filter, cell));
    else
      block = largest_above(best, query.int8_threshold(filter, cell));
    if (block < 0) return;
    best[block] = std::is_same_v<Value, float> ? -std::numeric_limits<Value>::infinity() : static_cast<Value>(no_row);
    std::int64_t rows[2 * max_cell_panels], n = 0;
    for (std::int64_t p = cell.first_panel; p < cell.first_panel + cell.panels; ++p)
      for (int column = block; column < panel_columns; column += block_lanes)
        if (const std::int64_t row = filter.rows.data()[p * panel_columns + column]; row >= 0) rows[n++] = row;
    rank_rows(x, bank, rows, n, filter.D, query.ranked);
    query.update_reach(filter.scale);
  }
}

// The centres (clusters, D) of `rows` (N,D) by a few rounds of Lloyd's algorithm on evenly spaced rows of them.
template <class T>
Tensor<T> cluster_centres(const Tensor<T>& rows, std::int64_t clusters);
// The index of the centre nearest to each row.
template <class T>
Tensor<std::int64_t> nearest_centres(const Tensor<T>& rows, const Tensor<T>& centres);

// Puts rows (N,D) of x'-space, in the order given cluster by cluster, into panels and cells.
template <class T>
void fill_cells(NearestPatchFilter& filter, const Tensor<T>& rows,
                const std::vector<std::vector<std::int64_t>>& members) {
  const std::int64_t D = filter.D;
  std::vector<FilterCell> cells;
  std::vector<std::int64_t> first_member;
  std::int64_t panels = 0;
  for (std::size_t cluster = 0; cluster < members.size(); ++cluster) {
    const auto size = static_cast<std::int64_t>(members[cluster].size());
    for (std::int64_t first = 0; first < size; first += max_cell_panels * panel_columns) {
      const std::int64_t count =
          std::min<std::int64_t>(max_cell_panels, (size - first + panel_columns - 1) / panel_columns);
      cells.push_back({panels, count, static_cast<std::int64_t>(cluster), 0, 0, 0});
      first_member.push_back(first);
      panels += count;
    }
  }
  const std::int64_t fours = (D + 3) / 4;
  if (multiplies_bytes()) {
    filter.int8.bytes = Tensor<std::uint8_t>::zeros({panels, fours, panel_columns, 4});
    filter.int8.start = Tensor<std::int32_t>::full({panels, panel_columns}, no_row);
  }
  filter.panels = Tensor<float>::zeros({panels, D, panel_columns});
  filter.minus_half_norms = Tensor<float>::full({panels, panel_columns}, -std::numeric_limits<float>::infinity());
  filter.rows = Tensor<std::int64_t>::full({panels, panel_columns}, -1);
  parallel_for(static_cast<std::int64_t>(cells.size()), [&](std::int64_t c) {
    FilterCell& cell = cells[static_cast<std::size_t>(c)];
    const std::vector<std::int64_t>& all = members[static_cast<std::size_t>(cell.cluster)];
    const std::int64_t first = first_member[static_cast<std::size_t>(c)];
    const std::int64_t n = std::min(cell.panels * panel_columns, static_cast<std::int64_t>(all.size()) - first);
    double squared_norm = 0, squared_radius = 0, squared_residual = 0;
    Tensor<std::int8_t> quantised = Tensor<std::int8_t>::empty({D});
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t row = all[static_cast<std::size_t>(first + j)];
      const std::int64_t panel = cell.first_panel + j / panel_columns, column = j % panel_columns;
      const float* y = rows.data() + row * D;
      const float* m = filter.cluster_centres.defined() ? filter.cluster_centres.data() + cell.cluster * D : nullptr;
      double norm = 0, radius = 0;
      for (std::int64_t i = 0; i < D; ++i) {
        const double value = static_cast<double>(y[i]);
        filter.panels.data()[(panel * D + i) * panel_columns + column] = y[i];
        norm = std::fma(value, value, norm);
        if (!m) continue;
        const double from_centre = value - static_cast<double>(m[i]);
        radius = std::fma(from_centre, from_centre, radius);
      }
      filter.minus_half_norms.data()[panel * panel_columns + column] = static_cast<float>(-0.5 * norm);
      filter.rows.data()[panel * panel_columns + column] = row;
      if (filter.int8.bytes.defined()) {
        squared_residual =
            std::max(squared_residual, CUTTLE_ISA_CALL(quantise_row, y, filter.int8.step, D, quantised.data()));
        std::int32_t int8_norm = 0;
        for (std::int64_t i = 0; i < D; ++i) {
          const std::int32_t b = quantised.data()[i];
          filter.int8.bytes.data()[((panel * fours + i / 4) * panel_columns + column) * 4 + i % 4] =
              static_cast<std::uint8_t>(b + 128);
          int8_norm += b * b;
        }
        filter.int8.start.data()[panel * panel_columns + column] = -((int8_norm + 1) / 2);
      }
      squared_norm = std::max(squared_norm, norm);
      squared_radius = std::max(squared_radius, radius);
    }
    cell.norm = std::sqrt(squared_norm) * (1 + 0x1p-30);
    cell.residual = std::sqrt(squared_residual) * (1 + 0x1p-30);
    cell.radius = filter.cluster_centres.defined() ? std::sqrt(squared_radius) * (1 + 0x1p-30)
                                                   : std::numeric_limits<double>::infinity();
  });
  filter.cells = Tensor<FilterCell>::from({static_cast<std::int64_t>(cells.size())}, cells);
}

// The members of each cluster, in rising order of row; of equal rows the first nine, for no more can be an answer.
template <class T>
std::vector<std::vector<std::int64_t>> cluster_members(const T* bank, std::int64_t N, std::int64_t D,
                                                       const Tensor<std::int64_t>& nearest, std::int64_t clusters) {
  std::vector<std::vector<std::int64_t>> members(static_cast<std::size_t>(clusters));
  for (std::int64_t r = 0; r < N; ++r)
    members[static_cast<std::size_t>(nearest.defined() ? nearest.data()[r] : 0)].push_back(r);
  parallel_for(clusters, [&](std::int64_t c) {
    std::vector<std::int64_t>& rows = members[static_cast<std::size_t>(c)];
    std::vector<std::int64_t> sorted = rows;
    const auto order = [&](std::int64_t a, std::int64_t b) {
      const int sign = std::memcmp(bank + a * D, bank + b * D, static_cast<std::size_t>(D) * sizeof(T));
      return sign < 0 || (sign == 0 && a < b);
    };
    std::sort(sorted.begin(), sorted.end(), order);
    std::size_t kept = 0, run = 0;
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      const bool same = i > 0 && std::memcmp(bank + sorted[i] * D, bank + sorted[i - 1] * D,
                                             static_cast<std::size_t>(D) * sizeof(T)) == 0;
      run = same ? run + 1 : 1;
      if (run <= max_neighbours) rows[kept++] = sorted[i];
    }
    rows.resize(kept);
    std::sort(rows.begin(), rows.end());
  });
  return members;
}

// About 1024 rows a cluster: panels are full and tests few, yet most of a bank that has structure is skipped.
inline std::int64_t clusters_for(std::int64_t N) noexcept {
  return N < 8192 ? 1 : std::min<std::int64_t>(N / 1024, 1024);
}

// The filter of rows (N,D) with so many clusters.
template <class T>
NearestPatchFilter make_filter(const T* bank, std::int64_t N, std::int64_t D, std::int64_t clusters) {
  NearestPatchFilter filter;
  filter.N = N;
  filter.D = D;
  filter.centre = mean_of_rows(bank, N, D);
  double largest = 0, spread = 0;
  for (std::int64_t r = 0; r < N; ++r)
    for (std::int64_t i = 0; i < D; ++i) {
      const double y = static_cast<double>(bank[r * D + i]);
      largest = std::max(largest, std::abs(y));
      spread = std::max(spread, std::abs(y - filter.centre.data()[i]));
    }
  // Rows that differ by less than their own rounding have no spread; the floor keeps the scale sane for them.
  spread = std::max(spread, largest * 0x1p-30);
  int exponent = 0;
  if (spread > 0) std::frexp(spread, &exponent);
  // Doubles past this could overflow or underflow in d^2 itself; floats never get there.
  if (!(largest < 0x1p400) || exponent < -400) return filter;
  filter.scale = std::ldexp(1.0, -exponent);
  filter.int8.step = static_cast<float>(std::max(filter.scale * spread, 0.5) / 127);  // the largest |b_i| is 127

  Tensor<float> rows = Tensor<float>::empty({N, D});
  constexpr std::int64_t tile = 1024;
  parallel_for((N + tile - 1) / tile, [&](std::int64_t t) {
    for (std::int64_t r = t * tile; r < std::min(N, (t + 1) * tile); ++r)
      CUTTLE_ISA_CALL(centre_row, bank + r * D, filter.centre.data(), filter.scale, D, rows.data() + r * D);
  });
  Tensor<std::int64_t> nearest;
  if (clusters > 1) {
    filter.cluster_centres = cluster_centres(rows, clusters);
    filter.between_centres = Tensor<float>::empty({clusters, clusters});
    parallel_for(clusters, [&](std::int64_t a) {
      float* between = filter.between_centres.data() + a * clusters;
      CUTTLE_ISA_CALL(approximate_squared_distances, filter.cluster_centres.data() + a * D,
                      filter.cluster_centres.data(), nullptr, clusters, D, between);
      for (std::int64_t b = 0; b < clusters; ++b)
        between[b] = round_up(std::sqrt(static_cast<double>(between[b]) * (1 + 2 * filter_gamma(D)) + 0x1p-110));
    });
    nearest = nearest_centres(rows, filter.cluster_centres);
  }
  fill_cells(filter, rows, cluster_members(bank, N, D, nearest, clusters));
  return filter;
}

template <class T>
Tensor<std::int64_t> nearest_centres(const Tensor<T>& rows, const Tensor<T>& centres) {
  const std::int64_t N = rows.size(0), D = rows.size(1), clusters = centres.size(0);
  Tensor<std::int64_t> index = Tensor<std::int64_t>::empty({N});
  Tensor<T> distance = Tensor<T>::empty({N});
  nearest_patch(
      seam::NearestPatchArgs<T>{N, clusters, D, 1, rows.data(), centres.data(), distance.data(), index.data()},
      make_filter(centres.data(), clusters, D, 1));
  return index;
}

template <class T>
Tensor<T> cluster_centres(const Tensor<T>& rows, std::int64_t clusters) {
  constexpr std::int64_t rounds = 5, sample_per_cluster = 48;
  const std::int64_t N = rows.size(0), D = rows.size(1), samples = std::min(N, clusters * sample_per_cluster);
  Tensor<T> sample = Tensor<T>::empty({samples, D}), centres = Tensor<T>::empty({clusters, D});
  for (std::int64_t r = 0; r < samples; ++r) std::copy_n(rows.data() + r * N / samples * D, D, sample.data() + r * D);
  for (std::int64_t c = 0; c < clusters; ++c)
    std::copy_n(sample.data() + c * samples / clusters * D, D, centres.data() + c * D);
  Tensor<double> sums = Tensor<double>::empty({clusters, D});
  std::vector<std::int64_t> counts(static_cast<std::size_t>(clusters));
  for (std::int64_t round = 0; round < rounds; ++round) {
    const Tensor<std::int64_t> nearest = nearest_centres(sample, centres);
    std::fill_n(sums.data(), clusters * D, 0.0);
    std::fill(counts.begin(), counts.end(), 0);
    for (std::int64_t r = 0; r < samples; ++r) {
      const std::int64_t c = nearest.data()[r];
      ++counts[static_cast<std::size_t>(c)];
      for (std::int64_t i = 0; i < D; ++i) sums.data()[c * D + i] += static_cast<double>(sample.data()[r * D + i]);
    }
    for (std::int64_t c = 0; c < clusters; ++c)
      if (const std::int64_t count = counts[static_cast<std::size_t>(c)])
        for (std::int64_t i = 0; i < D; ++i)
          centres.data()[c * D + i] = static_cast<T>(sums.data()[c * D + i] / static_cast<double>(count));
  }
  return centres;
}

// True where no row of the cell can be among the k nearest: item 6 of the head. to_centre is |x' - m'|^2 in float.
inline bool out_of_reach(const FilteredQuery& query, const FilterCell& cell, double to_centre, double between,
                         double gamma) noexcept {
  const double reach = query.reach + 0x1p-23 * (query.norm + cell.norm) + 0x1p-60;
  const double least = to_centre * (1 - gamma) - 0x1p-110, ball = reach + cell.radius;
  if (least > ball * ball * (1 + 0x1p-40)) return true;
  const double nearest = static_cast<double>(query.to_nearest_centre) * (1 + 2 * gamma) + 0x1p-110;
  return least > nearest + (2 * reach * between + 0x1p-36 * reach * reach) * (1 + 0x1p-40);
}

// The search for one batch of queries.
template <class T>
class FilteredSearch {
 public:
  FilteredSearch(const seam::NearestPatchArgs<T>& args, const NearestPatchFilter& filter)
      : args_(args),
        filter_(filter),
        clusters_(filter.clusters()),
        fours_(filter.int8.bytes.defined() && multiplies_bytes() ? (args.D + 3) / 4 : 0),
        centred_(Tensor<float>::empty({args.Q, args.D})),
        int8_(fours_ ? Tensor<std::int8_t>::zeros({args.Q, 4 * fours_}) : Tensor<std::int8_t>()),
        to_centres_(clusters_ > 1 ? Tensor<float>::empty({args.Q, clusters_}) : Tensor<float>()),
        queries_(Tensor<FilteredQuery>::empty({args.Q})),
        order_(Tensor<std::int64_t>::empty({args.Q})) {}

  void run() {
    constexpr std::int64_t tile = 64;
    parallel_for((args_.Q + tile - 1) / tile, [&](std::int64_t t) {
      for (std::int64_t q = t * tile; q < std::min(args_.Q, (t + 1) * tile); ++q) prepare(q);
    });
    // Queries of one cluster together, so that they share tiles and skip the same cells.
    std::int64_t served = 0;
    for (std::int64_t q = 0; q < args_.Q; ++q)
      if (queries_.data()[q].nearest_centre >= 0) order_.data()[served++] = q;
    std::sort(order_.data(), order_.data() + served, [&](std::int64_t a, std::int64_t b) {
      const std::int64_t first = queries_.data()[a].nearest_centre, second = queries_.data()[b].nearest_centre;
      return first < second || (first == second && a < b);
    });
    // Chunks: enough of them for the threads, each large enough that the bank is read few times.
    const std::int64_t chunk = tile_queries * std::clamp<std::int64_t>((served / tile_queries + 7) / 8, 4, 64);
    const std::int64_t most = std::min(chunk, served), tiles = (most + tile_queries - 1) / tile_queries;
    const std::int64_t scratch = Tiles::size(1, args_.D, fours_) + Tiles::size(tiles, args_.D, fours_) +
                                 most * static_cast<std::int64_t>(sizeof(std::int64_t));
    parallel_for_with_scratch<std::byte>((served + chunk - 1) / chunk, scratch, [&](std::int64_t c, std::byte* memory) {
      search(order_.data() + c * chunk, std::min(chunk, served - c * chunk), memory);
    });
  }

 private:
  // Centres the query and finds its nearest cluster. A query that the filter cannot serve is answered here: one with a
  // NaN, or too far away for the bounds' range.
  void prepare(std::int64_t q) {
    const std::int64_t D = args_.D;
    const int k = static_cast<int>(args_.k);
    const T* x = args_.queries + q * D;
    FilteredQuery query(k, 0);
    query.nearest_centre = -1;
    double farthest = 0;
    for (std::int64_t i = 0; i < D; ++i)
      farthest = std::max(farthest, filter_.scale * std::abs(static_cast<double>(x[i]) - filter_.centre.data()[i]));
    if (!all_finite(x, D)) {
      std::fill_n(args_.distance + q * k, k, std::numeric_limits<T>::quiet_NaN());
      std::fill_n(args_.index + q * k, k, -1);
    } else if (filter_.cells.numel() == 0 || farthest > 0x1p44) {
      rank_all_rows(x, args_, query.ranked);
      query.ranked.write(args_.distance + q * k, args_.index + q * k);
    } else {
      float* centred = centred_.data() + q * D;
      query = FilteredQuery(k, CUTTLE_ISA_CALL(centre_row, x, filter_.centre.data(), filter_.scale, D, centred));
      if (clusters_ > 1) {
        float* to_centres = to_centres_.data() + q * clusters_;
        CUTTLE_ISA_CALL(approximate_squared_distances, centred, filter_.cluster_centres.data(), nullptr, clusters_, D,
                        to_centres);
        query.nearest_centre = std::min_element(to_centres, to_centres + clusters_) - to_centres;
        query.to_nearest_centre = to_centres[query.nearest_centre];
      }
      if (fours_) query.quantise(filter_, centred, int8_.data() + q * 4 * fours_);
    }
    queries_.data()[q] = query;
  }

  // Answers the n queries named.
  void search(const std::int64_t* names, std::int64_t n, std::byte* memory) {
    const std::int64_t D = args_.D, cells = filter_.cells.numel();
    const std::int64_t tiles = (n + tile_queries - 1) / tile_queries;
    Tiles gathered(memory, 1, D, fours_), packed(memory + Tiles::size(1, D, fours_), tiles, D, fours_);
    auto* const listed =
        reinterpret_cast<std::int64_t*>(memory + Tiles::size(1, D, fours_) + Tiles::size(tiles, D, fours_));
    // The nearest cluster first: it mostly holds the answer, and so tells which others to skip.
    const auto centre_of = [&](std::int64_t j) { return queries_.data()[names[j]].nearest_centre; };
    for (std::int64_t c = 0, first = 0; c < cells && clusters_ > 1; ++c) {
      const FilterCell& cell = filter_.cells.data()[c];
      while (first < n && centre_of(first) < cell.cluster) ++first;
      std::int64_t last = first;
      while (last < n && centre_of(last) == cell.cluster) ++last;
      visit(cell, names + first, last - first, nullptr, gathered);
    }
    // Where most queries need a cell, tiles that are packed once serve all of them, and the next cells taken untested.
    constexpr int untested_after_full = 3;
    for (std::int64_t c = 0, untested = clusters_ == 1 ? cells : 0; c < cells; ++c) {
      const FilterCell& cell = filter_.cells.data()[c];
      std::int64_t count = 0;
      if (untested == 0)
        for (std::int64_t j = 0; j < n; ++j)
          if (!skips(names[j], cell)) listed[count++] = names[j];
      if (untested > 0) {
        visit(cell, names, n, &packed, gathered);
        --untested;
      } else if (4 * count >= 3 * n) {
        visit(cell, names, n, &packed, gathered);
        untested = untested_after_full;
      } else {
        visit(cell, listed, count, nullptr, gathered);
      }
    }
    for (std::int64_t j = 0; j < n; ++j)
      queries_.data()[names[j]].ranked.write(args_.distance + names[j] * args_.k, args_.index + names[j] * args_.k);
  }

  bool skips(std::int64_t q, const FilterCell& cell) const noexcept {
    const FilteredQuery& query = queries_.data()[q];
    return query.nearest_centre == cell.cluster ||
           out_of_reach(
               query, cell, static_cast<double>(to_centres_.data()[q * clusters_ + cell.cluster]),
               static_cast<double>(filter_.between_centres.data()[query.nearest_centre * clusters_ + cell.cluster]),
               filter_gamma(args_.D));
  }

  // Queries as the kernels read them, in floats and in bytes.
  struct Tiles {
    float* floats;                 // (tiles, D, 12), x'
    std::int8_t* bytes;            // (tiles, ceil(D/4), 12, 4), a
    bool *has_floats, *has_bytes;  // (tiles)

    // Bytes of memory that so many take.
    static std::int64_t size(std::int64_t tiles, std::int64_t D, std::int64_t fours) noexcept {
      constexpr std::int64_t line = 64;
      return (tiles * (4 * tile_queries * (D + fours) + 2) + line - 1) / line * line;
    }
    Tiles(std::byte* memory, std::int64_t tiles, std::int64_t D, std::int64_t fours) noexcept
        : floats(reinterpret_cast<float*>(memory)),
          bytes(reinterpret_cast<std::int8_t*>(floats + tiles * D * tile_queries)),
          has_floats(reinterpret_cast<bool*>(bytes + tiles * fours * tile_queries * 4)),
          has_bytes(has_floats + tiles) {
      std::memset(memory, 0, static_cast<std::size_t>(size(tiles, D, fours)));
    }
  };

  // The floats, and below the bytes, of up to 12 queries; a tile of the queries gathered for one cell is never kept.
  const float* pack(const std::int64_t* names, std::int64_t count, Tiles& tiles, std::int64_t tile, bool keep) const {
    float* packed = tiles.floats + tile * tile_queries * args_.D;
    if (std::exchange(tiles.has_floats[tile], keep)) return packed;
    for (std::int64_t r = 0; r < count; ++r)
      for (std::int64_t i = 0; i < args_.D; ++i) packed[i * tile_queries + r] = centred_.data()[names[r] * args_.D + i];
    return packed;
  }

  const std::int8_t* pack_int8(const std::int64_t* names, std::int64_t count, Tiles& tiles, std::int64_t tile,
                               bool keep) const {
    std::int8_t* packed = tiles.bytes + tile * tile_queries * 4 * fours_;
    if (std::exchange(tiles.has_bytes[tile], keep)) return packed;
    for (std::int64_t r = 0; r < count; ++r)
      for (std::int64_t i = 0; i < fours_; ++i)
        std::memcpy(packed + (i * tile_queries + r) * 4, int8_.data() + (names[r] * fours_ + i) * 4, 4);
    return packed;
  }

  // Ranks what the cell may hold for the n queries named, whose tiles are kept in `packed` if that is given.
  void visit(const FilterCell& cell, const std::int64_t* names, std::int64_t n, Tiles* packed, Tiles& gathered) {
    alignas(64) float best[tile_queries * block_lanes];
    alignas(64) std::int32_t int8_best[tile_queries * block_lanes];
    for (std::int64_t first = 0; first < n; first += tile_queries) {
      const std::int64_t count = std::min<std::int64_t>(tile_queries, n - first);
      const std::int64_t tile = packed ? first / tile_queries : 0;
      Tiles& tiles = packed ? *packed : gathered;
      const bool int8 = fours_ && std::all_of(names + first, names + first + count,
                                              [&](std::int64_t q) { return queries_.data()[q].prefers_int8(cell); });
      if (int8) {
        CUTTLE_VNNI_CALL(int8_tile, filter_.int8.bytes.data() + cell.first_panel * panel_columns * 4 * fours_,
                         filter_.int8.start.data() + cell.first_panel * panel_columns, cell.panels,
                         pack_int8(names + first, count, tiles, tile, packed != nullptr), fours_, int8_best);
      } else {
        CUTTLE_ISA_CALL(filter_tile, filter_.panels.data() + cell.first_panel * panel_columns * args_.D,
                        filter_.minus_half_norms.data() + cell.first_panel * panel_columns, cell.panels,
                        pack(names + first, count, tiles, tile, packed != nullptr), args_.D, best);
      }
      for (std::int64_t r = 0; r < count; ++r) {
        const std::int64_t q = names[first + r];
        FilteredQuery& query = queries_.data()[q];
        if (packed && clusters_ > 1 && query.nearest_centre == cell.cluster) continue;  // visited at the start
        const T* x = args_.queries + q * args_.D;
        if (int8)
          rank_blocks(x, args_.bank, filter_, cell, int8_best + r * block_lanes, query);
        else
          rank_blocks(x, args_.bank, filter_, cell, best + r * block_lanes, query);
      }
    }
  }

  const seam::NearestPatchArgs<T>& args_;
  const NearestPatchFilter& filter_;
  const std::int64_t clusters_;
  const std::int64_t fours_;  // ceil(D/4) where bytes are compared, else 0
  Tensor<float> centred_;     // (Q,D), x'
  Tensor<std::int8_t> int8_;  // (Q, 4 ceil(D/4)), a
  Tensor<float> to_centres_;  // (Q,clusters), |x' - m'|^2
  Tensor<FilteredQuery> queries_;
  Tensor<std::int64_t> order_;
};

}  // namespace detail

// Builds the filter of rows (N,D), finite, N >= 1, 1 <= D <= 4096.
template <class T>
NearestPatchFilter make_nearest_patch_filter(const T* rows, std::int64_t N, std::int64_t D) {
  return detail::make_filter(rows, N, D, detail::clusters_for(N));
}

// nearest_patch: distance and index (Q,k) of the k nearest bank rows of each query; see the head of this file.
// A query with a NaN or an infinity gets distance NaN and index -1.
template <class T>
void nearest_patch(const seam::NearestPatchArgs<T>& args, const NearestPatchFilter& filter) {
  constexpr std::int64_t batch = 8192;  // bounds the scratch memory
  for (std::int64_t first = 0; first < args.Q; first += batch) {
    seam::NearestPatchArgs<T> part = args;
    part.Q = std::min(batch, args.Q - first);
    part.queries += first * args.D;
    part.distance += first * args.k;
    part.index += first * args.k;
    detail::FilteredSearch<T>(part, filter).run();
  }
}

// The same answers straight from the definition: every row, one after the other, no filter and no vectors.
template <class T>
void nearest_patch_by_definition(const seam::NearestPatchArgs<T>& args) {
  const int k = static_cast<int>(args.k);
  parallel_for(args.Q, [&](std::int64_t q) {
    const T* x = args.queries + q * args.D;
    T* distance = args.distance + q * k;
    std::int64_t* index = args.index + q * k;
    if (!detail::all_finite(x, args.D)) {
      std::fill_n(distance, k, std::numeric_limits<T>::quiet_NaN());
      std::fill_n(index, k, -1);
      return;
    }
    detail::RankedRows ranked(k);
    for (std::int64_t r = 0; r < args.N; ++r) {
      const T* y = args.bank + r * args.D;
      double squared = 0;
      for (std::int64_t i = 0; i < args.D; ++i) {
        const double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
        squared = std::fma(difference, difference, squared);
      }
      ranked.offer(squared, r);
    }
    ranked.write(distance, index);
  });
}

}  // namespace cuttle::cpu
