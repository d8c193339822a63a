// Decoding against values known from how each file was made; damaged files; PNG out and in again.
#include "cuttle/data/image.hpp"

#include <bit>
#include <functional>

#include "tests/data/image_fixtures.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::from_hex;

namespace {

Image decode(std::string_view hex) { return decode_image(from_hex(hex), "picture"); }

// The image whose sample at (row, column, channel) is value(y, x, c).
Image image_of(std::int64_t height, std::int64_t width, std::int64_t channels,
               const std::function<double(std::int64_t, std::int64_t, std::int64_t)>& value) {
  Image image = Image::empty({height, width, channels});
  std::uint8_t* out = image.data();
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < channels; ++c) *out++ = static_cast<std::uint8_t>(std::floor(value(y, x, c) + 0.5));
  return image;
}

bool same(const Image& a, const Image& b) {
  return a.shape() == b.shape() && std::equal(a.span().begin(), a.span().end(), b.span().begin());
}

double sample8(std::int64_t y, std::int64_t x, std::int64_t c) {
  return static_cast<double>((37 * x + 51 * y + 11 + 70 * c) % 256);
}
double sample16(std::int64_t y, std::int64_t x, std::int64_t c) {
  return static_cast<double>((4001 * x + 9001 * y + 123 + 20000 * c) % 65536);
}
double opacity(std::int64_t y, std::int64_t x) { return static_cast<double>((23 * x + 60 * y) % 256) / 255; }

std::string error_of(std::span<const std::byte> bytes) {
  try {
    decode_image(bytes, "picture");
  } catch (const IoError& error) {
    CHECK(error.path() == "picture");
    return error.what();
  }
  return "";
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// The JPEG with an EXIF segment that says `orientation`, in either byte order.
std::vector<std::byte> with_orientation(std::string_view jpeg, unsigned char orientation, bool little) {
  using namespace std::string_literals;
  const std::string o(1, static_cast<char>(orientation));
  const std::string tiff =
      little ? "II*\0\x08\0\0\0\x02\0"s + "\x0f\x01\x02\0\x04\0\0\0abc\0"s + "\x12\x01\x03\0\x01\0\0\0"s + o + "\0\0\0"s
             : "MM\0*\0\0\0\x08\0\x02"s +
                   "\x01\x0f\0\x02\0\0\0\x04"
                   "abc\0"s +
                   "\x01\x12\0\x03\0\0\0\x01\0"s + o + "\0\0"s;
  const std::string body = "Exif\0\0"s + tiff;
  const std::string segment = "\xff\xe1"s + '\0' + static_cast<char>(body.size() + 2) + body;
  std::vector<std::byte> file = from_hex(jpeg);
  const std::vector<std::byte> extra = bytes_of(segment);
  file.insert(file.begin() + 2, extra.begin(), extra.end());
  return file;
}

// Both files a few levels apart at most: decoders differ in rounding and in how they spread colour.
void check_jpeg_samples(std::string_view hex, std::int64_t channels, std::span<const int> expected, int tolerance) {
  const Image image = decode(hex);
  REQUIRE(image.shape() == Shape{16, 24, channels});
  std::size_t next = 0;
  for (std::int64_t y = 0; y < 16; y += 5)
    for (std::int64_t x = 0; x < 24; x += 7)
      for (std::int64_t c = 0; c < channels; ++c)
        CHECK(std::abs(image.data()[(y * 24 + x) * channels + c] - expected[next++]) <= tolerance);
  CHECK(next == expected.size());
}

}  // namespace

TEST_CASE("decode_image: PNG of every depth and colour type") {
  CHECK(same(decode(cuttle_test::png_gray8), image_of(5, 7, 1, sample8)));
  CHECK(same(decode(cuttle_test::png_rgb8), image_of(5, 7, 3, sample8)));
  CHECK(same(decode(cuttle_test::png_interlaced), image_of(5, 7, 3, sample8)));
  const auto sixteen = [](auto y, auto x, auto c) { return sample16(y, x, c) * 255 / 65535; };
  CHECK(same(decode(cuttle_test::png_gray16), image_of(5, 7, 1, sixteen)));
  CHECK(same(decode(cuttle_test::png_rgb16), image_of(5, 7, 3, sixteen)));
  const auto bitmap = [](auto y, auto x, auto c) { return sample8(y, x, c) > 127 ? 255 : 0; };
  CHECK(same(decode(cuttle_test::png_bits1), image_of(5, 7, 1, bitmap)));
  CHECK(same(decode(cuttle_test::png_1x1), Image::from({1, 1, 1}, {42})));
}

