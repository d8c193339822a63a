// DigitAnatomy (Xiang et al., "SQUID: Deep feature in-painting for unsupervised anomaly detection", CVPR 2023, section
// 4.1): the digits 1 to 9 in reading order on a 3 x 3 grid stand for an anatomy that is always arranged the same way.
// Abnormal is a missing, misordered, flipped or novel digit.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/data/digits.hpp"
#include "cuttle/data/labelled_images.hpp"
#include "cuttle/data/pixels.hpp"

namespace cuttle {

// Normal, and what is wrong with one digit of an abnormal image.
enum class DigitAnatomyKind { normal, missing, misordered, flipped, novel };

// All kinds, normal first.
inline constexpr std::array digit_anatomy_kinds{DigitAnatomyKind::normal, DigitAnatomyKind::missing,
                                                DigitAnatomyKind::misordered, DigitAnatomyKind::flipped,
                                                DigitAnatomyKind::novel};

// The kind's name, as labelled images have it.
constexpr std::string_view name_of(DigitAnatomyKind kind) {
  constexpr std::string_view names[] = {"normal", "missing", "misordered", "flipped", "novel"};
  return names[static_cast<std::size_t>(kind)];
}

// Where digits come from: each class is as many samples as there are 64-bit numbers, or pictures to be drawn from.
class DigitSource {
 public:
  // drawn_digit's.
  static DigitSource drawn() { return DigitSource(); }
  // The pictures [first, last), or all others. Error: a range outside the pictures, or no picture left of some digit.
  static DigitSource inside(const Digits& digits, std::int64_t first, std::int64_t last) {
    return DigitSource(digits, first, last, true);
  }
  static DigitSource outside(const Digits& digits, std::int64_t first, std::int64_t last) {
    return DigitSource(digits, first, last, false);
  }

  // The sample (28,28) of a digit 0 .. 9 that the number names; of n pictures it is number floor(number * n / 2^64).
  Tensor<std::uint8_t> sample(int digit, std::uint64_t number) const {
    require(digit >= 0 && digit <= 9, "DigitSource: digit must be 0 to 9, got ", digit);
    if (!images_.defined()) return drawn_digit(digit, number);
    const auto& rows = rows_[static_cast<std::size_t>(digit)];
    const std::uint64_t n = rows.size();
    const std::int64_t row = rows[((number >> 32) * n + ((number & 0xFFFFFFFFu) * n >> 32)) >> 32];
    return images_.slice(row, row + 1).reshape({digit_side, digit_side});
  }

 private:
  DigitSource() = default;
  DigitSource(const Digits& digits, std::int64_t first, std::int64_t last, bool inside) : images_(digits.images) {
    const std::int64_t n = digits.labels.numel();
    require(images_.shape() == Shape{n, digit_side, digit_side} && digits.labels.rank() == 1,
            "DigitSource: needs images [N, 28, 28] and labels [N], got ", images_.shape(), " and ",
            digits.labels.shape());
    require(0 <= first && first <= last && last <= n, "DigitSource: digits ", first, ':', last, " of ", n);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::size_t digit = digits.labels.span()[static_cast<std::size_t>(i)];
      require(digit <= 9, "DigitSource: label ", i, " is ", digit, ", more than 9");
      if ((i >= first && i < last) == inside) rows_[digit].push_back(i);
    }
    for (std::size_t digit = 0; digit <= 9; ++digit)
      require(!rows_[digit].empty(), "DigitSource: no ", digit, inside ? " in " : " outside ", first, ':', last,
              " of the ", n, " digits");
  }

  Tensor<std::uint8_t> images_;                       // (N,28,28), not defined for drawn digits
  std::array<std::vector<std::int64_t>, 10> rows_{};  // of each digit
};

