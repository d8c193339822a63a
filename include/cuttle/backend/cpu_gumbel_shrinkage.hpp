// Shrinkage of rows on the CPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cuttle/backend/cpu_sums.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

// y = softmax(a), around the largest so that nothing overflows; all NaN where a holds NaN, +infinity or -infinity
// alone.
template <class T>
void softmax_row(std::int64_t M, const T* a, T* y) {
  T largest = -std::numeric_limits<T>::infinity();
  for (std::int64_t m = 0; m < M; ++m) largest = a[m] > largest ? a[m] : largest;
  for (std::int64_t m = 0; m < M; ++m) y[m] = std::exp(a[m] - largest);
  const T over_sum = 1 / detail::sum_of<T>(M, [=](std::int64_t m) { return y[m]; });
  for (std::int64_t m = 0; m < M; ++m) y[m] *= over_sum;
}

// The epsilon of the reference: added to |d| in h = relu(d) * a / (|d| + epsilon), and the least norm of a row.
template <class T>
inline constexpr T shrinkage_epsilon = static_cast<T>(1e-12);

// h = relu(d) * a / (|d| + epsilon) and its derivative where d = a - lambda; NaN stays NaN.
template <class T>
T shrunk(T a, T d) {
  return d <= 0 ? T(0) : d * a / (d + shrinkage_epsilon<T>);
}
template <class T>
T shrunk_derivative(T a, T d) {
  if (d <= 0) return 0;
  const T sum = d + shrinkage_epsilon<T>;
  return d / sum + shrinkage_epsilon<T> * a / sum / sum;
}

// max(sum |h|, epsilon) for h >= 0; NaN stays NaN.
template <class T>
T shrunk_norm(std::int64_t M, const T* h) {
  const T sum = detail::sum_of<T>(M, [=](std::int64_t m) { return h[m]; });
  return sum < shrinkage_epsilon<T> ? shrinkage_epsilon<T> : sum;
}

// The k-th largest of y >= 0, counted with its repetitions, and 0 where there are fewer than k; scratch holds M
// numbers.
template <class T>
T kth_largest(std::int64_t M, const T* y, std::int64_t k, T* scratch) {
  constexpr std::int64_t few = 16;
  if (k > M) return 0;
  if (k > few) {
    std::copy_n(y, M, scratch);
    std::nth_element(scratch, scratch + (k - 1), scratch + M, [](T a, T b) { return a > b; });
    return scratch[k - 1];
  }
  T largest[few] = {};  // so far, descending
  for (std::int64_t m = 0; m < M; ++m) {
    if (!(y[m] > largest[k - 1])) continue;
    std::int64_t place = k - 1;
    for (; place > 0 && largest[place - 1] < y[m]; --place) largest[place] = largest[place - 1];
    largest[place] = y[m];
  }
  return largest[k - 1];
}

// weights = shrinkage(a); scratch holds M numbers.
template <class T>
void shrink_row(const seam::ShrinkageRule& rule, std::int64_t M, const T* a, T* weights, T* scratch) {
  using seam::ShrinkageKind;
  if (rule.kind == ShrinkageKind::none) return static_cast<void>(std::copy_n(a, M, weights));
  if (rule.kind == ShrinkageKind::hard_threshold) {
    const T lambda = static_cast<T>(rule.lambda);
    for (std::int64_t m = 0; m < M; ++m) weights[m] = shrunk(a[m], a[m] - lambda);
  } else {
    softmax_row(M, a, weights);
    if (std::isnan(weights[0])) return;
    const T lambda = kth_largest(M, weights, rule.k, scratch);
    if (rule.kind == ShrinkageKind::keep_above_kth) {
      for (std::int64_t m = 0; m < M; ++m) weights[m] = shrunk(weights[m], weights[m] - lambda);
    } else {
      std::int64_t ties = rule.k - std::count_if(weights, weights + M, [=](T y) { return y > lambda; });
      for (std::int64_t m = 0; m < M; ++m)
        if (weights[m] < lambda || (weights[m] == lambda && ties-- <= 0)) weights[m] = 0;
    }
  }
  const T norm = shrunk_norm(M, weights);
  for (std::int64_t m = 0; m < M; ++m) weights[m] /= norm;
}

// dscores from dweights; scratch holds M numbers; dscores may be dweights.
template <class T>
void shrink_row_backward(const seam::ShrinkageRule& rule, std::int64_t M, const T* a, const T* dweights, T* dscores,
                         T* scratch) {
  using seam::ShrinkageKind;
  if (rule.kind == ShrinkageKind::none) {
    if (dscores != dweights) std::copy_n(dweights, M, dscores);
  } else if (rule.kind == ShrinkageKind::hard_threshold) {
    const T lambda = static_cast<T>(rule.lambda);
    for (std::int64_t m = 0; m < M; ++m) scratch[m] = shrunk(a[m], a[m] - lambda);
    const T norm = shrunk_norm(M, scratch);
    const T mean = detail::sum_of<T>(M, [=](std::int64_t m) { return dweights[m] * (scratch[m] / norm); });
    for (std::int64_t m = 0; m < M; ++m) {
      const T slope = shrunk_derivative(a[m], a[m] - lambda);
      dscores[m] = (dweights[m] - mean) / norm * slope;
    }
  } else {
    softmax_row(M, a, scratch);
    const T mean = detail::sum_of<T>(M, [=](std::int64_t m) { return dweights[m] * scratch[m]; });
    for (std::int64_t m = 0; m < M; ++m) dscores[m] = scratch[m] * (dweights[m] - mean);
  }
}

// Calls row(r, scratch) for every row, scratch of M numbers.
template <class T, class Row>
void for_row_groups(const seam::GumbelShrinkageArgs<T>& a, Row&& row) {
  constexpr std::int64_t group = 16;
  parallel_for_with_scratch<T>((a.R + group - 1) / group, a.M, [&](std::int64_t tile, T* scratch) {
    for (std::int64_t r = tile * group; r < std::min(a.R, (tile + 1) * group); ++r) row(r, scratch);
  });
}

template <class T>
void gumbel_shrinkage(const seam::GumbelShrinkageArgs<T>& a) {
  for_row_groups<T>(a, [&](std::int64_t r, T* scratch) {
    shrink_row(a.rule, a.M, a.scores + r * a.M, a.weights + r * a.M, scratch);
  });
}

template <class T>
void gumbel_shrinkage_backward(const seam::GumbelShrinkageArgs<T>& a) {
  for_row_groups<T>(a, [&](std::int64_t r, T* scratch) {
    shrink_row_backward(a.rule, a.M, a.scores + r * a.M, a.dweights + r * a.M, a.dscores + r * a.M, scratch);
  });
}

}  // namespace cuttle::cpu
