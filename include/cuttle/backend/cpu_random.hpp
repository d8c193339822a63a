// fill_normal: whole arrays of the normals that core/random.hpp names one by one, on vectors. Same bits on every
// instruction set, and the same as random_normal.
#pragma once

#include <algorithm>
#include <span>

#include "cuttle/backend/cpu_simd.hpp"
#include "cuttle/core/random.hpp"

namespace cuttle::cpu {

// What seam/box_muller.inl needs beyond cpu_simd.hpp, and three operations for Philox: mul_low (of the low 32 bits of
// each 64-bit lane), and zip_lower, zip_upper: of each group of four lanes, a0 b0 a1 b1, and a2 b2 a3 b3.
#if CUTTLE_X86
namespace avx512::normals {
#define CUTTLE_T CUTTLE_TARGET_AVX512 CUTTLE_INLINE
typedef std::uint32_t vu __attribute__((vector_size(64)));
typedef std::uint64_t vw __attribute__((vector_size(64)));
// The unmasked intrinsics draw g++ 12's false warning of an uninitialised register.
inline constexpr unsigned char every_pair = 0xFF;
inline constexpr unsigned short every_lane = 0xFFFF;
CUTTLE_T vf fused(vf a, vf b, vf c) { return fmadd(a, b, c); }
CUTTLE_T vf root(vf a) { return _mm512_maskz_sqrt_ps(every_lane, a); }
CUTTLE_T vf to_float(vu a) { return _mm512_maskz_cvtepi32_ps(every_lane, (__m512i)a); }
CUTTLE_T vf choose(vu mask, vf a, vf b) { return _mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)mask), b, a); }
CUTTLE_T vw mul_low(vw a, vw b) { return (vw)_mm512_maskz_mul_epu32(every_pair, (__m512i)a, (__m512i)b); }
CUTTLE_T vf zip_lower(vf a, vf b) { return _mm512_maskz_unpacklo_ps(every_lane, a, b); }
CUTTLE_T vf zip_upper(vf a, vf b) { return _mm512_maskz_unpackhi_ps(every_lane, a, b); }
#undef CUTTLE_T
}  // namespace avx512::normals

namespace avx2::normals {
#define CUTTLE_T CUTTLE_TARGET_AVX2 CUTTLE_INLINE
typedef std::uint32_t vu __attribute__((vector_size(32)));
typedef std::uint64_t vw __attribute__((vector_size(32)));
CUTTLE_T vf fused(vf a, vf b, vf c) { return fmadd(a, b, c); }
CUTTLE_T vf root(vf a) { return _mm256_sqrt_ps(a); }
CUTTLE_T vf to_float(vu a) { return _mm256_cvtepi32_ps((__m256i)a); }
CUTTLE_T vf choose(vu mask, vf a, vf b) { return _mm256_blendv_ps(b, a, (__m256)mask); }
CUTTLE_T vw mul_low(vw a, vw b) { return (vw)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
CUTTLE_T vf zip_lower(vf a, vf b) { return _mm256_unpacklo_ps(a, b); }
CUTTLE_T vf zip_upper(vf a, vf b) { return _mm256_unpackhi_ps(a, b); }
#undef CUTTLE_T
}  // namespace avx2::normals
#endif

namespace baseline::normals {
#define CUTTLE_T CUTTLE_INLINE
typedef std::uint32_t vu __attribute__((vector_size(16)));
typedef std::uint64_t vw __attribute__((vector_size(16)));
CUTTLE_T vf fused(vf a, vf b, vf c) {
  return vf{std::fma(a[0], b[0], c[0]), std::fma(a[1], b[1], c[1]), std::fma(a[2], b[2], c[2]),
            std::fma(a[3], b[3], c[3])};
}
CUTTLE_T vf root(vf a) { return vf{std::sqrt(a[0]), std::sqrt(a[1]), std::sqrt(a[2]), std::sqrt(a[3])}; }
CUTTLE_T vf to_float(vu a) { return __builtin_convertvector((vm)a, vf); }
CUTTLE_T vf choose(vu mask, vf a, vf b) { return (vf)((mask & (vu)a) | (~mask & (vu)b)); }
CUTTLE_T vw mul_low(vw a, vw b) { return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu); }
CUTTLE_T vf zip_lower(vf a, vf b) { return vf{a[0], b[0], a[1], b[1]}; }
CUTTLE_T vf zip_upper(vf a, vf b) { return vf{a[2], b[2], a[3], b[3]}; }
#undef CUTTLE_T
}  // namespace baseline::normals

}  // namespace cuttle::cpu

#define CUTTLE_KERNELS "cuttle/backend/cpu_random.inl"
#include "cuttle/backend/foreach_isa.inl"

namespace cuttle::cpu {

// out[i] = random_normal(seed, stream, first_index + i).
inline void fill_normal(std::span<float> out, std::uint64_t seed, std::uint64_t stream, std::uint64_t first_index = 0) {
  CUTTLE_ISA_CALL(normals::fill_normal, out.data(), out.size(), seed, stream, first_index);
}

}  // namespace cuttle::cpu
