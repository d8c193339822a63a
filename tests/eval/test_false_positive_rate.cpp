// What few images say of a false-positive rate: special functions, intervals, and images that belong together.
#include "cuttle/eval/false_positive_rate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <random>
#include <vector>

#include "cuttle/eval/calibrate.hpp"
#include "tests/support/catch.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using cuttle_test::contains;

namespace {

double choose(int n, int k) {
  double product = 1;
  for (int i = 1; i <= k; ++i) product = product * (n - k + i) / i;
  return product;
}

// The probability that k of m further scores exceed the (j+1)-th largest of n, all n + m exchangeable without ties:
// of the C(n + m, n) ways to mix them the share with j of the n and k of the m above that score.
double chance(int k, int m, int j, int n) {
  return choose(k + j, j) * choose(m - k + n - j - 1, m - k) / choose(n + m, n);
}

FalsePositiveRate rate_of(int j, int n) { return {j + 1.0, static_cast<double>(n - j)}; }

}  // namespace

TEST_CASE("beta_cdf: sums of binomial probabilities, the arcsine law, powers") {
  for (const int n : {1, 2, 7, 40})
    for (int a = 1; a <= n; ++a)
      for (const double x : {1e-6, 0.01, 0.3, 0.5, 0.77, 0.999}) {
        double at_least = 0;
        for (int k = a; k <= n; ++k) at_least += choose(n, k) * std::pow(x, k) * std::pow(1 - x, n - k);
        INFO("n " << n << " a " << a << " x " << x);
        CHECK(beta_cdf(x, a, n - a + 1) == Approx(at_least).epsilon(1e-10));
      }
  for (const double x : {1e-9, 0.2, 0.5, 0.9}) {
    CHECK(beta_cdf(x, 0.5, 0.5) == Approx(2 / std::numbers::pi * std::asin(std::sqrt(x))).epsilon(1e-12));
    CHECK(beta_cdf(x, 3.25, 1) == Approx(std::pow(x, 3.25)).epsilon(1e-12));
    CHECK(beta_cdf(x, 12.5, 40.75) == Approx(1 - beta_cdf(1 - x, 40.75, 12.5)).epsilon(1e-12).margin(1e-14));
  }
  // Far out: a normal distribution.
  CHECK(beta_cdf(0.5, 1e6, 1e6) == Approx(0.5).epsilon(1e-9));
  CHECK(beta_cdf(0.5 + 1.959963984540054 / std::sqrt(4 * (2e6 + 1)), 1e6, 1e6) == Approx(0.975).epsilon(1e-6));
  CHECK(beta_cdf(-1, 2, 3) == 0);
  CHECK(beta_cdf(0, 2, 3) == 0);
  CHECK(beta_cdf(1, 2, 3) == 1);
  CHECK(beta_cdf(7, 2, 3) == 1);
  CHECK_THROWS_WITH(beta_cdf(0.5, 0, 1), contains("a is 0"));
  CHECK_THROWS_WITH(beta_cdf(0.5, 1, std::nan("")), contains("b nan"));
  CHECK_THROWS_WITH(beta_cdf(std::nan(""), 1, 1), contains("x is nan"));
}

TEST_CASE("beta_quantile and normal_quantile invert") {
  for (const double q : {1e-12, 0.025, 0.5, 0.975, 1 - 1e-6}) {
    CHECK(beta_quantile(q, 1, 20) == Approx(-std::expm1(std::log1p(-q) / 20)).epsilon(1e-9));
    CHECK(beta_quantile(q, 20, 1) == Approx(std::pow(q, 0.05)).epsilon(1e-9));
    CHECK(beta_cdf(beta_quantile(q, 3, 58), 3, 58) == Approx(q).epsilon(1e-9));
  }
  CHECK(beta_quantile(0, 2, 3) == 0);
  CHECK(beta_quantile(1, 2, 3) == Approx(1).epsilon(1e-4));
  CHECK_THROWS_WITH(beta_quantile(1.5, 2, 3), contains("probability is 1.5"));
  CHECK(normal_quantile(0.975) == Approx(1.959963984540054).epsilon(1e-14));
  CHECK(normal_quantile(0.5) == Approx(0).margin(1e-15));
  CHECK(normal_quantile(1e-10) == Approx(-6.361340902404056).epsilon(1e-12));
  CHECK_THROWS_WITH(normal_quantile(1), contains("probability is 1"));
}

