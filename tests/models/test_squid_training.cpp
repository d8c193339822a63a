// SQUID's training: the losses by their formulas, the loop against the same one written out, threads and devices.
#include "cuttle/models/squid_training.hpp"

#include <cmath>
#include <limits>

#include "tests/models/small_squid.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using cuttle_test::contains;
using cuttle_test::differing;
using cuttle_test::gray_pictures;
using cuttle_test::small_digit;
using cuttle_test::small_zhanglab;
using cuttle_test::state_of;
using cuttle_test::uniform_tensor;

namespace {

SquidRecipe short_recipe(SquidRecipe recipe, std::int64_t batch, std::int64_t critic_steps) {
  recipe.batch = batch;
  recipe.critic_steps = critic_steps;
  return recipe;
}
// For chest radiographs: augmented, the discriminator twice for each step.
SquidRecipe published(std::int64_t batch = 3, std::int64_t critic_steps = 2) {
  return short_recipe(SquidRecipe::published("zhanglab", 12), batch, critic_steps);
}
// For digits: plain images, some of them with misplaced parts.
SquidRecipe standard(std::int64_t batch = 3, std::int64_t critic_steps = 1) {
  return short_recipe(SquidRecipe::standard("digit", 7), batch, critic_steps);
}

template <class T>
using State = std::map<std::string, Tensor<T>>;

template <class T>
struct Run {
  State<T> state;
  std::vector<SquidLosses> losses;
};

template <class T>
Run<T> trained(SquidTrainer<T>& trainer, std::int64_t steps) {
  Run<T> run;
  for (std::int64_t step = 0; step < steps; ++step) run.losses.push_back(trainer.step());
  run.state = state_of<T>(trainer.networks());
  return run;
}

std::vector<double> numbers(const SquidLosses& l) {
  return {l.reconstruction, l.adversarial, l.teacher, l.distance, l.generator, l.critic_real, l.critic_fake, l.critic};
}

// Algorithm: for every step, critic_steps batches. Each is augmented and teaches the discriminator; the first then
// teaches the generator, whose features go into the queues. What is drawn is named by the use and the number of the
// batch, so that a seed means the same run for ever.
template <class T>
Run<T> trained_by_hand(const Tensor<std::uint8_t>& images, const SquidConfig& config, const SquidRecipe& recipe,
                       std::uint64_t seed, std::int64_t steps, Device device) {
  SquidNetworks<T> networks(config, nn::Initializer(seed));
  nn::ParameterArena<T> generator(networks.generator, device), critic(networks.discriminator, device);
  const auto zeros = [&](nn::ParameterArena<T>& arena) { return Tensor<T>::zeros(arena.values().shape(), device); };
  auto generator_m = zeros(generator), generator_v = zeros(generator), critic_m = zeros(critic),
       critic_v = zeros(critic);
  auto pointer = Tensor<std::int64_t>::full({config.patches()}, 0, device);
  const Tensor<std::uint8_t> there = images.to(device);
  const auto draws = [](std::int64_t use) {
    return (std::uint64_t{5} << 56) + (static_cast<std::uint64_t>(use) << 48);
  };
  std::vector<std::int64_t> order;
  Tape<T> tape;
  Run<T> run;
  for (std::int64_t step = 0; step < steps; ++step) {
    SquidLosses losses;
    const auto value = [](const Tensor<T>& term) { return static_cast<double>(term.to(Device::cpu()).item()); };
    for (std::int64_t i = 0; i < recipe.critic_steps; ++i) {
      const std::int64_t batch = step * recipe.critic_steps + i;
      std::vector<std::int64_t> rows;
      for (std::int64_t b = batch * recipe.batch; b < (batch + 1) * recipe.batch; ++b) {
        const std::int64_t N = images.size(0);
        if (b % N == 0)
          order = random_permutation(N, seed, (std::uint64_t{6} << 56) + static_cast<std::uint64_t>(b / N));
        rows.push_back(order[static_cast<std::size_t>(b % N)]);
      }
      const Tensor<T> x =
          augment<T>(there, Tensor<std::int64_t>::from({recipe.batch}, rows).to(device), recipe.augment, seed, batch);
      const auto pass = [&](Tape<T>* recording, std::int64_t turn) {
        const auto mask = [&](std::int64_t level, double share, std::int64_t use) {
          const std::int64_t side = config.image_size / config.grid >> level;
          auto drawn = Tensor<T>::empty({recipe.batch * config.grid * config.grid, side, side, 1}, device);
          bernoulli_mask(drawn, share, seed, draws(3 + turn * (config.levels + 1) + use), batch);
          return drawn;
        };
        SquidPass<T> result;
        result.tape = recording;
        result.training = true;
        result.teacher = recording != nullptr;
        result.inpaint_mask = mask(config.levels, config.generated_share, 0);
        for (std::int64_t block = 0; block < config.levels; ++block) {
          const std::int64_t level = config.levels - 1 - block;
          result.decoder_masks.push_back(config.memory_at(level).kind == SquidDecoderMemory::Kind::none
                                             ? Tensor<T>()
                                             : mask(level, 0.95, 1 + block));
        }
        return result;
      };
      const auto misplaced = [&](std::int64_t use, double share) {
        MisplaceOptions options = *recipe.misplaced;
        options.share = share;
        return misplace_patches(x, config.grid, options, seed, draws(use), batch);
      };
      const double fall = recipe.share_at(step);

      critic.zero_grad();
      const Tensor<T> seen = recipe.misplaced ? misplaced(0, recipe.misplaced->share) : x;
      const Tensor<T> recon = networks.generator(seen, pass(nullptr, 0)).student.value();
      const SquidCriticLoss<T> d =
          recipe.misplaced
              ? squid_critic_loss(networks.discriminator, x, recon, misplaced(1, 1), &tape, recipe.weights.critic)
              : squid_critic_loss(networks.discriminator, x, recon, &tape, recipe.weights.critic);
      tape.clear();
      adam(critic.values(), critic.grads(), critic_m, critic_v, batch + 1,
           {.learning_rate = recipe.critic_rate * (recipe.critic_falls ? fall : 1), .beta1 = 0.5});
      const auto n = static_cast<double>(recipe.critic_steps);
      losses.critic_real += value(d.terms[0]) / n;
      losses.critic_fake += value(d.terms[1]) / n;
      losses.critic += value(d.terms[2]) / n;
      if (i > 0) continue;

      generator.zero_grad();
      const SquidGeneratorLoss<T> g = squid_generator_loss(
          networks, x, recipe.misplaced ? misplaced(2, recipe.misplaced->share) : x, pass(&tape, 1), recipe.weights,
          recipe.misplaced ? nn::Statistics::batch : nn::Statistics::training);
      tape.clear();
      adam(generator.values(), generator.grads(), generator_m, generator_v, step + 1,
           {.learning_rate = recipe.generator_rate * fall, .beta1 = 0.5, .epsilon = 1e-7, .weight_decay = 1e-5});
      queue_update(networks.generator.queues(), pointer, g.remembered);
      losses.reconstruction = value(g.terms[0]);
      losses.adversarial = value(g.terms[1]);
      losses.teacher = value(g.terms[2]);
      losses.distance = value(g.terms[3]);
      losses.generator = value(g.terms[4]);
    }
    run.losses.push_back(losses);
  }
  run.state = state_of<T>(networks);
  return run;
}

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

}  // namespace

