// The kernels of nearest_patch for one instruction set; cpu_nearest_patch.hpp has the formulas, the layouts and the proof.

// best[r*16 + c%16] = max(itself, v(r, c)) for R queries and the 2*lanes columns c of one panel from `first` on, where
// v(r, c) = -half_norm[c] + sum_i queries[i*12 + r] * panel[i*32 + c].
template <std::size_t R, int first>
CUTTLE_TARGET inline void filter_columns(const float* panel, const float* minus_half_norms, const float* queries,
                                         std::int64_t D, float* best) {
  vf left[R], right[R];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < R; ++r) {
    left[r] = load(minus_half_norms + first);
    right[r] = load(minus_half_norms + first + lanes);
  }
#pragma GCC unroll 2
  for (std::int64_t i = 0; i < D; ++i) {
    const vf y_left = load(panel + i * panel_columns + first), y_right = load(panel + i * panel_columns + first + lanes);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r) {
      const vf x = set1(queries[i * tile_queries + static_cast<std::int64_t>(r)]);
      left[r] = fmadd(x, y_left, left[r]);
      right[r] = fmadd(x, y_right, right[r]);
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < R; ++r) {
    float* place = best + r * block_lanes + first % block_lanes;
    store(place, vmax(load(place), left[r]));
    place = best + r * block_lanes + (first + lanes) % block_lanes;
    store(place, vmax(load(place), right[r]));
  }
}

// filter_columns over all of the panel's 32 columns and 12 queries, R at a time: as many as the registers hold.
template <std::size_t R, int first = 0>
CUTTLE_TARGET inline void filter_panel(const float* panel, const float* minus_half_norms, const float* queries,
                                       std::int64_t D, float* best) {
  for (std::size_t r = 0; r < tile_queries; r += R)
    filter_columns<R, first>(panel, minus_half_norms, queries + r, D, best + r * block_lanes);
  if constexpr (first + 2 * lanes < panel_columns)
    filter_panel<R, first + 2 * lanes>(panel, minus_half_norms, queries, D, best);
}

// best (12 x 16, rows `stride` apart) = max(itself, v over `panels` consecutive panels).
CUTTLE_TARGET inline void filter_tile(const float* panel, const float* minus_half_norms, std::int64_t panels,
                                      const float* queries, std::int64_t D, float* best, std::int64_t stride) {
  alignas(64) float local[tile_queries * block_lanes];
  for (int r = 0; r < tile_queries; ++r)
    for (int lane = 0; lane < block_lanes; lane += lanes)
      store(local + r * block_lanes + lane, load(best + r * stride + lane));
  for (std::int64_t p = 0; p < panels; ++p)
    filter_panel<vector_registers == 32 ? 12 : 6>(panel + p * panel_columns * D, minus_half_norms + p * panel_columns,
                                                  queries, D, local);
  for (int r = 0; r < tile_queries; ++r)
    for (int lane = 0; lane < block_lanes; lane += lanes)
      store(best + r * stride + lane, load(local + r * block_lanes + lane));
}

// In: values[b], the largest v of each block. Out: values[b] = an upper bound of V over the block; the return value is the
// k-th largest of the blocks' lower bounds. `blocks` is a multiple of 16.
CUTTLE_TARGET inline float bound_blocks(float* values, const float* block_norms, std::int64_t blocks,
                                        const FilterError& error, int k) {
  const vf constant = set1(error.constant), linear = set1(error.linear), quadratic = set1(error.quadratic);
  float largest[max_neighbours];  // the k largest lower bounds, falling
  for (int j = 0; j < k; ++j) largest[j] = -std::numeric_limits<float>::infinity();
  for (std::int64_t b = 0; b < blocks; b += lanes) {
    const vf norm = load(block_norms + b), value = load(values + b);
    const vf e = fmadd(fmadd(quadratic, norm, linear), norm, constant);
    const vf lower = sub(value, e);
    store(values + b, add(value, e));
    if (!any(less(set1(largest[k - 1]), lower))) continue;
    float lows[lanes];
    store(lows, lower);
    for (int lane = 0; lane < lanes; ++lane) {
      int j = k;
      for (; j > 0 && largest[j - 1] < lows[lane]; --j)
        if (j < k) largest[j] = largest[j - 1];
      if (j < k) largest[j] = lows[lane];
    }
  }
  return largest[k - 1];
}

// The blocks whose upper bound is at least `threshold`, in `found`; returns how many.
CUTTLE_TARGET inline std::int64_t collect_blocks(const float* upper, std::int64_t blocks, float threshold,
                                                 BlockBound* found) {
  const vf below = set1(std::nextafter(threshold, -std::numeric_limits<float>::infinity()));
  std::int64_t count = 0;
  for (std::int64_t b = 0; b < blocks; b += lanes) {
    if (!any(less(below, load(upper + b)))) continue;
    for (std::int64_t i = b; i < b + lanes; ++i)
      if (upper[i] >= threshold) found[count++] = {upper[i], i};
  }
  return count;
}

// out[r] = sum_i (x_i - rows[r][i])^2 in float, in any order: a filter whose relative error filter_gamma(D) covers.
CUTTLE_TARGET inline void approximate_squared_distances(const float* x, const float* rows, std::int64_t n,
                                                        std::int64_t D, float* out) {
  for (std::int64_t r = 0; r < n; ++r) {
    const float* y = rows + r * D;
    vf sum = zero();
    std::int64_t i = 0;
    for (; i + lanes <= D; i += lanes) {
      const vf d = sub(load(x + i), load(y + i));
      sum = fmadd(d, d, sum);
    }
    if (i < D) {
      const vf d = sub(load_first(x + i, static_cast<int>(D - i)), load_first(y + i, static_cast<int>(D - i)));
      sum = fmadd(d, d, sum);
    }
    out[r] = reduce_add(sum);
  }
}

// out[r] = the squared distance of the definition: fma((double)x_i - (double)y_i, same, acc) over i in index order.
template <class T>
CUTTLE_TARGET inline void exact_squared_distances(const T* x, const T* rows, std::int64_t n, std::int64_t D,
                                                  double* out) {
  std::int64_t r = 0;
  constexpr int together = 8;  // independent sums, so that the latency of one fma is hidden
  for (; r + together <= n; r += together) {
    const T* y = rows + r * D;
    double sums[together] = {};
    for (std::int64_t i = 0; i < D; ++i)
#pragma GCC unroll 16
      for (int j = 0; j < together; ++j) {
        const double d = static_cast<double>(x[i]) - static_cast<double>(y[j * D + i]);
        sums[j] = __builtin_fma(d, d, sums[j]);
      }
    for (int j = 0; j < together; ++j) out[r + j] = sums[j];
  }
  for (; r < n; ++r) {
    double sum = 0;
    for (std::int64_t i = 0; i < D; ++i) {
      const double d = static_cast<double>(x[i]) - static_cast<double>(rows[r * D + i]);
      sum = __builtin_fma(d, d, sum);
    }
    out[r] = sum;
  }
}

// column[i*stride] = float(scale * (row_i - centre_i)); returns the squared norm of what it wrote, in double.
template <class T>
CUTTLE_TARGET inline double centre_row(const T* row, const double* centre, double scale, std::int64_t D, float* column,
                                       std::int64_t stride) {
  double norm = 0;
  for (std::int64_t i = 0; i < D; ++i) {
    const float value = static_cast<float>(scale * (static_cast<double>(row[i]) - centre[i]));
    column[i * stride] = value;
    norm = __builtin_fma(static_cast<double>(value), static_cast<double>(value), norm);
  }
  return norm;
}
