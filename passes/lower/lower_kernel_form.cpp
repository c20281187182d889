// Ops whose meaning is a loop nest are lowered as they are: parameters become values of the program, memory of their own a part of the
// arena, and faults say where in the model they happen.
#include "emit.h"
#include "mica/ir/fault.h"
#include "mica/ops/kernel_builder.h"

namespace mica::lower {

namespace {

void number_faults(PendingProgram& program, const std::string& place, std::vector<Stmt>& body) {
  const auto numbered = [&](const Expr& e) {
    return rewrite(e, [&](const Expr& n) -> Expr {
      if (n->op != ExprOp::checked_index) return {};
      return with_index(*n, n->args[0], static_cast<uint32_t>(program.add_fault_site(n->name + place)));
    });
  };
  for (Stmt& s : body) {
    for (Expr* e : {&s.low, &s.high, &s.step, &s.index, &s.value, &s.mask, &s.condition}) {
      if (*e) *e = numbered(*e);
    }
    number_faults(program, place, s.body);
    number_faults(program, place, s.otherwise);
  }
}

}  // namespace

void lower_kernel_form(PendingProgram& program, const Node& node) {
  const Graph& graph = *program.graph;
  KernelBuilder builder(graph, node);
  node.info->kernel(node, builder);
  if (builder.kernel().tasks == 0) return;
  PendingStep step;
  step.kernel = builder.kernel();
  for (size_t i = 0; i < builder.params().size(); ++i) {
    const KernelParam& p = builder.params()[i];
    Operand o;
    if (p.kind == KernelParam::Kind::scratch) o.value = program.add_temporary({p.dtype, {p.elements}, {}});
    else o = program.operand(p.value);
    step.operands.push_back(o);
  }
  const Location& where = graph.location(node);
  number_faults(program, where.known() ? ", at " + where.to_string() : "", step.kernel.body);
  step.label = step.kernel.name + (where.module_path.empty() ? "" : " (" + where.module_path + ")");
  program.steps.push_back(std::move(step));
}

}  // namespace mica::lower
