// The generic road: loops for any region in expression form. The loop over the axis that gives the cheapest memory accesses is
// vectorised; a reduction is either computed lane by lane (the vector axis is one of its own result's), in register tiles, or along
// a row, with vector accumulators, and what it reads is staged so that a row is computed once.
#include <algorithm>
#include <cmath>

#include "emit.h"
#include "mica/ops/control.h"
#include "mica/ops/index.h"
#include "mica/ops/view.h"
#include "mica/support/defect.h"
#include "nest.h"
#include "place_sums.h"

namespace mica::lower {

namespace {

constexpr int64_t max_staged_row = 8192;  // elements
/// Shorter than max_chain: a partial sum is one addition beside what these loops load and compute anyway, and every halving makes sums better.
constexpr int64_t short_chain = 64;
static_assert(short_chain <= max_chain);
constexpr int64_t turned_vectors = 4, turned_lines = 8;  ///< of a block whose axes change places
/// Of an accumulator that is a single number: it has no other lanes to share the terms with.
constexpr int64_t scalar_chain = 16;

/// Wraps statements in `for var in [low, limit)`.
std::vector<Stmt> loop_over(const Expr& var, std::vector<Stmt> body) {
  std::vector<Stmt> out;
  out.push_back(Stmt::loop(var, Expr(var->int_value), Expr(extent_end(var)), Expr(1), std::move(body)));
  return out;
}

class GenericLowering {
 public:
  GenericLowering(Emitter& emit, Nest nest) : emit_(emit), nest_(std::move(nest)) {}

  void run() {
    nest_.value = collapse_reductions(nest_.value);
    collapse(nest_);
    reductions_ = reductions_in(nest_.value);
    if (reductions_.empty()) take_apart(nest_, widest_stride());
    lanes_ = lanes_for(emit_.target(), nest_.dtype);
    choose_vector_axis();
    if (along_row_) emit_rows();
    else emit_lanes();
  }

 private:
  Emitter& emit_;
  Nest nest_;
  std::vector<Expr> reductions_;
  int32_t lanes_ = 1;
  int vector_axis_ = -1;    ///< index into nest_.vars, -1: none
  bool along_row_ = false;  ///< reductions run along lanes of their own variables

  int64_t widest_stride() const { return emit_.target().widest_stored_stride(); }

  bool row_possible(int axis) const {
    if (reductions_.empty()) return false;
    for (const Expr& r : reductions_) {
      if ((axis >= 0 && depends_on(r, nest_.vars[axis]->id)) || inside_another(nest_.value, r)) return false;
    }
    return true;
  }

  /// Cost per element of each way to vectorise; the cheapest wins.
  void choose_vector_axis() {
    double best = INFINITY;
    const auto consider = [&](double cost, int axis, bool row) {
      if (cost < best) {
        best = cost;
        vector_axis_ = axis;
        along_row_ = row;
      }
    };
    double reduce_steps = 1;
    for (const Expr& r : reductions_) {
      double steps = 1;
      for (const Expr& v : r->vars) steps *= typical(extent_of(v));
      reduce_steps = std::max(reduce_steps, steps);
    }
    for (int a = -1; a < static_cast<int>(nest_.vars.size()); ++a) {
      if (row_possible(a)) {
        double cost = 0;
        for (const Expr& r : reductions_) cost += best_row_cost(r);
        const double steps = a >= 0 ? typical(extent_of(nest_.vars[a])) : 1;
        if (a >= 0)
          cost +=
              store_cost(nest_.index, nest_.vars[a], lanes_, widest_stride()) * steps / std::min<double>(typical(extent_of(nest_.vars[a])), lanes_);
        // A row's reduction is shared by the whole inner axis.
        consider(cost / steps, a, true);
      }
      if (a < 0) {
        if (nest_.vars.empty()) consider(1e8, -1, false);
        continue;
      }
      const Expr& v = nest_.vars[a];
      double per_vector = store_cost(nest_.index, v, lanes_, widest_stride()) + access_cost(nest_.value, v, lanes_) * reduce_steps;
      consider(per_vector / std::min<double>(typical(extent_of(v)), lanes_), a, false);
    }
  }

  double best_row_cost(const Expr& r) const {
    double best = INFINITY, steps = 1;
    for (const Expr& v : r->vars) steps *= typical(extent_of(v));
    for (const Expr& v : r->vars) best = std::min(best, access_cost(r->args[0], v, lanes_) * steps / std::min<double>(typical(extent_of(v)), lanes_));
    return best;
  }

  // ---- loops around a body ----
  /// Distributes the outer variables over tasks and loops; `body` is what runs for one point of them.
  void finish(std::vector<Expr> outer, std::vector<Stmt> body) {
    size_t split = 0;
    Dim tasks = 1;
    while (split < outer.size() && tasks.typical() < 64) tasks *= extent_of(outer[split++]);
    for (size_t i = outer.size(); i-- > split;) body = loop_over(outer[i], std::move(body));
    outer.resize(split);
    emit_.finish_over(outer, std::move(body));
  }

