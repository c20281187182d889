// Reads the text form of a graph (docs/ir.md). A recursive-descent parser over characters; what an op may be given, and in what
// form, comes from its signature and the defaults of its fields.
#include <algorithm>
#include <charconv>
#include <map>
#include <random>

#include "mica/ir/text.h"
#include "weights_file.h"

namespace mica {

namespace {

constexpr int greatest_nesting = 64;
constexpr int64_t greatest_elements = int64_t{1} << 40;
constexpr int64_t greatest_constant = int64_t{1} << 32;  // bytes of one constant
constexpr int64_t greatest_random = int64_t{1} << 22;    // bytes

/// Positions in the text, tokens, errors. After the first error everything fails.
class Reader {
 public:
  Reader(std::string_view text, const std::string& file, Diagnostics& diagnostics) : text_(text), file_(file), diagnostics_(diagnostics) {}

  size_t at() { return skip(), at_; }
  bool end() { return skip(), at_ == text_.size(); }
  char peek() { return skip(), at_ < text_.size() ? text_[at_] : '\0'; }
  bool accept(std::string_view token) {
    skip();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  bool expect(std::string_view token) { return accept(token) || fail("expected `{}`", token); }
  /// Letters, digits, '_' and '.'; empty when there are none.
  std::string_view word() {
    skip();
    const size_t start = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_' || text_[at_] == '.')) ++at_;
    return text_.substr(start, at_ - start);
  }
  /// A word without moving over it.
  std::string_view ahead() {
    const size_t start = at();
    const auto w = word();
    at_ = start;
    return w;
  }
  bool string(std::string& out) {
    if (!expect("\"")) return false;
    out.clear();
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      char c = text_[at_];
      if (c == '\\' && at_ + 1 < text_.size()) {
        c = text_[++at_];
        c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
      }
      out += c;
    }
    return expect("\"");
  }
  template <class T> bool integer(T& out) {
    skip();
    const auto [p, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), out);
    if (error != std::errc{}) return fail("expected an integer");
    at_ = p - text_.data();
    return true;
  }
  /// A decimal number, inf or nan, rounded once to T.
  template <class T> bool real(T& out) {
    skip();
    const auto [p, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), out);
    if (error == std::errc::result_out_of_range) return fail("this number is out of range");
    if (error != std::errc{}) return fail("expected a number");
    at_ = p - text_.data();
    return true;
  }
  bool boolean(bool& out) {
    const auto w = word();
    out = w == "true";
    return out || w == "false" || fail("expected `true` or `false`");
  }
  template <class... A> bool fail(fmt::format_string<A...> format, A&&... args) { return fail_at(at(), format, std::forward<A>(args)...); }
  template <class... A> bool fail_at(size_t where, fmt::format_string<A...> format, A&&... args) {
    if (!failed_) diagnostics_.error("graph-syntax", format, std::forward<A>(args)...).at(location(where, where + 1));
    failed_ = true;
    return false;
  }
  Location location(size_t from, size_t to) const {
    from = std::min(from, text_.size());
    Location out;
    out.file = file_;
    out.line = 1 + static_cast<int>(std::count(text_.begin(), text_.begin() + from, '\n'));
    const size_t start = from ? text_.rfind('\n', from - 1) + 1 : 0;  // npos + 1 is 0
    out.column = static_cast<int>(from - start) + 1;
    const size_t stop = std::min(text_.find('\n', from), text_.size());
    out.source = text_.substr(start, stop - start);
    out.length = static_cast<int>(std::min(to, stop) - std::min(from, stop));
    return out;
  }
  Diagnostics& diagnostics() { return diagnostics_; }
  void jump(size_t at) { at_ = at; }

 private:
  void skip() {
    while (at_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
      else if (text_.substr(at_, 2) == "//") at_ = std::min(text_.find('\n', at_), text_.size());
      else break;
    }
  }
  std::string_view text_;
  const std::string& file_;
  Diagnostics& diagnostics_;
  size_t at_ = 0;
  bool failed_ = false;
};

class Parser {
 public:
  /// A nested graph knows the symbolic sizes of the one around it.
  Parser(Reader& in, const WeightsFile* weights, int depth, Symbols symbols = {}) : in_(in), weights_(weights), depth_(depth) {
    graph_.symbols = std::move(symbols);
  }
  Result<Graph> run();

