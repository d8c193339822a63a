// An evaluation as one HTML page that needs nothing but itself: no file beside it, no network, no script.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cuttle/data/image.hpp"
#include "cuttle/data/jpeg.hpp"
#include "cuttle/data/overlay.hpp"
#include "cuttle/data/resize.hpp"
#include "cuttle/eval/metrics.hpp"
#include "cuttle/io/file.hpp"
#include "cuttle/io/json.hpp"
#include "cuttle/models/evaluation.hpp"
#include "cuttle/report/charts.hpp"
#include "cuttle/report/html.hpp"
#include "cuttle/report/style.hpp"
#include "cuttle/version.hpp"

namespace cuttle {

// What a page is of, and how large it may become.
struct ReportOptions {
  std::string model, data, method;  // as the page is to name them
  Json settings;                    // of the training; an object is shown member by member
  std::int64_t images = 200;        // the gallery holds at most so many
  std::int64_t image_side = 192;    // the longer side of its pictures, in pixels; 16 to 1024
};

namespace report {

// What calls an image anomalous on the page: the model's own threshold or, where it has none, the one of the largest F1
// on these very images; nothing where there is neither.
struct Decisions {
  std::optional<OperatingPoint> at;
  bool own = false;

  explicit Decisions(const Evaluation& evaluation) : own(evaluation.calibration.has_value()) {
    if (evaluation.at_own_threshold)
      at = evaluation.at_own_threshold;
    else if (own)
      at = OperatingPoint{evaluation.calibration->threshold, {}};
    else
      at = evaluation.f1_max;
  }
  bool anomalous(double score) const { return at && score >= at->threshold; }
};

// Where a map's contour is drawn. Where the score of every image is the largest pixel of its map, the pixels at the
// image's own threshold or above it are those each of which alone makes the image anomalous. Any other map has no
// threshold of its own: the level is then the 99.5th percentile of the pixels of normal images; none without labels.
struct ContourLevel {
  std::optional<float> level;
  bool decides = false;

