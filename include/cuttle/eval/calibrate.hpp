// From scores to decisions: a threshold, and scores that say on which side of it they lie.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "cuttle/core/error.hpp"

namespace cuttle {

// What a detector learnt of scores, from images that it was not trained on.
struct Calibration {
  double threshold = 0;  // an image is anomalous where its score >= threshold
  double spread = 1;     // of the scores of normal images, above 0: the unit in which normalised() measures

  bool anomalous(double score) const noexcept { return score >= threshold; }

  // The score on a scale from 0 to 1 on which 0.5 is the cut: 0.5 + 0.5 z / (1 + |z|), z = (score - threshold) /
  // spread. It rises with the score everywhere, so that images rank as before, and anomalous(score) is
  // normalised(score) >= 0.5 to the last bit.
  double normalised(double score) const noexcept {
    const double z = (score - threshold) / spread;
    if (std::isinf(z)) return z > 0 ? 1 : 0;
    const double value = 0.5 + 0.5 * z / (1 + std::abs(z));
    return anomalous(score) ? std::max(value, 0.5) : std::min(value, std::nextafter(0.5, 0.0));
  }

  // Throws unless the numbers are ones that a score can be measured by.
  void check() const {
    require(std::isfinite(threshold), "Calibration: threshold is ", threshold);
    require(std::isfinite(spread) && spread > 0, "Calibration: spread is ", spread, ", expected a number above 0");
  }

  friend bool operator==(const Calibration&, const Calibration&) = default;
};

// Learns from the scores of normal images alone, at least one, none of them trained on: of these images at most the
// share false_positives, 0 to below 1, is called anomalous. Images that score the same are called the same.
inline Calibration calibrate(std::span<const double> normal, double false_positives = 0.05) {
  require(false_positives >= 0 && false_positives < 1, "calibrate: false_positives is ", false_positives,
          ", expected 0 to below 1");
  require(!normal.empty(), "calibrate: no scores of normal images");
  std::vector<double> scores(normal.begin(), normal.end());
  for (std::size_t i = 0; i < scores.size(); ++i)
    require(std::isfinite(scores[i]), "calibrate: score ", i, " is ", scores[i]);
  std::sort(scores.begin(), scores.end());
  const auto above = static_cast<std::size_t>(false_positives * static_cast<double>(scores.size()));
  Calibration calibration;
  calibration.threshold = std::nextafter(scores[scores.size() - 1 - above], std::numeric_limits<double>::infinity());
  double mean = 0, squares = 0;
  for (const double score : scores) mean += score / static_cast<double>(scores.size());
  for (const double score : scores) squares += (score - mean) * (score - mean);
  // Scores without spread give no unit; the threshold itself is one, and else 1.
  calibration.spread = std::sqrt(squares / static_cast<double>(scores.size()));
  if (!(calibration.spread > 0)) calibration.spread = std::abs(calibration.threshold);
  if (!(calibration.spread > 1e-300)) calibration.spread = 1;
  return calibration;
}

}  // namespace cuttle
