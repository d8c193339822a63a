// Tries what a calibration promises: over many random halves of normal images that a model was not trained on, learns a
// threshold on one half and counts the false alarms on the other, beside the interval that was predicted for them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "cuttle/core/random.hpp"
#include "cuttle/eval/calibrate.hpp"
#include "cuttle/models/model.hpp"
#include "support/console.hpp"
#include "support/data_sets.hpp"
#include "support/groups.hpp"
#include "support/training_options.hpp"

namespace {

struct Options {
  std::string model, data, group, groups, csv, device = "auto";
  std::vector<double> rates{0.05, 0.1};
  double confidence = 0.95;
  std::int64_t splits = 200;
  std::uint64_t seed = 1;
  int threads = 0;
  bool by_size = false;
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{"Tries what a calibration promises, on random halves of normal images that were not trained on.",
               "calibration_coverage"};
  app.add_option("--model", o.model, "model file")->required();
  app.add_option("--data", o.data, "folder of normal images, none of them trained on")->required();
  app.add_option("--false-positives", o.rates, "rates to ask for (0.05 and 0.1)")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 0.99));
  app.add_option("--confidence", o.confidence, "of the interval that is predicted")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 0.9999));
  app.add_option("--splits", o.splits, "random splits in two halves")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  app.add_option("--seed", o.seed, "seed of the splits");
  auto* group = app.add_option("--group", o.group,
                               "regular expression: images whose paths inside the folder match it with the same first "
                               "capture belong together");
  auto* groups = app.add_option("--groups", o.groups, "file of lines 'image,group'")->excludes(group);
  app.add_flag("--group-by-size", o.by_size,
               "images that follow one another and have nearly one size (6 % in height and width) belong together")
      ->excludes(group)
      ->excludes(groups);
  app.add_option("--csv", o.csv, "file for a row of every split (- is standard output, in place of the summary)");
  app.add_option("--threads", o.threads, "threads (all cores by default; never changes a result)")
      ->check(CLI::PositiveNumber);
  app.add_option("--device", o.device, "auto, cpu, cuda or cuda:N");
  console::parse_or_exit(app, argc, argv);
  return o;
}

// Scores and the groups' numbers.
struct Part {
  std::vector<double> scores;
  std::vector<std::int64_t> groups;

  void add(const Part& from, std::size_t i) {
    scores.push_back(from.scores[i]);
    groups.push_back(from.groups[i]);
  }
};

// Whole groups in a random order go to the first half until it has at least half of the images; the rest is the second.
std::pair<Part, Part> halves(const Part& all, std::uint64_t seed, std::int64_t split) {
  constexpr std::uint64_t split_streams = std::uint64_t{9} << 56;
  std::map<std::int64_t, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < all.groups.size(); ++i) members[all.groups[i]].push_back(i);
  std::vector<const std::vector<std::size_t>*> groups;
  for (const auto& [number, images] : members) groups.push_back(&images);
  std::pair<Part, Part> parts;
  for (const std::int64_t g :
       cuttle::random_permutation(std::ssize(groups), seed, split_streams + static_cast<std::uint64_t>(split))) {
    Part& part = 2 * parts.first.scores.size() < all.scores.size() ? parts.first : parts.second;
    for (const std::size_t i : *groups[static_cast<std::size_t>(g)]) part.add(all, i);
  }
  return parts;
}

struct Outcome {
  cuttle::FromNormalImages learnt;
  cuttle::RateInterval predicted;
  std::int64_t images = 0, alarms = 0;  // of the second half

  double observed() const { return static_cast<double>(alarms) / static_cast<double>(images); }
  bool covered() const { return predicted.low <= observed() && observed() <= predicted.high; }
};

Outcome outcome_of(const std::pair<Part, Part>& parts, double rate, double confidence) {
  using namespace cuttle;
  const auto& [first, second] = parts;
  const Calibration calibration = calibrate(first.scores, rate, first.groups);
  Outcome outcome{std::get<FromNormalImages>(calibration.from), {}, std::ssize(second.scores), 0};
  outcome.predicted = outcome.learnt.rate().prediction_interval(
      outcome.images, confidence, design_effect(group_sizes(second.groups), outcome.learnt.correlation));
  outcome.alarms = std::ranges::count_if(second.scores, [&](double score) { return calibration.anomalous(score); });
  return outcome;
}

