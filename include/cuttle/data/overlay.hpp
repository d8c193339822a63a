// Pictures of results: a score map laid over its image, and the outline of a mask.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cuttle/core/tensor.hpp"
#include "cuttle/data/pixels.hpp"

namespace cuttle {

// Red, green, blue.
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

// How much of the picture the heat of t in [0, 1] hides: 0 to 0.85.
inline float heat_opacity(float t) { return 0.85f * t * (2 - t); }

// image [H, W, 1 or 3] under the heat of map [H, W], as [H, W, 3]. Scores from low to high (low < high) run through
// heat_color while their opacity rises as heat_opacity has it; outside that range they are clamped; where the score is
// NaN the image shows unchanged.
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
      const float opacity = heat_opacity(t);
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

// The heat of all maps of a data set. Scores are products of distances and span orders of magnitude, so heat rises with
// their logarithm: from the 90th percentile of all pixels, since most of every picture is normal, to the 99.5th. Of the
// pixels every 37th is looked at, and NaN passed over.
class HeatScale {
 public:
  explicit HeatScale(std::span<const Tensor<float>> maps) {
    std::vector<float> values;
    for (const auto& map : maps)
      for (std::int64_t i = 0; i < map.numel(); i += 37)
        if (!std::isnan(map.data()[i])) values.push_back(map.data()[i]);
    require(!values.empty(), "HeatScale: no scores in ", maps.size(), " maps");
    const auto log_quantile = [&](double q) {
      const auto nth = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
      std::nth_element(values.begin(), nth, values.end());
      return log_of(*nth);
    };
    low_ = log_quantile(0.9);
    high_ = std::max(log_quantile(0.995), low_ + 0.5f);
  }

  // picture [H, W, 1 or 3] under the heat of map [H, W].
  Image over(const Image& picture, const Tensor<float>& map) const {
    Tensor<float> logs = map.clone();
    for (float& value : logs.span()) value = log_of(value);
    return heatmap_overlay(picture, logs, low_, high_);
  }

  // The heat of a map [H, W] without a picture, as [h, w, 1] of 0 (none) to 255: cut into at most most x most cells,
  // each as hot as its hottest pixel.
  Image levels(const Tensor<float>& map, std::int64_t most) const {
    require(map.rank() == 2 && map.numel() > 0 && most > 0, "HeatScale::levels: map has shape ", map.shape(),
            ", to be cut into ", most, " cells a side");
    const std::int64_t H = map.size(0), W = map.size(1), h = std::min(H, most), w = std::min(W, most);
    Image out = Image::zeros({h, w, 1});
    for (std::int64_t y = 0; y < H; ++y)
      for (std::int64_t x = 0; x < W; ++x) {
        const float score = map.data()[y * W + x];
        if (std::isnan(score)) continue;
        const float t = std::clamp((log_of(score) - low_) / (high_ - low_), 0.0f, 1.0f);
        std::uint8_t& cell = out.data()[y * h / H * w + x * w / W];
        cell = std::max(cell, static_cast<std::uint8_t>(std::lround(255 * t)));
      }
    return out;
  }

 private:
  static float log_of(float score) { return std::isnan(score) ? score : std::log(std::max(score, 1e-30f)); }
  float low_ = 0, high_ = 1;
};

// The outline of the pixels of mask [H, W] that are not 0 as the path of an SVG in units of pixels: along their edges,
// clockwise round every 8-connected part and counter-clockwise round its holes, so that it encloses those pixels and
// no other. Empty where there are none.
inline std::string outline_path(const Tensor<std::uint8_t>& mask) {
  require(mask.rank() == 2, "outline_path: mask needs shape [H, W], got ", mask.shape());
  const std::int64_t height = mask.size(0), width = mask.size(1);
  const auto inside = [&](std::int64_t y, std::int64_t x) {
    return y >= 0 && y < height && x >= 0 && x < width && mask.data()[y * width + x] != 0;
  };
  // Directions: 0 east, 1 south, 2 west, 3 north; the inside lies on the right hand.
  constexpr std::int64_t east[] = {1, 0, -1, 0}, south[] = {0, 1, 0, -1};
  // The pixels ahead of a corner, to the right and to the left of the way, from the corner.
  constexpr std::int64_t right_x[] = {0, -1, -1, 0}, right_y[] = {0, 0, -1, -1};
  constexpr std::int64_t left_x[] = {0, 0, -1, -1}, left_y[] = {-1, 0, 0, -1};
  std::vector<bool> walked(static_cast<std::size_t>(mask.numel()));  // the upper edges
  std::string path;
  for (std::int64_t top = 0; top < height; ++top)
    for (std::int64_t start = 0; start < width; ++start) {
      if (!inside(top, start) || inside(top - 1, start) || walked[static_cast<std::size_t>(top * width + start)])
        continue;
      path += 'M' + std::to_string(start) + ' ' + std::to_string(top);
      std::int64_t x = start, y = top, run = 0;
      int way = 0;
      do {
        if (way == 0) walked[static_cast<std::size_t>(y * width + x)] = true;
        x += east[way];
        y += south[way];
        run += east[way] + south[way];
        const int before = way;
        if (inside(y + left_y[way], x + left_x[way]))
          way = (way + 3) % 4;
        else if (!inside(y + right_y[way], x + right_x[way]))
          way = (way + 1) % 4;
        // The last run goes up or down to the start, as closing the path does.
        if (way == before || (x == start && y == top && way == 0)) continue;
        path += (before % 2 ? 'v' : 'h') + std::to_string(run);
        run = 0;
      } while (x != start || y != top || way != 0);
      path += 'z';
    }
  return path;
}

}  // namespace cuttle
