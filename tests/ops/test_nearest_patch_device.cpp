// nearest_patch on every device against its definition, bit for bit: small banks, because a device may be the emulator.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "cuttle/core/graph.hpp"
#include "cuttle/ops/nearest_patch.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/nearest_patch_banks.hpp"

using cuttle::Device;
using cuttle::NearestPatchIndex;
using cuttle::Neighbours;
using cuttle::Tensor;
using namespace cuttle_test;

namespace {

template <class T>
Neighbours<T> on_host(const Neighbours<T>& neighbours) {
  return {neighbours.distance.to(Device::cpu()), neighbours.index.to(Device::cpu())};
}

// The definition's bits on every device.
template <class T>
void check(const Tensor<T>& queries, const Tensor<T>& rows, std::initializer_list<int> ks = {1, 9}) {
  INFO("queries " << queries.shape() << ", rows " << rows.shape());
  on_every_device([&](Device device) {
    const NearestPatchIndex<T> index(rows.to(device));
    const Tensor<T> there = queries.to(device);
    for (int k : ks) {
      INFO("k " << k);
      CHECK(difference(on_host(index.search(there, k)), oracle(queries, rows, k)) == "");
    }
  });
}

}  // namespace

TEMPLATE_TEST_CASE("nearest_patch, devices: odd sizes agree with the definition to the bit", "[nearest_patch]", float,
                   double) {
  Random random(21);
  for (const std::int64_t D : {1, 3, 16, 17, 64, 100}) {
    check(gaussian<TestType>(3, D, random), gaussian<TestType>(129, D, random), {D < 16 ? 9 : 1});
    check(integers<TestType>(3, D, 1, random), integers<TestType>(33, D, 1, random), {2});
  }
  check(gaussian<TestType>(129, 5, random), gaussian<TestType>(1, 5, random), {3});
  check(gaussian<TestType>(33, 33, random), gaussian<TestType>(515, 33, random), {9});
}

