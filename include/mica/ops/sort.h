#pragma once
// Order along an axis: sorting and selecting.
#include "mica/ops/rules.h"

namespace mica {

/// The first `count` (all: -1) elements of x along `axis` in ascending (or descending) order, and where each stood. Equal elements keep their
/// order; a NaN counts as greater than every number.
struct Sort {
  static constexpr OpSpec spec = {
      .signature = "sort(x, axis, descending, count)",
      .samples = {"x=f32[4, 7], axis=1", "x=f32[2, 3, 5], axis=0, descending=true", "x=i64[64] in 0..9, axis=0", "x=f32[3, 100], axis=1, count=5",
                  "x=f16[33], axis=0, descending=true, count=4", "x=bool[9], axis=0", "x=u8[17] in 0..255, axis=-1", "x=f32[], axis=0",
                  "x=f32[0, 3], axis=1", "x=f32[3, 0], axis=1", "x=i32[5, 1], axis=1", "x=f32[2, 70, 3], axis=1, descending=true"}};
  Value x;
  int64_t axis = -1;
  bool descending = false;
  Dim count = -1;
  static Result<std::vector<TensorType>> infer(const Sort& op, const Infer& ctx);
  static void kernel(const Sort& op, KernelBuilder& b);
};

using SortOps = OpList<Sort>;

}  // namespace mica
