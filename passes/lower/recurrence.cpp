// The schedule of recurrent layers (ops/rnn.h): a loop over the steps around one kernel. A task of it computes a block of hidden units
// for some rows: all gates of the block as a product of the last state and a panel of the weights, then the cell on the
// sums, so that no gate is ever in memory. Panels are packed at compile time in the order in which they are read: for every k a
// vector of each gate. With one row that is all there is to do, and the time is that of reading the weights from the cache; with
// more, a panel is taken in pieces that stay in the first cache for all tiles of rows.
//
// Where the state is projected a step is two trips of the loop: the cell to memory of the layer's own, then the projection of that.
#include <algorithm>
#include <cstring>

#include "emit.h"
#include "mica/ir/interpret.h"
#include "mica/ops/rnn.h"

namespace mica::lower {

namespace {

/// What the three kinds of scan have in common.
struct Recurrence {
  enum class Cell : uint8_t { lstm, gru, tanh, relu };
  Cell cell = Cell::lstm;
  Value x = {}, h = {}, weight = {};
  OptValue c = {}, projection = {}, bias = {};
  Value out = {};
  OptValue last_c = {};
  bool reverse = false;
  DType dtype = DType::f32;
  Dim steps = 1;
  int64_t gates = 1, rows = 1, hidden = 1, width = 1;  ///< width: columns of the state, which is what is multiplied
};

/// The bytes of a value that is a constant, here or in a graph around this one.
const ConstantData* constant_of(const PendingProgram& program, Value v) {
  const Alias where = program.storage_of(v);
  const auto found = program.constants.find(where.root.id);
  return found == program.constants.end() || where.offset ? nullptr : &found->second;
}

/// Nothing where weights cannot be packed when compiling, the arithmetic is not that of a vector, or the number of rows is not fixed.
std::optional<Recurrence> describe(const PendingProgram& program, const Node& node) {
  const Graph& graph = *program.graph;
  Recurrence r;
  if (const auto lstm = match<LstmScan>(node)) {
    r = {.cell = Recurrence::Cell::lstm, .x = lstm->x, .h = lstm->h, .weight = lstm->weight, .c = lstm->c, .projection = lstm->projection};
    r.last_c = node.results[1];
    r.reverse = lstm->reverse;
    r.gates = 4;
  } else if (const auto gru = match<GruScan>(node)) {
    r = {.cell = Recurrence::Cell::gru, .x = gru->x, .h = gru->h, .weight = gru->weight, .bias = gru->bias};
    r.reverse = gru->reverse;
    r.gates = 3;
  } else if (const auto rnn = match<RnnScan>(node)) {
    r = {.cell = rnn->relu ? Recurrence::Cell::relu : Recurrence::Cell::tanh, .x = rnn->x, .h = rnn->h, .weight = rnn->weight};
    r.reverse = rnn->reverse;
  }
  if (!r.x) return std::nullopt;
  const TensorType& x = graph.type(r.x);
  const bool constant = constant_of(program, r.weight) && (!r.projection || constant_of(program, *r.projection));
  if (!constant || (x.dtype != DType::f32 && x.dtype != DType::f64) || x.shape.elements() == 0 || graph.type(r.h).shape.elements() == 0)
    return std::nullopt;
  if (!x.shape[1].is_static()) return std::nullopt;
  r.out = node.results[0];
  r.dtype = x.dtype;
  r.steps = x.shape[0];
  r.rows = x.shape[1];
  r.hidden = graph.type(r.weight).shape[0] / r.gates;
  r.width = graph.type(r.h).shape[1];
  return r;
}

constexpr int64_t piece_bytes = 16 << 10;    ///< of a panel, to stay in the first cache beside the state
constexpr int64_t partial_bytes = 32 << 10;  ///< stack for the sums of a task
constexpr int64_t wanted_tasks = 16;         ///< a step is short: an even split over a few threads
constexpr int64_t unrolled_k = 4;

/// Sums of a block of columns for a number of rows: rows x (gates * vectors) vectors, each over k.
struct Product {
  int64_t k = 1, gates = 1, units = 1;  ///< units: columns of each gate
  int64_t vectors = 1;                  ///< of each gate in a block
  int64_t blocks = 1;                   ///< blocks of units
  int64_t tile_rows = 1, tiles = 1;     ///< tiles of rows; the first `tall` have tile_rows, the others one less
  int64_t tall = 1;
  int64_t row_blocks = 1;  ///< a task is one block of units for the tiles of one row block
  int64_t chains = 1;      ///< independent sums of one element, so that a tile of few rows keeps the multipliers busy
  int64_t piece_k = 1;     ///< k of one piece of a panel
  uint32_t panels = 0;     ///< buffer of the packed weights

