#pragma once
// Reductions along axes, which disappear or (keepdim) become 1. An empty list of axes reduces nothing: importers write out "all axes".
// Floats are accumulated in their working dtype, f32 for f16 and bf16.
#include "mica/ops/rules.h"

namespace mica {

Result<TensorType> infer_reduction(const Infer& ctx, Value x, const Ints& axes, bool keepdim, DType dtype);
/// Where the reduced operand is read for the result's indices: reduced axes by fresh variables.
struct ReductionIndex {
  std::vector<Expr> where, vars;
  Dim count = 1;  ///< elements that go into one result
};
ReductionIndex reduction_index(const Define& d, Value x, const Ints& axes, bool keepdim);
/// make_reduce, or the body itself where nothing is reduced.
Expr reduce_over(ReduceOp op, const ReductionIndex& at, Expr body);
/// The dtype of a sum: bool and narrow integers are summed in i64.
constexpr DType sum_dtype(DType t) { return is_float(t) ? t : DType::i64; }

/// The dtype of any and all: u8 keeps its own, since PyTorch's first masks were u8.
constexpr DType truth_dtype(DType t) { return t == DType::u8 ? t : DType::b8; }

/// Bodies that are longer than a line.
Expr define_extremum(Define& d, Value x, const Ints& axes, bool keepdim, ReduceOp op);
Expr define_var(Define& d, Value x, const Ints& axes, double correction, bool keepdim);
Expr define_logsumexp(Define& d, Value x, const Ints& axes, bool keepdim);
Expr define_arg_extremum(Define& d, Value x, int64_t axis, bool keepdim, ReduceOp op);
/// True when an axis of size 0 is reduced.
bool reduces_nothing(const Infer& ctx, Value x, const Ints& axes);

/// Sum over `axes`. Integers and bool are summed in i64.
struct Sum {
  static constexpr OpSpec spec = {
      .signature = "sum(x, axes, keepdim)",
      .samples = {"x=f32[4, 7], axes=[1]", "x=f32[2, 3, 5], axes=[0, 2], keepdim=true", "x=f16[1, 1024], axes=[-1]", "x=f32[3, 0], axes=[1]",
                  "x=f32[], axes=[]", "x=f32[3, 4], axes=[0, 1]", "x=i64[4, 5] in -9..9, axes=[0]", "x=bool[4, 3], axes=[0]"}};
  Value x;
  Ints axes;
  bool keepdim = false;
  static Result<TensorType> infer(const Sum& op, const Infer& ctx) {
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, sum_dtype(ctx.type(op.x).dtype));
  }
  static Expr define(const Sum& op, Define& d) {
    const DType t = d.result_type().dtype;
    const ReductionIndex at = reduction_index(d, op.x, op.axes, op.keepdim);
    return convert(t, reduce_over(ReduceOp::sum, at, convert(working(t), d.at(op.x, at.where))));
  }
};

/// Sum over `axes` divided by the number of elements; NaN for none.
struct Mean {
  static constexpr OpSpec spec = {.signature = "mean(x, axes, keepdim)",
                                  .samples = {"x=f32[4, 7], axes=[1]", "x=f32[2, 3, 5], axes=[0, 2], keepdim=true", "x=f16[1, 1024], axes=[-1]",
                                              "x=f32[3, 0], axes=[1]", "x=f32[], axes=[]", "x=f32[3, 4], axes=[0, 1]"}};
  Value x;
  Ints axes;
  bool keepdim = false;
  static Result<TensorType> infer(const Mean& op, const Infer& ctx) {
    if (!require_float(ctx, op.x)) return Failure{};
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, ctx.type(op.x).dtype);
  }
  static Expr define(const Mean& op, Define& d) {
    const DType t = d.result_type().dtype;
    const ReductionIndex at = reduction_index(d, op.x, op.axes, op.keepdim);
    const Expr sum = reduce_over(ReduceOp::sum, at, convert(working(t), d.at(op.x, at.where)));
    return convert(t, sum / count_in(sum->type.dtype, at.count));
  }
};

