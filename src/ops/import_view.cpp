// Operators that only move elements, spelt on reshape, permute, expand, slice, cat and pad.
#include <algorithm>
#include <numeric>

#include "import_families.h"
#include "mica/ir/quotient.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "mica/ops/factory.h"
#include "mica/ops/measure.h"
#include "mica/ops/view.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

Imported same(ImportContext& ctx) { return {ctx.tensor(ctx.is_tensor("self") ? "self" : "input")}; }

Imported dropout(ImportContext& ctx) {
  if (ctx.boolean_or("train", false) && ctx.real_or("p", 0) != 0) {
    ctx.unsupported("dropout-training", "drops elements at random, as in training; export the model after model.eval()");
  }
  return {ctx.tensor("input")};
}

bool is_measured(ImportContext& ctx, const Dim& size) {
  bool measured = false;
  for_symbols(size, [&](uint32_t symbol) { measured |= ctx.builder.graph().symbols[symbol].is_measured(); });
  return measured;
}

/// x for a reshape of which one size is inferred: that it can be, and comes out even, the run checks where sizes depend on data.
Value inferable(ImportContext& ctx, Value x, const std::vector<Dim>& sizes) {
  if (std::ranges::find(sizes, Dim(-1)) == sizes.end()) return x;
  const Dim all = ctx.shape(x).elements();
  Dim known = 1;
  for (const Dim& s : sizes) known *= s == -1 ? Dim(1) : s;
  const auto check = [&](Value good, std::string message) { ctx.builder.create_all(Check{good, fmt::format("{}: {}", ctx.op, message)}); };
  if (!known.is_static() && known.low() <= 0)
    check(ctx.create(Gt{size_number(ctx, known), constant(ctx, DType::i64, Scalar(0))}), fmt::format("-1 cannot be told where {} is 0", known));
  if (known == 0 || exact_quotient(all, known) || !is_measured(ctx, all)) return x;
  const Dim even = all / known * known;
  if (even == all) return x;
  check(ctx.create(Eq{size_number(ctx, even), size_number(ctx, all)}), fmt::format("{} does not divide the {} elements", known, all));
  return ctx.create(Head{reshape_to(ctx, x, {all}), even});
}

Imported reshape(ImportContext& ctx) {
  const std::vector<Dim> sizes = ctx.sizes(ctx.has("shape") ? "shape" : "size");
  return {ctx.create(Reshape{inferable(ctx, ctx.tensor("self"), sizes), sizes})};
}
Imported view_dtype(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (ctx.dtype("dtype") == ctx.type(x).dtype) return {x};
  ctx.unsupported("view-dtype", "a view of a tensor's bytes as another dtype is not supported");
}
Imported reshape_as(ImportContext& ctx) { return {reshape_to(ctx, ctx.tensor("self"), ctx.shape(ctx.tensor("other")).dims())}; }

Imported flatten(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const Shape s = ctx.shape(x);
  if (!s.rank()) return {reshape_to(ctx, x, {1})};
  const int64_t first = ctx.normal_axis(ctx.integer_or("start_dim", 0), s.rank()), last = ctx.normal_axis(ctx.integer_or("end_dim", -1), s.rank());
  if (first > last) ctx.fail("flatten-axes", fmt::format("start_dim {} comes after end_dim {}", first, last));
  std::vector<Dim> sizes = s.dims();
  const Dim merged = std::accumulate(sizes.begin() + first, sizes.begin() + last + 1, Dim(1), std::multiplies<>());
  sizes.erase(sizes.begin() + first, sizes.begin() + last);
  sizes[first] = merged;
  return {reshape_to(ctx, x, std::move(sizes))};
}

Imported unflatten(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t axis = ctx.axis_of("dim", x);
  std::vector<Dim> sizes = ctx.shape(x).dims(), parts = ctx.sizes("sizes");
  if (sizes.empty()) ctx.fail("unflatten-scalar", "a tensor of rank 0 cannot be unflattened");
  Dim known = 1;
  for (const Dim& p : parts) known *= p == -1 ? Dim(1) : p;
  for (Dim& p : parts) {
    if (p == -1) p = known != 0 ? sizes[axis] / known : Dim(0);
  }
  sizes.erase(sizes.begin() + axis);
  sizes.insert(sizes.begin() + axis, parts.begin(), parts.end());
  return {ctx.create(Reshape{x, std::move(sizes)})};
}

Imported squeeze(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const std::vector<Dim> sizes = ctx.shape(x).dims();
  std::vector<bool> chosen(std::max<size_t>(sizes.size(), 1), !ctx.has("dim"));
  if (ctx.has("dim")) {
    for (int64_t a : ctx.ints("dim")) chosen[ctx.normal_axis(a, ctx.rank(x))] = true;
  }
  std::vector<Dim> kept;
  for (size_t i = 0; i < sizes.size(); ++i) {
    // Whether an axis goes must not depend on a symbol's value.
    if (!(chosen[i] && sizes[i] <= 1 && sizes[i] == 1)) kept.push_back(sizes[i]);
  }
  return {reshape_to(ctx, x, std::move(kept))};
}

