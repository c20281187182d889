#include "mica/ops/special.h"

#include <cmath>
#include <numbers>

namespace mica {

namespace {

Expr number(double v) { return imm(DType::f64, v); }
Expr log1p(const Expr& x) { return make_unary(ExprOp::log1p, x); }

/// c[0] + x c[1] + x^2 c[2] + ...
Expr polynomial(const Expr& x, std::initializer_list<double> c) {
  Expr sum = number(*(c.end() - 1));
  for (const double* p = c.end() - 1; p != c.begin(); --p) sum = fma(sum, x, number(p[-1]));
  return sum;
}

}  // namespace

/// log(|x| + sqrt(x^2 + 1)) by log1p, so that small x keep their digits.
Expr asinh(const Expr& x) {
  const Expr a = abs(x), square = a * a;
  const Expr small = log1p(a + square / (number(1) + sqrt(number(1) + square)));
  const Expr large = log(a) + number(std::numbers::ln2);
  const Expr y = select(a > number(1e100), large, small);
  return select(x < number(0), -y, select(equal(x, number(0)), x, y));  // -0 stays -0
}

Expr acosh(const Expr& x) {
  const Expr t = x - number(1);
  return select(x > number(1e100), log(x) + number(std::numbers::ln2), log1p(t + sqrt(t * (x + number(1)))));
}

/// By |x|: near -1 the sum under the logarithm would cancel. 2|x| is exact, so where it is most of the argument little is rounded.
Expr atanh(const Expr& x) {
  const Expr a = abs(x), twice = a + a, whole = twice / (number(1) - a);
  const Expr y = number(0.5) * log1p(select(a < number(0.5), twice + a * whole, whole));
  return select(x < number(0), -y, select(equal(x, number(0)), x, y));  // -0 stays -0
}

/// For |x| above 1/2 as exp(-x^2) P(t) / (1 + 2|x|) with t = (|x| - 4) / (|x| + 4), after Shepherd and Laframboise (Math. Comp. 36, 1981); P is an
/// interpolation at Chebyshev's points of our own, of degree 22 up to |x| = 28, behind which all is 0. x^2 is exact: the square of the first 24 bits
/// of x, and the rest.
Expr erfc(const Expr& x) {
  const Expr a = min_nan(abs(x), number(28)), t = (a - number(4)) / (a + number(4));
  const Expr p =
      polynomial(t, {1.2329951186255526,      -0.1396211168405625,     0.015379652102619901,   0.06809705425468844,     -0.1010390660363143,
                     0.09373283499853434,     -0.06633036581196795,    0.03716751553379472,    -0.016197734061059108,   0.00503197001856426,
                     -0.0007577732634973155,  -0.00019925696553927866, 0.00015062155590137163, -2.4398057333996413e-05, -1.1221668942295945e-05,
                     5.706494720146254e-06,   2.9313186423696087e-07,  -8.195085083459565e-07, 7.540467350144586e-08,   1.03256669073015e-07,
                     -1.8406671051403966e-08, -9.652213521087604e-09,  1.9717656765049794e-09});
  const Expr high = cast(DType::f64, cast(DType::f32, a)), low = (high - a) * (high + a);
  const Expr tail = exp(-high * high) * exp(low) * p / (number(1) + number(2) * a);
  return select(abs(x) < number(0.5), number(1) - erf(x), select(x < number(0), number(2) - tail, tail));
}

/// Winitzki's approximation, then Halley's step three times: each triples the number of digits.
Expr erfinv(const Expr& x) {
  const Expr w = log((number(1) - x) * (number(1) + x));
  constexpr double a = 0.147;
  const Expr t = number(2 / (std::numbers::pi * a)) + w * number(0.5);
  Expr y = sqrt(sqrt(t * t - w * number(1 / a)) - t);
  y = select(x < number(0), -y, y);
  for (int i = 0; i < 3; ++i) {
    const Expr error = (erf(y) - x) / (number(2 * std::numbers::inv_sqrtpi) * exp(-y * y));
    y = y - error / (number(1) + y * error);
  }
  const Expr edge = equal(abs(x), number(1));
  return select(edge, x * number(__builtin_inf()), select(equal(x, number(0)), x, y));
}

namespace {
/// |sin(pi x)| and cot(pi x), by the distance to the nearest integer: exact, where x and 1 - x would not be.
struct Turn {
  Expr part, sine, cotangent;  ///< part: 0 at integers
};
Turn turn(const Expr& x) {
  const Expr up = x - floor(x), part = select(up > number(0.5), up - number(1), up), angle = number(std::numbers::pi) * part;
  const Expr sine = make_unary(ExprOp::sin, angle);
  return {part, abs(sine), make_unary(ExprOp::cos, angle) / sine};
}

/// log gamma(x) for 0.5 <= x <= 8.5: by its Taylor series about 2 (whose zeros at 1 and 2 are exact) after as many steps of gamma(x) = (x - 1)
/// gamma(x - 1) as lead to 1.5 .. 2.5.
Expr lgamma_near(const Expr& x) {
  const Expr below = x < number(1.5);
  Expr product = number(1), steps = number(0);
  for (int i = 1; i <= 6; ++i) {
    const Expr lower = x - number(i), more = lower >= number(1.5);
    product = product * select(more, lower, number(1));
    steps = steps + select(more, number(1), number(0));
  }
  const Expr e = x - steps - select(below, number(1), number(2));
  const Expr series =
      e * polynomial(e, {0.42278433509846713,     0.3224670334241132,      -0.0673523010531981,    0.020580808427784546,    -0.007385551028673986,
                         0.0028905103307415234,   -0.001192753911703261,   0.0005096695247430425,  -0.00022315475845357939, 9.945751278180853e-05,
                         -4.492623673813314e-05,  2.050721277567069e-05,   -9.439488275268397e-06, 4.374866789907488e-06,   -2.039215753801366e-06,
                         9.55141213040742e-07,    -4.492469198764566e-07,  2.1207184805554665e-07, -1.0043224823968099e-07, 4.7698101693639804e-08,
                         -2.2711094608943164e-08, 1.0838659214896955e-08,  -5.183475041970047e-09, 2.4836745438024785e-09,  -1.1921401405860912e-09,
                         5.731367241678862e-10,   -2.7595228851242334e-10, 1.330476437424449e-10});
  return select(below, series - log1p(x - number(1)), series + log(product));
}
}  // namespace

/// Stirling's series from 8 on; reflected where x < 0.5.
Expr lgamma(const Expr& x) {
  const Expr half = number(0.5), reflected = x < half;
  const Expr z = select(reflected, number(1) - x, x);
  const Expr s = max_nan(z, number(8)), r = number(1) / s;
  const Expr series = r * polynomial(r * r, {1.0 / 12, -1.0 / 360, 1.0 / 1260, -1.0 / 1680, 1.0 / 1188, -691.0 / 360360, 1.0 / 156});
  const Expr far = (s - half) * (log(s) - number(1)) + (number(0.418938533204672741780) + series);
  const Expr y = select(z < number(8), lgamma_near(min_nan(z, number(8))), far);
  const Turn at = turn(x);
  const Expr value = select(reflected, number(std::log(std::numbers::pi)) - log(at.sine) - y, y);
  const Expr infinite = equal(abs(x), number(__builtin_inf()));
  return select(infinite, abs(x), value);
}

/// The asymptotic series at x + 8 less 1/x + ... + 1/(x + 7); reflected where x < 0.5. The poles at 0, -1, ... give NaN, -inf at 0.
Expr digamma(const Expr& x) {
  const Expr reflected = x < number(0.5);
  const Expr z = select(reflected, number(1) - x, x);
  Expr below = number(1) / z;
  for (int i = 1; i < 8; ++i) below = below + number(1) / (z + number(i));
  const Expr s = z + number(8), r = number(1) / s, q = r * r;
  const Expr series = q * polynomial(q, {1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12});
  const Expr y = log(s) - number(0.5) * r - series - below;
  const Turn at = turn(x);
  const Expr pole = equal(at.part, number(0)) && reflected;
  const Expr at_pole = select(equal(x, number(0)), -number(1) / x, number(__builtin_nan("")));
  return select(pole, at_pole, select(reflected, y - number(std::numbers::pi) * at.cotangent, y));
}

/// Two equal infinities differ by NaN; their result is themselves.
Expr logaddexp(const Expr& x, const Expr& y) {
  const Expr top = max_nan(x, y), sum = top + log1p(exp(-abs(x - y)));
  return select(equal(x, y) && equal(abs(x), number(__builtin_inf())), x, sum);
}

Expr sign_bit(const Expr& x) {
  const DType t = x->type.dtype;
  if (!is_signed(t)) return not_equal(x, x);
  if (!is_float(t)) return x < imm_i(t, 0);
  const DType bits = t == DType::f64 ? DType::i64 : DType::i32;
  return bitcast(bits, x) < imm_i(bits, 0);
}

}  // namespace mica
