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

// Moves the trainable parameters of a module into one block of values and one of gradients, in the order of visiting,
// so that an optimiser's step is one loop. The module's parameters become views of the blocks.
template <class T>
class ParameterArena {
 public:
  template <class Module>
  explicit ParameterArena(Module& module) {
    std::vector<Parameter<T>*> parameters;
    std::int64_t n = 0;
    module.parameters(
        [&](const std::string&, Parameter<T>& parameter) {
          if (!parameter.trainable) return;
          parameters.push_back(&parameter);
          n += parameter.value.numel();
        },
        "");
    values_ = Tensor<T>::empty({n});
    grads_ = Tensor<T>::zeros({n});
    std::int64_t first = 0;
    for (Parameter<T>* parameter : parameters) {
      const Shape shape = parameter->value.shape();
      Tensor<T> value = values_.slice(first, first + shape.numel()).reshape(shape);
      value.copy_from(parameter->value);
      parameter->value = value;
      parameter->grad = grads_.slice(first, first + shape.numel()).reshape(shape);
      first += shape.numel();
    }
  }

  // All values and all gradients, (n) each.
  Tensor<T>& values() noexcept { return values_; }
  Tensor<T>& grads() noexcept { return grads_; }
  void zero_grad() { fill(grads_, T(0)); }

 private:
  Tensor<T> values_, grads_;
};

}  // namespace cuttle::nn
