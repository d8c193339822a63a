// Training SQUID: the discriminator and the generator in turn (Xiang et al., CVPR 2023, section 3.4, as the authors'
// code does it).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "cuttle/core/graph.hpp"
#include "cuttle/io/json.hpp"
#include "cuttle/models/squid_network.hpp"
#include "cuttle/nn/optim.hpp"

namespace cuttle {

// Weights of the terms of both losses:
//   generator      reconstruction * mse(student, image) + adversarial * bce(D(student), 1) + teacher * mse(teacher,
//   image)
//                  + distance * (student to teacher, all levels)
//   discriminator  critic * (bce(D(image), 1) + bce(D(student), 0))
struct SquidWeights {
  double reconstruction = 10, adversarial = 0.005, teacher = 0.01, distance = 0.001, critic = 0.005;
};

// What an iteration reports; the terms are weighted, and those of the generator are of its last step.
struct SquidLosses {
  double reconstruction = 0, adversarial = 0, teacher = 0, distance = 0, generator = 0;
  double critic_real = 0, critic_fake = 0, critic = 0;
};

template <class T>
struct SquidNetworks {
  SquidGenerator<T> generator;
  SquidDiscriminator<T> discriminator;

  SquidNetworks(const SquidConfig& config, nn::Initializer init)
      : generator(config, init), discriminator(config.image_size, init) {}
};

// The four terms of the generator's loss and their sum, scalars (1) where they were computed.
template <class T>
struct SquidGeneratorLoss {
  std::array<Tensor<T>, 5> terms;  // reconstruction, adversarial, teacher, distance, total
  Tensor<T> remembered;            // for the queues, (B,P,E)
};

// Adds the gradients of the generator's loss to its parameters (and some to the discriminator's, which its own step
// clears before use). images (B,H,W,1).
template <class T>
SquidGeneratorLoss<T> squid_generator_loss(const SquidNetworks<T>& networks, const Tensor<T>& images,
                                           const SquidPass<T>& pass, const SquidWeights& weights) {
  const SquidReconstruction<T> made = networks.generator(images, pass);
  const Var<T> logits = networks.discriminator(made.student, pass.tape, nn::Statistics::training);
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

}  // namespace cuttle
