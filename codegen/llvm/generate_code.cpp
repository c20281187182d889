// A Program to ELF objects. Kernels go into modules of a fixed size, compiled in parallel, each in an LLVMContext of its own;
// the split depends on the program alone, so the bytes do not depend on the number of jobs.
#include <fmt/format.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <atomic>
#include <thread>

#include "emit.h"
#include "machine.h"
#include "mica/codegen/llvm.h"
#include "mica/support/check.h"

namespace mica {

namespace {

using namespace codegen;

/// Kernels in one module: enough to pay for a TargetMachine, few enough to keep every core busy.
constexpr size_t kernels_per_module = 8;

struct Unit {
  std::vector<uint32_t> kernels;  ///< empty: mica_main
  std::string object, llvm, assembly;
  std::vector<std::string> spills;
};

std::vector<Unit> split(const Program& program) {
  std::vector<Unit> units(1);  // mica_main first
  for (uint32_t k = 0; k < program.kernels.size(); ++k) {
    if (k % kernels_per_module == 0) units.emplace_back();
    units.back().kernels.push_back(k);
  }
  return units;
}

void compile_unit(Unit& unit, size_t index, const Program& program, const Target& target, const CodegenOptions& options) {
  llvm::LLVMContext context;
  collect_spills(context, unit.spills);
  std::string error;
  const auto machine = make_machine(target, error);
  MICA_CHECK(machine != nullptr, error);
  llvm::Module module(index == 0 ? "mica_main" : fmt::format("kernels_{}", index), context);
  module.setTargetTriple(target.triple);
  module.setDataLayout(machine->createDataLayout());
  module.setPICLevel(llvm::PICLevel::BigPIC);
  if (index == 0) {
    emit_plan(module, program, target);
    emit_main(module, program, target);
  }
  for (uint32_t k : unit.kernels) KernelEmitter(module, program.kernels[k], target, disjoint_params(program, k)).run();
  std::string broken;
  llvm::raw_string_ostream stream(broken);
  MICA_CHECK(!llvm::verifyModule(module, &stream), stream.str());
  optimise(module, *machine);
  if (options.emit_llvm) {
    llvm::raw_string_ostream text(unit.llvm);
    module.print(text, nullptr);
  }
  if (options.emit_asm) {
    std::vector<std::string> ignored;
    auto copy = llvm::CloneModule(module);
    unit.assembly = emit_output(*copy, *machine, Output::assembly);
    unit.spills.clear();  // the object's run reports them again
  }
  unit.object = emit_output(module, *machine, Output::object);
  const auto foreign = foreign_symbols(unit.object);
  MICA_CHECK(foreign.empty(), fmt::format("generated code calls {}", fmt::join(foreign, ", ")));
}

}  // namespace

Result<CodegenResult> generate_code(const Program& program, const Target& target, const CodegenOptions& options, Diagnostics& diagnostics) {
  std::string error;
  if (!make_machine(target, error)) {
    diagnostics.environment("no-llvm-target", "LLVM cannot generate code for {}: {}", target.triple, error).help("pass --cpu native or another CPU");
    return Failure{};
  }
  std::vector<Unit> units = split(program);
  const size_t jobs = options.jobs > 0 ? static_cast<size_t>(options.jobs) : std::max(1u, std::thread::hardware_concurrency());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    // From the back: mica_main, which is short, comes last.
    for (size_t i; (i = next++) < units.size();) compile_unit(units[units.size() - 1 - i], units.size() - 1 - i, program, target, options);
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(jobs, units.size()); ++i) threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();

  CodegenResult result;
  for (Unit& unit : units) {
    result.objects.push_back(std::move(unit.object));
    result.llvm += unit.llvm;
    result.assembly += unit.assembly;
    result.spills.insert(result.spills.end(), unit.spills.begin(), unit.spills.end());
  }
  return result;
}

}  // namespace mica
