// conv2d by our own kernels: for shapes that cuDNN has no plan for, and to check cuDNN against. Float32 products are
// float32's whatever shape.math says.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cuttle/seam/args.hpp"
#include "kernels/activation_value.cuh"
#include "kernels/indexing.cuh"
#include "kernels/vocab.cuh"

namespace cuttle::kernels {

// --- a tile of a matrix product -------------------------------------------------------------------------------------

// sum[i][j] += sum_k a(line_a, k) * b(line_b, k), by 256 threads for rows x columns lines, 4 x 4 of them a thread.
// Slices of 16 k go through shared memory, the next one on its way in registers while one is multiplied.
constexpr int conv_threads = 256, conv_slice = 16;

// Which elements of a slice a thread brings: it strides along k where those are neighbours in memory, else along lines.
template <int lines, bool along_k>
struct ConvPart {
  static constexpr int count = lines * conv_slice / conv_threads;
  CUTTLE_DEVICE static int thread() { return static_cast<int>(threadIdx.x); }
  CUTTLE_DEVICE static int line(int i) {
    return along_k ? thread() / conv_slice + i * (conv_threads / conv_slice) : thread() % lines;
  }
  CUTTLE_DEVICE static int k(int i) {
    return along_k ? thread() % conv_slice : thread() / lines + i * (conv_threads / lines);
  }
};

template <int lines>
constexpr int conv_pitch = lines + 4;  // keeps rows 16-byte aligned and stores off each other's banks

template <class T, class Operand>
CUTTLE_DEVICE void conv_stage(Shared<T> slice, const T (&part)[Operand::Part::count]) {
#pragma unroll
  for (int i = 0; i < Operand::Part::count; ++i)
    slice[Operand::Part::k(i) * conv_pitch<Operand::lines> + Operand::Part::line(i)] = part[i];
}

// Four neighbours from shared memory.
template <class T>
CUTTLE_DEVICE void conv_read4(Shared<T> from, T (&to)[4]) {
  constexpr int width = static_cast<int>(16 / sizeof(T));
#pragma unroll
  for (int i = 0; i < 4; i += width) {
    const Pack<T, width> pack = load_pack<width>(from + i);
#pragma unroll
    for (int j = 0; j < width; ++j) to[i + j] = pack.at[j];
  }
}

template <class T, class A, class B>
CUTTLE_DEVICE void conv_multiply(const A& a, const B& b, int first, int last, Shared<T> a_slice, Shared<T> b_slice,
                                 T (&sum)[4][4]) {
  constexpr int wide = B::lines / 4;
  const int thread = static_cast<int>(threadIdx.x), row = thread / wide * 4, column = thread % wide * 4;
  T a_part[A::Part::count], b_part[B::Part::count];
  if (first < last) {
    a.load(first, last, a_part);
    b.load(first, last, b_part);
  }
  for (int k = first; k < last; k += conv_slice) {
    conv_stage<T, A>(a_slice, a_part);
    conv_stage<T, B>(b_slice, b_part);
    __syncthreads();
    if (k + conv_slice < last) {
      a.load(k + conv_slice, last, a_part);
      b.load(k + conv_slice, last, b_part);
    }
#pragma unroll
    for (int i = 0; i < conv_slice; ++i) {
      T x[4], y[4];
      conv_read4<T>(a_slice + i * conv_pitch<A::lines> + row, x);
      conv_read4<T>(b_slice + i * conv_pitch<B::lines> + column, y);
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c) sum[r][c] = fma(x[r], y[c], sum[r][c]);
    }
    __syncthreads();
  }
}

// --- the operands of the three products -----------------------------------------------------------------------------
// Each has lines from `first_line` on and an index k; beyond either's end there are zeros. Sizes are ints: the
// launchers see to it that they fit.

struct ConvSizes {
  int H, W, C, O, R, S, OH, OW, stride, padding, dilation;
  int pixels, in_pixels;  // B*OH*OW and B*H*W
  CUTTLE_DEVICE int taps_in() const { return R * S * C; }
};

// x at output pixel `line` under tap k = (r, s, c).
template <class T, int lines_>
struct ConvInput {
  static constexpr int lines = lines_;
  using Part = ConvPart<lines, true>;

