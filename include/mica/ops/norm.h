#pragma once
// Normalisations at inference. Statistics are computed in the working dtype (f32 for f16 and bf16), the mean before the variance.
#include "mica/ops/rules.h"

namespace mica {

/// (x - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c], with c the index of axis 1.
struct BatchNorm {
  static constexpr OpSpec spec = {.signature = "batch_norm(x, weight, bias, mean, var, eps)",
                                  .samples = {"x=f32[2, 3, 4, 4], weight=f32[3], bias=f32[3], mean=f32[3], var=f32[3] in 0.5..2",
                                              "x=f32[4, 7], mean=f32[7], var=f32[7] in 0.5..2, eps=0.001",
                                              "x=f16[1, 2, 5], weight=f16[2], bias=f16[2], mean=f16[2], var=f16[2] in 0.5..2",
                                              "x=f32[0, 3, 2], mean=f32[3], var=f32[3] in 0.5..2"}};
  Value x;
  OptValue weight;
  OptValue bias;
  Value mean;
  Value var;
  double eps = 1e-5;
  static Result<TensorType> infer(const BatchNorm& op, const Infer& ctx);
  static Expr define(const BatchNorm& op, Define& d);
};

/// (x - mean) / sqrt(var + eps) * weight + bias, with mean and variance over the last `axes` axes, whose shape weight and bias have.
struct LayerNorm {
  static constexpr OpSpec spec = {
      .signature = "layer_norm(x, weight, bias, axes, eps)",
      .samples = {"x=f32[4, 7], weight=f32[7], bias=f32[7]", "x=f32[2, 3, 5], axes=2",
                  "x=f32[2, 3, 5], weight=f32[3, 5], bias=f32[3, 5], axes=2, eps=0.001", "x=f16[2, 256], weight=f16[256], bias=f16[256]",
                  "x=f32[3, 768] in 9..11, weight=f32[768], bias=f32[768]", "x=f32[0, 4]", "x=f32[3, 1]"}};
  Value x;
  OptValue weight;
  OptValue bias;
  int64_t axes = 1;
  double eps = 1e-5;
  static Result<TensorType> infer(const LayerNorm& op, const Infer& ctx);
  static Expr define(const LayerNorm& op, Define& d);
};

/// x / sqrt(mean of x^2 + eps) * weight, with the mean over the last `axes` axes.
struct RmsNorm {
  static constexpr OpSpec spec = {
      .signature = "rms_norm(x, weight, axes, eps)",
      .samples = {"x=f32[4, 7], weight=f32[7]", "x=f32[2, 3, 5], axes=2, eps=0.001", "x=f16[2, 256], weight=f16[256]", "x=f32[0, 4]"}};
  Value x;
  OptValue weight;
  int64_t axes = 1;
  double eps = 1e-6;
  static Result<TensorType> infer(const RmsNorm& op, const Infer& ctx);
  static Expr define(const RmsNorm& op, Define& d);
};

/// The channels (axis 1) in `groups` equal parts, each normalised over its channels and all axes behind; then weight[c] and bias[c].
struct GroupNorm {
  static constexpr OpSpec spec = {.signature = "group_norm(x, weight, bias, groups, eps)",
                                  .samples = {"x=f32[2, 6, 4, 4], weight=f32[6], bias=f32[6], groups=3", "x=f32[2, 6, 5], groups=6",
                                              "x=f32[1, 4], groups=2, eps=0.01", "x=f16[1, 4, 8, 8], weight=f16[4], bias=f16[4], groups=1"}};
  Value x;
  OptValue weight;
  OptValue bias;
  int64_t groups = 1;
  double eps = 1e-5;
  static Result<TensorType> infer(const GroupNorm& op, const Infer& ctx);
  static Value decompose(const GroupNorm& op, Builder& b);
};

using NormOps = OpList<BatchNorm, LayerNorm, RmsNorm, GroupNorm>;

}  // namespace mica
