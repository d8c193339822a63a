// The comparator is what most tests lean on, so it is shown here to reject everything that it should.
#include "tests/support/compare.hpp"

#include <limits>

#include "tests/support/catch.hpp"

using cuttle::Tensor;
using cuttle_test::mismatch;
using cuttle_test::Tolerance;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

// Comparing {1, x, -4} with {1, y, -4}.
std::string compare(double x, double y, Tolerance tolerance) {
  return mismatch(Tensor<double>::from({3}, {1, x, -4}), Tensor<double>::from({3}, {1, y, -4}), tolerance);
}

}  // namespace

TEST_CASE("compare: equal tensors match at tolerance zero") {
  CHECK(compare(2, 2, {}) == "");
  CHECK(mismatch(Tensor<float>::empty({0, 3}), Tensor<float>::empty({0, 3}), {}) == "");
  CHECK(mismatch(Tensor<float>::from({1}, {0.5f}), Tensor<double>::from({1}, {0.5}), {}) == "");
}

TEST_CASE("compare: a difference counts from the tolerance on, in both directions") {
  // 1/8 is exact, so the limit itself is allowed.
  CHECK(compare(2.125, 2, {.absolute = 0.125}) == "");
  CHECK(compare(1.875, 2, {.absolute = 0.125}) == "");
  CHECK(compare(2.126, 2, {.absolute = 0.125}) != "");
  CHECK(compare(1.874, 2, {.absolute = 0.125}) != "");
  // The largest entry is 4, and the two kinds of tolerance add.
  CHECK(compare(2.5, 2, {.relative_to_largest = 0.125}) == "");
  CHECK(compare(2.501, 2, {.relative_to_largest = 0.125}) != "");
  CHECK(compare(2.625, 2, {.relative_to_largest = 0.125, .absolute = 0.125}) == "");
  CHECK(compare(2.626, 2, {.relative_to_largest = 0.125, .absolute = 0.125}) != "");
}

TEST_CASE("compare: any other shape is refused, even of as many elements") {
  const auto expected = Tensor<float>::zeros({2, 3});
  CHECK(mismatch(Tensor<float>::zeros({3, 2}), expected, {.absolute = 100}) != "");
  CHECK(mismatch(Tensor<float>::zeros({6}), expected, {.absolute = 100}) != "");
  CHECK(mismatch(Tensor<float>::zeros({2, 3, 1}), expected, {.absolute = 100}) != "");
  CHECK(mismatch(Tensor<float>::zeros({2, 2}), expected, {.absolute = 100}) != "");
}

TEST_CASE("compare: NaN matches NaN alone, whatever the tolerance") {
  const Tolerance wide{.relative_to_largest = 1e30, .absolute = 1e30};
  CHECK(compare(not_a_number, 2, wide) != "");
  CHECK(compare(2, not_a_number, wide) != "");
  CHECK(compare(not_a_number, not_a_number, {}) == "");
  CHECK(compare(not_a_number, infinity, wide) != "");
}

TEST_CASE("compare: an infinity matches itself alone, and does not widen the tolerance") {
  const Tolerance wide{.relative_to_largest = 1e30, .absolute = 1e30};
  CHECK(compare(infinity, 2, wide) != "");
  CHECK(compare(-infinity, 2, wide) != "");
  CHECK(compare(2, infinity, wide) != "");
  CHECK(compare(-infinity, infinity, wide) != "");
  CHECK(compare(infinity, infinity, {}) == "");
  // Were infinity the largest entry, 0.125 of it would allow anything.
  const auto actual = Tensor<double>::from({3}, {infinity, 3, 1});
  CHECK(mismatch(actual, Tensor<double>::from({3}, {infinity, 1, 1}), {.relative_to_largest = 0.125}) != "");
}

TEST_CASE("compare: the worst element is the one named") {
  const auto actual = Tensor<double>::from({4}, {1, 2.5, 7, 4});
  const std::string text = mismatch(actual, Tensor<double>::from({4}, {1, 2, 3, 4}), {.absolute = 0.1});
  CHECK(text.find("element 2 is 7 where 3 is expected") != std::string::npos);
}
