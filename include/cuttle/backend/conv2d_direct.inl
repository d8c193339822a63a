// Direct convolution for one instruction set (see foreach_isa.inl); cpu_conv2d.hpp explains the method and owns the
// structs. Two kernels: conv2d_gather (forward and data gradient) and conv2d_accumulate (weight gradient). Both hold a
// tile of pixels or taps x one or two vectors of channels in registers: one operand is broadcast, the other loaded as
// vectors.
namespace conv2d_direct {

// Vectors of T, as many bytes as vf. Doubles are in the compiler's own vectors: they serve gradient checks.
template <class T>
struct Vec;

template <>
struct Vec<float> {
  using type = vf;
  static constexpr std::size_t width = lanes;
  CUTTLE_TARGET static CUTTLE_INLINE vf read(const float* p) { return load(p); }
  CUTTLE_TARGET static CUTTLE_INLINE vf read_first(const float* p, int n) { return load_first(p, n); }
  CUTTLE_TARGET static CUTTLE_INLINE void write(float* p, vf v) { store(p, v); }
  CUTTLE_TARGET static CUTTLE_INLINE void write_first(float* p, vf v, int n) { store_first(p, v, n); }
  CUTTLE_TARGET static CUTTLE_INLINE vf broadcast(float x) { return set1(x); }
  CUTTLE_TARGET static CUTTLE_INLINE vf multiply(vf a, vf b) { return mul(a, b); }
  CUTTLE_TARGET static CUTTLE_INLINE vf multiply_add(vf a, vf b, vf c) { return fmadd(a, b, c); }
  CUTTLE_TARGET static CUTTLE_INLINE vf multiply_subtract(vf a, vf b, vf c) { return fnmadd(a, b, c); }
  // a < b ? yes : no
  CUTTLE_TARGET static CUTTLE_INLINE vf where_less(vf a, vf b, vf yes, vf no) { return select(less(a, b), yes, no); }
};

template <>
struct Vec<double> {
  static constexpr std::size_t width = lanes / 2;
  typedef double type __attribute__((vector_size(width * sizeof(double))));
  CUTTLE_TARGET static CUTTLE_INLINE type read(const double* p) {
    type v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  CUTTLE_TARGET static CUTTLE_INLINE type read_first(const double* p, int n) {
    type v = {};
    std::memcpy(&v, p, static_cast<std::size_t>(n) * sizeof(double));
    return v;
  }
  CUTTLE_TARGET static CUTTLE_INLINE void write(double* p, type v) { std::memcpy(p, &v, sizeof v); }
  CUTTLE_TARGET static CUTTLE_INLINE void write_first(double* p, type v, int n) {
    std::memcpy(p, &v, static_cast<std::size_t>(n) * sizeof(double));
  }
  CUTTLE_TARGET static CUTTLE_INLINE type broadcast(double x) { return type{} + x; }
  CUTTLE_TARGET static CUTTLE_INLINE type multiply(type a, type b) { return a * b; }
  CUTTLE_TARGET static CUTTLE_INLINE type multiply_add(type a, type b, type c) { return a * b + c; }
  CUTTLE_TARGET static CUTTLE_INLINE type multiply_subtract(type a, type b, type c) { return c - a * b; }
  CUTTLE_TARGET static CUTTLE_INLINE type where_less(type a, type b, type yes, type no) { return a < b ? yes : no; }
};

// Pixels (or taps) of a full register tile, with two vectors of channels each: 24 or 12 sums.
inline constexpr std::size_t tile = vector_registers == 32 ? 12 : 6;

// act(z) but for tanh; NaN stays NaN.
template <class T>
CUTTLE_TARGET CUTTLE_INLINE typename Vec<T>::type activate(typename Vec<T>::type z, seam::Activation activation,
                                                           T slope) {
  using S = Vec<T>;
  const auto zero = S::broadcast(T(0));
  if (activation == seam::Activation::relu) return S::where_less(z, zero, zero, z);
  if (activation == seam::Activation::leaky_relu) return S::where_less(z, zero, S::multiply(z, S::broadcast(slope)), z);
  return z;
}

// dz = dy * act'(y)
template <class T>
CUTTLE_TARGET CUTTLE_INLINE typename Vec<T>::type differentiate(typename Vec<T>::type dy, typename Vec<T>::type y,
                                                                seam::Activation activation, T slope) {
  using S = Vec<T>;
  const auto zero = S::broadcast(T(0));
  if (activation == seam::Activation::relu) return S::where_less(zero, y, dy, zero);
  if (activation == seam::Activation::leaky_relu)
    return S::where_less(zero, y, dy, S::multiply(dy, S::broadcast(slope)));
  if (activation == seam::Activation::tanh) return S::multiply_subtract(S::multiply(dy, y), y, dy);
  return dy;
}

template <class T>
CUTTLE_TARGET inline void activation_gradient(std::int64_t n, const T* dy, const T* y, seam::Activation activation,
                                              T slope, T* dz) {
  using S = Vec<T>;
  constexpr auto width = static_cast<std::int64_t>(S::width);
  std::int64_t i = 0;
  for (; i + width <= n; i += width)
    S::write(dz + i, differentiate<T>(S::read(dy + i), S::read(y + i), activation, slope));
  if (const int rest = static_cast<int>(n - i); rest > 0)
    S::write_first(dz + i, differentiate<T>(S::read_first(dy + i, rest), S::read_first(y + i, rest), activation, slope),
                   rest);
}

// y = tanh(y) for n elements, in double: near +-1 the gradient dy (1 - y^2) keeps no digit that y has lost.
template <class T>
inline void hyperbolic_tangent(std::size_t n, T* y) {
  for (std::size_t i = 0; i < n; ++i) y[i] = static_cast<T>(std::tanh(static_cast<double>(y[i])));
}

// y[p, 0..channels) = act(bias + sum over taps and source channels of x * w) for Pixels pixels, Vectors vectors of
// channels.
template <class T, std::size_t Vectors, std::size_t Pixels>
CUTTLE_TARGET inline void gather_tile(const cpu::detail::Conv2dTaps& taps, const std::int64_t* in,
                                      const std::int64_t* out, const T* x, const T* w, const T* bias,
                                      std::size_t channels, T* y, seam::Activation activation, T slope) {
  using S = Vec<T>;
  constexpr std::size_t width = S::width, block = Vectors * width;
  typename S::type sum[Pixels][Vectors];
  CUTTLE_UNROLL
  for (std::size_t p = 0; p < Pixels; ++p) {
    CUTTLE_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) sum[p][v] = S::read(bias + v * width);
  }
  const T* source[Pixels];
  for (std::int64_t r = 0; r < taps.rows; ++r)
    for (std::int64_t c = 0; c < taps.columns; ++c) {
      CUTTLE_UNROLL
      for (std::size_t p = 0; p < Pixels; ++p) source[p] = x + in[p] + r * taps.x_row + c * taps.x_column;
      const T* row = w + (taps.first + r * taps.w_row + c * taps.w_column) * static_cast<std::int64_t>(block);
      for (std::int64_t i = 0; i < taps.length; ++i, row += block) {
        typename S::type weight[Vectors];
        CUTTLE_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) weight[v] = S::read(row + v * width);
        CUTTLE_UNROLL
        for (std::size_t p = 0; p < Pixels; ++p) {
          const auto value = S::broadcast(source[p][i]);
          CUTTLE_UNROLL
          for (std::size_t v = 0; v < Vectors; ++v) sum[p][v] = S::multiply_add(value, weight[v], sum[p][v]);
        }
      }
    }
  CUTTLE_UNROLL
  for (std::size_t p = 0; p < Pixels; ++p) {
    T* to = y + out[p];
    CUTTLE_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) {
      const auto value = activate<T>(sum[p][v], activation, slope);
      if (channels >= (v + 1) * width)
        S::write(to + v * width, value);
      else if (channels > v * width)
        S::write_first(to + v * width, value, static_cast<int>(channels - v * width));
    }
  }
  if (activation == seam::Activation::tanh)
    for (std::size_t p = 0; p < Pixels; ++p) hyperbolic_tangent(channels, y + out[p]);
}

