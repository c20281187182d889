// Loads and stores. The shape of the index decides: a ramp of stride 1 is one vector access, a small constant stride is a
// few of them and shuffles, so are known elements near each other, anything else a gather or scatter.
#include <algorithm>
#include <bit>
#include <numeric>

#include "emit.h"
#include "mica/support/check.h"
#include "mica/support/defect.h"

namespace mica::codegen {

namespace {
bool all_true(llvm::Value* mask) {
  if (!mask) return true;
  const auto* c = llvm::dyn_cast<llvm::Constant>(mask);
  return c && c->isAllOnesValue();
}

/// How many lanes are written where those are known, and the first ones.
std::optional<unsigned> first_lanes(llvm::Value* mask) {
  const auto* c = llvm::dyn_cast<llvm::Constant>(mask);
  const auto* type = llvm::dyn_cast<llvm::FixedVectorType>(mask->getType());
  if (!c || !type) return std::nullopt;
  unsigned count = 0;
  for (unsigned lane = 0; lane < type->getNumElements(); ++lane) {
    const auto* written = llvm::dyn_cast_or_null<llvm::ConstantInt>(c->getAggregateElement(lane));
    if (!written || (written->isOne() && count < lane)) return std::nullopt;
    count += written->isOne();
  }
  return count;
}
}  // namespace

llvm::Value* KernelEmitter::address(uint32_t buffer, llvm::Value* index) {
  return b_.CreateInBoundsGEP(memory_type(kernel_.buffers.at(buffer).element), buffers_.at(buffer), index);
}

llvm::Value* KernelEmitter::from_memory(llvm::Value* v, ExprType type) {
  if (type.dtype != DType::b8) return v;
  return b_.CreateICmpNE(v, llvm::Constant::getNullValue(v->getType()));
}

llvm::Value* KernelEmitter::to_memory(llvm::Value* v, ExprType type) {
  if (type.dtype != DType::b8) return v;
  return b_.CreateZExt(v, like(b_.getInt8Ty(), v));
}

llvm::Value* KernelEmitter::emit_mask(const Expr& mask, int32_t lanes) { return mask ? emit_operand(mask, lanes) : nullptr; }

/// An i64 vector expression as base + stride * lane, with a constant stride; also a scalar (stride 0).
std::optional<KernelEmitter::Linear> KernelEmitter::linear(const Expr& e) {
  if (e->type.dtype != DType::i64) return std::nullopt;
  if (e->type.lanes == 1) return Linear{emit(e), 0};
  switch (e->op) {
    case ExprOp::broadcast: return Linear{emit(e->args[0]), 0};
    case ExprOp::ramp: {
      const auto* stride = llvm::dyn_cast<llvm::ConstantInt>(emit(e->args[1]));
      if (!stride) return std::nullopt;
      return Linear{emit(e->args[0]), stride->getSExtValue()};
    }
    case ExprOp::add:
    case ExprOp::sub: {
      const auto a = linear(e->args[0]), b = linear(e->args[1]);
      if (!a || !b) return std::nullopt;
      if (e->op == ExprOp::add) return Linear{b_.CreateAdd(a->base, b->base), a->stride + b->stride};
      return Linear{b_.CreateSub(a->base, b->base), a->stride - b->stride};
    }
    case ExprOp::mul: {
      auto a = linear(e->args[0]), b = linear(e->args[1]);
      if (!a || !b) return std::nullopt;
      if (a->stride == 0) std::swap(a, b);
      const auto* factor = llvm::dyn_cast<llvm::ConstantInt>(b->base);
      if (b->stride != 0 || (!factor && a->stride != 0)) return std::nullopt;
      return Linear{b_.CreateMul(a->base, b->base), factor ? a->stride * factor->getSExtValue() : 0};
    }
    case ExprOp::var: {
      const auto found = lets_.find(e->id);
      return found == lets_.end() ? std::nullopt : linear(found->second);
    }
    default: return std::nullopt;
  }
}

llvm::Value* KernelEmitter::load_contiguous(llvm::Type* type, llvm::Value* at, llvm::Align align, llvm::Value* mask) {
  if (all_true(mask)) return b_.CreateAlignedLoad(type, at, align);
  return b_.CreateMaskedLoad(type, at, align, mask, llvm::Constant::getNullValue(type));
}

/// A constant stride of 2 to 4: whole vectors, the last one moved back so that nothing past the last lane is read.
llvm::Value* KernelEmitter::load_strided(llvm::Type* scalar, uint32_t buffer, const Linear& at, int32_t lanes) {
  auto* type = llvm::FixedVectorType::get(scalar, static_cast<unsigned>(lanes));
  const llvm::Align align(module_.getDataLayout().getTypeStoreSize(scalar));
  const int64_t span = at.stride * (lanes - 1) + 1;
  llvm::Value* result = nullptr;
  for (int64_t chunk = 0; chunk * lanes < span; ++chunk) {
    const int64_t start = std::min<int64_t>(chunk * lanes, span - lanes);
    auto* part = b_.CreateAlignedLoad(type, address(buffer, b_.CreateAdd(at.base, b_.getInt64(static_cast<uint64_t>(start)))), align);
    std::vector<int> pick(static_cast<size_t>(lanes));
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t element = lane * at.stride;
      const bool here = element >= chunk * lanes && element < (chunk + 1) * lanes;
      pick[static_cast<size_t>(lane)] = static_cast<int>(here ? lanes + element - (defect(Defect::strided_load) ? chunk * lanes : start) : lane);
    }
    result = b_.CreateShuffleVector(result ? result : llvm::PoisonValue::get(type), part, pick);
  }
  return result;
}

