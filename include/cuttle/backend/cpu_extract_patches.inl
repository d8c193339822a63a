// Rows of standardised pixels: see cpu_extract_patches.hpp. Compiled once for each instruction set.

namespace patches {

// y[i] = (pixel[i] - mean[i]) / 255
CUTTLE_TARGET inline void standard_row(float* y, const std::uint8_t* pixel, const float* mean, std::int64_t n) {
  const vf scale = set1(255.0f);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(y + i, divide(sub(load_bytes(pixel + i), load(mean + i)), scale));
  for (; i < n; ++i) y[i] = (static_cast<float>(pixel[i]) - mean[i]) / 255.0f;
}
CUTTLE_TARGET inline void standard_row(double* y, const std::uint8_t* pixel, const float* mean, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = (pixel[i] - double{mean[i]}) / 255.0;
}

// y[i] = fma(noise_sigma, noise[i], fma(colour_sigma, colour[i], (pixel[i] - mean[i]) / 255))
CUTTLE_TARGET inline void augmented_row(float* y, const std::uint8_t* pixel, const float* mean, const float* colour,
                                        float colour_sigma, const float* noise, float noise_sigma, std::int64_t n) {
  const vf scale = set1(255.0f), colour_scale = set1(colour_sigma), noise_scale = set1(noise_sigma);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const vf x = divide(sub(load_bytes(pixel + i), load(mean + i)), scale);
    store(y + i, normals::fused(noise_scale, load(noise + i), normals::fused(colour_scale, load(colour + i), x)));
  }
  for (; i < n; ++i)
    y[i] = std::fma(noise_sigma, noise[i],
                    std::fma(colour_sigma, colour[i], (static_cast<float>(pixel[i]) - mean[i]) / 255.0f));
}
CUTTLE_TARGET inline void augmented_row(double* y, const std::uint8_t* pixel, const float* mean, const float* colour,
                                        float colour_sigma, const float* noise, float noise_sigma, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    y[i] = std::fma(double{noise_sigma}, double{noise[i]},
                    std::fma(double{colour_sigma}, double{colour[i]}, (pixel[i] - double{mean[i]}) / 255.0));
}

}  // namespace patches
