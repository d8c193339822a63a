// Batch and layer normalisation against their formulas in double, on every device, and against PyTorch's tensors.
#include "cuttle/ops/norm.hpp"

#include <cmath>
#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "cuttle/core/graph.hpp"
#include "cuttle/io/safetensors.hpp"
#include "cuttle/ops/permute.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/every_isa.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

namespace {

// What a normalisation of groups of values gives, all in double. A group is the values that share mean and variance;
// weight, bias and their gradients have one entry a parameter.
struct Expected {
  Tensor<double> y, dx, dresidual, dweight, dbias;
  std::vector<double> mean, var;  // of each group, var biased
};

// groups[i], parameter[i]: which group and which parameter element i belongs to. Where `fixed` is not null its mean and
// var normalise and are constants.
template <class T>
Expected expected_norm(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, const Tensor<T>& residual,
                       const Tensor<T>& dy, const NormOptions& options, std::int64_t groups,
                       const std::vector<std::int64_t>& group, const std::vector<std::int64_t>& parameter,
                       const Expected* fixed = nullptr) {
  const std::int64_t n = x.numel(), parameters = weight.numel();
  const auto G = static_cast<std::size_t>(groups);
  std::vector<double> count(G), mean(G), var(G), sum(G), cross(G);
  const auto at = [](const Tensor<T>& t, std::int64_t i) { return static_cast<double>(t.data()[i]); };
  const auto g_of = [&](std::int64_t i) { return static_cast<std::size_t>(group[static_cast<std::size_t>(i)]); };
  for (std::int64_t i = 0; i < n; ++i) ++count[g_of(i)], mean[g_of(i)] += at(x, i);
  for (std::size_t g = 0; g < G; ++g) mean[g] /= count[g];
  for (std::int64_t i = 0; i < n; ++i) var[g_of(i)] += std::pow(at(x, i) - mean[g_of(i)], 2);
  for (std::size_t g = 0; g < G; ++g) var[g] /= count[g];
  if (fixed) mean = fixed->mean, var = fixed->var;

  Expected e{Tensor<double>::empty(x.shape()),
             Tensor<double>::empty(x.shape()),
             Tensor<double>::empty(x.shape()),
             Tensor<double>::zeros({parameters}),
             Tensor<double>::zeros({parameters}),
             mean,
             var};
  std::vector<double> xhat(static_cast<std::size_t>(n)), dxhat(xhat);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i), g = g_of(i);
    const std::int64_t p = parameter[k];
    xhat[k] = (at(x, i) - mean[g]) / std::sqrt(var[g] + options.epsilon);
    const double z = xhat[k] * at(weight, p) + at(bias, p) + (residual.defined() ? at(residual, i) : 0);
    const double slope = options.activation == Activation::none   ? 1
                         : options.activation == Activation::relu ? 0
                                                                  : options.slope;
    e.y.data()[i] = z > 0 ? z : slope * z;
    const double dz = at(dy, i) * (z > 0 ? 1 : slope);
    e.dresidual.data()[i] = dz;
    e.dbias.data()[p] += dz;
    e.dweight.data()[p] += dz * xhat[k];
    dxhat[k] = dz * at(weight, p);
    sum[g] += dxhat[k];
    cross[g] += dxhat[k] * xhat[k];
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i), g = g_of(i);
    const double through_statistics = fixed ? 0 : (sum[g] + xhat[k] * cross[g]) / count[g];
    e.dx.data()[i] = (dxhat[k] - through_statistics) / std::sqrt(var[g] + options.epsilon);
  }
  return e;
}

template <class T>
double tolerance() {
  // Everything is computed in double and rounded once, gradients of parameters twice.
  return std::is_same_v<T, float> ? 1.5e-7 : 2e-13;
}

NormOptions with(Activation activation) {
  NormOptions options;
  options.activation = activation;
  options.slope = 0.2;
  return options;
}

