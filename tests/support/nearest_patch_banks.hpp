// What the tests of nearest_patch share: the definition once more, and banks of every kind.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cuttle/ops/nearest_patch.hpp"

namespace cuttle_test {

using cuttle::Neighbours;
using cuttle::Tensor;

// The definition, written once more: sort all rows by (d^2, index), d^2 = sum of fma((double)x_i-(double)y_i, same,
// acc).
template <class T>
Neighbours<T> oracle(const Tensor<T>& queries, const Tensor<T>& rows, int k) {
  const std::int64_t Q = queries.size(0), N = rows.size(0), D = rows.size(1);
  Neighbours<T> answer{Tensor<T>::empty({Q, k}), Tensor<std::int64_t>::empty({Q, k})};
  std::vector<std::pair<double, std::int64_t>> ranked(static_cast<std::size_t>(N));
  for (std::int64_t q = 0; q < Q; ++q) {
    bool finite = true;
    for (std::int64_t i = 0; i < D; ++i) finite = finite && std::isfinite(queries.data()[q * D + i]);
    for (std::int64_t n = 0; n < N; ++n) {
      double sum = 0;
      for (std::int64_t i = 0; i < D; ++i) {
        const double difference =
            static_cast<double>(queries.data()[q * D + i]) - static_cast<double>(rows.data()[n * D + i]);
        sum = std::fma(difference, difference, sum);
      }
      ranked[static_cast<std::size_t>(n)] = {finite ? sum : 0, n};
    }
    std::partial_sort(ranked.begin(), ranked.begin() + std::min<std::int64_t>(k, N), ranked.end());
    for (int j = 0; j < k; ++j) {
      T& distance = answer.distance.data()[q * k + j];
      std::int64_t& index = answer.index.data()[q * k + j];
      if (!finite) {
        distance = std::numeric_limits<T>::quiet_NaN();
        index = -1;
      } else if (j >= N) {
        distance = std::numeric_limits<T>::infinity();
        index = -1;
      } else {
        distance = static_cast<T>(std::sqrt(ranked[static_cast<std::size_t>(j)].first));
        index = ranked[static_cast<std::size_t>(j)].second;
      }
    }
  }
  return answer;
}

// "" where both agree in every bit (any NaN equals any NaN), else the first place where they do not.
template <class T>
std::string difference(const Neighbours<T>& actual, const Neighbours<T>& expected) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  if (!(actual.distance.shape() == expected.distance.shape() && actual.index.shape() == expected.index.shape()))
    return cuttle::concat("shapes ", actual.distance.shape(), " and ", actual.index.shape());
  for (std::int64_t i = 0; i < expected.distance.numel(); ++i) {
    const T a = actual.distance.data()[i], e = expected.distance.data()[i];
    const std::int64_t row = actual.index.data()[i], expected_row = expected.index.data()[i];
    const bool same = std::isnan(e) ? std::isnan(a) : std::bit_cast<Bits>(a) == std::bit_cast<Bits>(e);
    if (!same || row != expected_row)
      return cuttle::concat("place ", i, ": row ", row, " at ", a, ", expected row ", expected_row, " at ", e);
  }
  return "";
}

using Random = std::mt19937_64;

template <class T>
Tensor<T> filled(std::int64_t rows, std::int64_t D, const std::function<double()>& value) {
  Tensor<T> tensor = Tensor<T>::empty({rows, D});
  for (T& x : tensor.span()) x = static_cast<T>(value());
  return tensor;
}

template <class T>
Tensor<T> gaussian(std::int64_t rows, std::int64_t D, Random& random, double scale = 1, double offset = 0) {
  std::normal_distribution<double> normal;
  return filled<T>(rows, D, [&] { return offset + scale * normal(random); });
}

template <class T>
Tensor<T> integers(std::int64_t rows, std::int64_t D, int largest, Random& random) {
  return filled<T>(rows, D,
                   [&] { return static_cast<double>(random() % (2 * static_cast<unsigned>(largest) + 1)) - largest; });
}

// Nearly one-dimensional, far from the origin: 99 % of the variance along one direction.
template <class T>
Tensor<T> collapsed(std::int64_t rows, std::int64_t D, Random& random) {
  std::normal_distribution<double> normal;
  Tensor<T> tensor = Tensor<T>::empty({rows, D});
  for (std::int64_t r = 0; r < rows; ++r) {
    const double along = 0.15 * normal(random);
    for (std::int64_t i = 0; i < D; ++i)
      tensor.data()[r * D + i] =
          static_cast<T>((0.42 + (i % 2 ? along : -along)) / std::sqrt(static_cast<double>(D)) + 2e-4 * normal(random));
  }
  return tensor;
}

template <class T>
Tensor<T> clustered(std::int64_t rows, std::int64_t D, std::uint64_t seed, Random& random) {
  Random centres(seed);
  const Tensor<T> centre = gaussian<T>(12, D, centres, 2);
  Tensor<T> tensor = gaussian<T>(rows, D, random, 0.05);
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto c = static_cast<std::int64_t>(random() % 12);
    for (std::int64_t i = 0; i < D; ++i) tensor.data()[r * D + i] += centre.data()[c * D + i];
  }
  return tensor;
}

}  // namespace cuttle_test
