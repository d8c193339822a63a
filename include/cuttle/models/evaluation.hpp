// Scoring the images of a data set and, where their labels and masks are known, saying how well it went.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/data/folder.hpp"
#include "cuttle/eval/metrics.hpp"
#include "cuttle/models/patch_svdd.hpp"

namespace cuttle {

// Results by sample, and the metrics that the labels allow: those of images need both labels, those of pixels a mask
// for every anomalous image.
struct Evaluation {
  std::vector<Sample> samples;
  std::vector<double> scores;
  std::vector<Tensor<float>> maps;
  std::vector<Tensor<std::uint8_t>> masks;  // undefined where the image is normal or has none
  std::vector<SkippedFile> skipped;

  std::optional<double> image_auroc, image_ap, f1_max, f1_max_threshold, pixel_auroc, aupro;
  std::map<std::string, double> image_auroc_of_kind;  // of each kind of defect against all normal images
  double seconds_per_image = 0;                       // scoring alone: the image is in memory before
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
  if (!has_both_classes(labels)) return;
  evaluation.image_auroc = auroc(scores, labels);
  evaluation.image_ap = average_precision(scores, labels);
  const OperatingPoint best = f1_max(scores, labels);
  evaluation.f1_max = best.counts.f1();
  evaluation.f1_max_threshold = best.threshold;
  for (const auto& [kind, anomalous] : by_kind) {
    std::vector<double> both = normal;
    both.insert(both.end(), anomalous.begin(), anomalous.end());
    std::vector<std::uint8_t> which(normal.size(), 0);
    which.resize(both.size(), 1);
    evaluation.image_auroc_of_kind[kind] = auroc(both, which);
  }
}

inline void add_pixel_metrics(Evaluation& evaluation) {
  std::vector<Tensor<float>> maps;
  std::vector<Tensor<std::uint8_t>> masks;
  for (std::size_t i = 0; i < evaluation.samples.size(); ++i) {
    const Label label = evaluation.samples[i].label;
    if (label == Label::unknown) continue;
    if (label == Label::anomalous && !evaluation.masks[i].defined()) return;
    maps.push_back(evaluation.maps[i]);
    masks.push_back(evaluation.masks[i]);
  }
  if (!has_both_classes(masks)) return;
  evaluation.pixel_auroc = pixel_auroc(maps, masks);
  evaluation.aupro = aupro(maps, masks);
}

}  // namespace detail

// Scores every sample's image. A file that cannot be read stops it or, under BadFile::skip, is left out and listed.
// progress(done, total) is called after each.
template <class Progress>
Evaluation evaluate(const PatchSvdd& model, std::span<const Sample> samples, BadFile bad_file, Progress&& progress) {
  Evaluation evaluation;
  std::chrono::duration<double> scoring{0};
  std::int64_t done = 0;
  for (const Sample& sample : samples) {
    try {
      const Image image = read_image(sample.path);
      const auto start = std::chrono::steady_clock::now();
      AnomalyMap result = model.score(image);
      scoring += std::chrono::steady_clock::now() - start;
      Tensor<std::uint8_t> mask;
      if (!sample.mask.empty()) mask = read_mask(sample, image, result.map.size(0), result.map.size(1));
      evaluation.samples.push_back(sample);
      evaluation.scores.push_back(result.score);
      evaluation.maps.push_back(std::move(result.map));
      evaluation.masks.push_back(std::move(mask));
    } catch (const IoError& error) {
      if (bad_file == BadFile::stop) throw;
      evaluation.skipped.push_back({sample.path, error.what()});
    }
    progress(++done, std::ssize(samples));
  }
  if (evaluation.samples.empty()) throw Error(concat("none of ", samples.size(), " images can be used"));
  evaluation.seconds_per_image = scoring.count() / static_cast<double>(evaluation.samples.size());
  detail::add_image_metrics(evaluation);
  detail::add_pixel_metrics(evaluation);
  return evaluation;
}

}  // namespace cuttle
