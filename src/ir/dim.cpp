#include "mica/ir/dim.h"

#include <algorithm>
#include <limits>

#include "mica/support/check.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

/// The symbols of e, each once.
std::vector<Expr> symbols_of(const Expr& e) {
  std::vector<Expr> symbols;
  for (const Expr& v : free_vars(e)) {
    if (is_symbol(v)) symbols.push_back(v);
  }
  return symbols;
}

std::string ranges_of(const Expr& e) {
  std::string text;
  for (const Expr& s : symbols_of(e)) text += fmt::format("{}{}={}..{}", text.empty() ? "" : ", ", s->name, s->int_value, s->limit - 1);
  return text;
}

std::string_view infix_of(ExprOp op) {
  switch (op) {
    case ExprOp::add: return " + ";
    case ExprOp::sub: return " - ";
    case ExprOp::mul: return " * ";
    case ExprOp::floordiv: return " / ";
    case ExprOp::floormod: return " % ";
    case ExprOp::lt: return " < ";
    case ExprOp::le: return " <= ";
    default: return "";
  }
}

}  // namespace

Dim Dim::of(const Expr& e) {
  MICA_CHECK(e && e->type == ExprType{});
  const Expr simple = simplify(e);
  if (const auto known = constant_int(simple)) return Dim(*known);
  const auto range = bounds(simple);
  if (range && range->low == range->high) return Dim(range->low);
  Dim d;
  d.expr_ = simple;
  return d;
}

Dim Dim::symbol(int32_t id, std::string name, int64_t low, int64_t high) {
  if (low == high) return Dim(low);
  Dim d;
  d.expr_ = make_numbered_var(symbol_base + static_cast<uint32_t>(id), std::move(name), low, high + 1);
  return d;
}

int32_t Dim::symbol_id() const { return expr_ && is_symbol(expr_) ? static_cast<int32_t>(expr_->id - symbol_base) : -1; }

int64_t Dim::low() const {
  if (!expr_) return size_;
  const auto range = bounds(expr_);
  return range ? range->low : 0;
}

int64_t Dim::high() const {
  if (!expr_) return size_;
  const auto range = bounds(expr_);
  return range ? range->high : std::numeric_limits<int64_t>::max() / 4;
}

int64_t Dim::typical() const {
  if (!expr_) return size_;
  std::vector<int64_t> values;
  for (const Expr& s : symbols_of(expr_)) {
    const size_t k = s->id - symbol_base;
    if (values.size() <= k) values.resize(k + 1);
    values[k] = s->limit - 1;
  }
  return evaluate_size(expr_, values);
}

int64_t Dim::at(const std::vector<int64_t>& values) const { return expr_ ? evaluate_size(expr_, values) : size_; }

std::string Dim::to_string() const { return expr_ ? size_text(expr_) : std::to_string(size_); }

bool Dim::same(const Dim& a, const Dim& b) {
  if (!a.expr_ || !b.expr_) return false;  // an expression with one value is static
  if (equivalent(a.expr_, b.expr_)) return true;
  return Dim(a - b) == Dim(0);
}

/// a < b or a <= b, by the terms of a minimum or maximum where `simplify` does not see it; nothing where it depends on the sizes.
static std::optional<bool> decide_order(ExprOp op, const Expr& a, const Expr& b) {
  if (const auto known = constant_int(simplify(make_binary(op, a, b)))) return *known != 0;
  // a < min(x, y) and max(x, y) < b hold where both parts do, a < max(x, y) and min(x, y) < b where one does.
  const bool split_b = b->op == ExprOp::min || b->op == ExprOp::max, split_a = a->op == ExprOp::min || a->op == ExprOp::max;
  if (!split_a && !split_b) return std::nullopt;
  const Expr& split = split_b ? b : a;
  const bool both = (split->op == ExprOp::min) == split_b;
  std::optional<bool> part[2];
  for (size_t i = 0; i < 2; ++i) part[i] = split_b ? decide_order(op, a, split->args[i]) : decide_order(op, split->args[i], b);
  for (const auto& p : part) {
    if (p && *p != both) return !both;
  }
  return part[0] && part[1] ? std::optional(both) : std::nullopt;
}

bool Dim::decide(ExprOp op, const Dim& a, const Dim& b) {
  if (op == ExprOp::lt || op == ExprOp::le) {
    if (const auto known = decide_order(op, a, b)) return *known;
  }
  const Expr condition = make_binary(op, a, b);
  if (const auto known = constant_int(simplify(condition))) return *known != 0;
  throw SymbolicSize(fmt::format("{} ({})", size_text(condition), ranges_of(condition)));
}

bool Dim::surely_less(const Dim& a, const Dim& b) {
  if (a.is_static() && b.is_static()) return a.size_ < b.size_;
  return constant_int(simplify(make_binary(ExprOp::lt, a, b))).value_or(0) != 0;
}

Dim Dim::combine(ExprOp op, const Dim& a, const Dim& b) {
  if (defect(Defect::symbol_rounding) && op == ExprOp::floordiv) return of(make_binary(op, a + b - Dim(1), b));
  return of(make_binary(op, a, b));
}

