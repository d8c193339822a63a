// From scores to decisions: a threshold, and scores that say on which side of it they lie.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "cuttle/core/error.hpp"
#include "cuttle/eval/false_positive_rate.hpp"
#include "cuttle/eval/metrics.hpp"

namespace cuttle {

// What calibrate() saw and was asked for.
struct FromNormalImages {
  std::int64_t images = 0, groups = 0;  // each image is a group of its own where it was not said otherwise
  std::int64_t above = 0;               // of these images exceed the threshold
  double asked = 0;                     // the false-positive rate
  double correlation = 0;               // of two images of one group in whether they exceed the threshold
  double design_effect = 1;

  // That of images that were not seen. Its expected() is at most what was asked for, unless that is less than so few
  // images can promise: with n of them in groups of one no rate below 1 / (n + 1).
  FalsePositiveRate rate() const {
    return {static_cast<double>(above) / design_effect + 1, static_cast<double>(images - above) / design_effect};
  }
  bool kept() const { return rate().expected() <= asked * (1 + 1e-12); }

  void check() const {
    require(images >= 1 && groups >= 1 && groups <= images, "Calibration: ", images, " images in ", groups, " groups");
    require(above >= 0 && above < images, "Calibration: above is ", above, " of ", images, " images");
    require(asked >= 0 && asked < 1, "Calibration: asked is ", asked, ", expected 0 to below 1");
    require(correlation >= 0 && correlation <= 1, "Calibration: correlation is ", correlation, ", expected 0 to 1");
    require(design_effect >= 1 && design_effect <= static_cast<double>(images), "Calibration: design_effect is ",
            design_effect, " for ", images, " images");
  }
  friend bool operator==(const FromNormalImages&, const FromNormalImages&) = default;
};

// What calibrate_labelled() saw.
struct FromLabelledImages {
  std::int64_t normal = 0, anomalous = 0;
  double f1 = 0;  // of these very images at the threshold; others would do worse

  void check() const {
    require(normal >= 1 && anomalous >= 1, "Calibration: ", normal, " normal and ", anomalous, " anomalous images");
    require(f1 >= 0 && f1 <= 1, "Calibration: f1 is ", f1, ", expected 0 to 1");
  }
  friend bool operator==(const FromLabelledImages&, const FromLabelledImages&) = default;
};

// What a detector learnt of scores, from images that it was not trained on.
struct Calibration {
  double threshold = 0;  // an image is anomalous where its score >= threshold
  double spread = 1;     // of the scores of normal images, above 0: the unit in which normalised() measures
  std::variant<std::monostate, FromNormalImages, FromLabelledImages> from{};  // the first: picked by hand

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
    if (const auto* normal = std::get_if<FromNormalImages>(&from)) normal->check();
    if (const auto* labelled = std::get_if<FromLabelledImages>(&from)) labelled->check();
  }

  friend bool operator==(const Calibration&, const Calibration&) = default;
};

namespace detail {
inline void require_finite_scores(const char* op, std::span<const double> scores) {
  for (std::size_t i = 0; i < scores.size(); ++i)
    require(std::isfinite(scores[i]), op, ": score ", i, " is ", scores[i]);
}

// The population deviation; scores without one give no unit, so that |threshold| is it, and else 1.
inline double spread_of(std::span<const double> normal, double threshold) {
  double mean = 0, squares = 0;
  for (const double score : normal) mean += score / static_cast<double>(normal.size());
  for (const double score : normal) squares += (score - mean) * (score - mean);
  const double spread = std::sqrt(squares / static_cast<double>(normal.size()));
  if (spread > 0 && std::isfinite(spread)) return spread;
  return std::abs(threshold) > 1e-300 ? std::abs(threshold) : 1;
}

// Of two images of one group in whether they are among the share `rate` that scores highest: what the correlation of
// all scores makes of it where they are jointly normal, or, where more, what those that are among them show, which is
// few images to learn from but holds where only some parts' high scores go together.
inline double correlation_of_exceedances(std::span<const double> scores, std::span<const double> sorted,
                                         std::span<const std::int64_t> groups, double rate) {
  const double joint = exceedance_correlation(intraclass_correlation(normal_scores(scores), groups), rate);
  const auto n = static_cast<double>(sorted.size());
  const double above = std::clamp(std::round(rate * n), 1.0, n);
  const double lowest = sorted[sorted.size() - static_cast<std::size_t>(above)];
  std::vector<double> exceed;
  for (const double score : scores) exceed.push_back(score >= lowest ? 1 : 0);
  return std::max(joint, intraclass_correlation(exceed, groups));
}
}  // namespace detail

