// mica_main: the steps of a program in order. Each thread takes its share of a step's tasks; a barrier stands where a step
// reads what another thread may have written. Branches and loops are branches and loops of every thread: all read the same bytes,
// behind a barrier, and so decide alike. Loop counters are each thread's own. A barrier says how many threads go on: a thread may leave there, and
// the others take its share.
//
// A fault that one thread meets must not let it leave a loop alone: the others would wait for it in a barrier. Before the barrier
// at the end of a trip the first thread writes whether there is a fault, and behind it all read that. The byte has two places in
// turn: when the first thread writes one again, everybody has read it, since a barrier lies between.
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/MDBuilder.h>

#include <algorithm>

#include "emit.h"
#include "mica/runtime/frame.h"
#include "mica/support/check.h"
#include "mica/support/defect.h"

namespace mica::codegen {

namespace {

int64_t extent_in_bytes(const Buffer& b) { return b.elements.high() * size_of(b.element.dtype) * b.element.lanes; }

bool disjoint(const Binding& a, int64_t a_bytes, const Binding& b, int64_t b_bytes) {
  if (a.space != b.space) return true;
  if (a.slot != b.slot) return true;
  // The runtime refuses outputs that overlap anything; every loop counts by itself.
  if ((a.space == Binding::Space::io || a.space == Binding::Space::trip) && a.io != b.io) return true;
  return a.offset + a_bytes <= b.offset || b.offset + b_bytes <= a.offset;
}

}  // namespace

std::vector<bool> disjoint_params(const Program& program, uint32_t index) {
  const Kernel& kernel = program.kernels.at(index);
  std::vector<bool> result(kernel.params(), true);
  const auto look = [&](const Step& step) {
    if (step.kernel != index) return;
    MICA_CHECK(step.bindings.size() == result.size(), kernel.name + ": one binding a param");
    for (size_t i = 0; i < result.size(); ++i) {
      for (size_t j = 0; j < result.size(); ++j) {
        const Buffer &a = kernel.buffers[i], &b = kernel.buffers[j];
        if (i == j || (!a.written && !b.written)) continue;
        if (!disjoint(step.bindings[i], extent_in_bytes(a), step.bindings[j], extent_in_bytes(b))) result[i] = false;
      }
    }
  };
  for_calls(program.load_steps, look);
  for_calls(program.steps, look);
  return result;
}

namespace {

class MainEmitter {
 public:
  MainEmitter(llvm::Module& module, const Program& program, const Target& target)
      : module_(module), program_(program), target_(target), b_(module.getContext()), ptr_(llvm::PointerType::getUnqual(module.getContext())) {}

  void run() {
    begin("mica_main");
    auto* i64 = b_.getInt64Ty();
    arena_ = field(offsetof(mica_frame, arena));
    io_ = field(offsetof(mica_frame, io));
    barrier_ = field(offsetof(mica_frame, barrier));
    state_ = field(offsetof(mica_frame, state));
    if (!program_.symbols.empty()) dims_ = field(offsetof(mica_frame, dims));
    mark_ = field(offsetof(mica_frame, mark));
    marks_ = b_.CreateAnd(b_.CreateIsNotNull(mark_), b_.CreateIsNull(function_->getArg(1)));
    const uint32_t loops = depth_of(program_.steps);
    if (loops) trips_ = b_.CreateAlloca(llvm::ArrayType::get(i64, loops));
    emit_steps(program_.steps, /*first=*/true);
    emit_mark(-1);
    if (std::ranges::any_of(program_.symbols, &Symbol::is_measured)) emit_derived();
    b_.CreateRetVoid();
  }

  void prepare() {
    begin("mica_prepare");
    for (const Step& step : program_.load_steps) emit_call(step);
    b_.CreateRetVoid();
  }

 private:
  void begin(const char* name) {
    auto* i64 = b_.getInt64Ty();
    auto* type = llvm::FunctionType::get(b_.getVoidTy(), {ptr_, i64, i64}, false);
    function_ = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, name, module_);
    function_->setVisibility(llvm::GlobalValue::HiddenVisibility);
    function_->setDSOLocal(true);
    set_function_attributes(*function_, target_);
    frame_ = function_->getArg(0);
    b_.SetInsertPoint(llvm::BasicBlock::Create(module_.getContext(), "entry", function_));
    threads_ = b_.CreateAlloca(i64);
    b_.CreateStore(function_->getArg(2), threads_);
    weights_ = field(offsetof(mica_frame, weights));
    if (program_.prepared_bytes) prepared_ = field(offsetof(mica_frame, prepared));
  }

