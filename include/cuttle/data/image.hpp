// Images as tensors: decoding of PNG, JPEG, BMP and PNM, and encoding of PNG. Needs stb_image.h on the include path.
#pragma once

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cuttle/core/tensor.hpp"
#include "cuttle/data/image_file.hpp"
#include "cuttle/data/pixels.hpp"
#include "cuttle/data/stb.hpp"
#include "cuttle/io/file.hpp"

namespace cuttle {

namespace detail {

// The image turned upright: EXIF orientations 2 to 8 are the seven other symmetries of the rectangle.
inline Image apply_orientation(const Image& image, int orientation) {
  if (orientation == 1) return image;
  const bool transposed = orientation >= 5;
  // Which end of the stored picture the upright one starts from, along the stored rows and columns.
  const bool rows_reversed = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool columns_reversed = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const std::int64_t rows = image.size(0), columns = image.size(1), channels = image.size(2);
  Image upright = Image::empty({transposed ? columns : rows, transposed ? rows : columns, channels});
  std::uint8_t* out = upright.data();
  for (std::int64_t y = 0; y < upright.size(0); ++y)
    for (std::int64_t x = 0; x < upright.size(1); ++x, out += channels) {
      std::int64_t row = transposed ? x : y, column = transposed ? y : x;
      if (rows_reversed) row = rows - 1 - row;
      if (columns_reversed) column = columns - 1 - column;
      std::copy_n(image.data() + (row * columns + column) * channels, channels, out);
    }
  return upright;
}

// Decoded samples (T = 8 or 16 bits, 1 to 4 channels, the even ones ending in alpha) as an image.
template <class T>
Image image_from_samples(const T* samples, std::int64_t height, std::int64_t width, int channels) {
  constexpr std::uint32_t full_scale = static_cast<T>(-1);
  const bool alpha = channels % 2 == 0;
  const int colors = channels - alpha;
  Image image = Image::empty({height, width, colors});
  std::uint8_t* out = image.data();
  for (std::int64_t pixel = 0; pixel < height * width; ++pixel, samples += channels) {
    const std::uint32_t opacity = alpha ? to_8_bit(samples[colors], full_scale) : 255;
    for (int c = 0; c < colors; ++c) *out++ = to_8_bit(to_8_bit(samples[c], full_scale) * opacity, 255 * 255);
  }
  return image;
}

// most_a_byte: the pixels that a byte of a file of this format can hold at best, so that a header which promises more
// is false.
inline Image decode_with_stb(const ImageBytes& file, std::int64_t most_pixels, std::int64_t most_a_byte) {
  file.expect(file.size() <= INT_MAX, "larger than 2 GiB");
  const int length = static_cast<int>(file.size());
  int width = 0, height = 0, channels = 0;
  const auto reason = [] {
    const char* text = stb::stbi_failure_reason();
    return concat("cannot be decoded (", text ? text : "unknown reason", ")");
  };
  if (!stb::stbi_info_from_memory(file.data(), length, &width, &height, &channels)) file.fail(reason());
  file.expect(width > 0 && height > 0, "holds an image without pixels");
  check_extent(file, width, height, most_pixels);
  const std::int64_t pixels = std::int64_t{width} * height;
  file.expect(pixels / most_a_byte <= length, "truncated or corrupt: too few bytes for the stated size");
  // A pixel has up to four samples of 16 bits, and buffers grow by doubling; a JPEG's are filled up to whole blocks.
  const DecoderBlockLimit limit((std::size_t{1} << 20) + 32 * static_cast<std::size_t>(pixels));

  try {
    const auto take = [&](auto* samples) {
      if (!samples) file.fail(reason());
      const std::unique_ptr<void, void (*)(void*)> owner(samples, stb::stbi_image_free);
      return image_from_samples(samples, height, width, channels);
    };
    return stb::stbi_is_16_bit_from_memory(file.data(), length)
               ? take(stb::stbi_load_16_from_memory(file.data(), length, &width, &height, &channels, 0))
               : take(stb::stbi_load_from_memory(file.data(), length, &width, &height, &channels, 0));
  } catch (const IoError&) {
    throw;
  } catch (const Error& error) {
    file.fail(error.what());
  }
}

}  // namespace detail

// The image in an encoded file's bytes; `name` stands in errors. PNG (all depths, palette, interlaced), JPEG (baseline
// and progressive, gray, YCbCr, CMYK), BMP (uncompressed), PNM (P1 to P6).
//  - Result: [H, W, 1] for gray files, [H, W, 3] for all others, EXIF orientation (JPEG, PNG) applied.
//  - 16 bits become 8 by round(v * 255 / 65535); a PNM's maxval becomes 255 likewise.
//  - Transparency is composited over black, c * alpha rounded: what is not there counts as nothing, in masks too.
//  - IoError: another format, a truncated or corrupt file (PNG checksums included), more than most_pixels. Memory is
//    taken in proportion to the pixels that the header states, once the file is seen to be long enough for them.
inline Image decode_image(std::span<const std::byte> bytes, const std::string& name,
                          std::int64_t most_pixels = largest_image_pixels) {
  const detail::ImageBytes file(bytes, name);
  file.expect(file.size() > 0, "is empty");
  if (file.starts_with(detail::png_signature)) {
    const detail::PngFacts facts = detail::check_png(file);
    const std::vector<std::byte> padded = detail::png_with_full_palette(file, facts);
    const detail::ImageBytes taken(padded.empty() ? bytes : std::span<const std::byte>(padded), name);
    constexpr std::int64_t most_a_byte = 8 * 1032;  // deflate's best, and a pixel of one bit
    return detail::apply_orientation(detail::decode_with_stb(taken, most_pixels, most_a_byte), facts.orientation);
  }
  if (file.starts_with("\xFF\xD8")) {
    const int orientation = detail::check_jpeg(file);
    constexpr std::int64_t most_a_byte = 8 * 64;  // a block of 8 x 8 takes at least a bit
    return detail::apply_orientation(detail::decode_with_stb(file, most_pixels, most_a_byte), orientation);
  }
  if (file.starts_with("BM")) {
    detail::check_bmp(file);
    return detail::decode_with_stb(file, most_pixels, 8);
  }
  if (file.starts_with("P") && file.size() > 2 && file.u8(1) >= '1' && file.u8(1) <= '6')
    return detail::read_pnm(file, most_pixels);
  if (detail::is_dicom(file))
    file.fail(
        "is a DICOM file, which this library does not read: convert it to PNG or PGM first, with the window that a "
        "radiologist would see, for example: dcm2img --min-max-window IN.dcm OUT.png (DCMTK; dcmj2pnm --write-png in "
        "older ones)");
  file.fail("is no PNG, JPEG, BMP or PNM image, or ends in its first bytes");
}

// The image in a file, as decode_image.
inline Image read_image(const std::filesystem::path& path, std::int64_t most_pixels = largest_image_pixels) {
  const std::string contents = read_file(path);
  return decode_image(std::as_bytes(std::span(contents)), path.string(), most_pixels);
}

namespace detail {

// Deflate (RFC 1951) with the fixed Huffman code and a one-candidate LZ77 search, in a zlib wrapper (RFC 1950).
class Deflate {
 public:
  static std::vector<unsigned char> zlib(std::span<const unsigned char> data) {
    Deflate deflate;
    deflate.out_ = {0x78, 0x01};
    deflate.bits(0b011, 3);  // final block, fixed code
    deflate.compress(data);
    deflate.literal(256);
    deflate.bits(0, 7);  // completes the last byte
    std::uint32_t a = 1, b = 0;
    for (unsigned char byte : data) {
      a = (a + byte) % 65521;
      b = (b + a) % 65521;
    }
    for (std::uint32_t byte : {b >> 8, b, a >> 8, a}) deflate.out_.push_back(static_cast<unsigned char>(byte));
    return std::move(deflate.out_);
  }

