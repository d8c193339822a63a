// nearest_patch against its definition, bit for bit, on every instruction set and thread count.
#include "cuttle/ops/nearest_patch.hpp"

#include <thread>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/nearest_patch_banks.hpp"

using cuttle::NearestPatchIndex;
using cuttle::Neighbours;
using cuttle::Tensor;
using namespace cuttle_test;
namespace cpu = cuttle::cpu;

namespace {

std::vector<cpu::Isa> instruction_sets() {
  std::vector<cpu::Isa> sets;
  for (cpu::Isa isa : {cpu::Isa::baseline, cpu::Isa::avx2, cpu::Isa::avx512, cpu::Isa::avx512_vnni})
    if (isa <= cpu::detail::widest_isa()) sets.push_back(isa);
  return sets;
}

// Puts back the instruction set and the number of threads.
struct Restore {
  cpu::Isa isa = cpu::isa();
  int threads = cuttle::num_threads();
  ~Restore() {
    cpu::set_isa(isa);
    cuttle::set_num_threads(threads);
  }
};

template <class T>
void check_everywhere(const Tensor<T>& queries, const Tensor<T>& rows, std::initializer_list<int> ks = {1, 2, 9}) {
  const Restore restore;
  INFO("queries " << queries.shape() << ", rows " << rows.shape());
  const Neighbours<T> nine = oracle(queries, rows, 9);
  for (int k : ks) {
    Neighbours<T> expected{Tensor<T>::empty({queries.size(0), k}), Tensor<std::int64_t>::empty({queries.size(0), k})};
    for (std::int64_t q = 0; q < queries.size(0); ++q)
      for (int j = 0; j < k; ++j) {
        expected.distance.data()[q * k + j] = nine.distance.data()[q * 9 + j];
        expected.index.data()[q * k + j] = nine.index.data()[q * 9 + j];
      }
    for (cpu::Isa isa : instruction_sets()) {
      cpu::set_isa(isa);
      const NearestPatchIndex<T> index(rows);
      for (int threads : {1, 2}) {
        cuttle::set_num_threads(threads);
        INFO("k " << k << ", instruction set " << static_cast<int>(isa) << ", threads " << threads);
        CHECK(difference(index.search(queries, k), expected) == "");
      }
    }
  }
  CHECK(difference(NearestPatchIndex<T>(rows).search_by_definition(queries, 9), nine) == "");
}

}  // namespace

TEMPLATE_TEST_CASE("nearest_patch: odd sizes agree with the definition to the bit", "[nearest_patch]", float, double) {
  Random random(1);
  for (std::int64_t N : {1, 33, 129, 515})
    for (std::int64_t D : {1, 3, 33, 64, 129}) {
      const std::int64_t Q = N == 129 ? 33 : 13;
      check_everywhere(gaussian<TestType>(Q, D, random), gaussian<TestType>(N, D, random));
      check_everywhere(integers<TestType>(Q, D, 1, random), integers<TestType>(N, D, 1, random));
    }
  check_everywhere(gaussian<TestType>(3, 515, random), gaussian<TestType>(129, 515, random));
  check_everywhere(gaussian<TestType>(2, 4096, random), gaussian<TestType>(33, 4096, random), {1, 9});
}

TEST_CASE("nearest_patch: a bank of many blocks", "[nearest_patch]") {
  Random random(2);
  check_everywhere(gaussian<float>(30, 24, random), gaussian<float>(26000, 24, random));
  check_everywhere(integers<float>(200, 3, 20, random), integers<float>(13001, 3, 20, random), {1, 9});
  check_everywhere(collapsed<float>(60, 16, random), collapsed<float>(9001, 16, random));
  check_everywhere(clustered<float>(60, 16, 5, random), clustered<float>(9001, 16, 5, random));
  check_everywhere(clustered<double>(60, 5, 5, random), clustered<double>(9001, 5, 5, random), {1, 9});
}

