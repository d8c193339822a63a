// SQUID against tensors computed with its authors' implementation; the tolerances are those that the fixtures'
// description derives from float32 against float64.
#include <cmath>

#include "cuttle/models/squid_training.hpp"
#include "cuttle/models/state.hpp"
#include "cuttle/ops/queue_update.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;

namespace {

SafetensorsFile fixture(const std::string& name) {
  return SafetensorsFile(cuttle_test::shared_folder() / "fixtures" / "squid" / (name + ".safetensors"));
}

// The fixtures' two configurations.
SquidConfig config_a() {
  SquidConfig config;
  config.image_size = 64;
  config.levels = 3;
  config.root = 8;
  config.concat = {true, true, false};
  config.slots = config.decoder_slots = 20;
  config.decoder_memory = {{}, {}, {SquidDecoderMemory::Kind::windows, 4}};
  return config;
}
SquidConfig config_b() {
  SquidConfig config = config_a();
  config.image_size = 48;
  config.grid = 3;
  config.levels = 2;
  config.initial_combine = 1;
  config.concat = {true, false};
  config.decoder_memory = {{}, {SquidDecoderMemory::Kind::patches, 9}};
  return config;
}

// A stored tensor in this library's layout: images channels last.
template <class T>
Tensor<T> stored(const SafetensorsFile& file, const std::string& name) {
  const Tensor<T> value = file.tensor_or_widen<T>(name);
  return value.rank() == 4 ? permute(value, {0, 2, 3, 1}) : value;
}

// The networks with the stored weights. B's discriminator is A's.
template <class T>
SquidNetworks<T> stored_networks(const SquidConfig& config, const char* generator) {
  SquidNetworks<T> networks(config, nn::Initializer(1));
  load_state<T>(networks.generator, fixture(generator), "g.");
  load_state<T>(networks.discriminator, fixture("squid_weights"), "d.");
  return networks;
}

// Of large intermediate values only the first rows are stored.
template <class T>
std::string mismatch_of_first(const Tensor<T>& actual, const Tensor<T>& expected, cuttle_test::Tolerance tolerance) {
  const Tensor<T> here = actual.to(Device::cpu());
  if (expected.numel() > here.numel()) return concat("shape ", here.shape(), " for ", expected.shape());
  const std::int64_t row = here.numel() / here.size(0);
  if (expected.numel() % row != 0) return concat("shape ", here.shape(), " for ", expected.shape());
  return cuttle_test::mismatch(here.slice(0, expected.numel() / row).reshape(expected.shape()), expected, tolerance);
}

template <class T>
void check_evaluation(const SquidConfig& config, const char* weights, const char* evaluation, Device device) {
  SquidNetworks<T> networks = stored_networks<T>(config, weights);
  nn::move_to<T>(networks.generator, device);
  nn::move_to<T>(networks.discriminator, device);
  const SafetensorsFile file = fixture(evaluation);
  SquidTrace<T> trace;
  SquidPass<T> pass;
  pass.trace = &trace;
  const auto made = networks.generator(stored<T>(file, "input").to(device), pass);
  const cuttle_test::Tolerance tolerance{1e-5, 0};
  CHECK(mismatch_of_first(made.student.value(), stored<T>(file, "recon"), tolerance) == "");
  CHECK(mismatch_of_first(made.teacher.value(), stored<T>(file, "teacher_recon"), tolerance) == "");
  CHECK(mismatch_of_first(made.distance.value(), file.tensor_or_widen<T>("dist_loss").reshape({1}), {1e-5, 0}) == "");
  int compared = 0;
  for (const auto& [name, value] : trace) {
    if (name == "inpaint.mem.out") {
      const Tensor<T> reads =
          value.to(Device::cpu()).reshape({value.size(0) / config.patches(), config.patches(), config.E()});
      const Tensor<T> by_segment = permute(reads, {1, 0, 2});
      for (std::int64_t i = 0; i < config.patches(); ++i, ++compared)
        CHECK_CLOSE(by_segment.slice(i, i + 1).reshape({reads.size(0), config.E()}),
                    file.tensor_or_widen<T>("inpaint.mem" + std::to_string(i) + ".out"), tolerance);
    } else if (file.contains(name)) {
      INFO(name);
      const Tensor<T> expected = stored<T>(file, name);
      CHECK(mismatch_of_first(value, expected.rank() == 0 ? expected.reshape({1}) : expected, tolerance) == "");
      ++compared;
    }
  }
  CHECK(compared >= 20);

  const Tensor<T> recon = stored<T>(file, "recon").to(device);
  const auto logits = [&](const Tensor<T>& images, nn::Statistics statistics) {
    return networks.discriminator(Var<T>(images), nullptr, statistics).value().to(Device::cpu());
  };
  CHECK_CLOSE(logits(recon, nn::Statistics::running), file.tensor_or_widen<T>("disc.logits_eval_mode"), tolerance);
  CHECK_CLOSE(logits(recon, nn::Statistics::batch), file.tensor_or_widen<T>("disc.logits_train_mode_batch"), tolerance);
  const Tensor<T> single = file.tensor_or_widen<T>("disc.logits_train_mode_single");
  for (std::int64_t i = 0; i < recon.size(0); ++i)
    CHECK_CLOSE(logits(recon.slice(i, i + 1), nn::Statistics::batch), single.slice(i, i + 1), tolerance);
}

// Compares the parameters (or their gradients) of a module with the stored tensors of their names, where there are any.
template <class T, class Module, class Pick>
std::string mismatch_of_parameters(Module& module, const SafetensorsFile& file, const std::string& prefix, Pick pick,
                                   cuttle_test::Tolerance tolerance, int& compared) {
  std::string worst;
  module.parameters(
      [&](const std::string& name, nn::Parameter<T>& parameter) {
        const Tensor<T> chosen = pick(name, parameter);
        if (!chosen.defined()) return;
        cuttle::detail::for_each_stored(
            name, chosen.to(Device::cpu()), [&](const std::string& one, const Tensor<T>& value) {
              if (!file.contains(one)) return;
              const std::string bad = cuttle_test::mismatch(value, stored<T>(file, one), tolerance);
              if (!bad.empty()) worst += one + ": " + bad + "; ";
              ++compared;
            });
      },
      prefix);
  return worst;
}

template <class T>
void check_losses(const std::vector<Tensor<T>>& terms, const SafetensorsFile& file,
                  const std::vector<std::string>& names, double relative) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    INFO(names[i]);
    CHECK(static_cast<double>(terms[i].item()) ==
          cuttle_test::Approx(file.tensor_or_widen<double>(names[i]).data()[0]).epsilon(relative));
  }
}

