// Sizes that depend on data, as TorchScript spells them.
#include <algorithm>
#include <array>

#include "import_families.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "mica/ops/detection.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/measure.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/scan.h"
#include "mica/ops/sort.h"
#include "mica/ops/view.h"

namespace mica {

namespace {

const Node* maker(const Graph& graph, Value v) {
  for (size_t i = graph.nodes.size(); i-- > 0;)
    if (std::ranges::find(graph.nodes[i].results, v) != graph.nodes[i].results.end()) return &graph.nodes[i];
  return nullptr;
}

}  // namespace

bool computed_alike(const Graph& graph, Value a, Value b, int depth) {
  if (a == b) return true;
  if (graph.is_constant(a) && graph.is_constant(b)) {
    const auto p = graph.constant(a).bytes, q = graph.constant(b).bytes;
    return graph.type(a) == graph.type(b) && p.size() <= 64 && std::ranges::equal(p, q);
  }
  const Node *m = depth ? maker(graph, a) : nullptr, *n = m ? maker(graph, b) : nullptr;
  if (!n || m->info != n->info || !m->info->is(Trait::pure) || has_region(*m)) return false;
  if (std::ranges::find(m->results, a) - m->results.begin() != std::ranges::find(n->results, b) - n->results.begin()) return false;
  std::vector<Value> left, right;
  m->for_operands([&](Value v) { left.push_back(v); });
  n->for_operands([&](Value v) { right.push_back(v); });
  if (left.size() != right.size()) return false;
  Node same = *n;
  size_t next = 0;
  same.map_operands([&](Value) { return left[next++]; });
  if (same.fields != m->fields) return false;
  for (size_t i = 0; i < left.size(); ++i)
    if (!computed_alike(graph, left[i], right[i], depth - 1)) return false;
  return true;
}

namespace {

/// A size for the count in results[1] of a node, of which results[0] has the rest. The same node is measured once.
Value measured_head(ImportContext& ctx, const std::vector<Value>& results) {
  Graph& graph = ctx.builder.graph();
  for (const Node& n : graph.nodes) {
    if (const auto head = match<Head>(n); head && head->x == results[0] && !head->axis) return n.result();
  }
  const Dim size = graph.add_measured_symbol(ctx.shape(results[0])[0]);
  if (!size.is_static()) ctx.builder.create_all(Measure{results[1], size});
  return ctx.create(Head{results[0], size});
}

Value flat(ImportContext& ctx, Value x) { return reshape_to(ctx, x, {ctx.shape(x).elements()}); }

}  // namespace

Value nonzero_places(ImportContext& ctx, Value x) {
  x = flat(ctx, x);
  const Graph& graph = ctx.builder.graph();
  for (const Node& n : graph.nodes) {
    if (const auto known = match<Nonzero>(n); known && computed_alike(graph, known->x, x)) return measured_head(ctx, n.results);
  }
  return measured_head(ctx, ctx.create_all(Nonzero{x}));
}

std::vector<Value> nonzero_columns(ImportContext& ctx, Value x) {
  const Value places = nonzero_places(ctx, x);
  const Shape shape = ctx.shape(x);
  std::vector<Value> columns;
  Dim inner = 1;
  const auto size = [&](const Dim& d) { return size_number(ctx, d); };
  for (int64_t a = shape.rank(); a-- > 0;) {
    Value column = places;
    if (inner != 1) column = ctx.create(FloorDivide{column, size(inner)});
    if (a) column = ctx.create(Remainder{column, size(shape[a])});
    columns.insert(columns.begin(), column);
    inner *= shape[a];
  }
  return columns;
}

/// One symbol for the size, the same one for the same size: tensors of equal sizes stay so.
static Dim own_symbol(ImportContext& ctx, const Dim& size) {
  Graph& graph = ctx.builder.graph();
  for (const Node& n : graph.nodes) {
    const auto known = match<Measure>(n);
    const Node* count = known ? maker(graph, known->count) : nullptr;
    const auto value = count ? match<SizeValue>(*count) : std::nullopt;
    if (value && value->size == size) return known->size;
  }
  const Dim own = graph.add_measured_symbol(greatest(size, graph.symbols.all()));
  if (!own.is_static()) ctx.builder.create_all(Measure{ctx.create(SizeValue{size}), own});
  return own;
}

Value settle_size(ImportContext& ctx, Value v, int64_t axis) {
  constexpr size_t most_symbols = 4;  // in a size whose arithmetic is still cheap
  if (!ctx.rank(v)) return v;
  if (axis < 0) axis += ctx.rank(v);
  const Dim size = ctx.shape(v)[axis];
  Graph& graph = ctx.builder.graph();
  std::vector<uint32_t> symbols;
  bool measured = false;
  for_symbols(size, [&](uint32_t symbol) {
    if (std::ranges::find(symbols, symbol) == symbols.end()) symbols.push_back(symbol);
    measured |= graph.symbols[symbol].is_measured();
  });
  if (!measured || symbols.size() <= most_symbols) return v;
  return ctx.create(Head{v, own_symbol(ctx, size), axis});
}

/// Each place where the mask holds takes the row whose number is how many hold before it.
Value put_at_mask(ImportContext& ctx, Value x, Value mask, Value values, bool add) {
  const Shape shape = ctx.shape(x);
  const Value line = flat(ctx, cast_to(ctx, mask, DType::b8)), places = nonzero_places(ctx, mask);
  const Dim found = ctx.shape(places)[0];
  std::vector<Dim> rows = {found}, whole = {ctx.shape(line)[0]};
  for (int64_t a = ctx.rank(mask); a < shape.rank(); ++a) rows.push_back(shape[a]), whole.push_back(shape[a]);
  const int64_t rank = static_cast<int64_t>(rows.size());
  if (ctx.rank(values) > rank)
    ctx.fail("broadcast-mismatch", fmt::format("{} has more axes than what it is written to", ctx.type(values).to_string()));
  if (ctx.rank(values) == rank && ctx.shape(values)[0] != found && ctx.shape(values)[0] != 1) {
    // As many rows as places, or the run fails.
    const Value good = ctx.create(Eq{size_number(ctx, found), size_number(ctx, ctx.shape(values)[0])});
    ctx.builder.create_all(Check{good, fmt::format("{}: the mask does not hold as often as there are values", ctx.op)});
    rows[0] = ctx.shape(values)[0];
  }
  values = expand_to(ctx, values, Shape(rows));
  const Value before = ctx.create(Sub{ctx.create(Cumsum{line, 0}), constant(ctx, DType::i64, Scalar(1))});
  const Value place = ctx.create(Where{line, before, constant(ctx, DType::i64, Scalar(0))});
  // A mask that holds nowhere has no row to read.
  const Value padded = ctx.create(Grow{values, Dim::max(rows[0], 1)});
  Value taken = ctx.create(IndexSelect{padded, 0, place});
  const Value old = reshape_to(ctx, x, whole);
  if (add) taken = ctx.create(Add{old, taken});
  Value where = line;
  while (ctx.rank(where) < rank) where = unsqueeze_at(ctx, where, ctx.rank(where));
  return reshape_to(ctx, ctx.create(Where{where, taken, old}), shape.dims());
}

namespace {

void refuse_scalar(ImportContext& ctx, Value x) {
  if (!ctx.rank(x)) ctx.unsupported("data-dependent-size", "takes a tensor of rank 1 or more");
}

Imported nonzero(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  refuse_scalar(ctx, x);
  std::vector<Value> columns = nonzero_columns(ctx, x);
  for (Value& c : columns) c = unsqueeze_at(ctx, c, 1);
  return {columns.size() == 1 ? columns[0] : ctx.create(Cat{Values(columns), 1})};
}
Imported nonzero_numpy(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  refuse_scalar(ctx, x);
  return {Values(nonzero_columns(ctx, x))};
}
Imported masked_select(ImportContext& ctx) {
  const Value x = ctx.tensor("self"), mask = ctx.tensor("mask");
  const std::array shapes = {ctx.shape(x), ctx.shape(mask)};
  const auto both = broadcast_shapes(shapes);
  if (!both) ctx.fail("broadcast-mismatch", fmt::format("{} and {} do not broadcast", ctx.type(x).to_string(), ctx.type(mask).to_string()));
  return {ctx.create(IndexSelect{flat(ctx, expand_to(ctx, x, *both)), 0, nonzero_places(ctx, expand_to(ctx, mask, *both))})};
}

/// Scores in falling order, equal ones in the order in which they stand.
Imported nms(ImportContext& ctx) {
  const Value boxes = ctx.tensor("dets"), scores = ctx.tensor("scores");
  const std::vector<Value> sorted = ctx.create_all(Sort{.x = scores, .axis = 0, .descending = true});
  return {measured_head(ctx, ctx.create_all(Nms{boxes, sorted[1], ctx.real("iou_threshold")}))};
}

}  // namespace

std::span<const ImportEntry> import_measure() {
  static constexpr ImportEntry entries[] = {
      {"aten::nonzero", nonzero},
      {"aten::nonzero_numpy", nonzero_numpy},
      {"aten::masked_select", masked_select},
      {"torchvision::nms", nms},
  };
  return entries;
}

}  // namespace mica
