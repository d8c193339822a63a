#include "cuttle/ops/extract_patches.hpp"

#include <array>
#include <cmath>
#include <map>
#include <set>

#include "cuttle/core/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/every_isa.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::integer_tensor;
using cuttle_test::on_every_device;
using cuttle_test::on_every_isa;
using cuttle_test::same_bits;
using cuttle_test::uniform_tensor;

namespace {

template <class T>
struct Batch {
  Tensor<T> x1, x2;
  Tensor<std::int32_t> labels;
};

template <class T>
Batch<T> draw(const Tensor<std::uint8_t>& images, const Tensor<float>& mean, const PatchPairOptions& options,
              std::int64_t B, std::uint64_t seed, const StepNumber& step, std::int64_t first_slot = 0) {
  const std::int64_t side = options.patch_size / options.tile_size;
  const Shape shape{B * side * side, options.tile_size, options.tile_size, images.size(3)};
  const Device device = images.device();
  Batch<T> batch{Tensor<T>::full(shape, T(99), device), Tensor<T>::full(shape, T(99), device),
                 Tensor<std::int32_t>::full({B}, 99, device)};
  random_patch_pairs(images, mean, options, seed, step, batch.x1, batch.x2, batch.labels, first_slot);
  return batch;
}

// The definition, number by number, from the drawn corners and the names of the normals.
template <class T>
Tensor<double> expected_patches(const Tensor<std::uint8_t>& images, const Tensor<float>& mean,
                                const PatchPairOptions& options, std::int64_t B, std::uint64_t seed, std::int64_t step,
                                std::int64_t first_slot, int view) {
  const std::int64_t H = images.size(1), W = images.size(2), C = images.size(3), K = options.patch_size;
  const std::int64_t tile = options.tile_size, side = K / tile;
  Tensor<double> x = Tensor<double>::empty({B * side * side, tile, tile, C});
  const auto stream = [&](std::uint64_t use) {
    return (std::uint64_t{1} << 63) + static_cast<std::uint64_t>(step) * (1 << 20) +
           static_cast<std::uint64_t>(K) * 16 + use;
  };
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t slot = first_slot + b;
    const PatchPair pair = sample_patch_pair(options.task, K, images.size(0), H, W, seed, step, slot);
    for (std::int64_t r = 0; r < K; ++r)
      for (std::int64_t c = 0; c < K; ++c)
        for (std::int64_t channel = 0; channel < C; ++channel) {
          const std::int64_t at = ((pair.top[view] + r) * W + pair.left[view] + c) * C + channel;
          double value = (images.data()[pair.image * H * W * C + at] - double{mean.data()[at]}) / 255;
          if (options.task == PatchTask::position) {
            const auto patch = static_cast<std::uint64_t>(2 * slot + view);
            value += options.colour_sigma *
                     random_normal(seed, stream(3),
                                   patch * static_cast<std::uint64_t>(C) + static_cast<std::uint64_t>(channel));
            value += options.noise_sigma * random_normal(seed, stream(4),
                                                         patch * static_cast<std::uint64_t>(K * K * C) +
                                                             static_cast<std::uint64_t>((r * K + c) * C + channel));
          }
          const std::int64_t row = b * side * side + r / tile * side + c / tile;
          x.data()[((row * tile + r % tile) * tile + c % tile) * C + channel] = value;
        }
  }
  return x;
}

// Every count within five standard deviations of n / cells.
bool all_equally_likely(const std::map<std::int64_t, std::int64_t>& counts, std::size_t cells, double n) {
  const double p = 1 / static_cast<double>(cells);
  for (const auto& [value, count] : counts)
    if (std::abs(static_cast<double>(count) - n * p) > 5 * std::sqrt(n * p * (1 - p))) return false;
  return counts.size() == cells;
}

}  // namespace

