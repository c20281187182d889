#include "mica/pass/lower.h"

#include <set>

#include "emit.h"
#include "mica/ops/view.h"

namespace mica {

Result<Program> lower_to_program(const Graph& graph, const Target& target, const LowerOptions& options, Diagnostics& diagnostics) {
  using namespace lower;
  PendingProgram pending;
  pending.graph = &graph;
  pending.target = &target;
  pending.options = options;
  std::set<const Node*> whole;  // nodes in kernel form that have been lowered
  const std::vector<lower::Region> regions = fuse_regions(graph, options.schedules);
  for (const lower::Region& region : regions) {
    if (region.alias_of) {
      const Alias base = pending.storage_of(*region.alias_of);
      pending.aliases[region.output.id] = {base.root, base.offset + region.alias_offset};
      continue;
    }
    if (region.anchor && match<Cat>(region.anchor) && region.anchor == region.root) {
      lower_cat(pending, region);
      continue;
    }
    const Node& meaning = region.anchor ? *region.anchor : *region.root;
    if (meaning.info->kernel) {
      if (whole.insert(&meaning).second) lower_kernel_form(pending, meaning);
      continue;
    }
    if (!meaning.info->define) {
      diagnostics.unsupported("op-not-lowered", "{}: no code can be made for this op yet", meaning.info->name()).at(graph.location(meaning));
      continue;
    }
    if (options.schedules && lower_contraction(pending, region)) continue;
    lower_generic(pending, region);
  }
  if (diagnostics.has_errors()) return Failure{};
  return plan_memory(pending);
}

}  // namespace mica
