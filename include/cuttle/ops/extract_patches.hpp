// Patches out of images: random pairs for Patch SVDD's training, regular windows and back.
#pragma once

#include <cstdint>
#include <limits>

#include "cuttle/backend/cpu_extract_patches.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/ops/step_number.hpp"

namespace cuttle {

using seam::PatchPair;
using seam::PatchTask;
using seam::sample_patch_pair;

// patch_size: a multiple of 32; it is cut into (patch_size / tile_size)^2 tiles. The sigmas are on the standardised
// scale, where 1 is 255 gray levels, and are not used by the svdd task.
struct PatchPairOptions {
  PatchTask task = PatchTask::position;
  std::int64_t patch_size = 64;
  std::int64_t tile_size = 32;
  double colour_sigma = 0.02;
  double noise_sigma = 0.02;
};

// Pairs of random patches of a training step (Yi, Yoon, ACCV 2020, section 3), standardised and, but for the svdd task,
// with a colour shift for each patch and noise for each value:
//   x = (pixel - mean) / 255 + colour_sigma * N(0,1)[patch, channel] + noise_sigma * N(0,1)[patch, value].
// images (N,H,W,C) 8 bit; mean (H,W,C), the mean image over the training set. x1 and x2, which are overwritten, are
// (B * tiles, tile_size, tile_size, C): the tiles of a patch are consecutive rows in raster order, so that a 64-patch
// is its quadrants top left, top right, bottom left, bottom right. labels (B) takes the direction from first to second
// patch, see sample_patch_pair; the other tasks leave it alone, and it may be undefined there.
// Everything drawn depends on (seed, step, task, patch_size, slot) alone, where the B pairs are slots first_slot and on
// of the step (seam/patch_pair.hpp): the same bits for any batch size, number of threads, instruction set and device.
template <class T>
void random_patch_pairs(const Tensor<std::uint8_t>& images, const Tensor<float>& mean, const PatchPairOptions& options,
                        std::uint64_t seed, const StepNumber& step, Tensor<T> x1, Tensor<T> x2,
                        Tensor<std::int32_t> labels, std::int64_t first_slot = 0) {
  const char* op = "random_patch_pairs";
  require(images.rank() == 4 && images.numel() > 0, op, ": images must be (N,H,W,C) and not empty, got ",
          images.shape());
  const std::int64_t N = images.size(0), H = images.size(1), W = images.size(2), C = images.size(3);
  require(mean.shape() == Shape{H, W, C}, op, ": mean must be (H,W,C) = ", Shape{H, W, C}, ", got ", mean.shape());
  const std::int64_t patch = options.patch_size, tile = options.tile_size;
  require(patch >= 32 && patch % 32 == 0 && patch < 65536, op,
          ": patch_size must be a multiple of 32 below 65536, got ", patch);
  require(tile >= 1 && patch % tile == 0, op, ": tile_size ", tile, " does not divide patch_size ", patch);
  require(H >= patch && W >= patch, op, ": images of shape ", images.shape(), " are smaller than patch_size ", patch);
  require(N < std::int64_t{1} << 32 && H < std::int64_t{1} << 32 && W < std::int64_t{1} << 32, op,
          ": extents must be below 2^32, got ", images.shape());
  require(options.colour_sigma >= 0 && options.noise_sigma >= 0, op,
          ": colour_sigma and noise_sigma must be >= 0, got ", options.colour_sigma, " and ", options.noise_sigma);
  step.check(op);
  require(first_slot >= 0 && first_slot < std::int64_t{1} << 32, op, ": first_slot must be in [0, 2^32), got ",
          first_slot);
  const std::int64_t tiles = (patch / tile) * (patch / tile);
  require(x1.rank() == 4 && x1.size(0) % tiles == 0, op, ": x1 must be (B * ", tiles, ", ", tile, ", ", tile, ", ", C,
          "), got ", x1.shape());
  const std::int64_t B = x1.size(0) / tiles;
  const Shape shape{B * tiles, tile, tile, C};
  require(x1.shape() == shape && x2.shape() == shape, op, ": x1 and x2 must be ", shape, ", got ", x1.shape(), " and ",
          x2.shape());
  const bool position = options.task == PatchTask::position;
  require(!position || labels.shape() == Shape{B}, op, ": labels must be (B) = ", Shape{B}, ", got ", labels.shape());
  const Device device = detail::common_device(op, images, mean, x1, x2, labels, step.state);
  const seam::PatchPairsArgs<T> args{options.task,
                                     N,
                                     H,
                                     W,
                                     C,
                                     B,
                                     first_slot,
                                     patch,
                                     tile,
                                     static_cast<float>(options.colour_sigma),
                                     static_cast<float>(options.noise_sigma),
                                     seed,
                                     step.number,
                                     step.state.data(),
                                     images.data(),
                                     mean.data(),
                                     {x1.data(), x2.data()},
                                     position ? labels.data() : nullptr};
  detail::dispatch<T>(op, device, &cpu::random_patch_pairs<T>, &seam::OpTable<T>::random_patch_pairs, args);
}

// Square windows of x (B,H,W,C), rows = (H - window) / stride + 1 down and cols across (what is left over at the right
// and bottom belongs to none): (B * rows * cols, window, window, C), image by image, then row by row.
template <class T>
Tensor<T> extract_windows(const Tensor<T>& x, std::int64_t window, std::int64_t stride) {
  require(x.rank() == 4, "extract_windows: x must be (B,H,W,C), got ", x.shape());
  require(window >= 1 && stride >= 1, "extract_windows: window and stride must be at least 1, got ", window, " and ",
          stride);
  const std::int64_t B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3);
  require(H >= window && W >= window, "extract_windows: x of shape ", x.shape(), " is smaller than window ", window);
  const std::int64_t rows = (H - window) / stride + 1, cols = (W - window) / stride + 1;
  Tensor<T> patches = Tensor<T>::empty({B * rows * cols, window, window, C}, x.device());
  detail::dispatch<T>("extract_windows", x.device(), &cpu::extract_windows<T>, &seam::OpTable<T>::extract_windows,
                      {B, H, W, C, window, stride, rows, cols, x.data(), patches.data()});
  return patches;
}