  template <class Body> std::vector<Stmt> vector_loop(const Dim& extent, Body&& body) {
    return vector_loop(Expr(0), extent, extent.is_static() ? extent.size() : -1, std::forward<Body>(body));
  }
  /// `for base in [low, high) step lanes`, full vectors first, then the tail under a mask (or one by one where the target has none).
  /// `extent` is high - low, or -1 where that is not one number.
  template <class Body> std::vector<Stmt> vector_loop(const Expr& low, const Expr& high, int64_t extent, Body&& body) {
    std::vector<Stmt> out;
    const int64_t full = extent / lanes_ * lanes_;
    const bool exact = extent >= 0 && full == extent;
    const Expr main_high = extent >= 0 ? simplify(low + Expr(full)) : simplify(low + floordiv(high - low, lanes_) * lanes_);
    if (extent < 0 || full > 0) {
      const Expr base = make_var("v", 0, int64_t{1} << 40);
      out.push_back(Stmt::loop(base, low, main_high, Expr(lanes_), body(base, Expr(), lanes_)));
    }
    if (exact) return out;
    if (emit_.target().masked_memory) {
      std::vector<Stmt> tail = body(main_high, tail_mask(main_high, high, lanes_), lanes_);
      if (extent >= 0) append(out, std::move(tail));
      else out.push_back(Stmt::branch(main_high < high, std::move(tail)));
      return out;
    }
    const Expr one = make_var("u", 0, int64_t{1} << 40);
    out.push_back(Stmt::loop(one, main_high, high, Expr(1), body(one, Expr(), 1)));
    return out;
  }

  // ---- lanes hold neighbouring results ----
  void emit_lanes() {
    std::vector<Expr> outer = nest_.vars;
    if (vector_axis_ < 0) {
      std::vector<Stmt> body = lane_body(Expr(), Expr(0), Expr(), 1, {});
      return finish(outer, std::move(body));
    }
    const Expr v = nest_.vars[vector_axis_];
    outer.erase(outer.begin() + vector_axis_);
    const Dim extent = extent_of(v);
    if (reductions_.size() == 1 && extent.typical() >= lanes_) return emit_tiles(v, outer);
    if (const int turned = turned_axis(v, outer); turned >= 0) return emit_turned(v, outer, static_cast<size_t>(turned));
    Dim outer_points = 1;
    for (const Expr& o : outer) outer_points *= extent_of(o);
    const int64_t block = 4096;
    if (outer_points.typical() < 16 && extent.typical() > 2 * block) {  // few rows: cut them
      const Block part = cut(v, block, "part", outer);
      const bool vectors_fit = part.extent == block || (extent % block) % lanes_ == 0;
      std::vector<Stmt> body =
          vectors_fit ? plain_loop(v, part.low, part.high)
                      : vector_loop(part.low, part.high, -1, [&](const Expr& b, const Expr& m, int32_t l) { return lane_body(v, b, m, l, {}); });
      return finish(outer, std::move(body));
    }
    finish(outer, vector_loop(extent, [&](const Expr& b, const Expr& m, int32_t l) { return lane_body(v, b, m, l, {}); }));
  }

  /// Of a loop that was cut; `extent` is -1 where the last block is shorter.
  struct Block {
    Expr low, high;
    int64_t extent;
  };
  /// Cuts the loop over `var` into blocks, which `outer` runs over from here on.
  static Block cut(const Expr& var, int64_t block, const char* name, std::vector<Expr>& outer) {
    const Dim extent = extent_of(var);
    const Expr at = make_index(name, Dim::ceil_div(extent, block));
    outer.push_back(at);
    const Expr low = simplify(at * Expr(block));
    if (extent % block == 0) return {low, simplify(low + Expr(block)), block};
    return {low, min(low + Expr(block), Expr(extent)), -1};
  }

  /// The axis of `outer` along which operands lie side by side where vectors are stored side by side along v; -1 where there is none.
  int turned_axis(const Expr& v, const std::vector<Expr>& outer) const {
    int found = -1;
    if (!reductions_.empty()) return found;
    visit(nest_.value, [&](const Expr& n) {
      if (n->op != ExprOp::load) return;
      const Affine at = to_affine(n->args[0]);
      if (std::abs(at.coefficient_of(v->id)) < lanes_) return;
      for (size_t a = 0; a < outer.size(); ++a)
        if (at.coefficient_of(outer[a]->id) == 1) found = static_cast<int>(a);
    });
    return found;
  }

  /// Axes change places: the lanes of a vector come from as many lines, which hold the vectors behind it too. So those come next, while the lines
  /// are in the first cache.
  void emit_turned(const Expr& v, std::vector<Expr> outer, size_t turned) {
    const Expr along = outer[turned];
    outer.erase(outer.begin() + static_cast<int64_t>(turned));
    const Block lanes = cut(v, turned_vectors * lanes_, "block", outer), lines = cut(along, turned_lines * lanes_, "part", outer);
    finish(outer, vector_loop(lanes.low, lanes.high, lanes.extent, [&](const Expr& base, const Expr& mask, int32_t count) {
             std::vector<Stmt> loop;
             loop.push_back(Stmt::loop(along, lines.low, lines.high, Expr(1), lane_body(v, base, mask, count, {})));
             return loop;
           }));
  }

