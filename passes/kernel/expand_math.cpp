#include "expand_math.h"

#include <limits>

#include "math.h"

namespace mica {

namespace math {

Expr polynomial(const Expr& x, std::initializer_list<double> coefficients) {
  const double* c = coefficients.end();
  Expr p = like(x, *--c);
  while (c != coefficients.begin()) p = fma(p, x, like(x, *--c));
  return p;
}

Expr copy_sign(const Expr& x, const Expr& s) {
  const DType bits = size_of(x->type.dtype) == 8 ? DType::i64 : DType::i32;
  const int64_t sign = bits == DType::i64 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int32_t>::min();
  const Expr magnitude = band(bitcast(bits, x), imm_i(bits, ~sign));
  return bitcast(x->type.dtype, bor(magnitude, band(bitcast(bits, s), imm_i(bits, sign))));
}

}  // namespace math

namespace {

using namespace math;

bool is_math(ExprOp op) {
  switch (op) {
    case ExprOp::exp:
    case ExprOp::log:
    case ExprOp::sin:
    case ExprOp::cos:
    case ExprOp::tan:
    case ExprOp::asin:
    case ExprOp::acos:
    case ExprOp::atan:
    case ExprOp::sinh:
    case ExprOp::cosh:
    case ExprOp::tanh:
    case ExprOp::erf:
    case ExprOp::log1p:
    case ExprOp::expm1:
    case ExprOp::pow:
    case ExprOp::atan2:
    case ExprOp::fmod:
    case ExprOp::floordiv:
    case ExprOp::floormod: return true;
    default: return false;
  }
}

/// Rounding of 1 + x is made good by x / (u - 1) (Kahan); exact where u = 1.
Expr log1p(const Expr& x, Expr (*log)(const Expr&)) {
  const Expr u = x + like(x, 1), one = like(x, 1);
  const Expr y = select(u < like(x, std::numeric_limits<double>::infinity()), log(u) * (x / (u - one)), log(u));
  return select(equal(u, one), x, y);
}

/// The powers that LibTorch computes without pow; empty for others.
Expr simple_power(const Expr& x, const Expr& y) {
  const Expr one = like(x, 1);
  if (is_constant(y, 0)) return x->type.lanes > 1 ? make_broadcast(one, x->type.lanes) : one;
  if (is_constant(y, 1)) return x;
  if (is_constant(y, 2)) return x * x;
  if (is_constant(y, 3)) return x * x * x;
  if (is_constant(y, -1)) return one / x;
  if (is_constant(y, -2)) return one / (x * x);
  if (!is_float(x->type.dtype)) return {};
  if (is_constant(y, 0.5)) return sqrt(x);
  if (is_constant(y, -0.5)) return one / sqrt(x);
  return {};
}

/// Square and multiply over all bits of the exponent; wraps. A negative exponent gives 0 but for 1 and -1.
Expr integer_power(const Expr& x, const Expr& y) {
  if (const Expr e = simple_power(x, y); e && !is_constant(y, -1) && !is_constant(y, -2)) return e;
  const DType t = x->type.dtype;
  const Expr zero = imm_i(t, 0), one = imm_i(t, 1);
  Expr result = make_broadcast(one, x->type.lanes), square = x, rest = y;
  for (int64_t bit = 0; bit < 8 * size_of(t); ++bit) {
    result = select(not_equal(band(rest, one), zero), result * square, result);
    square = square * square;
    rest = make_binary(ExprOp::ushr, rest, one);
  }
  if (!is_signed(t)) return result;
  const Expr minus_one = imm_i(t, -1);
  const Expr odd = not_equal(band(y, one), zero);
  const Expr inverse = select(equal(x, one), one, select(equal(x, minus_one), select(odd, minus_one, one), zero));
  return select(y < zero, inverse, result);
}

/// Remainder and quotient that round towards minus infinity, as torch.remainder and torch.floor_divide do.
Expr floor_mod(const Expr& a, const Expr& b, const Expr& mod) {
  const Expr zero = like(a, 0);
  const Expr wrong_side = not_equal(mod, zero) && not_equal(cast(DType::i32, b < zero), cast(DType::i32, mod < zero));
  return select(wrong_side, mod + b, mod);
}

Expr floor_quotient(const Expr& a, const Expr& b, const Expr& mod) {
  const Expr zero = like(a, 0), one = like(a, 1);
  const Expr wrong_side = not_equal(mod, zero) && not_equal(cast(DType::i32, b < zero), cast(DType::i32, mod < zero));
  const Expr exact = (a - mod) / b;
  const Expr quotient = select(wrong_side, exact - one, exact);
  const Expr down = floor(quotient);
  const Expr rounded = select(quotient - down > like(a, 0.5), down + one, down);
  return select(equal(b, zero), a / b, select(equal(quotient, zero), copy_sign(zero, a / b), rounded));
}

class Expander {
 public:
  explicit Expander(const Target& target) : fused_(target.fma) {}

  Expr operator()(const Expr& e) const {
    if (!is_math(e->op)) return {};
    const Expr x = e->args[0], y = e->args.size() > 1 ? e->args[1] : Expr();
    const DType t = x->type.dtype;
    if (!is_float(t)) return e->op == ExprOp::pow ? integer_power(x, y) : Expr();
    if (t == DType::f64) return y ? binary_f64(e->op, x, y) : of_zero(e->op, x, unary_f64(e->op, x));
    if (t == DType::f32) return y ? binary_f32(e->op, x, y) : of_zero(e->op, x, unary_f32(e->op, x));
    const Expr wide = cast(DType::f32, x);
    return cast(t, y ? binary_f32(e->op, wide, cast(DType::f32, y)) : of_zero(e->op, wide, unary_f32(e->op, wide)));
  }

