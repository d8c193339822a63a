// evaluate(): what it makes of scores, maps, labels and masks, from files and from memory.
#include "cuttle/models/evaluation.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using cuttle_test::contains;

namespace {

// The map is the picture's first channel at half its size, the score its largest pixel, the reconstruction the
// negative.
struct FakeModel {
  std::optional<Calibration> own_calibration;
  bool reconstructs = false;

  std::optional<Calibration> calibration() const { return own_calibration; }
  AnomalyMap score(const Image& image) const {
    const std::int64_t H = image.size(0) / 2, W = image.size(1) / 2, C = image.size(2);
    AnomalyMap result{Tensor<float>::empty({H, W}), 0};
    for (std::int64_t y = 0; y < H; ++y)
      for (std::int64_t x = 0; x < W; ++x)
        result.map.data()[y * W + x] = static_cast<float>(image.data()[(4 * y * W + 2 * x) * C]);
    result.score = static_cast<double>(*std::ranges::max_element(result.map.span()));
    if (reconstructs) {
      result.reconstruction = Image::empty({image.size(0), image.size(1), 1});
      for (std::int64_t i = 0; i < result.reconstruction.numel(); ++i)
        result.reconstruction.data()[i] = static_cast<std::uint8_t>(255 - image.data()[i * C]);
    }
    return result;
  }
};

constexpr auto no_progress = [](std::int64_t, std::int64_t) {};

// Eight images of 12 x 8, dark but for a block in the left half that is as bright as the score that each is to have.
LabelledImages small_set(std::int64_t channels) {
  const std::array<std::uint8_t, 8> brightness{20, 60, 30, 40, 50, 70, 90, 25};
  LabelledImages set{Image::full({8, 12, 8, channels}, 5),
                     {},
                     {"good", "good", "good", "hole", "hole", "spot", "spot", "good"},
                     Tensor<std::uint8_t>::zeros({8, 12, 8})};
  for (std::int64_t i = 0; i < 8; ++i) {
    const bool anomalous = i >= 3 && i < 7;
    set.labels.push_back(anomalous ? Label::anomalous : Label::normal);
    for (std::int64_t y = 4; y < 8; ++y)
      for (std::int64_t x = 0; x < 4; ++x) {
        const std::int64_t pixel = (i * 12 + y) * 8 + x;
        std::fill_n(set.images.data() + pixel * channels, channels, brightness[static_cast<std::size_t>(i)]);
        if (anomalous) set.masks.data()[pixel] = 1;
      }
  }
  return set;
}

}  // namespace