TEST_CASE("decode_image: transparency is composited over black") {
  const auto covered = [](auto y, auto x, auto c) { return sample8(y, x, c) * opacity(y, x); };
  CHECK(same(decode(cuttle_test::png_gray_alpha), image_of(5, 7, 1, covered)));
  CHECK(same(decode(cuttle_test::png_rgba), image_of(5, 7, 3, covered)));
  // Palette colours 10 20 30, 200 100 50, 255 255 255, 1 2 3 with opacities 255, 128, 0, 255.
  CHECK(
      same(decode(cuttle_test::png_palette_trns), Image::from({1, 4, 3}, {10, 20, 30, 100, 50, 25, 0, 0, 0, 1, 2, 3})));
}

TEST_CASE("decode_image: BMP") {
  CHECK(same(decode(cuttle_test::bmp_rgb), image_of(5, 7, 3, sample8)));
  CHECK(same(to_rgb(decode(cuttle_test::bmp_palette)),
             image_of(5, 7, 3, [](auto y, auto x, auto) { return sample8(y, x, 0); })));
}

TEST_CASE("decode_image: JPEG, baseline, progressive and CMYK, close to what libjpeg gives") {
  check_jpeg_samples(cuttle_test::jpeg_gray, 1, cuttle_test::jpeg_gray_samples, 2);
  check_jpeg_samples(cuttle_test::jpeg_rgb, 3, cuttle_test::jpeg_rgb_samples, 4);
  check_jpeg_samples(cuttle_test::jpeg_progressive, 3, cuttle_test::jpeg_progressive_samples, 4);
  check_jpeg_samples(cuttle_test::jpeg_cmyk, 3, cuttle_test::jpeg_cmyk_samples, 4);
}

TEST_CASE("decode_image: PNM as text and binary, 1 to 16 bits, with comments") {
  using namespace std::string_literals;
  const Image ramp = Image::from({2, 3, 1}, {0, 51, 102, 153, 204, 255});
  const auto read = [](const std::string& text) { return decode_image(bytes_of(text), "picture"); };
  CHECK(same(read("P2\n# a comment\n3 2 # another\n5\n0 1 2\n3 4 5"), ramp));
  CHECK(same(read("P2 3 2 65535 0 13107 26214\n39321 52428 65535\n"), ramp));
  CHECK(same(read("P5 3 2 255\n\x00\x33\x66\x99\xcc\xff"s), ramp));
  CHECK(same(read("P5 3 2 5\n\x00\x01\x02\x03\x04\x05"s), ramp));
  CHECK(same(read("P5\n3 2\n65535\n\x00\x00\x33\x33\x66\x66\x99\x99\xcc\xcc\xff\xff"s), ramp));
  CHECK(same(read("P3 1 2 255 1 2 3 4 5 6"), Image::from({2, 1, 3}, {1, 2, 3, 4, 5, 6})));
  CHECK(same(read("P6 1 2 255\n\x01\x02\x03\x04\x05\x06"), Image::from({2, 1, 3}, {1, 2, 3, 4, 5, 6})));
  const Image dots = Image::from({2, 9, 1}, {255, 0, 255, 255, 255, 255, 255, 255, 0,  //
                                             0, 255, 255, 255, 255, 255, 255, 255, 255});
  CHECK(same(read("P1 9 2 010000001 100000000"), dots));
  CHECK(same(read("P4 9 2\n\x40\x80\x80\x00"s), dots));
  CHECK_THROWS_AS(read("P2 3 2 5 0 1 2 3 4 6"), IoError);   // above the maximum
  CHECK_THROWS_AS(read("P2 3 2 5 0 1 2 3 4 x"), IoError);   // no number
  CHECK_THROWS_AS(read("P5 3 0 255\n"), IoError);           // no pixels
  CHECK_THROWS_AS(read("P5 65535 65535 255\n1"), IoError);  // must not try to hold 4 GiB
  CHECK_THROWS_AS(read("P2 99999999999 1 255\n1"), IoError);
  CHECK_THROWS_AS(read("P5 3 2 65536\n123456789012"), IoError);
  CHECK_THROWS_AS(read("P7\nWIDTH 1\n"), IoError);
}

