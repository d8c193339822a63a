// How well a false-positive rate is known that was learnt from a finite number of normal images.
//
// Of n exchangeable scores without ties let the threshold lie just above the (j+1)-th largest, so that j exceed it. The
// rate at which further scores exceed it is then Beta(j+1, n-j) distributed whatever the scores' own distribution is
// (an order statistic of uniforms; Wilks, Annals of Mathematical Statistics 12, 1941), with mean (j+1)/(n+1), and the
// number among m further images is beta-binomial. Ties make the rate smaller.
//
// Images that belong together, such as exposures of one part, are not exchangeable, their groups are. n images then
// count as n / deff, deff = 1 + (sum n_g^2 / n - 1) rho (Kish, Survey Sampling, 1965, section 5.4, with sizes that
// differ), rho the correlation of two images of one group in whether they exceed the threshold; so do the j among them,
// and the m. For groups of one image that is the exact distribution above, and it is for groups of s copies of one
// score where j is a multiple of s; between the two an approximation, which the tests try on simulated groups.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "cuttle/core/error.hpp"

namespace cuttle {

// The distribution function of Beta(a, b), a and b above 0, at x: the regularised incomplete beta function I_x(a, b),
// by its continued fraction (DLMF 8.17.22) in Lentz's way. Error: a or b is not above 0, x is NaN, or the fraction does
// not settle within 100,000 terms, which takes an a or b of 10^9.
inline double beta_cdf(double x, double a, double b) {
  require(std::isfinite(a) && std::isfinite(b) && a > 0 && b > 0, "beta_cdf: a is ", a, " and b ", b,
          ", expected numbers above 0");
  require(!std::isnan(x), "beta_cdf: x is nan");
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double log_beta = std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b);
  // I_x(a, b) where x lies below the mean or so, where the fraction settles soon.
  const auto below = [log_beta](double y, double p, double q) {
    constexpr double tiny = 1e-300;
    double numerators = 1, denominators = 0, fraction = 1;
    for (int k = 1; k <= 100000; ++k) {
      const double m = k / 2;
      const double term = k % 2 == 0 ? m * (q - m) * y / ((p + 2 * m - 1) * (p + 2 * m))
                                     : -(p + m) * (p + q + m) * y / ((p + 2 * m) * (p + 2 * m + 1));
      denominators = 1 + term * denominators;
      denominators = 1 / (std::abs(denominators) < tiny ? tiny : denominators);
      numerators = 1 + term / numerators;
      if (std::abs(numerators) < tiny) numerators = tiny;
      fraction *= numerators * denominators;
      if (std::abs(numerators * denominators - 1) < 1e-15)
        return std::min(std::exp(p * std::log(y) + q * std::log1p(-y) - log_beta) / p / fraction, 1.0);
    }
    throw Error(concat("beta_cdf: no value for ", p, " and ", q));
  };
  return x <= (a + 1) / (a + b + 2) ? below(x, a, b) : 1 - below(1 - x, b, a);
}

// The least x with beta_cdf(x, a, b) >= probability, which is 0 to 1, by halving.
inline double beta_quantile(double probability, double a, double b) {
  require(probability >= 0 && probability <= 1, "beta_quantile: probability is ", probability, ", expected 0 to 1");
  double low = 0, high = 1;
  if (probability == 0) return 0;
  for (;;) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) return high;
    (beta_cdf(middle, a, b) < probability ? low : high) = middle;
  }
}

// The inverse of the standard normal distribution function, probability above 0 and below 1, by halving.
inline double normal_quantile(double probability) {
  require(probability > 0 && probability < 1, "normal_quantile: probability is ", probability,
          ", expected one between 0 and 1");
  double low = -40, high = 40;
  for (;;) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) return high;
    (std::erfc(-middle / std::numbers::sqrt2) / 2 < probability ? low : high) = middle;
  }
}

// Two rates, as shares, between which one is said to lie.
struct RateInterval {
  double low = 0, high = 1;
  friend bool operator==(const RateInterval&, const RateInterval&) = default;
};

// What is known of a rate: that it is Beta(a, b) distributed.
struct FalsePositiveRate {
  double a = 1, b = 1;

  double expected() const { return a / (a + b); }

  // Holds the rate itself with the probability `confidence`, above 0 and below 1, as much of the rest on either side.
  RateInterval interval(double confidence = 0.95) const {
    const double outside = tail("interval", confidence);
    return {beta_quantile(outside, a, b), beta_quantile(1 - outside, a, b)};
  }

  // Holds the share of false alarms among `images` further normal images, at least 1, with at least that probability,
  // at most half of the rest on either side: beta-binomial. Where further images belong together theirs is the design
  // effect: they count as images / design_effect, rounded down.
  RateInterval prediction_interval(std::int64_t images, double confidence = 0.95, double design_effect = 1) const {
    const double outside = tail("prediction_interval", confidence);
    require(images >= 1, "FalsePositiveRate::prediction_interval: images is ", images);
    require(design_effect >= 1 && std::isfinite(design_effect),
            "FalsePositiveRate::prediction_interval: design_effect is ", design_effect, ", expected at least 1");
    const double m = std::max(1.0, std::floor(static_cast<double>(images) / design_effect));
    RateInterval found{0, 1};
    double below = 0;
    for (double k = 0; k <= m; ++k) {
      if (below <= outside) found.low = k / m;
      below += probability(k, m);
      if (1 - below <= outside) {
        found.high = k / m;
        break;
      }
    }
    return found;
  }

