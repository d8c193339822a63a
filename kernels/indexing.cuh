// Which elements a thread works on: grid-stride loops, packs of 16 bytes, and indices of 32 bits where they suffice,
// because a 64-bit division costs a thread several times as much as the element it finds.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/vocab.cuh"

namespace cuttle::kernels {

// for (Index i = thread_index(); i < n; i += thread_count())
CUTTLE_DEVICE std::int64_t thread_index() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
CUTTLE_DEVICE std::int64_t thread_count() { return std::int64_t{gridDim.x} * blockDim.x; }

// Elements in 16 bytes.
template <class T>
constexpr int pack_size = 16 / static_cast<int>(sizeof(T));

// Whether packs can be moved at each of these addresses.
template <class... Pointers>
bool aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

// Values at p, a multiple of 16 bytes or of all of them, in packs.
template <class Pointer, class T, int n>
CUTTLE_DEVICE void store_values(Pointer p, const T (&values)[n]) {
  constexpr int N = pack_size<T> < n ? pack_size<T> : n;
  static_assert(n % N == 0);
#pragma unroll
  for (int first = 0; first < n; first += N) {
    Pack<T, N> pack;
    for (int i = 0; i < N; ++i) pack.at[i] = values[first + i];
    store_pack(p + first, pack);
  }
}

// How many bits are set.
CUTTLE_DEVICE int popcount(unsigned bits) {
  bits -= bits >> 1 & 0x55555555u;
  bits = (bits & 0x33333333u) + (bits >> 2 & 0x33333333u);
  return static_cast<int>(((bits + (bits >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24);
}

// Calls body(n as std::uint32_t) where every number up to n, and a grid's stride more, fits; else body(n).
template <class Body>
void with_index(std::int64_t n, Body&& body) {
  if (n < std::int64_t{1} << 30)
    body(static_cast<std::uint32_t>(n));
  else
    body(n);
}

}  // namespace cuttle::kernels
