// matmul on the CPU, by the register tiles of the convolution: a product is a convolution over one pixel whose images
// are the rows of a. Work is cut by shape alone and each entry of c is one sum over k in ascending order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/backend/cpu_conv2d.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

template <class T>
void matmul(const seam::MatmulArgs<T>& args) {
  const std::int64_t M = args.M, N = args.N, K = args.K;
  if (args.batch == 0 || M == 0 || N == 0) return;
  const auto kernels = detail::conv2d_kernels<T>();
  const std::int64_t width = kernels.width, block = 2 * width;
  const std::int64_t rounded = (N + width - 1) / width * width, blocks = (N + block - 1) / block;
  constexpr std::int64_t rows = detail::Conv2dPiece::capacity;  // of a tile

  // The columns of op(b) in blocks, as Conv2dPacking has output channels; zeros, the bias, follow.
  const std::int64_t right_hands = args.stride_b == 0 ? 1 : args.batch;
  auto packed = Tensor<T>::empty({right_hands * rounded * K + rounded});
  T* const bias = packed.data() + right_hands * rounded * K;
  std::fill_n(bias, rounded, T(0));
  const std::int64_t down = args.transpose_b ? 1 : args.row_b, across = args.transpose_b ? args.row_b : 1;
  parallel_for(right_hands * blocks, [&](std::int64_t index) {
    const std::int64_t first = index % blocks * block, place = std::min(block, rounded - first);
    const std::int64_t columns = std::min(place, N - first);
    const T* from = args.b + index / blocks * args.stride_b + first * across;
    T* to = packed.data() + index / blocks * rounded * K + first * K;
    for (std::int64_t k = 0; k < K; ++k, from += down, to += place) {
      for (std::int64_t n = 0; n < columns; ++n) to[n] = from[n * across];
      std::fill(to + columns, to + place, T(0));
    }
  });

  // op(a) with its rows in one piece.
  const T* a = args.a;
  std::int64_t row_a = args.row_a, stride_a = args.stride_a;
  Tensor<T> turned;
  if (args.transpose_a) {
    const std::int64_t left_hands = args.stride_a == 0 ? 1 : args.batch, tiles = (M + rows - 1) / rows;
    turned = Tensor<T>::empty({left_hands, M, K});
    parallel_for(left_hands * tiles, [&](std::int64_t index) {
      const std::int64_t first = index % tiles * rows, last = std::min(first + rows, M);
      const T* const from = args.a + index / tiles * args.stride_a;
      T* const to = turned.data() + index / tiles * M * K;
      for (std::int64_t k = 0; k < K; ++k)
        for (std::int64_t m = first; m < last; ++m) to[m * K + k] = from[k * args.row_a + m];
    });
    a = turned.data();
    row_a = K;
    stride_a = args.stride_a == 0 ? 0 : M * K;
  }

  const bool direct = args.alpha == 1 && args.beta == 0;
  const T alpha = static_cast<T>(args.alpha), beta = static_cast<T>(args.beta);
  const detail::Conv2dTaps taps{1, 1, K, 0, 0, 0, 0, 0};
  const std::int64_t tiles = (M + rows - 1) / rows, parts = detail::channel_parts(args.batch * tiles, blocks);
  const std::int64_t most = direct ? 0 : rows * std::min(N, (blocks / parts + 1) * block);
  parallel_for_with_scratch<T>(args.batch * tiles * parts, most, [&](std::int64_t index, T* scratch) {
    const std::int64_t i = index / parts / tiles, m = index / parts % tiles * rows, part = index % parts;
    const std::int64_t first = blocks * part / parts * block, last = std::min(blocks * (part + 1) / parts * block, N);
    T* const c = args.c + i * args.stride_c + m * args.row_c;
    const std::int64_t row = direct ? args.row_c : last - first;
    detail::Conv2dPiece piece;
    piece.pixels = static_cast<std::size_t>(std::min(rows, M - m));
    for (std::size_t p = 0; p < piece.pixels; ++p) {
      const auto r = static_cast<std::int64_t>(p);
      piece.in[p] = (m + r) * row_a;
      piece.out[p] = r * row - (direct ? 0 : first);
    }
    kernels.gather(taps, piece, a + i * stride_a, packed.data() + (right_hands == 1 ? 0 : i) * rounded * K, K, bias,
                   first, last, direct ? c : scratch, seam::Activation::none, T(0));
    if (direct) return;
    for (std::int64_t r = 0; r < static_cast<std::int64_t>(piece.pixels); ++r)
      for (std::int64_t n = first; n < last; ++n) {
        const T product = alpha * scratch[r * row + n - first];
        c[r * args.row_c + n] = args.beta == 0 ? product : product + beta * c[r * args.row_c + n];
      }
  });
}

}  // namespace cuttle::cpu
