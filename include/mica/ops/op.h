#pragma once
// What an op is. An op is one C++20 aggregate: a `spec`, its fields, `infer` and `define`; from it alone come builder, matcher,
// parser, printer, verifier, importer, interpreter, generic lowering, differential test and docs page.
#include <array>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "mica/ir/expr.h"
#include "mica/ir/graph.h"

namespace mica {

/// "softmax(x, axis)": the op's name and the names of its fields in order, checked when Mica is compiled.
struct Signature {
  std::string_view name;
  std::array<std::string_view, 16> params{};
  size_t count = 0;
  consteval Signature(const char* text) {
    std::string_view s(text);
    const size_t open = s.find('(');
    if (open == std::string_view::npos) throw "signature: missing '('";
    name = s.substr(0, open);
    s = s.substr(open + 1);
    while (true) {
      const size_t end = s.find_first_of(",)");
      if (end == std::string_view::npos) throw "signature: missing ')'";
      if (end) params[count++] = s.substr(0, end);
      if (s[end] == ')') break;
      s = s.substr(end + 1);
      while (!s.empty() && s[0] == ' ') s = s.substr(1);
    }
  }
};

/// What passes may assume of an op.
enum class Trait : uint8_t {
  none = 0,
  pure = 1,       ///< no effect besides its results: may be removed, merged, folded
  pointwise = 2,  ///< result element i depends on operand elements i (after broadcasting) only
  view = 4,       ///< result elements are operand elements, moved (reshape, permute, slice, expand ...)
  measures = 8,   ///< no effect but that its Dim is known from here on: needed while anything mentions that symbol, never merged or replaced
};
constexpr Trait operator|(Trait a, Trait b) { return static_cast<Trait>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b)); }
constexpr bool has(Trait set, Trait t) { return (static_cast<uint8_t>(set) & static_cast<uint8_t>(t)) != 0; }

struct OpSpec {
  Signature signature;
  /// TorchScript spellings, ';' between several: "aten::softmax.int(self=x, dim=axis)". Arguments not named are ignored when they hold
  /// their default or None; "dtype=!" marks one that the importer applies as a cast of the input. Empty: not imported by spelling.
  std::string_view torch{};
  /// Samples of which numerics tests are made: "x=f32[2, 3, 5], axis=1".
  std::array<std::string_view, 12> samples{};
  Trait traits = Trait::pure;
};

// ---- aggregate reflection ----
namespace detail {
struct AnyField {
  template <class T> operator T() const;
};
template <class T, class... A> consteval size_t field_count() {
  if constexpr (requires { T{A{}..., AnyField{}}; }) return field_count<T, A..., AnyField>();
  else return sizeof...(A);
}
}  // namespace detail

/// The fields of an aggregate with up to 16 members as a tuple of references.
template <class T> auto fields(T& t) {
  constexpr size_t n = detail::field_count<std::remove_const_t<T>>();
  static_assert(n <= 16, "an op has at most 16 fields");
  if constexpr (n == 0) return std::tie();
  else if constexpr (n == 1) {
    auto& [a] = t;
    return std::tie(a);
  } else if constexpr (n == 2) {
    auto& [a, b] = t;
    return std::tie(a, b);
  } else if constexpr (n == 3) {
    auto& [a, b, c] = t;
    return std::tie(a, b, c);
  } else if constexpr (n == 4) {
    auto& [a, b, c, d] = t;
    return std::tie(a, b, c, d);
  } else if constexpr (n == 5) {
    auto& [a, b, c, d, e] = t;
    return std::tie(a, b, c, d, e);
  } else if constexpr (n == 6) {
    auto& [a, b, c, d, e, f] = t;
    return std::tie(a, b, c, d, e, f);
  } else if constexpr (n == 7) {
    auto& [a, b, c, d, e, f, g] = t;
    return std::tie(a, b, c, d, e, f, g);
  } else if constexpr (n == 8) {
    auto& [a, b, c, d, e, f, g, h] = t;
    return std::tie(a, b, c, d, e, f, g, h);
  } else if constexpr (n == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = t;
    return std::tie(a, b, c, d, e, f, g, h, i);
  } else if constexpr (n == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (n == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (n == 12) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l);
  } else if constexpr (n == 13) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m);
  } else if constexpr (n == 14) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, o] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, o);
  } else if constexpr (n == 15) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, o, p] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, o, p);
  } else {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q] = t;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q);
  }
}

