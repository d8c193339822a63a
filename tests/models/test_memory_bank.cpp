// A memory bank of anybody's embeddings: distances, scores, the coreset, files.
#include "cuttle/models/memory_bank.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using cuttle_test::contains;
using cuttle_test::every_device;
using cuttle_test::integer_tensor;
using cuttle_test::same_bits;
using cuttle_test::uniform_tensor;

namespace {

double distance(const float* x, const float* y, std::int64_t D) {
  double sum = 0;
  for (std::int64_t d = 0; d < D; ++d) sum += std::pow(static_cast<double>(x[d]) - static_cast<double>(y[d]), 2);
  return std::sqrt(sum);
}

// The paper's equations 6 and 7, with m itself among its neighbours.
double score_by_definition(const Tensor<float>& rows, const Tensor<float>& patches, std::int64_t neighbours) {
  const std::int64_t N = rows.size(0), D = rows.size(1);
  double largest = -1;
  const float *x = nullptr, *m = nullptr;
  for (std::int64_t p = 0; p < patches.size(0); ++p) {
    const float* const patch = patches.data() + p * D;
    const float* nearest = rows.data();
    for (std::int64_t n = 1; n < N; ++n)
      if (distance(patch, rows.data() + n * D, D) < distance(patch, nearest, D)) nearest = rows.data() + n * D;
    if (distance(patch, nearest, D) <= largest) continue;
    largest = distance(patch, nearest, D);
    x = patch;
    m = nearest;
  }
  if (neighbours == 1) return largest;
  std::vector<std::pair<double, std::int64_t>> order;
  for (std::int64_t n = 0; n < N; ++n) order.emplace_back(distance(m, rows.data() + n * D, D), n);
  std::sort(order.begin(), order.end());
  double sum = 0;
  for (std::int64_t i = 0; i < std::min(neighbours, N); ++i)
    sum += std::exp(distance(x, rows.data() + order[static_cast<std::size_t>(i)].second * D, D));
  return (1 - std::exp(largest) / sum) * largest;
}

// Rows in 40 places, which lie at least 100 apart, within 1 of theirs; place n % 40 for all but the last, the rarest.
constexpr std::int64_t places = 40;
std::int64_t place_of(const float* row) { return std::lround(static_cast<double>(row[0]) / 100); }
Tensor<float> clustered_rows(std::int64_t N, std::int64_t D) {
  Tensor<float> rows = uniform_tensor<float>({N, D}, 5, -0.5, 0.5);
  for (std::int64_t n = 0; n < N; ++n)
    rows.data()[n * D] += 100 * static_cast<float>(n == N - 1 ? places - 1 : n % (places - 1));
  return rows;
}

}  // namespace

TEST_CASE("MemoryBank: its own rows are at distance 0, others as far as they are", "[models]") {
  const Tensor<float> rows = integer_tensor<float>({129, 5}, 1, -9, 9);
  for (const Device device : every_device()) {
    INFO("device " << device);
    const MemoryBank bank(rows.to(device));
    CHECK(bank.size() == 129);
    CHECK(bank.dim() == 5);
    CHECK(bank.device() == device);
    CHECK(same_bits(bank.distances(rows.to(device)).to(Device::cpu()), Tensor<float>::zeros({129})));
    CHECK(bank.score(rows.to(device)) == 0);
    CHECK(bank.score(rows.to(device), 9) == 0);

    // Patches on a grid, of two images.
    const Tensor<float> embeddings = uniform_tensor<float>({2, 3, 4, 5}, 2, -12, 12);
    auto expected = Tensor<float>::empty({2, 3, 4});
    for (std::int64_t p = 0; p < 24; ++p) {
      double nearest = std::numeric_limits<double>::infinity();
      for (std::int64_t n = 0; n < 129; ++n)
        nearest = std::min(nearest, distance(embeddings.data() + p * 5, rows.data() + n * 5, 5));
      expected.data()[p] = static_cast<float>(nearest);
    }
    CHECK_CLOSE(bank.distances(embeddings.to(device)), expected, {1e-6});
    CHECK(bank.distances(Tensor<float>::empty({0, 5}, device)).shape() == Shape{0});
  }
}

