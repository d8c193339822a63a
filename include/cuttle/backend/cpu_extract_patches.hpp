// Patches and windows on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/backend/cpu_random.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/seam/args.hpp"
#include "cuttle/seam/crop_pair.hpp"

namespace cuttle::cpu {

#if CUTTLE_X86
namespace avx512::patches {
CUTTLE_TARGET_AVX512 CUTTLE_INLINE vf load_bytes(const std::uint8_t* p) {
  return _mm512_maskz_cvtepi32_ps(normals::every_lane,
                                  _mm512_maskz_cvtepu8_epi32(normals::every_lane, _mm_loadu_si128((const __m128i*)p)));
}
CUTTLE_TARGET_AVX512 CUTTLE_INLINE vf divide(vf a, vf b) { return _mm512_div_ps(a, b); }
}  // namespace avx512::patches
namespace avx2::patches {
CUTTLE_TARGET_AVX2 CUTTLE_INLINE vf load_bytes(const std::uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
CUTTLE_TARGET_AVX2 CUTTLE_INLINE vf divide(vf a, vf b) { return _mm256_div_ps(a, b); }
}  // namespace avx2::patches
#endif
namespace baseline::patches {
CUTTLE_INLINE vf load_bytes(const std::uint8_t* p) {
  return vf{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
}
CUTTLE_INLINE vf divide(vf a, vf b) { return a / b; }
}  // namespace baseline::patches

}  // namespace cuttle::cpu

#define CUTTLE_KERNELS "cuttle/backend/cpu_extract_patches.inl"
#include "cuttle/backend/foreach_isa.inl"

namespace cuttle::cpu {

// One tile of work for each patch; the same bits on every instruction set.
template <class T>
void random_patch_pairs(const seam::PatchPairsArgs<T>& a) {
  using seam::PatchNumber;
  const bool augmented = a.task != seam::PatchTask::svdd;
  const std::int64_t step = a.state ? a.state->step : a.step;
  const std::int64_t row = a.tile_size * a.C, tiles = a.patch_size / a.tile_size;
  parallel_for_with_scratch<float>(2 * a.B, 2 * row, [&](std::int64_t work, float* colour) {
    const std::int64_t b = work / 2, view = work % 2, slot = a.first_slot + b;
    const seam::PatchPair pair = seam::sample_patch_pair(a.task, a.patch_size, a.images, a.H, a.W, a.seed, step, slot);
    if (a.label && view == 0) a.label[b] = pair.label;
    float* const noise = colour + row;
    if (augmented) {
      fill_normal({colour, static_cast<std::size_t>(a.C)}, a.seed,
                  seam::patch_stream(step, a.patch_size, PatchNumber::colour),
                  static_cast<std::uint64_t>((2 * slot + view) * a.C));
      for (std::int64_t i = a.C; i < row; ++i) colour[i] = colour[i - a.C];
    }
    T* x = a.x[view] + b * a.patch_size * a.patch_size * a.C;
    for (std::int64_t tile = 0; tile < tiles * tiles; ++tile)
      for (std::int64_t i = 0; i < a.tile_size; ++i, x += row) {
        const std::int64_t r = tile / tiles * a.tile_size + i, c = tile % tiles * a.tile_size;
        const std::int64_t pixel = ((pair.top[view] + r) * a.W + pair.left[view] + c) * a.C;
        const std::uint8_t* bytes = a.image + pair.image * a.H * a.W * a.C + pixel;
        if (augmented) {
          fill_normal({noise, static_cast<std::size_t>(row)}, a.seed,
                      seam::patch_stream(step, a.patch_size, PatchNumber::noise),
                      static_cast<std::uint64_t>(
                          ((2 * slot + view) * a.patch_size * a.patch_size + r * a.patch_size + c) * a.C));
          CUTTLE_ISA_CALL(patches::augmented_row, x, bytes, a.mean + pixel, colour, a.colour_sigma, noise,
                          a.noise_sigma, row);
        } else {
          CUTTLE_ISA_CALL(patches::standard_row, x, bytes, a.mean + pixel, row);
        }
      }
  });
}

template <class T>
void extract_windows(const seam::WindowsArgs<T>& a) {
  const std::int64_t row = a.window * a.C;
  parallel_for(a.B * a.rows, [&](std::int64_t strip) {
    const T* corner = a.from + (strip / a.rows * a.H + strip % a.rows * a.stride) * a.W * a.C;
    T* to = a.to + strip * a.cols * a.window * row;
    for (std::int64_t col = 0; col < a.cols; ++col)
      for (std::int64_t i = 0; i < a.window; ++i, to += row)
        std::copy_n(corner + (i * a.W + col * a.stride) * a.C, row, to);
  });
}

// The inverse for stride == window and windows that fill x.
template <class T>
void join_windows(const seam::WindowsArgs<T>& a) {
  const std::int64_t row = a.window * a.C;
  parallel_for(a.B * a.rows, [&](std::int64_t strip) {
    const T* from = a.from + strip * a.cols * a.window * row;
    T* corner = a.to + strip * a.window * a.W * a.C;
    for (std::int64_t col = 0; col < a.cols; ++col)
      for (std::int64_t i = 0; i < a.window; ++i, from += row)
        std::copy_n(from, row, corner + i * a.W * a.C + col * row);
  });
}

// One tile of work for 256 pairs.
inline void draw_crop_rows(const seam::DrawCropRowsArgs& a) {
  const std::int64_t step = a.state ? a.state->step : a.step;
  const std::int64_t quadrants = (a.patch_size / seam::small_patch) * (a.patch_size / seam::small_patch);
  for_ranges(
      a.pairs,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          const seam::CropPair pair = seam::sample_crop_pair(a.patch_size, a.crops, a.size, a.seed, step, i);
          a.labels[i] = pair.label;
          for (int view = 0; view < 2; ++view)
            for (std::int64_t q = 0; q < quadrants; ++q) {
              a.position[view][i * quadrants + q] =
                  seam::crop_row(a.patch_size, a.crops, a.size, view, pair.crop, pair.top[view], pair.left[view], q);
              a.svdd[view][i * quadrants + q] =
                  seam::crop_row(a.patch_size, a.crops, a.size, view, pair.svdd_crop, pair.svdd_top, pair.svdd_left, q);
            }
        }
      },
      256);
}

}  // namespace cuttle::cpu
