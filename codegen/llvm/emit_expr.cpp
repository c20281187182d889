// Values. Integers wrap; nothing here is undefined for any operand (no poison reaches a store or an address).
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/MDBuilder.h>

#include "emit.h"
#include "mica/ir/fault.h"
#include "mica/runtime/frame.h"
#include "mica/support/check.h"
#include "mica/support/defect.h"

namespace mica::codegen {

llvm::Type* KernelEmitter::scalar_type(DType t) {
  switch (t) {
    case DType::f64: return b_.getDoubleTy();
    case DType::f32: return b_.getFloatTy();
    case DType::f16:
    case DType::bf16:
    case DType::i16: return b_.getInt16Ty();
    case DType::i64: return b_.getInt64Ty();
    case DType::i32: return b_.getInt32Ty();
    case DType::i8:
    case DType::u8: return b_.getInt8Ty();
    case DType::b8: return b_.getInt1Ty();
  }
  return nullptr;
}

llvm::Type* KernelEmitter::value_type(ExprType t) {
  llvm::Type* scalar = scalar_type(t.dtype);
  return t.lanes == 1 ? scalar : llvm::FixedVectorType::get(scalar, static_cast<unsigned>(t.lanes));
}

llvm::Type* KernelEmitter::memory_type(ExprType t) { return value_type({t.dtype == DType::b8 ? DType::u8 : t.dtype, t.lanes}); }

llvm::Type* KernelEmitter::like(llvm::Type* scalar, llvm::Value* v) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(v->getType());
  return vector ? llvm::FixedVectorType::get(scalar, vector->getNumElements()) : scalar;
}

llvm::Value* KernelEmitter::constant_like(llvm::Value* v, int64_t value) {
  return llvm::ConstantInt::get(v->getType(), static_cast<uint64_t>(value), true);
}

llvm::Value* KernelEmitter::splat(llvm::Value* v, int32_t lanes) { return lanes == 1 ? v : b_.CreateVectorSplat(static_cast<unsigned>(lanes), v); }

llvm::Value* KernelEmitter::emit_operand(const Expr& e, int32_t lanes) {
  llvm::Value* v = emit(e);
  return e->type.lanes == lanes ? v : splat(v, lanes);
}

bool KernelEmitter::reads_memory(const Expr& e) {
  if (const auto found = reads_memory_.find(e.get()); found != reads_memory_.end()) return found->second;
  bool reads = e->op == ExprOp::load;
  for (const Expr& a : e->args) reads = reads_memory(a) || reads;
  return reads_memory_[e.get()] = reads;
}

/// True for i64 expressions over loop variables alone: they stay inside buffers, so they may be taken not to overflow.
bool KernelEmitter::is_address_arithmetic(const Expr& e) {
  if (const auto found = address_arithmetic_.find(e.get()); found != address_arithmetic_.end()) return found->second;
  bool good = e->type.dtype == DType::i64 && e->type.lanes == 1 && !reads_memory(e);
  if (good && e->op == ExprOp::var) good = !lets_.count(e->id) || is_address_arithmetic(lets_.at(e->id));
  for (const Expr& a : e->args) good = good && is_address_arithmetic(a);
  return address_arithmetic_[e.get()] = good;
}

llvm::Value* KernelEmitter::emit(const Expr& e) {
  if (e->op == ExprOp::imm_int || e->op == ExprOp::imm_float || e->op == ExprOp::var) return emit_node(e);
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (const auto found = scope->find(e.get()); found != scope->end()) return found->second;
  }
  const bool reads = reads_memory(e);
  if (reads) {
    if (const auto found = statement_.find(e.get()); found != statement_.end()) return found->second;
  }
  llvm::Value* v = emit_node(e);
  (reads ? statement_ : scopes_.back())[e.get()] = v;
  return v;
}

/// The symbol's value in this run, read once at the kernel's entry.
llvm::Value* KernelEmitter::emit_symbol(const ExprNode& e) {
  llvm::IRBuilder<> b(function_->getEntryBlock().getTerminator());
  auto* dims = b.CreateLoad(llvm::PointerType::getUnqual(context_), b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), frame_, offsetof(mica_frame, dims)));
  auto* value = b.CreateLoad(b.getInt64Ty(), b.CreateConstInBoundsGEP1_64(b.getInt64Ty(), dims, e.id - symbol_base), "$" + e.name);
  value->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(context_, {}));
  const llvm::APInt low(64, static_cast<uint64_t>(e.int_value)), limit(64, static_cast<uint64_t>(e.limit));
  value->setMetadata(llvm::LLVMContext::MD_range, llvm::MDBuilder(context_).createRange(low, limit));
  return value;
}