void Dim::refuse() const { throw SymbolicSize(fmt::format("{} ({})", size_text(expr_), ranges_of(expr_))); }

bool is_size(const Expr& e) {
  if (e->type.dtype != DType::i64 || e->type.lanes != 1) return false;
  if (e->op == ExprOp::imm_int) return true;
  if (e->op == ExprOp::var) return e->id >= symbol_base;
  switch (e->op) {
    case ExprOp::add:
    case ExprOp::sub:
    case ExprOp::neg:
    case ExprOp::mul:
    case ExprOp::floordiv:
    case ExprOp::floormod:
    case ExprOp::min:
    case ExprOp::max: return std::ranges::all_of(e->args, is_size);
    default: return false;
  }
}

int64_t evaluate_size(const Expr& e, const std::vector<int64_t>& values) {
  const auto arg = [&](size_t i) { return evaluate_size(e->args[i], values); };
  const auto floor_div = [](int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); };
  switch (e->op) {
    case ExprOp::imm_int: return e->int_value;
    case ExprOp::var: return values.at(e->id - symbol_base);
    case ExprOp::add: return arg(0) + arg(1);
    case ExprOp::sub: return arg(0) - arg(1);
    case ExprOp::neg: return -arg(0);
    case ExprOp::mul: return arg(0) * arg(1);
    case ExprOp::floordiv: {
      const int64_t by = arg(1);
      return by ? floor_div(arg(0), by) : 0;
    }
    case ExprOp::floormod: {
      const int64_t x = arg(0), by = arg(1);
      return by ? x - floor_div(x, by) * by : 0;
    }
    case ExprOp::min: return std::min(arg(0), arg(1));
    case ExprOp::max: return std::max(arg(0), arg(1));
    default: MICA_CHECK(false, "not a size: " + mica::to_string(e)); return 0;
  }
}

namespace {

bool mentions_measured(const Expr& e, const std::vector<Symbol>& symbols) {
  if (e->op == ExprOp::var) return symbols.at(e->id - symbol_base).is_measured();
  return std::ranges::any_of(e->args, [&](const Expr& a) { return mentions_measured(a, symbols); });
}

/// The greatest or the least of e. Products and quotients are of sizes, which are not negative, or of a number with one.
Expr extreme(const Expr& e, const std::vector<Symbol>& symbols, bool up) {
  if (!mentions_measured(e, symbols)) return e;
  const auto arg = [&](size_t i, bool same = true) { return extreme(e->args[i], symbols, same == up); };
  switch (e->op) {
    case ExprOp::var: return up ? extreme(symbols[e->id - symbol_base].bound, symbols, true) : Expr(symbols[e->id - symbol_base].low);
    case ExprOp::sub: return arg(0) - arg(1, false);
    case ExprOp::neg: return Expr(0) - arg(0, false);
    case ExprOp::mul: {
      const auto a = constant_int(e->args[0]), b = constant_int(e->args[1]);
      return a ? e->args[0] * arg(1, *a >= 0) : b ? arg(0, *b >= 0) * e->args[1] : arg(0) * arg(1);
    }
    case ExprOp::floordiv: return floordiv(arg(0), max(arg(1, false), Expr(1)));
    case ExprOp::floormod: return up ? arg(1) : Expr(0);
    default: return make_binary(e->op, arg(0), arg(1));  // add, min, max
  }
}

}  // namespace

Dim greatest(const Dim& size, const std::vector<Symbol>& symbols) { return size.is_static() ? size : Dim::of(extreme(Expr(size), symbols, true)); }

std::string size_text(const Expr& e) {
  if (e->op == ExprOp::imm_int) return std::to_string(e->int_value);
  if (e->op == ExprOp::var) return e->name;
  if (e->op == ExprOp::min || e->op == ExprOp::max) return fmt::format("{}({}, {})", name_of(e->op), size_text(e->args[0]), size_text(e->args[1]));
  const std::string_view infix = infix_of(e->op);
  if (infix.empty() || e->args.size() != 2) return mica::to_string(e);
  const auto part = [](const Expr& a) {
    return a->args.empty() || a->op == ExprOp::min || a->op == ExprOp::max ? size_text(a) : "(" + size_text(a) + ")";
  };
  const Expr& right = e->args[1];
  if (e->op == ExprOp::add && right->op == ExprOp::imm_int && right->int_value < 0)
    return fmt::format("{} - {}", part(e->args[0]), -right->int_value);
  return fmt::format("{}{}{}", part(e->args[0]), infix, part(right));
}

Expr make_index(std::string name, const Dim& extent) {
  if (extent.is_static()) return make_var(std::move(name), 0, extent.size());
  ExprNode node = *make_var(std::move(name), 0, std::max<int64_t>(extent.high(), 1));
  node.extent = extent;
  return Expr(std::make_shared<const ExprNode>(std::move(node)));
}

}  // namespace mica