 private:
  static double tail(const char* where, double confidence) {
    require(confidence > 0 && confidence < 1, "FalsePositiveRate::", where, ": confidence is ", confidence,
            ", expected one between 0 and 1");
    return (1 - confidence) / 2;
  }
  // C(m,k) B(a+k, b+m-k) / B(a,b)
  double probability(double k, double m) const {
    const auto log_beta = [](double p, double q) { return std::lgamma(p) + std::lgamma(q) - std::lgamma(p + q); };
    return std::exp(log_beta(a + k, b + m - k) - log_beta(a, b) - std::log(m + 1) - log_beta(k + 1, m - k + 1));
  }
};

// The sizes of groups, in the order of their numbers; groups[i] is the group that image i belongs to.
inline std::vector<std::int64_t> group_sizes(std::span<const std::int64_t> groups) {
  std::map<std::int64_t, std::int64_t> count;
  for (const std::int64_t group : groups) ++count[group];
  std::vector<std::int64_t> sizes;
  for (const auto& [group, size] : count) sizes.push_back(size);
  return sizes;
}

// Kish's design effect of groups of these sizes, at least one, whose images correlate by rho, 0 to 1.
inline double design_effect(std::span<const std::int64_t> sizes, double rho) {
  require(rho >= 0 && rho <= 1, "design_effect: rho is ", rho, ", expected 0 to 1");
  double images = 0, squares = 0;
  for (const std::int64_t size : sizes) {
    require(size >= 1, "design_effect: a group has ", size, " images");
    images += static_cast<double>(size);
    squares += static_cast<double>(size) * static_cast<double>(size);
  }
  require(!sizes.empty(), "design_effect: no groups");
  return 1 + (squares / images - 1) * rho;
}

// The normal quantiles of the scores' ranks, rank / (n + 1), ties sharing their mean rank: no increasing map of the
// scores changes them.
inline std::vector<double> normal_scores(std::span<const double> scores) {
  const std::size_t n = scores.size();
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return scores[i] < scores[j]; });
  std::vector<double> values(n);
  for (std::size_t first = 0, last = 0; first < n; first = last) {
    while (last < n && scores[order[last]] == scores[order[first]]) ++last;
    const double rank = static_cast<double>(first + last + 1) / 2;
    const double value = normal_quantile(rank / static_cast<double>(n + 1));
    for (std::size_t i = first; i < last; ++i) values[order[i]] = value;
  }
  return values;
}

// How alike the values of one group are, 0 to 1: the intraclass correlation by the analysis of variance for groups that
// differ in size (Donner, International Statistical Review 54, 1986, section 2.1), negative ones taken as 0. 0 where
// every group has one image. Error: all images, more than one, are one group; another number of groups than values.
inline double intraclass_correlation(std::span<const double> values, std::span<const std::int64_t> groups) {
  const std::size_t n = values.size();
  require(groups.size() == n, "intraclass_correlation: ", groups.size(), " groups for ", n, " values");
  const std::vector<std::int64_t> sizes = group_sizes(groups);
  if (sizes.size() == n) return 0;
  require(sizes.size() >= 2, "all ", n, " images belong to one group, which says nothing of others");
  std::map<std::int64_t, std::pair<double, double>> sums;  // of a group: values, and how many
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) {
    sums[groups[i]].first += values[i];
    sums[groups[i]].second += 1;
    mean += values[i] / static_cast<double>(n);
  }
  double between = 0, within = 0, squares = 0;
  for (const auto& [group, sum] : sums) {
    between += sum.second * (sum.first / sum.second - mean) * (sum.first / sum.second - mean);
    squares += sum.second * sum.second;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const auto& sum = sums[groups[i]];
    within += (values[i] - sum.first / sum.second) * (values[i] - sum.first / sum.second);
  }
  const auto images = static_cast<double>(n), count = static_cast<double>(sizes.size());
  between /= count - 1;
  within /= images - count;
  const double size = (images - squares / images) / (count - 1);
  const double all = between + (size - 1) * within;
  return all > 0 ? std::clamp((between - within) / all, 0.0, 1.0) : 0;
}

// The correlation of whether two normal variables that correlate by r, 0 to 1, exceed the quantile that a share `rate`,
// above 0 and below 1, of each exceeds: (P(both) - rate^2) / (rate (1 - rate)), P(both) - rate^2 the integral of
// exp(-z^2 / (1 + sin t)) / 2 pi over t from 0 to arcsin r (Plackett, Biometrika 41, 1954), by Simpson's rule.
inline double exceedance_correlation(double r, double rate) {
  require(r >= 0 && r <= 1, "exceedance_correlation: r is ", r, ", expected 0 to 1");
  const double z = normal_quantile(1 - rate), end = std::asin(r);
  constexpr int steps = 256;
  double sum = 0;
  for (int i = 0; i <= steps; ++i)
    sum += (i == 0 || i == steps ? 1 : i % 2 ? 4 : 2) * std::exp(-z * z / (1 + std::sin(end * i / steps)));
  return std::clamp(sum * end / (3 * steps) / (2 * std::numbers::pi) / (rate * (1 - rate)), 0.0, 1.0);
}

}  // namespace cuttle
