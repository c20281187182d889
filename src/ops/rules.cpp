#include "mica/ops/rules.h"

#include <algorithm>

#include "mica/ir/fault.h"
#include "mica/ir/quotient.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

int category(DType t) { return is_float(t) ? 2 : is_bool(t) ? 0 : 1; }

DType or_float(DType t) { return is_float(t) ? t : DType::f32; }

Result<TensorType> broadcast_type(const Infer& ctx, std::initializer_list<Value> operands, DType dtype) {
  std::vector<Shape> shapes;
  for (Value v : operands) shapes.push_back(ctx.shape(v));
  const auto shape = broadcast_shapes(shapes);
  if (!shape) {
    std::string text;
    for (const Shape& s : shapes) text += (text.empty() ? "" : " and ") + s.to_string();
    return ctx.error("broadcast-mismatch", "shapes {} do not broadcast", text);
  }
  return TensorType{dtype, *shape, {}};
}

DType promoted(const Infer& ctx, std::initializer_list<Value> operands) {
  std::vector<TensorType> types;
  for (Value v : operands) types.push_back(ctx.type(v));
  return promote_types(types);
}

}  // namespace

DType promote_types(std::span<const TensorType> types) {
  std::optional<DType> dim, zero;
  for (const TensorType& t : types) {
    auto& slot = t.rank() ? dim : zero;
    slot = slot ? promote(*slot, t.dtype) : t.dtype;
  }
  if (!dim) return zero.value_or(DType::f32);
  if (!zero || category(*dim) >= category(*zero) + defect(Defect::rank_zero)) return *dim;
  return promote(*dim, *zero);
}

std::optional<Shape> broadcast_shapes(std::span<const Shape> shapes) {
  int64_t rank = 0;
  for (const Shape& s : shapes) rank = std::max(rank, s.rank());
  std::vector<Dim> dims(rank, Dim(1));
  for (const Shape& s : shapes) {
    for (int64_t i = 0; i < s.rank(); ++i) {
      const Dim d = s.dims()[i];
      Dim& out = dims[rank - s.rank() + i];
      if (d == Dim(1) || d == out) continue;
      if (out != Dim(1)) return std::nullopt;
      out = d;
    }
  }
  return Shape(std::move(dims));
}

Result<TensorType> infer_same(const Infer& ctx, Value x) { return TensorType{ctx.type(x).dtype, ctx.shape(x), {}}; }
Result<TensorType> infer_float(const Infer& ctx, Value x) { return TensorType{or_float(ctx.type(x).dtype), ctx.shape(x), {}}; }
Result<TensorType> infer_bool(const Infer& ctx, Value x) { return TensorType{DType::b8, ctx.shape(x), {}}; }
Result<TensorType> infer_promoted(const Infer& ctx, std::initializer_list<Value> operands) {
  return broadcast_type(ctx, operands, promoted(ctx, operands));
}
Result<TensorType> infer_promoted_float(const Infer& ctx, std::initializer_list<Value> operands) {
  return broadcast_type(ctx, operands, or_float(promoted(ctx, operands)));
}
Result<TensorType> infer_comparison(const Infer& ctx, std::initializer_list<Value> operands) { return broadcast_type(ctx, operands, DType::b8); }
Result<TensorType> infer_bitwise(const Infer& ctx, std::initializer_list<Value> operands) {
  const DType dtype = promoted(ctx, operands);
  if (is_float(dtype)) return ctx.error("bitwise-on-float", "takes integers or bool, not {}", name_of(dtype));
  return broadcast_type(ctx, operands, dtype);
}

Result<int64_t> normal_axis(const Infer& ctx, int64_t axis, int64_t rank) {
  const int64_t r = std::max<int64_t>(rank, 1);
  if (axis < -r || axis >= r)
    return ctx.error("axis-out-of-range", "axis {} is out of range for a tensor of rank {} (it takes {} to {})", axis, rank, -r, r - 1);
  return axis < 0 ? axis + r : axis;
}

Result<std::vector<int64_t>> normal_axes(const Infer& ctx, const Ints& axes, int64_t rank) {
  std::vector<int64_t> out;
  for (int64_t a : axes.items) {
    auto n = normal_axis(ctx, a, rank);
    if (!n) return Failure{};
    if (std::ranges::find(out, *n) != out.end()) return ctx.error("axis-twice", "axis {} is given twice", a);
    out.push_back(*n);
  }
  std::ranges::sort(out);
  return out;
}

