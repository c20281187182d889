// Conversions and dot products. f16 and bf16 convert by instructions where the target has them, else by bit operations of
// our own; never by a library call. The integer sequences take and give correct bits under flush-to-zero.
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsAArch64.h>
#include <llvm/IR/IntrinsicsX86.h>

#include "emit.h"
#include "mica/support/check.h"
#include "mica/support/defect.h"

namespace mica::codegen {

namespace {
bool is_x86(const Target& target) { return target.triple.starts_with("x86"); }
bool has_f16_conversion(const Target& target) { return !is_x86(target) || target.has("f16c") || target.has("avx512f"); }
}  // namespace

llvm::Value* KernelEmitter::widen(llvm::Value* v, DType t) {
  if (t == DType::bf16) {
    llvm::Value* bits = b_.CreateZExt(v, like(b_.getInt32Ty(), v));
    return b_.CreateBitCast(b_.CreateShl(bits, constant_like(bits, 16)), like(b_.getFloatTy(), v));
  }
  if (t != DType::f16) return v;
  if (has_f16_conversion(target_)) return b_.CreateFPExt(b_.CreateBitCast(v, like(b_.getHalfTy(), v)), like(b_.getFloatTy(), v));
  // Marat Dukhan's FP16 library: normal numbers by an exponent offset, subnormal ones by a magic addition.
  llvm::Type* f32 = like(b_.getFloatTy(), v);
  llvm::Value* w = b_.CreateShl(b_.CreateZExt(v, like(b_.getInt32Ty(), v)), constant_like(b_.CreateZExt(v, like(b_.getInt32Ty(), v)), 16));
  llvm::Value* sign = b_.CreateAnd(w, constant_like(w, 0x80000000));
  llvm::Value* twice = b_.CreateAdd(w, w);
  llvm::Value* offset = b_.CreateAdd(b_.CreateLShr(twice, constant_like(w, 4)), constant_like(w, int64_t{0xE0} << 23));
  llvm::Value* normal = b_.CreateFMul(b_.CreateBitCast(offset, f32), llvm::ConstantFP::get(f32, 0x1.0p-112));
  llvm::Value* magic = b_.CreateOr(b_.CreateLShr(twice, constant_like(w, 17)), constant_like(w, int64_t{126} << 23));
  llvm::Value* subnormal = b_.CreateFSub(b_.CreateBitCast(magic, f32), llvm::ConstantFP::get(f32, 0.5));
  llvm::Value* small = b_.CreateICmpULT(twice, constant_like(w, 1 << 27));
  llvm::Value* bits = b_.CreateBitCast(b_.CreateSelect(small, subnormal, normal), w->getType());
  return b_.CreateBitCast(b_.CreateOr(sign, bits), f32);
}

llvm::Value* KernelEmitter::narrow(llvm::Value* v, DType t) {
  if (t != DType::f16 && t != DType::bf16) return v;
  if (t == DType::f16 && has_f16_conversion(target_)) {
    return b_.CreateBitCast(b_.CreateFPTrunc(v, like(b_.getHalfTy(), v)), like(b_.getInt16Ty(), v));
  }
  llvm::Value* bits = b_.CreateBitCast(v, like(b_.getInt32Ty(), v));
  const auto c = [&](int64_t value) { return constant_like(bits, value); };
  if (t == DType::bf16) {
    if (v->getType()->isVectorTy() && target_.has("avx512bf16") && target_.has("avx512vl")) {
      return b_.CreateBitCast(b_.CreateFPTrunc(v, like(b_.getBFloatTy(), v)), like(b_.getInt16Ty(), v));
    }
    llvm::Value* odd = b_.CreateAnd(b_.CreateLShr(bits, c(16)), c(1));
    llvm::Value* rounded = b_.CreateLShr(b_.CreateAdd(bits, b_.CreateAdd(odd, c(0x7fff))), c(16));
    llvm::Value* quiet = b_.CreateOr(b_.CreateLShr(bits, c(16)), c(0x40));
    return b_.CreateTrunc(b_.CreateSelect(b_.CreateFCmpUNO(v, v), quiet, rounded), like(b_.getInt16Ty(), v));
  }
  // FP16 again: the float adder rounds once the exponent has been lined up.
  llvm::Type* f32 = v->getType();
  llvm::Value* magnitude = b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, v);
  llvm::Value* base = b_.CreateFMul(b_.CreateFMul(magnitude, llvm::ConstantFP::get(f32, 0x1.0p+112)), llvm::ConstantFP::get(f32, 0x1.0p-110));
  llvm::Value* twice = b_.CreateAdd(bits, bits);
  llvm::Value* sign = b_.CreateAnd(bits, c(0x80000000));
  llvm::Value* bias = b_.CreateAnd(twice, c(0xFF000000));
  bias = b_.CreateBinaryIntrinsic(llvm::Intrinsic::umax, bias, c(0x71000000));
  llvm::Value* lined_up = b_.CreateBitCast(b_.CreateAdd(b_.CreateLShr(bias, c(1)), c(0x07800000)), f32);
  llvm::Value* sum = b_.CreateBitCast(b_.CreateFAdd(lined_up, base), bits->getType());
  llvm::Value* exponent = b_.CreateAnd(b_.CreateLShr(sum, c(13)), c(0x7C00));
  llvm::Value* half = b_.CreateAdd(exponent, b_.CreateAnd(sum, c(0x0FFF)));
  half = b_.CreateSelect(b_.CreateICmpUGT(twice, c(0xFF000000)), c(0x7E00), half);
  return b_.CreateTrunc(b_.CreateOr(b_.CreateLShr(sign, c(16)), half), like(b_.getInt16Ty(), v));
}