  int64_t row_vectors() const { return gates * vectors; }
  int64_t pieces() const { return ceil_div(k, piece_k); }
  int64_t tiles_a_block() const { return ceil_div(tiles, row_blocks); }
  int64_t tasks() const { return blocks * row_blocks; }
};

Product plan(int64_t rows, int64_t k, int64_t gates, int64_t units, int32_t lanes, int64_t element, const Target& target) {
  Product p{.k = k, .gates = gates, .units = units};
  p.vectors = gates == 1 && units > lanes ? 2 : 1;
  p.blocks = ceil_div(units, p.vectors * lanes);
  // Sums, a vector of each column, one element of the state: the rest of the registers is for what the compiler needs.
  const int64_t room = target.vector_registers - p.row_vectors() - 2;
  const int64_t most = std::clamp<int64_t>(room / p.row_vectors(), 1, target.vector_registers >= 32 ? 8 : 4);
  p.tiles = ceil_div(rows, most);
  p.tile_rows = ceil_div(rows, p.tiles);
  p.tall = rows - p.tiles * (p.tile_rows - 1);
  p.chains = std::clamp<int64_t>(ceil_div(8, p.tile_rows * p.row_vectors()), 1, std::max<int64_t>(1, room / (p.tile_rows * p.row_vectors())));
  const int64_t tile_bytes = p.tile_rows * p.row_vectors() * lanes * element;
  p.row_blocks = std::clamp<int64_t>(ceil_div(p.tiles * tile_bytes, partial_bytes), 1, p.tiles);
  p.row_blocks = std::max(p.row_blocks, std::min(p.tiles, ceil_div(wanted_tasks, p.blocks) / 2));
  p.piece_k = std::min(max_chain * p.chains, ceil_div(k, unrolled_k) * unrolled_k);
  if (p.tiles > 1) p.piece_k = std::min(p.piece_k, std::max<int64_t>(unrolled_k, piece_bytes / (p.row_vectors() * lanes * element)));
  p.piece_k = ceil_div(p.piece_k, unrolled_k) * unrolled_k;
  return p;
}

class RecurrenceLowering {
 public:
  RecurrenceLowering(PendingProgram& program, const Region& region, const Recurrence& recurrence)
      : program_(program), graph_(*program.graph), r_(recurrence), emit_(program, region) {}

  void run() {
    const Target& target = emit_.target();
    const int64_t element = size_of(r_.dtype);
    lanes_ = target.lanes(element);
    gates_ = plan(r_.rows, r_.width, r_.gates, r_.hidden, lanes_, element, target);
    gates_.panels = pack(r_.weight, gates_);
    bind_buffers();
    Dim trips = r_.steps;
    if (r_.projection) {
      projection_ = plan(r_.rows, r_.hidden, 1, r_.width, lanes_, element, target);
      projection_.panels = pack(*r_.projection, projection_);
      hidden_ = emit_.temporary(program_.add_temporary({r_.dtype, {r_.rows * r_.hidden}, {}}), true);
      trips *= 2;
    }
    const int64_t tasks = std::max(gates_.tasks(), r_.projection ? projection_.tasks() : 1);
    task_ = make_var("task", 0, tasks);
    trip_ = make_index("trip", trips);
    const Expr trip = trips == 1 ? Expr(0) : make_load(emit_.temporary(program_.add_trip(), false), {DType::i64, 1}, {Expr(0)});
    Body body = one(Stmt::let(trip_, trip, steps()));
    emit_.kernel().flops = 2.0 * static_cast<double>(r_.steps.typical() * r_.rows) *
                           static_cast<double>(r_.gates * r_.hidden * r_.width + (r_.projection ? r_.hidden * r_.width : 0));
    emit_.mark_partial();
    const size_t first = program_.steps.size();
    emit_.finish(task_, tasks, std::move(body));
    if (trips != 1) program_.repeat(first, trips);
  }

