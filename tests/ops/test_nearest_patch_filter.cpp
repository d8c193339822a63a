// The bound of the fp16 filter (seam/nearest_patch_filter.hpp) against the worst that its assumptions allow: a search
// for a query and a row that is an answer and would be dropped, over data chosen to drive every rounding one way.
#include "cuttle/seam/nearest_patch_filter.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/support/catch.hpp"

namespace seam = cuttle::seam;

namespace {

using Random = std::mt19937_64;

double uniform(Random& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }
double sign(Random& random) { return random() % 2 ? 1 : -1; }

// The nearest fp16 value, ties to even; |x| <= 2^15.
double to_half(double x) {
  const float f = static_cast<float>(x);
  if (f == 0) return 0;
  const double ulp = std::max(0x1p-24, std::ldexp(1.0, std::ilogb(f) - 10));
  return std::nearbyint(static_cast<double>(f) / ulp) * ulp;
}

// x^ and its bounds for each of a set of points.
template <class T>
struct Rounded {
  std::int64_t dim;
  std::vector<double> values;  // (points, filter_dim(D))
  std::vector<seam::FilterBound<double>> bounds;
  std::vector<double> squared_norms;

  Rounded(const std::vector<T>& points, std::int64_t D, const std::vector<double>& centre, double scale)
      : dim(seam::filter_dim(D)) {
    for (std::size_t first = 0; first < points.size(); first += static_cast<std::size_t>(D)) {
      double squared_norm = 0, squared_residual = 0;
      for (std::int64_t i = 0; i < dim; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double value = i < D ? scale * (static_cast<double>(points[first + at]) - centre[at]) : 0;
        const double kept = to_half(std::clamp(value, -seam::filter_largest, seam::filter_largest));
        values.push_back(kept);
        squared_norm = std::fma(kept, kept, squared_norm);
        squared_residual = std::fma(value - kept, value - kept, squared_residual);
      }
      const double norm = seam::norm_bound(squared_norm);
      squared_norms.push_back(squared_norm);
      bounds.push_back({norm, seam::residual_bound(squared_residual, norm)});
    }
  }
  const double* at(std::size_t point) const { return values.data() + point * static_cast<std::size_t>(dim); }
};

// The least that a tensor core may find for v(x, y) if each of its steps is off by all of its claimed error.
double least_computed(const double* x, const double* y, double squared_norm, std::int64_t dim, double mma_error) {
  float sum = static_cast<float>(-0.5 * squared_norm);
  for (std::int64_t first = 0; first < dim; first += seam::filter_step) {
    double exact = static_cast<double>(sum), magnitude = std::abs(exact);
    for (std::int64_t i = first; i < first + seam::filter_step; ++i) {
      exact += x[i] * y[i];
      magnitude += std::abs(x[i] * y[i]);
    }
    const double least = exact - mma_error * static_cast<double>(seam::filter_step) * 0x1p-24 * magnitude;
    sum = static_cast<float>(least);
    if (static_cast<double>(sum) < least) sum = std::nextafter(sum, std::numeric_limits<float>::infinity());
  }
  return static_cast<double>(sum);
}

constexpr int kinds = 10;

// Queries and rows (points, D) of one kind; x and y of a pair are made together where the kind asks for it.
template <class T>
void fill(int kind, std::int64_t D, std::vector<T>& queries, std::vector<T>& rows, Random& random) {
  std::normal_distribution<double> normal;
  const auto spread = [&](std::vector<T>& points, auto&& value) {
    for (std::size_t at = 0; at < points.size(); ++at) points[at] = static_cast<T>(value(at));
  };
  const auto n = static_cast<std::size_t>(D);
  // Rows come as y, -y, so that their mean is 0, and what is rounded is the number itself up to a power of two.
  const auto mirror = [&] {
    for (std::size_t r = 0; r + 2 * n <= rows.size(); r += 2 * n)
      for (std::size_t i = 0; i < n; ++i) rows[r + n + i] = -rows[r + i];
  };
  const double midpoint = 0x1p-11 + 0x1p-22, below = 0x1p-11 - 0x1p-22;  // of fp16's steps in [1/2, 1), and a bit more
  switch (kind) {
    case 0:
      spread(queries, [&](std::size_t) { return normal(random); });
      spread(rows, [&](std::size_t) { return normal(random); });
      break;
    case 1:  // near ties, and queries that are rows
      spread(rows, [&](std::size_t) { return normal(random); });
      spread(queries, [&](std::size_t at) {
        const double y = static_cast<double>(rows[at % rows.size()]);
        return random() % 4 ? y * (1 + 0x1p-20 * normal(random)) : y;
      });
      break;
    case 2:  // sums that cancel: large products of both signs
      spread(rows, [&](std::size_t at) { return (at % n % 2 ? 1 : -1) * (1 - 0x1p-10 * uniform(random)); });
      spread(queries, [&](std::size_t) { return 30 * (1 + 0x1p-9 * uniform(random)); });
      mirror();
      break;
    case 3:  // queries round away from the rows and rows away from the queries, by half a step each, all along one line
      spread(rows, [&](std::size_t at) { return 0.5 + below + 0x1p-10 * static_cast<double>(at / n % 256); });
      spread(queries, [&](std::size_t at) { return 0.5 + midpoint + 0x1p-10 * static_cast<double>(at / n % 256); });
      mirror();
      rows[0] = T(0.999);
      if (n < rows.size()) rows[n] = -rows[0];
      break;
    case 4:  // norms from large to tiny
      spread(rows, [&](std::size_t at) { return std::ldexp(normal(random), -static_cast<int>(at / n % 24)); });
      spread(queries, [&](std::size_t at) { return std::ldexp(normal(random), 6 - static_cast<int>(at / n % 30)); });
      break;
    case 5:  // fp16's subnormals
      spread(rows, [&](std::size_t) { return 0x1p-25 * static_cast<double>(random() % 9); });
      spread(queries, [&](std::size_t) { return sign(random) * 0x1p-25 * static_cast<double>(random() % 9); });
      mirror();
      rows[0] = T(0.75);
      if (n < rows.size()) rows[n] = T(-0.75);
      break;
    case 6:  // at and past the largest value that is kept
      spread(rows, [&](std::size_t) { return normal(random); });
      spread(queries, [&](std::size_t) { return std::ldexp(normal(random), static_cast<int>(random() % 8) + 14); });
      break;
    case 7:  // nearly one-dimensional, far from the origin
      for (std::vector<T>* points : {&queries, &rows}) {
        double along = 0;
        spread(*points, [&](std::size_t at) {
          if (at % n == 0) along = 0.15 * normal(random);
          return 100 + along + 1e-5 * normal(random);
        });
      }
      break;
    case 8:  // exact in fp16, queries near the centre: nothing but the tensor core's own error
      spread(rows, [&](std::size_t) { return sign(random) * (0.5 + 0x1p-11 * static_cast<double>(random() % 1024)); });
      spread(queries, [&](std::size_t) { return sign(random) * 0x1p-10; });
      mirror();
      break;
    default:  // on half steps of every size
      spread(rows, [&](std::size_t) {
        return sign(random) *
               std::ldexp(1025.5 + static_cast<double>(random() % 1000), -11 - static_cast<int>(random() % 9));
      });
      spread(queries, [&](std::size_t) {
        return sign(random) *
               std::ldexp(1025.5 + static_cast<double>(random() % 1000), -10 - static_cast<int>(random() % 9));
      });
      mirror();
  }
}

struct Found {
  std::int64_t pairs = 0, violations = 0;
  std::int64_t by_less_residual = 0, by_less_error = 0, by_less_reach = 0;  // with a bound that leaves something out
};

template <class T>
void search(int kind, std::int64_t D, std::size_t points, double magnitude, double mma_error, Random& random,
            Found& found) {
  const auto n = static_cast<std::size_t>(D);
  std::vector<T> queries(points * n), rows(points * n);
  fill(kind, D, queries, rows, random);
  for (std::vector<T>* all : {&queries, &rows})
    for (T& x : *all) x = static_cast<T>(static_cast<double>(x) * magnitude);
  std::vector<double> centre(n);
  double spread = 0;
  for (std::size_t at = 0; at < rows.size(); ++at) centre[at % n] += static_cast<double>(rows[at]);
  for (double& c : centre) c /= static_cast<double>(points);
  for (std::size_t at = 0; at < rows.size(); ++at)
    spread = std::max(spread, std::abs(static_cast<double>(rows[at]) - centre[at % n]));
  if (!(spread > 0)) return;
  int exponent = 0;
  std::frexp(spread, &exponent);
  const double scale = std::ldexp(1.0, -exponent), gamma = seam::filter_gamma(mma_error, D);
  const Rounded<T> x(queries, D, centre, scale), y(rows, D, centre, scale);
  for (std::size_t q = 0; q < points; ++q)
    for (std::size_t r = 0; r < points; ++r) {
      double squared = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double difference = static_cast<double>(queries[q * n + i]) - static_cast<double>(rows[r * n + i]);
        squared = std::fma(difference, difference, squared);
      }
      // Were this row the k-th best so far, its block would have to be ranked.
      const double v = least_computed(x.at(q), y.at(r), y.squared_norms[r], x.dim, mma_error);
      const double reach = seam::filter_reach(scale, squared);
      const seam::FilterBound<double> query = x.bounds[q],
                                      row{static_cast<double>(seam::round_up(y.bounds[r].norm)),
                                          static_cast<double>(seam::round_up(y.bounds[r].residual))};
      ++found.pairs;
      found.violations += v < seam::least_value(reach, query, row, gamma);
      found.by_less_residual +=
          v < seam::least_value(reach, {query.norm, 0.99 * query.residual}, {row.norm, 0.99 * row.residual}, gamma);
      found.by_less_error += v < seam::least_value(reach, query, row, 0.97 * gamma);
      found.by_less_reach += v < seam::least_value(0.9999 * reach, query, row, gamma);
    }
}

}  // namespace

