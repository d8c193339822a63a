// Detectors of both methods that are quickly made.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cuttle/models/detector.hpp"
#include "tests/models/small_squid.hpp"

namespace cuttle_test {

inline cuttle::PatchSvdd small_patch_svdd(const cuttle::WorkingSize& working_size = {64, {}}) {
  const std::int64_t size = working_size.size;
  cuttle::PatchSvdd model(cuttle::PatchSvddNetworks<float>(cuttle::nn::Initializer(3)),
                          cuttle::Tensor<float>::full({size, size, 3}, 100), working_size);
  model.fit_bank(integer_tensor<std::uint8_t>({2, size, size, 3}, 1, 0, 255), cuttle::PatchSvdd::all_rows, 1);
  return model;
}

inline cuttle::Squid small_squid(const cuttle::SquidConfig& config, const cuttle::SquidScoring& scoring) {
  cuttle::Squid model({config, cuttle::nn::Initializer(2)}, scoring);
  model.remember(gray_pictures(4, config.image_size, 7));
  model.fit(gray_pictures(5, config.image_size, 8));
  return model;
}

inline std::vector<std::pair<std::string, cuttle::Detector>> small_detectors() {
  std::vector<std::pair<std::string, cuttle::Detector>> detectors;
  detectors.emplace_back("Patch SVDD", cuttle::Detector(small_patch_svdd()));
  cuttle::PatchSvdd tiled = small_patch_svdd({64, 16});
  tiled.set_calibration(cuttle::Calibration{0.5, 0.25});
  detectors.emplace_back("Patch SVDD in tiles", cuttle::Detector(std::move(tiled)));
  detectors.emplace_back("SQUID of digits", cuttle::Detector(small_squid(small_digit(48), {{0, 1, 1, 0.5}, true})));
  detectors.emplace_back("SQUID of radiographs",
                         cuttle::Detector(small_squid(small_zhanglab(), {{0, 0, 1, 0.5}, true})));
  return detectors;
}

}  // namespace cuttle_test
