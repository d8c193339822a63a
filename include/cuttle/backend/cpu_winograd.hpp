// 3x3 convolution of stride 1 on the CPU by Winograd's minimal filtering, Math::winograd (float32).
//
// F(m,3), m outputs from m+2 inputs in m+2 products (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks,
// CVPR 2016; in two dimensions it is nested):
//   y = A^T [(G g) o (B^T d)],
// o the elementwise product: G evaluates the filter, as a polynomial, at the points below, B^T interpolates (it is the
// transposed inverse of the Vandermonde matrix of the points), A evaluates.
//
// An output row is cut into the fewest tiles of at most four outputs, as equal as can be (13 = 4+3+3+3, 11 = 4+4+3,
// 9 = 3+3+3, 5 = 3+2), so no product is wasted on a border. Tiles of all sizes share one set of transformed weights:
// F(2,3) uses the first four points, F(3,3) five, F(4,3) all six, and what depends on the size of the tile stands in B
// alone.
//
// Backward, with dm = A dz A^T per tile: dweight = G^T [sum over tiles of v o dm] G where v = B^T d B, and dx is the
// adjoint of the forward transform, B [(G g G^T) o dm] B^T added into the windows, which overlap.
//
// The rounding error is that of the direct sum several times over (a relative rms of 1e-6 against 4e-7 at C = 128), and
// a NaN or Inf reaches every output of its tiles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cuttle/backend/cpu_simd.hpp"
#include "cuttle/core/error.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

namespace winograd {

using std::int64_t;

inline constexpr int max_points = 6;  // of F(4,3)
inline constexpr int infinity = 3;    // the place among the points of the one at infinity

// The points in the order in which larger tiles take them up. {2, -1/2} rather than {2, -2}: two thirds of the error.
inline constexpr double points[max_points] = {0, 1, -1, 0 /* infinity */, 2, -0.5};

constexpr double power(double base, int exponent) {
  double value = 1;
  for (int i = 0; i < exponent; ++i) value *= base;
  return value;
}

// prod over the finite points q != p among the first `count` of (p - q)
constexpr double vandermonde(int p, int count) {
  double product = 1;
  for (int q = 0; q < count; ++q)
    if (q != p && q != infinity) product *= points[p] - points[q];
  return product;
}

// G (6 x 3): the filter at each point, with the scale of F(4,3).
constexpr double filter_coefficient(int p, int k) {
  return p == infinity ? (k == 2) : power(points[p], k) / vandermonde(p, max_points);
}

// A^T (m x m+2)
template <int m>
struct OutputTransform {
  static constexpr int rows = m, columns = m + 2;
  static constexpr float at(int j, int p) {
    return static_cast<float>(p == infinity ? (j == m - 1) : power(points[p], j));
  }
};

// B^T (m+2 x m+2): row p holds the coefficients of prod over finite q != p of (x - q), scaled against G.
template <int m>
struct InputTransform {
  static constexpr int rows = m + 2, columns = m + 2;
  static constexpr float at(int p, int k) {
    double polynomial[max_points + 1] = {1};
    for (int q = 0; q < m + 2; ++q) {
      if (q == p || q == infinity) continue;
      for (int i = max_points; i >= 0; --i) polynomial[i] = (i > 0 ? polynomial[i - 1] : 0) - points[q] * polynomial[i];
    }
    const double scale = p == infinity ? 1 : vandermonde(p, max_points) / vandermonde(p, m + 2);
    return static_cast<float>(scale * polynomial[k]);
  }
};

template <template <int> class Transform>
struct Adjoint {
  template <int m>
  struct Of {
    static constexpr int rows = Transform<m>::columns, columns = Transform<m>::rows;
    static constexpr float at(int i, int j) { return Transform<m>::at(j, i); }
  };
};

// n outputs of a row or column cut into tiles, the larger ones first.
struct Tiling {
  int64_t tiles, smaller, larger;  // `larger` tiles have smaller + 1 outputs

  explicit Tiling(int64_t n) : tiles((n + 3) / 4), smaller(n / tiles), larger(n % tiles) {}
  int size(int64_t tile) const { return static_cast<int>(smaller + (tile < larger)); }
  int64_t start(int64_t tile) const { return tile * smaller + std::min(tile, larger); }
  int points() const { return size(0) + 2; }
  // How many of the first `count` tiles use point p.
  int64_t using_point(int p, int64_t count) const { return p < smaller + 2 ? count : std::min(count, larger); }
};

// Sums over tiles for the weight gradient are taken in at most this many groups of images.
inline constexpr int64_t max_groups = 16;
// Transformed inputs and outputs that one chunk of tiles may fill.
inline constexpr int64_t chunk_bytes = int64_t{1} << 20;

// Whether the shape is one that the kernels can compute.
inline bool computable(const seam::Conv2dShape& s) {
  return s.R == 3 && s.S == 3 && s.stride == 1 && s.dilation == 1 && (s.padding == 0 || s.padding == 1) &&
         s.C % 32 == 0 && s.O % 32 == 0 && s.C > 0 && s.O > 0 && s.B > 0 && s.OH >= 2 && s.OW >= 2 &&
         s.activation != seam::Activation::tanh;
}

}  // namespace winograd

}  // namespace cuttle::cpu

#define CUTTLE_KERNELS "cuttle/backend/conv2d_winograd.inl"
#include "cuttle/backend/foreach_isa.inl"

namespace cuttle::cpu {

// Whether winograd_conv2d can compute the shape and gains by it: 3x3, stride 1, no dilation, padding 0 or 1, C and O
// multiples of 32, outputs of 2x2 or more, no tanh; and enough outputs to pay for transforming the weights, of which
// the backward pass holds a copy for each group of images, so C and O of at most 256.
inline bool winograd_supported(const seam::Conv2dShape& s) {
  return winograd::computable(s) && s.B * s.OH * s.OW >= 512 && s.C <= 256 && s.O <= 256;
}

// y = act(x * weight + bias); layouts as in seam::Conv2dArgs. Needs the shape that winograd_supported describes, of any
// number of outputs.
template <class T = float>
void winograd_conv2d(const seam::Conv2dArgs<T>& args) {
  require(winograd::computable(args.shape), "winograd_conv2d: a shape or activation that it does not compute");
  CUTTLE_ISA_CALL(winograd::forward, args);
}

// The gradients of the above: dx written, dweight and dbias added to, each left out where its pointer is null. The bits
// depend on the shape alone, not on the number of threads.
template <class T = float>
void winograd_conv2d_backward(const seam::Conv2dBackwardArgs<T>& args) {
  require(winograd::computable(args.shape), "winograd_conv2d_backward: a shape or activation that it does not compute");
  CUTTLE_ISA_CALL(winograd::backward, args);
}

}  // namespace cuttle::cpu
