// What is fuzzed: one parser a target. fuzz_*.cpp each define one; libfuzzer.cpp hands it what libFuzzer finds, and
// test_corpus.cpp what corpus/NAME/ holds, and mutations of that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cuttle/core/error.hpp"

namespace cuttle_test {

struct FuzzTarget {
  const char* name;
  // Parses the input, and looks at what comes out. Only an Error may be thrown.
  void (*parse)(std::span<const std::byte> input);
  // Makes good what a mutation breaks and nobody who means harm would leave broken, such as checksums. May be null.
  void (*mend)(std::vector<std::byte>& input);

  static std::vector<FuzzTarget>& all() {
    static std::vector<FuzzTarget> targets;
    return targets;
  }
  // True when the input was taken, false when it was refused with an Error; another exception is a finding.
  bool accepts(std::span<const std::byte> input) const {
    try {
      parse(input);
      return true;
    } catch (const cuttle::Error&) {
      return false;
    }
  }
};

// Ends the run: something came out of a parser that should not have.
inline void fuzz_check(bool ok, const char* what) {
  if (!ok) throw std::string(what);  // no Error, so that nobody takes it for a refusal
}

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A safetensors file's header ends behind its last brace.
inline void mend_safetensors(std::vector<std::byte>& file) {
  if (file.size() < 9) return;
  const std::size_t brace = text_of(file).find_last_of('}');
  if (brace == std::string_view::npos || brace < 8) return;
  const std::uint64_t length = brace - 7;
  std::memcpy(file.data(), &length, 8);
}

}  // namespace cuttle_test

// In a source of its own: CUTTLE_FUZZ_TARGET(json, nullptr) { ... input ... }
#define CUTTLE_FUZZ_TARGET(target, mend)                                                 \
  static void parse_##target(std::span<const std::byte> input);                          \
  [[maybe_unused]] static const bool target##_is_known =                                 \
      (cuttle_test::FuzzTarget::all().push_back({#target, parse_##target, mend}), true); \
  static void parse_##target([[maybe_unused]] std::span<const std::byte> input)
