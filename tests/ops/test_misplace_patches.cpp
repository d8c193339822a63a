// misplace_patches, on every device.
#include "cuttle/ops/misplace_patches.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "cuttle/core/graph.hpp"
#include "cuttle/core/parallel.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::same_bits;
using cuttle_test::uniform_tensor;

namespace {

using Square = std::vector<std::vector<double>>;

Square transposed(const Square& s) {
  Square t(s.size(), std::vector<double>(s.size()));
  for (std::size_t i = 0; i < s.size(); ++i)
    for (std::size_t j = 0; j < s.size(); ++j) t[j][i] = s[i][j];
  return t;
}
Square upside_down(Square s) {
  std::reverse(s.begin(), s.end());
  return s;
}
Square mirrored(Square s) {
  for (auto& row : s) std::reverse(row.begin(), row.end());
  return s;
}

// A square of one channel of an image.
template <class T>
Square cut(const Tensor<T>& images, std::int64_t b, std::int64_t top, std::int64_t left, std::int64_t side,
           std::int64_t c = 0) {
  const std::int64_t H = images.size(1), C = images.size(3);
  Square s;
  for (std::int64_t i = top; i < top + side; ++i) {
    s.emplace_back();
    for (std::int64_t j = left; j < left + side; ++j)
      s.back().push_back(static_cast<double>(images.data()[((b * H + i) * H + j) * C + c]));
  }
  return s;
}

// The eight symmetries of a square, from two that generate them: quarter turns, then those mirrored; [0] is itself.
std::vector<Square> symmetries(Square s) {
  std::vector<Square> all;
  for (int turn = 0; turn < 4; ++turn, s = mirrored(transposed(s))) all.push_back(s);
  for (int turn = 0; turn < 4; ++turn) all.push_back(mirrored(all[static_cast<std::size_t>(turn)]));
  return all;
}

// The definition, given what is drawn: piece by piece in double, squares turned as a whole.
template <class T>
Tensor<double> expected_images(const Tensor<T>& images, std::int64_t grid, const MisplaceOptions& options,
                               std::uint64_t seed, std::uint64_t stream) {
  const std::int64_t B = images.size(0), H = images.size(1), C = images.size(3);
  auto y = Tensor<double>::empty(images.shape());
  for (std::int64_t i = 0; i < y.numel(); ++i) y.data()[i] = static_cast<double>(images.data()[i]);
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t pieces = seam::count_misplaced_pieces(options, seed, stream, b);
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      const auto p = seam::sample_misplaced_piece(options, B, H, grid, seed, stream, b, piece);
      for (std::int64_t c = 0; c < C; ++c) {
        const auto side = static_cast<std::size_t>(p.side);
        Square content(side, std::vector<double>(side, static_cast<double>(p.gray)));
        if (p.image >= 0) content = cut(images, p.image, p.from_top, p.from_left, p.side, c);
        if (p.symmetry / 4 == 1) content = transposed(content);
        if (p.symmetry % 2 == 1) content = upside_down(content);
        if (p.symmetry / 2 % 2 == 1) content = mirrored(content);
        for (std::int64_t i = 0; i < p.side; ++i)
          for (std::int64_t j = 0; j < p.side; ++j) {
            double& value = y.data()[((b * H + p.top + i) * H + p.left + j) * C + c];
            value =
                p.opacity * content[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] + (1 - p.opacity) * value;
          }
      }
    }
  }
  return y;
}

// Every value is its own: which place of which image a result shows can be read off it. No value below 2.
Tensor<double> named_pixels(std::int64_t B, std::int64_t H) {
  auto images = Tensor<double>::empty({B, H, H, 1});
  for (std::int64_t i = 0; i < images.numel(); ++i) images.data()[i] = static_cast<double>(2 + i);
  return images;
}

// A count of n draws, each with probability p, within five standard deviations of its mean.
bool as_likely(std::int64_t count, double p, double n) {
  return std::abs(static_cast<double>(count) - n * p) <= 5 * std::sqrt(n * p * (1 - p));
}
// All of first .. first + values - 1 and nothing else, each as often as the others.
bool uniform(const std::map<std::int64_t, std::int64_t>& counts, std::int64_t first, std::int64_t values, double n) {
  if (static_cast<std::int64_t>(counts.size()) != values || counts.begin()->first != first ||
      counts.rbegin()->first != first + values - 1)
    return false;
  return std::all_of(counts.begin(), counts.end(),
                     [&](const auto& count) { return as_likely(count.second, 1 / static_cast<double>(values), n); });
}

