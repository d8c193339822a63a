#include "cuttle/eval/metrics.hpp"

#include <array>
#include <limits>
#include <random>
#include <set>
#include <string>

#include "cuttle/core/random.hpp"
#include "cuttle/io/safetensors.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/shared.hpp"

using namespace cuttle;
using cuttle_test::Approx;
using Labels = std::vector<std::uint8_t>;
using Maps = std::vector<Tensor<float>>;
using Masks = std::vector<Tensor<std::uint8_t>>;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

struct Samples {
  std::vector<double> scores;
  Labels labels;
};

// Scores on a grid of `levels` values, so that ties abound.
Samples random_samples(std::size_t count, int levels, unsigned seed) {
  std::mt19937 random(seed);
  Samples samples;
  for (std::size_t i = 0; i < count; ++i) {
    samples.labels.push_back(i < 2 ? static_cast<std::uint8_t>(i) : random() % 3 == 0);
    samples.scores.push_back(static_cast<int>(random() % static_cast<unsigned>(levels)) + 0.5 * samples.labels.back());
  }
  return samples;
}

// P(anomalous > normal) + P(equal) / 2, pair by pair.
double auroc_by_pairs(const Samples& samples) {
  double won = 0, pairs = 0;
  for (std::size_t i = 0; i < samples.scores.size(); ++i) {
    for (std::size_t j = 0; j < samples.scores.size(); ++j) {
      if (!samples.labels[i] || samples.labels[j]) continue;
      pairs += 1;
      won += samples.scores[i] > samples.scores[j] ? 1 : samples.scores[i] == samples.scores[j] ? 0.5 : 0;
    }
  }
  return won / pairs;
}

struct Scene {
  Maps maps;
  Masks masks;

  Samples pixels() const {
    Samples samples;
    for (std::size_t i = 0; i < maps.size(); ++i) {
      for (std::int64_t p = 0; p < maps[i].numel(); ++p) {
        samples.scores.push_back(static_cast<double>(maps[i].data()[p]));
        samples.labels.push_back(masks[i].defined() ? masks[i].data()[p] : 0);
      }
    }
    return samples;
  }
};

Scene random_scene(int levels, double density, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform;
  Scene scene;
  for (const Shape& shape : {Shape{9, 7}, Shape{1, 33}, Shape{12, 1}, Shape{8, 8}}) {
    auto map = Tensor<float>::empty(shape);
    auto mask = Tensor<std::uint8_t>::zeros(shape);
    for (std::int64_t p = 0; p < map.numel(); ++p) {
      mask.data()[p] = uniform(random) < density ? static_cast<std::uint8_t>(1 + random() % 255) : 0;
      map.data()[p] = static_cast<float>(random() % static_cast<unsigned>(levels)) +
                      (mask.data()[p] ? 0.25f * static_cast<float>(levels) : 0);
    }
    scene.maps.push_back(map);
    scene.masks.push_back(mask);
  }
  scene.maps.push_back(scene.maps[0].clone());
  scene.masks.push_back({});
  return scene;
}

// Components by spreading the smallest pixel number until nothing changes.
std::vector<std::vector<std::int64_t>> components_by_spreading(const Tensor<std::uint8_t>& mask) {
  const std::int64_t height = mask.size(0), width = mask.size(1);
  std::vector<std::int64_t> root(static_cast<std::size_t>(mask.numel()));
  std::iota(root.begin(), root.end(), 0);
  for (bool changed = true; changed;) {
    changed = false;
    for (std::int64_t p = 0; p < mask.numel(); ++p) {
      for (std::int64_t q = 0; q < mask.numel(); ++q) {
        const bool touch = std::abs(p / width - q / width) <= 1 && std::abs(p % width - q % width) <= 1;
        auto &a = root[static_cast<std::size_t>(p)], &b = root[static_cast<std::size_t>(q)];
        if (!touch || !mask.data()[p] || !mask.data()[q] || a == b) continue;
        a = b = std::min(a, b);
        changed = true;
      }
    }
  }
  std::vector<std::vector<std::int64_t>> components;
  for (std::int64_t seed = 0; seed < height * width; ++seed) {
    std::vector<std::int64_t> members;
    for (std::int64_t p = 0; p < mask.numel(); ++p)
      if (mask.data()[p] && root[static_cast<std::size_t>(p)] == seed) members.push_back(p);
    if (!members.empty()) components.push_back(members);
  }
  return components;
}

