// Patch SVDD as a whole: a training step of batch 64 over 100 images of 256 x 256, and the map of one image against
// banks of 200,000 rows at each scale. On a device the step is the replay of its record; "eager" runs it op by op.
// The floor of a step counts the trunk's convolutions alone, forward and both gradients (none for the input).
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/models/patch_svdd.hpp"

namespace cuttle_bench {
namespace {

constexpr std::int64_t side = 256;
constexpr double trunk_flop = 217e9;  // of a step of batch 64
constexpr double dense_flop = 10.1e9;

Tensor<std::uint8_t> pictures(std::int64_t n) {
  Tensor<std::uint8_t> bytes = Tensor<std::uint8_t>::empty({n, side, side, 3});
  for (std::int64_t i = 0; i < bytes.numel(); ++i)
    bytes.data()[i] = static_cast<std::uint8_t>(cuttle::random_word(1, 0, static_cast<std::uint64_t>(i)) >> 24);
  return bytes;
}

cuttle::PatchSvddRecipe recipe(cuttle::Math math) {
  cuttle::PatchSvddRecipe recipe = cuttle::PatchSvddRecipe::published(100);
  recipe.math = math;
  return recipe;
}

// The losses of the first steps of a run are those of the same run on the CPU.
Case step_case(Device device, cuttle::Math math) {
  struct State {
    cuttle::PatchSvddTrainer<float> trainer;
    cuttle::PatchSvddLosses losses;

    State(const Tensor<std::uint8_t>& images, const Tensor<float>& mean, cuttle::Math mode, Device there)
        : trainer(images, mean, recipe(mode), 1, there) {}
  };
  const Tensor<std::uint8_t> bytes = pictures(100);
  const Tensor<float> mean = cuttle::mean_image(bytes);
  auto s = std::make_shared<State>(bytes, mean, math, device);
  return {.run = [s] { s->losses = s->trainer.step(); },
          .check =
              [=] {
                if (device.is_cpu()) {
                  // Eight directions: a classifier that has not learnt yet is as good as a guess.
                  check_value("training step: position loss", 0, s->losses.position_large, std::log(8.0), 0.2);
                  check_value("training step: position loss", 1, s->losses.position_small, std::log(8.0), 0.2);
                  return;
                }
                cuttle::PatchSvddTrainer<float> here(bytes, mean, recipe(cuttle::Math::fp32), 1);
                here.step();
                const double bound = math == cuttle::Math::fp32 ? 1e-3 : 2e-2;
                for (int step = 1; step < 3; ++step) {  // an eager step, then replays
                  const double expected = here.step().total;
                  check_value("training step: total loss", step, s->trainer.step().total, expected, bound);
                }
              },
          .flop = trunk_flop,
          .unit = math == cuttle::Math::tf32 ? Unit::tf32 : Unit::fp32,
          .only_queues = false};
}

// The same step, op by op, as the first of a run is.
Case eager_step_case(Device device) {
  struct State {
    Tensor<std::uint8_t> bytes;
    Tensor<float> mean;
    cuttle::PatchSvddNetworks<float> networks{cuttle::nn::Initializer(1)};
    cuttle::nn::ParameterArena<float> arena;
    cuttle::nn::Adam<float> adam;
    cuttle::PatchSvddBatch<float> batch;
    cuttle::Tape<float> tape;
    cuttle::PatchSvddReport<float> report;
    std::int64_t step = 0;

    State(const Tensor<std::uint8_t>& images, Device there)
        : bytes(images.to(there)),
          mean(cuttle::mean_image(images).to(there)),
          arena(networks, there),
          adam(arena, {.learning_rate = 1e-4}),
          batch(64, there) {}
  };
  auto s = std::make_shared<State>(pictures(100), device);
  return {
      .run =
          [s] {
            s->arena.zero_grad();
            s->batch.draw(s->bytes, s->mean, 1, s->step++);
            s->report = cuttle::patch_svdd_losses(s->networks, s->batch, 1e-3, &s->tape);
            s->tape.clear();
            s->adam.step();
          },
      .check =
          [s] { check_value("eager step: position loss", 0, s->report.losses().position_large, std::log(8.0), 0.2); },
      .flop = trunk_flop};
}

Case detect_case(Device device) {
  constexpr std::int64_t rows = 200000, images = 64;
  struct State {
    cuttle::PatchSvdd model;
    Tensor<std::uint8_t> picture;
    Tensor<float> map;
  };
  const Tensor<std::uint8_t> bytes = pictures(images);
  auto s = std::make_shared<State>(State{cuttle::PatchSvdd(cuttle::PatchSvddNetworks<float>(cuttle::nn::Initializer(
                                                               1, cuttle::nn::Initializer::Scheme::he)),
                                                           cuttle::mean_image(bytes), {side, {}}),
                                         pictures(images + 1).slice(images, images + 1),
                                         {}});
  s->model.move_to(device);
  s->model.fit_bank(bytes, rows, 1);
  return {.run = [s] { s->map = s->model.maps_of(s->picture); },
          .check =
              [s, device] {
                // Of an image that was never seen every patch is away from all rows; and the CPU says the same.
                for (const float x : s->map.span())
                  cuttle::require(std::isfinite(x) && x > 0, "map: an unseen image has ", x);
                if (device.is_cpu()) return;
                cuttle::PatchSvdd here = s->model;
                here.move_to(Device::cpu());
                const Tensor<float> expected = here.maps_of(s->picture);
                for_some(expected.numel(), [&](std::int64_t i) {
                  const double x = as_double(expected.data()[i]);
                  check_value("map", i, as_double(s->map.data()[i]), x, 1e-3 * x);
                });
              },
          .flop = dense_flop,
          .only_queues = false};
}

const bool added = [] {
  add("patch_svdd/step/fp32", [](Device device) { return step_case(device, cuttle::Math::fp32); });
  add(
      "patch_svdd/step/winograd", [](Device device) { return step_case(device, cuttle::Math::winograd); }, Where::cpu);
  add(
      "patch_svdd/step/tf32", [](Device device) { return step_case(device, cuttle::Math::tf32); }, Where::cuda);
  add("patch_svdd/eager_step/fp32", eager_step_case, Where::cuda);
  add("patch_svdd/map/N=200000", detect_case);
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
