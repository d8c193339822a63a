// Normals on vectors: see cpu_random.hpp. Compiled once for each instruction set.

namespace normals {

CUTTLE_TARGET inline vf splat(float a) { return set1(a); }
CUTTLE_TARGET inline vu bits(vf a) { return (vu)a; }
CUTTLE_TARGET inline vf from_bits(vu a) { return (vf)a; }

#include "cuttle/seam/box_muller.inl"

inline constexpr int blocks_per_batch = lanes / 2, normals_per_batch = 2 * lanes;

// The four words of each lane's Philox block, in 64-bit lanes whose upper halves mean nothing.
CUTTLE_TARGET inline void philox_batch(std::uint64_t seed, std::uint64_t stream, vw blocks, vw (&word)[4]) {
  word[0] = blocks;
  word[1] = blocks >> 32;
  word[2] = vw{} + (stream & 0xFFFFFFFFu);
  word[3] = vw{} + (stream >> 32);
  const vw multiplier_0 = vw{} + std::uint64_t{seam::philox_multiplier_0};
  const vw multiplier_1 = vw{} + std::uint64_t{seam::philox_multiplier_1};
  std::uint32_t key_0 = static_cast<std::uint32_t>(seed), key_1 = static_cast<std::uint32_t>(seed >> 32);
#pragma GCC unroll 10  // a third off the time: g++ at -O2 keeps the loop
  for (int round = 0; round < seam::philox_rounds; ++round) {
    const vw product_0 = mul_low(multiplier_0, word[0]), product_1 = mul_low(multiplier_1, word[2]);
    word[0] = (product_1 >> 32) ^ word[1] ^ std::uint64_t{key_0};
    word[1] = product_1;
    word[2] = (product_0 >> 32) ^ word[3] ^ std::uint64_t{key_1};
    word[3] = product_0;
    key_0 += seam::philox_weyl_0;
    key_1 += seam::philox_weyl_1;
  }
}

// Even lanes from the low halves of a, odd lanes from those of b.
CUTTLE_TARGET inline vu low_halves(vw a, vw b) { return (vu)((a & 0xFFFFFFFFu) | (b << 32)); }

// The normals_per_batch normals of blocks first_block .. + blocks_per_batch - 1. Lanes take the blocks in the order
// 0, h, 1, h+1, ... (h half of them), so that zipping the two results of box_muller leaves the normals in order.
CUTTLE_TARGET inline void normal_batch(float* out, std::uint64_t seed, std::uint64_t stream,
                                       std::uint64_t first_block) {
  vw blocks{}, word[4];
  for (int lane = 0; lane < blocks_per_batch; ++lane)
    blocks[lane] = first_block + static_cast<std::uint64_t>(lane / 2 + lane % 2 * (blocks_per_batch / 2));
  philox_batch(seed, stream, blocks, word);
  vf cosines, sines;
  box_muller(low_halves(word[0], word[2]), low_halves(word[1], word[3]), cosines, sines);
  store(out, zip_lower(cosines, sines));
  store(out + lanes, zip_upper(cosines, sines));
}

CUTTLE_TARGET inline void fill_normal(float* out, std::size_t n, std::uint64_t seed, std::uint64_t stream,
                                      std::uint64_t first_index) {
  std::uint64_t block = first_index / 4;
  const auto skipped = static_cast<std::size_t>(first_index % 4);
  float batch[normals_per_batch];
  if (skipped != 0 && n != 0) {
    normal_batch(batch, seed, stream, block);
    const std::size_t taken = std::min(n, std::size_t{normals_per_batch} - skipped);
    std::copy_n(batch + skipped, taken, out);
    out += taken;
    n -= taken;
    block += blocks_per_batch;
  }
  for (; n >= normals_per_batch; n -= normals_per_batch, out += normals_per_batch, block += blocks_per_batch)
    normal_batch(out, seed, stream, block);
  if (n != 0) {
    normal_batch(batch, seed, stream, block);
    std::copy_n(batch, n, out);
  }
}

}  // namespace normals
