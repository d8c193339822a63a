// Shrinkage of one row in double, from its definition: the softmax, a sort, the formula.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <variant>
#include <vector>

#include "cuttle/ops/gumbel_shrinkage.hpp"

namespace cuttle_test {

using Row = std::vector<double>;

inline Row softmax_oracle(const Row& scores) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  Row y;
  double sum = 0;
  for (double score : scores) sum += y.emplace_back(std::exp(score - largest));
  for (double& p : y) p /= sum;
  return y;
}

inline Row l1_normalised(Row h) {
  double sum = 0;
  for (double x : h) sum += std::abs(x);
  for (double& x : h) x /= std::max(sum, 1e-12);
  return h;
}

inline Row soft_cut(const Row& y, double lambda) {
  Row h;
  for (double p : y) h.push_back(std::max(p - lambda, 0.0) * p / (std::abs(p - lambda) + 1e-12));
  return l1_normalised(h);
}

inline bool has_softmax(const cuttle::Shrinkage& shrinkage) {
  return std::holds_alternative<cuttle::KeepAboveKth>(shrinkage) || std::holds_alternative<cuttle::KeepK>(shrinkage);
}

inline Row shrinkage_oracle(const Row& scores, const cuttle::Shrinkage& shrinkage) {
  if (const auto* hard = std::get_if<cuttle::HardThreshold>(&shrinkage)) return soft_cut(scores, hard->lambda);
  if (std::holds_alternative<cuttle::NoShrinkage>(shrinkage)) return scores;
  const Row y = softmax_oracle(scores);
  if (const auto* above = std::get_if<cuttle::KeepAboveKth>(&shrinkage)) {
    const auto k = static_cast<std::size_t>(above->k);
    Row sorted = y;
    std::sort(sorted.begin(), sorted.end(), std::greater<double>());
    return soft_cut(y, k <= sorted.size() ? sorted[k - 1] : 0.0);
  }
  std::vector<std::size_t> order(y.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return y[a] > y[b]; });
  Row kept(y.size(), 0.0);
  const auto k = std::min(static_cast<std::size_t>(std::get<cuttle::KeepK>(shrinkage).k), y.size());
  for (std::size_t i = 0; i < k; ++i) kept[order[i]] = y[order[i]];
  return l1_normalised(kept);
}

// With a softmax the straight-through gradient; with a hard threshold central differences of the weights, which are
// good to about 1e-9 of the gradient's size.
inline Row shrinkage_gradient_oracle(const Row& scores, const Row& dweights, const cuttle::Shrinkage& shrinkage) {
  const std::size_t M = scores.size();
  Row dscores(M);
  if (has_softmax(shrinkage)) {
    const Row y = softmax_oracle(scores);
    double mean = 0;
    for (std::size_t i = 0; i < M; ++i) mean += y[i] * dweights[i];
    for (std::size_t i = 0; i < M; ++i) dscores[i] = y[i] * (dweights[i] - mean);
    return dscores;
  }
  if (std::holds_alternative<cuttle::NoShrinkage>(shrinkage)) return dweights;
  const auto loss = [&](const Row& at) {
    const Row weights = shrinkage_oracle(at, shrinkage);
    double sum = 0;
    for (std::size_t j = 0; j < M; ++j) sum += dweights[j] * weights[j];
    return sum;
  };
  constexpr double step = 1e-5;
  for (std::size_t i = 0; i < M; ++i) {
    Row above = scores, below = scores;
    above[i] += step;
    below[i] -= step;
    dscores[i] = (loss(above) - loss(below)) / (2 * step);
  }
  return dscores;
}

}  // namespace cuttle_test
