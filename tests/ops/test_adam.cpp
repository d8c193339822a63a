#include "cuttle/ops/adam.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::same_bits;
using cuttle_test::uniform_tensor;

namespace {

constexpr int steps = 10;
const AdamOptions options{.learning_rate = 0.01, .weight_decay = 0.1};

template <class T>
Tensor<T> grad_of(int step, std::int64_t n) {
  return uniform_tensor<T>({n}, 100 + static_cast<std::uint64_t>(step));
}

template <class T>
struct Parameters {
  Tensor<T> value, m, v;
};

// Ten steps; where a state is used, it lives on the device and steps are counted there.
template <class T>
Parameters<T> run(Device device, std::int64_t n, bool with_state) {
  Parameters<T> p{uniform_tensor<T>({n}, 4).to(device), Tensor<T>::zeros({n}, device), Tensor<T>::zeros({n}, device)};
  AdamOptions used = options;
  if (with_state) used.learning_rate = 1e9;  // the state's counts
  for (int step = 1; step <= steps; ++step) {
    const auto grad = grad_of<T>(step, n).to(device);
    if (with_state) {
      const auto state = Tensor<StepState>::from({1}, {StepState{step - 1, options.learning_rate}}).to(device);
      adam(p.value, grad, p.m, p.v, state, used);
    } else {
      adam(p.value, grad, p.m, p.v, step, used);
    }
  }
  return p;
}

}  // namespace

TEST_CASE("adam: ten steps of a parameter against the recurrence in long double") {
  const std::int64_t n = 515;
  Tensor<double> expected = Tensor<double>::empty({n});
  const auto start = uniform_tensor<double>({n}, 4);
  std::vector<Tensor<double>> grads;
  for (int step = 1; step <= steps; ++step) grads.push_back(grad_of<double>(step, n));
  for (std::int64_t i = 0; i < n; ++i) {
    long double p = start.data()[i], m = 0, v = 0;
    for (int step = 1; step <= steps; ++step) {
      const long double g = grads[static_cast<std::size_t>(step - 1)].data()[i] + 0.1L * p;
      m = 0.9L * m + 0.1L * g;
      v = 0.999L * v + 0.001L * g * g;
      p -= 0.01L * (m / (1 - std::pow(0.9L, step))) / (std::sqrt(v / (1 - std::pow(0.999L, step))) + 1e-8L);
    }
    expected.data()[i] = static_cast<double>(p);
  }
  on_every_device([&](Device device) {
    for (const bool with_state : {false, true})
      CHECK_CLOSE(run<double>(device, n, with_state).value, expected, {0, 1e-13});
  });
}

TEMPLATE_TEST_CASE("adam: every device has the CPU's bits", "", float, double) {
  const std::int64_t n = GENERATE(0, 1, 3, 33, 1030);
  const auto expected = run<TestType>(Device::cpu(), n, false);
  on_every_device([&](Device device) {
    const auto p = run<TestType>(device, n, false);
    CHECK(same_bits(p.value, expected.value));
    CHECK(same_bits(p.m, expected.m));
    CHECK(same_bits(p.v, expected.v));
    // An ulp of the device's own pow in the rates, and its rounding: 4 units of values below 2 after ten steps.
    const auto by_state = run<TestType>(device, n, true);
    const double allowed = 4 * static_cast<double>(std::numeric_limits<TestType>::epsilon());
    CHECK_CLOSE(by_state.value, expected.value, {0, allowed});
    CHECK_CLOSE(by_state.m, expected.m, {0, allowed});
    CHECK_CLOSE(by_state.v, expected.v, {0, allowed});
  });
}

TEST_CASE("adam: slices that packs cannot start at") {
  const auto grad = uniform_tensor<float>({8}, 1);
  Tensor<float> expected = Tensor<float>::full({7}, 1), m = Tensor<float>::zeros({7}), v = Tensor<float>::zeros({7});
  adam(expected, grad.slice(1, 8).clone(), m, v, 1, options);
  on_every_device([&](Device device) {
    Tensor<float> value = Tensor<float>::full({8}, 1, device).slice(1, 8), first = Tensor<float>::zeros({7}, device),
                  second = Tensor<float>::zeros({7}, device);
    adam(value, grad.to(device).slice(1, 8), first, second, 1, options);
    CHECK(same_bits(value, expected));
    CHECK(same_bits(second, v));
  });
}

TEST_CASE("adam names what is wrong") {
  auto value = Tensor<double>::zeros({3}), m = value.clone(), v = value.clone();
  const auto grad = value.clone();
  CHECK_THROWS_WITH(adam(value, grad, m, v, 0, options), "adam: step counts from 1, got 0");
  CHECK_THROWS_AS(adam(value, Tensor<double>::zeros({2}), m, v, 1, options), Error);
  CHECK_THROWS_AS(adam(value, grad, m, v, Tensor<StepState>::from({2}, {{0, 1}, {1, 1}}), options), Error);
}