  std::vector<Stmt> plain_loop(const Expr& v, const Expr& low, const Expr& high) {
    const Expr base = make_var("v", 0, v->limit);
    std::vector<Stmt> out;
    out.push_back(Stmt::loop(base, low, high, Expr(lanes_), lane_body(v, base, Expr(), lanes_, {})));
    return out;
  }

  /// One vector of results at `base`; `bindings` fix other variables.
  std::vector<Stmt> lane_body(const Expr& v, const Expr& base, const Expr& mask, int32_t lanes, const std::vector<VarBinding>& bindings) {
    const Expr lane_var = v ? v : make_var("one", 0, 1);
    std::vector<Stmt> out;
    const Expr value = reduce_lanes(simplify(substitute(nest_.value, bindings)), out, lane_var, base, mask, lanes);
    const Expr index = simplify(substitute(nest_.index, bindings));
    out.push_back(vector_store(emit_.kernel_output(), index, vectorize(value, lane_var, base, lanes, mask), lane_var, base, lanes, mask));
    return out;
  }

  /// Emits the reductions of `value`, each lane its own; returns it with their results put in.
  Expr reduce_lanes(Expr value, std::vector<Stmt>& out, const Expr& lane_var, const Expr& base, const Expr& mask, int32_t lanes) {
    for (Expr r = next_reduction(value); r; r = next_reduction(value)) {
      std::vector<Stmt> inner;  // reductions that depend on r's variables
      const Expr body = vectorize(reduce_lanes(r->args[0], inner, lane_var, base, mask, lanes), lane_var, base, lanes, mask);
      const ExprType type = body->type;
      const uint32_t acc = emit_.local("acc", type, 1, Memory::registers);
      const auto add = [&](const Expr& now) { return reduce_combine(r->reduce_op, now, body); };
      append(out, accumulate(r, type, {acc}, {add}, std::move(inner)));
      value = replace_node(value, r, make_load(acc, type, {Expr(0)}));
    }
    return value;
  }

  /// Innermost first, those aside that need the loops of another.
  static Expr next_reduction(const Expr& e) {
    for (const Expr& r : reductions_in(e)) {
      if (!inside_another(e, r)) return r;
    }
    return {};
  }

  using Combine = std::function<Expr(const Expr&)>;
  /// acc[i] = reduction of steps[i] over r's variables, all in one loop nest; long chains are cut.
  /// `body` runs before the steps in each turn.
  std::vector<Stmt> accumulate(const Expr& r, ExprType type, const std::vector<uint32_t>& accs, const std::vector<Combine>& steps,
                               std::vector<Stmt> body = {}) {
    const Expr identity = make_broadcast(reduce_identity(r->reduce_op, type.dtype), type.lanes);
    const int64_t longest = type.lanes == 1 ? scalar_chain : short_chain;
    int64_t total_steps = 1;
    for (const Expr& v : r->vars) total_steps *= extent_of(v).high();
    const bool cut = r->reduce_op == ReduceOp::sum && type.dtype == DType::f32 && total_steps > longest;
    std::vector<uint32_t> inner = accs;
    std::vector<Stmt> out;
    for (uint32_t a : accs) out.push_back(Stmt::store(a, Expr(0), identity));
    if (cut) {
      for (uint32_t& a : inner) a = emit_.local("part", type, 1, Memory::registers);
    }
    for (size_t i = 0; i < steps.size(); ++i) body.push_back(Stmt::store(inner[i], Expr(0), steps[i](make_load(inner[i], type, {Expr(0)}))));
    if (!cut) {
      for (size_t i = r->vars.size(); i-- > 0;) body = loop_over(r->vars[i], std::move(body));
      append(out, std::move(body));
      return out;
    }
    // The innermost loops whose product stays below the limit form a chain; a single longer loop is cut into chunks.
    size_t split = r->vars.size();
    int64_t chain = 1;
    while (split > 0 && chain * extent_of(r->vars[split - 1]).high() <= longest) chain *= extent_of(r->vars[--split]).high();
    const auto with_total = [&](std::vector<Stmt> loops) {
      std::vector<Stmt> b;
      for (uint32_t a : inner) b.push_back(Stmt::store(a, Expr(0), identity));
      append(b, std::move(loops));
      for (size_t i = 0; i < accs.size(); ++i) {
        b.push_back(Stmt::store(accs[i], Expr(0), make_load(accs[i], type, {Expr(0)}) + make_load(inner[i], type, {Expr(0)})));
      }
      return b;
    };
    if (chain > 1 || split < r->vars.size()) {
      for (size_t i = r->vars.size(); i-- > split;) body = loop_over(r->vars[i], std::move(body));
      body = with_total(std::move(body));
      for (size_t i = split; i-- > 0;) body = loop_over(r->vars[i], std::move(body));
    } else {
      const Expr v = r->vars.back();
      const Expr chunk = make_index("chunk", Dim::ceil_div(extent_of(v), longest));
      std::vector<Stmt> loop;
      loop.push_back(Stmt::loop(v, chunk * Expr(longest), min(chunk * Expr(longest) + Expr(longest), Expr(extent_end(v))), Expr(1), std::move(body)));
      body = loop_over(chunk, with_total(std::move(loop)));
      for (size_t i = r->vars.size() - 1; i-- > 0;) body = loop_over(r->vars[i], std::move(body));
    }
    append(out, std::move(body));
    return out;
  }

