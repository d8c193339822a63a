// The patches of one Patch SVDD training step (four tasks of 64 pairs, out of 391 images of 256 x 256 as bytes), and
// SQUID's windows. The floor of the step counts a byte and a float of the mean image read for each value written.
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/models/patch_svdd_batch.hpp"
#include "cuttle/ops/extract_patches.hpp"

namespace cuttle_bench {
namespace {

using cuttle::PatchPair;
using cuttle::PatchTask;

constexpr std::int64_t images = 391, side = 256, C = 3, pairs = 64;

// The tiles of one side of a task against the formula: exact without noise, and with it a value that stays within six
// deviations and has noise at all.
void check_task(const Tensor<std::uint8_t>& bytes, const Tensor<float>& mean, const Tensor<float>& tiles,
                PatchTask task, std::int64_t patch_size, int view) {
  constexpr std::int64_t tile = 32;
  const std::int64_t across = patch_size / tile;
  double squares = 0, count = 0;
  for (std::int64_t slot = 0; slot < pairs; slot += 9) {
    const PatchPair pair = cuttle::sample_patch_pair(task, patch_size, images, side, side, 1, 0, slot);
    for_some(across * across * tile * tile * C, [&](std::int64_t i) {
      const std::int64_t c = i % C, column = i / C % tile, row = i / C / tile % tile, part = i / C / tile / tile;
      const std::int64_t y = pair.top[view] + part / across * tile + row,
                         x = pair.left[view] + part % across * tile + column;
      const std::int64_t pixel = (y * side + x) * C + c;
      const double clean =
          (static_cast<double>(bytes.data()[pair.image * side * side * C + pixel]) - as_double(mean.data()[pixel])) /
          255;
      const double actual = as_double(tiles.data()[slot * across * across * tile * tile * C + i]);
      // Two normals of deviation 0.02 are added.
      check_value("random_patch_pairs", i, actual, clean, task == PatchTask::svdd ? 1e-6 : 6 * 0.0283);
      squares += (actual - clean) * (actual - clean);
      count += 1;
    });
  }
  if (task == PatchTask::position)
    check_value("random_patch_pairs: deviation of the noise", view, std::sqrt(squares / count), 0.03, 0.015);
}

Case step_case(Device device) {
  struct State {
    Tensor<std::uint8_t> bytes;
    Tensor<float> mean;
    cuttle::PatchSvddBatch<float> batch;
  };
  Tensor<std::uint8_t> bytes = Tensor<std::uint8_t>::empty({images, side, side, C});
  for (std::int64_t i = 0; i < bytes.numel(); ++i)
    bytes.data()[i] = static_cast<std::uint8_t>(cuttle::random_word(1, 0, static_cast<std::uint64_t>(i)) >> 24);
  const Tensor<float> mean = Tensor<float>::full({side, side, C}, 127.5f);
  auto s =
      std::make_shared<State>(State{bytes.to(device), mean.to(device), cuttle::PatchSvddBatch<float>(pairs, device)});
  return {.run = [s] { s->batch.draw(s->bytes, s->mean, 1, 0); },
          .check =
              [s, bytes, mean] {
                for (const int view : {0, 1}) {
                  const auto check = [&](const Tensor<float>& tiles, PatchTask task, std::int64_t patch_size) {
                    check_task(bytes, mean, on_host(tiles), task, patch_size, view);
                  };
                  check(s->batch.position_large(view), PatchTask::position, 64);
                  check(s->batch.svdd_large(view), PatchTask::svdd, 64);
                  check(s->batch.position_small(view), PatchTask::position, 32);
                  check(s->batch.svdd_small(view), PatchTask::svdd, 32);
                }
              },
          .bytes = 9.0 * static_cast<double>(s->batch.tiles.numel())};
}

// Windows that touch, to patches and back: a permutation.
Case windows_case(Device device, std::int64_t B, std::int64_t size, std::int64_t channels, std::int64_t window) {
  struct State {
    Tensor<float> x, patches, back;
  };
  auto s = std::make_shared<State>(State{normal({B, size, size, channels}, 1).to(device), {}, {}});
  const std::int64_t grid = size / window;
  return {.run =
              [=] {
                s->patches = cuttle::extract_windows(s->x, window, window);
                s->back = cuttle::join_windows(s->patches, grid, grid);
              },
          .check =
              [=] {
                const auto x = on_host(s->x), patches = on_host(s->patches), back = on_host(s->back);
                for_some(x.numel(), [&](std::int64_t at) {
                  const std::int64_t c = at % channels, column = at / channels % size,
                                     row = at / channels / size % size, b = at / channels / size / size;
                  const std::int64_t patch = (b * grid + row / window) * grid + column / window;
                  const std::int64_t there =
                      ((patch * window + row % window) * window + column % window) * channels + c;
                  check_value("extract_windows", there, as_double(patches.data()[there]), as_double(x.data()[at]), 0);
                  check_value("join_windows", at, as_double(back.data()[at]), as_double(x.data()[at]), 0);
                });
              },
          .bytes = 16.0 * static_cast<double>(B * size * size * channels)};
}

const bool added = [] {
  add("random_patch_pairs/step/B=64", step_case);
  add("extract_windows+join_windows/B=16/H=128/C=1/window=64",
      [](Device device) { return windows_case(device, 16, 128, 1, 64); });
  add("extract_windows+join_windows/B=16/H=32/C=128/window=16",
      [](Device device) { return windows_case(device, 16, 32, 128, 16); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