 private:
  /// Functions that are x at 0, by sums that make +0 of -0.
  static Expr of_zero(ExprOp op, const Expr& x, const Expr& y) {
    const bool sum = op == ExprOp::sin || op == ExprOp::tan || op == ExprOp::expm1;
    return sum ? select(equal(x, like(x, 0)), x, y) : y;
  }

  Expr unary_f64(ExprOp op, const Expr& x) const {
    switch (op) {
      case ExprOp::exp: return exp_f64(x);
      case ExprOp::log: return log_f64(x);
      case ExprOp::sin: return sin_f64(x);
      case ExprOp::cos: return cos_f64(x);
      case ExprOp::tan: return tan_f64(x);
      case ExprOp::asin: return asin_f64(x);
      case ExprOp::acos: return acos_f64(x);
      case ExprOp::atan: return atan_f64(x);
      case ExprOp::sinh: return sinh_f64(x);
      case ExprOp::cosh: return cosh_f64(x);
      case ExprOp::tanh: return tanh_f64(x);
      case ExprOp::erf: return erf_f64(x);
      case ExprOp::log1p: return log1p(x, log_f64);
      case ExprOp::expm1: return expm1_f64(x);
      default: return {};
    }
  }

  /// The common ones in single precision; the others in double, which rounds them correctly almost always.
  Expr unary_f32(ExprOp op, const Expr& x) const {
    switch (op) {
      case ExprOp::exp: return exp_f32(x);
      case ExprOp::log: return log_f32(x);
      case ExprOp::tanh: return tanh_f32(x);
      case ExprOp::erf: return erf_f32(x);
      case ExprOp::log1p: return log1p(x, log_f32);
      case ExprOp::expm1: return expm1_f32(x);
      default: return cast(DType::f32, unary_f64(op, cast(DType::f64, x)));
    }
  }

  Expr binary_f64(ExprOp op, const Expr& x, const Expr& y) const {
    switch (op) {
      case ExprOp::pow: {
        const Expr simple = simple_power(x, y);
        return simple ? simple : pow_f64(x, y, fused_);
      }
      case ExprOp::atan2: return atan2_f64(x, y);
      case ExprOp::fmod: return fmod_f64(x, y, fused_);
      case ExprOp::floormod: return floor_mod(x, y, fmod_f64(x, y, fused_));
      case ExprOp::floordiv: return floor_quotient(x, y, fmod_f64(x, y, fused_));
      default: return {};
    }
  }

  Expr binary_f32(ExprOp op, const Expr& x, const Expr& y) const {
    const auto in_f64 = [&](ExprOp o) { return cast(DType::f32, binary_f64(o, cast(DType::f64, x), cast(DType::f64, y))); };
    switch (op) {
      case ExprOp::pow: {
        const Expr simple = simple_power(x, y);
        return simple ? simple : in_f64(op);
      }
      case ExprOp::floormod: return floor_mod(x, y, in_f64(ExprOp::fmod));
      case ExprOp::floordiv: return floor_quotient(x, y, in_f64(ExprOp::fmod));
      default: return in_f64(op);
    }
  }

  bool fused_;
};

/// f where `e` is 1 + f(x) in f32 for the function `op`; else empty.
Expr added_to_one(const Expr& e, ExprOp op) {
  if (e->op != ExprOp::add || e->type.dtype != DType::f32) return {};
  const size_t one = is_constant(e->args[0], 1) ? 0 : 1;
  const Expr& f = e->args[1 - one];
  return is_constant(e->args[one], 1) && f->op == op && f->type == e->type ? f : Expr();
}

/// Sums of 1 and a function that lose what makes the function dear: its relative precision near 0. A GELU is one, a sigmoid divides by one.
Expr sum_with_one(const Expr& e) {
  if (const Expr erf = added_to_one(e, ExprOp::erf)) return one_plus_erf_f32(erf->args[0]);
  const Expr exp = e->op == ExprOp::div ? added_to_one(e->args[1], ExprOp::exp) : Expr();
  if (!exp) return {};
  bool needed = false;  // exp(x) itself, too
  visit(e->args[0], [&](const Expr& n) { needed |= equivalent(n, exp); });
  return needed ? Expr() : e->args[0] / one_plus_exp_f32(exp->args[0]);
}

Expr expanded(const Expr& e, const Expander& expander) { return rewrite(rewrite(e, sum_with_one), expander); }

void expand(std::vector<Stmt>& body, const Expander& expander) {
  const auto apply = [&](Expr& e) {
    if (e) e = expanded(e, expander);
  };
  for (Stmt& s : body) {
    for (Expr* e : {&s.low, &s.high, &s.step, &s.index, &s.value, &s.mask, &s.condition}) apply(*e);
    expand(s.body, expander);
    expand(s.otherwise, expander);
  }
}

}  // namespace

Expr expand_math(const Expr& e, const Target& target) { return expanded(e, Expander(target)); }

void expand_math(Kernel& kernel, const Target& target) { expand(kernel.body, Expander(target)); }

void expand_math(Program& program, const Target& target) {
  for (Kernel& kernel : program.kernels) expand_math(kernel, target);
}

}  // namespace mica
