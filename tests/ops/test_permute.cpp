#include "cuttle/ops/permute.hpp"

#include <algorithm>
#include <array>

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::same_bits;
using cuttle_test::uniform_tensor;

namespace {

// Element by element, for up to four dimensions.
template <class T>
Tensor<T> expected_permutation(const Tensor<T>& x, const std::array<int, 4>& order) {
  std::int64_t stride[4] = {x.size(1) * x.size(2) * x.size(3), x.size(2) * x.size(3), x.size(3), 1};
  const auto from = [&](int k) { return static_cast<std::size_t>(order[static_cast<std::size_t>(k)]); };
  const auto extent = [&](int k) { return x.size(order[static_cast<std::size_t>(k)]); };
  Tensor<T> y = Tensor<T>::empty({extent(0), extent(1), extent(2), extent(3)});
  T* to = y.data();
  for (std::int64_t i = 0; i < extent(0); ++i)
    for (std::int64_t j = 0; j < extent(1); ++j)
      for (std::int64_t k = 0; k < extent(2); ++k)
        for (std::int64_t l = 0; l < extent(3); ++l)
          *to++ = x.data()[i * stride[from(0)] + j * stride[from(1)] + k * stride[from(2)] + l * stride[from(3)]];
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("permute: every order of four dimensions against the definition", "", float, double) {
  std::array<int, 4> order{0, 1, 2, 3};
  // One, odd extents, and 33 x 35, more than one tile a side of a transpose.
  for (const Shape& shape : {Shape{2, 3, 5, 4}, Shape{1, 33, 1, 35}, Shape{2, 7, 5, 33}}) {
    const auto x = uniform_tensor<TestType>(shape, 3);
    do {
      INFO("order " << order[0] << order[1] << order[2] << order[3]);
      const auto expected = expected_permutation(x, order);
      on_every_device([&](Device device) {
        CHECK(same_bits(permute(x.to(device), {order[0], order[1], order[2], order[3]}), expected));
      });
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

TEST_CASE("permute: other ranks, nothing at all, and errors") {
  on_every_device([&](Device device) {
    const auto x = uniform_tensor<float>({5, 66}, 1);
    const auto y = permute(x.to(device), {1, 0});
    CHECK(y.shape() == Shape({66, 5}));
    CHECK(same_bits(permute(y, {1, 0}), x));
    CHECK(same_bits(permute(x.to(device), {0, 1}), x));
    const auto z = uniform_tensor<float>({2, 3, 2, 3, 2}, 2);
    CHECK(same_bits(permute(permute(z.to(device), {4, 2, 0, 3, 1}), {2, 4, 1, 3, 0}), z));
    CHECK(permute(Tensor<float>::zeros({0, 3}, device), {1, 0}).shape() == Shape({3, 0}));
    CHECK(same_bits(permute(Tensor<float>::full({1, 1}, 4, device), {1, 0}), Tensor<float>::full({1, 1}, 4)));
  });
  const auto x = uniform_tensor<double>({2, 3, 5, 4}, 3);
  CHECK_THROWS_AS(permute(x, {0, 1, 2}), Error);
  CHECK_THROWS_AS(permute(x, {0, 1, 2, 2}), Error);
}