Imported unsqueeze(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {unsqueeze_at(ctx, x, ctx.normal_axis(ctx.integer("dim"), ctx.rank(x) + !defect(Defect::unsqueeze_negative)))};
}

Imported transpose(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const bool numbered = ctx.has("dim0");
  return {swap_axes(ctx, x, ctx.normal_axis(ctx.integer(numbered ? "dim0" : "axis0"), ctx.rank(x)),
                    ctx.normal_axis(ctx.integer(numbered ? "dim1" : "axis1"), ctx.rank(x)))};
}
Imported t(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (ctx.rank(x) > 2) ctx.fail("transpose-rank", fmt::format("takes a tensor of rank 2 or less, not {}", ctx.type(x).to_string()));
  return {ctx.rank(x) < 2 ? x : swap_axes(ctx, x, 0, 1)};
}
Imported reversed(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  std::vector<int64_t> axes(static_cast<size_t>(ctx.rank(x)));
  std::iota(axes.rbegin(), axes.rend(), 0);
  return {permute_to(ctx, x, std::move(axes))};
}
Imported matrix_transpose(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (ctx.rank(x) < 2) ctx.fail("transpose-rank", fmt::format("takes a tensor of rank 2 or more, not {}", ctx.type(x).to_string()));
  return {swap_axes(ctx, x, ctx.rank(x) - 2, ctx.rank(x) - 1)};
}
Imported permute(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  std::vector<int64_t> axes = ctx.ints("dims");
  for (int64_t& a : axes) a = ctx.normal_axis(a, ctx.rank(x));
  std::vector<int64_t> identity(static_cast<size_t>(ctx.rank(x)));
  std::iota(identity.begin(), identity.end(), 0);
  return {axes == identity ? x : ctx.create(Permute{x, Ints(std::move(axes))})};
}
Imported movedim(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t rank = ctx.rank(x);
  const std::vector<int64_t> from = ctx.ints("source"), to = ctx.ints("destination");
  if (from.size() != to.size()) ctx.fail("movedim-axes", "source and destination must have as many axes each");
  std::vector<int64_t> axes(static_cast<size_t>(rank), -1);
  std::vector<bool> moved(static_cast<size_t>(rank));
  for (size_t i = 0; i < from.size(); ++i) {
    const int64_t f = ctx.normal_axis(from[i], rank), d = ctx.normal_axis(to[i], rank);
    if (axes.at(d) != -1 || moved.at(f)) ctx.fail("axis-twice", fmt::format("axis {} is given twice", f));
    axes[d] = f;
    moved[f] = true;
  }
  int64_t next = 0;
  for (int64_t& a : axes) {
    if (a != -1) continue;
    while (moved[next]) ++next;
    a = next++;
  }
  return {permute_to(ctx, x, std::move(axes))};
}

Imported expand(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const std::vector<Dim> sizes = ctx.sizes("size");
  return {sizes == ctx.shape(x).dims() ? x : ctx.create(Expand{x, sizes})};
}
Imported expand_as(ImportContext& ctx) { return {expand_to(ctx, ctx.tensor("self"), Shape(ctx.shape(ctx.tensor("other"))))}; }

Imported broadcast_tensors(ImportContext& ctx) {
  std::vector<Value> list = ctx.tensors("tensors");
  std::vector<Shape> shapes;
  for (Value v : list) shapes.push_back(ctx.shape(v));
  const auto both = broadcast_shapes(shapes);
  if (!both) ctx.fail("broadcast-mismatch", "the tensors do not broadcast");
  for (Value& v : list) v = expand_to(ctx, v, *both);
  return {Values(list)};
}

/// x repeated `counts[i]` times as a whole along axis i.
Value tiled(ImportContext& ctx, Value x, std::vector<Dim> counts) {
  std::vector<Dim> sizes = ctx.shape(x).dims();
  while (sizes.size() < counts.size()) sizes.insert(sizes.begin(), Dim(1));
  while (counts.size() < sizes.size()) counts.insert(counts.begin(), Dim(1));
  std::vector<Dim> apart, wide, merged;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (counts[i] != 1) {
      apart.push_back(Dim(1));
      wide.push_back(counts[i]);
    }
    apart.push_back(sizes[i]);
    wide.push_back(sizes[i]);
    merged.push_back(sizes[i] * counts[i]);
  }
  return reshape_to(ctx, expand_to(ctx, reshape_to(ctx, x, apart), Shape(wide)), merged);
}
Imported repeat(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const std::vector<Dim> counts = ctx.sizes("repeats");
  if (static_cast<int64_t>(counts.size()) < ctx.rank(x))
    ctx.fail("repeat-counts", fmt::format("{} counts are too few for {}", counts.size(), ctx.type(x).to_string()));
  return {tiled(ctx, x, counts)};
}
Imported tile(ImportContext& ctx) { return {tiled(ctx, ctx.tensor("self"), ctx.sizes("dims"))}; }

