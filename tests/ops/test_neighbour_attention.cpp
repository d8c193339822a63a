// neighbour_attention against the definition in double, on every device, and against PyTorch's tensors.
#include "cuttle/ops/neighbour_attention.hpp"

#include <cmath>
#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "cuttle/io/safetensors.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::uniform_tensor;

namespace {

// Of neighbour j of patch p: its row, or -1. By coordinates on a grid with a border, not by the library's formula.
std::int64_t neighbour_by_border(std::int64_t p, int j, std::int64_t grid) {
  static const int down[8] = {-1, -1, -1, 0, 0, 1, 1, 1}, right[8] = {-1, 0, 1, -1, 1, -1, 0, 1};
  std::vector<std::int64_t> bordered(static_cast<std::size_t>((grid + 2) * (grid + 2)), -1);
  for (std::int64_t r = 0; r < grid; ++r)
    for (std::int64_t c = 0; c < grid; ++c)
      bordered[static_cast<std::size_t>((r + 1) * (grid + 2) + c + 1)] = r * grid + c;
  return bordered[static_cast<std::size_t>((p / grid + 1 + down[j]) * (grid + 2) + p % grid + 1 + right[j])];
}

struct Case {
  std::int64_t B, grid, E, heads;
};

template <class T>
void check(const Case& s) {
  INFO("B " << s.B << ", grid " << s.grid << ", E " << s.E << ", heads " << s.heads);
  const std::int64_t P = s.grid * s.grid, rows = s.B * P, D = s.E / s.heads;
  const NeighbourAttentionOptions options{s.grid, s.heads};
  const auto q = uniform_tensor<T>({rows, s.E}, 1, -2, 2), k = uniform_tensor<T>({rows, s.E}, 2, -2, 2),
             v = uniform_tensor<T>({rows, s.E}, 3), k0 = uniform_tensor<T>({s.E}, 4), v0 = uniform_tensor<T>({s.E}, 5),
             dy = uniform_tensor<T>({rows, s.E}, 6);
  const auto zero = [&](const Tensor<T>& like) { return Tensor<double>::zeros(like.shape()); };
  auto y = zero(q), dq = zero(q), dk = zero(q), dv = zero(q), dk0 = zero(k0), dv0 = zero(v0);
  const auto at = [](const Tensor<T>& t, std::int64_t i) { return static_cast<double>(t.data()[i]); };
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t h = 0; h < s.heads; ++h) {
      double score[8], weight[8], dweight[8], sum = 0, mean = 0;
      std::int64_t n[8];
      for (int j = 0; j < 8; ++j) {
        n[j] = neighbour_by_border(row % P, j, s.grid);
        score[j] = 0;
        for (std::int64_t e = h * D; e < (h + 1) * D; ++e)
          score[j] += at(q, row * s.E + e) * (n[j] < 0 ? at(k0, e) : at(k, (row / P * P + n[j]) * s.E + e));
        sum += weight[j] = std::exp(score[j] / std::sqrt(static_cast<double>(D)));
      }
      for (int j = 0; j < 8; ++j) {
        weight[j] /= sum;
        dweight[j] = 0;
        for (std::int64_t e = h * D; e < (h + 1) * D; ++e) {
          const std::int64_t i = (row / P * P + n[j]) * s.E + e;
          y.data()[row * s.E + e] += weight[j] * (n[j] < 0 ? at(v0, e) : at(v, i));
          dweight[j] += at(dy, row * s.E + e) * (n[j] < 0 ? at(v0, e) : at(v, i));
          (n[j] < 0 ? dv0.data()[e] : dv.data()[i]) += weight[j] * at(dy, row * s.E + e);
        }
        mean += weight[j] * dweight[j];
      }
      for (int j = 0; j < 8; ++j) {
        const double dscore = weight[j] * (dweight[j] - mean) / std::sqrt(static_cast<double>(D));
        for (std::int64_t e = h * D; e < (h + 1) * D; ++e) {
          const std::int64_t i = (row / P * P + n[j]) * s.E + e;
          dq.data()[row * s.E + e] += dscore * (n[j] < 0 ? at(k0, e) : at(k, i));
          (n[j] < 0 ? dk0.data()[e] : dk.data()[i]) += dscore * at(q, row * s.E + e);
        }
      }
    }
  // A score is off by D roundings of products up to 4 at most, a weight by as much of itself, gradients by the sums of
  // a few of those; whole grids add up in k0 and v0.
  const double ulp = std::is_same_v<T, float> ? 0x1p-24 : 0x1p-53;
  const double near = 40 * static_cast<double>(D) * ulp;
  on_every_device([&](Device device) {
    const auto result =
        neighbour_attention(q.to(device), k.to(device), v.to(device), k0.to(device), v0.to(device), options);
    CHECK_CLOSE(result.y, y, {0, near});
    auto to_k0 = Tensor<T>::full({s.E}, 1, device), to_v0 = Tensor<T>::full({s.E}, 2, device);
    const auto g = neighbour_attention_backward(q.to(device), k.to(device), v.to(device), k0.to(device), v0.to(device),
                                                result.weights, dy.to(device), options, true, true, true, to_k0, to_v0);
    CHECK_CLOSE(g.dq, dq, {0, 4 * near});
    CHECK_CLOSE(g.dk, dk, {0, 8 * near});
    CHECK_CLOSE(g.dv, dv, {0, 8 * near});
    auto sum_k0 = dk0.clone(), sum_v0 = dv0.clone();
    for (std::int64_t e = 0; e < s.E; ++e) sum_k0.data()[e] += 1, sum_v0.data()[e] += 2;
    CHECK_CLOSE(to_k0, sum_k0, {0, 8 * near * static_cast<double>(rows)});
    CHECK_CLOSE(to_v0, sum_v0, {0, 8 * near * static_cast<double>(rows)});
  });
}

}  // namespace

