// Places every value of a program. Steps are grouped by the barriers between them; a value lives from the group that writes it to
// the last that reads it, and two values share bytes only when no group sees both. Largest first, each at the lowest offset that is
// free for its whole life (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", arXiv 2001.03288).
//
// Groups are numbered through the text of a program, the branches of an `if` one behind the other. That order is one in time as
// well because a barrier stands before control flow, behind it, and at the end of a loop's trip. What is used in a loop and also
// outside lives through the whole loop.
//
// Where sizes depend on symbols, which values share memory is fixed here and the offsets follow at run time: a value gets a slot, values
// whose lives do not meet share one, a slot is as large as the largest of them, and the slots stand one behind the other.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "emit.h"
#include "mica/support/defect.h"

namespace mica::lower {

namespace {

constexpr int64_t page_bytes = 4096;

struct Life {
  Dim bytes = 0;               // rounded up
  Dim touched = 0;             // what kernels read and write
  size_t first = 0, last = 0;  // groups
  int64_t offset = 0;
  int32_t slot = -1;
  bool meets(const Life& other) const { return other.first <= last && first <= other.last; }
};

bool can_fault(const Kernel& k) {
  bool found = false;
  const auto look = [&](const Expr& e) {
    if (e && !found) visit(e, [&](const Expr& n) { found |= n->op == ExprOp::checked_index; });
  };
  const std::function<void(const std::vector<Stmt>&)> walk = [&](const std::vector<Stmt>& list) {
    for (const Stmt& s : list) {
      found |= s.kind == Stmt::Kind::check;
      for (const Expr* e : {&s.low, &s.high, &s.index, &s.value, &s.mask, &s.condition}) look(*e);
      walk(s.body);
      walk(s.otherwise);
    }
  };
  walk(k.body);
  return found;
}

/// A step needs a barrier when it touches what a step since the last barrier wrote, or writes what one of those reads.
class Barriers {
 public:
  explicit Barriers(PendingProgram& p) : p_(p) {}

  /// `read` are the values that control flow reads on the way in.
  void place(std::vector<PendingStep>& steps, std::vector<std::optional<Operand>> read) {
    start(read);
    bool behind_control = false;
    for (PendingStep& step : steps) {
      if (step.kind == Step::Kind::call) call(step, behind_control);
      else step.barrier = true;
      behind_control = step.kind == Step::Kind::branch || step.kind == Step::Kind::loop;
      if (step.kind == Step::Kind::measure) start({});  // ends with a barrier of its own
      if (step.kind == Step::Kind::branch) {
        place(step.body, {step.condition});
        place(step.otherwise, {step.condition});
      } else if (step.kind == Step::Kind::loop) {
        // A trip begins when others may still read whether there is one.
        place(step.body, {step.condition, step.trips, step.go_on});
      }
    }
  }

 private:
  void start(const std::vector<std::optional<Operand>>& read) {
    written_.clear();
    read_.clear();
    checks_ = false;
    for (const auto& o : read)
      if (o && o->kind == Operand::Kind::value) read_[p_.storage(o->value).root.id].push_back(o->value);
  }

  bool conflicts(const PendingStep& step) const {
    for (size_t i = 0; i + defect(Defect::lost_barrier) < step.operands.size(); ++i) {
      const Operand& o = step.operands[i];
      if (o.kind != Operand::Kind::value) continue;
      const uint32_t root = p_.storage(o.value).root.id;
      const auto meets = [&](Value other) { return !p_.apart(o.value, other); };
      const auto any = [&](const Touched& touched, auto&& holds) {
        const auto found = touched.find(root);
        return found != touched.end() && std::ranges::any_of(found->second, holds);
      };
      if (!step.kernel.buffers[i].written) {
        if (any(written_, meets)) return true;
        continue;
      }
      if (any(read_, meets)) return true;
      // Steps that write one value (a concatenation's parts) write different elements of it, unless one of them writes over the other.
      if (any(written_, [&](Value w) { return meets(w) && (w != o.value || step.partial || step.copies); })) return true;
    }
    // The check that the model makes first is the one that is reported.
    return checks_ && can_fault(step.kernel);
  }

