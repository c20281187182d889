/// Folds inference-time batch_norm into the convolution or linear layer before it:
///   %c = conv(%x, w, b)
///   %y = batch_norm(%c, gamma, beta, mean, var)
///     =>
///   %y = conv(%x, w * s, (b - mean) * s + beta)        where s = gamma / sqrt(var + eps)
/// or behind it, where no padding stands between (a padded zero is not normalised):
///   %n = batch_norm(%x, gamma, beta, mean, var)
///   %y = conv(%n, w, b)
///     =>
///   %y = conv(%x, w * s, b + sum of w * (beta - mean * s))
/// or into each of the convolutions that are concatenated before it:
///   %y = batch_norm(cat(%c, %d, axis=1), ..)
///     =>
///   %y = cat(batch_norm(%c, ..), batch_norm(%d, ..), axis=1)
/// and makes any other one a multiplication and an addition:
///   %y = batch_norm(%x, gamma, beta, mean, var)
///     =>
///   %0 = mul(%x, s)
///   %y = add(%0, beta - mean * s)
/// Only with constant parameters, and when what is folded has no other user. Computed in fp64, rounded once.
#include <algorithm>
#include <cmath>

#include "constants.h"
#include "mica/ops/conv.h"
#include "mica/ops/matmul.h"
#include "mica/ops/norm.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/view.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

/// batch_norm as y = x * scale + shift, a pair for each channel.
struct ScaleShift {
  std::vector<double> scale, shift;
};

std::optional<ScaleShift> scale_shift(const Rewriter& rw, const BatchNorm& op) {
  const Graph& graph = const_cast<Rewriter&>(rw).graph();
  for (const Value v : {op.mean, op.var})
    if (!graph.is_constant(v)) return std::nullopt;
  for (const OptValue& v : {op.weight, op.bias})
    if (v && !graph.is_constant(*v)) return std::nullopt;
  const HostTensor mean = constant_tensor(graph, op.mean), var = constant_tensor(graph, op.var);
  ScaleShift out{std::vector<double>(mean.real.size(), 1.0), std::vector<double>(mean.real.size(), 0.0)};
  if (op.weight) out.scale = constant_tensor(graph, *op.weight).real;
  if (op.bias) out.shift = constant_tensor(graph, *op.bias).real;
  for (size_t c = 0; c < mean.real.size(); ++c) {
    out.scale[c] /= std::sqrt(var.real[c] + op.eps);
    out.shift[c] -= mean.real[c] * out.scale[c];
  }
  return out;
}

/// Weight and bias of a layer that may be changed: constants.
bool has_constant_parameters(const Rewriter& rw, Value weight, OptValue bias) { return rw.is_constant(weight) && (!bias || rw.is_constant(*bias)); }

/// New weight w * scale[output channel of the element] and bias b * scale + shift.
struct Parameters {
  Value weight, bias;
};
template <class F> Parameters scaled_outputs(Rewriter& rw, Value weight, OptValue bias, const ScaleShift& s, F output_channel) {
  const Graph& graph = rw.graph();
  HostTensor w = constant_tensor(graph, weight);
  for (size_t i = 0; i < w.real.size(); ++i) w.real[i] *= s.scale[output_channel(static_cast<int64_t>(i))];
  std::vector<double> b(s.scale.size(), 0.0);
  if (bias) b = constant_tensor(graph, *bias).real;
  for (size_t c = 0; c < b.size(); ++c) b[c] = b[c] * s.scale[c] + s.shift[c];
  const TensorType type = graph.type(weight);
  const std::string name = name_of_value(graph, weight);
  const Value new_weight = make_constant(rw, type, std::move(w.real), name);
  const TensorType bias_type{type.dtype, {static_cast<int64_t>(b.size())}, {}};
  return {new_weight, make_constant(rw, bias_type, std::move(b), bias ? name_of_value(graph, *bias) : name + ".bias")};
}

bool fold_into_producer(Rewriter& rw, const BatchNorm& op) {
  if (rw.uses(op.x) != 1) return false;
  const auto s = scale_shift(rw, op);
  if (!s) return false;
  if (auto conv = rw.producer<Conv>(op.x); conv && has_constant_parameters(rw, conv->weight, conv->bias)) {
    const Shape shape = rw.type(conv->weight).shape;
    const int64_t each = shape.elements() / std::max<int64_t>(shape[0], 1);
    const Parameters p = scaled_outputs(rw, conv->weight, conv->bias, *s, [&](int64_t i) { return i / each; });
    conv->weight = p.weight;
    conv->bias = p.bias;
    return rw.replace(rw.create(*conv)), true;
  }
  if (auto conv = rw.producer<ConvTranspose>(op.x); conv && has_constant_parameters(rw, conv->weight, conv->bias)) {
    const Shape shape = rw.type(conv->weight).shape;  // [C, O/groups, kernel...]
    const int64_t per_group = shape[1], each = shape.elements() / std::max<int64_t>(shape[0] * shape[1], 1), channels = shape[0] / conv->groups;
    const Parameters p = scaled_outputs(rw, conv->weight, conv->bias, *s,
                                        [&](int64_t i) { return i / each / per_group / channels * per_group + i / each % per_group; });
    conv->weight = p.weight;
    conv->bias = p.bias;
    return rw.replace(rw.create(*conv)), true;
  }
  // The channels of batch_norm are axis 1, those of linear the last one.
  if (auto linear = rw.producer<Linear>(op.x); linear && rw.type(op.x).rank() == 2 && has_constant_parameters(rw, linear->weight, linear->bias)) {
    const int64_t each = rw.type(linear->weight).shape[1];
    const Parameters p = scaled_outputs(rw, linear->weight, linear->bias, *s, [&](int64_t i) { return i / each; });
    linear->weight = p.weight;
    linear->bias = p.bias;
    return rw.replace(rw.create(*linear)), true;
  }
  return false;
}

