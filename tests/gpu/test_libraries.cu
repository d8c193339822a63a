// The entries that a library computes on a real device, cuDNN's convolutions and cuBLAS's products, against their
// twins: our own convolution kernels and plain loops. Whole numbers leave nothing to rounding, so that both have to
// agree to the bit in every mode; normals show that fp32 is not TF32. Needs a device; the last line is "N passed, N
// failed, N skipped".
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <type_traits>
#include <vector>

#include "cuttle/seam/table.hpp"
#include "kernels/conv2d.cuh"

namespace {

namespace seam = cuttle::seam;
using namespace cuttle::kernels;

const seam::Table& table() { return *seam::cuda_table().load(); }

template <class T>
const seam::OpTable<T>& ops() {
  if constexpr (std::is_same_v<T, float>)
    return table().float_ops;
  else
    return table().double_ops;
}

std::mt19937 random_bits{7};

template <class T>
std::vector<T> numbers(std::int64_t n, bool whole) {
  std::vector<T> values(static_cast<std::size_t>(n));
  std::normal_distribution<T> normal;
  for (T& x : values) x = whole ? static_cast<T>(static_cast<int>(random_bits() % 7) - 3) : normal(random_bits);
  return values;
}

// A copy on the device.
template <class T>
class There {
 public:
  explicit There(const std::vector<T>& values, seam::Stream stream)
      : count_(values.size()), bytes_(std::max<std::size_t>(1, count_ * sizeof(T))), stream_(stream) {
    memory_ = static_cast<T*>(table().allocate(0, bytes_));
    if (count_) table().copy_to_device(0, memory_, values.data(), count_ * sizeof(T), stream_);
  }
  ~There() { table().release(0, memory_, bytes_); }
  There(const There&) = delete;
  There& operator=(const There&) = delete;

  T* get() const { return memory_; }
  std::vector<T> values() const {
    std::vector<T> values(count_);
    table().copy_to_host(0, values.data(), memory_, count_ * sizeof(T), stream_);
    return values;
  }