  void call(PendingStep& step, bool behind_control) {
    step.barrier = behind_control || conflicts(step);
    if (step.barrier) start({});
    for (size_t i = 0; i < step.operands.size(); ++i) {
      const Operand& o = step.operands[i];
      if (o.kind != Operand::Kind::value) continue;
      const uint32_t root = p_.storage(o.value).root.id;
      (step.kernel.buffers[i].written ? written_ : read_)[root].push_back(o.value);
    }
    checks_ |=
        step.operands.empty() || std::none_of(step.kernel.buffers.begin(), step.kernel.buffers.end(), [](const Buffer& b) { return b.written; });
  }

  PendingProgram& p_;
  using Touched = std::map<uint32_t, std::vector<Value>>;  // by root: the values that have their memory there
  Touched written_, read_;
  bool checks_ = false;  // a step that only checks has run
};

/// A step that writes the zeros behind a value, before the first step that writes the value.
void fill_tails(PendingProgram& p) {
  for (const auto& [id, tail] : p.tails) {
    const Value v{id};
    const TensorType& type = p.types[id];
    const auto writes = [&](const PendingStep& s) {
      for (size_t i = 0; i < s.operands.size(); ++i) {
        if (s.operands[i].kind == Operand::Kind::value && p.storage(s.operands[i].value).root == v && s.kernel.buffers[i].written) return true;
      }
      return false;
    };
    std::vector<PendingStep>* block = nullptr;
    std::vector<PendingStep>::iterator at;
    const std::function<void(std::vector<PendingStep>&)> find = [&](std::vector<PendingStep>& steps) {
      for (auto s = steps.begin(); s != steps.end() && !block; ++s) {
        if (writes(*s)) block = &steps, at = s;
        find(s->body);
        find(s->otherwise);
      }
    };
    find(p.steps);
    MICA_CHECK(block);
    PendingStep step;
    step.kernel.name = "zero_tail";
    step.label = "zeros for padding";
    step.operands = {{Operand::Kind::value, v, 0}};
    Buffer b;
    b.name = fmt::format("v{}", id);
    b.element = {type.dtype, 1};
    b.elements = type.shape.elements() + tail.elements;
    b.written = true;
    step.kernel.buffers = {b};
    step.kernel.task = make_var("task", 0, 1);
    const Expr i = make_index("i", tail.elements);
    std::vector<Stmt> body;
    body.push_back(Stmt::store(0, simplify(i + Expr(type.shape.elements())), imm(type.dtype, 0)));
    step.kernel.body.push_back(Stmt::loop(i, Expr(0), Expr(tail.elements), Expr(1), std::move(body)));
    block->insert(at, std::move(step));
  }
}

/// When each place of the arena is in use.
class Lifetimes {
 public:
  explicit Lifetimes(PendingProgram& p) : p_(p) {}

  std::vector<Life> run() {
    walk(p_.steps);
    // Loops within loops come first: the longer life is the one of the outer.
    for (const auto& [first, last] : loops_)
      for (size_t l = 0; l < lives_.size(); ++l) {
        Life& life = lives_[l];
        const auto inside = [&, f = first, e = last](size_t group) { return f <= group && group <= e; };
        const bool any = std::any_of(seen_[l].begin(), seen_[l].end(), inside);
        if (!any || std::all_of(seen_[l].begin(), seen_[l].end(), inside)) continue;
        life.first = std::min(life.first, first);
        if (!defect(Defect::loop_life)) life.last = std::max(life.last, last);
      }
    return std::move(lives_);
  }
  /// Which life is a value's; by the number of the value that owns the memory.
  const std::unordered_map<uint32_t, size_t>& index() const { return index_; }

 private:
  void walk(std::vector<PendingStep>& steps) {
    for (PendingStep& step : steps) {
      group_ += step.barrier;  // a measuring's second barrier needs no group: nothing but its operand is read between the two
      for (const Operand& o : step.operands) touch(o, group_);
      for (const auto& o : {step.condition, step.trips, step.count})
        if (o) touch(*o, group_);
      if (step.kind == Step::Kind::branch) {
        walk(step.body);
        ++group_;
        if (step.condition) touch(*step.condition, group_);  // others may still read it when the first steps of this branch run
        walk(step.otherwise);
      } else if (step.kind == Step::Kind::loop) {
        loop(step);
      }
    }
  }

