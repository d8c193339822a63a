// Scoring the images of a data set and, where their labels and masks are known, saying how well it went.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/data/folder.hpp"
#include "cuttle/data/labelled_images.hpp"
#include "cuttle/eval/calibrate.hpp"
#include "cuttle/eval/metrics.hpp"
#include "cuttle/models/anomaly_map.hpp"

namespace cuttle {

// A trained model: what it makes of an image and, where it learnt it, how scores become decisions.
template <class M>
concept AnomalyModel = requires(const M& model, const Image& image) {
  { model.score(image) } -> std::convertible_to<AnomalyMap>;
  { model.calibration() } -> std::convertible_to<std::optional<Calibration>>;
};

// Results by sample, and the metrics that the labels allow: those of images need both labels, those of pixels a mask
// for every anomalous image.
struct Evaluation {
  std::vector<Sample> samples;
  std::vector<double> scores;
  std::vector<Tensor<float>> maps;
  std::vector<Image> reconstructions;         // undefined where the method makes none
  std::vector<Tensor<std::uint8_t>> masks;    // undefined where the image is normal or has none
  std::vector<Tensor<std::uint8_t>> regions;  // what counts of a map (AnomalyMap::region); undefined where all does
  std::vector<SkippedFile> skipped;
  std::optional<Calibration> calibration;  // the model's own

  std::optional<double> image_auroc, image_ap, pixel_auroc, aupro;
  // At thresholds picked with the labels of this very set; on other images they would do worse.
  std::optional<OperatingPoint> f1_max, most_accurate;
  // At the threshold that decides, the model's own, for which no label of this set was seen; one kind of label will do.
  std::optional<OperatingPoint> at_own_threshold;
  std::map<std::string, double> image_auroc_of_kind;  // of each kind of defect against all normal images
  double seconds_per_image = 0;                       // scoring alone: the image is in memory before

