// Learns a model's threshold anew, from images that it was not trained on.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "cuttle/eval/calibrate.hpp"
#include "cuttle/models/model.hpp"
#include "support/calibration_report.hpp"
#include "support/console.hpp"
#include "support/data_sets.hpp"
#include "support/groups.hpp"
#include "support/region.hpp"
#include "support/training_options.hpp"

namespace {

struct Options {
  std::string model, data, labelled, out, group, roi, device = "auto";
  double false_positives = 0.05;
  int threads = 0;
  bool skip_bad = false;

  const std::string& images() const { return labelled.empty() ? data : labelled; }
  cuttle::BadFile bad_file() const { return skip_bad ? cuttle::BadFile::skip : cuttle::BadFile::stop; }
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Learns a model's threshold anew, from normal images or from labelled ones, and stores it in the model "
      "file.\nThe "
      "images must be none that the model was trained on, and none that results will be reported on: a model file does "
      "not say which images it was made of, so that this is yours to see to. A data set with the folders train and "
      "test "
      "is refused for that reason.",
      "calibrate"};
  app.add_option("--model", o.model, "model file")->required();
  auto* data = app.add_option("--data", o.data,
                              "normal images: a folder of them, a tree with good/, or a .safetensors file of images");
  auto* labelled = app.add_option("--labelled", o.labelled,
                                  "normal and anomalous images, for the threshold of the largest F1: a tree with good/ "
                                  "and a folder for each kind of defect, or a .safetensors file with labels")
                       ->excludes(data);
  console::add_calibration_options(app, o.false_positives, o.group);
  app.get_option("--false-positives")->excludes(labelled);
  app.get_option("--group")->excludes(labelled);
  app.add_option("--roi", o.roi, "the region of interest that will be given to detect");
  app.add_option("--out", o.out, "model file to write, --model itself by default");
  app.add_option("--threads", o.threads, "threads (all cores by default; never changes a result)")
      ->check(CLI::PositiveNumber);
  app.add_option("--device", o.device, "auto, cpu, cuda or cuda:N");
  app.add_flag("--skip-bad-files", o.skip_bad, "leave out files that cannot be read, instead of stopping");
  console::parse_or_exit(app, argc, argv);
  if (o.images().empty()) {
    std::fprintf(stderr, "calibrate: give --data or --labelled\n");
    std::exit(2);
  }
  if (o.out.empty()) o.out = o.model;
  return o;
}

// Of images of unknown label, which are taken to be normal, and normal ones.
template <class M>
cuttle::Calibration from_normal(const M& model, const Options& o) {
  using namespace cuttle;
  if (console::is_safetensors(o.data) && !o.group.empty())
    throw IoError(o.data, "images in one file have no names that --group could match");
  const console::TestData data = console::is_safetensors(o.data) ? console::TestData(std::filesystem::path(o.data))
                                                                 : console::TestData(list_images(o.data, Split::train));
  const Evaluation evaluation = console::evaluate_in_region(model, data, o.roi, o.bad_file());
  std::vector<double> scores;
  std::vector<Sample> samples;
  for (std::size_t i = 0; i < evaluation.scores.size(); ++i) {
    if (evaluation.samples[i].label == Label::anomalous) continue;
    scores.push_back(evaluation.scores[i]);
    samples.push_back(evaluation.samples[i]);
  }
  if (scores.empty()) throw IoError(o.data, "holds no normal image");
  return calibrate(scores, o.false_positives, console::groups_of(samples, o.data, o.group));
}

template <class M>
cuttle::Calibration from_labelled(const M& model, const Options& o) {
  using namespace cuttle;
  const console::TestData data{std::filesystem::path(o.labelled)};
  const Evaluation evaluation = console::evaluate_in_region(model, data, o.roi, o.bad_file());
  std::vector<std::uint8_t> labels;
  for (const Sample& sample : evaluation.samples) {
    if (sample.label == Label::unknown) throw IoError(sample.path.string(), "has no label");
    labels.push_back(sample.label == Label::anomalous);
  }
  if (!has_both_classes(labels)) throw IoError(o.labelled, "needs normal and anomalous images");
  return calibrate_labelled(evaluation.scores, labels);
}

int calibrate(const Options& o) {
  using namespace cuttle;
  const Device device = console::use(o.threads, o.device);
  console::require_writable(o.out);
  for (const char* part : {"train", "test"})
    if (std::filesystem::is_directory(std::filesystem::path(o.images()) / part))
      throw IoError(o.images(),
                    concat("is a data set with a folder ", part,
                           ": a threshold is learnt neither from images that were trained on nor from those "
                           "of a test; name a folder of others"));
  Model loaded = load_model(o.model);
  std::visit(
      [&](auto& model) {
        model.move_to(device);
        const Calibration calibration = o.labelled.empty() ? from_normal(model, o) : from_labelled(model, o);
        model.set_calibration(calibration);
        model.save(o.out);
        std::printf("wrote %s\n", o.out.c_str());
        console::print_calibration(calibration);
      },
      loaded);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  return console::run("calibrate", [&] { return calibrate(options); });
}
