#include "cuttle/ops/distribute_scores.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cuttle/io/safetensors.hpp"
#include "cuttle/ops/elementwise.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::same_bits;

namespace {

// The definition: every patch adds its score and 1 to each of its pixels; then pixels without a patch copy the nearest
// one that has some, searched in all of the map.
template <class T>
Tensor<double> expected_maps(const Tensor<T>& scores, std::int64_t patch_size, std::int64_t stride, std::int64_t H,
                             std::int64_t W) {
  const std::int64_t B = scores.size(0), I = scores.size(1), J = scores.size(2);
  Tensor<double> maps = Tensor<double>::zeros({B, H, W});
  std::vector<double> count(static_cast<std::size_t>(H * W));
  for (std::int64_t i = 0; i < I; ++i)
    for (std::int64_t j = 0; j < J; ++j)
      for (std::int64_t y = i * stride; y < i * stride + patch_size; ++y)
        for (std::int64_t x = j * stride; x < j * stride + patch_size; ++x) {
          ++count[static_cast<std::size_t>(y * W + x)];
          for (std::int64_t b = 0; b < B; ++b)
            maps.data()[(b * H + y) * W + x] += static_cast<double>(scores.data()[(b * I + i) * J + j]);
        }
  for (std::int64_t b = 0; b < B; ++b) {
    double* map = maps.data() + b * H * W;
    for (std::int64_t p = 0; p < H * W; ++p) map[p] /= count[static_cast<std::size_t>(p)];
    for (std::int64_t p = 0; p < H * W; ++p) {
      if (count[static_cast<std::size_t>(p)] != 0) continue;
      std::int64_t nearest = 0, least = H * H + W * W;
      for (std::int64_t q = 0; q < H * W; ++q) {
        const std::int64_t dy = q / W - p / W, dx = q % W - p % W;
        if (count[static_cast<std::size_t>(q)] != 0 && dy * dy + dx * dx < least) {
          least = dy * dy + dx * dx;
          nearest = q;
        }
      }
      map[p] = map[nearest];
    }
  }
  return maps;
}

}  // namespace

TEMPLATE_TEST_CASE("distribute_scores is the mean over covering patches", "", float, double) {
  struct Case {
    std::int64_t B, I, J, patch_size, stride, H, W;
  };
  const Case cases[] = {{1, 1, 1, 1, 1, 1, 1},         {2, 1, 1, 5, 3, 5, 5},        {1, 3, 4, 6, 2, 10, 12},
                        {3, 5, 2, 7, 3, 19, 10},       {1, 4, 3, 7, 3, 18, 14},      {2, 3, 3, 4, 4, 12, 12},
                        {1, 3, 2, 2, 5, 15, 10},       {1, 2, 3, 3, 6, 13, 20},      {1, 1, 1, 3, 1, 9, 11},
                        {1, 13, 17, 64, 16, 256, 320}, {1, 26, 18, 32, 4, 133, 101}, {0, 2, 2, 4, 4, 8, 8},
                        {1, 2, 3, 3, 150, 160, 401},   {2, 1, 3, 3, 150, 5, 400},    {1, 9, 140, 2, 1, 10, 141},
                        {1, 1, 1, 3, 1 << 30, 9, 301}, {1, 2, 30, 40, 7, 47, 252}};
  for (const Case& c : cases) {
    INFO("I " << c.I << ", J " << c.J << ", patch_size " << c.patch_size << ", stride " << c.stride);
    const auto scores = cuttle_test::uniform_tensor<TestType>({c.B, c.I, c.J}, 4, 0.5, 1.5);
    const auto on_cpu = distribute_scores(scores, c.patch_size, c.stride, c.H, c.W);
    // One rounding to T; the double sums of up to 64 * 64 terms differ in order only.
    const double tolerance = std::is_same_v<TestType, float> ? 6e-8 : 1e-14;
    CHECK_CLOSE(on_cpu, expected_maps(scores, c.patch_size, c.stride, c.H, c.W), {tolerance});
    on_every_device([&](Device device) {
      CHECK(same_bits(distribute_scores(scores.to(device), c.patch_size, c.stride, c.H, c.W), on_cpu));
    });
  }
}

TEST_CASE("distribute_scores: hand-computed, with pixels that no patch covers") {
  on_every_device([](Device device) {
    const auto scores = Tensor<float>::from({1, 1, 2}, {2.0f, 6.0f}).to(device);
    CHECK_CLOSE(distribute_scores(scores, 2, 1, 2, 4), Tensor<float>::from({1, 2, 4}, {2, 4, 6, 6, 2, 4, 6, 6}), {});
    // Patches at columns 0-1 and 4-5: column 2 is nearer to the left one, 3 to the right one, 6 and row 2 are beyond.
    CHECK_CLOSE(distribute_scores(scores, 2, 4, 3, 7),
                Tensor<float>::from({1, 3, 7}, {2, 2, 2, 6, 6, 6, 6, 2, 2, 2, 6, 6, 6, 6, 2, 2, 2, 6, 6, 6, 6}), {});
    // A gap of three pixels: the middle one is as near to both and takes the left.
    CHECK_CLOSE(distribute_scores(scores, 1, 4, 1, 5), Tensor<float>::from({1, 1, 5}, {2, 2, 2, 6, 6}), {});
  });
}