  /// One reduction and a vector axis: tiles of rows x vectors share what they load, and hide the latency of additions.
  void emit_tiles(const Expr& v, std::vector<Expr> outer) {
    const Dim extent = extent_of(v), vectors = extent / lanes_;
    const int wide = !extent.is_static() ? static_cast<int>(std::min<int64_t>(4, vectors.typical()))
                     : vectors % 4 == 0  ? 4
                     : vectors % 3 == 0  ? 3
                     : vectors % 2 == 0  ? 2
                                         : 1;
    const int64_t most = emit_.target().vector_registers >= 32 ? 24 : 12;  // accumulators
    int row_axis = -1;
    int64_t rows = 1;
    for (int a = static_cast<int>(outer.size()); a-- > 0 && row_axis < 0;) {
      for (int64_t r : {6, 4, 7, 5, 3, 2}) {
        if (r * wide <= most && extent_of(outer[a]) % r == 0) {
          row_axis = a;
          rows = r;
          break;
        }
      }
    }
    const Expr row = row_axis >= 0 ? outer[row_axis] : Expr();
    Expr row_tile;
    if (row) {
      row_tile = make_index("rows", extent_of(row) / rows);
      outer[row_axis] = row_tile;
    }
    const int64_t tile = static_cast<int64_t>(lanes_) * wide;
    const Dim tiles = extent / tile, done = tiles * tile;
    const bool some_tiles = tiles != 0, rest = done != extent;
    // What all rows read along the lanes (the B of a product) is walked in panels, one after the other, each for all rows.
    const size_t place = some_tiles ? panel_place(v, outer, row_tile, row) : outer.size();
    const bool panels = place < outer.size();
    const Expr tile_var = make_index("tile", tiles + (panels && rest));
    std::vector<Stmt> body, tail;
    if (some_tiles) body = tile_body(v, tile_var * Expr(tile), wide, Expr(), lanes_, row, row_tile, rows);
    if (rest && !extent.is_static()) {
      tail = vector_loop(Expr(done), Expr(extent), -1,
                         [&](const Expr& base, const Expr& mask, int32_t lanes) { return tile_body(v, base, 1, mask, lanes, row, row_tile, rows); });
    } else if (rest) {
      const Expr one = make_var("u", done, extent);
      if (emit_.target().masked_memory) tail = tile_body(v, Expr(done), 1, tail_mask(Expr(done), Expr(extent), lanes_), lanes_, row, row_tile, rows);
      else tail = loop_over(one, tile_body(v, one, 1, Expr(), 1, row, row_tile, rows));
    }
    std::vector<Stmt> both;
    if (panels) {
      if (!tail.empty()) {
        both.push_back(Stmt::branch(tile_var < Expr(tiles), std::move(body), std::move(tail)));
        body = std::move(both);
      }
      outer.insert(outer.begin() + static_cast<int64_t>(place), tile_var);
      return finish(outer, std::move(body));
    }
    if (some_tiles) both = loop_over(tile_var, std::move(body));
    append(both, std::move(tail));
    finish(outer, std::move(both));
  }

  /// Where in `outer` the loop over panels belongs: outside all loops that do not change what a panel holds; outer.size() when
  /// there is no such loop, or all panels together stay in the cache anyway.
  size_t panel_place(const Expr& v, const std::vector<Expr>& outer, const Expr& row_tile, const Expr& row) const {
    size_t place = outer.size();
    visit(reductions_[0]->args[0], [&](const Expr& n) {
      if (n->op != ExprOp::load || !depends_on(n->args[0], v->id)) return;
      double bytes = typical(extent_of(v)) * static_cast<double>(size_of(n->type.dtype));
      for (const Expr& r : reductions_[0]->vars) bytes *= depends_on(n->args[0], r->id) ? typical(extent_of(r)) : 1;
      if (bytes < static_cast<double>(emit_.target().l1_bytes)) return;
      size_t own = outer.size();
      while (own > 0 && !depends_on(n->args[0], (row_tile && outer[own - 1]->id == row_tile->id ? row : outer[own - 1])->id)) --own;
      place = std::min(place, own);
    });
    return place;
  }

