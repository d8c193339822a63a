// Charts as inline SVG: a histogram of scores, and the ROC and precision-recall curves. Colours and fonts are the
// page's (report/style.hpp), so that they follow its light or dark.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/core/error.hpp"
#include "cuttle/eval/metrics.hpp"
#include "cuttle/report/html.hpp"

namespace cuttle::report {

// The plot inside a chart of 360 x 270 units.
namespace plot {
inline constexpr double left = 46, right = 348, top = 26, bottom = 226;
}

// In the units of a chart's axes.
struct Point {
  double x, y;
  friend bool operator==(const Point&, const Point&) = default;
};

// (false-positive rate, recall) of operating_points(), from (0, 0) to (1, 1); the area under straight lines between
// them is the AUROC.
inline std::vector<Point> roc_curve(std::span<const OperatingPoint> points) {
  std::vector<Point> curve;
  for (const auto& [threshold, counts] : points) curve.push_back({counts.false_positive_rate(), counts.recall()});
  return curve;
}

// (recall, precision) of operating_points() as the steps under which the area is the average precision: at each the
// precision holds from the recall before it to its own.
inline std::vector<Point> precision_recall_curve(std::span<const OperatingPoint> points) {
  std::vector<Point> curve;
  for (std::size_t i = 1; i < points.size(); ++i) {
    const Confusion& counts = points[i].counts;
    const double before = points[i - 1].counts.recall();
    if (counts.recall() == before) continue;
    curve.push_back({before, counts.precision()});
    curve.push_back({counts.recall(), counts.precision()});
  }
  return curve;
}

// Where on an axis a value lies, 0 to 1, and which values it names.
class Axis {
 public:
  // A value that is named, and where it lies.
  struct Tick {
    double value;
    std::string label;
  };

  static Axis unit() {
    Axis axis(0, 1, false);
    axis.ticks_ = {{0, "0"}, {0.25, "0.25"}, {0.5, "0.5"}, {0.75, "0.75"}, {1, "1"}};
    return axis;
  }
  // Covers all values (finite, at least one): by their logarithms where they are above 0 and the largest is at least 8
  // times the smallest.
  static Axis covering(std::span<const double> values) {
    require(!values.empty(), "Axis: no values");
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    double low = *least, high = *most;
    const bool logarithmic = low > 0 && high / low >= 8;
    if (logarithmic) {
      const double margin = std::pow(high / low, 0.02);
      Axis axis(low / margin, high * margin, true);
      const int first = static_cast<int>(std::floor(std::log10(axis.low_)));
      const int last = static_cast<int>(std::floor(std::log10(axis.high_)));
      const bool few = high / low < 1000;
      const int every = few ? 1 : std::max(1, (last - first + 4) / 5);
      for (int power = first; power <= last; power += every)
        for (const double digit : {1.0, 2.0, 5.0}) {
          const double value = digit * std::pow(10.0, power);
          if (axis.shows(value) && (few || digit == 1)) axis.ticks_.push_back({value, significant(value, 3)});
        }
      return axis;
    }
    if (low == high) {
      const double margin = low == 0 ? 1 : std::abs(low) / 2;
      low -= margin;
      high += margin;
    }
    Axis axis(low - (high - low) * 0.02, high + (high - low) * 0.02, false);
    const double step = nice_step((axis.high_ - axis.low_) / 4);
    for (double n = std::ceil(axis.low_ / step); n * step <= axis.high_; ++n)
      axis.ticks_.push_back({n * step, significant(n * step, 4)});
    return axis;
  }

  double at(double value) const {
    const double part =
        logarithmic_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return std::clamp(part, 0.0, 1.0);
  }
  double value_at(double part) const {
    return logarithmic_ ? low_ * std::pow(high_ / low_, part) : low_ + part * (high_ - low_);
  }
  bool shows(double value) const { return value >= low_ && value <= high_; }
  bool logarithmic() const noexcept { return logarithmic_; }
  std::span<const Tick> ticks() const noexcept { return ticks_; }

