#pragma once
// What the expansions are written in. Private to passes/kernel.
#include <initializer_list>

#include "mica/ir/expr.h"

namespace mica::math {

/// Immediate of x's element type.
inline Expr like(const Expr& x, double value) { return imm(x->type.dtype, value); }
inline Expr i32(int64_t value) { return imm_i(DType::i32, value); }
inline Expr i64(int64_t value) { return imm_i(DType::i64, value); }
inline Expr shl(Expr a, Expr b) { return make_binary(ExprOp::shl, std::move(a), std::move(b)); }
inline Expr shr(Expr a, Expr b) { return make_binary(ExprOp::shr, std::move(a), std::move(b)); }
inline Expr band(Expr a, Expr b) { return make_binary(ExprOp::band, std::move(a), std::move(b)); }
inline Expr bor(Expr a, Expr b) { return make_binary(ExprOp::bor, std::move(a), std::move(b)); }
inline Expr isnan(Expr x) { return make_unary(ExprOp::isnan, std::move(x)); }
inline Expr trunc(Expr x) { return make_unary(ExprOp::trunc, std::move(x)); }

/// c[0] + c[1] x + c[2] x^2 + ...
Expr polynomial(const Expr& x, std::initializer_list<double> coefficients);
/// Keeps a NaN, unlike min(x, high).
inline Expr at_most(const Expr& x, double high) { return min(like(x, high), x); }
inline Expr at_least(const Expr& x, double low) { return max(like(x, low), x); }
/// |x| with the sign of s.
Expr copy_sign(const Expr& x, const Expr& s);

/// A number as the unevaluated sum of two.
struct Double2 {
  Expr high, low;
};

// All take x of their own type, scalar or vector.
Expr exp_f32(const Expr& x);
/// 1 + exp(x) in fewer steps than exp(x) alone takes, since no result is below 1.
Expr one_plus_exp_f32(const Expr& x);
Expr log_f32(const Expr& x);
Expr tanh_f32(const Expr& x);
Expr erf_f32(const Expr& x);
/// 1 + erf(x), right to 2^-23 or so: what the sum of the two keeps of erf.
Expr one_plus_erf_f32(const Expr& x);
Expr expm1_f32(const Expr& x);

Expr exp_f64(const Expr& x);
Expr log_f64(const Expr& x);
Expr tanh_f64(const Expr& x);
Expr erf_f64(const Expr& x);
Expr expm1_f64(const Expr& x);
Expr sin_f64(const Expr& x);
Expr cos_f64(const Expr& x);
Expr tan_f64(const Expr& x);
Expr asin_f64(const Expr& x);
Expr acos_f64(const Expr& x);
Expr atan_f64(const Expr& x);
Expr sinh_f64(const Expr& x);
Expr cosh_f64(const Expr& x);
/// `fused`: fma is rounded once on the target.
Expr pow_f64(const Expr& x, const Expr& y, bool fused);
Expr atan2_f64(const Expr& y, const Expr& x);
Expr fmod_f64(const Expr& x, const Expr& y, bool fused);

}  // namespace mica::math
