// A synthetic inspection task that needs no download: photographs of a plain-woven cloth, and the same with one of four
// defects and its exact mask. The cloth is a height field of crossing yarns, lit from the side, so that a defect
// changes geometry and shade as it would in front of a camera. Every number comes from (seed, index) alone.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <numbers>
#include <string>
#include <string_view>
#include <vector>

#include "cuttle/core/parallel.hpp"
#include "cuttle/core/random.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/data/folder.hpp"
#include "cuttle/data/image.hpp"

namespace cuttle {

// A cloth without a defect, and the four defects.
enum class WovenKind { good, broken_thread, stain, hole, loose_knot };

// All kinds, good first.
inline constexpr std::array woven_kinds{WovenKind::good, WovenKind::broken_thread, WovenKind::stain, WovenKind::hole,
                                        WovenKind::loose_knot};

// The kind's name, as folders of a data set have it.
constexpr std::string_view name_of(WovenKind kind) {
  constexpr std::string_view names[] = {"good", "broken_thread", "stain", "hole", "loose_knot"};
  return names[static_cast<std::size_t>(kind)];
}

// A picture of cloth and the mask of its defect.
struct WovenImage {
  Image image;                // [size, size, 3]
  Tensor<std::uint8_t> mask;  // [size, size], 1 where the defect is, else 0
};

namespace detail::woven {

struct Vec2 {
  double x = 0, y = 0;
  friend Vec2 operator+(Vec2 a, Vec2 b) { return {a.x + b.x, a.y + b.y}; }
  friend Vec2 operator-(Vec2 a, Vec2 b) { return {a.x - b.x, a.y - b.y}; }
  friend Vec2 operator*(Vec2 a, double s) { return {a.x * s, a.y * s}; }
};
inline double dot(Vec2 a, Vec2 b) { return a.x * b.x + a.y * b.y; }
inline double length(Vec2 a) { return std::sqrt(dot(a, a)); }
inline Vec2 direction(double angle) { return {std::cos(angle), std::sin(angle)}; }

using Color = std::array<double, 3>;

inline double smooth_step(double from, double to, double x) {
  const double t = std::clamp((x - from) / (to - from), 0.0, 1.0);
  return t * t * (3 - 2 * t);
}

// The largest integer that is not above x; std::floor is a library call on baseline machines.
inline std::int64_t floor_of(double x) {
  const auto whole = static_cast<std::int64_t>(x);
  return whole - (x < static_cast<double>(whole));
}

// Draws in order from one named stream.
class Draw {
 public:
  Draw(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  double uniform(double low, double high) {
    return low + (high - low) * random_uniform_double(seed_, stream_, next_++);
  }
  double around(double center, double spread) { return uniform(center - spread, center + spread); }
  bool coin() { return uniform(0, 1) < 0.5; }

 private:
  std::uint64_t seed_, stream_, next_ = 0;
};

// Smooth noise in [-1, 1] with one random value per unit square, periodic.
class Noise {
 public:
  explicit Noise(Draw& draw) {
    for (double& value : lattice_) value = draw.uniform(-1, 1);
  }
  double operator()(double x, double y) const {
    const std::int64_t left = floor_of(x), top = floor_of(y);
    const double s = ease(x - static_cast<double>(left)), u = ease(y - static_cast<double>(top));
    const auto at = [&](std::int64_t column, std::int64_t row) {
      return lattice_[static_cast<std::size_t>((row & (period - 1)) * period + (column & (period - 1)))];
    };
    const double upper = at(left, top) + s * (at(left + 1, top) - at(left, top));
    const double lower = at(left, top + 1) + s * (at(left + 1, top + 1) - at(left, top + 1));
    return upper + u * (lower - upper);
  }

 private:
  static double ease(double t) { return t * t * (3 - 2 * t); }

