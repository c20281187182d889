// The different elements of a tensor, or its different rows: once equal ones are neighbours, each that differs from the one before it begins a group.
#include <array>

#include "import_families.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/measure.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/reduce.h"
#include "mica/ops/scan.h"
#include "mica/ops/sort.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

constexpr int64_t most_columns = 64;  ///< of rows that are sorted, column by column

Value counted(ImportContext& ctx, const Dim& n) { return ctx.create(Arange{.count = n, .start = Scalar(0), .step = Scalar(1), .dtype = DType::i64}); }

/// bool[n]: whether an element or row of `sorted` differs from the one before it, as the first does. A NaN differs from every number.
Value begins_group(ImportContext& ctx, Value sorted) {
  const Value place = counted(ctx, ctx.shape(sorted)[0]), zero = constant(ctx, DType::i64, Scalar(0));
  const Value before = ctx.create(Maximum{ctx.create(Sub{place, constant(ctx, DType::i64, Scalar(1))}), zero});
  Value differs = ctx.create(Ne{sorted, ctx.create(IndexSelect{sorted, 0, before})});
  if (ctx.rank(sorted) > 1) differs = ctx.create(Any{.x = differs, .axes = Ints{1}});
  return ctx.create(LogicalOr{differs, ctx.create(Eq{place, zero})});
}

/// The places where the groups of `sorted` begin, the group of each element where it stood before (of shape `shape`), and how large each group is.
/// `order` says where the elements stood; without it they have not been moved.
std::array<Value, 3> groups_of(ImportContext& ctx, Value sorted, OptValue order, Shape shape) {
  const Dim n = ctx.shape(sorted)[0];
  const auto full = [&](int64_t value) { return ctx.create(Full{.shape = Dims{n}, .value = Scalar(value), .dtype = DType::i64}); };
  const Value begins = begins_group(ctx, sorted);
  const Value starts = nonzero_places(ctx, begins);
  const Value group = ctx.create(Sub{ctx.create(Cumsum{begins, 0}), constant(ctx, DType::i64, Scalar(1))});
  Value inverse = group, counts = full(0);
  const Value none = ctx.create(Full{.shape = Dims{Dim(0)}, .value = Scalar(0), .dtype = DType::i64});
  const auto wants = [&](std::string_view what) { return ctx.boolean_or(what, false); };
  if (!wants("return_inverse")) inverse = none;
  else {
    if (order) inverse = ctx.create(Scatter{.x = full(0), .axis = 0, .index = *order, .source = group});
    inverse = reshape_to(ctx, inverse, shape.dims());
  }
  if (!wants("return_counts")) counts = none;
  else {
    counts = ctx.create(Scatter{.x = counts, .axis = 0, .index = group, .source = full(1), .reduce = "sum"});
    counts = ctx.create(Head{counts, ctx.shape(starts)[0]});
  }
  return {starts, inverse, counts};
}

Value line_of(ImportContext& ctx, Value x) { return reshape_to(ctx, x, {ctx.shape(x).elements()}); }

/// The rows along an axis as [n, k].
Value rows_along(ImportContext& ctx, Value x, int64_t axis) {
  std::vector<int64_t> axes = {axis};
  Dim width = 1;
  for (int64_t a = 0; a < ctx.rank(x); ++a)
    if (a != axis) axes.push_back(a), width *= ctx.shape(x)[a];
  return reshape_to(ctx, permute_to(ctx, x, axes), {ctx.shape(x)[axis], width});
}

Imported unique(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const std::vector<Value> sorted = ctx.create_all(Sort{.x = line_of(ctx, x), .axis = 0});
  const auto [starts, inverse, counts] = groups_of(ctx, sorted[0], sorted[1], ctx.shape(x));
  return {ctx.create(IndexSelect{sorted[0], 0, starts}), inverse, counts};
}

Imported unique_consecutive(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (!ctx.has("dim")) {
    const Value line = line_of(ctx, x);
    const auto [starts, inverse, counts] = groups_of(ctx, line, {}, ctx.shape(x));
    return {ctx.create(IndexSelect{line, 0, starts}), inverse, counts};
  }
  const int64_t axis = ctx.axis_of("dim", x);
  const auto [starts, inverse, counts] = groups_of(ctx, rows_along(ctx, x, axis), {}, Shape{ctx.shape(x)[axis]});
  return {ctx.create(IndexSelect{x, axis, starts}), inverse, counts};
}

/// Rows in order of their first elements, then of their second ones: stable sorts from the last column to the first.
Imported unique_dim(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t axis = ctx.axis_of("dim", x);
  const Value rows = rows_along(ctx, x, axis);
  const Dim n = ctx.shape(rows)[0], width = ctx.shape(rows)[1];
  if (!width.is_static() || width > most_columns)
    ctx.unsupported("unique-columns", fmt::format("sorts rows of {} elements; up to {} are supported", width, most_columns));
  Value order = counted(ctx, n);
  for (int64_t column = width.size(); column-- > 0;) {
    const Value place = constant(ctx, DType::i64, Scalar(column));
    const Value keys = ctx.create(IndexSelect{ctx.create(IndexSelect{rows, 1, reshape_to(ctx, place, {1})}), 0, order});
    const std::vector<Value> sorted = ctx.create_all(Sort{.x = line_of(ctx, keys), .axis = 0});
    order = ctx.create(IndexSelect{order, 0, sorted[1]});
  }
  const auto [starts, inverse, counts] = groups_of(ctx, ctx.create(IndexSelect{rows, 0, order}), order, Shape{n});
  return {ctx.create(IndexSelect{x, axis, ctx.create(IndexSelect{order, 0, starts})}), inverse, counts};
}

}  // namespace

std::span<const ImportEntry> import_unique() {
  static constexpr ImportEntry entries[] = {
      {"aten::_unique2", unique},
      {"aten::unique_consecutive", unique_consecutive},
      {"aten::unique_dim", unique_dim},
  };
  return entries;
}

}  // namespace mica
