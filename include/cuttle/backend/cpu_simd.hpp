// The vector vocabulary of the CPU kernels, and the choice of instruction set at run time.
//
// A kernel is written once, in a .inl file, in terms of the names below (vf, lanes, load, fmadd, ...), every function
// of it marked CUTTLE_TARGET; foreach_isa.inl compiles the file once in each of the namespaces cpu::avx512, cpu::avx2
// and cpu::baseline. So a portable build carries all three and no machine flag of the user's is needed.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "cuttle/core/error.hpp"

#if defined(__x86_64__)
#define CUTTLE_X86 1
#include <immintrin.h>
#define CUTTLE_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define CUTTLE_TARGET_AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define CUTTLE_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#else
#define CUTTLE_X86 0
#endif
#define CUTTLE_INLINE inline __attribute__((always_inline))
// Before a loop over registers whose count is a constant: arrays of vectors stay in registers only when it is unrolled.
#if defined(__clang__)
#define CUTTLE_UNROLL _Pragma("unroll")
#else
#define CUTTLE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace cuttle::cpu {

// avx512_vnni is avx512 with products of bytes; only kernels made of those (see CUTTLE_VNNI_CALL) tell them apart.
enum class Isa { baseline, avx2, avx512, avx512_vnni };

namespace detail {
inline Isa widest_isa() noexcept {
#if CUTTLE_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
    return __builtin_cpu_supports("avx512vnni") ? Isa::avx512_vnni : Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}
inline std::atomic<Isa>& chosen_isa() noexcept {
  static std::atomic<Isa> chosen{widest_isa()};
  return chosen;
}
}  // namespace detail

// The instruction set that the kernels run with: the widest the processor has, unless set_isa chose a narrower one.
inline Isa isa() noexcept { return detail::chosen_isa().load(std::memory_order_relaxed); }

// For tests and measurements. Throws where the processor lacks it.
inline void set_isa(Isa wanted) {
  require(wanted <= detail::widest_isa(), "set_isa: this processor lacks the instruction set asked for");
  detail::chosen_isa().store(wanted, std::memory_order_relaxed);
}

// Calls CUTTLE_ISA_CALL(f, args...): f in the namespace of the chosen instruction set.
#if CUTTLE_X86
#define CUTTLE_ISA_CALL(f, ...)                                                               \
  (::cuttle::cpu::isa() >= ::cuttle::cpu::Isa::avx512 ? ::cuttle::cpu::avx512::f(__VA_ARGS__) \
   : ::cuttle::cpu::isa() == ::cuttle::cpu::Isa::avx2 ? ::cuttle::cpu::avx2::f(__VA_ARGS__)   \
                                                      : ::cuttle::cpu::baseline::f(__VA_ARGS__))
#else
#define CUTTLE_ISA_CALL(f, ...) (::cuttle::cpu::baseline::f(__VA_ARGS__))
#endif
// The same for a kernel of byte products, which foreach_vnni.inl compiles in cpu::avx512_vnni and cpu::baseline alone.
#if CUTTLE_X86
#define CUTTLE_VNNI_CALL(f, ...)                                                                        \
  (::cuttle::cpu::isa() == ::cuttle::cpu::Isa::avx512_vnni ? ::cuttle::cpu::avx512_vnni::f(__VA_ARGS__) \
                                                           : ::cuttle::cpu::baseline::f(__VA_ARGS__))
#else
#define CUTTLE_VNNI_CALL(f, ...) (::cuttle::cpu::baseline::f(__VA_ARGS__))
#endif