TEST_CASE("position pairs: directions, distances, clipping") {
  const std::int64_t K = GENERATE(32, 64), H = 256, W = 219, n = 20'000;
  std::map<std::int64_t, std::int64_t> labels, images, jitters, tops;
  const int down[8] = {-1, -1, -1, 0, 0, 1, 1, 1}, right[8] = {-1, 0, 1, -1, 1, -1, 0, 1};
  for (std::int64_t slot = 0; slot < n; ++slot) {
    const PatchPair pair = sample_patch_pair(PatchTask::position, K, 5, H, W, 3, 17, slot);
    REQUIRE((pair.label >= 0 && pair.label < 8));
    ++labels[pair.label];
    ++images[pair.image];
    ++tops[pair.top[0]];
    const std::int64_t first[2] = {pair.top[0], pair.left[0]}, second[2] = {pair.top[1], pair.left[1]};
    for (int axis = 0; axis < 2; ++axis) {
      const std::int64_t last = (axis == 0 ? H : W) - K;
      const int direction = (axis == 0 ? down : right)[pair.label];
      REQUIRE((first[axis] >= 0 && first[axis] <= last && second[axis] >= 0 && second[axis] <= last));
      const std::int64_t moved = (second[axis] - first[axis]) * direction;
      if (direction == 0) {
        REQUIRE(second[axis] == first[axis]);
      } else if (second[axis] > 0 && second[axis] < last) {
        REQUIRE((moved >= 3 * K / 4 && moved <= K - 1));
      } else {
        REQUIRE((moved >= 0 && moved <= K - 1));
      }
      // Far from every border nothing is clipped, so that each jitter must be as likely.
      if (direction != 0 && first[axis] >= K && first[axis] <= last - K) ++jitters[moved - 3 * K / 4];
    }
  }
  CHECK(all_equally_likely(labels, 8, n));
  CHECK(all_equally_likely(images, 5, n));
  CHECK(all_equally_likely(tops, static_cast<std::size_t>(H - K + 1), n));
  double unclipped = 0;
  for (const auto& [jitter, count] : jitters) unclipped += static_cast<double>(count);
  CHECK(all_equally_likely(jitters, static_cast<std::size_t>(K / 4), unclipped));
}

TEST_CASE("svdd pairs: every jitter but none is as likely") {
  const std::int64_t K = GENERATE(32, 64), J = K / 32, H = 256, W = 219, n = 20'000;
  std::map<std::int64_t, std::int64_t> jitters;
  double unclipped = 0;
  bool coincide = false;
  for (std::int64_t slot = 0; slot < n; ++slot) {
    const PatchPair pair = sample_patch_pair(PatchTask::svdd, K, 5, H, W, 3, 17, slot);
    const std::int64_t down = pair.top[1] - pair.top[0], right = pair.left[1] - pair.left[0];
    REQUIRE((std::abs(down) <= J && std::abs(right) <= J));
    REQUIRE((pair.top[1] >= 0 && pair.top[1] <= H - K && pair.left[1] >= 0 && pair.left[1] <= W - K));
    coincide |= down == 0 && right == 0;
    if (pair.top[0] < J || pair.top[0] > H - K - J || pair.left[0] < J || pair.left[0] > W - K - J) continue;
    ++jitters[down * 1000 + right];
    ++unclipped;
  }
  CHECK(jitters.count(0) == 0);
  CHECK(coincide);  // by clipping, as in the reference
  CHECK(all_equally_likely(jitters, static_cast<std::size_t>((2 * J + 1) * (2 * J + 1) - 1), unclipped));
}

TEST_CASE("the four tasks of a step share images and nothing else; steps and seeds differ") {
  const auto sample = [](PatchTask task, std::int64_t K, std::uint64_t seed, std::int64_t step, std::int64_t slot) {
    return sample_patch_pair(task, K, 1000, 1024, 1024, seed, step, slot);
  };
  std::set<std::array<std::int64_t, 2>> corners;
  for (std::int64_t slot = 0; slot < 20; ++slot) {
    const std::int64_t image = sample(PatchTask::position, 64, 1, 2, slot).image;
    for (std::int64_t K : {32, 64})
      for (PatchTask task : {PatchTask::position, PatchTask::svdd}) {
        const PatchPair pair = sample(task, K, 1, 2, slot);
        CHECK(pair.image == image);
        corners.insert({pair.top[0], pair.left[0]});
      }
    for (const PatchPair& other :
         {sample(PatchTask::position, 64, 1, 3, slot), sample(PatchTask::position, 64, 2, 2, slot)})
      corners.insert({other.top[0], other.left[0]});
  }
  CHECK(corners.size() == 20 * 6);
}

