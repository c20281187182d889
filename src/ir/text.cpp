// The text form of a graph, derived from the ops' signatures (docs/ir.md). parse.cpp reads what this file writes.
#include "mica/ir/text.h"

#include <algorithm>
#include <set>

#include "mica/support/hash.h"
#include "mica/support/narrow_float.h"
#include "weights_file.h"

namespace mica {

namespace {

std::string literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else out += c;
  }
  return out + '"';
}

bool is_name_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.'; }

/// The shortest decimal that reads back as the same number, with a mark that it is a float.
template <class T> std::string float_text(T x) {
  if (std::isnan(x)) return "nan";
  std::string text = fmt::format("{}", x);
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";
  return text;
}

template <class T> T element(std::span<const std::byte> bytes, int64_t i) {
  T v;
  std::memcpy(&v, bytes.data() + i * sizeof(T), sizeof(T));
  return v;
}

std::string element_text(DType dtype, std::span<const std::byte> bytes, int64_t i) {
  switch (dtype) {
    case DType::f64: return float_text(element<double>(bytes, i));
    case DType::f32: return float_text(element<float>(bytes, i));
    case DType::f16: return float_text(static_cast<float>(from_f16(element<uint16_t>(bytes, i))));
    case DType::bf16: return float_text(static_cast<float>(from_bf16(element<uint16_t>(bytes, i))));
    case DType::i64: return fmt::format("{}", element<int64_t>(bytes, i));
    case DType::i32: return fmt::format("{}", element<int32_t>(bytes, i));
    case DType::i16: return fmt::format("{}", element<int16_t>(bytes, i));
    case DType::i8: return fmt::format("{}", static_cast<int>(element<int8_t>(bytes, i)));
    case DType::u8: return fmt::format("{}", static_cast<int>(element<uint8_t>(bytes, i)));
    case DType::b8: return element<uint8_t>(bytes, i) ? "true" : "false";
  }
  return {};
}

/// A NaN with a payload, or a bool that is not 0 or 1, does not survive decimals: such constants are printed as bytes.
bool survives_decimals(DType dtype, std::span<const std::byte> bytes, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    double x = 0;
    if (dtype == DType::f64) x = element<double>(bytes, i);
    else if (dtype == DType::f32) x = element<float>(bytes, i);
    else if (dtype == DType::f16) x = from_f16(element<uint16_t>(bytes, i));
    else if (dtype == DType::bf16) x = from_bf16(element<uint16_t>(bytes, i));
    else if (dtype == DType::b8 && element<uint8_t>(bytes, i) > 1) return false;
    if (!std::isnan(x)) continue;
    const auto again = scalar_bytes(dtype, std::nan(""));
    if (!std::ranges::equal(again, bytes.subspan(i * again.size(), again.size()))) return false;
  }
  return true;
}

std::string constant_text(const TensorType& type, std::span<const std::byte> bytes, const PrintOptions& options) {
  const int64_t n = type.shape.elements().size();
  if (is_external(type, bytes)) return options.elide_constants ? "dense<...>" : fmt::format("weights<{}>", hash_key(bytes));
  const bool splat = n > inline_elements;
  const int64_t shown = splat ? 1 : n;
  std::string text;
  if (!survives_decimals(type.dtype, bytes, shown)) {
    for (const std::byte b : bytes.first(shown * size_of(type.dtype))) text += fmt::format("{:02x}", static_cast<int>(b));
    return fmt::format("{}<{}>", splat ? "hex_splat" : "hex", text);
  }
  for (int64_t i = 0; i < shown; ++i) text += (i ? ", " : "") + element_text(type.dtype, bytes, i);
  return fmt::format("{}<{}>", splat ? "splat" : "dense", text);
}

class Printer {
 public:
  Printer(const Graph& graph, const PrintOptions& options, std::string indent) : graph_(graph), options_(options), indent_(std::move(indent)) {}
  std::string run();

 private:
  void name_values();
  void name(Value v);
  std::string attr(const Attr& a) const;
  std::string node(const Node& n) const;
  std::string location(const Location& where) const;
  const std::string& of(Value v) const {
    static const std::string invalid = "%?";
    return v.id < names_.size() && !names_[v.id].empty() ? names_[v.id] : invalid;
  }

  const Graph& graph_;
  const PrintOptions& options_;
  const std::string indent_;
  std::vector<std::string> names_;
  std::vector<Value> constants_;  // those in use, in order of first use
  std::set<std::string> taken_;
  uint32_t next_ = 0;
};

void Printer::name(Value v) {
  if (v.id >= names_.size() || !names_[v.id].empty()) return;
  std::string wanted;
  for (const char c : graph_.values[v.id].name) wanted += is_name_char(c) ? c : '_';
  if (wanted.empty() || std::ranges::all_of(wanted, [](unsigned char c) { return std::isdigit(c); })) {
    names_[v.id] = fmt::format("%{}", next_++);
    return;
  }
  std::string text = wanted;
  for (int i = 1; !taken_.insert(text).second; ++i) text = fmt::format("{}_{}", wanted, i);
  names_[v.id] = "%" + text;
}

void Printer::name_values() {
  names_.resize(graph_.values.size());
  for (const Value v : graph_.inputs) name(v);
  for (const State& s : graph_.states) name(s.input);
  const auto use = [&](Value v) {
    if (v.id >= names_.size() || !graph_.is_constant(v) || !names_[v.id].empty()) return;
    name(v);
    constants_.push_back(v);
  };
  for (const Node& n : graph_.nodes) n.for_operands(use);
  graph_.for_results(use);
  for (const State& s : graph_.states) use(s.initial);
  for (const Node& n : graph_.nodes)
    for (const Value v : n.results) name(v);
}