  // 1, 2 or 5 times a power of ten, at least `rough`.
  static double nice_step(double rough) {
    const double power = std::pow(10.0, std::floor(std::log10(rough)));
    for (const double digit : {1.0, 2.0, 5.0})
      if (digit * power >= rough) return digit * power;
    return 10 * power;
  }

 private:
  Axis(double low, double high, bool logarithmic) : low_(low), high_(high), logarithmic_(logarithmic) {}
  double low_, high_;
  bool logarithmic_;
  std::vector<Tick> ticks_;
};

namespace detail {

inline std::string xy(Point p) {
  return fixed(plot::left + p.x * (plot::right - plot::left), 2) + ' ' +
         fixed(plot::bottom - p.y * (plot::bottom - plot::top), 2);
}

inline std::string text(const char* kind, double x, double y, const char* anchor, const std::string& words,
                        const char* more = "") {
  return concat("<text class=\"", kind, "\" x=\"", fixed(x, 1), "\" y=\"", fixed(y, 1), "\" text-anchor=\"", anchor,
                "\"", more, ">", words, "</text>");
}

inline std::string line(const char* kind, double x1, double y1, double x2, double y2) {
  return concat("<line class=\"", kind, "\" x1=\"", fixed(x1, 2), "\" y1=\"", fixed(y1, 2), "\" x2=\"", fixed(x2, 2),
                "\" y2=\"", fixed(y2, 2), "\"/>");
}

inline std::string open_chart(const std::string& label) {
  return concat("<svg class=\"chart\" viewBox=\"0 0 360 270\" role=\"img\" aria-label=\"", label, "\">");
}

inline std::string x_axis(const Axis& axis, const std::string& title) {
  std::string out;
  for (const Axis::Tick& tick : axis.ticks()) {
    const double x = plot::left + axis.at(tick.value) * (plot::right - plot::left);
    out +=
        line("tick", x, plot::bottom, x, plot::bottom + 4) + text("label", x, plot::bottom + 17, "middle", tick.label);
  }
  return out + text("title", (plot::left + plot::right) / 2, plot::bottom + 37, "middle", title);
}

inline std::string y_title(const std::string& title) {
  const double middle = (plot::top + plot::bottom) / 2;
  return text("title", 12, middle, "middle", title,
              concat(" transform=\"rotate(-90 12 ", fixed(middle, 1), ")\"").c_str());
}

}  // namespace detail

// A curve in the unit square, as inline SVG.
struct CurveChart {
  std::string label, x_title, y_title;  // escaped
  std::vector<Point> curve;
  bool diagonal = false;        // what chance would give
  std::optional<Point> marked;  // where decisions are made
};

// A curve in the unit square, its points joined by straight lines.
inline std::string curve_chart(const CurveChart& chart) {
  using namespace detail;
  const Axis unit = Axis::unit();
  std::string out = open_chart(chart.label);
  for (const Axis::Tick& tick : unit.ticks()) {
    const double y = plot::bottom - tick.value * (plot::bottom - plot::top);
    out += line("grid", plot::left, y, plot::right, y) + text("label", plot::left - 6, y + 4, "end", tick.label);
  }
  out += x_axis(unit, chart.x_title) + y_title(chart.y_title);
  if (chart.diagonal) out += line("chance", plot::left, plot::bottom, plot::right, plot::top);
  std::string path;
  for (std::size_t i = 0; i < chart.curve.size(); ++i) {
    const Point& p = chart.curve[i];
    // A point inside a straight run changes nothing to be seen.
    if (i > 0 && i + 1 < chart.curve.size()) {
      const Point &before = chart.curve[i - 1], &after = chart.curve[i + 1];
      if ((before.x == p.x && p.x == after.x) || (before.y == p.y && p.y == after.y)) continue;
    }
    path += (path.empty() ? 'M' : 'L') + xy(p);
  }
  out += concat("<path class=\"curve\" d=\"", path, "\"/>");
  if (chart.marked)
    out += concat("<circle class=\"mark\" r=\"5\" cx=\"",
                  fixed(plot::left + chart.marked->x * (plot::right - plot::left), 2), "\" cy=\"",
                  fixed(plot::bottom - chart.marked->y * (plot::bottom - plot::top), 2), "\"/>");
  return out + "</svg>";
}

// How many values of each class lie in each of `bins` equal parts of the axis.
struct Histogram {
  static constexpr std::size_t bins = 24;
  std::array<std::int64_t, bins> normal{}, anomalous{};
};

// values and labels (0 is normal) of as many images, counted in bins of equal width on the axis.
inline Histogram histogram(std::span<const double> values, std::span<const std::uint8_t> labels, const Axis& axis) {
  require(values.size() == labels.size(), "histogram: ", values.size(), " values, but ", labels.size(), " labels");
  Histogram out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto bin = static_cast<std::size_t>(axis.at(values[i]) * static_cast<double>(Histogram::bins));
    ++(labels[i] ? out.anomalous : out.normal)[std::min(bin, Histogram::bins - 1)];
  }
  return out;
}

