// The SQUID detector: its score against the same computed by hand from the networks, decisions, files, devices.
#include "cuttle/models/squid.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <set>

#include "cuttle/io/file.hpp"
#include "tests/models/small_squid.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using cuttle_test::contains;
using cuttle_test::gray_pictures;
using cuttle_test::integer_tensor;
using cuttle_test::same_bits;
using cuttle_test::small_digit;
using cuttle_test::small_zhanglab;

namespace {

constexpr std::int64_t size = 48;  // of the pictures: the discriminator's last map has 2 x 2 pixels
using Parts = SquidScoring::Parts;

// Networks that have learnt for a few steps, so that running statistics and queues are not those of the beginning, with
// a last layer that makes more of what differs between images than it has learnt yet. Copies share their tensors.
const SquidNetworks<float>& networks() {
  static const SquidNetworks<float> trained = [] {
    SquidRecipe recipe = SquidRecipe::standard("digit", 6);
    recipe.batch = 4;
    SquidTrainer<float> trainer(gray_pictures(8, size, 1), small_digit(size), recipe, 3);
    for (int step = 0; step < 3; ++step) trainer.step();
    trainer.networks().parameters(
        [](const std::string& name, nn::Parameter<float>& parameter) {
          if (name == "g.out_conv.conv.weight")
            for (float& x : parameter.value.span()) x *= 100;
        },
        "");
    return trainer.networks();
  }();
  return trained;
}

SquidScoring scoring(const Parts& weights, bool running_statistics = false) {
  SquidScoring result;
  result.weights = weights;
  result.running_statistics = running_statistics;
  return result;
}

Image picture(const Tensor<std::uint8_t>& images, std::int64_t i) {
  return images.slice(i, i + 1).reshape({images.size(1), images.size(2), images.size(3)});
}

// What an image is judged by, from the networks alone.
struct Judged {
  Tensor<float> reconstruction;  // (1,size,size,1)
  Parts parts{};
  std::array<Tensor<float>, 4> differences;
};
// An image as the networks see it.
Tensor<float> seen_by_networks(const Image& image) {
  auto x = Tensor<float>::empty({1, image.size(0), image.size(1), 1});
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(image.data()[i]) / 255;
  return x;
}
// What the discriminator's first layer makes of an image, pixel by pixel: at most 32 a side, so that each is a cell.
using Cells = std::vector<std::vector<double>>;
Cells cells_of(const SquidNetworks<float>& networks, const Image& image) {
  SquidDiscriminatorMaps<float> maps;
  networks.discriminator(Var<float>(seen_by_networks(image)), nullptr, nn::Statistics::running, &maps);
  const Tensor<float>& map = maps[0];
  REQUIRE(map.shape() == Shape({1, size / 2, size / 2, 16}));
  Cells cells(static_cast<std::size_t>(map.numel() / 16), std::vector<double>(16));
  for (std::int64_t i = 0; i < map.numel(); ++i)
    cells[static_cast<std::size_t>(i / 16)][static_cast<std::size_t>(i % 16)] = static_cast<double>(map.data()[i]);
  return cells;
}

// memory: of normal images.
Judged judged(const SquidNetworks<float>& networks, const std::vector<Cells>& memory, const Image& image,
              bool running_statistics) {
  Judged result;
  const Tensor<float> x = seen_by_networks(image);
  const SquidReconstruction<float> made = networks.generator(x, {});
  result.reconstruction = made.student.value();

  SquidDiscriminatorMaps<float> of_image, of_reconstruction;
  const auto logit = [&](const Tensor<float>& y, SquidDiscriminatorMaps<float>& maps) {
    const auto statistics = running_statistics ? nn::Statistics::running : nn::Statistics::batch;
    return static_cast<double>(networks.discriminator(Var<float>(y), nullptr, statistics, &maps).value().item());
  };
  result.parts[0] = logit(result.reconstruction, of_reconstruction);
  result.parts[1] = logit(x, of_image);

  const auto cells = cells_of(networks, image);
  double squares = 0, count = 0;
  for (const auto& stored : memory)
    for (const auto& cell : stored) {
      for (const double value : cell) squares += value * value;
      ++count;
    }
  for (std::size_t s = 0; s < cells.size(); ++s) {
    double nearest = std::numeric_limits<double>::max();
    for (const auto& stored : memory) {
      double distance = 0;
      for (std::size_t d = 0; d < cells[s].size(); ++d) distance += std::pow(cells[s][d] - stored[s][d], 2);
      nearest = std::min(nearest, distance);
    }
    result.parts[2] -= std::log(nearest + 1e-4 * squares / count) / static_cast<double>(cells.size());
  }

  const auto difference = [](const Tensor<float>& a, const Tensor<float>& b) {
    const std::int64_t C = a.size(3);
    auto mean = Tensor<float>::zeros({1, a.size(1), a.size(2), 1});
    for (std::int64_t i = 0; i < a.numel(); ++i)
      mean.data()[i / C] += (a.data()[i] - b.data()[i]) * (a.data()[i] - b.data()[i]) / static_cast<float>(C);
    return mean;
  };
  result.differences[0] = difference(x, result.reconstruction);
  for (std::size_t k = 1; k < 4; ++k) result.differences[k] = difference(of_image[k - 1], of_reconstruction[k - 1]);
  double error = 0, mean = 0, variance = 0;
  for (const float d : result.differences[0].span()) error += static_cast<double>(d) / (size * size);
  for (const float v : x.span()) mean += static_cast<double>(v) / (size * size);
  for (const float v : x.span()) variance += std::pow(static_cast<double>(v) - mean, 2) / (size * size);
  result.parts[3] = -std::log(error / variance);
  return result;
}

double mean_of(const Tensor<float>& x) {
  double sum = 0;
  for (const float value : x.span()) sum += static_cast<double>(value);
  return sum / static_cast<double>(x.numel());
}

// Mean and population deviation.
std::pair<double, double> moments(const std::vector<double>& values) {
  double mean = 0, variance = 0;
  for (const double x : values) mean += x / static_cast<double>(values.size());
  for (const double x : values) variance += (x - mean) * (x - mean) / static_cast<double>(values.size());
  return {mean, std::sqrt(variance)};
}

void check_same(const AnomalyMap& a, const AnomalyMap& b) {
  CHECK(a.score == b.score);
  CHECK(same_bits(a.map, b.map));
  CHECK(same_bits(a.reconstruction, b.reconstruction));
}

}  // namespace

