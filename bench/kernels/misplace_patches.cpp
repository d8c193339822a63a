// What SQUID's discriminator learns to tell from normal images: 16 of 128 x 128 with pieces where they do not belong.
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/misplace_patches.hpp"

namespace cuttle_bench {
namespace {

using namespace cuttle::seam;

Case misplace_case(Device device, std::int64_t B, std::int64_t H, std::int64_t grid) {
  struct State {
    Tensor<float> images, y;
  };
  auto images = Tensor<float>::empty({B, H, H, 1});
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data()[i] = cuttle::random_uniform(1, 0, static_cast<std::uint64_t>(i));
  auto s = std::make_shared<State>(State{images.to(device), {}});
  return {.run = [s, grid] { s->y = cuttle::misplace_patches(s->images, grid, {}, 1, 2, 0); },
          .check =
              [s, images, B, H, grid] {
                const auto y = on_host(s->y);
                for_some(y.numel(), [&](std::int64_t at) {
                  const std::int64_t b = at / H / H, i = at / H % H, j = at % H;
                  double expected = as_double(images.data()[at]);
                  for (std::int64_t k = 0; k < count_misplaced_pieces(MisplaceOptions{}, 1, 2, b); ++k) {
                    const MisplacedPiece p = sample_misplaced_piece(MisplaceOptions{}, B, H, grid, 1, 2, b, k);
                    if (!covers(p, i, j)) continue;
                    const PiecePixel from = piece_source(p, i, j);
                    expected = p.image < 0 ? as_double(p.gray)
                                           : as_double(images.data()[(p.image * H + from.row) * H + from.column]);
                  }
                  check_value("misplace_patches", at, as_double(y.data()[at]), expected, 0);
                });
              },
          .bytes = 8.0 * static_cast<double>(B * H * H)};
}

const bool added = [] {
  add("misplace_patches/B=16/H=128/grid=4/C=1", [](Device device) { return misplace_case(device, 16, 128, 4); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
