// Checkpoints of both trainers: a run that goes on is the run that never stopped, and nothing else is taken for it.
#include <filesystem>
#include <fstream>
#include <string>

#include "cuttle/io/file.hpp"
#include "cuttle/models/checkpoint.hpp"
#include "cuttle/models/patch_svdd.hpp"
#include "cuttle/models/patch_svdd_training.hpp"
#include "tests/models/small_squid.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::gray_pictures;
using cuttle_test::small_digit;
using cuttle_test::state_of;

namespace {

// make() gives a trainer that has made no step. Trains `steps` steps at once, and in two parts with a checkpoint after
// `first`; everything that changes must be the same in the end, and so must the checkpoints.
template <class Make>
void check_goes_on(Make&& make, std::int64_t first, std::int64_t steps) {
  const cuttle_test::TemporaryFolder folder;
  const auto at = [&](const char* name) { return folder.path() / name; };
  auto whole = make();
  while (whole.steps() < steps) whole.step();
  save_checkpoint(at("whole"), whole, Json("done"));

  auto one = make();
  while (one.steps() < first) one.step();
  save_checkpoint(at("first"), one, Json(Json::Object{{"of", "mine"}}));
  auto two = make();
  const Json notes = load_checkpoint(at("first"), two);
  CHECK(notes.at("of").string() == "mine");
  CHECK(two.steps() == first);
  while (two.steps() < steps) two.step();
  save_checkpoint(at("two"), two, Json("done"));
  CHECK(cuttle_test::differing(state_of<float>(two.networks()), state_of<float>(whole.networks())) == "");
  CHECK(read_file(at("two")) == read_file(at("whole")));

  // Nothing of it is there by chance: one step less is another state.
  auto less = make();
  while (less.steps() < steps - 1) less.step();
  save_checkpoint(at("less"), less, Json("done"));
  CHECK(read_file(at("less")) != read_file(at("whole")));
}

SquidRecipe short_squid(const char* config, std::int64_t batch) {
  SquidRecipe recipe = SquidRecipe::standard(config, 6);
  recipe.batch = batch;
  return recipe;
}

SquidTrainer<float> squid(std::uint64_t seed = 3, std::uint64_t pictures = 1, double rate = 1e-3) {
  SquidRecipe recipe = short_squid("digit", 4);
  recipe.generator_rate = rate;
  return {gray_pictures(7, 24, pictures), small_digit(24), recipe, seed};
}

}  // namespace

TEST_CASE("a SQUID training that goes on from its checkpoint is the one that never stopped, to the bit") {
  cuttle_test::on_every_device_once([](Device device) {
    // Seven images in batches of 4 and of 3: the run is taken up within a shuffle and at the end of one.
    for (const std::int64_t batch : {4, 7}) {
      const auto make = [&] {
        return SquidTrainer<float>(gray_pictures(7, 24, 1), small_digit(24), short_squid("digit", batch), 3, device);
      };
      check_goes_on(make, 2, 4);
      if (!device.is_cpu() && !cuttle_test::device_variants().empty()) return;  // the emulator takes its time
    }
    SquidRecipe two_critic_steps = short_squid("zhanglab", 3);
    two_critic_steps.critic_steps = 2;
    check_goes_on(
        [&] {
          return SquidTrainer<float>(gray_pictures(5, 32, 1), cuttle_test::small_zhanglab(), two_critic_steps, 4,
                                     device);
        },
        1, 3);
  });
}

TEST_CASE("a Patch SVDD training that goes on from its checkpoint is the one that never stopped, to the bit") {
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({4, 128, 128, 3}, 6, 0, 255);
  PatchSvddRecipe recipe = PatchSvddRecipe::standard();
  recipe.steps = 6;
  recipe.warmup = 2;
  recipe.crops = PatchSvddCropOptions{.crops = 1, .size = 128, .pairs = 16};
  check_goes_on([&] { return PatchSvddTrainer<float>(images, mean_image(images), recipe, 5); }, 3, 5);
  recipe.crops.reset();
  recipe.batch = 2;
  check_goes_on([&] { return PatchSvddTrainer<float>(images, mean_image(images), recipe, 5); }, 1, 3);
}

TEST_CASE("a checkpoint is refused where the run is another, with what differs") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder.path() / "run.checkpoint";
  auto run = squid();
  run.step();
  save_checkpoint(path, run);
  const auto refused = [&](auto trainer, const char* what) {
    CHECK_THROWS_WITH(load_checkpoint(path, trainer), contains(path.string()) && contains(what));
  };
  refused(squid(4), "is of another run: its seed is \"3\", not \"4\"");
  refused(squid(3, 2), "its images is");
  refused(squid(3, 1, 2e-3), "its recipe is");
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({1, 64, 64, 3}, 6, 0, 255);
  refused(PatchSvddTrainer<float>(images, mean_image(images), PatchSvddRecipe::standard(), 3),
          "is a model of method \"training of squid\", not training of patch_svdd");
  CHECK_THROWS_WITH(load_checkpoint(path, run), contains("before its first step"));

  auto pictures = cuttle_test::integer_tensor<std::uint8_t>({2, 64, 64, 3}, 6, 0, 255);
  PatchSvddRecipe recipe = PatchSvddRecipe::published(2);
  recipe.batch = 1;
  PatchSvddTrainer<float> svdd(pictures, mean_image(pictures), recipe, 3);
  save_checkpoint(folder.path() / "svdd", svdd);
  PatchSvddTrainer<float> other_mean(pictures, Tensor<float>::zeros({64, 64, 3}), recipe, 3);
  CHECK_THROWS_WITH(load_checkpoint(folder.path() / "svdd", other_mean), contains("its mean image is"));

  const std::string whole = read_file(path);
  std::ofstream(path, std::ios::binary).write(whole.data(), static_cast<std::streamsize>(whole.size() / 2));
  refused(squid(), "cut short");
  std::filesystem::remove(path);
  refused(squid(), "cannot open");
}

TEST_CASE("fingerprint: every byte and every extent counts") {
  auto images = cuttle_test::integer_tensor<std::uint8_t>({3, 5, 3, 1}, 1, 0, 255);
  const std::string before = fingerprint(images);
  CHECK(before.size() == 16);
  CHECK(fingerprint(images.clone()) == before);
  CHECK(fingerprint(images.reshape({5, 3, 3, 1})) != before);
  for (std::int64_t i = 0; i < images.numel(); ++i) {
    images.data()[i] ^= 1;
    CHECK(fingerprint(images) != before);
    images.data()[i] ^= 1;
  }
  CHECK(fingerprint(images) == before);
  for (const std::int64_t i : {7, 15}) images.data()[i] ^= 0x80;
  CHECK(fingerprint(images) != before);
}
