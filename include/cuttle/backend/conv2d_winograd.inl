// Kernels of cpu_winograd.hpp, compiled once for each instruction set by foreach_isa.inl.
//
// Transformed data of a chunk of tiles is held as [point i,j][channel / lanes][tile][lanes], a filter's as
// [point i,j][column / panel][row][panel], where the product sums over rows. A chunk is a range of tile rows, counted
// through the images; at point (i,j) it numbers only the tiles that use the point, so every product is dense.

namespace winograd {

using namespace cuttle::cpu::winograd;  // what does not depend on the instruction set

inline constexpr int64_t panel = 2 * lanes;
// Rows of a product computed at once: two accumulators each, and registers for two weights and one value. The weight
// gradient's are channels, and divide `lanes`.
inline constexpr int product_rows = vector_registers >= 32 ? 14 : 6;
inline constexpr int gradient_rows = vector_registers >= 32 ? 8 : 4;

struct Plan {
  seam::Conv2dShape s;
  Tiling vertical, horizontal;
  int64_t points_h, points_w;
  int64_t chunk_rows;  // tile rows in a chunk
  int64_t tiles;       // capacity of a chunk at each point; odd, and so is every stride in cache lines

  explicit Plan(const seam::Conv2dShape& shape)
      : s(shape), vertical(s.OH), horizontal(s.OW), points_h(vertical.points()), points_w(horizontal.points()) {
    const int64_t bytes_per_row =
        points_h * points_w * horizontal.tiles * (s.C + s.O) * static_cast<int64_t>(sizeof(float));
    chunk_rows = std::clamp<int64_t>(chunk_bytes / bytes_per_row, 1, s.B * vertical.tiles);
    tiles = (chunk_rows * horizontal.tiles) | 1;
  }

  int64_t points() const { return points_h * points_w; }
  int64_t point_stride(int64_t channels) const { return channels * tiles + lanes; }
  int64_t size(int64_t channels) const { return points() * point_stride(channels); }
  // Tile rows before `row`, counted through the images, that use point i.
  int64_t rows_before(int64_t row, int i) const {
    return row / vertical.tiles * vertical.using_point(i, vertical.tiles) +
           vertical.using_point(i, row % vertical.tiles);
  }
  int64_t columns(int j) const { return horizontal.using_point(j, horizontal.tiles); }
};

// Tile rows [first, last) of a plan.
struct Chunk {
  const Plan& plan;
  int64_t first, last;