 private:
  void bits(std::uint32_t value, int count) {
    pending_ |= value << count_;
    for (count_ += count; count_ >= 8; count_ -= 8, pending_ >>= 8)
      out_.push_back(static_cast<unsigned char>(pending_));
  }
  // Huffman codes go in with their most significant bit first.
  void code(std::uint32_t value, int count) {
    std::uint32_t reversed = 0;
    for (int i = 0; i < count; ++i) reversed |= (value >> i & 1) << (count - 1 - i);
    bits(reversed, count);
  }
  void literal(std::uint32_t symbol) {
    if (symbol < 144) return code(0x30 + symbol, 8);
    if (symbol < 256) return code(0x190 + symbol - 144, 9);
    if (symbol < 280) return code(symbol - 256, 7);
    code(0xC0 + symbol - 280, 8);
  }
  // Symbol and extra bits of `value` in a table whose symbols gain an extra bit every `step` of them.
  struct Extra {
    std::uint32_t symbol, value;
    int bits;
  };
  static Extra split(std::uint32_t value, std::uint32_t step) {
    int extra = 0;
    while (value >> extra >= 2 * step) ++extra;
    return {value >> extra, value & ((1u << extra) - 1), extra};
  }
  void match(std::uint32_t length, std::uint32_t distance) {
    if (length == 258) {
      literal(285);
    } else {
      const Extra l = split(length - 3, 4);
      literal(257 + l.symbol + 4 * static_cast<std::uint32_t>(l.bits));
      bits(l.value, l.bits);
    }
    const Extra d = split(distance - 1, 2);
    code(d.symbol + 2 * static_cast<std::uint32_t>(d.bits), 5);
    bits(d.value, d.bits);
  }
  void compress(std::span<const unsigned char> data) {
    constexpr std::size_t window = 32768, longest = 258, hash_bits = 15;
    std::vector<std::size_t> last(std::size_t{1} << hash_bits, ~std::size_t{0});
    for (std::size_t at = 0; at < data.size();) {
      std::size_t length = 0, from = 0;
      if (at + 4 <= data.size()) {
        std::uint32_t key;
        std::memcpy(&key, &data[at], 4);
        std::size_t& slot = last[key * 2654435761u >> (32 - hash_bits)];
        from = std::exchange(slot, at);
        if (from != ~std::size_t{0} && at - from <= window)
          while (length < longest && at + length < data.size() && data[from + length] == data[at + length]) ++length;
      }
      if (length >= 4) {
        match(static_cast<std::uint32_t>(length), static_cast<std::uint32_t>(at - from));
        at += length;
      } else {
        literal(data[at++]);
      }
    }
  }

