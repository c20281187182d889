/// Control flow that is known, and what regions are handed for nothing:
///   %y = if(%true, [%x], then={A}, otherwise={B})      =>      A, in place of the if
///   %y = loop(%zero, carried=[%x], body={...})         =>      %x
///   %y = loop(%n, carried=[%x], captures=[%w], ...)    =>      %w, a constant, stands in the body
/// A loop of one trip is its body. A carried value that no trip changes is a capture. What a region is handed twice or does not use,
/// and what it yields for nobody, goes.
#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "mica/ops/control.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

template <class T> std::optional<T> constant_scalar(const Graph& graph, OptValue v) {
  if (!v || !graph.is_constant(*v)) return std::nullopt;
  T value;
  std::memcpy(&value, graph.constant(*v).bytes.data(), sizeof value);
  return value;
}

/// Appends the nodes of a region, whose inputs are `inputs`, to the graph; its outputs as values of the graph.
std::vector<Value> inline_region(Graph& graph, const Graph& region, const std::vector<Value>& inputs) {
  std::vector<Value> known(region.values.size());
  for (size_t i = 0; i < inputs.size(); ++i) known[region.inputs[i].id] = inputs[i];
  const auto here = [&](Value v) {
    if (!known[v.id] && region.is_constant(v)) known[v.id] = graph.add_constant(region.type(v), region.constant(v));
    return known[v.id];
  };
  for (Node n : region.nodes) {
    n.map_operands(here);
    for (Value& r : n.results) {
      known[r.id] = graph.add_value(region.type(r), region.values[r.id].name);
      r = known[r.id];
    }
    graph.locations.push_back(region.location(n));
    n.location = static_cast<uint32_t>(graph.locations.size() - 1);
    graph.nodes.push_back(std::move(n));
  }
  std::vector<Value> out;
  for (const Value v : region.outputs) out.push_back(here(v));
  return out;
}

std::vector<bool> find_used(const Graph& graph) {
  std::vector<bool> used;
  for (const uint32_t n : graph.count_uses()) used.push_back(n != 0);
  return used;
}

template <class T> void keep(std::vector<T>& items, const std::vector<bool>& kept, size_t first = 0) {
  size_t to = first;
  for (size_t i = first; i < items.size(); ++i)
    if (kept[i - first]) items[to++] = items[i];
  items.resize(std::min(items.size(), to));
}

void replace_value(Graph& graph, Value from, Value to) {
  const auto swap = [&](Value v) { return v == from ? to : v; };
  for (Node& n : graph.nodes) n.map_operands(swap);
  graph.map_results(swap);
}

class Simplifier {
 public:
  explicit Simplifier(Graph& graph) : graph_(graph), used_(find_used(graph)), forward_(graph.values.size()) {}

  bool run() {
    std::vector<Node> old = std::exchange(graph_.nodes, {});
    for (Node& n : old) {
      n.map_operands([&](Value v) { return resolve(v); });
      const auto branch = match<If>(n);
      const auto loop = match<Loop>(n);
      if (branch ? simplify_if(n, *branch) : loop && simplify_loop(n, *loop)) continue;
      graph_.nodes.push_back(std::move(n));
    }
    graph_.map_results([&](Value v) { return resolve(v); });
    graph_.renumber();
    return changed_;
  }

 private:
  Value resolve(Value v) const { return v.id < forward_.size() && forward_[v.id] ? forward_[v.id] : v; }
  void forward(Value from, Value to) {
    forward_[from.id] = to;
    if (graph_.values[to.id].name.empty()) graph_.values[to.id].name = graph_.values[from.id].name;
    changed_ = true;
  }
  bool used(Value v) const { return used_[v.id]; }

