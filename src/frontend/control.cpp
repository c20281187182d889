// Control flow that depends on data. A branch or a loop's body is evaluated into the graph like everything else and then taken out of it again:
// its nodes become a region, and what it changed is undone (journal.h), compared with the other branch's changes, and merged (merge.h) into values
// that the `if` or `loop` yields. So lists, attributes and storages that a branch changes are results of it like its locals.
#include "mica/ops/control.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "evaluator.h"
#include "mica/ops/compare.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/measure.h"
#include "mica/support/defect.h"
#include "regions.h"

namespace mica::frontend {
namespace {

using torch::jit::Block;

/// Loops whose iterations are known are unrolled, since then their indices fold and their parts fuse, while that gives no more nodes than this:
/// more than the largest models have outside of loops, and what is still compiled within a minute.
constexpr int64_t max_unrolled_nodes = 2000;
/// A loop that may end early and cannot be a region is unrolled behind conditions up to this many times.
constexpr int64_t max_guarded = 64;

/// Raised inside of attempts only.
struct GiveUp {};

/// "y.5" => "y": LibTorch numbers the values of one local; what it made itself has a number alone.
std::string local_name(const torch::jit::Value* value) {
  const std::string name = value->debugName();
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return {};
  return name.substr(0, name.find('.'));
}

std::vector<std::string> names_of(at::ArrayRef<const torch::jit::Value*> values) {
  std::vector<std::string> names;
  for (const torch::jit::Value* v : values) names.push_back(local_name(v));
  return names;
}

}  // namespace

void keep_first(Diagnostics& diagnostics, size_t count) {
  Diagnostics kept;
  for (size_t i = 0; i < count; ++i) {
    const Diagnostic& d = diagnostics.all()[i];
    kept.add(d.severity, d.error_class, d.name, d.message) = d;
  }
  diagnostics = std::move(kept);
}

// ---- parts evaluated apart ----

std::vector<mica::Node> Evaluator::take_nodes(size_t from) {
  const auto begin = graph_.nodes.begin() + static_cast<int64_t>(from);
  std::vector<mica::Node> nodes(std::make_move_iterator(begin), std::make_move_iterator(graph_.nodes.end()));
  graph_.nodes.erase(begin, graph_.nodes.end());
  return nodes;
}

void Evaluator::adopt(const Journal& merged) {
  const auto put = [this]<class T>(const Changes<T>& changes) {
    for (const auto& [object, state] : changes.entries()) {
      touch(*object);
      *object = state;
    }
  };
  put(merged.changes<Storage>());
  put(merged.changes<ListObject>());
  put(merged.changes<DictObject>());
  put(merged.changes<InstanceObject>());
}

Evaluator::Apart Evaluator::run_apart(const Part& part, const Journal* state) {
  Apart apart{Journal(born_ + 1), {}, {}, {}};
  const size_t from = graph_.nodes.size(), callers = callers_.size();
  const std::string path = path_;
  const torch::jit::Node* node = node_;
  const int depth = depth_;
  frames_.push_back(&apart.journal);
  const auto leave = [&] {
    frames_.pop_back();
    apart.journal.exchange();
    apart.nodes = take_nodes(from);
    path_ = path;
    callers_.resize(callers);
    depth_ = depth;
    node_ = node;
    if (node) enter(*node);
  };
  try {
    if (state) adopt(*state);
    apart.results = part();
  } catch (const Raised& raised) { apart.raised = raised; } catch (...) {
    leave();
    throw;
  }
  leave();
  return apart;
}

void Evaluator::commit(Apart& apart) {
  apart.journal.exchange();
  if (!frames_.empty()) {
    const auto keep = [&]<class T>(const Changes<T>& changes) {
      for (const auto& [object, state] : changes.entries()) {
        if (object->born < frames_.back()->start()) frames_.back()->changes<T>().record(object, state);
      }
    };
    keep(apart.journal.changes<Storage>());
    keep(apart.journal.changes<View>());
    keep(apart.journal.changes<ListObject>());
    keep(apart.journal.changes<DictObject>());
    keep(apart.journal.changes<InstanceObject>());
  }
  std::move(apart.nodes.begin(), apart.nodes.end(), std::back_inserter(graph_.nodes));
}

void Evaluator::inside(Apart& apart, const std::function<void()>& f) {
  const size_t from = graph_.nodes.size();
  std::move(apart.nodes.begin(), apart.nodes.end(), std::back_inserter(graph_.nodes));
  apart.journal.exchange();
  frames_.push_back(&apart.journal);
  f();
  frames_.pop_back();
  apart.journal.exchange();
  apart.nodes = take_nodes(from);
}

bool Evaluator::attempt(const std::function<void()>& f) {
  const size_t messages = diagnostics_.all().size(), errors = diagnostics_.error_count();
  const auto unsupported = unsupported_, in_training = in_training_;
  const int errors_here = errors_here_;
  const bool warned = warned_input_;
  const auto count = [](const auto& map) {
    int64_t n = 0;
    for (const auto& [name, u] : map) n += u.count;
    return n;
  };
  try {
    Apart apart = run_apart([&] { return f(), std::vector<Item>{}; });
    if (diagnostics_.error_count() == errors && count(unsupported_) == count(unsupported) && count(in_training_) == count(in_training)) {
      commit(apart);
      if (apart.raised) throw Raised(*apart.raised);
      return true;
    }
  } catch (const Stop&) {
  } catch (const GiveUp&) {}
  keep_first(diagnostics_, messages);
  unsupported_ = unsupported, in_training_ = in_training;
  errors_here_ = errors_here, warned_input_ = warned;
  return false;
}

Value Evaluator::value_of(const Leaf::Source& source, const TensorType& type) {
  if (const auto* contents = std::get_if<ContentsRef>(&source)) return materialise(*contents);
  const Item& item = std::get<Item>(source);
  if (const auto* list = item.list()) return rows_value(*list, type);
  return item.tensor() ? value_of(*item.tensor()) : number_value(item, type.dtype);
}

// ---- branches ----

void Evaluator::check(const Number& condition, bool holds, const Raised& raised) {
  Value value = materialise(condition.contents);
  if (!holds) value = builder_.create(LogicalNot{value});
  builder_.create_all(Check{value, raised.message});
}

std::vector<Item> Evaluator::branch(const Number& condition, const Part& then, const Part& otherwise, const std::vector<std::string>& names) {
  const size_t symbols = graph_.symbols.size();
  Apart one = run_apart(then), other = run_apart(otherwise);
  if (one.raised && other.raised) throw Raised(*one.raised);
  if (!one.raised && !other.raised) return merge_branches(condition, one, other, names, symbols);
  // What raises becomes a check; the other branch is the rest of the program.
  check(condition, !one.raised, one.raised ? *one.raised : *other.raised);
  Apart& rest = one.raised ? other : one;
  commit(rest);
  return std::move(rest.results);
}

/// `symbols` is how many there were before the branches.
std::vector<Item> Evaluator::merge_branches(const Number& number, Apart& one, Apart& other, const std::vector<std::string>& names, size_t symbols) {
  Merger merger(*this, one.journal, other.journal, {}, "in one branch", "in the other");
  merger.merge_sizes(graph_, symbols, number);
  const Value condition = materialise(number.contents);
  std::vector<Item> results;
  for (size_t i = 0; i < one.results.size(); ++i)
    results.push_back(merger.merge(one.results[i], other.results[i], i < names.size() ? names[i] : std::string()));
  const Journal objects = merger.merge_objects(one.journal.start());
  std::vector<Value> then_yields, else_yields;
  inside(one, [&] {
    for (const Leaf& leaf : merger.leaves()) then_yields.push_back(grow(value_of(leaf.a, leaf.merged->type), leaf.merged->type));
    for (const MergedSize& size : merger.sizes()) then_yields.push_back(builder_.create(SizeValue{size.a}));
  });
  inside(other, [&] {
    for (const Leaf& leaf : merger.leaves()) {
      const Item* number = std::get_if<Item>(&leaf.a);
      const bool slip = defect(Defect::merged_number) && number && number->plain();
      else_yields.push_back(grow(value_of(slip ? leaf.a : leaf.b, leaf.merged->type), leaf.merged->type));
    }
    for (const MergedSize& size : merger.sizes()) else_yields.push_back(builder_.create(SizeValue{size.b}));
  });
  const auto has_effect = [](const std::vector<mica::Node>& nodes) { return !std::all_of(nodes.begin(), nodes.end(), is_pure); };
  if (!then_yields.empty() || has_effect(one.nodes) || has_effect(other.nodes)) {
    std::vector<Value> captures;
    find_captures(graph_, one.nodes, then_yields, {}, captures);
    find_captures(graph_, other.nodes, else_yields, {}, captures);
    const std::vector<Value> made = builder_.create_all(If{.condition = condition,
                                                           .captures = Values(captures),
                                                           .then = make_region(graph_, one.nodes, captures, then_yields),
                                                           .otherwise = make_region(graph_, other.nodes, captures, else_yields)});
    const size_t leaves = merger.leaves().size();
    if (made.size() != then_yields.size()) throw Stop{};
    for (size_t i = leaves; i < made.size(); ++i) builder_.create_all(Measure{made[i], merger.sizes()[i - leaves].merged});
    for (size_t i = 0; i < leaves; ++i) merger.leaves()[i].merged->value = cut(made[i], merger.leaves()[i].merged->type);
  }
  adopt(objects);
  merger.note_sharing();
  return results;
}

/// Where the merged type has a measured size that the value has not, the value with zeros up to the greatest one.
Value Evaluator::grow(Value v, const TensorType& merged) {
  for (int64_t axis = 0; axis < merged.rank(); ++axis)
    if (graph_.type(v).shape[axis] != merged.shape[axis]) v = builder_.create(Grow{v, greatest(merged.shape[axis], graph_.symbols.all()), axis});
  return v;
}

Value Evaluator::cut(Value v, const TensorType& merged) {
  for (int64_t axis = 0; axis < merged.rank(); ++axis)
    if (graph_.type(v).shape[axis] != merged.shape[axis]) v = builder_.create(Head{v, merged.shape[axis], axis});
  return v;
}

void Evaluator::run_if(torch::jit::Node& node, Environment& environment) {
  const Item condition = environment[node.input()];
  const auto part = [&](size_t which) { return [&, which] { return run_block(*node.blocks()[which], environment); }; };
  if (condition.is_bool()) return set_outputs(node, part(condition.plain()->toBool() ? 0 : 1)(), environment);
  const Number* number = condition.number();
  if (!number) return report_lost(), forget_outputs(node, environment);
  std::vector<Item> results = branch(*number, part(0), part(1), names_of(std::as_const(node).outputs()));
  enter(node);
  set_outputs(node, std::move(results), environment);
}

void Evaluator::raise_exception(torch::jit::Node& node, Environment& environment) {
  const Item& message = environment[node.inputs()[0]];
  std::string text = "an exception";
  if (message.plain() && message.plain()->isString()) text = message.plain()->toStringRef();
  if (message.text()) text = message.text()->known;
  throw Raised{text, here()};
}

// ---- loops ----

std::vector<Item> Evaluator::run_body(torch::jit::Node& node, Environment& environment, Item trip, const std::vector<Item>& carried) {
  const Block& body = *node.blocks()[0];
  environment[body.inputs()[0]] = std::move(trip);
  for (size_t k = 0; k < carried.size(); ++k) environment[body.inputs()[k + 1]] = carried[k];
  std::vector<Item> results = run_block(body, environment);
  enter(node);
  return results;
}

void Evaluator::run_loop(torch::jit::Node& node, Environment& environment) {
  std::vector<Item> in;
  for (const torch::jit::Value* input : node.inputs()) in.push_back(environment[input]);
  for (size_t i = 0; i < 2; ++i) check_usable(in[i], "", false);  // what is carried may be dead
  std::vector<Item> out(in.begin() + 2, in.end());
  const bool trips_known = in[0].is_int();
  if ((!trips_known && !in[0].number() && !in[0].size()) || (!in[1].is_bool() && !in[1].number()))
    return report_lost(), forget_outputs(node, environment);
  if ((trips_known && in[0].integer() <= 0) || (in[1].is_bool() && !in[1].plain()->toBool())) return set_outputs(node, std::move(out), environment);
  const bool can_unroll = trips_known && in[1].is_bool();
  if (can_unroll && unroll(node, environment, in, true, out)) return set_outputs(node, std::move(out), environment);
  const bool can_guard = trips_known && in[0].integer() <= max_guarded;
  if (!can_unroll && !can_guard) return set_outputs(node, loop(node, environment, in, false), environment);
  if (attempt([&] { out = loop(node, environment, in, true); })) return set_outputs(node, std::move(out), environment);
  if (can_unroll && unroll(node, environment, in, false, out)) return set_outputs(node, std::move(out), environment);
  set_outputs(node, can_guard ? unroll_guarded(node, environment, in) : loop(node, environment, in, false), environment);
}

/// False, and nothing has happened, when the loop's end depends on data, or when `bounded` and it is long.
bool Evaluator::unroll(torch::jit::Node& node, Environment& environment, const std::vector<Item>& in, bool bounded, std::vector<Item>& out) {
  const int64_t trips = in[0].integer();
  const auto run = [&] {
    const auto before = static_cast<int64_t>(graph_.nodes.size());
    std::vector<Item> carried(in.begin() + 2, in.end());
    bool go_on = true;
    for (int64_t i = 0; i < trips && go_on; ++i) {
      const int64_t made = static_cast<int64_t>(graph_.nodes.size()) - before;
      const bool endless = trips > (int64_t{1} << 32);  // `while`
      if (bounded && i >= 2 && (endless ? made : made / i * trips) > max_unrolled_nodes) throw GiveUp{};
      std::vector<Item> results = run_body(node, environment, c10::IValue(i), carried);
      carried.assign(std::make_move_iterator(results.begin() + 1), std::make_move_iterator(results.end()));
      if (results[0].number()) throw GiveUp{};
      if (!results[0].is_bool()) return std::vector<Item>(carried.size());
      go_on = results[0].plain()->toBool();
      count_step();  // an empty body still counts
    }
    return carried;
  };
  const size_t messages = diagnostics_.all().size();
  const auto unsupported = unsupported_, in_training = in_training_;
  const int errors_here = errors_here_;
  try {
    Apart apart = run_apart(run);
    commit(apart);
    if (apart.raised) throw Raised(*apart.raised);
    out = std::move(apart.results);
    return true;
  } catch (const GiveUp&) {
    keep_first(diagnostics_, messages);
    unsupported_ = unsupported, in_training_ = in_training, errors_here_ = errors_here;
    return false;
  }
}

/// Every pass stands behind the condition that the loop has not ended.
std::vector<Item> Evaluator::unroll_guarded(torch::jit::Node& node, Environment& environment, const std::vector<Item>& in) {
  std::vector<Item> state(in.begin() + 1, in.end());
  std::vector<std::string> names = {""};
  for (const std::string& name : names_of(std::as_const(node).outputs())) names.push_back(name);
  for (int64_t i = 0; i < in[0].integer(); ++i) {
    const auto pass = [&] { return run_body(node, environment, c10::IValue(i), std::vector<Item>(state.begin() + 1, state.end())); };
    const auto rest = [&] {
      std::vector<Item> same = state;
      same[0] = c10::IValue(false);
      return same;
    };
    if (state[0].is_bool()) {
      if (!state[0].plain()->toBool()) break;
      state = pass();
    } else if (const Number* go_on = state[0].number()) {
      state = branch(*go_on, pass, rest, names);
    } else {
      return std::vector<Item>(state.size() - 1);
    }
  }
  return std::vector<Item>(state.begin() + 1, state.end());
}

namespace {

/// How large the sizes can become that a loop carries: what its body keeps to, else what it adds in as many passes as there are.
class LoopSizes {
 public:
  LoopSizes(Graph& graph, const std::optional<Dim>& trips) : graph_(graph) {
    // Passes of which nobody says how many there are: more than that fail.
    constexpr int64_t most_passes = 1000;
    passes_ = trips ? greatest(*trips, graph.symbols.all()) : Dim(most_passes);
  }
  Dim bound(const Dim& a, const Dim& b) {
    const std::vector<Symbol>& symbols = graph_.symbols.all();
    const auto known = first_.find(a.symbol_id());
    if (known == first_.end()) return unbounded_size;
    if (a.high() != unbounded_size) return greatest(a, symbols);
    const Dim first = greatest(known->second, symbols), most = greatest(b, symbols);
    if (most.high() < unbounded_size / 2) return Dim::max(first, most);
    const Dim growth = Dim::max(most - unbounded_size, 0);
    fails_ |= growth.high() > unbounded_size / 2;
    return first + passes_ * growth;
  }
  void note(const std::vector<MergedSize>& sizes) {
    std::map<int32_t, Dim> first;
    for (const MergedSize& s : sizes) {
      const auto known = first_.find(s.a.symbol_id());
      first.emplace(s.merged.symbol_id(), known == first_.end() ? s.a : known->second);
    }
    first_ = std::move(first);
  }
  const Dim& first(const Dim& size) const { return first_.at(size.symbol_id()); }
  bool fails() const { return fails_; }
  bool settled(const std::vector<MergedSize>& sizes) const {
    return std::all_of(sizes.begin(), sizes.end(),
                       [](const MergedSize& s) { return s.merged.high() != unbounded_size && s.merged.high() == s.a.high(); });
  }

