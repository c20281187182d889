#include "mica/ir/expr.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "mica/ir/dim.h"
#include "mica/ir/fault.h"
#include "mica/support/check.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

size_t mix(size_t seed, size_t value) { return seed ^ (value + 0x9e3779b97f4a7c15ull + (seed << 6) + (seed >> 2)); }

Expr finish(ExprNode node) {
  size_t h = static_cast<size_t>(node.op) * 131 + static_cast<size_t>(node.type.dtype) * 17 + static_cast<size_t>(node.type.lanes);
  h = mix(h, static_cast<size_t>(node.reduce_op));
  h = mix(h, static_cast<size_t>(node.int_value));
  h = mix(h, std::hash<double>{}(node.float_value));
  h = mix(h, node.id);
  h = mix(h, static_cast<size_t>(node.limit) + node.masked);
  for (const Expr& a : node.args) h = mix(h, a->hash);
  for (const Expr& v : node.vars) h = mix(h, v->id);
  node.hash = h;
  return Expr(std::make_shared<const ExprNode>(std::move(node)));
}

bool is_comparison(ExprOp op) { return op >= ExprOp::lt && op <= ExprOp::ne; }

/// Gives both the same number of lanes.
void match_lanes(Expr& a, Expr& b) {
  if (a->type.lanes == b->type.lanes) return;
  if (a->type.lanes == 1) a = make_broadcast(a, b->type.lanes);
  else if (b->type.lanes == 1) b = make_broadcast(b, a->type.lanes);
  else MICA_CHECK(false, "vectors of different length in one expression");
}

int64_t wrap_to(DType dtype, int64_t v) {
  switch (dtype) {
    case DType::i32: return static_cast<int32_t>(v);
    case DType::i16: return static_cast<int16_t>(v);
    case DType::i8: return static_cast<int8_t>(v);
    case DType::u8: return static_cast<uint8_t>(v);
    case DType::b8: return v != 0;
    default: return v;
  }
}

int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

std::optional<int64_t> fold_int(ExprOp op, int64_t a, int64_t b) {
  const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  const bool divides = b != 0 && !(b == -1 && a == std::numeric_limits<int64_t>::min());
  switch (op) {
    case ExprOp::add: return static_cast<int64_t>(ua + ub);
    case ExprOp::sub: return static_cast<int64_t>(ua - ub);
    case ExprOp::mul: return static_cast<int64_t>(ua * ub);
    case ExprOp::div: return divides ? std::optional(a / b) : std::nullopt;
    case ExprOp::floordiv: return divides ? std::optional(floor_div(a, b)) : std::nullopt;
    case ExprOp::floormod: return divides ? std::optional(a - floor_div(a, b) * b) : std::nullopt;
    case ExprOp::min: return std::min(a, b);
    case ExprOp::max: return std::max(a, b);
    case ExprOp::lt: return a < b;
    case ExprOp::le: return a <= b;
    case ExprOp::gt: return a > b;
    case ExprOp::ge: return a >= b;
    case ExprOp::eq: return a == b;
    case ExprOp::ne: return a != b;
    case ExprOp::land: return a && b;
    case ExprOp::lor: return a || b;
    default: return std::nullopt;
  }
}

/// Results that need no node: neutral and absorbing integer operands, decided conditions.
Expr shortcut(ExprOp op, const Expr& a, const Expr& b) {
  const auto ca = constant_int(a), cb = constant_int(b);
  if (a->op == ExprOp::imm_int && b->op == ExprOp::imm_int) {
    if (auto v = fold_int(op, *ca, *cb)) {
      const DType dtype = is_comparison(op) || op == ExprOp::land || op == ExprOp::lor ? DType::b8 : a->type.dtype;
      return imm_i(dtype, *v);
    }
  }
  if (is_float(a->type.dtype)) return {};
  switch (op) {
    case ExprOp::add: return ca == 0 ? b : cb == 0 ? a : Expr();
    case ExprOp::sub: return cb == 0 ? a : Expr();
    case ExprOp::mul: return ca == 1 ? b : cb == 1 ? a : ca == 0 ? a : cb == 0 ? b : Expr();
    case ExprOp::floordiv:
    case ExprOp::div: return cb == 1 ? a : Expr();
    case ExprOp::land: return ca == 0 ? a : cb == 0 ? b : ca == 1 ? b : cb == 1 ? a : Expr();
    case ExprOp::lor: return ca == 1 ? a : cb == 1 ? b : ca == 0 ? b : cb == 0 ? a : Expr();
    default: return {};
  }
}

}  // namespace