TEMPLATE_TEST_CASE("random_patch_pairs computes its definition", "", float, double) {
  const PatchTask task = GENERATE(PatchTask::position, PatchTask::svdd);
  const std::int64_t K = GENERATE(32, 64), C = GENERATE(1, 3);
  const std::int64_t tile = GENERATE(16, 32);
  const auto images = integer_tensor<std::uint8_t>({3, 71, 129, C}, 1, 0, 255);
  const auto mean = uniform_tensor<float>({71, 129, C}, 2, 0, 255);
  const PatchPairOptions options{task, K, tile, 0.03, 0.05};
  const auto batch = draw<TestType>(images, mean, options, 3, 42, 5, 7);
  // Four roundings of numbers below 1.5; sigmas are rounded to float.
  const double tolerance = std::is_same_v<TestType, float> ? 3e-7 : 3e-8;
  for (int view : {0, 1})
    CHECK_CLOSE(view ? batch.x2 : batch.x1, expected_patches<TestType>(images, mean, options, 3, 42, 5, 7, view),
                {0, tolerance});
  for (std::int64_t b = 0; b < 3; ++b)
    CHECK(batch.labels.data()[b] ==
          (task == PatchTask::position ? sample_patch_pair(task, K, 3, 71, 129, 42, 5, 7 + b).label : 99));
}

TEST_CASE("tiles of a patch are its quadrants in raster order") {
  Tensor<std::uint8_t> image = Tensor<std::uint8_t>::empty({1, 64, 64, 1});
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.data()[i] = static_cast<std::uint8_t>(i / 64 / 32 * 2 + i % 64 / 32);
  const PatchPairOptions options{PatchTask::svdd, 64, 32};
  const auto batch = draw<float>(image, Tensor<float>::zeros({64, 64, 1}), options, 1, 0, 0);
  for (std::int64_t quadrant = 0; quadrant < 4; ++quadrant)
    for (std::int64_t i = 0; i < 32 * 32; ++i)
      REQUIRE(batch.x1.data()[quadrant * 32 * 32 + i] == static_cast<float>(quadrant) / 255.0f);
}

TEST_CASE("colour shifts and noise have the spread asked for") {
  const std::int64_t B = 64, K = 32, C = 3;
  const auto images = Tensor<std::uint8_t>::full({1, 64, 64, C}, 100);
  const auto mean = Tensor<float>::full({64, 64, C}, 100.0f);
  const auto colour_only = draw<double>(images, mean, {PatchTask::position, K, K, 0.5, 0}, B, 1, 0);
  const auto noise_only = draw<double>(images, mean, {PatchTask::position, K, K, 0, 0.25}, B, 1, 0);
  double colour_square = 0, noise_sum = 0, noise_square = 0;
  std::set<double> shifts;
  for (const auto* x : {&colour_only.x1, &colour_only.x2})
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t c = 0; c < C; ++c) {
        const double* patch = x->data() + b * K * K * C;
        for (std::int64_t i = 0; i < K * K; ++i) REQUIRE(patch[i * C + c] == patch[c]);
        shifts.insert(patch[c]);
        colour_square += patch[c] * patch[c];
      }
  CHECK(shifts.size() == static_cast<std::size_t>(2 * B * C));
  const double shifts_drawn = 2 * B * C;
  CHECK(std::abs(colour_square / shifts_drawn / 0.25 - 1) < 5 * std::sqrt(2 / shifts_drawn));
  for (const auto* x : {&noise_only.x1, &noise_only.x2})
    for (double value : x->span()) {
      noise_sum += value;
      noise_square += value * value;
    }
  const double n = 2 * B * K * K * C;
  CHECK(std::abs(noise_sum / n) < 5 * 0.25 / std::sqrt(n));
  CHECK(std::abs(noise_square / n / 0.0625 - 1) < 5 * std::sqrt(2 / n));
}

