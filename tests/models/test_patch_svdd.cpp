#include <cmath>
#include <fstream>
#include <limits>

#include "cuttle/io/file.hpp"
#include "cuttle/models/patch_svdd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::integer_tensor;
using cuttle_test::uniform_tensor;

namespace {

Tensor<std::uint8_t> pictures(std::int64_t N, std::int64_t size, std::uint64_t seed) {
  return integer_tensor<std::uint8_t>({N, size, size, 3}, seed, 0, 255);
}

PatchSvdd small_model(const Tensor<std::uint8_t>& train, std::int64_t rows = PatchSvdd::all_rows) {
  PatchSvdd model(PatchSvddNetworks<float>(nn::Initializer(3, nn::Initializer::Scheme::he)), mean_image(train),
                  {train.size(1), {}});
  model.fit_bank(train, rows, 7);
  return model;
}

PatchSvddRecipe short_recipe() {
  PatchSvddRecipe recipe;
  recipe.steps = 3;
  recipe.batch = 2;
  recipe.initialisation = nn::Initializer::Scheme::he;
  recipe.learning_rate = 1e-3;
  return recipe;
}

std::vector<float> values_of(PatchSvddNetworks<float>& networks) {
  std::vector<float> values;
  networks.parameters(
      [&](const std::string&, nn::Parameter<float>& parameter) {
        const Tensor<float> value = parameter.value.to(Device::cpu());
        values.insert(values.end(), value.span().begin(), value.span().end());
      },
      "");
  return values;
}

}  // namespace

TEST_CASE("PatchEncoder: the dense map equals each patch by itself") {
  nn::Initializer init(5, nn::Initializer::Scheme::he);
  const PatchEncoder<double> encoder(init);
  const auto image = uniform_tensor<double>({1, 84, 97, 3}, 1, -0.5, 0.5);
  const auto maps = encoder.embed_images(image);
  REQUIRE(maps.small.shape() == Shape({1, 14, 17, 64}));
  REQUIRE(maps.large.shape() == Shape({1, 2, 3, 64}));
  const auto small = encoder.embed_small(Var<double>(extract_windows(image, 32, 4)), nullptr).value();
  CHECK_CLOSE(maps.small, small.reshape(maps.small.shape()), {0, 1e-12});
  const auto quadrants = extract_windows(extract_windows(image, 64, 16), 32, 32);
  const auto large = encoder.embed_large(encoder.embed_small(Var<double>(quadrants), nullptr), nullptr).value();
  CHECK_CLOSE(maps.large, large.reshape(maps.large.shape()), {0, 1e-12});
  CHECK_THROWS_WITH(encoder.embed_images(uniform_tensor<double>({1, 63, 64, 3}, 1)), contains("64 x 64"));
}

