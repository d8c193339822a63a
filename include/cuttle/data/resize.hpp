// Resizing of images with antialiasing, equal to Pillow's bicubic to the bit; masks; and tiles that cover a big image.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "cuttle/core/parallel.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/data/image_view.hpp"
#include "cuttle/data/pixels.hpp"

namespace cuttle {

namespace detail {

// a * b, rounded: a product that no compiler may contract with a sum, so that the weights are the same bits everywhere.
inline double rounded_product(double a, double b) { return std::fma(a, b, -0.0); }

// Keys' cubic convolution kernel with a = -1/2, on [-2, 2].
inline double bicubic_kernel(double x) {
  constexpr double a = -0.5;
  const auto mul = [](double p, double q) { return rounded_product(p, q); };
  x = std::abs(x);
  if (x < 1) return mul(mul(mul(a + 2, x) - (a + 3), x), x) + 1;
  if (x < 2) return mul(mul(mul(x - 5, x) + 8, x) - 4, a);
  return 0;
}

// One axis of a resize: output i is the sum of weights[i * taps + k] * input[first[i] + k] over k < count[i], in
// fixed point of `precision` bits. When shrinking, the kernel is stretched by the scale, which is the antialiasing.
struct ResizeAxis {
  static constexpr int precision = 22;
  std::int64_t taps = 0;
  Tensor<std::int64_t> first, count;
  Tensor<std::int32_t> weights;

  ResizeAxis(std::int64_t from, std::int64_t to) {
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    const double stretch = std::max(scale, 1.0), support = 2 * stretch, shrink = 1 / stretch;
    taps = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
    first = Tensor<std::int64_t>::empty({to});
    count = Tensor<std::int64_t>::empty({to});
    weights = Tensor<std::int32_t>::zeros({to, taps});
    auto exact = Tensor<double>::empty({taps});
    for (std::int64_t i = 0; i < to; ++i) {
      const double center = rounded_product(static_cast<double>(i) + 0.5, scale);
      const std::int64_t begin = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
      const std::int64_t end = std::min(static_cast<std::int64_t>(center + support + 0.5), from);
      double sum = 0;
      for (std::int64_t k = 0; k < end - begin; ++k)
        sum += exact.data()[k] = bicubic_kernel((static_cast<double>(k + begin) - center + 0.5) * shrink);
      for (std::int64_t k = 0; k < end - begin; ++k) {
        const double fixed = exact.data()[k] / sum * (1 << precision);
        weights.data()[i * taps + k] = static_cast<std::int32_t>(fixed + (fixed < 0 ? -0.5 : 0.5));
      }
      first.data()[i] = begin;
      count.data()[i] = end - begin;
    }
  }
};

constexpr std::uint8_t round_fixed(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> ResizeAxis::precision, 0, 255));
}

// The view's image [H, W, C] -> [H, width, C], its rows read one by one.
inline Image resize_rows(const ImageView& view, std::int64_t width) {
  const std::int64_t height = view.height, channels = view.channels();
  const ResizeAxis axis(view.width, width);
  Image out = Image::empty({height, width, channels});
  std::uint8_t* const destination = out.data();
  const std::int64_t scratch = view.has_plain_rows() ? 0 : view.width * channels;
  parallel_for_with_scratch<std::uint8_t>((height + 15) / 16, scratch, [&](std::int64_t tile, std::uint8_t* row) {
    for (std::int64_t y = 16 * tile; y < std::min(height, 16 * tile + 16); ++y) {
      if (scratch) read_row(view, y, row);
      const std::uint8_t* const from = scratch ? row : view.row(y);
      for (std::int64_t x = 0; x < width; ++x) {
        const std::uint8_t* in = from + axis.first.data()[x] * channels;
        const std::int32_t* weight = axis.weights.data() + x * axis.taps;
        std::int32_t sum[3] = {1 << (ResizeAxis::precision - 1), 1 << (ResizeAxis::precision - 1),
                               1 << (ResizeAxis::precision - 1)};
        for (std::int64_t k = axis.count.data()[x]; k > 0; --k, ++weight)
          for (std::int64_t c = 0; c < channels; ++c) sum[c] += *in++ * *weight;
        for (std::int64_t c = 0; c < channels; ++c) destination[(y * width + x) * channels + c] = round_fixed(sum[c]);
      }
    }
  });
  return out;
}

// The view's image [H, W, C] -> [height, W, C]; the view has plain rows.
inline Image resize_columns(const ImageView& view, std::int64_t height) {
  const std::int64_t row = view.width * view.channels();
  const ResizeAxis axis(view.height, height);
  Image out = Image::empty({height, view.width, view.channels()});
  std::uint8_t* const destination = out.data();
  parallel_for((height + 15) / 16, [&](std::int64_t tile) {
    constexpr std::int64_t block = 1024;
    std::int32_t sum[block];
    for (std::int64_t y = 16 * tile; y < std::min(height, 16 * tile + 16); ++y)
      for (std::int64_t begin = 0; begin < row; begin += block) {
        const std::int64_t n = std::min(block, row - begin);
        std::fill_n(sum, n, 1 << (ResizeAxis::precision - 1));
        for (std::int64_t k = 0; k < axis.count.data()[y]; ++k) {
          const std::uint8_t* const in = view.row(axis.first.data()[y] + k) + begin;
          const std::int32_t weight = axis.weights.data()[y * axis.taps + k];
          for (std::int64_t x = 0; x < n; ++x) sum[x] += in[x] * weight;
        }
        for (std::int64_t x = 0; x < n; ++x) destination[y * row + begin + x] = round_fixed(sum[x]);
      }
  });
  return out;
}

}  // namespace detail

