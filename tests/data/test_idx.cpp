// IDX files: what they hold, plain and gzipped, and a clear error for everything that is not one.
#include "cuttle/data/idx.hpp"

#include <array>
#include <functional>

#include "cuttle/data/image.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/shared.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::TemporaryFolder;

namespace {

std::string big_endian(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 0xFF);
  return text;
}
std::string little_endian(std::uint32_t value) {
  std::string text = big_endian(value);
  std::reverse(text.begin(), text.end());
  return text;
}

std::string idx(std::initializer_list<std::uint32_t> extents, std::span<const std::uint8_t> values) {
  std::string file = big_endian(0x800u + static_cast<std::uint32_t>(extents.size()));
  for (const std::uint32_t extent : extents) file += big_endian(extent);
  file.append(values.begin(), values.end());
  return file;
}

std::span<const unsigned char> as_unsigned(const std::string& text) {
  return {reinterpret_cast<const unsigned char*>(text.data()), text.size()};
}

// `fields` are what the flags announce, between the fixed header and the data.
std::string gzip(const std::string& contents, unsigned flags = 0, const std::string& fields = "") {
  const std::vector<unsigned char> zlib = detail::Deflate::zlib(as_unsigned(contents));
  std::string file = std::string("\x1F\x8B\x08", 3) + static_cast<char>(flags) + std::string(6, '\0') + fields;
  file.append(zlib.begin() + 2, zlib.end() - 4);
  return file + little_endian(detail::crc32(as_unsigned(contents))) +
         little_endian(static_cast<std::uint32_t>(contents.size()));
}

// Decodes a copy on the heap of just that length, so that the address sanitizer sees one byte too far.
Tensor<std::uint8_t> decode(const std::string& file, int rank) {
  const std::vector<char> exact(file.begin(), file.end());
  return decode_idx(std::as_bytes(std::span(exact)), "some.idx", rank);
}

std::string error_of(const std::string& file, int rank) {
  try {
    decode(file, rank);
  } catch (const IoError& error) {
    CHECK(error.path() == "some.idx");
    return error.what();
  }
  return "accepted";
}

bool same(const Tensor<std::uint8_t>& a, const Tensor<std::uint8_t>& b) {
  return a.shape() == b.shape() && std::ranges::equal(a.span(), b.span());
}

}  // namespace

TEST_CASE("decode_idx: plain and gzipped files give the array") {
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({5, 4, 3}, 1, 0, 255);
  const std::string plain = idx({5, 4, 3}, images.span());
  CHECK(same(decode(plain, 3), images));
  CHECK(same(decode(gzip(plain), 3), images));
  const auto labels = images.reshape({60});
  CHECK(same(decode(idx({60}, labels.span()), 1), labels));

  // Extra field, name, comment and header checksum, which a reader has to step over.
  const std::string extra = std::string("\x03\0", 2) + "abc", name("digits\0", 7), comment("of someone\0", 11),
                    crc("xy");
  CHECK(same(decode(gzip(plain, 4 + 8 + 16 + 2, extra + name + comment + crc), 3), images));
  CHECK(same(decode(gzip(plain, 4, extra), 3), images));
  CHECK(same(decode(gzip(plain, 16, comment), 3), images));
  CHECK(same(decode(gzip(plain, 2, crc), 3), images));
}

TEST_CASE("decode_idx: a file cut anywhere is refused") {
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({2, 3, 5}, 2, 0, 9);
  const std::string plain = idx({2, 3, 5}, images.span());
  for (const std::string& whole : {plain, gzip(plain), gzip(plain, 8 + 4, std::string("\x02\0ab", 4) + "name" + '\0')})
    for (std::size_t length = 0; length < whole.size(); ++length) {
      INFO(length << " of " << whole.size());
      CHECK(error_of(whole.substr(0, length), 3) != "accepted");
    }
}

TEST_CASE("decode_idx: a damaged gzip file is refused or gives what it held") {
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({3, 4, 6}, 3, 0, 3);
  const std::string whole = gzip(idx({3, 4, 6}, images.span()));
  int refused = 0;
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (const int change : {0x01, 0x80, 0xFF}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ change);
      INFO("byte " << at << " xor " << change);
      try {
        const bool unharmed = same(decode(damaged, 3), images);
        CHECK(unharmed);
      } catch (const IoError&) {
        ++refused;
      }
    }
  // All but the time stamp and two bytes of no meaning.
  CHECK(refused > 3 * (static_cast<int>(whole.size()) - 8));
}