// No two entries of the rows are correlated: each coefficient is within five standard deviations of 0.
void check_uncorrelated(std::vector<std::vector<double>> rows) {
  const double n = static_cast<double>(rows.size());
  const std::size_t features = rows[0].size();
  for (std::size_t f = 0; f < features; ++f) {
    double mean = 0, variance = 0;
    for (const auto& row : rows) mean += row[f] / n;
    for (const auto& row : rows) variance += (row[f] - mean) * (row[f] - mean) / n;
    REQUIRE(variance > 0);
    for (auto& row : rows) row[f] = (row[f] - mean) / std::sqrt(variance);
  }
  for (std::size_t f = 0; f < features; ++f)
    for (std::size_t g = 0; g < f; ++g) {
      double correlation = 0;
      for (const auto& row : rows) correlation += row[f] * row[g] / n;
      INFO("features " << g << " and " << f << ": " << correlation);
      CHECK(std::abs(correlation) < 5 / std::sqrt(n));
    }
}

MisplaceOptions one_piece(double whole, double turned, double blank) {
  MisplaceOptions options;
  options.share = 1;
  options.most_pieces = 1;
  options.whole = whole;
  options.turned = turned;
  options.blank = blank;
  return options;
}

}  // namespace

TEMPLATE_TEST_CASE("misplace_patches: the definition, and the same bits on every device", "", float, double) {
  const std::int64_t C = GENERATE(1, 3);
  const MisplaceOptions opaque{1, 4, 0.5, 0.3, 0.2, 0, 1.5, 1}, blended{0.9, 5, 0.2, 0.2, 0.2, 0.1, 3, 0.2};
  const struct { std::int64_t H, grid; } images_and_grids[] = {{1, 1}, {33, 1}, {33, 3}, {33, 33}, {40, 2}};
  for (const auto& one : images_and_grids)
    for (const std::int64_t B : {1, 5}) {
      const std::int64_t H = one.H, grid = one.grid;
      INFO("B " << B << ", H " << H << ", grid " << grid);
      const auto images = uniform_tensor<TestType>({B, H, H, C}, 1, 0, 1);
      for (const MisplaceOptions& options : {MisplaceOptions{}, opaque, blended}) {
        const auto expected = expected_images(images, grid, options, 42, 1009);
        // A piece rounds its opacity, 1 - opacity, a product and a sum of numbers up to 1; at most five lie on a pixel.
        const double error = options.least_opacity == 1 ? 0 : 5 * 2 * double{std::numeric_limits<TestType>::epsilon()};
        const auto on_cpu = misplace_patches(images, grid, options, 42, 1000, 9);
        on_every_device([&](Device device) {
          const auto there = images.to(device);
          const auto y = misplace_patches(there, grid, options, 42, 1000, 9);
          CHECK_CLOSE(y, expected, {0, error});
          CHECK(same_bits(y, on_cpu));
          CHECK(same_bits(there, images));
          const auto state = Tensor<StepState>::from({1}, {StepState{9, 0.1}}).to(device);
          CHECK(same_bits(misplace_patches(there, grid, options, 42, 1000, state), on_cpu));
        });
      }
    }
}

TEST_CASE("misplace_patches: more images than blocks run at a time") {
  const auto images = uniform_tensor<float>({2100, 3, 3, 1}, 1, 0, 1);
  const MisplaceOptions options{1, 3, 0.5, 0.3, 0.3, 0.5, 3, 1};
  const auto expected = expected_images(images, 3, options, 7, 3);
  on_every_device(
      [&](Device device) { CHECK_CLOSE(misplace_patches(images.to(device), 3, options, 7, 0, 3), expected, {}); });
}

TEST_CASE("misplace_patches: share 0 is a copy") {
  const auto images = uniform_tensor<float>({16, 33, 33, 3}, 1);
  MisplaceOptions options;
  options.share = 0;
  on_every_device([&](Device device) {
    for (const std::int64_t step : {std::int64_t{0}, (std::int64_t{1} << 43) - 1})
      CHECK(same_bits(misplace_patches(images.to(device), 3, options, 1, 2, step), images));
  });
  CHECK(misplace_patches(Tensor<float>::empty({0, 33, 33, 3}), 3, {}, 1, 2, 3).shape() == Shape{0, 33, 33, 3});
}

