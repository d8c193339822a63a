// The updates of SQUID's training as its authors configure them for chest radiographs: 16 images of 128 x 128, 32
// channels at the first level.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cuttle/models/squid_training.hpp"

namespace cuttle_bench {

// Multiplications and additions of the convolutions and linear layers, forward and backward.
inline constexpr double squid_generator_flop = 717e9;
inline constexpr double squid_discriminator_flop = 160e9;  // the generator's forward without the teacher is 150e9 of it
inline constexpr double squid_step_flop = squid_generator_flop + 2 * squid_discriminator_flop;

inline cuttle::Tensor<std::uint8_t> squid_pictures(std::int64_t n) {
  const std::int64_t side = cuttle::SquidConfig::zhanglab().image_size;
  auto bytes = cuttle::Tensor<std::uint8_t>::empty({n, side, side, 1});
  for (std::int64_t i = 0; i < bytes.numel(); ++i)
    bytes.data()[i] = static_cast<std::uint8_t>(cuttle::random_word(1, 0, static_cast<std::uint64_t>(i)) >> 24);
  return bytes;
}

// A step as it comes in training: an update of the generator, two of the discriminator, the batches and their
// augmentation.
inline std::shared_ptr<cuttle::SquidTrainer<float>> squid_trainer(cuttle::Math math, cuttle::Device device) {
  auto trainer =
      std::make_shared<cuttle::SquidTrainer<float>>(squid_pictures(320), cuttle::SquidConfig::zhanglab(),
                                                    cuttle::SquidRecipe::published("zhanglab", 320, 100), 1, device);
  trainer->networks().generator.set_math(math);
  return trainer;
}

// Each network's update by itself, on one batch, with one set of masks; all of it is queued on the current stream.
class SquidUpdates {
 public:
  using Image = cuttle::Tensor<float>;

  SquidUpdates(cuttle::Math math, cuttle::Device device)
      : networks_(cuttle::SquidConfig::zhanglab(), cuttle::nn::Initializer(1)),
        generator_(networks_.generator, device),
        critic_(networks_.discriminator, device),
        generator_adam_(generator_, {.beta1 = 0.5, .beta2 = 0.999, .epsilon = 1e-7, .weight_decay = 1e-5}),
        critic_adam_(critic_, {.beta1 = 0.5, .beta2 = 0.999}),
        state_(cuttle::Tensor<cuttle::StepState>::from({1}, {{0, recipe_.generator_rate}}).to(device)),
        pointer_(cuttle::Tensor<std::int64_t>::from({4}, {0, 0, 0, 0}).to(device)) {
    networks_.generator.set_math(math);
    const cuttle::SquidConfig& config = networks_.generator.config();
    const auto mask = [&](std::int64_t level) {
      const std::int64_t side = config.size_at(level);
      auto values = Image::empty({recipe_.batch * config.patches(), side, side, 1}, device);
      cuttle::bernoulli_mask(values, config.generated_share, 1, static_cast<std::uint64_t>(level) << 40, 0);
      return values;
    };
    pass_.training = true;
    pass_.inpaint_mask = mask(config.levels);
    for (std::int64_t block = 0; block < config.levels; ++block)
      pass_.decoder_masks.push_back(networks_.generator.has_memory(block) ? mask(config.levels - 1 - block) : Image());
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < recipe_.batch; ++i) rows.push_back(i);
    images_ = cuttle::augment<float>(squid_pictures(recipe_.batch).to(device),
                                     cuttle::Tensor<std::int64_t>::from({recipe_.batch}, rows).to(device),
                                     recipe_.augment, 1, state_);
  }

  void discriminator() {
    cuttle::SquidPass<float> pass = pass_;
    pass.teacher = false;
    const Image reconstructions = networks_.generator(images_, pass).student.value();
    critic_.zero_grad();
    loss = cuttle::squid_critic_loss(networks_.discriminator, images_, reconstructions, &tape_, recipe_.weights.critic)
               .terms[2];
    tape_.clear();
    critic_adam_.step(state_);
  }

  void generator() {
    cuttle::SquidPass<float> pass = pass_;
    pass.tape = &tape_;
    generator_.zero_grad();
    const auto made = cuttle::squid_generator_loss(networks_, images_, images_, pass, recipe_.weights);
    loss = made.terms[4];
    tape_.clear();
    generator_adam_.step(state_);
    cuttle::queue_update(networks_.generator.queues(), pointer_, made.remembered);
  }

  Image loss;  // of the last update, (1)

 private:
  cuttle::SquidRecipe recipe_ = cuttle::SquidRecipe::published("zhanglab", 320, 100);
  cuttle::SquidNetworks<float> networks_;
  cuttle::nn::ParameterArena<float> generator_, critic_;
  cuttle::nn::Adam<float> generator_adam_, critic_adam_;
  cuttle::Tape<float> tape_;
  cuttle::Tensor<cuttle::StepState> state_;
  cuttle::Tensor<std::int64_t> pointer_;
  cuttle::SquidPass<float> pass_;
  Image images_;
};

}  // namespace cuttle_bench
