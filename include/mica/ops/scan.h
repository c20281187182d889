#pragma once
// Running reductions along an axis: result[i] is made of x[0] ... x[i].
#include "mica/ops/reduce.h"

namespace mica {

/// Running sum along `axis`. Integers and bool are summed in i64, floats in f64.
struct Cumsum {
  static constexpr OpSpec spec = {.signature = "cumsum(x, axis)",
                                  .samples = {"x=f32[4, 7], axis=1", "x=f32[2, 3, 5], axis=0", "x=i64[6] in 0..3, axis=0", "x=bool[5], axis=0",
                                              "x=f16[20], axis=-1", "x=f32[], axis=0", "x=f32[3, 0], axis=1", "x=f32[2000], axis=0"}};
  Value x;
  int64_t axis = 0;
  static Result<TensorType> infer(const Cumsum& op, const Infer& ctx);
  static void kernel(const Cumsum& op, KernelBuilder& b);
};

/// Running product along `axis`.
struct Cumprod {
  static constexpr OpSpec spec = {.signature = "cumprod(x, axis)",
                                  .samples = {"x=f32[4, 7], axis=1", "x=f32[2, 3, 5], axis=0", "x=i64[6] in 0..3, axis=0", "x=bool[5], axis=0",
                                              "x=f16[20], axis=-1", "x=f32[], axis=0"}};
  Value x;
  int64_t axis = 0;
  static Result<TensorType> infer(const Cumprod& op, const Infer& ctx);
  static void kernel(const Cumprod& op, KernelBuilder& b);
};

/// Running log of the sum of exp(x) along `axis`.
struct Logcumsumexp {
  static constexpr OpSpec spec = {
      .signature = "logcumsumexp(x, axis)",
      .torch = "aten::logcumsumexp(self=x, dim=axis)",
      .samples = {"x=f32[4, 7], axis=1", "x=f64[2, 9], axis=-1", "x=f16[5, 2], axis=0", "x=f32[], axis=0", "x=f32[9] in 500..600, axis=0"}};
  Value x;
  int64_t axis = 0;
  static Result<TensorType> infer(const Logcumsumexp& op, const Infer& ctx);
  static void kernel(const Logcumsumexp& op, KernelBuilder& b);
};

/// Greatest element so far along `axis`, and where it stands: of equal ones the last; a NaN stays.
struct Cummax {
  static constexpr OpSpec spec = {
      .signature = "cummax(x, axis)",
      .torch = "aten::cummax(self=x, dim=axis)",
      .samples = {"x=f32[4, 7], axis=1", "x=i64[2, 9] in 0..3, axis=-1", "x=f16[5, 2], axis=0", "x=f32[], axis=0", "x=bool[6], axis=0"}};
  Value x;
  int64_t axis = 0;
  static Result<std::vector<TensorType>> infer(const Cummax& op, const Infer& ctx);
  static void kernel(const Cummax& op, KernelBuilder& b);
};

/// Least element so far along `axis`, and where it stands: of equal ones the last; a NaN stays.
struct Cummin {
  static constexpr OpSpec spec = {
      .signature = "cummin(x, axis)",
      .torch = "aten::cummin(self=x, dim=axis)",
      .samples = {"x=f32[4, 7], axis=1", "x=i64[2, 9] in 0..3, axis=-1", "x=f16[5, 2], axis=0", "x=f32[], axis=0", "x=bool[6], axis=0"}};
  Value x;
  int64_t axis = 0;
  static Result<std::vector<TensorType>> infer(const Cummin& op, const Infer& ctx);
  static void kernel(const Cummin& op, KernelBuilder& b);
};

using ScanOps = OpList<Cumsum, Cumprod, Logcumsumexp, Cummax, Cummin>;

}  // namespace mica