Imported repeat_interleave(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  const int64_t count = ctx.integer("repeats");
  if (!ctx.has("dim")) x = reshape_to(ctx, x, {ctx.shape(x).elements()});
  const int64_t axis = ctx.has("dim") ? ctx.axis_of("dim", x) : 0;
  std::vector<Dim> sizes = ctx.shape(x).dims(), apart = sizes, wide;
  apart.insert(apart.begin() + axis + 1, Dim(1));
  wide = apart;
  wide[axis + 1] = count;
  sizes[axis] *= count;
  return {reshape_to(ctx, expand_to(ctx, reshape_to(ctx, x, apart), Shape(wide)), sizes)};
}

Value cat_of(ImportContext& ctx, std::vector<Value> list, int64_t axis) {
  return list.size() == 1 ? list[0] : settle_size(ctx, ctx.create(Cat{Values(std::move(list)), axis}), axis);
}
Imported cat(ImportContext& ctx) { return {cat_of(ctx, ctx.tensors("tensors"), ctx.integer_or("dim", 0))}; }
Imported stack(ImportContext& ctx) {
  std::vector<Value> list = ctx.tensors("tensors");
  if (list.empty()) ctx.fail("cat-of-nothing", "needs at least one tensor");
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", 0), ctx.rank(list[0]) + 1);
  for (Value& v : list) v = unsqueeze_at(ctx, v, axis);
  return {cat_of(ctx, std::move(list), axis)};
}
Imported hstack(ImportContext& ctx) {
  std::vector<Value> list = ctx.tensors("tensors");
  if (list.empty()) ctx.fail("cat-of-nothing", "needs at least one tensor");
  for (Value& v : list) {
    if (!ctx.rank(v)) v = reshape_to(ctx, v, {1});
  }
  const int64_t axis = ctx.rank(list[0]) == 1 ? 0 : 1;
  return {cat_of(ctx, std::move(list), axis)};
}
Imported vstack(ImportContext& ctx) {
  std::vector<Value> list = ctx.tensors("tensors");
  for (Value& v : list) {
    while (ctx.rank(v) < 2) v = unsqueeze_at(ctx, v, 0);
  }
  return {cat_of(ctx, std::move(list), 0)};
}

Value part(ImportContext& ctx, Value x, int64_t axis, const Dim& start, const Dim& count) {
  if (start == 0 && count == ctx.shape(x)[axis]) return x;
  return ctx.create(Slice{.x = x, .axis = axis, .start = start, .end = start + count, .step = 1});
}
Imported parts(ImportContext& ctx, Value x, int64_t axis, const std::vector<Dim>& sizes) {
  std::vector<Value> list;
  Dim start = 0;
  for (const Dim& n : sizes) {
    list.push_back(part(ctx, x, axis, start, n));
    start += n;
  }
  return {Values(std::move(list))};
}
void require_axes(ImportContext& ctx, Value x) {
  if (!ctx.rank(x)) ctx.fail("split-scalar", "a tensor of rank 0 cannot be divided");
}

/// How many parts there are; refused where that differs over the symbols' range, since a list's length is fixed when compiling.
int64_t part_count(ImportContext& ctx, Value x, int64_t axis, const Dim& count) {
  if (!count.is_static())
    ctx.unsupported("split-count", fmt::format("axis {} of {} falls into {} to {} parts, depending on the size; narrow its range, or give the parts' "
                                               "number in a form that does not depend on it",
                                               axis, ctx.type(x).to_string(), count.low(), count.high()));
  return count.size();
}

/// Parts of `each` elements, the last one of what is left.
Imported equal_parts(ImportContext& ctx, Value x, int64_t axis, const Dim& each, int64_t count) {
  const Dim size = ctx.shape(x)[axis];
  std::vector<Dim> sizes;
  for (int64_t i = 0; i < count; ++i) sizes.push_back(i + 1 == count ? size - each * i : Dim::min(each, size - each * i));
  return parts(ctx, x, axis, sizes);
}

