// Indexing as TorchScript spells it.
#include <algorithm>

#include "import_families.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/reduce.h"
#include "mica/ops/scan.h"
#include "mica/ops/sort.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

Imported embedding(ImportContext& ctx) { return {ctx.create(Embedding{ctx.tensor("weight"), ctx.tensor("indices")})}; }

Imported index_select(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(IndexSelect{x, ctx.axis_of("dim", x), ctx.tensor("index")})};
}
Imported gather(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(Gather{x, ctx.axis_of("dim", x), ctx.tensor("index")})};
}
Imported take_along_dim(ImportContext& ctx) {
  Value x = ctx.tensor("self"), index = ctx.tensor("indices");
  if (!ctx.has("dim")) {
    const Dim n = ctx.shape(index).elements();
    return {ctx.create(Gather{reshape_to(ctx, x, {ctx.shape(x).elements()}), 0, reshape_to(ctx, index, {n})})};
  }
  const int64_t axis = ctx.axis_of("dim", x);
  std::vector<Dim> xs = ctx.shape(x).dims(), is = ctx.shape(index).dims();
  if (xs.size() != is.size())
    ctx.fail("index-rank", fmt::format("{} and {} must have one rank", ctx.type(x).to_string(), ctx.type(index).to_string()));
  for (int64_t i = 0; i < ctx.rank(x); ++i) {
    if (i != axis) xs[i] = is[i] = xs[i] == 1 ? is[i] : xs[i];
  }
  return {ctx.create(Gather{expand_to(ctx, x, Shape(xs)), axis, expand_to(ctx, index, Shape(is))})};
}

/// The index tensors that are there, and the axes that they index. A mask stands for as many as it has axes: the places where it holds.
struct Indices {
  std::vector<Value> tensors;
  std::vector<int64_t> axes;
};

bool is_mask(ImportContext& ctx, Value v) { return is_bool(ctx.type(v).dtype) || ctx.type(v).dtype == DType::u8; }

/// A mask covers whole axes of x, from `axis` on.
void check_mask(ImportContext& ctx, Value x, Value mask, int64_t axis) {
  if (!ctx.rank(mask)) ctx.unsupported("data-dependent-size", "a mask of rank 0 adds an axis whose size depends on data; use torch.where");
  bool fits = axis + ctx.rank(mask) <= ctx.rank(x);
  for (int64_t a = 0; fits && a < ctx.rank(mask); ++a) fits = ctx.shape(mask)[a] == ctx.shape(x)[axis + a];
  if (!fits)
    ctx.fail("mask-shape", fmt::format("the mask {} does not fit {} from axis {} on", ctx.type(mask).to_string(), ctx.type(x).to_string(), axis));
}

/// The only index there is, where it is a mask; its axis.
std::optional<std::pair<Value, int64_t>> only_mask(ImportContext& ctx, Value x) {
  std::optional<std::pair<Value, int64_t>> found;
  const std::vector<Value> list = ctx.tensors("indices");
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i]) continue;
    if (found || !is_mask(ctx, list[i])) return std::nullopt;
    found = {list[i], static_cast<int64_t>(i)};
  }
  if (found) check_mask(ctx, x, found->first, found->second);
  return found;
}

/// x with the axes of a mask taken as one.
Value merge_axes(ImportContext& ctx, Value x, int64_t axis, int64_t count) {
  std::vector<Dim> dims = ctx.shape(x).dims();
  Dim size = 1;
  for (int64_t a = axis; a < axis + count; ++a) size *= dims[a];
  dims.erase(dims.begin() + axis, dims.begin() + axis + count);
  dims.insert(dims.begin() + axis, size);
  return reshape_to(ctx, x, std::move(dims));
}
Indices indices_of(ImportContext& ctx, Value x) {
  Indices r;
  const std::vector<Value> list = ctx.tensors("indices");
  int64_t axis = 0;
  for (const Value v : list) {
    if (!v || !is_mask(ctx, v)) {
      if (v) r.tensors.push_back(v), r.axes.push_back(axis);
      ++axis;
      continue;
    }
    check_mask(ctx, x, v, axis);
    for (const Value column : nonzero_columns(ctx, v)) {
      r.tensors.push_back(column);
      r.axes.push_back(axis++);
    }
  }
  if (axis > ctx.rank(x)) ctx.fail("index-rank", fmt::format("{} indices are too many for {}", axis, ctx.type(x).to_string()));
  return r;
}

