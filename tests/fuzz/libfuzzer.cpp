// libFuzzer's entry points, for the one target that is linked with them.
#include <algorithm>

#include "tests/fuzz/target.hpp"

extern "C" {
std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  cuttle_test::FuzzTarget::all().front().accepts(std::as_bytes(std::span(data, size)));
  return 0;
}

std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  const auto mend = cuttle_test::FuzzTarget::all().front().mend;
  // One in eight stays broken: that has to be noticed too.
  if (!mend || seed % 8 == 0) return size;
  const auto bytes = std::as_bytes(std::span(data, size));
  std::vector<std::byte> mended(bytes.begin(), bytes.end());
  mend(mended);
  size = std::min(mended.size(), max_size);
  std::memcpy(data, mended.data(), size);
  return size;
}
}
