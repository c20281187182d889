#pragma once
#include <filesystem>
#include "mica/kernel/kernel.h"
#include "mica/target/target.h"
namespace mica {
struct CodegenOptions {
  bool emit_llvm = false, emit_asm = false;  ///< also give the text
  int jobs = 0;                              ///< codegen threads; 0: as many as CPUs
};
struct CodegenResult {
  std::vector<std::string> objects;  ///< bytes of ELF objects
  std::string llvm, assembly;        ///< text when asked for
  std::vector<std::string> spills;   ///< "kernel: 3 spills, 5 reloads in an innermost loop", by the register allocator
};
/// Compiles a program: one function per kernel `void kernel(ptr params..., ptr frame, i64 first, i64 last)` and `mica_main` (runtime/frame.h),
/// which runs the steps in order with barriers.
Result<CodegenResult> generate_code(const Program& program, const Target& target, const CodegenOptions& options, Diagnostics& diagnostics);
}  // namespace mica
