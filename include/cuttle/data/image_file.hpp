// What the file formats say before a pixel is decoded: is the file whole, how large is the picture, which way is up;
// and a reader of the PNM family. Every read is bounds-checked; a defect is an IoError that names the file.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
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

// Refuses a picture whose header states more than this library takes, or its caller.
inline void check_extent(const ImageBytes& file, std::int64_t width, std::int64_t height, std::int64_t most_pixels) {
  if (width > largest_image_side || height > largest_image_side || width * height > most_pixels)
    file.fail(concat("is ", width, " x ", height, " pixels, more than the limit of ", most_pixels, ", or of ",
                     largest_image_side, " a side"));
}

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

// Bytes of the rows that a PNG header (RFC 2083, 4.1.1) promises, each with the number of its filter, before deflate;
// 0 where the header makes no sense, which the decoder says better. Interlaced ones have no fewer.
inline std::uint64_t png_row_bytes(const ImageBytes& header) {
  if (header.size() != 13) return 0;
  const std::uint64_t width = header.u32be(0), height = header.u32be(4), depth = header.u8(8), type = header.u8(9);
  if (width > 0x7fffffff || height > 0x7fffffff || depth > 16 || type > 6) return 0;
  constexpr std::array<std::uint64_t, 7> samples{1, 0, 3, 1, 2, 0, 4};
  return height * (1 + (width * depth * samples[type] + 7) / 8);
}

struct PngFacts {
  int orientation = 1;                            // of an eXIf chunk
  std::size_t palette_at = 0, palette_bytes = 0;  // the contents of a PLTE chunk that pixels are numbers in
};

// Walks the chunks to IEND, checking every length and CRC, and that the compressed bytes can hold the promised rows.
inline PngFacts check_png(const ImageBytes& file) {
  constexpr std::uint64_t most_inflated = 1032;  // bytes that deflate makes of one
  PngFacts facts;
  std::uint64_t promised = 0, compressed = 0;
  bool indexed = false;
  for (std::size_t at = png_signature.size();;) {
    const std::size_t length = file.u32be(at);
    const ImageBytes typed = file.part(at + 4, length + 4), content = file.part(at + 8, length);
    file.expect(file.u32be(at + 8 + length) == crc32({typed.data(), typed.size()}), "corrupt: a PNG checksum is wrong");
    if (typed.starts_with("IEND")) {
      file.expect(promised / most_inflated <= compressed, "truncated or corrupt: too few bytes for the stated size");
      return facts;
    }
    if (typed.starts_with("IHDR")) {
      promised = png_row_bytes(content);
      indexed = promised > 0 && content.u8(9) == 3;
    }
    if (typed.starts_with("PLTE") && indexed) {
      facts.palette_at = at + 8;
      facts.palette_bytes = length;
    }
    if (typed.starts_with("IDAT")) compressed += length;
    if (typed.starts_with("eXIf")) facts.orientation = exif_orientation(content);
    at += 12 + length;
  }
}

// The PNG with black for the colours that its palette lacks, since decoders look them up without asking; empty where it
// lacks none. The chunk's checksum is no longer right.
inline std::vector<std::byte> png_with_full_palette(const ImageBytes& file, const PngFacts& facts) {
  constexpr std::size_t full = 3 * 256;
  std::vector<std::byte> padded;
  if (facts.palette_at == 0 || facts.palette_bytes >= full || facts.palette_bytes % 3) return padded;
  const auto bytes = file.bytes();
  const std::size_t end = facts.palette_at + facts.palette_bytes;
  padded.reserve(bytes.size() + full - facts.palette_bytes);
  padded.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(end));
  padded.resize(facts.palette_at + full);
  padded.insert(padded.end(), bytes.begin() + static_cast<std::ptrdiff_t>(end), bytes.end());
  for (std::size_t i = 0; i < 4; ++i)
    padded[facts.palette_at - 8 + i] = static_cast<std::byte>(full >> (24 - 8 * i) & 0xFF);
  return padded;
}

// The Huffman tables that a JPEG has defined so far, by class (0 DC, 1 AC) and number: decoders take for granted that a
// scan's are there, and that none has more than 256 symbols.
using HuffmanTables = std::array<std::array<bool, 16>, 2>;

inline void note_huffman_tables(const ImageBytes& segment, HuffmanTables& defined) {
  for (std::size_t at = 0; at < segment.size();) {
    const std::uint32_t which = segment.u8(at);
    segment.expect(which >> 4 <= 1, "corrupt: a JPEG Huffman table of no known class");
    defined[which >> 4][which & 15] = true;
    std::size_t symbols = 0;
    for (std::size_t length = 1; length <= 16; ++length) symbols += segment.u8(at + length);
    segment.expect(symbols <= 256, "corrupt: a JPEG Huffman table has more than 256 symbols");
    at += 17 + symbols;
  }
}

// Takes the components of a scan (ITU T.81, B.2.3) out of those whose data are missing so far. Their tables must be
// there; a progressive scan codes DC or AC alone, and refines DC without a table.
inline void note_scan(const ImageBytes& segment, bool progressive, const HuffmanTables& defined,
                      std::bitset<256>& missing) {
  const std::size_t components = segment.u8(0);
  const std::uint32_t first = segment.u8(1 + 2 * components), approximation = segment.u8(3 + 2 * components);
  const bool needs_dc = !progressive || (first == 0 && approximation >> 4 == 0), needs_ac = !progressive || first > 0;
  for (std::size_t i = 0; i < components; ++i) {
    missing.reset(segment.u8(1 + 2 * i));
    const std::uint32_t tables = segment.u8(2 + 2 * i);
    segment.expect((!needs_dc || defined[0][tables >> 4]) && (!needs_ac || defined[1][tables & 15]),
                   "corrupt: a JPEG scan without its Huffman tables");
  }
}

