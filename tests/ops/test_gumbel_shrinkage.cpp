#include "cuttle/ops/gumbel_shrinkage.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "cuttle/io/safetensors.hpp"
#include "tests/ops/shrinkage_oracle.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::integer_tensor;
using cuttle_test::on_every_device;
using cuttle_test::Row;
using cuttle_test::uniform_tensor;

namespace {

const std::vector<Shrinkage> every_shrinkage{KeepAboveKth{},    KeepAboveKth{1},    KeepAboveKth{33},
                                             KeepAboveKth{600}, KeepK{1},           KeepK{4},
                                             KeepK{200},        HardThreshold{0.4}, NoShrinkage{}};

template <class T>
Row row_of(const Tensor<T>& x, std::int64_t r) {
  const T* first = x.data() + r * x.size(1);
  return Row(first, first + x.size(1));
}

template <class T>
Tensor<double> oracle(const Tensor<T>& scores, const Shrinkage& shrinkage) {
  auto weights = Tensor<double>::empty(scores.shape());
  for (std::int64_t r = 0; r < scores.size(0); ++r) {
    const Row row = cuttle_test::shrinkage_oracle(row_of(scores, r), shrinkage);
    std::copy(row.begin(), row.end(), weights.data() + r * scores.size(1));
  }
  return weights;
}

template <class T>
Tensor<double> gradient_oracle(const Tensor<T>& scores, const Tensor<T>& dweights, const Shrinkage& shrinkage) {
  auto dscores = Tensor<double>::empty(scores.shape());
  for (std::int64_t r = 0; r < scores.size(0); ++r) {
    const Row row = cuttle_test::shrinkage_gradient_oracle(row_of(scores, r), row_of(dweights, r), shrinkage);
    std::copy(row.begin(), row.end(), dscores.data() + r * scores.size(1));
  }
  return dscores;
}

template <class T>
Tensor<T> shrunk_on(Device device, const Tensor<T>& scores, const Shrinkage& shrinkage) {
  return gumbel_shrinkage(scores.to(device), shrinkage).to(Device::cpu());
}

template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.numel()) * sizeof(T)) == 0;
}

// Scores differ from their largest by less than 8, so exp's argument is off by at most 2^-22, and sums of up to 515
// terms in at least 8 parts by 70 roundings.
template <class T>
constexpr double tolerance = sizeof(T) == 4 ? 5e-6 : 1e-14;

// Moves scores off the kink of HardThreshold{0.4}.
template <class T>
void keep_off_kink(Tensor<T>& scores) {
  for (T& x : scores.span())
    if (std::abs(static_cast<double>(x) - 0.4) < 1e-2) x += static_cast<T>(0.05);
}

template <class T>
void check_against_oracle() {
  for (const std::int64_t M : {1, 5, 33, 64, 65, 129, 200, 256, 257, 515})
    for (const bool ties : {false, true}) {
      const std::int64_t R = M == 33 ? 37 : M == 200 ? 5 : 3;
      const auto seed = static_cast<std::uint64_t>(M);
      Tensor<T> scores = ties ? integer_tensor<T>({R, M}, seed) : uniform_tensor<T>({R, M}, seed, -4, 4);
      keep_off_kink(scores);
      const Tensor<T> dweights = uniform_tensor<T>({R, M}, seed + 1);
      for (std::size_t i = 0; i < every_shrinkage.size(); ++i) {
        const Shrinkage& shrinkage = every_shrinkage[i];
        INFO("M = " << M << ", ties " << ties << ", shrinkage " << i);
        const Tensor<double> weights = oracle(scores, shrinkage);
        const Tensor<double> dscores = gradient_oracle(scores, dweights, shrinkage);
        on_every_device([&](Device device) {
          CHECK_CLOSE(shrunk_on(device, scores, shrinkage), weights, {tolerance<T>, 0});
          // Central differences with a step of 1e-5 are good to a few 1e-10.
          CHECK_CLOSE(gumbel_shrinkage_backward(scores.to(device), dweights.to(device), shrinkage), dscores,
                      {tolerance<T>, cuttle_test::has_softmax(shrinkage) ? tolerance<T> : tolerance<T> + 1e-8});
        });
      }
    }
}

}  // namespace

