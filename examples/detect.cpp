// Scores images with a trained model: numbers, metrics where labels are known, heatmaps.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "cuttle/data/overlay.hpp"
#include "cuttle/models/evaluation.hpp"
#include "cuttle/models/model.hpp"
#include "cuttle/report/report.hpp"
#include "support/console.hpp"
#include "support/data_sets.hpp"
#include "support/evaluation_report.hpp"
#include "support/region.hpp"
#include "support/scores.hpp"

namespace {

struct Options {
  std::string model, data, out, json, csv, json_lines, report, roi, device = "auto";
  std::vector<std::string> images;
  std::optional<double> threshold;
  cuttle::ReportOptions report_options;
  int threads = 0;
  bool skip_bad = false;

  // Where people read: not among the rows that a program reads.
  std::FILE* text() const { return json == "-" || csv == "-" || json_lines == "-" ? stderr : stdout; }
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Scores images with a trained model. A model that has learnt a threshold decides: scores are then normalised, "
      "and "
      "0.5 is the cut.\nStatus: 0 where every image is normal, 1 where one is anomalous, 2 after an error. A model "
      "without a threshold decides nothing, so that its status is 0.",
      "detect"};
  app.add_option("--model", o.model, "model file")->required();
  auto* data =
      app.add_option("--data", o.data,
                     "folder of images, or a .safetensors file of labelled images; metrics too where labels are known");
  app.add_option("images", o.images, "image files")->excludes(data);
  app.add_option("--out", o.out, "folder for heatmap overlays (PNG)");
  app.add_option("--json", o.json, "file for scores and metrics (- is standard output, here and in the next two)");
  app.add_option("--csv", o.csv, "file for scores and decisions, a row an image");
  app.add_option("--jsonl", o.json_lines, "file for scores and decisions, a line of JSON an image");
  app.add_option("--threshold", o.threshold,
                 "anomalous is what scores at least this, in place of what the model has learnt: a raw score, as a "
                 "model without a threshold prints them and files name them")
      ->check([](const std::string& text) {
        double value = 0;
        return CLI::detail::lexical_cast(text, value) && std::isfinite(value) ? std::string()
                                                                              : "'" + text + "' is no number";
      });
  app.add_option("--roi", o.roi,
                 "region of interest: an image of the images' size, white inside; only its pixels count (Patch SVDD)");
  app.add_option("--report", o.report, "HTML page with metrics, curves and every image, in one file");
  app.add_option("--report-images", o.report_options.images, "the most images that the page shows")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--report-size", o.report_options.image_side, "the longer side of its pictures in pixels")
      ->capture_default_str()
      ->check(CLI::Range(16, 1024));
  app.add_option("--threads", o.threads, "threads (all cores by default; never changes a result)")
      ->check(CLI::PositiveNumber);
  app.add_option("--device", o.device, "auto, cpu, cuda or cuda:N");
  app.add_flag("--skip-bad-files", o.skip_bad, "leave out files that cannot be read, instead of stopping");
  try {
    app.parse(argc, argv);
    if (o.data.empty() && o.images.empty()) throw CLI::RequiredError("--data or image files");
    if ((o.json == "-") + (o.csv == "-") + (o.json_lines == "-") > 1)
      throw CLI::ValidationError("-", "standard output takes one of --json, --csv and --jsonl");
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return o;
}

// Images (H,W,3) of one size in a row.
cuttle::Image beside(std::span<const cuttle::Image> images) {
  using namespace cuttle;
  const std::int64_t gap = 8, H = images[0].size(0), W = images[0].size(1);
  const auto count = std::ssize(images);
  Image all = Image::full({H, count * (W + gap) - gap, 3}, 255);
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t y = 0; y < H; ++y)
      std::copy_n(images[static_cast<std::size_t>(i)].data() + y * W * 3, W * 3,
                  all.data() + (y * all.size(1) + i * (W + gap)) * 3);
  return all;
}

// A picture, its reconstruction where there is one, and itself under the heat of its map, with the outlines of mask and
// region where there are such.
cuttle::Image overlay(const cuttle::Image& picture, const cuttle::Evaluation& evaluation, std::size_t i,
                      const cuttle::HeatScale& heat) {
  using namespace cuttle;
  const Tensor<float>& map = evaluation.maps[i];
  const auto at_map_size = [&](const Image& image) { return to_rgb(resize(image, map.size(0), map.size(1))); };
  std::vector<Image> panels{at_map_size(picture)};
  const Tensor<std::uint8_t>& region = evaluation.regions[i];
  Image hot = heat.over(panels[0], evaluation.counted_map(i));
  if (region.defined()) hot = draw_contour(hot, region, {255, 255, 255});
  if (evaluation.reconstructions[i].defined()) panels.push_back(at_map_size(evaluation.reconstructions[i]));
  if (evaluation.masks[i].defined()) hot = draw_contour(hot, evaluation.masks[i], {0, 255, 255});
  panels.push_back(hot);
  return beside(panels);
}

