// Which patches cover a pixel, along one axis: patch i lies on pixels i*stride .. i*stride + patch_size - 1. C++17.
#pragma once

#include <cstdint>

namespace cuttle::seam {

// Patches [first, last). Int is a signed integer that holds every pixel's number.
template <class Int>
struct PatchRange {
  Int first, last;
  constexpr Int size() const { return last - first; }
};
template <class Int>
constexpr bool operator==(PatchRange<Int> a, PatchRange<Int> b) {
  return a.first == b.first && a.last == b.last;
}

// The patches that cover pixel x; where there is none, those of the nearest pixel that has some, the lower one of two.
// Both ends never fall as x rises.
template <class Int>
constexpr PatchRange<Int> patches_over(Int x, Int patches, Int patch_size, Int stride) {
  const auto covering = [=](Int pixel) {
    const Int first = pixel < patch_size ? 0 : (pixel - patch_size) / stride + 1, last = pixel / stride + 1;
    return PatchRange<Int>{first, last < patches ? last : patches};
  };
  const PatchRange<Int> range = covering(x);
  if (range.first < range.last) return range;
  const Int below = (range.last - 1) * stride + patch_size - 1, above = range.last * stride;
  return covering(range.last < patches && above - x < x - below ? above : below);
}

}  // namespace cuttle::seam