  static constexpr std::int64_t period = 64;
  std::array<double, period * period> lattice_;
};

// A loose piece of yarn or fibre lying on the cloth: a polyline in thread units with radius, height and colour.
struct Strand {
  struct Point {
    Vec2 at;
    double height, radius;
  };
  std::vector<Point> points;
  Color color;
};

struct Surface {
  double height = -1;  // in thread units; the cloth's middle plane is 0
  Color color{};
};

// What happens to one piece of cloth. Lengths and places are in thread units.
struct Defect {
  WovenKind kind = WovenKind::good;
  Vec2 center;
  double radius = 0, strength = 0;
  bool warp = false;        // broken_thread: which system the thread belongs to
  double from = 0, to = 0;  // broken_thread: the missing stretch, along the thread
  Color tint{1, 1, 1};      // stain
  std::vector<Strand> strands;
  double strand_reach = 0;  // no strand, nor its shadow, is farther from the center than this
};

class Cloth {
 public:
  Cloth(std::uint64_t seed, std::uint64_t index) : draw_(seed, 2 * index), noise_(draw_), fibre_(draw_) {
    const double turn = draw_.around(0, 0.045);
    axis_ = direction(turn);
    scale_ = Vec2{draw_.around(threads, 0.7), draw_.around(threads * 0.94, 0.7)};
    phase_ = Vec2{draw_.uniform(8, 24), draw_.uniform(8, 24)};
    perspective_ = Vec2{draw_.around(0, 0.06), draw_.around(0, 0.06)};
    light_ = direction(draw_.around(-2.3, 0.3));
    gradient_ = direction(draw_.uniform(0, 6.28)) * draw_.uniform(0.03, 0.16);
    exposure_ = draw_.around(1.0, 0.07);
    const double warmth = draw_.around(0, 0.025);
    warp_color_ = {0.90 + warmth, 0.86, 0.78 - warmth};
    weft_color_ = {0.47 + warmth, 0.58, 0.69 - warmth};
    grain_ = draw_.uniform(0.006, 0.012);
  }

  // Where the point of the picture (both coordinates in [-1/2, 1/2]) lies on the cloth.
  Vec2 on_cloth(Vec2 p) const {
    const double depth = 1 + dot(perspective_, p);
    const Vec2 turned{axis_.x * p.x - axis_.y * p.y, axis_.y * p.x + axis_.x * p.y};
    const Vec2 q{turned.x * scale_.x / depth + phase_.x, turned.y * scale_.y / depth + phase_.y};
    return q + Vec2{noise_(q.x / 9, q.y / 9), noise_(q.x / 9 + 31, q.y / 9)} * 0.3;
  }

  const Color& warp_color() const { return warp_color_; }
  Vec2 light() const { return light_; }
  double grain() const { return grain_; }
  double illumination(Vec2 p) const { return exposure_ * (1 + dot(gradient_, p) - 0.22 * dot(p, p)); }

  // The topmost yarn at a place of the cloth. Warp threads run along y, weft threads along x; where the sum of the two
  // thread numbers is even the warp lies on top.
  Surface surface(Vec2 q, const Defect& defect) const {
    if (defect.kind == WovenKind::hole) {
      // The threads around have been pushed outward.
      const Vec2 away = q - defect.center;
      q = q - away * (0.34 * (1 - smooth_step(0.7, 1.55, length(away) / defect.radius)));
    }
    Surface top{-0.75, {0.07, 0.065, 0.06}};
    // The one that is to lie on top first: the other is mostly hidden, and then costs little.
    const bool warp_over = (floor_of(q.x) + floor_of(q.y)) % 2 == 0;
    consider(top, q, warp_over, warp_over, defect);
    consider(top, q, !warp_over, warp_over, defect);
    if (defect.kind == WovenKind::stain) soak(top, q, defect);
    if (near_strands(q, defect))
      for (const Strand& strand : defect.strands) lay(top, q, strand);
    return top;
  }

  // Share of the light that strands above leave, 1 where there are none.
  double shade_of_strands(Vec2 q, const Defect& defect) const {
    double left = 1;
    if (!near_strands(q, defect)) return left;
    const Vec2 toward = q + light_ * 0.32;
    for (const Strand& strand : defect.strands)
      for (std::size_t i = 0; i + 1 < strand.points.size(); ++i) {
        const auto [distance, at, height, radius] = nearest(toward, strand, i);
        if (distance < 2.2 * radius) left = std::min(left, 1 - 0.5 * (1 - smooth_step(0.5, 2.2, distance / radius)));
      }
    return left;
  }