std::string Printer::attr(const Attr& a) const {
  return std::visit(
      [&](const auto& x) -> std::string {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, Value>) return of(x);
        else if constexpr (std::is_same_v<T, OptValue>) return x ? of(*x) : "none";
        else if constexpr (std::is_same_v<T, Values>) {
          std::string text;
          for (const Value v : x.items) text += (text.empty() ? "" : ", ") + of(v);
          return "[" + text + "]";
        } else if constexpr (std::is_same_v<T, Ints> || std::is_same_v<T, Dims>) return fmt::format("[{}]", fmt::join(x.items, ", "));
        else if constexpr (std::is_same_v<T, Dim>) return x.to_string();
        else if constexpr (std::is_same_v<T, int64_t>) return fmt::format("{}", x);
        else if constexpr (std::is_same_v<T, double>) return float_text(x);
        else if constexpr (std::is_same_v<T, bool>) return x ? "true" : "false";
        else if constexpr (std::is_same_v<T, DType>) return std::string(name_of(x));
        else if constexpr (std::is_same_v<T, Scalar>) {
          if (x.dtype == DType::b8) return x.integer ? "true" : "false";
          return is_float(x.dtype) ? float_text(x.real) : fmt::format("{}", x.integer);
        } else if constexpr (std::is_same_v<T, Region>) return x.graph ? Printer(*x.graph, options_, indent_ + "  ").run() : "none";
        else return literal(x);
      },
      a);
}

std::string Printer::location(const Location& l) const {
  return fmt::format(" loc({}, {}, {}, {}, {}, {})", literal(l.file), l.line, l.column, l.length, literal(l.module_path), literal(l.source));
}

std::string Printer::node(const Node& n) const {
  std::string text;
  for (const Value v : n.results) text += (text.empty() ? "" : ", ") + of(v);
  text += text.empty() ? "" : " = ";
  text += fmt::format("{}(", n.info->name());
  const std::vector<Attr> defaults = n.info->defaults();
  bool positional = true, first = true;
  for (size_t i = 0; i < n.fields.size(); ++i) {
    const Attr& a = n.fields[i];
    const bool operand = std::holds_alternative<Value>(a) || std::holds_alternative<OptValue>(a) || std::holds_alternative<Values>(a);
    if (!std::holds_alternative<Value>(a) && i < defaults.size() && a == defaults[i]) {
      positional = false;
      continue;
    }
    positional &= operand;
    text += first ? "" : ", ";
    if (!positional) text += fmt::format("{}=", n.info->spec->signature.params[i]);
    text += attr(a);
    first = false;
  }
  text += ")";
  for (size_t i = 0; i < n.results.size(); ++i) text += (i ? ", " : " : ") + graph_.type(n.results[i]).to_string();
  const Location& where = graph_.location(n);
  if (options_.locations && (where.known() || where.line)) text += location(where);
  return text;
}

std::string Printer::run() {
  name_values();
  const std::string inner = indent_ + "  ";
  std::string text = "graph";
  for (size_t k = 0; indent_.empty() && k < graph_.symbols.size(); ++k) {
    const Symbol& s = graph_.symbols[k];
    text += k ? ", " : "<";
    text += s.is_measured() ? fmt::format("{}<={}", s.name, size_text(s.bound)) : fmt::format("{}={}..{}", s.name, s.low, s.high);
    text += k + 1 == graph_.symbols.size() ? ">" : "";
  }
  text += "(";
  for (size_t i = 0; i < graph_.inputs.size(); ++i) {
    const GraphValue& v = graph_.values[graph_.inputs[i].id];
    const std::string& shown = of(graph_.inputs[i]);
    text += (i ? ", " : "") + shown;
    if (!v.name.empty() && shown.substr(1) != v.name) text += " " + literal(v.name);
    text += ": " + v.type.to_string();
  }
  text += ") {\n";
  if (!graph_.input_structure.text.empty()) text += fmt::format("{}inputs {}\n", inner, literal(graph_.input_structure.text));
  if (!graph_.output_structure.text.empty()) text += fmt::format("{}outputs {}\n", inner, literal(graph_.output_structure.text));
  for (const Value v : constants_) {
    const ConstantData& data = graph_.constant(v);
    text += fmt::format("{}{} = constant", inner, of(v));
    if (!data.name.empty() && of(v).substr(1) != data.name) text += " " + literal(data.name);
    text += fmt::format(" {} : {}\n", constant_text(graph_.type(v), data.bytes, options_), graph_.type(v).to_string());
  }
  for (const State& s : graph_.states) {
    const std::string& shown = of(s.input);
    text += fmt::format("{}{} = state", inner, shown);
    if (!s.name.empty() && shown.substr(1) != s.name) text += " " + literal(s.name);
    text += fmt::format(" {} : {}\n", of(s.initial), graph_.type(s.input).to_string());
  }
  for (const Node& n : graph_.nodes) text += inner + node(n) + "\n";
  for (const State& s : graph_.states)
    if (s.output != s.input) text += fmt::format("{}update {}, {}\n", inner, of(s.input), of(s.output));
  text += inner + "return";
  for (size_t i = 0; i < graph_.outputs.size(); ++i) {
    text += (i ? ", " : " ") + of(graph_.outputs[i]);
    if (i < graph_.output_names.size() && !graph_.output_names[i].empty()) text += " " + literal(graph_.output_names[i]);
  }
  return text + "\n" + indent_ + "}" + (indent_.empty() ? "\n" : "");
}

}  // namespace

std::string to_string(const Graph& graph, const PrintOptions& options) { return Printer(graph, options, "").run(); }

}  // namespace mica
