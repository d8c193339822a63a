// concat_channels and slice_channels, on every device.
#include "cuttle/ops/concat_channels.hpp"

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

TEST_CASE("concat_channels: the first tensor's channels first, and slices give both back") {
  struct Case {
    Shape a, b;
  };
  for (const auto& [first, second] : {Case{{1, 1}, {1, 1}}, Case{{2, 5, 3, 33}, {2, 5, 3, 7}},
                                      Case{{515, 2}, {515, 129}}, Case{{3, 4}, {3, 0}}, Case{{0, 4}, {0, 2}}}) {
    INFO("shapes " << first << " and " << second);
    const auto a = uniform_tensor<float>(first, 1), b = uniform_tensor<float>(second, 2);
    const std::int64_t C = a.size(-1), D = b.size(-1);
    on_every_device([&](Device device) {
      const auto y = concat_channels(a.to(device), b.to(device));
      const auto host = y.to(Device::cpu());
      REQUIRE(y.size(-1) == C + D);
      REQUIRE(y.numel() == a.numel() + b.numel());
      bool equal = true;
      for (std::int64_t i = 0; i < y.numel(); ++i) {
        const std::int64_t n = i / (C + D), c = i % (C + D);
        equal = equal && host.data()[i] == (c < C ? a.data()[n * C + c] : b.data()[n * D + c - C]);
      }
      CHECK(equal);
      CHECK_CLOSE(slice_channels(y, 0, C), a, {});
      CHECK_CLOSE(slice_channels(y, C, C + D), b, {});
    });
  }
  CHECK(gradcheck([](const std::vector<Var<double>>& v) { return concat_channels(v[0], v[1]); },
                  {uniform_tensor<double>({3, 2}, 3), uniform_tensor<double>({3, 4}, 4)}) == "");
}

TEST_CASE("concat_channels, slice_channels: shapes that do not fit are named") {
  const auto x = Tensor<float>::zeros({2, 3});
  CHECK_THROWS_WITH(concat_channels(x, Tensor<float>::zeros({3, 3})), cuttle_test::contains("[3, 3]"));
  CHECK_THROWS_AS(concat_channels(x, Tensor<float>::zeros({2, 1, 3})), Error);
  CHECK_THROWS_WITH(slice_channels(x, 1, 4), cuttle_test::contains("1 to 4"));
}
