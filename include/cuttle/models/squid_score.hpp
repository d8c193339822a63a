// SQUID's score of an image from the discriminator's opinion of its reconstruction (Xiang et al., CVPR 2023).
#pragma once

#include <cmath>
#include <cstddef>
#include <span>

#include "cuttle/core/error.hpp"

namespace cuttle {

// score = 1 - sigmoid(z), z = (logit - mu) / sigma, with the mean and deviation of the logits of normal images.
//
// 1 - sigmoid(z) is sigmoid(-z), and computed so it keeps all its digits however small it is: towards 0, where images
// look normal, scores differ down to 1e-300. Towards 1 doubles lie 1e-16 apart, so that logits more than 36 deviations
// below the mean tie at 1. (In float, as the authors compute it, both ends tie beyond 17.) Should a discriminator go
// that far, -z ranks as the score does and has no end.
struct LogitNormalisation {
  double mu, sigma;

  LogitNormalisation(double mean, double deviation) : mu(mean), sigma(deviation) {
    require(std::isfinite(mu) && std::isfinite(sigma) && sigma > 0, "LogitNormalisation: mu is ", mu, " and sigma ",
            sigma, ", expected finite numbers and sigma above 0");
  }

  // Mean and population deviation of some logits. Logits without spread have no scale to judge others by: an error.
  static LogitNormalisation from(std::span<const double> logits) {
    require(!logits.empty(), "LogitNormalisation: no logits");
    const auto count = static_cast<double>(logits.size());
    double sum = 0, squares = 0;
    bool differ = false;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      require(std::isfinite(logits[i]), "LogitNormalisation: logit ", i, " is ", logits[i]);
      sum += logits[i];
      differ |= logits[i] != logits[0];
    }
    require(differ, "LogitNormalisation: the logits of ", logits.size(), " normal images are all ", logits[0],
            ", but their spread is the scale of the score");
    const double mean = sum / count;
    for (const double logit : logits) squares += (logit - mean) * (logit - mean);
    return {mean, std::sqrt(squares / count)};
  }

  double z(double logit) const noexcept { return (logit - mu) / sigma; }
  double score(double logit) const noexcept {
    const double small = std::exp(-std::abs(z(logit)));
    return (z(logit) < 0 ? 1 : small) / (1 + small);
  }
};

}  // namespace cuttle
