// The ops on Var: each computes its value and records its own gradient on the tape of its arguments.
#pragma once

#include <cstdint>

#include "cuttle/autograd/tape.hpp"
#include "cuttle/ops/conv2d.hpp"
#include "cuttle/ops/elementwise.hpp"
#include "cuttle/ops/gather.hpp"
#include "cuttle/ops/linear.hpp"
#include "cuttle/ops/losses.hpp"

namespace cuttle {

namespace detail {
// Where an op's backward adds the gradient of x in place; undefined for a constant, which gets none.
template <class T>
Tensor<T> gradient_target(Tape<T>& tape, const Var<T>& x) {
  return x.needs_grad() ? tape.grad_to_add_to(x) : Tensor<T>();
}
}  // namespace detail

template <class T>
Var<T> conv2d(const Var<T>& x, const Var<T>& weight, const Var<T>& bias, const Conv2dOptions& options = {}) {
  Tensor<T> y = conv2d(x.value(), weight.value(), bias.value(), options);
  Tape<T>* recorder = tape_of("conv2d", x, weight, bias);
  if (!recorder) return y;
  return recorder->record(y, [x, weight, bias, y, options](Tape<T>& tape, const Tensor<T>& dy) {
    tape.add_grad(x, conv2d_backward(x.value(), weight.value(), y, dy, options, x.needs_grad(),
                                     detail::gradient_target(tape, weight), detail::gradient_target(tape, bias)));
  });
}

template <class T>
Var<T> linear(const Var<T>& x, const Var<T>& weight, const Var<T>& bias, const LinearOptions& options = {}) {
  Tensor<T> y = linear(x.value(), weight.value(), bias.value(), options);
  Tape<T>* recorder = tape_of("linear", x, weight, bias);
  if (!recorder) return y;
  return recorder->record(y, [x, weight, bias, y, options](Tape<T>& tape, const Tensor<T>& dy) {
    tape.add_grad(x, linear_backward(x.value(), weight.value(), y, dy, options, x.needs_grad(),
                                     detail::gradient_target(tape, weight), detail::gradient_target(tape, bias)));
  });
}

template <class T>
Var<T> add(const Var<T>& a, const Var<T>& b) {
  Tensor<T> y = add(a.value(), b.value());
  Tape<T>* recorder = tape_of("add", a, b);
  if (!recorder) return y;
  return recorder->record(y, [a, b](Tape<T>& tape, const Tensor<T>& dy) {
    if (b.needs_grad()) tape.add_grad(b, dy.clone());
    tape.add_grad(a, dy);
  });
}

template <class T>
Var<T> sub(const Var<T>& a, const Var<T>& b) {
  Tensor<T> y = sub(a.value(), b.value());
  Tape<T>* recorder = tape_of("sub", a, b);
  if (!recorder) return y;
  return recorder->record(y, [a, b](Tape<T>& tape, const Tensor<T>& dy) {
    if (b.needs_grad()) tape.add_grad(b, scale(dy, -1));
    tape.add_grad(a, dy);
  });
}

template <class T>
Var<T> scale(const Var<T>& a, double factor) {
  Tensor<T> y = scale(a.value(), factor);
  if (!a.needs_grad()) return y;
  return a.tape()->record(y, [a, factor](Tape<T>& tape, const Tensor<T>& dy) { tape.add_grad(a, scale(dy, factor)); });
}

template <class T>
Var<T> reshape(const Var<T>& x, const Shape& shape) {
  Tensor<T> y = x.value().reshape(shape);
  if (!x.needs_grad()) return y;
  return x.tape()->record(y, [x](Tape<T>& tape, const Tensor<T>& dy) { tape.add_grad(x, dy.reshape(x.shape())); });
}

// Rows [first, last) of the first dimension.
template <class T>
Var<T> slice(const Var<T>& x, std::int64_t first, std::int64_t last) {
  Tensor<T> y = x.value().slice(first, last);
  if (!x.needs_grad()) return y;
  return x.tape()->record(y, [x, first, last](Tape<T>& tape, const Tensor<T>& dy) {
    Tensor<T> rows = tape.grad_to_add_to(x).slice(first, last);
    add_into(rows, dy);
  });
}

template <class T>
Var<T> gather_rows(const Var<T>& x, const Tensor<std::int32_t>& index) {
  Tensor<T> y = gather_rows(x.value(), index);
  if (!x.needs_grad()) return y;
  return x.tape()->record(y, [x, index](Tape<T>& tape, const Tensor<T>& dy) {
    Tensor<T> dx = tape.grad_to_add_to(x);
    add_rows(dx, index, dy);
  });
}

// right, where given, takes the number of rows whose largest logit is the label's.
template <class T>
Var<T> cross_entropy(const Var<T>& logits, const Tensor<std::int32_t>& labels, Tensor<T>* right = nullptr) {
  const Classification<T> result = classify(logits.value(), labels);
  if (right) *right = result.right;
  if (!logits.needs_grad()) return result.loss;
  return logits.tape()->record(result.loss, [logits, labels](Tape<T>& tape, const Tensor<T>& dloss) {
    tape.add_grad(logits, cross_entropy_backward(logits.value(), labels, dloss));
  });
}

template <class T>
Var<T> mean_distance(const Var<T>& a, const Var<T>& b) {
  Tensor<T> loss = mean_distance(a.value(), b.value());
  Tape<T>* recorder = tape_of("mean_distance", a, b);
  if (!recorder) return loss;
  return recorder->record(loss, [a, b](Tape<T>& tape, const Tensor<T>& dloss) {
    Tensor<T> da = mean_distance_backward(a.value(), b.value(), dloss);
    if (b.needs_grad()) tape.add_grad(b, scale(da, -1));
    tape.add_grad(a, std::move(da));
  });
}

}  // namespace cuttle
