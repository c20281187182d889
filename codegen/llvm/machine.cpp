#include "machine.h"

#include <llvm/Analysis/CGSCCPassManager.h>
#include <llvm/Analysis/LoopAnalysisManager.h>
#include <llvm/CodeGen/MachineBasicBlock.h>
#include <llvm/CodeGen/MachineOptimizationRemarkEmitter.h>
#include <llvm/IR/DiagnosticHandler.h>
#include <llvm/IR/DiagnosticInfo.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Module.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Object/ELFObjectFile.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/SmallVectorMemoryBuffer.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Transforms/Scalar/ADCE.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/InstSimplifyPass.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/SROA.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>
#include <llvm/Transforms/Utils/LoopSimplify.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <set>

#include "emit.h"
#include "mica/support/check.h"

namespace mica::codegen {

void initialise_llvm() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
  });
}

namespace {

bool is_x86(const Target& target) { return target.triple.starts_with("x86"); }

/// Only what the target lists is used: the CPU's name chooses the scheduling model, never features.
std::string baseline_cpu(const Target& target) { return is_x86(target) ? "x86-64" : "generic"; }

std::string feature_string(const Target& target) {
  std::string text;
  for (const std::string& f : target.features) text += (text.empty() ? "+" : ",+") + f;
  // LLVM 19 names 512-bit registers apart from the instructions that use them.
  if (target.has("avx512f")) text += ",+evex512";
  // Atomics inline, not calls into compiler-rt.
  if (!is_x86(target)) text += text.empty() ? "-outline-atomics" : ",-outline-atomics";
  return text;
}

}  // namespace

void set_function_attributes(llvm::Function& f, const Target& target) {
  f.setDoesNotThrow();
  f.addFnAttr("target-cpu", baseline_cpu(target));
  f.addFnAttr("tune-cpu", target.cpu);
  f.addFnAttr("target-features", feature_string(target));
  const std::string bits = std::to_string(target.vector_bits);
  f.addFnAttr("prefer-vector-width", bits);
  f.addFnAttr("min-legal-vector-width", bits);
  f.addFnAttr("no-builtins");
  f.addFnAttr("no-trapping-math", "true");
}

std::unique_ptr<llvm::TargetMachine> make_machine(const Target& target, std::string& error) {
  initialise_llvm();
  const auto* found = llvm::TargetRegistry::lookupTarget(target.triple, error);
  if (!found) return nullptr;
  llvm::TargetOptions options;
  options.FunctionSections = true;
  options.DataSections = true;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;  // an fma is written where one is meant
  options.EmitStackSizeSection = false;
  return std::unique_ptr<llvm::TargetMachine>(found->createTargetMachine(target.triple, baseline_cpu(target), feature_string(target), options,
                                                                         llvm::Reloc::PIC_, llvm::CodeModel::Small,
                                                                         llvm::CodeGenOptLevel::Aggressive));
}

void optimise(llvm::Module& module, llvm::TargetMachine& machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);

  llvm::FunctionPassManager passes;
  passes.addPass(llvm::SROAPass(llvm::SROAOptions::ModifyCFG));
  passes.addPass(llvm::EarlyCSEPass(true));
  passes.addPass(llvm::InstSimplifyPass());
  passes.addPass(llvm::SimplifyCFGPass());
  llvm::LoopPassManager loop_passes;
  loop_passes.addPass(llvm::LICMPass(llvm::LICMOptions()));
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(std::move(loop_passes), /*UseMemorySSA=*/true));
  passes.addPass(llvm::SROAPass(llvm::SROAOptions::PreserveCFG));
  passes.addPass(llvm::EarlyCSEPass(true));
  passes.addPass(llvm::SimplifyCFGPass());
  passes.addPass(llvm::ADCEPass());
  for (llvm::Function& f : module) {
    if (!f.isDeclaration()) passes.run(f, functions);
  }
}

std::string emit_output(llvm::Module& module, llvm::TargetMachine& machine, Output output) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  const auto type = output == Output::object ? llvm::CodeGenFileType::ObjectFile : llvm::CodeGenFileType::AssemblyFile;
  MICA_CHECK(!machine.addPassesToEmitFile(passes, stream, nullptr, type));
  passes.run(module);
  return {bytes.begin(), bytes.end()};
}

