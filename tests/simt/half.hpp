// The 16-bit floats: conversions that round to nearest, ties to even, and overflow to infinity.
#pragma once

#include <bit>
#include <cstdint>

namespace cuttle::kernels {

struct half_t {
  std::uint16_t bits;
};
struct bf16_t {
  std::uint16_t bits;
};

inline half_t to_half(float x) {
  const auto word = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(word >> 16 & 0x8000);
  const std::uint32_t magnitude = word & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return {0x7FFF};
  // Subnormals are multiples of 2^-24, which is the last place of a float in [1/2, 1): adding 1/2 rounds to them.
  if (magnitude < 0x38800000) {
    const float places = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(places) - 0x3F000000))};
  }
  const std::uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  if (rounded >= 0x47800000) return {static_cast<std::uint16_t>(sign | 0x7C00)};
  return {static_cast<std::uint16_t>(sign | (rounded - 0x38000000) >> 13)};
}

inline float to_float(half_t x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000) << 16;
  const std::uint32_t exponent = x.bits >> 10 & 0x1F, mantissa = x.bits & 0x3FF;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent == 0x1F ? 0xFFu : exponent + 112) << 23 | mantissa << 13);
}

inline bf16_t to_bf16(float x) {
  const auto word = std::bit_cast<std::uint32_t>(x);
  if ((word & 0x7FFFFFFF) > 0x7F800000) return {0x7FFF};
  return {static_cast<std::uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16)};
}

inline float to_float(bf16_t x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

}  // namespace cuttle::kernels