  CUTTLE_DEVICE ConvInput(const ConvSizes& sizes, const T* x, int first_line) : n(sizes), x_(x) {
#pragma unroll
    for (int i = 0; i < Part::count; ++i) {
      const int pixel = first_line + Part::line(i), rest = pixel % (n.OH * n.OW);
      image_[i] = pixel < n.pixels ? pixel / (n.OH * n.OW) : -1;
      top_[i] = rest / n.OW * n.stride - n.padding;
      left_[i] = rest % n.OW * n.stride - n.padding;
    }
  }
  CUTTLE_DEVICE void load(int first, int last, T (&part)[Part::count]) const {
    const int k = first + Part::k(0), tap = k / n.C, c = k % n.C;
    const int down = tap / n.S * n.dilation, right = tap % n.S * n.dilation;
#pragma unroll
    for (int i = 0; i < Part::count; ++i) {
      const int h = top_[i] + down, w = left_[i] + right;
      const bool inside = k < last && image_[i] >= 0 && h >= 0 && h < n.H && w >= 0 && w < n.W;
      part[i] = inside ? x_[((static_cast<std::int64_t>(image_[i]) * n.H + h) * n.W + w) * n.C + c] : T(0);
    }
  }

  const ConvSizes n;
  const Global<const T> x_;
  int image_[Part::count], top_[Part::count], left_[Part::count];
};

// weight[line, k], its rows of R*S*C.
template <class T, int lines_>
struct ConvWeight {
  static constexpr int lines = lines_;
  using Part = ConvPart<lines, true>;

  CUTTLE_DEVICE ConvWeight(const ConvSizes& sizes, const T* weight, int first_line)
      : n(sizes), weight_(weight), first_line_(first_line) {}
  CUTTLE_DEVICE void load(int first, int last, T (&part)[Part::count]) const {
    const int k = first + Part::k(0);
#pragma unroll
    for (int i = 0; i < Part::count; ++i) {
      const int o = first_line_ + Part::line(i);
      part[i] = k < last && o < n.O ? weight_[static_cast<std::int64_t>(o) * n.taps_in() + k] : T(0);
    }
  }

  const ConvSizes n;
  const Global<const T> weight_;
  const int first_line_;
};

// dz at the output pixel that meets input pixel `line` under tap k = (r, s, o), where there is one.
template <class T, int lines_>
struct ConvOutputGradient {
  static constexpr int lines = lines_;
  using Part = ConvPart<lines, true>;

  CUTTLE_DEVICE ConvOutputGradient(const ConvSizes& sizes, const T* dz, int first_line) : n(sizes), dz_(dz) {
#pragma unroll
    for (int i = 0; i < Part::count; ++i) {
      const int pixel = first_line + Part::line(i), rest = pixel % (n.H * n.W);
      image_[i] = pixel < n.in_pixels ? pixel / (n.H * n.W) : -1;
      bottom_[i] = rest / n.W + n.padding;
      right_[i] = rest % n.W + n.padding;
    }
  }
  CUTTLE_DEVICE void load(int first, int last, T (&part)[Part::count]) const {
    const int k = first + Part::k(0), tap = k / n.O, o = k % n.O;
    const int up = tap / n.S * n.dilation, left = tap % n.S * n.dilation;
#pragma unroll
    for (int i = 0; i < Part::count; ++i) {
      const int h = bottom_[i] - up, w = right_[i] - left, oh = h / n.stride, ow = w / n.stride;
      const bool inside = k < last && image_[i] >= 0 && h >= 0 && w >= 0 && oh * n.stride == h && ow * n.stride == w &&
                          oh < n.OH && ow < n.OW;
      part[i] = inside ? dz_[((static_cast<std::int64_t>(image_[i]) * n.OH + oh) * n.OW + ow) * n.O + o] : T(0);
    }
  }

  const ConvSizes n;
  const Global<const T> dz_;
  int image_[Part::count], bottom_[Part::count], right_[Part::count];
};

// weight[o, r, s, line] for k = (r, s, o).
template <class T, int lines_>
struct ConvWeightTransposed {
  static constexpr int lines = lines_;
  using Part = ConvPart<lines, false>;

