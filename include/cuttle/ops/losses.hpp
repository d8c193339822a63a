// The losses of Patch SVDD (Yi and Yoon 2020): cross-entropy of the relative position (their eq. 4) and the mean
// distance of neighbouring embeddings (their eq. 3, whose code takes the norm, not its square).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

namespace detail {

template <class T>
void require_labels(const char* op, const Tensor<T>& logits, const Tensor<std::int32_t>& labels) {
  require(logits.rank() == 2 && logits.size(0) >= 1 && logits.size(1) >= 1, op, ": logits have shape ", logits.shape(),
          ", expected (B, classes)");
  require(labels.shape() == Shape{logits.size(0)}, op, ": labels have shape ", labels.shape(), ", logits ",
          logits.shape());
  require_on_cpu(op, logits, labels);
  for (std::int64_t b = 0; b < labels.numel(); ++b)
    require(labels.data()[b] >= 0 && labels.data()[b] < logits.size(1), op, ": label ", labels.data()[b], " of row ", b,
            " is not one of ", logits.size(1), " classes");
}

// log(sum_i exp(x_i)) in double, around the largest entry so that nothing overflows.
template <class T>
double log_sum_exp(const T* x, std::int64_t n) {
  const double largest = static_cast<double>(*std::max_element(x, x + n));
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) - largest);
  return largest + std::log(sum);
}

}  // namespace detail

// loss = mean_b (log sum_i exp(logits[b,i]) - logits[b,label_b]); logits (B, classes), labels (B) -> scalar (1).
template <class T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Tensor<std::int32_t>& labels) {
  detail::require_labels("cross_entropy", logits, labels);
  const std::int64_t B = logits.size(0), classes = logits.size(1);
  double loss = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    const T* row = logits.data() + b * classes;
    loss += detail::log_sum_exp(row, classes) - static_cast<double>(row[labels.data()[b]]);
  }
  return Tensor<T>::full({1}, static_cast<T>(loss / static_cast<double>(B)));
}

// d loss/d logits[b,i] = dloss/B * (softmax(logits[b])_i - [i = label_b]).
template <class T>
Tensor<T> cross_entropy_backward(const Tensor<T>& logits, const Tensor<std::int32_t>& labels, const Tensor<T>& dloss) {
  const std::int64_t B = logits.size(0), classes = logits.size(1);
  const double factor = static_cast<double>(dloss.item()) / static_cast<double>(B);
  Tensor<T> dlogits = Tensor<T>::empty(logits.shape());
  for (std::int64_t b = 0; b < B; ++b) {
    const T* row = logits.data() + b * classes;
    const double log_sum = detail::log_sum_exp(row, classes);
    for (std::int64_t i = 0; i < classes; ++i)
      dlogits.data()[b * classes + i] = static_cast<T>(
          factor * (std::exp(static_cast<double>(row[i]) - log_sum) - (i == labels.data()[b] ? 1.0 : 0.0)));
  }
  return dlogits;
}

// The share of rows whose largest logit is the label's (the first of equal ones counts).
template <class T>
double accuracy(const Tensor<T>& logits, const Tensor<std::int32_t>& labels) {
  detail::require_labels("accuracy", logits, labels);
  const std::int64_t B = logits.size(0), classes = logits.size(1);
  std::int64_t right = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    const T* row = logits.data() + b * classes;
    right += std::max_element(row, row + classes) - row == labels.data()[b];
  }
  return static_cast<double>(right) / static_cast<double>(B);
}

// loss = mean_b |a[b] - b[b]| (Euclidean norm over D); a and b (B,D) -> scalar (1).
template <class T>
Tensor<T> mean_distance(const Tensor<T>& a, const Tensor<T>& b) {
  require(a.rank() == 2 && a.shape() == b.shape() && a.size(0) >= 1, "mean_distance: a has shape ", a.shape(),
          ", b has shape ", b.shape(), ", expected (B,D) twice");
  detail::require_on_cpu("mean_distance", a, b);
  const std::int64_t B = a.size(0), D = a.size(1);
  double loss = 0;
  for (std::int64_t row = 0; row < B; ++row) {
    double squared = 0;
    for (std::int64_t d = 0; d < D; ++d) {
      const double difference = static_cast<double>(a.data()[row * D + d]) - static_cast<double>(b.data()[row * D + d]);
      squared += difference * difference;
    }
    loss += std::sqrt(squared);
  }
  return Tensor<T>::full({1}, static_cast<T>(loss / static_cast<double>(B)));
}

// d loss/d a = dloss/B * (a - b)/|a - b|, and zero where a row of a equals that of b; d loss/d b is its negative.
template <class T>
Tensor<T> mean_distance_backward(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& dloss) {
  const std::int64_t B = a.size(0), D = a.size(1);
  const double factor = static_cast<double>(dloss.item()) / static_cast<double>(B);
  Tensor<T> da = Tensor<T>::empty(a.shape());
  for (std::int64_t row = 0; row < B; ++row) {
    const T *x = a.data() + row * D, *y = b.data() + row * D;
    double squared = 0;
    for (std::int64_t d = 0; d < D; ++d) {
      const double difference = static_cast<double>(x[d]) - static_cast<double>(y[d]);
      squared += difference * difference;
    }
    const double over_norm = squared > 0 ? factor / std::sqrt(squared) : 0.0;
    for (std::int64_t d = 0; d < D; ++d)
      da.data()[row * D + d] = static_cast<T>(over_norm * (static_cast<double>(x[d]) - static_cast<double>(y[d])));
  }
  return da;
}

// The matrix whose columns are those of weight (O,C), each divided by its Euclidean length over the O rows.
// A column of zeros is an error.
template <class T>
Tensor<T> unit_columns(const Tensor<T>& weight) {
  require(weight.rank() == 2, "unit_columns: weight has shape ", weight.shape(), ", expected (O,C)");
  detail::require_on_cpu("unit_columns", weight);
  const std::int64_t O = weight.size(0), C = weight.size(1);
  Tensor<T> unit = Tensor<T>::empty(weight.shape());
  for (std::int64_t c = 0; c < C; ++c) {
    double squared = 0;
    for (std::int64_t o = 0; o < O; ++o) {
      const double w = static_cast<double>(weight.data()[o * C + c]);
      squared += w * w;
    }
    require(squared > 0, "unit_columns: column ", c, " of weight is zero");
    const double over_norm = 1 / std::sqrt(squared);
    for (std::int64_t o = 0; o < O; ++o)
      unit.data()[o * C + c] = static_cast<T>(static_cast<double>(weight.data()[o * C + c]) * over_norm);
  }
  return unit;
}

}  // namespace cuttle
