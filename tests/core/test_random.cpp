#include "cuttle/core/random.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include "cuttle/backend/cpu_random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/every_isa.hpp"

using namespace cuttle;

namespace {

constexpr double pi = 3.14159265358979323846;

// |actual - expected| in units of the last place of the float nearest to `expected`.
double ulps(float actual, double expected) {
  const float nearest = std::fabs(static_cast<float>(expected));
  return std::fabs(actual - expected) / (static_cast<double>(std::nextafter(nearest, 1e30f)) - nearest);
}

// Pearson's statistic of equally likely cells, as standard deviations from what is expected of it.
double chi_square_excess(std::span<const std::int64_t> counts) {
  const auto cells = static_cast<double>(counts.size());
  const double each = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})) / cells;
  double sum = 0;
  for (std::int64_t count : counts)
    sum += (static_cast<double>(count) - each) * (static_cast<double>(count) - each) / each;
  return (sum - (cells - 1)) / std::sqrt(2 * (cells - 1));
}

std::uint64_t checksum(std::span<const float> values) {  // FNV-1a over the bits
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (float value : values) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    for (int byte = 0; byte < 4; ++byte) hash = (hash ^ (bits >> 8 * byte & 0xFFu)) * 0x100000001B3u;
  }
  return hash;
}

std::vector<float> normals(std::size_t n, std::uint64_t seed, std::uint64_t stream, std::uint64_t first = 0) {
  std::vector<float> values(n);
  cpu::fill_normal(values, seed, stream, first);
  return values;
}

}  // namespace

