// Cuts the graph into regions, from its outputs backwards. A value is computed inside its consumer's region when that costs nothing
// that a trip through memory would not: views always, pointwise work with a single user, and one anchor whose elements the rest
// of the region takes over one by one (its epilogue).
#include <algorithm>
#include <map>

#include "mica/ops/index.h"
#include "mica/ops/measure.h"
#include "mica/ops/relayout.h"
#include "mica/ops/view.h"
#include "region.h"

namespace mica::lower {

bool has_own_place(const Graph& graph, Value v) {
  const Node* node = graph.producer(v);
  bool result = false;
  graph.for_results([&](Value r) { result |= r == v; });
  return node && !has_region(*node) && !result;
}

std::vector<Expr> index_vars(const Shape& shape) {
  std::vector<Expr> vars;
  for (int64_t a = 0; a < shape.rank(); ++a) vars.push_back(make_place(fmt::format("i{}", a), shape[a]));
  return vars;
}

std::optional<LinearIndex> linear_index(const Expr& flat, const std::vector<Expr>& vars) {
  const Affine sum = to_affine(flat);
  LinearIndex out;
  out.offset = sum.constant;
  out.strides.assign(vars.size(), Dim(0));
  for (const Affine::Term& t : sum.terms) {
    Dim stride = t.coefficient;
    Expr var;
    bool good = true;
    const std::function<void(const Expr&)> factor = [&](const Expr& f) {
      if (f->op == ExprOp::mul) {
        factor(f->args[0]);
        factor(f->args[1]);
      } else if (is_size(f)) {
        stride *= Dim::of(f);
      } else {
        good = good && !var && f->op == ExprOp::var;
        var = f;
      }
    };
    factor(t.atom);
    if (!good) return std::nullopt;
    Dim* to = &out.offset;
    for (size_t i = 0; var && i < vars.size(); ++i) {
      if (vars[i]->id == var->id) to = &out.strides[i];
    }
    if (var && to == &out.offset) return std::nullopt;
    *to += stride;
  }
  return out;
}

bool has_reduction(const Expr& e) {
  bool found = false;
  visit(e, [&](const Expr& n) { found |= n->op == ExprOp::reduce; });
  return found;
}

Expr Inliner::expand_loads(const Expr& e) const {
  return rewrite(e, [&](const Expr& n) -> Expr {
    if (n->op != ExprOp::load || !inlined_.count(n->id)) return {};
    MICA_CHECK(!n->masked, "masked loads appear after inlining only");
    return expand(Value{n->id}, n->args);
  });
}

Expr Inliner::expand(Value v, const std::vector<Expr>& where) const {
  size_t key = v.id;
  for (const Expr& w : where) key = key * 1000003 + w->hash;
  for (auto [at, end] = known_.equal_range(key); at != end; ++at) {
    const Known& k = at->second;
    bool same = k.value == v && k.where.size() == where.size();
    for (size_t a = 0; same && a < where.size(); ++a) same = equivalent(k.where[a], where[a]);
    if (same) return k.expr;
  }
  const Expr e = expand_once(v, where);
  known_.emplace(key, Known{v, where, e});
  return e;
}

Expr Inliner::expand_once(Value v, const std::vector<Expr>& where) const {
  const Node* node = graph_.producer(v);
  MICA_CHECK(node && node->info->define, "only ops in expression form are inlined");
  const size_t result = std::find(node->results.begin(), node->results.end(), v) - node->results.begin();
  Define d(graph_, *node, result);
  const Expr meaning = node->info->define(*node, d);
  std::vector<VarBinding> bindings;
  for (size_t a = 0; a < where.size(); ++a) bindings.push_back({d.indices()[a], where[a]});
  return expand_loads(simplify(substitute(meaning, bindings)));
}

Expr Inliner::at(Value v, const std::vector<Expr>& where) const {
  if (inlined_.count(v.id)) return expand(v, where);
  return make_load(v.id, {graph_.type(v).dtype, 1}, where);
}

namespace {

/// What fusion asks of a node, found once.
struct NodeFacts {
  bool expression = false;  ///< has a `define` and one result
  bool reduces = false;
  bool scheduled = false;
  double cost = 0;                   ///< per element: rough count of arithmetic, transcendental functions weigh more
  std::map<uint32_t, double> reads;  ///< by operand's value id: how often the meaning spells it
};

double cost_of(const Expr& e) {
  double cost = 0;
  visit(e, [&](const Expr& n) {
    if (n->type.dtype == DType::i64 || n->args.empty()) return;
    const bool transcendental = (n->op >= ExprOp::exp && n->op <= ExprOp::expm1) || n->op == ExprOp::pow || n->op == ExprOp::atan2;
    cost += transcendental ? 12 : n->op == ExprOp::div ? 4 : n->op == ExprOp::load ? 0 : 1;
  });
  return cost;
}

/// How often each value is loaded in e, written out as a tree.
std::map<uint32_t, double> count_reads(const Expr& e) {
  std::map<const ExprNode*, std::map<uint32_t, double>> counts;
  visit(e, [&](const Expr& n) {
    std::map<uint32_t, double>& own = counts[n.get()];
    if (n->op == ExprOp::load) own[n->id] += 1;
    for (const Expr& a : n->args) {
      for (const auto& [id, times] : counts[a.get()]) own[id] += times;
    }
  });
  return counts[e.get()];
}

/// Ops that have a kernel for each part of their result, which can compute what it stores.
bool writes_parts(const Node& n) { return match<Cat>(n) || match<UpdateAt>(n); }

/// Work on a value that is broadcast goes with what makes the value where it would be repeated so often, and is so much in all.
constexpr double many_repeats = 8, much_work = 1 << 14;
constexpr double kernels_work = 1 << 18;  ///< arithmetic that takes longer than a kernel takes to start
constexpr size_t most_inlined = 96;       ///< values computed within one region
constexpr double most_times = 64;         ///< spellings of one value in a region's expression: x * sigmoid(x) of such a product doubles

class Fuser {
 public:
  Fuser(const Graph& graph, bool schedules, const Target* target)
      : graph_(graph), schedules_(schedules), target_(target), uses_(graph.count_uses()), required_(graph.values.size(), 0) {
    for (const Node& n : graph.nodes) facts_.push_back(facts(n));
    graph.for_results([&](Value v) { required_[v.id] = 1; });
  }