TEST_CASE("gumbel_shrinkage: by hand, both meanings of k") {
  // y = 1 2 4 8 1 sixteenths
  const double one = 0, two = std::log(2.0), four = std::log(4.0), eight = std::log(8.0);
  const auto scores = Tensor<double>::from({1, 5}, {one, two, four, eight, one});
  const auto weights_are = [&](const Shrinkage& shrinkage, std::initializer_list<double> parts) {
    auto expected = Tensor<double>::from({1, 5}, parts);
    double sum = 0;
    for (double x : expected.span()) sum += x;
    if (sum > 0)
      for (double& x : expected.span()) x /= sum;
    on_every_device([&](Device device) {
      // epsilon / (y - lambda) < 2e-11
      CHECK_CLOSE(shrunk_on(device, scores, shrinkage), expected, {0, 2e-11});
    });
  };
  weights_are(KeepAboveKth{1}, {0, 0, 0, 0, 0});
  weights_are(KeepAboveKth{3}, {0, 0, 4, 8, 0});
  weights_are(KeepAboveKth{4}, {0, 2, 4, 8, 0});  // the tie at the 4th place keeps fewer ...
  weights_are(KeepAboveKth{5}, {0, 2, 4, 8, 0});  // ... and k = M cuts the smallest
  weights_are(KeepAboveKth{6}, {1, 2, 4, 8, 1});  // nothing is cut for k > M
  weights_are(KeepK{1}, {0, 0, 0, 8, 0});
  weights_are(KeepK{3}, {0, 2, 4, 8, 0});
  weights_are(KeepK{4}, {1, 2, 4, 8, 0});  // of two equal ones the lower slot
  weights_are(KeepK{5}, {1, 2, 4, 8, 1});
  weights_are(KeepK{77}, {1, 2, 4, 8, 1});
}

TEST_CASE("gumbel_shrinkage: odd lengths and ties against the definition in double") {
  SECTION("float") { check_against_oracle<float>(); }
  SECTION("double") { check_against_oracle<double>(); }
}

TEST_CASE("gumbel_shrinkage: rows of thousands of slots") {
  const auto scores = uniform_tensor<float>({2, 4096}, 7, -4, 4), dweights = uniform_tensor<float>({2, 4096}, 8);
  on_every_device([&](Device device) {
    for (const Shrinkage& shrinkage : {Shrinkage{KeepAboveKth{5}}, Shrinkage{KeepK{9}}})
      CHECK_CLOSE(shrunk_on(device, scores, shrinkage), oracle(scores, shrinkage), {2e-5, 0});
    CHECK_CLOSE(gumbel_shrinkage_backward(scores.to(device), dweights.to(device)),
                gradient_oracle(scores, dweights, KeepAboveKth{}), {2e-5, 0});
  });
  const auto longest = Tensor<double>::zeros({1, 8192});
  on_every_device([&](Device device) {
    CHECK(same_bits(shrunk_on(device, longest, KeepK{8192}), Tensor<double>::full({1, 8192}, 1.0 / 8192)));
    CHECK_CLOSE(gumbel_shrinkage_backward(longest.to(device), longest.to(device), KeepK{1}), longest, {0, 0});
  });
  CHECK_THROWS_WITH(gumbel_shrinkage(Tensor<float>::zeros({1, 8193})), cuttle_test::contains("M = 8193"));
}

TEST_CASE("gumbel_shrinkage: the same bits on every device where the arithmetic is exact") {
  // exp is 1 or 0, so that y is 0 or 1/n, and the kept share a power of two.
  for (const std::int64_t M : {5, 33, 200, 515}) {
    auto scores = integer_tensor<float>({6, M}, static_cast<std::uint64_t>(M), -1, 0);
    for (float& x : scores.span()) x *= 2000;
    for (std::int64_t r = 0; r < 6; ++r) scores.data()[r * M + (r * 7) % M] = 0;  // at least one
    for (std::int64_t i = 0; i < M; ++i) scores.data()[i] = 0;                    // all equal
    for (const Shrinkage& shrinkage : {Shrinkage{KeepK{1}}, Shrinkage{KeepK{2}}, Shrinkage{KeepAboveKth{1}},
                                       Shrinkage{KeepAboveKth{5}}, Shrinkage{NoShrinkage{}}}) {
      const Tensor<float> on_cpu = gumbel_shrinkage(scores, shrinkage);
      CHECK_CLOSE(on_cpu, oracle(scores, shrinkage), {1e-6, 0});
      on_every_device([&](Device device) { CHECK(same_bits(shrunk_on(device, scores, shrinkage), on_cpu)); });
    }
    // relu(a - 1) * a / (|a - 1| + 1e-12) is a in float for whole numbers above 1, and the sum is exact.
    const auto whole = integer_tensor<float>({6, M}, 3, -5, 9);
    const Tensor<float> on_cpu = gumbel_shrinkage(whole, HardThreshold{1});
    CHECK_CLOSE(on_cpu, oracle(whole, HardThreshold{1}), {1e-6, 0});
    on_every_device([&](Device device) { CHECK(same_bits(shrunk_on(device, whole, HardThreshold{1}), on_cpu)); });
  }
}

