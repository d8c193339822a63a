// Patch SVDD against tensors computed with its authors' implementation; the tolerances are those that the fixtures'
// description derives from float32 against float64.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cuttle/models/patch_svdd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;

namespace {

SafetensorsFile fixture(const char* name) {
  return SafetensorsFile(cuttle_test::shared_folder() / "fixtures" / "patch_svdd" / name);
}

template <class T>
PatchSvddNetworks<T> with_published_encoder() {
  PatchSvddNetworks<T> networks{nn::Initializer(1)};
  load_state<T>(networks.encoder, fixture("psvdd_bottle_encoder.safetensors"), "");
  return networks;
}

template <class T>
Tensor<T> here(const Tensor<T>& tensor) {
  return tensor.to(Device::cpu());
}

template <class T>
Tensor<T> channels_last(const SafetensorsFile& file, const std::string& name) {
  return permute(file.tensor_or_widen<T>(name), {0, 2, 3, 1});
}

// Gray pictures (N,H,W) as three equal channels.
Tensor<std::uint8_t> three_channels(const Tensor<std::uint8_t>& gray) {
  auto rgb = Tensor<std::uint8_t>::empty({gray.size(0), gray.size(1), gray.size(2), 3});
  for (std::int64_t i = 0; i < gray.numel(); ++i) std::fill_n(rgb.data() + 3 * i, 3, gray.data()[i]);
  return rgb;
}

template <class T>
PatchSvddBatch<T> stored_batch(const SafetensorsFile& file, Device device) {
  PatchSvddBatch<T> batch(4, device);
  const auto put = [&](Tensor<T> tiles, const std::string& name) {
    tiles.copy_from(extract_windows(channels_last<T>(file, name), 32, 32));
  };
  for (int side = 0; side < 2; ++side) {
    const std::string x = side == 0 ? ".x1" : ".x2";
    put(batch.position_large(side), "batch.pos_64" + x);
    put(batch.svdd_large(side), "batch.svdd_64" + x);
    put(batch.position_small(side), "batch.pos_32" + x);
    put(batch.svdd_small(side), "batch.svdd_32" + x);
  }
  const auto put_labels = [&](Tensor<std::int32_t> labels, const std::string& name) {
    const auto stored = file.tensor<std::int64_t>(name);
    auto values = Tensor<std::int32_t>::empty({4});
    for (std::int64_t i = 0; i < 4; ++i) values.data()[i] = static_cast<std::int32_t>(stored.data()[i]);
    labels.copy_from(values);
  };
  put_labels(batch.labels_large, "batch.pos_64.y");
  put_labels(batch.labels_small, "batch.pos_32.y");
  return batch;
}

double number(const SafetensorsFile& file, const std::string& name) {
  return file.tensor_or_widen<double>(name).data()[0];
}

void check_losses(const PatchSvddLosses& losses, const SafetensorsFile& file, const std::string& prefix,
                  double relative) {
  using cuttle_test::Approx;
  CHECK(losses.position_large == Approx(number(file, prefix + "pos_64")).epsilon(relative));
  CHECK(losses.position_small == Approx(number(file, prefix + "pos_32")).epsilon(relative));
  CHECK(losses.total == Approx(number(file, prefix + "total")).epsilon(relative));
  // Lengths of differences of nearly equal embeddings, each rounded to float32 by a few 1e-8 on either side.
  CHECK(losses.svdd_large == Approx(number(file, prefix + "svdd_64")).epsilon(5e-5).margin(5e-8));
  CHECK(losses.svdd_small == Approx(number(file, prefix + "svdd_32")).epsilon(5e-5).margin(5e-8));
}

// The share of a module's values within 1e-5 of the stored ones.
template <class T>
double share_that_agrees(PatchSvddNetworks<T>& networks, const SafetensorsFile& file, const std::string& prefix) {
  std::int64_t all = 0, close = 0;
  networks.parameters(
      [&](const std::string& name, nn::Parameter<T>& parameter) {
        if (!parameter.trainable) return;
        Tensor<T> expected = file.tensor_or_widen<T>(name);
        if (expected.rank() == 4) expected = permute(expected, {0, 2, 3, 1});
        const Tensor<T> value = here(parameter.value);
        for (std::int64_t i = 0; i < expected.numel(); ++i, ++all)
          close += std::abs(static_cast<double>(value.data()[i] - expected.data()[i])) <= 1e-5;
      },
      prefix);
  return static_cast<double>(close) / static_cast<double>(all);
}

template <class T>
std::string gradient_mismatch(PatchSvddNetworks<T>& networks, const SafetensorsFile& file,
                              cuttle_test::Tolerance tolerance) {
  std::string worst;
  networks.parameters(
      [&](const std::string& name, nn::Parameter<T>& parameter) {
        if (!parameter.trainable) {
          if (file.contains(name)) worst += name + " has a stored gradient; ";
          return;
        }
        Tensor<T> expected = file.tensor_or_widen<T>(name);
        if (expected.rank() == 4) expected = permute(expected, {0, 2, 3, 1});
        const std::string bad = cuttle_test::mismatch(parameter.grad, expected, tolerance);
        if (!bad.empty()) worst += name + ": " + bad + "; ";
      },
      "grad.");
  return worst;
}

template <class T>
void check_embeddings(Device device) {
  auto networks = with_published_encoder<T>();
  nn::move_to<T>(networks, device);
  const SafetensorsFile file = fixture("psvdd_encode.safetensors");
  const auto patches64 = channels_last<T>(file, "x64").to(device);
  const auto quadrants = networks.encoder.embed_small(Var<T>(extract_windows(patches64, 32, 32)), nullptr);
  CHECK_CLOSE(networks.encoder.embed_large(quadrants, nullptr).value().reshape({8, 64, 1, 1}),
              file.tensor_or_widen<T>("emb64"), {1e-5, 0});
  CHECK_CLOSE(networks.encoder.embed_small(Var<T>(channels_last<T>(file, "x32").to(device)), nullptr)
                  .value()
                  .reshape({8, 64, 1, 1}),
              file.tensor_or_widen<T>("emb32"), {1e-5, 0});
  const auto maps = networks.encoder.embed_images(channels_last<T>(file, "image").to(device));
  CHECK_CLOSE(maps.large, file.tensor_or_widen<T>("emb64_map"), {1e-5, 0});
  CHECK_CLOSE(maps.small, file.tensor_or_widen<T>("emb32_map"), {1e-5, 0});
}

}  // namespace