TEST_CASE("FalsePositiveRate: expectation and interval are those of the order statistic") {
  CHECK(rate_of(2, 59).expected() == 3.0 / 60);
  CHECK(rate_of(0, 6).expected() == 1.0 / 7);
  const RateInterval interval = rate_of(0, 19).interval();
  CHECK(interval.low == Approx(1 - std::pow(0.975, 1.0 / 19)).epsilon(1e-10));
  CHECK(interval.high == Approx(1 - std::pow(0.025, 1.0 / 19)).epsilon(1e-10));
  CHECK_THROWS_WITH(rate_of(0, 19).interval(1), contains("confidence is 1"));
  CHECK_THROWS_WITH(rate_of(0, 19).prediction_interval(0), contains("images is 0"));
  CHECK_THROWS_WITH(rate_of(0, 19).prediction_interval(5, 0.9, 0.5), contains("design_effect is 0.5"));
}

TEST_CASE("prediction_interval: covers by enumeration of all ways to mix two samples, and no wider than it must be") {
  for (const int n : {1, 5, 19, 40})
    for (const int j : {0, 1, 3, 18})
      for (const int m : {1, 2, 17, 60})
        for (const double confidence : {0.5, 0.9, 0.95}) {
          if (j >= n) continue;
          INFO("n " << n << " j " << j << " m " << m << " confidence " << confidence);
          const RateInterval interval = rate_of(j, n).prediction_interval(m, confidence);
          const auto low = static_cast<int>(std::lround(interval.low * m));
          const auto high = static_cast<int>(std::lround(interval.high * m));
          CHECK(interval.low == static_cast<double>(low) / m);
          CHECK(interval.high == static_cast<double>(high) / m);
          double below = 0, above = 0, total = 0, expected = 0;
          for (int k = 0; k <= m; ++k) {
            total += chance(k, m, j, n);
            expected += k * chance(k, m, j, n) / m;
            if (k < low) below += chance(k, m, j, n);
            if (k > high) above += chance(k, m, j, n);
          }
          CHECK(total == Approx(1).epsilon(1e-10));
          CHECK(expected == Approx(rate_of(j, n).expected()).epsilon(1e-10));
          const double outside = (1 - confidence) / 2 + 1e-10;
          CHECK(below <= outside);
          CHECK(above <= outside);
          // One step further in on either side would leave too much out.
          CHECK(below + chance(low, m, j, n) > outside - 2e-10);
          CHECK(above + chance(high, m, j, n) > outside - 2e-10);
        }
}

TEST_CASE("prediction_interval: images that belong together count for fewer") {
  const FalsePositiveRate rate = rate_of(2, 59);
  CHECK(rate.prediction_interval(60, 0.95, 3) == rate.prediction_interval(20));
  CHECK(rate.prediction_interval(60, 0.95, 3.1) == rate.prediction_interval(19));
  CHECK(rate.prediction_interval(2, 0.95, 30) == rate.prediction_interval(1));
}

