// What a graph must be, after the frontend and after every pass:
//  - every operand was made before: an input, a constant or the result of a node further up, of the same graph;
//  - every value is made once; constants have as many bytes as their type says, and are 0 or 1 where they are bool;
//  - every node has one field for each parameter of its op, of that parameter's kind, and all its operands;
//  - the types of its results are those that the op infers from its operands; layouts are set by the layout pass and are only
//    checked to be permutations;
//  - a measured symbol has its value before anything mentions it: from a node further up, or in front of the region; one node measures it;
//  - outputs exist, and have one name each (which may be empty); nested graphs hold by themselves: they see no outer value;
//  - states are of the outermost graph alone, begin as constants, and keep their type.
#include "mica/ir/verify.h"

namespace mica {

namespace {

class Verifier {
 public:
  Verifier(const Graph& graph, Diagnostics& diagnostics, bool nested, std::vector<bool> known, std::vector<bool>& measured)
      : graph_(graph), diagnostics_(diagnostics), nested_(nested), made_(graph.values.size()), known_(std::move(known)), measured_(measured) {}
  void run();

 private:
  void make(Value v, const Node* by);
  void node(const Node& n);
  void mention(uint32_t symbol, const Node* by);
  void measure(uint32_t symbol, const Node& by);
  bool operand(Value v, const Node& n);
  void types(const Node& n);
  void constant(const GraphValue& v);
  void state(const State& s);
  template <class... A> void error(const Node* n, std::string_view name, fmt::format_string<A...> format, A&&... args) {
    Diagnostic& d = diagnostics_.error(name, "{}{}", n ? std::string(n->info->name()) + ": " : "", fmt::format(format, std::forward<A>(args)...));
    if (n && n->location < graph_.locations.size()) d.at(graph_.location(*n));
  }
  std::string shown(Value v) const {
    const std::string& name = v.id < graph_.values.size() ? graph_.values[v.id].name : std::string();
    return name.empty() ? fmt::format("value #{}", v.id) : "%" + name;
  }