TEST_CASE("Patch SVDD fixtures: embeddings, patch by patch and dense, float") {
  CUTTLE_NEED_SHARED_FOLDER();
  cuttle_test::on_every_device_once(check_embeddings<float>);
}

TEST_CASE("Patch SVDD fixtures: embeddings, patch by patch and dense, double") {
  CUTTLE_NEED_SHARED_FOLDER();
  cuttle_test::on_every_device_once(check_embeddings<double>);
}

TEST_CASE("Patch SVDD fixtures: mean image, embeddings, neighbours, maps and scores") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file = fixture("psvdd_score.safetensors");
  const auto train = three_channels(file.tensor<std::uint8_t>("train_gray_u8"));
  const auto test = three_channels(file.tensor<std::uint8_t>("test_gray_u8"));
  const Tensor<float> mean = mean_image(train);
  const auto mean_gray = file.tensor<float>("mean_gray");
  bool equal = true;
  for (std::int64_t i = 0; i < mean.numel(); ++i) equal = equal && mean.data()[i] == mean_gray.data()[i / 3];
  CHECK(equal);

  cuttle_test::on_every_device_once([&](Device device) {
    PatchSvdd model(with_published_encoder<float>(), mean, {});
    model.move_to(device);
    CHECK(model.device() == device);
    model.fit_bank(train, PatchSvdd::all_rows, 1);
    CHECK(model.bank_rows_small() == 4 * 57 * 57);
    CHECK(model.bank_rows_large() == 4 * 13 * 13);
    const PatchEmbeddings<float> bank = model.embed(train), queries = model.embed(test);
    const auto check_scale = [&](const Tensor<float>& rows, const Tensor<float>& patches, const std::string& scale,
                                 std::int64_t patch_size, std::int64_t stride) {
      CHECK_CLOSE(rows, file.tensor<float>("emb" + scale + "_train"), {1e-5, 0});
      CHECK_CLOSE(patches, file.tensor<float>("emb" + scale + "_test"), {1e-5, 0});
      const Shape grid{2, patches.size(1), patches.size(2)};
      const auto nearest = nearest_patch(patches.reshape({grid.numel(), 64}), rows.reshape({rows.numel() / 64, 64}));
      CHECK_CLOSE(nearest.index.reshape(grid), file.tensor<std::int64_t>("nn_index_" + scale), {});
      CHECK_CLOSE(nearest.distance.reshape(grid), file.tensor<float>("l2_" + scale), {1e-5, 0});
      const auto maps = distribute_scores(nearest.distance.reshape(grid), patch_size, stride, 256, 256);
      CHECK_CLOSE(maps, file.tensor<float>("maps_" + scale), {1e-5, 0});
      CHECK_CLOSE(max_over_pixels(maps), file.tensor<float>("score_" + scale), {1e-5, 0});
      return maps;
    };
    const auto large = check_scale(bank.large, queries.large, "64", 64, 16);
    const auto small = check_scale(bank.small, queries.small, "32", 32, 4);
    CHECK_CLOSE(max_over_pixels(add(large, small)), file.tensor<float>("score_sum"), {1e-5, 0});

    const Tensor<float> maps = multiply(large, small);
    CHECK_CLOSE(maps, file.tensor<float>("maps_mult"), {1e-5, 0});
    CHECK_CLOSE(max_over_pixels(maps), file.tensor<float>("score_mult"), {1e-5, 0});
    const AnomalyMap second = model.score(test.slice(1, 2).reshape({256, 256, 3}));
    CHECK(second.score == cuttle_test::Approx(file.tensor<float>("score_mult").data()[1]).epsilon(1e-5));

    // Of a training picture every patch lies in the bank.
    if (device.is_cpu()) CHECK(model.score(train.slice(2, 3).reshape({256, 256, 3})).score == 0);
  });
}

