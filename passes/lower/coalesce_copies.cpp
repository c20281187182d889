// Control flow is lowered with copies: into the variables of loops and branches, of a tensor before one of its rows is written, into
// what is kept between runs. Here source and target of a copy become one place wherever that changes nothing, as a register
// allocator coalesces moves (Chaitin, "Register allocation and spilling via graph coloring", 1982):
//
//   begin: v = x        loop { t = f(v); carry: v = t }        =>        loop { v = f(v) }     where f reads v[i] only to write v[i]
//
// Two values interfere when one is written while the other is needed later: by a step, in the other branch of the way, or in the next
// trip of a loop. They also do when one step reads one and writes the other at different places. Values that do not interfere
// and are copied to each other share memory; what is left of the copy is nothing. Barriers are placed later and see the result.
#include <algorithm>

#include "emit.h"
#include "mica/support/defect.h"

namespace mica::lower {

namespace {

using Live = std::set<uint32_t>;  // numbers of values

class Coalescer {
 public:
  explicit Coalescer(PendingProgram& p) : p_(p) {}

  void run() {
    find_copies(p_.steps);
    if (copies_.empty()) return;
    find_first_writes(p_.steps);
    Live live;  // at the end: what the caller and the next run see
    for (const auto& [id, place] : p_.places)
      if (is_written(id)) live.insert(id);
    keep_candidates(live);
    walk(p_.steps, std::move(live));
    // Innermost copies first: they run most often.
    std::stable_sort(copies_.begin(), copies_.end(), [](const Copy& a, const Copy& b) { return a.depth > b.depth; });
    for (const Copy& c : copies_) merge(c.from, c.to);
    drop(p_.steps);
  }

 private:
  struct Copy {
    uint32_t from, to;
    uint32_t depth;
  };

  uint32_t root(Value v) const { return p_.storage(v).root.id; }

  /// Caller's outputs and states; inputs, counters and constants are never written.
  bool is_written(uint32_t id) const {
    const auto place = p_.places.find(id);
    if (place == p_.places.end() || place->second.space == Binding::Space::state) return true;
    return place->second.space == Binding::Space::io && place->second.io >= p_.inputs;
  }

  /// Copies between values that own their memory and are alike.
  void find_copies(const std::vector<PendingStep>& steps, uint32_t depth = 0) {
    for (const PendingStep& s : steps) {
      if (s.copies && s.operands[0].kind == Operand::Kind::value) {
        const Alias from = p_.storage(s.operands[0].value), to = p_.storage(s.operands[1].value);
        const TensorType &a = p_.types[from.root.id], &b = p_.types[to.root.id];
        const bool whole =
            !from.offset && !to.offset && a.bytes() == b.bytes() && a.dtype == b.dtype && a.bytes() == p_.types[s.operands[1].value.id].bytes();
        const bool free = is_written(from.root.id) && is_written(to.root.id) && !p_.tails.count(from.root.id) && !p_.tails.count(to.root.id);
        if (whole && free) {
          copies_.push_back({from.root.id, to.root.id, depth});
          candidates_.insert(from.root.id);
          candidates_.insert(to.root.id);
        }
      }
      find_copies(s.body, depth + (s.kind == Step::Kind::loop));
      find_copies(s.otherwise, depth);
    }
  }

  /// A value that is no variable is born where it is written first; before, its memory holds nothing that anybody needs. A variable
  /// (written whole by several copies) has no such place and is born at each of them.
  void find_first_writes(const std::vector<PendingStep>& steps) {
    for (const PendingStep& s : steps) {
      for_writes(s, [&](uint32_t id) { first_write_.try_emplace(id, &s); });
      find_first_writes(s.body);
      find_first_writes(s.otherwise);
    }
  }

  template <class F> void for_writes(const PendingStep& s, F&& f) const {
    for (size_t i = 0; i < s.operands.size(); ++i)
      if (s.operands[i].kind == Operand::Kind::value && s.kernel.buffers[i].written) f(root(s.operands[i].value));
  }

  void keep_candidates(Live& live) const {
    std::erase_if(live, [&](uint32_t id) { return !candidates_.count(id); });
  }

  void add(Live& live, const std::optional<Operand>& o) const {
    if (!o || o->kind != Operand::Kind::value) return;
    if (const uint32_t id = root(o->value); candidates_.count(id)) live.insert(id);
  }

