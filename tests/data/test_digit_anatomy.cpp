// DigitAnatomy: digits in order where they are normal, and what each kind of abnormality changes.
#include "cuttle/data/digit_anatomy.hpp"

#include <functional>
#include <map>
#include <set>

#include "tests/support/catch.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::contains;
using Kind = DigitAnatomyKind;

namespace {

constexpr std::int64_t side = digit_anatomy_side, cell_side = 32;

// `each` pictures of every digit, number 10 * row + digit, whose pixels are value(digit, row, y, x).
template <class Value>
Digits digits_of(std::int64_t each, Value value) {
  Digits digits{Tensor<std::uint8_t>::empty({10 * each, 28, 28}), Tensor<std::uint8_t>::empty({10 * each})};
  for (std::int64_t i = 0; i < 10 * each; ++i) {
    digits.labels.data()[i] = static_cast<std::uint8_t>(i % 10);
    for (std::int64_t p = 0; p < 784; ++p)
      digits.images.data()[i * 784 + p] = static_cast<std::uint8_t>(value(i % 10, i / 10, p / 28, p % 28));
  }
  return digits;
}

// Every digit one even tone, which no zoom changes: 20 * digit + 10.
DigitSource even_tones() {
  const Digits digits = digits_of(1, [](auto digit, auto, auto, auto) { return 20 * digit + 10; });
  return DigitSource::inside(digits, 0, 10);
}

std::vector<std::uint8_t> cell_of(const Tensor<std::uint8_t>& image, std::int64_t cell) {
  std::vector<std::uint8_t> pixels;
  for (std::int64_t y = 0; y < cell_side; ++y)
    for (std::int64_t x = 0; x < cell_side; ++x)
      pixels.push_back(image.data()[(cell / 3 * cell_side + y) * side + cell % 3 * cell_side + x]);
  return pixels;
}

// The tone of an even cell; -1 if it is not even.
int tone(const Tensor<std::uint8_t>& image, std::int64_t cell) {
  const auto pixels = cell_of(image, cell);
  return std::ranges::all_of(pixels, [&](std::uint8_t p) { return p == pixels[0]; }) ? pixels[0] : -1;
}

std::uint32_t crc(const Tensor<std::uint8_t>& images) { return detail::crc32(images.span()); }

}  // namespace

TEST_CASE("digit_anatomy: the digits 1 to 9 in reading order") {
  const DigitSource source = even_tones();
  const auto images = digit_anatomy_images(source, 5, 40, 3);
  REQUIRE(images.shape() == Shape{3, 96, 96, 1});
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t cell = 0; cell < 9; ++cell) CHECK(tone(images.slice(i, i + 1), cell) == 20 * (cell + 1) + 10);
  const auto mask = digit_anatomy_image(source, 5, 40).mask;
  CHECK(mask.shape() == Shape{96, 96});
  CHECK(std::ranges::count(mask.span(), 0) == mask.numel());
}

TEST_CASE("digit_anatomy: an abnormal image equals the normal one outside its mask, which covers whole cells") {
  const Digits noise = {cuttle_test::integer_tensor<std::uint8_t>({50, 28, 28}, 1, 1, 255),
                        digits_of(5, [](auto, auto, auto, auto) { return 0; }).labels};
  for (const DigitSource& source : {DigitSource::drawn(), DigitSource::inside(noise, 0, 50)})
    for (const Kind kind : {Kind::missing, Kind::misordered, Kind::flipped, Kind::novel}) {
      std::array<int, 9> touched{};
      for (std::uint64_t index = 0; index < 60; ++index) {
        INFO(std::string(name_of(kind)) << " " << index);
        const auto normal = digit_anatomy_image(source, 8, index), other = digit_anatomy_image(source, 8, index, kind);
        REQUIRE(other.image.shape() == Shape{96, 96, 1});
        std::vector<std::int64_t> cells;
        for (std::int64_t cell = 0; cell < 9; ++cell) {
          const int covered = tone(other.mask, cell);
          REQUIRE((covered == 0 || covered == 255));
          const auto before = cell_of(normal.image, cell), after = cell_of(other.image, cell);
          double change = 0;
          for (std::size_t p = 0; p < before.size(); ++p) change += std::abs(before[p] - after[p]) / 255.0;
          // A tenth of the ink of a thin digit at the least: it can be seen.
          if (covered) CHECK(change > 10);
          if (!covered) CHECK(change == 0);
          if (covered) cells.push_back(cell);
        }
        REQUIRE(cells.size() == (kind == Kind::misordered ? 2 : 1));
        for (const std::int64_t cell : cells) ++touched[static_cast<std::size_t>(cell)];
        if (kind == Kind::misordered) {
          CHECK(cell_of(other.image, cells[0]) == cell_of(normal.image, cells[1]));
          CHECK(cell_of(other.image, cells[1]) == cell_of(normal.image, cells[0]));
        }
        if (kind == Kind::missing) CHECK(tone(other.image, cells[0]) == 0);
      }
      for (const int times : touched) CHECK(times >= 1);
    }
}

