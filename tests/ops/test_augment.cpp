// augment, on every device.
#include "cuttle/ops/augment.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "cuttle/core/graph.hpp"
#include "cuttle/core/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::integer_tensor;
using cuttle_test::on_every_device;
using cuttle_test::same_bits;

namespace {

using Rows = Tensor<std::int64_t>;

Rows all_rows(std::int64_t B, std::int64_t N = 1) {
  Rows rows = Rows::empty({B});
  for (std::int64_t b = 0; b < B; ++b) rows.data()[b] = (5 * b + 2) % N;
  return rows;
}

// Pixel (i, j) holds (j, i, 255), so that a result tells where each of its pixels comes from. Sides below 255.
Tensor<std::uint8_t> coordinates(std::int64_t H, std::int64_t W) {
  auto image = Tensor<std::uint8_t>::empty({1, H, W, 3});
  for (std::int64_t p = 0; p < H * W; ++p) {
    image.data()[3 * p] = static_cast<std::uint8_t>(p % W);
    image.data()[3 * p + 1] = static_cast<std::uint8_t>(p / W);
    image.data()[3 * p + 2] = 255;
  }
  return image;
}
std::int64_t byte(double x) { return std::lround(255 * x); }

// The definition from the numbers' names, in double, rounded once.
template <class T>
Tensor<T> expected_images(const Tensor<std::uint8_t>& images, const Rows& rows, const AugmentOptions& options,
                          std::uint64_t seed, std::int64_t step) {
  const std::int64_t H = images.size(1), W = images.size(2), C = images.size(3), B = rows.numel();
  auto y = Tensor<T>::empty({B, H, W, C});
  const std::uint64_t stream = 4 * (std::uint64_t{1} << 56) + static_cast<std::uint64_t>(step);
  for (std::int64_t b = 0; b < B; ++b) {
    const auto uniform = [&](std::uint64_t k, double low, double high) {
      return low + (high - low) * random_uniform_double(seed, stream, static_cast<std::uint64_t>(4 * b) + k);
    };
    const double width = static_cast<double>(W), height = static_cast<double>(H);
    const double right = std::round(uniform(0, -options.shift * width, options.shift * width));
    const double down = std::round(uniform(1, -options.shift * height, options.shift * height));
    const double scale = uniform(2, options.least_scale, options.most_scale);
    for (std::int64_t i = 0; i < H; ++i)
      for (std::int64_t j = 0; j < W; ++j) {
        const double from_j = std::floor((static_cast<double>(j) + 0.5 - width / 2 - right) / scale + width / 2);
        const double from_i = std::floor((static_cast<double>(i) + 0.5 - height / 2 - down) / scale + height / 2);
        const bool inside = from_j >= 0 && from_j < width && from_i >= 0 && from_i < height;
        for (std::int64_t c = 0; c < C; ++c) {
          const std::int64_t from =
              inside
                  ? ((rows.data()[b] * H + static_cast<std::int64_t>(from_i)) * W + static_cast<std::int64_t>(from_j)) *
                            C +
                        c
                  : 0;
          y.data()[((b * H + i) * W + j) * C + c] =
              static_cast<T>(inside ? static_cast<double>(images.data()[from]) / 255 : 0.0);
        }
      }
  }
  return y;
}

// Counts of a variable that has these probabilities, each within five standard deviations of its mean.
bool distributed_as(const std::map<std::int64_t, std::int64_t>& counts,
                    const std::map<std::int64_t, double>& probabilities, double n) {
  for (const auto& [value, p] : probabilities) {
    const auto found = counts.find(value);
    const double count = found == counts.end() ? 0 : static_cast<double>(found->second);
    if (std::abs(count - n * p) > 5 * std::sqrt(n * p * (1 - p))) return false;
  }
  return counts.size() == probabilities.size();
}

// Of round(u), u uniform in +-most: 1 / (2 most) each, and what is left for both ends.
std::map<std::int64_t, double> rounded_uniform(double most) {
  std::map<std::int64_t, double> probabilities;
  const std::int64_t last = std::lround(most);
  for (std::int64_t value = -last; value <= last; ++value) probabilities[value] = 1 / (2 * most);
  probabilities[last] = probabilities[-last] = (most - static_cast<double>(last) + 0.5) / (2 * most);
  return probabilities;
}

}  // namespace

