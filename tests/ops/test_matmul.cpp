// matmul against the triple loop in double, on every device.
#include "cuttle/ops/matmul.hpp"

#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/every_isa.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

namespace {

struct Extents {
  std::int64_t batch, M, N, K;
};

template <class T>
Tensor<double> expected_product(const Tensor<T>& a, const Tensor<T>& b, const MatmulOptions& options,
                                const Extents& e) {
  auto c = Tensor<double>::empty({e.batch, e.M, e.N});
  for (std::int64_t i = 0; i < e.batch; ++i)
    for (std::int64_t m = 0; m < e.M; ++m)
      for (std::int64_t n = 0; n < e.N; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < e.K; ++k)
          sum += static_cast<double>(a.data()[i * e.M * e.K + (options.transpose_a ? k * e.M + m : m * e.K + k)]) *
                 static_cast<double>(b.data()[i * e.K * e.N + (options.transpose_b ? n * e.K + k : k * e.N + n)]);
        c.data()[(i * e.M + m) * e.N + n] = options.alpha * sum;
      }
  return c;
}

template <class T>
void check(const Extents& e, double alpha = 1) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      INFO("batch " << e.batch << ", M " << e.M << ", N " << e.N << ", K " << e.K << ", transposed " << ta << tb);
      const MatmulOptions options{ta, tb, alpha, Math::fp32};
      // Whole numbers, whose sums are exact: any order of summing gives the same bits.
      const auto a = cuttle_test::integer_tensor<T>(ta ? Shape{e.batch, e.K, e.M} : Shape{e.batch, e.M, e.K}, 1);
      const auto b = cuttle_test::integer_tensor<T>(tb ? Shape{e.batch, e.N, e.K} : Shape{e.batch, e.K, e.N}, 2);
      const auto c = expected_product(a, b, options, e);
      on_every_device([&](Device device) {
        CHECK_CLOSE(matmul(a.to(device), b.to(device), options), c, {});
        auto sum = Tensor<T>::full(c.shape(), 5, device);
        auto twice = c.clone();
        for (double& value : twice.span()) value = value + 5;
        add_matmul(sum, a.to(device), b.to(device), options);
        CHECK_CLOSE(sum, twice, {});
        if (e.batch == 1) {
          const auto one = [&](const Tensor<T>& t) { return t.reshape({t.size(1), t.size(2)}).to(device); };
          CHECK_CLOSE(matmul(one(a), one(b), options), c.reshape({e.M, e.N}), {});
        }
      });
    }
}

}  // namespace

TEST_CASE("matmul: all transposes of whole numbers, exactly") {
  for (const Extents& e : {Extents{1, 1, 1, 1}, Extents{1, 33, 129, 5}, Extents{3, 7, 65, 33}, Extents{5, 1, 3, 129},
                           Extents{1, 515, 2, 9}, Extents{2, 150, 17, 20}}) {
    check<float>(e);
    check<double>(e);
  }
  check<float>({2, 13, 40, 31}, -0.5);
  check<double>({2, 13, 40, 31}, 0.25);
}

TEST_CASE("matmul: real numbers, within the rounding of their sums, on every instruction set and number of threads") {
  const Extents e{1, 65, 131, 777};
  const auto a = uniform_tensor<float>({e.M, e.K}, 3), b = uniform_tensor<float>({e.K, e.N}, 4);
  const auto c = expected_product(a, b, {}, e).reshape({e.M, e.N});
  // Each entry is off by at most K 2^-24 sum |a_k b_k|, and that sum is about K / 4.
  const double near = 777 * 0x1p-24 * 777 / 4;
  cuttle_test::on_every_isa([&] {
    const int threads = num_threads();
    std::vector<Tensor<float>> products;
    for (const int n : {1, 3}) {
      set_num_threads(n);
      products.push_back(matmul(a, b));
    }
    set_num_threads(threads);
    CHECK_CLOSE(products[0], c, {0, near});
    CHECK_CLOSE(products[0], products[1], {});
  });
  on_every_device([&](Device device) { CHECK_CLOSE(matmul(a.to(device), b.to(device)), c, {0, near}); });
}

TEST_CASE("matmul: empty sums are zero, empty products have no entries") {
  on_every_device([](Device device) {
    const auto zero = matmul(Tensor<float>::zeros({3, 0}, device), Tensor<float>::zeros({0, 2}, device));
    CHECK_CLOSE(zero, Tensor<float>::zeros({3, 2}), {});
    CHECK(matmul(Tensor<float>::zeros({0, 4}, device), Tensor<float>::zeros({4, 2}, device)).shape() == Shape({0, 2}));
  });
}

TEST_CASE("matmul: gradcheck of all transposes") {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      CHECK(gradcheck(
                [&](const std::vector<Var<double>>& v) {
                  return matmul(v[0], v[1], {ta, tb, 0.7, Math::fp32});
                },
                {uniform_tensor<double>(ta ? Shape{2, 5, 3} : Shape{2, 3, 5}, 5),
                 uniform_tensor<double>(tb ? Shape{2, 4, 5} : Shape{2, 5, 4}, 6)}) == "");
}

TEST_CASE("matmul: shapes that do not fit are named") {
  const auto a = Tensor<float>::zeros({2, 3});
  CHECK_THROWS_WITH(matmul(a, a), cuttle_test::contains("[2, 3]"));
  CHECK_THROWS_WITH(matmul(a, Tensor<float>::zeros({1, 3, 2})), cuttle_test::contains("matmul: a has shape"));
  CHECK_THROWS_AS(matmul(Tensor<float>::zeros({2, 4, 3}), Tensor<float>::zeros({3, 3, 4})), Error);
  auto c = Tensor<float>::zeros({3, 3});
  CHECK_THROWS_WITH(add_matmul(c, a, a, {false, true, 1, Math::fp32}), cuttle_test::contains("add_matmul: c has"));
}
