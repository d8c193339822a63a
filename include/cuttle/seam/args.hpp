// One plain struct of pointers and sizes for each op: what the wrapper in ops/ hands to the kernel of a device, after
// it has checked everything. C++17, on the seam alone. Pointers never alias unless a comment says so.
#pragma once

#include <cstdint>

#include "cuttle/seam/patch_pair.hpp"

namespace cuttle::seam {

// What follows a linear op inside its own kernel; leaky_relu uses a slope.
enum class Activation : std::int32_t { none, relu, leaky_relu, tanh };

// How float32 products are computed: fp32 everywhere by default; winograd is a faster CPU convolution with a larger
// rounding error; tf32 and bf16 are the tensor cores' modes.
enum class Math : std::int32_t { fp32, winograd, tf32, bf16 };

// y[b,oh,ow,o] = act(bias[o] + sum_{r,s,c} x[b, oh*stride+r-padding, ow*stride+s-padding, c] * weight[o,r,s,c])
struct Conv2dShape {
  std::int64_t B, H, W, C;  // x (B,H,W,C)
  std::int64_t O, R, S;     // weight (O,R,S,C): R rows, S columns
  std::int64_t OH, OW;      // y (B,OH,OW,O)
  std::int64_t stride, padding, dilation;
  Activation activation;
  double slope;
  Math math;
};

template <class T>
struct Conv2dArgs {
  Conv2dShape shape;
  const T* x;
  const T* weight;
  const T* bias;  // (O), or null for none
  T* y;
};

// Gradients of the above: dz = dy * act'(y), where act' is taken from y.
// dx = d(loss)/dx is written; dweight and dbias are added to. A null pointer leaves that gradient out.
template <class T>
struct Conv2dBackwardArgs {
  Conv2dShape shape;
  const T* x;
  const T* weight;
  const T* y;
  const T* dy;
  T* dx;
  T* dweight;
  T* dbias;
};

// One step of Adam over n parameters: value, m and v are updated in place.
template <class T>
struct AdamArgs {
  std::int64_t n;
  T* value;
  const T* grad;
  T* m;
  T* v;
  std::int64_t step;  // of this update, from 1
  double learning_rate, beta1, beta2, epsilon, weight_decay;
};

// distance[q][j], index[q][j] = the j-th nearest bank row of query q by (squared distance, row index), where the
// squared distance is sum_i fma((double)x_i - (double)y_i, same, acc) in index order. NaN or infinity in a query: NaN
// and -1.
template <class T>
struct NearestPatchArgs {
  std::int64_t Q, N, D, k;
  const T* queries;     // (Q,D)
  const T* bank;        // (N,D), finite
  T* distance;          // (Q,k)
  std::int64_t* index;  // (Q,k)
};

// Pairs of patches for one task of a Patch SVDD step, cut into square tiles (seam/patch_pair.hpp names the numbers):
//   x = (pixel - mean) / 255                                                                       svdd
//   x = (pixel - mean) / 255 + colour_sigma * normal[channel] + noise_sigma * normal[value]        position
template <class T>
struct PatchPairsArgs {
  PatchTask task;
  std::int64_t images, H, W, C;
  std::int64_t B, first_slot;  // pairs first_slot .. first_slot + B - 1 of the step
  std::int64_t patch_size, tile_size;
  float colour_sigma, noise_sigma;
  std::uint64_t seed;
  std::int64_t step;
  const std::uint8_t* image;  // (images,H,W,C)
  const float* mean;          // (H,W,C)
  T* x[2];                    // first and second patches: (B * (patch_size / tile_size)^2, tile_size, tile_size, C)
  std::int32_t* label;        // (B), position only
};

// patches[b*rows*cols + r*cols + c, i, j, :] = x[b, r*stride + i, c*stride + j, :]; joining goes from patches to x.
template <class T>
struct WindowsArgs {
  std::int64_t B, H, W, C;
  std::int64_t window, stride, rows, cols;
  const T* from;
  T* to;
};

// maps[b,y,x] = mean of scores[b,i,j] over all patches (i, j), with corner (i*stride, j*stride), that cover (y, x).
template <class T>
struct DistributeScoresArgs {
  std::int64_t B, I, J;  // scores (B,I,J)
  std::int64_t H, W;     // maps (B,H,W)
  std::int64_t patch_size, stride;
  const T* scores;
  T* maps;
};

}  // namespace cuttle::seam