TEST_CASE("gumbel_shrinkage: rows that vanish are zero and keep the softmax's gradient") {
  const auto scores = Tensor<float>::from({3, 4}, {2, 2, 2, 2, 5, 5, 5, 1, 0, 0, 0, 0});
  const auto dweights = Tensor<float>::from({3, 4}, {1, 2, 3, 4, 1, 0, 0, 0, 0, 1, 0, 0});
  on_every_device([&](Device device) {
    CHECK(same_bits(shrunk_on(device, scores, KeepAboveKth{3}), Tensor<float>::zeros({3, 4})));
    const auto dscores = gumbel_shrinkage_backward(scores.to(device), dweights.to(device), KeepAboveKth{3});
    CHECK_CLOSE(dscores, gradient_oracle(scores, dweights, KeepAboveKth{3}), {1e-6, 0});
    CHECK_CLOSE(dscores.slice(0, 1), Tensor<float>::from({1, 4}, {-0.375f, -0.125f, 0.125f, 0.375f}), {0, 1e-7});
    // Below the threshold everywhere: zeros, and nothing to learn from.
    CHECK(same_bits(shrunk_on(device, scores, HardThreshold{5}), Tensor<float>::zeros({3, 4})));
    CHECK_CLOSE(gumbel_shrinkage_backward(scores.to(device), dweights.to(device), HardThreshold{5}),
                Tensor<float>::zeros({3, 4}), {0, 0});
  });
}

TEST_CASE("gumbel_shrinkage: NaN and infinities stay in their rows") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const std::int64_t M : {3, 70, 300}) {
    auto scores = uniform_tensor<float>({6, M}, 5);
    const auto row = [&](std::int64_t r) { return scores.data() + r * M; };
    row(1)[M - 1] = nan;
    row(2)[1] = infinity;
    std::fill_n(row(3), M, -infinity);
    row(4)[0] = -infinity;
    for (const Shrinkage& shrinkage : {Shrinkage{KeepAboveKth{2}}, Shrinkage{KeepK{2}}, Shrinkage{HardThreshold{0.1}}})
      on_every_device([&](Device device) {
        const auto weights = shrunk_on(device, scores, shrinkage);
        const auto dscores =
            gumbel_shrinkage_backward(scores.to(device), Tensor<float>::full({6, M}, 1).to(device), shrinkage)
                .to(Device::cpu());
        const bool soft = cuttle_test::has_softmax(shrinkage);
        for (std::int64_t r = 0; r < 6; ++r) {
          const bool bad = r == 1 || r == 2 || (r == 3 && soft);
          for (std::int64_t m = 0; m < M; ++m) {
            INFO("M " << M << ", row " << r << ", slot " << m);
            CHECK(std::isnan(weights.data()[r * M + m]) == bad);
            CHECK(std::isnan(dscores.data()[r * M + m]) == bad);
          }
        }
        CHECK(weights.data()[4 * M] == 0);
      });
  }
}

TEST_CASE("gumbel_shrinkage: the order of the slots means nothing") {
  const std::int64_t M = 77;
  const auto scores = uniform_tensor<double>({1, M}, 11, -3, 3);
  auto moved = scores.clone();
  for (std::int64_t m = 0; m < M; ++m) moved.data()[m * 5 % M] = scores.data()[m];
  for (const Shrinkage& shrinkage : every_shrinkage)
    on_every_device([&](Device device) {
      const auto weights = shrunk_on(device, scores, shrinkage), after = shrunk_on(device, moved, shrinkage);
      auto back = weights.clone();
      for (std::int64_t m = 0; m < M; ++m) back.data()[m] = after.data()[m * 5 % M];
      CHECK_CLOSE(back, weights, {1e-14, 0});
    });
}

