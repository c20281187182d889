#pragma once
#include "mica/ops/op.h"
namespace mica {
/// Checks a graph: definitions before uses, each value made once, types as inferred (layouts aside), outputs defined. True when it holds; else
/// reported.
bool verify(const Graph& graph, Diagnostics& diagnostics);
}  // namespace mica
