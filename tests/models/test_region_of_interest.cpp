// A region of interest: which pixels make the score, and what is refused.
#include "cuttle/models/region_of_interest.hpp"

#include <algorithm>
#include <optional>

#include "cuttle/models/evaluation.hpp"
#include "tests/support/catch.hpp"

using namespace cuttle;
using cuttle_test::contains;

namespace {

// The map is the image's first channel at half its size, negated where `sign` is -1; the score its largest pixel.
struct HalfSize {
  static constexpr bool scores_by_largest_pixel = true;
  float sign = 1;
  std::optional<Calibration> own = Calibration{45, 2};

  const std::optional<Calibration>& calibration() const { return own; }
  AnomalyMap score(const Image& image) const {
    const std::int64_t H = image.size(0) / 2, W = image.size(1) / 2, C = image.size(2);
    AnomalyMap result{Tensor<float>::empty({H, W}), 0};
    for (std::int64_t y = 0; y < H; ++y)
      for (std::int64_t x = 0; x < W; ++x)
        result.map.data()[y * W + x] = sign * static_cast<float>(image.data()[(4 * y * W + 2 * x) * C]);
    result.score = static_cast<double>(*std::ranges::max_element(result.map.span()));
    return result;
  }
};

struct WholeImage {};

// 4 x 6: the left half inside.
Image left_half() {
  Image region = Image::zeros({4, 6, 1});
  for (std::int64_t y = 0; y < 4; ++y)
    for (std::int64_t x = 0; x < 4; ++x) region.data()[y * 6 + x] = 255;
  return region;
}

// Brightness 10 + 20 a column, so that columns 0, 2, 4 are 10, 50, 90.
Image ramp() {
  Image image = Image::empty({4, 6, 1});
  for (std::int64_t i = 0; i < 24; ++i) image.data()[i] = static_cast<std::uint8_t>(10 + 20 * (i % 6));
  return image;
}

template <class M>
concept has_regions = requires(const M& model) {
  InRegion(model, Image());
};

}  // namespace

TEST_CASE("InRegion: the largest pixel inside is the score") {
  const HalfSize model, negative{-1};
  CHECK(model.score(ramp()).score == 90);
  const AnomalyMap seen = InRegion(model, left_half()).score(ramp());
  CHECK(seen.score == 50);
  CHECK(seen.map.shape() == Shape{2, 3});
  CHECK(seen.map.data()[2] == 90);
  REQUIRE(seen.region.shape() == Shape{2, 3});
  for (std::int64_t i = 0; i < 6; ++i) CHECK((seen.region.data()[i] != 0) == (i % 3 < 2));
  // Scores below 0 have a largest one too.
  CHECK(InRegion(negative, left_half()).score(ramp()).score == -10);
  CHECK(InRegion(model, left_half()).calibration() == model.own);
  CHECK_FALSE(has_regions<WholeImage>);
  CHECK(has_regions<HalfSize>);
}

TEST_CASE("InRegion: regions that fit no image are refused") {
  const HalfSize model;
  CHECK_THROWS_WITH(InRegion(model, Image::zeros({4, 6, 1}), "roi.png"),
                    contains("roi.png: no pixel of the region of interest is inside"));
  CHECK_THROWS_WITH(InRegion(model, Image::full({4, 6, 1}, 128)), contains("no pixel"));
  CHECK_THROWS_WITH(InRegion(model, left_half(), "roi.png").score(Image::zeros({6, 4, 3})),
                    contains("roi.png: the region of interest is 4 x 6, an image is 6 x 4"));
  // One pixel is too little for a map of half the size.
  Image dot = Image::zeros({4, 6, 1});
  dot.data()[0] = 255;
  CHECK_THROWS_WITH(InRegion(model, dot).score(ramp()),
                    contains("no pixel of the region of interest is inside at 2 x 3"));
}

TEST_CASE("evaluate: pixel metrics inside the region alone") {
  const HalfSize model;
  // One anomalous image: a defect as bright as it should be inside the region, and a dark one outside.
  LabelledImages set{Image::zeros({2, 4, 6, 1}),
                     {Label::normal, Label::anomalous},
                     {"good", "hole"},
                     Tensor<std::uint8_t>::zeros({2, 4, 6})};
  for (std::int64_t y = 0; y < 2; ++y)
    for (std::int64_t x = 0; x < 2; ++x) {
      set.images.data()[24 + y * 6 + x] = 200;
      set.masks.data()[24 + y * 6 + x] = 1;
      set.masks.data()[24 + y * 6 + 4 + x] = 1;
    }
  const auto no_progress = [](std::int64_t, std::int64_t) {};
  const Evaluation whole = evaluate(model, set, no_progress),
                   inside = evaluate(InRegion(model, left_half()), set, no_progress);
  CHECK(*whole.pixel_auroc < 1);
  CHECK(*inside.pixel_auroc == 1);
  CHECK(*inside.aupro == 1);
  REQUIRE(inside.regions.size() == 2);
  CHECK(inside.regions[1].defined());
  CHECK_FALSE(whole.regions[1].defined());
}
