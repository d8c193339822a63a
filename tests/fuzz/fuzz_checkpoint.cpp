// Checkpoints of a trainer that is nothing but a state.
#include "cuttle/models/checkpoint.hpp"
#include "tests/fuzz/target.hpp"

namespace {

class Trainer {
 public:
  static constexpr const char* run_kind = "training of nothing";
  struct Recipe {
    std::int64_t steps = 100;
  };
  cuttle::Json::Object identity() const { return {{"seed", "1"}, {"recipe", cuttle::Json(cuttle::Json::Object{})}}; }
  template <class Visit>
  void state(Visit&& visit) {
    visit("weights", weights_);
    visit("order", order_);
  }
  std::int64_t steps() const { return steps_; }
  Recipe recipe() const { return {}; }
  void continue_after(std::int64_t steps) { steps_ = steps; }

  const cuttle::Tensor<float>& weights() const { return weights_; }

 private:
  cuttle::Tensor<float> weights_ = cuttle::Tensor<float>::zeros({2, 3});
  cuttle::Tensor<std::int64_t> order_ = cuttle::Tensor<std::int64_t>::zeros({4});
  std::int64_t steps_ = 0;
};

// The header's length and the checksum.
void mend_checkpoint(std::vector<std::byte>& input) {
  cuttle_test::mend_safetensors(input);
  constexpr std::string_view before = "\"checksum\":\"";
  const std::size_t at = cuttle_test::text_of(input).find(before) + before.size();
  try {
    const cuttle::SafetensorsFile file(input, "file");
    const auto old = file.metadata().find("checksum");
    if (old == file.metadata().end() || old->second.size() != 16 || at + 16 > input.size()) return;
    std::map<std::string, cuttle::detail::StoredTensor> tensors;
    for (const std::string& name : file.names()) tensors[name] = {file.dtype(name), file.shape(name), file.bytes(name)};
    const std::string checksum = cuttle::detail::checksum_of(file.metadata(), tensors);
    std::memcpy(input.data() + at, checksum.data(), 16);
  } catch (const cuttle::Error&) {
  }
}

}  // namespace

CUTTLE_FUZZ_TARGET(checkpoint, mend_checkpoint) {
  Trainer trainer;
  const cuttle::Json notes = cuttle::load_checkpoint(cuttle::SafetensorsFile(input, "file"), trainer);
  notes.dump();
  cuttle_test::fuzz_check(trainer.steps() >= 0 && trainer.steps() <= trainer.recipe().steps, "steps out of range");
  for (const float x : trainer.weights().span()) cuttle_test::fuzz_check(std::isfinite(x), "a weight is not finite");
}
