// memory_lookup at the sizes of SQUID's published configurations, forward and backward. The floor reads the memory
// once; operations count the scores, and of the read only the slots that are kept.
#include <cmath>
#include <memory>

#include "bench/support/harness.hpp"
#include "cuttle/ops/memory_lookup.hpp"
#include "tests/ops/shrinkage_oracle.hpp"

namespace cuttle_bench {
namespace {

struct Size {
  std::int64_t S, M, E, B;
};

struct State {
  Tensor<float> queries, memory, dread;
  cuttle::MemoryRead<float> found;
  Tensor<float> dqueries, dmemory;
};

cuttle_test::Row row_of(const Tensor<float>& x, std::int64_t row, std::int64_t length) {
  return {x.data() + row * length, x.data() + (row + 1) * length};
}

// Scores of some queries by their definition, weights from the scores that were found, the read from those weights.
void check_forward(const State& state, const Size& n) {
  const auto queries = on_host(state.queries), memory = on_host(state.memory);
  const auto scores = on_host(state.found.scores), weights = on_host(state.found.weights),
             read = on_host(state.found.read);
  const double bound = static_cast<double>(n.E / 16 + 12) * 0x1p-24;
  for_some(n.B * n.S, [&](std::int64_t row) {
    const std::int64_t s = row % n.S;
    const cuttle_test::Row expected = cuttle_test::shrinkage_oracle(row_of(scores, row, n.M), {});
    for (std::int64_t m = 0; m < n.M; ++m) {
      double sum = 0, magnitude = 0;
      for (std::int64_t e = 0; e < n.E; ++e) {
        const double product =
            as_double(queries.data()[row * n.E + e]) * as_double(memory.data()[(s * n.M + m) * n.E + e]);
        sum += product;
        magnitude += std::abs(product);
      }
      const std::int64_t at = row * n.M + m;
      check_value("memory_lookup: scores", at, as_double(scores.data()[at]), sum, bound * magnitude);
      check_value("memory_lookup: weights", at, as_double(weights.data()[at]), expected[static_cast<std::size_t>(m)],
                  1e-5);
    }
    for_some(n.E, [&](std::int64_t e) {
      double sum = 0;
      for (std::int64_t m = 0; m < n.M; ++m)
        sum += as_double(weights.data()[row * n.M + m]) * as_double(memory.data()[(s * n.M + m) * n.E + e]);
      check_value("memory_lookup: read", row * n.E + e, as_double(read.data()[row * n.E + e]), sum, 1e-5);
    });
  });
}

// The gradient of the queries of a few rows, from the scores that were found.
void check_backward(const State& state, const Size& n) {
  const auto memory = on_host(state.memory), dread = on_host(state.dread), scores = on_host(state.found.scores);
  const auto dqueries = on_host(state.dqueries);
  for (const std::int64_t row : {std::int64_t{0}, n.B * n.S / 2, n.B * n.S - 1}) {
    const auto slot = [&](std::int64_t m, std::int64_t e) {
      return as_double(memory.data()[(row % n.S * n.M + m) * n.E + e]);
    };
    cuttle_test::Row dweights;
    for (std::int64_t m = 0; m < n.M; ++m) {
      double sum = 0;
      for (std::int64_t e = 0; e < n.E; ++e) sum += as_double(dread.data()[row * n.E + e]) * slot(m, e);
      dweights.push_back(sum);
    }
    const cuttle_test::Row dscores =
        cuttle_test::shrinkage_gradient_oracle(row_of(scores, row, n.M), dweights, cuttle::Shrinkage{});
    for_some(n.E, [&](std::int64_t e) {
      double expected = 0;
      for (std::int64_t m = 0; m < n.M; ++m) expected += dscores[static_cast<std::size_t>(m)] * slot(m, e);
      check_value("memory_lookup_backward: dqueries", row * n.E + e, as_double(dqueries.data()[row * n.E + e]),
                  expected, 1e-4);
    });
  }
}

Case lookup_case(Device device, const Size& n, bool backward) {
  // Both scaled so that scores are of the order of one, as after layers of normalisation.
  const double deviation = 1 / std::sqrt(std::sqrt(static_cast<double>(n.E)));
  auto s = std::make_shared<State>();
  s->queries = normal({n.B, n.S, n.E}, 1, deviation).to(device);
  s->memory = normal({n.S, n.M, n.E}, 2, deviation).to(device);
  const double BSM = static_cast<double>(n.B * n.S * n.M), BSE = static_cast<double>(n.B * n.S * n.E),
               SME = static_cast<double>(n.S * n.M * n.E), E = static_cast<double>(n.E), kept = 4;
  if (!backward)
    return {.run = [s] { s->found = cuttle::memory_lookup(s->queries, s->memory); },
            .check = [s, n] { check_forward(*s, n); },
            .bytes = 4 * (SME + 2 * BSE + 2 * BSM),
            .flop = 2 * BSM * E + 2 * kept * BSE};
  s->dread = normal({n.B, n.S, n.E}, 3).to(device);
  s->dmemory = Tensor<float>::zeros(s->memory.shape(), device);
  s->found = cuttle::memory_lookup(s->queries, s->memory);
  return {.run =
              [s] {
                s->dqueries = cuttle::memory_lookup_backward(s->queries, s->memory, s->found, s->dread,
                                                             cuttle::Shrinkage{}, true, s->dmemory);
              },
          .check = [s, n] { check_backward(*s, n); },
          .bytes = 4 * (3 * SME + 3 * BSE + 2 * BSM),  // dmemory is read and written
          .flop = 6 * BSM * E + 2 * kept * BSE};
}

const bool added = [] {
  for (const bool backward : {false, true})
    for (const Size& n :
         {Size{4, 200, 2048, 16}, {9, 200, 1024, 16}, {4, 200, 8192, 16}, {4, 200, 4096, 16}, {4, 200, 2048, 256}})
      add(cuttle::concat("memory_lookup/", backward ? "backward" : "forward", "/S=", n.S, "/M=", n.M, "/E=", n.E,
                         "/B=", n.B),
          [=](Device device) { return lookup_case(device, n, backward); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