Imported index(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (const auto mask = only_mask(ctx, x))
    return {ctx.create(IndexSelect{merge_axes(ctx, x, mask->second, ctx.rank(mask->first)), mask->second, nonzero_places(ctx, mask->first)})};
  const Indices i = indices_of(ctx, x);
  if (i.tensors.empty()) return {x};
  return {ctx.create(Index{x, Values(i.tensors), Ints(i.axes)})};
}

Value scatter_of(ImportContext& ctx, Value x, int64_t axis, Value index, Value source, bool add) {
  source = cast_to(ctx, source, ctx.type(x).dtype);
  return ctx.create(Scatter{.x = x, .axis = axis, .index = index, .source = source, .reduce = add ? "sum" : "set"});
}

/// A size as an operand.
Value size_value(ImportContext& ctx, const Dim& size) {
  return size.is_static() ? constant(ctx, DType::i64, Scalar(size.size())) : ctx.create(SizeValue{size});
}

/// x[indices] = values: the indexed axes are moved to the front and taken as one, and so are the axes of the index tensors, broadcast, in values.
Value put_at(ImportContext& ctx, Value x, const Indices& at, Value values, bool add) {
  const int64_t n = static_cast<int64_t>(at.axes.size()), rank = ctx.rank(x);
  std::vector<Shape> shapes;
  for (const Value v : at.tensors) shapes.push_back(ctx.shape(v));
  const auto both = broadcast_shapes(shapes);
  if (!both) ctx.fail("broadcast-mismatch", "the index tensors do not broadcast");
  std::vector<int64_t> order = at.axes, rest;
  std::vector<Dim> sizes = ctx.shape(x).dims(), target = both->dims();
  for (int64_t a = 0; a < rank; ++a) {
    if (std::ranges::find(at.axes, a) == at.axes.end()) rest.push_back(a);
  }
  order.insert(order.end(), rest.begin(), rest.end());
  Dim rows = 1, width = 1;
  Value linear, outside;
  const Value zero = constant(ctx, DType::i64, Scalar(0));
  for (int64_t k = 0; k < n; ++k) {
    const Dim extent = sizes[at.axes[k]];
    const Value size = size_value(ctx, extent);
    Value i = cast_to(ctx, at.tensors[k], DType::i64);
    i = ctx.create(Where{ctx.create(Lt{i, zero}), ctx.create(Add{i, size}), i});
    const Value out = ctx.create(LogicalOr{ctx.create(Lt{i, zero}), ctx.create(Ge{i, size})});
    outside = outside ? ctx.create(LogicalOr{outside, out}) : out;
    linear = linear ? ctx.create(Add{ctx.create(Mul{linear, size}), i}) : i;
    rows *= extent;
  }
  // One of several indices may be out of range where their place in one row is not: an error all the same.
  if (n > 1) linear = ctx.create(Where{outside, size_value(ctx, rows), linear});
  std::vector<Dim> front;
  for (const int64_t a : order) front.push_back(sizes[a]);
  for (const int64_t a : rest) width *= sizes[a], target.push_back(sizes[a]);
  // In values the broadcast axes stand where adjacent indexed axes stood, else in front.
  const bool adjacent = at.axes.back() - at.axes.front() == n - 1;
  const int64_t place = adjacent ? at.axes.front() : 0, wide = both->rank();
  std::vector<Dim> shown(target.begin() + wide, target.end());
  std::vector<int64_t> moved;
  shown.insert(shown.begin() + place, target.begin(), target.begin() + wide);
  for (int64_t i = 0; i < wide; ++i) moved.push_back(place + i);
  for (int64_t i = 0; i < static_cast<int64_t>(shown.size()); ++i) {
    if (i < place || i >= place + wide) moved.push_back(i);
  }
  const Dim count = both->elements();
  values = reshape_to(ctx, permute_to(ctx, expand_to(ctx, values, Shape(shown)), moved), {count, width});
  linear = expand_to(ctx, reshape_to(ctx, expand_to(ctx, linear, *both), {count, 1}), Shape({count, width}));
  const Value y = scatter_of(ctx, reshape_to(ctx, permute_to(ctx, x, order), {rows, width}), 0, linear, values, add);
  std::vector<int64_t> back(order.size());
  for (size_t i = 0; i < order.size(); ++i) back[order[i]] = static_cast<int64_t>(i);
  return permute_to(ctx, reshape_to(ctx, y, front), back);
}