TEST_CASE("misplace_patches: turned in place, one of the seven other symmetries, each as often") {
  const std::int64_t B = 7000;
  const auto images = named_pixels(B, 5);
  const auto y = misplace_patches(images, 1, one_piece(1, 1, 0), 3, 0, 0);
  std::map<std::int64_t, std::int64_t> counts;
  for (std::int64_t b = 0; b < B; ++b) {
    const auto all = symmetries(cut(images, b, 0, 0, 5));
    ++counts[std::find(all.begin(), all.end(), cut(y, b, 0, 0, 5)) - all.begin()];
  }
  CHECK(uniform(counts, 1, 7, B));
}

TEST_CASE("misplace_patches: a whole foreign piece is a patch, in the place of one") {
  const std::int64_t B = 9000, H = 9, grid = 3, patch = H / grid;
  const auto images = named_pixels(B, H);
  const auto y = misplace_patches(images, grid, one_piece(1, 0, 0), 5, 0, 0);
  std::map<std::int64_t, std::int64_t> places, sources, orientations, halves;
  std::int64_t unchanged = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    std::vector<std::int64_t> changed;
    for (std::int64_t place = 0; place < grid * grid; ++place) {
      const std::int64_t top = place / grid * patch, left = place % grid * patch;
      if (cut(y, b, top, left, patch) != cut(images, b, top, left, patch)) changed.push_back(place);
    }
    REQUIRE(changed.size() <= 1);
    if (changed.empty()) {
      ++unchanged;
      continue;
    }
    const Square shown = cut(y, b, changed[0] / grid * patch, changed[0] % grid * patch, patch);
    // Its smallest value is in a corner of the patch it comes from: the top left one, as values go up along rows.
    double first = shown[0][0];
    for (const auto& row : shown) first = std::min(first, *std::min_element(row.begin(), row.end()));
    const std::int64_t pixel = static_cast<std::int64_t>(first) - 2, image = pixel / (H * H), top = pixel % (H * H) / H,
                       left = pixel % H;
    REQUIRE((top % patch == 0 && left % patch == 0));
    const auto all = symmetries(cut(images, image, top, left, patch));
    ++places[changed[0]];
    ++sources[top / patch * grid + left / patch];
    ++orientations[std::find(all.begin(), all.end(), shown) - all.begin()];
    ++halves[image * 2 / B];
  }
  // The own patch as it was: one of B images, one of 9 places.
  CHECK(unchanged <= 5);
  const double n = static_cast<double>(B - unchanged);
  CHECK(uniform(places, 0, 9, n));
  CHECK(uniform(sources, 0, 9, n));
  CHECK(uniform(halves, 0, 2, n));
  CHECK(orientations.size() == 8);
  for (const auto& [symmetry, count] : orientations) {
    INFO("symmetry " << symmetry);
    CHECK(as_likely(count, symmetry == 0 ? 0.7 + 0.3 / 8 : 0.3 / 8, n));
  }
}

TEST_CASE("misplace_patches: a blank piece hides everything, half of them are 0, half uniform") {
  const std::int64_t B = 4000;
  const auto images = Tensor<float>::full({B, 3, 3, 1}, std::numeric_limits<float>::quiet_NaN());
  const auto y = misplace_patches(images, 1, one_piece(1, 0, 1), 6, 0, 0);
  std::int64_t zeros = 0;
  std::map<std::int64_t, std::int64_t> quarters;
  for (std::int64_t b = 0; b < B; ++b) {
    const Square shown = cut(y, b, 0, 0, 3);
    const double gray = shown[0][0];
    REQUIRE(shown == Square(3, std::vector<double>(3, gray)));
    REQUIRE((gray >= 0 && gray < 1));
    if (gray == 0)
      ++zeros;
    else
      ++quarters[static_cast<std::int64_t>(4 * gray)];
  }
  CHECK(as_likely(zeros, 0.5, B));
  CHECK(uniform(quarters, 0, 4, static_cast<double>(B - zeros)));
}

