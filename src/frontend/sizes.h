#pragma once
// Sizes that a trace computes with as tensors: torch.min(torch.cat([limit, size])) is a size all the same.
#include <optional>

#include "mica/ir/graph.h"

namespace mica::frontend {

/// What an i64 tensor of one element holds, where that follows from constants and symbols alone; nothing otherwise.
std::optional<Dim> held_size(const Graph& graph, Value v);

}  // namespace mica::frontend
