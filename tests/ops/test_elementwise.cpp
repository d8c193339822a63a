#include "cuttle/ops/elementwise.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::same_bits;
using cuttle_test::uniform_tensor;

TEMPLATE_TEST_CASE("elementwise: sums, differences, products and multiples at odd sizes", "", float, double) {
  using T = TestType;
  const std::int64_t n = GENERATE(0, 1, 3, 33, 129, 515, 5001);
  // From a slice on, addresses are multiples of one element and no more.
  const std::int64_t skipped = GENERATE(0, 1);
  const auto x = uniform_tensor<T>({n + skipped}, 1).slice(skipped, n + skipped);
  const auto y = uniform_tensor<T>({n + skipped}, 2).slice(skipped, n + skipped);
  const auto expected = [&](auto f) {
    auto result = Tensor<T>::empty({n});
    for (std::int64_t i = 0; i < n; ++i) result.data()[i] = f(x.data()[i], y.data()[i]);
    return result;
  };
  on_every_device([&](Device device) {
    const auto on_device = [&](const Tensor<T>& host) {
      auto whole = Tensor<T>::empty({n + skipped}, device);
      auto part = whole.slice(skipped, n + skipped);
      part.copy_from(host);
      return part;
    };
    const auto a = on_device(x), b = on_device(y);
    CHECK(same_bits(add(a, b), expected([](T u, T v) { return u + v; })));
    CHECK(same_bits(sub(a, b), expected([](T u, T v) { return u - v; })));
    CHECK(same_bits(multiply(a, b), expected([](T u, T v) { return u * v; })));
    CHECK(same_bits(scale(a, -1.7), expected([](T u, T) { return static_cast<T>(-1.7) * u; })));
    auto into = on_device(x);
    add_into(into, b);
    CHECK(same_bits(into, expected([](T u, T v) { return u + v; })));
    add_into(into, into);
    CHECK(same_bits(into, expected([](T u, T v) { return (u + v) + (u + v); })));
  });
}

TEST_CASE("elementwise: many blocks") {
  const auto a = cuttle_test::integer_tensor<float>({70001}, 1), b = cuttle_test::integer_tensor<float>({70001}, 2);
  Tensor<float> expected = Tensor<float>::empty({70001});
  for (std::int64_t i = 0; i < 70001; ++i) expected.data()[i] = a.data()[i] + b.data()[i];
  on_every_device([&](Device device) { CHECK(same_bits(add(a.to(device), b.to(device)), expected)); });
}

TEST_CASE("elementwise: shapes and devices that differ are named") {
  CHECK_THROWS_WITH(add(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})), cuttle_test::contains("[2]"));
  for (const Device device : cuttle_test::every_device())
    if (!device.is_cpu())
      CHECK_THROWS_WITH(add(Tensor<float>::zeros({2}), Tensor<float>::zeros({2}, device)),
                        "add: arguments on cpu and on cuda:0");
}