Imported split(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", 0), ctx.rank(x));
  const Dim size = ctx.shape(x)[axis];
  if (ctx.has("split_sizes") || ctx.is_list("split_size")) {
    const std::vector<Dim> sizes = ctx.sizes(ctx.has("split_sizes") ? "split_sizes" : "split_size");
    const Dim sum = std::accumulate(sizes.begin(), sizes.end(), Dim(0));
    if (sum != size && !Dim::surely_less(sum, size) && !Dim::surely_less(size, sum))
      ctx.unsupported(
          "split-sizes",
          fmt::format("nothing says that the parts, {} in all, add up to {} on axis {}; take the last part as what is left", sum, size, axis));
    if (sum != size) ctx.fail("split-sizes", fmt::format("the parts do not add up to {} on axis {}, but to {}", size, axis, sum));
    if (std::ranges::any_of(sizes, [](const Dim& n) { return n.low() < 0; }))
      ctx.fail("split-sizes", fmt::format("a part of axis {} of {} would have less than no elements", axis, ctx.type(x).to_string()));
    return parts(ctx, x, axis, sizes);
  }
  const Dim each = ctx.size("split_size");
  if (each.low() < 1) ctx.fail("split-sizes", fmt::format("parts of {} are not possible", each));
  return equal_parts(ctx, x, axis, each, part_count(ctx, x, axis, Dim::max(Dim::ceil_div(size, each), 1)));
}
Imported chunk(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", 0), ctx.rank(x)), count = ctx.integer("chunks");
  const Dim size = ctx.shape(x)[axis];
  if (count < 1) ctx.fail("split-sizes", fmt::format("{} chunks are not possible", count));
  if (size == 0) return parts(ctx, x, axis, std::vector<Dim>(static_cast<size_t>(count), Dim(0)));
  const Dim each = Dim::ceil_div(size, count);
  return equal_parts(ctx, x, axis, each, part_count(ctx, x, axis, Dim::ceil_div(size, Dim::max(each, 1))));
}
Imported tensor_split(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", 0), ctx.rank(x));
  const Dim size = ctx.shape(x)[axis];
  std::vector<Dim> sizes;
  if (ctx.has("sections")) {
    const int64_t n = ctx.integer("sections");
    if (n < 1) ctx.fail("split-sizes", fmt::format("{} sections are not possible", n));
    for (int64_t i = 0; i < n; ++i) sizes.push_back((size + n - 1 - i) / n);
    return parts(ctx, x, axis, sizes);
  }
  if (!ctx.has("indices")) ctx.unsupported("split-by-tensor", "places given by a tensor are not supported");
  std::vector<Value> list;
  Dim start = 0;
  std::vector<Dim> ends = ctx.sizes("indices");
  ends.push_back(size);
  for (const Dim& end : ends) {
    const SliceRange r = slice_range(size, start, end, 1);
    list.push_back(part(ctx, x, axis, r.start, r.count));
    start = end;
  }
  return {Values(std::move(list))};
}

Value selected(ImportContext& ctx, Value x, int64_t axis, const Dim& index) {
  const Dim size = ctx.shape(x)[axis];
  if (index < Dim(0) - size || index >= size)
    ctx.fail("select-out-of-range", fmt::format("index {} is out of range on axis {} of {}", index, axis, ctx.type(x).to_string()));
  return squeeze_at(ctx, part(ctx, x, axis, index < 0 ? index + size : index, 1), axis);
}
Imported select(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  return {selected(ctx, x, ctx.axis_of("dim", x), ctx.size("index"))};
}
Imported unbind(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", 0), ctx.rank(x));
  std::vector<Value> list;
  const int64_t count = part_count(ctx, x, axis, ctx.shape(x)[axis]);
  for (int64_t i = 0; i < count; ++i) list.push_back(selected(ctx, x, axis, i));
  return {Values(std::move(list))};
}
Imported narrow(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  const int64_t axis = ctx.axis_of("dim", x);
  const Dim size = ctx.shape(x)[axis], length = ctx.size("length");
  Dim start = ctx.size("start");
  if (start < 0) start += size;
  if (start < 0 || length < 0 || start + length > size)
    ctx.fail("narrow-range", fmt::format("{} elements from {} are not within axis {} of {}", length, start, axis, ctx.type(x).to_string()));
  return {part(ctx, x, axis, start, length)};
}
Imported slice(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", 0), ctx.rank(x)), step = ctx.integer_or("step", 1);
  const Dim size = ctx.shape(x)[axis];
  if (step < 1) ctx.fail("slice-step", fmt::format("the step must be positive, not {}", step));
  const Dim first = ctx.size_or("start", 0), last = ctx.size_or("end", INT64_MAX);
  const SliceRange r = slice_range(size, first, last, step);
  if (r.start == 0 && r.count == size) return {x};
  const bool from_end = !size.is_static() && first.is_static() && first < 0 && last == INT64_MAX && step == 1;
  if (from_end) return {ctx.create(Slice{.x = x, .axis = axis, .start = first, .end = last, .step = 1})};  // whose size is known best so
  const Dim end = r.count == 0 ? r.start : Dim::min(size, r.start + (r.count - 1) * step + 1);
  return {ctx.create(Slice{.x = x, .axis = axis, .start = r.start, .end = end, .step = step})};
}

