// From the scores of patches to maps of pixels, and from maps to one score for an image.
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_distribute_scores.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

// maps (B,H,W) of scores (B,I,J), where patch (i, j) covers patch_size x patch_size pixels from (i*stride, j*stride):
// a pixel's score is the mean of the scores of all patches that cover it (Yi, Yoon, ACCV 2020, section 3.4). A pixel
// that none covers (the rest of H - patch_size over stride, or gaps where stride > patch_size) takes the value of the
// nearest pixel that one covers, the upper or left one of two. Sums are in double, patch rows before columns,
// ascending; a NaN reaches the pixels of its patch and no other.
template <class T>
Tensor<T> distribute_scores(const Tensor<T>& scores, std::int64_t patch_size, std::int64_t stride, std::int64_t H,
                            std::int64_t W) {
  require(scores.rank() == 3 && scores.size(1) >= 1 && scores.size(2) >= 1,
          "distribute_scores: scores must be (B,I,J) with I, J >= 1, got ", scores.shape());
  require(patch_size >= 1 && stride >= 1, "distribute_scores: patch_size and stride must be at least 1, got ",
          patch_size, " and ", stride);
  const std::int64_t B = scores.size(0), I = scores.size(1), J = scores.size(2);
  require((I - 1) * stride + patch_size <= H && (J - 1) * stride + patch_size <= W, "distribute_scores: ", I, " x ", J,
          " patches of size ", patch_size, " and stride ", stride, " do not fit into H x W = ", H, " x ", W);
  Tensor<T> maps = Tensor<T>::empty({B, H, W}, scores.device());
  detail::dispatch<T>("distribute_scores", scores.device(), &cpu::distribute_scores<T>,
                      &seam::OpTable<T>::distribute_scores,
                      {B, I, J, H, W, patch_size, stride, scores.data(), maps.data()});
  return maps;
}

// The image scores (B): the largest value of each map of (B,H,W); NaN for a map with a NaN.
template <class T>
Tensor<T> max_over_pixels(const Tensor<T>& maps) {
  require(maps.rank() == 3 && maps.size(1) >= 1 && maps.size(2) >= 1,
          "max_over_pixels: maps must be (B,H,W) with H, W >= 1, got ", maps.shape());
  Tensor<T> scores = Tensor<T>::empty({maps.size(0)}, maps.device());
  detail::dispatch<T>("max_over_pixels", maps.device(), &cpu::max_over_pixels<T>, &seam::OpTable<T>::max_over_pixels,
                      {maps.size(0), maps.size(1) * maps.size(2), maps.data(), scores.data()});
  return scores;
}

}  // namespace cuttle