TEST_CASE("random_patch_pairs: the same bits for any threads, instruction set and cut of the batch") {
  const auto images = integer_tensor<std::uint8_t>({4, 65, 97, 3}, 1, 0, 255);
  const auto mean = uniform_tensor<float>({65, 97, 3}, 2, 0, 255);
  for (const PatchPairOptions& options : {PatchPairOptions{PatchTask::position, 64, 32}, {PatchTask::svdd, 32, 32}}) {
    set_num_threads(1);
    const auto whole = draw<float>(images, mean, options, 5, 9, 3);
    set_num_threads(2);
    const auto again = draw<float>(images, mean, options, 5, 9, 3);
    CHECK(same_bits(whole.x1, again.x1));
    CHECK(same_bits(whole.x2, again.x2));
    on_every_isa([&] {
      const auto other = draw<float>(images, mean, options, 5, 9, 3);
      CHECK(same_bits(whole.x1, other.x1));
      CHECK(same_bits(whole.x2, other.x2));
    });
    const auto part = draw<float>(images, mean, options, 2, 9, 3, 3);
    const std::int64_t tiles = whole.x1.size(0) / 5;
    CHECK(same_bits(whole.x1.slice(3 * tiles, 5 * tiles), part.x1));
    CHECK(same_bits(whole.x2.slice(3 * tiles, 5 * tiles), part.x2));
    CHECK(same_bits(whole.labels.slice(3, 5), part.labels));
    CHECK_FALSE(same_bits(whole.x1, draw<float>(images, mean, options, 5, 9, 4).x1));
    CHECK_FALSE(same_bits(whole.x1, draw<float>(images, mean, options, 5, 10, 3).x1));
  }
  set_num_threads(static_cast<int>(std::thread::hardware_concurrency()));
}

TEMPLATE_TEST_CASE("random_patch_pairs: every device has the CPU's bits", "", float, double) {
  struct Case {
    PatchTask task;
    std::int64_t patch_size, tile_size, C, B;
  };
  // Tiles whose rows are whole packs and others; more channels than threads; patches of one chunk, of whole ones and of
  // odd ends.
  for (const Case& c : {Case{PatchTask::position, 64, 32, 3, 3},
                        {PatchTask::svdd, 64, 32, 3, 2},
                        {PatchTask::views, 96, 96, 3, 1},
                        {PatchTask::position, 32, 2, 1, 3},
                        {PatchTask::position, 32, 32, 5, 2},
                        {PatchTask::svdd, 32, 1, 3, 2},
                        {PatchTask::views, 32, 16, 150, 1},
                        {PatchTask::position, 32, 32, 3, 0}}) {
    INFO("task " << static_cast<int>(c.task) << ", patch_size " << c.patch_size << ", tile_size " << c.tile_size
                 << ", C " << c.C);
    const auto images = integer_tensor<std::uint8_t>({3, 101, 97, c.C}, 1, 0, 255);
    const auto mean = uniform_tensor<float>({101, 97, c.C}, 2, 0, 255);
    const PatchPairOptions options{c.task, c.patch_size, c.tile_size, 0.03, 0.05};
    const auto expected = draw<TestType>(images, mean, options, c.B, 42, 5, 7);
    on_every_device([&](Device device) {
      const auto state = Tensor<StepState>::from({1}, {StepState{5, 0.1}}).to(device);
      for (const StepNumber& step : {StepNumber(5), StepNumber(state)}) {
        const auto batch = draw<TestType>(images.to(device), mean.to(device), options, c.B, 42, step, 7);
        CHECK(same_bits(batch.x1, expected.x1));
        CHECK(same_bits(batch.x2, expected.x2));
        CHECK(same_bits(batch.labels, expected.labels));
      }
    });
  }
}

