// A small harness over Google Benchmark for cases that run on the CPU and, where the CUDA part is linked and finds a
// device, on it. A case is checked before it is timed, and a wrong answer fails the program. Between runs 256 MB are
// overwritten, so that no cache holds the case's data; on a device time is taken by its own events. The median of the
// runs is reported, with bytes and floating-point operations per second and the share of the ceiling: how much of the
// time the case would need if it only moved its bytes as fast as a copy does, or only multiplied as fast as the
// measured rate, whichever takes longer. Both ceilings are measured in the same run (see options).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cuttle/core/random.hpp"
#include "cuttle/core/tensor.hpp"

namespace cuttle_bench {

using cuttle::Device;
using cuttle::Shape;
using cuttle::Tensor;

// Whose rate bounds the products of a case.
enum class Unit { fp32, tf32, fp16 };

struct Case {
  std::function<void()> run;    // the work that is timed, queued on the current stream of the device
  std::function<void()> check;  // throws cuttle::Error where an answer of run is wrong
  double bytes = 0;             // the fewest that have to move: each input read once, each output written once
  double flop = 0;
  Unit unit = Unit::fp32;
  // Whether run only queues work on the current stream. Then many runs can be recorded and replayed at once, which
  // shows what is left of a short one without its launch and with its data in the cache ("replay_us").
  bool only_queues = true;
};

enum class Where { everywhere, cpu, cuda };

// Adds a case under its name; make(device) prepares it when its turn comes, on the stream that it will run on.
void add(const std::string& name, std::function<Case(Device)> make, Where where = Where::everywhere);

// Runs what main was called for; the exit status is 1 where a case failed. Options, besides Google Benchmark's own:
//   --device cpu|cuda|cuda:N|auto   auto, the default: the CPU, then cuda:0 where there is one
//   --threads N                     of the CPU
//   --json FILE                     the results
//   --ceilings FILE                 the JSON that bench/ceilings printed: a device's rates (its copy bandwidth is
//   measured)
int run(int argc, char** argv);

// --- for the cases --------------------------------------------------------------------------------------------------

// Standard normals times a deviation, the same for one seed everywhere.
Tensor<float> normal(const Shape& shape, std::uint64_t seed, double deviation = 1);

// Throws unless |actual - expected| <= tolerance; a NaN is a mismatch.
void check_value(const char* what, std::int64_t index, double actual, double expected, double tolerance);

// Calls check(i) for some 64 of 0 .. n-1, the first and the last among them.
template <class Check>
void for_some(std::int64_t n, Check check) {
  const std::int64_t step = n / 63 + 1;
  for (std::int64_t i = 0; i < n; i += step) check(i);
  if (n > 0) check(n - 1);
}

template <class T>
Tensor<T> on_host(const Tensor<T>& tensor) {
  return tensor.to(Device::cpu());
}

inline double as_double(float x) { return static_cast<double>(x); }
inline double as_double(std::int64_t x) { return static_cast<double>(x); }

}  // namespace cuttle_bench