  llvm::Value* field(size_t offset) { return b_.CreateLoad(ptr_, b_.CreateConstInBoundsGEP1_64(b_.getInt8Ty(), frame_, offset)); }

  void emit_barrier() {
    auto* type = llvm::FunctionType::get(b_.getInt64Ty(), {ptr_, b_.getInt64Ty()}, false);
    auto* threads = b_.CreateCall(type, barrier_, {frame_, function_->getArg(1)});
    threads->setDoesNotThrow();
    b_.CreateStore(threads, threads_);
    auto* go_on = new_block("behind_barrier");
    b_.CreateCondBr(b_.CreateICmpSLT(function_->getArg(1), threads), go_on, leave());
    b_.SetInsertPoint(go_on);
  }

  llvm::BasicBlock* leave() {
    if (!leave_) {
      leave_ = new_block("leave");
      llvm::ReturnInst::Create(module_.getContext(), leave_);
    }
    return leave_;
  }

  /// Tells whoever measures that the step begins.
  void emit_mark(int64_t step) {
    auto* tell = new_block("mark");
    auto* go_on = new_block("marked");
    b_.CreateCondBr(marks_, tell, go_on, llvm::MDBuilder(module_.getContext()).createBranchWeights(1, 1 << 20));
    b_.SetInsertPoint(tell);
    auto* type = llvm::FunctionType::get(b_.getVoidTy(), {ptr_, b_.getInt64Ty()}, false);
    b_.CreateCall(type, mark_, {frame_, b_.getInt64(static_cast<uint64_t>(step))})->setDoesNotThrow();
    b_.CreateBr(go_on);
    b_.SetInsertPoint(go_on);
  }

  static uint32_t depth_of(const std::vector<Step>& steps) {
    uint32_t depth = 0;
    for (const Step& s : steps) {
      if (s.kind == Step::Kind::loop) depth = std::max(depth, s.depth + 1);
      depth = std::max({depth, depth_of(s.body), depth_of(s.otherwise)});
    }
    return depth;
  }

  /// `first`: nothing ran before, so there is nothing to wait for.
  void emit_steps(const std::vector<Step>& steps, bool first = false) {
    for (const Step& step : steps) {
      if (step.barrier && !first) emit_barrier();
      if (step.kind == Step::Kind::call) emit_mark(calls_++), emit_call(step);
      else if (step.kind == Step::Kind::branch) emit_branch(step);
      else if (step.kind == Step::Kind::measure) emit_measure(step);
      else emit_loop(step);
      first = false;
    }
  }

