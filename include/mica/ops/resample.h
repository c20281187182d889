#pragma once
#include "mica/ops/rules.h"

namespace mica {

/// One axis read at weighted taps: result[..., o, ...] = sum over t of weight[o, t] * x[..., taps[o, t], ...]. All interpolation (nearest, linear,
/// cubic, antialiased) is this, axis by axis, with tables that the importer computes. Without a weight the taps are just read (one tap).
struct Resample {
  static constexpr OpSpec spec = {.signature = "resample(x, taps, weight, axis)",
                                  .samples = {"x=f32[1, 2, 5], taps=i64[8, 2] in 0..5, weight=f32[8, 2], axis=2", "x=f32[1, 4, 3], taps=i64[7, 1] in 0..4, axis=1", "x=f16[2, 6], taps=i64[3, 4] in 0..6, weight=f32[3, 4], axis=-1"}};
  Value x;
  Value taps;
  OptValue weight;
  int64_t axis = -1;
  static Result<TensorType> infer(const Resample& op, const Infer& ctx);
  static Expr define(const Resample& op, Define& d);
};

using ResampleOps = OpList<Resample>;

}  // namespace mica
