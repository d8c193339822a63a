// What the file formats say before a pixel is decoded: is the file whole, how large is the picture, which way is up;
// and a reader of the PNM family. Every read is bounds-checked; a defect is an IoError that names the file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "cuttle/core/error.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/data/pixels.hpp"

namespace cuttle::detail {

// The bytes of one image file and the name that its errors carry. Reads beyond the end throw "truncated".
class ImageBytes {
 public:
  ImageBytes(std::span<const std::byte> bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

  std::size_t size() const noexcept { return bytes_.size(); }
  const std::string& name() const noexcept { return name_; }
  const unsigned char* data() const noexcept { return reinterpret_cast<const unsigned char*>(bytes_.data()); }

  [[noreturn]] void fail(const std::string& reason) const { throw IoError(name_, reason); }
  void expect(bool ok, const char* reason) const {
    if (!ok) fail(reason);
  }

  ImageBytes part(std::size_t first, std::size_t count) const {
    expect(first <= size() && count <= size() - first, "truncated: the file ends in the middle of the picture");
    return {bytes_.subspan(first, count), name_};
  }
  std::uint32_t u8(std::size_t at) const {
    expect(at < size(), "truncated: the file ends in the middle of the picture");
    return std::to_integer<std::uint32_t>(bytes_[at]);
  }
  std::uint32_t u16be(std::size_t at) const { return u8(at) << 8 | u8(at + 1); }
  std::uint32_t u16le(std::size_t at) const { return u8(at) | u8(at + 1) << 8; }
  std::uint32_t u32be(std::size_t at) const { return u16be(at) << 16 | u16be(at + 2); }
  std::uint32_t u32le(std::size_t at) const { return u16le(at) | u16le(at + 2) << 16; }
  bool starts_with(std::string_view magic) const {
    return size() >= magic.size() && std::memcmp(data(), magic.data(), magic.size()) == 0;
  }

 private:
  std::span<const std::byte> bytes_;
  std::string name_;
};

// CRC-32 of PNG and zlib (ISO 3309, reflected polynomial 0xEDB88320).
inline std::uint32_t crc32(std::span<const unsigned char> bytes) {
  static constexpr auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
      entries[i] = c;
    }
    return entries;
  }();
  std::uint32_t crc = 0xFFFFFFFFu;
  for (unsigned char byte : bytes) crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8;
  return ~crc;
}

// EXIF orientation (TIFF tag 0x0112 of the first directory): 1 to 8. Damaged or absent metadata means 1, as everywhere.
inline int exif_orientation(const ImageBytes& tiff) {
  if (tiff.size() < 8) return 1;
  const bool little = tiff.starts_with("II");
  if (!little && !tiff.starts_with("MM")) return 1;
  const auto u16 = [&](std::size_t at) { return little ? tiff.u16le(at) : tiff.u16be(at); };
  const auto u32 = [&](std::size_t at) { return little ? tiff.u32le(at) : tiff.u32be(at); };
  const std::size_t directory = u32(4);
  if (directory + 2 > tiff.size()) return 1;
  const std::size_t entries = u16(directory);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) return 1;
    constexpr std::uint32_t orientation_tag = 0x0112, type_short = 3;
    if (u16(entry) != orientation_tag) continue;
    const std::uint32_t value = u16(entry + 8);
    return u16(entry + 2) == type_short && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

inline constexpr std::string_view png_signature = "\x89PNG\r\n\x1a\n";

// Walks the chunks to IEND, checking every length and CRC. Returns the orientation of an eXIf chunk, else 1.
inline int check_png(const ImageBytes& file) {
  int orientation = 1;
  for (std::size_t at = png_signature.size();;) {
    const std::size_t length = file.u32be(at);
    const ImageBytes typed = file.part(at + 4, length + 4), content = file.part(at + 8, length);
    file.expect(file.u32be(at + 8 + length) == crc32({typed.data(), typed.size()}), "corrupt: a PNG checksum is wrong");
    if (typed.starts_with("IEND")) return orientation;
    if (typed.starts_with("eXIf")) orientation = exif_orientation(content);
    at += 12 + length;
  }
}

// A Huffman table has at most 256 symbols; decoders size their arrays by that and do not all look.
inline void check_huffman_tables(const ImageBytes& segment) {
  for (std::size_t at = 0; at < segment.size();) {
    std::size_t symbols = 0;
    for (std::size_t length = 1; length <= 16; ++length) symbols += segment.u8(at + length);
    segment.expect(symbols <= 256, "corrupt: a JPEG Huffman table has more than 256 symbols");
    at += 17 + symbols;
  }
}

