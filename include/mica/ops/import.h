#pragma once
// From TorchScript operators to ops. A spelling in an op's spec ("aten::softmax.int(self=x, dim=axis)") is enough where arguments map to fields
// one by one; else an import function builds what the operator means from the canonical ops. No torch type appears here: the frontend turns a
// node's arguments into ImportValues (all Python scalars already folded), calls import_op, and turns the results back.
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mica/ops/op.h"

namespace mica {

/// An argument or result: None, a tensor, a list of tensors (an absent element is an invalid Value), a Python number, text, or a list of numbers
/// (a list of bool comes as integers; an empty list may come as any list type). A dtype is an integer: torch's ScalarType code. A Dim and a
/// list with one are sizes that depend on symbols.
using ImportValue =
    std::variant<std::monostate, Value, Values, int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>, Dim, Dims>;

struct ImportArg {
  std::string name;  ///< as in the operator's schema: "self", "dim"
  ImportValue value;
};

/// Raised inside import functions after reporting; never leaves import_op.
struct ImportFailure {};

/// One operator to import. The frontend fills `op` and `args` (all arguments of the schema, defaults included) and sets builder.location.
class ImportContext {
 public:
  ImportContext(std::string op_name, std::vector<ImportArg> arguments, Builder& target, Location where = {})
      : op(std::move(op_name)), args(std::move(arguments)), builder(target), location(std::move(where)) {}

  std::string op;  ///< with its overload: "aten::softmax.int"; in-place names end in '_' before the overload: "aten::add_.Tensor"
  std::vector<ImportArg> args;
  Builder& builder;
  Location location;  ///< for messages

  // ---- arguments by schema name; those that report raise ImportFailure after it ----
  const ImportValue& arg(std::string_view name) const;  ///< None when there is no such argument
  bool has(std::string_view name) const { return !std::holds_alternative<std::monostate>(arg(name)); }
  bool is_tensor(std::string_view name) const { return std::holds_alternative<Value>(arg(name)); }
  bool is_number(std::string_view name) const;
  bool is_list(std::string_view name) const;
  Value tensor(std::string_view name);  ///< a number becomes a rank-0 constant: i64, f32 or bool
  OptValue optional_tensor(std::string_view name);
  std::vector<Value> tensors(std::string_view name);
  int64_t integer(std::string_view name);
  int64_t integer_or(std::string_view name, int64_t otherwise) { return has(name) ? integer(name) : otherwise; }
  double real(std::string_view name);  ///< any number
  double real_or(std::string_view name, double otherwise) { return has(name) ? real(name) : otherwise; }
  bool boolean(std::string_view name);
  bool boolean_or(std::string_view name, bool otherwise) { return has(name) ? boolean(name) : otherwise; }
  Scalar scalar(std::string_view name);
  std::string text(std::string_view name);
  std::string text_or(std::string_view name, std::string otherwise) { return has(name) ? text(name) : otherwise; }
  std::vector<int64_t> ints(std::string_view name);                 ///< a single integer is a list of one; None is empty
  std::vector<int64_t> ints(std::string_view name, int64_t count);  ///< one integer stands for `count` equal ones
  std::vector<double> reals(std::string_view name);
  Dim size(std::string_view name);  ///< an integer that may depend on symbols
  Dim size_or(std::string_view name, const Dim& otherwise) { return has(name) ? size(name) : otherwise; }
  std::vector<Dim> sizes(std::string_view name);  ///< as ints()
  /// The dtype of an Optional[dtype] argument; none when absent.
  std::optional<DType> dtype(std::string_view name);

  // ---- building ----
  const TensorType& type(Value v) const { return builder.type(v); }
  const Shape& shape(Value v) const { return builder.type(v).shape; }
  int64_t rank(Value v) const { return type(v).rank(); }
  /// Makes a node; raises ImportFailure when inference fails (which has reported).
  template <Op T> Value create(const T& op_fields) {
    const Value v = builder.create(op_fields);
    if (!v) throw ImportFailure{};
    return v;
  }
  template <Op T> std::vector<Value> create_all(const T& op_fields) {
    auto v = builder.create_all(op_fields);
    if (v.empty()) throw ImportFailure{};
    return v;
  }
  /// `axis` counted from the front; reports when it is out of range for `rank` (a rank-0 tensor takes -1 and 0).
  int64_t normal_axis(int64_t axis, int64_t rank);
  int64_t axis_of(std::string_view name, Value x) { return normal_axis(integer(name), rank(x)); }
  /// Normalised axes of a list argument; None or empty: all axes.
  std::vector<int64_t> axes_of(std::string_view name, Value x);
  /// Reports an error of the user's or something unsupported at the operator, and raises.
  [[noreturn]] void fail(std::string_view name, std::string message);
  [[noreturn]] void unsupported(std::string_view name, std::string message);
};

using ImportFn = std::vector<ImportValue> (*)(ImportContext&);
struct ImportEntry {
  std::string_view op;  ///< without an overload it takes all overloads that are not listed with theirs
  ImportFn fn;
};

/// True when the operator ("aten::add_.Tensor") can be imported as far as its name says.
bool is_importable(std::string_view op);
/// Imports one operator: adds nodes through ctx.builder, returns the results in the order of the schema. The result of an in-place operator is the
/// new value of `self`, in self's dtype and shape; writing it back through views is the caller's. Nothing is evaluated. Failures are reported.
/// Also answers questions about tensors: aten::size, aten::dim, aten::numel, aten::len, prim::dtype, aten::is_floating_point ...
Result<std::vector<ImportValue>> import_op(ImportContext& ctx);
/// All operator names that are importable, sorted; for docs and `mica check`.
std::vector<std::string> importable_ops();

/// One spelling of spec.torch: operator, and pairs of schema argument and field ("!" for a cast of the result's input).
struct Spelling {
  std::string_view op;
  std::vector<std::pair<std::string_view, std::string_view>> args;
};
std::vector<Spelling> parse_spellings(std::string_view torch);

/// torch's ScalarType codes.
std::optional<DType> dtype_from_torch(int64_t code);
int64_t dtype_to_torch(DType dtype);

}  // namespace mica
