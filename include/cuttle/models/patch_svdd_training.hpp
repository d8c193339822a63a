// Training Patch SVDD: batches of patch pairs, the two losses at both scales, one optimiser step after another.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "cuttle/core/graph.hpp"
#include "cuttle/io/json.hpp"
#include "cuttle/models/checkpoint.hpp"
#include "cuttle/models/patch_svdd_batch.hpp"
#include "cuttle/models/patch_svdd_network.hpp"
#include "cuttle/nn/optim.hpp"

namespace cuttle {

// How a training run goes; everything depends on the number of the step, nothing on time.
struct PatchSvddRecipe {
  std::int64_t steps = 0;
  std::int64_t batch = 64;                    // pairs of each of the four tasks, isolated patches
  std::optional<PatchSvddCropOptions> crops;  // set: pairs from crops instead
  double learning_rate = 1e-4;                // Adam's, after the warm-up
  double beta2 = 0.999;                       // Adam's
  std::int64_t warmup = 0;                    // steps over which the rate rises linearly
  double final_rate = 1;  // the rate falls by half a cosine to this share of itself at the last step
  double lambda = 1e-3;   // weight of the mean distances
  nn::Initializer::Scheme initialisation = nn::Initializer::Scheme::pytorch;
  Math math = Math::fp32;  // of the trunk's convolutions in training

  // The paper's: Adam at 1e-4 throughout, batch 64, PyTorch's initialisation, 300 epochs over `images` pictures.
  static PatchSvddRecipe published(std::int64_t images) {
    PatchSvddRecipe recipe;
    recipe.steps = 300 * steps_an_epoch(images, recipe.batch);
    return recipe;
  }

  // A detector soonest on a processor: pairs from crops (PatchSvddCropBatch), He's initialisation, which keeps
  // different patches apart from the start, and a rate ten times the paper's with a warm-up and a decay.
  static PatchSvddRecipe standard() {
    PatchSvddRecipe recipe;
    recipe.steps = 180;
    recipe.crops = PatchSvddCropOptions{};
    recipe.learning_rate = 1e-3;
    recipe.beta2 = 0.99;
    recipe.warmup = 10;
    recipe.final_rate = 0.05;
    recipe.initialisation = nn::Initializer::Scheme::he;
    recipe.math = Math::winograd;
    return recipe;
  }

  // An epoch draws every picture 100 times on average, as the reference's does.
  static std::int64_t steps_an_epoch(std::int64_t images, std::int64_t batch) {
    return (images * 100 + batch - 1) / batch;
  }

