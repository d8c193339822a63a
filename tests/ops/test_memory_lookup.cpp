#include "cuttle/ops/memory_lookup.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cuttle/autograd/functions.hpp"
#include "cuttle/autograd/gradcheck.hpp"
#include "cuttle/io/safetensors.hpp"
#include "tests/ops/shrinkage_oracle.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/every_isa.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::integer_tensor;
using cuttle_test::on_every_device;
using cuttle_test::Row;
using cuttle_test::uniform_tensor;

namespace {

struct Lookup {
  Tensor<double> scores, weights, read;
  Tensor<double> dqueries, dmemory;
};

// The definition in double, slot by slot; the gradients of sum(dread * read) with `shrinkage`'s own rule.
template <class T>
Lookup lookup_oracle(const Tensor<T>& queries, const Tensor<T>& memory, const Tensor<T>& dread,
                     const Shrinkage& shrinkage) {
  const std::int64_t B = queries.size(0), S = memory.size(0), M = memory.size(1), E = memory.size(2);
  Lookup result{Tensor<double>::zeros({B, S, M}), Tensor<double>::zeros({B, S, M}), Tensor<double>::zeros({B, S, E}),
                Tensor<double>::zeros({B, S, E}), Tensor<double>::zeros({S, M, E})};
  for (std::int64_t row = 0; row < B * S; ++row) {
    const auto query = [&](std::int64_t e) { return static_cast<double>(queries.data()[row * E + e]); };
    const auto upstream = [&](std::int64_t e) { return static_cast<double>(dread.data()[row * E + e]); };
    const auto slot = [&](std::int64_t m, std::int64_t e) {
      return static_cast<double>(memory.data()[(row % S * M + m) * E + e]);
    };
    Row scores(static_cast<std::size_t>(M)), dweights(static_cast<std::size_t>(M));
    for (std::int64_t m = 0; m < M; ++m)
      for (std::int64_t e = 0; e < E; ++e) {
        scores[static_cast<std::size_t>(m)] += query(e) * slot(m, e);
        dweights[static_cast<std::size_t>(m)] += upstream(e) * slot(m, e);
      }
    const Row weights = cuttle_test::shrinkage_oracle(scores, shrinkage);
    const Row dscores = cuttle_test::shrinkage_gradient_oracle(scores, dweights, shrinkage);
    for (std::int64_t m = 0; m < M; ++m) {
      const double weight = weights[static_cast<std::size_t>(m)], dscore = dscores[static_cast<std::size_t>(m)];
      result.scores.data()[row * M + m] = scores[static_cast<std::size_t>(m)];
      result.weights.data()[row * M + m] = weight;
      for (std::int64_t e = 0; e < E; ++e) {
        result.read.data()[row * E + e] += weight * slot(m, e);
        result.dqueries.data()[row * E + e] += dscore * slot(m, e);
        result.dmemory.data()[(row % S * M + m) * E + e] += weight * upstream(e) + dscore * query(e);
      }
    }
  }
  return result;
}

// A tensor whose memory starts one element past an aligned address.
template <class T>
Tensor<T> misaligned(const Tensor<T>& x) {
  const std::int64_t n = x.numel();
  Tensor<T> copy = Tensor<T>::empty({n + 1}, x.device()).slice(1, n + 1).reshape(x.shape());
  copy.copy_from(x);
  return copy;
}

template <class T>
bool same_bits(const Tensor<T>& on_any, const Tensor<T>& expected) {
  const Tensor<T> a = on_any.to(Device::cpu());
  return a.shape() == expected.shape() &&
         std::memcmp(a.data(), expected.data(), static_cast<std::size_t>(a.numel()) * sizeof(T)) == 0;
}

// Forward and backward; dmemory starts from ones, to which the gradient has to be added.
template <class T>
void check_lookup(const Tensor<T>& queries, const Tensor<T>& memory, const Shrinkage& shrinkage, double tolerance) {
  const Tensor<T> dread = uniform_tensor<T>(queries.shape(), 99);
  const Lookup expected = lookup_oracle(queries, memory, dread, shrinkage);
  Tensor<double> dmemory_expected = expected.dmemory.clone();
  for (double& x : dmemory_expected.span()) x += 1;
  // Central differences with a step of 1e-5 are good to a few 1e-10.
  const double numeric = cuttle_test::has_softmax(shrinkage) ? 0 : 1e-8;
  on_every_device([&](Device device) {
    const Tensor<T> q = queries.to(device), m = memory.to(device), upstream = dread.to(device);
    const MemoryRead<T> found = memory_lookup(q, m, shrinkage);
    CHECK_CLOSE(found.scores, expected.scores, {tolerance, 0});
    CHECK_CLOSE(found.weights, expected.weights, {tolerance, 0});
    CHECK_CLOSE(found.read, expected.read, {tolerance, 0});
    const Tensor<T> dmemory = Tensor<T>::full(memory.shape(), 1, device);
    const Tensor<T> dqueries = memory_lookup_backward(q, m, found, upstream, shrinkage, true, dmemory);
    CHECK_CLOSE(dqueries, expected.dqueries, {tolerance, tolerance + numeric});
    CHECK_CLOSE(dmemory, dmemory_expected, {tolerance, tolerance + numeric});
    // Each alone, and, for one shrinkage, from unaligned memory, are the same numbers.
    CHECK(same_bits(memory_lookup_backward(q, m, found, upstream, shrinkage, true, {}), dqueries.to(Device::cpu())));
    if (std::holds_alternative<KeepK>(shrinkage))
      CHECK(same_bits(memory_lookup(misaligned(q), misaligned(m), shrinkage).read, found.read.to(Device::cpu())));
  });
}

template <class T>
void check_shapes(double tolerance) {
  const std::int64_t shapes[][4] = {{1, 1, 1, 1},    {5, 4, 5, 33},   {1, 9, 33, 17},  {5, 1, 129, 1}, {2, 2, 200, 129},
                                    {1, 1, 515, 33}, {33, 1, 33, 33}, {3, 2, 65, 132}, {9, 1, 64, 64}, {1, 1, 5, 300}};
  for (const auto& [B, S, M, E] : shapes) {
    const auto seed = static_cast<std::uint64_t>(B + 10 * M + 1000 * E);
    const auto queries = uniform_tensor<T>({B, S, E}, seed), memory = uniform_tensor<T>({S, M, E}, seed + 1);
    const Shrinkage every[] = {KeepAboveKth{}, KeepK{4}, HardThreshold{0.02}, NoShrinkage{}, KeepAboveKth{150}};
    for (std::size_t i = 0; i < std::size(every); ++i) {
      INFO("B " << B << ", S " << S << ", M " << M << ", E " << E << ", shrinkage " << i);
      check_lookup(queries, memory, every[i], tolerance);
    }
  }
}

}  // namespace

