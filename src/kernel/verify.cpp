#include "mica/kernel/verify.h"

#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>

namespace mica {

namespace {

class Verifier {
 public:
  Verifier(const Kernel& kernel, Diagnostics& diagnostics) : kernel_(kernel), diagnostics_(diagnostics) {}

  bool run() {
    const uint32_t params = kernel_.params();
    for (size_t i = 0; i < kernel_.buffers.size(); ++i) {
      const Buffer& b = kernel_.buffers[i];
      if (i >= params && b.memory == Memory::param) fail("param %{} {} stands behind a local buffer", i, b.name);
      if (b.memory == Memory::param && b.element.lanes != 1) fail("param %{} {} has vector elements", i, b.name);
      if (i >= params && !b.elements.is_static()) fail("local buffer %{} {} has a size that varies", i, b.name);
      if (b.elements.low() < 0 || b.element.lanes < 1) fail("buffer %{} {} has no size", i, b.name);
    }
    if (!kernel_.task || kernel_.task->op != ExprOp::var) {
      fail("there is no task variable");
      return false;
    }
    for (const TileShape& t : kernel_.tiles) {
      if (t.rows < 1 || t.bytes < 4 || t.bytes % 4) fail("a tile of {} rows of {} bytes", t.rows, t.bytes);
    }
    // Within a range of sizes no bound is reached for certain.
    bind(kernel_.task, kernel_.tasks.is_static() ? std::optional(Interval{0, kernel_.tasks.size() - 1}) : std::nullopt);
    block(kernel_.body, true);
    return good_;
  }

 private:
  template <class... A> void fail(fmt::format_string<A...> format, A&&... args) {
    good_ = false;
    diagnostics_.error("bad-kernel", "kernel {}: {}", kernel_.name, fmt::format(format, std::forward<A>(args)...));
  }

  /// `range` when every value in it is taken, so that a bound that is reached is an error that happens.
  void bind(const Expr& var, std::optional<Interval> range) {
    bound_.insert(var->id);
    if (range && range->low <= range->high) ranges_[var->id] = *range;
    else ranges_.erase(var->id);
  }

  void block(const std::vector<Stmt>& body, bool always) {
    for (const Stmt& s : body) statement(s, always);
  }

  /// `always`: no branch or loop of unknown length stands around it.
  void statement(const Stmt& s, bool always) {
    switch (s.kind) {
      case Stmt::Kind::block: block(s.body, always); return;
      case Stmt::Kind::loop: loop(s, always); return;
      case Stmt::Kind::store: store(s, always); return;
      case Stmt::Kind::let:
        expression(s.value, always);
        if (s.var->type.dtype != s.value->type.dtype) fail("let {} has another type than its value", to_string(s.var));
        bind(s.var, std::nullopt);
        block(s.body, always);
        bound_.erase(s.var->id);
        return;
      case Stmt::Kind::branch:
        expression(s.condition, always);
        if (!(s.condition->type == ExprType{DType::b8, 1})) fail("the condition {} is not one bool", to_string(s.condition));
        block(s.body, false);
        block(s.otherwise, false);
        return;
      case Stmt::Kind::prefetch:
        expression(s.index, always);
        if (s.buffer >= kernel_.buffers.size() || s.index->type.lanes != 1)
          fail("prefetch of %{} at {}: not one element of a buffer", s.buffer, to_string(s.index));
        return;
      case Stmt::Kind::check:
        expression(s.condition, always);
        if (s.value) expression(s.value, always);
        return;
      case Stmt::Kind::tile_zero: has_tile(s.tile); return;
      case Stmt::Kind::tile_load: tile_access(s, DType::bf16, always); return;
      case Stmt::Kind::tile_store: tile_access(s, DType::f32, always); return;
      case Stmt::Kind::tile_dot: tile_dot(s); return;
    }
  }

  bool has_tile(uint32_t number) {
    if (number < kernel_.tiles.size()) return true;
    fail("there is no tile {}", number);
    return false;
  }