TEST_CASE("Squid: score, map and reconstruction are those computed by hand") {
  const SquidNetworks<float>& trained = networks();
  const auto learnt = gray_pictures(6, size, 3), normal = gray_pictures(5, size, 1), test = gray_pictures(2, size, 7);
  std::vector<Cells> memory;
  for (std::int64_t i = 0; i < 6; ++i) memory.push_back(cells_of(trained, picture(learnt, i)));
  for (const bool running : {false, true}) {
    std::array<std::vector<double>, 4> parts;
    std::array<double, 4> scales{};
    for (std::int64_t i = 0; i < 5; ++i) {
      const Judged seen = judged(trained, memory, picture(normal, i), running);
      for (std::size_t k = 0; k < 4; ++k) {
        parts[k].push_back(seen.parts[k]);
        scales[k] += mean_of(seen.differences[k]) / 5;
      }
    }
    for (const Parts& weights :
         {Parts{1, 0, 0, 0}, Parts{0, 1, 0, 0}, Parts{0, 0, 1, 0}, Parts{0, 0, 0, 1}, Parts{0.5, 0.25, 0.125, 2}}) {
      INFO("running statistics " << running << ", weights " << weights[0] << ' ' << weights[1] << ' ' << weights[2]
                                 << ' ' << weights[3]);
      Squid model(trained, scoring(weights, running));
      if (weights[2] > 0) model.remember(learnt);
      model.fit(normal);
      for (std::int64_t i = 0; i < 2; ++i) {
        const Judged seen = judged(trained, memory, picture(test, i), running);
        double z = 0, squares = 0;
        for (std::size_t k = 0; k < 4; ++k) {
          const auto [mu, sigma] = moments(parts[k]);
          z += weights[k] * (seen.parts[k] - mu) / sigma;
          squares += weights[k] * weights[k];
        }
        z /= std::sqrt(squares);
        const AnomalyMap found = model.score(picture(test, i));
        // The logit of 1 - sigmoid(z) is -z, in deviations of which the smallest is 1e-4: the parts are rounded floats.
        CHECK(std::log1p(-found.score) - std::log(found.score) == Approx(z).epsilon(1e-4).margin(2e-3));

        auto map = Tensor<float>::zeros({size, size});
        for (std::size_t k = 0; k < 4; ++k) {
          const auto part = resize_bilinear(seen.differences[k], size, size);
          for (std::int64_t j = 0; j < part.numel(); ++j)
            map.data()[j] += part.data()[j] / static_cast<float>(4 * scales[k]);
        }
        CHECK_CLOSE(found.map, map, {1e-4, 0});
        REQUIRE(found.reconstruction.shape() == Shape({size, size, 1}));
        int off = 0;
        for (std::int64_t j = 0; j < size * size; ++j)
          off += std::abs(found.reconstruction.data()[j] - 255 * seen.reconstruction.data()[j]) > 0.501f;
        CHECK(off == 0);
      }
    }
  }
}

