// mica_main: the steps of a program in order. Each thread takes its share of a step's tasks; a barrier stands where a step
// reads what another thread may have written.
#include "emit.h"
#include "mica/runtime/frame.h"
#include "mica/support/check.h"
#include "mica/support/defect.h"

namespace mica::codegen {

namespace {

int64_t extent_in_bytes(const Buffer& b) { return b.elements * size_of(b.element.dtype) * b.element.lanes; }

bool disjoint(const Binding& a, int64_t a_bytes, const Binding& b, int64_t b_bytes) {
  if (a.space != b.space) return true;
  if (a.space == Binding::Space::io && a.io != b.io) return true;  // the runtime refuses outputs that overlap anything
  return a.offset + a_bytes <= b.offset || b.offset + b_bytes <= a.offset;
}

}  // namespace

std::vector<bool> disjoint_params(const Program& program, uint32_t index) {
  const Kernel& kernel = program.kernels.at(index);
  std::vector<bool> result(kernel.params(), true);
  for (const Step& step : program.steps) {
    if (step.kernel != index) continue;
    MICA_CHECK(step.bindings.size() == result.size(), kernel.name + ": one binding a param");
    for (size_t i = 0; i < result.size(); ++i) {
      for (size_t j = 0; j < result.size(); ++j) {
        const Buffer &a = kernel.buffers[i], &b = kernel.buffers[j];
        if (i == j || (!a.written && !b.written)) continue;
        if (!disjoint(step.bindings[i], extent_in_bytes(a), step.bindings[j], extent_in_bytes(b))) result[i] = false;
      }
    }
  }
  return result;
}

namespace {

class MainEmitter {
 public:
  MainEmitter(llvm::Module& module, const Program& program, const Target& target)
      : module_(module), program_(program), target_(target), b_(module.getContext()), ptr_(llvm::PointerType::getUnqual(module.getContext())) {}

  void run() {
    auto* i64 = b_.getInt64Ty();
    auto* type = llvm::FunctionType::get(b_.getVoidTy(), {ptr_, i64, i64}, false);
    function_ = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, "mica_main", module_);
    function_->setVisibility(llvm::GlobalValue::HiddenVisibility);
    function_->setDSOLocal(true);
    set_function_attributes(*function_, target_);
    frame_ = function_->getArg(0);
    b_.SetInsertPoint(llvm::BasicBlock::Create(module_.getContext(), "entry", function_));
    arena_ = field(offsetof(mica_frame, arena));
    weights_ = field(offsetof(mica_frame, weights));
    io_ = field(offsetof(mica_frame, io));
    barrier_ = field(offsetof(mica_frame, barrier));
    bool first = true;
    for (const Step& step : program_.steps) {
      if (step.barrier && !first) emit_barrier();
      emit_step(step);
      first = false;
    }
    b_.CreateRetVoid();
  }

 private:
  llvm::Value* field(size_t offset) { return b_.CreateLoad(ptr_, b_.CreateConstInBoundsGEP1_64(b_.getInt8Ty(), frame_, offset)); }

  void emit_barrier() {
    auto* type = llvm::FunctionType::get(b_.getVoidTy(), {ptr_, b_.getInt64Ty()}, false);
    b_.CreateCall(type, barrier_, {frame_, function_->getArg(1)})->setDoesNotThrow();
  }

  llvm::Value* pointer(const Binding& binding) {
    llvm::Value* base = arena_;
    if (binding.space == Binding::Space::weights) base = weights_;
    if (binding.space == Binding::Space::io) base = b_.CreateLoad(ptr_, b_.CreateConstInBoundsGEP1_64(ptr_, io_, binding.io));
    return b_.CreateConstInBoundsGEP1_64(b_.getInt8Ty(), base, static_cast<uint64_t>(binding.offset));
  }

  /// This thread's tasks: [tasks * tid / n, tasks * (tid + 1) / n).
  void emit_step(const Step& step) {
    const Kernel& kernel = program_.kernels.at(step.kernel);
    llvm::Value* tid = function_->getArg(1);
    llvm::Value* threads = function_->getArg(2);
    llvm::Value* tasks = b_.getInt64(static_cast<uint64_t>(kernel.tasks));
    const auto share = [&](llvm::Value* id) {
      if (defect(Defect::task_split)) return b_.CreateMul(b_.CreateUDiv(tasks, threads), id);
      return b_.CreateUDiv(b_.CreateMul(tasks, id), threads);
    };
    llvm::Value* first = share(tid);
    llvm::Value* last = share(b_.CreateAdd(tid, b_.getInt64(1)));
    auto* call = llvm::BasicBlock::Create(module_.getContext(), kernel.name, function_);
    auto* next = llvm::BasicBlock::Create(module_.getContext(), "next", function_);
    b_.CreateCondBr(b_.CreateICmpULT(first, last), call, next);
    b_.SetInsertPoint(call);
    std::vector<llvm::Value*> args;
    for (const Binding& binding : step.bindings) args.push_back(pointer(binding));
    args.insert(args.end(), {frame_, first, last});
    b_.CreateCall(kernel_function(kernel), args)->setDoesNotThrow();
    b_.CreateBr(next);
    b_.SetInsertPoint(next);
  }

  llvm::Function* kernel_function(const Kernel& kernel) {
    const std::string name = symbol_of(kernel);
    if (auto* found = module_.getFunction(name)) return found;
    auto* f = llvm::Function::Create(kernel_type(module_.getContext(), kernel), llvm::GlobalValue::ExternalLinkage, name, module_);
    f->setVisibility(llvm::GlobalValue::HiddenVisibility);
    f->setDSOLocal(true);
    f->setDoesNotThrow();
    return f;
  }

  llvm::Module& module_;
  const Program& program_;
  const Target& target_;
  llvm::IRBuilder<> b_;
  llvm::PointerType* ptr_;
  llvm::Function* function_ = nullptr;
  llvm::Value *frame_ = nullptr, *arena_ = nullptr, *weights_ = nullptr, *io_ = nullptr, *barrier_ = nullptr;
};

}  // namespace

void emit_main(llvm::Module& module, const Program& program, const Target& target) { MainEmitter(module, program, target).run(); }

}  // namespace mica::codegen
