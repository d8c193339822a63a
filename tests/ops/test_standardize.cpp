#include "cuttle/ops/standardize.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random_tensor.hpp"

using namespace cuttle;
using cuttle_test::on_every_device;
using cuttle_test::same_bits;

TEMPLATE_TEST_CASE("standardize is (pixel - mean) / 255, to the bit", "", float, double) {
  using T = TestType;
  for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{3, 5, 7, 3}, Shape{2, 16, 33, 1}, Shape{5, 8, 8, 3},
                             Shape{0, 4, 4, 3}, Shape{2, 19, 29, 3}}) {
    INFO(shape);
    const auto images = cuttle_test::integer_tensor<std::uint8_t>(shape, 1, 0, 255);
    const auto mean = cuttle_test::uniform_tensor<float>({shape[1], shape[2], shape[3]}, 2, 0, 255);
    Tensor<T> expected = Tensor<T>::empty(shape);
    for (std::int64_t i = 0; i < expected.numel(); ++i)
      expected.data()[i] = (static_cast<T>(images.data()[i]) - static_cast<T>(mean.data()[i % mean.numel()])) / T(255);
    on_every_device(
        [&](Device device) { CHECK(same_bits(standardize<T>(images.to(device), mean.to(device)), expected)); });
  }
}

TEST_CASE("standardize: images and means from the middle of others") {
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({4, 3, 5, 1}, 1, 0, 255);
  const auto means = cuttle_test::uniform_tensor<float>({2, 3, 5, 1}, 2, 0, 255);
  const auto expected = standardize<float>(images.slice(1, 4).clone(), means.slice(1, 2).reshape({3, 5, 1}).clone());
  on_every_device([&](Device device) {
    const auto x = standardize<float>(images.to(device).slice(1, 4), means.to(device).slice(1, 2).reshape({3, 5, 1}));
    CHECK(same_bits(x, expected));
  });
}

TEST_CASE("mean_image: the mean of each pixel, rounded once") {
  const auto images = cuttle_test::integer_tensor<std::uint8_t>({7, 3, 5, 2}, 1, 0, 255);
  const auto mean = mean_image(images);
  REQUIRE(mean.shape() == Shape({3, 5, 2}));
  for (std::int64_t i = 0; i < 30; ++i) {
    std::int64_t sum = 0;
    for (std::int64_t n = 0; n < 7; ++n) sum += images.data()[n * 30 + i];
    CHECK(mean.data()[i] == static_cast<float>(static_cast<double>(sum) / 7));
  }
  CHECK_THROWS_AS(mean_image(Tensor<std::uint8_t>::zeros({0, 3, 5, 2})), Error);
  CHECK_THROWS_AS(standardize<float>(images, Tensor<float>::zeros({5, 3, 2})), Error);
}
