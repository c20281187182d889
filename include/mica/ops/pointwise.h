#pragma once
// Pointwise arithmetic: result element i is computed from element i of the operands, broadcast from the right. Integers wrap.
// f16 and bf16 are computed in f32 and rounded once. Types follow torch's promotion (ops/rules.h).
#include "mica/ops/rules.h"

namespace mica {

inline constexpr Trait pointwise_trait = Trait::pure | Trait::pointwise;

/// x + y; on bool: logical or.
struct Add {
  static constexpr OpSpec spec = {.signature = "add(x, y)",
                                  .samples = {"x=f32[4, 7], y=f32[4, 7]", "x=f32[2, 1, 5], y=f32[3, 1]", "x=i64[3], y=f32[]", "x=f16[5], y=f16[5]",
                                              "x=u8[4], y=i8[4]", "x=bool[4], y=bool[4]", "x=f32[0, 3], y=f32[3]", "x=i32[3], y=i32[]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Add& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Add& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return is_bool(x->type.dtype) ? x || y : x + y; });
  }
};

/// x - y. Not for bool, as in torch.
struct Sub {
  static constexpr OpSpec spec = {
      .signature = "sub(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=i64[3], y=i64[3]", "x=f32[], y=f32[3]", "x=bf16[5], y=f32[]", "x=u8[4], y=u8[4]"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Sub& op, const Infer& ctx) {
    if (is_bool(ctx.type(op.x).dtype) && is_bool(ctx.type(op.y).dtype))
      return ctx.error("sub-on-bool", "bool tensors cannot be subtracted; use logical_xor");
    return infer_promoted(ctx, {op.x, op.y});
  }
  static Expr define(const Sub& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return x - y; });
  }
};

/// x * y; on bool: logical and.
struct Mul {
  static constexpr OpSpec spec = {.signature = "mul(x, y)",
                                  .samples = {"x=f32[4, 7], y=f32[4, 7]", "x=f32[2, 3, 1], y=f32[5]", "x=i32[3], y=i64[3]", "x=f16[5], y=f32[]",
                                              "x=bool[4], y=bool[4]", "x=f32[0], y=f32[1]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Mul& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Mul& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return is_bool(x->type.dtype) ? x && y : x * y; });
  }
};

/// x / y, true division: integers give f32.
struct Div {
  static constexpr OpSpec spec = {
      .signature = "div(x, y)",
      .samples = {"x=f32[4, 7], y=f32[4, 7] in 0.5..2", "x=i64[5], y=i64[5] in 1..9", "x=f16[2, 3], y=f32[]", "x=f32[], y=f32[3] in 1..2"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Div& op, const Infer& ctx) { return infer_promoted_float(ctx, {op.x, op.y}); }
  static Expr define(const Div& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return x / y; });
  }
};

