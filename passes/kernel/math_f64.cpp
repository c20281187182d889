// Double precision. Reductions follow fdlibm (Sun Microsystems) and Cephes; polynomials are weighted minimax fits of our own,
// made in 60-digit arithmetic; each says the function it stands for.
#include <limits>
#include <numbers>

#include "math.h"

namespace mica::math {

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double magic = 0x1.8p52;  ///< added to a small number, rounds it to an integer held in the low bits
constexpr double half_pi_low = 6.123233995736766e-17, pi_low = 1.2246467991473532e-16;

struct Reduced {
  Expr shifted, n, r;
};

/// x = n ln2 + r; the first piece of ln2 has 16 bits, so its product with n is exact.
Reduced reduce(const Expr& x) {
  Reduced out;
  out.shifted = fma(x, like(x, std::numbers::log2e), like(x, magic));
  out.n = out.shifted - like(x, magic);
  out.r = fma(out.n, like(x, -1.42860682030941723212e-6), fma(out.n, like(x, -6.93145751953125e-1), x));
  return out;
}

/// exp(r) - 1, |r| <= 0.354
Expr expm1_reduced(const Expr& r) {
  const Expr p = polynomial(r, {0.5000000000000013, 0.16666666666666363, 0.041666666666507056, 0.008333333333517462, 0.001388888895045243,
                                0.00019841269474321096, 2.480148541876642e-05, 2.755759975505341e-06, 2.763316553453517e-07, 2.5000587125307087e-08});
  return fma(p, r * r, r);
}

Expr scale(const Expr& p, const Expr& shifted) { return bitcast(DType::f64, bitcast(DType::i64, p) + shl(bitcast(DType::i64, shifted), i64(52))); }

Expr exp_normal(const Expr& x) {
  const Reduced a = reduce(x);
  return scale(expm1_reduced(a.r) + like(x, 1), a.shifted);
}

/// Overflow, underflow and NaN around a result y that holds in between.
Expr exp_limits(const Expr& x, const Expr& y) {
  const Expr high = select(x <= like(x, 709.782712893384), y, x + like(x, inf));
  return select(x < like(x, -0x1.6232bdd7abcd2p+9), like(x, 0), high);
}

Expr expm1_normal(const Expr& x) {
  const Reduced a = reduce(x);
  const Expr half = bitcast(DType::f64, shl(bitcast(DType::i64, a.shifted) + i64(1022), i64(52)));
  const Expr sum = fma(half, expm1_reduced(a.r), half - like(x, 0.5));
  return sum + sum;
}

/// x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).
struct Split {
  Expr n, f;
};

Split split(const Expr& x) {
  const Expr bits = bitcast(DType::i64, x);
  const Expr exponent = shr(bits - i64(0x3fe6a09e667f3bcd), i64(52));
  const Expr n = bitcast(DType::f64, exponent + i64(0x4338000000000000)) - like(x, magic);
  return {n, bitcast(DType::f64, bits - shl(exponent, i64(52))) - like(x, 1)};
}

/// ((log((1+s)/(1-s)) - 2s) / s^3 - 0.6666666666666745) / z in z = s^2
Expr log_series_tail(const Expr& z) {
  return polynomial(z, {0.3999999999933911, 0.28571428760656536, 0.2222219656283722, 0.18183675255266862, 0.15311060327392706, 0.14827280963478315});
}

Expr log_limits(const Expr& x, const Expr& y) {
  const Expr special = select(x < like(x, 0), like(x, std::numeric_limits<double>::quiet_NaN()), like(x, -inf));
  return select(x < like(x, std::numeric_limits<double>::min()), special, select(x < like(x, inf), y, x));
}

}  // namespace

Expr exp_f64(const Expr& x) { return exp_limits(x, exp_normal(x)); }

Expr expm1_f64(const Expr& x) {
  const Expr y = expm1_normal(at_least(x, -45));
  return select(x <= like(x, 709.782712893384), y, x + like(x, inf));
}

Expr log_f64(const Expr& x) {
  const Split a = split(x);
  const Expr s = a.f / (a.f + like(x, 2)), z = s * s;
  const Expr r = z * fma(z, log_series_tail(z), like(x, 0.6666666666666745));
  const Expr half = a.f * a.f * like(x, 0.5);
  const Expr low = fma(s, half + r, a.n * like(x, 1.90821492927058770002e-10));
  return log_limits(x, fma(a.n, like(x, 6.93147180369123816490e-01), a.f - (half - low)));
}

Expr tanh_f64(const Expr& x) {
  const Expr t = at_most(abs(x), 20);
  const Expr e = expm1_normal(t + t);
  return copy_sign(e / (e + like(x, 2)), x);
}

