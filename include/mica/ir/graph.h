#pragma once
// The graph: SSA in topological order, dense arrays indexed by 32-bit handles, no pointers between nodes.
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "mica/ir/type.h"
#include "mica/support/diagnostic.h"

namespace mica {

/// Handle of an SSA value of one graph.
struct Value {
  uint32_t id = ~0u;
  explicit operator bool() const { return id != ~0u; }
  bool operator==(const Value&) const = default;
};
/// An operand that may be absent.
struct OptValue {
  Value value;
  OptValue() = default;
  OptValue(Value v) : value(v) {}
  explicit operator bool() const { return static_cast<bool>(value); }
  Value operator*() const { return value; }
  bool operator==(const OptValue&) const = default;
};
/// A list of operands.
struct Values {
  std::vector<Value> items;
  Values() = default;
  Values(std::vector<Value> v) : items(std::move(v)) {}
  size_t size() const { return items.size(); }
  Value operator[](size_t i) const { return items[i]; }
  bool operator==(const Values&) const = default;
};
/// A list of integers.
struct Ints {
  std::vector<int64_t> items;
  Ints() = default;
  Ints(std::vector<int64_t> v) : items(std::move(v)) {}
  Ints(std::initializer_list<int64_t> v) : items(v) {}
  size_t size() const { return items.size(); }
  int64_t operator[](size_t i) const { return items[i]; }
  bool operator==(const Ints&) const = default;
};
/// A list of sizes, which may depend on symbols.
struct Dims {
  std::vector<Dim> items;
  Dims() = default;
  Dims(std::vector<Dim> v) : items(std::move(v)) {}
  Dims(const std::vector<int64_t>& v) : items(v.begin(), v.end()) {}
  Dims(const Ints& v) : items(v.items.begin(), v.items.end()) {}
  Dims(std::initializer_list<Dim> v) : items(v) {}
  size_t size() const { return items.size(); }
  const Dim& operator[](size_t i) const { return items[i]; }
  bool operator==(const Dims&) const = default;
};
/// A Python number: integer, float or bool.
struct Scalar {
  DType dtype = DType::i64;  ///< i64, f64 or b8
  double real = 0;
  int64_t integer = 0;
  Scalar() = default;
  Scalar(int64_t v) : dtype(DType::i64), real(static_cast<double>(v)), integer(v) {}
  Scalar(int v) : Scalar(static_cast<int64_t>(v)) {}
  Scalar(double v) : dtype(DType::f64), real(v), integer(static_cast<int64_t>(v)) {}
  Scalar(bool v) : dtype(DType::b8), real(v), integer(v) {}
  bool operator==(const Scalar&) const = default;
};
struct Graph;
/// A nested graph (`if`, `loop`); its inputs are the region's arguments, its outputs what it yields.
struct Region {
  std::shared_ptr<Graph> graph;
  Region() = default;
  Region(std::shared_ptr<Graph> g) : graph(std::move(g)) {}
  bool operator==(const Region&) const = default;
};

/// One field of an op; the closed set of types that ops may have as members.
using Attr = std::variant<Value, OptValue, Values, int64_t, double, bool, DType, Ints, Scalar, Region, std::string, Dim, Dims>;

struct OpInfo;  // ops/op.h: everything that is known of an op

struct OpId {
  uint32_t id = ~0u;
  bool operator==(const OpId&) const = default;
};

/// One operation: its op, one Attr per parameter of the op's signature, its results, where it came from.
struct Node {
  const OpInfo* info = nullptr;
  std::vector<Attr> fields;
  std::vector<Value> results;
  uint32_t location = 0;  ///< index into Graph::locations; 0 is "unknown"

  Value result(size_t i = 0) const { return results[i]; }
  /// Calls f(Value) on every operand that is present (those of nested regions not included).
  template <class F> void for_operands(F&& f) const {
    for (const Attr& a : fields) {
      if (auto v = std::get_if<Value>(&a)) f(*v);
      else if (auto o = std::get_if<OptValue>(&a)) {
        if (*o) f(o->value);
      } else if (auto vs = std::get_if<Values>(&a))
        for (Value v : vs->items) f(v);
    }
  }
  /// Replaces operands in place: f(Value) -> Value.
  template <class F> void map_operands(F&& f) {
    for (Attr& a : fields) {
      if (auto v = std::get_if<Value>(&a)) *v = f(*v);
      else if (auto o = std::get_if<OptValue>(&a)) {
        if (*o) o->value = f(o->value);
      } else if (auto vs = std::get_if<Values>(&a))
        for (Value& v : vs->items) v = f(v);
    }
  }
};

/// Bytes of a constant; shared, so that tied weights are held once. Dense in the owning value's layout.
struct ConstantData {
  std::shared_ptr<const std::vector<std::byte>> owned;  ///< null when `bytes` points into storage kept alive by `keep`
  std::shared_ptr<const void> keep;
  std::span<const std::byte> bytes;
  std::string name;  ///< "layer1.0.conv1.weight"; for messages and dumps