TEST_CASE("digit_anatomy: a novel digit is any but the cell's own") {
  const DigitSource source = even_tones();
  std::map<std::pair<std::int64_t, int>, int> seen;  // cell, digit in it
  for (std::uint64_t index = 0; index < 1000; ++index) {
    const auto image = digit_anatomy_image(source, 2, index, Kind::novel);
    for (std::int64_t cell = 0; cell < 9; ++cell)
      if (tone(image.mask, cell)) ++seen[{cell, (tone(image.image, cell) - 10) / 20}];
  }
  CHECK(seen.size() == 81);
  for (const auto& [which, times] : seen) {
    CHECK(which.first + 1 != which.second);
    CHECK((which.second >= 0 && which.second <= 9));
    // 1000 / 81 = 12.3, standard deviation 3.5.
    CHECK(times <= 30);
  }
}

TEST_CASE("digit_anatomy: a flipped digit is one of its symmetries that it is not itself under") {
  // Pictures without any symmetry, so that each can be told: brighter to the right, and downwards half as much.
  const Digits digits = digits_of(1, [](auto, auto, auto y, auto x) { return 30 + 5 * x + 2 * y; });
  const DigitSource source = DigitSource::inside(digits, 0, 10);
  const auto at = [](const std::vector<std::uint8_t>& cell, std::int64_t y, std::int64_t x) {
    return cell[static_cast<std::size_t>(y * cell_side + x)];
  };
  using Place = std::pair<std::int64_t, std::int64_t>;
  const std::map<std::string, std::function<Place(std::int64_t, std::int64_t)>> symmetries{
      {"mirrored",
       [](auto y, auto x) {
         return Place{y, 31 - x};
       }},
      {"upside down",
       [](auto y, auto x) {
         return Place{31 - y, x};
       }},
      {"half turn",
       [](auto y, auto x) {
         return Place{31 - y, 31 - x};
       }},
      {"quarter turn, left",
       [](auto y, auto x) {
         return Place{x, 31 - y};
       }},
      {"quarter turn, right", [](auto y, auto x) {
         return Place{31 - x, y};
       }}};
  std::array<std::set<std::string>, 10> seen;
  for (std::uint64_t index = 0; index < 600; ++index) {
    const auto normal = digit_anatomy_image(source, 4, index);
    const auto other = digit_anatomy_image(source, 4, index, Kind::flipped);
    for (std::int64_t c = 0; c < 9; ++c) {
      if (!tone(other.mask, c)) continue;
      const auto before = cell_of(normal.image, c), after = cell_of(other.image, c);
      int fits = 0;
      for (const auto& [name, source_of] : symmetries) {
        bool same = true;
        for (std::int64_t y = 0; y < cell_side; ++y)
          for (std::int64_t x = 0; x < cell_side; ++x) {
            const auto [row, column] = source_of(y, x);
            same = same && at(after, y, x) == at(before, row, column);
          }
        if (!same) continue;
        ++fits;
        seen[static_cast<std::size_t>(c) + 1].insert(name);
      }
      CHECK(fits == 1);
    }
  }
  using Names = std::set<std::string>;
  const Names turns{"quarter turn, left", "quarter turn, right"};
  Names all = turns, no_half_turn = turns, no_upside_down = turns;
  for (const char* name : {"mirrored", "upside down", "half turn"}) all.insert(name);
  for (const char* name : {"mirrored", "upside down"}) no_half_turn.insert(name);
  for (const char* name : {"mirrored", "half turn"}) no_upside_down.insert(name);
  for (const std::size_t digit : {1u, 8u}) CHECK(seen[digit] == turns);
  for (const std::size_t digit : {2u, 5u}) CHECK(seen[digit] == no_half_turn);
  CHECK(seen[3] == no_upside_down);
  for (const std::size_t digit : {4u, 6u, 7u, 9u}) CHECK(seen[digit] == all);
}