TEMPLATE_TEST_CASE("augment: the definition, to the bit on every device", "", float, double) {
  const std::int64_t C = GENERATE(1, 3);
  for (const auto& [H, W] :
       std::vector<std::array<std::int64_t, 2>>{{1, 1}, {1, 33}, {33, 1}, {33, 129}, {129, 33}, {16, 64}})
    for (const AugmentOptions& options : {AugmentOptions{}, AugmentOptions{0.5, 0.3, 2.5}, AugmentOptions{1, 1, 1}}) {
      INFO("H " << H << ", W " << W << ", shift " << options.shift);
      const auto images = integer_tensor<std::uint8_t>({3, H, W, C}, 1, 1, 255);
      const Rows rows = all_rows(5, 3);
      const auto expected = expected_images<TestType>(images, rows, options, 42, 9);
      on_every_device([&](Device device) {
        const auto there = images.to(device);
        const Rows chosen = rows.to(device);
        CHECK(same_bits(augment<TestType>(there, chosen, options, 42, 9), expected));
        const auto state = Tensor<StepState>::from({1}, {StepState{9, 0.1}}).to(device);
        CHECK(same_bits(augment<TestType>(there, chosen, options, 42, state), expected));
      });
    }
}

TEST_CASE("augment: worked by hand") {
  const auto five = Tensor<std::uint8_t>::from({1, 1, 5, 1}, {51, 102, 153, 204, 255});
  const auto six = Tensor<std::uint8_t>::from({1, 6, 1, 1}, {51, 102, 153, 204, 255, 255});
  on_every_device([&](Device device) {
    const auto shows = [&](const Tensor<std::uint8_t>& image, double scale, std::vector<float> values) {
      const auto expected = Tensor<float>::from(image.shape(), std::move(values));
      const auto zoomed = augment<float>(image.to(device), all_rows(1).to(device), {0, scale, scale}, 1, 0);
      return same_bits(zoomed, expected);
    };
    // Magnified by two, pixel 0 shows what lies at (0 + 1/2 - 5/2) / 2 + 5/2 = 3/2, pixel 1 what lies at 2.
    CHECK(shows(five, 2, {0.4f, 0.6f, 0.6f, 0.8f, 0.8f}));
    CHECK(shows(five, 0.5, {0, 0.2f, 0.6f, 1, 0}));
    // Both ends of the image, 0 and 6, are met exactly: the lower one is inside, the upper one is not.
    CHECK(shows(six, 0.5, {0, 0.2f, 0.6f, 1, 0, 0}));
    CHECK(shows(five, 1e300, {0.6f, 0.6f, 0.6f, 0.6f, 0.6f}));
    CHECK(shows(five, 1e-300, {0, 0, 0.6f, 0, 0}));
  });
}

TEMPLATE_TEST_CASE("augment: without shift and zoom, every byte over 255, whatever is drawn", "", float, double) {
  auto images = Tensor<std::uint8_t>::empty({2, 16, 16, 1});
  for (std::int64_t i = 0; i < images.numel(); ++i) images.data()[i] = static_cast<std::uint8_t>(i + i / 256);
  const Rows rows = Rows::from({3}, {1, 0, 1});
  auto expected = Tensor<TestType>::empty({3, 16, 16, 1});
  for (std::int64_t i = 0; i < expected.numel(); ++i)
    expected.data()[i] = static_cast<TestType>(images.data()[rows.data()[i / 256] * 256 + i % 256]) / TestType(255);
  on_every_device([&](Device device) {
    for (const std::int64_t step : {std::int64_t{0}, std::int64_t{7}, (std::int64_t{1} << 43) - 1})
      CHECK(same_bits(augment<TestType>(images.to(device), rows.to(device), {0, 1, 1}, 11, step), expected));
  });
}