 private:
  static constexpr double threads = 21;  // across the picture
  static constexpr double pi = std::numbers::pi;

  void consider(Surface& top, Vec2 q, bool warp, bool warp_over, const Defect& defect) const {
    const double across = warp ? q.x : q.y, along = warp ? q.y : q.x;
    const auto thread = static_cast<double>(floor_of(across)), crossing = static_cast<double>(floor_of(along));
    const double identity = thread + (warp ? 0.5 : 32.5);
    const double offset = 0.07 * noise_(along / 3.1, identity);
    double half_width = 0.47 + 0.035 * noise_(along / 2.3 + 17, identity) + 0.02 * noise_(40.5, identity);
    double bend = 0.24;
    if (defect.kind == WovenKind::broken_thread) {
      const double broken = std::floor(defect.warp ? defect.center.x : defect.center.y);
      const auto missing = [&](double at) {
        return smooth_step(defect.from, defect.from + 0.9, at) * (1 - smooth_step(defect.to - 0.9, defect.to, at));
      };
      if (warp == defect.warp && thread == broken) half_width *= 1 - missing(along);
      // What crossed it floats free, nearly flat.
      if (warp != defect.warp && crossing == broken) bend *= 1 - 0.8 * missing(across);
    }
    if (defect.kind == WovenKind::hole) {
      const double ragged =
          defect.radius *
          (1 + 0.35 * noise_(identity * 5.3, 3.5 + (along > (warp ? defect.center.y : defect.center.x))));
      half_width *= smooth_step(0.72 * ragged, 0.72 * ragged + 0.3, length(q - defect.center));
    }
    const double s = half_width > 0.02 ? (across - thread - 0.5 - offset) / half_width : 2;
    if (std::abs(s) >= 1) return;
    const bool over = warp == warp_over;
    const double wave = std::cos(pi * (along - crossing - 0.5)) * (over ? bend : -bend);
    const double height = wave + 0.42 * std::sqrt(1 - s * s) - 0.1;
    if (height <= top.height) return;

    // Twisted fibres, uneven yarn, and dye that differs a little from thread to thread.
    const double twist = std::sin(2 * pi * (2.3 * along + (warp ? 0.8 : -0.8) * s) + 5 * noise_(along, identity));
    const double fibre = fibre_(along * 7 + 13 * identity, across * 16);
    const double tone = 1 + 0.055 * twist + 0.10 * fibre + 0.07 * noise_(identity * 1.7, 7.5) +
                        0.06 * noise_(along / 1.7 + 9, identity);
    top.height = height + 0.018 * twist + 0.02 * fibre;
    for (std::size_t c = 0; c < 3; ++c) top.color[c] = (warp ? warp_color_ : weft_color_)[c] * tone;
  }

  // A dried liquid: an uneven blot, darkest at its rim, taken up more by the threads than by the gaps between.
  void soak(Surface& top, Vec2 q, const Defect& defect) const {
    const Vec2 away = q - defect.center;
    const double uneven = 0.30 * noise_(q.x / 2.1 + 5, q.y / 2.1) + 0.13 * noise_(q.x / 0.8, q.y / 0.8 + 11);
    const double r = length(away) / defect.radius + uneven;
    const double body = 1 - smooth_step(0.80, 1.02, r), rim = std::exp(-40 * (r - 0.86) * (r - 0.86));
    const double patchy = 0.75 + 0.3 * noise_(q.x / 1.4, q.y / 1.4 + 23);
    const double amount = defect.strength * body * std::min(1.0, 0.62 * patchy + 0.45 * rim);
    for (std::size_t c = 0; c < 3; ++c) top.color[c] *= 1 + amount * (defect.tint[c] - 1);
  }

  static bool near_strands(Vec2 q, const Defect& defect) {
    const Vec2 away = q - defect.center;
    return dot(away, away) < defect.strand_reach * defect.strand_reach;
  }

