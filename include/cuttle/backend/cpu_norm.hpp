// Batch and layer normalisation on the CPU; formulas in seam/args.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuttle/backend/cpu_simd.hpp"
#include "cuttle/backend/cpu_sums.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"

#define CUTTLE_KERNELS "cuttle/backend/norm.inl"
#include "cuttle/backend/foreach_isa.inl"

namespace cuttle::cpu {

namespace detail {

// Calls body(constant) with the activation as a compile-time constant; anything but relu and leaky_relu is none.
template <class Body>
void with_activation(seam::Activation activation, Body&& body) {
  using seam::Activation;
  if (activation == Activation::relu) return body(std::integral_constant<Activation, Activation::relu>());
  if (activation == Activation::leaky_relu) return body(std::integral_constant<Activation, Activation::leaky_relu>());
  body(std::integral_constant<Activation, Activation::none>());
}

// dy * act'(y)
inline double normalised_gradient(double dy, double y, seam::Activation activation, double slope) {
  if (activation == seam::Activation::none || y > 0) return dy;
  return activation == seam::Activation::relu ? 0 : dy * slope;
}

}  // namespace detail

template <class T>
void batch_norm(const seam::BatchNormArgs<T>& a) {
  const std::int64_t N = a.N, C = a.C;
  double *const mean = a.statistics, *const inverse = mean + C;
  if (a.training) {
    // Moments about the first row, which lies within the data: a constant channel has variance zero exactly.
    const T* const pivot = a.x;
    detail::for_tiles(N, a.tiles, [&](std::int64_t tile, std::int64_t first, std::int64_t rows) {
      CUTTLE_ISA_CALL(norm::moments, rows, C, a.x + first * C, pivot, a.partial + tile * 2 * C);
    });
    const double over_n = 1 / static_cast<double>(N);
    for (std::int64_t c = 0; c < C; ++c) {
      const double sum = detail::over_tiles(a.partial, a.tiles, 2 * C, c);
      const double squares = detail::over_tiles(a.partial, a.tiles, 2 * C, C + c) - sum * (sum * over_n);
      mean[c] = static_cast<double>(pivot[c]) + sum * over_n;
      inverse[c] = 1 / std::sqrt(squares * over_n + a.epsilon);
      if (!a.running_mean) continue;
      const auto move = [&](T& running, double to) {
        running = static_cast<T>((1 - a.momentum) * static_cast<double>(running) + a.momentum * to);
      };
      move(a.running_mean[c], mean[c]);
      move(a.running_var[c], squares / static_cast<double>(N - 1));
    }
  } else {
    for (std::int64_t c = 0; c < C; ++c) {
      mean[c] = static_cast<double>(a.running_mean[c]);
      inverse[c] = 1 / std::sqrt(static_cast<double>(a.running_var[c]) + a.epsilon);
    }
  }
  auto scale = Tensor<double>::empty({C});
  for (std::int64_t c = 0; c < C; ++c) scale.data()[c] = inverse[c] * static_cast<double>(a.weight[c]);
  detail::with_activation(a.activation, [&](auto activation) {
    detail::for_tiles(N, a.tiles, [&](std::int64_t, std::int64_t first, std::int64_t rows) {
      const std::int64_t at = first * C;
      CUTTLE_ISA_CALL(norm::normalise<decltype(activation)::value>, rows, C, a.x + at, mean, scale.data(), a.bias,
                      a.residual ? a.residual + at : nullptr, a.slope, a.y + at);
    });
  });
}

template <class T>
void batch_norm_backward(const seam::BatchNormBackwardArgs<T>& a) {
  const std::int64_t N = a.N, C = a.C;
  const double *const mean = a.statistics, *const inverse = mean + C;
  const T* const y = a.activation == seam::Activation::none ? a.dy : a.y;
  detail::with_activation(a.activation, [&](auto activation) {
    detail::for_tiles(N, a.tiles, [&](std::int64_t tile, std::int64_t first, std::int64_t rows) {
      const std::int64_t at = first * C;
      CUTTLE_ISA_CALL(norm::gradient_sums<decltype(activation)::value>, rows, C, a.x + at, y + at, a.dy + at, mean,
                      a.slope, a.partial + tile * 2 * C);
    });
  });
  auto coefficients = Tensor<double>::empty({3, C});
  double *const scale = coefficients.data(), *const tilt = scale + C, *const shift = tilt + C;
  for (std::int64_t c = 0; c < C; ++c) {
    const double sum = detail::over_tiles(a.partial, a.tiles, 2 * C, c);
    const double cross = detail::over_tiles(a.partial, a.tiles, 2 * C, C + c);
    if (a.dbias) a.dbias[c] += static_cast<T>(sum);
    if (a.dweight) a.dweight[c] += static_cast<T>(inverse[c] * cross);
    scale[c] = inverse[c] * static_cast<double>(a.weight[c]);
    const double share = a.training ? scale[c] / static_cast<double>(N) : 0;
    shift[c] = -share * sum;
    tilt[c] = -share * inverse[c] * (inverse[c] * cross);
  }
  if (!a.dx && !a.dresidual) return;
  detail::with_activation(a.activation, [&](auto activation) {
    detail::for_tiles(N, a.tiles, [&](std::int64_t, std::int64_t first, std::int64_t rows) {
      const std::int64_t at = first * C;
      CUTTLE_ISA_CALL(norm::gradient<decltype(activation)::value>, rows, C, a.x + at, y + at, a.dy + at, mean, scale,
                      tilt, shift, a.slope, a.dx ? a.dx + at : nullptr, a.dresidual ? a.dresidual + at : nullptr);
    });
  });
}

template <class T>
void layer_norm(const seam::LayerNormArgs<T>& a) {
  const std::int64_t D = a.D;
  const double over_d = 1 / static_cast<double>(D);
  detail::with_activation(a.activation, [&](auto activation) {
    parallel_for(a.N, [&](std::int64_t row) {
      const T* const x = a.x + row * D;
      const T* const residual = a.residual ? a.residual + row * D : nullptr;
      const auto value = [x](std::int64_t d) { return static_cast<double>(x[d]); };
      const double mean = detail::sum_of(D, value) * over_d;
      const double squares = detail::sum_of(D, [&](std::int64_t d) { return (value(d) - mean) * (value(d) - mean); });
      const double inverse = 1 / std::sqrt(squares * over_d + a.epsilon);
      a.statistics[2 * row] = mean;
      a.statistics[2 * row + 1] = inverse;
      for (std::int64_t d = 0; d < D; ++d) {
        double z = (value(d) - mean) * inverse * static_cast<double>(a.weight[d]) + static_cast<double>(a.bias[d]);
        if (residual) z += static_cast<double>(residual[d]);
        if (activation() != seam::Activation::none && z < 0)
          z = activation() == seam::Activation::relu ? 0 : z * a.slope;
        a.y[row * D + d] = static_cast<T>(z);
      }
    });
  });
}

template <class T>
void layer_norm_backward(const seam::LayerNormBackwardArgs<T>& a) {
  const std::int64_t D = a.D;
  const T* const y = a.activation == seam::Activation::none ? a.dy : a.y;
  const auto dz = [&](std::int64_t i) {
    return detail::normalised_gradient(static_cast<double>(a.dy[i]), static_cast<double>(y[i]), a.activation, a.slope);
  };
  const auto xhat = [&](std::int64_t row, std::int64_t i) {
    return (static_cast<double>(a.x[i]) - a.statistics[2 * row]) * a.statistics[2 * row + 1];
  };
  if (a.dx || a.dresidual)
    parallel_for(a.N, [&](std::int64_t row) {
      const std::int64_t first = row * D;
      if (a.dresidual)
        for (std::int64_t i = first; i < first + D; ++i) a.dresidual[i] = static_cast<T>(dz(i));
      if (!a.dx) return;
      const auto g = [&](std::int64_t d) { return dz(first + d) * static_cast<double>(a.weight[d]); };
      const double mean = detail::sum_of(D, g) / static_cast<double>(D);
      const double cross =
          detail::sum_of(D, [&](std::int64_t d) { return g(d) * xhat(row, first + d); }) / static_cast<double>(D);
      for (std::int64_t d = 0; d < D; ++d)
        a.dx[first + d] = static_cast<T>(a.statistics[2 * row + 1] * (g(d) - mean - xhat(row, first + d) * cross));
    });
  if (!a.dweight && !a.dbias) return;
  constexpr std::int64_t columns = 32;
  parallel_for((D + columns - 1) / columns, [&](std::int64_t tile) {
    const std::int64_t first = tile * columns, n = std::min(columns, D - first);
    double sum[columns] = {}, cross[columns] = {};
    for (std::int64_t row = 0; row < a.N; ++row)
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t i = row * D + first + k;
        sum[k] += dz(i);
        cross[k] += dz(i) * xhat(row, i);
      }
    for (std::int64_t k = 0; k < n; ++k) {
      if (a.dbias) a.dbias[first + k] += static_cast<T>(sum[k]);
      if (a.dweight) a.dweight[first + k] += static_cast<T>(cross[k]);
    }
  });
}

}  // namespace cuttle::cpu
