#include <cmath>
#include <limits>
#include <vector>

#include "cuttle/ops/losses.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

namespace {

// Rounding to T, and of a sum of n terms in double.
template <class T>
double relative_tolerance(std::int64_t n) {
  return 0.5 * static_cast<double>(std::numeric_limits<T>::epsilon()) + 4 * static_cast<double>(n + 16) * 0x1p-53;
}

}  // namespace

TEST_CASE("cross_entropy: by hand, and where the exponentials overflow") {
  on_every_device([](Device device) {
    const auto logits = Tensor<double>::from({2, 3}, {0, std::log(2.0), std::log(5.0), 1000, 0, -1000}).to(device);
    const auto labels = Tensor<std::int32_t>::from({2}, {1, 1}).to(device);
    // -log(2/8) and 1000
    CHECK(cross_entropy(logits, labels).item() == Approx((std::log(4.0) + 1000) / 2).epsilon(1e-14));
    const auto gradient = cross_entropy_backward(logits, labels, Tensor<double>::full({1}, 2, device));
    CHECK_CLOSE(gradient, Tensor<double>::from({2, 3}, {0.125, 0.25 - 1, 0.625, 1, -1, 0}), {0, 1e-14});
    CHECK(accuracy(logits, labels) == 0);
    CHECK(accuracy(logits, Tensor<std::int32_t>::from({2}, {2, 1}).to(device)) == 0.5);
    CHECK(cross_entropy(Tensor<float>::zeros({5, 8}, device), Tensor<std::int32_t>::zeros({5}, device)).item() ==
          Approx(std::log(8.0)).epsilon(1e-7));
  });
}

TEMPLATE_TEST_CASE("cross_entropy: loss, count and gradient against long double", "", float, double) {
  using T = TestType;
  struct Case {
    std::int64_t B, classes;
  };
  for (const Case& c : {Case{1, 1}, {33, 8}, {515, 3}, {129, 33}, {1100, 8}}) {
    INFO("B " << c.B << ", classes " << c.classes);
    auto logits = uniform_tensor<T>({c.B, c.classes}, 1, -4, 4);
    // Rounded to halves, so that the largest is often there twice: the first one counts.
    for (std::int64_t i = 0; i < logits.numel(); ++i)
      logits.data()[i] = std::round(2 * logits.data()[i]) / 2 + T(0.001) * static_cast<T>(i / c.classes % 7);
    const auto labels = cuttle_test::integer_tensor<std::int32_t>({c.B}, 2, 0, static_cast<int>(c.classes - 1));
    long double loss = 0;
    std::int64_t right = 0;
    Tensor<double> gradient = Tensor<double>::empty(logits.shape());
    for (std::int64_t b = 0; b < c.B; ++b) {
      const T* row = logits.data() + b * c.classes;
      const std::int32_t label = labels.data()[b];
      long double sum = 0;
      bool first_largest = true;
      for (std::int64_t i = 0; i < c.classes; ++i) {
        sum += std::exp(static_cast<long double>(row[i]));
        if (row[i] > row[label] || (row[i] == row[label] && i < label)) first_largest = false;
      }
      loss += std::log(sum) - static_cast<long double>(row[label]);
      right += first_largest;
      for (std::int64_t i = 0; i < c.classes; ++i)
        gradient.data()[b * c.classes + i] = static_cast<double>(
            -3 * (std::exp(static_cast<long double>(row[i])) / sum - (i == label)) / static_cast<long double>(c.B));
    }
    loss /= static_cast<long double>(c.B);
    on_every_device([&](Device device) {
      const auto x = logits.to(device);
      const auto y = labels.to(device);
      const auto result = classify(x, y);
      CHECK_CLOSE(result.loss, Tensor<double>::full({1}, static_cast<double>(loss)),
                  {relative_tolerance<T>(c.B), 1e-15});
      CHECK(static_cast<std::int64_t>(result.right.item()) == right);
      CHECK_CLOSE(cross_entropy_backward(x, y, Tensor<T>::full({1}, T(-3), device)), gradient,
                  {relative_tolerance<T>(c.classes), 1e-18});
    });
  }
}

TEST_CASE("cross_entropy: bad labels and shapes are named; a device that the host cannot look into says NaN") {
  const auto logits = Tensor<float>::zeros({2, 3});
  for (const std::int32_t bad : {3, -1}) {
    const auto labels = Tensor<std::int32_t>::from({2}, {0, bad});
    on_every_device([&](Device device) {
      if (device.is_cpu())
        CHECK_THROWS_WITH(cross_entropy(logits, labels),
                          concat("cross_entropy: label ", bad, " of row 1 is not one of 3 classes"));
      else
        CHECK(std::isnan(cross_entropy(logits.to(device), labels.to(device)).item()));
    });
  }
  CHECK_THROWS_AS(cross_entropy(logits, Tensor<std::int32_t>::from({1}, {0})), Error);
  CHECK_THROWS_AS(cross_entropy(Tensor<float>::zeros({6}), Tensor<std::int32_t>::zeros({6})), Error);
}

