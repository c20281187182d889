#pragma once
// Sizes that a trace holds as numbers.
#include "binding.h"

namespace mica::frontend {

/// Warns of every number in the traced program that shapes something, or scales by a size, and equals the size which a dimension that is symbolic
/// now had in the sample that was traced: the number stays as it is where the dimension varies. A number may equal a size by chance, so nothing
/// is refused.
void warn_of_baked_sizes(const torch::jit::Method& method, const Binding& binding, Diagnostics& diagnostics);

}  // namespace mica::frontend
