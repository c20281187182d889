#pragma once
// For tests: a Program compiled to objects, linked by clang into a shared object and loaded.
#include <string>
#include <vector>

#include "mica/codegen/llvm.h"
#include "mica/runtime/frame.h"

namespace mica::test {

class CompiledProgram {
 public:
  /// Compiles and loads; the process ends with a message when that fails.
  CompiledProgram(const Program& program, const Target& target, CodegenOptions options = {});
  ~CompiledProgram();
  CompiledProgram(const CompiledProgram&) = delete;
  CompiledProgram& operator=(const CompiledProgram&) = delete;

  /// Runs the program on one thread; `threads` > 1 runs each thread's share in turn (for programs without barriers).
  mica_fault run(const std::vector<void*>& io, const void* weights = nullptr, int threads = 1);
  const CodegenResult& result() const { return result_; }

 private:
  CodegenResult result_;
  std::string folder_;
  void* handle_ = nullptr;
  void (*main_)(mica_frame*, int64_t, int64_t) = nullptr;
  std::vector<char> arena_;
};

/// A program of one kernel whose params are, in order, the run's io buffers.
Program program_of(Kernel kernel);

/// This machine, as make_target describes it.
Target native_target();

}  // namespace mica::test
