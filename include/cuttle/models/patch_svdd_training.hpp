// Training Patch SVDD: batches of patch pairs, the two losses at both scales, one optimiser step after another.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "cuttle/models/patch_svdd_network.hpp"
#include "cuttle/nn/optim.hpp"
#include "cuttle/ops/extract_patches.hpp"

namespace cuttle {

// How a training run goes; everything depends on the number of the step, nothing on time.
struct PatchSvddRecipe {
  std::int64_t steps = 0;
  std::int64_t batch = 64;          // pairs of each of the four tasks
  double learning_rate = 1e-4;      // Adam's, after the warm-up
  std::int64_t warmup = 0;          // steps over which the rate rises linearly
  double final_rate = 1;            // the rate falls by half a cosine to this share of itself at the last step
  double lambda = 1e-3;             // weight of the mean distances
  nn::Initializer::Scheme initialisation = nn::Initializer::Scheme::pytorch;
  Math math = Math::fp32;           // of the trunk's convolutions in training

  // The paper's: Adam at 1e-4 throughout, batch 64, PyTorch's initialisation, 300 epochs in each of which every one of
  // `images` is drawn 100 times on average.
  static PatchSvddRecipe published(std::int64_t images) {
    PatchSvddRecipe recipe;
    recipe.steps = 300 * ((images * 100 + recipe.batch - 1) / recipe.batch);
    return recipe;
  }

  // The learning rate of step `step`, counted from 0.
  double rate_at(std::int64_t step) const {
    if (step < warmup) return learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup);
    if (final_rate == 1 || steps <= warmup + 1) return learning_rate;
    const double pi = 3.14159265358979323846;
    const double done = static_cast<double>(step - warmup) / static_cast<double>(steps - 1 - warmup);
    return learning_rate * (final_rate + (1 - final_rate) * 0.5 * (1 + std::cos(pi * std::min(done, 1.0))));
  }
};

// The two networks that are trained together with the encoder's.
template <class T>
struct PatchSvddNetworks {
  PatchEncoder<T> encoder;
  PositionClassifier<T> classifier_large, classifier_small;

  explicit PatchSvddNetworks(nn::Initializer init) : encoder(init), classifier_large(init), classifier_small(init) {}

  template <class Visit>
  void parameters(Visit&& visit, const std::string& prefix) {
    encoder.parameters(visit, prefix + "enc.");
    classifier_large.parameters(visit, prefix + "cls_64.");
    classifier_small.parameters(visit, prefix + "cls_32.");
  }
};

// The four tasks of a step: relative position and neighbourhood ("SVDD") at both patch sizes. All their patches lie in
// one tensor of 32 x 32 tiles, four a large patch, so that the trunk runs once:
//   position_large first, second (4B each), svdd_large first, second (4B each), position_small ... (B each), svdd_small ...
template <class T>
struct PatchSvddBatch {
  Tensor<T> tiles;                                     // (20B,32,32,3)
  Tensor<std::int32_t> labels_large, labels_small;     // (B) in 0..7

  explicit PatchSvddBatch(std::int64_t B)
      : tiles(Tensor<T>::empty({20 * B, PatchSvddSizes::small, PatchSvddSizes::small, 3})),
        labels_large(Tensor<std::int32_t>::empty({B})),
        labels_small(Tensor<std::int32_t>::empty({B})) {}

  std::int64_t B() const { return labels_large.numel(); }
  // The tiles of one side (0 first, 1 second) of a task.
  Tensor<T> position_large(int side) const { return tiles.slice((4 * side) * B(), (4 * side + 4) * B()); }
  Tensor<T> svdd_large(int side) const { return tiles.slice((8 + 4 * side) * B(), (12 + 4 * side) * B()); }
  Tensor<T> position_small(int side) const { return tiles.slice((16 + side) * B(), (17 + side) * B()); }
  Tensor<T> svdd_small(int side) const { return tiles.slice((18 + side) * B(), (19 + side) * B()); }
};

// total = position_large + position_small + lambda * (svdd_large + svdd_small); accuracies of the two classifiers.
struct PatchSvddLosses {
  double position_large = 0, position_small = 0, svdd_large = 0, svdd_small = 0, total = 0;
  double accuracy_large = 0, accuracy_small = 0;
};

