// What a training step of Patch SVDD sees: batches of patch pairs and their embeddings.
#pragma once

#include <array>
#include <cstdint>

#include "cuttle/models/patch_svdd_network.hpp"
#include "cuttle/ops/extract_patches.hpp"

namespace cuttle {

// The four tasks of a step: relative position and neighbourhood ("SVDD") at both patch sizes. All their patches lie in
// one tensor of 32 x 32 tiles, four a large patch, so that the trunk runs once:
//   position_large first, second (4B each), svdd_large first, second (4B each), position_small ... (B each), svdd_small
//   ...
template <class T>
struct PatchSvddBatch {
  Tensor<T> tiles;                                  // (20B,32,32,3)
  Tensor<std::int32_t> labels_large, labels_small;  // (B) in 0..7

  explicit PatchSvddBatch(std::int64_t B, Device device = Device::cpu())
      : tiles(Tensor<T>::empty({20 * B, PatchSvddSizes::small, PatchSvddSizes::small, 3}, device)),
        labels_large(Tensor<std::int32_t>::empty({B}, device)),
        labels_small(Tensor<std::int32_t>::empty({B}, device)) {}

  // Draws the pairs of a step (seam/patch_pair.hpp).
  void draw(const Tensor<std::uint8_t>& images, const Tensor<float>& mean, std::uint64_t seed, const StepNumber& step) {
    const auto task = [&](PatchTask kind, std::int64_t patch_size, const Tensor<T>& first, const Tensor<T>& second,
                          const Tensor<std::int32_t>& labels) {
      random_patch_pairs(images, mean, {.task = kind, .patch_size = patch_size, .tile_size = PatchSvddSizes::small},
                         seed, step, first, second, labels);
    };
    const Tensor<std::int32_t> none;
    task(PatchTask::position, PatchSvddSizes::large, position_large(0), position_large(1), labels_large);
    task(PatchTask::svdd, PatchSvddSizes::large, svdd_large(0), svdd_large(1), none);
    task(PatchTask::position, PatchSvddSizes::small, position_small(0), position_small(1), labels_small);
    task(PatchTask::svdd, PatchSvddSizes::small, svdd_small(0), svdd_small(1), none);
  }

  std::int64_t B() const { return labels_large.numel(); }
  // The tiles of one side (0 first, 1 second) of a task.
  Tensor<T> position_large(int side) const { return tiles.slice((4 * side) * B(), (4 * side + 4) * B()); }
  Tensor<T> svdd_large(int side) const { return tiles.slice((8 + 4 * side) * B(), (12 + 4 * side) * B()); }
  Tensor<T> position_small(int side) const { return tiles.slice((16 + side) * B(), (17 + side) * B()); }
  Tensor<T> svdd_small(int side) const { return tiles.slice((18 + side) * B(), (19 + side) * B()); }
};

// The embeddings of a batch's pairs, first and second patch of each, (pairs,64) every one.
template <class T>
struct PairEmbeddings {
  std::array<Var<T>, 2> position_large, position_small, svdd_large, svdd_small;
};

// Embeds isolated patches: the trunk runs once over all tiles of the batch.
template <class T>
PairEmbeddings<T> embed_pairs(const PatchEncoder<T>& encoder, const PatchSvddBatch<T>& batch, Tape<T>* tape) {
  const std::int64_t B = batch.B();
  const Var<T> tiles = encoder.embed_small(batch.tiles, tape);
  const Var<T> large = encoder.embed_large(slice(tiles, 0, 16 * B), tape);
  const Var<T> small = slice(tiles, 16 * B, 20 * B);
  const auto rows = [B](const Var<T>& h, std::int64_t part) { return slice(h, part * B, (part + 1) * B); };
  return {{rows(large, 0), rows(large, 1)},
          {rows(small, 0), rows(small, 1)},
          {rows(large, 2), rows(large, 3)},
          {rows(small, 2), rows(small, 3)}};
}

// How much a batch of crops holds.
struct PatchSvddCropOptions {
  std::int64_t crops = 4;     // a step
  std::int64_t size = 128;    // pixels a side, at least 128: two large patches up to 63 pixels apart fit
  std::int64_t pairs = 1024;  // of each of the four tasks
};

// A batch of Patch SVDD pairs from a few larger crops instead of isolated patches. Two views of each crop, with their
// own colour shift and noise and one shifted by a pixel or so, go through the trunk once each; thousands of pairs are
// then rows of the two maps, the first patch of each from one view, the second from the other. For the work of a few
// hundred isolated patches the classifiers and the encoder see ten to a hundred times as many pairs.
template <class T>
struct PatchSvddCropBatch {
  PatchSvddCropOptions options;
  Tensor<T> views;  // (2*crops, size, size, 3)
  CropPairRows large, small;
  Tensor<std::int32_t> labels_large, labels_small;  // (pairs) in 0..7

