// Operators that PyTorch itself defines by others: stacking, products, distances, and reads by indices that are known while compiling.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "import_families.h"
#include "mica/ops/activation.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/matmul.h"
#include "mica/ops/reduce.h"
#include "mica/ops/sort.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

std::vector<Dim> sizes_of(ImportContext& ctx, Value v) { return ctx.shape(v).dims(); }
std::vector<int64_t> all_axes(int64_t rank) {
  std::vector<int64_t> axes(static_cast<size_t>(rank));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}
Value slice_of(ImportContext& ctx, Value x, int64_t axis, const Dim& start, const Dim& end) {
  return ctx.create(Slice{.x = x, .axis = axis, .start = start, .end = end, .step = 1});
}

/// The numbers of a constant integer tensor; absent when they depend on the inputs.
std::optional<std::vector<int64_t>> constant_ints(ImportContext& ctx, Value v) {
  const Graph& graph = ctx.builder.graph();
  if (!graph.is_constant(v) || is_float(ctx.type(v).dtype)) return std::nullopt;
  const auto size = static_cast<size_t>(size_of(ctx.type(v).dtype));
  const auto bytes = graph.constant(v).bytes;
  std::vector<int64_t> out;
  for (size_t i = 0; i + size <= bytes.size(); i += size) {
    int64_t n = 0;
    std::memcpy(&n, bytes.data() + i, size);
    const int64_t shift = 64 - 8 * static_cast<int64_t>(size);
    out.push_back(is_signed(ctx.type(v).dtype) ? static_cast<int64_t>(static_cast<uint64_t>(n) << shift) >> shift : n);
  }
  return out;
}

// ---- stacking ----

/// At least two axes: a vector is a row. At least three: a row is a plane of depth 1.
Value at_least(ImportContext& ctx, Value v, int64_t rank) {
  std::vector<Dim> sizes = sizes_of(ctx, v);
  if (sizes.empty()) sizes.emplace_back(1);
  if (rank >= 2 && sizes.size() == 1) sizes.insert(sizes.begin(), Dim(1));
  if (rank >= 3 && sizes.size() == 2) sizes.emplace_back(1);
  return reshape_to(ctx, v, sizes);
}
template <int64_t rank> Imported atleast(ImportContext& ctx) {
  if (ctx.is_tensor("self")) return {at_least(ctx, ctx.tensor("self"), rank)};
  std::vector<Value> out;
  for (const Value v : ctx.tensors("tensors")) out.push_back(at_least(ctx, v, rank));
  return {Values(out)};
}
Value joined(ImportContext& ctx, const std::vector<Value>& parts, int64_t axis) {
  std::vector<TensorType> types;
  for (const Value v : parts) types.push_back(ctx.type(v));
  std::vector<Value> cast;
  for (const Value v : parts) cast.push_back(cast_to(ctx, v, promote_types(types)));
  return ctx.create(Cat{Values(cast), axis});
}
Imported dstack(ImportContext& ctx) {
  std::vector<Value> parts;
  for (const Value v : ctx.tensors("tensors")) parts.push_back(at_least(ctx, v, 3));
  return {joined(ctx, parts, 2)};
}
Imported column_stack(ImportContext& ctx) {
  std::vector<Value> parts;
  for (const Value v : ctx.tensors("tensors")) parts.push_back(ctx.rank(v) < 2 ? reshape_to(ctx, v, {ctx.shape(v).elements(), 1}) : v);
  return {joined(ctx, parts, 1)};
}
Imported block_diag(ImportContext& ctx) {
  std::vector<Value> blocks, rows;
  Dim width = 0, before = 0;
  for (const Value v : ctx.tensors("tensors")) blocks.push_back(at_least(ctx, v, 2));
  for (const Value v : blocks) width += ctx.shape(v)[1];
  for (const Value v : blocks) {
    const Dim own = ctx.shape(v)[1];
    rows.push_back(ctx.create(Pad{.x = v, .before = {0, before}, .after = {0, width - before - own}, .value = 0}));
    before += own;
  }
  return {joined(ctx, rows, 0)};
}
template <int64_t axis> Imported split_along(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t a = axis == 1 && ctx.rank(x) == 1 ? 0 : axis;
  if (ctx.rank(x) <= a) ctx.fail("axis-out-of-range", fmt::format("{} has no axis {}", ctx.type(x).to_string(), a));
  const Dim n = ctx.shape(x)[a];
  std::vector<Dim> cuts = {0};
  if (ctx.has("sections")) {
    const int64_t sections = ctx.integer("sections");
    if (sections < 1 || n % sections != 0)
      ctx.fail("split-sections", fmt::format("axis {} of {} has no {} equal parts", a, ctx.type(x).to_string(), sections));
    for (int64_t i = 1; i < sections; ++i) cuts.push_back(n / sections * i);
  } else {
    for (const Dim& i : ctx.sizes("indices")) cuts.push_back(Dim::min(Dim::max(i < 0 ? i + n : i, 0), n));
  }
  cuts.push_back(n);
  std::vector<Value> parts;
  for (size_t i = 1; i < cuts.size(); ++i) parts.push_back(slice_of(ctx, x, a, cuts[i - 1], Dim::max(cuts[i], cuts[i - 1])));
  return {Values(parts)};
}
template <int64_t axis> Imported flip_axis(ImportContext& ctx) { return {ctx.create(Flip{ctx.tensor("self"), Ints{axis}})}; }

