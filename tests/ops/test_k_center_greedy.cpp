// k_center_greedy, on every device, against the definition row by row.
#include "cuttle/ops/k_center_greedy.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cuttle/core/parallel.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/every_isa.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::integer_tensor;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

namespace {

template <class T>
double squared_distance(const Tensor<T>& rows, std::int64_t a, std::int64_t b) {
  double sum = 0;
  for (std::int64_t d = 0; d < rows.size(1); ++d) {
    const double x = static_cast<double>(rows.data()[a * rows.size(1) + d]);
    const double difference = x - static_cast<double>(rows.data()[b * rows.size(1) + d]);
    sum = std::fma(difference, difference, sum);
  }
  return sum;
}

// Every distance afresh for every choice.
template <class T>
Centres<T> by_definition(const Tensor<T>& rows, std::int64_t K, std::int64_t first) {
  Centres<T> centres{Tensor<std::int64_t>::full({K}, first), Tensor<T>::zeros({K})};
  std::vector<bool> chosen(static_cast<std::size_t>(rows.size(0)), false);
  for (std::int64_t j = 0; j < K; ++j) {
    chosen[static_cast<std::size_t>(centres.index.data()[j])] = true;
    double farthest = -1;
    for (std::int64_t n = 0; n < rows.size(0); ++n) {
      if (chosen[static_cast<std::size_t>(n)]) continue;
      double nearest = std::numeric_limits<double>::infinity();
      for (std::int64_t c = 0; c <= j; ++c)
        nearest = std::min(nearest, squared_distance(rows, n, centres.index.data()[c]));
      if (nearest <= farthest) continue;
      farthest = nearest;
      if (j + 1 < K) centres.index.data()[j + 1] = n;
    }
    centres.radius.data()[j] = static_cast<T>(std::sqrt(std::max(farthest, 0.0)));
  }
  return centres;
}

template <class T>
void check_by_definition(const Tensor<T>& rows, std::int64_t K, std::int64_t first) {
  INFO("rows " << rows.shape() << " K " << K << " first " << first);
  const Centres<T> expected = by_definition(rows, K, first);
  on_every_device([&](Device device) {
    const Centres<T> found = k_center_greedy(rows.to(device), K, first);
    CHECK_CLOSE(found.index, expected.index, {});
    CHECK_CLOSE(found.radius, expected.radius, {});
  });
}

// Three tight bunches far apart, in turn, so that most rows are not looked at again.
Tensor<float> bunches(std::int64_t N, std::int64_t D, float spread) {
  Tensor<float> rows = uniform_tensor<float>({N, D}, 4);
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t d = 0; d < D; ++d) {
      float& x = rows.data()[n * D + d];
      x = spread * x + (d % 3 == n % 3 ? 8.0f : 0.0f);
    }
  return rows;
}

}  // namespace

TEST_CASE("k_center_greedy: the definition, to the bit, in every shape") {
  check_by_definition(uniform_tensor<float>({1, 1}, 1), 1, 0);
  check_by_definition(uniform_tensor<float>({33, 1}, 1), 33, 32);
  check_by_definition(uniform_tensor<float>({129, 33}, 2), 17, 5);
  check_by_definition(uniform_tensor<double>({129, 17}, 3), 9, 128);
  check_by_definition(uniform_tensor<double>({515, 3}, 3), 20, 0);
  check_by_definition(bunches(515, 64, 0.01f), 40, 7);
  check_by_definition(bunches(260, 129, 1e-6f), 40, 0);
  check_by_definition(uniform_tensor<float>({3, 4096}, 6), 3, 1);
  // Several tiles of the CPU's, with rows that the triangle inequality leaves out, and without.
  check_by_definition(uniform_tensor<float>({2600, 16}, 7), 40, 2599);
  check_by_definition(bunches(2600, 6, 0.1f), 40, 1024);
}

TEST_CASE("k_center_greedy: ties go to the lowest index, and no row is chosen twice") {
  check_by_definition(integer_tensor<float>({515, 2}, 1, -2, 2), 60, 3);  // 25 different rows
  check_by_definition(integer_tensor<double>({130, 1}, 2, 0, 1), 130, 64);
  check_by_definition(integer_tensor<float>({2100, 3}, 3, -1, 1), 40, 1500);  // 27 different rows in three tiles
  check_by_definition(Tensor<float>::full({40, 5}, 2.5f), 40, 11);
  const auto centres = k_center_greedy(Tensor<float>::full({4, 2}, 1), 4, 2);
  CHECK_CLOSE(centres.index, Tensor<std::int64_t>::from({4}, {2, 0, 1, 3}), {});
  CHECK_CLOSE(centres.radius, Tensor<float>::zeros({4}), {});
}