// Learns from the scores of normal images alone, at least one, none of them trained on. The threshold lies just above
// the (j+1)-th largest, j the most for which a new image is expected to be called anomalous at the rate
// false_positives, 0 to below 1, at most: (j+1)/(n+1) <= false_positives, or, where images belong together,
// (j+deff)/(n+deff) (false_positive_rate.hpp); 0 where there is none. groups[i] is the number of the group of image i;
// empty: each is its own. Error: nothing to learn from, a score that is not finite, one group of several images.
template <std::same_as<double> T = double>
Calibration calibrate(std::span<const double> normal, double false_positives = 0.05,
                      std::span<const std::int64_t> groups = {}) {
  require(false_positives >= 0 && false_positives < 1, "calibrate: false_positives is ", false_positives,
          ", expected 0 to below 1");
  require(!normal.empty(), "calibrate: no scores of normal images");
  require(groups.empty() || groups.size() == normal.size(), "calibrate: ", groups.size(), " groups for ", normal.size(),
          " scores");
  detail::require_finite_scores("calibrate", normal);
  std::vector<T> scores(normal.begin(), normal.end());
  std::sort(scores.begin(), scores.end());

  FromNormalImages from{std::ssize(scores), std::ssize(scores), 0, false_positives, 0, 1};
  const auto n = static_cast<double>(scores.size());
  if (const std::vector<std::int64_t> sizes = group_sizes(groups); !groups.empty() && sizes.size() < scores.size()) {
    from.groups = std::ssize(sizes);
    from.correlation =
        detail::correlation_of_exceedances(normal, scores, groups, std::max(false_positives, 1 / (n + 1)));
    from.design_effect = design_effect(sizes, from.correlation);
  }
  const auto expected = [&](std::int64_t above) {
    return (static_cast<double>(above) + from.design_effect) / (n + from.design_effect);
  };
  while (from.above + 1 < from.images && expected(from.above + 1) <= false_positives) ++from.above;
  Calibration calibration;
  calibration.threshold = std::nextafter(scores[scores.size() - 1 - static_cast<std::size_t>(from.above)],
                                         std::numeric_limits<double>::infinity());
  calibration.spread = detail::spread_of(scores, calibration.threshold);
  calibration.from = from;
  return calibration;
}

// Learns from the scores of labelled images (0 is normal, anything else anomalous), of both kinds, none of them trained
// on, none of them in the set that results are reported on: the threshold of the largest F1, in the middle between the
// lowest score that is called anomalous and the next below it.
template <std::same_as<double> T = double>
Calibration calibrate_labelled(std::span<const double> scores, std::span<const std::uint8_t> labels) {
  detail::require_finite_scores("calibrate_labelled", scores);
  const OperatingPoint best = f1_max(std::span<const T>(scores), labels);
  Calibration calibration;
  calibration.threshold = best.threshold;
  double below = -std::numeric_limits<double>::infinity();
  std::vector<T> normal;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] < best.threshold) below = std::max(below, scores[i]);
    if (!labels[i]) normal.push_back(scores[i]);
  }
  // Halves first, lest the sum overflow; between neighbouring doubles there is no middle.
  if (const double middle = below / 2 + best.threshold / 2; middle > below && std::isfinite(middle))
    calibration.threshold = std::min(middle, best.threshold);
  calibration.spread = detail::spread_of(normal, calibration.threshold);
  calibration.from = FromLabelledImages{std::ssize(normal), std::ssize(scores) - std::ssize(normal), best.counts.f1()};
  return calibration;
}

// A threshold that was picked by hand, in place of what was learnt (or was not): the spread stays, or is |threshold|,
// or 1 where that is 0.
inline Calibration with_threshold(const std::optional<Calibration>& learnt, double threshold) {
  Calibration calibration;
  calibration.threshold = threshold;
  if (learnt)
    calibration.spread = learnt->spread;
  else if (std::abs(threshold) > 1e-300)
    calibration.spread = std::abs(threshold);
  calibration.check();
  return calibration;
}

}  // namespace cuttle
