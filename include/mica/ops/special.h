#pragma once
// Rarer functions, computed in f64 where a formula in the dtype itself would cancel or overflow. Integers and bool are taken as f32.
#include "mica/ops/pointwise.h"

namespace mica {

/// Bodies that are longer than a line; x and y are f64.
Expr asinh(const Expr& x);
Expr acosh(const Expr& x);
Expr atanh(const Expr& x);
Expr erfc(const Expr& x);
Expr erfinv(const Expr& x);
Expr lgamma(const Expr& x);
Expr digamma(const Expr& x);
Expr logaddexp(const Expr& x, const Expr& y);
/// True where the sign bit of a float is set, also of -0.0.
Expr sign_bit(const Expr& x);

/// result = f(x), computed in f64 and rounded once.
template <class F> Expr define_in_f64(const Define& d, Value x, F f) { return convert(d.result_type().dtype, f(load(d, DType::f64, x))); }

/// Inverse hyperbolic sine.
struct Asinh {
  static constexpr OpSpec spec = {.signature = "asinh(x)",
                                  .torch = "aten::asinh(self=x); aten::arcsinh(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in -4..4", "x=f64[9] in -1e-3..1e-3", "x=f32[3] in 1e30..1e31"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Asinh& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Asinh& op, Define& d) {
    return define_in_f64(d, op.x, [](Expr x) { return asinh(x); });
  }
};

/// Inverse hyperbolic cosine; NaN below 1.
struct Acosh {
  static constexpr OpSpec spec = {.signature = "acosh(x)",
                                  .torch = "aten::acosh(self=x); aten::arccosh(self=x)",
                                  .samples = {"x=f32[4, 7] in 1..9", "x=f16[2, 3]", "x=i64[5] in 1..4", "x=f32[3] in 1e30..1e31"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Acosh& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Acosh& op, Define& d) {
    return define_in_f64(d, op.x, [](Expr x) { return acosh(x); });
  }
};

/// Inverse hyperbolic tangent; NaN outside of [-1, 1].
struct Atanh {
  static constexpr OpSpec spec = {.signature = "atanh(x)",
                                  .torch = "aten::atanh(self=x); aten::arctanh(self=x)",
                                  .samples = {"x=f32[4, 7] in -1..1", "x=f16[2, 3]", "x=f32[9] in -1e-3..1e-3"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Atanh& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Atanh& op, Define& d) {
    return define_in_f64(d, op.x, [](Expr x) { return atanh(x); });
  }
};

/// 1 - erf(x), with its digits where that is near 0.
struct Erfc {
  static constexpr OpSpec spec = {.signature = "erfc(x)",
                                  .torch = "aten::erfc(self=x); aten::special_erfc(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f64[3]", "x=f32[9] in 3..9", "x=i64[5] in -3..6"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Erfc& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Erfc& op, Define& d) {
    return define_in_f64(d, op.x, [](Expr x) { return erfc(x); });
  }
};

/// The y with erf(y) = x; NaN outside of [-1, 1].
struct Erfinv {
  static constexpr OpSpec spec = {.signature = "erfinv(x)",
                                  .torch = "aten::erfinv(self=x); aten::special_erfinv(self=x)",
                                  .samples = {"x=f32[4, 7] in -1..1", "x=f16[9]", "x=f32[9] in 0.999..1", "x=f64[9] in -0.9..0.9"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Erfinv& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Erfinv& op, Define& d) {
    return define_in_f64(d, op.x, [](Expr x) { return erfinv(x); });
  }
};

/// log |gamma(x)|
struct Lgamma {
  static constexpr OpSpec spec = {.signature = "lgamma(x)",
                                  .torch = "aten::lgamma(self=x); aten::special_gammaln(self=x)",
                                  .samples = {"x=f32[4, 7] in 0.01..9", "x=f32[40] in -5..40", "x=f16[5] in 1..9", "x=i64[5] in 1..9"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Lgamma& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Lgamma& op, Define& d) {
    return define_in_f64(d, op.x, [](Expr x) { return lgamma(x); });
  }
};

/// The derivative of lgamma.
struct Digamma {
  static constexpr OpSpec spec = {.signature = "digamma(x)",
                                  .torch = "aten::digamma(self=x); aten::special_digamma(self=x); aten::special_psi(self=x)",
                                  .samples = {"x=f32[4, 7] in 0.1..9", "x=f32[40] in -5..40", "x=f16[5] in 1..9", "x=i64[5] in 1..9"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Digamma& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Digamma& op, Define& d) {
    return define_in_f64(d, op.x, [](Expr x) { return digamma(x); });
  }
};

/// x is negative; of floats the sign bit counts, also of -0.0.
struct Signbit {
  static constexpr OpSpec spec = {.signature = "signbit(x)",
                                  .torch = "aten::signbit(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f64[5]", "x=f16[5]", "x=i64[5] in -2..2", "x=u8[3]", "x=bool[3]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Signbit& op, const Infer& ctx) { return infer_bool(ctx, op.x); }
  static Expr define(const Signbit& op, Define& d) { return sign_bit(load(d, working(d.type(op.x).dtype), op.x)); }
};

/// |x| with the sign of y.
struct Copysign {
  static constexpr OpSpec spec = {
      .signature = "copysign(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=i64[5] in -3..3, y=f32[5]", "x=f16[5], y=f16[5]", "x=i64[3], y=i32[3] in -1..1"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Copysign& op, const Infer& ctx) { return infer_promoted_float(ctx, {op.x, op.y}); }
  static Expr define(const Copysign& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return select(sign_bit(y), -abs(x), abs(x)); });
  }
};

/// x * log(y); 0 where x is 0 and y is no NaN.
struct Xlogy {
  static constexpr OpSpec spec = {
      .signature = "xlogy(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7] in 0..9", "x=i64[5], y=f32[5] in 0..1", "x=f16[5], y=f16[5] in 0..2", "x=i64[3], y=i32[3]"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Xlogy& op, const Infer& ctx) { return infer_promoted_float(ctx, {op.x, op.y}); }
  static Expr define(const Xlogy& op, Define& d) {
    return define_binary(
        d, op.x, op.y, [](Expr x, Expr y) { return select(make_unary(ExprOp::isnan, y), y, select(equal(x, like(x, 0)), like(x, 0), x * log(y))); });
  }
};

/// sqrt(x * x + y * y), without overflow on the way.
struct Hypot {
  static constexpr OpSpec spec = {.signature = "hypot(x, y)",
                                  .samples = {"x=f32[4, 7], y=f32[7]", "x=f32[3] in 1e30..1e31, y=f32[3]", "x=f16[5] in 100..300, y=f16[5]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Hypot& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Hypot& op, Define& d) {
    const Expr x = abs(load(d, DType::f64, op.x)), y = abs(load(d, DType::f64, op.y)), zero = like(x, 0);
    const Expr large = max(x, y), ratio = select(equal(large, zero), zero, min(x, y) / large);
    const Expr infinite = equal(x, like(x, __builtin_inf())) || equal(y, like(y, __builtin_inf()));
    return convert(d.result_type().dtype, select(infinite, like(x, __builtin_inf()), large * sqrt(like(x, 1) + ratio * ratio)));
  }
};

/// log(exp(x) + exp(y)), or to base 2, without overflow on the way.
struct Logaddexp {
  static constexpr OpSpec spec = {
      .signature = "logaddexp(x, y, base2)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=f32[3] in 500..600, y=f32[3] in 500..600", "x=f16[5], y=f16[5]", "x=f32[4, 7], y=f32[7], base2=true"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  bool base2 = false;
  static Result<TensorType> infer(const Logaddexp& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Logaddexp& op, Define& d) {
    const Expr x = load(d, DType::f64, op.x), y = load(d, DType::f64, op.y), ln2 = like(x, 0.693147180559945309417);
    return convert(d.result_type().dtype, op.base2 ? logaddexp(x * ln2, y * ln2) / ln2 : logaddexp(x, y));
  }
};

using SpecialOps = OpList<Asinh, Acosh, Atanh, Erfc, Erfinv, Lgamma, Digamma, Signbit, Copysign, Xlogy, Hypot, Logaddexp>;

}  // namespace mica