std::vector<bool> axis_mask(const Ints& axes, int64_t rank) {
  std::vector<bool> mask(std::max<int64_t>(rank, 1), false);
  for (int64_t a : axes.items) mask.at(a < 0 ? a + std::max<int64_t>(rank, 1) : a) = true;
  return mask;
}

Shape reduced_shape(const Shape& shape, const std::vector<int64_t>& axes, bool keepdim) {
  std::vector<Dim> dims;
  for (int64_t i = 0; i < shape.rank(); ++i) {
    const bool gone = std::ranges::find(axes, i) != axes.end();
    if (!gone) dims.push_back(shape.dims()[i]);
    else if (keepdim) dims.push_back(Dim(1));
  }
  return Shape(std::move(dims));
}

Result<void> require_float(const Infer& ctx, Value x) {
  if (is_float(ctx.type(x).dtype)) return {};
  return ctx.error("needs-float", "takes a floating-point tensor, not {}", ctx.type(x).to_string());
}

Expr convert(DType dtype, const Expr& x) {
  const DType from = x->type.dtype;
  if (from == dtype) return x;
  if (is_bool(dtype)) return not_equal(x, imm(from, 0));
  return cast(dtype, x);
}

Expr nonzero_divisor(const Expr& divisor) { return select(equal(divisor, imm_i(divisor->type.dtype, 0)), imm_i(divisor->type.dtype, 1), divisor); }

Expr checked_divisor(const Expr& divisor, std::string_view op) {
  const DType t = divisor->type.dtype;
  const Expr zero = equal(divisor, imm_i(t, 0));
  const Expr fault = check_divisor(zero, std::string(op) + ": integer division by zero");
  return nonzero_divisor(divisor) + cast(t, fault);
}

bool is_nonzero_constant(const Graph& graph, Value v) {
  if (!graph.is_constant(v)) return false;
  const auto bytes = graph.constant(v).bytes;
  const int64_t size = size_of(graph.type(v).dtype);
  for (size_t i = 0; i + size <= bytes.size(); i += size) {
    if (std::ranges::all_of(bytes.subspan(i, size), [](std::byte b) { return b == std::byte{0}; })) return false;
  }
  return true;
}

std::vector<Expr> reshape_index(const Shape& from, const Shape& to, const std::vector<Expr>& where) {
  const int64_t nf = from.rank(), nt = to.rank();
  std::vector<Expr> out(nf, Expr(0));
  if (from.elements() == 0) return out;
  int64_t f = 0, t = 0;
  // What is left of one side has size 1 wherever there are elements (a symbol of 0 to 1, say): its index is 0.
  while (f < nf && t < nt) {
    // One group: the least numbers of axes on both sides with equal products. Axes of size 1 stand alone (index 0).
    if (from[f] == 1) {
      ++f;
      continue;
    }
    if (to[t] == 1) {
      ++t;
      continue;
    }
    const int64_t f0 = f, t0 = t;
    Dim pf = from[f++], pt = to[t++];
    while (pf != pt) {
      // Symbols make one size a multiple of the other more often than they make it smaller for certain.
      const bool fixed = pf.is_static() && pt.is_static();
      const bool more = fixed ? pf < pt : exact_quotient(pt, pf) ? true : exact_quotient(pf, pt) ? false : pf < pt;
      if (more ? f == nf : t == nt) throw SymbolicSize(fmt::format("{} and {}", from.to_string(), to.to_string()));
      if (more) pf *= from[f++];
      else pt *= to[t++];
    }
    Expr linear = where[t0];
    for (int64_t i = t0 + 1; i < t; ++i) linear = linear * Expr(to[i]) + where[i];
    Dim inner = pf;
    for (int64_t i = f0; i < f; ++i) {
      inner = exact_quotient(inner, from[i]).value_or(inner / from[i]);
      // floor(linear / inner) mod size; the outermost axis of a group needs no remainder.
      Expr e = floordiv(linear, Expr(inner));
      if (i > f0) e = floormod(e, Expr(from[i]));
      out[i] = e;
    }
  }
  return out;
}

}  // namespace mica