llvm::Value* KernelEmitter::emit_node(const Expr& expr) {
  const ExprNode& e = *expr;
  switch (e.op) {
    case ExprOp::imm_int: return llvm::ConstantInt::get(value_type(e.type), static_cast<uint64_t>(e.int_value), true);
    case ExprOp::imm_float: {
      if (e.type.dtype == DType::f32 || e.type.dtype == DType::f64) return llvm::ConstantFP::get(value_type(e.type), e.float_value);
      llvm::APFloat value(static_cast<float>(e.float_value));
      bool inexact = false;
      value.convert(e.type.dtype == DType::f16 ? llvm::APFloat::IEEEhalf() : llvm::APFloat::BFloat(), llvm::APFloat::rmNearestTiesToEven, &inexact);
      return llvm::ConstantInt::get(context_, value.bitcastToAPInt());
    }
    case ExprOp::var: {
      if (e.id >= symbol_base && !vars_.contains(e.id)) vars_[e.id] = emit_symbol(e);
      const auto found = vars_.find(e.id);
      MICA_CHECK(found != vars_.end(), kernel_.name + ": variable " + e.name + " is not bound here");
      return found->second;
    }
    case ExprOp::load: return emit_load(e);
    case ExprOp::select: {
      const int32_t lanes = e.type.lanes;
      return b_.CreateSelect(emit_operand(e.args[0], lanes), emit_operand(e.args[1], lanes), emit_operand(e.args[2], lanes));
    }
    case ExprOp::fma: return emit_fma(e);
    case ExprOp::cast: return emit_cast(e);
    case ExprOp::bitcast: return emit_bitcast(e);
    case ExprOp::checked_index: return emit_checked_index(e);
    case ExprOp::ramp: {
      llvm::Value* base = splat(emit(e.args[0]), e.type.lanes);
      llvm::Value* stride = splat(emit(e.args[1]), e.type.lanes);
      std::vector<llvm::Constant*> lane;
      for (int32_t i = 0; i < e.type.lanes; ++i) lane.push_back(llvm::ConstantInt::get(scalar_type(e.type.dtype), static_cast<uint64_t>(i)));
      return b_.CreateAdd(base, b_.CreateMul(stride, llvm::ConstantVector::get(lane)));
    }
    case ExprOp::broadcast: return emit_operand(e.args[0], e.type.lanes);
    case ExprOp::horizontal: return emit_horizontal(e);
    case ExprOp::dot2: return emit_dot2(e);
    case ExprOp::dot4: return emit_dot4(e);
    case ExprOp::reduce: MICA_CHECK(false, kernel_.name + ": a reduction reached codegen"); return nullptr;
    default: break;
  }
  return e.args.size() == 1 ? emit_unary(e) : emit_binary(expr);
}

llvm::Value* KernelEmitter::emit_unary(const ExprNode& e) {
  llvm::Value* x = emit(e.args[0]);
  const DType t = e.args[0]->type.dtype;
  if (e.op == ExprOp::lnot) {
    if (is_float(t)) return b_.CreateFCmpOEQ(widen(x, t), llvm::Constant::getNullValue(widen(x, t)->getType()));
    return is_bool(t) ? b_.CreateNot(x) : b_.CreateICmpEQ(x, constant_like(x, 0));
  }
  if (!is_float(t)) {
    switch (e.op) {
      case ExprOp::neg: return is_bool(t) ? x : b_.CreateNeg(x);
      case ExprOp::bnot: return b_.CreateNot(x);
      case ExprOp::abs: return is_signed(t) ? b_.CreateBinaryIntrinsic(llvm::Intrinsic::abs, x, b_.getFalse()) : x;
      case ExprOp::isnan: return llvm::Constant::getNullValue(like(b_.getInt1Ty(), x));
      case ExprOp::floor:
      case ExprOp::ceil:
      case ExprOp::round:
      case ExprOp::trunc: return x;
      default: break;
    }
    MICA_CHECK(false, kernel_.name + ": " + std::string(name_of(e.op)) + " of an integer");
  }
  llvm::Value* f = widen(x, t);
  switch (e.op) {
    case ExprOp::isnan: return b_.CreateFCmpUNO(f, f);
    case ExprOp::neg: return narrow(b_.CreateFNeg(f), t);
    case ExprOp::abs: return narrow(b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, f), t);
    case ExprOp::floor: return narrow(b_.CreateUnaryIntrinsic(llvm::Intrinsic::floor, f), t);
    case ExprOp::ceil: return narrow(b_.CreateUnaryIntrinsic(llvm::Intrinsic::ceil, f), t);
    case ExprOp::round: return narrow(b_.CreateUnaryIntrinsic(llvm::Intrinsic::roundeven, f), t);
    case ExprOp::trunc: return narrow(b_.CreateUnaryIntrinsic(llvm::Intrinsic::trunc, f), t);
    case ExprOp::sqrt: return narrow(b_.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, f), t);
    default: break;
  }
  MICA_CHECK(false, kernel_.name + ": " + std::string(name_of(e.op)) + " reached codegen; expand_math comes before");
  return nullptr;
}