/// Truncates. Out of range it gives what the instruction gives, by way of i32 for narrow types, as C compilers do on x86.
llvm::Value* KernelEmitter::float_to_int(llvm::Value* v, DType to) {
  llvm::Type* wide = like(to == DType::i64 ? b_.getInt64Ty() : b_.getInt32Ty(), v);
  if (defect(Defect::rounding_cast)) v = b_.CreateUnaryIntrinsic(llvm::Intrinsic::roundeven, v);
  llvm::Value* whole = b_.CreateFreeze(b_.CreateFPToSI(v, wide));
  return b_.CreateTrunc(whole, like(scalar_type(to), v));
}

llvm::Value* KernelEmitter::emit_cast(const ExprNode& e) {
  llvm::Value* v = emit(e.args[0]);
  const DType from = e.args[0]->type.dtype, to = e.type.dtype;
  llvm::Type* type = value_type(e.type);
  if (from == to) return v;
  if (is_float(from)) {
    llvm::Value* f = widen(v, from);
    if (is_bool(to)) return b_.CreateFCmpUNE(f, llvm::Constant::getNullValue(f->getType()));
    if (is_integer(to)) return float_to_int(f, to);
    if (to == DType::f64) return b_.CreateFPExt(f, type);
    if (from == DType::f64) f = b_.CreateFPTrunc(f, like(b_.getFloatTy(), f));
    return narrow(f, to);
  }
  if (is_bool(to)) return b_.CreateICmpNE(v, constant_like(v, 0));
  if (is_float(to)) {
    llvm::Type* through = to == DType::f64 ? type : like(b_.getFloatTy(), v);
    return narrow(is_signed(from) ? b_.CreateSIToFP(v, through) : b_.CreateUIToFP(v, through), to);
  }
  return is_signed(from) ? b_.CreateSExtOrTrunc(v, type) : b_.CreateZExtOrTrunc(v, type);
}

llvm::Value* KernelEmitter::emit_bitcast(const ExprNode& e) {
  llvm::Value* v = emit(e.args[0]);
  const DType from = e.args[0]->type.dtype;
  if (is_bool(from)) return b_.CreateZExt(v, value_type(e.type));
  if (is_bool(e.type.dtype)) return b_.CreateICmpNE(v, constant_like(v, 0));
  return b_.CreateBitCast(v, value_type(e.type));
}