  void loop(PendingStep& step) {
    const size_t first = group_;
    walk(step.body);
    const size_t last = ++group_;
    loops_.emplace_back(first, last);
    if (step.go_on) touch(*step.go_on, first), touch(*step.go_on, last);
    if (step.ends_by_itself) return;
    step.stop = Operand{Operand::Kind::value, p_.add_temporary({DType::u8, {2}, {}}), 0};
    touch(*step.stop, first);
    touch(*step.stop, last);
  }

  void touch(const Operand& o, size_t group) {
    if (o.kind != Operand::Kind::value) return;
    const uint32_t root = p_.storage(o.value).root.id;
    if (p_.places.count(root)) return;
    const auto [entry, fresh] = index_.try_emplace(root, lives_.size());
    if (fresh) {
      const auto tail = p_.tails.find(root);
      const TensorType& type = p_.types[root];
      const Dim elements = type.shape.elements() + (tail == p_.tails.end() ? Dim(0) : tail->second.elements);
      const Dim touched = elements * size_of(type.dtype);
      lives_.push_back({align_up(Dim::max(most(touched), 1)), most(touched), group, group});
      seen_.emplace_back();
    }
    Life& life = lives_[entry->second];
    life.first = std::min(life.first, group);
    life.last = std::max(life.last, group);
    seen_[entry->second].push_back(group);
  }

  /// What has to be there whatever is measured.
  Dim most(const Dim& bytes) const { return greatest(bytes, p_.graph->symbols.all()); }

