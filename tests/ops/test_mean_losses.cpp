// mean_squared_difference and binary_cross_entropy against their formulas in long double, on every device.
#include "cuttle/ops/mean_losses.hpp"

#include <cmath>
#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

namespace {

template <class T>
double ulp() {
  return std::is_same_v<T, float> ? 0x1p-24 : 0x1p-53;
}

template <class T>
void check_difference(std::int64_t n) {
  INFO("n " << n);
  const auto a = uniform_tensor<T>({n}, 1), b = uniform_tensor<T>({n}, 2);
  long double sum = 0;
  auto da = Tensor<double>::empty({n}), db = Tensor<double>::empty({n});
  for (std::int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]);
    sum += static_cast<long double>(d) * d;
    da.data()[i] = 3 * 2 * d / static_cast<double>(n);
    db.data()[i] = -da.data()[i];
  }
  const auto loss = Tensor<double>::full({1}, static_cast<double>(sum / n));
  on_every_device([&](Device device) {
    const auto x = a.to(device), y = b.to(device), dloss = Tensor<T>::full({1}, 3, device);
    CHECK_CLOSE(mean_squared_difference(x, y), loss, {100 * 0x1p-53 + ulp<T>(), 0});
    const auto g = mean_squared_difference_backward(x, y, dloss, true, true);
    CHECK_CLOSE(g.da, da, {4 * ulp<T>(), 0});
    CHECK_CLOSE(g.db, db, {4 * ulp<T>(), 0});
    CHECK(!mean_squared_difference_backward(x, y, dloss, true, false).db.defined());
    CHECK(!mean_squared_difference_backward(x, y, dloss, false, true).da.defined());
  });
}

// Labels from a tensor, or all the same where `label` is in [0, 1].
template <class T>
void check_cross_entropy(std::int64_t n, double label) {
  INFO("n " << n << ", label " << label);
  const auto logits = uniform_tensor<T>({n}, 3, -30, 30), labels = uniform_tensor<T>({n}, 4, 0, 1);
  long double sum = 0;
  auto dlogits = Tensor<double>::empty({n});
  for (std::int64_t i = 0; i < n; ++i) {
    const long double x = logits.data()[i], t = label < 0 ? static_cast<long double>(labels.data()[i]) : label;
    const long double s = 1 / (1 + std::exp(-x));
    sum += t * std::log1p(std::exp(-x)) + (1 - t) * std::log1p(std::exp(x));
    dlogits.data()[i] = static_cast<double>(3 * (s - t) / n);
  }
  const auto loss = Tensor<double>::full({1}, static_cast<double>(sum / n));
  on_every_device([&](Device device) {
    const auto x = logits.to(device), t = labels.to(device), dloss = Tensor<T>::full({1}, 3, device);
    const auto value = label < 0 ? binary_cross_entropy(x, t) : binary_cross_entropy(x, label);
    CHECK_CLOSE(value, loss, {200 * 0x1p-53 + ulp<T>(), 0});
    const auto g =
        label < 0 ? binary_cross_entropy_backward(x, t, dloss) : binary_cross_entropy_backward(x, label, dloss);
    CHECK_CLOSE(g, dlogits, {0, 8 * ulp<T>() * 3 / static_cast<double>(n)});
  });
}

}  // namespace

TEST_CASE("mean_squared_difference: values and gradients at odd sizes") {
  for (const std::int64_t n : {1, 33, 129, 515, 70001}) {
    check_difference<float>(n);
    check_difference<double>(n);
  }
  CHECK(gradcheck([](const std::vector<Var<double>>& v) { return mean_squared_difference(v[0], v[1]); },
                  {uniform_tensor<double>({3, 5}, 5), uniform_tensor<double>({3, 5}, 6)}) == "");
}

TEST_CASE("binary_cross_entropy: values and gradients, for a tensor of labels and for one") {
  for (const std::int64_t n : {1, 33, 129, 515, 9001})
    for (const double label : {-1.0, 0.0, 1.0, 0.9}) {
      check_cross_entropy<float>(n, label);
      check_cross_entropy<double>(n, label);
    }
  CHECK(gradcheck([](const std::vector<Var<double>>& v) { return binary_cross_entropy(v[0], 0.9); },
                  {uniform_tensor<double>({4, 1}, 7, -3, 3)}) == "");
  const auto labels = uniform_tensor<double>({4, 1}, 8, 0, 1);
  CHECK(gradcheck([&](const std::vector<Var<double>>& v) { return binary_cross_entropy(v[0], labels); },
                  {uniform_tensor<double>({4, 1}, 9, -3, 3)}) == "");
}

TEST_CASE("binary_cross_entropy: far logits neither overflow nor vanish") {
  on_every_device([](Device device) {
    const auto loss = [&](double logit, double label) {
      return binary_cross_entropy(Tensor<double>::full({1}, logit, device), label).item();
    };
    CHECK(loss(1000, 0) == 1000);
    CHECK(loss(1000, 1) == 0);
    CHECK(loss(-50, 0) == cuttle_test::Approx(std::exp(-50.0)).epsilon(1e-14).margin(0));
    CHECK(loss(0, 1) == cuttle_test::Approx(std::log(2.0)).epsilon(1e-15));
    CHECK(std::isnan(loss(std::nan(""), 1)));
  });
}

TEST_CASE("mean_squared_difference, binary_cross_entropy: the same bits for any number of threads") {
  const auto a = uniform_tensor<float>({100003}, 10), b = uniform_tensor<float>({100003}, 11);
  const int threads = num_threads();
  std::vector<float> losses;
  for (const int n : {1, 3}) {
    set_num_threads(n);
    losses.push_back(mean_squared_difference(a, b).item());
    losses.push_back(binary_cross_entropy(a, 1.0).item());
  }
  set_num_threads(threads);
  CHECK(losses[0] == losses[2]);
  CHECK(losses[1] == losses[3]);
}

TEST_CASE("mean_squared_difference, binary_cross_entropy: bad shapes are named") {
  const auto x = Tensor<float>::zeros({2, 3}), none = Tensor<float>::zeros({0});
  CHECK_THROWS_WITH(mean_squared_difference(x, Tensor<float>::zeros({3, 2})), cuttle_test::contains("[3, 2]"));
  CHECK_THROWS_WITH(mean_squared_difference(none, none), cuttle_test::contains("[0]"));
  CHECK_THROWS_WITH(binary_cross_entropy(x, Tensor<float>::zeros({2})), cuttle_test::contains("labels have shape [2]"));
  CHECK_THROWS_WITH(binary_cross_entropy(x, Tensor<float>()), cuttle_test::contains("undefined"));
  CHECK_THROWS_WITH(binary_cross_entropy(none, 1.0), cuttle_test::contains("no elements"));
}
