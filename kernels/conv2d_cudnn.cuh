// conv2d by cuDNN, with a plan for each shape: an algorithm for each of the products, the first of cuDNN's heuristic
// list (never timed) that is deterministic, leaves the rounding that shape.math allows, and takes NHWC and OHWI as they
// are. Where there is none, or an address is not 16-byte aligned, our own kernels (conv2d.cuh) do that product, and a
// counter counts it; with CUTTLE_CUDNN=0 in the environment they do all of them, so that one can be checked against the
// other.
#pragma once

#include <cudnn.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <tuple>

#include "kernels/conv2d.cuh"

namespace cuttle::kernels {

inline void check(const char* what, cudnnStatus_t status) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char words[512] = "";
  cudnnGetLastErrorString(words, sizeof words);
  cudaGetLastError();
  throw Error(std::string(what) + ": cuDNN: " + cudnnGetErrorString(status) + (words[0] ? ": " : "") + words);
}

// Products of convolutions that our own kernels computed for want of a plan.
inline std::atomic<std::uint64_t>& cudnn_fallbacks() {
  static std::atomic<std::uint64_t> count{0};
  return count;
}

// One device's cuDNN; the device is current in every call, and calls do not overlap. Never destroyed: at the end of a
// program the driver may be gone before it.
class CudnnConv2d {
 public:
  CudnnConv2d() { check("conv2d", cudnnCreate(&handle_)); }
  CudnnConv2d(const CudnnConv2d&) = delete;
  CudnnConv2d& operator=(const CudnnConv2d&) = delete;

  std::size_t workspace(const seam::Conv2dShape& shape, std::size_t element_size, bool backward) {
    const Plan& plan = plan_of(shape, element_size, backward);
    if (!backward) return std::max(plan.forward.bytes(), own_conv2d_workspace(shape, element_size, false));
    const Conv2dScratch own(shape);
    const std::size_t products = std::max(plan.data.bytes(), plan.weight.bytes());
    return static_cast<std::size_t>(own.before_dweight()) * element_size +
           std::max(products, static_cast<std::size_t>(own.dweight) * element_size);
  }

  template <class T>
  void forward(const seam::Conv2dArgs<T>& args, cudaStream_t stream) {
    Plan& plan = plan_of(args.shape, sizeof(T), false);
    const T one = 1, zero = 0;
    const auto convolve = [&](cudnnConvolutionFwdAlgo_t algorithm) {
      return cudnnConvolutionForward(handle_, &one, plan.x, args.x, plan.weights, args.weight, plan.conv, algorithm,
                                     args.workspace, args.workspace_bytes, &zero, plan.y, args.y);
    };
    if (run("conv2d", plan.forward, plan.conv, stream, args.workspace_bytes, convolve, args.x, args.weight, args.y))
      launch_conv2d_bias_activation(args, stream);
    else
      launch_conv2d(args, stream);
  }

  template <class T>
  void backward(const seam::Conv2dBackwardArgs<T>& args, cudaStream_t stream) {
    constexpr const char* what = "conv2d_backward";
    Plan& plan = plan_of(args.shape, sizeof(T), true);
    require_conv2d_workspace(args, own_conv2d_workspace(args.shape, sizeof(T), true));
    const T* const dz = launch_conv2d_dz(args, stream);
    const std::size_t before = static_cast<std::size_t>(Conv2dScratch(args.shape).before_dweight()) * sizeof(T);
    void* const workspace = static_cast<char*>(args.workspace) + before;
    const std::size_t bytes = args.workspace_bytes - before;
    const T one = 1, zero = 0;

    const auto data = [&](cudnnConvolutionBwdDataAlgo_t algorithm) {
      return cudnnConvolutionBackwardData(handle_, &one, plan.weights, args.weight, plan.y, dz, plan.conv, algorithm,
                                          workspace, bytes, &zero, plan.x, args.dx);
    };
    if (args.dx && !run(what, plan.data, plan.conv, stream, bytes, data, args.weight, dz, args.dx))
      launch_conv2d_dx(args, dz, stream);

    const auto add_weight = [&](cudnnConvolutionBwdFilterAlgo_t algorithm) {
      return cudnnConvolutionBackwardFilter(handle_, &one, plan.x, args.x, plan.y, dz, plan.conv, algorithm, workspace,
                                            bytes, &one, plan.weights, args.dweight);
    };
    if (args.dweight && !run(what, plan.weight, plan.conv, stream, bytes, add_weight, args.x, dz, args.dweight))
      launch_conv2d_dweight(args, dz, stream);
    if (args.dbias) launch_conv2d_dbias(args, dz, stream);
  }