// The definition: PRO and FPR recounted at every threshold, then trapezoids up to the limit.
double aupro_by_thresholds(const Scene& scene, double max_fpr) {
  std::set<float, std::greater<>> thresholds;
  for (const auto& map : scene.maps) thresholds.insert(map.data(), map.data() + map.numel());
  double area = 0, last_fpr = 0, last_pro = 0;
  for (const float threshold : thresholds) {
    double flagged = 0, normal = 0, overlap = 0, regions = 0;
    for (std::size_t i = 0; i < scene.maps.size(); ++i) {
      const auto& map = scene.maps[i];
      const auto& mask = scene.masks[i];
      for (std::int64_t p = 0; p < map.numel(); ++p) {
        if (mask.defined() && mask.data()[p]) continue;
        normal += 1;
        flagged += map.data()[p] >= threshold;
      }
      if (!mask.defined()) continue;
      for (const auto& component : components_by_spreading(mask)) {
        double hit = 0;
        for (const std::int64_t p : component) hit += map.data()[p] >= threshold;
        overlap += hit / static_cast<double>(component.size());
        regions += 1;
      }
    }
    const double fpr = flagged / normal, pro = overlap / regions;
    if (fpr >= max_fpr) {
      const double at_limit = last_pro + (pro - last_pro) * (max_fpr - last_fpr) / (fpr - last_fpr);
      return (area + (max_fpr - last_fpr) * (last_pro + at_limit) / 2) / max_fpr;
    }
    area += (fpr - last_fpr) * (last_pro + pro) / 2;
    last_fpr = fpr;
    last_pro = pro;
  }
  return area / max_fpr;
}

Scene small_scene(std::initializer_list<float> map, std::initializer_list<std::uint8_t> mask) {
  const auto width = static_cast<std::int64_t>(map.size());
  return {{Tensor<float>::from({1, width}, map)}, {Tensor<std::uint8_t>::from({1, width}, mask)}};
}

}  // namespace

TEST_CASE("metrics of cases done by hand", "[eval]") {
  const Labels labels{0, 0, 1, 1};
  SECTION("perfect") {
    const std::vector<double> scores{1, 2, 3, 4};
    CHECK(auroc(scores, labels) == 1);
    CHECK(average_precision(scores, labels) == 1);
    CHECK(f1_max(scores, labels).counts.f1() == 1);
    CHECK(f1_max(scores, labels).threshold == 3);
  }
  SECTION("one pair of four swapped") {
    const std::vector<double> scores{0.1, 0.4, 0.35, 0.8};
    CHECK(auroc(scores, labels) == 0.75);
    CHECK(average_precision(scores, labels) == Approx(0.5 * 1 + 0.5 * 2 / 3).epsilon(1e-15));
    const auto best = f1_max(scores, labels);  // {0.8}: 2/3; {0.8, 0.4}: 1/2; {0.8, 0.4, 0.35}: 4/5; all: 2/3
    CHECK(best.counts.f1() == 0.8);
    CHECK(best.threshold == 0.35);
    CHECK(best.counts == confusion(scores, labels, 0.35));
  }
  SECTION("reversed") { CHECK(auroc(std::vector<float>{4, 3, 2, 1}, labels) == 0); }
  SECTION("all equal") {
    const std::vector<float> scores(4, 7.0f);
    CHECK(auroc(scores, labels) == 0.5);
    CHECK(average_precision(scores, labels) == 0.5);
    CHECK(f1_max(scores, labels).threshold == 7);
    CHECK(f1_max(scores, labels).counts.f1() == Approx(2.0 / 3));
  }
  SECTION("a tie across the classes counts half") {
    CHECK(auroc(std::array{1.0, 2.0, 2.0, 3.0}, labels) == 0.875);
    CHECK(average_precision(std::array{1.0, 2.0, 2.0, 3.0}, labels) == Approx(0.5 + 0.5 * 2 / 3).epsilon(1e-15));
  }
  SECTION("infinite scores and any label but 0") {
    CHECK(auroc(std::array{-inf, -inf, inf, 0.0}, Labels{0, 0, 255, 2}) == 1);
    CHECK(f1_max(std::array{-inf, 1.0, inf, inf}, Labels{0, 0, 255, 2}).threshold == inf);
  }
}

TEST_CASE("f1_max takes the highest of equally good thresholds", "[eval]") {
  const std::array scores{3.0, 2.0, 1.0};
  const auto best = f1_max(scores, Labels{1, 0, 1});  // 2/3, 1/2, 4/5
  CHECK(best.threshold == 1);
  const auto tied = f1_max(std::array{4.0, 3.0, 2.0, 1.0}, Labels{1, 0, 0, 1});  // 2/3, 1/2, 2/5, 2/3
  CHECK(tied.threshold == 4);
  CHECK(tied.counts == Confusion{1, 0, 2, 1});
}

