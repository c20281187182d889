#include "nest.h"

namespace mica::lower {

namespace {

bool divides_with(const Expr& e, const Expr& var) {
  bool found = false;
  visit(e, [&](const Expr& n) { found |= (n->op == ExprOp::floordiv || n->op == ExprOp::floormod) && depends_on(n, var->id); });
  return found;
}

}  // namespace

void collapse(Nest& nest) {
  for (size_t i = nest.vars.size(); i-- > 1;) {
    const Expr outer = nest.vars[i - 1], inner = nest.vars[i];
    const Dim e = extent_of(inner);
    const Expr t = make_index("t", extent_of(outer) * e);
    const std::vector<VarBinding> bindings{{outer, floordiv(t, e)}, {inner, floormod(t, e)}};
    const Expr value = simplify(substitute(nest.value, bindings)), index = simplify(substitute(nest.index, bindings));
    if (divides_with(value, t) || divides_with(index, t)) continue;
    nest.value = value;
    nest.index = index;
    nest.vars[i - 1] = t;
    nest.vars.erase(nest.vars.begin() + i);
  }
}

namespace {

/// What `var` alone is divided by in e; 0: nothing, or more than one number.
int64_t divisor_of(const Expr& e, const Expr& var) {
  int64_t divisor = 0;
  bool several = false;
  visit(e, [&](const Expr& n) {
    if ((n->op != ExprOp::floordiv && n->op != ExprOp::floormod) || !depends_on(n, var->id)) return;
    const auto by = constant_int(n->args[1]);
    several |= !by || n->args[0]->op != ExprOp::var || (divisor && *by != divisor);
    if (by) divisor = *by;
  });
  return several ? 0 : divisor;
}

}  // namespace

void take_apart(Nest& nest, int64_t most_groups) {
  for (size_t i = 0; i < nest.vars.size(); ++i) {
    const Expr var = nest.vars[i];
    const Dim extent = extent_of(var);
    const int64_t groups = divisor_of(nest.value, var);
    if (groups < 2 || groups > most_groups || !extent.is_static() || extent.size() % groups != 0 || divides_with(nest.index, var)) continue;
    const Expr outer = make_index("t", extent.size() / groups), inner = make_index("g", groups);
    const std::vector<VarBinding> binding{{var, outer * Expr(groups) + inner}};
    const Expr value = simplify(substitute(nest.value, binding));
    if (divides_with(value, outer) || divides_with(value, inner)) continue;
    nest.value = value;
    nest.index = simplify(substitute(nest.index, binding));
    nest.vars[i] = inner;
    nest.vars.insert(nest.vars.begin() + static_cast<int64_t>(++i), outer);
  }
}

Expr collapse_reductions(const Expr& e) {
  return rewrite(e, [](const Expr& n) -> Expr {
    if (n->op != ExprOp::reduce) return {};
    std::vector<Expr> vars;
    Expr body = n->args[0];
    for (const Expr& v : n->vars) {
      if (extent_of(v) == 1) body = simplify(substitute(body, {{v, Expr(v->int_value)}}));
      else vars.push_back(v);
    }
    for (size_t i = vars.size(); i-- > 1;) {
      const Dim inner = extent_of(vars[i]);
      const Expr t = make_index("r", extent_of(vars[i - 1]) * inner);
      const Expr merged = simplify(substitute(body, {{vars[i - 1], floordiv(t, inner)}, {vars[i], floormod(t, inner)}}));
      if (divides_with(merged, t)) continue;
      body = merged;
      vars[i - 1] = t;
      vars.erase(vars.begin() + i);
    }
    if (vars.empty()) return body;
    return make_reduce(n->reduce_op, vars, body);
  });
}

double access_cost(const Expr& e, const Expr& var, int32_t lanes) {
  double cost = 0;
  visit(e, [&](const Expr& n) {
    if (n->op != ExprOp::load) return;
    // A condition that differs from lane to lane (padding along the lanes) is computed for every vector.
    if (n->masked && depends_on(n->args.back(), var->id)) cost += 2;
    if (!depends_on(n->args[0], var->id)) {
      cost += 0.3;
      return;
    }
    const Affine a = to_affine(n->args[0]);
    bool affine = true;
    for (const Affine::Term& t : a.terms) affine &= t.atom->op == ExprOp::var || !depends_on(t.atom, var->id);
    const int64_t stride = a.coefficient_of(var->id);
    cost += affine && stride == 1 ? 1 : affine && stride != 0 ? lanes : 2 * lanes;
  });
  return cost;
}

double store_cost(const Expr& index, const Expr& var, int32_t lanes, int64_t widest_stride) {
  const int64_t stride = to_affine(index).coefficient_of(var->id);
  if (stride > 1 && stride <= widest_stride) return 2.0 * static_cast<double>(stride);
  return stride == 1 ? 1 : 1.5 * lanes;
}

bool inside_another(const Expr& e, const Expr& r) {
  std::set<uint32_t> bound;
  visit(e, [&](const Expr& n) {
    for (const Expr& v : n->vars) bound.insert(v->id);
  });
  for (const Expr& v : free_vars(r)) {
    if (bound.count(v->id)) return true;
  }
  return false;
}

std::vector<Expr> reductions_in(const Expr& e) {
  std::vector<Expr> found;
  visit(e, [&](const Expr& n) {
    if (n->op != ExprOp::reduce) return;
    for (const Expr& f : found) {
      if (equivalent(f, n)) return;
    }
    found.push_back(n);
  });
  return found;
}

Expr replace_node(const Expr& e, const Expr& from, const Expr& to) {
  return rewrite(e, [&](const Expr& n) -> Expr { return equivalent(n, from) ? to : Expr(); });
}

bool contains(const Expr& e, const Expr& part) {
  bool found = false;
  visit(e, [&](const Expr& n) { found |= equivalent(n, part); });
  return found;
}

}  // namespace mica::lower