// Scores of up to 132 products of numbers below 1 are off by some 20 roundings, exp turns that into a relative error.
TEST_CASE("memory_lookup: odd shapes against the definition in double") {
  SECTION("float") { check_shapes<float>(1e-5); }
  SECTION("double") { check_shapes<double>(1e-12); }
}

TEST_CASE("memory_lookup: a query sees its own segment and no other") {
  const auto queries = uniform_tensor<float>({3, 4, 33}, 1);
  const auto memory = uniform_tensor<float>({4, 20, 33}, 2);
  auto other = uniform_tensor<float>({4, 20, 33}, 3);
  other.slice(2, 3).copy_from(memory.slice(2, 3));
  const auto segment_2 = [](const Tensor<float>& x) {
    auto rows = Tensor<float>::empty({3, x.size(2)});
    for (std::int64_t b = 0; b < 3; ++b)
      rows.slice(b, b + 1).copy_from(x.slice(b, b + 1).reshape({4, x.size(2)}).slice(2, 3));
    return rows;
  };
  on_every_device([&](Device device) {
    const auto one = memory_lookup(queries.to(device), memory.to(device));
    const auto two = memory_lookup(queries.to(device), other.to(device));
    CHECK(same_bits(segment_2(one.read.to(Device::cpu())), segment_2(two.read.to(Device::cpu()))));
    CHECK(same_bits(segment_2(one.weights.to(Device::cpu())), segment_2(two.weights.to(Device::cpu()))));
    CHECK(cuttle_test::mismatch(one.read, two.read, {1e-3, 0}) != "");
  });
}

