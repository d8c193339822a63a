// Which elements of an axis a bilinearly resized axis reads (PyTorch's interpolate, align_corners = false), in whole
// numbers, so that it is the same on every device. C++17; constexpr.
#pragma once

#include <cstdint>

namespace cuttle::seam {

constexpr std::int32_t most_bilinear = 1 << 14;  // elements of either axis

// An output element is (1 - fraction) * x[first] + fraction * x[second].
struct BilinearTap {
  std::int32_t first, second;
  double fraction;
};

// Output element i of `out` lies at s = max(0, (i + 1/2) * in / out - 1/2) of the `in` elements; first = floor(s) and
// fraction = s - first.
constexpr BilinearTap bilinear_tap(std::int32_t i, std::int32_t in, std::int32_t out) noexcept {
  const std::int32_t n = (2 * i + 1) * in - out, s = n < 0 ? 0 : n;  // 2 * out times the position
  const std::int32_t first = s / (2 * out);
  return {first, first + 1 < in ? first + 1 : in - 1, static_cast<double>(s - first * 2 * out) / (2 * out)};
}

// The weight of input element k in output element i.
constexpr double bilinear_weight(std::int32_t i, std::int32_t k, std::int32_t in, std::int32_t out) noexcept {
  const BilinearTap tap = bilinear_tap(i, in, out);
  return (tap.first == k ? 1 - tap.fraction : 0) + (tap.second == k ? tap.fraction : 0);
}

// Output elements [first, last), among which are all that read input element k: those with k - 1 < s < k + 1.
struct BilinearReaders {
  std::int32_t first, last;
};
constexpr BilinearReaders bilinear_readers(std::int32_t k, std::int32_t in, std::int32_t out) noexcept {
  const std::int32_t from = ((2 * k - 1) * out / in - 1) / 2, to = ((2 * k + 3) * out / in + 1) / 2;
  return {k == 0 || from < 0 ? 0 : from, k == in - 1 || to > out ? out : to};
}

}  // namespace cuttle::seam