// ---- type inference ----
/// What `infer` sees. Errors name the op and its place in the user's model.
class Infer {
 public:
  Infer(const Graph& graph, const Node& node, Diagnostics& diagnostics) : graph_(graph), node_(node), diagnostics_(diagnostics) {}
  const TensorType& type(Value v) const { return graph_.type(v); }
  const Shape& shape(Value v) const { return graph_.type(v).shape; }
  const Graph& graph() const { return graph_; }
  const Node& node() const { return node_; }
  Diagnostics& diagnostics() const { return diagnostics_; }
  /// Reports "<op>: <message>" under `name` at the op's location and gives the Failure to return.
  template <class... A> Failure error(std::string_view name, fmt::format_string<A...> format, A&&... args) const {
    return report(name, fmt::format(format, std::forward<A>(args)...));
  }
  /// Reports that the op needs a fixed size where the model has a symbolic one.
  Failure refuse(const SymbolicSize& size) const;

 private:
  Failure report(std::string_view name, std::string message) const;
  const Graph& graph_;
  const Node& node_;
  Diagnostics& diagnostics_;
};

// ---- meaning ----
/// What `define` builds with. Result element [i0, i1, ...] is the returned expression, which may use:
class Define {
 public:
  Define(const Graph& graph, const Node& node, size_t result = 0);
  /// The variable of result axis `axis`.
  Expr index(int64_t axis) const { return indices_.at(axis < 0 ? axis + indices_.size() : axis); }
  const std::vector<Expr>& indices() const { return indices_; }
  /// Element of v at the result's indices, broadcast from the right as torch does.
  Expr operator[](Value v) const;
  /// Element of v at the given indices, one per axis of v.
  Expr at(Value v, std::vector<Expr> where) const;
  /// As operator[], then converted.
  Expr as(DType dtype, Value v) const { return cast(dtype, (*this)[v]); }
  /// Reduces `e`, which was written at the result's indices, along an axis of the result's index space (the size of that axis):
  /// the value keeps its place for every other axis. For softmax and norms, whose result has the reduced axis too.
  Expr reduce(ReduceOp op, int64_t axis, Expr e) const;
  Expr reduce(ReduceOp op, const std::vector<int64_t>& axes, Expr e) const;
  /// A fresh reduction variable over [0, extent).
  Expr var(const Dim& extent, std::string_view name = "r") const;
  const TensorType& type(Value v) const { return graph_.type(v); }
  const Shape& shape(Value v) const { return graph_.type(v).shape; }
  const TensorType& result_type() const { return result_type_; }
  size_t result() const { return result_; }  ///< which result is asked for
  const Graph& graph() const { return graph_; }
  const Node& node() const { return node_; }

 private:
  const Graph& graph_;
  const Node& node_;
  size_t result_;
  TensorType result_type_;
  std::vector<Expr> indices_;
};

class Builder;        // makes nodes, below
class KernelBuilder;  // ops/kernel_builder.h: makes loop nests

/// Everything that is known of an op, without its type.
struct OpInfo {
  const OpSpec* spec;
  /// Types of all results.
  Result<std::vector<TensorType>> (*infer)(const Node&, const Infer&);
  /// Expression form: the element of result `d.result()`. Null for ops of another form.
  Expr (*define)(const Node&, Define&);
  /// Decomposition form: rebuilds the op from others, returns its results. Null for ops of another form.
  std::vector<Value> (*decompose)(const Node&, Builder&);
  /// Kernel form: the loop nest that computes all results. Null for ops of another form.
  void (*kernel)(const Node&, KernelBuilder&);
  /// Default values of the fields, for parsing text that leaves some out.
  std::vector<Attr> (*defaults)();
  std::string_view name() const { return spec->signature.name; }
  bool is(Trait t) const { return has(spec->traits, t); }
};

/// No effect besides its results and what it measures, those of nodes in its regions counted.
bool is_pure(const Node& node);
/// Calls f(number) for every symbol that a node mentions: in its results' types, its fields, its regions; not the one that it measures.
void for_mentions(const Graph& graph, const Node& node, const std::function<void(uint32_t)>& f);
/// The symbol that the node measures; none for most nodes.
std::optional<uint32_t> measured_by(const Node& node);
/// Whether the node has nested graphs.
bool has_region(const Node& node);

template <class T>
concept Op = std::is_aggregate_v<T> && requires { T::spec.signature; };

