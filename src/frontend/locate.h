#pragma once
// Where a TorchScript node stands in the user's Python.
#include <torch/csrc/jit/ir/ir.h>

#include "mica/support/location.h"

namespace mica::frontend {

/// File, line, column and source line from the archive's debug records. Inside PyTorch's own modules it is the line that called them: for a traced
/// node the innermost frame of its recorded Python stack outside PyTorch, for a scripted one the innermost of `callers` (outermost first).
Location locate(const torch::jit::Node& node, const std::string& module_path, const std::vector<const torch::jit::Node*>& callers);

}  // namespace mica::frontend