// The inverse for windows that touch and do not overlap: patches (B * rows * cols, window, window, C) in
// extract_windows's order to (B, rows * window, cols * window, C).
template <class T>
Tensor<T> join_windows(const Tensor<T>& patches, std::int64_t rows, std::int64_t cols) {
  require(patches.rank() == 4 && patches.size(1) == patches.size(2),
          "join_windows: patches must be (B*rows*cols, window, window, C), got ", patches.shape());
  require(rows >= 1 && cols >= 1 && patches.size(0) % (rows * cols) == 0, "join_windows: patches of shape ",
          patches.shape(), " are not whole grids of ", rows, " x ", cols);
  const std::int64_t B = patches.size(0) / (rows * cols), window = patches.size(1), C = patches.size(3);
  Tensor<T> x = Tensor<T>::empty({B, rows * window, cols * window, C}, patches.device());
  detail::dispatch<T>("join_windows", x.device(), &cpu::join_windows<T>, &seam::OpTable<T>::join_windows,
                      {B, rows * window, cols * window, C, window, window, rows, cols, patches.data(), x.data()});
  return x;
}

// Where pairs of patches inside crops lie in the trunk's map: rows of the maps (2 * crops, cells, cells) of two views
// of each crop, all first views and then all second ones, with cells = (size - 32) / 2 + 1; a patch of 64 has four
// rows, its quadrants in raster order. [0] is the first patch, from the first view, [1] the second.
struct CropPairRows {
  Tensor<std::int32_t> position[2], svdd[2];  // (pairs * (patch_size / 32)^2)
};

// Draws the pairs of a step inside `crops` crops of size x size pixels (seam/crop_pair.hpp), as many as labels (pairs)
// has places; labels takes the position pairs' direction. patch_size is 32 or 64, size at least twice that. The same
// numbers on every device.
inline void draw_crop_rows(const CropPairRows& rows, const Tensor<std::int32_t>& labels, std::int64_t crops,
                           std::int64_t size, std::int64_t patch_size, std::uint64_t seed, const StepNumber& step) {
  const char* op = "draw_crop_rows";
  require(patch_size == seam::small_patch || patch_size == seam::large_patch, op, ": patch_size must be 32 or 64, got ",
          patch_size);
  require(size >= 2 * patch_size && size < 65536, op, ": size must be at least twice patch_size and below 65536, got ",
          size);
  const std::int64_t map_cells = seam::crop_cells(size) * seam::crop_cells(size);
  require(crops >= 1 && crops <= std::numeric_limits<std::int32_t>::max() / (2 * map_cells), op,
          ": crops must be at least 1 and their maps below 2^31 cells, got ", crops);
  step.check(op);
  require(labels.rank() == 1, op, ": labels must be (pairs), got ", labels.shape());
  const std::int64_t pairs = labels.numel(),
                     quadrants = (patch_size / seam::small_patch) * (patch_size / seam::small_patch);
  for (const auto* side : {&rows.position[0], &rows.position[1], &rows.svdd[0], &rows.svdd[1]})
    require(side->shape() == Shape{pairs * quadrants}, op, ": rows must be ", Shape{pairs * quadrants}, ", got ",
            side->shape());
  const Device device =
      detail::common_device(op, labels, rows.position[0], rows.position[1], rows.svdd[0], rows.svdd[1], step.state);
  const auto memory = [](Tensor<std::int32_t> tensor) { return tensor.data(); };
  const seam::DrawCropRowsArgs args{crops,
                                    size,
                                    pairs,
                                    patch_size,
                                    seed,
                                    step.number,
                                    step.state.data(),
                                    {memory(rows.position[0]), memory(rows.position[1])},
                                    {memory(rows.svdd[0]), memory(rows.svdd[1])},
                                    memory(labels)};
  if (device.is_cpu()) return cpu::draw_crop_rows(args);
  table_of(device).draw_crop_rows(device.index, args, current_stream(device));
}

}  // namespace cuttle
