#include "place_sums.h"

#include "nest.h"

namespace mica::lower {

bool is_place_sum(const Graph& graph, const Expr& e, Value v) {
  if (e->op != ExprOp::reduce || e->reduce_op != ReduceOp::sum || e->args[0]->op != ExprOp::load) return false;
  const Expr& load = e->args[0];
  const Shape& shape = graph.type(v).shape;
  if (load->id != v.id || load->masked || load->args.size() < 3 || e->vars.size() + 2 != load->args.size()) return false;
  for (size_t a = 0; a < load->args.size(); ++a) {
    bool whole = false, depends = false;
    for (const Expr& var : e->vars) {
      depends |= depends_on(load->args[a], var->id);
      whole |=
          load->args[a]->op == ExprOp::var && load->args[a]->id == var->id && var->int_value == 0 && extent_of(var) == shape[static_cast<int64_t>(a)];
    }
    if (a < 2 ? depends : !whole) return false;
  }
  return true;
}

std::vector<VarBinding> take_place_sums(Emitter& emit, Expr& value) {
  PendingProgram& program = emit.program();
  std::vector<VarBinding> taken;
  value = rewrite(value, [&](const Expr& n) -> Expr {
    if (n->op != ExprOp::reduce || n->args[0]->op != ExprOp::load) return {};
    const Expr& load = n->args[0];
    const Value v{load->id};
    const auto known = program.place_sums.find(program.global(v).id);
    if (known == program.place_sums.end() || !is_place_sum(emit.graph(), n, v)) return {};
    const auto& [sums, blocks] = known->second;
    const int64_t channels = emit.graph().type(v).shape[1];
    const Expr block = make_index("block", blocks), at = (load->args[0] * Expr(blocks) + block) * Expr(channels) + load->args[1];
    taken.push_back(
        {make_var("sum", 0, 1, n->type.dtype), make_reduce(ReduceOp::sum, {block}, make_load(emit.temporary(sums, false), n->type, {simplify(at)}))});
    return taken.back().var;
  });
  return taken;
}

}  // namespace mica::lower
