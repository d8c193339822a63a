#include <cmath>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::uniform_tensor;
using Vars = std::vector<Var<double>>;

TEST_CASE("gradcheck: every op on the tape") {
  const auto x = uniform_tensor<double>({3, 4}, 1), z = uniform_tensor<double>({3, 4}, 2);
  CHECK(gradcheck([](const Vars& v) { return add(v[0], v[1]); }, {x, z}) == "");
  CHECK(gradcheck([](const Vars& v) { return sub(v[0], v[1]); }, {x, z}) == "");
  CHECK(gradcheck([](const Vars& v) { return scale(v[0], -2.5); }, {x}) == "");
  CHECK(gradcheck([](const Vars& v) { return reshape(v[0], {2, 6}); }, {x}) == "");
  CHECK(gradcheck([](const Vars& v) { return slice(v[0], 1, 3); }, {x}) == "");
  const auto index = Tensor<std::int32_t>::from({5}, {2, 0, 2, 2, 1});
  CHECK(gradcheck([&](const Vars& v) { return gather_rows(v[0], index); }, {x}) == "");
  CHECK(gradcheck([](const Vars& v) { return mean_distance(v[0], v[1]); }, {x, z}) == "");
  const auto labels = Tensor<std::int32_t>::from({3}, {2, 0, 3});
  CHECK(gradcheck([&](const Vars& v) { return cross_entropy(v[0], labels); }, {x}) == "");
}

TEST_CASE("gradcheck: conv2d and linear with every activation") {
  for (const Activation activation : {Activation::none, Activation::leaky_relu, Activation::tanh, Activation::relu}) {
    const Conv2dOptions options{.stride = 2, .padding = 1, .dilation = 2, .activation = activation, .slope = 0.1};
    CHECK(gradcheck([&](const Vars& v) { return conv2d(v[0], v[1], v[2], options); },
                    {uniform_tensor<double>({2, 7, 6, 3}, 3), uniform_tensor<double>({5, 3, 2, 3}, 4),
                     uniform_tensor<double>({5}, 5)}) == "");
    CHECK(gradcheck(
              [&](const Vars& v) {
                return linear(v[0], v[1], v[2], {activation, 0.1});
              },
              {uniform_tensor<double>({5, 3}, 6), uniform_tensor<double>({4, 3}, 7), uniform_tensor<double>({4}, 8)}) ==
          "");
  }
}

TEST_CASE("gradcheck: values used more than once") {
  const auto x = uniform_tensor<double>({4, 3}, 9);
  CHECK(gradcheck([](const Vars& v) { return add(v[0], v[0]); }, {x}) == "");
  CHECK(gradcheck([](const Vars& v) { return sub(add(v[0], v[0]), scale(v[0], 3)); }, {x}) == "");
  CHECK(gradcheck([](const Vars& v) { return add(slice(v[0], 0, 2), slice(v[0], 1, 3)); }, {x}) == "");
  CHECK(gradcheck(
            [](const Vars& v) {
              const Var<double> y = scale(v[0], 2);
              return add(add(y, y), add(y, scale(y, 0.5)));
            },
            {x}) == "");
}

TEST_CASE("gradcheck finds a wrong gradient") {
  const auto wrong = [](const Vars& v) -> Var<double> {
    Tensor<double> y = scale(v[0].value(), 2);
    if (!v[0].needs_grad()) return y;
    return v[0].tape()->record(
        y, [x = v[0]](Tape<double>& tape, const Tensor<double>& dy) { tape.add_grad(x, scale(dy, 2.001)); });
  };
  CHECK(gradcheck(wrong, {uniform_tensor<double>({3}, 10)}) != "");
}

TEST_CASE("Tape: leaves, constants and detached values") {
  Tape<double> tape;
  const auto value = Tensor<double>::from({2}, {1.0, 2.0});
  auto grad = Tensor<double>::full({2}, 10);
  const Var<double> leaf = tape.leaf(value, grad);
  const Var<double> held = tape.leaf(value);
  const Var<double> constant(value);
  const auto sum = [&tape](const Var<double>& x) {
    return tape.record(Tensor<double>::full({1}, 0), [x](Tape<double>& recorder, const Tensor<double>& dy) {
      recorder.add_grad(x, Tensor<double>::full(x.shape(), dy.item()));
    });
  };
  tape.backward(sum(add(add(leaf, scale(held, 3)), add(detach(leaf), constant))));
  CHECK_CLOSE(grad, Tensor<double>::full({2}, 11), {});
  CHECK_CLOSE(tape.grad(held), Tensor<double>::full({2}, 3), {});
  CHECK(!add(constant, constant).needs_grad());

  Tape<double> other;
  CHECK_THROWS_AS(add(leaf, other.leaf(value)), Error);
  CHECK_THROWS_AS(tape.backward(leaf), Error);
  CHECK_THROWS_AS(tape.leaf(value, Tensor<double>::zeros({3})), Error);
}

TEST_CASE("Tape: a step allocates nothing after the first") {
  Tape<float> tape;
  auto weight = uniform_tensor<float>({8, 3, 3, 4}, 11), dweight = Tensor<float>::zeros({8, 3, 3, 4});
  auto bias = uniform_tensor<float>({8}, 12), dbias = Tensor<float>::zeros({8});
  const auto x = uniform_tensor<float>({6, 9, 9, 4}, 13);
  const auto step = [&] {
    const Var<float> w = tape.leaf(weight, dweight), b = tape.leaf(bias, dbias);
    Var<float> y = conv2d(Var<float>(x), w, b, {.activation = Activation::leaky_relu});
    y = reshape(y, {6, 7 * 7 * 8});
    tape.backward(mean_distance(slice(y, 0, 3), slice(y, 3, 6)));
    tape.clear();
  };
  step();
  const auto before = pool_statistics();
  for (int i = 0; i < 5; ++i) step();
  const auto after = pool_statistics();
  CHECK(after.allocations == before.allocations);
  CHECK(after.requests > before.requests);
}