  /// True when the node is gone.
  bool simplify_if(Node& n, const If& op) {
    if (const auto known = constant_scalar<uint8_t>(graph_, op.condition)) {
      const std::vector<Value> with = inline_region(graph_, *known ? *op.then.graph : *op.otherwise.graph, op.captures.items);
      for (size_t k = 0; k < with.size(); ++k) forward(n.results[k], with[k]);
      changed_ = true;
      return true;
    }
    If now = op;
    Graph then = clone(*op.then.graph), otherwise = clone(*op.otherwise.graph);
    bool touched = yield_once(n, now, then, otherwise);
    touched |= trim_captures(now.captures, {&then, &otherwise}, 0);
    if (!touched) return false;
    finish(then);
    finish(otherwise);
    now.then = Region(std::make_shared<Graph>(std::move(then)));
    now.otherwise = Region(std::make_shared<Graph>(std::move(otherwise)));
    n.fields = encode(now);
    return false;
  }

  /// Drops results that nobody reads, and those that are one capture either way.
  bool yield_once(Node& n, const If& op, Graph& then, Graph& otherwise) {
    std::vector<bool> kept;
    for (size_t k = 0; k < n.results.size(); ++k) {
      bool keeps = used(n.results[k]);
      for (size_t i = 0; keeps && i < op.captures.size(); ++i)
        if (then.outputs[k] == then.inputs[i] && otherwise.outputs[k] == otherwise.inputs[i]) {
          forward(n.results[k], op.captures[i]);
          keeps = false;
        }
      kept.push_back(keeps);
    }
    if (std::find(kept.begin(), kept.end(), false) == kept.end()) return false;
    keep(n.results, kept);
    for (Graph* g : {&then, &otherwise}) {
      keep(g->outputs, kept);
      g->output_names.clear();
      remove_dead_nodes(*g);
    }
    return true;
  }

  /// Captures are the regions' inputs from `first` on: constants move in, what comes twice comes once, what is not used does not come.
  bool trim_captures(Values& captures, const std::vector<Graph*>& regions, size_t first) {
    std::vector<std::vector<bool>> used;
    for (const Graph* g : regions) used.push_back(find_used(*g));
    std::vector<bool> kept;
    std::map<uint32_t, size_t> seen;
    for (size_t i = 0; i < captures.size(); ++i) {
      const Value v = captures[i];
      bool any = false;
      for (size_t r = 0; r < regions.size(); ++r) any |= used[r][regions[r]->inputs[first + i].id];
      if (!any) {
        kept.push_back(false);
        continue;
      }
      const auto [before, fresh] = seen.try_emplace(v.id, i);
      kept.push_back(fresh && !graph_.is_constant(v));
      if (kept.back()) continue;
      for (Graph* g : regions) {
        const Value with = graph_.is_constant(v) ? g->add_constant(graph_.type(v), graph_.constant(v)) : g->inputs[first + before->second];
        replace_value(*g, g->inputs[first + i], with);
      }
    }
    if (std::find(kept.begin(), kept.end(), false) == kept.end()) return false;
    keep(captures.items, kept);
    for (Graph* g : regions) keep(g->inputs, kept, first);
    return true;
  }

  /// A region that is handed less, or constants: its own regions may be simpler now, and some of its nodes dead.
  void finish(Graph& region) {
    Simplifier(region).run();
    remove_dead_nodes(region);
    changed_ = true;
  }

