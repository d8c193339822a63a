// Training SQUID: the discriminator and the generator in turn (Xiang et al., CVPR 2023, section 3.4, as the authors'
// code does it).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "cuttle/core/graph.hpp"
#include "cuttle/core/random.hpp"
#include "cuttle/io/json.hpp"
#include "cuttle/models/checkpoint.hpp"
#include "cuttle/models/squid_network.hpp"
#include "cuttle/nn/optim.hpp"
#include "cuttle/ops/augment.hpp"
#include "cuttle/ops/misplace_patches.hpp"
#include "cuttle/ops/queue_update.hpp"

namespace cuttle {

// Weights of the terms of both losses:
//   generator      reconstruction * mse(student, image) + adversarial * bce(D(student), 1)
//                  + teacher * mse(teacher, image) + distance * (student to teacher, all levels)
//   discriminator  critic * (bce(D(image), 1) + bce(D(student), 0))
struct SquidWeights {
  double reconstruction = 10, adversarial = 0.005, teacher = 0.01, distance = 0.001, critic = 0.005;
};

// What an iteration reports; the terms are weighted, and those of the generator are of its last step.
struct SquidLosses {
  double reconstruction = 0, adversarial = 0, teacher = 0, distance = 0, generator = 0;
  double critic_real = 0, critic_fake = 0, critic = 0;
};

// Both networks of SQUID. In files their parameters have the prefixes g. and d.
template <class T>
struct SquidNetworks {
  SquidGenerator<T> generator;
  SquidDiscriminator<T> discriminator;

  SquidNetworks(const SquidConfig& config, nn::Initializer init)
      : generator(config, init), discriminator(config.image_size, init) {}

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    generator.parameters(visit, prefix + "g.");
    discriminator.parameters(visit, prefix + "d.");
  }
};

// The four terms of the generator's loss and their sum, scalars (1) where they were computed.
template <class T>
struct SquidGeneratorLoss {
  std::array<Tensor<T>, 5> terms;  // reconstruction, adversarial, teacher, distance, total
  Tensor<T> remembered;            // for the queues, (B,P,E)
};

// Adds the gradients of the generator's loss to its parameters (and some to the discriminator's, which its own step
// clears before use). images (B,H,W,1); seen, of the same shape, is what the generator is shown, the images themselves
// in the paper. statistics are the discriminator's.
template <class T>
SquidGeneratorLoss<T> squid_generator_loss(const SquidNetworks<T>& networks, const Tensor<T>& images,
                                           const Tensor<T>& seen, const SquidPass<T>& pass, const SquidWeights& weights,
                                           nn::Statistics statistics = nn::Statistics::training) {
  const SquidReconstruction<T> made = networks.generator(seen, pass);
  const Var<T> logits = networks.discriminator(made.student, pass.tape, statistics);
  const Var<T> image(images);
  const Var<T> reconstruction = scale(mean_squared_difference(made.student, image), weights.reconstruction);
  const Var<T> adversarial = scale(binary_cross_entropy(logits, 1.0), weights.adversarial);
  const Var<T> teacher = scale(mean_squared_difference(made.teacher, image), weights.teacher);
  const Var<T> distance = scale(made.distance, weights.distance);
  const Var<T> total = add(add(reconstruction, adversarial), add(teacher, distance));
  if (pass.tape) pass.tape->backward(total);
  return {{reconstruction.value(), adversarial.value(), teacher.value(), distance.value(), total.value()},
          made.remembered};
}

// The two terms of the discriminator's loss and their sum.
template <class T>
struct SquidCriticLoss {
  std::array<Tensor<T>, 3> terms;  // real, fake, total
};

