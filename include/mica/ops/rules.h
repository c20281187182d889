#pragma once
// What the ops' `infer` and `define` have in common: torch's broadcasting and type promotion, axes, the dtype that is computed in,
// and index arithmetic of views.
#include <initializer_list>
#include <span>

#include "mica/ops/op.h"

namespace mica {

// ---- types ----

/// PyTorch's torch.result_type: tensors of rank > 0 decide, unless a rank-0 one is of a higher category (bool < integer < float).
DType promote_types(std::span<const TensorType> types);
/// The shape to which all broadcast from the right; empty optional when they do not.
std::optional<Shape> broadcast_shapes(std::span<const Shape> shapes);

/// The type of x.
Result<TensorType> infer_same(const Infer& ctx, Value x);
/// The type of x; integers and bool become f32.
Result<TensorType> infer_float(const Infer& ctx, Value x);
/// x's shape with dtype bool.
Result<TensorType> infer_bool(const Infer& ctx, Value x);
/// Broadcast shape, promoted dtype.
Result<TensorType> infer_promoted(const Infer& ctx, std::initializer_list<Value> operands);
/// Broadcast shape, promoted dtype; integers and bool become f32.
Result<TensorType> infer_promoted_float(const Infer& ctx, std::initializer_list<Value> operands);
/// Broadcast shape, bool.
Result<TensorType> infer_comparison(const Infer& ctx, std::initializer_list<Value> operands);
/// As infer_promoted, but floating operands are an error: for bitwise operators.
Result<TensorType> infer_bitwise(const Infer& ctx, std::initializer_list<Value> operands);

/// `axis` from the front when -rank <= axis < rank (rank 0 counts as rank 1); else reports "axis-out-of-range".
Result<int64_t> normal_axis(const Infer& ctx, int64_t axis, int64_t rank);
/// Sorted, distinct axes from the front; reports what is out of range or twice there.
Result<std::vector<int64_t>> normal_axes(const Infer& ctx, const Ints& axes, int64_t rank);
/// As normal_axis, for `define`, where the axis is known to be good.
inline int64_t from_front(int64_t axis, int64_t rank) { return axis < 0 ? axis + rank : axis; }
std::vector<bool> axis_mask(const Ints& axes, int64_t rank);
/// The shape left when `axes` are reduced: without them, or with 1 in their place.
Shape reduced_shape(const Shape& shape, const std::vector<int64_t>& axes, bool keepdim);
/// Reports unless x has a floating dtype.
Result<void> require_float(const Infer& ctx, Value x);

// ---- meaning ----

/// The dtype in which results of dtype t are computed: f32 for f16 and bf16.
constexpr DType working(DType t) { return t == DType::f16 || t == DType::bf16 ? DType::f32 : t; }
/// Converts as torch does: to bool by comparison with 0, from bool to 0 or 1.
Expr convert(DType dtype, const Expr& x);
inline Expr load(const Define& d, DType dtype, Value v) { return convert(dtype, d[v]); }
/// A float constant in x's dtype.
inline Expr like(const Expr& x, double value) { return imm(x->type.dtype, value); }
/// A number of elements in a dtype that is computed with.
inline Expr count_in(DType dtype, const Dim& count) {
  return count.is_static() ? imm(dtype, static_cast<double>(count.size())) : cast(dtype, Expr(count));
}

/// result = f(x), computed in the result's working dtype and rounded once.
template <class F> Expr define_unary(const Define& d, Value x, F f) {
  const DType result = d.result_type().dtype;
  return convert(result, f(load(d, working(result), x)));
}
template <class F> Expr define_binary(const Define& d, Value x, Value y, F f) {
  const DType result = d.result_type().dtype, w = working(result);
  return convert(result, f(load(d, w, x), load(d, w, y)));
}
/// result = f(x, y) of type bool, with the operands promoted.
template <class F> Expr define_comparison(const Define& d, Value x, Value y, F f) {
  const TensorType types[] = {d.type(x), d.type(y)};
  const DType w = working(promote_types(types));
  return f(load(d, w, x), load(d, w, y));
}

/// Divisor of an integer division that never traps: 1 where it is 0. Vector code reads 0 in lanes beyond the end, also of a constant.
Expr nonzero_divisor(const Expr& divisor);
/// The same, and a fault is recorded where it is 0.
Expr checked_divisor(const Expr& divisor, std::string_view op);
/// True when v is a constant without a zero in it (then no check is needed).
bool is_nonzero_constant(const Graph& graph, Value v);

// ---- index arithmetic ----

/// Where element `where` of a tensor of shape `to` lies in shape `from` of as many elements (both row-major). Axes are
/// matched in the smallest groups of equal size, so that splitting, merging, adding and dropping axes stay affine.
std::vector<Expr> reshape_index(const Shape& from, const Shape& to, const std::vector<Expr>& where);

}  // namespace mica
