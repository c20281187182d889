#pragma once
// Pooling over the last axes of x, as many as `kernel` or `size` has numbers; all axes before them are left alone.
#include "mica/ops/rules.h"

namespace mica {

/// The greatest element of each window; x is -inf outside. A NaN in a window gives NaN. Integers work too.
struct MaxPool {
  static constexpr OpSpec spec = {.signature = "max_pool(x, kernel, stride, padding, dilation, ceil_mode)",
                                  .samples = {"x=f32[1, 3, 8, 8], kernel=[2, 2], stride=[2, 2], padding=[0, 0], dilation=[1, 1]",
                                              "x=f32[2, 4, 9, 7], kernel=[3, 3], stride=[2, 2], padding=[1, 1], dilation=[1, 1]",
                                              "x=f32[1, 2, 7, 7], kernel=[3, 2], stride=[2, 3], padding=[1, 0], dilation=[1, 2], ceil_mode=true",
                                              "x=f32[3, 10], kernel=[4], stride=[3], padding=[2], dilation=[1]",
                                              "x=f16[1, 2, 4, 4, 4], kernel=[2, 2, 2], stride=[1, 2, 2], padding=[0, 0, 1], dilation=[1, 1, 1]"}};
  Value x;
  Ints kernel;
  Ints stride;
  Ints padding;
  Ints dilation;
  bool ceil_mode = false;
  static Result<TensorType> infer(const MaxPool& op, const Infer& ctx);
  static Expr define(const MaxPool& op, Define& d);
};

/// For each window of max_pool, where its greatest element (the first such) lies in the pooled axes of x, counted row-major; i64.
struct MaxPoolIndices {
  static constexpr OpSpec spec = {.signature = "max_pool_indices(x, kernel, stride, padding, dilation, ceil_mode)",
                                  .samples = {"x=f32[1, 3, 8, 8], kernel=[2, 2], stride=[2, 2], padding=[0, 0], dilation=[1, 1]",
                                              "x=f32[2, 4, 9, 7], kernel=[3, 3], stride=[2, 2], padding=[1, 1], dilation=[1, 1]",
                                              "x=f32[3, 10], kernel=[4], stride=[3], padding=[2], dilation=[1]"}};
  Value x;
  Ints kernel;
  Ints stride;
  Ints padding;
  Ints dilation;
  bool ceil_mode = false;
  static Result<TensorType> infer(const MaxPoolIndices& op, const Infer& ctx);
  static Expr define(const MaxPoolIndices& op, Define& d);
};

/// The sum of each window over its number of elements: padding counted (include_pad) or not; `divisor` in its place where it is not 0.
struct AvgPool {
  static constexpr OpSpec spec = {
      .signature = "avg_pool(x, kernel, stride, padding, ceil_mode, include_pad, divisor)",
      .samples = {"x=f32[1, 3, 8, 8], kernel=[2, 2], stride=[2, 2], padding=[0, 0]",
                  "x=f32[2, 4, 9, 7], kernel=[3, 3], stride=[2, 2], padding=[1, 1]",
                  "x=f32[2, 4, 9, 7], kernel=[3, 3], stride=[1, 2], padding=[1, 1], include_pad=false",
                  "x=f32[1, 2, 7, 6], kernel=[3, 2], stride=[2, 3], padding=[1, 0], ceil_mode=true",
                  "x=f32[1, 2, 7, 6], kernel=[3, 2], stride=[2, 3], padding=[1, 0], ceil_mode=true, include_pad=false",
                  "x=f32[3, 10], kernel=[4], stride=[3], padding=[2]", "x=f32[1, 2, 6, 6], kernel=[2, 3], stride=[2, 2], padding=[0, 1], divisor=5",
                  "x=f16[1, 2, 4, 4, 4], kernel=[2, 2, 2], stride=[1, 2, 2], padding=[0, 0, 1]"}};
  Value x;
  Ints kernel;
  Ints stride;
  Ints padding;
  bool ceil_mode = false;
  bool include_pad = true;
  int64_t divisor = 0;
  static Result<TensorType> infer(const AvgPool& op, const Infer& ctx);
  static Expr define(const AvgPool& op, Define& d);
};

/// Means of windows that divide each pooled axis into `size` parts: part o of n elements spans floor(o n / size) to ceil((o + 1) n / size).
struct AdaptiveAvgPool {
  static constexpr OpSpec spec = {
      .signature = "adaptive_avg_pool(x, size)",
      .samples = {"x=f32[1, 3, 8, 8], size=[1, 1]", "x=f32[2, 4, 9, 7], size=[3, 4]", "x=f32[3, 10], size=[4]", "x=f16[1, 2, 7, 7], size=[1, 1]",
                  "x=f32[1, 2, 3, 3], size=[7, 5]", "x=f32[1, 2, 4, 5, 6], size=[2, 2, 2]"}};
  Value x;
  Ints size;
  static Result<TensorType> infer(const AdaptiveAvgPool& op, const Infer& ctx);
  static Expr define(const AdaptiveAvgPool& op, Define& d);
};

/// The greatest elements of the same windows.
struct AdaptiveMaxPool {
  static constexpr OpSpec spec = {
      .signature = "adaptive_max_pool(x, size)",
      .samples = {"x=f32[1, 3, 8, 8], size=[1, 1]", "x=f32[2, 4, 9, 7], size=[3, 4]", "x=f32[3, 10], size=[4]", "x=f32[1, 2, 3, 3], size=[7, 5]"}};
  Value x;
  Ints size;
  static Result<TensorType> infer(const AdaptiveMaxPool& op, const Infer& ctx);
  static Expr define(const AdaptiveMaxPool& op, Define& d);
};

/// For each window of adaptive_max_pool, where its greatest element (the first such) lies in the pooled axes of x, counted row-major; i64.
struct AdaptiveMaxPoolIndices {
  static constexpr OpSpec spec = {.signature = "adaptive_max_pool_indices(x, size)",
                                  .samples = {"x=f32[1, 3, 8, 8], size=[2, 4]", "x=f32[2, 4, 9, 7], size=[3, 4]", "x=f32[3, 10], size=[4]"}};
  Value x;
  Ints size;
  static Result<TensorType> infer(const AdaptiveMaxPoolIndices& op, const Infer& ctx);
  static Expr define(const AdaptiveMaxPoolIndices& op, Define& d);
};

/// Windows of a pooled axis: how many, and whether all lie inside.
Dim pooled_size(const Dim& size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode);

using PoolOps = OpList<MaxPool, MaxPoolIndices, AvgPool, AdaptiveAvgPool, AdaptiveMaxPool, AdaptiveMaxPoolIndices>;

}  // namespace mica