double mean(const std::vector<Outcome>& outcomes, auto value) {
  double sum = 0;
  for (const Outcome& outcome : outcomes) sum += static_cast<double>(value(outcome));
  return sum / static_cast<double>(outcomes.size());
}

int try_out(const Options& o) {
  using namespace cuttle;
  const Device device = console::use(o.threads, o.device);
  console::require_writable(o.csv);
  const std::vector<Sample> samples = list_images(o.data, Split::train);
  Part all;
  all.groups = o.by_size          ? console::groups_by_size(samples)
               : o.groups.empty() ? console::groups_of(samples, o.data, o.group)
                                  : console::groups_from(samples, o.data, o.groups);
  const std::int64_t groups = std::ssize(group_sizes(all.groups));
  if (groups < 4) throw IoError(o.data, concat("has ", groups, " groups of images; halves need at least 4"));
  Model loaded = load_model(o.model);
  all.scores = std::visit(
      [&](auto& model) {
        model.move_to(device);
        return console::TestData(samples).evaluate(model, BadFile::stop).scores;
      },
      loaded);

  const bool rows_only = o.csv == "-";
  std::string rows =
      "asked,split,images,groups,correlation,design_effect,expected,low,high,alarms,of,observed,covered\n";
  if (!rows_only)
    std::printf("%zu images in %lld groups, %lld splits, interval of %g %%\n%7s %9s %18s %9s %21s %9s\n",
                samples.size(), static_cast<long long>(groups), static_cast<long long>(o.splits), 100 * o.confidence,
                "asked", "expected", "predicted interval", "observed", "observed 2.5 .. 97.5 %", "covered");
  for (const double rate : o.rates) {
    std::vector<Outcome> outcomes;
    for (std::int64_t split = 0; split < o.splits; ++split) {
      outcomes.push_back(outcome_of(halves(all, o.seed, split), rate, o.confidence));
      const Outcome& now = outcomes.back();
      char row[256];
      std::snprintf(row, sizeof row, "%g,%lld,%lld,%lld,%.4f,%.3f,%.5f,%.5f,%.5f,%lld,%lld,%.5f,%d\n", rate,
                    static_cast<long long>(split), static_cast<long long>(now.learnt.images),
                    static_cast<long long>(now.learnt.groups), now.learnt.correlation, now.learnt.design_effect,
                    now.learnt.rate().expected(), now.predicted.low, now.predicted.high,
                    static_cast<long long>(now.alarms), static_cast<long long>(now.images), now.observed(),
                    now.covered());
      rows += row;
    }
    if (rows_only) continue;
    std::vector<double> observed;
    for (const Outcome& outcome : outcomes) observed.push_back(outcome.observed());
    std::ranges::sort(observed);
    const auto quantile = [&](double q) {
      return observed[static_cast<std::size_t>(q * static_cast<double>(observed.size() - 1) + 0.5)];
    };
    std::printf("%6.1f%% %8.2f%% %7.2f%% .. %6.2f%% %8.2f%% %9.2f%% .. %6.2f%% %8.1f%%\n", 100 * rate,
                100 * mean(outcomes, [](const Outcome& x) { return x.learnt.rate().expected(); }),
                100 * mean(outcomes, [](const Outcome& x) { return x.predicted.low; }),
                100 * mean(outcomes, [](const Outcome& x) { return x.predicted.high; }),
                100 * mean(outcomes, [](const Outcome& x) { return x.observed(); }), 100 * quantile(0.025),
                100 * quantile(0.975), 100 * mean(outcomes, [](const Outcome& x) { return x.covered(); }));
  }
  if (!rows_only)
    std::printf(
        "expected, predicted interval and observed are means over the splits; covered is the share of the splits "
        "whose observed rate lies in their own interval\n");
  if (!o.csv.empty()) console::write_text(o.csv, rows);
  console::flush_standard_output();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  return console::run("calibration_coverage", [&] { return try_out(options); });
}
