#include "mica/ops/norm.h"

#include <numeric>

#include "mica/ops/compare.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/reduce.h"
#include "mica/ops/view.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

Result<void> check_parameter(const Infer& ctx, OptValue p, const Shape& expected, const char* what) {
  if (!p || ctx.shape(*p) == expected) return {};
  return ctx.error("norm-parameter", "{} is {}, but {} is expected", what, ctx.type(*p).to_string(), expected.to_string());
}

Result<TensorType> infer_trailing(const Infer& ctx, Value x, OptValue weight, OptValue bias, int64_t axes) {
  const Shape& s = ctx.shape(x);
  if (!require_float(ctx, x)) return Failure{};
  if (axes < 1 || axes > s.rank()) return ctx.error("norm-axes", "{} has no {} last axes to normalise", ctx.type(x).to_string(), axes);
  const Shape tail(std::vector<Dim>(s.dims().end() - axes, s.dims().end()));
  if (!check_parameter(ctx, weight, tail, "the weight") || !check_parameter(ctx, bias, tail, "the bias")) return Failure{};
  return infer_same(ctx, x);
}

/// The last `axes` axes, and how many elements they have.
struct Tail {
  std::vector<int64_t> axes;
  Dim count = 1;
};
Tail tail_of(const Shape& s, int64_t axes) {
  Tail t;
  for (int64_t i = s.rank() - axes; i < s.rank(); ++i) {
    t.axes.push_back(i);
    t.count *= s[i];
  }
  return t;
}

Result<TensorType> infer_channels(const Infer& ctx, Value x, std::initializer_list<std::pair<OptValue, const char*>> parameters) {
  const Shape& s = ctx.shape(x);
  if (!require_float(ctx, x)) return Failure{};
  if (s.rank() < 2) return ctx.error("norm-rank", "takes a tensor with channels in axis 1, not {}", ctx.type(x).to_string());
  for (const auto& [value, what] : parameters) {
    if (!check_parameter(ctx, value, Shape(std::vector<Dim>{s.dim(1)}), what)) return Failure{};
  }
  return infer_same(ctx, x);
}

}  // namespace

Result<TensorType> BatchNorm::infer(const BatchNorm& op, const Infer& ctx) {
  return infer_channels(ctx, op.x, {{op.weight, "the weight"}, {op.bias, "the bias"}, {op.mean, "the mean"}, {op.var, "the variance"}});
}
Expr BatchNorm::define(const BatchNorm& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const auto of = [&](Value v) { return convert(w, d.at(v, {d.index(1)})); };
  Expr scale = imm(w, 1) / sqrt(of(op.var) + imm(w, op.eps));
  if (op.weight) scale = scale * of(*op.weight);
  Expr y = (load(d, w, op.x) - of(op.mean)) * scale;
  if (op.bias) y = y + of(*op.bias);
  return convert(t, y);
}

Result<TensorType> LayerNorm::infer(const LayerNorm& op, const Infer& ctx) { return infer_trailing(ctx, op.x, op.weight, op.bias, op.axes); }
Expr LayerNorm::define(const LayerNorm& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Tail tail = tail_of(d.shape(op.x), op.axes);
  const Expr x = load(d, w, op.x), count = count_in(w, tail.count);
  const Expr distance = x - d.reduce(ReduceOp::sum, tail.axes, x) / count;
  const Expr variance = d.reduce(ReduceOp::sum, tail.axes, distance * distance) / count;
  const Expr eps = imm(w, op.eps);
  Expr y = distance * (imm(w, 1) / (defect(Defect::norm_eps) ? sqrt(variance) + eps : sqrt(variance + eps)));
  if (op.weight) y = y * load(d, w, *op.weight);
  if (op.bias) y = y + load(d, w, *op.bias);
  return convert(t, y);
}

Result<TensorType> RmsNorm::infer(const RmsNorm& op, const Infer& ctx) { return infer_trailing(ctx, op.x, op.weight, {}, op.axes); }
Expr RmsNorm::define(const RmsNorm& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Tail tail = tail_of(d.shape(op.x), op.axes);
  const Expr x = load(d, w, op.x);
  const Expr mean = d.reduce(ReduceOp::sum, tail.axes, x * x) / count_in(w, tail.count);
  Expr y = x * (imm(w, 1) / sqrt(mean + imm(w, op.eps)));
  if (op.weight) y = y * load(d, w, *op.weight);
  return convert(t, y);
}

Result<TensorType> GroupNorm::infer(const GroupNorm& op, const Infer& ctx) {
  auto t = infer_channels(ctx, op.x, {{op.weight, "the weight"}, {op.bias, "the bias"}});
  if (t && (op.groups < 1 || t->shape[1] % op.groups))
    return ctx.error("norm-groups", "{} groups do not divide the {} channels of {}", op.groups, t->shape[1], t->to_string());
  return t;
}
/// Statistics go channel by channel before they go group by group: a sum over places keeps the channels apart, so it reads memory in order
/// whichever of them lies innermost. The variance is the mean of squared distances: a difference of two large sums would lose its digits.
Value GroupNorm::decompose(const GroupNorm& op, Builder& b) {
  constexpr int64_t most_repeated = 64;
  const TensorType type = b.type(op.x);
  const Shape& s = type.shape;
  const DType w = working(type.dtype);
  const int64_t channels = s[1], each = channels / op.groups;
  std::vector<int64_t> places(static_cast<size_t>(s.rank() - 2));
  std::iota(places.begin(), places.end(), 2);
  const auto wide = [&](Value v) { return b.type(v).dtype == w ? v : b.create(Cast{v, w}); };
  const auto column = [&](Value v, const Dim& samples) {
    std::vector<Dim> shape(static_cast<size_t>(s.rank()), 1);
    shape[0] = samples, shape[1] = channels;
    return b.create(Reshape{v, shape});
  };
  // A number for each channel of each sample: the mean over its group. Each channel of a small group adds it up for itself, so that nobody
  // has to find out which group a channel is in.
  const auto mean = [&](Value v) {
    if (!places.empty()) v = b.create(Mean{v, Ints(places)});
    const std::vector<Dim> parts = {s[0], op.groups, each};
    if (each > 1 && each <= most_repeated) {
      const std::vector<Dim> repeated = {s[0], op.groups, each, each};
      v = b.create(Mean{b.create(Expand{b.create(Reshape{v, {s[0], op.groups, 1, each}}), repeated}), Ints{3}});
    } else if (each > 1) {
      v = b.create(Expand{b.create(Mean{b.create(Reshape{v, parts}), Ints{2}, true}), parts});
    }
    return column(v, s[0]);
  };
  const Value x = wide(op.x), center = mean(x), distance = b.create(Sub{x, center});
  Value scale = b.create(Rsqrt{b.create(Add{mean(b.create(Mul{distance, distance})), b.scalar(w, op.eps)})});
  if (op.weight) scale = b.create(Mul{scale, column(wide(*op.weight), 1)});
  const Value shift = b.create(Mul{center, scale}), y = b.create(Mul{x, scale});
  const Value normal = op.bias ? b.create(Add{y, b.create(Sub{column(wide(*op.bias), 1), shift})}) : b.create(Sub{y, shift});
  return w == type.dtype ? normal : b.create(Cast{normal, type.dtype});
}

}  // namespace mica