/// x[indices] = values: with one mask of x's shape a choice, else a scatter over the indexed axes taken as one.
Imported index_put(ImportContext& ctx) {
  Value x = ctx.tensor("self"), values = cast_to(ctx, ctx.tensor("values"), ctx.type(ctx.tensor("self")).dtype);
  const bool add = ctx.boolean_or("accumulate", false);
  if (const auto mask = only_mask(ctx, x)) {
    const auto axes = static_cast<size_t>(ctx.rank(mask->first)), before = static_cast<size_t>(mask->second);
    if (ctx.shape(values).elements() == 1 && ctx.rank(values) <= ctx.rank(x) - static_cast<int64_t>(axes) + 1) {
      Value where = mask->first, value = reshape_to(ctx, values, {});
      if (add) value = ctx.create(Add{x, value});
      while (ctx.rank(where) < ctx.rank(x) - mask->second) where = unsqueeze_at(ctx, where, ctx.rank(where));
      return {ctx.create(Where{cast_to(ctx, where, DType::b8), value, x})};
    }
    if (!before) return {put_at_mask(ctx, x, mask->first, values, add)};
  }
  Indices at = indices_of(ctx, x);
  if (at.tensors.empty()) return {expand_to(ctx, add ? ctx.create(Add{x, values}) : values, Shape(ctx.shape(x)))};
  return {put_at(ctx, x, at, values, add)};
}

