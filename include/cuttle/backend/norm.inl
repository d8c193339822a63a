// Passes of batch normalisation over rows of C channels, for one instruction set (see foreach_isa.inl); cpu_norm.hpp
// has the formulas. A block of channels stays in registers while the rows of a tile go by. All arithmetic is in double:
// the passes are bound by memory, and a mean many times the deviation, as bright pictures have it, costs no digits.
namespace norm {

inline constexpr std::int64_t width = lanes / 2;
typedef double vd __attribute__((vector_size(width * sizeof(double))));

// The first n of `width` elements, zeros behind them.
template <class T>
CUTTLE_TARGET CUTTLE_INLINE vd read(const T* p, std::int64_t n) {
  typedef T vt __attribute__((vector_size(width * sizeof(T))));
  vt v = {};
  if (n == width)
    std::memcpy(&v, p, sizeof v);
  else
    std::memcpy(&v, p, static_cast<std::size_t>(n) * sizeof(T));
  return __builtin_convertvector(v, vd);
}
template <class T>
CUTTLE_TARGET CUTTLE_INLINE void write(T* p, vd value, std::int64_t n) {
  typedef T vt __attribute__((vector_size(width * sizeof(T))));
  const vt v = __builtin_convertvector(value, vt);
  if (n == width)
    std::memcpy(p, &v, sizeof v);
  else
    std::memcpy(p, &v, static_cast<std::size_t>(n) * sizeof(T));
}

// act(z); NaN stays NaN.
template <seam::Activation activation>
CUTTLE_TARGET CUTTLE_INLINE vd activate(vd z, double slope) {
  const vd zero = {};
  if constexpr (activation == seam::Activation::relu) return z < zero ? zero : z;
  if constexpr (activation == seam::Activation::leaky_relu) return z < zero ? z * slope : z;
  return z;
}
// dy * act'(y)
template <seam::Activation activation>
CUTTLE_TARGET CUTTLE_INLINE vd differentiate(vd dy, vd y, double slope) {
  const vd zero = {};
  if constexpr (activation == seam::Activation::relu) return y > zero ? dy : zero;
  if constexpr (activation == seam::Activation::leaky_relu) return y > zero ? dy : dy * slope;
  return dy;
}

// sums[0][c] = sum_r (x[r,c] - pivot[c]), sums[1][c] = sum_r (x[r,c] - pivot[c])^2.
template <class T>
CUTTLE_TARGET inline void moments(std::int64_t rows, std::int64_t C, const T* x, const T* pivot, double* sums) {
  for (std::int64_t c = 0; c < C; c += width) {
    const std::int64_t n = C - c < width ? C - c : width;
    const vd centre = read(pivot + c, n);
    vd sum = {}, square = {};
    for (std::int64_t r = 0; r < rows; ++r) {
      const vd d = read(x + r * C + c, n) - centre;
      sum += d;
      square += d * d;
    }
    write(sums + c, sum, n);
    write(sums + C + c, square, n);
  }
}

// y[r,c] = act((x[r,c] - mean[c]) * scale[c] + bias[c] + residual[r,c]); residual may be null.
template <seam::Activation activation, class T>
CUTTLE_TARGET inline void normalise(std::int64_t rows, std::int64_t C, const T* x, const double* mean,
                                    const double* scale, const T* bias, const T* residual, double slope, T* y) {
  for (std::int64_t c = 0; c < C; c += width) {
    const std::int64_t n = C - c < width ? C - c : width;
    const vd m = read(mean + c, n), s = read(scale + c, n), b = read(bias + c, n);
    for (std::int64_t at = c; at < rows * C; at += C) {
      vd z = (read(x + at, n) - m) * s + b;
      if (residual) z += read(residual + at, n);
      write(y + at, activate<activation>(z, slope), n);
    }
  }
}

// With dz = dy * act'(y): sums[0][c] = sum_r dz[r,c], sums[1][c] = sum_r dz[r,c] * (x[r,c] - mean[c]).
template <seam::Activation activation, class T>
CUTTLE_TARGET inline void gradient_sums(std::int64_t rows, std::int64_t C, const T* x, const T* y, const T* dy,
                                        const double* mean, double slope, double* sums) {
  for (std::int64_t c = 0; c < C; c += width) {
    const std::int64_t n = C - c < width ? C - c : width;
    const vd m = read(mean + c, n);
    vd sum = {}, cross = {};
    for (std::int64_t at = c; at < rows * C; at += C) {
      const vd dz = differentiate<activation>(read(dy + at, n), read(y + at, n), slope);
      sum += dz;
      cross += dz * (read(x + at, n) - m);
    }
    write(sums + c, sum, n);
    write(sums + C + c, cross, n);
  }
}

// dx[r,c] = scale[c] * dz[r,c] + tilt[c] * (x[r,c] - mean[c]) + shift[c], dresidual = dz; either may be null.
template <seam::Activation activation, class T>
CUTTLE_TARGET inline void gradient(std::int64_t rows, std::int64_t C, const T* x, const T* y, const T* dy,
                                   const double* mean, const double* scale, const double* tilt, const double* shift,
                                   double slope, T* dx, T* dresidual) {
  for (std::int64_t c = 0; c < C; c += width) {
    const std::int64_t n = C - c < width ? C - c : width;
    const vd m = read(mean + c, n), s = read(scale + c, n), t = read(tilt + c, n), o = read(shift + c, n);
    for (std::int64_t at = c; at < rows * C; at += C) {
      const vd dz = differentiate<activation>(read(dy + at, n), read(y + at, n), slope);
      if (dresidual) write(dresidual + at, dz, n);
      if (dx) write(dx + at, dz * s + ((read(x + at, n) - m) * t + o), n);
    }
  }
}

}  // namespace norm
