// WorkingSize: from images of any size to pictures of the one size that a network sees.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "cuttle/data/resize.hpp"

namespace cuttle {

// How an image becomes pictures of the one size that the networks see.
struct WorkingSize {
  std::int64_t size = 256;
  // Unset: every image is resized to size x size. Set: an image larger than that is cut into tiles that overlap by at
  // least this many pixels, after it has been enlarged where a side is shorter than `size`.
  std::optional<std::int64_t> tile_overlap;

  // The pictures of an image: bytes (n, size, size, 3), and where each lies in the image that was cut up. Of an image
  // or a view that is such a picture as it stands they share the memory.
  struct Pictures {
    Tensor<std::uint8_t> images;
    TileCover tiles;
  };
  Pictures pictures_of(const ImageView& view) const {
    view.check("WorkingSize::pictures_of");
    return cut(view, view.height, view.width);
  }
  Pictures pictures_of(const Image& image) const {
    detail::require_image(image, "WorkingSize::pictures_of");
    return cut(image, image.size(0), image.size(1));
  }

 private:
  template <class Source>
  Pictures cut(const Source& source, std::int64_t source_height, std::int64_t source_width) const {
    const bool tiled = tile_overlap && (source_height > size || source_width > size);
    const std::int64_t height = tiled ? std::max(source_height, size) : size;
    const std::int64_t width = tiled ? std::max(source_width, size) : size;
    const Image whole = to_rgb(resize(source, height, width));
    Pictures pictures{{}, TileCover(height, width, size, tiled ? *tile_overlap : 0)};
    const std::int64_t n = pictures.tiles.size();
    if (n == 1) {
      pictures.images = whole.reshape({1, size, size, 3});
      return pictures;
    }
    pictures.images = Tensor<std::uint8_t>::empty({n, size, size, 3});
    for (std::int64_t i = 0; i < n; ++i)
      pictures.images.slice(i, i + 1).reshape({size, size, 3}).copy_from(crop(whole, pictures.tiles[i]));
    return pictures;
  }
};

}  // namespace cuttle
