// A batch of SQUID's training images: 16 of 128 x 128, shifted and zoomed, out of 1349 as bytes.
#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/augment.hpp"

namespace cuttle_bench {
namespace {

Case augment_case(Device device, std::int64_t N, std::int64_t B, std::int64_t side) {
  struct State {
    Tensor<std::uint8_t> images;
    Tensor<std::int64_t> rows;
    Tensor<float> y;
  };
  auto images = Tensor<std::uint8_t>::empty({N, side, side, 1});
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data()[i] = static_cast<std::uint8_t>(cuttle::random_word(1, 0, static_cast<std::uint64_t>(i)) >> 24);
  auto rows = Tensor<std::int64_t>::empty({B});
  for (std::int64_t b = 0; b < B; ++b) rows.data()[b] = (b * 389 + 7) % N;
  auto s = std::make_shared<State>(State{images.to(device), rows.to(device), {}});
  return {.run = [s] { s->y = cuttle::augment<float>(s->images, s->rows, {}, 1, 0); },
          .check =
              [s, images, rows, side] {
                const auto y = on_host(s->y);
                for_some(y.numel(), [&](std::int64_t at) {
                  const std::int64_t b = at / side / side;
                  const auto map = cuttle::seam::sample_affine_map(cuttle::AugmentOptions{}, side, side, 1, 0, b);
                  const double half = static_cast<double>(side) / 2;
                  const auto source = [&](std::int64_t i, std::int64_t shift) {
                    return std::floor((static_cast<double>(i - shift) + 0.5 - half) / map.scale + half);
                  };
                  const double row = source(at / side % side, map.down), column = source(at % side, map.right);
                  const bool inside = std::min(row, column) >= 0 && std::max(row, column) < 2 * half;
                  const std::int64_t from = rows.data()[b] * side * side + static_cast<std::int64_t>(row) * side +
                                            static_cast<std::int64_t>(column);
                  check_value("augment", at, as_double(y.data()[at]),
                              inside ? static_cast<double>(images.data()[from]) / 255 : 0, 1e-7);
                });
              },
          .bytes = 5.0 * static_cast<double>(B * side * side)};
}

const bool added = [] {
  add("augment/B=16/H=128/C=1", [](Device device) { return augment_case(device, 1349, 16, 128); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
