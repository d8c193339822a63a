// nearest_patch: the exact k nearest rows of a bank for each query (Yi and Yoon 2020, equation 6: the anomaly score of
// a patch is the distance of its embedding to the nearest normal one).
//
// Exact means: the rows that come first by (d^2, row index), where d^2 = sum over i in index order of
// fma((double)x_i - (double)y_i, same, acc), and the distance is sqrt(d^2) rounded to T. The bits do not depend on the
// number of threads, the instruction set or how the rows are spread.
#pragma once

#include "cuttle/backend/cpu_nearest_patch.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

// distance (Q,k), ascending, and index (Q,k) of the bank rows. Where the bank has fewer than k rows, the rest is
// infinity and -1; a query that holds a NaN or an infinity has NaN and -1 throughout.
template <class T>
struct Neighbours {
  Tensor<T> distance;
  Tensor<std::int64_t> index;
};

// A bank of patch embeddings, prepared once and searched many times, from many threads at once if need be. It shares
// the rows' memory, which must not change afterwards, and adds 4D + 12 bytes a row, or 5D + 16 where the processor
// multiplies bytes (a few per cent more for the clusters of a large bank, up to 31 rows' worth for a small one). All of
// that follows from the rows alone, so a saved bank is its rows.
template <class T>
class NearestPatchIndex {
 public:
  static constexpr int max_neighbours = cpu::max_neighbours;
  static constexpr std::int64_t max_dim = cpu::max_dim;

  // rows (N,D) with N >= 1, 1 <= D <= 4096, every value finite; otherwise an Error names what is wrong.
  explicit NearestPatchIndex(Tensor<T> rows) : rows_(std::move(rows)) {
    detail::require_on_cpu("nearest_patch", rows_);
    require(rows_.rank() == 2, "nearest_patch: rows has shape ", rows_.shape(), ", expected (N,D)");
    require(rows_.size(0) >= 1, "nearest_patch: rows ", rows_.shape(), " is an empty bank");
    require(rows_.size(1) >= 1 && rows_.size(1) <= max_dim, "nearest_patch: rows ", rows_.shape(),
            " has rows of length ", rows_.size(1), ", expected 1 to ", max_dim);
    for (std::int64_t row = 0; row < size(); ++row)
      require(cpu::detail::all_finite(rows_.data() + row * dim(), dim()), "nearest_patch: row ", row, " of rows ",
              rows_.shape(), " holds a NaN or an infinity");
    filter_ = cpu::make_nearest_patch_filter(rows_.data(), size(), dim());
  }

  // The rows as they were given.
  const Tensor<T>& rows() const noexcept { return rows_; }
  std::int64_t size() const noexcept { return rows_.size(0); }
  std::int64_t dim() const noexcept { return rows_.size(1); }

  // queries (Q,D), Q >= 0; 1 <= k <= 9.
  Neighbours<T> search(const Tensor<T>& queries, int k = 1) const {
    Neighbours<T> neighbours;
    cpu::nearest_patch(arguments(queries, k, neighbours), filter_);
    return neighbours;
  }

  // The same answers, to the bit, by the definition alone: the yardstick of search, some fifty times slower.
  Neighbours<T> search_by_definition(const Tensor<T>& queries, int k = 1) const {
    Neighbours<T> neighbours;
    cpu::nearest_patch_by_definition(arguments(queries, k, neighbours));
    return neighbours;
  }

 private:
  seam::NearestPatchArgs<T> arguments(const Tensor<T>& queries, int k, Neighbours<T>& neighbours) const {
    require(queries.rank() == 2 && queries.size(1) == dim(), "nearest_patch: queries has shape ", queries.shape(),
            ", expected (Q,", dim(), ") for rows ", rows_.shape());
    require(k >= 1 && k <= max_neighbours, "nearest_patch: k is ", k, ", expected 1 to ", max_neighbours);
    detail::require_on_cpu("nearest_patch", queries, rows_);
    neighbours.distance = Tensor<T>::empty({queries.size(0), k});
    neighbours.index = Tensor<std::int64_t>::empty({queries.size(0), k});
    return {queries.size(0),        size(), dim(), k, queries.data(), rows_.data(), neighbours.distance.data(),
            neighbours.index.data()};
  }

  Tensor<T> rows_;
  cpu::NearestPatchFilter filter_;
};

// One search of a bank that is not kept: rows (N,D), queries (Q,D). For repeated searches keep a NearestPatchIndex.
template <class T>
Neighbours<T> nearest_patch(const Tensor<T>& queries, const Tensor<T>& rows, int k = 1) {
  return NearestPatchIndex<T>(rows).search(queries, k);
}

}  // namespace cuttle
