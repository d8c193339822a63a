// gradcheck: gradients of the tape against central differences, in double.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "cuttle/autograd/tape.hpp"

namespace cuttle {

// Compares, for every element x_i of every input, the tape's d f/d x_i with (f(x+h) - f(x-h)) / 2h, where f maps the
// inputs (as Vars) to a Var of any shape, reduced to a scalar by fixed weights so that no gradient cancels by symmetry.
// Returns "" or a sentence naming the first input and element off by more than
// absolute + relative * the largest gradient of that input. Inputs must keep away from kinks by more than h.
template <class F>
std::string gradcheck(F&& f, const std::vector<Tensor<double>>& inputs, double relative = 1e-6, double absolute = 1e-8,
                      double h = 1e-5) {
  const auto weight = [](std::int64_t i) { return std::sin(1.0 + 0.7 * static_cast<double>(i)); };
  const auto value = [&](const std::vector<Tensor<double>>& at) {
    std::vector<Var<double>> constants(at.begin(), at.end());
    const Tensor<double> y = f(constants).value();
    double sum = 0;
    for (std::int64_t i = 0; i < y.numel(); ++i) sum += weight(i) * y.data()[i];
    return sum;
  };

  Tape<double> tape;
  std::vector<Var<double>> leaves;
  for (const Tensor<double>& input : inputs) leaves.push_back(tape.leaf(input));
  const Var<double> y = f(leaves);
  Tensor<double> sum = Tensor<double>::full({1}, value(inputs));
  tape.backward(tape.record(sum, [&y, &weight](Tape<double>& recorder, const Tensor<double>&) {
    Tensor<double> dy = Tensor<double>::empty(y.shape());
    for (std::int64_t i = 0; i < dy.numel(); ++i) dy.data()[i] = weight(i);
    recorder.add_grad(y, dy);
  }));

  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const Tensor<double> gradient = tape.grad(leaves[k]);
    double largest = 0;
    for (double g : gradient.span()) largest = std::max(largest, std::abs(g));
    for (std::int64_t i = 0; i < gradient.numel(); ++i) {
      std::vector<Tensor<double>> moved = inputs;
      moved[k] = inputs[k].clone();
      moved[k].data()[i] = inputs[k].data()[i] + h;
      const double above = value(moved);
      moved[k].data()[i] = inputs[k].data()[i] - h;
      const double numeric = (above - value(moved)) / (2 * h), analytic = gradient.data()[i];
      if (!(std::abs(numeric - analytic) <= absolute + relative * largest))
        return concat("input ", k, " of shape ", inputs[k].shape(), ", element ", i, ": the tape has ", analytic,
                      ", central differences ", numeric);
    }
  }
  return "";
}

}  // namespace cuttle
