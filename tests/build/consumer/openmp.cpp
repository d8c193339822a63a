// A user's program with OpenMP: Eigen included first and split over threads by it. The library's results are the same
// bits at any number of its threads, and the user's own Eigen and OpenMP stay as they were.
#include <Eigen/Dense>
//
#include <cuttle/cuttle.hpp>
//
#include <omp.h>

#include <cstdio>
#include <cstring>

#include "promised_bits.hpp"

namespace {

bool equal_bits(const cuttle::Tensor<float>& a, const cuttle::Tensor<float>& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.numel()) * sizeof(float)) == 0;
}

cuttle::Tensor<float> normals(const cuttle::Shape& shape, std::uint64_t stream) {
  auto tensor = cuttle::Tensor<float>::empty(shape);
  cuttle::cpu::fill_normal(tensor.span(), 7, stream);
  return tensor;
}

int complain(const char* text) {
  std::puts(text);
  return 1;
}

}  // namespace

int main() {
  omp_set_num_threads(3);
  const Eigen::MatrixXf a = Eigen::MatrixXf::Random(300, 300), before = a * a;

  // Inside a tile OpenMP has one thread, on each of ours; outside it is the user's.
  for (int threads : {1, 3}) {
    cuttle::set_num_threads(threads);
    std::atomic<int> most{0};
    cuttle::parallel_for(16, [&](std::int64_t) { most = std::max(most.load(), omp_get_max_threads()); });
    if (most != 1) return complain("OpenMP is not held to one thread inside a tile");
  }

  const auto x = normals({4, 33, 31, 17}, 1), weight = normals({65, 3, 3, 17}, 2), bias = normals({65}, 3);
  const auto dy = normals({4, 33, 31, 65}, 4);
  // Direct kernels, and Eigen's products as the portable fallback uses them.
  for (cuttle::cpu::Isa isa : {cuttle::cpu::isa(), cuttle::cpu::Isa::baseline}) {
    cuttle::cpu::set_isa(isa);
    const auto step = [&](int threads) {
      cuttle::set_num_threads(threads);
      const cuttle::Conv2dOptions options{.padding = 1};
      const auto y = cuttle::conv2d(x, weight, bias, options);
      const auto dweight = cuttle::Tensor<float>::zeros(weight.shape()), dbias = cuttle::Tensor<float>::zeros({65});
      const auto dx = cuttle::conv2d_backward(x, weight, y, dy, options, true, dweight, dbias);
      return std::array{y, dx, dweight, dbias};
    };
    const auto one = step(1), three = step(3);
    for (std::size_t i = 0; i < one.size(); ++i)
      if (!equal_bits(one[i], three[i])) return complain("conv2d depends on the number of threads");
  }
  if (omp_get_max_threads() != 3 || Eigen::nbThreads() != 3) return complain("the user's OpenMP threads were changed");
  if (before != Eigen::MatrixXf(a * a)) return complain("the user's Eigen was changed");
  std::printf("%016llx\n", static_cast<unsigned long long>(promised_bits()));
}
