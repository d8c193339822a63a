// Scratch memory for tiles of work.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/core/parallel.hpp"
#include "cuttle/core/tensor.hpp"

namespace cuttle {

// parallel_for whose body(tile, scratch) has `elements` numbers of its own to write to, undefined at first. All are
// taken before the first tile starts: what a call asks of the pool depends on its shape and the number of threads, not
// on which tiles happened to meet, so that a step which allocated nothing once never does.
template <class T, class Body>
void parallel_for_with_scratch(std::int64_t tiles, std::int64_t elements, Body&& body) {
  constexpr std::int64_t line = std::max<std::int64_t>(64 / sizeof(T), 1);
  const std::int64_t stride = (elements + line - 1) / line * line;
  const int threads = detail::inside_parallel_region() || tiles <= 1 ? 1 : num_threads();
  const auto scratch = Tensor<T>::empty({threads, stride});
  parallel_for(tiles, [&](std::int64_t tile, int worker) {
    // Another thread may have raised num_threads() in between.
    Tensor<T> mine = worker < threads ? scratch.slice(worker, worker + 1) : Tensor<T>::empty({stride});
    body(tile, mine.data());
  });
}

}  // namespace cuttle
