// One include for Catch2 versions 2 and 3, with a counted SKIP for both.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
namespace cuttle_test { using Catch::Approx; }
#else
#include <catch2/catch.hpp>
namespace cuttle_test { using Catch::Approx; }
#endif

#include <atomic>
#include <iostream>
#include <string>

namespace cuttle_test {

// Test cases that left early because what they need is not here; the main function prints the count.
inline std::atomic<int>& skipped_tests() {
  static std::atomic<int> count{0};
  return count;
}

inline void note_skip(const std::string& why) {
  ++skipped_tests();
  std::cout << "SKIPPED: " << why << '\n';
}

}  // namespace cuttle_test

// Leaves the test case and counts it as skipped.
#define CUTTLE_SKIP(why)            \
  do {                              \
    cuttle_test::note_skip(why);    \
    return;                         \
  } while (false)
