// Heat maps and outlines.
#include "cuttle/data/overlay.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "cuttle/core/random.hpp"

#include "tests/support/catch.hpp"

using namespace cuttle;

namespace {

std::vector<int> pixel(const Image& image, std::int64_t y, std::int64_t x) {
  const std::uint8_t* p = image.data() + (y * image.size(1) + x) * 3;
  return {p[0], p[1], p[2]};
}

}  // namespace

TEST_CASE("heat_color: brightness rises evenly from dark violet to yellow") {
  // CIE L*, from the definition: sRGB to linear to Y (Rec. 709) to L*.
  const auto lightness = [](const Rgb& color) {
    const double weights[] = {0.2126, 0.7152, 0.0722};
    double y = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      const double v = color[c] / 255.0;
      y += weights[c] * (v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
    }
    return y > 0.008856 ? 116 * std::cbrt(y) - 16 : 903.3 * y;
  };
  double before = lightness(heat_color(0));
  CHECK(before < 25);
  for (int i = 1; i <= 16; ++i) {
    const double now = lightness(heat_color(i / 16.0));
    CHECK(now - before > 1.5);
    CHECK(now - before < 9);
    before = now;
  }
  CHECK(before > 85);
  CHECK(heat_color(-1) == heat_color(0));
  CHECK(heat_color(2) == heat_color(1));
}

TEST_CASE("heatmap_overlay: low shows the image, high nearly the heat, NaN the image") {
  const Image gray = Image::full({1, 5, 1}, 100);
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const auto out = heatmap_overlay(gray, Tensor<float>::from({1, 5}, {2.0f, 4.0f, nan, -inf, inf}), 2, 4);
  REQUIRE(out.shape() == Shape{1, 5, 3});
  CHECK(pixel(out, 0, 0) == std::vector<int>{100, 100, 100});
  CHECK(pixel(out, 0, 2) == pixel(out, 0, 0));
  CHECK(pixel(out, 0, 3) == pixel(out, 0, 0));
  CHECK(pixel(out, 0, 4) == pixel(out, 0, 1));
  const Rgb hot = heat_color(1);
  for (std::size_t c = 0; c < 3; ++c) CHECK(std::abs(pixel(out, 0, 1)[c] - (0.15 * 100 + 0.85 * hot[c])) <= 0.51);
  CHECK(gray.data()[1] == 100);  // the input is left alone

  // A colour image is not written through either.
  const Image color = Image::full({1, 1, 3}, 9);
  heatmap_overlay(color, Tensor<float>::from({1, 1}, {1.0f}), 0, 1);
  CHECK(color.data()[0] == 9);
}

TEST_CASE("heatmap_overlay: the heat grows with the score") {
  const Image black = Image::zeros({1, 33, 3});
  Tensor<float> ramp = Tensor<float>::empty({1, 33});
  for (int i = 0; i < 33; ++i) ramp.data()[i] = static_cast<float>(i);
  const auto out = heatmap_overlay(black, ramp, 0, 32);
  const auto brightness = [&](std::int64_t x) { return pixel(out, 0, x)[0] + 2 * pixel(out, 0, x)[1]; };
  for (std::int64_t x = 1; x < 33; ++x) CHECK(brightness(x) > brightness(x - 1));
}

TEST_CASE("heatmap_overlay: arguments that do not fit") {
  const Image image = Image::zeros({4, 5, 3});
  CHECK_THROWS_AS(heatmap_overlay(image, Tensor<float>::zeros({5, 4}), 0, 1), Error);
  CHECK_THROWS_AS(heatmap_overlay(image, Tensor<float>::zeros({4, 5}), 1, 1), Error);
  CHECK_THROWS_AS(heatmap_overlay(image, Tensor<float>::zeros({4, 5}), 0, std::numeric_limits<float>::quiet_NaN()),
                  Error);
  CHECK_THROWS_AS(heatmap_overlay(Image::zeros({4, 5}), Tensor<float>::zeros({4, 5}), 0, 1), Error);
}

TEST_CASE("draw_contour: the inside pixels that touch the outside") {
  const Image image = Image::full({5, 6, 1}, 7);
  const auto mask = Tensor<std::uint8_t>::from({5, 6}, {0, 0, 0,   0, 0, 0,  //
                                                        0, 1, 1,   1, 0, 0,  //
                                                        0, 1, 255, 1, 1, 1,  //
                                                        0, 1, 1,   1, 1, 1,  //
                                                        0, 0, 0,   1, 1, 1});
  const Image out = draw_contour(image, mask, {255, 0, 1});
  const std::string expected =
      "......"
      ".###.."
      ".#..##"
      ".##..#"
      "...###";
  for (std::int64_t y = 0; y < 5; ++y)
    for (std::int64_t x = 0; x < 6; ++x)
      CHECK(pixel(out, y, x) == (expected[static_cast<std::size_t>(y * 6 + x)] == '#' ? std::vector<int>{255, 0, 1}
                                                                                      : std::vector<int>{7, 7, 7}));
  CHECK_THROWS_AS(draw_contour(image, Tensor<std::uint8_t>::zeros({6, 5}), {0, 0, 0}), Error);
}