 private:
  using Body = std::vector<Stmt>;
  PendingProgram& program_;
  const Graph& graph_;
  Recurrence r_;
  Emitter emit_;
  int32_t lanes_ = 1;
  Product gates_, projection_;
  Expr task_, trip_;
  uint32_t x_ = 0, h_ = 0, c_ = 0, out_ = 0, last_c_ = 0, bias_ = 0, hidden_ = 0;

  void bind_buffers() {
    x_ = emit_.buffer_of(r_.x);
    h_ = emit_.buffer_of(r_.h);
    if (r_.c) c_ = emit_.buffer_of(*r_.c);
    if (r_.bias) bias_ = emit_.buffer_of(*r_.bias);
    out_ = emit_.output(r_.out);
    if (r_.last_c) last_c_ = emit_.buffer_of(*r_.last_c, true);
  }

  /// Block by block: for every k a vector of each gate; zeros beyond the last unit.
  uint32_t pack(Value weight, const Product& p) {
    const ConstantData& data = *constant_of(program_, weight);
    const HostTensor host = to_host(graph_.type(weight), data.bytes);
    const int64_t width = p.vectors * lanes_, elements = p.blocks * p.k * p.gates * width, size = size_of(r_.dtype);
    std::vector<std::byte> bytes(static_cast<size_t>(elements * size));
    std::byte* to = bytes.data();
    for (int64_t block = 0; block < p.blocks; ++block) {
      for (int64_t k = 0; k < p.k; ++k) {
        for (int64_t column = 0; column < p.gates * width; ++column, to += size) {
          const int64_t unit = block * width + column % width;
          const double value = unit < p.units ? host.real[static_cast<size_t>((column / width * p.units + unit) * p.k + k)] : 0.0;
          const std::vector<std::byte> one = scalar_bytes(r_.dtype, value);
          std::memcpy(to, one.data(), one.size());
        }
      }
    }
    return emit_.weight_buffer(program_.add_weight(std::move(bytes), data.name), r_.dtype, elements);
  }

  // ---- statements ----
  Expr vector(uint32_t buffer, const Expr& index) const { return make_load(buffer, {r_.dtype, lanes_}, {index}); }

  /// The steps by trip: the first one from the given state, the others from what the one before left.
  Body steps() {
    const Expr step = r_.projection ? floordiv(trip_, 2) : trip_;
    Body cell = from_state([&](bool first) { return cell_task(first, simplify(step)); }, simplify(step));
    if (!r_.projection) return within(gates_, std::move(cell));
    Body project = projection_task(simplify(step));
    return one(Stmt::branch(equal(floormod(trip_, 2), Expr(0)), within(gates_, std::move(cell)), within(projection_, std::move(project))));
  }

  template <class F> Body from_state(F&& task, const Expr& step) {
    if (r_.steps == 1) return task(true);
    return one(Stmt::branch(equal(step, Expr(0)), task(true), task(false)));
  }

  /// Tasks beyond the product's own have nothing to do.
  Body within(const Product& p, Body body) const {
    if (p.tasks() == task_->limit) return body;
    return one(Stmt::branch(task_ < Expr(p.tasks()), std::move(body)));
  }

  Expr at_step(const Expr& step) const { return r_.reverse ? simplify(Expr(r_.steps - 1) - step) : step; }