 private:
  template <class Name>
  struct Algorithm {
    struct Choice {
      Name name;
      cudnnMathType_t math;
      std::size_t bytes;
    };
    std::optional<Choice> choice;
    std::size_t bytes() const { return choice ? choice->bytes : 0; }
  };

  struct Plan {
    cudnnTensorDescriptor_t x = nullptr, y = nullptr;
    cudnnFilterDescriptor_t weights = nullptr;
    cudnnConvolutionDescriptor_t conv = nullptr;
    Algorithm<cudnnConvolutionFwdAlgo_t> forward;
    Algorithm<cudnnConvolutionBwdDataAlgo_t> data;
    Algorithm<cudnnConvolutionBwdFilterAlgo_t> weight;
  };

  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                         std::int64_t, std::int64_t, std::int64_t, std::int64_t, seam::Math, std::size_t, bool>;

  // Runs the product by its algorithm on these addresses; false where there is none, or none after all.
  template <class Name, class Body, class... Pointers>
  bool run(const char* what, Algorithm<Name>& algorithm, cudnnConvolutionDescriptor_t conv, cudaStream_t stream,
           std::size_t workspace_bytes, Body body, const Pointers*... pointers) {
    if (algorithm.choice && algorithm.choice->bytes <= workspace_bytes && aligned(pointers...)) {
      check(what, cudnnSetStream(handle_, stream));
      check(what, cudnnSetConvolutionMathType(conv, algorithm.choice->math));
      const cudnnStatus_t status = body(algorithm.choice->name);
      if (!refused(status)) {
        check(what, status);
        sync_if_asked(what, stream);
        return true;
      }
      algorithm.choice.reset();
    }
    cudnn_fallbacks().fetch_add(1, std::memory_order_relaxed);
    return false;
  }

  // Not supported, or not even meant to be: nothing was queued.
  static bool refused(cudnnStatus_t status) {
    return status >= CUDNN_STATUS_BAD_PARAM && status < CUDNN_STATUS_INTERNAL_ERROR;
  }

  static bool wanted() {
    static const bool wanted = [] {
      const char* value = std::getenv("CUTTLE_CUDNN");
      return !value || std::strcmp(value, "0") != 0;
    }();
    return wanted;
  }

  // Transforms round otherwise than sums of products do, so they have to be asked for.
  static bool allowed(cudnnConvolutionFwdAlgo_t name, seam::Math math) {
    return name == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM ||
           name == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM || name == CUDNN_CONVOLUTION_FWD_ALGO_GEMM ||
           math == seam::Math::winograd;
  }
  static bool allowed(cudnnConvolutionBwdDataAlgo_t name, seam::Math math) {
    return name == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 ||
           (math == seam::Math::winograd && name != CUDNN_CONVOLUTION_BWD_DATA_ALGO_0);
  }
  static bool allowed(cudnnConvolutionBwdFilterAlgo_t name, seam::Math math) {
    return name == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 ||
           (math == seam::Math::winograd && name != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 &&
            name != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3);
  }

  // The first entry of a heuristic list that will do. There is no product of bf16 on float tensors here: Math::bf16
  // takes what Math::tf32 does.
  template <class Name, class Performance, class WorkspaceOf>
  void choose(Algorithm<Name>& algorithm, const Performance* list, int count, const seam::Conv2dShape& shape,
              bool is_double, cudnnConvolutionDescriptor_t conv, WorkspaceOf workspace_of) {
    const bool tensor_cores = !is_double && (shape.math == seam::Math::tf32 || shape.math == seam::Math::bf16);
    for (int i = 0; i < count; ++i) {
      const Performance& entry = list[i];
      if (entry.status != CUDNN_STATUS_SUCCESS || entry.determinism != CUDNN_DETERMINISTIC ||
          !allowed(entry.algo, shape.math))
        continue;
      // TENSOR_OP_MATH_ALLOW_CONVERSION would round floats to half.
      if (tensor_cores && entry.mathType == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION) continue;
      const cudnnMathType_t math = tensor_cores ? entry.mathType : CUDNN_FMA_MATH;
      std::size_t bytes = 0;
      if (cudnnSetConvolutionMathType(conv, math) == CUDNN_STATUS_SUCCESS &&
          workspace_of(entry.algo, &bytes) == CUDNN_STATUS_SUCCESS) {
        algorithm.choice = {entry.algo, math, bytes};
        return;
      }
    }
  }

