// Sees attention (attention.h) in a graph: follows the values from the second product back to the first, and writes what lies between as one
// expression over a row and a key.
#include <algorithm>

#include "attention.h"
#include "mica/ops/matmul.h"
#include "mica/ops/softmax.h"

namespace mica::lower {

namespace {

constexpr int64_t least_rows = 16;  ///< with fewer, packing the keys costs more than it saves
/// Stack for keys and values, which stay in the first cache beside the scores. Where they do not, the three kernels were measured to be as fast.
constexpr int64_t packed_bytes = 32 << 10;
constexpr int64_t most_keys = 2048;

/// Follows the values between the two products.
class Chain {
 public:
  explicit Chain(const Graph& graph) : graph_(graph), uses_(graph.count_uses()), result_(graph.values.size(), false) {
    graph.for_results([&](Value v) { result_[v.id] = true; });
  }

  /// The producer of a value that is read once, and in expression form.
  const Node* own(Value v) const {
    const Node* p = graph_.producer(v);
    return p && uses_[v.id] == 1 && !result_[v.id] && p->results.size() == 1 && p->info->define ? p : nullptr;
  }

  /// True when v is computed from one product, element by element; the values on the way are inlined, what else they read are leaves.
  bool reaches_product(Value v) {
    const Node* p = own(v);
    if (!p) return false;
    if (match<Matmul>(*p)) {
      product = p;
      return true;
    }
    if (!p->info->is(Trait::pointwise) && !p->info->is(Trait::view) && reduces(*p)) return false;
    std::vector<Value> others;
    bool reached = false;
    p->for_operands([&](Value o) {
      if (!reached && reaches_product(o)) reached = true;
      else others.push_back(o);
    });
    if (!reached) return false;
    inlined.insert(v.id);
    for (Value o : others) add_leaf(o);
    return true;
  }

  const Node* product = nullptr;
  std::set<uint32_t> inlined;
  std::vector<Value> leaves;

 private:
  const Graph& graph_;
  std::vector<uint32_t> uses_;
  std::vector<uint8_t> result_;