  const Graph& graph_;
  Diagnostics& diagnostics_;
  const bool nested_;
  std::vector<bool> made_;
  std::vector<bool> known_;      ///< symbols that have values here
  std::vector<bool>& measured_;  ///< symbols that a node of any graph measures
};

bool layout_fits(const TensorType& t) {
  if (t.layout.order.empty()) return true;
  if (static_cast<int64_t>(t.layout.order.size()) != t.rank()) return false;
  std::vector<bool> seen(t.layout.order.size());
  for (const uint8_t axis : t.layout.order) {
    if (axis >= seen.size() || seen[axis]) return false;
    seen[axis] = true;
  }
  return true;
}

void Verifier::make(Value v, const Node* by) {
  if (v.id >= graph_.values.size()) return error(by, "verify-unknown-value", "value #{} does not exist", v.id);
  if (made_[v.id]) return error(by, "verify-made-twice", "{} is made twice", shown(v));
  made_[v.id] = true;
  if (!layout_fits(graph_.type(v)))
    error(by, "verify-layout", "the layout of {} is not a permutation of its {} axes", shown(v), graph_.type(v).rank());
  for (const Dim& d : graph_.type(v).shape.dims()) for_symbols(d, [&](uint32_t symbol) { mention(symbol, by); });
}

void Verifier::mention(uint32_t symbol, const Node* by) {
  if (symbol < known_.size() && known_[symbol]) return;
  if (symbol >= known_.size()) return error(by, "verify-symbol", "symbol {} does not exist", symbol);
  known_[symbol] = true;  // said once
  error(by, "verify-symbol", "`{}` is mentioned before it is measured", graph_.symbols[symbol].name);
}

void Verifier::measure(uint32_t symbol, const Node& by) {
  if (measured_.at(symbol)) error(&by, "verify-measured-twice", "`{}` is measured twice", graph_.symbols[symbol].name);
  measured_[symbol] = known_[symbol] = true;
}

void Verifier::constant(const GraphValue& v) {
  if (static_cast<size_t>(v.constant) >= graph_.constants.size()) return error(nullptr, "verify-constant", "constant {} does not exist", v.constant);
  const ConstantData& data = graph_.constants[v.constant];
  if (!v.type.shape.is_static() || static_cast<int64_t>(data.bytes.size()) != v.type.bytes())
    error(nullptr, "verify-constant", "constant {} has {} bytes, but is {}", data.name, data.bytes.size(), v.type.to_string());
}

bool Verifier::operand(Value v, const Node& n) {
  if (v.id < made_.size() && made_[v.id]) return true;
  error(&n, "verify-use-before-definition", "the operand {} is not made before its use", v ? shown(v) : "(none)");
  return false;
}

void Verifier::types(const Node& n) {
  Diagnostics found;
  auto inferred = n.info->infer(n, Infer(graph_, n, found));
  if (!inferred) {
    for (const Diagnostic& d : found.all()) {
      Diagnostic& copy = diagnostics_.add(d.severity, d.error_class, d.name, d.message);
      copy = d;
    }
    return;
  }
  if (inferred->size() != n.results.size())
    return error(&n, "verify-result-count", "has {} results, but infers {}", n.results.size(), inferred->size());
  for (size_t i = 0; i < n.results.size(); ++i) {
    const TensorType &is = graph_.type(n.results[i]), &should = (*inferred)[i];
    if (is.dtype == should.dtype && is.shape == should.shape) continue;
    error(&n, "verify-type", "result {} is {}, but the op infers {}", shown(n.results[i]), TensorType{is.dtype, is.shape, {}}.to_string(),
          TensorType{should.dtype, should.shape, {}}.to_string());
  }
}

void Verifier::node(const Node& n) {
  if (!n.info) return error(nullptr, "verify-no-op", "a node has no op");
  if (n.location >= graph_.locations.size()) return error(nullptr, "verify-location", "{}: location {} does not exist", n.info->name(), n.location);
  const std::vector<Attr> defaults = n.info->defaults();
  if (n.fields.size() != defaults.size()) return error(&n, "verify-fields", "has {} fields, but its signature {}", n.fields.size(), defaults.size());
  bool sound = true;
  for (size_t i = 0; i < n.fields.size(); ++i) {
    if (n.fields[i].index() != defaults[i].index()) {
      error(&n, "verify-fields", "parameter `{}` holds a value of another kind", n.info->spec->signature.params[i]);
      sound = false;
    } else if (auto r = std::get_if<Region>(&n.fields[i]); r && r->graph) {
      const size_t before = diagnostics_.error_count();
      Verifier(*r->graph, diagnostics_, true, known_, measured_).run();
      sound &= diagnostics_.error_count() == before;
    }
  }
  n.for_operands([&](Value v) { sound &= operand(v, n); });
  if (sound) types(n);
  if (const auto symbol = measured_by(n)) measure(*symbol, n);
  else if (!has_region(n)) for_mentions(graph_, n, [&](uint32_t symbol) { mention(symbol, &n); });
  for (const Value v : n.results) make(v, &n);
}

void Verifier::state(const State& s) {
  if (nested_) return error(nullptr, "verify-state", "the state {} is in a nested graph", s.name);
  for (const Value v : {s.output, s.initial})
    if (v.id >= made_.size() || !made_[v.id]) return error(nullptr, "verify-state", "{} of the state {} is never made", shown(v), s.name);
  if (!graph_.is_constant(s.initial)) error(nullptr, "verify-state", "the state {} does not begin as a constant", s.name);
  for (const Value v : {s.output, s.initial})
    if (graph_.type(v).dtype != graph_.type(s.input).dtype || graph_.type(v).shape != graph_.type(s.input).shape)
      error(nullptr, "verify-state", "the state {} is {}, but {} is {}", s.name, graph_.type(s.input).to_string(), shown(v),
            graph_.type(v).to_string());
}

void Verifier::run() {
  for (const Value v : graph_.inputs) make(v, nullptr);
  for (const State& s : graph_.states) make(s.input, nullptr);
  for (size_t id = 0; id < graph_.values.size(); ++id)
    if (graph_.values[id].constant >= 0) {
      make(Value{static_cast<uint32_t>(id)}, nullptr);
      constant(graph_.values[id]);
    }
  for (const Node& n : graph_.nodes) node(n);
  for (const State& s : graph_.states) state(s);
  for (const Value v : graph_.outputs)
    if (v.id >= made_.size() || !made_[v.id]) error(nullptr, "verify-output", "the output {} is never made", v ? shown(v) : "(none)");
  if (graph_.output_names.size() > graph_.outputs.size())
    error(nullptr, "verify-output", "{} names for {} outputs", graph_.output_names.size(), graph_.outputs.size());
}

}  // namespace

bool verify(const Graph& graph, Diagnostics& diagnostics) {
  const size_t before = diagnostics.error_count();
  std::vector<bool> given, measured(graph.symbols.size());
  for (const Symbol& s : graph.symbols) given.push_back(!s.is_measured());
  Verifier(graph, diagnostics, false, std::move(given), measured).run();
  return diagnostics.error_count() == before;
}

}  // namespace mica