TEST_CASE("most_accurate_point of cases done by hand", "[eval]") {
  SECTION("equal scores are called together") {
    const auto best = most_accurate_point(std::array{3.0, 3.0, 3.0, 1.0, 1.0}, Labels{1, 1, 0, 0, 0});  // 3, 4, 2 of 5
    CHECK(best.threshold == 3);
    CHECK(best.counts == Confusion{2, 1, 2, 0});
    CHECK(best.counts.accuracy() == 0.8);
    CHECK(best.counts.specificity() == Approx(2.0 / 3).epsilon(1e-15));
  }
  SECTION("of equally good thresholds the highest") {
    const auto best = most_accurate_point(std::array{4.0, 3.0, 2.0, 1.0}, Labels{1, 0, 1, 0});  // 2, 3, 2, 3, 2 of 4
    CHECK(best.threshold == 4);
    CHECK(best.counts == Confusion{1, 0, 2, 1});
  }
  SECTION("calling nothing anomalous may be the best there is") {
    for (const auto& scores :
         {std::vector{2.0, 2.0, 1.0}, std::vector{1.0, 2.0, 3.0}}) {  // 2, 2, 1 and 2, 1, 0, 1 of 3
      const auto best = most_accurate_point(scores, Labels{1, 0, 0});
      CHECK(best.threshold == inf);
      CHECK(best.counts == Confusion{0, 0, 2, 1});
      CHECK(best.counts.f1() == 0);
      CHECK(best.counts.specificity() == 1);
    }
  }
  CHECK_THROWS_WITH(most_accurate_point(std::array{1.0}, Labels{1}),
                    "most_accurate_point: needs both classes, but of 1 samples none is normal");
  CHECK(std::isnan(Confusion{1, 0, 0, 1}.specificity()));
}

TEST_CASE("most_accurate_point is what a search of scikit-learn's thinned ROC curve finds", "[eval]") {
  // roc_curve(drop_intermediate=True): of the points at distinct scores those stay where the second difference of
  // either count is not zero, and both ends; then the point that calls nothing anomalous comes first.
  std::int64_t dropped = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    const Samples samples = random_samples(3 + seed, seed % 2 ? 6 : 1000, seed);
    const auto all = operating_points(samples.scores, samples.labels);
    std::vector<OperatingPoint> thinned{all.front()};
    for (std::size_t i = 1; i < all.size(); ++i) {
      const auto bent = [&](auto count) {
        return count(all[i + 1]) - count(all[i]) != count(all[i]) - count(all[i - 1]);
      };
      if (i == 1 || i + 1 == all.size() || bent([](const auto& p) { return p.counts.true_positives; }) ||
          bent([](const auto& p) { return p.counts.false_positives; }))
        thinned.push_back(all[i]);
    }
    dropped += std::ssize(all) - std::ssize(thinned);
    OperatingPoint best = thinned.front();
    for (const OperatingPoint& point : thinned)
      if (point.counts.accuracy() > best.counts.accuracy()) best = point;
    const OperatingPoint found = most_accurate_point(samples.scores, samples.labels);
    CAPTURE(seed);
    CHECK(found.threshold == best.threshold);
    CHECK(found.counts == best.counts);
  }
  CHECK(dropped > 100);
}

TEST_CASE("SQUID's reported figures of its authors' scores", "[eval]") {
  CUTTLE_NEED_SHARED_FOLDER();
  const SafetensorsFile file(cuttle_test::shared_folder() / "fixtures" / "squid" / "squid_ops.safetensors");
  const auto scores = file.tensor<float>("score.A");
  const auto classes = file.tensor<std::int64_t>("score.labels");
  const Labels labels(classes.span().begin(), classes.span().end());
  const auto figure = [&](const std::string& name) {
    return static_cast<double>(file.tensor<float>("score." + name).item());
  };
  const OperatingPoint point = most_accurate_point(scores.span(), labels);
  CHECK(point.threshold == figure("threshold"));
  CHECK(100 * auroc(scores.span(), labels) == Approx(figure("auc")).epsilon(3e-6));
  CHECK(100 * point.counts.accuracy() == Approx(figure("acc")).epsilon(3e-6));
  CHECK(100 * point.counts.f1() == Approx(figure("f1")).epsilon(3e-6));
  CHECK(100 * point.counts.recall() == Approx(figure("recall")).epsilon(3e-6));
  CHECK(100 * point.counts.precision() == Approx(figure("precision")).epsilon(3e-6));
  CHECK(100 * point.counts.specificity() == Approx(figure("specificity")).epsilon(3e-6));
}

