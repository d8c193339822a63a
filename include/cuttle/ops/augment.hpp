// augment: chosen images of a training set, shifted and zoomed at random, from bytes to numbers.
#pragma once

#include <cstdint>
#include <limits>

#include "cuttle/backend/cpu_augment.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/ops/step_number.hpp"
#include "cuttle/seam/random_affine.hpp"

namespace cuttle {

using seam::AugmentOptions;

// images (N,H,W,C) bytes, rows (B) -> (B,H,W,C) in [0, 1]: row b is image rows[b] / 255 (the quotient correctly
// rounded), shifted by whole pixels and zoomed about its centre, nearest neighbour, 0 where nothing lands:
// torchvision's RandomAffine(0, translate = (shift, shift), scale = (least_scale, most_scale)) of a PIL image, but for
// pixels that come from the very edge between two. Shift 0 and both scales 1 give the plain images. What is drawn
// depends on (seed, step, b) alone (seam/random_affine.hpp): the same bits for any number of threads and on every
// device. A row that is no image throws on the CPU; on a device, where that would mean waiting for it, its image is
// NaN.
template <class T>
Tensor<T> augment(const Tensor<std::uint8_t>& images, const Tensor<std::int64_t>& rows, const AugmentOptions& options,
                  std::uint64_t seed, const StepNumber& step) {
  const char* op = "augment";
  require(images.rank() == 4 && images.numel() > 0, op, ": images must be (N,H,W,C) and not empty, got ",
          images.shape());
  require(rows.rank() == 1, op, ": rows must be (B), got ", rows.shape());
  require(options.shift >= 0 && options.shift <= 1, op, ": shift must be in [0, 1], got ", options.shift);
  require(options.least_scale > 0 && options.least_scale <= options.most_scale &&
              options.most_scale <= std::numeric_limits<double>::max(),
          op, ": scales must be finite with 0 < least_scale <= most_scale, got ", options.least_scale, " and ",
          options.most_scale);
  step.check(op);
  const Device device = detail::common_device(op, images, rows, step.state);
  const std::int64_t N = images.size(0), H = images.size(1), W = images.size(2), C = images.size(3), B = rows.numel();
  if (device.is_cpu())
    for (const std::int64_t row : rows.span())
      require(row >= 0 && row < N, op, ": row ", row, " is no image of images ", images.shape());
  Tensor<T> y = Tensor<T>::empty({B, H, W, C}, device);
  detail::dispatch<T>(op, device, &cpu::augment<T>, &seam::OpTable<T>::augment,
                      seam::AugmentArgs<T>{N, H, W, C, B, options, seed, step.number, step.state.data(), images.data(),
                                           rows.data(), y.data()});
  return y;
}

}  // namespace cuttle