TEST_CASE("squid_critic_loss: both forms by their formulas, in double") {
  nn::Initializer init(4);
  SquidDiscriminator<double> discriminator(40, init);
  const auto batch = [&](std::uint64_t seed) { return uniform_tensor<double>({3, 40, 40, 1}, seed, 0, 1); };
  const auto images = batch(1), reconstructions = batch(2), misplaced = batch(3);
  const auto logits = [&](const std::vector<Tensor<double>>& parts) {
    auto all = Tensor<double>::empty({3 * std::ssize(parts), 40, 40, 1});
    for (std::int64_t i = 0; i < std::ssize(parts); ++i)
      all.slice(3 * i, 3 * i + 3).copy_from(parts[static_cast<std::size_t>(i)]);
    return discriminator(Var<double>(all), nullptr, nn::Statistics::batch).value();
  };
  // The mean cross entropy of logits first .. first + 2 with a label.
  const auto entropy = [](const Tensor<double>& l, std::int64_t first, int label) {
    double sum = 0;
    for (std::int64_t i = first; i < first + 3; ++i) sum += softplus(label == 1 ? -l.data()[i] : l.data()[i]);
    return sum / 3;
  };
  Tape<double>* const no_tape = nullptr;

  const auto two = squid_critic_loss(discriminator, images, reconstructions, no_tape, 0.005);
  CHECK(two.terms[0].item() == Approx(0.005 * entropy(logits({images}), 0, 1)).epsilon(1e-12));
  CHECK(two.terms[1].item() == Approx(0.005 * entropy(logits({reconstructions}), 0, 0)).epsilon(1e-12));
  CHECK(two.terms[2].item() == Approx(two.terms[0].item() + two.terms[1].item()).epsilon(1e-15));

  const auto three = squid_critic_loss(discriminator, images, reconstructions, misplaced, no_tape, 0.7);
  const auto joint = logits({images, reconstructions, misplaced});
  CHECK(three.terms[0].item() == Approx(0.7 * entropy(joint, 0, 1)).epsilon(1e-12));
  CHECK(three.terms[1].item() == Approx(0.35 * (entropy(joint, 3, 0) + entropy(joint, 6, 0))).epsilon(1e-12));
  CHECK(three.terms[2].item() == Approx(three.terms[0].item() + three.terms[1].item()).epsilon(1e-15));
  // One batch for all: the statistics are not those of the images alone.
  CHECK(std::abs(three.terms[0].item() - 0.7 * entropy(logits({images}), 0, 1)) > 1e-6);
}