#if CUTTLE_X86
namespace avx512 {
#define CUTTLE_T CUTTLE_TARGET_AVX512 CUTTLE_INLINE
inline constexpr int lanes = 16;
inline constexpr int vector_registers = 32;
using vf = __m512;     // lanes floats
using vm = __mmask16;  // one truth value a lane
CUTTLE_T vf load(const float* p) { return _mm512_loadu_ps(p); }
CUTTLE_T vf load_first(const float* p, int n) {  // the first n lanes, zeros elsewhere
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
}
CUTTLE_T void store(float* p, vf v) { _mm512_storeu_ps(p, v); }
CUTTLE_T void store_first(float* p, vf v, int n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), v);
}
CUTTLE_T vf set1(float x) { return _mm512_set1_ps(x); }
CUTTLE_T vf zero() { return _mm512_setzero_ps(); }
CUTTLE_T vf add(vf a, vf b) { return _mm512_add_ps(a, b); }
CUTTLE_T vf sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
CUTTLE_T vf mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
CUTTLE_T vf fmadd(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }    // a*b + c
CUTTLE_T vf fnmadd(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a*b
// Masked by all ones: the plain forms make g++ 12 warn of a variable that its own header leaves uninitialised.
CUTTLE_T vf vmin(vf a, vf b) { return _mm512_maskz_min_ps(static_cast<__mmask16>(-1), a, b); }
CUTTLE_T vf vmax(vf a, vf b) { return _mm512_maskz_max_ps(static_cast<__mmask16>(-1), a, b); }
CUTTLE_T vm less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
CUTTLE_T vf select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }  // m ? a : b
CUTTLE_T bool any(vm m) { return m != 0; }
template <int which>
CUTTLE_T __m256 half(vf a) {
  return _mm512_maskz_extractf32x8_ps(static_cast<__mmask8>(-1), a, which);
}
CUTTLE_T float reduce_min(vf a) {
  const __m256 h = _mm256_min_ps(half<0>(a), half<1>(a));
  __m128 m = _mm_min_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  m = _mm_min_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_min_ss(m, _mm_shuffle_ps(m, m, 1)));
}
CUTTLE_T float reduce_add(vf a) {
  const __m256 h = _mm256_add_ps(half<0>(a), half<1>(a));
  __m128 m = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  m = _mm_add_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_add_ss(m, _mm_shuffle_ps(m, m, 1)));
}
#undef CUTTLE_T
}  // namespace avx512

