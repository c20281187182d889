// The element is worked out through the meanings of the nodes that make it: each is an expression of elements of others.
#include "sizes.h"

#include <cstring>

#include "mica/ops/op.h"

namespace mica::frontend {
namespace {

constexpr int64_t most_elements = 64;  ///< of a tensor on the way: shapes are short
constexpr int deepest = 32;

class Holder {
 public:
  explicit Holder(const Graph& graph) : graph_(graph) {}

  /// The element of v at `where`; empty when it is no size.
  Expr element(Value v, const std::vector<Expr>& where, int depth) const {
    const TensorType& type = graph_.type(v);
    if (depth > deepest || type.dtype != DType::i64 || !type.shape.is_static() || type.shape.elements() > most_elements) return {};
    int64_t place = 0;
    for (int64_t a = 0; a < type.rank(); ++a) {
      const auto index = constant_int(simplify(where[static_cast<size_t>(a)]));
      if (!index || *index < 0 || *index >= type.shape[a].size()) return {};
      place = place * type.shape[a].size() + *index;
    }
    if (graph_.is_constant(v)) {
      int64_t value = 0;
      std::memcpy(&value, graph_.constant(v).bytes.data() + place * static_cast<int64_t>(sizeof value), sizeof value);
      return Expr(value);
    }
    const Node* made = maker(v);
    if (!made || !made->info->define || made->results.size() != 1) return {};
    Define d(graph_, *made, 0);
    std::vector<VarBinding> bindings;
    const Expr meaning = made->info->define(*made, d);
    for (size_t a = 0; a < where.size(); ++a) bindings.push_back({d.indices()[a], where[a]});
    const Expr e = resolved(simplify(substitute(meaning, bindings)), depth);
    return e && is_size(e) ? e : Expr();
  }

 private:
  const Node* maker(Value v) const {
    for (size_t i = graph_.nodes.size(); i-- > 0;)
      for (const Value r : graph_.nodes[i].results)
        if (r == v) return &graph_.nodes[i];
    return nullptr;
  }

  /// e with its loads and reductions worked out; empty when one of them is no size.
  Expr resolved(const Expr& e, int depth) const {
    if (e->op == ExprOp::load) {
      std::vector<Expr> where;
      for (size_t i = 0; i < e->args.size() - (e->masked ? 1 : 0); ++i) where.push_back(e->args[i]);
      return element(Value{e->id}, where, depth + 1);
    }
    if (e->op == ExprOp::reduce) return reduced(e, depth);
    if (e->op == ExprOp::select) {
      const auto known = constant_int(simplify(e->args[0]));
      return known ? resolved(e->args[*known ? 1 : 2], depth) : Expr();
    }
    if (e->args.empty()) return e;
    std::vector<Expr> args;
    for (const Expr& a : e->args) {
      args.push_back(resolved(a, depth));
      if (!args.back()) return {};
    }
    return simplify(with_args(e, std::move(args)));
  }

  Expr reduced(const Expr& e, int depth) const {
    if (e->vars.size() != 1 || e->vars[0]->extent || e->vars[0]->limit - e->vars[0]->int_value > most_elements) return {};
    Expr total;
    for (int64_t i = e->vars[0]->int_value; i < e->vars[0]->limit; ++i) {
      const Expr next = resolved(simplify(substitute(e->args[0], {{e->vars[0], Expr(i)}})), depth);
      if (!next) return {};
      total = total ? reduce_combine(e->reduce_op, total, next) : next;
    }
    return total ? simplify(total) : Expr();
  }

  const Graph& graph_;
};

}  // namespace

std::optional<Dim> held_size(const Graph& graph, Value v) {
  const TensorType& type = graph.type(v);
  if (graph.symbols.empty() || type.dtype != DType::i64 || !type.shape.is_static() || type.shape.elements() != 1) return std::nullopt;
  const Expr e = Holder(graph).element(v, std::vector<Expr>(static_cast<size_t>(type.rank()), Expr(0)), 0);
  return e ? std::optional(Dim::of(e)) : std::nullopt;
}

}  // namespace mica::frontend
