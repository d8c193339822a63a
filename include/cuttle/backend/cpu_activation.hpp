// Activations, blends, masks and copies of channels on the CPU; formulas in seam/args.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/seam/args.hpp"
#include "cuttle/seam/philox.hpp"

namespace cuttle::cpu {

// tanh and the logistic function in double: near their limits the gradient keeps no digit that y has lost.
template <class T>
void activate(const seam::ActivationArgs<T>& a) {
  switch (a.activation) {
    case seam::Activation::none:
      return map(a.n, a.y, a.x, [](T x) { return x; });
    case seam::Activation::relu:
      return map(a.n, a.y, a.x, [](T x) { return x < 0 ? T(0) : x; });
    case seam::Activation::leaky_relu:
      return map(a.n, a.y, a.x, [slope = static_cast<T>(a.slope)](T x) { return x < 0 ? slope * x : x; });
    case seam::Activation::tanh:
      return map(a.n, a.y, a.x, [](T x) { return static_cast<T>(std::tanh(static_cast<double>(x))); });
    case seam::Activation::sigmoid:
      return map(a.n, a.y, a.x, [](T x) { return static_cast<T>(1 / (1 + std::exp(-static_cast<double>(x)))); });
  }
}

template <class T>
void activate_backward(const seam::ActivationArgs<T>& a) {
  switch (a.activation) {
    case seam::Activation::none:
      return map(a.n, a.dx, a.dy, [](T dy) { return dy; });
    case seam::Activation::relu:
      return map(a.n, a.dx, a.dy, a.y, [](T dy, T y) { return y > 0 ? dy : T(0); });
    case seam::Activation::leaky_relu:
      return map(a.n, a.dx, a.dy, a.y,
                 [slope = static_cast<T>(a.slope)](T dy, T y) { return y > 0 ? dy : slope * dy; });
    case seam::Activation::tanh:
      return map(a.n, a.dx, a.dy, a.y, [](T dy, T y) { return dy * ((1 - y) * (1 + y)); });
    case seam::Activation::sigmoid:
      return map(a.n, a.dx, a.dy, a.y, [](T dy, T y) { return dy * (y * (1 - y)); });
  }
}

// Calls body(n) for rows n < N of C elements, several in a tile of work.
template <class Body>
void for_rows(std::int64_t N, std::int64_t C, Body&& body) {
  for_ranges(
      N,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t n = first; n < last; ++n) body(n);
      },
      std::max<std::int64_t>(1, (std::int64_t{1} << 14) / std::max<std::int64_t>(1, C)));
}

template <class T>
void blend(const seam::BlendArgs<T>& a) {
  for_rows(a.N, a.C, [&](std::int64_t n) {
    const T m = a.mask[n], rest = 1 - m;
    const std::int64_t first = n * a.C;
    for (std::int64_t i = first; i < first + a.C; ++i) a.y[i] = m * a.a[i] + rest * a.b[i];
  });
}

template <class T>
void blend_backward(const seam::BlendArgs<T>& a) {
  for_rows(a.N, a.C, [&](std::int64_t n) {
    const T m = a.mask[n], rest = 1 - m;
    const std::int64_t first = n * a.C;
    if (a.da)
      for (std::int64_t i = first; i < first + a.C; ++i) a.da[i] = m * a.dy[i];
    if (a.db)
      for (std::int64_t i = first; i < first + a.C; ++i) a.db[i] = rest * a.dy[i];
  });
}

template <class T>
void bernoulli_mask(const seam::BernoulliMaskArgs<T>& a) {
  const std::uint64_t stream = a.stream + static_cast<std::uint64_t>(a.state ? a.state->step : a.step);
  for_ranges(a.n, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      a.mask[i] = seam::random_uniform(a.seed, stream, static_cast<std::uint64_t>(i)) < a.p ? T(1) : T(0);
  });
}

template <class T>
void copy_channels(const seam::CopyChannelsArgs<T>& a) {
  for_rows(a.N, a.C, [&](std::int64_t n) { std::copy_n(a.from + n * a.from_row, a.C, a.to + n * a.to_row); });
}

}  // namespace cuttle::cpu
