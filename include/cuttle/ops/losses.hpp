// The losses of Patch SVDD (Yi and Yoon 2020): cross-entropy of the relative position (their eq. 4) and the mean
// distance of neighbouring embeddings (their eq. 3, whose code takes the norm, not its square).
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_losses.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

namespace detail {
template <class T>
Device require_labels(const char* op, const Tensor<T>& logits, const Tensor<std::int32_t>& labels) {
  require(logits.rank() == 2 && logits.size(0) >= 1 && logits.size(1) >= 1, op, ": logits have shape ", logits.shape(),
          ", expected (B, classes)");
  require(labels.shape() == Shape{logits.size(0)}, op, ": labels have shape ", labels.shape(), ", logits ",
          logits.shape());
  const Device device = common_device(op, logits, labels);
  if (device.is_cpu())
    for (std::int64_t b = 0; b < labels.numel(); ++b)
      require(labels.data()[b] >= 0 && labels.data()[b] < logits.size(1), op, ": label ", labels.data()[b], " of row ",
              b, " is not one of ", logits.size(1), " classes");
  return device;
}
}  // namespace detail

// A loss with the number of rows (a whole number, in T) whose largest logit is the label's, the first of equal ones.
template <class T>
struct Classification {
  Tensor<T> loss, right;  // scalars (1)
};

// loss = mean_b (log sum_i exp(logits[b,i]) - logits[b,label_b]); logits (B, classes), labels (B). A label outside
// [0, classes) throws on the CPU; on a device, where that would mean waiting for it, the loss is NaN.
template <class T>
Classification<T> classify(const Tensor<T>& logits, const Tensor<std::int32_t>& labels) {
  const Device device = detail::require_labels("cross_entropy", logits, labels);
  Classification<T> result{Tensor<T>::empty({1}, device), Tensor<T>::empty({1}, device)};
  detail::dispatch<T>("cross_entropy", device, &cpu::cross_entropy<T>, &seam::OpTable<T>::cross_entropy,
                      {logits.size(0), logits.size(1), logits.data(), labels.data(), result.loss.data(),
                       result.right.data(), nullptr, nullptr});
  return result;
}

// The loss alone, (1).
template <class T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Tensor<std::int32_t>& labels) {
  return classify(logits, labels).loss;
}

// d loss/d logits[b,i] = dloss/B * (softmax(logits[b])_i - [i = label_b]).
template <class T>
Tensor<T> cross_entropy_backward(const Tensor<T>& logits, const Tensor<std::int32_t>& labels, const Tensor<T>& dloss) {
  const Device device = detail::common_device("cross_entropy_backward", logits, labels, dloss);
  Tensor<T> dlogits = Tensor<T>::empty(logits.shape(), device);
  detail::dispatch<T>(
      "cross_entropy_backward", device, &cpu::cross_entropy_backward<T>, &seam::OpTable<T>::cross_entropy_backward,
      {logits.size(0), logits.size(1), logits.data(), labels.data(), nullptr, nullptr, dloss.data(), dlogits.data()});
  return dlogits;
}

// The share of rows whose largest logit is the label's (the first of equal ones counts).
template <class T>
double accuracy(const Tensor<T>& logits, const Tensor<std::int32_t>& labels) {
  return static_cast<double>(classify(logits, labels).right.item()) / static_cast<double>(logits.size(0));
}

// loss = mean_b |a[b] - b[b]| (Euclidean norm over D); a and b (B,D) -> scalar (1).
template <class T>
Tensor<T> mean_distance(const Tensor<T>& a, const Tensor<T>& b) {
  require(a.rank() == 2 && a.shape() == b.shape() && a.size(0) >= 1, "mean_distance: a has shape ", a.shape(),
          ", b has shape ", b.shape(), ", expected (B,D) twice");
  const Device device = detail::common_device("mean_distance", a, b);
  Tensor<T> loss = Tensor<T>::empty({1}, device);
  detail::dispatch<T>("mean_distance", device, &cpu::mean_distance<T>, &seam::OpTable<T>::mean_distance,
                      {a.size(0), a.size(1), a.data(), b.data(), loss.data(), nullptr, nullptr});
  return loss;
}

// d loss/d a = dloss/B * (a - b)/|a - b|, and zero where a row of a equals that of b; d loss/d b is its negative.
template <class T>
Tensor<T> mean_distance_backward(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& dloss) {
  const Device device = detail::common_device("mean_distance_backward", a, b, dloss);
  Tensor<T> da = Tensor<T>::empty(a.shape(), device);
  detail::dispatch<T>("mean_distance_backward", device, &cpu::mean_distance_backward<T>,
                      &seam::OpTable<T>::mean_distance_backward,
                      {a.size(0), a.size(1), a.data(), b.data(), nullptr, dloss.data(), da.data()});
  return da;
}

// The matrix whose columns are those of weight (O,C), each divided by its Euclidean length over the O rows.
// A column of zeros throws on the CPU and becomes NaN on a device.
template <class T>
Tensor<T> unit_columns(const Tensor<T>& weight) {
  require(weight.rank() == 2, "unit_columns: weight has shape ", weight.shape(), ", expected (O,C)");
  const Device device = weight.device();
  Tensor<T> unit = Tensor<T>::empty(weight.shape(), device);
  detail::dispatch<T>("unit_columns", device, &cpu::unit_columns<T>, &seam::OpTable<T>::unit_columns,
                      {weight.size(0), weight.size(1), weight.data(), unit.data()});
  return unit;
}

}  // namespace cuttle
