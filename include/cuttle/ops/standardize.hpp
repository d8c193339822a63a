// The input of Patch SVDD's networks: bytes less their mean image.
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_elementwise.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"

namespace cuttle {

// The mean image (H,W,C) of images (N,H,W,C), N >= 1: one number for each pixel and channel, rounded once from an exact
// sum.
inline Tensor<float> mean_image(const Tensor<std::uint8_t>& images) {
  require(images.rank() == 4 && images.numel() > 0, "mean_image: images have shape ", images.shape(),
          ", expected (N,H,W,C) and at least one");
  detail::require_on_cpu("mean_image", images);
  const std::int64_t N = images.size(0), pixels = images.numel() / N;
  Tensor<float> mean = Tensor<float>::empty({images.size(1), images.size(2), images.size(3)});
  cpu::for_ranges(
      pixels,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          std::int64_t sum = 0;
          for (std::int64_t n = 0; n < N; ++n) sum += images.data()[n * pixels + i];
          mean.data()[i] = static_cast<float>(static_cast<double>(sum) / static_cast<double>(N));
        }
      },
      1 << 12);
  return mean;
}

// (pixel - mean) / 255: images (N,H,W,C), mean (H,W,C) -> (N,H,W,C).
template <class T>
Tensor<T> standardize(const Tensor<std::uint8_t>& images, const Tensor<float>& mean) {
  require(images.rank() == 4 && mean.shape() == Shape({images.size(1), images.size(2), images.size(3)}),
          "standardize: images have shape ", images.shape(), ", mean ", mean.shape());
  const Device device = detail::common_device("standardize", images, mean);
  Tensor<T> x = Tensor<T>::empty(images.shape(), device);
  detail::dispatch<T>("standardize", device, &cpu::standardize<T>, &seam::OpTable<T>::standardize,
                      {images.size(0), mean.numel(), images.data(), mean.data(), x.data()});
  return x;
}

}  // namespace cuttle
