#include "emit.h"

#include <algorithm>
#include <cstring>

#include "guard.h"
#include "mica/ir/fault.h"

namespace mica::lower {

uint32_t PendingProgram::add_constant(const ConstantData& data) {
  for (uint32_t i = 0; i < weights.size(); ++i) {
    if (weights[i].data == data.bytes.data() && weights[i].bytes == static_cast<int64_t>(data.bytes.size())) return i;
  }
  Weight w;
  w.bytes = static_cast<int64_t>(data.bytes.size());
  w.data = data.bytes.data();
  w.keep = data.owned ? std::static_pointer_cast<const void>(data.owned) : data.keep;
  w.name = data.name;
  weights.push_back(std::move(w));
  return static_cast<uint32_t>(weights.size() - 1);
}

uint32_t PendingProgram::add_weight(std::vector<std::byte> bytes, std::string name) {
  for (uint32_t i = 0; i < weights.size(); ++i) {
    const Weight& w = weights[i];
    if (w.bytes == static_cast<int64_t>(bytes.size()) && w.bytes > 0 && std::memcmp(w.data, bytes.data(), bytes.size()) == 0) return i;
  }
  auto owned = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  Weight w;
  w.bytes = static_cast<int64_t>(owned->size());
  w.data = owned->data();
  w.keep = owned;
  w.name = std::move(name);
  weights.push_back(std::move(w));
  return static_cast<uint32_t>(weights.size() - 1);
}

void PendingProgram::enter(const Graph& g) {
  graph = &g;
  base = static_cast<uint32_t>(types.size());
  for (uint32_t id = 0; id < g.values.size(); ++id) {
    types.push_back(g.values[id].type);
    if (g.is_constant(Value{id})) constants.emplace(base + id, g.constant(Value{id}));
  }
}

Alias PendingProgram::storage(Value v) const {
  Alias where{v, 0};
  for (auto found = aliases.find(v.id); found != aliases.end(); found = aliases.find(where.root.id))
    where = {found->second.root, where.offset + found->second.offset};
  return where;
}

void PendingProgram::place_parts_of_graph() {
  const std::map<uint32_t, Part> parts = place_parts(*graph);
  if (parts.empty()) return;
  graph = &placed.emplace_back(with_parts(*graph, parts));
  // A whole has a greater number than its parts.
  for (auto at = parts.rbegin(); at != parts.rend(); ++at) {
    types[base + at->first] = graph->values[at->first].type;
    lies_within(Value{base + at->first}, at->second);
  }
}

void PendingProgram::lies_within(Value numbered, const Part& part) {
  const Value whole = global(part.whole);
  aliases[numbered.id] = {whole, part.offset};
  Cut cut{whole, part.axis, part.first, part.first + part.count};
  if (const auto outer = cuts.find(whole.id); outer != cuts.end()) {
    const Cut& c = outer->second;
    cut = c.axis == part.axis ? Cut{c.root, c.axis, c.first + cut.first, c.first + cut.end} : c;
  }
  cuts[numbered.id] = cut;
}

Value PendingProgram::add_part(const Part& part, const Shape& shape) {
  TensorType type = graph->type(part.whole);
  if (type.layout.within.empty()) type.layout.within = type.shape.dims();
  type.shape = shape;
  const Value v = add_temporary(std::move(type));
  lies_within(v, part);
  return v;
}

Dim PendingProgram::reach(Value numbered) const {
  const TensorType& type = types[numbered.id];
  if (type.layout.within.empty()) return type.shape.elements();
  const Alias where = storage(numbered);
  return Dim::max(types[where.root.id].shape.elements() - where.offset, 0);
}

bool PendingProgram::apart(Value a, Value b) const {
  const auto x = cuts.find(a.id), y = cuts.find(b.id);
  if (x == cuts.end() || y == cuts.end()) return false;
  const Cut &s = x->second, &t = y->second;
  return s.root == t.root && s.axis == t.axis && (s.end <= t.first || t.end <= s.first);
}

Value PendingProgram::add_temporary(TensorType type) {
  types.push_back(std::move(type));
  return Value{static_cast<uint32_t>(types.size() - 1)};
}

Operand PendingProgram::operand(Value v) {
  const Value root = storage_of(v).root;
  if (const auto constant = constants.find(root.id); constant != constants.end()) return {Operand::Kind::weight, {}, add_constant(constant->second)};
  return {Operand::Kind::value, global(v), 0};
}

Value PendingProgram::add_trip() {
  const Value trip = add_temporary({DType::i64, {}, {}});
  places[trip.id] = {Binding::Space::trip, 0, depth};
  return trip;
}

namespace {

/// A step that writes the number where a loop can read it.
PendingStep write_trips(const Operand& to, const Dim& trips, const std::string& label) {
  PendingStep step;
  step.label = label + ": trips";
  step.operands = {to};
  Kernel& k = step.kernel;
  k.name = "trips";
  k.buffers = {{"to", {DType::i64, 1}, 1}};
  k.buffers[0].written = true;
  k.task = make_var("task", 0, 1);
  k.body.push_back(Stmt::store(0, Expr(0), trips));
  return step;
}

}  // namespace

void PendingProgram::repeat(size_t first, const Dim& trips) {
  PendingStep loop;
  loop.kind = Step::Kind::loop;
  loop.label = steps.back().label;
  loop.depth = depth;
  loop.ends_by_itself = true;
  std::move(steps.begin() + static_cast<std::ptrdiff_t>(first), steps.end(), std::back_inserter(loop.body));
  steps.resize(first);
  if (trips.is_static()) {
    const int64_t number = trips.size();
    std::vector<std::byte> bytes(sizeof number);
    std::memcpy(bytes.data(), &number, sizeof number);
    loop.trips = Operand{Operand::Kind::weight, {}, add_weight(std::move(bytes), "trips")};
  } else {
    loop.trips = Operand{Operand::Kind::value, add_temporary({DType::i64, {}, {}}), 0};
    steps.push_back(write_trips(*loop.trips, trips, loop.label));
  }
  steps.push_back(std::move(loop));
}

bool PendingProgram::can_have_tail(Value v) const {
  const Value root = storage_of(v).root;
  return root.id >= base && root.id - base < graph->values.size() && has_own_place(*graph, Value{root.id - base});
}

Dim PendingProgram::zero_tail(Value v, const Dim& elements) {
  const Alias a = storage_of(v);
  Tail& tail = tails[a.root.id];
  tail.elements = Dim::max(tail.elements, elements);
  return types[a.root.id].shape.elements() - a.offset;
}

int32_t PendingProgram::add_fault_site(const std::string& text) {
  const auto found = std::find(fault_sites.begin(), fault_sites.end(), text);
  if (found != fault_sites.end()) return static_cast<int32_t>(found - fault_sites.begin());
  fault_sites.push_back(text);
  return static_cast<int32_t>(fault_sites.size() - 1);
}

// Local buffers are numbered after all parameters in the end; while a kernel is built they stand at this base.
constexpr uint32_t local_base = 1u << 20;

Emitter::Emitter(PendingProgram& program, const Region& region) : program_(program), region_(region) {
  std::string name;
  for (uint32_t v : region.inlined) {
    if (const Node* n = program.graph->producer(Value{v}); n && n != region.root && name.size() < 40) name += std::string(n->info->name()) + "_";
  }
  if (region.anchor && region.anchor != region.root) name = std::string(region.anchor->info->name()) + "_" + name;
  step_.kernel.name = name + std::string(region.root->info->name());
  step_.subject = program.subject;
  const Location& where = region.location(*program.graph);
  step_.label = step_.kernel.name + (where.module_path.empty() ? "" : " (" + where.module_path + ")");
}

uint32_t Emitter::buffer_of(Value v, bool written) {
  if (const auto found = value_buffers_.find(v.id); found != value_buffers_.end()) {
    params_[found->second].written |= written;
    return found->second;
  }
  const TensorType& type = graph().type(v);
  const Alias where = program_.storage_of(v);
  if (const auto constant = program_.constants.find(where.root.id); constant != program_.constants.end()) {
    const uint32_t b = weight_buffer(program_.add_constant(constant->second), type.dtype, type.shape.elements());
    value_buffers_[v.id] = b;
    return b;
  }
  Dim elements = program_.reach(program_.global(v));
  if (const auto tail = program_.tails.find(where.root.id); tail != program_.tails.end()) {
    elements = program_.types[where.root.id].shape.elements() - where.offset + tail->second.elements;
  }
  return value_buffers_[v.id] = add_param(fmt::format("v{}", v.id), type.dtype, elements, written, {Operand::Kind::value, program_.global(v), 0});
}

uint32_t Emitter::temporary(Value numbered, bool written) {
  return add_param(fmt::format("t{}", numbered.id), program_.types[numbered.id].dtype, program_.reach(numbered), written,
                   {Operand::Kind::value, numbered, 0});
}

uint32_t Emitter::weight_buffer(uint32_t weight, DType dtype, const Dim& elements) {
  for (uint32_t i = 0; i < step_.operands.size(); ++i) {
    if (step_.operands[i].kind == Operand::Kind::weight && step_.operands[i].weight == weight && params_[i].element.dtype == dtype) return i;
  }
  return add_param(fmt::format("w{}", params_.size()), dtype, elements, false, {Operand::Kind::weight, {}, weight});
}

uint32_t Emitter::prepared_buffer(uint32_t prepared, DType dtype, int64_t elements, bool written) {
  return add_param(fmt::format("p{}", params_.size()), dtype, elements, written, {Operand::Kind::prepared, {}, prepared});
}

uint32_t Emitter::add_param(std::string name, DType dtype, const Dim& elements, bool written, Operand operand) {
  Buffer b;
  b.name = std::move(name);
  b.element = {dtype, 1};
  b.elements = elements;
  b.written = written;
  params_.push_back(std::move(b));
  step_.operands.push_back(operand);
  return static_cast<uint32_t>(params_.size() - 1);
}

uint32_t Emitter::local(std::string name, ExprType element, int64_t elements, Memory memory) {
  Buffer b;
  b.name = std::move(name);
  b.element = element;
  b.elements = elements;
  b.memory = memory;
  b.written = true;
  locals_.push_back(std::move(b));
  return local_base + static_cast<uint32_t>(locals_.size() - 1);
}

Expr Emitter::load_moved(const Expr& load, int64_t axis) {
  const Value v{load->id};
  const TensorType& type = graph().type(v);
  const ConstantData& data = graph().constant(v);
  const auto size = static_cast<size_t>(size_of(type.dtype));
  const int64_t extent = type.shape[axis], inner = type.strides()[axis], outer = type.shape.elements() / std::max<int64_t>(extent * inner, 1);
  std::vector<std::byte> bytes(data.bytes.size());
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t a = 0; a < extent; ++a) {
      for (int64_t i = 0; i < inner; ++i) {
        std::memcpy(&bytes[static_cast<size_t>((o * inner + i) * extent + a) * size],
                    &data.bytes[static_cast<size_t>((o * extent + a) * inner + i) * size], size);
      }
    }
  }
  const uint32_t buffer = weight_buffer(program_.add_weight(std::move(bytes), data.name), type.dtype, type.shape.elements());
  Expr flat = load->args[axis];
  int64_t stride = extent;
  for (int64_t a = type.rank(); a-- > 0;) {
    if (a == axis) continue;
    flat = flat + load->args[a] * Expr(stride);
    stride *= type.shape[a];
  }
  return make_load(buffer, load->type, {simplify(flat)});
}

