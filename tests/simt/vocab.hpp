// The words of kernels/vocab.cuh for the emulator: include this before a kernel, and g++ compiles it for the machine.
// Each word means what it means there; what a device would let pass in silence throws cuttle::Error.
#pragma once

#ifdef CUTTLE_VOCAB
#error "kernels/vocab.cuh came first; the emulator's words have to"
#endif
#define CUTTLE_VOCAB

#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "cuttle/seam/table.hpp"
#include "tests/simt/half.hpp"
#include "tests/simt/machine.hpp"
#include "tests/simt/memory.hpp"
#include "tests/simt/pointer.hpp"
#include "tests/simt/shared.hpp"
#include "tests/simt/stream.hpp"
#include "tests/simt/tensor_core.hpp"

#define CUTTLE_KERNEL inline void
#define CUTTLE_DEVICE inline
#define __device__
#define __launch_bounds__(...)

#define CUTTLE_SHARED(T, name, count)                                                 \
  static_assert((count) > 0);                                                         \
  static ::cuttle_simt::SharedArray cuttle_shared_##name(#name, sizeof(T) * (count)); \
  cuttle_shared_##name.declare_static();                                              \
  const ::cuttle::kernels::Shared<T> name(cuttle_shared_##name)
#define CUTTLE_DYNAMIC_SHARED(T, name)                    \
  ::cuttle_simt::dynamic_shared().declare_dynamic(#name); \
  const ::cuttle::kernels::Shared<T> name(::cuttle_simt::dynamic_shared())

// Kernels count in int, and g++ objects even to an array whose extent is an int template parameter.
#pragma GCC diagnostic ignored "-Wsign-conversion"

// Where a word stands in a kernel.
#define CUTTLE_SIMT_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace cuttle::kernels {

constexpr int warp_size = 32;
constexpr unsigned full_mask = 0xFFFFFFFFu;

// --- barriers, shuffles, votes ---------------------------------------------------------------------------------------

inline void __syncthreads(CUTTLE_SIMT_HERE) { cuttle_simt::Machine::the().barrier({"__syncthreads", file, line}); }

inline void __syncwarp(unsigned mask = full_mask, CUTTLE_SIMT_HERE) {
  int nothing = 0;
  cuttle_simt::Machine::the().rendezvous<int>({"__syncwarp", file, line}, mask, nothing, nullptr, true);
}

// The value of the lane that source(lane, first, last) names, where the lane's segment of `width` lanes is [first,
// last); a lane outside of the segment means the lane's own.
template <class T, class Source>
T shuffle(const cuttle_simt::Site& site, unsigned mask, const T& value, int width, Source&& source) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "as on a device");
  if (width < 1 || width > warp_size || (width & (width - 1)) != 0) cuttle_simt::fail(site, ": width ", width);
  struct Operand {
    T value, result;
    int source;
  };
  const int lane = static_cast<int>(cuttle_simt::Machine::the().current().number % 32), first = lane / width * width;
  const int from = source(lane, first, first + width);
  Operand operand{value, value, from < first || from >= first + width ? lane : from};
  cuttle_simt::Machine::the().rendezvous<Operand>(site, mask, operand, [](Operand* const* lanes) {
    for (int i = 0; i < 32; ++i) lanes[i]->result = lanes[lanes[i]->source]->value;
  });
  return operand.result;
}
template <class T>
Value<T> __shfl_sync(unsigned mask, T&& value, int source, int width = warp_size, CUTTLE_SIMT_HERE) {
  const cuttle_simt::Site site{"__shfl_sync", file, line};
  if (source < 0 || source >= width) cuttle_simt::fail(site, ": there is no lane ", source, " of ", width);
  return shuffle<Value<T>>(site, mask, std::forward<T>(value), width,
                           [&](int, int first, int) { return first + source; });
}
template <class T>
Value<T> __shfl_xor_sync(unsigned mask, T&& value, int lanes, int width = warp_size, CUTTLE_SIMT_HERE) {
  const cuttle_simt::Site site{"__shfl_xor_sync", file, line};
  if (lanes < 0 || lanes >= width) cuttle_simt::fail(site, ": there is no lane ", lanes, " of ", width);
  return shuffle<Value<T>>(site, mask, std::forward<T>(value), width, [&](int lane, int, int) { return lane ^ lanes; });
}
template <class T>
Value<T> __shfl_down_sync(unsigned mask, T&& value, unsigned by, int width = warp_size, CUTTLE_SIMT_HERE) {
  return shuffle<Value<T>>({"__shfl_down_sync", file, line}, mask, std::forward<T>(value), width,
                           [&](int lane, int, int) { return lane + static_cast<int>(by); });
}
template <class T>
Value<T> __shfl_up_sync(unsigned mask, T&& value, unsigned by, int width = warp_size, CUTTLE_SIMT_HERE) {
  return shuffle<Value<T>>({"__shfl_up_sync", file, line}, mask, std::forward<T>(value), width,
                           [&](int lane, int, int) { return lane - static_cast<int>(by); });
}

