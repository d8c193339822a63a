// A bank of normal embeddings of any network, and how far others are from it: what PatchCore scores with (Roth et al.,
// CVPR 2022, section 3), and Patch SVDD at each of its scales.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuttle/core/random.hpp"
#include "cuttle/io/safetensors.hpp"
#include "cuttle/models/state.hpp"
#include "cuttle/ops/gather.hpp"
#include "cuttle/ops/k_center_greedy.hpp"
#include "cuttle/ops/nearest_patch.hpp"
#include "cuttle/ops/resize_bilinear.hpp"

namespace cuttle {

// The rows, ready to be searched; const functions may be called from many threads at once.
template <std::same_as<float> T>
class BasicMemoryBank {
 public:
  static constexpr const char* method = "memory_bank";

  // rows (N,D), N >= 1, every value finite, on the device where the bank is to be searched; it shares their memory,
  // which must not change afterwards.
  explicit BasicMemoryBank(Tensor<T> rows) : index_(std::move(rows)) {}

  // A bank of `kept` of the rows, which cover all of them (k_center_greedy), in the order of choice; the seed chooses
  // the first. All rows, in their own order and sharing their memory, where there are no more than that.
  static BasicMemoryBank coreset(const Tensor<T>& rows, std::int64_t kept, std::uint64_t seed) {
    require(rows.rank() == 2 && rows.size(0) >= 1, "MemoryBank::coreset: rows has shape ", rows.shape(),
            ", expected (N,D), N >= 1");
    require(kept >= 1, "MemoryBank::coreset: kept is ", kept, ", expected at least 1");
    if (kept >= rows.size(0)) return BasicMemoryBank(rows);
    require(rows.size(0) < std::int64_t{1} << 31, "MemoryBank::coreset: ", rows.size(0), " rows, expected below 2^31");
    constexpr std::uint64_t first_row_stream = std::uint64_t{9} << 56;
    const auto first =
        static_cast<std::int64_t>(random_below(static_cast<std::uint32_t>(rows.size(0)), seed, first_row_stream, 0));
    const Tensor<std::int64_t> chosen = k_center_greedy(rows, kept, first).index.to(Device::cpu());
    return BasicMemoryBank(rows_at(rows, chosen.span()));
  }

  // Moves the rows to where they are to be searched from now on; embeddings have to be there as well.
  void move_to(Device device) {
    if (device == this->device()) return;
    index_ = NearestPatchIndex<T>(index_.rows().to(device));
    file_.reset();
  }
  Device device() const noexcept { return index_.rows().device(); }

  std::int64_t size() const noexcept { return index_.size(); }
  std::int64_t dim() const noexcept { return index_.dim(); }
  // (N,D). Those of a bank that was loaded lie in its mapped file: clone() what is to outlive the bank or its move.
  const Tensor<T>& rows() const noexcept { return index_.rows(); }

  // embeddings (...,D) of patches -> (...), the distance of each to the nearest row; NaN for one that is not finite.
  Tensor<T> distances(const Tensor<T>& embeddings) const {
    const Tensor<T> nearest = index_.search(patches_of("distances", embeddings)).distance;
    Shape shape;
    for (int k = 0; k + 1 < embeddings.rank(); ++k) shape.push_back(embeddings.size(k));
    return nearest.reshape(shape);
  }

  // embeddings (B,I,J,D) of images' patches on a grid -> their maps (B,H,W): the distances, resized (resize_bilinear).
  Tensor<T> maps(const Tensor<T>& embeddings, std::int64_t H, std::int64_t W) const {
    require(embeddings.rank() == 4, "MemoryBank::maps: embeddings have shape ", embeddings.shape(),
            ", expected (B,I,J,", dim(), ")");
    const std::int64_t B = embeddings.size(0);
    const Tensor<T> grid = distances(embeddings).reshape({B, embeddings.size(1), embeddings.size(2), 1});
    return resize_bilinear(grid, H, W).reshape({B, H, W});
  }