/// Elements whose numbers are known, of one vector's length in memory: that vector, and its lanes where they belong. Empty where they are not so.
llvm::Value* KernelEmitter::load_known(llvm::Type* scalar, uint32_t buffer, llvm::Value* index, int32_t lanes) {
  const auto* known = llvm::dyn_cast<llvm::Constant>(index);
  const Dim& elements = kernel_.buffers.at(buffer).elements;
  std::vector<int64_t> at;
  for (int32_t l = 0; known && l < lanes; ++l) {
    const auto* number = llvm::dyn_cast_or_null<llvm::ConstantInt>(known->getAggregateElement(static_cast<unsigned>(l)));
    if (!number) return nullptr;
    at.push_back(number->getSExtValue());
  }
  if (at.empty() || !elements.is_static()) return nullptr;
  const auto [low, high] = std::ranges::minmax(at);
  // Where whole vectors of the buffer begin, loads of other lanes of it are the same.
  const int64_t whole = low / lanes * lanes, start = high < whole + lanes ? whole : low;
  if (low < 0 || high >= start + lanes || start + lanes > elements.size()) return nullptr;
  auto* type = llvm::FixedVectorType::get(scalar, static_cast<unsigned>(lanes));
  const llvm::Align align(module_.getDataLayout().getTypeStoreSize(scalar));
  std::vector<int> pick;
  for (const int64_t element : at) pick.push_back(static_cast<int>(element - start));
  return b_.CreateShuffleVector(b_.CreateAlignedLoad(type, address(buffer, b_.getInt64(static_cast<uint64_t>(start))), align), pick);
}

llvm::Value* KernelEmitter::masked_scalar_load(llvm::Type* type, llvm::Value* at, llvm::Align align, llvm::Value* mask) {
  auto* from = b_.GetInsertBlock();
  auto* then = new_block("read");
  auto* after = new_block("was_read");
  b_.CreateCondBr(mask, then, after);
  b_.SetInsertPoint(then);
  llvm::Value* loaded = b_.CreateAlignedLoad(type, at, align);
  b_.CreateBr(after);
  after->moveAfter(then);
  b_.SetInsertPoint(after);
  auto* phi = b_.CreatePHI(type, 2);
  phi->addIncoming(loaded, then);
  phi->addIncoming(llvm::Constant::getNullValue(type), from);
  return phi;
}