  std::vector<Region> run() {
    std::vector<Region> regions;
    for (size_t i = graph_.nodes.size(); i-- > 0;) {
      const Node& node = graph_.nodes[i];
      if (has_region(node) || node.results.empty()) {
        if (needed(node)) regions.push_back(build_effect(node));
        continue;
      }
      for (size_t r = node.results.size(); r-- > 0;) {
        if (required_[node.results[r].id]) regions.push_back(build(node, node.results[r]));
      }
    }
    std::reverse(regions.begin(), regions.end());
    return regions;
  }

 private:
  const Graph& graph_;
  bool schedules_;
  const Target* target_;
  std::vector<uint32_t> uses_;
  std::vector<uint8_t> required_;
  std::vector<NodeFacts> facts_;

  bool needed(const Node& n) const {
    return n.results.empty() || std::any_of(n.results.begin(), n.results.end(), [&](Value r) { return required_[r.id]; });
  }

  /// A node with regions and a measuring read their operands from memory; one that only has an effect computes them as it goes.
  Region build_effect(const Node& root) {
    Region region;
    region.root = &root;
    if (has_region(root) || match<Measure>(root)) {
      root.for_operands([&](Value v) { require(v); });
      return region;
    }
    Candidates candidates;
    Candidate how;
    how.prologue = true;
    offer_operands(candidates, root, how);
    decide_all(region, candidates);
    return region;
  }

  NodeFacts facts(const Node& n) const {
    NodeFacts f;
    f.scheduled = schedules_ && has_schedule(graph_, n, target_);
    if (!n.info->define || n.results.size() != 1 || writes_parts(n)) return f;
    Define d(graph_, n, 0);
    const Expr e = n.info->define(n, d);
    f.expression = true;
    f.reduces = has_reduction(e);
    f.cost = cost_of(e);
    f.reads = count_reads(e);
    return f;
  }
  const NodeFacts& facts_of(const Node* n) const { return facts_[n - graph_.nodes.data()]; }
  bool is_anchor(const Node* n) const { return facts_of(n).scheduled || facts_of(n).reduces; }

  void require(Value v) {
    if (graph_.producer(v)) required_[v.id] = 1;
  }