TEST_CASE("nearest_patch_filter: no answer is dropped, at the limit of every rounding", "[nearest_patch]") {
  Random random(31);
  Found found;
  for (const std::int64_t D : {1, 2, 3, 15, 16, 17, 33, 64})
    for (int kind = 0; kind < kinds; ++kind)
      for (const double magnitude : {1.0, 0x1p-100, 3e17}) {
        search<float>(kind, D, 192, magnitude, 4, random, found);
        search<double>(kind, D, 192, magnitude, kind % 2 ? 4 : 1, random, found);
      }
  for (const std::int64_t D : {515, 4096})
    for (int kind = 0; kind < kinds; ++kind) search<float>(kind, D, 24, 1, 4, random, found);
  CHECK(found.violations == 0);
  CHECK(found.pairs >= 10'000'000);
  // The pairs are adversarial enough for that to mean something.
  CHECK(found.by_less_residual > 0);
  CHECK(found.by_less_error > 0);
  CHECK(found.by_less_reach > 0);
}

TEST_CASE("nearest_patch_filter: sizes and roundings of the bounds", "[nearest_patch]") {
  CHECK(seam::filter_dim(1) == 16);
  CHECK(seam::filter_dim(16) == 16);
  CHECK(seam::filter_dim(17) == 32);
  CHECK(seam::filter_blocks(1) == 1);
  CHECK(seam::filter_blocks(128) == 1);
  CHECK(seam::filter_blocks(129) == 2);
  Random random(32);
  for (int i = 0; i < 10000; ++i) {
    const double x = std::ldexp(uniform(random), static_cast<int>(random() % 300) - 180);
    CHECK(static_cast<double>(seam::round_up(x)) >= x);
  }
  // The growth of errors that item 3 of the proof sums up: (1 + e)^n - 1 <= g + g^2.
  for (const std::int64_t D : {16, 64, 512, 4096})
    for (const double mma_error : {1.0, 4.0, 16.0}) {
      const double e = 16 * mma_error * 0x1p-24, steps = static_cast<double>(D / 16);
      CHECK(seam::filter_gamma(mma_error, D) > std::expm1(steps * std::log1p(e)) + 0x1p-23);
    }
}
