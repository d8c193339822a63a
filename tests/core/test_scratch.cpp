// Scratch memory of tiles that run at the same time.
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "cuttle/core/scratch.hpp"
#include "tests/support/catch.hpp"

TEST_CASE("parallel_for_with_scratch: tiles that meet have memory of their own, and all of it is taken at the start") {
  const int before_threads = cuttle::num_threads();
  cuttle::set_num_threads(2);
  constexpr std::int64_t n = 515;
  // Both tiles fill their memory before either looks at it again.
  const auto meet = [] {
    std::atomic<int> filled{0};
    std::atomic<bool> own{true};
    cuttle::parallel_for_with_scratch<double>(2, n, [&](std::int64_t tile, double* scratch) {
      std::fill_n(scratch, n, static_cast<double>(tile));
      ++filled;
      while (filled < 2) {
      }
      if (std::count(scratch, scratch + n, static_cast<double>(tile)) != n) own = false;
    });
    return own.load();
  };
  // Tiles one after the other.
  cuttle::parallel_for_with_scratch<double>(2, n, [&](std::int64_t, double* scratch) { scratch[n - 1] = 0; });
  const auto before = cuttle::pool_statistics().allocations;
  CHECK(meet());
  CHECK(cuttle::pool_statistics().allocations == before);

  std::int64_t sum = 0;
  cuttle::parallel_for_with_scratch<std::int64_t>(1, 0, [&](std::int64_t tile, std::int64_t*) { sum += tile + 1; });
  CHECK(sum == 1);
  cuttle::parallel_for(2, [&](std::int64_t) {
    cuttle::parallel_for_with_scratch<float>(3, 33, [](std::int64_t, float* scratch) { scratch[32] = 1; });
  });
  cuttle::set_num_threads(before_threads);
}
