#pragma once
// LLVM's side of a target: the TargetMachine, the pass pipeline, objects and assembly. Private to codegen/llvm.
#include <llvm/Target/TargetMachine.h>

#include <memory>
#include <string>
#include <vector>

#include "mica/target/target.h"

namespace llvm {
class Module;
}

namespace mica::codegen {

/// Makes LLVM's x86 and AArch64 targets known; any thread, any number of times.
void initialise_llvm();

/// Null with `error` set when LLVM does not know the triple.
std::unique_ptr<llvm::TargetMachine> make_machine(const Target& target, std::string& error);

/// The few passes that final-form IR needs: register arrays to SSA, common subexpressions, invariants out of loops. Neither
/// vectoriser nor unroller runs: they undo the tiling that the Kernel chose.
void optimise(llvm::Module& module, llvm::TargetMachine& machine);

enum class Output { object, assembly };
/// Runs the code generator over `module`, which it changes.
std::string emit_output(llvm::Module& module, llvm::TargetMachine& machine, Output output);

/// Collects the register allocator's remarks about innermost loops that spill: "kernel: 3 spills, 5 reloads in an innermost
/// loop". What an outer loop spills around an inner one costs little.
void collect_spills(llvm::LLVMContext& context, std::vector<std::string>& into);

/// Undefined symbols of an ELF object that are neither memcpy and its kin nor one of ours ("mica_..."): must be none.
std::vector<std::string> foreign_symbols(const std::string& object);

}  // namespace mica::codegen
