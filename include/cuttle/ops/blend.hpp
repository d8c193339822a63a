// blend: one of two tensors, pixel by pixel, as a mask says; bernoulli_mask: such a mask, drawn at random.
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_activation.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

using seam::StepState;

namespace detail {
template <class T>
void require_blend(const char* op, const Tensor<T>& mask, const Tensor<T>& a) {
  require(a.rank() >= 1, op, ": a tensor of shape ", a.shape(), " has no channels");
  Shape expected;
  for (int i = 0; i + 1 < a.rank(); ++i) expected.push_back(a.size(i));
  expected.push_back(1);
  require(mask.shape() == expected, op, ": mask has shape ", mask.shape(), ", expected ", expected);
}
}  // namespace detail

// mask * a + (1 - mask) * b, the mask shared by the channels: a, b (...,C), mask (...,1).
template <class T>
Tensor<T> blend(const Tensor<T>& mask, const Tensor<T>& a, const Tensor<T>& b) {
  require(a.shape() == b.shape(), "blend: a has shape ", a.shape(), ", b ", b.shape());
  detail::require_blend("blend", mask, a);
  const Device device = detail::common_device("blend", mask, a, b);
  Tensor<T> y = Tensor<T>::empty(a.shape(), device);
  detail::dispatch<T>("blend", device, &cpu::blend<T>, &seam::OpTable<T>::blend,
                      seam::BlendArgs<T>{mask.numel(), a.size(-1), mask.data(), a.data(), b.data(), y.data(), nullptr,
                                         nullptr, nullptr});
  return y;
}

// Gradients of the shape of a and b; undefined where not wanted.
template <class T>
struct BlendGradients {
  Tensor<T> da, db;
};
// da = mask * dy and db = (1 - mask) * dy, each where wanted; the mask is a constant.
template <class T>
BlendGradients<T> blend_backward(const Tensor<T>& mask, const Tensor<T>& dy, bool want_da, bool want_db) {
  detail::require_blend("blend_backward", mask, dy);
  const Device device = detail::common_device("blend_backward", mask, dy);
  BlendGradients<T> gradients;
  if (want_da) gradients.da = Tensor<T>::empty(dy.shape(), device);
  if (want_db) gradients.db = Tensor<T>::empty(dy.shape(), device);
  detail::dispatch<T>("blend_backward", device, &cpu::blend_backward<T>, &seam::OpTable<T>::blend_backward,
                      seam::BlendArgs<T>{mask.numel(), dy.size(-1), mask.data(), nullptr, nullptr, nullptr, dy.data(),
                                         gradients.da.data(), gradients.db.data()});
  return gradients;
}

namespace detail {
template <class T>
void bernoulli_mask(Tensor<T>& mask, double p, std::uint64_t seed, std::uint64_t stream, std::int64_t step,
                    const StepState* state) {
  require(p >= 0 && p <= 1, "bernoulli_mask: p must be in [0, 1], got ", p);
  dispatch<T>("bernoulli_mask", mask.device(), &cpu::bernoulli_mask<T>, &seam::OpTable<T>::bernoulli_mask,
              seam::BernoulliMaskArgs<T>{mask.numel(), static_cast<float>(p), seed, stream, step, state, mask.data()});
}
}  // namespace detail

// Overwrites mask, of any shape: 1 with probability p, else 0. Element i is 1 where
// random_uniform(seed, stream + step, i) < p: the same bits on every device.
template <class T>
void bernoulli_mask(Tensor<T>& mask, double p, std::uint64_t seed, std::uint64_t stream, std::int64_t step) {
  detail::bernoulli_mask(mask, p, seed, stream, step, nullptr);
}
// The same with step = state->step, for a step that is recorded once and replayed; state (1) is on the mask's device.
template <class T>
void bernoulli_mask(Tensor<T>& mask, double p, std::uint64_t seed, std::uint64_t stream,
                    const Tensor<StepState>& state) {
  require(state.shape() == Shape{1} && state.device() == mask.device(), "bernoulli_mask: state has shape ",
          state.shape(), " on ", state.device(), ", expected [1] on ", mask.device());
  detail::bernoulli_mask(mask, p, seed, stream, 0, state.data());
}

}  // namespace cuttle