TEST_CASE("augment: whole pixels to both sides and along both axes, as likely as rounding makes them") {
  const std::int64_t H = 9, W = 13, B = 10'000;
  const auto images = coordinates(H, W);
  const auto moved = augment<float>(images, all_rows(B), {0.25, 1, 1}, 3, 17);
  std::map<std::int64_t, std::int64_t> right, down;
  double together = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    const float* y = moved.data() + b * H * W * 3;
    const float* centre = y + (H / 2 * W + W / 2) * 3;  // inside, as nothing moves by half a side
    const std::int64_t to_right = W / 2 - byte(double{centre[0]}), to_bottom = H / 2 - byte(double{centre[1]});
    bool moved_as_one = true;
    for (std::int64_t i = 0; i < H; ++i)
      for (std::int64_t j = 0; j < W; ++j, y += 3) {
        const std::int64_t from_i = i - to_bottom, from_j = j - to_right;
        const bool inside = from_i >= 0 && from_i < H && from_j >= 0 && from_j < W;
        moved_as_one &= byte(double{y[0]}) == (inside ? from_j : 0) && byte(double{y[1]}) == (inside ? from_i : 0) &&
                        y[2] == (inside ? 1.0f : 0.0f);
      }
    REQUIRE(moved_as_one);
    ++right[to_right];
    ++down[to_bottom];
    together += static_cast<double>(to_right * to_bottom);
  }
  CHECK(distributed_as(right, rounded_uniform(3.25), B));
  CHECK(distributed_as(down, rounded_uniform(2.25), B));
  // Independent: the mean product of variances about 3.25^2 / 3 + 1/12 and 2.25^2 / 3 + 1/12 is 0.
  CHECK(std::abs(together / B) < 5 * std::sqrt(3.60 * 1.77 / static_cast<double>(B)));
}

TEST_CASE("augment: scales over their whole range and no further") {
  const std::int64_t W = 254, B = 4000;
  const double least = 0.5, most = 2;
  const auto zoomed = augment<float>(coordinates(1, W), all_rows(B), {0, least, most}, 4, 2);
  std::map<std::int64_t, std::int64_t> quarters;
  double smallest = most, largest = least;
  for (std::int64_t b = 0; b < B; ++b) {
    const float* y = zoomed.data() + b * W * 3;
    std::int64_t shown = 0, first = W, last = 0;
    for (std::int64_t j = 0; j < W; ++j)
      if (y[3 * j + 2] > 0) {
        const std::int64_t from = byte(double{y[3 * j]});
        ++shown;
        first = std::min(first, from);
        last = std::max(last, from);
      }
    // `shown` pixels show the middle `last - first + 1` of the image: both ends are off by less than a pixel.
    const double scale = static_cast<double>(shown) / static_cast<double>(last - first + 1);
    REQUIRE(std::abs(static_cast<double>(first + last) / 2 - (W - 1) / 2.0) <= 1);
    smallest = std::min(smallest, scale);
    largest = std::max(largest, scale);
    ++quarters[static_cast<std::int64_t>(std::floor((scale - least) / (most - least) * 4 * 0.999))];
  }
  CHECK(smallest >= least - 0.01);
  CHECK(smallest < least + 0.02);
  CHECK(largest <= most + 0.02);
  CHECK(largest > most - 0.02);
  CHECK(distributed_as(quarters, {{0, 0.25}, {1, 0.25}, {2, 0.25}, {3, 0.25}}, B));

  // The drawn numbers themselves.
  for (std::int64_t b = 0; b < 10'000; ++b) {
    const seam::AffineMap map = seam::sample_affine_map(AugmentOptions{}, 128, 100, 5, 6, b);
    REQUIRE((map.scale >= 0.95 && map.scale <= 1.05));
    REQUIRE((std::abs(map.right) <= 5 && std::abs(map.down) <= 6));
  }
}

TEST_CASE("augment: an image's map depends on seed, step and place alone") {
  const auto images = coordinates(33, 129);
  const AugmentOptions options{0.3, 0.5, 2};
  const auto many = augment<float>(images, all_rows(8), options, 1, 2);
  CHECK(same_bits(augment<float>(images, all_rows(3), options, 1, 2), many.slice(0, 3)));
  for (std::int64_t b = 1; b < 8; ++b) CHECK_FALSE(same_bits(many.slice(b, b + 1), many.slice(0, 1)));
  for (std::uint64_t seed = 1; seed < 3; ++seed)
    for (std::int64_t step = 2; step < 4; ++step)
      CHECK(same_bits(augment<float>(images, all_rows(8), options, seed, step), many) == (seed == 1 && step == 2));
  CHECK(augment<float>(images, all_rows(0), options, 1, 2).shape() == Shape{0, 33, 129, 3});
}

