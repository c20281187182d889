#include "mica/ops/pool.h"

#include <algorithm>
#include <limits>

#include "mica/support/defect.h"
namespace mica {

Dim pooled_size(const Dim& size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode) {
  const Dim room = size + 2 * padding - dilation * (kernel - 1) - 1;
  if (room < 0) return ceil_mode && room > -stride ? 1 : 0;
  const Dim out = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  // The last window must start inside the input or its left padding.
  return ceil_mode ? Dim::min(out, Dim::ceil_div(size + padding, stride)) : out;
}

namespace {

struct Windows {
  const Ints &kernel, &stride, &padding;
  const Ints* dilation;
  bool ceil_mode;
  int64_t dilation_of(size_t i) const { return dilation ? (*dilation)[i] : 1; }
};

Result<TensorType> infer_windows(const Infer& ctx, Value x, const Windows& w, DType dtype) {
  const TensorType& t = ctx.type(x);
  const int64_t n = static_cast<int64_t>(w.kernel.size()), skip = t.rank() - n;
  if (n < 1 || skip < 0) return ctx.error("pool-rank", "a kernel over {} axes does not fit {}", n, t.to_string());
  if (w.stride.size() != w.kernel.size() || w.padding.size() != w.kernel.size() || (w.dilation && w.dilation->size() != w.kernel.size())) {
    return ctx.error("pool-attributes", "kernel, stride, padding and dilation must have as many numbers each");
  }
  std::vector<Dim> dims = t.shape.dims();
  for (int64_t i = 0; i < n; ++i) {
    const int64_t k = w.kernel[i], s = w.stride[i], p = w.padding[i], d = w.dilation_of(i);
    if (k < 1 || s < 1 || d < 1 || p < 0) return ctx.error("pool-attributes", "kernel, stride and dilation must be positive, padding not negative");
    if (p > ((k - 1) * d + 1) / 2) return ctx.error("pool-padding", "padding {} is more than half the kernel {}", p, k);
    const Dim out = pooled_size(t.shape[skip + i], k, s, p, d, w.ceil_mode);
    if (out < 1) return ctx.error("pool-kernel-too-large", "a kernel of {} does not fit axis {} of {}", k, skip + i, t.to_string());
    dims[skip + i] = out;
  }
  return TensorType{dtype, Shape(std::move(dims)), {}};
}

/// One read of x within the window of the result's element.
struct WindowRead {
  std::vector<Expr> vars, where;
  Expr inside;  ///< empty when every read is inside x
};

WindowRead window_read(Define& d, Value x, const Windows& w) {
  const Shape &xs = d.shape(x), &out = d.result_type().shape;
  const int64_t n = static_cast<int64_t>(w.kernel.size()), skip = xs.rank() - n;
  WindowRead r;
  r.where.assign(d.indices().begin(), d.indices().begin() + skip);
  for (int64_t i = 0; i < n; ++i) {
    const Expr k = d.var(w.kernel[i], "k");
    const Expr at = d.index(skip + i) * Expr(w.stride[i]) + k * Expr(w.dilation_of(i)) - Expr(w.padding[i]);
    r.vars.push_back(k);
    r.where.push_back(at);
    const Dim last = (out[skip + i] - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation_of(i) - w.padding[i];
    const auto require = [&](Expr e) { r.inside = r.inside ? r.inside && e : e; };
    if (w.padding[i] > 0) require(at >= Expr(0));
    if (!Dim::surely_less(last, xs[skip + i])) require(at < Expr(xs[skip + i]));
  }
  return r;
}

Expr masked(const Expr& inside, const Expr& e, const Expr& otherwise) { return inside ? select(inside, e, otherwise) : e; }

/// Bounds of the part of an adaptively pooled axis that belongs to result index o.
struct Part {
  Expr start, end;
  Dim longest;
  bool even;  ///< all parts have the length `longest`
};
Part part_of(const Expr& o, const Dim& extent, int64_t parts) {
  if (extent % parts == 0) {
    const Expr start = o * Expr(extent / parts);
    return {start, start + Expr(extent / parts), extent / parts, true};
  }
  if (!extent.is_static()) {
    // A part ends less than one element behind its share, and begins less than one before it.
    return {floordiv(o * Expr(extent), Expr(parts)), floordiv((o + Expr(1)) * Expr(extent) + Expr(parts - 1), Expr(parts)),
            Dim::min(extent, Dim::ceil_div(extent, parts) + 1), false};
  }
  const int64_t size = extent.size();
  Part p{floordiv(o * Expr(size), Expr(parts)), floordiv((o + Expr(1)) * Expr(size) + Expr(parts - 1), Expr(parts)), 0, true};
  int64_t shortest = std::numeric_limits<int64_t>::max();
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t length = ((i + 1) * size + parts - 1) / parts - i * size / parts;
    p.longest = std::max<int64_t>(p.longest, length);
    shortest = std::min(shortest, length);
  }
  p.even = shortest == p.longest;
  return p;
}

struct AdaptiveRead : WindowRead {
  Expr count;     ///< i64, elements of the part
  Dim whole = 1;  ///< the same where it is one number for all
  bool even = true;
};
AdaptiveRead adaptive_read(Define& d, Value x, const Ints& size) {
  const Shape& xs = d.shape(x);
  const int64_t n = static_cast<int64_t>(size.size()), skip = xs.rank() - n;
  AdaptiveRead r;
  r.where.assign(d.indices().begin(), d.indices().begin() + skip);
  r.count = Expr(1);
  for (int64_t i = 0; i < n; ++i) {
    const Part p = part_of(d.index(skip + i), xs[skip + i], size[i]);
    const Expr k = d.var(p.longest, "k"), at = p.start + k;
    r.vars.push_back(k);
    r.where.push_back(at);
    r.count = r.count * (p.end - p.start);
    r.whole *= p.longest;
    r.even = r.even && p.even;
    if (!p.even) r.inside = r.inside ? r.inside && at < p.end : at < p.end;
  }
  return r;
}

/// Where the first of a window's greatest elements lies in the pooled axes, counted row-major; `a` and `b` read the same window.
Expr place_of_greatest(Define& d, Value x, const WindowRead& a, const WindowRead& b, size_t axes) {
  const DType w = working(d.type(x).dtype);
  const Expr best = make_reduce(ReduceOp::max, a.vars, masked(a.inside, convert(w, d.at(x, a.where)), reduce_identity(ReduceOp::max, w)));
  const Shape& xs = d.shape(x);
  Expr linear(0);
  for (int64_t i = xs.rank() - static_cast<int64_t>(axes); i < xs.rank(); ++i) linear = linear * Expr(xs[i]) + b.where[static_cast<size_t>(i)];
  const Expr element = masked(b.inside, convert(w, d.at(x, b.where)), reduce_identity(ReduceOp::max, w)), far(std::numeric_limits<int64_t>::max());
  Expr hit = equal(element, best);
  if (is_float(w)) hit = hit || make_unary(ExprOp::isnan, element);
  if (b.inside) hit = b.inside && hit;
  return make_reduce(ReduceOp::min, b.vars, select(hit, linear, far));
}

Result<TensorType> infer_adaptive(const Infer& ctx, Value x, const Ints& size) {
  const TensorType& t = ctx.type(x);
  const int64_t n = static_cast<int64_t>(size.size()), skip = t.rank() - n;
  if (n < 1 || skip < 0) return ctx.error("pool-rank", "{} output sizes do not fit {}", n, t.to_string());
  std::vector<Dim> dims = t.shape.dims();
  for (int64_t i = 0; i < n; ++i) {
    if (size[i] < 1 || t.shape[skip + i] < 1)
      return ctx.error("pool-empty", "an axis of {} cannot be divided into {} parts", t.shape[skip + i], size[i]);
    dims[skip + i] = Dim(size[i]);
  }
  return TensorType{t.dtype, Shape(std::move(dims)), {}};
}

}  // namespace

Result<TensorType> MaxPool::infer(const MaxPool& op, const Infer& ctx) {
  return infer_windows(ctx, op.x, {op.kernel, op.stride, op.padding, &op.dilation, op.ceil_mode}, ctx.type(op.x).dtype);
}
Expr MaxPool::define(const MaxPool& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const WindowRead r = window_read(d, op.x, {op.kernel, op.stride, op.padding, &op.dilation, op.ceil_mode});
  const Expr outside = defect(Defect::pool_padding) ? imm(w, 0) : reduce_identity(ReduceOp::max, w);
  return convert(t, make_reduce(ReduceOp::max, r.vars, masked(r.inside, convert(w, d.at(op.x, r.where)), outside)));
}

Result<TensorType> MaxPoolIndices::infer(const MaxPoolIndices& op, const Infer& ctx) {
  return infer_windows(ctx, op.x, {op.kernel, op.stride, op.padding, &op.dilation, op.ceil_mode}, DType::i64);
}
Expr MaxPoolIndices::define(const MaxPoolIndices& op, Define& d) {
  const Windows windows{op.kernel, op.stride, op.padding, &op.dilation, op.ceil_mode};
  const WindowRead a = window_read(d, op.x, windows), b = window_read(d, op.x, windows);
  return place_of_greatest(d, op.x, a, b, op.kernel.size());
}

Result<TensorType> AvgPool::infer(const AvgPool& op, const Infer& ctx) {
  if (!require_float(ctx, op.x)) return Failure{};
  return infer_windows(ctx, op.x, {op.kernel, op.stride, op.padding, nullptr, op.ceil_mode}, ctx.type(op.x).dtype);
}
Expr AvgPool::define(const AvgPool& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const Windows windows{op.kernel, op.stride, op.padding, nullptr, op.ceil_mode};
  const WindowRead r = window_read(d, op.x, windows);
  const Expr sum = make_reduce(ReduceOp::sum, r.vars, masked(r.inside, convert(w, d.at(op.x, r.where)), imm(w, 0)));
  int64_t full = 1;
  for (int64_t k : op.kernel.items) full *= k;
  if (op.divisor) return convert(t, sum / imm(w, static_cast<double>(op.divisor)));
  if (!r.inside) return convert(t, sum / imm(w, static_cast<double>(full)));
  // Elements of the window within the input, or within the padded input, which a last window of ceil_mode may leave.
  const Shape &xs = d.shape(op.x), &out = d.result_type().shape;
  const int64_t skip = xs.rank() - static_cast<int64_t>(op.kernel.size());
  Expr count(1);
  for (size_t i = 0; i < op.kernel.size(); ++i) {
    const int64_t axis = skip + static_cast<int64_t>(i), pad = op.padding[i];
    const Dim limit = op.include_pad ? xs[axis] + pad : xs[axis], last = (out[axis] - 1) * op.stride[i] - pad + op.kernel[i];
    Expr start = d.index(axis) * Expr(op.stride[i]) - Expr(pad), end = start + Expr(op.kernel[i]);
    if (!Dim::surely_less(last, limit + 1)) end = min(end, Expr(limit));
    if (!op.include_pad && pad > defect(Defect::window_count)) start = max(start, Expr(0));
    count = count * (end - start);
  }
  return convert(t, sum / cast(w, simplify(count)));
}

Result<TensorType> AdaptiveAvgPool::infer(const AdaptiveAvgPool& op, const Infer& ctx) {
  if (!require_float(ctx, op.x)) return Failure{};
  return infer_adaptive(ctx, op.x, op.size);
}
Expr AdaptiveAvgPool::define(const AdaptiveAvgPool& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const AdaptiveRead r = adaptive_read(d, op.x, op.size);
  const Expr sum = make_reduce(ReduceOp::sum, r.vars, masked(r.inside, convert(w, d.at(op.x, r.where)), imm(w, 0)));
  return convert(t, sum / (r.even ? count_in(w, r.whole) : cast(w, r.count)));
}

Result<TensorType> AdaptiveMaxPool::infer(const AdaptiveMaxPool& op, const Infer& ctx) { return infer_adaptive(ctx, op.x, op.size); }
Expr AdaptiveMaxPool::define(const AdaptiveMaxPool& op, Define& d) {
  const DType t = d.result_type().dtype, w = working(t);
  const AdaptiveRead r = adaptive_read(d, op.x, op.size);
  return convert(t, make_reduce(ReduceOp::max, r.vars, masked(r.inside, convert(w, d.at(op.x, r.where)), reduce_identity(ReduceOp::max, w))));
}

Result<TensorType> AdaptiveMaxPoolIndices::infer(const AdaptiveMaxPoolIndices& op, const Infer& ctx) {
  auto type = infer_adaptive(ctx, op.x, op.size);
  if (!type) return Failure{};
  type->dtype = DType::i64;
  return type;
}
Expr AdaptiveMaxPoolIndices::define(const AdaptiveMaxPoolIndices& op, Define& d) {
  const WindowRead a = adaptive_read(d, op.x, op.size), b = adaptive_read(d, op.x, op.size);
  return place_of_greatest(d, op.x, a, b, op.size.size());
}

}  // namespace mica