TEST_CASE("philox4x32-10 gives the known answers of Random123") {
  struct Known {
    seam::PhiloxBlock counter;
    std::uint32_t key[2];
    std::uint32_t answer[4];
  };
  const Known known[] = {{{{0, 0, 0, 0}}, {0, 0}, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
                         {{{~0u, ~0u, ~0u, ~0u}}, {~0u, ~0u}, {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
                         {{{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}},
                          {0xa4093822u, 0x299f31d0u},
                          {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}}};
  for (const Known& k : known) {
    const seam::PhiloxBlock block = seam::philox4x32(k.counter, k.key[0], k.key[1]);
    for (int i = 0; i < 4; ++i) CHECK(block.word[i] == k.answer[i]);
  }
  // The same third answer through the naming: seed is the key, (block, stream) the counter.
  const std::uint64_t seed = 0x299f31d0a4093822u, stream = 0x0370734413198a2eu, block = 0x85a308d3243f6a88u;
  for (std::uint64_t i = 0; i < 4; ++i) CHECK(seam::random_block(seed, stream, block).word[i] == known[2].answer[i]);
  CHECK(random_word(seed, 5, 4 * 77 + 2) == seam::random_block(seed, 5, 77).word[2]);
  CHECK(seam::random_word_pair(seed, 5, 2 * 77 + 1) ==
        (std::uint64_t{random_word(seed, 5, 4 * 77 + 2)} << 32 | random_word(seed, 5, 4 * 77 + 3)));
  static_assert(seam::philox4x32({{0, 0, 0, 0}}, 0, 0).word[0] == 0x6627e8d5u);
}

TEST_CASE("uniforms are in [0, 1), on their grid, and uniform") {
  std::vector<std::int64_t> cells(64), double_cells(64);
  const std::uint64_t n = 64 * 1000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const float u = random_uniform(3, 1, i);
    const double d = random_uniform_double(3, 1, i);
    REQUIRE((u >= 0 && u < 1 && d >= 0 && d < 1));
    REQUIRE(u * 0x1p24f == std::floor(u * 0x1p24f));
    REQUIRE(d * 0x1p53 == std::floor(d * 0x1p53));
    ++cells[static_cast<std::size_t>(u * 64)];
    ++double_cells[static_cast<std::size_t>(d * 64)];
  }
  CHECK(std::abs(chi_square_excess(cells)) < 5);
  CHECK(std::abs(chi_square_excess(double_cells)) < 5);
  // 53 bits and not 24 or 32: somewhere the low bits are set.
  bool fine = false;
  for (std::uint64_t i = 0; i < 64; ++i)
    fine |= random_uniform_double(3, 1, i) * 0x1p40 != std::floor(random_uniform_double(3, 1, i) * 0x1p40);
  CHECK(fine);
}

TEST_CASE("random_below is the high part of a 64-bit product, and uniform") {
  for (std::uint32_t n : {1u, 2u, 3u, 7u, 33u, 129u, 515u, 0x80000001u, 0xFFFFFFFFu})
    for (std::uint64_t i = 0; i < 200; ++i) {
      const unsigned __int128 product = static_cast<unsigned __int128>(seam::random_word_pair(11, 2, i)) * n;
      REQUIRE(random_below(n, 11, 2, i) == static_cast<std::uint32_t>(product >> 64));
    }
  std::vector<std::int64_t> counts(33);
  for (std::uint64_t i = 0; i < 33'000; ++i) ++counts[random_below(33, 11, 3, i)];
  CHECK(std::abs(chi_square_excess(counts)) < 5);
}

TEST_CASE("numbers of neighbouring seeds, streams and indices are unrelated") {
  double product[3] = {};
  const std::uint64_t n = 20'000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double x = random_uniform(8, 4, i) - .5;
    product[0] += x * (random_uniform(9, 4, i) - .5);
    product[1] += x * (random_uniform(8, 5, i) - .5);
    product[2] += x * (random_uniform(8, 4, i + 1) - .5);
  }
  for (double sum : product) CHECK(std::abs(sum) < 5 * std::sqrt(static_cast<double>(n)) / 12);
}

TEST_CASE("logarithm, cosine and sine are accurate to the last places") {
  double log_error = 0, cosine_error = 0, sine_error = 0;
  const auto try_log = [&](float u) {
    if (u < 1) log_error = std::max(log_error, ulps(detail::one_lane::natural_log(u), std::log(double{u})));
  };
  for (std::uint64_t i = 0; i < 300'000; ++i) {
    const std::uint32_t word = random_word(1, 1, i);
    try_log(std::fma(static_cast<float>(word >> 1), 0x1p-31f, 0x1p-32f));
    try_log(1 - static_cast<float>(word >> 8) * 0x1p-30f);  // near 1, where the logarithm vanishes
    try_log(std::ldexp(1 + random_uniform(1, 2, i), -1 - static_cast<int>(word % 31)));
    float cosine, sine;
    detail::one_lane::cosine_sine(word, cosine, sine);
    cosine_error = std::max(cosine_error, ulps(cosine, std::cos(2 * pi * word * 0x1p-32)));
    sine_error = std::max(sine_error, ulps(sine, std::sin(2 * pi * word * 0x1p-32)));
  }
  CHECK(log_error < 1);
  CHECK(cosine_error < 2.5);
  CHECK(sine_error < 2.5);
  CHECK(detail::one_lane::natural_log(1.0f) == 0);
  const float quarters[4][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
  for (std::uint32_t q = 0; q < 4; ++q) {
    float cosine, sine;
    detail::one_lane::cosine_sine(q << 30, cosine, sine);
    CHECK(cosine == quarters[q][0]);
    CHECK(sine == quarters[q][1]);
  }
}

TEST_CASE("normals are the Box-Muller transform of their words") {
  for (std::uint64_t pair = 0; pair < 20'000; ++pair) {
    const double u = (random_word(5, 6, 2 * pair) / 2 + .5) * 0x1p-31;
    const double v = random_word(5, 6, 2 * pair + 1) * 0x1p-32;
    const double r = std::sqrt(-2 * std::log(u));
    REQUIRE(std::abs(random_normal(5, 6, 2 * pair) - r * std::cos(2 * pi * v)) < 1e-6 * std::max(1., r));
    REQUIRE(std::abs(random_normal(5, 6, 2 * pair + 1) - r * std::sin(2 * pi * v)) < 1e-6 * std::max(1., r));
  }
  // The extreme words: finite, and as far out as promised.
  for (std::uint32_t radius : {0u, 1u, 2u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu})
    for (std::uint32_t angle : {0u, 0x1FFFFFFFu, 0x20000000u, 0x7FFFFFFFu, 0xDFFFFFFFu, 0xE0000000u, 0xFFFFFFFFu}) {
      float first, second;
      detail::one_lane::box_muller(radius, angle, first, second);
      const double r = std::sqrt(-2 * std::log((radius / 2 + .5) * 0x1p-31));
      CHECK(std::abs(first - r * std::cos(2 * pi * angle * 0x1p-32)) < 4e-4);  // u is rounded to a float near 1
      CHECK(std::abs(second - r * std::sin(2 * pi * angle * 0x1p-32)) < 4e-4);
    }
}

TEST_CASE("normals follow the normal distribution") {
  const std::size_t n = 200'000;
  std::vector<float> x = normals(n, 2024, 7);
  const auto count = static_cast<double>(n);
  double moment[5] = {};
  for (double value : x)
    for (int k = 1; k <= 4; ++k) moment[k] += std::pow(value, k) / count;
  CHECK(std::abs(moment[1]) < 5 / std::sqrt(count));
  CHECK(std::abs(moment[2] - 1) < 5 * std::sqrt(2 / count));
  CHECK(std::abs(moment[3]) < 5 * std::sqrt(15 / count));
  CHECK(std::abs(moment[4] - 3) < 5 * std::sqrt(96 / count));
  double together = 0;  // the two of a pair are independent
  for (std::size_t i = 0; i < n; i += 2) together += double{x[i]} * x[i + 1];
  CHECK(std::abs(together) < 5 * std::sqrt(count / 2));
  for (double sigma : {2., 3., 4.}) {
    const double expected = std::erfc(sigma / std::sqrt(2.)) * count;
    const auto beyond =
        static_cast<double>(std::count_if(x.begin(), x.end(), [=](float v) { return std::abs(v) > sigma; }));
    CHECK(std::abs(beyond - expected) < 5 * std::sqrt(expected));
  }
  std::sort(x.begin(), x.end());
  double distance = 0;  // Kolmogorov-Smirnov
  for (std::size_t i = 0; i < n; ++i) {
    const double below = std::erfc(-x[i] / std::sqrt(2.)) / 2;
    distance = std::max({distance, below - static_cast<double>(i) / count, static_cast<double>(i + 1) / count - below});
  }
  CHECK(distance * std::sqrt(count) < 1.95);  // exceeded with probability 0.001
}

TEST_CASE("the bits of normals are what they always were") {
  CHECK(checksum(normals(4096, 1, 2)) == 0x68eb4387753ff85du);
  CHECK(checksum(normals(4096, 0xDEADBEEFCAFEF00Du, ~std::uint64_t{0}, std::uint64_t{1} << 40)) == 0xa3cd198c45ef7735u);
}

TEST_CASE("fill_normal gives random_normal's bits on every instruction set, wherever it starts") {
  cuttle_test::on_every_isa([] {
    for (std::size_t n : {0u, 1u, 2u, 3u, 33u, 129u, 515u})
      for (std::uint64_t first : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{6}, std::uint64_t{4095},
                                  (std::uint64_t{1} << 34) - 65, (std::uint64_t{1} << 60) + 3}) {
        std::vector<float> values(n + 2, -99.0f), expected(n + 2, -99.0f);
        cpu::fill_normal(std::span(values).subspan(1, n), 77, 88, first);
        for (std::size_t i = 0; i < n; ++i) expected[i + 1] = random_normal(77, 88, first + i);
        REQUIRE(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)) == 0);
      }
  });
}

