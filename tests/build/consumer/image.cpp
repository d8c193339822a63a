// The component image, in one program with a user's own copy of stb, before it and after it.
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#include <stb_image.h>

#include <cuttle/data/image.hpp>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>

#include <algorithm>
#include <cstdio>

#include "promised_bits.hpp"

int main() {
  auto image = cuttle::Image::empty({5, 7, 3});
  for (std::int64_t i = 0; i < image.numel(); ++i) image.data()[i] = static_cast<std::uint8_t>(2 * i);
  const auto ours = cuttle::encode_png(image);
  const auto same = [&](const std::uint8_t* pixels) { return std::equal(image.data(), image.data() + 105, pixels); };

  // Written by us, read by the user's stb; written by the user's stb, read by us.
  int width = 0, height = 0, channels = 0;
  stbi_uc* theirs = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(ours.data()), static_cast<int>(ours.size()),
                                          &width, &height, &channels, 0);
  if (!theirs || width != 7 || height != 5 || channels != 3 || !same(theirs)) return 1;
  stbi_image_free(theirs);
  int size = 0;
  unsigned char* written = stbi_write_png_to_mem(image.data(), 21, 7, 5, 3, &size);
  const auto bytes = std::as_bytes(std::span(written, static_cast<std::size_t>(size)));
  if (!same(cuttle::decode_image(bytes, "memory").data())) return 1;
  STBIW_FREE(written);
  std::printf("%016llx\n", static_cast<unsigned long long>(promised_bits()));
}