namespace avx512_vnni {
#define CUTTLE_T CUTTLE_TARGET_AVX512_VNNI CUTTLE_INLINE
inline constexpr int lanes = 16;
// Not __m512i: g++ 12 keeps arrays of those in memory.
typedef std::int32_t vi __attribute__((vector_size(64)));
CUTTLE_T vi load_int(const void* p) { return reinterpret_cast<vi>(_mm512_loadu_si512(p)); }
CUTTLE_T void store_int(void* p, vi v) { _mm512_storeu_si512(p, reinterpret_cast<__m512i>(v)); }
CUTTLE_T vi set1_int(std::int32_t x) { return reinterpret_cast<vi>(_mm512_set1_epi32(x)); }
CUTTLE_T vi vmax_int(vi a, vi b) {
  return reinterpret_cast<vi>(
      _mm512_maskz_max_epi32(static_cast<__mmask16>(-1), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
// c + the four products, without saturation, of the unsigned bytes of each lane of a and the signed ones of b.
CUTTLE_T vi byte_products(vi a, vi b, vi c) {
  return reinterpret_cast<vi>(
      _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(c), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
#undef CUTTLE_T
}  // namespace avx512_vnni

namespace avx2 {
#define CUTTLE_T CUTTLE_TARGET_AVX2 CUTTLE_INLINE
inline constexpr int lanes = 8;
inline constexpr int vector_registers = 16;
using vf = __m256;
using vm = __m256;
CUTTLE_T __m256i first_mask(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
CUTTLE_T vf load(const float* p) { return _mm256_loadu_ps(p); }
CUTTLE_T vf load_first(const float* p, int n) { return _mm256_maskload_ps(p, first_mask(n)); }
CUTTLE_T void store(float* p, vf v) { _mm256_storeu_ps(p, v); }
CUTTLE_T void store_first(float* p, vf v, int n) { _mm256_maskstore_ps(p, first_mask(n), v); }
CUTTLE_T vf set1(float x) { return _mm256_set1_ps(x); }
CUTTLE_T vf zero() { return _mm256_setzero_ps(); }
CUTTLE_T vf add(vf a, vf b) { return _mm256_add_ps(a, b); }
CUTTLE_T vf sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
CUTTLE_T vf mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
CUTTLE_T vf fmadd(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
CUTTLE_T vf fnmadd(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
CUTTLE_T vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
CUTTLE_T vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
CUTTLE_T vm less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
CUTTLE_T vf select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
CUTTLE_T bool any(vm m) { return _mm256_movemask_ps(m) != 0; }
CUTTLE_T float reduce_min(vf a) {
  __m128 m = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_min_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_min_ss(m, _mm_shuffle_ps(m, m, 1)));
}
CUTTLE_T float reduce_add(vf a) {
  __m128 m = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_add_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_add_ss(m, _mm_shuffle_ps(m, m, 1)));
}
#undef CUTTLE_T
}  // namespace avx2
#endif

// Four floats in the compiler's own vectors: SSE2, NEON or whatever the target has. fmadd rounds twice where the target
// has no fma; nothing whose bits are promised may use it.
namespace baseline {
#define CUTTLE_T CUTTLE_INLINE
inline constexpr int lanes = 4;
inline constexpr int vector_registers = 16;
typedef float vf __attribute__((vector_size(16)));
typedef std::int32_t vm __attribute__((vector_size(16)));
CUTTLE_T vf load(const float* p) {
  vf v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
CUTTLE_T vf load_first(const float* p, int n) {
  vf v = {};
  std::memcpy(&v, p, static_cast<std::size_t>(n) * sizeof(float));
  return v;
}
CUTTLE_T void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }
CUTTLE_T void store_first(float* p, vf v, int n) { std::memcpy(p, &v, static_cast<std::size_t>(n) * sizeof(float)); }
CUTTLE_T vf set1(float x) { return vf{x, x, x, x}; }
CUTTLE_T vf zero() { return vf{}; }
CUTTLE_T vf add(vf a, vf b) { return a + b; }
CUTTLE_T vf sub(vf a, vf b) { return a - b; }
CUTTLE_T vf mul(vf a, vf b) { return a * b; }
CUTTLE_T vf fmadd(vf a, vf b, vf c) { return a * b + c; }
CUTTLE_T vf fnmadd(vf a, vf b, vf c) { return c - a * b; }
CUTTLE_T vf vmin(vf a, vf b) { return a < b ? a : b; }
CUTTLE_T vf vmax(vf a, vf b) { return a > b ? a : b; }
CUTTLE_T vm less(vf a, vf b) { return a < b; }
CUTTLE_T vf select(vm m, vf a, vf b) { return m ? a : b; }
CUTTLE_T bool any(vm m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
CUTTLE_T float reduce_min(vf a) { return std::fmin(std::fmin(a[0], a[1]), std::fmin(a[2], a[3])); }
CUTTLE_T float reduce_add(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
using vi = vm;
CUTTLE_T vi load_int(const void* p) {
  vi v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
CUTTLE_T void store_int(void* p, vi v) { std::memcpy(p, &v, sizeof v); }
CUTTLE_T vi set1_int(std::int32_t x) { return vi{x, x, x, x}; }
CUTTLE_T vi vmax_int(vi a, vi b) { return a > b ? a : b; }
CUTTLE_T vi byte_products(vi a, vi b, vi c) {
  std::uint8_t left[16];
  std::int8_t right[16];
  std::memcpy(left, &a, 16);
  std::memcpy(right, &b, 16);
  for (int i = 0; i < 16; ++i) c[i / 4] += left[i] * right[i];
  return c;
}
#undef CUTTLE_T
}  // namespace baseline

}  // namespace cuttle::cpu
