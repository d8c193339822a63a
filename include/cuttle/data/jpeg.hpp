// Encoding of baseline JPEG (ITU-T T.81): for pictures to be looked at, a fifth of a PNG's size or less.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "cuttle/core/error.hpp"
#include "cuttle/data/pixels.hpp"

namespace cuttle {

namespace detail {

// A Huffman code for symbols 0 to 255 that occurred `counts` times: the optimal one with no code longer than 16 bits
// and none that is all ones (T.81, annex K.2).
struct HuffmanCode {
  std::array<std::uint8_t, 17> of_length{};  // how many codes have that many bits; [0] is not used
  std::vector<std::uint8_t> symbols;         // by length, then by value
  std::array<std::uint16_t, 256> code{};
  std::array<std::uint8_t, 256> length{};

  explicit HuffmanCode(const std::array<std::uint64_t, 256>& counts) {
    // Symbol 256 takes the code that is all ones.
    std::array<std::uint64_t, 257> weight{};
    std::array<int, 257> next{}, depth{};
    next.fill(-1);
    std::copy(counts.begin(), counts.end(), weight.begin());
    weight[256] = 1;
    for (;;) {
      int a = -1, b = -1;  // the two of least weight; of equal ones the larger symbols
      for (int i = 0; i <= 256; ++i) {
        const auto w = weight[static_cast<std::size_t>(i)];
        if (!w) continue;
        if (a < 0 || w <= weight[static_cast<std::size_t>(a)]) {
          b = a;
          a = i;
        } else if (b < 0 || w <= weight[static_cast<std::size_t>(b)]) {
          b = i;
        }
      }
      if (b < 0) break;
      weight[static_cast<std::size_t>(a)] += weight[static_cast<std::size_t>(b)];
      weight[static_cast<std::size_t>(b)] = 0;
      int last = a;
      for (;; last = next[static_cast<std::size_t>(last)]) {
        ++depth[static_cast<std::size_t>(last)];
        if (next[static_cast<std::size_t>(last)] < 0) break;
      }
      next[static_cast<std::size_t>(last)] = b;
      for (int i = b; i >= 0; i = next[static_cast<std::size_t>(i)]) ++depth[static_cast<std::size_t>(i)];
    }
    std::array<int, 258> bits{};
    for (const int d : depth)
      if (d) ++bits[static_cast<std::size_t>(d)];
    // Pairs of codes that are too long: one moves up to its parent, the other beside a shorter code made longer.
    for (std::size_t i = 257; i > 16; --i)
      while (bits[i] > 0) {
        std::size_t j = i - 2;
        while (!bits[j]) --j;
        bits[i] -= 2;
        ++bits[i - 1];
        bits[j + 1] += 2;
        --bits[j];
      }
    std::size_t longest = 16;
    while (!bits[longest]) --longest;
    --bits[longest];
    for (std::size_t i = 1; i <= 16; ++i) of_length[i] = static_cast<std::uint8_t>(bits[i]);
    for (int d = 1; d <= 257; ++d)
      for (int s = 0; s < 256; ++s)
        if (depth[static_cast<std::size_t>(s)] == d) symbols.push_back(static_cast<std::uint8_t>(s));
    std::uint16_t value = 0;
    std::size_t at = 0;
    for (std::size_t bit = 1; bit <= 16; ++bit, value = static_cast<std::uint16_t>(value << 1))
      for (int k = 0; k < of_length[bit]; ++k, ++at, ++value) {
        code[symbols[at]] = value;
        length[symbols[at]] = static_cast<std::uint8_t>(bit);
      }
  }
};

}  // namespace detail

// The image as the bytes of a JPEG: baseline, colours at full resolution, Huffman codes made for it. quality 1 to 100
// scales the quantisation of annex K as libjpeg does. Sides up to 65535.
inline std::vector<std::byte> encode_jpeg(const Image& image, int quality = 85) {
  detail::require_image(image, "encode_jpeg");
  require(quality >= 1 && quality <= 100, "encode_jpeg: quality is ", quality, ", expected 1 to 100");
  const std::int64_t H = image.size(0), W = image.size(1), C = image.size(2);
  require(H <= largest_image_side && W <= largest_image_side, "encode_jpeg: the image is ", H, " x ", W,
          ", more than 65535 on a side");
  static constexpr std::array<std::uint8_t, 64> zigzag = {
      0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
      41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
      30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};
  // Tables K.1 and K.2, in rows.
  static constexpr std::array<std::array<std::uint8_t, 64>, 2> annex_k = {
      {{16, 11,  10,  16, 24, 40, 51, 61, 12,  12,  14,  19,  26, 58, 60, 55,  14,  13,  16,  24, 40, 57,
        69, 56,  14,  17, 22, 29, 51, 87, 80,  62,  18,  22,  37, 56, 68, 109, 103, 77,  24,  35, 55, 64,
        81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98,  112, 100, 103, 99},
       {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
        99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99}}};
  const int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  std::array<std::array<int, 64>, 2> steps;
  for (std::size_t t = 0; t < 2; ++t)
    for (std::size_t i = 0; i < 64; ++i) steps[t][i] = std::clamp((annex_k[t][i] * scale + 50) / 100, 1, 255);
  // basis[u][x] = c(u) / 2 cos((2 x + 1) u pi / 16), c(0) = sqrt(1/2): annex A.3.3.
  static const std::array<std::array<double, 8>, 8> basis = [] {
    std::array<std::array<double, 8>, 8> b;
    for (std::size_t u = 0; u < 8; ++u)
      for (std::size_t x = 0; x < 8; ++x)
        b[u][x] =
            (u ? 0.5 : std::sqrt(0.125)) * std::cos(static_cast<double>((2 * x + 1) * u) * 3.14159265358979323846 / 16);
    return b;
  }();

  // What is to be written: a symbol of one of four codes (DC and AC of luminance, then of chroma), and the bits behind.
  struct Word {
    std::uint8_t table, symbol, bits;
    std::uint16_t extra;
  };
  std::vector<Word> words;
  std::array<std::array<std::uint64_t, 256>, 4> counts{};
  const auto write = [&](std::size_t table, int run, int value) {
    int bits = 0;
    for (int magnitude = std::abs(value); magnitude; magnitude >>= 1) ++bits;
    const auto symbol = static_cast<std::uint8_t>(run << 4 | bits);
    ++counts[table][symbol];
    // A negative value is written as one less, in that many bits.
    words.push_back({static_cast<std::uint8_t>(table), symbol, static_cast<std::uint8_t>(bits),
                     static_cast<std::uint16_t>((value < 0 ? value - 1 : value) & ((1 << bits) - 1))});
  };
  std::array<int, 3> before{};
  for (std::int64_t top = 0; top < H; top += 8)
    for (std::int64_t left = 0; left < W; left += 8)
      for (std::int64_t c = 0; c < C; ++c) {
        const std::size_t table = c > 0;
        std::array<double, 64> block, half, coefficient;
        for (std::int64_t i = 0; i < 64; ++i) {
          // Beyond the border the last row and column go on.
          const std::int64_t y = std::min(top + i / 8, H - 1), x = std::min(left + i % 8, W - 1);
          const std::uint8_t* p = image.data() + (y * W + x) * C;
          const double r = p[0], g = C == 3 ? p[1] : r, b = C == 3 ? p[2] : r;
          const double luminance = 0.299 * r + 0.587 * g + 0.114 * b;
          block[static_cast<std::size_t>(i)] = c == 0   ? luminance - 128
                                               : c == 1 ? (b - luminance) / 1.772
                                                        : (r - luminance) / 1.402;
        }
        for (std::size_t y = 0; y < 8; ++y)
          for (std::size_t u = 0; u < 8; ++u) {
            double sum = 0;
            for (std::size_t x = 0; x < 8; ++x) sum += basis[u][x] * block[y * 8 + x];
            half[y * 8 + u] = sum;
          }
        for (std::size_t v = 0; v < 8; ++v)
          for (std::size_t u = 0; u < 8; ++u) {
            double sum = 0;
            for (std::size_t y = 0; y < 8; ++y) sum += basis[v][y] * half[y * 8 + u];
            coefficient[v * 8 + u] = sum;
          }
        const auto quantised = [&](std::size_t i) {
          return static_cast<int>(std::lround(coefficient[zigzag[i]] / steps[table][zigzag[i]]));
        };
        int& last = before[static_cast<std::size_t>(c)];
        const int dc = quantised(0);
        write(2 * table, 0, dc - last);
        last = dc;
        int run = 0;
        for (std::size_t i = 1; i < 64; ++i) {
          // Full scale is ten bits.
          const int value = std::clamp(quantised(i), -1023, 1023);
          if (!value) {
            ++run;
            continue;
          }
          for (; run > 15; run -= 16) write(2 * table + 1, 15, 0);
          write(2 * table + 1, run, value);
          run = 0;
        }
        if (run) write(2 * table + 1, 0, 0);
      }

  std::vector<std::byte> out;
  const auto u8 = [&](std::int64_t value) { out.push_back(static_cast<std::byte>(value)); };
  const auto u16 = [&](std::int64_t value) {
    u8(value >> 8 & 255);
    u8(value & 255);
  };
  const auto marker = [&](int kind, std::int64_t length) {
    u8(0xFF);
    u8(kind);
    u16(length + 2);
  };
  u16(0xFFD8);
  marker(0xE0, 14);  // JFIF 1.1, square pixels
  for (const int byte : {0x4A, 0x46, 0x49, 0x46, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0}) u8(byte);
  const std::size_t tables = C == 1 ? 1 : 2;
  for (std::size_t t = 0; t < tables; ++t) {
    marker(0xDB, 65);
    u8(static_cast<std::int64_t>(t));
    for (const std::uint8_t i : zigzag) u8(steps[t][i]);
  }
  marker(0xC0, 6 + 3 * C);
  u8(8);
  u16(H);
  u16(W);
  u8(C);
  for (std::int64_t c = 0; c < C; ++c) {
    u8(c + 1);
    u8(0x11);
    u8(c > 0);
  }
  std::vector<detail::HuffmanCode> codes;
  for (std::size_t t = 0; t < 2 * tables; ++t) {
    const detail::HuffmanCode& code = codes.emplace_back(counts[t]);
    marker(0xC4, 17 + std::ssize(code.symbols));
    u8(static_cast<std::int64_t>((t & 1) << 4 | t >> 1));
    for (std::size_t bit = 1; bit <= 16; ++bit) u8(code.of_length[bit]);
    for (const std::uint8_t symbol : code.symbols) u8(symbol);
  }
  marker(0xDA, 4 + 2 * C);
  u8(C);
  for (std::int64_t c = 0; c < C; ++c) {
    u8(c + 1);
    u8(c > 0 ? 0x11 : 0);
  }
  for (const int byte : {0, 63, 0}) u8(byte);
  std::uint64_t pending = 0;
  int held = 0;
  const auto bits = [&](std::uint64_t value, int count) {
    pending = pending << count | value;
    for (held += count; held >= 8; held -= 8) {
      const auto byte = static_cast<std::int64_t>(pending >> (held - 8) & 255);
      u8(byte);
      if (byte == 0xFF) u8(0);
    }
  };
  for (const auto& [table, symbol, count, extra] : words) {
    bits(codes[table].code[symbol], codes[table].length[symbol]);
    bits(extra, count);
  }
  if (held) bits((1u << (8 - held)) - 1, 8 - held);
  u16(0xFFD9);
  return out;
}

}  // namespace cuttle
