// Random integers and uniforms by counter: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011). Every number has a name, (seed, stream, index), and is a pure function of it, so that who
// draws it, and in what order, cannot change it. C++17, no other header of the library; all of it constexpr integer
// work or exact conversions, so the bits are the same on every machine and device.
//
// The key is the seed. The counter is (block, stream), 64 bits each, and gives four words of 32 bits:
//   word(index)      is word  index % 4 of block index / 4
//   word_pair(index) is words 2*(index % 2) and the next of block index / 2
#pragma once

#include <cstdint>

namespace cuttle::seam {

inline constexpr std::uint32_t philox_multiplier_0 = 0xD2511F53u, philox_multiplier_1 = 0xCD9E8D57u;
inline constexpr std::uint32_t philox_weyl_0 = 0x9E3779B9u, philox_weyl_1 = 0xBB67AE85u;
inline constexpr int philox_rounds = 10;

struct PhiloxBlock {
  std::uint32_t word[4];
};

// The bijection itself: `counter` encrypted by the key.
constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::uint32_t key_0, std::uint32_t key_1) noexcept {
  for (int round = 0; round < philox_rounds; ++round) {
    const std::uint64_t product_0 = std::uint64_t{philox_multiplier_0} * counter.word[0];
    const std::uint64_t product_1 = std::uint64_t{philox_multiplier_1} * counter.word[2];
    counter = {
        {static_cast<std::uint32_t>(product_1 >> 32) ^ counter.word[1] ^ key_0, static_cast<std::uint32_t>(product_1),
         static_cast<std::uint32_t>(product_0 >> 32) ^ counter.word[3] ^ key_1, static_cast<std::uint32_t>(product_0)}};
    key_0 += philox_weyl_0;
    key_1 += philox_weyl_1;
  }
  return counter;
}

constexpr PhiloxBlock random_block(std::uint64_t seed, std::uint64_t stream, std::uint64_t block) noexcept {
  return philox4x32({{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                      static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}},
                    static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
}

// Uniform on all 32-bit numbers.
constexpr std::uint32_t random_word(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) noexcept {
  return random_block(seed, stream, index / 4).word[index % 4];
}

// Uniform on all 64-bit numbers; the first word of the pair is the high half.
constexpr std::uint64_t random_word_pair(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) noexcept {
  const PhiloxBlock block = random_block(seed, stream, index / 2);
  return std::uint64_t{block.word[2 * (index % 2)]} << 32 | block.word[2 * (index % 2) + 1];
}

// Uniform on the 2^24 multiples of 2^-24 in [0, 1).
constexpr float random_uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) noexcept {
  return static_cast<float>(random_word(seed, stream, index) >> 8) * 0x1p-24f;
}

// Uniform on the 2^53 multiples of 2^-53 in [0, 1).
constexpr double random_uniform_double(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) noexcept {
  return static_cast<double>(random_word_pair(seed, stream, index) >> 11) * 0x1p-53;
}

// An integer in [0, n), n >= 1: floor(r * n / 2^64) for a 64-bit r, which has no remainder to be taken and no loop.
// Each value's probability differs from 1/n by less than 2^-64, relatively by less than n * 2^-64 < 2^-32.
constexpr std::uint32_t random_below(std::uint32_t n, std::uint64_t seed, std::uint64_t stream,
                                     std::uint64_t index) noexcept {
  const std::uint64_t r = random_word_pair(seed, stream, index);
  return static_cast<std::uint32_t>(((r >> 32) * n + ((r & 0xFFFFFFFFu) * n >> 32)) >> 32);
}

}  // namespace cuttle::seam
