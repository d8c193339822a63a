// augment on the CPU; formula in seam/args.hpp.
#pragma once

#include <cstdint>

#include "cuttle/core/scratch.hpp"
#include "cuttle/seam/args.hpp"
#include "cuttle/seam/random_affine.hpp"

namespace cuttle::cpu {

// One tile of work for each image; the scratch is where each column comes from.
template <class T>
void augment(const seam::AugmentArgs<T>& a) {
  const std::int64_t step = a.state ? a.state->step : a.step, values = a.H * a.W * a.C;
  parallel_for_with_scratch<std::int64_t>(a.B, a.W, [&](std::int64_t b, std::int64_t* columns) {
    const seam::AffineMap map = seam::sample_affine_map(a.options, a.H, a.W, a.seed, step, b);
    for (std::int64_t j = 0; j < a.W; ++j) columns[j] = seam::affine_source(j, a.W, map.right, map.scale);
    const std::uint8_t* const image = a.images + a.rows[b] * values;
    T* y = a.y + b * values;
    for (std::int64_t i = 0; i < a.H; ++i) {
      const std::int64_t row = seam::affine_source(i, a.H, map.down, map.scale);
      for (std::int64_t j = 0; j < a.W; ++j)
        for (std::int64_t c = 0; c < a.C; ++c) {
          const bool inside = row >= 0 && columns[j] >= 0;
          *y++ = inside ? static_cast<T>(image[(row * a.W + columns[j]) * a.C + c]) / T(255) : T(0);
        }
    }
  });
}

}  // namespace cuttle::cpu
