// The convolution that a GPU takes from a library, as plain loops from the formula in seam/args.hpp: for each tap and
// each row of pixels a small matrix product, of pixels and channels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cuttle/seam/args.hpp"
#include "tests/simt/memory.hpp"

namespace cuttle_simt {

using cuttle::seam::Activation;
using cuttle::seam::Conv2dShape;

// A matrix by the distances of its rows and columns.
template <class T>
struct Matrix {
  T* first;
  std::int64_t row, column;
  T& at(std::int64_t i, std::int64_t j) const { return first[i * row + j * column]; }
};

// c += a b, where the columns of b and c are neighbours; c is (M,N), k ascending.
template <class T>
[[gnu::always_inline]] inline void add_product_inline(std::int64_t M, std::int64_t N, std::int64_t K, Matrix<const T> a,
                                                      Matrix<const T> b, Matrix<T> c) {
  typedef T Vector __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));
  constexpr std::int64_t rows = 4, lanes = 32 / sizeof(T), columns = 2 * lanes;
  const std::int64_t M_tiles = M / rows * rows, N_tiles = N / columns * columns;
  for (std::int64_t m = 0; m < M_tiles; m += rows)
    for (std::int64_t n = 0; n < N_tiles; n += columns) {
      Vector sum[rows][2];
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) sum[i][v] = reinterpret_cast<const Vector&>(c.at(m + i, n + v * lanes));
      for (std::int64_t k = 0; k < K; ++k) {
        const Vector b0 = reinterpret_cast<const Vector&>(b.at(k, n));
        const Vector b1 = reinterpret_cast<const Vector&>(b.at(k, n + lanes));
#pragma GCC unroll 4
        for (int i = 0; i < rows; ++i) {
          const T factor = a.at(m + i, k);
          sum[i][0] += factor * b0;
          sum[i][1] += factor * b1;
        }
      }
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) reinterpret_cast<Vector&>(c.at(m + i, n + v * lanes)) = sum[i][v];
    }
  for (std::int64_t m = 0; m < M; ++m)
    for (std::int64_t k = 0; k < K; ++k) {
      const T factor = a.at(m, k);
      for (std::int64_t n = m < M_tiles ? N_tiles : 0; n < N; ++n) c.at(m, n) += factor * b.at(k, n);
    }
}

#if defined(__x86_64__)
template <class T>
__attribute__((target("avx2"))) inline void add_product_avx2(std::int64_t M, std::int64_t N, std::int64_t K,
                                                             Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  add_product_inline(M, N, K, a, b, c);
}
#endif
template <class T>
inline void add_product(std::int64_t M, std::int64_t N, std::int64_t K, Matrix<const T> a, Matrix<const T> b,
                        Matrix<T> c) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return add_product_avx2(M, N, K, a, b, c);
#endif
  add_product_inline(M, N, K, a, b, c);
}

// Calls body(tap, first pixel of y, first pixel of x, pixels) for each run of pixels of a row of y whose tap reads a
// pixel of x; one pixel on in y is `stride` pixels on in x.
template <class Body>
void for_each_run(const Conv2dShape& shape, Body&& body) {
  for (std::int64_t r = 0; r < shape.R; ++r)
    for (std::int64_t s = 0; s < shape.S; ++s) {
      const std::int64_t below = r * shape.dilation - shape.padding, right = s * shape.dilation - shape.padding;
      std::int64_t first = 0, last = shape.OW;
      while (first < last && first * shape.stride + right < 0) ++first;
      while (last > first && (last - 1) * shape.stride + right >= shape.W) --last;
      if (first == last) continue;
      for (std::int64_t b = 0; b < shape.B; ++b)
        for (std::int64_t i = 0; i < shape.OH; ++i) {
          const std::int64_t h = i * shape.stride + below;
          if (h < 0 || h >= shape.H) continue;
          body(r * shape.S + s, (b * shape.OH + i) * shape.OW + first,
               (b * shape.H + h) * shape.W + first * shape.stride + right, last - first);
        }
    }
}

// Elements of the arrays.
struct Conv2dSizes {
  std::size_t x, weight, bias, y;
  explicit Conv2dSizes(const Conv2dShape& s)
      : x(static_cast<std::size_t>(s.B * s.H * s.W * s.C)),
        weight(static_cast<std::size_t>(s.O * s.R * s.S * s.C)),
        bias(static_cast<std::size_t>(s.O)),
        y(static_cast<std::size_t>(s.B * s.OH * s.OW * s.O)) {}
  // Scratch: the weights as (R,S,C,O), or dz.
  std::size_t workspace(bool backward) const { return backward ? y : weight; }
};

template <class T>
T activate(T z, Activation activation, T slope) {
  const double exact = static_cast<double>(z);
  switch (activation) {
    case Activation::relu:
      return z < 0 ? T(0) : z;
    case Activation::leaky_relu:
      return z < 0 ? slope * z : z;
    case Activation::tanh:
      return static_cast<T>(std::tanh(exact));
    case Activation::sigmoid:
      return static_cast<T>(1 / (1 + std::exp(-exact)));
    case Activation::none:
      break;
  }
  return z;
}

