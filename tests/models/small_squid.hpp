// Small SQUID networks and pictures for the tests.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/models/squid_training.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensor.hpp"

namespace cuttle_test {

// Nine patches, a memory for each behind the decoder, as in the digit configuration.
inline cuttle::SquidConfig small_digit(std::int64_t image_size) {
  cuttle::SquidConfig config;
  config.image_size = image_size;
  config.grid = 3;
  config.levels = 2;
  config.root = 4;
  config.initial_combine = 1;
  config.concat = {true, false};
  config.slots = config.decoder_slots = 8;
  config.kept = 3;
  config.decoder_memory = {{}, {cuttle::SquidDecoderMemory::Kind::patches, 9}};
  return config;
}

// Four patches and a memory for each of their windows, as in the chest radiographs' configuration.
inline cuttle::SquidConfig small_zhanglab() {
  cuttle::SquidConfig config = small_digit(32);
  config.grid = 2;
  config.root = 8;
  config.slots = 12;
  config.decoder_memory = {{}, {cuttle::SquidDecoderMemory::Kind::windows, 4}};
  return config;
}

// Gray noise around ramps that differ from image to image, (N,size,size,1).
inline cuttle::Tensor<std::uint8_t> gray_pictures(std::int64_t N, std::int64_t size, std::uint64_t seed) {
  auto images = integer_tensor<std::uint8_t>({N, size, size, 1}, seed, 0, 60);
  for (std::int64_t i = 0; i < images.numel(); ++i) {
    const std::int64_t n = i / (size * size), y = i / size % size, x = i % size;
    images.data()[i] = static_cast<std::uint8_t>(images.data()[i] + (x * (n % 3 + 1) + 2 * y + 20 * n) % 196);
  }
  return images;
}

// All that the networks hold, on the CPU, by name.
template <class T, class Module>
std::map<std::string, cuttle::Tensor<T>> state_of(Module& module) {
  std::map<std::string, cuttle::Tensor<T>> state;
  module.parameters(
      [&](const std::string& name, cuttle::nn::Parameter<T>& parameter) {
        state.emplace(name, parameter.value.to(cuttle::Device::cpu()).clone());
      },
      "");
  return state;
}

// The names of the tensors that differ in a bit, "" when there are none.
template <class T>
std::string differing(const std::map<std::string, cuttle::Tensor<T>>& a,
                      const std::map<std::string, cuttle::Tensor<T>>& b) {
  if (a.size() != b.size()) return "different numbers of tensors";
  std::string names;
  for (const auto& [name, value] : a) {
    const auto other = b.find(name);
    if (other == b.end() || !same_bits(value, other->second)) names += name + " ";
  }
  return names;
}

}  // namespace cuttle_test