 private:
  bool header();
  bool statement(bool& done);
  bool type(TensorType& out);
  bool size(Dim& out);
  bool size_atom(Dim& out);
  bool symbols();
  bool value(Value& out);
  bool name(std::string& out, size_t& where);
  bool bind(const std::string& name, size_t where, Value v);
  bool constant(const std::string& name, size_t where);
  bool constant_bytes(const TensorType& t, std::string_view form, size_t body, std::vector<std::byte>& out);
  bool element(DType dtype, std::vector<std::byte>& out);
  bool random(const TensorType& t, std::vector<std::byte>& out);
  bool op(const std::vector<std::pair<std::string, size_t>>& names, std::string_view op_name, size_t where);
  bool arguments(Node& n);
  bool attr(Attr& out);
  bool node_location(Node& n, size_t where, size_t stop);
  bool state(const std::string& name, size_t where);
  bool update();
  bool finish_return();

  Reader& in_;
  const WeightsFile* weights_;
  const int depth_;
  Graph graph_;
  std::map<std::string, Value> values_;
};

bool all_digits(std::string_view s) {
  return std::ranges::all_of(s, [](unsigned char c) { return std::isdigit(c); });
}

bool Parser::type(TensorType& out) {
  const size_t where = in_.at();
  const auto word = in_.word();
  const auto dtype = parse_dtype(word);
  if (!dtype) return in_.fail_at(where, "expected a type such as `f32[2, 3]`, found `{}`", word);
  out.dtype = *dtype;
  if (!in_.expect("[")) return false;
  std::vector<Dim> dims;
  int64_t elements = 1;
  while (!in_.accept("]")) {
    if (!dims.empty() && !in_.expect(",")) return false;
    const size_t at = in_.at();
    Dim size;
    if (!this->size(size)) return false;
    const int64_t most = size.high();
    if (size.low() < 0 || (most && elements > greatest_elements / most)) return in_.fail_at(at, "this size is out of range");
    if (most) elements *= most;
    dims.push_back(std::move(size));
  }
  out.shape = Shape(std::move(dims));
  out.layout = {};
  if (!in_.accept("@")) return true;
  const size_t at = in_.at();
  const auto order = in_.word();
  std::vector<bool> seen(order.size());
  for (const char c : order) {
    const size_t axis = std::isdigit(static_cast<unsigned char>(c)) ? c - '0' : c - 'a' + 10;
    if (axis >= order.size() || seen[axis]) return in_.fail_at(at, "`@{}` is not a permutation of the axes", order);
    seen[axis] = true;
    out.layout.order.push_back(static_cast<uint8_t>(axis));
  }
  return static_cast<int64_t>(order.size()) == out.rank() || in_.fail_at(at, "`@{}` does not have one digit for each axis", order);
}

/// One number or symbol, min(a, b), max(a, b) or a size in parentheses.
bool Parser::size_atom(Dim& out) {
  if (in_.accept("(")) return size(out) && in_.expect(")");
  const size_t at = in_.at();
  const auto word = in_.ahead();
  if (word.empty() || !std::isalpha(static_cast<unsigned char>(word[0]))) {
    int64_t number = 0;
    if (!in_.integer(number)) return false;
    return out = Dim(number), true;
  }
  in_.word();
  if (word == "min" || word == "max") {
    Dim a, b;
    if (!in_.expect("(") || !size(a) || !in_.expect(",") || !size(b) || !in_.expect(")")) return false;
    return out = word == "min" ? Dim::min(a, b) : Dim::max(a, b), true;
  }
  for (size_t k = 0; k < graph_.symbols.size(); ++k) {
    if (graph_.symbols[k].name == word) return out = graph_.symbol(k), true;
  }
  return in_.fail_at(at, "there is no symbol `{}`", word);
}

/// "12", "S", "(S + 2) / 2" (rounded down): one operator, its operands in parentheses where they have operators themselves.
bool Parser::size(Dim& out) {
  if (!size_atom(out)) return false;
  for (const std::string_view op : {"+", "-", "*", "/", "%"}) {
    const size_t at = in_.at();
    if (!in_.accept(op)) continue;
    Dim b;
    if (!size_atom(b)) return false;
    if ((op == "/" || op == "%") && b.low() <= 0) return in_.fail_at(at, "division by a size that can be 0");
    out = op == "+" ? out + b : op == "-" ? out - b : op == "*" ? out * b : op == "/" ? out / b : out % b;
    return true;
  }
  return true;
}

