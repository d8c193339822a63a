// Pictures of results: a score map laid over its image, and the outline of a mask.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "cuttle/core/tensor.hpp"
#include "cuttle/data/pixels.hpp"

namespace cuttle {

using Rgb = std::array<std::uint8_t, 3>;

// The colour of t in [0, 1]: violet, red, orange, yellow, on a path through OKLab (Ottosson 2020) whose lightness rises
// evenly, so that equal steps of the score look equal, in gray print and to colour-blind readers too.
inline Rgb heat_color(double t) {
  t = std::clamp(t, 0.0, 1.0);
  constexpr double degree = 3.14159265358979323846 / 180;
  const double lightness = 0.25 + 0.68 * t, chroma = 0.13 + 0.26 * t * (1 - t) + 0.04 * t,
               hue = (-72 + 178 * t) * degree;
  const double a = chroma * std::cos(hue), b = chroma * std::sin(hue);
  const auto cube = [](double x) { return x * x * x; };
  const double l = cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
  const auto encode = [](double linear) {
    linear = std::clamp(linear, 0.0, 1.0);
    const double srgb = linear <= 0.0031308 ? 12.92 * linear : 1.055 * std::pow(linear, 1 / 2.4) - 0.055;
    return static_cast<std::uint8_t>(std::lround(255 * srgb));
  };
  return {encode(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          encode(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          encode(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

// image [H, W, 1 or 3] under the heat of map [H, W], as [H, W, 3]. Scores from low to high (low < high) run through
// heat_color while their opacity rises from 0 to 0.85; outside that range they are clamped; where the score is NaN the
// image shows unchanged.
inline Image heatmap_overlay(const Image& image, const Tensor<float>& map, float low, float high) {
  detail::require_image(image, "heatmap_overlay");
  require(map.shape() == Shape{image.size(0), image.size(1)}, "heatmap_overlay: map has shape ", map.shape(),
          ", the image ", image.shape());
  require(low < high && std::isfinite(low) && std::isfinite(high), "heatmap_overlay: needs low < high, got ", low,
          " and ", high);
  std::array<Rgb, 256> colors;
  for (std::size_t i = 0; i < colors.size(); ++i) colors[i] = heat_color(static_cast<double>(i) / 255);
  Image out = to_rgb(image).clone();
  std::uint8_t* pixel = out.data();
  for (float score : map.span()) {
    if (!std::isnan(score)) {
      const float t = std::clamp((score - low) / (high - low), 0.0f, 1.0f);
      const float opacity = 0.85f * t * (2 - t);
      const Rgb& heat = colors[static_cast<std::size_t>(std::lround(255 * t))];
      for (std::size_t c = 0; c < 3; ++c) {
        const float under = pixel[c];
        pixel[c] = static_cast<std::uint8_t>(std::lround(under + opacity * (static_cast<float>(heat[c]) - under)));
      }
    }
    pixel += 3;
  }
  return out;
}

// image [H, W, 1 or 3] with the outline of mask [H, W] (0: outside, anything else: inside) in one colour, as [H, W, 3]:
// the outline is those inside pixels that have an outside pixel among their four neighbours, or lie on the border.
inline Image draw_contour(const Image& image, const Tensor<std::uint8_t>& mask, const Rgb& color) {
  detail::require_image(image, "draw_contour");
  const std::int64_t height = image.size(0), width = image.size(1);
  require(mask.shape() == Shape{height, width}, "draw_contour: mask has shape ", mask.shape(), ", the image ",
          image.shape());
  Image out = to_rgb(image).clone();
  const auto inside = [&](std::int64_t y, std::int64_t x) {
    return y >= 0 && y < height && x >= 0 && x < width && mask.data()[y * width + x] != 0;
  };
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      if (inside(y, x) && !(inside(y - 1, x) && inside(y + 1, x) && inside(y, x - 1) && inside(y, x + 1)))
        std::copy_n(color.data(), 3, out.data() + (y * width + x) * 3);
  return out;
}

}  // namespace cuttle
