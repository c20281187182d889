#include "mica/ops/reduce.h"

namespace mica {

Result<TensorType> infer_reduction(const Infer& ctx, Value x, const Ints& axes, bool keepdim, DType dtype) {
  const auto normal = normal_axes(ctx, axes, ctx.type(x).rank());
  if (!normal) return Failure{};
  return TensorType{dtype, reduced_shape(ctx.shape(x), *normal, keepdim), {}};
}

ReductionIndex reduction_index(const Define& d, Value x, const Ints& axes, bool keepdim) {
  const Shape& s = d.shape(x);
  const auto reduced = axis_mask(axes, s.rank());
  ReductionIndex at;
  int64_t next = 0;
  for (int64_t i = 0; i < s.rank(); ++i) {
    if (reduced[i]) {
      at.vars.push_back(d.var(s[i]));
      at.where.push_back(at.vars.back());
      at.count *= s[i];
      next += keepdim;
    } else {
      at.where.push_back(d.index(next++));
    }
  }
  return at;
}

Expr reduce_over(ReduceOp op, const ReductionIndex& at, Expr body) { return at.vars.empty() ? body : make_reduce(op, at.vars, std::move(body)); }

bool reduces_nothing(const Infer& ctx, Value x, const Ints& axes) {
  const Shape& s = ctx.shape(x);
  for (int64_t a : axes.items) {
    if (ctx.type(x).has_axis(a) && s[a] == 0) return true;
  }
  return false;
}

Expr define_extremum(Define& d, Value x, const Ints& axes, bool keepdim, ReduceOp op) {
  const DType t = d.result_type().dtype;
  const ReductionIndex at = reduction_index(d, x, axes, keepdim);
  if (is_bool(t)) return reduce_over(op == ReduceOp::max ? ReduceOp::any : ReduceOp::all, at, d.at(x, at.where));
  return convert(t, reduce_over(op, at, convert(working(t), d.at(x, at.where))));
}

Expr define_var(Define& d, Value x, const Ints& axes, double correction, bool keepdim) {
  const DType t = d.result_type().dtype;
  const ReductionIndex first = reduction_index(d, x, axes, keepdim), second = reduction_index(d, x, axes, keepdim);
  const Expr sum = reduce_over(ReduceOp::sum, first, convert(working(t), d.at(x, first.where)));
  const Expr mean = sum / count_in(sum->type.dtype, first.count);
  const Expr distance = convert(working(t), d.at(x, second.where)) - mean;
  const Expr squares = reduce_over(ReduceOp::sum, second, distance * distance);
  return convert(t, squares / like(squares, std::max(0.0, static_cast<double>(first.count) - correction)));
}

Expr define_logsumexp(Define& d, Value x, const Ints& axes, bool keepdim) {
  const DType t = d.result_type().dtype;
  const ReductionIndex first = reduction_index(d, x, axes, keepdim), second = reduction_index(d, x, axes, keepdim);
  const Expr top = reduce_over(ReduceOp::max, first, convert(working(t), d.at(x, first.where)));
  // An infinite maximum would give inf - inf; torch takes 0 there.
  const Expr shift = select(equal(abs(top), like(top, __builtin_inf())), like(top, 0), top);
  const Expr sum = reduce_over(ReduceOp::sum, second, exp(convert(working(t), d.at(x, second.where)) - shift));
  return convert(t, log(sum) + shift);
}

Expr define_arg_extremum(Define& d, Value x, int64_t axis, bool keepdim, ReduceOp op) {
  if (!d.type(x).rank()) return Expr(0);
  const DType t = d.type(x).dtype, w = is_bool(t) ? DType::i64 : working(t);
  const ReductionIndex first = reduction_index(d, x, Ints{axis}, keepdim), second = reduction_index(d, x, Ints{axis}, keepdim);
  const Expr best = reduce_over(op, first, convert(w, d.at(x, first.where)));
  const Expr element = convert(w, d.at(x, second.where));
  Expr hit = equal(element, best);
  if (is_float(w)) hit = hit || make_unary(ExprOp::isnan, element);
  return reduce_over(ReduceOp::min, second, select(hit, second.vars[0], Expr(first.count - 1)));
}

}  // namespace mica
