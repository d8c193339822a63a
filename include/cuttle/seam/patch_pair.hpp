// Which two patches a batch slot of a Patch SVDD training step sees (Yi, Yoon, "Patch SVDD", ACCV 2020, section 3), as
// a pure function of the numbers' names. C++17; constexpr integer work.
//
// Every number of a step is named by (seed, stream, index):
//   stream  2^63 + step * 2^20 + patch_size * 16 + use     (step < 2^43; streams below 2^63 are everyone else's)
//   index   image:    slot                                 with patch_size 0: one image for a slot in all four tasks
//           geometry: 8 * slot + k                         k = 0 top, 1 left, 2 label or svdd jitter, 3 and 4 jitters
//           colour:   (2 * slot + view) * C + c            normals; view 0 or 1 of the pair
//           noise:    (2 * slot + view) * patch_size^2 * C + (row * patch_size + column) * C + c       normals
// where slot counts from the step's first pair and row, column are inside the patch, whatever its tiles.
#pragma once

#include <cstdint>

#include "cuttle/seam/philox.hpp"

namespace cuttle::seam {

// The two self-supervised tasks, tell the direction from the first patch to the second, or pull a patch and its
// slightly shifted copy together; and two views of one crop, from which pairs for both are taken later.
enum class PatchTask : std::int32_t { position, svdd, views };

enum class PatchNumber : std::uint64_t { image, position_geometry, svdd_geometry, colour, noise };

constexpr std::uint64_t patch_stream(std::int64_t step, std::int64_t patch_size, PatchNumber use) noexcept {
  return std::uint64_t{1} << 63 | static_cast<std::uint64_t>(step) << 20 | static_cast<std::uint64_t>(patch_size) << 4 |
         static_cast<std::uint64_t>(use);
}

struct PatchPair {
  std::int64_t image;
  std::int64_t top[2], left[2];  // corners of the two patches
  std::int32_t label;            // position: the direction, 0..7 in raster order without the centre; else -1
};

// position: the first corner is uniform; the second lies 3/4 patch plus a jitter in [0, patch_size / 4) away along each
// axis that the direction has, none along the other. svdd: the second corner is a jitter away, uniform on {-J .. J}^2
// without (0, 0), J = patch_size / 32 (drawn as one integer, which is the redraw until not both are 0). views: the same
// with J = 1, drawn from the svdd numbers. Second corners
// are clipped to the image; the label stays. images >= 1, H and W >= patch_size, patch_size a multiple of 32.
constexpr PatchPair sample_patch_pair(PatchTask task, std::int64_t patch_size, std::int64_t images, std::int64_t H,
                                      std::int64_t W, std::uint64_t seed, std::int64_t step,
                                      std::int64_t slot) noexcept {
  const auto name = static_cast<std::uint64_t>(slot);
  const bool position = task == PatchTask::position;
  const std::uint64_t stream =
      patch_stream(step, patch_size, position ? PatchNumber::position_geometry : PatchNumber::svdd_geometry);
  const auto below = [&](std::int64_t n, std::uint64_t k) -> std::int64_t {
    return random_below(static_cast<std::uint32_t>(n), seed, stream, 8 * name + k);
  };
  PatchPair pair{
      random_below(static_cast<std::uint32_t>(images), seed, patch_stream(step, 0, PatchNumber::image), name),
      {below(H - patch_size + 1, 0), 0},
      {below(W - patch_size + 1, 1), 0},
      -1};
  std::int64_t down = 0, right = 0;
  if (position) {
    pair.label = static_cast<std::int32_t>(below(8, 2));
    const std::int32_t cell = pair.label + (pair.label >= 4);  // of a 3 x 3 grid
    down = (cell / 3 - 1) * (3 * patch_size / 4 + below(patch_size / 4, 3));
    right = (cell % 3 - 1) * (3 * patch_size / 4 + below(patch_size / 4, 4));
  } else {
    const std::int64_t reach = task == PatchTask::svdd ? patch_size / 32 : 1, side = 2 * reach + 1,
                       centre = side * side / 2;
    const std::int64_t drawn = below(side * side - 1, 2), cell = drawn + (drawn >= centre);
    down = cell / side - reach;
    right = cell % side - reach;
  }
  const auto clipped = [](std::int64_t x, std::int64_t last) { return x < 0 ? 0 : x > last ? last : x; };
  pair.top[1] = clipped(pair.top[0] + down, H - patch_size);
  pair.left[1] = clipped(pair.left[0] + right, W - patch_size);
  return pair;
}

}  // namespace cuttle::seam
