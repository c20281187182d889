// Reads the text of kernels and programs back. The grammar is what text.cpp and to_string(Expr) print.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "mica/ir/fault.h"
#include "mica/kernel/text.h"

namespace mica {

namespace {

/// Ends a parse; caught where the parse began and never leaves this file.
struct SyntaxError {
  std::string message;
};

constexpr int greatest_nesting = 64;

class Parser {
 public:
  Parser(std::string_view text, Diagnostics& diagnostics) : text_(text), diagnostics_(diagnostics) {}

  template <class F> auto guarded(F&& f) -> Result<decltype(f())> {
    try {
      return f();
    } catch (const SyntaxError& e) {
      const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n');
      Location where;
      where.file = "kernel text";
      where.line = static_cast<int>(line);
      diagnostics_.error("kernel-syntax", "{}", e.message).at(where);
      return Failure{};
    }
  }

  Kernel kernel() {
    Kernel k;
    vars_.clear();
    expect("kernel");
    k.name = until('(');
    expect("(");
    while (!accept(")")) {
      k.buffers.push_back(buffer(k.buffers.size()));
      accept(",");
    }
    kernel_ = &k;
    if (accept("tasks")) {
      const std::string name = word();
      expect("in");
      expect("[");
      expect("0");
      expect(",");
      k.tasks = size();
      expect(")");
      k.task = bind(name, 0, k.tasks.high(), DType::i64);
    }
    expect("{");
    while (accept("local")) {
      if (accept("tile")) k.tiles.push_back(tile_shape(k.tiles.size()));
      else k.buffers.push_back(buffer(k.buffers.size()));
    }
    k.body = block();
    expect("}");
    return k;
  }

  Program program() {
    Program p;
    expect("program");
    expect("arena");
    p.arena_bytes = integer();
    expect("weights");
    p.weights_bytes = integer();
    if (accept("prepared")) p.prepared_bytes = integer();
    if (accept("state")) {
      p.state_bytes = integer();
      expect("at");
      p.state_init_at = integer();
    }
    while (accept("symbol")) {
      Symbol s;
      expect("$");
      s.name = word();
      expect("in");
      expect("[");
      s.low = integer();
      expect(",");
      s.high = integer();
      expect("]");
      if (accept("up")) {
        expect("to");
        s.bound = size();
      }
      p.symbols.push_back(s);
      symbols_ = p.symbols;
    }
    while (accept("derived")) p.derived.push_back(size());
    while (accept("slot")) {
      p.slots.push_back(size());
      expect("bytes");
    }
    while (accept("weight")) {
      Weight w;
      expect("+");
      w.offset = integer();
      w.bytes = integer();
      expect("bytes");
      w.name = quoted();
      p.weights.push_back(std::move(w));
    }
    while (accept("fault")) {
      if (integer() != static_cast<int64_t>(p.fault_sites.size())) fail("fault sites are numbered from 0");
      p.fault_sites.push_back(quoted());
    }
    while (peek("kernel ")) p.kernels.push_back(kernel());
    if (accept("load")) {
      expect("{");
      p.load_steps = steps(p, 0);
    }
    while (!at_end()) p.steps.push_back(step(p, 0));
    return p;
  }

  bool at_end() {
    skip();
    return at_ == text_.size();
  }
  [[noreturn]] void fail(std::string message) { throw SyntaxError{std::move(message)}; }

 private:
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool peek(std::string_view token) {
    skip();
    return text_.substr(at_).starts_with(token);
  }
  static bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.'; }
  /// A token that is a word must end where the text's word ends.
  bool accept(std::string_view token) {
    if (!peek(token)) return false;
    const size_t end = at_ + token.size();
    if (is_word(token.back()) && end < text_.size() && is_word(text_[end])) return false;
    at_ = end;
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) fail(fmt::format("expected '{}' before '{}'", token, text_.substr(at_, std::min(text_.find('\n', at_), at_ + 24) - at_)));
  }
  std::string until(char stop) {
    skip();
    const size_t end = text_.find(stop, at_);
    if (end == std::string_view::npos) fail(fmt::format("expected '{}'", stop));
    std::string s(text_.substr(at_, end - at_));
    at_ = end;
    while (!s.empty() && s.back() == ' ') s.pop_back();
    return s;
  }
  std::string word() {
    skip();
    const size_t start = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    if (start == at_) fail(fmt::format("expected a name before '{}'", text_.substr(at_, 16)));
    return std::string(text_.substr(start, at_ - start));
  }
  int64_t integer() {
    skip();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc()) fail("expected an integer");
    at_ = static_cast<size_t>(end - text_.data());
    return value;
  }
  std::string quoted() {
    expect("\"");
    const size_t end = text_.find('"', at_);
    if (end == std::string_view::npos) fail("text in quotes does not end");
    std::string s(text_.substr(at_, end - at_));
    at_ = end + 1;
    return s;
  }