// Computes the losses of a batch; with a tape, adds their gradients to those of the networks' parameters.
template <class T>
PatchSvddLosses patch_svdd_losses(const PatchSvddNetworks<T>& networks, const PatchSvddBatch<T>& batch, double lambda,
                                  Tape<T>* tape) {
  const std::int64_t B = batch.B();
  const PatchEncoder<T>& encoder = networks.encoder;
  const Var<T> tiles = encoder.embed_small(batch.tiles, tape);
  const Var<T> large = encoder.embed_large(slice(tiles, 0, 16 * B), tape);
  const Var<T> small = slice(tiles, 16 * B, 20 * B);
  const auto rows = [B](const Var<T>& h, std::int64_t part) { return slice(h, part * B, (part + 1) * B); };

  const Var<T> logits_large = networks.classifier_large(rows(large, 0), rows(large, 1), tape);
  const Var<T> logits_small = networks.classifier_small(rows(small, 0), rows(small, 1), tape);
  const Var<T> position_large = cross_entropy(logits_large, batch.labels_large);
  const Var<T> position_small = cross_entropy(logits_small, batch.labels_small);
  const Var<T> svdd_large = mean_distance(rows(large, 2), rows(large, 3));
  const Var<T> svdd_small = mean_distance(rows(small, 2), rows(small, 3));
  const Var<T> total = add(add(position_large, position_small), scale(add(svdd_large, svdd_small), lambda));
  if (tape) tape->backward(total);

  const auto number = [](const Var<T>& loss) { return static_cast<double>(loss.value().item()); };
  return {number(position_large), number(position_small),
          number(svdd_large),     number(svdd_small),
          number(total),          accuracy(logits_large.value(), batch.labels_large),
          accuracy(logits_small.value(), batch.labels_small)};
}

// One training run over images of one size, as bytes. The same seed gives the same networks, whatever the number of
// threads.
template <class T>
class PatchSvddTrainer {
 public:
  // images (N,H,W,3) bytes, mean (H,W,3) their mean image; both are shared, not copied.
  PatchSvddTrainer(Tensor<std::uint8_t> images, Tensor<float> mean, const PatchSvddRecipe& recipe, std::uint64_t seed)
      : images_(std::move(images)),
        mean_(std::move(mean)),
        recipe_(recipe),
        seed_(seed),
        networks_(nn::Initializer(seed, recipe.initialisation, PatchSvddSizes::slope)),
        arena_(networks_),
        adam_(arena_, {.learning_rate = recipe.learning_rate}),
        batch_((require(recipe.batch >= 1, "PatchSvddTrainer: batch is ", recipe.batch), recipe.batch)) {
    networks_.encoder.set_math(recipe.math);
  }

  // Draws a batch and makes one update; returns the losses before it. Throws where a loss is not finite.
  PatchSvddLosses step() {
    draw_batch();
    tape_.clear();
    arena_.zero_grad();
    const PatchSvddLosses losses = patch_svdd_losses(networks_, batch_, recipe_.lambda, &tape_);
    tape_.clear();
    const std::array<std::pair<const char*, double>, 4> terms{{{"position loss at K=64", losses.position_large},
                                                               {"position loss at K=32", losses.position_small},
                                                               {"SVDD loss at K=64", losses.svdd_large},
                                                               {"SVDD loss at K=32", losses.svdd_small}}};
    for (const auto& [name, loss] : terms)
      require(std::isfinite(loss), "Patch SVDD training: the ", name, " is ", loss, " at step ", steps_ + 1,
              "; lower the learning rate");
    adam_.set_learning_rate(recipe_.rate_at(steps_));
    adam_.step();
    ++steps_;
    return losses;
  }

  std::int64_t steps() const noexcept { return steps_; }
  const PatchSvddRecipe& recipe() const noexcept { return recipe_; }
  PatchSvddNetworks<T>& networks() noexcept { return networks_; }

 private:
  void draw_batch() {
    const auto draw = [&](PatchTask task, std::int64_t patch_size, const Tensor<T>& first, const Tensor<T>& second,
                          const Tensor<std::int32_t>& labels) {
      random_patch_pairs(images_, mean_, {.task = task, .patch_size = patch_size, .tile_size = PatchSvddSizes::small},
                         seed_, steps_, first, second, labels);
    };
    const Tensor<std::int32_t> none;
    draw(PatchTask::position, PatchSvddSizes::large, batch_.position_large(0), batch_.position_large(1),
         batch_.labels_large);
    draw(PatchTask::svdd, PatchSvddSizes::large, batch_.svdd_large(0), batch_.svdd_large(1), none);
    draw(PatchTask::position, PatchSvddSizes::small, batch_.position_small(0), batch_.position_small(1),
         batch_.labels_small);
    draw(PatchTask::svdd, PatchSvddSizes::small, batch_.svdd_small(0), batch_.svdd_small(1), none);
  }

  Tensor<std::uint8_t> images_;
  Tensor<float> mean_;
  PatchSvddRecipe recipe_;
  std::uint64_t seed_;
  PatchSvddNetworks<T> networks_;
  nn::ParameterArena<T> arena_;
  nn::Adam<T> adam_;
  Tape<T> tape_;
  PatchSvddBatch<T> batch_;
  std::int64_t steps_ = 0;
};

}  // namespace cuttle
