#include "mica/ir/graph.h"

#include <algorithm>

namespace mica {

ConstantData ConstantData::own(std::vector<std::byte> data, std::string name) {
  ConstantData out;
  out.owned = std::make_shared<const std::vector<std::byte>>(std::move(data));
  out.bytes = *out.owned;
  out.name = std::move(name);
  return out;
}

Value Graph::add_value(TensorType type, std::string name) {
  GraphValue& v = values.emplace_back();
  v.type = std::move(type);
  v.name = std::move(name);
  return Value{static_cast<uint32_t>(values.size() - 1)};
}

Value Graph::add_input(TensorType type, std::string name) {
  const Value v = add_value(std::move(type), std::move(name));
  inputs.push_back(v);
  return v;
}

Value Graph::add_constant(TensorType type, ConstantData data) {
  MICA_CHECK(static_cast<int64_t>(data.bytes.size()) == type.bytes(), data.name);
  const Value v = add_value(std::move(type), data.name);
  values[v.id].constant = static_cast<int32_t>(constants.size());
  constants.push_back(std::move(data));
  return v;
}

Value Graph::add_state(Value initial, std::string name) {
  MICA_CHECK(is_constant(initial), name);
  const Value v = add_value(type(initial), name);
  states.push_back({v, v, initial, std::move(name)});
  return v;
}

Dim Graph::add_measured_symbol(const Dim& bound) {
  if (bound.high() == 0) return 0;
  const auto taken = [&](const std::string& name) { return std::ranges::any_of(symbols, [&](const Symbol& s) { return s.name == name; }); };
  size_t number = symbols.size();
  while (taken(fmt::format("U{}", number))) ++number;
  symbols.push_back({.name = fmt::format("U{}", number), .low = 0, .high = bound.high(), .bound = bound});
  return symbol(symbols.size() - 1);
}

void Graph::renumber() {
  for (GraphValue& v : values) v.producer = ~0u;
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const Value r : nodes[i].results) values[r.id].producer = static_cast<uint32_t>(i);
}

std::vector<uint32_t> Graph::count_uses() const {
  std::vector<uint32_t> uses(values.size());
  for (const Node& n : nodes) n.for_operands([&](Value v) { ++uses[v.id]; });
  for_results([&](Value v) { ++uses[v.id]; });
  return uses;
}

}  // namespace mica
