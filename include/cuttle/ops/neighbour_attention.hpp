// neighbour_attention: multi-head attention (Vaswani et al. 2017, section 3.2.2) of each patch of an image to its eight
// neighbours, as SQUID's in-painting block has it (Xiang et al. 2023): the patch is the query, the neighbours are keys
// and values, and beyond the edge there are tokens too, all zero before projection.
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_neighbour_attention.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

// What is attended to, projected: q, k and v (B*grid^2,E), image by image and patch by patch in raster order; k0 and v0
// (E), the key and value of a zero token, which are the projections' biases. grid >= 1; heads divides E.
struct NeighbourAttentionOptions {
  std::int64_t grid = 2, heads = 8;
};

// y (B*grid^2,E), and the weights (B*grid^2,heads,8), which backward reads.
template <class T>
struct Attended {
  Tensor<T> y, weights;
};

// Gradients with the shape of q; undefined where not wanted.
template <class T>
struct AttentionGradients {
  Tensor<T> dq, dk, dv;
};

namespace detail {
template <class T>
std::int64_t neighbour_attention_batch(const char* op, const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                                       const Tensor<T>& k0, const Tensor<T>& v0,
                                       const NeighbourAttentionOptions& options) {
  require(options.grid >= 1 && options.grid <= 1024 && options.heads >= 1, op, ": grid ", options.grid, ", heads ",
          options.heads);
  const std::int64_t P = options.grid * options.grid;
  require(q.rank() == 2 && q.size(0) % P == 0, op, ": q has shape ", q.shape(), ", expected (B*", P, ",E)");
  require(q.size(0) < std::int64_t{1} << 31, op, ": q of shape ", q.shape(), " has 2^31 rows or more");
  require(q.size(1) >= 1 && q.size(1) % options.heads == 0, op, ": ", options.heads, " heads do not divide q of shape ",
          q.shape());
  require(k.shape() == q.shape() && v.shape() == q.shape(), op, ": q has shape ", q.shape(), ", k ", k.shape(), ", v ",
          v.shape());
  const Shape one{q.size(1)};
  require(k0.shape() == one && v0.shape() == one, op, ": q has shape ", q.shape(), ", k0 ", k0.shape(), ", v0 ",
          v0.shape());
  return q.size(0) / P;
}
}  // namespace detail

// Head h has channels h*D .. (h+1)*D-1, D = E / heads; with the keys and values of patch p's neighbours j = 0..7 in
// raster order, weights[p,h,j] = softmax_j (q . key_j / sqrt(D)) and y = sum_j weights[p,h,j] * value_j. No neighbour
// is masked out: those beyond the edge have key k0 and value v0.
template <class T>
Attended<T> neighbour_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const Tensor<T>& k0,
                                const Tensor<T>& v0, const NeighbourAttentionOptions& options = {}) {
  const char* op = "neighbour_attention";
  const std::int64_t B = detail::neighbour_attention_batch(op, q, k, v, k0, v0, options);
  const Device device = detail::common_device(op, q, k, v, k0, v0);
  Attended<T> result{Tensor<T>::empty(q.shape(), device), Tensor<T>::empty({q.size(0), options.heads, 8}, device)};
  detail::dispatch<T>(
      op, device, &cpu::neighbour_attention<T>, &seam::OpTable<T>::neighbour_attention,
      seam::NeighbourAttentionArgs<T>{B, options.grid, q.size(1), options.heads, q.data(), k.data(), v.data(),
                                      k0.data(), v0.data(), result.y.data(), result.weights.data()});
  return result;
}

// The gradients for those weights and dy = d(loss)/d(y): dq, dk and dv are made where wanted; dk0 and dv0, where
// defined, are added to.
template <class T>
AttentionGradients<T> neighbour_attention_backward(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                                                   const Tensor<T>& k0, const Tensor<T>& v0, const Tensor<T>& weights,
                                                   const Tensor<T>& dy, const NeighbourAttentionOptions& options,
                                                   bool want_dq, bool want_dk, bool want_dv, Tensor<T> dk0,
                                                   Tensor<T> dv0) {
  const char* op = "neighbour_attention_backward";
  const std::int64_t B = detail::neighbour_attention_batch(op, q, k, v, k0, v0, options);
  require(dy.shape() == q.shape() && weights.shape() == Shape({q.size(0), options.heads, 8}), op, ": dy has shape ",
          dy.shape(), ", weights ", weights.shape(), ", q ", q.shape());
  require(!dk0.defined() || dk0.shape() == k0.shape(), op, ": dk0 has shape ", dk0.shape(), ", k0 ", k0.shape());
  require(!dv0.defined() || dv0.shape() == v0.shape(), op, ": dv0 has shape ", dv0.shape(), ", v0 ", v0.shape());
  const Device device = detail::common_device(op, q, k, v, k0, v0, weights, dy, dk0, dv0);
  AttentionGradients<T> gradients;
  if (want_dq) gradients.dq = Tensor<T>::empty(q.shape(), device);
  if (want_dk) gradients.dk = Tensor<T>::empty(q.shape(), device);
  if (want_dv) gradients.dv = Tensor<T>::empty(q.shape(), device);
  Tensor<T> dscores = Tensor<T>::empty(weights.shape(), device);
  detail::dispatch<T>(
      op, device, &cpu::neighbour_attention_backward<T>, &seam::OpTable<T>::neighbour_attention_backward,
      seam::NeighbourAttentionBackwardArgs<T>{B, options.grid, q.size(1), options.heads, q.data(), k.data(), v.data(),
                                              k0.data(), v0.data(), weights.data(), dy.data(), dscores.data(),
                                              gradients.dq.data(), gradients.dk.data(), gradients.dv.data(), dk0.data(),
                                              dv0.data()});
  return gradients;
}

}  // namespace cuttle