TEST_CASE("misplace_patches: pieces that are no patch, of every side, anywhere, at every opacity") {
  const std::int64_t H = 12, grid = 3, B = 20'000;
  MisplaceOptions options = one_piece(0, 0, 1);
  options.least_side = 0.5;
  options.most_side = 1.25;
  options.least_opacity = 0.25;
  // Of pixels worth 2, a blank piece shows 2 * (1 - opacity) and up to opacity more.
  const auto images = Tensor<double>::full({B, H, H, 1}, 2);
  const auto y = misplace_patches(images, grid, options, 8, 0, 0);
  std::map<std::int64_t, std::int64_t> sides;
  std::map<std::int64_t, std::map<std::int64_t, std::int64_t>> tops, lefts;
  double together = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    std::int64_t top = H, left = H, bottom = -1, right = -1;
    std::set<double> shown;
    std::int64_t pixels = 0;
    for (std::int64_t i = 0; i < H; ++i)
      for (std::int64_t j = 0; j < H; ++j) {
        const double value = y.data()[(b * H + i) * H + j];
        if (value == 2) continue;
        shown.insert(value);
        ++pixels;
        top = std::min(top, i), left = std::min(left, j), bottom = std::max(bottom, i), right = std::max(right, j);
      }
    const std::int64_t side = bottom - top + 1;
    REQUIRE((pixels == side * side && right - left + 1 == side && shown.size() == 1));
    REQUIRE((*shown.begin() >= 0 && *shown.begin() < 2 * 0.75 + 0.25));
    ++sides[side];
    ++tops[side][top];
    ++lefts[side][left];
    const double centre = static_cast<double>(H - side) / 2;
    together += (static_cast<double>(top) - centre) * (static_cast<double>(left) - centre);
  }
  // round(u), u uniform in [2, 5]: 3 and 4 a third each, both ends a half of that.
  CHECK(sides.size() == 4);
  for (const std::int64_t side : {2, 3, 4, 5}) {
    INFO("side " << side);
    CHECK(as_likely(sides[side], side == 2 || side == 5 ? 1.0 / 6 : 1.0 / 3, B));
    CHECK(uniform(tops[side], 0, H - side + 1, static_cast<double>(sides[side])));
    CHECK(uniform(lefts[side], 0, H - side + 1, static_cast<double>(sides[side])));
  }
  // Top and left are independent: a mean product of 0 of variances of at most (11^2 - 1) / 12 = 10.
  CHECK(std::abs(together / static_cast<double>(B)) < 5 * std::sqrt(10 * 10 / static_cast<double>(B)));

  // The drawn numbers themselves: sides beyond the image and below a pixel, opacities over their whole range.
  std::map<std::int64_t, std::int64_t> quarters, extremes;
  for (std::int64_t b = 0; b < B; ++b) {
    const auto p = seam::sample_misplaced_piece(options, B, H, grid, 8, 1, b, 0);
    REQUIRE((p.opacity >= 0.25 && p.opacity <= 1));
    ++quarters[static_cast<std::int64_t>((p.opacity - 0.25) / 0.75 * 4)];
    MisplaceOptions wild = options;
    wild.least_side = 0;
    wild.most_side = b % 2 == 0 ? 0.1 : std::numeric_limits<double>::max();
    const auto q = seam::sample_misplaced_piece(wild, B, H, grid, 8, 1, b, 0);
    ++extremes[q.side];
    REQUIRE((q.top >= 0 && q.left >= 0 && q.top + q.side <= H && q.left + q.side <= H));
  }
  CHECK(uniform(quarters, 0, 4, B));
  CHECK(extremes == std::map<std::int64_t, std::int64_t>{{1, B / 2}, {H, B / 2}});
}

TEST_CASE("misplace_patches: shares of images and of pieces are those of the options") {
  // Sides of pieces that are no patch are below a patch's here, which tells the two apart.
  const MisplaceOptions options{0.7, 3, 0.4, 0.25, 0.35, 0.3, 0.6, 1};
  const std::int64_t B = 10'000, H = 32, grid = 2;
  std::map<std::int64_t, std::int64_t> numbers;
  std::int64_t changed = 0, whole = 0, turned = 0, blank = 0, foreign = 0, whole_turned = 0, whole_blank = 0,
               foreign_turned = 0;
  double pieces = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t number = seam::count_misplaced_pieces(options, 1, 2, b);
    changed += number > 0;
    if (number > 0) ++numbers[number];
    for (std::int64_t piece = 0; piece < number; ++piece, ++pieces) {
      const auto p = seam::sample_misplaced_piece(options, B, H, grid, 1, 2, b, piece);
      const bool is_whole = p.side == H / grid, is_blank = p.image < 0,
                 is_turned = p.image == b && p.from_top == p.top && p.from_left == p.left && p.symmetry > 0;
      if (is_whole) REQUIRE((p.top % 16 == 0 && p.left % 16 == 0));
      whole += is_whole;
      blank += is_blank;
      turned += is_turned;
      whole_blank += is_whole && is_blank;
      whole_turned += is_whole && is_turned;
      foreign += !is_blank && !is_turned;
      foreign_turned += !is_blank && !is_turned && p.symmetry > 0;
    }
  }
  CHECK(as_likely(changed, 0.7, B));
  CHECK(uniform(numbers, 1, 3, static_cast<double>(changed)));
  CHECK(as_likely(whole, 0.4, pieces));
  CHECK(as_likely(turned, 0.25, pieces));
  CHECK(as_likely(blank, 0.35, pieces));
  CHECK(as_likely(whole_turned, 0.4 * 0.25, pieces));
  CHECK(as_likely(whole_blank, 0.4 * 0.35, pieces));
  CHECK(as_likely(foreign_turned, 0.3 * 7 / 8, static_cast<double>(foreign)));
}

