// memory_lookup: scores, shrinkage and read of a segmented memory, and their gradients (seam/args.hpp has the
// formulas). The memory comes from the device's memory once, for the scores; what is read of it again lies in the
// cache.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuttle/seam/args.hpp"
#include "kernels/gumbel_shrinkage.cuh"
#include "kernels/indexing.cuh"
#include "kernels/vocab.cuh"

namespace cuttle::kernels {

// The next coordinate of a block, the fastest first: index modulo extent, which is divided off.
CUTTLE_DEVICE std::int64_t take_coordinate(unsigned& index, std::int64_t extent) {
  const auto n = static_cast<unsigned>(extent);
  const unsigned coordinate = index % n;
  index /= n;
  return coordinate;
}
constexpr std::int64_t tiles_of(std::int64_t n, std::int64_t tile) { return (n + tile - 1) / tile; }

// --- scores ----------------------------------------------------------------------------------------------------------

constexpr int score_threads = 128, score_slots = 64, score_queries = 32, score_columns = 32, score_stages = 3;
// Sixteen bytes more than a line: neighbouring lines start in different banks, packs stay aligned.
template <class T>
constexpr int score_pitch = score_columns + pack_size<T>;
template <class T>
constexpr int score_stage = (score_slots + score_queries) * score_pitch<T>;

template <class T>
struct LookupScoresArgs {
  seam::MemoryLookupShape shape;
  std::int64_t columns;  // of a chunk, a multiple of score_columns
  bool packs;            // E and the addresses are multiples of 16 bytes
  const T* x;            // (B,S,E)
  const T* memory;       // (S,M,E)
  T* partial;            // (chunks,B,S,M)
};

// to[line, column] = from[line * stride + column] for 32 columns and `lines` lines, 0 beyond live_lines and
// live_columns.
template <int lines, class T>
CUTTLE_DEVICE void fetch_lines(Shared<T> to, Global<const T> from, std::int64_t stride, std::int64_t live_lines,
                               std::int64_t live_columns, bool packs) {
  const int t = static_cast<int>(threadIdx.x);
  if (packs) {
    constexpr int N = pack_size<T>, packs_a_line = score_columns / N;
    for (int i = t; i < lines * packs_a_line; i += score_threads) {
      const int line = i / packs_a_line, column = i % packs_a_line * N, place = line * score_pitch<T> + column;
      if (line < live_lines && column < live_columns)
        copy_async(to + place, from + (line * stride + column));
      else
        store_pack(to + place, Pack<T, N>{});
    }
  } else {
    for (int i = t; i < lines * score_columns; i += score_threads) {
      const int line = i / score_columns, column = i % score_columns;
      const bool live = line < live_lines && column < live_columns;
      to[line * score_pitch<T> + column] = live ? from[line * stride + column] : T(0);
    }
  }
}

// op:     partial[chunk,b,s,m] = sum over the chunk's columns e of x[b,s,e] * memory[s,m,e]
// layout: see LookupScoresArgs; partial aliases nothing
// launch: one block of 128 threads for each 32 queries (fastest) x 64 slots x chunk x segment; 4 x 4 sums a thread;
//         3 * 96 * (32 + 16 bytes) elements of shared memory: slices of 32 columns, two on their way while one is used
// order:  columns ascending within a chunk, by fma: deterministic; a NaN or infinity follows the arithmetic
// limits: any B, S, M, E; packs of 16 bytes where E and the addresses allow, else element by element
// cost:   2 B S M E flops; 4 S M E bytes from memory, and as many from the cache for each further 32 queries; for few
//         queries bound by memory
template <class T>
CUTTLE_KERNEL __launch_bounds__(score_threads) lookup_scores(LookupScoresArgs<T> a) {
  CUTTLE_DYNAMIC_SHARED(T, stages);
  const seam::MemoryLookupShape& n = a.shape;
  unsigned block = blockIdx.x;
  const std::int64_t first_b = take_coordinate(block, tiles_of(n.B, score_queries)) * score_queries;
  const std::int64_t first_m = take_coordinate(block, tiles_of(n.M, score_slots)) * score_slots;
  const std::int64_t chunk = take_coordinate(block, n.chunks), s = block;
  const std::int64_t first_e = chunk * a.columns, left = n.E - first_e;
  const std::int64_t columns = left < a.columns ? left : a.columns;  // none or fewer in chunks past E
  const int steps = static_cast<int>(tiles_of(columns, score_columns));

  const Global<const T> x = a.x, memory = a.memory;
  const auto fetch = [&](int step) {
    if (step < steps) {
      const Shared<T> slots = stages + step % score_stages * score_stage<T>;
      const std::int64_t e = first_e + step * score_columns, live = columns - step * score_columns;
      fetch_lines<score_slots>(slots, memory + ((s * n.M + first_m) * n.E + e), n.E, n.M - first_m, live, a.packs);
      fetch_lines<score_queries>(slots + score_slots * score_pitch<T>, x + ((first_b * n.S + s) * n.E + e), n.S * n.E,
                                 n.B - first_b, live, a.packs);
    }
    copy_async_commit();
  };

  // A warp has 8 queries, its half warps 4 each; a lane has every 16th slot.
  const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
  const int first_query = 8 * warp + 4 * (lane / 16), first_slot = lane % 16;
  const bool live = first_b + 8 * warp < n.B;
  T sum[4][4] = {};
  fetch(0);
  fetch(1);
  for (int step = 0; step < steps; ++step) {
    copy_async_wait<1>();
    __syncthreads();
    fetch(step + 2);
    if (!live) continue;
    const Shared<const T> slots = stages + step % score_stages * score_stage<T>;
    const Shared<const T> queries = slots + score_slots * score_pitch<T>;
    constexpr int N = pack_size<T>;
#pragma unroll 4
    for (int e = 0; e < score_columns; e += N) {
      Pack<T, N> query[4], slot[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        query[i] = load_pack<N>(queries + ((first_query + i) * score_pitch<T> + e));
        slot[i] = load_pack<N>(slots + ((first_slot + 16 * i) * score_pitch<T> + e));
      }
#pragma unroll
      for (int k = 0; k < N; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j) sum[i][j] = fma(query[i].at[k], slot[j].at[k], sum[i][j]);
    }
  }

  const Global<T> partial = a.partial;
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t b = first_b + first_query + i, m = first_m + first_slot + 16 * j;
      if (b < n.B && m < n.M) partial[((chunk * n.B + b) * n.S + s) * n.M + m] = sum[i][j];
    }
}