TEST_CASE("MemoryBank: the score of the paper, without and with the weight of its equation 7", "[models]") {
  for (const auto& [N, P, scale] : {std::array{129, 33, 1}, {515, 1, 3}, {4, 7, 2}, {1, 3, 1}, {9, 9, 40}}) {
    const std::int64_t D = 6;
    const Tensor<float> rows = uniform_tensor<float>({N, D}, 1, -scale, scale);
    const Tensor<float> patches = uniform_tensor<float>({P, D}, 2, -2 * scale, 2 * scale);
    for (const Device device : every_device())
      for (const int neighbours : {1, 2, 3, 9}) {
        INFO("device " << device << " N " << N << " neighbours " << neighbours);
        const MemoryBank bank(rows.to(device));
        const double score = bank.score(patches.to(device), neighbours);
        CHECK(std::abs(score - score_by_definition(rows, patches, neighbours)) <= 1e-5 * scale);
      }
  }
  // Where twelve rows are one, nine of them are the neighbours: 1 - 1/9.
  const MemoryBank same(Tensor<float>::full({12, 2}, 1));
  CHECK(same.score(Tensor<float>::from({1, 2}, {4, 5}), 9) == Approx(5 * (1 - 1.0 / 9)));
  // Distances whose exponentials are beyond double.
  const MemoryBank far(Tensor<float>::from({2, 1}, {0, 1}));
  CHECK(far.score(Tensor<float>::from({1, 1}, {5000}), 2) == Approx(4999 * (1 - 1 / (1 + std::exp(1)))));
}

TEST_CASE("MemoryBank: a patch that is not finite gives NaN, not a score", "[models]") {
  const MemoryBank bank(uniform_tensor<float>({20, 3}, 1));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Tensor<float> patches = uniform_tensor<float>({5, 3}, 2);
    patches.data()[7] = bad;
    CHECK(std::isnan(bank.score(patches)));
    CHECK(std::isnan(bank.score(patches, 9)));
    const Tensor<float> distances = bank.distances(patches);
    for (std::int64_t p = 0; p < 5; ++p) CHECK(std::isnan(distances.data()[p]) == (p == 2));
  }
}

TEST_CASE("MemoryBank: maps are the distances between the middles of the patches", "[models]") {
  for (const Device device : every_device()) {
    const MemoryBank bank(Tensor<float>::zeros({1, 1}, device));
    const Tensor<float> grid = Tensor<float>::from({2, 1, 2, 1}, {0, 4, 8, -8});
    const Tensor<float> maps = bank.maps(grid.to(device), 2, 4);
    CHECK_CLOSE(maps, Tensor<float>::from({2, 2, 4}, {0, 1, 3, 4, 0, 1, 3, 4, 8, 8, 8, 8, 8, 8, 8, 8}), {});
  }
}

TEST_CASE("MemoryBank: a coreset has a row of every cluster, the same for a seed on every device", "[models]") {
  const Tensor<float> rows = clustered_rows(4000, 7);
  std::set<float> firsts;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    std::optional<MemoryBank> on_cpu;
    for (const Device device : every_device()) {
      INFO("seed " << seed << " device " << device);
      const MemoryBank bank = MemoryBank::coreset(rows.to(device), places, seed);
      CHECK(bank.device() == device);
      const Tensor<float> kept = bank.rows().to(Device::cpu());
      std::set<std::int64_t> found;
      for (std::int64_t n = 0; n < kept.size(0); ++n) found.insert(place_of(kept.data() + n * 7));
      CHECK(found.size() == static_cast<std::size_t>(places));
      const Tensor<float> distances = bank.distances(rows.to(device)).to(Device::cpu());
      CHECK(*std::ranges::max_element(distances.span()) < std::sqrt(7.0f));
      if (!on_cpu) on_cpu = bank;
      CHECK(same_bits(kept, on_cpu->rows()));
    }
    firsts.insert(on_cpu->rows().data()[1]);
  }
  CHECK(firsts.size() == 3);
  CHECK(same_bits(MemoryBank::coreset(rows, 4000, 1).rows(), rows));
  CHECK(same_bits(MemoryBank::coreset(rows, 9999, 1).rows(), rows));
}

TEST_CASE("MemoryBank: the order of the rows changes no distance and no score", "[models]") {
  const Tensor<float> rows = uniform_tensor<float>({515, 9}, 1), patches = uniform_tensor<float>({33, 9}, 2, -2, 2);
  auto shuffled = Tensor<float>::empty(rows.shape());
  const auto order = random_permutation(515, 3, 0);
  for (std::int64_t n = 0; n < 515; ++n)
    std::copy_n(rows.data() + order[static_cast<std::size_t>(n)] * 9, 9, shuffled.data() + n * 9);
  const MemoryBank a(rows), b(shuffled);
  CHECK(same_bits(a.distances(patches), b.distances(patches)));
  CHECK(a.score(patches) == b.score(patches));
  CHECK(a.score(patches, 9) == b.score(patches, 9));
}

