// A training set as pictures of one size.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cuttle/data/folder.hpp"
#include "cuttle/data/labelled_images.hpp"
#include "cuttle/data/working_size.hpp"

namespace cuttle {

namespace detail {
// Pictures (n,size,size,3) of several images, one after the other.
inline Tensor<std::uint8_t> stack_pictures(std::span<const Tensor<std::uint8_t>> pictures, std::int64_t size) {
  std::int64_t rows = 0, first = 0;
  for (const auto& part : pictures) rows += part.size(0);
  auto all = Tensor<std::uint8_t>::empty({rows, size, size, 3});
  for (const auto& part : pictures) {
    all.slice(first, first + part.size(0)).copy_from(part);
    first += part.size(0);
  }
  return all;
}
}  // namespace detail

// The pictures (N,size,size,3) of all samples, as LoadOptions has it; options.size is not used. Where images are cut
// into tiles a sample gives several: counts, where it is given, becomes the number of pictures of each sample, 0 of one
// that is left out.
inline Tensor<std::uint8_t> load_pictures(std::span<const Sample> samples, const WorkingSize& working_size,
                                          LoadOptions options, std::vector<SkippedFile>* skipped = nullptr,
                                          std::vector<std::int64_t>* counts = nullptr) {
  options.size = working_size.size;
  if (counts) counts->clear();
  if (!working_size.tile_overlap) {
    ImageSet set = load_images(samples, options);
    if (counts) {
      auto left_out = set.skipped.begin();
      for (const Sample& sample : samples) {
        const bool skip = left_out != set.skipped.end() && left_out->path == sample.path;
        counts->push_back(skip ? 0 : 1);
        if (skip) ++left_out;
      }
    }
    if (skipped) *skipped = std::move(set.skipped);
    return set.images;
  }
  std::vector<Tensor<std::uint8_t>> pictures;
  std::int64_t done = 0;
  for (const Sample& sample : samples) {
    try {
      pictures.push_back(working_size.pictures_of(read_image(sample.path)).images);
      if (counts) counts->push_back(pictures.back().size(0));
    } catch (const IoError& error) {
      if (options.bad_file == BadFile::stop) throw;
      if (counts) counts->push_back(0);
      if (skipped) skipped->push_back({sample.path, error.what()});
    }
    if (options.progress) options.progress(++done, std::ssize(samples));
  }
  require(!pictures.empty(), "load_pictures: none of ", samples.size(), " images can be used");
  return detail::stack_pictures(pictures, working_size.size);
}

// The pictures of those images of a set that are labelled normal; counts as for load_pictures, 0 of other images.
inline Tensor<std::uint8_t> normal_pictures(const LabelledImages& set, const WorkingSize& working_size,
                                            std::vector<std::int64_t>* counts = nullptr) {
  set.check("normal_pictures");
  std::vector<Tensor<std::uint8_t>> pictures;
  if (counts) counts->assign(set.labels.size(), 0);
  for (std::size_t i = 0; i < set.labels.size(); ++i) {
    if (set.labels[i] != Label::normal) continue;
    pictures.push_back(working_size.pictures_of(set.image(static_cast<std::int64_t>(i))).images);
    if (counts) (*counts)[i] = pictures.back().size(0);
  }
  require(!pictures.empty(), "normal_pictures: none of ", set.labels.size(), " images is labelled normal");
  return detail::stack_pictures(pictures, working_size.size);
}

}  // namespace cuttle
