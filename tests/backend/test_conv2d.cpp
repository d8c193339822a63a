// The direct convolution against the formula in double, for every instruction set and thread count.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuttle/backend/cpu_conv2d.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/conv2d_oracle.hpp"

namespace {

using cuttle::concat;
using cuttle::Tensor;
using cuttle::cpu::Isa;
using cuttle::seam::Activation;
using cuttle::seam::Conv2dShape;
using cuttle_test::activated;
using cuttle_test::activation_slope;
using cuttle_test::for_each_product;

// Restores the instruction set and the number of threads.
struct Settings {
  Isa isa = cuttle::cpu::isa();
  int threads = cuttle::num_threads();
  ~Settings() {
    cuttle::cpu::set_isa(isa);
    cuttle::set_num_threads(threads);
  }
};

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
    if (isa <= cuttle::cpu::isa()) isas.push_back(isa);
  return isas;
}

Conv2dShape shape_of(std::int64_t B, std::int64_t H, std::int64_t W, std::int64_t C, std::int64_t O, std::int64_t R,
                     std::int64_t S, std::int64_t stride = 1, std::int64_t padding = 0, std::int64_t dilation = 1,
                     Activation activation = Activation::none, double slope = 0) {
  return {B,
          H,
          W,
          C,
          O,
          R,
          S,
          (H + 2 * padding - dilation * (R - 1) - 1) / stride + 1,
          (W + 2 * padding - dilation * (S - 1) - 1) / stride + 1,
          stride,
          padding,
          dilation,
          activation,
          slope,
          cuttle::seam::Math::fp32};
}

std::string name_of(const Conv2dShape& s) {
  return concat("B", s.B, " ", s.H, "x", s.W, "x", s.C, " -> ", s.OH, "x", s.OW, "x", s.O, ", ", s.R, "x", s.S,
                " stride ", s.stride, " padding ", s.padding, " dilation ", s.dilation, " activation ",
                static_cast<int>(s.activation));
}

const std::vector<Conv2dShape> shapes = {
    shape_of(1, 1, 1, 1, 1, 1, 1),
    shape_of(2, 5, 4, 3, 2, 3, 3),
    shape_of(3, 9, 9, 3, 33, 3, 3, 2, 0, 1, Activation::leaky_relu, 0.1),
    shape_of(50, 3, 3, 7, 64, 3, 3, 1, 0, 1, Activation::tanh),
    shape_of(5, 7, 7, 40, 17, 3, 3, 1, 0, 1, Activation::leaky_relu, 0.1),
    shape_of(2, 8, 8, 16, 16, 3, 3, 1, 1, 1, Activation::relu),
    shape_of(2, 9, 7, 5, 48, 3, 3, 2, 1, 1, Activation::relu),
    shape_of(1, 130, 33, 2, 3, 3, 3, 1, 1),
    shape_of(2, 6, 11, 4, 9, 1, 5, 1, 2),
    shape_of(2, 11, 6, 4, 9, 5, 2, 3, 1),
    shape_of(1, 13, 13, 3, 5, 3, 3, 1, 2, 2),
    shape_of(1, 14, 15, 3, 5, 3, 3, 2, 3, 3),
    shape_of(1, 14, 15, 3, 5, 3, 2, 2, 2, 4, Activation::leaky_relu, 0.25),
    shape_of(2, 5, 5, 129, 1, 1, 1, 1, 0, 1, Activation::tanh),
    shape_of(2, 7, 7, 6, 6, 2, 2, 4, 0),  // a stride beyond the kernel: some x are never read
    shape_of(1, 2, 2, 3, 4, 3, 3, 1, 2),  // a kernel larger than the map
    shape_of(1, 4, 4, 515, 33, 3, 3, 1, 1),
    shape_of(0, 4, 4, 3, 2, 3, 3),
};

template <class T>
struct Problem {
  Conv2dShape s;
  Tensor<T> x, weight, bias, dy;
};

// Integers in [-3, 3] make every sum exact in any order; else normal values.
template <class T>
Problem<T> problem_of(const Conv2dShape& s, bool integers, unsigned seed = 7) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::uniform_int_distribution<int> integer(-3, 3);
  auto tensor = [&](const cuttle::Shape& shape) {
    auto t = Tensor<T>::empty(shape);
    for (T& value : t.span()) value = static_cast<T>(integers ? integer(generator) : normal(generator));
    return t;
  };
  return {s, tensor({s.B, s.H, s.W, s.C}), tensor({s.O, s.R, s.S, s.C}), tensor({s.O}), tensor({s.B, s.OH, s.OW, s.O})};
}

