#pragma once
// Cuts a failing program down to a few lines that still fail in the same way.
#include "trial.h"

namespace mica::fuzz {

struct Reduced {
  Program program;
  Verdict verdict;
  Config config;
  int tried = 0;
};

/// Statements go, values become inputs, sizes shrink, numbers become simple, passes come back on: whatever keeps outcome and kind. None when the
/// program does not fail again.
std::optional<Reduced> reduce(const Program& program, const Config& config, const std::filesystem::path& folder, const Limits& limits);

}  // namespace mica::fuzz