TEST_CASE("digit_anatomy: the zoom is a random resized crop of area fraction 0.6 and more") {
  // Magnifying a ramp gives a ramp whose slope and place tell the crop's side and left column: pixel x of 28 is
  // 8 x, so pixel u of the cell is 8 (left + (u + 1/2) crop / 32 - 1/2), but for the edges and roundings.
  const auto crops = [](bool vertical) {
    const Digits digits = digits_of(1, [&](auto, auto, auto y, auto x) { return 8 * (vertical ? y : x); });
    const DigitSource source = DigitSource::inside(digits, 0, 10);
    std::map<std::int64_t, std::map<std::int64_t, int>> count;  // crop, corner
    for (std::uint64_t index = 0; index < 400; ++index) {
      const auto image = digit_anatomy_image(source, 6, index).image;
      for (std::int64_t c = 0; c < 9; ++c) {
        const auto cell = cell_of(image, c);
        const auto ramp = [&](std::size_t u) { return cell[vertical ? u * 32 + 7 : 7 * 32 + u] / 8.0; };
        const double crop = (ramp(28) - ramp(3)) * 32 / 25;
        CHECK(std::abs(crop - std::round(crop)) < 0.3);
        const double corner = ramp(16) + 0.5 - 16.5 * std::round(crop) / 32;
        CHECK(std::abs(corner - std::round(corner)) < 0.3);
        ++count[std::lround(crop)][std::lround(corner)];
      }
    }
    return count;
  };
  for (const bool vertical : {false, true}) {
    const auto count = crops(vertical);
    double total = 0;
    for (std::int64_t crop = 22; crop <= 28; ++crop) {
      const auto found = count.find(crop);
      REQUIRE(found != count.end());
      // Each corner that lies inside, equally often.
      CHECK(found->second.size() == static_cast<std::size_t>(29 - crop));
      CHECK(found->second.begin()->first == 0);
      double times = 0;
      for (const auto& [corner, n] : found->second) times += n;
      for (const auto& [corner, n] : found->second) {
        const double expected = times / static_cast<double>(29 - crop);
        CHECK(std::abs(n - expected) <= 5 * std::sqrt(expected));
      }
      total += times;
      // round(28 sqrt(f)) = crop for f uniform in (0.6, (28.5 / 28)^2): 3600 cells, five standard deviations.
      const auto fraction = [](double edge) { return edge * edge / 784; };
      const double low = std::max(0.6, fraction(static_cast<double>(crop) - 0.5));
      const double share = (fraction(static_cast<double>(crop) + 0.5) - low) / (fraction(28.5) - 0.6);
      CHECK(std::abs(times - 3600 * share) < 5 * std::sqrt(3600 * share));
    }
    CHECK(total == 3600);
    CHECK(count.size() == 7);
  }
}

TEST_CASE("digit_anatomy: magnification is bilinear, rounded once") {
  const auto picture = cuttle_test::integer_tensor<std::uint8_t>({28, 28}, 3, 0, 255);
  for (const std::int64_t from : {1, 22, 25, 28}) {
    std::array<std::uint8_t, 1024> out;
    detail::digit_anatomy::magnify<32>(picture.data(), 28, from, out.data());
    double worst = 0;
    for (std::int64_t y = 0; y < 32; ++y)
      for (std::int64_t x = 0; x < 32; ++x) {
        const auto split = [&](std::int64_t i) {
          const double at = (static_cast<double>(i) + 0.5) * static_cast<double>(from) / 32 - 0.5;
          return std::clamp(at, 0.0, static_cast<double>(from - 1));
        };
        double sum = 0;
        for (std::int64_t v = 0; v < from; ++v)
          for (std::int64_t u = 0; u < from; ++u)
            sum += picture.data()[v * 28 + u] * std::max(0.0, 1 - std::abs(split(y) - static_cast<double>(v))) *
                   std::max(0.0, 1 - std::abs(split(x) - static_cast<double>(u)));
        worst = std::max(worst, std::abs(sum - out[static_cast<std::size_t>(y * 32 + x)]));
      }
    CHECK(worst <= 0.5 + 1e-9);
  }
}

TEST_CASE("digit_anatomy: an image is a function of seed and index alone, the same on every machine") {
  const DigitSource drawn = DigitSource::drawn();
  const auto images = digit_anatomy_images(drawn, 1, 0, 30);
  CHECK(crc(images) == 0xA4D4942Du);
  CHECK(crc(digit_anatomy_images(drawn, 1, 17, 2)) == crc(images.slice(17, 19)));
  CHECK(crc(digit_anatomy_image(drawn, 1, 29).image) == crc(images.slice(29, 30)));
  std::set<std::uint32_t> different{crc(digit_anatomy_images(drawn, 2, 0, 1))};
  for (std::int64_t i = 0; i < 30; ++i) different.insert(crc(images.slice(i, i + 1)));
  CHECK(different.size() == 31);

  const LabelledImages set = digit_anatomy_set(drawn, 3, 20, 5);
  CHECK(crc(set.images) == 0xD6770F54u);
  CHECK(crc(set.masks) == 0x0F04D7EEu);
  const int threads = num_threads();
  for (const int n : {1, 3}) {
    set_num_threads(n);
    CHECK(crc(digit_anatomy_images(drawn, 1, 0, 30)) == 0xA4D4942Du);
    CHECK(crc(digit_anatomy_set(drawn, 3, 20, 5).images) == 0xD6770F54u);
  }
  set_num_threads(threads);
}

