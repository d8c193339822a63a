// The data sets that programs are given: a folder of image files, or images with their labels in one safetensors file.
#pragma once

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "console.hpp"
#include "cuttle/data/folder.hpp"
#include "cuttle/data/labelled_images.hpp"
#include "cuttle/data/load_pictures.hpp"
#include "cuttle/models/evaluation.hpp"

namespace console {

inline bool is_safetensors(const std::filesystem::path& path) {
  return path.extension() == ".safetensors" && !std::filesystem::is_directory(path);
}

// The normal images that --data names as pictures (N,size,size,3), with a line of progress and one for each file left
// out.
inline cuttle::Tensor<std::uint8_t> training_pictures(const std::filesystem::path& path,
                                                      const cuttle::WorkingSize& working_size,
                                                      cuttle::BadFile bad_file) {
  if (is_safetensors(path)) {
    const cuttle::LabelledImages set = cuttle::read_labelled_images(path);
    if (std::ranges::find(set.labels, cuttle::Label::normal) == set.labels.end())
      throw cuttle::IoError(path.string(), "holds no image that is labelled normal");
    return cuttle::normal_pictures(set, working_size);
  }
  std::vector<cuttle::SkippedFile> skipped;
  cuttle::Tensor<std::uint8_t> pictures;
  {
    Progress progress("reading");
    const auto show = [&](std::int64_t done, std::int64_t total) { progress.show(done, total); };
    pictures = cuttle::load_pictures(cuttle::list_images(path, cuttle::Split::train), working_size,
                                     {.bad_file = bad_file, .progress = show}, &skipped);
  }
  for (const cuttle::SkippedFile& file : skipped) std::printf("skipped: %s\n", file.reason.c_str());
  return pictures;
}

// Images to score, of known label or not.
class TestData {
 public:
  explicit TestData(std::vector<cuttle::Sample> files) : data_(std::move(files)) {}
  explicit TestData(cuttle::LabelledImages set) : data_(std::move(set)) {}
  // What --data or --eval names.
  explicit TestData(const std::filesystem::path& path) : path_(path) {
    if (is_safetensors(path))
      data_ = cuttle::read_labelled_images(path);
    else
      data_ = cuttle::list_images(path, cuttle::Split::test);
  }

  // As cuttle::evaluate, with a line of progress. An image in memory has its number as path, after that of the
  // safetensors file it came from.
  template <cuttle::AnomalyModel M>
  cuttle::Evaluation evaluate(const M& model, cuttle::BadFile bad_file) const {
    Progress progress("scoring");
    const auto show = [&](std::int64_t done, std::int64_t total) { progress.show(done, total); };
    if (const auto* files = std::get_if<std::vector<cuttle::Sample>>(&data_))
      return cuttle::evaluate(model, *files, bad_file, show);
    cuttle::Evaluation evaluation = cuttle::evaluate(model, std::get<cuttle::LabelledImages>(data_), show);
    for (cuttle::Sample& sample : evaluation.samples) sample.path = path_ / sample.path;
    return evaluation;
  }

  // The image of a sample of such an evaluation.
  cuttle::Image image(const cuttle::Sample& sample) const {
    if (const auto* set = std::get_if<cuttle::LabelledImages>(&data_))
      return set->image(std::stoll(sample.path.filename().string()));
    return cuttle::read_image(sample.path);
  }

 private:
  std::filesystem::path path_;
  std::variant<std::vector<cuttle::Sample>, cuttle::LabelledImages> data_;
};

}  // namespace console
