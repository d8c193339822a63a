#include "devices.hpp"

#include <cuttle/cuttle.hpp>

std::string devices() {
  const cuttle::Device chosen = cuttle::parse_device("auto");
  const auto x = cuttle::Tensor<float>::full({3, 5}, 1.5f, chosen);
  float sum = 0;
  for (const float value : x.to(cuttle::Device::cpu()).span()) sum += value;
  if (sum != 22.5f) return "wrong";
  if (!chosen.is_cpu()) return cuttle::concat(chosen);
  try {
    cuttle::parse_device("cuda:0");
    return "there is a device, but auto is the CPU";
  } catch (const cuttle::Error& error) {
    return error.what();
  }
}