TEST_CASE("digit_anatomy_set: so many of each kind, labelled, none of them a training image") {
  const DigitSource source = DigitSource::drawn();
  const LabelledImages set = digit_anatomy_set(source, 9, 4, 2);
  REQUIRE(set.images.shape() == Shape{12, 96, 96, 1});
  CHECK(set.kinds == std::vector<std::string>{"normal", "normal", "normal", "normal", "missing", "missing",
                                              "misordered", "misordered", "flipped", "flipped", "novel", "novel"});
  const auto training = digit_anatomy_images(source, 9, 0, 12);
  for (std::int64_t i = 0; i < 12; ++i) {
    const Kind kind = digit_anatomy_kinds[i < 4 ? 0 : static_cast<std::size_t>((i - 4) / 2 + 1)];
    const auto alone = digit_anatomy_image(source, 9, digit_anatomy_evaluation + static_cast<std::uint64_t>(i), kind);
    CHECK(crc(set.images.slice(i, i + 1)) == crc(alone.image));
    CHECK(crc(set.masks.slice(i, i + 1)) == crc(alone.mask));
    CHECK(set.labels[static_cast<std::size_t>(i)] == (i < 4 ? Label::normal : Label::anomalous));
    CHECK(crc(set.images.slice(i, i + 1)) != crc(training.slice(i, i + 1)));
  }
  CHECK(digit_anatomy_set(source, 9, 0, 0).images.size(0) == 0);
  CHECK_THROWS_WITH(digit_anatomy_set(source, 9, 1, -1), contains("counts must not be negative, got 1 and -1"));
  CHECK_THROWS_WITH(digit_anatomy_images(source, 9, 0, -1), contains("count must not be negative, got -1"));
  CHECK_THROWS_WITH(digit_anatomy_image(source, 9, std::uint64_t{1} << 60), contains("index must be below 2^60"));
}

TEST_CASE("DigitSource: pictures inside a range, or all others") {
  const Digits digits = digits_of(12, [](auto digit, auto row, auto, auto) { return 10 * row + digit; });
  const auto rows_seen = [](const DigitSource& source, int digit) {
    std::set<int> rows;
    for (std::uint64_t i = 0; i < 200; ++i) {
      const int value = source.sample(digit, seam::random_word_pair(1, 0, i)).data()[0];
      CHECK(value % 10 == digit);
      rows.insert(value / 10);
    }
    return rows;
  };
  for (const int digit : {0, 4, 9}) {
    CHECK(rows_seen(DigitSource::inside(digits, 20, 50), digit) == std::set{2, 3, 4});
    CHECK(rows_seen(DigitSource::outside(digits, 20, 110), digit) == std::set{0, 1, 11});
  }
  // Numbers go over the pictures in order, the least to the first and the largest to the last.
  const DigitSource all = DigitSource::inside(digits, 0, 120);
  CHECK(all.sample(3, 0).data()[0] == 3);
  CHECK(all.sample(3, ~std::uint64_t{0}).data()[0] == 113);

  CHECK_THROWS_WITH(DigitSource::inside(digits, 3, 9), contains("DigitSource: no 0 in 3:9 of the 120 digits"));
  CHECK_THROWS_WITH(DigitSource::outside(digits, 9, 120), contains("DigitSource: no 9 outside 9:120"));
  CHECK_THROWS_WITH(DigitSource::inside(digits, 0, 121), contains("digits 0:121 of 120"));
  CHECK_THROWS_WITH(DigitSource::inside(digits, -1, 20), contains("digits -1:20 of 120"));
  CHECK_THROWS_WITH(DigitSource::inside(digits, 20, 10), contains("digits 20:10 of 120"));
  CHECK_THROWS_WITH(all.sample(10, 0), contains("digit must be 0 to 9, got 10"));
  CHECK_THROWS_WITH(DigitSource::inside({digits.images.reshape({120, 784}), digits.labels}, 0, 120),
                    contains("needs images [N, 28, 28] and labels [N], got [120, 784]"));
  CHECK_THROWS_WITH(DigitSource::inside({digits.images, digits.labels.slice(0, 5)}, 0, 5),
                    contains("and labels [N], got [120, 28, 28] and [5]"));
  Digits letters{digits.images, digits.labels.clone()};
  letters.labels.data()[7] = 11;
  CHECK_THROWS_WITH(DigitSource::inside(letters, 0, 120), contains("label 7 is 11, more than 9"));
}
