// The product of matrices that a GPU takes from a library, as plain loops from the formula in seam/args.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuttle/seam/args.hpp"
#include "tests/simt/memory.hpp"

namespace cuttle_simt {

// Where a batch of (rows, columns) matrices lies, once all of it is known to be the device's.
template <class T>
T* matrices(const char* what, T* first, std::int64_t batch, std::int64_t rows, std::int64_t columns, std::int64_t row,
            std::int64_t stride) {
  const std::int64_t elements = (batch - 1) * stride + (rows - 1) * row + columns;
  return Memory::the().host_view(what, first, static_cast<std::size_t>(elements) * sizeof(T));
}

template <class T>
void matmul(const cuttle::seam::MatmulArgs<T>& args) {
  const std::int64_t M = args.M, N = args.N, K = args.K;
  if (args.batch == 0 || M == 0 || N == 0) return;
  if (K == 0) fail("matmul: K is 0");
  const bool ta = args.transpose_a, tb = args.transpose_b;
  const T* a = matrices("matmul: a", args.a, args.batch, ta ? K : M, ta ? M : K, args.row_a, args.stride_a);
  const T* b = matrices("matmul: b", args.b, args.batch, tb ? N : K, tb ? K : N, args.row_b, args.stride_b);
  T* c = matrices("matmul: c", args.c, args.batch, M, N, args.row_c, args.stride_c);
  const T alpha = static_cast<T>(args.alpha), beta = static_cast<T>(args.beta);
  for (std::int64_t i = 0; i < args.batch; ++i, a += args.stride_a, b += args.stride_b, c += args.stride_c)
    for (std::int64_t m = 0; m < M; ++m)
      for (std::int64_t n = 0; n < N; ++n) {
        T sum = 0;
        for (std::int64_t k = 0; k < K; ++k)
          sum += a[ta ? k * args.row_a + m : m * args.row_a + k] * b[tb ? n * args.row_b + k : k * args.row_b + n];
        T& to = c[m * args.row_c + n];
        to = alpha * sum + (beta == 0 ? T(0) : beta * to);
      }
}

}  // namespace cuttle_simt