// A sum and the sum of its terms' magnitudes, for a bound on what rounding may do to it.
struct Sum {
  double value = 0, magnitude = 0;
  void add(double term) {
    value += term;
    magnitude += std::abs(term);
  }
};

// |actual - sum| <= (terms + 4) * unit roundoff * (magnitude + 1e-300), element by element; "" or what is wrong.
template <class T>
std::string outside(const Tensor<T>& actual, const std::vector<Sum>& expected, std::int64_t terms) {
  const double unit = std::numeric_limits<T>::epsilon() / 2;
  if (actual.numel() != static_cast<std::int64_t>(expected.size())) return "another number of elements";
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double bound = static_cast<double>(terms + 4) * unit * expected[i].magnitude;
    const double difference = std::abs(static_cast<double>(actual.span()[i]) - expected[i].value);
    if (!(difference <= bound))
      return concat("element ", i, " is ", actual.span()[i], " where ", expected[i].value, " is expected, bound ",
                    bound);
  }
  return "";
}

template <class T>
Tensor<T> forward(const Problem<T>& p, bool bias = true) {
  auto y = Tensor<T>::full({p.s.B, p.s.OH, p.s.OW, p.s.O}, std::numeric_limits<T>::quiet_NaN());
  cuttle::cpu::conv2d<T>({p.s, p.x.data(), p.weight.data(), bias ? p.bias.data() : nullptr, y.data()});
  return y;
}

template <class T>
struct Gradients {
  Tensor<T> dx, dweight, dbias;
};

// dweight and dbias start at `start`, dx at NaN.
template <class T>
Gradients<T> backward(const Problem<T>& p, const Tensor<T>& y, T start = T(0)) {
  Gradients<T> g{Tensor<T>::full(p.x.shape(), std::numeric_limits<T>::quiet_NaN()),
                 Tensor<T>::full(p.weight.shape(), start), Tensor<T>::full(p.bias.shape(), start)};
  cuttle::cpu::conv2d_backward<T>(
      {p.s, p.x.data(), p.weight.data(), y.data(), p.dy.data(), g.dx.data(), g.dweight.data(), g.dbias.data()});
  return g;
}

template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.numel() == b.numel() &&
         (a.numel() == 0 || std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.numel()) * sizeof(T)) == 0);
}

template <class T>
void check_forward(const Conv2dShape& s, bool bias) {
  const auto p = problem_of<T>(s, false);
  std::vector<Sum> expected(static_cast<std::size_t>(s.B * s.OH * s.OW * s.O));
  for (std::size_t i = 0; i < expected.size() && bias; ++i)
    expected[i].add(static_cast<double>(p.bias.span()[i % static_cast<std::size_t>(s.O)]));
  for_each_product(s, [&](std::size_t y, std::size_t x, std::size_t w) {
    expected[y].add(static_cast<double>(p.x.data()[x]) * static_cast<double>(p.weight.data()[w]));
  });
  // Every activation has a slope of at most 1, so it does not enlarge an error; tanh adds its own rounding.
  for (Sum& sum : expected) {
    sum.value = activated(s, sum.value);
    sum.magnitude += std::abs(sum.value);
  }
  CHECK(outside(forward(p, bias), expected, s.R * s.S * s.C + 1) == "");
}

template <class T>
void check_backward(const Conv2dShape& s) {
  const auto p = problem_of<T>(s, false);
  const auto y = forward(p);
  std::vector<double> dz;
  for (std::size_t i = 0; i < p.dy.span().size(); ++i)
    dz.push_back(static_cast<double>(p.dy.span()[i]) * activation_slope(s, static_cast<double>(y.span()[i])));
  const T start = T(0.5);
  std::vector<Sum> dx(p.x.span().size()), dweight(p.weight.span().size()), dbias(p.bias.span().size());
  for (Sum& sum : dweight) sum.add(static_cast<double>(start));
  for (Sum& sum : dbias) sum.add(static_cast<double>(start));
  // 1 - y*y loses its leading bits near |y| = 1: the error is that of dy, not of dz.
  for (std::size_t i = 0; i < dz.size(); ++i) {
    Sum& sum = dbias[i % static_cast<std::size_t>(s.O)];
    sum.value += dz[i];
    sum.magnitude += std::abs(static_cast<double>(p.dy.span()[i]));
  }
  for_each_product(s, [&](std::size_t at_y, std::size_t at_x, std::size_t at_w) {
    const double x = static_cast<double>(p.x.data()[at_x]), w = static_cast<double>(p.weight.data()[at_w]);
    const double gradient = dz[at_y], size = std::abs(static_cast<double>(p.dy.data()[at_y]));
    dx[at_x].value += gradient * w;
    dx[at_x].magnitude += size * std::abs(w);
    dweight[at_w].value += gradient * x;
    dweight[at_w].magnitude += size * std::abs(x);
  });
  const auto g = backward(p, y, start);
  CHECK(outside(g.dx, dx, s.R * s.S * s.O) == "");
  CHECK(outside(g.dweight, dweight, s.B * s.OH * s.OW + 1) == "");
  CHECK(outside(g.dbias, dbias, s.B * s.OH * s.OW + 1) == "");
}

}  // namespace