  /// "f32", "f32x16"
  ExprType type() {
    const std::string name = word();
    const size_t x = name.find('x');
    ExprType t;
    const auto dtype = parse_dtype(name.substr(0, x));
    if (!dtype) fail(fmt::format("'{}' is not a type", name));
    t.dtype = *dtype;
    t.lanes = x == std::string::npos ? 1 : std::atoi(name.c_str() + x + 1);
    if (t.lanes < 1) fail(fmt::format("'{}' is not a type", name));
    return t;
  }

  Buffer buffer(size_t index) {
    Buffer b;
    expect("%");
    if (integer() != static_cast<int64_t>(index)) fail("buffers are numbered from 0, in order");
    b.name = until(':');
    expect(":");
    b.element = type();
    expect("[");
    b.elements = size();
    expect("]");
    if (accept("stack")) b.memory = Memory::stack;
    else if (accept("registers")) b.memory = Memory::registers;
    else if (accept("write")) b.written = true;
    else expect("read");
    expect("align");
    b.alignment = integer();
    return b;
  }

  Dim size() {
    const Expr e = expression();
    if (!is_size(e)) fail(fmt::format("'{}' is no size", to_string(e)));
    return Dim::of(e);
  }

  /// "$S"
  Expr symbol() {
    const std::string name = word();
    for (size_t k = 0; k < symbols_.size(); ++k) {
      if (symbols_[k].name == name) return Dim::symbol(static_cast<int32_t>(k), name, symbols_[k].low, symbols_[k].high);
    }
    fail(fmt::format("there is no symbol ${}", name));
  }

  Expr bind(const std::string& text, int64_t low, int64_t limit, DType dtype) {
    const size_t dot = text.rfind('.');
    const Expr var = make_var(text.substr(0, dot), low, limit, dtype);
    vars_[text] = var;
    return var;
  }

  std::vector<Stmt> block() {
    std::vector<Stmt> body;
    while (!peek("}")) {
      if (at_end()) fail("a block does not end");
      body.push_back(statement());
    }
    return body;
  }

  Stmt statement() {
    if (accept("for")) {
      const std::string name = word();
      expect("in");
      expect("[");
      const Expr low = expression();
      expect(",");
      const Expr high = expression();
      expect(")");
      expect("step");
      const Expr step = expression();
      const bool unrolled = accept("unrolled");
      const auto l = bounds(low), h = bounds(high);
      const Expr var = bind(name, l ? l->low : std::numeric_limits<int64_t>::min(), h ? h->high : std::numeric_limits<int64_t>::max(), DType::i64);
      expect("{");
      std::vector<Stmt> body = block();
      expect("}");
      return Stmt::loop(var, low, high, step, std::move(body), unrolled ? ForKind::unrolled : ForKind::serial);
    }
    if (accept("let")) {
      const std::string name = word();
      expect("=");
      const Expr value = expression();
      const auto range = value->type == ExprType{} ? bounds(value) : std::nullopt;
      Expr var = bind(name, range ? range->low : std::numeric_limits<int64_t>::min(), range ? range->high + 1 : std::numeric_limits<int64_t>::max(),
                      value->type.dtype);
      if (value->type.lanes > 1) {
        // make_var makes scalars; a vector variable is the same node with lanes.
        ExprNode node = *var;
        node.type.lanes = value->type.lanes;
        var = Expr(std::make_shared<const ExprNode>(std::move(node)));
        vars_[name] = var;
      }
      return Stmt::let(var, value, block());
    }
    if (accept("if")) {
      const Expr condition = expression();
      expect("{");
      std::vector<Stmt> then = block(), otherwise;
      expect("}");
      if (accept("else")) {
        expect("{");
        otherwise = block();
        expect("}");
      }
      return Stmt::branch(condition, std::move(then), std::move(otherwise));
    }
    if (accept("check")) {
      const Expr condition = expression();
      expect("else");
      expect("fault");
      const int64_t site = integer();
      const int64_t code = accept("code") ? integer() : 1;
      expect("of");
      Stmt check = Stmt::check(condition, static_cast<int32_t>(site), accept("<none>") ? Expr() : expression());
      check.fault_code = static_cast<int32_t>(code);
      return check;
    }
    if (accept("tile")) return tile_statement();
    const bool prefetch = accept("prefetch");
    const uint32_t target = buffer_number();
    const Expr index = place();
    if (prefetch) return Stmt::prefetch(target, index);
    expect("=");
    const Expr value = expression();
    // A mask stands on the store's own line; an `if` on the next one is a statement.
    const bool masked = text_.substr(at_, text_.find('\n', at_) - at_).find_first_not_of(' ') != std::string_view::npos && accept("if");
    return Stmt::store(target, index, value, masked ? expression() : Expr());
  }

