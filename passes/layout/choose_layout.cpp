#include "mica/ops/conv.h"
#include "mica/ops/norm.h"
#include "mica/ops/pool.h"
#include "mica/ops/relayout.h"
#include "mica/ops/resample.h"
#include "mica/ops/view.h"
#include "mica/pass/pass.h"
#include "mica/passes/layout.h"

namespace mica {

namespace {

/// Ops that work on one layout as well as on another, so that a layout flows through them.
bool follows_layout(const Node& n) {
  return n.info->is(Trait::pointwise) || match<Cat>(n) || match<Pad>(n) || match<Slice>(n) || match<MaxPool>(n) || match<AvgPool>(n) ||
         match<AdaptiveAvgPool>(n) || match<AdaptiveMaxPool>(n) || match<Resample>(n) || match<BatchNorm>(n);
}

std::vector<uint8_t> channels_last(int64_t rank) {
  std::vector<uint8_t> order{0};
  for (int64_t a = 2; a < rank; ++a) order.push_back(static_cast<uint8_t>(a));
  order.push_back(1);
  return order;
}

/// The values of an image network that lie channels-last: what convolutions read and write, and what is computed from it in place.
std::vector<bool> find_channels_last(const Graph& graph) {
  std::vector<bool> last(graph.values.size(), false);
  const auto can = [&](Value v) { return graph.type(v).rank() >= 3 && !graph.is_constant(v); };
  bool changed = true;
  const auto mark = [&](Value v) {
    if (can(v) && !last[v.id]) last[v.id] = changed = true;
  };
  for (const Node& n : graph.nodes) {
    if (auto conv = match<Conv>(n)) {
      mark(conv->x);
      mark(n.results[0]);
    }
  }
  while (changed) {
    changed = false;
    for (const Node& n : graph.nodes) {
      if (!follows_layout(n) || n.results.size() != 1 || !can(n.results[0])) continue;
      const Shape& shape = graph.type(n.results[0]).shape;
      bool any = last[n.results[0].id];
      const auto alike = [&](Value v) {
        return can(v) && graph.type(v).rank() == shape.rank() && (!n.info->is(Trait::pointwise) || graph.type(v).shape == shape);
      };
      n.for_operands([&](Value v) { any |= alike(v) && last[v.id]; });
      if (!any) continue;
      mark(n.results[0]);
      n.for_operands([&](Value v) {
        if (alike(v)) mark(v);
      });
    }
  }
  return last;
}

/// Appends a copy of v in row-major order behind the last node.
Value copy_row_major(Graph& graph, Value v, uint32_t location) {
  std::vector<int64_t> order;
  for (int64_t a = 0; a < graph.type(v).rank(); ++a) order.push_back(a);
  Node node;
  node.info = &op_info<Relayout>;
  node.fields = encode(Relayout{.x = v, .order = order});
  TensorType type = graph.type(v);
  type.layout = {};
  node.results = {graph.add_value(type)};
  node.location = location;
  graph.nodes.push_back(node);
  return node.results[0];
}

bool run(Graph& graph, PassContext&) {
  const std::vector<bool> last = find_channels_last(graph);
  std::vector<bool> is_input(graph.values.size(), false);
  for (Value v : graph.inputs) is_input[v.id] = true;
  // An input stays as the caller has it; its users read a copy.
  std::vector<Node> copies;
  std::vector<Value> forward(graph.values.size());
  for (uint32_t id = 0; id < last.size(); ++id) {
    if (!last[id]) continue;
    const Layout layout{channels_last(graph.values[id].type.rank())};
    if (!is_input[id]) {
      graph.values[id].type.layout = layout;
      continue;
    }
    Node node;
    node.info = &op_info<Relayout>;
    node.fields = encode(Relayout{.x = Value{id}, .order = std::vector<int64_t>(layout.order.begin(), layout.order.end())});
    TensorType type = graph.values[id].type;
    type.layout = layout;
    node.results = {graph.add_value(type)};
    forward[id] = node.results[0];
    copies.push_back(std::move(node));
  }
  for (Node& n : graph.nodes) n.map_operands([&](Value v) { return v.id < forward.size() && forward[v.id] ? forward[v.id] : v; });
  graph.nodes.insert(graph.nodes.begin(), copies.begin(), copies.end());

  // Every output is made, in row-major order, by a node of its own.
  graph.renumber();
  std::vector<uint32_t> given(graph.values.size(), 0);
  bool changed = !copies.empty() || std::find(last.begin(), last.end(), true) != last.end();
  for (Value& out : graph.outputs) {
    const bool own = graph.producer(out) && !(out.id < given.size() && given[out.id]++) && graph.type(out).layout.is_identity();
    if (own) continue;
    const uint32_t location = graph.producer(out) ? graph.producer(out)->location : 0;
    out = copy_row_major(graph, out, location);
    changed = true;
  }
  graph.renumber();
  return changed;
}

}  // namespace

/// Chooses where the axes of every value lie in memory, without changing logical shapes:
///   %y : f32[1, 64, 56, 56] = conv(%x, ...)
///     =>
///   %y : f32[1, 64, 56, 56]@0231 = conv(%x, ...)        channels last, as the convolution kernels read and write
/// What is computed element by element from such a value, pooled or concatenated follows. Inputs and outputs of the graph stay
/// row-major: a relayout stands between. From here on every output is made by a node of its own.
constinit const Pass choose_layout = {.name = "choose_layout", .summary = "Lay image tensors out channels-last", .run = run};

}  // namespace mica
