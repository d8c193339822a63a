// Drawn digits: repeatable, varied, and readable as what they are to be.
#include "cuttle/data/digits.hpp"

#include <set>
#include <vector>

#include "cuttle/data/idx.hpp"
#include "cuttle/eval/metrics.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;

namespace {

// The regions of black that the ink of a digit encloses: for each, its size and the row of its middle.
struct Hole {
  double pixels = 0, row = 0;
};
std::vector<Hole> holes(const Tensor<std::uint8_t>& picture) {
  auto black = Tensor<std::uint8_t>::empty(picture.shape());
  for (std::int64_t i = 0; i < picture.numel(); ++i) black.data()[i] = picture.data()[i] < 100;
  const auto components = connected_components(black);
  std::vector<Hole> found(components.sizes.size() + 1);
  for (std::int64_t i = 0; i < black.numel(); ++i) {
    Hole& hole = found[static_cast<std::size_t>(components.labels.data()[i])];
    hole.pixels += 1;
    hole.row += static_cast<double>(i / digit_side);
  }
  found.erase(found.begin());
  std::erase_if(found, [&](const Hole& hole) { return hole.pixels > 400; });  // the paper around
  for (Hole& hole : found) hole.row /= hole.pixels;
  return found;
}

}  // namespace

TEST_CASE("drawn_digit: the same bits on every machine") {
  std::vector<std::uint8_t> bytes;
  for (int digit = 0; digit <= 9; ++digit)
    for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0x123456789ABCDEF0}}) {
      const auto picture = drawn_digit(digit, number);
      bytes.insert(bytes.end(), picture.span().begin(), picture.span().end());
    }
  CHECK(detail::crc32(bytes) == 0xC9688DA2u);
  CHECK_THROWS_WITH(drawn_digit(10, 0), "drawn_digit: digit must be 0 to 9, got 10");
  CHECK_THROWS_AS(drawn_digit(-1, 0), Error);
}

TEST_CASE("drawn_digit: sized, placed and inked as MNIST's") {
  std::set<std::uint32_t> different;
  double total_ink = 0;
  for (int digit = 0; digit <= 9; ++digit)
    for (std::uint64_t number = 0; number < 60; ++number) {
      INFO(digit << " number " << number);
      const auto picture = drawn_digit(digit, number);
      REQUIRE(picture.shape() == Shape{28, 28});
      different.insert(detail::crc32(picture.span()));
      std::int64_t low_x = 28, high_x = -1, low_y = 28, high_y = -1, brightest = 0;
      double ink = 0, x_middle = 0, y_middle = 0;
      for (std::int64_t y = 0; y < 28; ++y)
        for (std::int64_t x = 0; x < 28; ++x) {
          const std::int64_t value = picture.data()[y * 28 + x];
          brightest = std::max(brightest, value);
          ink += static_cast<double>(value) / 255;
          x_middle += static_cast<double>(value * x) / 255;
          y_middle += static_cast<double>(value * y) / 255;
          if (value < 128) continue;
          low_x = std::min(low_x, x), high_x = std::max(high_x, x);
          low_y = std::min(low_y, y), high_y = std::max(high_y, y);
        }
      const std::int64_t extent = std::max(high_x - low_x, high_y - low_y) + 1;
      CHECK((extent >= 17 && extent <= 22));
      CHECK((low_x >= 1 && low_y >= 1 && high_x <= 26 && high_y <= 26));
      CHECK(brightest >= 200);
      CHECK((ink > 20 && ink < 300));
      CHECK(std::abs(x_middle / ink - 13.5) < 3);
      CHECK(std::abs(y_middle / ink - 13.5) < 3);
      total_ink += ink / 600;
    }
  CHECK(different.size() == 600);
  CHECK((total_ink > 80 && total_ink < 130));  // MNIST: 102
}

TEST_CASE("drawn_digit: loops close where the digit has them") {
  std::array<std::array<int, 4>, 10> count{};
  std::array<double, 10> row{};
  for (std::size_t digit = 0; digit <= 9; ++digit)
    for (std::uint64_t number = 0; number < 100; ++number) {
      const auto found = holes(drawn_digit(static_cast<int>(digit), number));
      ++count[digit][std::min<std::size_t>(found.size(), 3)];
      if (found.size() == 1) row[digit] += found[0].row;
    }
  for (std::size_t digit = 0; digit <= 9; ++digit) {
    INFO(digit << ": " << count[digit][0] << " without, " << count[digit][1] << " with one, " << count[digit][2]
               << " with two");
    row[digit] /= count[digit][1];
    const bool none = digit == 1 || digit == 3 || digit == 5 || digit == 7;
    const bool one = digit == 0 || digit == 6 || digit == 9;
    if (none) CHECK(count[digit][0] >= 80);
    if (one) CHECK(count[digit][1] >= 65);
    if (digit == 8) CHECK(count[digit][2] >= 50);
    CHECK(count[digit][3] <= 10);
  }
  CHECK(row[6] > row[0] + 1.5);
  CHECK(row[9] < row[0] - 1.5);
}

TEST_CASE("drawn_digit: real handwriting tells what it is") {
  const auto shared = cuttle_test::shared_folder();
  if (!std::filesystem::exists(shared / "data" / "mnist")) CUTTLE_SKIP("MNIST, which is not here");
  const Digits digits = read_digits(shared / "data" / "mnist");
  // The nearest of 2,000 real digits.
  constexpr std::int64_t pixels = digit_side * digit_side;
  int right = 0;
  for (std::uint8_t digit = 0; digit <= 9; ++digit)
    for (std::uint64_t number = 0; number < 20; ++number) {
      const auto picture = drawn_digit(digit, number);
      std::int64_t nearest = std::numeric_limits<std::int64_t>::max();
      std::uint8_t label = 0;
      for (std::int64_t i = 0; i < 2000; ++i) {
        const std::uint8_t* real = digits.images.data() + i * pixels;
        std::int32_t distance = 0;
        for (std::int64_t p = 0; p < pixels; ++p) {
          const std::int32_t difference = real[p] - picture.data()[p];
          distance += difference * difference;
        }
        if (distance >= nearest) continue;
        nearest = distance;
        label = digits.labels.data()[i];
      }
      right += label == digit;
    }
  INFO(right << " of 200");
  CHECK(right >= 160);
}