TEST_CASE("metrics agree with scikit-learn 1.2", "[eval]") {
  // rng = np.random.RandomState(7)
  // labels = (rng.rand(40) < 0.4).astype(int)
  // scores = np.round(rng.randn(40) + labels, 1)
  // roc_auc_score(labels, scores), average_precision_score(labels, scores)
  // p, r, t = precision_recall_curve(labels, scores); f = 2 * p * r / (p + r + 1e-300)
  // f.max(), t[f.argmax()]; p[-6], r[-6], t[-5]
  // fpr, tpr, t = roc_curve(labels, scores, drop_intermediate=False); fpr[5], tpr[5], t[5], len(t)
  const std::vector<double> scores{-1.1, -0.7, -1.2, 1.5,  1.8,  -0.3, 0.8,  0.8,  1.6,  -0.8, -1.7, -1.8, 1.4,  3.2,
                                   1.3,  -0.5, 2.9,  0.2,  0.1,  1.3,  -0.1, -0.3, -0.4, 0.5,  -0.1, 2.2,  -0.4, -1.9,
                                   -0.1, 1.7,  0.6,  -0.9, -0.2, -1.1, 0.7,  -1.2, 1.5,  0.7,  0.1,  2.4};
  const Labels labels{1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 1,
                      0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1};
  CHECK(auroc(scores, labels) == Approx(0.788).epsilon(1e-15));
  CHECK(average_precision(scores, labels) == Approx(0.7201792395118967).epsilon(1e-14));
  const auto best = f1_max(scores, labels);
  CHECK(best.counts.f1() == Approx(0.75).epsilon(1e-15));
  CHECK(best.threshold == 0.6);
  const auto points = operating_points(scores, labels);
  REQUIRE(points.size() == 30);
  CHECK(points[5].threshold == 1.8);
  CHECK(points[5].counts.false_positive_rate() == Approx(0.04).epsilon(1e-15));
  CHECK(points[5].counts.recall() == Approx(0.26666666666666666).epsilon(1e-15));
  CHECK(points[5].counts.precision() == Approx(0.8).epsilon(1e-15));
}

TEST_CASE("operating points run from nothing to everything, each as confusion() counts it", "[eval]") {
  const Samples samples = random_samples(129, 11, 1);
  const auto points = operating_points(samples.scores, samples.labels);
  CHECK(points.front().threshold == inf);
  CHECK(points.front().counts.recall() == 0);
  CHECK(points.front().counts.false_positive_rate() == 0);
  CHECK(points.front().counts.precision() == 1);
  CHECK(points.back().counts.recall() == 1);
  CHECK(points.back().counts.false_positive_rate() == 1);
  for (std::size_t i = 0; i < points.size(); ++i) {
    CHECK(points[i].counts == confusion(samples.scores, samples.labels, points[i].threshold));
    if (i > 0) CHECK(points[i].threshold < points[i - 1].threshold);
  }
  CHECK(confusion(std::array{1.0, 2.0}, Labels{1, 1}, 2) == Confusion{1, 0, 0, 1});  // score >= threshold
}