  // embeddings (...,D) of one image's patches -> the score of the image: the largest distance s of any patch x to its
  // nearest row m (their equation 6), and where neighbours, at most 9, is above 1, times
  //   1 - exp(|x - m|) / sum_i exp(|x - m_i|)
  // over the `neighbours` rows m_i that are nearest to m, itself one of them (their equation 7): the farther from x
  // those are, the rarer is what x resembles most. In a bank of one row the factor is 0. NaN where a patch is not
  // finite.
  double score(const Tensor<T>& embeddings, int neighbours = 1) const {
    const Tensor<T> patches = patches_of("score", embeddings);
    require(patches.size(0) >= 1, "MemoryBank::score: embeddings ", embeddings.shape(), " hold no patch");
    require(neighbours >= 1 && neighbours <= NearestPatchIndex<T>::max_neighbours, "MemoryBank::score: neighbours is ",
            neighbours, ", expected 1 to ", NearestPatchIndex<T>::max_neighbours);
    const Neighbours<T> found = index_.search(patches);
    const Tensor<T> distance = found.distance.to(Device::cpu());
    const auto all = distance.span();
    if (const auto bad = std::ranges::find_if(all, [](T d) { return std::isnan(d); }); bad != all.end())
      return static_cast<double>(*bad);
    const auto farthest = std::ranges::max_element(all) - all.begin();
    const auto largest = static_cast<double>(all[static_cast<std::size_t>(farthest)]);
    if (neighbours == 1) return largest;

    const std::int64_t nearest = found.index.to(Device::cpu()).data()[farthest];
    const int count = static_cast<int>(std::min<std::int64_t>(neighbours, size()));
    const auto around = index_.search(rows().slice(nearest, nearest + 1), count).index.to(Device::cpu());
    const Tensor<T> to_them =
        nearest_patch(patches.slice(farthest, farthest + 1), rows_at(rows(), around.span()), count)
            .distance.to(Device::cpu());
    double sum = 0;  // over exp(largest); m, or a row that equals it, gives 1
    for (const T d : to_them.span()) sum += std::exp(static_cast<double>(d) - largest);
    return largest * (1 - 1 / sum);
  }

  // The rows in one safetensors file that is there whole or not at all.
  void save(const std::filesystem::path& path) const {
    SafetensorsWriter file;
    file.add("rows", rows());
    add_method(file, method, Json(Json::Object{}));
    file.write(path);
  }

  // The rows stay in the file, mapped, so that all who load it share them; a file that is replaced meanwhile (as save()
  // does it) leaves the bank alone. IoError names the file and what does not fit.
  static BasicMemoryBank load(const std::filesystem::path& path) {
    auto file = std::make_shared<const SafetensorsFile>(path);
    check_method(*file, method);
    try {
      BasicMemoryBank bank(file->view<T>("rows"));
      bank.file_ = std::move(file);
      return bank;
    } catch (const IoError&) {
      throw;
    } catch (const Error& error) {
      throw IoError(path.string(), error.what());
    }
  }

 private:
  static Tensor<T> rows_at(const Tensor<T>& rows, std::span<const std::int64_t> index) {
    auto narrow = Tensor<std::int32_t>::empty({std::ssize(index)});
    std::ranges::transform(index, narrow.data(), [](std::int64_t n) { return static_cast<std::int32_t>(n); });
    return gather_rows(rows, narrow.to(rows.device()));
  }

  Tensor<T> patches_of(const char* where, const Tensor<T>& embeddings) const {
    require(embeddings.rank() >= 2 && embeddings.size(-1) == dim(), "MemoryBank::", where, ": embeddings have shape ",
            embeddings.shape(), ", expected (...,", dim(), ")");
    return embeddings.reshape({embeddings.numel() / dim(), dim()});
  }

  std::shared_ptr<const SafetensorsFile> file_;  // where the rows lie, if in one; outlives the index
  NearestPatchIndex<T> index_;
};

// The bank in float, the only one there is.
using MemoryBank = BasicMemoryBank<float>;

}  // namespace cuttle
