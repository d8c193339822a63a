// nearest_patch: the exact k nearest rows of a bank for each query (Yi and Yoon 2020, section 3.4: the anomaly score
// of a patch is the distance of its embedding to the nearest normal one).
//
// Exact means: the rows that come first by (d^2, row index), where d^2 = sum over i in index order of
// fma((double)x_i - (double)y_i, same, acc), and the distance is sqrt(d^2) rounded to T. The bits do not depend on the
// number of threads, the instruction set, the device or how the rows are spread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuttle/backend/cpu_nearest_patch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"
#include "cuttle/seam/nearest_patch_filter.hpp"

namespace cuttle {

// distance (Q,k), ascending, and index (Q,k) of the bank rows. Where the bank has fewer than k rows, the rest is
// infinity and -1; a query that holds a NaN or an infinity has NaN and -1 throughout.
template <class T>
struct Neighbours {
  Tensor<T> distance;
  Tensor<std::int64_t> index;
};

namespace detail {

// What a device's search keeps of a bank (seam/nearest_patch_filter.hpp), derived from the rows alone.
struct DeviceNearestPatchFilter {
  double scale = 0;  // 0 where the magnitudes do not allow a filter; the tensors are then undefined
  Tensor<double> centre;
  Tensor<std::uint16_t> rows;
  Tensor<float> minus_half_norms, bounds;

  seam::NearestPatchFilter pointers() const {
    return {scale, centre.data(), rows.data(), minus_half_norms.data(), bounds.data()};
  }
};

// `bad_row` becomes the first row that holds a NaN or an infinity, N where none does; then there is a filter.
template <class T>
DeviceNearestPatchFilter make_device_filter(const Tensor<T>& rows, std::int64_t& bad_row) {
  const Device device = rows.device();
  const std::int64_t N = rows.size(0), D = rows.size(1);
  constexpr std::int64_t tile = 256, most_tiles = 512;
  const std::int64_t tiles = std::min((N + tile - 1) / tile, most_tiles);
  DeviceNearestPatchFilter filter;
  filter.centre = Tensor<double>::empty({D}, device);
  Tensor<double> partial = Tensor<double>::empty({tiles, 3 * D + 1}, device);
  Tensor<double> summary = Tensor<double>::empty({3}, device);
  run_entry(
      "nearest_patch", device, &seam::OpTable<T>::nearest_patch_survey,
      seam::NearestPatchSurveyArgs<T>{N, D, tiles, rows.data(), partial.data(), filter.centre.data(), summary.data()});
  summary = summary.to(Device::cpu());
  bad_row = static_cast<std::int64_t>(summary.data()[0]);
  const double largest = summary.data()[1], spread = summary.data()[2];
  // Doubles past these could overflow or underflow in d^2 itself; floats get there with equal rows only.
  if (bad_row < N || !(largest < 0x1p400 && spread > 0x1p-400)) return filter;
  int exponent = 0;
  std::frexp(spread, &exponent);
  filter.scale = std::ldexp(1.0, -exponent);
  const std::int64_t blocks = seam::filter_blocks(N);
  filter.rows = Tensor<std::uint16_t>::empty({blocks * seam::filter_rows, seam::filter_dim(D)}, device);
  filter.minus_half_norms = Tensor<float>::empty({blocks * seam::filter_rows}, device);
  filter.bounds = Tensor<float>::empty({blocks, 2}, device);
  run_entry("nearest_patch", device, &seam::OpTable<T>::nearest_patch_filter,
            seam::NearestPatchFilterArgs<T>{N, D, rows.data(), filter.scale, filter.centre.data(), filter.rows.data(),
                                            filter.minus_half_norms.data(), filter.bounds.data()});
  return filter;
}

// The search on a device; a filter of scale 0 means that every row is ranked. Queries come in parts, so that scratch
// memory stays below scratch_bytes or at the least that 128 queries need.
template <class T>
void nearest_patch_on_device(const seam::NearestPatchArgs<T>& args, Device device,
                             const seam::NearestPatchFilter& filter,
                             std::int64_t scratch_bytes = std::int64_t{256} << 20) {
  if (filter.scale == 0) {
    run_entry("nearest_patch", device, &seam::OpTable<T>::nearest_patch,
              seam::NearestPatchSearchArgs<T>{args, filter, nullptr, nullptr, nullptr});
    return;
  }
  constexpr std::int64_t tile = seam::filter_queries;
  const std::int64_t blocks = seam::filter_blocks(args.N), dim = seam::filter_dim(args.D);
  const std::int64_t affordable = scratch_bytes / (4 * blocks + 2 * dim + 16) / tile * tile;
  const std::int64_t most = std::min(std::max(affordable, tile), (args.Q + tile - 1) / tile * tile);
  Tensor<std::uint16_t> rounded = Tensor<std::uint16_t>::empty({most, dim}, device);
  Tensor<double> bounds = Tensor<double>::empty({most, 2}, device);
  Tensor<float> best = Tensor<float>::empty({most, blocks}, device);
  for (std::int64_t first = 0; first < args.Q; first += most) {
    seam::NearestPatchArgs<T> part = args;
    part.Q = std::min(most, args.Q - first);
    part.queries += first * args.D;
    part.distance += first * args.k;
    part.index += first * args.k;
    run_entry("nearest_patch", device, &seam::OpTable<T>::nearest_patch,
              seam::NearestPatchSearchArgs<T>{part, filter, rounded.data(), bounds.data(), best.data()});
  }
}

}  // namespace detail

// A bank of patch embeddings, prepared once and searched many times, from many threads at once if need be. It shares
// the rows' memory, which must not change afterwards, and is searched where they are. On the CPU it adds 4D + 12 bytes
// a row, or 5D + 16 where the processor multiplies bytes (a few per cent more for the clusters of a large bank, up to
// 31 rows' worth for a small one), on a device 2D + 4, D rounded up to a multiple of 16, and while it searches up to
// 256 MB (for N past 67 million, 4N bytes). All of that follows from the rows alone, so a saved bank is its rows.
template <class T>
class NearestPatchIndex {
 public:
  static constexpr int max_neighbours = cpu::max_neighbours;
  static constexpr std::int64_t max_dim = cpu::max_dim;

