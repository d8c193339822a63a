#include "cuttle/data/labelled_images.hpp"
#include "tests/fuzz/target.hpp"

CUTTLE_FUZZ_TARGET(labelled_images, cuttle_test::mend_safetensors) {
  const cuttle::LabelledImages set = cuttle::read_labelled_images(cuttle::SafetensorsFile(input, "file"));
  set.check("fuzz_labelled_images");
  cuttle_test::fuzz_check(set.images.numel() + set.masks.numel() <= std::ssize(input), "more pixels than the file has");
  set.image(set.images.size(0) - 1);
}