namespace detail::digit_anatomy {

inline constexpr std::int64_t grid = 3, cells = grid * grid, cell_side = 32, side = grid * cell_side;

// Bilinear magnification of a square to `to` pixels a side, half-pixel centres, edges repeated. All weights are whole
// multiples of 1 / (2 to), so the sums are exact and rounded once.
template <std::int64_t to>
void magnify(const std::uint8_t* in, std::int64_t stride, std::int64_t from, std::uint8_t* out) {
  constexpr std::int64_t unit = 2 * to;
  struct Tap {
    std::int64_t first, second, weight;
  };
  std::array<Tap, static_cast<std::size_t>(to)> taps;
  for (std::int64_t x = 0; x < to; ++x) {
    const std::int64_t at = std::clamp((2 * x + 1) * from - to, std::int64_t{0}, unit * (from - 1));
    taps[static_cast<std::size_t>(x)] = {at / unit, std::min(at / unit + 1, from - 1), at % unit};
  }
  const auto mix = [](std::int64_t a, std::int64_t b, std::int64_t weight) { return (unit - weight) * a + weight * b; };
  for (const Tap& row : taps) {
    const std::uint8_t *upper = in + row.first * stride, *lower = in + row.second * stride;
    for (const Tap& column : taps) {
      const std::int64_t sum = mix(mix(upper[column.first], upper[column.second], column.weight),
                                   mix(lower[column.first], lower[column.second], column.weight), row.weight);
      *out++ = static_cast<std::uint8_t>((2 * sum + unit * unit) / (2 * unit * unit));
    }
  }
}

using Cell = std::array<std::uint8_t, cell_side * cell_side>;

// A random sample of the digit, zoomed by a random resized crop: area fraction uniform in (0.6, 1.3), drawn again while
// the square would be larger than the digit, at most ten times; then any corner. Back to 28 pixels, then to the cell.
inline Cell draw_cell(const DigitSource& source, int digit, std::uint64_t seed, std::uint64_t stream) {
  Draw draw(seed, stream);
  const Tensor<std::uint8_t> sample = source.sample(digit, draw.bits());
  std::int64_t crop = digit_side + 1;
  for (int attempt = 0; attempt < 10 && crop > digit_side; ++attempt)
    crop = std::lround(rounded_product(digit_side, std::sqrt(draw.uniform(0.6, 1.3))));
  crop = std::min(crop, digit_side);
  const std::int64_t top = draw.below(digit_side - crop + 1), left = draw.below(digit_side - crop + 1);
  std::array<std::uint8_t, digit_side * digit_side> zoomed;
  magnify<digit_side>(sample.data() + top * digit_side + left, digit_side, crop, zoomed.data());
  Cell cell;
  magnify<cell_side>(zoomed.data(), digit_side, digit_side, cell.data());
  return cell;
}

// The symmetries of the square that make each digit something else: Mirrored, Upside down, Half turn, turned Left or
// Right. Left out is what people also write: a 1 turned by half is a 1, and so is a 3 upside down.
inline constexpr std::string_view flips[10] = {"",     "LR",    "MULR",  "MHLR", "MUHLR",
                                               "MULR", "MUHLR", "MUHLR", "LR",   "MUHLR"};

inline Cell flipped(const Cell& cell, char flip) {
  Cell out;
  for (std::int64_t y = 0; y < cell_side; ++y)
    for (std::int64_t x = 0; x < cell_side; ++x) {
      const std::int64_t right = cell_side - 1 - x, bottom = cell_side - 1 - y;
      const auto [row, column] = flip == 'M'   ? std::pair(y, right)
                                 : flip == 'U' ? std::pair(bottom, x)
                                 : flip == 'H' ? std::pair(bottom, right)
                                 : flip == 'L' ? std::pair(x, bottom)
                                               : std::pair(right, y);
      out[static_cast<std::size_t>(y * cell_side + x)] = cell[static_cast<std::size_t>(row * cell_side + column)];
    }
  return out;
}

// Image `index` of `seed`, and where `mask` is given its mask. Streams 16 index + 0 .. 8 draw the cells, the next the
// novel digit, the last of the sixteen what is abnormal.
inline void compose(const DigitSource& source, std::uint64_t seed, std::uint64_t index, DigitAnatomyKind kind,
                    std::uint8_t* image, std::uint8_t* mask) {
  require(index < std::uint64_t{1} << 60, "digit_anatomy: index must be below 2^60, got ", index);
  const std::uint64_t streams = 16 * index;
  std::array<Cell, cells> drawn;
  for (std::size_t c = 0; c < drawn.size(); ++c)
    drawn[c] = draw_cell(source, static_cast<int>(c) + 1, seed, streams + c);

  Draw plan(seed, streams + 15);
  const auto cell = static_cast<std::size_t>(plan.below(cells));
  std::size_t other = cell;
  switch (kind) {
    case DigitAnatomyKind::normal:
      break;
    case DigitAnatomyKind::missing:
      drawn[cell].fill(0);
      break;
    case DigitAnatomyKind::misordered:
      other = (cell + 1 + static_cast<std::size_t>(plan.below(cells - 1))) % cells;
      std::swap(drawn[cell], drawn[other]);
      break;
    case DigitAnatomyKind::flipped: {
      const std::string_view choices = flips[cell + 1];
      drawn[cell] = flipped(drawn[cell], choices[static_cast<std::size_t>(plan.below(std::ssize(choices)))]);
      break;
    }
    case DigitAnatomyKind::novel: {
      const int digit = (static_cast<int>(cell) + 2 + static_cast<int>(plan.below(9))) % 10;  // any but the cell's own
      drawn[cell] = draw_cell(source, digit, seed, streams + cells);
      break;
    }
  }
  for (std::size_t c = 0; c < drawn.size(); ++c) {
    const std::uint8_t abnormal = kind != DigitAnatomyKind::normal && (c == cell || c == other) ? 255 : 0;
    const auto corner =
        static_cast<std::int64_t>(c) / grid * cell_side * side + static_cast<std::int64_t>(c) % grid * cell_side;
    for (std::int64_t y = 0; y < cell_side; ++y) {
      std::copy_n(drawn[c].data() + y * cell_side, cell_side, image + corner + y * side);
      if (mask) std::fill_n(mask + corner + y * side, cell_side, abnormal);
    }
  }
}

}  // namespace detail::digit_anatomy

