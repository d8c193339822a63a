// What a calibration is worth, in a few lines.
#pragma once

#include <cstdio>
#include <variant>

#include "cuttle/eval/calibrate.hpp"

namespace console {

inline void print_calibration(const cuttle::Calibration& calibration) {
  std::printf("threshold %.6g", calibration.threshold);
  if (const auto* from = std::get_if<cuttle::FromLabelledImages>(&calibration.from)) {
    std::printf(", learnt from %lld normal and %lld anomalous images, whose F1 is %.4f there\n",
                static_cast<long long>(from->normal), static_cast<long long>(from->anomalous), from->f1);
    return;
  }
  const auto* from = std::get_if<cuttle::FromNormalImages>(&calibration.from);
  if (!from) return void(std::printf("\n"));
  const cuttle::RateInterval interval = from->rate().interval();
  std::printf(", learnt from %lld normal images", static_cast<long long>(from->images));
  if (from->groups < from->images)
    std::printf(" in %lld groups, which count as %.1f", static_cast<long long>(from->groups),
                static_cast<double>(from->images) / from->design_effect);
  std::printf(
      "\n  false-positive rate: %.3g %% asked for, %.3g %% expected of new images, 95 %% interval %.3g to %.3g %%\n",
      100 * from->asked, 100 * from->rate().expected(), 100 * interval.low, 100 * interval.high);
  if (!from->kept())
    std::printf("  with so few images no rate below %.3g %% can be promised\n", 100 * from->rate().expected());
}

}  // namespace console
