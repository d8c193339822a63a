// adam: one step of Adam over flat arrays, in place.
#pragma once

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

using seam::StepState;

// Adam's settings, by the names of the formula below; the defaults are the paper's.
struct AdamOptions {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
};

namespace detail {
template <class T>
void adam(Tensor<T>& value, const Tensor<T>& grad, Tensor<T>& m, Tensor<T>& v, std::int64_t step,
          const AdamOptions& options, const StepState* state) {
  require(grad.shape() == value.shape() && m.shape() == value.shape() && v.shape() == value.shape(),
          "adam: value has shape ", value.shape(), ", grad ", grad.shape(), ", m ", m.shape(), ", v ", v.shape());
  dispatch<T>("adam", common_device("adam", value, grad, m, v), &cpu::adam<T>, &seam::OpTable<T>::adam,
              {value.numel(), value.data(), grad.data(), m.data(), v.data(), step, options.learning_rate, options.beta1,
               options.beta2, options.epsilon, options.weight_decay, state});
}
}  // namespace detail

// g = grad + weight_decay*value; m = beta1*m + (1-beta1)*g; v = beta2*v + (1-beta2)*g^2;
// value -= learning_rate/(1-beta1^step) * m / (sqrt(v)/sqrt(1-beta2^step) + epsilon)
// (Kingma and Ba 2015, algorithm 1, as PyTorch's Adam). All of one shape; step counts from 1.
template <class T>
void adam(Tensor<T>& value, const Tensor<T>& grad, Tensor<T>& m, Tensor<T>& v, std::int64_t step,
          const AdamOptions& options) {
  require(step >= 1, "adam: step counts from 1, got ", step);
  detail::adam(value, grad, m, v, step, options, nullptr);
}

// The same where the step and the learning rate lie in memory, for a step that is recorded once and replayed: step is
// state->step + 1, and options.learning_rate is not read. state (1) is on the device of the others.
template <class T>
void adam(Tensor<T>& value, const Tensor<T>& grad, Tensor<T>& m, Tensor<T>& v, const Tensor<StepState>& state,
          const AdamOptions& options) {
  require(state.shape() == Shape{1} && state.device() == value.device(), "adam: state has shape ", state.shape(),
          " on ", state.device(), ", expected [1] on ", value.device());
  detail::adam(value, grad, m, v, 0, options, state.data());
}

}  // namespace cuttle