TEMPLATE_TEST_CASE("conv2d forward is the formula", "[conv2d]", float, double) {
  Settings restore;
  for (Isa isa : available_isas())
    for (const Conv2dShape& s : shapes) {
      cuttle::cpu::set_isa(isa);
      INFO(name_of(s) << ", isa " << static_cast<int>(isa));
      check_forward<TestType>(s, true);
      check_forward<TestType>(s, false);
    }
}

TEMPLATE_TEST_CASE("conv2d gradients are those of the formula", "[conv2d]", float, double) {
  Settings restore;
  for (Isa isa : available_isas())
    for (const Conv2dShape& s : shapes) {
      cuttle::cpu::set_isa(isa);
      INFO(name_of(s) << ", isa " << static_cast<int>(isa));
      check_backward<TestType>(s);
    }
}

TEST_CASE("conv2d is exact on small integers, and every instruction set agrees", "[conv2d]") {
  Settings restore;
  for (Conv2dShape s : shapes) {
    if (s.activation == Activation::tanh) s.activation = Activation::none;
    if (s.activation == Activation::leaky_relu) s.slope = 0.5;  // halves and quarters are exact too
    INFO(name_of(s));
    const auto narrow = problem_of<float>(s, true);
    const auto wide = problem_of<double>(s, true);
    cuttle::cpu::set_isa(Isa::baseline);
    const auto expected_y = forward(wide);
    const auto expected = backward(wide, expected_y, 2.0);
    auto equal = [](const Tensor<float>& a, const Tensor<double>& b) {
      for (std::int64_t i = 0; i < a.numel(); ++i)
        if (static_cast<double>(a.data()[i]) != b.data()[i]) return false;
      return a.shape() == b.shape();
    };
    for (Isa isa : available_isas()) {
      cuttle::cpu::set_isa(isa);
      INFO("isa " << static_cast<int>(isa));
      const auto y = forward(narrow);
      const auto g = backward(narrow, y, 2.0f);
      CHECK(equal(y, expected_y));
      CHECK(equal(g.dx, expected.dx));
      CHECK(equal(g.dweight, expected.dweight));
      CHECK(equal(g.dbias, expected.dbias));
    }
  }
}

TEST_CASE("conv2d gives the same bits on any number of threads", "[conv2d]") {
  Settings restore;
  // Several tiles of images, of rows, several groups of partial sums, several blocks of channels.
  for (const Conv2dShape& s : {shape_of(129, 5, 5, 16, 33, 3, 3, 1, 0, 1, Activation::leaky_relu, 0.1),
                               shape_of(1, 70, 65, 8, 40, 3, 3, 1, 1, 1, Activation::tanh),
                               shape_of(2, 33, 33, 3, 65, 3, 3, 2, 1, 1, Activation::relu)})
    for (Isa isa : available_isas()) {
      cuttle::cpu::set_isa(isa);
      INFO(name_of(s) << ", isa " << static_cast<int>(isa));
      const auto p = problem_of<float>(s, false);
      cuttle::set_num_threads(1);
      const auto y = forward(p);
      const auto g = backward(p, y);
      for (int threads : {2, 3}) {
        cuttle::set_num_threads(threads);
        const auto again_y = forward(p);
        const auto again = backward(p, y);
        CHECK(same_bits(y, again_y));
        CHECK(same_bits(g.dx, again.dx));
        CHECK(same_bits(g.dweight, again.dweight));
        CHECK(same_bits(g.dbias, again.dbias));
      }
    }
}