  CUTTLE_DEVICE ConvWeightTransposed(const ConvSizes& sizes, const T* weight, int first_line)
      : n(sizes), weight_(weight), c_(first_line + Part::line(0)) {}
  CUTTLE_DEVICE void load(int first, int last, T (&part)[Part::count]) const {
#pragma unroll
    for (int i = 0; i < Part::count; ++i) {
      const int k = first + Part::k(i), tap = k / n.O, o = k % n.O;
      part[i] = k < last && c_ < n.C ? weight_[(static_cast<std::int64_t>(o) * n.R * n.S + tap) * n.C + c_] : T(0);
    }
  }

  const ConvSizes n;
  const Global<const T> weight_;
  const int c_;
};

// dz[k, line] for output pixel k and channel `line`.
template <class T, int lines_>
struct ConvOutputChannels {
  static constexpr int lines = lines_;
  using Part = ConvPart<lines, false>;

  CUTTLE_DEVICE ConvOutputChannels(const ConvSizes& sizes, const T* dz, int first_line)
      : n(sizes), dz_(dz), o_(first_line + Part::line(0)) {}
  CUTTLE_DEVICE void load(int first, int last, T (&part)[Part::count]) const {
#pragma unroll
    for (int i = 0; i < Part::count; ++i) {
      const int pixel = first + Part::k(i);
      part[i] = pixel < last && o_ < n.O ? dz_[static_cast<std::int64_t>(pixel) * n.O + o_] : T(0);
    }
  }

  const ConvSizes n;
  const Global<const T> dz_;
  const int o_;
};

// x at output pixel k under tap `line` = (r, s, c).
template <class T, int lines_>
struct ConvInputTaps {
  static constexpr int lines = lines_;
  using Part = ConvPart<lines, false>;

  CUTTLE_DEVICE ConvInputTaps(const ConvSizes& sizes, const T* x, int first_line)
      : n(sizes), x_(x), line_(first_line + Part::line(0)) {
    down_ = line_ / n.C / n.S * n.dilation - n.padding;
    right_ = line_ / n.C % n.S * n.dilation - n.padding;
  }
  CUTTLE_DEVICE void load(int first, int last, T (&part)[Part::count]) const {
#pragma unroll
    for (int i = 0; i < Part::count; ++i) {
      const int pixel = first + Part::k(i), row = pixel / n.OW, image = row / n.OH;
      const int h = row % n.OH * n.stride + down_, w = pixel % n.OW * n.stride + right_;
      const bool inside = pixel < last && line_ < n.taps_in() && h >= 0 && h < n.H && w >= 0 && w < n.W;
      part[i] = inside ? x_[((static_cast<std::int64_t>(image) * n.H + h) * n.W + w) * n.C + line_ % n.C] : T(0);
    }
  }

  const ConvSizes n;
  const Global<const T> x_;
  const int line_;
  int down_, right_;
};

// --- the kernels ----------------------------------------------------------------------------------------------------

// op:     y[p,o] = act(bias[o] + sum_k in[p,k] * weight[o,k]) with k = (r,s,c), in[p,k] the element of x that tap (r,s)
//         meets at output pixel p = (b,oh,ow), zero in the padding (seam/args.hpp)
// layout: x (B,H,W,C), weight (O,R*S*C), bias (O) or null, y (B*OH*OW,O); y aliases nothing
// launch: grid (ceil(B*OH*OW / rows), ceil(O / columns)), block 256; shared 16 * (rows + columns + 8) elements
// order:  one thread sums an output over k ascending by fma, then adds the bias; deterministic
// limits: B*H*W, B*OH*OW, R*S*C, R*S*O and O*R*S*C below 2^31; a weight that is not finite reaches outputs where its
// tap
//         is in the padding, too; no pixels: nothing is launched
// cost:   2*B*OH*OW*O*R*S*C flops; bound by float32 fma and by shared memory (8 elements read for 16 fma)
template <class T, int rows, int columns>
CUTTLE_KERNEL conv2d_forward(seam::Conv2dArgs<T> args, ConvSizes n) {
  CUTTLE_SHARED(T, a_slice, conv_slice * conv_pitch<rows>);
  CUTTLE_SHARED(T, b_slice, conv_slice * conv_pitch<columns>);
  const int thread = static_cast<int>(threadIdx.x), wide = columns / 4;
  const int first_pixel = static_cast<int>(blockIdx.x) * rows, first_o = static_cast<int>(blockIdx.y) * columns;
  T sum[4][4] = {};
  conv_multiply<T>(ConvInput<T, rows>(n, args.x, first_pixel), ConvWeight<T, columns>(n, args.weight, first_o), 0,
                   n.taps_in(), a_slice, b_slice, sum);

  const Global<T> y = args.y;
  const Global<const T> bias = args.bias;
  const T slope = static_cast<T>(args.shape.slope);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int pixel = first_pixel + thread / wide * 4 + i, o = first_o + thread % wide * 4 + j;
      if (pixel >= n.pixels || o >= n.O) continue;
      const T z = args.bias ? sum[i][j] + bias[o] : sum[i][j];
      y[static_cast<std::int64_t>(pixel) * n.O + o] = activated(z, args.shape.activation, slope);
    }
}