  // What counts of map i, with NaN where nothing does.
  Tensor<float> counted_map(std::size_t i) const {
    if (!regions[i].defined()) return maps[i];
    Tensor<float> counted = maps[i].clone();
    for (std::int64_t p = 0; p < counted.numel(); ++p)
      if (!regions[i].data()[p]) counted.data()[p] = std::numeric_limits<float>::quiet_NaN();
    return counted;
  }
};

namespace detail {

inline void add_image_metrics(Evaluation& evaluation) {
  std::vector<double> scores;
  std::vector<std::uint8_t> labels;
  std::map<std::string, std::vector<double>> by_kind;
  std::vector<double> normal;
  for (std::size_t i = 0; i < evaluation.samples.size(); ++i) {
    const Sample& sample = evaluation.samples[i];
    if (sample.label == Label::unknown) continue;
    scores.push_back(evaluation.scores[i]);
    labels.push_back(sample.label == Label::anomalous);
    (labels.back() ? by_kind[sample.kind] : normal).push_back(evaluation.scores[i]);
  }
  if (evaluation.calibration && !labels.empty()) {
    const double threshold = evaluation.calibration->threshold;
    evaluation.at_own_threshold = {threshold, confusion(scores, labels, threshold)};
  }
  if (!has_both_classes(labels)) return;
  evaluation.image_auroc = auroc(scores, labels);
  evaluation.image_ap = average_precision(scores, labels);
  evaluation.f1_max = f1_max(scores, labels);
  evaluation.most_accurate = most_accurate_point(scores, labels);
  for (const auto& [kind, anomalous] : by_kind) {
    if (kind.empty()) continue;
    std::vector<double> both = normal;
    both.insert(both.end(), anomalous.begin(), anomalous.end());
    std::vector<std::uint8_t> which(normal.size(), 0);
    which.resize(both.size(), 1);
    evaluation.image_auroc_of_kind[kind] = auroc(both, which);
  }
}

inline void add_pixel_metrics(Evaluation& evaluation) {
  std::vector<Tensor<float>> maps;
  std::vector<Tensor<std::uint8_t>> masks, regions;
  for (std::size_t i = 0; i < evaluation.samples.size(); ++i) {
    const Label label = evaluation.samples[i].label;
    if (label == Label::unknown) continue;
    if (label == Label::anomalous && !evaluation.masks[i].defined()) return;
    maps.push_back(evaluation.maps[i]);
    masks.push_back(evaluation.masks[i]);
    regions.push_back(evaluation.regions[i]);
  }
  if (!has_both_classes(masks, regions)) return;
  evaluation.pixel_auroc = pixel_auroc(maps, masks, regions);
  evaluation.aupro = aupro(maps, masks, 0.3, regions);
}

// image_of(i) is the image of sample i, mask_of(i, image, height, width) its mask at that size, or undefined. An
// IoError of either stops it or, under BadFile::skip, leaves the sample out.
template <AnomalyModel M, class ImageOf, class MaskOf, class Progress>
Evaluation evaluate_samples(const M& model, std::span<const Sample> samples, BadFile bad_file, ImageOf image_of,
                            MaskOf mask_of, Progress& progress) {
  Evaluation evaluation;
  evaluation.calibration = model.calibration();
  std::chrono::duration<double> scoring{0};
  for (std::size_t i = 0; i < samples.size(); ++i) {
    try {
      const Image image = image_of(i);
      const auto start = std::chrono::steady_clock::now();
      AnomalyMap result = model.score(image);
      scoring += std::chrono::steady_clock::now() - start;
      Tensor<std::uint8_t> mask = mask_of(i, image, result.map.size(0), result.map.size(1));
      evaluation.samples.push_back(samples[i]);
      evaluation.scores.push_back(result.score);
      evaluation.maps.push_back(std::move(result.map));
      evaluation.reconstructions.push_back(std::move(result.reconstruction));
      evaluation.masks.push_back(std::move(mask));
      evaluation.regions.push_back(std::move(result.region));
    } catch (const IoError& error) {
      if (bad_file == BadFile::stop) throw;
      evaluation.skipped.push_back({samples[i].path, error.what()});
    }
    progress(static_cast<std::int64_t>(i + 1), std::ssize(samples));
  }
  if (evaluation.samples.empty()) throw Error(concat("none of ", samples.size(), " images can be used"));
  evaluation.seconds_per_image = scoring.count() / static_cast<double>(evaluation.samples.size());
  add_image_metrics(evaluation);
  add_pixel_metrics(evaluation);
  return evaluation;
}

}  // namespace detail

// Scores every sample's image. A file that cannot be read stops it or, under BadFile::skip, is left out and listed.
// progress(done, total) is called after each.
template <AnomalyModel M, class Progress>
Evaluation evaluate(const M& model, std::span<const Sample> samples, BadFile bad_file, Progress&& progress) {
  return detail::evaluate_samples(
      model, samples, bad_file, [&](std::size_t i) { return read_image(samples[i].path); },
      [&](std::size_t i, const Image& image, std::int64_t height, std::int64_t width) {
        return samples[i].mask.empty() ? Tensor<std::uint8_t>() : read_mask(samples[i], image, height, width);
      },
      progress);
}

// The same for images in memory; a sample's path is the number of its image.
template <AnomalyModel M, class Progress>
Evaluation evaluate(const M& model, const LabelledImages& set, Progress&& progress) {
  set.check("evaluate");
  std::vector<Sample> samples;
  for (std::size_t i = 0; i < set.labels.size(); ++i)
    samples.push_back({std::to_string(i), set.labels[i], set.kinds.empty() ? "" : set.kinds[i], {}});
  return detail::evaluate_samples(
      model, samples, BadFile::stop, [&](std::size_t i) { return set.image(static_cast<std::int64_t>(i)); },
      [&](std::size_t i, const Image&, std::int64_t height, std::int64_t width) {
        if (!set.masks.defined() || set.labels[i] != Label::anomalous) return Tensor<std::uint8_t>();
        const auto row = static_cast<std::int64_t>(i);
        Image mask = set.masks.slice(row, row + 1).reshape({set.masks.size(1), set.masks.size(2), 1}).clone();
        for (std::uint8_t& pixel : mask.span()) pixel = pixel ? 255 : 0;
        return resize_mask(mask, height, width);
      },
      progress);
}

}  // namespace cuttle
