#pragma once
// Opens a `.pt` in LibTorch; every way this can fail ends as a Diagnostic.
#include <torch/csrc/jit/api/module.h>

#include <filesystem>

#include "mica/support/diagnostic.h"

namespace mica::frontend {

/// The module on the CPU, in evaluation mode (with a note when that had to be changed), with its traced inputs where the archive has them.
Result<torch::jit::Module> open_module(const std::filesystem::path& file, Diagnostics& diagnostics);

/// The method asked for; else an error that lists those there are.
Result<torch::jit::Method> find_method(const torch::jit::Module& module, const std::string& name, Diagnostics& diagnostics);

/// The first line of a LibTorch exception, without its C++ stack.
std::string first_line(const std::exception& e);

}  // namespace mica::frontend