  /// How a product reads its rows: element k of row m is at base + m * row + k * column.
  struct Rows {
    uint32_t buffer;
    Expr base;
    Dim row, column;
  };

  /// Element strides of a value's axes.
  std::vector<Dim> strides(Value v) const { return graph_.type(v).strides(); }

  Body cell_task(bool first, const Expr& step) {
    const Expr t = at_step(step);
    const std::vector<Dim> h = strides(r_.h), out = strides(r_.out);
    const Expr before = first ? Expr(0) : simplify((r_.reverse ? t + Expr(1) : t - Expr(1)) * Expr(out[0]));
    const Rows state = first ? Rows{h_, Expr(0), h[0], h[1]} : Rows{out_, before, out[1], out[2]};
    return task_body(gates_, state, [&](const Expr& row, int64_t j, const Expr& unit, const std::vector<Expr>& sums, const Expr& mask) {
      (void)j;
      return cell(first, t, state, row, unit, sums, mask);
    });
  }

  Body projection_task(const Expr& step) {
    const std::vector<Dim> out = strides(r_.out);
    const Expr base = simplify(at_step(step) * Expr(out[0]));
    const Rows rows{hidden_, Expr(0), r_.hidden, 1};
    return task_body(projection_, rows, [&](const Expr& row, int64_t, const Expr& unit, const std::vector<Expr>& sums, const Expr& mask) {
      return one(Stmt::store(out_, ramp(base + row * Expr(out[1]) + unit * Expr(out[2]), out[2]), sums[0], mask));
    });
  }

  Expr ramp(const Expr& first, const Dim& stride) const { return make_ramp(simplify(first), Expr(stride), lanes_); }

  /// The cell of one row and one vector of units: the state and what is kept beside it are stored.
  Body cell(bool first, const Expr& t, const Rows& state, const Expr& row, const Expr& unit, const std::vector<Expr>& sums, const Expr& mask) {
    using Cell = Recurrence::Cell;
    const ExprType type{r_.dtype, lanes_};
    const std::vector<Dim> x = strides(r_.x), out = strides(r_.out);
    const auto input = [&](int64_t gate) {
      const Expr column = unit + Expr(gate * r_.hidden);
      return make_load(x_, type, {ramp(t * Expr(x[0]) + row * Expr(x[1]) + column * Expr(x[2]), x[2])}, mask);
    };
    const Expr to = r_.projection ? ramp(row * Expr(r_.hidden) + unit, 1) : ramp(t * Expr(out[0]) + row * Expr(out[1]) + unit * Expr(out[2]), out[2]);
    const uint32_t target = r_.projection ? hidden_ : out_;
    if (r_.cell == Cell::lstm) {
      const std::vector<Dim> from = strides(first ? *r_.c : *r_.last_c), last = strides(*r_.last_c);
      const Expr c = make_load(first ? c_ : last_c_, type, {ramp(row * Expr(from[0]) + unit * Expr(from[1]), from[1])}, mask);
      const auto gate = [&](int64_t i) { return sums[static_cast<size_t>(i)] + input(i); };
      const uint32_t fresh = emit_.local("fresh", type, 1, Memory::registers);
      Body body;
      body.push_back(Stmt::store(fresh, Expr(0), fma(sigmoid(gate(1)), c, sigmoid(gate(0)) * tanh(gate(2)))));
      body.push_back(Stmt::store(target, to, sigmoid(gate(3)) * tanh(vector(fresh, Expr(0))), mask));
      body.push_back(Stmt::store(last_c_, ramp(row * Expr(last[0]) + unit * Expr(last[1]), last[1]), vector(fresh, Expr(0)), mask));
      return body;
    }
    if (r_.cell == Cell::gru) {
      const auto hidden = [&](int64_t i) {
        const Expr sum = sums[static_cast<size_t>(i)];
        if (!r_.bias) return sum;
        const DType stored = graph_.type(*r_.bias).dtype;
        const Expr bias = make_load(bias_, {stored, lanes_}, {ramp(unit + Expr(i * r_.hidden), 1)}, mask);
        return sum + (stored == r_.dtype ? bias : cast(r_.dtype, bias));
      };
      const Expr before = make_load(state.buffer, type, {ramp(state.base + row * Expr(state.row) + unit * Expr(state.column), state.column)}, mask);
      const Expr fresh = tanh(fma(sigmoid(input(0) + hidden(0)), hidden(2), input(2)));
      return one(Stmt::store(target, to, fma(sigmoid(input(1) + hidden(1)), before - fresh, fresh), mask));
    }
    const Expr sum = input(0) + sums[0];
    return one(Stmt::store(target, to, r_.cell == Cell::relu ? max_nan(sum, imm(r_.dtype, 0)) : tanh(sum), mask));
  }