TEST_CASE("augment: a replay draws the maps of the step that the state names") {
  const auto images = coordinates(9, 33);
  const AugmentOptions options{0.3, 0.5, 2};
  on_every_device([&](Device device) {
    if (device.is_cpu()) return;
    const Stream stream(device);
    const StreamScope scope(device, stream.get());
    const auto there = images.to(device);
    const Rows rows = all_rows(3).to(device);
    auto state = Tensor<StepState>::empty({1}, device);
    auto y = augment<float>(there, rows, options, 8, 0);  // its memory serves the record
    const RecordedWork work(stream, [&] {
      y = Tensor<float>();
      y = augment<float>(there, rows, options, 8, state);
    });
    for (std::int64_t step = 0; step < 4; ++step) {
      state.copy_from(Tensor<StepState>::from({1}, {{step, 0}}));
      work.launch();
      CHECK(same_bits(y, augment<float>(images, all_rows(3), options, 8, step)));
    }
  });
}

TEST_CASE("augment: bad arguments are named; on a device a row that is no image is NaN") {
  const auto images = Tensor<std::uint8_t>::full({2, 9, 5, 3}, 255);
  const AugmentOptions still{0, 1, 1};
  for (const std::int64_t wrong : {std::int64_t{-1}, std::int64_t{2}, std::int64_t{1} << 40}) {
    const Rows rows = Rows::from({3}, {0, wrong, 1});
    CHECK_THROWS_WITH(augment<float>(images, rows, {}, 0, 0),
                      concat("augment: row ", wrong, " is no image of images [2, 9, 5, 3]"));
    auto expected = Tensor<float>::full({3, 9, 5, 3}, 1.0f);
    expected.slice(1, 2).copy_from(Tensor<float>::full({1, 9, 5, 3}, std::numeric_limits<float>::quiet_NaN()));
    on_every_device([&](Device device) {
      if (!device.is_cpu()) CHECK_CLOSE(augment<float>(images.to(device), rows.to(device), still, 0, 0), expected, {});
    });
  }
  const Rows rows = all_rows(2);
  const auto refused = [&](const AugmentOptions& options, const char* text) {
    CHECK_THROWS_WITH(augment<float>(images, rows, options, 0, 0), cuttle_test::contains(text));
  };
  refused({-0.1, 1, 1}, "augment: shift must be in [0, 1], got -0.1");
  refused({1.5, 1, 1}, "augment: shift must be in [0, 1], got 1.5");
  refused({std::nan(""), 1, 1}, "shift");
  refused({0, 0, 1}, "augment: scales must be finite with 0 < least_scale <= most_scale, got 0 and 1");
  refused({0, 1.1, 0.9}, "got 1.1 and 0.9");
  refused({0, std::nan(""), 1}, "scales");
  refused({0, 1, std::nan("")}, "scales");
  refused({0, 1, std::numeric_limits<double>::infinity()}, "scales");
  CHECK_THROWS_WITH(augment<float>(images, rows, {}, 0, -1), "augment: step must be in [0, 2^43), got -1");
  CHECK_THROWS_WITH(augment<float>(images, rows, {}, 0, std::int64_t{1} << 43), cuttle_test::contains("2^43"));
  CHECK_THROWS_WITH(augment<float>(images, rows, {}, 0, Tensor<StepState>::empty({2})), cuttle_test::contains("[2]"));
  CHECK_THROWS_WITH(augment<float>(images.reshape({2, 9, 15}), rows, {}, 0, 0),
                    "augment: images must be (N,H,W,C) and not empty, got [2, 9, 15]");
  CHECK_THROWS_WITH(augment<float>(images, rows.reshape({1, 2}), {}, 0, 0), "augment: rows must be (B), got [1, 2]");
}
