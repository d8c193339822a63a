// queue_update on the CPU; formula in seam/args.hpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/core/parallel.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle::cpu {

template <class T>
void queue_update(const seam::QueueUpdateArgs<T>& a) {
  parallel_for(a.S, [&](std::int64_t s) {
    const std::int64_t first = seam::queue_slot(a.pointer[s], 0, a.M);
    for (std::int64_t b = 0; b < a.B; ++b)
      std::copy_n(a.values + (b * a.S + s) * a.E, a.E, a.memory + (s * a.M + seam::queue_slot(first, b, a.M)) * a.E);
    a.pointer[s] = seam::queue_slot(first, a.B, a.M);
  });
}

}  // namespace cuttle::cpu