TEST_CASE("PatchSvddCropBatch: rows name patches as far apart as the label says") {
  PatchSvddCropBatch<float> batch({.crops = 3, .size = 128, .pairs = 200});
  const auto images = pictures(4, 140, 2);
  batch.draw(images, mean_image(images), 1, 5);
  const std::int64_t cells = batch.cells();
  CHECK(cells == 49);
  struct Cell {
    std::int64_t view, crop, top, left;
  };
  const auto cell_of = [&](std::int32_t row) {
    const std::int64_t crop = row / (cells * cells);
    return Cell{crop / 3, crop % 3, row / cells % cells, row % cells};
  };
  bool right = true;
  int seen[8] = {};
  const auto check = [&](const auto& rows, const Tensor<std::int32_t>& labels, std::int64_t K) {
    const std::int64_t quadrants = K == 64 ? 4 : 1;
    for (std::int64_t pair = 0; pair < 200; ++pair) {
      const Cell a = cell_of(rows.position[0].data()[pair * quadrants]);
      const Cell b = cell_of(rows.position[1].data()[pair * quadrants]);
      const std::int32_t label = labels.data()[pair], grid = label + (label >= 4);
      ++seen[label];
      const auto along = [&](std::int64_t from, std::int64_t to, std::int32_t direction) {
        const std::int64_t pixels = 2 * (to - from) * (direction == 0 ? 1 : direction);
        return direction == 0 ? to == from : pixels >= 3 * K / 4 && pixels < K;
      };
      right = right && a.view == 0 && b.view == 1 && a.crop == b.crop && along(a.top, b.top, grid / 3 - 1) &&
              along(a.left, b.left, grid % 3 - 1);
      for (const Cell& patch : {a, b}) right = right && 2 * patch.top + K <= 128 && 2 * patch.left + K <= 128;
      const Cell c = cell_of(rows.svdd[0].data()[pair * quadrants]), d = cell_of(rows.svdd[1].data()[pair * quadrants]);
      right = right && c.view == 0 && d.view == 1 && c.crop == d.crop && c.top == d.top && c.left == d.left;
      for (std::int64_t quadrant = 1; quadrant < quadrants; ++quadrant) {
        const Cell part = cell_of(rows.position[1].data()[pair * quadrants + quadrant]);
        right = right && part.crop == b.crop && part.top == b.top + 16 * (quadrant / 2) &&
                part.left == b.left + 16 * (quadrant % 2);
      }
    }
  };
  check(batch.large, batch.labels_large, 64);
  check(batch.small, batch.labels_small, 32);
  CHECK(right);
  for (const int count : seen) CHECK(count > 20);
  CHECK_THROWS_AS(PatchSvddCropBatch<float>({.size = 96}), Error);
}

TEST_CASE("PatchSvddCropBatch: embeddings are those of the patches cut out") {
  PatchSvddCropBatch<double> batch({.crops = 2, .size = 128, .pairs = 5});
  const auto images = pictures(3, 132, 3);
  batch.draw(images, mean_image(images), 1, 0);
  nn::Initializer init(5, nn::Initializer::Scheme::he);
  const PatchEncoder<double> encoder(init);
  const auto h = embed_pairs<double>(encoder, batch, nullptr);
  const std::int64_t cells = batch.cells();
  for (int side = 0; side < 2; ++side)
    for (std::int64_t pair = 0; pair < 5; ++pair) {
      const std::int32_t row = batch.large.position[side].data()[4 * pair];
      const auto view = batch.views.slice(row / (cells * cells), row / (cells * cells) + 1);
      auto patch = Tensor<double>::empty({1, 64, 64, 3});
      for (std::int64_t y = 0; y < 64; ++y)
        std::copy_n(view.data() + ((2 * (row / cells % cells) + y) * 128 + 2 * (row % cells)) * 3, 64 * 3,
                    patch.data() + y * 64 * 3);
      const auto alone =
          encoder.embed_large(encoder.embed_small(Var<double>(extract_windows(patch, 32, 32)), nullptr), nullptr);
      CHECK_CLOSE(h.position_large[static_cast<std::size_t>(side)].value().slice(pair, pair + 1), alone.value(),
                  {0, 1e-12});
    }
}

TEST_CASE("patch_svdd_losses: gradients against central differences in double") {
  PatchSvddNetworks<double> networks{nn::Initializer(9, nn::Initializer::Scheme::he)};
  nn::ParameterArena<double> arena(networks);
  const auto images = pictures(3, 132, 4);
  const auto check = [&](auto batch) {
    batch.draw(images, mean_image(images), 2, 1);
    Tape<double> tape;
    arena.zero_grad();
    patch_svdd_losses(networks, batch, 0.3, &tape);
    tape.clear();
    const auto total = [&] {
      return patch_svdd_losses(networks, batch, 0.3, static_cast<Tape<double>*>(nullptr)).losses().total;
    };
    double* values = arena.values().data();
    for (std::int64_t i = 5; i < arena.values().numel(); i += arena.values().numel() / 23) {
      const double kept = values[i], h = 1e-6;
      values[i] = kept + h;
      const double above = total();
      values[i] = kept - h;
      const double numeric = (above - total()) / (2 * h);
      values[i] = kept;
      CHECK(numeric == cuttle_test::Approx(arena.grads().data()[i]).epsilon(1e-4).margin(1e-7));
    }
  };
  check(PatchSvddBatch<double>(2));
  check(PatchSvddCropBatch<double>({.crops = 1, .size = 128, .pairs = 6}));
}

