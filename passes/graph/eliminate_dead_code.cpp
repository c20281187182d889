/// Removes what no output needs: nodes without effect whose results nobody reads, and then the values and constants that are left
/// over, so that a folded weight gives its memory back.
///   %0 = exp(%x)
///   %1 = relu(%x)
///   return %1
///     =>
///   %0 = relu(%x)
///   return %0
/// From here on values are numbered without gaps.
#include "mica/passes/graph.h"

namespace mica {

namespace {

/// Drops values that nothing makes or reads, and constants without a value; true if there were any.
bool compact(Graph& graph) {
  std::vector<bool> used(graph.values.size());
  const auto use = [&](Value v) { used[v.id] = true; };
  for (const Value v : graph.inputs) use(v);
  graph.for_results(use);
  for (const State& s : graph.states) use(s.input), use(s.initial);
  for (const Node& n : graph.nodes) {
    n.for_operands(use);
    for (const Value r : n.results) use(r);
  }
  std::vector<Value> renamed(graph.values.size());
  std::vector<GraphValue> values;
  std::vector<ConstantData> constants;
  for (size_t id = 0; id < used.size(); ++id) {
    if (!used[id]) continue;
    renamed[id] = Value{static_cast<uint32_t>(values.size())};
    GraphValue& v = values.emplace_back(std::move(graph.values[id]));
    if (v.constant < 0) continue;
    constants.push_back(graph.constants[v.constant]);
    v.constant = static_cast<int32_t>(constants.size() - 1);
  }
  const bool changed = values.size() != used.size() || constants.size() != graph.constants.size();
  const auto rename = [&](Value v) { return renamed[v.id]; };
  for (Value& v : graph.inputs) v = rename(v);
  graph.map_results(rename);
  for (State& s : graph.states) s.input = rename(s.input), s.initial = rename(s.initial);
  for (Node& n : graph.nodes) {
    n.map_operands(rename);
    for (Value& r : n.results) r = rename(r);
  }
  graph.values = std::move(values);
  graph.constants = std::move(constants);
  graph.renumber();
  return changed;
}

bool eliminate(Graph& graph, PassContext&) {
  const bool removed = remove_dead_nodes(graph);
  return compact(graph) || removed;
}

}  // namespace

constinit const Pass eliminate_dead_code = {
    .name = "eliminate_dead_code", .summary = "Remove nodes, values and constants that no output needs", .run = eliminate};

}  // namespace mica
