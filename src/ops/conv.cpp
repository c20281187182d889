#include "mica/ops/conv.h"

namespace mica {

namespace {

/// What both convolutions demand of ranks, dtypes and lists.
Result<void> check_operands(const Infer& ctx, Value x, Value weight, OptValue bias, int64_t channels, int64_t groups,
                            std::initializer_list<const Ints*> lists) {
  const TensorType &tx = ctx.type(x), &tw = ctx.type(weight);
  if (tx.rank() < 3 || tx.rank() != tw.rank())
    return ctx.error("conv-rank", "input {} and weight {} must have one rank, of 3 or more", tx.to_string(), tw.to_string());
  if (tx.dtype != tw.dtype) return ctx.error("dtype-mismatch", "input {} and weight {} must have one dtype", tx.to_string(), tw.to_string());
  for (const Ints* list : lists) {
    if (static_cast<int64_t>(list->size()) != tx.rank() - 2)
      return ctx.error("conv-attributes", "stride, padding and dilation need {} numbers, not {}", tx.rank() - 2, list->size());
  }
  if (groups < 1 || tx.shape[1] % groups || tw.shape[0] % groups)
    return ctx.error("conv-groups", "{} groups do not divide the channels of input {} and weight {}", groups, tx.to_string(), tw.to_string());
  if (bias && (ctx.shape(*bias).rank() != 1 || ctx.shape(*bias)[0] != channels))
    return ctx.error("conv-bias", "bias {} does not fit {} output channels", ctx.type(*bias).to_string(), channels);
  return {};
}

Expr both(const Expr& a, const Expr& b) { return a ? a && b : b; }

}  // namespace

Result<TensorType> Conv::infer(const Conv& op, const Infer& ctx) {
  const TensorType &x = ctx.type(op.x), &weight = ctx.type(op.weight);
  const int64_t outputs = weight.rank() ? weight.shape[0].size() : 0;
  const Ints& end = op.padding_end.items.empty() ? op.padding : op.padding_end;
  if (!check_operands(ctx, op.x, op.weight, op.bias, outputs, op.groups, {&op.stride, &op.padding, &end, &op.dilation})) return Failure{};
  if (x.shape[1] != weight.shape[1] * op.groups) {
    return ctx.error("conv-channel-mismatch", "input has {} channels but the weight expects {} (weight {}, {} groups)", x.shape[1],
                     weight.shape[1] * op.groups, weight.to_string(), op.groups);
  }
  std::vector<Dim> dims = {x.shape.dim(0), Dim(outputs)};
  for (int64_t i = 0; i < x.rank() - 2; ++i) {
    if (op.stride[i] < 1 || op.dilation[i] < 1) return ctx.error("conv-attributes", "stride and dilation must be positive");
    const Dim padded = x.shape[i + 2] + op.padding[i] + op.pad_after(i), span = op.dilation[i] * (weight.shape[i + 2] - 1) + 1;
    if (padded < span)
      return ctx.error("conv-kernel-too-large", "a kernel that spans {} does not fit the padded input of {} on axis {} of {}", span, padded, i + 2,
                       x.to_string());
    dims.push_back((padded - span) / op.stride[i] + 1);
  }
  return TensorType{x.dtype, Shape(std::move(dims)), {}};
}

Expr Conv::define(const Conv& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Shape &xs = d.shape(op.x), &ws = d.shape(op.weight), &out = d.result_type().shape;
  const Expr c = d.var(ws[1], "c"), o = d.index(1);
  std::vector<Expr> vars = {c}, from = {d.index(0)}, tap = {o, c};
  from.push_back(op.groups == 1 ? c : floordiv(o, Expr(ws[0] / op.groups)) * Expr(ws[1]) + c);
  Expr inside;
  for (int64_t i = 0; i < xs.rank() - 2; ++i) {
    const Expr k = d.var(ws[i + 2], "k");
    vars.push_back(k);
    tap.push_back(k);
    const Expr at = d.index(i + 2) * Expr(op.stride[i]) + k * Expr(op.dilation[i]) - Expr(op.padding[i]);
    from.push_back(at);
    const Dim last = (out[i + 2] - 1) * op.stride[i] + (ws[i + 2] - 1) * op.dilation[i] - op.padding[i];
    if (op.padding[i] > 0) inside = both(inside, at >= Expr(0));
    if (!Dim::surely_less(last, xs[i + 2])) inside = both(inside, at < Expr(xs[i + 2]));
  }
  Expr element = convert(w, d.at(op.x, from));
  if (inside) element = select(inside, element, imm(w, 0));
  Expr sum = make_reduce(ReduceOp::sum, vars, element * convert(w, d.at(op.weight, tap)));
  if (op.bias) sum = sum + convert(w, d.at(*op.bias, {o}));
  return convert(t, sum);
}

Result<TensorType> ConvTranspose::infer(const ConvTranspose& op, const Infer& ctx) {
  const TensorType &x = ctx.type(op.x), &weight = ctx.type(op.weight);
  const int64_t outputs = weight.rank() > 1 ? weight.shape[1].size() * op.groups : 0;
  if (!check_operands(ctx, op.x, op.weight, op.bias, outputs, op.groups, {&op.stride, &op.padding, &op.output_padding, &op.dilation}))
    return Failure{};
  if (x.shape[1] != weight.shape[0])
    return ctx.error("conv-channel-mismatch", "input has {} channels but the weight expects {} (weight {})", x.shape[1], weight.shape[0],
                     weight.to_string());
  std::vector<Dim> dims = {x.shape.dim(0), Dim(outputs)};
  for (int64_t i = 0; i < x.rank() - 2; ++i) {
    const int64_t size =
        (x.shape[i + 2] - 1) * op.stride[i] - 2 * op.padding[i] + op.dilation[i] * (weight.shape[i + 2] - 1) + 1 + op.output_padding[i];
    if (op.stride[i] < 1 || op.dilation[i] < 1 || size < 0)
      return ctx.error("conv-attributes", "stride {}, padding {} and dilation {} leave no output on axis {}", op.stride[i], op.padding[i],
                       op.dilation[i], i + 2);
    dims.push_back(Dim(size));
  }
  return TensorType{x.dtype, Shape(std::move(dims)), {}};
}

Expr ConvTranspose::define(const ConvTranspose& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Shape &xs = d.shape(op.x), &ws = d.shape(op.weight);
  const int64_t per_group = xs[1] / op.groups;
  const Expr c = d.var(per_group, "c"), o = d.index(1);
  const Expr channel = op.groups == 1 ? c : floordiv(o, Expr(ws[1])) * Expr(per_group) + c;
  std::vector<Expr> vars = {c}, from = {d.index(0), channel}, tap = {channel, op.groups == 1 ? o : floormod(o, Expr(ws[1]))};
  Expr inside;
  for (int64_t i = 0; i < xs.rank() - 2; ++i) {
    const Expr k = d.var(ws[i + 2], "k");
    vars.push_back(k);
    tap.push_back(k);
    // The input position q with q * stride = p + padding - k * dilation, where there is one.
    const Expr reach = d.index(i + 2) + Expr(op.padding[i]) - k * Expr(op.dilation[i]), q = floordiv(reach, Expr(op.stride[i]));
    from.push_back(q);
    inside = both(inside, reach >= Expr(0) && q < Expr(xs[i + 2]));
    if (op.stride[i] > 1) inside = inside && equal(floormod(reach, Expr(op.stride[i])), Expr(0));
  }
  const Expr element = select(inside, convert(w, d.at(op.x, from)), imm(w, 0));
  Expr sum = make_reduce(ReduceOp::sum, vars, element * convert(w, d.at(op.weight, tap)));
  if (op.bias) sum = sum + convert(w, d.at(*op.bias, {o}));
  return convert(t, sum);
}

}  // namespace mica
