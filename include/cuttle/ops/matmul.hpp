// matmul: products of matrices, one or a batch of them.
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_matmul.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

using seam::Math;

// Which factors are transposed, the factor alpha, and how products are computed.
struct MatmulOptions {
  bool transpose_a = false, transpose_b = false;
  double alpha = 1;
  Math math = Math::fp32;  // tf32 and bf16 where the device has them
};

namespace detail {

struct MatmulExtents {
  std::int64_t batch, M, N, K;
  Shape c;
};

template <class T>
MatmulExtents matmul_extents(const char* op, const Tensor<T>& a, const Tensor<T>& b, const MatmulOptions& options) {
  require((a.rank() == 2 || a.rank() == 3) && a.rank() == b.rank() && (a.rank() == 2 || a.size(0) == b.size(0)), op,
          ": a has shape ", a.shape(), ", b ", b.shape(), ", expected (M,K) and (K,N), or a batch of each");
  const bool ta = options.transpose_a, tb = options.transpose_b;
  const std::int64_t batch = a.rank() == 3 ? a.size(0) : 1;
  const std::int64_t M = a.size(ta ? -1 : -2), K = a.size(ta ? -2 : -1), N = b.size(tb ? -2 : -1);
  require(b.size(tb ? -1 : -2) == K, op, ": a of shape ", a.shape(), ta ? " transposed" : "", " and b of shape ",
          b.shape(), tb ? " transposed" : "", " do not fit");
  return {batch, M, N, K, a.rank() == 3 ? Shape{batch, M, N} : Shape{M, N}};
}

// c = alpha * op(a) op(b) + beta * c.
template <class T>
void matmul(const char* op, const Tensor<T>& a, const Tensor<T>& b, const MatmulOptions& options, double beta,
            Tensor<T>& c) {
  const auto [batch, M, N, K, shape] = matmul_extents(op, a, b, options);
  require(c.shape() == shape, op, ": c has shape ", c.shape(), ", expected ", shape);
  const Device device = common_device(op, a, b, c);
  if (c.numel() == 0) return;
  if (K == 0) {  // an empty sum
    if (beta == 0) c.fill(T(0));
    return;
  }
  dispatch<T>(
      op, device, &cpu::matmul<T>, &seam::OpTable<T>::matmul,
      seam::MatmulArgs<T>{batch, M, N, K, options.transpose_a, options.transpose_b, a.size(-1), b.size(-1), N, M * K,
                          K * N, M * N, options.alpha, beta, options.math, a.data(), b.data(), c.data()});
}

}  // namespace detail

// alpha * op(a) op(b), op transposing where the options say so: op(a) (M,K) and op(b) (K,N) -> (M,N), or three extents,
// the first of which, equal for both, counts independent products.
template <class T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, const MatmulOptions& options = {}) {
  Tensor<T> c = Tensor<T>::empty(detail::matmul_extents("matmul", a, b, options).c, a.device());
  detail::matmul("matmul", a, b, options, 0, c);
  return c;
}

// c += alpha * op(a) op(b), with c as matmul returns it.
template <class T>
void add_matmul(Tensor<T>& c, const Tensor<T>& a, const Tensor<T>& b, const MatmulOptions& options = {}) {
  detail::matmul("add_matmul", a, b, options, 1, c);
}

}  // namespace cuttle
