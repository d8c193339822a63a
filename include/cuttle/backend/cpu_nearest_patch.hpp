// Exact nearest neighbours on the CPU: a float filter in GEMM form with a proven error bound, then a re-rank in double.
//
// The answer is the k rows y that come first by (d^2, row index), where
//   d^2 = sum_i fma((double)x_i - (double)y_i, same, acc), i in index order.
// The filter works on x' = float(s(x - c)), y' = float(s(y - c)), c the mean of the bank and s a power of two that brings
// the largest |s(y - c)| into [1/2, 1), with
//   v(x, y) = x'.y' - |y'|^2/2,   which falls as the distance grows: |x' - y'|^2 = |x'|^2 - 2 v.
// Only the largest v of each block of rows is kept, never a Q x N matrix and never an index. A block whose v is too small
// for any of its rows to be an answer is dropped; the rows of the others are ranked by d^2 as above.
//
// Layout: a panel holds 32 rows as (D, 32); a block is `block_rows` consecutive rows; 16 consecutive blocks form a group of
// block_rows/2 panels, in which column c of panel j is row (2j + c/16) of the group's block c%16. So the running maximum
// of a block stays in one lane, and no kernel reduces across lanes. Rows past the end have -half_norm = -infinity.
//
// Bound. Let u = 2^-24, X = |x'|, Y the largest |y'| of a block, D <= 4096, and V = (X^2 - s^2 d^2)/2 with the true d.
//  1. x' and y' are s(x-c) and s(y-c), each component within a factor 1 + u(1 + 2^-28), so |sd - |x'-y'|| <= u'(X+Y) and
//     |V - (x'.y' - |y'|^2/2)| <= u'(X+Y)^2 <= 1.01 u (2 X^2 + 2 Y^2), or as (X+Y)^2 = X^2 + 2XY + Y^2.
//  2. The kernel starts at -|y'|^2/2 rounded and adds D products, with or without fma: at most D+2 roundings meet any
//     term, so its error is at most (D+2)u/(1-(D+2)u) (XY + Y^2/2) <= (D+4)u (XY + Y^2/2).
//  3. Forming v +- e in float adds at most u(|v| + e), and e itself, rounded up, a relative 8u of e: under 3u (XY + Y^2/2).
//  4. d^2 of the definition differs from the true one by a factor within (1 + 2^-53)^(D+3), below 2^-40 s^2 d^2 in V.
//  5. Underflow anywhere, flushed to zero or not, adds less than 2^-64: components of x' are at most 2^50, of y' at most 1.
// Together |v - V| < e(X, Y) = gamma (XY + Y^2/2) + 2u(X+Y)^2 + 2^-64 with gamma = filter_gamma(D) = (D + 16) u.
// Blocks with v + e below the k-th largest v - e of all blocks hold no answer; nor do, once k rows are ranked, blocks with
// v + e below (X^2 - s^2 d_k^2)/2 less the rounding of that.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuttle/backend/cpu_simd.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

inline constexpr int panel_columns = 32, tile_queries = 12, block_lanes = 16, max_block_rows = 256;
inline constexpr int max_neighbours = 9;
inline constexpr std::int64_t max_dim = 4096;

// Relative error of a float sum of D products, with room for the few roundings around it (items 2 and 3 above).
inline double filter_gamma(std::int64_t D) noexcept { return static_cast<double>(D + 16) * 0x1p-24; }

// The smallest convenient float that is at least x; infinity past the largest.
inline float round_up(double x) noexcept {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  return x < static_cast<double>(std::numeric_limits<float>::max()) ? std::nextafter(static_cast<float>(x), infinity)
                                                                    : infinity;
}

// e(X, Y) as a polynomial in Y, for one query.
struct FilterError {
  float constant, linear, quadratic;

  FilterError(double X, std::int64_t D) noexcept
      : constant(round_up(std::fma(0x1p-23 * X, X, 0x1p-64))),
        linear(round_up((filter_gamma(D) + 0x1p-22) * X)),
        quadratic(round_up(filter_gamma(D) / 2 + 0x1p-23)) {}
};

// A block of rows and an upper bound of V over them; a heap of these gives the most promising block first.
struct BlockBound {
  float upper;
  std::int64_t block;
  friend bool operator<(const BlockBound& a, const BlockBound& b) noexcept { return a.upper < b.upper; }
};

// What the filter keeps of a bank of N rows, derived from the rows alone.
struct NearestPatchFilter {
  std::int64_t N = 0, D = 0;
  std::int64_t block_rows = 0;      // a power of two, 2 .. 256
  std::int64_t blocks = 0;          // a multiple of 16; 0: the magnitudes do not allow a filter, every row is ranked
  double scale = 1;                 // s
  Tensor<double> centre;            // (D), c
  Tensor<float> panels;             // (blocks*block_rows/32, D, 32), y'
  Tensor<float> minus_half_norms;   // (blocks*block_rows), -|y'|^2/2 by panel and column
  Tensor<float> block_norms;        // (blocks), at least the largest |y'|
};

}  // namespace cuttle::cpu

