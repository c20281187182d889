#include "mica/ops/resample.h"

namespace mica {

Result<TensorType> Resample::infer(const Resample& op, const Infer& ctx) {
  const TensorType &x = ctx.type(op.x), &taps = ctx.type(op.taps);
  const auto axis = normal_axis(ctx, op.axis, x.rank());
  if (!axis) return Failure{};
  if (!x.rank() || taps.rank() != 2 || !is_integer(taps.dtype) || (op.weight && ctx.shape(*op.weight) != taps.shape) ||
      (!op.weight && taps.shape[1] != 1)) {
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

Result<TensorType> GridSample::infer(const GridSample& op, const Infer& ctx) {
  const TensorType &x = ctx.type(op.x), &grid = ctx.type(op.grid);
  if (!require_float(ctx, op.x)) return Failure{};
  if (x.rank() < 3 || x.rank() != grid.rank() || grid.shape[-1] != x.rank() - 2 || x.shape[0] != grid.shape[0] || x.dtype != grid.dtype) {
    return ctx.error("grid-shape", "grid {} does not fit {}", grid.to_string(), x.to_string());
  }
  if (op.mode < 0 || op.mode > 1 || op.outside < 0 || op.outside > 2)
    return ctx.error("grid-mode", "mode {} or padding {} is not known", op.mode, op.outside);
  std::vector<Dim> dims = {x.shape.dim(0), x.shape.dim(1)};
  for (int64_t i = 1; i < grid.rank() - 1; ++i) dims.push_back(grid.shape.dim(i));
  return TensorType{x.dtype, Shape(std::move(dims)), {}};
}

namespace {

/// Reflects a coordinate between low / 2 and high / 2 (twice the bounds, as torch counts them).
Expr reflected(const Expr& at, int64_t twice_low, const Dim& twice_high) {
  if (twice_low == twice_high) return like(at, 0);
  const double low = static_cast<double>(twice_low) / 2;
  const DType t = at->type.dtype;
  const bool known = twice_high.is_static();
  const double width = known ? static_cast<double>(twice_high.size() - twice_low) / 2 : 0;
  const Expr span = known ? like(at, width) : cast(t, Expr(twice_high - twice_low)) * like(at, 0.5);
  const Expr distance = abs(at - like(at, low)), turns = floor(known ? distance * like(at, 1 / width) : distance / span),
             rest = distance - turns * span;
  const Expr odd = turns - like(at, 2) * floor(turns * like(at, 0.5));
  const Expr e = select(equal(odd, like(at, 0)), rest + like(at, low), (known ? like(at, width + low) : span + like(at, low)) - rest);
  return known || Dim::surely_less(twice_low, twice_high) ? e : select(Expr(twice_low) < Expr(twice_high), e, like(at, 0));
}

}  // namespace

Expr GridSample::define(const GridSample& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Shape& s = d.shape(op.x);
  const int64_t n = s.rank() - 2;
  /// Along each axis of x: the lower neighbour, and how far the place is above it.
  std::vector<Expr> low, above;
  for (int64_t i = 0; i < n; ++i) {
    std::vector<Expr> where = {d.index(0)};
    for (int64_t j = 0; j < n; ++j) where.push_back(d.index(j + 2));
    where.push_back(Expr(n - 1 - i));
    const Expr g = convert(w, d.at(op.grid, std::move(where)));
    const Dim& n_i = s[i + 2];
    const auto size = [&](int64_t more) { return n_i.is_static() ? like(g, static_cast<double>(n_i.size() + more)) : cast(w, Expr(n_i + more)); };
    const Expr unit = select(make_unary(ExprOp::isnan, g), like(g, -1), g) + like(g, 1);
    Expr at = op.corners ? unit * (size(-1) * like(g, 0.5)) : (unit * size(0) - like(g, 1)) * like(g, 0.5);
    if (op.outside == 2) at = op.corners ? reflected(at, 0, 2 * (s[i + 2] - 1)) : reflected(at, -1, 2 * s[i + 2] - 1);
    if (op.outside) at = min(max(at, like(g, 0)), size(-1));
    else at = min(max(at, like(g, -2)), size(1));  // far outside is as good as just outside, and fits an integer
    const Expr base = op.mode == 1 ? make_unary(ExprOp::round, at) : floor(at);
    low.push_back(cast(DType::i64, base));
    above.push_back(at - base);
  }
  Expr sum = imm(w, 0);
  for (int64_t corner = 0; corner < (op.mode == 1 ? 1 : int64_t{1} << n); ++corner) {
    std::vector<Expr> where = {d.index(0), d.index(1)};
    Expr inside, weight = imm(w, 1);
    for (int64_t i = 0; i < n; ++i) {
      const bool upper = (corner >> i) & 1;
      const Expr at = upper ? low[i] + Expr(1) : low[i], within = at >= Expr(0) && at < Expr(s[i + 2]);
      where.push_back(at);
      inside = inside ? inside && within : within;
      if (op.mode == 0) weight = weight * (upper ? above[i] : imm(w, 1) - above[i]);
    }
    sum = sum + select(inside, convert(w, d.at(op.x, std::move(where))), imm(w, 0)) * weight;
  }
  return convert(t, sum);
}

}  // namespace mica