  Plan& plan_of(const seam::Conv2dShape& s, std::size_t element_size, bool backward) {
    const auto [place, added] = plans_.try_emplace(
        Key{s.B, s.H, s.W, s.C, s.O, s.R, s.S, s.stride, s.padding, s.dilation, s.math, element_size, backward});
    Plan& plan = place->second;
    if (!added || !wanted()) return plan;
    const std::int64_t sizes[] = {s.B, s.H, s.W, s.C, s.O, s.R, s.S, s.OH, s.OW, s.stride, s.dilation};
    for (const std::int64_t size : sizes)
      if (size < 1 || size > std::numeric_limits<int>::max()) return plan;
    if (s.padding > std::numeric_limits<int>::max()) return plan;
    const auto i = [](std::int64_t size) { return static_cast<int>(size); };

    const bool is_double = element_size == sizeof(double);
    const cudnnDataType_t type = is_double ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT;
    const bool tensor_cores = !is_double && (s.math == seam::Math::tf32 || s.math == seam::Math::bf16);
    check("conv2d", cudnnCreateTensorDescriptor(&plan.x));
    check("conv2d", cudnnCreateTensorDescriptor(&plan.y));
    check("conv2d", cudnnCreateFilterDescriptor(&plan.weights));
    check("conv2d", cudnnCreateConvolutionDescriptor(&plan.conv));
    // What cuDNN cannot even describe has no plan.
    for (const cudnnStatus_t status :
         {cudnnSetTensor4dDescriptor(plan.x, CUDNN_TENSOR_NHWC, type, i(s.B), i(s.C), i(s.H), i(s.W)),
          cudnnSetTensor4dDescriptor(plan.y, CUDNN_TENSOR_NHWC, type, i(s.B), i(s.O), i(s.OH), i(s.OW)),
          cudnnSetFilter4dDescriptor(plan.weights, type, CUDNN_TENSOR_NHWC, i(s.O), i(s.C), i(s.R), i(s.S)),
          cudnnSetConvolution2dDescriptor(plan.conv, i(s.padding), i(s.padding), i(s.stride), i(s.stride),
                                          i(s.dilation), i(s.dilation), CUDNN_CROSS_CORRELATION, type),
          cudnnSetConvolutionMathType(plan.conv, tensor_cores ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH)})
      if (status != CUDNN_STATUS_SUCCESS) return plan;

    int count = 0;
    if (!backward) {
      cudnnConvolutionFwdAlgoPerf_t list[CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
      if (cudnnGetConvolutionForwardAlgorithm_v7(handle_, plan.x, plan.weights, plan.conv, plan.y,
                                                 CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &count,
                                                 list) == CUDNN_STATUS_SUCCESS)
        choose(plan.forward, list, count, s, is_double, plan.conv, [&](auto name, std::size_t* bytes) {
          return cudnnGetConvolutionForwardWorkspaceSize(handle_, plan.x, plan.weights, plan.conv, plan.y, name, bytes);
        });
      return plan;
    }
    cudnnConvolutionBwdDataAlgoPerf_t data[CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT];
    if (cudnnGetConvolutionBackwardDataAlgorithm_v7(handle_, plan.weights, plan.y, plan.conv, plan.x,
                                                    CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, &count,
                                                    data) == CUDNN_STATUS_SUCCESS)
      choose(plan.data, data, count, s, is_double, plan.conv, [&](auto name, std::size_t* bytes) {
        return cudnnGetConvolutionBackwardDataWorkspaceSize(handle_, plan.weights, plan.y, plan.conv, plan.x, name,
                                                            bytes);
      });
    cudnnSetConvolutionMathType(plan.conv, tensor_cores ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH);
    cudnnConvolutionBwdFilterAlgoPerf_t weight[CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT];
    if (cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle_, plan.x, plan.y, plan.conv, plan.weights,
                                                      CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, &count,
                                                      weight) == CUDNN_STATUS_SUCCESS)
      choose(plan.weight, weight, count, s, is_double, plan.conv, [&](auto name, std::size_t* bytes) {
        return cudnnGetConvolutionBackwardFilterWorkspaceSize(handle_, plan.x, plan.y, plan.conv, plan.weights, name,
                                                              bytes);
      });
    return plan;
  }

  cudnnHandle_t handle_ = nullptr;
  std::map<Key, Plan> plans_;
};

}  // namespace cuttle::kernels
