// Patch SVDD as a detector (Yi and Yoon, ACCV 2020, section 3.4): the trained encoder, the mean image, and the
// embeddings of normal patches. The distance of a patch to its nearest normal one is its anomaly; maps of both scales
// are multiplied and the largest pixel is the image's score.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/data/working_size.hpp"
#include "cuttle/models/anomaly_map.hpp"
#include "cuttle/models/patch_svdd_training.hpp"
#include "cuttle/models/state.hpp"
#include "cuttle/ops/distribute_scores.hpp"
#include "cuttle/ops/elementwise.hpp"
#include "cuttle/ops/nearest_patch.hpp"
#include "cuttle/ops/standardize.hpp"

namespace cuttle {

// A trained Patch SVDD: scores of images, and maps of where they are anomalous. The networks come from a
// PatchSvddTrainer; fit_bank() comes before any score. score() changes nothing.
template <std::same_as<float> T>
class BasicPatchSvdd {
 public:
  static constexpr const char* method = "patch_svdd";
  static constexpr std::int64_t all_rows = -1;
  static constexpr bool scores_by_largest_pixel = true;  // so that a part of the map has a score (InRegion)

  // Takes over (shares) trained networks, on whose device the detector works. mean (size,size,3); training describes
  // the run for whoever reads the file.
  BasicPatchSvdd(PatchSvddNetworks<T> networks, Tensor<T> mean, const WorkingSize& working_size, Json training = {})
      : networks_(std::move(networks)),
        mean_(std::move(mean)),
        working_size_(working_size),
        training_(std::move(training)) {
    require(working_size.size >= PatchSvddSizes::large, "PatchSvdd: working size ", working_size.size,
            " is below the larger patch, 64");
    require(!working_size.tile_overlap ||
                (*working_size.tile_overlap >= 0 && *working_size.tile_overlap < working_size.size),
            "PatchSvdd: tiles of ", working_size.size, " pixels that overlap by ",
            working_size.tile_overlap.value_or(0));
    require(mean_.shape() == Shape({working_size.size, working_size.size, 3}), "PatchSvdd: mean has shape ",
            mean_.shape(), ", expected (", working_size.size, ",", working_size.size, ",3)");
    networks_.encoder.set_math(Math::fp32);
    networks_.parameters([&](const std::string&, nn::Parameter<T>& p) { mean_ = mean_.to(p.value.device()); }, "");
  }

  // Moves the networks, the mean image and the banks; pictures are always given, and maps returned, on the CPU.
  void move_to(Device device) {
    nn::move_to<T>(networks_, device);
    mean_ = mean_.to(device);
    for (auto* bank : {&bank_small_, &bank_large_})
      if (*bank) bank->emplace(Tensor<T>((*bank)->rows()).to(device));
  }
  Device device() const noexcept { return mean_.device(); }

  // Fills both banks with the embeddings of normal pictures, bytes (N,size,size,3). Of a scale with more than `rows`
  // patches a seeded subset of that many is kept (all_rows keeps every patch, as the paper does). progress(done, N) is
  // called after each; where it throws, the model stays as it was.
  template <class Progress>
  void fit_bank(const Tensor<std::uint8_t>& pictures, std::int64_t rows, std::uint64_t seed, Progress&& progress) {
    require_pictures("fit_bank", pictures);
    require(rows == all_rows || rows >= 1, "PatchSvdd::fit_bank: rows is ", rows, ", expected at least 1 or all");
    const std::int64_t N = pictures.size(0);
    BankRows small(N, patches_in(PatchSvddSizes::small, PatchSvddSizes::stride_small), rows, seed, 0);
    BankRows large(N, patches_in(PatchSvddSizes::large, PatchSvddSizes::stride_large), rows, seed, 1);
    for (std::int64_t n = 0; n < N; ++n) {
      const PatchEmbeddings<T> embeddings = embed(pictures.slice(n, n + 1));
      small.take(embeddings.small.to(Device::cpu()));
      large.take(embeddings.large.to(Device::cpu()));
      progress(n + 1, N);
    }
    NearestPatchIndex<T> bank_small(small.rows.to(device())), bank_large(large.rows.to(device()));
    bank_small_.emplace(std::move(bank_small));
    bank_large_.emplace(std::move(bank_large));
  }
  void fit_bank(const Tensor<std::uint8_t>& pictures, std::int64_t rows, std::uint64_t seed) {
    fit_bank(pictures, rows, seed, [](std::int64_t, std::int64_t) {});
  }

