#pragma once
// What the generic road knows of a region before it writes loops: the element that is stored, and what memory accesses cost.
#include "emit.h"

namespace mica::lower {

inline Dim extent_of(const Expr& var) { return extent_end(var) - var->int_value; }
/// What choices of speed take an extent for.
inline double typical(const Dim& extent) { return static_cast<double>(extent.typical()); }

/// What one region computes, while its loops are being chosen.
struct Nest {
  std::vector<Expr> vars;  ///< of the stored element, outermost in memory first; extent 1 left out
  Expr value;              ///< with Reduce nodes
  Expr index;              ///< where it is stored, in elements
  DType dtype;
};

/// Merges neighbouring loops whose addresses all are affine in the merged variable.
void collapse(Nest& nest);
/// Takes a loop apart where addresses divide its variable by at most `most_groups`, and are affine in the two loops: channels that are shuffled
/// between groups are read side by side, group by group, and stored some elements apart.
void take_apart(Nest& nest, int64_t most_groups);
/// `collapse` for the variables of every reduction.
Expr collapse_reductions(const Expr& e);

/// Rough cost of one vector's memory accesses in `e` when `var` runs over the lanes.
double access_cost(const Expr& e, const Expr& var, int32_t lanes);
/// Up to `widest_stride` elements from lane to lane, a store is one of masked vectors.
double store_cost(const Expr& index, const Expr& var, int32_t lanes, int64_t widest_stride);

/// True when r stands inside another reduction of e and uses a variable of it, so that it must be computed in that one's loops.
bool inside_another(const Expr& e, const Expr& r);
/// The reductions in e, equal ones once, inner ones before those around them.
std::vector<Expr> reductions_in(const Expr& e);
Expr replace_node(const Expr& e, const Expr& from, const Expr& to);
bool contains(const Expr& e, const Expr& part);

}  // namespace mica::lower