// ---- products ----

Imported inner(ImportContext& ctx) {
  const Value a = ctx.tensor("self"), b = ctx.tensor("other");
  if (!ctx.rank(a) || !ctx.rank(b)) return {ctx.create(Mul{a, b})};
  // [..., k] and [... , k]: every row with every row.
  const Dim k = ctx.shape(a)[-1];
  std::vector<Dim> sizes = sizes_of(ctx, a), rest = sizes_of(ctx, b);
  sizes.pop_back();
  rest.pop_back();
  const Dim n = std::accumulate(rest.begin(), rest.end(), Dim(1), std::multiplies<>());
  const Value rows = reshape_to(ctx, a, {ctx.shape(a).elements() / Dim::max(k, 1), k}), columns = reshape_to(ctx, b, {n, k});
  sizes.insert(sizes.end(), rest.begin(), rest.end());
  return {reshape_to(ctx, ctx.create(Matmul{rows, swap_axes(ctx, columns, 0, 1)}), sizes)};
}
Imported tensordot(ImportContext& ctx) {
  const Value a = ctx.tensor("self"), b = ctx.tensor("other");
  const std::vector<int64_t> da = ctx.ints("dims_self"), db = ctx.ints("dims_other");
  std::vector<int64_t> order_a, order_b;
  std::vector<Dim> sizes;
  Dim m = 1, n = 1, k = 1;
  const auto normal = [&](const std::vector<int64_t>& dims, Value v) {
    std::vector<int64_t> out;
    for (const int64_t d : dims) out.push_back(ctx.normal_axis(d, ctx.rank(v)));
    return out;
  };
  const std::vector<int64_t> ca = normal(da, a), cb = normal(db, b);
  for (const int64_t axis : all_axes(ctx.rank(a))) {
    if (std::ranges::find(ca, axis) != ca.end()) continue;
    order_a.push_back(axis);
    sizes.push_back(ctx.shape(a)[axis]);
    m *= sizes.back();
  }
  for (const int64_t axis : ca) order_a.push_back(axis), k *= ctx.shape(a)[axis];
  order_b = cb;
  for (const int64_t axis : all_axes(ctx.rank(b))) {
    if (std::ranges::find(cb, axis) != cb.end()) continue;
    order_b.push_back(axis);
    sizes.push_back(ctx.shape(b)[axis]);
    n *= sizes.back();
  }
  if (ca.size() != cb.size() || k * n != ctx.shape(b).elements())
    ctx.fail("tensordot-sizes", fmt::format("the axes of {} and {} do not agree", ctx.type(a).to_string(), ctx.type(b).to_string()));
  const Value left = reshape_to(ctx, permute_to(ctx, a, order_a), {m, k}), right = reshape_to(ctx, permute_to(ctx, b, order_b), {k, n});
  return {reshape_to(ctx, ctx.create(Matmul{left, right}), sizes)};
}
Imported vecdot(ImportContext& ctx) {
  const Value product = ctx.create(Mul{ctx.tensor("x"), ctx.tensor("y")});
  return {ctx.create(Sum{product, Ints{ctx.normal_axis(ctx.integer_or("dim", -1), ctx.rank(product))}, false})};
}
Imported addr(ImportContext& ctx) {
  const Value self = ctx.tensor("self"), a = ctx.tensor("vec1"), b = ctx.tensor("vec2");
  Value product = ctx.create(Mul{unsqueeze_at(ctx, a, 1), b});
  if (ctx.real_or("alpha", 1) != 1) product = ctx.create(Mul{product, number(ctx, ctx.scalar("alpha"), product)});
  if (ctx.real_or("beta", 1) == 0) return {product};
  return {ctx.create(Add{ctx.real_or("beta", 1) == 1 ? self : ctx.create(Mul{self, number(ctx, ctx.scalar("beta"), self)}), product})};
}
Imported kron(ImportContext& ctx) {
  const Value a = ctx.tensor("self"), b = ctx.tensor("other");
  const int64_t rank = std::max(ctx.rank(a), ctx.rank(b));
  std::vector<Dim> sa(static_cast<size_t>(rank - ctx.rank(a)), Dim(1)), sb(static_cast<size_t>(rank - ctx.rank(b)), Dim(1)), wide_a, wide_b, sizes;
  for (const Dim& n : sizes_of(ctx, a)) sa.push_back(n);
  for (const Dim& n : sizes_of(ctx, b)) sb.push_back(n);
  for (int64_t i = 0; i < rank; ++i) {
    wide_a.insert(wide_a.end(), {sa[i], 1});
    wide_b.insert(wide_b.end(), {1, sb[i]});
    sizes.push_back(sa[i] * sb[i]);
  }
  return {reshape_to(ctx, ctx.create(Mul{reshape_to(ctx, a, wide_a), reshape_to(ctx, b, wide_b)}), sizes)};
}
/// y[..., o] = x1[..., i] w[o, i, j] x2[..., j] + b[o]
Imported bilinear(ImportContext& ctx) {
  const Value a = ctx.tensor("input1"), b = ctx.tensor("input2"), w = ctx.tensor("weight");
  const Shape s = ctx.shape(w);
  if (s.rank() != 3 || ctx.shape(a)[-1] != s[1] || ctx.shape(b)[-1] != s[2])
    ctx.fail("bilinear-sizes",
             fmt::format("weight {} does not fit {} and {}", ctx.type(w).to_string(), ctx.type(a).to_string(), ctx.type(b).to_string()));
  const Dim n = ctx.shape(a).elements() / s[1];
  const Value left = ctx.create(Matmul{reshape_to(ctx, a, {n, s[1]}), reshape_to(ctx, permute_to(ctx, w, {1, 0, 2}), {s[1], s[0] * s[2]})});
  const Value product = ctx.create(Mul{reshape_to(ctx, left, {n, s[0], s[2]}), reshape_to(ctx, b, {n, 1, s[2]})});
  Value y = ctx.create(Sum{product, Ints{2}, false});
  if (ctx.has("bias")) y = ctx.create(Add{y, ctx.tensor("bias")});
  std::vector<Dim> sizes = sizes_of(ctx, a);
  sizes.back() = s[0];
  return {reshape_to(ctx, y, sizes)};
}
Imported trace(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(Sum{ctx.create(Diagonal{.x = x, .offset = 0, .axis1 = 0, .axis2 = 1}), Ints{0}, false})};
}

