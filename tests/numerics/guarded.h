#pragma once
// Runs a library, also where every byte outside the caller's tensors is out of bounds.
#include <filesystem>
#include <vector>

#include "mica/driver/compile.h"
#include "mica/frontend/eager.h"

namespace mica::numerics {

/// Runs the library on so many threads. With `memory` off as any program would; else twice in a child process, every tensor in pages of its own
/// with an untouchable page on both sides, its end or its beginning at one of them, and outputs that start as bytes of ones, NaN in every
/// float. Then it also fails when the child dies, when an input has changed, and when the two runs differ.
Result<std::vector<RawTensor>> run_library(const std::filesystem::path& library, const std::vector<RawTensor>& inputs, int threads,
                                           DebugMemory memory, Diagnostics& diagnostics);

}  // namespace mica::numerics
