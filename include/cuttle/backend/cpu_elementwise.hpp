// Loops over elements and rows on the CPU, cut into tiles by shape alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuttle/core/parallel.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

// Calls body(first, last) for consecutive ranges that cover [0, n).
template <class Body>
void for_ranges(std::int64_t n, Body&& body, std::int64_t range = std::int64_t{1} << 16) {
  parallel_for((n + range - 1) / range,
               [&](std::int64_t tile) { body(tile * range, std::min(n, (tile + 1) * range)); });
}

// y[i] = f(a[i]), y[i] = f(a[i], b[i]); y may be one of the inputs.
template <class T, class F>
void map(std::int64_t n, T* y, const T* a, F f) {
  for_ranges(n, [=](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) y[i] = f(a[i]);
  });
}
template <class T, class F>
void map(std::int64_t n, T* y, const T* a, const T* b, F f) {
  for_ranges(n, [=](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) y[i] = f(a[i], b[i]);
  });
}

template <class T>
void elementwise(const seam::ElementwiseArgs<T>& a) {
  switch (a.f) {
    case seam::Elementwise::add:
      return map(a.n, a.y, a.a, a.b, [](T x, T z) { return x + z; });
    case seam::Elementwise::sub:
      return map(a.n, a.y, a.a, a.b, [](T x, T z) { return x - z; });
    case seam::Elementwise::multiply:
      return map(a.n, a.y, a.a, a.b, [](T x, T z) { return x * z; });
    case seam::Elementwise::scale:
      return map(a.n, a.y, a.a, [factor = static_cast<T>(a.factor)](T x) { return factor * x; });
  }
}

// (pixel - mean) / 255.
template <class T>
void standardize(const seam::StandardizeArgs<T>& a) {
  parallel_for(a.N, [&](std::int64_t n) {
    const std::uint8_t* from = a.image + n * a.pixels;
    T* to = a.x + n * a.pixels;
    for (std::int64_t i = 0; i < a.pixels; ++i) to[i] = (static_cast<T>(from[i]) - static_cast<T>(a.mean[i])) / T(255);
  });
}

// p, m, v of Adam (Kingma and Ba 2015, algorithm 1) as PyTorch computes it; step counts from 1.
template <class T>
void adam(const seam::AdamArgs<T>& a) {
  const double step = static_cast<double>(a.state ? a.state->step + 1 : a.step);
  const double learning_rate = a.state ? a.state->learning_rate : a.learning_rate;
  const T beta1 = static_cast<T>(a.beta1), beta2 = static_cast<T>(a.beta2);
  const T rest1 = static_cast<T>(1 - a.beta1), rest2 = static_cast<T>(1 - a.beta2);
  const T rate = static_cast<T>(learning_rate / (1 - std::pow(a.beta1, step)));
  const T root = static_cast<T>(std::sqrt(1 - std::pow(a.beta2, step)));
  const T epsilon = static_cast<T>(a.epsilon), decay = static_cast<T>(a.weight_decay);
  for_ranges(a.n, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const T g = a.grad[i] + decay * a.value[i];
      a.m[i] = beta1 * a.m[i] + rest1 * g;
      a.v[i] = beta2 * a.v[i] + rest2 * g * g;
      a.value[i] -= rate * a.m[i] / (std::sqrt(a.v[i]) / root + epsilon);
    }
  });
}

}  // namespace cuttle::cpu
