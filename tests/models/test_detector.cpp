// Detector: any model file, views of pixels, decisions, batches.
#include "cuttle/models/detector.hpp"

#include <cmath>
#include <limits>

#include "cuttle/models/evaluation.hpp"
#include "tests/inspection/small_detectors.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;
using cuttle_test::contains;
using cuttle_test::same_bits;

namespace {

void check_same(const Detection& a, const Detection& b) {
  CHECK(a.score == b.score);
  CHECK(a.raw_score == b.raw_score);
  CHECK(a.anomalous == b.anomalous);
  CHECK(same_bits(a.map, b.map));
  REQUIRE(a.reconstruction.defined() == b.reconstruction.defined());
  if (a.reconstruction.defined()) CHECK(same_bits(a.reconstruction, b.reconstruction));
}

Image frame(std::int64_t height, std::int64_t width, std::uint64_t seed) {
  return cuttle_test::integer_tensor<std::uint8_t>({height, width, 3}, seed, 0, 255);
}

}  // namespace

TEST_CASE("Detector: the file of either method gives what the model gives") {
  const cuttle_test::TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  const Image image = frame(70, 81, 5);

  PatchSvdd patch_svdd = cuttle_test::small_patch_svdd();
  patch_svdd.save(path);
  const AnomalyMap expected = patch_svdd.score(image);
  const Detector uncalibrated = Detector::load(path);
  CHECK(uncalibrated.method() == std::string("patch_svdd"));
  CHECK(!uncalibrated.calibration());
  check_same(uncalibrated.score(image), {expected.score, expected.score, {}, expected.map});

  for (const double threshold : {expected.score, std::nextafter(expected.score, 1e300)}) {
    const Calibration calibration{threshold, 0.75};
    patch_svdd.set_calibration(calibration);
    patch_svdd.save(path);
    const Detector detector = Detector::load(path);
    CHECK(detector.calibration() == calibration);
    const Detection detection = detector.score(image);
    CHECK(detection.raw_score == expected.score);
    CHECK(detection.anomalous == (threshold == expected.score));
    CHECK((detection.score >= 0.5) == *detection.anomalous);
    CHECK(detection.score == calibration.normalised(expected.score));
  }

  Squid squid = cuttle_test::small_squid(cuttle_test::small_digit(48), {{0, 1, 1, 0.5}, true});
  squid.save(path);
  const AnomalyMap by_squid = squid.score(image);
  const Detector detector = Detector::load(path);
  CHECK(detector.method() == std::string("squid"));
  check_same(detector.score(image), {by_squid.score, by_squid.score, {}, by_squid.map, by_squid.reconstruction});

  CHECK_THROWS_WITH(Detector::load(folder / "none.safetensors"), contains("none.safetensors"));
}

TEST_CASE("Detector: views, batches and detections written over give the bits of one image alone") {
  const int before = num_threads();
  for (const auto& [name, detector] : cuttle_test::small_detectors()) {
    INFO(name);
    const std::vector<Image> images{frame(64, 64, 1), frame(70, 81, 2), frame(33, 40, 3), frame(64, 64, 4),
                                    frame(99, 64, 5)};
    std::vector<ImageView> views;
    std::vector<Detection> alone;
    for (const Image& image : images) {
      views.push_back(ImageView::of(image));
      alone.push_back(detector.score(image));
    }
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      const std::vector<Detection> batch = detector.score(views);
      REQUIRE(batch.size() == images.size());
      for (std::size_t i = 0; i < images.size(); ++i) check_same(batch[i], alone[i]);
    }
    CHECK(detector.score(std::span<const ImageView>()).empty());

    Detection detection;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const Detection kept = detection;  // shares the tensors, which are not to be written to
      const Tensor<float> map = kept.map.defined() ? kept.map.clone() : Tensor<float>();
      detector.score(views[i], detection);
      check_same(detection, alone[i]);
      if (map.defined()) CHECK(same_bits(kept.map, map));
    }

    // One wrong view of a batch, and nothing is scored.
    views[3].row_stride = 5;
    CHECK_THROWS_WITH(detector.score(views), contains("Detector::score: the view's rows are 5 bytes apart"));
    CHECK_THROWS_WITH(detector.score(views[3], detection), contains("5 bytes apart"));
    CHECK(!detection.map.defined());
    CHECK_THROWS_WITH(detector.score(Image::zeros({4, 4, 2})), contains("Detector::score: image needs shape"));
  }
  set_num_threads(before);
}

TEST_CASE("Detector: evaluate takes it, and thresholds are on the raw scores") {
  PatchSvdd model = cuttle_test::small_patch_svdd();
  LabelledImages set{Image::empty({4, 64, 64, 3}), {}, {}, {}};
  for (std::int64_t i = 0; i < 4; ++i) {
    set.images.slice(i, i + 1).reshape({64, 64, 3}).copy_from(frame(64, 64, static_cast<std::uint64_t>(i)));
    set.labels.push_back(i < 2 ? Label::normal : Label::anomalous);
  }
  const auto no_progress = [](std::int64_t, std::int64_t) {};
  const Evaluation plain = evaluate(model, set, no_progress);
  model.set_calibration(Calibration{plain.scores[2], 2});
  const Evaluation evaluation = evaluate(Detector(model), set, no_progress);
  CHECK(evaluation.scores == plain.scores);
  CHECK(evaluation.calibration == model.calibration());
  CHECK(evaluation.at_own_threshold->threshold == plain.scores[2]);
  for (std::size_t i = 0; i < 4; ++i) CHECK(same_bits(evaluation.maps[i], plain.maps[i]));
}

TEST_CASE("filling a bank, remembering, fitting: a callback that throws leaves the model as it was") {
  struct Enough {};
  const auto enough = [](std::int64_t done, std::int64_t) {
    if (done == 2) throw Enough();
  };
  const Image image = frame(64, 64, 9);
  PatchSvdd patch_svdd = cuttle_test::small_patch_svdd();
  const AnomalyMap before = patch_svdd.score(image);
  const auto pictures = cuttle_test::integer_tensor<std::uint8_t>({3, 64, 64, 3}, 4, 0, 255);
  CHECK_THROWS_AS(patch_svdd.fit_bank(pictures, PatchSvdd::all_rows, 1, enough), Enough);
  CHECK(same_bits(patch_svdd.score(image).map, before.map));
  patch_svdd.fit_bank(pictures, PatchSvdd::all_rows, 1);
  CHECK(!same_bits(patch_svdd.score(image).map, before.map));

  Squid squid = cuttle_test::small_squid(cuttle_test::small_digit(48), {{0, 1, 1, 0.5}, true});
  const AnomalyMap by_squid = squid.score(image);
  const auto gray = cuttle_test::gray_pictures(3, 48, 11);
  CHECK_THROWS_AS(squid.remember(gray, 1000, 0, enough), Enough);
  CHECK_THROWS_AS(squid.fit(gray, {.shift = 0, .least_scale = 1, .most_scale = 1}, 0, enough), Enough);
  CHECK(squid.score(image).score == by_squid.score);
  CHECK(same_bits(squid.score(image).map, by_squid.map));
  squid.remember(gray);
  CHECK(squid.score(image).score != by_squid.score);
}