TEST_CASE("decode_image: EXIF orientation 1 to 8, both byte orders") {
  // The corners (top left, top right, bottom left, bottom right) after turning a stored picture with corners A B C D
  // upright. Orientation 6, say: stored row 0 is the right side, stored column 0 the top (EXIF 2.3, tag 0x0112).
  constexpr std::string_view upright[] = {"ABCD", "BADC", "DCBA", "CDAB", "ACBD", "CADB", "DBCA", "BDAC"};
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (const bool little : {false, true}) {
      const Image image = decode_image(
          with_orientation(cuttle_test::jpeg_corners, static_cast<unsigned char>(orientation), little), "picture");
      REQUIRE(image.shape() == (orientation < 5 ? Shape{16, 32, 1} : Shape{32, 16, 1}));
      std::string corners;
      const std::int64_t height = image.size(0), width = image.size(1);
      for (const std::int64_t at : {2 * width + 2, 3 * width - 3, (height - 3) * width + 2, (height - 2) * width - 3}) {
        const int value = image.data()[at];
        corners += value < 55 ? 'A' : value < 125 ? 'B' : value < 195 ? 'C' : 'D';
      }
      CHECK(corners == upright[orientation - 1]);
    }
  // Values outside 1 .. 8 are no orientation.
  for (const int wrong : {0, 9, 255})
    CHECK(same(
        decode_image(with_orientation(cuttle_test::jpeg_corners, static_cast<unsigned char>(wrong), true), "picture"),
        decode(cuttle_test::jpeg_corners)));
}

TEST_CASE("decode_image: damaged EXIF is passed over, wherever it is cut") {
  const Image stored = decode(cuttle_test::jpeg_corners);
  const std::vector<std::byte> tiff = [] {
    auto file = with_orientation(cuttle_test::jpeg_corners, 6, true);
    return std::vector<std::byte>(file.begin() + 12, file.begin() + 12 + 34);
  }();
  CHECK(detail::exif_orientation({tiff, "picture"}) == 6);
  for (std::size_t length = 0; length < tiff.size(); ++length)
    CHECK(detail::exif_orientation({std::span(tiff).first(length), "picture"}) == 1);
  // Any byte changed: some orientation, no crash.
  for (std::size_t at = 0; at < tiff.size(); ++at) {
    auto damaged = tiff;
    damaged[at] ^= std::byte{0xff};
    const int orientation = detail::exif_orientation({damaged, "picture"});
    CHECK((orientation >= 1 && orientation <= 8));
  }
}

TEST_CASE("decode_image: a file cut anywhere is an error that names it") {
  using namespace cuttle_test;
  for (const std::string_view hex : {png_gray8, png_rgb16, png_interlaced, png_palette_trns, bmp_rgb, bmp_palette,
                                     jpeg_gray, jpeg_rgb, jpeg_progressive, jpeg_cmyk}) {
    const auto whole = from_hex(hex);
    REQUIRE(error_of(whole) == "");
    for (std::size_t length = 0; length < whole.size(); ++length) {
      INFO("first " << length << " of " << whole.size() << " bytes of " << hex.substr(0, 16));
      CHECK(error_of(std::span(whole).first(length)) != "");
    }
  }
  const auto pgm = bytes_of("P5 3 2 255\n123456");
  for (std::size_t length = 0; length < pgm.size(); ++length) CHECK(error_of(std::span(pgm).first(length)) != "");
}

TEST_CASE("decode_image: one byte changed anywhere is an error or an image, nothing worse") {
  using namespace cuttle_test;
  for (const std::string_view hex : {png_gray8, png_interlaced, png_palette_trns, bmp_rgb, bmp_palette, jpeg_gray,
                                     jpeg_rgb, jpeg_progressive, jpeg_cmyk}) {
    const auto whole = from_hex(hex);
    const bool png = hex.starts_with("8950");
    for (std::size_t at = 0; at < whole.size(); ++at)
      for (const int flip : {0x01, 0x80, 0xff}) {
        auto damaged = whole;
        damaged[at] ^= static_cast<std::byte>(flip);
        const std::string error = error_of(damaged);
        if (png) CHECK(error != "");  // checksums notice every change
      }
  }
}