inline unsigned ballot(const cuttle_simt::Site& site, unsigned mask, bool predicate) {
  unsigned vote = predicate;
  cuttle_simt::Machine::the().rendezvous<unsigned>(site, mask, vote, [](unsigned* const* lanes) {
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= *lanes[lane] << lane;
    for (int lane = 0; lane < 32; ++lane) *lanes[lane] = votes;
  });
  return vote;
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUTTLE_SIMT_HERE) {
  return ballot({"__ballot_sync", file, line}, mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate, CUTTLE_SIMT_HERE) {
  return ballot({"__any_sync", file, line}, mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUTTLE_SIMT_HERE) {
  return ballot({"__all_sync", file, line}, mask, predicate != 0) == full_mask;
}

// --- atomics: threads take turns, so only what a device has them for is checked --------------------------------------

template <DevicePointer P, class Update>
typename P::element update_atomically(const P& p, Update&& update) {
  using T = typename P::element;
  static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>,
                "as on a device");
  unsigned char* place = p.update_atomically();
  T before;
  std::memcpy(&before, place, sizeof before);
  const T after = update(before);
  std::memcpy(place, &after, sizeof after);
  return before;
}
template <DevicePointer P>
auto atomicAdd(const P& p, typename P::element value) {
  using T = typename P::element;
  return update_atomically(p, [&](T before) {
    return static_cast<T>(static_cast<unsigned long long>(before) + static_cast<unsigned long long>(value));
  });
}
template <DevicePointer P>
auto atomicMax(const P& p, typename P::element value) {
  return update_atomically(p, [&](auto before) { return before < value ? value : before; });
}
template <DevicePointer P>
auto atomicMin(const P& p, typename P::element value) {
  return update_atomically(p, [&](auto before) { return value < before ? value : before; });
}
template <DevicePointer P>
auto atomicCAS(const P& p, typename P::element expected, typename P::element value) {
  return update_atomically(p, [&](auto before) { return before == expected ? value : before; });
}

// --- arithmetic ------------------------------------------------------------------------------------------------------

#define CUTTLE_SIMT_UNARY(f)                    \
  inline float f(float x) { return std::f(x); } \
  inline double f(double x) { return std::f(x); }
#define CUTTLE_SIMT_BINARY(f)                               \
  inline float f(float x, float y) { return std::f(x, y); } \
  inline double f(double x, double y) { return std::f(x, y); }
CUTTLE_SIMT_UNARY(sqrt)
CUTTLE_SIMT_UNARY(exp)
CUTTLE_SIMT_UNARY(log)
CUTTLE_SIMT_UNARY(tanh)
CUTTLE_SIMT_UNARY(fabs)
CUTTLE_SIMT_UNARY(floor)
CUTTLE_SIMT_UNARY(ceil)
CUTTLE_SIMT_UNARY(rint)
CUTTLE_SIMT_BINARY(fmin)
CUTTLE_SIMT_BINARY(fmax)
CUTTLE_SIMT_BINARY(pow)
CUTTLE_SIMT_BINARY(copysign)
#undef CUTTLE_SIMT_UNARY
#undef CUTTLE_SIMT_BINARY
inline float fma(float x, float y, float z) { return std::fma(x, y, z); }
inline double fma(double x, double y, double z) { return std::fma(x, y, z); }
using std::isfinite;
using std::isinf;
using std::isnan;

#define CUTTLE_SIMT_LEAST_AND_MOST(T)                 \
  constexpr T min(T x, T y) { return y < x ? y : x; } \
  constexpr T max(T x, T y) { return x < y ? y : x; }
CUTTLE_SIMT_LEAST_AND_MOST(int)
CUTTLE_SIMT_LEAST_AND_MOST(unsigned)
CUTTLE_SIMT_LEAST_AND_MOST(long)
CUTTLE_SIMT_LEAST_AND_MOST(unsigned long)
CUTTLE_SIMT_LEAST_AND_MOST(long long)
CUTTLE_SIMT_LEAST_AND_MOST(unsigned long long)
#undef CUTTLE_SIMT_LEAST_AND_MOST

template <class To, class From>
To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// --- moving several elements at once ---------------------------------------------------------------------------------

template <class T, int N>
struct alignas(sizeof(T) * static_cast<std::size_t>(N)) Pack {
  T at[N];
};
template <int N, DevicePointer P>
auto load_pack(const P& p) {
  using T = typename P::element;
  static_assert(sizeof(Pack<T, N>) <= 16);
  return p.template load_as<Pack<T, N>>();
}
template <DevicePointer P, int N>
void store_pack(const P& p, const Pack<typename P::element, N>& pack) {
  static_assert(sizeof pack <= 16);
  p.store_as(pack);
}

// The bytes come when the thread waits for them; until then there are 0xFF.
template <class T>
void copy_async(const Shared<T>& to, const Global<const T>& from) {
  cuttle_simt::Thread& thread = cuttle_simt::Machine::the().current();
  from.at("copy_async", 16, 16);
  std::memset(to.array().write(to.offset(), 16, 16), 0xFF, 16);
  thread.copies.push_back({thread.copy_groups, &to.array(), to.offset(), from.address()});
}
inline void copy_async_commit() { ++cuttle_simt::Machine::the().current().copy_groups; }
template <int n>
void copy_async_wait() {
  cuttle_simt::Thread& thread = cuttle_simt::Machine::the().current();
  std::erase_if(thread.copies, [&](const cuttle_simt::PendingCopy& copy) {
    if (copy.group + n >= thread.copy_groups) return false;
    std::memcpy(copy.array->write(copy.offset, 16, 16), cuttle_simt::Memory::real(copy.from), 16);
    return true;
  });
}

// --- tensor core -----------------------------------------------------------------------------------------------------

inline void mma(const cuttle_simt::Site& site, MmaD& d, const MmaA& a, const MmaB& b,
                void (*complete)(cuttle_simt::MmaOperand* const*)) {
  cuttle_simt::MmaOperand operand{d, a, b};
  cuttle_simt::Machine::the().rendezvous(site, full_mask, operand, complete);
  d = operand.d;
}
inline void mma_f16(MmaD& d, const MmaA& a, const MmaB& b, CUTTLE_SIMT_HERE) {
  mma({"mma_f16", file, line}, d, a, b, &cuttle_simt::mma_f16_complete);
}
inline void mma_bf16(MmaD& d, const MmaA& a, const MmaB& b, CUTTLE_SIMT_HERE) {
  mma({"mma_bf16", file, line}, d, a, b, &cuttle_simt::mma_bf16_complete);
}
inline void mma_tf32(MmaD& d, const MmaA& a, const MmaB& b, CUTTLE_SIMT_HERE) {
  mma({"mma_tf32", file, line}, d, a, b, &cuttle_simt::mma_tf32_complete);
}
template <class T>
void ldmatrix(MmaA& to, const Shared<const T>& row, CUTTLE_SIMT_HERE) {
  static_assert(sizeof(T) == 2);
  cuttle_simt::LdmatrixOperand operand{};
  std::memcpy(operand.row, row.array().read(row.offset(), 16, 16), 16);
  cuttle_simt::Machine::the().rendezvous<cuttle_simt::LdmatrixOperand>({"ldmatrix", file, line}, full_mask, operand,
                                                                       &cuttle_simt::ldmatrix_complete);
  to = operand.to;
}

// --- launch ----------------------------------------------------------------------------------------------------------

// `what` is a string literal.
template <class... Parameters, class... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            seam::Stream stream, const Arguments&... arguments) {
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "as on a device");
  static_assert((std::is_trivially_copyable_v<Parameters> && ...));
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cuttle_simt::Machine::check_launch(what, grid, block, dynamic_shared_bytes);
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> parameters;
  };
  cuttle_simt::Streams::the().queue(
      what, stream,
      [what, grid, block, dynamic_shared_bytes, call = Call{kernel, std::tuple<Parameters...>(arguments...)}] {
        cuttle_simt::Machine::the().run(
            what, grid, block, dynamic_shared_bytes,
            [](const void* context) {
              const Call& begun = *static_cast<const Call*>(context);
              std::apply(begun.kernel, begun.parameters);
            },
            &call);
      });
}

template <class T>
using MayAlias = Global<T>;

inline unsigned blocks_for(std::int64_t n, int threads) {
  // Few, so that threads take more than one turn in small tests as well.
  const std::int64_t blocks = (n + threads - 1) / threads, most = 61;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

}  // namespace cuttle::kernels