TEST_CASE("memory_lookup: the order of the slots means nothing") {
  const std::int64_t M = 40, E = 20;
  const auto queries = uniform_tensor<double>({4, 1, E}, 1), memory = uniform_tensor<double>({1, M, E}, 2);
  auto moved = memory.clone();
  for (std::int64_t m = 0; m < M; ++m) std::copy_n(memory.data() + m * E, E, moved.data() + m * 7 % M * E);
  for (const Shrinkage& shrinkage : {Shrinkage{KeepAboveKth{}}, Shrinkage{KeepK{3}}, Shrinkage{NoShrinkage{}}})
    on_every_device([&](Device device) {
      CHECK_CLOSE(memory_lookup(queries.to(device), moved.to(device), shrinkage).read,
                  memory_lookup(queries.to(device), memory.to(device), shrinkage).read, {1e-13, 0});
    });
}

TEST_CASE("memory_lookup: every instruction set reads the same") {
  const auto queries = integer_tensor<float>({6, 2, 345}, 1), memory = integer_tensor<float>({2, 300, 345}, 2);
  const auto dread = integer_tensor<float>({6, 2, 345}, 3);
  const Lookup exact = lookup_oracle(queries, memory, dread, NoShrinkage{});
  const auto soft = memory_lookup(queries, memory, KeepK{150});
  cuttle_test::on_every_isa([&] {
    const auto found = memory_lookup(queries, memory, NoShrinkage{});
    CHECK_CLOSE(found.scores, exact.scores, {0, 0});
    CHECK_CLOSE(found.read, exact.read, {0, 0});
    const auto dmemory = Tensor<float>::zeros(memory.shape());
    CHECK_CLOSE(memory_lookup_backward(queries, memory, found, dread, NoShrinkage{}, true, dmemory), exact.dqueries,
                {0, 0});
    CHECK_CLOSE(dmemory, exact.dmemory, {0, 0});
    CHECK(same_bits(memory_lookup(queries, memory, KeepK{150}).weights, soft.weights));
  });
}

TEST_CASE("memory_lookup: the same bits on every device where the arithmetic is exact") {
  const auto queries = integer_tensor<float>({5, 2, 129}, 1), memory = integer_tensor<float>({2, 70, 129}, 2);
  const auto dread = integer_tensor<float>({5, 2, 129}, 3);
  const Lookup exact = lookup_oracle(queries, memory, dread, NoShrinkage{});
  const auto here = memory_lookup(queries, memory, HardThreshold{20});
  on_every_device([&](Device device) {
    const Tensor<float> q = queries.to(device), m = memory.to(device);
    const auto found = memory_lookup(q, m, NoShrinkage{});
    CHECK_CLOSE(found.scores, exact.scores, {0, 0});
    CHECK_CLOSE(found.read, exact.read, {0, 0});
    const auto dmemory = Tensor<float>::zeros(memory.shape(), device);
    memory_lookup_backward(q, m, found, dread.to(device), NoShrinkage{}, false, dmemory);
    CHECK_CLOSE(dmemory, exact.dmemory, {0, 0});
    CHECK(same_bits(memory_lookup(q, m, HardThreshold{20}).weights, here.weights));
  });
}

TEST_CASE("memory_lookup: equal slots") {
  // Slots 3, 11 and 17 are the same and the best; the others are far away.
  const std::int64_t M = 20, E = 8;
  auto memory = Tensor<float>::full({1, M, E}, -4);
  for (const std::int64_t m : {3, 11, 17}) std::fill_n(memory.data() + m * E, E, 4.0f);
  const auto queries = Tensor<float>::full({2, 1, E}, 1), dread = uniform_tensor<float>({2, 1, E}, 5);
  on_every_device([&](Device device) {
    const auto q = queries.to(device), m = memory.to(device);
    const auto two = memory_lookup(q, m, KeepK{2}).weights.to(Device::cpu());
    for (std::int64_t i = 0; i < M; ++i) CHECK(two.data()[i] == (i == 3 || i == 11 ? 0.5f : 0.0f));
    // The three largest are equal, so all vanishes but the gradient.
    const auto none = memory_lookup(q, m, KeepAboveKth{3});
    CHECK(same_bits(none.read, Tensor<float>::zeros({2, 1, E})));
    const Lookup expected = lookup_oracle(queries, memory, dread, KeepAboveKth{3});
    const auto dmemory = Tensor<float>::zeros(memory.shape(), device);
    CHECK_CLOSE(memory_lookup_backward(q, m, none, dread.to(device), KeepAboveKth{3}, true, dmemory), expected.dqueries,
                {1e-6, 1e-5});
    CHECK_CLOSE(dmemory, expected.dmemory, {1e-6, 1e-5});
  });
}

