// nearest_patch: the 3249 queries of one 256 x 256 image (patches of 32, stride 4) against banks of N rows of 64,
// searches and the making of the index. Operations count 2 Q N D, so that a search that leaves rows out by proof can be
// faster than any product; the floor of a device is the fp16 product, that of the CPU sgemm.
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "bench/support/embeddings.hpp"
#include "bench/support/harness.hpp"
#include "cuttle/ops/nearest_patch.hpp"

namespace cuttle_bench {
namespace {

constexpr std::int64_t Q = 3249, D = Embeddings::D;

// The nearest row by its definition, for some of the queries; then that the k found ascend and are as far as they say.
void check_search(const Tensor<float>& rows, const Tensor<float>& queries, const cuttle::Neighbours<float>& found) {
  const auto distance = on_host(found.distance);
  const auto index = on_host(found.index);
  const std::int64_t k = distance.size(1), N = rows.size(0);
  const auto squared = [&](std::int64_t q, std::int64_t n) {
    double sum = 0;
    for (std::int64_t i = 0; i < D; ++i) {
      const double d = as_double(queries.data()[q * D + i]) - as_double(rows.data()[n * D + i]);
      sum = std::fma(d, d, sum);
    }
    return sum;
  };
  for (std::int64_t q = 0; q < Q; q += Q / 3 - 1) {
    // Ties and all: tiles in order, the first of equal rows in each.
    constexpr std::int64_t tile = 1 << 14;
    struct Best {
      double squared = std::numeric_limits<double>::infinity();
      std::int64_t row = -1;
    };
    std::vector<Best> tiles(static_cast<std::size_t>((N + tile - 1) / tile));
    cuttle::parallel_for(std::ssize(tiles), [&](std::int64_t t) {
      Best& best = tiles[static_cast<std::size_t>(t)];
      for (std::int64_t n = t * tile; n < std::min(N, (t + 1) * tile); ++n)
        if (const double d = squared(q, n); d < best.squared) best = {d, n};
    });
    Best best;
    for (const Best& candidate : tiles)
      if (candidate.squared < best.squared) best = candidate;
    check_value("nearest_patch: index", q, as_double(index.data()[q * k]), as_double(best.row), 0);
    for (std::int64_t j = 0; j < k; ++j) {
      const double d = squared(q, index.data()[q * k + j]);
      check_value("nearest_patch: distance", q * k + j, as_double(distance.data()[q * k + j]),
                  as_double(static_cast<float>(std::sqrt(d))), 0);
      cuttle::require(j == 0 || d >= squared(q, index.data()[q * k + j - 1]), "nearest_patch: query ", q,
                      ": the neighbours do not ascend");
    }
  }
}

Case search_case(Device device, const char* kind, std::int64_t N, int k) {
  struct State {
    Tensor<float> rows, queries, queries_there;
    std::optional<cuttle::NearestPatchIndex<float>> index;
    cuttle::Neighbours<float> found;
  };
  auto s = std::make_shared<State>();
  Embeddings embeddings(kind);
  s->rows = embeddings.rows(N);
  s->queries = embeddings.rows(Q);
  s->queries_there = s->queries.to(device);
  s->index.emplace(s->rows.to(device));
  return {.run = [s, k] { s->found = s->index->search(s->queries_there, k); },
          .check = [s] { check_search(s->rows, s->queries, s->found); },
          .bytes = static_cast<double>((device.is_cpu() ? 4 : 2) * N * D + 4 * Q * D + 12 * Q * k),
          .flop = 2.0 * Q * static_cast<double>(N) * D,
          .unit = device.is_cpu() ? Unit::fp32 : Unit::fp16};
}

Case build_case(Device device, std::int64_t N) {
  struct State {
    Tensor<float> rows;
    std::optional<cuttle::NearestPatchIndex<float>> index;
  };
  auto s = std::make_shared<State>(State{Embeddings("spread").rows(N).to(device), {}});
  return {.run = [s] { s->index.emplace(s->rows); },
          .check =
              [s, N] {  // a row of the bank finds itself
                const auto found = s->index->search(s->rows.slice(N / 2, N / 2 + 1));
                check_value("nearest_patch: a row's own index", 0, as_double(found.index.item()), as_double(N / 2), 0);
                check_value("nearest_patch: a row's own distance", 0, as_double(found.distance.item()), 0, 0);
              },
          .bytes = static_cast<double>(6 * N * D),
          .only_queues = false};
}

void add_search(const char* kind, std::int64_t N, int k, Where where) {
  add(
      cuttle::concat("nearest_patch/", kind, "/N=", N, "/k=", k),
      [=](Device device) { return search_case(device, kind, N, k); }, where);
}

const bool added = [] {
  for (const char* kind : {"spread", "rich", "clustered", "collapsed"}) {
    add_search(kind, 100000, 1, Where::everywhere);
    add_search(kind, 1000000, 1, Where::cuda);
  }
  add_search("spread", 100000, 9, Where::everywhere);
  add_search("spread", 1000000, 9, Where::cuda);
  add_search("spread", 10000000, 1, Where::cuda);
  add("nearest_patch/index/N=100000", [](Device device) { return build_case(device, 100000); });
  return true;
}();

}  // namespace
}  // namespace cuttle_bench