TEST_CASE("decode_idx: each error says what is wrong") {
  const TemporaryFolder folder;
  const auto values = cuttle_test::integer_tensor<std::uint8_t>({24}, 4, 0, 255);
  const std::string plain = idx({2, 3, 4}, values.span()), zipped = gzip(plain);
  const auto with = [](std::string file, std::size_t at, const std::string& part) {
    return file.replace(at, part.size(), part);
  };
  CHECK_THAT(error_of("", 3), contains("too short"));
  CHECK_THAT(error_of(plain, 1), contains("is no IDX file of bytes with 1 dimension: it starts with 0 0 8 3"));
  CHECK_THAT(error_of(with(plain, 2, "\x0D"), 3), contains("it starts with 0 0 13 3, not 0 0 8 3"));
  CHECK_THAT(error_of("<html>", 3), contains("is no IDX file"));
  CHECK_THAT(error_of(plain.substr(0, 10), 3), contains("ends in its IDX header"));
  CHECK_THAT(error_of(plain.substr(0, 30), 3), contains("states [2, 3, 4] bytes, 14 follow"));
  CHECK_THAT(error_of(plain + "x", 3), contains("states [2, 3, 4] bytes, 25 follow"));
  CHECK_THAT(error_of(idx({0, 28, 28}, {}), 3), contains("states [0, 28, 28] bytes, 0 follow"));
  // Sizes that would exhaust memory, or wrap around to the true one: 2^32 * 2^31 * 2 + 24.
  CHECK_THAT(error_of(with(plain, 4, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), 3),
             contains("more than 2^48"));
  CHECK_THAT(error_of(with(plain, 4, std::string("\x40\0\0\0\0\0\0\x03\0\0\0\x04", 12)), 3),
             contains("states [1073741824, 3, 4] bytes, 24 follow"));
  CHECK_THAT(error_of(with(zipped, zipped.size() - 4, "\xFF\xFF\xFF\x7F"), 3), contains("impossible size"));
  CHECK_THAT(error_of(with(zipped, zipped.size() - 4, std::string("\0\0\0\0", 4)), 3), contains("impossible size"));
  CHECK_THAT(error_of(with(zipped, zipped.size() - 4, std::string("\x29\0\0\0", 4)), 3),
             contains("cannot be inflated"));
  CHECK_THAT(error_of(with(zipped, zipped.size() - 8, "abcd"), 3), contains("checksum is wrong"));
  CHECK_THAT(error_of(with(zipped, 2, "\x07"), 3), contains("unknown method or flags"));
  CHECK_THAT(error_of(with(zipped, 3, "\x20"), 3), contains("unknown method or flags"));
  CHECK_THAT(error_of(gzip(plain.substr(0, 20)), 3), contains("4 follow"));
  CHECK_THROWS_WITH(read_idx(folder / "absent", 3), contains("absent: cannot open"));
  CHECK_THROWS_WITH(read_idx(folder.path(), 3), contains("cannot read"));
  CHECK_THROWS_WITH(decode(plain, 4), contains("decode_idx: rank must be 1 to 3, got 4"));
}

TEST_CASE("read_digits: the pair of files, by MNIST's names or one's own") {
  const TemporaryFolder folder;
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({6, 28, 28}, 5, 0, 255);
  const auto labels = Tensor<std::uint8_t>::from({6}, {9, 0, 3, 3, 1, 7});
  const std::string image_file = idx({6, 28, 28}, images.span()), label_file = idx({6}, labels.span());
  CHECK_THROWS_WITH(read_digits(folder.path()), contains("holds neither train-images-idx3-ubyte"));

  write_file_atomically(folder / "t10k-images-idx3-ubyte.gz", gzip(image_file));
  CHECK_THROWS_WITH(read_digits(folder.path()), contains("t10k-labels-idx1-ubyte: cannot open"));
  write_file_atomically(folder / "t10k-labels-idx1-ubyte", label_file);
  const Digits test = read_digits(folder.path());
  CHECK(same(test.images, images));
  CHECK(same(test.labels, labels));

  // The training part goes before.
  write_file_atomically(folder / "train-images-idx3-ubyte", idx({1, 28, 28}, images.slice(3, 4).span()));
  write_file_atomically(folder / "train-labels-idx1-ubyte.gz", gzip(idx({1}, labels.slice(3, 4).span())));
  CHECK(same(read_digits(folder.path()).images, images.slice(3, 4)));

  const auto write = [&](const std::string& name, const std::string& contents) {
    write_file_atomically(folder / name, contents);
    return folder / name;
  };
  const auto good = write("images", image_file), small = write("small", idx({6, 28, 4}, images.span().first(672)));
  CHECK(same(read_digits(good, write("labels", label_file)).labels, labels));
  CHECK_THROWS_WITH(read_digits(small, folder / "labels"), contains("small: its images are 28 x 4, not 28 x 28"));
  CHECK_THROWS_WITH(read_digits(good, write("few", idx({5}, labels.span().first(5)))),
                    contains("few: has 5 labels, ") && contains("images has 6 images"));
  auto letters = labels.clone();
  letters.data()[2] = 10;
  CHECK_THROWS_WITH(read_digits(good, write("letters", idx({6}, letters.span()))),
                    contains("letters: a label is 10, more than 9"));
  CHECK_THROWS_WITH(read_digits(folder / "labels", folder / "images"), contains("labels: is no IDX file"));
}

TEST_CASE("read_digits: MNIST's test part") {
  const auto shared = cuttle_test::shared_folder();
  if (!std::filesystem::exists(shared / "data" / "mnist")) CUTTLE_SKIP("MNIST, which is not here");
  const Digits digits = read_digits(shared / "data" / "mnist");
  CHECK(digits.images.shape() == Shape{10000, 28, 28});
  std::array<int, 10> count{};
  for (const std::uint8_t label : digits.labels.span()) ++count[label];
  CHECK(count == std::array{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009});
}