TEST_CASE("squid_critic_loss: gradients of both forms against central differences, in double") {
  nn::Initializer init(6);
  SquidDiscriminator<double> discriminator(40, init);
  nn::ParameterArena<double> arena(discriminator);
  const auto batch = [&](std::uint64_t seed) { return uniform_tensor<double>({2, 40, 40, 1}, seed, 0, 1); };
  const auto images = batch(1), reconstructions = batch(2), misplaced = batch(3);
  for (const bool joint : {false, true}) {
    const auto loss = [&](Tape<double>* tape) {
      return (joint ? squid_critic_loss(discriminator, images, reconstructions, misplaced, tape, 1)
                    : squid_critic_loss(discriminator, images, reconstructions, tape, 1))
          .terms[2]
          .item();
    };
    Tape<double> tape;
    arena.zero_grad();
    loss(&tape);
    tape.clear();
    double* values = arena.values().data();
    int not_zero = 0;
    for (std::int64_t i = 3; i < arena.values().numel(); i += arena.values().numel() / 29) {
      const double kept = values[i], h = 1e-6, gradient = arena.grads().data()[i];
      values[i] = kept + h;
      const double above = loss(nullptr);
      values[i] = kept - h;
      const double numeric = (above - loss(nullptr)) / (2 * h);
      values[i] = kept;
      CHECK(numeric == Approx(gradient).epsilon(1e-4).margin(1e-8));
      not_zero += std::abs(gradient) > 1e-6;
    }
    CHECK(not_zero > 20);
  }
}