TEST_CASE("memory_lookup: NaN and infinities") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  auto queries = uniform_tensor<float>({3, 3, 10}, 1, 0.5, 1), memory = uniform_tensor<float>({3, 70, 10}, 2);
  queries.data()[(0 * 3 + 0) * 10 + 4] = nan;    // one query
  memory.data()[(1 * 70 + 66) * 10 + 9] = nan;   // all queries of segment 1
  memory.data()[(2 * 70 + 5) * 10] = -infinity;  // its scores are -infinity, its weights 0: it is not read
  for (const Shrinkage& shrinkage :
       {Shrinkage{KeepAboveKth{}}, Shrinkage{KeepK{2}}, Shrinkage{HardThreshold{0.1}}, Shrinkage{KeepAboveKth{40}}})
    on_every_device([&](Device device) {
      const auto found = memory_lookup(queries.to(device), memory.to(device), shrinkage);
      const auto read = found.read.to(Device::cpu()), weights = found.weights.to(Device::cpu());
      for (std::int64_t b = 0; b < 3; ++b)
        for (std::int64_t s = 0; s < 3; ++s) {
          INFO("query " << b << " of segment " << s);
          const bool bad = s == 1 || (s == 0 && b == 0);
          for (std::int64_t e = 0; e < 10; ++e) CHECK(std::isnan(read.data()[(b * 3 + s) * 10 + e]) == bad);
          for (std::int64_t m = 0; m < 70; ++m) CHECK(std::isnan(weights.data()[(b * 3 + s) * 70 + m]) == bad);
        }
    });
}

TEST_CASE("memory_lookup: gradients of the tape") {
  // Off the threshold by more than gradcheck's step: the scores of these seeds keep 1e-3 away from 0.3.
  const auto queries = uniform_tensor<double>({2, 3, 5}, 1), memory = uniform_tensor<double>({3, 7, 5}, 2);
  const Tensor<double> scores = memory_lookup(queries, memory, NoShrinkage{}).scores;
  for (const double score : scores.span()) REQUIRE(std::abs(score - 0.3) > 1e-3);
  for (const Shrinkage& shrinkage : {Shrinkage{HardThreshold{0.3}}, Shrinkage{NoShrinkage{}}, Shrinkage{KeepK{7}}}) {
    const auto lookup = [&](const std::vector<Var<double>>& x) { return memory_lookup(x[0], x[1], shrinkage); };
    CHECK(gradcheck(lookup, {queries, memory}) == "");
  }
  on_every_device([&](Device device) {
    const auto dread = uniform_tensor<double>({2, 3, 5}, 3);
    const Lookup expected = lookup_oracle(queries, memory, dread, KeepAboveKth{3});
    for (const bool trainable : {true, false}) {
      Tape<double> tape;
      const Var<double> q = tape.leaf(queries.to(device)), leaf = tape.leaf(memory.to(device));
      const Var<double> read = memory_lookup(q, trainable ? leaf : detach(leaf), KeepAboveKth{3});
      tape.backward(tape.record(Tensor<double>::full({1}, 0, device),
                                [&](Tape<double>& t, const Tensor<double>&) { t.add_grad(read, dread.to(device)); }));
      CHECK_CLOSE(tape.grad(q), expected.dqueries, {1e-13, 0});
      CHECK_CLOSE(tape.grad(leaf), trainable ? expected.dmemory : Tensor<double>::zeros(memory.shape()), {1e-13, 0});
    }
  });
}