llvm::Value* KernelEmitter::emit_binary(const Expr& expr) {
  const ExprNode& e = *expr;
  const DType t = e.args[0]->type.dtype;
  const int32_t lanes = std::max(e.args[0]->type.lanes, e.args[1]->type.lanes);
  if (lanes > 1 && t == DType::i64 && e.op >= ExprOp::lt && e.op <= ExprOp::ge) {
    if (llvm::Value* v = emit_lane_compare(e)) return v;
  }
  llvm::Value* a = emit_operand(e.args[0], lanes);
  llvm::Value* b = emit_operand(e.args[1], lanes);
  if (e.op == ExprOp::land || e.op == ExprOp::lor) {
    const auto truth = [&](llvm::Value* v) -> llvm::Value* {
      if (is_bool(t)) return v;
      if (is_float(t)) return b_.CreateFCmpUNE(widen(v, t), llvm::Constant::getNullValue(widen(v, t)->getType()));
      return b_.CreateICmpNE(v, constant_like(v, 0));
    };
    // Both sides are computed already, so plain `and`: a select would only be turned into a branch.
    return e.op == ExprOp::land ? b_.CreateAnd(truth(a), truth(b)) : b_.CreateOr(truth(a), truth(b));
  }
  if (e.op >= ExprOp::lt && e.op <= ExprOp::ne) return emit_compare(e.op, t, widen(a, t), widen(b, t));
  if (is_float(t)) return narrow(emit_float_binary(e.op, widen(a, t), widen(b, t)), t);
  return emit_int_binary(expr, t, a, b);
}

llvm::Value* KernelEmitter::emit_float_binary(ExprOp op, llvm::Value* a, llvm::Value* b) {
  switch (op) {
    case ExprOp::add: return b_.CreateFAdd(a, b);
    case ExprOp::sub: return b_.CreateFSub(a, b);
    case ExprOp::mul: return b_.CreateFMul(a, b);
    case ExprOp::div: return b_.CreateFDiv(a, b);
    // Exactly what minps and maxps do: the second operand when unordered.
    case ExprOp::min: return b_.CreateSelect(b_.CreateFCmpOLT(a, b), a, b);
    case ExprOp::max: return b_.CreateSelect(b_.CreateFCmpOGT(a, b), a, b);
    default: break;
  }
  MICA_CHECK(false, kernel_.name + ": " + std::string(name_of(op)) + " of floats reached codegen; expand_math comes before");
  return nullptr;
}