TEST_CASE("random_patch_pairs names what is wrong") {
  const auto images = Tensor<std::uint8_t>::zeros({2, 64, 70, 3});
  const auto mean = Tensor<float>::zeros({64, 70, 3});
  const auto x = Tensor<float>::zeros({8, 32, 32, 3});
  const auto labels = Tensor<std::int32_t>::zeros({2});
  const PatchPairOptions good;
  const auto call = [&](const auto& i, const auto& m, const PatchPairOptions& o, const auto& a, const auto& b,
                        const auto& y, std::int64_t step = 0) { random_patch_pairs(i, m, o, 1, step, a, b, y); };
  CHECK_NOTHROW(call(images, mean, good, x, x.clone(), labels));
  CHECK_NOTHROW(call(images, mean, PatchPairOptions{PatchTask::svdd}, x, x.clone(), Tensor<std::int32_t>()));
  CHECK_THROWS_WITH(call(images.reshape({128, 70, 3}), mean, good, x, x, labels),
                    "random_patch_pairs: images must be (N,H,W,C) and not empty, got [128, 70, 3]");
  CHECK_THROWS_WITH(call(images, mean.reshape({70, 64, 3}), good, x, x, labels),
                    "random_patch_pairs: mean must be (H,W,C) = [64, 70, 3], got [70, 64, 3]");
  CHECK_THROWS_WITH(call(images, mean, PatchPairOptions{PatchTask::svdd, 48}, x, x, labels),
                    "random_patch_pairs: patch_size must be a multiple of 32 below 65536, got 48");
  CHECK_THROWS_WITH(call(images, mean, PatchPairOptions{PatchTask::svdd, 64, 24}, x, x, labels),
                    "random_patch_pairs: tile_size 24 does not divide patch_size 64");
  CHECK_THROWS_WITH(call(images, mean, PatchPairOptions{PatchTask::svdd, 96}, x, x, labels),
                    "random_patch_pairs: images of shape [2, 64, 70, 3] are smaller than patch_size 96");
  CHECK_THROWS_WITH(call(images, mean, good, x.slice(0, 7), x, labels),
                    "random_patch_pairs: x1 must be (B * 4, 32, 32, 3), got [7, 32, 32, 3]");
  CHECK_THROWS_WITH(call(images, mean, good, x, x.slice(0, 4), labels),
                    "random_patch_pairs: x1 and x2 must be [8, 32, 32, 3], got [8, 32, 32, 3] and [4, 32, 32, 3]");
  CHECK_THROWS_WITH(call(images, mean, good, x, x, labels.slice(0, 1)),
                    "random_patch_pairs: labels must be (B) = [2], got [1]");
  CHECK_THROWS_WITH(call(images, mean, good, x, x, labels, -1),
                    "random_patch_pairs: step must be in [0, 2^43), got -1");
  CHECK_THROWS_WITH(call(images, mean, PatchPairOptions{PatchTask::position, 64, 32, NAN}, x, x, labels),
                    "random_patch_pairs: colour_sigma and noise_sigma must be >= 0, got nan and 0.02");
}

TEMPLATE_TEST_CASE("extract_windows reads its windows, join_windows puts them back", "", float, double, std::uint8_t) {
  struct Case {
    std::int64_t B, H, W, C, window, stride;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 1, 1},
                        {2, 33, 20, 3, 5, 3},
                        {3, 12, 18, 2, 6, 6},
                        {1, 129, 33, 1, 32, 4},
                        {2, 9, 9, 5, 2, 4},
                        {2, 12, 8, 4, 4, 4},
                        {1, 11, 10, 8, 3, 2},
                        {1, 9, 10, 2, 4, 2},
                        {1, 9, 12, 1, 4, 3},
                        {1, 9, 11, 1, 4, 4},
                        {0, 8, 8, 3, 4, 4}}) {
    Tensor<TestType> x = Tensor<TestType>::empty({c.B, c.H, c.W, c.C});
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<TestType>(i * 7919 % 251);
    const std::int64_t rows = (c.H - c.window) / c.stride + 1, cols = (c.W - c.window) / c.stride + 1;
    Tensor<TestType> expected = Tensor<TestType>::empty({c.B * rows * cols, c.window, c.window, c.C});
    std::int64_t at = 0;
    for (std::int64_t b = 0; b < c.B; ++b)
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t q = 0; q < cols; ++q)
          for (std::int64_t i = 0; i < c.window; ++i)
            for (std::int64_t j = 0; j < c.window; ++j)
              for (std::int64_t k = 0; k < c.C; ++k)
                expected.data()[at++] = x.data()[((b * c.H + r * c.stride + i) * c.W + q * c.stride + j) * c.C + k];
    on_every_device([&](Device device) {
      if (std::is_same_v<TestType, std::uint8_t> && !device.is_cpu()) {
        CHECK_THROWS_WITH(extract_windows(x.to(device), c.window, c.stride),
                          "extract_windows: there is no entry for it on cuda:0");
        return;
      }
      const auto patches = extract_windows(x.to(device), c.window, c.stride);
      CHECK(same_bits(patches, expected));
      if (c.stride == c.window && c.H % c.window == 0 && c.W % c.window == 0)
        CHECK(same_bits(join_windows(patches, rows, cols), x));
    });
  }
}

