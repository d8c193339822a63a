// IDX files, the format of MNIST, plain or gzipped. Needs stb_image.h on the include path.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cuttle/core/tensor.hpp"
#include "cuttle/data/digits.hpp"
#include "cuttle/data/image_file.hpp"
#include "cuttle/data/stb.hpp"
#include "cuttle/io/file.hpp"

namespace cuttle {

namespace detail {

// The contents of a gzip file (RFC 1952) of one member.
inline std::vector<std::byte> gunzip(const ImageBytes& file) {
  enum Flag : std::uint32_t { header_crc = 2, extra = 4, name = 8, comment = 16, reserved = 0xE0 };
  constexpr std::size_t fixed = 10, trailer = 8, most = std::size_t{1} << 30;
  file.expect(file.size() >= fixed + trailer, "truncated: too short for a gzip file");
  file.expect(file.size() <= most, "larger than 2^30 bytes");
  const std::uint32_t method = file.u8(2), flags = file.u8(3);
  file.expect(method == 8 && !(flags & reserved), "corrupt: a gzip header of unknown method or flags");
  std::size_t at = fixed;
  if (flags & extra) at += 2 + file.u16le(at);
  for (const Flag text : {name, comment})
    if (flags & text)
      while (file.u8(at++) != 0) continue;
  if (flags & header_crc) at += 2;
  file.expect(at + trailer <= file.size(), "truncated: the file ends in its gzip header");

  const std::size_t size = file.u32le(file.size() - 4);
  // stb looks ahead of the last code, so the trailer has to be there for it to see.
  const ImageBytes compressed = file.part(at, file.size() - at);
  // Deflate packs at most 1032 to 1.
  file.expect(size > 0 && size <= most && size / 1032 <= compressed.size(),
              "truncated or corrupt: the gzip trailer states an impossible size");
  std::vector<std::byte> contents(size);
  auto* const out = reinterpret_cast<char*>(contents.data());
  int got = -1;
  try {
    got = stb::stbi_zlib_decode_noheader_buffer(out, static_cast<int>(size),
                                                reinterpret_cast<const char*>(compressed.data()),
                                                static_cast<int>(compressed.size()));
  } catch (const Error& error) {
    file.fail(error.what());
  }
  file.expect(got == static_cast<int>(size), "truncated or corrupt: cannot be inflated");
  file.expect(file.u32le(file.size() - 8) == crc32({reinterpret_cast<const unsigned char*>(out), size}),
              "corrupt: the gzip checksum is wrong");
  return contents;
}

}  // namespace detail

// The array in the bytes of an IDX file of unsigned bytes with `rank` dimensions (1 to 3; MNIST's labels have 1, its
// images 3), gzipped or not, which its first bytes tell. IoError: another kind of file, other dimensions, none at all
// in one of them, fewer or more bytes than they need, gzip data that are cut or fail their checksum, more than 2^30
// bytes.
inline Tensor<std::uint8_t> decode_idx(std::span<const std::byte> contents, const std::string& name, int rank) {
  require(rank >= 1 && rank <= 3, "decode_idx: rank must be 1 to 3, got ", rank);
  detail::ImageBytes file(contents, name);
  std::vector<std::byte> inflated;
  if (file.starts_with("\x1F\x8B")) {
    inflated = detail::gunzip(file);
    file = detail::ImageBytes(inflated, name);
  }
  const std::size_t header = 4 + 4 * static_cast<std::size_t>(rank);
  file.expect(file.size() >= 4, "truncated: too short for an IDX file");
  if (file.u32be(0) != (0x800u | static_cast<std::uint32_t>(rank)))
    file.fail(concat("is no IDX file of bytes with ", rank, " dimension", rank > 1 ? "s" : "", ": it starts with ",
                     file.u8(0), ' ', file.u8(1), ' ', file.u8(2), ' ', file.u8(3), ", not 0 0 8 ", rank));
  file.expect(file.size() >= header, "truncated: the file ends in its IDX header");
  Shape shape;
  try {
    for (std::size_t at = 4; at < header; at += 4) shape.push_back(file.u32be(at));
  } catch (const Error& error) {
    file.fail(concat("corrupt IDX header: ", error.what()));
  }
  const std::size_t bytes = file.size() - header;
  if (bytes == 0 || static_cast<std::size_t>(shape.numel()) != bytes)
    file.fail(concat("its IDX header states ", shape, " bytes, ", bytes, " follow"));
  const auto* values = file.data() + header;
  return Tensor<std::uint8_t>::from(shape, {values, bytes});
}

// The array in an IDX file, as decode_idx.
inline Tensor<std::uint8_t> read_idx(const std::filesystem::path& path, int rank) {
  const std::string contents = read_file(path);
  return decode_idx(std::as_bytes(std::span(contents)), path.string(), rank);
}

// Digits from an IDX file of 28 x 28 images and one of their labels. IoError, beside read_idx's: images of another
// size, a label above 9, counts that differ.
inline Digits read_digits(const std::filesystem::path& images, const std::filesystem::path& labels) {
  Digits digits{read_idx(images, 3), read_idx(labels, 1)};
  if (digits.images.size(1) != digit_side || digits.images.size(2) != digit_side)
    throw IoError(images.string(), concat("its images are ", digits.images.size(1), " x ", digits.images.size(2),
                                          ", not ", digit_side, " x ", digit_side));
  if (digits.labels.size(0) != digits.images.size(0))
    throw IoError(labels.string(), concat("has ", digits.labels.size(0), " labels, ", images.string(), " has ",
                                          digits.images.size(0), " images"));
  if (const int largest = std::ranges::max(digits.labels.span()); largest > 9)
    throw IoError(labels.string(), concat("a label is ", largest, ", more than 9"));
  return digits;
}

// Digits from a folder with MNIST's file names, train-images-idx3-ubyte and train-labels-idx1-ubyte, each plain or with
// .gz; where it has no such images, those of t10k-.
inline Digits read_digits(const std::filesystem::path& folder) {
  const auto find = [&](const std::string& name) {
    std::error_code ignored;
    const std::filesystem::path plain = folder / name, zipped = folder / (name + ".gz");
    return !std::filesystem::exists(plain, ignored) && std::filesystem::exists(zipped, ignored) ? zipped : plain;
  };
  for (const std::string part : {"train", "t10k"}) {
    const std::filesystem::path images = find(part + "-images-idx3-ubyte");
    std::error_code ignored;
    if (std::filesystem::exists(images, ignored)) return read_digits(images, find(part + "-labels-idx1-ubyte"));
  }
  throw IoError(folder.string(), "holds neither train-images-idx3-ubyte nor t10k-images-idx3-ubyte, plain or .gz");
}

}  // namespace cuttle