  /// A value that a node of the region reads, waiting for the decision whether it is computed in the region too.
  struct Candidate {
    uint32_t uses = 0;        ///< by nodes of the region
    bool duplicated = false;  ///< some user in the region is computed elsewhere as well
    bool prologue = false;    ///< read by the anchor: computed before it
    double budget = 1e9;      ///< what its computation may cost per element
    double times = 0;         ///< how often the region's expression would spell it
    double elements = 0;      ///< most elements of a value that is computed from it in the region
  };
  using Candidates = std::map<uint32_t, Candidate>;  // by index of the producing node: users before what they use

  Region build(const Node& root, Value output) {
    Region region;
    region.root = &root;
    region.output = output;
    Candidates candidates;
    if (is_anchor(&root) || !facts_of(&root).expression) {
      region.anchor = &root;
      region.anchor_value = output;
      close_anchor(region, candidates);
    } else if (scatters(root)) {
      root.for_operands([&](Value v) { require(v); });
    } else {
      offer_operands(candidates, root, Candidate{});
    }
    decide_all(region, candidates);
    find_alias(region);
    return region;
  }

  /// From the last node to the first, so that all users of a value are decided before it is.
  void decide_all(Region& region, Candidates& candidates) {
    while (!candidates.empty()) {
      const auto last = std::prev(candidates.end());
      const uint32_t index = last->first;
      const Candidate c = last->second;
      candidates.erase(last);
      decide(region, candidates, graph_.nodes[index], c);
    }
  }

  void offer(Candidates& candidates, const Node& user, Value v, const Candidate& how) {
    const Node* p = graph_.producer(v);
    if (!p) return;
    Candidate& c = candidates[static_cast<uint32_t>(p - graph_.nodes.data())];
    ++c.uses;
    c.duplicated |= how.duplicated;
    c.prologue |= how.prologue;
    c.budget = std::min(c.budget, how.budget);
    for (Value r : user.results) c.elements = std::max({c.elements, how.elements, elements(r)});
    const std::map<uint32_t, double>& reads = facts_of(&user).reads;
    const auto found = reads.find(v.id);
    const double spelt = found == reads.end() ? 1.0 : found->second;
    const double expanded = facts_of(&user).cost >= 12 ? 4 : 1;  // exp and its like spell their operand again when they become arithmetic
    c.times = std::max(c.times, std::max(how.times, 1.0) * spelt * expanded);
  }
  void offer_operands(Candidates& candidates, const Node& node, const Candidate& how) {
    node.for_operands([&](Value v) { offer(candidates, node, v, how); });
  }

  void decide(Region& region, Candidates& candidates, const Node& p, const Candidate& c) {
    const NodeFacts& f = facts_of(&p);
    if (p.results.size() != 1) {
      for (Value r : p.results) require(r);
      return;
    }
    const Value v = p.results[0];
    if (!graph_.type(v).layout.within.empty()) return require(v);
    const bool all_here = uses_[v.id] == c.uses && !c.duplicated && !required_[v.id];
    if (is_anchor(&p)) {
      if (region.anchor || c.prologue || !all_here) return require(v);
      region.anchor = &p;
      region.anchor_value = v;
      if (store_indices(graph_, region, index_vars(graph_.type(v).shape))) return close_anchor(region, candidates);
      region.anchor = nullptr;
      region.anchor_value = {};
      return require(v);
    }
    if (f.cost > 1 && all_here && repeats(v, f.cost, c.elements) && (f.cost * c.elements >= kernels_work || ends_schedule(p))) return require(v);
    const bool free = f.expression && (p.info->is(Trait::view) || (f.cost <= 1 && reads_nothing(p)) || graph_.type(v).shape.elements().high() <= 1);
    if (!f.expression || f.cost > c.budget || c.times > most_times || !(all_here || free) || region.inlined.size() > most_inlined) return require(v);
    region.inlined.insert(v.id);
    if (!region.anchor && scatters(p)) return p.for_operands([&](Value o) { require(o); });
    Candidate next = c;
    next.uses = 0;
    next.duplicated = !all_here;
    next.budget -= f.cost;
    offer_operands(candidates, p, next);
  }

