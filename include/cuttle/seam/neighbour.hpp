// The eight neighbours of a patch in a grid. C++17; constexpr.
#pragma once

#include <cstdint>

namespace cuttle::seam {

// The patch that is neighbour j = 0..7 of patch p in a grid x grid image, in raster order without the centre, or -1
// beyond the edge. Where neighbour j of p is r, neighbour 7 - j of r is p.
constexpr std::int32_t neighbour(std::int32_t p, int j, std::int32_t grid) noexcept {
  const int cell = j < 4 ? j : j + 1;
  const std::int32_t row = p / grid + cell / 3 - 1, column = p % grid + cell % 3 - 1;
  return row < 0 || row >= grid || column < 0 || column >= grid ? -1 : row * grid + column;
}

}  // namespace cuttle::seam
