// exp, log, tanh, erf, expm1 in single precision. Reductions and polynomials of exp and log: Cephes (Moshier); erf: the
// two-piece form of N. Juffa. Integer operations act on the bits of a float.
#include <limits>

#include "math.h"

namespace mica::math {

namespace {

constexpr double log2_e = 1.44269504088896341;
/// ln 2 in two pieces; the first has so few bits that its product with an exponent is exact.
constexpr double ln2_high = 0.693359375, ln2_low = -2.12194440e-4;
/// Added to a small number, rounds it to an integer and leaves that integer in the low bits.
constexpr double magic = 0x1.8p23;

/// x = n ln2 + r with |r| <= ln2 / 2. `shifted` holds n in its low bits.
struct Reduced {
  Expr shifted, n, r;
};

Reduced reduce(const Expr& x) {
  Reduced out;
  out.shifted = fma(x, like(x, log2_e), like(x, magic));
  out.n = out.shifted - like(x, magic);
  out.r = fma(out.n, like(x, -ln2_low), fma(out.n, like(x, -ln2_high), x));
  return out;
}

/// exp(r) - 1
Expr expm1_reduced(const Expr& r) {
  const Expr p = polynomial(r, {5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4});
  return fma(p, r * r, r);
}

/// exp(x) where the result is a normal number.
Expr exp_normal(const Expr& x) {
  const Reduced a = reduce(x);
  const Expr p = expm1_reduced(a.r) + like(x, 1);
  return bitcast(DType::f32, bitcast(DType::i32, p) + shl(bitcast(DType::i32, a.shifted), i32(23)));
}

/// exp(x) - 1 for x in [-20, 88]: 2^n (exp(r) - 1) + (2^n - 1), with 2^(n-1) inside so that n = 128 does not overflow.
Expr expm1_normal(const Expr& x) {
  const Reduced a = reduce(x);
  const Expr half = bitcast(DType::f32, shl(bitcast(DType::i32, a.shifted) + i32(126), i32(23)));
  const Expr sum = fma(half, expm1_reduced(a.r), half - like(x, 0.5));
  return sum + sum;
}

}  // namespace

Expr exp_f32(const Expr& x) {
  const Expr y = exp_normal(x);
  // x + inf: inf past the greatest, NaN of NaN. The bounds are the last arguments with a finite and a normal result.
  const Expr high = select(x <= like(x, 88.72283172607422), y, x + like(x, std::numeric_limits<double>::infinity()));
  return select(x < like(x, -87.33654022216797), like(x, 0), high);
}

Expr one_plus_exp_f32(const Expr& x) {
  // Below -30 the sum is 1; from 89 on it overflows. A sign is left to the additions, which take it for nothing.
  const Expr t = x->op == ExprOp::neg ? -at_least(at_most(x->args[0], 30), -89) : at_most(at_least(x, -30), 89);
  // The exponent's bias is added with the number that rounds, so that what is shifted is a power of two. Half the sum, since 2^128 is none.
  const Expr shift = like(x, magic + 126), shifted = fma(t, like(x, log2_e), shift), n = shifted - shift;
  const Expr r = fma(n, like(x, -ln2_low), fma(n, like(x, -ln2_high), t));
  const Expr p = polynomial(r, {1, 1, 0.4999999403953552, 0.16666430234909058, 0.04166800528764725, 0.008374195545911789, 0.0013843605993315578});
  const Expr half = fma(p, bitcast(DType::f32, shl(bitcast(DType::i32, shifted), i32(23))), like(x, 0.5));
  return half + half;
}

Expr log_f32(const Expr& x) {
  const double inf = std::numeric_limits<double>::infinity();
  const Expr bits = bitcast(DType::i32, x);
  const Expr exponent = shr(bits - i32(0x3f3504f3), i32(23));  // so that m is in [sqrt(1/2), sqrt(2))
  const Expr f = bitcast(DType::f32, bits - shl(exponent, i32(23))) - like(x, 1);
  const Expr n = cast(DType::f32, exponent);
  const Expr z = f * f;
  const Expr p = polynomial(f, {3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1, -1.2420140846e-1,
                                1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2});
  const Expr tail = fma(z, like(x, -0.5), fma(n, like(x, ln2_low), p * f * z));
  const Expr y = fma(n, like(x, ln2_high), f + tail);
  const Expr special = select(x < like(x, 0), like(x, std::numeric_limits<double>::quiet_NaN()), like(x, -inf));
  return select(x < like(x, 0x1p-126), special, select(x < like(x, inf), y, x));
}

Expr expm1_f32(const Expr& x) {
  const Expr y = expm1_normal(at_least(x, -20));
  return select(x <= like(x, 88.72283172607422), y, x + like(x, std::numeric_limits<double>::infinity()));
}

Expr tanh_f32(const Expr& x) {
  // From |x| = 9.02 on the result is 1.
  const Expr t = at_most(abs(x), 9.5);
  const Expr e = expm1_normal(t + t);
  return copy_sign(e / (e + like(x, 2)), x);
}

Expr erf_f32(const Expr& x) {
  const Expr t = at_most(abs(x), 4), s = x * x;
  const Expr tail = polynomial(t, {0, -1.128717512, -6.34846687e-1, -1.06777877e-1, 2.42546219e-2, -3.88396438e-3, 3.83197126e-4, -1.72853470e-5});
  const Expr large = copy_sign(like(x, 1) - exp_normal(tail), x);
  const Expr p = polynomial(s, {1.28379166e-1, -3.76125336e-1, 1.12819925e-1, -2.67681349e-2, 4.99119423e-3, -5.96761703e-4});
  // Not p * x + x: without a fused operation p * x of a small x would be subnormal, which is zero here.
  return select(t > like(x, 0.927734375), large, (p + like(x, 1)) * x);
}

Expr one_plus_erf_f32(const Expr& x) {
  // erfc(t) = 2^p(t) for t = |x| in [0, 4]; p is fitted to an absolute error of 2^-26, all that an addition to 1 leaves. From 4 on the sum is 0 or 2.
  const Expr t = abs(x);
  const Expr p = polynomial(
      t, {0, -1.627908593, -0.918416393, -0.1484816164, 0.02825368409, -0.0007746332834, -0.001489439313, 0.0004455069034, -4.535850494e-05});
  // 2^p = 2^n 2^r. `magic` leaves n with the exponent's bias in the low bits.
  constexpr double biased = magic + 127;
  const Expr shifted = p + like(x, biased), n = shifted - like(x, biased), r = p - n;
  const Expr q = polynomial(
      r, {0, 0.6931472028552628, 0.2402264791360963, 0.05550332470679055, 0.009618437358583877, 0.0013398874597275456, 0.00015353362056737773});
  const Expr scale = bitcast(DType::f32, shl(bitcast(DType::i32, shifted), i32(23)));
  const Expr erfc = select(t > like(x, 4), like(x, 0), fma(q, scale, scale));
  return select(x < like(x, 0), erfc, like(x, 2) - erfc);
}

}  // namespace mica::math