  int64_t tiles_at(int i, int j) const {
    return (plan.rows_before(last, i) - plan.rows_before(first, i)) * plan.columns(j);
  }
};

// ---- transforms of tiles ----

template <class M, int i>
constexpr int first_term() {  // preferably one that costs no product
  for (int k = 0; k < M::columns; ++k)
    if (M::at(i, k) == 1.0f) return k;
  for (int k = 0; k < M::columns; ++k)
    if (M::at(i, k) != 0.0f) return k;
  return 0;
}

template <class M, int i, int k>
CUTTLE_TARGET CUTTLE_INLINE vf add_terms(const vf* in, vf sum) {
  if constexpr (k == M::columns) {
    return sum;
  } else {
    constexpr float c = M::at(i, k);
    if constexpr (c == 0.0f || k == first_term<M, i>())
      return add_terms<M, i, k + 1>(in, sum);
    else if constexpr (c == 1.0f)
      return add_terms<M, i, k + 1>(in, add(sum, in[k]));
    else if constexpr (c == -1.0f)
      return add_terms<M, i, k + 1>(in, sub(sum, in[k]));
    else
      return add_terms<M, i, k + 1>(in, fmadd(set1(c), in[k], sum));
  }
}

// sum over k of M(i,k) in[k]
template <class M, int i>
CUTTLE_TARGET CUTTLE_INLINE vf row_times(const vf* in) {
  constexpr int k = first_term<M, i>();
  constexpr float c = M::at(i, k);
  if constexpr (c == 1.0f)
    return add_terms<M, i, 0>(in, in[k]);
  else
    return add_terms<M, i, 0>(in, mul(set1(c), in[k]));
}

template <class M, int i = 0, class Store>
CUTTLE_TARGET CUTTLE_INLINE void store_rows(const vf* in, int64_t line, const Store& store) {
  if constexpr (i < M::rows) {
    store(line, i, row_times<M, i>(in));
    store_rows<M, i + 1>(in, line, store);
  }
}

// store(line, i, sum over k of M(i,k) load(line, k))
template <class M, class Load, class Store>
CUTTLE_TARGET CUTTLE_INLINE void transform_lines(int64_t lines, const Load& load, const Store& store) {
  for (int64_t line = 0; line < lines; ++line) {
    vf in[M::columns];
#pragma GCC unroll 6
    for (int k = 0; k < M::columns; ++k) in[k] = load(line, k);
    store_rows<M>(in, line, store);
  }
}

struct LoadStrided {
  const float* p;
  int64_t line, step;
  CUTTLE_TARGET CUTTLE_INLINE vf operator()(int64_t l, int64_t k) const { return load(p + l * line + k * step); }
};
struct StoreStrided {
  float* p;
  int64_t line, step;
  CUTTLE_TARGET CUTTLE_INLINE void operator()(int64_t l, int64_t k, vf v) const { store(p + l * line + k * step, v); }
};
struct AddStrided {
  float* p;
  int64_t line, step;
  CUTTLE_TARGET CUTTLE_INLINE void operator()(int64_t l, int64_t k, vf v) const {
    float* place = p + l * line + k * step;
    store(place, add(load(place), v));
  }
};
// bias and activation: max(x,0) + slope min(x,0)
struct StoreActivated {
  float* p;
  int64_t line, step;
  vf bias, slope;
  CUTTLE_TARGET CUTTLE_INLINE void operator()(int64_t l, int64_t k, vf v) const {
    const vf z = add(v, bias);
    store(p + l * line + k * step, select(less(z, zero()), mul(slope, z), z));
  }
};
// dz = dy act'(y)
struct LoadGradient {
  const float *y, *dy;
  int64_t line, step;
  vf slope;
  CUTTLE_TARGET CUTTLE_INLINE vf operator()(int64_t l, int64_t k) const {
    const vf g = load(dy + l * line + k * step);
    return select(less(zero(), load(y + l * line + k * step)), g, mul(slope, g));
  }
};
// One tile's place at each point of a chunk: rows of points are lines.
struct LoadPoints {
  const float* p;
  const int64_t* offset;
  int64_t line, step;
  CUTTLE_TARGET CUTTLE_INLINE vf operator()(int64_t l, int64_t k) const {
    return load(p + offset[l * line + k * step]);
  }
};
struct StorePoints {
  float* p;
  const int64_t* offset;
  CUTTLE_TARGET CUTTLE_INLINE void operator()(int64_t l, int64_t k, vf v) const {
    store(p + offset[l * max_points + k], v);
  }
};

// M<height> t M<width>^T of a tile t: columns first (line = column, k = row), then rows (line = row, k = column).
template <template <int> class M, class Load, class Store>
CUTTLE_TARGET CUTTLE_INLINE void transform_tile(int height, int width, const Load& load, const Store& store) {
  constexpr int64_t stride = max_points * lanes;
  alignas(64) float half[max_points * stride];
  const StoreStrided into{half, lanes, stride};
  const int64_t columns = M<2>::columns - 2 + width, rows = M<2>::rows - 2 + height;
  if (height == 4)
    transform_lines<M<4>>(columns, load, into);
  else if (height == 3)
    transform_lines<M<3>>(columns, load, into);
  else
    transform_lines<M<2>>(columns, load, into);
  const LoadStrided from{half, stride, lanes};
  if (width == 4)
    transform_lines<M<4>>(rows, from, store);
  else if (width == 3)
    transform_lines<M<3>>(rows, from, store);
  else
    transform_lines<M<2>>(rows, from, store);
}

// The image rows that a transform walks through, to fetch the next ones while it works: it steps by whole pixels, which
// the hardware does not foresee. Arrays of equal shape; the second may be null.
struct Rows {
  const float *array, *second;
  int64_t rows, row_size;  // of one image
  int64_t overhang;        // rows that a tile reaches beyond its outputs