// The image at height x width, aspect ratio not kept: Pillow's Image.resize((width, height), BICUBIC), bit for bit.
// Rows, then columns, rounded to 8 bits between. An image that already has the size is returned as it is, sharing
// memory; one of a view as image_of has it.
inline Image resize(const ImageView& view, std::int64_t height, std::int64_t width) {
  view.check("resize");
  require(height > 0 && width > 0 && height <= largest_image_side && width <= largest_image_side,
          "resize: height and width must be 1 to ", largest_image_side, ", got ", height, " x ", width);
  if (view.width != width) {
    Image narrow = detail::resize_rows(view, width);
    return view.height == height ? narrow : detail::resize_columns(ImageView::of(narrow), height);
  }
  if (view.height == height) return image_of(view);
  if (view.has_plain_rows()) return detail::resize_columns(view, height);
  const Image image = image_of(view);
  return detail::resize_columns(ImageView::of(image), height);
}
// The same of an image that has the layout of the library.
inline Image resize(const Image& image, std::int64_t height, std::int64_t width) {
  detail::require_image(image, "resize");
  return image.size(0) == height && image.size(1) == width ? image : resize(ImageView::of(image), height, width);
}

// A mask image as a tensor [height, width] of 0 (normal) and 1 (anomalous): resized as the images are, then > 128. Of a
// colour mask the largest channel counts.
inline Tensor<std::uint8_t> resize_mask(const Image& mask, std::int64_t height, std::int64_t width) {
  const Image resized = resize(mask, height, width);
  Tensor<std::uint8_t> out = Tensor<std::uint8_t>::empty({height, width});
  const std::int64_t channels = resized.size(2);
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const std::uint8_t* pixel = resized.data() + i * channels;
    out.data()[i] = *std::max_element(pixel, pixel + channels) > 128;
  }
  return out;
}

// A square part of an image: rows [top, top + size), columns [left, left + size).
struct Tile {
  std::int64_t top = 0, left = 0, size = 0;
  friend bool operator==(const Tile&, const Tile&) = default;
};

// Square tiles inside a height x width image that cover each pixel, neighbours sharing at least `overlap` rows or
// columns: along an axis the fewest tiles that can, spread evenly (start i of n: floor(i * (length - tile) / (n - 1))),
// in row order.
class TileCover {
 public:
  // Error if the image is smaller than a tile on either side, or the overlap is not smaller than the tile.
  TileCover(std::int64_t height, std::int64_t width, std::int64_t tile, std::int64_t overlap)
      : height_(height), width_(width), tile_(tile) {
    require(tile > 0 && overlap >= 0 && overlap < tile, "TileCover: needs 0 <= overlap < tile, got overlap ", overlap,
            " and tile ", tile);
    require(height >= tile && width >= tile, "TileCover: a ", height, " x ", width, " image holds no tile of ", tile);
    const auto gaps = [&](std::int64_t length) { return (length - overlap - 1) / (tile - overlap); };
    down_gaps_ = gaps(height);
    across_gaps_ = gaps(width);
  }

  std::int64_t height() const noexcept { return height_; }
  std::int64_t width() const noexcept { return width_; }
  std::int64_t size() const noexcept { return (down_gaps_ + 1) * (across_gaps_ + 1); }
  Tile operator[](std::int64_t i) const noexcept {
    const auto start = [&](std::int64_t number, std::int64_t gaps, std::int64_t length) {
      return number ? number * (length - tile_) / gaps : 0;
    };
    return {start(i / (across_gaps_ + 1), down_gaps_, height_), start(i % (across_gaps_ + 1), across_gaps_, width_),
            tile_};
  }

 private:
  std::int64_t height_, width_, tile_, down_gaps_ = 0, across_gaps_ = 0;
};

// The pixels of a tile as an image [size, size, C] of its own.
inline Image crop(const Image& image, const Tile& tile) {
  detail::require_image(image, "crop");
  require(tile.size > 0 && tile.top >= 0 && tile.left >= 0 && tile.top + tile.size <= image.size(0) &&
              tile.left + tile.size <= image.size(1),
          "crop: tile of ", tile.size, " at row ", tile.top, ", column ", tile.left, " leaves the image ",
          image.shape());
  const std::int64_t channels = image.size(2), row = tile.size * channels;
  Image out = Image::empty({tile.size, tile.size, channels});
  for (std::int64_t y = 0; y < tile.size; ++y)
    std::copy_n(image.data() + ((tile.top + y) * image.size(1) + tile.left) * channels, row, out.data() + y * row);
  return out;
}

}  // namespace cuttle