namespace {

/// Leaves out roundings to the narrow dtype whose result is computed with: a value that stays in a kernel may be wide.
Expr keep_wide(const Expr& e, const Precision& p) {
  return rewrite(e, [&](const Expr& n) -> Expr {
    if (n->op != ExprOp::cast || n->type.dtype != p.wide || n->args[0]->type.dtype != p.narrow) return {};
    const Expr& x = n->args[0];
    if (x->op == ExprOp::cast && x->args[0]->type.dtype == p.wide) return x->args[0];
    if (x->op == ExprOp::select) return keep_wide(select(x->args[0], cast(p.wide, x->args[1]), cast(p.wide, x->args[2])), p);
    return {};
  });
}

}  // namespace

Expr Emitter::flatten(const Expr& e) {
  const std::optional<Precision>& precision = program_.options.precision;
  const Expr flat = rewrite(precision ? keep_wide(e, *precision) : e, [&](const Expr& n) -> Expr {
    if (n->op == ExprOp::checked_index) {
      const Location& where = region_.location(graph());
      const std::string text = n->name + (where.known() ? ", at " + where.to_string() : "");
      return with_index(*n, n->args[0], static_cast<uint32_t>(program_.add_fault_site(text)));
    }
    if (n->op != ExprOp::load) return {};
    const Value v{n->id};
    if (const auto moved = last_axis_.find(v.id); moved != last_axis_.end()) return load_moved(n, moved->second);
    return make_load(buffer_of(v), n->type, {flat_index(graph().type(v), n->args)});
  });
  return guard_accesses(flat, [&](uint32_t buffer) { return params_[buffer].elements; });
}

