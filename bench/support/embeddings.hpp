// Embeddings as encoders give them: in (-1, 1) after a tanh, drawn so that queries and bank have one distribution.
//   spread     independent coordinates: nothing to prune
//   rich       96 overlapping clusters, variance falling over the dimensions
//   clustered  300 clusters of 8 intrinsic dimensions
//   collapsed  norm 0.42, spread 0.15 along one direction, 0.0018 from the nearest neighbour
//   repeated   1000 different rows, each many times
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "cuttle/backend/cpu_random.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"

namespace cuttle_bench {

class Embeddings {
 public:
  static constexpr std::int64_t D = 64;

  explicit Embeddings(std::string_view kind) : kind_(kind) {
    cuttle::require(
        kind == "spread" || kind == "rich" || kind == "clustered" || kind == "collapsed" || kind == "repeated",
        "embeddings: data '", kind, "' is none of spread, rich, clustered, collapsed, repeated");
    clusters_ = kind == "rich" ? 96 : kind == "repeated" ? 1000 : 300;
    centres_ = normals({clusters_, D});
    bases_ = normals({clusters_ * factors, D});
  }

  // The next n rows, the same for one history of calls, whatever the number of threads.
  cuttle::Tensor<float> rows(std::int64_t n) {
    cuttle::Tensor<float> rows = normals({n, D});
    const std::uint64_t stream = next_stream_++;
    constexpr std::int64_t tile = 1024;
    cuttle::parallel_for((n + tile - 1) / tile, [&](std::int64_t t) {
      for (std::int64_t r = t * tile; r < std::min(n, (t + 1) * tile); ++r) shape_row(rows.data() + r * D, stream, r);
    });
    return rows;
  }

 private:
  static constexpr std::int64_t factors = 8;

  cuttle::Tensor<float> normals(const cuttle::Shape& shape) {
    cuttle::Tensor<float> tensor = cuttle::Tensor<float>::empty(shape);
    const std::uint64_t stream = next_stream_++;
    constexpr std::int64_t tile = 1 << 16;
    cuttle::parallel_for((tensor.numel() + tile - 1) / tile, [&](std::int64_t t) {
      const std::int64_t first = t * tile, count = std::min(tile, tensor.numel() - first);
      cuttle::cpu::fill_normal({tensor.data() + first, static_cast<std::size_t>(count)}, 1, stream,
                               static_cast<std::uint64_t>(first));
    });
    return tensor;
  }

  // From D normals in y to a row; numbers 16 r and on of the stream are the row's own.
  void shape_row(float* y, std::uint64_t stream, std::int64_t r) const {
    const auto name = 16 * static_cast<std::uint64_t>(r);
    const auto cluster =
        static_cast<std::int64_t>(cuttle::random_below(static_cast<std::uint32_t>(clusters_), 2, stream, name));
    const float* centre = centres_.data() + cluster * D;
    if (kind_ == "repeated") {
      for (std::int64_t i = 0; i < D; ++i) y[i] = std::tanh(centre[i]);
    } else if (kind_ == "collapsed") {
      const float along = 0.15f / 8 * cuttle::random_normal(2, stream, name + 2);
      for (std::int64_t i = 0; i < D; ++i) y[i] = (i % 2 ? 0.0525f : -0.0525f) + along + 0.00022f * y[i];
    } else if (kind_ == "clustered") {
      float factor[factors];
      for (std::int64_t j = 0; j < factors; ++j)
        factor[j] = 0.12f * cuttle::random_normal(2, stream, name + 2 + static_cast<std::uint64_t>(j));
      for (std::int64_t i = 0; i < D; ++i) {
        float x = centre[i];
        for (std::int64_t j = 0; j < factors; ++j) x += factor[j] * bases_.data()[(cluster * factors + j) * D + i];
        y[i] = std::tanh(x);
      }
    } else if (kind_ == "rich") {
      for (std::int64_t i = 0; i < D; ++i) {
        const float deviation = 1.0f / (1.0f + 0.25f * static_cast<float>(i));
        y[i] = std::tanh(2 * deviation * centre[i] + 0.7f * deviation * y[i]);
      }
    } else {
      for (std::int64_t i = 0; i < D; ++i) y[i] = std::tanh(y[i]);
    }
  }

  std::string kind_;
  std::uint64_t next_stream_ = 0;
  std::int64_t clusters_ = 0;
  cuttle::Tensor<float> centres_, bases_;
};

}  // namespace cuttle_bench
