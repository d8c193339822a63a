// The synthetic set: repeatable, masks true, and the same in memory as on disk.
#include "cuttle/data/woven.hpp"

#include <set>

#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;

namespace {

double share(const Tensor<std::uint8_t>& mask) {
  return static_cast<double>(std::count(mask.data(), mask.data() + mask.numel(), 1)) /
         static_cast<double>(mask.numel());
}

}  // namespace

TEST_CASE("woven_image: the same numbers give the same picture, other numbers another") {
  const auto crc = [](std::uint64_t seed, std::uint64_t index, WovenKind kind) {
    return detail::crc32(woven_image(seed, index, kind, 64).image.span());
  };
  std::set<std::uint32_t> different;
  for (const WovenKind kind : woven_kinds) {
    CHECK(crc(1, 5, kind) == crc(1, 5, kind));
    different.insert(crc(1, 5, kind));
  }
  different.insert(crc(1, 6, WovenKind::good));
  different.insert(crc(2, 5, WovenKind::good));
  CHECK(different.size() == 7);
}

TEST_CASE("woven_image: a defect shows inside its mask and nowhere else") {
  for (const WovenKind kind : woven_kinds)
    for (std::uint64_t index : {0u, 17u, 400u}) {
      const WovenImage good = woven_image(3, index, WovenKind::good, 129), other = woven_image(3, index, kind, 129);
      REQUIRE(other.image.shape() == Shape{129, 129, 3});
      REQUIRE(other.mask.shape() == Shape{129, 129});
      CHECK(share(good.mask) == 0);
      int outside = 0, visible = 0, inside = 0;
      for (std::int64_t i = 0; i < other.mask.numel(); ++i) {
        int difference = 0;
        for (std::int64_t c = 0; c < 3; ++c)
          difference = std::max(difference, std::abs(good.image.data()[3 * i + c] - other.image.data()[3 * i + c]));
        REQUIRE(other.mask.data()[i] <= 1);
        if (!other.mask.data()[i]) outside += difference > 0;
        inside += other.mask.data()[i];
        visible += other.mask.data()[i] && difference > 6;
      }
      INFO(std::string(name_of(kind)) << " " << index << ": mask of " << inside << " pixels, " << visible
                                      << " changed");
      CHECK(outside == 0);
      if (kind == WovenKind::good) continue;
      // Large enough to be found, small enough to be a defect, and most of the mask is changed pixels.
      CHECK(share(other.mask) > 0.001);
      CHECK(share(other.mask) < 0.15);
      CHECK(visible > 0.6 * inside);
    }
}

TEST_CASE("woven_image: pictures are well exposed and unlike each other") {
  std::vector<WovenImage> pictures;
  for (std::uint64_t index = 0; index < 4; ++index) pictures.push_back(woven_image(9, index, WovenKind::good, 128));
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const auto pixels = pictures[i].image.span();
    const auto count = static_cast<double>(pixels.size());
    double mean = 0, clipped = 0, apart = 0;
    for (std::size_t k = 0; k < pixels.size(); ++k) {
      mean += pixels[k] / count;
      clipped += (pixels[k] == 0 || pixels[k] == 255) / count;
      apart += std::abs(pixels[k] - pictures[(i + 1) % 4].image.data()[k]) / count;
    }
    CHECK((mean > 70 && mean < 180));
    CHECK(clipped < 0.01);
    CHECK(apart > 10);
  }
}

TEST_CASE("woven_image: arguments out of range") {
  CHECK_THROWS_AS(woven_image(0, 0, WovenKind::good, 31), Error);
  CHECK_THROWS_AS(woven_image(0, 0, WovenKind::good, 4097), Error);
  CHECK_THROWS_AS(woven_set({.train_good = -1}, Split::train, 0), Error);
}

TEST_CASE("write_woven_tree: the tree holds what woven_set gives") {
  const cuttle_test::TemporaryFolder folder;
  const WovenCounts counts{.train_good = 3, .test_good = 2, .each_defect = 1};
  write_woven_tree(folder.path() / "cloth", counts, 11, 64);
  for (const Split split : {Split::train, Split::test}) {
    const auto samples = list_images(folder.path() / "cloth", split);
    const ImageSet read = load_images(samples, {.size = 64, .masks = true});
    const ImageSet made = woven_set(counts, split, 11, 64);
    CHECK(read.samples.size() == (split == Split::train ? 3 : 6));
    REQUIRE(made.samples.size() == read.samples.size());
    for (std::size_t i = 0; i < made.samples.size(); ++i) {
      CHECK(folder.path() / "cloth" / made.samples[i].path == read.samples[i].path);
      CHECK(made.samples[i].label == read.samples[i].label);
      CHECK(made.samples[i].kind == read.samples[i].kind);
    }
    CHECK(detail::crc32(made.images.span()) == detail::crc32(read.images.span()));
    CHECK(detail::crc32(made.masks.span()) == detail::crc32(read.masks.span()));
  }
}

TEST_CASE("woven_set: the number of threads changes nothing") {
  const int threads = num_threads();
  const WovenCounts counts{.train_good = 4, .test_good = 1, .each_defect = 1};
  set_num_threads(1);
  const auto one = detail::crc32(woven_set(counts, Split::train, 5, 48).images.span());
  set_num_threads(3);
  CHECK(detail::crc32(woven_set(counts, Split::train, 5, 48).images.span()) == one);
  set_num_threads(threads);
}
