// What this card can do at most, and whether its tensor core adds as kernels/vocab.cuh assumes.
//
//   ceilings                 JSON: bytes a second of a copy (read and written counted) and of a fill, operations a
//                            second of cuBLAS products of 8192 x 8192 matrices in fp16 and TF32 (the inputs rounded,
//                            sums in fp32) and of fused multiply-adds in registers, seconds of an empty kernel launched
//                            by itself and as a node of a graph
//   ceilings --name          the device's name
//   ceilings --accumulation  JSON: the largest error of mma_f16 on sums made to be rounded badly, in units of
//                            K 2^-24 (|d| + sum |a_i b_i|); status 1 where one is above mma_error
// Where there is no device both say so and end with status 77.
#include <cublas_v2.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "kernels/vocab.cuh"

namespace {

using namespace cuttle::kernels;

void check_cublas(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS) throw cuttle::Error(std::string("cuBLAS: ") + cublasGetStatusString(status));
}

// Memory of the device while it lives.
template <class T>
class Memory {
 public:
  explicit Memory(std::size_t count) : bytes_(count * sizeof(T)) { check("cudaMalloc", cudaMalloc(&memory_, bytes_)); }
  explicit Memory(const std::vector<T>& values) : Memory(values.size()) {
    check("cudaMemcpy", cudaMemcpy(memory_, values.data(), bytes_, cudaMemcpyHostToDevice));
  }
  ~Memory() { cudaFree(memory_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  T* get() const { return memory_; }
  std::size_t bytes() const { return bytes_; }
  std::vector<T> values() const {
    std::vector<T> values(bytes_ / sizeof(T));
    check("cudaMemcpy", cudaMemcpy(values.data(), memory_, bytes_, cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  std::size_t bytes_;
  T* memory_ = nullptr;
};

// The median seconds of work queued on the stream, by events, after three runs to warm up.
double seconds_of(cudaStream_t stream, const std::function<void()>& work, int runs = 11) {
  cudaEvent_t from, to;
  check("cudaEventCreate", cudaEventCreate(&from));
  check("cudaEventCreate", cudaEventCreate(&to));
  std::vector<float> milliseconds;
  for (int i = -3; i < runs; ++i) {
    check("cudaEventRecord", cudaEventRecord(from, stream));
    work();
    check("cudaEventRecord", cudaEventRecord(to, stream));
    check("cudaEventSynchronize", cudaEventSynchronize(to));
    float elapsed = 0;
    check("cudaEventElapsedTime", cudaEventElapsedTime(&elapsed, from, to));
    if (i >= 0) milliseconds.push_back(elapsed);
  }
  check("cudaEventDestroy", cudaEventDestroy(from));
  check("cudaEventDestroy", cudaEventDestroy(to));
  std::sort(milliseconds.begin(), milliseconds.end());
  return 1e-3 * milliseconds[milliseconds.size() / 2];
}

__global__ void nothing() {}

// Numbers in [-1, 1): zeros would let the card run cooler and faster than data do.
__global__ void scatter(float* as_float, __half* as_half, std::size_t n) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const auto word = static_cast<std::uint32_t>((i + 1) * 0x9E3779B97F4A7C15ull >> 32);
    const float x = static_cast<float>(word) * 0x1p-31f - 1;
    if (as_float) as_float[i] = x;
    if (as_half) as_half[i] = __float2half_rn(x);
  }
}

// Eight independent chains a thread; the result is stored so that none of them can be left out.
constexpr int ffma_chains = 8, ffma_steps = 1 << 14;
__global__ void multiply_add(float* out, float factor, float term) {
  float x[ffma_chains];
  for (int c = 0; c < ffma_chains; ++c) x[c] = static_cast<float>(threadIdx.x + c);
#pragma unroll 16
  for (int step = 0; step < ffma_steps; ++step)
    for (int c = 0; c < ffma_chains; ++c) x[c] = fmaf(x[c], factor, term);
  float sum = 0;
  for (int c = 0; c < ffma_chains; ++c) sum += x[c];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

double copy_rate(cudaStream_t stream) {
  const Memory<char> from(std::size_t{1} << 30), to(std::size_t{1} << 30);
  check("cudaMemset", cudaMemset(from.get(), 1, from.bytes()));
  return 2.0 * static_cast<double>(from.bytes()) / seconds_of(stream, [&] {
           check("cudaMemcpyAsync",
                 cudaMemcpyAsync(to.get(), from.get(), from.bytes(), cudaMemcpyDeviceToDevice, stream));
         });
}

double fill_rate(cudaStream_t stream) {
  const Memory<char> to(std::size_t{1} << 30);
  return static_cast<double>(to.bytes()) /
         seconds_of(stream, [&] { check("cudaMemsetAsync", cudaMemsetAsync(to.get(), 1, to.bytes(), stream)); });
}

// C of float from A and B of `type`.
double product_rate(cudaStream_t stream, cudaDataType type, cublasComputeType_t compute) {
  constexpr int n = 8192;
  constexpr std::size_t count = std::size_t{n} * n;
  const bool half = type == CUDA_R_16F;
  const Memory<float> a(count), b(count), c(count);  // halves take the first part
  for (const auto* memory : {&a, &b}) {
    scatter<<<1024, 256, 0, stream>>>(half ? nullptr : memory->get(),
                                      half ? reinterpret_cast<__half*>(memory->get()) : nullptr, count);
    check("scatter", cudaGetLastError());
  }
  cublasHandle_t handle;
  check_cublas(cublasCreate(&handle));
  check_cublas(cublasSetStream(handle, stream));
  const float one = 1, zero = 0;
  const double seconds = seconds_of(stream, [&] {
    check_cublas(cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one, a.get(), type, n, b.get(), type, n,
                              &zero, c.get(), CUDA_R_32F, n, compute, CUBLAS_GEMM_DEFAULT));
  });
  check_cublas(cublasDestroy(handle));
  return 2.0 * n * n * n / seconds;
}

double multiply_add_rate(cudaStream_t stream, int processors) {
  const int blocks = 8 * processors, threads = 256;
  const Memory<float> out(static_cast<std::size_t>(blocks) * threads);
  const double seconds = seconds_of(stream, [&] {
    multiply_add<<<blocks, threads, 0, stream>>>(out.get(), 0.999f, 0.001f);
    check("multiply_add", cudaGetLastError());
  });
  return 2.0 * ffma_chains * ffma_steps * blocks * threads / seconds;
}

constexpr int launches = 1000;
void launch_many(cudaStream_t stream) {
  for (int i = 0; i < launches; ++i) nothing<<<1, 32, 0, stream>>>();
  check("nothing", cudaGetLastError());
}

double node_seconds(cudaStream_t stream) {
  cudaGraph_t graph;
  cudaGraphExec_t record;
  check("cudaStreamBeginCapture", cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  launch_many(stream);
  check("cudaStreamEndCapture", cudaStreamEndCapture(stream, &graph));
  check("cudaGraphInstantiate", cudaGraphInstantiate(&record, graph, 0));
  const double seconds = seconds_of(stream, [&] { check("cudaGraphLaunch", cudaGraphLaunch(record, stream)); });
  check("cudaGraphExecDestroy", cudaGraphExecDestroy(record));
  check("cudaGraphDestroy", cudaGraphDestroy(graph));
  return seconds / launches;
}

cudaDeviceProp card() {
  cudaDeviceProp properties;
  check("cudaGetDeviceProperties", cudaGetDeviceProperties(&properties, 0));
  return properties;
}

void print_ceilings() {
  const cudaDeviceProp properties = card();
  int driver = 0;
  check("cudaDriverGetVersion", cudaDriverGetVersion(&driver));
  cudaStream_t stream;
  check("cudaStreamCreate", cudaStreamCreate(&stream));
  std::printf("{\n  \"device\": \"%s\", \"compute_capability\": \"%d.%d\", \"processors\": %d, \"l2_bytes\": %d,\n",
              properties.name, properties.major, properties.minor, properties.multiProcessorCount,
              properties.l2CacheSize);
  std::printf("  \"driver_cuda\": %d,\n", driver);
  std::printf("  \"copy_bytes_per_s\": %.4e,\n", copy_rate(stream));
  std::printf("  \"fill_bytes_per_s\": %.4e,\n", fill_rate(stream));
  std::printf("  \"fp16_flops\": %.4e,\n", product_rate(stream, CUDA_R_16F, CUBLAS_COMPUTE_32F));
  std::printf("  \"tf32_flops\": %.4e,\n", product_rate(stream, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32));
  std::printf("  \"ffma_flops\": %.4e,\n", multiply_add_rate(stream, properties.multiProcessorCount));
  std::printf("  \"launch_s\": %.4e,\n", seconds_of(stream, [&] { launch_many(stream); }) / launches);
  std::printf("  \"graph_node_s\": %.4e\n}\n", node_seconds(stream));
  check("cudaStreamDestroy", cudaStreamDestroy(stream));
}

// --- accumulation ---------------------------------------------------------------------------------------------------

constexpr int tile_m = 16, tile_n = 8, tile_k = 16;

// One warp a problem: d (16,8) += sum over `steps` tiles of a (16,16 steps) b (16 steps,8), all row-major.
__global__ void multiply_tiles(const __half* a, const __half* b, float* d, int steps) {
  const int K = steps * tile_k, lane = static_cast<int>(threadIdx.x), group = lane / 4, place = lane % 4;
  a += std::size_t{blockIdx.x} * tile_m * K;
  b += std::size_t{blockIdx.x} * tile_n * K;
  d += std::size_t{blockIdx.x} * tile_m * tile_n;
  const auto pair = [](__half low, __half high) {
    return static_cast<std::uint32_t>(__half_as_ushort(low)) | static_cast<std::uint32_t>(__half_as_ushort(high)) << 16;
  };
  MmaD sum;
  for (int i = 0; i < 4; ++i) sum.at[i] = d[(group + i / 2 * 8) * tile_n + 2 * place + i % 2];
  for (int step = 0; step < steps; ++step) {
    MmaA left;
    MmaB right;
    for (int i = 0; i < 4; ++i) {
      const __half* p = a + (group + i % 2 * 8) * K + step * tile_k + 2 * place + i / 2 * 8;
      left.at[i] = pair(p[0], p[1]);
    }
    for (int i = 0; i < 2; ++i) {
      const __half* p = b + (step * tile_k + 2 * place + i * 8) * tile_n + group;
      right.at[i] = pair(p[0], p[tile_n]);
    }
    mma_f16(sum, left, right);
  }
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * tile_n + 2 * place + i % 2] = sum.at[i];
}

// Factors and first sum of one problem, K long.
struct Problem {
  std::vector<float> a, b, d;  // (16,K), (K,8), (16,8); a and b are rounded to fp16
};

// Sums that a short accumulator, truncation, flushing of subnormals or a wrong order of adding would show in.
class Adversary {
 public:
  static constexpr const char* names[] = {"normal",
                                          "positive",
                                          "random signs, full mantissas",
                                          "cancelling pairs",
                                          "one huge, many tiny",
                                          "ascending exponents",
                                          "subnormal products",
                                          "large first sum"};

  Problem problem(std::size_t kind, int K) {
    Problem p{std::vector<float>(static_cast<std::size_t>(tile_m * K)),
              std::vector<float>(static_cast<std::size_t>(K * tile_n)), std::vector<float>(tile_m * tile_n)};
    const bool first_sum = random_() % 2;
    for (float& x : p.d) x = first_sum ? normal_(random_) : 0;
    for (int k = 0; k < K; ++k) {
      for (int m = 0; m < tile_m; ++m) p.a[static_cast<std::size_t>(m * K + k)] = factor(kind, k, m, true);
      for (int n = 0; n < tile_n; ++n) p.b[static_cast<std::size_t>(k * tile_n + n)] = factor(kind, k, n, false);
    }
    if (kind == 3)  // a pair's two columns of a are equal, its rows of b opposite but for the last bits
      for (int k = 0; k + 1 < K; k += 2) {
        for (int m = 0; m < tile_m; ++m)
          p.a[static_cast<std::size_t>(m * K + k + 1)] = p.a[static_cast<std::size_t>(m * K + k)];
        for (int n = 0; n < tile_n; ++n)
          p.b[static_cast<std::size_t>((k + 1) * tile_n + n)] =
              -p.b[static_cast<std::size_t>(k * tile_n + n)] * (random_() % 2 ? 1.0f : 1.0009765625f);
      }
    if (kind == 7)
      for (float& x : p.d) x = std::ldexp(full_mantissa(23), static_cast<int>(random_() % 30));
    for (auto* factors : {&p.a, &p.b})
      for (float& x : *factors) x = __half2float(__float2half_rn(x));
    return p;
  }

 private:
  // +-(2 - 2^-bits): every bit of the mantissa set.
  float full_mantissa(int bits) { return (random_() % 2 ? 1.0f : -1.0f) * (2 - std::ldexp(1.0f, -bits)); }

  float factor(std::size_t kind, int k, int row, bool left) {
    switch (kind) {
      case 1:
        return std::fabs(normal_(random_));
      case 2:
        return full_mantissa(10);
      case 4:  // the huge product stands at a place of its own in each row
        return k % 16 == row % 16 ? (left ? 20000.0f : 30000.0f) * (random_() % 2 ? 1.0f : -1.0f)
                                  : std::ldexp(full_mantissa(10), -static_cast<int>(random_() % 10));
      case 5:
        return std::ldexp(full_mantissa(10), k % 16 - 8);
      case 6:
        return std::ldexp(full_mantissa(10), -static_cast<int>(11 + random_() % 13));
      default:
        return normal_(random_);
    }
  }

  std::mt19937 random_{20};
  std::normal_distribution<float> normal_;
};

// d + sum_i a_i b_i exactly enough: products of halves are exact in double, and 64 more bits are kept of their sum.
struct ExactSum {
  long double sum = 0, magnitude = 0;
  void add(float a, float b) {
    const double product = static_cast<double>(a) * static_cast<double>(b);
    sum += product;
    magnitude += std::fabs(product);
  }
};

bool print_accumulation() {
  constexpr int problems = 2000;
  Adversary adversary;
  double worst = 0;
  std::printf("{\n  \"unit\": \"K 2^-24 (|d| + sum |a b|)\", \"assumed\": %g,\n  \"largest\": {\n", mma_error);
  const std::size_t kinds = std::size(Adversary::names);
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    double largest = 0;
    for (const int steps : {1, 4, 64}) {  // K = 16: one product; 64: Patch SVDD's embeddings; 1024
      const int K = steps * tile_k, count = steps == 64 ? problems / 20 : problems;
      std::vector<Problem> all;
      std::vector<__half> a, b;
      std::vector<float> d;
      for (int i = 0; i < count; ++i) {
        all.push_back(adversary.problem(kind, K));
        for (const float x : all.back().a) a.push_back(__float2half_rn(x));
        for (const float x : all.back().b) b.push_back(__float2half_rn(x));
        d.insert(d.end(), all.back().d.begin(), all.back().d.end());
      }
      const Memory<__half> a_there(a), b_there(b);
      const Memory<float> d_there(d);
      multiply_tiles<<<static_cast<unsigned>(count), 32>>>(a_there.get(), b_there.get(), d_there.get(), steps);
      check("multiply_tiles", cudaGetLastError());
      const std::vector<float> found = d_there.values();
      for (int i = 0; i < count; ++i)
        for (int m = 0; m < tile_m; ++m)
          for (int n = 0; n < tile_n; ++n) {
            const Problem& p = all[static_cast<std::size_t>(i)];
            const auto at = static_cast<std::size_t>(m * tile_n + n);
            ExactSum exact;
            exact.add(p.d[at], 1);
            for (int k = 0; k < K; ++k)
              exact.add(p.a[static_cast<std::size_t>(m * K + k)], p.b[static_cast<std::size_t>(k * tile_n + n)]);
            const long double error = std::fabs(found[static_cast<std::size_t>(i) * tile_m * tile_n + at] - exact.sum);
            if (exact.magnitude == 0) continue;
            const double units = static_cast<double>(error / (K * std::ldexp(exact.magnitude, -24)));
            largest = std::isnan(units) ? std::numeric_limits<double>::max() : std::max(largest, units);
          }
    }
    std::printf("    \"%s\": %.4g%s\n", Adversary::names[kind], largest, kind + 1 < kinds ? "," : "");
    worst = std::max(worst, largest);
  }
  const bool holds = worst <= mma_error;
  std::printf("  },\n  \"worst\": %.4g, \"holds\": %s\n}\n", worst, holds ? "true" : "false");
  return holds;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      std::fprintf(stderr, "ceilings: there is no CUDA device here\n");
      return 77;
    }
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "--accumulation") return print_accumulation() ? 0 : 1;
    if (mode == "--name") {
      std::printf("%s\n", card().name);
    } else if (mode.empty()) {
      print_ceilings();
    } else {
      std::fprintf(stderr, "ceilings: takes --name, --accumulation or nothing, not '%s'\n", mode.c_str());
      return 2;
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ceilings: %s\n", error.what());
    return 1;
  }
}