TEST_CASE("neighbour_attention: values and gradients against the definition") {
  for (const Case& s : {Case{1, 1, 1, 1}, Case{2, 2, 33, 1}, Case{1, 3, 24, 8}, Case{3, 2, 129, 3}, Case{1, 5, 8, 2},
                        Case{2, 3, 66, 2}}) {
    check<float>(s);
    check<double>(s);
  }
}

TEST_CASE("neighbour_attention: scores far apart do not overflow; the largest takes all") {
  on_every_device([](Device device) {
    const auto q = Tensor<float>::full({4, 8}, 1000), k = uniform_tensor<float>({4, 8}, 7, -1, 0),
               v = uniform_tensor<float>({4, 8}, 8);
    const auto k0 = Tensor<float>::full({8}, 5), v0 = uniform_tensor<float>({8}, 9);
    const auto y =
        neighbour_attention(q.to(device), k.to(device), v.to(device), k0.to(device), v0.to(device), {2, 2}).y;
    auto expected = Tensor<float>::empty({4, 8});
    for (std::int64_t i = 0; i < 32; ++i) expected.data()[i] = v0.data()[i % 8];
    CHECK_CLOSE(y, expected, {0, 1e-6});
  });
}

TEST_CASE("neighbour_attention: gradcheck, and unwanted gradients are left out") {
  const std::vector<Tensor<double>> inputs{uniform_tensor<double>({8, 6}, 11), uniform_tensor<double>({8, 6}, 12),
                                           uniform_tensor<double>({8, 6}, 13), uniform_tensor<double>({6}, 14),
                                           uniform_tensor<double>({6}, 15)};
  CHECK(gradcheck(
            [](const std::vector<Var<double>>& v) {
              return neighbour_attention(v[0], v[1], v[2], v[3], v[4], {2, 3});
            },
            inputs) == "");
  on_every_device([&](Device device) {
    std::vector<Tensor<double>> on;
    for (const auto& input : inputs) on.push_back(input.to(device));
    const auto result = neighbour_attention(on[0], on[1], on[2], on[3], on[4], {2, 3});
    const auto g = neighbour_attention_backward(on[0], on[1], on[2], on[3], on[4], result.weights, on[2], {2, 3}, false,
                                                false, false, {}, {});
    CHECK(!g.dq.defined());
    CHECK(!g.dk.defined());
    CHECK(!g.dv.defined());
  });
}

TEST_CASE("neighbour_attention: tokens and their order are the reference's") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
  for (const std::int64_t grid : {2, 3}) {
    const std::string name = concat("neigh", grid);
    const auto tokens = file.tensor<float>(name + ".tokens"), keyvalue = file.tensor<float>(name + ".keyvalue");
    const std::int64_t P = grid * grid, rows = tokens.size(0), E = tokens.size(1);
    REQUIRE(keyvalue.shape() == Shape({8, rows, E}));
    bool equal = true;
    for (int j = 0; j < 8; ++j)
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int32_t n = seam::neighbour(static_cast<std::int32_t>(row % P), j, static_cast<std::int32_t>(grid));
        for (std::int64_t e = 0; e < E; ++e)
          equal = equal &&
                  keyvalue.data()[(j * rows + row) * E + e] == (n < 0 ? 0 : tokens.data()[(row / P * P + n) * E + e]);
      }
    CHECK(equal);
  }
}

