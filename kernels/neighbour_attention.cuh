// Multi-head attention of patches to their eight neighbours.
#pragma once

#include "cuttle/seam/neighbour.hpp"
#include "kernels/reduce.cuh"

namespace cuttle::kernels {

constexpr int attention_threads = 128;

// The sum of `value` over the warp, the same in every lane.
template <class T>
CUTTLE_DEVICE T warp_sum(T value) {
  for (int lanes = warp_size / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(full_mask, value, lanes);
  return value;
}

// Patch `row` of all images, and where in (B*grid^2,E) its neighbours are.
struct PatchPlace {
  std::int32_t image, patch, grid;  // the image's first row, the patch inside the image
  CUTTLE_DEVICE PatchPlace(std::int32_t row, std::int64_t size) : grid(static_cast<std::int32_t>(size)) {
    patch = row % (grid * grid);
    image = row - patch;
  }
  // The row of neighbour j; -1 beyond the edge.
  CUTTLE_DEVICE std::int64_t neighbour(int j) const {
    const std::int32_t n = seam::neighbour(patch, j, grid);
    return n < 0 ? -1 : image + n;
  }
};

// op: weights[p,h,j] = softmax_j (q[p] . key_j / sqrt(D)), y[p] = sum_j weights[p,h,j] * value_j over head h
// layout: q, k, v, y (B*grid^2,E), k0, v0 (E), weights (B*grid^2,heads,8)
// launch: a warp for each patch and head, blocks of 128
// order: a lane adds channels d = lane, lane + 32, ..., then a butterfly over the warp; the softmax in order of j
// limits: B*grid^2 < 2^31
// cost: 32 flops and 17 numbers read (most of them cached) a channel: bound by memory
template <class T>
CUTTLE_KERNEL neighbour_attention_kernel(seam::NeighbourAttentionArgs<T> a) {
  const Global<const T> q = a.q, k = a.k, v = a.v, k0 = a.k0, v0 = a.v0;
  const Global<T> y = a.y, weights = a.weights;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const std::int64_t index = (static_cast<std::int64_t>(blockIdx.x) * attention_threads + threadIdx.x) / warp_size;
  if (index >= a.B * a.grid * a.grid * a.heads) return;
  const std::int64_t D = a.E / a.heads, row = index / a.heads, first = index % a.heads * D, at = row * a.E + first;
  const PatchPlace place(static_cast<std::int32_t>(row), a.grid);
  Global<const T> key[8], value[8];
  T weight[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const std::int64_t n = place.neighbour(j);
    key[j] = n < 0 ? k0 + first : k + (n * a.E + first);
    value[j] = n < 0 ? v0 + first : v + (n * a.E + first);
    weight[j] = 0;
  }
  for (std::int64_t d = lane; d < D; d += warp_size) {
    const T query = q[at + d];
#pragma unroll
    for (int j = 0; j < 8; ++j) weight[j] = fma(query, static_cast<T>(key[j][d]), weight[j]);
  }
  const T scale = 1 / sqrt(static_cast<T>(D));
  T largest = 0, sum = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    weight[j] = scale * warp_sum(weight[j]);
    largest = j == 0 ? weight[0] : fmax(largest, weight[j]);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    weight[j] = exp(weight[j] - largest);
    sum += weight[j];
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    weight[j] /= sum;
    if (lane == j) weights[index * 8 + j] = weight[j];
  }
  for (std::int64_t d = lane; d < D; d += warp_size) {
    T mean = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) mean = fma(weight[j], static_cast<T>(value[j][d]), mean);
    y[at + d] = mean;
  }
}

inline dim3 attention_grid(std::int64_t warps) {
  constexpr int warps_per_block = attention_threads / warp_size;
  return dim3(static_cast<unsigned>((warps + warps_per_block - 1) / warps_per_block));
}

template <class T>
void launch_neighbour_attention(const seam::NeighbourAttentionArgs<T>& a, seam::Stream stream) {
  launch("neighbour_attention", &neighbour_attention_kernel<T>, attention_grid(a.B * a.grid * a.grid * a.heads),
         dim3(attention_threads), 0, stream, a);
}

// op: with dweight_j = dy . value_j: dscores[j] = weights[j] (dweight_j - sum_i weights[i] dweight_i) / sqrt(D), and
//     dq = sum_j dscores[j] key_j, over each head of each patch
// layout: as above; dscores (B*grid^2,heads,8), dq (B*grid^2,E) or null
// launch, order, limits, cost: as neighbour_attention
template <class T>
CUTTLE_KERNEL neighbour_attention_scores_kernel(seam::NeighbourAttentionBackwardArgs<T> a) {
  const Global<const T> k = a.k, v = a.v, k0 = a.k0, v0 = a.v0, weights = a.weights, dy = a.dy;
  const Global<T> dscores = a.dscores, dq = a.dq;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const std::int64_t index = (static_cast<std::int64_t>(blockIdx.x) * attention_threads + threadIdx.x) / warp_size;
  if (index >= a.B * a.grid * a.grid * a.heads) return;
  const std::int64_t D = a.E / a.heads, row = index / a.heads, first = index % a.heads * D, at = row * a.E + first;
  const PatchPlace place(static_cast<std::int32_t>(row), a.grid);
  Global<const T> key[8], value[8];
  T dscore[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const std::int64_t n = place.neighbour(j);
    key[j] = n < 0 ? k0 + first : k + (n * a.E + first);
    value[j] = n < 0 ? v0 + first : v + (n * a.E + first);
    dscore[j] = 0;
  }
  for (std::int64_t d = lane; d < D; d += warp_size) {
    const T g = dy[at + d];
#pragma unroll
    for (int j = 0; j < 8; ++j) dscore[j] = fma(g, static_cast<T>(value[j][d]), dscore[j]);
  }
  const T scale = 1 / sqrt(static_cast<T>(D));
  T mean = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    dscore[j] = warp_sum(dscore[j]);
    mean = fma(static_cast<T>(weights[index * 8 + j]), dscore[j], mean);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    dscore[j] = scale * static_cast<T>(weights[index * 8 + j]) * (dscore[j] - mean);
    if (lane == j) dscores[index * 8 + j] = dscore[j];
  }
  if (a.dq == nullptr) return;
  for (std::int64_t d = lane; d < D; d += warp_size) {
    T sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fma(dscore[j], static_cast<T>(key[j][d]), sum);
    dq[at + d] = sum;
  }
}