Imported select_scatter(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  const int64_t axis = ctx.axis_of("dim", x);
  const Dim size = ctx.shape(x)[axis];
  Dim index = ctx.size("index");
  if (index < Dim(0) - size || index >= size)
    ctx.fail("select-out-of-range", fmt::format("index {} is out of range on axis {} of {}", index, axis, ctx.type(x).to_string()));
  if (index < 0) index += size;
  return {ctx.create(
      SliceScatter{.x = x, .source = unsqueeze_at(ctx, ctx.tensor("src"), axis), .axis = axis, .start = index, .end = index + 1, .step = 1})};
}
Imported slice_scatter(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(SliceScatter{.x = x,
                                  .source = ctx.tensor("src"),
                                  .axis = ctx.integer_or("dim", 0),
                                  .start = ctx.size_or("start", 0),
                                  .end = ctx.size_or("end", INT64_MAX),
                                  .step = ctx.integer_or("step", 1)})};
}

/// v with the sizes of `shape`. Where only the run can tell whether it has them, it fails unless it has.
Value fit_to(ImportContext& ctx, Value v, const Shape& shape) {
  const int64_t lead = shape.rank() - ctx.rank(v);
  const auto measured = [&](const Dim& size) { return greatest(size, ctx.builder.graph().symbols.all()) != size; };
  for (int64_t axis = std::max<int64_t>(0, -lead); axis < ctx.rank(v); ++axis) {
    const Dim own = ctx.shape(v)[axis], wanted = shape[lead + axis];
    const bool differ = Dim::surely_less(own, wanted) || Dim::surely_less(wanted, own);
    if (own == wanted || own == 1 || differ || (!measured(own) && !measured(wanted))) continue;
    const Value same = ctx.create(Eq{size_number(ctx, own), size_number(ctx, wanted)});
    ctx.builder.create_all(Check{same, fmt::format("{}: what is written has not as many elements as it is written to", ctx.op)});
    v = ctx.create(Grow{v, wanted, axis});
  }
  return expand_to(ctx, v, shape);
}

/// aten::copy_(self, src) and fill_: a new value of self from another.
Imported copy(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const std::string_view source = ctx.has("src") ? "src" : "other";
  if (ctx.is_number(source)) return {ctx.create(Full{ctx.shape(x).dims(), ctx.scalar(source), ctx.type(x).dtype})};
  return {fit_to(ctx, cast_to(ctx, ctx.tensor(source), ctx.type(x).dtype), Shape(ctx.shape(x)))};
}
Imported fill(ImportContext& ctx) {
  const TensorType t = ctx.type(ctx.tensor("self"));
  if (ctx.is_number("value")) return {ctx.create(Full{.shape = t.shape.dims(), .value = ctx.scalar("value"), .dtype = t.dtype})};
  return {expand_to(ctx, cast_to(ctx, ctx.tensor("value"), t.dtype), t.shape)};
}
Imported zero(ImportContext& ctx) {
  const TensorType t = ctx.type(ctx.tensor("self"));
  return {ctx.create(Full{.shape = t.shape.dims(), .value = Scalar(0), .dtype = t.dtype})};
}

Imported roll(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const std::vector<int64_t> axes = ctx.ints("dims"), shifts = ctx.ints("shifts");
  if (!axes.empty()) {
    std::vector<int64_t> normal;
    for (int64_t a : axes) normal.push_back(ctx.normal_axis(a, ctx.rank(x)));
    return {ctx.create(Roll{x, Ints(shifts), Ints(normal)})};
  }
  const std::vector<Dim> sizes = ctx.shape(x).dims();
  return {reshape_to(ctx, ctx.create(Roll{reshape_to(ctx, x, {ctx.shape(x).elements()}), Ints(shifts), Ints{0}}), sizes)};
}
Imported rot90(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  const std::vector<int64_t> axes = ctx.ints("dims", 2);
  const int64_t a = ctx.normal_axis(axes[0], ctx.rank(x)), b = ctx.normal_axis(axes[1], ctx.rank(x)), k = ((ctx.integer_or("k", 1) % 4) + 4) % 4;
  if (k == 2) return {ctx.create(Flip{x, Ints{a, b}})};
  if (k == 1) return {swap_axes(ctx, ctx.create(Flip{x, Ints{b}}), a, b)};
  if (k == 3) return {ctx.create(Flip{swap_axes(ctx, x, a, b), Ints{b}})};
  return {x};
}