/// Weights [O, C/groups, each] take the scale of their input channel; the shift becomes part of the bias.
Parameters scaled_inputs(Rewriter& rw, Value weight, OptValue bias, const ScaleShift& s, int64_t groups) {
  const Graph& graph = rw.graph();
  HostTensor w = constant_tensor(graph, weight);
  const TensorType type = graph.type(weight);
  const int64_t outputs = type.shape[0], channels = type.shape[1], each = type.shape.elements() / std::max<int64_t>(outputs * channels, 1);
  std::vector<double> b(outputs, 0.0);
  if (bias) b = constant_tensor(graph, *bias).real;
  for (int64_t i = 0; i < static_cast<int64_t>(w.real.size()); ++i) {
    const int64_t o = i / each / channels, c = o / (outputs / groups) * channels + i / each % channels;
    b[o] += w.real[i] * s.shift[c];
    w.real[i] *= s.scale[c];
  }
  const std::string name = name_of_value(graph, weight);
  const Value new_weight = make_constant(rw, type, std::move(w.real), name);
  return {new_weight, make_constant(rw, {type.dtype, {outputs}, {}}, std::move(b), bias ? name_of_value(graph, *bias) : name + ".bias")};
}

bool all_zero(const Ints& list) {
  return std::ranges::all_of(list.items, [](int64_t v) { return v == 0; });
}

bool fold_into_conv(Rewriter& rw, const Conv& op) {
  const auto norm = rw.producer<BatchNorm>(op.x);
  if (!norm || rw.uses(op.x) != 1 || !all_zero(op.padding) || !all_zero(op.padding_end) || !has_constant_parameters(rw, op.weight, op.bias))
    return false;
  const auto s = scale_shift(rw, *norm);
  if (!s) return false;
  Conv conv = op;
  const Parameters p = scaled_inputs(rw, op.weight, op.bias, *s, op.groups);
  conv.x = norm->x;
  conv.weight = p.weight;
  conv.bias = p.bias;
  return rw.replace(rw.create(conv)), true;
}

bool fold_into_linear(Rewriter& rw, const Linear& op) {
  const auto norm = rw.producer<BatchNorm>(op.x);
  if (!norm || rw.uses(op.x) != 1 || rw.type(op.x).rank() != 2 || !has_constant_parameters(rw, op.weight, op.bias)) return false;
  const auto s = scale_shift(rw, *norm);
  if (!s) return false;
  const Parameters p = scaled_inputs(rw, op.weight, op.bias, *s, 1);
  return rw.replace(rw.create(Linear{norm->x, p.weight, p.bias})), true;
}

bool split_over_cat(Rewriter& rw, const BatchNorm& op) {
  const auto cat = rw.producer<Cat>(op.x);
  if (!cat || rw.uses(op.x) != 1 || from_front(cat->axis, rw.type(op.x).rank()) != 1 || !scale_shift(rw, op)) return false;
  const TensorType whole = rw.type(op.x);
  for (const Value v : cat->xs.items) {
    const auto conv = rw.producer<Conv>(v);
    if (!conv || rw.uses(v) != 1 || !has_constant_parameters(rw, conv->weight, conv->bias) || rw.type(v).dtype != whole.dtype ||
        rw.type(v).rank() != whole.rank())
      return false;
  }
  std::vector<Value> parts;
  int64_t start = 0;
  for (const Value v : cat->xs.items) {
    const int64_t count = rw.type(v).shape[1];
    const auto part = [&](Value parameter) { return constant_part(rw, parameter, start, count); };
    BatchNorm norm = op;
    norm.x = v;
    if (op.weight) norm.weight = part(*op.weight);
    if (op.bias) norm.bias = part(*op.bias);
    norm.mean = part(op.mean);
    norm.var = part(op.var);
    parts.push_back(rw.create(norm));
    start += count;
  }
  return rw.replace(rw.create(Cat{parts, 1})), true;
}

/// 16-bit types keep batch_norm, which computes in f32: a rounded scale would cost accuracy.
bool make_affine(Rewriter& rw, const BatchNorm& op) {
  const TensorType type = rw.type(op.x);
  if (type.dtype != DType::f32 && type.dtype != DType::f64) return false;
  const auto s = scale_shift(rw, op);
  if (!s) return false;
  std::vector<int64_t> sizes(std::max<int64_t>(type.rank() - 1, 1), 1);
  sizes[0] = static_cast<int64_t>(s->scale.size());
  const TensorType parameter{type.dtype, Shape(sizes), {}};
  const std::string name = op.weight ? name_of_value(rw.graph(), *op.weight) : name_of_value(rw.graph(), op.var);
  const Value scale = make_constant(rw, parameter, s->scale, name + ".scale"), shift = make_constant(rw, parameter, s->shift, name + ".shift");
  return rw.replace(rw.create(Add{rw.create(Mul{op.x, scale}), shift})), true;
}

bool run(Graph& graph, PassContext& context) {
  const bool folded = rewrite_rules<split_over_cat, fold_into_producer, fold_into_conv, fold_into_linear>(graph, context);
  return rewrite_rules<make_affine>(graph, context) || folded;
}

}  // namespace

constinit const Pass fold_batch_norm = {
    .name = "fold_batch_norm", .summary = "Fold batch_norm into a neighbouring layer, or make it a scale and a shift", .run = run};

}  // namespace mica
