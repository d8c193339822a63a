// Detector: any trained model as an inspection line uses it, from pixels in memory to decisions.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "cuttle/core/parallel.hpp"
#include "cuttle/data/image_view.hpp"
#include "cuttle/models/anomaly_map.hpp"
#include "cuttle/models/model.hpp"

namespace cuttle {

// What a detector says of an image.
struct Detection {
  double score = 0;               // 0 to 1, 0.5 the cut, where the model is calibrated; else raw_score
  double raw_score = 0;           // the model's own; larger is more anomalous
  std::optional<bool> anomalous;  // the decision, where the model is calibrated
  Tensor<float> map;              // (H,W), the anomaly of each pixel, in units of the raw score
  Image reconstruction{};         // (h,w,1); not defined where the method makes none

  operator AnomalyMap() const { return {map, raw_score, reconstruction}; }
};

// A trained model that scores. Any number of threads may score at once, and get the bits that one would. On the CPU
// the memory of a call serves the next: images of one size take no more of it after the first.
template <std::same_as<float> T>
class BasicDetector {
 public:
  // Shares the model's tensors, which must not change afterwards.
  explicit BasicDetector(BasicModel<T> model) : model_(std::move(model)) {}

  // The model in a file, whatever its method, moved to a device. IoError names the file and what does not fit.
  static BasicDetector load(const std::filesystem::path& path, Device device = Device::cpu()) {
    BasicModel<T> model = load_model<T>(path);
    if (!device.is_cpu()) std::visit([&](auto& m) { m.move_to(device); }, model);
    return BasicDetector(std::move(model));
  }

  // An image of any size and format. Error where the view is not one (ImageView::check).
  Detection score(const ImageView& image) const {
    Detection detection;
    score(image, detection);
    return detection;
  }
  Detection score(const Image& image) const {
    detail::require_image(image, "Detector::score");
    return score(ImageView::of(image));
  }
  // Writes over a detection of before, whose memory serves the new one. Where it throws, `into` holds nothing.
  void score(const ImageView& image, Detection& into) const {
    into = {};
    image.check("Detector::score");
    AnomalyMap result = std::visit([&](const auto& model) { return model.score(image); }, model_);
    into.raw_score = into.score = result.score;
    into.map = std::move(result.map);
    into.reconstruction = std::move(result.reconstruction);
    if (const std::optional<Calibration>& calibration = this->calibration()) {
      into.score = calibration->normalised(into.raw_score);
      into.anomalous = calibration->anomalous(into.raw_score);
    }
  }
  // A batch, of any sizes and formats: what each image alone would get, to the bit, in their order. On the CPU every
  // thread takes whole images, which wastes less time than sharing each.
  std::vector<Detection> score(std::span<const ImageView> images) const {
    for (const ImageView& image : images) image.check("Detector::score");
    std::vector<Detection> detections(images.size());
    const auto score_one = [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      score(images[at], detections[at]);
    };
    const std::int64_t n = std::ssize(images);
    // The rest that does not fill the threads is shared image by image.
    const std::int64_t together = device().is_cpu() ? n / num_threads() * num_threads() : 0;
    parallel_for(together, score_one);
    for (std::int64_t i = together; i < n; ++i) score_one(i);
    return detections;
  }

  // How the model makes decisions of scores, where it learnt it.
  const std::optional<Calibration>& calibration() const noexcept {
    return std::visit([](const auto& model) -> const std::optional<Calibration>& { return model.calibration(); },
                      model_);
  }
  Device device() const noexcept {
    return std::visit([](const auto& model) { return model.device(); }, model_);
  }
  // patch_svdd or squid.
  const char* method() const noexcept {
    return std::visit([](const auto& model) { return std::decay_t<decltype(model)>::method; }, model_);
  }
  const BasicModel<T>& model() const noexcept { return model_; }

 private:
  BasicModel<T> model_;
};

// The detector in float, the only one there is.
using Detector = BasicDetector<float>;

}  // namespace cuttle