TEST_CASE("nearest_patch, devices: every k", "[nearest_patch]") {
  Random random(20);
  check(integers<float>(3, 4, 2, random), integers<float>(150, 4, 2, random), {1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("nearest_patch, devices: long rows, many queries, many blocks", "[nearest_patch]") {
  Random random(22);
  check(gaussian<float>(2, 515, random), gaussian<float>(129, 515, random), {2});
  // Four queries, each with a near row in the first block and a nearer one in the third.
  Tensor<double> queries = gaussian<double>(4, 260, random), near = gaussian<double>(385, 260, random);
  for (std::int64_t i = 0; i < queries.numel(); ++i) {
    const double noise = near.data()[i];
    near.data()[i] = queries.data()[i] + 0.02 * noise;
    near.data()[260 * 260 + i] = queries.data()[i] + 0.01 * noise;
  }
  check(queries, near, {1});
  check(gaussian<float>(130, 3, random), gaussian<float>(129, 3, random), {1});
  // More blocks than are taken by promise, than a word of the sweep holds, and than one CTA's share.
  check(Tensor<float>::zeros({1, 2}), integers<float>(33 * 128 + 1, 2, 1, random), {9});
  // More than the sweep takes at a time, the nearest last; no filter, because 10^130 squared leaves little room.
  Tensor<double> rows = Tensor<double>::empty({1024 * 128 + 3, 1});
  for (std::int64_t r = 0; r < rows.size(0); ++r) rows.data()[r] = 1e130 * static_cast<double>(rows.size(0) - r);
  check(Tensor<double>::zeros({1, 1}), rows, {2});
}

TEMPLATE_TEST_CASE("nearest_patch, devices: by the definition alone", "[nearest_patch]", float, double) {
  Random random(30);
  for (const std::int64_t D : {1, 33, 65}) {
    const Tensor<TestType> rows = integers<TestType>(150, D, 1, random), queries = integers<TestType>(3, D, 1, random);
    on_every_device([&](Device device) {
      const NearestPatchIndex<TestType> index(rows.to(device));
      for (const int k : {1, 9})
        CHECK(difference(on_host(index.search_by_definition(queries.to(device), k)), oracle(queries, rows, k)) == "");
    });
  }
}

TEMPLATE_TEST_CASE("nearest_patch, devices: collapsed, clustered and repeated rows", "[nearest_patch]", float, double) {
  Random random(23);
  check(collapsed<TestType>(9, 24, random), collapsed<TestType>(515, 24, random));
  check(clustered<TestType>(9, 24, 7, random), clustered<TestType>(515, 24, 7, random), {2});
  const Tensor<TestType> base = gaussian<TestType>(20, 17, random);
  Tensor<TestType> rows = Tensor<TestType>::empty({400, 17}), queries = gaussian<TestType>(8, 17, random);
  for (std::int64_t r = 0; r < rows.size(0); ++r)
    std::copy_n(base.data() + static_cast<std::int64_t>(random() % 20) * 17, 17, rows.data() + r * 17);
  std::copy_n(base.data(), 5 * 17, queries.data());
  check(queries, rows);
  check(queries, Tensor<TestType>::full({300, 17}, TestType(0.1)));
  check(Tensor<TestType>::zeros({3, 17}), Tensor<TestType>::zeros({140, 17}));
}

TEST_CASE("nearest_patch, devices: fp16 moves the answer away, and another row nearer", "[nearest_patch]") {
  // Rows come in pairs y, -y, so that their mean is 0; all are below 1 and one past 1/2, so that the scale is 1.
  constexpr std::int64_t N = 256, D = 64, rival = 4, answer = 200;
  Random random(18);
  Tensor<float> rows = Tensor<float>::empty({N, D}), queries = Tensor<float>::full({1, D}, 0.5f);
  const auto set = [&](std::int64_t pair, std::int64_t i, float y) {
    rows.data()[pair * D + i] = y;
    rows.data()[(pair + 1) * D + i] = -y;
  };
  for (std::int64_t r = 0; r < N; r += 2)
    for (std::int64_t i = 0; i < D; ++i) set(r, i, random() % 2 ? 0.875f : -0.875f);
  SECTION("by what is lost of the row") {
    for (std::int64_t i = 0; i < D; ++i) {
      set(answer, i, 0.75f + 0x1.8p-11f);                          // kept as 0.75 + 2^-10
      set(rival, i, i % 2 ? 0.75f + 0x1p-11f : 0.75f + 0x1p-10f);  // kept as it is, farther by 2^-24 in each square
    }
    check(queries, rows, {1});
  }
  SECTION("by what is lost of the query") {
    queries.fill(0.5f + 0x1p-12f);  // kept as 0.5
    for (std::int64_t i = 0; i < D; ++i) {
      set(answer, i, 0.75f);                                       // 1/4 - 2^-12 away, and 1/4 from what is kept
      set(rival, i, i % 2 ? 0.25f + 0x1p-12f : 0.25f + 0x1p-11f);  // between the two
    }
    check(queries, rows, {1});
  }
  CHECK(cuttle::nearest_patch(queries, rows).index.item() == answer);
}

TEMPLATE_TEST_CASE("nearest_patch, devices: rows that tie but for the rounding of the sum", "[nearest_patch]", float,
                   double) {
  Random random(24);
  constexpr std::int64_t D = 64, N = 300;
  const Tensor<TestType> query = gaussian<TestType>(1, D, random, 1, 100);
  std::vector<double> steps(static_cast<std::size_t>(D));
  for (double& step : steps) step = static_cast<double>(static_cast<float>(random() % 1000) * 0x1p-9f);
  Tensor<TestType> rows = Tensor<TestType>::empty({N, D});
  for (std::int64_t n = 0; n < N; ++n) {
    std::shuffle(steps.begin(), steps.end(), random);
    for (std::int64_t i = 0; i < D; ++i)
      rows.data()[n * D + i] =
          static_cast<TestType>(static_cast<double>(query.data()[i]) + steps[static_cast<std::size_t>(i)]);
  }
  check(query, rows);
}

TEMPLATE_TEST_CASE("nearest_patch, devices: magnitudes at the ends of the range", "[nearest_patch]", float, double) {
  Random random(25);
  const double tiny = std::is_same_v<TestType, float> ? 1e-40 : 1e-170;
  const double largest = static_cast<double>(std::numeric_limits<TestType>::max());
  for (const double scale : {1e30, tiny, 3e-45})
    check(gaussian<TestType>(5, 9, random, scale), gaussian<TestType>(260, 9, random, scale));
  check(gaussian<TestType>(5, 33, random, 1e-2, 4096), gaussian<TestType>(260, 33, random, 1e-2, 4096));
  Tensor<TestType> rows = gaussian<TestType>(260, 9, random), queries = gaussian<TestType>(6, 9, random);
  queries.data()[0 * 9] = static_cast<TestType>(-1e5);  // past what fp16 holds, a little and by far
  queries.data()[5 * 9] = static_cast<TestType>(-3e38);
  check(queries, rows, {1});
  rows.data()[200 * 9 + 4] = static_cast<TestType>(1e30);
  check(queries, rows);
  const auto either = [&] { return random() % 2 ? largest : -largest; };
  check(filled<TestType>(5, 3, either), filled<TestType>(140, 3, either));
}

TEST_CASE("nearest_patch, devices: doubles that differ below a float's last bit", "[nearest_patch]") {
  Random random(26);
  check(gaussian<double>(5, 33, random, 1e-12, 1), gaussian<double>(260, 33, random, 1e-12, 1));
  check(gaussian<double>(5, 33, random, 1e200), gaussian<double>(129, 33, random, 1e200));
  check(gaussian<double>(5, 33, random, 1e-300), gaussian<double>(129, 33, random, 1e-300));
}

TEMPLATE_TEST_CASE("nearest_patch, devices: NaN and infinity in a query", "[nearest_patch]", float, double) {
  Random random(27);
  Tensor<TestType> queries = gaussian<TestType>(14, 133, random);
  queries.data()[0 * 133 + 132] = std::numeric_limits<TestType>::quiet_NaN();
  queries.data()[5 * 133 + 1] = std::numeric_limits<TestType>::infinity();
  queries.data()[13 * 133 + 0] = -std::numeric_limits<TestType>::infinity();
  check(queries, gaussian<TestType>(129, 133, random), {2});
  check(queries, Tensor<TestType>::zeros({3, 133}), {9});  // a bank without a filter

  // Memory that has never been written may look like NaN and -1.
  on_every_device([&](Device device) {
    if (device.is_cpu()) return;
    const Tensor<TestType> bank = gaussian<TestType>(3, 133, random).to(device), there = queries.to(device);
    Neighbours<TestType> found{Tensor<TestType>::full({14, 2}, 7, device),
                               Tensor<std::int64_t>::full({14, 2}, 7, device)};
    cuttle::detail::nearest_patch_on_device(
        cuttle::seam::NearestPatchArgs<TestType>{14, 3, 133, 2, there.data(), bank.data(), found.distance.data(),
                                                 found.index.data()},
        device, {});
    CHECK(difference(on_host(found), oracle(queries, bank.to(Device::cpu()), 2)) == "");
  });
}

TEST_CASE("nearest_patch, devices: what is wrong is named as on the CPU", "[nearest_patch]") {
  using Catch::Matchers::Contains;
  on_every_device([](Device device) {
    Tensor<float> rows = Tensor<float>::zeros({600, 40});
    const NearestPatchIndex<float> index(rows.to(device));
    CHECK(index.search(Tensor<float>::empty({0, 40}, device), 2).index.shape() == cuttle::Shape{0, 2});
    CHECK_THROWS_WITH(index.search(Tensor<float>::zeros({2, 4}, device)),
                      Contains("nearest_patch: queries has shape [2, 4], expected (Q,40)"));
    CHECK_THROWS_WITH(index.search(Tensor<float>::zeros({2, 40}, device), 10), Contains("k is 10"));
    CHECK_THROWS_WITH(NearestPatchIndex<float>(Tensor<float>::zeros({0, 3}, device)), Contains("empty bank"));
    if (!device.is_cpu())
      CHECK_THROWS_WITH(index.search(Tensor<float>::zeros({2, 40})), Contains("nearest_patch: arguments on"));
    rows.data()[599 * 40 + 39] = -std::numeric_limits<float>::infinity();
    CHECK_THROWS_WITH(NearestPatchIndex<float>(rows.to(device)),
                      Contains("nearest_patch: row 599 of rows [600, 40] holds a NaN or an infinity"));
    rows.data()[300 * 40 + 2] = std::numeric_limits<float>::quiet_NaN();
    rows.data()[301 * 40] = rows.data()[308 * 40 + 2] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH(NearestPatchIndex<float>(rows.to(device)),
                      Contains("nearest_patch: row 300 of rows [600, 40] holds a NaN or an infinity"));
  });
}

TEST_CASE("nearest_patch, devices: the filter leaves few blocks of spread rows, and queries in parts change nothing",
          "[nearest_patch]") {
  Random random(28);
  constexpr std::int64_t N = 24 * 128, D = 16, Q = 140;
  Tensor<float> rows = clustered<float>(N, D, 3, random);
  const Tensor<float> queries = clustered<float>(Q, D, 3, random);
  rows.data()[9 * D + 3] = -30;
  const std::vector<Device> devices = every_device();
  if (devices.size() < 2) CUTTLE_SKIP("there is no device but the CPU");
  const Device device = devices[1];
  const Tensor<float> bank = rows.to(device), there = queries.to(device);
  std::int64_t bad_row = 0;
  const cuttle::detail::DeviceNearestPatchFilter filter = cuttle::detail::make_device_filter(bank, bad_row);
  CHECK(bad_row == N);
  CHECK(filter.scale == 0x1p-5);  // brings 30, near enough the farthest from the mean, below 1
  Neighbours<float> found{Tensor<float>::empty({Q, 1}, device), Tensor<std::int64_t>::empty({Q, 1}, device)};
  const cuttle::seam::NearestPatchArgs<float> args{
      Q, N, D, 1, there.data(), bank.data(), found.distance.data(), found.index.data()};
  cuttle::detail::nearest_patch_on_device(args, device, filter.pointers(), 1);
  CHECK(difference(on_host(found), oracle(queries, rows, 1)) == "");

  // A block that was ranked leaves a NaN in `best`.
  const std::int64_t padded = 256, blocks = cuttle::seam::filter_blocks(N);
  Tensor<std::uint16_t> rounded = Tensor<std::uint16_t>::empty({padded, D}, device);
  Tensor<double> bounds = Tensor<double>::empty({padded, 2}, device);
  Tensor<float> best = Tensor<float>::empty({padded, blocks}, device);
  cuttle::detail::run_entry(
      "nearest_patch", device, &cuttle::seam::OpTable<float>::nearest_patch,
      cuttle::seam::NearestPatchSearchArgs<float>{args, filter.pointers(), rounded.data(), bounds.data(), best.data()});
  std::int64_t ranked = 0;
  const Tensor<float> marked = best.to(Device::cpu()).slice(0, Q);
  for (const float v : marked.span()) ranked += std::isnan(v);
  CHECK(ranked >= Q);
  CHECK(ranked < 2 * Q);
}

TEST_CASE("nearest_patch, devices: a second search takes no memory from the system", "[nearest_patch]") {
  Random random(29);
  on_every_device([&](Device device) {
    const NearestPatchIndex<float> index(gaussian<float>(129, 5, random).to(device));
    const Tensor<float> queries = gaussian<float>(3, 5, random).to(device);
    index.search(queries);
    const auto before = cuttle::pool_statistics(device).allocations;
    index.search(queries);
    CHECK(cuttle::pool_statistics(device).allocations == before);
  });
}

TEST_CASE("nearest_patch, devices: a search that is recorded sees the queries of its replay", "[nearest_patch]") {
  const std::vector<Device> devices = every_device();
  if (devices.size() < 2) CUTTLE_SKIP("there is no device but the CPU");
  Random random(19);
  const Tensor<float> rows = gaussian<float>(150, 5, random), first = gaussian<float>(3, 5, random),
                      second = gaussian<float>(3, 5, random);
  const cuttle::Stream stream(devices[1]);
  const cuttle::StreamScope scope(devices[1], stream.get());
  const NearestPatchIndex<float> index(rows.to(devices[1]));
  Tensor<float> queries = first.clone().to(devices[1]);
  Neighbours<float> found = index.search(queries, 2);
  CHECK(difference(on_host(found), oracle(first, rows, 2)) == "");
  found = {};
  const cuttle::RecordedWork recorded(stream, [&] { found = index.search(queries, 2); });
  queries.copy_from(second);
  recorded.launch();
  CHECK(difference(on_host(found), oracle(second, rows, 2)) == "");
}
