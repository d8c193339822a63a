// conv2d by its formula (seam/args.hpp), for the tests of whatever computes it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cuttle/seam/args.hpp"

namespace cuttle_test {

// Calls body(index in y, index in x, index in weight) for each product, those of one y in the order r, s, c.
template <class Body>
void for_each_product(const cuttle::seam::Conv2dShape& n, Body&& body) {
  const auto at = [](std::int64_t index) { return static_cast<std::size_t>(index); };
  for (std::int64_t b = 0; b < n.B; ++b)
    for (std::int64_t i = 0; i < n.OH; ++i)
      for (std::int64_t j = 0; j < n.OW; ++j)
        for (std::int64_t r = 0; r < n.R; ++r)
          for (std::int64_t s = 0; s < n.S; ++s) {
            const std::int64_t h = i * n.stride + r * n.dilation - n.padding;
            const std::int64_t w = j * n.stride + s * n.dilation - n.padding;
            if (h < 0 || h >= n.H || w < 0 || w >= n.W) continue;
            for (std::int64_t o = 0; o < n.O; ++o)
              for (std::int64_t c = 0; c < n.C; ++c)
                body(at(((b * n.OH + i) * n.OW + j) * n.O + o), at(((b * n.H + h) * n.W + w) * n.C + c),
                     at(((o * n.R + r) * n.S + s) * n.C + c));
          }
}

// act(z), and act'(z) as the op takes it from y = act(z).
inline double activated(const cuttle::seam::Conv2dShape& n, double z) {
  switch (n.activation) {
    case cuttle::seam::Activation::none:
      break;
    case cuttle::seam::Activation::relu:
      return z > 0 ? z : 0;
    case cuttle::seam::Activation::leaky_relu:
      return z > 0 ? z : n.slope * z;
    case cuttle::seam::Activation::tanh:
      return std::tanh(z);
    case cuttle::seam::Activation::sigmoid:
      return 1 / (1 + std::exp(-z));
  }
  return z;
}
inline double activation_slope(const cuttle::seam::Conv2dShape& n, double y) {
  switch (n.activation) {
    case cuttle::seam::Activation::none:
      break;
    case cuttle::seam::Activation::relu:
      return y > 0 ? 1 : 0;
    case cuttle::seam::Activation::leaky_relu:
      return y > 0 ? 1 : n.slope;
    case cuttle::seam::Activation::tanh:
      return 1 - y * y;
    case cuttle::seam::Activation::sigmoid:
      return y * (1 - y);
  }
  return 1;
}

}  // namespace cuttle_test
