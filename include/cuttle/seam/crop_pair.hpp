// Which two patches of a crop a pair of a Patch SVDD training step sees, when the pairs are rows of the trunk's map of
// a few crops (models/patch_svdd_batch.hpp), as a pure function of the numbers' names. C++17; constexpr integer work.
//
// Every number is named by (seed, stream, index):
//   stream  3 * 2^56 + step * 2^8 + (1 for large patches, else 0)      (step < 2^43)
//   index   16 * pair + k      k = 0 direction, 1 and 2 jitters, 3 crop, 4 top, 5 left; 6 crop, 7 top, 8 left of svdd
#pragma once

#include <cstdint>

#include "cuttle/seam/philox.hpp"

namespace cuttle::seam {

// Patches of the paper's two scales (Yi, Yoon, "Patch SVDD", ACCV 2020, section 3.3), and the trunk's stride: pixels
// from one cell of its map to the next. A large patch is its four small quadrants.
inline constexpr std::int64_t small_patch = 32, large_patch = 64, trunk_stride = 2;

// Cells a side of the trunk's map of a crop.
constexpr std::int64_t crop_cells(std::int64_t size) noexcept { return (size - small_patch) / trunk_stride + 1; }

// Corners in cells, inside the crop.
struct CropPair {
  std::int64_t crop, top[2], left[2];           // position: first and second patch
  std::int32_t label;                           // the direction, 0..7 in raster order without the centre
  std::int64_t svdd_crop, svdd_top, svdd_left;  // svdd: the same cell of both views
};

// The position pair lies as far apart as in the paper (section 3.2), 3/4 of a patch plus a jitter of up to a quarter
// along each axis of the direction, here in whole cells; its first corner is uniform among those that leave room for
// the second. patch_size: small_patch or large_patch; size >= 2 * patch_size; crops >= 1.
constexpr CropPair sample_crop_pair(std::int64_t patch_size, std::int64_t crops, std::int64_t size, std::uint64_t seed,
                                    std::int64_t step, std::int64_t pair) noexcept {
  const std::uint64_t stream = std::uint64_t{3} << 56 | static_cast<std::uint64_t>(step) << 8 |
                               static_cast<std::uint64_t>(patch_size == large_patch);
  const auto below = [&](std::int64_t n, std::uint64_t k) -> std::int64_t {
    return random_below(static_cast<std::uint32_t>(n), seed, stream, 16 * static_cast<std::uint64_t>(pair) + k);
  };
  const std::int64_t corners = (size - patch_size) / trunk_stride + 1, reach = patch_size / trunk_stride;
  const std::int64_t direction = below(8, 0), cell = direction + (direction >= 4);  // of a 3 x 3 grid
  const std::int64_t down = (cell / 3 - 1) * (3 * reach / 4 + below(reach / 4, 1));
  const std::int64_t right = (cell % 3 - 1) * (3 * reach / 4 + below(reach / 4, 2));
  const auto first = [&](std::int64_t offset, std::uint64_t k) {
    return offset < 0 ? below(corners + offset, k) - offset : below(corners - offset, k);
  };
  const std::int64_t top = first(down, 4), left = first(right, 5);
  return {below(crops, 3), {top, top + down}, {left, left + right}, static_cast<std::int32_t>(direction),
          below(crops, 6), below(corners, 7), below(corners, 8)};
}

// The row of the trunk's maps (2 * crops, cells, cells), all crops' first views and then their second ones, where a
// quadrant of the patch with this corner lies; quadrants in raster order, a small patch has one.
constexpr std::int32_t crop_row(std::int64_t patch_size, std::int64_t crops, std::int64_t size, std::int64_t view,
                                std::int64_t crop, std::int64_t top, std::int64_t left,
                                std::int64_t quadrant) noexcept {
  const std::int64_t cells = crop_cells(size), across = patch_size / small_patch, apart = small_patch / trunk_stride;
  return static_cast<std::int32_t>(((view * crops + crop) * cells + top + quadrant / across * apart) * cells + left +
                                   quadrant % across * apart);
}

}  // namespace cuttle::seam
