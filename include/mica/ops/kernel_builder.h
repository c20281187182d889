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
  int64_t elements = 0;
};

/// Position of an element in the memory of a value of this type, in elements; one index an axis.
Expr flat_index(const TensorType& type, const std::vector<Expr>& where);

/// Where an op's `kernel` writes its loop nest. Scratch memory is asked for before local arrays. All shapes are known.
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
  uint32_t scratch(DType dtype, int64_t elements);
  /// An array of one task; with one element it is a variable.
  uint32_t local(std::string name, DType dtype, int64_t elements = 1);
  Expr load(uint32_t buffer, const Expr& index = Expr(0)) const;
  static Stmt store(uint32_t buffer, const Expr& index, const Expr& value) { return Stmt::store(buffer, index, value); }

  /// An index from data: within [0, extent), or a fault that names the op and `what`, and 0.
  Expr checked(const Expr& index, int64_t extent, std::string_view what);

  /// Ends the kernel: `tasks` independent runs of `body` over `task`.
  void run(const Expr& task, int64_t tasks, std::vector<Stmt> body);

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
  int64_t length = 1;  ///< elements of a line; 1 for rank 0
  int64_t count = 1;   ///< lines
  Lines(const Shape& s, int64_t along);
  /// Indices of element `i` of line `line`.
  std::vector<Expr> at(const Expr& line, const Expr& i) const;
};

/// for (var = low; var < high; ++var) body(var)
template <class F> Stmt for_range(std::string name, const Expr& low, const Expr& high, int64_t limit, F&& body) {
  const Expr var = make_var(std::move(name), 0, limit);
  return Stmt::loop(var, low, high, Expr(1), body(var));
}

/// A name for a value that the statements of the body use: it is computed once, here.
template <class F> Stmt let(std::string name, const Expr& value, F&& body) {
  const Expr var = make_var(std::move(name), INT64_MIN, INT64_MAX, value->type.dtype);
  return Stmt::let(var, value, body(var));
}
/// The same for a place in [0, limit), with which addresses are computed.
template <class F> Stmt let_place(std::string name, const Expr& value, int64_t limit, F&& body) {
  const Expr var = make_var(std::move(name), 0, std::max<int64_t>(limit, 1));
  return Stmt::let(var, value, body(var));
}
using Stmts = std::vector<Stmt>;

}  // namespace mica
