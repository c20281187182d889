#pragma once
// Activation functions, as torch.nn.functional defines them for inference.
#include "mica/ops/pointwise.h"
#include "mica/support/defect.h"

namespace mica {

/// max(x, 0); NaN stays NaN.
struct Relu {
  static constexpr OpSpec spec = {.signature = "relu(x)",
                                  .torch = "aten::relu(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=i64[5] in -4..4", "x=f32[0]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Relu& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Relu& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return max(like(x, 0), x); });
  }
};

/// x * P(X <= x) for a normal X: by erf, or with tanh(sqrt(2/pi) (x + 0.044715 x^3)) in its place.
struct Gelu {
  static constexpr OpSpec spec = {
      .signature = "gelu(x, tanh)", .samples = {"x=f32[4, 7]", "x=f32[4, 7], tanh=true", "x=f16[8]", "x=f64[5]"}, .traits = pointwise_trait};
  Value x;
  bool tanh = false;
  static Result<TensorType> infer(const Gelu& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Gelu& op, Define& d) {
    return define_unary(d, op.x, [&](Expr x) {
      const Expr half = like(x, 0.5), one = like(x, 1);
      if (!op.tanh || defect(Defect::gelu_form)) return half * x * (one + erf(x * like(x, 0.70710678118654752440)));
      const Expr inner = like(x, 0.79788456080286535588) * (x + like(x, 0.044715) * x * x * x);
      return half * x * (one + mica::tanh(inner));
    });
  }
};

/// x * sigmoid(x)
struct Silu {
  static constexpr OpSpec spec = {.signature = "silu(x)",
                                  .torch = "aten::silu(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=f32[0, 3]", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Silu& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Silu& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return x / (like(x, 1) + exp(-x)); });
  }
};

/// x * min(max(x + 3, 0), 6) / 6
struct Hardswish {
  static constexpr OpSpec spec = {.signature = "hardswish(x)",
                                  .torch = "aten::hardswish(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=f32[0, 3]", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  /// min(max(x + 3, 0), 6) / 6 by the product with 1 / 6 in two parts: a quotient takes many times as long, and the error of one rounded factor has
  /// the same sign everywhere, so that it would add up from layer to layer.
  static Expr gate(const Expr& x) {
    const bool wide = x->type.dtype == DType::f64;
    const double high = wide ? 1.0 / 6 : static_cast<double>(1.0f / 6), low = wide ? 0x1.5555555555555p-57 : 1.0 / 6 - high;
    const Expr clamped = min(like(x, 6), max(like(x, 0), x + like(x, 3)));
    return fma(clamped, like(x, high), clamped * like(x, low));
  }
  static Result<TensorType> infer(const Hardswish& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Hardswish& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return x * gate(x); });
  }
};

/// min(max(x + 3, 0), 6) / 6
struct Hardsigmoid {
  static constexpr OpSpec spec = {.signature = "hardsigmoid(x)",
                                  .torch = "aten::hardsigmoid(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=f32[0, 3]", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Hardsigmoid& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Hardsigmoid& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return Hardswish::gate(x); });
  }
};

/// scale * x where x >= 0 (so that -0 stays -0), else scale * alpha * (exp(input_scale * x) - 1). Covers celu and selu.
struct Elu {
  static constexpr OpSpec spec = {.signature = "elu(x, alpha, scale, input_scale)",
                                  .torch = "aten::elu(self=x, alpha=alpha, scale=scale, input_scale=input_scale)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=f32[0, 3]", "x=f32[]", "x=f32[9], alpha=0.5, scale=2"},
                                  .traits = pointwise_trait};
  Value x;
  double alpha = 1;
  double scale = 1;
  double input_scale = 1;
  static Result<TensorType> infer(const Elu& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Elu& op, Define& d) {
    return define_unary(d, op.x, [&](Expr x) {
      const Expr negative = make_unary(ExprOp::expm1, x * like(x, op.input_scale)) * like(x, op.alpha * op.scale);
      return select(x < like(x, 0), negative, x * like(x, op.scale));
    });
  }
};

