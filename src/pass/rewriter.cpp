// The one rewrite engine. A sweep walks the nodes in order and copies them to a new list; a rule may put nodes in front of the
// one at hand and replace that one's results. Sweeps repeat until none changes anything.
#include "mica/pass/pass.h"

namespace mica {

namespace {
constexpr uint32_t nobody = ~0u;
constexpr int greatest_sweeps = 64;  // a bound against rules that undo each other; real graphs settle in two or three
}  // namespace

Rewriter::Rewriter(Graph& graph, PassContext& context)
    : graph_(graph), context_(context), maker_(graph.values.size(), nobody), uses_(graph.count_uses()), forward_(graph.values.size()) {}

Value Rewriter::resolve(Value v) const {
  while (v.id < forward_.size() && forward_[v.id]) v = forward_[v.id];
  return v;
}

const Node* Rewriter::producer_node(Value v) const {
  if (!v) return nullptr;
  v = resolve(v);
  return v.id < maker_.size() && maker_[v.id] != nobody ? &out_[maker_[v.id]] : nullptr;
}

uint32_t Rewriter::uses(Value v) const {
  v = resolve(v);
  return v.id < uses_.size() ? uses_[v.id] : 0;
}

std::vector<Value> Rewriter::append(const OpInfo* info, std::vector<Attr> fields) {
  Node node{info, std::move(fields), {}, at_ ? at_->location : 0};
  auto types = info->infer(node, Infer(graph_, node, *context_.diagnostics));
  if (!types) return {};
  for (TensorType& t : *types) node.results.push_back(graph_.add_value(std::move(t)));
  maker_.resize(graph_.values.size(), nobody);
  uses_.resize(graph_.values.size(), 0);
  forward_.resize(graph_.values.size());
  node.for_operands([&](Value v) { ++uses_[resolve(v).id]; });
  for (const Value r : node.results) maker_[r.id] = static_cast<uint32_t>(out_.size());
  out_.push_back(node);
  return node.results;
}

Value Rewriter::constant(TensorType type, ConstantData data) {
  const Value v = graph_.add_constant(std::move(type), std::move(data));
  maker_.resize(graph_.values.size(), nobody);
  uses_.resize(graph_.values.size(), 0);
  forward_.resize(graph_.values.size());
  return v;
}

Value Rewriter::scalar(DType dtype, double value) { return constant({dtype, {}, {}}, ConstantData::own(scalar_bytes(dtype, value))); }

void Rewriter::replace(std::vector<Value> with) {
  MICA_CHECK(!replaced_ && with.size() == at_->results.size(), at_->info->name());
  for (size_t i = 0; i < with.size(); ++i) {
    MICA_CHECK(static_cast<bool>(with[i]), fmt::format("a rewrite of {} does not infer\n{}", at_->info->name(), context_.diagnostics->to_string()));
    const Value from = at_->results[i], to = resolve(with[i]);
    MICA_CHECK(from != to && type(from).dtype == type(to).dtype && type(from).shape == type(to).shape, at_->info->name());
    forward_[from.id] = to;
    uses_[to.id] += uses_[from.id];
    uses_[from.id] = 0;
    // A name that the user knows outlives the node.
    if (graph_.values[to.id].name.empty()) graph_.values[to.id].name = graph_.values[from.id].name;
  }
  replaced_ = true;
}

bool run_rewrite(Graph& graph, PassContext& context, bool (*rule)(Rewriter&)) {
  bool changed = false;
  for (int sweep = 0; sweep < greatest_sweeps; ++sweep) {
    Rewriter rw(graph, context);
    bool swept = false;
    for (Node& node : graph.nodes) {
      node.map_operands([&](Value v) { return rw.resolve(v); });
      rw.at_ = &node;
      rw.replaced_ = false;
      try {
        rule(rw);
      } catch (const SymbolicSize&) {
        // The rule asks for an answer that differs within a symbol's range: it does not apply. What it made so far has no user.
      }
      if (rw.replaced_) {
        node.for_operands([&](Value v) { --rw.uses_[rw.resolve(v).id]; });
        swept = true;
        if (is_pure(node)) continue;
      }
      for (const Value r : node.results) rw.maker_[r.id] = static_cast<uint32_t>(rw.out_.size());
      rw.out_.push_back(std::move(node));
    }
    graph.map_results([&](Value v) { return rw.resolve(v); });
    graph.nodes.assign(std::make_move_iterator(rw.out_.begin()), std::make_move_iterator(rw.out_.end()));
    graph.renumber();
    changed |= remove_dead_nodes(graph) || swept;
    if (!swept) break;
  }
  return changed;
}

bool remove_dead_nodes(Graph& graph) {
  bool changed = false;
  std::vector<bool> live(graph.values.size()), mentioned(graph.symbols.size());
  graph.for_results([&](Value v) { live[v.id] = true; });
  std::vector<Node> kept;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    Node& n = graph.nodes[i];
    bool needed = !is_pure(n);
    for (const Value r : n.results) needed |= live[r.id];
    if (const auto symbol = measured_by(n)) needed = mentioned.at(*symbol);
    if (!needed) {
      changed = true;
      continue;
    }
    n.for_operands([&](Value v) { live[v.id] = true; });
    if (!mentioned.empty()) for_mentions(graph, n, [&](uint32_t symbol) { mentioned.at(symbol) = true; });
    kept.push_back(std::move(n));
  }
  graph.nodes.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
  graph.renumber();
  return changed;
}

Graph clone(const Graph& graph) {
  Graph copy = graph;
  for (Node& n : copy.nodes)
    for (Attr& a : n.fields)
      if (auto r = std::get_if<Region>(&a); r && r->graph) r->graph = std::make_shared<Graph>(clone(*r->graph));
  return copy;
}

}  // namespace mica