namespace {
void renumber(Stmt& s, const std::function<Expr(const Expr&)>& fix, uint32_t params) {
  for (Expr* e : {&s.low, &s.high, &s.step, &s.index, &s.value, &s.mask, &s.condition}) {
    if (*e) *e = fix(*e);
  }
  if (s.buffer >= local_base) s.buffer = s.buffer - local_base + params;
  for (Stmt& b : s.body) renumber(b, fix, params);
  for (Stmt& b : s.otherwise) renumber(b, fix, params);
}
}  // namespace

void Emitter::finish(Expr task, const Dim& tasks, std::vector<Stmt> body, bool barrier) {
  complete(std::move(task), tasks, std::move(body));
  step_.barrier = barrier;
  program_.steps.push_back(std::move(step_));
}

void Emitter::finish_over(const std::vector<Expr>& order, std::vector<Stmt> body) {
  Dim tasks = 1;
  for (const Expr& v : order) tasks *= extent_end(v);
  const Expr task = make_place("task", tasks);
  Dim stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    const Dim extent = extent_end(order[i]);
    // The outermost part is within its extent anyway; with integers `simplify` sees that.
    const Expr place = floordiv(task, stride);
    body = with_let(order[i], simplify(i == 0 && !tasks.is_static() ? place : floormod(place, extent)), std::move(body));
    stride *= extent;
  }
  finish(task, tasks, std::move(body));
}

