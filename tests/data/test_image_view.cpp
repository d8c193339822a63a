// Views of pixels in memory: every format and order of rows gives the image that they show.
#include "cuttle/data/image_view.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cuttle/data/resize.hpp"
#include "cuttle/data/working_size.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::integer_tensor;
using cuttle_test::same_bits;

namespace {

// An image as a camera would hold it: `gap` bytes of noise behind each row, the lowest row first if upside_down.
struct Frame {
  std::vector<std::uint8_t> bytes;
  ImageView view;

  Frame(const Image& image, PixelFormat format, std::int64_t gap, bool upside_down) {
    const std::int64_t H = image.size(0), W = image.size(1);
    std::vector<std::vector<std::uint8_t>> rows;
    for (std::int64_t y = 0; y < H; ++y) {
      rows.emplace_back();
      for (std::int64_t x = 0; x < W; ++x) {
        const std::uint8_t* p = image.data() + (y * W + x) * image.size(2);
        const auto push = [&](std::initializer_list<int> values) {
          for (const int value : values) rows.back().push_back(static_cast<std::uint8_t>(value));
        };
        const auto filler = static_cast<int>((7 * x + 3 * y) % 256);
        switch (format) {
          case PixelFormat::gray8:
            push({p[0]});
            break;
          case PixelFormat::gray16: {
            const auto wide = static_cast<std::uint16_t>(p[0] * 257);
            std::uint8_t two[2];
            std::memcpy(two, &wide, 2);
            push({two[0], two[1]});
            break;
          }
          case PixelFormat::rgb8:
            push({p[0], p[1], p[2]});
            break;
          case PixelFormat::bgr8:
            push({p[2], p[1], p[0]});
            break;
          case PixelFormat::rgba8:
            push({p[0], p[1], p[2], 255});
            break;
          case PixelFormat::bgra8:
            push({p[2], p[1], p[0], 255});
            break;
          case PixelFormat::rgbx8:
            push({p[0], p[1], p[2], filler});
            break;
          case PixelFormat::bgrx8:
            push({p[2], p[1], p[0], filler});
            break;
        }
      }
      for (std::int64_t i = 0; i < gap; ++i) rows.back().push_back(static_cast<std::uint8_t>(31 * i + y));
    }
    const auto row = std::ssize(rows[0]);
    if (upside_down) std::reverse(rows.begin(), rows.end());
    for (const auto& bytes_of_row : rows) bytes.insert(bytes.end(), bytes_of_row.begin(), bytes_of_row.end());
    view = {bytes.data() + (upside_down ? (H - 1) * row : 0), H, W, format, upside_down ? -row : gap ? row : 0};
  }
};

constexpr PixelFormat formats[] = {PixelFormat::gray8, PixelFormat::gray16, PixelFormat::rgb8,  PixelFormat::bgr8,
                                   PixelFormat::rgba8, PixelFormat::bgra8,  PixelFormat::rgbx8, PixelFormat::bgrx8};

}  // namespace

TEST_CASE("ImageView: the same pixels in any format and order of rows are the same image") {
  const int before = num_threads();
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    for (const PixelFormat format : formats)
      for (const std::int64_t gap : {0, 1, 13})
        for (const bool upside_down : {false, true}) {
          const bool gray = format == PixelFormat::gray8 || format == PixelFormat::gray16;
          const Image image = integer_tensor<std::uint8_t>({33, 41, gray ? 1 : 3}, 3, 0, 255);
          const Frame frame(image, format, gap, upside_down);
          INFO("format " << static_cast<int>(format) << ", gap " << gap << ", upside down " << upside_down);
          CHECK(same_bits(image_of(frame.view), image));
          for (const auto& [height, width] : {std::pair{33, 41}, {33, 20}, {50, 41}, {16, 64}, {1, 1}, {129, 7}})
            CHECK(same_bits(resize(frame.view, height, width), resize(image, height, width)));
          for (const WorkingSize& working_size : {WorkingSize{32, {}}, {32, 5}, {64, 8}, {20, 3}})
            CHECK(same_bits(working_size.pictures_of(frame.view).images, working_size.pictures_of(image).images));
        }
  }
  set_num_threads(before);
}

