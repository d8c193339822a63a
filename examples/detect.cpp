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
#include "support/console.hpp"
#include "support/data_sets.hpp"
#include "support/evaluation_report.hpp"

namespace {

struct Options {
  std::string model, data, out, json, device = "auto";
  std::vector<std::string> images;
  int threads = 0;
  bool skip_bad = false;
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{"Scores images with a trained model.", "detect"};
  app.add_option("--model", o.model, "model file")->required();
  auto* data =
      app.add_option("--data", o.data,
                     "folder of images, or a .safetensors file of labelled images; metrics too where labels are known");
  app.add_option("images", o.images, "image files")->excludes(data);
  app.add_option("--out", o.out, "folder for heatmap overlays (PNG)");
  app.add_option("--json", o.json, "file for scores and metrics");
  app.add_option("--threads", o.threads, "threads (all cores by default; never changes a result)")
      ->check(CLI::PositiveNumber);
  app.add_option("--device", o.device, "auto, cpu, cuda or cuda:N");
  app.add_flag("--skip-bad-files", o.skip_bad, "leave out files that cannot be read, instead of stopping");
  try {
    app.parse(argc, argv);
    if (o.data.empty() && o.images.empty()) throw CLI::RequiredError("--data or image files");
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return o;
}

// Scores are products of distances and span orders of magnitude, so heat rises with their logarithm: from the 90th
// percentile of all pixels, since most of every picture is normal, to the 99.5th.
class HeatScale {
 public:
  explicit HeatScale(const std::vector<cuttle::Tensor<float>>& maps) {
    std::vector<float> values;
    for (const auto& map : maps)
      for (std::int64_t i = 0; i < map.numel(); i += 37) values.push_back(map.data()[i]);
    const auto log_quantile = [&](double q) {
      const auto nth = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
      std::nth_element(values.begin(), nth, values.end());
      return log_of(*nth);
    };
    low_ = log_quantile(0.9);
    high_ = std::max(log_quantile(0.995), low_ + 0.5f);
  }

  cuttle::Image over(const cuttle::Image& picture, const cuttle::Tensor<float>& map) const {
    cuttle::Tensor<float> logs = map.clone();
    for (float& value : logs.span()) value = log_of(value);
    return cuttle::heatmap_overlay(picture, logs, low_, high_);
  }

 private:
  static float log_of(float score) { return std::log(std::max(score, 1e-30f)); }
  float low_ = 0, high_ = 1;
};

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

// A picture, its reconstruction where there is one, and itself under the heat of its map, with the outline of the mask
// where there is one.
cuttle::Image overlay(const cuttle::Image& picture, const cuttle::Evaluation& evaluation, std::size_t i,
                      const HeatScale& heat) {
  using namespace cuttle;
  const Tensor<float>& map = evaluation.maps[i];
  const auto at_map_size = [&](const Image& image) { return to_rgb(resize(image, map.size(0), map.size(1))); };
  std::vector<Image> panels{at_map_size(picture)};
  Image hot = heat.over(panels[0], map);
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

template <cuttle::AnomalyModel M>
void detect(const M& model, const console::TestData& data, const Options& o) {
  using namespace cuttle;
  if (!o.out.empty()) std::filesystem::create_directories(o.out);
  const Evaluation evaluation = data.evaluate(model, o.skip_bad ? BadFile::skip : BadFile::stop);
  const std::optional<Calibration>& calibration = evaluation.calibration;
  if (!evaluation.image_auroc)
    for (std::size_t i = 0; i < evaluation.samples.size(); ++i) {
      const double score = evaluation.scores[i];
      const char* decision = !calibration ? "" : calibration->anomalous(score) ? "anomalous  " : "normal     ";
      std::printf("%.6g  %s%s\n", score, decision, evaluation.samples[i].path.c_str());
    }
  console::print_metrics(evaluation);

  if (!o.out.empty()) {
    const HeatScale heat(evaluation.maps);
    for (std::size_t i = 0; i < evaluation.samples.size(); ++i)
      write_png(overlay_path(o.out, evaluation.samples[i], i),
                overlay(data.image(evaluation.samples[i]), evaluation, i, heat));
    std::printf("wrote %zu overlays to %s\n", evaluation.samples.size(), o.out.c_str());
  }
  if (!o.json.empty()) {
    Json::Array files;
    for (std::size_t i = 0; i < evaluation.samples.size(); ++i) {
      const Sample& sample = evaluation.samples[i];
      Json::Object file{{"path", sample.path.string()}, {"score", evaluation.scores[i]}};
      if (calibration) file.emplace_back("anomalous", calibration->anomalous(evaluation.scores[i]));
      if (sample.label != Label::unknown) file.emplace_back("label", static_cast<int>(sample.label));
      if (!sample.kind.empty()) file.emplace_back("kind", sample.kind);
      files.push_back(Json(std::move(file)));
    }
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
}

int detect(const Options& o) {
  const cuttle::Device device = console::use(o.threads, o.device);
  console::require_writable(o.json);
  cuttle::Model loaded = cuttle::load_model(o.model);
  const console::TestData data = data_of(o);
  std::visit(
      [&](auto& model) {
        model.move_to(device);
        detect(model, data, o);
      },
      loaded);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  return console::run("detect", [&] { return detect(options); });
}
