#include "mica/ops/index.h"

#include <algorithm>

#include "mica/ops/kernel_builder.h"

namespace mica {

namespace {

/// The value of an index tensor as i64, checked against the extent that it indexes.
Expr checked(const Expr& index, const Dim& extent, const Define& d, int64_t axis, bool from_end = false) {
  Expr i = cast(DType::i64, index);
  if (from_end) i = select(i < Expr(0), i + Expr(extent), i);
  return checked_index(i, extent, fmt::format("{}: index out of range on axis {} of size {}", d.node().info->name(), axis, extent));
}

/// x at `where`, some of which is checked. Of an axis that may be empty nothing is read without a look at the outcome of the check; it is
/// made all the same, so that a fault is one.
Expr read(Define& d, Value x, std::vector<Expr> where) {
  const Shape& s = d.shape(x);
  Expr found;
  for (size_t a = 0; a < where.size(); ++a) {
    const Dim& extent = s[static_cast<int64_t>(a)];
    if (where[a]->op != ExprOp::checked_index || extent.is_static() || extent.low() > 0) continue;
    const Expr good = Expr(0) < Expr(extent) && equal(where[a], where[a]->args[0]);
    found = found ? found && good : good;
  }
  const Expr element = d.at(x, std::move(where));
  return found ? select(found, element, like(element, 0)) : element;
}

Result<void> require_index(const Infer& ctx, Value index) {
  if (is_integer(ctx.type(index).dtype)) return {};
  return ctx.error("index-dtype", "indices must be integers, not {}", ctx.type(index).to_string());
}

/// gather's and scatter's demand: one rank, and no size of the index above the other's outside the axis.
Result<void> require_within(const Infer& ctx, Value index, Value other, int64_t axis, bool along_too) {
  const Shape &i = ctx.shape(index), &o = ctx.shape(other);
  bool fits = std::max<int64_t>(i.rank(), 1) == std::max<int64_t>(o.rank(), 1);
  for (int64_t a = 0; fits && a < std::min(i.rank(), o.rank()); ++a) fits = (a == axis && !along_too) || i[a] == o[a] || i[a] <= o[a];
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
  return read(d, op.weight, std::move(where));
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
  return read(d, op.x, std::move(where));
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
  return read(d, op.x, std::move(where));
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
  return read(d, op.x, std::move(where));
}

Result<TensorType> Scatter::infer(const Scatter& op, const Infer& ctx) {
  const auto a = normal_axis(ctx, op.axis, ctx.type(op.x).rank());
  if (!a || !require_index(ctx, op.index)) return Failure{};
  if (!require_within(ctx, op.index, op.x, *a, false) || !require_within(ctx, op.index, op.source, *a, true)) return Failure{};
  if (!ctx.type(op.x).rank() || !ctx.type(op.index).rank()) return ctx.error("scatter-of-scalar", "takes tensors of rank 1 or more");
  if (ctx.type(op.source).dtype != ctx.type(op.x).dtype)
    return ctx.error("dtype-mismatch", "source {} and target {} must have one dtype", ctx.type(op.source).to_string(), ctx.type(op.x).to_string());
  constexpr std::string_view known[] = {"set", "sum", "prod", "amax", "amin"};
  if (std::ranges::find(known, op.reduce) == std::end(known)) return ctx.error("scatter-reduce", "reduction `{}` is not known", op.reduce);
  return infer_same(ctx, op.x);
}

namespace {

/// A task takes up to this many lines side by side, so that those of an inner axis share cache lines.
constexpr int64_t lines_of_task = 64;

class Scatterer {
 public:
  Scatterer(const Scatter& op, KernelBuilder& b)
      : op_(op), b_(b), shape_(b.shape(op.x)), given_(b.shape(op.index)), dtype_(b.type(op.x).dtype), axis_(from_front(op.axis, shape_.rank())) {
    // The lines side by side run over the last axis that is not the scattered one.
    side_ = axis_ == shape_.rank() - 1 ? -1 : shape_.rank() - 1;
    for (int64_t a = 0; a < shape_.rank(); ++a) {
      if (a != axis_ && a != side_) outer_ *= shape_[a];
    }
    if (side_ >= 0) chunks_ = Dim::ceil_div(shape_[side_], lines_of_task);
  }

  void run() {
    const Dim tasks = shape_.elements() == 0 ? Dim(0) : outer_ * chunks_;
    const Expr task = make_place("task", tasks);
    std::vector<Expr> where(static_cast<size_t>(shape_.rank()), Expr(0));
    const Expr outer = floordiv(task, Expr(chunks_));
    Expr inside = imm(DType::b8, 1);
    Dim inner = 1;
    for (int64_t a = shape_.rank(); a-- > 0;) {
      if (a == axis_ || a == side_) continue;
      where[a] = floormod(floordiv(outer, Expr(inner)), Expr(shape_[a]));
      inner *= Dim::max(shape_[a], 1);
      if (given_[a] != shape_[a]) inside = inside && where[a] < Expr(given_[a]);
    }
    const Expr first = floormod(task, Expr(chunks_)) * Expr(lines_of_task);
    Stmts body{each(shape_, where, first, [&](const std::vector<Expr>& at) { return Stmts{b_.store(b_.result(), at, b_.load(op_.x, at))}; })};
    Stmts writes;
    if (!op_.include_self && op_.reduce != "set")
      writes.push_back(
          each(given_, where, first, [&](const std::vector<Expr>& at) { return Stmts{write(at, reduce_identity(reduction(), dtype_), false)}; }));
    writes.push_back(
        each(given_, where, first, [&](const std::vector<Expr>& at) { return Stmts{write(at, b_.load(op_.source, at), op_.reduce != "set")}; }));
    body.push_back(Stmt::branch(inside, std::move(writes)));
    b_.run(task, tasks, std::move(body));
  }

