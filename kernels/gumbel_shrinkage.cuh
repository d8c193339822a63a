// gumbel_shrinkage: from rows of scores to rows of weights, and back (ops/gumbel_shrinkage.hpp has the formulas).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cuttle/seam/args.hpp"
#include "kernels/indexing.cuh"
#include "kernels/vocab.cuh"

namespace cuttle::kernels {

// --- a row in the hands of a group of neighbouring lanes: number j of a lane is element j * lanes + place ------------

template <class T, int group, int n>
struct RegisterRow {
  static constexpr int lanes = group, unroll = n;
  T value[n];
  CUTTLE_DEVICE int size() const { return n; }
  CUTTLE_DEVICE T get(int j) const { return value[j]; }
  CUTTLE_DEVICE void set(int j, T x) { value[j] = x; }
};

// Lane l alone touches the elements l, l + 32, ..., so no barrier is needed.
template <class T>
struct SharedRow {
  static constexpr int lanes = warp_size, unroll = 4;
  Shared<T> value;
  int count;
  CUTTLE_DEVICE int size() const { return count; }
  CUTTLE_DEVICE T get(int j) const { return value[j * lanes + static_cast<int>(threadIdx.x) % lanes]; }
  CUTTLE_DEVICE void set(int j, T x) const { value[j * lanes + static_cast<int>(threadIdx.x) % lanes] = x; }
};

template <class Row>
CUTTLE_DEVICE int place_in_row() {
  return static_cast<int>(threadIdx.x) % Row::lanes;
}

// body(j) for every number that a lane holds.
template <class Row, class Body>
CUTTLE_DEVICE void for_numbers(const Row& row, Body&& body) {
#pragma unroll(Row::unroll)
  for (int j = 0; j < row.size(); ++j) body(j);
}

// Sum and maximum over the group, by halving distances; a NaN is left out of the maximum.
template <int lanes, class T>
CUTTLE_DEVICE T group_sum(T x) {
#pragma unroll
  for (int distance = lanes / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(full_mask, x, distance);
  return x;
}
template <int lanes, class T>
CUTTLE_DEVICE T group_max(T x) {
#pragma unroll
  for (int distance = lanes / 2; distance > 0; distance /= 2) x = fmax(x, __shfl_xor_sync(full_mask, x, distance));
  return x;
}

template <class T>
constexpr T shrinkage_epsilon = static_cast<T>(1e-12);

// relu(d) * a / (|d| + epsilon) and its derivative where d = a - lambda; NaN stays NaN.
template <class T>
CUTTLE_DEVICE T shrunk(T a, T d) {
  return d <= 0 ? T(0) : d * a / (d + shrinkage_epsilon<T>);
}
template <class T>
CUTTLE_DEVICE T shrunk_derivative(T a, T d) {
  if (d <= 0) return 0;
  const T sum = d + shrinkage_epsilon<T>;
  return d / sum + shrinkage_epsilon<T> * a / sum / sum;
}

// row = softmax(row). Returns false for a row that becomes NaN.
template <class T, class Row>
CUTTLE_DEVICE bool softmax(Row& row) {
  T largest = -std::numeric_limits<T>::infinity(), sum = 0;
  for_numbers(row, [&](int j) { largest = fmax(largest, row.get(j)); });
  largest = group_max<Row::lanes>(largest);
  for_numbers(row, [&](int j) {
    const T e = exp(row.get(j) - largest);
    row.set(j, e);
    sum += e;
  });
  sum = group_sum<Row::lanes>(sum);
  const T over_sum = 1 / sum;
  for_numbers(row, [&](int j) { row.set(j, row.get(j) * over_sum); });
  return sum == sum;
}

// The largest of the row's numbers below a bound, -1 where there is none, and how many there are from a bound on; all
// of them are >= 0.
template <class T, class Row>
CUTTLE_DEVICE T largest_below(const Row& row, T bound) {
  T largest = -1;
  for_numbers(row, [&](int j) {
    const T y = row.get(j);
    if (y < bound) largest = fmax(largest, y);
  });
  return group_max<Row::lanes>(largest);
}
template <class T, class Row>
CUTTLE_DEVICE int count_from(const Row& row, T bound) {
  int count = 0;
  for_numbers(row, [&](int j) { count += row.get(j) >= bound; });
  return group_sum<Row::lanes>(count);
}

// The k-th largest of a row of numbers >= 0, counted with its repetitions; 0 where it is not wanted. A small k is found
// as if all numbers were different, which one count then proves or not (rows have more than 16 places, so that -1,
// where there are fewer numbers, counts too many).
template <class T, class Row>
CUTTLE_DEVICE T kth_largest(const Row& row, std::int64_t k, bool wanted) {
  T lambda = wanted ? std::numeric_limits<T>::infinity() : T(0);
  if (k <= 16) {
    T different = lambda;
    for (int i = 0; i < k; ++i) different = largest_below(row, different);
    const int count = count_from(row, different);
    if (wanted && count == k) {
      lambda = different;
      wanted = false;
    }
  }
  while (__any_sync(full_mask, wanted)) {
    const T next = largest_below(row, lambda);
    const int count = count_from(row, next);
    if (wanted) {
      lambda = next;
      wanted = count < k;
    }
  }
  return lambda;
}

// Sets to 0 what is below the k-th largest, lambda, and those equal to it that come after the k-th.
template <class T, class Row>
CUTTLE_DEVICE void keep_k_largest(Row& row, std::int64_t k, T lambda) {
  const int place = place_in_row<Row>(), first_lane = static_cast<int>(threadIdx.x) % warp_size - place;
  int above = 0;
  for_numbers(row, [&](int j) { above += row.get(j) > lambda; });
  std::int64_t left = k - group_sum<Row::lanes>(above);
  for_numbers(row, [&](int j) {
    const T y = row.get(j);
    if (y < lambda) row.set(j, 0);
    const unsigned votes = __ballot_sync(full_mask, y == lambda);
    if (votes == 0) return;
    const unsigned ties = votes >> first_lane & full_mask >> (warp_size - Row::lanes);
    if (y == lambda && popcount(ties & ((1u << place) - 1)) >= left) row.set(j, 0);
    left -= popcount(ties);
  });
}

// --- rows of a matrix ------------------------------------------------------------------------------------------------

template <class T>
struct ShrinkRowsArgs {
  std::int64_t R, M, chunks;
  seam::ShrinkageRule rule;
  const T* scores;    // forward (chunks,R,M), a row being the sum over the chunks; backward (R,M)
  const T* dweights;  // backward: (chunks,R,M), likewise
  T* sum;             // forward: (R,M), the scores summed; or null
  T* result;          // (R,M): weights or dscores
};

// The sum over chunks, ascending, of from[chunk,r,:]; past_end beyond M and in rows beyond R.
template <class T, class Row>
CUTTLE_DEVICE void load_row(Row& row, const ShrinkRowsArgs<T>& a, const T* from, std::int64_t chunks, std::int64_t r,
                            T past_end) {
  const int place = place_in_row<Row>(), live = r < a.R ? static_cast<int>(a.M) - place : 0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const Global<const T> line = Global<const T>(from) + ((chunk * a.R + r) * a.M + place);
    for_numbers(row, [&](int j) {
      const T x = j * Row::lanes < live ? line[j * Row::lanes] : past_end;
      row.set(j, chunk == 0 ? x : row.get(j) + x);
    });
  }
}

// to[r,m] = value(j).
template <class T, class Row, class Value>
CUTTLE_DEVICE void store_row(const Row& row, const ShrinkRowsArgs<T>& a, T* to, std::int64_t r, Value&& value) {
  const int place = place_in_row<Row>(), live = r < a.R ? static_cast<int>(a.M) - place : 0;
  const Global<T> line = Global<T>(to) + (r * a.M + place);
  for_numbers(row, [&](int j) {
    if (j * Row::lanes < live) line[j * Row::lanes] = value(j);
  });
}

CUTTLE_DEVICE bool has_softmax(seam::ShrinkageKind kind) {
  return kind == seam::ShrinkageKind::keep_above_kth || kind == seam::ShrinkageKind::keep_k;
}

template <class T, class Row>
CUTTLE_DEVICE void shrink_row(const ShrinkRowsArgs<T>& a, std::int64_t r, Row& row) {
  using seam::ShrinkageKind;
  const ShrinkageKind kind = a.rule.kind;
  const bool soft = has_softmax(kind);
  load_row(row, a, a.scores, a.chunks, r, soft ? -std::numeric_limits<T>::infinity() : T(0));
  if (a.sum) store_row(row, a, a.sum, r, [&](int j) { return row.get(j); });
  if (kind == ShrinkageKind::none) return store_row(row, a, a.result, r, [&](int j) { return row.get(j); });

  T lambda = static_cast<T>(a.rule.lambda);
  if (soft) {
    const bool finite = softmax<T>(row);
    lambda = kth_largest<T>(row, a.rule.k, finite && a.rule.k <= a.M);
  }
  if (kind == ShrinkageKind::keep_k)
    keep_k_largest(row, a.rule.k, lambda);
  else
    for_numbers(row, [&](int j) { row.set(j, shrunk(row.get(j), row.get(j) - lambda)); });
  T sum = 0;
  for_numbers(row, [&](int j) { sum += row.get(j); });
  sum = group_sum<Row::lanes>(sum);
  const T norm = sum < shrinkage_epsilon<T> ? shrinkage_epsilon<T> : sum;
  // Few are not 0, and a division costs more than all else; but a NaN norm reaches every weight.
  store_row(row, a, a.result, r, [&](int j) {
    const T h = row.get(j);
    return h != 0 || norm != norm ? h / norm : T(0);
  });
}

template <class T, class Row>
CUTTLE_DEVICE void shrink_row_backward(const ShrinkRowsArgs<T>& a, std::int64_t r, Row& row, Row& dweights) {
  using seam::ShrinkageKind;
  load_row(dweights, a, a.dweights, a.chunks, r, T(0));
  if (a.rule.kind == ShrinkageKind::none) return store_row(row, a, a.result, r, [&](int j) { return dweights.get(j); });
  const bool soft = has_softmax(a.rule.kind);
  load_row(row, a, a.scores, 1, r, soft ? -std::numeric_limits<T>::infinity() : T(0));
  T mean = 0;
  if (soft) {
    softmax<T>(row);
    for_numbers(row, [&](int j) { mean = fma(dweights.get(j), row.get(j), mean); });
    mean = group_sum<Row::lanes>(mean);
    store_row(row, a, a.result, r, [&](int j) { return row.get(j) * (dweights.get(j) - mean); });
  } else {
    const T lambda = static_cast<T>(a.rule.lambda);
    T sum = 0;
    for_numbers(row, [&](int j) { sum += shrunk(row.get(j), row.get(j) - lambda); });
    sum = group_sum<Row::lanes>(sum);
    const T norm = sum < shrinkage_epsilon<T> ? shrinkage_epsilon<T> : sum;
    for_numbers(row, [&](int j) { mean = fma(dweights.get(j), shrunk(row.get(j), row.get(j) - lambda) / norm, mean); });
    mean = group_sum<Row::lanes>(mean);
    store_row(row, a, a.result, r, [&](int j) {
      const T slope = shrunk_derivative(row.get(j), row.get(j) - lambda);
      return (dweights.get(j) - mean) / norm * slope;
    });
  }
}

constexpr int shrink_threads = 128;

// op:     result[r,:] = shrinkage(sum_chunk scores[chunk,r,:]) (SQUID, section 3.3), or, backward, its gradient: with a
//         softmax y, dscores = y * (dweights - sum y * dweights) (straight-through), with a hard threshold the true one
// layout: see ShrinkRowsArgs; sum and result alias nothing
// launch: ceil(R / (128 / lanes)) blocks of 128 threads, `lanes` of them a row, n numbers each in registers
// order:  chunks ascending, then a lane's numbers ascending, then a tree over the lanes: deterministic, and the same
// for
//         a row whatever R. The k-th largest is found among the rounded y; keep_k keeps the lower of equal ones. A NaN
//         in a row reaches all of it
// limits: M <= lanes * n; R = 0 is no launch
// cost:   (4 chunks + 4) M bytes a row forward, + 4 M backward, for float: bound by memory for k of a few
template <class T, bool backward, int lanes, int n>
CUTTLE_KERNEL __launch_bounds__(shrink_threads) shrink_rows_in_registers(ShrinkRowsArgs<T> a) {
  const std::int64_t r = std::int64_t{blockIdx.x} * (shrink_threads / lanes) + threadIdx.x / lanes;
  RegisterRow<T, lanes, n> row;
  if constexpr (backward) {
    RegisterRow<T, lanes, n> dweights;
    shrink_row_backward(a, r, row, dweights);
  } else {
    shrink_row(a, r, row);
  }
}

// op, layout, order, cost: as above, with a row in shared memory
// launch: ceil(R / warps) blocks of 32 * warps threads, a warp a row; (backward ? 2 : 1) * round_up(M, 32) * warps
//         elements of shared memory
// limits: M <= seam::max_shrinkage_row, which leaves a warp its two rows of double within 163 KB
template <class T, bool backward>
CUTTLE_KERNEL __launch_bounds__(shrink_threads) shrink_rows_in_shared(ShrinkRowsArgs<T> a) {
  CUTTLE_DYNAMIC_SHARED(T, memory);
  const int warp = static_cast<int>(threadIdx.x) / warp_size, warps = static_cast<int>(blockDim.x) / warp_size;
  const int count = static_cast<int>((a.M + warp_size - 1) / warp_size);
  const std::int64_t r = std::int64_t{blockIdx.x} * warps + warp;
  SharedRow<T> row{memory + warp * count * warp_size, count};
  if constexpr (backward) {
    SharedRow<T> dweights{memory + (warps + warp) * count * warp_size, count};
    shrink_row_backward(a, r, row, dweights);
  } else {
    shrink_row(a, r, row);
  }
}

// `lanes` of them a row where it fits into registers: few lanes waste least, and many are quickest where rows are few.
template <int lanes, bool backward, class T>
void launch_shrink_rows(const char* what, const ShrinkRowsArgs<T>& a, seam::Stream stream) {
  constexpr int few = 8, many = 256 / lanes;
  const auto blocks = [&](std::int64_t rows) { return static_cast<unsigned>((a.R + rows - 1) / rows); };
  if (a.M <= few * lanes)
    return launch(what, &shrink_rows_in_registers<T, backward, lanes, few>, blocks(shrink_threads / lanes),
                  shrink_threads, 0, stream, a);
  if (a.M <= many * lanes)
    return launch(what, &shrink_rows_in_registers<T, backward, lanes, many>, blocks(shrink_threads / lanes),
                  shrink_threads, 0, stream, a);
  const std::size_t row =
      static_cast<std::size_t>((a.M + warp_size - 1) / warp_size) * warp_size * sizeof(T) * (backward ? 2 : 1);
  const auto warps = static_cast<int>(std::clamp<std::size_t>(96 * 1024 / row, 1, shrink_threads / warp_size));
  launch(what, &shrink_rows_in_shared<T, backward>, blocks(warps), warps * warp_size,
         row * static_cast<std::size_t>(warps), stream, a);
}

// A lane holds up to 32 words of four bytes of a row, or of both rows backward.
template <class T, bool backward>
constexpr int shrink_lanes = (backward ? 4 : 2) * static_cast<int>(sizeof(T));

template <class T>
void launch_gumbel_shrinkage(const seam::GumbelShrinkageArgs<T>& a, seam::Stream stream) {
  launch_shrink_rows<shrink_lanes<T, false>, false>(
      "gumbel_shrinkage", ShrinkRowsArgs<T>{a.R, a.M, 1, a.rule, a.scores, nullptr, nullptr, a.weights}, stream);
}

template <class T>
void launch_gumbel_shrinkage_backward(const seam::GumbelShrinkageArgs<T>& a, seam::Stream stream) {
  launch_shrink_rows<shrink_lanes<T, true>, true>(
      "gumbel_shrinkage_backward", ShrinkRowsArgs<T>{a.R, a.M, 1, a.rule, a.scores, a.dweights, nullptr, a.dscores},
      stream);
}

}  // namespace cuttle::kernels
