// Control flow as steps around the steps of regions. A region's inputs are the memory of what is handed in, nothing is copied for
// them. Results of an `if` and values that a loop carries each are one variable; what is yielded is copied to it, and so is what a
// loop begins with. Almost all of these copies fall away when coalesce_copies finds that source and variable can be one.
#include <cstring>

#include "emit.h"
#include "mica/ops/control.h"
#include "mica/ops/measure.h"
#include "mica/support/defect.h"

namespace mica::lower {

namespace {

/// Lowers a region with `inputs` (numbered) as its inputs; calls `yield` while the region is at hand. Its steps are returned.
template <class Yield>
std::vector<PendingStep> lower_inside(PendingProgram& p, const Graph& region, const std::vector<Value>& inputs, uint32_t depth,
                                      Diagnostics& diagnostics, Yield&& yield) {
  const Graph* graph = p.graph;
  const uint32_t base = p.base, outer_depth = p.depth;
  std::vector<PendingStep> outer = std::exchange(p.steps, {});
  p.enter(region);
  p.depth = depth;
  const auto leave = [&] {
    p.graph = graph;
    p.base = base;
    p.depth = outer_depth;
    return std::exchange(p.steps, std::move(outer));
  };
  try {
    for (size_t i = 0; i < inputs.size(); ++i) p.aliases[p.global(region.inputs[i]).id] = p.storage(inputs[i]);
    lower_graph(p, diagnostics);
    yield();
  } catch (const SymbolicSize&) {
    leave();
    throw;
  }
  return leave();
}

std::vector<Value> numbered(const PendingProgram& p, const std::vector<Value>& values) {
  std::vector<Value> out;
  for (const Value v : values) out.push_back(p.global(v));
  return out;
}

template <class T> std::optional<T> constant_scalar(const PendingProgram& p, Value numbered) {
  const auto found = p.constants.find(p.storage(numbered).root.id);
  if (found == p.constants.end()) return std::nullopt;
  T value;
  std::memcpy(&value, found->second.bytes.data(), sizeof value);
  return value;
}

std::string label_of(const PendingProgram& p, const Node& node) {
  const std::string& module = p.graph->location(node).module_path;
  return std::string(node.info->name()) + (module.empty() ? "" : " (" + module + ")");
}

void lower_if(PendingProgram& p, const Node& node, const If& op, Diagnostics& diagnostics) {
  PendingStep step;
  step.kind = Step::Kind::branch;
  step.label = label_of(p, node);
  step.condition = p.operand(op.condition);
  const std::vector<Value> results = numbered(p, node.results), captures = numbered(p, op.captures.items);
  for (auto [region, steps] : {std::pair{op.then.graph.get(), &step.body}, std::pair{op.otherwise.graph.get(), &step.otherwise}}) {
    *steps = lower_inside(p, *region, captures, p.depth, diagnostics, [&] {
      for (size_t k = 0; k < results.size(); ++k) p.add_copy(p.global(region->outputs[k]), results[k], step.label + ": result");
    });
  }
  p.steps.push_back(std::move(step));
}

/// Copies what the body yields to the variables, all at once: what is a variable itself is put aside first.
void yield_carried(PendingProgram& p, const std::vector<Value>& variables, std::vector<Value>& yielded, const std::string& label) {
  for (size_t k = 0; k < yielded.size(); ++k) {
    const Value root = p.storage(yielded[k]).root;
    const bool own = k > 0 && root == variables[k - 1];
    const bool variable = std::any_of(variables.begin(), variables.end(), [&](Value v) { return v == root; });
    if (!variable || own || defect(Defect::carried_swap)) continue;
    const Value aside = p.add_temporary(p.types[yielded[k].id]);
    p.add_copy(yielded[k], aside, label + ": put aside");
    yielded[k] = aside;
  }
  for (size_t k = 1; k < yielded.size(); ++k)
    if (p.storage(yielded[k]).root != variables[k - 1]) p.add_copy(yielded[k], variables[k - 1], label + ": carry");
}

constexpr int64_t most_certain_trips = int64_t{1} << 20;  ///< a loop of more is as good as endless when a fault has made its result useless

void lower_loop(PendingProgram& p, const Node& node, const Loop& op, Diagnostics& diagnostics) {
  PendingStep step;
  step.kind = Step::Kind::loop;
  step.label = label_of(p, node);
  step.depth = p.depth;
  if (op.trips) {
    const auto known = constant_scalar<int64_t>(p, p.global(*op.trips));
    step.ends_by_itself = known && *known <= most_certain_trips;
    step.trips = p.operand(*op.trips);
  }
  if (op.condition && constant_scalar<uint8_t>(p, p.global(*op.condition)).value_or(0) == 0) step.condition = p.operand(*op.condition);
  // Each result's memory is the variable.
  const std::vector<Value> variables = numbered(p, node.results), initial = numbered(p, op.carried.items);
  for (size_t k = 0; k < variables.size(); ++k) p.add_copy(initial[k], variables[k], step.label + ": begin");
  const Value trip = p.add_temporary({DType::i64, {}, {}});
  p.places[trip.id] = {Binding::Space::trip, 0, p.depth, -1};
  std::vector<Value> inputs = {trip};
  inputs.insert(inputs.end(), variables.begin(), variables.end());
  for (const Value v : op.captures.items) inputs.push_back(p.global(v));
  const Graph& body = *op.body.graph;
  step.body = lower_inside(p, body, inputs, p.depth + 1, diagnostics, [&] {
    std::vector<Value> yielded = numbered(p, body.outputs);
    yield_carried(p, variables, yielded, step.label);
    if (constant_scalar<uint8_t>(p, yielded[0]).value_or(0) != 0) return;
    const auto constant = p.constants.find(p.storage(yielded[0]).root.id);
    step.go_on = constant != p.constants.end() ? Operand{Operand::Kind::weight, {}, p.add_constant(constant->second)}
                                               : Operand{Operand::Kind::value, yielded[0], 0};
  });
  p.steps.push_back(std::move(step));
}

}  // namespace

void lower_measure(PendingProgram& p, const Region& region) {
  PendingStep step;
  step.kind = Step::Kind::measure;
  step.symbol = *measured_by(*region.root);
  step.count = p.operand(match<Measure>(region.root)->count);
  step.label = p.graph->symbols[step.symbol].name;
  p.steps.push_back(std::move(step));
}

void lower_control(PendingProgram& p, const Node& node, Diagnostics& diagnostics) {
  if (const auto branch = match<If>(node)) return lower_if(p, node, *branch, diagnostics);
  if (const auto loop = match<Loop>(node)) return lower_loop(p, node, *loop, diagnostics);
  diagnostics.unsupported("op-not-lowered", "{}: no code can be made for this op yet", node.info->name()).at(p.graph->location(node));
}

}  // namespace mica::lower
