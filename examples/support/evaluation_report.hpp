// An evaluation as a table for people and as JSON.
#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "console.hpp"
#include "cuttle/models/evaluation.hpp"

namespace console {

inline void print_metrics(const cuttle::Evaluation& evaluation, std::FILE* to = stdout) {
  const auto line = [to](const char* name, const std::optional<double>& value) {
    if (value) std::fprintf(to, "  %-18s %.4f\n", name, *value);
  };
  const auto point = [to](const char* name, const std::optional<cuttle::OperatingPoint>& at) {
    if (!at) return;
    const cuttle::Confusion& counts = at->counts;
    std::fprintf(to, "  at %.6g, %s:\n    accuracy %.4f, F1 %.4f, recall %.4f, precision %.4f, specificity %.4f\n",
                 at->threshold, name, counts.accuracy(), counts.f1(), counts.recall(), counts.precision(),
                 counts.specificity());
  };
  std::fprintf(to, "%zu images, %.3f s an image\n", evaluation.samples.size(), evaluation.seconds_per_image);
  line("image AUROC", evaluation.image_auroc);
  line("image AP", evaluation.image_ap);
  if (evaluation.f1_max) {
    line("F1-max", evaluation.f1_max->counts.f1());
    line("  at threshold", evaluation.f1_max->threshold);
  }
  line("pixel AUROC", evaluation.pixel_auroc);
  line("AUPRO (FPR 0.3)", evaluation.aupro);
  for (const auto& [kind, auroc] : evaluation.image_auroc_of_kind)
    std::fprintf(to, "  image AUROC of %-16s %.4f\n", kind.c_str(), auroc);
  point("the threshold that decides", evaluation.at_own_threshold);
  point("picked with these very labels for the largest accuracy", evaluation.most_accurate);
  for (const auto& skipped : evaluation.skipped) std::fprintf(to, "  skipped: %s\n", skipped.reason.c_str());
}

inline cuttle::Json::Object metrics_json(const cuttle::Evaluation& evaluation) {
  const auto point = [](const std::optional<cuttle::OperatingPoint>& at) {
    if (!at) return cuttle::Json();
    return cuttle::Json(cuttle::Json::Object{{"threshold", json_or_null(at->threshold)},
                                             {"accuracy", json_or_null(at->counts.accuracy())},
                                             {"f1", json_or_null(at->counts.f1())},
                                             {"recall", json_or_null(at->counts.recall())},
                                             {"precision", json_or_null(at->counts.precision())},
                                             {"specificity", json_or_null(at->counts.specificity())}});
  };
  const auto& f1_max = evaluation.f1_max;
  cuttle::Json::Object kinds;
  for (const auto& [kind, auroc] : evaluation.image_auroc_of_kind) kinds.emplace_back(kind, auroc);
  return {{"image_auroc", json_or_null(evaluation.image_auroc)},
          {"image_ap", json_or_null(evaluation.image_ap)},
          {"f1_max", f1_max ? json_or_null(f1_max->counts.f1()) : cuttle::Json()},
          {"f1_max_threshold", f1_max ? json_or_null(f1_max->threshold) : cuttle::Json()},
          {"pixel_auroc", json_or_null(evaluation.pixel_auroc)},
          {"aupro", json_or_null(evaluation.aupro)},
          {"image_auroc_of_kind", std::move(kinds)},
          {"at_own_threshold", point(evaluation.at_own_threshold)},
          {"at_threshold_picked_on_this_set", point(evaluation.most_accurate)},
          {"seconds_per_image", evaluation.seconds_per_image}};
}

}  // namespace console