TEST_CASE("PatchSvddTrainer: the same bits at one and two threads, other ones for another seed") {
  const auto images = pictures(4, 128, 6);
  const auto mean = mean_image(images);
  const auto train = [&](const PatchSvddRecipe& recipe, int threads, std::uint64_t seed) {
    const int before = num_threads();
    set_num_threads(threads);
    PatchSvddTrainer<float> trainer(images, mean, recipe, seed);
    while (trainer.steps() < recipe.steps) trainer.step();
    set_num_threads(before);
    return values_of(trainer.networks());
  };
  PatchSvddRecipe recipe = short_recipe();
  CHECK(train(recipe, 1, 1) == train(recipe, 2, 1));
  CHECK(train(recipe, 1, 1) != train(recipe, 1, 2));
  recipe.math = Math::winograd;
  CHECK(train(recipe, 1, 1) == train(recipe, 2, 1));
  recipe.crops = PatchSvddCropOptions{.crops = 1, .size = 128, .pairs = 16};
  CHECK(train(recipe, 1, 1) == train(recipe, 2, 1));
}

TEST_CASE("PatchSvddTrainer: no allocation after the first steps, and a loss that is not finite is named") {
  const auto images = pictures(4, 128, 6);
  const auto mean = mean_image(images);
  PatchSvddTrainer<float> trainer(images, mean, short_recipe(), 1);
  trainer.step();
  trainer.step();
  const auto before = pool_statistics().allocations;
  trainer.step();
  CHECK(pool_statistics().allocations == before);

  trainer.networks().parameters(
      [](const std::string& name, nn::Parameter<float>& parameter) {
        if (name == "cls_64.fc3.bias") parameter.value.data()[0] = std::numeric_limits<float>::quiet_NaN();
      },
      "");
  CHECK_THROWS_WITH(trainer.step(), contains("position loss at K=64") && contains("step 4"));
}

TEST_CASE("PatchSvddTrainer: on another device five replays of the recorded step are five eager ones, to the bit") {
  const auto images = pictures(3, 128, 6);
  const auto mean = mean_image(images);
  PatchSvddRecipe recipe = short_recipe();
  recipe.steps = 7;
  recipe.batch = 1;
  recipe.warmup = 3;
  const auto check = [&](Device device) {
    PatchSvddTrainer<float> trainer(images, mean, recipe, 5, device);
    std::vector<PatchSvddLosses> losses;
    for (int step = 0; step < 2; ++step) losses.push_back(trainer.step());
    const auto before = pool_statistics(device).allocations;
    while (trainer.steps() < recipe.steps) losses.push_back(trainer.step());
    CHECK(pool_statistics(device).allocations == before);

    const auto eager = [&](Device where) {
      PatchSvddNetworks<float> networks{nn::Initializer(5, recipe.initialisation)};
      networks.encoder.set_math(recipe.math);
      nn::ParameterArena<float> arena(networks, where);
      auto m = Tensor<float>::zeros(arena.values().shape(), where), v = m.clone();
      const auto run = [&](auto batch) {
        Tape<float> tape;
        for (std::int64_t step = 0; step < recipe.steps; ++step) {
          arena.zero_grad();
          batch.draw(images.to(where), mean.to(where), 5, step);
          const PatchSvddLosses found = patch_svdd_losses(networks, batch, recipe.lambda, &tape).losses();
          tape.clear();
          adam(arena.values(), arena.grads(), m, v, step + 1, {.learning_rate = recipe.rate_at(step)});
          const PatchSvddLosses& replayed = losses[static_cast<std::size_t>(step)];
          if (where == device) {
            CHECK(found.total == replayed.total);
            CHECK(found.accuracy_small == replayed.accuracy_small);
          } else if (step == 0) {  // later ones follow the rounding of the first update
            CHECK(found.total == cuttle_test::Approx(replayed.total).epsilon(1e-5));
          }
        }
      };
      if (recipe.crops)
        run(PatchSvddCropBatch<float>(*recipe.crops, where));
      else
        run(PatchSvddBatch<float>(recipe.batch, where));
      return values_of(networks);
    };
    CHECK(eager(device) == values_of(trainer.networks()));
    eager(Device::cpu());
  };
  if (cuttle_test::every_device().size() == 1) CUTTLE_SKIP("no other device is here");
  for (const Device device : cuttle_test::every_device()) {
    if (device.is_cpu()) continue;
    check(device);
    recipe.crops = PatchSvddCropOptions{.crops = 1, .size = 128, .pairs = 8};
    check(device);
  }
}