// op:     dx[q,c] = sum_k out[q,k] * weight[o,r,s,c] with k = (r,s,o), out[q,k] the dz of the output pixel whose tap
// (r,s)
//         meets input pixel q, zero where there is none
// layout: dz (B*OH*OW,O), weight (O,R,S,C), dx (B*H*W,C)
// launch: grid (ceil(B*H*W / rows), ceil(C / columns)), block 256; shared 16 * (rows + columns + 8) elements
// order:  one thread sums an output over k ascending by fma; deterministic
// limits: as conv2d_forward
// cost:   2*B*H*W*O*R*S*C flops: with a stride above 1 most of them multiply zeros
template <class T, int rows, int columns>
CUTTLE_KERNEL conv2d_data_gradient(seam::Conv2dBackwardArgs<T> args, const T* dz, ConvSizes n) {
  CUTTLE_SHARED(T, a_slice, conv_slice * conv_pitch<rows>);
  CUTTLE_SHARED(T, b_slice, conv_slice * conv_pitch<columns>);
  const int thread = static_cast<int>(threadIdx.x), wide = columns / 4;
  const int first_pixel = static_cast<int>(blockIdx.x) * rows, first_c = static_cast<int>(blockIdx.y) * columns;
  T sum[4][4] = {};
  conv_multiply<T>(ConvOutputGradient<T, rows>(n, dz, first_pixel),
                   ConvWeightTransposed<T, columns>(n, args.weight, first_c), 0, n.R * n.S * n.O, a_slice, b_slice,
                   sum);

  const Global<T> dx = args.dx;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int pixel = first_pixel + thread / wide * 4 + i, c = first_c + thread % wide * 4 + j;
      if (pixel < n.in_pixels && c < n.C) dx[static_cast<std::int64_t>(pixel) * n.C + c] = sum[i][j];
    }
}

// op:     partial[g,o,k] = sum of dz[p,o] * in[p,k] over the pixels p of group g, k = (r,s,c)
// layout: dz (B*OH*OW,O), x (B,H,W,C), partial (groups,O,R*S*C)
// launch: grid (ceil(R*S*C / columns), ceil(O / rows), groups), block 256; shared 16 * (rows + columns + 8) elements
// order:  a group is `group_pixels` neighbouring pixels, summed by one thread in ascending order by fma;
// conv2d_add_groups
//         adds the groups up in ascending order; deterministic
// limits: as conv2d_forward
// cost:   2*B*OH*OW*O*R*S*C flops, and the partial sums written and read once
template <class T, int rows, int columns>
CUTTLE_KERNEL conv2d_weight_gradient(const T* x, const T* dz, T* partial_sums, int group_pixels, ConvSizes n) {
  CUTTLE_SHARED(T, a_slice, conv_slice * conv_pitch<rows>);
  CUTTLE_SHARED(T, b_slice, conv_slice * conv_pitch<columns>);
  const int thread = static_cast<int>(threadIdx.x), wide = columns / 4;
  const int first_tap = static_cast<int>(blockIdx.x) * columns, first_o = static_cast<int>(blockIdx.y) * rows;
  const int group = static_cast<int>(blockIdx.z), first = group * group_pixels;
  const int last = n.pixels - first < group_pixels ? n.pixels : first + group_pixels;
  T sum[4][4] = {};
  conv_multiply<T>(ConvOutputChannels<T, rows>(n, dz, first_o), ConvInputTaps<T, columns>(n, x, first_tap), first, last,
                   a_slice, b_slice, sum);

  const Global<T> partial = partial_sums;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int o = first_o + thread / wide * 4 + i, k = first_tap + thread % wide * 4 + j;
      if (o < n.O && k < n.taps_in())
        partial[(static_cast<std::int64_t>(group) * n.O + o) * n.taps_in() + k] = sum[i][j];
    }
}

