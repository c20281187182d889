// The module's state. The method is evaluated like a loop's body, of which every run is one pass: what it was seen to change in the module is
// carried from run to run.
//
// A tensor whose sizes change from run to run is kept in memory for the most that it can be, and its sizes are kept beside it: the run measures
// them first. How much that is, is what the program itself keeps to (cat([cache, x])[-8:]), or what the user says (`--state cache:1x256x8`); a run
// after which it would be more fails.
#include <ATen/ATen.h>

#include <algorithm>

#include "evaluator.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "mica/ops/factory.h"
#include "mica/ops/measure.h"

namespace mica::frontend {
namespace {

/// Objects of the caller's: what the method changes in them is no state of the module.
void find_objects(const Item& item, std::set<const void*>& out) {
  if (const Tensor* t = item.tensor()) out.insert(t->storage.get());
  if (const auto* list = item.list()) {
    out.insert(list);
    for (const Item& i : list->items) find_objects(i, out);
  }
  if (const auto* tuple = item.tuple()) {
    for (const Item& i : tuple->items) find_objects(i, out);
  }
  if (const auto* dict = item.dict()) {
    out.insert(dict);
    for (const auto& [key, value] : dict->entries) find_objects(value, out);
  }
}

}  // namespace

/// How large the sizes of states can become.
class StateSizes {
 public:
  StateSizes(Graph& graph, std::span<const InputSpec> limits) : graph_(graph), limits_(limits) {}

  /// Of the axis of a state that is of size a before a run and of size b after it.
  Dim bound(const Dim& a, const Dim& b, const std::string& name, int64_t axis) {
    const int64_t most = greatest(b, graph_.symbols.all()).high();
    const InputSpec* limit = limit_of(name);
    if (limit && axis < limit->shape.rank()) return limit->shape[axis];
    const auto known = first_.find(a.symbol_id());
    if (known == first_.end()) return unbounded_size;
    const int64_t own = a.high();
    if (own != unbounded_size) return own;
    if (most < unbounded_size / 2) return ++narrowed_, std::max(most, known->second);
    if (!growing_) growing_ = name;
    return unbounded_size;
  }
  /// After a round of the search: what the sizes are before the first run.
  void note(const std::vector<MergedSize>& sizes) {
    std::map<int32_t, int64_t> first;
    for (const MergedSize& s : sizes) {
      const auto known = first_.find(s.a.symbol_id());
      // Where it is not known the state is None at first.
      first[s.merged.symbol_id()] = known != first_.end() ? known->second : s.a.is_static() ? s.a.size() : 0;
    }
    first_ = std::move(first);
    narrowed_ = 0, growing_.reset();
  }
  int64_t first(const Dim& size) const { return first_.at(size.symbol_id()); }
  /// Whether all of them are bounded.
  bool settled(const std::vector<MergedSize>& sizes) const {
    return std::all_of(sizes.begin(), sizes.end(),
                       [](const MergedSize& s) { return s.merged.high() != unbounded_size && s.merged.high() == s.a.high(); });
  }
  /// One that has no bound; none while others have just got theirs, which may bound it.
  const std::string* growing() const { return !growing_ || narrowed_ ? nullptr : &*growing_; }
  /// A limit for which there is no state whose sizes are carried; null: all have one.
  const InputSpec* unused(const std::vector<Leaf>& leaves) const {
    const auto used = [&](const InputSpec& limit) {
      return std::any_of(leaves.begin(), leaves.end(),
                         [&](const Leaf& l) { return limit_of(l.name) == &limit && !l.merged->type.shape.is_static(); });
    };
    const auto it = std::find_if_not(limits_.begin(), limits_.end(), used);
    return it == limits_.end() ? nullptr : &*it;
  }

