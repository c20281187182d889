#include "mica/ops/view.h"

#include <algorithm>
#include <functional>

#include "mica/ir/quotient.h"

namespace mica {

Result<TensorType> Reshape::infer(const Reshape& op, const Infer& ctx) {
  const Shape& from = ctx.shape(op.x);
  std::vector<Dim> sizes = op.shape.items;
  Dim known = 1;
  auto unknown = sizes.end();
  for (auto it = sizes.begin(); it != sizes.end(); ++it) {
    if (*it == -1 && unknown == sizes.end()) unknown = it;
    else if (*it < 0) return ctx.error("reshape-negative-size", "size {} is not possible in a shape", *it);
    else known *= *it;
  }
  if (unknown != sizes.end() && known != 0) {
    *unknown = exact_quotient(from.elements(), known).value_or(from.elements() / known);
    known *= *unknown;
  }
  if (known != from.elements() || (unknown != sizes.end() && *unknown == -1)) {
    return ctx.error("reshape-elements", "{} with {} elements does not fit shape {}", ctx.type(op.x).to_string(), from.elements(),
                     Shape(op.shape.items).to_string());
  }
  return TensorType{ctx.type(op.x).dtype, Shape(sizes), {}};
}

Result<TensorType> Permute::infer(const Permute& op, const Infer& ctx) {
  const TensorType& t = ctx.type(op.x);
  if (static_cast<int64_t>(op.axes.size()) != t.rank())
    return ctx.error("permute-rank", "{} axes are given for a tensor of rank {}", op.axes.size(), t.rank());
  if (!normal_axes(ctx, op.axes, t.rank())) return Failure{};
  std::vector<Dim> dims;
  for (int64_t a : op.axes.items) dims.push_back(t.shape.dim(a));
  return TensorType{t.dtype, Shape(std::move(dims)), {}};
}

Expr Permute::define(const Permute& op, Define& d) {
  std::vector<Expr> where(op.axes.size());
  for (size_t i = 0; i < where.size(); ++i) where[from_front(op.axes[i], d.type(op.x).rank())] = d.index(static_cast<int64_t>(i));
  return d.at(op.x, std::move(where));
}

Result<TensorType> Expand::infer(const Expand& op, const Infer& ctx) {
  const TensorType& t = ctx.type(op.x);
  const int64_t added = static_cast<int64_t>(op.shape.size()) - t.rank();
  std::vector<Dim> sizes = op.shape.items;
  for (int64_t i = 0; i < static_cast<int64_t>(sizes.size()); ++i) {
    if (i < added ? sizes[i] < 0 : sizes[i] < -1) return ctx.error("expand-negative-size", "size {} is not possible in a shape", sizes[i]);
    if (i >= added && sizes[i] == -1) sizes[i] = t.shape[i - added];
    if (i >= added && t.shape[i - added] != 1 && t.shape[i - added] != sizes[i]) {
      return ctx.error("expand-mismatch", "{} does not broadcast to {}", t.to_string(), Shape(op.shape.items).to_string());
    }
  }
  if (added < 0) return ctx.error("expand-mismatch", "{} has more axes than the shape {}", t.to_string(), Shape(op.shape.items).to_string());
  return TensorType{t.dtype, Shape(sizes), {}};
}

SliceRange slice_range(const Dim& size, const Dim& start, const Dim& end, int64_t step) {
  const auto bound = [&](const Dim& b) -> Dim {
    if (b == INT64_MAX) return size;
    // From the end where it is negative; of a bound that may be either, that part is size * (b < 0).
    const Dim from_end = b.low() >= 0 ? Dim(0) : b.high() < 0 ? size : size * Dim::min(Dim::max(0 - b, 0), 1);
    return Dim::min(Dim::max(b + from_end, 0), size);
  };
  // The last so many: fewer where there are not as many.
  if (start.is_static() && start < 0 && end == INT64_MAX && step == 1) {
    const Dim count = Dim::min(0 - start, size);
    return {size - count, count};
  }
  const Dim s = bound(start), e = Dim::max(s, bound(end));
  return {s, (e - s + step - 1) / step};
}

Result<TensorType> Slice::infer(const Slice& op, const Infer& ctx) {
  const TensorType& t = ctx.type(op.x);
  const auto axis = normal_axis(ctx, op.axis, t.rank());
  if (!axis) return Failure{};
  if (!t.rank()) return ctx.error("slice-of-scalar", "a tensor of rank 0 cannot be sliced");
  if (op.step <= 0) return ctx.error("slice-step", "the step must be positive, not {}", op.step);
  std::vector<Dim> dims = t.shape.dims();
  dims[*axis] = Dim(slice_range(t.shape[*axis], op.start, op.end, op.step).count);
  return TensorType{t.dtype, Shape(std::move(dims)), {}};
}

Expr Slice::define(const Slice& op, Define& d) {
  const int64_t axis = from_front(op.axis, d.type(op.x).rank());
  std::vector<Expr> where = d.indices();
  where[axis] = where[axis] * Expr(op.step) + Expr(slice_range(d.shape(op.x)[axis], op.start, op.end, op.step).start);
  return d.at(op.x, std::move(where));
}

namespace {
/// torch's legacy rule: a rank-1 operand of no elements joins anything.
bool skipped_in_cat(const Shape& s) { return s.rank() == 1 && s.dims()[0] == Dim(0); }
}  // namespace

Result<TensorType> Cat::infer(const Cat& op, const Infer& ctx) {
  if (op.xs.items.empty()) return ctx.error("cat-of-nothing", "needs at least one tensor");
  std::vector<TensorType> types;
  const Shape* first = nullptr;
  for (Value v : op.xs.items) {
    types.push_back(ctx.type(v));
    if (!first && !skipped_in_cat(ctx.shape(v))) first = &ctx.shape(v);
  }
  const DType dtype = promote_types(types);
  if (!first) return TensorType{dtype, ctx.shape(op.xs[0]), {}};
  if (!first->rank()) return ctx.error("cat-of-scalars", "tensors of rank 0 cannot be concatenated");
  const auto axis = normal_axis(ctx, op.axis, first->rank());
  if (!axis) return Failure{};
  std::vector<Dim> dims = first->dims();
  Dim total = 0;
  for (Value v : op.xs.items) {
    const Shape& s = ctx.shape(v);
    if (skipped_in_cat(s)) continue;
    bool fits = s.rank() == first->rank();
    for (int64_t i = 0; fits && i < s.rank(); ++i) fits = i == *axis || s.dims()[i] == dims[i];
    if (!fits) return ctx.error("cat-mismatch", "{} and {} differ outside axis {}", first->to_string(), s.to_string(), *axis);
    total += s[*axis];
  }
  dims[*axis] = Dim(total);
  return TensorType{dtype, Shape(std::move(dims)), {}};
}

Expr Cat::define(const Cat& op, Define& d) {
  const DType dtype = d.result_type().dtype;
  const int64_t axis = from_front(op.axis, d.result_type().rank());
  Expr result = imm(dtype, 0);
  // From the last to the first, so that the chain of choices tests the ends in order.
  Dim end = d.result_type().shape[axis];
  for (size_t i = op.xs.size(); i-- > 0;) {
    const Shape& s = d.shape(op.xs[i]);
    if (s.rank() != d.result_type().rank() || s[axis] == 0) continue;
    const Dim start = end - s[axis];
    std::vector<Expr> where = d.indices();
    where[axis] = where[axis] - Expr(start);
    const Expr element = convert(dtype, d.at(op.xs[i], std::move(where)));
    result = end == d.result_type().shape[axis] ? element : select(d.index(axis) < Expr(end), element, result);
    end = start;
  }
  return result;
}

namespace {

Result<TensorType> infer_pad(const Infer& ctx, Value x, const Dims& before, const Dims& after,
                             const std::function<bool(const Dim&, const Dim&)>& fits, const char* limit) {
  const TensorType& t = ctx.type(x);
  if (static_cast<int64_t>(before.size()) != t.rank() || before.size() != after.size()) {
    return ctx.error("pad-rank", "needs one amount before and one after for each of the {} axes", t.rank());
  }
  std::vector<Dim> dims;
  for (int64_t i = 0; i < t.rank(); ++i) {
    const Dim n = t.shape[i], out = n + before[i] + after[i];
    for (const Dim& p : {before[i], after[i]}) {
      if (p != 0 && !fits(p, n)) return ctx.error("pad-amount", "padding {} on axis {} of {}: {}", p, i, t.to_string(), limit);
    }
    if (out.low() < 0) return ctx.error("pad-amount", "padding {} and {} leaves nothing of axis {} of {}", before[i], after[i], i, t.to_string());
    dims.push_back(out);
  }
  return TensorType{t.dtype, Shape(std::move(dims)), {}};
}

}  // namespace

Result<TensorType> Pad::infer(const Pad& op, const Infer& ctx) {
  return infer_pad(ctx, op.x, op.before, op.after, [](const Dim&, const Dim&) { return true; }, "");
}
Expr Pad::define(const Pad& op, Define& d) {
  const Shape& s = d.shape(op.x);
  std::vector<Expr> where = d.indices();
  Expr inside;
  const auto require = [&](Expr e) { inside = inside ? inside && e : e; };
  for (size_t i = 0; i < where.size(); ++i) {
    where[i] = where[i] - Expr(op.before[i]);
    if (op.before[i].high() > 0) require(where[i] >= Expr(0));
    if (op.after[i].high() > 0) require(where[i] < Expr(s[static_cast<int64_t>(i)]));
  }
  const Expr element = d.at(op.x, std::move(where));
  return inside ? select(inside, element, imm(d.result_type().dtype, op.value)) : element;
}

Result<TensorType> ReflectionPad::infer(const ReflectionPad& op, const Infer& ctx) {
  return infer_pad(
      ctx, op.x, op.before, op.after, [](const Dim& p, const Dim& n) { return p < n; }, "reflection needs amounts below the axis's size");
}
Expr ReflectionPad::define(const ReflectionPad& op, Define& d) {
  const Shape& s = d.shape(op.x);
  std::vector<Expr> where = d.indices();
  for (size_t i = 0; i < where.size(); ++i) {
    const Dim n = s[static_cast<int64_t>(i)];
    Expr e = where[i] - Expr(op.before[i]);
    if (op.before[i].high() > 0) e = select(e < Expr(0), Expr(0) - e, e);
    if (op.after[i].high() > 0) e = select(e >= Expr(n), Expr(2 * n - 2) - e, e);
    where[i] = e;
  }
  return d.at(op.x, std::move(where));
}

Result<TensorType> ReplicationPad::infer(const ReplicationPad& op, const Infer& ctx) {
  return infer_pad(ctx, op.x, op.before, op.after, [](const Dim&, const Dim& n) { return n.low() > 0; }, "an empty axis has no border to repeat");
}
Expr ReplicationPad::define(const ReplicationPad& op, Define& d) {
  const Shape& s = d.shape(op.x);
  std::vector<Expr> where = d.indices();
  for (size_t i = 0; i < where.size(); ++i) {
    where[i] = where[i] - Expr(op.before[i]);
    if (op.before[i].high() > 0) where[i] = max(where[i], Expr(0));
    if (op.after[i].high() > 0) where[i] = min(where[i], Expr(s[static_cast<int64_t>(i)] - 1));
  }
  return d.at(op.x, std::move(where));
}

Result<TensorType> CircularPad::infer(const CircularPad& op, const Infer& ctx) {
  return infer_pad(
      ctx, op.x, op.before, op.after, [](const Dim& p, const Dim& n) { return p <= n; }, "wrapping needs amounts of at most the axis's size");
}
Expr CircularPad::define(const CircularPad& op, Define& d) {
  const Shape& s = d.shape(op.x);
  std::vector<Expr> where = d.indices();
  for (size_t i = 0; i < where.size(); ++i) {
    if (op.before[i] != 0 || op.after[i] != 0) where[i] = floormod(where[i] - Expr(op.before[i]), Expr(s[static_cast<int64_t>(i)]));
  }
  return d.at(op.x, std::move(where));
}

Result<TensorType> Flip::infer(const Flip& op, const Infer& ctx) {
  if (!normal_axes(ctx, op.axes, ctx.type(op.x).rank())) return Failure{};
  return infer_same(ctx, op.x);
}
Expr Flip::define(const Flip& op, Define& d) {
  const Shape& s = d.shape(op.x);
  const auto mask = axis_mask(op.axes, s.rank());
  std::vector<Expr> where = d.indices();
  for (int64_t i = 0; i < s.rank(); ++i) {
    if (mask[i]) where[i] = Expr(s[i] - 1) - where[i];
  }
  return d.at(op.x, std::move(where));
}

Result<TensorType> Roll::infer(const Roll& op, const Infer& ctx) {
  if (op.shifts.size() != op.axes.size()) return ctx.error("roll-mismatch", "{} shifts are given for {} axes", op.shifts.size(), op.axes.size());
  if (!normal_axes(ctx, op.axes, ctx.type(op.x).rank())) return Failure{};
  return infer_same(ctx, op.x);
}
Expr Roll::define(const Roll& op, Define& d) {
  const Shape& s = d.shape(op.x);
  std::vector<Expr> where = d.indices();
  for (size_t k = 0; k < op.axes.size() && s.rank(); ++k) {
    const int64_t i = from_front(op.axes[k], s.rank());
    if (!s[i].is_static()) {
      where[i] = floormod(where[i] - Expr(op.shifts[k]), Expr(s[i]));
      continue;
    }
    const int64_t n = s[i].size();
    if (n < 2) continue;
    const int64_t shift = ((op.shifts[k] % n) + n) % n;
    if (shift) where[i] = select(where[i] < Expr(shift), where[i] + Expr(n - shift), where[i] - Expr(shift));
  }
  return d.at(op.x, std::move(where));
}

namespace {
Result<TensorType> infer_triangle(const Infer& ctx, Value x) {
  if (ctx.type(x).rank() < 2) return ctx.error("needs-matrix", "takes a tensor of rank 2 or more, not {}", ctx.type(x).to_string());
  return infer_same(ctx, x);
}
}  // namespace

Result<TensorType> Tril::infer(const Tril& op, const Infer& ctx) { return infer_triangle(ctx, op.x); }
Expr Tril::define(const Tril& op, Define& d) {
  return select(d.index(-1) - d.index(-2) <= Expr(op.diagonal), d[op.x], imm(d.result_type().dtype, op.fill));
}
Result<TensorType> Triu::infer(const Triu& op, const Infer& ctx) { return infer_triangle(ctx, op.x); }
Expr Triu::define(const Triu& op, Define& d) {
  return select(d.index(-1) - d.index(-2) >= Expr(op.diagonal), d[op.x], imm(d.result_type().dtype, op.fill));
}

Result<TensorType> Unfold::infer(const Unfold& op, const Infer& ctx) {
  const TensorType& t = ctx.type(op.x);
  const auto axis = normal_axis(ctx, op.axis, t.rank());
  if (!axis) return Failure{};
  if (!t.rank()) return ctx.error("unfold-of-scalar", "a tensor of rank 0 has no windows");
  const int64_t span = op.dilation * (op.size - 1) + 1;
  if (op.size < 1 || op.step < 1 || op.dilation < 1 || span > t.shape[*axis]) {
    return ctx.error("unfold-window", "windows of {} elements, {} apart, every {} do not fit axis {} of {}", op.size, op.dilation, op.step, *axis,
                     t.to_string());
  }
  std::vector<Dim> dims = t.shape.dims();
  dims[*axis] = (t.shape[*axis] - span) / op.step + 1;
  dims.push_back(Dim(op.size));
  return TensorType{t.dtype, Shape(std::move(dims)), {}};
}
Expr Unfold::define(const Unfold& op, Define& d) {
  const int64_t rank = d.type(op.x).rank(), axis = from_front(op.axis, rank);
  std::vector<Expr> where(d.indices().begin(), d.indices().begin() + rank);
  where[axis] = where[axis] * Expr(op.step) + d.index(-1) * Expr(op.dilation);
  return d.at(op.x, std::move(where));
}

Result<TensorType> OverlapAdd::infer(const OverlapAdd& op, const Infer& ctx) {
  const TensorType& t = ctx.type(op.x);
  const auto axis = normal_axis(ctx, op.axis, t.rank() - 1);
  if (!axis) return Failure{};
  if (t.rank() < 2) return ctx.error("overlap-add-rank", "takes windows along an axis and behind it, not {}", t.to_string());
  const Dim reach = (t.shape[*axis] - 1) * op.step + (t.shape[-1] - 1) * op.dilation + 1;
  if (op.step < 1 || op.dilation < 1 || reach > op.size)
    return ctx.error("overlap-add-size", "windows that reach to {} do not fit {} elements", reach, op.size);
  std::vector<Dim> dims(t.shape.dims().begin(), t.shape.dims().end() - 1);
  dims[*axis] = Dim(op.size);
  return TensorType{t.dtype, Shape(std::move(dims)), {}};
}
Expr OverlapAdd::define(const OverlapAdd& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Shape& s = d.shape(op.x);
  const int64_t axis = from_front(op.axis, s.rank() - 1);
  const Expr k = d.var(s[-1], "k"), reach = d.index(axis) - k * Expr(op.dilation), window = floordiv(reach, Expr(op.step));
  std::vector<Expr> where = d.indices();
  where[axis] = window;
  where.push_back(k);
  Expr inside = reach >= Expr(0) && window < Expr(s[axis]);
  if (op.step > 1) inside = inside && equal(floormod(reach, Expr(op.step)), Expr(0));
  return convert(t, make_reduce(ReduceOp::sum, {k}, select(inside, convert(w, d.at(op.x, std::move(where))), imm(w, 0))));
}

Result<TensorType> Diagonal::infer(const Diagonal& op, const Infer& ctx) {
  const TensorType& t = ctx.type(op.x);
  const auto axes = normal_axes(ctx, Ints{op.axis1, op.axis2}, t.rank());
  if (!axes) return Failure{};
  if (t.rank() < 2) return ctx.error("needs-matrix", "takes a tensor of rank 2 or more, not {}", t.to_string());
  const Dim &rows = t.shape[op.axis1], &columns = t.shape[op.axis2];
  std::vector<Dim> dims = reduced_shape(t.shape, *axes, false).dims();
  dims.push_back(Dim::max(0, op.offset >= 0 ? Dim::min(rows, columns - op.offset) : Dim::min(rows + op.offset, columns)));
  return TensorType{t.dtype, Shape(std::move(dims)), {}};
}
Expr Diagonal::define(const Diagonal& op, Define& d) {
  const int64_t rank = d.type(op.x).rank(), a1 = from_front(op.axis1, rank), a2 = from_front(op.axis2, rank);
  std::vector<Expr> where;
  int64_t next = 0;
  for (int64_t i = 0; i < rank; ++i) {
    if (i == a1) where.push_back(d.index(-1) + Expr(std::max<int64_t>(0, -op.offset)));
    else if (i == a2) where.push_back(d.index(-1) + Expr(std::max<int64_t>(0, op.offset)));
    else where.push_back(d.index(next++));
  }
  return d.at(op.x, std::move(where));
}

Result<TensorType> SliceScatter::infer(const SliceScatter& op, const Infer& ctx) {
  const TensorType& t = ctx.type(op.x);
  const auto axis = normal_axis(ctx, op.axis, t.rank());
  if (!axis) return Failure{};
  if (!t.rank()) return ctx.error("slice-of-scalar", "a tensor of rank 0 cannot be sliced");
  if (op.step <= 0) return ctx.error("slice-step", "the step must be positive, not {}", op.step);
  std::vector<Dim> dims = t.shape.dims();
  dims[*axis] = Dim(slice_range(t.shape[*axis], op.start, op.end, op.step).count);
  const Shape part(std::move(dims));
  const Shape shapes[] = {part, ctx.shape(op.source)};
  const auto both = broadcast_shapes(shapes);
  if (!both || *both != part)
    return ctx.error("scatter-mismatch", "the source is {}, but the slice of {} is {}", ctx.type(op.source).to_string(), t.to_string(),
                     part.to_string());
  return TensorType{t.dtype, t.shape, {}};
}
Expr SliceScatter::define(const SliceScatter& op, Define& d) {
  const DType dtype = d.result_type().dtype;
  const int64_t rank = d.result_type().rank(), axis = from_front(op.axis, rank);
  const SliceRange range = slice_range(d.shape(op.x)[axis], op.start, op.end, op.step);
  if (range.count == 0) return d[op.x];
  const Expr distance = d.index(axis) - Expr(range.start);
  Expr taken = distance >= Expr(0) && distance < Expr((range.count - 1) * op.step + 1);
  if (op.step > 1) taken = taken && equal(floormod(distance, Expr(op.step)), Expr(0));
  const Shape& s = d.shape(op.source);
  std::vector<Expr> where;
  for (int64_t i = rank - s.rank(); i < rank; ++i) {
    if (s[i - (rank - s.rank())] == 1) where.push_back(Expr(0));
    else where.push_back(i == axis ? floordiv(distance, Expr(op.step)) : d.index(i));
  }
  return select(taken, convert(dtype, d.at(op.source, std::move(where))), d[op.x]);
}

}  // namespace mica
