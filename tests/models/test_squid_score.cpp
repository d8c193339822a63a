// SQUID's score: the formula, its ends, and the values of its authors.
#include "cuttle/models/squid_score.hpp"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "cuttle/io/safetensors.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::Approx;

TEST_CASE("LogitNormalisation: mean and population deviation") {
  const LogitNormalisation norm = LogitNormalisation::from(std::vector<double>{1, 2, 3, 6});
  CHECK(norm.mu == 3);
  CHECK(norm.sigma == Approx(std::sqrt(3.5)).epsilon(1e-15));  // (4 + 1 + 0 + 9) / 4
  CHECK(norm.z(3 - std::sqrt(3.5)) == Approx(-1).epsilon(1e-15));
  // A large common part is no spread.
  CHECK(LogitNormalisation::from(std::vector<double>{1e8 + 1, 1e8 + 3}).sigma == 1);
}

TEST_CASE("LogitNormalisation: the score is 1 - sigmoid(z), with all its digits towards 0") {
  const LogitNormalisation norm(2, 0.5);
  CHECK(norm.score(2) == 0.5);
  for (double z = -12; z <= 12; z += 0.37)
    CHECK(norm.score(2 + 0.5 * z) == Approx(1 - 1 / (1 + std::exp(-z))).epsilon(1e-10));
  CHECK(norm.score(2 + 0.5 * 100) == Approx(std::exp(-100)).epsilon(1e-14));  // 1 - sigmoid(100) is 0 in doubles
  CHECK(norm.score(2 + 0.5 * 1e6) == 0);
  CHECK(norm.score(2 - 0.5 * 1e6) == 1);
  // Falls strictly as the logit rises, from 30 deviations below the mean to 700 above.
  for (double z = -30; z < 700; z += 0.25) CHECK(norm.score(2 + 0.5 * z) > norm.score(2 + 0.5 * (z + 0.25)));
}

TEST_CASE("LogitNormalisation: logits that give no scale are refused") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(LogitNormalisation::from({}), "LogitNormalisation: no logits");
  CHECK_THROWS_WITH(
      LogitNormalisation::from(std::vector{0.1, 0.1, 0.1}),
      "LogitNormalisation: the logits of 3 normal images are all 0.1, but their spread is the scale of the "
      "score");
  CHECK_THROWS_AS(LogitNormalisation::from(std::vector{5.0}), Error);
  CHECK_THROWS_WITH(LogitNormalisation::from(std::vector{1.0, nan}), "LogitNormalisation: logit 1 is nan");
  for (const auto& [mu, sigma] : {std::pair{0.0, 0.0}, {0.0, -1.0}, {nan, 1.0}, {0.0, inf}})
    CHECK_THROWS_AS(LogitNormalisation(mu, sigma), Error);
}

TEST_CASE("LogitNormalisation: the authors' scores") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
  const auto stored = [&](const char* name) { return file.tensor_or_widen<double>(name); };
  const LogitNormalisation norm = LogitNormalisation::from(stored("score.train_logits").span());
  CHECK(norm.mu == Approx(stored("score.mu").item()).epsilon(3e-6));
  CHECK(norm.sigma == Approx(stored("score.sigma").item()).epsilon(3e-6));
  const auto logits = stored("score.test_logits");
  auto scores = Tensor<double>::empty(logits.shape());
  for (std::int64_t i = 0; i < logits.numel(); ++i) scores.data()[i] = norm.score(logits.data()[i]);
  CHECK_CLOSE(scores, stored("score.A"), {3e-6, 0});
}
