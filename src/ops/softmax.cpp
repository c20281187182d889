#include "mica/ops/softmax.h"

namespace mica {

namespace {
Result<TensorType> infer_along(const Infer& ctx, Value x, int64_t axis) {
  if (!require_float(ctx, x) || !normal_axis(ctx, axis, ctx.type(x).rank())) return Failure{};
  return infer_same(ctx, x);
}
}  // namespace

Result<TensorType> Softmax::infer(const Softmax& op, const Infer& ctx) { return infer_along(ctx, op.x, op.axis); }
Expr Softmax::define(const Softmax& op, Define& d) {
  const DType t = d.result_type().dtype;
  const Expr x = load(d, working(t), op.x);
  if (!d.type(op.x).rank()) return convert(t, exp(x - x));
  const int64_t axis = from_front(op.axis, d.type(op.x).rank());
  const Expr top = d.reduce(ReduceOp::max, axis, x);
  // One division a row. The sum is not below 1 (or nothing is right anyway), so its reciprocal is a normal number.
  const Expr e = exp(x - top), result = e * (like(x, 1) / d.reduce(ReduceOp::sum, axis, e));
  return convert(t, op.safe ? select(equal(top, like(x, -__builtin_inf())), like(x, 0), result) : result);
}

Result<TensorType> LogSoftmax::infer(const LogSoftmax& op, const Infer& ctx) { return infer_along(ctx, op.x, op.axis); }
Expr LogSoftmax::define(const LogSoftmax& op, Define& d) {
  const DType t = d.result_type().dtype;
  const Expr x = load(d, working(t), op.x);
  if (!d.type(op.x).rank()) return convert(t, x - x);
  const int64_t axis = from_front(op.axis, d.type(op.x).rank());
  const Expr shifted = x - d.reduce(ReduceOp::max, axis, x);
  return convert(t, shifted - log(d.reduce(ReduceOp::sum, axis, exp(shifted))));
}

}  // namespace mica