// op:     partial[g,o] = sum of dz[p,o] over the pixels p of group g
// layout: dz (pixels,O), partial (groups,O)
// launch: grid (ceil(O / 32), groups), block 256; shared 256 elements
// order:  eight threads sum every eighth pixel of the group in ascending order, the first adds the eight up in order;
//         deterministic
// limits: pixels and O below 2^31
// cost:   pixels*O additions; bound by memory
template <class T>
CUTTLE_KERNEL conv2d_bias_gradient(const T* dz_of, T* partial_sums, int group_pixels, int pixels, int O) {
  CUTTLE_SHARED(T, sums, conv_threads);
  const Global<const T> dz = dz_of;
  const Global<T> partial = partial_sums;
  const int thread = static_cast<int>(threadIdx.x), group = static_cast<int>(blockIdx.y);
  const int o = static_cast<int>(blockIdx.x) * warp_size + thread % warp_size, first = group * group_pixels;
  const int last = pixels - first < group_pixels ? pixels : first + group_pixels;
  constexpr int stripes = conv_threads / warp_size;
  T sum = 0;
  if (o < O)
    for (std::int64_t pixel = first + thread / warp_size; pixel < last; pixel += stripes) sum += dz[pixel * O + o];
  sums[thread] = sum;
  __syncthreads();
  if (thread >= warp_size || o >= O) return;
  for (int i = 1; i < stripes; ++i) sum += sums[i * warp_size + thread];
  partial[static_cast<std::int64_t>(group) * O + o] = sum;
}

// op:     to[i] += sum_g partial[g,i]
// layout: partial (groups,n), to (n)
// launch: blocks_for(n, 256) blocks of 256 that stride over the grid
// order:  g ascending, then one addition to `to`; deterministic
// limits: none; n = 0: nothing is launched
// cost:   groups*n additions; bound by memory
template <class T>
CUTTLE_KERNEL conv2d_add_groups(const T* partial_sums, T* sums, int groups, std::int64_t n) {
  const Global<const T> partial = partial_sums;
  const Global<T> to = sums;
  for (std::int64_t i = thread_index(); i < n; i += thread_count()) {
    T sum = 0;
    for (int g = 0; g < groups; ++g) sum += partial[g * n + i];
    to[i] += sum;
  }
}

// op:     dz[i] = dy[i] * act'(y[i])
// layout: dy, y, dz (n); dz aliases neither
// launch: blocks_for(n, 256) blocks of 256 that stride over the grid
// order:  elementwise
// limits: none; n = 0: nothing is launched
// cost:   3*n elements moved; bound by memory
template <class T>
CUTTLE_KERNEL conv2d_activation_gradient(const T* dy_of, const T* y_of, T* dz_of, std::int64_t n,
                                         seam::Activation activation, T slope) {
  const Global<const T> dy = dy_of, y = y_of;
  const Global<T> dz = dz_of;
  for (std::int64_t i = thread_index(); i < n; i += thread_count())
    dz[i] = activation_gradient(dy[i], y[i], activation, slope);
}

// op:     y[p,o] = act(y[p,o] + bias[o]), what follows a convolution that has neither
// layout: y (pixels,O) in place, bias (O) or null
// launch: blocks_for(pixels*O, 256) blocks of 256 that stride over the grid
// order:  elementwise
// limits: none; no pixels: nothing is launched
// cost:   2*pixels*O elements moved; bound by memory
template <class T>
CUTTLE_KERNEL conv2d_bias_activation(T* y_of, const T* bias_of, std::int64_t n, std::int64_t O,
                                     seam::Activation activation, T slope) {
  const Global<T> y = y_of;
  const Global<const T> bias = bias_of;
  for (std::int64_t i = thread_index(); i < n; i += thread_count())
    y[i] = activated(bias_of ? y[i] + bias[i % O] : y[i], activation, slope);
}

