// Our own convolution kernels against the formula of seam/args.hpp in double, in every thread order.
#include "tests/simt/vocab.hpp"
// The words come first.
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuttle/core/tensor.hpp"
#include "kernels/conv2d.cuh"
#include "tests/support/catch.hpp"
#include "tests/support/conv2d_oracle.hpp"
#include "tests/support/devices.hpp"

namespace {

using cuttle::concat;
using cuttle::Device;
using cuttle::Tensor;
using cuttle::seam::Activation;
using cuttle::seam::Conv2dShape;
using cuttle_test::activated;
using cuttle_test::activation_slope;
using cuttle_test::for_each_product;

struct Options {
  std::int64_t stride = 1, padding = 0, dilation = 1;
  Activation activation = Activation::none;
};

Conv2dShape shape_of(std::int64_t B, std::int64_t H, std::int64_t W, std::int64_t C, std::int64_t O, std::int64_t R,
                     std::int64_t S, Options options = {}) {
  const auto extent = [&](std::int64_t size, std::int64_t taps) {
    return (size + 2 * options.padding - options.dilation * (taps - 1) - 1) / options.stride + 1;
  };
  return {B,
          H,
          W,
          C,
          O,
          R,
          S,
          extent(H, R),
          extent(W, S),
          options.stride,
          options.padding,
          options.dilation,
          options.activation,
          0.1,
          cuttle::seam::Math::fp32};
}

// A sum with what bounds the rounding of it: the number and the magnitude of its terms.
struct Sum {
  double value = 0, magnitude = 0;
  int terms = 0;
  void add(double term, double size) {
    value += term;
    magnitude += size;
    ++terms;
  }
  void add(double term) { add(term, std::abs(term)); }
};

// "" where each value is within its sum's bound; `slack` counts the roundings before and after the sum.
template <class T>
std::string mismatch(const Tensor<T>& actual, const std::vector<Sum>& expected, int slack) {
  const auto values = actual.to(Device::cpu());
  if (values.numel() != static_cast<std::int64_t>(expected.size())) return "another size";
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Sum& sum = expected[i];
    const double allowed = (sum.terms + slack) * double{std::numeric_limits<T>::epsilon()} * sum.magnitude;
    if (!(std::abs(static_cast<double>(values.data()[i]) - sum.value) <= allowed))
      return concat("element ", i, " is ", values.data()[i], ", not ", sum.value, " within ", allowed);
  }
  return "";
}

template <class T>
void check(const Conv2dShape& s, bool with_bias = true) {
  INFO("B" << s.B << " " << s.H << "x" << s.W << "x" << s.C << " -> " << s.OH << "x" << s.OW << "x" << s.O << ", taps "
           << s.R << "x" << s.S << ", stride " << s.stride << ", padding " << s.padding << ", dilation " << s.dilation
           << ", activation " << static_cast<int>(s.activation) << ", " << sizeof(T) << " bytes");
  std::mt19937 generator(7);
  std::normal_distribution<double> normal;
  const auto random = [&](const cuttle::Shape& shape) {
    auto tensor = Tensor<T>::empty(shape);
    for (T& value : tensor.span()) value = static_cast<T>(normal(generator));
    return tensor;
  };
  const auto x = random({s.B, s.H, s.W, s.C}), weight = random({s.O, s.R, s.S, s.C}), bias = random({s.O});
  const auto dy = random({s.B, s.OH, s.OW, s.O}), dweight0 = random(weight.shape()), dbias0 = random({s.O});
  const auto value = [](const Tensor<T>& tensor, std::size_t i) { return static_cast<double>(tensor.data()[i]); };
  const auto size = [](const Tensor<T>& tensor) { return static_cast<std::size_t>(tensor.numel()); };
  const auto channels = static_cast<std::size_t>(s.O);

  std::vector<Sum> y(size(dy)), dx(size(x)), dweight(size(weight)), dbias(channels);
  for_each_product(
      s, [&](std::size_t yi, std::size_t xi, std::size_t wi) { y[yi].add(value(x, xi) * value(weight, wi)); });
  auto y_values = Tensor<T>::empty(dy.shape());
  std::vector<double> dz(y.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (with_bias) y[i].add(value(bias, i % channels));
    y[i].value = activated(s, y[i].value);
    y[i].magnitude += std::abs(y[i].value);
    y_values.data()[i] = static_cast<T>(y[i].value);
    dz[i] = value(dy, i) * activation_slope(s, value(y_values, i));
    dbias[i % channels].add(dz[i], std::abs(value(dy, i)));
  }
  for_each_product(s, [&](std::size_t yi, std::size_t xi, std::size_t wi) {
    dx[xi].add(dz[yi] * value(weight, wi), std::abs(value(dy, yi) * value(weight, wi)));
    dweight[wi].add(dz[yi] * value(x, xi), std::abs(value(dy, yi) * value(x, xi)));
  });
  for (std::size_t i = 0; i < dweight.size(); ++i) dweight[i].add(value(dweight0, i));
  for (std::size_t i = 0; i < channels; ++i) dbias[i].add(value(dbias0, i));

  cuttle_test::on_every_device([&](Device device) {
    if (device.is_cpu()) return;
    const auto x_there = x.to(device), weight_there = weight.to(device), bias_there = bias.to(device);
    auto y_there = Tensor<T>::empty(dy.shape(), device);
    cuttle::kernels::launch_conv2d<T>(
        {s, x_there.data(), weight_there.data(), with_bias ? bias_there.data() : nullptr, y_there.data(), nullptr, 0},
        nullptr);
    CHECK(mismatch(y_there, y, 2) == "");

    // What follows cuDNN, on its own: from the sums without bias.
    cuttle::seam::Conv2dArgs<T> apart{s, x_there.data(), weight_there.data(), nullptr, y_there.data(), nullptr, 0};
    apart.shape.activation = Activation::none;
    cuttle::kernels::launch_conv2d<T>(apart, nullptr);
    apart.shape.activation = s.activation;
    apart.bias = with_bias ? bias_there.data() : nullptr;
    cuttle::kernels::launch_conv2d_bias_activation<T>(apart, nullptr);
    CHECK(mismatch(y_there, y, 2) == "");

    const std::size_t bytes = cuttle::kernels::own_conv2d_workspace(s, sizeof(T), true);
    auto workspace = Tensor<std::byte>::empty({static_cast<std::int64_t>(bytes)}, device);
    auto dx_there = Tensor<T>::empty(x.shape(), device), dweight_there = dweight0.to(device),
         dbias_there = dbias0.to(device);
    const auto y_read = y_values.to(device), dy_there = dy.to(device);
    cuttle::seam::Conv2dBackwardArgs<T> backward{s,
                                                 x_there.data(),
                                                 weight_there.data(),
                                                 y_read.data(),
                                                 dy_there.data(),
                                                 dx_there.data(),
                                                 dweight_there.data(),
                                                 dbias_there.data(),
                                                 workspace.data(),
                                                 bytes};
    cuttle::kernels::launch_conv2d_backward<T>(backward, nullptr);
    CHECK(mismatch(dx_there, dx, 8) == "");
    CHECK(mismatch(dweight_there, dweight, 8) == "");
    CHECK(mismatch(dbias_there, dbias, 8) == "");

    // A null pointer leaves that gradient out and the others as they were.
    auto dbias_alone = dbias0.to(device);
    backward.dx = nullptr, backward.dweight = nullptr, backward.dbias = dbias_alone.data();
    cuttle::kernels::launch_conv2d_backward<T>(backward, nullptr);
    CHECK(mismatch(dbias_alone, dbias, 8) == "");
    backward.workspace_bytes = bytes - 1;
    CHECK_THROWS_WITH(cuttle::kernels::launch_conv2d_backward<T>(backward, nullptr),
                      cuttle_test::contains("conv2d_backward: the workspace has"));
  });
}

}  // namespace