  explicit PatchSvddCropBatch(const PatchSvddCropOptions& crop_options, Device device = Device::cpu())
      : options(crop_options) {
    require(options.crops >= 1 && options.pairs >= 1 && options.size % 32 == 0 && options.size >= 128,
            "PatchSvddCropBatch: crops ", options.crops, ", pairs ", options.pairs, ", size ", options.size,
            ", expected at least 1, at least 1 and a multiple of 32 from 128");
    views = Tensor<T>::empty({2 * options.crops, options.size, options.size, 3}, device);
    const auto rows_for = [&](std::int64_t quadrants) {
      CropPairRows rows;
      for (int side = 0; side < 2; ++side) {
        rows.position[side] = Tensor<std::int32_t>::empty({options.pairs * quadrants}, device);
        rows.svdd[side] = Tensor<std::int32_t>::empty({options.pairs * quadrants}, device);
      }
      return rows;
    };
    large = rows_for(4);
    small = rows_for(1);
    labels_large = Tensor<std::int32_t>::empty({options.pairs}, device);
    labels_small = Tensor<std::int32_t>::empty({options.pairs}, device);
  }

  // Map cells a side; a cell is two pixels.
  std::int64_t cells() const { return seam::crop_cells(options.size); }

  // Draws the batch of a step: the views, then the pairs inside them. Both patches of a pair lie inside the crop, so
  // that no label is wrong.
  void draw(const Tensor<std::uint8_t>& images, const Tensor<float>& mean, std::uint64_t seed, const StepNumber& step) {
    const std::int64_t G = options.crops;
    random_patch_pairs(images, mean, {.task = PatchTask::views, .patch_size = options.size, .tile_size = options.size},
                       seed, step, views.slice(0, G), views.slice(G, 2 * G), Tensor<std::int32_t>());
    draw_crop_rows(large, labels_large, G, options.size, PatchSvddSizes::large, seed, step);
    draw_crop_rows(small, labels_small, G, options.size, PatchSvddSizes::small, seed, step);
  }
};

// Embeds the views once, densely; pairs are rows of the two maps.
template <class T>
PairEmbeddings<T> embed_pairs(const PatchEncoder<T>& encoder, const PatchSvddCropBatch<T>& batch, Tape<T>* tape) {
  const Var<T> cells = encoder.embed_densely(batch.views, tape);
  const Var<T> rows = reshape(cells, {cells.shape().numel() / PatchSvddSizes::D, PatchSvddSizes::D});
  const auto small = [&](const Tensor<std::int32_t>& index) { return gather_rows(rows, index); };
  const auto large = [&](const Tensor<std::int32_t>& index) { return encoder.embed_large(small(index), tape); };
  return {{large(batch.large.position[0]), large(batch.large.position[1])},
          {small(batch.small.position[0]), small(batch.small.position[1])},
          {large(batch.large.svdd[0]), large(batch.large.svdd[1])},
          {small(batch.small.svdd[0]), small(batch.small.svdd[1])}};
}

}  // namespace cuttle
