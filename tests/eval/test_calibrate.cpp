// Thresholds learnt from normal images, and the scale on which 0.5 is the cut.
#include "cuttle/eval/calibrate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <tuple>
#include <variant>
#include <vector>

#include "tests/support/catch.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using cuttle_test::contains;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// 0.5, 1.5, ... in an order that is not sorted.
std::vector<double> distinct_scores(int count) {
  std::vector<double> scores;
  for (int i = 0; i < count; ++i) scores.push_back((i * 8) % count + 0.5);
  return scores;
}

}  // namespace

TEST_CASE("calibrate: j scores lie above the threshold, j the most with (j+1)/(n+1) <= the asked rate") {
  for (const auto& [n, rate, above, kept] :
       {std::tuple(21, 0.0, 0, false), std::tuple(21, 0.04, 0, false), std::tuple(19, 0.05, 0, true),
        std::tuple(18, 0.05, 0, false), std::tuple(38, 0.05, 0, true), std::tuple(39, 0.05, 1, true),
        std::tuple(59, 0.05, 2, true), std::tuple(21, 0.1, 1, true), std::tuple(21, 0.5, 10, true),
        std::tuple(21, 0.99, 20, true), std::tuple(1, 0.5, 0, true), std::tuple(1, 0.4, 0, false)}) {
    const auto scores = distinct_scores(n);
    const Calibration calibration = calibrate(scores, rate);
    INFO("n " << n << " rate " << rate);
    CHECK(std::ranges::count_if(scores, [&](double score) { return calibration.anomalous(score); }) == above);
    const auto& from = std::get<FromNormalImages>(calibration.from);
    CHECK(from == FromNormalImages{n, n, above, rate, 0, 1});
    CHECK(from.rate().expected() == Approx((above + 1.0) / (n + 1)).epsilon(1e-15));
    CHECK(from.kept() == kept);
    calibration.check();
  }
  // Images that score the same are called the same.
  const std::array twins{0.25, 0.25, 0.25, 0.25};
  CHECK_FALSE(calibrate(twins, 0.5).anomalous(0.25));
  CHECK(calibrate(twins, 0.5).anomalous(std::nextafter(0.25, 1.0)));

  const auto scores = distinct_scores(21);
  CHECK_THROWS_WITH(calibrate(scores, 1), contains("false_positives is 1"));
  CHECK_THROWS_WITH(calibrate(scores, -0.1), contains("false_positives is -0.1"));
  CHECK_THROWS_WITH(calibrate(scores, std::nan("")), contains("false_positives is nan"));
  CHECK_THROWS_WITH(calibrate(std::vector<double>{}), contains("no scores"));
  CHECK_THROWS_WITH(calibrate(std::array{1.0, std::nan("")}), contains("score 1 is nan"));
  CHECK_THROWS_WITH(calibrate(std::array{infinity}), contains("score 0 is inf"));
  CHECK_THROWS_WITH(calibrate(scores, 0.1, std::vector<std::int64_t>(20)), contains("20 groups for 21 scores"));
  CHECK_THROWS_WITH(calibrate(scores, 0.1, std::vector<std::int64_t>(21)), contains("belong to one group"));
}

TEST_CASE("calibrate: copies of an image count as one") {
  // 20 images three times each: whatever is asked for, the promise is that of the 20.
  const auto single = distinct_scores(20);
  std::vector<double> copies;
  std::vector<std::int64_t> groups;
  for (std::size_t i = 0; i < 60; ++i) {
    copies.push_back(single[i % 20]);
    groups.push_back(static_cast<std::int64_t>(i % 20));
  }
  for (const double rate : {0.0, 0.04, 0.05, 0.1, 0.2, 0.5}) {
    const auto once = calibrate(single, rate), thrice = calibrate(copies, rate, groups);
    const auto& from = std::get<FromNormalImages>(thrice.from);
    INFO("rate " << rate);
    CHECK(from.groups == 20);
    CHECK(from.correlation == Approx(1).epsilon(1e-6));
    CHECK(from.design_effect == Approx(3).epsilon(1e-6));
    CHECK(thrice.threshold == once.threshold);
    // The last copies that would exceed the threshold are held back with the first of their group.
    CHECK(from.rate().expected() >= std::get<FromNormalImages>(once.from).rate().expected() * (1 - 1e-6));
    CHECK((from.kept() || from.above == 0));
  }
  // Groups of one change nothing.
  std::vector<std::int64_t> own(20);
  std::iota(own.begin(), own.end(), 5);
  CHECK(calibrate(single, 0.1, own) == calibrate(single, 0.1));
}