llvm::Value* KernelEmitter::emit_int_binary(const Expr& expr, DType t, llvm::Value* a, llvm::Value* b) {
  const ExprNode& e = *expr;
  if (is_bool(t)) {
    switch (e.op) {  // as numbers 0 and 1
      case ExprOp::add:
      case ExprOp::max:
      case ExprOp::bor: return b_.CreateOr(a, b);
      case ExprOp::mul:
      case ExprOp::min:
      case ExprOp::band: return b_.CreateAnd(a, b);
      case ExprOp::sub:
      case ExprOp::bxor: return b_.CreateXor(a, b);
      default: break;
    }
    MICA_CHECK(false, kernel_.name + ": " + std::string(name_of(e.op)) + " of bool");
  }
  const bool no_overflow = is_address_arithmetic(expr);
  switch (e.op) {
    case ExprOp::add: return b_.CreateAdd(a, b, "", false, no_overflow);
    case ExprOp::sub: return b_.CreateSub(a, b, "", false, no_overflow);
    case ExprOp::mul: return b_.CreateMul(a, b, "", false, no_overflow);
    case ExprOp::min: return b_.CreateBinaryIntrinsic(is_signed(t) ? llvm::Intrinsic::smin : llvm::Intrinsic::umin, a, b);
    case ExprOp::max: return b_.CreateBinaryIntrinsic(is_signed(t) ? llvm::Intrinsic::smax : llvm::Intrinsic::umax, a, b);
    case ExprOp::band: return b_.CreateAnd(a, b);
    case ExprOp::bor: return b_.CreateOr(a, b);
    case ExprOp::bxor: return b_.CreateXor(a, b);
    case ExprOp::shl:
    case ExprOp::shr:
    case ExprOp::ushr: return emit_shift(e, t, a, b);
    case ExprOp::div:
    case ExprOp::fmod:
    case ExprOp::floordiv:
    case ExprOp::floormod: return emit_divide(expr, t, a, b);
    default: break;
  }
  MICA_CHECK(false, kernel_.name + ": " + std::string(name_of(e.op)) + " of integers reached codegen");
  return nullptr;
}

/// Quotient and remainder. x / 0 and x % 0 are computed with divisor 1 (a check before them reports the fault), as is
/// least / -1, which wraps to the least integer.
llvm::Value* KernelEmitter::emit_divide(const Expr& expr, DType t, llvm::Value* a, llvm::Value* b) {
  const ExprNode& e = *expr;
  const bool remainder = e.op == ExprOp::fmod || e.op == ExprOp::floormod;
  const auto* divisor = llvm::dyn_cast<llvm::Constant>(b);
  const llvm::ConstantInt* known =
      divisor ? llvm::dyn_cast_or_null<llvm::ConstantInt>(divisor->getType()->isVectorTy() ? divisor->getSplatValue() : divisor) : nullptr;
  const bool positive = known && known->getSExtValue() > 0;
  const auto range = is_address_arithmetic(expr) ? bounds(e.args[0]) : std::nullopt;
  if (!is_signed(t) || (positive && range && range->low >= 0)) {
    if (!known || known->isZero()) b = b_.CreateSelect(b_.CreateICmpEQ(b, constant_like(b, 0)), constant_like(b, 1), b);
    return remainder ? b_.CreateURem(a, b) : b_.CreateUDiv(a, b);
  }
  const bool floors = e.op == ExprOp::floordiv || e.op == ExprOp::floormod;
  if (positive && floors && known->getValue().isPowerOf2()) {
    const auto log2 = static_cast<int64_t>(known->getValue().logBase2());
    return remainder ? b_.CreateAnd(a, constant_like(a, known->getSExtValue() - 1)) : b_.CreateAShr(a, constant_like(a, log2));
  }
  if (!positive) {
    const unsigned bits = a->getType()->getScalarSizeInBits();
    llvm::Value* least = llvm::ConstantInt::get(a->getType(), llvm::APInt::getSignedMinValue(bits));
    llvm::Value* wraps = b_.CreateAnd(b_.CreateICmpEQ(a, least), b_.CreateICmpEQ(b, constant_like(b, -1)));
    b = b_.CreateSelect(b_.CreateOr(wraps, b_.CreateICmpEQ(b, constant_like(b, 0))), constant_like(b, 1), b);
  }
  llvm::Value* quotient = b_.CreateSDiv(a, b);
  llvm::Value* rest = b_.CreateSub(a, b_.CreateMul(quotient, b));
  if (!floors) return remainder ? rest : quotient;
  llvm::Value* down = b_.CreateAnd(b_.CreateICmpNE(rest, constant_like(rest, 0)), b_.CreateICmpSLT(b_.CreateXor(rest, b), constant_like(b, 0)));
  if (remainder) return b_.CreateSelect(down, b_.CreateAdd(rest, b), rest);
  return b_.CreateSelect(down, b_.CreateSub(quotient, constant_like(quotient, 1)), quotient);
}

