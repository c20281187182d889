// Reductions as TorchScript spells them.
#include <cmath>

#include "import_families.h"
#include "mica/ops/compare.h"
#include "mica/ops/index.h"
#include "mica/ops/math.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/reduce.h"
#include "mica/ops/scan.h"

namespace mica {

namespace {

Value input(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const auto dtype = ctx.dtype("dtype");
  return dtype ? cast_to(ctx, x, *dtype) : x;
}

/// sum(), sum(dim), sum(dim, keepdim, dtype): the axes are written out.
template <Op T> Imported reduction(ImportContext& ctx) {
  const Value x = input(ctx);
  T op{};
  op.x = x;
  op.axes = Ints(ctx.axes_of("dim", x));
  op.keepdim = ctx.boolean_or("keepdim", false);
  const auto dtype = ctx.dtype("dtype");
  const Value y = ctx.create(op);
  return {dtype ? cast_to(ctx, y, *dtype) : y};
}

/// any and all give bool, but u8 for u8.
template <Op T> Imported truth(ImportContext& ctx) {
  const Value y = std::get<Value>(reduction<T>(ctx)[0]);
  return {ctx.type(ctx.tensor("self")).dtype == DType::u8 ? cast_to(ctx, y, DType::u8) : y};
}
Imported logsumexp(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  if (!is_float(ctx.type(x).dtype)) x = cast_to(ctx, x, DType::f32);
  return {ctx.create(LogSumExp{x, Ints(ctx.axes_of("dim", x)), ctx.boolean_or("keepdim", false)})};
}
/// Sums what is no NaN and divides by how many there are.
Imported nanmean(ImportContext& ctx) {
  const Value x = input(ctx);
  const DType t = ctx.type(x).dtype;
  if (!is_float(t)) ctx.fail("needs-float", fmt::format("takes a floating-point tensor, not {}", ctx.type(x).to_string()));
  const Ints axes(ctx.axes_of("dim", x));
  const bool keepdim = ctx.boolean_or("keepdim", false);
  const Value nan = ctx.create(Isnan{x}), wide = cast_to(ctx, x, working(t));
  const Value sum = ctx.create(Sum{ctx.create(Where{nan, constant(ctx, working(t), Scalar(0)), wide}), axes, keepdim});
  const Value count = ctx.create(Sum{ctx.create(LogicalNot{nan}), axes, keepdim});
  return {cast_to(ctx, ctx.create(Div{sum, cast_to(ctx, count, working(t))}), t)};
}

double correction(ImportContext& ctx) {
  if (ctx.has("correction")) return ctx.real("correction");
  return ctx.boolean_or("unbiased", true) ? 1 : 0;
}
Value variance(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return ctx.create(Var{.x = x, .axes = Ints(ctx.axes_of("dim", x)), .correction = correction(ctx), .keepdim = ctx.boolean_or("keepdim", false)});
}
Imported var(ImportContext& ctx) { return {variance(ctx)}; }
Imported std_deviation(ImportContext& ctx) { return {ctx.create(Sqrt{variance(ctx)})}; }
Imported var_mean(ImportContext& ctx) { return {variance(ctx), reduction<Mean>(ctx)[0]}; }
Imported std_mean(ImportContext& ctx) { return {ctx.create(Sqrt{variance(ctx)}), reduction<Mean>(ctx)[0]}; }

/// max(x), or max(x, dim) with the values and where they are.
template <Op Extremum, Op Arg> Imported extremum(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (!ctx.has("dim")) return {ctx.create(Extremum{x, Ints(ctx.axes_of("dim", x)), false})};
  const int64_t axis = ctx.axis_of("dim", x);
  const bool keepdim = ctx.boolean_or("keepdim", false);
  const Ints axes = ctx.rank(x) ? Ints{axis} : Ints{};
  return {ctx.create(Extremum{x, axes, keepdim}), ctx.create(Arg{x, axis, keepdim})};
}
Imported aminmax(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  const Ints axes(ctx.axes_of("dim", x));
  const bool keepdim = ctx.boolean_or("keepdim", false);
  return {ctx.create(Amin{x, axes, keepdim}), ctx.create(Amax{x, axes, keepdim})};
}
template <Op Arg> Imported arg_extremum(ImportContext& ctx) {
  Value x = ctx.tensor("self");
  if (ctx.has("dim")) return {ctx.create(Arg{x, ctx.axis_of("dim", x), ctx.boolean_or("keepdim", false)})};
  const int64_t rank = ctx.rank(x);
  x = reshape_to(ctx, x, {ctx.shape(x).elements()});
  const Value y = ctx.create(Arg{x, 0, false});
  return {ctx.boolean_or("keepdim", false) ? reshape_to(ctx, y, std::vector<int64_t>(static_cast<size_t>(rank), 1)) : y};
}

template <Op Scan> Imported scan(ImportContext& ctx) {
  const Value x = input(ctx);
  const auto dtype = ctx.dtype("dtype");
  const Value y = ctx.create(Scan{x, ctx.axis_of("dim", x)});
  return {dtype ? cast_to(ctx, y, *dtype) : y};
}

/// The p-norm over axes: (sum of |x|^p)^(1/p), with the limits at 0 and infinity.
Value vector_norm(ImportContext& ctx, Value x, double p, const Ints& axes, bool keepdim) {
  if (!is_float(ctx.type(x).dtype)) ctx.fail("needs-float", fmt::format("takes a floating-point tensor, not {}", ctx.type(x).to_string()));
  const DType t = ctx.type(x).dtype;
  // Squares of f16 overflow early: everything up to the result is f32.
  x = cast_to(ctx, x, working(t));
  const auto sum = [&](Value v) { return ctx.create(Sum{v, axes, keepdim}); };
  Value y;
  if (p == 2) y = ctx.create(Sqrt{sum(ctx.create(Mul{x, x}))});
  else if (p == 1) y = sum(ctx.create(Abs{x}));
  else if (p == 0) y = sum(cast_to(ctx, ctx.create(Ne{x, number(ctx, Scalar(0.0), x)}), ctx.type(x).dtype));
  else if (std::isinf(p)) y = p > 0 ? ctx.create(Amax{ctx.create(Abs{x}), axes, keepdim}) : ctx.create(Amin{ctx.create(Abs{x}), axes, keepdim});
  else {
    const Value powers = sum(ctx.create(Pow{ctx.create(Abs{x}), number(ctx, Scalar(p), x)}));
    y = ctx.create(Pow{powers, constant(ctx, ctx.type(powers).dtype, Scalar(1 / p))});
  }
  return cast_to(ctx, y, t);
}
double order(ImportContext& ctx, std::string_view name) {
  if (!std::holds_alternative<std::string>(ctx.arg(name))) return ctx.real_or(name, 2);
  const std::string text = ctx.text(name);
  if (text == "fro") return 2;
  if (text == "inf") return HUGE_VAL;
  ctx.unsupported("norm-order", fmt::format("order `{}` is not supported", text));
}
Imported norm(ImportContext& ctx) {
  const Value x = input(ctx);
  return {vector_norm(ctx, x, order(ctx, "p"), Ints(ctx.axes_of("dim", x)), ctx.boolean_or("keepdim", false))};
}
Imported linalg_vector_norm(ImportContext& ctx) {
  const Value x = input(ctx);
  return {vector_norm(ctx, x, order(ctx, "ord"), Ints(ctx.axes_of("dim", x)), ctx.boolean_or("keepdim", false))};
}
Imported linalg_norm(ImportContext& ctx) {
  const Value x = input(ctx);
  const std::vector<int64_t> axes = ctx.axes_of("dim", x);
  // An order over two axes is a matrix norm, of which only Frobenius's is a vector norm.
  const bool matrix = ctx.has("ord") && axes.size() == 2 && !std::holds_alternative<std::string>(ctx.arg("ord"));
  if (matrix) ctx.unsupported("norm-order", "matrix norms other than Frobenius's are not supported");
  return {vector_norm(ctx, x, order(ctx, "ord"), Ints(axes), ctx.boolean_or("keepdim", false))};
}
/// torch.nn.functional.normalize when scripted, and the like: x / max(norm, eps).
Imported frobenius_norm(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {vector_norm(ctx, x, 2, Ints(ctx.axes_of("dim", x)), ctx.boolean_or("keepdim", false))};
}

/// ||x1 - x2 + eps||_p along the last axis.
Imported pairwise_distance(ImportContext& ctx) {
  const Value a = ctx.tensor("x1"),
              difference = ctx.create(Add{ctx.create(Sub{a, ctx.tensor("x2")}), number(ctx, Scalar(ctx.real_or("eps", 1e-6)), a)});
  return {vector_norm(ctx, difference, ctx.real_or("p", 2), Ints{ctx.rank(difference) - 1}, ctx.boolean_or("keepdim", false))};
}
Imported dist(ImportContext& ctx) {
  const Value difference = ctx.create(Sub{ctx.tensor("self"), ctx.tensor("other")});
  return {vector_norm(ctx, difference, ctx.real_or("p", 2), Ints(ctx.axes_of("", difference)), false)};
}
/// Distances of all pairs: x1 [..., m, d], x2 [..., n, d] to [..., m, n].
Imported cdist(ImportContext& ctx) {
  const Value a = ctx.tensor("x1"), b = ctx.tensor("x2");
  if (ctx.rank(a) < 2 || ctx.rank(b) < 2) ctx.fail("needs-matrix", "takes tensors of rank 2 or more");
  const Value difference = ctx.create(Sub{unsqueeze_at(ctx, a, ctx.rank(a) - 1), unsqueeze_at(ctx, b, ctx.rank(b) - 2)});
  return {vector_norm(ctx, difference, ctx.real_or("p", 2), Ints{ctx.rank(difference) - 1}, false)};
}
/// The sum of products of what each operand is over its own norm, as torch has it: norms may be too small to be multiplied in a 16-bit dtype. Along
/// the axis both have the size that they broadcast to before norms are taken.
Imported cosine_similarity(ImportContext& ctx) {
  const Value a = ctx.tensor("x1"), b = ctx.tensor("x2"), both = ctx.create(Mul{a, b});
  const DType dtype = ctx.type(both).dtype;
  if (!is_float(dtype)) ctx.fail("needs-float", fmt::format("takes floating-point tensors, not {}", ctx.type(a).to_string()));
  const int64_t rank = ctx.rank(both), axis = ctx.normal_axis(ctx.integer_or("dim", 1), rank);
  const double eps = ctx.real_or("eps", 1e-8);
  const auto over_norm = [&](Value v) {
    if (!is_float(ctx.type(v).dtype)) v = cast_to(ctx, v, dtype);
    while (ctx.rank(v) < rank) v = unsqueeze_at(ctx, v, 0);
    std::vector<Dim> sizes = ctx.shape(v).dims();
    if (rank) sizes[axis] = ctx.shape(both)[axis];
    v = expand_to(ctx, v, Shape(std::move(sizes)));
    return ctx.create(Div{v, ctx.create(Clamp{.x = vector_norm(ctx, v, 2, Ints{axis}, true), .low = eps})});
  };
  return {ctx.create(Sum{ctx.create(Mul{over_norm(a), over_norm(b)}), Ints{axis}, false})};
}
Imported nansum(ImportContext& ctx) {
  const Value x = input(ctx);
  const Value clean = is_float(ctx.type(x).dtype) ? ctx.create(Where{ctx.create(Isnan{x}), constant(ctx, ctx.type(x).dtype, Scalar(0)), x}) : x;
  return {ctx.create(Sum{clean, Ints(ctx.axes_of("dim", x)), ctx.boolean_or("keepdim", false)})};
}

Imported count_nonzero(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  return {ctx.create(Sum{ctx.create(Cast{x, DType::b8}), Ints(ctx.axes_of("dim", x)), false})};
}

Imported weight_norm(ImportContext& ctx) {
  const Value v = ctx.tensor("v"), g = ctx.tensor("g");
  const int64_t kept = ctx.axis_of("dim", v);
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < ctx.rank(v); ++i) {
    if (i != kept) axes.push_back(i);
  }
  return {ctx.create(Mul{v, ctx.create(Div{g, vector_norm(ctx, v, 2, Ints(axes), true)})})};
}

}  // namespace

