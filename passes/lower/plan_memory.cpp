// Places every value of a program. Steps are grouped by the barriers between them; a value lives from the group that writes it to
// the last that reads it, and two values share bytes only when no group sees both. Largest first, each at the lowest offset that is
// free for its whole life (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", arXiv 2001.03288).
#include <algorithm>
#include <unordered_map>

#include "emit.h"
#include "mica/support/defect.h"

namespace mica::lower {

namespace {

constexpr int64_t alignment = 64;
int64_t align_up(int64_t n) { return (n + alignment - 1) / alignment * alignment; }

struct Life {
  Value value;
  int64_t bytes = 0;
  size_t first = 0, last = 0;  // groups
  int64_t offset = -1;
};

/// A step needs a barrier when it touches what a step since the last barrier wrote, or writes what one of those reads.
void place_barriers(PendingProgram& p) {
  std::set<uint32_t> written, read;
  for (PendingStep& step : p.steps) {
    bool conflict = false;
    for (size_t i = 0; i + defect(Defect::lost_barrier) < step.operands.size(); ++i) {
      if (step.operands[i].kind != Operand::Kind::value) continue;
      const uint32_t root = p.storage_of(step.operands[i].value).root.id;
      const bool writes = step.kernel.buffers[i].written;
      // Steps that write the same value (a concatenation's parts) write different elements of it.
      conflict |= writes ? read.count(root) != 0 : written.count(root) != 0;
    }
    step.barrier = conflict;
    if (conflict) {
      written.clear();
      read.clear();
    }
    for (size_t i = 0; i < step.operands.size(); ++i) {
      if (step.operands[i].kind != Operand::Kind::value) continue;
      (step.kernel.buffers[i].written ? written : read).insert(p.storage_of(step.operands[i].value).root.id);
    }
  }
}

/// A step that writes the zeros behind a value, before the first step that writes the value.
void fill_tails(PendingProgram& p) {
  for (const auto& [id, tail] : p.tails) {
    const Value v{id};
    const TensorType& type = p.graph->type(v);
    const auto writes = [&](const PendingStep& s) {
      for (size_t i = 0; i < s.operands.size(); ++i) {
        if (s.operands[i].kind == Operand::Kind::value && s.operands[i].value == v && s.kernel.buffers[i].written) return true;
      }
      return false;
    };
    const auto at = std::find_if(p.steps.begin(), p.steps.end(), writes);
    MICA_CHECK(at != p.steps.end());
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
    const Expr i = make_var("i", 0, tail.elements);
    std::vector<Stmt> body;
    body.push_back(Stmt::store(0, simplify(i + Expr(type.shape.elements())), imm(type.dtype, 0)));
    step.kernel.body.push_back(Stmt::loop(i, Expr(0), Expr(tail.elements), Expr(1), std::move(body)));
    p.steps.insert(at, std::move(step));
  }
}

std::vector<Life> lifetimes(const PendingProgram& p, const std::set<uint32_t>& io, std::unordered_map<uint32_t, size_t>& index) {
  std::vector<Life> lives;
  size_t group = 0;
  for (const PendingStep& step : p.steps) {
    group += step.barrier;
    for (const Operand& o : step.operands) {
      if (o.kind == Operand::Kind::scratch) lives.push_back({{}, align_up(std::max<int64_t>(o.bytes, 1)), group, group, -1});
      if (o.kind != Operand::Kind::value) continue;
      const Value root = p.storage_of(o.value).root;
      if (io.count(root.id)) continue;
      const auto [entry, fresh] = index.try_emplace(root.id, lives.size());
      if (fresh) {
        const auto tail = p.tails.find(root.id);
        const TensorType& type = p.graph->type(root);
        const int64_t elements = type.shape.elements() + (tail == p.tails.end() ? 0 : tail->second.elements);
        lives.push_back({root, align_up(std::max<int64_t>(elements * size_of(type.dtype), 1)), group, group, -1});
      }
      lives[entry->second].last = group;
    }
  }
  return lives;
}

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
    total = std::max(total, at + l->bytes);
    placed.push_back(l);
  }
  return total;
}

