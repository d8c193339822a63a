// Trains Patch SVDD on a folder of normal images and writes one model file that `detect` loads.
#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <deque>
#include <optional>
#include <string>

#include "cuttle/models/patch_svdd.hpp"
#include "support/calibration_report.hpp"
#include "support/console.hpp"
#include "support/data_sets.hpp"
#include "support/training_loop.hpp"
#include "support/training_options.hpp"

namespace {

struct Options : console::TrainingOptions {
  std::optional<std::int64_t> epochs, tile_overlap;
  std::optional<double> learning_rate, lambda;
  std::string bank = "200000";
  std::int64_t size = 256;

  std::int64_t bank_rows() const {
    return bank == "all" ? cuttle::PatchSvdd::all_rows : static_cast<std::int64_t>(std::stoll(bank));
  }
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{"Trains Patch SVDD on normal images.", "train_patch_svdd"};
  const auto common = o.add_to(app);
  common.data->required();
  app.add_option("--epochs", o.epochs, "steps as epochs, in each of which every image is drawn 100 times on average")
      ->check(CLI::PositiveNumber)
      ->excludes(common.steps);
  app.add_option("--lr", o.learning_rate, "Adam's learning rate")->check(CLI::PositiveNumber);
  app.add_option("--lambda", o.lambda, "weight of the distances between neighbouring patches")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--size", o.size, "working size in pixels: images are resized to size x size")
      ->check(CLI::Range(64, 4096));
  app.add_option("--tile-overlap", o.tile_overlap,
                 "cut images larger than the working size into tiles that overlap by this much, instead of resizing")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--bank", o.bank, "normal patches kept at each scale: a number, or all")
      ->check([](const std::string& text) {
        if (text == "all") return std::string();
        return CLI::PositiveNumber(text).empty() && text.find_first_not_of("0123456789") == std::string::npos
                   ? std::string()
                   : "'" + text + "' is neither a positive number nor all";
      });
  console::parse_or_exit(app, argc, argv);
  return o;
}

cuttle::PatchSvddRecipe recipe_of(const Options& o, std::int64_t pictures) {
  using cuttle::PatchSvddRecipe;
  PatchSvddRecipe recipe = o.recipe == "published" ? PatchSvddRecipe::published(pictures) : PatchSvddRecipe::standard();
  if (o.batch) recipe.batch = *o.batch;
  if (o.learning_rate) recipe.learning_rate = *o.learning_rate;
  if (o.lambda) recipe.lambda = *o.lambda;
  if (o.steps) recipe.steps = *o.steps;
  if (o.epochs) recipe.steps = *o.epochs * PatchSvddRecipe::steps_an_epoch(pictures, recipe.batch);
  recipe.math = o.math_or(recipe.math);
  return recipe;
}

// Means over the last steps' losses, for what is shown.
class Window {
 public:
  // From what kept() gave; null for none.
  explicit Window(const cuttle::Json& kept) {
    if (kept.is_null()) return;
    for (const cuttle::Json& step : kept.array()) {
      last_.emplace_back();
      for (std::size_t i = 0; i < members.size(); ++i) last_.back().*members[i] = step.array().at(i).number();
    }
  }
  cuttle::Json kept() const {
    cuttle::Json::Array steps;
    for (const auto& losses : last_) {
      cuttle::Json::Array numbers;
      for (const auto member : members) numbers.emplace_back(losses.*member);
      steps.emplace_back(std::move(numbers));
    }
    return cuttle::Json(std::move(steps));
  }
  void add(const cuttle::PatchSvddLosses& losses) {
    last_.push_back(losses);
    if (last_.size() > most) last_.pop_front();
  }
  double mean(double cuttle::PatchSvddLosses::*member) const {
    double sum = 0;
    for (const auto& losses : last_) sum += losses.*member;
    return sum / static_cast<double>(last_.size());
  }
  std::int64_t size() const { return std::ssize(last_); }
  std::string text() const {
    using L = cuttle::PatchSvddLosses;
    char line[160];
    std::snprintf(line, sizeof line, "position loss %.3f/%.3f accuracy %.2f/%.2f distance %.4f/%.4f (64/32)",
                  mean(&L::position_large), mean(&L::position_small), mean(&L::accuracy_large),
                  mean(&L::accuracy_small), mean(&L::svdd_large), mean(&L::svdd_small));
    return line;
  }
  cuttle::Json::Object json() const {
    using L = cuttle::PatchSvddLosses;
    return {{"position_loss_64", mean(&L::position_large)},
            {"position_loss_32", mean(&L::position_small)},
            {"position_accuracy_64", mean(&L::accuracy_large)},
            {"position_accuracy_32", mean(&L::accuracy_small)},
            {"svdd_loss_64", mean(&L::svdd_large)},
            {"svdd_loss_32", mean(&L::svdd_small)}};
  }