/// c + a0*b0 + a1*b1 over bf16 pairs.
llvm::Value* KernelEmitter::emit_dot2(const ExprNode& e) {
  const int32_t lanes = e.type.lanes;
  llvm::Value* a = emit_operand(e.args[0], 2 * lanes);
  llvm::Value* b = emit_operand(e.args[1], 2 * lanes);
  llvm::Value* c = emit(e.args[2]);
  if (is_x86(target_) && target_.has("avx512bf16") && (lanes == 16 || target_.has("avx512vl"))) {
    const llvm::Intrinsic::ID id = lanes == 16  ? llvm::Intrinsic::ID(llvm::Intrinsic::x86_avx512bf16_dpbf16ps_512)
                                   : lanes == 8 ? llvm::Intrinsic::ID(llvm::Intrinsic::x86_avx512bf16_dpbf16ps_256)
                                   : lanes == 4 ? llvm::Intrinsic::ID(llvm::Intrinsic::x86_avx512bf16_dpbf16ps_128)
                                                : llvm::Intrinsic::ID(llvm::Intrinsic::not_intrinsic);
    if (id != llvm::Intrinsic::not_intrinsic) {
      llvm::Type* bf16 = like(b_.getBFloatTy(), a);
      return b_.CreateIntrinsic(id, {}, {c, b_.CreateBitCast(a, bf16), b_.CreateBitCast(b, bf16)});
    }
  }
  // A pair is one i32: its low half is element 0, its high half element 1, already where f32 wants it.
  llvm::Type* i32 =
      lanes == 1 ? static_cast<llvm::Type*>(b_.getInt32Ty()) : llvm::FixedVectorType::get(b_.getInt32Ty(), static_cast<unsigned>(lanes));
  llvm::Value* pairs[] = {b_.CreateBitCast(a, i32), b_.CreateBitCast(b, i32)};
  const auto half = [&](llvm::Value* pair, bool high) {
    llvm::Value* bits = high ? b_.CreateAnd(pair, constant_like(pair, 0xFFFF0000)) : b_.CreateShl(pair, constant_like(pair, 16));
    return b_.CreateBitCast(bits, c->getType());
  };
  for (bool high : {false, true}) {
    llvm::Value* x = half(pairs[0], high);
    llvm::Value* y = half(pairs[1], high);
    c = target_.fma ? b_.CreateIntrinsic(llvm::Intrinsic::fma, {c->getType()}, {x, y, c}) : b_.CreateFAdd(b_.CreateFMul(x, y), c);
  }
  return c;
}

/// c + sum of four u8 * s8 products; a is unsigned, b signed.
llvm::Value* KernelEmitter::emit_dot4(const ExprNode& e) {
  const int32_t lanes = e.type.lanes;
  llvm::Value* a = emit_operand(e.args[0], 4 * lanes);
  llvm::Value* b = emit_operand(e.args[1], 4 * lanes);
  llvm::Value* c = emit(e.args[2]);
  llvm::Type* i32 = c->getType();
  const bool narrow_vnni = target_.has("avxvnni") || (target_.has("avx512vnni") && target_.has("avx512vl"));
  if (is_x86(target_) && ((lanes == 16 && target_.has("avx512vnni")) || ((lanes == 8 || lanes == 4) && narrow_vnni))) {
    const auto id = lanes == 16  ? llvm::Intrinsic::x86_avx512_vpdpbusd_512
                    : lanes == 8 ? llvm::Intrinsic::x86_avx512_vpdpbusd_256
                                 : llvm::Intrinsic::x86_avx512_vpdpbusd_128;
    return b_.CreateIntrinsic(id, {}, {c, b_.CreateBitCast(a, i32), b_.CreateBitCast(b, i32)});
  }
  if (!is_x86(target_) && lanes == 4 && target_.has("i8mm")) {
    return b_.CreateIntrinsic(llvm::Intrinsic::aarch64_neon_usdot, {c->getType(), a->getType()}, {c, a, b});
  }
  for (int part = 0; part < 4; ++part) {
    std::vector<int> pick;
    for (int l = 0; l < lanes; ++l) pick.push_back(4 * l + part);
    llvm::Value* x = lanes == 1 ? b_.CreateExtractElement(a, static_cast<uint64_t>(part)) : b_.CreateShuffleVector(a, pick);
    llvm::Value* y = lanes == 1 ? b_.CreateExtractElement(b, static_cast<uint64_t>(part)) : b_.CreateShuffleVector(b, pick);
    c = b_.CreateAdd(c, b_.CreateMul(b_.CreateZExt(x, i32), b_.CreateSExt(y, i32)));
  }
  return c;
}

}  // namespace mica::codegen
