// resize_bilinear against its definition in double, on every device, and against PyTorch's tensors.
#include "cuttle/ops/resize_bilinear.hpp"

#include <cmath>
#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "cuttle/io/safetensors.hpp"
#include "cuttle/ops/permute.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

namespace {

// One axis as a matrix (out, in): the hat function around max(0, (i + 1/2) in/out - 1/2), at the last element cut off.
std::vector<std::vector<double>> axis(std::int64_t in, std::int64_t out) {
  std::vector<std::vector<double>> weight(static_cast<std::size_t>(out),
                                          std::vector<double>(static_cast<std::size_t>(in)));
  for (std::int64_t i = 0; i < out; ++i) {
    const double s =
        std::max(0.0, (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5);
    const double at = std::min(s, static_cast<double>(in - 1));
    for (std::int64_t k = 0; k < in; ++k)
      weight[static_cast<std::size_t>(i)][static_cast<std::size_t>(k)] =
          std::max(0.0, 1 - std::abs(at - static_cast<double>(k)));
  }
  return weight;
}

struct Sizes {
  std::int64_t B, H, W, C, OH, OW;
};

template <class T>
void check(const Sizes& s) {
  INFO("x " << Shape({s.B, s.H, s.W, s.C}) << " to " << s.OH << " x " << s.OW);
  const auto x = uniform_tensor<T>({s.B, s.H, s.W, s.C}, 1), dy = uniform_tensor<T>({s.B, s.OH, s.OW, s.C}, 2);
  auto y = Tensor<double>::zeros(dy.shape()), dx = Tensor<double>::zeros(x.shape());
  const auto down = axis(s.H, s.OH), across = axis(s.W, s.OW);
  for (std::int64_t b = 0; b < s.B; ++b)
    for (std::int64_t i = 0; i < s.OH; ++i)
      for (std::int64_t j = 0; j < s.OW; ++j)
        for (std::int64_t h = 0; h < s.H; ++h)
          for (std::int64_t w = 0; w < s.W; ++w) {
            const double weight = down[static_cast<std::size_t>(i)][static_cast<std::size_t>(h)] *
                                  across[static_cast<std::size_t>(j)][static_cast<std::size_t>(w)];
            if (weight == 0) continue;
            for (std::int64_t c = 0; c < s.C; ++c) {
              const std::int64_t to = ((b * s.OH + i) * s.OW + j) * s.C + c, from = ((b * s.H + h) * s.W + w) * s.C + c;
              y.data()[to] += weight * static_cast<double>(x.data()[from]);
              dx.data()[from] += weight * static_cast<double>(dy.data()[to]);
            }
          }
  // y: a few roundings of values up to 1; in double those of the definition's positions up to 40 outweigh them.
  // dx: as many for each of its readers, whose weights sum to about their ratio.
  const double ulp = std::is_same_v<T, float> ? 0x1p-24 : 40 * 0x1p-53;
  const double readers = static_cast<double>((2 * s.OH / s.H + 3) * (2 * s.OW / s.W + 3));
  on_every_device([&](Device device) {
    CHECK_CLOSE(resize_bilinear(x.to(device), s.OH, s.OW), y, {0, 6 * ulp});
    CHECK_CLOSE(resize_bilinear_backward(dy.to(device), s.H, s.W), dx, {0, readers * readers * ulp});
  });
}

}  // namespace

TEST_CASE("resize_bilinear: sizes up, down, odd and single") {
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 1, 1}, Sizes{2, 1, 1, 3, 5, 4}, Sizes{1, 5, 4, 3, 1, 1},
                         Sizes{2, 8, 8, 33, 16, 16}, Sizes{1, 7, 3, 5, 12, 33}, Sizes{1, 33, 17, 2, 9, 5},
                         Sizes{1, 6, 6, 129, 6, 6}, Sizes{3, 2, 5, 1, 3, 7}, Sizes{1, 3, 40, 8, 7, 129}}) {
    check<float>(s);
    check<double>(s);
  }
}

TEST_CASE("resize_bilinear: the same size is the identity, to the bit, and so is its gradient") {
  const auto x = uniform_tensor<float>({2, 5, 7, 3}, 3);
  on_every_device([&](Device device) {
    CHECK_CLOSE(resize_bilinear(x.to(device), 5, 7), x, {});
    CHECK_CLOSE(resize_bilinear_backward(x.to(device), 5, 7), x, {});
  });
}

TEST_CASE("resize_bilinear: every weight that is not zero lies among the readers") {
  bool all = true;
  for (std::int32_t in = 1; in <= 20; ++in)
    for (std::int32_t out = 1; out <= 45; ++out)
      for (std::int32_t k = 0; k < in; ++k) {
        const seam::BilinearReaders readers = seam::bilinear_readers(k, in, out);
        all = all && 0 <= readers.first && readers.last <= out;
        for (std::int32_t i = 0; i < out; ++i)
          all = all && (seam::bilinear_weight(i, k, in, out) == 0 || (readers.first <= i && i < readers.last));
      }
  CHECK(all);
  constexpr std::int32_t most = seam::most_bilinear;
  const seam::BilinearTap last = seam::bilinear_tap(most - 1, most, most);
  CHECK(last.first == most - 1);
  CHECK(last.fraction == 0);
  CHECK(seam::bilinear_readers(most - 2, most, most).first >= most - 4);
}

TEST_CASE("resize_bilinear: gradcheck, and PyTorch's tensors") {
  CHECK(gradcheck([](const std::vector<Var<double>>& v) { return resize_bilinear(v[0], 5, 2); },
                  {uniform_tensor<double>({2, 3, 4, 2}, 4)}) == "");
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
  const auto check_type = [&](auto zero, double near) {
    using T = decltype(zero);
    const auto get = [&](const char* name) { return permute(file.tensor_or_widen<T>(name), {0, 2, 3, 1}); };
    on_every_device([&](Device device) {
      CHECK_CLOSE(resize_bilinear(get("bilinear.x").to(device), 8, 10), get("bilinear.out"), {near, 0});
      CHECK_CLOSE(resize_bilinear_backward(get("bilinear.upstream").to(device), 4, 5), get("bilinear.grad_x"),
                  {near, 0});
    });
  };
  check_type(0.0f, 1e-6);
  check_type(0.0, 1e-6);
}

TEST_CASE("resize_bilinear: bad arguments are named") {
  const auto x = Tensor<float>::zeros({1, 2, 2, 1});
  CHECK_THROWS_WITH(resize_bilinear(x, 0, 2), cuttle_test::contains("0 x 2"));
  CHECK_THROWS_WITH(resize_bilinear(x, 20000, 2), cuttle_test::contains("20000"));
  CHECK_THROWS_WITH(resize_bilinear(x.reshape({2, 2}), 2, 2), cuttle_test::contains("[2, 2]"));
  CHECK_THROWS_WITH(resize_bilinear(Tensor<float>::zeros({1, 0, 2, 1}), 2, 2), cuttle_test::contains("with pixels"));
}