/// <S=16..512, U0<=S * 4> behind `graph`: given symbols, then measured ones.
bool Parser::symbols() {
  if (!in_.accept("<")) return true;
  for (bool first = true; !in_.accept(">"); first = false) {
    if (!first && !in_.expect(",")) return false;
    const size_t at = in_.at();
    Symbol s;
    s.name = in_.word();
    if (!s.name.empty() && in_.accept("<=")) {
      Dim bound;
      if (!size(bound)) return false;
      if (bound.low() < 0 || bound.high() > greatest_elements) return in_.fail_at(at, "the bound of `{}` is out of range", s.name);
      s.low = 0, s.high = bound.high(), s.bound = bound;
      graph_.symbols.push_back(std::move(s));
      continue;
    }
    if (!graph_.symbols.empty() && graph_.symbols.all().back().is_measured()) return in_.fail_at(at, "given symbols stand before measured ones");
    if (s.name.empty() || !in_.expect("=") || !in_.integer(s.low) || !in_.expect("..") || !in_.integer(s.high))
      return in_.fail_at(at, "expected NAME=LOW..HIGH");
    if (s.low < 0 || s.low > s.high || s.high > greatest_elements) return in_.fail_at(at, "the range of `{}` is empty or too large", s.name);
    graph_.symbols.push_back(std::move(s));
  }
  return true;
}

bool Parser::name(std::string& out, size_t& where) {
  where = in_.at();
  if (!in_.expect("%")) return false;
  out = in_.word();
  return !out.empty() || in_.fail_at(where, "expected a name after `%`");
}

bool Parser::value(Value& out) {
  std::string text;
  size_t where;
  if (!name(text, where)) return false;
  const auto found = values_.find(text);
  if (found == values_.end()) return in_.fail_at(where, "%{} is used before it is made", text);
  out = found->second;
  return true;
}

bool Parser::bind(const std::string& text, size_t where, Value v) {
  return values_.emplace(text, v).second || in_.fail_at(where, "%{} is made twice", text);
}

bool Parser::header() {
  if (!in_.expect("graph") || !symbols() || !in_.expect("(")) return false;
  for (bool first = true; !in_.accept(")"); first = false) {
    if (!first && !in_.expect(",")) return false;
    std::string text;
    size_t where;
    TensorType t;
    if (!name(text, where)) return false;
    std::string known = all_digits(text) ? "" : text;
    if (in_.peek() == '"' && !in_.string(known)) return false;
    if (!in_.expect(":") || !type(t)) return false;
    if (!bind(text, where, graph_.add_input(t, known))) return false;
  }
  return in_.expect("{");
}