// The activation's derivative where its value is y.
template <class T>
T slope_at(T y, Activation activation, T slope) {
  switch (activation) {
    case Activation::relu:
      return y > 0 ? T(1) : T(0);
    case Activation::leaky_relu:
      return y > 0 ? T(1) : slope;
    case Activation::tanh:
      return 1 - y * y;
    case Activation::sigmoid:
      return y * (1 - y);
    case Activation::none:
      break;
  }
  return 1;
}

template <class T>
T* conv2d_workspace(const char* what, const Conv2dShape& shape, bool backward, void* workspace, std::size_t bytes) {
  const std::size_t needed = Conv2dSizes(shape).workspace(backward) * sizeof(T);
  if (bytes < needed) fail(what, ": a workspace of ", bytes, " bytes, where ", needed, " were asked for");
  return Memory::the().host_view(what, static_cast<T*>(workspace), needed);
}

template <class T>
const T* host_input(const char* what, const T* address, std::size_t elements) {
  return address ? Memory::the().host_view(what, address, elements * sizeof(T)) : nullptr;
}
template <class T>
T* host_output(const char* what, T* address, std::size_t elements) {
  return address ? Memory::the().host_view(what, address, elements * sizeof(T)) : nullptr;
}

template <class T>
void conv2d(const cuttle::seam::Conv2dArgs<T>& args) {
  const Conv2dShape& s = args.shape;
  const Conv2dSizes sizes(s);
  if (sizes.y == 0) return;
  const T* x = host_input("conv2d: x", args.x, sizes.x);
  const T* weight = host_input("conv2d: weight", args.weight, sizes.weight);
  const T* bias = host_input("conv2d: bias", args.bias, sizes.bias);
  T* y = host_output("conv2d: y", args.y, sizes.y);
  T* turned = conv2d_workspace<T>("conv2d: workspace", s, false, args.workspace, args.workspace_bytes);
  const std::int64_t taps = s.R * s.S;
  for (std::int64_t o = 0; o < s.O; ++o)
    for (std::int64_t i = 0; i < taps * s.C; ++i) turned[i * s.O + o] = weight[o * taps * s.C + i];
  for (std::int64_t p = 0; p < s.B * s.OH * s.OW; ++p)
    for (std::int64_t o = 0; o < s.O; ++o) y[p * s.O + o] = bias ? bias[o] : T(0);
  for_each_run(s, [&](std::int64_t tap, std::int64_t y_pixel, std::int64_t x_pixel, std::int64_t pixels) {
    add_product<T>(pixels, s.O, s.C, {x + x_pixel * s.C, s.stride * s.C, 1}, {turned + tap * s.C * s.O, s.O, 1},
                   {y + y_pixel * s.O, s.O, 1});
  });
  for (std::size_t i = 0; i < sizes.y; ++i) y[i] = activate(y[i], s.activation, static_cast<T>(s.slope));
}

template <class T>
void conv2d_backward(const cuttle::seam::Conv2dBackwardArgs<T>& args) {
  const Conv2dShape& s = args.shape;
  const Conv2dSizes sizes(s);
  T* dx = host_output("conv2d_backward: dx", args.dx, sizes.x);
  T* dweight = host_output("conv2d_backward: dweight", args.dweight, sizes.weight);
  T* dbias = host_output("conv2d_backward: dbias", args.dbias, sizes.bias);
  if (dx) std::memset(dx, 0, sizes.x * sizeof(T));
  if (sizes.y == 0) return;
  const T* x = host_input("conv2d_backward: x", args.x, sizes.x);
  const T* weight = host_input("conv2d_backward: weight", args.weight, sizes.weight);
  const T* y = host_input("conv2d_backward: y", args.y, sizes.y);
  const T* dy = host_input("conv2d_backward: dy", args.dy, sizes.y);
  T* dz = conv2d_workspace<T>("conv2d_backward: workspace", s, true, args.workspace, args.workspace_bytes);
  for (std::size_t i = 0; i < sizes.y; ++i) dz[i] = dy[i] * slope_at(y[i], s.activation, static_cast<T>(s.slope));
  if (dbias)
    for (std::int64_t p = 0; p < s.B * s.OH * s.OW; ++p)
      for (std::int64_t o = 0; o < s.O; ++o) dbias[o] += dz[p * s.O + o];
  const std::int64_t taps = s.R * s.S;
  for_each_run(s, [&](std::int64_t tap, std::int64_t y_pixel, std::int64_t x_pixel, std::int64_t pixels) {
    if (dx)
      add_product<T>(pixels, s.C, s.O, {dz + y_pixel * s.O, s.O, 1}, {weight + tap * s.C, taps * s.C, 1},
                     {dx + x_pixel * s.C, s.stride * s.C, 1});
    if (dweight)
      add_product<T>(s.O, s.C, pixels, {dz + y_pixel * s.O, 1, s.O}, {x + x_pixel * s.C, s.stride * s.C, 1},
                     {dweight + tap * s.C, taps * s.C, 1});
  });
}

}  // namespace cuttle_simt