TEST_CASE("PatchSvdd: another device gives the CPU's maps, and a model saved there is the same file") {
  const auto train = pictures(2, 80, 8), test = pictures(1, 80, 11);
  const cuttle_test::TemporaryFolder folder;
  PatchSvdd model = small_model(train, 150);
  const Tensor<float> maps = model.maps_of(test);
  const auto path = folder.path() / "model.safetensors", again = folder.path() / "again.safetensors";
  model.save(path);
  for (const Device device : cuttle_test::every_device()) {
    model.move_to(device);
    CHECK_CLOSE(model.maps_of(test), maps, {1e-5, 0});
    model.save(again);
    CHECK(read_file(path) == read_file(again));
    for (const float x : small_model(train).maps_of(train).span()) REQUIRE(x == 0);
  }
}

TEST_CASE("PatchSvddRecipe: rates over the steps") {
  PatchSvddRecipe recipe;
  CHECK(recipe.rate_at(0) == 1e-4);
  CHECK(recipe.rate_at(1'000'000) == 1e-4);
  recipe = PatchSvddRecipe::standard();
  recipe.steps = 101;
  recipe.warmup = 10;
  recipe.learning_rate = 1;
  recipe.final_rate = 0.1;
  CHECK(recipe.rate_at(0) == cuttle_test::Approx(0.1));
  CHECK(recipe.rate_at(10) == 1);
  CHECK(recipe.rate_at(55) == cuttle_test::Approx(0.55));
  CHECK(recipe.rate_at(100) == cuttle_test::Approx(0.1));
  CHECK(PatchSvddRecipe::published(391).steps == 300 * 611);
}

TEST_CASE("PatchSvdd: pictures in the bank score 0, others do not; a subset keeps that many rows") {
  const auto train = pictures(3, 80, 8);
  const PatchSvdd model = small_model(train);
  CHECK(model.bank_rows_small() == 3 * 13 * 13);
  CHECK(model.bank_rows_large() == 3 * 2 * 2);
  for (const float x : model.maps_of(train).span()) REQUIRE(x == 0);
  CHECK(model.score(pictures(1, 80, 9).reshape({80, 80, 3})).score > 0);

  const PatchSvdd subset = small_model(train, 100);
  CHECK(subset.bank_rows_small() == 100);
  CHECK(subset.bank_rows_large() == 3 * 2 * 2);
  double sum = 0;
  for (const float x : subset.maps_of(train).span()) sum += static_cast<double>(x);
  CHECK(sum == 0);  // the large scale still holds every patch, and the maps are multiplied
  CHECK_THROWS_AS(small_model(train, 0), Error);
}