  ContourLevel(const Evaluation& evaluation, const Decisions& decisions) {
    decides = decisions.at.has_value();
    for (std::size_t i = 0; i < evaluation.maps.size() && decides; ++i) {
      float most = -std::numeric_limits<float>::infinity();
      const Tensor<float> map = evaluation.counted_map(i);
      for (const float pixel : map.span()) most = std::max(most, pixel);
      decides = static_cast<double>(most) == evaluation.scores[i];
    }
    if (decides) {
      // Of the floats the first that is not below the threshold.
      level = static_cast<float>(decisions.at->threshold);
      if (static_cast<double>(*level) < decisions.at->threshold)
        level = std::nextafter(*level, std::numeric_limits<float>::infinity());
      return;
    }
    std::vector<float> pixels;
    for (std::size_t i = 0; i < evaluation.maps.size(); ++i) {
      if (evaluation.samples[i].label != Label::normal) continue;
      const Tensor<float> map = evaluation.counted_map(i);
      for (const float pixel : map.span())
        if (!std::isnan(pixel)) pixels.push_back(pixel);
    }
    if (pixels.empty()) return;
    const auto nth = pixels.begin() + static_cast<std::ptrdiff_t>(0.995 * static_cast<double>(pixels.size() - 1));
    std::nth_element(pixels.begin(), nth, pixels.end());
    level = *nth;
  }
};

// Which samples the gallery shows, the most anomalous first: all where there are at most `most`; else every mistake,
// then the most anomalous up to half of the room that is left, then the rest evenly by rank.
inline std::vector<std::size_t> shown_samples(std::span<const double> scores, std::span<const std::uint8_t> mistakes,
                                              std::int64_t most) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  if (std::ssize(order) <= most) return order;
  std::vector<bool> shown(order.size());
  std::int64_t room = most;
  const auto show = [&](std::size_t i) {
    if (room == 0 || shown[i]) return;
    shown[i] = true;
    --room;
  };
  for (const std::size_t i : order)
    if (mistakes[i]) show(i);
  const std::int64_t rest = room / 2;
  for (const std::size_t i : order)
    if (room > rest) show(i);
  std::vector<std::size_t> left;
  for (const std::size_t i : order)
    if (!shown[i]) left.push_back(i);
  for (std::int64_t k = 0, count = room; k < count; ++k)
    show(left[static_cast<std::size_t>((2 * k + 1) * std::ssize(left) / (2 * count))]);
  std::erase_if(order, [&](std::size_t i) { return !shown[i]; });
  return order;
}

namespace detail {

// The settings as rows of a name and a value: members of objects under their joined names.
inline void flatten(const Json& value, const std::string& name,
                    std::vector<std::pair<std::string, std::string>>& rows) {
  if (value.is_object()) {
    for (const auto& [key, member] : value.object()) flatten(member, name.empty() ? key : name + '.' + key, rows);
    return;
  }
  std::string text = value.dump();
  if (text.size() >= 2 && text.front() == '"') text = value.string();
  rows.emplace_back(name, value.is_null() ? std::string(no_number) : text);
}

inline std::string count_of(std::int64_t n, const char* what, const char* many = nullptr) {
  return std::to_string(n) + ' ' + what + (n == 1 ? "" : many ? many : "s");
}

inline std::string percent(double share) {
  return std::isfinite(share) ? fixed(100 * share, 1) + " %" : fixed(share, 1);
}

// The picture as a data URI, at most side pixels wide and high: a PNG where that is no larger than a JPEG, as it is of
// drawings and small pictures. Without colours in one channel.
inline std::string picture_uri(const Image& image, std::int64_t side) {
  const std::int64_t H = image.size(0), W = image.size(1), longer = std::max(H, W);
  const auto scaled = [&](std::int64_t n) { return std::max<std::int64_t>(1, (n * side + longer / 2) / longer); };
  Image small = longer > side ? resize(image, scaled(H), scaled(W)) : image;
  if (small.size(2) == 3) {
    bool gray = true;
    for (std::int64_t i = 0; i < small.numel() && gray; i += 3)
      gray = small.data()[i] == small.data()[i + 1] && small.data()[i] == small.data()[i + 2];
    if (gray) small = to_gray(small);
  }
  const std::vector<std::byte> png = encode_png(small), jpeg = encode_jpeg(small);
  return png.size() <= jpeg.size() ? "data:image/png;base64," + base64(png) : "data:image/jpeg;base64," + base64(jpeg);
}

// Builds the page from one evaluation.
class Page {
 public:
  Page(const Evaluation& evaluation, const ReportOptions& options)
      : evaluation_(evaluation), options_(options), decisions_(evaluation), contour_(evaluation, decisions_) {
    const std::size_t n = evaluation.samples.size();
    require(n > 0, "report: no images");
    require(evaluation.scores.size() == n && evaluation.maps.size() == n && evaluation.reconstructions.size() == n &&
                evaluation.masks.size() == n && evaluation.regions.size() == n,
            "report: ", n, " samples, but ", evaluation.scores.size(), " scores, ", evaluation.maps.size(), " maps, ",
            evaluation.reconstructions.size(), " reconstructions, ", evaluation.masks.size(), " masks, ",
            evaluation.regions.size(), " regions");
    require(options.images >= 0, "report: images is ", options.images, ", expected at least 0");
    require(options.image_side >= 16 && options.image_side <= 1024, "report: image_side is ", options.image_side,
            ", expected 16 to 1024");
    for (std::size_t i = 0; i < n; ++i) {
      const double score = evaluation.scores[i];
      require(std::isfinite(score), "report: the score of ", evaluation.samples[i].path.string(), " is ", score);
      values_.push_back(evaluation.calibration ? evaluation.calibration->normalised(score) : score);
      const Label label = evaluation.samples[i].label;
      called_ += decisions_.anomalous(score);
      const bool missed = label == Label::anomalous && !decisions_.anomalous(score);
      const bool alarm = label == Label::normal && decisions_.anomalous(score);
      missed_ += missed;
      alarms_ += alarm;
      mistakes_.push_back(decisions_.at && (missed || alarm));
      ++(label == Label::unknown ? unknown_ : label == Label::normal ? normal_ : anomalous_);
      if (label == Label::unknown) continue;
      known_.push_back(evaluation.scores[i]);
      known_values_.push_back(values_.back());
      labels_.push_back(label == Label::anomalous);
    }
    axis_ = evaluation.calibration ? Axis::unit() : Axis::covering(values_);
    for (const Sample& sample : evaluation.samples) {
      const std::string kind = kind_of(sample);
      if (std::ranges::find(kinds_, kind) == kinds_.end()) kinds_.push_back(kind);
    }
    std::ranges::sort(kinds_);
  }