  // Maps (B,size,size) of pictures (B,size,size,3), bytes: the product of the two scales' distance maps.
  Tensor<T> maps_of(const Tensor<std::uint8_t>& pictures) const {
    require_pictures("maps_of", pictures);
    require(bank_small_ && bank_large_, "PatchSvdd::maps_of: the model has no bank yet; call fit_bank");
    const PatchEmbeddings<T> embeddings = embed(pictures);
    return multiply(distances(embeddings.large, *bank_large_, PatchSvddSizes::large, PatchSvddSizes::stride_large),
                    distances(embeddings.small, *bank_small_, PatchSvddSizes::small, PatchSvddSizes::stride_small))
        .to(Device::cpu());
  }

  // The anomaly of an image (H,W,1 or 3) of any size: its map, and as its score the largest pixel of it. The map has
  // the working size, or where the image is cut into tiles the image's own; there a pixel in several tiles takes the
  // mean of their maps.
  AnomalyMap score(const Image& image) const {
    detail::require_image(image, "PatchSvdd::score");
    return score(ImageView::of(image));
  }
  AnomalyMap score(const ImageView& image) const {
    const WorkingSize::Pictures pictures = working_size_.pictures_of(image);
    const TileCover& tiles = pictures.tiles;
    const std::int64_t size = working_size_.size, width = tiles.width();
    AnomalyMap result;
    if (tiles.size() == 1) {
      result.map = maps_of(pictures.images).reshape({size, size});
    } else {
      result.map = Tensor<T>::zeros({tiles.height(), width});
      Tensor<T> covered = Tensor<T>::zeros(result.map.shape());
      for (std::int64_t i = 0; i < tiles.size(); ++i) {
        const Tensor<T> part = maps_of(pictures.images.slice(i, i + 1));
        const Tile tile = tiles[i];
        for (std::int64_t y = 0; y < size; ++y)
          for (std::int64_t x = 0; x < size; ++x) {
            const std::int64_t at = (tile.top + y) * width + tile.left + x;
            result.map.data()[at] += part.data()[y * size + x];
            covered.data()[at] += 1;
          }
      }
      cpu::map(result.map.numel(), result.map.data(), result.map.data(), covered.data(),
               [](T sum, T count) { return sum / count; });
    }
    result.score = static_cast<double>(max_over_pixels(result.map.reshape({1, tiles.height(), width})).item());
    return result;
  }

  // What makes decisions of scores, where it was learnt (eval/calibrate.hpp); saved with the model.
  const std::optional<Calibration>& calibration() const noexcept { return calibration_; }
  void set_calibration(const std::optional<Calibration>& calibration) {
    if (calibration) calibration->check();
    calibration_ = calibration;
  }
  const WorkingSize& working_size() const noexcept { return working_size_; }
  const Tensor<T>& mean() const noexcept { return mean_; }
  PatchSvddNetworks<T>& networks() noexcept { return networks_; }
  const Json& training() const noexcept { return training_; }
  // Rows of the two banks; 0 before fit_bank.
  std::int64_t bank_rows_small() const noexcept { return bank_small_ ? bank_small_->size() : 0; }
  std::int64_t bank_rows_large() const noexcept { return bank_large_ ? bank_large_->size() : 0; }

  // The embeddings of all patches of pictures (B,size,size,3), bytes, on the detector's device.
  PatchEmbeddings<T> embed(const Tensor<std::uint8_t>& pictures) const {
    return networks_.encoder.embed_images(standardize<T>(pictures.to(device()), mean_));
  }

  // Everything that a score depends on, in one safetensors file that is there whole or not at all.
  void save(const std::filesystem::path& path) {
    require(bank_small_ && bank_large_, "PatchSvdd::save: the model has no bank yet; call fit_bank");
    SafetensorsWriter file;
    add_state<T>(file, networks_, "");
    const auto here = [](const Tensor<T>& x) { return x.to(Device::cpu()); };
    file.add("mean", here(mean_)).add("bank_32", here(bank_small_->rows())).add("bank_64", here(bank_large_->rows()));
    Json::Object settings{{"size", Json(working_size_.size)},
                          {"tile_overlap", working_size_.tile_overlap ? Json(*working_size_.tile_overlap) : Json()},
                          {"calibration", calibration_json(calibration_)},
                          {"training", training_}};
    add_method(file, method, Json(std::move(settings)));
    file.write(path);
  }