TEST_CASE("design_effect and group_sizes") {
  CHECK(group_sizes(std::vector<std::int64_t>{7, -1, 7, 7, 3, -1}) == std::vector<std::int64_t>{2, 1, 3});
  CHECK(design_effect(std::array<std::int64_t, 4>{1, 1, 1, 1}, 0.8) == 1);
  CHECK(design_effect(std::array<std::int64_t, 2>{6, 6}, 0.5) == 3.5);
  CHECK(design_effect(std::array<std::int64_t, 3>{1, 2, 3}, 1) == Approx(14.0 / 6).epsilon(1e-15));
  CHECK_THROWS_WITH(design_effect(std::array<std::int64_t, 1>{0}, 0.5), contains("a group has 0 images"));
  CHECK_THROWS_WITH(design_effect(std::array<std::int64_t, 1>{2}, 1.5), contains("rho is 1.5"));
  CHECK_THROWS_WITH(design_effect(std::vector<std::int64_t>{}, 0.5), contains("no groups"));
}

TEST_CASE("normal_scores: quantiles of ranks, of ties the mean rank, of increasing maps the same") {
  const double a = normal_quantile(0.6), b = normal_quantile(0.8);
  const std::vector<double> expected{-a, b, -b, a};
  const std::vector<double> found = normal_scores(std::array{2.0, 900.0, -7.0, 2.5});
  REQUIRE(found.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(found[i] == Approx(expected[i]).epsilon(1e-12));
  CHECK(normal_scores(std::array{0.2, 50.0, 0.1, 3.0}) == found);
  const std::vector<double> tied = normal_scores(std::array{5.0, 1.0, 5.0, 5.0});
  CHECK(tied[0] == Approx(normal_quantile(3.0 / 5)).epsilon(1e-12));
  CHECK(tied[2] == tied[0]);
  CHECK(tied[1] == Approx(-b).epsilon(1e-12));
  CHECK(normal_scores(std::vector<double>{}).empty());
}

TEST_CASE("intraclass_correlation: by hand, copies, opposites") {
  // {1, 2} and {3, 6}: means 1.5 and 4.5 about 3; between groups 2 * 2 * 1.5^2 = 9, within (0.5 + 4.5) / 2 = 2.5.
  const std::vector<std::int64_t> pairs{0, 0, 1, 1};
  CHECK(intraclass_correlation(std::array{1.0, 2.0, 3.0, 6.0}, pairs) == Approx(6.5 / 11.5).epsilon(1e-12));
  // {0, 0, 0, 1} and {1}: means 1/4, 1 about 2/5; between 4 * 0.15^2 + 0.6^2 = 0.45, within 0.75 / 3, and groups count
  // as 5 - 17/5 = 1.6 images each.
  CHECK(intraclass_correlation(std::array{0.0, 1.0, 0.0, 0.0, 1.0}, std::array<std::int64_t, 5>{8, 8, 8, 8, 2}) ==
        Approx(0.2 / (0.45 + 0.6 * 0.25)).epsilon(1e-12));
  CHECK(intraclass_correlation(std::array{2.0, 2.0, 5.0, 5.0}, pairs) == 1);
  CHECK(intraclass_correlation(std::array{1.0, 4.0, 2.0, 3.0}, pairs) == 0);
  CHECK(intraclass_correlation(std::array{3.0, 3.0, 3.0, 3.0}, pairs) == 0);
  CHECK(intraclass_correlation(std::array{3.0, 1.0, 2.0}, std::vector<std::int64_t>{5, 6, 7}) == 0);
  CHECK_THROWS_WITH(intraclass_correlation(std::array{3.0, 1.0}, std::vector<std::int64_t>{5, 5}),
                    contains("all 2 images belong to one group"));
  CHECK_THROWS_WITH(intraclass_correlation(std::array{3.0, 1.0}, std::vector<std::int64_t>{5}),
                    contains("1 groups for 2 values"));
}

TEST_CASE("exceedance_correlation: the orthant's arcsine, the ends, and what is counted") {
  for (const double r : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    CHECK(exceedance_correlation(r, 0.5) == Approx(2 / std::numbers::pi * std::asin(r)).epsilon(1e-9).margin(1e-15));
    CHECK(exceedance_correlation(r, 0.05) == Approx(exceedance_correlation(r, 0.95)).epsilon(1e-6).margin(1e-15));
  }
  for (const double rate : {0.001, 0.05, 0.3}) {
    CHECK(exceedance_correlation(0, rate) == 0);
    CHECK(exceedance_correlation(1, rate) == Approx(1).epsilon(1e-6));
  }
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  const double r = 0.7, rate = 0.1, z = normal_quantile(1 - rate);
  int both = 0;
  constexpr int pairs = 200000;
  for (int i = 0; i < pairs; ++i) {
    const double shared = std::sqrt(r) * normal(random);
    both += shared + std::sqrt(1 - r) * normal(random) > z && shared + std::sqrt(1 - r) * normal(random) > z;
  }
  CHECK(exceedance_correlation(r, rate) ==
        Approx((static_cast<double>(both) / pairs - rate * rate) / (rate * (1 - rate))).margin(0.02));
  CHECK_THROWS_WITH(exceedance_correlation(1.1, 0.5), contains("r is 1.1"));
}

namespace {

struct Part {
  std::vector<double> scores;
  std::vector<std::int64_t> groups;
};

// Groups of 1 to 6 images whose scores share a part of their variance; skewed, as scores are. A share `odd` of the
// groups scores high as a whole.
Part drawn(int groups, double shared, double odd, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  Part part;
  for (int g = 0; g < groups; ++g) {
    const double group = normal(random);
    const double more = std::uniform_real_distribution<double>()(random) < odd ? 9 : 0;
    for (std::uint64_t i = random() % 6 + 1; i > 0; --i) {
      part.scores.push_back(std::exp(more + 3 * (std::sqrt(shared) * group + std::sqrt(1 - shared) * normal(random))));
      part.groups.push_back(g);
    }
  }
  return part;
}

// The share of repetitions in which the observed rate lies in the interval, and the mean of observed - asked.
struct Coverage {
  double covered = 0, excess = 0;
};
Coverage coverage_of(double shared, bool groups_known, double rate, double odd = 0) {
  std::mt19937_64 random(11);
  Coverage coverage;
  constexpr int repetitions = 600;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    const Part first = drawn(30, shared, odd, random), second = drawn(30, shared, odd, random);
    const Calibration calibration =
        groups_known ? calibrate(first.scores, rate, first.groups) : calibrate(first.scores, rate);
    const auto& from = std::get<FromNormalImages>(calibration.from);
    const auto images = std::ssize(second.scores);
    const RateInterval interval = from.rate().prediction_interval(
        images, 0.95, groups_known ? design_effect(group_sizes(second.groups), from.correlation) : 1);
    const double observed = static_cast<double>(std::ranges::count_if(
                                second.scores, [&](double score) { return calibration.anomalous(score); })) /
                            static_cast<double>(images);
    coverage.covered += (interval.low <= observed && observed <= interval.high) / static_cast<double>(repetitions);
    coverage.excess += (observed - rate) / repetitions;
  }
  return coverage;
}

}  // namespace

TEST_CASE("groups: the interval covers what it says, which it does not where the groups are passed over") {
  for (const double shared : {0.0, 0.3, 0.6, 0.9}) {
    const Coverage known = coverage_of(shared, true, 0.1), passed_over = coverage_of(shared, false, 0.1);
    INFO("shared " << shared << ": " << known.covered << ", passed over " << passed_over.covered << ", excess "
                   << known.excess);
    CHECK(known.covered >= 0.93);
    CHECK(known.excess <= 0.01);
    if (shared >= 0.6) CHECK(passed_over.covered < 0.93);
  }
}

TEST_CASE("groups: a few parts that score high as a whole are seen where the correlation of all scores does not tell") {
  const Coverage known = coverage_of(0, true, 0.1, 0.1);
  INFO(known.covered << ", excess " << known.excess);
  CHECK(known.covered >= 0.93);
}
