/// Replaces an op whose meaning is other ops by those ops:
///   %y = group_norm(%x, groups=2)
///     =>
///   %0 = mean(%x, axes=[2, 3])
///   %1 = reshape(%0, ...)
///   ...
/// From here on every op is an expression at each point of its results, or has a kernel of its own.
#include "mica/passes/graph.h"

namespace mica {

namespace {

bool expands(const Node& n) { return n.info->decompose && !n.info->define; }

/// A decomposition may use ops that are decompositions themselves; bounded, since none contains itself.
constexpr int greatest_depth = 16;

bool expand_once(Graph& graph, PassContext& context) {
  bool changed = false;
  std::vector<Node> old = std::move(graph.nodes);
  graph.nodes.clear();
  std::vector<Value> forward(graph.values.size());
  const auto resolve = [&](Value v) { return v.id < forward.size() && forward[v.id] ? forward[v.id] : v; };
  for (Node& n : old) {
    n.map_operands(resolve);
    if (!expands(n)) {
      graph.nodes.push_back(std::move(n));
      continue;
    }
    Builder builder(graph, *context.diagnostics);
    builder.location = n.location;
    const std::vector<Value> results = n.info->decompose(n, builder);
    MICA_CHECK(results.size() == n.results.size(), n.info->name());
    for (size_t i = 0; i < results.size(); ++i) {
      MICA_CHECK(static_cast<bool>(results[i]), n.info->name());
      forward[n.results[i].id] = resolve(results[i]);
    }
    changed = true;
  }
  graph.map_results(resolve);
  graph.renumber();
  return changed;
}

bool run(Graph& graph, PassContext& context) {
  bool changed = false;
  for (int depth = 0; depth < greatest_depth && expand_once(graph, context); ++depth) changed = true;
  if (changed) remove_dead_nodes(graph);
  return changed;
}

}  // namespace

constinit const Pass decompose = {.name = "decompose", .summary = "Replace ops whose meaning is other ops by those", .run = run};

}  // namespace mica
