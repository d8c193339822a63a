// Parameters in files: PyTorch's names, and its OIHW layout for convolution weights.
#pragma once

#include <cmath>
#include <string>

#include "cuttle/io/safetensors.hpp"
#include "cuttle/nn/parameter.hpp"
#include "cuttle/ops/permute.hpp"

namespace cuttle {

// Adds every parameter of a module, its name after `prefix`.
template <class T, class Module>
void add_state(SafetensorsWriter& file, Module& module, const std::string& prefix) {
  module.parameters(
      [&](const std::string& name, nn::Parameter<T>& parameter) {
        const Tensor<T> value = parameter.value.to(Device::cpu());
        file.add(name, value.rank() == 4 ? permute(value, {0, 3, 1, 2}) : value);
      },
      prefix);
}

// Reads every parameter of a module from the tensor of its name after `prefix`; F32 is widened where T is double.
// IoError names the file and the tensor that is missing, has another shape or holds a value that is not finite.
template <class T, class Module>
void load_state(Module& module, const SafetensorsFile& file, const std::string& prefix) {
  module.parameters(
      [&](const std::string& name, nn::Parameter<T>& parameter) {
        Tensor<T> value = file.tensor_or_widen<T>(name);
        for (const T x : value.span())
          if (!std::isfinite(x)) throw IoError(file.path(), concat("tensor \"", name, "\" holds ", x));
        if (value.rank() == 4) value = permute(value, {0, 2, 3, 1});
        if (!(value.shape() == parameter.value.shape()))
          throw IoError(file.path(), concat("tensor \"", name, "\" has shape ", value.shape(), " (channels last), not ",
                                            parameter.value.shape()));
        parameter.value.copy_from(value);
      },
      prefix);
}

}  // namespace cuttle