void Emitter::finish_at_load(Expr task, int64_t tasks, std::vector<Stmt> body) {
  complete(std::move(task), tasks, std::move(body));
  step_.barrier = false;
  program_.load_steps.push_back(std::move(step_));
}

void Emitter::complete(Expr task, const Dim& tasks, std::vector<Stmt> body) {
  const auto params = static_cast<uint32_t>(params_.size());
  const auto fix = [&](const Expr& e) {
    return rewrite(e, [&](const Expr& n) -> Expr {
      if (n->op != ExprOp::load || n->id < local_base) return {};
      std::vector<Expr> indices(n->args.begin(), n->args.end() - n->masked);
      return make_load(n->id - local_base + params, n->type, std::move(indices), n->masked ? n->args.back() : Expr());
    });
  };
  for (Stmt& s : body) renumber(s, fix, params);
  Kernel& k = step_.kernel;
  k.buffers = params_;
  k.buffers.insert(k.buffers.end(), locals_.begin(), locals_.end());
  k.task = task;
  k.tasks = tasks;
  k.body = std::move(body);
  for (const Buffer& b : params_) k.bytes += static_cast<double>(b.elements.typical() * size_of(b.element.dtype));
}

void PendingProgram::add_copy(Value from, Value to, std::string label) {
  const TensorType& type = types[to.id];
  MICA_CHECK(type.dtype == types[from.id].dtype && type.shape == types[from.id].shape && type.layout == types[from.id].layout, label);
  const Dim n = type.shape.elements();
  if (n == 0 || storage(from).root == storage(to).root) return;
  PendingStep step;
  step.copies = true;
  step.label = std::move(label);
  const auto constant = constants.find(storage(from).root.id);
  if (constant != constants.end()) step.operands.push_back({Operand::Kind::weight, {}, add_constant(constant->second)});
  else step.operands.push_back({Operand::Kind::value, from, 0});
  step.operands.push_back({Operand::Kind::value, to, 0});
  Kernel& k = step.kernel;
  k.name = "copy";
  k.buffers = {{"from", {type.dtype, 1}, n}, {"to", {type.dtype, 1}, n}};
  k.buffers[1].written = true;
  k.bytes = 2 * static_cast<double>(type.bytes().typical());
  constexpr int64_t block = 4096;  // elements a task
  const int32_t lanes = lanes_for(*target, type.dtype);
  k.tasks = Dim::ceil_div(n, block);
  k.task = make_index("task", k.tasks);
  const auto loop = [&](const Expr& low, const Expr& high, int32_t width) {
    const Expr i = make_index("i", n);
    const Expr index = width == 1 ? i : make_ramp(i, Expr(1), width);
    std::vector<Stmt> body;
    body.push_back(Stmt::store(1, index, make_load(0, {type.dtype, width}, {index})));
    k.body.push_back(Stmt::loop(i, low, high, Expr(width), std::move(body)));
  };
  const Expr first = k.task * Expr(block);
  const Dim vectors = n / lanes * lanes;
  if (vectors.high() > 0) loop(first, min(first + Expr(block), Expr(vectors)), lanes);
  if (vectors != n) loop(max(first, Expr(vectors)), min(first + Expr(block), Expr(n)), 1);
  steps.push_back(std::move(step));
}

