// The data sets that programs are given: a folder of image files, or images with their labels in one safetensors file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "console.hpp"
#include "cuttle/core/random.hpp"
#include "cuttle/data/folder.hpp"
#include "cuttle/data/labelled_images.hpp"
#include "cuttle/data/load_pictures.hpp"
#include "cuttle/eval/calibrate.hpp"
#include "cuttle/models/evaluation.hpp"
#include "groups.hpp"

namespace console {

inline bool is_safetensors(const std::filesystem::path& path) {
  return path.extension() == ".safetensors" && !std::filesystem::is_directory(path);
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

// The normal images that --data names: pictures (N,size,size,3) to train on, others to learn from how far normal ones
// spread, and those as images, to score, each with the number of its group.
struct NormalImages {
  cuttle::Tensor<std::uint8_t> train, held_out;
  std::optional<TestData> held_out_images;
  std::vector<std::int64_t> held_out_groups;

  // Holds out all of these pictures (N,size,size,1 or 3), each its own group.
  void hold_out(const cuttle::Tensor<std::uint8_t>& pictures) {
    held_out = pictures;
    held_out_groups.resize(static_cast<std::size_t>(pictures.size(0)));
    std::iota(held_out_groups.begin(), held_out_groups.end(), std::int64_t{0});
    held_out_images.emplace(cuttle::LabelledImages{
        pictures, std::vector<cuttle::Label>(held_out_groups.size(), cuttle::Label::normal), {}, {}});
  }
  std::int64_t held_out_count() const { return std::ssize(held_out_groups); }

  // What a model learns of the held-out images, which it has not been shown; nothing where there are none.
  template <cuttle::AnomalyModel M>
  std::optional<cuttle::Calibration> calibration_of(const M& model, double false_positives) const {
    if (!held_out_images) return {};
    const cuttle::Evaluation evaluation = held_out_images->evaluate(model, cuttle::BadFile::stop);
    return cuttle::calibrate(evaluation.scores, false_positives, held_out_groups);
  }
};

namespace detail {
// Rows first[i] .. first[i] + counts[i] - 1 of x for each i of `images`, one after the other.
inline cuttle::Tensor<std::uint8_t> rows_of(const cuttle::Tensor<std::uint8_t>& x,
                                            const std::vector<std::int64_t>& counts,
                                            const std::vector<std::size_t>& images) {
  std::vector<std::int64_t> first(counts.size() + 1, 0);
  for (std::size_t i = 0; i < counts.size(); ++i) first[i + 1] = first[i] + counts[i];
  std::int64_t rows = 0, row = 0;
  for (const std::size_t i : images) rows += counts[i];
  cuttle::Shape shape;
  shape.push_back(rows);
  for (int k = 1; k < x.rank(); ++k) shape.push_back(x.size(k));
  auto part = cuttle::Tensor<std::uint8_t>::empty(shape);
  for (const std::size_t i : images) {
    if (counts[i] > 0) part.slice(row, row + counts[i]).copy_from(x.slice(first[i], first[i + 1]));
    row += counts[i];
  }
  return part;
}
}  // namespace detail

// Reads them, with a line of progress and one for each file left out, and holds out at least the share `hold_out` of
// them, drawn at random, whole groups at a time, at least two where a group has several images. group: as --group.
inline NormalImages normal_images(const std::filesystem::path& path, const cuttle::WorkingSize& working_size,
                                  cuttle::BadFile bad_file, double hold_out, const std::string& group,
                                  std::uint64_t seed) {
  using namespace cuttle;
  std::vector<Sample> samples;
  std::optional<LabelledImages> set;
  std::vector<std::int64_t> counts, groups;  // of each image; pictures, and the group's number
  Tensor<std::uint8_t> pictures;
  if (is_safetensors(path)) {
    if (!group.empty()) throw IoError(path.string(), "images in one file have no names that --group could match");
    set = read_labelled_images(path);
    if (std::ranges::find(set->labels, Label::normal) == set->labels.end())
      throw IoError(path.string(), "holds no image that is labelled normal");
    pictures = normal_pictures(*set, working_size, &counts);
    groups.resize(counts.size());
    std::iota(groups.begin(), groups.end(), std::int64_t{0});
  } else {
    samples = list_images(path, Split::train);
    groups = groups_of(samples, path, group);
    std::vector<SkippedFile> skipped;
    {
      Progress progress("reading");
      const auto show = [&](std::int64_t done, std::int64_t total) { progress.show(done, total); };
      pictures = load_pictures(samples, working_size, {.bad_file = bad_file, .progress = show}, &skipped, &counts);
    }
    for (const SkippedFile& file : skipped) std::printf("skipped: %s\n", file.reason.c_str());
  }

  std::map<std::int64_t, std::vector<std::size_t>> members;
  std::int64_t usable = 0;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > 0) ++usable, members[groups[i]].push_back(i);
  const auto wanted = static_cast<std::int64_t>(hold_out * static_cast<double>(usable));
  if (wanted == 0) return {pictures, {}, {}, {}};
  std::vector<const std::vector<std::size_t>*> by_number;
  for (const auto& [number, images] : members) by_number.push_back(&images);
  constexpr std::uint64_t hold_out_stream = std::uint64_t{7} << 56;
  const auto order = random_permutation(std::ssize(by_number), seed, hold_out_stream);
  std::vector<std::size_t> train, held_out;
  int groups_out = 0;
  for (std::size_t k = order.size(); k-- > 0;) {
    const auto& images = *by_number[static_cast<std::size_t>(order[k])];
    // One group of several images would say nothing of others.
    auto& part = std::ssize(held_out) < wanted || (groups_out == 1 && held_out.size() > 1) ? held_out : train;
    groups_out += &part == &held_out;
    part.insert(part.begin(), images.begin(), images.end());
  }
  if (train.empty())
    throw IoError(path.string(),
                  concat("its ", usable, " images are too few groups, ", by_number.size(), ", to hold some out"));
  NormalImages normal{detail::rows_of(pictures, counts, train), detail::rows_of(pictures, counts, held_out), {}, {}};
  for (const std::size_t i : held_out) normal.held_out_groups.push_back(groups[i]);
  if (set) {
    const std::vector<std::int64_t> ones(counts.size(), 1);
    normal.held_out_images.emplace(LabelledImages{
        detail::rows_of(set->images, ones, held_out), std::vector<Label>(held_out.size(), Label::normal), {}, {}});
  } else {
    std::vector<Sample> files;
    for (const std::size_t i : held_out) files.push_back(samples[i]);
    normal.held_out_images.emplace(std::move(files));
  }
  return normal;
}

}  // namespace console