  /// From what is needed after the steps to what is needed before them, noting on the way what interferes.
  Live walk(const std::vector<PendingStep>& steps, Live live) {
    for (size_t i = steps.size(); i-- > 0;) {
      const PendingStep& s = steps[i];
      if (s.kind == Step::Kind::call) call(s, live);
      else if (s.kind == Step::Kind::branch) branch(s, live);
      else if (s.kind == Step::Kind::measure) add(live, s.count);
      else loop(s, live);
    }
    return live;
  }

  void branch(const PendingStep& s, Live& live) {
    Live then = walk(s.body, live);
    live = walk(s.otherwise, std::move(live));
    live.merge(then);
    add(live, s.condition);
  }

  void loop(const PendingStep& s, Live& live) {
    // What one trip needs, the trip before must leave: until nothing is added.
    Live end = live;
    add(end, s.go_on);
    for (size_t before = 0;;) {
      Live head = walk(s.body, end);
      before = end.size();
      end.merge(head);
      if (end.size() == before) break;
    }
    live = std::move(end);
    add(live, s.trips);
    add(live, s.condition);
  }

  void call(const PendingStep& s, Live& live) {
    for_writes(s, [&](uint32_t to) {
      if (!candidates_.count(to)) return;
      for_writes(s, [&](uint32_t other) {
        if (other != to) interfere(to, other);
      });
      for (const uint32_t other : live)
        if (other != to && !(s.copies && other == root(s.operands[0].value))) interfere(to, other);
      for (size_t i = 0; i < s.operands.size(); ++i) {
        const Operand& o = s.operands[i];
        if (o.kind != Operand::Kind::value || s.copies || o.same_place) continue;
        if (const uint32_t from = root(o.value); from != to && candidates_.count(from)) interfere(to, from);
      }
    });
    for_writes(s, [&](uint32_t to) {
      const bool whole_copy = s.copies && p_.types[to].bytes() == p_.types[s.operands[1].value.id].bytes();
      if (whole_copy || (first_write_.at(to) == &s && !s.partial)) live.erase(to);
    });
    for (size_t i = 0; i < s.operands.size(); ++i) {
      const Operand& o = s.operands[i];
      if (o.kind == Operand::Kind::value && (!s.kernel.buffers[i].written || s.partial))
        if (const uint32_t id = root(o.value); candidates_.count(id) && !(defect(Defect::state_order) && p_.places.count(id))) live.insert(id);
    }
  }

  static uint64_t pair_of(uint32_t a, uint32_t b) { return uint64_t{std::min(a, b)} << 32 | std::max(a, b); }
  void interfere(uint32_t a, uint32_t b) { interference_.insert(pair_of(a, b)); }

  /// Who shares memory with `id`: those merged with it before.
  const std::vector<uint32_t>& members(uint32_t id) {
    auto& all = members_[id];
    if (all.empty()) all.push_back(id);
    return all;
  }

  void merge(uint32_t a, uint32_t b) {
    uint32_t from = p_.storage(Value{a}).root.id, to = p_.storage(Value{b}).root.id;
    if (from == to) return;
    if (p_.places.count(from)) std::swap(from, to);
    if (p_.places.count(from)) return;  // both lie where they must
    for (const uint32_t x : members(from))
      for (const uint32_t y : members(to))
        if (interference_.count(pair_of(x, y))) return;
    p_.aliases[from] = {Value{to}, 0};
    const std::vector<uint32_t> moved = members(from);
    members(to);
    std::vector<uint32_t>& all = members_[to];
    all.insert(all.end(), moved.begin(), moved.end());
  }

  void drop(std::vector<PendingStep>& steps) {
    std::erase_if(steps, [&](const PendingStep& s) {
      if (!s.copies || s.operands[0].kind != Operand::Kind::value) return false;
      const Alias from = p_.storage(s.operands[0].value), to = p_.storage(s.operands[1].value);
      return from.root == to.root && from.offset == to.offset;
    });
    for (PendingStep& s : steps) {
      drop(s.body);
      drop(s.otherwise);
    }
  }

  PendingProgram& p_;
  std::vector<Copy> copies_;
  std::set<uint32_t> candidates_;
  std::map<uint32_t, const PendingStep*> first_write_;
  std::set<uint64_t> interference_;
  std::map<uint32_t, std::vector<uint32_t>> members_;
};

}  // namespace

void coalesce_copies(PendingProgram& program) { Coalescer(program).run(); }

}  // namespace mica::lower
