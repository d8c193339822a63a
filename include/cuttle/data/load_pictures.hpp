// Loading a training set as pictures of one size.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cuttle/data/folder.hpp"
#include "cuttle/data/working_size.hpp"

namespace cuttle {

// The pictures (N,size,size,3) of all samples, as LoadOptions has it; options.size is not used. Where images are cut
// into tiles a sample gives several.
inline Tensor<std::uint8_t> load_pictures(std::span<const Sample> samples, const WorkingSize& working_size,
                                          LoadOptions options, std::vector<SkippedFile>* skipped = nullptr) {
  options.size = working_size.size;
  std::vector<Image> pictures;
  if (!working_size.tile_overlap) {
    ImageSet set = load_images(samples, options);
    if (skipped) *skipped = std::move(set.skipped);
    return set.images;
  }
  std::int64_t rows = 0, done = 0;
  for (const Sample& sample : samples) {
    try {
      pictures.push_back(working_size.pictures_of(read_image(sample.path)).images);
      rows += pictures.back().size(0);
    } catch (const IoError& error) {
      if (options.bad_file == BadFile::stop) throw;
      if (skipped) skipped->push_back({sample.path, error.what()});
    }
    if (options.progress) options.progress(++done, std::ssize(samples));
  }
  require(rows > 0, "load_pictures: none of ", samples.size(), " images can be used");
  const std::int64_t size = working_size.size;
  Tensor<std::uint8_t> all = Tensor<std::uint8_t>::empty({rows, size, size, 3});
  std::int64_t first = 0;
  for (const Image& part : pictures) {
    all.slice(first, first + part.size(0)).copy_from(part);
    first += part.size(0);
  }
  return all;
}

}  // namespace cuttle
