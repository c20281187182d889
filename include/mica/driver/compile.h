#pragma once
#include <filesystem>
#include <functional>

#include "mica/driver/tune.h"
#include "mica/frontend/torchscript.h"
#include "mica/kernel/kernel.h"
#include "mica/pass/lower.h"
#include "mica/support/defect.h"
#include "mica/target/target.h"

namespace mica {

/// Where a compilation stops; the names are those of `--emit`.
enum class EmitKind : uint8_t { graph, opt, kernel, scheduled, llvm, assembly, object, so };
std::string_view name_of(EmitKind kind);  ///< "graph" ... "asm", "obj", "so"
std::optional<EmitKind> parse_emit_kind(std::string_view text);
/// "f32, ..." : the values of --precision that this Mica builds.
std::string built_precisions();

/// Everything a compilation is told; one value, handed down.
struct Options {
  std::filesystem::path model;   ///< a `.pt`, or a graph in text form (`.mica`)
  std::filesystem::path output;  ///< empty: text goes into the report
  LoadOptions load;
  std::string cpu = "native", cpu_features, precision = "f32";
  EmitKind emit = EmitKind::so;
  std::vector<std::string> print_after;  ///< pass names; "*" for all
  bool verify_each = false;
  bool schedules = true;  ///< false: the generic road for every op
  WinogradUse winograd = WinogradUse::automatic;
  bool bindings = false;                        ///< also write a typed header, mica.h, and pkg-config and CMake files beside the .so
  DebugMemory debug_memory = DebugMemory::off;  ///< for tests: intermediates between pages that cannot be touched
  Defect debug_defect = Defect::none;           ///< to measure tests: a seeded defect that this compilation has
  bool tune = false;                            ///< measures forms of kernels that `tune_cache` does not know
  std::filesystem::path tune_cache;             ///< what earlier compilations measured; empty: the user's own where `tune` is set, else none
  double tune_seconds = 60;
  int tune_threads = 0;  ///< of a run; 0: the CPUs that this process may use
  std::function<void(const std::string& text)> tune_progress;
  int jobs = 0;  ///< threads that generate code; 0: one a CPU
  std::vector<std::string> disabled_passes;
  std::function<void(std::string_view phase)> progress;
};

struct CompileReport {
  std::string text;                                     ///< what `emit` asked for, when there is no output file
  std::vector<std::pair<std::string, double>> timings;  ///< seconds by phase; passes as "optimise/NAME"
  int64_t arena_bytes = 0, arena_lower_bound = 0, weights_bytes = 0, prepared_bytes = 0, so_bytes = 0;
  size_t kernels = 0, steps = 0, nodes = 0;
  std::vector<std::pair<std::string, std::string>> inputs, outputs;  ///< name, "f32[1, 3, 224, 224]"
  std::vector<std::string> spills;                                   ///< kernels whose inner loops spill registers
  Target target;
  TuneReport tune;                   ///< where something was to be measured
  std::filesystem::path tune_cache;  ///< that was read, if any
  Chooser::Count forms;              ///< kernels that schedules offer several forms for
};

/// `.pt` in, `.so` out: the calls of design.md §1 in that order. When it fails, `options.output` is as it was.
Result<CompileReport> compile(const Options& options, Diagnostics& diagnostics);

/// The graph that a file holds: a `.pt` imported, or a `.mica` read back. What every command starts with.
Result<LoadedModel> load_model(const std::filesystem::path& file, const LoadOptions& options, Diagnostics& diagnostics);

}  // namespace mica
