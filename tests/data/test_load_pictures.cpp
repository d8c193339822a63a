// Training sets as pictures of one size.
#include "cuttle/data/load_pictures.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensor.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace cuttle;

TEST_CASE("normal_pictures: those that load_pictures makes of the same images in files") {
  LabelledImages set{cuttle_test::integer_tensor<std::uint8_t>({4, 33, 50, 1}, 1, 0, 255),
                     {Label::normal, Label::anomalous, Label::unknown, Label::normal},
                     {},
                     {}};
  const cuttle_test::TemporaryFolder folder;
  for (const std::int64_t i : {0, 3}) write_png(folder / concat(i, ".png"), set.image(i));
  const auto files = list_images(folder.path(), Split::train);
  for (const WorkingSize& size : {WorkingSize{20, {}}, WorkingSize{20, 4}}) {
    const auto pictures = normal_pictures(set, size);
    CHECK(pictures.shape() == Shape{size.tile_overlap ? 2 * 2 * 3 : 2, 20, 20, 3});
    CHECK(cuttle_test::same_bits(pictures, load_pictures(files, size, {})));
  }
  set.labels[0] = set.labels[3] = Label::anomalous;
  CHECK_THROWS_WITH(normal_pictures(set, {20, {}}), "normal_pictures: none of 4 images is labelled normal");
}