int32_t lanes_for(const Target& target, DType dtype) { return target.lanes(std::max<int64_t>(4, size_of(dtype))); }

namespace {

struct Vectorizer {
  Expr lane_var, base, mask;
  int32_t lanes;
  std::map<const ExprNode*, Expr> memo;
  std::map<const ExprNode*, bool> depends_memo;
  std::vector<Expr> alive;

  bool depends(const Expr& e) {
    if (e->op == ExprOp::var) return e->id == lane_var->id;
    if (const auto found = depends_memo.find(e.get()); found != depends_memo.end()) return found->second;
    bool result = false;
    for (const Expr& a : e->args) result |= depends(a);
    alive.push_back(e);  // an atom of an affine form may be nobody else's, and its address be given away
    return depends_memo[e.get()] = result;
  }

  Expr vector_mask(const Expr& own) {
    Expr m = own ? run(own) : Expr();
    if (mask) m = m ? m && mask : mask;
    if (m && m->type.lanes == 1) m = make_broadcast(m, lanes);
    return m;
  }

  Expr load(const Expr& e) {
    const Expr own_mask = e->masked ? e->args.back() : Expr();
    const Expr& index = e->args[0];
    Affine a = to_affine(index);
    int64_t stride = 0;
    bool affine = true;
    std::vector<Affine::Term> rest;
    for (const Affine::Term& t : a.terms) {
      if (t.atom->op == ExprOp::var && t.atom->id == lane_var->id) stride = t.coefficient;
      else {
        affine &= !depends(t.atom);
        rest.push_back(t);
      }
    }
    const ExprType type{e->type.dtype, lanes};
    if (!affine) {
      Expr where = run(index);
      return make_load(e->id, type, {where}, vector_mask(own_mask));
    }
    if (stride == 0) return make_load(e->id, type, {make_broadcast(index, lanes)}, vector_mask(own_mask));  // only the mask depends on the lane
    a.terms = rest;
    const Expr first = simplify(from_affine(a) + base * Expr(stride));
    return make_load(e->id, type, {make_ramp(first, Expr(stride), lanes)}, vector_mask(own_mask));
  }

