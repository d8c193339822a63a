// What a detector says of an image.
#pragma once

#include <cstdint>

#include "cuttle/core/tensor.hpp"
#include "cuttle/data/pixels.hpp"

namespace cuttle {

// What a detector says of one image.
struct AnomalyMap {
  Tensor<float> map;       // (H,W), the anomaly of each pixel
  double score = 0;        // of the whole image; larger is more anomalous
  Image reconstruction{};  // (h,w,1), the image as it would be were it normal; not defined where the method makes none
  Tensor<std::uint8_t> region{};  // (H,W), 0 where the map does not count; not defined where all of it does
};

}  // namespace cuttle
