// Prints the losses of the first steps of both methods' training on small networks, and neighbours among rows with
// ties, which have to be equal on every machine.
#include <cstdio>
#include <initializer_list>

#include "cuttle/models/patch_svdd_training.hpp"
#include "cuttle/ops/nearest_patch.hpp"
#include "cuttle/ops/standardize.hpp"
#include "tests/models/small_squid.hpp"

namespace {

void print(const char* name, std::initializer_list<double> values) {
  std::printf("%s", name);
  for (double value : values) std::printf(" %.9g", value);
  std::printf("\n");
}

void train_squid() {
  cuttle::SquidRecipe recipe = cuttle::SquidRecipe::standard("digit", 3);
  recipe.batch = 3;
  cuttle::SquidTrainer<float> trainer(cuttle_test::gray_pictures(6, 24, 5), cuttle_test::small_digit(24), recipe, 9);
  for (int step = 0; step < 2; ++step) {
    const cuttle::SquidLosses l = trainer.step();
    print("squid", {l.reconstruction, l.adversarial, l.teacher, l.distance, l.generator, l.critic});
  }
}

void train_patch_svdd() {
  auto pictures = cuttle::Tensor<std::uint8_t>::empty({2, 72, 72, 3});
  for (std::int64_t i = 0; i < pictures.numel(); ++i)
    pictures.data()[i] = static_cast<std::uint8_t>(cuttle::random_below(256, 1, 2, static_cast<std::uint64_t>(i)));
  cuttle::PatchSvddRecipe recipe = cuttle::PatchSvddRecipe::published(2);
  recipe.batch = 1;
  cuttle::PatchSvddTrainer<float> trainer(pictures, cuttle::mean_image(pictures), recipe, 4);
  const cuttle::PatchSvddLosses l = trainer.step();
  print("patch_svdd", {l.position_large, l.position_small, l.svdd_large, l.svdd_small});
}

// Whole numbers 0..2 in three dimensions: every distance is exact, and each row is there many times.
void nearest_with_ties() {
  const auto digits = [](std::int64_t rows, std::uint64_t stream) {
    auto x = cuttle::Tensor<float>::empty({rows, 3});
    for (std::int64_t i = 0; i < x.numel(); ++i)
      x.data()[i] = static_cast<float>(cuttle::random_below(3, 6, stream, static_cast<std::uint64_t>(i)));
    return x;
  };
  const auto found = cuttle::nearest_patch(digits(33, 0), digits(515, 1), 3);
  for (std::int64_t i = 0; i < found.index.numel(); ++i)
    std::printf("nearest %lld %a\n", static_cast<long long>(found.index.data()[i]),
                static_cast<double>(found.distance.data()[i]));
}

}  // namespace

int main() {
  nearest_with_ties();
  train_squid();
  train_patch_svdd();
}
