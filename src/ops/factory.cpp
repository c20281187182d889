#include "mica/ops/factory.h"

namespace mica {

namespace {
Expr immediate(DType dtype, const Scalar& s) {
  return is_float(dtype) ? imm(dtype, s.real) : is_bool(dtype) ? imm_i(dtype, s.real != 0) : imm_i(dtype, s.integer);
}
}  // namespace

Result<TensorType> Full::infer(const Full& op, const Infer& ctx) {
  for (const Dim& n : op.shape.items) {
    if (n < 0) return ctx.error("negative-size", "size {} is not possible in a shape", n);
  }
  return TensorType{op.dtype, Shape(op.shape.items), {}};
}
Expr Full::define(const Full& op, Define&) {
  // By way of the working dtype, so that the value is rounded as an operand of that dtype would be.
  return convert(op.dtype, immediate(working(op.dtype), op.value));
}

Result<TensorType> Arange::infer(const Arange& op, const Infer& ctx) {
  if (op.count < 0) return ctx.error("negative-size", "size {} is not possible in a shape", op.count);
  if (is_bool(op.dtype)) return ctx.error("arange-bool", "a range of bool is not possible");
  return TensorType{op.dtype, Shape({op.count}), {}};
}
Expr Arange::define(const Arange& op, Define& d) {
  const bool real = is_float(op.dtype);
  const DType w = real ? DType::f64 : DType::i64;
  return convert(op.dtype, immediate(w, op.start) + cast(w, d.index(0)) * immediate(w, op.step));
}

Result<TensorType> SizeValue::infer(const SizeValue& op, const Infer&) { return TensorType{op.dtype, {}, {}}; }
Expr SizeValue::define(const SizeValue& op, Define&) { return convert(op.dtype, Expr(op.size)); }

}  // namespace mica