template <Op T> std::vector<Attr> encode(const T& op) {
  static_assert(T::spec.signature.count == detail::field_count<T>(), "the signature must name every field");
  return std::apply([](const auto&... f) { return std::vector<Attr>{Attr(f)...}; }, fields(op));
}
template <Op T> T decode(const Node& node) {
  T op{};
  size_t i = 0;
  std::apply([&](auto&... f) { ((f = std::get<std::decay_t<decltype(f)>>(node.fields[i++])), ...); }, fields(op));
  return op;
}

namespace detail {
template <Op T> Result<std::vector<TensorType>> infer_erased(const Node& n, const Infer& ctx) {
  try {
    auto r = T::infer(decode<T>(n), ctx);
    if constexpr (std::is_same_v<decltype(r), Result<TensorType>>) {
      if (!r) return Failure{};
      return std::vector<TensorType>{*r};
    } else {
      return r;
    }
  } catch (const SymbolicSize& size) { return ctx.refuse(size); }
}
template <Op T> constexpr auto define_of() -> Expr (*)(const Node&, Define&) {
  if constexpr (requires(const T& op, Define& d) { T::define(op, d); })
    return [](const Node& n, Define& d) -> Expr { return T::define(decode<T>(n), d); };
  else return nullptr;
}
template <Op T> constexpr auto decompose_of() -> std::vector<Value> (*)(const Node&, Builder&) {
  if constexpr (requires(const T& op, Builder& b) { T::decompose(op, b); }) {
    return [](const Node& n, Builder& b) -> std::vector<Value> {
      auto r = T::decompose(decode<T>(n), b);
      if constexpr (std::is_same_v<decltype(r), Value>) return {r};
      else return r;
    };
  } else {
    return nullptr;
  }
}
template <Op T> constexpr auto kernel_of() -> void (*)(const Node&, KernelBuilder&) {
  if constexpr (requires(const T& op, KernelBuilder& b) { T::kernel(op, b); })
    return [](const Node& n, KernelBuilder& b) { T::kernel(decode<T>(n), b); };
  else return nullptr;
}
}  // namespace detail

/// The erased description of op T; its address identifies the op.
template <Op T>
inline constexpr OpInfo op_info = {
    .spec = &T::spec,
    .infer = &detail::infer_erased<T>,
    .define = detail::define_of<T>(),
    .decompose = detail::decompose_of<T>(),
    .kernel = detail::kernel_of<T>(),
    .defaults = [] { return encode(T{}); },
};

/// The op at `node` as a T, if it is one.
template <Op T> std::optional<T> match(const Node* node) {
  if (!node || node->info != &op_info<T>) return std::nullopt;
  return decode<T>(*node);
}
template <Op T> std::optional<T> match(const Node& node) { return match<T>(&node); }

template <class... T> struct OpList {};

/// All ops of Mica (ops/all.cpp lists the families).
std::span<const OpInfo* const> all_ops();
/// Null when there is no op of that name.
const OpInfo* find_op(std::string_view name);

/// The bytes of one element of `dtype` that holds `value` (rounded to nearest even; integers truncate and wrap).
std::vector<std::byte> scalar_bytes(DType dtype, double value);

/// Reports that `what` ("pixel_shuffle") needs a fixed size; the caller adds the place.
Diagnostic& report_symbolic(Diagnostics& diagnostics, std::string_view what, const SymbolicSize& size);

/// Makes nodes at the end of a graph. Types are inferred; a failure has been reported and gives an invalid Value.
class Builder {
 public:
  Builder(Graph& graph, Diagnostics& diagnostics) : graph_(graph), diagnostics_(diagnostics) {}
  Graph& graph() { return graph_; }
  Diagnostics& diagnostics() { return diagnostics_; }
  uint32_t location = 0;  ///< given to every node made

  template <Op T> Value create(const T& op) {
    auto all = create_all(op);
    return all.empty() ? Value{} : all[0];
  }
  template <Op T> std::vector<Value> create_all(const T& op) { return append(&op_info<T>, encode(op)); }
  /// Empty when inference failed.
  std::vector<Value> append(const OpInfo* info, std::vector<Attr> fields);
  const TensorType& type(Value v) const { return graph_.type(v); }
  /// A rank-0 constant.
  Value scalar(DType dtype, double value);
  Value constant_ints(const std::vector<int64_t>& values);  ///< i64[n]

 private:
  Graph& graph_;
  Diagnostics& diagnostics_;
};

}  // namespace mica
