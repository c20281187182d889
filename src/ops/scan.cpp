#include "mica/ops/scan.h"

#include "mica/ops/kernel_builder.h"
#include "mica/ops/special.h"

namespace mica {

namespace {

/// Floats are accumulated in f64, as LibTorch does; a long chain in f32 would lose digits.
DType accumulator(DType t) { return is_float(t) ? DType::f64 : t; }

/// `combine(total, next)` from `start` on.
template <class F> void scan(KernelBuilder& b, Value x, int64_t axis, const Expr& start, F combine) {
  const Value y = b.result();
  const DType t = b.type(y).dtype, w = accumulator(t);
  const Lines lines(b.shape(x), axis);
  const Expr line = make_place("line", lines.count);
  const uint32_t total = b.local("total", w);
  Stmts body{KernelBuilder::store(total, Expr(0), start)};
  body.push_back(for_each("i", lines.length, [&](const Expr& i) {
    const Expr next = convert(w, convert(t, b.load(x, lines.at(line, i))));
    return Stmts{KernelBuilder::store(total, Expr(0), combine(b.load(total), next)), b.store(y, lines.at(line, i), convert(t, b.load(total)))};
  }));
  b.run(line, lines.count * unless_empty(lines.length), std::move(body));
}

void scan(KernelBuilder& b, Value x, int64_t axis, ReduceOp op) {
  const DType w = accumulator(b.type(b.result()).dtype);
  scan(b, x, axis, reduce_identity(op, w), [op](const Expr& total, const Expr& next) { return reduce_combine(op, total, next); });
}

void running_extremum(KernelBuilder& b, Value x, int64_t axis, bool greatest) {
  const DType t = b.type(x).dtype, w = is_bool(t) ? DType::i64 : working(t);
  const Lines lines(b.shape(x), axis);
  const Expr line = make_place("line", lines.count);
  const uint32_t best = b.local("best", w), place = b.local("place", DType::i64);
  Stmts body{KernelBuilder::store(best, Expr(0), convert(w, b.load(x, lines.at(line, Expr(0))))), KernelBuilder::store(place, Expr(0), Expr(0))};
  body.push_back(for_each("i", lines.length, [&](const Expr& i) {
    const std::vector<Expr> where = lines.at(line, i);
    return Stmts{let("next", convert(w, b.load(x, where)), [&](const Expr& next) {
      const Expr so_far = b.load(best);
      Expr wins = greatest ? so_far <= next : next <= so_far;
      if (is_float(w)) wins = make_unary(ExprOp::isnan, next) || (logical_not(make_unary(ExprOp::isnan, so_far)) && wins);
      return Stmts{Stmt::branch(wins, {KernelBuilder::store(best, Expr(0), next), KernelBuilder::store(place, Expr(0), i)}),
                   b.store(b.result(0), where, convert(t, b.load(best))), b.store(b.result(1), where, b.load(place))};
    })};
  }));
  b.run(line, lines.count * unless_empty(lines.length), std::move(body));
}

Result<TensorType> infer_sum(const Infer& ctx, Value x, int64_t axis) {
  if (!normal_axis(ctx, axis, ctx.type(x).rank())) return Failure{};
  return TensorType{sum_dtype(ctx.type(x).dtype), ctx.shape(x), {}};
}
Result<std::vector<TensorType>> infer_extremum(const Infer& ctx, Value x, int64_t axis) {
  if (!normal_axis(ctx, axis, ctx.type(x).rank())) return Failure{};
  return std::vector<TensorType>{{ctx.type(x).dtype, ctx.shape(x), {}}, {DType::i64, ctx.shape(x), {}}};
}

}  // namespace

Result<TensorType> Cumsum::infer(const Cumsum& op, const Infer& ctx) { return infer_sum(ctx, op.x, op.axis); }
void Cumsum::kernel(const Cumsum& op, KernelBuilder& b) { scan(b, op.x, op.axis, ReduceOp::sum); }
Result<TensorType> Cumprod::infer(const Cumprod& op, const Infer& ctx) { return infer_sum(ctx, op.x, op.axis); }
void Cumprod::kernel(const Cumprod& op, KernelBuilder& b) { scan(b, op.x, op.axis, ReduceOp::prod); }
Result<TensorType> Logcumsumexp::infer(const Logcumsumexp& op, const Infer& ctx) {
  if (!require_float(ctx, op.x) || !normal_axis(ctx, op.axis, ctx.type(op.x).rank())) return Failure{};
  return infer_same(ctx, op.x);
}
void Logcumsumexp::kernel(const Logcumsumexp& op, KernelBuilder& b) { scan(b, op.x, op.axis, imm(DType::f64, -__builtin_inf()), logaddexp); }
Result<std::vector<TensorType>> Cummax::infer(const Cummax& op, const Infer& ctx) { return infer_extremum(ctx, op.x, op.axis); }
void Cummax::kernel(const Cummax& op, KernelBuilder& b) { running_extremum(b, op.x, op.axis, true); }
Result<std::vector<TensorType>> Cummin::infer(const Cummin& op, const Infer& ctx) { return infer_extremum(ctx, op.x, op.axis); }
void Cummin::kernel(const Cummin& op, KernelBuilder& b) { running_extremum(b, op.x, op.axis, false); }

}  // namespace mica