/// scatter, and scatter_reduce with its reductions; a mean is a sum divided by how many went into it.
Imported scatter(ImportContext& ctx) {
  const Value x = ctx.tensor("self"), index = ctx.tensor("index");
  const int64_t axis = ctx.axis_of("dim", x);
  const DType t = ctx.type(x).dtype;
  std::string reduce = ctx.text_or("reduce", "set");
  if (reduce == "add") reduce = "sum";
  if (reduce == "multiply") reduce = "prod";
  const bool mean = reduce == "mean", self = ctx.boolean_or("include_self", true);
  const Value source = ctx.is_tensor("src") ? cast_to(ctx, ctx.tensor("src"), t) : ctx.create(Full{ctx.shape(index).dims(), ctx.scalar("value"), t});
  const Value y = ctx.create(Scatter{.x = x, .axis = axis, .index = index, .source = source, .reduce = mean ? "sum" : reduce, .include_self = self});
  if (!mean) return {y};
  const auto ones = [&](Value like, int64_t n) { return ctx.create(Full{ctx.shape(like).dims(), Scalar(n), DType::i64}); };
  const Value count = ctx.create(Scatter{.x = ones(x, self), .axis = axis, .index = index, .source = ones(index, 1), .reduce = "sum"});
  const Value divisor = ctx.create(Maximum{count, constant(ctx, DType::i64, Scalar(1))});
  if (is_float(t)) return {ctx.create(Div{y, cast_to(ctx, divisor, t)})};
  return {cast_to(ctx, ctx.create(FloorDivide{y, divisor}), t)};
}
Imported scatter_add(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {scatter_of(ctx, x, ctx.axis_of("dim", x), ctx.tensor("index"), ctx.tensor("src"), true)};
}
/// index_add, index_copy, index_fill: whole slices along an axis, at the places of a rank-1 index.
Imported index_write(ImportContext& ctx, Value source, bool add) {
  const Value x = ctx.tensor("self");
  const int64_t axis = ctx.axis_of("dim", x);
  Value index = ctx.tensor("index");
  std::vector<Dim> line(static_cast<size_t>(ctx.rank(x)), Dim(1)), sizes = ctx.shape(x).dims();
  line[axis] = sizes[axis] = ctx.shape(index).elements();
  index = expand_to(ctx, reshape_to(ctx, index, line), Shape(sizes));
  return {scatter_of(ctx, x, axis, index, expand_to(ctx, source, Shape(sizes)), add)};
}
Imported index_add(ImportContext& ctx) {
  Value source = ctx.tensor("source");
  if (ctx.real_or("alpha", 1) != 1) source = ctx.create(Mul{source, number(ctx, ctx.scalar("alpha"), source)});
  return index_write(ctx, source, true);
}
Imported index_copy(ImportContext& ctx) { return index_write(ctx, ctx.tensor("source"), false); }
Imported index_reduce(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t axis = ctx.axis_of("dim", x);
  std::vector<Dim> line(static_cast<size_t>(ctx.rank(x)), Dim(1)), sizes = ctx.shape(x).dims();
  line[axis] = sizes[axis] = ctx.shape(ctx.tensor("index")).elements();
  const std::string reduce = ctx.text("reduce");
  if (reduce == "mean") ctx.unsupported("scatter-reduce", "reduction `mean` is not supported");
  const Value index = expand_to(ctx, reshape_to(ctx, ctx.tensor("index"), line), Shape(sizes));
  return {ctx.create(Scatter{.x = x,
                             .axis = axis,
                             .index = index,
                             .source = cast_to(ctx, ctx.tensor("source"), ctx.type(x).dtype),
                             .reduce = reduce,
                             .include_self = ctx.boolean_or("include_self", true)})};
}
Imported index_fill(ImportContext& ctx) {
  // A number in the dtype of what it fills: -0.3 is not the same in f32 and f64.
  if (ctx.is_tensor("value")) return index_write(ctx, ctx.tensor("value"), false);
  return index_write(ctx, constant(ctx, ctx.type(ctx.tensor("self")).dtype, ctx.scalar("value")), false);
}

Imported one_hot(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t classes = ctx.integer_or("num_classes", -1);
  if (classes < 1) ctx.unsupported("data-dependent-size", "without num_classes the size of the result depends on data; pass num_classes");
  const Value range = ctx.create(Arange{.count = classes, .start = Scalar(0), .step = Scalar(1), .dtype = DType::i64});
  return {ctx.create(Cast{ctx.create(Eq{unsqueeze_at(ctx, x, ctx.rank(x)), range}), DType::i64})};
}

Imported sorted(ImportContext& ctx, Value x, int64_t axis, const Dim& count, bool descending) {
  const std::vector<Value> both = ctx.create_all(Sort{.x = x, .axis = axis, .descending = descending, .count = count});
  return {both[0], both[1]};
}
Imported topk(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return sorted(ctx, x, ctx.normal_axis(ctx.integer_or("dim", -1), ctx.rank(x)), ctx.size("k"), ctx.boolean_or("largest", true));
}
Imported sort(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", -1), ctx.rank(x));
  return sorted(ctx, x, axis, -1, ctx.boolean_or("descending", false));
}
Imported argsort(ImportContext& ctx) { return {sort(ctx)[1]}; }
Imported msort(ImportContext& ctx) { return {sorted(ctx, ctx.tensor("self"), 0, -1, false)[0]}; }

