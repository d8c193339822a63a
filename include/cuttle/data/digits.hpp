// Handwritten digits: labelled pictures of them, and pictures drawn by strokes of a pen for machines that have none.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "cuttle/core/random.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/data/resize.hpp"

namespace cuttle {

inline constexpr std::int64_t digit_side = 28;  // pixels, as in MNIST

// Labelled pictures of digits, white on black as in MNIST; idx.hpp reads them from files.
struct Digits {
  Tensor<std::uint8_t> images;  // (N,28,28)
  Tensor<std::uint8_t> labels;  // (N), 0 .. 9
};

namespace detail {

// Draws in order from one named stream, the same on every machine: no product here, nor in what is drawn from these
// numbers below, feeds a sum other than in a written fma.
class Draw {
 public:
  Draw(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  std::uint64_t bits() { return seam::random_word_pair(seed_, stream_, next_++); }
  double uniform(double low, double high) {
    return std::fma(high - low, random_uniform_double(seed_, stream_, next_++), low);
  }
  double around(double center, double spread) { return uniform(center - spread, center + spread); }
  // A whole number in [0, n).
  std::int64_t below(std::int64_t n) { return random_below(static_cast<std::uint32_t>(n), seed_, stream_, next_++); }

 private:
  std::uint64_t seed_, stream_, next_ = 0;
};

}  // namespace detail

namespace detail::pen {

struct Vec2 {
  double x = 0, y = 0;
  friend constexpr Vec2 operator+(Vec2 a, Vec2 b) { return {a.x + b.x, a.y + b.y}; }
  friend constexpr Vec2 operator-(Vec2 a, Vec2 b) { return {a.x - b.x, a.y - b.y}; }
  friend constexpr Vec2 operator/(Vec2 a, double s) { return {a.x / s, a.y / s}; }
};
inline double dot(Vec2 a, Vec2 b) { return std::fma(a.x, b.x, rounded_product(a.y, b.y)); }
inline double mix(double a, double b, double t) { return std::fma(t, b - a, a); }
inline Vec2 mix(Vec2 a, Vec2 b, double t) { return {mix(a.x, b.x, t), mix(a.y, b.y, t)}; }

// A point that the pen passes: where it comes down, on a smooth line, or at a sharp turn.
enum class Passes { down, smoothly, sharply };
struct Knot {
  Vec2 at;
  Passes passes = Passes::smoothly;
};
using Glyph = std::span<const Knot>;

// Ways to write each digit, one unit high, y downwards.
inline constexpr Passes down = Passes::down, sharply = Passes::sharply;
inline constexpr Knot zero_closed[] = {{{.38, .02}, down}, {{.12, .20}}, {{.02, .52}}, {{.12, .86}}, {{.36, 1.0}},
                                       {{.60, .84}},       {{.68, .48}}, {{.58, .14}}, {{.34, .00}}};
inline constexpr Knot zero_overlapping[] = {{{.50, .12}, down}, {{.30, .00}}, {{.07, .20}}, {{.00, .58}}, {{.14, .92}},
                                            {{.40, .98}},       {{.63, .74}}, {{.66, .34}}, {{.50, .06}}, {{.30, .08}}};
inline constexpr Knot one_plain[] = {{{.10, .00}, down}, {{.09, .50}}, {{.08, 1.0}}};
inline constexpr Knot one_flagged[] = {{{.02, .22}, down}, {{.20, .00}, sharply}, {{.19, .50}}, {{.18, 1.0}}};
inline constexpr Knot two_plain[] = {{{.04, .22}, down},    {{.20, .03}}, {{.45, .01}},
                                     {{.60, .20}},          {{.50, .48}}, {{.25, .77}},
                                     {{.00, 1.0}, sharply}, {{.30, .97}}, {{.68, .99}}};
inline constexpr Knot two_looped[] = {{{.06, .20}, down}, {{.25, .00}}, {{.50, .06}}, {{.56, .32}},
                                      {{.40, .64}},       {{.15, .95}}, {{.02, .94}}, {{.08, .80}},
                                      {{.28, .84}},       {{.48, .97}}, {{.70, .92}}};
inline constexpr Knot two_angular[] = {{{.02, .12}, down}, {{.28, .00}},          {{.57, .06}}, {{.50, .36}},
                                       {{.24, .72}},       {{.00, .98}, sharply}, {{.32, .96}}, {{.66, .90}}};
inline constexpr Knot three_round[] = {{{.05, .12}, down},    {{.28, .00}}, {{.52, .12}}, {{.46, .36}},
                                       {{.20, .47}, sharply}, {{.48, .54}}, {{.60, .75}}, {{.44, .96}},
                                       {{.20, 1.0}},          {{.00, .88}}};
inline constexpr Knot three_flat[] = {{{.04, .03}, down}, {{.30, .02}}, {{.56, .00}, sharply}, {{.24, .38}, sharply},
                                      {{.50, .48}},       {{.60, .72}}, {{.40, .97}},          {{.02, .93}}};
inline constexpr Knot three_looped[] = {{{.06, .12}, down}, {{.30, .00}}, {{.53, .14}}, {{.40, .40}},
                                        {{.20, .50}},       {{.18, .43}}, {{.34, .44}}, {{.57, .62}},
                                        {{.54, .88}},       {{.28, 1.0}}, {{.00, .90}}};
inline constexpr Knot four_open[] = {{{.14, .00}, down}, {{.08, .28}},       {{.00, .56}, sharply}, {{.30, .55}},
                                     {{.64, .50}},       {{.54, .04}, down}, {{.50, .50}},          {{.45, 1.0}}};
inline constexpr Knot four_closed[] = {{{.52, .00}, down}, {{.26, .34}},       {{.00, .66}, sharply}, {{.35, .65}},
                                       {{.74, .62}},       {{.53, .00}, down}, {{.52, .50}},          {{.50, 1.0}}};
inline constexpr Knot four_curved[] = {{{.10, .02}, down}, {{.02, .30}},          {{.12, .50}}, {{.35, .49}},
                                       {{.54, .28}},       {{.60, .00}, sharply}, {{.54, .50}}, {{.47, 1.0}}};
inline constexpr Knot five_barred[] = {{{.12, .02}, down}, {{.10, .22}}, {{.07, .44}, sharply}, {{.30, .36}},
                                       {{.54, .50}},       {{.55, .78}}, {{.32, .99}},          {{.00, .92}},
                                       {{.12, .03}, down}, {{.40, .03}}, {{.66, .00}}};
inline constexpr Knot five_angular[] = {{{.66, .00}, down},    {{.42, .02}}, {{.20, .04}, sharply},
                                        {{.12, .42}, sharply}, {{.36, .39}}, {{.55, .58}},
                                        {{.49, .86}},          {{.26, 1.0}}, {{.00, .93}}};
inline constexpr Knot five_curved[] = {{{.64, .02}, down}, {{.36, .03}}, {{.18, .10}}, {{.15, .34}}, {{.40, .46}},
                                       {{.55, .66}},       {{.44, .91}}, {{.20, 1.0}}, {{.00, .93}}};
inline constexpr Knot six_curved[] = {{{.46, .00}, down}, {{.20, .22}}, {{.03, .56}}, {{.07, .87}}, {{.30, 1.0}},
                                      {{.53, .84}},       {{.49, .62}}, {{.28, .56}}, {{.06, .74}}};
inline constexpr Knot six_straight[] = {{{.30, .00}, down}, {{.12, .36}}, {{.00, .74}}, {{.14, .97}}, {{.40, .95}},
                                        {{.54, .75}},       {{.40, .58}}, {{.18, .64}}, {{.07, .84}}};
inline constexpr Knot six_wide[] = {{{.56, .06}, down}, {{.32, .08}}, {{.08, .42}}, {{.04, .80}}, {{.26, 1.0}},
                                    {{.52, .86}},       {{.50, .62}}, {{.28, .53}}, {{.08, .68}}};
inline constexpr Knot seven_plain[] = {
    {{.00, .06}, down}, {{.30, .05}}, {{.64, .02}, sharply}, {{.44, .45}}, {{.30, 1.0}}};
inline constexpr Knot seven_hooked[] = {{{.02, .20}, down}, {{.05, .05}, sharply}, {{.36, .05}}, {{.66, .00}, sharply},
                                        {{.48, .35}},       {{.36, .70}},          {{.33, 1.0}}};
inline constexpr Knot seven_crossed[] = {{{.02, .07}, down}, {{.32, .04}},       {{.66, .02}, sharply}, {{.46, .45}},
                                         {{.32, 1.0}},       {{.16, .52}, down}, {{.62, .46}}};
inline constexpr Knot eight_crossing[] = {{{.55, .13}, down}, {{.33, .00}}, {{.11, .14}}, {{.21, .38}},
                                          {{.48, .62}},       {{.52, .87}}, {{.27, 1.0}}, {{.05, .85}},
                                          {{.14, .60}},       {{.41, .38}}, {{.57, .12}}};
inline constexpr Knot eight_stacked[] = {{{.31, .46}, down}, {{.10, .30}}, {{.13, .07}}, {{.34, .00}}, {{.52, .13}},
                                         {{.49, .35}},       {{.30, .47}}, {{.07, .67}}, {{.09, .91}}, {{.32, 1.0}},
                                         {{.55, .88}},       {{.53, .64}}, {{.31, .46}}};
inline constexpr Knot eight_open[] = {{{.62, .03}, down}, {{.34, .02}}, {{.12, .16}}, {{.22, .38}},
                                      {{.44, .62}},       {{.44, .90}}, {{.22, 1.0}}, {{.06, .86}},
                                      {{.18, .62}},       {{.40, .36}}, {{.60, .10}}};
inline constexpr Knot nine_straight[] = {{{.55, .16}, down},    {{.36, .01}}, {{.11, .10}},
                                         {{.02, .33}},          {{.20, .47}}, {{.43, .37}},
                                         {{.56, .12}, sharply}, {{.53, .55}}, {{.45, 1.0}}};
inline constexpr Knot nine_tailed[] = {{{.54, .12}, down}, {{.30, .00}}, {{.07, .16}},          {{.10, .40}},
                                       {{.33, .45}},       {{.52, .25}}, {{.57, .06}, sharply}, {{.56, .48}},
                                       {{.46, .85}},       {{.24, 1.0}}, {{.05, .93}}};
inline constexpr Knot nine_leaning[] = {{{.50, .08}, down}, {{.24, .02}},          {{.03, .20}}, {{.10, .41}},
                                        {{.33, .36}},       {{.53, .06}, sharply}, {{.42, .50}}, {{.32, 1.0}}};

inline constexpr std::array<std::array<Glyph, 3>, 10> glyphs{{
    {zero_closed, zero_overlapping, zero_closed},
    {one_plain, one_plain, one_flagged},
    {two_plain, two_looped, two_angular},
    {three_round, three_flat, three_looped},
    {four_open, four_closed, four_curved},
    {five_barred, five_angular, five_curved},
    {six_curved, six_straight, six_wide},
    {seven_plain, seven_hooked, seven_crossed},
    {eight_crossing, eight_stacked, eight_open},
    {nine_straight, nine_tailed, nine_leaning},
}};
inline constexpr std::size_t most_knots = 16, pieces = 6;  // of a glyph; between two knots

// How one hand writes one digit: the paper drawn out of shape, each point missed a little, then leaning and narrow or
// wide.
class Hand {
 public:
  explicit Hand(Draw& draw) : draw_(draw) {
    for (Vec2& shift : lattice_) shift = {draw.around(0, 0.13), draw.around(0, 0.10)};
    lean_ = draw.uniform(-0.2, 0.35);
    lean_ += draw.uniform(-0.05, 0.25);
    width_ = draw.uniform(0.75, 1.35);
    climb_ = draw.around(0, 0.12);
  }
  Vec2 operator()(Vec2 p) {
    // Bilinear in a lattice of 3 x 3 shifts over the unit square.
    const double u = 2 * std::clamp(p.x, 0.0, 1.0), v = 2 * std::clamp(p.y, 0.0, 1.0);
    const std::size_t column = u >= 1, row = v >= 1, at = 3 * row + column;
    const double s = u - static_cast<double>(column), t = v - static_cast<double>(row);
    p = p + mix(mix(lattice_[at], lattice_[at + 1], s), mix(lattice_[at + 3], lattice_[at + 4], s), t);
    p = p + Vec2{draw_.around(0, 0.03), draw_.around(0, 0.03)};
    return {std::fma(lean_, 0.5 - p.y, rounded_product(width_, p.x)), std::fma(climb_, -p.x, p.y)};
  }