TEST_CASE("nearest_patch: banks whose rows are compared in bytes, and some where bytes say too little",
          "[nearest_patch]") {
  Random random(12);
  check_everywhere(gaussian<float>(40, 64, random), gaussian<float>(9001, 64, random), {1, 9});
  check_everywhere(gaussian<float>(20, 64, random, 3), gaussian<float>(9001, 64, random), {1});  // beyond 127 steps
  check_everywhere(gaussian<double>(20, 67, random), gaussian<double>(8500, 67, random), {1, 2});
  check_everywhere(integers<float>(40, 33, 1, random), integers<float>(9001, 33, 1, random), {1, 9});  // full of ties
  check_everywhere(integers<float>(40, 10, 2, random), integers<float>(9001, 10, 2, random), {1, 9});

  // Rows at all distances from their cluster's centre, each dimension narrower than the last.
  Tensor<float> rows = clustered<float>(9001, 40, 5, random), queries = clustered<float>(40, 40, 5, random);
  for (Tensor<float>* tensor : {&rows, &queries}) {
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < tensor->numel(); ++i)
      tensor->data()[i] += normal(random) / (1 + 0.25f * static_cast<float>(i % 40));
  }
  check_everywhere(queries, rows, {1, 9});
  for (std::int64_t r = 30; r < rows.size(0); ++r)
    std::copy_n(rows.data() + static_cast<std::int64_t>(random() % 30) * 40, 40, rows.data() + r * 40);
  check_everywhere(queries, rows, {1, 9});
}

TEMPLATE_TEST_CASE("nearest_patch: collapsed, clustered and repeated rows", "[nearest_patch]", float, double) {
  Random random(3);
  check_everywhere(collapsed<TestType>(40, 64, random), collapsed<TestType>(3000, 64, random));
  check_everywhere(clustered<TestType>(40, 33, 7, random), clustered<TestType>(2000, 33, 7, random));

  // Every row many times, the copies far apart; some queries are rows of the bank.
  const Tensor<TestType> base = gaussian<TestType>(40, 17, random);
  Tensor<TestType> rows = Tensor<TestType>::empty({1111, 17}), queries = gaussian<TestType>(25, 17, random);
  for (std::int64_t r = 0; r < rows.size(0); ++r)
    std::copy_n(base.data() + static_cast<std::int64_t>(random() % 40) * 17, 17, rows.data() + r * 17);
  std::copy_n(base.data(), 20 * 17, queries.data());
  check_everywhere(queries, rows);
  check_everywhere(queries, Tensor<TestType>::full({300, 17}, TestType(0.1)));
  check_everywhere(Tensor<TestType>::zeros({3, 17}), Tensor<TestType>::zeros({100, 17}));
}

TEMPLATE_TEST_CASE("nearest_patch: rows that tie but for the rounding of the sum", "[nearest_patch]", float, double) {
  // Row n is the query plus one vector of offsets in another order: equal distances on paper, not in the last bits.
  Random random(4);
  for (const double offset : {0.0, 100.0}) {
    const std::int64_t D = 64, N = 900;
    const Tensor<TestType> query = gaussian<TestType>(1, D, random, 1, offset);
    std::vector<double> steps(static_cast<std::size_t>(D));
    for (double& step : steps) step = static_cast<double>(static_cast<float>(random() % 1000) * 0x1p-9f);
    Tensor<TestType> rows = Tensor<TestType>::empty({N, D});
    for (std::int64_t n = 0; n < N; ++n) {
      std::shuffle(steps.begin(), steps.end(), random);
      for (std::int64_t i = 0; i < D; ++i)
        rows.data()[n * D + i] =
            static_cast<TestType>(static_cast<double>(query.data()[i]) + steps[static_cast<std::size_t>(i)]);
    }
    check_everywhere(query, rows);
  }
}

