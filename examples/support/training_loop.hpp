// A training run as a program makes it: progress, evaluations, and checkpoints, so that a run which was stopped or
// killed goes on.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "console.hpp"
#include "cuttle/io/json.hpp"
#include "cuttle/models/checkpoint.hpp"
#include "cuttle/models/training.hpp"
#include "data_sets.hpp"
#include "evaluation_report.hpp"
#include "training_options.hpp"

namespace console {

namespace detail {
inline volatile std::sig_atomic_t stop_signal = 0;
}

template <class Trainer>
class TrainingLoop {
 public:
  // Takes up the run in the checkpoint that --resume asks for, where there is one. Without --resume one that lies there
  // is an error, lest it be written over.
  TrainingLoop(Trainer& trainer, const TrainingOptions& options)
      : trainer_(trainer), options_(options), checkpoint_(options.out + ".checkpoint") {
    if (!std::filesystem::exists(checkpoint_)) return;
    if (!options.resume)
      throw cuttle::IoError(checkpoint_.string(),
                            "a run that was stopped lies here: go on with --resume, or remove the file");
    const cuttle::Json notes = cuttle::load_checkpoint(checkpoint_, trainer);
    seconds_ = notes.at("seconds").number();
    course_ = notes.at("course").array();
    kept_ = notes.at("kept");
    std::printf("going on after %lld steps\n", static_cast<long long>(trainer.steps()));
  }

  // What the program's keep() gave when the checkpoint that was taken up was written; null in a run from the beginning.
  const cuttle::Json& kept() const { return kept_; }

  // Makes the steps that are left. after(losses) follows each and returns what the line of progress says; evaluate()
  // comes every --eval-every steps but the last; keep() is what the program itself needs to go on, and goes into the
  // checkpoints, of which the last lies behind the last step until finished(). The first SIGINT or SIGTERM ends it
  // behind the step in hand, or behind an evaluation, with a checkpoint and Stopped. A second one ends the program.
  template <class After, class Evaluate, class Keep>
  void run(After&& after, Evaluate&& evaluate, Keep&& keep) {
    detail::stop_signal = 0;
    using Action = struct sigaction;
    Action stop{}, old_int{}, old_term{};
    stop.sa_handler = [](int signal) { detail::stop_signal = signal; };
    stop.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
    ::sigaction(SIGINT, &stop, &old_int);
    ::sigaction(SIGTERM, &stop, &old_term);
    struct Restore {
      const Action &interrupt, &terminate;
      ~Restore() {
        ::sigaction(SIGINT, &interrupt, nullptr);
        ::sigaction(SIGTERM, &terminate, nullptr);
      }
    } restore{old_int, old_term};

    Progress progress("training", trainer_.steps());
    const std::int64_t last = trainer_.recipe().steps;
    const auto save_now = [&] {
      save(keep(), [&](const char* reason) {
        progress.finish();
        std::fprintf(stderr, "no checkpoint after %lld steps: %s\n", static_cast<long long>(trainer_.steps()), reason);
      });
    };
    const auto due = [&](std::int64_t n) {
      return n > 0 && trainer_.steps() > 0 && trainer_.steps() % n == 0 && trainer_.steps() < last;
    };
    const auto evaluate_now = [&] {
      progress.finish();
      evaluate();
    };
    // One that was due when the run was stopped.
    if (due(options_.eval_every) && (course_.empty() || course_.back().at("step").integer() != trainer_.steps()))
      evaluate_now();

    std::stop_source stopped;
    auto start = std::chrono::steady_clock::now();
    cuttle::train(
        trainer_,
        [&](const auto& losses) {
          seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
          progress.show(trainer_.steps(), last, after(losses));
          if (!detail::stop_signal && due(options_.eval_every)) evaluate_now();
          if (!detail::stop_signal && due(options_.checkpoint_every)) save_now();
          if (detail::stop_signal) stopped.request_stop();
          start = std::chrono::steady_clock::now();
        },
        stopped.get_token());
    if (!detail::stop_signal) {
      if (options_.checkpoint_every > 0) save_now();
      return;
    }
    progress.finish();
    std::string reason;
    save(keep(), [&](const char* why) { reason = why; });
    throw Stopped(detail::stop_signal, reason.empty()
                                           ? cuttle::concat("stopped after ", trainer_.steps(), " of ", last,
                                                            " steps; --resume goes on from ", checkpoint_.string())
                                           : cuttle::concat("stopped, and no checkpoint written: ", reason));
  }

  // Notes where the run stands: its losses and, where there are test data, what the model makes of them, which it
  // prints.
  template <cuttle::AnomalyModel M>
  void evaluate(const M& model, const std::optional<TestData>& data, const cuttle::Json::Object& losses) {
    cuttle::Json::Object entry{{"step", trainer_.steps()}, {"training_seconds", seconds_}};
    entry.insert(entry.end(), losses.begin(), losses.end());
    if (data) {
      const cuttle::Evaluation evaluation = data->evaluate(model, options_.bad_file());
      std::printf("after %lld steps, %s of training: ", static_cast<long long>(trainer_.steps()),
                  duration(seconds_).c_str());
      print_metrics(evaluation);
      std::fflush(stdout);
      for (auto& member : metrics_json(evaluation)) entry.push_back(member);
    }
    course_.push_back(cuttle::Json(std::move(entry)));
  }

  // What --json asks for; more is the program's own.
  void write_report(const cuttle::Json& settings, cuttle::Device device, const cuttle::Json::Object& more = {}) const {
    if (options_.json.empty()) return;
    cuttle::Json::Object report{{"model", options_.out}, {"data", options_.data}};
    report.insert(report.end(), more.begin(), more.end());
    report.emplace_back("device", cuttle::concat(device));
    report.emplace_back("threads", cuttle::num_threads());
    report.emplace_back("settings", settings);
    report.emplace_back("course", cuttle::Json(course_));
    write_json(options_.json, cuttle::Json(std::move(report)));
  }

  // The model is written: the checkpoint has had its time.
  void finished() { std::filesystem::remove(checkpoint_); }

 private:
  template <class Failed>
  void save(const cuttle::Json& kept, Failed&& failed) {
    try {
      const cuttle::Json::Object notes{{"seconds", seconds_}, {"course", cuttle::Json(course_)}, {"kept", kept}};
      cuttle::save_checkpoint(checkpoint_, trainer_, cuttle::Json(notes));
    } catch (const cuttle::Error& error) {
      failed(error.what());
    }
  }

  Trainer& trainer_;
  const TrainingOptions& options_;
  std::filesystem::path checkpoint_;
  double seconds_ = 0;          // of training
  cuttle::Json::Array course_;  // what evaluate() noted
  cuttle::Json kept_;
};

}  // namespace console