  /// The first thread writes down the size; behind the barrier everybody reads it. The barrier before has let everybody finish what read the size
  /// of an earlier trip.
  void emit_measure(const Step& step) {
    auto* write = new_block("measure");
    auto* written = new_block("measured");
    b_.CreateCondBr(b_.CreateIsNull(function_->getArg(1)), write, written);
    b_.SetInsertPoint(write);
    llvm::Value* count = b_.CreateLoad(b_.getInt64Ty(), pointer(*step.count));
    // Behind a fault the count may be anything: it must still be a size that there is memory for.
    llvm::Value* most = emit_size(b_, program_.symbols.at(step.symbol).bound, [&](uint32_t k) { return dim(k); });
    count = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, count, b_.getInt64(0)), most);
    b_.CreateStore(count, dim_place(step.symbol));
    b_.CreateBr(written);
    b_.SetInsertPoint(written);
    emit_barrier();
  }

  /// The sizes of outputs, which mica_plan knew as the greatest that they can be, at what was measured.
  void emit_derived() {
    auto* write = new_block("derived");
    auto* done = new_block("done");
    b_.CreateCondBr(b_.CreateIsNull(function_->getArg(1)), write, done);
    b_.SetInsertPoint(write);
    for (size_t k = 0; k < program_.derived.size(); ++k)
      b_.CreateStore(emit_size(b_, program_.derived[k], [&](uint32_t s) { return dim(s); }), dim_place(program_.symbols.size() + k));
    b_.CreateBr(done);
    b_.SetInsertPoint(done);
  }

  llvm::BasicBlock* new_block(const char* name) { return llvm::BasicBlock::Create(module_.getContext(), name, function_); }
  llvm::Value* truth(const Binding& binding) { return b_.CreateIsNotNull(b_.CreateLoad(b_.getInt8Ty(), pointer(binding))); }

  void emit_branch(const Step& step) {
    auto* then = new_block("then");
    auto* otherwise = new_block("else");
    auto* join = new_block("join");
    b_.CreateCondBr(truth(*step.condition), then, otherwise);
    for (const auto& [block, body] : {std::pair{then, &step.body}, std::pair{otherwise, &step.otherwise}}) {
      b_.SetInsertPoint(block);
      emit_steps(*body);
      b_.CreateBr(join);
    }
    b_.SetInsertPoint(join);
  }

  void emit_loop(const Step& step) {
    auto* i64 = b_.getInt64Ty();
    llvm::Value* trips = step.trips ? static_cast<llvm::Value*>(b_.CreateLoad(i64, pointer(*step.trips))) : b_.getInt64(INT64_MAX);
    llvm::Value* begin = b_.CreateICmpSLT(b_.getInt64(0), trips);
    if (step.condition) begin = b_.CreateAnd(begin, truth(*step.condition));
    auto* body = new_block("loop");
    auto* done = new_block("done");
    auto* before = b_.GetInsertBlock();
    b_.CreateCondBr(begin, body, done);
    b_.SetInsertPoint(body);
    auto* i = b_.CreatePHI(i64, 2, "i");
    i->addIncoming(b_.getInt64(0), before);
    b_.CreateStore(i, b_.CreateConstInBoundsGEP1_64(i64, trips_, step.depth));
    emit_steps(step.body);
    llvm::Value* next = b_.CreateAdd(i, b_.getInt64(1));
    llvm::Value* notice = step.stop ? b_.CreateInBoundsGEP(b_.getInt8Ty(), pointer(*step.stop), {b_.CreateAnd(i, b_.getInt64(1))}) : nullptr;
    if (notice) emit_notice(notice);
    emit_barrier();
    llvm::Value* again = b_.CreateICmpSLT(next, defect(Defect::trip_count) && step.trips ? b_.CreateSub(trips, b_.getInt64(1)) : trips);
    if (step.go_on) again = b_.CreateAnd(again, truth(*step.go_on));
    if (notice) again = b_.CreateAnd(again, b_.CreateIsNull(b_.CreateLoad(b_.getInt8Ty(), notice)));
    i->addIncoming(next, b_.GetInsertBlock());
    b_.CreateCondBr(again, body, done);
    b_.SetInsertPoint(done);
  }

  /// The first thread writes whether a fault is there.
  void emit_notice(llvm::Value* notice) {
    auto* write = new_block("notice");
    auto* noticed = new_block("noticed");
    b_.CreateCondBr(b_.CreateIsNull(function_->getArg(1)), write, noticed);
    b_.SetInsertPoint(write);
    auto* code = b_.CreateAlignedLoad(b_.getInt32Ty(), field(offsetof(mica_frame, fault)), llvm::Align(4));
    code->setAtomic(llvm::AtomicOrdering::Monotonic);
    b_.CreateStore(b_.CreateZExt(b_.CreateIsNotNull(code), b_.getInt8Ty()), notice);
    b_.CreateBr(noticed);
    b_.SetInsertPoint(noticed);
  }

  llvm::Value* pointer(const Binding& binding) {
    llvm::Value* base = arena_;
    if (binding.space == Binding::Space::weights) base = weights_;
    if (binding.space == Binding::Space::prepared) base = prepared_;
    if (binding.space == Binding::Space::state) base = state_;
    if (binding.space == Binding::Space::trip) base = b_.CreateConstInBoundsGEP1_64(b_.getInt64Ty(), trips_, binding.io);
    if (binding.space == Binding::Space::io) base = b_.CreateLoad(ptr_, b_.CreateConstInBoundsGEP1_64(ptr_, io_, binding.io));
    if (binding.slot >= 0) {
      const size_t place = program_.symbols.size() + program_.derived.size() + static_cast<size_t>(binding.slot);
      base = b_.CreateInBoundsGEP(b_.getInt8Ty(), base, dim(static_cast<uint32_t>(place)));
    }
    return b_.CreateConstInBoundsGEP1_64(b_.getInt8Ty(), base, static_cast<uint64_t>(binding.offset));
  }

  llvm::Value* dim_place(size_t k) { return b_.CreateConstInBoundsGEP1_64(b_.getInt64Ty(), dims_, k); }
  llvm::Value* dim(uint32_t k) { return b_.CreateLoad(b_.getInt64Ty(), dim_place(k)); }

  /// This thread's tasks: [tasks * tid / n, tasks * (tid + 1) / n).
  void emit_call(const Step& step) {
    const Kernel& kernel = program_.kernels.at(step.kernel);
    llvm::Value* tid = function_->getArg(1);
    llvm::Value* threads = b_.CreateLoad(b_.getInt64Ty(), threads_);
    llvm::Value* tasks = emit_size(b_, kernel.tasks, [&](uint32_t k) { return dim(defect(Defect::symbol_swap) ? 0 : k); });
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
  llvm::Value *frame_ = nullptr, *arena_ = nullptr, *weights_ = nullptr, *prepared_ = nullptr, *io_ = nullptr, *barrier_ = nullptr, *state_ = nullptr,
              *trips_ = nullptr, *dims_ = nullptr, *mark_ = nullptr, *marks_ = nullptr;
  llvm::Value* threads_ = nullptr;  ///< how many go on since the last barrier
  llvm::BasicBlock* leave_ = nullptr;
  int64_t calls_ = 0;  ///< steps that call a kernel, numbered through the text
};

}  // namespace