TEMPLATE_TEST_CASE("nearest_patch: magnitudes at the ends of the range", "[nearest_patch]", float, double) {
  Random random(5);
  const double tiny = std::is_same_v<TestType, float> ? 1e-40 : 1e-170, huge = 1e30;
  for (const double scale : {huge, tiny, 1e-20, 3e-45}) {
    INFO("scale " << scale);
    check_everywhere(gaussian<TestType>(13, 9, random, scale), gaussian<TestType>(515, 9, random, scale));
  }
  SECTION("a small spread on a large offset") {
    check_everywhere(gaussian<TestType>(13, 33, random, 1e-2, 4096), gaussian<TestType>(515, 33, random, 1e-2, 4096));
    check_everywhere(gaussian<TestType>(13, 33, random, 1e-20, 1), gaussian<TestType>(515, 33, random, 1e-20, 1));
  }
  SECTION("one row, and one query, far from everything") {
    Tensor<TestType> rows = gaussian<TestType>(515, 9, random), queries = gaussian<TestType>(13, 9, random);
    rows.data()[200 * 9 + 4] = static_cast<TestType>(1e30);
    queries.data()[5 * 9] = static_cast<TestType>(-3e38);
    check_everywhere(queries, rows);
    check_everywhere(queries, rows.slice(0, 200));
  }
  SECTION("the largest finite values") {
    const double largest = static_cast<double>(std::numeric_limits<TestType>::max());
    const auto either = [&] { return random() % 2 ? largest : -largest; };
    check_everywhere(filled<TestType>(5, 3, either), filled<TestType>(129, 3, either));
  }
}

TEST_CASE("nearest_patch: doubles that differ below a float's last bit", "[nearest_patch]") {
  Random random(6);
  check_everywhere(gaussian<double>(13, 33, random, 1e-12, 1), gaussian<double>(515, 33, random, 1e-12, 1));
  check_everywhere(gaussian<double>(13, 33, random, 1e200), gaussian<double>(129, 33, random, 1e200));
  check_everywhere(gaussian<double>(13, 33, random, 1e-300), gaussian<double>(129, 33, random, 1e-300));
}

TEMPLATE_TEST_CASE("nearest_patch: NaN and infinity in a query", "[nearest_patch]", float, double) {
  Random random(7);
  Tensor<TestType> queries = gaussian<TestType>(14, 33, random);
  queries.data()[0 * 33 + 32] = std::numeric_limits<TestType>::quiet_NaN();
  queries.data()[5 * 33 + 1] = std::numeric_limits<TestType>::infinity();
  queries.data()[13 * 33 + 0] = -std::numeric_limits<TestType>::infinity();
  const Tensor<TestType> rows = gaussian<TestType>(129, 33, random);
  check_everywhere(queries, rows);
  const Neighbours<TestType> found = cuttle::nearest_patch(queries, rows, 2);
  for (std::int64_t q : {0, 5, 13})
    for (std::int64_t j : {0, 1}) {
      CHECK(std::isnan(found.distance.data()[q * 2 + j]));
      CHECK(found.index.data()[q * 2 + j] == -1);
    }
  CHECK(found.index.data()[2] >= 0);
}

TEST_CASE("nearest_patch: fewer rows than k, and no queries", "[nearest_patch]") {
  const NearestPatchIndex<float> index(Tensor<float>::from({3, 1}, {0, 4, 1}));
  const Neighbours<float> found = index.search(Tensor<float>::from({1, 1}, {3}), 5);
  const Neighbours<float> expected{Tensor<float>::from({1, 5}, {1, 2, 3, std::numeric_limits<float>::infinity(),
                                                                std::numeric_limits<float>::infinity()}),
                                   Tensor<std::int64_t>::from({1, 5}, {1, 2, 0, -1, -1})};
  CHECK(difference(found, expected) == "");
  const Neighbours<float> none = index.search(Tensor<float>::empty({0, 1}), 2);
  CHECK(none.distance.shape() == cuttle::Shape{0, 2});
  CHECK(none.index.shape() == cuttle::Shape{0, 2});
}