TEST_CASE("evaluate: images in memory") {
  const LabelledImages set = small_set(GENERATE(1, 3));
  const FakeModel model{Calibration{45, 1}, true};
  std::vector<std::int64_t> progress;
  const Evaluation evaluation = evaluate(model, set, [&](std::int64_t done, std::int64_t total) {
    CHECK(total == 8);
    progress.push_back(done);
  });
  CHECK(progress == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(evaluation.scores == std::vector<double>{20, 60, 30, 40, 50, 70, 90, 25});
  REQUIRE(evaluation.samples.size() == 8);
  CHECK(evaluation.samples[5].path == "5");
  CHECK(evaluation.samples[5].label == Label::anomalous);
  CHECK(evaluation.samples[5].kind == "spot");

  // Anomalous 40, 50, 70, 90 against normal 20, 25, 30, 60: 14 of 16 pairs.
  CHECK(*evaluation.image_auroc == 14.0 / 16);
  CHECK(evaluation.image_auroc_of_kind == std::map<std::string, double>{{"hole", 6.0 / 8}, {"spot", 1}});
  CHECK(evaluation.f1_max->threshold == 40);
  CHECK(evaluation.most_accurate->threshold == 40);
  CHECK(evaluation.most_accurate->counts == Confusion{4, 1, 3, 0});
  CHECK(evaluation.calibration == Calibration{45, 1});
  CHECK(evaluation.at_own_threshold->threshold == 45);
  CHECK(evaluation.at_own_threshold->counts == Confusion{3, 1, 3, 1});
  CHECK(evaluation.at_own_threshold->counts.accuracy() == 0.75);

  // Masks at the size of the maps: rows 2 and 3, columns 0 and 1.
  CHECK(evaluation.maps[4].shape() == Shape{6, 4});
  CHECK_FALSE(evaluation.masks[0].defined());
  CHECK(evaluation.masks[4].shape() == Shape{6, 4});
  for (std::int64_t i = 0; i < 24; ++i)
    CHECK(evaluation.masks[4].data()[i] == (i / 4 >= 2 && i / 4 < 4 && i % 4 < 2 ? 1 : 0));
  // 16 pixels in masks, 8 images of 24 in all: a masked one, of brightness 40 to 90, loses to the blocks of brighter
  // normal images alone, 4 pixels of 60 against the blocks of 40 and 50.
  CHECK(*evaluation.pixel_auroc == Approx(1 - 8.0 * 4 / (16 * 176)).epsilon(1e-14));
  CHECK(evaluation.aupro);
  REQUIRE(evaluation.reconstructions.size() == 8);
  CHECK(evaluation.reconstructions[6].shape() == Shape{12, 8, 1});
  CHECK(evaluation.reconstructions[6].data()[4 * 8] == 255 - 90);
}

TEST_CASE("evaluate: what labels, masks and the model do not allow is left out") {
  LabelledImages set = small_set(1);
  set.masks = {};
  SECTION("no masks, no threshold, no reconstruction, an unknown label, no kinds") {
    set.labels[7] = Label::unknown;
    set.kinds.clear();
    const Evaluation evaluation = evaluate(FakeModel{}, set, no_progress);
    CHECK(*evaluation.image_auroc == 10.0 / 12);
    CHECK_FALSE(evaluation.pixel_auroc);
    CHECK_FALSE(evaluation.calibration);
    CHECK_FALSE(evaluation.at_own_threshold);
    CHECK(evaluation.most_accurate);
    CHECK(evaluation.image_auroc_of_kind.empty());
    CHECK_FALSE(evaluation.reconstructions[0].defined());
    CHECK(evaluation.scores.size() == 8);
  }
  SECTION("one kind of label is enough for the model's own threshold") {
    std::ranges::fill(set.labels, Label::normal);
    const Evaluation evaluation = evaluate(FakeModel{Calibration{45, 1}}, set, no_progress);
    CHECK(evaluation.at_own_threshold->counts == Confusion{0, 4, 4, 0});
    CHECK_FALSE(evaluation.image_auroc);
    CHECK_FALSE(evaluation.most_accurate);
  }
  SECTION("no label at all") {
    std::ranges::fill(set.labels, Label::unknown);
    CHECK_FALSE(evaluate(FakeModel{Calibration{45, 1}}, set, no_progress).at_own_threshold);
  }
  SECTION("a set that does not fit together") {
    set.labels.pop_back();
    CHECK_THROWS_WITH(evaluate(FakeModel{}, set, no_progress), "evaluate: 7 labels for 8 images");
  }
}

TEST_CASE("evaluate: files give what the same images in memory give") {
  const LabelledImages set = small_set(3);
  const cuttle_test::TemporaryFolder folder;
  for (std::int64_t i = 0; i < 8; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::string name = concat(i, ".png");
    std::filesystem::create_directories(folder / set.kinds[at]);
    write_png(folder / set.kinds[at] / name, set.image(i));
    if (set.labels[at] != Label::anomalous) continue;
    Image mask = set.masks.slice(i, i + 1).reshape({12, 8, 1}).clone();
    for (std::uint8_t& pixel : mask.span()) pixel = pixel ? 255 : 0;
    std::filesystem::create_directories(folder / "ground_truth" / set.kinds[at]);
    write_png(folder / "ground_truth" / set.kinds[at] / name, mask);
  }
  const FakeModel model{Calibration{45, 1}, true};
  std::vector<Sample> samples = list_images(folder.path(), Split::test);
  const Evaluation files = evaluate(model, samples, BadFile::stop, no_progress);
  const Evaluation memory = evaluate(model, set, no_progress);
  CHECK(files.image_auroc == memory.image_auroc);
  CHECK(files.image_ap == memory.image_ap);
  CHECK(files.image_auroc_of_kind == memory.image_auroc_of_kind);
  CHECK(files.at_own_threshold->counts == memory.at_own_threshold->counts);
  CHECK(files.most_accurate->counts == memory.most_accurate->counts);
  CHECK(files.pixel_auroc == memory.pixel_auroc);
  CHECK(*files.aupro == Approx(*memory.aupro).epsilon(1e-13));
  REQUIRE(files.samples.size() == 8);
  for (std::size_t i = 0; i < 8; ++i) {
    const auto there = static_cast<std::size_t>(std::stoi(files.samples[i].path.stem().string()));
    CHECK(files.scores[i] == memory.scores[there]);
    CHECK(cuttle_test::same_bits(files.maps[i], memory.maps[there]));
    CHECK(cuttle_test::same_bits(files.reconstructions[i], memory.reconstructions[there]));
    CHECK(files.masks[i].defined() == memory.masks[there].defined());
    if (files.masks[i].defined()) CHECK(cuttle_test::same_bits(files.masks[i], memory.masks[there]));
  }

  SECTION("a file that cannot be read") {
    std::ofstream(folder / "good" / "bad.png") << "no image";
    samples = list_images(folder.path(), Split::test);
    REQUIRE(samples.size() == 9);
    CHECK_THROWS_AS(evaluate(model, samples, BadFile::stop, no_progress), IoError);
    const Evaluation evaluation = evaluate(model, samples, BadFile::skip, no_progress);
    CHECK(evaluation.samples.size() == 8);
    REQUIRE(evaluation.skipped.size() == 1);
    CHECK_THAT(evaluation.skipped[0].reason, contains("bad.png"));
    CHECK(evaluation.image_auroc == memory.image_auroc);
  }
}
