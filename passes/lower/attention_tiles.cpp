// Attention by matrix registers (attention.h), in 16 bits: blocks of up to two registers of rows. All registers have one shape for both products, 32
// steps of k: elements of a key in the first, keys in the second, with zeros behind the last. Keys and values are packed in pairs of k, register by
// register; rows of queries are gathered, so that they may lie anywhere.
#include "attention.h"
#include "contraction_operands.h"

namespace mica::lower {

namespace {

constexpr int64_t packing_rows = 24;         ///< packing a batch entry takes as long as so many rows
constexpr int64_t stack_bytes = 256 << 10;   ///< for all buffers
constexpr int64_t longest_keys = 4096;       ///< sums in f32 of so many products lose little beside what the operands have lost
constexpr int64_t step = 32, registers = 8;  ///< elements of k; accumulators, left and right operands

/// Sizes of what a task holds.
struct Sizes {
  int64_t rows, row_tiles;  ///< of a block
  int64_t depth_steps, key_steps;
  int64_t vectors;          ///< of a row of sums
  int64_t scores, weights;  ///< elements of a row of them
  int64_t depths() const { return depth_steps * step; }
  int64_t keys() const { return key_steps * step; }
};

Sizes sizes_of(const Attention& a, const MatrixTiles& tiles) {
  Sizes s{};
  const int64_t m = a.rows.size(), most = 2 * tiles.rows;
  s.rows = m <= most ? m : ceil_div(m, ceil_div(m, most));
  s.row_tiles = ceil_div(s.rows, tiles.rows);
  s.depth_steps = ceil_div(a.depths, step);
  s.key_steps = ceil_div(a.keys.size(), step);
  s.vectors = ceil_div(a.columns, tiles.row_bytes / 4);
  // An odd number of lines between rows keeps them out of one set of a cache.
  s.scores = s.keys() + 16;
  s.weights = (s.key_steps | 1) * step;
  return s;
}

class TiledAttention : AttentionLowering {
 public:
  TiledAttention(PendingProgram& program, const Region& region, Attention a)
      : AttentionLowering(program, region, std::move(a)), tiles_(program.target->tiles), s_(sizes_of(a_, tiles_)) {}

  void run() {
    lanes_ = tiles_.row_bytes / 4;
    block_ = s_.rows;
    pitch_ = s_.scores;
    columns_ = s_.vectors * lanes_;
    choose_shares(packing_rows);
    prepare();
    query_pitch_ = (s_.depth_steps | 1) * step;
    queries_ = emit_.local("queries", {a_.dtype, 1}, s_.rows * query_pitch_, Memory::stack);
    keys_ = emit_.local("keys", {a_.dtype, 1}, s_.depths() * s_.keys(), Memory::stack);
    values_ = emit_.local("values", {a_.dtype, 1}, s_.keys() * columns_, Memory::stack);
    weights_ = emit_.local("weights", {a_.dtype, 1}, s_.rows * s_.weights, Memory::stack);
    shape_registers();
    Body packed = pack(keys());
    append(packed, pack(values()));
    append(packed, clear_weights());
    finish(std::move(packed), [&](const Expr& low, const Expr& high) { return over_blocks(low, high); });
  }

 private:
  const MatrixTiles tiles_;
  const Sizes s_;
  int64_t query_pitch_ = 0;
  uint32_t queries_ = 0, keys_ = 0, values_ = 0, weights_ = 0;

  // ---- registers ----
  static uint32_t accumulator(int64_t i, int64_t j) { return static_cast<uint32_t>(2 * i + j); }
  static uint32_t left(int64_t i) { return static_cast<uint32_t>(4 + i); }
  static uint32_t right(int64_t j) { return static_cast<uint32_t>(6 + j); }
  int64_t register_elements() const { return step * lanes_; }

  void shape_registers() {
    std::vector<TileShape>& shapes = emit_.kernel().tiles;
    shapes.assign(registers, {static_cast<int32_t>(step / 2), 4 * lanes_});
    for (int64_t i = 0; i < s_.row_tiles; ++i) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(tiles_.rows, s_.rows - i * tiles_.rows));
      for (int64_t j = 0; j < 2; ++j) shapes[accumulator(i, j)] = {rows, 4 * lanes_};
      shapes[left(i)] = {rows, static_cast<int32_t>(2 * step)};
    }
  }