Expr Expr::index_immediate(int64_t value) { return imm_i(DType::i64, value); }

Expr imm(DType dtype, double value) {
  if (!is_float(dtype)) return imm_i(dtype, static_cast<int64_t>(value));
  ExprNode n{.op = ExprOp::imm_float, .type = {dtype, 1}, .args = {}, .name = {}, .vars = {}, .extent = {}};
  n.float_value = value;
  return finish(std::move(n));
}

Expr imm_i(DType dtype, int64_t value) {
  if (is_float(dtype)) return imm(dtype, static_cast<double>(value));
  ExprNode n{.op = ExprOp::imm_int, .type = {dtype, 1}, .args = {}, .name = {}, .vars = {}, .extent = {}};
  n.int_value = wrap_to(dtype, value);
  return finish(std::move(n));
}

Expr make_var(std::string name, int64_t low, int64_t limit, DType dtype) {
  static std::atomic<uint32_t> next{1};
  return make_numbered_var(next++, std::move(name), low, limit, dtype);
}

Expr make_numbered_var(uint32_t id, std::string name, int64_t low, int64_t limit, DType dtype) {
  ExprNode n{.op = ExprOp::var, .type = {dtype, 1}, .args = {}, .name = std::move(name), .vars = {}, .extent = {}};
  n.int_value = low;
  n.limit = limit;
  n.id = id;
  return finish(std::move(n));
}

Expr make_load(uint32_t source, ExprType type, std::vector<Expr> indices, Expr mask) {
  ExprNode n{.op = ExprOp::load, .type = type, .args = std::move(indices), .name = {}, .vars = {}, .extent = {}};
  n.id = source;
  if (mask) {
    n.masked = true;
    n.args.push_back(std::move(mask));
  }
  return finish(std::move(n));
}

