#pragma once
// Reads and writes at places that tensors of indices name. An index out of range is a fault that names the op, never a read outside.
#include "mica/ops/rules.h"

namespace mica {

/// Rows of `weight` by index: result[i..., j...] = weight[indices[i...], j...].
struct Embedding {
  static constexpr OpSpec spec = {.signature = "embedding(weight, indices)",
                                  .torch = "aten::embedding(weight=weight, indices=indices)",
                                  .samples = {"weight=f32[10, 4], indices=i64[3] in 0..10", "weight=f32[10, 4], indices=i64[2, 5] in 0..10",
                                              "weight=f16[7, 3], indices=i32[] in 0..7", "weight=f32[4, 2], indices=i64[0, 3] in 0..4"}};
  Value weight;
  Value indices;
  static Result<TensorType> infer(const Embedding& op, const Infer& ctx);
  static Expr define(const Embedding& op, Define& d);
};

/// Along `axis`, the elements that the rank-1 (or rank-0) `index` names, in its order.
struct IndexSelect {
  static constexpr OpSpec spec = {.signature = "index_select(x, axis, index)",
                                  .torch = "aten::index_select(self=x, dim=axis, index=index)",
                                  .samples = {"x=f32[4, 7], axis=1, index=i64[3] in 0..7", "x=f32[5, 2], axis=0, index=i32[9] in 0..5",
                                              "x=i64[6], axis=-1, index=i64[0] in 0..6"}};
  Value x;
  int64_t axis = 0;
  Value index;
  static Result<TensorType> infer(const IndexSelect& op, const Infer& ctx);
  static Expr define(const IndexSelect& op, Define& d);
};

/// result[i...] = x[i... with i[axis] replaced by index[i...]]; the result has the shape of `index`.
struct Gather {
  static constexpr OpSpec spec = {.signature = "gather(x, axis, index)",
                                  .torch = "aten::gather(self=x, dim=axis, index=index)",
                                  .samples = {"x=f32[4, 7], axis=1, index=i64[4, 3] in 0..7", "x=f32[5, 2], axis=0, index=i64[3, 2] in 0..5",
                                              "x=f32[6], axis=0, index=i64[8] in 0..6", "x=f32[3, 4], axis=1, index=i64[2, 5] in 0..4"}};
  Value x;
  int64_t axis = 0;
  Value index;
  static Result<TensorType> infer(const Gather& op, const Infer& ctx);
  static Expr define(const Gather& op, Define& d);
};

/// Advanced indexing: axis axes[k] of x is read at indices[k]; the indices broadcast together, negative ones count from the end. The
/// broadcast axes stand in place of the indexed ones if these are adjacent, else in front.
struct Index {
  static constexpr OpSpec spec = {
      .signature = "index(x, indices, axes)",
      .samples = {"x=f32[4, 7], indices=[i64[3] in -4..4], axes=[0]", "x=f32[4, 7], indices=[i64[3] in 0..4, i64[3] in 0..7], axes=[0, 1]",
                  "x=f32[2, 5, 3], indices=[i64[2, 2] in 0..5], axes=[1]",
                  "x=f32[4, 2, 5], indices=[i64[3] in 0..4, i64[2, 1] in -5..5], axes=[0, 2]", "x=i64[6], indices=[i64[] in 0..6], axes=[0]",
                  "x=f32[3, 4, 5, 6], indices=[i64[2] in 0..4, i64[1] in 0..5], axes=[1, 2]"}};
  Value x;
  Values indices;
  Ints axes;
  static Result<TensorType> infer(const Index& op, const Infer& ctx);
  static Expr define(const Index& op, Define& d);
};

/// x with source[j...] written to x[j... with j[axis] replaced by index[j...]], in order along `axis`. `reduce` says how it meets what is there:
/// `set` (the last one stays), `sum`, `prod`, `amax` or `amin`; without `include_self` what x has at the places that are written to does not count.
struct Scatter {
  static constexpr OpSpec spec = {
      .signature = "scatter(x, axis, index, source, reduce, include_self)",
      .samples = {"x=f32[4, 7], axis=1, index=i64[4, 1] in 0..7, source=f32[4, 1]", "x=f32[5, 2], axis=0, index=i64[1, 2] in 0..5, source=f32[1, 2]",
                  "x=i64[3, 4], axis=1, index=i64[2, 1] in 0..4, source=i64[2, 1]",
                  "x=f32[4, 7], axis=1, index=i64[4, 9] in 0..7, source=f32[4, 9], reduce=sum",
                  "x=f32[5, 2], axis=0, index=i64[3, 2] in 0..5, source=f32[3, 2], reduce=sum",
                  "x=i64[6], axis=0, index=i64[8] in 0..6, source=i64[8] in 0..9, reduce=sum",
                  "x=f32[3, 70, 5], axis=1, index=i64[2, 90, 4] in 0..70, source=f32[3, 90, 5], reduce=prod",
                  "x=f32[6, 3], axis=0, index=i64[9, 3] in 0..6, source=f32[9, 3], reduce=amax, include_self=false",
                  "x=i32[6], axis=0, index=i64[4] in 0..6, source=i32[4], reduce=amin, include_self=false",
                  "x=f16[6], axis=0, index=i64[4] in 0..6, source=f16[4], reduce=sum, include_self=false",
                  "x=f32[3], axis=0, index=i64[0], source=f32[0]"}};
  Value x;
  int64_t axis = 0;
  Value index;
  Value source;
  std::string reduce = "set";
  bool include_self = true;
  static Result<TensorType> infer(const Scatter& op, const Infer& ctx);
  static void kernel(const Scatter& op, KernelBuilder& b);
};

/// x at `index`, an integer of rank 0, along `axis`, which goes; a negative index counts from the end.
struct SelectAt {
  static constexpr OpSpec spec = {.signature = "select_at(x, index, axis)",
                                  .samples = {"x=f32[4, 7], index=i64[] in 0..4", "x=f32[4, 7], index=i64[] in -7..7, axis=1",
                                              "x=i64[6], index=i32[] in -6..0", "x=f16[2, 3, 5], index=i64[] in 0..3, axis=-2"}};
  Value x;
  Value index;
  int64_t axis = 0;
  static Result<TensorType> infer(const SelectAt& op, const Infer& ctx);
  static Expr define(const SelectAt& op, Define& d);
};

/// x with `row` written at `index`, an integer of rank 0, along `axis`; the row has x's shape without that axis. A negative index
/// counts from the end.
struct UpdateAt {
  static constexpr OpSpec spec = {
      .signature = "update_at(x, row, index, axis)",
      .samples = {"x=f32[4, 7], row=f32[7], index=i64[] in 0..4", "x=f32[4, 7], row=f32[4], index=i64[] in -7..7, axis=1",
                  "x=i64[6], row=i64[], index=i32[] in -6..0", "x=f16[2, 3, 5], row=f16[2, 5], index=i64[] in 0..3, axis=-2"}};
  Value x;
  Value row;
  Value index;
  int64_t axis = 0;
  static Result<TensorType> infer(const UpdateAt& op, const Infer& ctx);
  /// Where the row goes: the index, checked.
  static Expr place(const UpdateAt& op, const Define& d);
  static Expr define(const UpdateAt& op, Define& d);
};

using IndexOps = OpList<Embedding, IndexSelect, Gather, Index, Scatter, SelectAt, UpdateAt>;

}  // namespace mica