/// A shift by the width or more gives 0 (shr of a negative number: -1).
llvm::Value* KernelEmitter::emit_shift(const ExprNode& e, DType t, llvm::Value* a, llvm::Value* b) {
  const auto bits = static_cast<int64_t>(a->getType()->getScalarSizeInBits());
  llvm::Value* inside = b_.CreateICmpULT(b, constant_like(b, bits));
  const bool arithmetic = e.op == ExprOp::shr && is_signed(t);
  llvm::Value* by = b_.CreateSelect(inside, b, constant_like(b, arithmetic ? bits - 1 : 0));
  if (arithmetic) return b_.CreateAShr(a, by);
  llvm::Value* shifted = e.op == ExprOp::shl ? b_.CreateShl(a, by) : b_.CreateLShr(a, by);
  return b_.CreateSelect(inside, shifted, constant_like(a, 0));
}

llvm::Value* KernelEmitter::emit_compare(ExprOp op, DType t, llvm::Value* a, llvm::Value* b) {
  using P = llvm::CmpInst::Predicate;
  const auto pick = [&](P on_float, P on_signed, P on_unsigned) {
    return is_float(t) ? on_float : is_signed(t) || defect(Defect::unsigned_compare) ? on_signed : on_unsigned;
  };
  P predicate = P::BAD_ICMP_PREDICATE;
  switch (op) {
    case ExprOp::lt: predicate = pick(P::FCMP_OLT, P::ICMP_SLT, P::ICMP_ULT); break;
    case ExprOp::le: predicate = pick(P::FCMP_OLE, P::ICMP_SLE, P::ICMP_ULE); break;
    case ExprOp::gt: predicate = pick(P::FCMP_OGT, P::ICMP_SGT, P::ICMP_UGT); break;
    case ExprOp::ge: predicate = pick(P::FCMP_OGE, P::ICMP_SGE, P::ICMP_UGE); break;
    case ExprOp::eq: predicate = pick(P::FCMP_OEQ, P::ICMP_EQ, P::ICMP_EQ); break;
    default: predicate = pick(P::FCMP_UNE, P::ICMP_NE, P::ICMP_NE); break;
  }
  return b_.CreateCmp(predicate, a, b);
}

/// A comparison of base + stride * lane with a scalar, as masks at the ends of rows are: decided in 32 bits a lane.
llvm::Value* KernelEmitter::emit_lane_compare(const ExprNode& e) {
  auto a = linear(e.args[0]), b = linear(e.args[1]);
  if (!a || !b) return nullptr;
  ExprOp op = e.op;
  if (b->stride != 0) {
    std::swap(a, b);
    op = op == ExprOp::lt ? ExprOp::gt : op == ExprOp::le ? ExprOp::ge : op == ExprOp::gt ? ExprOp::lt : ExprOp::le;
  }
  if (b->stride != 0 || std::abs(a->stride) > (1 << 20)) return nullptr;
  const int32_t lanes = e.type.lanes;
  llvm::Value* distance = b_.CreateSub(b->base, a->base);
  distance = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, distance, b_.getInt64(static_cast<uint64_t>(int64_t{INT32_MIN})));
  distance = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, distance, b_.getInt64(INT32_MAX));
  distance = splat(b_.CreateTrunc(distance, b_.getInt32Ty()), lanes);
  std::vector<llvm::Constant*> lane;
  for (int32_t i = 0; i < lanes; ++i) lane.push_back(b_.getInt32(static_cast<uint32_t>(i * a->stride)));
  return emit_compare(op, DType::i32, llvm::ConstantVector::get(lane), distance);
}

llvm::Value* KernelEmitter::emit_fma(const ExprNode& e) {
  const int32_t lanes = e.type.lanes;
  const DType t = e.type.dtype;
  llvm::Value* a = widen(emit_operand(e.args[0], lanes), t);
  llvm::Value* b = widen(emit_operand(e.args[1], lanes), t);
  llvm::Value* c = widen(emit_operand(e.args[2], lanes), t);
  if (!is_float(t)) return b_.CreateAdd(b_.CreateMul(a, b), c);
  // Without the instruction it is two roundings, never a call.
  if (!target_.fma) return narrow(b_.CreateFAdd(b_.CreateFMul(a, b), c), t);
  return narrow(b_.CreateIntrinsic(llvm::Intrinsic::fma, {a->getType()}, {a, b, c}), t);
}