TEST_CASE("nearest_patch: what is wrong is named", "[nearest_patch]") {
  Tensor<float> rows = Tensor<float>::zeros({40, 3});
  const NearestPatchIndex<float> index(rows);
  using Catch::Matchers::Contains;
  CHECK_THROWS_WITH(index.search(Tensor<float>::zeros({2, 4})), Contains("queries has shape [2, 4], expected (Q,3)"));
  CHECK_THROWS_WITH(index.search(Tensor<float>::zeros({3})), Contains("queries has shape [3]"));
  CHECK_THROWS_WITH(index.search(Tensor<float>::zeros({2, 3}), 0), Contains("k is 0"));
  CHECK_THROWS_WITH(index.search(Tensor<float>::zeros({2, 3}), 10), Contains("k is 10"));
  CHECK_THROWS_WITH(NearestPatchIndex<float>(Tensor<float>::zeros({0, 3})), Contains("empty bank"));
  CHECK_THROWS_WITH(NearestPatchIndex<float>(Tensor<float>::zeros({5})), Contains("rows has shape [5]"));
  CHECK_THROWS_WITH(NearestPatchIndex<float>(Tensor<float>::zeros({2, 0})), Contains("rows of length 0"));
  CHECK_THROWS_WITH(NearestPatchIndex<float>(Tensor<float>::zeros({2, 4097})), Contains("rows of length 4097"));
  rows.data()[17 * 3 + 2] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH(NearestPatchIndex<float>(rows), Contains("row 17 of rows [40, 3] holds a NaN or an infinity"));
  rows.data()[17 * 3 + 2] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(NearestPatchIndex<float>(rows), Contains("row 17"));
}