TEST_CASE("outline_path: encloses the pixels of the mask and no other") {
  const auto path_of = [](std::int64_t height, std::int64_t width, const std::string& picture) {
    auto mask = Tensor<std::uint8_t>::zeros({height, width});
    for (std::size_t i = 0; i < picture.size(); ++i) mask.data()[i] = picture[i] == '#' ? 255 : 0;
    return outline_path(mask);
  };
  CHECK(path_of(1, 1, "#") == "M0 0h1v1h-1z");
  CHECK(path_of(2, 2, "....").empty());
  CHECK(path_of(2, 3,
                "##."
                "##.") == "M0 0h2v2h-2z");
  // A ring: round it clockwise, round its hole the other way.
  CHECK(path_of(3, 3,
                "###"
                "#.#"
                "###") == "M0 0h3v3h-3zM1 2h1v-1h-1z");
  // Corners that touch belong together.
  CHECK(path_of(2, 2,
                "#."
                ".#") == "M0 0h1v1h1v1h-1v-1h-1z");
  CHECK_THROWS_AS(outline_path(Tensor<std::uint8_t>::zeros({1, 2, 3})), Error);

  // Of any mask: the signed areas add up to the number of pixels, and a pixel's middle is wound round once if it is
  // inside and never if not.
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    auto mask = Tensor<std::uint8_t>::zeros({13, 17});
    for (std::int64_t i = 0; i < mask.numel(); ++i)
      mask.data()[i] = random_below(100, seed, 0, static_cast<std::uint64_t>(i)) < 20 * (seed + 1);
    std::vector<int> winding(13 * 17, 0);
    const std::string path = outline_path(mask);
    std::int64_t x = 0, y = 0, top = 0;
    // A vertical edge at x, downwards, counts for every pixel on its left.
    const auto edge = [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t row = std::min(from, to); row < std::max(from, to); ++row)
        for (std::int64_t column = 0; column < x; ++column)
          winding[static_cast<std::size_t>(row * 17 + column)] += to > from ? 1 : -1;
    };
    for (std::size_t at = 0; at < path.size();) {
      const char command = path[at++];
      if (command == 'z') {
        edge(y, top);
        continue;
      }
      std::size_t used;
      const std::int64_t n = std::stoll(path.substr(at), &used);
      at += used;
      if (command == 'M') {
        x = n;
        y = top = std::stoll(path.substr(at), &used);
        at += used;
      } else if (command == 'h') {
        x += n;
      } else {
        REQUIRE(command == 'v');
        edge(y, y + n);
        y += n;
      }
    }
    for (std::int64_t i = 0; i < mask.numel(); ++i) CHECK(winding[static_cast<std::size_t>(i)] == mask.data()[i]);
  }
}

TEST_CASE("HeatScale: heat rises with the logarithm, between the 90th percentile and the 99.5th") {
  // One map of 37,000 pixels, of which the scale looks at a thousand: exp(0), exp(0.01), ..., exp(9.99).
  auto map = Tensor<float>::zeros({37, 1000});
  for (std::int64_t i = 0; i < 1000; ++i)
    map.data()[37 * i] = static_cast<float>(std::exp(0.01 * static_cast<double>(i)));
  const HeatScale heat(std::span(&map, 1));
  const double low = 0.01 * 899, high = 0.01 * 994;
  auto probe = Tensor<float>::empty({1, 5});
  const double at[] = {-100, low, (low + high) / 2, high, 50};
  for (std::int64_t i = 0; i < 5; ++i) probe.data()[i] = static_cast<float>(std::exp(at[i]));
  const Image levels = heat.levels(probe, 5);
  CHECK(levels.shape() == Shape{1, 5, 1});
  const int expected[] = {0, 0, 128, 255, 255};
  for (std::int64_t i = 0; i < 5; ++i) CHECK(std::abs(levels.data()[i] - expected[i]) <= 1);
  // A picture shows the same.
  const Image over = heat.over(Image::zeros({1, 5, 1}), probe);
  CHECK(pixel(over, 0, 0) == std::vector<int>{0, 0, 0});
  CHECK(over.shape() == Shape{1, 5, 3});
  const Rgb hot = heat_color(1);
  for (std::size_t c = 0; c < 3; ++c) CHECK(std::abs(pixel(over, 0, 3)[c] - 0.85 * hot[c]) <= 1);

  // Fewer cells than pixels: each is as hot as its hottest pixel; NaN has no heat.
  probe.data()[1] = std::numeric_limits<float>::quiet_NaN();
  const Image two = heat.levels(probe, 2);
  CHECK(two.shape() == Shape{1, 2, 1});
  CHECK(std::abs(two.data()[0] - 128) <= 1);
  CHECK(two.data()[1] == 255);
  CHECK_THROWS_AS(HeatScale({}), Error);
  CHECK_THROWS_AS(heat.levels(probe, 0), Error);
  // All pixels alike are a scale too.
  const auto flat = Tensor<float>::zeros({4, 4});
  CHECK(HeatScale(std::span(&flat, 1)).levels(flat, 4).data()[5] == 0);
}
