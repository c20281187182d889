// Integer algebra of index expressions: an affine normal form over atoms, floor division and remainder by constants, and
// conditions decided by the ranges of variables. Reshapes, slices and paddings composed by fusion reduce to plain strides here.
// Where sizes depend on symbols (dim.h), atoms are products of symbols and variables, and what holds for every value of the symbols
// is found by putting variables at the ends of their ranges and bounding what is left.
#include <algorithm>
#include <map>
#include <numeric>
#include <unordered_map>

#include "mica/ir/dim.h"
#include "mica/ir/quotient.h"
#include "mica/support/check.h"
#include "mica/support/defect.h"

namespace mica {

namespace {

bool is_index(const Expr& e) { return e->type.dtype == DType::i64 && e->type.lanes == 1; }

void add_term(Affine& a, int64_t coefficient, const Expr& atom) {
  if (coefficient == 0) return;
  for (size_t i = 0; i < a.terms.size(); ++i) {
    if (!equivalent(a.terms[i].atom, atom)) continue;
    a.terms[i].coefficient += coefficient;
    if (a.terms[i].coefficient == 0) a.terms.erase(a.terms.begin() + i);
    return;
  }
  a.terms.push_back({coefficient, atom});
}

void add_scaled(Affine& to, const Affine& from, int64_t factor) {
  to.constant += from.constant * factor;
  for (const Affine::Term& t : from.terms) add_term(to, t.coefficient * factor, t.atom);
}

int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

Expr simplify_node(const Expr& e);

// ---- products with sizes ----
void collect_factors(const Expr& e, std::vector<Expr>& out) {
  if (e->op == ExprOp::mul) {
    for (const Expr& a : e->args) collect_factors(a, out);
  } else if (!constant_int(e)) {
    out.push_back(e);
  }
}
std::vector<Expr> factors_of(const Expr& e) {
  std::vector<Expr> factors;
  collect_factors(e, factors);
  return factors;
}

/// The product in an order of its own: equal products are equal expressions.
Expr product(std::vector<Expr> factors) {
  std::stable_sort(factors.begin(), factors.end(), [](const Expr& x, const Expr& y) {
    const bool vx = x->op == ExprOp::var, vy = y->op == ExprOp::var;
    if (vx != vy) return vx;
    return vx ? x->id < y->id : x->hash < y->hash;
  });
  Expr result;
  for (const Expr& f : factors) result = result ? make_binary(ExprOp::mul, result, f) : f;
  return result ? result : Expr(1);
}

/// The sum of products of two sums.
Affine multiply(const Affine& x, const Affine& y) {
  Affine out;
  add_scaled(out, y, x.constant);
  for (const Affine::Term& t : x.terms) {
    add_term(out, t.coefficient * y.constant, t.atom);
    for (const Affine::Term& u : y.terms) {
      std::vector<Expr> factors = factors_of(t.atom);
      collect_factors(u.atom, factors);
      add_term(out, t.coefficient * u.coefficient, product(std::move(factors)));
    }
  }
  return out;
}

/// term / (c * factors) where that divides; nothing where it does not.
std::optional<Affine::Term> divide_term(const Affine::Term& term, int64_t c, const std::vector<Expr>& by) {
  if (c == 0 || term.coefficient % c != 0) return std::nullopt;
  std::vector<Expr> factors = factors_of(term.atom);
  for (const Expr& f : by) {
    const auto found = std::find_if(factors.begin(), factors.end(), [&](const Expr& g) { return equivalent(f, g); });
    if (found == factors.end()) return std::nullopt;
    factors.erase(found);
  }
  return Affine::Term{term.coefficient / c, product(std::move(factors))};
}

constexpr int64_t greatest_search = 100000;  ///< values of symbols that are tried one by one

/// The least and the greatest value of a size: every combination of symbols is tried where those are few.
std::optional<Interval> search_bounds(const Expr& e) {
  std::vector<Expr> symbols;
  int64_t points = 1;
  for (const Expr& v : free_vars(e)) {
    if (!is_symbol(v)) return std::nullopt;
    symbols.push_back(v);
    points *= std::min<int64_t>(v->limit - v->int_value, greatest_search + 1);
    if (points > greatest_search) return std::nullopt;
  }
  static thread_local std::map<std::pair<size_t, std::string>, Interval> known;
  const std::string text = points > 64 ? to_string(e) : "";
  if (const auto found = known.find({e->hash, text}); points > 64 && found != known.end()) return found->second;
  std::vector<int64_t> values;
  for (const Expr& s : symbols) {
    const size_t k = s->id - symbol_base;
    if (values.size() <= k) values.resize(k + 1);
    values[k] = s->int_value;
  }
  Interval range{INT64_MAX, INT64_MIN};
  for (int64_t i = 0; i < points; ++i) {
    const int64_t v = evaluate_size(e, values);
    range = {std::min(range.low, v), std::max(range.high, v)};
    for (const Expr& s : symbols) {
      int64_t& value = values[s->id - symbol_base];
      if (++value < s->limit) break;
      value = s->int_value;
    }
  }
  if (points > 64) known.emplace(std::make_pair(e->hash, text), range);
  return range;
}

/// c*m*(z // m) + c*(z % m)  =>  c*z
bool recombine(Affine& a) {
  for (size_t i = 0; i < a.terms.size(); ++i) {
    const Expr mod = a.terms[i].atom;
    if (mod->op == ExprOp::floormod && !constant_int(mod->args[1]) && is_size(mod->args[1])) {
      // m may be a sum: then every term of m * (z // m) must be there.
      const Affine whole = to_affine(simplify_node(floordiv(mod->args[0], mod->args[1])) * mod->args[1]);
      const int64_t c = a.terms[i].coefficient;
      const bool complete = whole.constant == 0 && std::ranges::all_of(whole.terms, [&](const Affine::Term& t) {
                              return std::ranges::any_of(
                                  a.terms, [&](const Affine::Term& u) { return u.coefficient == c * t.coefficient && equivalent(u.atom, t.atom); });
                            });
      if (!complete) continue;
      a.terms.erase(a.terms.begin() + static_cast<int64_t>(i));
      add_scaled(a, whole, -c);
      add_scaled(a, to_affine(mod->args[0]), c);
      return true;
    }
    if (mod->op != ExprOp::floormod || !constant_int(mod->args[1])) continue;
    const int64_t m = *constant_int(mod->args[1]);
    const Expr quotient = simplify_node(floordiv(mod->args[0], m));
    for (size_t j = 0; j < a.terms.size(); ++j) {
      if (j == i || a.terms[j].coefficient != a.terms[i].coefficient * m || !equivalent(a.terms[j].atom, quotient)) continue;
      const int64_t c = a.terms[i].coefficient;
      a.terms.erase(a.terms.begin() + std::max(i, j));
      a.terms.erase(a.terms.begin() + std::min(i, j));
      add_scaled(a, to_affine(mod->args[0]), c);
      return true;
    }
  }
  return false;
}

bool mentions_symbols(const Expr& e) {
  if (e->extent) return true;
  if (e->op == ExprOp::var) return is_symbol(e);
  return std::ranges::any_of(e->args, mentions_symbols);
}
bool symbolic(const Affine& a) {
  return std::ranges::any_of(a.terms, [](const Affine::Term& t) { return mentions_symbols(t.atom); });
}

/// The sum with every variable, and every other atom that is no size, at the end of its range that makes it greatest (or least): a
/// size that bounds it. Nothing where a factor could be negative, so that the ends are not what counts.
std::optional<Expr> extreme(const Affine& a, bool greatest) {
  Affine sum;
  sum.constant = a.constant;
  for (const Affine::Term& t : a.terms) {
    const bool up = greatest == (t.coefficient > 0);
    Affine at;
    at.constant = 1;
    const std::vector<Expr> factors = factors_of(t.atom);
    for (const Expr& f : factors) {
      if (is_size(f)) {
        const auto range = search_bounds(f);
        if (factors.size() > 1 && range && range->low < 0) return std::nullopt;
        at = multiply(at, to_affine(f));
        continue;
      }
      if (f->op == ExprOp::var && f->extent) {
        if (f->int_value < 0) return std::nullopt;
        at = multiply(at, up ? to_affine(f->extent - Expr(1)) : to_affine(Expr(f->int_value)));
        continue;
      }
      if (up && f->op == ExprOp::checked_index && f->extent) {
        const auto extent = bounds(f->extent);
        if (!extent || extent->low < 1) return std::nullopt;  // of an empty extent the index is 0
        at = multiply(at, to_affine(f->extent - Expr(1)));
        continue;
      }
      if (up && (f->op == ExprOp::floordiv || f->op == ExprOp::floormod) && !constant_int(f->args[1]) && is_size(f->args[1])) {
        // x % m is at most m - 1; x // m is greatest where x is.
        const auto x = f->op == ExprOp::floordiv ? extreme(to_affine(f->args[0]), true) : std::optional<Expr>(f->args[1] - Expr(1));
        const auto least = bounds(f);
        if (!x || !least || least->low < 0) return std::nullopt;
        at = multiply(at, to_affine(f->op == ExprOp::floordiv ? simplify_node(floordiv(*x, f->args[1])) : simplify_node(*x)));
        continue;
      }
      const auto range = bounds(f);
      if (!range || (factors.size() > 1 && range->low < 0)) return std::nullopt;
      at = multiply(at, to_affine(Expr(up ? range->high : range->low)));
    }
    add_scaled(sum, at, t.coefficient);
  }
  return from_affine(sum);
}

std::optional<Interval> affine_bounds(const Affine& a) {
  if (symbolic(a)) {
    const auto low = extreme(a, false), high = extreme(a, true);
    const auto l = low ? search_bounds(*low) : std::nullopt, h = high ? search_bounds(*high) : std::nullopt;
    if (l && h) return Interval{l->low, h->high};
  }
  Interval total{a.constant, a.constant};
  for (const Affine::Term& t : a.terms) {
    const auto b = bounds(t.atom);
    if (!b) return std::nullopt;
    total.low += t.coefficient * (t.coefficient >= 0 ? b->low : b->high);
    total.high += t.coefficient * (t.coefficient >= 0 ? b->high : b->low);
  }
  return total;
}

/// x = g * coarse + fine with fine in [0, g), for the largest g dividing m for which that can be shown (g = 1: fine is 0).
struct Split {
  int64_t g = 1;
  Affine coarse, fine;
};
Split split_by_range(const Affine& x, int64_t m) {
  std::vector<int64_t> candidates;
  for (const Affine::Term& t : x.terms) candidates.push_back(std::gcd(t.coefficient, m));
  std::sort(candidates.rbegin(), candidates.rend());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  for (int64_t g : candidates) {
    if (g <= 1) break;
    Split s;
    s.g = g;
    for (const Affine::Term& t : x.terms) {
      if (t.coefficient % g == 0) s.coarse.terms.push_back({t.coefficient / g, t.atom});
      else s.fine.terms.push_back(t);
    }
    s.coarse.constant = floor_div(x.constant, g);
    s.fine.constant = x.constant - s.coarse.constant * g;
    const auto b = affine_bounds(s.fine);
    if (b && b->low >= 0 && b->high < g) return s;
  }
  Split whole;
  whole.coarse = x;
  return whole;
}

Expr divide(const Expr& x, int64_t c) {
  MICA_CHECK(c > 0);
  if (c == 1) return x;
  Affine quotient, rest;
  const Affine a = to_affine(x);
  for (const Affine::Term& t : a.terms) {
    if (t.coefficient % c == 0) quotient.terms.push_back({t.coefficient / c, t.atom});
    else rest.terms.push_back(t);
  }
  quotient.constant = floor_div(a.constant, c);
  rest.constant = a.constant - quotient.constant * c;
  const auto b = affine_bounds(rest);
  if (b && floor_div(b->low, c) == floor_div(b->high, c)) {
    quotient.constant += floor_div(b->low, c);
    return from_affine(quotient);
  }
  const Split s = split_by_range(rest, c);
  Expr core = from_affine(s.coarse);
  const int64_t d = c / s.g;
  Expr divided;
  if (s.g > 1) divided = divide(core, d);
  else if (core->op == ExprOp::floordiv && constant_int(core->args[1])) divided = divide(core->args[0], *constant_int(core->args[1]) * d);
  else if (core->op == ExprOp::floormod && constant_int(core->args[1]) && *constant_int(core->args[1]) % d == 0) {
    divided = simplify_node(floormod(divide(core->args[0], d), *constant_int(core->args[1]) / d));
  } else divided = make_binary(ExprOp::floordiv, core, Expr(d));
  if (quotient.terms.empty() && quotient.constant == 0) return divided;
  add_scaled(quotient, to_affine(divided), 1);
  return from_affine(quotient);
}

Expr remainder(const Expr& x, int64_t c) {
  MICA_CHECK(c > 0);
  if (c == 1) return Expr(0);
  Affine rest;
  const Affine a = to_affine(x);
  for (const Affine::Term& t : a.terms) {
    if (t.coefficient % c != 0) rest.terms.push_back(t);
  }
  rest.constant = a.constant - floor_div(a.constant, c) * c;
  auto b = affine_bounds(rest);
  if (b && floor_div(b->low, c) == floor_div(b->high, c)) {
    rest.constant -= floor_div(b->low, c) * c;
    return from_affine(rest);
  }
  const Split s = split_by_range(rest, c);
  if (s.g > 1) {
    Affine sum = s.fine;
    add_scaled(sum, to_affine(remainder(from_affine(s.coarse), c / s.g)), s.g);
    return from_affine(sum);
  }
  const Expr core = from_affine(rest);
  if (core->op == ExprOp::floormod && constant_int(core->args[1]) && *constant_int(core->args[1]) % c == 0) return remainder(core->args[0], c);
  return make_binary(ExprOp::floormod, core, Expr(c));
}

/// x as quotient * m + rest by the terms that m divides, for a size m that is a product; the rest is below m where `exact`.
struct SizeSplit {
  Affine quotient, rest;
  bool exact = false;
};
std::optional<SizeSplit> split_by_size(const Expr& x, const Expr& m) {
  const Affine by = to_affine(m), a = to_affine(x);
  SizeSplit s;
  if (by.terms.size() == 1 && by.constant == 0) {
    const std::vector<Expr> factors = factors_of(by.terms[0].atom);
    for (const Affine::Term& t : a.terms) {
      if (const auto part = divide_term(t, by.terms[0].coefficient, factors)) add_scaled(s.quotient, to_affine(part->atom), part->coefficient);
      else s.rest.terms.push_back(t);
    }
    s.rest.constant = a.constant;
  } else {
    s.rest = a;
  }
  Affine over = s.rest;
  add_scaled(over, by, -1);
  const auto low = affine_bounds(s.rest), high = affine_bounds(over);
  s.exact = low && high && low->low >= 0 && high->high < 0;
  if (s.exact || !low || !high) return s;
  // A rest in [-m, 0) is one multiple lower: (B * S - 1) // S is B - 1.
  Affine under = s.rest;
  add_scaled(under, by, 1);
  const auto above = affine_bounds(under);
  const auto below = affine_bounds(s.rest);
  if (above && above->low >= 0 && below->high < 0) {
    s.rest = under;
    s.quotient.constant -= 1;
    s.exact = true;
  }
  return s;
}

/// floordiv and floormod by a size that depends on symbols.
Expr divide_by_size(const Expr& x, const Expr& m) {
  const auto s = split_by_size(x, m);
  if (s->exact) return from_affine(s->quotient);
  if (s->quotient.terms.empty() && s->quotient.constant == 0) return make_binary(ExprOp::floordiv, from_affine(s->rest), m);
  Affine sum = s->quotient;
  add_term(sum, 1, make_binary(ExprOp::floordiv, from_affine(s->rest), m));
  return from_affine(sum);
}
Expr remainder_by_size(const Expr& x, const Expr& m) {
  const auto s = split_by_size(x, m);
  if (s->exact) return from_affine(s->rest);
  return make_binary(ExprOp::floormod, from_affine(s->rest), m);
}

bool is_positive_size(const Expr& e) {
  if (constant_int(e) || !is_size(e)) return false;
  const auto range = bounds(e);
  return range && range->low > 0;
}

/// Decides a comparison of two index expressions from the bounds of their difference; empty when open.
Expr decide(const Expr& e) {
  if (!is_index(e->args[0])) return {};
  Affine difference = to_affine(e->args[0]);
  add_scaled(difference, to_affine(e->args[1]), -1);
  const auto b = affine_bounds(difference);
  if (!b) return {};
  const auto truth = [](bool v) { return imm_i(DType::b8, v); };
  switch (e->op) {
    case ExprOp::lt: return b->high < defect(Defect::upper_bound) ? truth(true) : b->low >= 0 ? truth(false) : Expr();
    case ExprOp::le: return b->high <= 0 ? truth(true) : b->low > 0 ? truth(false) : Expr();
    case ExprOp::gt: return b->low > 0 ? truth(true) : b->high <= 0 ? truth(false) : Expr();
    case ExprOp::ge: return b->low >= 0 ? truth(true) : b->high < 0 ? truth(false) : Expr();
    case ExprOp::eq: return b->low == 0 && b->high == 0 ? truth(true) : (b->low > 0 || b->high < 0) ? truth(false) : Expr();
    case ExprOp::ne: return b->low == 0 && b->high == 0 ? truth(false) : (b->low > 0 || b->high < 0) ? truth(true) : Expr();
    default: return {};
  }
}

/// One node whose operands are already simple.
Expr simplify_node(const Expr& e) {
  switch (e->op) {
    case ExprOp::add:
    case ExprOp::sub:
    case ExprOp::mul:
    case ExprOp::neg: return is_index(e) ? from_affine(to_affine(e)) : e;
    case ExprOp::floordiv:
    case ExprOp::div:
      if (is_index(e) && constant_int(e->args[1]).value_or(0) > 0) {
        if (e->op == ExprOp::div) {
          const auto b = bounds(e->args[0]);
          if (!b || b->low < 0) return e;
        }
        return divide(e->args[0], *constant_int(e->args[1]));
      }
      if (is_index(e) && e->op == ExprOp::floordiv && is_positive_size(e->args[1])) return divide_by_size(e->args[0], e->args[1]);
      return e;
    case ExprOp::floormod:
      if (is_index(e) && is_positive_size(e->args[1])) return remainder_by_size(e->args[0], e->args[1]);
      if (is_index(e) && constant_int(e->args[1]).value_or(0) > 0) return remainder(e->args[0], *constant_int(e->args[1]));
      return e;
    case ExprOp::lt:
    case ExprOp::le:
    case ExprOp::gt:
    case ExprOp::ge:
    case ExprOp::eq:
    case ExprOp::ne: {
      const Expr d = decide(e);
      return d ? d : e;
    }
    case ExprOp::min:
    case ExprOp::max: {
      if (!is_index(e)) return e;
      Affine difference = to_affine(e->args[0]);
      add_scaled(difference, to_affine(e->args[1]), -1);
      const auto b = affine_bounds(difference);
      if (!b) return e;
      const bool first_is_less = b->high <= 0, second_is_less = b->low >= 0;
      if (first_is_less) return e->op == ExprOp::min ? e->args[0] : e->args[1];
      if (second_is_less) return e->op == ExprOp::min ? e->args[1] : e->args[0];
      return e;
    }
    case ExprOp::checked_index: {
      const auto b = bounds(e->args[0]);
      if (!b || b->low < 0) return e;
      if (!e->extent) return b->high < e->limit ? e->args[0] : e;
      const Expr inside = is_index(e->args[0]) ? decide(make_binary(ExprOp::lt, e->args[0], e->extent)) : Expr();
      return bool(inside) && constant_int(inside).value_or(0) != 0 ? e->args[0] : e;
    }
    case ExprOp::lnot:
      if (e->args[0]->op == ExprOp::lnot) return e->args[0]->args[0];
      return e;
    default: return e;
  }
}

}  // namespace

int64_t Affine::coefficient_of(uint32_t var) const {
  for (const Term& t : terms) {
    if (t.atom->op == ExprOp::var && t.atom->id == var) return t.coefficient;
  }
  return 0;
}

namespace {
bool has_size_factor(const Expr& e) {
  if (e->op == ExprOp::mul) return has_size_factor(e->args[0]) || has_size_factor(e->args[1]);
  return !constant_int(e) && is_size(e);
}
}  // namespace

Affine to_affine(const Expr& e) {
  Affine a;
  if (!is_index(e)) {
    a.terms.push_back({1, e});
    return a;
  }
  switch (e->op) {
    case ExprOp::imm_int: a.constant = e->int_value; return a;
    case ExprOp::add:
    case ExprOp::sub:
      a = to_affine(e->args[0]);
      add_scaled(a, to_affine(e->args[1]), e->op == ExprOp::add ? 1 : -1);
      while (recombine(a)) {}
      return a;
    case ExprOp::neg: add_scaled(a, to_affine(e->args[0]), -1); return a;
    case ExprOp::mul: {
      const Affine x = to_affine(e->args[0]), y = to_affine(e->args[1]);
      if (x.terms.empty()) add_scaled(a, y, x.constant);
      else if (y.terms.empty()) add_scaled(a, x, y.constant);
      else if (is_size(e->args[0]) || is_size(e->args[1]) || has_size_factor(e)) a = multiply(x, y);
      else a.terms.push_back({1, e});
      while (recombine(a)) {}
      return a;
    }
    default: a.terms.push_back({1, e}); return a;
  }
}

Expr from_affine(const Affine& a) {
  // Variables first, by id, so that equal sums are equal expressions whatever the order they were added in.
  std::vector<Affine::Term> terms = a.terms;
  std::stable_sort(terms.begin(), terms.end(), [](const Affine::Term& x, const Affine::Term& y) {
    const bool vx = x.atom->op == ExprOp::var, vy = y.atom->op == ExprOp::var;
    if (vx != vy) return vx;
    return vx ? x.atom->id < y.atom->id : x.atom->hash < y.atom->hash;
  });
  Expr sum;
  for (const Affine::Term& t : terms) {
    const Expr term = t.atom * Expr(t.coefficient);
    sum = sum ? make_binary(ExprOp::add, sum, term) : term;
  }
  if (!sum) return Expr(a.constant);
  return a.constant ? make_binary(ExprOp::add, sum, Expr(a.constant)) : sum;
}

std::optional<Interval> bounds(const Expr& e) {
  if (is_float(e->type.dtype)) return std::nullopt;
  const auto arg = [&](size_t i) { return bounds(e->args[i]); };
  switch (e->op) {
    case ExprOp::imm_int: return Interval{e->int_value, e->int_value};
    case ExprOp::var: return Interval{e->int_value, e->limit - 1};
    case ExprOp::checked_index: return Interval{0, std::max<int64_t>(e->limit - 1, 0)};
    case ExprOp::cast: {
      const auto b = arg(0);
      return b && e->type.dtype == DType::i64 ? b : std::nullopt;
    }
    case ExprOp::add:
    case ExprOp::sub:
    case ExprOp::neg:
    case ExprOp::mul: {
      if (!is_index(e)) return std::nullopt;
      if (!constant_int(e) && is_size(e)) {
        if (const auto range = search_bounds(e)) return range;
      }
      const Affine a = to_affine(e);
      if (a.terms.size() == 1 && a.terms[0].atom->op == ExprOp::mul && has_size_factor(a.terms[0].atom)) {
        Interval range{1, 1};
        for (const Expr& f : factors_of(a.terms[0].atom)) {
          const auto x = bounds(f);
          if (!x) return std::nullopt;
          const int64_t corners[] = {x->low * range.low, x->low * range.high, x->high * range.low, x->high * range.high};
          range = {*std::min_element(corners, corners + 4), *std::max_element(corners, corners + 4)};
        }
        const int64_t ends[] = {a.constant + a.terms[0].coefficient * range.low, a.constant + a.terms[0].coefficient * range.high};
        return Interval{std::min(ends[0], ends[1]), std::max(ends[0], ends[1])};
      }
      if (a.terms.size() == 1 && a.terms[0].atom.same(e)) {  // a product of two unknowns
        const auto x = arg(0), y = arg(1);
        if (!x || !y) return std::nullopt;
        const int64_t corners[] = {x->low * y->low, x->low * y->high, x->high * y->low, x->high * y->high};
        return Interval{*std::min_element(corners, corners + 4), *std::max_element(corners, corners + 4)};
      }
      return affine_bounds(a);
    }
    case ExprOp::floordiv:
    case ExprOp::div: {
      if (!constant_int(e->args[1]) && is_size(e->args[1]) && e->op == ExprOp::floordiv) {
        if (is_size(e)) {
          if (const auto range = search_bounds(e)) return range;
        }
        const auto x = arg(0), by = arg(1);
        if (!x || !by || by->low <= 0 || x->low < 0) return std::nullopt;
        return Interval{x->low / by->high, x->high / by->low};
      }
      const auto c = constant_int(e->args[1]);
      const auto x = arg(0);
      if (!c || *c <= 0 || !x || (e->op == ExprOp::div && x->low < 0)) return std::nullopt;
      return Interval{floor_div(x->low, *c), floor_div(x->high, *c)};
    }
    case ExprOp::floormod: {
      if (!constant_int(e->args[1]) && is_size(e->args[1])) {
        const auto by = arg(1);
        if (!by || by->low <= 0) return std::nullopt;
        return Interval{0, by->high - 1};
      }
      const auto c = constant_int(e->args[1]);
      if (!c || *c <= 0) return std::nullopt;
      const auto x = arg(0);
      return Interval{0, x && x->low >= 0 ? std::min(x->high, *c - 1) : *c - 1};
    }
    case ExprOp::min:
    case ExprOp::max: {
      const auto x = arg(0), y = arg(1);
      if (!x || !y) return std::nullopt;
      return e->op == ExprOp::min ? Interval{std::min(x->low, y->low), std::min(x->high, y->high)}
                                  : Interval{std::max(x->low, y->low), std::max(x->high, y->high)};
    }
    case ExprOp::select: {
      const auto x = arg(1), y = arg(2);
      if (!x || !y) return std::nullopt;
      return Interval{std::min(x->low, y->low), std::max(x->high, y->high)};
    }
    default: return std::nullopt;
  }
}

std::optional<Dim> exact_quotient(const Dim& x, const Dim& by) {
  if (x.is_static() && by.is_static()) return by.size() != 0 && x.size() % by.size() == 0 ? std::optional(x / by) : std::nullopt;
  constexpr int most_terms = 64;
  Affine rest = to_affine(simplify(x)), quotient;
  const Affine divisor = to_affine(simplify(by));
  const auto constant_term = [](const Affine& a) { return Affine::Term{a.constant, Expr(1)}; };
  // Every step takes one term of the rest away; with a divisor of several terms others can come up.
  const Affine::Term lead = divisor.terms.empty() ? constant_term(divisor) : divisor.terms[0];
  for (int step = 0; step < most_terms && (rest.constant || !rest.terms.empty()); ++step) {
    std::optional<Affine::Term> part;
    for (size_t i = 0; !part && i < rest.terms.size(); ++i) part = divide_term(rest.terms[i], lead.coefficient, factors_of(lead.atom));
    if (!part && rest.constant) part = divide_term(constant_term(rest), lead.coefficient, factors_of(lead.atom));
    if (!part) return std::nullopt;
    Affine factor;
    add_scaled(factor, to_affine(part->atom), part->coefficient);
    add_scaled(quotient, factor, 1);
    add_scaled(rest, multiply(factor, divisor), -1);
  }
  if (rest.constant || !rest.terms.empty()) return std::nullopt;
  return Dim::of(from_affine(quotient));
}

Expr simplify(const Expr& e) {
  return rewrite(e, [](const Expr& n) -> Expr {
    Expr s = simplify_node(n);
    return s;
  });
}

}  // namespace mica
