#pragma once
// Scalar and vector expressions. One language serves two layers: an op's `define` says with it what each element of a result
// is (loads take one index per axis of a graph value), and Kernel IR computes with it (loads take one flat element index into
// a buffer). Nodes are immutable and shared; an Expr is a handle.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "mica/support/dtype.h"

namespace mica {

/// Element type and number of vector lanes (1 = scalar).
struct ExprType {
  DType dtype = DType::i64;
  int32_t lanes = 1;
  bool operator==(const ExprType&) const = default;
};

enum class ExprOp : uint8_t {
  imm_int,
  imm_float,
  var,
  load,
  // unary
  neg,
  abs,
  floor,
  ceil,
  round,
  trunc,
  sqrt,
  exp,
  log,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  tanh,
  erf,
  log1p,
  expm1,
  isnan,
  lnot,
  bnot,
  // binary; `div` is true division on floats and truncating division on integers, `floordiv`/`floormod` round towards minus infinity.
  // min(a, b) = a < b ? a : b and max(a, b) = a > b ? a : b, so an unordered comparison gives b (as x86 does).
  add,
  sub,
  mul,
  div,
  floordiv,
  floormod,
  min,
  max,
  pow,
  atan2,
  fmod,
  band,
  bor,
  bxor,
  shl,
  shr,
  ushr,
  lt,
  le,
  gt,
  ge,
  eq,
  ne,
  land,
  lor,
  // ternary
  select,  ///< select(condition, a, b)
  fma,     ///< a * b + c, rounded once
  // conversions: `cast` converts the value (float to integer truncates), `bitcast` keeps the bits
  cast,
  bitcast,
  // checked_index(i): i where 0 <= i < extent; else the fault `name` (site `id`, given when lowered) is recorded and the value is 0
  checked_index,
  // reduction over fresh variables (only above the loops: `define` and regions)
  reduce,
  // vectors (only in Kernel IR)
  ramp,        ///< base + stride * [0, 1, ..., lanes)
  broadcast,   ///< scalar to all lanes
  horizontal,  ///< reduces the lanes of a vector to a scalar with `reduce_op`
  dot2,        ///< c + a0*b0 + a1*b1 on bf16 pairs into f32 lanes
  dot4,        ///< c + sum of four u8*s8 products into i32 lanes
};

enum class ReduceOp : uint8_t { sum, prod, max, min, any, all };

struct ExprNode;

/// Handle of an immutable expression; empty when default-constructed.
class Expr {
 public:
  Expr() = default;
  /// i64 immediate.
  template <class T>
    requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
  Expr(T value) : Expr(index_immediate(static_cast<int64_t>(value))) {}
  explicit Expr(std::shared_ptr<const ExprNode> node) : node_(std::move(node)) {}
  explicit operator bool() const { return node_ != nullptr; }
  const ExprNode& operator*() const { return *node_; }
  const ExprNode* operator->() const { return node_.get(); }
  const ExprNode* get() const { return node_.get(); }
  bool same(const Expr& other) const { return node_ == other.node_; }