std::span<const ImportEntry> import_reduce() {
  static constexpr ImportEntry entries[] = {
      {"aten::sum", reduction<Sum>},
      {"aten::mean", reduction<Mean>},
      {"aten::prod", reduction<Prod>},
      {"aten::amax", reduction<Amax>},
      {"aten::amin", reduction<Amin>},
      {"aten::any", truth<Any>},
      {"aten::all", truth<All>},
      {"aten::logsumexp", logsumexp},
      {"aten::nanmean", nanmean},
      {"aten::var", var},
      {"aten::std", std_deviation},
      {"aten::var_mean", var_mean},
      {"aten::std_mean", std_mean},
      {"aten::max", extremum<Amax, Argmax>},
      {"aten::min", extremum<Amin, Argmin>},
      {"aten::aminmax", aminmax},
      {"aten::argmax", arg_extremum<Argmax>},
      {"aten::argmin", arg_extremum<Argmin>},
      {"aten::cumsum", scan<Cumsum>},
      {"aten::cumprod", scan<Cumprod>},
      {"aten::norm", norm},
      {"aten::linalg_vector_norm", linalg_vector_norm},
      {"aten::linalg_norm", linalg_norm},
      {"aten::frobenius_norm", frobenius_norm},
      {"aten::count_nonzero", count_nonzero},
      {"aten::pairwise_distance", pairwise_distance},
      {"aten::dist", dist},
      {"aten::cdist", cdist},
      {"aten::_cdist_forward", cdist},
      {"aten::cosine_similarity", cosine_similarity},
      {"aten::nansum", nansum},
      {"aten::_weight_norm", weight_norm},
  };
  return entries;
}

}  // namespace mica
