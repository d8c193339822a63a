#include "bench/support/harness.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bench/support/device_timer.hpp"
#include "cuttle/backend/cpu_random.hpp"
#include "cuttle/core/graph.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/io/file.hpp"
#include "cuttle/io/json.hpp"

#if defined(CUTTLE_BENCH_OPENBLAS)
#include <cblas.h>
#endif

namespace cuttle_bench {
namespace {

struct NamedCase {
  std::string name;
  std::function<Case(Device)> make;
  Where where;
};
std::vector<NamedCase>& cases() {
  static std::vector<NamedCase> list;
  return list;
}

bool failed = false;

// Bytes a second of a copy, read and written counted, and operations a second of each unit; 0 is not known.
struct Ceilings {
  double copy = 0;
  std::map<Unit, double> rate;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double wall_seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double process_seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// By a device's events; on the CPU by the clock, and where it is one thread alone by the processor's time, which others
// at work on the machine change less.
double seconds_of(Device device, const std::function<void()>& work) {
  if (device.is_cpu() && cuttle::num_threads() > 1) return wall_seconds(work);
  if (device.is_cpu()) {
    const double start = process_seconds();
    work();
    return process_seconds() - start;
  }
  const Event start(device);
  work();
  return Event(device).seconds_since(start);
}

// What no cache of a processor or a device holds beside it.
class CacheFlush {
 public:
  explicit CacheFlush(Device device) : scratch_(Tensor<float>::empty({std::int64_t{64} << 20}, device)) {}
  // Queued before the run on a device, so that the host is ahead of it and its launches do not show.
  void operator()() { scratch_.fill(value_ += 1); }