TEST_CASE("misplace_patches: no two draws share a number") {
  const std::int64_t B = 20'000, H = 33, grid = 3;
  const MisplaceOptions foreign{1, 2, 0, 0, 0, 0.5, 1.5, 0.25}, mixed{1, 2, 0.5, 0.3, 0.3, 0.5, 1.5, 0.25},
      blank{1, 2, 0, 0, 1, 0.5, 1.5, 0.25};
  std::vector<std::vector<double>> of_foreign, of_mixed, of_blank;
  for (std::int64_t b = 0; b < B; ++b) {
    const double number = static_cast<double>(seam::count_misplaced_pieces(foreign, 1, 2, b));
    of_foreign.push_back({number});
    of_mixed.push_back({number});
    of_blank.push_back({number});
    for (std::int64_t piece = 0; piece < 2; ++piece) {
      const auto drawn = [&](const MisplaceOptions& options) {
        return seam::sample_misplaced_piece(options, B, H, grid, 1, 2, b, piece);
      };
      const auto within = [&](std::int64_t corner, std::int64_t side) {  // of mean 1/2 for every side
        return static_cast<double>(corner) / static_cast<double>(H - side);
      };
      const auto f = drawn(foreign), m = drawn(mixed), g = drawn(blank);
      for (const double x : {within(f.top, f.side), within(f.left, f.side), static_cast<double>(f.side), f.opacity,
                             static_cast<double>(f.image), within(f.from_top, f.side), within(f.from_left, f.side),
                             static_cast<double>(f.symmetry)})
        of_foreign.back().push_back(x);
      const bool whole = m.side == 11 && m.opacity == 1, turned = m.image == b && m.top == m.from_top;
      for (const double x : {within(m.top, m.side), within(m.left, m.side), whole ? 1.0 : 0.0,
                             turned        ? 0.0
                             : m.image < 0 ? 1.0
                                           : 2.0})
        of_mixed.back().push_back(x);
      for (const double x : {within(g.top, g.side), within(g.left, g.side), static_cast<double>(g.side), g.opacity,
                             static_cast<double>(g.gray)})
        of_blank.back().push_back(x);
    }
  }
  check_uncorrelated(of_foreign);
  check_uncorrelated(of_mixed);
  check_uncorrelated(of_blank);
}

TEST_CASE("misplace_patches: share 1 leaves no image as it was but by its content") {
  const auto images = named_pixels(500, 9);
  for (const MisplaceOptions& options : {one_piece(1, 1, 0), one_piece(1, 0, 1), one_piece(1, 0.5, 0.5)}) {
    const auto y = misplace_patches(images, 3, options, 1, 1, 1);
    for (std::int64_t b = 0; b < 500; ++b) REQUIRE_FALSE(same_bits(y.slice(b, b + 1), images.slice(b, b + 1)));
  }
}

TEST_CASE("misplace_patches: what is drawn depends on seed, stream, step and place alone") {
  const auto images = uniform_tensor<float>({8, 33, 33, 1}, 1);
  const MisplaceOptions options{1, 2, 0.5, 0.5, 0.5, 0.25, 1.25, 1};  // nothing of other images
  const auto many = misplace_patches(images, 3, options, 1, 1000, 2);
  CHECK(same_bits(misplace_patches(images.slice(0, 3).clone(), 3, options, 1, 1000, 2), many.slice(0, 3)));
  CHECK(same_bits(misplace_patches(images, 3, options, 1, 1001, 1), many));  // a stream's numbers count from its name
  for (std::uint64_t seed = 1; seed < 3; ++seed)
    for (std::uint64_t stream = 1000; stream < 3000; stream += 1000)
      for (std::int64_t step = 2; step < 4; ++step)
        CHECK(same_bits(misplace_patches(images, 3, options, seed, stream, step), many) ==
              (seed == 1 && stream == 1000 && step == 2));
  const auto equal = Tensor<float>::full({8, 33, 33, 1}, 2);
  const auto other = misplace_patches(equal, 3, one_piece(0, 0, 1), 1, 1000, 2);
  for (std::int64_t b = 1; b < 8; ++b) CHECK_FALSE(same_bits(other.slice(b, b + 1), other.slice(0, 1)));

  set_num_threads(1);
  const auto alone = misplace_patches(images, 3, {}, 1, 1000, 2);
  set_num_threads(3);
  CHECK(same_bits(misplace_patches(images, 3, {}, 1, 1000, 2), alone));
  set_num_threads(static_cast<int>(std::thread::hardware_concurrency()));
}

