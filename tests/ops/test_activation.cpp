// activate against the formulas, on every device.
#include "cuttle/ops/activation.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

namespace {

constexpr Activation every_activation[] = {Activation::none, Activation::relu, Activation::leaky_relu, Activation::tanh,
                                           Activation::sigmoid};

double expected_value(Activation activation, double x, double slope) {
  switch (activation) {
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::leaky_relu:
      return x >= 0 ? x : slope * x;
    case Activation::tanh:
      return std::tanh(x);
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::none:
      break;
  }
  return x;
}

double expected_slope(Activation activation, double x, double slope) {
  switch (activation) {
    case Activation::relu:
      return x > 0 ? 1 : 0;
    case Activation::leaky_relu:
      return x > 0 ? 1 : slope;
    case Activation::tanh:
      return 1 / (std::cosh(x) * std::cosh(x));
    case Activation::sigmoid:
      return 1 / (2 + std::exp(x) + std::exp(-x));
    case Activation::none:
      break;
  }
  return 1;
}

template <class T>
void check(std::int64_t n, Activation activation) {
  INFO("n " << n << ", activation " << static_cast<int>(activation));
  const auto x = uniform_tensor<T>({n}, 1, -4, 4), dy = uniform_tensor<T>({n}, 2);
  auto y = Tensor<double>::empty({n}), dx = Tensor<double>::empty({n});
  for (std::int64_t i = 0; i < n; ++i) {
    const double v = static_cast<double>(x.data()[i]);
    y.data()[i] = expected_value(activation, v, 0.2);
    dx.data()[i] = static_cast<double>(dy.data()[i]) * expected_slope(activation, v, 0.2);
  }
  // One rounding of y, a few of dx, which at |x| = 4 still has 1 - y^2 = 1.3e-3.
  const double ulp = std::is_same_v<T, float> ? 0x1p-24 : 0x1p-53;
  on_every_device([&](Device device) {
    const auto result = activate(x.to(device), activation, 0.2);
    CHECK_CLOSE(result, y, {0, 8 * ulp});
    CHECK_CLOSE(activate_backward(result, dy.to(device), activation, 0.2), dx, {0, 4 * ulp});
  });
}

}  // namespace

TEST_CASE("activate: values and derivatives at odd sizes") {
  for (const Activation activation : every_activation)
    for (const std::int64_t n : {1, 33, 129, 515}) {
      check<float>(n, activation);
      check<double>(n, activation);
    }
}

TEST_CASE("activate: kinks, limits and NaN") {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const auto x = Tensor<float>::from({5}, {0, -200, 200, -infinity, nan}), one = Tensor<float>::full({5}, 1);
  on_every_device([&](Device device) {
    const auto value = [&](Activation a) { return activate(x.to(device), a, 0.5); };
    CHECK_CLOSE(value(Activation::relu), Tensor<float>::from({5}, {0, 0, 200, 0, nan}), {});
    CHECK_CLOSE(value(Activation::leaky_relu), Tensor<float>::from({5}, {0, -100, 200, -infinity, nan}), {});
    CHECK_CLOSE(value(Activation::tanh), Tensor<float>::from({5}, {0, -1, 1, -1, nan}), {});
    CHECK_CLOSE(value(Activation::sigmoid), Tensor<float>::from({5}, {0.5, 0, 1, 0, nan}), {0, 1e-30});
    const auto slope = [&](Activation a) { return activate_backward(value(a), one.to(device), a, 0.5); };
    CHECK_CLOSE(slope(Activation::relu).slice(0, 4), Tensor<float>::from({4}, {0, 0, 1, 0}), {});
    CHECK_CLOSE(slope(Activation::leaky_relu).slice(0, 4), Tensor<float>::from({4}, {0.5, 0.5, 1, 0.5}), {});
    CHECK(activate(Tensor<float>::zeros({0, 3}, device), Activation::tanh).shape() == Shape({0, 3}));
  });
}

TEST_CASE("activate: gradcheck") {
  for (const Activation activation : every_activation)
    CHECK(gradcheck([&](const std::vector<Var<double>>& v) { return activate(v[0], activation, 0.3); },
                    {uniform_tensor<double>({3, 7}, 3, -3, 3)}) == "");
}

TEST_CASE("activate: bad arguments are named") {
  const auto x = Tensor<float>::zeros({2});
  CHECK_THROWS_WITH(activate(x, Activation::leaky_relu, -1), cuttle_test::contains("slope"));
  CHECK_THROWS_WITH(activate_backward(x, Tensor<float>::zeros({3}), Activation::relu), cuttle_test::contains("[3]"));
  const auto image = Tensor<float>::zeros({1, 1, 1, 1});
  CHECK_THROWS_WITH(conv2d(image, image, Tensor<float>(), {.activation = Activation::sigmoid}),
                    cuttle_test::contains("sigmoid is not fused"));
}