TEST_CASE("Patch SVDD fixtures: a training step from fresh networks") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file = fixture("psvdd_train_step.safetensors");
  const auto run = [&]<class T>(T, Device device) {
    PatchSvddNetworks<T> networks{nn::Initializer(1)};
    load_state<T>(networks, file, "init.");
    nn::ParameterArena<T> arena(networks, device);
    nn::Adam<T> adam(arena, {.learning_rate = 1e-4});
    const PatchSvddBatch<T> batch = stored_batch<T>(file, device);
    Tape<T> tape;
    for (int step = 0; step < 3; ++step) {
      arena.zero_grad();
      const std::string prefix = step == 0 ? "loss." : "loss_after" + std::to_string(step) + ".";
      check_losses(patch_svdd_losses(networks, batch, 1e-3, &tape).losses(), file, prefix, 2e-6);
      if (step == 0) CHECK(gradient_mismatch(networks, file, {0, 1e-6}) == "");
      tape.clear();
      adam.step();
      if (step == 0) CHECK(share_that_agrees(networks, file, "step1.") >= 0.999);
    }
    CHECK(share_that_agrees(networks, file, "step3.") >= 0.999);
    check_losses(patch_svdd_losses(networks, batch, 1e-3, static_cast<Tape<T>*>(nullptr)).losses(), file,
                 "loss_after3.", 2e-6);
  };
  SECTION("float") {
    cuttle_test::on_every_device_once([&](Device device) { run(float(), device); });
  }
  SECTION("double") {
    cuttle_test::on_every_device_once([&](Device device) { run(double(), device); });
  }
}

TEST_CASE("Patch SVDD fixtures: a training step from published weights") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file = fixture("psvdd_train_step_warm.safetensors");
  const SafetensorsFile fresh = fixture("psvdd_train_step.safetensors");
  const auto run = [&]<class T>(T, Device device) {
    PatchSvddNetworks<T> networks = with_published_encoder<T>();
    load_state<T>(networks.classifier_large, fresh, "init.cls_64.");
    load_state<T>(networks.classifier_small, fresh, "init.cls_32.");
    nn::ParameterArena<T> arena(networks, device);
    nn::Adam<T> adam(arena, {.learning_rate = 1e-4});
    const PatchSvddBatch<T> batch = stored_batch<T>(fresh, device);
    Tape<T> tape;
    for (int step = 0; step < 3; ++step) {
      arena.zero_grad();
      const std::string prefix = step == 0 ? "loss." : "loss_after" + std::to_string(step) + ".";
      check_losses(patch_svdd_losses(networks, batch, 0.5, &tape).losses(), file, prefix, 1e-5);
      if (step == 0) CHECK(gradient_mismatch(networks, file, {2e-5, 0}) == "");
      tape.clear();
      adam.step();
    }
    CHECK(share_that_agrees(networks, file, "step3.") >= 0.999);
  };
  SECTION("float") {
    cuttle_test::on_every_device_once([&](Device device) { run(float(), device); });
  }
  SECTION("double") {
    cuttle_test::on_every_device_once([&](Device device) { run(double(), device); });
  }
}