// One discriminator step and one generator step, in double, where everything agrees to 1e-6.
void check_training(const SquidConfig& config, const char* weights, const char* name, Device device) {
  using T = double;
  const SafetensorsFile file = fixture(name);
  SquidNetworks<T> networks = stored_networks<T>(config, weights);
  nn::ParameterArena<T> generator(networks.generator, device), critic(networks.discriminator, device);
  nn::Adam<T> adam_g(generator, {.learning_rate = 1e-4, .beta1 = 0.5, .epsilon = 1e-7, .weight_decay = 1e-5});
  nn::Adam<T> adam_d(critic, {.learning_rate = 1e-4, .beta1 = 0.5});
  const Tensor<T> images = stored<T>(file, "input").to(device);
  const auto zero_gradients =
      file.metadata().count("zero_gradient_tensors") ? file.metadata().at("zero_gradient_tensors") : std::string();
  const auto pass_of = [&](const std::string& step, Tape<T>* tape) {
    SquidPass<T> pass;
    pass.tape = tape;
    pass.training = true;
    pass.inpaint_mask = stored<T>(file, "mask." + step + ".inpaint").to(device);
    pass.decoder_masks = {stored<T>(file, "mask." + step + ".mem_after_up0").to(device)};
    return pass;
  };
  const auto gradient = [&](const std::string& parameter, nn::Parameter<T>& p) {
    return p.trainable && zero_gradients.find(parameter.substr(parameter.find("grad.") + 5)) == std::string::npos
               ? p.grad
               : Tensor<T>();
  };
  const auto statistics = [](const std::string&, nn::Parameter<T>& p) { return p.trainable ? Tensor<T>() : p.value; };
  const auto everything = [&](const std::string& parameter, nn::Parameter<T>& p) {
    const std::string bare = parameter.substr(parameter.find("step.") + 5);
    // Where the gradient is zero the first Adam step is decided by rounding; so is the key bias's.
    return zero_gradients.find(bare) == std::string::npos && bare != "inpaint_block.attention.in_proj_bias"
               ? p.value
               : Tensor<T>();
  };
  const cuttle_test::Tolerance tolerance{1e-6, 1e-9};
  int compared = 0;

  Tape<T> tape;
  const Tensor<T> recon = networks.generator(images, pass_of("dstep", nullptr)).student.value();
  CHECK_CLOSE(recon, stored<T>(file, "d.recon"), tolerance);
  const auto d = squid_critic_loss(networks.discriminator, images, recon, &tape, 0.005);
  check_losses<T>({d.terms[2]}, file, {"d.loss"}, 1e-6);
  CHECK(mismatch_of_parameters<T>(networks.discriminator, file, "d.grad.", gradient, tolerance, compared) == "");
  tape.clear();
  adam_d.step();
  CHECK(mismatch_of_parameters<T>(networks.discriminator, file, "d.after_dstep.", everything, {1e-7, 2e-7}, compared) ==
        "");
  CHECK(mismatch_of_parameters<T>(networks.generator, file, "g.after_dstep.", statistics, tolerance, compared) == "");

  const auto g = squid_generator_loss(networks, images, images, pass_of("gstep", &tape), {});
  check_losses<T>({g.terms[0], g.terms[1], g.terms[2], g.terms[3], g.terms[4]}, file,
                  {"g.loss_recon", "g.loss_g", "g.loss_teacher", "g.loss_dist", "g.loss_total"}, 1e-6);
  CHECK(mismatch_of_parameters<T>(networks.generator, file, "g.grad.", gradient, tolerance, compared) == "");
  tape.clear();
  adam_g.step();
  Tensor<std::int64_t> pointer =
      Tensor<std::int64_t>::full({config.patches()}, file.tensor<std::int64_t>("queue_ptr_before").data()[0], device);
  const Tensor<T> values = g.remembered.to(Device::cpu());
  for (std::int64_t i = 0; i < config.patches(); ++i) {
    const Tensor<T> of_segment = permute(values, {1, 0, 2}).slice(i, i + 1);
    CHECK_CLOSE(of_segment.reshape({values.size(0), values.size(2)}),
                file.tensor_or_widen<T>("queue" + std::to_string(i) + ".values"), tolerance);
  }
  queue_update(networks.generator.queues(), pointer, g.remembered);
  CHECK(pointer.to(Device::cpu()).data()[0] == file.tensor<std::int64_t>("queue_ptr_after").data()[0]);
  CHECK(mismatch_of_parameters<T>(networks.generator, file, "g.after_gstep.", everything, {1e-7, 2e-7}, compared) ==
        "");
  CHECK(mismatch_of_parameters<T>(networks.discriminator, file, "d.after_gstep.", statistics, tolerance, compared) ==
        "");
  CHECK(compared > 100);
}