TEST_CASE("decode_image: what is no image says so") {
  CHECK(error_of({}) == "picture: is empty");
  CHECK(error_of(bytes_of("GIF89a, or anything else")).find("no PNG, JPEG, BMP or PNM") != std::string::npos);
  // A header that promises 60000 x 60000 pixels in 80 bytes is refused before memory is taken for them.
  auto bmp = from_hex(cuttle_test::bmp_rgb);
  for (const std::size_t at : {18u, 22u}) {
    bmp[at] = std::byte{0x60};
    bmp[at + 1] = std::byte{0xea};
  }
  CHECK(error_of(bmp).find("truncated") != std::string::npos);
}

TEST_CASE("decode_image: a DICOM file is told from others, and what to convert it to") {
  std::string dicom(128, '\0');
  dicom += "DICM";
  dicom += std::string("\2\0\0\0UL\4\0", 8);
  const std::string error = error_of(bytes_of(dicom));
  CHECK(error.find("picture: is a DICOM file") == 0);
  CHECK(error.find("convert it to PNG or PGM") != std::string::npos);
  CHECK(error_of(bytes_of(dicom.substr(0, 131))).find("DICOM") == std::string::npos);
  dicom[129] = 'J';
  CHECK(error_of(bytes_of(dicom)).find("no PNG, JPEG, BMP or PNM") != std::string::npos);
  // Any bytes may come before, those of a picture too.
  std::vector<std::byte> bmp = from_hex(cuttle_test::bmp_rgb);
  const auto dicm = bytes_of("DICM");
  std::copy(dicm.begin(), dicm.end(), bmp.begin() + 128);
  CHECK(error_of(bmp) == "");
}

TEST_CASE("decode_image: no more pixels than the caller takes, whatever the format") {
  using namespace cuttle_test;
  const auto pgm = bytes_of("P5 7 5 255\n" + std::string(35, 'x'));
  for (const auto& file : {from_hex(png_rgb8), from_hex(png_interlaced), from_hex(bmp_rgb), pgm}) {
    CHECK(decode_image(file, "picture", 35).size(1) == 7);
    CHECK_THROWS_WITH(decode_image(file, "picture", 34),
                      contains("picture: is 7 x 5 pixels, more than the limit of 34"));
  }
  CHECK(decode_image(from_hex(jpeg_rgb), "picture", 384).size(1) == 24);
  CHECK_THROWS_AS(decode_image(from_hex(jpeg_rgb), "picture", 383), IoError);
}

TEST_CASE("decode_image: a header that promises more than the file can hold is refused before any memory is taken") {
  using namespace cuttle_test;
  // 30000 x 5000 pixels. As 8-bit gray they inflate from no fewer than 145 kB.
  std::vector<std::byte> png = from_hex(png_gray8);
  const auto put = [](std::vector<std::byte>& file, std::size_t at, std::uint32_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) file[at + i] = static_cast<std::byte>(value >> 8 * (bytes - 1 - i) & 0xFF);
  };
  const auto crc_of = [](const std::vector<std::byte>& file, std::size_t at, std::size_t bytes) {
    return detail::crc32({reinterpret_cast<const unsigned char*>(file.data()) + at, bytes});
  };
  put(png, 16, 30000, 4);
  put(png, 20, 5000, 4);
  put(png, 29, crc_of(png, 12, 17), 4);
  CHECK(error_of(png) == "picture: truncated or corrupt: too few bytes for the stated size");
  // What is there inflates to less than one row; the filler is a chunk that nobody knows.
  std::vector<std::byte> longer(png.begin(), png.begin() + 33);
  const auto unknown = bytes_of(std::string("\0\3\0\0", 4) + "abCd" + std::string(0x30000, 'x') + "....");
  longer.insert(longer.end(), unknown.begin(), unknown.end());
  put(longer, 33 + 8 + 0x30000, crc_of(longer, 33 + 4, 4 + 0x30000), 4);
  longer.insert(longer.end(), png.begin() + 33, png.end());
  CHECK(error_of(longer) == "picture: truncated or corrupt: too few bytes for the stated size");

  // A block of 8 x 8 pixels takes at least a bit.
  std::vector<std::byte> jpeg = from_hex(jpeg_gray);
  const std::size_t frame = 20 + 69 + 5;
  REQUIRE(jpeg[frame - 4] == std::byte{0xC0});
  put(jpeg, frame, 5000, 2);
  put(jpeg, frame + 2, 30000, 2);
  CHECK(error_of(jpeg) == "picture: truncated or corrupt: too few bytes for the stated size");
}

