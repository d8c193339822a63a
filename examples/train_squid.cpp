// Trains SQUID on normal images, or on an anatomy of digits, and writes one model file that `detect` loads.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/data/digit_anatomy.hpp"
#include "cuttle/data/idx.hpp"
#include "cuttle/models/squid.hpp"
#include "support/calibration_report.hpp"
#include "support/console.hpp"
#include "support/data_sets.hpp"
#include "support/range.hpp"
#include "support/training_loop.hpp"
#include "support/training_options.hpp"

namespace {

struct Options : console::TrainingOptions {
  std::string digits, digits_train, config, save_eval;
  std::optional<std::int64_t> size, width, slots, kept, critic_steps;
  std::int64_t digit_images = 6400;
  bool running_statistics = false;

  // What the images are, where it is not said.
  std::string config_name() const { return !config.empty() ? config : digits.empty() ? "zhanglab" : "digit"; }
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{"Trains SQUID on normal images.", "train_squid"};
  auto* data = o.add_to(app).data;
  auto* digits = app.add_option("--digits", o.digits,
                                "instead of --data the digits 1 to 9 in order: drawn, or a folder of MNIST's IDX files")
                     ->excludes(data);
  app.add_option("--digits-train", o.digits_train,
                 "FIRST:LAST, the digits of the file to train on (the first four fifths); evaluation draws on the rest")
      ->needs(digits)
      ->check([](const std::string& text) {
        return console::parse_range(text) ? std::string() : "'" + text + "' is not FIRST:LAST with FIRST below LAST";
      });
  app.get_option("--group")->excludes(digits);
  app.add_option("--save-eval", o.save_eval, "file for the images of digits that evaluation draws (.safetensors)")
      ->needs(digits);
  app.add_option("--digit-images", o.digit_images, "images of digits to train on")->check(CLI::Range(2, 1000000));
  app.add_option("--config", o.config, "network: zhanglab or chexpert (radiographs; zhanglab with --data) or digit")
      ->check(CLI::IsMember({"zhanglab", "chexpert", "digit"}));
  app.add_option("--size", o.size, "working size in pixels: images are resized to size x size")
      ->check(CLI::Range(16, 4096));
  app.add_option("--width", o.width, "channels of the first level, a multiple of 4")->check(CLI::Range(4, 1024));
  app.add_option("--slots", o.slots, "slots of each memory queue")->check(CLI::PositiveNumber);
  app.add_option("--kept", o.kept, "k of the Gumbel shrinkage")->check(CLI::PositiveNumber);
  app.add_option("--critic-steps", o.critic_steps, "steps of the discriminator for each of the generator")
      ->check(CLI::PositiveNumber);
  app.add_flag("--running-statistics", o.running_statistics,
               "score with the discriminator's running statistics, not each image's own");
  console::parse_or_exit(app, argc, argv);
  if (o.data.empty() == o.digits.empty()) {
    std::fprintf(stderr, "train_squid: give --data or --digits\n");
    std::exit(2);
  }
  return o;
}

cuttle::SquidConfig config_of(const Options& o) {
  cuttle::SquidConfig config = cuttle::SquidConfig::named(o.config_name());
  if (o.size) config.image_size = *o.size;
  if (o.width) config.root = *o.width;
  if (o.slots) config.slots = *o.slots;
  if (o.kept) config.kept = *o.kept;
  config.check();
  return config;
}

cuttle::SquidRecipe recipe_of(const Options& o, std::int64_t images) {
  using cuttle::SquidRecipe;
  SquidRecipe recipe = o.recipe == "published" ? SquidRecipe::published(o.config_name(), images, o.steps)
                                               : SquidRecipe::standard(o.config_name(), o.steps);
  if (o.batch) recipe.batch = *o.batch;
  if (o.critic_steps) recipe.critic_steps = *o.critic_steps;
  recipe.math = o.math_or(recipe.math);
  return recipe;
}

cuttle::Tensor<std::uint8_t> resized(const cuttle::Tensor<std::uint8_t>& images, std::int64_t size) {
  if (images.size(1) == size) return images;
  auto smaller = cuttle::Tensor<std::uint8_t>::empty({images.size(0), size, size, 1});
  cuttle::parallel_for(images.size(0), [&](std::int64_t i) {
    const cuttle::Image image = images.slice(i, i + 1).reshape({images.size(1), images.size(2), 1});
    smaller.slice(i, i + 1).reshape({size, size, 1}).copy_from(cuttle::resize(image, size, size));
  });
  return smaller;
}

// Where the digits to train on come from, and those of the set to evaluate on.
std::pair<cuttle::DigitSource, cuttle::DigitSource> digit_sources(const Options& o) {
  using cuttle::DigitSource;
  if (o.digits == "drawn") return {DigitSource::drawn(), DigitSource::drawn()};
  const cuttle::Digits digits = cuttle::read_digits(o.digits);
  const std::int64_t n = digits.labels.numel();
  const console::Range range =
      o.digits_train.empty() ? console::Range(0, n * 4 / 5) : *console::parse_range(o.digits_train);
  return {DigitSource::inside(digits, range.first, range.second),
          DigitSource::outside(digits, range.first, range.second)};
}

int train(const Options& o) {
  using namespace cuttle;
  const Device device = console::use(o.threads, o.device);
  console::require_writable(o.out);
  console::require_writable(o.json);
  console::require_writable(o.save_eval);
  const SquidConfig config = config_of(o);
  const bool published = o.recipe == "published";

  std::optional<console::TestData> eval_data;
  if (!o.eval.empty()) eval_data.emplace(o.eval);
  console::NormalImages normal;  // gray
  const double hold_out = o.hold_out.value_or(0.1);
  if (o.digits.empty()) {
    normal = console::normal_images(o.data, {config.image_size, {}}, o.bad_file(), hold_out, o.group, o.seed);
    normal.train = to_gray(normal.train);
    if (normal.held_out.defined()) normal.held_out = to_gray(normal.held_out);
  } else {
    const auto [train_digits, eval_digits] = digit_sources(o);
    normal.train = resized(digit_anatomy_images(train_digits, o.seed, 0, o.digit_images), config.image_size);
    const auto out = static_cast<std::int64_t>(hold_out * 2000);
    if (out > 0)
      normal.hold_out(
          resized(digit_anatomy_images(train_digits, o.seed, static_cast<std::uint64_t>(o.digit_images), out),
                  config.image_size));
    const LabelledImages drawn = digit_anatomy_set(eval_digits, o.seed, 200, 50);
    if (!o.save_eval.empty()) write_labelled_images(o.save_eval, drawn);
    if (!eval_data) eval_data.emplace(drawn);
  }
  if (normal.train.size(0) < 2)
    throw IoError(o.data, "holds one usable image, but how far others are from normal shows against several");
  const SquidRecipe recipe = recipe_of(o, normal.train.size(0));
  SquidScoring scoring = published ? SquidScoring() : SquidScoring::standard(o.config_name());
  scoring.running_statistics |= o.running_statistics;
  std::printf(
      "%lld images of %lld x %lld, %lld held out; %s, width %lld, recipe %s: %lld steps of batch %lld, seed %llu\n",
      static_cast<long long>(normal.train.size(0)), static_cast<long long>(config.image_size),
      static_cast<long long>(config.image_size), static_cast<long long>(normal.held_out_count()),
      o.config_name().c_str(), static_cast<long long>(config.root), o.recipe.c_str(),
      static_cast<long long>(recipe.steps), static_cast<long long>(recipe.batch),
      static_cast<unsigned long long>(o.seed));
  std::fflush(stdout);

  SquidTrainer<float> trainer(normal.train, config, recipe, o.seed, device);
  console::TrainingLoop loop(trainer, o);
  // A detector from the networks as they are. Images of the training set are more familiar than any other, so that
  // the default recipe judges by those held out, where there are enough; the authors take 201 of the training set.
  const auto detector = [&] {
    Json::Object run = recipe.json();
    run.emplace_back("recipe", o.recipe);
    run.emplace_back("config", o.config_name());
    run.emplace_back("steps_done", trainer.steps());
    run.emplace_back("seed", static_cast<std::int64_t>(o.seed));
    run.emplace_back("images", normal.train.size(0));
    run.emplace_back("held_out", normal.held_out_count());
    Squid model(trainer.networks(), scoring, Json(std::move(run)));
    if (scoring.weights[2] > 0) model.remember(normal.train);
    if (!published && normal.held_out_count() >= 10)
      model.fit(normal.held_out);
    else
      model.fit(
          normal.train.slice(0, std::min<std::int64_t>(normal.train.size(0), o.config_name() == "digit" ? 101 : 201)),
          recipe.augment, o.seed);
    model.set_calibration(normal.calibration_of(model, o.false_positives));
    return model;
  };
  // Of the last step.
  SquidLosses losses;
  const std::array members{&SquidLosses::reconstruction, &SquidLosses::adversarial, &SquidLosses::teacher,
                           &SquidLosses::distance,       &SquidLosses::critic_real, &SquidLosses::critic_fake};
  if (!loop.kept().is_null())
    for (std::size_t i = 0; i < members.size(); ++i) losses.*members[i] = loop.kept().array().at(i).number();
  const auto evaluate_now = [&](const Squid& model) {
    loop.evaluate(model, eval_data,
                  {{"reconstruction_loss", losses.reconstruction},
                   {"adversarial_loss", losses.adversarial},
                   {"teacher_loss", losses.teacher},
                   {"distillation_loss", losses.distance},
                   {"critic_loss_real", losses.critic_real},
                   {"critic_loss_fake", losses.critic_fake}});
  };

  loop.run(
      [&](const SquidLosses& now) {
        losses = now;
        char line[120];
        std::snprintf(line, sizeof line, "reconstruction %.4f, discriminator real %.3f fake %.3f",
                      losses.reconstruction / recipe.weights.reconstruction, losses.critic_real / recipe.weights.critic,
                      losses.critic_fake / recipe.weights.critic);
        return std::string(line);
      },
      [&] { evaluate_now(detector()); },
      [&] {
        Json::Array kept;
        for (const auto member : members) kept.emplace_back(losses.*member);
        return Json(std::move(kept));
      });
  const Squid model = detector();
  model.save(o.out);
  loop.finished();
  std::printf("wrote %s\n", o.out.c_str());
  if (model.calibration()) console::print_calibration(*model.calibration());
  evaluate_now(model);
  loop.write_report(model.training(), device, {{"digits", o.digits}});
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  return console::run("train_squid", [&] { return train(options); });
}
