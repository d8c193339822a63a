// Test inputs: seeded, of any type, the same on every machine.
#pragma once

#include <cstdint>

#include "cuttle/core/random.hpp"
#include "cuttle/core/tensor.hpp"

namespace cuttle_test {

// Uniform in [low, high).
template <class T>
cuttle::Tensor<T> uniform_tensor(const cuttle::Shape& shape, std::uint64_t seed, double low = -1, double high = 1) {
  auto tensor = cuttle::Tensor<T>::empty(shape);
  for (std::int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data()[i] =
        static_cast<T>(low + (high - low) * cuttle::random_uniform_double(seed, 0, static_cast<std::uint64_t>(i)));
  return tensor;
}

// Whole numbers low..high, so that sums are exact.
template <class T>
cuttle::Tensor<T> integer_tensor(const cuttle::Shape& shape, std::uint64_t seed, int low = -3, int high = 3) {
  auto tensor = cuttle::Tensor<T>::empty(shape);
  for (std::int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data()[i] =
        static_cast<T>(low + static_cast<int>(cuttle::random_below(static_cast<std::uint32_t>(high - low + 1), seed, 0,
                                                                   static_cast<std::uint64_t>(i))));
  return tensor;
}

}  // namespace cuttle_test
