#include "regions.h"

#include <unordered_map>
#include <unordered_set>

namespace mica::frontend {

void find_captures(const Graph& outer, const std::vector<Node>& nodes, const std::vector<Value>& yields, const std::vector<Value>& parameters,
                   std::vector<Value>& captures) {
  std::unordered_set<uint32_t> known;
  for (const Value v : parameters) known.insert(v.id);
  for (const Value v : captures) known.insert(v.id);
  for (const Node& n : nodes) {
    for (const Value v : n.results) known.insert(v.id);
  }
  const auto use = [&](Value v) {
    if (v && !outer.is_constant(v) && known.insert(v.id).second) captures.push_back(v);
  };
  for (const Node& n : nodes) n.for_operands(use);
  for (const Value v : yields) use(v);
}

Region make_region(const Graph& outer, const std::vector<Node>& nodes, const std::vector<Value>& inputs, const std::vector<Value>& yields) {
  auto inner = std::make_shared<Graph>();
  inner->symbols = outer.symbols;
  std::unordered_map<uint32_t, Value> moved;
  std::unordered_map<uint32_t, uint32_t> places;
  for (const Value v : inputs) moved[v.id] = inner->add_input(outer.type(v), outer.values[v.id].name);
  const auto move = [&](Value v) {
    if (!v) return v;
    const auto it = moved.find(v.id);
    if (it != moved.end()) return it->second;
    MICA_CHECK(outer.is_constant(v), "a region reads what is neither its own nor handed in");
    return moved[v.id] = inner->add_constant(outer.type(v), outer.constant(v));
  };
  for (const Node& from : nodes) {
    Node node = from;
    node.map_operands(move);
    for (Value& r : node.results) {
      const Value made = inner->add_value(outer.type(r), outer.values[r.id].name);
      moved[r.id] = made;
      r = made;
    }
    if (node.location) {
      const auto [it, added] = places.try_emplace(node.location, static_cast<uint32_t>(inner->locations.size()));
      if (added) inner->locations.push_back(outer.locations[node.location]);
      node.location = it->second;
    }
    inner->nodes.push_back(std::move(node));
  }
  for (const Value v : yields) inner->outputs.push_back(move(v));
  inner->output_names.resize(yields.size());
  inner->renumber();
  return inner;
}

}  // namespace mica::frontend