// One shape with one activation, with and without residual, in training and evaluation.
template <class T>
void check_batch_norm(const Shape& shape, Activation activation, bool with_residual) {
  INFO("shape " << shape << ", activation " << static_cast<int>(activation) << ", residual " << with_residual);
  const std::int64_t C = shape[-1], N = shape.numel() / C;
  // A mean of 30 deviations: sums of raw squares in float would lose three digits.
  const auto x = uniform_tensor<T>(shape, 1, 50, 56), dy = uniform_tensor<T>(shape, 2);
  const auto weight = uniform_tensor<T>({C}, 3, 0.5, 2), bias = uniform_tensor<T>({C}, 4);
  const auto residual = with_residual ? uniform_tensor<T>(shape, 5) : Tensor<T>();
  const auto running_mean = uniform_tensor<T>({C}, 6, 50, 56), running_var = uniform_tensor<T>({C}, 7, 1, 4);
  BatchNormOptions options{with(activation)};

  std::vector<std::int64_t> channel(static_cast<std::size_t>(x.numel()));
  for (std::size_t i = 0; i < channel.size(); ++i) channel[i] = static_cast<std::int64_t>(i) % C;
  for (const bool training : {true, false}) {
    options.training = training;
    Expected fixed;
    for (std::int64_t c = 0; c < C; ++c) {
      fixed.mean.push_back(static_cast<double>(running_mean.data()[c]));
      fixed.var.push_back(static_cast<double>(running_var.data()[c]));
    }
    const Expected e =
        expected_norm(x, weight, bias, residual, dy, options, C, channel, channel, training ? nullptr : &fixed);
    auto mean_after = Tensor<double>::empty({C}), var_after = Tensor<double>::empty({C});
    for (std::int64_t c = 0; c < C; ++c) {
      const auto k = static_cast<std::size_t>(c);
      const double unbiased = e.var[k] * static_cast<double>(N) / static_cast<double>(N - 1);
      mean_after.data()[c] = training ? 0.9 * fixed.mean[k] + 0.1 * e.mean[k] : fixed.mean[k];
      var_after.data()[c] = training ? 0.9 * fixed.var[k] + 0.1 * unbiased : fixed.var[k];
    }
    on_every_device([&](Device device) {
      const double near = tolerance<T>();
      auto mean = running_mean.clone().to(device), var = running_var.clone().to(device);
      const auto result =
          batch_norm(x.to(device), weight.to(device), bias.to(device), residual.to(device), mean, var, options);
      CHECK_CLOSE(result.y, e.y, {near, 0});
      CHECK_CLOSE(mean, mean_after, {near, 0});
      CHECK_CLOSE(var, var_after, {near, 0});
      const auto without = batch_norm(x.to(device), weight.to(device), bias.to(device), residual.to(device),
                                      training ? Tensor<T>() : mean, training ? Tensor<T>() : var, options);
      CHECK_CLOSE(without.y, e.y, {near, 0});
      auto dweight = Tensor<T>::full({C}, 2, device), dbias = Tensor<T>::full({C}, 3, device);
      const auto gradients = batch_norm_backward(x.to(device), weight.to(device), result, dy.to(device), options, true,
                                                 true, dweight, dbias);
      CHECK_CLOSE(gradients.dx, e.dx, {4 * near, 1e-12});
      CHECK_CLOSE(gradients.dresidual, e.dresidual, {near, 0});
      auto added_weight = e.dweight.clone(), added_bias = e.dbias.clone();
      for (std::int64_t c = 0; c < C; ++c) added_weight.data()[c] += 2, added_bias.data()[c] += 3;
      CHECK_CLOSE(dweight, added_weight, {2 * near, 1e-12});
      CHECK_CLOSE(dbias, added_bias, {2 * near, 1e-12});
      const auto nothing = batch_norm_backward(x.to(device), weight.to(device), result, dy.to(device), options, false,
                                               false, Tensor<T>(), Tensor<T>());
      CHECK(!nothing.dx.defined());
      CHECK(!nothing.dresidual.defined());
    });
  }
}

template <class T>
void check_layer_norm(const Shape& shape, Activation activation, bool with_residual) {
  INFO("shape " << shape << ", activation " << static_cast<int>(activation) << ", residual " << with_residual);
  const std::int64_t D = shape[-1], N = shape.numel() / D;
  const auto x = uniform_tensor<T>(shape, 11, 20, 22), dy = uniform_tensor<T>(shape, 12);
  const auto weight = uniform_tensor<T>({D}, 13, 0.5, 2), bias = uniform_tensor<T>({D}, 14);
  const auto residual = with_residual ? uniform_tensor<T>(shape, 15) : Tensor<T>();
  const NormOptions options = with(activation);
  std::vector<std::int64_t> row(static_cast<std::size_t>(x.numel())), column(row);
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] = static_cast<std::int64_t>(i) / D;
    column[i] = static_cast<std::int64_t>(i) % D;
  }
  const Expected e = expected_norm(x, weight, bias, residual, dy, options, N, row, column);
  on_every_device([&](Device device) {
    const double near = tolerance<T>();
    const auto result = layer_norm(x.to(device), weight.to(device), bias.to(device), residual.to(device), options);
    CHECK_CLOSE(result.y, e.y, {near, 0});
    auto dweight = Tensor<T>::full({D}, 2, device), dbias = Tensor<T>::full({D}, 3, device);
    const auto gradients = layer_norm_backward(x.to(device), weight.to(device), result, dy.to(device), options, true,
                                               with_residual, dweight, dbias);
    CHECK_CLOSE(gradients.dx, e.dx, {4 * near, 1e-11});
    if (with_residual) CHECK_CLOSE(gradients.dresidual, e.dresidual, {near, 0});
    auto added_weight = e.dweight.clone(), added_bias = e.dbias.clone();
    for (std::int64_t d = 0; d < D; ++d) added_weight.data()[d] += 2, added_bias.data()[d] += 3;
    CHECK_CLOSE(dweight, added_weight, {2 * near, 1e-11});
    CHECK_CLOSE(dbias, added_bias, {2 * near, 1e-11});
  });
}