TEST_CASE("conv2d backward leaves out what is null", "[conv2d]") {
  for (auto activation : {Activation::none, Activation::leaky_relu}) {
    const auto p = problem_of<float>(shape_of(3, 6, 6, 5, 20, 3, 3, 1, 1, 1, activation, 0.1), false);
    const auto y = forward(p);
    const auto all = backward(p, y);
    for (int wanted = 0; wanted < 8; ++wanted) {
      INFO("wanted " << wanted);
      Gradients<float> g{Tensor<float>::zeros(p.x.shape()), Tensor<float>::zeros(p.weight.shape()),
                         Tensor<float>::zeros(p.bias.shape())};
      cuttle::cpu::conv2d_backward<float>({p.s, p.x.data(), p.weight.data(),
                                           activation == Activation::none ? nullptr : y.data(), p.dy.data(),
                                           wanted & 1 ? g.dx.data() : nullptr, wanted & 2 ? g.dweight.data() : nullptr,
                                           wanted & 4 ? g.dbias.data() : nullptr});
      CHECK(same_bits(g.dx, wanted & 1 ? all.dx : Tensor<float>::zeros(p.x.shape())));
      CHECK(same_bits(g.dweight, wanted & 2 ? all.dweight : Tensor<float>::zeros(p.weight.shape())));
      CHECK(same_bits(g.dbias, wanted & 4 ? all.dbias : Tensor<float>::zeros(p.bias.shape())));
    }
  }
}

TEST_CASE("conv2d lets NaN and infinity through its activations", "[conv2d]") {
  Settings restore;
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (Isa isa : available_isas()) {
    cuttle::cpu::set_isa(isa);
    for (auto activation : {Activation::none, Activation::relu, Activation::leaky_relu, Activation::tanh}) {
      INFO("isa " << static_cast<int>(isa) << ", activation " << static_cast<int>(activation));
      const Conv2dShape s = shape_of(1, 1, 3, 1, 1, 1, 1, 1, 0, 1, activation, 0.5);
      const float x[3] = {nan, -infinity, infinity}, weight = 1;
      float y[3];
      cuttle::cpu::conv2d<float>({s, x, &weight, nullptr, y});
      CHECK(std::isnan(y[0]));
      CHECK(y[1] == static_cast<float>(activated(s, -infinity)));
      CHECK(y[2] == static_cast<float>(activated(s, infinity)));
    }
  }
}

TEST_CASE("conv2d takes Math::winograd where it is supported, else the direct method", "[conv2d]") {
  for (const std::int64_t channels : {32, 33}) {
    Conv2dShape s = shape_of(20, 11, 11, 32, channels, 3, 3, 1, 0, 1, Activation::leaky_relu, 0.1);
    const auto direct = problem_of<float>(s, false);
    s.math = cuttle::seam::Math::winograd;
    const bool supported = cuttle::cpu::winograd_supported(s);
    CHECK(supported == (channels == 32));
    auto named = direct;
    named.s = s;
    const auto y = forward(direct), z = forward(named);
    const auto g = backward(direct, y), h = backward(named, y);
    CHECK(same_bits(y, z) == !supported);
    CHECK(same_bits(g.dx, h.dx) == !supported);
    CHECK(same_bits(g.dweight, h.dweight) == !supported);
    double largest = 0;
    for (std::int64_t i = 0; i < y.numel(); ++i)
      largest = std::max(largest, std::abs(static_cast<double>(y.data()[i]) - static_cast<double>(z.data()[i])));
    CHECK(largest < 1e-3);
  }
}

TEST_CASE("conv2d allocates nothing after the first call", "[conv2d]") {
  const auto p = problem_of<float>(shape_of(40, 9, 9, 16, 40, 3, 3, 1, 1, 1, Activation::leaky_relu, 0.1), false);
  Settings restore;
  cuttle::set_num_threads(1);
  auto y = forward(p);
  auto g = backward(p, y);
  const auto before = cuttle::pool_statistics().allocations;
  cuttle::cpu::conv2d<float>({p.s, p.x.data(), p.weight.data(), p.bias.data(), y.data()});
  cuttle::cpu::conv2d_backward<float>(
      {p.s, p.x.data(), p.weight.data(), y.data(), p.dy.data(), g.dx.data(), g.dweight.data(), g.dbias.data()});
  CHECK(cuttle::pool_statistics().allocations == before);
}