  static ConstantData own(std::vector<std::byte> data, std::string name = {});
  template <class T> std::span<const T> as() const { return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)}; }
};

/// How the flattened inputs or outputs were nested in the model, as text: "(0, {'a': 1, 'b': [2, 3]})".
struct Structure {
  std::string text;
};

struct GraphValue {
  TensorType type;
  std::string name;         ///< inputs, outputs: the model's name for it; may be empty otherwise
  int32_t constant = -1;    ///< index into Graph::constants when the value is a constant
  uint32_t producer = ~0u;  ///< index into Graph::nodes; ~0 for inputs and constants (kept by Graph::renumber)
};

/// A value that is kept from one run to the next: `input` is what the last run left, `output` (which may be `input`: unchanged)
/// what this run leaves. Only the outermost graph has any.
struct State {
  Value input;
  Value output;
  Value initial;     ///< a constant: what the first run finds
  std::string name;  ///< "layer1.running_sum"; for messages and dumps
};

/// The symbols of a graph, of those nested in it and of its copies: one table, to which symbols are only added, so that a number means one symbol
/// everywhere. Given symbols come first.
class Symbols {
 public:
  Symbols() : list_(std::make_shared<std::vector<Symbol>>()) {}
  Symbols(std::initializer_list<Symbol> list) : Symbols(std::vector<Symbol>(list)) {}
  Symbols(std::vector<Symbol> list) : list_(std::make_shared<std::vector<Symbol>>(std::move(list))) {}
  size_t size() const { return list_->size(); }
  bool empty() const { return list_->empty(); }
  const Symbol& operator[](size_t k) const { return list_->at(k); }
  auto begin() const { return list_->cbegin(); }
  auto end() const { return list_->cend(); }
  const std::vector<Symbol>& all() const { return *list_; }
  void push_back(Symbol s) { list_->push_back(std::move(s)); }

 private:
  std::shared_ptr<std::vector<Symbol>> list_;
};

struct Graph {
  std::vector<Node> nodes;  ///< topological order
  std::vector<GraphValue> values;
  std::vector<ConstantData> constants;
  std::vector<Value> inputs, outputs;
  std::vector<std::string> output_names;  ///< one per output
  std::vector<State> states;
  Structure input_structure, output_structure;
  std::vector<Location> locations = std::vector<Location>(1);
  Symbols symbols;  ///< of the dimensions; a Dim knows its symbols by their place here
  Dim symbol(size_t k) const { return Dim::symbol(static_cast<int32_t>(k), symbols[k].name, symbols[k].low, symbols[k].high); }
  /// A new symbol that is measured while the model runs, from 0 to `bound`; 0 where it can be nothing else.
  Dim add_measured_symbol(const Dim& bound);

  Value add_value(TensorType type, std::string name = {});
  Value add_input(TensorType type, std::string name);
  Value add_constant(TensorType type, ConstantData data);
  /// The value that the state has when a run begins; its output is this value until State::output is set.
  Value add_state(Value initial, std::string name);
  const TensorType& type(Value v) const { return values[v.id].type; }
  bool is_constant(Value v) const { return values[v.id].constant >= 0; }
  const ConstantData& constant(Value v) const { return constants[values[v.id].constant]; }
  /// The node that makes v, or null for inputs and constants. Valid after renumber().
  const Node* producer(Value v) const { return values[v.id].producer == ~0u ? nullptr : &nodes[values[v.id].producer]; }
  const Location& location(const Node& n) const { return locations[n.location]; }
  /// Recomputes GraphValue::producer from the order of nodes.
  void renumber();
  /// Calls f(Value) on every value that a run gives back: the outputs, then what the states become.
  template <class F> void for_results(F&& f) const {
    for (const Value v : outputs) f(v);
    for (const State& s : states) f(s.output);
  }
  /// Replaces them: f(Value) -> Value.
  template <class F> void map_results(F&& f) {
    for (Value& v : outputs) v = f(v);
    for (State& s : states) s.output = f(s.output);
  }
  /// Number of uses of every value, results of the graph counted.
  std::vector<uint32_t> count_uses() const;
};

}  // namespace mica