/// x / y rounded towards minus infinity, as Python's //. On floats: (x - mod(x, y)) / y, rounded to the nearest integer.
/// An integer divisor of 0 is a fault.
struct FloorDivide {
  static constexpr OpSpec spec = {.signature = "floor_divide(x, y)",
                                  .samples = {"x=f32[4, 7], y=f32[4, 7] in 0.5..2", "x=i64[8] in -20..20, y=i64[8] in 1..9",
                                              "x=i32[8] in -20..20, y=i32[8] in -9..-1", "x=f32[6], y=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const FloorDivide& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const FloorDivide& op, Define& d);
};

/// x / y rounded towards zero. An integer divisor of 0 is a fault.
struct TruncDivide {
  static constexpr OpSpec spec = {
      .signature = "trunc_divide(x, y)",
      .samples = {"x=f32[4, 7], y=f32[4, 7] in 0.5..2", "x=i64[8] in -20..20, y=i64[8] in 1..9", "x=i32[8] in -20..20, y=i32[8] in -9..-1"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const TruncDivide& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const TruncDivide& op, Define& d);
};

/// Python's x % y: the sign of y. An integer divisor of 0 is a fault.
struct Remainder {
  static constexpr OpSpec spec = {.signature = "remainder(x, y)",
                                  .samples = {"x=f32[4, 7], y=f32[4, 7] in 0.5..2", "x=i64[8] in -20..20, y=i64[8] in 1..9",
                                              "x=i32[8] in -20..20, y=i32[8] in -9..-1", "x=f32[9] in -3..3, y=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Remainder& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Remainder& op, Define& d);
};

/// C's fmod: the sign of x. An integer divisor of 0 is a fault.
struct Fmod {
  static constexpr OpSpec spec = {
      .signature = "fmod(x, y)",
      .samples = {"x=f32[4, 7], y=f32[4, 7] in 0.5..2", "x=i64[8] in -20..20, y=i64[8] in 1..9", "x=i32[8] in -20..20, y=i32[8] in -9..-1"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Fmod& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Fmod& op, Define& d);
};

/// x to the power y. Integers wrap; to a negative power they are 0, but for 1 and -1.
struct Pow {
  static constexpr OpSpec spec = {.signature = "pow(x, y)",
                                  .samples = {"x=f32[4, 7] in 0.1..3, y=f32[4, 7]", "x=f32[5], y=f32[] in 2..3", "x=i64[6] in 0..5, y=i64[6] in 0..4",
                                              "x=i64[9] in -9..9, y=i64[9] in 40..70", "x=i32[9] in -2..3, y=i32[9] in -4..4",
                                              "x=u8[5], y=i8[5] in 3..9", "x=f32[] in 1..2, y=f32[5]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Pow& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Pow& op, Define& d) {
    const DType result = d.result_type().dtype, w = is_bool(result) ? DType::i64 : working(result);
    return convert(result, pow(load(d, w, op.x), load(d, w, op.y)));
  }
};

/// The angle of the point (y, x).
struct Atan2 {
  static constexpr OpSpec spec = {.signature = "atan2(y, x)",
                                  .torch = "aten::atan2(self=y, other=x)",
                                  .samples = {"y=f32[4, 7], x=f32[4, 7]", "y=f32[3, 1], x=f32[5]", "y=i64[3], x=i64[3]"},
                                  .traits = pointwise_trait};
  Value y;
  Value x;
  static Result<TensorType> infer(const Atan2& op, const Infer& ctx) { return infer_promoted_float(ctx, {op.y, op.x}); }
  static Expr define(const Atan2& op, Define& d) {
    return define_binary(d, op.y, op.x, [](Expr y, Expr x) { return make_binary(ExprOp::atan2, y, x); });
  }
};

/// The smaller of two; a NaN on either side gives NaN.
struct Minimum {
  static constexpr OpSpec spec = {.signature = "minimum(x, y)",
                                  .samples = {"x=f32[4, 7], y=f32[4, 7]", "x=i64[5], y=i64[]", "x=f16[2, 1], y=f16[3]", "x=bool[4], y=bool[4]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Minimum& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Minimum& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return is_bool(x->type.dtype) ? x && y : min_nan(x, y); });
  }
};

/// The greater of two; a NaN on either side gives NaN.
struct Maximum {
  static constexpr OpSpec spec = {.signature = "maximum(x, y)",
                                  .samples = {"x=f32[4, 7], y=f32[4, 7]", "x=i64[5], y=i64[]", "x=f16[2, 1], y=f16[3]", "x=bool[4], y=bool[4]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Maximum& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.y}); }
  static Expr define(const Maximum& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return is_bool(x->type.dtype) ? x || y : max_nan(x, y); });
  }
};

/// -x
struct Neg {
  static constexpr OpSpec spec = {
      .signature = "neg(x)", .torch = "aten::neg(self=x)", .samples = {"x=f32[4, 7]", "x=i64[5]", "x=u8[3]", "x=f16[]"}, .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Neg& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Neg& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return -x; });
  }
};

/// |x|
struct Abs {
  static constexpr OpSpec spec = {.signature = "abs(x)",
                                  .torch = "aten::abs(self=x); aten::absolute(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=i64[5]", "x=u8[3]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Abs& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Abs& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return is_signed(x->type.dtype) ? abs(x) : x; });
  }
};

/// -1, 0 or 1; NaN gives 0, as in torch.
struct Sign {
  static constexpr OpSpec spec = {.signature = "sign(x)",
                                  .torch = "aten::sign(self=x); aten::sgn(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=i64[5]", "x=u8[3]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Sign& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Sign& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) {
      if (is_bool(x->type.dtype)) return x;
      const Expr zero = like(x, 0);
      return select(x > zero, like(x, 1), is_signed(x->type.dtype) ? select(x < zero, like(x, -1), zero) : zero);
    });
  }
};

/// 1 / x
struct Reciprocal {
  static constexpr OpSpec spec = {.signature = "reciprocal(x)",
                                  .torch = "aten::reciprocal(self=x)",
                                  .samples = {"x=f32[4, 7] in 0.5..2", "x=i64[5] in 1..9", "x=f16[3] in 1..2"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Reciprocal& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Reciprocal& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return like(x, 1) / x; });
  }
};

/// Square root; NaN for negative numbers.
struct Sqrt {
  static constexpr OpSpec spec = {.signature = "sqrt(x)",
                                  .torch = "aten::sqrt(self=x)",
                                  .samples = {"x=f32[4, 7] in 0..9", "x=f32[5]", "x=i64[5] in 0..9"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Sqrt& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Sqrt& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return sqrt(x); });
  }
};

/// 1 / sqrt(x)
struct Rsqrt {
  static constexpr OpSpec spec = {.signature = "rsqrt(x)",
                                  .torch = "aten::rsqrt(self=x)",
                                  .samples = {"x=f32[4, 7] in 0.1..9", "x=f16[5] in 0.5..2", "x=i64[3] in 1..9"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Rsqrt& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Rsqrt& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return like(x, 1) / sqrt(x); });
  }
};

/// Greatest integer not above x.
struct Floor {
  static constexpr OpSpec spec = {
      .signature = "floor(x)", .torch = "aten::floor(self=x)", .samples = {"x=f32[4, 7] in -9..9", "x=i64[5]"}, .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Floor& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Floor& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return is_float(x->type.dtype) ? floor(x) : x; });
  }
};

