// A detector that many threads use at once. ./run test runs it under the thread sanitizer too.
#include <latch>
#include <thread>
#include <vector>

#include "cuttle/models/detector.hpp"
#include "tests/inspection/small_detectors.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"

using namespace cuttle;
using cuttle_test::same_bits;

TEST_CASE("Detector: four threads at once get what one gets") {
  const int before = num_threads();
  set_num_threads(2);
  std::vector<Image> frames;
  for (const std::int64_t side : {64, 96, 48, 70})
    frames.push_back(
        cuttle_test::integer_tensor<std::uint8_t>({side, 80, 3}, static_cast<std::uint64_t>(side), 0, 255));
  for (const auto& [name, detector] : cuttle_test::small_detectors()) {
    INFO(name);
    std::vector<Detection> alone, at_once(4 * frames.size());
    for (const Image& frame : frames) alone.push_back(detector.score(frame));
    std::latch start(4);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t)
      threads.emplace_back([&, t, &shared = detector] {
        start.arrive_and_wait();
        for (std::size_t i = 0; i < frames.size(); ++i)
          at_once[t * frames.size() + i] = shared.score(frames[(t + i) % 4]);
      });
    for (std::thread& thread : threads) thread.join();
    for (std::size_t t = 0; t < 4; ++t)
      for (std::size_t i = 0; i < frames.size(); ++i) {
        const Detection &one = alone[(t + i) % 4], &other = at_once[t * frames.size() + i];
        CHECK(other.raw_score == one.raw_score);
        CHECK(other.anomalous == one.anomalous);
        CHECK(same_bits(other.map, one.map));
      }
  }
  set_num_threads(before);
}

TEST_CASE("KeptTensor: what threads keep at once is read whole") {
  detail::KeptTensor<float> kept;
  std::latch start(4);
  std::vector<std::thread> threads;
  std::vector<int> torn(4);
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const std::int64_t size = static_cast<std::int64_t>(t) + 1;
      start.arrive_and_wait();
      for (int i = 0; i < 500; ++i) {
        kept.set(Tensor<float>::full({size}, static_cast<float>(size)));
        const Tensor<float> found = kept.get();
        torn[t] += found.data()[0] != static_cast<float>(found.numel());
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(torn == std::vector<int>(4));
}
