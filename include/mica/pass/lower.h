#pragma once
#include "mica/kernel/kernel.h"
#include "mica/ops/op.h"
#include "mica/target/target.h"

namespace mica {

struct LowerOptions {
  bool schedules = true;  ///< false: the generic road for every op
};

/// Cuts an optimised graph into regions, makes kernels of them, and places every intermediate in the arena.
/// Graph inputs and outputs become io buffers in that order. From here on no op is known, only kernels.
Result<Program> lower_to_program(const Graph& graph, const Target& target, const LowerOptions& options, Diagnostics& diagnostics);

}  // namespace mica