Imported meshgrid(ImportContext& ctx) {
  std::vector<Value> list = ctx.tensors("tensors");
  const bool xy = ctx.text_or("indexing", "ij") == "xy";
  if (xy && list.size() > 1) std::swap(list[0], list[1]);
  std::vector<Dim> sizes;
  for (Value v : list) sizes.push_back(ctx.shape(v).elements());
  for (size_t i = 0; i < list.size(); ++i) {
    std::vector<Dim> line(list.size(), Dim(1));
    line[i] = sizes[i];
    list[i] = expand_to(ctx, reshape_to(ctx, list[i], line), Shape(sizes));
  }
  if (xy && list.size() > 1) std::swap(list[0], list[1]);
  return {Values(list)};
}

/// [..., C r r, H, W] to [..., C, H r, W r], or back.
Imported pixel_shuffle(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const Shape s = ctx.shape(x);
  const int64_t r = ctx.integer("upscale_factor");
  if (s.rank() < 3 || r < 1 || s[-3] % (r * r) != 0) ctx.fail("pixel-shuffle", fmt::format("factor {} does not fit {}", r, ctx.type(x).to_string()));
  const int64_t n = s.rank() - 3;
  const Dim c = s[-3] / (r * r), h = s[-2], w = s[-1];
  std::vector<Dim> apart(s.dims().begin(), s.dims().begin() + n), merged = apart;
  std::vector<int64_t> axes(static_cast<size_t>(n));
  apart.insert(apart.end(), {c, r, r, h, w});
  std::iota(axes.begin(), axes.end(), 0);
  axes.insert(axes.end(), {n, n + 3, n + 1, n + 4, n + 2});
  merged.insert(merged.end(), {c, h * r, w * r});
  return {reshape_to(ctx, permute_to(ctx, reshape_to(ctx, x, apart), axes), merged)};
}
Imported pixel_unshuffle(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const Shape s = ctx.shape(x);
  const int64_t r = ctx.integer("downscale_factor");
  if (s.rank() < 3 || r < 1 || s[-2] % r != 0 || s[-1] % r != 0)
    ctx.fail("pixel-shuffle", fmt::format("factor {} does not fit {}", r, ctx.type(x).to_string()));
  const int64_t n = s.rank() - 3;
  const Dim c = s[-3], h = s[-2] / r, w = s[-1] / r;
  std::vector<Dim> apart(s.dims().begin(), s.dims().begin() + n), merged = apart;
  std::vector<int64_t> axes(static_cast<size_t>(n));
  apart.insert(apart.end(), {c, h, r, w, r});
  std::iota(axes.begin(), axes.end(), 0);
  axes.insert(axes.end(), {n, n + 2, n + 4, n + 1, n + 3});
  merged.insert(merged.end(), {c * r * r, h, w});
  return {reshape_to(ctx, permute_to(ctx, reshape_to(ctx, x, apart), axes), merged)};
}
Imported channel_shuffle(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const std::vector<Dim> sizes = ctx.shape(x).dims();
  const int64_t groups = ctx.integer("groups");
  if (sizes.size() < 3 || groups < 1 || sizes[1] % groups != 0)
    ctx.fail("channel-shuffle", fmt::format("{} groups do not fit {}", groups, ctx.type(x).to_string()));
  std::vector<Dim> apart = sizes;
  apart[1] = groups;
  apart.insert(apart.begin() + 2, sizes[1] / groups);
  return {reshape_to(ctx, swap_axes(ctx, reshape_to(ctx, x, apart), 1, 2), sizes)};
}

/// torch's list of amounts: last axis first, before and after each.
struct Amounts {
  Dims before, after;
  bool none = true;
};
Amounts amounts(ImportContext& ctx, Value x, const std::vector<Dim>& list) {
  const int64_t rank = ctx.rank(x);
  if (list.size() % 2 || static_cast<int64_t>(list.size()) > 2 * rank)
    ctx.fail("pad-amount", fmt::format("{} amounts do not fit {}", list.size(), ctx.type(x).to_string()));
  Amounts a{Dims(std::vector<Dim>(static_cast<size_t>(rank))), Dims(std::vector<Dim>(static_cast<size_t>(rank)))};
  for (size_t i = 0; i < list.size() / 2; ++i) {
    a.before.items[rank - 1 - i] = list[2 * i];
    a.after.items[rank - 1 - i] = list[2 * i + 1];
    a.none = a.none && list[2 * i] == 0 && list[2 * i + 1] == 0;
  }
  return a;
}
Imported pad(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const std::string mode = ctx.text_or("mode", "constant");
  const Amounts a = amounts(ctx, x, ctx.sizes("pad"));
  if (a.none) return {x};
  if (mode == "constant") return {ctx.create(Pad{x, a.before, a.after, ctx.real_or("value", 0)})};
  if (mode == "reflect") return {ctx.create(ReflectionPad{x, a.before, a.after})};
  if (mode == "replicate") return {ctx.create(ReplicationPad{x, a.before, a.after})};
  if (mode == "circular") return {ctx.create(CircularPad{x, a.before, a.after})};
  ctx.fail("pad-mode", fmt::format("mode `{}` is not one of constant, reflect, replicate, circular", mode));
}
template <Op T> Imported pad_with(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const Amounts a = amounts(ctx, x, ctx.sizes("padding"));
  return {ctx.create(T{x, a.before, a.after})};
}

