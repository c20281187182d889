#include "mica/ops/resample.h"

namespace mica {

Result<TensorType> Resample::infer(const Resample& op, const Infer& ctx) {
  const TensorType &x = ctx.type(op.x), &taps = ctx.type(op.taps);
  const auto axis = normal_axis(ctx, op.axis, x.rank());
  if (!axis) return Failure{};
  if (!x.rank() || taps.rank() != 2 || !is_integer(taps.dtype) || (op.weight && ctx.shape(*op.weight) != taps.shape) || (!op.weight && taps.shape[1] != 1)) {
    return ctx.error("resample-taps", "taps {} and their weights must be two tables [outputs, taps] for {}", taps.to_string(), x.to_string());
  }
  std::vector<Dim> dims = x.shape.dims();
  dims[*axis] = taps.shape.dim(0);
  return TensorType{x.dtype, Shape(std::move(dims)), {}};
}

Expr Resample::define(const Resample& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Shape& s = d.shape(op.x);
  const int64_t axis = from_front(op.axis, s.rank()), count = d.shape(op.taps)[1];
  // A handful of taps is written out: the table of weights is then read outside of any reduction.
  const auto term = [&](const Expr& tap) {
    std::vector<Expr> where = d.indices();
    const Expr at = cast(DType::i64, d.at(op.taps, {d.index(axis), tap}));
    where[axis] = checked_index(at, s[axis], fmt::format("resample: tap out of range on axis {} of size {}", axis, s[axis]));
    const Expr element = d.at(op.x, std::move(where));
    return op.weight ? convert(w, element) * convert(w, d.at(*op.weight, {d.index(axis), tap})) : element;
  };
  if (!op.weight) return term(Expr(0));
  if (count > 4) {
    const Expr tap = d.var(count, "tap");
    return convert(t, make_reduce(ReduceOp::sum, {tap}, term(tap)));
  }
  Expr sum = imm(w, 0);
  for (int64_t i = 0; i < count; ++i) sum = i ? sum + term(Expr(i)) : term(Expr(i));
  return convert(t, sum);
}

}  // namespace mica
