// One plain struct of pointers and sizes for each op: what the wrapper in ops/ hands to the kernel of a device, after it
// has checked everything. C++17, no other header of the library. Pointers never alias unless a comment says so.
#pragma once

#include <cstdint>

namespace cuttle::seam {

// What follows a linear op inside its own kernel; leaky_relu uses a slope.
enum class Activation : std::int32_t { none, relu, leaky_relu, tanh };

// How float32 products are computed: fp32 everywhere by default; winograd is a faster CPU convolution with a larger
// rounding error; tf32 and bf16 are the tensor cores' modes.
enum class Math : std::int32_t { fp32, winograd, tf32, bf16 };

// y[b,oh,ow,o] = act(bias[o] + sum_{r,s,c} x[b, oh*stride+r-padding, ow*stride+s-padding, c] * weight[o,r,s,c])
struct Conv2dShape {
  std::int64_t B, H, W, C;   // x (B,H,W,C)
  std::int64_t O, R, S;      // weight (O,R,S,C): R rows, S columns
  std::int64_t OH, OW;       // y (B,OH,OW,O)
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

}  // namespace cuttle::seam