bool Parser::element(DType dtype, std::vector<std::byte>& out) {
  const auto put = [&](std::span<const std::byte> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
  const auto put_value = [&](auto v) { put(std::as_bytes(std::span(&v, 1))); };
  if (dtype == DType::f32) {
    float v;
    if (!in_.real(v)) return false;
    return put_value(v), true;
  }
  if (is_float(dtype)) {
    double v;
    if (!in_.real(v)) return false;
    return put(scalar_bytes(dtype, v)), true;
  }
  if (is_bool(dtype)) {
    bool v;
    if (!in_.boolean(v)) return false;
    return put_value(static_cast<uint8_t>(v)), true;
  }
  int64_t v;
  const size_t where = in_.at();
  if (!in_.integer(v)) return false;
  const size_t before = out.size();
  put_value(v);
  out.resize(before + size_of(dtype));  // little-endian: the low bytes
  const int bits = static_cast<int>(size_of(dtype)) * 8;
  const bool fits = bits == 64 || (dtype == DType::u8 ? v >= 0 && v < 256 : v >= -(int64_t{1} << (bits - 1)) && v < (int64_t{1} << (bits - 1)));
  return fits || in_.fail_at(where, "{} does not fit into {}", v, name_of(dtype));
}

/// random<SEED>: for tests. Floats in [-1, 1), integers in 0..9, bool; the same on every machine.
bool Parser::random(const TensorType& t, std::vector<std::byte>& out) {
  uint32_t seed = 0;
  if (!in_.integer(seed)) return false;
  if (t.bytes() > greatest_random) return in_.fail("random<...> makes up to 4 MiB");
  std::mt19937 generate(seed);
  for (int64_t i = 0; i < t.shape.elements(); ++i) {
    const uint32_t r = generate();
    const double x = is_float(t.dtype) ? r / 2147483648.0 - 1 : is_bool(t.dtype) ? r % 2 : r % 10;
    const auto bytes = scalar_bytes(t.dtype, x);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return true;
}

bool Parser::constant_bytes(const TensorType& t, std::string_view form, size_t body, std::vector<std::byte>& out) {
  const size_t count = static_cast<size_t>(t.shape.elements()), size = static_cast<size_t>(t.bytes());
  in_.jump(body);
  if (form == "random") return random(t, out) && in_.expect(">");
  if (form == "hex" || form == "hex_splat") {
    const auto digits = in_.word();
    for (size_t i = 0; i + 1 < digits.size(); i += 2) {
      uint8_t byte = 0;
      const auto [p, error] = std::from_chars(digits.data() + i, digits.data() + i + 2, byte, 16);
      if (error != std::errc{} || p != digits.data() + i + 2) return in_.fail_at(body, "expected hexadecimal digits");
      out.push_back(std::byte{byte});
    }
  } else {
    for (bool first = true; in_.peek() != '>'; first = false) {
      if (in_.accept("..."))
        return in_.fail_at(body,
                           "the values of this constant were left out when the text was printed; write the graph with its weights (`mica compile "
                           "--emit=graph -o FILE`)");
      if ((!first && !in_.expect(",")) || !element(t.dtype, out)) return false;
    }
  }
  if (form == "splat" || form == "hex_splat") {
    const size_t one = static_cast<size_t>(size_of(t.dtype));
    if (out.size() != one) return in_.fail_at(body, "a splat takes one value");
    out.reserve(size);
    while (out.size() < size) out.insert(out.end(), out.begin(), out.begin() + static_cast<int64_t>(std::min(out.size(), size - out.size())));
    out.resize(size);
  }
  if (out.size() != size) return in_.fail_at(body, "{} values for {}, which has {}", out.size() / size_of(t.dtype), t.to_string(), count);
  return in_.expect(">");
}

bool Parser::constant(const std::string& text, size_t where) {
  std::string known = all_digits(text) ? "" : text;
  if (in_.peek() == '"' && !in_.string(known)) return false;
  const size_t form_at = in_.at();
  const auto form = in_.word();
  constexpr std::string_view forms[] = {"dense", "splat", "hex", "hex_splat", "random", "weights"};
  if (std::ranges::find(forms, form) == std::end(forms))
    return in_.fail_at(form_at, "expected dense<...>, splat<...>, hex<...>, random<...> or weights<...>");
  if (!in_.expect("<")) return false;
  // The type stands behind the data: look ahead for it, then read the data with it.
  const size_t body = in_.at();
  std::string key;
  if (form == "weights") key = in_.word();
  while (in_.peek() != '>' && !in_.end()) in_.jump(in_.at() + 1);
  TensorType t;
  if (!in_.expect(">") || !in_.expect(":") || !type(t)) return false;
  if (!t.shape.is_static()) return in_.fail_at(form_at, "a constant has no symbolic dimension");
  const size_t after = in_.at();
  ConstantData data;
  if (form == "weights") {
    if (!weights_) return in_.fail_at(body, "there is no file of weights beside this text");
    data = weights_->find(key);
    if (!data.keep || static_cast<int64_t>(data.bytes.size()) != t.bytes())
      return in_.fail_at(body, "the file of weights has no {} bytes under {}", t.bytes(), key);
    data.name = known;
  } else {
    if (t.bytes() > greatest_constant) return in_.fail_at(form_at, "a constant of more than 4 GiB stands in the file of weights");
    std::vector<std::byte> bytes;
    if (!constant_bytes(t, form, body, bytes)) return false;
    data = ConstantData::own(std::move(bytes), known);
  }
  in_.jump(after);
  return bind(text, where, graph_.add_constant(t, std::move(data)));
}

/// %NAME = state "name" %INITIAL : TYPE
bool Parser::state(const std::string& text, size_t where) {
  std::string known = all_digits(text) ? "" : text;
  if (depth_) return in_.fail_at(where, "a region has no state: hand it in, and its new value out");
  if (in_.peek() == '"' && !in_.string(known)) return false;
  const size_t at = in_.at();
  Value initial;
  TensorType t;
  if (!value(initial)) return false;
  if (!graph_.is_constant(initial)) return in_.fail_at(at, "a state begins as a constant");
  if (in_.accept(":")) {
    if (!type(t)) return false;
    if (t.dtype != graph_.type(initial).dtype || t.shape != graph_.type(initial).shape)
      return in_.fail_at(at, "the state is {}, but begins as {}", t.to_string(), graph_.type(initial).to_string());
  }
  return bind(text, where, graph_.add_state(initial, known));
}

/// update %STATE, %VALUE
bool Parser::update() {
  const size_t where = in_.at();
  Value input, output;
  if (!value(input) || !in_.expect(",") || !value(output)) return false;
  for (State& s : graph_.states)
    if (s.input == input) return s.output = output, true;
  return in_.fail_at(where, "`update` names no state");
}

bool Parser::attr(Attr& out) {
  return std::visit(
      [&](auto& x) -> bool {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, Value>) return value(x);
        else if constexpr (std::is_same_v<T, OptValue>) {
          if (in_.ahead() == "none") return in_.word(), x = {}, true;
          return value(x.value);
        } else if constexpr (std::is_same_v<T, Dim>) return size(x);
        else if constexpr (std::is_same_v<T, Values> || std::is_same_v<T, Ints> || std::is_same_v<T, Dims>) {
          x.items.clear();
          if (!in_.expect("[")) return false;
          while (!in_.accept("]")) {
            if (!x.items.empty() && !in_.expect(",")) return false;
            auto& item = x.items.emplace_back();
            if constexpr (std::is_same_v<T, Ints>) {
              if (!in_.integer(item)) return false;
            } else if constexpr (std::is_same_v<T, Dims>) {
              if (!size(item)) return false;
            } else if (!value(item)) return false;
          }
          return true;
        } else if constexpr (std::is_same_v<T, int64_t>) return in_.integer(x);
        else if constexpr (std::is_same_v<T, double>) return in_.real(x);
        else if constexpr (std::is_same_v<T, bool>) return in_.boolean(x);
        else if constexpr (std::is_same_v<T, DType>) {
          const size_t where = in_.at();
          const auto word = in_.word();
          const auto dtype = parse_dtype(word);
          if (dtype) x = *dtype;
          return dtype || in_.fail_at(where, "`{}` is no element type", word);
        } else if constexpr (std::is_same_v<T, Scalar>) {
          const auto word = in_.ahead();
          bool truth;
          double real;
          int64_t integer;
          if (word == "true" || word == "false") return in_.boolean(truth) && (x = Scalar(truth), true);
          const size_t start = in_.at();
          if (!in_.real(real)) return false;
          const size_t stop = in_.at();
          in_.jump(start);
          if (in_.integer(integer) && in_.at() == stop) return x = Scalar(integer), true;
          in_.jump(stop);
          return x = Scalar(real), true;
        } else if constexpr (std::is_same_v<T, Region>) {
          if (in_.ahead() == "none") return in_.word(), x = {}, true;
          if (depth_ >= greatest_nesting) return in_.fail("regions are nested more than {} deep", greatest_nesting);
          auto inner = Parser(in_, weights_, depth_ + 1, graph_.symbols).run();
          if (inner) x.graph = std::make_shared<Graph>(std::move(*inner));
          return static_cast<bool>(inner);
        } else return in_.string(x);
      },
      out);
}

bool Parser::arguments(Node& n) {
  const Signature& signature = n.info->spec->signature;
  std::vector<bool> given(signature.count);
  size_t next = 0;
  bool named = false;
  for (bool first = true; !in_.accept(")"); first = false) {
    if (!first && !in_.expect(",")) return false;
    const size_t where = in_.at();
    size_t i = next++;
    const auto word = in_.word();
    if (!word.empty() && in_.accept("=")) {
      named = true;
      i = std::ranges::find(signature.params.begin(), signature.params.begin() + signature.count, word) - signature.params.begin();
      if (i == signature.count)
        return in_.fail_at(where, "{} has no parameter `{}`; it has {}", signature.name, word,
                           fmt::join(signature.params.begin(), signature.params.begin() + signature.count, ", "));
    } else {
      in_.jump(where);
      if (named) return in_.fail_at(where, "an argument without a name stands behind one with a name");
      if (i >= signature.count) return in_.fail_at(where, "{} takes {} arguments", signature.name, signature.count);
    }
    if (given[i]) return in_.fail_at(where, "`{}` is given twice", signature.params[i]);
    given[i] = true;
    if (!attr(n.fields[i])) return false;
  }
  for (size_t i = 0; i < signature.count; ++i)
    if (auto v = std::get_if<Value>(&n.fields[i]); v && !*v) return in_.fail("{} needs the operand `{}`", signature.name, signature.params[i]);
  return true;
}

bool Parser::node_location(Node& n, size_t where, size_t stop) {
  Location l;
  const auto next = [&] { return in_.expect(","); };
  if (in_.ahead() == "loc") {
    in_.word();
    if (!(in_.expect("(") && in_.string(l.file) && next() && in_.integer(l.line) && next() && in_.integer(l.column) && next() &&
          in_.integer(l.length) && next() && in_.string(l.module_path) && next() && in_.string(l.source) && in_.expect(")")))
      return false;
  } else {
    l = in_.location(where, stop);
  }
  n.location = static_cast<uint32_t>(graph_.locations.size());
  graph_.locations.push_back(std::move(l));
  return true;
}

bool Parser::op(const std::vector<std::pair<std::string, size_t>>& names, std::string_view op_name, size_t where) {
  Node n;
  n.info = find_op(op_name);
  if (!n.info) return in_.fail_at(where, "there is no op `{}`", op_name);
  n.fields = n.info->defaults();
  if (!in_.expect("(") || !arguments(n)) return false;
  const size_t stop = in_.at();
  std::vector<TensorType> types;
  if (in_.accept(":")) do {
      if (!type(types.emplace_back())) return false;
    } while (in_.accept(","));
  if (!node_location(n, where, stop)) return false;
  if (types.empty()) {
    auto inferred = n.info->infer(n, Infer(graph_, n, in_.diagnostics()));
    if (!inferred) return false;
    types = std::move(*inferred);
  }
  if (types.size() != names.size()) return in_.fail_at(where, "{} results are named, but there are {} types", names.size(), types.size());
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& [text, at] = names[i];
    n.results.push_back(graph_.add_value(types[i], all_digits(text) ? "" : text));
    if (!bind(text, at, n.results.back())) return false;
  }
  graph_.nodes.push_back(std::move(n));
  return true;
}

