// The one comparator of the tests: rejects other shapes, NaN and infinities where the reference has none, and reports
// the worst element. mismatch() returns "" when all is well, so that the comparator itself can be tested.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "cuttle/core/tensor.hpp"

namespace cuttle_test {

// |actual - expected| <= absolute + relative_to_largest * max|expected|, for every element.
struct Tolerance {
  double relative_to_largest = 0;
  double absolute = 0;
};

template <class A, class E>
std::string mismatch(const cuttle::Tensor<A>& actual, const cuttle::Tensor<E>& expected, Tolerance tolerance) {
  using cuttle::concat;
  if (!(actual.shape() == expected.shape()))
    return concat("shape ", actual.shape(), " where ", expected.shape(), " is expected");
  const auto a = actual.to(cuttle::Device::cpu());
  const auto e = expected.to(cuttle::Device::cpu());
  double largest = 0;
  for (std::int64_t i = 0; i < e.numel(); ++i)
    if (std::isfinite(static_cast<double>(e.data()[i])))
      largest = std::max(largest, std::abs(static_cast<double>(e.data()[i])));
  const double allowed = tolerance.absolute + tolerance.relative_to_largest * largest;
  double worst = -1;
  std::int64_t worst_index = -1;
  for (std::int64_t i = 0; i < e.numel(); ++i) {
    const double x = static_cast<double>(a.data()[i]), y = static_cast<double>(e.data()[i]);
    if (std::isnan(x) != std::isnan(y)) return concat("element ", i, " is ", x, " where ", y, " is expected");
    if (std::isnan(y) || x == y) continue;
    const double difference = std::abs(x - y);
    if (!(difference <= allowed) && difference > worst) {
      worst = difference;
      worst_index = i;
    }
  }
  if (worst_index < 0) return "";
  return concat("element ", worst_index, " is ", static_cast<double>(a.data()[worst_index]), " where ",
                static_cast<double>(e.data()[worst_index]), " is expected: difference ", worst, " > ", allowed,
                " (largest entry ", largest, ")");
}

// The same shape and bytes, wherever the two are.
template <class T>
bool same_bits(const cuttle::Tensor<T>& actual, const cuttle::Tensor<T>& expected) {
  if (!(actual.shape() == expected.shape())) return false;
  const auto a = actual.to(cuttle::Device::cpu()), e = expected.to(cuttle::Device::cpu());
  return a.numel() == 0 || std::memcmp(a.data(), e.data(), static_cast<std::size_t>(a.numel()) * sizeof(T)) == 0;
}

}  // namespace cuttle_test

// CHECK_CLOSE(actual, expected, {relative_to_largest, absolute})
#define CHECK_CLOSE(actual, expected, ...) CHECK(cuttle_test::mismatch(actual, expected, __VA_ARGS__) == "")
