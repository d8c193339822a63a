// An evaluation as a table for people and as JSON.
#pragma once

#include <cstdio>
#include <string>

#include "console.hpp"
#include "cuttle/models/evaluation.hpp"

namespace console {

inline void print_metrics(const cuttle::Evaluation& evaluation) {
  const auto line = [](const char* name, const std::optional<double>& value) {
    if (value) std::printf("  %-18s %.4f\n", name, *value);
  };
  std::printf("%zu images, %.3f s an image\n", evaluation.samples.size(), evaluation.seconds_per_image);
  line("image AUROC", evaluation.image_auroc);
  line("image AP", evaluation.image_ap);
  line("F1-max", evaluation.f1_max);
  line("  at threshold", evaluation.f1_max_threshold);
  line("pixel AUROC", evaluation.pixel_auroc);
  line("AUPRO (FPR 0.3)", evaluation.aupro);
  for (const auto& [kind, auroc] : evaluation.image_auroc_of_kind)
    std::printf("  image AUROC of %-16s %.4f\n", kind.c_str(), auroc);
  for (const auto& skipped : evaluation.skipped) std::printf("  skipped: %s\n", skipped.reason.c_str());
}

inline cuttle::Json::Object metrics_json(const cuttle::Evaluation& evaluation) {
  cuttle::Json::Object kinds;
  for (const auto& [kind, auroc] : evaluation.image_auroc_of_kind) kinds.emplace_back(kind, auroc);
  return {{"image_auroc", json_or_null(evaluation.image_auroc)},
          {"image_ap", json_or_null(evaluation.image_ap)},
          {"f1_max", json_or_null(evaluation.f1_max)},
          {"f1_max_threshold", json_or_null(evaluation.f1_max_threshold)},
          {"pixel_auroc", json_or_null(evaluation.pixel_auroc)},
          {"aupro", json_or_null(evaluation.aupro)},
          {"image_auroc_of_kind", std::move(kinds)},
          {"seconds_per_image", evaluation.seconds_per_image}};
}

}  // namespace console
