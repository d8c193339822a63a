// Element by element and row by row: arithmetic, layout, rows by index, standardised bytes, columns of unit length.
#pragma once

#include "kernels/indexing.cuh"

namespace cuttle::kernels {

// op: elementwise: y = a + b, a - b, a * b or factor * a.
// layout: a, b, y (n); y may be a or b: each element is read and written by one thread.
// launch: a thread for each pack of N, blocks of 256, striding over the grid.
// order: one operation, rounded once: the CPU's bits.
// limits: N > 1 where every address is a multiple of 16 bytes.
// cost: 3 * sizeof(T) bytes an element (scale 2): copy bandwidth.
template <class T, seam::Elementwise f>
CUTTLE_DEVICE T combine(T a, T b) {
  if (f == seam::Elementwise::add) return a + b;
  if (f == seam::Elementwise::sub) return a - b;
  return a * b;
}
template <class T, seam::Elementwise f, int N>
CUTTLE_KERNEL elementwise(seam::ElementwiseArgs<T> args) {
  constexpr bool has_b = f != seam::Elementwise::scale;
  const MayAlias<const T> a = args.a, b = args.b;
  const MayAlias<T> y = args.y;
  const T factor = static_cast<T>(args.factor);
  const std::int64_t packs = args.n / N;
  for (std::int64_t i = thread_index(); i < packs; i += thread_count()) {
    const Pack<T, N> left = load_pack<N>(a + i * N);
    Pack<T, N> right;
    if (has_b) right = load_pack<N>(b + i * N);
    Pack<T, N> result;
    for (int k = 0; k < N; ++k) result.at[k] = combine<T, f>(left.at[k], has_b ? right.at[k] : factor);
    store_pack(y + i * N, result);
  }
  for (std::int64_t i = packs * N + thread_index(); i < args.n; i += thread_count())
    y[i] = combine<T, f>(a[i], has_b ? static_cast<T>(b[i]) : factor);
}

template <class T, seam::Elementwise f>
void launch_elementwise_as(const seam::ElementwiseArgs<T>& a, seam::Stream stream) {
  constexpr int N = pack_size<T>;
  const auto kernel = aligned(a.a, a.b, a.y) ? &elementwise<T, f, N> : &elementwise<T, f, 1>;
  launch("elementwise", kernel, blocks_for((a.n + N - 1) / N, 256), 256, 0, stream, a);
}
template <class T>
void launch_elementwise(const seam::ElementwiseArgs<T>& a, seam::Stream stream) {
  switch (a.f) {
    case seam::Elementwise::add:
      return launch_elementwise_as<T, seam::Elementwise::add>(a, stream);
    case seam::Elementwise::sub:
      return launch_elementwise_as<T, seam::Elementwise::sub>(a, stream);
    case seam::Elementwise::multiply:
      return launch_elementwise_as<T, seam::Elementwise::multiply>(a, stream);
    case seam::Elementwise::scale:
      return launch_elementwise_as<T, seam::Elementwise::scale>(a, stream);
  }
}

// op: permute: y[i_0, i_1, ...] = x at sum_k i_k * stride[k].
// layout: y row-major with these extents; x as many elements; they do not overlap.
// launch: a thread for each element of y, blocks of 256, striding over the grid. The launcher first joins dimensions
//     that are neighbours in x as well, which leaves two to four of them in practice.
// order: a copy.
// limits: rank <= 8.
// cost: each element read and written once; the reads are strided, so that up to 32 bytes move for each.
template <class T, class Index>
CUTTLE_KERNEL permute(seam::PermuteArgs<T> a, Index n) {
  const Global<const T> x = a.x;
  const Global<T> y = a.y;
  for (Index to = static_cast<Index>(thread_index()); to < n; to += static_cast<Index>(thread_count())) {
    Index rest = to;
    std::int64_t from = 0;
#pragma unroll
    for (int k = 7; k >= 0; --k) {
      if (k >= a.rank) continue;
      const Index extent = static_cast<Index>(a.extent[k]), above = rest / extent;
      from += static_cast<std::int64_t>(rest - above * extent) * a.stride[k];
      rest = above;
    }
    y[to] = x[from];
  }
}

// op: permute, where it is a batch of matrix transposes: y[b,i,j] = x[b*batch_stride + j*pitch + i].
// layout: extent {B, I, J}, stride {batch_stride, 1, pitch}.
// launch: a block of 32 x 8 threads for each tile of 32 x 32 elements, striding over the grid; tiles pass through
//     shared memory, in rows of 33 so that its columns lie in different banks.
// order: a copy.
// limits: as above.
// cost: each element read and written once, both in runs of 32: copy bandwidth.
constexpr int transpose_tile = 32, transpose_rows = 8;
template <class T>
CUTTLE_KERNEL transpose(seam::PermuteArgs<T> a) {
  constexpr int pitch = transpose_tile + 1;
  CUTTLE_SHARED(T, tile, transpose_tile * pitch);
  const Global<const T> x = a.x;
  const Global<T> y = a.y;
  const std::int64_t I = a.extent[1], J = a.extent[2];
  const std::int64_t down = (I + transpose_tile - 1) / transpose_tile,
                     across = (J + transpose_tile - 1) / transpose_tile;
  const int lane = static_cast<int>(threadIdx.x) % transpose_tile, row = static_cast<int>(threadIdx.x) / transpose_tile;
  for (std::int64_t work = blockIdx.x; work < a.extent[0] * down * across; work += gridDim.x) {
    const std::int64_t b = work / (down * across), i0 = work / across % down * transpose_tile,
                       j0 = work % across * transpose_tile;
    for (int k = row; k < transpose_tile; k += transpose_rows)
      if (j0 + k < J && i0 + lane < I) tile[k * pitch + lane] = x[b * a.stride[0] + (j0 + k) * a.stride[2] + i0 + lane];
    __syncthreads();
    for (int k = row; k < transpose_tile; k += transpose_rows)
      if (i0 + k < I && j0 + lane < J) y[(b * I + i0 + k) * J + j0 + lane] = tile[lane * pitch + k];
    __syncthreads();
  }
}

template <class T>
void launch_permute(const seam::PermuteArgs<T>& a, seam::Stream stream) {
  seam::PermuteArgs<T> joined = a;
  std::int64_t n = 1;
  joined.rank = 0;
  for (int k = 0; k < a.rank; ++k) {
    n *= a.extent[k];
    if (a.extent[k] == 1) continue;
    const int last = joined.rank - 1;
    if (last >= 0 && joined.stride[last] == a.stride[k] * a.extent[k]) {
      joined.extent[last] *= a.extent[k];
      joined.stride[last] = a.stride[k];
    } else {
      joined.extent[joined.rank] = a.extent[k];
      joined.stride[joined.rank++] = a.stride[k];
    }
  }
  if (n == 0) return;
  if (joined.rank == 2) {  // a batch of one
    for (int k = 2; k > 0; --k) {
      joined.extent[k] = joined.extent[k - 1];
      joined.stride[k] = joined.stride[k - 1];
    }
    joined.extent[0] = 1;
    joined.rank = 3;
  }
  if (joined.rank == 3 && joined.stride[1] == 1) {
    const std::int64_t tiles = joined.extent[0] * ((joined.extent[1] + transpose_tile - 1) / transpose_tile) *
                               ((joined.extent[2] + transpose_tile - 1) / transpose_tile);
    return launch("permute", &transpose<T>, blocks_for(tiles, 1), transpose_tile * transpose_rows, 0, stream, joined);
  }
  with_index(n, [&](auto count) {
    launch("permute", &permute<T, decltype(count)>, blocks_for(n, 256), 256, 0, stream, joined, count);
  });
}

// op: gather_rows: y[q,:] = x[index[q],:]; NaN where index[q] is no row of x.
// layout: x (N,D), index (Q), y (Q,D); x and y do not overlap.
// launch: a thread for each pack of y, blocks of 256, striding over the grid.
// order: a copy.
// limits: packs of more than one where D is a multiple and x and y are aligned to 16 bytes.
// cost: each row read and written once, in whole rows: copy bandwidth.
template <class T, class Index, int width>
CUTTLE_KERNEL gather_rows(seam::GatherRowsArgs<T> a, Index packs) {
  const Global<const T> x = a.x;
  const Global<const std::int32_t> index = a.index;
  const Global<T> y = a.y;
  const Index row_packs = static_cast<Index>(a.D / width);
  for (Index e = static_cast<Index>(thread_index()); e < packs; e += static_cast<Index>(thread_count())) {
    const std::int64_t row = index[e / row_packs];
    Pack<T, width> values;
    if (row >= 0 && row < a.N) {
      values = load_pack<width>(x + (row * a.D + std::int64_t{e % row_packs} * width));
    } else {
      for (int k = 0; k < width; ++k) values.at[k] = std::numeric_limits<T>::quiet_NaN();
    }
    store_pack(y + std::int64_t{e} * width, values);
  }
}

template <class T>
void launch_gather_rows(const seam::GatherRowsArgs<T>& a, seam::Stream stream) {
  constexpr int N = pack_size<T>;
  const bool packs = a.D % N == 0 && aligned(a.x, a.y);
  const std::int64_t n = packs ? a.Q * a.D / N : a.Q * a.D;
  with_index(n, [&](auto count) {
    using Index = decltype(count);
    const auto kernel = packs ? &gather_rows<T, Index, N> : &gather_rows<T, Index, 1>;
    launch("gather_rows", kernel, blocks_for(n, 256), 256, 0, stream, a, count);
  });
}

// op: add_rows: x[index[q],:] += y[q,:] for q = 0, 1, ..., Q-1; an index that is no row of x is left out.
// layout: x (N,D), index (Q), y (Q,D); x and y do not overlap.
// launch: a block of 256 threads for each range of rows_a_block rows of x. It passes over the whole index list, 1024
//     at a time, and keeps the q of its own rows in shared memory; then a warp for each of its rows adds the list's
//     rows up.
// order: the list is in ascending q whatever the threads do, and one lane adds everything that an element of x gets,
//     in that order, starting from the element: the CPU's bits. No atomics.
// limits: Q < 2^31; any D.
// cost: Q * D read once and the touched rows of x read and written once; N / rows_a_block passes over 4 Q bytes of
//     index, which the L2 cache serves. With Q = 16384, N = 30000: 469 passes of 64 KB, about as long as the rows
//     take.
constexpr int add_rows_threads = 256, add_rows_warps = add_rows_threads / warp_size;
constexpr int add_rows_chunk = 1024, add_rows_list = 2048;
template <class T>
CUTTLE_KERNEL add_rows(seam::GatherRowsArgs<T> a, std::int64_t rows_a_block) {
  constexpr int lots = add_rows_chunk / add_rows_threads;  // of 32 q for each warp and chunk
  CUTTLE_SHARED(std::int32_t, list_q, add_rows_list);
  CUTTLE_SHARED(std::int32_t, list_row, add_rows_list);
  CUTTLE_SHARED(int, counts, add_rows_warps);
  const Global<const std::int32_t> index = a.index;
  const Global<const T> y = a.y;
  const Global<T> x = a.x;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / warp_size, lane = thread % warp_size;
  for (std::int64_t first_row = std::int64_t{blockIdx.x} * rows_a_block; first_row < a.N;
       first_row += std::int64_t{gridDim.x} * rows_a_block) {
    const std::int64_t end_row = first_row + rows_a_block < a.N ? first_row + rows_a_block : a.N;
    int length = 0;
    for (std::int64_t base = 0; base < a.Q; base += add_rows_chunk) {
      // Warp w looks at the w-th lot of lots * 32 neighbours.
      std::int64_t row[lots];
      unsigned found[lots];
      int mine = 0;
      const std::int64_t q0 = base + warp * (lots * warp_size) + lane;
#pragma unroll
      for (int k = 0; k < lots; ++k) {
        const std::int64_t q = q0 + k * warp_size;
        row[k] = q < a.Q ? static_cast<std::int64_t>(index[q]) : -1;
      }
#pragma unroll
      for (int k = 0; k < lots; ++k) {
        found[k] = __ballot_sync(full_mask, row[k] >= first_row && row[k] < end_row);
        mine += popcount(found[k]);
      }
      if (lane == 0) counts[warp] = mine;
      __syncthreads();
      int place = length;
      for (int w = 0; w < add_rows_warps; ++w) {
        const int count = counts[w];
        if (w < warp) place += count;
        length += count;
      }
#pragma unroll
      for (int k = 0; k < lots; ++k) {
        if (found[k] >> lane & 1u) {
          const int at = place + popcount(found[k] & ((1u << lane) - 1));
          list_q[at] = static_cast<std::int32_t>(q0 + k * warp_size);
          list_row[at] = static_cast<std::int32_t>(row[k]);
        }
        place += popcount(found[k]);
      }
      __syncthreads();
      if (length <= add_rows_list - add_rows_chunk && base + add_rows_chunk < a.Q) continue;

      for (std::int64_t r = first_row + warp; r < end_row; r += add_rows_warps)
        for (std::int64_t d0 = 0; d0 < a.D; d0 += 2 * warp_size) {
          // Two elements a lane.
          const std::int64_t d = d0 + lane;
          const bool has[2] = {d < a.D, d + warp_size < a.D};
          T sum[2] = {};
          bool any = false;
          for (int e0 = 0; e0 < length; e0 += warp_size) {
            const bool here = e0 + lane < length && list_row[e0 + lane] == r;
            const unsigned entries = __ballot_sync(full_mask, here);
            if (entries != 0 && !any) {
              any = true;
              for (int k = 0; k < 2; ++k)
                if (has[k]) sum[k] = x[r * a.D + d + k * warp_size];
            }
            for (int e = 0; e < warp_size; ++e) {
              if (!(entries >> e & 1u)) continue;
              const std::int64_t q = list_q[e0 + e];
              for (int k = 0; k < 2; ++k)
                if (has[k]) sum[k] += y[q * a.D + d + k * warp_size];
            }
          }
          for (int k = 0; k < 2; ++k)
            if (any && has[k]) x[r * a.D + d + k * warp_size] = sum[k];
        }
      length = 0;  // no warp fills the list again before all have met at the next barrier
    }
  }
}

template <class T>
void launch_add_rows(const seam::GatherRowsArgs<T>& a, seam::Stream stream) {
  if (a.Q == 0 || a.D == 0 || a.N == 0) return;
  // Enough blocks to fill a device, few enough that their passes over the list stay cheap.
  std::int64_t rows = (a.N / 512 + add_rows_warps - 1) / add_rows_warps * add_rows_warps;
  rows = rows < add_rows_warps ? add_rows_warps : rows > 1024 ? 1024 : rows;
  launch("add_rows", &add_rows<T>, blocks_for((a.N + rows - 1) / rows, 1), add_rows_threads, 0, stream, a, rows);
}

// op: standardize: x[n,i] = (image[n,i] - mean[i]) / 255.
// layout: image (N,pixels) bytes, mean (pixels), x (N,pixels).
// launch: a thread for each four pixels of an image, blocks of 256; images along the grid's y. Strides over both.
// order: two operations, each rounded once: the CPU's bits.
// limits: four at once where pixels is a multiple of 4 and image and x are aligned to 4 and 16 bytes, mean to 16.
// cost: 1 byte read and sizeof(T) written a value, the mean from the caches: write bandwidth.
template <class T, bool packs>
CUTTLE_KERNEL standardize(seam::StandardizeArgs<T> a) {
  constexpr int N = packs ? 4 : 1;
  const Global<const std::uint8_t> image = a.image;
  const Global<const float> mean = a.mean;
  const Global<T> x = a.x;
  for (std::int64_t n = blockIdx.y; n < a.N; n += gridDim.y)
    for (std::int64_t i = thread_index() * N; i < a.pixels; i += thread_count() * N) {
      const Pack<std::uint8_t, N> pixel = load_pack<N>(image + (n * a.pixels + i));
      const Pack<float, N> offset = load_pack<N>(mean + i);
      T values[N];
      for (int k = 0; k < N; ++k) values[k] = (static_cast<T>(pixel.at[k]) - static_cast<T>(offset.at[k])) / T(255);
      store_values(x + (n * a.pixels + i), values);
    }
}

template <class T>
void launch_standardize(const seam::StandardizeArgs<T>& a, seam::Stream stream) {
  const bool packs = a.pixels % 4 == 0 && reinterpret_cast<std::uintptr_t>(a.image) % 4 == 0 && aligned(a.mean, a.x);
  const auto kernel = packs ? &standardize<T, true> : &standardize<T, false>;
  const unsigned images = static_cast<unsigned>(a.N < 65535 ? a.N : 65535);
  launch("standardize", kernel, dim3(blocks_for(packs ? a.pixels / 4 : a.pixels, 256), images), 256, 0, stream, a);
}

// op: unit_columns: unit[o,c] = weight[o,c] / sqrt(sum_o weight[o,c]^2); NaN in a column of zeros.
// layout: weight, unit (O,C).
// launch: a thread for each column, blocks of 64, striding over the grid.
// order: each sum by one thread in ascending o, in double.
// limits: none; no columns are no launch.
// cost: the matrix read twice; latency, for the 64 x 64 of its use.
template <class T>
CUTTLE_KERNEL unit_columns(seam::UnitColumnsArgs<T> a) {
  const Global<const T> weight = a.weight;
  const Global<T> unit = a.unit;
  for (std::int64_t c = thread_index(); c < a.C; c += thread_count()) {
    double squared = 0;
    for (std::int64_t o = 0; o < a.O; ++o) {
      const double w = static_cast<double>(weight[o * a.C + c]);
      squared = fma(w, w, squared);
    }
    const double over_norm = 1 / sqrt(squared);
    for (std::int64_t o = 0; o < a.O; ++o)
      unit[o * a.C + c] = static_cast<T>(static_cast<double>(weight[o * a.C + c]) * over_norm);
  }
}

template <class T>
void launch_unit_columns(const seam::UnitColumnsArgs<T>& a, seam::Stream stream) {
  launch("unit_columns", &unit_columns<T>, blocks_for(a.C, 64), 64, 0, stream, a);
}

}  // namespace cuttle::kernels