  PendingProgram& p_;
  size_t group_ = 0;
  std::vector<Life> lives_;
  std::vector<std::vector<size_t>> seen_;  // groups that use it, by life
  std::vector<std::pair<size_t, size_t>> loops_;
  std::unordered_map<uint32_t, size_t> index_;
};

/// Offsets for all; returns the arena's size.
int64_t place(std::vector<Life>& lives) {
  std::vector<Life*> order;
  for (Life& l : lives) order.push_back(&l);
  std::stable_sort(order.begin(), order.end(), [](const Life* a, const Life* b) { return a->bytes > b->bytes; });
  int64_t total = 0;
  std::vector<Life*> placed;
  const size_t slip = defect(Defect::early_reuse);
  for (Life* l : order) {
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (const Life* other : placed) {
      if (other->first <= l->last - slip && l->first <= other->last - slip) taken.emplace_back(other->offset, other->offset + other->bytes);
    }
    std::sort(taken.begin(), taken.end());
    int64_t at = 0;
    for (const auto& [low, high] : taken) {
      if (at + l->bytes <= low) break;
      at = std::max(at, high);
    }
    l->offset = at;
    total = std::max<int64_t>(total, at + l->bytes);
    placed.push_back(l);
  }
  return total;
}

/// A page that nobody may touch, the pages of a value, the next such page ... Kernels rely on the alignment of elements alone (no access
/// says more), so a value may end exactly where a page does.
int64_t place_apart(std::vector<Life>& lives, DebugMemory side, std::vector<int64_t>& guards) {
  int64_t at = 0;
  for (Life& l : lives) {
    guards.push_back(at);
    at += page_bytes;
    const int64_t pages = align_up(l.bytes.size(), page_bytes);
    l.offset = side == DebugMemory::behind ? at + pages - l.touched.size() : at;
    at += pages;
  }
  guards.push_back(at);
  return at + page_bytes;
}

/// A slot for each; the slots' bytes. Large values choose first, so that a slot's later tenants seldom make it grow.
std::vector<Dim> place_in_slots(std::vector<Life>& lives) {
  std::vector<Life*> order;
  for (Life& l : lives) order.push_back(&l);
  std::stable_sort(order.begin(), order.end(), [](const Life* a, const Life* b) { return a->bytes.typical() > b->bytes.typical(); });
  std::vector<Dim> slots;
  std::vector<std::vector<const Life*>> tenants;
  for (Life* l : order) {
    int32_t best = -1;
    int64_t growth = 0;
    for (size_t s = 0; s < slots.size(); ++s) {
      if (std::any_of(tenants[s].begin(), tenants[s].end(), [&](const Life* other) { return l->meets(*other); })) continue;
      const int64_t grows = Dim::max(slots[s], l->bytes).typical() - slots[s].typical() + (Dim::max(slots[s], l->bytes) != slots[s]);
      if (best < 0 || grows < growth) best = static_cast<int32_t>(s), growth = grows;
    }
    if (best < 0) {
      best = static_cast<int32_t>(slots.size());
      slots.emplace_back(0);
      tenants.emplace_back();
    }
    l->slot = best;
    if (tenants[best].empty() || !defect(Defect::slot_size)) slots[best] = Dim::max(slots[best], l->bytes);
    tenants[best].push_back(l);
  }
  return slots;
}

/// The sizes of outputs that are neither integers nor symbols, each once.
std::vector<Dim> derived_sizes(const Graph& graph) {
  std::vector<Dim> derived;
  for (Value v : graph.outputs) {
    for (const Dim& d : graph.type(v).shape.dims()) {
      if (!d.is_static() && d.symbol_id() < 0 && std::find(derived.begin(), derived.end(), d) == derived.end()) derived.push_back(d);
    }
  }
  return derived;
}

int64_t lower_bound(const std::vector<Life>& lives) {
  size_t groups = 0;
  for (const Life& l : lives) groups = std::max(groups, l.last + 1);
  std::vector<int64_t> alive(groups, 0);
  for (const Life& l : lives) {
    for (size_t g = l.first; g <= l.last; ++g) alive[g] += l.bytes.typical();
  }
  return alive.empty() ? 0 : *std::max_element(alive.begin(), alive.end());
}

/// Numbers the variables of a kernel from 1 in the order in which they occur, so that equal kernels have equal text.
void renumber(Kernel& k) {
  std::unordered_map<uint32_t, Expr> names;
  const auto renamed = [&](const Expr& e) {
    return rewrite(e, [&](const Expr& n) -> Expr {
      if (n->op != ExprOp::var || is_symbol(n)) return {};
      Expr& to = names[n->id];
      if (!to) to = make_numbered_var(static_cast<uint32_t>(names.size()), n->name, n->int_value, n->limit, n->type.dtype);
      return to;
    });
  };
  const std::function<void(std::vector<Stmt>&)> walk = [&](std::vector<Stmt>& list) {
    for (Stmt& s : list) {
      for (Expr* e : {&s.var, &s.low, &s.high, &s.step, &s.index, &s.value, &s.mask, &s.condition}) {
        if (*e) *e = renamed(*e);
      }
      walk(s.body);
      walk(s.otherwise);
    }
  };
  k.task = renamed(k.task);
  walk(k.body);
}

/// Steps with addresses, and each kernel once.
class Binder {
 public:
  Binder(PendingProgram& p, Program& program, const std::vector<Life>& lives, const std::unordered_map<uint32_t, size_t>& index)
      : p_(p), program_(program), lives_(lives), index_(index) {
    for (const int64_t bytes : p.prepared) {
      prepared_.push_back(program.prepared_bytes);
      program.prepared_bytes += align_up(bytes);
    }
  }

  std::vector<Step> bind(std::vector<PendingStep>& steps) {
    std::vector<Step> out;
    for (PendingStep& step : steps) out.push_back(bind(step));
    return out;
  }

 private:
  Step bind(PendingStep& step) {
    Step out;
    out.kind = step.kind;
    out.barrier = step.barrier;
    out.label = step.label;
    out.depth = step.depth;
    out.symbol = step.symbol;
    out.subject = step.subject;
    for (const auto& [from, to] : {std::pair{&step.condition, &out.condition},
                                   {&step.trips, &out.trips},
                                   {&step.go_on, &out.go_on},
                                   {&step.stop, &out.stop},
                                   {&step.count, &out.count}})
      if (*from) *to = binding(**from);
    out.body = bind(step.body);
    out.otherwise = bind(step.otherwise);
    if (step.kind == Step::Kind::call) call(step, out);
    return out;
  }

