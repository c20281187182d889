#pragma once
// Comparisons, logic and bits, choices, and conversion between dtypes. Comparisons promote both operands first and give bool.
#include "mica/ops/pointwise.h"

namespace mica {

/// x == y
struct Eq {
  static constexpr OpSpec spec = {
      .signature = "eq(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=i64[6] in 0..3, y=i64[6] in 0..3", "x=i64[5] in -2..2, y=f32[]", "x=bool[4], y=bool[4]"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Eq& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const Eq& op, Define& d) {
    return define_comparison(d, op.x, op.y, [](Expr x, Expr y) { return equal(x, y); });
  }
};

/// x != y
struct Ne {
  static constexpr OpSpec spec = {
      .signature = "ne(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=i64[6] in 0..3, y=i64[6] in 0..3", "x=i64[5] in -2..2, y=f32[]", "x=bool[4], y=bool[4]"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Ne& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const Ne& op, Define& d) {
    return define_comparison(d, op.x, op.y, [](Expr x, Expr y) { return not_equal(x, y); });
  }
};

/// x < y
struct Lt {
  static constexpr OpSpec spec = {
      .signature = "lt(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=i64[6] in 0..3, y=i64[6] in 0..3", "x=i64[5] in -2..2, y=f32[]", "x=bool[4], y=bool[4]"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Lt& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const Lt& op, Define& d) {
    return define_comparison(d, op.x, op.y, [](Expr x, Expr y) { return x < y; });
  }
};

/// x <= y
struct Le {
  static constexpr OpSpec spec = {
      .signature = "le(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=i64[6] in 0..3, y=i64[6] in 0..3", "x=i64[5] in -2..2, y=f32[]", "x=bool[4], y=bool[4]"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Le& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const Le& op, Define& d) {
    return define_comparison(d, op.x, op.y, [](Expr x, Expr y) { return x <= y; });
  }
};

/// x > y
struct Gt {
  static constexpr OpSpec spec = {
      .signature = "gt(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=i64[6] in 0..3, y=i64[6] in 0..3", "x=i64[5] in -2..2, y=f32[]", "x=bool[4], y=bool[4]"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Gt& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const Gt& op, Define& d) {
    return define_comparison(d, op.x, op.y, [](Expr x, Expr y) { return x > y; });
  }
};

/// x >= y
struct Ge {
  static constexpr OpSpec spec = {
      .signature = "ge(x, y)",
      .samples = {"x=f32[4, 7], y=f32[7]", "x=i64[6] in 0..3, y=i64[6] in 0..3", "x=i64[5] in -2..2, y=f32[]", "x=bool[4], y=bool[4]"},
      .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const Ge& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const Ge& op, Define& d) {
    return define_comparison(d, op.x, op.y, [](Expr x, Expr y) { return x >= y; });
  }
};

/// Both are nonzero.
struct LogicalAnd {
  static constexpr OpSpec spec = {.signature = "logical_and(x, y)",
                                  .torch = "aten::logical_and(self=x, other=y)",
                                  .samples = {"x=bool[4, 7], y=bool[7]", "x=i64[6] in 0..2, y=bool[6]", "x=f32[5], y=f32[5]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const LogicalAnd& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const LogicalAnd& op, Define& d) {
    const Expr x = load(d, DType::b8, op.x), y = load(d, DType::b8, op.y);
    return x && y;
  }
};

/// One or both are nonzero.
struct LogicalOr {
  static constexpr OpSpec spec = {.signature = "logical_or(x, y)",
                                  .torch = "aten::logical_or(self=x, other=y)",
                                  .samples = {"x=bool[4, 7], y=bool[7]", "x=i64[6] in 0..2, y=bool[6]", "x=f32[5], y=f32[5]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const LogicalOr& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const LogicalOr& op, Define& d) {
    const Expr x = load(d, DType::b8, op.x), y = load(d, DType::b8, op.y);
    return x || y;
  }
};

/// Exactly one is nonzero.
struct LogicalXor {
  static constexpr OpSpec spec = {.signature = "logical_xor(x, y)",
                                  .torch = "aten::logical_xor(self=x, other=y)",
                                  .samples = {"x=bool[4, 7], y=bool[7]", "x=i64[6] in 0..2, y=bool[6]", "x=f32[5], y=f32[5]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const LogicalXor& op, const Infer& ctx) { return infer_comparison(ctx, {op.x, op.y}); }
  static Expr define(const LogicalXor& op, Define& d) {
    const Expr x = load(d, DType::b8, op.x), y = load(d, DType::b8, op.y);
    return make_binary(ExprOp::ne, x, y);
  }
};

/// x is zero.
struct LogicalNot {
  static constexpr OpSpec spec = {.signature = "logical_not(x)",
                                  .torch = "aten::logical_not(self=x)",
                                  .samples = {"x=bool[4, 7]", "x=i64[5] in 0..2", "x=f32[3]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const LogicalNot& op, const Infer& ctx) { return infer_bool(ctx, op.x); }
  static Expr define(const LogicalNot& op, Define& d) { return make_unary(ExprOp::lnot, load(d, DType::b8, op.x)); }
};

/// Bits set in both; on bool: logical and.
struct BitwiseAnd {
  static constexpr OpSpec spec = {.signature = "bitwise_and(x, y)",
                                  .samples = {"x=i64[4, 7] in -9..9, y=i64[7] in -9..9", "x=bool[6], y=bool[6]", "x=u8[5], y=u8[]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const BitwiseAnd& op, const Infer& ctx) { return infer_bitwise(ctx, {op.x, op.y}); }
  static Expr define(const BitwiseAnd& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return make_binary(ExprOp::band, x, y); });
  }
};

/// Bits set in one or both; on bool: logical or.
struct BitwiseOr {
  static constexpr OpSpec spec = {.signature = "bitwise_or(x, y)",
                                  .samples = {"x=i64[4, 7] in -9..9, y=i64[7] in -9..9", "x=bool[6], y=bool[6]", "x=u8[5], y=u8[]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const BitwiseOr& op, const Infer& ctx) { return infer_bitwise(ctx, {op.x, op.y}); }
  static Expr define(const BitwiseOr& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return make_binary(ExprOp::bor, x, y); });
  }
};

/// Bits set in exactly one; on bool: not equal.
struct BitwiseXor {
  static constexpr OpSpec spec = {.signature = "bitwise_xor(x, y)",
                                  .samples = {"x=i64[4, 7] in -9..9, y=i64[7] in -9..9", "x=bool[6], y=bool[6]", "x=u8[5], y=u8[]"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const BitwiseXor& op, const Infer& ctx) { return infer_bitwise(ctx, {op.x, op.y}); }
  static Expr define(const BitwiseXor& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return make_binary(ExprOp::bxor, x, y); });
  }
};

/// x times 2 to the power y, wrapping.
struct ShiftLeft {
  static constexpr OpSpec spec = {.signature = "shift_left(x, y)",
                                  .samples = {"x=i64[4, 7] in -9..9, y=i64[7] in 0..5", "x=i32[5] in 0..99, y=i32[] in 1..3"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const ShiftLeft& op, const Infer& ctx) { return infer_bitwise(ctx, {op.x, op.y}); }
  static Expr define(const ShiftLeft& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return make_binary(ExprOp::shl, x, y); });
  }
};

/// x shifted right by y bits, with the sign kept.
struct ShiftRight {
  static constexpr OpSpec spec = {.signature = "shift_right(x, y)",
                                  .samples = {"x=i64[4, 7] in -9..9, y=i64[7] in 0..5", "x=i32[5] in 0..99, y=i32[] in 1..3"},
                                  .traits = pointwise_trait};
  Value x;
  Value y;
  static Result<TensorType> infer(const ShiftRight& op, const Infer& ctx) { return infer_bitwise(ctx, {op.x, op.y}); }
  static Expr define(const ShiftRight& op, Define& d) {
    return define_binary(d, op.x, op.y, [](Expr x, Expr y) { return make_binary(ExprOp::shr, x, y); });
  }
};

/// All bits flipped; on bool: logical not.
struct BitwiseNot {
  static constexpr OpSpec spec = {.signature = "bitwise_not(x)",
                                  .torch = "aten::bitwise_not(self=x)",
                                  .samples = {"x=bool[4, 7]", "x=i64[5] in -9..9", "x=u8[3]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const BitwiseNot& op, const Infer& ctx) { return infer_bitwise(ctx, {op.x}); }
  static Expr define(const BitwiseNot& op, Define& d) { return make_unary(is_bool(d.result_type().dtype) ? ExprOp::lnot : ExprOp::bnot, d[op.x]); }
};

/// x is not a number; false on integers.
struct Isnan {
  static constexpr OpSpec spec = {
      .signature = "isnan(x)", .torch = "aten::isnan(self=x)", .samples = {"x=f32[4, 7]", "x=f16[5]", "x=i64[3]"}, .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Isnan& op, const Infer& ctx) { return infer_bool(ctx, op.x); }
  static Expr define(const Isnan& op, Define& d) {
    const DType t = d.type(op.x).dtype;
    const Expr x = load(d, working(t), op.x);
    return is_float(t) ? make_unary(ExprOp::isnan, x) : imm_i(DType::b8, 0);
  }
};

/// x is infinite; false on integers.
struct Isinf {
  static constexpr OpSpec spec = {
      .signature = "isinf(x)", .torch = "aten::isinf(self=x)", .samples = {"x=f32[4, 7]", "x=f16[5]", "x=i64[3]"}, .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Isinf& op, const Infer& ctx) { return infer_bool(ctx, op.x); }
  static Expr define(const Isinf& op, Define& d) {
    const DType t = d.type(op.x).dtype;
    const Expr x = load(d, working(t), op.x);
    return is_float(t) ? equal(abs(x), like(x, __builtin_inf())) : imm_i(DType::b8, 0);
  }
};

/// x is neither infinite nor NaN; true on integers.
struct Isfinite {
  static constexpr OpSpec spec = {
      .signature = "isfinite(x)", .torch = "aten::isfinite(self=x)", .samples = {"x=f32[4, 7]", "x=f16[5]", "x=i64[3]"}, .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Isfinite& op, const Infer& ctx) { return infer_bool(ctx, op.x); }
  static Expr define(const Isfinite& op, Define& d) {
    const DType t = d.type(op.x).dtype;
    const Expr x = load(d, working(t), op.x);
    return is_float(t) ? abs(x) < like(x, __builtin_inf()) : imm_i(DType::b8, 1);
  }
};

/// x where the condition is nonzero, else y. x and y are promoted.
struct Where {
  static constexpr OpSpec spec = {
      .signature = "where(condition, x, y)",
      .samples = {"condition=bool[4, 7], x=f32[4, 7], y=f32[4, 7]", "condition=bool[4, 1], x=f32[7], y=f32[]", "condition=bool[5], x=i64[5], y=f32[]",
                  "condition=bool[], x=f16[3], y=f16[3]", "condition=u8[4] in 0..2, x=bool[4], y=bool[4]"},
      .traits = pointwise_trait};
  Value condition;
  Value x;
  Value y;
  static Result<TensorType> infer(const Where& op, const Infer& ctx) {
    const TensorType types[] = {ctx.type(op.x), ctx.type(op.y)};
    auto t = infer_comparison(ctx, {op.condition, op.x, op.y});
    if (t) t->dtype = promote_types(types);
    return t;
  }
  static Expr define(const Where& op, Define& d) {
    const DType t = d.result_type().dtype;
    return select(load(d, DType::b8, op.condition), load(d, t, op.x), load(d, t, op.y));
  }
};

/// x converted to `dtype`: floats to integers towards zero, anything to bool by comparison with 0.
struct Cast {
  static constexpr OpSpec spec = {
      .signature = "cast(x, dtype)",
      .samples = {"x=f32[4, 7], dtype=f16", "x=i64[5], dtype=f32", "x=f32[5] in -9..9, dtype=i32", "x=f32[4], dtype=bool", "x=bool[4], dtype=i64",
                  "x=f16[3], dtype=bf16", "x=i64[4] in -300..300, dtype=i8", "x=f32[], dtype=f64"},
      .traits = pointwise_trait};
  Value x;
  DType dtype = DType::f32;
  static Result<TensorType> infer(const Cast& op, const Infer& ctx) { return TensorType{op.dtype, ctx.shape(op.x), {}}; }
  static Expr define(const Cast& op, Define& d) {
    const DType from = d.type(op.x).dtype;
    if (is_float(from) && working(from) != from && working(op.dtype) != op.dtype) return convert(op.dtype, load(d, DType::f32, op.x));
    return load(d, op.dtype, op.x);
  }
};

using CompareOps = OpList<Eq, Ne, Lt, Le, Gt, Ge, LogicalAnd, LogicalOr, LogicalXor, LogicalNot, BitwiseAnd, BitwiseOr, BitwiseXor, ShiftLeft,
                          ShiftRight, BitwiseNot, Isnan, Isinf, Isfinite, Where, Cast>;

}  // namespace mica
