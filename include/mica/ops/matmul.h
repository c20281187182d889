#pragma once
// Matrix products.
#include "mica/ops/rules.h"

namespace mica {

/// result[..., i, j] = sum over k of a[..., i, k] * b[..., k, j]. Both have rank 2 or more; leading axes broadcast.
struct Matmul {
  static constexpr OpSpec spec = {.signature = "matmul(a, b)",
                                  .samples = {"a=f32[4, 7], b=f32[7, 5]", "a=f32[2, 3, 4, 8], b=f32[2, 3, 8, 6]", "a=f32[5, 1, 2, 3], b=f32[4, 3, 2]",
                                              "a=f16[3, 64], b=f16[64, 9]", "a=f32[1, 1], b=f32[1, 1]", "a=f32[2, 0], b=f32[0, 3]",
                                              "a=f64[3, 4], b=f64[4, 3]", "a=i64[2, 3] in -3..3, b=i64[3, 2] in -3..3"}};
  Value a;
  Value b;
  static Result<TensorType> infer(const Matmul& op, const Infer& ctx);
  static Expr define(const Matmul& op, Define& d);
};

/// result[..., j] = sum over k of x[..., k] * weight[j, k] + bias[j].
struct Linear {
  static constexpr OpSpec spec = {.signature = "linear(x, weight, bias)",
                                  .torch = "aten::linear(input=x, weight=weight, bias=bias)",
                                  .samples = {"x=f32[4, 7], weight=f32[5, 7], bias=f32[5]", "x=f32[2, 3, 16], weight=f32[8, 16]",
                                              "x=f32[7], weight=f32[5, 7], bias=f32[5]", "x=f16[2, 128], weight=f16[3, 128], bias=f16[3]",
                                              "x=f32[0, 4], weight=f32[2, 4]", "x=f32[3, 1000], weight=f32[2, 1000], bias=f32[2]"}};
  Value x;
  Value weight;
  OptValue bias;
  static Result<TensorType> infer(const Linear& op, const Infer& ctx);
  static Expr define(const Linear& op, Define& d);
};

using MatmulOps = OpList<Matmul, Linear>;

}  // namespace mica