  uint32_t buffer_number() {
    expect("%");
    const int64_t number = integer();
    if (number < 0 || number >= static_cast<int64_t>(kernel_->buffers.size())) fail(fmt::format("there is no buffer %{}", number));
    return static_cast<uint32_t>(number);
  }

  /// "[i]"
  Expr place() {
    expect("[");
    const Expr index = expression();
    expect("]");
    return index;
  }

  TileShape tile_shape(size_t number) {
    TileShape shape;
    if (integer() != static_cast<int64_t>(number)) fail("tiles are numbered from 0, in order");
    expect("has");
    shape.rows = static_cast<int32_t>(integer());
    expect("rows");
    expect("of");
    shape.bytes = static_cast<int32_t>(integer());
    expect("bytes");
    return shape;
  }

  uint32_t tile_number() {
    const int64_t number = integer();
    if (number < 0 || number >= static_cast<int64_t>(kernel_->tiles.size())) fail(fmt::format("there is no tile {}", number));
    return static_cast<uint32_t>(number);
  }

  /// What stands behind "tile".
  Stmt tile_statement() {
    const uint32_t tile = tile_number();
    if (accept("+=")) {
      expect("dot2");
      expect("(");
      const uint32_t left = tile_number();
      expect(",");
      const uint32_t right = tile_number();
      expect(")");
      return Stmt::tile_dot(tile, left, right);
    }
    const bool store = accept("store");
    if (!store) {
      expect("=");
      if (accept("0")) return Stmt::tile_zero(tile);
      expect("load");
    }
    const uint32_t buffer = buffer_number();
    const Expr index = place();
    expect("rows");
    const Expr step = expression();
    return store ? Stmt::tile_store(tile, buffer, index, step) : Stmt::tile_load(tile, buffer, index, step);
  }

  Expr binary(ExprOp op, const Expr& a, const Expr& b) {
    const bool fits = a->type.dtype == b->type.dtype && (a->type.lanes == b->type.lanes || a->type.lanes == 1 || b->type.lanes == 1);
    if (!fits) fail(fmt::format("{} of {} and {}", name_of(op), to_string(a), to_string(b)));
    return make_binary(op, a, b);
  }

  /// "(a + b)"
  Expr infix() {
    const Expr a = expression();
    struct Symbol {
      std::string_view text;
      ExprOp op;
    };
    constexpr Symbol symbols[] = {{"//", ExprOp::floordiv}, {"<=", ExprOp::le},      {">=", ExprOp::ge}, {"==", ExprOp::eq},
                                  {"!=", ExprOp::ne},       {"+", ExprOp::add},      {"-", ExprOp::sub}, {"*", ExprOp::mul},
                                  {"/", ExprOp::div},       {"%", ExprOp::floormod}, {"<", ExprOp::lt},  {">", ExprOp::gt}};
    for (const Symbol& s : symbols) {
      if (!accept(s.text)) continue;
      const Expr b = expression();
      expect(")");
      return binary(s.op, a, b);
    }
    expect(")");
    return a;
  }

  Expr number() {
    const char* first = text_.data() + at_;
    const char* last = text_.data() + text_.size();
    double real = 0;
    const auto as_real = std::from_chars(first, last, real);
    int64_t whole = 0;
    const auto as_int = std::from_chars(first, last, whole);
    if (as_real.ec != std::errc() && as_int.ec != std::errc()) fail("expected a number");
    at_ += static_cast<size_t>((as_real.ec == std::errc() ? as_real.ptr : as_int.ptr) - first);
    if (at_ >= text_.size() || text_[at_] != ':') {
      if (as_int.ptr != as_real.ptr) fail("a number that is not an integer needs its type: 1.5:f32");
      return imm_i(DType::i64, whole);
    }
    ++at_;
    const ExprType t = type();
    return is_float(t.dtype) ? imm(t.dtype, real) : imm_i(t.dtype, whole);
  }