// op: dk[r] = sum_j dscores[p_j,7-j] q[p_j], dv[r] = sum_j weights[p_j,7-j] dy[p_j] over r's neighbours p_j, which are
//     the patches that have r as their neighbour 7-j
// layout: as above; dk, dv (B*grid^2,E) or null
// launch: a thread for a channel of a patch: grid (ceil(E/128), B*grid^2), block 128
// order: j ascending
// limits: B*grid^2 < 2^31; beyond 65535 patches a block strides over them
// cost: 32 flops and up to 32 reads, mostly cached, a channel
template <class T>
CUTTLE_KERNEL neighbour_attention_keys_kernel(seam::NeighbourAttentionBackwardArgs<T> a) {
  const Global<const T> q = a.q, dy = a.dy, weights = a.weights, dscores = a.dscores;
  const Global<T> dk = a.dk, dv = a.dv;
  const std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * attention_threads + threadIdx.x;
  if (e >= a.E) return;
  const std::int64_t head = e / (a.E / a.heads), rows = a.B * a.grid * a.grid;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const PatchPlace place(static_cast<std::int32_t>(row), a.grid);
    T key = 0, value = 0;
    for (int j = 0; j < 8; ++j) {
      const std::int64_t n = place.neighbour(j);
      if (n < 0) continue;
      const std::int64_t factor = (n * a.heads + head) * 8 + 7 - j;
      if (a.dk != nullptr) key = fma(static_cast<T>(dscores[factor]), static_cast<T>(q[n * a.E + e]), key);
      if (a.dv != nullptr) value = fma(static_cast<T>(weights[factor]), static_cast<T>(dy[n * a.E + e]), value);
    }
    if (a.dk != nullptr) dk[row * a.E + e] = key;
    if (a.dv != nullptr) dv[row * a.E + e] = value;
  }
}

// op: dk0 += sum_p q[p] sum_j dscores[p,j], dv0 += sum_p dy[p] sum_j weights[p,j] over the j beyond the edge
// layout: as above; dk0, dv0 (E) or null
// launch: grid ceil(E/32), block 128: 32 channels times 4 rows, static shared 1 KB
// order: a thread adds its rows in ascending order in double, then the tree of column_sum
// limits: B*grid^2 < 2^31
// cost: 10 reads a channel of a patch, mostly cached
template <class T>
CUTTLE_KERNEL neighbour_attention_beyond_kernel(seam::NeighbourAttentionBackwardArgs<T> a) {
  CUTTLE_SHARED(double, shared, attention_threads);
  const Global<const T> q = a.q, dy = a.dy, weights = a.weights, dscores = a.dscores;
  const Global<T> dk0 = a.dk0, dv0 = a.dv0;
  constexpr int width = 32, lanes = attention_threads / width;
  const int t = static_cast<int>(threadIdx.x);
  const std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * width + t % width;
  const std::int64_t head = e / (a.E / a.heads), rows = a.B * a.grid * a.grid;
  double key = 0, value = 0;
  if (e < a.E)
    for (std::int64_t row = t / width; row < rows; row += lanes) {
      const PatchPlace place(static_cast<std::int32_t>(row), a.grid);
      T to_key = 0, to_value = 0;
      for (int j = 0; j < 8; ++j) {
        if (place.neighbour(j) >= 0) continue;
        to_key += static_cast<T>(dscores[(row * a.heads + head) * 8 + j]);
        to_value += static_cast<T>(weights[(row * a.heads + head) * 8 + j]);
      }
      key = fma(static_cast<double>(to_key), static_cast<double>(q[row * a.E + e]), key);
      value = fma(static_cast<double>(to_value), static_cast<double>(dy[row * a.E + e]), value);
    }
  key = column_sum<attention_threads>(key, shared, width);
  value = column_sum<attention_threads>(value, shared, width);
  if (t >= width || e >= a.E) return;
  if (a.dk0 != nullptr) dk0[e] += static_cast<T>(key);
  if (a.dv0 != nullptr) dv0[e] += static_cast<T>(value);
}

template <class T>
void launch_neighbour_attention_backward(const seam::NeighbourAttentionBackwardArgs<T>& a, seam::Stream stream) {
  const char* op = "neighbour_attention_backward";
  const std::int64_t rows = a.B * a.grid * a.grid;
  launch(op, &neighbour_attention_scores_kernel<T>, attention_grid(rows * a.heads), dim3(attention_threads), 0, stream,
         a);
  if (a.dk != nullptr || a.dv != nullptr)
    launch(op, &neighbour_attention_keys_kernel<T>,
           dim3(static_cast<unsigned>((a.E + attention_threads - 1) / attention_threads),
                static_cast<unsigned>(rows < 65535 ? rows : 65535)),
           dim3(attention_threads), 0, stream, a);
  if (a.dk0 != nullptr || a.dv0 != nullptr)
    launch(op, &neighbour_attention_beyond_kernel<T>, dim3(static_cast<unsigned>((a.E + 31) / 32)),
           dim3(attention_threads), 0, stream, a);
}

}  // namespace cuttle::kernels
