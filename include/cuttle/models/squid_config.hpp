// What a SQUID network looks like (Xiang et al., "SQUID: Deep Feature In-Painting for Unsupervised Anomaly Detection",
// CVPR 2023), and the published configurations by name.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuttle/core/error.hpp"
#include "cuttle/io/json.hpp"

namespace cuttle {

// A memory behind an up-sampling level of the student. windows: every map is cut into grid x grid windows, matrix j
// serves window j of all of them; patches: matrix j serves patch j. Levels count from the top: the last entry of a list
// is the first one met.
struct SquidDecoderMemory {
  enum class Kind { none, windows, patches };
  Kind kind = Kind::none;
  std::int64_t matrices = 0;  // a square number
};

// The sizes of a SQUID network. check() says whether they fit together.
struct SquidConfig {
  static constexpr std::int64_t most_levels = 16;

  std::int64_t image_size = 128;     // pixels a side, one channel
  std::int64_t grid = 2;             // patches a side (the paper's N)
  std::int64_t levels = 4;           // halvings in the encoder
  std::int64_t root = 32;            // channels of the first level; doubled at each, up to sixteen times
  std::int64_t initial_combine = 2;  // levels from the top that work on the whole image in the decoder
  std::vector<bool> concat{true, true, false, false};  // whether up-sampling block i takes the encoder's features in
  std::int64_t slots = 200;                            // of a queue
  std::int64_t decoder_slots = 200;
  std::int64_t kept = 5;          // the k of keep_above_kth
  double generated_share = 0.95;  // of the in-painted pixels behind the masked shortcut in training
  static constexpr double decoder_generated_share = 0.95;  // of those behind the decoder's memories
  std::vector<SquidDecoderMemory> decoder_memory;          // by level from the top; shorter than levels: none

  // The reference's zhang_best: chest radiographs, 128 x 128.
  static SquidConfig zhanglab() {
    SquidConfig config;
    const SquidDecoderMemory windows{SquidDecoderMemory::Kind::windows, 4};
    config.decoder_memory = {{}, {}, windows, windows};
    return config;
  }
  // The same network; the training schedule differs.
  static SquidConfig chexpert() { return zhanglab(); }
  // The reference's digit_best, with its decoder memory as it was meant: 96 x 96, nine patches.
  static SquidConfig digit() {
    SquidConfig config;
    config.image_size = 96;
    config.grid = 3;
    config.levels = 3;
    config.initial_combine = 1;
    config.concat = {true, true, false};
    const SquidDecoderMemory patches{SquidDecoderMemory::Kind::patches, 9};
    config.decoder_memory = {{}, patches, patches};
    return config;
  }
  static SquidConfig named(std::string_view name) {
    if (name == "zhanglab") return zhanglab();
    if (name == "chexpert") return chexpert();
    require(name == "digit", "SquidConfig: '", name, "' is none of zhanglab, chexpert, digit");
    return digit();
  }

  // As a model file holds it; from() throws where that makes no network.
  template <class Json = cuttle::Json>
  Json json() const {
    typename Json::Array joined, memories;
    for (const bool takes_features : concat) joined.emplace_back(takes_features);
    for (const SquidDecoderMemory& memory : decoder_memory)
      memories.emplace_back(
          typename Json::Object{{"kind", kinds[static_cast<std::size_t>(memory.kind)]}, {"matrices", memory.matrices}});
    return Json(typename Json::Object{{"image_size", image_size},
                                      {"grid", grid},
                                      {"levels", levels},
                                      {"root", root},
                                      {"initial_combine", initial_combine},
                                      {"concat", Json(std::move(joined))},
                                      {"slots", slots},
                                      {"decoder_slots", decoder_slots},
                                      {"kept", kept},
                                      {"generated_share", generated_share},
                                      {"decoder_memory", Json(std::move(memories))}});
  }
  template <class String>
  static SquidConfig from(const BasicJson<String>& json) {
    SquidConfig config;
    for (const auto& [name, member] :
         {std::pair("image_size", &SquidConfig::image_size), std::pair("grid", &SquidConfig::grid),
          std::pair("levels", &SquidConfig::levels), std::pair("root", &SquidConfig::root),
          std::pair("initial_combine", &SquidConfig::initial_combine), std::pair("slots", &SquidConfig::slots),
          std::pair("decoder_slots", &SquidConfig::decoder_slots), std::pair("kept", &SquidConfig::kept)}) {
      config.*member = json.at(name).integer();
      require(config.*member <= 65536, "SquidConfig: ", name, " is ", config.*member, ", more than 65536");
    }
    config.generated_share = json.at("generated_share").number();
    config.concat.clear();
    for (const BasicJson<String>& takes_features : json.at("concat").array())
      config.concat.push_back(takes_features.boolean());
    for (const BasicJson<String>& memory : json.at("decoder_memory").array()) {
      const auto kind = std::ranges::find(kinds, memory.at("kind").string());
      require(kind != kinds.end(), "SquidConfig: a memory is of kind ", memory.at("kind").string());
      config.decoder_memory.push_back(
          {static_cast<SquidDecoderMemory::Kind>(kind - kinds.begin()), memory.at("matrices").integer()});
    }
    config.check();
    return config;
  }