// Eight iterations of the reference's loop, in double, the generator in every second one.
void check_trajectory(Device device) {
  using T = double;
  const SquidConfig config = config_a();
  const SafetensorsFile file = fixture("squid_trajectory");
  SquidNetworks<T> networks = stored_networks<T>(config, "squid_weights");
  nn::ParameterArena<T> generator(networks.generator, device), critic(networks.discriminator, device);
  nn::Adam<T> adam_g(generator, {.learning_rate = 1e-4, .beta1 = 0.5, .epsilon = 1e-7, .weight_decay = 1e-5});
  nn::Adam<T> adam_d(critic, {.learning_rate = 1e-4, .beta1 = 0.5});
  Tensor<std::int64_t> pointer = Tensor<std::int64_t>::full(
      {config.patches()}, fixture("squid_weights").tensor<std::int64_t>("queue_ptr").data()[0], device);
  // Part i of a stored stack of images, one channel.
  const auto part = [&](const std::string& name, std::int64_t i) {
    const Tensor<T> whole = file.tensor_or_widen<T>(name);
    return whole.slice(i, i + 1).reshape({whole.size(1), whole.size(3), whole.size(4), 1}).to(device);
  };
  std::int64_t forward = 0;
  const auto next_pass = [&](Tape<T>* tape) {
    SquidPass<T> pass;
    pass.tape = tape;
    pass.training = true;
    pass.inpaint_mask = part("mask.inpaint", forward);
    pass.decoder_masks = {part("mask.mem_after_up0", forward)};
    ++forward;
    return pass;
  };
  const Tensor<T> d_loss = file.tensor_or_widen<T>("d_loss"), g_losses = file.tensor_or_widen<T>("g_losses");
  Tape<T> tape;
  for (std::int64_t i = 0; i < 8; ++i) {
    INFO("iteration " << i);
    const Tensor<T> images = part("batches", i % 4);
    critic.zero_grad();
    const Tensor<T> recon = networks.generator(images, next_pass(nullptr)).student.value();
    const auto d = squid_critic_loss(networks.discriminator, images, recon, &tape, 0.005);
    CHECK(d.terms[2].item() == cuttle_test::Approx(d_loss.data()[i]).epsilon(1e-6));
    tape.clear();
    adam_d.step();
    if (i % 2 != 0) continue;
    generator.zero_grad();
    const auto g = squid_generator_loss(networks, images, images, next_pass(&tape), {});
    for (std::int64_t k = 0; k < 5; ++k)
      CHECK(g.terms[static_cast<std::size_t>(k)].item() ==
            cuttle_test::Approx(g_losses.data()[i / 2 * 5 + k]).epsilon(1e-6));
    tape.clear();
    adam_g.step();
    queue_update(networks.generator.queues(), pointer, g.remembered);
    CHECK(pointer.to(Device::cpu()).data()[0] == file.tensor<std::int64_t>("queue_ptr").data()[i / 2]);
  }
  const Tensor<T> input = stored<T>(fixture("squid_eval"), "input").to(device);
  const auto made = networks.generator(input, {});
  CHECK_CLOSE(made.student.value(), stored<T>(file, "final.recon_of_eval_input"), {1e-5, 0});
  CHECK_CLOSE(made.teacher.value(), stored<T>(file, "final.teacher_recon"), {1e-5, 0});
  const Tensor<T> queues = networks.generator.queues().to(Device::cpu());
  for (std::int64_t i = 0; i < config.patches(); ++i)
    CHECK_CLOSE(queues.slice(i, i + 1).reshape({config.slots, config.E()}),
                file.tensor_or_widen<T>("final.queue" + std::to_string(i)), {1e-5, 0});
}

}  // namespace

