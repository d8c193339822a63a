// The pieces that misplace_patches lays on an image: parts of normal images where they do not belong (CutPaste, Li et
// al., CVPR 2021; foreign patch interpolation, Tan et al., 2020), turned where they are, or blank; as a pure function
// of the numbers' names. C++17; constexpr templates, so that kernels and host code share them. No product feeds a sum
// but in a written fma: the same bits on every device.
//
// Every number is named by (seed, stream, index), with the caller's stream + step:
//   index   16 * (256 * b + piece) + k      for image b, piece < 256
//           k = 0 whether the image is changed, 1 how many pieces, both of piece 0; 2 whole or not, 3 which content,
//           4 top, 5 left, 6 side, 7 opacity, 8 symmetry, 9 gray of a blank one; of foreign content 10 whether it is
//           turned, 11 image, 12 top, 13 left
#pragma once

#include <cmath>
#include <cstdint>

#include "cuttle/seam/philox.hpp"

namespace cuttle::seam {

// All shares are probabilities; turned + blank <= 1, and the rest of the pieces is foreign: content of a random place
// (of a whole piece: of a random patch of the grid) of a random image of the batch, in 3 of 10 cases under one of the
// eight symmetries of the square.
struct MisplaceOptions {
  double share = 0.8;                          // of the images that are changed at all
  std::int64_t most_pieces = 2;                // a changed image gets 1 .. most_pieces, uniformly; at most 256
  double whole = 0.5;                          // share of pieces that are a patch of the grid, in the place of one
  double turned = 0.3;                         // share that stay in their place, under one of the 7 other symmetries
  double blank = 0.25;                         // share that are constant: half of them 0, half uniform in [0, 1)
  double least_side = 0.25, most_side = 1.25;  // of a piece that is not whole, in patches: uniform
  double least_opacity = 1;                    // of a piece that is not whole: uniform in [least_opacity, 1]
};
inline constexpr std::int64_t most_misplaced_pieces = 256;
inline constexpr double foreign_turned = 0.3;

// A square of side x side pixels with its corner at (top, left). Its contents are the square of `image` with the corner
// (from_top, from_left) under a symmetry, or `gray` where image is -1.
struct MisplacedPiece {
  std::int32_t top, left, side;
  std::int32_t image, from_top, from_left;
  std::int32_t symmetry;  // bit 2: the contents are transposed; then bit 0: their rows reversed, bit 1: their columns
  float gray;
  double opacity;
};

struct PiecePixel {
  std::int64_t row, column;
};

// Pieces on image b; stream is the caller's + step.
constexpr std::int64_t count_misplaced_pieces(const MisplaceOptions& options, std::uint64_t seed, std::uint64_t stream,
                                              std::int64_t b) noexcept {
  const std::uint64_t first = 16 * 256 * static_cast<std::uint64_t>(b);
  if (!(random_uniform_double(seed, stream, first) < options.share)) return 0;
  return 1 + std::int64_t{random_below(static_cast<std::uint32_t>(options.most_pieces), seed, stream, first + 1)};
}

// A piece of image b of a batch of B images of H x H pixels, H a multiple of grid. The side of one that is not whole is
// round(uniform * patch), half to even, at least 1 and at most H; its place is uniform among those inside the image.
template <class Real = double>
constexpr MisplacedPiece sample_misplaced_piece(const MisplaceOptions& options, std::int64_t B, std::int64_t H,
                                                std::int64_t grid, std::uint64_t seed, std::uint64_t stream,
                                                std::int64_t b, std::int64_t piece) noexcept {
  const std::uint64_t name = 16 * (256 * static_cast<std::uint64_t>(b) + static_cast<std::uint64_t>(piece));
  const auto uniform = [&](std::uint64_t k) -> Real { return random_uniform_double(seed, stream, name + k); };
  const auto between = [&](Real low, Real high, std::uint64_t k) { return std::fma(uniform(k), high - low, low); };
  const auto below = [&](std::int64_t n, std::uint64_t k) {
    return static_cast<std::int32_t>(random_below(static_cast<std::uint32_t>(n), seed, stream, name + k));
  };
  const std::int32_t patch = static_cast<std::int32_t>(H / grid);
  const bool whole = uniform(2) < options.whole;
  const Real content = uniform(3);
  const bool turned = content < options.turned, blank = !turned && content < options.turned + options.blank;

  MisplacedPiece p{};
  p.side = patch;
  p.opacity = 1;
  if (!whole) {
    const Real side = std::rint(between(options.least_side, options.most_side, 6) * static_cast<Real>(patch));
    p.side = static_cast<std::int32_t>(std::fmin(std::fmax(side, Real(1)), static_cast<Real>(H)));
    p.opacity = between(options.least_opacity, 1, 7);
  }
  // A corner along one axis: of a patch, or any that leaves the piece inside.
  const auto corner = [&](std::uint64_t k) {
    return whole ? patch * below(grid, k) : below(H - std::int64_t{p.side} + 1, k);
  };
  p.top = corner(4);
  p.left = corner(5);
  if (turned) {
    p.image = static_cast<std::int32_t>(b);
    p.from_top = p.top;
    p.from_left = p.left;
    p.symmetry = 1 + below(7, 8);
  } else if (blank) {
    p.image = -1;
    const float gray = 2 * random_uniform(seed, stream, 2 * (name + 9)) - 1;  // both steps are exact
    p.gray = gray > 0 ? gray : 0;
  } else {
    p.image = below(B, 11);
    p.from_top = corner(12);
    p.from_left = corner(13);
    p.symmetry = uniform(10) < foreign_turned ? below(8, 8) : 0;
  }
  return p;
}

// Whether the piece covers pixel (i, j) of its image.
constexpr bool covers(const MisplacedPiece& p, std::int64_t i, std::int64_t j) noexcept {
  return i >= p.top && i < p.top + p.side && j >= p.left && j < p.left + p.side;
}

// The pixel of p.image that pixel (i, j) under the piece shows.
constexpr PiecePixel piece_source(const MisplacedPiece& p, std::int64_t i, std::int64_t j) noexcept {
  const std::int64_t last = p.side - 1, down = i - p.top, right = j - p.left;
  const std::int64_t row = p.symmetry & 1 ? last - down : down, column = p.symmetry & 2 ? last - right : right;
  return p.symmetry & 4 ? PiecePixel{p.from_top + column, p.from_left + row}
                        : PiecePixel{p.from_top + row, p.from_left + column};
}

// opacity * content + (1 - opacity) * under; opacity 1 is the content itself, whatever lies under it.
template <class T>
constexpr T lay_piece(double opacity, T content, T under) noexcept {
  const T share = static_cast<T>(opacity);
  return share == T(1) ? content : std::fma(share, content, (T(1) - share) * under);
}

}  // namespace cuttle::seam
