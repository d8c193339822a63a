#include "cuttle/io/safetensors.hpp"
#include "tests/fuzz/target.hpp"

using namespace cuttle;

CUTTLE_FUZZ_TARGET(safetensors, cuttle_test::mend_safetensors) {
  const SafetensorsFile file(input, "file");
  std::size_t bytes = 0;
  for (const std::string& name : file.names()) {
    bytes += file.bytes(name).size();
    if (file.dtype(name) == Dtype::F32) {
      const auto there = file.view<float>(name), copy = file.tensor<float>(name);
      cuttle_test::fuzz_check(std::ranges::equal(std::as_bytes(there.span()), std::as_bytes(copy.span())),
                              "other bytes");
      file.tensor_or_widen<double>(name);
    }
    if (file.dtype(name) == Dtype::U8) {
      const auto tensor = file.tensor<std::uint8_t>(name);
      cuttle_test::fuzz_check(std::ranges::equal(std::as_bytes(tensor.span()), file.bytes(name)), "other bytes");
    }
  }
  cuttle_test::fuzz_check(bytes <= input.size(), "tensors of more bytes than the file has");
  std::size_t text = 0;
  for (const auto& [key, value] : file.metadata()) text += key.size() + value.size();
  cuttle_test::fuzz_check(text <= input.size(), "more text than the file has");
  // The answer to a name that is not there looks through all that are.
  try {
    file.shape("encoder.weight");
  } catch (const IoError&) {
  }
}
