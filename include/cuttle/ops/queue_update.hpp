// queue_update: the newest features into memory queues (Xiang et al. 2023, SQUID: one queue for each segment).
#pragma once

#include <cstdint>

#include "cuttle/backend/cpu_queue_update.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/seam/args.hpp"

namespace cuttle {

// memory (S,M,E): S queues of M slots; values (B,S,E), B <= M, a row for each queue from each image; pointer (S), the
// slot that each queue writes next. In place: memory[s, (pointer[s] + b) mod M] = values[b,s], then pointer[s] =
// (pointer[s] + B) mod M. The pointer lies with the rest, so that a recorded step goes on where the last one ended; one
// outside of [0, M) counts modulo M.
template <class T>
void queue_update(Tensor<T>& memory, Tensor<std::int64_t>& pointer, const Tensor<T>& values) {
  const char* op = "queue_update";
  require(memory.rank() == 3 && memory.size(1) >= 1, op, ": memory has shape ", memory.shape(), ", expected (S,M,E)");
  const std::int64_t S = memory.size(0), M = memory.size(1), E = memory.size(2);
  require(pointer.shape() == Shape{S}, op, ": pointer has shape ", pointer.shape(), ", memory ", memory.shape());
  require(values.rank() == 3 && values.size(1) == S && values.size(2) == E, op, ": values have shape ", values.shape(),
          ", memory ", memory.shape(), ", expected (B,", S, ",", E, ")");
  require(values.size(0) <= M, op, ": ", values.size(0), " rows for a queue of ", M, " slots");
  detail::dispatch<T>(op, detail::common_device(op, memory, pointer, values), &cpu::queue_update<T>,
                      &seam::OpTable<T>::queue_update,
                      seam::QueueUpdateArgs<T>{S, M, E, values.size(0), values.data(), pointer.data(), memory.data()});
}

}  // namespace cuttle