// A histogram of normal images upwards and anomalous ones downwards, as inline SVG.
struct HistogramChart {
  std::string label, x_title;  // escaped
  std::string up, down;        // what the bars above and below the axis are; down may be empty, and up's bars plain
  std::optional<double> threshold;
};

// Bars of the normal values upwards and of the anomalous ones downwards, each half on a scale of its own.
inline std::string histogram_chart(const Histogram& counts, const Axis& axis, const HistogramChart& chart) {
  using namespace detail;
  const bool both = !chart.down.empty();
  const double base = both ? (plot::top + plot::bottom) / 2 : plot::bottom, half = base - plot::top;
  std::string out = open_chart(chart.label);
  const auto side = [&](const std::array<std::int64_t, Histogram::bins>& bars, double direction, const char* kind,
                        const std::string& name) {
    const auto most = static_cast<double>(std::max<std::int64_t>(1, *std::max_element(bars.begin(), bars.end())));
    const double step = std::max(1.0, Axis::nice_step(most / (both ? 2 : 4)));
    for (double n = step; n <= most; n += step) {
      const double y = base - direction * n / most * (half - 8);
      out += line("grid", plot::left, y, plot::right, y) + text("label", plot::left - 6, y + 4, "end", fixed(n, 0));
    }
    const double width = (plot::right - plot::left) / static_cast<double>(Histogram::bins);
    for (std::size_t i = 0; i < bars.size(); ++i) {
      if (!bars[i]) continue;
      const double height = static_cast<double>(bars[i]) / most * (half - 8);
      const double part = static_cast<double>(i) / static_cast<double>(Histogram::bins);
      out += concat("<rect class=\"", kind, "\" x=\"", fixed(plot::left + static_cast<double>(i) * width + 0.75, 2),
                    "\" y=\"", fixed(direction > 0 ? base - height : base, 2), "\" width=\"", fixed(width - 1.5, 2),
                    "\" height=\"", fixed(height, 2), "\"><title>", significant(axis.value_at(part), 4), " to ",
                    significant(axis.value_at(part + 1.0 / static_cast<double>(Histogram::bins)), 4), ": ",
                    std::to_string(bars[i]), ' ', name, "</title></rect>");
    }
  };
  side(counts.normal, 1, both || chart.up == "normal" ? "normal" : "plain", chart.up);
  if (both) side(counts.anomalous, -1, "anomalous", chart.down);
  out += line("base", plot::left, base, plot::right, base) + text("label", plot::left - 6, base + 4, "end", "0");
  out += x_axis(axis, chart.x_title) + y_title("images");
  if (chart.threshold && axis.shows(*chart.threshold)) {
    const double part = axis.at(*chart.threshold), x = plot::left + part * (plot::right - plot::left);
    out += line("threshold", x, plot::top - 6, x, plot::bottom) + text("label strong", x, plot::top - 12,
                                                                       part < 0.2   ? "start"
                                                                       : part > 0.8 ? "end"
                                                                                    : "middle",
                                                                       "threshold");
  }
  return out + "</svg>";
}

}  // namespace cuttle::report
