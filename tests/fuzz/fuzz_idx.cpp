// The first byte says how many dimensions are asked for.
#include "cuttle/data/idx.hpp"
#include "tests/fuzz/target.hpp"

namespace {

// A gzip file's trailer, CRC and size of the contents, where its data can be inflated.
void mend_gzip(std::vector<std::byte>& input) {
  using namespace cuttle::detail;
  constexpr std::size_t header = 1 + 10, trailer = 8;
  const auto contents = cuttle_test::text_of(input);
  if (contents.size() < header + trailer || !contents.substr(1).starts_with("\x1F\x8B\x08")) return;
  input[4] = std::byte{0};  // no flags: the data follow at once
  int size = 0;
  char* const inflated = stb::stbi_zlib_decode_noheader_malloc(contents.data() + header,
                                                               static_cast<int>(contents.size() - header), &size);
  if (!inflated) return;
  const std::uint32_t values[] = {
      crc32({reinterpret_cast<const unsigned char*>(inflated), static_cast<std::size_t>(size)}),
      static_cast<std::uint32_t>(size)};
  std::memcpy(input.data() + input.size() - trailer, values, trailer);
  stb::stbi_image_free(inflated);
}

}  // namespace

CUTTLE_FUZZ_TARGET(idx, mend_gzip) {
  if (input.empty()) return;
  const int rank = 1 + std::to_integer<int>(input[0]) % 3;
  const auto array = cuttle::decode_idx(input.subspan(1), "file", rank);
  cuttle_test::fuzz_check(array.rank() == rank && array.numel() > 0, "an array of another rank");
  cuttle_test::fuzz_check(array.numel() <= 1032 * std::ssize(input), "more values than the file can hold");
}
