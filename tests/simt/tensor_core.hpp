// The tensor core's tile product. Layout and products are exact; the sum is off by a seeded part of what kernels may
// assume at most (mma_error in vocab), because a real tensor core's rounding is not documented: what a kernel proves
// from that assumption is tested at its limit.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tests/simt/half.hpp"
#include "tests/simt/machine.hpp"

namespace cuttle::kernels {

constexpr double mma_error = 4;
struct MmaA {
  std::uint32_t at[4];
};
struct MmaB {
  std::uint32_t at[2];
};
struct MmaD {
  float at[4];
};

}  // namespace cuttle::kernels

namespace cuttle_simt {

using cuttle::kernels::MmaA;
using cuttle::kernels::MmaB;
using cuttle::kernels::MmaD;

// Which part of the error bound a sum is off by: uniform in [low, high], of [-1, 1]. Equal operands give equal results,
// as on a device.
struct MmaError {
  double low = -1, high = 1;
  std::uint64_t seed = 0;
};
inline MmaError mma_error_now;
inline void set_mma_error(double low, double high, std::uint64_t seed = 0) { mma_error_now = {low, high, seed}; }

// exact + part * bound in float, no further than bound from exact; bound = mma_error * K * 2^-24 * magnitude.
inline float mma_rounded(double exact, double magnitude, int K) {
  constexpr double place = 0x1p-24;
  const double bound = cuttle::kernels::mma_error * K * place * magnitude;
  if (!std::isfinite(bound)) return static_cast<float>(exact);
  // Mixed as SplitMix64 does.
  std::uint64_t z = (mma_error_now.seed ^ std::bit_cast<std::uint64_t>(exact)) * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 32) + std::bit_cast<std::uint64_t>(magnitude);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  const double uniform = static_cast<double>((z ^ z >> 31) >> 11) * 0x1p-53;
  const double part = mma_error_now.low + (mma_error_now.high - mma_error_now.low) * uniform;
  const double room = std::fmax(bound - 1.01 * place * (std::fabs(exact) + bound), 0.0);
  return static_cast<float>(exact + part * room);
}

// What a lane brings to mma.
struct MmaOperand {
  MmaD d;
  MmaA a;
  MmaB b;
};

// value(word, part): the number in part 0 or 1 of a word; `parts` to a word.
template <std::size_t K, class Value>
void mma_complete(MmaOperand* const* lanes, Value&& value) {
  constexpr int depth = K, parts = depth / 8, half = depth / 2, rows = 16, columns = 8;
  static_assert(parts == 1 || parts == 2);
  typedef double Row __attribute__((vector_size(columns * sizeof(double))));
  double a[rows][K];
  Row b[K], sum[rows], magnitude[rows];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, place = lane % 4;
    const MmaOperand& operand = *lanes[lane];
    for (int part = 0; part < parts; ++part) {
      for (int i = 0; i < 4; ++i)
        a[group + i % 2 * 8][place * parts + part + i / 2 * half] = value(operand.a.at[i], part);
      for (int i = 0; i < 2; ++i) b[place * parts + part + i * half][group] = value(operand.b.at[i], part);
    }
    for (int i = 0; i < 4; ++i) {
      const double d = static_cast<double>(operand.d.at[i]);
      sum[group + i / 2 * 8][place * 2 + i % 2] = d;
      magnitude[group + i / 2 * 8][place * 2 + i % 2] = std::fabs(d);
    }
  }
  for (int row = 0; row < rows; ++row)
    for (int k = 0; k < depth; ++k) {
      const Row product = a[row][k] * b[k];
      sum[row] += product;
      magnitude[row] += product < 0 ? -product : product;
    }
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      lanes[lane]->d.at[i] = mma_rounded(sum[row][column], magnitude[row][column], depth);
    }
}

inline void mma_f16_complete(MmaOperand* const* lanes) {
  mma_complete<16>(lanes, [](std::uint32_t word, int part) {
    return static_cast<double>(
        to_float(cuttle::kernels::half_t{static_cast<std::uint16_t>(part ? word >> 16 : word & 0xFFFF)}));
  });
}
inline void mma_bf16_complete(MmaOperand* const* lanes) {
  mma_complete<16>(lanes, [](std::uint32_t word, int part) {
    return static_cast<double>(
        to_float(cuttle::kernels::bf16_t{static_cast<std::uint16_t>(part ? word >> 16 : word & 0xFFFF)}));
  });
}
inline void mma_tf32_complete(MmaOperand* const* lanes) {
  mma_complete<8>(
      lanes, [](std::uint32_t word, int) { return static_cast<double>(std::bit_cast<float>(word & 0xFFFFE000u)); });
}

// What a lane brings to ldmatrix, the eight values of a row, and what it takes back.
struct LdmatrixOperand {
  std::uint32_t row[4];
  MmaA to;
};
inline void ldmatrix_complete(LdmatrixOperand* const* lanes) {
  for (int lane = 0; lane < 32; ++lane)
    for (int matrix = 0; matrix < 4; ++matrix) lanes[lane]->to.at[matrix] = lanes[matrix * 8 + lane / 4]->row[lane % 4];
}

}  // namespace cuttle_simt
