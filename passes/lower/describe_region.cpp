// The description of a region by which what is chosen for its kernels is known again, in this model or another: the region's nodes as a graph of
// their own, with the types of all it reads, and nothing of the names and places in the model.
#include <map>

#include "emit.h"
#include "mica/ir/text.h"

namespace mica::lower {

namespace {

/// Values between an operand of the anchor and where it lies in memory: views that the schedule's addresses take in.
void add_views(const Graph& graph, Value v, Value base, std::set<const Node*>& nodes) {
  for (const Node* n = graph.producer(v); v != base && n && nodes.insert(n).second; n = graph.producer(v)) {
    std::optional<Value> from;
    n->for_operands([&](Value operand) {
      if (!from) from = operand;
    });
    if (!from) return;
    v = *from;
  }
}

}  // namespace

std::string describe_region(const Graph& graph, const Region& region, const Target* target) {
  std::set<const Node*> nodes = {region.root};
  if (region.anchor) nodes.insert(region.anchor);
  for (const uint32_t id : region.inlined)
    if (const Node* n = graph.producer(Value{id})) nodes.insert(n);
  if (region.anchor && has_schedule(graph, *region.anchor, target)) {
    std::vector<Value> operands;
    region.anchor->for_operands([&](Value v) { operands.push_back(v); });
    const std::vector<Access> accesses = scheduled_operands(graph, *region.anchor, target);
    for (size_t i = 0; i < std::min<size_t>(2, operands.size()); ++i) add_views(graph, operands[i], accesses[i].base, nodes);
  }
  Graph own;
  own.symbols = graph.symbols;
  std::map<uint32_t, Value> known;
  const auto input = [&](Value v) {
    const auto [entry, fresh] = known.try_emplace(v.id);
    if (fresh) {
      const char* kind = graph.is_constant(v) ? "constant" : has_own_place(graph, v) ? "value" : "outside";
      entry->second = own.add_input(graph.type(v), fmt::format("{}{}", kind, own.inputs.size()));
    }
    return entry->second;
  };
  for (const Node& n : graph.nodes) {
    if (!nodes.contains(&n)) continue;
    Node copy = n;
    copy.location = 0;
    copy.map_operands(input);
    for (Value& v : copy.results) v = known[v.id] = own.add_value(graph.type(v));
    own.nodes.push_back(std::move(copy));
  }
  own.outputs = {input(region.output)};
  std::string text = to_string(own), line;
  for (const char c : text) {
    if (c == '\n') line += ';';
    else if (c != ' ' || (!line.empty() && line.back() != ' ' && line.back() != ';')) line += c;
  }
  return line;
}

}  // namespace mica::lower
