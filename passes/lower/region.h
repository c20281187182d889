#pragma once
// Regions: what fuse_regions cuts a graph into, and what the schedules and the generic lowering take.
#include <optional>
#include <set>
#include <unordered_map>

#include "mica/ops/kernel_builder.h"
#include "mica/ops/op.h"
#include "mica/pass/lower.h"

namespace mica::lower {

/// Longest chain of additions into one f32 accumulator before it is added to a total: the error of a sum grows with its chain.
inline constexpr int64_t max_chain = 256;

/// An index as offset + sum of stride * variable; strides may depend on symbols.
struct LinearIndex {
  Dim offset = 0;
  std::vector<Dim> strides;  ///< one a variable
};
/// Nothing where `flat` is no such sum over `vars`.
std::optional<LinearIndex> linear_index(const Expr& flat, const std::vector<Expr>& vars);

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The axis of a type at a place of its order in memory, outermost first.
inline int64_t axis_at(const TensorType& type, int64_t place) {
  return type.layout.order.empty() ? place : type.layout.order[static_cast<size_t>(place)];
}

/// A set of nodes that becomes one kernel (or a few without a barrier between them): at most one anchor, with the work before and
/// after it that can be computed on its elements.
struct Region {
  const Node* root = nullptr;     ///< the node whose result is stored
  Value output;                   ///< that result
  const Node* anchor = nullptr;   ///< the node with a reduction or a schedule of its own; null when all is pointwise
  Value anchor_value;             ///< its result
  std::set<uint32_t> inlined;     ///< ids of values computed within the region (the root's result not among them)
  std::optional<Value> alias_of;  ///< the output is a part of this value's memory, no kernel is needed
  int64_t alias_offset = 0;       ///< elements

  const Location& location(const Graph& graph) const { return graph.location(anchor ? *anchor : *root); }
};

/// True when v is made by an ordinary node and read within the graph only: its memory is the planner's to give, shape and tail.
/// Inputs, outputs, constants and the results of regions have their places from elsewhere.
bool has_own_place(const Graph& graph, Value v);

/// Expressions of a graph's values, with some of them expanded into what makes them.
class Inliner {
 public:
  Inliner(const Graph& graph, const std::set<uint32_t>& inlined) : graph_(graph), inlined_(inlined) {}
  /// Element of v at `where`; loads in the result name values that are not inlined.
  Expr at(Value v, const std::vector<Expr>& where) const;
  /// What the node that makes v computes at `where`, whether v is inlined or not.
  Expr expand(Value v, const std::vector<Expr>& where) const;
  /// `e` with the loads of inlined values expanded.
  Expr expand_loads(const Expr& e) const;

 private:
  /// An expansion made before: a value read twice at one place is one expression.
  struct Known {
    Value value;
    std::vector<Expr> where;
    Expr expr;
  };
  Expr expand_once(Value v, const std::vector<Expr>& where) const;
  const Graph& graph_;
  const std::set<uint32_t>& inlined_;
  mutable std::unordered_multimap<size_t, Known> known_;
};

/// Index variables over a shape, one an axis.
std::vector<Expr> index_vars(const Shape& shape);
/// True when the expression reduces somewhere.
bool has_reduction(const Expr& e);

/// How an anchor reads an operand: element `flat(vars)` of `base`, where vars are index variables over the operand's shape.
struct Access {
  Value base;
  std::vector<Expr> vars;
  Expr flat;
};
/// v as it is in memory.
Access direct_access(const Graph& graph, Value v);
/// Looks through views above `v` as long as they stay affine in the operand's axes with stride 1 along `unit_axis`
/// (-1: any). When the views do not, `v` itself is the base.
Access resolve_access(const Graph& graph, Value v, int64_t unit_axis);

/// The regions of a graph in an order in which they can run. Every value that a region reads is a graph input, a constant, or
/// the output of an earlier region.
std::vector<Region> fuse_regions(const Graph& graph, bool schedules, const Target* target = nullptr);

/// True when `node` has a schedule of its own (describe_contraction.cpp); without a target: one that every target has.
bool has_schedule(const Graph& graph, const Node& node, const Target* target = nullptr);
/// The operand accesses that the schedule of `node` will use; those bases must be in memory.
std::vector<Access> scheduled_operands(const Graph& graph, const Node& node, const Target* target = nullptr);

/// For an anchor whose value reaches the root through pointwise ops and invertible views: the root's indices as functions of the
/// anchor's (`vars`, one per axis of the anchor's result). nullopt when there is no such path.
std::optional<std::vector<Expr>> store_indices(const Graph& graph, const Region& region, const std::vector<Expr>& vars);

}  // namespace mica::lower