  std::vector<Stmt> tile_body(const Expr& v, const Expr& base, int wide, const Expr& mask, int32_t lanes, const Expr& row, const Expr& row_tile,
                              int64_t rows) {
    const Expr& r = reductions_[0];
    std::vector<uint32_t> accs;
    std::vector<Combine> steps;
    std::vector<Stmt> stores;
    const auto row_at = [&](int64_t i) {
      std::vector<VarBinding> bind;
      if (row) bind.push_back({row, simplify(row_tile * Expr(rows) + Expr(i))});
      return bind;
    };
    // A row may have the same number in every lane (zeros of a padding) where others have vectors.
    ExprType type{r->type.dtype, 1};
    std::vector<Expr> summands;
    for (int64_t i = 0; i < rows; ++i) {
      const Expr body = simplify(substitute(r->args[0], row_at(i)));
      for (int j = 0; j < wide; ++j) summands.push_back(vectorize(body, v, simplify(base + Expr(int64_t{lanes} * j)), lanes, mask));
    }
    for (const Expr& s : summands) type = s->type.lanes > 1 || type.lanes == 1 ? s->type : type;
    for (int64_t i = 0; i < rows; ++i) {
      const std::vector<VarBinding> bind = row_at(i);
      const Expr value = simplify(substitute(nest_.value, bind));
      const Expr reduction = next_reduction(value);
      const Expr index = simplify(substitute(nest_.index, bind));
      for (int j = 0; j < wide; ++j) {
        const Expr at = simplify(base + Expr(int64_t{lanes} * j));
        const Expr summand = summands[static_cast<size_t>(i * wide + j)];
        const Expr step = summand->type.lanes < type.lanes ? make_broadcast(summand, type.lanes) : summand;
        const uint32_t acc = emit_.local("acc", type, 1, Memory::registers);
        accs.push_back(acc);
        steps.push_back([&r, step](const Expr& now) { return multiply_add(r->reduce_op, now, step); });
        const Expr done = replace_node(value, reduction, make_load(acc, type, {Expr(0)}));
        stores.push_back(vector_store(emit_.kernel_output(), index, vectorize(done, v, at, lanes, mask), v, at, lanes, mask));
      }
    }
    std::vector<Stmt> out = accumulate(r, type, accs, steps);
    append(out, std::move(stores));
    return out;
  }

  /// sum += a * b as one fused operation.
  static Expr multiply_add(ReduceOp op, const Expr& acc, const Expr& value) {
    if (op == ReduceOp::sum && is_float(acc->type.dtype) && value->op == ExprOp::mul) return fma(value->args[0], value->args[1], acc);
    return reduce_combine(op, acc, value);
  }

  // ---- a row at a time ----
  void emit_rows() {
    std::vector<Expr> outer = nest_.vars;
    const Expr v = vector_axis_ >= 0 ? nest_.vars[vector_axis_] : Expr();
    if (v) outer.erase(outer.begin() + vector_axis_);
    std::vector<Stmt> body;
    Expr value = nest_.value;
    for (Expr r = next_reduction(value); r; r = next_reduction(value)) value = reduce_row(body, r, v, value);
    if (v) {
      append(body, vector_loop(extent_of(v), [&](const Expr& base, const Expr& mask, int32_t lanes) {
               std::vector<Stmt> out;
               out.push_back(vector_store(emit_.kernel_output(), nest_.index, vectorize(value, v, base, lanes, mask), v, base, lanes, mask));
               return out;
             }));
    } else {
      body.push_back(Stmt::store(emit_.kernel_output(), nest_.index, vectorize(value, make_var("one", 0, 1), Expr(0), 1, {})));
    }
    finish(outer, std::move(body));
  }

  /// The variable of a reduction along which its operands are read most cheaply.
  size_t cheapest_lane(const Expr& r) const {
    size_t lane = 0;
    double best = INFINITY;
    for (size_t i = 0; i < r->vars.size(); ++i) {
      const double cost = access_cost(r->args[0], r->vars[i], lanes_) / std::min<double>(typical(extent_of(r->vars[i])), lanes_);
      if (cost < best) {
        best = cost;
        lane = i;
      }
    }
    return lane;
  }

  /// What several accumulators of one reduction come to.
  static Expr combined(const std::vector<uint32_t>& accs, ExprType type, ReduceOp op) {
    Expr sum;
    for (uint32_t a : accs) {
      const Expr x = make_load(a, type, {Expr(0)});
      const bool slip = defect(Defect::unrolled_maximum) && op == ReduceOp::max;
      sum = sum ? reduce_combine(slip ? ReduceOp::min : op, sum, x) : x;
    }
    return sum;
  }

  /// What accumulators hold is added to a total now and then, so that no lane adds up a long chain.
  struct Parts {
    ExprType type;
    const std::vector<uint32_t>& accs;
    Expr identity;
    uint32_t buffer;
    void add(std::vector<Stmt>& b) const {
      Expr sum = make_load(buffer, type, {Expr(0)});
      for (uint32_t a : accs) sum = sum + make_load(a, type, {Expr(0)});
      b.push_back(Stmt::store(buffer, Expr(0), sum));
      for (uint32_t a : accs) b.push_back(Stmt::store(a, Expr(0), identity));
    }
  };
  /// Loops over `others` around `loops`, in which a lane adds up `terms`. With a total, chains end where they would be longer than scalar_chain.
  static std::vector<Stmt> loops_around(const std::vector<Expr>& others, std::vector<Stmt> loops, int64_t terms, const Parts* total) {
    for (size_t i = others.size(); i-- > 0;) {
      const Expr& o = others[i];
      const int64_t turns = std::max<int64_t>(1, scalar_chain / terms);
      terms *= extent_of(o).high();
      if (!total || terms <= scalar_chain) {
        loops = loop_over(o, std::move(loops));
        continue;
      }
      const Expr part = make_index("part", Dim::ceil_div(extent_of(o), turns)), low = part * Expr(turns) + Expr(o->int_value);
      std::vector<Stmt> b;
      b.push_back(Stmt::loop(o, low, min(low + Expr(turns), Expr(extent_end(o))), Expr(1), std::move(loops)));
      total->add(b);
      loops = loop_over(part, std::move(b));
      total = nullptr;
    }
    return loops;
  }

