#include <utility>

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

/// Appends a copy of v in channels-last order behind the last node.
Value copy_channels_last(Graph& graph, Value v, uint32_t location) {
  TensorType type = graph.type(v);
  type.layout = {channels_last(type.rank())};
  Node node;
  node.info = &op_info<Relayout>;
  node.fields = encode(Relayout{.x = v, .order = std::vector<int64_t>(type.layout.order.begin(), type.layout.order.end())});
  node.results = {graph.add_value(type)};
  node.location = location;
  graph.nodes.push_back(node);
  return node.results[0];
}

/// Values that stay as they are made: the caller's, what is kept between runs, what regions yield.
std::vector<bool> find_row_major(const Graph& graph) {
  std::vector<bool> fixed(graph.values.size(), false);
  for (const Value v : graph.inputs) fixed[v.id] = true;
  for (const State& s : graph.states) fixed[s.input.id] = true;
  for (const Node& n : graph.nodes)
    if (has_region(n))
      for (const Value v : n.results) fixed[v.id] = true;
  return fixed;
}

/// Sets layouts. Users of a value that stays row-major read a copy of it; nodes with regions read row-major copies of the others.
void set_layouts(Graph& graph, const std::vector<bool>& last) {
  const std::vector<bool> fixed = find_row_major(graph);
  for (uint32_t id = 0; id < last.size(); ++id)
    if (last[id] && !fixed[id]) graph.values[id].type.layout = {channels_last(graph.values[id].type.rank())};
  std::vector<Value> forward(graph.values.size()), plain(graph.values.size());
  const std::vector<Node> old = std::exchange(graph.nodes, {});
  const auto copy = [&](Value v, uint32_t location) {
    if (last[v.id] && fixed[v.id]) forward[v.id] = copy_channels_last(graph, v, location);
  };
  for (const Value v : graph.inputs) copy(v, 0);
  for (const State& s : graph.states) copy(s.input, 0);
  for (Node n : old) {
    if (has_region(n)) {
      n.map_operands([&](Value v) {
        if (fixed[v.id] || !last[v.id]) return v;
        if (!plain[v.id]) plain[v.id] = copy_row_major(graph, v, n.location);
        return plain[v.id];
      });
    } else {
      n.map_operands([&](Value v) { return forward[v.id] ? forward[v.id] : v; });
    }
    graph.nodes.push_back(n);
    for (const Value v : n.results) copy(v, n.location);
  }
  graph.renumber();
}

bool run(Graph& graph, PassContext& context) {
  const std::vector<bool> last = find_channels_last(graph);
  bool changed = std::find(last.begin(), last.end(), true) != last.end();
  if (changed) set_layouts(graph, last);
  // Every output is row-major; what a run leaves behind is made by a node of its own.
  std::vector<bool> given(graph.values.size(), false);
  const auto finish = [&](Value out) {
    const bool own = context.nested || (graph.producer(out) && !(out.id < given.size() && given[out.id]));
    if (own && graph.type(out).layout.is_identity()) {
      given[out.id] = true;
      return out;
    }
    const uint32_t location = graph.producer(out) ? graph.producer(out)->location : 0;
    changed = true;
    return copy_row_major(graph, out, location);
  };
  for (Value& v : graph.outputs) v = finish(v);
  for (State& s : graph.states)
    if (s.output != s.input) s.output = finish(s.output);
  graph.renumber();
  return changed;
}

}  // namespace

/// Chooses where the axes of every value lie in memory, without changing logical shapes:
///   %y : f32[1, 64, 56, 56] = conv(%x, ...)
///     =>
///   %y : f32[1, 64, 56, 56]@0231 = conv(%x, ...)        channels last, as the convolution kernels read and write
/// What is computed element by element from such a value, pooled or concatenated follows. Inputs and outputs of the graph and of its
/// regions, and states, stay row-major: a relayout stands between. From here on every output is made by a node of its own.
constinit const Pass choose_layout = {.name = "choose_layout", .summary = "Lay image tensors out channels-last", .run = run};

}  // namespace mica
