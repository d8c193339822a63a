// The words that kernels are written in, for nvcc. They are CUDA's own wherever it has them:
//   threadIdx blockIdx blockDim gridDim, __syncthreads __syncwarp, full-mask __shfl_sync __shfl_xor_sync
//   __shfl_down_sync __shfl_up_sync __ballot_sync __any_sync __all_sync, atomicAdd atomicMax atomicMin atomicCAS on
//   integers, and float and double math by overload (fma sqrt exp log tanh fabs fmin fmax).
// The rest is below. A header that defines all of it otherwise for another way to run kernels (the emulator in
// tests/simt) defines CUTTLE_VOCAB first; a kernel sees no difference. C++17.
#ifndef CUTTLE_VOCAB
#define CUTTLE_VOCAB

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cuttle/seam/table.hpp"

#define CUTTLE_KERNEL __global__ void
#define CUTTLE_DEVICE __device__ __forceinline__

// T name[count] in the block's shared memory, its contents undefined at first; every thread gets the same. Two
// declarations are two arrays. The dynamic one has the bytes that the launch asked for, 16-byte aligned; one a kernel.
#define CUTTLE_SHARED(T, name, count) __shared__ T name[count]
#define CUTTLE_DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char cuttle_dynamic_shared[]; \
  ::cuttle::kernels::Shared<T> name = reinterpret_cast<T*>(cuttle_dynamic_shared)

namespace cuttle::kernels {

constexpr int warp_size = 32;
constexpr unsigned full_mask = 0xFFFFFFFFu;

// Pointers of kernels, by where they point. Arguments arrive as plain pointers and become a Global before use:
//   const Global<const T> x = args.x;
template <class T>
using Global = T* __restrict__;
template <class T>
using MayAlias = T*;  // a Global that may point where another one does
template <class T>
using Shared = T*;
template <class To, class From>
CUTTLE_DEVICE Shared<To> shared_cast(From* p) {
  return reinterpret_cast<To*>(p);
}

// N neighbouring elements moved at once; the address is a multiple of their size, at most 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
template <int N, class T>
CUTTLE_DEVICE Pack<std::remove_const_t<T>, N> load_pack(T* p) {
  return *reinterpret_cast<const Pack<std::remove_const_t<T>, N>*>(p);
}
template <class T, int N>
CUTTLE_DEVICE void store_pack(T* p, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(p) = pack;
}

// The bits of one type as another of the same size.
template <class To, class From>
CUTTLE_DEVICE To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// 16-bit floats. to_half and to_bf16 round to nearest, ties to even, and overflow to infinity.
using half_t = __half;
using bf16_t = __nv_bfloat16;
CUTTLE_DEVICE half_t to_half(float x) { return __float2half_rn(x); }
CUTTLE_DEVICE float to_float(half_t x) { return __half2float(x); }
CUTTLE_DEVICE bf16_t to_bf16(float x) { return __float2bfloat16_rn(x); }
CUTTLE_DEVICE float to_float(bf16_t x) { return __bfloat162float(x); }

// d += a * b on the tensor core, by all 32 lanes of a warp together: a is 16 x K, b is K x 8, d 16 x 8, K = 16 (fp16,
// bf16) or 8 (tf32). With group = lane / 4 and place = lane % 4, a lane holds
//   d.at[0..3]    rows group, group, group+8, group+8, columns 2*place, 2*place+1, 2*place, 2*place+1
//   a.at[0..3]    two halves each: (row group, columns 2*place, 2*place+1), (row group+8, the same), (row group,
//   columns
//                 2*place+8, 2*place+9), (row group+8, the same); the lower half of a word is the lower column
//   b.at[0..1]    two halves each: (rows 2*place, 2*place+1, column group), (rows 2*place+8, 2*place+9, column group)
// tf32: a.at[0..3] (group, place), (group+8, place), (group, place+4), (group+8, place+4); b.at[0..1] (place, group),
// (place+4, group), each a float whose lower 13 bits are ignored.
// Products are exact. The sum is within mma_error * K * 2^-24 * (|d| + sum |a_i b_i|) of the exact one: what a tensor
// core does beyond that is not documented, so the factor is a generous assumption, probed on each card by gpu-check.
constexpr double mma_error = 4;
struct MmaA {
  std::uint32_t at[4];
};
struct MmaB {
  std::uint32_t at[2];
};
struct MmaD {
  float at[4];
};
CUTTLE_DEVICE void mma_f16(MmaD& d, const MmaA& a, const MmaB& b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d.at[0]), "+f"(d.at[1]), "+f"(d.at[2]), "+f"(d.at[3])
               : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b.at[0]), "r"(b.at[1]));
}
CUTTLE_DEVICE void mma_bf16(MmaD& d, const MmaA& a, const MmaB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d.at[0]), "+f"(d.at[1]), "+f"(d.at[2]), "+f"(d.at[3])
      : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b.at[0]), "r"(b.at[1]));
}
CUTTLE_DEVICE void mma_tf32(MmaD& d, const MmaA& a, const MmaB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d.at[0]), "+f"(d.at[1]), "+f"(d.at[2]), "+f"(d.at[3])
      : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b.at[0]), "r"(b.at[1]));
}