  std::vector<Expr> arguments() {
    std::vector<Expr> args;
    while (!accept(")")) {
      args.push_back(expression());
      accept(",");
    }
    return args;
  }

  Expr expression() {
    skip();
    if (accept("(")) return infix();
    if (accept("$")) return symbol();
    if (at_ < text_.size() && (std::isdigit(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-' || peek("inf:") || peek("nan:")))
      return number();
    const std::string name = word();
    if (const auto var = vars_.find(name); var != vars_.end()) return var->second;
    if (name == "load") return load();
    if (name == "cast" || name == "bitcast") {
      expect("<");
      const ExprType t = type();
      expect(">");
      expect("(");
      const Expr x = expression();
      expect(")");
      if (name == "bitcast" && size_of(t.dtype) * t.lanes != size_of(x->type.dtype) * x->type.lanes) fail("bitcast between types of different size");
      return name == "cast" ? cast(t.dtype, x) : bitcast(t.dtype, x);
    }
    if (name == "horizontal") {
      const std::string reduction = word();
      expect("(");
      const Expr x = expression();
      expect(")");
      for (ReduceOp op : {ReduceOp::sum, ReduceOp::prod, ReduceOp::max, ReduceOp::min, ReduceOp::any, ReduceOp::all}) {
        if (name_of(op) == reduction) return make_horizontal(op, x);
      }
      fail(fmt::format("'{}' is not a reduction", reduction));
    }
    expect("(");
    if (name == "checked_index") {
      const Expr index = expression();
      expect(",");
      const Expr extent = expression();
      expect(",");
      const bool divisor = accept("divisor");
      if (divisor) expect(",");
      expect("site");
      expect("=");
      const int64_t site = integer();
      const Expr mask = following_mask();
      Expr check = divisor ? check_divisor(imm_i(DType::b8, 1), "") : checked_index(index, extent, "");
      if (mask) check = masked_check(*check, mask);
      return with_index(*check, index, static_cast<uint32_t>(site));
    }
    return call(name, arguments());
  }

  Expr load() {
    expect("<");
    const ExprType t = type();
    expect(">");
    expect("(");
    const uint32_t source = buffer_number();
    expect(",");
    const Expr index = expression();
    return make_load(source, t, {index}, following_mask());
  }

  /// ", mask=...)" or ")".
  Expr following_mask() {
    Expr mask;
    if (accept(",")) {
      expect("mask");
      expect("=");
      mask = expression();
    }
    expect(")");
    return mask;
  }

  Expr call(const std::string& name, const std::vector<Expr>& args) {
    const auto arity = [&](size_t n) {
      if (args.size() != n) fail(fmt::format("{} takes {} operands, not {}", name, n, args.size()));
    };
    if (name == "ramp" || name == "broadcast") {
      arity(name == "ramp" ? 3 : 2);
      const auto lanes = constant_int(args.back());
      if (!lanes || *lanes < 1 || *lanes > 1024) fail(fmt::format("the number of lanes of {} is not a number", name));
      return name == "ramp" ? make_ramp(args[0], args[1], static_cast<int32_t>(*lanes)) : make_broadcast(args[0], static_cast<int32_t>(*lanes));
    }
    for (int op = static_cast<int>(ExprOp::neg); op <= static_cast<int>(ExprOp::dot4); ++op) {
      const auto o = static_cast<ExprOp>(op);
      if (name_of(o) != name) continue;
      if (o <= ExprOp::bnot) return arity(1), make_unary(o, args[0]);
      if (o <= ExprOp::lor) return arity(2), binary(o, args[0], args[1]);
      arity(3);
      if (o == ExprOp::select) return select(args[0], args[1], args[2]);
      if (o == ExprOp::fma) return fma(args[0], args[1], args[2]);
      return make_dot(o, args[0], args[1], args[2]);
    }
    fail(fmt::format("'{}' is neither a variable nor a function", name));
  }

  Binding binding() {
    Binding b;
    if (peek("slot")) {
      at_ += 4;
      b.slot = static_cast<int32_t>(integer());
      if (b.slot < 0) fail("slots are numbered from 0");
      if (accept("+")) b.offset = integer();
      return b;
    }
    constexpr std::pair<std::string_view, Binding::Space> spaces[] = {{"arena", Binding::Space::arena},       {"weights", Binding::Space::weights},
                                                                      {"prepared", Binding::Space::prepared}, {"state", Binding::Space::state},
                                                                      {"trip", Binding::Space::trip},         {"io", Binding::Space::io}};
    for (const auto& [word, space] : spaces) {
      if (!peek(word)) continue;
      at_ += word.size();
      b.space = space;
      if (space == Binding::Space::io || space == Binding::Space::trip) b.io = static_cast<uint32_t>(integer());
      if (accept("+")) b.offset = integer();
      return b;
    }
    fail("expected arena, weights, prepared, io, state or trip");
  }

  void label(Step& s) {
    if (!accept("//")) return;
    const size_t end = std::min(text_.find('\n', at_), text_.size());
    s.label = std::string(text_.substr(std::min(at_ + 1, end), end - std::min(at_ + 1, end)));
    at_ = end;
  }

  std::vector<Step> steps(const Program& p, uint32_t depth) {
    if (nesting_ == greatest_nesting) fail(fmt::format("steps are nested more than {} deep", greatest_nesting));
    ++nesting_;
    std::vector<Step> out;
    while (!accept("}")) out.push_back(step(p, depth));
    --nesting_;
    return out;
  }

  Step control(const Program& p, Step s, uint32_t depth) {
    if (s.kind == Step::Kind::branch) {
      s.condition = binding();
    } else {
      if (!peek("trip")) fail("expected trip and the number of loops around this one");
      at_ += 4;
      s.depth = static_cast<uint32_t>(integer());
      if (s.depth != depth) fail(fmt::format("{} loops stand around this one", depth));
      ++depth;
      if (accept("to")) s.trips = binding();
      if (accept("if")) s.condition = binding();
      if (accept("while")) s.go_on = binding();
      if (accept("stop")) s.stop = binding();
    }
    expect("{");
    label(s);
    s.body = steps(p, depth);
    if (s.kind == Step::Kind::branch && accept("else")) {
      expect("{");
      s.otherwise = steps(p, depth);
    }
    return s;
  }

  Step measure(const Program& p, Step s) {
    s.kind = Step::Kind::measure;
    expect("$");
    const std::string name(word());
    for (s.symbol = 0; s.symbol < p.symbols.size() && p.symbols[s.symbol].name != name;) ++s.symbol;
    if (s.symbol == p.symbols.size()) fail(fmt::format("there is no symbol '{}'", name));
    expect("from");
    s.count = binding();
    label(s);
    return s;
  }

  Step step(const Program& p, uint32_t depth) {
    Step s;
    s.barrier = accept("barrier;");
    if (accept("if ")) s.kind = Step::Kind::branch;
    else if (accept("loop ")) s.kind = Step::Kind::loop;
    else if (accept("measure ")) return measure(p, std::move(s));
    if (s.kind != Step::Kind::call) return control(p, std::move(s), depth);
    const std::string name = until('(');
    for (s.kernel = 0; s.kernel < p.kernels.size() && p.kernels[s.kernel].name != name;) ++s.kernel;
    if (s.kernel == p.kernels.size()) fail(fmt::format("there is no kernel '{}'", name));
    expect("(");
    while (!accept(")")) {
      s.bindings.push_back(binding());
      accept(",");
    }
    label(s);
    return s;
  }

  std::string_view text_;
  size_t at_ = 0;
  Diagnostics& diagnostics_;
  const Kernel* kernel_ = nullptr;
  int nesting_ = 0;
  std::vector<Symbol> symbols_;
  std::unordered_map<std::string, Expr> vars_;
};

}  // namespace

Result<Kernel> parse_kernel(std::string_view text, Diagnostics& diagnostics) {
  Parser parser(text, diagnostics);
  return parser.guarded([&] {
    Kernel k = parser.kernel();
    if (!parser.at_end()) parser.fail("text behind the kernel");
    return k;
  });
}

Result<Program> parse_program(std::string_view text, Diagnostics& diagnostics) {
  Parser parser(text, diagnostics);
  return parser.guarded([&] { return parser.program(); });
}

}  // namespace mica
