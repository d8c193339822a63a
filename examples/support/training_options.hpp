// The options that every training program has.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "cuttle/data/folder.hpp"
#include "cuttle/ops/conv2d.hpp"

namespace console {

// How a threshold is learnt from normal images.
inline void add_calibration_options(CLI::App& app, double& false_positives, std::string& group) {
  app.add_option("--false-positives", false_positives, "share of new normal images that may be called anomalous")
      ->capture_default_str()
      ->check([](const std::string& text) {
        double value = 0;
        return CLI::detail::lexical_cast(text, value) && value >= 0 && value < 1
                   ? std::string()
                   : "'" + text + "' is no share from 0 to below 1";
      });
  app.add_option("--group", group,
                 "regular expression: images whose paths inside the data folder match it with the same first capture "
                 "belong together, as exposures of one part do");
}

struct TrainingOptions {
  std::string data, out, recipe = "default", eval, device = "auto", json, math;
  std::optional<std::int64_t> steps, batch;
  std::int64_t eval_every = 0, checkpoint_every = 100;
  std::uint64_t seed = 1;
  std::optional<double> hold_out;  // share; the recipe's where it is not given
  double false_positives = 0.05;
  std::string group;
  int threads = 0;
  bool skip_bad = false, resume = false;

  // What --math asks for, or else the recipe.
  cuttle::Math math_or(cuttle::Math recipes) const {
    return math.empty() ? recipes : math == "winograd" ? cuttle::Math::winograd : cuttle::Math::fp32;
  }
  cuttle::BadFile bad_file() const { return skip_bad ? cuttle::BadFile::skip : cuttle::BadFile::stop; }

  // Adds them to a program, whose own come before or after; returns --data and --steps for what they exclude.
  struct Added {
    CLI::Option *data, *steps;
  };
  Added add_to(CLI::App& app) {
    Added added{};
    added.data = app.add_option("--data", data,
                                "normal images: a folder (an MVTec AD tree, a tree with good/, or images alone) or a "
                                ".safetensors file with images and labels");
    app.add_option("--out", out, "model file to write (.safetensors)")->required();
    app.add_option("--recipe", recipe, "default (soon useful) or published (the paper's)")
        ->check(CLI::IsMember({"default", "published"}));
    added.steps = app.add_option("--steps", steps, "optimiser steps (the recipe has a length of its own)")
                      ->check(CLI::PositiveNumber);
    app.add_option("--batch", batch, "examples in a step")->check(CLI::PositiveNumber);
    app.add_option("--math", math, "convolutions in training: fp32 or winograd (faster, rounds more)")
        ->check(CLI::IsMember({"fp32", "winograd"}));
    app.add_option("--eval", eval,
                   "labelled data set, a folder or a .safetensors file, to evaluate on, at the end and every "
                   "--eval-every steps");
    app.add_option("--eval-every", eval_every, "steps between evaluations")->check(CLI::PositiveNumber);
    app.add_option(
           "--checkpoint-every", checkpoint_every,
           "steps between checkpoints, OUT.checkpoint, which the finished model replaces (0: none but on SIGINT "
           "and SIGTERM)")
        ->check(CLI::NonNegativeNumber);
    app.add_flag("--resume", resume, "go on from OUT.checkpoint, where it is there");
    app.add_option("--seed", seed, "seed of everything random");
    app.add_option("--threads", threads, "threads (all cores by default; never changes a result)")
        ->check(CLI::PositiveNumber);
    app.add_option("--device", device, "auto, cpu, cuda or cuda:N");
    app.add_option("--json", json, "file for the course of the training, settings and metrics");
    app.add_option(
           "--hold-out", hold_out,
           "share of the normal images that is kept from training, to learn the threshold from (0: none, and no "
           "threshold)")
        ->check(CLI::Range(0.0, 0.9));
    add_calibration_options(app, false_positives, group);
    app.add_flag("--skip-bad-files", skip_bad, "leave out files that cannot be read, instead of stopping");
    return added;
  }
};

// Parses, or ends the program: status 0 after --help, 2 after a mistake.
inline void parse_or_exit(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
}

}  // namespace console
