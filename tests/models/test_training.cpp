// train(): every step seen, stopped when asked, and none the worse for it.
#include "cuttle/models/training.hpp"

#include <vector>

#include "cuttle/models/patch_svdd_training.hpp"
#include "cuttle/ops/standardize.hpp"
#include "tests/models/small_squid.hpp"
#include "tests/support/catch.hpp"

using namespace cuttle;
using cuttle_test::differing;
using cuttle_test::state_of;

namespace {

// make() gives a trainer of four steps that has made none.
template <class Make>
void check_training(Make&& make) {
  auto whole = make();
  std::vector<std::int64_t> seen;
  CHECK(train(whole, [&](const auto&) { seen.push_back(whole.steps()); }));
  CHECK(seen == std::vector<std::int64_t>{1, 2, 3, 4});

  auto stopped = make();
  std::stop_source stop;
  const auto stop_at_two = [&](const auto&) {
    if (stopped.steps() == 2) stop.request_stop();
  };
  CHECK(!train(stopped, stop_at_two, stop.get_token()));
  CHECK(stopped.steps() == 2);
  CHECK(!train(stopped, stop_at_two, stop.get_token()));  // asked before the first step
  CHECK(stopped.steps() == 2);

  // Goes on, and once more behind a callback that throws.
  struct Enough {};
  CHECK_THROWS_AS(train(stopped, [](const auto&) { throw Enough(); }), Enough);
  CHECK(stopped.steps() == 3);
  // Asked in the last step, it is done all the same.
  std::stop_source late;
  CHECK(train(
      stopped, [&](const auto&) { late.request_stop(); }, late.get_token()));
  CHECK(stopped.steps() == 4);
  CHECK(differing(state_of<float>(stopped.networks()), state_of<float>(whole.networks())) == "");
  CHECK(train(stopped, [](const auto&) { FAIL("there is no step left"); }));
}

}  // namespace

TEST_CASE("train: SQUID with a callback and a stop token") {
  check_training([] {
    SquidRecipe recipe = SquidRecipe::standard("digit", 4);
    recipe.batch = 3;
    return SquidTrainer<float>(cuttle_test::gray_pictures(5, 24, 1), cuttle_test::small_digit(24), recipe, 3);
  });
}

TEST_CASE("train: Patch SVDD with a callback and a stop token") {
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({2, 128, 128, 3}, 6, 0, 255);
  check_training([&] {
    PatchSvddRecipe recipe = PatchSvddRecipe::standard();
    recipe.steps = 4;
    recipe.warmup = 1;
    recipe.crops = PatchSvddCropOptions{.crops = 1, .size = 128, .pairs = 16};
    return PatchSvddTrainer<float>(images, mean_image(images), recipe, 5);
  });
}
