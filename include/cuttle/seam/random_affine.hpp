// A random shift and zoom of an image about its centre, as torchvision's RandomAffine without rotation makes them of a
// PIL image with the nearest neighbour, as a pure function of the numbers' names. C++17; constexpr templates, so that
// kernels and host code share them. No product feeds a sum but in a written fma: the same bits on every device.
//
// Every number is named by (seed, stream, index):
//   stream  4 * 2^56 + step      (step < 2^43)
//   index   4 * b + k            for image b of the step: k = 0 shift to the right, 1 down, 2 scale
#pragma once

#include <cmath>
#include <cstdint>

#include "cuttle/seam/philox.hpp"

namespace cuttle::seam {

// How far images move: by up to `shift` of their width and of their height, magnified by least_scale to most_scale.
// 0 <= shift <= 1, 0 < least_scale <= most_scale.
struct AugmentOptions {
  double shift = 0.05;
  double least_scale = 0.95, most_scale = 1.05;
};

// Pixel p moves to scale * (p - centre) + centre + (right, down).
struct AffineMap {
  std::int64_t right, down;  // whole pixels
  double scale;
};

// right = round(uniform in +-shift * W), down = round(uniform in +-shift * H), half to even, and scale uniform, all in
// double from 53 random bits. With shift 0 and both scales 1 this is the identity whatever was drawn.
template <class Real = double>
constexpr AffineMap sample_affine_map(const AugmentOptions& options, std::int64_t H, std::int64_t W, std::uint64_t seed,
                                      std::int64_t step, std::int64_t b) noexcept {
  const std::uint64_t stream = std::uint64_t{4} << 56 | static_cast<std::uint64_t>(step);
  const auto uniform = [&](std::uint64_t k) -> Real {
    return random_uniform_double(seed, stream, 4 * static_cast<std::uint64_t>(b) + k);
  };
  const auto pixels = [&](std::int64_t side, std::uint64_t k) {
    const Real most = options.shift * static_cast<Real>(side);
    return static_cast<std::int64_t>(std::rint(std::fma(Real(2), uniform(k), Real(-1)) * most));
  };
  return {pixels(W, 0), pixels(H, 1),
          std::fma(uniform(2), options.most_scale - options.least_scale, options.least_scale)};
}

// Along one axis of `side` pixels: the pixel that lands on pixel i, floor((i + 1/2 - side/2 - shift) / scale + side/2),
// or -1 where that is none. The division is rounded once and everything else exact for scale 1.
constexpr std::int64_t affine_source(std::int64_t i, std::int64_t side, std::int64_t shift, double scale) noexcept {
  const double centre = static_cast<double>(side) / 2,
               from_centre = static_cast<double>(2 * (i - shift) + 1 - side) / 2;
  const double source = from_centre / scale + centre;
  return source >= 0 && source < static_cast<double>(side) ? static_cast<std::int64_t>(source) : -1;
}

}  // namespace cuttle::seam
