// Sees a convolution, a linear layer or a matrix product as a contraction: which axes are rows, where they begin in memory.
#include <algorithm>

#include "attention.h"
#include "contraction.h"
#include "depthwise.h"
#include "mica/ops/conv.h"
#include "mica/ops/matmul.h"
#include "mica/ops/pointwise.h"
#include "mica/support/defect.h"

namespace mica::lower {

namespace {

constexpr int64_t largest_row_table = 1 << 16;  ///< entries; larger tables are kept per axis

/// Coefficients of an access along its operand's axes.
std::vector<Dim> strides_of(const Access& access) { return linear_index(access.flat, access.vars).value().strides; }
Dim offset_of(const Access& access) { return linear_index(access.flat, access.vars).value().offset; }

// ---- convolution ----
bool has_padding(const Conv& op, size_t spatial) {
  bool any = false;
  for (size_t s = 0; s < spatial; ++s) any |= op.padding[s] != 0 || op.pad_after(s) != 0;
  return any;
}

void spatial_rows(const Conv& op, const Shape& x, const Shape& weight, const Shape& out, const std::vector<Dim>& strides, size_t spatial, bool merged,
                  bool plain, Contraction& c) {
  // Taps of the last axis may stand in K: then there are fewer outputs than inputs, and rows have gaps between them.
  bool dense = plain;
  for (int64_t s = 3; s < static_cast<int64_t>(2 + spatial); ++s) dense &= strides[s - 1] == strides[s] * x[s] && out[s] == x[s];
  if (dense) {
    c.a_row = strides[1 + spatial];
    return;
  }
  for (size_t s = 0; s < spatial; ++s) {
    const auto axis = static_cast<int64_t>(2 + s);
    SpatialAxis a{out[axis], x[axis], strides[2 + s], s < spatial - merged ? weight[axis].size() : 1, op.stride[s], op.padding[s], op.dilation[s]};
    const Dim last = (a.outputs - 1) * a.stride + (a.taps - 1) * a.dilation - a.padding;
    c.padded |= a.padding > 0 || !Dim::surely_less(last, a.inputs);
    c.spatial.push_back(std::move(a));
  }
}

void conv_rows(const Conv& op, const Shape& x, const Shape& weight, const Shape& out, const std::vector<Dim>& strides, size_t spatial, bool merged,
               Contraction& c) {
  const size_t tap_axes = spatial - merged;
  const bool plain =
      c.taps == 1 && !has_padding(op, spatial) && std::all_of(op.stride.items.begin(), op.stride.items.end(), [](int64_t s) { return s == 1; });
  if (!x.is_static() || !out.is_static()) return spatial_rows(op, x, weight, out, strides, spatial, merged, plain, c);
  if (!plain && c.m * c.taps > largest_row_table) {
    for (size_t s = 0; s < spatial; ++s) {
      RowAxis axis{out[2 + s], s < tap_axes ? weight[2 + s].size() : 1, {}};
      for (int64_t o = 0; o < axis.outputs; ++o) {
        for (int64_t t = 0; t < axis.taps; ++t) {
          const int64_t at = o * op.stride[s] - op.padding[s] + t * op.dilation[s];
          const bool inside = at >= 0 && at < x[2 + s];
          c.padded |= !inside;
          axis.offsets.push_back(inside ? static_cast<int32_t>(at * strides[2 + s]) : outside);
        }
      }
      c.row_axes.push_back(std::move(axis));
    }
    return;
  }
  std::vector<int64_t> o(spatial, 0);
  bool padded = false;
  std::vector<int32_t> table;
  for (int64_t m = 0; m < c.m; ++m) {
    std::vector<int64_t> tap(spatial, 0);
    for (int64_t t = 0; t < c.taps; ++t) {
      int64_t offset = 0;
      bool inside = true;
      for (size_t s = 0; s < spatial; ++s) {
        const bool slip = defect(Defect::dilation_axis) && s + 1 == spatial;
        const int64_t at = o[s] * op.stride[s] - op.padding[s] + tap[s] * (slip ? 1 : op.dilation[s]);
        inside &= at >= 0 && at < x[2 + s];
        offset += at * strides[2 + s].size();
      }
      padded |= !inside;
      table.push_back(inside ? static_cast<int32_t>(offset) : -1);
      for (size_t s = tap_axes; s-- > 0;) {
        if (++tap[s] < weight[2 + s]) break;
        tap[s] = 0;
      }
    }
    for (size_t s = spatial; s-- > 0;) {
      if (++o[s] < out[2 + s]) break;
      o[s] = 0;
    }
  }
  c.padded = padded;
  if (padded) {
    c.rows = std::move(table);
    return;
  }
  for (int64_t t = 0; t < c.taps; ++t) c.tap_offsets.push_back(table[t] - table[0]);
  bool affine = true;
  const int64_t step = c.m > 1 ? table[c.taps] - table[0] : 0;
  for (int64_t m = 0; m < c.m; ++m) {
    c.rows.push_back(table[m * c.taps]);
    affine &= table[m * c.taps] == table[0] + m * step;
  }
  if (affine && table[0] == 0) {
    c.rows.clear();
    c.a_row = step;
  }
}

std::optional<Plane> plane_of(const Conv& op, const Shape& x, const Shape& w, const Shape& out, const std::vector<Dim>& strides, bool merged) {
  if (x.rank() != 4 || !x.is_static() || !out.is_static() || (merged && op.stride[1] != 1)) return std::nullopt;
  Plane p;
  p.rows = x[2];
  p.columns = x[3];
  p.out_rows = out[2];
  p.out_columns = out[3];
  p.row_step = strides[2].size();
  p.column_step = strides[3].size();
  p.channels = x[1].size() / op.groups;
  p.taps = merged ? 1 : w[3].size();
  p.rows_before = op.padding[0];
  p.columns_before = op.padding[1];
  p.stride_rows = op.stride[0];
  p.stride_columns = op.stride[1];
  p.tap_rows = op.dilation[0];
  p.tap_columns = op.dilation[1];
  p.more_rows = (w[2].size() - 1) * op.dilation[0];
  p.more_columns = (w[3].size() - 1) * op.dilation[1];
  return p;
}

std::optional<Contraction> describe_conv(const Graph& graph, const Node& node, const Conv& op, const Access& access) {
  const TensorType& xt = graph.type(op.x);
  const Shape &x = xt.shape, &w = graph.type(op.weight).shape, &out = graph.type(node.results[0]).shape;
  if (!graph.is_constant(op.weight) || xt.rank() < 3) return std::nullopt;
  const auto spatial = static_cast<size_t>(xt.rank() - 2);
  const std::vector<Dim> strides = strides_of(access);
  const int64_t channels = x[1], per_group = channels / op.groups, outputs = w[0] / op.groups;
  if (channels > 1 && strides[1] != 1) return std::nullopt;
  Dim furthest = 0;
  for (int64_t a = 0; a < xt.rank(); ++a) furthest += (x[a] - 1) * strides[a];
  if (furthest.high() >= -outside) return std::nullopt;

  Contraction c;
  if (op.groups > 1 && per_group < 4) return std::nullopt;  // too little per group: the generic road
  const size_t last = spatial - 1;
  const bool merged = op.groups == 1 && op.padding[last] == 0 && op.pad_after(last) == 0 && op.dilation[last] == 1 && strides[2 + last] == channels;
  c.dtype = xt.dtype;
  c.m = 1;
  c.taps = 1;
  for (size_t s = 0; s < spatial; ++s) {
    c.m *= out[2 + s];
    if (s != last || !merged) c.taps *= w[2 + s];
  }
  const int64_t kw = w[2 + last], w_taps = [&] {
    int64_t t = 1;
    for (size_t s = 0; s < spatial; ++s) t *= w[2 + s];
    return t;
  }();
  c.k = per_group * (merged ? kw : 1);
  c.n = outputs;
  c.a = access.base;
  c.m_var = var("m", c.m);
  c.n_var = var("n", c.n);
  const Expr image = var("image", x[0]), group = var("group", op.groups);
  c.batch = {image, group};
  c.groups = op.groups;
  c.group = group;
  c.a_base = image * Expr(strides[0]) + group * Expr(per_group) + Expr(offset_of(access));
  conv_rows(op, x, w, out, strides, spatial, merged, c);
  c.plane = plane_of(op, x, w, out, strides, merged);
  c.result = {image, group * Expr(outputs) + c.n_var};
  for (size_t s = 0; s < spatial; ++s) {
    Dim inner = 1;
    for (size_t t = s + 1; t < spatial; ++t) inner *= out[2 + t];
    c.result.push_back(simplify(floormod(floordiv(c.m_var, inner), out[2 + s])));
  }
  c.b = op.weight;
  c.packed = true;
  // weight is [O, C/groups, kernel...]; k counts (kernel column, channel) when the columns are merged.
  c.b_at = [=](int64_t g, int64_t tap, int64_t k, int64_t n) {
    const int64_t channel = k % per_group, column = k / per_group, position = merged ? tap * kw + column : tap;
    return ((g * outputs + n) * per_group + channel) * w_taps + position;
  };
  c.bias = op.bias;
  c.bias_index = c.result[1];
  return c;
}

/// x = value * gate, with one factor for each channel.
struct Gated {
  Value value, gate;
};
/// Such an x of a 1x1 convolution that nobody else reads, where the filter has much fewer elements than the image: there the filter is
/// multiplied by the gate (squeeze-excite) instead of the image.
std::optional<Gated> gated(const Graph& graph, const Conv& op) {
  const Node* producer = graph.producer(op.x);
  const auto mul = producer ? match<Mul>(*producer) : std::nullopt;
  if (!mul || op.groups != 1 || !graph.is_constant(op.weight) || graph.count_uses()[op.x.id] != 1) return std::nullopt;
  const TensorType &x = graph.type(op.x), &w = graph.type(op.weight);
  bool result = false;
  graph.for_results([&](Value v) { result |= v == op.x; });
  constexpr int64_t fewer = 4;
  int64_t places = 1;
  for (int64_t a = 2; a < x.rank(); ++a) {
    if (w.shape[a] != 1 || op.stride[a - 2] != 1 || op.padding[a - 2] != 0 || op.pad_after(a - 2) != 0) return std::nullopt;
    places *= x.shape[a].typical();
  }
  if (result || x.dtype != working(x.dtype) || places < fewer * w.shape[0].size()) return std::nullopt;
  const auto is_gate = [&](Value v) {
    const TensorType& t = graph.type(v);
    bool per_channel = t.dtype == x.dtype && t.rank() == x.rank() && t.shape[1] == x.shape[1] && (t.shape[0] == x.shape[0] || t.shape[0] == 1);
    for (int64_t a = 2; per_channel && a < t.rank(); ++a) per_channel = t.shape[a] == 1;
    return per_channel;
  };
  const auto is_whole = [&](Value v) { return graph.type(v).dtype == x.dtype && graph.type(v).shape == x.shape; };
  if (is_whole(mul->x) && is_gate(mul->y)) return Gated{mul->x, mul->y};
  if (is_whole(mul->y) && is_gate(mul->x)) return Gated{mul->y, mul->x};
  return std::nullopt;
}

/// Zeros for padding cannot stand behind the caller's buffers or a constant: a view of one is copied first, and a convolution that
/// reads one as it is takes the generic road.
std::optional<Contraction> describe_conv(const Graph& graph, const Node& node, const Conv& op) {
  if (const auto g = gated(graph, op)) {
    auto c = describe_conv(graph, node, op, resolve_access(graph, g->value, 1));
    if (c && !c->padded) {
      c->gate = g->gate;
      c->group = c->batch[0];
      return c;
    }
  }
  const auto is_fixed = [&](Value v) { return !has_own_place(graph, v); };
  const Access access = resolve_access(graph, op.x, 1);
  auto c = describe_conv(graph, node, op, access);
  if (!c || !c->padded || !is_fixed(access.base)) return c;
  if (is_fixed(op.x)) return std::nullopt;
  return describe_conv(graph, node, op, direct_access(graph, op.x));
}

// ---- matrix products ----
/// Merges leading axes of A into rows while they are evenly spaced; what is left is batch. `keep` axes (where B varies) never merge.
void merge_rows(const Shape& lead, const std::vector<Dim>& strides, const std::vector<bool>& keep, Contraction& c, std::vector<Expr>& places) {
  const auto rank = static_cast<int64_t>(strides.size());
  c.m = 1;
  c.a_row = 0;
  std::vector<int64_t> merged;  // axes in m, innermost first
  int64_t axis = rank - 1;
  for (; axis >= 0; --axis) {
    if (lead[axis] == 1) {
      merged.push_back(axis);
      continue;
    }
    if (keep[axis] || (c.m != 1 && strides[axis] != c.a_row * c.m)) break;
    if (c.m == 1) c.a_row = strides[axis];
    c.m *= lead[axis];
    merged.push_back(axis);
  }
  c.m_var = var("m", c.m);
  places.assign(rank, Expr());
  Dim inner = 1;
  for (int64_t a : merged) {
    places[a] = lead[a] == 1 ? Expr(0) : simplify(floormod(floordiv(c.m_var, inner), lead[a]));
    inner *= lead[a];
  }
  c.a_base = Expr(0);
  for (int64_t a = 0; a <= axis; ++a) {
    if (places[a]) continue;
    places[a] = var("batch", lead[a]);
    c.batch.push_back(places[a]);
    c.a_base = c.a_base + places[a] * Expr(strides[a]);
  }
}

std::optional<Contraction> describe_linear(const Graph& graph, const Node&, const Linear& op) {
  const TensorType& xt = graph.type(op.x);
  if (!graph.is_constant(op.weight) || xt.rank() < 1) return std::nullopt;
  const Access access = resolve_access(graph, op.x, xt.rank() - 1);
  std::vector<Dim> strides = strides_of(access);
  Contraction c;
  c.dtype = xt.dtype;
  c.k = xt.shape[-1];
  c.n = graph.type(op.weight).shape[0];
  if (c.k != 1 && strides.back() != 1) return std::nullopt;
  strides.pop_back();
  std::vector<Dim> lead = xt.shape.dims();
  lead.pop_back();
  std::vector<Expr> places;
  merge_rows(Shape(lead), strides, std::vector<bool>(lead.size(), false), c, places);
  c.a = access.base;
  c.a_base = c.a_base + Expr(offset_of(access));
  c.n_var = var("n", c.n);
  c.result = places;
  c.result.push_back(c.n_var);
  c.b = op.weight;
  c.packed = true;
  c.group = Expr(0);
  const int64_t k = c.k;
  c.b_at = [k](int64_t, int64_t, int64_t kk, int64_t n) { return n * k + kk; };
  c.bias = op.bias;
  c.bias_index = c.n_var;
  return c;
}

std::optional<Contraction> describe_matmul(const Graph& graph, const Node& node, const Matmul& op) {
  const Shape &as = graph.type(op.a).shape, &bs = graph.type(op.b).shape, &out = graph.type(node.results[0]).shape;
  if (as.rank() < 2 || bs.rank() < 2) return std::nullopt;
  const Access a = resolve_access(graph, op.a, as.rank() - 1), b = resolve_access(graph, op.b, bs.rank() - 1);
  const std::vector<Dim> a_strides = strides_of(a), b_strides = strides_of(b);
  Contraction c;
  c.dtype = graph.type(op.a).dtype;
  c.k = as[-1];
  c.n = bs[-1];
  if ((c.k != 1 && a_strides.back() != 1) || (c.n != 1 && b_strides.back() != 1)) return std::nullopt;
  // Axes of the result before n; A is broadcast along those that it lacks or has with size 1.
  const int64_t lead_rank = out.rank() - 1;
  std::vector<Dim> lead, strides(lead_rank, Dim(0)), b_lead(lead_rank, Dim(0));
  std::vector<bool> keep(lead_rank, false);
  for (int64_t i = 0; i < lead_rank; ++i) lead.push_back(out[i]);
  for (int64_t i = 0; i < as.rank() - 1; ++i) {
    const int64_t at = lead_rank - (as.rank() - 1) + i;
    strides[at] = as[i] == 1 ? Dim(0) : a_strides[i];
  }
  for (int64_t i = 0; i < bs.rank() - 2; ++i) {
    const int64_t at = lead_rank - 1 - (bs.rank() - 2) + i;
    b_lead[at] = bs[i] == 1 ? Dim(0) : b_strides[i];
    keep[at] = bs[i] != 1;
  }
  std::vector<Expr> places;
  merge_rows(Shape(lead), strides, keep, c, places);
  c.a = a.base;
  c.a_base = c.a_base + Expr(offset_of(a));
  c.n_var = var("n", c.n);
  c.result = places;
  c.result.push_back(c.n_var);
  c.group = Expr(0);
  bool b_varies = false;
  c.b_base = Expr(offset_of(b));
  for (int64_t i = 0; i < lead_rank; ++i) {
    if (b_lead[i] == 0) continue;
    b_varies = true;
    c.b_base = c.b_base + places[i] * Expr(b_lead[i]);
  }
  c.b_row = b_strides[b_strides.size() - 2];
  c.b = b.base;
  c.packed = graph.is_constant(b.base) && !b_varies;
  if (c.packed) {
    const int64_t row = c.b_row, base = offset_of(b).size();
    c.b_at = [row, base](int64_t, int64_t, int64_t k, int64_t n) { return base + k * row + n; };
  }
  return c;
}

}  // namespace

std::optional<Contraction> describe(const Graph& graph, const Node& node) {
  if (node.results.size() != 1) return std::nullopt;
  const TensorType& type = graph.type(node.results[0]);
  if (type.shape.elements() == 0 || !is_float(type.dtype)) return std::nullopt;
  std::optional<Contraction> c;
  try {
    if (auto conv = match<Conv>(node)) c = describe_conv(graph, node, *conv);
    else if (auto linear = match<Linear>(node)) c = describe_linear(graph, node, *linear);
    else if (auto matmul = match<Matmul>(node)) c = describe_matmul(graph, node, *matmul);
  } catch (const SymbolicSize&) {
    return std::nullopt;  // an axis that schedules need as a number: the generic road
  }
  if (!c || c->k == 0 || graph.type(c->a).dtype != type.dtype || graph.type(c->b).dtype != type.dtype) return std::nullopt;
  return c;
}

bool has_schedule(const Graph& graph, const Node& node, const Target* target) {
  return describe_depthwise(graph, node, target) || describe_attention(graph, node, target) || describe(graph, node);
}

std::vector<Access> scheduled_operands(const Graph& graph, const Node& node, const Target* target) {
  const auto of = [](const auto& form) {
    std::vector<Access> accesses(2);
    accesses[0].base = form.a;
    accesses[1].base = form.b;
    if (form.bias) accesses.push_back({*form.bias, {}, {}});
    return accesses;
  };
  if (const auto d = describe_depthwise(graph, node, target)) {
    std::vector<Access> accesses{{d->a, {}, {}}};
    for (const OptValue& v : {d->b, d->bias})
      if (v) accesses.push_back({*v, {}, {}});
    return accesses;
  }
  if (const auto a = describe_attention(graph, node, target)) {
    std::vector<Access> accesses{{a->query, {}, {}}, {a->keys_value, {}, {}}, {a->value, {}, {}}};
    for (Value v : a->leaves) accesses.push_back({v, {}, {}});
    return accesses;
  }
  const auto c = describe(graph, node);
  MICA_CHECK(c.has_value());
  std::vector<Access> accesses = of(*c);
  if (c->gate) accesses.push_back({*c->gate, {}, {}});
  return accesses;
}

}  // namespace mica::lower