/// bucketize and searchsorted: how many boundaries stand before each value.
Imported buckets(ImportContext& ctx, Value values, Value boundaries) {
  const bool right = ctx.boolean_or("right", false) || ctx.text_or("side", "left") == "right";
  if (ctx.has("sorter")) ctx.unsupported("unsupported-argument", "argument `sorter` is not supported");
  // Boundaries [..., n] beside values [..., v]: an axis for each.
  const Value v = unsqueeze_at(ctx, values, ctx.rank(values));
  const Value b = ctx.rank(boundaries) == 1 ? boundaries : unsqueeze_at(ctx, boundaries, ctx.rank(boundaries) - 1);
  const Value before = right ? ctx.create(Le{b, v}) : ctx.create(Lt{b, v});
  const Value count = ctx.create(Sum{before, Ints{ctx.rank(before) - 1}, false});
  return {ctx.boolean_or("out_int32", false) ? cast_to(ctx, count, DType::i32) : count};
}
Imported bucketize(ImportContext& ctx) { return buckets(ctx, ctx.tensor("self"), ctx.tensor("boundaries")); }
Imported searchsorted(ImportContext& ctx) { return buckets(ctx, ctx.tensor("self"), ctx.tensor("sorted_sequence")); }

/// Element `at` of the sorted order along the axis, and where it stands. A NaN, which sorts last, is the median of all.
Imported order_statistic(ImportContext& ctx, Value x, int64_t axis, const Dim& at, bool nan_wins, bool keepdim) {
  if (!ctx.rank(x)) return {x, ctx.create(Full{Ints{}, Scalar(0), DType::i64})};
  const std::vector<Value> both = ctx.create_all(Sort{.x = x, .axis = axis});
  const auto pick = [&](Value v) {
    const Value one = ctx.create(Slice{.x = v, .axis = axis, .start = at, .end = at + 1, .step = 1});
    return keepdim ? one : squeeze_at(ctx, one, axis);
  };
  Value value = pick(both[0]), place = pick(both[1]);
  if (nan_wins && is_float(ctx.type(x).dtype)) {
    const Value greatest = ctx.create(Amax{x, Ints{axis}, keepdim}), nan = ctx.create(Isnan{greatest});
    value = ctx.create(Where{nan, greatest, value});
    place = ctx.create(Where{nan, ctx.create(Argmax{x, axis, keepdim}), place});
  }
  return {value, place};
}
Imported median(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  const bool all = !ctx.has("dim");
  if (all) x = reshape_to(ctx, x, {ctx.shape(x).elements()});
  const int64_t axis = all ? 0 : ctx.axis_of("dim", x);
  const Dim n = ctx.rank(x) ? ctx.shape(x)[axis] : Dim(1);
  if (n.low() < 1) ctx.fail("reduce-empty", "an empty tensor has no median");
  const Imported both = order_statistic(ctx, x, axis, (n - 1) / 2, true, ctx.boolean_or("keepdim", false));
  return all ? Imported{both[0]} : both;
}
/// The median of what is no NaN: NaNs sort last, so it stands at half of the others' number.
Imported nanmedian(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  const bool all = !ctx.has("dim"), keepdim = ctx.boolean_or("keepdim", false);
  if (all) x = reshape_to(ctx, x, {ctx.shape(x).elements()});
  if (!ctx.rank(x) || !is_float(ctx.type(x).dtype)) return median(ctx);
  const int64_t axis = all ? 0 : ctx.axis_of("dim", x);
  if (ctx.shape(x)[axis].low() < 1) ctx.fail("reduce-empty", "an empty tensor has no median");
  const std::vector<Value> both = ctx.create_all(Sort{.x = x, .axis = axis});
  const Value count = ctx.create(Sum{ctx.create(LogicalNot{ctx.create(Isnan{x})}), Ints{axis}, true});
  const auto whole = [&](int64_t n) { return constant(ctx, DType::i64, Scalar(n)); };
  const Value last = ctx.create(Maximum{ctx.create(Sub{count, whole(1)}), whole(0)}), middle = ctx.create(FloorDivide{last, whole(2)});
  Imported out;
  for (const Value v : both) {
    const Value one = ctx.create(Gather{v, axis, middle});
    out.emplace_back(keepdim ? one : squeeze_at(ctx, one, axis));
  }
  return all ? Imported{out[0]} : out;
}
Imported kthvalue(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", -1), ctx.rank(x));
  const Dim k = ctx.size("k"), n = ctx.rank(x) ? ctx.shape(x)[axis] : Dim(1);
  if (k < 1 || k > n) ctx.fail("kth-value", fmt::format("k = {} is out of range for axis {} of {}", k, axis, ctx.type(x).to_string()));
  return order_statistic(ctx, x, axis, k - 1, false, ctx.boolean_or("keepdim", false));
}