  double elements(Value v) const { return static_cast<double>(graph_.type(v).shape.elements().typical()); }
  bool repeats(Value v, double cost, double consumer) const { return consumer >= many_repeats * elements(v) && cost * consumer >= much_work; }
  /// True when what p computes would be the epilogue of a schedule: pointwise work on its result and on what is in memory.
  bool ends_schedule(const Node& p) const {
    bool scheduled = false, other = false;
    p.for_operands([&](Value v) {
      const Node* n = graph_.producer(v);
      if (!n || required_[v.id] || uses_[v.id] > 1) return;
      if (facts_of(n).scheduled || (!is_anchor(n) && facts_of(n).expression && ends_schedule(*n))) scheduled = true;
      else if (is_anchor(n)) other = true;
    });
    return scheduled && !other;
  }

  /// The axis along which elements of a type lie side by side; -1 for a single element.
  static int64_t innermost(const TensorType& t) {
    for (int64_t place = t.rank(); place-- > 0;)
      if (const int64_t axis = axis_at(t, place); t.shape[axis] != 1) return axis;
    return -1;
  }
  /// True when a schedule that stored through p would scatter the lanes of each vector: a kernel that turns the axes is faster.
  bool scatters(const Node& p) const {
    const auto relayout = match<Relayout>(p);
    return relayout && innermost(graph_.type(relayout->x)) != innermost(graph_.type(p.results[0])) && ends_schedule(p);
  }

  static bool reads_nothing(const Node& n) {
    bool reads = false;
    n.for_operands([&](Value) { reads = true; });
    return !reads;
  }

  /// What the anchor reads: a schedule takes operands from memory; a reduction takes pointwise work with it.
  void close_anchor(Region& region, Candidates& candidates) {
    const Node& anchor = *region.anchor;
    Candidate how;
    how.prologue = true;
    if (facts_of(&anchor).scheduled) {
      for (const Access& a : scheduled_operands(graph_, anchor, target_)) require(a.base);
      return;
    }
    how.budget = writes_parts(anchor) ? 1e9 : facts_of(&anchor).expression ? prologue_budget(anchor) : -1;
    if (const auto update = match<UpdateAt>(anchor)) {  // the whole that is updated is in memory, and stays there
      require(update->x);
      offer(candidates, anchor, update->row, how);
      return offer(candidates, anchor, update->index, how);
    }
    offer_operands(candidates, anchor, how);
  }

  /// A reduction along one row stages what it reads (generic.cpp), so any pointwise work may move in; elsewhere an element is
  /// read many times, and only what costs next to nothing does.
  double prologue_budget(const Node& anchor) const {
    double reads = 1;
    Define d(graph_, anchor, 0);
    const Expr e = anchor.info->define(anchor, d);
    visit(e, [&](const Expr& n) {
      if (n->op != ExprOp::reduce) return;
      double extent = 1;
      for (const Expr& v : n->vars) extent *= static_cast<double>((extent_end(v) - v->int_value).typical());
      reads = std::max(reads, extent);
    });
    const double result = static_cast<double>(std::max<int64_t>(graph_.type(anchor.results[0]).shape.elements().typical(), 1));
    double operand = 1;
    anchor.for_operands([&](Value v) { operand = std::max(operand, static_cast<double>(graph_.type(v).shape.elements().typical())); });
    const bool reads_once = operand <= 1.01 * result || reads * result <= 1.01 * operand;
    return reads_once ? 64 : 2;
  }