// ---- reads and writes by known indices ----

/// Each element as often as `repeats` says, which must be known: the size of the result hangs on it.
Imported repeat_interleave(ImportContext& ctx) {
  const bool alone = !ctx.has("self");
  const Value counts = ctx.tensor("repeats");
  const auto repeats = constant_ints(ctx, counts);
  if (!repeats) ctx.unsupported("data-dependent-size", "has a result whose size depends on the values of `repeats`");
  Value x = alone ? Value() : ctx.tensor("self");
  if (!alone && !ctx.has("dim")) x = reshape_to(ctx, x, {ctx.shape(x).elements()});
  const int64_t axis = alone ? 0 : ctx.normal_axis(ctx.integer_or("dim", 0), ctx.rank(x));
  const int64_t n = alone ? static_cast<int64_t>(repeats->size()) : ctx.shape(x)[axis].size();
  if (static_cast<int64_t>(repeats->size()) != n && repeats->size() != 1)
    ctx.fail("repeat-count", fmt::format("{} counts are given for {} elements", repeats->size(), n));
  std::vector<int64_t> from;
  for (int64_t i = 0; i < n; ++i) from.insert(from.end(), static_cast<size_t>(std::max<int64_t>(0, (*repeats)[repeats->size() == 1 ? 0 : i])), i);
  const Value index = ctx.builder.constant_ints(from);
  return {alone ? index : ctx.create(IndexSelect{x, axis, index})};
}