llvm::Value* KernelEmitter::emit_checked_index(const ExprNode& e) {
  llvm::Value* i = emit(e.args[0]);
  MICA_CHECK(!e.extent || e.type.dtype == DType::i64, kernel_.name + ": a size is an i64");
  llvm::Value* inside = b_.CreateICmpULT(i, e.extent ? splat(emit(e.extent), e.type.lanes) : constant_like(i, e.limit));
  llvm::Value* good = inside;
  if (e.masked) {
    llvm::Value* mask = emit(e.args[1]);
    good = b_.CreateOr(inside, b_.CreateNot(mask));
    inside = b_.CreateAnd(inside, mask);
  }
  const auto site = static_cast<int32_t>(e.id);
  const auto code = checks_divisor(e) ? MICA_FAULT_DIVIDE : MICA_FAULT_INDEX;
  if (e.type.lanes == 1) {
    emit_fault(good, code, site, b_.CreateSExtOrTrunc(i, b_.getInt64Ty()));
  } else {
    // The first lane that is out of range is reported; it is only looked for when there is one.
    llvm::Value* all = b_.CreateAndReduce(good);
    llvm::Value* lane = b_.getInt64(0);
    for (int32_t l = e.type.lanes - 1; l >= 0; --l) {
      lane = b_.CreateSelect(b_.CreateExtractElement(good, static_cast<uint64_t>(l)), lane,
                             b_.CreateSExtOrTrunc(b_.CreateExtractElement(i, static_cast<uint64_t>(l)), b_.getInt64Ty()));
    }
    emit_fault(all, code, site, lane);
  }
  return b_.CreateSelect(inside, i, constant_like(i, 0));
}

llvm::Value* KernelEmitter::combine(ReduceOp op, DType t, llvm::Value* a, llvm::Value* b) {
  switch (op) {
    case ReduceOp::any: return b_.CreateOr(a, b);
    case ReduceOp::all: return b_.CreateAnd(a, b);
    default: break;
  }
  if (is_bool(t)) return op == ReduceOp::sum || op == ReduceOp::max ? b_.CreateOr(a, b) : b_.CreateAnd(a, b);
  if (!is_float(t)) {
    switch (op) {
      case ReduceOp::sum: return b_.CreateAdd(a, b);
      case ReduceOp::prod: return b_.CreateMul(a, b);
      case ReduceOp::max: return b_.CreateBinaryIntrinsic(is_signed(t) ? llvm::Intrinsic::smax : llvm::Intrinsic::umax, a, b);
      default: return b_.CreateBinaryIntrinsic(is_signed(t) ? llvm::Intrinsic::smin : llvm::Intrinsic::umin, a, b);
    }
  }
  switch (op) {
    case ReduceOp::sum: return b_.CreateFAdd(a, b);
    case ReduceOp::prod: return b_.CreateFMul(a, b);
    default: break;
  }
  // As max_nan and min_nan: a NaN on either side stays.
  llvm::Value* picked = emit_float_binary(op == ReduceOp::max ? ExprOp::max : ExprOp::min, a, b);
  return b_.CreateSelect(b_.CreateFCmpUNO(a, a), a, picked);
}

/// Halves are combined, so the order is fixed: lane i with lane i + n/2.
llvm::Value* KernelEmitter::emit_horizontal(const ExprNode& e) {
  const DType t = e.args[0]->type.dtype;
  llvm::Value* v = widen(emit(e.args[0]), t);
  const DType in = is_float(t) && size_of(t) == 2 ? DType::f32 : t;
  int lanes = e.args[0]->type.lanes;
  while (lanes > 1 && lanes % 2 == 0) {
    std::vector<int> low, high;
    for (int i = 0; i < lanes / 2; ++i) {
      low.push_back(i);
      high.push_back(lanes / 2 + i);
    }
    v = combine(e.reduce_op, in, b_.CreateShuffleVector(v, low), b_.CreateShuffleVector(v, high));
    lanes /= 2;
  }
  llvm::Value* total = b_.CreateExtractElement(v, uint64_t{0});
  for (int i = 1; i < lanes; ++i) total = combine(e.reduce_op, in, total, b_.CreateExtractElement(v, static_cast<uint64_t>(i)));
  return narrow(total, t);
}

}  // namespace mica::codegen
