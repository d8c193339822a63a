// Winograd convolution against the sums it stands for, in double.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cuttle/backend/cpu_winograd.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"

using cuttle::Tensor;
using cuttle::cpu::Isa;
using cuttle::seam::Activation;
using cuttle::seam::Conv2dShape;
using std::int64_t;

namespace {

Conv2dShape conv3x3(int64_t B, int64_t H, int64_t W, int64_t C, int64_t O, int64_t padding = 0,
                    Activation activation = Activation::none, double slope = 0.1) {
  return {B,
          H,
          W,
          C,
          O,
          3,
          3,
          H + 2 * padding - 2,
          W + 2 * padding - 2,
          1,
          padding,
          1,
          activation,
          slope,
          cuttle::seam::Math::winograd};
}

Tensor<float> normals(const cuttle::Shape& shape, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Tensor<float> tensor = Tensor<float>::empty(shape);
  for (float& value : tensor.span()) value = normal(engine);
  return tensor;
}

struct Layer {
  Conv2dShape s;
  Tensor<float> x, weight, bias, y, dy, dx, dweight, dbias;

  explicit Layer(const Conv2dShape& shape, unsigned seed = 1)
      : s(shape),
        x(normals({s.B, s.H, s.W, s.C}, seed)),
        weight(normals({s.O, 3, 3, s.C}, seed + 1)),
        bias(normals({s.O}, seed + 2)),
        y(Tensor<float>::empty({s.B, s.OH, s.OW, s.O})),
        dy(normals({s.B, s.OH, s.OW, s.O}, seed + 3)),
        dx(Tensor<float>::full(x.shape(), std::nanf(""))),
        dweight(Tensor<float>::zeros(weight.shape())),
        dbias(Tensor<float>::zeros(bias.shape())) {}

  void forward() { cuttle::cpu::winograd_conv2d({s, x.data(), weight.data(), bias.data(), y.data()}); }
  void backward() {
    cuttle::cpu::winograd_conv2d_backward(
        {s, x.data(), weight.data(), y.data(), dy.data(), dx.data(), dweight.data(), dbias.data()});
  }
};

double activated(const Conv2dShape& s, double z) {
  if (s.activation == Activation::none || z > 0) return z;
  return s.activation == Activation::relu ? 0 : s.slope * z;
}

// Calls visit(index into x, index into weight, index into y) for every product of the convolution.
template <class Visit>
void each_product(const Conv2dShape& s, Visit visit) {
  for (int64_t b = 0; b < s.B; ++b)
    for (int64_t h = 0; h < s.OH; ++h)
      for (int64_t w = 0; w < s.OW; ++w)
        for (int64_t o = 0; o < s.O; ++o)
          for (int64_t r = 0; r < 3; ++r)
            for (int64_t q = 0; q < 3; ++q) {
              const int64_t ih = h + r - s.padding, iw = w + q - s.padding;
              if (ih < 0 || ih >= s.H || iw < 0 || iw >= s.W) continue;
              for (int64_t c = 0; c < s.C; ++c)
                visit(((b * s.H + ih) * s.W + iw) * s.C + c, ((o * 3 + r) * 3 + q) * s.C + c,
                      ((b * s.OH + h) * s.OW + w) * s.O + o);
            }
}

std::vector<double> zeros(int64_t n) { return std::vector<double>(static_cast<std::size_t>(n)); }
double& at(std::vector<double>& values, int64_t i) { return values[static_cast<std::size_t>(i)]; }

struct Oracle {
  std::vector<double> y, dx, dweight, dbias;

  explicit Oracle(const Layer& l)
      : y(zeros(l.y.numel())), dx(zeros(l.x.numel())), dweight(zeros(l.weight.numel())), dbias(zeros(l.bias.numel())) {
    const float *x = l.x.data(), *weight = l.weight.data();
    for (int64_t i = 0; i < l.y.numel(); ++i) at(y, i) = static_cast<double>(l.bias.data()[i % l.s.O]);
    each_product(l.s, [&](int64_t i, int64_t k, int64_t j) {
      at(y, j) += static_cast<double>(x[i]) * static_cast<double>(weight[k]);
    });
    for (double& value : y) value = activated(l.s, value);
  }