TEST_CASE("Squid: weights of the score that give none are refused, and so are pictures that do not fit") {
  const SquidNetworks<float>& trained = networks();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(Squid(trained, scoring({1, -0.5, 0, 0})), contains("a weight of the score is -0.5"));
  CHECK_THROWS_WITH(Squid(trained, scoring({1, 0, nan, 0})), contains("a weight of the score is"));
  CHECK_THROWS_WITH(Squid(trained, scoring({0, 0, 0, 0})), contains("all weights of the score are 0"));
  // A map of one pixel, normalised by its own statistics, is its own mean.
  const SquidNetworks<float> small(small_zhanglab(), nn::Initializer(1));
  CHECK_THROWS_WITH(Squid(small, scoring({1, 0, 0, 0})), contains("image of 32 pixels"));
  CHECK(Squid(small, scoring({1, 0, 0, 0}, true)).config().image_size == 32);

  Squid model(trained, scoring({1, 0, 0, 0}));
  const auto normal = gray_pictures(4, size, 1);
  const cuttle_test::TemporaryFolder folder;
  CHECK_THROWS_WITH(model.score(picture(normal, 0)), contains("call fit"));
  CHECK_THROWS_WITH(model.save(folder.path() / "model.safetensors"), contains("call fit"));
  CHECK(!std::filesystem::exists(folder.path() / "model.safetensors"));
  CHECK_THROWS_WITH(model.fit(normal.slice(0, 1)), contains("Squid::fit: one image"));
  for (const Shape& shape : {Shape{4, size, size, 3}, Shape{4, size, size}, Shape{4, 24, 24, 1}})
    CHECK_THROWS_WITH(model.fit(Tensor<std::uint8_t>::zeros(shape)), contains("Squid::fit: images have shape"));
  CHECK_THROWS_WITH(model.fit(Tensor<std::uint8_t>::full({3, size, size, 1}, 50)), contains("all"));  // no spread
  model.fit(normal);
  CHECK_THROWS_WITH(model.set_calibration(Calibration{0.5, 0}), contains("spread is 0"));
  CHECK_FALSE(model.calibration());
  CHECK_THROWS_AS(model.score(Image::zeros({size, size, 2})), Error);
}

