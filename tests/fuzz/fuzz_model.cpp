// Model files of either method: the first byte says which, the others what becomes of a whole file.
#include "cuttle/models/model.hpp"
#include "tests/fuzz/model_file.hpp"

using namespace cuttle;

namespace {

// What save() writes, without the fitting before it, which would have all of both methods compiled. SQUID's network is
// the smallest there is; its discriminator is large all the same.
const cuttle_test::ModelFile& whole_squid() {
  static const cuttle_test::ModelFile file([] {
    SquidConfig config;
    config.image_size = 16;
    config.grid = 2;
    config.levels = 2;
    config.root = 4;
    config.initial_combine = 1;
    config.concat = {true, false};
    config.slots = config.decoder_slots = 2;
    config.kept = 1;
    config.decoder_memory = {{}, {SquidDecoderMemory::Kind::windows, 4}};
    Json::Object parts;
    for (const char* name : SquidScoring::names)
      parts.emplace_back(name, Json(Json::Object{{"weight", 0.5}, {"mu", -1.25}, {"sigma", 2.0}}));
    SafetensorsWriter writer;
    SquidNetworks<float> networks(config, nn::Initializer(1));
    add_state<float>(writer, networks, "");
    writer.add("memory.cells", Tensor<float>::full({64, 2, SquidDiscriminator<float>::first_channels}, 0.5f));
    add_method(writer, Squid::method,
               Json(Json::Object{{"config", config.json()},
                                 {"running_statistics", Json(true)},
                                 {"score", Json(std::move(parts))},
                                 {"differences", Json(Json::Array{1.0, 2.0, 0.5, 1e-3})},
                                 {"calibration", Json(Json::Object{{"threshold", 0.75}, {"spread", 0.1}})},
                                 {"training", Json()}}));
    return writer;
  }());
  return file;
}

const cuttle_test::ModelFile& whole_patch_svdd() {
  static const cuttle_test::ModelFile file([] {
    SafetensorsWriter writer;
    PatchSvddNetworks<float> networks{nn::Initializer(1)};
    add_state<float>(writer, networks, "");
    writer.add("mean", Tensor<float>::full({64, 64, 3}, 100))
        .add("bank_32", Tensor<float>::full({4, PatchSvddSizes::D}, 0.25f))
        .add("bank_64", Tensor<float>::full({3, PatchSvddSizes::D}, -0.5f));
    add_method(writer, PatchSvdd::method,
               Json(Json::Object{{"size", 64}, {"tile_overlap", 8}, {"calibration", Json()}, {"training", Json()}}));
    return writer;
  }());
  return file;
}

}  // namespace

CUTTLE_FUZZ_TARGET(model, nullptr) {
  if (input.empty()) return;
  const bool squid = input[0] == std::byte{'S'};
  const auto heavy = [](const std::string& name) {
    return name != "memory.cells" && name != "mean" && !name.starts_with("bank_");
  };
  const auto bytes = (squid ? whole_squid() : whole_patch_svdd()).edited(input.subspan(1), heavy);
  const Model model = load_model(SafetensorsFile(bytes, "file"));
  if (squid) return std::get<Squid>(model).config().check();
  const PatchSvdd& detector = std::get<PatchSvdd>(model);
  cuttle_test::fuzz_check(detector.bank_rows_small() >= 1 && detector.bank_rows_large() >= 1, "an empty bank");
}
