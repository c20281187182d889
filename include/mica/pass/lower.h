#pragma once
#include "mica/kernel/kernel.h"
#include "mica/ops/op.h"
#include "mica/pass/choices.h"
#include "mica/pass/precision.h"
#include "mica/target/target.h"

namespace mica {

/// For tests: every intermediate in pages of its own, with a page that cannot be touched on both sides, and nothing shared.
enum class DebugMemory : uint8_t {
  off,
  behind,  ///< a value's last byte is the last before such a page
  before   ///< its first byte is the first behind one
};

/// 3x3 convolutions of stride 1 with a quarter of the products, which round a few times as much (docs/correctness.md).
enum class WinogradUse : uint8_t {
  off,
  automatic,  ///< where the cost model finds them faster
  always      ///< for tests: wherever the form fits
};

struct LowerOptions {
  bool schedules = true;  ///< false: the generic road for every op
  /// What the graph was lowered to: within a kernel its values are not rounded between ops, only where they are stored.
  std::optional<Precision> precision = {};
  WinogradUse winograd = WinogradUse::automatic;
  DebugMemory debug_memory = DebugMemory::off;
  Chooser* chooser = nullptr;  ///< answers what schedules ask; null: they take the cost model's choice
};

/// Cuts an optimised graph into regions, makes kernels of them, and places every intermediate in the arena.
/// Graph inputs and outputs become io buffers in that order. From here on no op is known, only kernels.
Result<Program> lower_to_program(const Graph& graph, const Target& target, const LowerOptions& options, Diagnostics& diagnostics);

}  // namespace mica