  /// How many accumulators a reduction along lanes takes: as many vectors as one turn of its loop.
  int accumulators_for(const Dim& extent) const {
    const int64_t vectors = extent.typical() / lanes_;
    if (!extent.is_static()) return vectors >= 4 ? 4 : 1;
    for (const int wide : {4, 3, 2})
      if (vectors >= wide && vectors % wide == 0) return wide;
    return 1;
  }

  /// Emits one reduction of the row and returns `value` with its result, and whatever the reduction staged, put in.
  Expr reduce_row(std::vector<Stmt>& out, const Expr& r, const Expr& v, Expr value) {
    const size_t lane = cheapest_lane(r);
    const Expr t = r->vars[lane];
    const Dim extent = extent_of(t);
    const bool fixed = extent.is_static();
    std::vector<Expr> others = r->vars;
    others.erase(others.begin() + lane);
    const Expr body = r->args[0];
    const int unroll = accumulators_for(extent);
    const ExprType type{r->type.dtype, lanes_};

    // What this pass computes and a later one needs again is kept in a local row; what is the same all along it is no row.
    uint32_t row = 0;
    const bool staged =
        others.empty() && extent.high() <= max_staged_row && depends_on(body, t->id) && worth_staging(body) && staged_later(value, r, t, v, body);
    if (staged) row = emit_.local("row", {body->type.dtype, 1}, ceil_div(extent.high(), lanes_) * lanes_, Memory::stack);

    const Expr identity = make_broadcast(reduce_identity(r->reduce_op, type.dtype), lanes_);
    std::vector<uint32_t> accs;
    for (int u = 0; u < unroll; ++u) {
      accs.push_back(emit_.local("acc", type, 1, Memory::registers));
      out.push_back(Stmt::store(accs.back(), Expr(0), identity));
    }
    const auto step = [&](uint32_t acc, const Expr& base, const Expr& mask) {
      std::vector<Stmt> s;
      const Expr x = make_broadcast(vectorize(body, t, base, lanes_, mask), lanes_);
      if (staged) s.push_back(Stmt::store(row, make_ramp(base, Expr(1), lanes_), x));
      Expr next = multiply_add(r->reduce_op, make_load(acc, type, {Expr(0)}), x);
      if (mask && !(defect(Defect::row_tail) && r->reduce_op == ReduceOp::max)) next = select(mask, next, make_load(acc, type, {Expr(0)}));
      s.push_back(Stmt::store(acc, Expr(0), next));
      return s;
    };
    std::vector<Stmt> loops;
    // Chunks of several vectors, then (where the extent varies) vectors that do not fill a chunk, then lanes that do not fill a vector.
    const int64_t chunk = static_cast<int64_t>(lanes_) * unroll;
    const Dim vectored = extent / lanes_ * lanes_, whole = fixed ? vectored : extent / chunk * chunk;
    const bool sums = r->reduce_op == ReduceOp::sum && type.dtype == DType::f32;
    const bool cut = sums && others.empty() && whole.high() / chunk > short_chain;
    const int64_t terms = std::max<int64_t>(1, ceil_div(extent.high(), chunk));  // that one lane of an accumulator adds up
    const bool parts = cut || (sums && !others.empty());
    const auto chunk_loop = [&](const Expr& low, const Expr& high) {
      const Expr base = make_place("v", extent);
      std::vector<Stmt> b;
      for (int u = 0; u < unroll; ++u) append(b, step(accs[u], simplify(base + Expr(int64_t{lanes_} * u)), Expr()));
      return Stmt::loop(base, low, high, Expr(chunk), std::move(b));
    };
    Parts total{type, accs, identity, 0};
    if (parts) {
      total.buffer = emit_.local("total", type, 1, Memory::registers);
      out.push_back(Stmt::store(total.buffer, Expr(0), identity));
    }
    if (cut) {
      const Expr part = make_index("part", Dim::ceil_div(whole, chunk * short_chain));
      std::vector<Stmt> b;
      b.push_back(chunk_loop(part * Expr(chunk * short_chain), min(part * Expr(chunk * short_chain) + Expr(chunk * short_chain), Expr(whole))));
      total.add(b);
      append(loops, loop_over(part, std::move(b)));
    } else if (whole != 0) {
      loops.push_back(chunk_loop(Expr(0), Expr(whole)));
    }
    if (!fixed && unroll > 1) {
      const Expr base = make_index("v", extent);
      loops.push_back(Stmt::loop(base, Expr(whole), Expr(vectored), Expr(lanes_), step(accs[0], base, Expr())));
    }
    if (vectored != extent) {
      std::vector<Stmt> tail = row_tail(step, accs[0], vectored, extent, t, body, r, staged, row);
      if (fixed) append(loops, std::move(tail));
      else loops.push_back(Stmt::branch(Expr(vectored) < Expr(extent), std::move(tail)));
    }
    append(out, loops_around(others, std::move(loops), terms, parts && !cut ? &total : nullptr));

    Expr sum = combined(accs, type, r->reduce_op);
    if (parts) sum = make_load(total.buffer, type, {Expr(0)}) + sum;
    const uint32_t result = emit_.local("result", {type.dtype, 1}, 1, Memory::registers);
    out.push_back(Stmt::store(result, Expr(0), make_horizontal(r->reduce_op, sum)));
    value = replace_node(value, r, make_load(result, {type.dtype, 1}, {Expr(0)}));
    return staged ? use_staged(value, t, v, body, row) : value;
  }