inline constexpr std::int64_t digit_anatomy_side = detail::digit_anatomy::side;  // 96
// Evaluation sets start here, so that they share no image with a training set of the same seed.
inline constexpr std::uint64_t digit_anatomy_evaluation = std::uint64_t{1} << 59;

// An image of DigitAnatomy and its mask.
struct DigitAnatomyImage {
  Image image;                // (96,96,1)
  Tensor<std::uint8_t> mask;  // (96,96), 255 on the abnormal cells of 32 x 32, else 0
};

// Image `index` (below 2^60) of `seed`, a pure function of these numbers. One index with different kinds shows the same
// digits, and an abnormal image equals the normal one outside its mask:
//  - missing: one cell is empty;
//  - misordered: two cells have changed places;
//  - flipped: one digit is mirrored, upside down or turned, so that it is not itself;
//  - novel: one cell holds another digit, 0 among them.
inline DigitAnatomyImage digit_anatomy_image(const DigitSource& source, std::uint64_t seed, std::uint64_t index,
                                             DigitAnatomyKind kind = DigitAnatomyKind::normal) {
  constexpr std::int64_t side = digit_anatomy_side;
  DigitAnatomyImage made{Image::empty({side, side, 1}), Tensor<std::uint8_t>::empty({side, side})};
  detail::digit_anatomy::compose(source, seed, index, kind, made.image.data(), made.mask.data());
  return made;
}

// Training: the normal images first .. first + count - 1 of `seed` as (count,96,96,1).
inline Tensor<std::uint8_t> digit_anatomy_images(const DigitSource& source, std::uint64_t seed, std::uint64_t first,
                                                 std::int64_t count) {
  require(count >= 0, "digit_anatomy_images: count must not be negative, got ", count);
  constexpr std::int64_t side = digit_anatomy_side;
  auto images = Tensor<std::uint8_t>::empty({count, side, side, 1});
  std::uint8_t* const out = images.data();
  parallel_for(count, [&](std::int64_t i) {
    detail::digit_anatomy::compose(source, seed, first + static_cast<std::uint64_t>(i), DigitAnatomyKind::normal,
                                   out + i * side * side, nullptr);
  });
  return images;
}

// Evaluation: `normal` normal images, then `each_kind` of each abnormality in the order of digit_anatomy_kinds, with
// masks; image i of the set is image digit_anatomy_evaluation + i of `seed`.
inline LabelledImages digit_anatomy_set(const DigitSource& source, std::uint64_t seed, std::int64_t normal,
                                        std::int64_t each_kind) {
  require(normal >= 0 && each_kind >= 0, "digit_anatomy_set: counts must not be negative, got ", normal, " and ",
          each_kind);
  std::vector<DigitAnatomyKind> kinds;
  for (const DigitAnatomyKind kind : digit_anatomy_kinds)
    kinds.insert(kinds.end(), static_cast<std::size_t>(kind == DigitAnatomyKind::normal ? normal : each_kind), kind);
  constexpr std::int64_t side = digit_anatomy_side;
  const std::int64_t n = std::ssize(kinds);
  LabelledImages set{
      Tensor<std::uint8_t>::empty({n, side, side, 1}), {}, {}, Tensor<std::uint8_t>::empty({n, side, side})};
  for (const DigitAnatomyKind kind : kinds) {
    set.labels.push_back(kind == DigitAnatomyKind::normal ? Label::normal : Label::anomalous);
    set.kinds.emplace_back(name_of(kind));
  }
  std::uint8_t *const images = set.images.data(), *const masks = set.masks.data();
  parallel_for(n, [&](std::int64_t i) {
    detail::digit_anatomy::compose(source, seed, digit_anatomy_evaluation + static_cast<std::uint64_t>(i),
                                   kinds[static_cast<std::size_t>(i)], images + i * side * side,
                                   masks + i * side * side);
  });
  return set;
}

}  // namespace cuttle