  bool reduces(const Node& n) const {
    Define d(graph_, n, 0);
    return has_reduction(n.info->define(n, d));
  }
  /// Views cost nothing, whoever else reads them.
  void add_leaf(Value v) {
    const Node* p = graph_.producer(v);
    if (!p || !p->info->is(Trait::view) || !p->info->define || p->results.size() != 1) return leaves.push_back(v);
    inlined.insert(v.id);
    p->for_operands([&](Value o) { add_leaf(o); });
  }
};

/// Indices of a matrix operand: its leading axes are those of the product's result, aligned to the right, where it has more than one element there.
std::vector<Expr> operand_index(const Shape& shape, const std::vector<Expr>& lead, const Expr& first, const Expr& second) {
  std::vector<Expr> where;
  const int64_t own = shape.rank() - 2;
  for (int64_t a = 0; a < own; ++a) where.push_back(shape[a] == 1 ? Expr(0) : lead[lead.size() - static_cast<size_t>(own) + static_cast<size_t>(a)]);
  where.push_back(first);
  where.push_back(second);
  return where;
}

Expr element(const Access& access, const std::vector<Expr>& where) {
  std::vector<VarBinding> bindings;
  for (size_t a = 0; a < where.size(); ++a) bindings.push_back({access.vars[a], where[a]});
  return simplify(substitute(access.flat, bindings));
}

/// The one place at which e reads v; nothing when there is none, or more than one.
std::optional<std::vector<Expr>> place_of(const Expr& e, Value v) {
  std::optional<std::vector<Expr>> place;
  bool same = true;
  visit(e, [&](const Expr& n) {
    if (n->op != ExprOp::load || n->id != v.id) return;
    if (!place) place = n->args;
    for (size_t a = 0; a < place->size(); ++a) same &= equivalent((*place)[a], n->args[a]);
  });
  return same ? place : std::nullopt;
}

bool ends_with(const std::vector<Expr>& where, const Expr& row, const Expr& key) {
  const size_t n = where.size();
  return n >= 2 && equivalent(simplify(where[n - 2]), row) && equivalent(simplify(where[n - 1]), key);
}

/// Sizes for which one kernel is faster than three.
bool pays(const Attention& a, const Target* target) {
  if (a.rows.low() < least_rows || a.keys.low() < 1) return false;
  if (a.dtype != a.sums()) return target && fits_attention_tiles(a, *target);
  const int64_t bytes = a.keys.high() > most_keys ? packed_bytes + 1 : a.keys.high() * (a.depths + a.columns) * size_of(a.dtype);
  return a.depths <= max_chain && bytes <= packed_bytes;
}

Expr in_sums(const Expr& e, DType sums);

/// `e` without the roundings to fewer bits on its way: where it turns a narrower value into one of `sums`, that is computed in them.
Expr unrounded(const Expr& e, DType sums) {
  return rewrite(e, [&](const Expr& n) -> Expr {
    const bool widens = n->op == ExprOp::cast && n->type.dtype == sums && working(n->args[0]->type.dtype) == sums && n->args[0]->type.dtype != sums;
    return widens ? in_sums(n->args[0], sums) : Expr();
  });
}

/// A value of fewer bits in those of `sums`. What is inside of it is unrounded already.
Expr in_sums(const Expr& e, DType sums) {
  if (e->op == ExprOp::cast && e->args[0]->type.dtype == sums) return e->args[0];
  if (e->op == ExprOp::select) return select(e->args[0], in_sums(e->args[1], sums), in_sums(e->args[2], sums));
  return convert(sums, e);
}

std::optional<Attention> describe_product(const Graph& graph, const Node& node, const Matmul& second, const Target* target) {
  Chain chain(graph);
  std::set<uint32_t> views;
  Value at = second.a;
  const Node* p = chain.own(at);
  for (; p && p->info->is(Trait::view); p = chain.own(at)) {
    views.insert(at.id);
    p->for_operands([&](Value v) { at = v; });
  }
  const auto softmax = p ? match<Softmax>(*p) : std::nullopt;
  const TensorType &weights = graph.type(second.a), &out = graph.type(node.results[0]);
  if (!softmax || weights.rank() != out.rank() || !chain.reaches_product(softmax->x)) return std::nullopt;
  const TensorType& scores = graph.type(softmax->x);
  if (scores.rank() < 2 || from_front(softmax->axis, scores.rank()) != scores.rank() - 1) return std::nullopt;
  for (int64_t axis = 0; axis < out.rank() - 1; ++axis)
    if (weights.shape[axis] != out.shape[axis]) return std::nullopt;
  const Matmul first = *match<Matmul>(*chain.product);
  const Shape &qs = graph.type(first.a).shape, &ks = graph.type(first.b).shape, &vs = graph.type(second.b).shape;
  if (qs.rank() < 2 || ks.rank() < 2 || vs.rank() < 2 || !qs[-1].is_static() || !vs[-1].is_static() || qs[-1] == 0) return std::nullopt;

  Attention a;
  a.dtype = out.dtype;
  a.rows = out.shape[-2];
  a.keys = ks[-1];
  a.depths = qs[-1].size();
  a.columns = vs[-1].size();
  a.safe = softmax->safe;
  if (weights.shape[-1] != a.keys || !pays(a, target)) return std::nullopt;
  for (int64_t axis = 0; axis < out.rank() - 2; ++axis) a.batch.push_back(make_place("batch", out.shape[axis]));
  a.row = make_place("row", a.rows);
  a.key = make_place("key", a.keys);
  a.depth = make_place("depth", a.depths);
  a.column = make_place("column", a.columns);
  const Expr weight = Inliner(graph, views).at(second.a, operand_index(weights.shape, a.batch, a.row, a.key));
  const auto of_softmax = place_of(weight, at);
  if (weight->op != ExprOp::load || !of_softmax || !ends_with(*of_softmax, a.row, a.key)) return std::nullopt;
  const Value product = chain.product->results[0];
  const Expr score = Inliner(graph, chain.inlined).at(softmax->x, *of_softmax);
  const auto of_product = place_of(score, product);
  if (!of_product || !ends_with(*of_product, a.row, a.key)) return std::nullopt;
  a.sum = make_var("sum", 0, 1, a.sums());
  const Expr of_sum =
      rewrite(score, [&](const Expr& n) -> Expr { return n->op == ExprOp::load && n->id == product.id ? cast(a.dtype, a.sum) : Expr(); });
  a.score = a.dtype == a.sums() ? of_sum : in_sums(unrounded(of_sum, a.sums()), a.sums());
  std::vector<Expr> lead = *of_product;
  lead.resize(lead.size() - 2);
  const Access query = resolve_access(graph, first.a, -1), key = resolve_access(graph, first.b, -1), value = resolve_access(graph, second.b, -1);
  a.query = query.base;
  a.keys_value = key.base;
  a.value = value.base;
  a.query_index = element(query, operand_index(qs, lead, a.row, a.depth));
  a.key_index = element(key, operand_index(ks, lead, a.depth, a.key));
  a.value_index = element(value, operand_index(vs, a.batch, a.key, a.column));
  a.leaves = chain.leaves;
  for (Value v : {a.query, a.keys_value, a.value, product, softmax->x})
    if (graph.type(v).dtype != a.dtype) return std::nullopt;
  return a;
}

}  // namespace

std::optional<Attention> describe_attention(const Graph& graph, const Node& node, const Target* target) {
  const auto second = match<Matmul>(node);
  if (!second) return std::nullopt;
  const DType dtype = graph.type(node.results[0]).dtype;
  if (!is_float(dtype)) return std::nullopt;
  try {
    return describe_product(graph, node, *second, target);
  } catch (const SymbolicSize&) { return std::nullopt; }
}

}  // namespace mica::lower