  // act' is taken from the layer's own y, so that a sign that rounding flipped is not counted as an error.
  void backward(const Layer& l) {
    std::vector<double> dz = zeros(l.y.numel());
    for (int64_t i = 0; i < l.y.numel(); ++i) {
      const bool positive = l.y.data()[i] > 0;
      const double factor = l.s.activation == Activation::none || positive ? 1
                            : l.s.activation == Activation::relu           ? 0
                                                                           : l.s.slope;
      at(dz, i) = factor * static_cast<double>(l.dy.data()[i]);
      at(dbias, i % l.s.O) += at(dz, i);
    }
    each_product(l.s, [&](int64_t i, int64_t k, int64_t j) {
      at(dx, i) += at(dz, j) * static_cast<double>(l.weight.data()[k]);
      at(dweight, k) += at(dz, j) * static_cast<double>(l.x.data()[i]);
    });
  }
};

// sqrt(sum (actual - expected)^2 / sum expected^2); infinite where actual is not finite.
double relative_rms(const Tensor<float>& actual, const std::vector<double>& expected) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < actual.numel(); ++i) {
    const double a = static_cast<double>(actual.data()[i]), e = expected[static_cast<std::size_t>(i)];
    if (!std::isfinite(a)) return INFINITY;
    difference += (a - e) * (a - e);
    size += e * e;
  }
  return std::sqrt(difference / size);
}

std::vector<Isa> instruction_sets() {
  std::vector<Isa> sets{Isa::baseline};
  for (Isa isa : {Isa::avx2, Isa::avx512})
    if (isa <= cuttle::cpu::detail::widest_isa()) sets.push_back(isa);
  return sets;
}

struct RestoreSettings {
  Isa isa = cuttle::cpu::isa();
  int threads = cuttle::num_threads();
  ~RestoreSettings() {
    cuttle::cpu::set_isa(isa);
    cuttle::set_num_threads(threads);
  }
};

bool same_bits(const Tensor<float>& a, const Tensor<float>& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.numel()) * 4) == 0;
}

}  // namespace

// Tolerance of the relative rms error. With u = 2^-24 a sum of K terms of random sign at one point has a relative rms
// error of about u sqrt(K) / 2, which the transforms magnify, by about 10 in two dimensions for F(4,3); the sums here
// have K = C or O <= 128 terms, or as many tiles: 10 u sqrt(128) / 2 = 3.4e-6. A wrong coefficient or index is worth
// 1e-2.
constexpr double tolerance = 3.4e-6;

TEST_CASE("Winograd convolution and its gradients equal the sums in double") {
  RestoreSettings restore;
  const Conv2dShape shapes[] = {
      conv3x3(1, 4, 4, 32, 32),                                  // F(2,3) alone
      conv3x3(3, 5, 7, 32, 64, 0, Activation::leaky_relu),       // 3 x (3+2)
      conv3x3(9, 11, 9, 64, 32, 0, Activation::relu),            // (3+3+3) x (4+3)
      conv3x3(2, 15, 13, 32, 32, 0, Activation::leaky_relu),     // (4+3+3+3) x (4+4+3)
      conv3x3(1, 6, 16, 96, 32),                                 // 4 x (4+4+3+3)
      conv3x3(2, 5, 6, 32, 96, 1, Activation::leaky_relu, 0.3),  // padded: (3+2) x (3+3)
      conv3x3(1, 2, 33, 32, 32, 1),                              // padded, 2 rows
      conv3x3(17, 4, 5, 128, 32, 0, Activation::leaky_relu),     // groups of two images, the last of one
  };
  for (Isa isa : instruction_sets()) {
    cuttle::cpu::set_isa(isa);
    for (const Conv2dShape& s : shapes) {
      CAPTURE(static_cast<int>(isa), s.B, s.H, s.W, s.C, s.O, s.padding);
      Layer layer(s);
      Oracle oracle(layer);
      layer.forward();
      CHECK(relative_rms(layer.y, oracle.y) < tolerance);
      layer.backward();
      oracle.backward(layer);
      CHECK(relative_rms(layer.dx, oracle.dx) < tolerance);
      CHECK(relative_rms(layer.dweight, oracle.dweight) < tolerance);
      CHECK(relative_rms(layer.dbias, oracle.dbias) < tolerance);
    }
  }
}

TEST_CASE("Winograd weight and bias gradients are added, the input's is written") {
  Layer once(conv3x3(3, 7, 7, 32, 32, 0, Activation::leaky_relu));
  once.forward();
  once.backward();
  Layer twice(once.s);
  twice.forward();
  twice.backward();
  twice.backward();
  CHECK(same_bits(once.dx, twice.dx));
  for (int64_t i = 0; i < once.dweight.numel(); ++i) REQUIRE(twice.dweight.data()[i] == 2 * once.dweight.data()[i]);
  for (int64_t i = 0; i < once.dbias.numel(); ++i) REQUIRE(twice.dbias.data()[i] == 2 * once.dbias.data()[i]);
}