TEST_CASE("auroc is the share of pairs won, whatever the order and any increasing map of the scores", "[eval]") {
  for (const std::size_t count : {2u, 3u, 33u, 129u, 515u}) {
    for (const int levels : {1, 2, 10, 100'000}) {
      Samples samples = random_samples(count, levels, static_cast<unsigned>(count) + 7);
      CAPTURE(count, levels);
      const double area = auroc(samples.scores, samples.labels);
      const double precision = average_precision(samples.scores, samples.labels);
      const double f1 = f1_max(samples.scores, samples.labels).counts.f1();
      CHECK(area == Approx(auroc_by_pairs(samples)).epsilon(1e-14));
      for (double& score : samples.scores) score = std::exp(score / 20'000) - 3;
      CHECK(auroc(samples.scores, samples.labels) == area);
      std::vector<std::size_t> order(count);
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::shuffle(order.begin(), order.end(), std::mt19937(5));
      Samples shuffled;
      for (const std::size_t i : order) {
        shuffled.scores.push_back(samples.scores[i]);
        shuffled.labels.push_back(samples.labels[i]);
      }
      CHECK(auroc(shuffled.scores, shuffled.labels) == area);
      CHECK(average_precision(shuffled.scores, shuffled.labels) == precision);
      CHECK(f1_max(shuffled.scores, shuffled.labels).counts.f1() == f1);
      // Turned round, every pair won is lost.
      for (double& score : samples.scores) score = -score;
      CHECK(auroc(samples.scores, samples.labels) == Approx(1 - area).margin(1e-15));
    }
  }
}

TEST_CASE("metrics refuse what they cannot judge", "[eval]") {
  const std::array two{1.0, 2.0};
  CHECK_THROWS_WITH(auroc(std::vector<double>{}, Labels{}),
                    "auroc: needs both classes, but of 0 samples none is anomalous");
  CHECK_THROWS_WITH(auroc(std::array{1.0}, Labels{1}), "auroc: needs both classes, but of 1 samples none is normal");
  CHECK_THROWS_WITH(average_precision(two, Labels{0, 0}),
                    "average_precision: needs both classes, but of 2 samples none is anomalous");
  CHECK_THROWS_WITH(f1_max(two, Labels{1, 1}), "f1_max: needs both classes, but of 2 samples none is normal");
  CHECK_THROWS_WITH(operating_points(two, Labels{1, 1, 0}), "operating_points: 2 scores, but 3 labels");
  CHECK_THROWS_WITH(auroc(std::array{1.0f, std::nanf("")}, Labels{0, 1}), "auroc: score 1 is NaN");
  CHECK_THROWS_WITH(confusion(std::array{std::nan(""), 1.0}, Labels{0, 1}, 0), "confusion: score 0 is NaN");
  CHECK_THROWS_WITH(confusion(two, Labels{0, 1}, std::nan("")), "confusion: the threshold is NaN");
  CHECK(has_both_classes(Labels{0, 7}));
  CHECK_FALSE(has_both_classes(Labels{0, 0}));
  CHECK_FALSE(has_both_classes(Labels{1}));
  CHECK_FALSE(has_both_classes(Labels{}));
}

TEST_CASE("connected_components", "[eval]") {
  const auto mask = Tensor<std::uint8_t>::from({4, 5}, {1, 0, 0, 0, 9,  //
                                                        0, 1, 0, 0, 9,  //
                                                        0, 0, 0, 0, 0,  //
                                                        3, 0, 3, 3, 0});
  const Components components = connected_components(mask);
  CHECK(components.sizes == std::vector<std::int64_t>{2, 2, 1, 2});
  const std::vector<std::int32_t> expected{1, 0, 0, 0, 2, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 4, 0};
  CHECK(std::ranges::equal(components.labels.span(), expected));
  CHECK(connected_components(Tensor<std::uint8_t>::zeros({3, 3})).sizes.empty());
  CHECK(connected_components(Tensor<std::uint8_t>::zeros({0, 3})).sizes.empty());
  CHECK(connected_components(Tensor<std::uint8_t>::full({33, 129}, 1)).sizes == std::vector<std::int64_t>{33 * 129});
  CHECK_THROWS_AS(connected_components(Tensor<std::uint8_t>::zeros({3})), Error);
  for (unsigned seed = 0; seed < 8; ++seed) {
    for (const auto& random : random_scene(2, 0.15 + 0.08 * seed, seed).masks) {
      if (!random.defined()) continue;
      const Components found = connected_components(random);
      const auto wanted = components_by_spreading(random);
      REQUIRE(found.sizes.size() == wanted.size());
      std::int64_t labelled = 0;
      for (std::size_t c = 0; c < wanted.size(); ++c) {
        CHECK(found.sizes[c] == std::ssize(wanted[c]));
        for (const std::int64_t p : wanted[c]) CHECK(found.labels.data()[p] == static_cast<std::int32_t>(c + 1));
        labelled += std::ssize(wanted[c]);
      }
      CHECK(std::ranges::count(found.labels.span(), 0) == random.numel() - labelled);
    }
  }
}

TEST_CASE("aupro of cases done by hand", "[eval]") {
  SECTION("one region found before any false alarm") {
    const Scene scene = small_scene({9, 8, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    CHECK(aupro(scene.maps, scene.masks) == 1);
    CHECK(pixel_auroc(scene.maps, scene.masks) == 1);
  }
  SECTION("all scores equal: the diagonal, whose area to 0.3 is 0.3^2 / 2") {
    const Scene scene = small_scene({4, 4, 4, 4, 4}, {1, 0, 0, 1, 0});
    CHECK(aupro(scene.maps, scene.masks) == Approx(0.15).epsilon(1e-15));
    CHECK(aupro(scene.maps, scene.masks, 1) == 0.5);
    CHECK(pixel_auroc(scene.maps, scene.masks) == 0.5);
  }
  SECTION("a small region weighs as much as a large one") {
    // Regions of 4 and 1 pixels; the large one leads all, the small one trails all ten normal pixels.
    const Scene scene =
        small_scene({9, 9, 9, 9, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0}, {1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    CHECK(aupro(scene.maps, scene.masks) == Approx(0.5).epsilon(1e-15));
    CHECK(pixel_auroc(scene.maps, scene.masks) == Approx(0.8).epsilon(1e-15));
  }
  SECTION("the limit cuts a step") {
    // FPR 0 -> 1/2 at the first threshold, with PRO 0 -> 1: at 0.3 PRO is 0.6, the area 0.3 * 0.6 / 2.
    const Scene scene = small_scene({5, 5, 1}, {1, 0, 0});
    CHECK(aupro(scene.maps, scene.masks) == Approx(0.3).epsilon(1e-15));
    CHECK(aupro(scene.maps, scene.masks, 0.5) == Approx(0.5).epsilon(1e-15));
    CHECK(aupro(scene.maps, scene.masks, 1) == Approx(0.75).epsilon(1e-15));
  }
}

TEST_CASE("pixel metrics inside regions are those of the pixels inside alone", "[eval]") {
  for (const unsigned seed : {1u, 2u, 3u, 4u}) {
    // Columns 0 to 4 of each map are inside, of one map all.
    const Scene scene = random_scene(5, 0.3, seed);
    Maps cut;
    Masks cut_masks, regions;
    for (std::size_t i = 0; i < scene.maps.size(); ++i) {
      const std::int64_t H = scene.maps[i].size(0), W = scene.maps[i].size(1);
      const std::int64_t width = i == 0 ? W : std::min<std::int64_t>(W, 5);
      regions.push_back(i == 0 ? Tensor<std::uint8_t>() : Tensor<std::uint8_t>::zeros({H, W}));
      cut.push_back(Tensor<float>::empty({H, width}));
      cut_masks.push_back(scene.masks[i].defined() ? Tensor<std::uint8_t>::empty({H, width}) : Tensor<std::uint8_t>());
      for (std::int64_t y = 0; y < H; ++y)
        for (std::int64_t x = 0; x < width; ++x) {
          if (i > 0) regions[i].data()[y * W + x] = 255;
          cut[i].data()[y * width + x] = scene.maps[i].data()[y * W + x];
          if (scene.masks[i].defined()) cut_masks[i].data()[y * width + x] = scene.masks[i].data()[y * W + x];
        }
    }
    INFO("seed " << seed);
    CHECK(pixel_auroc(scene.maps, scene.masks, regions) == pixel_auroc(cut, cut_masks));
    CHECK(aupro(scene.maps, scene.masks, 0.3, regions) == Approx(aupro(cut, cut_masks)).epsilon(1e-13));
    CHECK(pixel_auroc(scene.maps, scene.masks, regions) != pixel_auroc(scene.maps, scene.masks));
  }
  const Scene scene = small_scene({1, 2, 3}, {0, 1, 1});
  const auto region = [](std::vector<std::uint8_t> inside) {
    Tensor<std::uint8_t> tensor = Tensor<std::uint8_t>::zeros({1, std::ssize(inside)});
    std::ranges::copy(inside, tensor.data());
    return Masks{tensor};
  };
  CHECK(has_both_classes(scene.masks, region({1, 0, 1})));
  CHECK_FALSE(has_both_classes(scene.masks, region({0, 1, 1})));
  CHECK_FALSE(has_both_classes(scene.masks, region({1, 0, 0})));
  CHECK_FALSE(has_both_classes(Masks(1), region({1, 0, 0})));
  CHECK_THROWS_WITH(pixel_auroc(scene.maps, scene.masks, region({0, 1, 1})),
                    "pixel_auroc: needs both classes, but of 2 pixels none is normal");
  CHECK_THROWS_WITH(aupro(scene.maps, scene.masks, 0.3, region({1, 1})),
                    "aupro: map 0 has shape [1, 3], its region [1, 2]");
  CHECK_THROWS_WITH(aupro(scene.maps, scene.masks, 0.3, Masks(2)), "aupro: 1 maps, but 2 regions");
}

TEST_CASE("pixel metrics agree with scikit-learn 1.2 and scipy", "[eval]") {
  // rng = np.random.RandomState(3)
  // masks = (rng.rand(3, 6, 7) < 0.25).astype(np.uint8); masks[2] = 0
  // maps = rng.randint(0, 10, (3, 6, 7)) + 2 * masks
  // roc_auc_score(masks.ravel(), maps.ravel())
  // parts = []
  // for m, s in zip(masks, maps):
  //     regions, n = scipy.ndimage.label(m, np.ones((3, 3)))
  //     parts += [s[regions == k] for k in range(1, n + 1)]
  // normal = maps[masks == 0]; t = np.append(np.inf, np.unique(maps)[::-1])
  // pro = np.array([np.mean([(p >= x).mean() for p in parts]) for x in t])
  // fpr = np.array([(normal >= x).mean() for x in t])
  // for limit in (0.3, 0.05, 1.0):
  //     keep = fpr < limit
  //     auc(np.append(fpr[keep], limit), np.append(pro[keep], np.interp(limit, fpr, pro))) / limit
  const Maps maps{Tensor<float>::from({6, 7}, {0, 8, 4, 7, 8, 5, 8, 9, 5, 5, 3, 8, 9, 2, 9, 8, 11, 4, 5,  0, 8,
                                               7, 1, 4, 5, 2, 7, 8, 7, 9, 1, 5, 7, 5, 9, 9, 2, 6,  4, 10, 4, 9}),
                  Tensor<float>::from({6, 7}, {3, 8, 5, 6, 3, 8, 4, 2, 9, 9, 2, 4, 0, 7, 5, 0, 3, 3, 5, 5, 4,
                                               7, 2, 2, 8, 8, 3, 8, 7, 7, 0, 8, 9, 6, 7, 6, 7, 2, 5, 5, 6, 2}),
                  Tensor<float>::from({6, 7}, {5, 1, 7, 9, 6, 0, 1, 7, 0, 3, 7, 9, 3, 5, 6, 1, 5, 3, 6, 8, 5,
                                               6, 7, 0, 2, 1, 6, 2, 2, 5, 7, 1, 4, 7, 9, 3, 1, 2, 3, 1, 5, 4})};
  Masks masks{Tensor<std::uint8_t>::from({6, 7}, {0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
                                                  0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0}),
              Tensor<std::uint8_t>::from({6, 7}, {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                                  0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0}),
              Tensor<std::uint8_t>()};
  for (int zero_mask = 0; zero_mask < 2; ++zero_mask) {
    if (zero_mask) masks[2] = Tensor<std::uint8_t>::zeros({6, 7});
    CHECK(pixel_auroc(maps, masks) == Approx(0.7307692307692307).epsilon(1e-14));
    CHECK(aupro(maps, masks) == Approx(0.5087250712250712).epsilon(1e-13));
    CHECK(aupro(maps, masks, 0.05) == Approx(0.20395061728395059).epsilon(1e-13));
    CHECK(aupro(maps, masks, 1.0) == Approx(0.7811520655270655).epsilon(1e-13));
  }
}

TEST_CASE("pixel metrics are those of their definitions on random maps", "[eval]") {
  for (unsigned seed = 0; seed < 12; ++seed) {
    const int levels = seed % 3 == 0 ? 3 : seed % 3 == 1 ? 12 : 100'000;
    Scene scene = random_scene(levels, seed % 2 ? 0.1 : 0.45, seed);
    CAPTURE(seed, levels);
    REQUIRE(has_both_classes(scene.masks));
    const double area = pixel_auroc(scene.maps, scene.masks);
    CHECK(area == Approx(auroc_by_pairs(scene.pixels())).epsilon(1e-14));
    for (const double limit : {0.01, 0.3, 0.77, 1.0}) {
      CAPTURE(limit);
      CHECK(aupro(scene.maps, scene.masks, limit) == Approx(aupro_by_thresholds(scene, limit)).epsilon(1e-12));
    }
    const double pro = aupro(scene.maps, scene.masks);
    std::ranges::reverse(scene.maps);
    std::ranges::reverse(scene.masks);
    CHECK(pixel_auroc(scene.maps, scene.masks) == area);
    CHECK(aupro(scene.maps, scene.masks) == Approx(pro).epsilon(1e-13));
    for (auto& map : scene.maps)
      for (float& score : map.span()) score = 4 * score - 7;
    CHECK(pixel_auroc(scene.maps, scene.masks) == area);
    CHECK(aupro(scene.maps, scene.masks) == Approx(pro).epsilon(1e-13));
  }
}

TEST_CASE("pixel_auroc does not depend on the number of threads", "[eval]") {
  const Scene scene = random_scene(50, 0.3, 3);
  const int before = num_threads();
  set_num_threads(1);
  const double one = pixel_auroc(scene.maps, scene.masks);
  set_num_threads(3);
  CHECK(pixel_auroc(scene.maps, scene.masks) == one);
  set_num_threads(before);
}

TEST_CASE("pixel metrics refuse what they cannot judge", "[eval]") {
  Scene scene = small_scene({1, 2, 3}, {0, 1, 1});
  CHECK_THROWS_WITH(aupro(scene.maps, scene.masks, 0), "aupro: max_fpr must be in (0, 1], got 0");
  CHECK_THROWS_AS(aupro(scene.maps, scene.masks, std::nan("")), Error);
  CHECK_THROWS_AS(aupro(scene.maps, scene.masks, 1.5), Error);
  CHECK_THROWS_WITH(pixel_auroc(scene.maps, Masks{}), "pixel_auroc: 1 maps, but 0 masks");
  CHECK_THROWS_WITH(pixel_auroc(scene.maps, Masks{Tensor<std::uint8_t>::zeros({3, 1})}),
                    "pixel_auroc: map 0 has shape [1, 3], its mask [3, 1]");
  CHECK_THROWS_WITH(aupro(Maps{Tensor<float>::zeros({3})}, Masks(1)), "aupro: map 0 needs shape [H, W], got [3]");
  CHECK_THROWS_WITH(pixel_auroc(scene.maps, Masks(1)),
                    "pixel_auroc: needs both classes, but of 3 pixels none is anomalous");
  CHECK_THROWS_WITH(aupro(scene.maps, Masks{Tensor<std::uint8_t>::full({1, 3}, 1)}),
                    "aupro: needs both classes, but of 3 pixels none is normal");
  CHECK_THROWS_AS(aupro(Maps{}, Masks{}), Error);
  CHECK(has_both_classes(scene.masks));
  CHECK_FALSE(has_both_classes(Masks(2)));
  CHECK_FALSE(has_both_classes(Masks{Tensor<std::uint8_t>::full({1, 3}, 1)}));
  CHECK(has_both_classes(Masks{Tensor<std::uint8_t>::full({1, 3}, 1), Tensor<std::uint8_t>()}));
  scene.maps[0].data()[2] = std::nanf("");
  CHECK_THROWS_WITH(pixel_auroc(scene.maps, scene.masks), "pixel_auroc: map 0 pixel 2 is NaN");
  CHECK_THROWS_WITH(aupro(scene.maps, scene.masks), "aupro: map 0 pixel 2 is NaN");
}

TEST_CASE("auroc_interval: its ends solve the equation, at 0 and 1 too") {
  // For one sample of each class the variance is t (1 - t): Wilson's interval of one trial.
  const double z = 1.959964, wilson = z * z / (1 + z * z);
  CHECK(auroc_interval(1, 1, 1).first == Approx(1 - wilson).epsilon(1e-9));
  CHECK(auroc_interval(1, 1, 1).second == 1);
  CHECK(auroc_interval(0, 1, 1).second == Approx(wilson).epsilon(1e-9));
  for (const double area : {0.0, 0.31, 0.5, 0.93, 1.0})
    for (const auto& [m, n] : {std::pair{5, 9}, std::pair{40, 3}, std::pair{300, 500}}) {
      const auto [low, high] = auroc_interval(area, m, n);
      CHECK(low <= area);
      CHECK(high >= area);
      CHECK(high - low > 0);
      for (const double t : {low, high}) {
        if (t == 0 || t == 1) continue;
        // Hanley and McNeil (1982), with (m + n) / 2 in place of either number in the sum.
        const double q1 = t / (2 - t), q2 = 2 * t * t / (1 + t), N = (m + n) / 2.0;
        const double variance = (t * (1 - t) + (N - 1) * (q1 - t * t + q2 - t * t)) / (m * n);
        CHECK(std::abs(area - t) == Approx(z * std::sqrt(variance)).margin(1e-9));
      }
      const auto mirrored = auroc_interval(1 - area, m, n);
      CHECK(mirrored.first == Approx(1 - high).margin(1e-9));
    }
  CHECK_THROWS_AS(auroc_interval(1.1, 3, 3), Error);
  CHECK_THROWS_AS(auroc_interval(0.5, 0, 3), Error);
}

TEST_CASE("auroc_interval: covers the true area as often as it says") {
  // Unit normals, the anomalous ones shifted by d: the area is Phi(d / sqrt(2)).
  const double d = 1.5, truth = 0.5 * std::erfc(-d / 2);
  const int trials = 2000, m = 15, n = 25;
  int covered = 0;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<double> scores(m + n);
    std::vector<std::uint8_t> labels(m + n, 0);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      labels[i] = i < m;
      scores[i] = static_cast<double>(random_normal(7, static_cast<std::uint64_t>(trial), i)) + (labels[i] ? d : 0);
    }
    const auto [low, high] = auroc_interval(auroc(scores, labels), m, n);
    covered += low <= truth && truth <= high;
  }
  // 95 % of 2000 is 1900, give or take 10; the method is known to err by a percent or two, to the safe side.
  CHECK(covered > 1870);
  CHECK(covered < 1980);
}
