#pragma once
// The third form of an op's meaning: a kernel, an imperative loop nest over Kernel IR's statements. For what no expression at each point
// of the result says well: sorting, scanning, writing where data says. The graph interpreter runs the very nest that is compiled.
#include "mica/kernel/kernel.h"
#include "mica/ops/op.h"

namespace mica {

/// What one parameter of an op's kernel stands for.
struct KernelParam {
  enum class Kind : uint8_t { operand, result, scratch };
  Kind kind = Kind::operand;
  Value value;    ///< operand, result
  DType dtype{};  ///< scratch
  Dim elements = 0;
};

/// Position of an element in the memory of a value of this type, in elements; one index an axis.
Expr flat_index(const TensorType& type, const std::vector<Expr>& where);

/// Where an op's `kernel` writes its loop nest. Scratch memory is asked for before local arrays. A size may depend on symbols, and may be 0 in
/// a run where its range begins there: a nest is right for each.
class KernelBuilder {
 public:
  KernelBuilder(const Graph& graph, const Node& node);
  const TensorType& type(Value v) const { return graph_.type(v); }
  const Shape& shape(Value v) const { return graph_.type(v).shape; }
  Value result(size_t i = 0) const { return node_.results[i]; }

  /// Element of an operand at the given indices, one per axis, whatever its layout.
  Expr load(Value v, const std::vector<Expr>& where) const;
  /// Stores an element of a result.
  Stmt store(Value v, const std::vector<Expr>& where, const Expr& value) const;
  /// Memory of the kernel's own, for all tasks together; its content is undefined at first.
  uint32_t scratch(DType dtype, const Dim& elements);
  /// An array of one task; with one element it is a variable.
  uint32_t local(std::string name, DType dtype, int64_t elements = 1);
  Expr load(uint32_t buffer, const Expr& index = Expr(0)) const;
  static Stmt store(uint32_t buffer, const Expr& index, const Expr& value) { return Stmt::store(buffer, index, value); }

  /// An index from data: within [0, extent), or a fault that names the op and `what`, and 0 (guard what follows with `exists` where the
  /// extent may be 0).
  Expr checked(const Expr& index, const Dim& extent, std::string_view what);

  /// Ends the kernel: `tasks` independent runs of `body` over `task`.
  void run(const Expr& task, const Dim& tasks, std::vector<Stmt> body);

  // ---- what run() has made ----
  const Kernel& kernel() const { return kernel_; }
  const std::vector<KernelParam>& params() const { return params_; }
  const std::vector<std::string>& faults() const { return faults_; }  ///< by checked_index's id

 private:
  void add_param(Value v, bool written);
  uint32_t param(Value v) const;
  const Graph& graph_;
  const Node& node_;
  Kernel kernel_;
  std::vector<KernelParam> params_;
  std::vector<std::string> faults_;
};

/// The independent lines of a tensor along `axis`, numbered in row-major order of the other axes.
struct Lines {
  Shape shape;
  int64_t axis = 0;
  Dim length = 1;  ///< elements of a line; 1 for rank 0
  Dim count = 1;   ///< lines
  Lines(const Shape& s, int64_t along);
  /// Indices of element `i` of line `line`.
  std::vector<Expr> at(const Expr& line, const Expr& i) const;
};

/// A variable for places in [0, extent).
inline Expr make_place(std::string name, const Dim& extent) { return make_index(std::move(name), extent == 0 ? Dim(1) : extent); }
/// 1 where the size is not 0, else 0: as many tasks as there are for an axis that is gone through within one.
inline Dim unless_empty(const Dim& size) { return Dim::min(size, 1); }
/// Whether a place in [0, extent) exists.
inline Expr exists(const Dim& extent) { return extent.low() > 0 ? imm_i(DType::b8, 1) : Expr(0) < Expr(extent); }
/// The statements, where the condition is not known to hold under it.
inline std::vector<Stmt> under(const Expr& condition, std::vector<Stmt> body) {
  if (constant_int(condition).value_or(0)) return body;
  std::vector<Stmt> guarded;
  guarded.push_back(Stmt::branch(condition, std::move(body)));
  return guarded;
}

/// for (var = low; var < high; ++var) body(var), with var below `limit`
template <class F> Stmt for_range(std::string name, const Expr& low, const Expr& high, const Dim& limit, F&& body) {
  const Expr var = make_place(std::move(name), limit);
  return Stmt::loop(var, low, high, Expr(1), body(var));
}

/// for (var = 0; var < extent; ++var) body(var)
template <class F> Stmt for_each(std::string name, const Dim& extent, F&& body) {
  return for_range(std::move(name), Expr(0), extent, extent, std::forward<F>(body));
}

/// A name for a value that the statements of the body use: it is computed once, here.
template <class F> Stmt let(std::string name, const Expr& value, F&& body) {
  const Expr var = make_var(std::move(name), INT64_MIN, INT64_MAX, value->type.dtype);
  return Stmt::let(var, value, body(var));
}
/// The same for a place in [0, limit), with which addresses are computed.
template <class F> Stmt let_place(std::string name, const Expr& value, const Dim& limit, F&& body) {
  const Expr var = make_place(std::move(name), limit);
  return Stmt::let(var, value, body(var));
}
using Stmts = std::vector<Stmt>;

}  // namespace mica