llvm::Value* KernelEmitter::emit_load(const ExprNode& e) {
  const Buffer& buffer = kernel_.buffers.at(e.id);
  MICA_CHECK(e.args.size() == (e.masked ? 2u : 1u), kernel_.name + ": a load in a kernel has one flat index");
  const Expr& index = e.args[0];
  const int32_t lanes = e.type.lanes;
  llvm::Type* type = memory_type(e.type);
  llvm::Type* scalar = memory_type({e.type.dtype, 1});
  const llvm::Align align(module_.getDataLayout().getTypeStoreSize(scalar));
  llvm::Value* mask = e.masked ? emit_mask(e.args[1], lanes) : nullptr;

  if (index->type.lanes == 1) {
    llvm::Value* at = address(e.id, emit(index));
    if (buffer.element.lanes > 1) {
      MICA_CHECK(buffer.element.lanes == lanes, kernel_.name + ": load of another width from " + buffer.name);
      const uint64_t bytes = module_.getDataLayout().getTypeAllocSize(type);
      const llvm::Align whole(std::min<uint64_t>(64, bytes & -bytes));
      return from_memory(load_contiguous(type, at, whole, mask), e.type);
    }
    if (lanes == 1 && !all_true(mask)) return from_memory(masked_scalar_load(type, at, align, mask), e.type);
    return from_memory(load_contiguous(type, at, align, mask), e.type);
  }
  MICA_CHECK(buffer.element.lanes == 1 && index->type.lanes == lanes, kernel_.name + ": vector index into " + buffer.name);
  if (const auto l = linear(index)) {
    if (l->stride == 1) return from_memory(load_contiguous(type, address(e.id, l->base), align, mask), e.type);
    if (l->stride == 0 && all_true(mask)) return from_memory(splat(b_.CreateAlignedLoad(scalar, address(e.id, l->base), align), lanes), e.type);
    if (l->stride > 1 && l->stride <= 4 && lanes > 1 && all_true(mask)) return from_memory(load_strided(scalar, e.id, *l, lanes), e.type);
  }
  llvm::Value* elements = emit(index);
  if (llvm::Value* loaded = all_true(mask) ? load_known(scalar, e.id, elements, lanes) : nullptr) return from_memory(loaded, e.type);
  llvm::Value* pointers = address(e.id, elements);
  if (!mask) mask = llvm::Constant::getAllOnesValue(llvm::FixedVectorType::get(b_.getInt1Ty(), static_cast<unsigned>(lanes)));
  return from_memory(b_.CreateMaskedGather(type, pointers, align, mask, llvm::Constant::getNullValue(type)), e.type);
}

/// The first `count` lanes, in pieces of a power of two.
void KernelEmitter::store_first(llvm::Value* value, llvm::Value* at, unsigned count) {
  llvm::Type* scalar = value->getType()->getScalarType();
  const llvm::Align align(module_.getDataLayout().getTypeStoreSize(scalar));
  for (unsigned done = 0; done < count;) {
    const unsigned piece = std::bit_floor(count - done);
    std::vector<int> lanes(piece);
    std::iota(lanes.begin(), lanes.end(), static_cast<int>(done));
    llvm::Value* part = piece == 1 ? b_.CreateExtractElement(value, done) : b_.CreateShuffleVector(value, lanes);
    b_.CreateAlignedStore(part, b_.CreateConstInBoundsGEP1_64(scalar, at, done), align);
    done += piece;
  }
}

void KernelEmitter::store_contiguous(llvm::Value* value, llvm::Value* at, llvm::Align align, llvm::Value* mask) {
  if (all_true(mask)) {
    b_.CreateAlignedStore(value, at, align);
  } else if (const auto count = target_.stores_by_mask() ? std::nullopt : first_lanes(mask)) {
    store_first(value, at, *count);
  } else if (value->getType()->isVectorTy()) {
    b_.CreateMaskedStore(value, at, align, mask);
  } else {
    auto* then = new_block("write");
    auto* after = new_block("written");
    b_.CreateCondBr(mask, then, after);
    b_.SetInsertPoint(then);
    b_.CreateAlignedStore(value, at, align);
    b_.CreateBr(after);
    after->moveAfter(then);
    b_.SetInsertPoint(after);
  }
}