  template <class Json = cuttle::Json>
  typename Json::Object json() const {
    typename Json::Object members{{"steps", steps},
                                  {"learning_rate", learning_rate},
                                  {"beta2", beta2},
                                  {"warmup", warmup},
                                  {"final_rate", final_rate},
                                  {"lambda", lambda},
                                  {"initialisation", initialisation == nn::Initializer::Scheme::he ? "he" : "pytorch"},
                                  {"math", math == Math::winograd ? "winograd" : "fp32"}};
    if (crops) {
      members.emplace_back("crops", crops->crops);
      members.emplace_back("crop_size", crops->size);
      members.emplace_back("pairs", crops->pairs);
    } else {
      members.emplace_back("batch", batch);
    }
    return members;
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

// total = position_large + position_small + lambda * (svdd_large + svdd_small); accuracies of the two classifiers.
struct PatchSvddLosses {
  double position_large = 0, position_small = 0, svdd_large = 0, svdd_small = 0, total = 0;
  double accuracy_large = 0, accuracy_small = 0;
};

// The same numbers where they were computed, one tensor, so that one copy brings them to the host: the losses in the
// order above, then the two counts of right answers among `pairs`.
template <class T>
struct PatchSvddReport {
  Tensor<T> numbers;  // (7)
  std::int64_t pairs = 0;

  // Waits for the device.
  PatchSvddLosses losses() const {
    const Tensor<T> here = numbers.to(Device::cpu());
    const auto at = [&](std::int64_t i) { return static_cast<double>(here.data()[i]); };
    const double n = static_cast<double>(pairs);
    return {at(0), at(1), at(2), at(3), at(4), at(5) / n, at(6) / n};
  }
};

// Computes the losses of a batch (their equation 5); with a tape, adds their gradients to those of the parameters.
template <class T, class Batch>
PatchSvddReport<T> patch_svdd_losses(const PatchSvddNetworks<T>& networks, const Batch& batch, double lambda,
                                     Tape<T>* tape) {
  const PairEmbeddings<T> h = embed_pairs(networks.encoder, batch, tape);
  const Var<T> logits_large = networks.classifier_large(h.position_large[0], h.position_large[1], tape);
  const Var<T> logits_small = networks.classifier_small(h.position_small[0], h.position_small[1], tape);
  Tensor<T> right_large, right_small;
  const Var<T> position_large = cross_entropy(logits_large, batch.labels_large, &right_large);
  const Var<T> position_small = cross_entropy(logits_small, batch.labels_small, &right_small);
  const Var<T> svdd_large = mean_distance(h.svdd_large[0], h.svdd_large[1]);
  const Var<T> svdd_small = mean_distance(h.svdd_small[0], h.svdd_small[1]);
  const Var<T> total = add(add(position_large, position_small), scale(add(svdd_large, svdd_small), lambda));
  if (tape) tape->backward(total);

  PatchSvddReport<T> report{Tensor<T>::empty({7}, total.value().device()), batch.labels_large.numel()};
  std::int64_t next = 0;
  for (const Tensor<T>& number : {position_large.value(), position_small.value(), svdd_large.value(),
                                  svdd_small.value(), total.value(), right_large, right_small}) {
    report.numbers.slice(next, next + 1).copy_from(number);
    ++next;
  }
  return report;
}

// One training run over images of one size, as bytes. The same seed gives the same networks, whatever the number of
// threads. On a device other than the CPU the first step runs as it comes, the second is recorded, and from then on a
// step is one launch of the record.
template <class T>
class PatchSvddTrainer {
 public:
  // images (N,H,W,3) bytes, mean (H,W,3) their mean image; both are shared where they are on the device already, and
  // copied to it otherwise.
  PatchSvddTrainer(const Tensor<std::uint8_t>& images, const Tensor<float>& mean, const PatchSvddRecipe& recipe,
                   std::uint64_t seed, Device device = Device::cpu())
      : stream_(device),
        images_(images.to(device)),
        mean_(mean.to(device)),
        recipe_(recipe),
        seed_(seed),
        networks_(nn::Initializer(seed, recipe.initialisation)),
        arena_(networks_, device),
        adam_(arena_, {.learning_rate = recipe.learning_rate, .beta2 = recipe.beta2}),
        batch_(make_batch(recipe, device)),
        state_(Tensor<StepState>::from({1}, {{0, 0}}).to(device)) {
    networks_.encoder.set_math(recipe.math);
    synchronize(device);  // all that was queued on another stream than the steps will be
  }

  // Draws a batch and makes one update; returns the losses before it. Throws where one of them is not finite, which
  // leaves the networks of use to nobody.
  PatchSvddLosses step() {
    StreamScope scope(stream_.device(), stream_.get());
    state_.copy_from(Tensor<StepState>::from({1}, {{steps_, recipe_.rate_at(steps_)}}));
    if (stream_.device().is_cpu() || !ran_) {
      update();
    } else {
      if (!recorded_) recorded_.emplace(stream_, [&] { update(); });
      recorded_->launch();
    }
    ran_ = true;
    const PatchSvddLosses losses = report_.losses();
    ++steps_;
    const std::array<std::pair<const char*, double>, 4> terms{{{"position loss at K=64", losses.position_large},
                                                               {"position loss at K=32", losses.position_small},
                                                               {"SVDD loss at K=64", losses.svdd_large},
                                                               {"SVDD loss at K=32", losses.svdd_small}}};
    for (const auto& [name, loss] : terms)
      require(std::isfinite(loss), "Patch SVDD training: the ", name, " is ", loss, " at step ", steps_,
              "; lower the learning rate");
    return losses;
  }

  std::int64_t steps() const noexcept { return steps_; }
  const PatchSvddRecipe& recipe() const noexcept { return recipe_; }
  PatchSvddNetworks<T>& networks() noexcept { return networks_; }

  // For checkpoints (models/checkpoint.hpp).
  static constexpr const char* run_kind = "training of patch_svdd";
  template <class Json = cuttle::Json>
  typename Json::Object identity() const {
    return {{"recipe", Json(recipe_.json())},
            {"seed", std::to_string(seed_)},
            {"images", fingerprint(images_)},
            {"mean image", fingerprint(mean_)}};
  }
  template <class Visit>
  void state(Visit&& visit) {
    for_each_changing(networks_, "networks", arena_, adam_, visit);
  }
  void continue_after(std::int64_t steps) {
    require(steps_ == 0, "PatchSvddTrainer: a run is taken up before its first step, not behind ", steps_);
    steps_ = steps;
    synchronize(stream_.device());  // the state was copied in on another stream than the steps will be
  }

 private:
  using Batch = std::variant<PatchSvddBatch<T>, PatchSvddCropBatch<T>>;

  static Batch make_batch(const PatchSvddRecipe& recipe, Device device) {
    if (recipe.crops) return PatchSvddCropBatch<T>(*recipe.crops, device);
    require(recipe.batch >= 1, "PatchSvddTrainer: batch is ", recipe.batch);
    return PatchSvddBatch<T>(recipe.batch, device);
  }

  // Everything that a step queues; it reads no number from the host that changes between steps.
  void update() {
    report_ = {};  // its memory serves the next one
    arena_.zero_grad();
    report_ = std::visit(
        [&](auto& batch) {
          batch.draw(images_, mean_, seed_, state_);
          return patch_svdd_losses(networks_, batch, recipe_.lambda, &tape_);
        },
        batch_);
    tape_.clear();
    adam_.step(state_);
  }

  Stream stream_;
  Tensor<std::uint8_t> images_;
  Tensor<float> mean_;
  PatchSvddRecipe recipe_;
  std::uint64_t seed_;
  PatchSvddNetworks<T> networks_;
  nn::ParameterArena<T> arena_;
  nn::Adam<T> adam_;
  Tape<T> tape_;
  Batch batch_;
  Tensor<StepState> state_;
  PatchSvddReport<T> report_;
  std::optional<RecordedWork> recorded_;
  std::int64_t steps_ = 0;
  bool ran_ = false;  // a step, here
};

}  // namespace cuttle
