// Reads of a segmented memory on the CPU. Work is cut by shape alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cuttle/backend/cpu_gumbel_shrinkage.hpp"
#include "cuttle/backend/cpu_simd.hpp"
#include "cuttle/core/parallel.hpp"
#include "cuttle/core/scratch.hpp"
#include "cuttle/seam/args.hpp"

#define CUTTLE_KERNELS "cuttle/backend/memory_lookup.inl"
#include "cuttle/backend/foreach_isa.inl"

namespace cuttle::cpu {

// scores[b,s,m] = sum_e x[b,s,e] * memory[s,m,e]: a tile of work is 16 slots, every x of their segment passes over
// them.
template <class T>
void lookup_scores(const seam::MemoryLookupShape& n, const T* x, const T* memory, T* scores) {
  constexpr std::int64_t slots = 16, few = 4;
  const std::int64_t tiles = (n.M + slots - 1) / slots;
  parallel_for(n.S * tiles, [=](std::int64_t tile) {
    const std::int64_t s = tile / tiles, first = tile % tiles * slots, last = std::min(n.M, first + slots);
    for (std::int64_t b = 0; b < n.B; b += few)
      for (std::int64_t m = first; m < last; m += few)
        CUTTLE_ISA_CALL(memory_lookup::few_dots, n.E, std::min(few, n.B - b), x + (b * n.S + s) * n.E, n.S * n.E,
                        std::min(few, last - m), memory + (s * n.M + m) * n.E, n.E, scores + (b * n.S + s) * n.M + m,
                        n.S * n.M);
  });
}

// Columns of a tile: hundreds of lines of them stay in a core's second cache, tens in its first.
inline constexpr std::int64_t lookup_columns = 256;

// y[b,s,e] = sum_m weights[b,s,m] * memory[s,m,e], m ascending, without weights of 0.
template <class T>
void lookup_read(const seam::MemoryLookupShape& n, const T* weights, const T* memory, T* y) {
  const std::int64_t tiles = (n.E + lookup_columns - 1) / lookup_columns;
  parallel_for(n.S * tiles, [=](std::int64_t tile) {
    const std::int64_t s = tile / tiles, e = tile % tiles * lookup_columns, columns = std::min(lookup_columns, n.E - e);
    for (std::int64_t b = 0; b < n.B; ++b) {
      T* const line = y + (b * n.S + s) * n.E + e;
      std::fill_n(line, columns, T(0));
      CUTTLE_ISA_CALL(memory_lookup::add_lines, columns, n.M, weights + (b * n.S + s) * n.M, 1,
                      memory + s * n.M * n.E + e, n.E, line);
    }
  });
}

// dmemory[s,m,e] += sum_b weights[b,s,m] * dread[b,s,e] + sum_b dscores[b,s,m] * queries[b,s,e], b ascending. A tile's
// columns are laid side by side first: where they are, they may all fall into the same few lines of a cache.
template <class T>
void lookup_memory_gradient(const seam::MemoryLookupBackwardArgs<T>& a) {
  const seam::MemoryLookupShape& n = a.shape;
  const std::int64_t tiles = (n.E + lookup_columns - 1) / lookup_columns;
  const std::int64_t most = 2 * n.B * std::min(lookup_columns, n.E);
  parallel_for_with_scratch<T>(n.S * tiles, most, [&](std::int64_t tile, T* upstream) {
    const std::int64_t s = tile / tiles, e = tile % tiles * lookup_columns, columns = std::min(lookup_columns, n.E - e);
    T* const queries = upstream + n.B * columns;
    for (std::int64_t b = 0; b < n.B; ++b) {
      std::copy_n(a.dread + (b * n.S + s) * n.E + e, columns, upstream + b * columns);
      std::copy_n(a.queries + (b * n.S + s) * n.E + e, columns, queries + b * columns);
    }
    for (std::int64_t m = 0; m < n.M; ++m) {
      const std::int64_t first = s * n.M + m, next = n.S * n.M;
      T* const slot = a.dmemory + first * n.E + e;
      CUTTLE_ISA_CALL(memory_lookup::add_lines, columns, n.B, a.weights + first, next, upstream, columns, slot);
      CUTTLE_ISA_CALL(memory_lookup::add_lines, columns, n.B, a.dscores + first, next, queries, columns, slot);
    }
  });
}

template <class T>
void memory_lookup(const seam::MemoryLookupArgs<T>& a) {
  const seam::MemoryLookupShape& n = a.shape;
  lookup_scores(n, a.queries, a.memory, a.scores);
  gumbel_shrinkage<T>({n.B * n.S, n.M, n.rule, a.scores, a.weights, nullptr, nullptr});
  lookup_read(n, a.weights, a.memory, a.read);
}

template <class T>
void memory_lookup_backward(const seam::MemoryLookupBackwardArgs<T>& a) {
  const seam::MemoryLookupShape& n = a.shape;
  lookup_scores(n, a.dread, a.memory, a.dscores);
  gumbel_shrinkage_backward<T>({n.B * n.S, n.M, n.rule, a.scores, nullptr, a.dscores, a.dscores});
  if (a.dqueries) lookup_read(n, a.dscores, a.memory, a.dqueries);
  if (a.dmemory) lookup_memory_gradient(a);
}

}  // namespace cuttle::cpu