 private:
  Tensor<float> scratch_;
  float value_ = 0;
};

// A few runs to warm up, then as many as half a second of a device or 1.5 of the CPU holds, 5 to 50, each with cold
// caches: their median.
double median_seconds(Device device, CacheFlush& flush, const Case& work, int& runs) {
  const double enough = device.is_cpu() ? 1.5 : 0.5;
  const auto prepare = [&] {
    flush();
    if (!work.only_queues) cuttle::synchronize(device);
  };
  double first = 0;
  for (int i = 0; i < 3 && first < enough; ++i)
    first = wall_seconds([&] {
      prepare();
      work.run();
      cuttle::synchronize(device);
    });
  runs = first < enough ? static_cast<int>(std::clamp(enough / first, 5.0, 50.0)) : 1;
  std::vector<double> seconds;
  for (int i = 0; i < runs; ++i) {
    prepare();
    seconds.push_back(seconds_of(device, work.run));
  }
  return median(seconds);
}

double copy_ceiling(Device device) {
  const std::int64_t n = std::int64_t{device.is_cpu() ? 64 : 256} << 20;
  const Tensor<float> from = Tensor<float>::full({n}, 1, device);
  Tensor<float> to = Tensor<float>::full({n}, 2, device);
  std::vector<double> seconds;
  for (int i = 0; i < 7; ++i)
    seconds.push_back(seconds_of(device, [&] {
      if (!device.is_cpu()) return to.copy_from(from);
      constexpr std::int64_t piece = 1 << 18;
      cuttle::parallel_for(n / piece, [&](std::int64_t tile) {
        std::memcpy(to.data() + tile * piece, from.data() + tile * piece, piece * sizeof(float));
      });
    }));
  return 2.0 * static_cast<double>(n) * sizeof(float) / median(seconds);
}

#if defined(CUTTLE_BENCH_OPENBLAS)
extern "C" void openblas_set_num_threads(int);
#endif

// What sgemm does of 2048 x 2048 matrices, on as many threads as the cases.
double cpu_rate() {
#if defined(CUTTLE_BENCH_OPENBLAS)
  constexpr int n = 2048;
  openblas_set_num_threads(cuttle::num_threads());
  const Tensor<float> a = normal({n, n}, 1), b = normal({n, n}, 2);
  Tensor<float> c = Tensor<float>::empty({n, n});
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i)
    seconds.push_back(seconds_of(Device::cpu(), [&] {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(), n);
    }));
  return 2.0 * n * n * n / median(seconds);
#else
  return 0;
#endif
}

Ceilings measure_ceilings(Device device, const std::string& file) {
  Ceilings ceilings;
  ceilings.copy = copy_ceiling(device);
  if (device.is_cpu()) {
    ceilings.rate[Unit::fp32] = cpu_rate();
  } else if (!file.empty()) {
    const cuttle::Json measured = cuttle::Json::parse(cuttle::read_file(file));
    ceilings.rate[Unit::fp32] = measured.at("ffma_flops").number();
    ceilings.rate[Unit::tf32] = measured.at("tf32_flops").number();
    ceilings.rate[Unit::fp16] = measured.at("fp16_flops").number();
  }
  return ceilings;
}

// Microseconds of one of many replayed runs.
double replay_microseconds(const cuttle::Stream& stream, const Case& work) {
  constexpr int runs = 20;
  const cuttle::RecordedWork record(stream, [&] {
    for (int i = 0; i < runs; ++i) work.run();
  });
  std::vector<double> seconds;
  for (int i = 0; i < 10; ++i) {
    const Event start(stream.device());
    record.launch();
    seconds.push_back(Event(stream.device()).seconds_since(start) / runs);
  }
  return 1e6 * median(seconds);
}

void run_case(benchmark::State& state, const NamedCase& named, const cuttle::Stream& stream, const Ceilings& ceilings) {
  const Device device = stream.device();
  const cuttle::StreamScope scope(device, stream.get());
  const Case work = named.make(device);
  work.run();
  work.check();
  CacheFlush flush(device);
  int runs = 0;
  double seconds = 0;
  for ([[maybe_unused]] auto _ : state) {
    seconds = median_seconds(device, flush, work, runs);
    state.SetIterationTime(seconds);
  }
  auto& counters = state.counters;
  counters["runs"] = runs;
  double floor = ceilings.copy > 0 ? work.bytes / ceilings.copy : 0;
  const auto rate = ceilings.rate.find(work.unit);
  if (rate != ceilings.rate.end() && rate->second > 0) floor = std::max(floor, work.flop / rate->second);
  if (work.bytes > 0) counters["GB/s"] = 1e-9 * work.bytes / seconds;
  if (work.flop > 0) counters["GFLOP/s"] = 1e-9 * work.flop / seconds;
  if (floor > 0) {
    counters["floor_us"] = 1e6 * floor;
    counters["share"] = floor / seconds;
  }
  if (!device.is_cpu() && work.only_queues && seconds < 1e-3) counters["replay_us"] = replay_microseconds(stream, work);
}

void register_case(const NamedCase& named, const cuttle::Stream& stream, const Ceilings& ceilings) {
  const char* device = stream.device().is_cpu() ? "cpu" : "cuda";
  benchmark::RegisterBenchmark(cuttle::concat(device, '/', named.name).c_str(),
                               [&](benchmark::State& state) {
                                 try {
                                   run_case(state, named, stream, ceilings);
                                 } catch (const std::exception& error) {
                                   failed = true;
                                   state.SkipWithError(error.what());
                                 }
                               })
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

void describe(const char* key, const std::string& value) { benchmark::AddCustomContext(key, value); }

std::vector<Device> chosen_devices(const std::string& name) {
  if (name != "auto") return {cuttle::parse_device(name)};
  std::vector<Device> devices{Device::cpu()};
  if (const Device best = cuttle::parse_device("auto"); !best.is_cpu()) devices.push_back(best);
  return devices;
}

}  // namespace

void add(const std::string& name, std::function<Case(Device)> make, Where where) {
  cases().push_back({name, std::move(make), where});
}

int run(int argc, char** argv) {
  try {
    std::string device = "auto", ceilings_file;
    std::vector<std::string> rest{argv[0]};
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      const auto value = [&](std::string_view option) -> std::optional<std::string> {
        if (argument == option && i + 1 < argc) return argv[++i];
        if (argument.starts_with(std::string(option) + '=')) return argument.substr(option.size() + 1);
        return std::nullopt;
      };
      if (const auto name = value("--device")) {
        device = *name;
      } else if (const auto threads = value("--threads")) {
        cuttle::set_num_threads(std::atoi(threads->c_str()));
      } else if (const auto json = value("--json")) {
        rest.push_back("--benchmark_out_format=json");
        rest.push_back("--benchmark_out=" + *json);
      } else if (const auto file = value("--ceilings")) {
        ceilings_file = *file;
      } else {
        rest.push_back(argument);
      }
    }
    std::vector<char*> pointers;
    for (std::string& argument : rest) pointers.push_back(argument.data());
    int count = static_cast<int>(pointers.size());
    pointers.push_back(nullptr);
    benchmark::Initialize(&count, pointers.data());
    if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 1;

    std::vector<std::unique_ptr<cuttle::Stream>> streams;
    std::map<bool, Ceilings> ceilings;
    for (const Device each : chosen_devices(device)) {
      streams.push_back(std::make_unique<cuttle::Stream>(each));
      const cuttle::StreamScope scope(each, streams.back()->get());
      const Ceilings& found = ceilings[each.is_cpu()] = measure_ceilings(each, ceilings_file);
      const std::string name = each.is_cpu() ? "cpu" : "cuda";
      describe((name + "_copy_gb_per_s").c_str(), cuttle::concat(1e-9 * found.copy));
      for (const auto& [unit, rate] : found.rate)
        describe((name +
                  (unit == Unit::fp32   ? "_fp32"
                   : unit == Unit::tf32 ? "_tf32"
                                        : "_fp16") +
                  "_gflop_per_s")
                     .c_str(),
                 cuttle::concat(1e-9 * rate));
      for (const NamedCase& named : cases())
        if (named.where == Where::everywhere || (named.where == Where::cpu) == each.is_cpu())
          register_case(named, *streams.back(), ceilings[each.is_cpu()]);
    }
    describe("cpu_threads", std::to_string(cuttle::num_threads()));
    benchmark::RunSpecifiedBenchmarks();
    return failed ? 1 : 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}

Tensor<float> normal(const Shape& shape, std::uint64_t seed, double deviation) {
  Tensor<float> tensor = Tensor<float>::empty(shape);
  constexpr std::int64_t tile = 1 << 16;
  const std::int64_t n = tensor.numel();
  cuttle::parallel_for((n + tile - 1) / tile, [&](std::int64_t t) {
    const std::int64_t first = t * tile, count = std::min(tile, n - first);
    const std::span<float> part(tensor.data() + first, static_cast<std::size_t>(count));
    cuttle::cpu::fill_normal(part, seed, 0, static_cast<std::uint64_t>(first));
    for (float& x : part) x *= static_cast<float>(deviation);
  });
  return tensor;
}

void check_value(const char* what, std::int64_t index, double actual, double expected, double tolerance) {
  cuttle::require(std::abs(actual - expected) <= tolerance, what, ": value ", index, " is ", actual, ", expected ",
                  expected, " within ", tolerance);
}

}  // namespace cuttle_bench