  bool simplify_loop(Node& n, const Loop& op) {
    const auto trips = constant_scalar<int64_t>(graph_, op.trips);
    const auto condition = constant_scalar<uint8_t>(graph_, op.condition);
    const auto leave = [&](const std::vector<Value>& with, size_t first) {
      for (size_t k = 0; k < n.results.size(); ++k) forward(n.results[k], with[first + k]);
      return changed_ = true;
    };
    if ((trips && *trips <= 0) || (condition && !*condition)) return leave(op.carried.items, 0);
    if (trips && *trips == 1 && (!op.condition || condition)) {
      std::vector<Value> inputs = {graph_.add_constant({DType::i64, {}, {}}, ConstantData::own(scalar_bytes(DType::i64, 0)))};
      inputs.insert(inputs.end(), op.carried.items.begin(), op.carried.items.end());
      inputs.insert(inputs.end(), op.captures.items.begin(), op.captures.items.end());
      return leave(inline_region(graph_, *op.body.graph, inputs), 1);
    }
    Loop now = op;
    Graph body = clone(*op.body.graph);
    bool touched = false;
    if (condition) {
      now.condition = {};
      touched = true;
    }
    touched |= capture_unchanged(n, now, body);
    touched |= drop_unneeded(n, now, body);
    touched |= trim_captures(now.captures, {&body}, 1 + now.carried.size());
    if (!touched) return false;
    finish(body);
    now.body = Region(std::make_shared<Graph>(std::move(body)));
    n.fields = encode(now);
    return false;
  }

  /// Takes carried values out of the loop.
  static void drop_carried(Node& n, Loop& op, Graph& body, const std::vector<bool>& kept) {
    keep(n.results, kept);
    keep(body.outputs, kept, 1);
    body.output_names.clear();
    std::vector<bool> inputs = kept;
    inputs.resize(body.inputs.size() - 1, true);
    keep(body.inputs, inputs, 1);
    keep(op.carried.items, kept);
  }

  bool capture_unchanged(Node& n, Loop& op, Graph& body) {
    std::vector<bool> kept;
    std::vector<Value> moved;
    for (size_t k = 0; k < op.carried.size(); ++k) {
      kept.push_back(body.outputs[1 + k] != body.inputs[1 + k]);
      if (kept.back()) continue;
      forward(n.results[k], op.carried[k]);
      op.captures.items.push_back(op.carried[k]);
      moved.push_back(body.inputs[1 + k]);
    }
    if (moved.empty()) return false;
    drop_carried(n, op, body, kept);
    body.inputs.insert(body.inputs.end(), moved.begin(), moved.end());
    return true;
  }

  /// A carried value is needed when its result is, or when a trip needs it for anything else than itself.
  bool drop_unneeded(Node& n, Loop& op, Graph& body) {
    std::vector<bool> kept, live(body.values.size()), mentioned(body.symbols.size());
    for (const Value r : n.results) kept.push_back(used(r));
    for (bool more = true; more;) {
      live[body.outputs[0].id] = true;
      for (size_t k = 0; k < kept.size(); ++k)
        if (kept[k]) live[body.outputs[1 + k].id] = true;
      for (size_t i = body.nodes.size(); i-- > 0;) {
        const Node& node = body.nodes[i];
        const auto measured = measured_by(node);
        const bool needed = !is_pure(node) || (measured && mentioned.at(*measured)) ||
                            std::any_of(node.results.begin(), node.results.end(), [&](Value r) { return live[r.id]; });
        if (!needed) continue;
        node.for_operands([&](Value v) { live[v.id] = true; });
        for_mentions(body, node, [&](uint32_t symbol) { mentioned.at(symbol) = true; });
      }
      more = false;
      for (size_t k = 0; k < kept.size(); ++k)
        if (!kept[k] && live[body.inputs[1 + k].id]) kept[k] = more = true;
    }
    if (std::find(kept.begin(), kept.end(), false) == kept.end()) return false;
    // Nodes that only served them read inputs that are gone.
    drop_carried(n, op, body, kept);
    remove_dead_nodes(body);
    return true;
  }

  Graph& graph_;
  const std::vector<bool> used_;
  std::vector<Value> forward_;
  bool changed_ = false;
};

bool run(Graph& graph, PassContext&) {
  if (std::none_of(graph.nodes.begin(), graph.nodes.end(), has_region)) return false;
  const bool changed = Simplifier(graph).run();
  return remove_dead_nodes(graph) || changed;
}

}  // namespace

constinit const Pass simplify_control = {
    .name = "simplify_control", .summary = "Decide control flow that is known; hand regions only what they use", .run = run};

}  // namespace mica