TEST_CASE("decode_image: JPEGs that lead decoders astray") {
  using namespace cuttle_test;
  REQUIRE(error_of(from_hex(jpeg_three_scans)) == "");
  const auto find = [](const std::vector<std::byte>& file, unsigned char marker, std::size_t from = 0) {
    while (file[from] != std::byte{0xFF} || file[from + 1] != std::byte{marker}) ++from;
    return static_cast<std::ptrdiff_t>(from);
  };
  const auto end = bytes_of("\xFF\xD9");
  // Every scan is a pass over the picture: a hundred are taken.
  std::vector<std::byte> scans = from_hex(jpeg_three_scans);
  const std::ptrdiff_t first = find(scans, 0xDA), second = find(scans, 0xDA, static_cast<std::size_t>(first) + 1);
  const std::vector<std::byte> one(scans.begin() + first, scans.begin() + second);
  const std::size_t body = scans.size() - 2;
  scans.resize(body);
  for (int i = 0; i < 97; ++i) scans.insert(scans.end(), one.begin(), one.end());
  std::vector<std::byte> too_many = scans;
  scans.insert(scans.end(), end.begin(), end.end());
  CHECK(error_of(scans) == "");
  too_many.insert(too_many.end(), one.begin(), one.end());
  too_many.insert(too_many.end(), end.begin(), end.end());
  CHECK(error_of(too_many) == "picture: corrupt: a JPEG of more than 100 scans");

  // The data of the third component are not there.
  std::vector<std::byte> two_scans = from_hex(jpeg_three_scans);
  std::size_t third = 0;
  for (int i = 0; i < 3; ++i) third = static_cast<std::size_t>(find(two_scans, 0xDA, third + 1));
  two_scans.resize(third);
  two_scans.insert(two_scans.end(), end.begin(), end.end());
  CHECK(error_of(two_scans) == "picture: truncated: a JPEG without the data of one of its components");

  // A scan whose tables were never defined: their number is changed from 0 to 1.
  std::vector<std::byte> without = from_hex(jpeg_gray);
  const auto scan = static_cast<std::size_t>(find(without, 0xDA));
  REQUIRE(without[scan + 6] == std::byte{0x00});
  for (const int tables : {0x10, 0x01, 0x11}) {
    without[scan + 6] = static_cast<std::byte>(tables);
    CHECK(error_of(without) == "picture: corrupt: a JPEG scan without its Huffman tables");
  }
}

TEST_CASE("decode_image: colours beyond a palette are refused, or black") {
  using namespace cuttle_test;
  // The palette has 256 entries and the header's offset says where it ends: 4 fewer for every one taken away.
  std::vector<std::byte> bmp = from_hex(bmp_palette);
  const auto without = [&](std::size_t colors) {
    std::vector<std::byte> file = bmp;
    const std::size_t kept = 256 - colors, offset = 54 + 4 * kept;
    file.erase(file.begin() + static_cast<std::ptrdiff_t>(offset), file.begin() + 54 + 4 * 256);
    file[10] = static_cast<std::byte>(offset & 0xFF);
    file[11] = static_cast<std::byte>(offset >> 8);
    return file;
  };
  CHECK(error_of(without(0)) == "");
  CHECK(error_of(without(1)) == "");  // the largest number is 252
  CHECK(same(decode_image(without(3), "picture"), decode_image(bmp, "picture")));
  CHECK(error_of(without(4)) == "picture: corrupt: a BMP colour beyond its palette");
  CHECK(error_of(without(200)) == "picture: corrupt: a BMP colour beyond its palette");

  // 4 pixels of 2 bits, 0 1 2 3, with a palette of two colours and then of one.
  std::vector<std::byte> png = from_hex(png_palette_trns);
  const auto cut = [&](std::size_t colors) {
    const auto u32 = [](std::size_t value) {
      std::string text;
      for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 0xFF);
      return text;
    };
    std::string file(reinterpret_cast<const char*>(png.data()), 33);
    const std::string plte = "PLTE" + std::string(reinterpret_cast<const char*>(png.data()) + 41, 3 * colors);
    const std::size_t data = 33 + 12 + 12 + 12 + 4;
    file +=
        u32(3 * colors) + plte + u32(detail::crc32({reinterpret_cast<const unsigned char*>(plte.data()), plte.size()}));
    file.append(reinterpret_cast<const char*>(png.data()) + data, png.size() - data);
    return bytes_of(file);
  };
  CHECK(same(decode_image(cut(4), "picture"),
             Image::from({1, 4, 3}, {10, 20, 30, 200, 100, 50, 255, 255, 255, 1, 2, 3})));
  CHECK(same(decode_image(cut(2), "picture"), Image::from({1, 4, 3}, {10, 20, 30, 200, 100, 50, 0, 0, 0, 0, 0, 0})));
  CHECK(same(decode_image(cut(1), "picture"), Image::from({1, 4, 3}, {10, 20, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0})));
}

