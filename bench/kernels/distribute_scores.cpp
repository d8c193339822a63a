// From patch scores to maps of 256 x 256 pixels at both of Patch SVDD's scales, and their largest pixel.
#include <algorithm>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/distribute_scores.hpp"

namespace cuttle_bench {
namespace {

constexpr std::int64_t side = 256;

Case distribute_case(Device device, std::int64_t B, std::int64_t patch_size, std::int64_t stride) {
  const std::int64_t grid = (side - patch_size) / stride + 1;
  struct State {
    Tensor<float> scores, maps;
  };
  auto s = std::make_shared<State>(State{normal({B, grid, grid}, 1).to(device), {}});
  return {.run = [=] { s->maps = cuttle::distribute_scores(s->scores, patch_size, stride, side, side); },
          .check =
              [=] {
                const auto scores = on_host(s->scores), maps = on_host(s->maps);
                for_some(B * side * side, [&](std::int64_t at) {
                  const std::int64_t x = at % side, y = at / side % side, b = at / (side * side);
                  double sum = 0, count = 0;
                  for (std::int64_t i = 0; i < grid; ++i)
                    for (std::int64_t j = 0; j < grid; ++j)
                      if (i * stride <= y && y < i * stride + patch_size && j * stride <= x &&
                          x < j * stride + patch_size) {
                        sum += as_double(scores.data()[(b * grid + i) * grid + j]);
                        count += 1;
                      }
                  check_value("distribute_scores", at, as_double(maps.data()[at]), sum / count, 1e-6);
                });
              },
          .bytes = 4.0 * static_cast<double>(B * (grid * grid + side * side)),
          .flop = static_cast<double>(B * side * side)};
}

Case max_case(Device device, std::int64_t B) {
  struct State {
    Tensor<float> maps, scores;
  };
  auto s = std::make_shared<State>(State{normal({B, side, side}, 1).to(device), {}});
  return {.run = [s] { s->scores = cuttle::max_over_pixels(s->maps); },
          .check =
              [s, B] {
                const auto maps = on_host(s->maps), scores = on_host(s->scores);
                for_some(B, [&](std::int64_t b) {
                  const float* map = maps.data() + b * side * side;
                  check_value("max_over_pixels", b, as_double(scores.data()[b]),
                              as_double(*std::max_element(map, map + side * side)), 0);
                });
              },
          .bytes = 4.0 * static_cast<double>(B * side * side)};
}

const bool added = [] {
  for (const std::int64_t B : {1, 1024}) {
    add(cuttle::concat("distribute_scores/patch_size=32/stride=4/B=", B),
        [B](Device device) { return distribute_case(device, B, 32, 4); });
    add(cuttle::concat("distribute_scores/patch_size=64/stride=16/B=", B),
        [B](Device device) { return distribute_case(device, B, 64, 16); });
    add(cuttle::concat("max_over_pixels/B=", B), [B](Device device) { return max_case(device, B); });
  }
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
