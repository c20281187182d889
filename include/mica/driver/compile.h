#pragma once
#include <filesystem>
#include <functional>
#include "mica/frontend/torchscript.h"
#include "mica/kernel/kernel.h"
#include "mica/target/target.h"
namespace mica {
enum class EmitKind : uint8_t { graph, opt, kernel, scheduled, llvm, assembly, object, so };
/// Everything a compilation is told; one value, handed down.
struct Options {
  std::filesystem::path model, output;
  LoadOptions load;
  std::string cpu = "native", cpu_features, precision = "f32";
  EmitKind emit = EmitKind::so;
  std::vector<std::string> print_after;  ///< pass names; "*" for all
  bool verify_each = false, time_passes = false;
  std::vector<std::string> disabled_passes;
  std::function<void(std::string_view phase)> progress;
};
struct CompileReport {
  std::string text;                                       ///< the text that `emit` asked for
  std::vector<std::pair<std::string, double>> timings;    ///< seconds by phase and pass
  int64_t arena_bytes = 0, arena_lower_bound = 0, weights_bytes = 0, so_bytes = 0;
  size_t kernels = 0, steps = 0;
};
/// `.pt` in, `.so` out: the calls of design.md §1 in that order.
Result<CompileReport> compile(const Options& options, Diagnostics& diagnostics);
}  // namespace mica
