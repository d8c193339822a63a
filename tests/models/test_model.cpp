// Models in files, whatever their method.
#include "cuttle/models/model.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::contains;

TEST_CASE("load_model: the method that the file names, or a clear answer") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder / "model.safetensors", bad = folder / "bad.safetensors";
  PatchSvdd model(PatchSvddNetworks<float>(nn::Initializer(3)), Tensor<float>::full({64, 64, 3}, 100), {64, {}},
                  Json(Json::Object{{"seed", 3}}));
  model.fit_bank(cuttle_test::integer_tensor<std::uint8_t>({1, 64, 64, 3}, 1, 0, 255), PatchSvdd::all_rows, 1);
  const Calibration calibration{2.5, 0.75, FromNormalImages{60, 22, 4, 0.1, 0.3125, 1.7}};
  model.set_calibration(calibration);
  model.save(path);
  // For whoever reads the file: (4 + 1.7) / (60 + 1.7).
  const Json from = Json::parse(SafetensorsFile(path).metadata().at("settings")).at("calibration").at("from");
  CHECK(from.at("expected_rate").number() == cuttle_test::Approx(5.7 / 61.7).epsilon(1e-14));
  CHECK(from.at("rate_interval_95").array()[0].number() < 5.7 / 61.7);

  const Model loaded = load_model(path);
  REQUIRE(std::holds_alternative<PatchSvdd>(loaded));
  const PatchSvdd& same = std::get<PatchSvdd>(loaded);
  CHECK(same.calibration() == calibration);
  CHECK(same.training().at("seed").integer() == 3);
  const Image image = cuttle_test::integer_tensor<std::uint8_t>({50, 70, 1}, 2, 0, 255);
  CHECK(cuttle_test::same_bits(same.score(image).map, model.score(image).map));

  SafetensorsWriter().add("x", Tensor<float>::zeros({1})).set_metadata("method", "autoencoder").write(bad);
  CHECK_THROWS_WITH(load_model(bad),
                    contains(bad.string() + ": is a model of method \"autoencoder\"") && contains("patch_svdd"));
  SafetensorsWriter().add("x", Tensor<float>::zeros({1})).write(bad);
  CHECK_THROWS_WITH(load_model(bad), bad.string() + ": is no model of this library: its metadata lack \"method\"");
  SafetensorsWriter().add("x", Tensor<float>::zeros({1})).set_metadata("method", "patch_svdd").write(bad);
  CHECK_THROWS_WITH(load_model(bad),
                    bad.string() + ": is no model of this library: its metadata lack \"format_version\"");

  // Every byte counts: one bit of a weight, of a setting.
  const std::string whole = read_file(path);
  for (const std::size_t at : {whole.size() - 1, whole.size() / 2, whole.find("seed") + 7}) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    write_file_atomically(bad, damaged);
    INFO("byte " << at);
    CHECK_THROWS_WITH(load_model(bad), contains(bad.string() + ": is damaged: its checksum is "));
  }
}

TEST_CASE("load_model: settings that claim more than the file holds are refused, and no memory is taken for them") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  const auto refused = [&](const char* method, const Json& settings, const char* why) {
    SafetensorsWriter file;
    file.add("mean", Tensor<float>::zeros({64, 64, 3}));
    add_method(file, method, settings);
    file.write(path);
    const std::uint64_t held = pool_statistics().bytes_held;
    CHECK_THROWS_WITH(load_model(path), contains(path.string()) && contains(why));
    CHECK(pool_statistics().bytes_held - held < std::uint64_t{1} << 20);
  };
  SquidConfig squid;
  const auto squid_refused = [&](const char* why) {
    Json::Object parts;
    for (const char* name : SquidScoring::names)
      parts.emplace_back(name, Json(Json::Object{{"weight", 1}, {"mu", 0}, {"sigma", 1}}));
    refused("squid",
            Json(Json::Object{{"running_statistics", Json(true)},
                              {"score", Json(std::move(parts))},
                              {"config", squid.json()},
                              {"training", Json()}}),
            why);
  };
  squid_refused("cannot be among the");  // the default network is larger than this file
  squid.root = 65536;
  squid_refused("cannot be among the");
  squid.image_size = 65536;
  squid_refused("cannot be among the");
  squid = {};
  squid.slots = squid.decoder_slots = 65536;
  squid.root = 4;
  squid_refused("cannot be among the");
  squid.slots = 65537;
  squid_refused("slots is 65537, more than 65536");

  // Its network is of one size: what misses is named.
  refused("patch_svdd", Json(Json::Object{{"size", 64}, {"tile_overlap", Json()}}), "no tensor \"enc.");

  PatchSvddNetworks<float> networks{nn::Initializer(3)};
  const auto svdd_refused = [&](std::int64_t size, std::int64_t overlap, const char* why) {
    SafetensorsWriter file;
    add_state<float>(file, networks, "");
    file.add("mean", Tensor<float>::zeros({64, 64, 3}));
    add_method(file, "patch_svdd", Json(Json::Object{{"size", size}, {"tile_overlap", overlap}, {"training", Json()}}));
    file.write(path);
    CHECK_THROWS_WITH(load_model(path), contains(path.string()) && contains(why));
  };
  svdd_refused(65, 8, "mean has shape [64, 64, 3]");
  svdd_refused(std::int64_t{1} << 40, 8, "more than 2^48 elements");
  svdd_refused(64, 64, "overlap by 64");
  svdd_refused(64, -1, "overlap by -1");
  svdd_refused(64, 63, "no tensor \"bank_32\"");
}
