// A detector from anybody's embeddings, as PatchCore makes one: features of normal patches, the few rows that cover
// them, and the distance of a new image's patches to those. The features are as simple as can be: the mean color of
// each 16 x 16 patch and how much its pixels differ from their neighbours. Put your network's in their place.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "cuttle/data/woven.hpp"
#include "cuttle/eval/metrics.hpp"
#include "cuttle/models/memory_bank.hpp"

using namespace cuttle;

// images (N,256,256,3) -> (N,16,16,D) with D = 9: of each color the mean, and the mean steps across and down.
Tensor<float> embed(const Tensor<std::uint8_t>& images) {
  const std::int64_t N = images.size(0), size = images.size(1), patch_size = 16, grid = size / patch_size, D = 9;
  auto embeddings = Tensor<float>::zeros({N, grid, grid, D});
  for (std::int64_t i = 0; i < images.numel(); ++i) {
    const std::int64_t c = i % 3, x = i / 3 % size, y = i / 3 / size % size, n = i / 3 / size / size;
    float* const f = embeddings.data() + ((n * grid + y / patch_size) * grid + x / patch_size) * D;
    const auto at = [&](std::int64_t j) {
      return static_cast<float>(images.data()[j]) / (255 * patch_size * patch_size);
    };
    f[c] += at(i);
    if (x + 1 < size) f[3 + c] += std::abs(at(i + 3) - at(i));
    if (y + 1 < size) f[6 + c] += std::abs(at(i + 3 * size) - at(i));
  }
  return embeddings;
}

int main() {
  const WovenCounts counts;
  const Tensor<float> normal = embed(woven_set(counts, Split::train, /*seed=*/1).images);
  const std::int64_t N = normal.numel() / normal.size(3);
  const MemoryBank bank = MemoryBank::coreset(normal.reshape({N, normal.size(3)}), N / 10, /*seed=*/1);

  const ImageSet test = woven_set(counts, Split::test, /*seed=*/1);
  const Tensor<float> embeddings = embed(test.images);
  std::vector<double> scores;
  std::vector<std::uint8_t> labels;
  for (std::int64_t i = 0; i < embeddings.size(0); ++i) {
    scores.push_back(bank.score(embeddings.slice(i, i + 1), /*neighbours=*/9));
    labels.push_back(test.samples[static_cast<std::size_t>(i)].label == Label::anomalous);
  }
  std::printf("%lld of %lld rows kept, image AUROC %.3f\n", static_cast<long long>(bank.size()),
              static_cast<long long>(N), auroc(scores, labels));
}