  void tile_access(const Stmt& s, DType dtype, bool always) {
    for (const Expr& e : {s.index, s.step}) {
      expression(e, always);
      if (!(e->type == ExprType{DType::i64, 1})) return fail("tile {} is at {}, which is not one i64", s.tile, to_string(e));
    }
    if (s.buffer >= kernel_.buffers.size()) return fail("tile {} is in buffer %{}, which does not exist", s.tile, s.buffer);
    if (!has_tile(s.tile)) return;
    const Buffer& b = kernel_.buffers[s.buffer];
    if (s.kind == Stmt::Kind::tile_store && b.memory == Memory::param && !b.written) fail("store to {}, which is not declared as written", b.name);
    if (b.memory == Memory::registers) fail("tile {} is in {}, which has no address", s.tile, b.name);
    if (!(b.element == ExprType{dtype, 1})) fail("tile {} holds {}, {} does not", s.tile, name_of(dtype), b.name);
    if (!always) return;
    const TileShape& t = kernel_.tiles[s.tile];
    in_bounds(s.index, b, t.bytes / size_of(dtype));
    in_bounds(simplify(s.index + Expr(t.rows - 1) * s.step), b, t.bytes / size_of(dtype));
  }

  void tile_dot(const Stmt& s) {
    if (!has_tile(s.tile) || !has_tile(s.left) || !has_tile(s.right)) return;
    const TileShape &c = kernel_.tiles[s.tile], &a = kernel_.tiles[s.left], &b = kernel_.tiles[s.right];
    if (c.rows != a.rows || c.bytes != b.bytes || a.bytes != 4 * b.rows) fail("shapes of tile {} += dot2({}, {})", s.tile, s.left, s.right);
  }

  void loop(const Stmt& s, bool always) {
    for (const Expr& e : {s.low, s.high, s.step}) expression(e, always);
    const auto low = constant_int(s.low), high = constant_int(s.high), step = constant_int(s.step);
    std::optional<Interval> range;
    if (step && *step <= 0) fail("loop {} has step {}", to_string(s.var), *step);
    if (low && high && step && *step > 0 && *low < *high) range = Interval{*low, *low + (*high - 1 - *low) / *step * *step};
    bind(s.var, range);
    if (!(low && high && *low >= *high)) block(s.body, always && range);
    bound_.erase(s.var->id);
  }

  void store(const Stmt& s, bool always) {
    for (const Expr& e : {s.index, s.value, s.mask}) {
      if (e) expression(e, always);
    }
    if (s.buffer >= kernel_.buffers.size()) return fail("store to buffer %{}, which does not exist", s.buffer);
    const Buffer& b = kernel_.buffers[s.buffer];
    if (b.memory == Memory::param && !b.written) fail("store to {}, which is not declared as written", b.name);
    if (s.value->type.dtype != b.element.dtype)
      fail("store of {} to {}, which holds {}", name_of(s.value->type.dtype), b.name, name_of(b.element.dtype));
    if (s.index->type.lanes > 1 && s.value->type.lanes > 1 && s.index->type.lanes != s.value->type.lanes)
      fail("store of {} lanes at {} indices", s.value->type.lanes, s.index->type.lanes);
    const bool spread = s.index->type.lanes == 1 && b.element.lanes == 1 && s.value->type.lanes > 1;
    if (always && !s.mask) in_bounds(s.index, b, spread ? s.value->type.lanes : 1);
  }

  void expression(const Expr& e, bool always) {
    visit(e, [&](const Expr& n) { node(n, always); });
  }

  void node(const Expr& e, bool always) {
    switch (e->op) {
      case ExprOp::var:
        if (!is_symbol(e) && !bound_.contains(e->id)) fail("variable {} is not bound where it is used", to_string(e));
        return;
      case ExprOp::reduce: return fail("a reduction is left in an expression");
      case ExprOp::load: return load(e, always);
      case ExprOp::broadcast:
        if (e->args[0]->type.lanes != 1) fail("broadcast of a vector: {}", to_string(e));
        return;
      case ExprOp::ramp:
        if (e->args[0]->type.lanes != 1 || is_float(e->type.dtype)) fail("ramp of a vector or of floats: {}", to_string(e));
        return;
      case ExprOp::dot2:
      case ExprOp::dot4: {
        const int32_t group = e->op == ExprOp::dot2 ? 2 : 4;
        if (e->args[0]->type.lanes != group * e->type.lanes || e->args[1]->type.lanes != group * e->type.lanes)
          fail("operands of {} have the wrong length", name_of(e->op));
        return;
      }
      default: break;
    }
    if (e->op == ExprOp::cast || e->op == ExprOp::bitcast || e->op == ExprOp::horizontal) return;
    for (const Expr& a : e->args) {
      if (a->type.lanes != e->type.lanes && a->type.lanes != 1) fail("operands of different length: {}", to_string(e));
    }
  }