  template <class ImageOf>
  std::string html(ImageOf&& image_of) {
    const std::string title = escape(options_.model) + (options_.data.empty() ? "" : " on " + escape(options_.data));
    out_ =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
        "'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"referrer\" content=\"no-referrer\">\n<title>";
    add(title, "</title>\n<style>", style);
    kind_rules();
    add("</style>\n</head>\n<body>\n<header>\n<h1>", escape(options_.model),
        options_.data.empty() ? "" : " <small>on " + escape(options_.data) + "</small>", "</h1>\n");
    lead();
    add("</header>\n<main>\n");
    facts();
    charts();
    tables();
    gallery(image_of);
    skipped();
    settings();
    add("</main>\n<footer>Made by cuttle ", version_string,
        ". Everything on this page is in this one file; it asks for nothing "
        "else.</footer>\n"
        "</body>\n</html>\n");
    return std::move(out_);
  }

 private:
  template <class... Parts>
  void add(const Parts&... parts) {
    ((out_ += parts), ...);
  }

  static std::string kind_of(const Sample& sample) {
    if (!sample.kind.empty()) return sample.kind;
    return sample.label == Label::unknown ? "unlabelled" : sample.label == Label::normal ? "normal" : "anomalous";
  }
  std::string shown_score(double value) const {
    return evaluation_.calibration ? fixed(value, 3) : significant(value, 4);
  }
  // The threshold on the scale that the page shows.
  std::optional<double> shown_threshold() const {
    if (!decisions_.at) return {};
    return decisions_.own ? 0.5 : decisions_.at->threshold;
  }

  void lead() {
    add("<p class=\"lead\">", count_of(std::ssize(values_), "image"));
    if (normal_ + anomalous_ > 0) {
      add(": ", std::to_string(normal_), " normal, ", std::to_string(anomalous_), " anomalous");
      if (unknown_) add(", ", std::to_string(unknown_), " of unknown label");
    }
    add(". ");
    if (decisions_.at) {
      add("<strong>", std::to_string(called_), " called anomalous</strong>");
      if (normal_ + anomalous_ > 0)
        add("; ", missed_ ? count_of(missed_, "defect") + " missed" : "no defect missed", ", ",
            alarms_ ? count_of(alarms_, "false alarm") : "no false alarm");
      add(".");
    } else {
      add("The model has learnt no threshold: there are scores, and no decisions.");
    }
    add("</p>\n");
  }

  // Where the threshold comes from, and what was promised of it.
  std::string threshold_source() const {
    if (!decisions_.own) return "of the largest F1 on these very images: on others it would do worse";
    const auto& from = evaluation_.calibration->from;
    if (const auto* normal = std::get_if<FromNormalImages>(&from)) {
      const FalsePositiveRate rate = normal->rate();
      const RateInterval interval = rate.interval();
      return "the model&#39;s own, from " + count_of(normal->images, "normal image") +
             "; false-positive rate expected: " + percent(rate.expected()) + " (95 %: " + fixed(100 * interval.low, 1) +
             " to " + fixed(100 * interval.high, 1) + ")";
    }
    if (const auto* labelled = std::get_if<FromLabelledImages>(&from))
      return "the model&#39;s own, of the largest F1 on " +
             count_of(labelled->normal + labelled->anomalous, "labelled image") + " seen before";
    return "chosen by hand";
  }

  void fact(const std::string& name, const std::string& value, const std::string& more = "") {
    add("<div><dt>", name, "</dt><dd>", value, "</dd>");
    if (!more.empty()) add("<dd class=\"more\">", more, "</dd>");
    add("</div>\n");
  }