  Binding binding(const Operand& o) const {
    if (o.kind == Operand::Kind::prepared) return {Binding::Space::prepared, prepared_.at(o.weight), 0, -1};
    if (o.kind == Operand::Kind::weight) return {Binding::Space::weights, program_.weights[o.weight].offset, 0, -1};
    const Alias where = p_.storage(o.value);
    const int64_t bytes = where.offset * size_of(p_.types[o.value.id].dtype);
    Binding b;
    if (const auto place = p_.places.find(where.root.id); place != p_.places.end()) b = place->second;
    else {
      const Life& life = lives_[index_.at(where.root.id)];
      b = {Binding::Space::arena, life.offset, 0, life.slot};
    }
    b.offset += bytes;
    return b;
  }

  void call(PendingStep& step, Step& out) {
    for (size_t i = 0; i < step.operands.size(); ++i) {
      out.bindings.push_back(binding(step.operands[i]));
      const Binding::Space space = out.bindings.back().space;
      const bool apart = space == Binding::Space::arena && p_.options.debug_memory != DebugMemory::off;
      const bool within = out.bindings.back().offset % alignment != 0 && space == Binding::Space::arena;
      if (space == Binding::Space::io || space == Binding::Space::trip || apart || within)
        step.kernel.buffers[i].alignment = size_of(step.kernel.buffers[i].element.dtype);
    }
    renumber(step.kernel);
    for (size_t i = 0; i < step.kernel.buffers.size(); ++i) step.kernel.buffers[i].name = fmt::format("b{}", i);
    const std::string name = std::move(step.kernel.name);
    step.kernel.name.clear();
    const auto [entry, fresh] = known_.try_emplace(to_string(step.kernel), program_.kernels.size());
    if (fresh) {
      step.kernel.name = fmt::format("{}_{}", name, program_.kernels.size());
      program_.kernels.push_back(std::move(step.kernel));
    }
    out.kernel = entry->second;
  }

  PendingProgram& p_;
  Program& program_;
  const std::vector<Life>& lives_;
  const std::unordered_map<uint32_t, size_t>& index_;
  std::unordered_map<std::string, uint32_t> known_;
  std::vector<int64_t> prepared_;  ///< where each begins
};

/// The weight with the bytes that all states have at first.
std::optional<uint32_t> add_initial_states(PendingProgram& p, int64_t state_bytes) {
  if (!state_bytes) return std::nullopt;
  std::vector<std::byte> bytes(static_cast<size_t>(state_bytes));
  for (const auto& [id, data] : p.initial_states) std::copy(data.bytes.begin(), data.bytes.end(), bytes.begin() + p.places.at(id).offset);
  return p.add_weight(std::move(bytes), "state");
}

}  // namespace

Program plan_memory(PendingProgram& p, const Graph& graph) {
  fill_tails(p);
  Barriers(p).place(p.steps, {});
  Lifetimes lifetimes(p);
  std::vector<Life> lives = lifetimes.run();

  Program program;
  const DebugMemory debug = p.options.debug_memory;
  program.symbols = graph.symbols.all();
  program.derived = derived_sizes(graph);
  if (!graph.symbols.empty() && !graph.symbols[0].is_measured()) {
    program.slots = place_in_slots(lives);
    for (const Dim& bytes : program.slots) program.arena_bytes += bytes.high();
  } else {
    program.arena_bytes = debug == DebugMemory::off ? place(lives) : place_apart(lives, debug, program.guard_pages);
  }
  program.arena_lower_bound = lower_bound(lives);
  program.fault_sites = p.fault_sites;
  for (const auto& [id, data] : p.initial_states) program.state_bytes += align_up(std::max<int64_t>(p.types[id].bytes(), 1));
  const std::optional<uint32_t> initial = add_initial_states(p, program.state_bytes);
  for (Weight& w : p.weights) {
    w.offset = program.weights_bytes;
    program.weights_bytes += align_up(w.bytes);
  }
  program.weights = p.weights;
  if (initial) program.state_init_at = program.weights[*initial].offset;
  Binder binder(p, program, lives, lifetimes.index());
  program.load_steps = binder.bind(p.load_steps);
  program.steps = binder.bind(p.steps);
  return program;
}

}  // namespace mica::lower
