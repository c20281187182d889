#pragma once
// A graph with symbolic sizes, lowered once: at every size the program computes what the graph with that size means.
#include <regex>

#include "lowered.h"

namespace mica::test {

/// The text with every symbol replaced by its size.
inline std::string at_sizes(const std::string& text, const std::vector<Symbol>& symbols, const std::vector<int64_t>& sizes) {
  std::string out = std::regex_replace(text, std::regex("graph<[^>]*>"), "graph");
  for (size_t k = 0; k < symbols.size(); ++k) out = std::regex_replace(out, std::regex("\\b" + symbols[k].name + "\\b"), std::to_string(sizes[k]));
  return out;
}

inline void expect_range(const std::string& text, const Graph& symbolic, const std::vector<std::vector<int64_t>>& all_sizes,
                         double tolerance = 2e-5) {
  for (const LowerPlan& plan : all_plans) {
    SCOPED_TRACE(fmt::format("{}, schedules {}", plan.cpu, plan.schedules));
    const Program p = lower(symbolic, plan);
    Diagnostics d;
    EXPECT_TRUE(verify_program(p, d)) << d.to_string() << to_string(p);
    for (const std::vector<int64_t>& sizes : all_sizes) {
      const Graph graph = parse(at_sizes(text, symbolic.symbols.all(), sizes));
      SCOPED_TRACE(graph.type(graph.inputs[0]).to_string());
      const auto inputs = random_inputs(graph);
      std::vector<HostTensor> host;
      const auto got = run_program(p, graph, inputs, nullptr, sizes);
      for (size_t i = 0; i < got.size(); ++i) host.push_back(to_host(graph.type(graph.outputs[i]), got[i]));
      expect_same(run(graph, inputs), host, tolerance);
      if (testing::Test::HasFailure()) return;
    }
  }
}
inline void expect_range(const std::string& text, const std::vector<std::vector<int64_t>>& all_sizes, double tolerance = 2e-5) {
  expect_range(text, parse(text), all_sizes, tolerance);
}
/// After the graph passes.
inline void expect_optimised_range(const std::string& text, const std::vector<std::vector<int64_t>>& all_sizes, double tolerance = 2e-5) {
  expect_range(text, optimised(text), all_sizes, tolerance);
}
inline std::vector<std::vector<int64_t>> each(int64_t low, int64_t high) {
  std::vector<std::vector<int64_t>> all;
  for (int64_t s = low; s <= high; ++s) all.push_back({s});
  return all;
}

}  // namespace mica::test