TEST_CASE("SquidRecipe: the generator's rate over the steps") {
  // 85 batches an epoch, of which 84 make 42 steps.
  const SquidRecipe zhanglab = SquidRecipe::published("zhanglab", 1349);
  CHECK(zhanglab.steps == 200 * 42);
  CHECK(zhanglab.critic_steps == 2);
  CHECK(zhanglab.weights.reconstruction == 10);
  CHECK(zhanglab.augment.shift == 0.05);
  CHECK(!zhanglab.critic_falls);
  CHECK(!zhanglab.misplaced);
  CHECK(zhanglab.share_at(0) == 1);
  CHECK(zhanglab.share_at(41) == 1);
  CHECK(zhanglab.share_at(42) == Approx(0.1 + 0.45 * 1.9999451693655121).epsilon(1e-14));  // 1 + cos(pi / 300)
  CHECK(zhanglab.share_at(83) == zhanglab.share_at(42));
  CHECK(zhanglab.share_at(150 * 42) == Approx(0.55).epsilon(1e-14));
  CHECK(zhanglab.share_at(200 * 42 - 1) == Approx(0.1 + 0.45 * 0.5090962463848592).epsilon(1e-13));  // epoch 199
  CHECK(zhanglab.share_at(300 * 42) == Approx(0.1).epsilon(1e-14));
  CHECK(zhanglab.share_at(1000 * 42) == Approx(0.1).epsilon(1e-14));

  const SquidRecipe digit = SquidRecipe::published("digit", 5000);
  CHECK(digit.steps == 200 * 313);
  CHECK(digit.critic_steps == 1);
  CHECK(digit.weights.reconstruction == 1);
  CHECK(digit.augment.shift == 0);
  CHECK(digit.share_at(150 * 313) == Approx(0.505).epsilon(1e-14));
  const SquidRecipe chexpert = SquidRecipe::published("chexpert", 100000, 77);
  CHECK(chexpert.steps == 77);
  CHECK(chexpert.share_at(150 * 42) == Approx(0.75).epsilon(1e-14));
  CHECK(SquidRecipe::published("zhanglab", 1).steps == 200);

  const SquidRecipe ours = SquidRecipe::standard("zhanglab", 100);
  CHECK(ours.share_at(0) == 1);
  CHECK(ours.share_at(1) < 1);
  CHECK(ours.share_at(50) == Approx(0.51).epsilon(1e-14));
  CHECK(ours.share_at(100) == Approx(0.02).epsilon(1e-14));
  CHECK(ours.share_at(101) == Approx(0.02).epsilon(1e-14));
  CHECK(ours.critic_falls);
  CHECK(!ours.misplaced);
  CHECK(ours.math == Math::winograd);
  CHECK(SquidRecipe::standard("digit").misplaced.has_value());
  CHECK(SquidRecipe::standard("digit").math == Math::fp32);
}

TEST_CASE("SquidTrainer: the same bits at one and two threads, other ones for another seed") {
  const auto run = [](const SquidConfig& config, const SquidRecipe& recipe, int threads, std::uint64_t seed) {
    const int before = num_threads();
    set_num_threads(threads);
    SquidTrainer<float> trainer(gray_pictures(7, config.image_size, 1), config, recipe, seed);
    Run<float> result = trained(trainer, 3);
    set_num_threads(before);
    return result;
  };
  for (const auto& [config, recipe] :
       {std::pair(small_zhanglab(), published()), std::pair(small_digit(48), standard(4))}) {
    const Run<float> one = run(config, recipe, 1, 5), two = run(config, recipe, 2, 5);
    CHECK(differing(one.state, two.state) == "");
    for (std::size_t step = 0; step < 3; ++step) CHECK(numbers(one.losses[step]) == numbers(two.losses[step]));
    const Run<float> other = run(config, recipe, 1, 6);
    CHECK(numbers(one.losses[2]) != numbers(other.losses[2]));
    CHECK(contains("g.in_conv.conv.conv1.0.weight").match(differing(one.state, other.state)));
  }
}

TEST_CASE("SquidTrainer: steps, on another device five of seven replays, are those written out, to the bit") {
  const auto images = gray_pictures(4, 24, 3);
  const auto check = [&](const SquidRecipe& recipe, Device device) {
    SquidTrainer<float> trainer(images, small_digit(24), recipe, 9, device);
    Run<float> run;
    for (int step = 0; step < 2; ++step) run.losses.push_back(trainer.step());
    const auto before = pool_statistics(device).allocations, on_host = pool_statistics().allocations;
    const std::int64_t steps = device.is_cpu() ? 4 : 7;
    while (trainer.steps() < steps) run.losses.push_back(trainer.step());
    CHECK(pool_statistics(device).allocations == before);
    CHECK(pool_statistics().allocations == on_host);
    run.state = state_of<float>(trainer.networks());
    const Run<float> expected = trained_by_hand<float>(images, small_digit(24), recipe, 9, steps, device);
    CHECK(differing(run.state, expected.state) == "");
    for (std::size_t step = 0; step < run.losses.size(); ++step) {
      INFO("step " << step);
      CHECK(numbers(run.losses[step]) == numbers(expected.losses[step]));
    }
  };
  cuttle_test::on_every_device_once([&](Device device) {
    check(published(2, 2), device);
    check(standard(2, 1), device);
    if (!device.is_cpu() && !cuttle_test::device_variants().empty()) return;  // the emulator takes its time
    check(published(2, 1), device);
    check(standard(2, 2), device);
  });
}

