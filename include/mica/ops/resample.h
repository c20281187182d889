#pragma once
#include "mica/ops/rules.h"

namespace mica {

/// One axis read at weighted taps: result[..., o, ...] = sum over t of weight[o, t] * x[..., taps[o, t], ...]. All interpolation (nearest, linear,
/// cubic, antialiased) is this, axis by axis, with tables that the importer computes. Without a weight the taps are just read (one tap).
struct Resample {
  static constexpr OpSpec spec = {
      .signature = "resample(x, taps, weight, axis)",
      .samples = {"x=f32[1, 2, 5], taps=i64[8, 2] in 0..5, weight=f32[8, 2], axis=2", "x=f32[1, 4, 3], taps=i64[7, 1] in 0..4, axis=1",
                  "x=f16[2, 6], taps=i64[3, 4] in 0..6, weight=f32[3, 4], axis=-1"}};
  Value x;
  Value taps;
  OptValue weight;
  int64_t axis = -1;
  static Result<TensorType> infer(const Resample& op, const Infer& ctx);
  static Expr define(const Resample& op, Define& d);
};

/// x [N, C, size...] read at the places of `grid` [N, out..., axes], whose last axis holds coordinates in [-1, 1], the last axis of x first.
/// mode 0: linear between neighbours, 1: the nearest. outside 0: zeros, 1: the border, 2: reflected. corners: -1 and 1 are the centres of the outer
/// elements instead of their edges. A NaN coordinate counts as -1.
struct GridSample {
  static constexpr OpSpec spec = {
      .signature = "grid_sample(x, grid, mode, outside, corners)",
      .samples = {"x=f32[2, 3, 5, 6], grid=f32[2, 4, 3, 2] in -1.3..1.3", "x=f32[1, 2, 5, 6], grid=f32[1, 4, 3, 2] in -1.3..1.3, corners=true",
                  "x=f32[1, 2, 5, 6], grid=f32[1, 4, 3, 2] in -1.5..1.5, outside=1", "x=f32[1, 2, 5, 6], grid=f32[1, 4, 3, 2] in -3..3, outside=2",
                  "x=f32[1, 2, 5, 6], grid=f32[1, 4, 3, 2] in -3..3, outside=2, corners=true",
                  "x=f32[1, 2, 5, 6], grid=f32[1, 4, 3, 2] in -1.3..1.3, mode=1", "x=f32[1, 2, 3, 4, 5], grid=f32[1, 2, 3, 2, 3] in -1.2..1.2"}};
  Value x;
  Value grid;
  int64_t mode = 0;
  int64_t outside = 0;
  bool corners = false;
  static Result<TensorType> infer(const GridSample& op, const Infer& ctx);
  static Expr define(const GridSample& op, Define& d);
};

using ResampleOps = OpList<Resample, GridSample>;

}  // namespace mica