  void load(const Expr& e, bool always) {
    if (e->id >= kernel_.buffers.size()) return fail("load from buffer %{}, which does not exist", e->id);
    const Buffer& b = kernel_.buffers[e->id];
    if (e->args.size() != (e->masked ? 2u : 1u))
      return fail("load from {} with {} indices; a kernel has one flat index", b.name, e->args.size() - e->masked);
    if (e->type.dtype != b.element.dtype) fail("load of {} from {}, which holds {}", name_of(e->type.dtype), b.name, name_of(b.element.dtype));
    if (e->args[0]->type.dtype != DType::i64) fail("index of another type than i64 into {}", b.name);
    const bool spread = e->args[0]->type.lanes == 1 && b.element.lanes == 1;
    if (always && !e->masked) in_bounds(e->args[0], b, spread ? e->type.lanes : 1);
  }

  /// Exact range of an affine index over independent variables; nothing when it cannot be told.
  std::optional<Interval> range_of(const Expr& index) const {
    if (index->type.lanes > 1) {
      if (index->op == ExprOp::broadcast) return range_of(index->args[0]);
      const auto stride = index->op == ExprOp::ramp ? constant_int(index->args[1]) : std::nullopt;
      const auto base = stride ? range_of(index->args[0]) : std::nullopt;
      if (!base) return std::nullopt;
      const int64_t reach = *stride * (index->type.lanes - 1);
      return Interval{base->low + std::min<int64_t>(reach, 0), base->high + std::max<int64_t>(reach, 0)};
    }
    const Affine a = to_affine(index);
    Interval total{a.constant, a.constant};
    for (const Affine::Term& t : a.terms) {
      const auto found = t.atom->op == ExprOp::var ? ranges_.find(t.atom->id) : ranges_.end();
      if (found == ranges_.end()) return std::nullopt;
      total.low += t.coefficient * (t.coefficient >= 0 ? found->second.low : found->second.high);
      total.high += t.coefficient * (t.coefficient >= 0 ? found->second.high : found->second.low);
    }
    return total;
  }

  void in_bounds(const Expr& index, const Buffer& b, int64_t elements) {
    const auto range = range_of(index);
    if (range && (range->low < 0 || range->high + elements > b.elements.high()))
      fail("index {} of {} runs from {} to {}, outside its {} elements", to_string(index), b.name, range->low, range->high + elements - 1,
           b.elements);
  }

  const Kernel& kernel_;
  Diagnostics& diagnostics_;
  bool good_ = true;
  std::unordered_set<uint32_t> bound_;
  std::unordered_map<uint32_t, Interval> ranges_;
};

}  // namespace

Result<void> verify_kernel(const Kernel& kernel, Diagnostics& diagnostics) {
  if (!Verifier(kernel, diagnostics).run()) return Failure{};
  return {};
}

namespace {

/// Bindings of steps against the program's memory.
class ProgramVerifier {
 public:
  ProgramVerifier(const Program& program, Diagnostics& diagnostics) : program_(program), diagnostics_(diagnostics) {}

  void load_steps() {
    loading_ = true;
    for (const Step& s : program_.load_steps) {
      if (s.kind == Step::Kind::call) call(s, 0);
      else fail(s, "there is no control flow when the library is loaded");
      if (s.barrier) fail(s, "there is no barrier when the library is loaded");
    }
    loading_ = false;
  }

  void steps(const std::vector<Step>& list, uint32_t depth) {
    for (const Step& s : list) {
      if (s.kind == Step::Kind::call) call(s, depth);
      else if (s.kind == Step::Kind::measure) measure(s, depth);
      else control(s, depth);
    }
  }

 private:
  template <class... A> void fail(const Step& s, fmt::format_string<A...> format, A&&... args) {
    diagnostics_.error("bad-kernel", "step '{}': {}", s.label, fmt::format(format, std::forward<A>(args)...));
  }

