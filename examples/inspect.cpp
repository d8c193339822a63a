// Inspects frames as a line does: images in memory, scored one after another, and how long each took.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <future>
#include <string>
#include <vector>

#include "cuttle/data/folder.hpp"
#include "cuttle/models/detector.hpp"
#include "support/console.hpp"
#include "support/training_options.hpp"

namespace {

// Of this process, in MiB.
double resident() {
  long all = 0, pages = 0;
  std::ifstream("/proc/self/statm") >> all >> pages;
  return static_cast<double>(pages) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// Scores frames callers at once, and reports.
int inspect(const cuttle::Detector& detector, const std::vector<cuttle::Image>& frames, std::size_t images,
            std::size_t callers, bool decisions) {
  struct Result {
    double milliseconds, score, resident;
    const char* decision;
  };
  std::vector<Result> results(images);
  std::vector<std::future<void>> at_once;
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t caller = 0; caller < callers; ++caller)
    at_once.push_back(std::async(std::launch::async, [&, caller] {
      cuttle::Detection detection;
      for (std::size_t i = caller; i < images; i += callers) {
        const auto start = std::chrono::steady_clock::now();
        detector.score(cuttle::ImageView::of(frames[i % frames.size()]), detection);
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
        results[i] = {took.count(), detection.score, i == 99 || i + 1 == images ? resident() : 0,
                      !detection.anomalous.has_value() ? "undecided"
                      : *detection.anomalous           ? "anomalous"
                                                       : "normal"};
      }
    }));
  for (std::future<void>& caller : at_once) caller.get();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;

  for (std::size_t i = 0; decisions && i < images; ++i)
    std::printf("%zu %s %.17g\n", i + 1, results[i].decision, results[i].score);
  for (const std::size_t i : {std::size_t{100}, images})
    if (i <= images) std::printf("%.1f MiB resident after image %zu\n", results[i - 1].resident, i);
  std::ranges::sort(results, {}, &Result::milliseconds);
  const auto percentile = [&](double p) {
    return results[static_cast<std::size_t>(p * static_cast<double>(images - 1))].milliseconds;
  };
  std::printf("%zu images, %zu at once, %d threads: p50 %.2f, p90 %.2f, p99 %.2f, max %.2f ms; %.2f images/s\n", images,
              callers, cuttle::num_threads(), percentile(0.5), percentile(0.9), percentile(0.99), percentile(1),
              static_cast<double>(images) / seconds.count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string model, device = "auto";
  std::vector<std::string> paths;
  std::size_t images = 0, callers = 1;
  int threads = 0;
  bool decisions = false;
  CLI::App app{"Scores frames with a trained model and reports latencies.", "inspect"};
  app.add_option("--model", model, "model file")->required();
  app.add_option("frames", paths, "image files and folders")->required();
  app.add_option("--images", images, "how many to score, from the first again behind the last; each once by default")
      ->check(CLI::PositiveNumber);
  app.add_option("--callers", callers, "threads of the program's own that score at once")->check(CLI::Range(1, 256));
  app.add_option("--threads", threads, "threads of the library (all cores by default)")->check(CLI::PositiveNumber);
  app.add_option("--device", device, "auto, cpu, cuda or cuda:N");
  app.add_flag("--decisions", decisions, "a line for each frame: its number, the decision, the score");
  console::parse_or_exit(app, argc, argv);
  return console::run("inspect", [&] {
    const auto detector = cuttle::Detector::load(model, console::use(threads, device));
    std::vector<cuttle::Image> frames;
    for (const std::string& path : paths)
      for (const cuttle::Sample& sample : cuttle::list_images(path, cuttle::Split::test))
        frames.push_back(cuttle::read_image(sample.path));
    return inspect(detector, frames, images ? images : frames.size(), callers, decisions);
  });
}