Imported unfold(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  require_axes(ctx, x);
  return {ctx.create(Unfold{.x = x, .axis = ctx.axis_of("dimension", x), .size = ctx.integer("size"), .step = ctx.integer("step"), .dilation = 1})};
}
/// Windows of an image as columns: [N, C, H, W] to [N, C kh kw, L].
Imported im2col(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  const bool batched = ctx.rank(x) == 4;
  if (!batched) x = unsqueeze_at(ctx, x, 0);
  const std::vector<int64_t> k = ctx.ints("kernel_size", 2), dilation = ctx.ints("dilation", 2), padding = ctx.ints("padding", 2),
                             stride = ctx.ints("stride", 2);
  if (padding[0] || padding[1]) x = ctx.create(Pad{x, Ints{0, 0, padding[0], padding[1]}, Ints{0, 0, padding[0], padding[1]}, 0});
  x = ctx.create(Unfold{.x = x, .axis = 2, .size = k[0], .step = stride[0], .dilation = dilation[0]});
  x = ctx.create(Unfold{.x = x, .axis = 3, .size = k[1], .step = stride[1], .dilation = dilation[1]});
  const Shape s = ctx.shape(x);  // [N, C, rows, columns, kh, kw]
  x = reshape_to(ctx, permute_to(ctx, x, {0, 1, 4, 5, 2, 3}), {s[0], s[1] * k[0] * k[1], s[2] * s[3]});
  return {batched ? x : squeeze_at(ctx, x, 0)};
}

/// Columns added up to an image: the transpose of im2col.
Imported col2im(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  const bool is_batched = ctx.rank(x) == 3;
  if (!is_batched) x = unsqueeze_at(ctx, x, 0);
  std::vector<Dim> out = ctx.sizes("output_size");
  if (out.size() == 1) out.push_back(out[0]);
  if (out.size() != 2) ctx.fail("import-argument", "argument `output_size` must have 2 numbers");
  const std::vector<int64_t> k = ctx.ints("kernel_size", 2), dilation = ctx.ints("dilation", 2), padding = ctx.ints("padding", 2),
                             stride = ctx.ints("stride", 2);
  Dim windows[2], padded[2];
  for (int i = 0; i < 2; ++i) {
    padded[i] = out[i] + 2 * padding[i];
    windows[i] = (padded[i] - dilation[i] * (k[i] - 1) - 1) / std::max<int64_t>(stride[i], 1) + 1;
  }
  const Shape s = ctx.shape(x);
  if (s.rank() != 3 || s[1] % (k[0] * k[1]) != 0 || s[2] != windows[0] * windows[1])
    ctx.fail("col2im-shape", fmt::format("{} does not hold the windows of a {}x{} output", ctx.type(ctx.tensor("self")).to_string(), out[0], out[1]));
  x = permute_to(ctx, reshape_to(ctx, x, {s[0], s[1] / (k[0] * k[1]), k[0], k[1], windows[0], windows[1]}), {0, 1, 4, 5, 2, 3});
  x = ctx.create(OverlapAdd{.x = x, .axis = 3, .size = padded[1], .step = stride[1], .dilation = dilation[1]});
  x = ctx.create(OverlapAdd{.x = x, .axis = 2, .size = padded[0], .step = stride[0], .dilation = dilation[0]});
  if (padding[0] || padding[1]) x = ctx.create(Pad{x, Ints{0, 0, -padding[0], -padding[1]}, Ints{0, 0, -padding[0], -padding[1]}, 0});
  return {is_batched ? x : squeeze_at(ctx, x, 0)};
}

Imported diff(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (ctx.integer_or("n", 1) != 1 || ctx.has("prepend") || ctx.has("append"))
    ctx.unsupported("unsupported-argument", "only the first difference, without prepend and append, is supported");
  require_axes(ctx, x);
  const int64_t axis = ctx.normal_axis(ctx.integer_or("dim", -1), ctx.rank(x));
  const Dim n = ctx.shape(x)[axis];
  const Value later = part(ctx, x, axis, Dim::min(1, n), Dim::max(0, n - 1)), earlier = part(ctx, x, axis, 0, Dim::max(0, n - 1));
  if (is_bool(ctx.type(x).dtype)) return {ctx.create(LogicalXor{later, earlier})};
  return {ctx.create(Sub{later, earlier})};
}

