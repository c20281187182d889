#include "mica/ops/attention.h"

#include <cmath>
#include <numeric>

#include "mica/ops/compare.h"
#include "mica/ops/matmul.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/softmax.h"
#include "mica/ops/view.h"

namespace mica {

Result<TensorType> ScaledDotProductAttention::infer(const ScaledDotProductAttention& op, const Infer& ctx) {
  const TensorType &q = ctx.type(op.query), &k = ctx.type(op.key), &v = ctx.type(op.value);
  if (q.rank() < 2 || k.rank() < 2 || v.rank() < 2) return ctx.error("needs-matrix", "query, key and value must have rank 2 or more");
  if (!is_float(q.dtype) || q.dtype != k.dtype || q.dtype != v.dtype)
    return ctx.error("dtype-mismatch", "query {}, key {} and value {} must have one floating dtype", q.to_string(), k.to_string(), v.to_string());
  if (q.shape[-1] != k.shape[-1] || k.shape[-2] != v.shape[-2])
    return ctx.error("attention-mismatch", "query {}, key {} and value {} do not fit", q.to_string(), k.to_string(), v.to_string());
  const auto batch = [&](const TensorType& t, bool grouped) {
    std::vector<Dim> dims(t.shape.dims().begin(), t.shape.dims().end() - 2);
    if (grouped && !dims.empty() && q.rank() > 2) dims.back() = q.shape.dim(-3);
    return Shape(std::move(dims));
  };
  if (op.gqa &&
      (q.rank() < 3 || k.rank() < 3 || v.rank() < 3 || !k.shape[-3] || !v.shape[-3] || q.shape[-3] % k.shape[-3] || q.shape[-3] % v.shape[-3])) {
    return ctx.error("attention-groups", "the heads of key {} and value {} do not divide those of query {}", k.to_string(), v.to_string(),
                     q.to_string());
  }
  const Shape shapes[] = {batch(q, false), batch(k, op.gqa), batch(v, op.gqa)};
  const auto both = broadcast_shapes(shapes);
  if (!both)
    return ctx.error("broadcast-mismatch", "leading axes of query {}, key {} and value {} do not broadcast", q.to_string(), k.to_string(),
                     v.to_string());
  std::vector<Dim> dims = both->dims();
  dims.push_back(q.shape.dim(-2));
  if (op.mask) {
    std::vector<Dim> scores = dims;
    scores.push_back(k.shape.dim(-2));
    const Shape pair[] = {Shape(scores), ctx.shape(*op.mask)};
    const auto masked = broadcast_shapes(pair);
    if (!masked || *masked != pair[0])
      return ctx.error("attention-mask", "mask {} does not broadcast to the scores {}", ctx.type(*op.mask).to_string(), pair[0].to_string());
  }
  dims.push_back(v.shape.dim(-1));
  return TensorType{q.dtype, Shape(std::move(dims)), {}};
}

namespace {

/// Repeats every head of axis -3, so that there are `heads`.
Value repeat_heads(Builder& b, Value x, int64_t heads) {
  const std::vector<int64_t> sizes = b.type(x).shape.sizes();
  const size_t axis = sizes.size() - 3;
  if (sizes[axis] == heads) return x;
  std::vector<int64_t> apart = sizes, wide, merged = sizes;
  apart.insert(apart.begin() + static_cast<int64_t>(axis) + 1, 1);
  wide = apart;
  wide[axis + 1] = heads / sizes[axis];
  merged[axis] = heads;
  return b.create(Reshape{b.create(Expand{b.create(Reshape{x, Ints(apart)}), Ints(wide)}), Ints(merged)});
}

}  // namespace

Value ScaledDotProductAttention::decompose(const ScaledDotProductAttention& op, Builder& b) {
  Value key = op.key, value = op.value;
  const TensorType q = b.type(op.query);
  if (op.gqa) {
    key = repeat_heads(b, key, q.shape[-3]);
    value = repeat_heads(b, value, q.shape[-3]);
  }
  std::vector<int64_t> axes(b.type(key).rank());
  std::iota(axes.begin(), axes.end(), 0);
  std::swap(axes[axes.size() - 1], axes[axes.size() - 2]);
  const double scale = op.scale != 0 ? op.scale : 1.0 / std::sqrt(static_cast<double>(q.shape[-1]));
  Value scores = b.create(Matmul{op.query, b.create(Permute{key, Ints(axes)})});
  scores = b.create(Mul{scores, b.scalar(working(q.dtype), scale)});
  if (op.causal) scores = b.create(Tril{.x = scores, .diagonal = 0, .fill = -__builtin_inf()});
  if (op.mask) {
    if (is_bool(b.type(*op.mask).dtype)) scores = b.create(Where{*op.mask, scores, b.scalar(q.dtype, -__builtin_inf())});
    else scores = b.create(Add{scores, *op.mask});
    if (b.type(scores).dtype != q.dtype) scores = b.create(Cast{scores, q.dtype});
  }
  const Value weights = b.create(Softmax{.x = scores, .axis = -1, .safe = static_cast<bool>(op.mask)});
  return b.create(Matmul{weights, value});
}

}  // namespace mica
