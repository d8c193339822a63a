// nearest_patch with the tensor core at the limit of the error that kernels/vocab.cuh allows it: the same bits always.
#include <vector>

#include "cuttle/ops/nearest_patch.hpp"
#include "tests/simt/tensor_core.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/nearest_patch_banks.hpp"

using cuttle::Device;
using cuttle::NearestPatchIndex;
using cuttle::Neighbours;
using cuttle::Tensor;
using namespace cuttle_test;

namespace {

struct RestoreMmaError {
  cuttle_simt::MmaError before = cuttle_simt::mma_error_now;
  ~RestoreMmaError() { cuttle_simt::mma_error_now = before; }
};

template <class T>
std::string wrong(const Tensor<T>& queries, const Tensor<T>& rows, int k) {
  const Neighbours<T> found = NearestPatchIndex<T>(rows.to(Device::cuda(0))).search(queries.to(Device::cuda(0)), k);
  return difference({found.distance.to(Device::cpu()), found.index.to(Device::cpu())}, oracle(queries, rows, k));
}

// Rows that fp16 holds as they are, in pairs y and -y, so that nothing but the tensor core's own error is left.
Tensor<float> exact_in_fp16(std::int64_t rows, std::int64_t D, Random& random) {
  Tensor<float> tensor = Tensor<float>::empty({rows, D});
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < D; ++i)
      tensor.data()[r * D + i] =
          r % 2 ? -tensor.data()[(r - 1) * D + i]
                : (random() % 2 ? 1.0f : -1.0f) * (0.5f + 0x1p-11f * static_cast<float>(random() % 1024));
  return tensor;
}

}  // namespace

TEST_CASE("nearest_patch: the CPU's bits with the tensor core at the limit of its error", "[simt][nearest_patch]") {
  const RestoreMmaError restore;
  struct Error {
    double low, high;
  };
  for (const Error error : {Error{1, 1}, Error{-1, -1}, Error{-1, 1}}) {
    cuttle_simt::set_mma_error(error.low, error.high, 41);
    INFO("errors in [" << error.low << ", " << error.high << "] of what is allowed");
    Random random(41);
    for (const int k : {1, 9}) {
      CHECK(wrong(gaussian<float>(6, 64, random), gaussian<float>(515, 64, random), k) == "");
      CHECK(wrong(gaussian<double>(6, 100, random), gaussian<double>(300, 100, random), k) == "");
      CHECK(wrong(collapsed<float>(6, 33, random), collapsed<float>(515, 33, random), k) == "");
      CHECK(wrong(clustered<float>(6, 17, 5, random), clustered<float>(515, 17, 5, random), k) == "");
      CHECK(wrong(integers<float>(6, 12, 1, random), integers<float>(515, 12, 1, random), k) == "");
      CHECK(wrong(gaussian<float>(6, 40, random, 1e-3), exact_in_fp16(514, 40, random), k) == "");
    }
  }
}

TEST_CASE("nearest_patch: a tensor core worse than assumed would give wrong answers", "[simt][nearest_patch]") {
  const RestoreMmaError restore;
  cuttle_simt::set_mma_error(-10000, 10000, 42);
  Random random(42);
  CHECK(wrong(gaussian<float>(12, 64, random), gaussian<float>(2000, 64, random), 9) != "");
}