 private:
  Graph& graph_;
  Dim passes_;
  std::map<int32_t, Dim> first_;  ///< by symbol
  bool fails_ = false;
};

}  // namespace

/// A region that is run again and again. What it carries is found by evaluating it until nothing new turns out to change: at first everything
/// that it reads counts as constant, then what it was seen to change is carried.
std::vector<Item> Evaluator::loop(torch::jit::Node& node, Environment& environment, const std::vector<Item>& in, bool strict) {
  const uint64_t start = born_ + 1;
  const auto names = names_of(std::as_const(node).outputs());
  std::vector<Item> carried(in.begin() + 2, in.end());
  Journal state(start);
  Carried known;
  std::map<const Contents*, Leaf::Source> first;  // what a carried value is before the first pass
  std::string signature;
  std::vector<Growth> grown;
  const bool endless = in[0].is_int() && in[0].integer() > (int64_t{1} << 32);
  const auto trips = endless ? std::nullopt : size_of_item(in[0]);
  Parameters parameters;
  LoopSizes sizes(graph_, trips);
  const auto is_true = [](const Item& i) { return i.is_bool() && i.plain()->toBool(); };
  for (int round = 0;; ++round) {  // every round but the last carries something more
    auto trip = std::make_shared<Contents>();
    trip->type = TensorType{.dtype = DType::i64, .shape = {}, .layout = {}};
    trip->value = graph_.add_value(trip->type);
    const auto pass = [&] {
      open(known, parameters);
      return run_body(node, environment, Number{trip}, carried);
    };
    Apart body = run_apart(pass, &state);
    if (body.raised) return loop_raises(in, *body.raised), carried;
    const bool to_the_end = !strict && trips && is_true(in[1]) && is_true(body.results[0]);
    const bool more = to_the_end && take_growth(*trips, state, body.journal, known, grown);
    for (const Growth& g : grown)
      if (!g.appended.tensor()) refuse_list("appending in some passes only, or of several types,", *g.list);
    Merger merger(*this, state, body.journal, known, "before a loop", "after a pass through it");
    if (!strict) merger.carry_sizes(graph_, [&](const Dim& a, const Dim& b, const std::string&, int64_t) { return sizes.bound(a, b); });
    std::vector<Item> next;
    for (size_t k = 0; k < carried.size(); ++k) next.push_back(merger.merge(carried[k], body.results[k + 1], names[k]));
    Journal objects = merger.merge_objects(start);
    std::string now = merger.signature(start);
    if (sizes.fails() || round > most_rounds) {
      data_dependent("how large something becomes in a loop", "it grows by more in every pass than in the one before");
      throw Stop{};
    }
    if (strict && merger.conflicts()) throw GiveUp{};
    const bool same =
        merger.leaves().size() == known.leaves.size() && merger.sizes().size() == known.sizes.size() && (round == 0 || now == signature);
    if (same && !merger.conflicts() && !more && sizes.settled(merger.sizes())) {
      check_rows(known, body.journal, merger, grown);
      for (const MergedSize& s : known.sizes) parameters.first.push_back(sizes.first(s.merged));
      const std::vector<Value> rows = make_loop(in, *trip, known, parameters, first, body, merger, grown);
      adopt(objects);
      merger.note_sharing();
      finish_growth(grown, rows);
      return next;
    }
    for (const Growth& g : grown) objects.changes<ListObject>().at(*g.list).growing = true;
    std::map<const Contents*, Leaf::Source> firsts;
    for (const Leaf& leaf : merger.leaves()) {
      const auto it = first.find(leaf.before.get());
      firsts.emplace(leaf.merged.get(), it == first.end() ? leaf.a : it->second);
    }
    sizes.note(merger.sizes());
    parameters = declare(merger.made());
    carried = std::move(next), state = std::move(objects), known = merger.made(), first = std::move(firsts), signature = std::move(now);
  }
}

/// The body raises whatever happens: the loop must not be entered.
void Evaluator::loop_raises(const std::vector<Item>& in, const Raised& raised) {
  Value over;
  if (in[0].number() || in[0].size()) over = builder_.create(Le{number_value(in[0], DType::i64), number_value(c10::IValue(int64_t{0}), DType::i64)});
  if (in[1].number()) {
    const Value no = builder_.create(LogicalNot{number_value(in[1], DType::b8)});
    over = over ? builder_.create(LogicalOr{over, no}) : no;
  }
  if (!over) throw Raised(raised);
  builder_.create_all(Check{over, raised.message});
}

/// The `loop` itself, of a body that was evaluated with `known` as what is carried; the merger's leaves get its results. Gives the rows of the
/// lists that it grows.
std::vector<Value> Evaluator::make_loop(const std::vector<Item>& in, const Contents& trip, const Carried& known, const Parameters& carried,
                                        const std::map<const Contents*, Leaf::Source>& first, Apart& body, Merger& merger,
                                        const std::vector<Growth>& grown) {
  std::vector<Value> parameters = {trip.value}, yields, initial;
  for (size_t i = 0; i < known.leaves.size(); ++i) {
    const Leaf& leaf = known.leaves[i];
    parameters.push_back(carried.leaves[i]);
    initial.push_back(grow(value_of(first.at(leaf.merged.get()), leaf.merged->type), graph_.type(carried.leaves[i])));
  }
  for (size_t i = 0; i < known.sizes.size(); ++i) {
    parameters.push_back(carried.sizes[i]);
    initial.push_back(number_value(size_item(carried.first[i]), DType::i64));
  }
  for (const Growth& g : grown) {
    const TensorType type = graph_.type(g.rows);
    parameters.push_back(g.rows);
    initial.push_back(builder_.create(Full{.shape = Dims(type.shape.dims()), .value = Scalar(0), .dtype = type.dtype}));
  }
  inside(body, [&] {
    yields.push_back(number_value(body.results[0], DType::b8));
    for (const Value v : close(known, merger)) yields.push_back(v);
    for (const Growth& g : grown)
      yields.push_back(builder_.create(UpdateAt{.x = g.rows, .row = value_of(*g.appended.tensor()), .index = trip.value, .axis = 0}));
  });
  if (initial.empty() && std::all_of(body.nodes.begin(), body.nodes.end(), is_pure)) return {};
  std::vector<Value> captures;
  find_captures(graph_, body.nodes, yields, parameters, captures);
  const bool endless = in[0].is_int() && in[0].integer() > (int64_t{1} << 32);
  const OptValue trips = endless ? OptValue() : OptValue(number_value(in[0], DType::i64));
  const OptValue condition = in[1].is_bool() ? OptValue() : OptValue(number_value(in[1], DType::b8));
  std::vector<Value> inputs = parameters;
  inputs.insert(inputs.end(), captures.begin(), captures.end());
  const std::vector<Value> made = builder_.create_all(Loop{.trips = trips,
                                                           .condition = condition,
                                                           .carried = Values(initial),
                                                           .captures = Values(captures),
                                                           .body = make_region(graph_, body.nodes, inputs, yields)});
  if (made.size() != initial.size()) throw Stop{};
  const auto sizes = made.begin() + static_cast<int64_t>(known.leaves.size());
  for (size_t i = 0; i < known.sizes.size(); ++i) builder_.create_all(Measure{sizes[static_cast<int64_t>(i)], end_of(merger, known.sizes[i]).merged});
  for (size_t i = 0; i < known.leaves.size(); ++i) {
    const ContentsRef& merged = end_of(merger, known.leaves[i]).merged;
    merged->value = cut(made[i], merged->type);
  }
  return {sizes + static_cast<int64_t>(known.sizes.size()), made.end()};
}

}  // namespace mica::frontend