// The stored attention has tokens of its own for each of 16 queries: a 3 x 3 grid each, the query in its centre.
TEST_CASE("neighbour_attention: PyTorch's multi-head attention, projections and all gradients") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
  const auto check_type = [&](auto zero, double near) {
    using T = decltype(zero);
    constexpr std::int64_t queries = 16, E = 128;
    const auto get = [&](const char* name) { return file.tensor_or_widen<T>(name); };
    const auto stored_query = get("mha.query"), stored_tokens = get("mha.keyvalue"), upstream = get("mha.upstream");
    auto centre = Tensor<T>::zeros({queries * 9, E}), around = Tensor<T>::zeros({queries * 9, E}),
         dout = Tensor<T>::zeros({queries * 9, E});
    const auto row_of = [](std::int64_t i, int j) { return i * 9 + (j < 4 ? j : j + 1); };
    for (std::int64_t i = 0; i < queries; ++i)
      for (std::int64_t e = 0; e < E; ++e) {
        centre.data()[(i * 9 + 4) * E + e] = stored_query.data()[i * E + e];
        dout.data()[(i * 9 + 4) * E + e] = upstream.data()[i * E + e];
        for (int j = 0; j < 8; ++j)
          around.data()[row_of(i, j) * E + e] = stored_tokens.data()[(j * queries + i) * E + e];
      }
    on_every_device([&](Device device) {
      Tape<T> tape;
      const auto leaf = [&](const Tensor<T>& value) { return tape.leaf(value.to(device)); };
      const auto query = leaf(centre), tokens = leaf(around), weight = leaf(get("mha.in_proj_weight")),
                 bias = leaf(get("mha.in_proj_bias")), out_weight = leaf(get("mha.out_proj.weight")),
                 out_bias = leaf(get("mha.out_proj.bias"));
      const auto projected = [&](const Var<T>& x, std::int64_t part) {
        return linear(x, slice(weight, part * E, (part + 1) * E), slice(bias, part * E, (part + 1) * E));
      };
      const auto y = linear(neighbour_attention(projected(query, 0), projected(tokens, 1), projected(tokens, 2),
                                                slice(bias, E, 2 * E), slice(bias, 2 * E, 3 * E), {3, 8}),
                            out_weight, out_bias);
      const auto centres = [&](const Tensor<T>& on_device) {
        const auto rows = on_device.to(Device::cpu());
        auto chosen = Tensor<T>::empty({1, queries, E});
        for (std::int64_t i = 0; i < queries; ++i) std::copy_n(rows.data() + (i * 9 + 4) * E, E, chosen.data() + i * E);
        return chosen;
      };
      CHECK_CLOSE(centres(y.value()), get("mha.out"), {near, 0});
      tape.backward(tape.record(Tensor<T>::zeros({1}, device), [&](Tape<T>& recorder, const Tensor<T>&) {
        recorder.add_grad(y, dout.clone().to(device));
      }));
      CHECK_CLOSE(centres(tape.grad(query)), get("mha.grad_query"), {near, 0});
      const auto dtokens = tape.grad(tokens).to(Device::cpu());
      auto turned = Tensor<T>::empty({8, queries, E});
      for (int j = 0; j < 8; ++j)
        for (std::int64_t i = 0; i < queries; ++i)
          std::copy_n(dtokens.data() + row_of(i, j) * E, E, turned.data() + (j * queries + i) * E);
      CHECK_CLOSE(turned, get("mha.grad_keyvalue"), {near, 0});
      CHECK_CLOSE(tape.grad(weight), get("mha.grad_in_proj_weight"), {near, 0});
      CHECK_CLOSE(tape.grad(bias), get("mha.grad_in_proj_bias"), {near, 0});
      CHECK_CLOSE(tape.grad(out_weight), get("mha.grad_out_proj.weight"), {near, 0});
      CHECK_CLOSE(tape.grad(out_bias), get("mha.grad_out_proj.bias"), {near, 0});
    });
  };
  check_type(0.0f, 2e-5);
  check_type(0.0, 1e-5);
}

TEST_CASE("neighbour_attention: bad arguments are named") {
  const auto x = Tensor<float>::zeros({8, 6}), e = Tensor<float>::zeros({6});
  CHECK_THROWS_WITH(neighbour_attention(x, x, x, e, e, {3, 2}), cuttle_test::contains("(B*9,E)"));
  CHECK_THROWS_WITH(neighbour_attention(x, x, x, e, e, {2, 4}), cuttle_test::contains("4 heads do not divide"));
  CHECK_THROWS_WITH(neighbour_attention(x, x, x.slice(0, 4), e, e, {2, 2}), cuttle_test::contains("v [4, 6]"));
  CHECK_THROWS_WITH(neighbour_attention(x, x, x, e, e.slice(0, 5), {2, 2}), cuttle_test::contains("v0 [5]"));
}
