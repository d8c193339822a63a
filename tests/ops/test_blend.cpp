// blend and bernoulli_mask, on every device.
#include "cuttle/ops/blend.hpp"

#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "cuttle/core/graph.hpp"
#include "cuttle/core/random.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

TEST_CASE("blend: against the definition, the mask shared by the channels") {
  for (const Shape& shape : {Shape{1, 1}, Shape{33, 3}, Shape{2, 5, 7, 129}, Shape{515, 1}}) {
    INFO("shape " << shape);
    const std::int64_t C = shape[-1], N = shape.numel() / C;
    const auto a = uniform_tensor<float>(shape, 1), b = uniform_tensor<float>(shape, 2);
    Shape mask_shape;
    for (int i = 0; i + 1 < shape.rank(); ++i) mask_shape.push_back(shape[i]);
    mask_shape.push_back(1);
    const auto mask = uniform_tensor<float>(mask_shape, 3, 0, 1);
    auto y = Tensor<double>::empty(shape), da = Tensor<double>::empty(shape), db = Tensor<double>::empty(shape);
    for (std::int64_t n = 0; n < N; ++n)
      for (std::int64_t i = n * C; i < (n + 1) * C; ++i) {
        const double m = static_cast<double>(mask.data()[n]), p = static_cast<double>(a.data()[i]),
                     q = static_cast<double>(b.data()[i]);
        y.data()[i] = m * p + (1 - m) * q;
        da.data()[i] = m * p;
        db.data()[i] = (1 - m) * p;
      }
    on_every_device([&](Device device) {
      const auto m = mask.to(device), p = a.to(device);
      CHECK_CLOSE(blend(m, p, b.to(device)), y, {0, 3e-7});
      const auto both = blend_backward(m, p, true, true);
      CHECK_CLOSE(both.da, da, {0, 2e-7});
      CHECK_CLOSE(both.db, db, {0, 2e-7});
      CHECK(!blend_backward(m, p, true, false).db.defined());
      CHECK(!blend_backward(m, p, false, true).da.defined());
    });
  }
  CHECK(gradcheck(
            [](const std::vector<Var<double>>& v) {
              return blend(Tensor<double>::from({3, 1}, {0, 1, 0.25}), v[0], v[1]);
            },
            {uniform_tensor<double>({3, 2}, 4), uniform_tensor<double>({3, 2}, 5)}) == "");
}

TEST_CASE("bernoulli_mask: the named uniforms against p, the same bits on every device") {
  for (const std::int64_t n : {1, 33, 129, 515, 100003}) {
    auto expected = Tensor<float>::empty({n});
    std::int64_t ones = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      expected.data()[i] = random_uniform(7, 1000 + 5, static_cast<std::uint64_t>(i)) < 0.95f ? 1 : 0;
      ones += expected.data()[i] == 1;
    }
    // Five standard deviations of a share that is binomial.
    if (n > 100000) CHECK(std::abs(static_cast<double>(ones) / 100003 - 0.95) < 5 * std::sqrt(0.95 * 0.05 / 100003));
    on_every_device([&](Device device) {
      auto mask = Tensor<float>::empty({n}, device);
      bernoulli_mask(mask, 0.95, 7, 1000, 5);
      CHECK_CLOSE(mask, expected, {});
      auto replayed = Tensor<double>::empty({n}, device);
      auto state = Tensor<StepState>::empty({1});
      *state.data() = {5, 0};
      bernoulli_mask(replayed, 0.95, 7, 1000, state.to(device));
      CHECK_CLOSE(replayed, expected, {});
    });
  }
  auto mask = Tensor<float>::empty({1000});
  bernoulli_mask(mask, 0, 1, 2, 3);
  CHECK_CLOSE(mask, Tensor<float>::zeros({1000}), {});
  bernoulli_mask(mask, 1, 1, 2, 3);
  CHECK_CLOSE(mask, Tensor<float>::full({1000}, 1), {});
  auto other = Tensor<float>::empty({1000});
  bernoulli_mask(mask, 0.5, 1, 2, 3);
  bernoulli_mask(other, 0.5, 1, 2, 4);
  CHECK(cuttle_test::mismatch(mask, other, {}) != "");
}

TEST_CASE("bernoulli_mask: a replay draws the mask of the step that the state names") {
  on_every_device([](Device device) {
    if (device.is_cpu()) return;
    const Stream stream(device);
    const StreamScope scope(device, stream.get());
    auto mask = Tensor<float>::empty({129}, device), expected = mask.clone();
    auto state = Tensor<StepState>::empty({1}, device);
    const RecordedWork work(stream, [&] { bernoulli_mask(mask, 0.5, 3, 40, state); });
    for (std::int64_t step = 0; step < 5; ++step) {
      auto on_host = Tensor<StepState>::empty({1});
      *on_host.data() = {step, 0};
      state.copy_from(on_host);
      work.launch();
      bernoulli_mask(expected, 0.5, 3, 40, step);
      CHECK_CLOSE(mask, expected, {});
    }
  });
  CHECK(cuttle_test::every_device().front().is_cpu());
}

TEST_CASE("blend, bernoulli_mask: bad arguments are named") {
  const auto x = Tensor<float>::zeros({2, 3});
  CHECK_THROWS_WITH(blend(x, x, x), cuttle_test::contains("mask has shape [2, 3], expected [2, 1]"));
  CHECK_THROWS_WITH(blend(x, x, Tensor<float>::zeros({2, 2})), cuttle_test::contains("b [2, 2]"));
  auto mask = Tensor<float>::zeros({2});
  CHECK_THROWS_WITH(bernoulli_mask(mask, 1.5, 0, 0, 0), cuttle_test::contains("1.5"));
  CHECK_THROWS_WITH(bernoulli_mask(mask, 0.5, 0, 0, Tensor<StepState>()), cuttle_test::contains("state"));
}