TEST_CASE("memory_lookup: the number of threads changes nothing; no queries are no work") {
  const auto queries = uniform_tensor<float>({5, 4, 33}, 1), memory = uniform_tensor<float>({4, 50, 33}, 2);
  const auto run = [&] {
    const auto found = memory_lookup(queries, memory);
    const auto dmemory = Tensor<float>::zeros(memory.shape());
    memory_lookup_backward(queries, memory, found, queries, KeepAboveKth{}, true, dmemory);
    return std::pair{found.read, dmemory};
  };
  const int before = num_threads();
  set_num_threads(1);
  const auto one = run();
  set_num_threads(3);
  const auto three = run();
  set_num_threads(before);
  CHECK((same_bits(one.first, three.first) && same_bits(one.second, three.second)));
  on_every_device([&](Device device) {
    const auto none = memory_lookup(Tensor<float>::empty({0, 4, 33}, device), memory.to(device));
    CHECK(none.read.shape() == Shape{0, 4, 33});
    CHECK(none.weights.shape() == Shape{0, 4, 50});
  });
}

TEST_CASE("memory_lookup: bad arguments are named") {
  using cuttle_test::contains;
  on_every_device([&](Device device) {
    const auto queries = Tensor<float>::zeros({2, 4, 8}, device), memory = Tensor<float>::zeros({4, 6, 8}, device);
    const auto found = memory_lookup(queries, memory);
    CHECK_THROWS_WITH(memory_lookup(queries, Tensor<float>::zeros({3, 6, 8}, device)),
                      contains("queries have shape [2, 4, 8], memory [3, 6, 8]"));
    CHECK_THROWS_WITH(memory_lookup(queries, Tensor<float>::zeros({4, 6, 7}, device)), contains("(S,M,E)"));
    CHECK_THROWS_WITH(memory_lookup(queries, Tensor<float>::zeros({4, 0, 8}, device)), contains("M = 0"));
    CHECK_THROWS_WITH(memory_lookup(queries.reshape({8, 8}), memory), contains("(B,S,E)"));
    CHECK_THROWS_WITH(memory_lookup(queries, memory, KeepK{0}), contains("memory_lookup: k must be"));
    CHECK_THROWS_WITH(memory_lookup_backward(queries, memory, found, queries, KeepAboveKth{}, true, queries),
                      contains("dmemory [2, 4, 8]"));
    CHECK_THROWS_WITH(memory_lookup_backward(queries, memory, found, memory, KeepAboveKth{}, true, {}),
                      contains("dread [4, 6, 8]"));
    if (!device.is_cpu())
      CHECK_THROWS_WITH(memory_lookup(queries.to(Device::cpu()), memory), contains("memory_lookup"));
  });
}

TEST_CASE("memory_lookup: tensors of the reference implementation") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
  const auto queries = file.tensor<float>("lookup.query").reshape({16, 1, 128});
  const auto memory = file.tensor<float>("lookup.memory").reshape({1, 200, 128});
  const auto upstream = file.tensor<float>("lookup.upstream").reshape({16, 1, 128});
  const struct {
    std::string name;
    Shrinkage shrinkage;
  } cases[] = {{"k5", KeepAboveKth{5}},
               {"matrix_k5", KeepAboveKth{5}},
               {"hard0.0025", HardThreshold{0.0025}},
               {"none", HardThreshold{0}}};
  // Named afresh: clang 15 lets no lambda capture a structured binding.
  for (const auto& one : cases)
    on_every_device([&](Device device) {
      const auto& [name, shrinkage] = one;
      INFO(name);
      const auto expected = [&file, prefix = "lookup." + name + "."](const char* what, const Shape& shape) {
        return file.tensor<float>(prefix + what).reshape(shape);
      };
      const auto q = queries.to(device), m = memory.to(device);
      const auto found = memory_lookup(q, m, shrinkage);
      CHECK_CLOSE(found.read, expected("out", {16, 1, 128}), {3e-6, 0});
      const auto dmemory = Tensor<float>::zeros(memory.shape(), device);
      CHECK_CLOSE(memory_lookup_backward(q, m, found, upstream.to(device), shrinkage, true, dmemory),
                  expected("grad_query", {16, 1, 128}), {3e-6, 0});
      if (name == "matrix_k5") CHECK_CLOSE(dmemory, expected("grad_memory", {1, 200, 128}), {3e-6, 0});
    });
}
