// ImageView: pixels in somebody else's memory, as cameras and other libraries hold them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuttle/core/scratch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/data/pixels.hpp"

namespace cuttle {

// The bytes of a pixel in their order in memory. gray16 is one number in the machine's byte order. An alpha (a) is an
// opacity: colours are laid over black, as read_image does with those of a file. A filler (x) is not looked at.
enum class PixelFormat : std::uint8_t { gray8, gray16, rgb8, bgr8, rgba8, bgra8, rgbx8, bgrx8 };

// An image in memory that must outlive the view and not change while it is looked at. Nothing is copied by making one.
struct ImageView {
  const std::uint8_t* pixels = nullptr;  // the first pixel of the upper row
  std::int64_t height = 0, width = 0;
  PixelFormat format = PixelFormat::rgb8;
  std::int64_t row_stride = 0;  // bytes from a row to the one below it, negative where rows lie upside down; 0: no gap
  std::uint16_t white = 65535;  // of gray16: the value that becomes 255, as do those above it (4095 for 12 bits)

  static ImageView of(const Image& image) {
    detail::require_image(image, "ImageView::of");
    return {image.span().data(), image.size(0), image.size(1),
            image.size(2) == 1 ? PixelFormat::gray8 : PixelFormat::rgb8};
  }

  std::int64_t pixel_bytes() const noexcept {
    switch (format) {
      case PixelFormat::gray8:
        return 1;
      case PixelFormat::gray16:
        return 2;
      case PixelFormat::rgb8:
      case PixelFormat::bgr8:
        return 3;
      default:
        return 4;
    }
  }
  // Of the image that the pixels are: 1 or 3.
  std::int64_t channels() const noexcept {
    return format == PixelFormat::gray8 || format == PixelFormat::gray16 ? 1 : 3;
  }
  std::int64_t stride() const noexcept { return row_stride ? row_stride : width * pixel_bytes(); }
  const std::uint8_t* row(std::int64_t y) const noexcept { return pixels + y * stride(); }

  // Whether rows are those of an Image as they stand, whatever lies between them.
  bool has_plain_rows() const noexcept { return format == PixelFormat::gray8 || format == PixelFormat::rgb8; }
  // Whether the whole is an Image as it stands.
  bool is_plain() const noexcept { return has_plain_rows() && stride() == width * pixel_bytes(); }

  // Throws, in the name of `op`, unless the view can be an image.
  void check(const char* op) const {
    require(pixels != nullptr, op, ": the view's pixels are null");
    require(height >= 1 && width >= 1 && height <= largest_image_side && width <= largest_image_side &&
                height * width <= largest_image_pixels,
            op, ": the view has ", height, " x ", width, " pixels, expected 1 to ", largest_image_side,
            " on either side and ", largest_image_pixels, " in all");
    require(format <= PixelFormat::bgrx8, op, ": the view's format is none");
    // Rows farther apart than the largest image is long are a mistake, and their sum could leave the address space.
    constexpr std::int64_t farthest = std::int64_t{1} << 40;
    require(row_stride >= -farthest && row_stride <= farthest, op, ": the view's row stride is ", row_stride, " bytes");
    require(height == 1 || std::abs(stride()) >= width * pixel_bytes(), op, ": the view's rows are ", stride(),
            " bytes apart, but ", width, " pixels take ", width * pixel_bytes());
    require(white >= 1, op, ": the view's white is 0");
  }
};

namespace detail {

// Row y as an image has it, channels() bytes a pixel.
inline void read_row(const ImageView& view, std::int64_t y, std::uint8_t* out) {
  const std::uint8_t* in = view.row(y);
  const auto colours = [&]<int step, int red, int alpha>() {
    for (std::int64_t x = 0; x < view.width; ++x, in += step, out += 3)
      for (int c = 0; c < 3; ++c) {
        const std::uint32_t value = in[red == 0 ? c : 2 - c];
        out[c] = alpha ? to_8_bit(value * in[step - 1], 255 * 255) : static_cast<std::uint8_t>(value);
      }
  };
  switch (view.format) {
    case PixelFormat::gray8:
    case PixelFormat::rgb8:
      std::copy_n(in, view.width * view.pixel_bytes(), out);
      break;
    case PixelFormat::gray16:
      for (std::int64_t x = 0; x < view.width; ++x) {
        std::uint16_t value;  // rows need not be aligned
        std::memcpy(&value, in + 2 * x, sizeof value);
        out[x] = to_8_bit(std::min(value, view.white), view.white);
      }
      break;
    case PixelFormat::bgr8:
      colours.template operator()<3, 2, 0>();
      break;
    case PixelFormat::rgba8:
      colours.template operator()<4, 0, 1>();
      break;
    case PixelFormat::bgra8:
      colours.template operator()<4, 2, 1>();
      break;
    case PixelFormat::rgbx8:
      colours.template operator()<4, 0, 0>();
      break;
    case PixelFormat::bgrx8:
      colours.template operator()<4, 2, 0>();
      break;
  }
}

}  // namespace detail

// The pixels as an image (height,width,1 or 3). Where they are one as they stand it shares their memory, which it must
// not outlive nor write to; else they are copied.
inline Image image_of(const ImageView& view) {
  view.check("image_of");
  const Shape shape{view.height, view.width, view.channels()};
  if (view.is_plain()) return Image::from_blob(const_cast<std::uint8_t*>(view.pixels), shape);
  Image image = Image::empty(shape);
  std::uint8_t* const out = image.data();
  const std::int64_t row = view.width * view.channels();
  parallel_for((view.height + 15) / 16, [&](std::int64_t tile) {
    for (std::int64_t y = 16 * tile; y < std::min(view.height, 16 * tile + 16); ++y)
      detail::read_row(view, y, out + y * row);
  });
  return image;
}

}  // namespace cuttle
