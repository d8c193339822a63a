// Element by element and pixel by pixel: activations, blends by a mask, random masks, copies of channels.
#pragma once

#include "cuttle/seam/philox.hpp"
#include "kernels/activation_value.cuh"
#include "kernels/indexing.cuh"

namespace cuttle::kernels {

// op: y = act(x): relu, leaky_relu, tanh, sigmoid; the last two in double, rounded once
// layout: x, y (n)
// launch: a thread for each element, blocks of 256, striding over the grid
// order: every element by itself; NaN stays NaN
// limits: any n
// cost: 2 * sizeof(T) bytes an element: copy bandwidth (tanh and sigmoid: some 40 double operations)
template <class T>
CUTTLE_KERNEL activate_kernel(seam::ActivationArgs<T> a) {
  const Global<const T> x = a.x;
  const Global<T> y = a.y;
  const T slope = static_cast<T>(a.slope);
  for (std::int64_t i = thread_index(); i < a.n; i += thread_count()) {
    y[i] = activated<T>(x[i], a.activation, slope);
  }
}

template <class T>
void launch_activate(const seam::ActivationArgs<T>& a, seam::Stream stream) {
  launch("activate", &activate_kernel<T>, dim3(blocks_for(a.n, 256)), dim3(256), 0, stream, a);
}

// op: dx = dy * act'(x), from y
// layout: y, dy, dx (n)
// launch, order, limits: as activate
// cost: 3 * sizeof(T) bytes an element: copy bandwidth
template <class T>
CUTTLE_KERNEL activate_backward_kernel(seam::ActivationArgs<T> a) {
  const Global<const T> y = a.y, dy = a.dy;
  const Global<T> dx = a.dx;
  const T slope = static_cast<T>(a.slope);
  for (std::int64_t i = thread_index(); i < a.n; i += thread_count()) {
    dx[i] = activation_gradient<T>(dy[i], y[i], a.activation, slope);
  }
}

template <class T>
void launch_activate_backward(const seam::ActivationArgs<T>& a, seam::Stream stream) {
  launch("activate_backward", &activate_backward_kernel<T>, dim3(blocks_for(a.n, 256)), dim3(256), 0, stream, a);
}

// op: blend: y[n,c] = mask[n] a[n,c] + (1 - mask[n]) b[n,c]
// layout: mask (N), a, b, y (N,C)
// launch: a thread for each element, blocks of 256, striding over the grid; elements = N * C
// order: every element by itself
// limits: C >= 1; Index holds elements and a grid's stride more
// cost: 3 * sizeof(T) bytes an element: copy bandwidth
template <class T, class Index>
CUTTLE_KERNEL blend_kernel(seam::BlendArgs<T> args, Index elements) {
  const Global<const T> mask = args.mask, a = args.a, b = args.b;
  const Global<T> y = args.y;
  const Index C = static_cast<Index>(args.C);
  for (Index i = static_cast<Index>(thread_index()); i < elements; i += static_cast<Index>(thread_count())) {
    const T m = mask[i / C];
    y[i] = fma(m, static_cast<T>(a[i]), (1 - m) * b[i]);
  }
}

template <class T>
void launch_blend(const seam::BlendArgs<T>& a, seam::Stream stream) {
  with_index(a.N * a.C, [&](auto elements) {
    launch("blend", &blend_kernel<T, decltype(elements)>, dim3(blocks_for(a.N * a.C, 256)), dim3(256), 0, stream, a,
           elements);
  });
}

// op: da[n,c] = mask[n] dy[n,c], db[n,c] = (1 - mask[n]) dy[n,c]
// layout: mask (N), dy, da, db (N,C), the last two or null
// launch, order, limits, cost: as blend
template <class T, class Index>
CUTTLE_KERNEL blend_backward_kernel(seam::BlendArgs<T> args, Index elements) {
  const Global<const T> mask = args.mask, dy = args.dy;
  const Global<T> da = args.da, db = args.db;
  const Index C = static_cast<Index>(args.C);
  for (Index i = static_cast<Index>(thread_index()); i < elements; i += static_cast<Index>(thread_count())) {
    const T m = mask[i / C], g = dy[i];
    if (args.da != nullptr) da[i] = m * g;
    if (args.db != nullptr) db[i] = (1 - m) * g;
  }
}

template <class T>
void launch_blend_backward(const seam::BlendArgs<T>& a, seam::Stream stream) {
  with_index(a.N * a.C, [&](auto elements) {
    launch("blend_backward", &blend_backward_kernel<T, decltype(elements)>, dim3(blocks_for(a.N * a.C, 256)), dim3(256),
           0, stream, a, elements);
  });
}

// op: mask[i] = random_uniform(seed, stream + step, i) < p
// layout: mask (n); state (1) or null: where it is not, step is state->step
// launch: a thread for each block of four random words, blocks of 256, striding over the grid
// order: every number is a function of its name (seam/philox.hpp): the CPU's bits
// limits: any n
// cost: ten Philox rounds for four numbers
template <class T>
CUTTLE_KERNEL bernoulli_mask_kernel(seam::BernoulliMaskArgs<T> a) {
  const Global<T> mask = a.mask;
  std::int64_t step = a.step;
  if (a.state != nullptr) {
    const Global<const seam::StepState> state = a.state;
    step = state->step;
  }
  const std::uint64_t stream = a.stream + static_cast<std::uint64_t>(step);
  for (std::int64_t block = thread_index(); block * 4 < a.n; block += thread_count()) {
    const seam::PhiloxBlock words = seam::random_block(a.seed, stream, static_cast<std::uint64_t>(block));
    for (std::int64_t k = 0; k < 4 && block * 4 + k < a.n; ++k)
      mask[block * 4 + k] = static_cast<float>(words.word[k] >> 8) * 0x1p-24f < a.p ? T(1) : T(0);
  }
}

template <class T>
void launch_bernoulli_mask(const seam::BernoulliMaskArgs<T>& a, seam::Stream stream) {
  launch("bernoulli_mask", &bernoulli_mask_kernel<T>, dim3(blocks_for((a.n + 3) / 4, 256)), dim3(256), 0, stream, a);
}

// op: to[n,c] = from[n,c]
// layout: rows of `from` from_row elements apart, of `to` to_row; they do not overlap
// launch: a thread for each element, blocks of 256, striding over the grid; elements = N * C
// order: a copy
// limits: Index holds elements and a grid's stride more
// cost: 2 * sizeof(T) bytes an element: copy bandwidth
template <class T, class Index>
CUTTLE_KERNEL copy_channels_kernel(seam::CopyChannelsArgs<T> a, Index elements) {
  const Global<const T> from = a.from;
  const Global<T> to = a.to;
  const Index C = static_cast<Index>(a.C);
  for (Index i = static_cast<Index>(thread_index()); i < elements; i += static_cast<Index>(thread_count())) {
    const Index n = i / C, c = i - n * C;
    to[static_cast<std::int64_t>(n) * a.to_row + c] = from[static_cast<std::int64_t>(n) * a.from_row + c];
  }
}

template <class T>
void launch_copy_channels(const seam::CopyChannelsArgs<T>& a, seam::Stream stream) {
  with_index(a.N * a.C, [&](auto elements) {
    launch("copy_channels", &copy_channels_kernel<T, decltype(elements)>, dim3(blocks_for(a.N * a.C, 256)), dim3(256),
           0, stream, a, elements);
  });
}

}  // namespace cuttle::kernels