 private:
  std::size_t count_, bytes_;
  seam::Stream stream_;
  T* memory_;
};

int passed = 0, failed = 0;

// Equal where tolerance is 0; else within tolerance of the largest.
template <class T>
void compare(const std::string& what, const std::vector<T>& library, const std::vector<T>& twin, double tolerance) {
  double largest = 0;
  for (const T x : twin) largest = std::max(largest, std::fabs(static_cast<double>(x)));
  for (std::size_t i = 0; i < twin.size(); ++i)
    if (!(std::fabs(static_cast<double>(library[i]) - static_cast<double>(twin[i])) <= tolerance * largest)) {
      std::printf("FAILED: %s: element %zu is %.9g by the library, %.9g by its twin\n", what.c_str(), i,
                  static_cast<double>(library[i]), static_cast<double>(twin[i]));
      ++failed;
      return;
    }
  ++passed;
}

const char* name_of(seam::Math math) { return math == seam::Math::fp32 ? "fp32" : "tf32"; }

template <class T>
double tolerance(bool whole, seam::Math math, std::int64_t length) {
  if (whole) return 0;
  const double unit = std::is_same_v<T, double> ? 0x1p-53 : math == seam::Math::fp32 ? 0x1p-24 : 0x1p-11;
  return 8 * unit * std::sqrt(static_cast<double>(length));
}

template <class T>
void check_conv2d(seam::Conv2dShape s, bool whole, seam::Stream stream) {
  const auto extent = [&](std::int64_t size, std::int64_t taps) {
    return (size + 2 * s.padding - s.dilation * (taps - 1) - 1) / s.stride + 1;
  };
  s.OH = extent(s.H, s.R);
  s.OW = extent(s.W, s.S);
  const There<T> x(numbers<T>(s.B * s.H * s.W * s.C, whole), stream),
      weight(numbers<T>(s.O * s.R * s.S * s.C, whole), stream), bias(numbers<T>(s.O, whole), stream),
      dy(numbers<T>(s.B * s.OH * s.OW * s.O, whole), stream);
  // Outputs start from the same numbers: gradients of parameters are added to.
  const std::vector<T> y_before(static_cast<std::size_t>(s.B * s.OH * s.OW * s.O), T(9)),
      dx_before(static_cast<std::size_t>(s.B * s.H * s.W * s.C), T(9)),
      dweight_before(static_cast<std::size_t>(s.O * s.R * s.S * s.C), T(1)),
      dbias_before(static_cast<std::size_t>(s.O), T(2));
  struct Outputs {
    There<T> y, dx, dweight, dbias;
  };
  Outputs library{There<T>(y_before, stream), There<T>(dx_before, stream), There<T>(dweight_before, stream),
                  There<T>(dbias_before, stream)};
  Outputs twin{There<T>(y_before, stream), There<T>(dx_before, stream), There<T>(dweight_before, stream),
               There<T>(dbias_before, stream)};
  const std::size_t bytes =
      std::max({table().conv2d_workspace(0, s, sizeof(T), false), table().conv2d_workspace(0, s, sizeof(T), true),
                own_conv2d_workspace(s, sizeof(T), true)});
  const There<char> workspace(std::vector<char>(bytes), stream);
  const auto forward = [&](const Outputs& out) {
    return seam::Conv2dArgs<T>{s, x.get(), weight.get(), bias.get(), out.y.get(), workspace.get(), bytes};
  };
  const auto backward = [&](const Outputs& out) {  // both from one y
    return seam::Conv2dBackwardArgs<T>{s,
                                       x.get(),
                                       weight.get(),
                                       twin.y.get(),
                                       dy.get(),
                                       out.dx.get(),
                                       out.dweight.get(),
                                       out.dbias.get(),
                                       workspace.get(),
                                       bytes};
  };
  ops<T>().conv2d(0, forward(library), stream);
  launch_conv2d(forward(twin), stream);
  ops<T>().conv2d_backward(0, backward(library), stream);
  launch_conv2d_backward(backward(twin), stream);
  char what[160];
  std::snprintf(what, sizeof what,
                "conv2d %s %s %s %lldx%lldx%lldx%lld to %lld, %lldx%lld, stride %lld, padding %lld, dilation %lld",
                std::is_same_v<T, float> ? "float" : "double", name_of(s.math), whole ? "whole" : "normal",
                static_cast<long long>(s.B), static_cast<long long>(s.H), static_cast<long long>(s.W),
                static_cast<long long>(s.C), static_cast<long long>(s.O), static_cast<long long>(s.R),
                static_cast<long long>(s.S), static_cast<long long>(s.stride), static_cast<long long>(s.padding),
                static_cast<long long>(s.dilation));
  const std::string name = what;
  compare(name + ": y", library.y.values(), twin.y.values(), tolerance<T>(whole, s.math, s.R * s.S * s.C));
  compare(name + ": dx", library.dx.values(), twin.dx.values(), tolerance<T>(whole, s.math, s.R * s.S * s.O));
  compare(name + ": dweight", library.dweight.values(), twin.dweight.values(),
          tolerance<T>(whole, s.math, s.B * s.OH * s.OW));
  compare(name + ": dbias", library.dbias.values(), twin.dbias.values(),
          tolerance<T>(whole, s.math, s.B * s.OH * s.OW));
}

template <class T>
void check_matmul(std::int64_t batch, std::int64_t M, std::int64_t N, std::int64_t K, bool ta, bool tb, double alpha,
                  double beta, seam::Math math, bool whole, seam::Stream stream) {
  // Rows a little longer than they need to be.
  const std::int64_t row_a = (ta ? M : K) + 3, row_b = (tb ? K : N) + 1, row_c = N + 2;
  const std::int64_t stride_a = row_a * (ta ? K : M), stride_b = row_b * (tb ? N : K), stride_c = row_c * M;
  const std::vector<T> a = numbers<T>(batch * stride_a, whole), b = numbers<T>(batch * stride_b, whole);
  std::vector<T> c = numbers<T>(batch * stride_c, whole);
  const There<T> a_there(a, stream), b_there(b, stream), c_there(c, stream);
  ops<T>().matmul(0,
                  {batch, M, N, K, ta, tb, row_a, row_b, row_c, stride_a, stride_b, stride_c, alpha, beta, math,
                   a_there.get(), b_there.get(), c_there.get()},
                  stream);
  for (std::int64_t i = 0; i < batch; ++i)
    for (std::int64_t m = 0; m < M; ++m)
      for (std::int64_t n = 0; n < N; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < K; ++k)
          sum += static_cast<double>(a[static_cast<std::size_t>(i * stride_a + (ta ? k * row_a + m : m * row_a + k))]) *
                 static_cast<double>(b[static_cast<std::size_t>(i * stride_b + (tb ? n * row_b + k : k * row_b + n))]);
        T& to = c[static_cast<std::size_t>(i * stride_c + m * row_c + n)];
        to = static_cast<T>(alpha * sum + (beta == 0 ? 0 : beta * static_cast<double>(to)));
      }
  char what[120];
  std::snprintf(what, sizeof what, "matmul %s %s %s %lld x %lldx%lldx%lld%s%s",
                std::is_same_v<T, float> ? "float" : "double", name_of(math), whole ? "whole" : "normal",
                static_cast<long long>(batch), static_cast<long long>(M), static_cast<long long>(N),
                static_cast<long long>(K), ta ? " ta" : "", tb ? " tb" : "");
  compare(what, c_there.values(), c, tolerance<T>(whole, math, K));
}