int64_t lower_bound(const std::vector<Life>& lives) {
  size_t groups = 0;
  for (const Life& l : lives) groups = std::max(groups, l.last + 1);
  std::vector<int64_t> alive(groups, 0);
  for (const Life& l : lives) {
    for (size_t g = l.first; g <= l.last; ++g) alive[g] += l.bytes;
  }
  return alive.empty() ? 0 : *std::max_element(alive.begin(), alive.end());
}

/// Numbers the variables of a kernel from 1 in the order in which they occur, so that equal kernels have equal text.
void renumber(Kernel& k) {
  std::unordered_map<uint32_t, Expr> names;
  const auto renamed = [&](const Expr& e) {
    return rewrite(e, [&](const Expr& n) -> Expr {
      if (n->op != ExprOp::var) return {};
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

}  // namespace

Program plan_memory(PendingProgram& p) {
  const Graph& graph = *p.graph;
  fill_tails(p);
  place_barriers(p);
  std::set<uint32_t> io;
  std::unordered_map<uint32_t, uint32_t> io_index;
  for (size_t i = 0; i < graph.inputs.size(); ++i) io_index[graph.inputs[i].id] = static_cast<uint32_t>(i);
  for (size_t i = 0; i < graph.outputs.size(); ++i) io_index[graph.outputs[i].id] = static_cast<uint32_t>(graph.inputs.size() + i);
  for (const auto& [id, slot] : io_index) io.insert(id);
  std::unordered_map<uint32_t, size_t> index;
  std::vector<Life> lives = lifetimes(p, io, index);

  Program program;
  program.arena_bytes = place(lives);
  program.arena_lower_bound = lower_bound(lives);
  program.fault_sites = p.fault_sites;
  for (Weight& w : p.weights) {
    w.offset = program.weights_bytes;
    program.weights_bytes += align_up(w.bytes);
  }
  program.weights = p.weights;
  std::unordered_map<std::string, uint32_t> known;
  auto scratch = lives.begin();  // in the order of the steps, among the lives of values
  for (PendingStep& step : p.steps) {
    Step out;
    out.barrier = step.barrier;
    out.label = step.label;
    for (size_t i = 0; i < step.operands.size(); ++i) {
      const Operand& o = step.operands[i];
      Binding b;
      if (o.kind == Operand::Kind::weight) {
        b = {Binding::Space::weights, program.weights[o.weight].offset, 0};
      } else if (o.kind == Operand::Kind::scratch) {
        scratch = std::find_if(scratch, lives.end(), [](const Life& l) { return !l.value; });
        b = {Binding::Space::arena, (scratch++)->offset, 0};
      } else {
        const Alias where = p.storage_of(o.value);
        const int64_t element = size_of(graph.type(o.value).dtype);
        if (const auto slot = io_index.find(where.root.id); slot != io_index.end()) {
          b = {Binding::Space::io, where.offset * element, slot->second};
          step.kernel.buffers[i].alignment = element;
        } else {
          b = {Binding::Space::arena, lives[index.at(where.root.id)].offset + where.offset * element, 0};
        }
      }
      out.bindings.push_back(b);
    }
    renumber(step.kernel);
    for (size_t i = 0; i < step.kernel.buffers.size(); ++i) step.kernel.buffers[i].name = fmt::format("b{}", i);
    const std::string name = std::move(step.kernel.name);
    step.kernel.name.clear();
    const auto [entry, fresh] = known.try_emplace(to_string(step.kernel), program.kernels.size());
    if (fresh) {
      step.kernel.name = fmt::format("{}_{}", name, program.kernels.size());
      program.kernels.push_back(std::move(step.kernel));
    }
    out.kernel = entry->second;
    program.steps.push_back(std::move(out));
  }
  return program;
}

}  // namespace mica::lower
