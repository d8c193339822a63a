// Optimisers over a ParameterArena.
#pragma once

#include <cstdint>

#include "cuttle/nn/parameter.hpp"
#include "cuttle/ops/adam.hpp"

namespace cuttle::nn {

// Adam with its moments, over all parameters of an arena at once.
template <class T>
class Adam {
 public:
  // The arena outlives it; the moments start at zero.
  Adam(ParameterArena<T>& arena, const AdamOptions& options)
      : arena_(&arena),
        options_(options),
        m_(Tensor<T>::zeros(arena.values().shape(), arena.values().device())),
        v_(Tensor<T>::zeros(arena.values().shape(), arena.values().device())) {}

  // One update from the arena's gradients, at the learning rate of the options.
  void step() { adam(arena_->values(), arena_->grads(), m_, v_, ++steps_, options_); }
  // One update whose number and learning rate lie in memory, (1) on the arena's device.
  void step(const Tensor<StepState>& state) { adam(arena_->values(), arena_->grads(), m_, v_, state, options_); }

  // What a run that goes on later has to keep, (n) each.
  Tensor<T>& first_moment() noexcept { return m_; }
  Tensor<T>& second_moment() noexcept { return v_; }

 private:
  ParameterArena<T>* arena_;
  AdamOptions options_;
  Tensor<T> m_, v_;
  std::int64_t steps_ = 0;
};

}  // namespace cuttle::nn