// Four 8 x 8 matrices of 16-bit values from shared memory: lane l gives the 16-byte aligned address of row l%8 of
// matrix l/8, and to.at[m] becomes the values (l/4, 2*(l%4)) and (l/4, 2*(l%4)+1) of matrix m: an MmaA when the
// matrices are its quadrants top left, bottom left, top right, bottom right.
template <class T>
CUTTLE_DEVICE void ldmatrix(MmaA& to, const T* row) {
  static_assert(sizeof(T) == 2);
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to.at[0]), "=r"(to.at[1]), "=r"(to.at[2]), "=r"(to.at[3])
               : "r"(address)
               : "memory");
}

// Sixteen bytes from global to shared memory (both 16-byte aligned) behind the thread's back: there after a
// copy_async_wait<n> that leaves at most the n youngest committed groups of this thread unfinished, for other threads
// after a barrier as well.
template <class T>
CUTTLE_DEVICE void copy_async(T* to, const T* from) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}
CUTTLE_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int n>
CUTTLE_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

// Throws cuttle::Error with the runtime's words unless status is success.
inline void check(const char* what, cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // forgotten, or the next launch would report it
  throw Error(std::string(what) + ": CUDA: " + cudaGetErrorString(status));
}

// With CUTTLE_SYNC=1 in the environment, waits for what the stream holds, so that a kernel's fault is reported under
// its own name. A stream that is recording has nothing to wait for.
inline void sync_if_asked(const char* what, seam::Stream stream) {
  static const bool asked = [] {
    const char* value = std::getenv("CUTTLE_SYNC");
    return value && std::strcmp(value, "1") == 0;
  }();
  if (!asked) return;
  cudaStreamCaptureStatus recording = cudaStreamCaptureStatusNone;
  check(what, cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &recording));
  if (recording == cudaStreamCaptureStatusNone) check(what, cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
}

// Queues a kernel; a grid without blocks is no launch. `what` names the op in errors. Block sizes are multiples of 32.
template <class... Parameters, class... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            seam::Stream stream, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  // More than 48 KB has to be asked for, static arrays included; kernels have at most 16 KB of those.
  if (dynamic_shared_bytes > 32 * 1024)
    check(what, cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(dynamic_shared_bytes)));
  kernel<<<grid, block, dynamic_shared_bytes, static_cast<cudaStream_t>(stream)>>>(arguments...);
  check(what, cudaGetLastError());
  sync_if_asked(what, stream);
}

// Blocks of `threads` that cover n elements when each thread strides over the grid; never more than a device can start.
inline unsigned blocks_for(std::int64_t n, int threads) {
  const std::int64_t blocks = (n + threads - 1) / threads, most = 1 << 16;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

}  // namespace cuttle::kernels

#endif  // CUTTLE_VOCAB