TEST_CASE("extract_windows and join_windows name what is wrong") {
  const auto x = Tensor<float>::zeros({2, 8, 6, 3});
  CHECK_THROWS_WITH(extract_windows(x.reshape({16, 6, 3}), 2, 2),
                    "extract_windows: x must be (B,H,W,C), got [16, 6, 3]");
  CHECK_THROWS_WITH(extract_windows(x, 7, 1), "extract_windows: x of shape [2, 8, 6, 3] is smaller than window 7");
  CHECK_THROWS_WITH(extract_windows(x, 2, 0), "extract_windows: window and stride must be at least 1, got 2 and 0");
  CHECK_THROWS_WITH(join_windows(x, 1, 1),
                    "join_windows: patches must be (B*rows*cols, window, window, C), got [2, 8, 6, 3]");
  CHECK_THROWS_WITH(join_windows(Tensor<float>::zeros({5, 2, 2, 3}), 2, 3),
                    "join_windows: patches of shape [5, 2, 2, 3] are not whole grids of 2 x 3");
}

TEST_CASE("draw_crop_rows: every pair against its definition, on every device") {
  const std::int64_t patch = GENERATE(32, 64), crops = GENERATE(1, 3), size = GENERATE(128, 160), pairs = 300;
  const std::int64_t cells = (size - 32) / 2 + 1, across = patch / 32, quadrants = across * across;
  const std::int64_t down[8] = {-1, -1, -1, 0, 0, 1, 1, 1}, right[8] = {-1, 0, 1, -1, 1, -1, 0, 1};
  const auto rows_on = [&](Device device) {
    CropPairRows rows;
    for (int view = 0; view < 2; ++view) {
      rows.position[view] = Tensor<std::int32_t>::full({pairs * quadrants}, -1, device);
      rows.svdd[view] = Tensor<std::int32_t>::full({pairs * quadrants}, -1, device);
    }
    return rows;
  };
  const CropPairRows rows = rows_on(Device::cpu());
  const auto labels = Tensor<std::int32_t>::full({pairs}, -1);
  draw_crop_rows(rows, labels, crops, size, patch, 3, 17);

  struct Place {
    std::int64_t map, top, left;
  };
  const auto place = [&](const Tensor<std::int32_t>& row, std::int64_t i) {
    return Place{row.data()[i] / (cells * cells), row.data()[i] / cells % cells, row.data()[i] % cells};
  };
  std::map<std::int64_t, std::int64_t> directions;
  for (std::int64_t i = 0; i < pairs; ++i) {
    const std::int32_t label = labels.data()[i];
    REQUIRE((label >= 0 && label < 8));
    ++directions[label];
    for (int view = 0; view < 2; ++view)
      for (const auto* side : {&rows.position[view], &rows.svdd[view]})
        for (std::int64_t q = 0; q < quadrants; ++q) {
          const Place corner = place(*side, i * quadrants), here = place(*side, i * quadrants + q);
          REQUIRE((here.map >= view * crops && here.map < (view + 1) * crops && here.map == corner.map));
          REQUIRE((here.top == corner.top + q / across * 16 && here.left == corner.left + q % across * 16));
          REQUIRE((corner.top <= (size - patch) / 2 && corner.left <= (size - patch) / 2));
        }
    const Place first = place(rows.position[0], i * quadrants), second = place(rows.position[1], i * quadrants);
    REQUIRE(second.map == first.map + crops);
    const auto apart = [&](std::int64_t moved, std::int64_t direction) {
      if (direction == 0) return moved == 0;
      return moved * direction >= 3 * patch / 8 && moved * direction < patch / 2;
    };
    REQUIRE((apart(second.top - first.top, down[label]) && apart(second.left - first.left, right[label])));
    REQUIRE(rows.svdd[1].data()[i * quadrants] == rows.svdd[0].data()[i * quadrants] + crops * cells * cells);
  }
  CHECK(all_equally_likely(directions, 8, pairs));

  on_every_device([&](Device device) {
    const auto state = Tensor<StepState>::from({1}, {StepState{17, 0.1}}).to(device);
    for (const StepNumber& step : {StepNumber(17), StepNumber(state)}) {
      const CropPairRows drawn = rows_on(device);
      const auto drawn_labels = Tensor<std::int32_t>::full({pairs}, -1, device);
      draw_crop_rows(drawn, drawn_labels, crops, size, patch, 3, step);
      CHECK(same_bits(drawn_labels, labels));
      for (int view = 0; view < 2; ++view) {
        CHECK(same_bits(drawn.position[view], rows.position[view]));
        CHECK(same_bits(drawn.svdd[view], rows.svdd[view]));
      }
    }
  });
  const CropPairRows next = rows_on(Device::cpu());
  draw_crop_rows(next, labels, crops, size, patch, 3, 18);
  CHECK_FALSE(same_bits(next.position[0], rows.position[0]));
}

