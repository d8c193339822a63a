// Metrics of anomaly detection: for images (AUROC, average precision, F1-max, accuracy) and for pixels (AUROC, AUPRO).
//
// Scores grow with anomaly; a sample is called anomalous where score >= threshold. Labels and mask pixels: 0 is normal,
// everything else anomalous. Equal scores are never split by their order. NaN scores are refused.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"

namespace cuttle {

// float or double in a row: std::vector, std::span, std::array.
template <class R>
concept ScoreRange = requires(const R& scores) {
  std::span(scores);
}
&&std::floating_point<typename decltype(std::span(std::declval<const R&>()))::value_type>;

// How many samples a threshold calls rightly and wrongly; positive is anomalous.
struct Confusion {
  std::int64_t true_positives = 0, false_positives = 0, true_negatives = 0, false_negatives = 0;

  std::int64_t positives() const noexcept { return true_positives + false_negatives; }
  std::int64_t negatives() const noexcept { return true_negatives + false_positives; }
  // TP / (TP + FN), also the true-positive rate; NaN without positives.
  double recall() const noexcept { return ratio(true_positives, positives()); }
  // FP / (FP + TN); NaN without negatives.
  double false_positive_rate() const noexcept { return ratio(false_positives, negatives()); }
  // TN / (FP + TN); NaN without negatives.
  double specificity() const noexcept { return ratio(true_negatives, negatives()); }
  // TP / (TP + FP); 1 where nothing is called anomalous.
  double precision() const noexcept {
    const std::int64_t called = true_positives + false_positives;
    return called ? ratio(true_positives, called) : 1;
  }
  // (TP + TN) / all.
  double accuracy() const noexcept { return ratio(true_positives + true_negatives, positives() + negatives()); }
  // 2 TP / (2 TP + FP + FN).
  double f1() const noexcept {
    return ratio(2 * true_positives, 2 * true_positives + false_positives + false_negatives);
  }

  friend bool operator==(const Confusion&, const Confusion&) = default;