TEST_CASE("ImageView: alpha lays colours over black, rounded to the nearest") {
  for (const int alpha : {0, 1, 127, 128, 254, 255})
    for (int value = 0; value < 256; ++value) {
      const std::uint8_t bytes[] = {static_cast<std::uint8_t>(value), 0, 255, static_cast<std::uint8_t>(alpha)};
      const auto blended = static_cast<int>(std::floor(value * alpha / 255.0 + 0.5));
      const Image rgb = image_of({bytes, 1, 1, PixelFormat::rgba8}), bgr = image_of({bytes, 1, 1, PixelFormat::bgra8});
      REQUIRE(std::vector<int>(rgb.span().begin(), rgb.span().end()) == std::vector<int>{blended, 0, alpha});
      REQUIRE(std::vector<int>(bgr.span().begin(), bgr.span().end()) == std::vector<int>{alpha, 0, blended});
    }
}

TEST_CASE("ImageView: 16 bits of a declared range, from memory that is not aligned") {
  for (const int white : {1, 255, 1023, 4095, 65535})
    for (const int value : {0, 1, 2, 511, 512, 2048, 4094, 4095, 4096, 40000, 65535}) {
      std::uint8_t bytes[3] = {};
      const auto wide = static_cast<std::uint16_t>(value);
      std::memcpy(bytes + 1, &wide, 2);
      const Image image = image_of({bytes + 1, 1, 1, PixelFormat::gray16, 0, static_cast<std::uint16_t>(white)});
      CHECK(static_cast<int>(image.item()) ==
            static_cast<int>(std::floor(std::min(value, white) * 255.0 / white + 0.5)));
    }
}

TEST_CASE("ImageView: an image as it stands is not copied") {
  for (const std::int64_t channels : {1, 3}) {
    const Image image = integer_tensor<std::uint8_t>({8, 5, channels}, 2, 0, 255);
    CHECK(image_of(ImageView::of(image)).data() == image.data());
    CHECK(resize(ImageView::of(image), 8, 5).data() == image.data());
  }
  const Image square = integer_tensor<std::uint8_t>({16, 16, 3}, 2, 0, 255);
  CHECK(WorkingSize{16, {}}.pictures_of(ImageView::of(square)).images.data() == square.data());
  // Of an image, not a view, the pictures keep the memory alive.
  const auto pictures = WorkingSize{16, {}}.pictures_of(square.clone());
  CHECK(same_bits(pictures.images.reshape({16, 16, 3}), square));
}

TEST_CASE("ImageView: what is no image") {
  const std::uint8_t pixels[64] = {};
  const auto refused = [](const ImageView& view, const std::string& text) {
    CHECK_THROWS_WITH(image_of(view), contains("image_of: the view") && contains(text));
    CHECK_THROWS_WITH(resize(view, 4, 4), contains("resize: the view") && contains(text));
  };
  refused({}, "pixels are null");
  refused({nullptr, 4, 4, PixelFormat::gray8}, "pixels are null");
  refused({pixels, 0, 4, PixelFormat::gray8}, "0 x 4 pixels");
  refused({pixels, 4, -1, PixelFormat::gray8}, "4 x -1 pixels");
  refused({pixels, 1, 65536, PixelFormat::gray8}, "1 x 65536 pixels");
  refused({pixels, 65535, 65535, PixelFormat::gray8}, "65535 x 65535 pixels");
  refused({pixels, 4, 5, PixelFormat::rgb8, 14}, "14 bytes apart, but 5 pixels take 15");
  refused({pixels, 4, 5, PixelFormat::rgb8, -14}, "-14 bytes apart");
  refused({pixels, 4, 4, PixelFormat::gray8, std::numeric_limits<std::int64_t>::max()}, "row stride is");
  refused({pixels, 4, 4, PixelFormat::gray8, std::numeric_limits<std::int64_t>::min()}, "row stride is");
  refused({pixels, 4, 4, static_cast<PixelFormat>(9)}, "format");
  refused({pixels, 4, 4, PixelFormat::gray16, 0, 0}, "white is 0");
  CHECK_THROWS_AS(ImageView::of(Image::zeros({4, 4, 2})), Error);
  CHECK_THROWS_AS(ImageView::of(Image()), Error);
}