// Walks the segments and the entropy-coded data to the end-of-image marker, whose absence is how a cut file shows:
// decoders pad what is missing with gray. Returns the EXIF orientation, else 1.
inline int check_jpeg(const ImageBytes& file) {
  constexpr std::uint32_t end_of_image = 0xD9, start_of_scan = 0xDA, huffman_tables = 0xC4, app1 = 0xE1;
  const auto standalone = [](std::uint32_t marker) { return marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8); };
  int orientation = 1;
  bool scan_seen = false;
  for (std::size_t at = 2;;) {
    // The next marker; inside a scan this skips the entropy-coded data with its stuffed zeros and restart markers.
    std::uint32_t marker = 0;
    while (file.u8(at) != 0xFF || standalone(marker = file.u8(at + 1)) || marker == 0xFF) ++at;
    at += 2;
    if (marker == end_of_image) {
      file.expect(scan_seen, "corrupt: a JPEG without picture data");
      return orientation;
    }
    const std::size_t length = file.u16be(at);
    file.expect(length >= 2, "corrupt: a JPEG segment shorter than its own length field");
    const ImageBytes segment = file.part(at + 2, length - 2);
    if (marker == app1 && segment.starts_with(std::string_view("Exif\0\0", 6)))
      orientation = exif_orientation(segment.part(6, segment.size() - 6));
    if (marker == huffman_tables) check_huffman_tables(segment);
    scan_seen = scan_seen || marker == start_of_scan;
    at += length;
  }
}

// A BMP's rows are stored as they are, so the header says how long the file must be.
inline void check_bmp(const ImageBytes& file) {
  const std::size_t offset = file.u32le(10), header = file.u32le(14);
  const bool old = header == 12;
  const std::uint64_t width = old ? file.u16le(18) : file.u32le(18);
  const std::uint32_t signed_height = old ? file.u16le(20) : file.u32le(22);
  const std::uint64_t height = !old && signed_height >> 31 ? 0u - signed_height : signed_height;
  const std::uint64_t bits = file.u16le(old ? 24 : 28), row = (width * bits + 31) / 32 * 4;
  file.expect(old || file.u32le(30) == 0 || file.u32le(30) == 3, "a compressed BMP is not supported");
  file.expect(offset >= 14 + header && offset <= file.size(), "corrupt: the BMP header points outside the file");
  file.expect(height == 0 || row <= (file.size() - offset) / height,
              "truncated: the file ends in the middle of the picture");
}

// P1 to P6: bitmaps, gray and colour, as text or binary, up to 16 bits; [H, W, 1 or 3]. maxval is brought to 255.
inline Tensor<std::uint8_t> read_pnm(const ImageBytes& file, std::int64_t largest_side) {
  const int kind = static_cast<int>(file.u8(1)) - '0';
  const bool bitmap = kind == 1 || kind == 4, text = kind <= 3;
  const std::int64_t channels = kind == 3 || kind == 6 ? 3 : 1;
  std::size_t at = 2;
  const auto digit = [&] { return at < file.size() && file.u8(at) >= '0' && file.u8(at) <= '9'; };
  const auto skip_space = [&] {
    for (;; ++at) {
      std::uint32_t c = file.u8(at);
      while (c == '#') {
        while (file.u8(at) != '\n' && file.u8(at) != '\r') ++at;
        c = file.u8(at);
      }
      if (c != ' ' && (c < '\t' || c > '\r')) return;
    }
  };
  const auto number = [&](std::uint32_t limit) {
    skip_space();
    file.expect(digit(), "corrupt: the PNM header or text holds something that is no number");
    std::uint32_t value = 0;
    for (; digit(); ++at) {
      value = value * 10 + file.u8(at) - '0';
      file.expect(value <= limit, "a PNM number is out of range");
    }
    return value;
  };
  const auto side = static_cast<std::uint32_t>(largest_side);
  const std::int64_t width = number(side), height = number(side);
  const std::uint32_t maxval = bitmap ? 1 : number(65535);
  file.expect(width > 0 && height > 0 && maxval > 0, "corrupt: the PNM header holds a zero");

  const std::int64_t row = width * channels, sample_bytes = maxval > 255 ? 2 : 1;
  const std::int64_t row_bytes = kind == 4 ? (width + 7) / 8 : row * sample_bytes;
  if (!text) {
    file.expect(at < file.size(), "truncated: the file ends after its header");
    ++at;  // exactly one white space separates the header from binary data
  }
  // Text needs at least one byte a sample, so no header can ask for more memory than the file is worth.
  file.expect(static_cast<std::uint64_t>(height) * static_cast<std::uint64_t>(row_bytes) <= file.size() - at,
              "truncated: the file ends in the middle of the picture");
  Tensor<std::uint8_t> image = Tensor<std::uint8_t>::empty({height, width, channels});
  std::uint8_t* out = image.data();
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t i = 0; i < row; ++i) {
      const std::size_t start = at + static_cast<std::size_t>(y * row_bytes);
      std::uint32_t value = 0;
      if (kind == 1) {
        skip_space();  // a text bitmap's digits need no space between them
        value = file.u8(at++) - '0';
      } else if (text) {
        value = number(65535);
      } else if (kind == 4) {
        value = file.u8(start + static_cast<std::size_t>(i / 8)) >> (7 - i % 8) & 1;
      } else {
        const std::size_t sample = start + static_cast<std::size_t>(i * sample_bytes);
        value = sample_bytes == 2 ? file.u16be(sample) : file.u8(sample);
      }
      file.expect(value <= maxval, "corrupt: a PNM sample exceeds the stated maximum");
      *out++ = bitmap ? (value ? 0 : 255) : to_8_bit(value, maxval);
    }
  return image;
}

}  // namespace cuttle::detail
