#pragma once
// A pass is one file with one `constinit const Pass` of the file's name.
#include <deque>
#include <string_view>

#include "mica/ops/op.h"
#include "mica/pass/precision.h"

namespace mica {

struct Target;

/// What passes are handed besides the graph.
struct PassContext {
  const Target* target = nullptr;  ///< null where a pass must not ask
  Diagnostics* diagnostics = nullptr;
  std::optional<Precision> precision = {};  ///< none: floats are computed in their own dtypes
  bool nested = false;                      ///< the graph is a region of another
};

/// Rewrites one node of a graph in place. New nodes stand before `at`; the results of `at` can be replaced.
class Rewriter {
 public:
  Rewriter(Graph& graph, PassContext& context);
  Graph& graph() { return graph_; }
  PassContext& context() { return context_; }
  const Node& at() const { return *at_; }
  const TensorType& type(Value v) const { return graph_.type(v); }
  /// The op that makes v, if it is a T.
  template <Op T> std::optional<T> producer(Value v) const { return match<T>(producer_node(v)); }
  const Node* producer_node(Value v) const;
  uint32_t uses(Value v) const;
  bool is_constant(Value v) const { return graph_.is_constant(v); }
  /// Makes a node before `at`, at the same location; invalid Value if inference fails.
  template <Op T> Value create(const T& op) {
    auto all = append(&op_info<T>, encode(op));
    return all.empty() ? Value{} : all[0];
  }
  std::vector<Value> append(const OpInfo* info, std::vector<Attr> fields);
  Value constant(TensorType type, ConstantData data);
  Value scalar(DType dtype, double value);
  /// From now on every use of the results of `at` reads `with` instead; `at` becomes dead.
  void replace(std::vector<Value> with);
  void replace(Value with) { replace(std::vector<Value>{with}); }

 private:
  friend bool run_rewrite(Graph&, PassContext&, bool (*)(Rewriter&));
  Graph& graph_;
  PassContext& context_;
  const Node* at_ = nullptr;
  std::deque<Node> out_;         // nodes of the new order; a deque, so that producer_node() stays valid while nodes are made
  std::vector<uint32_t> maker_;  // value id -> index into out_, ~0 if none
  std::vector<uint32_t> uses_;
  std::vector<Value> forward_;  // value id -> replacement
  bool replaced_ = false;
  Value resolve(Value v) const;
};

/// Removes pure nodes (and what then becomes dead) whose results nobody reads; true if there were any. Not those of regions.
bool remove_dead_nodes(Graph& graph);
/// A copy of the graph whose nested regions are copies too (plain copies share them).
Graph clone(const Graph& graph);

/// Runs `rule` on every node in order until nothing changes (bounded); true if anything did. Dead nodes are removed at the end.
bool run_rewrite(Graph& graph, PassContext& context, bool (*rule)(Rewriter&));

struct Pass {
  std::string_view name;
  std::string_view summary;
  /// True when it changed the graph. Errors go to context.diagnostics. Nested regions are none of its business: run_pass calls it
  /// for each of them first.
  bool (*run)(Graph&, PassContext&);
};

namespace detail {
template <auto rule> struct RuleOf;
template <class T, bool (*rule)(Rewriter&, const T&)> struct RuleOf<rule> {
  static bool apply(Rewriter& rw) {
    const auto op = match<T>(rw.at());
    return op && rule(rw, *op);
  }
};
}  // namespace detail
/// A pass body from rules over typed ops: `.run = rewrite_rules<fold, other>`.
template <auto... rules> bool rewrite_rules(Graph& graph, PassContext& context) {
  return run_rewrite(graph, context, [](Rewriter& rw) { return (detail::RuleOf<rules>::apply(rw) || ...); });
}

}  // namespace mica
