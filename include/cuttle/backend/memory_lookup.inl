// The two loops of a memory lookup for one instruction set (see foreach_isa.inl): dot products of few lines with few,
// and multiples of lines added to one.
namespace memory_lookup {

// Vectors of T, as many bytes as vf, in the compiler's own.
template <class T>
struct Vec {
  static constexpr std::int64_t width = static_cast<std::int64_t>(lanes * sizeof(float) / sizeof(T));
  typedef T type __attribute__((vector_size(lanes * sizeof(float))));
  CUTTLE_TARGET static CUTTLE_INLINE type read(const T* p) {
    type v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  CUTTLE_TARGET static CUTTLE_INLINE void write(T* p, type v) { std::memcpy(p, &v, sizeof v); }
};

// out[i][j] = sum_e x[i][e] * y[j][e]: a vector of interleaved sums each, added up in a tree at the end, and the last e
// below a vector's width one by one.
template <std::size_t x_lines, std::size_t y_lines, class T>
CUTTLE_TARGET inline void dots(std::int64_t n, const T* const (&x)[x_lines], const T* const (&y)[y_lines],
                               T (&out)[x_lines][y_lines]) {
  using V = Vec<T>;
  typename V::type sum[x_lines][y_lines] = {};
  std::int64_t e = 0;
  for (; e + V::width <= n; e += V::width) {
    typename V::type right[y_lines];
    CUTTLE_UNROLL
    for (std::size_t j = 0; j < y_lines; ++j) right[j] = V::read(y[j] + e);
    CUTTLE_UNROLL
    for (std::size_t i = 0; i < x_lines; ++i) {
      const typename V::type left = V::read(x[i] + e);
      CUTTLE_UNROLL
      for (std::size_t j = 0; j < y_lines; ++j) sum[i][j] += left * right[j];
    }
  }
  for (std::size_t i = 0; i < x_lines; ++i)
    for (std::size_t j = 0; j < y_lines; ++j) {
      T parts[V::width];
      V::write(parts, sum[i][j]);
      for (std::int64_t half = V::width / 2; half > 0; half /= 2)
        for (std::int64_t k = 0; k < half; ++k) parts[k] += parts[k + half];
      for (std::int64_t k = e; k < n; ++k) parts[0] += x[i][k] * y[j][k];
      out[i][j] = parts[0];
    }
}

// out[i * out_stride + j] = sum_e x[i * x_stride + e] * y[j * y_stride + e] for up to four lines of x and of y, the
// last of either taken again where there are fewer.
template <class T>
CUTTLE_TARGET inline void few_dots(std::int64_t n, std::int64_t x_lines, const T* x, std::int64_t x_stride,
                                   std::int64_t y_lines, const T* y, std::int64_t y_stride, T* out,
                                   std::int64_t out_stride) {
  const T *left[4], *right[4];
  for (std::int64_t i = 0; i < 4; ++i) {
    left[i] = x + std::min(i, x_lines - 1) * x_stride;
    right[i] = y + std::min(i, y_lines - 1) * y_stride;
  }
  T products[4][4];
  dots(n, left, right, products);
  for (std::int64_t i = 0; i < x_lines; ++i) std::copy_n(products[i], y_lines, out + i * out_stride);
}

// y[e] += factor[0] * x[0][e] + factor[1] * x[1][e] + ..., from left to right, a few vectors of y in registers.
template <std::size_t vectors, class T>
CUTTLE_TARGET CUTTLE_INLINE void add_multiples(std::int64_t lines, const T* factor, const T* const* x, std::int64_t e,
                                               T* y) {
  using V = Vec<T>;
  typename V::type sum[vectors];
  CUTTLE_UNROLL
  for (std::size_t k = 0; k < vectors; ++k) sum[k] = V::read(y + e + static_cast<std::int64_t>(k) * V::width);
  for (std::int64_t i = 0; i < lines; ++i) {
    const T* const line = x[i] + e;
    CUTTLE_UNROLL
    for (std::size_t k = 0; k < vectors; ++k)
      sum[k] += factor[i] * V::read(line + static_cast<std::int64_t>(k) * V::width);
  }
  CUTTLE_UNROLL
  for (std::size_t k = 0; k < vectors; ++k) V::write(y + e + static_cast<std::int64_t>(k) * V::width, sum[k]);
}

// y[e] += sum_i factor[i * factor_stride] * x[i * stride + e] for e < n and i = 0, 1, ... in this order, without those
// where the factor is 0.
template <class T>
CUTTLE_TARGET inline void add_lines(std::int64_t n, std::int64_t lines, const T* factor, std::int64_t factor_stride,
                                    const T* x, std::int64_t stride, T* y) {
  constexpr std::int64_t most = 128, width = Vec<T>::width;
  T factors[most];
  const T* from[most];
  for (std::int64_t i = 0; i < lines;) {
    std::int64_t held = 0, e = 0;
    for (; i < lines && held < most; ++i) {
      factors[held] = factor[i * factor_stride];
      from[held] = x + i * stride;
      held += factors[held] != 0;
    }
    for (; e + 4 * width <= n; e += 4 * width) add_multiples<4>(held, factors, from, e, y);
    for (; e + width <= n; e += width) add_multiples<1>(held, factors, from, e, y);
    for (; e < n; ++e)
      for (std::int64_t k = 0; k < held; ++k) y[e] += factors[k] * from[k][e];
  }
}

}  // namespace memory_lookup