/// Least integer not below x.
struct Ceil {
  static constexpr OpSpec spec = {
      .signature = "ceil(x)", .torch = "aten::ceil(self=x)", .samples = {"x=f32[4, 7] in -9..9", "x=i64[5]"}, .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Ceil& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Ceil& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return is_float(x->type.dtype) ? make_unary(ExprOp::ceil, x) : x; });
  }
};

/// Nearest integer; halves go to the even one.
struct Round {
  static constexpr OpSpec spec = {
      .signature = "round(x)", .torch = "aten::round(self=x)", .samples = {"x=f32[4, 7] in -9..9", "x=i64[5]"}, .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Round& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Round& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return is_float(x->type.dtype) ? make_unary(ExprOp::round, x) : x; });
  }
};

/// x without its fraction.
struct Trunc {
  static constexpr OpSpec spec = {.signature = "trunc(x)",
                                  .torch = "aten::trunc(self=x); aten::fix(self=x)",
                                  .samples = {"x=f32[4, 7] in -9..9", "x=i64[5]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Trunc& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Trunc& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return is_float(x->type.dtype) ? make_unary(ExprOp::trunc, x) : x; });
  }
};

/// Keeps x between low and high; a NaN stays NaN. An infinite bound is none. For integers the bounds are integers.
struct Clamp {
  static constexpr OpSpec spec = {
      .signature = "clamp(x, low, high)",
      .samples = {"x=f32[4, 7], low=-0.5, high=0.5", "x=f32[5], low=0.25", "x=i64[5] in -9..9, low=-3, high=3", "x=f16[4], high=1"},
      .traits = pointwise_trait};
  Value x;
  double low = -__builtin_inf();
  double high = __builtin_inf();
  static Result<TensorType> infer(const Clamp& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Clamp& op, Define& d) {
    return define_unary(d, op.x, [&](Expr x) {
      // The bound stands first: min and max give their second operand where a comparison is unordered, so NaN survives.
      if (op.low != -__builtin_inf()) x = max(like(x, op.low), x);
      if (op.high != __builtin_inf()) x = min(like(x, op.high), x);
      return x;
    });
  }
};

using PointwiseOps = OpList<Add, Sub, Mul, Div, FloorDivide, TruncDivide, Remainder, Fmod, Pow, Atan2, Minimum, Maximum, Neg, Abs, Sign, Reciprocal,
                            Sqrt, Rsqrt, Floor, Ceil, Round, Trunc, Clamp>;

}  // namespace mica