// dw[j, 0..block) += sum over pixels of x[in[i] + j] * dz[i, 0..block), for Taps consecutive j.
template <class T, std::size_t Vectors, std::size_t Taps>
CUTTLE_TARGET inline void accumulate_tile(std::size_t pixels, const std::int64_t* in, const T* x, const T* dz, T* dw) {
  using S = Vec<T>;
  constexpr std::size_t width = S::width, block = Vectors * width;
  typename S::type sum[Taps][Vectors];
  CUTTLE_UNROLL
  for (std::size_t j = 0; j < Taps; ++j) {
    CUTTLE_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) sum[j][v] = S::read(dw + j * block + v * width);
  }
  for (std::size_t i = 0; i < pixels; ++i, dz += block) {
    const T* source = x + in[i];
    typename S::type gradient[Vectors];
    CUTTLE_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) gradient[v] = S::read(dz + v * width);
    CUTTLE_UNROLL
    for (std::size_t j = 0; j < Taps; ++j) {
      const auto value = S::broadcast(source[j]);
      CUTTLE_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) sum[j][v] = S::multiply_add(value, gradient[v], sum[j][v]);
    }
  }
  CUTTLE_UNROLL
  for (std::size_t j = 0; j < Taps; ++j) {
    CUTTLE_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) S::write(dw + j * block + v * width, sum[j][v]);
  }
}

