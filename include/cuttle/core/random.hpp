// Random numbers named by (seed, stream, index): see seam/philox.hpp for the words, uniforms and integers, which this
// header brings into namespace cuttle, and below for normals, permutations and subsets. Nothing has a state.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "cuttle/core/error.hpp"
#include "cuttle/seam/philox.hpp"

namespace cuttle {

using seam::random_below;
using seam::random_uniform;
using seam::random_uniform_double;
using seam::random_word;

namespace detail::one_lane {
using vf = float;
using vu = std::uint32_t;
inline vf fused(vf a, vf b, vf c) { return std::fma(a, b, c); }
inline vf root(vf a) { return std::sqrt(a); }
inline vf to_float(vu a) { return static_cast<float>(static_cast<std::int32_t>(a)); }
inline vu bits(vf a) {
  vu b;
  std::memcpy(&b, &a, sizeof b);
  return b;
}
inline vf from_bits(vu a) {
  vf b;
  std::memcpy(&b, &a, sizeof b);
  return b;
}
inline vf splat(float a) { return a; }
inline vf choose(vu mask, vf a, vf b) { return mask ? a : b; }
#define CUTTLE_TARGET
#include "cuttle/seam/box_muller.inl"
#undef CUTTLE_TARGET
}  // namespace detail::one_lane

// A standard normal: numbers 2i and 2i+1 are the two of words 2i and 2i+1. The same bits on every build, instruction
// set and device. backend/cpu_random.hpp fills whole arrays with the same numbers, many times as fast.
inline float random_normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) noexcept {
  const std::uint64_t words = seam::random_word_pair(seed, stream, index / 2);
  float pair[2];
  detail::one_lane::box_muller(static_cast<std::uint32_t>(words >> 32), static_cast<std::uint32_t>(words), pair[0],
                               pair[1]);
  return pair[index % 2];
}

// A uniformly drawn order of 0 .. n-1 (Fisher, Yates; Durstenfeld 1964): position i, from the last, is exchanged with
// position random_below(i + 1, seed, stream, i). n < 2^32.
inline std::vector<std::int64_t> random_permutation(std::int64_t n, std::uint64_t seed, std::uint64_t stream) {
  require(n >= 0 && n < std::int64_t{1} << 32, "random_permutation: n must be in [0, 2^32), got ", n);
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i-- > 1;)
    std::swap(order[i], order[random_below(static_cast<std::uint32_t>(i + 1), seed, stream, i)]);
  return order;
}

// `kept` of the numbers 0 .. n-1, ascending, every subset equally likely (selection sampling: Knuth, TAOCP 2, 3.4.2,
// algorithm S): number i is taken when random_below(n - i, seed, stream, i) < how many are still wanted. n < 2^32.
inline std::vector<std::int64_t> random_subset(std::int64_t n, std::int64_t kept, std::uint64_t seed,
                                               std::uint64_t stream) {
  require(n >= 0 && n < std::int64_t{1} << 32, "random_subset: n must be in [0, 2^32), got ", n);
  require(kept >= 0 && kept <= n, "random_subset: kept must be in [0, n = ", n, "], got ", kept);
  std::vector<std::int64_t> subset;
  subset.reserve(static_cast<std::size_t>(kept));
  for (std::int64_t i = 0; std::ssize(subset) < kept; ++i) {
    const std::int64_t wanted = kept - std::ssize(subset);
    if (random_below(static_cast<std::uint32_t>(n - i), seed, stream, static_cast<std::uint64_t>(i)) < wanted)
      subset.push_back(i);
  }
  return subset;
}

}  // namespace cuttle
