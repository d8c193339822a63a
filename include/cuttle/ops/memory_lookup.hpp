// memory_lookup: what a memory of patterns holds for each query, segment by segment (Xiang et al., "SQUID", CVPR 2023,
// sections 3.2 and 3.3).
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuttle/backend/cpu_memory_lookup.hpp"
#include "cuttle/core/tensor.hpp"
#include "cuttle/ops/dispatch.hpp"
#include "cuttle/ops/gumbel_shrinkage.hpp"

namespace cuttle {

// The result, and what its backward needs.
template <class T>
struct MemoryRead {
  Tensor<T> read;             // (B,S,E)
  Tensor<T> scores, weights;  // (B,S,M)
};

namespace detail {

// On a device a block takes 64 slots, 32 queries and a range of columns; there should be enough of them to occupy it,
// and each should have some 128 columns.
constexpr std::int64_t lookup_chunks(std::int64_t B, std::int64_t S, std::int64_t M, std::int64_t E) {
  const std::int64_t blocks = std::max<std::int64_t>(1, S * ((M + 63) / 64) * ((B + 31) / 32));
  return std::clamp<std::int64_t>((264 + blocks - 1) / blocks, 1, (E + 127) / 128);
}

template <class T>
seam::MemoryLookupShape lookup_shape(const char* op, const Tensor<T>& queries, const Tensor<T>& memory,
                                     const Shrinkage& shrinkage) {
  require(queries.rank() == 3 && memory.rank() == 3 && queries.size(1) == memory.size(0) &&
              queries.size(2) == memory.size(2) && memory.size(0) >= 1 && memory.size(2) >= 1,
          op, ": queries have shape ", queries.shape(), ", memory ", memory.shape(), ", expected (B,S,E) and (S,M,E)");
  const std::int64_t B = queries.size(0), S = memory.size(0), M = memory.size(1), E = memory.size(2);
  return {B, S, M, E, shrinkage_rule(op, shrinkage, M), lookup_chunks(B, S, M, E)};
}

template <class T>
Tensor<T> lookup_scratch(const seam::MemoryLookupShape& n, Device device) {
  return device.is_cpu() ? Tensor<T>() : Tensor<T>::empty({n.chunks, n.B, n.S, n.M}, device);
}

}  // namespace detail

// Query (b, s) reads the memory of segment s alone: scores[b,s,m] = sum_e queries[b,s,e] * memory[s,m,e], weights =
// gumbel_shrinkage(scores) over m, read[b,s,e] = sum_m weights[b,s,m] * memory[s,m,e]. queries (B,S,E), memory (S,M,E),
// S, E >= 1, 1 <= M <= 8192. Slots of weight 0 are not read. A NaN score makes the query's weights and read NaN.
// Sums are in T in a fixed order, which differs between devices: float scores are within (E + 1) * 2^-24 *
// sum_e |q_e m_e| of the exact ones, and a slot whose y comes as close to the k-th may be kept on one device only.
template <class T>
MemoryRead<T> memory_lookup(const Tensor<T>& queries, const Tensor<T>& memory,
                            const Shrinkage& shrinkage = KeepAboveKth{}) {
  const seam::MemoryLookupShape n = detail::lookup_shape("memory_lookup", queries, memory, shrinkage);
  const Device device = detail::common_device("memory_lookup", queries, memory);
  MemoryRead<T> result{Tensor<T>::empty({n.B, n.S, n.E}, device), Tensor<T>::empty({n.B, n.S, n.M}, device),
                       Tensor<T>::empty({n.B, n.S, n.M}, device)};
  Tensor<T> partial = detail::lookup_scratch<T>(n, device);
  detail::dispatch<T>("memory_lookup", device, &cpu::memory_lookup<T>, &seam::OpTable<T>::memory_lookup,
                      {n, queries.data(), memory.data(), result.scores.data(), result.weights.data(),
                       result.read.data(), partial.data()});
  return result;
}

// Returns d loss/d queries where wanted, and adds d loss/d memory, through the scores and through the read, to dmemory
// where it is defined. `found` is what memory_lookup gave for the same arguments, dread (B,S,E). With a softmax the
// gradient is straight-through: read = sum_m (constant(weights - y) + y) * memory.
template <class T>
Tensor<T> memory_lookup_backward(const Tensor<T>& queries, const Tensor<T>& memory, const MemoryRead<T>& found,
                                 const Tensor<T>& dread, const Shrinkage& shrinkage, bool want_dqueries,
                                 Tensor<T> dmemory) {
  const char* op = "memory_lookup_backward";
  const seam::MemoryLookupShape n = detail::lookup_shape(op, queries, memory, shrinkage);
  const Shape weights_shape{n.B, n.S, n.M};
  require(found.scores.shape() == weights_shape && found.weights.shape() == weights_shape &&
              dread.shape() == queries.shape() && (!dmemory.defined() || dmemory.shape() == memory.shape()),
          op, ": queries have shape ", queries.shape(), ", memory ", memory.shape(), ", scores ", found.scores.shape(),
          ", weights ", found.weights.shape(), ", dread ", dread.shape(), ", dmemory ", dmemory.shape());
  const Device device = detail::common_device(op, queries, memory, found.scores, found.weights, dread, dmemory);
  Tensor<T> dqueries;
  if (want_dqueries) dqueries = Tensor<T>::empty(queries.shape(), device);
  Tensor<T> dscores = Tensor<T>::empty(weights_shape, device), partial = detail::lookup_scratch<T>(n, device);
  detail::dispatch<T>(op, device, &cpu::memory_lookup_backward<T>, &seam::OpTable<T>::memory_lookup_backward,
                      {n, queries.data(), memory.data(), found.scores.data(), found.weights.data(), dread.data(),
                       dscores.data(), dqueries.data(), dmemory.data(), partial.data()});
  return dqueries;
}

}  // namespace cuttle
