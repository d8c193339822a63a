// box_muller: two 32-bit words to two independent normals (Box, Muller 1958), written once for one number or a vector.
// Included inside a namespace that provides
//   vf, vu            floats and 32-bit unsigned integers, as many of each; operators as for plain numbers
//   fused(a, b, c)    a*b + c with a single rounding, on every machine
//   root(vf)          the correctly rounded square root
//   to_float(vu)      the nearest float of the lanes taken as signed integers
//   bits(vf), from_bits(vu)    reinterpretation
//   splat(float), choose(vu mask, vf, vf)    mask lanes are all ones or all zeros
// and with CUTTLE_TARGET defined as the marks its functions carry.
//
// The bits are the same everywhere because nothing here rounds differently anywhere: no product feeds a sum outside a
// fused(), whatever the compiler contracts. For that reason the results leave through fused(..., 0) too: a caller's sum
// of a result and something else cannot swallow the last product.
//
// The polynomials are minimax fits, rounded to float: log is within 1 ulp, cos and sin within 2.5 (tested).

// log of u in [2^-32, 1]: u = 2^k * m, m in [sqrt(1/2), sqrt(2)), f = m - 1, log m = f + f^2 * P(f).
CUTTLE_TARGET inline vf natural_log(vf u) {
  constexpr std::uint32_t one = 0x3F800000u, root_half = 0x3F3504F3u;
  const vu biased = (bits(u) + (one - root_half)) >> 23;  // k + 127
  const vf k = to_float(biased) - splat(127.0f);
  const vf f = from_bits(bits(u) - (biased << 23) + one) - splat(1.0f);
  vf p = splat(0.0672498271f);
  p = fused(p, f, splat(-0.11676006f));
  p = fused(p, f, splat(0.119009674f));
  p = fused(p, f, splat(-0.124073468f));
  p = fused(p, f, splat(0.142176807f));
  p = fused(p, f, splat(-0.166676879f));
  p = fused(p, f, splat(0.200022206f));
  p = fused(p, f, splat(-0.250000268f));
  p = fused(p, f, splat(0.333333105f));
  p = fused(p, f, splat(-0.5f));
  const vf log_m = fused(f * f, p, f);
  return fused(k, splat(0.693145752f), fused(k, splat(1.42860677e-6f), log_m));  // log 2 in two parts
}

// cos and sin of 2 pi * angle / 2^32: the nearest quarter turn, and t in [-1/4, 1/4] with the rest = pi * t.
CUTTLE_TARGET inline void cosine_sine(vu angle, vf& cosine, vf& sine) {
  const vu quarter = (angle + 0x20000000u) >> 30;  // in the last eighth of a turn the sum wraps to quarter 0
  const vf t = to_float(angle - (quarter << 30)) * splat(0x1p-31f);
  const vf z = t * t;
  vf s = splat(0.0809958801f);
  s = fused(s, z, splat(-0.599201381f));
  s = fused(s, z, splat(2.55016255f));
  s = fused(s, z, splat(-5.16771269f));
  s = fused(s, z, splat(3.14159274f));
  s = s * t;
  vf c = splat(0.231260926f);
  c = fused(c, z, splat(-1.33503592f));
  c = fused(c, z, splat(4.05870676f));
  c = fused(c, z, splat(-4.93480206f));
  c = fused(c, z, splat(1.0f));
  // quarter q: (cos, sin) = (c, s), (-s, c), (-c, -s), (s, -c)
  const vu odd = 0u - (quarter & 1u);
  const vu sine_sign = (quarter & 2u) << 30, cosine_sign = ((quarter + 1u) & 2u) << 30;
  cosine = from_bits(bits(choose(odd, s, c)) ^ cosine_sign);
  sine = from_bits(bits(choose(odd, c, s)) ^ sine_sign);
}

// first, second = sqrt(-2 log u) * (cos, sin)(2 pi v) with u = (radius >> 1 + 1/2) / 2^31 rounded and v = angle / 2^32;
// so |normal| <= sqrt(64 log 2) = 6.66.
CUTTLE_TARGET inline void box_muller(vu radius, vu angle, vf& first, vf& second) {
  const vf u = fused(to_float(radius >> 1), splat(0x1p-31f), splat(0x1p-32f));
  const vf r = root(splat(-2.0f) * natural_log(u));
  vf cosine, sine;
  cosine_sine(angle, cosine, sine);
  first = fused(r, cosine, splat(0.0f));
  second = fused(r, sine, splat(0.0f));
}
