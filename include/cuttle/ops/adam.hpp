// adam: one step of Adam over flat arrays, in place.
#pragma once

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

struct AdamOptions {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
};

// g = grad + weight_decay*value; m = beta1*m + (1-beta1)*g; v = beta2*v + (1-beta2)*g^2;
// value -= learning_rate/(1-beta1^step) * m / (sqrt(v)/sqrt(1-beta2^step) + epsilon)
// (Kingma and Ba 2015, algorithm 1, as PyTorch's Adam). All of one shape; step counts from 1.
template <class T>
void adam(Tensor<T>& value, const Tensor<T>& grad, Tensor<T>& m, Tensor<T>& v, std::int64_t step,
          const AdamOptions& options) {
  require(grad.shape() == value.shape() && m.shape() == value.shape() && v.shape() == value.shape(),
          "adam: value has shape ", value.shape(), ", grad ", grad.shape(), ", m ", m.shape(), ", v ", v.shape());
  require(step >= 1, "adam: step counts from 1, got ", step);
  detail::require_on_cpu("adam", value, grad, m, v);
  cpu::adam(seam::AdamArgs<T>{value.numel(), value.data(), grad.data(), m.data(), v.data(), step, options.learning_rate,
                              options.beta1, options.beta2, options.epsilon, options.weight_decay});
}

}  // namespace cuttle
