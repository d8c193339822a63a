// nearest_patch on a device with tensor cores: a filter in fp16, then a ranking in double of the blocks of rows that it
// leaves. seam/nearest_patch_filter.hpp has the formulas and the proof that the filter drops no answer.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cuttle/seam/args.hpp"
#include "cuttle/seam/nearest_patch_filter.hpp"
#include "kernels/vocab.cuh"

namespace cuttle::kernels {

// --- the bank -------------------------------------------------------------------------------------------------------

constexpr int survey_threads = 256, survey_warps = survey_threads / warp_size;

// op: partial[t][0..2][i] = the sum, the least and the largest of bank[r][i] over the rows r of tile t;
//   partial[t][3D] = the first of them that holds a NaN or an infinity, or N
// layout: bank (N,D), partial (tiles, 3D + 1)
// launch: a block of 256 threads a tile, 8 KB
// order: a warp adds every eighth row, rising; thread 0 to 31 add the eight warps' sums, rising: deterministic
// limits: tiles of at least one row
// cost: reads N D, once; bound by memory
template <class T>
CUTTLE_KERNEL survey_bank_kernel(seam::NearestPatchSurveyArgs<T> a) {
  CUTTLE_SHARED(double, sums, survey_threads);
  CUTTLE_SHARED(double, lows, survey_threads);
  CUTTLE_SHARED(double, highs, survey_threads);
  CUTTLE_SHARED(std::int64_t, faults, survey_threads);
  const Global<const T> bank = a.bank;
  const Global<double> partial = a.partial;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size, warp = thread / warp_size;
  const std::int64_t tile = blockIdx.x, width = 3 * a.D + 1;
  const std::int64_t first = tile * a.N / a.tiles, last = (tile + 1) * a.N / a.tiles;
  std::int64_t fault = a.N;
  for (std::int64_t column = lane; column - lane < a.D; column += warp_size) {
    double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
    if (column < a.D) {
      for (std::int64_t row = first + warp; row < last; row += survey_warps) {
        const double y = static_cast<double>(bank[row * a.D + column]);
        sum += y;
        low = fmin(low, y);
        high = fmax(high, y);
        if (!(y - y == 0) && row < fault) fault = row;
      }
    }
    sums[thread] = sum;
    lows[thread] = low;
    highs[thread] = high;
    __syncthreads();
    if (warp == 0 && column < a.D) {
      for (int w = 1; w < survey_warps; ++w) {
        sum += sums[w * warp_size + lane];
        low = fmin(low, lows[w * warp_size + lane]);
        high = fmax(high, highs[w * warp_size + lane]);
      }
      partial[tile * width + column] = sum;
      partial[tile * width + a.D + column] = low;
      partial[tile * width + 2 * a.D + column] = high;
    }
    __syncthreads();
  }
  faults[thread] = fault;
  __syncthreads();
  if (thread == 0) {
    for (int t = 1; t < survey_threads; ++t) fault = faults[t] < fault ? faults[t] : fault;
    partial[tile * width + 3 * a.D] = static_cast<double>(fault);
  }
}

// op: centre[i] = sum_t partial[t][0][i] / N; summary = the first row that holds a NaN or an infinity, or N; the
//   largest |bank[r][i]|; the largest |bank[r][i] - centre[i]|
// layout: partial (tiles, 3D + 1) of the kernel above, centre (D), summary (3)
// launch: one block of 256 threads, 4 KB
// order: tiles rising; deterministic
// cost: reads tiles 3D doubles with one block, once a bank
template <class T>
CUTTLE_KERNEL centre_of_bank_kernel(seam::NearestPatchSurveyArgs<T> a) {
  CUTTLE_SHARED(double, largests, survey_threads);
  CUTTLE_SHARED(double, spreads, survey_threads);
  const Global<const double> partial = a.partial;
  const Global<double> centre = a.centre, summary = a.summary;
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t width = 3 * a.D + 1;
  double largest = 0, spread = 0;
  for (std::int64_t column = thread; column < a.D; column += survey_threads) {
    double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
    for (std::int64_t tile = 0; tile < a.tiles; ++tile) {
      sum += partial[tile * width + column];
      low = fmin(low, partial[tile * width + a.D + column]);
      high = fmax(high, partial[tile * width + 2 * a.D + column]);
    }
    const double mean = sum / static_cast<double>(a.N);
    centre[column] = mean;
    largest = fmax(largest, fmax(fabs(low), fabs(high)));
    spread = fmax(spread, fmax(fabs(low - mean), fabs(high - mean)));
  }
  largests[thread] = largest;
  spreads[thread] = spread;
  __syncthreads();
  if (thread == 0) {
    double fault = static_cast<double>(a.N);
    for (std::int64_t tile = 0; tile < a.tiles; ++tile) fault = fmin(fault, partial[tile * width + 3 * a.D]);
    for (int t = 1; t < survey_threads; ++t) {
      largest = fmax(largest, largests[t]);
      spread = fmax(spread, spreads[t]);
    }
    summary[0] = fault;
    summary[1] = largest;
    summary[2] = spread;
  }
}

template <class T>
void launch_nearest_patch_survey(const seam::NearestPatchSurveyArgs<T>& a, seam::Stream stream) {
  launch("nearest_patch", &survey_bank_kernel<T>, dim3(static_cast<unsigned>(a.tiles)), dim3(survey_threads), 0, stream,
         a);
  launch("nearest_patch", &centre_of_bank_kernel<T>, dim3(1), dim3(survey_threads), 0, stream, a);
}

// --- rows in fp16 ---------------------------------------------------------------------------------------------------

struct Rounded {
  double squared_norm, squared_residual;  // |x^|^2 and |s(x - c) - x^|^2, in every lane
};

// A warp writes x^ (filter_dim(D)) for the row x (D); zeros where `real` is false.
template <class T>
CUTTLE_DEVICE Rounded round_row(Global<const T> x, bool real, Global<const double> centre, double scale, std::int64_t D,
                                Global<half_t> rounded) {
  const std::int64_t dim = seam::filter_dim(D);
  Rounded sums{0, 0};
  for (std::int64_t i = static_cast<int>(threadIdx.x) % warp_size; i < dim; i += warp_size) {
    const double value = real && i < D ? scale * (static_cast<double>(x[i]) - centre[i]) : 0;
    const double cut = fmax(-seam::filter_largest, fmin(seam::filter_largest, value));  // a number for a NaN too
    const half_t kept = to_half(static_cast<float>(cut));
    const double exact = static_cast<double>(to_float(kept)), off = value - exact;
    rounded[i] = kept;
    sums.squared_norm = fma(exact, exact, sums.squared_norm);
    sums.squared_residual = fma(off, off, sums.squared_residual);
  }
  for (int apart = warp_size / 2; apart > 0; apart /= 2) {
    sums.squared_norm += __shfl_xor_sync(full_mask, sums.squared_norm, apart);
    sums.squared_residual += __shfl_xor_sync(full_mask, sums.squared_residual, apart);
  }
  return sums;
}

// Starts a column without a row: below every v, yet finite, so that the tensor core makes no NaN of it.
constexpr float no_row = -0x1p100f;

constexpr int round_threads = 256, round_warps = round_threads / warp_size;

// op: y^, -|y^|^2/2 and for each block of 128 rows the norm and residual bounds
// layout: bank (N,D), centre (D); rows (blocks * 128, filter_dim(D)), minus_half_norms (blocks * 128),
//   bounds (blocks,2)
// launch: a block of 256 threads for 128 rows, 128 bytes
// order: a warp rounds every eighth row; maxima, and sums in a fixed tree
// limits: a filter, that is scale > 0
// cost: reads N D, writes 2 N filter_dim(D) bytes, 4 N D operations in double; bound by memory
template <class T>
CUTTLE_KERNEL round_bank_kernel(seam::NearestPatchFilterArgs<T> a) {
  CUTTLE_SHARED(double, norms, round_warps);
  CUTTLE_SHARED(double, residuals, round_warps);
  const Global<const T> bank = a.bank;
  const Global<const double> centre = a.centre;
  const Global<half_t> rows = reinterpret_cast<half_t*>(a.rows);
  const Global<float> minus_half_norms = a.minus_half_norms, bounds = a.bounds;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size, warp = thread / warp_size;
  const std::int64_t block = blockIdx.x, dim = seam::filter_dim(a.D);
  double squared_norm = 0, squared_residual = 0;
  for (std::int64_t r = warp; r < seam::filter_rows; r += round_warps) {
    const std::int64_t row = block * seam::filter_rows + r;
    const bool real = row < a.N;
    const Rounded sums = round_row<T>(bank + (real ? row : 0) * a.D, real, centre, a.scale, a.D, rows + row * dim);
    if (lane == 0) minus_half_norms[row] = real ? static_cast<float>(-0.5 * sums.squared_norm) : no_row;
    squared_norm = fmax(squared_norm, sums.squared_norm);
    squared_residual = fmax(squared_residual, sums.squared_residual);
  }
  if (lane == 0) {
    norms[warp] = squared_norm;
    residuals[warp] = squared_residual;
  }
  __syncthreads();
  if (thread == 0) {
    for (int w = 1; w < round_warps; ++w) {
      squared_norm = fmax(squared_norm, norms[w]);
      squared_residual = fmax(squared_residual, residuals[w]);
    }
    const double norm = seam::norm_bound(squared_norm);
    bounds[2 * block] = seam::round_up(norm);
    bounds[2 * block + 1] = seam::round_up(seam::residual_bound(squared_residual, norm));
  }
}

template <class T>
void launch_nearest_patch_filter(const seam::NearestPatchFilterArgs<T>& a, seam::Stream stream) {
  launch("nearest_patch", &round_bank_kernel<T>, dim3(static_cast<unsigned>(seam::filter_blocks(a.N))),
         dim3(round_threads), 0, stream, a);
}

// op: x^, and the norm and residual bounds of each query
// layout: queries (Q,D); rounded_queries (tiles * 128, filter_dim(D)), query_bounds (tiles * 128, 2)
// launch: a block of 256 threads for 8 queries, none shared
// order: a warp a query; sums in a fixed tree
// limits: what a NaN or an infinity in a query gives here is finite and used nowhere
// cost: 2 Q D; bound by memory
template <class T>
CUTTLE_KERNEL round_queries_kernel(seam::NearestPatchSearchArgs<T> a) {
  const Global<const T> queries = a.search.queries;
  const Global<const double> centre = a.filter.centre;
  const Global<half_t> rounded = reinterpret_cast<half_t*>(a.rounded_queries);
  const Global<double> bounds = a.query_bounds;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size;
  const std::int64_t q = static_cast<std::int64_t>(blockIdx.x) * round_warps + thread / warp_size, D = a.search.D;
  const bool real = q < a.search.Q;
  const Rounded sums =
      round_row<T>(queries + (real ? q : 0) * D, real, centre, a.filter.scale, D, rounded + q * seam::filter_dim(D));
  if (lane == 0) {
    const double norm = seam::norm_bound(sums.squared_norm);
    bounds[2 * q] = norm;
    bounds[2 * q + 1] = seam::residual_bound(sums.squared_residual, norm);
  }
}

// --- the filter -----------------------------------------------------------------------------------------------------

// A CTA holds a tile of 128 queries, a warp 32 of them, against one block of 128 rows after the other, 64 columns of D
// (a slice) at a time. In shared memory a slice of 128 rows is 128 x 8 pieces of 16 bytes, piece p of row r in place
// p ^ r % 8, so that eight rows of one piece lie in different banks.
constexpr int filter_threads = 128, slice_pieces = 8, piece = 8, slice_columns = slice_pieces * piece;
constexpr int slice_size = static_cast<int>(seam::filter_rows) * slice_columns;
constexpr int resident_slices = 4;  // up to this many slices of the queries stay in shared memory
static_assert(seam::filter_queries == filter_threads && seam::filter_rows == 128 && seam::filter_step == 16);

// Slices in shared memory: two of rows, the others of queries. Behind them two times 128 floats, where sums start.
constexpr int filter_slices(int slices_of_dim) { return 2 + (slices_of_dim <= resident_slices ? slices_of_dim : 2); }
constexpr int starts_size = 2 * static_cast<int>(seam::filter_rows);

CUTTLE_DEVICE int place_in_slice(int row, int p) { return row * slice_columns + ((p ^ (row % slice_pieces)) * piece); }

// Queues the copy of a slice of 128 rows of `dim` columns from `column` on.
CUTTLE_DEVICE void copy_slice(Shared<half_t> slice, Global<const half_t> rows, std::int64_t dim, std::int64_t column) {
  const int thread = static_cast<int>(threadIdx.x), p = thread % slice_pieces;
  if (column + p * piece >= dim) return;
  for (int row = thread / slice_pieces; row < static_cast<int>(seam::filter_rows); row += filter_threads / slice_pieces)
    copy_async(slice + place_in_slice(row, p), rows + row * dim + column + p * piece);
}

// op: best[q][b] = the largest over the 128 rows y of block b of v(x, y) = x^.y^ - |y^|^2/2, by the tensor core
// layout: rounded_queries (tiles * 128, dim), rows (blocks * 128, dim), minus_half_norms (blocks * 128),
//   best (tiles * 128, blocks), dim = filter_dim(D)
// launch: grid (tiles, ceil(blocks / blocks_each)), 128 threads; 16 KB a slice (filter_slices) and 1 KB
// order: a maximum; the sum is started at -|y^|^2/2 and runs over D in steps of 16, each the tensor core's own
// limits: blocks_each a multiple of 4
// cost: 2 Q N dim flops of the tensor core, the bound, and a maximum for each v; the bank is read Q/128 times, from L2,
//   as neighbouring CTAs share their rows
template <class T>
CUTTLE_KERNEL filter_blocks_kernel(seam::NearestPatchSearchArgs<T> a, std::int64_t blocks_each) {
  CUTTLE_DYNAMIC_SHARED(half_t, slices);
  const std::int64_t D = a.search.D, dim = seam::filter_dim(D), blocks = seam::filter_blocks(a.search.N);
  const std::int64_t first_query = static_cast<std::int64_t>(blockIdx.x) * seam::filter_queries;
  const Global<const half_t> queries = reinterpret_cast<const half_t*>(a.rounded_queries) + first_query * dim;
  const Global<const half_t> rows = reinterpret_cast<const half_t*>(a.filter.rows);
  const Global<const float> minus_half_norms = a.filter.minus_half_norms;
  const Global<float> best = a.best;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size, warp = thread / warp_size;
  const int group = lane / 4, column = lane % 4;  // of a lane's values, as kernels/vocab.cuh lays them out
  const int slices_of_dim = static_cast<int>((dim + slice_columns - 1) / slice_columns);
  const bool resident = slices_of_dim <= resident_slices;
  const Shared<float> starts = shared_cast<float>(slices + filter_slices(slices_of_dim) * slice_size);
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * blocks_each;
  const std::int64_t last = first + blocks_each < blocks ? first + blocks_each : blocks;

  // What is multiplied in one step: slice s of block b, stage by stage in turn.
  const auto row_slice = [&](int stage) { return slices + stage * slice_size; };
  const auto query_slice = [&](int s, int stage) { return slices + (2 + (resident ? s : stage)) * slice_size; };
  const auto copy = [&](std::int64_t b, int s, int stage) {
    if (b < last) {
      copy_slice(row_slice(stage), rows + b * seam::filter_rows * dim, dim, s * slice_columns);
      if (!resident || b == first) copy_slice(query_slice(s, stage), queries, dim, s * slice_columns);
      if (s == 0 && warp == 0)
        copy_async(starts + static_cast<int>((b - first) % 2) * static_cast<int>(seam::filter_rows) + 4 * lane,
                   minus_half_norms + b * seam::filter_rows + 4 * lane);
    }
    copy_async_commit();
  };

  MmaD v[2][16];     // queries 32 warp + 16 i + .., rows 8 j + ..
  float kept[2][2];  // of every fourth block, query 32 warp + 16 i + 8 half + group
  int stage = 0;
  copy(first, 0, 0);
  for (std::int64_t b = first; b < last; ++b) {
    for (int s = 0; s < slices_of_dim; ++s, stage ^= 1) {
      copy_async_wait<0>();
      __syncthreads();  // this step's slices are there, and all have done with the last one's
      if (s + 1 < slices_of_dim)
        copy(b, s + 1, stage ^ 1);
      else
        copy(b + 1, 0, stage ^ 1);
      if (s == 0) {
        const int start = static_cast<int>((b - first) % 2) * static_cast<int>(seam::filter_rows);
#pragma unroll
        for (int j = 0; j < 16; ++j) {
          const Pack<float, 2> h = load_pack<2>(starts + start + 8 * j + 2 * column);
          for (int i = 0; i < 2; ++i) v[i][j] = {{h.at[0], h.at[1], h.at[0], h.at[1]}};
        }
      }
      const Shared<half_t> x = query_slice(s, stage), y = row_slice(stage);
      const int steps = static_cast<int>(
          (dim - s * slice_columns < slice_columns ? dim - s * slice_columns : slice_columns) / seam::filter_step);
      for (int k = 0; k < steps; ++k) {
        MmaA x_part[2];
        for (int i = 0; i < 2; ++i)
          ldmatrix(x_part[i], x + place_in_slice(32 * warp + 16 * i + lane % 16, 2 * k + lane / 16));
#pragma unroll
        for (int j = 0; j < 16; j += 2) {
          MmaA y_part;  // two MmaB: quadrants (rows 8j.., columns 0..7), (the same, 8..15), (rows 8j + 8.., 0..7), ..
          ldmatrix(y_part, y + place_in_slice(8 * j + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
          for (int i = 0; i < 2; ++i) {
            mma_f16(v[i][j], x_part[i], {{y_part.at[0], y_part.at[1]}});
            mma_f16(v[i][j + 1], x_part[i], {{y_part.at[2], y_part.at[3]}});
          }
        }
      }
    }
    // The four lanes of a group hold a quarter of the rows each; the lane of column b % 4 keeps their maximum, and
    // every four blocks the lanes write theirs side by side.
    const int turn = static_cast<int>((b - first) % 4);
    for (int i = 0; i < 2; ++i)
      for (int half = 0; half < 2; ++half) {
        float largest = v[i][0].at[2 * half];
#pragma unroll
        for (int j = 0; j < 16; ++j) largest = fmax(largest, fmax(v[i][j].at[2 * half], v[i][j].at[2 * half + 1]));
        largest = fmax(largest, __shfl_xor_sync(full_mask, largest, 1));
        largest = fmax(largest, __shfl_xor_sync(full_mask, largest, 2));
        if (column == turn) kept[i][half] = largest;
        const std::int64_t q = first_query + 32 * warp + 16 * i + 8 * half + group;
        if ((turn == 3 || b + 1 == last) && column <= turn) best[q * blocks + b - turn + column] = kept[i][half];
      }
  }
}

// --- the ranking ----------------------------------------------------------------------------------------------------

constexpr int rank_threads = 128, rank_columns = 32, rank_pitch = rank_columns + 1;
constexpr int most_neighbours = 9;
constexpr std::int64_t no_index = std::numeric_limits<std::int64_t>::max();
static_assert(seam::filter_rows == rank_threads);

// Whether one row comes before another.
CUTTLE_DEVICE bool comes_before(double squared, std::int64_t index, double other_squared, std::int64_t other_index) {
  return squared < other_squared || (squared == other_squared && index < other_index);
}

// What a CTA knows of its query, in shared memory.
template <class T>
struct Ranking {
  Shared<T> rows;                      // 128 x 33, a slice of the rows being ranked
  Shared<double> query;                // 32, the same columns of the query
  Shared<double> squared;              // 128, d^2 of the rows being ranked
  Shared<double> nearest_squared;      // k, the nearest so far by (d^2, index): infinity and no_index where none
  Shared<std::int64_t> nearest_index;  // k
};

// All 128 threads rank the rows of block b, a thread a row. A block is to be ranked once.
template <class T>
CUTTLE_DEVICE void rank_block(const Ranking<T>& ranking, Global<const T> query, Global<const T> bank, std::int64_t b,
                              std::int64_t N, std::int64_t D, int k) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size, warp = thread / warp_size;
  const std::int64_t first = b * seam::filter_rows;
  const int count = static_cast<int>(N - first < rank_threads ? N - first : rank_threads);
  double sum = 0;
  for (std::int64_t column = 0; column < D; column += rank_columns) {
    const int width = static_cast<int>(D - column < rank_columns ? D - column : rank_columns);
    __syncthreads();
    if (thread < width) ranking.query[thread] = static_cast<double>(query[column + thread]);
    if (lane < width)
      for (int r = warp; r < count; r += rank_threads / warp_size)
        ranking.rows[r * rank_pitch + lane] = bank[(first + r) * D + column + lane];
    __syncthreads();
    if (thread < count)
      for (int i = 0; i < width; ++i) {
        const double difference = ranking.query[i] - static_cast<double>(ranking.rows[thread * rank_pitch + i]);
        sum = fma(difference, difference, sum);
      }
  }
  ranking.squared[thread] = sum;
  __syncthreads();
  // The first warp takes the nearest row of the block, then the next, as long as they are among the k nearest of all.
  if (warp == 0) {
    double taken_squared = -1;
    int taken = -1;
    for (;;) {
      double squared = infinity;
      int row = rank_threads;  // none
      for (int r = lane; r < count; r += warp_size) {
        const double other = ranking.squared[r];
        if (comes_before(taken_squared, taken, other, r) && comes_before(other, r, squared, row)) {
          squared = other;
          row = r;
        }
      }
      for (int apart = warp_size / 2; apart > 0; apart /= 2) {
        const double other = __shfl_xor_sync(full_mask, squared, apart);
        const int other_row = __shfl_xor_sync(full_mask, row, apart);
        if (comes_before(other, other_row, squared, row)) {
          squared = other;
          row = other_row;
        }
      }
      if (row == rank_threads ||
          !comes_before(squared, first + row, ranking.nearest_squared[k - 1], ranking.nearest_index[k - 1]))
        break;
      __syncwarp();
      if (lane == 0) {
        int place = k - 1;
        for (; place > 0; --place) {
          const double other = ranking.nearest_squared[place - 1];
          const std::int64_t other_index = ranking.nearest_index[place - 1];
          if (!comes_before(squared, first + row, other, other_index)) break;
          ranking.nearest_squared[place] = other;
          ranking.nearest_index[place] = other_index;
        }
        ranking.nearest_squared[place] = squared;
        ranking.nearest_index[place] = first + row;
      }
      __syncwarp();
      taken_squared = squared;
      taken = row;
    }
  }
  __syncthreads();
}

// After this many blocks, the most promising first, the others are taken as they come.
constexpr int promising_blocks = 16;
constexpr int sweep_words = 32;  // times 32 blocks, between two barriers of the sweep

// op: distance[q][j], index[q][j] = the j-th nearest bank row of query q by (d^2, index), d^2 = sum_i
//   fma((double)x_i - (double)y_i, same, acc), i rising; NaN and -1 for a query that holds a NaN or an infinity,
//   infinity and -1 where the bank has fewer rows
// layout: queries (Q,D), bank (N,D), distance and index (Q,k); best (Q,blocks) of the kernel above becomes NaN where a
//   block was ranked; without a filter there is none and every row is ranked
// launch: a block of 128 threads a query, 18 KB for float, 35 KB for double
// order: a thread a row; whatever the order of blocks, the k first by (d^2, index) are the same
// limits: 1 <= k <= 9, N < 2^31 * 128
// cost: reads the blocks' largest v's two to 18 times, bound by L2, and the rows of the blocks that are left, a few a
//   query where rows are spread; without a filter all N D of them in double, 2 Q N D operations
template <class T>
CUTTLE_KERNEL rank_kernel(seam::NearestPatchSearchArgs<T> a) {
  CUTTLE_SHARED(T, rows, rank_threads * rank_pitch);
  CUTTLE_SHARED(double, query_columns, rank_columns);
  CUTTLE_SHARED(double, squared, rank_threads);
  CUTTLE_SHARED(double, nearest_squared, most_neighbours);
  CUTTLE_SHARED(std::int64_t, nearest_index, most_neighbours);
  CUTTLE_SHARED(float, warp_value, rank_threads / warp_size);
  CUTTLE_SHARED(int, warp_block, rank_threads / warp_size);
  CUTTLE_SHARED(unsigned, words, sweep_words);
  const Ranking<T> ranking{rows, query_columns, squared, nearest_squared, nearest_index};
  const std::int64_t q = blockIdx.x, N = a.search.N, D = a.search.D;
  const Global<const T> query = a.search.queries + q * D, bank = a.search.bank;
  const Global<T> distance = a.search.distance + q * a.search.k;
  const Global<std::int64_t> index = a.search.index + q * a.search.k;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size, warp = thread / warp_size;
  const int k = static_cast<int>(a.search.k), blocks = static_cast<int>(seam::filter_blocks(N));

  bool finite = true;
  for (std::int64_t i = thread; i < D; i += rank_threads) finite = finite && query[i] - query[i] == T(0);
  const unsigned strays = __ballot_sync(full_mask, !finite);
  if (lane == 0) words[warp] = strays;
  if (thread < k) {
    nearest_squared[thread] = std::numeric_limits<double>::infinity();
    nearest_index[thread] = no_index;
  }
  __syncthreads();
  for (int w = 0; w < rank_threads / warp_size; ++w) finite = finite && words[w] == 0;
  if (!finite) {
    if (thread < k) {
      distance[thread] = std::numeric_limits<T>::quiet_NaN();
      index[thread] = -1;
    }
    return;
  }

  const bool filtered = a.filter.scale > 0;
  const Global<float> best = filtered ? a.best + q * blocks : nullptr;  // NaN once the block is ranked
  const Global<const float> bounds = a.filter.bounds;
  const Global<const double> query_bounds = a.query_bounds;
  const seam::FilterBound<double> query_bound =
      filtered ? seam::FilterBound<double>{query_bounds[2 * q], query_bounds[2 * q + 1]}
               : seam::FilterBound<double>{0, 0};
  const double gamma = seam::filter_gamma(mma_error, D);
  const auto reach_now = [&] {
    const double limit = nearest_squared[k - 1];
    return seam::filter_reach(a.filter.scale, limit);
  };
  const auto may_hold_answer = [&](int b, double reach) {
    if (!filtered) return true;
    const Pack<float, 2> bound = load_pack<2>(bounds + 2 * static_cast<std::int64_t>(b));
    const double least = seam::least_value(reach, query_bound,
                                           {static_cast<double>(bound.at[0]), static_cast<double>(bound.at[1])}, gamma);
    return static_cast<double>(best[b]) >= least;
  };

  const auto rank = [&](int b) {
    rank_block(ranking, query, bank, b, N, D, k);
    if (filtered && thread == b % rank_threads) best[b] = std::numeric_limits<float>::quiet_NaN();
  };

  for (int round = 0; filtered && round < promising_blocks; ++round) {
    float value = -std::numeric_limits<float>::infinity();
    int block = blocks;
    for (int b = thread; b < blocks; b += rank_threads)
      if (const float other = best[b]; other > value) {
        value = other;
        block = b;
      }
    for (int apart = warp_size / 2; apart > 0; apart /= 2) {
      const float other = __shfl_xor_sync(full_mask, value, apart);
      const int other_block = __shfl_xor_sync(full_mask, block, apart);
      if (other > value || (other == value && other_block < block)) {
        value = other;
        block = other_block;
      }
    }
    __syncthreads();
    if (lane == 0) {
      warp_value[warp] = value;
      warp_block[warp] = block;
    }
    __syncthreads();
    value = warp_value[0];
    block = warp_block[0];
    for (int w = 1; w < rank_threads / warp_size; ++w)
      if (warp_value[w] > value || (warp_value[w] == value && warp_block[w] < block)) {
        value = warp_value[w];
        block = warp_block[w];
      }
    if (block == blocks || !may_hold_answer(block, reach_now())) break;
    rank(block);
  }

  for (std::int64_t base = 0; base < blocks; base += sweep_words * warp_size) {
    const double reach = reach_now();
    __syncthreads();
    for (int w = warp; w < sweep_words; w += rank_threads / warp_size) {
      const std::int64_t b = base + w * warp_size + lane;
      const unsigned word = __ballot_sync(full_mask, b < blocks && may_hold_answer(static_cast<int>(b), reach));
      if (lane == 0) words[w] = word;
    }
    __syncthreads();
    for (int w = 0; w < sweep_words; ++w)
      for (unsigned word = words[w], bit = 0; word != 0; word >>= 1, ++bit) {
        const int b = static_cast<int>(base) + w * warp_size + static_cast<int>(bit);
        if ((word & 1) && may_hold_answer(b, reach_now())) rank(b);
      }
  }

  if (thread < k) {
    const double nearest = nearest_squared[thread];
    const std::int64_t row = nearest_index[thread];
    distance[thread] = row != no_index ? static_cast<T>(sqrt(nearest)) : std::numeric_limits<T>::infinity();
    index[thread] = row != no_index ? row : -1;
  }
}

template <class T>
void launch_nearest_patch(const seam::NearestPatchSearchArgs<T>& a, seam::Stream stream) {
  if (a.search.Q == 0) return;
  if (a.filter.scale > 0) {
    const std::int64_t tiles = (a.search.Q + seam::filter_queries - 1) / seam::filter_queries;
    const std::int64_t blocks = seam::filter_blocks(a.search.N), dim = seam::filter_dim(a.search.D);
    launch("nearest_patch", &round_queries_kernel<T>,
           dim3(static_cast<unsigned>(tiles * seam::filter_queries / round_warps)), dim3(round_threads), 0, stream, a);
    // Enough CTAs for a large device twice over, each with enough blocks to be worth its queries.
    constexpr std::int64_t wanted = 1024, most = 64;
    std::int64_t blocks_each = (tiles * blocks + wanted - 1) / wanted;
    blocks_each = (blocks_each < most ? blocks_each + 3 : most) / 4 * 4;
    const int slices = filter_slices(static_cast<int>((dim + slice_columns - 1) / slice_columns));
    const std::size_t shared =
        static_cast<std::size_t>(slices) * slice_size * sizeof(half_t) + starts_size * sizeof(float);
    launch("nearest_patch", &filter_blocks_kernel<T>,
           dim3(static_cast<unsigned>(tiles), static_cast<unsigned>((blocks + blocks_each - 1) / blocks_each)),
           dim3(filter_threads), shared, stream, a, blocks_each);
  }
  launch("nearest_patch", &rank_kernel<T>, dim3(static_cast<unsigned>(a.search.Q)), dim3(rank_threads), 0, stream, a);
}

}  // namespace cuttle::kernels