// --- launching them -------------------------------------------------------------------------------------------------

// How the backward pass uses its workspace, in elements: dz, unless there is no activation and dy is dz; the groups'
// partial sums of dbias; those of dweight, or whatever else the two products want.
struct Conv2dScratch {
  std::int64_t pixels, dz, groups, group_pixels, dbias, dweight;

  explicit Conv2dScratch(const seam::Conv2dShape& s) {
    // A group is worth its partial sum, and all of them stay small beside the activations.
    constexpr std::int64_t fewest_pixels = 512, most_groups = 64, most_elements = std::int64_t{4} << 20;
    const std::int64_t taps = s.O * s.R * s.S * s.C;
    pixels = s.B * s.OH * s.OW;
    const std::int64_t wanted = std::min(pixels / fewest_pixels, most_elements / std::max<std::int64_t>(taps, 1));
    const std::int64_t cuts = std::clamp<std::int64_t>(wanted, 1, most_groups);
    group_pixels = std::max<std::int64_t>((pixels + cuts - 1) / cuts, 1);
    groups = (pixels + group_pixels - 1) / group_pixels;
    dz = s.activation == seam::Activation::none ? 0 : rounded(pixels * s.O);
    dbias = rounded(groups * s.O);
    dweight = rounded(groups * taps);
  }
  std::int64_t before_dweight() const { return dz + dbias; }
  std::int64_t elements() const { return before_dweight() + dweight; }

 private:
  static std::int64_t rounded(std::int64_t elements) { return (elements + 63) / 64 * 64; }
};

// What launch_conv2d and launch_conv2d_backward want as workspace, in bytes.
inline std::size_t own_conv2d_workspace(const seam::Conv2dShape& shape, std::size_t element_size, bool backward) {
  return backward ? static_cast<std::size_t>(Conv2dScratch(shape).elements()) * element_size : 0;
}

inline ConvSizes conv_sizes(const seam::Conv2dShape& s) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max() - 128;  // a tile may reach past the end
  const auto fits = [&](std::int64_t n) {
    if (n > most) throw Error("conv2d: " + std::to_string(n) + " pixels or taps are more than this device's 2^31");
    return static_cast<int>(n);
  };
  fits(s.O * s.R * s.S * s.C);
  // Where a tap can reach: coordinates in the padded image.
  fits((std::max(s.H, s.W) + 2 * s.padding) + s.dilation * std::max(s.R, s.S));
  return {fits(s.H),
          fits(s.W),
          fits(s.C),
          fits(s.O),
          fits(s.R),
          fits(s.S),
          fits(s.OH),
          fits(s.OW),
          fits(s.stride),
          fits(s.padding),
          fits(s.dilation),
          fits(s.B * s.OH * s.OW),
          fits(s.B * s.H * s.W)};
}

inline unsigned conv_tiles(int n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); }

// dz of the backward pass: dy itself, or computed into the workspace.
template <class T>
const T* launch_conv2d_dz(const seam::Conv2dBackwardArgs<T>& args, seam::Stream stream) {
  if (args.shape.activation == seam::Activation::none) return args.dy;
  const std::int64_t n = Conv2dScratch(args.shape).pixels * args.shape.O;
  T* const dz = static_cast<T*>(args.workspace);
  launch("conv2d_backward", &conv2d_activation_gradient<T>, blocks_for(n, conv_threads), conv_threads, 0, stream,
         args.dy, args.y, dz, n, args.shape.activation, static_cast<T>(args.shape.slope));
  return dz;
}

template <class T>
void launch_conv2d_dbias(const seam::Conv2dBackwardArgs<T>& args, const T* dz, seam::Stream stream) {
  const Conv2dScratch scratch(args.shape);
  const ConvSizes n = conv_sizes(args.shape);
  const int groups = static_cast<int>(scratch.groups);
  T* const partial = static_cast<T*>(args.workspace) + scratch.dz;
  launch("conv2d_backward", &conv2d_bias_gradient<T>, dim3(conv_tiles(n.O, warp_size), static_cast<unsigned>(groups)),
         conv_threads, 0, stream, dz, partial, static_cast<int>(scratch.group_pixels), n.pixels, n.O);
  launch("conv2d_backward", &conv2d_add_groups<T>, blocks_for(n.O, conv_threads), conv_threads, 0, stream, partial,
         args.dbias, groups, args.shape.O);
}