TEST_CASE("mean_distance: by hand, and zero gradient at zero distance") {
  const auto a = Tensor<double>::from({3, 2}, {3, 4, 1, 1, 0, 2});
  const auto b = Tensor<double>::from({3, 2}, {0, 0, 1, 1, 0, 4});
  on_every_device([&](Device device) {
    CHECK(mean_distance(a.to(device), b.to(device)).item() == Approx(7.0 / 3));
    const auto gradient = mean_distance_backward(a.to(device), b.to(device), Tensor<double>::full({1}, 3, device));
    CHECK_CLOSE(gradient, Tensor<double>::from({3, 2}, {0.6, 0.8, 0, 0, 0, -1}), {0, 1e-15});
  });
  CHECK_THROWS_AS(mean_distance(a, Tensor<double>::zeros({3, 3})), Error);
}

TEMPLATE_TEST_CASE("mean_distance: loss and gradient against long double", "", float, double) {
  using T = TestType;
  struct Case {
    std::int64_t B, D;
  };
  for (const Case& c : {Case{1, 1}, {33, 5}, {129, 64}, {515, 33}, {70, 1}}) {
    INFO("B " << c.B << ", D " << c.D);
    const auto a = uniform_tensor<T>({c.B, c.D}, 1), b = uniform_tensor<T>({c.B, c.D}, 2);
    long double loss = 0;
    Tensor<double> gradient = Tensor<double>::empty(a.shape());
    for (std::int64_t row = 0; row < c.B; ++row) {
      const auto difference = [&](std::int64_t d) {
        return static_cast<long double>(a.data()[row * c.D + d]) - static_cast<long double>(b.data()[row * c.D + d]);
      };
      long double squared = 0;
      for (std::int64_t d = 0; d < c.D; ++d) squared += difference(d) * difference(d);
      loss += std::sqrt(squared);
      for (std::int64_t d = 0; d < c.D; ++d)
        gradient.data()[row * c.D + d] =
            static_cast<double>(0.5L * difference(d) / std::sqrt(squared) / static_cast<long double>(c.B));
    }
    loss /= static_cast<long double>(c.B);
    on_every_device([&](Device device) {
      const auto x = a.to(device), y = b.to(device);
      CHECK_CLOSE(mean_distance(x, y), Tensor<double>::full({1}, static_cast<double>(loss)),
                  {relative_tolerance<T>(c.B + c.D)});
      CHECK_CLOSE(mean_distance_backward(x, y, Tensor<T>::full({1}, T(0.5), device)), gradient,
                  {relative_tolerance<T>(c.D)});
    });
  }
}

TEMPLATE_TEST_CASE("unit_columns: each column has length one, not each row", "", float, double) {
  on_every_device([](Device device) {
    const auto by_hand = unit_columns(Tensor<double>::from({2, 2}, {3, 5, 4, 12}).to(device));
    CHECK_CLOSE(by_hand, Tensor<double>::from({2, 2}, {0.6, 5.0 / 13, 0.8, 12.0 / 13}), {0, 1e-15});
    for (const Shape& shape : {Shape{1, 1}, Shape{33, 65}, Shape{64, 64}, Shape{129, 3}}) {
      const auto weight = uniform_tensor<TestType>(shape, 3, 0.5, 1.5);
      Tensor<double> expected = Tensor<double>::empty(shape);
      for (std::int64_t c = 0; c < shape[1]; ++c) {
        long double squared = 0;
        for (std::int64_t o = 0; o < shape[0]; ++o) {
          const long double w = weight.data()[o * shape[1] + c];
          squared += w * w;
        }
        for (std::int64_t o = 0; o < shape[0]; ++o)
          expected.data()[o * shape[1] + c] =
              static_cast<double>(static_cast<long double>(weight.data()[o * shape[1] + c]) / std::sqrt(squared));
      }
      CHECK_CLOSE(unit_columns(weight.to(device)), expected, {relative_tolerance<TestType>(shape[0])});
    }
  });
}

TEST_CASE("unit_columns: a column of zeros is an error where the host can look, NaN where it cannot") {
  const auto weight = Tensor<double>::from({2, 2}, {3, 0, 4, 0});
  on_every_device([&](Device device) {
    if (device.is_cpu()) {
      CHECK_THROWS_WITH(unit_columns(weight), cuttle_test::contains("column 1"));
      return;
    }
    const auto unit = unit_columns(weight.to(device)).to(Device::cpu());
    CHECK(unit.data()[0] == Approx(0.6));
    CHECK((std::isnan(unit.data()[1]) && std::isnan(unit.data()[3])));
  });
}