Expr erf_f64(const Expr& x) {
  const Expr t = at_most(abs(x), 6), z = x * x;
  // log(erfc(t)) on [1, 6], weighted by erfc
  const Expr tail =
      polynomial(t, {-5.133056460585056e-07, -1.1283739911221964, -0.6366440576008153, -0.10270228326978212, 0.01898803031317626,
                     0.00041355192506315147, -0.0019189608149284432, 0.0007730546606446578, -0.00013656106911509353, -1.952061161334926e-05,
                     2.253209663380154e-05, -8.578572607963564e-06, 2.114757213395272e-06, -3.695590089998917e-07, 4.593253436399245e-08,
                     -3.889967743594169e-09, 2.0203269844508026e-10, -4.865087000397775e-12});
  const Expr large = copy_sign(like(x, 1) - exp_normal(tail), x);
  // erf(x) / x - 1 on [0, 1]
  const Expr p = polynomial(z, {0.12837916709551256, -0.3761263890318355, 0.11283791670945245, -0.026866170643274928, 0.005223977607413507,
                                -0.0008548325989246514, 0.00012055295307765798, -1.4924744431616243e-05, 1.6447514961715906e-06,
                                -1.6209156102238037e-07, 1.3722894476909213e-08, -7.801042824423422e-10});
  return select(t > like(x, 1), large, fma(p, x, x));
}

namespace {

/// x = n pi/2 + r, in three pieces of pi/2 (fdlibm's); `quadrant` is n mod 4.
struct Angle {
  Expr quadrant, r;
};

Angle reduce_angle(const Expr& x) {
  const Expr shifted = fma(x, like(x, 2 / std::numbers::pi), like(x, magic));
  const Expr n = shifted - like(x, magic);
  const Expr first = fma(n, like(x, -1.57079632673412561417e+00), x);
  const Expr second = fma(n, like(x, -6.07710050630396597660e-11), first);
  const Expr lost = fma(n, like(x, -6.07710050630396597660e-11), first - second);
  const Expr r = second + fma(n, like(x, -2.02226624879595063154e-21), lost);
  // Where |x| is so large that n is wrong, r at least stays in the polynomials' range.
  return {bitcast(DType::i64, shifted), at_least(at_most(r, 0.79), -0.79)};
}

Expr sin_reduced(const Expr& r) {
  const Expr z = r * r;
  const Expr p = polynomial(z, {-0.16666666666666632, 0.008333333333322316, -0.00019841269829724479, 2.755731366179877e-06, -2.5050753244303216e-08,
                                1.5896505284706188e-10});
  return fma(p * z, r, r);
}

Expr cos_reduced(const Expr& r) {
  const Expr z = r * r;
  const Expr p = polynomial(z, {0.0416666666666666, -0.0013888888888874008, 2.4801587289407225e-05, -2.7557314329749644e-07, 2.0875720057836405e-09,
                                -1.1359473559469783e-11});
  const Expr half = z * like(r, 0.5), w = like(r, 1) - half;
  return w + fma(p * z, z, (like(r, 1) - w) - half);
}

/// sin(r + quadrant * pi/2)
Expr sin_of(const Expr& r, const Expr& quadrant) {
  const Expr odd = not_equal(band(quadrant, i64(1)), i64(0));
  const Expr value = select(odd, cos_reduced(r), sin_reduced(r));
  return select(not_equal(band(quadrant, i64(2)), i64(0)), -value, value);
}

}  // namespace

Expr sin_f64(const Expr& x) {
  const Angle a = reduce_angle(x);
  return sin_of(a.r, a.quadrant);
}

Expr cos_f64(const Expr& x) {
  const Angle a = reduce_angle(x);
  return sin_of(a.r, a.quadrant + i64(1));
}

Expr tan_f64(const Expr& x) {
  const Angle a = reduce_angle(x);
  const Expr odd = not_equal(band(a.quadrant, i64(1)), i64(0));
  const Expr s = sin_reduced(a.r), c = cos_reduced(a.r);
  return select(odd, -c, s) / select(odd, s, c);
}