template <class T>
void launch_conv2d_dweight(const seam::Conv2dBackwardArgs<T>& args, const T* dz, seam::Stream stream) {
  const Conv2dScratch scratch(args.shape);
  const ConvSizes n = conv_sizes(args.shape);
  const int groups = static_cast<int>(scratch.groups), taps = n.R * n.S * n.C;
  T* const partial = static_cast<T*>(args.workspace) + scratch.before_dweight();
  const auto run = [&](auto* kernel, int rows, int columns) {
    launch("conv2d_backward", kernel,
           dim3(conv_tiles(taps, columns), conv_tiles(n.O, rows), static_cast<unsigned>(groups)), conv_threads, 0,
           stream, args.x, dz, partial, static_cast<int>(scratch.group_pixels), n);
  };
  if (n.O <= 32)
    run(&conv2d_weight_gradient<T, 32, 128>, 32, 128);
  else
    run(&conv2d_weight_gradient<T, 64, 64>, 64, 64);
  const std::int64_t weights = args.shape.O * taps;
  launch("conv2d_backward", &conv2d_add_groups<T>, blocks_for(weights, conv_threads), conv_threads, 0, stream, partial,
         args.dweight, groups, weights);
}

template <class T>
void launch_conv2d_dx(const seam::Conv2dBackwardArgs<T>& args, const T* dz, seam::Stream stream) {
  const ConvSizes n = conv_sizes(args.shape);
  const auto run = [&](auto* kernel, int rows, int columns) {
    launch("conv2d_backward", kernel, dim3(conv_tiles(n.in_pixels, rows), conv_tiles(n.C, columns)), conv_threads, 0,
           stream, args, dz, n);
  };
  if (n.C <= 32)
    run(&conv2d_data_gradient<T, 128, 32>, 128, 32);
  else
    run(&conv2d_data_gradient<T, 64, 64>, 64, 64);
}

template <class T>
void launch_conv2d_bias_activation(const seam::Conv2dArgs<T>& args, seam::Stream stream) {
  const seam::Conv2dShape& s = args.shape;
  if (!args.bias && s.activation == seam::Activation::none) return;
  const std::int64_t n = s.B * s.OH * s.OW * s.O;
  launch("conv2d", &conv2d_bias_activation<T>, blocks_for(n, conv_threads), conv_threads, 0, stream, args.y, args.bias,
         n, s.O, s.activation, static_cast<T>(s.slope));
}

template <class T>
void launch_conv2d(const seam::Conv2dArgs<T>& args, seam::Stream stream) {
  const ConvSizes n = conv_sizes(args.shape);
  const auto run = [&](auto* kernel, int rows, int columns) {
    launch("conv2d", kernel, dim3(conv_tiles(n.pixels, rows), conv_tiles(n.O, columns)), conv_threads, 0, stream, args,
           n);
  };
  if (n.O <= 32)
    run(&conv2d_forward<T, 128, 32>, 128, 32);
  else
    run(&conv2d_forward<T, 64, 64>, 64, 64);
}

template <class T>
void require_conv2d_workspace(const seam::Conv2dBackwardArgs<T>& args, std::size_t bytes) {
  if (args.workspace_bytes < bytes)
    throw Error("conv2d_backward: the workspace has " + std::to_string(args.workspace_bytes) + " bytes, not " +
                std::to_string(bytes));
}

template <class T>
void launch_conv2d_backward(const seam::Conv2dBackwardArgs<T>& args, seam::Stream stream) {
  require_conv2d_workspace(args, own_conv2d_workspace(args.shape, sizeof(T), true));
  const T* const dz = launch_conv2d_dz(args, stream);
  if (args.dx) launch_conv2d_dx(args, dz, stream);
  if (args.dweight) launch_conv2d_dweight(args, dz, stream);
  if (args.dbias) launch_conv2d_dbias(args, dz, stream);
}

}  // namespace cuttle::kernels