llvm::Value* emit_size(llvm::IRBuilder<>& b, const Expr& e, const std::function<llvm::Value*(uint32_t)>& symbol) {
  if (e->op == ExprOp::imm_int) return b.getInt64(static_cast<uint64_t>(e->int_value));
  if (is_symbol(e)) return symbol(e->id - symbol_base);
  const auto arg = [&](size_t i) { return emit_size(b, e->args[i], symbol); };
  // Rounded down: one less where the remainder is not 0 and has the other sign.
  // A measured size may be 0: what is divided by it then is not used, but the division must not trap.
  const auto floor_div = [&](llvm::Value* x, llvm::Value* y) -> llvm::Value* {
    if (!llvm::isa<llvm::ConstantInt>(y)) y = b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, y, b.getInt64(1));
    llvm::Value *quotient = b.CreateSDiv(x, y), *rest = b.CreateSRem(x, y), *zero = b.getInt64(0);
    llvm::Value* down = b.CreateAnd(b.CreateICmpNE(rest, zero), b.CreateICmpSLT(b.CreateXor(rest, y), zero));
    return b.CreateSub(quotient, b.CreateZExt(down, b.getInt64Ty()));
  };
  switch (e->op) {
    case ExprOp::add: return b.CreateAdd(arg(0), arg(1));
    case ExprOp::sub: return b.CreateSub(arg(0), arg(1));
    case ExprOp::neg: return b.CreateNeg(arg(0));
    case ExprOp::mul: return b.CreateMul(arg(0), arg(1));
    case ExprOp::floordiv: return floor_div(arg(0), arg(1));
    case ExprOp::floormod: {
      llvm::Value *x = arg(0), *y = arg(1);
      return b.CreateSub(x, b.CreateMul(floor_div(x, y), y));
    }
    case ExprOp::min: return b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, arg(0), arg(1));
    case ExprOp::max: return b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, arg(0), arg(1));
    default: MICA_CHECK(false, "no size: " + to_string(e)); return nullptr;
  }
}

void emit_plan(llvm::Module& module, const Program& program, const Target& target) {
  llvm::IRBuilder<> b(module.getContext());
  auto* type = llvm::FunctionType::get(b.getInt64Ty(), {llvm::PointerType::getUnqual(module.getContext())}, false);
  auto* f = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, "mica_plan", module);
  f->setVisibility(llvm::GlobalValue::HiddenVisibility);
  f->setDSOLocal(true);
  set_function_attributes(*f, target);
  f->addFnAttr("target-features", "");  // the runtime may ask for sizes before the CPU has been checked
  b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", f));
  const auto place = [&](size_t k) { return b.CreateConstInBoundsGEP1_64(b.getInt64Ty(), f->getArg(0), k); };
  std::vector<llvm::Value*> symbols;
  const auto symbol = [&](uint32_t k) { return symbols.at(k); };
  for (size_t k = 0; k < program.symbols.size(); ++k) {
    const Symbol& s = program.symbols[k];
    symbols.push_back(s.is_measured() ? emit_size(b, s.bound, symbol) : b.CreateLoad(b.getInt64Ty(), place(k)));
    if (s.is_measured()) b.CreateStore(symbols.back(), place(k));
  }
  size_t next = symbols.size();
  for (const Dim& d : program.derived) b.CreateStore(emit_size(b, greatest(d, program.symbols), symbol), place(next++));
  llvm::Value* end = b.getInt64(program.slots.empty() ? static_cast<uint64_t>(program.arena_bytes) : 0);
  for (const Dim& bytes : program.slots) {
    b.CreateStore(end, place(next++));
    end = b.CreateAdd(end, emit_size(b, bytes, symbol));
  }
  b.CreateRet(end);
}

void emit_main(llvm::Module& module, const Program& program, const Target& target) {
  MainEmitter(module, program, target).prepare();
  MainEmitter(module, program, target).run();
}

}  // namespace mica::codegen
