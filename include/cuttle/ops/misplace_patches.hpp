// misplace_patches: images of a batch with parts where they do not belong, made from normal ones.
#pragma once

#include <cstdint>
#include <limits>

#include "cuttle/backend/cpu_misplace_patches.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/ops/step_number.hpp"
#include "cuttle/seam/misplaced_piece.hpp"

namespace cuttle {

using seam::MisplaceOptions;

// images (B,H,W,C), H = W a multiple of grid -> the same shape: images on which square pieces were laid one after the
// other, each blended with what lies under it so far. What a piece shows is always taken from the given images:
// another place of one of them, its own place turned, or nothing (seam/misplaced_piece.hpp; after CutPaste, Li et al.,
// CVPR 2021, and foreign patch interpolation, Tan et al., 2020). What is drawn for image b depends on the shape, seed,
// stream + step and b alone: the same bits for any number of threads and on every device. Calls in one step need
// streams of their own, further apart than there are steps.
template <class T>
Tensor<T> misplace_patches(const Tensor<T>& images, std::int64_t grid, const MisplaceOptions& options,
                           std::uint64_t seed, std::uint64_t stream, const StepNumber& step) {
  const char* op = "misplace_patches";
  require(images.rank() == 4 && images.size(1) >= 1 && images.size(1) == images.size(2), op,
          ": images must be (B,H,W,C) with H = W, got ", images.shape());
  const std::int64_t B = images.size(0), H = images.size(1), C = images.size(3);
  require(grid >= 1 && H % grid == 0, op, ": grid must divide the side of images ", images.shape(), ", got ", grid);
  const std::int64_t most = std::numeric_limits<std::int32_t>::max();
  require(B <= most && H <= most, op, ": images of shape ", images.shape(), " are too many or too large");
  const auto share = [&](const char* name, double value) {
    require(value >= 0 && value <= 1, op, ": ", name, " must be in [0, 1], got ", value);
  };
  share("share", options.share);
  share("whole", options.whole);
  share("turned", options.turned);
  share("blank", options.blank);
  share("turned + blank", options.turned + options.blank);
  share("least_opacity", options.least_opacity);
  require(options.most_pieces >= 1 && options.most_pieces <= seam::most_misplaced_pieces, op,
          ": most_pieces must be in [1, ", seam::most_misplaced_pieces, "], got ", options.most_pieces);
  require(options.least_side >= 0 && options.least_side <= options.most_side &&
              options.most_side <= std::numeric_limits<double>::max(),
          op, ": sides must be finite with 0 <= least_side <= most_side, got ", options.least_side, " and ",
          options.most_side);
  step.check(op);
  const Device device = detail::common_device(op, images, step.state);
  Tensor<T> y = Tensor<T>::empty(images.shape(), device);
  detail::dispatch<T>(op, device, &cpu::misplace_patches<T>, &seam::OpTable<T>::misplace_patches,
                      seam::MisplacePatchesArgs<T>{B, H, C, grid, options, seed, stream, step.number, step.state.data(),
                                                   images.data(), y.data()});
  return y;
}

}  // namespace cuttle
