/// Cheaper arithmetic with the same result:
///   mul(%x, 1), div(%x, 1), sub(%x, 0), add(%x, -0.0)   =>  %x
///   div(%x, 8.0)                                        =>  mul(%x, 0.125)           a power of two, so both are exact
///   pow(%x, 1), pow(%x, 2), pow(%x, 3), pow(%x, -1)     =>  %x, mul(%x, %x), mul(mul(%x, %x), %x), reciprocal(%x)
///   neg(neg(%x)), logical_not(logical_not(%x))          =>  %x
///   abs(abs(%x)), relu(relu(%x))                        =>  the inner one
///   cast(cast(%x, f64), f16)                            =>  cast(%x, f16)            where the type between holds every %x
///   where(true, %x, %y)                                 =>  %x
/// Not add(%x, 0.0) on floats: -0.0 would become 0.0. Not mul(%x, 0): NaN and infinities stay.
/// Results are equal bit for bit, but for pow, which is no further from the true value.
#include <bit>
#include <cmath>

#include "constants.h"
#include "mica/ops/activation.h"
#include "mica/ops/compare.h"
#include "mica/ops/pointwise.h"
#include "mica/passes/graph.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

/// Replaces the node by x, if x has the result's type.
bool becomes(Rewriter& rw, Value x) {
  const TensorType &is = rw.type(x), &should = rw.type(rw.at().result());
  if (is.dtype != should.dtype || is.shape != should.shape) return false;
  return rw.replace(x), true;
}

std::optional<double> splat(Rewriter& rw, Value v) { return splat_value(rw.graph(), v); }

bool simplify_mul(Rewriter& rw, const Mul& op) {
  return (splat(rw, op.y) == 1.0 && becomes(rw, op.x)) || (splat(rw, op.x) == 1.0 && becomes(rw, op.y));
}

/// x + v is x for every x: v is -0.0, or 0 of an integer type.
bool is_neutral(Rewriter& rw, Value v) {
  const auto s = splat(rw, v);
  return s == 0.0 && (!is_float(rw.type(v).dtype) || std::signbit(*s));
}

bool simplify_add(Rewriter& rw, const Add& op) {
  if (!is_float(rw.type(rw.at().result()).dtype) || (is_float(rw.type(op.x).dtype) && is_float(rw.type(op.y).dtype)))
    return (is_neutral(rw, op.y) && becomes(rw, op.x)) || (is_neutral(rw, op.x) && becomes(rw, op.y));
  return false;  // an integer 0 becomes 0.0 in a float addition
}

bool simplify_sub(Rewriter& rw, const Sub& op) {
  const auto s = splat(rw, op.y);
  return s == 0.0 && !std::signbit(*s) && becomes(rw, op.x);
}

bool simplify_div(Rewriter& rw, const Div& op) {
  const auto s = splat(rw, op.y);
  if (!s) return false;
  if (*s == 1.0 && becomes(rw, op.x)) return true;
  const DType dtype = rw.type(rw.at().result()).dtype;
  if (rw.type(op.x).dtype != dtype) return false;
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(*s), &exponent);
  // A power of two whose inverse is a normal number of every float type.
  if (fraction != 0.5 || exponent < -12 || exponent > 14) return false;
  // In the result's dtype, whatever the divisor had: a Python number comes as f64.
  const TensorType type{dtype, rw.type(op.y).shape, {}};
  const Value inverse = make_constant(rw, type, std::vector<double>(type.shape.elements(), 1.0 / *s), "");
  return rw.replace(rw.create(Mul{op.x, inverse})), true;
}

bool simplify_pow(Rewriter& rw, const Pow& op) {
  const auto s = splat(rw, op.y);
  if (!s || rw.type(op.x).dtype != rw.type(rw.at().result()).dtype || rw.type(op.x).shape != rw.type(rw.at().result()).shape) return false;
  if (*s == 1.0) return becomes(rw, op.x);
  if (*s == 2.0) return rw.replace(rw.create(Mul{op.x, op.x})), true;
  if (*s == 3.0) return rw.replace(rw.create(Mul{rw.create(Mul{op.x, op.x}), op.x})), true;
  if (*s == -1.0 && is_float(rw.type(op.x).dtype)) return rw.replace(rw.create(Reciprocal{op.x})), true;
  return false;
}

bool simplify_neg(Rewriter& rw, const Neg& op) {
  const auto inner = rw.producer<Neg>(op.x);
  return inner && becomes(rw, inner->x);
}

bool simplify_not(Rewriter& rw, const LogicalNot& op) {
  const auto inner = rw.producer<LogicalNot>(op.x);
  return inner && becomes(rw, inner->x);
}

bool simplify_abs(Rewriter& rw, const Abs& op) { return rw.producer<Abs>(op.x) && becomes(rw, op.x); }

bool simplify_relu(Rewriter& rw, const Relu& op) { return rw.producer<Relu>(op.x) && becomes(rw, op.x); }

/// True when every value of `from` is a value of `to`.
bool holds(DType to, DType from) {
  if (to == from || is_bool(from)) return true;
  if (is_bool(to)) return false;
  if (defect(Defect::cast_pair) && is_float(from) && is_integer(to)) return true;
  if (is_float(from)) return to == DType::f64 || (to == DType::f32 && from != DType::f64);
  const auto bits = [](DType t) { return static_cast<int>(size_of(t)) * 8 - is_signed(t); };
  if (is_float(to)) {
    constexpr int mantissa[] = {53, 24, 11, 8};  // f64, f32, f16, bf16
    return bits(from) <= mantissa[static_cast<int>(to)];
  }
  return bits(from) <= bits(to) && (is_signed(to) || !is_signed(from));
}

bool simplify_cast(Rewriter& rw, const Cast& op) {
  if (becomes(rw, op.x)) return true;
  const auto inner = rw.producer<Cast>(op.x);
  if (!inner || !holds(rw.type(op.x).dtype, rw.type(inner->x).dtype)) return false;
  return rw.replace(rw.create(Cast{inner->x, op.dtype})), true;
}

bool simplify_where(Rewriter& rw, const Where& op) {
  const auto s = splat(rw, op.condition);
  return s && becomes(rw, *s != 0 ? op.x : op.y);
}

constexpr auto rules = rewrite_rules<simplify_mul, simplify_add, simplify_sub, simplify_div, simplify_pow, simplify_neg, simplify_not, simplify_abs,
                                     simplify_relu, simplify_cast, simplify_where>;

}  // namespace

constinit const Pass simplify_algebra = {.name = "simplify_algebra", .summary = "Cheaper arithmetic with the same result", .run = rules};

}  // namespace mica