  template <class Step>
  std::vector<Stmt> row_tail(Step&& step, uint32_t acc, const Dim& whole, const Dim& extent, const Expr& t, const Expr& body, const Expr& r,
                             bool staged, uint32_t row) {
    if (emit_.target().masked_memory) return step(acc, Expr(whole), tail_mask(Expr(whole), Expr(extent), lanes_));
    // Without masked memory: one by one into lane 0 of the accumulator.
    const ExprType type{r->type.dtype, lanes_};
    const Expr u = make_var("u", whole.low(), extent.high());
    const Expr x = vectorize(body, t, u, 1, {});
    const Expr lane0 = tail_mask(Expr(0), Expr(1), lanes_);
    const Expr now = make_load(acc, type, {Expr(0)});
    std::vector<Stmt> b;
    if (staged) b.push_back(Stmt::store(row, u, x));
    b.push_back(Stmt::store(acc, Expr(0), select(lane0, reduce_combine(r->reduce_op, now, make_broadcast(x, lanes_)), now)));
    std::vector<Stmt> out;
    out.push_back(Stmt::loop(u, Expr(whole), Expr(extent), Expr(1), std::move(b)));
    return out;
  }

  /// More than a load: something that costs to compute twice.
  static bool worth_staging(const Expr& body) {
    int work = 0;
    visit(body, [&](const Expr& n) { work += n->op != ExprOp::load && n->type.dtype != DType::i64 && !n->args.empty(); });
    return work > 0;
  }
  /// The row's expression as a later pass spells it: with that pass's own variable.
  static bool staged_later(const Expr& value, const Expr& r, const Expr& t, const Expr& v, const Expr& body) {
    for (const Expr& other : reductions_in(value)) {
      if (equivalent(other, r)) continue;
      for (const Expr& u : other->vars) {
        if (extent_of(u) == extent_of(t) && contains(other->args[0], simplify(substitute(body, {{t, u}})))) return true;
      }
    }
    return v && extent_of(v) == extent_of(t) && contains(value, simplify(substitute(body, {{t, v}})));
  }
  static Expr use_staged(Expr value, const Expr& t, const Expr& v, const Expr& body, uint32_t row) {
    std::vector<Expr> vars;
    for (const Expr& other : reductions_in(value)) {
      for (const Expr& u : other->vars) vars.push_back(u);
    }
    if (v) vars.push_back(v);
    for (const Expr& u : vars) {
      if (extent_of(u) != extent_of(t)) continue;
      value = replace_node(value, simplify(substitute(body, {{t, u}})), make_load(row, {body->type.dtype, 1}, {u}));
    }
    return value;
  }
};

/// Constants that lanes along the innermost axis of `domain` would read with a stride (the weight of a linear layer, of a convolution
/// with channels last) are read from copies made at compile time, in which that axis is contiguous.
void lay_out_constants(Emitter& emit, const Expr& value, const TensorType& domain, const std::vector<Expr>& vars) {
  if (!has_reduction(value) || domain.rank() == 0) return;
  const Expr lane = vars[axis_at(domain, domain.rank() - 1)];
  visit(value, [&](const Expr& n) {
    if (n->op != ExprOp::load || !emit.graph().is_constant(Value{n->id})) return;
    const TensorType& type = emit.graph().type(Value{n->id});
    int64_t axis = -1;
    for (int64_t a = 0; a < type.rank(); ++a) {
      if (!depends_on(n->args[a], lane->id)) continue;
      if (axis >= 0 || to_affine(n->args[a]).coefficient_of(lane->id) != 1) return;
      axis = a;
    }
    if (axis >= 0 && type.layout.is_identity() && type.strides()[axis] != 1) emit.move_axis_last(Value{n->id}, axis);
  });
}

/// Loop variables in memory order of `type`; axes of extent 1 are bound to 0 in the expressions.
void order_vars(const TensorType& type, const std::vector<Expr>& vars, Nest& nest) {
  std::vector<VarBinding> ones;
  for (int64_t a = 0; a < type.rank(); ++a) {
    const int64_t axis = axis_at(type, a);
    if (extent_of(vars[axis]) == 1) ones.push_back({vars[axis], Expr(0)});
    else nest.vars.push_back(vars[axis]);
  }
  nest.value = simplify(substitute(nest.value, ones));
  nest.index = simplify(substitute(nest.index, ones));
}

/// Operands that are read at the place that is written and nowhere else: the result may take their memory.
void mark_same_places(Emitter& emit, const Nest& nest) {
  std::map<uint32_t, bool> same;
  visit(nest.value, [&](const Expr& n) {
    if (n->op != ExprOp::load) return;
    const bool here = constant_int(simplify(n->args[0] - nest.index)) == 0 && n->type.dtype == nest.dtype;
    const auto [entry, fresh] = same.try_emplace(n->id, here);
    if (!fresh) entry->second = entry->second && here;
  });
  if (has_reduction(nest.value)) return;
  for (const auto& [buffer, here] : same)
    if (here) emit.mark_same_place(buffer);
}

}  // namespace

void lower_generic(PendingProgram& program, const Region& region) {
  const Graph& graph = *program.graph;
  const TensorType& type = graph.type(region.output);
  if (type.shape.elements() == 0) return;
  Emitter emit(program, region);
  std::set<uint32_t> inlined = region.inlined;
  Nest nest;
  nest.dtype = type.dtype;
  // The loops run over the anchor's elements where its consumers only move or transform them, else over the result's.
  std::vector<Expr> vars;
  std::optional<std::vector<Expr>> where;
  TensorType domain = type;
  if (region.anchor && region.anchor != region.root) {
    vars = index_vars(graph.type(region.anchor_value).shape);
    where = store_indices(graph, region, vars);
    domain = graph.type(region.anchor_value);
    inlined.insert(region.anchor_value.id);
  }
  if (!where) {
    vars = index_vars(type.shape);
    where = vars;
    domain = type;
  }
  emit.output(region.output);
  Expr value = Inliner(graph, inlined).expand(region.output, *where);
  const std::vector<VarBinding> sums = take_place_sums(emit, value);
  lay_out_constants(emit, value, domain, vars);
  nest.value = substitute(emit.flatten(value), sums);
  nest.index = flat_index(type, *where);
  order_vars(domain, vars, nest);
  mark_same_places(emit, nest);
  GenericLowering(emit, std::move(nest)).run();
}

void lower_update_at(PendingProgram& program, const Region& region) {
  const Graph& graph = *program.graph;
  const UpdateAt op = *match<UpdateAt>(region.anchor);
  const TensorType &type = graph.type(region.output), &row = graph.type(op.row);
  if (type.shape.elements() == 0) return;
  program.add_copy(program.global(op.x), program.global(region.output), "update_at: the other rows");
  Emitter emit(program, region);
  emit.output(region.output);
  emit.mark_partial();
  const Inliner inliner(graph, region.inlined);
  Nest nest;
  nest.dtype = type.dtype;
  const std::vector<Expr> vars = index_vars(row.shape);
  std::vector<Expr> where = vars;
  where.insert(where.begin() + from_front(op.axis, type.rank()),
               emit.flatten(inliner.expand_loads(UpdateAt::place(op, Define(graph, *region.anchor)))));
  nest.value = emit.flatten(inliner.at(op.row, vars));
  nest.index = flat_index(type, where);
  order_vars(row, vars, nest);
  GenericLowering(emit, std::move(nest)).run();
}

void lower_check(PendingProgram& program, const Region& region) {
  const Graph& graph = *program.graph;
  const Check check = *match<Check>(region.root);
  Emitter emit(program, region);
  const Expr condition = emit.flatten(Inliner(graph, region.inlined).at(check.condition, {}));
  const Location& where = graph.location(*region.root);
  const int32_t site = program.add_fault_site(check.message + (where.known() ? ", at " + where.to_string() : ""));
  Stmt s = Stmt::check(vectorize(condition, make_var("one", 0, 1), Expr(0), 1, {}), site, Expr(0));
  s.fault_code = 3;
  std::vector<Stmt> body;
  body.push_back(std::move(s));
  emit.finish(make_var("task", 0, 1), 1, std::move(body));
}

namespace {

/// True when `part` was made where it stands in `whole`.
bool is_in_place(const PendingProgram& program, Value part, Value whole, const Dim& offset) {
  const Alias a = program.storage_of(part), b = program.storage_of(whole);
  return program.cuts.count(program.global(part).id) && a.root == b.root && offset + b.offset == a.offset;
}

}  // namespace

void lower_cat(PendingProgram& program, const Region& region) {
  const Graph& graph = *program.graph;
  const TensorType& type = graph.type(region.output);
  const Cat cat = *match<Cat>(region.anchor);
  const int64_t axis = cat.axis < 0 ? cat.axis + type.rank() : cat.axis;
  Dim first = 0;
  for (Value part : cat.xs.items) {
    const TensorType& from = graph.type(part);
    if (from.shape.elements() == 0) continue;  // also torch's rank-1 operand without elements
    const Dim at = first, offset = at * type.strides()[axis];
    first += from.shape[axis];
    if (is_in_place(program, part, region.output, offset)) continue;
    Emitter emit(program, region);
    Nest nest;
    nest.dtype = type.dtype;
    const std::vector<Expr> vars = index_vars(from.shape);
    TensorType domain = from;
    domain.layout = type.layout;
    if (has_own_place(graph, region.output) && at.is_static() && offset.is_static() && from.shape[axis].is_static()) {
      emit.output_temporary(program.add_part({region.output, axis, at.size(), from.shape[axis].size(), offset.size()}, from.shape));
      if (domain.layout.within.empty()) domain.layout.within = type.shape.dims();
      nest.index = flat_index(domain, vars);
    } else {
      std::vector<Expr> where = vars;
      where[axis] = where[axis] + Expr(at);
      emit.output(region.output);
      nest.index = flat_index(type, where);
    }
    nest.value = emit.flatten(cast(type.dtype, Inliner(graph, region.inlined).at(part, vars)));
    order_vars(domain, vars, nest);
    GenericLowering(emit, std::move(nest)).run();
  }
}

}  // namespace mica::lower
