// One include for Catch2 versions 2 and 3, with a counted SKIP for both.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <atomic>
#include <iostream>
#include <string>

namespace cuttle_test {

#if defined(CATCH_VERSION_MAJOR) && CATCH_VERSION_MAJOR >= 3
using Catch::Approx;
inline auto contains(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
#else
using Catch::Detail::Approx;
// A matcher for CHECK_THROWS_WITH: the message holds `text`.
inline auto contains(const std::string& text) { return Catch::Contains(text); }
#endif

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
#define CUTTLE_SKIP(why)         \
  do {                           \
    cuttle_test::note_skip(why); \
    return;                      \
  } while (false)
