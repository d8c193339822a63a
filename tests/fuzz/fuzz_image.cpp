#include "cuttle/data/image.hpp"
#include "tests/fuzz/target.hpp"

namespace {

constexpr std::int64_t most_pixels = 1 << 14;

// The checksums of a PNG's chunks.
void mend_png(std::vector<std::byte>& file) {
  using namespace cuttle::detail;
  if (!cuttle_test::text_of(file).starts_with(png_signature)) return;
  const auto u32 = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<std::uint32_t>(file[at + i]);
    return value;
  };
  for (std::size_t at = png_signature.size(); at + 12 <= file.size();) {
    const std::size_t length = u32(at);
    if (length > file.size() - at - 12) return;
    const std::uint32_t crc = crc32({reinterpret_cast<const unsigned char*>(file.data()) + at + 4, length + 4});
    for (std::size_t i = 0; i < 4; ++i) file[at + 8 + length + i] = static_cast<std::byte>(crc >> (24 - 8 * i) & 0xFF);
    at += 12 + length;
  }
}

}  // namespace

CUTTLE_FUZZ_TARGET(image, mend_png) {
  using namespace cuttle;
  const Image image = decode_image(input, "file", most_pixels);
  detail::require_image(image, "fuzz_image");
  cuttle_test::fuzz_check(image.size(0) * image.size(1) <= most_pixels, "more pixels than asked for");
  // Encoding takes longer than all the rest.
  if (input.size() % 8) return;
  const Image again = decode_image(encode_png(image), "file");
  cuttle_test::fuzz_check(again.shape() == image.shape() && std::ranges::equal(again.span(), image.span()),
                          "a picture is not what was written of it");
}