TEST_CASE("Squid: the memory of the score holds every image, or as many as are asked for") {
  const auto learnt = gray_pictures(5, size, 3), normal = gray_pictures(3, size, 1);
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  Squid model(networks(), scoring({0, 0, 1, 0}, true));
  CHECK_THROWS_WITH(model.fit(normal), contains("call remember first"));
  CHECK_THROWS_WITH(model.remember(learnt, 0), contains("most is 0"));
  CHECK_THROWS_WITH(model.remember(gray_pictures(2, 24, 1)), contains("Squid::remember: images have shape"));
  // The stored features of `most` images, (24 * 24,most,C).
  const auto stored = [&](std::int64_t most, std::uint64_t seed) {
    model.remember(learnt, most, seed);
    model.fit(normal);
    model.save(path);
    return SafetensorsFile(path).tensor<float>("memory.cells");
  };
  const Tensor<float> all = stored(5, 0);
  const std::int64_t C = 16;
  REQUIRE(all.shape() == Shape({24 * 24, 5, C}));
  for (std::int64_t i = 0; i < 5; ++i) {
    const Cells cells = cells_of(networks(), picture(learnt, i));
    double worst = 0;
    for (std::size_t s = 0; s < cells.size(); ++s)
      for (std::size_t c = 0; c < cells[s].size(); ++c) {
        const auto at = (static_cast<std::int64_t>(s) * 5 + i) * C + static_cast<std::int64_t>(c);
        worst = std::max(worst, std::abs(cells[s][c] - static_cast<double>(all.data()[at])));
      }
    CHECK(worst < 1e-5);
  }
  CHECK(same_bits(stored(1000, 7), all));
  const Tensor<float> some = stored(2, 1);
  REQUIRE(some.shape() == Shape({24 * 24, 2, C}));
  CHECK(same_bits(stored(2, 1), some));
  // Every one of them is one of all.
  for (std::int64_t n = 0; n < 2; ++n) {
    int found = 0;
    for (std::int64_t i = 0; i < 5; ++i)
      found +=
          same_bits(some.slice(0, 1).reshape({2, C}).slice(n, n + 1), all.slice(0, 1).reshape({5, C}).slice(i, i + 1));
    CHECK(found == 1);
  }
  // A map of more than 32 pixels a side is averaged in cells: of 36 here, one or two a side.
  Squid large(SquidNetworks<float>(small_digit(72), nn::Initializer(2)), scoring({0, 0, 1, 0}, true));
  const auto images = gray_pictures(2, 72, 5);
  large.remember(images);
  large.fit(gray_pictures(3, 72, 6));
  large.save(path);
  const auto cells = SafetensorsFile(path).tensor<float>("memory.cells");
  REQUIRE(cells.shape() == Shape({32 * 32, 2, C}));
  SquidDiscriminatorMaps<float> maps;
  large.networks().discriminator(Var<float>(seen_by_networks(picture(images, 1))), nullptr, nn::Statistics::running,
                                 &maps);
  const auto pixels_of = [](std::int64_t cell) { return std::pair(cell * 36 / 32, (cell + 1) * 36 / 32); };
  for (const std::int64_t s : {0, 7, 31, 32 * 7, 32 * 7 + 15, 32 * 32 - 1}) {
    double sum = 0, count = 0;
    for (std::int64_t y = pixels_of(s / 32).first; y < pixels_of(s / 32).second; ++y)
      for (std::int64_t x = pixels_of(s % 32).first; x < pixels_of(s % 32).second; ++x, ++count)
        sum += static_cast<double>(maps[0].data()[(y * 36 + x) * C + 3]);
    CHECK(static_cast<double>(cells.data()[(s * 2 + 1) * C + 3]) == Approx(sum / count).epsilon(1e-5));
  }
  // What is remembered is as normal as can be.
  stored(5, 0);
  CHECK(model.score(picture(learnt, 2)).score < 1e-6);
}

TEST_CASE("Squid: fit may show images augmented, the same for the same seed") {
  const SquidNetworks<float>& trained = networks();
  const auto normal = gray_pictures(5, size, 1);
  const auto mu = [&](const AugmentOptions& options, std::uint64_t seed) {
    Squid model(trained, scoring({1, 0, 0, 0}));
    model.fit(normal, options, seed);
    return model.normalisation()[0].mu;
  };
  const AugmentOptions still{.shift = 0, .least_scale = 1, .most_scale = 1}, moved;
  CHECK(mu(still, 1) == mu(still, 2));
  CHECK(mu(moved, 1) == mu(moved, 1));
  CHECK(mu(moved, 1) != mu(moved, 2));
  CHECK(mu(moved, 1) != mu(still, 1));
}

TEST_CASE("Squid: a colour image is its gray one, and any size is resized") {
  Squid model(networks(), scoring({1, 1, 1, 1}, true));
  model.remember(gray_pictures(3, size, 3));
  model.fit(gray_pictures(4, size, 1));
  const auto colour = integer_tensor<std::uint8_t>({size, size, 3}, 5, 0, 255);
  check_same(model.score(colour), model.score(to_gray(colour)));
  const auto gray = integer_tensor<std::uint8_t>({70, 33, 1}, 6, 0, 255);
  const AnomalyMap found = model.score(gray);
  CHECK(found.map.shape() == Shape({size, size}));
  check_same(found, model.score(resize(gray, size, size)));
  check_same(found, model.score(to_rgb(gray)));
  const auto large = integer_tensor<std::uint8_t>({70, 33, 3}, 7, 0, 255);
  check_same(model.score(large), model.score(to_gray(resize(large, size, size))));
}