/// A constant stride of a few elements: vectors of which only the lanes of this store are written, or lane by lane where that takes long.
void KernelEmitter::store_strided(llvm::Value* value, uint32_t buffer, const Linear& at, int32_t lanes, llvm::Value* mask) {
  const llvm::Align align(module_.getDataLayout().getTypeStoreSize(value->getType()->getScalarType()));
  if (all_true(mask) && !target_.stores_by_mask()) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      llvm::Value* to = address(buffer, b_.CreateAdd(at.base, b_.getInt64(static_cast<uint64_t>(lane * at.stride))));
      b_.CreateAlignedStore(b_.CreateExtractElement(value, static_cast<uint64_t>(lane)), to, align);
    }
    return;
  }
  if (!mask) mask = llvm::Constant::getAllOnesValue(like(b_.getInt1Ty(), value));
  llvm::Value* none = llvm::Constant::getNullValue(mask->getType());
  const int64_t span = at.stride * (lanes - 1) + 1;
  for (int64_t start = 0; start < span; start += lanes) {
    std::vector<int> from(static_cast<size_t>(lanes), -1), wanted(static_cast<size_t>(lanes), lanes);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      if ((start + lane) % at.stride || start + lane >= span) continue;
      wanted[static_cast<size_t>(lane)] = from[static_cast<size_t>(lane)] = static_cast<int>((start + lane) / at.stride);
    }
    llvm::Value* to = address(buffer, b_.CreateAdd(at.base, b_.getInt64(static_cast<uint64_t>(start))));
    b_.CreateMaskedStore(b_.CreateShuffleVector(value, from), to, align, b_.CreateShuffleVector(mask, none, wanted));
  }
}

/// Into the second cache: what is asked for is more than the first one holds beside what is being worked on. The address may lie anywhere.
void KernelEmitter::emit_prefetch(const Stmt& s) {
  llvm::Value* at = b_.CreateGEP(memory_type(kernel_.buffers.at(s.buffer).element), buffers_.at(s.buffer), emit(s.index));
  b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {at->getType()}, {at, b_.getInt32(0), b_.getInt32(2), b_.getInt32(1)});
}

void KernelEmitter::emit_store(const Stmt& s) {
  const Buffer& buffer = kernel_.buffers.at(s.buffer);
  MICA_CHECK(s.value->type.dtype == buffer.element.dtype, kernel_.name + ": store of another type to " + buffer.name);
  const int32_t index_lanes = s.index->type.lanes;
  const int32_t lanes = std::max({index_lanes, s.value->type.lanes, buffer.element.lanes});
  const ExprType type{s.value->type.dtype, lanes};
  llvm::Value* mask = emit_mask(s.mask, lanes);
  llvm::Value* value = to_memory(emit_operand(s.value, lanes), type);
  llvm::Type* scalar = memory_type({type.dtype, 1});
  const llvm::Align align(module_.getDataLayout().getTypeStoreSize(scalar));
  if (index_lanes == 1) {
    llvm::Align to = align;
    if (buffer.element.lanes > 1) {
      MICA_CHECK(buffer.element.lanes == lanes, kernel_.name + ": store of another width to " + buffer.name);
      const uint64_t bytes = module_.getDataLayout().getTypeAllocSize(value->getType());
      to = llvm::Align(std::min<uint64_t>(64, bytes & -bytes));
    }
    llvm::Value* at = address(s.buffer, emit(s.index));
    store_contiguous(value, at, to, mask);
    return;
  }
  MICA_CHECK(buffer.element.lanes == 1, kernel_.name + ": vector index into " + buffer.name);
  if (const auto l = linear(s.index)) {
    if (l->stride == 1) return store_contiguous(value, address(s.buffer, l->base), align, mask);
    if (l->stride > 1 && l->stride <= target_.widest_stored_stride()) return store_strided(value, s.buffer, *l, lanes, mask);
  }
  llvm::Value* pointers = address(s.buffer, emit(s.index));
  b_.CreateMaskedScatter(value, pointers, align, mask);
}

}  // namespace mica::codegen
