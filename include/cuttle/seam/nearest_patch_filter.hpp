// The fp16 filter of nearest_patch on a device with tensor cores: its sizes, and the bound by which it drops rows, with
// the proof that it never drops an answer. C++17; constexpr templates, so that kernels and host code share them.
//
// The answer is the k rows y that come first by (d^2, row index), d^2 = sum_i fma((double)x_i - (double)y_i, same, acc)
// in index order. The filter works on X = s(x - c) and Y = s(y - c), c the mean of the bank and s a power of two that
// brings the largest |Y_i| into [1/2, 1), and of these it keeps x^ and y^, rounded to fp16 and cut off at +-2^15. Then
//   |x^ - y^|^2 = |x^|^2 - 2 v,  v(x, y) = x^.y^ - |y^|^2/2,
// which the tensor core computes like a matrix product; of each block of 128 rows only the largest v is kept. Blocks
// with a v too small for any of their rows to matter are dropped, the rows of the others ranked by d^2.
//
// Bounds, for D <= 4096. A query has k rows ranked, the last at d_k.
//  1. d^2 of the definition is within a factor (1 + 2^-53)^(D+3) of the true |x - y|^2, underflow apart, which adds
//     less than 2^-1062. So rows that can still enter have |X - Y| = s |x - y| <= reach = s d_k (1 + 2^-30) + 2^-60: s
//     is at most 2^400.
//  2. Let r_x >= |X - x^| and r_y >= |Y - y^|, as measured in double, whatever the rounding and even where a value was
//     cut off. In double X is off by a factor within 1 +- 2^-53, and so is its difference from x^; the sum of D squares
//     by one within 1 +- 2^-40. Hence residual_bound: sqrt(measured) (1 + 2^-38) + 2^-50 |x^| + 2^-60 is at least
//     |X - x^|. By the triangle inequality rows that can enter have
//       |x^ - y^| <= A = reach + r_x + r_y,  that is v >= (|x^|^2 - A^2) / 2.
//  3. The tensor core starts at h, -|y^|^2/2 rounded to float, a factor within 1 +- 2^-23, and takes n = ceil(D/16)
//     steps of 16 products. A step is off by at most e = 16 mma_error 2^-24 times |sum so far| + sum |products|: the
//     assumption that kernels/vocab.cuh states. With M = |h| + sum_i |x^_i y^_i|, induction gives
//     error_j <= (1 + e) error_(j-1) + e M, so error_n <= M ((1 + e)^n - 1) <= M (g + g^2) for
//     g = n e = mma_error D 2^-24 <= 1/16, D rounded up to a multiple of 16. By Cauchy and Schwarz, and with what h is
//     off, what is computed is within
//       E = gamma (|x^||y^| + |y^|^2/2),  gamma = g + g^2 + 2^-22,
//     of v, and the largest of a block is no smaller than that of the row in question.
//  4. norm_bound is at least |x^|, by a factor below 1 + 2^-37. In double, (norm^2 - A^2)/2 - E - 2^-35 (norm^2 + A^2)
//     is at most (|x^|^2 - A^2)/2 - E: its roundings are a few 2^-53 of norm^2 + A^2 and of E, and gamma is 2^-24
//     larger than item 3 needs.
// Blocks whose largest v is below least_value hold no answer.
#pragma once

#include <cmath>
#include <cstdint>

namespace cuttle::seam {

// Rows of the bank come in blocks of 128, queries in tiles of 128, both in fp16 with D padded by zeros to whole steps
// of the tensor core.
constexpr std::int64_t filter_rows = 128, filter_queries = 128, filter_step = 16;

constexpr std::int64_t filter_blocks(std::int64_t N) noexcept { return (N + filter_rows - 1) / filter_rows; }
constexpr std::int64_t filter_dim(std::int64_t D) noexcept { return (D + filter_step - 1) / filter_step * filter_step; }

// Where fp16 values of queries are cut off.
constexpr double filter_largest = 0x1p15;

// A float at least x, 0 <= x < 2^127.
template <class Real>
constexpr float round_up(Real x) noexcept {
  return static_cast<float>(x * (1 + Real(0x1p-22)) + Real(0x1p-120));
}

// At least |x^|, from the sum of squares in double, added in any order.
template <class Real>
constexpr Real norm_bound(Real squared) noexcept {
  return std::sqrt(squared) * (1 + Real(0x1p-38));
}

// r_x, from the sum of the squares of s(x - c) - x^ in double.
template <class Real>
constexpr Real residual_bound(Real squared, Real norm) noexcept {
  return std::fma(Real(0x1p-50), norm, std::fma(std::sqrt(squared), 1 + Real(0x1p-38), Real(0x1p-60)));
}

// At least s times the true distance of any row whose d^2 is at most `squared`.
template <class Real>
constexpr Real filter_reach(Real scale, Real squared) noexcept {
  return std::fma(scale * std::sqrt(squared), 1 + Real(0x1p-30), Real(0x1p-60));
}

// gamma of item 3. mma_error is the factor that kernels/vocab.cuh assumes.
template <class Real>
constexpr Real filter_gamma(Real mma_error, std::int64_t D) noexcept {
  const Real g = mma_error * static_cast<Real>(filter_dim(D)) * Real(0x1p-24);
  return std::fma(g, g, g) + Real(0x1p-22);
}

// |x^| and r_x of a query; or at least the |y^| and r_y of all rows of a block.
template <class Real>
struct FilterBound {
  Real norm, residual;
};

// Blocks whose largest v, as computed, is below this hold no row within reach.
template <class Real>
constexpr Real least_value(Real reach, FilterBound<Real> query, FilterBound<Real> block, Real gamma) noexcept {
  const Real A = reach + query.residual + block.residual;
  const Real norms = query.norm * query.norm, far = A * A;
  const Real E = gamma * block.norm * std::fma(Real(0.5), block.norm, query.norm);
  return std::fma(Real(-0x1p-35), norms + far, std::fma(Real(0.5), norms - far, -E));
}

}  // namespace cuttle::seam