// Float: the first step's losses but the adversarial one and the sum, for which the discriminator has made its first
// update, are sums of up to 10^4 rounded terms. The rest follows updates, and there some parameters have gradients that
// are zero but for rounding, of whose signs Adam makes whole steps. In double its epsilon is far above that rounding.
TEMPLATE_TEST_CASE("SquidTrainer: another device's steps are the CPU's but for rounding", "", float, double) {
  using T = TestType;
  if (cuttle_test::every_device().size() == 1) CUTTLE_SKIP("no other device is here");
  const bool exact = std::is_same_v<T, double>;
  for (const SquidRecipe& recipe : {published(2, 1), standard(2, 1)}) {
    const auto run = [&](Device device) {
      SquidTrainer<T> trainer(gray_pictures(4, 32, 3), small_zhanglab(), recipe, 9, device);
      return trained(trainer, 2);
    };
    const Run<T> here = run(Device::cpu()), there = run(cuttle_test::every_device().back());
    for (std::size_t step = 0; step < 2; ++step) {
      const auto a = numbers(there.losses[step]), b = numbers(here.losses[step]);
      for (std::size_t k = 0; k < a.size(); ++k) {
        INFO("step " << step << ", number " << k);
        const bool before_updates = step == 0 && k != 1 && k != 4;
        CHECK(a[k] == Approx(b[k]).epsilon(exact ? 1e-9 : before_updates ? 1e-5 : 5e-3));
      }
    }
    const double update = 2 * std::max(recipe.generator_rate, recipe.critic_rate);
    for (const auto& [name, value] : here.state) {
      INFO(name);
      CHECK_CLOSE(there.state.at(name), value, {exact ? 1e-8 : 2e-2, exact ? 1e-8 : 2 * update});
    }
  }
}

TEST_CASE("SquidTrainer: nothing is allocated after the second step") {
  for (const auto& [config, recipe] :
       {std::pair(small_zhanglab(), published()), std::pair(small_digit(48), standard(5))}) {
    SquidTrainer<float> trainer(gray_pictures(7, config.image_size, 1), config, recipe, 5);
    trained(trainer, 2);
    const auto before = pool_statistics().allocations;
    trained(trainer, 3);
    CHECK(pool_statistics().allocations == before);
  }
}

TEST_CASE("SquidTrainer: the queues take a step's features, slot after slot, and go round") {
  SquidTrainer<float> trainer(gray_pictures(7, 48, 1), small_digit(48), standard(5), 5);
  SquidGenerator<float>& generator = trainer.networks().generator;
  const auto slots = [&] { return generator.queues().clone(); };
  const auto changed = [](const Tensor<float>& a, const Tensor<float>& b) {
    std::vector<int> which;
    for (std::int64_t slot = 0; slot < 8; ++slot) {
      bool all = true, any = false;
      for (std::int64_t p = 0; p < 9; ++p) {
        const bool same = cuttle_test::same_bits(a.slice(p, p + 1).reshape({8, a.size(2)}).slice(slot, slot + 1),
                                                 b.slice(p, p + 1).reshape({8, a.size(2)}).slice(slot, slot + 1));
        all = all && !same;
        any = any || !same;
      }
      CHECK(all == any);
      if (all) which.push_back(static_cast<int>(slot));
    }
    return which;
  };
  const auto negative = [](const Tensor<float>& queues, std::int64_t slot) {
    int count = 0;
    for (std::int64_t p = 0; p < 9; ++p)
      for (std::int64_t e = 0; e < queues.size(2); ++e) count += queues.data()[(p * 8 + slot) * queues.size(2) + e] < 0;
    return count;
  };
  const Tensor<float> first = slots();
  CHECK(negative(first, 0) > 0);
  trainer.step();
  const Tensor<float> second = slots();
  CHECK(changed(first, second) == std::vector{0, 1, 2, 3, 4});
  for (std::int64_t slot = 0; slot < 5; ++slot) CHECK(negative(second, slot) == 0);  // features are behind a ReLU
  trainer.step();
  const Tensor<float> third = slots();
  CHECK(changed(second, third) == std::vector{0, 1, 5, 6, 7});
  trainer.step();
  CHECK(changed(third, slots()) == std::vector{2, 3, 4, 5, 6});
}

