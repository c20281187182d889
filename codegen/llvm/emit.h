#pragma once
// From a Kernel to one LLVM function, in final form: vectors as wide as the Kernel says, accumulators as SSA values, no
// hope for a vectoriser. Private to codegen/llvm.
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "mica/kernel/kernel.h"
#include "mica/target/target.h"

namespace mica::codegen {

/// The symbol under which a kernel is linked.
std::string symbol_of(const Kernel& kernel);

/// Which params of a kernel never overlap another one that matters (one of the two written), at any of its steps.
std::vector<bool> disjoint_params(const Program& program, uint32_t kernel);

/// Attributes that every function of ours carries: CPU, features, vector width, no unwinding.
void set_function_attributes(llvm::Function& function, const Target& target);

/// The type of a kernel: void(ptr param..., ptr frame, i64 first, i64 last).
llvm::FunctionType* kernel_type(llvm::LLVMContext& context, const Kernel& kernel);

/// A size as i64; `symbols` gives the value of symbol k.
llvm::Value* emit_size(llvm::IRBuilder<>& b, const Expr& e, const std::function<llvm::Value*(uint32_t)>& symbol);

/// Emits mica_plan into `module`: i64 mica_plan(ptr dims). Behind the given symbols' values it writes the greatest ones of the measured symbols, the
/// derived sizes with these, and where in the arena each slot begins, and returns the arena's bytes.
void emit_plan(llvm::Module& module, const Program& program, const Target& target);

/// Emits mica_main into `module`: every step in order, with barriers.
void emit_main(llvm::Module& module, const Program& program, const Target& target);

/// Emits one kernel. Values: bool is i1 (i8 in memory), f16 and bf16 are their bits in i16 and are computed with in f32.
class KernelEmitter {
 public:
  KernelEmitter(llvm::Module& module, const Kernel& kernel, const Target& target, std::vector<bool> disjoint);
  llvm::Function* run();

 private:
  /// base + stride * lane
  struct Linear {
    llvm::Value* base;
    int64_t stride;
  };
  using Memo = std::unordered_map<const ExprNode*, llvm::Value*>;

  // emit_kernel.cpp: the function and its statements
  void add_local(const Buffer& buffer, size_t index);
  void emit_body(const std::vector<Stmt>& body);
  void emit_scope(const std::vector<Stmt>& body);
  void emit(const Stmt& s);
  void emit_loop(const Stmt& s);
  bool emit_unrolled(const Stmt& s, llvm::Value* low, llvm::Value* high, llvm::Value* step);
  void emit_let(const Stmt& s);
  void emit_branch(const Stmt& s);
  void emit_check(const Stmt& s);
  void configure_tiles();
  void emit_tile(const Stmt& s);
  void emit_fault(llvm::Value* ok, int32_t code, int32_t site, llvm::Value* value);
  llvm::Function* fault_function();
  llvm::BasicBlock* new_block(const char* name);

  // emit_memory.cpp: loads and stores
  llvm::Value* emit_load(const ExprNode& e);
  void emit_store(const Stmt& s);
  void emit_prefetch(const Stmt& s);
  llvm::Value* load_contiguous(llvm::Type* type, llvm::Value* address, llvm::Align align, llvm::Value* mask);
  llvm::Value* load_strided(llvm::Type* scalar, uint32_t buffer, const Linear& at, int32_t lanes);
  void store_first(llvm::Value* value, llvm::Value* address, unsigned count);
  void store_contiguous(llvm::Value* value, llvm::Value* address, llvm::Align align, llvm::Value* mask);
  llvm::Value* load_known(llvm::Type* scalar, uint32_t buffer, llvm::Value* index, int32_t lanes);
  void store_strided(llvm::Value* value, uint32_t buffer, const Linear& at, int32_t lanes, llvm::Value* mask);
  llvm::Value* masked_scalar_load(llvm::Type* type, llvm::Value* address, llvm::Align align, llvm::Value* mask);
  llvm::Value* address(uint32_t buffer, llvm::Value* index);
  llvm::Value* emit_mask(const Expr& mask, int32_t lanes);
  llvm::Value* from_memory(llvm::Value* v, ExprType type);
  llvm::Value* to_memory(llvm::Value* v, ExprType type);
  std::optional<Linear> linear(const Expr& e);

  // emit_expr.cpp: values
  llvm::Value* emit(const Expr& e);
  llvm::Value* emit_symbol(const ExprNode& e);
  llvm::Value* emit_node(const Expr& e);
  llvm::Value* emit_unary(const ExprNode& e);
  llvm::Value* emit_binary(const Expr& e);
  llvm::Value* emit_float_binary(ExprOp op, llvm::Value* a, llvm::Value* b);
  llvm::Value* emit_int_binary(const Expr& e, DType t, llvm::Value* a, llvm::Value* b);
  llvm::Value* emit_divide(const Expr& e, DType t, llvm::Value* a, llvm::Value* b);
  llvm::Value* emit_shift(const ExprNode& e, DType t, llvm::Value* a, llvm::Value* b);
  llvm::Value* emit_compare(ExprOp op, DType t, llvm::Value* a, llvm::Value* b);
  llvm::Value* emit_lane_compare(const ExprNode& e);
  llvm::Value* emit_fma(const ExprNode& e);
  llvm::Value* emit_checked_index(const ExprNode& e);
  llvm::Value* emit_horizontal(const ExprNode& e);
  llvm::Value* combine(ReduceOp op, DType t, llvm::Value* a, llvm::Value* b);
  llvm::Value* splat(llvm::Value* v, int32_t lanes);
  llvm::Value* emit_operand(const Expr& e, int32_t lanes);  ///< emits and broadcasts to `lanes`
  bool reads_memory(const Expr& e);
  bool is_address_arithmetic(const Expr& e);

  // emit_cast.cpp: conversions and dot products
  llvm::Value* emit_cast(const ExprNode& e);
  llvm::Value* emit_bitcast(const ExprNode& e);
  llvm::Value* widen(llvm::Value* v, DType t);   ///< f16 or bf16 bits to f32
  llvm::Value* narrow(llvm::Value* v, DType t);  ///< f32 to f16 or bf16 bits, round to nearest even
  llvm::Value* float_to_int(llvm::Value* v, DType to);
  llvm::Value* emit_dot2(const ExprNode& e);
  llvm::Value* emit_dot4(const ExprNode& e);

  llvm::Type* scalar_type(DType t);
  llvm::Type* value_type(ExprType t);                         ///< of an SSA value
  llvm::Type* memory_type(ExprType t);                        ///< of a value in memory
  llvm::Type* like(llvm::Type* scalar, llvm::Value* v);       ///< `scalar`, with as many lanes as v
  llvm::Value* constant_like(llvm::Value* v, int64_t value);  ///< integer constant of v's type

  llvm::Module& module_;
  llvm::LLVMContext& context_;
  const Kernel& kernel_;
  const Target& target_;
  std::vector<bool> disjoint_;
  llvm::IRBuilder<> b_;
  llvm::Function* function_ = nullptr;
  llvm::Value* frame_ = nullptr;
  std::vector<llvm::Value*> buffers_;
  std::unordered_map<uint32_t, llvm::Value*> vars_;
  std::unordered_map<uint32_t, Expr> lets_;  ///< what a let variable was bound to
  std::vector<Memo> scopes_;                 ///< values without loads, by the block that they dominate
  Memo statement_;                           ///< values with loads: good until the next statement
  std::unordered_map<const ExprNode*, bool> reads_memory_, address_arithmetic_;
};

}  // namespace mica::codegen