TEST_CASE("nearest_patch: several threads may search one index", "[nearest_patch]") {
  Random random(8);
  const NearestPatchIndex<float> index(gaussian<float>(700, 16, random));
  const Tensor<float> queries = gaussian<float>(150, 16, random);
  const Neighbours<float> expected = oracle(queries, index.rows(), 3);
  std::vector<std::string> differences(3);
  std::vector<std::thread> threads;
  for (std::string& found : differences)
    threads.emplace_back([&] {
      for (int repeat = 0; repeat < 5; ++repeat) found += difference(index.search(queries, 3), expected);
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& found : differences) CHECK(found == "");
}

TEST_CASE("nearest_patch: a second search takes no memory from the system", "[nearest_patch]") {
  const Restore restore;
  cuttle::set_num_threads(1);
  Random random(9);
  const NearestPatchIndex<float> index(gaussian<float>(515, 33, random));
  const Tensor<float> queries = gaussian<float>(129, 33, random);
  index.search(queries);
  const auto before = cuttle::pool_statistics().allocations;
  index.search(queries);
  CHECK(cuttle::pool_statistics().allocations == before);
}

namespace {

// Pairs that drive rounding one way or leave nothing but rounding: query q and row q of each kind.
constexpr int adversarial_kinds = 5;
void make_adversarial(int kind, Tensor<float>& queries, Tensor<float>& rows, Random& random) {
  const std::int64_t D = rows.size(1);
  const auto mantissa = [&] { return 1 + static_cast<double>(random() % (1u << 23)) * 0x1p-23; };
  for (std::int64_t q = 0; q < std::min(queries.size(0), rows.size(0)); ++q)
    for (std::int64_t i = 0; i < D; ++i) {
      float& x = queries.data()[q * D + i];
      float& y = rows.data()[q * D + i];
      if (kind == 1) y = std::nextafter(x, 2.0f);            // next to each other
      if (kind == 2) x = y = i < D / 2 ? 3.0f : 1.0000001f;  // products of one sign
      if (kind == 3) x = static_cast<float>(64 * mantissa()), y = static_cast<float>(mantissa());
      if (kind == 4) x = 1 + static_cast<float>(q) * 0x1p-20f, y = x * (1 + 0x1p-12f);
    }
}

long double squared_distance(const float* x, const float* y, std::int64_t D) {
  long double sum = 0;
  for (std::int64_t i = 0; i < D; ++i) {
    const long double difference = static_cast<long double>(x[i]) - static_cast<long double>(y[i]);
    sum += difference * difference;
  }
  return sum;
}

}  // namespace

TEST_CASE("nearest_patch: the filter's bound holds for adversarial pairs", "[nearest_patch]") {
  // For every query and block |v - V| < e, with V = (|x'|^2 - s^2 d^2)/2 of the block's nearest row in long double.
  const Restore restore;
  Random random(10);
  double worst = 0;
  for (const std::int64_t D : {1, 3, 64, 515, 4096})
    for (int kind = 0; kind < adversarial_kinds; ++kind) {
      constexpr std::int64_t N = 30, Q = cpu::tile_queries, lanes = cpu::block_lanes;
      Tensor<float> rows = gaussian<float>(N, D, random), queries = gaussian<float>(Q, D, random);
      make_adversarial(kind, queries, rows, random);
      for (cpu::Isa isa : instruction_sets()) {
        cpu::set_isa(isa);
        const cpu::NearestPatchFilter filter = cpu::make_nearest_patch_filter(rows.data(), N, D);
        REQUIRE(filter.cells.numel() == 1);
        const double Y = filter.cells.data()[0].norm;
        Tensor<float> x = Tensor<float>::empty({D}), packed = Tensor<float>::empty({D, Q});
        alignas(64) float best[Q * lanes];
        std::vector<double> squared_norms;
        for (std::int64_t q = 0; q < Q; ++q) {
          squared_norms.push_back(
              CUTTLE_ISA_CALL(centre_row, queries.data() + q * D, filter.centre.data(), filter.scale, D, x.data()));
          for (std::int64_t i = 0; i < D; ++i) packed.data()[i * Q + q] = x.data()[i];
        }
        CUTTLE_ISA_CALL(filter_tile, filter.panels.data(), filter.minus_half_norms.data(), std::int64_t{1},
                        packed.data(), D, best);
        for (std::int64_t q = 0; q < Q; ++q)
          for (std::int64_t block = 0; block < lanes; ++block) {
            long double V = -std::numeric_limits<long double>::infinity();
            for (const std::int64_t column : {block, block + lanes})
              if (const std::int64_t row = filter.rows.data()[column]; row >= 0)
                V = std::max(V, (static_cast<long double>(squared_norms[static_cast<std::size_t>(q)]) -
                                 static_cast<long double>(filter.scale * filter.scale) *
                                     squared_distance(queries.data() + q * D, rows.data() + row * D, D)) /
                                    2);
            const double off = static_cast<double>(std::abs(static_cast<long double>(best[q * lanes + block]) - V));
            worst =
                std::max(worst, off / cpu::filter_error(std::sqrt(squared_norms[static_cast<std::size_t>(q)]), Y, D));
          }
      }
    }
  CHECK(worst < 1);
  CHECK(worst > 0.02);  // the pairs are adversarial enough for the line above to mean something
}

TEST_CASE("nearest_patch: the kernel on bytes adds its products without rounding or saturating", "[nearest_patch]") {
  const Restore restore;
  Random random(13);
  constexpr std::int64_t columns = cpu::panel_columns, Q = cpu::tile_queries, lanes = cpu::block_lanes, panels = 3;
  for (const std::int64_t fours : {1, 17, 1024})
    for (const bool extreme : {false, true}) {
      std::vector<std::uint8_t> rows(static_cast<std::size_t>(panels * fours * columns * 4));
      std::vector<std::int8_t> queries(static_cast<std::size_t>(fours * Q * 4));
      std::vector<std::int32_t> start(static_cast<std::size_t>(panels * columns));
      for (std::uint8_t& b : rows) b = static_cast<std::uint8_t>(extreme ? 255 : 1 + random() % 255);
      for (std::size_t i = 0; i < queries.size(); ++i)  // for the extreme, every query has one sign throughout
        queries[i] = static_cast<std::int8_t>(!extreme    ? static_cast<int>(random() % 255) - 127
                                              : i / 4 % 2 ? 127
                                                          : -127);
      for (std::int32_t& s : start)
        s = static_cast<std::int32_t>(extreme ? -(127 * 127 * 2 * fours) : -static_cast<int>(random() % 100000));
      std::vector<std::int64_t> expected(static_cast<std::size_t>(Q * lanes), cpu::no_row);
      for (std::int64_t p = 0; p < panels; ++p)
        for (std::int64_t c = 0; c < columns; ++c)
          for (std::int64_t r = 0; r < Q; ++r) {
            std::int64_t w = start[static_cast<std::size_t>(p * columns + c)];
            for (std::int64_t i = 0; i < 4 * fours; ++i)
              w += static_cast<std::int64_t>(
                       rows[static_cast<std::size_t>(((p * fours + i / 4) * columns + c) * 4 + i % 4)]) *
                   queries[static_cast<std::size_t>((i / 4 * Q + r) * 4 + i % 4)];
            std::int64_t& best = expected[static_cast<std::size_t>(r * lanes + c % lanes)];
            best = std::max(best, w);
          }
      for (cpu::Isa isa : instruction_sets()) {
        cpu::set_isa(isa);
        std::vector<std::int32_t> best(expected.size());
        CUTTLE_VNNI_CALL(int8_tile, rows.data(), start.data(), panels, queries.data(), fours, best.data());
        CHECK(std::vector<std::int64_t>(best.begin(), best.end()) == expected);
      }
    }
}

TEST_CASE("nearest_patch: bytes never drop the nearest row of a cell, and with a bound 10 % smaller would",
          "[nearest_patch]") {
  if (cpu::detail::widest_isa() < cpu::Isa::avx512_vnni) CUTTLE_SKIP("this processor does not multiply bytes");
  const Restore restore;
  cpu::set_isa(cpu::Isa::avx512_vnni);
  Random random(14);
  constexpr std::int64_t N = 200, Q = cpu::tile_queries, lanes = cpu::block_lanes, columns = cpu::panel_columns;
  constexpr int edge = adversarial_kinds, halves = edge + 1, kinds = edge + 3;
  for (const std::int64_t D : {1, 3, 64, 515, 4096}) {
    int dropped_by_less = 0;
    for (int kind = 0; kind < kinds; ++kind) {
      Tensor<float> rows = gaussian<float>(N, D, random), queries = gaussian<float>(Q, D, random);
      if (kind < adversarial_kinds) {
        make_adversarial(kind, queries, rows, random);
      } else if (kind == edge) {  // every value at an end of the range, or far beyond
        for (float& y : rows.span()) y = random() % 2 ? 1.0f : -1.0f;
        for (float& x : queries.span()) x = random() % 2 ? 1.0f : random() % 2 ? -1.01f : 300.0f;
      } else if (kind == halves) {
        // The step is 2^-7 and the mean 0; the query's values lie just below half a step, those of row 2q just above.
        for (std::int64_t n = 0; n < N; ++n)
          for (std::int64_t i = 0; i < D; ++i) {
            const float steps = n >= 2 * Q ? 127 : static_cast<float>(n / 2 + i % 100) + 0.51f;
            rows.data()[n * D + i] = (n % 2 ? -steps : steps) * 0x1p-7f;
            if (n < Q) queries.data()[n * D + i] = (static_cast<float>(n + i % 100) + 0.49f) * 0x1p-7f;
          }
      } else {  // all but one row within a step or two
        rows.data()[0] = 100;
        for (std::int64_t i = D; i < rows.numel(); ++i) rows.data()[i] = 0.3f * rows.data()[i];
      }
      const cpu::NearestPatchFilter filter = cpu::make_nearest_patch_filter(rows.data(), N, D);
      REQUIRE(filter.cells.numel() == 1);
      const std::int64_t fours = (D + 3) / 4;
      cpu::FilterCell cell = filter.cells.data()[0];
      Tensor<float> x = Tensor<float>::empty({D});
      Tensor<std::int8_t> a = Tensor<std::int8_t>::empty({D}), packed = Tensor<std::int8_t>::zeros({fours, Q, 4});
      std::vector<cpu::detail::FilteredQuery> prepared;
      for (std::int64_t q = 0; q < Q; ++q) {
        prepared.emplace_back(
            1, CUTTLE_ISA_CALL(centre_row, queries.data() + q * D, filter.centre.data(), filter.scale, D, x.data()));
        prepared.back().quantise(filter, x.data(), a.data());
        for (std::int64_t i = 0; i < D; ++i) packed.data()[(i / 4 * Q + q) * 4 + i % 4] = a.data()[i];
      }
      alignas(64) std::int32_t best[Q * lanes];
      CUTTLE_VNNI_CALL(int8_tile, filter.int8.bytes.data(), filter.int8.start.data(), cell.panels, packed.data(), fours,
                       best);
      for (std::int64_t q = 0; q < Q; ++q)
        for (std::int64_t slot = 0; slot < cell.panels * columns; ++slot) {
          const std::int64_t row = filter.rows.data()[slot];
          if (row < 0) continue;
          // Were this row the k-th best so far, its block would have to be ranked.
          cpu::detail::FilteredQuery query = prepared[static_cast<std::size_t>(q)];
          query.reach =
              filter.scale * (1 + 0x1p-50) *
              static_cast<double>(std::sqrt(squared_distance(queries.data() + q * D, rows.data() + row * D, D)));
          const std::int32_t w = best[q * lanes + slot % lanes];
          if (w <= query.int8_threshold(filter, cell))
            FAIL("D " << D << ", kind " << kind << ", query " << q << ", row " << row);
          query.reach *= 0.9;
          query.residual *= 0.9;
          cell.residual *= 0.9;
          dropped_by_less += w <= query.int8_threshold(filter, cell);
          cell = filter.cells.data()[0];
        }
    }
    INFO("D " << D);
    if (D >= 64) CHECK(dropped_by_less > 0);  // a bound of a few steps, as for D of 1, is mostly the 3 of rounding
  }
}

TEST_CASE("nearest_patch: a cell is never skipped at the distance of its own nearest row", "[nearest_patch]") {
  Random random(11);
  constexpr std::int64_t N = 8192, Q = 40;
  std::int64_t skipped = 0;
  for (const std::int64_t D : {2, 17})
    for (int kind = 0; kind < adversarial_kinds + 1; ++kind) {
      Tensor<float> rows = clustered<float>(N, D, 3, random), queries = clustered<float>(Q, D, 3, random);
      if (kind == adversarial_kinds)
        rows = collapsed<float>(N, D, random), queries = collapsed<float>(Q, D, random);
      else
        make_adversarial(kind, queries, rows, random);
      const cpu::NearestPatchFilter filter = cpu::make_nearest_patch_filter(rows.data(), N, D);
      const std::int64_t clusters = filter.clusters();
      REQUIRE(clusters > 1);
      Tensor<float> x = Tensor<float>::empty({D}), to_centre = Tensor<float>::empty({clusters});
      for (std::int64_t q = 0; q < Q; ++q) {
        const double squared =
            CUTTLE_ISA_CALL(centre_row, queries.data() + q * D, filter.centre.data(), filter.scale, D, x.data());
        CUTTLE_ISA_CALL(approximate_squared_distances, x.data(), filter.cluster_centres.data(), nullptr, clusters, D,
                        to_centre.data());
        cpu::detail::FilteredQuery query(1, squared);
        query.nearest_centre = std::min_element(to_centre.data(), to_centre.data() + clusters) - to_centre.data();
        query.to_nearest_centre = to_centre.data()[query.nearest_centre];
        for (const cpu::FilterCell& cell : filter.cells.span()) {
          long double nearest = std::numeric_limits<long double>::infinity();
          for (std::int64_t slot = cell.first_panel * 32; slot < (cell.first_panel + cell.panels) * 32; ++slot)
            if (const std::int64_t row = filter.rows.data()[slot]; row >= 0)
              nearest = std::min(nearest, squared_distance(queries.data() + q * D, rows.data() + row * D, D));
          const auto skips = [&](double share) {
            query.reach = share * filter.scale * std::sqrt(static_cast<double>(nearest)) * (1 + 0x1p-50);
            return cpu::detail::out_of_reach(
                query, cell, static_cast<double>(to_centre.data()[cell.cluster]),
                static_cast<double>(filter.between_centres.data()[query.nearest_centre * clusters + cell.cluster]),
                cpu::filter_gamma(D));
          };
          if (skips(1)) FAIL("D " << D << ", kind " << kind << ", query " << q << ", cluster " << cell.cluster);
          skipped += skips(0.5);
        }
      }
    }
  CHECK(skipped > 100);  // bounds that skip nothing would pass the check above
}
