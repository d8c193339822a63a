// Losses that are a mean over all elements: mean_squared_difference and binary_cross_entropy.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/backend/cpu_mean_losses.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

namespace detail {
inline std::int64_t mean_tiles(std::int64_t n) { return std::clamp<std::int64_t>(n / 4096, 1, 512); }

template <class T>
void require_pair(const char* op, const Tensor<T>& a, const Tensor<T>& b) {
  require(a.shape() == b.shape() && a.numel() >= 1, op, ": a has shape ", a.shape(), ", b ", b.shape(),
          ", expected one shape with elements");
}
template <class T>
void require_logits(const char* op, const Tensor<T>& logits, const Tensor<T>& labels) {
  require(logits.numel() >= 1, op, ": logits have shape ", logits.shape(), ", no elements");
  require(!labels.defined() || labels.shape() == logits.shape(), op, ": labels have shape ", labels.shape(),
          ", logits ", logits.shape());
}
template <class T>
Tensor<T> binary_cross_entropy(const Tensor<T>& logits, const Tensor<T>& labels, double label) {
  const char* op = "binary_cross_entropy";
  require_logits(op, logits, labels);
  const Device device = common_device(op, logits, labels);
  const std::int64_t n = logits.numel(), tiles = mean_tiles(n);
  Tensor<T> loss = Tensor<T>::empty({1}, device);
  auto partial = Tensor<double>::empty({tiles}, device);
  dispatch<T>(op, device, &cpu::binary_cross_entropy<T>, &seam::OpTable<T>::binary_cross_entropy,
              seam::BinaryCrossEntropyArgs<T>{n, logits.data(), labels.data(), label, loss.data(), tiles,
                                              partial.data(), nullptr, nullptr});
  return loss;
}
template <class T>
Tensor<T> binary_cross_entropy_backward(const Tensor<T>& logits, const Tensor<T>& labels, double label,
                                        const Tensor<T>& dloss) {
  const char* op = "binary_cross_entropy_backward";
  require_logits(op, logits, labels);
  const Device device = common_device(op, logits, labels, dloss);
  Tensor<T> dlogits = Tensor<T>::empty(logits.shape(), device);
  dispatch<T>(op, device, &cpu::binary_cross_entropy_backward<T>, &seam::OpTable<T>::binary_cross_entropy_backward,
              seam::BinaryCrossEntropyArgs<T>{logits.numel(), logits.data(), labels.data(), label, nullptr, 0, nullptr,
                                              dloss.data(), dlogits.data()});
  return dlogits;
}
}  // namespace detail

// mean_i (a[i] - b[i])^2 over all elements -> scalar (1), summed in double.
template <class T>
Tensor<T> mean_squared_difference(const Tensor<T>& a, const Tensor<T>& b) {
  const char* op = "mean_squared_difference";
  detail::require_pair(op, a, b);
  const Device device = detail::common_device(op, a, b);
  const std::int64_t n = a.numel(), tiles = detail::mean_tiles(n);
  Tensor<T> loss = Tensor<T>::empty({1}, device);
  auto partial = Tensor<double>::empty({tiles}, device);
  detail::dispatch<T>(op, device, &cpu::mean_squared_difference<T>, &seam::OpTable<T>::mean_squared_difference,
                      seam::MeanSquaredDifferenceArgs<T>{n, a.data(), b.data(), loss.data(), tiles, partial.data(),
                                                         nullptr, nullptr, nullptr});
  return loss;
}

// Gradients of the shape of a and b; undefined where not wanted.
template <class T>
struct DifferenceGradients {
  Tensor<T> da, db;
};
// da = dloss * 2/n * (a - b) and db = -da, each where wanted.
template <class T>
DifferenceGradients<T> mean_squared_difference_backward(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& dloss,
                                                        bool want_da, bool want_db) {
  const char* op = "mean_squared_difference_backward";
  detail::require_pair(op, a, b);
  const Device device = detail::common_device(op, a, b, dloss);
  DifferenceGradients<T> gradients;
  if (want_da) gradients.da = Tensor<T>::empty(a.shape(), device);
  if (want_db) gradients.db = Tensor<T>::empty(b.shape(), device);
  detail::dispatch<T>(op, device, &cpu::mean_squared_difference_backward<T>,
                      &seam::OpTable<T>::mean_squared_difference_backward,
                      seam::MeanSquaredDifferenceArgs<T>{a.numel(), a.data(), b.data(), nullptr, 0, nullptr,
                                                         dloss.data(), gradients.da.data(), gradients.db.data()});
  return gradients;
}

// mean_i (log(1 + exp(x_i)) - t_i x_i) -> scalar (1): the cross-entropy of the labels t, in [0, 1], and sigmoid(x)
// (PyTorch's BCEWithLogits), which does not overflow. The labels are a tensor of the logits' shape or one number.
template <class T>
Tensor<T> binary_cross_entropy(const Tensor<T>& logits, const Tensor<T>& labels) {
  require(labels.defined(), "binary_cross_entropy: labels are undefined");
  return detail::binary_cross_entropy(logits, labels, 0);
}
// The same with one label for all.
template <class T>
Tensor<T> binary_cross_entropy(const Tensor<T>& logits, double label) {
  return detail::binary_cross_entropy(logits, Tensor<T>(), label);
}

// d loss/d logits[i] = dloss/n * (sigmoid(x_i) - t_i).
template <class T>
Tensor<T> binary_cross_entropy_backward(const Tensor<T>& logits, const Tensor<T>& labels, const Tensor<T>& dloss) {
  require(labels.defined(), "binary_cross_entropy_backward: labels are undefined");
  return detail::binary_cross_entropy_backward(logits, labels, 0, dloss);
}
// The same with one label for all.
template <class T>
Tensor<T> binary_cross_entropy_backward(const Tensor<T>& logits, double label, const Tensor<T>& dloss) {
  return detail::binary_cross_entropy_backward(logits, Tensor<T>(), label, dloss);
}

}  // namespace cuttle
