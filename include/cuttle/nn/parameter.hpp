// Parameter and the arena that holds all of a model's parameters in one flat block.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "cuttle/autograd/tape.hpp"

namespace cuttle::nn {

// A tensor that an optimiser changes; one with trainable = false only ever is a constant.
//
// A module is any type with
//   template <class Visit> void parameters(Visit&& visit, const std::string& prefix)
// which calls visit(prefix + name, parameter) for each of its parameters, by PyTorch's names and in PyTorch's order.
template <class T>
struct Parameter {
  Tensor<T> value;
  Tensor<T> grad;
  bool trainable = true;

  // The parameter in a computation recorded on `tape`; with no tape, a constant.
  Var<T> on(Tape<T>* tape) const {
    if (!tape || !trainable) return value;
    require(grad.defined(), "Parameter: a model is trained through a ParameterArena, which holds its gradients");
    return tape->leaf(value, grad);
  }
};

// Copies every parameter of a module to the device, where it is not there already.
template <class T, class Module>
void move_to(Module& module, Device device) {
  module.parameters([&](const std::string&, Parameter<T>& parameter) { parameter.value = parameter.value.to(device); },
                    "");
}

// Moves the trainable parameters of a module into one block of values and one of gradients, in the order of visiting,
// so that an optimiser's step is one loop. The module's parameters become views of the blocks; the others move to the
// device as they are.
template <class T>
class ParameterArena {
 public:
  template <class Module>
  explicit ParameterArena(Module& module, Device device = Device::cpu()) {
    std::vector<Parameter<T>*> parameters;
    std::int64_t n = 0;
    module.parameters(
        [&](const std::string&, Parameter<T>& parameter) {
          if (!parameter.trainable) {
            parameter.value = parameter.value.to(device);
            return;
          }
          parameters.push_back(&parameter);
          n += padded(parameter.value);
        },
        "");
    values_ = Tensor<T>::zeros({n}, device);
    grads_ = Tensor<T>::zeros({n}, device);
    std::int64_t first = 0;
    for (Parameter<T>* parameter : parameters) {
      const Shape shape = parameter->value.shape();
      Tensor<T> value = values_.slice(first, first + shape.numel()).reshape(shape);
      value.copy_from(parameter->value);
      parameter->value = value;
      parameter->grad = grads_.slice(first, first + shape.numel()).reshape(shape);
      first += padded(value);
    }
  }

  // All values and all gradients, (n) each; between parameters there may be zeros, whose gradients are zero.
  Tensor<T>& values() noexcept { return values_; }
  Tensor<T>& grads() noexcept { return grads_; }
  void zero_grad() { grads_.fill(T(0)); }

 private:
  // Extents are rounded up, so that every parameter is aligned as memory of its own would be.
  static std::int64_t padded(const Tensor<T>& parameter) { return (parameter.numel() + 63) / 64 * 64; }

  Tensor<T> values_, grads_;
};

}  // namespace cuttle::nn