TEST_CASE("k_center_greedy: magnitudes whose squares go under or over") {
  for (const double scale : {1e-170, 1e-155, 1e-100, 1e150, 1e155}) {
    auto rows = uniform_tensor<double>({129, 3}, 9);
    for (double& x : rows.span()) x *= scale;
    check_by_definition(rows, 20, 0);
  }
  for (const float scale : {1e-44f, 1e-38f, 1e-20f, 1e18f, 1e19f, 3e38f}) {
    auto rows = uniform_tensor<float>({300, 3}, 9);
    for (float& x : rows.span()) x *= scale;
    check_by_definition(rows, 20, 0);
  }
}

TEST_CASE("k_center_greedy: the same with every instruction set, near ties included") {
  // Distances that differ in the last digits of a float, or less.
  Tensor<float> rows = bunches(515, 33, 1);
  for (std::int64_t n = 100; n < 515; ++n) {
    std::copy_n(rows.data() + n % 100 * 33, 33, rows.data() + n * 33);
    float& x = rows.data()[n * 33 + n % 33];
    x = std::nextafter(x, 9.0f);
  }
  const auto expected = by_definition(rows, 120, 3);
  cuttle_test::on_every_isa([&] {
    const auto found = k_center_greedy(rows, 120, 3);
    CHECK_CLOSE(found.index, expected.index, {});
    CHECK_CLOSE(found.radius, expected.radius, {});
  });
}

TEST_CASE("k_center_greedy: the same at every number of threads, where there are several tiles") {
  const Tensor<float> rows = bunches(5000, 16, 0.5f);
  const int before = num_threads();
  set_num_threads(1);
  const auto one = k_center_greedy(rows, 300, 4321);
  set_num_threads(3);
  const auto three = k_center_greedy(rows, 300, 4321);
  set_num_threads(before);
  CHECK_CLOSE(one.index, three.index, {});
  CHECK_CLOSE(one.radius, three.radius, {});
  CHECK(std::is_sorted(one.radius.span().rbegin(), one.radius.span().rend()));
  for (const std::int64_t K : {1, 2, 7, 300}) {
    double farthest = 0;
    for (std::int64_t n = 0; n < 5000; ++n) {
      double nearest = std::numeric_limits<double>::infinity();
      for (std::int64_t c = 0; c < K; ++c) nearest = std::min(nearest, squared_distance(rows, n, one.index.data()[c]));
      farthest = std::max(farthest, nearest);
    }
    CHECK(one.radius.data()[K - 1] == static_cast<float>(std::sqrt(farthest)));
  }
}

TEST_CASE("k_center_greedy: at most twice the radius of the best K centres") {
  const std::int64_t N = 12, K = 3;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const auto rows = uniform_tensor<float>({N, 2}, seed);
    double best = std::numeric_limits<double>::infinity();
    for (std::int64_t a = 0; a < N; ++a)
      for (std::int64_t b = a + 1; b < N; ++b)
        for (std::int64_t c = b + 1; c < N; ++c) {
          double radius = 0;
          for (std::int64_t n = 0; n < N; ++n)
            radius = std::max(radius, std::min({squared_distance(rows, n, a), squared_distance(rows, n, b),
                                                squared_distance(rows, n, c)}));
          best = std::min(best, std::sqrt(radius));
        }
    const double radius = static_cast<double>(k_center_greedy(rows, K).radius.data()[K - 1]);
    CHECK(radius <= 2 * best);
    CHECK(radius >= best * (1 - 1e-6));
  }
}

TEST_CASE("k_center_greedy: what cannot be is named") {
  const auto rows = uniform_tensor<float>({5, 3}, 1);
  CHECK_THROWS_WITH(k_center_greedy(rows.reshape({15}), 1), contains("rows has shape [15]"));
  CHECK_THROWS_WITH(k_center_greedy(Tensor<float>::zeros({0, 3}), 1), contains("rows has shape [0, 3]"));
  CHECK_THROWS_WITH(k_center_greedy(Tensor<float>::zeros({3, 0}), 1), contains("rows of length 0"));
  CHECK_THROWS_WITH(k_center_greedy(Tensor<float>::zeros({1, 4097}), 1), contains("rows of length 4097"));
  CHECK_THROWS_WITH(k_center_greedy(rows, 0), contains("K is 0"));
  CHECK_THROWS_WITH(k_center_greedy(rows, 6), contains("K is 6, expected 1 to the number of rows 5"));
  CHECK_THROWS_WITH(k_center_greedy(rows, 1, 5), contains("first is 5"));
  CHECK_THROWS_WITH(k_center_greedy(rows, 1, -1), contains("first is -1"));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    on_every_device([&](Device device) {
      auto spoilt = rows.clone();
      spoilt.data()[3 * 3 + 1] = bad;
      CHECK_THROWS_WITH(k_center_greedy(spoilt.to(device), 2), contains("row 3 of rows [5, 3] holds"));
    });
}