TEST_CASE("gumbel_shrinkage: gradients of the tape") {
  auto scores = uniform_tensor<double>({3, 17}, 21);
  keep_off_kink(scores);
  for (const Shrinkage& shrinkage : {Shrinkage{HardThreshold{0.4}}, Shrinkage{NoShrinkage{}}, Shrinkage{KeepK{17}}})
    CHECK(gradcheck([&](const std::vector<Var<double>>& x) { return gumbel_shrinkage(x[0], shrinkage); }, {scores}) ==
          "");
  // Straight-through: as if nothing were cut.
  on_every_device([&](Device device) {
    Tape<double> tape;
    const Var<double> leaf = tape.leaf(scores.to(device));
    const Var<double> weights = gumbel_shrinkage(leaf);
    const auto dweights = uniform_tensor<double>({3, 17}, 22);
    tape.backward(tape.record(Tensor<double>::full({1}, 0, device), [&](Tape<double>& t, const Tensor<double>&) {
      t.add_grad(weights, dweights.to(device));
    }));
    CHECK_CLOSE(tape.grad(leaf), gradient_oracle(scores, dweights, KeepAboveKth{}), {1e-14, 0});
  });
}

TEST_CASE("gumbel_shrinkage: the number of threads changes nothing; no rows are no work") {
  const auto scores = uniform_tensor<float>({100, 129}, 31, -4, 4);
  const int before = num_threads();
  set_num_threads(1);
  const auto one = gumbel_shrinkage(scores);
  set_num_threads(3);
  const auto three = gumbel_shrinkage(scores);
  set_num_threads(before);
  CHECK(same_bits(one, three));
  on_every_device([&](Device device) {
    CHECK(gumbel_shrinkage(Tensor<float>::empty({0, 7}, device)).shape() == Shape{0, 7});
  });
}

TEST_CASE("gumbel_shrinkage: bad arguments are named") {
  using cuttle_test::contains;
  on_every_device([&](Device device) {
    const auto scores = Tensor<float>::zeros({2, 3}, device);
    CHECK_THROWS_WITH(gumbel_shrinkage(scores, KeepAboveKth{0}), contains("k must be at least 1, got 0"));
    CHECK_THROWS_WITH(gumbel_shrinkage(scores, KeepK{-1}), contains("gumbel_shrinkage: k must be"));
    CHECK_THROWS_WITH(gumbel_shrinkage(scores, HardThreshold{-0.5}), contains("lambda >= 0, got -0.5"));
    CHECK_THROWS_WITH(gumbel_shrinkage(scores, HardThreshold{std::nan("")}), contains("lambda >= 0"));
    CHECK_THROWS_WITH(gumbel_shrinkage(scores.reshape({6})), contains("expected (R,M)"));
    CHECK_THROWS_WITH(gumbel_shrinkage(Tensor<float>::zeros({2, 0}, device)), contains("M = 0"));
    CHECK_THROWS_WITH(gumbel_shrinkage_backward(scores, scores.reshape({3, 2})), contains("dweights [3, 2]"));
  });
  CHECK(same_bits(gumbel_shrinkage(uniform_tensor<float>({2, 3}, 1), HardThreshold{0}),
                  uniform_tensor<float>({2, 3}, 1)));
}

TEST_CASE("gumbel_shrinkage: tensors of the reference implementation") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
  const auto logits = file.tensor<float>("gumbel.logits"), upstream = file.tensor<float>("gumbel.upstream");
  const auto kept = file.tensor<std::int64_t>("gumbel.nonzero_count");
  on_every_device([&](Device device) {
    const auto weights = shrunk_on(device, logits, KeepAboveKth{5});
    CHECK_CLOSE(weights, file.tensor<float>("gumbel.out"), {2e-6, 0});
    for (std::int64_t r = 0; r < 16; ++r) {
      std::int64_t nonzero = 0;
      // The reference returns (h - y) + y, where an h of 1e-28 is lost.
      for (std::int64_t m = 0; m < 200; ++m) nonzero += weights.data()[r * 200 + m] > 1e-20f;
      INFO("row " << r);
      CHECK(nonzero == kept.data()[r]);
    }
    CHECK_CLOSE(gumbel_shrinkage_backward(logits.to(device), upstream.to(device)), file.tensor<float>("gumbel.grad"),
                {2e-6, 0});
    CHECK_CLOSE(shrunk_on(device, file.tensor<float>("hardshrink.x"), HardThreshold{0.0025}),
                file.tensor<float>("hardshrink.l1norm"), {2e-6, 0});
  });
}