  struct Nearest {
    double distance, at, height, radius;
  };
  static Nearest nearest(Vec2 q, const Strand& strand, std::size_t segment) {
    const Strand::Point &a = strand.points[segment], &b = strand.points[segment + 1];
    const Vec2 d = b.at - a.at;
    const double at = std::clamp(dot(q - a.at, d) / std::max(dot(d, d), 1e-12), 0.0, 1.0);
    return {length(q - a.at - d * at), at, a.height + at * (b.height - a.height),
            a.radius + at * (b.radius - a.radius)};
  }
  void lay(Surface& top, Vec2 q, const Strand& strand) const {
    for (std::size_t i = 0; i + 1 < strand.points.size(); ++i) {
      const auto [distance, at, height, radius] = nearest(q, strand, i);
      if (distance >= radius) continue;
      const double s = distance / radius, z = height + radius * std::sqrt(1 - s * s);
      if (z <= top.height) continue;
      top.height = z;
      const double tone = 0.95 + 0.12 * fibre_(q.x * 13, q.y * 13) + 0.06 * std::sin(9 * (static_cast<double>(i) + at));
      for (std::size_t c = 0; c < 3; ++c) top.color[c] = strand.color[c] * tone;
    }
  }

  Draw draw_;
  Noise noise_, fibre_;
  Vec2 axis_, scale_, phase_, perspective_, light_, gradient_;
  Color warp_color_, weft_color_;
  double exposure_ = 1, grain_ = 0;
};

// A curving piece of yarn that starts at `at` and heads for `angle`.
inline Strand loose_end(Draw& draw, Vec2 at, double angle, double reach, double radius, const Color& color) {
  Strand strand{{}, color};
  constexpr int steps = 9;
  const double curl = draw.around(0, 0.28), lift = draw.uniform(0.25, 0.5);
  for (int i = 0; i <= steps; ++i) {
    const double t = static_cast<double>(i) / steps;
    strand.points.push_back({at, 0.25 + lift * t * (1.6 - t), radius * (1 - 0.55 * t)});
    at = at + direction(angle) * (reach / steps);
    angle += curl;
  }
  return strand;
}

inline Defect plan_defect(const Cloth& cloth, WovenKind kind, std::uint64_t seed, std::uint64_t index) {
  Draw draw(seed, 2 * index + 1);
  Defect defect;
  defect.kind = kind;
  // The same draws lead for every kind, so the place does not depend on it.
  defect.center = cloth.on_cloth({draw.around(0, 0.36), draw.around(0, 0.36)});
  defect.warp = draw.coin();
  const Color yarn = cloth.warp_color();
  switch (kind) {
    case WovenKind::good:
      break;
    case WovenKind::broken_thread: {
      const double along = defect.warp ? defect.center.y : defect.center.x, reach = draw.uniform(2.4, 4.6);
      defect.from = along - reach;
      defect.to = along + reach;
      const double middle = std::floor(defect.warp ? defect.center.x : defect.center.y) + 0.5;
      for (const bool far : {false, true}) {
        const double end = far ? defect.to - 0.35 : defect.from + 0.35;
        for (int i = 0; i < 3; ++i) {
          const Vec2 at =
              defect.warp ? Vec2{middle + draw.around(0, 0.2), end} : Vec2{end, middle + draw.around(0, 0.2)};
          const double inward = (defect.warp ? 1.5708 : 0.0) + (far ? std::numbers::pi : 0.0);
          Color color = yarn;
          if (!defect.warp) color = {0.50, 0.60, 0.70};
          defect.strands.push_back(loose_end(draw, at, inward + draw.around(0, 0.9), draw.uniform(0.7, 1.7),
                                             draw.uniform(0.06, 0.11), color));
        }
      }
      break;
    }
    case WovenKind::stain: {
      defect.radius = draw.uniform(1.6, 3.4);
      defect.strength = draw.uniform(0.7, 1.0);
      constexpr Color tints[] = {{0.55, 0.42, 0.28}, {0.45, 0.42, 0.40}, {0.62, 0.38, 0.33}};  // coffee, oil, rust
      defect.tint = tints[static_cast<std::size_t>(draw.uniform(0, 3))];
      break;
    }
    case WovenKind::hole:
      defect.radius = draw.uniform(1.1, 1.9);
      for (int i = 0; i < 7; ++i) {
        const double angle = draw.uniform(0, 2 * std::numbers::pi);
        const Vec2 at = defect.center + direction(angle) * (defect.radius * draw.uniform(0.85, 1.1));
        defect.strands.push_back(loose_end(draw, at, angle + std::numbers::pi + draw.around(0, 0.8),
                                           defect.radius * draw.uniform(0.4, 0.8), draw.uniform(0.05, 0.10),
                                           i % 2 ? yarn : Color{0.48, 0.58, 0.69}));
      }
      break;
    case WovenKind::loose_knot: {
      defect.radius = draw.uniform(0.9, 1.35);
      const double turns = draw.uniform(1.6, 2.6), start = draw.uniform(0, 6.28), petals = draw.uniform(1.2, 2.2);
      const double flat = draw.uniform(0.6, 1.0);
      Strand coil{{}, yarn};
      constexpr int steps = 44;
      for (int i = 0; i <= steps; ++i) {
        const double t = static_cast<double>(i) / steps, angle = start + 2 * std::numbers::pi * turns * t;
        const double r = defect.radius * (0.50 + 0.42 * std::sin(2 * std::numbers::pi * petals * t + start));
        const Vec2 spoke = direction(angle) * r;
        coil.points.push_back(
            {defect.center + Vec2{spoke.x, spoke.y * flat}, 0.48 + 0.22 * std::sin(11 * t + start), 0.2});
      }
      for (const bool last : {false, true}) {
        const Vec2 at = (last ? coil.points.back() : coil.points.front()).at;
        const double outward = std::atan2(at.y - defect.center.y, at.x - defect.center.x);
        defect.strands.push_back(
            loose_end(draw, at, outward + draw.around(0, 0.8), draw.uniform(1.2, 2.4), 0.17, yarn));
      }
      defect.strands.push_back(std::move(coil));
      break;
    }
  }
  for (const Strand& strand : defect.strands)
    for (const Strand::Point& point : strand.points)
      defect.strand_reach = std::max(defect.strand_reach, length(point.at - defect.center) + 1);
  return defect;
}

// The picture [size, size, 3] without sensor noise, as reals in 0 .. 1: two samples a pixel along each axis.
inline Tensor<float> render(const Cloth& cloth, const Defect& defect, std::int64_t size) {
  const std::int64_t fine = 2 * size + 1;  // one more row and column, for the slopes
  const double step = 1.0 / static_cast<double>(2 * size);
  const auto place = [&](std::int64_t x, std::int64_t y) {
    return Vec2{(static_cast<double>(x) + 0.5) * step - 0.5, (static_cast<double>(y) + 0.5) * step - 0.5};
  };
  std::vector<Surface> surface(static_cast<std::size_t>(fine * fine));
  for (std::int64_t y = 0; y < fine; ++y)
    for (std::int64_t x = 0; x < fine; ++x)
      surface[static_cast<std::size_t>(y * fine + x)] = cloth.surface(cloth.on_cloth(place(x, y)), defect);

  const Vec2 light = cloth.light();
  constexpr double side = 0.62, front = 0.785;  // the light's direction: 38 degrees off the camera's axis
  Tensor<float> picture = Tensor<float>::zeros({size, size, 3});
  for (std::int64_t y = 0; y < 2 * size; ++y)
    for (std::int64_t x = 0; x < 2 * size; ++x) {
      const Surface& here = surface[static_cast<std::size_t>(y * fine + x)];
      const double right = surface[static_cast<std::size_t>(y * fine + x + 1)].height;
      const double below = surface[static_cast<std::size_t>((y + 1) * fine + x)].height;
      const double per_thread = 1 / (21 * step);
      const Vec2 slope{std::clamp((right - here.height) * per_thread, -1.6, 1.6),
                       std::clamp((below - here.height) * per_thread, -1.6, 1.6)};
      const double norm = 1 / std::sqrt(1 + dot(slope, slope));
      const double diffuse = std::max(0.0, (front - side * dot(slope, light)) * norm);
      const double open = 0.45 + 0.55 * smooth_step(-0.55, 0.45, here.height);  // crevices see less of the sky
      const double shade = defect.strands.empty() ? 1 : cloth.shade_of_strands(cloth.on_cloth(place(x, y)), defect);
      const double glance = diffuse * diffuse * diffuse * diffuse, gloss = 0.05 * glance * glance * glance;
      const double light_here = cloth.illumination(place(x, y)) * (0.30 * open + 0.72 * open * diffuse * shade);
      float* pixel = picture.data() + ((y / 2) * size + x / 2) * 3;
      for (std::size_t c = 0; c < 3; ++c)
        pixel[c] += static_cast<float>(0.25 * std::clamp(here.color[c] * light_here + gloss, 0.0, 1.0));
    }
  return picture;
}

inline Image expose(const Tensor<float>& picture, double grain, std::uint64_t seed, std::uint64_t index) {
  constexpr std::uint64_t noise_streams = std::uint64_t{1} << 63;
  Image image = Image::empty(picture.shape());
  for (std::int64_t i = 0; i < picture.numel(); ++i) {
    // A sensor sees brightness noise more than colour noise: the same number for the three channels of a pixel.
    const double noise = grain * random_normal(seed, noise_streams + index, static_cast<std::uint64_t>(i / 3));
    const double value = static_cast<double>(picture.data()[i]) + noise;
    image.data()[i] = static_cast<std::uint8_t>(std::clamp(std::floor(255 * value + 0.5), 0.0, 255.0));
  }
  return image;
}

// Grown, then shrunk by two pixels: closes the gaps that chance agreement leaves inside a defect.
inline Tensor<std::uint8_t> closed(const Tensor<std::uint8_t>& mask) {
  const std::int64_t size = mask.size(0);
  const auto pass = [&](const Tensor<std::uint8_t>& in, std::uint8_t wanted) {
    Tensor<std::uint8_t> out = in.clone();
    for (std::int64_t y = 0; y < size; ++y)
      for (std::int64_t x = 0; x < size; ++x)
        if (in.data()[y * size + x] == wanted)
          for (std::int64_t v = std::max<std::int64_t>(y - 2, 0); v <= std::min(y + 2, size - 1); ++v)
            for (std::int64_t u = std::max<std::int64_t>(x - 2, 0); u <= std::min(x + 2, size - 1); ++u)
              out.data()[v * size + u] = wanted;
    return out;
  };
  return pass(pass(mask, 1), 0);
}

}  // namespace detail::woven

// Picture number `index` of the cloth that `seed` names, at size x size pixels, with or without a defect. Yarns,
// framing, perspective, light and colour differ from index to index. One index with different kinds shows the same
// piece of cloth, and a defective picture equals the good one at every pixel outside its mask. The mask covers what the
// defect changes by more than 8 of 255 levels, gaps of up to four pixels closed.
inline WovenImage woven_image(std::uint64_t seed, std::uint64_t index, WovenKind kind, std::int64_t size = 256) {
  namespace w = detail::woven;
  require(size >= 32 && size <= 4096, "woven_image: size must be 32 to 4096, got ", size);
  require(index < std::uint64_t{1} << 62, "woven_image: index must be below 2^62, got ", index);
  const w::Cloth cloth(seed, index);
  Tensor<float> picture = w::render(cloth, w::Defect{}, size);
  Tensor<std::uint8_t> mask = Tensor<std::uint8_t>::zeros({size, size});
  if (kind != WovenKind::good) {
    const Tensor<float> changed = w::render(cloth, w::plan_defect(cloth, kind, seed, index), size);
    for (std::int64_t i = 0; i < picture.numel(); ++i)
      if (std::abs(changed.data()[i] - picture.data()[i]) > 8.0f / 255) mask.data()[i / 3] = 1;
    mask = w::closed(mask);
    for (std::int64_t i = 0; i < picture.numel(); ++i)
      if (mask.data()[i / 3]) picture.data()[i] = changed.data()[i];
  }
  return {w::expose(picture, cloth.grain(), seed, index), mask};
}

// How many pictures the woven set has; each_defect is of each of the four kinds, all in the test split.
struct WovenCounts {
  std::int64_t train_good = 60, test_good = 20, each_defect = 8;
};

namespace detail {

struct WovenEntry {
  Sample sample;  // with paths relative to the tree
  WovenKind kind;
  std::uint64_t index;
};

// The pictures of one split; no two entries of a data set share an index, so no test picture shows a training cloth.
inline std::vector<WovenEntry> woven_entries(const WovenCounts& counts, Split split) {
  require(counts.train_good >= 0 && counts.test_good >= 0 && counts.each_defect >= 0,
          "woven: counts must not be negative");
  std::vector<WovenEntry> entries;
  for (const WovenKind kind : woven_kinds) {
    const bool good = kind == WovenKind::good, train = split == Split::train;
    if (train && !good) continue;
    const std::int64_t count = train ? counts.train_good : good ? counts.test_good : counts.each_defect;
    const std::uint64_t block = train ? 0 : 1 + static_cast<std::uint64_t>(kind);
    for (std::int64_t i = 0; i < count; ++i) {
      std::string number = std::to_string(i);
      number.insert(0, number.size() < 3 ? 3 - number.size() : 0, '0');
      const std::string name(name_of(kind));
      const std::filesystem::path path = std::filesystem::path(train ? "train" : "test") / name / (number + ".png");
      entries.push_back(
          {{path, good ? Label::normal : Label::anomalous, name,
            good ? std::filesystem::path() : std::filesystem::path("ground_truth") / name / (number + "_mask.png")},
           kind,
           (block << 40) + static_cast<std::uint64_t>(i)});
    }
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.sample.path < b.sample.path; });
  return entries;
}

}  // namespace detail

// One split of the woven set in memory: what list_images and load_images (with masks) give for the tree that
// write_woven_tree writes at the same size, but with paths relative to that tree.
inline ImageSet woven_set(const WovenCounts& counts, Split split, std::uint64_t seed, std::int64_t size = 256) {
  const auto entries = detail::woven_entries(counts, split);
  const auto total = static_cast<std::int64_t>(entries.size());
  ImageSet set;
  set.images = Tensor<std::uint8_t>::empty({total, size, size, 3});
  set.masks = Tensor<std::uint8_t>::empty({total, size, size});
  for (const auto& entry : entries) set.samples.push_back(entry.sample);
  parallel_for(total, [&](std::int64_t i) {
    const auto& entry = entries[static_cast<std::size_t>(i)];
    const WovenImage woven = woven_image(seed, entry.index, entry.kind, size);
    set.images.slice(i, i + 1).reshape({size, size, 3}).copy_from(woven.image);
    set.masks.slice(i, i + 1).reshape({size, size}).copy_from(woven.mask);
  });
  return set;
}

// Writes the woven set as an MVTec AD tree of PNG files into `folder`, which is made if need be; masks are 0 and 255.
inline void write_woven_tree(const std::filesystem::path& folder, const WovenCounts& counts, std::uint64_t seed,
                             std::int64_t size = 256) {
  for (const Split split : {Split::train, Split::test}) {
    const auto entries = detail::woven_entries(counts, split);
    const auto make_parent = [&](const std::filesystem::path& file) {
      std::error_code error;
      std::filesystem::create_directories((folder / file).parent_path(), error);
      if (error) throw IoError((folder / file).parent_path().string(), "cannot be made: " + error.message());
    };
    for (const auto& entry : entries) {
      make_parent(entry.sample.path);
      if (!entry.sample.mask.empty()) make_parent(entry.sample.mask);
    }
    parallel_for(static_cast<std::int64_t>(entries.size()), [&](std::int64_t i) {
      const auto& entry = entries[static_cast<std::size_t>(i)];
      const WovenImage woven = woven_image(seed, entry.index, entry.kind, size);
      write_png(folder / entry.sample.path, woven.image);
      if (entry.sample.mask.empty()) return;
      Image mask = Image::empty({size, size, 1});
      std::transform(woven.mask.data(), woven.mask.data() + woven.mask.numel(), mask.data(),
                     [](std::uint8_t inside) { return inside ? std::uint8_t{255} : std::uint8_t{0}; });
      write_png(folder / entry.sample.mask, mask);
    });
  }
}

}  // namespace cuttle
