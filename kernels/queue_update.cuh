// New rows into memory queues.
#pragma once

#include "kernels/indexing.cuh"

namespace cuttle::kernels {

// op: memory[s, (pointer[s] + b) mod M, :] = values[b,s,:]
// layout: values (B,S,E), memory (S,M,E), pointer (S)
// launch: a thread for each value, blocks of 256, striding over the grid
// order: a copy; B <= M, so no slot is written twice
// limits: any
// cost: 2 * sizeof(T) bytes a value
template <class T>
CUTTLE_KERNEL queue_rows_kernel(seam::QueueUpdateArgs<T> a) {
  const Global<const T> values = a.values;
  const Global<const std::int64_t> pointer = a.pointer;
  const Global<T> memory = a.memory;
  for (std::int64_t i = thread_index(); i < a.B * a.S * a.E; i += thread_count()) {
    const std::int64_t e = i % a.E, s = i / a.E % a.S, b = i / a.E / a.S;
    memory[(s * a.M + seam::queue_slot(pointer[s], b, a.M)) * a.E + e] = values[i];
  }
}

// op: pointer[s] = (pointer[s] + B) mod M
// layout: pointer (S)
// launch: a thread for each queue, blocks of 32; after the rows are written
// order, limits: none
// cost: nothing
template <class T>
CUTTLE_KERNEL queue_pointer_kernel(seam::QueueUpdateArgs<T> a) {
  const Global<std::int64_t> pointer = a.pointer;
  for (std::int64_t s = thread_index(); s < a.S; s += thread_count())
    pointer[s] = seam::queue_slot(pointer[s], a.B, a.M);
}

template <class T>
void launch_queue_update(const seam::QueueUpdateArgs<T>& a, seam::Stream stream) {
  launch("queue_update", &queue_rows_kernel<T>, dim3(blocks_for(a.B * a.S * a.E, 256)), dim3(256), 0, stream, a);
  launch("queue_update", &queue_pointer_kernel<T>, dim3(blocks_for(a.S, 32)), dim3(32), 0, stream, a);
}

}  // namespace cuttle::kernels