  void facts() {
    add("<section aria-label=\"Summary\">\n<dl class=\"facts\">\n");
    const auto count = std::ssize(values_);
    if (decisions_.at) {
      fact("Called anomalous", std::to_string(called_),
           percent(static_cast<double>(called_) / static_cast<double>(count)) + " of " + count_of(count, "image"));
      fact("Threshold", significant(decisions_.at->threshold, 4), threshold_source());
      if (normal_ + anomalous_ > 0) {
        const Confusion& counts = decisions_.at->counts;
        if (anomalous_) fact("Recall", fixed(counts.recall(), 3), "of the defects at the threshold");
        if (normal_)
          fact("False alarms", percent(counts.false_positive_rate()), "of the normal images at the threshold");
        if (anomalous_) fact("F1", fixed(counts.f1(), 3), "at the threshold");
      }
    } else {
      fact("Images", std::to_string(count));
    }
    if (evaluation_.image_auroc) {
      const auto [low, high] = auroc_interval(*evaluation_.image_auroc, anomalous_, normal_);
      fact("Image AUROC", fixed(*evaluation_.image_auroc, 4),
           "95 % interval " + fixed(low, 3) + " to " + fixed(high, 3) + " (Newcombe)");
    }
    if (evaluation_.image_ap)
      fact("Average precision", fixed(*evaluation_.image_ap, 4),
           "chance: " + fixed(static_cast<double>(anomalous_) / static_cast<double>(anomalous_ + normal_), 3));
    if (evaluation_.pixel_auroc) fact("Pixel AUROC", fixed(*evaluation_.pixel_auroc, 4));
    if (evaluation_.aupro) fact("AUPRO", fixed(*evaluation_.aupro, 4), "up to a false-positive rate of 0.3");
    fact("Time", significant(1000 * evaluation_.seconds_per_image, 3) + " ms", "an image, scoring alone");
    add("</dl>\n</section>\n");
  }

  void charts() {
    add("<section>\n<h2>Scores</h2>\n<p class=\"note\">");
    if (evaluation_.calibration)
      add("On the scale of the threshold, from 0 to 1, on which it is 0.5. It is a scale of rank and "
          "distance, "
          "not a probability.");
    else
      add("As the model gives them; larger is more anomalous.", axis_.logarithmic() ? " The axis is logarithmic." : "");
    add("</p>\n<div class=\"panels\">\n<div class=\"panel\">\n<h3>Histogram</h3>\n");
    const bool labelled = !labels_.empty();
    HistogramChart chart{
        "Histogram of the scores", evaluation_.calibration ? "score, normalised" : "score", {}, {}, shown_threshold()};
    if (!labelled) {
      chart.up = "of unknown label";
      add(histogram_chart(histogram(values_, std::vector<std::uint8_t>(values_.size(), 0), axis_), axis_, chart));
    } else {
      chart.up = normal_ ? "normal" : "anomalous";
      if (normal_ && anomalous_) chart.down = "anomalous";
      const std::vector<std::uint8_t> none(labels_.size(), 0);
      add(histogram_chart(histogram(known_values_, normal_ ? labels_ : none, axis_), axis_, chart));
      add("<ul class=\"key\">");
      if (normal_)
        add("<li><i style=\"background:var(--normal)\"></i>", count_of(normal_, "normal image"),
            anomalous_ ? ", upwards" : "", "</li>");
      if (anomalous_)
        add("<li><i style=\"background:var(", normal_ ? "--anomalous" : "--accent", ")\"></i>",
            count_of(anomalous_, "anomalous image"), normal_ ? ", downwards" : "", "</li>");
      add("</ul>\n");
    }
    add("</div>\n");
    if (evaluation_.image_auroc) {
      const auto points = operating_points(known_, labels_);
      std::optional<Point> roc, precision;
      if (decisions_.at) {
        const Confusion& counts = decisions_.at->counts;
        roc = Point{counts.false_positive_rate(), counts.recall()};
        precision = Point{counts.recall(), counts.precision()};
      }
      const auto key = [&] {
        if (decisions_.at) add("<ul class=\"key\"><li><i class=\"dot\"></i>at the threshold</li></ul>\n");
      };
      add("<div class=\"panel\">\n<h3>ROC curve, area ", fixed(*evaluation_.image_auroc, 4), "</h3>\n");
      add(curve_chart({"ROC curve: recall over false-positive rate", "false-positive rate", "recall", roc_curve(points),
                       true, roc}));
      key();
      add("</div>\n<div class=\"panel\">\n<h3>Precision and recall, area ", fixed(*evaluation_.image_ap, 4), "</h3>\n");
      add(curve_chart(
          {"Precision over recall", "recall", "precision", precision_recall_curve(points), false, precision}));
      key();
      add("</div>\n");
    }
    add("</div>\n</section>\n");
  }