 private:
  ReduceOp reduction() const {
    const bool is = is_bool(dtype_);
    if (op_.reduce == "sum") return is ? ReduceOp::any : ReduceOp::sum;
    if (op_.reduce == "prod") return is ? ReduceOp::all : ReduceOp::prod;
    if (op_.reduce == "amax") return is ? ReduceOp::any : ReduceOp::max;
    return is ? ReduceOp::all : ReduceOp::min;
  }

  /// body(at) for every element of the task's lines within `extents`.
  template <class F> Stmt each(const Shape& extents, std::vector<Expr> where, const Expr& first, F&& body) {
    return for_each("i", extents[axis_], [&](const Expr& i) {
      where[axis_] = i;
      if (side_ < 0) return body(where);
      return Stmts{for_range("side", first, min(first + Expr(lines_of_task), Expr(extents[side_])), extents[side_], [&](const Expr& side) {
        where[side_] = side;
        return body(where);
      })};
    });
  }

  /// Puts a value at the place that the index names, or combines it with what is there.
  Stmt write(const std::vector<Expr>& at, const Expr& value, bool combine) {
    const std::string what = fmt::format("index out of range on axis {} of size {}", axis_, shape_[axis_]);
    return let_place("place", b_.checked(b_.load(op_.index, at), shape_[axis_], what), shape_[axis_], [&](const Expr& place) {
      std::vector<Expr> target = at;
      target[axis_] = place;
      if (!combine) return under(exists(shape_[axis_]), {b_.store(b_.result(), target, value)});
      const DType w = working(dtype_);
      const Expr combined = reduce_combine(reduction(), convert(w, b_.load(b_.result(), target)), convert(w, value));
      return under(exists(shape_[axis_]), {b_.store(b_.result(), target, convert(dtype_, combined))});
    });
  }

  const Scatter& op_;
  KernelBuilder& b_;
  Shape shape_, given_;
  DType dtype_;
  int64_t axis_, side_ = -1;
  Dim outer_ = 1, chunks_ = 1;
};

}  // namespace

void Scatter::kernel(const Scatter& op, KernelBuilder& b) { Scatterer(op, b).run(); }

namespace {

/// The shape of x without `axis`; fails (reported) when axis or index are not what select_at and update_at take.
Result<Shape> infer_row(const Infer& ctx, Value x, Value index, int64_t axis) {
  const auto a = normal_axis(ctx, axis, ctx.type(x).rank());
  if (!a || !require_index(ctx, index)) return Failure{};
  if (!ctx.type(x).rank() || ctx.type(index).rank())
    return ctx.error("index-rank", "takes a tensor of rank 1 or more and an index of rank 0, not {} and {}", ctx.type(x).to_string(),
                     ctx.type(index).to_string());
  std::vector<Dim> dims = ctx.shape(x).dims();
  dims.erase(dims.begin() + *a);
  return Shape(std::move(dims));
}

}  // namespace

Result<TensorType> SelectAt::infer(const SelectAt& op, const Infer& ctx) {
  auto row = infer_row(ctx, op.x, op.index, op.axis);
  if (!row) return Failure{};
  return TensorType{ctx.type(op.x).dtype, std::move(*row), {}};
}
Expr SelectAt::define(const SelectAt& op, Define& d) {
  const Shape& s = d.shape(op.x);
  const int64_t axis = from_front(op.axis, s.rank());
  std::vector<Expr> where = d.indices();
  where.insert(where.begin() + axis, checked(d.at(op.index, {}), s[axis], d, axis, true));
  return read(d, op.x, std::move(where));
}

Result<TensorType> UpdateAt::infer(const UpdateAt& op, const Infer& ctx) {
  const auto row = infer_row(ctx, op.x, op.index, op.axis);
  if (!row) return Failure{};
  const TensorType wanted{ctx.type(op.x).dtype, *row, {}}, &given = ctx.type(op.row);
  if (given.dtype != wanted.dtype || given.shape != wanted.shape)
    return ctx.error("row-type", "the row must be {}, not {}", wanted.to_string(), given.to_string());
  return infer_same(ctx, op.x);
}
Expr UpdateAt::place(const UpdateAt& op, const Define& d) {
  const int64_t axis = from_front(op.axis, d.type(op.x).rank());
  return checked(d.at(op.index, {}), d.shape(op.x)[axis], d, axis, true);
}
Expr UpdateAt::define(const UpdateAt& op, Define& d) {
  const int64_t axis = from_front(op.axis, d.type(op.x).rank());
  std::vector<Expr> where = d.indices();
  const Expr hit = equal(place(op, d), where[axis]);
  where.erase(where.begin() + axis);
  return select(hit, d.at(op.row, std::move(where)), d[op.x]);
}

}  // namespace mica