TEST_CASE("misplace_patches: a replay lays the pieces of the step that the state names") {
  const auto images = uniform_tensor<float>({4, 9, 9, 1}, 1);
  on_every_device([&](Device device) {
    if (device.is_cpu()) return;
    const Stream stream(device);
    const StreamScope scope(device, stream.get());
    const auto there = images.to(device);
    auto state = Tensor<StepState>::empty({1}, device);
    auto y = misplace_patches(there, 3, {}, 8, 100, 0);  // its memory serves the record
    const RecordedWork work(stream, [&] {
      y = Tensor<float>();
      y = misplace_patches(there, 3, {}, 8, 100, state);
    });
    for (std::int64_t step = 0; step < 4; ++step) {
      state.copy_from(Tensor<StepState>::from({1}, {{step, 0}}));
      work.launch();
      CHECK(same_bits(y, misplace_patches(images, 3, {}, 8, 100, step)));
    }
  });
}

TEST_CASE("misplace_patches: bad arguments are named") {
  const auto images = Tensor<float>::zeros({2, 9, 9, 1});
  const auto refused = [&](auto change, const char* text) {
    MisplaceOptions options;
    change(options);
    CHECK_THROWS_WITH(misplace_patches(images, 3, options, 0, 0, 0), cuttle_test::contains(text));
  };
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  refused([](auto& o) { o.share = 1.5; }, "misplace_patches: share must be in [0, 1], got 1.5");
  refused([](auto& o) { o.whole = -0.5; }, "misplace_patches: whole must be in [0, 1], got -0.5");
  refused([&](auto& o) { o.turned = nan; }, "misplace_patches: turned must be in [0, 1]");
  refused([](auto& o) { o.blank = 2; }, "misplace_patches: blank must be in [0, 1], got 2");
  refused([](auto& o) { o.turned = o.blank = 0.75; }, "misplace_patches: turned + blank must be in [0, 1], got 1.5");
  refused([](auto& o) { o.least_opacity = -1; }, "misplace_patches: least_opacity must be in [0, 1], got -1");
  refused([](auto& o) { o.most_pieces = 0; }, "misplace_patches: most_pieces must be in [1, 256], got 0");
  refused([](auto& o) { o.most_pieces = 257; }, "got 257");
  refused([](auto& o) { o.least_side = -1; },
          "sides must be finite with 0 <= least_side <= most_side, got -1 and 1.25");
  refused([](auto& o) { o.least_side = 2; }, "got 2 and 1.25");
  refused([&](auto& o) { o.most_side = infinity; }, "sides must be finite");
  refused([&](auto& o) { o.least_side = nan; }, "sides must be finite");
  CHECK_THROWS_WITH(misplace_patches(images, 2, {}, 0, 0, 0),
                    "misplace_patches: grid must divide the side of images [2, 9, 9, 1], got 2");
  CHECK_THROWS_WITH(misplace_patches(images, 0, {}, 0, 0, 0), cuttle_test::contains("got 0"));
  CHECK_THROWS_WITH(misplace_patches(images.reshape({2, 27, 3, 1}), 3, {}, 0, 0, 0),
                    "misplace_patches: images must be (B,H,W,C) with H = W, got [2, 27, 3, 1]");
  CHECK_THROWS_WITH(misplace_patches(images.reshape({18, 9}), 3, {}, 0, 0, 0), cuttle_test::contains("[18, 9]"));
  CHECK_THROWS_WITH(misplace_patches(images, 3, {}, 0, 0, -1), "misplace_patches: step must be in [0, 2^43), got -1");
  CHECK_THROWS_WITH(misplace_patches(images, 3, {}, 0, 0, Tensor<StepState>::empty({2})), cuttle_test::contains("[2]"));
}