/// Product over `axes`. Integers and bool are multiplied in i64.
struct Prod {
  static constexpr OpSpec spec = {
      .signature = "prod(x, axes, keepdim)",
      .samples = {"x=f32[4, 7], axes=[1]", "x=f32[2, 3], axes=[0], keepdim=true", "x=i64[4, 3] in -3..4, axes=[0]", "x=f32[3, 0], axes=[1]"}};
  Value x;
  Ints axes;
  bool keepdim = false;
  static Result<TensorType> infer(const Prod& op, const Infer& ctx) {
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, sum_dtype(ctx.type(op.x).dtype));
  }
  static Expr define(const Prod& op, Define& d) {
    const DType t = d.result_type().dtype;
    const ReductionIndex at = reduction_index(d, op.x, op.axes, op.keepdim);
    return convert(t, reduce_over(ReduceOp::prod, at, convert(working(t), d.at(op.x, at.where))));
  }
};

/// Greatest element over `axes`; a NaN gives NaN.
struct Amax {
  static constexpr OpSpec spec = {.signature = "amax(x, axes, keepdim)",
                                  .samples = {"x=f32[4, 7], axes=[1]", "x=f32[2, 3, 5], axes=[0, 2], keepdim=true", "x=i64[4, 5] in -9..9, axes=[0]",
                                              "x=f16[2, 9], axes=[-1]", "x=bool[3, 2], axes=[0]", "x=f32[], axes=[]"}};
  Value x;
  Ints axes;
  bool keepdim = false;
  static Result<TensorType> infer(const Amax& op, const Infer& ctx) {
    if (reduces_nothing(ctx, op.x, op.axes))
      return ctx.error("reduce-empty", "{} has no elements along the reduced axes, and no greatest one", ctx.type(op.x).to_string());
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, ctx.type(op.x).dtype);
  }
  static Expr define(const Amax& op, Define& d) { return define_extremum(d, op.x, op.axes, op.keepdim, ReduceOp::max); }
};

/// Least element over `axes`; a NaN gives NaN.
struct Amin {
  static constexpr OpSpec spec = {.signature = "amin(x, axes, keepdim)",
                                  .samples = {"x=f32[4, 7], axes=[1]", "x=f32[2, 3, 5], axes=[0, 2], keepdim=true", "x=i64[4, 5] in -9..9, axes=[0]",
                                              "x=f16[2, 9], axes=[-1]", "x=bool[3, 2], axes=[0]", "x=f32[], axes=[]"}};
  Value x;
  Ints axes;
  bool keepdim = false;
  static Result<TensorType> infer(const Amin& op, const Infer& ctx) {
    if (reduces_nothing(ctx, op.x, op.axes))
      return ctx.error("reduce-empty", "{} has no elements along the reduced axes, and no least one", ctx.type(op.x).to_string());
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, ctx.type(op.x).dtype);
  }
  static Expr define(const Amin& op, Define& d) { return define_extremum(d, op.x, op.axes, op.keepdim, ReduceOp::min); }
};

/// Some element over `axes` is nonzero.
struct Any {
  static constexpr OpSpec spec = {.signature = "any(x, axes, keepdim)",
                                  .samples = {"x=bool[4, 7], axes=[1]", "x=i64[5, 2] in 0..2, axes=[0], keepdim=true", "x=f32[3], axes=[0]",
                                              "x=bool[0], axes=[0]", "x=u8[3, 2], axes=[1]"}};
  Value x;
  Ints axes;
  bool keepdim = false;
  static Result<TensorType> infer(const Any& op, const Infer& ctx) {
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, truth_dtype(ctx.type(op.x).dtype));
  }
  static Expr define(const Any& op, Define& d) {
    const ReductionIndex at = reduction_index(d, op.x, op.axes, op.keepdim);
    return convert(d.result_type().dtype, reduce_over(ReduceOp::any, at, convert(DType::b8, d.at(op.x, at.where))));
  }
};

/// Every element over `axes` is nonzero.
struct All {
  static constexpr OpSpec spec = {.signature = "all(x, axes, keepdim)",
                                  .samples = {"x=bool[4, 7], axes=[1]", "x=i64[5, 2] in 0..2, axes=[0], keepdim=true", "x=f32[3], axes=[0]",
                                              "x=bool[0], axes=[0]", "x=u8[3, 2], axes=[1]"}};
  Value x;
  Ints axes;
  bool keepdim = false;
  static Result<TensorType> infer(const All& op, const Infer& ctx) {
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, truth_dtype(ctx.type(op.x).dtype));
  }
  static Expr define(const All& op, Define& d) {
    const ReductionIndex at = reduction_index(d, op.x, op.axes, op.keepdim);
    return convert(d.result_type().dtype, reduce_over(ReduceOp::all, at, convert(DType::b8, d.at(op.x, at.where))));
  }
};

