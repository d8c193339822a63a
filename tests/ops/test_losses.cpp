#include <cmath>
#include <limits>

#include "cuttle/ops/losses.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::Approx;

TEST_CASE("cross_entropy: by hand, and where the exponentials overflow") {
  const auto logits = Tensor<double>::from({2, 3}, {0, std::log(2.0), std::log(5.0), 1000, 0, -1000});
  const auto labels = Tensor<std::int32_t>::from({2}, {1, 1});
  // -log(2/8) and 1000
  CHECK(cross_entropy(logits, labels).item() == Approx((std::log(4.0) + 1000) / 2).epsilon(1e-14));
  const auto gradient = cross_entropy_backward(logits, labels, Tensor<double>::full({1}, 2));
  CHECK_CLOSE(gradient, Tensor<double>::from({2, 3}, {0.125, 0.25 - 1, 0.625, 1, -1, 0}), {0, 1e-14});
  CHECK(accuracy(logits, labels) == 0);
  CHECK(accuracy(logits, Tensor<std::int32_t>::from({2}, {2, 1})) == 0.5);
  CHECK(cross_entropy(Tensor<float>::zeros({5, 8}), Tensor<std::int32_t>::zeros({5})).item() ==
        Approx(std::log(8.0)).epsilon(1e-7));
}

TEST_CASE("cross_entropy: bad labels and shapes are named") {
  const auto logits = Tensor<float>::zeros({2, 3});
  CHECK_THROWS_WITH(cross_entropy(logits, Tensor<std::int32_t>::from({2}, {0, 3})),
                    cuttle_test::contains("label 3 of row 1"));
  CHECK_THROWS_AS(cross_entropy(logits, Tensor<std::int32_t>::from({2}, {0, -1})), Error);
  CHECK_THROWS_AS(cross_entropy(logits, Tensor<std::int32_t>::from({1}, {0})), Error);
  CHECK_THROWS_AS(cross_entropy(Tensor<float>::zeros({6}), Tensor<std::int32_t>::zeros({6})), Error);
}

TEST_CASE("mean_distance: by hand, and zero gradient at zero distance") {
  const auto a = Tensor<double>::from({3, 2}, {3, 4, 1, 1, 0, 2});
  const auto b = Tensor<double>::from({3, 2}, {0, 0, 1, 1, 0, 4});
  CHECK(mean_distance(a, b).item() == Approx(7.0 / 3));
  const auto gradient = mean_distance_backward(a, b, Tensor<double>::full({1}, 3));
  CHECK_CLOSE(gradient, Tensor<double>::from({3, 2}, {0.6, 0.8, 0, 0, 0, -1}), {0, 1e-15});
  CHECK_THROWS_AS(mean_distance(a, Tensor<double>::zeros({3, 3})), Error);
}

TEST_CASE("unit_columns: each column has length one, not each row") {
  const auto unit = unit_columns(Tensor<double>::from({2, 2}, {3, 5, 4, 12}));
  CHECK_CLOSE(unit, Tensor<double>::from({2, 2}, {0.6, 5.0 / 13, 0.8, 12.0 / 13}), {0, 1e-15});
  CHECK_THROWS_WITH(unit_columns(Tensor<double>::from({2, 2}, {3, 0, 4, 0})), cuttle_test::contains("column 1"));
}