  /// A task: the sums of its block for its rows, piece by piece, then `finish` on those of every row and vector of units.
  template <class Finish> Body task_body(const Product& p, const Rows& rows, Finish&& finish) {
    const Expr block = make_var("block", 0, p.blocks), low = make_var("low", 0, p.tiles + 1), high = make_var("high", 0, p.tiles + 1);
    const int64_t tile_vectors = p.tile_rows * p.row_vectors();
    const uint32_t partial = emit_.local("partial", {r_.dtype, lanes_}, p.tiles_a_block() * tile_vectors, Memory::stack);
    const auto slot = [&](const Expr& tile, const Expr& v) { return simplify((tile - low) * Expr(tile_vectors) + v); };

    const Expr piece = make_var("piece", 0, p.pieces());
    Body sums = over_tiles(p, low, high, [&](const Expr& tile, const Expr& row, int64_t count) {
      return tile_sums(p, rows, block, piece, row, count, [&](int64_t v, const Expr& sum) {
        const Expr at = slot(tile, Expr(v));
        return Stmt::store(partial, at, p.pieces() == 1 ? sum : vector(partial, at) + sum);
      });
    });
    Body body;
    if (p.pieces() == 1) {
      body = one(Stmt::let(piece, Expr(0), std::move(sums)));
    } else {
      const Expr z = make_var("z", 0, p.tiles_a_block() * tile_vectors);
      body.push_back(Stmt::loop(z, Expr(0), simplify((high - low) * Expr(tile_vectors)), Expr(1),
                                one(Stmt::store(partial, z, make_broadcast(imm(r_.dtype, 0), lanes_)))));
      body.push_back(Stmt::loop(piece, Expr(0), Expr(p.pieces()), Expr(1), std::move(sums)));
    }
    append(body, over_tiles(p, low, high, [&](const Expr& tile, const Expr& row, int64_t count) {
             const Expr i = make_var("i", 0, count);
             Body finished;
             for (int64_t j = 0; j < p.vectors; ++j) {
               std::vector<Expr> of_gates;
               for (int64_t g = 0; g < p.gates; ++g)
                 of_gates.push_back(vector(partial, slot(tile, simplify(i * Expr(p.row_vectors()) + Expr(g * p.vectors + j)))));
               const Expr unit = simplify((block * Expr(p.vectors) + Expr(j)) * Expr(lanes_));
               const Expr mask = p.blocks * p.vectors * lanes_ != p.units ? tail_mask(unit, Expr(p.units), lanes_) : Expr();
               append(finished, finish(simplify(row + i), j, unit, of_gates, mask));
             }
             return one(Stmt::loop(i, Expr(0), Expr(count), Expr(1), std::move(finished)));
           }));
    const Expr row_block = simplify(floormod(task_, p.row_blocks));
    const auto first_tile = [&](const Expr& b) { return simplify(floordiv(b * Expr(p.tiles), p.row_blocks)); };
    body = one(Stmt::let(high, first_tile(row_block + Expr(1)), std::move(body)));
    body = one(Stmt::let(low, first_tile(row_block), std::move(body)));
    return one(Stmt::let(block, simplify(floordiv(task_, p.row_blocks)), std::move(body)));
  }