// Walks the segments and the entropy-coded data to the end-of-image marker, whose absence is how a cut file shows:
// decoders pad what is missing with gray. Returns the EXIF orientation, else 1.
inline int check_jpeg(const ImageBytes& file) {
  constexpr std::uint32_t end_of_image = 0xD9, start_of_scan = 0xDA, huffman_tables = 0xC4, app1 = 0xE1;
  constexpr std::uint32_t first_frame = 0xC0, progressive_frame = 0xC2;
  // Encoders make ten scans or so. Each costs a pass over the whole picture, for as little as a dozen bytes.
  constexpr int most_scans = 100;
  const auto standalone = [](std::uint32_t marker) { return marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8); };
  int orientation = 1, scans = 0;
  bool progressive = false;
  HuffmanTables tables{};
  std::bitset<256> missing;  // components of the frame without a scan
  for (std::size_t at = 2;;) {
    // The next marker; inside a scan this skips the entropy-coded data with its stuffed zeros and restart markers.
    std::uint32_t marker = 0;
    while (file.u8(at) != 0xFF || standalone(marker = file.u8(at + 1)) || marker == 0xFF) ++at;
    at += 2;
    if (marker == end_of_image) {
      file.expect(scans > 0, "corrupt: a JPEG without picture data");
      file.expect(missing.none(), "truncated: a JPEG without the data of one of its components");
      return orientation;
    }
    const std::size_t length = file.u16be(at);
    file.expect(length >= 2, "corrupt: a JPEG segment shorter than its own length field");
    const ImageBytes segment = file.part(at + 2, length - 2);
    if (marker == app1 && segment.starts_with(std::string_view("Exif\0\0", 6)))
      orientation = exif_orientation(segment.part(6, segment.size() - 6));
    if (marker == huffman_tables) note_huffman_tables(segment, tables);
    if (marker >= first_frame && marker <= progressive_frame) {
      progressive = marker == progressive_frame;
      for (std::size_t i = 0; i < segment.u8(5); ++i) missing.set(segment.u8(6 + 3 * i));
    }
    if (marker == start_of_scan) {
      file.expect(++scans <= most_scans, "corrupt: a JPEG of more than 100 scans");
      note_scan(segment, progressive, tables, missing);
    }
    at += length;
  }
}

// A BMP's rows are stored as they are, so the header says how long the file must be. Decoders look colours up without
// asking whether the palette has them.
inline void check_bmp(const ImageBytes& file) {
  const std::size_t offset = file.u32le(10), header = file.u32le(14);
  const bool old = header == 12;
  const std::uint64_t width = old ? file.u16le(18) : file.u32le(18);
  const std::uint32_t signed_height = old ? file.u16le(20) : file.u32le(22);
  const std::uint64_t height = !old && signed_height >> 31 ? 0u - signed_height : signed_height;
  const std::uint64_t bits = file.u16le(old ? 24 : 28), row = (width * bits + 31) / 32 * 4;
  file.expect(old || file.u32le(30) == 0 || file.u32le(30) == 3, "a compressed BMP is not supported");
  file.expect(offset >= 14 + header && offset <= file.size(), "corrupt: the BMP header points outside the file");
  file.expect(bits > 0, "corrupt: a BMP of no bits a pixel");
  file.expect(height == 0 || row <= (file.size() - offset) / height,
              "truncated: the file ends in the middle of the picture");
  if (bits != 1 && bits != 4 && bits != 8) return;
  // Of the old kind stb reads four colours fewer than there are.
  const std::uint64_t colors = old ? (offset > 38 ? (offset - 38) / 3 : 0) : (offset - 14 - header) / 4;
  if (colors >= std::uint64_t{1} << bits) return;
  for (std::uint64_t y = 0; y < height; ++y)
    for (std::uint64_t x = 0; x < width; ++x) {
      const std::uint64_t bit = x * bits;
      const std::uint32_t byte = file.u8(static_cast<std::size_t>(offset + y * row + bit / 8));
      file.expect((byte >> (8 - bits - bit % 8) & ((1u << bits) - 1)) < colors,
                  "corrupt: a BMP colour beyond its palette");
    }
}

// DICOM (PS3.10, 7.1): 128 bytes of anything, then DICM.
inline bool is_dicom(const ImageBytes& file) { return file.size() >= 132 && file.part(128, 4).starts_with("DICM"); }

// P1 to P6: bitmaps, gray and colour, as text or binary, up to 16 bits; [H, W, 1 or 3]. maxval is brought to 255.
inline Tensor<std::uint8_t> read_pnm(const ImageBytes& file, std::int64_t most_pixels) {
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
  constexpr auto side = static_cast<std::uint32_t>(largest_image_side);
  const std::int64_t width = number(side), height = number(side);
  const std::uint32_t maxval = bitmap ? 1 : number(65535);
  file.expect(width > 0 && height > 0 && maxval > 0, "corrupt: the PNM header holds a zero");
  check_extent(file, width, height, most_pixels);

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