TEST_CASE("conv2d kernels: the activations") {
  for (const Activation activation : {Activation::none, Activation::relu, Activation::leaky_relu, Activation::tanh}) {
    check<float>(shape_of(2, 5, 4, 3, 2, 3, 3, {.activation = activation}));
    check<double>(shape_of(1, 4, 5, 5, 7, 2, 3, {.padding = 1, .activation = activation}));
  }
}

TEST_CASE("conv2d kernels: strides, paddings, dilations") {
  check<float>(shape_of(1, 1, 1, 1, 1, 1, 1));
  check<float>(shape_of(2, 9, 7, 5, 6, 3, 3, {.stride = 2, .padding = 1}));
  check<float>(shape_of(1, 18, 17, 2, 3, 3, 3, {.padding = 1, .dilation = 8}));
  check<float>(shape_of(1, 14, 15, 3, 5, 3, 2, {.stride = 2, .padding = 2, .dilation = 4}));
  check<double>(shape_of(2, 7, 7, 2, 3, 2, 2, {.stride = 4}));  // some x are never read
  check<float>(shape_of(1, 2, 2, 3, 4, 3, 3, {.padding = 2}));  // a kernel larger than the map
  check<float>(shape_of(1, 3, 4, 2, 3, 1, 1), false);
}

TEST_CASE("conv2d kernels: more than a tile of pixels, channels and taps, and several groups of pixels") {
  check<float>(shape_of(1, 9, 17, 33, 65, 1, 1, {.activation = Activation::leaky_relu}));
  check<float>(shape_of(3, 7, 7, 3, 33, 3, 3, {.padding = 1}));
  check<double>(shape_of(1, 3, 3, 129, 2, 1, 2));
  const auto s = shape_of(1, 34, 33, 2, 3, 1, 2);
  REQUIRE(cuttle::kernels::Conv2dScratch(s).groups == 2);
  check<float>(s);
}

TEST_CASE("conv2d kernels: nothing to do, and too much") {
  const auto none = shape_of(0, 4, 4, 3, 2, 3, 3);
  CHECK_NOTHROW(cuttle::kernels::launch_conv2d<float>({none, nullptr, nullptr, nullptr, nullptr, nullptr, 0}, nullptr));
  const auto vast = shape_of(1 << 16, 1 << 10, 1 << 10, 1, 1, 1, 1);
  CHECK_THROWS_WITH(
      cuttle::kernels::launch_conv2d<float>({vast, nullptr, nullptr, nullptr, nullptr, nullptr, 0}, nullptr),
      cuttle_test::contains("conv2d: 68719476736 pixels"));
}