template <class T>
void check_all(seam::Stream stream) {
  using seam::Activation;
  for (const seam::Math math : {seam::Math::fp32, seam::Math::tf32}) {
    if (std::is_same_v<T, double> && math != seam::Math::fp32) continue;
    for (const bool whole : {true, false}) {
      // B H W C, O R S, -, stride padding dilation, activation slope
      for (const seam::Conv2dShape& shape :
           {seam::Conv2dShape{5, 32, 32, 3, 32, 3, 3, 0, 0, 2, 0, 1, Activation::leaky_relu, 0.5, math},
            {4, 13, 13, 64, 128, 3, 3, 0, 0, 1, 0, 1, Activation::leaky_relu, 0.5, math},
            {3, 11, 11, 128, 128, 3, 3, 0, 0, 1, 0, 1, Activation::relu, 0, math},
            {2, 33, 17, 5, 7, 3, 3, 0, 0, 1, 1, 1, Activation::none, 0, math},
            {1, 57, 57, 64, 128, 2, 2, 0, 0, 4, 0, 8, Activation::leaky_relu, 0.5, math},
            {64, 1, 1, 128, 8, 1, 1, 0, 0, 1, 0, 1, Activation::none, 0, math},
            {2, 9, 9, 16, 24, 4, 4, 0, 0, 2, 1, 1, Activation::relu, 0, math}})
        check_conv2d<T>(shape, whole, stream);
      check_matmul<T>(1, 129, 65, 33, false, false, 1, 0, math, whole, stream);
      check_matmul<T>(3, 40, 515, 128, true, false, 2, 1, math, whole, stream);
      check_matmul<T>(2, 257, 31, 64, false, true, 1, 1, math, whole, stream);
      check_matmul<T>(4, 1, 200, 2048, true, true, 1, 0, math, whole, stream);
    }
  }
}

}  // namespace

int main() {
  try {
    if (!seam::cuda_table().load() || table().device_count() == 0) {
      std::printf("0 passed, 0 failed, 1 skipped\n");
      return 0;
    }
    const seam::Stream stream = table().make_stream(0);
    const std::uint64_t before = table().conv2d_fallbacks();
    check_all<float>(stream);
    check_all<double>(stream);
    std::printf("convolutions that cuDNN had no way to do: %llu\n",
                static_cast<unsigned long long>(table().conv2d_fallbacks() - before));
    table().drop_stream(0, stream);
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    ++failed;
  }
  std::printf("%d passed, %d failed, 0 skipped\n", passed, failed);
  return failed > 0;
}
