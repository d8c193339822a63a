// SQUID in training (bench/support/squid_steps.hpp): a step, and the update of each network by itself. On a device a
// step is the replay of its record, the updates run op by op.
#include <cmath>
#include <memory>
#include <numbers>

#include "bench/support/harness.hpp"
#include "bench/support/squid_steps.hpp"

namespace cuttle_bench {
namespace {

// The losses of the first steps of a run are those of the same run on the CPU.
Case step_case(Device device, cuttle::Math math) {
  struct State {
    std::shared_ptr<cuttle::SquidTrainer<float>> trainer;
    cuttle::SquidLosses losses;
  };
  auto s = std::make_shared<State>(State{squid_trainer(math, device), {}});
  return {.run = [s] { s->losses = s->trainer->step(); },
          .check =
              [=] {
                // A discriminator that has learnt nothing yet is as good as a guess.
                const double guess = s->trainer->recipe().weights.critic * std::numbers::ln2;
                check_value("training step: the discriminator's loss of images", 0, s->losses.critic_real, guess,
                            guess / 2);
                if (device.is_cpu()) return;
                const auto here = squid_trainer(cuttle::Math::fp32, Device::cpu());
                double expected = here->step().generator;
                check_value("training step: the generator's loss", 0, s->losses.generator, expected, 1e-3 * expected);
                expected = here->step().generator;
                check_value("training step: the generator's loss", 1, s->trainer->step().generator, expected,
                            1e-2 * expected);
              },
          .flop = squid_step_flop,
          .only_queues = false};
}

Case update_case(Device device, bool generator) {
  auto s = std::make_shared<SquidUpdates>(cuttle::Math::fp32, device);
  return {.run = [=] { generator ? s->generator() : s->discriminator(); },
          .check =
              [=] {
                const double loss = as_double(on_host(s->loss).item());
                if (device.is_cpu())
                  return check_value("loss", 0, loss, generator ? 1 : 0.005 * 2 * std::numbers::ln2,
                                     generator ? 0.5 : 0.005);
                SquidUpdates here(cuttle::Math::fp32, Device::cpu());
                generator ? here.generator() : here.discriminator();
                const double expected = as_double(here.loss.item());
                check_value("loss", 0, loss, expected, 1e-3 * expected);
              },
          .flop = generator ? squid_generator_flop : squid_discriminator_flop};
}

const bool added = [] {
  add("squid/step/fp32", [](Device device) { return step_case(device, cuttle::Math::fp32); });
  add(
      "squid/step/winograd", [](Device device) { return step_case(device, cuttle::Math::winograd); }, Where::cpu);
  add("squid/discriminator/fp32", [](Device device) { return update_case(device, false); });
  add("squid/generator/fp32", [](Device device) { return update_case(device, true); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