#define CUTTLE_KERNELS "cuttle/backend/nearest_patch.inl"
#include "cuttle/backend/foreach_isa.inl"

namespace cuttle::cpu {
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

  void offer(double squared, std::int64_t index) noexcept {
    const auto before = [&](int j) {
      return squared < squared_[j] || (squared == squared_[j] && index < index_[j]);
    };
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

// Ranks rows [first, last) exactly; for float a first look in float spares most of them the sum in double.
template <class T>
void rank_rows(const T* x, const T* bank, std::int64_t first, std::int64_t last, std::int64_t D, RankedRows& ranked) {
  for (; first < last; first += max_block_rows) {
    const std::int64_t n = std::min<std::int64_t>(max_block_rows, last - first);
    const T* rows = bank + first * D;
    if constexpr (std::is_same_v<T, float>) {
      // A row within the limit has a float sum of at most `most`; the second term is for what underflows.
      const auto most_of = [&] {
        return round_up(std::fma(ranked.limit(), 1 + filter_gamma(D), static_cast<double>(D) * 0x1p-125));
      };
      float approximate[max_block_rows];
      CUTTLE_ISA_CALL(approximate_squared_distances, x, rows, n, D, approximate);
      float most = most_of();
      for (std::int64_t r = 0; r < n; ++r) {
        if (approximate[r] > most) continue;
        double squared;
        CUTTLE_ISA_CALL(exact_squared_distances, x, rows + r * D, std::int64_t{1}, D, &squared);
        ranked.offer(squared, first + r);
        most = most_of();
      }
    } else {
      double squared[max_block_rows];
      CUTTLE_ISA_CALL(exact_squared_distances, x, rows, n, D, squared);
      for (std::int64_t r = 0; r < n; ++r) ranked.offer(squared[r], first + r);
    }
  }
}

// Ranks the rows of the blocks that may hold an answer, the most promising first. `values` holds the largest v of each
// block and is overwritten; squared_norm is |x'|^2.
template <class T>
void rank_survivors(const T* x, const T* bank, const NearestPatchFilter& filter, double squared_norm, float* values,
                    BlockBound* found, int k, RankedRows& ranked) {
  const FilterError error(std::sqrt(squared_norm) * (1 + 0x1p-30), filter.D);
  const float threshold =
      CUTTLE_ISA_CALL(bound_blocks, values, filter.block_norms.data(), filter.blocks, error, k);
  BlockBound* last = found + CUTTLE_ISA_CALL(collect_blocks, values, filter.blocks, threshold, found);
  std::make_heap(found, last);
  const double scale_squared = filter.scale * filter.scale;
  for (; found != last; --last) {
    const BlockBound best = *found;
    if (ranked.full()) {
      const double reach = scale_squared * ranked.limit();
      const double least = std::fma(-0x1p-38, squared_norm + reach, 0.5 * (squared_norm - reach));
      if (static_cast<double>(best.upper) < least) return;
    }
    const std::int64_t first = best.block * filter.block_rows;
    rank_rows(x, bank, first, std::min(filter.N, first + filter.block_rows), filter.D, ranked);
    std::pop_heap(found, last);
  }
}

}  // namespace detail

// Builds the filter of rows (N,D), finite, N >= 1, 1 <= D <= 4096.
template <class T>
NearestPatchFilter make_nearest_patch_filter(const T* rows, std::int64_t N, std::int64_t D) {
  NearestPatchFilter filter;
  filter.N = N;
  filter.D = D;
  filter.centre = detail::mean_of_rows(rows, N, D);
  double largest = 0, spread = 0;
  for (std::int64_t r = 0; r < N; ++r)
    for (std::int64_t i = 0; i < D; ++i) {
      const double y = static_cast<double>(rows[r * D + i]);
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

  // About 3072 blocks: fewer would cost the re-rank, more the pass over their maxima.
  filter.block_rows = 2;
  while (filter.block_rows < max_block_rows && filter.block_rows * 2 * 3072 <= N) filter.block_rows *= 2;
  const std::int64_t group_rows = filter.block_rows * block_lanes, groups = (N + group_rows - 1) / group_rows;
  filter.blocks = groups * block_lanes;
  filter.panels = Tensor<float>::empty({groups * group_rows / panel_columns, D, panel_columns});
  filter.minus_half_norms = Tensor<float>::empty({groups * group_rows});
  filter.block_norms = Tensor<float>::empty({filter.blocks});
  parallel_for(groups, [&](std::int64_t g) {
    float* panels = filter.panels.data() + g * group_rows * D;
    float* minus_half_norms = filter.minus_half_norms.data() + g * group_rows;
    std::fill_n(panels, group_rows * D, 0.0f);
    std::fill_n(minus_half_norms, group_rows, -std::numeric_limits<float>::infinity());
    for (std::int64_t lane = 0; lane < block_lanes; ++lane) {
      double largest_norm = 0;
      for (std::int64_t step = 0; step < filter.block_rows; ++step) {
        const std::int64_t row = (g * block_lanes + lane) * filter.block_rows + step;
        if (row >= N) break;
        const std::int64_t panel = step / 2, column = lane + block_lanes * (step % 2);
        const double norm = CUTTLE_ISA_CALL(centre_row, rows + row * D, filter.centre.data(), filter.scale, D,
                                            panels + panel * panel_columns * D + column, panel_columns);
        minus_half_norms[panel * panel_columns + column] = static_cast<float>(-0.5 * norm);
        largest_norm = std::max(largest_norm, norm);
      }
      filter.block_norms.data()[g * block_lanes + lane] = round_up(std::sqrt(largest_norm) * (1 + 0x1p-30));
    }
  });
  return filter;
}

// nearest_patch: distance and index (Q,k) of the k nearest bank rows of each query; see the head of this file.
// A query with a NaN or an infinity gets distance NaN and index -1.
template <class T>
void nearest_patch(const seam::NearestPatchArgs<T>& args, const NearestPatchFilter& filter) {
  const std::int64_t Q = args.Q, D = args.D, blocks = filter.blocks;
  const int k = static_cast<int>(args.k);
  const std::int64_t tiles = (Q + tile_queries - 1) / tile_queries;
  // Chunks of queries: enough of them for the threads, each long enough that the bank is read few times, and at most
  // 16 MB of block maxima. The bank is passed in batches of panels that stay in the second-level cache.
  const std::int64_t most_tiles = std::max<std::int64_t>(1, (std::int64_t{4} << 20) / (tile_queries * (blocks + 1)));
  const std::int64_t chunk_tiles = std::min(std::clamp<std::int64_t>((tiles + 15) / 16, 4, 32), most_tiles);
  const std::int64_t batch = std::clamp<std::int64_t>((std::int64_t{1} << 16) / (panel_columns * D), 1,
                                                      std::max<std::int64_t>(1, filter.block_rows / 2));
  parallel_for((tiles + chunk_tiles - 1) / chunk_tiles, [&](std::int64_t chunk) {
    const std::int64_t first_query = chunk * chunk_tiles * tile_queries;
    const std::int64_t queries = std::min(Q - first_query, chunk_tiles * tile_queries);
    const std::int64_t chunk_end = (queries + tile_queries - 1) / tile_queries;
    Tensor<float> packed = Tensor<float>::zeros({chunk_end, D, tile_queries});
    Tensor<double> squared_norms = Tensor<double>::empty({queries});
    Tensor<float> values = Tensor<float>::full({chunk_end * tile_queries, blocks},
                                               -std::numeric_limits<float>::infinity());
    Tensor<BlockBound> found = Tensor<BlockBound>::empty({blocks});

    // x' is left 0 for a query that the filter cannot serve: one with a NaN, or too far away for the bound's range.
    for (std::int64_t q = 0; q < queries; ++q) {
      const T* x = args.queries + (first_query + q) * D;
      double farthest = 0;
      for (std::int64_t i = 0; i < D && blocks; ++i)
        farthest = std::max(farthest, filter.scale * std::abs(static_cast<double>(x[i]) - filter.centre.data()[i]));
      squared_norms.data()[q] = std::numeric_limits<double>::infinity();
      if (blocks && farthest <= 0x1p44 && detail::all_finite(x, D))
        squared_norms.data()[q] = CUTTLE_ISA_CALL(
            centre_row, x, filter.centre.data(), filter.scale, D,
            packed.data() + q / tile_queries * tile_queries * D + q % tile_queries, tile_queries);
    }

    const std::int64_t panels = blocks * filter.block_rows / panel_columns, group_panels = filter.block_rows / 2;
    for (std::int64_t p = 0, count; p < panels; p += count) {
      const std::int64_t group = p / group_panels;
      count = std::min(batch, (group + 1) * group_panels - p);
      for (std::int64_t tile = 0; tile < chunk_end; ++tile)
        CUTTLE_ISA_CALL(filter_tile, filter.panels.data() + p * panel_columns * D,
                        filter.minus_half_norms.data() + p * panel_columns, count,
                        packed.data() + tile * tile_queries * D, D,
                        values.data() + tile * tile_queries * blocks + group * block_lanes, blocks);
    }

    for (std::int64_t q = 0; q < queries; ++q) {
      const T* x = args.queries + (first_query + q) * D;
      T* distance = args.distance + (first_query + q) * k;
      std::int64_t* index = args.index + (first_query + q) * k;
      if (!detail::all_finite(x, D)) {
        std::fill_n(distance, k, std::numeric_limits<T>::quiet_NaN());
        std::fill_n(index, k, -1);
        continue;
      }
      detail::RankedRows ranked(k);
      if (const double squared_norm = squared_norms.data()[q]; std::isfinite(squared_norm))
        detail::rank_survivors(x, args.bank, filter, squared_norm, values.data() + q * blocks, found.data(), k, ranked);
      else
        detail::rank_rows(x, args.bank, 0, args.N, D, ranked);
      ranked.write(distance, index);
    }
  });
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