/// x where x > 0, else slope * x.
struct LeakyRelu {
  static constexpr OpSpec spec = {.signature = "leaky_relu(x, slope)",
                                  .torch = "aten::leaky_relu(self=x, negative_slope=slope)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=f32[0, 3]", "x=f32[]", "x=f32[9], slope=0.2"},
                                  .traits = pointwise_trait};
  Value x;
  double slope = 0.01;
  static Result<TensorType> infer(const LeakyRelu& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const LeakyRelu& op, Define& d) {
    return define_unary(d, op.x, [&](Expr x) { return select(x > like(x, 0), x, x * like(x, op.slope)); });
  }
};

/// log(1 + exp(beta x)) / beta; x itself where beta x > threshold.
struct Softplus {
  static constexpr OpSpec spec = {.signature = "softplus(x, beta, threshold)",
                                  .torch = "aten::softplus(self=x, beta=beta, threshold=threshold)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=f32[0, 3]", "x=f32[]", "x=f32[9], beta=2, threshold=1"},
                                  .traits = pointwise_trait};
  Value x;
  double beta = 1;
  double threshold = 20;
  static Result<TensorType> infer(const Softplus& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Softplus& op, Define& d) {
    return define_unary(d, op.x, [&](Expr x) {
      const Expr scaled = x * like(x, op.beta);
      return select(scaled > like(x, op.threshold), x, make_unary(ExprOp::log1p, exp(scaled)) * like(x, 1 / op.beta));
    });
  }
};

/// log(sigmoid(x)), without overflow: min(x, 0) - log(1 + exp(-|x|)).
struct LogSigmoid {
  static constexpr OpSpec spec = {.signature = "log_sigmoid(x)",
                                  .torch = "aten::log_sigmoid(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=f32[0, 3]", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const LogSigmoid& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const LogSigmoid& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) { return min(like(x, 0), x) - make_unary(ExprOp::log1p, exp(-abs(x))); });
  }
};

/// x * tanh(log(1 + exp(x)))
struct Mish {
  static constexpr OpSpec spec = {.signature = "mish(x)",
                                  .torch = "aten::mish(self=x)",
                                  .samples = {"x=f32[4, 7]", "x=f16[2, 3]", "x=f32[0, 3]", "x=f32[]"},
                                  .traits = pointwise_trait};
  Value x;
  static Result<TensorType> infer(const Mish& op, const Infer& ctx) { return infer_same(ctx, op.x); }
  static Expr define(const Mish& op, Define& d) {
    return define_unary(d, op.x, [](Expr x) {
      // log1p(exp(x)) is x itself to the last bit beyond 20.
      const Expr soft = select(x > like(x, 20), x, make_unary(ExprOp::log1p, exp(x)));
      return x * tanh(soft);
    });
  }
};

/// x where x > 0, else weight * x, with weight broadcast from the right (the importer gives it x's rank).
struct Prelu {
  static constexpr OpSpec spec = {.signature = "prelu(x, weight)",
                                  .samples = {"x=f32[2, 3, 4], weight=f32[3, 1]", "x=f32[5], weight=f32[1]", "x=f16[2, 2], weight=f16[2]"},
                                  .traits = pointwise_trait};
  Value x;
  Value weight;
  static Result<TensorType> infer(const Prelu& op, const Infer& ctx) { return infer_promoted(ctx, {op.x, op.weight}); }
  static Expr define(const Prelu& op, Define& d) {
    return define_binary(d, op.x, op.weight, [](Expr x, Expr w) { return select(x > like(x, 0), x, x * w); });
  }
};

using ActivationOps = OpList<Relu, Gelu, Silu, Hardswish, Hardsigmoid, Elu, LeakyRelu, Softplus, LogSigmoid, Mish, Prelu>;

}  // namespace mica
