// The function of a kernel and its statements.
#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Verifier.h>

#include <array>

#include "emit.h"
#include "mica/runtime/frame.h"
#include "mica/support/check.h"

namespace mica::codegen {

namespace {
/// Local arrays of one task live on the worker's stack.
constexpr int64_t max_stack_bytes = 256 << 10;
/// Past this many copies a loop that asks for unrolling is emitted as a loop.
constexpr int64_t max_unrolled = 1024;
}  // namespace

std::string symbol_of(const Kernel& kernel) { return "mica_kernel_" + kernel.name; }

llvm::FunctionType* kernel_type(llvm::LLVMContext& context, const Kernel& kernel) {
  std::vector<llvm::Type*> types(kernel.params() + 1, llvm::PointerType::getUnqual(context));
  types.push_back(llvm::Type::getInt64Ty(context));
  types.push_back(llvm::Type::getInt64Ty(context));
  return llvm::FunctionType::get(llvm::Type::getVoidTy(context), types, false);
}

KernelEmitter::KernelEmitter(llvm::Module& module, const Kernel& kernel, const Target& target, std::vector<bool> disjoint)
    : module_(module), context_(module.getContext()), kernel_(kernel), target_(target), disjoint_(std::move(disjoint)), b_(context_) {}

llvm::Function* KernelEmitter::run() {
  function_ = llvm::Function::Create(kernel_type(context_, kernel_), llvm::GlobalValue::ExternalLinkage, symbol_of(kernel_), module_);
  function_->setVisibility(llvm::GlobalValue::HiddenVisibility);
  function_->setDSOLocal(true);
  set_function_attributes(*function_, target_);
  auto* entry = llvm::BasicBlock::Create(context_, "entry", function_);
  b_.SetInsertPoint(entry);
  const uint32_t params = kernel_.params();
  for (uint32_t i = 0; i < kernel_.buffers.size(); ++i) {
    const Buffer& buffer = kernel_.buffers[i];
    if (i >= params) {
      add_local(buffer, i);
      continue;
    }
    llvm::Argument* arg = function_->getArg(i);
    arg->setName(buffer.name);
    arg->addAttr(llvm::Attribute::NoCapture);
    if (!buffer.written) arg->addAttr(llvm::Attribute::ReadOnly);
    if (disjoint_.at(i)) arg->addAttr(llvm::Attribute::NoAlias);
    buffers_.push_back(arg);
  }
  frame_ = function_->getArg(params);
  frame_->setName("frame");
  llvm::Value* first = function_->getArg(params + 1);
  llvm::Value* last = function_->getArg(params + 2);
  first->setName("first");
  last->setName("last");

  if (!kernel_.tiles.empty()) configure_tiles();
  // The caller never passes an empty range.
  auto* body = new_block("task");
  auto* done = new_block("done");
  b_.CreateBr(body);
  b_.SetInsertPoint(body);
  auto* task = b_.CreatePHI(b_.getInt64Ty(), 2, "task");
  task->addIncoming(first, entry);
  MICA_CHECK(kernel_.task, kernel_.name);
  vars_[kernel_.task->id] = task;
  scopes_.emplace_back();
  emit_scope(kernel_.body);
  scopes_.pop_back();
  auto* next = b_.CreateAdd(task, b_.getInt64(1), "", true, true);
  task->addIncoming(next, b_.GetInsertBlock());
  b_.CreateCondBr(b_.CreateICmpSLT(next, last), body, done);
  done->moveAfter(b_.GetInsertBlock());
  b_.SetInsertPoint(done);
  if (!kernel_.tiles.empty()) b_.CreateIntrinsic(llvm::Intrinsic::x86_tilerelease, {}, {});
  b_.CreateRetVoid();
  return function_;
}

void KernelEmitter::add_local(const Buffer& buffer, size_t index) {
  MICA_CHECK(buffers_.size() == index && buffer.memory != Memory::param, "params come first: " + kernel_.name);
  llvm::Type* type = memory_type(buffer.element);
  const auto bytes = module_.getDataLayout().getTypeAllocSize(type) * static_cast<uint64_t>(buffer.elements);
  MICA_CHECK(bytes <= max_stack_bytes, kernel_.name + ": local buffer " + buffer.name + " is too large for the stack");
  // A register array is an array too: with constant indices SROA makes SSA values of its elements.
  auto* local = b_.CreateAlloca(llvm::ArrayType::get(type, static_cast<uint64_t>(buffer.elements)), nullptr, buffer.name);
  local->setAlignment(llvm::Align(64));
  buffers_.push_back(local);
}

llvm::BasicBlock* KernelEmitter::new_block(const char* name) { return llvm::BasicBlock::Create(context_, name, function_); }

void KernelEmitter::emit_body(const std::vector<Stmt>& body) {
  for (const Stmt& s : body) emit(s);
}

/// Statements in a block of their own: what they compute is not known outside.
void KernelEmitter::emit_scope(const std::vector<Stmt>& body) {
  scopes_.emplace_back();
  statement_.clear();
  emit_body(body);
  statement_.clear();
  scopes_.pop_back();
}

void KernelEmitter::emit(const Stmt& s) {
  statement_.clear();
  switch (s.kind) {
    case Stmt::Kind::block: emit_body(s.body); return;
    case Stmt::Kind::loop: emit_loop(s); return;
    case Stmt::Kind::store: emit_store(s); return;
    case Stmt::Kind::let: emit_let(s); return;
    case Stmt::Kind::branch: emit_branch(s); return;
    case Stmt::Kind::check: emit_check(s); return;
    case Stmt::Kind::prefetch: emit_prefetch(s); return;
    case Stmt::Kind::tile_zero:
    case Stmt::Kind::tile_load:
    case Stmt::Kind::tile_store:
    case Stmt::Kind::tile_dot: emit_tile(s); return;
  }
}

bool KernelEmitter::emit_unrolled(const Stmt& s, llvm::Value* low, llvm::Value* high, llvm::Value* step) {
  const auto* l = llvm::dyn_cast<llvm::ConstantInt>(low);
  const auto* h = llvm::dyn_cast<llvm::ConstantInt>(high);
  const auto* d = llvm::dyn_cast<llvm::ConstantInt>(step);
  if (!l || !h || !d || d->getSExtValue() <= 0) return false;
  const int64_t from = l->getSExtValue(), to = h->getSExtValue(), by = d->getSExtValue();
  if (from >= to) return true;
  const int64_t trips = (to - from + by - 1) / by;
  if (trips > 1 && (s.for_kind != ForKind::unrolled || trips > max_unrolled)) return false;
  for (int64_t i = from; i < to; i += by) {
    vars_[s.var->id] = b_.getInt64(static_cast<uint64_t>(i));
    emit_scope(s.body);
  }
  return true;
}

void KernelEmitter::emit_loop(const Stmt& s) {
  llvm::Value* low = emit(s.low);
  llvm::Value* high = emit(s.high);
  llvm::Value* step = s.step ? emit(s.step) : b_.getInt64(1);
  if (emit_unrolled(s, low, high, step)) return;

  // Rotated: the guard outside, the test at the end.
  auto* body = new_block("loop");
  auto* after = new_block("after");
  llvm::Value* guard = b_.CreateICmpSLT(low, high);
  if (const auto* known = llvm::dyn_cast<llvm::ConstantInt>(guard); known && known->isOne()) {
    b_.CreateBr(body);
  } else {
    b_.CreateCondBr(guard, body, after);
  }
  auto* before = b_.GetInsertBlock();
  b_.SetInsertPoint(body);
  auto* i = b_.CreatePHI(b_.getInt64Ty(), 2, s.var->name);
  i->addIncoming(low, before);
  vars_[s.var->id] = i;
  emit_scope(s.body);
  llvm::Value* next = b_.CreateAdd(i, step, "", true, true);
  i->addIncoming(next, b_.GetInsertBlock());
  b_.CreateCondBr(b_.CreateICmpSLT(next, high), body, after);
  after->moveAfter(b_.GetInsertBlock());
  b_.SetInsertPoint(after);
}

void KernelEmitter::emit_let(const Stmt& s) {
  vars_[s.var->id] = emit(s.value);
  // Looking through the definition is only right where it is the same at every use: not for loads.
  if (!reads_memory(s.value)) lets_[s.var->id] = s.value;
  scopes_.emplace_back();
  emit_body(s.body);
  scopes_.pop_back();
  lets_.erase(s.var->id);
}

void KernelEmitter::emit_branch(const Stmt& s) {
  llvm::Value* condition = emit(s.condition);
  if (const auto* known = llvm::dyn_cast<llvm::ConstantInt>(condition)) {
    emit_scope(known->isZero() ? s.otherwise : s.body);
    return;
  }
  auto* then = new_block("then");
  auto* otherwise = s.otherwise.empty() ? nullptr : new_block("else");
  auto* after = new_block("endif");
  b_.CreateCondBr(condition, then, otherwise ? otherwise : after);
  b_.SetInsertPoint(then);
  emit_scope(s.body);
  b_.CreateBr(after);
  if (otherwise) {
    b_.SetInsertPoint(otherwise);
    emit_scope(s.otherwise);
    b_.CreateBr(after);
  }
  after->moveAfter(b_.GetInsertBlock());
  b_.SetInsertPoint(after);
}

void KernelEmitter::emit_check(const Stmt& s) {
  llvm::Value* ok = emit(s.condition);
  llvm::Value* value = s.value ? emit(s.value) : b_.getInt64(0);
  if (value->getType()->isIntegerTy() && !value->getType()->isIntegerTy(64)) value = b_.CreateSExtOrTrunc(value, b_.getInt64Ty());
  if (!value->getType()->isIntegerTy(64)) value = b_.getInt64(0);
  emit_fault(ok, s.fault_code, s.site, value);
}

/// Gives the matrix registers their shapes: palette 1 of LDTILECFG (Intel SDM vol. 2A), bytes of a row at 16, rows at 48.
void KernelEmitter::configure_tiles() {
  MICA_CHECK(static_cast<int32_t>(kernel_.tiles.size()) <= target_.tiles.registers, kernel_.name + ": more matrix tiles than the target has");
  std::array<uint8_t, 64> bytes = {1};
  for (size_t i = 0; i < kernel_.tiles.size(); ++i) {
    const TileShape& t = kernel_.tiles[i];
    MICA_CHECK(t.rows <= target_.tiles.rows && t.bytes <= target_.tiles.row_bytes, kernel_.name + ": a matrix tile larger than the target's");
    bytes[16 + 2 * i] = static_cast<uint8_t>(t.bytes);
    bytes[48 + i] = static_cast<uint8_t>(t.rows);
  }
  auto* constant = llvm::ConstantDataArray::get(context_, bytes);
  auto* shapes = new llvm::GlobalVariable(module_, constant->getType(), true, llvm::GlobalValue::PrivateLinkage, constant, "tile_shapes");
  shapes->setAlignment(llvm::Align(64));
  b_.CreateIntrinsic(llvm::Intrinsic::x86_ldtilecfg, {}, {shapes});
}

/// The intrinsics that name their registers: nothing is allocated, so a kernel's tiles are where it says.
void KernelEmitter::emit_tile(const Stmt& s) {
  const auto number = [&](uint32_t tile) { return b_.getInt8(static_cast<uint8_t>(tile)); };
  switch (s.kind) {
    case Stmt::Kind::tile_zero: b_.CreateIntrinsic(llvm::Intrinsic::x86_tilezero, {}, {number(s.tile)}); return;
    case Stmt::Kind::tile_dot: b_.CreateIntrinsic(llvm::Intrinsic::x86_tdpbf16ps, {}, {number(s.tile), number(s.left), number(s.right)}); return;
    default: break;
  }
  const int64_t size = size_of(kernel_.buffers.at(s.buffer).element.dtype);
  llvm::Value* step = b_.CreateMul(emit(s.step), b_.getInt64(static_cast<uint64_t>(size)));
  const bool load = s.kind == Stmt::Kind::tile_load;
  b_.CreateIntrinsic(load ? llvm::Intrinsic::x86_tileloadd64 : llvm::Intrinsic::x86_tilestored64, {},
                     {number(s.tile), address(s.buffer, emit(s.index)), step});
}

/// Records the fault on a cold path when `ok` is false; execution goes on.
void KernelEmitter::emit_fault(llvm::Value* ok, int32_t code, int32_t site, llvm::Value* value) {
  if (const auto* known = llvm::dyn_cast<llvm::ConstantInt>(ok); known && known->isOne()) return;
  auto* bad = new_block("fault");
  auto* good = new_block("checked");
  b_.CreateCondBr(ok, good, bad, llvm::MDBuilder(context_).createBranchWeights(1 << 20, 1));
  b_.SetInsertPoint(bad);
  b_.CreateCall(fault_function(), {frame_, b_.getInt32(static_cast<uint32_t>(code)), b_.getInt32(static_cast<uint32_t>(site)), value});
  b_.CreateBr(good);
  good->moveAfter(bad);
  b_.SetInsertPoint(good);
}

/// void record_fault(frame, code, site, value): the first fault of a run wins.
llvm::Function* KernelEmitter::fault_function() {
  const char* name = "record_fault";
  if (auto* found = module_.getFunction(name)) return found;
  auto* ptr = llvm::PointerType::getUnqual(context_);
  auto* i32 = llvm::Type::getInt32Ty(context_);
  auto* i64 = llvm::Type::getInt64Ty(context_);
  auto* type = llvm::FunctionType::get(llvm::Type::getVoidTy(context_), {ptr, i32, i32, i64}, false);
  auto* f = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, name, module_);
  set_function_attributes(*f, target_);
  f->addFnAttr(llvm::Attribute::NoInline);
  f->addFnAttr(llvm::Attribute::Cold);
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(context_, "entry", f));
  auto* field = b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), f->getArg(0), offsetof(mica_frame, fault));
  auto* fault = b.CreateLoad(ptr, field);
  auto* swap = b.CreateAtomicCmpXchg(fault, b.getInt32(0), f->getArg(1), llvm::Align(4), llvm::AtomicOrdering::AcquireRelease,
                                     llvm::AtomicOrdering::Monotonic);
  auto* won = llvm::BasicBlock::Create(context_, "won", f);
  auto* done = llvm::BasicBlock::Create(context_, "done", f);
  b.CreateCondBr(b.CreateExtractValue(swap, 1), won, done);
  b.SetInsertPoint(won);
  b.CreateStore(f->getArg(2), b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), fault, offsetof(mica_fault, site)));
  b.CreateStore(f->getArg(3), b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), fault, offsetof(mica_fault, value)));
  b.CreateBr(done);
  b.SetInsertPoint(done);
  b.CreateRetVoid();
  return f;
}

}  // namespace mica::codegen
