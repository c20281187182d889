#include "mica/ops/matmul.h"

namespace mica {

namespace {
Result<void> require_same_dtype(const Infer& ctx, Value a, Value b) {
  if (ctx.type(a).dtype == ctx.type(b).dtype) return {};
  return ctx.error("dtype-mismatch", "operands are {} and {}, but must have one dtype", ctx.type(a).to_string(), ctx.type(b).to_string());
}
/// Index of a batch operand: the result's leading indices, aligned to the right.
std::vector<Expr> batch_index(const Define& d, const Shape& s) {
  const int64_t skip = d.result_type().rank() - s.rank();
  std::vector<Expr> where;
  for (int64_t i = 0; i < s.rank() - 2; ++i) where.push_back(s[i] == 1 ? Expr(0) : d.index(i + skip));
  return where;
}
}  // namespace

Result<TensorType> Matmul::infer(const Matmul& op, const Infer& ctx) {
  const TensorType &a = ctx.type(op.a), &b = ctx.type(op.b);
  if (!require_same_dtype(ctx, op.a, op.b)) return Failure{};
  if (a.rank() < 2 || b.rank() < 2) return ctx.error("needs-matrix", "takes tensors of rank 2 or more, not {} and {}", a.to_string(), b.to_string());
  if (a.shape.dim(-1) != b.shape.dim(-2)) {
    return ctx.error("matmul-mismatch", "{} has {} columns, but {} has {} rows", a.to_string(), a.shape[-1], b.to_string(), b.shape[-2]);
  }
  const auto batch = [](const Shape& s) { return Shape(std::vector<Dim>(s.dims().begin(), s.dims().end() - 2)); };
  const Shape shapes[] = {batch(a.shape), batch(b.shape)};
  const auto both = broadcast_shapes(shapes);
  if (!both) return ctx.error("broadcast-mismatch", "leading axes of {} and {} do not broadcast", a.to_string(), b.to_string());
  std::vector<Dim> dims = both->dims();
  dims.push_back(a.shape.dim(-2));
  dims.push_back(b.shape.dim(-1));
  return TensorType{a.dtype, Shape(std::move(dims)), {}};
}

Expr Matmul::define(const Matmul& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Expr k = d.var(d.shape(op.a)[-1], "k");
  std::vector<Expr> a = batch_index(d, d.shape(op.a)), b = batch_index(d, d.shape(op.b));
  a.insert(a.end(), {d.index(-2), k});
  b.insert(b.end(), {k, d.index(-1)});
  return convert(t, make_reduce(ReduceOp::sum, {k}, convert(w, d.at(op.a, a)) * convert(w, d.at(op.b, b))));
}

Result<TensorType> Linear::infer(const Linear& op, const Infer& ctx) {
  const TensorType &x = ctx.type(op.x), &weight = ctx.type(op.weight);
  if (!require_same_dtype(ctx, op.x, op.weight)) return Failure{};
  if (weight.rank() != 2 || x.rank() < 1 || x.shape.dim(-1) != weight.shape.dim(1)) {
    return ctx.error("linear-mismatch", "input {} does not fit weight {} (its last axis must be the weight's second)", x.to_string(),
                     weight.to_string());
  }
  if (op.bias && (ctx.shape(*op.bias).rank() != 1 || ctx.shape(*op.bias).dim(0) != weight.shape.dim(0))) {
    return ctx.error("linear-bias", "bias {} does not fit weight {}", ctx.type(*op.bias).to_string(), weight.to_string());
  }
  std::vector<Dim> dims = x.shape.dims();
  dims.back() = weight.shape.dim(0);
  return TensorType{x.dtype, Shape(std::move(dims)), {}};
}

Expr Linear::define(const Linear& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Expr k = d.var(d.shape(op.weight)[1], "k");
  std::vector<Expr> x = d.indices();
  x.back() = k;
  Expr sum = make_reduce(ReduceOp::sum, {k}, convert(w, d.at(op.x, x)) * convert(w, d.at(op.weight, {d.index(-1), k})));
  if (op.bias) sum = sum + convert(w, d.at(*op.bias, {d.index(-1)}));
  return convert(t, sum);
}

}  // namespace mica