TEST_CASE("SQUID fixtures: evaluation of both configurations, every layer, float") {
  CUTTLE_NEED_SHARED_FOLDER();
  cuttle_test::on_every_device_once([](Device device) {
    check_evaluation<float>(config_a(), "squid_weights", "squid_eval", device);
    check_evaluation<float>(config_b(), "squid_b_weights", "squid_b_eval", device);
  });
}

TEST_CASE("SQUID fixtures: a discriminator's and a generator's step of both configurations") {
  CUTTLE_NEED_SHARED_FOLDER();
  cuttle_test::on_every_device_once([](Device device) {
    check_training(config_a(), "squid_weights", "squid_train_step", device);
    check_training(config_b(), "squid_b_weights", "squid_b_train_step", device);
  });
}

TEST_CASE("SQUID fixtures: eight iterations of training") {
  CUTTLE_NEED_SHARED_FOLDER();
  cuttle_test::on_every_device_once(check_trajectory);
}

TEST_CASE("SquidConfig: the published networks have the published numbers of parameters") {
  const auto count = [](const SquidConfig& config) {
    SquidNetworks<float> networks(config, nn::Initializer(1));
    std::int64_t parameters = 0;
    networks.generator.parameters(
        [&](const std::string&, nn::Parameter<float>& p) { parameters += p.trainable ? p.value.numel() : 0; }, "");
    return parameters;
  };
  CHECK(count(SquidConfig::zhanglab()) == 44469506);
  CHECK(count(SquidConfig::digit()) == 52878978);
  CHECK_THROWS_AS(SquidConfig::named("mnist"), Error);
}
