#pragma once
// Running passes: one by name, or the pipeline in its order, with the checks and the looks that a developer asks for.
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "mica/pass/pass.h"

namespace mica {

struct PipelineOptions {
  std::vector<std::string> disabled;     ///< passes that are left out
  std::vector<std::string> print_after;  ///< passes after which `print` is called; "*" for all
  bool verify_each = true;               ///< verify() after each pass; a graph that does not hold then is a bug of Mica's
  /// Takes the graph after a pass of `print_after`; null prints its text to stderr.
  std::function<void(std::string_view pass, const Graph& graph)> print;
  /// Takes the seconds that each pass ran; may be null.
  std::function<void(std::string_view pass, double seconds)> timing;
  /// For tests: sees the graph before and after every pass that changed it; may be null.
  std::function<void(std::string_view pass, const Graph& before, const Graph& after)> observe;
};

/// All passes on graphs, in the order of docs/adding-a-pass.md's list (passes/pipeline.cpp).
std::span<const Pass* const> all_passes();
/// Null when there is no pass of that name.
const Pass* find_pass(std::string_view name);

/// Runs one pass with the checks of `options`; true if it changed the graph. Fails when the pass reported an error.
Result<bool> run_pass(const Pass& pass, Graph& graph, PassContext& context, const PipelineOptions& options);
/// As run_pass; an unknown name is the user's error, and the message lists those there are.
Result<bool> run_pass_by_name(std::string_view name, Graph& graph, PassContext& context, const PipelineOptions& options = {});
/// Runs passes in order; those that `options.disabled` names are left out.
Result<void> run_passes(std::span<const Pass* const> passes, Graph& graph, PassContext& context, const PipelineOptions& options);
/// The passes/graph part of the pipeline: what holds afterwards stands in passes/pipeline.cpp.
Result<void> run_graph_pipeline(Graph& graph, PassContext& context, const PipelineOptions& options = {});
/// Names in `disabled` and `print_after` that are no pass: reported, with the list of those there are.
Result<void> check_pass_names(const PipelineOptions& options, Diagnostics& diagnostics);

}  // namespace mica