/// Sum of squared distances from the mean over `axes`, divided by count - correction (by 0 where that is negative). The mean is computed first.
struct Var {
  static constexpr OpSpec spec = {.signature = "var(x, axes, correction, keepdim)",
                                  .samples = {"x=f32[4, 7], axes=[1]", "x=f32[2, 3, 5], axes=[0, 2], correction=0, keepdim=true",
                                              "x=f16[1, 256], axes=[-1]", "x=f32[1], axes=[0]", "x=f64[5], axes=[0], correction=2"}};
  Value x;
  Ints axes;
  double correction = 1;
  bool keepdim = false;
  static Result<TensorType> infer(const Var& op, const Infer& ctx) {
    if (!require_float(ctx, op.x)) return Failure{};
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, ctx.type(op.x).dtype);
  }
  static Expr define(const Var& op, Define& d) { return define_var(d, op.x, op.axes, op.correction, op.keepdim); }
};

/// log of the sum of exp(x) over `axes`, with the maximum taken out first.
struct LogSumExp {
  static constexpr OpSpec spec = {.signature = "logsumexp(x, axes, keepdim)",
                                  .samples = {"x=f32[4, 7], axes=[1]", "x=f32[2, 3, 5], axes=[0, 2], keepdim=true", "x=f16[1, 100], axes=[-1]",
                                              "x=f32[4] in 500..600, axes=[0]"}};
  Value x;
  Ints axes;
  bool keepdim = false;
  static Result<TensorType> infer(const LogSumExp& op, const Infer& ctx) {
    if (!require_float(ctx, op.x)) return Failure{};
    return infer_reduction(ctx, op.x, op.axes, op.keepdim, ctx.type(op.x).dtype);
  }
  static Expr define(const LogSumExp& op, Define& d) { return define_logsumexp(d, op.x, op.axes, op.keepdim); }
};

/// Index of the first greatest element along `axis`; the first NaN counts as the greatest.
struct Argmax {
  static constexpr OpSpec spec = {
      .signature = "argmax(x, axis, keepdim)",
      .samples = {"x=f32[4, 7], axis=1", "x=f32[2, 3, 5], axis=0, keepdim=true", "x=i64[6] in 0..3, axis=0", "x=f32[], axis=0"}};
  Value x;
  int64_t axis = -1;
  bool keepdim = false;
  static Result<TensorType> infer(const Argmax& op, const Infer& ctx) {
    if (reduces_nothing(ctx, op.x, Ints{op.axis}))
      return ctx.error("reduce-empty", "{} has no elements along axis {}", ctx.type(op.x).to_string(), op.axis);
    return infer_reduction(ctx, op.x, Ints{op.axis}, op.keepdim, DType::i64);
  }
  static Expr define(const Argmax& op, Define& d) { return define_arg_extremum(d, op.x, op.axis, op.keepdim, ReduceOp::max); }
};

/// Index of the first least element along `axis`; the first NaN counts as the least.
struct Argmin {
  static constexpr OpSpec spec = {
      .signature = "argmin(x, axis, keepdim)",
      .samples = {"x=f32[4, 7], axis=1", "x=f32[2, 3, 5], axis=0, keepdim=true", "x=i64[6] in 0..3, axis=0", "x=f32[], axis=0"}};
  Value x;
  int64_t axis = -1;
  bool keepdim = false;
  static Result<TensorType> infer(const Argmin& op, const Infer& ctx) {
    if (reduces_nothing(ctx, op.x, Ints{op.axis}))
      return ctx.error("reduce-empty", "{} has no elements along axis {}", ctx.type(op.x).to_string(), op.axis);
    return infer_reduction(ctx, op.x, Ints{op.axis}, op.keepdim, DType::i64);
  }
  static Expr define(const Argmin& op, Define& d) { return define_arg_extremum(d, op.x, op.axis, op.keepdim, ReduceOp::min); }
};

using ReduceOps = OpList<Sum, Mean, Prod, Amax, Amin, Any, All, Var, LogSumExp, Argmax, Argmin>;

}  // namespace mica
