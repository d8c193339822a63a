// Seconds of SQUID's training on the CPU (see support/squid_steps.hpp): a step, or the update of one of its networks by
// itself. For ratios on a busy machine: peers/squid_step.py alternates it with PyTorch.
//
//   bench_squid [--threads=N] step|discriminator|generator fp32|winograd [rounds]
//   prints seconds, wall and process CPU, one line a round, then the least of them; a round before them is not counted
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include "bench/support/squid_steps.hpp"

namespace {

using cuttle::Math;

double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A round of what is named; it returns a loss.
std::function<double()> round_of(std::string_view what, Math math) {
  if (what == "step") {
    return [trainer = cuttle_bench::squid_trainer(math, cuttle::Device::cpu())] { return trainer->step().generator; };
  }
  cuttle::require(what == "discriminator" || what == "generator",
                  "bench_squid: step, discriminator or generator, got '", what, "'");
  const auto updates = std::make_shared<cuttle_bench::SquidUpdates>(math, cuttle::Device::cpu());
  return [updates, generator = what == "generator"] {
    generator ? updates->generator() : updates->discriminator();
    return static_cast<double>(updates->loss.data()[0]);
  };
}

int print_seconds(std::string_view what, Math math, int rounds) {
  const std::function<double()> round = round_of(what, math);
  double wall = std::numeric_limits<double>::infinity(), cpu = wall;
  for (int i = 0; i <= rounds; ++i) {
    const double wall_start = wall_seconds(), cpu_start = cpu_seconds();
    const double loss = round();
    const double wall_taken = wall_seconds() - wall_start, cpu_taken = cpu_seconds() - cpu_start;
    cuttle::require(std::isfinite(loss), "bench_squid: the loss is ", loss);
    if (i == 0) continue;
    wall = std::min(wall, wall_taken);
    cpu = std::min(cpu, cpu_taken);
    std::printf("%.*s: %.4f s wall, %.4f s CPU, loss %.6g\n", static_cast<int>(what.size()), what.data(), wall_taken,
                cpu_taken, loss);
  }
  std::printf("least of %d: %.4f s wall, %.4f s CPU (%d threads)\n", rounds, wall, cpu, cuttle::num_threads());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::vector<char*> rest;
    for (int i = 1; i < argc; ++i)
      if (const std::string_view argument = argv[i]; argument.starts_with("--threads="))
        cuttle::set_num_threads(std::atoi(argv[i] + std::strlen("--threads=")));
      else
        rest.push_back(argv[i]);
    if (rest.size() >= 2) {
      const std::string_view math = rest[1];
      cuttle::require(math == "fp32" || math == "winograd", "bench_squid: math is fp32 or winograd, got '", math, "'");
      return print_seconds(rest[0], math == "fp32" ? Math::fp32 : Math::winograd,
                           rest.size() > 2 ? std::max(1, std::atoi(rest[2])) : 3);
    }
    std::cerr << "bench_squid [--threads=N] step|discriminator|generator fp32|winograd [rounds]\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