TEST_CASE("read_image: errors name the file") {
  const cuttle_test::TemporaryFolder folder;
  try {
    read_image(folder.path() / "none.png");
    FAIL("a missing file was read");
  } catch (const IoError& error) {
    CHECK(error.path() == (folder.path() / "none.png").string());
  }
  CHECK_THROWS_AS(read_image(folder.path()), IoError);
}

TEST_CASE("write_png: what is written is what is read") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder.path() / "picture.png";
  for (const auto& [height, width, channels] :
       {std::array<std::int64_t, 3>{1, 1, 1}, {1, 33, 3}, {129, 1, 1}, {33, 129, 3}, {64, 515, 1}}) {
    // Noise, ramps and flat parts, so that literals and matches of all lengths occur.
    const Image image = image_of(height, width, channels, [](auto y, auto x, auto c) {
      const std::uint32_t hash = static_cast<std::uint32_t>(x * 31 + y * 1009 + c * 7 + 1) * 2654435761u;
      return y % 3 == 0 ? hash >> 24 : x < 40 ? 200 : static_cast<std::uint32_t>((x * 3 + y) % 256);
    });
    write_png(path, image);
    CHECK(same(read_image(path), image));
  }
  // Long matches: a flat picture shrinks to next to nothing.
  const Image flat = Image::full({512, 512, 3}, 77);
  const auto bytes = encode_png(flat);
  CHECK(bytes.size() < 16000);
  CHECK(same(decode_image(bytes, "flat"), flat));
  CHECK_THROWS_AS(write_png(path, Image::zeros({4, 4, 2})), Error);
  CHECK_THROWS_AS(write_png(path, Image::zeros({0, 4, 3})), Error);
  CHECK_THROWS_AS(write_png(folder.path() / "missing" / "picture.png", flat), IoError);
}

TEST_CASE("to_gray: the numbers of Pillow's \"L\", for one image and for many") {
  struct Colour {
    std::uint8_t red, green, blue, gray;
  };
  // The last five lie where the exact sum is nearest to a half.
  const Colour colours[] = {{255, 0, 0, 76},     {0, 255, 0, 150},     {0, 0, 255, 29},     {255, 255, 255, 255},
                            {0, 0, 0, 0},        {1, 2, 3, 2},         {10, 200, 30, 124},  {254, 1, 128, 91},
                            {3, 1, 0, 1},        {0, 1, 0, 1},         {33, 129, 251, 114}, {118, 148, 3, 123},
                            {231, 131, 31, 149}, {127, 159, 221, 157}, {35, 67, 129, 65},   {238, 248, 33, 221}};
  Image image = Image::empty({4, 4, 3});
  std::uint8_t* out = image.data();
  for (const Colour& colour : colours)
    for (const std::uint8_t channel : {colour.red, colour.green, colour.blue}) *out++ = channel;
  const Image gray = to_gray(image);
  REQUIRE(gray.shape() == Shape({4, 4, 1}));
  for (std::size_t i = 0; i < std::size(colours); ++i) CHECK(int{gray.data()[i]} == int{colours[i].gray});

  const auto batch = to_gray(image.reshape({2, 2, 4, 3}));
  CHECK(batch.shape() == Shape({2, 2, 4, 1}));
  CHECK(same(batch.reshape({4, 4, 1}), gray));
  CHECK(to_gray(gray).data() == gray.data());  // gray images are shared
  CHECK(same(to_gray(to_rgb(gray)), gray));
  CHECK(to_gray(Image::zeros({0, 4, 3})).shape() == Shape({0, 4, 1}));
  CHECK_THROWS_AS(to_gray(Image::zeros({4, 4, 2})), Error);
  CHECK_THROWS_AS(to_gray(Image::zeros({4, 4, 4})), Error);
}
