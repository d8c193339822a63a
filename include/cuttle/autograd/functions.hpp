// The ops on Var: each computes its value and records its own gradient on the tape of its arguments.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "cuttle/autograd/tape.hpp"
#include "cuttle/ops/activation.hpp"
#include "cuttle/ops/blend.hpp"
#include "cuttle/ops/concat_channels.hpp"
#include "cuttle/ops/conv2d.hpp"
#include "cuttle/ops/elementwise.hpp"
#include "cuttle/ops/extract_patches.hpp"
#include "cuttle/ops/gather.hpp"
#include "cuttle/ops/gumbel_shrinkage.hpp"
#include "cuttle/ops/linear.hpp"
#include "cuttle/ops/losses.hpp"
#include "cuttle/ops/matmul.hpp"
#include "cuttle/ops/mean_losses.hpp"
#include "cuttle/ops/memory_lookup.hpp"
#include "cuttle/ops/neighbour_attention.hpp"
#include "cuttle/ops/norm.hpp"
#include "cuttle/ops/permute.hpp"
#include "cuttle/ops/resize_bilinear.hpp"

namespace cuttle {

namespace detail {
// Where an op's backward adds the gradient of x in place; undefined for a constant, which gets none.
template <class T>
Tensor<T> gradient_target(Tape<T>& tape, const Var<T>& x) {
  return x.needs_grad() ? tape.grad_to_add_to(x) : Tensor<T>();
}
}  // namespace detail

// conv2d (ops/conv2d.hpp), with gradients for x, weight and bias. bias may be a default Var, which is none.
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

// linear (ops/linear.hpp), with gradients for x, weight and bias.
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

// a + b element by element (ops/elementwise.hpp), with gradients for both.
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

// a - b element by element, with gradients for both.
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

// factor * a, with a gradient for a.
template <class T>
Var<T> scale(const Var<T>& a, double factor) {
  Tensor<T> y = scale(a.value(), factor);
  if (!a.needs_grad()) return y;
  return a.tape()->record(y, [a, factor](Tape<T>& tape, const Tensor<T>& dy) { tape.add_grad(a, scale(dy, factor)); });
}

// The same elements under another shape of as many; so is the gradient.
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

// permute (ops/permute.hpp); the gradient goes through the inverse order.
template <class T>
Var<T> permute(const Var<T>& x, std::initializer_list<int> order) {
  Tensor<T> y = permute(x.value(), order);
  if (!x.needs_grad()) return y;
  std::array<int, Shape::max_rank> back{};
  int to = 0;
  for (int from : order) back[static_cast<std::size_t>(from)] = to++;
  return x.tape()->record(y, [x, back](Tape<T>& tape, const Tensor<T>& dy) {
    tape.add_grad(x, permute(dy, std::span(back).first(static_cast<std::size_t>(dy.rank()))));
  });
}

// Windows that touch and fill x; its gradient joins them again.
template <class T>
Var<T> extract_windows(const Var<T>& x, std::int64_t window) {
  Tensor<T> y = extract_windows(x.value(), window, window);
  if (!x.needs_grad()) return y;
  const std::int64_t rows = x.value().size(1) / window, cols = x.value().size(2) / window;
  require(x.value().size(1) == rows * window && x.value().size(2) == cols * window, "extract_windows: x of shape ",
          x.shape(), " is no whole number of windows of ", window);
  return x.tape()->record(
      y, [x, rows, cols](Tape<T>& tape, const Tensor<T>& dy) { tape.add_grad(x, join_windows(dy, rows, cols)); });
}

// join_windows (ops/extract_patches.hpp); the gradient is cut into windows again.
template <class T>
Var<T> join_windows(const Var<T>& patches, std::int64_t rows, std::int64_t cols) {
  Tensor<T> y = join_windows(patches.value(), rows, cols);
  if (!patches.needs_grad()) return y;
  return patches.tape()->record(y, [patches](Tape<T>& tape, const Tensor<T>& dy) {
    const std::int64_t window = patches.value().size(1);
    tape.add_grad(patches, extract_windows(dy, window, window));
  });
}

// Rows of x by index (ops/gather.hpp); the gradient of a row is the sum over its uses.
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

// mean_distance (ops/losses.hpp), (1), with gradients for a and b; zero where a row of a equals that of b.
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

// gumbel_shrinkage (ops/gumbel_shrinkage.hpp), with the shrinkage's own gradient for scores.
template <class T>
Var<T> gumbel_shrinkage(const Var<T>& scores, const Shrinkage& shrinkage = KeepAboveKth{}) {
  Tensor<T> weights = gumbel_shrinkage(scores.value(), shrinkage);
  if (!scores.needs_grad()) return weights;
  return scores.tape()->record(weights, [scores, shrinkage](Tape<T>& tape, const Tensor<T>& dweights) {
    tape.add_grad(scores, gumbel_shrinkage_backward(scores.value(), dweights, shrinkage));
  });
}

// What is read, (B,S,E). A memory that is a constant gets no gradient (a queue), one that is a leaf does (a matrix).
template <class T>
Var<T> memory_lookup(const Var<T>& queries, const Var<T>& memory, const Shrinkage& shrinkage = KeepAboveKth{}) {
  MemoryRead<T> found = memory_lookup(queries.value(), memory.value(), shrinkage);
  Tape<T>* recorder = tape_of("memory_lookup", queries, memory);
  if (!recorder) return found.read;
  return recorder->record(found.read, [queries, memory, found, shrinkage](Tape<T>& tape, const Tensor<T>& dread) {
    tape.add_grad(queries, memory_lookup_backward(queries.value(), memory.value(), found, dread, shrinkage,
                                                  queries.needs_grad(), detail::gradient_target(tape, memory)));
  });
}

// residual may be a default Var, which is none.
template <class T>
Var<T> batch_norm(const Var<T>& x, const Var<T>& weight, const Var<T>& bias, const Var<T>& residual,
                  const Tensor<T>& running_mean, const Tensor<T>& running_var, const BatchNormOptions& options = {}) {
  const Normalised<T> result =
      batch_norm(x.value(), weight.value(), bias.value(), residual.value(), running_mean, running_var, options);
  Tape<T>* recorder = tape_of("batch_norm", x, weight, bias, residual);
  if (!recorder) return result.y;
  return recorder->record(result.y, [x, weight, bias, residual, result, options](Tape<T>& tape, const Tensor<T>& dy) {
    NormGradients<T> gradients =
        batch_norm_backward(x.value(), weight.value(), result, dy, options, x.needs_grad(), residual.needs_grad(),
                            detail::gradient_target(tape, weight), detail::gradient_target(tape, bias));
    tape.add_grad(x, std::move(gradients.dx));
    tape.add_grad(residual, std::move(gradients.dresidual));
  });
}

// layer_norm (ops/norm.hpp), with gradients for x, weight, bias and residual, which may be a default Var.
template <class T>
Var<T> layer_norm(const Var<T>& x, const Var<T>& weight, const Var<T>& bias, const Var<T>& residual,
                  const NormOptions& options = {}) {
  const Normalised<T> result = layer_norm(x.value(), weight.value(), bias.value(), residual.value(), options);
  Tape<T>* recorder = tape_of("layer_norm", x, weight, bias, residual);
  if (!recorder) return result.y;
  return recorder->record(result.y, [x, weight, bias, residual, result, options](Tape<T>& tape, const Tensor<T>& dy) {
    NormGradients<T> gradients =
        layer_norm_backward(x.value(), weight.value(), result, dy, options, x.needs_grad(), residual.needs_grad(),
                            detail::gradient_target(tape, weight), detail::gradient_target(tape, bias));
    tape.add_grad(x, std::move(gradients.dx));
    tape.add_grad(residual, std::move(gradients.dresidual));
  });
}

// activate (ops/activation.hpp), with a gradient for x.
template <class T>
Var<T> activate(const Var<T>& x, Activation activation, double slope = 0.01) {
  Tensor<T> y = activate(x.value(), activation, slope);
  if (!x.needs_grad()) return y;
  return x.tape()->record(y, [x, y, activation, slope](Tape<T>& tape, const Tensor<T>& dy) {
    tape.add_grad(x, activate_backward(y, dy, activation, slope));
  });
}

// The mask is a constant.
template <class T>
Var<T> blend(const Tensor<T>& mask, const Var<T>& a, const Var<T>& b) {
  Tensor<T> y = blend(mask, a.value(), b.value());
  Tape<T>* recorder = tape_of("blend", a, b);
  if (!recorder) return y;
  return recorder->record(y, [mask, a, b](Tape<T>& tape, const Tensor<T>& dy) {
    BlendGradients<T> gradients = blend_backward(mask, dy, a.needs_grad(), b.needs_grad());
    tape.add_grad(a, std::move(gradients.da));
    tape.add_grad(b, std::move(gradients.db));
  });
}

// concat_channels (ops/concat_channels.hpp), with gradients for a and b.
template <class T>
Var<T> concat_channels(const Var<T>& a, const Var<T>& b) {
  Tensor<T> y = concat_channels(a.value(), b.value());
  Tape<T>* recorder = tape_of("concat_channels", a, b);
  if (!recorder) return y;
  return recorder->record(y, [a, b](Tape<T>& tape, const Tensor<T>& dy) {
    const std::int64_t C = a.shape()[-1], D = b.shape()[-1];
    if (a.needs_grad()) tape.add_grad(a, slice_channels(dy, 0, C));
    if (b.needs_grad()) tape.add_grad(b, slice_channels(dy, C, C + D));
  });
}

// matmul (ops/matmul.hpp), with gradients for a and b.
template <class T>
Var<T> matmul(const Var<T>& a, const Var<T>& b, const MatmulOptions& options = {}) {
  Tensor<T> c = matmul(a.value(), b.value(), options);
  Tape<T>* recorder = tape_of("matmul", a, b);
  if (!recorder) return c;
  // With A = op(a) and B = op(b): dA = alpha dc B^T, dB = alpha A^T dc, turned back where a or b was transposed.
  return recorder->record(c, [a, b, options](Tape<T>& tape, const Tensor<T>& dc) {
    const bool ta = options.transpose_a, tb = options.transpose_b;
    const auto add = [&](const Var<T>& to, const Tensor<T>& left, const Tensor<T>& right, bool turn_left,
                         bool turn_right) {
      Tensor<T> gradient = tape.grad_to_add_to(to);
      add_matmul(gradient, left, right, {turn_left, turn_right, options.alpha, options.math});
    };
    if (a.needs_grad()) ta ? add(a, b.value(), dc, tb, true) : add(a, dc, b.value(), false, !tb);
    if (b.needs_grad()) tb ? add(b, dc, a.value(), true, ta) : add(b, a.value(), dc, !ta, false);
  });
}

// resize_bilinear (ops/resize_bilinear.hpp) to OH x OW pixels, with a gradient for x.
template <class T>
Var<T> resize_bilinear(const Var<T>& x, std::int64_t OH, std::int64_t OW) {
  Tensor<T> y = resize_bilinear(x.value(), OH, OW);
  if (!x.needs_grad()) return y;
  return x.tape()->record(y, [x](Tape<T>& tape, const Tensor<T>& dy) {
    tape.add_grad(x, resize_bilinear_backward(dy, x.shape()[1], x.shape()[2]));
  });
}

// neighbour_attention (ops/neighbour_attention.hpp), with gradients for all five arguments.
template <class T>
Var<T> neighbour_attention(const Var<T>& q, const Var<T>& k, const Var<T>& v, const Var<T>& k0, const Var<T>& v0,
                           const NeighbourAttentionOptions& options = {}) {
  const Attended<T> result = neighbour_attention(q.value(), k.value(), v.value(), k0.value(), v0.value(), options);
  Tape<T>* recorder = tape_of("neighbour_attention", q, k, v, k0, v0);
  if (!recorder) return result.y;
  return recorder->record(
      result.y, [q, k, v, k0, v0, weights = result.weights, options](Tape<T>& tape, const Tensor<T>& dy) {
        AttentionGradients<T> gradients = neighbour_attention_backward(
            q.value(), k.value(), v.value(), k0.value(), v0.value(), weights, dy, options, q.needs_grad(),
            k.needs_grad(), v.needs_grad(), detail::gradient_target(tape, k0), detail::gradient_target(tape, v0));
        tape.add_grad(q, std::move(gradients.dq));
        tape.add_grad(k, std::move(gradients.dk));
        tape.add_grad(v, std::move(gradients.dv));
      });
}

// mean_squared_difference (ops/mean_losses.hpp), (1), with gradients for a and b.
template <class T>
Var<T> mean_squared_difference(const Var<T>& a, const Var<T>& b) {
  Tensor<T> loss = mean_squared_difference(a.value(), b.value());
  Tape<T>* recorder = tape_of("mean_squared_difference", a, b);
  if (!recorder) return loss;
  return recorder->record(loss, [a, b](Tape<T>& tape, const Tensor<T>& dloss) {
    DifferenceGradients<T> gradients =
        mean_squared_difference_backward(a.value(), b.value(), dloss, a.needs_grad(), b.needs_grad());
    tape.add_grad(a, std::move(gradients.da));
    tape.add_grad(b, std::move(gradients.db));
  });
}

// labels: a constant tensor of the logits' shape, or one number.
template <class T, class Labels>
Var<T> binary_cross_entropy(const Var<T>& logits, const Labels& labels) {
  Tensor<T> loss = binary_cross_entropy(logits.value(), labels);
  if (!logits.needs_grad()) return loss;
  return logits.tape()->record(loss, [logits, labels](Tape<T>& tape, const Tensor<T>& dloss) {
    tape.add_grad(logits, binary_cross_entropy_backward(logits.value(), labels, dloss));
  });
}

}  // namespace cuttle
