#include <cmath>

#include "cuttle/nn/layers.hpp"
#include "cuttle/nn/optim.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::contains;

namespace {

double variance(const Tensor<double>& x) {
  double sum = 0;
  for (const double v : x.span()) sum += v * v;
  return sum / static_cast<double>(x.numel());
}

}  // namespace

TEST_CASE("Initializer: parameters to be read are no more than there is to read") {
  nn::Initializer init = nn::Initializer::to_be_read(3 * 3 * 5 * 7 + 7 + 4);
  nn::Conv2d<float> conv(5, 7, 3, {}, init);
  CHECK(conv.weight.value.shape() == Shape{7, 3, 3, 5});
  CHECK(init.uniform<float>({2, 2}, 1).numel() == 4);
  CHECK_THROWS_WITH(init.uniform<float>({1}, 1), contains("shape [1] cannot be among the 0 numbers"));
  const std::uint64_t held = pool_statistics().bytes_held;
  nn::Initializer small = nn::Initializer::to_be_read(1'000'000);
  CHECK_THROWS_WITH(nn::Linear<float>(1 << 20, 1 << 20, {}, small), contains("among the 1000000 numbers"));
  CHECK(pool_statistics().bytes_held == held);
}

TEST_CASE("Initializer: PyTorch's bounds and He's variances") {
  nn::Initializer pytorch(1);
  const auto weight = pytorch.weight<double>({64, 3, 3, 50}, 450, Activation::none, 0);
  const double bound = 1 / std::sqrt(450.0);
  double largest = 0;
  for (const double v : weight.span()) largest = std::max(largest, std::abs(v));
  CHECK(largest <= bound);
  CHECK(largest > 0.999 * bound);
  CHECK(variance(weight) == cuttle_test::Approx(bound * bound / 3).epsilon(0.03));
  CHECK(variance(pytorch.bias<double>(20000, 450)) == cuttle_test::Approx(bound * bound / 3).epsilon(0.03));

  nn::Initializer he(1, nn::Initializer::Scheme::he);
  CHECK(variance(he.weight<double>({64, 3, 3, 50}, 450, Activation::leaky_relu, 0.1)) ==
        cuttle_test::Approx(2 / (1.01 * 450)).epsilon(0.03));
  CHECK(variance(he.weight<double>({64, 3, 3, 50}, 450, Activation::tanh, 0)) ==
        cuttle_test::Approx(1.0 / 450).epsilon(0.03));
  CHECK(variance(he.bias<double>(100, 450)) == 0);
  // Each tensor has a stream of its own, and a seed names them all.
  CHECK(cuttle_test::mismatch(nn::Initializer(1).weight<double>({9}, 3, Activation::none, 0),
                              nn::Initializer(1).weight<double>({9}, 3, Activation::none, 0), {}) == "");
  CHECK(cuttle_test::mismatch(nn::Initializer(1).weight<double>({9}, 3, Activation::none, 0),
                              nn::Initializer(2).weight<double>({9}, 3, Activation::none, 0), {0, 1e-3}) != "");
}

TEST_CASE("ParameterArena: parameters become views, frozen ones stay out, Adam moves the rest") {
  nn::Initializer init(1);
  nn::Linear<double> layer(3, 2, {}, init);
  layer.bias.trainable = false;
  const auto weight = layer.weight.value.clone(), bias = layer.bias.value.clone();
  Tape<double> tape;
  CHECK(!layer.weight.on(nullptr).needs_grad());
  CHECK_THROWS_AS(layer.weight.on(&tape), Error);

  nn::ParameterArena<double> arena(layer);
  CHECK(arena.values().numel() == 64);  // six numbers, and zeros up to the next parameter's place
  CHECK(layer.weight.value.data() == arena.values().data());
  CHECK_CLOSE(layer.weight.value, weight, {});
  nn::Adam<double> adam(arena, {.learning_rate = 0.1});
  const auto x = cuttle_test::uniform_tensor<double>({4, 3}, 2), zero = Tensor<double>::zeros({4, 2});
  const auto loss = [&](Tape<double>* on) { return mean_distance(layer(Var<double>(x), on), Var<double>(zero)); };
  const double before = loss(nullptr).value().item();
  for (int step = 0; step < 50; ++step) {
    arena.zero_grad();
    tape.backward(loss(&tape));
    tape.clear();
    adam.step();
  }
  CHECK(loss(nullptr).value().item() < before);
  CHECK_CLOSE(layer.bias.value, bias, {});
  CHECK(cuttle_test::mismatch(layer.weight.value, weight, {0, 0.01}) != "");
}