  std::int64_t patches() const noexcept { return grid * grid; }
  std::int64_t patch_size() const noexcept { return image_size / grid; }
  // Channels of level i, 0 at the top.
  std::int64_t channels(std::int64_t i) const noexcept { return root << std::min<std::int64_t>(i, 4); }
  // Pixels a side of a patch's map at level i.
  std::int64_t size_at(std::int64_t i) const noexcept { return patch_size() >> i; }
  // Length of a patch's feature in the in-painting block: a quarter of the channels.
  std::int64_t E() const noexcept { return channels(levels) / 4 * size_at(levels) * size_at(levels); }
  SquidDecoderMemory memory_at(std::int64_t level) const {
    return level < static_cast<std::int64_t>(decoder_memory.size()) ? decoder_memory[static_cast<std::size_t>(level)]
                                                                    : SquidDecoderMemory{};
  }

  static constexpr std::array<std::string_view, 3> kinds{"none", "windows", "patches"};  // of decoder memories

  // Throws where the numbers do not make a network.
  void check() const {
    const char* op = "SquidConfig";
    require(grid >= 1 && levels >= 1 && levels <= most_levels && root >= 4 && root % 4 == 0, op, ": grid ", grid,
            ", levels ", levels, ", root ", root, ", expected at least 1, 1 to 16 and a multiple of 4");
    require(image_size >= grid && image_size % (grid << levels) == 0, op, ": image_size ", image_size,
            " is no multiple of grid * 2^levels = ", grid << levels);
    require(initial_combine >= 1 && initial_combine <= levels, op, ": initial_combine ", initial_combine, " for ",
            levels, " levels");
    require(static_cast<std::int64_t>(concat.size()) == levels, op, ": concat has ", concat.size(), " entries for ",
            levels, " levels");
    require(static_cast<std::int64_t>(decoder_memory.size()) <= levels, op, ": decoder_memory has ",
            decoder_memory.size(), " entries for ", levels, " levels");
    require(slots >= 1 && decoder_slots >= 1 && kept >= 1, op, ": slots ", slots, ", decoder_slots ", decoder_slots,
            ", kept ", kept, ", expected at least 1");
    require(E() % 8 == 0, op, ": a patch's feature has ", E(), " numbers, no multiple of the 8 heads");
    require(generated_share >= 0 && generated_share <= 1, op, ": generated_share is ", generated_share);
    for (std::int64_t level = 0; level < levels; ++level) {
      const SquidDecoderMemory memory = memory_at(level);
      if (memory.kind == SquidDecoderMemory::Kind::none) continue;
      const std::int64_t size = size_at(level);
      if (memory.kind == SquidDecoderMemory::Kind::patches) {
        require(memory.matrices == patches(), op, ": the memory of level ", level, " has ", memory.matrices,
                " matrices for ", patches(), " patches");
      } else {
        std::int64_t side = 1;
        while (side < size && side * side < memory.matrices) ++side;
        require(side * side == memory.matrices && size % side == 0, op, ": the memory of level ", level, " has ",
                memory.matrices, " matrices for maps of ", size, " x ", size);
      }
      require(level >= initial_combine, op, ": the memory of level ", level,
              " lies where patches are joined already (initial_combine ", initial_combine, ")");
    }
  }
};

}  // namespace cuttle