  std::vector<unsigned char> out_;
  std::uint32_t pending_ = 0;
  int count_ = 0;
};

// A PNG of 8-bit samples: color_type 0 is gray, 2 RGB, 3 the numbers of colours that the chunks before_data define.
struct PngChunk {
  std::string_view type;
  std::vector<unsigned char> content;
};
inline std::vector<std::byte> encode_png_samples(const Image& image, unsigned char color_type,
                                                 std::span<const PngChunk> before_data) {
  using Bytes = std::vector<unsigned char>;
  const auto channels = static_cast<std::size_t>(image.size(2));
  const std::size_t row = static_cast<std::size_t>(image.size(1)) * channels;

  // Each row is predicted from its left neighbour (filter 1), from above (2) or by Paeth's rule (4), whichever leaves
  // the smallest differences.
  Bytes filtered, best, candidate;
  const Bytes zeros(row, 0);
  const auto pixels = image.span();
  for (std::size_t y = 0; y < static_cast<std::size_t>(image.size(0)); ++y) {
    const unsigned char* here = pixels.data() + y * row;
    const unsigned char* above = y ? here - row : zeros.data();
    std::uint64_t smallest = ~std::uint64_t{0};
    for (const int filter : {1, 2, 4}) {
      candidate.assign(1, static_cast<unsigned char>(filter));
      std::uint64_t cost = 0;
      for (std::size_t i = 0; i < row; ++i) {
        const int a = i < channels ? 0 : here[i - channels], b = above[i], c = i < channels ? 0 : above[i - channels];
        const int pa = std::abs(b - c), pb = std::abs(a - c), pc = std::abs(a + b - 2 * c);
        const int paeth = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
        const auto difference = static_cast<unsigned char>(here[i] - (filter == 1 ? a : filter == 2 ? b : paeth));
        cost += static_cast<std::uint64_t>(std::abs(static_cast<signed char>(difference)));
        candidate.push_back(difference);
      }
      if (cost < smallest) {
        smallest = cost;
        best.swap(candidate);
      }
    }
    filtered.insert(filtered.end(), best.begin(), best.end());
  }

  Bytes png(png_signature.begin(), png_signature.end());
  const auto append_u32 = [](Bytes& to, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<unsigned char>(value >> shift));
  };
  const auto append_chunk = [&](std::string_view type, const Bytes& content) {
    append_u32(png, static_cast<std::uint32_t>(content.size()));
    const std::size_t start = png.size();
    png.insert(png.end(), type.begin(), type.end());
    png.insert(png.end(), content.begin(), content.end());
    append_u32(png, crc32(std::span(png).subspan(start)));
  };
  Bytes header;
  append_u32(header, static_cast<std::uint32_t>(image.size(1)));
  append_u32(header, static_cast<std::uint32_t>(image.size(0)));
  header.insert(header.end(), {8, color_type, 0, 0, 0});
  append_chunk("IHDR", header);
  for (const PngChunk& chunk : before_data) append_chunk(chunk.type, chunk.content);
  append_chunk("IDAT", Deflate::zlib(filtered));
  append_chunk("IEND", {});
  const auto bytes = std::as_bytes(std::span(png));
  return {bytes.begin(), bytes.end()};
}

}  // namespace detail

// The image as the bytes of an 8-bit gray or RGB PNG.
inline std::vector<std::byte> encode_png(const Image& image) {
  detail::require_image(image, "encode_png");
  return detail::encode_png_samples(image, image.size(2) == 1 ? 0 : 2, {});
}

// The same for numbers of colours (H,W,1), with what each of the 256 colours hides of that which lies under it: 0
// nothing, 255 everything.
inline std::vector<std::byte> encode_png(const Image& numbers, std::span<const std::array<std::uint8_t, 3>, 256> colors,
                                         std::span<const std::uint8_t, 256> opacity) {
  detail::require_image(numbers, "encode_png");
  require(numbers.size(2) == 1, "encode_png: numbers of colours have shape ", numbers.shape(), ", expected [H, W, 1]");
  detail::PngChunk chunks[] = {{"PLTE", {}}, {"tRNS", {opacity.begin(), opacity.end()}}};
  for (const auto& color : colors) chunks[0].content.insert(chunks[0].content.end(), color.begin(), color.end());
  return detail::encode_png_samples(numbers, 3, chunks);
}

// Writes an 8-bit PNG so that the file is there whole or not at all. IoError names the path.
inline void write_png(const std::filesystem::path& path, const Image& image) {
  const std::vector<std::byte> bytes = encode_png(image);
  const std::span<const std::byte> part(bytes);
  write_file_atomically(path, std::span(&part, 1));
}

}  // namespace cuttle
