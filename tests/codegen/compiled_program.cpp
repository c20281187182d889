#include "compiled_program.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "mica/support/check.h"

namespace mica::test {

namespace {
constexpr const char* shim = "void mica_main(void*, long, long); void run_main(void* f, long t, long n) { mica_main(f, t, n); }\n";
int64_t on_barrier(mica_frame* frame, int64_t) { return frame->nthreads; }
}  // namespace

CompiledProgram::CompiledProgram(const Program& program, const Target& target, CodegenOptions options) {
  Diagnostics diagnostics;
  auto result = generate_code(program, target, options, diagnostics);
  MICA_CHECK(bool(result), diagnostics.to_string());
  result_ = std::move(*result);
  std::string pattern = (std::filesystem::temp_directory_path() / "mica_test_XXXXXX").string();
  MICA_CHECK(mkdtemp(pattern.data()) != nullptr);
  folder_ = pattern;
  std::ofstream(folder_ + "/shim.c") << shim;
  std::string command = fmt::format("{} -shared -fPIC -nostdlib -O1 -o {}/lib.so {}/shim.c", MICA_TEST_CLANG, folder_, folder_);
  for (size_t i = 0; i < result_.objects.size(); ++i) {
    const std::string path = fmt::format("{}/{}.o", folder_, i);
    std::ofstream(path, std::ios::binary) << result_.objects[i];
    command += " " + path;
  }
  MICA_CHECK(std::system(command.c_str()) == 0, command);
  handle_ = dlopen((folder_ + "/lib.so").c_str(), RTLD_NOW);
  MICA_CHECK(handle_ != nullptr, dlerror());
  main_ = reinterpret_cast<void (*)(mica_frame*, int64_t, int64_t)>(dlsym(handle_, "run_main"));
  arena_.resize(static_cast<size_t>(program.arena_bytes) + 64);
}

CompiledProgram::~CompiledProgram() {
  if (handle_) dlclose(handle_);
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

mica_fault CompiledProgram::run(const std::vector<void*>& io, const void* weights, int threads) {
  mica_fault fault{};
  std::vector<uint8_t*> pointers;
  for (void* p : io) pointers.push_back(static_cast<uint8_t*>(p));
  auto base = reinterpret_cast<uintptr_t>(arena_.data());
  mica_frame frame{};
  frame.arena = reinterpret_cast<uint8_t*>((base + 63) & ~uintptr_t{63});
  frame.weights = static_cast<const uint8_t*>(weights);
  frame.io = pointers.data();
  frame.barrier = on_barrier;
  frame.fault = &fault;
  frame.nthreads = threads;
  for (int t = 0; t < threads; ++t) main_(&frame, t, threads);
  return fault;
}

Program program_of(Kernel kernel) {
  Program program;
  Step step;
  for (uint32_t i = 0; i < kernel.params(); ++i) {
    Binding binding;
    binding.space = Binding::Space::io;
    binding.io = i;
    step.bindings.push_back(binding);
  }
  program.kernels.push_back(std::move(kernel));
  program.steps.push_back(std::move(step));
  return program;
}

Target native_target() {
  Diagnostics diagnostics;
  auto target = make_target("native", "", diagnostics);
  MICA_CHECK(bool(target), diagnostics.to_string());
  return *target;
}

}  // namespace mica::test