// Adds the gradients of the discriminator's loss to its parameters. images and reconstructions (B,H,W,1) are constants;
// each goes through the discriminator as a batch of its own.
template <class T>
SquidCriticLoss<T> squid_critic_loss(const SquidDiscriminator<T>& discriminator, const Tensor<T>& images,
                                     const Tensor<T>& reconstructions, Tape<T>* tape, double weight) {
  const auto term = [&](const Tensor<T>& x, double label) {
    return scale(binary_cross_entropy(discriminator(Var<T>(x), tape, nn::Statistics::training), label), weight);
  };
  const Var<T> real = term(images, 1), fake = term(reconstructions, 0), total = add(real, fake);
  if (tape) tape->backward(total);
  return {{real.value(), fake.value(), total.value()}};
}

// The same against images with misplaced parts as well, (B,H,W,1), half of the weight each. All three go through the
// discriminator in one batch: with a batch for each, what tells them apart soonest is how their statistics differ, and
// of an image alone those say little.
template <class T>
SquidCriticLoss<T> squid_critic_loss(const SquidDiscriminator<T>& discriminator, const Tensor<T>& images,
                                     const Tensor<T>& reconstructions, const Tensor<T>& misplaced, Tape<T>* tape,
                                     double weight) {
  const std::int64_t B = images.size(0);
  auto all = Tensor<T>::empty({3 * B, images.size(1), images.size(2), images.size(3)}, images.device());
  all.slice(0, B).copy_from(images);
  all.slice(B, 2 * B).copy_from(reconstructions);
  all.slice(2 * B, 3 * B).copy_from(misplaced);
  const Var<T> logits = discriminator(Var<T>(all), tape, nn::Statistics::training);
  const auto term = [&](std::int64_t part, double label, double share) {
    return scale(binary_cross_entropy(slice(logits, part * B, (part + 1) * B), label), weight * share);
  };
  const Var<T> real = term(0, 1, 1), fake = add(term(1, 0, 0.5), term(2, 0, 0.5)), total = add(real, fake);
  if (tape) tape->backward(total);
  return {{real.value(), fake.value(), total.value()}};
}

// How a training run goes; everything depends on the number of the step, nothing on time. A step is one update of the
// generator and `critic_steps` of the discriminator, each on a batch of its own; the generator's is the first of them.
struct SquidRecipe {
  std::int64_t steps = 0;
  std::int64_t batch = 16;
  std::int64_t critic_steps = 2;  // the paper's n_critic
  SquidWeights weights;
  double generator_rate = 1e-4, critic_rate = 1e-4;  // Adam's, at the first step
  // Both rates, or the generator's alone, fall by half a cosine to final_rate of themselves over `period` steps, in
  // stairs of `stair` steps (the authors' code: an epoch).
  double final_rate = 1;
  std::int64_t period = 1, stair = 1;
  bool critic_falls = false;
  Math math = Math::fp32;  // of the generator's convolutions in training
  AugmentOptions augment{.shift = 0, .least_scale = 1, .most_scale = 1};
  // Set: the discriminator learns from images with misplaced parts as well, and the generator to put them right.
  std::optional<MisplaceOptions> misplaced;

  // The authors' settings for a configuration by name: 200 epochs over `images` pictures, or as many steps as are
  // given.
  static SquidRecipe published(std::string_view config, std::int64_t images, std::optional<std::int64_t> steps = {}) {
    SquidRecipe recipe;
    const bool digit = config == "digit";
    recipe.critic_steps = digit ? 1 : 2;
    if (digit)
      recipe.weights.reconstruction = 1;
    else
      recipe.augment = AugmentOptions{};
    const std::int64_t iterations = config == "chexpert" ? 85 : (images + recipe.batch - 1) / recipe.batch;
    recipe.stair = std::max<std::int64_t>(1, iterations / recipe.critic_steps);
    recipe.steps = steps.value_or(200 * recipe.stair);
    recipe.period = 300 * recipe.stair;
    recipe.final_rate = config == "zhanglab" ? 0.1 : digit ? 0.01 : 0.5;
    return recipe;
  }

