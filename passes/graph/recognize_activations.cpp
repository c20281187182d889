/// Names activations that a model writes out, so that later passes and the lowering see one op with one operand:
///   0.5 * x * (1 + tanh(0.797885 * (x + 0.044715 * x^3)))     =>  gelu(x, tanh=true)
///   x * 0.5 * (1 + erf(x / 1.414214))                         =>  gelu(x)
///   x * sigmoid(x)                                            =>  silu(x)
/// in any order of factors and summands. Constants are taken for these when they agree to six digits.
#include <cmath>

#include "constants.h"
#include "mica/ops/activation.h"
#include "mica/ops/math.h"
#include "mica/ops/pointwise.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

bool near(double a, double b) { return std::fabs(a - b) <= 1e-6 * std::fabs(b); }

/// A product: its constant factor, and the others.
struct Product {
  double constant = 1;
  std::vector<Value> factors;
};

/// Takes products, quotients by constants and small powers apart, but not the value `atom`.
void take_apart(Rewriter& rw, Value v, Value atom, int depth, Product& out) {
  if (const auto s = splat_value(rw.graph(), v)) {
    out.constant *= *s;
    return;
  }
  if (v == atom || depth == 0) return out.factors.push_back(v);
  if (const auto mul = rw.producer<Mul>(v)) {
    take_apart(rw, mul->x, atom, depth - 1, out);
    return take_apart(rw, mul->y, atom, depth - 1, out);
  }
  if (const auto div = rw.producer<Div>(v))
    if (const auto s = splat_value(rw.graph(), div->y)) {
      out.constant /= *s;
      return take_apart(rw, div->x, atom, depth - 1, out);
    }
  if (const auto pow = rw.producer<Pow>(v)) {
    const auto s = splat_value(rw.graph(), pow->y);
    if (s == 2.0 || s == 3.0) {
      for (int i = 0; i < static_cast<int>(*s); ++i) take_apart(rw, pow->x, atom, depth - 1, out);
      return;
    }
  }
  out.factors.push_back(v);
}

Product product(Rewriter& rw, Value v, Value atom = {}, int depth = 4) {
  Product out;
  take_apart(rw, v, atom, depth, out);
  return out;
}

/// The other summand, when v adds a constant near `c` to it.
std::optional<Value> plus(Rewriter& rw, Value v, double c) {
  const auto add = rw.producer<Add>(v);
  if (!add) return std::nullopt;
  if (const auto s = splat_value(rw.graph(), add->y); s && near(*s, c)) return add->x;
  if (const auto s = splat_value(rw.graph(), add->x); s && near(*s, c)) return add->y;
  return std::nullopt;
}

/// v is c * x to the power n.
bool is_power(Rewriter& rw, Value v, Value x, double c, size_t n) {
  const Product p = product(rw, v, x);
  return near(p.constant, c) && p.factors == std::vector<Value>(n, x);
}

/// v is 0.797885 * (x + 0.044715 * x^3).
bool is_tanh_argument(Rewriter& rw, Value v, Value x) {
  const Product p = product(rw, v, x);
  if (!near(p.constant, 0.79788456080286535588)) return false;
  if (p.factors.size() == 1) {
    const auto add = rw.producer<Add>(p.factors[0]);
    return add && ((add->x == x && is_power(rw, add->y, x, 0.044715, 3)) || (add->y == x && is_power(rw, add->x, x, 0.044715, 3)));
  }
  if (p.factors.size() != 2) return false;
  const Value other = p.factors[0] == x ? p.factors[1] : p.factors[0];
  const auto square = plus(rw, other, 1);
  return (p.factors[0] == x || p.factors[1] == x) && square && is_power(rw, *square, x, 0.044715, 2);
}

bool has_type_of_result(Rewriter& rw, Value x) {
  const TensorType &a = rw.type(x), &b = rw.type(rw.at().result());
  return a.dtype == b.dtype && a.shape == b.shape && is_float(a.dtype);
}

/// `v` is 1 + tanh(..) or 1 + erf(..) of x.
bool gelu_of(Rewriter& rw, Value x, Value v) {
  const auto inner = plus(rw, v, 1);
  if (!inner || !has_type_of_result(rw, x)) return false;
  if (const auto tanh = rw.producer<Tanh>(*inner); tanh && is_tanh_argument(rw, tanh->x, x)) return rw.replace(rw.create(Gelu{x, true})), true;
  if (const auto erf = rw.producer<Erf>(*inner); erf && is_power(rw, erf->x, x, 0.70710678118654752440, 1))
    return rw.replace(rw.create(Gelu{x, false})), true;
  return false;
}

bool gelu(Rewriter& rw, const Mul& op) {
  // x itself may be a product, so factors are taken apart only where a constant or the sum hangs in them.
  Product whole;
  for (const Value v : {op.x, op.y}) {
    const auto inner = rw.producer<Mul>(v);
    const auto tells = [&](Value f) { return splat_value(rw.graph(), f) || plus(rw, f, 1); };
    take_apart(rw, v, {}, inner && (tells(inner->x) || tells(inner->y)) ? 1 : 0, whole);
  }
  if (!near(whole.constant, 0.5) || whole.factors.size() != 2) return false;
  return gelu_of(rw, whole.factors[0], whole.factors[1]) || gelu_of(rw, whole.factors[1], whole.factors[0]);
}

bool silu(Rewriter& rw, const Mul& op) {
  const auto of = [&](Value x, Value s) {
    const auto sigmoid = rw.producer<Sigmoid>(s);
    return sigmoid && sigmoid->x == x && has_type_of_result(rw, x) && (rw.replace(rw.create(Silu{x})), true);
  };
  return of(op.x, op.y) || of(op.y, op.x);
}

}  // namespace

constinit const Pass recognize_activations = {
    .name = "recognize_activations", .summary = "Name activations that a model writes out", .run = rewrite_rules<gelu, silu>};

}  // namespace mica
