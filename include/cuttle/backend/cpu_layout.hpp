// Moving elements on the CPU: rows by index, dimensions by order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

template <class T>
void gather_rows(const seam::GatherRowsArgs<T>& a) {
  for (std::int64_t q = 0; q < a.Q; ++q) std::copy_n(a.x + a.index[q] * a.D, a.D, a.y + q * a.D);
}

template <class T>
void add_rows(const seam::GatherRowsArgs<T>& a) {
  for (std::int64_t q = 0; q < a.Q; ++q) {
    T* row = a.x + a.index[q] * a.D;
    for (std::int64_t d = 0; d < a.D; ++d) row[d] += a.y[q * a.D + d];
  }
}

template <class T>
void permute(const seam::PermuteArgs<T>& a) {
  std::int64_t n = 1, index[8] = {}, from = 0;
  for (int k = 0; k < a.rank; ++k) n *= a.extent[k];
  for (std::int64_t to = 0; to < n; ++to) {
    a.y[to] = a.x[from];
    for (int k = a.rank - 1; k >= 0; --k) {
      from += a.stride[k];
      if (++index[k] < a.extent[k]) break;
      from -= a.stride[k] * a.extent[k];
      index[k] = 0;
    }
  }
}

}  // namespace cuttle::cpu