 private:
  /// Of the attribute of this name, or of its last part.
  const InputSpec* limit_of(const std::string& name) const {
    for (const InputSpec& limit : limits_)
      if (name == limit.name || name.ends_with("." + limit.name)) return &limit;
    return nullptr;
  }
  Graph& graph_;
  std::span<const InputSpec> limits_;
  std::map<int32_t, int64_t> first_;  ///< by symbol
  std::optional<std::string> growing_;
  int narrowed_ = 0;  ///< in this round
};

Item Evaluator::call_with_state(torch::jit::Function& function, const std::vector<Item>& arguments, std::span<const InputSpec> limits) {
  constexpr uint64_t start = 1;  // all that was there before
  std::set<const void*> callers;
  for (size_t i = 1; i < arguments.size(); ++i) find_objects(arguments[i], callers);
  Journal state(start);
  Carried known;
  known.containers = callers;
  Parameters parameters;
  StateSizes sizes(graph_, limits);
  std::map<const Contents*, Leaf::Source> first;
  const size_t messages = diagnostics_.all().size(), errors = diagnostics_.error_count();
  std::string signature;
  for (int round = 0;; ++round) {  // every round but the last carries something more
    keep_first(diagnostics_, messages);
    warned_input_ = false;
    open(known, parameters);
    Apart run = run_apart([&] { return std::vector<Item>{call(function, arguments)}; }, &state);
    if (run.raised) throw Raised(*run.raised);
    if (diagnostics_.error_count() != errors || !unsupported_.empty() || !in_training_.empty()) return run.results[0];
    Merger merger(*this, state, run.journal, known, "before a run", "after it");
    merger.carry_sizes(graph_, [&](const auto&... size) { return sizes.bound(size...); });
    merger.carry_given_sizes();
    Journal objects = merger.merge_objects(start);
    if (const std::string* name = sizes.growing()) refuse_growing(*name, merger);
    if (round > most_rounds) refuse_growing("the module's state", merger);
    std::string now = merger.signature(start);
    const bool same = merger.leaves().size() == known.leaves.size() && merger.sizes().size() == known.sizes.size();
    if (same && (round == 0 || now == signature) && !merger.conflicts() && sizes.settled(merger.sizes())) {
      if (const InputSpec* limit = sizes.unused(merger.leaves()))
        diagnostics_.error("state-unused", "--state {}: there is no attribute of that name whose size differs from run to run", limit->text)
            .help("leave it out, or give the attribute's name as the model has it: --state layer.cache:1x256");
      check_rows(known, run.journal, merger, {});
      add_states(known, parameters, first, sizes, run, merger);
      return run.results[0];
    }
    std::map<const Contents*, Leaf::Source> firsts;
    for (const Leaf& leaf : merger.leaves()) {
      const auto it = first.find(leaf.before.get());
      firsts.emplace(leaf.merged.get(), it == first.end() ? leaf.a : it->second);
    }
    sizes.note(merger.sizes());
    state = std::move(objects), known = merger.made(), first = std::move(firsts), signature = std::move(now);
    parameters = declare(known);
    known.containers.insert(callers.begin(), callers.end());
  }
}

void Evaluator::refuse_growing(const std::string& name, Merger& merger) {
  const auto leaf =
      std::find_if(merger.leaves().begin(), merger.leaves().end(), [&](const Leaf& l) { return l.name == name && l.merged->type.rank(); });
  std::string shape = "SHAPE";
  if (leaf != merger.leaves().end()) {
    shape.clear();
    for (const Dim& d : leaf->merged->type.shape.dims()) shape += fmt::format("{}{}", shape.empty() ? "" : "x", d.is_static() ? d.size() : 256);
  }
  diagnostics_.unsupported("growing-state", "'{}' can grow with every run, without an end", name)
      .at(here())
      .note("a compiled model keeps it in memory of a fixed size")
      .help(fmt::format("say the most that it can become: --state {}:{}", name, shape));
  throw Stop{};
}

/// What the state is before the first run, in as much memory as it can become.
Value Evaluator::initial_state(const Leaf::Source& source, const TensorType& type) {
  const ContentsRef contents = std::holds_alternative<ContentsRef>(source) ? std::get<ContentsRef>(source)
                               : std::get<Item>(source).tensor()           ? read(*std::get<Item>(source).tensor())
                                                                           : nullptr;
  if (!contents || contents->type == type) {
    const Value v = value_of(source, type);
    if (graph_.is_constant(v)) return v;
  }
  // What is no constant are the zeros of a tensor that is None at first.
  const auto options = at::TensorOptions().dtype(scalar_type_of(type.dtype));
  at::Tensor whole = at::zeros(type.shape.sizes(), options);
  if (contents && contents->constant.defined()) {
    at::Tensor part = whole;
    for (int64_t axis = 0; axis < part.dim(); ++axis) part = part.narrow(axis, 0, contents->constant.size(axis));
    part.copy_(contents->constant);
  }
  return value_of(*fresh_constant(whole).tensor());
}

void Evaluator::add_states(const Carried& known, const Parameters& parameters, const std::map<const Contents*, Leaf::Source>& first,
                           const StateSizes& sizes, Apart& run, Merger& merger) {
  for (size_t i = 0; i < known.leaves.size(); ++i) {
    const Leaf& leaf = known.leaves[i];
    const Value input = parameters.leaves[i];
    graph_.states.push_back(
        {.input = input, .output = {}, .initial = initial_state(first.at(leaf.merged.get()), graph_.type(input)), .name = leaf.name});
  }
  for (size_t i = 0; i < known.sizes.size(); ++i)
    graph_.states.push_back({.input = parameters.sizes[i],
                             .output = {},
                             .initial = number_value(c10::IValue(sizes.first(known.sizes[i].merged)), DType::i64),
                             .name = "size of " + known.sizes[i].name});
  commit(run);
  const std::vector<Value> outputs = close(known, merger);
  for (size_t i = 0; i < outputs.size(); ++i) graph_.states[i].output = outputs[i];
}

// ---- what is carried, with sizes of its own ----

/// Values for what is carried: of tensors whose sizes are carried, as much as they can be.
Evaluator::Parameters Evaluator::declare(const Carried& known) {
  Parameters made;
  for (const Leaf& leaf : known.leaves) {
    made.leaves.push_back(graph_.add_value(capacity_of(leaf.merged->type, known)));
    if (graph_.type(made.leaves.back()).shape == leaf.merged->type.shape) leaf.merged->value = made.leaves.back();
  }
  for (size_t i = 0; i < known.sizes.size(); ++i) made.sizes.push_back(graph_.add_value(TensorType{.dtype = DType::i64, .shape = {}, .layout = {}}));
  return made;
}

/// From here on the carried sizes are known, and tensors have them.
void Evaluator::open(const Carried& known, const Parameters& parameters) {
  for (size_t i = 0; i < known.sizes.size(); ++i) builder_.create_all(Measure{parameters.sizes[i], known.sizes[i].merged});
  for (size_t i = 0; i < known.leaves.size(); ++i) known.leaves[i].merged->value = cut(parameters.leaves[i], known.leaves[i].merged->type);
}

const Leaf& Evaluator::end_of(Merger& merger, const Leaf& parameter) {
  const auto end = std::find_if(merger.leaves().begin(), merger.leaves().end(), [&](const Leaf& l) { return l.before == parameter.merged; });
  MICA_CHECK(end != merger.leaves().end(), "what is carried in comes out");
  return *end;
}
const MergedSize& Evaluator::end_of(Merger& merger, const MergedSize& parameter) {
  const auto& sizes = merger.sizes();
  const auto end = std::find_if(sizes.begin(), sizes.end(), [&](const MergedSize& s) { return s.a == parameter.merged; });
  MICA_CHECK(end != sizes.end(), "a size that is carried in comes out");
  return *end;
}

/// What becomes of it, in the order of the parameters.
std::vector<Value> Evaluator::close(const Carried& known, Merger& merger) {
  std::vector<Value> values, sizes;
  for (const MergedSize& parameter : known.sizes) {
    const MergedSize& end = end_of(merger, parameter);
    Value size = builder_.create(SizeValue{end.b});
    const Dim most = greatest(parameter.merged, graph_.symbols.all());
    if (!(greatest(end.b, graph_.symbols.all()).high() <= most.low())) {
      const Value limit = number_value(size_item(most), DType::i64);
      const std::string text = most.is_static() ? fmt::format("{}", most.size()) : std::string("what it can be");
      builder_.create_all(
          Check{builder_.create(Le{size, limit}),
                fmt::format("{} has become larger than {}", parameter.name.empty() ? "what a loop carries" : "'" + parameter.name + "'", text)});
      size = builder_.create(Minimum{size, limit});
    }
    sizes.push_back(size);
  }
  for (const Leaf& parameter : known.leaves) {
    const Leaf& end = end_of(merger, parameter);
    values.push_back(grow(value_of(end.b, end.merged->type), capacity_of(parameter.merged->type, known)));
  }
  values.insert(values.end(), sizes.begin(), sizes.end());
  return values;
}

TensorType Evaluator::capacity_of(const TensorType& type, const Carried& known) const {
  std::vector<Dim> dims = type.shape.dims();
  for (Dim& d : dims) {
    const bool carried = std::any_of(known.sizes.begin(), known.sizes.end(), [&](const MergedSize& s) { return s.merged == d; });
    if (carried) d = greatest(d, graph_.symbols.all());
  }
  return TensorType{type.dtype, Shape(std::move(dims)), {}};
}

}  // namespace mica::frontend