  /// `body(tile, first row, rows)` for the tiles [low, high).
  template <class F> Body over_tiles(const Product& p, const Expr& low, const Expr& high, F&& body) {
    Body out;
    const int64_t r = p.tile_rows;
    if (p.tall > 0) {
      const Expr t = make_var("tile", 0, p.tall);
      out.push_back(Stmt::loop(t, low, p.tall == p.tiles ? high : min(high, Expr(p.tall)), Expr(1), body(t, simplify(t * Expr(r)), r)));
    }
    if (p.tall < p.tiles) {
      const Expr t = make_var("tile", p.tall, p.tiles);
      out.push_back(Stmt::loop(t, max(low, Expr(p.tall)), high, Expr(1), body(t, simplify(t * Expr(r - 1) + Expr(p.tall)), r - 1)));
    }
    return out;
  }

  /// The sums over one piece of k of a tile of `count` rows; `store(v, sum)` takes each.
  template <class Store>
  Body tile_sums(const Product& p, const Rows& rows, const Expr& block, const Expr& piece, const Expr& row, int64_t count, Store&& store) {
    const int64_t v = p.row_vectors(), sums = count * v;
    const uint32_t acc = emit_.local("acc", {r_.dtype, lanes_}, p.chains * sums, Memory::registers);
    Body out;
    for (int64_t i = 0; i < p.chains * sums; ++i) out.push_back(Stmt::store(acc, Expr(i), make_broadcast(imm(r_.dtype, 0), lanes_)));
    const auto multiply = [&](const Expr& k, int64_t chain) {
      Body body;
      const Expr panel = (block * Expr(p.k) + k) * Expr(v * lanes_);
      for (int64_t i = 0; i < count; ++i) {
        const Expr state = make_load(rows.buffer, {r_.dtype, 1}, {simplify(rows.base + (row + Expr(i)) * Expr(rows.row) + k * Expr(rows.column))});
        for (int64_t j = 0; j < v; ++j) {
          const Expr at((chain * count + i) * v + j);
          const Expr weights = make_load(p.panels, {r_.dtype, lanes_}, {ramp(panel + Expr(j * lanes_), 1)});
          body.push_back(Stmt::store(acc, at, fma(make_broadcast(state, lanes_), weights, vector(acc, at))));
        }
      }
      return body;
    };
    const Expr low = simplify(piece * Expr(p.piece_k));
    const Expr high = p.pieces() == 1                 ? Expr(p.k)
                      : p.pieces() * p.piece_k == p.k ? simplify(low + Expr(p.piece_k))
                                                      : min(low + Expr(p.piece_k), Expr(p.k));
    const Expr even = p.k % unrolled_k == 0 ? high : simplify(floordiv(high, unrolled_k) * Expr(unrolled_k));
    const Expr k = make_var("k", 0, p.k);
    Body inner;
    for (int64_t u = 0; u < unrolled_k; ++u) append(inner, multiply(simplify(k + Expr(u)), u % p.chains));
    out.push_back(Stmt::loop(k, low, even, Expr(unrolled_k), std::move(inner)));
    if (p.k % unrolled_k != 0) {
      const Expr rest = make_var("rest", 0, p.k);
      out.push_back(Stmt::loop(rest, even, high, Expr(1), multiply(rest, 0)));
    }
    for (int64_t i = 0; i < sums; ++i) {
      Expr sum = vector(acc, Expr(i));
      for (int64_t chain = 1; chain < p.chains; ++chain) sum = sum + vector(acc, Expr(chain * sums + i));
      out.push_back(store(i, sum));
    }
    return out;
  }
};

}  // namespace

bool lower_recurrence(PendingProgram& program, const Region& region) {
  if (!region.anchor) return false;
  const auto recurrence = describe(program, *region.anchor);
  if (!recurrence) return false;
  RecurrenceLowering(program, region, *recurrence).run();
  return true;
}

}  // namespace mica::lower