Imported diag_embed(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t rank = ctx.rank(x);
  if (ctx.integer_or("offset", ctx.integer_or("diagonal", 0)) || ctx.integer_or("dim1", -2) != -2 || ctx.integer_or("dim2", -1) != -1 || !rank)
    ctx.unsupported("unsupported-argument", "only the main diagonal of the last two axes is supported");
  std::vector<Dim> sizes = ctx.shape(x).dims();
  const Dim n = sizes.back();
  sizes.push_back(n);
  const Value wide = expand_to(ctx, unsqueeze_at(ctx, x, rank), Shape(sizes));
  return {ctx.create(Tril{.x = ctx.create(Triu{.x = wide, .diagonal = 0, .fill = 0}), .diagonal = 0, .fill = 0})};
}
Imported diag(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (ctx.rank(x) == 1) return diag_embed(ctx);
  return {ctx.create(Diagonal{.x = x, .offset = ctx.integer_or("diagonal", 0), .axis1 = 0, .axis2 = 1})};
}

constexpr ImportEntry entries[] = {
    {"aten::contiguous", same},
    {"aten::clone", same},
    {"aten::detach", same},
    {"aten::alias", same},
    {"aten::lift", same},
    {"aten::lift_fresh", same},
    {"aten::lift_fresh_copy", same},
    {"aten::detach_copy", same},
    {"aten::requires_grad", same},
    {"aten::resolve_conj", same},
    {"aten::resolve_neg", same},
    {"aten::cpu", same},
    {"aten::cuda", same},
    {"aten::data", same},
    {"prim::data", same},
    {"aten::dropout", dropout},
    {"aten::feature_dropout", dropout},
    {"aten::alpha_dropout", dropout},
    {"aten::feature_alpha_dropout", dropout},
    {"aten::native_dropout", dropout},
    {"aten::view", reshape},
    {"aten::view.dtype", view_dtype},
    {"aten::_unsafe_view", reshape},
    {"aten::reshape", reshape},
    {"aten::view_as", reshape_as},
    {"aten::reshape_as", reshape_as},
    {"aten::flatten", flatten},
    {"aten::ravel", flatten},
    {"aten::unflatten", unflatten},
    {"aten::squeeze", squeeze},
    {"aten::unsqueeze", unsqueeze},
    {"aten::transpose", transpose},
    {"aten::swapaxes", transpose},
    {"aten::swapdims", transpose},
    {"aten::t", t},
    {"aten::numpy_T", reversed},
    {"aten::mT", matrix_transpose},
    {"aten::adjoint", matrix_transpose},
    {"aten::permute", permute},
    {"aten::movedim", movedim},
    {"aten::moveaxis", movedim},
    {"aten::expand", expand},
    {"aten::broadcast_to", expand},
    {"aten::expand_as", expand_as},
    {"aten::broadcast_tensors", broadcast_tensors},
    {"aten::repeat", repeat},
    {"aten::tile", tile},
    {"aten::repeat_interleave.self_int", repeat_interleave},
    {"aten::cat", cat},
    {"aten::concat", cat},
    {"aten::concatenate", cat},
    {"aten::stack", stack},
    {"aten::hstack", hstack},
    {"aten::vstack", vstack},
    {"aten::split", split},
    {"aten::split_with_sizes", split},
    {"aten::unsafe_split", split},
    {"aten::unsafe_split_with_sizes", split},
    {"aten::chunk", chunk},
    {"aten::unsafe_chunk", chunk},
    {"aten::tensor_split", tensor_split},
    {"aten::select", select},
    {"aten::unbind", unbind},
    {"aten::narrow", narrow},
    {"aten::slice", slice},
    {"aten::select_scatter", select_scatter},
    {"aten::slice_scatter", slice_scatter},
    {"aten::copy", copy},
    {"aten::fill", fill},
    {"aten::zero", zero},
    {"aten::roll", roll},
    {"aten::rot90", rot90},
    {"aten::meshgrid", meshgrid},
    {"aten::pixel_shuffle", pixel_shuffle},
    {"aten::pixel_unshuffle", pixel_unshuffle},
    {"aten::channel_shuffle", channel_shuffle},
    {"aten::native_channel_shuffle", channel_shuffle},
    {"aten::pad", pad},
    {"aten::constant_pad_nd", pad},
    {"aten::reflection_pad1d", pad_with<ReflectionPad>},
    {"aten::reflection_pad2d", pad_with<ReflectionPad>},
    {"aten::reflection_pad3d", pad_with<ReflectionPad>},
    {"aten::replication_pad1d", pad_with<ReplicationPad>},
    {"aten::replication_pad2d", pad_with<ReplicationPad>},
    {"aten::replication_pad3d", pad_with<ReplicationPad>},
    {"aten::unfold", unfold},
    {"aten::im2col", im2col},
    {"aten::col2im", col2im},
    {"aten::diff", diff},
    {"aten::diag_embed", diag_embed},
    {"aten::diag", diag},
};

}  // namespace

std::span<const ImportEntry> import_view() { return entries; }

}  // namespace mica