namespace {

/// The blocks of the natural loop that `header` heads.
std::set<const llvm::MachineBasicBlock*> loop_blocks(const llvm::MachineBasicBlock* header) {
  std::set<const llvm::MachineBasicBlock*> reachable, blocks{header};
  std::vector<const llvm::MachineBasicBlock*> work{header};
  while (!work.empty()) {
    const auto* block = work.back();
    work.pop_back();
    for (const auto* next : block->successors()) {
      if (reachable.insert(next).second) work.push_back(next);
    }
  }
  for (const auto* latch : header->predecessors()) {
    // Only a latch lies behind the header in the layout that codegen starts from.
    if (reachable.contains(latch) && latch->getNumber() >= header->getNumber() && blocks.insert(latch).second) work.push_back(latch);
  }
  while (!work.empty()) {
    const auto* block = work.back();
    work.pop_back();
    for (const auto* before : block->predecessors()) {
      if (blocks.insert(before).second) work.push_back(before);
    }
  }
  return blocks;
}

/// Whether no other loop lies inside: without the header its blocks form no cycle.
bool is_innermost(const llvm::MachineBasicBlock* header) {
  const auto blocks = loop_blocks(header);
  enum class Mark : uint8_t { none, open, done };
  std::map<const llvm::MachineBasicBlock*, Mark> marks;
  const std::function<bool(const llvm::MachineBasicBlock*)> has_cycle = [&](const llvm::MachineBasicBlock* block) {
    if (block == header || !blocks.contains(block) || marks[block] == Mark::done) return false;
    if (marks[block] == Mark::open) return true;
    marks[block] = Mark::open;
    for (const auto* next : block->successors()) {
      if (has_cycle(next)) return true;
    }
    marks[block] = Mark::done;
    return false;
  };
  return std::none_of(header->succ_begin(), header->succ_end(), has_cycle);
}

class SpillRemarks : public llvm::DiagnosticHandler {
 public:
  explicit SpillRemarks(std::vector<std::string>& into) : into_(into) {}
  bool isMissedOptRemarkEnabled(llvm::StringRef pass) const override { return pass == "regalloc"; }
  bool isAnyRemarkEnabled() const override { return true; }
  bool handleDiagnostics(const llvm::DiagnosticInfo& info) override {
    if (info.getKind() != llvm::DK_MachineOptimizationRemarkMissed) return llvm::isa<llvm::DiagnosticInfoOptimizationBase>(info);
    const auto& remark = static_cast<const llvm::MachineOptimizationRemarkMissed&>(info);
    // "LoopSpillReloadCopies" counts what the allocator put into a loop; copies alone are no spills.
    if (remark.getPassName() != "regalloc" || remark.getRemarkName() != "LoopSpillReloadCopies" || !is_innermost(remark.getBlock())) return true;
    std::string counts;
    for (const auto& arg : remark.getArgs()) {
      const llvm::StringRef key = arg.Key;
      const char* what = key == "NumSpills"          ? "spills"
                         : key == "NumFoldedSpills"  ? "folded spills"
                         : key == "NumReloads"       ? "reloads"
                         : key == "NumFoldedReloads" ? "folded reloads"
                                                     : nullptr;
      if (what) counts += (counts.empty() ? "" : ", ") + arg.Val + " " + what;
    }
    if (!counts.empty())
      into_.push_back(remark.getFunction().getName().substr(sizeof "mica_kernel_" - 1).str() + ": " + counts + " in an innermost loop");
    return true;
  }

 private:
  std::vector<std::string>& into_;
};

}  // namespace

void collect_spills(llvm::LLVMContext& context, std::vector<std::string>& into) {
  context.setDiagnosticHandler(std::make_unique<SpillRemarks>(into));
}

std::vector<std::string> foreign_symbols(const std::string& object) {
  auto file = llvm::object::ObjectFile::createELFObjectFile(llvm::MemoryBufferRef(object, "object"));
  MICA_CHECK(bool(file), "an object that cannot be read back");
  std::vector<std::string> foreign;
  for (const llvm::object::ELFSymbolRef symbol : static_cast<llvm::object::ELFObjectFileBase&>(**file).symbols()) {
    auto flags = symbol.getFlags();
    auto name = symbol.getName();
    MICA_CHECK(bool(flags) && bool(name), "a symbol that cannot be read back");
    if (!(*flags & llvm::object::SymbolRef::SF_Undefined) || name->empty()) continue;
    if (name->starts_with("mica_") || *name == "memcpy" || *name == "memset" || *name == "memmove" || *name == "_GLOBAL_OFFSET_TABLE_") continue;
    foreign.push_back(name->str());
  }
  std::sort(foreign.begin(), foreign.end());
  return foreign;
}

}  // namespace mica::codegen
