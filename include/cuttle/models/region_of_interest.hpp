// A detector that looks at one region of its images alone: a part on a belt, not the belt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "cuttle/data/pixels.hpp"
#include "cuttle/data/resize.hpp"
#include "cuttle/eval/calibrate.hpp"
#include "cuttle/models/anomaly_map.hpp"

namespace cuttle {

// A view of a model (which must outlive it) whose score is the largest pixel of the map inside the region. The networks
// still see the whole image: a defect outside is not found, and what lies there is context. There are only such of
// models whose score is the largest pixel of the map anyway; that of SQUID comes from the whole image, so that its
// images are cropped instead.
template <class M>
requires M::scores_by_largest_pixel class InRegion {
 public:
  // region (H,W,1 or 3): above 128 is inside; `name`, in errors, is what the region came from. Error: nothing is
  // inside.
  InRegion(const M& model, Image region, std::string name = "the region")
      : model_(model), region_(std::move(region)), name_(std::move(name)) {
    detail::require_image(region_, "InRegion");
    require_inside(resize_mask(region_, region_.size(0), region_.size(1)));
  }

  // As the model's, but for the score, and for AnomalyMap::region, which is the region at the map's size. Error: the
  // image has another size than the region, or at the size of the map nothing is left of the region.
  AnomalyMap score(const Image& image) const {
    detail::require_image(image, "InRegion::score");
    require(image.size(0) == region_.size(0) && image.size(1) == region_.size(1), name_, ": the region of interest is ",
            region_.size(0), " x ", region_.size(1), ", an image is ", image.size(0), " x ", image.size(1));
    AnomalyMap result = model_.score(image);
    result.region = resize_mask(region_, result.map.size(0), result.map.size(1));
    require_inside(result.region);
    bool first = true;
    for (std::int64_t i = 0; i < result.map.numel(); ++i) {
      if (!result.region.data()[i]) continue;
      const auto pixel = static_cast<double>(result.map.data()[i]);
      result.score = std::exchange(first, false) ? pixel : std::max(result.score, pixel);
    }
    return result;
  }

  // The model's own. One that was learnt from scores of whole images promises no less of scores inside a region, which
  // are never larger; one learnt with the region is nearer to what was asked for.
  const std::optional<Calibration>& calibration() const noexcept { return model_.calibration(); }

 private:
  void require_inside(const Tensor<std::uint8_t>& mask) const {
    require(std::ranges::any_of(mask.span(), [](std::uint8_t pixel) { return pixel != 0; }), name_,
            ": no pixel of the region of interest is inside at ", mask.size(0), " x ", mask.size(1));
  }

  const M& model_;
  Image region_;
  std::string name_;
};

}  // namespace cuttle
