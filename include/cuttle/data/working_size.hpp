// WorkingSize: from images of any size to pictures of the one size that a network sees.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "cuttle/data/resize.hpp"

namespace cuttle {

// How an image becomes pictures of the one size that the networks see.
struct WorkingSize {
  std::int64_t size = 256;
  // Unset: every image is resized to size x size. Set: an image larger than that is cut into tiles that overlap by at
  // least this many pixels, after it has been enlarged where a side is shorter than `size`.
  std::optional<std::int64_t> tile_overlap;

  // The pictures of an image: bytes (n, size, size, 3), and where each lies in the image of `extent` rows and columns
  // that was cut up.
  struct Pictures {
    Tensor<std::uint8_t> images;
    std::vector<Tile> tiles;
    std::int64_t height, width;
  };
  Pictures pictures_of(const Image& image) const {
    const bool tiled = tile_overlap && (image.size(0) > size || image.size(1) > size);
    const std::int64_t height = tiled ? std::max(image.size(0), size) : size;
    const std::int64_t width = tiled ? std::max(image.size(1), size) : size;
    const Image whole = to_rgb(resize(image, height, width));
    Pictures pictures{{}, cover_with_tiles(height, width, size, tiled ? *tile_overlap : 0), height, width};
    pictures.images = Tensor<std::uint8_t>::empty({std::ssize(pictures.tiles), size, size, 3});
    for (std::size_t i = 0; i < pictures.tiles.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      pictures.images.slice(row, row + 1).reshape({size, size, 3}).copy_from(crop(whole, pictures.tiles[i]));
    }
    return pictures;
  }
};

}  // namespace cuttle