TEST_CASE("random_permutation") {
  for (std::int64_t n : {0, 1, 2, 33, 515}) {
    std::vector<std::int64_t> order = random_permutation(n, 5, 6);
    CHECK(order == random_permutation(n, 5, 6));
    if (n > 2) CHECK(order != random_permutation(n, 5, 7));
    std::sort(order.begin(), order.end());
    std::vector<std::int64_t> all(static_cast<std::size_t>(n));
    std::iota(all.begin(), all.end(), 0);
    CHECK(order == all);
  }
  std::vector<std::int64_t> orders_of_four(24);
  for (std::uint64_t stream = 0; stream < 24'000; ++stream) {
    const std::vector<std::int64_t> order = random_permutation(4, 1, stream);
    std::int64_t rank = 0;
    for (int i = 0; i < 4; ++i) {
      const auto position = order.begin() + i;
      rank =
          rank * (4 - i) + std::count_if(position, order.end(), [&](std::int64_t later) { return later < *position; });
    }
    ++orders_of_four[static_cast<std::size_t>(rank)];
  }
  CHECK(std::abs(chi_square_excess(orders_of_four)) < 5);
  CHECK_THROWS_WITH(random_permutation(-1, 0, 0), "random_permutation: n must be in [0, 2^32), got -1");
}

TEST_CASE("random_subset") {
  for (auto [n, kept] :
       {std::pair<std::int64_t, std::int64_t>{0, 0}, {1, 0}, {1, 1}, {33, 33}, {515, 129}, {515, 514}}) {
    const std::vector<std::int64_t> subset = random_subset(n, kept, 5, 6);
    CHECK(std::ssize(subset) == kept);
    CHECK(std::adjacent_find(subset.begin(), subset.end(), std::greater_equal<>()) == subset.end());  // no repeats
    CHECK(std::all_of(subset.begin(), subset.end(), [n = n](std::int64_t i) { return i >= 0 && i < n; }));
    CHECK(subset == random_subset(n, kept, 5, 6));
  }
  CHECK(random_subset(515, 129, 5, 6) != random_subset(515, 129, 6, 6));
  std::vector<std::int64_t> pairs_of_five(10);
  const auto all_pairs = [] {
    std::vector<std::vector<std::int64_t>> pairs;
    for (std::int64_t i = 0; i < 5; ++i)
      for (std::int64_t j = i + 1; j < 5; ++j) pairs.push_back({i, j});
    return pairs;
  }();
  for (std::uint64_t stream = 0; stream < 10'000; ++stream) {
    const auto found = std::find(all_pairs.begin(), all_pairs.end(), random_subset(5, 2, 3, stream));
    REQUIRE(found != all_pairs.end());
    ++pairs_of_five[static_cast<std::size_t>(found - all_pairs.begin())];
  }
  CHECK(std::abs(chi_square_excess(pairs_of_five)) < 5);
  CHECK_THROWS_WITH(random_subset(3, 4, 0, 0), "random_subset: kept must be in [0, n = 3], got 4");
  CHECK_THROWS_WITH(random_subset(std::int64_t{1} << 32, 4, 0, 0),
                    "random_subset: n must be in [0, 2^32), got 4294967296");
}
