// gumbel_shrinkage: from the scores of M memory slots to few non-negative weights that sum to one (Xiang et al.,
// "SQUID: Deep Feature In-Painting for Unsupervised Anomaly Detection", CVPR 2023, section 3.3, as its authors' code
// computes it; there is no noise).
#pragma once

#include <cstdint>
#include <variant>

#include "cuttle/backend/cpu_gumbel_shrinkage.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

// With y = softmax(scores), epsilon = 1e-12, and h / max(sum h, epsilon) as the weights:
//
// KeepAboveKth  lambda is the k-th largest of y, counted with its repetitions, and 0 where k > M;
//               h = relu(y - lambda) * y / (|y - lambda| + epsilon). What equals lambda vanishes, so that k = 5 keeps
//               four slots, ties at the k-th place keep fewer, and a row whose k largest are equal becomes all zeros.
//               The reference.
// KeepK         h = y at the k largest, the lower slot first among equal ones, and 0 elsewhere; all for k >= M.
//
// Both have the gradient of the plain softmax (straight-through): dscores = y * (dweights - sum dweights * y), in rows
// that vanish too.
struct KeepAboveKth {
  std::int64_t k = 5;
};
// As KeepAboveKth, but exactly k slots: with ties the lower ones. The table above has both formulas.
struct KeepK {
  std::int64_t k = 4;
};
// No softmax: h = relu(scores - lambda) * scores / (|scores - lambda| + epsilon), differentiated as it stands.
// lambda = 0 is NoShrinkage, as in the reference.
struct HardThreshold {
  double lambda;
};
// The weights are the scores.
struct NoShrinkage {};

// One of the four ways from scores to weights.
using Shrinkage = std::variant<KeepAboveKth, KeepK, HardThreshold, NoShrinkage>;

namespace detail {

// Checks that rows of M scores can be shrunk so.
inline seam::ShrinkageRule shrinkage_rule(const char* op, const Shrinkage& shrinkage, std::int64_t M) {
  using seam::ShrinkageKind;
  require(M >= 1 && M <= seam::max_shrinkage_row, op, ": M = ", M, " slots, expected 1 to ", seam::max_shrinkage_row);
  if (const auto* hard = std::get_if<HardThreshold>(&shrinkage)) {
    require(hard->lambda >= 0, op, ": HardThreshold needs lambda >= 0, got ", hard->lambda);
    return {hard->lambda == 0 ? ShrinkageKind::none : ShrinkageKind::hard_threshold, 0, hard->lambda};
  }
  const auto kept = [op](ShrinkageKind kind, std::int64_t k) -> seam::ShrinkageRule {
    require(k >= 1, op, ": k must be at least 1, got ", k);
    return {kind, k, 0};
  };
  if (const auto* above = std::get_if<KeepAboveKth>(&shrinkage)) return kept(ShrinkageKind::keep_above_kth, above->k);
  if (const auto* exactly = std::get_if<KeepK>(&shrinkage)) return kept(ShrinkageKind::keep_k, exactly->k);
  return {ShrinkageKind::none, 0, 0};
}

}  // namespace detail

// scores (R,M), 1 <= M <= 8192 -> weights (R,M). A row with a NaN or +infinity (for a softmax, of -infinity alone as
// well) becomes NaN; NoShrinkage copies. Which slots are kept is decided among the rounded values of y, so slots of
// equal scores are treated alike on every device.
template <class T>
Tensor<T> gumbel_shrinkage(const Tensor<T>& scores, const Shrinkage& shrinkage = KeepAboveKth{}) {
  require(scores.rank() == 2, "gumbel_shrinkage: scores have shape ", scores.shape(), ", expected (R,M)");
  const std::int64_t R = scores.size(0), M = scores.size(1);
  const seam::ShrinkageRule rule = detail::shrinkage_rule("gumbel_shrinkage", shrinkage, M);
  Tensor<T> weights = Tensor<T>::empty(scores.shape(), scores.device());
  detail::dispatch<T>("gumbel_shrinkage", scores.device(), &cpu::gumbel_shrinkage<T>,
                      &seam::OpTable<T>::gumbel_shrinkage,
                      {R, M, rule, scores.data(), weights.data(), nullptr, nullptr});
  return weights;
}

// d loss/d scores from d loss/d weights, both (R,M). A row that becomes NaN has NaN gradients.
template <class T>
Tensor<T> gumbel_shrinkage_backward(const Tensor<T>& scores, const Tensor<T>& dweights,
                                    const Shrinkage& shrinkage = KeepAboveKth{}) {
  require(scores.rank() == 2 && dweights.shape() == scores.shape(), "gumbel_shrinkage_backward: scores have shape ",
          scores.shape(), ", dweights ", dweights.shape());
  const std::int64_t R = scores.size(0), M = scores.size(1);
  const seam::ShrinkageRule rule = detail::shrinkage_rule("gumbel_shrinkage_backward", shrinkage, M);
  const Device device = detail::common_device("gumbel_shrinkage_backward", scores, dweights);
  Tensor<T> dscores = Tensor<T>::empty(scores.shape(), device);
  detail::dispatch<T>("gumbel_shrinkage_backward", device, &cpu::gumbel_shrinkage_backward<T>,
                      &seam::OpTable<T>::gumbel_shrinkage_backward,
                      {R, M, rule, scores.data(), nullptr, dweights.data(), dscores.data()});
  return dscores;
}

}  // namespace cuttle