  // rows (N,D) with N >= 1, 1 <= D <= 4096, every value finite; otherwise an Error names what is wrong.
  explicit NearestPatchIndex(Tensor<T> rows) : rows_(std::move(rows)) {
    require(rows_.rank() == 2, "nearest_patch: rows has shape ", rows_.shape(), ", expected (N,D)");
    require(rows_.size(0) >= 1, "nearest_patch: rows ", rows_.shape(), " is an empty bank");
    require(rows_.size(1) >= 1 && rows_.size(1) <= max_dim, "nearest_patch: rows ", rows_.shape(),
            " has rows of length ", rows_.size(1), ", expected 1 to ", max_dim);
    std::int64_t bad_row = 0;
    if (rows_.device().is_cpu())
      while (bad_row < size() && cpu::detail::all_finite(rows_.data() + bad_row * dim(), dim())) ++bad_row;
    else
      device_filter_ = detail::make_device_filter(rows_, bad_row);
    require(bad_row == size(), "nearest_patch: row ", bad_row, " of rows ", rows_.shape(),
            " holds a NaN or an infinity");
    if (rows_.device().is_cpu()) filter_ = cpu::make_nearest_patch_filter(rows_.data(), size(), dim());
  }

  // The rows as they were given.
  const Tensor<T>& rows() const noexcept { return rows_; }
  std::int64_t size() const noexcept { return rows_.size(0); }
  std::int64_t dim() const noexcept { return rows_.size(1); }

  // queries (Q,D) on the rows' device, Q >= 0; 1 <= k <= 9.
  Neighbours<T> search(const Tensor<T>& queries, int k = 1) const {
    Neighbours<T> neighbours;
    const seam::NearestPatchArgs<T> args = arguments(queries, k, neighbours);
    if (rows_.device().is_cpu())
      cpu::nearest_patch(args, filter_);
    else
      detail::nearest_patch_on_device(args, rows_.device(), device_filter_.pointers());
    return neighbours;
  }

  // The same answers, to the bit, by the definition alone, every row ranked: the yardstick of search, some fifty times
  // slower.
  Neighbours<T> search_by_definition(const Tensor<T>& queries, int k = 1) const {
    Neighbours<T> neighbours;
    const seam::NearestPatchArgs<T> args = arguments(queries, k, neighbours);
    if (rows_.device().is_cpu())
      cpu::nearest_patch_by_definition(args);
    else
      detail::nearest_patch_on_device(args, rows_.device(), {});
    return neighbours;
  }

 private:
  seam::NearestPatchArgs<T> arguments(const Tensor<T>& queries, int k, Neighbours<T>& neighbours) const {
    require(queries.rank() == 2 && queries.size(1) == dim(), "nearest_patch: queries has shape ", queries.shape(),
            ", expected (Q,", dim(), ") for rows ", rows_.shape());
    require(k >= 1 && k <= max_neighbours, "nearest_patch: k is ", k, ", expected 1 to ", max_neighbours);
    const Device device = detail::common_device("nearest_patch", queries, rows_);
    neighbours.distance = Tensor<T>::empty({queries.size(0), k}, device);
    neighbours.index = Tensor<std::int64_t>::empty({queries.size(0), k}, device);
    return {queries.size(0),        size(), dim(), k, queries.data(), rows_.data(), neighbours.distance.data(),
            neighbours.index.data()};
  }

  Tensor<T> rows_;
  cpu::NearestPatchFilter filter_;                  // for rows in host memory
  detail::DeviceNearestPatchFilter device_filter_;  // for rows elsewhere
};

// One search of a bank that is not kept: rows (N,D), queries (Q,D). For repeated searches keep a NearestPatchIndex.
template <class T>
Neighbours<T> nearest_patch(const Tensor<T>& queries, const Tensor<T>& rows, int k = 1) {
  return NearestPatchIndex<T>(rows).search(queries, k);
}

}  // namespace cuttle
