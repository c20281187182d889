// Integer algebra of index expressions: an affine normal form over atoms, floor division and remainder by constants, and
// conditions decided by the ranges of variables. Reshapes, slices and paddings composed by fusion reduce to plain strides here.
#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "mica/ir/expr.h"
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

/// c*m*(z // m) + c*(z % m)  =>  c*z
bool recombine(Affine& a) {
  for (size_t i = 0; i < a.terms.size(); ++i) {
    const Expr mod = a.terms[i].atom;
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

std::optional<Interval> affine_bounds(const Affine& a) {
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
      return e;
    case ExprOp::floormod:
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
      return b && b->low >= 0 && b->high < e->limit ? e->args[0] : e;
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
      else a.terms.push_back({1, e});
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
      const Affine a = to_affine(e);
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
      const auto c = constant_int(e->args[1]);
      const auto x = arg(0);
      if (!c || *c <= 0 || !x || (e->op == ExprOp::div && x->low < 0)) return std::nullopt;
      return Interval{floor_div(x->low, *c), floor_div(x->high, *c)};
    }
    case ExprOp::floormod: {
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

Expr simplify(const Expr& e) {
  return rewrite(e, [](const Expr& n) -> Expr {
    Expr s = simplify_node(n);
    return s;
  });
}

}  // namespace mica