template <class T>
void launch_lookup_scores(const char* what, const seam::MemoryLookupShape& n, const T* x, const T* memory, T* partial,
                          seam::Stream stream) {
  const std::int64_t columns = tiles_of(tiles_of(n.E, n.chunks), score_columns) * score_columns;
  const std::int64_t blocks = tiles_of(n.B, score_queries) * tiles_of(n.M, score_slots) * n.chunks * n.S;
  const bool packs = n.E % pack_size<T> == 0 && aligned(x, memory);
  launch(what, &lookup_scores<T>, static_cast<unsigned>(blocks), score_threads,
         score_stages * score_stage<T> * sizeof(T), stream, LookupScoresArgs<T>{n, columns, packs, x, memory, partial});
}

// --- read ------------------------------------------------------------------------------------------------------------

template <class T>
struct LookupReadArgs {
  seam::MemoryLookupShape shape;
  const T* weights;  // (B,S,M)
  const T* memory;   // (S,M,E)
  T* y;              // (B,S,E)
};

constexpr int gather_threads = 128, gather_columns = 4 * gather_threads, gather_most = 32;

// op:     y[b,s,e] = sum_m weights[b,s,m] * memory[s,m,e] for rows of at most 32 weights that are not 0, or only NaN
//         (of which the first 32 make NaN as well as all would)
// layout: see LookupReadArgs; y aliases nothing
// launch: one block of 128 threads for each 512 columns (fastest) of each row; its first warp lists the slots kept
// order:  m ascending, by fma: deterministic; slots of weight 0 are not read
// limits: any B, S, M, E
// cost:   2 B S k E flops; 4 B S (k + 1) E + 4 B S M bytes, most of them from the cache: bound by latency
template <class T>
CUTTLE_KERNEL __launch_bounds__(gather_threads) lookup_gather(LookupReadArgs<T> a) {
  CUTTLE_SHARED(T, weight, gather_most);
  CUTTLE_SHARED(int, slot, gather_most);
  CUTTLE_SHARED(int, kept, 1);
  const seam::MemoryLookupShape& n = a.shape;
  unsigned block = blockIdx.x;
  const std::int64_t first_e = take_coordinate(block, tiles_of(n.E, gather_columns)) * gather_columns, row = block;
  const int t = static_cast<int>(threadIdx.x), M = static_cast<int>(n.M);
  if (t < warp_size) {
    const Global<const T> weights = a.weights;
    int count = 0;
    for (int first = 0; first < M; first += warp_size) {
      const int m = first + t;
      const T w = m < M ? weights[row * M + m] : T(0);
      const unsigned votes = __ballot_sync(full_mask, w != 0);
      const int place = count + popcount(votes & ((1u << t) - 1));
      if (w != 0 && place < gather_most) {
        weight[place] = w;
        slot[place] = m;
      }
      count += popcount(votes);
    }
    if (t == 0) kept[0] = count < gather_most ? count : gather_most;
  }
  __syncthreads();

  const Global<const T> memory = a.memory + row % n.S * n.M * n.E;
  const int count = kept[0];
  T sum[4] = {};
#pragma unroll 4
  for (int i = 0; i < count; ++i) {
    const T w = weight[i];
    const Global<const T> line = memory + slot[i] * n.E;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t e = first_e + t + j * gather_threads;
      if (e < n.E) sum[j] = fma(w, line[e], sum[j]);
    }
  }
  const Global<T> y = a.y;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const std::int64_t e = first_e + t + j * gather_threads;
    if (e < n.E) y[row * n.E + e] = sum[j];
  }
}

