// Thresholds learnt from normal images, and the scale on which 0.5 is the cut.
#include "cuttle/eval/calibrate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
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

TEST_CASE("calibrate: at most the asked share of the normal images is called anomalous") {
  const auto scores = distinct_scores(21);
  for (const auto& [share, called] : {std::pair(0.0, 0), std::pair(0.04, 0), std::pair(0.05, 1), std::pair(0.1, 2),
                                      std::pair(0.5, 10), std::pair(0.99, 20)}) {
    const Calibration calibration = calibrate(scores, share);
    INFO("share " << share);
    CHECK(std::ranges::count_if(scores, [&](double score) { return calibration.anomalous(score); }) == called);
  }
  // Images that score the same are called the same.
  const std::array twins{0.25, 0.25, 0.25, 0.25};
  CHECK_FALSE(calibrate(twins, 0.5).anomalous(0.25));
  CHECK(calibrate(twins, 0.5).anomalous(std::nextafter(0.25, 1.0)));

  CHECK_THROWS_WITH(calibrate(scores, 1), contains("false_positives is 1"));
  CHECK_THROWS_WITH(calibrate(scores, -0.1), contains("false_positives is -0.1"));
  CHECK_THROWS_WITH(calibrate(std::vector<double>{}), contains("no scores"));
  CHECK_THROWS_WITH(calibrate(std::array{1.0, std::nan("")}), contains("score 1 is nan"));
  CHECK_THROWS_WITH(calibrate(std::array{infinity}), contains("score 0 is inf"));
}

TEST_CASE("Calibration: normalised scores rank as scores do, and 0.5 is the cut to the last bit") {
  for (const Calibration calibration : {Calibration{3, 0.5}, Calibration{-1e-9, 1e12}, Calibration{1e200, 1e-200},
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
}