TEST_CASE("draw_crop_rows: the first pair of a step, number for number") {
  // From the names of the numbers: seed 5, step 2, large patches.
  const std::uint64_t stream = (std::uint64_t{3} << 56) + 2 * 256 + 1;
  const auto below = [&](std::uint32_t n, std::uint64_t k) -> std::int64_t { return random_below(n, 5, stream, k); };
  const seam::CropPair pair = seam::sample_crop_pair(64, 4, 128, 5, 2, 0);
  CHECK(pair.label == below(8, 0));
  CHECK(pair.crop == below(4, 3));
  CHECK(pair.svdd_crop == below(4, 6));
  CHECK(pair.svdd_top == below(33, 7));
  CHECK(pair.svdd_left == below(33, 8));
  const std::int64_t cell = pair.label + (pair.label >= 4);
  CHECK(pair.top[1] - pair.top[0] == (cell / 3 - 1) * (24 + below(8, 1)));
  CHECK(pair.left[1] - pair.left[0] == (cell % 3 - 1) * (24 + below(8, 2)));
}

TEST_CASE("draw_crop_rows names what is wrong") {
  const auto labels = Tensor<std::int32_t>::zeros({5}), large = Tensor<std::int32_t>::zeros({20});
  const CropPairRows rows{{large, large.clone()}, {large.clone(), large.clone()}};
  CHECK_NOTHROW(draw_crop_rows(rows, labels, 2, 128, 64, 1, 0));
  CHECK_THROWS_WITH(draw_crop_rows(rows, labels, 2, 128, 48, 1, 0),
                    "draw_crop_rows: patch_size must be 32 or 64, got 48");
  CHECK_THROWS_WITH(draw_crop_rows(rows, labels, 2, 96, 64, 1, 0),
                    "draw_crop_rows: size must be at least twice patch_size and below 65536, got 96");
  CHECK_THROWS_AS(draw_crop_rows(rows, labels, 0, 128, 64, 1, 0), Error);
  CHECK_THROWS_AS(draw_crop_rows(rows, labels, 1 << 20, 128, 64, 1, 0), Error);
  CHECK_THROWS_WITH(draw_crop_rows(rows, labels, 2, 128, 64, 1, -1),
                    "draw_crop_rows: step must be in [0, 2^43), got -1");
  CHECK_THROWS_WITH(draw_crop_rows(rows, labels, 2, 128, 32, 1, 0), "draw_crop_rows: rows must be [5], got [20]");
  CHECK_THROWS_AS(draw_crop_rows(rows, labels.reshape({5, 1}), 2, 128, 64, 1, 0), Error);
}