SafetensorsFile fixture() {
  return SafetensorsFile(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
}
template <class T>
Tensor<T> channels_last(const SafetensorsFile& file, const std::string& name) {
  return permute(file.tensor_or_widen<T>(name), {0, 2, 3, 1});
}

}  // namespace

TEST_CASE("batch_norm: forward, running statistics and gradients against the formulas") {
  for (const Shape& shape : {Shape{2, 1}, Shape{3, 11, 5}, Shape{129, 33}, Shape{515, 8}, Shape{5, 103, 3, 40}}) {
    check_batch_norm<float>(shape, Activation::relu, true);
    check_batch_norm<double>(shape, Activation::none, false);
  }
  check_batch_norm<float>({33, 7}, Activation::leaky_relu, false);
  check_batch_norm<double>({33, 7}, Activation::leaky_relu, true);
  check_batch_norm<double>({33, 7}, Activation::relu, false);
}

TEST_CASE("batch_norm: the same on every instruction set, and the same bits for any number of threads") {
  cuttle_test::on_every_isa([] { check_batch_norm<float>({257, 21}, Activation::relu, true); });
  const auto x = uniform_tensor<float>({4, 33, 31, 9}, 21), weight = uniform_tensor<float>({9}, 22);
  const int threads = num_threads();
  std::vector<Tensor<float>> y, dx, dweight;
  for (const int n : {1, 3}) {
    set_num_threads(n);
    const auto result = batch_norm(x, weight, weight, {}, {}, {});
    y.push_back(result.y);
    dweight.push_back(Tensor<float>::zeros({9}));
    dx.push_back(batch_norm_backward(x, weight, result, x, {}, true, false, dweight.back(), {}).dx);
  }
  set_num_threads(threads);
  CHECK_CLOSE(y[0], y[1], {});
  CHECK_CLOSE(dx[0], dx[1], {});
  CHECK_CLOSE(dweight[0], dweight[1], {});
}

TEST_CASE("batch_norm: replays of a recorded step move the running statistics as eager steps do, to the bit") {
  on_every_device([](Device device) {
    if (device.is_cpu()) return;
    const Stream stream(device);
    const StreamScope scope(device, stream.get());
    const auto x = uniform_tensor<float>({67, 5}, 51, 3, 5).to(device), one = Tensor<float>::full({5}, 1, device);
    auto eager_mean = Tensor<float>::zeros({5}, device), eager_var = one.clone();
    auto mean = eager_mean.clone(), var = eager_var.clone();
    const auto step = [&](Tensor<float>& to_mean, Tensor<float>& to_var) {
      const auto result = batch_norm(x, one, one, {}, to_mean, to_var);
      batch_norm_backward(x, one, result, x, {}, true, false, Tensor<float>(), Tensor<float>());
    };
    step(eager_mean, eager_var);
    step(mean, var);
    const RecordedWork work(stream, [&] { step(mean, var); });
    for (int i = 0; i < 5; ++i) {
      step(eager_mean, eager_var);
      work.launch();
      CHECK_CLOSE(mean, eager_mean, {});
      CHECK_CLOSE(var, eager_var, {});
    }
  });
  CHECK(cuttle_test::every_device().front().is_cpu());
}

TEST_CASE("batch_norm: a constant channel becomes its bias, NaN stays in its channel") {
  on_every_device([](Device device) {
    auto x = uniform_tensor<float>({9, 3}, 31);
    for (std::int64_t n = 0; n < 9; ++n) x.data()[n * 3] = 1e6f;
    x.data()[4 * 3 + 2] = std::nanf("");
    const auto bias = Tensor<float>::from({3}, {0.25f, 0, 0}), one = Tensor<float>::full({3}, 1);
    BatchNormOptions options;
    options.activation = Activation::relu;
    const auto y = batch_norm(x.to(device), one.to(device), bias.to(device), {}, {}, {}, options).y.to(Device::cpu());
    for (std::int64_t n = 0; n < 9; ++n) {
      CHECK(y.data()[n * 3] == 0.25f);
      CHECK(std::isfinite(y.data()[n * 3 + 1]));
      CHECK(std::isnan(y.data()[n * 3 + 2]));
    }
  });
}

