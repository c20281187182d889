#pragma once
// Pointwise functions of one operand: exponentials, logarithms, trigonometry. Integers and bool are taken as f32.
#include "mica/ops/pointwise.h"

namespace mica {

/// e to the power x.
struct Exp {
  static constexpr OpSpec spec = {.signature = "exp(x)",
                                  .torch = "aten::exp(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Exp& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Exp& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return exp(x); });
  }
};

/// exp(x) - 1, exact near 0.
struct Expm1 {
  static constexpr OpSpec spec = {.signature = "expm1(x)",
                                  .torch = "aten::expm1(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Expm1& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Expm1& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::expm1, x); });
  }
};

/// 2 to the power x.
struct Exp2 {
  static constexpr OpSpec spec = {.signature = "exp2(x)",
                                  .torch = "aten::exp2(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Exp2& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Exp2& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return exp(x * like(x, 0.693147180559945309417)); });
  }
};

/// Natural logarithm; NaN for negative numbers, -inf for 0.
struct Log {
  static constexpr OpSpec spec = {.signature = "log(x)",
                                  .torch = "aten::log(self=x)",
                                  .samples = {"x=f32[4, 7] in 0.1..9", "x=f16[2, 3] in 0.5..2", "x=i64[5] in 1..9", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Log& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Log& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return log(x); });
  }
};

/// log(1 + x), exact near 0.
struct Log1p {
  static constexpr OpSpec spec = {.signature = "log1p(x)",
                                  .torch = "aten::log1p(self=x)",
                                  .samples = {"x=f32[4, 7] in 0.1..9", "x=f16[2, 3] in 0.5..2", "x=i64[5] in 1..9", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Log1p& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Log1p& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::log1p, x); });
  }
};

/// Logarithm to base 2.
struct Log2 {
  static constexpr OpSpec spec = {.signature = "log2(x)",
                                  .torch = "aten::log2(self=x)",
                                  .samples = {"x=f32[4, 7] in 0.1..9", "x=f16[2, 3] in 0.5..2", "x=i64[5] in 1..9", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Log2& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Log2& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return log(x) * like(x, 1.44269504088896340736); });
  }
};

/// Logarithm to base 10.
struct Log10 {
  static constexpr OpSpec spec = {.signature = "log10(x)",
                                  .torch = "aten::log10(self=x)",
                                  .samples = {"x=f32[4, 7] in 0.1..9", "x=f16[2, 3] in 0.5..2", "x=i64[5] in 1..9", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Log10& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Log10& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return log(x) * like(x, 0.434294481903251827651); });
  }
};

/// Sine.
struct Sin {
  static constexpr OpSpec spec = {.signature = "sin(x)",
                                  .torch = "aten::sin(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Sin& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Sin& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::sin, x); });
  }
};

/// Cosine.
struct Cos {
  static constexpr OpSpec spec = {.signature = "cos(x)",
                                  .torch = "aten::cos(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Cos& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Cos& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::cos, x); });
  }
};

/// Tangent.
struct Tan {
  static constexpr OpSpec spec = {.signature = "tan(x)",
                                  .torch = "aten::tan(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Tan& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Tan& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::tan, x); });
  }
};

/// Arc sine; NaN outside [-1, 1].
struct Asin {
  static constexpr OpSpec spec = {.signature = "asin(x)",
                                  .torch = "aten::asin(self=x); aten::arcsin(self=x)",
                                  .samples = {"x=f32[4, 7] in -1..1", "x=f16[2, 3] in -1..1", "x=f32[0]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Asin& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Asin& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::asin, x); });
  }
};

/// Arc cosine; NaN outside [-1, 1].
struct Acos {
  static constexpr OpSpec spec = {.signature = "acos(x)",
                                  .torch = "aten::acos(self=x); aten::arccos(self=x)",
                                  .samples = {"x=f32[4, 7] in -1..1", "x=f16[2, 3] in -1..1", "x=f32[0]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Acos& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Acos& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::acos, x); });
  }
};

/// Arc tangent.
struct Atan {
  static constexpr OpSpec spec = {.signature = "atan(x)",
                                  .torch = "aten::atan(self=x); aten::arctan(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Atan& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Atan& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::atan, x); });
  }
};

/// Hyperbolic sine.
struct Sinh {
  static constexpr OpSpec spec = {.signature = "sinh(x)",
                                  .torch = "aten::sinh(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Sinh& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Sinh& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::sinh, x); });
  }
};

/// Hyperbolic cosine.
struct Cosh {
  static constexpr OpSpec spec = {.signature = "cosh(x)",
                                  .torch = "aten::cosh(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Cosh& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Cosh& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::cosh, x); });
  }
};

/// Hyperbolic tangent.
struct Tanh {
  static constexpr OpSpec spec = {.signature = "tanh(x)",
                                  .torch = "aten::tanh(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Tanh& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Tanh& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::tanh, x); });
  }
};

/// Error function.
struct Erf {
  static constexpr OpSpec spec = {.signature = "erf(x)",
                                  .torch = "aten::erf(self=x); aten::special_erf(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Erf& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Erf& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return make_unary(ExprOp::erf, x); });
  }
};

/// 1 / (1 + exp(-x))
struct Sigmoid {
  static constexpr OpSpec spec = {.signature = "sigmoid(x)",
                                  .torch = "aten::sigmoid(self=x); aten::special_expit(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in 0..4", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Sigmoid& op, const Infer& ctx) { return infer_float(ctx, op.x); }
  static Expr define(const Sigmoid& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return sigmoid(x); });
  }
};

using MathOps = OpList<Exp, Expm1, Exp2, Log, Log1p, Log2, Log10, Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Tanh, Erf, Sigmoid>;

}  // namespace mica