TEST_CASE("distribute_scores: a constant stays, a NaN reaches its patch alone") {
  on_every_device([](Device device) {
    auto scores = Tensor<float>::full({1, 57, 57}, 0.7f);
    const auto constant = distribute_scores(scores.to(device), 32, 4, 256, 256);
    CHECK_CLOSE(constant, Tensor<float>::full({1, 256, 256}, 0.7f), {});
    scores.data()[10 * 57 + 20] = std::numeric_limits<float>::quiet_NaN();
    const auto on_device = distribute_scores(scores.to(device), 32, 4, 256, 256);
    const auto maps = on_device.to(Device::cpu());
    std::int64_t wrong = 0;
    for (std::int64_t y = 0; y < 256; ++y)
      for (std::int64_t x = 0; x < 256; ++x) {
        const bool inside = y >= 40 && y < 72 && x >= 80 && x < 112;
        wrong += std::isnan(maps.data()[y * 256 + x]) != inside;
      }
    CHECK(wrong == 0);
    CHECK(std::isnan(max_over_pixels(on_device).item()));
  });
}

TEST_CASE("distribute_scores: the same bits for any number of threads") {
  const auto scores = cuttle_test::uniform_tensor<float>({3, 57, 33}, 4, 0.5, 1.5);
  set_num_threads(1);
  const auto one = distribute_scores(scores, 32, 4, 256, 161);
  set_num_threads(2);
  const auto two = distribute_scores(scores, 32, 4, 256, 161);
  CHECK(std::memcmp(one.data(), two.data(), static_cast<std::size_t>(one.numel()) * sizeof(float)) == 0);
  set_num_threads(static_cast<int>(std::thread::hardware_concurrency()));
}

TEMPLATE_TEST_CASE("products of maps and max_over_pixels", "", float, double) {
  const std::int64_t H = GENERATE(1, 3), W = GENERATE(1, 15, 16, 33, 515, 2500);
  const auto a = cuttle_test::uniform_tensor<TestType>({3, H, W}, 4, 0.5, 1.5);
  auto b = cuttle_test::uniform_tensor<TestType>({3, H, W}, 4, 0.5, 1.5);
  for (std::int64_t i = 0; i < b.numel(); ++i) b.data()[i] -= TestType(1.1);  // negative maxima too
  on_every_device([&](Device device) {
    const auto product = multiply(a.to(device), b.to(device)).to(Device::cpu());
    const auto largest = max_over_pixels(b.to(device)).to(Device::cpu());
    CHECK(largest.shape() == Shape{3});
    for (std::int64_t image = 0; image < 3; ++image) {
      TestType expected = -std::numeric_limits<TestType>::infinity();
      bool equal = true;
      for (std::int64_t i = image * H * W; i < (image + 1) * H * W; ++i) {
        equal = equal && product.data()[i] == a.data()[i] * b.data()[i];
        expected = std::max(expected, b.data()[i]);
      }
      CHECK(equal);
      CHECK(largest.data()[image] == expected);
    }
    // Wherever the largest value or a NaN is, it is found; the last of a block's threads have 511, 1023 or 2047.
    for (std::int64_t at :
         {std::int64_t{0}, H * W / 2, H * W - 1, std::int64_t{511}, std::int64_t{1023}, std::int64_t{2047}}) {
      if (at >= H * W) continue;
      auto map = b.slice(1, 2).clone();
      map.data()[at] = 2;
      CHECK(max_over_pixels(map.to(device)).item() == 2);
      map.data()[at] = std::numeric_limits<TestType>::quiet_NaN();
      CHECK(std::isnan(max_over_pixels(map.to(device)).item()));
    }
  });
}

TEST_CASE("distribute_scores agrees with the reference's maps") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures/patch_svdd/psvdd_score.safetensors");
  const auto maps_64 = distribute_scores(file.tensor<float>("l2_64"), 64, 16, 256, 256);
  const auto maps_32 = distribute_scores(file.tensor<float>("l2_32"), 32, 4, 256, 256);
  const auto product = multiply(maps_64, maps_32);
  auto sum = maps_64.clone();
  for (std::int64_t i = 0; i < sum.numel(); ++i) sum.data()[i] += maps_32.data()[i];
  // The reference sums up to 64 terms in float32.
  CHECK_CLOSE(maps_64, file.tensor<float>("maps_64"), {1e-6});
  CHECK_CLOSE(maps_32, file.tensor<float>("maps_32"), {1e-6});
  CHECK_CLOSE(product, file.tensor<float>("maps_mult"), {1e-6});
  CHECK_CLOSE(max_over_pixels(maps_64), file.tensor<float>("score_64"), {1e-6});
  CHECK_CLOSE(max_over_pixels(maps_32), file.tensor<float>("score_32"), {1e-6});
  CHECK_CLOSE(max_over_pixels(sum), file.tensor<float>("score_sum"), {1e-6});
  CHECK_CLOSE(max_over_pixels(product), file.tensor<float>("score_mult"), {1e-6});
}

TEST_CASE("distribute_scores and its kin name what is wrong") {
  const auto scores = Tensor<float>::zeros({1, 3, 4});
  CHECK_THROWS_WITH(distribute_scores(scores.reshape({3, 4}), 4, 2, 8, 10),
                    "distribute_scores: scores must be (B,I,J) with I, J >= 1, got [3, 4]");
  CHECK_THROWS_WITH(distribute_scores(scores, 4, 0, 8, 10),
                    "distribute_scores: patch_size and stride must be at least 1, got 4 and 0");
  CHECK_THROWS_WITH(distribute_scores(scores, 4, 2, 8, 9),
                    "distribute_scores: 3 x 4 patches of size 4 and stride 2 do not fit into H x W = 8 x 9");
  CHECK_THROWS_WITH(max_over_pixels(scores.reshape({12})),
                    "max_over_pixels: maps must be (B,H,W) with H, W >= 1, got [12]");
}
