// The step of a training run that an op draws for.
#pragma once

#include <cstdint>
#include <utility>

#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

using seam::StepState;

// The number of a training step: given, or read where the work runs, so that a recorded step can be replayed.
struct StepNumber {
  std::int64_t number = 0;
  Tensor<StepState> state;  // where defined, (1) on the device, its step counts

  StepNumber(std::int64_t step) : number(step) {}                             // NOLINT: a number is a step
  StepNumber(Tensor<StepState> step_state) : state(std::move(step_state)) {}  // NOLINT

  // Throws, in the name of op, where it is none.
  void check(const char* op) const {
    require(number >= 0 && number < std::int64_t{1} << 43, op, ": step must be in [0, 2^43), got ", number);
    require(!state.defined() || state.shape() == Shape{1}, op, ": step's state must be [1], got ", state.shape());
  }
};

}  // namespace cuttle
