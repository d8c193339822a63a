// Resizing against Pillow 9.4 (checksums of its output), masks, tiles.
#include "cuttle/data/resize.hpp"

#include <numeric>

#include "cuttle/data/image_file.hpp"
#include "tests/support/catch.hpp"

using namespace cuttle;

namespace {

// The image that the expected checksums were made from: the top bytes of a multiplicative hash of the sample's index.
Image hashed(std::int64_t height, std::int64_t width, std::int64_t channels) {
  Image image = Image::empty({height, width, channels});
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.data()[i] = static_cast<std::uint8_t>(static_cast<std::uint32_t>(i) * 2654435761u >> 24);
  return image;
}

std::vector<Tile> tiles_of(std::int64_t height, std::int64_t width, std::int64_t tile, std::int64_t overlap) {
  const TileCover cover(height, width, tile, overlap);
  std::vector<Tile> tiles;
  for (std::int64_t i = 0; i < cover.size(); ++i) tiles.push_back(cover[i]);
  return tiles;
}

}  // namespace

TEST_CASE("resize: equal to Pillow's bicubic to the bit") {
  struct Case {
    std::int64_t from[3], height, width;
    std::uint32_t crc;  // zlib.crc32 of PIL.Image.resize((width, height), BICUBIC)
  };
  const Case cases[] = {{{33, 129, 3}, 7, 11, 0x61d18c79u},    {{33, 129, 1}, 33, 40, 0x3476fcd4u},
                        {{5, 7, 3}, 33, 129, 0x4132a072u},     {{129, 33, 1}, 64, 33, 0x3bd41068u},
                        {{515, 33, 3}, 256, 256, 0x95f45a4bu}, {{1, 1, 3}, 3, 5, 0x3046e8c7u},
                        {{64, 64, 1}, 63, 65, 0xa3dbe3abu},    {{200, 3, 1}, 1, 1, 0x12b88320u}};
  for (const Case& c : cases) {
    const Image out = resize(hashed(c.from[0], c.from[1], c.from[2]), c.height, c.width);
    REQUIRE(out.shape() == Shape{c.height, c.width, c.from[2]});
    CHECK(detail::crc32(out.span()) == c.crc);
  }
}

TEST_CASE("resize: a row whose Pillow values are written out") {
  const Image row = Image::from({1, 8, 1}, {0, 255, 0, 255, 10, 20, 30, 40});
  const auto values = [&](std::int64_t width) {
    const Image out = resize(row, 1, width);
    return std::vector<int>(out.span().begin(), out.span().end());
  };
  CHECK(values(3) == std::vector<int>{117, 96, 24});
  CHECK(values(13) == std::vector<int>{0, 109, 254, 71, 45, 245, 148, 0, 11, 23, 30, 37, 41});
  CHECK(values(8) == std::vector<int>{0, 255, 0, 255, 10, 20, 30, 40});
}

TEST_CASE("resize: a flat image stays flat, whatever the sizes and the threads") {
  const int threads = num_threads();
  for (const int count : {1, 2}) {
    set_num_threads(count);
    for (const std::int64_t size : {1, 2, 33, 515}) {
      const Image out = resize(Image::full({37, 61, 3}, 201), size, 2 * size);
      CHECK(std::all_of(out.span().begin(), out.span().end(), [](int v) { return v == 201; }));
    }
    CHECK(detail::crc32(resize(hashed(515, 33, 3), 256, 256).span()) == 0x95f45a4bu);
  }
  set_num_threads(threads);
}

TEST_CASE("resize: arguments that make no sense") {
  const Image image = Image::zeros({4, 4, 3});
  CHECK_THROWS_AS(resize(image, 0, 4), Error);
  CHECK_THROWS_AS(resize(image, 4, -1), Error);
  CHECK_THROWS_AS(resize(image, 4, 65536), Error);
  CHECK_THROWS_AS(resize(Image::zeros({4, 4}), 4, 4), Error);
  CHECK_THROWS_AS(resize(Image::zeros({4, 4, 2}), 4, 4), Error);
  CHECK_THROWS_AS(resize(Image::zeros({0, 4, 3}), 4, 4), Error);
  CHECK_THROWS_AS(resize(Image(), 4, 4), Error);
}