TEST_CASE("calibrate_labelled: the largest F1, half way between neighbours") {
  const std::array scores{0.5, 1.0, 2.0, 3.0, 3.5, 4.0, 9.0};
  const std::array<std::uint8_t, 7> labels{0, 0, 0, 1, 0, 1, 1};
  // At 3: TP 3, FP 1, F1 6/7; at 4: TP 2, FN 1, F1 4/5.
  const Calibration calibration = calibrate_labelled(scores, labels);
  CHECK(calibration.threshold == 2.5);
  CHECK(std::get<FromLabelledImages>(calibration.from) == FromLabelledImages{4, 3, 6.0 / 7});
  // Of the normal ones: 0.5, 1, 2, 3.5, whose mean is 1.75.
  CHECK(calibration.spread == Approx(std::sqrt((1.5625 + 0.5625 + 0.0625 + 3.0625) / 4)).epsilon(1e-14));
  calibration.check();

  // Nothing below the lowest that is called anomalous; neighbouring doubles; far apart.
  CHECK(calibrate_labelled(std::array{2.0, 2.0}, std::array<std::uint8_t, 2>{0, 1}).threshold == 2);
  const double next = std::nextafter(2.0, 3.0);
  CHECK(calibrate_labelled(std::array{2.0, next}, std::array<std::uint8_t, 2>{0, 1}).threshold == next);
  CHECK(calibrate_labelled(std::array{-1.5e308, 1.5e308}, std::array<std::uint8_t, 2>{0, 1}).threshold == 0);
  CHECK_THROWS_WITH(calibrate_labelled(std::array{1.0, 2.0}, std::array<std::uint8_t, 2>{0, 0}), contains("f1_max"));
  CHECK_THROWS_WITH(calibrate_labelled(std::array{1.0, infinity}, std::array<std::uint8_t, 2>{0, 1}),
                    contains("score 1 is inf"));
}

TEST_CASE("with_threshold: the scale stays") {
  const auto learnt = calibrate(distinct_scores(21), 0.1);
  CHECK(with_threshold(learnt, 7) == Calibration{7, learnt.spread});
  CHECK(with_threshold(std::nullopt, -3) == Calibration{-3, 3});
  CHECK(with_threshold(std::nullopt, 0) == Calibration{0, 1});
  CHECK_THROWS_WITH(with_threshold(learnt, infinity), contains("threshold is inf"));
}

TEST_CASE("Calibration: normalised scores rank as scores do, and 0.5 is the cut to the last bit") {
  for (const Calibration& calibration : {Calibration{3, 0.5}, Calibration{-1e-9, 1e12}, Calibration{1e200, 1e-200},
                                         Calibration{0.25, 1e-3}, Calibration{0, 1}}) {
    calibration.check();
    const double cut = calibration.threshold;
    CHECK(calibration.normalised(cut) == 0.5);
    CHECK(calibration.normalised(std::nextafter(cut, -infinity)) < 0.5);
    CHECK(calibration.normalised(std::nextafter(cut, infinity)) >= 0.5);
    double before = -1;
    for (int step = -40; step <= 40; ++step) {
      const double score = cut + calibration.spread * std::copysign(std::pow(2.0, std::abs(step) - 20.0), step);
      const double value = calibration.normalised(score);
      CHECK((value >= 0.5) == calibration.anomalous(score));
      CHECK(value >= before);
      CHECK((value >= 0 && value <= 1));
      before = value;
    }
    CHECK(calibration.normalised(infinity) == 1);
    CHECK(calibration.normalised(-infinity) == 0);
  }
  // Half a way up at one spread, and no tie between scores a million spreads apart.
  CHECK(Calibration{3, 2}.normalised(5) == 0.75);
  CHECK(Calibration{3, 2}.normalised(1) == 0.25);
  CHECK(Calibration{3, 1}.normalised(1e6) < Calibration{3, 1}.normalised(1e6 + 1));
}

TEST_CASE("calibrate: scores without spread still give a scale") {
  for (const double score : {0.0, 1e-305, 4.0, -2.0}) {
    const Calibration calibration = calibrate(std::array{score, score, score});
    CHECK(calibration.spread > 0);
    CHECK(std::isfinite(calibration.spread));
    CHECK(calibration.normalised(score) < 0.5);
    CHECK(calibration.normalised(score + 10) > 0.5);
  }
  // 1 .. 5: the population deviation is sqrt 2.
  std::vector<double> scores(5);
  std::iota(scores.begin(), scores.end(), 1);
  CHECK(calibrate(scores).spread == Approx(std::sqrt(2.0)).epsilon(1e-15));
}

TEST_CASE("Calibration: numbers that measure nothing are refused") {
  CHECK_THROWS_WITH((Calibration{std::nan(""), 1}.check()), contains("threshold is nan"));
  CHECK_THROWS_WITH((Calibration{1, 0}.check()), contains("spread is 0"));
  CHECK_THROWS_WITH((Calibration{1, -2}.check()), contains("spread is -2"));
  CHECK_THROWS_WITH((Calibration{1, infinity}.check()), contains("spread is inf"));
  CHECK_THROWS_WITH((Calibration{1, 1, FromNormalImages{5, 6, 0, 0.1, 0, 1}}.check()),
                    contains("5 images in 6 groups"));
  CHECK_THROWS_WITH((Calibration{1, 1, FromNormalImages{5, 5, 5, 0.1, 0, 1}}.check()), contains("above is 5 of 5"));
  CHECK_THROWS_WITH((Calibration{1, 1, FromNormalImages{5, 5, 0, 1, 0, 1}}.check()), contains("asked is 1"));
  CHECK_THROWS_WITH((Calibration{1, 1, FromNormalImages{5, 5, 0, 0.1, 2, 1}}.check()), contains("correlation is 2"));
  CHECK_THROWS_WITH((Calibration{1, 1, FromNormalImages{5, 5, 0, 0.1, 0, 9}}.check()), contains("design_effect is 9"));
  CHECK_THROWS_WITH((Calibration{1, 1, FromLabelledImages{0, 6, 0.5}}.check()), contains("0 normal"));
  CHECK_THROWS_WITH((Calibration{1, 1, FromLabelledImages{4, 6, 1.5}}.check()), contains("f1 is 1.5"));
}
