// matmul by cuBLAS: fp32 and double by fused multiply-adds, tf32 and bf16 where shape.math asks for them. Bits repeat:
// atomics are off, and each stream has a workspace of its own.
#pragma once

#include <cublas_v2.h>

#include <map>
#include <type_traits>

#include "cuttle/seam/args.hpp"
#include "kernels/vocab.cuh"

namespace cuttle::kernels {

inline void check(const char* what, cublasStatus_t status) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  cudaGetLastError();
  throw Error(std::string(what) + ": cuBLAS: " + cublasGetStatusString(status));
}

// One device's cuBLAS; the device is current in every call, and calls do not overlap. Never destroyed: at the end of a
// program the driver may be gone before it.
class CublasMatmul {
 public:
  CublasMatmul() {
    check("matmul", cublasCreate(&handle_));
    check("matmul", cublasSetAtomicsMode(handle_, CUBLAS_ATOMICS_NOT_ALLOWED));
  }
  CublasMatmul(const CublasMatmul&) = delete;
  CublasMatmul& operator=(const CublasMatmul&) = delete;

  // cuBLAS is column-major, where what is stored here is its own transpose: c^T = op(b)^T op(a)^T.
  template <class T>
  void run(const seam::MatmulArgs<T>& args, cudaStream_t stream) {
    if (args.batch == 0 || args.M == 0 || args.N == 0) return;
    check("matmul", cublasSetStream(handle_, stream));
    check("matmul", cublasSetWorkspace(handle_, workspace_of(stream), workspace_bytes));
    const T alpha = static_cast<T>(args.alpha), beta = static_cast<T>(args.beta);
    constexpr cudaDataType type = std::is_same_v<T, double> ? CUDA_R_64F : CUDA_R_32F;
    const auto pitch = [](std::int64_t row) { return row < 1 ? 1 : row; };  // of a matrix without elements, too
    check("matmul",
          cublasGemmStridedBatchedEx_64(handle_, args.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                                        args.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, args.N, args.M, args.K, &alpha,
                                        args.b, type, pitch(args.row_b), args.stride_b, args.a, type, pitch(args.row_a),
                                        args.stride_a, &beta, args.c, type, pitch(args.row_c), args.stride_c,
                                        args.batch, compute_type<T>(args.math), CUBLAS_GEMM_DEFAULT));
    sync_if_asked("matmul", stream);
  }

  // The stream is about to go.
  void forget(cudaStream_t stream) {
    const auto found = workspaces_.find(stream);
    if (found == workspaces_.end()) return;
    cudaFree(found->second);
    workspaces_.erase(found);
  }

 private:
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;  // what NVIDIA recommends for Hopper

  template <class T>
  static cublasComputeType_t compute_type(seam::Math math) {
    if (std::is_same_v<T, double>) return CUBLAS_COMPUTE_64F;
    if (math == seam::Math::tf32) return CUBLAS_COMPUTE_32F_FAST_TF32;
    if (math == seam::Math::bf16) return CUBLAS_COMPUTE_32F_FAST_16BF;
    return CUBLAS_COMPUTE_32F;
  }

  void* workspace_of(cudaStream_t stream) {
    void*& workspace = workspaces_[stream];
    if (!workspace) check("matmul: workspace", cudaMalloc(&workspace, workspace_bytes));
    return workspace;
  }

  cublasHandle_t handle_ = nullptr;
  std::map<cudaStream_t, void*> workspaces_;
};

}  // namespace cuttle::kernels