TEST_CASE("resize_mask: above 128 counts, 128 does not") {
  const auto mask = resize_mask(Image::from({1, 4, 1}, {0, 128, 129, 255}), 1, 4);
  CHECK(mask.shape() == Shape{1, 4});
  CHECK(std::vector<int>(mask.span().begin(), mask.span().end()) == std::vector<int>{0, 0, 1, 1});
  // Red on black: the largest channel counts.
  CHECK(resize_mask(Image::from({1, 1, 3}, {255, 0, 0}), 1, 1).item() == 1);
  // Halving 0 0 255 255: still two normal-ish and two anomalous-ish halves.
  const auto half = resize_mask(Image::from({1, 4, 1}, {0, 0, 255, 255}), 1, 2);
  CHECK(std::vector<int>(half.span().begin(), half.span().end()) == std::vector<int>{0, 1});
}

TEST_CASE("TileCover: every pixel covered, all inside, overlaps as asked") {
  for (const auto& [height, width, tile, overlap] : {std::array<std::int64_t, 4>{256, 256, 256, 64},
                                                     {257, 256, 256, 64},
                                                     {515, 1029, 256, 33},
                                                     {129, 515, 33, 0},
                                                     {64, 64, 1, 0},
                                                     {100, 1000, 100, 99}}) {
    const auto tiles = tiles_of(height, width, tile, overlap);
    std::vector<int> rows(static_cast<std::size_t>(height)), columns(static_cast<std::size_t>(width));
    std::vector<int> covered(static_cast<std::size_t>(height * width));
    for (const Tile& t : tiles) {
      REQUIRE((t.size == tile && t.top >= 0 && t.left >= 0 && t.top + tile <= height && t.left + tile <= width));
      for (std::int64_t y = t.top; y < t.top + tile; ++y)
        for (std::int64_t x = t.left; x < t.left + tile; ++x) ++covered[static_cast<std::size_t>(y * width + x)];
    }
    CHECK(*std::min_element(covered.begin(), covered.end()) >= 1);
    for (std::size_t i = 1; i < tiles.size(); ++i) {
      if (tiles[i].top == tiles[i - 1].top) {
        CHECK(tiles[i].left > tiles[i - 1].left);
        CHECK(tiles[i - 1].left + tile - tiles[i].left >= overlap);
      } else {
        CHECK(tiles[i - 1].top + tile - tiles[i].top >= overlap);
        CHECK(tiles[i].left == 0);
      }
    }
  }
  CHECK(tiles_of(256, 256, 256, 64) == std::vector<Tile>{{0, 0, 256}});
  // 600 = 256 + 2 * 172: two tiles would leave no room for an overlap of 64, three share 84.
  CHECK(tiles_of(256, 600, 256, 64) == std::vector<Tile>{{0, 0, 256}, {0, 172, 256}, {0, 344, 256}});
  CHECK_THROWS_AS(TileCover(255, 256, 256, 64), Error);
  CHECK_THROWS_AS(TileCover(256, 256, 64, 64), Error);
  CHECK_THROWS_AS(TileCover(256, 256, 0, 0), Error);
  CHECK_THROWS_AS(TileCover(256, 256, 64, -1), Error);
}

TEST_CASE("crop: the tile's own pixels") {
  Image image = Image::empty({5, 7, 3});
  std::iota(image.data(), image.data() + image.numel(), std::uint8_t{0});
  const Image part = crop(image, {2, 3, 2});
  CHECK(part.shape() == Shape{2, 2, 3});
  CHECK(std::vector<int>(part.span().begin(), part.span().end()) ==
        std::vector<int>{51, 52, 53, 54, 55, 56, 72, 73, 74, 75, 76, 77});
  CHECK_THROWS_AS(crop(image, {4, 0, 2}), Error);
  CHECK_THROWS_AS(crop(image, {0, 6, 2}), Error);
  CHECK_THROWS_AS(crop(image, {-1, 0, 2}), Error);
}
