// SquidConfig: what makes a network and what does not, and its way into files and back.
#include "cuttle/models/squid_config.hpp"

#include <functional>
#include <limits>

#include "tests/models/small_squid.hpp"
#include "tests/support/catch.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::small_digit;
using cuttle_test::small_zhanglab;

TEST_CASE("SquidConfig: json and back, through text") {
  for (const SquidConfig& config :
       {SquidConfig::zhanglab(), SquidConfig::chexpert(), SquidConfig::digit(), small_digit(24), small_zhanglab()}) {
    const std::string text = config.json().dump();
    const SquidConfig back = SquidConfig::from(Json::parse(text));
    CHECK(back.json().dump() == text);
    CHECK(back.image_size == config.image_size);
    CHECK(back.grid == config.grid);
    CHECK(back.levels == config.levels);
    CHECK(back.root == config.root);
    CHECK(back.initial_combine == config.initial_combine);
    CHECK(back.concat == config.concat);
    CHECK(back.slots == config.slots);
    CHECK(back.decoder_slots == config.decoder_slots);
    CHECK(back.kept == config.kept);
    CHECK(back.generated_share == config.generated_share);
    REQUIRE(back.decoder_memory.size() == config.decoder_memory.size());
    for (std::size_t i = 0; i < config.decoder_memory.size(); ++i) {
      CHECK(back.decoder_memory[i].kind == config.decoder_memory[i].kind);
      CHECK(back.decoder_memory[i].matrices == config.decoder_memory[i].matrices);
    }
  }
  // Every member has a place of its own.
  SquidConfig config = small_zhanglab();
  config.slots = 13;
  config.decoder_slots = 14;
  config.kept = 15;
  config.generated_share = 0.25;
  const SquidConfig back = SquidConfig::from(config.json());
  CHECK(back.slots == 13);
  CHECK(back.decoder_slots == 14);
  CHECK(back.kept == 15);
  CHECK(back.generated_share == 0.25);
  CHECK_THROWS_WITH(SquidConfig::from(Json(Json::Object{})), contains("image_size"));
}

TEST_CASE("SquidConfig: what makes no network is refused with the numbers") {
  const auto refused = [](const std::function<void(SquidConfig&)>& change, const std::string& reason) {
    SquidConfig config = small_zhanglab();
    config.check();
    change(config);
    CHECK_THROWS_WITH(config.check(), contains("SquidConfig: ") && contains(reason));
    CHECK_THROWS_WITH(SquidConfig::from(config.json()), contains("SquidConfig: "));
  };
  refused([](SquidConfig& c) { c.grid = 0; }, "grid 0");
  refused([](SquidConfig& c) { c.levels = 0; }, "levels 0");
  refused([](SquidConfig& c) { c.levels = 17; }, "levels 17");
  refused([](SquidConfig& c) { c.root = 2; }, "root 2");
  refused([](SquidConfig& c) { c.image_size = 36; }, "image_size 36 is no multiple of grid * 2^levels = 8");
  refused([](SquidConfig& c) { c.image_size = -32; }, "image_size -32");
  refused([](SquidConfig& c) { c.initial_combine = 0; }, "initial_combine 0");
  refused([](SquidConfig& c) { c.initial_combine = 3; }, "initial_combine 3");
  refused([](SquidConfig& c) { c.concat = {true}; }, "concat has 1 entries");
  refused([](SquidConfig& c) { c.decoder_memory.resize(3); }, "decoder_memory has 3 entries");
  refused([](SquidConfig& c) { c.slots = 0; }, "slots 0");
  refused([](SquidConfig& c) { c.decoder_slots = -1; }, "decoder_slots -1");
  refused([](SquidConfig& c) { c.kept = 0; }, "kept 0");
  refused([](SquidConfig& c) { c.generated_share = -0.1; }, "generated_share is -0.1");
  // A patch's feature has channels / 4 * pixels numbers: 4 * 1 here.
  refused(
      [](SquidConfig& c) {
        c.image_size = 8;
        c.root = 4;
        c.decoder_memory = {};
      },
      "a patch's feature has 4 numbers");
  // The map of level 1 has 8 x 8 pixels.
  const auto memory = [](SquidDecoderMemory::Kind kind, std::int64_t matrices) {
    return [=](SquidConfig& c) { c.decoder_memory = {{}, {kind, matrices}}; };
  };
  refused(memory(SquidDecoderMemory::Kind::windows, 0), "0 matrices for maps of 8 x 8");
  refused(memory(SquidDecoderMemory::Kind::windows, 5), "5 matrices for maps of 8 x 8");
  refused(memory(SquidDecoderMemory::Kind::windows, 9), "9 matrices for maps of 8 x 8");
  refused(memory(SquidDecoderMemory::Kind::windows, 256), "256 matrices for maps of 8 x 8");
  refused(memory(SquidDecoderMemory::Kind::windows, std::numeric_limits<std::int64_t>::max()), "maps of 8 x 8");
  refused(memory(SquidDecoderMemory::Kind::patches, 9), "9 matrices for 4 patches");
  refused([](SquidConfig& c) { c.decoder_memory = {{SquidDecoderMemory::Kind::windows, 4}}; }, "patches are joined");
  SquidConfig most = small_zhanglab();
  memory(SquidDecoderMemory::Kind::windows, 64)(most);
  most.check();
}
