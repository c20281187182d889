#include "mica/ops/pointwise.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

/// Operands of an integer division, where no combination traps: a divisor of 0 is a recorded fault, and -1 is left to the caller.
struct Division {
  Expr x, y;
};
Division operands(const Define& d, Value x, Value y) {
  const DType w = working(d.result_type().dtype);
  Division o{load(d, w, x), load(d, w, y)};
  if (!is_float(w)) o.y = is_nonzero_constant(d.graph(), y) ? nonzero_divisor(o.y) : checked_divisor(o.y, d.node().info->name());
  return o;
}

/// Integer quotient by `op` with INT_MIN / -1 = INT_MIN, as two's complement wraps.
Expr quotient(ExprOp op, const Division& o) {
  const DType t = o.x->type.dtype;
  if (!is_signed(t)) return make_binary(op, o.x, o.y);
  const Expr minus_one = equal(o.y, imm_i(t, -1));
  return select(minus_one, -o.x, make_binary(op, o.x, select(minus_one, imm_i(t, 1), o.y)));
}

/// Python's modulo on floats: fmod moved to the sign of y.
Expr float_modulo(const Expr& x, const Expr& y) {
  const Expr m = make_binary(ExprOp::fmod, x, y), zero = like(x, 0);
  return select(not_equal(m, zero) && not_equal(cast(DType::i32, y < zero), cast(DType::i32, m < zero)), m + y, m);
}

}  // namespace

Expr FloorDivide::define(const FloorDivide& op, Define& d) {
  const DType result = d.result_type().dtype;
  const Division o = operands(d, op.x, op.y);
  if (!is_float(result)) return quotient(defect(Defect::floor_division) ? ExprOp::div : ExprOp::floordiv, o);
  // As c10::div_floor_floating: division by zero gives x / y; otherwise the quotient is moved onto the nearest integer.
  const Expr zero = like(o.x, 0), m = make_binary(ExprOp::fmod, o.x, o.y), q = (o.x - m) / o.y;
  const Expr adjusted = select(not_equal(m, zero) && not_equal(cast(DType::i32, o.y < zero), cast(DType::i32, m < zero)), q - like(q, 1), q);
  const Expr whole = floor(adjusted), nearest = select(adjusted - whole > like(q, 0.5), whole + like(q, 1), whole);
  return convert(result, select(equal(o.y, zero), o.x / o.y, nearest));
}

Expr TruncDivide::define(const TruncDivide& op, Define& d) {
  const DType result = d.result_type().dtype;
  const Division o = operands(d, op.x, op.y);
  if (!is_float(result)) return quotient(ExprOp::div, o);
  return convert(result, make_unary(ExprOp::trunc, o.x / o.y));
}

Expr Remainder::define(const Remainder& op, Define& d) {
  const DType result = d.result_type().dtype;
  const Division o = operands(d, op.x, op.y);
  if (is_float(result)) return convert(result, float_modulo(o.x, o.y));
  return o.x - quotient(ExprOp::floordiv, o) * o.y;
}

Expr Fmod::define(const Fmod& op, Define& d) {
  const DType result = d.result_type().dtype;
  const Division o = operands(d, op.x, op.y);
  if (is_float(result)) return convert(result, make_binary(ExprOp::fmod, o.x, o.y));
  return o.x - quotient(ExprOp::div, o) * o.y;
}

}  // namespace mica