  void call(const Step& s, uint32_t depth) {
    if (s.kernel >= program_.kernels.size()) return fail(s, "calls kernel {} of {}", s.kernel, program_.kernels.size());
    const Kernel& k = program_.kernels[s.kernel];
    if (s.bindings.size() != k.params()) return fail(s, "binds {} of the {} params of {}", s.bindings.size(), k.params(), k.name);
    for (size_t i = 0; i < s.bindings.size(); ++i) {
      const Buffer& buffer = k.buffers[i];
      binding(s, s.bindings[i], buffer.elements * size_of(buffer.element.dtype), fmt::format("{} of {}", buffer.name, k.name), depth);
      const Binding::Space space = s.bindings[i].space;
      const bool prepared = space == Binding::Space::prepared, weights = space == Binding::Space::weights;
      const bool read_only = weights || space == Binding::Space::trip || (prepared && !loading_);
      if (read_only && buffer.written) fail(s, "{} writes to {}", k.name, weights ? "weights" : prepared ? "what is prepared" : "a counter");
      if (loading_ && !weights && !prepared) fail(s, "{} is called when the library is loaded, where there are weights alone", k.name);
    }
  }

  void measure(const Step& s, uint32_t depth) {
    if (s.symbol >= program_.symbols.size() || !program_.symbols[s.symbol].is_measured()) return fail(s, "symbol {} is not measured", s.symbol);
    if (!s.count) return fail(s, "nothing is measured");
    binding(s, *s.count, 8, "the size", depth);
  }

  void control(const Step& s, uint32_t depth) {
    const bool loop = s.kind == Step::Kind::loop;
    if (!s.bindings.empty()) fail(s, "control flow binds no params");
    if (!loop && !s.condition) fail(s, "a branch has no condition");
    if (loop && s.depth != depth) fail(s, "{} loops stand around the loop, not {}", depth, s.depth);
    if (s.condition) binding(s, *s.condition, 1, "the condition", depth);
    if (s.trips) binding(s, *s.trips, 8, "the number of trips", depth);
    if (s.go_on) binding(s, *s.go_on, 1, "the condition to go on", depth + 1);
    if (s.stop) binding(s, *s.stop, 2, "the notice of faults", depth);
    if (s.stop && s.stop->space != Binding::Space::arena) fail(s, "the notice of faults is not in the arena");
    steps(s.body, depth + loop);
    steps(s.otherwise, depth);
  }

  void binding(const Step& s, const Binding& b, const Dim& bytes, const std::string& what, uint32_t depth) {
    Dim limit = 0;
    if (b.slot >= 0) {
      if (b.space != Binding::Space::arena || static_cast<size_t>(b.slot) >= program_.slots.size())
        return fail(s, "{} is in slot {}, which does not exist", what, b.slot);
    }
    std::string_view space;
    switch (b.space) {
      case Binding::Space::io: return;
      case Binding::Space::arena:
        limit = b.slot < 0 ? Dim(program_.arena_bytes) : program_.slots[static_cast<size_t>(b.slot)], space = "the arena";
        break;
      case Binding::Space::weights: limit = program_.weights_bytes, space = "the weights"; break;
      case Binding::Space::prepared: limit = program_.prepared_bytes, space = "what is prepared"; break;
      case Binding::Space::state: limit = program_.state_bytes, space = "the state"; break;
      case Binding::Space::trip:
        limit = 8, space = "a counter";
        if (b.io >= depth) fail(s, "{} is the counter of a loop that does not stand around it", what);
    }
    if (b.offset < 0 || Dim::surely_less(limit, bytes + b.offset)) fail(s, "{} ends at byte {} of {}'s {}", what, b.offset + bytes, space, limit);
  }

  const Program& program_;
  Diagnostics& diagnostics_;
  bool loading_ = false;
};

}  // namespace

Result<void> verify_program(const Program& program, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  std::unordered_set<std::string> names;
  for (const Kernel& k : program.kernels) {
    (void)verify_kernel(k, diagnostics);
    if (!names.insert(k.name).second) diagnostics.error("bad-kernel", "two kernels are named {}", k.name);
  }
  if (program.state_bytes && (program.state_init_at < 0 || program.state_init_at + program.state_bytes > program.weights_bytes))
    diagnostics.error("bad-kernel", "the state's first bytes are not in the weights");
  ProgramVerifier verifier(program, diagnostics);
  verifier.load_steps();
  verifier.steps(program.steps, 0);
  if (diagnostics.error_count() != errors) return Failure{};
  return {};
}

}  // namespace mica
