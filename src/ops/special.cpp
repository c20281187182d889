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
  return select(x < number(0), -y, y);
}

Expr acosh(const Expr& x) {
  const Expr t = x - number(1);
  return select(x > number(1e100), log(x) + number(std::numbers::ln2), log1p(t + sqrt(t * (x + number(1)))));
}

/// By |x|: near -1 the sum under the logarithm would cancel.
Expr atanh(const Expr& x) {
  const Expr a = abs(x), y = number(0.5) * log1p(number(2) * a / (number(1) - a));
  return select(x < number(0), -y, y);
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

/// Stirling's series at x + 8, from which log(x (x + 1) ... (x + 7)) is taken away; reflected where x < 0.5.
Expr lgamma(const Expr& x) {
  const Expr half = number(0.5), reflected = x < half;
  const Expr z = select(reflected, number(1) - x, x);
  Expr product = z;
  for (int i = 1; i < 8; ++i) product = product * (z + number(i));
  const Expr s = z + number(8), r = number(1) / s;
  const Expr series = r * polynomial(r * r, {1.0 / 12, -1.0 / 360, 1.0 / 1260, -1.0 / 1680, 1.0 / 1188, -691.0 / 360360, 1.0 / 156});
  const Expr direct = number(0.918938533204672741780) + (s - half) * log(s) - s + series;
  // Beyond 1e30 the product overflows, and is not needed.
  const Expr y = select(z > number(1e30), z * (log(z) - number(1)), direct - log(product));
  const Expr part = x - floor(x);  // |sin(pi x)| has period 1
  const Expr sine = abs(make_unary(ExprOp::sin, number(std::numbers::pi) * part));
  const Expr value = select(reflected, number(std::log(std::numbers::pi)) - log(select(equal(part, number(0)), number(0), sine)) - y, y);
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
  const Expr part = x - floor(x), angle = number(std::numbers::pi) * part;
  const Expr cotangent = make_unary(ExprOp::cos, angle) / make_unary(ExprOp::sin, angle);
  const Expr pole = equal(part, number(0)) && reflected;
  const Expr at_pole = select(equal(x, number(0)), -number(1) / x, number(__builtin_nan("")));
  return select(pole, at_pole, select(reflected, y - number(std::numbers::pi) * cotangent, y));
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