TEST_CASE("SquidTrainer: a term that is not finite is named, with the step") {
  for (const auto& [parameter, term] : {std::pair("g.out_conv.conv.bias", "the reconstruction term is"),
                                        std::pair("g.teacher_out.conv.bias", "the teacher's term is"),
                                        std::pair("d.regressor.bias", "the adversarial term is")}) {
    SquidTrainer<float> trainer(gray_pictures(4, 24, 1), small_digit(24), standard(), 5);
    trained(trainer, 2);
    trainer.networks().parameters(
        [&, name = parameter](const std::string& at, nn::Parameter<float>& p) {
          if (at == name) p.value.data()[0] = std::numeric_limits<float>::quiet_NaN();
        },
        "");
    CHECK_THROWS_WITH(trainer.step(), contains(term) && contains("step 3"));
  }
}

TEST_CASE("SquidTrainer: one image is enough") {
  for (const SquidRecipe& recipe : {published(), standard()}) {
    SquidTrainer<float> trainer(gray_pictures(1, 24, 1), small_digit(24), recipe, 5);
    const Run<float> run = trained(trainer, 3);
    CHECK(run.losses[2].reconstruction < run.losses[0].reconstruction);
    CHECK(trainer.steps() == 3);
  }
}

TEST_CASE("SquidTrainer: what cannot be trained is refused with the reason") {
  const auto make = [](const Tensor<std::uint8_t>& images, const SquidConfig& config, const SquidRecipe& recipe) {
    SquidTrainer<float>(images, config, recipe, 1);
  };
  const auto images = gray_pictures(3, 24, 1);
  const SquidConfig config = small_digit(24);
  make(images, config, standard(8));
  CHECK_THROWS_WITH(make(images, config, standard(9)), contains("batch of 9") && contains("8 slots"));
  CHECK_THROWS_WITH(make(images, config, standard(1)), contains("batch is 1"));
  CHECK_THROWS_WITH(make(images, config, standard(3, 0)), contains("critic_steps is 0"));
  for (const Shape& shape : {Shape{3, 24, 24, 3}, Shape{3, 24, 24}, Shape{3, 24, 48, 1}, Shape{3, 48, 24, 1},
                             Shape{3, 48, 48, 1}, Shape{0, 24, 24, 1}})
    CHECK_THROWS_WITH(make(Tensor<std::uint8_t>::zeros(shape), config, standard()),
                      contains("SquidTrainer: images have shape") && contains("(N,24,24,1)"));
  CHECK_THROWS_WITH(make(gray_pictures(3, 28, 1), small_digit(28), standard()), contains("image_size 28"));
}

TEST_CASE("Winograd's products in the generator's blocks give the reconstruction of the direct ones") {
  SquidConfig config = small_zhanglab();
  config.root = 32;
  nn::Initializer init(1);
  SquidGenerator<float> generator(config, init);
  const Tensor<float> images = uniform_tensor<float>({4, config.image_size, config.image_size, 1}, 2, 0, 1);
  SquidPass<float> pass;
  pass.training = true;
  const Tensor<float> direct = generator(images, pass).student.value();
  generator.set_math(Math::winograd);
  const Tensor<float> transformed = generator(images, pass).student.value();
  double difference = 0;
  for (std::int64_t i = 0; i < direct.numel(); ++i)
    difference = std::max(difference, std::abs(static_cast<double>(direct.data()[i] - transformed.data()[i])));
  CHECK(difference > 0);  // it took effect
  CHECK(difference < 3e-5);
  generator.set_math(Math::fp32);
  CHECK(cuttle_test::same_bits(generator(images, pass).student.value(), direct));
}