  /// A region that only moves elements to where they already are is no kernel: its output is its input's bytes.
  void find_alias(Region& region) const {
    if (region.anchor) return;
    const TensorType& type = graph_.type(region.output);
    if (!has_own_place(graph_, region.output) || !type.layout.within.empty() || type.shape.elements() == 0) return;
    const Inliner inliner(graph_, region.inlined);
    const std::vector<Expr> vars = index_vars(type.shape);
    const Expr e = inliner.expand(region.output, vars);
    if (e->op != ExprOp::load) return;
    const Value base{e->id};
    if (!has_own_place(graph_, base)) return;  // no zeros can stand behind others (contraction.h)
    if (graph_.type(base).dtype != type.dtype) return;
    const Expr difference = simplify(flat_index(graph_.type(base), e->args) - flat_index(type, vars));
    const auto offset = constant_int(difference);
    if (!offset || (*offset * size_of(type.dtype)) % 64 != 0) return;
    region.alias_of = base;
    region.alias_offset = *offset;
  }
};

/// The result's indices as functions of operand `v`'s, for pointwise ops that do not broadcast v and for invertible views.
std::optional<std::vector<Expr>> forward_indices(const Graph& graph, const Node& node, Value v, const std::vector<Expr>& where) {
  const TensorType& from = graph.type(v);
  const TensorType& to = graph.type(node.results[0]);
  if (auto permute = match<Permute>(node)) {
    std::vector<Expr> result;
    for (int64_t a : permute->axes.items) result.push_back(where[a]);
    return result;
  }
  if (match<Reshape>(node)) {
    TensorType row_major = from;
    row_major.layout = {};
    const Expr flat = flat_index(row_major, where);
    std::vector<Expr> result(to.rank());
    Dim stride = 1;
    for (int64_t a = to.rank(); a-- > 0;) {
      result[a] = a == 0 ? floordiv(flat, stride) : floormod(floordiv(flat, stride), to.shape[a]);
      result[a] = to.shape[a] == 1 ? Expr(0) : simplify(result[a]);
      stride *= Dim::max(to.shape[a], 1);
    }
    return result;
  }
  const bool same_place = node.info->is(Trait::pointwise) || match<Relayout>(node);
  if (same_place && from.shape == to.shape) return where;
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<Expr>> store_indices(const Graph& graph, const Region& region, const std::vector<Expr>& vars) {
  // From the anchor towards the root, keeping for every value on the way where the anchor's element lands in it.
  std::map<uint32_t, std::vector<Expr>> places{{region.anchor_value.id, vars}};
  const auto first = static_cast<size_t>(graph.producer(region.anchor_value) - graph.nodes.data());
  const auto last = static_cast<size_t>(region.root - graph.nodes.data());
  for (size_t i = first + 1; i <= last; ++i) {
    const Node& node = graph.nodes[i];
    if (node.results.size() != 1 || (i != last && !region.inlined.count(node.results[0].id))) continue;
    std::optional<std::vector<Expr>> place;
    bool possible = true;
    node.for_operands([&](Value v) {
      const auto found = places.find(v.id);
      if (found == places.end()) return;
      auto next = forward_indices(graph, node, v, found->second);
      if (!next) possible = false;
      else if (!place) place = std::move(next);
      else
        for (size_t a = 0; a < place->size(); ++a) possible &= equivalent((*place)[a], (*next)[a]);
    });
    if (!possible) return std::nullopt;
    if (place) places.emplace(node.results[0].id, std::move(*place));
  }
  const auto found = places.find(region.output.id);
  if (found == places.end()) return std::nullopt;
  return found->second;
}

Access direct_access(const Graph& graph, Value v) {
  Access access{v, index_vars(graph.type(v).shape), {}};
  access.flat = flat_index(graph.type(v), access.vars);
  return access;
}

Access resolve_access(const Graph& graph, Value v, int64_t unit_axis) {
  Access access = direct_access(graph, v);
  std::vector<Expr> where = access.vars;
  Value at = v;
  const auto acceptable = [&](Value base, const std::vector<Expr>& indices) -> std::optional<Expr> {
    const Expr flat = flat_index(graph.type(base), indices);
    const auto linear = linear_index(flat, access.vars);
    if (!linear) return std::nullopt;
    if (unit_axis >= 0 && graph.type(v).shape[unit_axis] != 1 && linear->strides[unit_axis] != 1) return std::nullopt;
    return flat;
  };
  while (const Node* p = graph.producer(at)) {
    if (!p->info->is(Trait::view) || !p->info->define || p->results.size() != 1) break;
    Define d(graph, *p, 0);
    std::vector<VarBinding> bindings;
    for (size_t a = 0; a < where.size(); ++a) bindings.push_back({d.indices()[a], where[a]});
    const Expr e = simplify(substitute(p->info->define(*p, d), bindings));
    if (e->op != ExprOp::load) break;
    at = Value{e->id};
    where = e->args;
    if (auto flat = acceptable(at, where)) {
      access.base = at;
      access.flat = *flat;
    }
  }
  return access;
}

std::vector<Region> fuse_regions(const Graph& graph, bool schedules, const Target* target) { return Fuser(graph, schedules, target).run(); }

}  // namespace mica::lower