  void tables() {
    if (labels_.empty()) return;
    add("<section>\n<h2>Decisions and kinds</h2>\n<div class=\"panels\">\n");
    if (decisions_.at) {
      const Confusion& counts = decisions_.at->counts;
      const auto cell = [&](bool right, std::int64_t n, const char* what) {
        add("<td class=\"", right ? "right" : "wrong", "\">", std::to_string(n), "<small>", what, "</small></td>");
      };
      add("<div class=\"panel\">\n<table class=\"counts\">\n<caption>", "At the threshold, ",
          significant(decisions_.at->threshold, 4),
          "</caption>\n<thead><tr><td></td><th scope=\"col\">called normal</th><th scope=\"col\">called "
          "anomalous</th></tr>"
          "</thead>\n<tbody>\n<tr><th scope=\"row\">normal</th>");
      cell(true, counts.true_negatives, "right");
      cell(false, counts.false_positives, "false alarms");
      add("</tr>\n<tr><th scope=\"row\">anomalous</th>");
      cell(false, counts.false_negatives, "missed");
      cell(true, counts.true_positives, "found");
      add("</tr>\n</tbody>\n</table>\n<p class=\"note\">Accuracy ", fixed(counts.accuracy(), 3), ", precision ",
          fixed(counts.precision(), 3), ", recall ", fixed(counts.recall(), 3), ", specificity ",
          fixed(counts.specificity(), 3), ".</p>\n</div>\n");
    }
    add("<div class=\"panel\">\n<table class=\"kinds\">\n<caption>AUROC of each kind of defect is against all normal "
        "images.</caption>\n"
        "<thead><tr><th scope=\"col\">kind</th><th scope=\"col\" class=\"number\">images</th>",
        evaluation_.image_auroc ? "<th scope=\"col\" class=\"number\">AUROC</th>" : "",
        decisions_.at ? "<th scope=\"col\" class=\"number\">called<span class=\"wide\"> anomalous</span></th>" : "",
        "<th scope=\"col\" class=\"number\">median score</th></tr></thead>\n<tbody>\n");
    for (const std::string& kind : kinds_) {
      std::vector<double> values;
      std::int64_t called = 0;
      for (std::size_t i = 0; i < values_.size(); ++i) {
        if (kind_of(evaluation_.samples[i]) != kind) continue;
        values.push_back(values_[i]);
        called += decisions_.anomalous(evaluation_.scores[i]);
      }
      std::ranges::sort(values);
      const double median = (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
      add("<tr><th scope=\"row\">", escape(kind), "</th><td class=\"number\">", std::to_string(values.size()), "</td>");
      if (evaluation_.image_auroc) {
        const auto found = evaluation_.image_auroc_of_kind.find(kind);
        add("<td class=\"number\">",
            found == evaluation_.image_auroc_of_kind.end() ? std::string(no_number) : fixed(found->second, 4), "</td>");
      }
      if (decisions_.at)
        add("<td class=\"number\">", std::to_string(called), "<span class=\"wide\"> (",
            percent(static_cast<double>(called) / static_cast<double>(values.size())), ")</span></td>");
      add("<td class=\"number\">", shown_score(median), "</td></tr>\n");
    }
    add("</tbody>\n</table>\n</div>\n</div>\n</section>\n");
  }

  // The choices above the gallery, in which a radio button of each hides what it does not name.
  struct Choice {
    std::string id, name, other;  // other: the selector of what is hidden
    std::int64_t count;
  };
  std::vector<Choice> choices() const {
    std::vector<Choice> out{{"all", "all", "", 0}};
    const auto count = [&](auto&& belongs) {
      return std::ranges::count_if(gallery_, [&](std::size_t i) { return belongs(i); });
    };
    out[0].count = std::ssize(gallery_);
    if (decisions_.at && !labels_.empty())
      for (const bool missed : {true, false})
        out.push_back({missed ? "missed" : "alarm", missed ? "missed" : "false alarms",
                       missed ? ":not(.is-missed)" : ":not(.is-alarm)", count([&](std::size_t i) {
                         return mistakes_[i] && (evaluation_.samples[i].label == Label::anomalous) == missed;
                       })});
    if (kinds_.size() > 1)
      for (std::size_t k = 0; k < kinds_.size(); ++k)
        out.push_back({concat("k", std::to_string(k)), escape(kinds_[k]), concat(":not(.is-k", std::to_string(k), ")"),
                       count([&](std::size_t i) { return kind_of(evaluation_.samples[i]) == kinds_[k]; })});
    return out;
  }
  void kind_rules() {
    gallery_ = shown_samples(evaluation_.scores, mistakes_, options_.images);
    for (const auto& [id, name, other, count] : choices()) {
      if (!other.empty()) add("#only-", id, ":checked~.gallery .card", other, "{display:none}\n");
      add("#only-", id, ":checked~.choices label[for=only-", id,
          "]{background:var(--ink);border-color:var(--ink);color:var(--page)}#only-", id,
          ":checked~.choices label[for=only-", id, "] span{color:inherit}#only-", id,
          ":focus-visible~.choices label[for=only-", id, "]{outline:3px solid var(--accent);outline-offset:2px}\n");
    }
    for (const char* id : {"heat", "lines"})
      add("#", id, ":checked~.choices label[for=", id, "]{border-color:var(--accent);color:var(--accent)}#", id,
          ":focus-visible~.choices label[for=", id, "]{outline:3px solid var(--accent);outline-offset:2px}\n");
  }

  template <class ImageOf>
  void gallery(ImageOf& image_of) {
    if (gallery_.empty()) return;
    const bool masks = std::ranges::any_of(gallery_, [&](std::size_t i) { return has_mask(i); });
    const bool reconstructions =
        std::ranges::any_of(gallery_, [&](std::size_t i) { return evaluation_.reconstructions[i].defined(); });
    add("<section>\n<h2>Images</h2>\n<p class=\"note\">The most anomalous first. ");
    if (std::ssize(gallery_) < std::ssize(values_))
      add("Shown are ", std::to_string(gallery_.size()), " of ", std::to_string(values_.size()),
          ": mistakes, the most anomalous, and of the rest a few evenly from top to bottom. ");
    add("Heat rises with the logarithm of the map, on one scale for all images.",
        std::ranges::any_of(gallery_, [&](std::size_t i) { return evaluation_.regions[i].defined(); })
            ? " Outside the region of interest nothing counts, and there is none."
            : "",
        "</p>\n<ul class=\"key\">");
    if (contour_.level)
      add("<li><i class=\"line\" style=\"border-color:currentColor\"></i>",
          contour_.decides ? "contour: pixels at the threshold or above, each of which alone makes its image anomalous"
                           : "contour: pixels above 99.5 % of those of the normal images here; of pixels the model has "
                             "learnt no threshold",
          "</li>");
    if (masks) add("<li><i class=\"line dashed\" style=\"border-color:var(--mask)\"></i>the true mask</li>");
    add("</ul>\n<div>\n");
    const std::vector<Choice> all = choices();
    for (const Choice& choice : all)
      add("<input class=\"hidden\" type=\"radio\" name=\"only\" id=\"only-", choice.id, "\"",
          choice.id == "all" ? " checked" : "", choice.count ? "" : " disabled", ">");
    add("<input class=\"hidden\" type=\"checkbox\" id=\"heat\" checked><input class=\"hidden\" type=\"checkbox\" "
        "id=\"lines\" "
        "checked>\n<div class=\"choices\" role=\"group\" aria-label=\"Which images, and what is laid over them\" "
        "style=\"margin-top:16px\">");
    for (const Choice& choice : all)
      add("<label for=\"only-", choice.id, "\">", choice.name, " <span>", std::to_string(choice.count),
          "</span></label>");
    add("</div>\n<div class=\"choices\"><label for=\"heat\">heat</label><label for=\"lines\">contours</label></div>\n"
        "<div class=\"gallery",
        reconstructions ? " three" : "", "\">\n");
    const HeatScale heat(evaluation_.maps);
    for (const std::size_t i : gallery_) card(i, image_of(i), heat);
    add("</div>\n</div>\n</section>\n");
  }

  bool has_mask(std::size_t i) const {
    const auto& mask = evaluation_.masks[i];
    return mask.defined() && std::ranges::any_of(mask.span(), [](std::uint8_t pixel) { return pixel != 0; });
  }

  void card(std::size_t i, const Image& image, const HeatScale& heat) {
    cuttle::detail::require_image(image, "report");
    const Sample& sample = evaluation_.samples[i];
    const Tensor<float> map = evaluation_.counted_map(i);
    const Image& reconstruction = evaluation_.reconstructions[i];
    const std::string kind = kind_of(sample), name = escape(sample.path.filename().string()),
                      number = std::to_string(i);
    const auto k = std::to_string(std::ranges::find(kinds_, kind) - kinds_.begin());
    const bool anomalous = decisions_.anomalous(evaluation_.scores[i]);
    const bool missed = mistakes_[i] && sample.label == Label::anomalous, alarm = mistakes_[i] && !missed;
    // Every view has the image's own shape, whatever that of the map.
    const std::string W = std::to_string(image.size(1)), H = std::to_string(image.size(0));
    const std::string box = concat("<svg viewBox=\"0 0 ", W, ' ', H, "\" role=\"img\" aria-label=\"");
    const std::string fill = concat(" width=\"", W, "\" height=\"", H, "\" preserveAspectRatio=\"none\"");

    add("<article class=\"panel card is-k", k,
        missed  ? " is-missed"
        : alarm ? " is-alarm"
                : "",
        "\">\n<div class=\"views", std::max(image.size(0), image.size(1)) < 100 ? " pixels" : "", "\">\n<figure>", box,
        "Image ", name, ", ", escape(kind), "\"><image id=\"i", number, "\"", fill, " href=\"",
        picture_uri(image, options_.image_side), "\"/></svg><figcaption>image</figcaption></figure>\n");
    if (reconstruction.defined())
      add("<figure>", box, "Reconstruction of ", name, "\"><image", fill, " href=\"",
          picture_uri(reconstruction, options_.image_side),
          "\"/></svg><figcaption>reconstruction</figcaption></figure>\n");
    add("<figure>", box, "Anomaly map over ", name, "\"><use href=\"#i", number, "\"/><image class=\"heat\"", fill,
        " href=\"", heat_uri(map, heat), "\"/>");
    const std::string to_image =
        concat(" transform=\"scale(", fixed(static_cast<double>(image.size(1)) / static_cast<double>(map.size(1)), 6),
               ' ', fixed(static_cast<double>(image.size(0)) / static_cast<double>(map.size(0)), 6), ")\"");
    const auto outline = [&](const char* which, const std::string& path) {
      if (!path.empty())
        add("<path class=\"case\"", to_image, " d=\"", path, "\"/><path class=\"", which, "\"", to_image, " d=\"", path,
            "\"/>");
    };
    if (has_mask(i)) outline("truth", outline_path(evaluation_.masks[i]));
    if (contour_.level) {
      auto above = Tensor<std::uint8_t>::empty(map.shape());
      for (std::int64_t p = 0; p < map.numel(); ++p) above.data()[p] = map.data()[p] >= *contour_.level;
      outline("decision", outline_path(above));
    }
    add("</svg><figcaption>anomaly map</figcaption></figure>\n</div>\n<div class=\"about\">\n<div class=\"row\"><h3>",
        name, "</h3><span title=\"score ", significant(evaluation_.scores[i], 6), "\">", shown_score(values_[i]),
        "</span></div>\n<div class=\"bar\" aria-hidden=\"true\"><i class=\"",
        !decisions_.at ? "plain"
        : anomalous    ? "anomalous"
                       : "normal",
        "\" style=\"width:", fixed(100 * axis_.at(values_[i]), 1), "%\"></i>");
    if (const auto threshold = shown_threshold())
      add("<b style=\"left:", fixed(100 * axis_.at(*threshold), 1), "%\"></b>");
    add("</div>\n<div class=\"tags\">");
    if (decisions_.at)
      add("<span class=\"tag ", anomalous ? "anomalous" : "normal", "\">", "called ",
          anomalous ? "anomalous" : "normal", "</span>");
    if (missed || alarm) add("<span class=\"tag mistake\">", missed ? "missed" : "false alarm", "</span>");
    add("<span class=\"tag\">", escape(kind), "</span></div>\n</div>\n</article>\n");
  }

  static std::string heat_uri(const Tensor<float>& map, const HeatScale& heat) {
    std::array<Rgb, 256> colors;
    std::array<std::uint8_t, 256> opacity;
    for (std::size_t i = 0; i < colors.size(); ++i) {
      const float t = static_cast<float>(i) / 255;
      colors[i] = heat_color(static_cast<double>(t));
      opacity[i] = static_cast<std::uint8_t>(std::lround(255 * heat_opacity(t)));
    }
    return "data:image/png;base64," + base64(encode_png(heat.levels(map, 96), colors, opacity));
  }

  void skipped() {
    if (evaluation_.skipped.empty()) return;
    add("<section>\n<h2>Left out</h2>\n<p class=\"note\">", count_of(std::ssize(evaluation_.skipped), "file"),
        " could not be used.</p>\n<div class=\"panel left-out\">\n<table>\n<thead><tr><th scope=\"col\">file</th><th "
        "scope=\"col\">reason</th></tr></thead>\n<tbody>\n");
    for (const SkippedFile& file : evaluation_.skipped) {
      // The reason starts with the path, as errors do.
      const std::string path = file.path.string();
      const std::string reason =
          file.reason.starts_with(path + ": ") ? file.reason.substr(path.size() + 2) : file.reason;
      add("<tr><th scope=\"row\">", escape(file.path.filename().string()), "</th><td>", escape(reason), "</td></tr>\n");
    }
    add("</tbody>\n</table>\n</div>\n</section>\n");
  }

  void settings() {
    std::vector<std::pair<std::string, std::string>> rows;
    if (!options_.method.empty()) rows.emplace_back("method", options_.method);
    if (!options_.model.empty()) rows.emplace_back("model", options_.model);
    if (!options_.data.empty()) rows.emplace_back("data", options_.data);
    if (options_.settings.is_object())
      flatten(options_.settings, "", rows);
    else if (!options_.settings.is_null())
      flatten(options_.settings, "training", rows);
    if (rows.empty()) return;
    add("<section>\n<h2>Settings</h2>\n<p class=\"note\">Of the model and its training, as its file holds them.</p>\n"
        "<div class=\"panel\">\n<table class=\"settings\">\n<tbody>\n");
    for (const auto& [name, value] : rows)
      add("<tr><th scope=\"row\">", escape(name), "</th><td>", escape(value), "</td></tr>\n");
    add("</tbody>\n</table>\n</div>\n</section>\n");
  }

  const Evaluation& evaluation_;
  const ReportOptions& options_;
  Decisions decisions_;
  ContourLevel contour_;
  Axis axis_ = Axis::unit();
  std::vector<double> values_;                // of every sample: its score on the scale that the page shows
  std::vector<std::uint8_t> mistakes_;        // of every sample, at the threshold
  std::vector<double> known_, known_values_;  // of the samples with a label
  std::vector<std::uint8_t> labels_;
  std::vector<std::string> kinds_;
  std::vector<std::size_t> gallery_;
  std::int64_t normal_ = 0, anomalous_ = 0, unknown_ = 0, called_ = 0, missed_ = 0, alarms_ = 0;
  std::string out_;
};

}  // namespace detail
}  // namespace report

// The page as text. image_of(i) gives the image of sample i and is called once for each that the gallery shows. The
// same evaluation gives the same bytes. Throws where the evaluation does not fit together or a score is not finite.
template <std::invocable<std::size_t> ImageOf>
std::string report_html(const Evaluation& evaluation, const ReportOptions& options, ImageOf&& image_of) {
  return report::detail::Page(evaluation, options).html(image_of);
}

// Writes it, whole or not at all. IoError names the path.
template <std::invocable<std::size_t> ImageOf>
void write_report(const std::filesystem::path& path, const Evaluation& evaluation, const ReportOptions& options,
                  ImageOf&& image_of) {
  write_file_atomically(path, report_html(evaluation, options, image_of));
}

}  // namespace cuttle
