#include "mica/pass/lower.h"

#include <set>

#include "attention.h"
#include "depthwise.h"
#include "emit.h"
#include "mica/ops/control.h"
#include "mica/ops/index.h"
#include "mica/ops/measure.h"
#include "mica/ops/view.h"

namespace mica {

namespace lower {

namespace {

/// The schedules that choose among forms.
bool lower_scheduled(PendingProgram& pending, const Region& region) {
  if (!region.anchor) return false;
  Chooser* chooser = pending.options.chooser;
  if (chooser && has_schedule(*pending.graph, *region.anchor, pending.target))
    pending.subject = static_cast<int32_t>(chooser->subject(describe_region(*pending.graph, region, pending.target)));
  const bool done = lower_depthwise(pending, region) || lower_attention(pending, region) || lower_contraction(pending, region);
  pending.subject = -1;
  return done;
}

void lower_region(PendingProgram& pending, const Region& region, Diagnostics& diagnostics) {
  if (region.alias_of) {
    const Alias base = pending.storage_of(*region.alias_of);
    pending.aliases[pending.global(region.output).id] = {base.root, base.offset + region.alias_offset};
    return;
  }
  if (has_region(*region.root)) return lower_control(pending, *region.root, diagnostics);
  if (match<Check>(region.root)) return lower_check(pending, region);
  if (match<Measure>(region.root)) return lower_measure(pending, region);
  if (region.anchor == region.root && match<Cat>(region.anchor)) return lower_cat(pending, region);
  if (region.anchor == region.root && match<UpdateAt>(region.anchor)) return lower_update_at(pending, region);
  const Node& meaning = region.anchor ? *region.anchor : *region.root;
  if (meaning.info->kernel) {
    if (pending.options.schedules && lower_recurrence(pending, region)) return;
    return lower_kernel_form(pending, meaning);
  }
  if (!meaning.info->define) {
    diagnostics.unsupported("op-not-lowered", "{}: no code can be made for this op yet", meaning.info->name()).at(pending.graph->location(meaning));
    return;
  }
  if (pending.options.schedules && lower_scheduled(pending, region)) return;
  lower_generic(pending, region);
}

Binding place(Binding::Space space, int64_t offset, size_t io) { return {space, offset, static_cast<uint32_t>(io), -1}; }

/// Where the caller's buffers and what is kept between runs are.
void place_signature(PendingProgram& pending) {
  const Graph& graph = *pending.graph;
  for (size_t i = 0; i < graph.inputs.size(); ++i) pending.places[pending.global(graph.inputs[i]).id] = place(Binding::Space::io, 0, i);
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    pending.places[pending.global(graph.outputs[i]).id] = place(Binding::Space::io, 0, graph.inputs.size() + i);
  pending.inputs = graph.inputs.size();
  int64_t offset = 0;
  for (const State& s : graph.states) {
    pending.initial_states[pending.global(s.input).id] = graph.constant(s.initial);
    pending.places[pending.global(s.input).id] = place(Binding::Space::state, offset, 0);
    offset += align_up(std::max<int64_t>(graph.type(s.input).bytes(), 1));
  }
}

}  // namespace

void lower_graph(PendingProgram& pending, Diagnostics& diagnostics) {
  pending.place_parts_of_graph();
  std::vector<Region> regions;
  try {
    regions = fuse_regions(*pending.graph, pending.options.schedules, pending.target);
  } catch (const SymbolicSize& size) {
    report_symbolic(diagnostics, "the model", size);
    return;
  }
  std::set<const Node*> whole;  // nodes in kernel form: all of their results are made at once
  for (const Region& region : regions) {
    const bool again = region.root->info->kernel && !whole.insert(region.root).second;
    const Node& meaning = region.anchor ? *region.anchor : *region.root;
    try {
      if (!again) lower_region(pending, region, diagnostics);
    } catch (const SymbolicSize& size) { report_symbolic(diagnostics, meaning.info->name(), size).at(pending.graph->location(meaning)); }
  }
}

}  // namespace lower

Result<Program> lower_to_program(const Graph& graph, const Target& target, const LowerOptions& options, Diagnostics& diagnostics) {
  using namespace lower;
  PendingProgram pending;
  pending.target = &target;
  pending.options = options;
  pending.enter(graph);
  place_signature(pending);
  lower_graph(pending, diagnostics);
  if (diagnostics.has_errors()) return Failure{};
  // Every state's new value is a node's own (choose_layout), so none is overwritten before it is read.
  for (const State& s : graph.states)
    if (s.output != s.input) pending.add_copy(pending.global(s.output), pending.global(s.input), fmt::format("keep {}", s.name));
  coalesce_copies(pending);
  return plan_memory(pending, graph);
}

}  // namespace mica