  // Ours, in which training stays on course (docs/recipes.md has the measurements): ten times the rate, which falls to
  // nothing, as many steps of the one network as of the other and, for digits, a discriminator that also learns from
  // images with misplaced parts and a generator that learns to put them right. For radiographs the convolutions are
  // Winograd's, which at full width saves more than a quarter of a step.
  static SquidRecipe standard(std::string_view config, std::optional<std::int64_t> steps = {}) {
    SquidRecipe recipe;
    recipe.steps = steps.value_or(config == "digit" ? 2500 : 1800);
    recipe.critic_steps = 1;
    recipe.weights.critic = 1;
    recipe.generator_rate = recipe.critic_rate = 1e-3;
    recipe.final_rate = 0.02;
    recipe.period = recipe.steps;
    recipe.critic_falls = true;
    if (config == "digit") {
      recipe.misplaced = MisplaceOptions{};
    } else {
      recipe.augment = AugmentOptions{};
      recipe.math = Math::winograd;
    }
    return recipe;
  }

  // The learning rates of step `step`, counted from 0, as shares of those at first.
  double share_at(std::int64_t step) const {
    const double pi = 3.14159265358979323846;
    const double done = static_cast<double>(step / stair * stair) / static_cast<double>(std::max(period, stair));
    return final_rate + (1 - final_rate) * 0.5 * (1 + std::cos(pi * std::min(done, 1.0)));
  }

  template <class Json = cuttle::Json>
  typename Json::Object json() const {
    typename Json::Object members{
        {"steps", steps},
        {"batch", batch},
        {"critic_steps", critic_steps},
        {"weights", Json(typename Json::Object{{"reconstruction", weights.reconstruction},
                                               {"adversarial", weights.adversarial},
                                               {"teacher", weights.teacher},
                                               {"distance", weights.distance},
                                               {"critic", weights.critic}})},
        {"generator_rate", generator_rate},
        {"critic_rate", critic_rate},
        {"final_rate", final_rate},
        {"period", period},
        {"stair", stair},
        {"critic_falls", critic_falls},
        {"math", math == Math::winograd ? "winograd" : "fp32"},
        {"augment", Json(typename Json::Array{augment.shift, augment.least_scale, augment.most_scale})}};
    if (misplaced)
      members.emplace_back("misplaced", Json(typename Json::Object{{"share", misplaced->share},
                                                                   {"most_pieces", misplaced->most_pieces},
                                                                   {"whole", misplaced->whole},
                                                                   {"turned", misplaced->turned},
                                                                   {"blank", misplaced->blank},
                                                                   {"least_side", misplaced->least_side},
                                                                   {"most_side", misplaced->most_side},
                                                                   {"least_opacity", misplaced->least_opacity}}));
    return members;
  }
};

// One training run over gray images of one size, as bytes. The same seed gives the same networks, whatever the number
// of threads. Batches are drawn from one shuffle of all images after another; one that meets the end of a shuffle goes
// on with the next. On a device other than the CPU the first step runs as it comes, the second is recorded, and from
// then on a step is one launch of the record.
template <class T>
class SquidTrainer {
 public:
  // images (N,image_size,image_size,1) bytes; shared where they are on the device already, and copied to it otherwise.
  SquidTrainer(const Tensor<std::uint8_t>& images, const SquidConfig& config, const SquidRecipe& recipe,
               std::uint64_t seed, Device device = Device::cpu())
      : stream_(device),
        images_(checked(images, config, recipe).to(device)),
        recipe_(recipe),
        seed_(seed),
        networks_(config, nn::Initializer(seed)),
        generator_(networks_.generator, device),
        critic_(networks_.discriminator, device),
        // The authors' settings: the moments of generative adversarial networks, and PyTorch's L2 decay.
        generator_adam_(generator_, {.beta1 = 0.5, .beta2 = 0.999, .epsilon = 1e-7, .weight_decay = 1e-5}),
        critic_adam_(critic_, {.beta1 = 0.5, .beta2 = 0.999}),
        pointer_(Tensor<std::int64_t>::from({config.patches()},
                                            std::vector<std::int64_t>(static_cast<std::size_t>(config.patches()), 0))
                     .to(device)),
        step_state_(Tensor<StepState>::from({1}, {{0, 0}}).to(device)) {
    for (std::int64_t i = 0; i < recipe.critic_steps; ++i) {
      rows_.push_back(Tensor<std::int64_t>::empty({recipe.batch}, device));
      iteration_states_.push_back(Tensor<StepState>::from({1}, {{0, 0}}).to(device));
    }
    const auto mask = [&](std::int64_t level) {
      const std::int64_t side = config.size_at(level);
      return Tensor<T>::empty({recipe.batch * config.patches(), side, side, 1}, device);
    };
    inpaint_mask_ = mask(config.levels);
    for (std::int64_t block = 0; block < config.levels; ++block)
      decoder_masks_.push_back(networks_.generator.has_memory(block) ? mask(config.levels - 1 - block) : Tensor<T>());
    networks_.generator.set_math(recipe.math);
    synchronize(device);  // all that was queued on another stream than the steps will be
  }