  // Floats before the end of the last row that a tile row ending with output row `oh` of image b touches.
  int64_t reach(int64_t b, int64_t oh) const { return (b * rows + std::min(rows, oh + overhang)) * row_size; }
  // Inlined by force, for GCC takes a function that only prefetches for one without effect, and drops the call.
  CUTTLE_TARGET CUTTLE_INLINE void prefetch(int64_t first, int64_t last) const {
    for (int64_t i = first; i < last; i += 16) {
      __builtin_prefetch(array + i, 0, 2);
      if (second) __builtin_prefetch(second + i, 0, 2);
    }
  }
};

// Calls tile(b, h, w, height, width, place, offset) for each tile of the chunk: outputs h.., w.. of image b; its values
// at point (i,j) start `place` + offset[6 i + j] floats into an array of `channels` channels. `image` is what the tiles
// read or write there.
template <class Tile>
CUTTLE_TARGET inline void for_each_tile(const Chunk& chunk, int64_t channels, const Rows& image, const Tile& tile) {
  const Plan& plan = chunk.plan;
  const auto reach = [&](int64_t row) {
    const int64_t ti = row % plan.vertical.tiles;
    return image.reach(row / plan.vertical.tiles, plan.vertical.start(ti) + plan.vertical.size(ti));
  };
  const int64_t tiles = plan.horizontal.tiles;
  for (int64_t row = chunk.first; row < chunk.last; ++row) {
    const int64_t b = row / plan.vertical.tiles, ti = row % plan.vertical.tiles;
    const int height = plan.vertical.size(ti);
    int64_t offset[max_points * max_points];
    for (int i = 0; i < height + 2; ++i) {
      const int64_t before = plan.rows_before(row, i) - plan.rows_before(chunk.first, i);
      for (int j = 0; j < plan.points_w; ++j)
        offset[i * max_points + j] =
            (i * plan.points_w + j) * plan.point_stride(channels) + before * plan.columns(j) * lanes;
    }
    const int64_t here = reach(row), ahead = row + 1 < chunk.last ? reach(row + 1) - here : 0;
    for (int64_t tj = 0; tj < tiles; ++tj) {
      image.prefetch(here + ahead * tj / tiles, here + ahead * (tj + 1) / tiles);
      tile(b, plan.vertical.start(ti), plan.horizontal.start(tj), height, plan.horizontal.size(tj), tj * lanes, offset);
    }
  }
}

// The part of a tile's input window that lies inside the image.
struct Window {
  int64_t h, w, rows, columns;       // the window, in the image's coordinates
  int64_t top, left, bottom, right;  // the part inside, relative to the window
  Window(const seam::Conv2dShape& s, int64_t oh, int64_t ow, int height, int width)
      : h(oh - s.padding),
        w(ow - s.padding),
        rows(height + 2),
        columns(width + 2),
        top(std::max<int64_t>(0, -h)),
        left(std::max<int64_t>(0, -w)),
        bottom(std::min(rows, s.H - h)),
        right(std::min(columns, s.W - w)) {}
  bool inside() const { return top == 0 && left == 0 && bottom == rows && right == columns; }
};

// v = B^T d B
template <class T>
CUTTLE_TARGET inline void transform_input(const Chunk& chunk, const T* x, T* v) {
  const seam::Conv2dShape& s = chunk.plan.s;
  constexpr int64_t stride = max_points * lanes;
  alignas(64) float padded[max_points * stride];
  const Rows rows{x, nullptr, s.H, s.W * s.C, 2 - s.padding};
  for_each_tile(
      chunk, s.C, rows,
      [&](int64_t b, int64_t oh, int64_t ow, int height, int width, int64_t place,
          const int64_t* offset) CUTTLE_TARGET {
        const Window window(s, oh, ow, height, width);
        const float* from = x + ((b * s.H + window.h) * s.W + window.w) * s.C;
        float* to = v + place;
        for (int64_t c = 0; c < s.C; c += lanes, from += lanes, to += chunk.plan.tiles * lanes) {
          if (window.inside()) {
            transform_tile<InputTransform>(height, width, LoadStrided{from, s.C, s.W * s.C}, StorePoints{to, offset});
          } else {
            std::fill_n(padded, max_points * stride, 0.0f);
            for (int64_t i = window.top; i < window.bottom; ++i)
              for (int64_t j = window.left; j < window.right; ++j)
                store(padded + i * stride + j * lanes, load(from + (i * s.W + j) * s.C));
            transform_tile<InputTransform>(height, width, LoadStrided{padded, lanes, stride}, StorePoints{to, offset});
          }
        }
      });
}

// dx += B dv B^T
template <class T>
CUTTLE_TARGET inline void transform_input_adjoint(const Chunk& chunk, const T* dv, T* dx) {
  const seam::Conv2dShape& s = chunk.plan.s;
  constexpr int64_t stride = max_points * lanes;
  alignas(64) float padded[max_points * stride];
  const Rows rows{dx, nullptr, s.H, s.W * s.C, 2 - s.padding};
  for_each_tile(
      chunk, s.C, rows,
      [&](int64_t b, int64_t oh, int64_t ow, int height, int width, int64_t place, const int64_t* offset)
          CUTTLE_TARGET {
            // The first tile of an image finds its gradient unwritten.
            if (oh == 0 && ow == 0) std::fill_n(dx + b * s.H * s.W * s.C, s.H * s.W * s.C, 0.0f);
            const Window window(s, oh, ow, height, width);
            float* to = dx + ((b * s.H + window.h) * s.W + window.w) * s.C;
            const float* from = dv + place;
            for (int64_t c = 0; c < s.C; c += lanes, to += lanes, from += chunk.plan.tiles * lanes) {
              const LoadPoints load_points{from, offset, 1, max_points};
              if (window.inside()) {
                transform_tile<Adjoint<InputTransform>::Of>(height, width, load_points, AddStrided{to, s.W * s.C, s.C});
              } else {
                transform_tile<Adjoint<InputTransform>::Of>(height, width, load_points,
                                                            StoreStrided{padded, stride, lanes});
                for (int64_t i = window.top; i < window.bottom; ++i)
                  for (int64_t j = window.left; j < window.right; ++j) {
                    float* pixel = to + (i * s.W + j) * s.C;
                    store(pixel, add(load(pixel), load(padded + i * stride + j * lanes)));
                  }
              }
            }
          });
}

inline float negative_slope(const seam::Conv2dShape& s) {
  return s.activation == seam::Activation::none   ? 1.0f
         : s.activation == seam::Activation::relu ? 0.0f
                                                  : static_cast<float>(s.slope);
}

// y = act(A^T m A + bias)
template <class T>
CUTTLE_TARGET inline void transform_output(const Chunk& chunk, const T* m, const T* bias, T* y) {
  const seam::Conv2dShape& s = chunk.plan.s;
  const vf slope = set1(negative_slope(s));
  const Rows rows{y, nullptr, s.OH, s.OW * s.O, 0};
  for_each_tile(chunk, s.O, rows,
                [&](int64_t b, int64_t oh, int64_t ow, int height, int width, int64_t place, const int64_t* offset)
                    CUTTLE_TARGET {
                      float* to = y + ((b * s.OH + oh) * s.OW + ow) * s.O;
                      const float* from = m + place;
                      for (int64_t o = 0; o < s.O; o += lanes, from += chunk.plan.tiles * lanes)
                        transform_tile<OutputTransform>(
                            height, width, LoadPoints{from, offset, 1, max_points},
                            StoreActivated{to + o, s.OW * s.O, s.O, bias ? load(bias + o) : zero(), slope});
                    });
}

// dm = A (dy act'(y)) A^T
template <class T>
CUTTLE_TARGET inline void transform_output_adjoint(const Chunk& chunk, const T* y, const T* dy, T* dm) {
  const seam::Conv2dShape& s = chunk.plan.s;
  if (s.activation == seam::Activation::none) y = dy;  // slope 1: whatever is read does not matter
  const vf slope = set1(negative_slope(s));
  const Rows rows{dy, y, s.OH, s.OW * s.O, 0};
  for_each_tile(chunk, s.O, rows,
                [&](int64_t b, int64_t oh, int64_t ow, int height, int width, int64_t place, const int64_t* offset)
                    CUTTLE_TARGET {
                      const int64_t from = ((b * s.OH + oh) * s.OW + ow) * s.O;
                      float* to = dm + place;
                      for (int64_t o = 0; o < s.O; o += lanes, to += chunk.plan.tiles * lanes)
                        transform_tile<Adjoint<OutputTransform>::Of>(
                            height, width, LoadGradient{y + from + o, dy + from + o, s.O, s.OW * s.O, slope},
                            StorePoints{to, offset});
                    });
}

// ---- products at a point ----

// out[t][0..panel) = sum over k of a[t][k] u[k][0..panel) for n tiles; `tiles` tiles apart from one block of lanes
// channels to the next, in a and in out.
template <int n>
CUTTLE_TARGET inline void product_block(const float* a, const float* u, float* out, int64_t rows, int64_t tiles) {
  vf sum[std::size_t{n}][2];
#pragma GCC unroll 16
  for (int t = 0; t < n; ++t) sum[t][0] = sum[t][1] = zero();
  for (int64_t block = 0; block < rows; block += lanes, a += tiles * lanes) {
    for (int k = 0; k < lanes; ++k, u += panel) {
      const vf u0 = load(u), u1 = load(u + lanes);
#pragma GCC unroll 16
      for (int t = 0; t < n; ++t) {
        const vf value = set1(a[t * lanes + k]);
        sum[t][0] = fmadd(value, u0, sum[t][0]);
        sum[t][1] = fmadd(value, u1, sum[t][1]);
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < n; ++t) {
    store(out + t * lanes, sum[t][0]);
    store(out + (tiles + t) * lanes, sum[t][1]);
  }
}

template <int n>
CUTTLE_TARGET inline void product_block_of(int count, const float* a, const float* u, float* out, int64_t rows,
                                           int64_t tiles) {
  if constexpr (n > 1) {
    if (count < n) return product_block_of<n - 1>(count, a, u, out, rows, tiles);
  }
  product_block<n>(a, u, out, rows, tiles);
}

// out = a u at one point: a (count tiles, rows channels), u (columns / panel, rows, panel), out (count, columns).
template <class T>
CUTTLE_TARGET inline void product(const T* a, const T* u, T* out, int64_t count, int64_t rows, int64_t columns,
                                  int64_t tiles) {
  if (count == 0) return;
  const int64_t blocks = (count + product_rows - 1) / product_rows;
  for (int64_t column = 0; column < columns; column += panel, u += rows * panel, out += 2 * tiles * lanes) {
    for (int64_t block = 0, t = 0; block < blocks; ++block) {
      const int64_t n = count / blocks + (block < count % blocks);
      product_block_of<product_rows>(static_cast<int>(n), a + t * lanes, u, out + t * lanes, rows, tiles);
      t += n;
    }
  }
}

// du[c][o] (+)= sum over tiles of v[tile][c] dm[tile][o] at one point; du (O / panel, C, panel).
template <class T>
CUTTLE_TARGET inline void product_over_tiles(const T* v, const T* dm, T* du, int64_t count, int64_t C, int64_t O,
                                             int64_t tiles, bool accumulate) {
  for (int64_t o = 0; o < O; o += panel, dm += 2 * tiles * lanes) {
    for (int64_t c = 0; c < C; c += gradient_rows, du += gradient_rows * panel) {
      const float* a = v + c / lanes * tiles * lanes + c % lanes;
      vf sum[gradient_rows][2];
#pragma GCC unroll 8
      for (int i = 0; i < gradient_rows; ++i) sum[i][0] = sum[i][1] = zero();
      for (int64_t t = 0; t < count; ++t) {
        const vf m0 = load(dm + t * lanes), m1 = load(dm + (tiles + t) * lanes);
#pragma GCC unroll 8
        for (int i = 0; i < gradient_rows; ++i) {
          const vf value = set1(a[t * lanes + i]);
          sum[i][0] = fmadd(value, m0, sum[i][0]);
          sum[i][1] = fmadd(value, m1, sum[i][1]);
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < gradient_rows; ++i)
        for (int half = 0; half < 2; ++half) {
          float* place = du + i * panel + half * lanes;
          store(place, accumulate ? add(load(place), sum[i][half]) : sum[i][half]);
        }
    }
  }
}

// ---- the filter ----

// One block of the filter: (k, row, column) for k = 3 r + s, `lanes` rows by `lanes` columns.
struct FilterBlock {
  alignas(64) float values[9][lanes][lanes];
};

// u = G g G^T for all points, as a product that sums over C (forward) or over O (adjoint) reads it.
template <class T>
CUTTLE_TARGET inline void transform_filter_block(const Plan& plan, const T* weight, bool adjoint, int64_t row,
                                                 int64_t column, T* u) {
  const int64_t C = plan.s.C, O = plan.s.O, rows = adjoint ? O : C;
  FilterBlock g;
  const int64_t o0 = adjoint ? row : column, c0 = adjoint ? column : row;
  for (int o = 0; o < lanes; ++o)
    for (int k = 0; k < 9; ++k)
      for (int c = 0; c < lanes; ++c)
        g.values[k][adjoint ? o : c][adjoint ? c : o] = weight[((o0 + o) * 9 + k) * C + c0 + c];
  float* to = u + (column / panel * rows + row) * panel + column % panel;
  for (int r = 0; r < lanes; ++r, to += panel) {
    for (int i = 0; i < plan.points_h; ++i) {
      vf line[3];
      for (int s = 0; s < 3; ++s) {
        line[s] = zero();
        for (int k = 0; k < 3; ++k)
          line[s] = fmadd(set1(static_cast<float>(filter_coefficient(i, k))), load(g.values[3 * k + s][r]), line[s]);
      }
      for (int j = 0; j < plan.points_w; ++j) {
        vf sum = zero();
        for (int k = 0; k < 3; ++k) sum = fmadd(set1(static_cast<float>(filter_coefficient(j, k))), line[k], sum);
        store(to + (i * plan.points_w + j) * C * O, sum);
      }
    }
  }
}

template <class T>
inline Tensor<T> transform_filter(const Plan& plan, const T* weight, bool adjoint) {
  const int64_t rows = adjoint ? plan.s.O : plan.s.C, columns = adjoint ? plan.s.C : plan.s.O;
  Tensor<T> u = Tensor<T>::empty({plan.points(), plan.s.C * plan.s.O});
  parallel_for(rows / lanes, [&](int64_t tile) {
    for (int64_t column = 0; column < columns; column += lanes)
      transform_filter_block(plan, weight, adjoint, tile * lanes, column, u.data());
  });
  return u;
}

// dweight += G^T du G for channels c0 to c0 + lanes.
template <class T>
CUTTLE_TARGET inline void transform_filter_gradient(const Plan& plan, const T* du, int64_t c0, T* dweight) {
  const int64_t C = plan.s.C, O = plan.s.O;
  FilterBlock g;
  for (int64_t o0 = 0; o0 < O; o0 += lanes) {
    for (int c = 0; c < lanes; ++c) {
      const float* from = du + (o0 / panel * C + c0 + c) * panel + o0 % panel;
      vf sum[3][3] = {};
      for (int i = 0; i < plan.points_h; ++i) {
        vf line[3] = {};
        for (int j = 0; j < plan.points_w; ++j) {
          const vf value = load(from + (i * plan.points_w + j) * C * O);
          for (int s = 0; s < 3; ++s)
            line[s] = fmadd(set1(static_cast<float>(filter_coefficient(j, s))), value, line[s]);
        }
        for (int r = 0; r < 3; ++r)
          for (int s = 0; s < 3; ++s)
            sum[r][s] = fmadd(set1(static_cast<float>(filter_coefficient(i, r))), line[s], sum[r][s]);
      }
      for (int k = 0; k < 9; ++k) store(g.values[k][c], sum[k / 3][k % 3]);
    }
    for (int o = 0; o < lanes; ++o)
      for (int k = 0; k < 9; ++k)
        for (int c = 0; c < lanes; ++c) dweight[((o0 + o) * 9 + k) * C + c0 + c] += g.values[k][c][o];
  }
}

// ---- forward and backward ----

template <class T>
CUTTLE_TARGET inline void forward_chunk(const Chunk& chunk, const seam::Conv2dArgs<T>& args, const T* u, T* v, T* m) {
  const Plan& plan = chunk.plan;
  const int64_t C = plan.s.C, O = plan.s.O;
  transform_input(chunk, args.x, v);
  for (int i = 0; i < plan.points_h; ++i)
    for (int j = 0; j < plan.points_w; ++j) {
      const int64_t p = i * plan.points_w + j;
      product(v + p * plan.point_stride(C), u + p * C * O, m + p * plan.point_stride(O), chunk.tiles_at(i, j), C, O,
              plan.tiles);
    }
  transform_output(chunk, m, args.bias, args.y);
}

template <class T>
inline void forward(const seam::Conv2dArgs<T>& args) {
  const Plan plan(args.shape);
  const Tensor<T> u = transform_filter(plan, args.weight, false);
  const int64_t rows = args.shape.B * plan.vertical.tiles;
  const int64_t size_v = plan.size(args.shape.C), size_m = plan.size(args.shape.O);
  const int64_t chunks = (rows + plan.chunk_rows - 1) / plan.chunk_rows;
  parallel_for_with_scratch<T>(chunks, size_v + size_m, [&](int64_t tile, T* v) {
    const int64_t first = tile * plan.chunk_rows;
    forward_chunk({plan, first, std::min(rows, first + plan.chunk_rows)}, args, u.data(), v, v + size_v);
  });
}

// Adds to du (points, O / panel, C, panel) and db (O), or writes them where the chunk is the first.
template <class T>
CUTTLE_TARGET inline void backward_chunk(const Chunk& chunk, const seam::Conv2dBackwardArgs<T>& args, const T* u, T* v,
                                         T* dm, T* du, T* db, bool accumulate) {
  const Plan& plan = chunk.plan;
  const int64_t C = plan.s.C, O = plan.s.O;
  transform_output_adjoint(chunk, args.y, args.dy, dm);
  if (du) transform_input(chunk, args.x, v);
  for (int i = 0; i < plan.points_h; ++i)
    for (int j = 0; j < plan.points_w; ++j) {
      const int64_t p = i * plan.points_w + j, count = chunk.tiles_at(i, j);
      float* v_p = v + p * plan.point_stride(C);
      const float* dm_p = dm + p * plan.point_stride(O);
      if (du) product_over_tiles(v_p, dm_p, du + p * C * O, count, C, O, plan.tiles, accumulate);
      if (args.dx) product(dm_p, u + p * C * O, v_p, count, O, C, plan.tiles);  // dv, in v's place
    }
  if (args.dx) transform_input_adjoint(chunk, v, args.dx);
  if (db) {
    // Row 1 of A, the point 1, is all ones: dm there is the sum of dz over the tile.
    const float* sums = dm + (plan.points_w + 1) * plan.point_stride(O);
    for (int64_t o = 0; o < O; o += lanes, sums += plan.tiles * lanes) {
      vf sum = zero();
      for (int64_t t = 0; t < chunk.tiles_at(1, 1); ++t) sum = add(sum, load(sums + t * lanes));
      store(db + o, accumulate ? add(load(db + o), sum) : sum);
    }
  }
}

// Adds the others of n arrays of `size` floats, `stride` apart, to the first, in a fixed tree, for [first, last).
template <class T>
CUTTLE_TARGET inline void reduce_groups(T* values, int64_t n, int64_t stride, int64_t first, int64_t last) {
  for (int64_t distance = 1; distance < n; distance *= 2)
    for (int64_t group = 0; group + distance < n; group += 2 * distance) {
      float* into = values + group * stride;
      const float* from = into + distance * stride;
      for (int64_t i = first; i < last; i += lanes) store(into + i, add(load(into + i), load(from + i)));
    }
}

template <class T>
inline void backward(const seam::Conv2dBackwardArgs<T>& args) {
  const Plan plan(args.shape);
  const int64_t B = args.shape.B, C = args.shape.C, O = args.shape.O;
  const int64_t images = (B + max_groups - 1) / max_groups, groups = (B + images - 1) / images;
  Tensor<T> u, du, db;
  if (args.dx) u = transform_filter(plan, args.weight, true);
  if (args.dweight) du = Tensor<T>::empty({groups, plan.points() * C * O});
  if (args.dbias) db = Tensor<T>::empty({groups, O});

  parallel_for_with_scratch<T>(groups, plan.size(C) + plan.size(O), [&](int64_t group, T* v) {
    const int64_t begin = group * images * plan.vertical.tiles;
    const int64_t end = std::min(B, (group + 1) * images) * plan.vertical.tiles;
    for (int64_t first = begin; first < end; first += plan.chunk_rows)
      backward_chunk({plan, first, std::min(end, first + plan.chunk_rows)}, args, u.data(), v, v + plan.size(C),
                     args.dweight ? du.data() + group * plan.points() * C * O : nullptr,
                     args.dbias ? db.data() + group * O : nullptr, first > begin);
  });

  if (args.dweight) {
    parallel_for(plan.points(), [&](int64_t point) {
      reduce_groups(du.data(), groups, plan.points() * C * O, point * C * O, (point + 1) * C * O);
    });
    parallel_for(C / lanes,
                 [&](int64_t tile) { transform_filter_gradient(plan, du.data(), tile * lanes, args.dweight); });
  }
  if (args.dbias) {
    reduce_groups(db.data(), groups, O, 0, O);
    for (int64_t o = 0; o < O; ++o) args.dbias[o] += db.data()[o];
  }
}

}  // namespace winograd