constexpr int dense_threads = 64, dense_queries = 8, dense_slots = 64;

// op:     y[b,s,e] = sum_m weights[b,s,m] * memory[s,m,e]
// layout: see LookupReadArgs; y aliases nothing
// launch: one block of 64 threads, a column each, for each 8 queries (fastest) x 64 columns x segment
// order:  m ascending, by fma: deterministic; products with a weight of 0 are left out
// limits: any B, S, M, E
// cost:   2 B S M E flops; 4 S M E bytes for each 8 queries, from the cache: bound by instructions issued
template <class T>
CUTTLE_KERNEL __launch_bounds__(dense_threads) lookup_read_dense(LookupReadArgs<T> a) {
  constexpr int N = pack_size<T>;
  using Weights = Pack<T, N>;
  CUTTLE_SHARED(Weights, weight, dense_slots * dense_queries / N);
  const seam::MemoryLookupShape& n = a.shape;
  unsigned block = blockIdx.x;
  const std::int64_t first_b = take_coordinate(block, tiles_of(n.B, dense_queries)) * dense_queries;
  const std::int64_t e = take_coordinate(block, tiles_of(n.E, dense_threads)) * dense_threads + threadIdx.x, s = block;
  const Global<const T> weights = a.weights, memory = a.memory;
  T sum[dense_queries] = {};
  for (std::int64_t first_m = 0; first_m < n.M; first_m += dense_slots) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < dense_slots * dense_queries; i += dense_threads) {
      const std::int64_t b = first_b + i % dense_queries, m = first_m + i / dense_queries;
      shared_cast<T>(weight)[i] = b < n.B && m < n.M ? weights[(b * n.S + s) * n.M + m] : T(0);
    }
    __syncthreads();
    if (e >= n.E) continue;
    for (int first = 0; first < dense_slots && first_m + first < n.M; first += 8) {
      T value[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const std::int64_t m = first_m + first + i;
        value[i] = m < n.M ? memory[(s * n.M + m) * n.E + e] : T(0);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int q = 0; q < dense_queries; q += N) {
          const Weights w = weight[((first + i) * dense_queries + q) / N];
#pragma unroll
          for (int k = 0; k < N; ++k)
            if (w.at[k] != 0) sum[q + k] = fma(w.at[k], value[i], sum[q + k]);
        }
    }
  }
  if (e >= n.E) return;
  const Global<T> y = a.y;
#pragma unroll
  for (int q = 0; q < dense_queries; ++q)
    if (first_b + q < n.B) y[((first_b + q) * n.S + s) * n.E + e] = sum[q];
}

template <class T>
void launch_lookup_gather(const char* what, const LookupReadArgs<T>& a, seam::Stream stream) {
  const std::int64_t blocks = tiles_of(a.shape.E, gather_columns) * a.shape.B * a.shape.S;
  launch(what, &lookup_gather<T>, static_cast<unsigned>(blocks), gather_threads, 0, stream, a);
}

template <class T>
void launch_lookup_read_dense(const char* what, const LookupReadArgs<T>& a, seam::Stream stream) {
  const std::int64_t blocks = tiles_of(a.shape.B, dense_queries) * tiles_of(a.shape.E, dense_threads) * a.shape.S;
  launch(what, &lookup_read_dense<T>, static_cast<unsigned>(blocks), dense_threads, 0, stream, a);
}

// --- the memory's gradient -------------------------------------------------------------------------------------------

constexpr int gradient_threads = 128, gradient_slots = 16, gradient_queries = 16;

