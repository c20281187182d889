#pragma once
// Which accesses may happen only under a condition.
#include <functional>

#include "mica/ir/dim.h"
#include "mica/ir/expr.h"

namespace mica::lower {

/// `e`, where a load of a buffer that only a select makes legal has the select's condition as mask: it could leave the buffer otherwise
/// (`elements` says how many elements a buffer has). An index that is checked for faults is checked where it is used alone.
/// A part of `e` that is also computed under a weaker condition is that one: nothing is computed twice for a mask's sake.
Expr guard_accesses(const Expr& e, const std::function<Dim(uint32_t buffer)>& elements);

/// True when an index was checked against a size that may be 0: then there may be no element at all.
bool of_none_perhaps(const Expr& index);

}  // namespace mica::lower
