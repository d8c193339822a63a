// Activations of one number, forwards and backwards.
#pragma once

#include "cuttle/seam/args.hpp"
#include "kernels/vocab.cuh"

namespace cuttle::kernels {

// act(z); NaN stays NaN. tanh and sigmoid in double, because near their ends a gradient keeps no digit that y has lost.
template <class T>
CUTTLE_DEVICE T activated(T z, seam::Activation activation, T slope) {
  if (activation == seam::Activation::relu) return z < T(0) ? T(0) : z;
  if (activation == seam::Activation::leaky_relu) return z < T(0) ? slope * z : z;
  if (activation == seam::Activation::tanh) return static_cast<T>(tanh(static_cast<double>(z)));
  if (activation == seam::Activation::sigmoid) return static_cast<T>(1 / (1 + exp(-static_cast<double>(z))));
  return z;
}

// dy * act'(z), where act' is taken from y = act(z).
template <class T>
CUTTLE_DEVICE T activation_gradient(T dy, T y, seam::Activation activation, T slope) {
  if (activation == seam::Activation::relu) return T(0) < y ? dy : T(0);
  if (activation == seam::Activation::leaky_relu) return T(0) < y ? dy : slope * dy;
  if (activation == seam::Activation::tanh) return dy * ((1 - y) * (1 + y));
  if (activation == seam::Activation::sigmoid) return dy * (y * (1 - y));
  return dy;
}

}  // namespace cuttle::kernels
