#include <cmath>

#include "cuttle/ops/adam.hpp"
#include "cuttle/ops/elementwise.hpp"
#include "cuttle/ops/permute.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::uniform_tensor;

TEST_CASE("elementwise: sums, differences and multiples at odd sizes") {
  for (const std::int64_t n : {1, 33, 129, 515, 70001}) {
    const auto a = cuttle_test::integer_tensor<float>({n}, 1), b = cuttle_test::integer_tensor<float>({n}, 2);
    const auto sum = add(a, b), difference = sub(a, b), multiple = scale(a, -2);
    auto into = a.clone();
    add_into(into, b);
    bool equal = true;
    for (std::int64_t i = 0; i < n; ++i) {
      const float x = a.data()[i], y = b.data()[i];
      equal = equal && sum.data()[i] == x + y && difference.data()[i] == x - y && multiple.data()[i] == -2 * x &&
              into.data()[i] == x + y;
    }
    CHECK(equal);
    into.fill(7.0f);
    CHECK_CLOSE(into, Tensor<float>::full({n}, 7), {});
  }
  CHECK_THROWS_WITH(add(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})), cuttle_test::contains("[2]"));
}

TEST_CASE("permute: against the definition, and back") {
  const auto x = uniform_tensor<double>({2, 3, 5, 4}, 3);
  const auto y = permute(x, {0, 3, 1, 2});
  REQUIRE(y.shape() == Shape({2, 4, 3, 5}));
  bool equal = true;
  for (int b = 0; b < 2; ++b)
    for (int c = 0; c < 4; ++c)
      for (int h = 0; h < 3; ++h)
        for (int w = 0; w < 5; ++w)
          equal = equal && y.data()[((b * 4 + c) * 3 + h) * 5 + w] == x.data()[((b * 3 + h) * 5 + w) * 4 + c];
  CHECK(equal);
  CHECK_CLOSE(permute(y, {0, 2, 3, 1}), x, {});
  CHECK(permute(Tensor<float>::zeros({0, 3}), {1, 0}).shape() == Shape({3, 0}));
  CHECK_THROWS_AS(permute(x, {0, 1, 2}), Error);
  CHECK_THROWS_AS(permute(x, {0, 1, 2, 2}), Error);
}

TEST_CASE("adam: ten steps of a parameter against the recurrence in long double") {
  const AdamOptions options{.learning_rate = 0.01, .weight_decay = 0.1};
  auto value = uniform_tensor<double>({515}, 4), m = Tensor<double>::zeros({515}), v = Tensor<double>::zeros({515});
  const auto start = value.clone();
  std::vector<Tensor<double>> grads;
  for (int step = 1; step <= 10; ++step) {
    grads.push_back(uniform_tensor<double>({515}, 100 + static_cast<std::uint64_t>(step)));
    adam(value, grads.back(), m, v, step, options);
  }
  Tensor<double> expected = Tensor<double>::empty({515});
  for (std::int64_t i = 0; i < 515; ++i) {
    long double p = start.data()[i], m1 = 0, m2 = 0;
    for (int step = 1; step <= 10; ++step) {
      const long double g = grads[static_cast<std::size_t>(step - 1)].data()[i] + 0.1L * p;
      m1 = 0.9L * m1 + 0.1L * g;
      m2 = 0.999L * m2 + 0.001L * g * g;
      p -= 0.01L * (m1 / (1 - std::pow(0.9L, step))) / (std::sqrt(m2 / (1 - std::pow(0.999L, step))) + 1e-8L);
    }
    expected.data()[i] = static_cast<double>(p);
  }
  CHECK_CLOSE(value, expected, {0, 1e-13});
  CHECK_THROWS_AS(adam(value, grads[0], m, v, 0, options), Error);
}