TEST_CASE("PatchSvdd: an image of any size and kind is scored, large ones whole or in tiles") {
  const auto train = pictures(3, 80, 8);
  const PatchSvdd model = small_model(train);
  const AnomalyMap gray = model.score(integer_tensor<std::uint8_t>({200, 33, 1}, 1, 0, 255));
  CHECK(gray.map.shape() == Shape({80, 80}));
  CHECK(gray.score > 0);

  PatchSvdd tiled(PatchSvddNetworks<float>(nn::Initializer(3, nn::Initializer::Scheme::he)), mean_image(train),
                  {80, 16});
  tiled.fit_bank(train, PatchSvdd::all_rows, 7);
  const AnomalyMap large = tiled.score(integer_tensor<std::uint8_t>({150, 40, 3}, 2, 0, 255));
  CHECK(large.map.shape() == Shape({150, 80}));
  float largest = 0;
  for (const float x : large.map.span()) largest = std::max(largest, x);
  CHECK(static_cast<double>(largest) == large.score);
  // Two pictures of the bank side by side, in tiles that fall on them: nothing is anomalous.
  auto both = Image::empty({80, 160, 3});
  for (std::int64_t y = 0; y < 80; ++y)
    for (std::int64_t i = 0; i < 2; ++i)
      std::copy_n(train.data() + (i * 80 + y) * 240, 240, both.data() + (y * 2 + i) * 240);
  PatchSvdd touching(PatchSvddNetworks<float>(nn::Initializer(3, nn::Initializer::Scheme::he)), mean_image(train),
                     {80, 0});
  touching.fit_bank(train, PatchSvdd::all_rows, 7);
  CHECK(touching.score(both).score == 0);
}

TEST_CASE("PatchSvdd: a saved model scores the same, and saves to the same bytes") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors", again = folder.path() / "again.safetensors";
  const auto train = pictures(2, 80, 8);
  PatchSvdd model = small_model(train, 150);
  model.save(path);
  PatchSvdd loaded = PatchSvdd::load(path);
  const auto test = pictures(1, 80, 11);
  CHECK_CLOSE(loaded.maps_of(test), model.maps_of(test), {});
  loaded.save(again);
  CHECK(read_file(path) == read_file(again));
  CHECK(read_file(path).find(folder.path().string()) == std::string::npos);
}

TEST_CASE("PatchSvdd: model files that do not fit are refused with the reason") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors", bad = folder.path() / "bad.safetensors";
  const auto train = pictures(2, 80, 8);
  small_model(train, 20).save(path);

  const std::string whole = read_file(path);
  std::ofstream(bad, std::ios::binary) << whole.substr(0, whole.size() / 2);
  CHECK_THROWS_WITH(PatchSvdd::load(bad), contains(bad.string()));
  CHECK_THROWS_WITH(PatchSvdd::load(folder.path() / "none.safetensors"), contains("none.safetensors"));

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
  rewrite(
      [](const std::string& key, std::string& value) {
        if (key == "method") value = "squid";
      },
      same);
  CHECK_THROWS_WITH(PatchSvdd::load(bad), contains("method \"squid\", not patch_svdd"));
  rewrite(
      [](const std::string& key, std::string& value) {
        if (key == "format_version") value = "1";
      },
      same);
  CHECK_THROWS_WITH(PatchSvdd::load(bad), contains("has format version 1; this library reads 2"));
  rewrite(
      [](const std::string& key, std::string& value) {
        if (key == "settings") value = "{";
      },
      same);
  CHECK_THROWS_AS(PatchSvdd::load(bad), IoError);
  for (const std::string name : {"enc.enc.conv3.weight", "mean", "bank_32"}) {
    rewrite(same_metadata, [&](const std::string& at, Tensor<float>& tensor) {
      if (at == name) tensor.data()[1] = std::numeric_limits<float>::quiet_NaN();
      return true;
    });
    CHECK_THROWS_WITH(PatchSvdd::load(bad), contains(bad.string()) && (contains("NaN") || contains("nan")));
    rewrite(same_metadata, [&](const std::string& at, Tensor<float>&) { return at != name; });
    CHECK_THROWS_WITH(PatchSvdd::load(bad), contains(name));
    rewrite(same_metadata, [&](const std::string& at, Tensor<float>& tensor) {
      if (at == name) tensor = tensor.slice(0, 1);
      return at != name || name != "bank_32";
    });
    CHECK_THROWS_AS(PatchSvdd::load(bad), IoError);
  }
  rewrite(same_metadata, same);
  CHECK(PatchSvdd::load(bad).bank_rows_small() == 20);
}
