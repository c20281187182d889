#include <algorithm>
#include <chrono>

#include "mica/ir/text.h"
#include "mica/ir/verify.h"
#include "mica/pass/pipeline.h"

namespace mica {

namespace {

bool names(const std::vector<std::string>& list, std::string_view pass) { return std::find(list.begin(), list.end(), pass) != list.end(); }

void report_unknown(std::string_view name, Diagnostics& diagnostics) {
  std::string list;
  for (const Pass* p : all_passes()) list += (list.empty() ? "" : ", ") + std::string(p->name);
  diagnostics.error("unknown-pass", "there is no pass `{}`", name).help("the passes are " + list);
}

/// The pass on what is nested in the graph, innermost first, then on the graph. Regions may be shared with copies of the graph, so
/// one that changes is a new one.
bool run_everywhere(const Pass& pass, Graph& graph, PassContext& context) {
  bool changed = false;
  PassContext inner = context;
  inner.nested = true;
  for (Node& n : graph.nodes)
    for (Attr& a : n.fields)
      if (auto r = std::get_if<Region>(&a); r && r->graph) {
        auto copy = std::make_shared<Graph>(clone(*r->graph));
        if (!run_everywhere(pass, *copy, inner)) continue;
        r->graph = std::move(copy);
        changed = true;
      }
  return pass.run(graph, context) || changed;
}

}  // namespace

const Pass* find_pass(std::string_view name) {
  for (const Pass* p : all_passes())
    if (p->name == name) return p;
  return nullptr;
}

Result<bool> run_pass(const Pass& pass, Graph& graph, PassContext& context, const PipelineOptions& options) {
  MICA_CHECK(context.diagnostics, pass.name);
  const size_t errors = context.diagnostics->error_count();
  const Graph before = options.observe || !graph.symbols.empty() ? clone(graph) : Graph{};
  const auto start = std::chrono::steady_clock::now();
  bool changed = false;
  try {
    changed = run_everywhere(pass, graph, context);
  } catch (const SymbolicSize&) {
    // A pass that looks at sizes as integers does nothing where they are not.
    graph = clone(before);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  if (options.timing) options.timing(pass.name, took.count());
  if (context.diagnostics->error_count() != errors) return Failure{};
  if (options.verify_each && changed) {
    Diagnostics found;
    if (!verify(graph, found))
      check_failed(__FILE__, __LINE__, "verify(graph)", fmt::format("after pass {}\n{}{}", pass.name, found.to_string(), to_string(graph)));
  }
  if (names(options.print_after, pass.name) || names(options.print_after, "*")) {
    if (options.print) options.print(pass.name, graph);
    else fmt::print(stderr, "// after {}\n{}", pass.name, to_string(graph));
  }
  if (options.observe && changed) options.observe(pass.name, before, graph);
  return changed;
}

Result<bool> run_pass_by_name(std::string_view name, Graph& graph, PassContext& context, const PipelineOptions& options) {
  if (const Pass* p = find_pass(name)) return run_pass(*p, graph, context, options);
  report_unknown(name, *context.diagnostics);
  return Failure{};
}

Result<void> run_passes(std::span<const Pass* const> passes, Graph& graph, PassContext& context, const PipelineOptions& options) {
  for (const Pass* p : passes) {
    if (names(options.disabled, p->name)) continue;
    if (!run_pass(*p, graph, context, options)) return Failure{};
  }
  return {};
}

Result<void> check_pass_names(const PipelineOptions& options, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  for (const auto* list : {&options.disabled, &options.print_after})
    for (const std::string& name : *list)
      if (name != "*" && !find_pass(name)) report_unknown(name, diagnostics);
  if (diagnostics.error_count() != errors) return Failure{};
  return {};
}

}  // namespace mica
