// encode_jpeg: what the decoder makes of it is the image but for what the quality takes away.
#include "cuttle/data/jpeg.hpp"

#include <cmath>

#include "cuttle/core/random.hpp"
#include "cuttle/data/image.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;

namespace {

Image round_trip(const Image& image, int quality) { return decode_image(encode_jpeg(image, quality), "round trip"); }

double root_mean_square(const Image& a, const Image& b) {
  REQUIRE(a.shape() == b.shape());
  double sum = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) sum += std::pow(a.data()[i] - b.data()[i], 2);
  return std::sqrt(sum / static_cast<double>(a.numel()));
}

Image gradient(std::int64_t height, std::int64_t width, std::int64_t channels) {
  Image image = Image::empty({height, width, channels});
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < channels; ++c)
        image.data()[(y * width + x) * channels + c] = static_cast<std::uint8_t>(std::lround(
            127 + 100 * std::sin(0.05 * static_cast<double>(x + c * 20)) * std::cos(0.04 * static_cast<double>(y))));
  return image;
}

}  // namespace

TEST_CASE("encode_jpeg: smooth pictures of every size come back nearly as they were") {
  const std::int64_t height = GENERATE(1, 7, 8, 33), width = GENERATE(1, 8, 129), channels = GENERATE(1, 3);
  const Image image = gradient(height, width, channels);
  CHECK(root_mean_square(image, round_trip(image, 100)) < 1.2);
  CHECK(root_mean_square(image, round_trip(image, 85)) < 3.5);
}

TEST_CASE("encode_jpeg: a plain picture keeps its colour") {
  for (const int value : {0, 1, 127, 128, 254, 255}) {
    const Image back = round_trip(Image::full({17, 9, 3}, static_cast<std::uint8_t>(value)), 100);
    for (const std::uint8_t pixel : back.span()) CHECK(std::abs(pixel - value) <= 1);
  }
  Image red = Image::zeros({16, 16, 3});
  for (std::int64_t i = 0; i < red.numel(); i += 3) red.data()[i] = 230;
  CHECK(root_mean_square(red, round_trip(red, 95)) < 2);
}

TEST_CASE("encode_jpeg: noise at the best quality, where every symbol and long codes occur") {
  for (const std::int64_t channels : {1, 3}) {
    const Image noise = cuttle_test::integer_tensor<std::uint8_t>({128, 136, channels}, 5, 0, 255);
    // Rounding of the coefficients (steps of 1), of the colours and of the decoder's integer transform.
    CHECK(root_mean_square(noise, round_trip(noise, 100)) < 1.2);
  }
  // One odd block among thousands: counts so far apart that the optimal code is longer than 16 bits.
  Image rare = Image::full({512, 512, 1}, 128);
  for (std::int64_t i = 0; i < 512 * 8; ++i)
    rare.data()[i] = static_cast<std::uint8_t>(128 + (i * i % 251 - 125) / (1 + i / 128));
  CHECK(root_mean_square(rare, round_trip(rare, 100)) < 1);
}

TEST_CASE("encode_jpeg: quality trades size for error") {
  const Image image = gradient(96, 96, 3);
  std::size_t size = 0;
  double error = 1e9;
  for (const int quality : {5, 50, 95}) {
    CHECK(encode_jpeg(image, quality).size() > size);
    CHECK(root_mean_square(image, round_trip(image, quality)) < error);
    size = encode_jpeg(image, quality).size();
    error = root_mean_square(image, round_trip(image, quality));
  }
  CHECK(encode_jpeg(image, 85).size() * 5 < encode_png(image).size());
}

TEST_CASE("HuffmanCode: prefix-free, at most 16 bits, none all ones, whatever the counts") {
  // Fibonacci's numbers make the longest codes there are.
  std::array<std::uint64_t, 256> counts{};
  std::uint64_t a = 1, b = 1;
  for (std::size_t i = 0; i < 60; ++i, b += a, a = b - a) counts[3 * i] = a;
  for (const bool steep : {true, false}) {
    if (!steep) counts.fill(7);
    const detail::HuffmanCode code(counts);
    double kraft = 0;
    for (std::size_t s = 0; s < 256; ++s) {
      REQUIRE((code.length[s] > 0) == (counts[s] > 0));
      if (!counts[s]) continue;
      REQUIRE(code.length[s] <= 16);
      REQUIRE(code.code[s] < (1u << code.length[s]) - 1);
      kraft += std::pow(0.5, code.length[s]);
      for (std::size_t t = 0; t < 256; ++t)
        if (t != s && counts[t] && code.length[t] >= code.length[s])
          REQUIRE(code.code[t] >> (code.length[t] - code.length[s]) != code.code[s]);
    }
    CHECK(kraft < 1);
    CHECK(kraft > 0.99);
  }
}

TEST_CASE("encode_jpeg: arguments that do not fit") {
  CHECK_THROWS_AS(encode_jpeg(Image::zeros({4, 4, 3}), 0), Error);
  CHECK_THROWS_AS(encode_jpeg(Image::zeros({4, 4, 3}), 101), Error);
  CHECK_THROWS_AS(encode_jpeg(Image::zeros({4, 4})), Error);
}