TEST_CASE("Winograd leaves out what is null") {
  Layer all(conv3x3(3, 7, 8, 32, 64, 1, Activation::leaky_relu));
  all.forward();
  all.backward();

  SECTION("bias") {
    Layer none(all.s);
    std::fill_n(none.bias.data(), none.bias.numel(), 0.0f);
    none.forward();
    Tensor<float> with_zeros = none.y.clone();
    cuttle::cpu::winograd_conv2d({none.s, none.x.data(), none.weight.data(), nullptr, none.y.data()});
    CHECK(same_bits(none.y, with_zeros));
    CHECK_FALSE(same_bits(none.y, all.y));
  }
  SECTION("gradients") {
    for (int kept = 0; kept < 3; ++kept) {
      Layer some(all.s);
      some.forward();
      cuttle::cpu::winograd_conv2d_backward({some.s, some.x.data(), some.weight.data(), some.y.data(), some.dy.data(),
                                             kept == 0 ? some.dx.data() : nullptr,
                                             kept == 1 ? some.dweight.data() : nullptr,
                                             kept == 2 ? some.dbias.data() : nullptr});
      CHECK((kept == 0 ? same_bits(some.dx, all.dx) : std::isnan(some.dx.data()[0])));
      CHECK((kept == 1 ? same_bits(some.dweight, all.dweight) : some.dweight.data()[0] == 0));
      CHECK((kept == 2 ? same_bits(some.dbias, all.dbias) : some.dbias.data()[0] == 0));
    }
  }
}

TEST_CASE("Winograd results do not depend on the number of threads") {
  RestoreSettings restore;
  // Many chunks: 40 images of 16 tiles each forward, 14 groups backward.
  Layer one(conv3x3(40, 15, 15, 32, 64, 0, Activation::leaky_relu)), two(one.s);
  cuttle::set_num_threads(1);
  one.forward();
  one.backward();
  cuttle::set_num_threads(2);
  two.forward();
  two.backward();
  CHECK(same_bits(one.y, two.y));
  CHECK(same_bits(one.dx, two.dx));
  CHECK(same_bits(one.dweight, two.dweight));
  CHECK(same_bits(one.dbias, two.dbias));
}

TEST_CASE("Winograd on a picture larger than one chunk") {
  // 66x131 outputs of one image: chunks end inside the image, and in the backward pass share rows of dx.
  Layer layer(conv3x3(1, 68, 133, 32, 32, 0, Activation::leaky_relu));
  Oracle oracle(layer);
  layer.forward();
  CHECK(relative_rms(layer.y, oracle.y) < tolerance);
  layer.backward();
  oracle.backward(layer);
  CHECK(relative_rms(layer.dx, oracle.dx) < tolerance);
  CHECK(relative_rms(layer.dweight, oracle.dweight) < tolerance);
  CHECK(relative_rms(layer.dbias, oracle.dbias) < tolerance);
}

TEST_CASE("Winograd memory comes from the pool after the first call") {
  Layer layer(conv3x3(8, 9, 9, 32, 32));
  cuttle::set_num_threads(1);
  layer.forward();
  layer.backward();
  const auto before = cuttle::pool_statistics().allocations;
  layer.forward();
  layer.backward();
  CHECK(cuttle::pool_statistics().allocations == before);
}

TEST_CASE("winograd_supported names what the kernels compute") {
  using cuttle::cpu::winograd_supported;
  const Conv2dShape good = conv3x3(1280, 15, 15, 32, 64, 0, Activation::leaky_relu);
  CHECK(winograd_supported(good));
  CHECK(winograd_supported(conv3x3(1280, 5, 5, 32, 32)));
  CHECK(winograd_supported(conv3x3(1, 127, 127, 32, 64, 1)));

  const auto refused = [&](auto change) {
    Conv2dShape s = good;
    change(s);
    return !winograd_supported(s);
  };
  CHECK(refused([](Conv2dShape& s) { s.stride = 2; }));
  CHECK(refused([](Conv2dShape& s) { s.dilation = 2; }));
  CHECK(refused([](Conv2dShape& s) { s.padding = 2; }));
  CHECK(refused([](Conv2dShape& s) { s.R = 1; }));
  CHECK(refused([](Conv2dShape& s) { s.S = 5; }));
  CHECK(refused([](Conv2dShape& s) { s.C = 3; }));
  CHECK(refused([](Conv2dShape& s) { s.O = 33; }));
  CHECK(refused([](Conv2dShape& s) { s.B = 0; }));
  CHECK(refused([](Conv2dShape& s) { s.OH = s.OW = 1; }));
  CHECK(refused([](Conv2dShape& s) { s.activation = Activation::tanh; }));
  CHECK(refused([](Conv2dShape& s) { s.B = 1, s.OH = s.OW = 3; }));
  CHECK(refused([](Conv2dShape& s) { s.C = s.O = 512; }));

  Conv2dShape strided = good;
  strided.stride = 2;
  CHECK_THROWS_WITH(cuttle::cpu::winograd_conv2d({strided, nullptr, nullptr, nullptr, nullptr}),
                    Catch::Contains("winograd_conv2d"));
}