// Names that stay apart where images of two folders share one.
std::filesystem::path overlay_path(const std::filesystem::path& folder, const cuttle::Sample& sample, std::size_t i) {
  char number[24];
  std::snprintf(number, sizeof number, "%04zu_", i);
  const std::string kind = sample.kind.empty() ? "" : sample.kind + "_";
  return folder / (number + kind + sample.path.stem().string() + ".png");
}

console::TestData data_of(const Options& o) {
  using namespace cuttle;
  if (!o.data.empty()) return console::TestData(o.data);
  std::vector<Sample> samples;
  for (const std::string& image : o.images)
    for (Sample& sample : list_images(image, Split::test)) samples.push_back(std::move(sample));
  return console::TestData(std::move(samples));
}

// Whether every image is normal, as far as was decided.
template <cuttle::AnomalyModel M>
bool detect(M& model, const console::TestData& data, const Options& o) {
  using namespace cuttle;
  if (!o.out.empty()) std::filesystem::create_directories(o.out);
  if (o.threshold) model.set_calibration(with_threshold(model.calibration(), *o.threshold));
  const Evaluation evaluation =
      console::evaluate_in_region(model, data, o.roi, o.skip_bad ? BadFile::skip : BadFile::stop);
  const std::optional<Calibration>& calibration = evaluation.calibration;
  console::print_scores(evaluation, o.text());
  console::print_metrics(evaluation, o.text());

  if (!o.out.empty()) {
    const HeatScale heat(evaluation.maps);
    for (std::size_t i = 0; i < evaluation.samples.size(); ++i)
      write_png(overlay_path(o.out, evaluation.samples[i], i),
                overlay(data.image(evaluation.samples[i]), evaluation, i, heat));
    std::fprintf(o.text(), "wrote %zu overlays to %s\n", evaluation.samples.size(), o.out.c_str());
  }
  if (!o.report.empty()) {
    ReportOptions options = o.report_options;
    options.model = std::filesystem::path(o.model).filename().string();
    options.data = (std::filesystem::path(o.data) / "").parent_path().filename().string();
    options.method = M::method;
    options.settings = model.training();
    write_report(o.report, evaluation, options, [&](std::size_t i) { return data.image(evaluation.samples[i]); });
    std::fprintf(o.text(), "wrote the report %s\n", o.report.c_str());
  }
  if (!o.json.empty()) {
    Json::Array files;
    for (std::size_t i = 0; i < evaluation.samples.size(); ++i)
      files.push_back(Json(console::score_json(evaluation, i)));
    Json::Array skipped;
    for (const SkippedFile& file : evaluation.skipped)
      skipped.push_back(Json(Json::Object{{"path", file.path.string()}, {"reason", file.reason}}));
    Json::Object report = console::metrics_json(evaluation);
    report.emplace_back("model", o.model);
    report.emplace_back("method", M::method);
    report.emplace_back("threshold", calibration ? console::json_or_null(calibration->threshold) : Json());
    report.emplace_back("training", model.training());
    report.emplace_back("files", Json(std::move(files)));
    report.emplace_back("skipped", Json(std::move(skipped)));
    console::write_json(o.json, Json(std::move(report)));
  }
  if (!o.csv.empty()) console::write_text(o.csv, console::scores_csv(evaluation));
  if (!o.json_lines.empty()) console::write_text(o.json_lines, console::scores_json_lines(evaluation));
  console::flush_standard_output();
  return !console::any_anomalous(evaluation);
}

int detect(const Options& o) {
  const cuttle::Device device = console::use(o.threads, o.device);
  for (const std::string& file : {o.json, o.csv, o.json_lines, o.report}) console::require_writable(file);
  cuttle::Model loaded = cuttle::load_model(o.model);
  const console::TestData data = data_of(o);
  const bool normal = std::visit(
      [&](auto& model) {
        model.move_to(device);
        return detect(model, data, o);
      },
      loaded);
  return normal ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  return console::run("detect", [&] { return detect(options); });
}