TEST_CASE("Squid: a second score allocates nothing") {
  cuttle_test::on_every_device_once([](Device device) {
    Squid model(networks(), scoring({1, 1, 1, 1}));
    model.move_to(device);
    const auto images = gray_pictures(3, size, 1);
    model.remember(gray_pictures(3, size, 3));
    model.fit(images);
    model.score(picture(images, 0));
    const auto before = pool_statistics(device).allocations, on_host = pool_statistics().allocations;
    model.score(picture(images, 1));
    model.score(picture(images, 2));
    CHECK(pool_statistics(device).allocations == before);
    CHECK(pool_statistics().allocations == on_host);
  });
}

TEST_CASE("Squid: another device gives the CPU's scores, maps and file") {
  const cuttle_test::TemporaryFolder folder;
  const auto normal = gray_pictures(3, size, 1), test = gray_pictures(1, size, 7);
  const Squid model = [&] {
    Squid fitted(networks(), scoring({0.25, 0.25, 0.25, 0.25}, true));
    fitted.remember(gray_pictures(3, size, 3));
    fitted.fit(normal);
    fitted.set_calibration(Calibration{0.75, 0.125});
    return fitted;
  }();
  const auto path = folder.path() / "model.safetensors", again = folder.path() / "again.safetensors";
  model.save(path);
  const AnomalyMap here = model.score(picture(test, 0));
  cuttle_test::on_every_device_once([&](Device device) {
    Squid there = Squid::load(path);
    there.move_to(device);
    CHECK(there.device() == device);
    const AnomalyMap found = there.score(picture(test, 0));
    CHECK(found.score == Approx(here.score).epsilon(1e-3));
    CHECK_CLOSE(found.map, here.map, {1e-4, 0});
    CHECK_CLOSE(found.reconstruction, here.reconstruction, {0, 1});
    there.save(again);
    CHECK(read_file(path) == read_file(again));
    there.fit(normal);
    for (std::size_t k = 0; k < 4; ++k) {
      CHECK(there.normalisation()[k].mu == Approx(model.normalisation()[k].mu).epsilon(1e-5).margin(1e-6));
      CHECK(there.normalisation()[k].sigma == Approx(model.normalisation()[k].sigma).epsilon(1e-3));
    }
  });
}

TEST_CASE("Squid: a saved model gives the same scores, maps and reconstructions, and saves to the same bytes") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors", again = folder.path() / "again.safetensors";
  const auto normal = gray_pictures(4, 32, 1), test = gray_pictures(2, 32, 5);
  for (const bool calibrated : {false, true}) {
    Squid model(SquidNetworks<float>(small_zhanglab(), nn::Initializer(4)), scoring({1, 0.5, 0.25, 2}, true),
                Json(Json::Object{{"recipe", Json("standard")}}));
    model.remember(gray_pictures(5, 32, 3));
    model.fit(normal);
    if (calibrated) model.set_calibration(Calibration{0.3, 0.07, FromLabelledImages{7, 9, 2.0 / 3}});
    model.save(path);
    Squid loaded = Squid::load(path);
    for (std::int64_t i = 0; i < 2; ++i) check_same(loaded.score(picture(test, i)), model.score(picture(test, i)));
    CHECK(loaded.calibration() == model.calibration());
    CHECK(loaded.calibration().has_value() == calibrated);
    CHECK(loaded.training() == model.training());
    CHECK(loaded.scoring().weights == model.scoring().weights);
    CHECK(loaded.scoring().running_statistics);
    CHECK(loaded.config().json() == small_zhanglab().json());
    loaded.save(again);
    CHECK(read_file(path) == read_file(again));
    CHECK(read_file(path).find(folder.path().string()) == std::string::npos);
  }
}

