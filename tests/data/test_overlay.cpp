// Heat maps and outlines.
#include "cuttle/data/overlay.hpp"

#include <limits>

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