bool Parser::finish_return() {
  if (in_.peek() == '%') do {
      Value v;
      std::string text;
      if (!value(v) || (in_.peek() == '"' && !in_.string(text))) return false;
      graph_.outputs.push_back(v);
      graph_.output_names.push_back(std::move(text));
    } while (in_.accept(","));
  return in_.expect("}");
}

bool Parser::statement(bool& done) {
  if (in_.peek() != '%') {
    const size_t where = in_.at();
    const auto word = in_.word();
    if (word == "update") return update();
    if (word == "return") return done = true, finish_return();
    if (word == "inputs") return in_.string(graph_.input_structure.text);
    if (word == "outputs") return in_.string(graph_.output_structure.text);
    if (!word.empty() && find_op(word)) return op({}, word, where);
    return in_.fail_at(where, "expected `%NAME = ...` or `return`");
  }
  std::vector<std::pair<std::string, size_t>> names;
  do {
    auto& [text, where] = names.emplace_back();
    if (!name(text, where)) return false;
  } while (in_.accept(","));
  if (!in_.expect("=")) return false;
  const size_t where = in_.at();
  const auto word = in_.word();
  if (word == "constant") {
    if (names.size() != 1) return in_.fail_at(where, "a constant is one value");
    return constant(names[0].first, names[0].second);
  }
  if (word == "state") return names.size() == 1 ? state(names[0].first, names[0].second) : in_.fail_at(where, "a state is one value");
  return op(names, word, where);
}

Result<Graph> Parser::run() {
  if (!header()) return Failure{};
  for (bool done = false; !done;)
    if (!statement(done)) return Failure{};
  graph_.renumber();
  return std::move(graph_);
}

}  // namespace

Result<Graph> parse_graph_with(std::string_view text, const std::string& file_name, const WeightsFile* weights, Diagnostics& diagnostics) {
  Reader in(text, file_name, diagnostics);
  auto graph = Parser(in, weights, 0).run();
  if (graph && !in.end()) {
    in.fail("expected the end of the text");
    return Failure{};
  }
  return graph;
}

Result<Graph> parse_graph(std::string_view text, const std::string& file_name, Diagnostics& diagnostics) {
  return parse_graph_with(text, file_name, nullptr, diagnostics);
}

}  // namespace mica