namespace {

/// (atan(t) - t) / t^3 in t^2, |t| <= tan(pi/8)
Expr atan_reduced(const Expr& t) {
  const Expr z = t * t;
  const Expr p =
      polynomial(z, {-0.333333333333332, 0.199999999999532, -0.1428571428015613, 0.11111110781345153, -0.09090897693962055, 0.07692059025832669,
                     -0.06663089895188709, 0.05847781629348315, -0.05038798520398788, 0.038051175576007394, -0.017891991087417167});
  return fma(p * z, t, t);
}

/// atan(num / den) for num, den >= 0 with one division; num / den may be any number or inf.
Expr atan_ratio(const Expr& num, const Expr& den) {
  const Expr steep = num > like(num, 2.414213562373095) * den, middle = num > like(num, 0.4142135623730951) * den;
  const Expr top = select(steep, -den, select(middle, num - den, num));
  const Expr bottom = select(steep, num, select(middle, num + den, den));
  const Expr a = atan_reduced(top / bottom);
  const Expr low = select(steep, like(num, half_pi_low), select(middle, like(num, half_pi_low / 2), like(num, 0)));
  return select(steep, like(num, std::numbers::pi / 2), select(middle, like(num, std::numbers::pi / 4), like(num, 0))) + (a + low);
}

/// (asin(t) - t) / t^3 in z = t^2 <= 1/4
Expr asin_series(const Expr& z) {
  return polynomial(z, {0.16666666666666766, 0.07499999999969388, 0.0446428571759883, 0.030381942640360073, 0.022372216924220034,
                        0.017351576603505413, 0.013981252091459223, 0.011395326391356408, 0.010800647370478941, 0.0036282871023032696,
                        0.021900108834134065, -0.021275302669695496, 0.032803591477340126});
}

/// asin(|x|) where |x| <= 1/2, else asin(sqrt((1 - |x|) / 2)): the angle and which one it is.
struct Arc {
  Expr inner, angle;
};

Arc arc(const Expr& x) {
  const Expr t = abs(x), inner = t <= like(x, 0.5);
  const Expr z = select(inner, t * t, (like(x, 1) - t) * like(x, 0.5));
  const Expr s = select(inner, t, sqrt(z));
  return {inner, fma(asin_series(z) * z, s, s)};
}

}  // namespace

Expr atan_f64(const Expr& x) { return copy_sign(atan_ratio(abs(x), like(x, 1)), x); }

Expr asin_f64(const Expr& x) {
  const Arc a = arc(x);
  const Expr outer = like(x, std::numbers::pi / 2) - (a.angle + a.angle - like(x, half_pi_low));
  return copy_sign(select(a.inner, a.angle, outer), x);
}

Expr acos_f64(const Expr& x) {
  const Arc a = arc(x);
  const Expr negative = x < like(x, 0), twice = a.angle + a.angle;
  const Expr signed_angle = select(negative, -a.angle, a.angle);
  const Expr inner = like(x, std::numbers::pi / 2) - (signed_angle - like(x, half_pi_low));
  const Expr outer = select(negative, like(x, std::numbers::pi) - (twice - like(x, pi_low)), twice);
  return select(a.inner, inner, outer);
}

Expr atan2_f64(const Expr& y, const Expr& x) {
  const Expr ay = abs(y), ax = abs(x);
  const Expr both_zero = ay + ax <= like(x, 0), both_infinite = ay >= like(x, inf) && ax >= like(x, inf);
  const Expr num = select(both_zero, like(x, 0), select(both_infinite, like(x, 1), ay));
  const Expr den = select(both_zero || both_infinite, like(x, 1), ax);
  const Expr angle = atan_ratio(num, den);
  const Expr left = bitcast(DType::i64, x) < i64(0);  // also -0
  const Expr turned = select(left, like(x, std::numbers::pi) - (angle - like(x, pi_low)), angle);
  return select(isnan(x + y) && logical_not(both_infinite), x + y, copy_sign(turned, y));
}

Expr sinh_f64(const Expr& x) {
  const Expr t = abs(x), e = expm1_normal(at_most(t, 709));
  const Expr small = like(x, 0.5) * (e + e / (e + like(x, 1)));
  const Expr root = exp_f64(like(x, 0.5) * t);  // exp(t) itself would overflow too early
  return copy_sign(select(t <= like(x, 709), small, (like(x, 0.5) * root) * root), x);
}

Expr cosh_f64(const Expr& x) {
  const Expr t = abs(x), e = exp_normal(at_most(t, 709));
  const Expr small = like(x, 0.5) * e + like(x, 0.5) / e;
  const Expr root = exp_f64(like(x, 0.5) * t);
  return select(t <= like(x, 709), small, (like(x, 0.5) * root) * root);
}