 private:
  using Losses = cuttle::PatchSvddLosses;
  static constexpr std::size_t most = 100;
  static constexpr std::array members{&Losses::position_large, &Losses::position_small, &Losses::svdd_large,
                                      &Losses::svdd_small,     &Losses::accuracy_large, &Losses::accuracy_small};
  std::deque<Losses> last_;
};

int train(const Options& o) {
  using namespace cuttle;
  const Device device = console::use(o.threads, o.device);
  console::require_writable(o.out);
  console::require_writable(o.json);
  const WorkingSize working_size{o.size, o.tile_overlap};
  // The published recipe trains on all there is.
  const double hold_out = o.hold_out.value_or(o.recipe == "published" ? 0 : 0.1);
  const console::NormalImages normal =
      console::normal_images(o.data, working_size, o.bad_file(), hold_out, o.group, o.seed);
  const Tensor<std::uint8_t>& pictures = normal.train;
  std::optional<console::TestData> eval_data;
  if (!o.eval.empty()) eval_data.emplace(o.eval);
  const Tensor<float> mean = mean_image(pictures);
  const PatchSvddRecipe recipe = recipe_of(o, pictures.size(0));
  std::printf(
      "%lld pictures of %lld x %lld, %lld images held out; recipe %s: %lld steps of batch %lld, learning rate %g, "
      "lambda %g, seed %llu\n",
      static_cast<long long>(pictures.size(0)), static_cast<long long>(o.size), static_cast<long long>(o.size),
      static_cast<long long>(normal.held_out_count()), o.recipe.c_str(), static_cast<long long>(recipe.steps),
      static_cast<long long>(recipe.batch), recipe.learning_rate, recipe.lambda,
      static_cast<unsigned long long>(o.seed));
  std::fflush(stdout);

  PatchSvddTrainer<float> trainer(pictures, mean, recipe, o.seed, device);
  console::TrainingLoop loop(trainer, o);

  // A detector from the networks as they are.
  const auto detector = [&] {
    Json::Object run = recipe.json();
    run.emplace_back("recipe", o.recipe);
    run.emplace_back("steps_done", trainer.steps());
    run.emplace_back("seed", static_cast<std::int64_t>(o.seed));
    run.emplace_back("bank", o.bank);
    run.emplace_back("pictures", pictures.size(0));
    run.emplace_back("held_out", normal.held_out_count());
    PatchSvdd model(trainer.networks(), mean, working_size, Json(std::move(run)));
    console::Progress progress("filling the bank");
    model.fit_bank(pictures, o.bank_rows(), o.seed,
                   [&](std::int64_t done, std::int64_t total) { progress.show(done, total); });
    progress.finish();
    model.set_calibration(normal.calibration_of(model, o.false_positives));
    return model;
  };
  Window window(loop.kept());
  loop.run(
      [&](const PatchSvddLosses& losses) {
        window.add(losses);
        return window.text();
      },
      [&] { loop.evaluate(detector(), eval_data, window.json()); }, [&] { return window.kept(); });
  std::printf("last %lld steps: %s\n", static_cast<long long>(window.size()), window.text().c_str());

  PatchSvdd model = detector();
  model.save(o.out);
  loop.finished();
  std::printf("wrote %s: banks of %lld (K=32) and %lld (K=64) rows\n", o.out.c_str(),
              static_cast<long long>(model.bank_rows_small()), static_cast<long long>(model.bank_rows_large()));
  if (model.calibration()) console::print_calibration(*model.calibration());
  std::fflush(stdout);
  loop.evaluate(model, eval_data, window.json());
  loop.write_report(model.training(), device);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  return console::run("train_patch_svdd", [&] { return train(options); });
}