/// Elements of x by their number in row-major order; negative ones count from the end.
Imported take(ImportContext& ctx) {
  const Value x = ctx.tensor("self"), index = ctx.tensor("index");
  return {ctx.create(Index{reshape_to(ctx, x, {ctx.shape(x).elements()}), Values({index}), Ints{0}})};
}

/// Elements at offset + i * strides in memory, in which x lies row-major: whoever imports has made sure of that.
Imported as_strided(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  const std::vector<int64_t> sizes = ctx.ints("size"), strides = ctx.ints("stride");
  const int64_t offset = ctx.integer_or("storage_offset", 0), total = ctx.shape(x).elements();
  if (sizes.size() != strides.size()) ctx.fail("as-strided", fmt::format("{} sizes are given and {} strides", sizes.size(), strides.size()));
  const int64_t count = std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
  if (count > (int64_t{1} << 24)) ctx.unsupported("as-strided", fmt::format("{} elements are too many to list their places", count));
  std::vector<int64_t> from = {offset};
  for (size_t a = 0; a < sizes.size(); ++a) {
    std::vector<int64_t> next;
    for (const int64_t at : from)
      for (int64_t i = 0; i < sizes[a]; ++i) next.push_back(at + i * strides[a]);
    from = std::move(next);
  }
  for (const int64_t at : from)
    if (at < 0 || at >= total) ctx.fail("as-strided", fmt::format("reads element {} of a tensor of {}", at, total));
  return {reshape_to(ctx, ctx.create(IndexSelect{reshape_to(ctx, x, {total}), 0, ctx.builder.constant_ints(from)}), sizes)};
}

/// Sums, means or maxima of rows of the weight, a bag each; where bags begin must be known.
Imported embedding_bag(ImportContext& ctx) {
  const Value weight = ctx.tensor("weight");
  Value indices = ctx.tensor("indices");
  if (ctx.has("padding_idx")) ctx.unsupported("unsupported-argument", "argument `padding_idx` is not supported");
  const auto starts = constant_ints(ctx, ctx.tensor("offsets"));
  if (!starts) ctx.unsupported("data-dependent-size", "the bags' offsets must be known when compiling");
  const int64_t n = ctx.shape(indices).elements(), mode = ctx.integer_or("mode", 0), width = ctx.shape(weight)[1];
  Value rows = ctx.create(Embedding{weight, indices});
  if (ctx.has("per_sample_weights")) rows = ctx.create(Mul{rows, unsqueeze_at(ctx, ctx.tensor("per_sample_weights"), 1)});
  const size_t bags = starts->size() - (ctx.boolean_or("include_last_offset", false) ? 1 : 0);
  std::vector<Value> out;
  for (size_t i = 0; i < bags; ++i) {
    const int64_t first = (*starts)[i], last = i + 1 < starts->size() ? (*starts)[i + 1] : n;
    if (first < 0 || last < first || last > n) ctx.fail("embedding-bag-offsets", "the offsets do not rise from 0 to the number of indices");
    const Value bag = slice_of(ctx, rows, 0, first, last);
    if (first == last) out.push_back(ctx.create(Full{Ints{1, width}, Scalar(0), ctx.type(rows).dtype}));
    else if (mode == 0) out.push_back(ctx.create(Sum{bag, Ints{0}, true}));
    else if (mode == 1) out.push_back(ctx.create(Mean{bag, Ints{0}, true}));
    else out.push_back(ctx.create(Amax{bag, Ints{0}, true}));
  }
  if (out.empty()) return {ctx.create(Full{Ints{0, width}, Scalar(0), ctx.type(rows).dtype}), std::monostate{}, std::monostate{}, std::monostate{}};
  return {ctx.create(Cat{Values(out), 0}), std::monostate{}, std::monostate{}, std::monostate{}};
}

// ---- norms ----