template <class T, std::size_t Vectors>
CUTTLE_TARGET inline void gather_block(const cpu::detail::Conv2dTaps& taps, const cpu::detail::Conv2dPiece& piece,
                                       const T* x, const T* w, const T* bias, std::size_t channels, T* y,
                                       seam::Activation activation, T slope) {
  const std::int64_t *in = piece.in, *out = piece.out;
  std::size_t p = 0;
  for (; p + tile <= piece.pixels; p += tile)
    gather_tile<T, Vectors, tile>(taps, in + p, out + p, x, w, bias, channels, y, activation, slope);
  for (; p + tile / 2 <= piece.pixels; p += tile / 2)
    gather_tile<T, Vectors, tile / 2>(taps, in + p, out + p, x, w, bias, channels, y, activation, slope);
  for (; p + 3 <= piece.pixels; p += 3)
    gather_tile<T, Vectors, 3>(taps, in + p, out + p, x, w, bias, channels, y, activation, slope);
  for (; p < piece.pixels; ++p)
    gather_tile<T, Vectors, 1>(taps, in + p, out + p, x, w, bias, channels, y, activation, slope);
}

// Channels [first, last) of a piece; weights and bias packed in blocks (see Conv2dPacking).
template <class T>
CUTTLE_TARGET inline void gather(const cpu::detail::Conv2dTaps& taps, const cpu::detail::Conv2dPiece& piece, const T* x,
                                 const T* w, std::int64_t depth, const T* bias, std::int64_t first, std::int64_t last,
                                 T* y, seam::Activation activation, T slope) {
  constexpr auto width = static_cast<std::int64_t>(Vec<T>::width);
  for (std::int64_t o = first; o < last; o += 2 * width) {
    const std::size_t channels = static_cast<std::size_t>(last - o < 2 * width ? last - o : 2 * width);
    if (channels > Vec<T>::width)
      gather_block<T, 2>(taps, piece, x, w + o * depth, bias + o, channels, y + o, activation, slope);
    else
      gather_block<T, 1>(taps, piece, x, w + o * depth, bias + o, channels, y + o, activation, slope);
  }
}

template <class T, std::size_t Vectors>
CUTTLE_TARGET inline void accumulate_block(const cpu::detail::Conv2dTaps& taps, const cpu::detail::Conv2dPiece& piece,
                                           const T* x, const T* dz, std::size_t channels, T* dw, T* dbias) {
  using S = Vec<T>;
  constexpr std::size_t width = S::width, block = Vectors * width;
  alignas(64) T packed[cpu::detail::Conv2dPiece::capacity * block];
  typename S::type total[Vectors];
  CUTTLE_UNROLL
  for (std::size_t v = 0; v < Vectors; ++v) total[v] = S::read(dbias + v * width);
  for (std::size_t i = 0; i < piece.pixels; ++i) {
    CUTTLE_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) {
      const T* from = dz + piece.out[i] + v * width;
      const auto value =
          channels >= (v + 1) * width ? S::read(from) : S::read_first(from, static_cast<int>(channels - v * width));
      S::write(packed + i * block + v * width, value);
      total[v] = S::multiply_add(value, S::broadcast(T(1)), total[v]);
    }
  }
  CUTTLE_UNROLL
  for (std::size_t v = 0; v < Vectors; ++v) S::write(dbias + v * width, total[v]);
  if (!dw) return;
  const auto length = static_cast<std::size_t>(taps.length);
  for (std::int64_t r = 0; r < taps.rows; ++r)
    for (std::int64_t c = 0; c < taps.columns; ++c) {
      const T* source = x + r * taps.x_row + c * taps.x_column;
      T* to = dw + (taps.first + r * taps.w_row + c * taps.w_column) * static_cast<std::int64_t>(block);
      std::size_t j = 0;
      for (; j + tile <= length; j += tile)
        accumulate_tile<T, Vectors, tile>(piece.pixels, piece.in, source + j, packed, to + j * block);
      for (; j + tile / 2 <= length; j += tile / 2)
        accumulate_tile<T, Vectors, tile / 2>(piece.pixels, piece.in, source + j, packed, to + j * block);
      for (; j + 3 <= length; j += 3)
        accumulate_tile<T, Vectors, 3>(piece.pixels, piece.in, source + j, packed, to + j * block);
      for (; j < length; ++j)
        accumulate_tile<T, Vectors, 1>(piece.pixels, piece.in, source + j, packed, to + j * block);
    }
}

// Adds a piece's share of one block of channels to dw (depth, block) and dbias (block); dw may be null.
template <class T>
CUTTLE_TARGET inline void accumulate(const cpu::detail::Conv2dTaps& taps, const cpu::detail::Conv2dPiece& piece,
                                     const T* x, const T* dz, std::size_t channels, T* dw, T* dbias) {
  if (channels > Vec<T>::width)
    accumulate_block<T, 2>(taps, piece, x, dz, channels, dw, dbias);
  else
    accumulate_block<T, 1>(taps, piece, x, dz, channels, dw, dbias);
}

template <class T>
cpu::detail::Conv2dKernels<T> kernels() {
  return {static_cast<std::int64_t>(Vec<T>::width), gather<T>, accumulate<T>, activation_gradient<T>};
}

}  // namespace conv2d_direct