/// Where the mask holds, the elements of source in their order.
Imported masked_scatter(ImportContext& ctx) {
  const Value x = ctx.tensor("self"), source = ctx.tensor("source");
  const Shape shape = ctx.shape(x);
  const Value mask = expand_to(ctx, ctx.tensor("mask"), shape);
  const Value flat = reshape_to(ctx, mask, {shape.elements()});
  const Value place =
      ctx.create(Maximum{ctx.create(Sub{ctx.create(Cumsum{flat, 0}), constant(ctx, DType::i64, Scalar(1))}), constant(ctx, DType::i64, Scalar(0))});
  const Value taken = ctx.create(
      IndexSelect{reshape_to(ctx, source, {ctx.shape(source).elements()}), 0, ctx.create(Where{flat, place, constant(ctx, DType::i64, Scalar(0))})});
  return {ctx.create(Where{mask, reshape_to(ctx, taken, shape.dims()), x})};
}

template <int64_t n> Imported max_unpool(ImportContext& ctx) {
  const Value x = ctx.tensor("self"), index = ctx.tensor("indices");
  const std::vector<Dim> in = ctx.shape(x).dims(), out = ctx.sizes("output_size");
  if (out.size() != n) ctx.fail("import-argument", fmt::format("argument `output_size` must have {} numbers, not {}", n, out.size()));
  std::vector<Dim> head(in.begin(), in.end() - n), flat = head, lines = head;
  Dim from = 1, to = 1;
  for (int64_t i = 0; i < n; ++i) {
    from *= in[in.size() - n + i];
    to *= out[i];
  }
  flat.push_back(from);
  lines.push_back(to);
  head.insert(head.end(), out.begin(), out.end());
  const Value empty = ctx.create(Full{Dims(lines), Scalar(0), ctx.type(x).dtype});
  return {reshape_to(
      ctx, scatter_of(ctx, empty, static_cast<int64_t>(lines.size()) - 1, reshape_to(ctx, index, flat), reshape_to(ctx, x, flat), false), head)};
}

}  // namespace

std::span<const ImportEntry> import_index() {
  static constexpr ImportEntry entries[] = {
      {"aten::embedding", embedding},
      {"aten::index_select", index_select},
      {"aten::gather", gather},
      {"aten::take_along_dim", take_along_dim},
      {"aten::index", index},
      {"aten::index_put", index_put},
      {"aten::_index_put_impl", index_put},
      {"aten::scatter", scatter},
      {"aten::scatter_add", scatter_add},
      {"aten::index_add", index_add},
      {"aten::index_copy", index_copy},
      {"aten::index_fill", index_fill},
      {"aten::index_reduce", index_reduce},
      {"aten::one_hot", one_hot},
      {"aten::topk", topk},
      {"aten::sort", sort},
      {"aten::argsort", argsort},
      {"aten::bucketize", bucketize},
      {"aten::searchsorted", searchsorted},
      {"aten::median", median},
      {"aten::nanmedian", nanmedian},
      {"aten::kthvalue", kthvalue},
      {"aten::msort", msort},
      {"aten::masked_scatter", masked_scatter},
      {"aten::max_unpool2d", max_unpool<2>},
      {"aten::max_unpool3d", max_unpool<3>},
      {"aten::scatter_reduce", scatter},
  };
  return entries;
}

}  // namespace mica
