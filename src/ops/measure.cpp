#include "mica/ops/measure.h"

#include <algorithm>

#include "mica/ops/kernel_builder.h"

namespace mica {

Result<std::vector<TensorType>> Measure::infer(const Measure& op, const Infer& ctx) {
  const TensorType& count = ctx.type(op.count);
  if (count.dtype != DType::i64 || count.rank()) return ctx.error("measure-count", "the count must be i64[], not {}", count.to_string());
  const int32_t id = op.size.symbol_id();
  if (id < 0 || !ctx.graph().symbols[static_cast<size_t>(id)].is_measured())
    return ctx.error("measure-symbol", "`{}` is no symbol that is measured", op.size);
  return std::vector<TensorType>{};
}

namespace {

Result<TensorType> resized(const Infer& ctx, Value x, int64_t axis, const Dim& size, bool grows) {
  const TensorType& type = ctx.type(x);
  if (axis < 0 || axis >= type.rank()) return ctx.error("resize-axis", "{} has no axis {}", type.to_string(), axis);
  if (grows ? Dim::surely_less(size, type.shape[axis]) : Dim::surely_less(type.shape[axis], size))
    return ctx.error("resize-size", "axis {} of {} cannot {} to {}", axis, type.to_string(), grows ? "grow" : "be cut", size);
  std::vector<Dim> dims = type.shape.dims();
  dims[static_cast<size_t>(axis)] = size;
  return TensorType{type.dtype, Shape(std::move(dims)), {}};
}

}  // namespace

Result<TensorType> Head::infer(const Head& op, const Infer& ctx) { return resized(ctx, op.x, op.axis, op.size, false); }

Result<TensorType> Grow::infer(const Grow& op, const Infer& ctx) { return resized(ctx, op.x, op.axis, op.size, true); }
Expr Grow::define(const Grow& op, Define& d) {
  const Dim& size = d.shape(op.x)[op.axis];
  std::vector<Expr> from = d.indices();
  // Also where nothing is masked, only what is there is read.
  if (size != op.size) from[op.axis] = max(min(from[op.axis], Expr(size) - Expr(1)), Expr(0));
  const Expr x = d.at(op.x, from);
  return size == op.size ? x : select(d.index(op.axis) < Expr(size), x, imm(d.type(op.x).dtype, 0));
}

Result<std::vector<TensorType>> Nonzero::infer(const Nonzero& op, const Infer& ctx) {
  const TensorType& x = ctx.type(op.x);
  if (x.rank() != 1) return ctx.error("nonzero-rank", "takes a tensor of rank 1, not {}", x.to_string());
  return std::vector<TensorType>{{DType::i64, x.shape, {}}, {DType::i64, {}, {}}};
}
/// One task: where a place goes hangs on those before it.
void Nonzero::kernel(const Nonzero& op, KernelBuilder& b) {
  const Dim& n = b.shape(op.x)[0];
  const int64_t limit = std::max<int64_t>(n.high(), 1);
  const DType t = b.type(op.x).dtype;
  const uint32_t found = b.local("found", DType::i64);
  Stmts body{KernelBuilder::store(found, Expr(0), Expr(0))};
  body.push_back(for_range("i", Expr(0), Expr(n), limit, [&](const Expr& i) {
    const Expr x = b.load(op.x, {i});
    const Expr hit = is_bool(t) ? x : not_equal(convert(working(t), x), imm(working(t), 0));
    return Stmts{Stmt::branch(hit, {let_place("place", b.load(found), limit, [&](const Expr& place) {
                                return Stmts{b.store(b.result(0), {place}, i), KernelBuilder::store(found, Expr(0), place + Expr(1))};
                              })})};
  }));
  body.push_back(b.store(b.result(1), {}, b.load(found)));
  b.run(make_var("task", 0, 1), 1, std::move(body));
}

}  // namespace mica