  // IoError names the file and what does not fit: another method or version, a tensor that is missing, misshapen or not
  // finite.
  static BasicPatchSvdd load(const std::filesystem::path& path) { return load(SafetensorsFile(path)); }
  static BasicPatchSvdd load(const SafetensorsFile& file) {
    check_method(file, method);
    try {
      const Json settings = model_settings(file);
      WorkingSize working_size{settings.at("size").integer(), {}};
      if (const Json& overlap = settings.at("tile_overlap"); !overlap.is_null())
        working_size.tile_overlap = overlap.integer();
      PatchSvddNetworks<T> networks{nn::Initializer::to_be_read()};
      load_state<T>(networks, file, "");
      const Tensor<T> mean = file.tensor<T>("mean");
      for (const T x : mean.span()) require(std::isfinite(x), "tensor \"mean\" holds ", x);
      BasicPatchSvdd model(std::move(networks), mean, working_size, settings.at("training"));
      model.bank_small_.emplace(file.tensor<T>("bank_32"));
      model.bank_large_.emplace(file.tensor<T>("bank_64"));
      model.calibration_ = calibration_from(settings.at("calibration"));
      for (const auto* bank : {&*model.bank_small_, &*model.bank_large_})
        require(bank->dim() == PatchSvddSizes::D, "a bank has rows of length ", bank->dim(), ", not 64");
      return model;
    } catch (const IoError&) {
      throw;
    } catch (const Error& error) {
      throw IoError(file.path(), error.what());
    }
  }

 private:
  // The kept rows of one scale, filled picture by picture.
  struct BankRows {
    std::vector<std::int64_t> kept;  // ascending, as rows of all pictures' patches one after the other
    Tensor<T> rows;
    std::size_t filled = 0;
    std::int64_t passed = 0;

    BankRows(std::int64_t pictures, std::int64_t patches, std::int64_t most, std::uint64_t seed, std::uint64_t scale) {
      const std::int64_t all = pictures * patches;
      constexpr std::uint64_t subset_streams = std::uint64_t{2} << 56;
      kept = random_subset(all, most == all_rows ? all : std::min(all, most), seed, subset_streams + scale);
      rows = Tensor<T>::empty({std::ssize(kept), PatchSvddSizes::D});
    }
    void take(const Tensor<T>& embeddings) {
      constexpr std::int64_t D = PatchSvddSizes::D;
      const std::int64_t patches = embeddings.numel() / D;
      for (; filled < kept.size() && kept[filled] < passed + patches; ++filled)
        std::copy_n(embeddings.data() + (kept[filled] - passed) * D, D,
                    rows.data() + static_cast<std::int64_t>(filled) * D);
      passed += patches;
    }
  };

  void require_pictures(const char* where, const Tensor<std::uint8_t>& pictures) const {
    const std::int64_t size = working_size_.size;
    require(pictures.rank() == 4 && pictures.size(0) >= 1 && pictures.size(1) == size && pictures.size(2) == size &&
                pictures.size(3) == 3,
            "PatchSvdd::", where, ": pictures have shape ", pictures.shape(), ", expected (B,", size, ",", size, ",3)");
  }
  std::int64_t patches_in(std::int64_t patch_size, std::int64_t stride) const {
    const std::int64_t grid = (working_size_.size - patch_size) / stride + 1;
    return grid * grid;
  }
  // Distances of embeddings (B,I,J,64) to the bank, as maps.
  Tensor<T> distances(const Tensor<T>& embeddings, const NearestPatchIndex<T>& bank, std::int64_t patch_size,
                      std::int64_t stride) const {
    const std::int64_t B = embeddings.size(0), I = embeddings.size(1), J = embeddings.size(2);
    const Neighbours<T> nearest = bank.search(embeddings.reshape({B * I * J, PatchSvddSizes::D}));
    return distribute_scores(nearest.distance.reshape({B, I, J}), patch_size, stride, working_size_.size,
                             working_size_.size);
  }

  PatchSvddNetworks<T> networks_;
  Tensor<T> mean_;
  WorkingSize working_size_;
  Json training_;
  std::optional<Calibration> calibration_;
  std::optional<NearestPatchIndex<T>> bank_small_, bank_large_;
};

// The detector in float, the only one there is.
using PatchSvdd = BasicPatchSvdd<float>;

}  // namespace cuttle