/// x with each slice along the axis shrunk to a p-norm of at most `maxnorm`.
Imported renorm(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const int64_t kept = ctx.axis_of("dim", x);
  if (ctx.real("p") != 2) ctx.unsupported("norm-order", "only p = 2 is supported");
  std::vector<int64_t> axes = all_axes(ctx.rank(x));
  axes.erase(axes.begin() + kept);
  const double limit = ctx.real("maxnorm");
  const Value norm = ctx.create(Sqrt{ctx.create(Sum{ctx.create(Mul{x, x}), Ints(axes), true})});
  const Value shrunk = ctx.create(Div{number(ctx, Scalar(limit), norm), ctx.create(Add{norm, number(ctx, Scalar(1e-7), norm)})});
  const Value factor = ctx.create(Where{ctx.create(Gt{norm, number(ctx, Scalar(limit), norm)}), shrunk, number(ctx, Scalar(1.0), norm)});
  return {ctx.create(Mul{x, cast_to(ctx, factor, ctx.type(x).dtype)})};
}

/// leaky_relu with the mean slope, as rrelu is in evaluation.
Imported rrelu(ImportContext& ctx) {
  if (ctx.boolean_or("training", false))
    ctx.unsupported("dropout-training", "draws slopes at random, as in training; export the model after model.eval()");
  return {ctx.create(LeakyRelu{ctx.tensor("self"), (ctx.real_or("lower", 0.125) + ctx.real_or("upper", 1.0 / 3)) / 2})};
}

/// max over one axis of the sums of |x| along the other.
Imported matrix_norm(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  if (const auto dtype = ctx.dtype("dtype")) x = cast_to(ctx, x, *dtype);
  const std::vector<int64_t> dims = ctx.has("dim") ? ctx.ints("dim") : std::vector<int64_t>{-2, -1};
  if (dims.size() != 2) ctx.fail("norm-axes", "a matrix norm takes two axes");
  const int64_t rows = ctx.normal_axis(dims[0], ctx.rank(x)), columns = ctx.normal_axis(dims[1], ctx.rank(x));
  const bool keepdim = ctx.boolean_or("keepdim", false), frobenius = std::holds_alternative<std::string>(ctx.arg("ord")) && ctx.text("ord") == "fro";
  const Ints both(std::vector<int64_t>{std::min(rows, columns), std::max(rows, columns)});
  if (frobenius) return {ctx.create(Sqrt{ctx.create(Sum{ctx.create(Mul{x, x}), both, keepdim})})};
  const double order = std::holds_alternative<std::string>(ctx.arg("ord")) ? 2 : ctx.real("ord");
  if (std::abs(order) != 1 && !std::isinf(order)) ctx.unsupported("norm-order", "matrix norms by singular values are not supported");
  const int64_t summed = std::isinf(order) ? columns : rows, picked = std::isinf(order) ? rows : columns;
  const Value sums = ctx.create(Sum{ctx.create(Abs{x}), Ints{summed}, true});
  const Value y = order > 0 ? ctx.create(Amax{sums, Ints{picked}, true}) : ctx.create(Amin{sums, Ints{picked}, true});
  if (keepdim) return {y};
  std::vector<Dim> sizes = sizes_of(ctx, y);
  sizes.erase(sizes.begin() + both[1]);
  sizes.erase(sizes.begin() + both[0]);
  return {reshape_to(ctx, y, sizes)};
}

constexpr ImportEntry entries[] = {
    {"aten::atleast_1d", atleast<1>},
    {"aten::atleast_2d", atleast<2>},
    {"aten::atleast_3d", atleast<3>},
    {"aten::dstack", dstack},
    {"aten::column_stack", column_stack},
    {"aten::block_diag", block_diag},
    {"aten::hsplit", split_along<1>},
    {"aten::vsplit", split_along<0>},
    {"aten::dsplit", split_along<2>},
    {"aten::fliplr", flip_axis<1>},
    {"aten::flipud", flip_axis<0>},
    {"aten::inner", inner},
    {"aten::tensordot", tensordot},
    {"aten::linalg_vecdot", vecdot},
    {"aten::addr", addr},
    {"aten::kron", kron},
    {"aten::bilinear", bilinear},
    {"aten::trace", trace},
    {"aten::repeat_interleave.Tensor", repeat_interleave},
    {"aten::repeat_interleave.self_Tensor", repeat_interleave},
    {"aten::take", take},
    {"aten::as_strided", as_strided},
    {"aten::embedding_bag", embedding_bag},
    {"aten::renorm", renorm},
    {"aten::rrelu", rrelu},
    {"aten::linalg_matrix_norm", matrix_norm},
};

}  // namespace

std::span<const ImportEntry> import_compose() { return entries; }

}  // namespace mica
