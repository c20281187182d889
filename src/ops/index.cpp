#include "mica/ops/index.h"

#include <algorithm>

namespace mica {

namespace {

/// The value of an index tensor as i64, checked against the extent that it indexes.
Expr checked(const Expr& index, int64_t extent, const Define& d, int64_t axis, bool from_end = false) {
  Expr i = cast(DType::i64, index);
  if (from_end) i = select(i < Expr(0), i + Expr(extent), i);
  return checked_index(i, extent, fmt::format("{}: index out of range on axis {} of size {}", d.node().info->name(), axis, extent));
}

Result<void> require_index(const Infer& ctx, Value index) {
  if (is_integer(ctx.type(index).dtype)) return {};
  return ctx.error("index-dtype", "indices must be integers, not {}", ctx.type(index).to_string());
}

/// gather's and scatter's demand: one rank, and no size of the index above the other's outside the axis.
Result<void> require_within(const Infer& ctx, Value index, Value other, int64_t axis, bool along_too) {
  const Shape &i = ctx.shape(index), &o = ctx.shape(other);
  bool fits = std::max<int64_t>(i.rank(), 1) == std::max<int64_t>(o.rank(), 1);
  for (int64_t a = 0; fits && a < std::min(i.rank(), o.rank()); ++a) fits = (a == axis && !along_too) || i[a] <= o[a];
  if (fits) return {};
  return ctx.error("index-shape", "index {} does not fit {}", ctx.type(index).to_string(), ctx.type(other).to_string());
}

}  // namespace

Result<TensorType> Embedding::infer(const Embedding& op, const Infer& ctx) {
  const TensorType& weight = ctx.type(op.weight);
  if (!require_index(ctx, op.indices)) return Failure{};
  if (weight.rank() < 1) return ctx.error("embedding-weight", "the weight must have rows, not {}", weight.to_string());
  std::vector<Dim> dims = ctx.shape(op.indices).dims();
  dims.insert(dims.end(), weight.shape.dims().begin() + 1, weight.shape.dims().end());
  return TensorType{weight.dtype, Shape(std::move(dims)), {}};
}
Expr Embedding::define(const Embedding& op, Define& d) {
  const int64_t n = d.type(op.indices).rank();
  const std::vector<Expr>& i = d.indices();
  std::vector<Expr> where = {checked(d.at(op.indices, {i.begin(), i.begin() + n}), d.shape(op.weight)[0], d, 0)};
  where.insert(where.end(), i.begin() + n, i.end());
  return d.at(op.weight, std::move(where));
}

Result<TensorType> IndexSelect::infer(const IndexSelect& op, const Infer& ctx) {
  const TensorType& x = ctx.type(op.x);
  const auto axis = normal_axis(ctx, op.axis, x.rank());
  if (!axis || !require_index(ctx, op.index)) return Failure{};
  if (ctx.shape(op.index).rank() > 1 || !x.rank())
    return ctx.error("index-rank", "the index must have rank 0 or 1, not {}, and the tensor rank 1 or more", ctx.type(op.index).to_string());
  std::vector<Dim> dims = x.shape.dims();
  dims[*axis] = ctx.shape(op.index).rank() ? ctx.shape(op.index).dim(0) : Dim(1);
  return TensorType{x.dtype, Shape(std::move(dims)), {}};
}
Expr IndexSelect::define(const IndexSelect& op, Define& d) {
  const Shape& s = d.shape(op.x);
  const int64_t axis = from_front(op.axis, s.rank());
  std::vector<Expr> where = d.indices(), from;
  if (d.type(op.index).rank()) from.push_back(where[axis]);
  where[axis] = checked(d.at(op.index, from), s[axis], d, axis);
  return d.at(op.x, std::move(where));
}

Result<TensorType> Gather::infer(const Gather& op, const Infer& ctx) {
  const auto axis = normal_axis(ctx, op.axis, ctx.type(op.x).rank());
  if (!axis || !require_index(ctx, op.index) || !require_within(ctx, op.index, op.x, *axis, false)) return Failure{};
  return TensorType{ctx.type(op.x).dtype, ctx.shape(op.index), {}};
}
Expr Gather::define(const Gather& op, Define& d) {
  const Shape& s = d.shape(op.x);
  if (!s.rank()) return d.at(op.x, {});
  std::vector<Expr> where = d.indices();
  if (where.empty()) where.push_back(Expr(0));
  const int64_t axis = from_front(op.axis, s.rank());
  where[axis] = checked(d[op.index], s[axis], d, axis);
  return d.at(op.x, std::move(where));
}

namespace {

/// Where the broadcast index axes stand in the result of `index`.
int64_t index_place(const Ints& axes) {
  for (size_t k = 1; k < axes.size(); ++k) {
    if (axes[k] != axes[k - 1] + 1) return 0;
  }
  return axes[0];
}

}  // namespace

Result<TensorType> Index::infer(const Index& op, const Infer& ctx) {
  const TensorType& x = ctx.type(op.x);
  if (op.indices.items.empty() || op.indices.size() != op.axes.size())
    return ctx.error("index-axes", "{} index tensors are given for {} axes", op.indices.size(), op.axes.size());
  std::vector<Shape> shapes;
  for (size_t k = 0; k < op.axes.size(); ++k) {
    if (!require_index(ctx, op.indices[k])) return Failure{};
    if (op.axes[k] < 0 || op.axes[k] >= x.rank() || (k && op.axes[k] <= op.axes[k - 1]))
      return ctx.error("index-axes", "the indexed axes must be ascending axes of {}", x.to_string());
    shapes.push_back(ctx.shape(op.indices[k]));
  }
  const auto both = broadcast_shapes(shapes);
  if (!both) return ctx.error("broadcast-mismatch", "the index tensors do not broadcast");
  std::vector<Dim> dims;
  const int64_t place = index_place(op.axes);
  for (int64_t i = 0; i < x.rank(); ++i) {
    if (std::ranges::find(op.axes.items, i) == op.axes.items.end()) dims.push_back(x.shape.dim(i));
  }
  dims.insert(dims.begin() + place, both->dims().begin(), both->dims().end());
  return TensorType{x.dtype, Shape(std::move(dims)), {}};
}
Expr Index::define(const Index& op, Define& d) {
  const Shape& s = d.shape(op.x);
  int64_t rank = 0;  // of the indices together
  for (Value v : op.indices.items) rank = std::max(rank, d.type(v).rank());
  const int64_t place = index_place(op.axes);
  std::vector<Expr> where;
  int64_t next = 0, k = 0;
  for (int64_t i = 0; i < s.rank(); ++i) {
    if (std::ranges::find(op.axes.items, i) == op.axes.items.end()) {
      if (next == place) next += rank;
      where.push_back(d.index(next++));
      continue;
    }
    const Value v = op.indices[k++];
    const Shape& shape = d.shape(v);
    std::vector<Expr> at;
    for (int64_t j = 0; j < shape.rank(); ++j) at.push_back(shape[j] == 1 ? Expr(0) : d.index(place + rank - shape.rank() + j));
    where.push_back(checked(d.at(v, std::move(at)), s[i], d, i, true));
  }
  return d.at(op.x, std::move(where));
}

namespace {

Result<TensorType> infer_scatter(const Infer& ctx, Value x, int64_t axis, Value index, Value source) {
  const auto a = normal_axis(ctx, axis, ctx.type(x).rank());
  if (!a || !require_index(ctx, index)) return Failure{};
  if (!require_within(ctx, index, x, *a, false) || !require_within(ctx, index, source, *a, true)) return Failure{};
  if (!ctx.type(x).rank() || !ctx.type(index).rank()) return ctx.error("scatter-of-scalar", "takes tensors of rank 1 or more");
  if (ctx.type(source).dtype != ctx.type(x).dtype)
    return ctx.error("dtype-mismatch", "source {} and target {} must have one dtype", ctx.type(source).to_string(), ctx.type(x).to_string());
  return infer_same(ctx, x);
}

/// Reads of index and source at the result's element, with the place along `axis` free; and whether that element is within the index at all.
struct ScatterRead {
  Expr place, hit, inside;
  std::vector<Expr> where;
};
ScatterRead scatter_read(Define& d, int64_t axis, Value index) {
  const Shape &out = d.result_type().shape, &s = d.shape(index);
  ScatterRead r;
  r.where = d.indices();
  r.place = r.where[axis] = d.var(s[axis], "j");
  for (int64_t i = 0; i < out.rank(); ++i) {
    if (i == axis || s[i] == out[i]) continue;
    const Expr e = d.index(i) < Expr(s[i]);
    r.inside = r.inside ? r.inside && e : e;
  }
  r.hit = equal(checked(d.at(index, r.where), out[axis], d, axis), d.index(axis));
  return r;
}

}  // namespace

Result<TensorType> Scatter::infer(const Scatter& op, const Infer& ctx) { return infer_scatter(ctx, op.x, op.axis, op.index, op.source); }
Expr Scatter::define(const Scatter& op, Define& d) {
  const int64_t axis = from_front(op.axis, d.result_type().rank());
  ScatterRead r = scatter_read(d, axis, op.index);
  Expr body = select(r.hit, r.place, Expr(-1));
  if (r.inside) body = select(r.inside, body, Expr(-1));
  const Expr last = make_reduce(ReduceOp::max, {r.place}, body);
  r.where[axis] = last;
  return select(last >= Expr(0), d.at(op.source, r.where), d[op.x]);
}

Result<TensorType> ScatterAdd::infer(const ScatterAdd& op, const Infer& ctx) { return infer_scatter(ctx, op.x, op.axis, op.index, op.source); }
Expr ScatterAdd::define(const ScatterAdd& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const ScatterRead r = scatter_read(d, from_front(op.axis, d.result_type().rank()), op.index);
  const Expr zero = imm(w, 0);
  // The test stands inside the one for range, so that an index that is not there is not looked at.
  Expr body = select(r.hit, convert(w, d.at(op.source, r.where)), zero);
  if (r.inside) body = select(r.inside, body, zero);
  const Expr sum = make_reduce(ReduceOp::sum, {r.place}, body);
  return convert(t, load(d, w, op.x) + sum);
}

}  // namespace mica
