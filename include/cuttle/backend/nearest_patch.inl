// The kernels of nearest_patch for one instruction set; cpu_nearest_patch.hpp has the formulas, the layouts and the
// proof.

// best[r*16 + c%16] = max(itself, v(r, c)) for R queries and the 2*lanes columns c of one panel from `first` on, where
// v(r, c) = -half_norm[c] + sum_i queries[i*12 + r] * panel[i*32 + c].
template <std::size_t R, int first>
CUTTLE_TARGET inline void filter_columns(const float* panel, const float* minus_half_norms, const float* queries,
                                         std::int64_t D, float* best) {
  vf left[R], right[R];
  CUTTLE_UNROLL
  for (std::size_t r = 0; r < R; ++r) {
    left[r] = load(minus_half_norms + first);
    right[r] = load(minus_half_norms + first + lanes);
  }
#pragma GCC unroll 2
  for (std::int64_t i = 0; i < D; ++i) {
    const vf y_left = load(panel + i * panel_columns + first),
             y_right = load(panel + i * panel_columns + first + lanes);
    CUTTLE_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
      const vf x = set1(queries[i * tile_queries + static_cast<std::int64_t>(r)]);
      left[r] = fmadd(x, y_left, left[r]);
      right[r] = fmadd(x, y_right, right[r]);
    }
  }
  CUTTLE_UNROLL
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

// best (12 x 16) = the largest v of each query and block over `panels` consecutive panels.
CUTTLE_TARGET inline void filter_tile(const float* panel, const float* minus_half_norms, std::int64_t panels,
                                      const float* queries, std::int64_t D, float* best) {
  for (int i = 0; i < tile_queries * block_lanes; i += lanes)
    store(best + i, set1(-std::numeric_limits<float>::infinity()));
  for (std::int64_t p = 0; p < panels; ++p)
    filter_panel<vector_registers == 32 ? 12 : 6>(panel + p * panel_columns * D, minus_half_norms + p * panel_columns,
                                                  queries, D, best);
}

// The place of the largest of 16 values where that is above `threshold`, else -1.
CUTTLE_TARGET inline int largest_above(const float* values, float threshold) {
  bool found = false;
  for (int i = 0; i < block_lanes; i += lanes) found = found || any(less(set1(threshold), load(values + i)));
  return found ? static_cast<int>(std::max_element(values, values + block_lanes) - values) : -1;
}

// out[r] = sum_i (x_i - row_i)^2 in float, in any order, where row is rows[index[r]], or rows[r] without an index.
// filter_gamma(D) bounds the relative error, underflow apart.
CUTTLE_TARGET inline void approximate_squared_distances(const float* x, const float* rows, const std::int64_t* index,
                                                        std::int64_t n, std::int64_t D, float* out) {
  constexpr std::size_t together = 4;  // rows that share each load of x
  for (std::int64_t r = 0; r < n; r += static_cast<std::int64_t>(together)) {
    const float* y[together];
    vf sums[together];
    CUTTLE_UNROLL
    for (std::size_t j = 0; j < together; ++j) {
      const std::int64_t row = std::min(r + static_cast<std::int64_t>(j), n - 1);
      y[j] = rows + (index ? index[row] : row) * D;
      sums[j] = zero();
    }
    std::int64_t i = 0;
    for (; i + lanes <= D; i += lanes) {
      const vf xi = load(x + i);
      CUTTLE_UNROLL
      for (std::size_t j = 0; j < together; ++j) {
        const vf d = sub(xi, load(y[j] + i));
        sums[j] = fmadd(d, d, sums[j]);
      }
    }
    if (i < D) {
      const int rest = static_cast<int>(D - i);
      const vf xi = load_first(x + i, rest);
      CUTTLE_UNROLL
      for (std::size_t j = 0; j < together; ++j) {
        const vf d = sub(xi, load_first(y[j] + i, rest));
        sums[j] = fmadd(d, d, sums[j]);
      }
    }
    CUTTLE_UNROLL
    for (std::size_t j = 0; j < together; ++j)
      if (r + static_cast<std::int64_t>(j) < n) out[r + static_cast<std::int64_t>(j)] = reduce_add(sums[j]);
  }
}

// The largest of n >= 1 doubles, none of them NaN.
CUTTLE_TARGET inline double largest(const double* x, std::int64_t n) {
  constexpr std::int64_t together = 16;  // independent maxima, which the compiler can keep in vectors
  double most[together];
  std::fill_n(most, together, x[0]);
  std::int64_t i = 0;
  for (; i + together <= n; i += together)
    for (std::int64_t j = 0; j < together; ++j) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
  for (; i < n; ++i) most[0] = std::max(most[0], x[i]);
  return *std::max_element(most, most + together);
}

// out[r] = the squared distance of the definition from x to rows[index[r]]: fma((double)x_i - (double)y_i, same, acc)
// over i in index order. Eight rows together hide the latency of the fma.
template <class T>
CUTTLE_TARGET inline void exact_squared_distances(const T* x, const T* rows, const std::int64_t* index, std::int64_t n,
                                                  std::int64_t D, double* out) {
  constexpr int together = 8;
  std::int64_t r = 0;
  for (; r + together <= n; r += together) {
    const T* y[together];
    double sums[together] = {};
    for (int j = 0; j < together; ++j) y[j] = rows + index[r + j] * D;
    for (std::int64_t i = 0; i < D; ++i)
      for (int j = 0; j < together; ++j) {
        const double d = static_cast<double>(x[i]) - static_cast<double>(y[j][i]);
        sums[j] = __builtin_fma(d, d, sums[j]);
      }
    for (int j = 0; j < together; ++j) out[r + j] = sums[j];
  }
  for (; r < n; ++r) {
    const T* y = rows + index[r] * D;
    double sum = 0;
    for (std::int64_t i = 0; i < D; ++i) {
      const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      sum = __builtin_fma(d, d, sum);
    }
    out[r] = sum;
  }
}

// out_i = float(scale * (row_i - centre_i)); returns the squared norm of what it wrote, in double.
template <class T>
CUTTLE_TARGET inline double centre_row(const T* row, const double* centre, double scale, std::int64_t D, float* out) {
  double norm = 0;
  for (std::int64_t i = 0; i < D; ++i) {
    out[i] = static_cast<float>(scale * (static_cast<double>(row[i]) - centre[i]));
    norm = __builtin_fma(static_cast<double>(out[i]), static_cast<double>(out[i]), norm);
  }
  return norm;
}

// out_i = row_i / step rounded to an integer, those beyond 127 cut off; returns sum_i (row_i - step out_i)^2 in double.
CUTTLE_TARGET inline double quantise_row(const float* row, float step, std::int64_t D, std::int8_t* out) {
  const float per_step = 1 / step;
  for (std::int64_t i = 0; i < D; ++i) {
    const float value = std::min(std::max(row[i] * per_step, -127.0f), 127.0f);
    out[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(value + (value < 0 ? -0.5f : 0.5f)));
  }
  double squared[8] = {};
  for (std::int64_t i = 0; i < D; ++i) {
    const double rest =
        __builtin_fma(-static_cast<double>(step), static_cast<double>(out[i]), static_cast<double>(row[i]));
    squared[i % 8] = __builtin_fma(rest, rest, squared[i % 8]);
  }
  return std::accumulate(squared, squared + 8, 0.0);
}