TEST_CASE("MemoryBank: a file gives the same bits, from where it lies", "[models]") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder / "bank.safetensors";
  const Tensor<float> rows = uniform_tensor<float>({515, 33}, 1), patches = uniform_tensor<float>({17, 33}, 2, -2, 2);
  const MemoryBank bank(rows);
  for (const Device device : every_device()) {
    MemoryBank saved(rows.to(device));
    saved.save(path);
    MemoryBank loaded = MemoryBank::load(path);
    CHECK(loaded.device() == Device::cpu());
    CHECK(same_bits(loaded.rows(), rows));
    CHECK(same_bits(loaded.distances(patches), bank.distances(patches)));
    CHECK(loaded.score(patches, 9) == bank.score(patches, 9));

    loaded.save(folder / "again.safetensors");
    CHECK(read_file(folder / "again.safetensors") == read_file(path));

    // Over the very file that it is mapped from, and after that is gone.
    loaded.save(path);
    std::filesystem::remove(path);
    const MemoryBank copy = loaded;
    loaded.move_to(device);
    CHECK(loaded.device() == device);
    CHECK(same_bits(loaded.rows().to(Device::cpu()), rows));
    CHECK(same_bits(loaded.distances(patches.to(device)).to(Device::cpu()), bank.distances(patches)));
    loaded = MemoryBank(Tensor<float>::zeros({1, 1}));
    CHECK(same_bits(copy.distances(patches), bank.distances(patches)));
  }
}

TEST_CASE("MemoryBank: files that do not fit are named", "[models]") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder / "bank.safetensors", bad = folder / "bad.safetensors";
  const auto write = [&](const std::string& name, const auto& tensor, const char* method = MemoryBank::method) {
    SafetensorsWriter file;
    file.add(name, tensor);
    add_method(file, method, Json(Json::Object{}));
    file.write(bad);
  };
  const auto refused = [&](const std::string& why) {
    CHECK_THROWS_AS(MemoryBank::load(bad), IoError);
    CHECK_THROWS_WITH(MemoryBank::load(bad), contains(bad.string()) && contains(why));
  };
  MemoryBank(uniform_tensor<float>({40, 3}, 1)).save(path);
  const std::string whole = read_file(path);
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{5}, std::size_t{60}, whole.size() / 2, whole.size() - 1}) {
    write_file_atomically(bad, whole.substr(0, length));
    refused("");
  }
  std::string damaged = whole;
  damaged[whole.size() - 9] ^= 4;
  write_file_atomically(bad, damaged);
  refused("is damaged");
  write("rows", Tensor<float>::zeros({4, 2}), "patch_svdd");
  refused("is a model of method \"patch_svdd\", not memory_bank");
  write("row", Tensor<float>::zeros({4, 2}));
  refused("no tensor \"rows\"");
  write("rows", Tensor<double>::zeros({4, 2}));
  refused("tensor \"rows\" is F64 [4, 2], not F32");
  write("rows", Tensor<float>::zeros({8}));
  refused("rows has shape [8], expected (N,D)");
  write("rows", Tensor<float>::zeros({0, 4}));
  refused("rows [0, 4] is an empty bank");
  write("rows", Tensor<float>::from({2, 2}, {0, 1, std::numeric_limits<float>::quiet_NaN(), 3}));
  refused("row 1 of rows [2, 2] holds a NaN");
  CHECK_THROWS_WITH(MemoryBank::load(folder / "none"), contains((folder / "none").string()));
  CHECK_THROWS_WITH(MemoryBank(Tensor<float>::zeros({1, 1})).save(folder / "no" / "bank"),
                    contains((folder / "no" / "bank").string()));
}

TEST_CASE("MemoryBank: what cannot be is named", "[models]") {
  const MemoryBank bank(Tensor<float>::zeros({4, 3}));
  CHECK_THROWS_WITH(bank.distances(Tensor<float>::zeros({2, 4})),
                    contains("MemoryBank::distances: embeddings have shape [2, 4], expected (...,3)"));
  CHECK_THROWS_WITH(bank.distances(Tensor<float>::zeros({3})), contains("embeddings have shape [3]"));
  CHECK_THROWS_WITH(bank.score(Tensor<float>::zeros({0, 3})), contains("embeddings [0, 3] hold no patch"));
  CHECK_THROWS_WITH(bank.score(Tensor<float>::zeros({1, 3}), 0), contains("neighbours is 0, expected 1 to 9"));
  CHECK_THROWS_WITH(bank.score(Tensor<float>::zeros({1, 3}), 10), contains("neighbours is 10, expected 1 to 9"));
  CHECK_THROWS_WITH(bank.maps(Tensor<float>::zeros({4, 5, 3}), 8, 8),
                    contains("MemoryBank::maps: embeddings have shape [4, 5, 3], expected (B,I,J,3)"));
  CHECK_THROWS_WITH(MemoryBank(Tensor<float>::zeros({3})), contains("rows has shape [3], expected (N,D)"));
  CHECK_THROWS_WITH(MemoryBank::coreset(Tensor<float>::zeros({3}), 1, 1), contains("rows has shape [3]"));
  CHECK_THROWS_WITH(MemoryBank::coreset(Tensor<float>::zeros({3, 3}), 0, 1), contains("kept is 0"));
}