TEST_CASE("layer_norm: forward and gradients against the formulas") {
  for (const Shape& shape : {Shape{1, 2}, Shape{3, 11, 5}, Shape{9, 129}, Shape{2, 515}, Shape{67, 33}}) {
    check_layer_norm<float>(shape, Activation::relu, true);
    check_layer_norm<double>(shape, Activation::none, false);
  }
  check_layer_norm<double>({5, 7}, Activation::leaky_relu, true);
}

TEST_CASE("batch_norm, layer_norm: gradcheck") {
  const std::vector<Tensor<double>> inputs{uniform_tensor<double>({7, 3}, 41), uniform_tensor<double>({3}, 42, 0.5, 2),
                                           uniform_tensor<double>({3}, 43), uniform_tensor<double>({7, 3}, 44)};
  const auto mean = uniform_tensor<double>({3}, 45), var = uniform_tensor<double>({3}, 46, 1, 2);
  for (const Activation activation : {Activation::none, Activation::relu, Activation::leaky_relu}) {
    for (const bool training : {true, false})
      CHECK(gradcheck(
                [&](const std::vector<Var<double>>& v) {
                  BatchNormOptions options{with(activation)};
                  options.training = training;
                  return batch_norm(v[0], v[1], v[2], v[3], mean.clone(), var.clone(), options);
                },
                inputs) == "");
    CHECK(gradcheck(
              [&](const std::vector<Var<double>>& v) { return layer_norm(v[0], v[1], v[2], v[3], with(activation)); },
              inputs) == "");
  }
}

TEST_CASE("batch_norm, layer_norm: PyTorch's tensors") {
  CUTTLE_NEED_SHARED_FOLDER();
  const auto file = fixture();
  const auto check = [&](auto zero, double near) {
    using T = decltype(zero);
    const auto get = [&](const std::string& name) { return file.tensor_or_widen<T>(name); };
    const auto x = channels_last<T>(file, "bn.x"), dy = channels_last<T>(file, "bn.upstream");
    on_every_device([&](Device device) {
      auto mean = get("bn.running_mean").clone().to(device), var = get("bn.running_var").clone().to(device);
      const auto weight = get("bn.weight").to(device), bias = get("bn.bias").to(device);
      BatchNormOptions evaluation;
      evaluation.training = false;
      CHECK_CLOSE(batch_norm(x.to(device), weight, bias, {}, mean, var, evaluation).y,
                  channels_last<T>(file, "bn.eval_out"), {near, 0});
      const auto result = batch_norm(x.to(device), weight, bias, {}, mean, var);
      CHECK_CLOSE(result.y, channels_last<T>(file, "bn.train_out"), {near, 0});
      CHECK_CLOSE(mean, get("bn.running_mean_after"), {near, 0});
      CHECK_CLOSE(var, get("bn.running_var_after"), {near, 0});
      auto dweight = Tensor<T>::zeros({5}, device), dbias = Tensor<T>::zeros({5}, device);
      const auto dx =
          batch_norm_backward(x.to(device), weight, result, dy.to(device), {}, true, false, dweight, dbias).dx;
      CHECK_CLOSE(dx, channels_last<T>(file, "bn.grad_x"), {near, 0});
      CHECK_CLOSE(dweight, get("bn.grad_weight"), {near, 0});
      CHECK_CLOSE(dbias, get("bn.grad_bias"), {near, 0});

      const auto rows = get("ln.x").to(device), scale = get("ln.weight").to(device);
      const auto normal = layer_norm(rows, scale, get("ln.bias").to(device), {});
      CHECK_CLOSE(normal.y, get("ln.out"), {near, 0});
      auto dscale = Tensor<T>::zeros({128}, device), doffset = Tensor<T>::zeros({128}, device);
      const auto drows =
          layer_norm_backward(rows, scale, normal, get("ln.upstream").to(device), {}, true, false, dscale, doffset).dx;
      CHECK_CLOSE(drows, get("ln.grad_x"), {near, 0});
      CHECK_CLOSE(dscale, get("ln.grad_weight"), {near, 0});
      CHECK_CLOSE(doffset, get("ln.grad_bias"), {near, 0});
    });
  };
  check(0.0f, 2e-5);
  check(0.0, 1e-5);
}

