#include "cuttle/core/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/catch.hpp"

using cuttle::num_threads;
using cuttle::parallel_for;
using cuttle::set_num_threads;

namespace {

// Restores the number of threads that a test changes.
class Threads {
 public:
  explicit Threads(int threads) { set_num_threads(threads); }
  ~Threads() { set_num_threads(before_); }

 private:
  int before_ = num_threads();
};

// How often each tile was computed.
std::vector<int> visits(std::int64_t tiles) {
  std::vector<std::atomic<int>> counts(static_cast<std::size_t>(tiles));
  parallel_for(tiles, [&](std::int64_t tile) { ++counts[static_cast<std::size_t>(tile)]; });
  return {counts.begin(), counts.end()};
}

bool each_once(const std::vector<int>& counts) {
  return std::all_of(counts.begin(), counts.end(), [](int count) { return count == 1; });
}

}  // namespace

TEST_CASE("parallel_for: every tile once, whatever the number of threads") {
  for (int threads : {1, 2, 3, 8}) {
    Threads guard(threads);
    CHECK(num_threads() == threads);
    for (std::int64_t tiles : {1, 2, 3, 33, 129, 515, 10000}) {
      const std::vector<int> counts = visits(tiles);
      CHECK(counts.size() == static_cast<std::size_t>(tiles));
      CHECK(each_once(counts));
    }
  }
}

TEST_CASE("parallel_for: no tile for a count of zero or less") {
  int calls = 0;
  parallel_for(0, [&](std::int64_t) { ++calls; });
  parallel_for(-5, [&](std::int64_t) { ++calls; });
  CHECK(calls == 0);
}

TEST_CASE("parallel_for: uses the threads it may, and no more") {
  // Both tiles wait for the other, so they can only end on two threads.
  Threads guard(2);
  std::atomic<int> arrived{0};
  std::set<std::thread::id> seen;
  std::mutex mutex;
  parallel_for(2, [&](std::int64_t) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  CHECK(seen.size() == 2);
  CHECK(seen.count(std::this_thread::get_id()) == 1);

  set_num_threads(1);
  seen.clear();
  parallel_for(100, [&](std::int64_t) { seen.insert(std::this_thread::get_id()); });
  CHECK(seen == std::set<std::thread::id>{std::this_thread::get_id()});
}

TEST_CASE("parallel_for: an exception of a tile reaches the caller, and the next call works") {
  for (int threads : {1, 2, 4}) {
    Threads guard(threads);
    for (std::int64_t bad : {0, 7, 99}) {
      const auto body = [bad](std::int64_t tile) {
        if (tile == bad) throw cuttle::Error("tile " + std::to_string(tile));
      };
      CHECK_THROWS_WITH(parallel_for(100, body), "tile " + std::to_string(bad));
      CHECK(each_once(visits(64)));
    }
  }
}

TEST_CASE("parallel_for: when every tile throws, one exception arrives") {
  Threads guard(4);
  for (int round = 0; round < 50; ++round) {
    int caught = 0;
    try {
      parallel_for(100, [](std::int64_t) { throw cuttle::Error("all"); });
    } catch (const cuttle::Error&) {
      ++caught;
    }
    REQUIRE(caught == 1);
  }
  // The library's state of "inside a tile" is left by an exception, too: the next call is parallel again.
  std::atomic<int> arrived{0};
  parallel_for(2, [&](std::int64_t) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  CHECK(arrived == 2);
}

TEST_CASE("parallel_for: a call from inside a tile runs there, and rethrows there") {
  for (int threads : {1, 4}) {
    Threads guard(threads);
    std::vector<std::atomic<int>> counts(33 * 65);
    parallel_for(33, [&](std::int64_t outer) {
      const std::thread::id here = std::this_thread::get_id();
      parallel_for(65, [&](std::int64_t inner) {
        if (std::this_thread::get_id() == here) ++counts[static_cast<std::size_t>(outer * 65 + inner)];
      });
    });
    CHECK(each_once({counts.begin(), counts.end()}));

    std::atomic<int> caught{0};
    parallel_for(8, [&](std::int64_t) {
      try {
        parallel_for(8, [](std::int64_t inner) { cuttle::require(inner != 5, "inner"); });
      } catch (const cuttle::Error&) {
        ++caught;
      }
    });
    CHECK(caught == 8);
  }
}

TEST_CASE("parallel_for: two of the user's threads at once") {
  Threads guard(2);
  std::atomic<int> wrong{0};
  const auto user = [&] {
    for (int round = 0; round < 200; ++round)
      if (!each_once(visits(100))) ++wrong;
  };
  std::thread other(user);
  user();
  other.join();
  CHECK(wrong == 0);
}

TEST_CASE("parallel_for: a temporary body, a body that owns, a const body") {
  std::atomic<std::int64_t> sum{0};
  auto owner = std::make_unique<std::int64_t>(2);
  parallel_for(10, [&sum, owner = std::move(owner)](std::int64_t tile) { sum += *owner * tile; });
  CHECK(sum == 90);
  const auto body = [&sum](std::int64_t tile) { sum -= tile; };
  parallel_for(10, body);
  CHECK(sum == 45);
}

TEST_CASE("parallel_for: writes of the tiles are seen after the call, a thousand rounds of uneven work") {
  Threads guard(3);
  std::vector<std::int64_t> values(257);
  for (std::int64_t round = 0; round < 1000; ++round) {
    parallel_for(std::ssize(values), [&](std::int64_t tile) {
      std::int64_t value = round;
      for (std::int64_t i = 0; i < tile % 17; ++i) value = value * 31 % 1000003;
      values[static_cast<std::size_t>(tile)] = value - value + round + tile;
    });
    std::int64_t sum = 0;
    for (std::int64_t value : values) sum += value;
    REQUIRE(sum == 257 * round + 257 * 256 / 2);
  }
}

TEST_CASE("set_num_threads: changed between calls, many times") {
  Threads guard(1);
  for (int round = 0; round < 60; ++round) {
    set_num_threads(1 + round % 5);
    REQUIRE(each_once(visits(20)));
  }
}

TEST_CASE("set_num_threads: refuses fewer than one, and a call from inside a tile") {
  CHECK_THROWS_WITH(set_num_threads(0), "set_num_threads: at least 1, got 0");
  CHECK_THROWS_AS(set_num_threads(-3), cuttle::Error);
  for (int threads : {1, 2}) {
    Threads guard(threads);
    CHECK_THROWS_AS(parallel_for(4, [](std::int64_t) { set_num_threads(1); }), cuttle::Error);
    CHECK(num_threads() == threads);
  }
}

TEST_CASE("set_num_threads: waits for another thread's work") {
  Threads guard(2);
  std::atomic<bool> begun{false}, stop{false};
  std::atomic<int> wrong{0};
  std::thread worker([&] {
    while (!stop) {
      if (!each_once(visits(50))) ++wrong;
      begun = true;
    }
  });
  while (!begun) std::this_thread::yield();
  for (int round = 0; round < 50; ++round) set_num_threads(1 + round % 3);
  stop = true;
  worker.join();
  CHECK(wrong == 0);
}