// op:     dmemory[s,m,e] += sum_b (weights[b,s,m] * dread[b,s,e] + dscores[b,s,m] * queries[b,s,e])
// layout: see seam::MemoryLookupBackwardArgs; dmemory aliases nothing
// launch: one block of 128 threads, a column each, for each 16 slots (fastest) x 128 columns x segment
// order:  b ascending, weights before dscores, by fma: deterministic; products with a factor of 0 are left out
// limits: any B, S, M, E; B = 0 leaves dmemory as it is
// cost:   2 B S (M + k) E flops; 8 S M E bytes from memory, and 8 B S E for each 16 slots from the cache
template <class T>
CUTTLE_KERNEL __launch_bounds__(gradient_threads) lookup_memory_gradient(seam::MemoryLookupBackwardArgs<T> a) {
  constexpr int N = pack_size<T>;
  using Weights = Pack<T, N>;
  CUTTLE_SHARED(Weights, weight, gradient_queries * gradient_slots / N);
  CUTTLE_SHARED(Weights, dscore, gradient_queries * gradient_slots / N);
  const seam::MemoryLookupShape& n = a.shape;
  unsigned block = blockIdx.x;
  const std::int64_t first_m = take_coordinate(block, tiles_of(n.M, gradient_slots)) * gradient_slots;
  const std::int64_t e = take_coordinate(block, tiles_of(n.E, gradient_threads)) * gradient_threads + threadIdx.x;
  const std::int64_t s = block;
  const Global<const T> weights = a.weights, dscores = a.dscores, dread = a.dread, queries = a.queries;
  const Global<T> dmemory = a.dmemory;
  T sum[gradient_slots];
#pragma unroll
  for (int i = 0; i < gradient_slots; ++i)
    sum[i] = e < n.E && first_m + i < n.M ? static_cast<T>(dmemory[(s * n.M + first_m + i) * n.E + e]) : T(0);
  for (std::int64_t first_b = 0; first_b < n.B; first_b += gradient_queries) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < gradient_queries * gradient_slots; i += gradient_threads) {
      const std::int64_t b = first_b + i / gradient_slots, m = first_m + i % gradient_slots;
      const bool live = b < n.B && m < n.M;
      shared_cast<T>(weight)[i] = live ? weights[(b * n.S + s) * n.M + m] : T(0);
      shared_cast<T>(dscore)[i] = live ? dscores[(b * n.S + s) * n.M + m] : T(0);
    }
    __syncthreads();
    if (e >= n.E) continue;
#pragma unroll 2
    for (int q = 0; q < gradient_queries; ++q) {
      const std::int64_t b = first_b + q;
      const T upstream = b < n.B ? dread[(b * n.S + s) * n.E + e] : T(0);
      const T query = b < n.B ? queries[(b * n.S + s) * n.E + e] : T(0);
#pragma unroll
      for (int i = 0; i < gradient_slots; i += N) {
        const Weights w = weight[(q * gradient_slots + i) / N], d = dscore[(q * gradient_slots + i) / N];
#pragma unroll
        for (int k = 0; k < N; ++k) {
          if (w.at[k] != 0) sum[i + k] = fma(w.at[k], upstream, sum[i + k]);
          if (d.at[k] != 0) sum[i + k] = fma(d.at[k], query, sum[i + k]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < gradient_slots; ++i)
    if (e < n.E && first_m + i < n.M) dmemory[(s * n.M + first_m + i) * n.E + e] = sum[i];
}

// --- the ops ---------------------------------------------------------------------------------------------------------

template <class T>
void launch_memory_lookup(const seam::MemoryLookupArgs<T>& a, seam::Stream stream) {
  const char* what = "memory_lookup";
  const seam::MemoryLookupShape& n = a.shape;
  launch_lookup_scores(what, n, a.queries, a.memory, a.partial, stream);
  launch_shrink_rows<32, false>(
      what, ShrinkRowsArgs<T>{n.B * n.S, n.M, n.chunks, n.rule, a.partial, nullptr, a.scores, a.weights}, stream);
  const bool few = n.rule.kind == seam::ShrinkageKind::keep_above_kth || n.rule.kind == seam::ShrinkageKind::keep_k;
  const LookupReadArgs<T> read{n, a.weights, a.memory, a.read};
  if (few && n.rule.k <= gather_most)
    launch_lookup_gather(what, read, stream);
  else
    launch_lookup_read_dense(what, read, stream);
}

template <class T>
void launch_memory_lookup_backward(const seam::MemoryLookupBackwardArgs<T>& a, seam::Stream stream) {
  const char* what = "memory_lookup_backward";
  const seam::MemoryLookupShape& n = a.shape;
  launch_lookup_scores(what, n, a.dread, a.memory, a.partial, stream);
  launch_shrink_rows<32, true>(
      what, ShrinkRowsArgs<T>{n.B * n.S, n.M, n.chunks, n.rule, a.scores, a.partial, nullptr, a.dscores}, stream);
  if (a.dqueries) launch_lookup_read_dense(what, LookupReadArgs<T>{n, a.dscores, a.memory, a.dqueries}, stream);
  if (!a.dmemory) return;
  const std::int64_t blocks = tiles_of(n.M, gradient_slots) * tiles_of(n.E, gradient_threads) * n.S;
  launch(what, &lookup_memory_gradient<T>, static_cast<unsigned>(blocks), gradient_threads, 0, stream, a);
}

}  // namespace cuttle::kernels
