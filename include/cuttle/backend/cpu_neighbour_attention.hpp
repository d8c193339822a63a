// Attention of patches to their eight neighbours on the CPU; formulas in seam/args.hpp. Sums are in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cuttle/backend/cpu_sums.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"
#include "cuttle/seam/neighbour.hpp"

namespace cuttle::cpu {

namespace detail {

// The row of neighbour j of patch `row` of all images, or -1 beyond the edge.
inline std::int64_t neighbour_row(std::int64_t row, int j, std::int64_t grid) {
  const std::int64_t P = grid * grid;
  const std::int32_t n = seam::neighbour(static_cast<std::int32_t>(row % P), j, static_cast<std::int32_t>(grid));
  return n < 0 ? -1 : row / P * P + n;
}

// Where neighbour j's part of `patches` (B*grid^2,E) begins, at channel `first`, or of `beyond` (E).
template <class T>
const T* neighbour_head(const T* patches, const T* beyond, std::int64_t row, int j, std::int64_t grid, std::int64_t E,
                        std::int64_t first) {
  const std::int64_t n = neighbour_row(row, j, grid);
  return n < 0 ? beyond + first : patches + n * E + first;
}

template <class T>
double dot(const T* a, const T* b, std::int64_t n) {
  return sum_of(n, [=](std::int64_t i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

}  // namespace detail

template <class T>
void neighbour_attention(const seam::NeighbourAttentionArgs<T>& a) {
  const std::int64_t D = a.E / a.heads;
  const double scale = 1 / std::sqrt(static_cast<double>(D));
  parallel_for(a.B * a.grid * a.grid * a.heads, [&](std::int64_t index) {
    const std::int64_t row = index / a.heads, first = index % a.heads * D;
    const T* value[8];
    double score[8], largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int j = 0; j < 8; ++j) {
      value[j] = detail::neighbour_head(a.v, a.v0, row, j, a.grid, a.E, first);
      const T* const key = detail::neighbour_head(a.k, a.k0, row, j, a.grid, a.E, first);
      score[j] = scale * detail::dot(a.q + row * a.E + first, key, D);
      largest = std::max(largest, score[j]);
    }
    for (double& s : score) sum += s = std::exp(s - largest);
    T* const weights = a.weights + index * 8;
    for (int j = 0; j < 8; ++j) weights[j] = static_cast<T>(score[j] / sum);
    T* const y = a.y + row * a.E + first;
    for (std::int64_t d = 0; d < D; ++d) {
      T mean = 0;
      for (int j = 0; j < 8; ++j) mean += weights[j] * value[j][d];
      y[d] = mean;
    }
  });
}

template <class T>
void neighbour_attention_backward(const seam::NeighbourAttentionBackwardArgs<T>& a) {
  const std::int64_t rows = a.B * a.grid * a.grid, D = a.E / a.heads;
  const double scale = 1 / std::sqrt(static_cast<double>(D));
  parallel_for(rows * a.heads, [&](std::int64_t index) {
    const std::int64_t row = index / a.heads, first = index % a.heads * D, at = row * a.E + first;
    const T* const weights = a.weights + index * 8;
    T* const dscores = a.dscores + index * 8;
    double dweight[8], mean = 0;
    for (int j = 0; j < 8; ++j) {
      dweight[j] = detail::dot(a.dy + at, detail::neighbour_head(a.v, a.v0, row, j, a.grid, a.E, first), D);
      mean += static_cast<double>(weights[j]) * dweight[j];
    }
    for (int j = 0; j < 8; ++j)
      dscores[j] = static_cast<T>(scale * static_cast<double>(weights[j]) * (dweight[j] - mean));
    if (!a.dq) return;
    std::fill_n(a.dq + at, D, T(0));
    for (int j = 0; j < 8; ++j) {
      const T* const key = detail::neighbour_head(a.k, a.k0, row, j, a.grid, a.E, first);
      for (std::int64_t d = 0; d < D; ++d) a.dq[at + d] += dscores[j] * key[d];
    }
  });
  // dto[r] = sum_j factor[p_j,7-j] * from[p_j] over r's neighbours p_j, which have r as their neighbour 7-j.
  const auto from_neighbours = [&](T* dto, const T* factor, const T* from) {
    if (!dto) return;
    parallel_for(rows * a.heads, [&](std::int64_t index) {
      const std::int64_t row = index / a.heads, head = index % a.heads, first = head * D;
      T* const to = dto + row * a.E + first;
      std::fill_n(to, D, T(0));
      for (int j = 0; j < 8; ++j) {
        const std::int64_t n = detail::neighbour_row(row, j, a.grid);
        if (n < 0) continue;
        const T f = factor[(n * a.heads + head) * 8 + 7 - j];
        const T* const source = from + n * a.E + first;
        for (std::int64_t d = 0; d < D; ++d) to[d] += f * source[d];
      }
    });
  };
  from_neighbours(a.dk, a.dscores, a.q);
  from_neighbours(a.dv, a.weights, a.dy);
  // dto += sum_p from[p] * sum_j factor[p,j] over the j beyond the edge.
  const auto from_edges = [&](T* dto, const T* factor, const T* from) {
    if (!dto) return;
    auto sums = Tensor<double>::empty({a.E});
    parallel_for(a.heads, [&](std::int64_t head) {
      double* const sum = sums.data() + head * D;
      std::fill_n(sum, D, 0.0);
      for (std::int64_t row = 0; row < rows; ++row) {
        double beyond = 0;
        for (int j = 0; j < 8; ++j)
          if (detail::neighbour_row(row, j, a.grid) < 0)
            beyond += static_cast<double>(factor[(row * a.heads + head) * 8 + j]);
        const T* const source = from + row * a.E + head * D;
        for (std::int64_t d = 0; d < D; ++d) sum[d] += beyond * static_cast<double>(source[d]);
      }
      for (std::int64_t d = 0; d < D; ++d) dto[head * D + d] += static_cast<T>(sum[d]);
    });
  };
  from_edges(a.dk0, a.dscores, a.q);
  from_edges(a.dv0, a.weights, a.dy);
}

}  // namespace cuttle::cpu