// a = relu(bn(conv(x))), y = relu(bn(conv(relu(bn(conv(a))))) + a): the block that SQUID is made of, on the tape.
TEST_CASE("batch_norm: a residual block of convolutions and its gradients are PyTorch's") {
  CUTTLE_NEED_SHARED_FOLDER();
  const auto file = fixture();
  const auto check = [&](auto zero, double near) {
    using T = decltype(zero);
    on_every_device([&](Device device) {
      Tape<T> tape;
      std::vector<std::pair<std::string, Var<T>>> leaves;
      const auto leaf = [&](const std::string& name, Tensor<T> value) {
        leaves.emplace_back(name, tape.leaf(value.to(device)));
        return leaves.back().second;
      };
      BatchNormOptions relu;
      relu.activation = Activation::relu;
      const auto step = [&](const Var<T>& x, const std::string& conv, const std::string& bn, std::int64_t stride,
                            const Var<T>& residual) {
        const auto get = [&](const std::string& name) { return file.tensor_or_widen<T>("block." + name); };
        const auto z = conv2d(x, leaf(conv + ".weight", permute(get(conv + ".weight"), {0, 2, 3, 1})),
                              leaf(conv + ".bias", get(conv + ".bias")), {.stride = stride, .padding = 1});
        return batch_norm(z, leaf(bn + ".weight", get(bn + ".weight")), leaf(bn + ".bias", get(bn + ".bias")), residual,
                          get(bn + ".running_mean").clone().to(device), get(bn + ".running_var").clone().to(device),
                          relu);
      };
      const auto x = leaf("x", channels_last<T>(file, "block.x"));
      const auto a = step(x, "conv1.0", "conv1.1", 2, {});
      const auto y = step(step(a, "conv2.0", "conv2.1", 1, {}), "conv2.3", "conv2.4", 1, a);
      CHECK_CLOSE(y.value(), channels_last<T>(file, "block.train_out"), {near, 0});

      const auto dy = channels_last<T>(file, "block.upstream");
      tape.backward(tape.record(Tensor<T>::zeros({1}, device), [&](Tape<T>& recorder, const Tensor<T>&) {
        recorder.add_grad(y, dy.clone().to(device));
      }));
      CHECK_CLOSE(tape.grad(x), channels_last<T>(file, "block.grad_x"), {near, 0});
      for (const auto& [name, var] : leaves) {
        if (name == "x") continue;
        INFO(name);
        const bool four = var.shape().rank() == 4;
        const auto expected =
            four ? channels_last<T>(file, "block.grad." + name) : file.tensor_or_widen<T>("block.grad." + name);
        // The bias of a convolution before training batch norm has gradient zero: only rounding is left.
        const bool rounding = name == "conv1.0.bias" || name == "conv2.0.bias" || name == "conv2.3.bias";
        CHECK_CLOSE(tape.grad(var), expected, {near, rounding ? 1e-5 : 0});
      }
    });
  };
  check(0.0f, 2e-5);
  check(0.0, 1e-5);
}

TEST_CASE("batch_norm, layer_norm: bad arguments are named") {
  const auto x = Tensor<float>::zeros({4, 3}), three = Tensor<float>::zeros({3}), four = Tensor<float>::zeros({4});
  CHECK_THROWS_WITH(batch_norm(x, four, three, {}, {}, {}), cuttle_test::contains("weight has shape [4]"));
  CHECK_THROWS_WITH(batch_norm(x, three, four, {}, {}, {}), cuttle_test::contains("bias has shape [4]"));
  CHECK_THROWS_WITH(batch_norm(x, three, three, four, {}, {}), cuttle_test::contains("residual has shape [4]"));
  CHECK_THROWS_WITH(batch_norm(x, three, three, {}, three, {}), cuttle_test::contains("come together"));
  CHECK_THROWS_WITH(batch_norm(x, three, three, {}, four, four), cuttle_test::contains("running_mean has shape [4]"));
  CHECK_THROWS_WITH(batch_norm(x.slice(0, 1), three, three, {}, {}, {}), cuttle_test::contains("two values a channel"));
  BatchNormOptions options;
  options.training = false;
  CHECK_THROWS_WITH(batch_norm(x, three, three, {}, {}, {}, options), cuttle_test::contains("evaluation needs"));
  options.activation = Activation::tanh;
  CHECK_THROWS_WITH(batch_norm(x, three, three, {}, three, three, options), cuttle_test::contains("activation"));
  CHECK_THROWS_WITH(layer_norm(x, four, three, {}), cuttle_test::contains("layer_norm: weight has shape [4]"));
  CHECK_THROWS_AS(layer_norm(x, three, three, x.slice(0, 2)), Error);
}
