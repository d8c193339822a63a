// Images in memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/core/tensor.hpp"

namespace cuttle {

// An image is a tensor [H, W, C] of bytes in row-major order, C = 1 (gray) or 3 (red, green, blue), so that a batch
// [N, H, W, C] holds images as its slices.
using Image = Tensor<std::uint8_t>;

// Larger pictures than these are refused before any memory is taken for them: pixels a side, and in all.
inline constexpr std::int64_t largest_image_side = 65535;
inline constexpr std::int64_t largest_image_pixels = std::int64_t{1} << 28;

namespace detail {
inline void require_image(const Image& image, const char* op) {
  require(image.rank() == 3 && image.numel() > 0 && (image.size(2) == 1 || image.size(2) == 3), op,
          ": image needs shape [H, W, 1 or 3], got ", image.shape());
}

// round(value * 255 / full_scale) for 0 <= value <= full_scale.
constexpr std::uint8_t to_8_bit(std::uint32_t value, std::uint32_t full_scale) {
  return static_cast<std::uint8_t>((value * 255 + full_scale / 2) / full_scale);
}

}  // namespace detail

// One channel of images (...,1 or 3): colours weighted as ITU-R BT.601 does, in 16-bit fixed point, as Pillow's "L" has
// them; gray images are returned as they are.
inline Tensor<std::uint8_t> to_gray(const Tensor<std::uint8_t>& images) {
  require(images.rank() >= 1 && (images.size(-1) == 1 || images.size(-1) == 3), "to_gray: images have shape ",
          images.shape(), ", expected 1 or 3 channels");
  if (images.size(-1) == 1) return images;
  Shape shape;
  for (int k = 0; k + 1 < images.rank(); ++k) shape.push_back(images.size(k));
  shape.push_back(1);
  auto gray = Tensor<std::uint8_t>::empty(shape);
  const std::uint8_t* in = images.data();
  for (std::uint8_t& value : gray.span()) {
    value = static_cast<std::uint8_t>((19595 * in[0] + 38470 * in[1] + 7471 * in[2] + 32768) >> 16);
    in += 3;
  }
  return gray;
}

// Three channels: gray is copied into each, colour is returned as it is.
inline Image to_rgb(const Image& image) {
  detail::require_image(image, "to_rgb");
  if (image.size(2) == 3) return image;
  Image rgb = Image::empty({image.size(0), image.size(1), 3});
  for (std::int64_t i = 0; i < image.numel(); ++i) std::fill_n(rgb.data() + 3 * i, 3, image.data()[i]);
  return rgb;
}

}  // namespace cuttle
