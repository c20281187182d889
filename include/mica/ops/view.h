#pragma once
// Ops that move elements: the result's element is an operand's element, found by index arithmetic.
#include "mica/ops/rules.h"

namespace mica {

inline constexpr Trait view_trait = Trait::pure | Trait::view;

/// The same elements in row-major order under another shape of as many elements. One -1 is inferred.
struct Reshape {
  static constexpr OpSpec spec = {
      .signature = "reshape(x, shape)",
      .samples = {"x=f32[4, 6], shape=[24]", "x=f32[2, 3, 4], shape=[6, 4]", "x=i64[6], shape=[1, 2, 1, 3]", "x=f32[4, 6], shape=[8, 3]",
                  "x=f32[], shape=[1, 1]", "x=f32[0, 3], shape=[3, 0, 2]", "x=f16[2, 3], shape=[-1]", "x=f32[1], shape=[]"},
      .traits = view_trait};
  Value x;
  Dims shape;
  static Result<TensorType> infer(const Reshape& op, const Infer& ctx);
  static Expr define(const Reshape& op, Define& d) { return d.at(op.x, reshape_index(d.shape(op.x), d.result_type().shape, d.indices())); }
};

/// Result axis i is axis `axes[i]` of x.
struct Permute {
  static constexpr OpSpec spec = {.signature = "permute(x, axes)",
                                  .samples = {"x=f32[4, 7], axes=[1, 0]", "x=f32[2, 3, 4, 5], axes=[0, 2, 3, 1]", "x=i64[2, 3, 4], axes=[-1, 0, 1]",
                                              "x=f32[], axes=[]", "x=f16[0, 3], axes=[1, 0]"},
                                  .traits = view_trait};
  Value x;
  Ints axes;
  static Result<TensorType> infer(const Permute& op, const Infer& ctx);
  static Expr define(const Permute& op, Define& d);
};

/// x broadcast from the right to `shape`; -1 keeps a size.
struct Expand {
  static constexpr OpSpec spec = {.signature = "expand(x, shape)",
                                  .samples = {"x=f32[4, 1], shape=[4, 7]", "x=f32[3], shape=[2, 3]", "x=i64[1, 3, 1], shape=[5, -1, 2]",
                                              "x=f32[], shape=[2, 2]", "x=f32[1], shape=[0]"},
                                  .traits = view_trait};
  Value x;
  Dims shape;
  static Result<TensorType> infer(const Expand& op, const Infer& ctx);
  static Expr define(const Expand& op, Define& d) { return d[op.x]; }
};

/// Elements start, start + step, ... below end along `axis`. As in Python, negative bounds count from the end and all are clamped; step > 0.
struct Slice {
  static constexpr OpSpec spec = {.signature = "slice(x, axis, start, end, step)",
                                  .samples = {"x=f32[4, 7], axis=1, start=2, end=5", "x=f32[9, 2], axis=0, start=1, step=3", "x=i64[5], start=-2",
                                              "x=f32[3, 4], axis=-1, start=3, end=3", "x=f16[6], end=100, step=4"},
                                  .traits = view_trait};
  Value x;
  int64_t axis = 0;
  Dim start = 0;
  Dim end = INT64_MAX;
  int64_t step = 1;
  static Result<TensorType> infer(const Slice& op, const Infer& ctx);
  static Expr define(const Slice& op, Define& d);
};
/// First index and number of elements of a Python slice of `size` elements.
struct SliceRange {
  Dim start, count;
};
SliceRange slice_range(const Dim& size, const Dim& start, const Dim& end, int64_t step);

/// The operands one behind the other along `axis`; dtypes are promoted. A rank-1 operand without elements is skipped, as in torch.
struct Cat {
  static constexpr OpSpec spec = {.signature = "cat(xs, axis)",
                                  .samples = {"xs=[f32[4, 7], f32[4, 2]], axis=1", "xs=[f32[1, 2], f32[3, 2], f32[2, 2]]", "xs=[i64[2], f32[3]]",
                                              "xs=[f32[2, 3, 4]], axis=-2", "xs=[f32[0], f32[2, 2]]", "xs=[f16[2, 0], f16[2, 3]], axis=1"}};
  Values xs;
  int64_t axis = 0;
  static Result<TensorType> infer(const Cat& op, const Infer& ctx);
  static Expr define(const Cat& op, Define& d);
};

/// x with `value` around it: `before[i]` and `after[i]` elements on axis i. Negative numbers cut off.
struct Pad {
  static constexpr OpSpec spec = {
      .signature = "pad(x, before, after, value)",
      .samples = {"x=f32[4, 7], before=[1, 0], after=[0, 2]", "x=f32[1, 2, 3], before=[0, 1, 1], after=[0, 1, 1], value=-1.5",
                  "x=i64[5], before=[-1], after=[3], value=7", "x=f32[2, 0], before=[0, 1], after=[0, 1]", "x=f32[5], before=[0], after=[-2]"}};
  Value x;
  Dims before;
  Dims after;
  double value = 0;
  static Result<TensorType> infer(const Pad& op, const Infer& ctx);
  static Expr define(const Pad& op, Define& d);
};

/// Padding that mirrors at the border without repeating it; each amount is below the axis's size.
struct ReflectionPad {
  static constexpr OpSpec spec = {.signature = "reflection_pad(x, before, after)",
                                  .samples = {"x=f32[1, 2, 5], before=[0, 0, 2], after=[0, 0, 4]",
                                              "x=f32[1, 4, 4], before=[0, 1, 2], after=[0, 3, 0]", "x=f16[1, 3], before=[0, 2], after=[0, 1]"}};
  Value x;
  Dims before;
  Dims after;
  static Result<TensorType> infer(const ReflectionPad& op, const Infer& ctx);
  static Expr define(const ReflectionPad& op, Define& d);
};

/// Padding that repeats the border element.
struct ReplicationPad {
  static constexpr OpSpec spec = {.signature = "replication_pad(x, before, after)",
                                  .samples = {"x=f32[1, 2, 5], before=[0, 0, 2], after=[0, 0, 7]",
                                              "x=f32[1, 4, 4], before=[0, 1, 2], after=[0, 3, 0]", "x=f16[2, 1], before=[0, 2], after=[0, 1]"}};
  Value x;
  Dims before;
  Dims after;
  static Result<TensorType> infer(const ReplicationPad& op, const Infer& ctx);
  static Expr define(const ReplicationPad& op, Define& d);
};

/// Padding that wraps round; each amount is at most the axis's size.
struct CircularPad {
  static constexpr OpSpec spec = {
      .signature = "circular_pad(x, before, after)",
      .samples = {"x=f32[1, 2, 5], before=[0, 0, 2], after=[0, 0, 5]", "x=f32[1, 1, 4, 4], before=[0, 0, 1, 2], after=[0, 0, 3, 0]"}};
  Value x;
  Dims before;
  Dims after;
  static Result<TensorType> infer(const CircularPad& op, const Infer& ctx);
  static Expr define(const CircularPad& op, Define& d);
};

/// The order of elements reversed along each of `axes`.
struct Flip {
  static constexpr OpSpec spec = {.signature = "flip(x, axes)",
                                  .torch = "aten::flip(self=x, dims=axes)",
                                  .samples = {"x=f32[4, 7], axes=[0]", "x=i64[2, 3, 4], axes=[-1, 0]", "x=f32[5], axes=[]"},
                                  .traits = view_trait};
  Value x;
  Ints axes;
  static Result<TensorType> infer(const Flip& op, const Infer& ctx);
  static Expr define(const Flip& op, Define& d);
};

/// Element i moves to (i + shifts[k]) mod size along axes[k].
struct Roll {
  static constexpr OpSpec spec = {.signature = "roll(x, shifts, axes)",
                                  .samples = {"x=f32[4, 7], shifts=[2], axes=[1]", "x=f32[2, 3, 4], shifts=[-1, 5], axes=[1, 2]",
                                              "x=i64[5], shifts=[0], axes=[0]", "x=f32[0, 2], shifts=[1], axes=[0]"},
                                  .traits = view_trait};
  Value x;
  Ints shifts;
  Ints axes;
  static Result<TensorType> infer(const Roll& op, const Infer& ctx);
  static Expr define(const Roll& op, Define& d);
};

/// Of the last two axes, keeps element [i, j] where j - i <= diagonal; `fill` elsewhere.
struct Tril {
  static constexpr OpSpec spec = {.signature = "tril(x, diagonal, fill)",
                                  .torch = "aten::tril(self=x, diagonal=diagonal)",
                                  .samples = {"x=f32[4, 7]", "x=f32[2, 5, 5], diagonal=-1", "x=i64[3, 3], diagonal=1", "x=f32[3, 4], fill=-2"}};
  Value x;
  int64_t diagonal = 0;
  double fill = 0;
  static Result<TensorType> infer(const Tril& op, const Infer& ctx);
  static Expr define(const Tril& op, Define& d);
};

/// Of the last two axes, keeps element [i, j] where j - i >= diagonal; `fill` elsewhere.
struct Triu {
  static constexpr OpSpec spec = {.signature = "triu(x, diagonal, fill)",
                                  .torch = "aten::triu(self=x, diagonal=diagonal)",
                                  .samples = {"x=f32[4, 7]", "x=f32[2, 5, 5], diagonal=-1", "x=i64[3, 3], diagonal=1"}};
  Value x;
  int64_t diagonal = 0;
  double fill = 0;
  static Result<TensorType> infer(const Triu& op, const Infer& ctx);
  static Expr define(const Triu& op, Define& d);
};

/// Windows of `size` elements, `dilation` apart, every `step` along `axis`: the axis becomes the number of windows, the window is a new last axis.
struct Unfold {
  static constexpr OpSpec spec = {.signature = "unfold(x, axis, size, step, dilation)",
                                  .samples = {"x=f32[4, 7], axis=1, size=3, step=2", "x=f32[9], size=2",
                                              "x=i64[2, 8, 3], axis=1, size=3, step=1, dilation=2", "x=f32[4], size=4"},
                                  .traits = view_trait};
  Value x;
  int64_t axis = 0;
  int64_t size = 1;
  int64_t step = 1;
  int64_t dilation = 1;
  static Result<TensorType> infer(const Unfold& op, const Infer& ctx);
  static Expr define(const Unfold& op, Define& d);
};

/// The transpose of unfold: windows (axis `axis`, each along the last axis) are added up where they overlap, into `size` elements every `step`.
struct OverlapAdd {
  static constexpr OpSpec spec = {.signature = "overlap_add(x, axis, size, step, dilation)",
                                  .samples = {"x=f32[4, 3, 3], axis=1, size=7, step=2", "x=f32[8, 2], size=9, step=1",
                                              "x=f32[2, 4, 3], axis=1, size=9, step=1, dilation=2", "x=f16[2, 3], size=8, step=4"}};
  Value x;
  int64_t axis = 0;
  Dim size = 1;
  int64_t step = 1;
  int64_t dilation = 1;
  static Result<TensorType> infer(const OverlapAdd& op, const Infer& ctx);
  static Expr define(const OverlapAdd& op, Define& d);
};

/// The diagonal `offset` of axes axis1 and axis2, which becomes the last axis.
struct Diagonal {
  static constexpr OpSpec spec = {.signature = "diagonal(x, offset, axis1, axis2)",
                                  .torch = "aten::diagonal(self=x, offset=offset, dim1=axis1, dim2=axis2)",
                                  .samples = {"x=f32[4, 7]", "x=f32[2, 5, 3], offset=-1, axis1=1, axis2=2",
                                              "x=i64[3, 2, 3], offset=1, axis1=0, axis2=2", "x=f32[2, 2], offset=5"},
                                  .traits = view_trait};
  Value x;
  int64_t offset = 0;
  int64_t axis1 = 0;
  int64_t axis2 = 1;
  static Result<TensorType> infer(const Diagonal& op, const Infer& ctx);
  static Expr define(const Diagonal& op, Define& d);
};

/// x with the elements that slice(axis, start, end, step) names replaced by `source`, which is broadcast and converted to x's dtype.
struct SliceScatter {
  static constexpr OpSpec spec = {
      .signature = "slice_scatter(x, source, axis, start, end, step)",
      .torch = "aten::slice_scatter(self=x, src=source, dim=axis, start=start, end=end, step=step)",
      .samples = {"x=f32[4, 7], source=f32[4, 3], axis=1, start=2, end=5", "x=f32[9, 2], source=f32[3, 2], axis=0, start=1, step=3",
                  "x=i64[5], source=i64[2], start=-2", "x=f32[3, 4], source=f32[1, 4], end=2", "x=f32[4], source=f32[0], start=4"}};
  Value x;
  Value source;
  int64_t axis = 0;
  Dim start = 0;
  Dim end = INT64_MAX;
  int64_t step = 1;
  static Result<TensorType> infer(const SliceScatter& op, const Infer& ctx);
  static Expr define(const SliceScatter& op, Define& d);
};

using ViewOps = OpList<Reshape, Permute, Expand, Slice, Cat, Pad, ReflectionPad, ReplicationPad, CircularPad, Flip, Roll, Tril, Triu, Unfold,
                       OverlapAdd, Diagonal, SliceScatter>;

}  // namespace mica
