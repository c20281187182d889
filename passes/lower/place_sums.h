#pragma once
// Sums over all places of each channel of a value (the pool of squeeze-excite), of which the kernel that makes the value has begun a part
// (PlaceSums): who needs the sum adds up the parts instead of reading the value.
#include "emit.h"

namespace mica::lower {

/// True when `e` is the sum over all places of value `v`, which is [N, C, places...].
bool is_place_sum(const Graph& graph, const Expr& e, Value v);
/// Sums over all places of a value that its own kernel has begun: variables in their stead, and what those stand for.
std::vector<VarBinding> take_place_sums(Emitter& emit, Expr& value);

}  // namespace mica::lower
