// Contractions: convolutions (any kernel, stride, dilation, groups), linear layers and matrix products as one kernel shape,
// a batch-reduce GEMM (Georganas et al., "High-performance deep learning via a single building block", arXiv 1906.06440):
//   result[m, n] = epilogue(sum over taps t, k of A[row(m, t) + k] * B[t, k, n])
// A is read in place: row(m, t) is affine in m, or stands in a table of offsets, where a tap outside the image points to a row of
// zeros behind the value. B is packed once, at compile time, into panels as wide as a register tile; a B that is computed at run
// time is read in rows. Depthwise convolution is the same loop with a vector of channels in place of a broadcast element.
#include <algorithm>
#include <cstring>

#include "emit.h"
#include "mica/ops/conv.h"
#include "mica/ops/matmul.h"

namespace mica::lower {

namespace {

constexpr int64_t max_chain = 256;            ///< additions into one accumulator before it is added to a partial sum
constexpr int64_t partial_bytes = 48 << 10;   ///< stack for the partial sums of a task
constexpr int64_t wanted_tasks = 64;          ///< enough for an even split over many threads

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// One spatial axis of a convolution's rows: an entry per (output position, kernel position), far below zero where the tap is outside.
struct RowAxis {
  int64_t outputs = 1, taps = 1;
  std::vector<int32_t> offsets;
};
constexpr int32_t outside = -(1 << 29);        ///< a sum with one of these is negative whatever the rest
constexpr int64_t largest_row_table = 1 << 16; ///< entries; larger tables are kept per axis

/// One contraction, whatever op it came from.
struct Contraction {
  DType dtype = DType::f32;
  std::vector<Expr> batch;         ///< variables of the outer index space
  int64_t m = 1, n = 1, k = 1, taps = 1;
  bool depthwise = false;          ///< B is one vector of n per tap, A a vector too; k = 1
  std::vector<Expr> result;        ///< indices of the anchor's result, over `batch`, `m_var`, `n_var`
  Expr m_var, n_var;
  // A
  Value a;
  Expr a_base;                     ///< over `batch`
  int64_t a_row = 0;               ///< row(m, 0) = a_row * m when there is no table
  std::vector<int32_t> rows;       ///< m entries, or m * taps when `padded`; an entry of -1 is a row of zeros
  std::vector<int32_t> tap_offsets;///< one per tap, when rows are not padded
  bool padded = false;
  std::vector<RowAxis> row_axes;   ///< instead of `rows` where that table would be large: row(m, t) is a sum over the spatial axes
  // B
  Value b;                         ///< read in rows: element b_base + k * b_row + n
  bool packed = false;
  Expr b_base;
  int64_t b_row = 0;
  /// Element (tap, k, n) of a constant B for batch group `g`, as an index into the constant.
  std::function<int64_t(int64_t g, int64_t tap, int64_t k, int64_t n)> b_at;
  int64_t groups = 1;
  Expr group;                      ///< over `batch`; which packed B
  OptValue bias;
  Expr bias_index;                 ///< over batch, n_var
};

Expr var(const char* name, int64_t extent) { return make_var(name, 0, std::max<int64_t>(extent, 1)); }

bool all_static(const Graph& graph, const Node& node) {
  bool ok = graph.type(node.results[0]).shape.is_static();
  node.for_operands([&](Value v) { ok &= graph.type(v).shape.is_static(); });
  return ok;
}

/// Coefficients of an access along its operand's axes.
std::vector<int64_t> strides_of(const Access& access) {
  const Affine flat = to_affine(access.flat);
  std::vector<int64_t> strides;
  for (const Expr& v : access.vars) strides.push_back(flat.coefficient_of(v->id));
  return strides;
}
int64_t offset_of(const Access& access) { return to_affine(access.flat).constant; }

// ---- convolution ----
bool has_padding(const Conv& op, size_t spatial) {
  bool any = false;
  for (size_t s = 0; s < spatial; ++s) any |= op.padding[s] != 0 || op.pad_after(s) != 0;
  return any;
}

void conv_rows(const Conv& op, const Shape& x, const Shape& weight, const Shape& out, const std::vector<int64_t>& strides, size_t spatial, bool merged, Contraction& c) {
  const size_t tap_axes = spatial - merged;
  const bool plain = c.taps == 1 && !has_padding(op, spatial) && std::all_of(op.stride.items.begin(), op.stride.items.end(), [](int64_t s) { return s == 1; });
  if (!plain && c.m * c.taps > largest_row_table) {
    for (size_t s = 0; s < spatial; ++s) {
      RowAxis axis{out[2 + s], s < tap_axes ? weight[2 + s] : 1, {}};
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
        const int64_t at = o[s] * op.stride[s] - op.padding[s] + tap[s] * op.dilation[s];
        inside &= at >= 0 && at < x[2 + s];
        offset += at * strides[2 + s];
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

std::optional<Contraction> describe_conv(const Graph& graph, const Node& node, const Conv& op, const Access& access) {
  const TensorType& xt = graph.type(op.x);
  const Shape &x = xt.shape, &w = graph.type(op.weight).shape, &out = graph.type(node.results[0]).shape;
  if (!graph.is_constant(op.weight) || xt.rank() < 3) return std::nullopt;
  const auto spatial = static_cast<size_t>(xt.rank() - 2);
  const std::vector<int64_t> strides = strides_of(access);
  const int64_t channels = x[1], per_group = channels / op.groups, outputs = w[0] / op.groups;
  if (channels > 1 && strides[1] != 1) return std::nullopt;
  int64_t furthest = 0;
  for (int64_t a = 0; a < xt.rank(); ++a) furthest += (x[a] - 1) * strides[a];
  if (furthest >= -outside) return std::nullopt;

  Contraction c;
  c.depthwise = op.groups == channels && outputs == 1 && channels > 1;
  if (op.groups > 1 && !c.depthwise && per_group < 4) return std::nullopt;  // too little per group: the generic road
  const size_t last = spatial - 1;
  const bool merged = !c.depthwise && op.groups == 1 && op.padding[last] == 0 && op.pad_after(last) == 0 && op.dilation[last] == 1 && strides[2 + last] == channels;
  c.dtype = xt.dtype;
  c.m = 1;
  c.taps = 1;
  for (size_t s = 0; s < spatial; ++s) {
    c.m *= out[2 + s];
    if (s != last || !merged) c.taps *= w[2 + s];
  }
  const int64_t kw = w[2 + last], w_taps = [&] { int64_t t = 1; for (size_t s = 0; s < spatial; ++s) t *= w[2 + s]; return t; }();
  c.k = c.depthwise ? 1 : per_group * (merged ? kw : 1);
  c.n = c.depthwise ? channels : outputs;
  c.a = access.base;
  c.m_var = var("m", c.m);
  c.n_var = var("n", c.n);
  const Expr image = var("image", x[0]), group = var("group", c.depthwise ? 1 : op.groups);
  c.batch = {image, group};
  c.groups = c.depthwise ? 1 : op.groups;
  c.group = group;
  c.a_base = image * Expr(strides[0]) + group * Expr(per_group) + Expr(offset_of(access));
  conv_rows(op, x, w, out, strides, spatial, merged, c);
  c.result = {image, c.depthwise ? c.n_var : group * Expr(outputs) + c.n_var};
  int64_t inner = c.m;
  for (size_t s = 0; s < spatial; ++s) {
    inner /= out[2 + s];
    c.result.push_back(simplify(floormod(floordiv(c.m_var, inner), out[2 + s])));
  }
  c.b = op.weight;
  c.packed = true;
  const bool dw = c.depthwise;
  // weight is [O, C/groups, kernel...]; k counts (kernel column, channel) when the columns are merged.
  c.b_at = [=](int64_t g, int64_t tap, int64_t k, int64_t n) {
    if (dw) return n * w_taps + tap;
    const int64_t channel = k % per_group, column = k / per_group, position = merged ? tap * kw + column : tap;
    return ((g * outputs + n) * per_group + channel) * w_taps + position;
  };
  c.bias = op.bias;
  c.bias_index = c.result[1];
  return c;
}

/// Zeros for padding cannot stand behind the caller's buffers or a constant: a view of one is copied first, and a convolution that
/// reads one as it is takes the generic road.
std::optional<Contraction> describe_conv(const Graph& graph, const Node& node, const Conv& op) {
  const auto is_fixed = [&](Value v) {
    const auto among = [&](const std::vector<Value>& list) { return std::find(list.begin(), list.end(), v) != list.end(); };
    return graph.is_constant(v) || among(graph.inputs) || among(graph.outputs);
  };
  const Access access = resolve_access(graph, op.x, 1);
  auto c = describe_conv(graph, node, op, access);
  if (!c || !c->padded || !is_fixed(access.base)) return c;
  if (is_fixed(op.x)) return std::nullopt;
  const std::vector<Expr> vars = index_vars(graph.type(op.x).shape);
  return describe_conv(graph, node, op, {op.x, vars, flat_index(graph.type(op.x), vars)});
}

// ---- matrix products ----
/// Merges leading axes of A into rows while they are evenly spaced; what is left is batch. `keep` axes (where B varies) never merge.
void merge_rows(const Shape& lead, const std::vector<int64_t>& strides, const std::vector<bool>& keep, Contraction& c, std::vector<Expr>& places) {
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
    if (keep[axis] || (c.m > 1 && strides[axis] != c.a_row * c.m)) break;
    if (c.m == 1) c.a_row = strides[axis];
    c.m *= lead[axis];
    merged.push_back(axis);
  }
  c.m_var = var("m", c.m);
  places.assign(rank, Expr());
  int64_t inner = 1;
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
  std::vector<int64_t> strides = strides_of(access);
  Contraction c;
  c.dtype = xt.dtype;
  c.k = xt.shape[-1];
  c.n = graph.type(op.weight).shape[0];
  if (c.k > 1 && strides.back() != 1) return std::nullopt;
  strides.pop_back();
  std::vector<int64_t> lead = xt.shape.sizes();
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
  const std::vector<int64_t> a_strides = strides_of(a), b_strides = strides_of(b);
  Contraction c;
  c.dtype = graph.type(op.a).dtype;
  c.k = as[-1];
  c.n = bs[-1];
  if ((c.k > 1 && a_strides.back() != 1) || (c.n > 1 && b_strides.back() != 1)) return std::nullopt;
  // Axes of the result before n; A is broadcast along those that it lacks or has with size 1.
  const int64_t lead_rank = out.rank() - 1;
  std::vector<int64_t> lead, strides(lead_rank, 0), b_lead(lead_rank, 0);
  std::vector<bool> keep(lead_rank, false);
  for (int64_t i = 0; i < lead_rank; ++i) lead.push_back(out[i]);
  for (int64_t i = 0; i < as.rank() - 1; ++i) {
    const int64_t at = lead_rank - (as.rank() - 1) + i;
    strides[at] = as[i] == 1 ? 0 : a_strides[i];
  }
  for (int64_t i = 0; i < bs.rank() - 2; ++i) {
    const int64_t at = lead_rank - 1 - (bs.rank() - 2) + i;
    b_lead[at] = bs[i] == 1 ? 0 : b_strides[i];
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
    const int64_t row = c.b_row, base = offset_of(b);
    c.b_at = [row, base](int64_t, int64_t, int64_t k, int64_t n) { return base + k * row + n; };
  }
  return c;
}

std::optional<Contraction> describe(const Graph& graph, const Node& node) {
  if (node.results.size() != 1 || !all_static(graph, node)) return std::nullopt;
  const TensorType& type = graph.type(node.results[0]);
  if (type.shape.elements() == 0 || (type.dtype != DType::f32 && type.dtype != DType::f64)) return std::nullopt;
  std::optional<Contraction> c;
  if (auto conv = match<Conv>(node)) c = describe_conv(graph, node, *conv);
  else if (auto linear = match<Linear>(node)) c = describe_linear(graph, node, *linear);
  else if (auto matmul = match<Matmul>(node)) c = describe_matmul(graph, node, *matmul);
  if (!c || c->k == 0 || graph.type(c->a).dtype != type.dtype || graph.type(c->b).dtype != type.dtype) return std::nullopt;
  return c;
}

// ---- the tile ----
/// A register tile of `rows` x (`vectors` * lanes) that leaves a few registers free (measured: no spills with LLVM 19).
struct Tile {
  int64_t rows = 1, vectors = 1;
};

Tile choose_tile(const Contraction& c, const Target& target, int32_t lanes) {
  // Every row takes a pointer of its own: 14 of them do not fit 16 general registers beside the counters.
  const std::vector<Tile> shapes = target.vector_registers >= 32 ? std::vector<Tile>{{6, 4}, {8, 3}, {12, 2}, {10, 1}} : std::vector<Tile>{{3, 4}, {4, 3}, {6, 2}, {8, 1}};
  Tile best;
  double best_cost = 1e300;
  for (const Tile& s : shapes) {
    const int64_t width = s.vectors * lanes;
    if (target.vector_registers < 32 && s.vectors == 4) continue;
    if (s.vectors > 1 && (s.vectors - 1) * lanes >= c.n) continue;
    const int64_t panels = ceil_div(c.n, width), tiles = ceil_div(c.m, s.rows);
    const double rows = static_cast<double>(ceil_div(c.m, tiles));
    // Per k step of a tile: rows * vectors multiply-adds at two a cycle, vectors + rows loads at two a cycle, and the loop itself.
    const double cycles = std::max(rows * s.vectors / 2.0, (rows + s.vectors) / 2.0) + 0.5;
    const double cost = cycles * static_cast<double>(panels * tiles);
    if (cost < best_cost * 0.995) {
      best_cost = cost;
      best = {ceil_div(c.m, tiles), s.vectors};
    }
  }
  return best;
}

// ---- packing ----
template <class T> std::vector<std::byte> pack(const Contraction& c, const T* source, int64_t width) {
  const int64_t panels = ceil_div(c.n, width), rows = c.taps * c.k;
  std::vector<std::byte> bytes(static_cast<size_t>(c.groups * panels * rows * width) * sizeof(T));
  T* out = reinterpret_cast<T*>(bytes.data());
  for (int64_t g = 0; g < c.groups; ++g) {
    for (int64_t p = 0; p < panels; ++p) {
      for (int64_t t = 0; t < c.taps; ++t) {
        for (int64_t k = 0; k < c.k; ++k) {
          for (int64_t j = 0; j < width; ++j, ++out) {
            const int64_t n = p * width + j;
            *out = n < c.n ? source[c.b_at(g, t, k, n)] : T(0);
          }
        }
      }
    }
  }
  return bytes;
}

class ContractionLowering {
 public:
  ContractionLowering(PendingProgram& program, const Region& region, Contraction c)
      : program_(program), graph_(*program.graph), region_(region), c_(std::move(c)), emit_(program, region) {}

  void run() {
    lanes_ = emit_.target().lanes(size_of(c_.dtype));
    tile_ = choose_tile(c_, emit_.target(), lanes_);
    width_ = tile_.vectors * lanes_;
    panels_ = ceil_div(c_.n, width_);
    tiles_ = ceil_div(c_.m, tile_.rows);
    tall_ = c_.m - tiles_ * (tile_.rows - 1);
    choose_chunks();
    choose_blocks();
    prepare_operands();
    prepare_epilogue();
    emit();
  }

 private:
  PendingProgram& program_;
  const Graph& graph_;
  const Region& region_;
  Contraction c_;
  Emitter emit_;
  int32_t lanes_ = 1;
  Tile tile_;
  int64_t width_ = 1, panels_ = 1;
  int64_t tiles_ = 1, tall_ = 1;         ///< row tiles; the first `tall_` have tile_.rows rows, the rest one less
  int64_t chunk_taps_ = 1, chunk_k_ = 1; ///< of one accumulator chain
  int64_t tap_chunks_ = 1, k_chunks_ = 1;
  int64_t blocks_ = 1;                   ///< groups of row tiles; a task is a batch entry, a block, a panel
  bool panel_outer_ = true;
  uint32_t a_ = 0, b_ = 0, rows_ = 0, taps_ = 0, partial_ = 0;
  std::vector<uint32_t> axes_;
  int64_t zero_row_ = 0;
  Expr panel_, tap_, value_, index_;
  Expr acc_marker_;

  bool single_chain() const { return tap_chunks_ * k_chunks_ == 1; }
  int64_t tiles_per_block() const { return ceil_div(tiles_, blocks_); }

  void choose_chunks() {
    const int64_t steps = c_.taps * c_.k;
    if (steps <= max_chain) {
      chunk_taps_ = c_.taps;
      chunk_k_ = c_.k;
    } else if (c_.k <= max_chain) {
      chunk_taps_ = ceil_div(c_.taps, ceil_div(c_.taps, std::max<int64_t>(1, max_chain / c_.k)));
      chunk_k_ = c_.k;
    } else {
      chunk_taps_ = 1;
      const int64_t pieces = ceil_div(c_.k, max_chain);
      chunk_k_ = ceil_div(ceil_div(c_.k, pieces), 4) * 4;
    }
    tap_chunks_ = ceil_div(c_.taps, chunk_taps_);
    k_chunks_ = ceil_div(c_.k, chunk_k_);
  }

  void choose_blocks() {
    int64_t outer = 1;
    for (const Expr& v : c_.batch) outer *= v->limit;
    const int64_t element = size_of(c_.dtype);
    int64_t block_rows = std::max<int64_t>(tile_.rows, (emit_.target().l2_bytes / 2) / std::max<int64_t>(1, c_.k * std::min<int64_t>(c_.taps, 2) * element));
    if (!single_chain()) block_rows = std::min(block_rows, std::max<int64_t>(tile_.rows, partial_bytes / (width_ * element)));
    blocks_ = std::max<int64_t>(1, ceil_div(c_.m, std::max(block_rows, tile_.rows)));
    const int64_t least_rows = 4 * tile_.rows;  // below this a panel of B is read too often
    blocks_ = std::max(blocks_, std::min(ceil_div(wanted_tasks, outer * panels_), std::max<int64_t>(1, c_.m / least_rows)));
    blocks_ = std::clamp<int64_t>(blocks_, 1, tiles_);
    if (!single_chain()) {
      while (tiles_per_block() * tile_.rows * width_ * element > partial_bytes && blocks_ < tiles_) ++blocks_;
    }
    const double a_bytes = static_cast<double>(c_.m) * static_cast<double>(c_.k), b_bytes = static_cast<double>(c_.n) * static_cast<double>(c_.k * c_.taps);
    panel_outer_ = b_bytes > a_bytes || a_bytes * static_cast<double>(element) < static_cast<double>(emit_.target().l2_bytes) / 2;
  }

  template <class T> std::vector<std::byte> packed() const { return pack(c_, graph_.constant(c_.b).as<T>().data(), width_); }

  void prepare_operands() {
    if (c_.padded) zero_row_ = program_.zero_tail(c_.a, c_.depthwise ? c_.n : c_.k);
    a_ = emit_.buffer_of(c_.a);
    if (c_.packed) {
      std::vector<std::byte> bytes = c_.dtype == DType::f32 ? packed<float>() : packed<double>();
      const int64_t elements = static_cast<int64_t>(bytes.size()) / size_of(c_.dtype);
      b_ = emit_.weight_buffer(program_.add_weight(std::move(bytes), graph_.constant(c_.b).name), c_.dtype, elements);
    } else {
      b_ = emit_.buffer_of(c_.b);
    }
    const auto table = [&](const std::vector<int32_t>& entries, const char* name) {
      std::vector<std::byte> bytes(entries.size() * sizeof(int32_t));
      std::memcpy(bytes.data(), entries.data(), bytes.size());
      return emit_.weight_buffer(program_.add_weight(std::move(bytes), name), DType::i32, static_cast<int64_t>(entries.size()));
    };
    if (!c_.rows.empty()) rows_ = table(c_.rows, "row offsets");
    if (!c_.tap_offsets.empty() && c_.taps > 1) taps_ = table(c_.tap_offsets, "tap offsets");
    for (const RowAxis& axis : c_.row_axes) axes_.push_back(table(axis.offsets, "axis offsets"));
  }

  /// The region's value and place with the accumulator as a load of the anchor's value, over batch, m_var and n_var.
  void prepare_epilogue() {
    const std::optional<std::vector<Expr>> where = store_indices(graph_, region_, c_.result);
    MICA_CHECK(where.has_value());
    const uint32_t anchor = region_.anchor_value.id;
    acc_marker_ = make_var("accumulator", 0, 1, c_.dtype);
    Expr value = region_.output == region_.anchor_value ? make_load(anchor, {c_.dtype, 1}, c_.result) : Inliner(graph_, region_.inlined).expand(region_.output, *where);
    Expr sum = acc_marker_;
    if (c_.bias) sum = sum + make_load((*c_.bias).id, {c_.dtype, 1}, {c_.bias_index});
    value = rewrite(value, [&](const Expr& n) -> Expr { return n->op == ExprOp::load && n->id == anchor ? sum : Expr(); });
    emit_.output(region_.output);
    value_ = emit_.flatten(simplify(value));
    index_ = flat_index(graph_.type(region_.output), *where);
  }

  /// Offset of row m for the current tap in A, the batch included.
  Expr row_offset(const Expr& m) const {
    if (!axes_.empty()) return sum_of_axes(m);
    if (c_.padded) {
      const Expr entry = cast(DType::i64, make_load(rows_, {DType::i32, 1}, {simplify(m * Expr(c_.taps) + tap_)}));
      const Expr inside = simplify(c_.a_base + entry);
      return select(entry < Expr(0), Expr(zero_row_), inside);
    }
    Expr offset = c_.rows.empty() ? m * Expr(c_.a_row) : cast(DType::i64, make_load(rows_, {DType::i32, 1}, {m}));
    if (c_.taps > 1) offset = offset + cast(DType::i64, make_load(taps_, {DType::i32, 1}, {tap_}));
    return simplify(c_.a_base + offset);
  }

  /// row_offset from the tables of the spatial axes.
  Expr sum_of_axes(const Expr& m) const {
    Expr sum;
    int64_t outputs = c_.m, taps = c_.taps;
    for (size_t s = 0; s < axes_.size(); ++s) {
      const RowAxis& axis = c_.row_axes[s];
      outputs /= axis.outputs;
      taps /= axis.taps;
      const Expr o = floormod(floordiv(m, outputs), axis.outputs), t = floormod(floordiv(tap_, taps), axis.taps);
      const Expr entry = cast(DType::i64, make_load(axes_[s], {DType::i32, 1}, {simplify(o * Expr(axis.taps) + t)}));
      sum = sum ? sum + entry : entry;
    }
    if (!c_.padded) return simplify(c_.a_base + sum);
    return select(sum < Expr(0), Expr(zero_row_), simplify(c_.a_base + sum));
  }

  Expr b_offset(const Expr& k, int64_t vector) const {
    const Expr column(vector * lanes_);
    if (c_.packed) return simplify((((c_.group * Expr(panels_) + panel_) * Expr(c_.taps) + tap_) * Expr(c_.k) + k) * Expr(width_) + column);
    return simplify(c_.b_base + k * Expr(c_.b_row) + panel_ * Expr(width_) + column);
  }

  bool ragged() const { return c_.n % width_ != 0; }
  /// Lanes of vector `j` of the panel that are columns of the result; empty where all of them are.
  Expr column_mask(int64_t j) const {
    if (!ragged()) return {};
    return tail_mask(simplify(panel_ * Expr(width_) + Expr(j * lanes_)), Expr(c_.n), lanes_);
  }

  // ---- statements ----
  struct Accumulators {
    uint32_t buffer;
    int64_t rows, vectors;
    Expr load(DType dtype, int32_t lanes, int64_t i, int64_t j) const { return make_load(buffer, {dtype, lanes}, {Expr(i * vectors + j)}); }
  };

  /// acc += A * B over one chunk of taps and k.
  std::vector<Stmt> accumulate(const Accumulators& acc, const Expr& m0, const Expr& tap_low, const Expr& tap_high, const Expr& k_low, const Expr& k_high) {
    std::vector<Stmt> out;
    const Expr zero = make_broadcast(imm(c_.dtype, 0), lanes_);
    for (int64_t i = 0; i < acc.rows * acc.vectors; ++i) out.push_back(Stmt::store(acc.buffer, Expr(i), zero));
    std::vector<Expr> offsets;
    for (int64_t i = 0; i < acc.rows; ++i) offsets.push_back(make_var(fmt::format("row{}", i), 0, int64_t{1} << 40));
    std::vector<Stmt> inner;
    if (c_.depthwise) {
      inner = multiply_step(acc, offsets, Expr(0));
    } else {
      const Expr k = make_var("k", 0, c_.k);
      const bool even = chunk_k_ % 2 == 0 && c_.k % 2 == 0 && c_.k > 2;
      std::vector<Stmt> body = multiply_step(acc, offsets, k);
      if (even) {
        for (Stmt& s : multiply_step(acc, offsets, k + Expr(1))) body.push_back(std::move(s));
      }
      inner.push_back(Stmt::loop(k, k_low, k_high, Expr(even ? 2 : 1), std::move(body)));
    }
    for (int64_t i = acc.rows; i-- > 0;) {
      std::vector<Stmt> wrapped;
      wrapped.push_back(Stmt::let(offsets[i], row_offset(simplify(m0 + Expr(i))), std::move(inner)));
      inner = std::move(wrapped);
    }
    if (c_.taps > 1) out.push_back(Stmt::loop(tap_, tap_low, tap_high, Expr(1), std::move(inner)));
    else for (Stmt& s : inner) out.push_back(std::move(s));
    return out;
  }

  std::vector<Stmt> multiply_step(const Accumulators& acc, const std::vector<Expr>& offsets, const Expr& k) {
    std::vector<Stmt> out;
    const bool masked_b = !c_.packed && ragged();
    std::vector<Expr> masks, columns;
    for (int64_t j = 0; j < acc.vectors; ++j) {
      masks.push_back(column_mask(j));
      columns.push_back(make_load(b_, {c_.dtype, lanes_}, {make_ramp(b_offset(k, j), Expr(1), lanes_)}, masked_b ? masks.back() : Expr()));
    }
    // Row by row: the vectors of B and one element of A are alive at a time. Column by column it would be every row's
    // element of A, which with 24 accumulators does not fit 32 registers.
    for (int64_t i = 0; i < acc.rows; ++i) {
      for (int64_t j = 0; j < acc.vectors; ++j) {
        const Expr a = c_.depthwise ? make_load(a_, {c_.dtype, lanes_}, {make_ramp(simplify(offsets[i] + panel_ * Expr(width_) + Expr(j * lanes_)), Expr(1), lanes_)}, masks[j])
                                    : make_broadcast(make_load(a_, {c_.dtype, 1}, {offsets[i] + k}), lanes_);
        out.push_back(Stmt::store(acc.buffer, Expr(i * acc.vectors + j), fma(a, columns[j], acc.load(c_.dtype, lanes_, i, j))));
      }
    }
    return out;
  }

  /// Stores the epilogue of a tile whose sums `sum(i, j)` gives.
  template <class Sum> std::vector<Stmt> epilogue(const Expr& m0, int64_t rows, Sum&& sum) {
    std::vector<Stmt> out;
    for (int64_t i = 0; i < rows; ++i) {
      const std::vector<VarBinding> at{{c_.m_var, simplify(m0 + Expr(i))}};
      const Expr value = simplify(substitute(value_, at)), index = simplify(substitute(index_, at));
      for (int64_t j = 0; j < tile_.vectors; ++j) {
        const Expr column = simplify(panel_ * Expr(width_) + Expr(j * lanes_)), mask = column_mask(j);
        const Expr bound = substitute(value, {{acc_marker_, sum(i, j)}});
        out.push_back(vector_store(emit_.kernel_output(), index, vectorize(bound, c_.n_var, column, lanes_, mask), c_.n_var, column, lanes_, mask));
      }
    }
    return out;
  }

  /// `body(first row, rows, tile within the block)` for the tiles [low, high), tall ones first.
  template <class Body> std::vector<Stmt> over_tiles(const Expr& low, const Expr& high, Body&& body) {
    std::vector<Stmt> out;
    const int64_t r = tile_.rows;
    if (tall_ == tiles_) {
      const Expr t = make_var("tile", 0, tiles_);
      out.push_back(Stmt::loop(t, low, high, Expr(1), body(simplify(t * Expr(r)), r, simplify(t - low))));
      return out;
    }
    if (tall_ > 0) {
      const Expr t = make_var("tile", 0, tall_);
      out.push_back(Stmt::loop(t, low, min(high, Expr(tall_)), Expr(1), body(simplify(t * Expr(r)), r, simplify(t - low))));
    }
    const Expr t = make_var("tile", tall_, tiles_);
    out.push_back(Stmt::loop(t, max(low, Expr(tall_)), high, Expr(1), body(simplify(t * Expr(r - 1) + Expr(tall_)), r - 1, simplify(t - low))));
    return out;
  }

  std::vector<Stmt> one_chain(const Expr& low, const Expr& high) {
    return over_tiles(low, high, [&](const Expr& m0, int64_t rows, const Expr&) {
      const Accumulators acc{emit_.local("acc", {c_.dtype, lanes_}, rows * tile_.vectors, Memory::registers), rows, tile_.vectors};
      std::vector<Stmt> body = accumulate(acc, m0, Expr(0), Expr(c_.taps), Expr(0), Expr(c_.k));
      for (Stmt& s : epilogue(m0, rows, [&](int64_t i, int64_t j) { return acc.load(c_.dtype, lanes_, i, j); })) body.push_back(std::move(s));
      return body;
    });
  }

  /// Chains of at most max_chain steps are added up in a partial-sum buffer of the task, which the epilogue reads in the end.
  std::vector<Stmt> many_chains(const Expr& low, const Expr& high) {
    const int64_t tile_vectors = tile_.rows * tile_.vectors;
    partial_ = emit_.local("partial", {c_.dtype, lanes_}, tiles_per_block() * tile_vectors, Memory::stack);
    const auto slot = [&](const Expr& tile, int64_t i, int64_t j) { return simplify(tile * Expr(tile_vectors) + Expr(i * tile_.vectors + j)); };
    const auto load = [&](const Expr& at) { return make_load(partial_, {c_.dtype, lanes_}, {at}); };
    const Expr tc = var("tap_chunk", tap_chunks_), kc = var("k_chunk", k_chunks_);
    const Expr tap_low = simplify(tc * Expr(chunk_taps_)), k_low = simplify(kc * Expr(chunk_k_));
    const Expr tap_high = tap_chunks_ * chunk_taps_ == c_.taps ? simplify(tap_low + Expr(chunk_taps_)) : min(tap_low + Expr(chunk_taps_), Expr(c_.taps));
    const Expr k_high = k_chunks_ == 1 ? Expr(c_.k) : k_chunks_ * chunk_k_ == c_.k ? simplify(k_low + Expr(chunk_k_)) : min(k_low + Expr(chunk_k_), Expr(c_.k));
    std::vector<Stmt> chains = over_tiles(low, high, [&](const Expr& m0, int64_t rows, const Expr& tile) {
      const Accumulators acc{emit_.local("acc", {c_.dtype, lanes_}, rows * tile_.vectors, Memory::registers), rows, tile_.vectors};
      std::vector<Stmt> body;
      for (Stmt& s : accumulate(acc, m0, tap_low, tap_high, k_low, k_high)) body.push_back(std::move(s));
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < tile_.vectors; ++j) body.push_back(Stmt::store(partial_, slot(tile, i, j), load(slot(tile, i, j)) + acc.load(c_.dtype, lanes_, i, j)));
      }
      return body;
    });
    if (c_.taps == 1) chains = bind(tap_, Expr(0), std::move(chains));
    chains = loop(kc, k_chunks_, std::move(chains));
    chains = loop(tc, tap_chunks_, std::move(chains));
    const Expr z = make_var("z", 0, tiles_per_block() * tile_vectors);
    std::vector<Stmt> out;
    out.push_back(Stmt::loop(z, Expr(0), simplify((high - low) * Expr(tile_vectors)), Expr(1), one(Stmt::store(partial_, z, make_broadcast(imm(c_.dtype, 0), lanes_)))));
    for (Stmt& s : chains) out.push_back(std::move(s));
    for (Stmt& s : over_tiles(low, high, [&](const Expr& m0, int64_t rows, const Expr& tile) {
           return epilogue(m0, rows, [&](int64_t i, int64_t j) { return load(slot(tile, i, j)); });
         })) out.push_back(std::move(s));
    return out;
  }

  static std::vector<Stmt> one(Stmt s) {
    std::vector<Stmt> v;
    v.push_back(std::move(s));
    return v;
  }
  static std::vector<Stmt> bind(const Expr& v, const Expr& value, std::vector<Stmt> body) { return one(Stmt::let(v, value, std::move(body))); }
  static std::vector<Stmt> loop(const Expr& v, int64_t extent, std::vector<Stmt> body) {
    if (extent == 1) return bind(v, Expr(0), std::move(body));
    return one(Stmt::loop(v, Expr(0), Expr(extent), Expr(1), std::move(body)));
  }

  void emit() {
    panel_ = var("panel", panels_);
    tap_ = var("tap", c_.taps);
    const Expr block = var("block", blocks_);
    const Expr low = simplify(floordiv(block * Expr(tiles_), blocks_)), high = simplify(floordiv((block + Expr(1)) * Expr(tiles_), blocks_));
    const Expr low_var = make_var("low", 0, tiles_ + 1), high_var = make_var("high", 0, tiles_ + 1);
    std::vector<Stmt> body = single_chain() ? one_chain(low_var, high_var) : many_chains(low_var, high_var);
    if (c_.taps == 1 && single_chain()) body = bind(tap_, Expr(0), std::move(body));
    body = bind(low_var, low, bind(high_var, high, std::move(body)));
    // task = (batch..., panel, block) or (batch..., block, panel)
    std::vector<Expr> order = c_.batch;
    order.push_back(panel_outer_ ? panel_ : block);
    order.push_back(panel_outer_ ? block : panel_);
    int64_t tasks = 1;
    for (const Expr& v : order) tasks *= v->limit;
    const Expr task = make_var("task", 0, tasks);
    int64_t stride = 1;
    for (size_t i = order.size(); i-- > 0;) {
      body = bind(order[i], simplify(floormod(floordiv(task, stride), order[i]->limit)), std::move(body));
      stride *= order[i]->limit;
    }
    int64_t outer = 1;
    for (const Expr& v : c_.batch) outer *= v->limit;
    emit_.kernel().flops = 2.0 * static_cast<double>(outer) * static_cast<double>(c_.m) * static_cast<double>(c_.n) * static_cast<double>(c_.k * c_.taps);
    emit_.finish(task, tasks, std::move(body));
  }
};

}  // namespace

bool has_schedule(const Graph& graph, const Node& node) { return describe(graph, node).has_value(); }

std::vector<Access> scheduled_operands(const Graph& graph, const Node& node) {
  const auto c = describe(graph, node);
  MICA_CHECK(c.has_value());
  std::vector<Access> accesses(2);
  accesses[0].base = c->a;
  accesses[1].base = c->b;
  if (c->bias) accesses.push_back({*c->bias, {}, {}});
  return accesses;
}

bool lower_contraction(PendingProgram& program, const Region& region) {
  auto c = region.anchor ? describe(*program.graph, *region.anchor) : std::nullopt;
  if (!c) return false;
  MICA_CHECK(!c->padded || program.can_have_tail(c->a), "a padded operand lives in the arena");
  ContractionLowering(program, region, std::move(*c)).run();
  return true;
}

}  // namespace mica::lower