  std::vector<Expr> arguments(const Expr& e) {
    std::vector<Expr> args;
    for (const Expr& a : e->args) args.push_back(run(a));
    // Lanes beyond the end hold nothing that could be at fault. What accumulators hold is a vector that does not name the lane.
    const bool lanewise = !args.empty() && (args[0]->type.lanes > 1 || depends(e));
    if (e->op == ExprOp::checked_index && mask && lanewise) {
      args[0] = select(mask, args[0], imm_i(e->type.dtype, 0));
      if (e->masked) args[1] = args[1] && mask;
    }
    return args;
  }

  Expr run(const Expr& e) {
    if (const auto found = memo.find(e.get()); found != memo.end()) return found->second;
    Expr result;
    if (!depends(e) && !(e->op == ExprOp::load && e->masked)) {
      if (e->args.empty()) result = e;
      else { result = with_args(e, arguments(e)); }
    } else if (e->op == ExprOp::var) {
      result = make_ramp(base, Expr(1), lanes);
    } else if (e->op == ExprOp::load && !depends(e)) {
      // A scalar load under a condition: read element 0 when it does not hold, where there is one for certain.
      const Expr m = run(e->args.back());
      const Expr index = run(e->args[0]);
      if (of_none_perhaps(index)) result = make_load(e->id, e->type, {index}, m);
      else result = select(m, make_load(e->id, e->type, {select(m, index, Expr(0))}), imm(e->type.dtype, 0));
    } else if (e->op == ExprOp::load) {
      result = load(e);
    } else {
      result = with_args(e, arguments(e));
    }
    memo.emplace(e.get(), result);
    return result;
  }
};

}  // namespace

Expr vectorize(const Expr& e, const Expr& lane_var, const Expr& base, int32_t lanes, const Expr& mask) {
  if (lanes == 1) {
    Vectorizer v{make_var("none", 0, 1), base, {}, 1, {}, {}, {}};
    return v.run(simplify(substitute(e, {{lane_var, base}})));
  }
  Vectorizer v{lane_var, base, mask, lanes, {}, {}, {}};
  return v.run(e);
}

Stmt vector_store(uint32_t buffer, const Expr& index, const Expr& value, const Expr& lane_var, const Expr& base, int32_t lanes, const Expr& mask) {
  if (lanes == 1) return Stmt::store(buffer, simplify(substitute(index, {{lane_var, base}})), value);
  const Affine a = to_affine(index);
  Affine rest = a;
  int64_t stride = 0;
  bool affine = true;
  rest.terms.clear();
  for (const Affine::Term& t : a.terms) {
    if (t.atom->op == ExprOp::var && t.atom->id == lane_var->id) stride = t.coefficient;
    else {
      affine &= !depends_on(t.atom, lane_var->id);
      rest.terms.push_back(t);
    }
  }
  Expr where =
      affine ? make_ramp(simplify(from_affine(rest) + base * Expr(stride)), Expr(stride), lanes) : vectorize(index, lane_var, base, lanes, {});
  return Stmt::store(buffer, where, make_broadcast(value, lanes), mask);
}

Expr tail_mask(const Expr& base, const Expr& extent, int32_t lanes) { return make_ramp(base, Expr(1), lanes) < make_broadcast(extent, lanes); }

}  // namespace mica::lower
