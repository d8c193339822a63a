#include "cuttle/ops/gather.hpp"

#include <cmath>

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::same_bits;
using cuttle_test::uniform_tensor;

namespace {

struct Case {
  std::int64_t N, D, Q;
  int last;  // indices lie in 0..last
};
// Short and long rows; rows that all indices name; more q than a block keeps; more rows than one block has.
const Case cases[] = {{1, 1, 1, 0},    {5, 3, 33, 4},        {70, 64, 129, 69}, {129, 65, 515, 128}, {40, 4, 2500, 2},
                      {9, 130, 20, 8}, {8300, 2, 700, 8299}, {33, 6, 3000, 31}, {3, 8, 0, 2},        {3, 0, 5, 2}};

Tensor<std::int32_t> indices(const Case& c) { return cuttle_test::integer_tensor<std::int32_t>({c.Q}, 7, 0, c.last); }

}  // namespace

TEMPLATE_TEST_CASE("gather_rows copies rows", "", float, double) {
  for (const Case& c : cases) {
    INFO("N " << c.N << ", D " << c.D << ", Q " << c.Q);
    const auto x = uniform_tensor<TestType>({c.N, c.D}, 1);
    const auto index = indices(c);
    auto expected = Tensor<TestType>::empty({c.Q, c.D});
    for (std::int64_t q = 0; q < c.Q; ++q)
      for (std::int64_t d = 0; d < c.D; ++d) expected.data()[q * c.D + d] = x.data()[index.data()[q] * c.D + d];
    on_every_device([&](Device device) { CHECK(same_bits(gather_rows(x.to(device), index.to(device)), expected)); });
  }
}

TEMPLATE_TEST_CASE("add_rows adds in ascending order of q, to the bit", "", float, double) {
  for (const Case& c : cases) {
    INFO("N " << c.N << ", D " << c.D << ", Q " << c.Q);
    // Sums of numbers of very different size show every change of order.
    auto dy = uniform_tensor<TestType>({c.Q, c.D}, 2);
    for (std::int64_t i = 0; i < dy.numel(); ++i) dy.data()[i] *= std::exp(TestType(20) * dy.data()[i]);
    const auto start = uniform_tensor<TestType>({c.N, c.D}, 3);
    const auto index = indices(c);
    auto expected = start.clone();
    for (std::int64_t q = 0; q < c.Q; ++q)
      for (std::int64_t d = 0; d < c.D; ++d) expected.data()[index.data()[q] * c.D + d] += dy.data()[q * c.D + d];
    on_every_device([&](Device device) {
      auto dx = start.clone().to(device);
      add_rows(dx, index.to(device), dy.to(device));
      CHECK(same_bits(dx, expected));
    });
  }
}

TEST_CASE("an index that is no row: an error where the host can look, NaN and left out where it cannot") {
  const auto x = uniform_tensor<float>({4, 5}, 1);
  const auto index = Tensor<std::int32_t>::from({4}, {2, 4, -1, 0});
  on_every_device([&](Device device) {
    auto dx = x.to(device);
    if (device.is_cpu()) {
      CHECK_THROWS_WITH(gather_rows(x, index), "gather_rows: index 4 is no row of x [4, 5]");
      CHECK_THROWS_WITH(add_rows(dx, index, x), "add_rows: index 4 is no row of x [4, 5]");
      return;
    }
    const auto y = gather_rows(dx, index.to(device)).to(Device::cpu());
    add_rows(dx, index.to(device), Tensor<float>::full({4, 5}, 1, device));
    const auto sum = dx.to(Device::cpu());
    for (std::int64_t d = 0; d < 5; ++d) {
      CHECK(y.data()[d] == x.data()[10 + d]);
      CHECK((std::isnan(y.data()[5 + d]) && std::isnan(y.data()[10 + d])));
      CHECK(y.data()[15 + d] == x.data()[d]);
      CHECK(sum.data()[d] == x.data()[d] + 1);
      CHECK(sum.data()[5 + d] == x.data()[5 + d]);
      CHECK(sum.data()[10 + d] == x.data()[10 + d] + 1);
      CHECK(sum.data()[15 + d] == x.data()[15 + d]);
    }
  });
  CHECK_THROWS_AS(gather_rows(x, Tensor<std::int32_t>::zeros({2, 2})), Error);
  auto dx = x.clone();
  CHECK_THROWS_AS(add_rows(dx, Tensor<std::int32_t>::zeros({2}), x), Error);
}