  // Makes one update of the generator and its share of the discriminator's; returns the losses before them, the
  // discriminator's as means over its updates. Throws where one of them is not finite, which leaves the networks of use
  // to nobody.
  SquidLosses step() {
    StreamScope scope(stream_.device(), stream_.get());
    const double share = recipe_.share_at(steps_);
    step_state_.copy_from(Tensor<StepState>::from({1}, {{steps_, recipe_.generator_rate * share}}));
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      rows_[i].copy_from(next_rows());
      const std::int64_t iteration = steps_ * recipe_.critic_steps + static_cast<std::int64_t>(i);
      iteration_states_[i].copy_from(
          Tensor<StepState>::from({1}, {{iteration, recipe_.critic_rate * (recipe_.critic_falls ? share : 1)}}));
    }
    if (stream_.device().is_cpu() || !ran_) {
      update();
    } else {
      if (!recorded_) recorded_.emplace(stream_, [&] { update(); });
      recorded_->launch();
    }
    ran_ = true;
    ++steps_;
    return losses();
  }

  std::int64_t steps() const noexcept { return steps_; }
  const SquidRecipe& recipe() const noexcept { return recipe_; }
  SquidNetworks<T>& networks() noexcept { return networks_; }

  // For checkpoints (models/checkpoint.hpp).
  static constexpr const char* run_kind = "training of squid";
  template <class Json = cuttle::Json>
  typename Json::Object identity() const {
    return {{"config", networks_.generator.config().json()},
            {"recipe", Json(recipe_.json())},
            {"seed", std::to_string(seed_)},
            {"images", fingerprint(images_)}};
  }
  template <class Visit>
  void state(Visit&& visit) {
    for_each_changing(networks_.generator, "g", generator_, generator_adam_, visit);
    for_each_changing(networks_.discriminator, "d", critic_, critic_adam_, visit);
    visit("queue_pointer", pointer_);
  }
  void continue_after(std::int64_t steps) {
    require(steps_ == 0, "SquidTrainer: a run is taken up before its first step, not behind ", steps_);
    steps_ = steps;
    synchronize(stream_.device());  // the state was copied in on another stream than the steps will be
    const std::int64_t drawn = steps * recipe_.critic_steps * recipe_.batch, N = images_.size(0);
    shuffles_ = static_cast<std::uint64_t>((drawn + N - 1) / N);
    if (shuffles_ > 0) shuffled_ = shuffle(shuffles_ - 1);
    next_ = static_cast<std::size_t>(drawn - static_cast<std::int64_t>(shuffles_) * N + std::ssize(shuffled_));
  }

 private:
  // Random streams by their uses; a step's number is added to each.
  enum class Draws : std::uint64_t { seen_by_critic_step, misplaced, seen, masks };
  static std::uint64_t stream_of(Draws use, std::int64_t i = 0) {
    return (std::uint64_t{5} << 56) + ((static_cast<std::uint64_t>(use) + static_cast<std::uint64_t>(i)) << 48);
  }

  static const Tensor<std::uint8_t>& checked(const Tensor<std::uint8_t>& images, const SquidConfig& config,
                                             const SquidRecipe& recipe) {
    const char* op = "SquidTrainer";
    config.check();
    const std::int64_t size = config.image_size;
    require(images.rank() == 4 && images.size(0) >= 1 && images.size(1) == size && images.size(2) == size &&
                images.size(3) == 1,
            op, ": images have shape ", images.shape(), ", expected (N,", size, ",", size, ",1) with N at least 1");
    require(recipe.batch >= 2, op, ": batch is ", recipe.batch, ", but batch normalisation wants at least 2 images");
    require(recipe.batch <= config.slots, op, ": a batch of ", recipe.batch, " does not fit into queues of ",
            config.slots, " slots");
    require(recipe.critic_steps >= 1, op, ": critic_steps is ", recipe.critic_steps);
    return images;
  }

  // All rows in the order of the number-th time that they are drawn.
  std::vector<std::int64_t> shuffle(std::uint64_t number) const {
    constexpr std::uint64_t streams = std::uint64_t{6} << 56;
    return random_permutation(images_.size(0), seed_, streams + number);
  }
  // The rows of the next batch.
  Tensor<std::int64_t> next_rows() {
    auto rows = Tensor<std::int64_t>::empty({recipe_.batch});
    for (std::int64_t& row : rows.span()) {
      if (next_ == shuffled_.size()) {
        shuffled_ = shuffle(shuffles_++);
        next_ = 0;
      }
      row = shuffled_[next_++];
    }
    return rows;
  }

  // A pass in training, its masks drawn for the iteration; turn 0 is the discriminator's, 1 the generator's.
  SquidPass<T> pass(Tape<T>* tape, const Tensor<StepState>& iteration, std::int64_t turn) {
    const SquidConfig& config = networks_.generator.config();
    const std::int64_t levels = config.levels;
    bernoulli_mask(inpaint_mask_, config.generated_share, seed_, stream_of(Draws::masks, turn * (levels + 1)),
                   iteration);
    for (std::int64_t i = 0; i < levels; ++i)
      if (Tensor<T>& mask = decoder_masks_[static_cast<std::size_t>(i)]; mask.defined())
        bernoulli_mask(mask, SquidConfig::decoder_generated_share, seed_,
                       stream_of(Draws::masks, turn * (levels + 1) + 1 + i), iteration);
    SquidPass<T> pass;
    pass.tape = tape;
    pass.training = true;
    pass.inpaint_mask = inpaint_mask_;
    pass.decoder_masks = decoder_masks_;
    return pass;
  }

  // images with misplaced parts, where the recipe has them.
  Tensor<T> misplace(const Tensor<T>& images, Draws use, const Tensor<StepState>& iteration, double share) const {
    MisplaceOptions options = *recipe_.misplaced;
    options.share = share;
    return misplace_patches(images, networks_.generator.config().grid, options, seed_, stream_of(use), iteration);
  }

  // Everything that a step queues; it reads no number from the host that changes between steps.
  void update() {
    terms_.clear();  // their memory serves the next ones
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const Tensor<StepState>& iteration = iteration_states_[i];
      const Tensor<T> images = augment<T>(images_, rows_[i], recipe_.augment, seed_, iteration);
      update_critic(images, iteration);
      if (i == 0) update_generator(images, iteration);
    }
  }

  void update_critic(const Tensor<T>& images, const Tensor<StepState>& iteration) {
    const bool misplaced = recipe_.misplaced.has_value();
    SquidPass<T> without_tape = pass(nullptr, iteration, 0);
    without_tape.teacher = false;
    const Tensor<T> seen =
        misplaced ? misplace(images, Draws::seen_by_critic_step, iteration, recipe_.misplaced->share) : images;
    const Tensor<T> reconstructions = networks_.generator(seen, without_tape).student.value();
    critic_.zero_grad();
    const SquidCriticLoss<T> loss =
        misplaced ? squid_critic_loss(networks_.discriminator, images, reconstructions,
                                      misplace(images, Draws::misplaced, iteration, 1), &tape_, recipe_.weights.critic)
                  : squid_critic_loss(networks_.discriminator, images, reconstructions, &tape_, recipe_.weights.critic);
    tape_.clear();
    critic_adam_.step(iteration);
    terms_.insert(terms_.end(), loss.terms.begin(), loss.terms.end());
  }

  void update_generator(const Tensor<T>& images, const Tensor<StepState>& iteration) {
    generator_.zero_grad();
    const Tensor<T> seen =
        recipe_.misplaced ? misplace(images, Draws::seen, iteration, recipe_.misplaced->share) : images;
    // Where the discriminator is to be used with its running statistics, those of reconstructions alone do not count.
    const SquidGeneratorLoss<T> loss =
        squid_generator_loss(networks_, images, seen, pass(&tape_, iteration, 1), recipe_.weights,
                             recipe_.misplaced ? nn::Statistics::batch : nn::Statistics::training);
    tape_.clear();
    generator_adam_.step(step_state_);
    queue_update(networks_.generator.queues(), pointer_, loss.remembered);
    terms_.insert(terms_.end(), loss.terms.begin(), loss.terms.end());
  }

  // The numbers of the last update on the host: the discriminator's three of the first iteration, the generator's five,
  // then the discriminator's of the other iterations.
  SquidLosses losses() const {
    std::vector<double> numbers;
    for (const Tensor<T>& term : terms_) numbers.push_back(static_cast<double>(term.to(Device::cpu()).data()[0]));
    SquidLosses losses;
    std::tie(losses.reconstruction, losses.adversarial, losses.teacher, losses.distance, losses.generator) =
        std::tie(numbers[3], numbers[4], numbers[5], numbers[6], numbers[7]);
    numbers.erase(numbers.begin() + 3, numbers.begin() + 8);
    const double n = static_cast<double>(recipe_.critic_steps);
    for (std::size_t i = 0; i < numbers.size(); i += 3) {
      losses.critic_real += numbers[i] / n;
      losses.critic_fake += numbers[i + 1] / n;
      losses.critic += numbers[i + 2] / n;
    }
    const std::array<std::pair<const char*, double>, 6> terms{
        {{"reconstruction", losses.reconstruction},
         {"adversarial", losses.adversarial},
         {"teacher's", losses.teacher},
         {"distillation", losses.distance},
         {"discriminator's loss of images", losses.critic_real},
         {"discriminator's loss of reconstructions", losses.critic_fake}}};
    for (const auto& [name, value] : terms)
      require(std::isfinite(value), "SQUID training: the ", name, " term is ", value, " at step ", steps_,
              "; lower the learning rate");
    return losses;
  }

  Stream stream_;
  Tensor<std::uint8_t> images_;
  SquidRecipe recipe_;
  std::uint64_t seed_;
  SquidNetworks<T> networks_;
  nn::ParameterArena<T> generator_, critic_;
  nn::Adam<T> generator_adam_, critic_adam_;
  Tape<T> tape_;
  Tensor<std::int64_t> pointer_;
  Tensor<StepState> step_state_;                     // of the generator's update
  std::vector<Tensor<StepState>> iteration_states_;  // of the discriminator's updates
  std::vector<Tensor<std::int64_t>> rows_;
  Tensor<T> inpaint_mask_;
  std::vector<Tensor<T>> decoder_masks_;
  std::vector<Tensor<T>> terms_;
  std::vector<std::int64_t> shuffled_;
  std::size_t next_ = 0;
  std::uint64_t shuffles_ = 0;
  std::optional<RecordedWork> recorded_;
  std::int64_t steps_ = 0;
  bool ran_ = false;  // a step, here
};

}  // namespace cuttle