 private:
  Draw& draw_;
  std::array<Vec2, 9> lattice_;
  double lean_, width_, climb_;
};

// The pen's way over the paper as a polyline.
struct Trace {
  struct Point {
    Vec2 at;
    double radius = 0;
    bool down = false;  // the pen comes down here: no line leads to it
  };
  std::array<Point, most_knots * pieces> points;
  std::size_t count = 0;
};

// Catmull-Rom curves through the knots, as Bezier curves by de Casteljau. A stroke's ends and sharp turns take the
// chord for the tangent.
inline Trace write(Glyph glyph, Draw& draw) {
  const auto ends = [&](std::size_t i) { return i + 1 == glyph.size() || glyph[i + 1].passes == Passes::down; };
  const auto breaks = [&](std::size_t i) { return ends(i) || glyph[i].passes != Passes::smoothly; };
  Hand hand(draw);
  std::array<Vec2, most_knots> knots;
  std::array<double, most_knots> radii;
  const double radius = draw.uniform(0.85, 1.75);
  for (std::size_t i = 0; i < glyph.size(); ++i) {
    knots[i] = hand(glyph[i].at);
    const bool thin = ends(i) || glyph[i].passes == Passes::down;
    radii[i] = rounded_product(radius, thin ? draw.uniform(0.7, 1.0) : draw.uniform(0.85, 1.1));
  }
  Trace trace;
  for (std::size_t i = 0; i < glyph.size(); ++i) {
    if (glyph[i].passes == Passes::down) {
      trace.points[trace.count++] = {knots[i], radii[i], true};
      continue;
    }
    const Vec2 from = knots[i - 1], to = knots[i];
    const Vec2 leave = from + (to - (breaks(i - 1) ? from : knots[i - 2])) / 6;
    const Vec2 arrive = to - ((breaks(i) ? to : knots[i + 1]) - from) / 6;
    for (std::size_t piece = 1; piece <= pieces; ++piece) {
      const double t = static_cast<double>(piece) / pieces;
      const Vec2 a = mix(from, leave, t), b = mix(leave, arrive, t), c = mix(arrive, to, t);
      trace.points[trace.count++] = {mix(mix(a, b, t), mix(b, c, t), t), mix(radii[i - 1], radii[i], t)};
    }
  }
  return trace;
}

// As MNIST has it: the ink fills a square of 20 pixels and its middle is the picture's, unless that would cut it off.
inline void place(Trace& trace, Draw& draw) {
  const std::span points(trace.points.data(), trace.count);
  Vec2 low = points[0].at, high = low, sum;
  double radius = 0;
  for (const auto& point : points) {
    low = {std::min(low.x, point.at.x), std::min(low.y, point.at.y)};
    high = {std::max(high.x, point.at.x), std::max(high.y, point.at.y)};
    sum = sum + point.at;
    radius = std::max(radius, point.radius);
  }
  const Vec2 extent = high - low, middle = sum / static_cast<double>(trace.count);
  const double scale = (draw.uniform(19, 20.5) - 2 * radius) / std::max(extent.x, extent.y);
  const auto moved = [&](double at, double center, double from, double to) {
    const double half = rounded_product(to - from, scale) / 2, room = 13 - radius - half;
    const double off_center = rounded_product(center - (from + to) / 2, scale);
    return std::fma(at - (from + to) / 2, scale, 14 - std::clamp(off_center, -room, room));
  };
  for (auto& point : points)
    point.at = {moved(point.at.x, middle.x, low.x, high.x), moved(point.at.y, middle.y, low.y, high.y)};
}

// Ink by the distance of a pixel's middle from the line, with an edge of `soft` pixels.
inline void ink(const Trace& trace, double blackness, double soft, std::uint8_t* picture) {
  for (std::size_t i = 1; i < trace.count; ++i) {
    const auto &a = trace.points[i - 1], &b = trace.points[i];
    if (b.down) continue;
    const Vec2 line = b.at - a.at;
    const double reach = std::max(a.radius, b.radius) + soft, length2 = dot(line, line);
    const auto first = [&](double p, double q) {
      return std::max(static_cast<std::int64_t>(std::min(p, q) - reach), std::int64_t{0});
    };
    const auto last = [&](double p, double q) {
      return std::min(static_cast<std::int64_t>(std::max(p, q) + reach), digit_side - 1);
    };
    for (std::int64_t y = first(a.at.y, b.at.y); y <= last(a.at.y, b.at.y); ++y)
      for (std::int64_t x = first(a.at.x, b.at.x); x <= last(a.at.x, b.at.x); ++x) {
        const Vec2 pixel{static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5};
        const double t = length2 > 0 ? std::clamp(dot(pixel - a.at, line) / length2, 0.0, 1.0) : 0.0;
        const Vec2 away = pixel - mix(a.at, b.at, t);
        const double inside = (mix(a.radius, b.radius, t) - std::sqrt(dot(away, away))) / soft + 0.5;
        std::uint8_t& value = picture[y * digit_side + x];
        value = std::max(value, static_cast<std::uint8_t>(std::fma(blackness, std::clamp(inside, 0.0, 1.0), 0.5)));
      }
  }
}

}  // namespace detail::pen

// A digit 0 .. 9 as a pen might have written it: bytes (28,28), white on black, sized and centred as MNIST's are. The
// number names the sample; the same one gives the same bits on every machine.
inline Tensor<std::uint8_t> drawn_digit(int digit, std::uint64_t number) {
  require(digit >= 0 && digit <= 9, "drawn_digit: digit must be 0 to 9, got ", digit);
  namespace p = detail::pen;
  detail::Draw draw(number, static_cast<std::uint64_t>(digit));
  const auto& ways = p::glyphs[static_cast<std::size_t>(digit)];
  p::Trace trace = p::write(ways[static_cast<std::size_t>(draw.below(std::ssize(ways)))], draw);
  p::place(trace, draw);
  auto picture = Tensor<std::uint8_t>::zeros({digit_side, digit_side});
  const double soft = draw.uniform(1.0, 1.5);
  p::ink(trace, draw.uniform(235, 255), soft, picture.data());
  return picture;
}

}  // namespace cuttle
