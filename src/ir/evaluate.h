#pragma once
// Evaluates an expression at every point of an index space: what the interpreter is made of.
#include <unordered_map>

#include "mica/ir/expr.h"
#include "mica/ir/interpret.h"

namespace mica {

/// What loads read, by the id in the load.
using Sources = std::unordered_map<uint32_t, const HostTensor*>;

/// An index out of range that `checked_index` met.
struct Fault {
  std::string text;
  int64_t value = 0, limit = 0;
};

/// The value of `e` for all values of `vars` (each from 0 to its limit), row-major. Stops at the first fault.
/// Floats are computed in fp64 whatever their dtype, integers in their own.
HostTensor evaluate(const Expr& e, const std::vector<Expr>& vars, const Sources& sources, std::optional<Fault>& fault);

}  // namespace mica