 private:
  static double ratio(std::int64_t part, std::int64_t whole) noexcept {
    return static_cast<double>(part) / static_cast<double>(whole);
  }
};

// A threshold, and what it makes of the samples.
struct OperatingPoint {
  double threshold;
  Confusion counts;
};

namespace detail {

template <class T, class... Parts>
void check_no_nan(std::span<const T> scores, const Parts&... name) {
  const auto nan = std::find_if(scores.begin(), scores.end(), [](T score) { return std::isnan(score); });
  require(nan == scores.end(), name..., ' ', nan - scores.begin(), " is NaN");
}

inline void check_both_classes(const char* op, std::int64_t normal, std::int64_t anomalous, const char* what) {
  require(normal > 0 && anomalous > 0, op, ": needs both classes, but of ", normal + anomalous, ' ', what, " none is ",
          anomalous == 0 ? "anomalous" : "normal");
}

template <ScoreRange Scores>
auto checked_scores(const char* op, const Scores& scores, std::span<const std::uint8_t> labels) {
  using T = typename decltype(std::span(scores))::value_type;
  const std::span<const T> values(scores);
  require(values.size() == labels.size(), op, ": ", values.size(), " scores, but ", labels.size(), " labels");
  check_no_nan(values, op, ": score");
  return values;
}

// One point for each distinct score, from the largest to the smallest.
template <ScoreRange Scores>
std::vector<OperatingPoint> sweep(const char* op, const Scores& scores, std::span<const std::uint8_t> labels) {
  const auto values = checked_scores(op, scores, labels);
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [values](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  Confusion counts;
  for (const std::uint8_t label : labels) ++(label ? counts.false_negatives : counts.true_negatives);
  check_both_classes(op, counts.true_negatives, counts.false_negatives, "samples");
  std::vector<OperatingPoint> points;
  for (const std::size_t i : order) {
    if (points.empty() || points.back().threshold != static_cast<double>(values[i]))
      points.push_back({static_cast<double>(values[i]), counts});
    const bool anomalous = labels[i] != 0;
    ++(anomalous ? counts.true_positives : counts.false_positives);
    --(anomalous ? counts.false_negatives : counts.true_negatives);
    points.back().counts = counts;
  }
  return points;
}

// The same after an infinite threshold, which calls nothing anomalous.
template <ScoreRange Scores>
std::vector<OperatingPoint> roc_points(const char* op, const Scores& scores, std::span<const std::uint8_t> labels) {
  auto points = sweep(op, scores, labels);
  const Confusion& all = points.back().counts;
  points.insert(points.begin(), {std::numeric_limits<double>::infinity(), {0, 0, all.negatives(), all.positives()}});
  return points;
}

}  // namespace detail

// Whether labels hold normal and anomalous samples, which the metrics below need.
inline bool has_both_classes(std::span<const std::uint8_t> labels) {
  const auto anomalous = std::count_if(labels.begin(), labels.end(), [](std::uint8_t label) { return label != 0; });
  return anomalous > 0 && anomalous < std::ssize(labels);
}

// The counts at one threshold; a single class will do.
template <ScoreRange Scores>
Confusion confusion(const Scores& scores, std::span<const std::uint8_t> labels, double threshold) {
  require(!std::isnan(threshold), "confusion: the threshold is NaN");
  const auto values = detail::checked_scores("confusion", scores, labels);
  Confusion counts;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (static_cast<double>(values[i]) >= threshold)
      ++(labels[i] ? counts.true_positives : counts.false_positives);
    else
      ++(labels[i] ? counts.false_negatives : counts.true_negatives);
  }
  return counts;
}

// The points of the ROC curve (false_positive_rate, recall) and of the precision-recall curve (recall, precision):
// first an infinite threshold that calls nothing anomalous, then each distinct score from the largest down.
template <ScoreRange Scores>
std::vector<OperatingPoint> operating_points(const Scores& scores, std::span<const std::uint8_t> labels) {
  return detail::roc_points("operating_points", scores, labels);
}

// Area under the ROC curve: the probability that an anomalous sample scores above a normal one, ties counting half
// (counted exactly).
template <ScoreRange Scores>
double auroc(const Scores& scores, std::span<const std::uint8_t> labels) {
  const auto points = detail::sweep("auroc", scores, labels);
  Confusion before;
  std::int64_t twice_won = 0;  // each normal sample loses to all anomalous above it and to half of those beside it
  for (const auto& [threshold, counts] : points) {
    twice_won += (counts.false_positives - before.false_positives) * (counts.true_positives + before.true_positives);
    before = counts;
  }
  return static_cast<double>(twice_won) /
         (2 * static_cast<double>(before.positives()) * static_cast<double>(before.negatives()));
}

// An interval (low, high) for the AUROC of the population from which `positives` anomalous and `negatives` normal
// samples gave `area`: the areas t with |area - t| <= z sqrt(V(t)), V(t) = t (1 - t) (1 + (N - 1) ((1 - t) / (2 - t) +
// t / (1 + t))) / (positives negatives), N = (positives + negatives) / 2 (Newcombe, Statistics in Medicine 25, 2006,
// method 5: a score interval from Hanley and McNeil's variance). It stays inside [0, 1] and has a width even at 0
// and 1. z = 1.96 gives 95 %.
inline std::pair<double, double> auroc_interval(double area, std::int64_t positives, std::int64_t negatives,
                                                double z = 1.959964) {
  require(area >= 0 && area <= 1, "auroc_interval: area is ", area);
  require(positives > 0 && negatives > 0, "auroc_interval: ", positives, " anomalous and ", negatives,
          " normal samples");
  require(z >= 0 && std::isfinite(z), "auroc_interval: z is ", z);
  const double pairs = static_cast<double>(positives) * static_cast<double>(negatives);
  const double N = static_cast<double>(positives + negatives) / 2;
  const auto inside = [&](double t) {
    const double variance = t * (1 - t) * (1 + (N - 1) * ((1 - t) / (2 - t) + t / (1 + t))) / pairs;
    return (area - t) * (area - t) <= z * z * variance;
  };
  // Bisection from the area, which is inside, to the end of [0, 1].
  const auto end = [&](double outside) {
    double within = area;
    for (int i = 0; i < 60; ++i) {
      const double middle = (within + outside) / 2;
      (inside(middle) ? within : outside) = middle;
    }
    return within;
  };
  return {end(0), end(1)};
}

// sum_n (recall_n - recall_{n-1}) precision_n over the distinct scores, from the largest down (scikit-learn's
// average_precision_score).
template <ScoreRange Scores>
double average_precision(const Scores& scores, std::span<const std::uint8_t> labels) {
  double sum = 0;
  std::int64_t found = 0;
  const auto points = detail::sweep("average_precision", scores, labels);
  for (const auto& [threshold, counts] : points) {
    sum += static_cast<double>(counts.true_positives - found) * counts.precision();
    found = counts.true_positives;
  }
  return sum / static_cast<double>(found);
}

// The point with the largest F1 = 2 TP / (2 TP + FP + FN) among the distinct scores as thresholds; of equal ones the
// highest threshold, which raises the fewest false alarms.
template <ScoreRange Scores>
OperatingPoint f1_max(const Scores& scores, std::span<const std::uint8_t> labels) {
  const auto points = detail::sweep("f1_max", scores, labels);
  return *std::max_element(points.begin(), points.end(),
                           [](const auto& a, const auto& b) { return a.counts.f1() < b.counts.f1(); });
}

// The point with the largest accuracy among operating_points(); of equal ones the highest threshold, which is infinite
// where no threshold does better than calling nothing anomalous. SQUID's authors report accuracy, F1, recall, precision
// and specificity there, a threshold picked on the very set that is reported. (They search scikit-learn's ROC curve,
// from which evenly spaced collinear points are dropped; accuracy is linear along those, so the first maximum is the
// same.)
template <ScoreRange Scores>
OperatingPoint most_accurate_point(const Scores& scores, std::span<const std::uint8_t> labels) {
  const auto points = detail::roc_points("most_accurate_point", scores, labels);
  return *std::max_element(points.begin(), points.end(), [](const auto& a, const auto& b) {
    return a.counts.true_positives + a.counts.true_negatives < b.counts.true_positives + b.counts.true_negatives;
  });
}

// labels [H, W] with 0 for the background and 1 .. sizes.size() for the components, and each one's number of pixels.
struct Components {
  Tensor<std::int32_t> labels;
  std::vector<std::int64_t> sizes;
};

// The 8-connected components of a mask [H, W], in the order of their first pixels.
template <class = void>
Components connected_components(const Tensor<std::uint8_t>& mask) {
  require(mask.defined() && mask.rank() == 2, "connected_components: mask needs shape [H, W], got ", mask.shape());
  const std::int64_t height = mask.size(0), width = mask.size(1);
  require(mask.numel() <= std::numeric_limits<std::int32_t>::max(), "connected_components: mask ", mask.shape(),
          " is too large");
  Components components{Tensor<std::int32_t>::zeros(mask.shape()), {}};
  const auto pixels = mask.span();
  const auto labels = components.labels.span();
  std::vector<std::int64_t> open;
  for (std::size_t seed = 0; seed < pixels.size(); ++seed) {
    if (!pixels[seed] || labels[seed]) continue;
    const auto label = static_cast<std::int32_t>(components.sizes.size() + 1);
    std::int64_t size = 0;
    labels[seed] = label;
    open.push_back(static_cast<std::int64_t>(seed));
    while (!open.empty()) {
      const std::int64_t h = open.back() / width, w = open.back() % width;
      open.pop_back();
      ++size;
      for (std::int64_t y = std::max<std::int64_t>(h - 1, 0); y <= std::min(h + 1, height - 1); ++y) {
        for (std::int64_t x = std::max<std::int64_t>(w - 1, 0); x <= std::min(w + 1, width - 1); ++x) {
          const auto next = static_cast<std::size_t>(y * width + x);
          if (!pixels[next] || labels[next]) continue;
          labels[next] = label;
          open.push_back(y * width + x);
        }
      }
    }
    components.sizes.push_back(size);
  }
  return components;
}

namespace detail {

// The pixels of every image; a region, one for each image or none at all, says which of an image's pixels count.
using Masks = std::span<const Tensor<std::uint8_t>>;
inline bool counts(Masks regions, std::size_t image, std::size_t pixel) {
  return regions.empty() || !regions[image].defined() || regions[image].data()[pixel] != 0;
}

// Checks shapes and NaN, and calls visit(image, map, mask) for each image; mask is empty for a normal image.
template <class Visit>
void for_each_map(const char* op, std::span<const Tensor<float>> maps, Masks masks, Masks regions, Visit&& visit) {
  require(maps.size() == masks.size(), op, ": ", maps.size(), " maps, but ", masks.size(), " masks");
  require(regions.empty() || maps.size() == regions.size(), op, ": ", maps.size(), " maps, but ", regions.size(),
          " regions");
  for (std::size_t i = 0; i < maps.size(); ++i) {
    require(maps[i].rank() == 2, op, ": map ", i, " needs shape [H, W], got ", maps[i].shape());
    require(!masks[i].defined() || masks[i].shape() == maps[i].shape(), op, ": map ", i, " has shape ", maps[i].shape(),
            ", its mask ", masks[i].shape());
    require(regions.empty() || !regions[i].defined() || regions[i].shape() == maps[i].shape(), op, ": map ", i,
            " has shape ", maps[i].shape(), ", its region ", regions.empty() ? Shape{} : regions[i].shape());
    const std::span<const float> map = maps[i].span();
    check_no_nan(map, op, ": map ", i, " pixel");
    visit(i, map, masks[i].span());
  }
}

}  // namespace detail

// Whether masks hold normal and anomalous pixels, inside the regions where there are some; an undefined mask is that of
// a normal image.
template <class = void>
bool has_both_classes(std::span<const Tensor<std::uint8_t>> masks, std::span<const Tensor<std::uint8_t>> regions = {}) {
  bool normal = false, anomalous = false;
  for (std::size_t i = 0; i < masks.size(); ++i) {
    const auto mask = masks[i].span();
    normal |= mask.empty();
    for (std::size_t p = 0; p < mask.size(); ++p)
      if (detail::counts(regions, i, p)) (mask[p] ? anomalous : normal) = true;
  }
  return normal && anomalous;
}

// AUROC over the pixels of all maps [H, W] (each of its own size), exact. masks[i] has the shape of maps[i], or is
// undefined for a normal image; regions[i] has it too, or is undefined, and of a map only the pixels count where it is
// not 0. Beyond the maps it needs four bytes for each anomalous pixel.
template <std::same_as<float> T = float>
double pixel_auroc(std::span<const Tensor<float>> maps, std::span<const Tensor<std::uint8_t>> masks,
                   std::span<const Tensor<std::uint8_t>> regions = {}) {
  std::vector<T> anomalous;
  std::int64_t pixels = 0;
  detail::for_each_map("pixel_auroc", maps, masks, regions, [&](std::size_t i, std::span<const T> map, auto mask) {
    for (std::size_t p = 0; p < map.size(); ++p) {
      if (!detail::counts(regions, i, p)) continue;
      ++pixels;
      if (!mask.empty() && mask[p]) anomalous.push_back(map[p]);
    }
  });
  const auto normal = pixels - std::ssize(anomalous);
  detail::check_both_classes("pixel_auroc", normal, std::ssize(anomalous), "pixels");
  std::sort(anomalous.begin(), anomalous.end());

  std::vector<std::uint64_t> twice_won(maps.size());
  parallel_for(std::ssize(maps), [&](std::int64_t tile) {
    const auto image = static_cast<std::size_t>(tile);
    const auto map = maps[image].span();
    const auto mask = masks[image].span();
    for (std::size_t p = 0; p < map.size(); ++p) {
      if ((!mask.empty() && mask[p]) || !detail::counts(regions, image, p)) continue;
      const auto [beside, above] = std::equal_range(anomalous.begin(), anomalous.end(), map[p]);
      twice_won[image] += static_cast<std::uint64_t>((anomalous.end() - beside) + (anomalous.end() - above));
    }
  });
  const std::uint64_t won = std::accumulate(twice_won.begin(), twice_won.end(), std::uint64_t{0});
  return static_cast<double>(won) / (2 * static_cast<double>(anomalous.size()) * static_cast<double>(normal));
}

// Area under the per-region overlap (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021): at each
// threshold PRO is the mean over every 8-connected ground-truth component of all images of the part of it that is
// called anomalous; its integral over the false-positive rate of all normal pixels, from 0 to max_fpr by trapezoids
// with linear interpolation at the limit, is divided by max_fpr. Maps, masks and regions as for pixel_auroc; a
// component is what the region leaves of it.
template <std::same_as<float> T = float>
double aupro(std::span<const Tensor<float>> maps, std::span<const Tensor<std::uint8_t>> masks, double max_fpr = 0.3,
             std::span<const Tensor<std::uint8_t>> regions = {}) {
  require(max_fpr > 0 && max_fpr <= 1, "aupro: max_fpr must be in (0, 1], got ", max_fpr);
  struct Pixel {
    T score;
    std::uint32_t component;
  };
  std::vector<T> normal;
  std::vector<Pixel> anomalous;
  std::vector<double> weight;  // of one pixel of each component
  detail::for_each_map("aupro", maps, masks, regions, [&](std::size_t i, std::span<const T> map, auto mask) {
    if (mask.empty()) {
      for (std::size_t p = 0; p < map.size(); ++p)
        if (detail::counts(regions, i, p)) normal.push_back(map[p]);
      return;
    }
    Tensor<std::uint8_t> inside = masks[i].clone();
    for (std::size_t p = 0; p < map.size(); ++p)
      if (!detail::counts(regions, i, p)) inside.data()[p] = 0;
    const Components components = connected_components(inside);
    const auto labels = components.labels.span();
    for (std::size_t p = 0; p < map.size(); ++p) {
      if (!detail::counts(regions, i, p)) continue;
      if (labels[p] == 0) {
        normal.push_back(map[p]);
      } else {
        anomalous.push_back(
            {map[p], static_cast<std::uint32_t>(weight.size()) + static_cast<std::uint32_t>(labels[p] - 1)});
      }
    }
    for (const std::int64_t size : components.sizes) weight.push_back(1 / static_cast<double>(size));
  });
  detail::check_both_classes("aupro", std::ssize(normal), std::ssize(anomalous), "pixels");

  // Below the limit only the highest normal scores matter, with all that tie with the last of them.
  const double limit = max_fpr * static_cast<double>(normal.size());
  const auto needed = normal.begin() + static_cast<std::ptrdiff_t>(std::ceil(limit));
  const auto larger = [](T a, T b) { return a > b; };
  std::nth_element(normal.begin(), needed - 1, normal.end(), larger);
  normal.erase(std::partition(needed, normal.end(), [last = *(needed - 1)](T s) { return s == last; }), normal.end());
  std::sort(normal.begin(), normal.end(), larger);
  std::sort(anomalous.begin(), anomalous.end(), [](const Pixel& a, const Pixel& b) { return a.score > b.score; });

  double area = 0, overlap = 0;  // in normal pixels times components
  auto positive = anomalous.begin();
  for (auto negative = normal.begin(); static_cast<double>(negative - normal.begin()) < limit;) {
    const auto false_positives = static_cast<double>(negative - normal.begin());
    const double overlap_before = overlap;
    const T threshold = positive == anomalous.end() ? *negative : std::max(positive->score, *negative);
    for (; positive != anomalous.end() && positive->score == threshold; ++positive)
      overlap += weight[positive->component];
    const auto tie = negative;
    while (negative != normal.end() && *negative == threshold) ++negative;
    if (tie == negative) continue;
    const auto step = static_cast<double>(negative - tie);
    const double width = std::min(step, limit - false_positives);
    area += width * (overlap_before + (overlap - overlap_before) * (width / step) / 2);
  }
  return area / (limit * static_cast<double>(weight.size()));
}

}  // namespace cuttle
