#pragma once
// Where a TorchScript node stands in the user's Python.
#include <torch/csrc/jit/ir/ir.h>

#include "mica/support/location.h"

namespace mica::frontend {

/// File, line, column and source line from the archive's debug records. For a traced node, whose record is a Python stack, the innermost frame.
Location locate(const torch::jit::Node& node, const std::string& module_path);

}  // namespace mica::frontend