  /// Rows of A (`a_pitch` elements apart) times so many vectors of a packed B, whose register for step k and vector j begins at `b_at(k, j)`; sums to
  /// `to` from column `at` on.
  template <class At>
  Body multiply(uint32_t a, int64_t a_pitch, uint32_t b, int64_t steps, int64_t vectors, At&& b_at, uint32_t to, const Expr& at, int64_t to_pitch) {
    const Expr k = make_place("k", steps);
    Body out, body;
    for (int64_t i = 0; i < s_.row_tiles; ++i)
      for (int64_t j = 0; j < vectors; ++j) out.push_back(Stmt::tile_zero(accumulator(i, j)));
    for (int64_t i = 0; i < s_.row_tiles; ++i) {
      body.push_back(Stmt::tile_load(left(i), a, simplify(Expr(i * tiles_.rows * a_pitch) + k * Expr(step)), Expr(a_pitch)));
      for (int64_t j = 0; j < vectors; ++j) {
        if (i == 0) body.push_back(Stmt::tile_load(right(j), b, simplify(b_at(k, j)), Expr(2 * lanes_)));
        body.push_back(Stmt::tile_dot(accumulator(i, j), left(i), right(j)));
      }
    }
    append(out, loop(k, Expr(0), Expr(steps), std::move(body)));
    for (int64_t i = 0; i < s_.row_tiles; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        out.push_back(Stmt::tile_store(accumulator(i, j), to, simplify(at + Expr(i * tiles_.rows * to_pitch + j * lanes_)), Expr(to_pitch)));
    return out;
  }

  // ---- packing ----
  Expr narrow_place(const Expr& e, int32_t lanes) const { return make_ramp(simplify(e), Expr(1), lanes); }
  /// The `size` elements that `index` gives along `lane`, and zeros behind them in whole steps, to `to` from `at` on.
  Body copy_row(uint32_t from, const Expr& index, const Expr& lane, int64_t size, uint32_t to, const Expr& at) {
    Body body;
    for (int64_t d = 0; d < size; d += step) {
      const Expr mask = d + step <= size ? Expr() : tail_mask(Expr(d), Expr(size), step);
      body.push_back(Stmt::store(to, narrow_place(at + Expr(d), step), loaded(from, index, lane, Expr(d), step, mask)));
    }
    return body;
  }

  /// A right operand as it lies in memory, where its registers go, and its sizes: those of memory, and those of whole registers.
  struct Right {
    uint32_t from, to;
    Expr index, k, n;
    int64_t ks, ns, steps, vectors;
    std::function<Expr(const Expr& step, const Expr& vector)> at;  ///< number of a register
  };
  Right keys() const {
    const int64_t steps = s_.depth_steps;
    return {key_,      keys_,          a_.key_index, a_.depth,           a_.key,
            a_.depths, a_.keys.size(), steps,        s_.keys() / lanes_, [steps](const Expr& k, const Expr& v) { return v * Expr(steps) + k; }};
  }
  Right values() const {
    const int64_t vectors = s_.vectors;
    return {value_,         values_,    a_.value_index, a_.key,  a_.column,
            a_.keys.size(), a_.columns, s_.key_steps,   vectors, [vectors](const Expr& k, const Expr& v) { return k * Expr(vectors) + v; }};
  }
  Expr first_of(const Right& r, const Expr& step_of_k, const Expr& vector) const { return r.at(step_of_k, vector) * Expr(register_elements()); }

  Body pack(const Right& r) {
    const auto flat = linear_index(r.index, {r.k});
    return flat && flat->strides[0] == 1 && r.ks > 1 ? pack_columns(r) : pack_rows(r);
  }

  /// Two rows of n at a time.
  Body pack_rows(const Right& r) {
    const auto row = [&](const Expr& k, int64_t n) {
      const Expr mask = n + lanes_ <= r.ns ? Expr() : tail_mask(Expr(n), Expr(r.ns), lanes_);
      return loaded(r.from, substitute(r.index, {{r.k, k}}), r.n, Expr(n), lanes_, mask);
    };
    const Expr zero = make_broadcast(imm(a_.dtype, 0), 2 * lanes_);
    const auto store = [&](const Expr& pair, auto&& value) {
      Body body;
      for (int64_t v = 0; v < r.vectors; ++v) {
        const Expr at = first_of(r, floordiv(pair, step / 2), Expr(v)) + floormod(pair, step / 2) * Expr(2 * lanes_);
        body.push_back(Stmt::store(r.to, narrow_place(at, 2 * lanes_), v * lanes_ < r.ns ? value(v * lanes_) : zero));
      }
      return body;
    };
    const int64_t pairs = r.steps * step / 2;
    const Expr pair = make_place("pair", pairs), first = simplify(pair * Expr(2)), pad = make_place("pair", pairs);
    Body out;
    if (r.ks > 1)
      out = loop(pair, Expr(0), Expr(r.ks / 2),
                 store(pair, [&](int64_t n) { return bitcast(a_.dtype, pair_bits(row(first, n), row(first + Expr(1), n))); }));
    if (r.ks % 2) append(out, store(Expr(r.ks / 2), [&](int64_t n) { return bitcast(a_.dtype, pair_bits(row(Expr(r.ks - 1), n), {})); }));
    if (ceil_div(r.ks, 2) < pairs) append(out, loop(pad, Expr(ceil_div(r.ks, 2)), Expr(pairs), store(pad, [&](int64_t) { return zero; })));
    return out;
  }

  /// Where k is what lies side by side: a column at a time, whose pairs go to one place of each row of a register.
  Body pack_columns(const Right& r) {
    const Expr k = make_place("k", r.steps), pad = make_var("pad", r.ns, r.vectors * lanes_ + 1), first = fresh("first");
    const auto pairs = [&](const Expr& n, auto&& value) {
      Body body;
      for (int64_t d = 0; d < step; d += 2)
        body.push_back(Stmt::store(r.to, narrow_place(first + Expr(d * lanes_), 2), value(k * Expr(step) + Expr(d))));
      const Expr at = first_of(r, k, floordiv(n, lanes_)) + floormod(n, lanes_) * Expr(2);
      return loop(k, Expr(0), Expr(r.steps), with_let(first, simplify(at), std::move(body)));
    };
    const uint32_t column = emit_.local("column", {a_.dtype, 1}, r.steps * step, Memory::stack);
    Body body = copy_row(r.from, r.index, r.k, r.ks, column, Expr(0));
    append(body, pairs(r.n, [&](const Expr& at) { return make_load(column, {a_.dtype, 2}, {narrow_place(at, 2)}); }));
    Body out = loop(r.n, Expr(0), Expr(r.ns), std::move(body));
    if (r.ns < r.vectors * lanes_)
      append(out, loop(pad, Expr(r.ns), Expr(r.vectors * lanes_), pairs(pad, [&](const Expr&) { return make_broadcast(imm(a_.dtype, 0), 2); })));
    return out;
  }

  int64_t behind() const { return ceil_div(a_.keys.size(), lanes_) * lanes_; }
  /// Zeros behind the vectors of weights that a softmax writes.
  Body clear_weights() {
    const Expr i = make_place("i", s_.rows);
    Body body;
    for (int64_t v = behind(); v < s_.keys(); v += lanes_)
      body.push_back(Stmt::store(weights_, narrow_place(i * Expr(s_.weights) + Expr(v), lanes_), make_broadcast(imm(a_.dtype, 0), lanes_)));
    return body.empty() ? Body() : loop(i, Expr(0), Expr(s_.rows), std::move(body));
  }

  // ---- a block of rows ----
  Body scores() {
    const Expr panel = make_place("panel", s_.key_steps);
    const auto at = [&](const Expr& k, int64_t j) { return ((panel * Expr(2) + Expr(j)) * Expr(s_.depth_steps) + k) * Expr(register_elements()); };
    return loop(panel, Expr(0), Expr(s_.key_steps),
                multiply(queries_, query_pitch_, keys_, s_.depth_steps, 2, at, scores_, panel * Expr(2 * lanes_), pitch_));
  }

  Body weigh() {
    Body out;
    for (int64_t c = 0; c < s_.vectors; c += 2) {
      const auto at = [&](const Expr& k, int64_t j) { return (k * Expr(s_.vectors) + Expr(c + j)) * Expr(register_elements()); };
      append(out, multiply(weights_, s_.weights, values_, s_.key_steps, std::min<int64_t>(2, s_.vectors - c), at, sums_, Expr(c * lanes_), columns_));
    }
    return out;
  }

  Body over_blocks(const Expr& low, const Expr& high) {
    const Expr block = make_place("block", blocks_), first = make_place("first", a_.rows), end = make_index("end", a_.rows + 1);
    const Expr i = simplify(a_.row - first);
    // Rows behind the last one keep what they had: nobody reads their sums.
    Body body = loop(a_.row, first, end, copy_row(query_, a_.query_index, a_.depth, a_.depths, queries_, i * Expr(query_pitch_)));
    append(body, scores());
    append(body, loop(a_.row, first, end, softmax(i, Expr(behind()), a_.row, [&](const Expr& v, const Expr& e) {
                        return Stmt::store(weights_, narrow_place(i * Expr(s_.weights) + v, lanes_), convert(a_.dtype, e));
                      })));
    append(body, weigh());
    append(body, epilogue(first, first, end));
    body = with_let(end, min(first + Expr(s_.rows), Expr(a_.rows)), std::move(body));
    body = with_let(first, simplify(block * Expr(s_.rows)), std::move(body));
    return loop(block, low, high, std::move(body));
  }
};

}  // namespace

bool fits_attention_tiles(const Attention& a, const Target& target) {
  const MatrixTiles& t = target.tiles;
  if (!t.dot_bf16 || t.registers < registers || t.rows < 16 || t.row_bytes != 2 * step || a.dtype != DType::bf16) return false;
  if (!a.rows.is_static() || !a.keys.is_static() || a.keys.size() > longest_keys || a.depths > longest_keys || a.columns > longest_keys) return false;
  const Sizes s = sizes_of(a, t);
  const int64_t packed = s.keys() * (s.depths() + s.vectors * 16) * 2;
  const int64_t block = s.rows * (s.scores * 4 + s.weights * 2 + (s.depths() + step) * 2 + s.vectors * 64 + 4);
  return packed + block <= stack_bytes;
}

void emit_attention_tiles(PendingProgram& program, const Region& region, Attention attention) {
  TiledAttention(program, region, std::move(attention)).run();
}

}  // namespace mica::lower