namespace {

/// a * b exactly. Without a fused multiply-add: Dekker's product by Veltkamp's splitting.
Double2 two_product(const Expr& a, const Expr& b, bool fused) {
  const Expr p = a * b;
  if (fused) return {p, fma(a, b, -p)};
  const auto split_bits = [](const Expr& v) -> Double2 {
    const Expr c = like(v, 134217729) * v, high = c - (c - v);
    return {high, v - high};
  };
  const Double2 x = split_bits(a), y = split_bits(b);
  return {p, ((x.high * y.high - p) + x.high * y.low + x.low * y.high) + x.low * y.low};
}

/// a + b where |a| >= |b|.
Double2 fast_two_sum(const Expr& a, const Expr& b) {
  const Expr s = a + b;
  return {s, b - (s - a)};
}

Double2 multiply(const Double2& a, const Double2& b, bool fused) {
  const Double2 p = two_product(a.high, b.high, fused);
  return fast_two_sum(p.high, p.low + (a.high * b.low + a.low * b.high));
}

/// log(x) to about 64 bits, for positive normal x.
Double2 log_double2(const Expr& x, bool fused) {
  const Split a = split(x);
  const Double2 den = fast_two_sum(like(x, 2), a.f);
  const Expr s0 = a.f / den.high;
  const Double2 back = two_product(s0, den.high, fused);
  const Double2 s = fast_two_sum(s0, ((a.f - back.high) - back.low - s0 * den.low) / den.high);
  const Double2 z = multiply(s, s, fused), cube = multiply(z, s, fused);
  // The series again, fitted with 2/3 itself in front: that too takes two numbers.
  const Expr tail = polynomial(z.high, {0.39999999999999974, 0.28571428571447605, 0.22222222216937523, 0.18181818942991013, 0.15384551963673537,
                                        0.13336504399240512, 0.11671057638168693, 0.12020060099412035});
  const Double2 third = fast_two_sum(like(x, 0.6666666666666666), z.high * tail);
  const Double2 series = multiply(cube, {third.high, third.low + like(x, 3.700743415417188e-17)}, fused);
  const Double2 two_s = {s.high + s.high, s.low + s.low};
  const Double2 m = fast_two_sum(two_s.high, series.high);
  const Expr m_low = m.low + (two_s.low + series.low);
  // n * ln2: the first piece has 32 bits, so the product is exact
  const Double2 whole = fast_two_sum(a.n * like(x, 6.93147180369123816490e-01), m.high);
  const Double2 zero = fast_two_sum(m.high, m_low);
  const Expr low = whole.low + fma(a.n, like(x, 1.90821492927058770002e-10), m_low);
  const Double2 sum = fast_two_sum(whole.high, low);
  const Expr plain = equal(a.n, like(x, 0));
  return {select(plain, zero.high, sum.high), select(plain, zero.low, sum.low)};
}

}  // namespace

Expr pow_f64(const Expr& x, const Expr& y, bool fused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Expr zero = like(x, 0), one = like(x, 1), ax = abs(x);
  const Double2 l = log_double2(at_least(at_most(ax, std::numeric_limits<double>::max()), std::numeric_limits<double>::min()), fused);
  // Past these bounds the result is 0, 1 or inf anyway; without them y * log(x) could be inf - inf below.
  const Expr yc = at_least(at_most(y, 0x1p62), -0x1p62);
  const Double2 p = two_product(yc, l.high, fused);
  const Expr exponent = fma(yc, l.low, p.low);
  const Reduced a = reduce(at_least(at_most(p.high, 800), -800));
  Expr r = expm1_reduced(a.r + exponent) + one;
  Expr result = exp_limits(p.high, scale(r, a.shifted));
  // |x| = 0 and inf
  const Expr up = y > zero;
  result = select(ax < like(x, std::numeric_limits<double>::min()), select(up, zero, like(x, inf)), result);
  result = select(ax >= like(x, inf), select(up, like(x, inf), zero), result);
  // y = +-inf
  const Expr grows = (ax > one && up) || (ax < one && logical_not(up));
  result = select(abs(y) >= like(x, inf), select(equal(ax, one), one, select(grows, like(x, inf), zero)), result);
  // x < 0: the sign of an odd power, NaN of a fraction
  const Expr whole = equal(trunc(y), y), halved = y * like(x, 0.5);
  const Expr odd = whole && not_equal(trunc(halved), halved);
  const Expr negative = bitcast(DType::i64, x) < i64(0);
  result = select(negative && odd, -result, result);
  result = select(x < zero && logical_not(whole) && ax < like(x, inf), like(x, nan), result);
  result = select(isnan(x) || isnan(y), x + y, result);
  return select(equal(y, zero) || equal(x, one), one, result);
}

Expr fmod_f64(const Expr& x, const Expr& y, bool fused) {
  const Expr ay = abs(y);
  Expr r = abs(x);
  // Each round takes away a multiple of y whose factor fits 53 bits: exact for |x / y| < 2^312, so for all f32.
  for (int round = 0; round < 6; ++round) {
    const Double2 p = two_product(trunc(r / ay), ay, fused);
    r = (r - p.high) - p.low;
  }
  // The quotient was rounded, so the last factor may be one too many or too few.
  r = select(r < like(x, 0), r + ay, r);
  r = select(r >= ay, r - ay, r);
  const Expr finite = abs(x) < like(x, inf);
  const Expr result = select(ay >= like(x, inf) && finite, x, copy_sign(r, x));
  const Expr valid = finite && ay > like(x, 0);
  return select(valid, result, like(x, std::numeric_limits<double>::quiet_NaN()));
}

}  // namespace mica::math