 private:
  static Expr index_immediate(int64_t value);
  std::shared_ptr<const ExprNode> node_;
};

struct ExprNode {
  ExprOp op;
  ReduceOp reduce_op = ReduceOp::sum;
  ExprType type;
  std::vector<Expr> args;  ///< load: the indices, then the mask if `masked`; reduce: the body
  int64_t int_value = 0;   ///< imm_int: the value; var: its least value
  double float_value = 0;  ///< imm_float
  uint32_t id = 0;         ///< var: unique id; load: graph value id, or buffer index of the kernel; checked_index: fault site
  int64_t limit = 0;       ///< var: one past its greatest value; checked_index: the extent, or its greatest value
  bool masked = false;     ///< load: lanes whose mask is false are not read and give 0
  std::string name;        ///< var: for printing; checked_index: what the fault says
  std::vector<Expr> vars;  ///< reduce: the variables it binds, outermost first; each ranges over [int_value, limit)
  Expr extent;             ///< var: one past its greatest value, checked_index: its extent, where symbols decide (ir/dim.h); `limit` bounds it
  size_t hash = 0;         ///< structural, filled in by the builders
};

// ---- building. Integer immediates fold; operands of different lanes broadcast; dtypes must agree (indices are i64). ----
Expr imm(DType dtype, double value);                                                    ///< integer or float immediate of any dtype (0/1 for bool)
Expr imm_i(DType dtype, int64_t value);                                                 ///< integer immediate
Expr make_var(std::string name, int64_t low, int64_t limit, DType dtype = DType::i64);  ///< fresh variable over [low, limit)
/// A variable whose id the caller chooses; for renumbering within a kernel, where ids need to be unique only there.
Expr make_numbered_var(uint32_t id, std::string name, int64_t low, int64_t limit, DType dtype = DType::i64);
Expr make_load(uint32_t source, ExprType type, std::vector<Expr> indices, Expr mask = {});
Expr make_unary(ExprOp op, Expr x);
Expr make_binary(ExprOp op, Expr a, Expr b);
Expr make_reduce(ReduceOp op, std::vector<Expr> vars, Expr body);
Expr make_ramp(Expr base, Expr stride, int32_t lanes);
Expr make_broadcast(Expr x, int32_t lanes);
Expr make_horizontal(ReduceOp op, Expr x);
Expr make_dot(ExprOp op, Expr a, Expr b, Expr c);
Expr checked_index(Expr index, Expr extent, std::string fault_text, uint32_t site = 0);
Expr select(Expr condition, Expr a, Expr b);
Expr fma(Expr a, Expr b, Expr c);
Expr cast(DType dtype, Expr x);
Expr bitcast(DType dtype, Expr x);

Expr operator+(Expr a, Expr b);
Expr operator-(Expr a, Expr b);
Expr operator*(Expr a, Expr b);
Expr operator/(Expr a, Expr b);
Expr operator-(Expr x);
Expr operator<(Expr a, Expr b);
Expr operator<=(Expr a, Expr b);
Expr operator>(Expr a, Expr b);
Expr operator>=(Expr a, Expr b);
Expr operator&&(Expr a, Expr b);
Expr operator||(Expr a, Expr b);
Expr logical_not(Expr x);  // a function: `!e` asks whether the handle is empty
Expr equal(Expr a, Expr b);
Expr not_equal(Expr a, Expr b);
Expr floordiv(Expr a, Expr b);
Expr floormod(Expr a, Expr b);
Expr min(Expr a, Expr b);
Expr max(Expr a, Expr b);
/// min and max as torch has them on floats: a NaN on either side gives NaN.
Expr min_nan(Expr a, Expr b);
Expr max_nan(Expr a, Expr b);
Expr exp(Expr x);
Expr log(Expr x);
Expr sqrt(Expr x);
Expr abs(Expr x);
Expr floor(Expr x);
Expr tanh(Expr x);
Expr erf(Expr x);
Expr pow(Expr a, Expr b);
/// 1 / (1 + exp(-x))
Expr sigmoid(Expr x);

// ---- looking at them ----
std::optional<int64_t> constant_int(const Expr& e);
bool is_constant(const Expr& e, double value);
/// The value with which a reduction starts, in the given dtype (-inf or the least integer for max, ...).
Expr reduce_identity(ReduceOp op, DType dtype);
/// One step: combines an accumulator and a new value.
Expr reduce_combine(ReduceOp op, Expr accumulator, Expr value);
/// What the value of a checked_index is below.
inline Expr extent_of_check(const ExprNode& e) { return e.extent ? e.extent : Expr(e.limit); }
std::string_view name_of(ExprOp op);
std::string_view name_of(ReduceOp op);
std::string to_string(const Expr& e);
/// Calls f on every node once (shared nodes once), children before parents.
void visit(const Expr& e, const std::function<void(const Expr&)>& f);
/// True when variable `var` (its node id) occurs free in e.
bool depends_on(const Expr& e, uint32_t var);
/// Free variables, by id, each once, in order of first occurrence.
std::vector<Expr> free_vars(const Expr& e);
/// Structural equality (variables by id).
bool equivalent(const Expr& a, const Expr& b);
size_t structural_hash(const Expr& e);

// ---- changing them (sharing is kept: a node met twice is rewritten once) ----
/// Rebuilds e bottom-up through the smart constructors; where `f` returns an Expr for a (rebuilt) node it replaces it.
Expr rewrite(const Expr& e, const std::function<Expr(const Expr&)>& f);
/// The same node over other operands, through the smart constructors.
Expr with_args(const Expr& e, std::vector<Expr> args);
/// Replaces variables by expressions.
struct VarBinding {
  Expr var;
  Expr value;
};
Expr substitute(const Expr& e, const std::vector<VarBinding>& bindings);

// ---- integer algebra ----
/// An integer expression as constant + sum of coefficient * atom; atoms are variables or non-affine terms.
struct Affine {
  struct Term {
    int64_t coefficient;
    Expr atom;
  };
  int64_t constant = 0;
  std::vector<Term> terms;
  int64_t coefficient_of(uint32_t var) const;  ///< of the variable itself; 0 when absent
};
Affine to_affine(const Expr& e);
Expr from_affine(const Affine& a);
/// Bounds of an integer expression from its variables' ranges; nullopt when unknown.
struct Interval {
  int64_t low, high;  ///< both inclusive
};
std::optional<Interval> bounds(const Expr& e);
/// Integer simplification: affine normal form, division and remainder by constants, comparisons decided by ranges, selects folded.
Expr simplify(const Expr& e);

}  // namespace mica
