// What fuzzing has kept, and mutations of it that are the same everywhere: a short run of the targets for every
// compiler.
#include <algorithm>
#include <filesystem>
#include <random>

#include "cuttle/core/memory.hpp"
#include "cuttle/io/file.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/support/catch.hpp"

using cuttle_test::FuzzTarget;
using Bytes = std::vector<std::byte>;

namespace {

struct Input {
  std::string name;
  Bytes bytes;
};

std::vector<Input> corpus_of(const FuzzTarget& target) {
  std::vector<Input> inputs;
  const std::filesystem::path folder = std::filesystem::path(CUTTLE_SOURCE_DIR) / "tests/fuzz/corpus" / target.name;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string contents = cuttle::read_file(entry.path());
    const auto bytes = std::as_bytes(std::span(contents));
    inputs.push_back({entry.path().filename().string(), {bytes.begin(), bytes.end()}});
  }
  std::ranges::sort(inputs, {}, &Input::name);
  return inputs;
}

// Some of: bytes changed, taken out, put in or copied from another place, and the end taken from another input.
Bytes mutated(Bytes bytes, const Bytes& other, std::mt19937_64& random) {
  constexpr std::size_t longest = 4096;
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  constexpr unsigned char telling[] = {0,   1,   2,   4,   8,   16,  32,  64,  100, 127,
                                       128, 254, 255, '"', ':', '[', ']', '{', '}', '9'};
  for (std::size_t edits = 1 + below(4); edits > 0; --edits) {
    const std::size_t size = bytes.size(), at = below(size + 1), count = 1 + below(8);
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(6)) {
      case 0:
        if (at < size) bytes[at] = static_cast<std::byte>(telling[below(std::size(telling))]);
        break;
      case 1:
        if (at < size) bytes[at] ^= static_cast<std::byte>(1 << below(8));
        break;
      case 2:
        bytes.erase(place, place + static_cast<std::ptrdiff_t>(std::min(count, size - at)));
        break;
      case 3:
        bytes.insert(place, count, static_cast<std::byte>(telling[below(std::size(telling))]));
        break;
      case 4:
        for (std::size_t i = 0, from = below(size + 1); i < count && at + i < size && from + i < size; ++i)
          bytes[at + i] = bytes[from + i];
        break;
      default:
        bytes.resize(at);
        bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(below(other.size() + 1)), other.end());
    }
  }
  if (bytes.size() > longest) bytes.resize(longest);
  return bytes;
}

// Of an input that ends the whole program, as the sanitizers do, this is what is left to know it by.
std::string current;
extern "C" void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));
const bool callback_is_set = [] {
  if (__sanitizer_set_death_callback)
    __sanitizer_set_death_callback([] { std::fprintf(stderr, "the input: %s\n", current.c_str()); });
  return true;
}();

}  // namespace

TEST_CASE("fuzz: the corpora, and mutations of them, are taken or refused, and nothing else") {
  REQUIRE(callback_is_set);
  REQUIRE(FuzzTarget::all().size() >= 8);
  for (const FuzzTarget& target : FuzzTarget::all()) {
    CAPTURE(target.name);
    const std::vector<Input> corpus = corpus_of(target);
    REQUIRE(corpus.size() >= 10);
    const auto run = [&](const std::string& name, const Bytes& bytes) {
      current = std::string(target.name) + ": " + name;
      try {
        return target.accepts(bytes);
      } catch (const std::exception& error) {
        FAIL_CHECK(current << ": " << error.what());
      } catch (const std::string& finding) {
        FAIL_CHECK(current << ": " << finding);
      }
      return false;
    };
    std::size_t accepted = 0;
    for (const Input& input : corpus) accepted += run(input.name, input.bytes);
    // A corpus that is only refused, or never, tests half a parser.
    CHECK(accepted > 0);
    CHECK(accepted < corpus.size());

    constexpr std::size_t mutations = 2000;
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i < mutations; ++i) {
      const Input &input = corpus[random() % corpus.size()], &other = corpus[random() % corpus.size()];
      Bytes bytes = mutated(input.bytes, other.bytes, random);
      if (target.mend && i % 8) target.mend(bytes);
      run("mutation " + std::to_string(i) + ", of " + input.name, bytes);
    }
    // No input is longer than 4 KB. What tensors took is there still, for the next that asks.
    CHECK(cuttle::pool_statistics().bytes_held < std::uint64_t{64} << 20);
  }
}