TEST_CASE("Squid: a model file has the reference's names and shapes") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile reference(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_weights.safetensors");
  SquidConfig config;  // the one that the fixtures call A
  config.image_size = 64;
  config.levels = 3;
  config.root = 8;
  config.concat = {true, true, false};
  config.slots = config.decoder_slots = 20;
  config.decoder_memory = {{}, {}, {SquidDecoderMemory::Kind::windows, 4}};
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  Squid model(SquidNetworks<float>(config, nn::Initializer(4)), scoring({1, 0, 0, 0}));
  model.fit(gray_pictures(2, 64, 1));
  model.save(path);
  const SafetensorsFile file(path);
  std::set<std::string> names, expected;
  for (const std::string& name : file.names()) names.insert(name);
  for (const std::string& name : reference.names())
    if (name.starts_with("g.") || name.starts_with("d.")) expected.insert(name);
  CHECK(names.size() > 200);
  CHECK(names == expected);
  for (const std::string& name : expected)
    if (file.contains(name) && !(file.shape(name) == reference.shape(name)))
      FAIL_CHECK(name << " has shape " << file.shape(name) << ", not " << reference.shape(name));
}

TEST_CASE("Squid: model files that do not fit are refused with the reason") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors", bad = folder.path() / "bad.safetensors";
  {
    Squid model(SquidNetworks<float>(small_zhanglab(), nn::Initializer(4)), scoring({1, 0.5, 0.25, 2}, true));
    model.remember(gray_pictures(5, 32, 3));
    model.fit(gray_pictures(4, 32, 1));
    model.set_calibration(Calibration{0.3, 0.07, FromNormalImages{39, 39, 1, 0.05, 0, 1}});
    model.save(path);
  }
  // Loading `bad` fails with an IoError that names it and the reason.
  const auto check_refused = [&](const std::string& reason) {
    try {
      Squid::load(bad);
      FAIL_CHECK("loaded, where this is wrong: " << reason);
    } catch (const IoError& error) {
      CHECK(error.path() == bad.string());
      CHECK_THAT(error.what(), contains(bad.string()) && contains(reason));
    }
  };
  const std::string whole = read_file(path);
  for (const std::size_t length : {std::size_t{0}, std::size_t{5}, whole.size() / 2, whole.size() - 1}) {
    std::ofstream(bad, std::ios::binary) << whole.substr(0, length);
    check_refused("");
  }
  CHECK_THROWS_WITH(Squid::load(folder.path() / "none.safetensors"), contains("none.safetensors"));

  const SafetensorsFile file(path);
  const auto rewrite = [&](auto change_metadata, auto change_tensor) {
    SafetensorsWriter writer;
    for (const std::string& name : file.names()) {
      Tensor<float> tensor = file.tensor<float>(name);
      if (change_tensor(name, tensor)) writer.add(name, tensor);
    }
    for (auto [key, value] : file.metadata()) {
      change_metadata(key, value);
      writer.set_metadata(key, value);
    }
    writer.write(bad);
  };
  const auto same = [](const auto&, auto&) { return true; };
  const auto same_metadata = [](const std::string&, std::string&) {};
  const auto with = [&](const std::string& key, const std::string& text) {
    rewrite([&](const std::string& at, std::string& value) { value = at == key ? text : value; }, same);
  };
  rewrite(same_metadata, same);
  CHECK(Squid::load(bad).calibration().has_value());
  with("method", "patch_svdd");
  check_refused("method \"patch_svdd\", not squid");
  with("format_version", "1");
  check_refused("format version 1");
  with("settings", "{");
  check_refused("json");

  const Json settings = Json::parse(file.metadata().at("settings"));
  // The settings with another value at a path of names.
  const std::function<Json(const Json&, std::vector<std::string>, const Json&)> replaced =
      [&](const Json& json, std::vector<std::string> names, const Json& value) {
        Json::Object members;
        const std::string name = names.front();
        names.erase(names.begin());
        REQUIRE(json.find(name));
        for (const auto& [key, member] : json.object())
          members.emplace_back(key, key != name ? member : names.empty() ? value : replaced(member, names, value));
        return Json(std::move(members));
      };
  struct Wrong {
    std::vector<std::string> names;
    Json value;
    std::string reason;
  };
  const Json memory(Json::Array{Json(Json::Object{{"kind", "none"}, {"matrices", 0}}),
                                Json(Json::Object{{"kind", "windows"}, {"matrices", 1000000000000000000}})});
  const Json unknown(Json::Array{Json(Json::Object{{"kind", "rows"}, {"matrices", 4}})});
  for (const Wrong& wrong : {Wrong{{"config", "grid"}, 0, "grid 0"},
                             Wrong{{"config", "grid"}, -2, "grid -2"},
                             Wrong{{"config", "grid"}, 3, "image_size 32"},
                             Wrong{{"config", "image_size"}, 31, "image_size 31"},
                             Wrong{{"config", "image_size"}, 0, "image_size 0"},
                             Wrong{{"config", "levels"}, 1000000000, "levels is 1000000000"},
                             Wrong{{"config", "levels"}, 1e9, "integer"},
                             Wrong{{"config", "levels"}, 60, "levels 60"},
                             Wrong{{"config", "root"}, 6, "root 6"},
                             Wrong{{"config", "root"}, 16, "shape"},
                             Wrong{{"config", "slots"}, 13, "shape"},
                             Wrong{{"config", "slots"}, 0, "slots 0"},
                             Wrong{{"config", "kept"}, 0, "kept 0"},
                             Wrong{{"config", "initial_combine"}, 3, "initial_combine 3"},
                             Wrong{{"config", "concat"}, Json(Json::Array{}), "concat has 0"},
                             Wrong{{"config", "concat"}, Json(Json::Array{1, 2}), "true or false"},
                             Wrong{{"config", "decoder_memory"}, unknown, "rows"},
                             Wrong{{"config", "decoder_memory"}, memory, "matrices"},
                             Wrong{{"config", "generated_share"}, 1.5, "generated_share"},
                             Wrong{{"config"}, 4, "object"},
                             Wrong{{"score", "image", "weight"}, -1, "weight of the score is -1"},
                             Wrong{{"score", "image", "sigma"}, 0, "sigma"},
                             Wrong{{"score", "memory", "sigma"}, -0.5, "sigma"},
                             Wrong{{"score", "error", "mu"}, "x", "number"},
                             Wrong{{"score", "error"}, nullptr, "object"},
                             Wrong{{"differences"}, Json(Json::Array{1, 1, 1}), "differences"},
                             Wrong{{"differences"}, Json(Json::Array{1, 1, 0, 1}), "differences"},
                             Wrong{{"calibration"}, "high", "object"},
                             Wrong{{"calibration", "threshold"}, "high", "number"},
                             Wrong{{"calibration", "spread"}, 0, "spread is 0"},
                             Wrong{{"calibration", "from"}, 3, "object"},
                             Wrong{{"calibration", "from", "images"}, 9, "39 groups"},
                             Wrong{{"calibration", "from", "groups"}, 0, "39 images in 0 groups"},
                             Wrong{{"calibration", "from", "above"}, 39, "above is 39"},
                             Wrong{{"calibration", "from", "above"}, -1, "above is -1"},
                             Wrong{{"calibration", "from", "asked_rate"}, 1.5, "asked is 1.5"},
                             Wrong{{"calibration", "from", "correlation"}, -0.5, "correlation is -0.5"},
                             Wrong{{"calibration", "from", "design_effect"}, 0.5, "design_effect is 0.5"},
                             Wrong{{"calibration", "from", "design_effect"}, "x", "number"},
                             Wrong{{"running_statistics"}, 1, "true or false"}}) {
    INFO(wrong.names.back() << " " << wrong.value.dump());
    with("settings", replaced(settings, wrong.names, wrong.value).dump());
    check_refused(wrong.reason);
  }

  for (const std::string name : {"g.in_conv.conv.conv1.0.weight", "g.inpaint_block.memory.2.memMatrix",
                                 "d.conv_model.3.running_var", "d.regressor.bias", "memory.cells"}) {
    rewrite(same_metadata, [&](const std::string& at, Tensor<float>&) { return at != name; });
    check_refused(name);
    rewrite(same_metadata, [&](const std::string& at, Tensor<float>& tensor) {
      if (at == name) tensor.data()[0] = std::numeric_limits<float>::quiet_NaN();
      return true;
    });
    check_refused(name);
    rewrite(same_metadata, [&](const std::string& at, Tensor<float>& tensor) {
      if (at == name) tensor = Tensor<float>::zeros({tensor.size(0) + 1});
      return true;
    });
    check_refused(name);
  }
}