Expr make_unary(ExprOp op, Expr x) {
  ExprType type = x->type;
  if (op == ExprOp::isnan || op == ExprOp::lnot) type.dtype = DType::b8;
  if (x->op == ExprOp::imm_int && op == ExprOp::neg) return imm_i(type.dtype, -x->int_value);
  if (x->op == ExprOp::imm_int && op == ExprOp::lnot) return imm_i(DType::b8, !x->int_value);
  if (x->op == ExprOp::imm_float && op == ExprOp::neg) return imm(type.dtype, -x->float_value);
  ExprNode n{.op = op, .type = type, .args = {std::move(x)}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr make_binary(ExprOp op, Expr a, Expr b) {
  if (Expr e = shortcut(op, a, b); e && e->type.lanes == std::max(a->type.lanes, b->type.lanes)) return e;
  match_lanes(a, b);
  MICA_CHECK(a->type.dtype == b->type.dtype,
             fmt::format("{} of {} and {}: {} | {}", name_of(op), name_of(a->type.dtype), name_of(b->type.dtype), to_string(a), to_string(b)));
  ExprType type = a->type;
  if (is_comparison(op) || op == ExprOp::land || op == ExprOp::lor) type.dtype = DType::b8;
  ExprNode n{.op = op, .type = type, .args = {std::move(a), std::move(b)}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr make_reduce(ReduceOp op, std::vector<Expr> vars, Expr body) {
  ExprNode n{.op = ExprOp::reduce, .reduce_op = op, .type = body->type, .args = {std::move(body)}, .name = {}, .vars = std::move(vars), .extent = {}};
  return finish(std::move(n));
}

Expr make_ramp(Expr base, Expr stride, int32_t lanes) {
  if (lanes == 1) return base;
  ExprNode n{.op = ExprOp::ramp, .type = {base->type.dtype, lanes}, .args = {base, stride}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr make_broadcast(Expr x, int32_t lanes) {
  if (lanes == x->type.lanes) return x;
  MICA_CHECK(x->type.lanes == 1);
  ExprNode n{.op = ExprOp::broadcast, .type = {x->type.dtype, lanes}, .args = {x}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr make_horizontal(ReduceOp op, Expr x) {
  if (x->type.lanes == 1) return x;
  ExprNode n{.op = ExprOp::horizontal, .reduce_op = op, .type = {x->type.dtype, 1}, .args = {x}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr make_dot(ExprOp op, Expr a, Expr b, Expr c) {
  const ExprType type = c->type;
  ExprNode n{.op = op, .type = type, .args = {std::move(a), std::move(b), std::move(c)}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr checked_index(Expr index, Expr extent, std::string fault_text, uint32_t site) {
  ExprNode n{.op = ExprOp::checked_index, .type = index->type, .args = {std::move(index)}, .name = std::move(fault_text), .vars = {}, .extent = {}};
  if (const auto known = constant_int(extent)) {
    n.limit = *known;
  } else {
    const auto range = bounds(extent);
    n.limit = range ? range->high : INT64_MAX;
    n.extent = std::move(extent);
  }
  n.id = site;
  return finish(std::move(n));
}

Expr with_index(const ExprNode& check, Expr index, uint32_t site) {
  ExprNode n = check;
  if (n.masked) match_lanes(index, n.args[1]);
  n.type = index->type;
  n.args[0] = std::move(index);
  n.id = site;
  return finish(std::move(n));
}

Expr masked_check(const ExprNode& check, Expr mask) {
  ExprNode n = check;
  match_lanes(n.args[0], mask);
  n.type = n.args[0]->type;
  n.args.resize(1);
  n.args.push_back(std::move(mask));
  n.masked = true;
  return finish(std::move(n));
}

Expr check_divisor(Expr zero, std::string text) {
  ExprNode n = *checked_index(select(std::move(zero), Expr(-1), Expr(0)), 1, std::move(text));
  n.int_value = 1;
  return finish(std::move(n));
}

Expr select(Expr condition, Expr a, Expr b) {
  if (condition->op == ExprOp::imm_int) return condition->int_value ? a : b;
  if (a.same(b)) return a;
  match_lanes(a, b);
  match_lanes(condition, a);
  match_lanes(a, b);
  MICA_CHECK(a->type.dtype == b->type.dtype, "select of two dtypes");
  const ExprType type = a->type;
  ExprNode n{.op = ExprOp::select, .type = type, .args = {std::move(condition), std::move(a), std::move(b)}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr fma(Expr a, Expr b, Expr c) {
  match_lanes(a, b);
  match_lanes(b, c);
  match_lanes(a, b);
  const ExprType type = a->type;
  ExprNode n{.op = ExprOp::fma, .type = type, .args = {std::move(a), std::move(b), std::move(c)}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr cast(DType dtype, Expr x) {
  if (x->type.dtype == dtype) return x;
  if (x->op == ExprOp::imm_int) return is_float(dtype) ? imm(dtype, static_cast<double>(x->int_value)) : imm_i(dtype, x->int_value);
  if (x->op == ExprOp::imm_float && (dtype == DType::f64 || (dtype == DType::f32 && x->type.dtype == DType::f64))) {
    return imm(dtype, dtype == DType::f32 ? static_cast<double>(static_cast<float>(x->float_value)) : x->float_value);
  }
  const ExprType type = {dtype, x->type.lanes};
  ExprNode n{.op = ExprOp::cast, .type = type, .args = {std::move(x)}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr bitcast(DType dtype, Expr x) {
  if (x->type.dtype == dtype) return x;
  const int64_t bytes = x->type.lanes * size_of(x->type.dtype);
  MICA_CHECK(bytes % size_of(dtype) == 0, "bitcast between types of different size");
  const ExprType type = {dtype, static_cast<int32_t>(bytes / size_of(dtype))};
  ExprNode n{.op = ExprOp::bitcast, .type = type, .args = {std::move(x)}, .name = {}, .vars = {}, .extent = {}};
  return finish(std::move(n));
}

Expr operator+(Expr a, Expr b) { return make_binary(ExprOp::add, std::move(a), std::move(b)); }
Expr operator-(Expr a, Expr b) { return make_binary(ExprOp::sub, std::move(a), std::move(b)); }
Expr operator*(Expr a, Expr b) { return make_binary(ExprOp::mul, std::move(a), std::move(b)); }
Expr operator/(Expr a, Expr b) { return make_binary(ExprOp::div, std::move(a), std::move(b)); }
Expr operator-(Expr x) { return make_unary(ExprOp::neg, std::move(x)); }
Expr operator<(Expr a, Expr b) { return make_binary(ExprOp::lt, std::move(a), std::move(b)); }
Expr operator<=(Expr a, Expr b) { return make_binary(ExprOp::le, std::move(a), std::move(b)); }
Expr operator>(Expr a, Expr b) { return make_binary(ExprOp::gt, std::move(a), std::move(b)); }
Expr operator>=(Expr a, Expr b) { return make_binary(ExprOp::ge, std::move(a), std::move(b)); }
Expr operator&&(Expr a, Expr b) { return make_binary(ExprOp::land, std::move(a), std::move(b)); }
Expr operator||(Expr a, Expr b) { return make_binary(ExprOp::lor, std::move(a), std::move(b)); }
Expr logical_not(Expr x) { return make_unary(ExprOp::lnot, std::move(x)); }
Expr equal(Expr a, Expr b) { return make_binary(ExprOp::eq, std::move(a), std::move(b)); }
Expr not_equal(Expr a, Expr b) { return make_binary(ExprOp::ne, std::move(a), std::move(b)); }
Expr floordiv(Expr a, Expr b) { return make_binary(ExprOp::floordiv, std::move(a), std::move(b)); }
Expr floormod(Expr a, Expr b) { return make_binary(ExprOp::floormod, std::move(a), std::move(b)); }
Expr min(Expr a, Expr b) { return make_binary(ExprOp::min, std::move(a), std::move(b)); }
Expr max(Expr a, Expr b) { return make_binary(ExprOp::max, std::move(a), std::move(b)); }
Expr min_nan(Expr a, Expr b) { return is_float(a->type.dtype) ? select(make_unary(ExprOp::isnan, a), a, min(a, b)) : min(a, b); }
Expr max_nan(Expr a, Expr b) { return is_float(a->type.dtype) ? select(make_unary(ExprOp::isnan, a), a, max(a, b)) : max(a, b); }
Expr exp(Expr x) { return make_unary(ExprOp::exp, std::move(x)); }
Expr log(Expr x) { return make_unary(ExprOp::log, std::move(x)); }
Expr sqrt(Expr x) { return make_unary(ExprOp::sqrt, std::move(x)); }
Expr abs(Expr x) { return make_unary(ExprOp::abs, std::move(x)); }
Expr floor(Expr x) { return make_unary(ExprOp::floor, std::move(x)); }
Expr tanh(Expr x) { return make_unary(ExprOp::tanh, std::move(x)); }
Expr erf(Expr x) { return make_unary(ExprOp::erf, std::move(x)); }
Expr pow(Expr a, Expr b) { return make_binary(ExprOp::pow, std::move(a), std::move(b)); }
Expr sigmoid(Expr x) {
  const Expr one = imm(x->type.dtype, 1.0);
  return one / (one + exp(-x));
}

std::optional<int64_t> constant_int(const Expr& e) {
  if (e && e->op == ExprOp::imm_int) return e->int_value;
  if (e && e->op == ExprOp::broadcast) return constant_int(e->args[0]);
  return std::nullopt;
}

bool is_constant(const Expr& e, double value) {
  if (e->op == ExprOp::imm_float) return e->float_value == value;
  if (e->op == ExprOp::imm_int) return static_cast<double>(e->int_value) == value;
  return e->op == ExprOp::broadcast && is_constant(e->args[0], value);
}

Expr reduce_identity(ReduceOp op, DType dtype) {
  const auto least = [](DType t) -> int64_t {
    switch (t) {
      case DType::i64: return std::numeric_limits<int64_t>::min();
      case DType::i32: return std::numeric_limits<int32_t>::min();
      case DType::i16: return std::numeric_limits<int16_t>::min();
      case DType::i8: return std::numeric_limits<int8_t>::min();
      default: return 0;
    }
  };
  const auto greatest = [](DType t) -> int64_t {
    switch (t) {
      case DType::i64: return std::numeric_limits<int64_t>::max();
      case DType::i32: return std::numeric_limits<int32_t>::max();
      case DType::i16: return std::numeric_limits<int16_t>::max();
      case DType::i8: return std::numeric_limits<int8_t>::max();
      case DType::u8: return 255;
      default: return 1;
    }
  };
  switch (op) {
    case ReduceOp::sum: return imm(dtype, 0);
    case ReduceOp::prod: return imm(dtype, 1);
    case ReduceOp::max: return is_float(dtype) ? imm(dtype, -INFINITY) : imm_i(dtype, defect(Defect::integer_identity) ? 0 : least(dtype));
    case ReduceOp::min: return is_float(dtype) ? imm(dtype, INFINITY) : imm_i(dtype, greatest(dtype));
    case ReduceOp::any: return imm_i(dtype, 0);
    case ReduceOp::all: return imm_i(dtype, 1);
  }
  return {};
}

Expr reduce_combine(ReduceOp op, Expr accumulator, Expr value) {
  switch (op) {
    case ReduceOp::sum: return std::move(accumulator) + std::move(value);
    case ReduceOp::prod: return std::move(accumulator) * std::move(value);
    // The new value stands second, so a NaN in it is kept; a NaN already held is kept by max_nan's test.
    case ReduceOp::max: return max_nan(std::move(accumulator), std::move(value));
    case ReduceOp::min: return min_nan(std::move(accumulator), std::move(value));
    case ReduceOp::any: return std::move(accumulator) || std::move(value);
    case ReduceOp::all: return std::move(accumulator) && std::move(value);
  }
  return {};
}

std::string_view name_of(ExprOp op) {
  constexpr std::string_view names[] = {
      "imm",  "imm",    "var",  "load", "neg",     "abs",           "floor",    "ceil",     "round",     "trunc",      "sqrt",  "exp",   "log",
      "sin",  "cos",    "tan",  "asin", "acos",    "atan",          "sinh",     "cosh",     "tanh",      "erf",        "log1p", "expm1", "isnan",
      "lnot", "bnot",   "add",  "sub",  "mul",     "div",           "floordiv", "floormod", "min",       "max",        "pow",   "atan2", "fmod",
      "band", "bor",    "bxor", "shl",  "shr",     "ushr",          "lt",       "le",       "gt",        "ge",         "eq",    "ne",    "land",
      "lor",  "select", "fma",  "cast", "bitcast", "checked_index", "reduce",   "ramp",     "broadcast", "horizontal", "dot2",  "dot4"};
  static_assert(std::size(names) == static_cast<size_t>(ExprOp::dot4) + 1);
  return names[static_cast<int>(op)];
}

std::string_view name_of(ReduceOp op) {
  constexpr std::string_view names[] = {"sum", "prod", "max", "min", "any", "all"};
  return names[static_cast<int>(op)];
}

namespace {

std::string type_text(ExprType t) { return t.lanes == 1 ? std::string(name_of(t.dtype)) : fmt::format("{}x{}", name_of(t.dtype), t.lanes); }

std::string infix(const ExprNode& n, std::string_view symbol) {
  return fmt::format("({} {} {})", to_string(n.args[0]), symbol, to_string(n.args[1]));
}

}  // namespace

std::string to_string(const Expr& e) {
  if (!e) return "<none>";
  const ExprNode& n = *e;
  const auto list = [&](size_t count) {
    std::string text;
    for (size_t i = 0; i < count; ++i) text += (i ? ", " : "") + to_string(n.args[i]);
    return text;
  };
  switch (n.op) {
    case ExprOp::imm_int: return n.type.dtype == DType::i64 ? fmt::format("{}", n.int_value) : fmt::format("{}:{}", n.int_value, type_text(n.type));
    case ExprOp::imm_float: return fmt::format("{}:{}", n.float_value, type_text(n.type));
    case ExprOp::var: return is_symbol(e) ? "$" + n.name : fmt::format("{}.{}", n.name, n.id);
    case ExprOp::load: {
      const size_t indices = n.args.size() - n.masked;
      std::string text = fmt::format("load<{}>(%{}, {}", type_text(n.type), n.id, list(indices));
      if (n.masked) text += ", mask=" + to_string(n.args.back());
      return text + ")";
    }
    case ExprOp::add: return infix(n, "+");
    case ExprOp::sub: return infix(n, "-");
    case ExprOp::mul: return infix(n, "*");
    case ExprOp::div: return infix(n, "/");
    case ExprOp::floordiv: return infix(n, "//");
    case ExprOp::floormod: return infix(n, "%");
    case ExprOp::lt: return infix(n, "<");
    case ExprOp::le: return infix(n, "<=");
    case ExprOp::gt: return infix(n, ">");
    case ExprOp::ge: return infix(n, ">=");
    case ExprOp::eq: return infix(n, "==");
    case ExprOp::ne: return infix(n, "!=");
    case ExprOp::cast:
    case ExprOp::bitcast: return fmt::format("{}<{}>({})", name_of(n.op), type_text(n.type), list(1));
    case ExprOp::checked_index:
      return fmt::format("checked_index({}, {}, {}site={}{})", list(1), to_string(extent_of_check(n)), checks_divisor(n) ? "divisor, " : "", n.id,
                         n.masked ? ", mask=" + to_string(n.args[1]) : "");
    case ExprOp::reduce: {
      std::string vars;
      for (const Expr& v : n.vars) vars += fmt::format("{}{} in [{}, {})", vars.empty() ? "" : ", ", to_string(v), v->int_value, extent_end(v));
      return fmt::format("reduce {}[{}]({})", name_of(n.reduce_op), vars, list(1));
    }
    case ExprOp::ramp: return fmt::format("ramp({}, {})", list(2), n.type.lanes);
    case ExprOp::broadcast: return fmt::format("broadcast({}, {})", list(1), n.type.lanes);
    case ExprOp::horizontal: return fmt::format("horizontal {}({})", name_of(n.reduce_op), list(1));
    default: return fmt::format("{}({})", name_of(n.op), list(n.args.size()));
  }
}

namespace {
void visit_into(const Expr& e, const std::function<void(const Expr&)>& f, std::unordered_set<const ExprNode*>& seen) {
  if (!seen.insert(e.get()).second) return;
  for (const Expr& a : e->args) visit_into(a, f, seen);
  f(e);
}
}  // namespace

void visit(const Expr& e, const std::function<void(const Expr&)>& f) {
  std::unordered_set<const ExprNode*> seen;
  visit_into(e, f, seen);
}

bool depends_on(const Expr& e, uint32_t var) {
  bool found = false;
  visit(e, [&](const Expr& n) { found |= n->op == ExprOp::var && n->id == var; });
  return found;
}

std::vector<Expr> free_vars(const Expr& e) {
  std::vector<Expr> vars;
  std::unordered_set<uint32_t> bound, seen;
  visit(e, [&](const Expr& n) {
    for (const Expr& v : n->vars) bound.insert(v->id);
  });
  visit(e, [&](const Expr& n) {
    if (n->op == ExprOp::var && !bound.count(n->id) && seen.insert(n->id).second) vars.push_back(n);
  });
  return vars;
}

bool equivalent(const Expr& a, const Expr& b) {
  if (a.same(b)) return true;
  if (!a || !b || a->hash != b->hash) return false;
  if (a->op != b->op || !(a->type == b->type) || a->reduce_op != b->reduce_op || a->id != b->id || a->int_value != b->int_value ||
      a->limit != b->limit || a->masked != b->masked || a->args.size() != b->args.size() || a->vars.size() != b->vars.size()) {
    return false;
  }
  if (a->op == ExprOp::imm_float && !(a->float_value == b->float_value || (std::isnan(a->float_value) && std::isnan(b->float_value)))) return false;
  if (a->op == ExprOp::imm_float && std::signbit(a->float_value) != std::signbit(b->float_value)) return false;
  if (bool(a->extent) != bool(b->extent) || (a->extent && !equivalent(a->extent, b->extent))) return false;
  for (size_t i = 0; i < a->vars.size(); ++i) {
    if (a->vars[i]->id != b->vars[i]->id) return false;
  }
  for (size_t i = 0; i < a->args.size(); ++i) {
    if (!equivalent(a->args[i], b->args[i])) return false;
  }
  return true;
}

size_t structural_hash(const Expr& e) { return e->hash; }

Expr with_args(const Expr& e, std::vector<Expr> args) {
  const ExprNode& n = *e;
  switch (n.op) {
    case ExprOp::load: {
      Expr mask;
      if (n.masked) {
        mask = args.back();
        args.pop_back();
      }
      ExprType type = n.type;
      if (args.size() == 1 && args[0]->type.lanes > type.lanes) type.lanes = args[0]->type.lanes;
      return make_load(n.id, type, std::move(args), mask);
    }
    case ExprOp::select: return select(args[0], args[1], args[2]);
    case ExprOp::fma: return fma(args[0], args[1], args[2]);
    case ExprOp::cast: return cast(n.type.dtype, args[0]);
    case ExprOp::bitcast: return bitcast(n.type.dtype, args[0]);
    case ExprOp::checked_index: return with_index(n.masked ? *masked_check(n, args[1]) : n, args[0], n.id);
    case ExprOp::reduce: return make_reduce(n.reduce_op, n.vars, args[0]);
    case ExprOp::ramp: return make_ramp(args[0], args[1], n.type.lanes);
    case ExprOp::broadcast: return make_broadcast(args[0], n.type.lanes);
    case ExprOp::horizontal: return make_horizontal(n.reduce_op, args[0]);
    case ExprOp::dot2:
    case ExprOp::dot4: return make_dot(n.op, args[0], args[1], args[2]);
    default: break;
  }
  return args.size() == 1 ? make_unary(n.op, args[0]) : make_binary(n.op, args[0], args[1]);
}

namespace {

Expr rewrite_into(const Expr& e, const std::function<Expr(const Expr&)>& f, std::unordered_map<const ExprNode*, Expr>& memo) {
  if (auto it = memo.find(e.get()); it != memo.end()) return it->second;
  Expr result = e;
  if (!e->args.empty()) {
    std::vector<Expr> args;
    args.reserve(e->args.size());
    bool changed = false;
    for (const Expr& a : e->args) {
      args.push_back(rewrite_into(a, f, memo));
      changed |= !args.back().same(a);
    }
    if (changed) result = with_args(e, std::move(args));
  }
  if (Expr replaced = f(result)) result = replaced;
  memo.emplace(e.get(), result);
  return result;
}

}  // namespace

Expr rewrite(const Expr& e, const std::function<Expr(const Expr&)>& f) {
  std::unordered_map<const ExprNode*, Expr> memo;
  return rewrite_into(e, f, memo);
}

Expr substitute(const Expr& e, const std::vector<VarBinding>& bindings) {
  std::unordered_map<uint32_t, Expr> map;
  for (const VarBinding& b : bindings) map.emplace(b.var->id, b.value);
  return rewrite(e, [&](const Expr& n) -> Expr {
    if (n->op != ExprOp::var) return {};
    const auto it = map.find(n->id);
    return it == map.end() ? Expr() : it->second;
  });
}

}  // namespace mica
