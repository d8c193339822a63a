// Batch and layer normalisation with residual and activation, forward and backward.
#pragma once

#include "kernels/reduce.cuh"

namespace cuttle::kernels {

constexpr int norm_threads = 256;

// A block's threads as columns of `width` neighbouring channels times norm_threads / width rows: what a warp reads is
// contiguous for many channels and for few.
inline int norm_width(std::int64_t C) {
  int width = 1;
  while (width < 32 && width < C) width *= 2;
  return width;
}
inline unsigned norm_columns(std::int64_t C) {
  const int width = norm_width(C);
  return static_cast<unsigned>((C + width - 1) / width);
}

// op: partial[tile,0,c] = sum_n (x[n,c] - x[0,c]), partial[tile,1,c] = sum_n (x[n,c] - x[0,c])^2 over the tile's rows
// layout: x (N,C), partial (tiles,2,C)
// launch: grid (ceil(C/width), tiles), block 256, static shared 2 KB
// order: a thread adds its rows in ascending order, then the tree of column_sum: deterministic
// limits: N >= 1; any C
// cost: 3 double flops an element read once: bound by memory
template <class T>
CUTTLE_KERNEL batch_norm_moments_kernel(seam::BatchNormArgs<T> a, int width) {
  CUTTLE_SHARED(double, shared, norm_threads);
  const Global<const T> x = a.x;
  const Global<double> partial = a.partial;
  const int t = static_cast<int>(threadIdx.x), lanes = norm_threads / width;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * width + t % width, tile = blockIdx.y;
  const std::int64_t end = a.N * (tile + 1) / a.tiles;
  double sum = 0, square = 0;
  if (c < a.C) {
    const double pivot = static_cast<double>(x[c]);
    for (std::int64_t n = a.N * tile / a.tiles + t / width; n < end; n += lanes) {
      const double d = static_cast<double>(x[n * a.C + c]) - pivot;
      sum += d;
      square = fma(d, d, square);
    }
  }
  sum = column_sum<norm_threads>(sum, shared, width);
  square = column_sum<norm_threads>(square, shared, width);
  if (t < width && c < a.C) {
    partial[tile * 2 * a.C + c] = sum;
    partial[(tile * 2 + 1) * a.C + c] = square;
  }
}

// op: mean and 1/sqrt(var + epsilon) of each channel, from the tiles' moments (training) or the running statistics;
//     training moves the running ones: running = (1 - momentum) * running + momentum * batch, var there unbiased
// layout: partial (tiles,2,C), statistics (2,C), running_mean and running_var (C) or null
// launch: grid ceil(C/width), block 256, static shared 2 KB
// order: as batch_norm_moments_kernel, over tiles
// limits: training with N >= 2
// cost: 2 tiles C doubles read
template <class T>
CUTTLE_KERNEL batch_norm_statistics_kernel(seam::BatchNormArgs<T> a, int width) {
  CUTTLE_SHARED(double, shared, norm_threads);
  const Global<const T> x = a.x;
  const Global<T> running_mean = a.running_mean, running_var = a.running_var;
  const Global<const double> partial = a.partial;
  const Global<double> statistics = a.statistics;
  const int t = static_cast<int>(threadIdx.x), lanes = norm_threads / width;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * width + t % width;
  double sum = 0, square = 0;
  if (a.training && c < a.C)
    for (std::int64_t tile = t / width; tile < a.tiles; tile += lanes) {
      sum += partial[tile * 2 * a.C + c];
      square += partial[(tile * 2 + 1) * a.C + c];
    }
  sum = column_sum<norm_threads>(sum, shared, width);
  square = column_sum<norm_threads>(square, shared, width);
  if (t >= width || c >= a.C) return;
  const double n = static_cast<double>(a.N);
  double mean, var;
  if (a.training) {
    square = fma(-sum, sum / n, square);
    mean = static_cast<double>(x[c]) + sum / n;
    var = square / n;
    if (a.running_mean != nullptr) {
      const double keep = 1 - a.momentum;
      running_mean[c] = static_cast<T>(fma(keep, static_cast<double>(running_mean[c]), a.momentum * mean));
      running_var[c] = static_cast<T>(fma(keep, static_cast<double>(running_var[c]), a.momentum * (square / (n - 1))));
    }
  } else {
    mean = static_cast<double>(running_mean[c]);
    var = static_cast<double>(running_var[c]);
  }
  statistics[c] = mean;
  statistics[a.C + c] = 1 / sqrt(var + a.epsilon);
}

// op: y[n,c] = act((x[n,c] - mean[c]) * inverse[c] * weight[c] + bias[c] + residual[n,c])
// layout: x, residual (or null), y (N,C); weight, bias (C); statistics (2,C)
// launch: grid (ceil(C/width), tiles), block 256; a thread keeps its channel's coefficients
// order: every element by itself, in double, rounded once
// limits: any N, C
// cost: 2 or 3 double flops for 8 or 12 bytes: bound by memory
template <class T>
CUTTLE_KERNEL batch_norm_apply_kernel(seam::BatchNormArgs<T> a, int width) {
  const Global<const T> x = a.x, residual = a.residual, weight = a.weight, bias = a.bias;
  const Global<const double> statistics = a.statistics;
  const Global<T> y = a.y;
  const int t = static_cast<int>(threadIdx.x), lanes = norm_threads / width;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * width + t % width, tile = blockIdx.y;
  if (c >= a.C) return;
  const double mean = statistics[c], scale = statistics[a.C + c] * static_cast<double>(weight[c]),
               offset = static_cast<double>(bias[c]);
  const std::int64_t end = a.N * (tile + 1) / a.tiles;
  for (std::int64_t n = a.N * tile / a.tiles + t / width; n < end; n += lanes) {
    const std::int64_t i = n * a.C + c;
    double z = fma(static_cast<double>(x[i]) - mean, scale, offset);
    if (a.residual != nullptr) z += static_cast<double>(residual[i]);
    y[i] = static_cast<T>(activated(z, a.activation, a.slope));
  }
}

template <class T>
void launch_batch_norm(const seam::BatchNormArgs<T>& a, seam::Stream stream) {
  const int width = norm_width(a.C);
  const dim3 tiled(norm_columns(a.C), static_cast<unsigned>(a.tiles)), block(norm_threads);
  if (a.training) launch("batch_norm", &batch_norm_moments_kernel<T>, tiled, block, 0, stream, a, width);
  launch("batch_norm", &batch_norm_statistics_kernel<T>, dim3(norm_columns(a.C)), block, 0, stream, a, width);
  launch("batch_norm", &batch_norm_apply_kernel<T>, tiled, block, 0, stream, a, width);
}

// op: with dz = dy * act'(y): partial[tile,0,c] = sum_n dz[n,c], partial[tile,1,c] = sum_n dz[n,c] * (x[n,c] - mean[c])
// layout: x, y, dy (N,C), statistics (2,C), partial (tiles,2,C); y is not read without an activation
// launch, order, limits: as batch_norm_moments_kernel
// cost: 3 double flops for 8 or 12 bytes: bound by memory
template <class T>
CUTTLE_KERNEL batch_norm_gradient_sums_kernel(seam::BatchNormBackwardArgs<T> a, int width) {
  CUTTLE_SHARED(double, shared, norm_threads);
  const bool plain = a.activation == seam::Activation::none;
  const Global<const T> x = a.x, dy = a.dy, y = plain ? a.dy : a.y;
  const Global<const double> statistics = a.statistics;
  const Global<double> partial = a.partial;
  const int t = static_cast<int>(threadIdx.x), lanes = norm_threads / width;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * width + t % width, tile = blockIdx.y;
  const std::int64_t end = a.N * (tile + 1) / a.tiles;
  double sum = 0, cross = 0;
  if (c < a.C) {
    const double mean = statistics[c];
    for (std::int64_t n = a.N * tile / a.tiles + t / width; n < end; n += lanes) {
      const std::int64_t i = n * a.C + c;
      const double g = static_cast<double>(dy[i]);
      const double dz = plain ? g : activation_gradient(g, static_cast<double>(y[i]), a.activation, a.slope);
      sum += dz;
      cross = fma(dz, static_cast<double>(x[i]) - mean, cross);
    }
  }
  sum = column_sum<norm_threads>(sum, shared, width);
  cross = column_sum<norm_threads>(cross, shared, width);
  if (t < width && c < a.C) {
    partial[tile * 2 * a.C + c] = sum;
    partial[(tile * 2 + 1) * a.C + c] = cross;
  }
}

// op: sums[0,c] and sums[1,c] = the tiles' sums; dbias[c] += sums[0,c], dweight[c] += inverse[c] * sums[1,c]
// layout: partial (tiles,2,C), sums (2,C), dweight and dbias (C) or null
// launch, order: as batch_norm_statistics_kernel
// limits: any C
// cost: 2 tiles C doubles read
template <class T>
CUTTLE_KERNEL batch_norm_parameters_kernel(seam::BatchNormBackwardArgs<T> a, int width) {
  CUTTLE_SHARED(double, shared, norm_threads);
  const Global<const double> partial = a.partial, statistics = a.statistics;
  const Global<double> sums = a.sums;
  const Global<T> dweight = a.dweight, dbias = a.dbias;
  const int t = static_cast<int>(threadIdx.x), lanes = norm_threads / width;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * width + t % width;
  double sum = 0, cross = 0;
  if (c < a.C)
    for (std::int64_t tile = t / width; tile < a.tiles; tile += lanes) {
      sum += partial[tile * 2 * a.C + c];
      cross += partial[(tile * 2 + 1) * a.C + c];
    }
  sum = column_sum<norm_threads>(sum, shared, width);
  cross = column_sum<norm_threads>(cross, shared, width);
  if (t >= width || c >= a.C) return;
  sums[c] = sum;
  sums[a.C + c] = cross;
  if (a.dbias != nullptr) dbias[c] += static_cast<T>(sum);
  if (a.dweight != nullptr) dweight[c] += static_cast<T>(statistics[a.C + c] * cross);
}

// op: dresidual = dz; dx = weight inverse (dz - [training] (mean_n dz + xhat mean_n(dz xhat))), xhat = (x - mean)
// inverse layout: x, y, dy, dx, dresidual (N,C), the last two or null; weight (C); statistics, sums (2,C) launch,
// order, limits: as batch_norm_apply_kernel cost: 3 to 5 double flops for 12 to 20 bytes: bound by memory
template <class T>
CUTTLE_KERNEL batch_norm_gradient_kernel(seam::BatchNormBackwardArgs<T> a, int width) {
  const bool plain = a.activation == seam::Activation::none;
  const Global<const T> x = a.x, dy = a.dy, y = plain ? a.dy : a.y, weight = a.weight;
  const Global<const double> statistics = a.statistics, sums = a.sums;
  const Global<T> dx = a.dx, dresidual = a.dresidual;
  const int t = static_cast<int>(threadIdx.x), lanes = norm_threads / width;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * width + t % width, tile = blockIdx.y;
  if (c >= a.C) return;
  const double mean = statistics[c], inverse = statistics[a.C + c];
  const double scale = inverse * static_cast<double>(weight[c]);
  const double share = a.training ? scale / static_cast<double>(a.N) : 0;
  const double shift = -share * sums[c], tilt = -share * inverse * (inverse * sums[a.C + c]);
  const std::int64_t end = a.N * (tile + 1) / a.tiles;
  for (std::int64_t n = a.N * tile / a.tiles + t / width; n < end; n += lanes) {
    const std::int64_t i = n * a.C + c;
    const double g = static_cast<double>(dy[i]);
    const double dz = plain ? g : activation_gradient(g, static_cast<double>(y[i]), a.activation, a.slope);
    if (a.dresidual != nullptr) dresidual[i] = static_cast<T>(dz);
    if (a.dx != nullptr) dx[i] = static_cast<T>(fma(dz, scale, fma(static_cast<double>(x[i]) - mean, tilt, shift)));
  }
}

template <class T>
void launch_batch_norm_backward(const seam::BatchNormBackwardArgs<T>& a, seam::Stream stream) {
  const int width = norm_width(a.C);
  const dim3 tiled(norm_columns(a.C), static_cast<unsigned>(a.tiles)), block(norm_threads);
  launch("batch_norm_backward", &batch_norm_gradient_sums_kernel<T>, tiled, block, 0, stream, a, width);
  launch("batch_norm_backward", &batch_norm_parameters_kernel<T>, dim3(norm_columns(a.C)), block, 0, stream, a, width);
  if (a.dx != nullptr || a.dresidual != nullptr)
    launch("batch_norm_backward", &batch_norm_gradient_kernel<T>, tiled, block, 0, stream, a, width);
}

// op: y[n,d] = act((x[n,d] - mean[n]) * inverse[n] * weight[d] + bias[d] + residual[n,d])
// layout: x, residual (or null), y (N,D); weight, bias (D); statistics (N,2), written
// launch: a block of 256 for each row, rows in grid strides; static shared 2 KB
// order: a thread adds its columns in ascending order, then the tree of column_sum; mean first, then squares about it
// limits: any N, D >= 1
// cost: 8 double flops an element; a row is read three times, twice of them from cache: bound by memory
template <class T>
CUTTLE_KERNEL layer_norm_kernel(seam::LayerNormArgs<T> a) {
  CUTTLE_SHARED(double, shared, norm_threads);
  const Global<const T> x = a.x, residual = a.residual, weight = a.weight, bias = a.bias;
  const Global<T> y = a.y;
  const Global<double> statistics = a.statistics;
  const double over_d = 1 / static_cast<double>(a.D);
  for (std::int64_t row = blockIdx.x; row < a.N; row += gridDim.x) {
    const std::int64_t first = row * a.D;
    double sum = 0, square = 0;
    for (std::int64_t d = threadIdx.x; d < a.D; d += norm_threads) sum += static_cast<double>(x[first + d]);
    const double mean = column_sum<norm_threads>(sum, shared) * over_d;
    for (std::int64_t d = threadIdx.x; d < a.D; d += norm_threads) {
      const double difference = static_cast<double>(x[first + d]) - mean;
      square = fma(difference, difference, square);
    }
    const double inverse = 1 / sqrt(fma(column_sum<norm_threads>(square, shared), over_d, a.epsilon));
    if (threadIdx.x == 0) {
      statistics[2 * row] = mean;
      statistics[2 * row + 1] = inverse;
    }
    for (std::int64_t d = threadIdx.x; d < a.D; d += norm_threads) {
      double z = fma((static_cast<double>(x[first + d]) - mean) * inverse, static_cast<double>(weight[d]),
                     static_cast<double>(bias[d]));
      if (a.residual != nullptr) z += static_cast<double>(residual[first + d]);
      y[first + d] = static_cast<T>(activated(z, a.activation, a.slope));
    }
  }
}

template <class T>
void launch_layer_norm(const seam::LayerNormArgs<T>& a, seam::Stream stream) {
  launch("layer_norm", &layer_norm_kernel<T>, dim3(blocks_for(a.N, 1)), dim3(norm_threads), 0, stream, a);
}

// op: dresidual = dz = dy act'(y); dx = inverse (g - mean_d g - xhat mean_d(g xhat)), g = dz weight
// layout: x, y, dy, dx, dresidual (N,D), the last two or null; weight (D); statistics (N,2); without an activation y is
//     not read
// launch, order, limits: as layer_norm_kernel
// cost: 12 double flops an element; a row is read twice, the second time from cache: bound by memory
template <class T>
CUTTLE_KERNEL layer_norm_gradient_kernel(seam::LayerNormBackwardArgs<T> a) {
  CUTTLE_SHARED(double, shared, norm_threads);
  const Global<const T> x = a.x, dy = a.dy, weight = a.weight, y = a.activation == seam::Activation::none ? a.dy : a.y;
  const Global<const double> statistics = a.statistics;
  const Global<T> dx = a.dx, dresidual = a.dresidual;
  for (std::int64_t row = blockIdx.x; row < a.N; row += gridDim.x) {
    const std::int64_t first = row * a.D;
    const double mean = statistics[2 * row], inverse = statistics[2 * row + 1];
    double sum = 0, cross = 0;
    for (std::int64_t i = first + threadIdx.x; i < first + a.D; i += norm_threads) {
      const double dz =
          activation_gradient(static_cast<double>(dy[i]), static_cast<double>(y[i]), a.activation, a.slope);
      if (a.dresidual != nullptr) dresidual[i] = static_cast<T>(dz);
      const double g = dz * static_cast<double>(weight[i - first]);
      sum += g;
      cross = fma(g, (static_cast<double>(x[i]) - mean) * inverse, cross);
    }
    if (a.dx == nullptr) continue;
    const double mean_g = column_sum<norm_threads>(sum, shared) / static_cast<double>(a.D);
    const double mean_cross = column_sum<norm_threads>(cross, shared) / static_cast<double>(a.D);
    for (std::int64_t i = first + threadIdx.x; i < first + a.D; i += norm_threads) {
      const double g =
          activation_gradient(static_cast<double>(dy[i]), static_cast<double>(y[i]), a.activation, a.slope) *
          static_cast<double>(weight[i - first]);
      const double xhat = (static_cast<double>(x[i]) - mean) * inverse;
      dx[i] = static_cast<T>(inverse * fma(-xhat, mean_cross, g - mean_g));
    }
  }
}

// op: dbias[d] += sum_n dz[n,d], dweight[d] += sum_n dz[n,d] * xhat[n,d]
// layout: x, y, dy (N,D), statistics (N,2), dweight and dbias (D) or null
// launch: grid ceil(D/width), block 256, static shared 2 KB
// order: as batch_norm_moments_kernel, over all N rows
// limits: meant for N up to some thousands
// cost: 5 double flops an element: bound by memory
template <class T>
CUTTLE_KERNEL layer_norm_parameters_kernel(seam::LayerNormBackwardArgs<T> a, int width) {
  CUTTLE_SHARED(double, shared, norm_threads);
  const Global<const T> x = a.x, dy = a.dy, y = a.activation == seam::Activation::none ? a.dy : a.y;
  const Global<const double> statistics = a.statistics;
  const Global<T> dweight = a.dweight, dbias = a.dbias;
  const int t = static_cast<int>(threadIdx.x), lanes = norm_threads / width;
  const std::int64_t d = static_cast<std::int64_t>(blockIdx.x) * width + t % width;
  double sum = 0, cross = 0;
  if (d < a.D)
    for (std::int64_t n = t / width; n < a.N; n += lanes) {
      const std::int64_t i = n * a.D + d;
      const double dz =
          activation_gradient(static_cast<double>(dy[i]), static_cast<double>(y[i]), a.activation, a.slope);
      sum += dz;
      cross = fma(dz, (static_cast<double>(x[i]) - statistics[2 * n]) * statistics[2 * n + 1], cross);
    }
  sum = column_sum<norm_threads>(sum, shared, width);
  cross = column_sum<norm_threads>(cross, shared, width);
  if (t >= width || d >= a.D) return;
  if (a.dbias != nullptr) dbias[d] += static_cast<T>(sum);
  if (a.dweight != nullptr) dweight[d] += static_cast<T>(cross);
}

template <class T>
void launch_layer_norm_backward(const seam::LayerNormBackwardArgs<T>& a, seam::Stream stream) {
  if (a.dx != nullptr || a.dresidual != nullptr)
    launch("layer_norm_backward", &layer_norm_gradient_kernel<T>, dim3(blocks_for(a.N, 1)), dim3(norm_threads), 0,
           stream, a);
  if (a.dweight != nullptr || a.dbias != nullptr)
    launch("layer_norm_backward", &layer_norm_parameters_kernel<T>, dim3(norm_columns(a.D)), dim3(norm_threads), 0,
           stream, a, norm_width(a.D));
}

}  // namespace cuttle::kernels
