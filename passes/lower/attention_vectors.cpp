// Attention by vectors (attention.h): a block of rows is a register tile. Keys are packed into panels as wide as a tile, values into rows without
// gaps, and both stay in the first cache beside the scores.
#include <algorithm>

#include "attention.h"
#include "contraction_operands.h"
#include "register_tile.h"

namespace mica::lower {

namespace {

constexpr int64_t packing_rows = 12;  ///< packing a batch entry takes as long as so many rows

/// A register tile: `rows` x `vectors` sums.
struct Tile {
  int64_t rows = 1, vectors = 1;
};

Tile choose_tile(const Attention& a, const Target& target, int32_t lanes) {
  const std::vector<Tile> shapes = target.vector_registers >= 32 ? std::vector<Tile>{{6, 4}, {8, 3}, {12, 2}} : std::vector<Tile>{{4, 2}, {6, 1}};
  Tile best;
  double least = 1e300;
  for (Tile s : shapes) {
    const int64_t tiles = ceil_div(a.rows.typical(), s.rows);
    if (a.rows.is_static()) s.rows = ceil_div(a.rows.size(), tiles);
    const auto steps = [&](int64_t n) {
      double cycles = 0;
      for (int64_t left = ceil_div(n, lanes); left > 0; left -= s.vectors) {
        const auto v = static_cast<double>(std::min(left, s.vectors)), r = static_cast<double>(s.rows);
        cycles += std::max({r * v / 2, (r + v) / 2, 4.0}) + 0.5;
      }
      return cycles;
    };
    const auto keys = static_cast<double>(a.keys.typical());
    const double cost = static_cast<double>(tiles) * (steps(a.keys.typical()) * static_cast<double>(a.depths) + steps(a.columns) * keys);
    if (cost < least) least = cost, best = s;
  }
  return best;
}

class VectorAttention : AttentionLowering {
 public:
  VectorAttention(PendingProgram& program, const Region& region, Attention a) : AttentionLowering(program, region, std::move(a)) {}

  void run() {
    tile_ = choose_tile(a_, emit_.target(), lanes_);
    width_ = tile_.vectors * lanes_;
    panels_ = Dim::ceil_div(a_.keys, width_);
    block_ = tile_.rows;
    pitch_ = panels_.high() * width_;
    columns_ = ceil_div(a_.columns, lanes_) * lanes_;
    choose_shares(packing_rows);
    prepare();
    keys_ = emit_.local("keys", {a_.dtype, 1}, pitch_ * a_.depths, Memory::stack);
    values_ = emit_.local("values", {a_.dtype, 1}, a_.keys.high() * columns_, Memory::stack);
    Body pack = pack_keys();
    append(pack, pack_values());
    finish(std::move(pack), [&](const Expr& low, const Expr& high) { return over_blocks(low, high); });
  }

 private:
  Tile tile_;
  int64_t width_ = 1;  ///< of a panel of keys
  Dim panels_ = 1;
  uint32_t keys_ = 0, values_ = 0;

  /// Keys in panels [panel][depth][width], zeros behind the last one.
  Body pack_keys() {
    const Expr panel = make_place("panel", panels_), j = make_place("vector", tile_.vectors);
    const Expr within = simplify(j * Expr(lanes_)), first = fresh("first");
    const Expr mask = a_.keys % width_ == 0 ? Expr() : tail_mask(first, Expr(a_.keys), lanes_);
    Body body = one(Stmt::store(keys_, place((panel * Expr(a_.depths) + a_.depth) * Expr(width_) + within),
                                loaded(key_, a_.key_index, a_.key, first, lanes_, mask)));
    body = loop(a_.depth, Expr(0), Expr(a_.depths), std::move(body));
    body = with_let(first, simplify(panel * Expr(width_) + within), std::move(body));
    body = loop(j, Expr(0), Expr(tile_.vectors), std::move(body));
    return loop(panel, Expr(0), Expr(panels_), std::move(body));
  }

  Body pack_values() {
    Body body;
    for (int64_t c = 0; c < columns_; c += lanes_)
      body.push_back(
          Stmt::store(values_, place(a_.key * Expr(columns_) + Expr(c)), loaded(value_, a_.value_index, a_.column, Expr(c), lanes_, column_mask(c))));
    return loop(a_.key, Expr(0), Expr(a_.keys), std::move(body));
  }

  /// sums(i, j) += left(i, k) * right(k, j) for k in [low, high), and `store(i, j, sum)` of each.
  template <class Left, class Right, class Store>
  Body multiply(const Expr& k, const Expr& low, const Expr& high, int64_t vectors, Left&& left, Right&& right, Store&& store) {
    const Accumulators acc = Accumulators::make(emit_, tile_.rows, vectors, vector());
    std::vector<Expr> columns;
    for (int64_t j = 0; j < vectors; ++j) columns.push_back(right(j));
    Body out = acc.clear();
    append(out, loop(k, low, high, acc.update([&](int64_t i, int64_t j, const Expr& sum) {
             return fma(make_broadcast(left(i), lanes_), columns[static_cast<size_t>(j)], sum);
           })));
    for (int64_t i = 0; i < tile_.rows; ++i)
      for (int64_t j = 0; j < vectors; ++j) out.push_back(store(i, j, acc.load(i, j)));
    return out;
  }

  /// Scores of the rows from m0 on with a panel of keys; -inf behind the last key.
  Body score_panel(const Expr& m0, const Expr& panel, int64_t vectors, bool last) {
    const auto left = [&](int64_t i) { return make_load(query_, {a_.dtype, 1}, {simplify(substitute(a_.query_index, {{a_.row, m0 + Expr(i)}}))}); };
    const auto right = [&](int64_t j) {
      return make_load(keys_, vector(), {place((panel * Expr(a_.depths) + a_.depth) * Expr(width_) + Expr(j * lanes_))});
    };
    return multiply(a_.depth, Expr(0), Expr(a_.depths), vectors, left, right, [&](int64_t i, int64_t j, const Expr& sum) {
      const Expr first = simplify(panel * Expr(width_) + Expr(j * lanes_)), mask = last ? key_mask(first) : Expr();
      return Stmt::store(scores_, place(Expr(i * pitch_) + first), score(m0 + Expr(i), first, sum, mask));
    });
  }

  Body scores(const Expr& m0) {
    const Expr panel = make_place("panel", panels_);
    if (!a_.keys.is_static()) return loop(panel, Expr(0), Expr(panels_), score_panel(m0, panel, tile_.vectors, true));
    const int64_t before = panels_.size() - 1;
    Body out;
    if (before > 0) out = loop(panel, Expr(0), Expr(before), score_panel(m0, panel, tile_.vectors, false));
    append(out, score_panel(m0, Expr(before), last_vectors(a_.keys, tile_.vectors, lanes_), true));
    return out;
  }

  /// Products with the values; keys in chains of bounded length.
  Body weigh() {
    const bool single = a_.keys.high() <= max_chain;
    const Expr chain = make_place("chain", Dim::ceil_div(a_.keys, max_chain));
    const Expr low = single ? Expr(0) : simplify(chain * Expr(max_chain));
    const Expr high = single ? Expr(a_.keys) : min(low + Expr(max_chain), Expr(a_.keys));
    Body body;
    for (int64_t c = 0; c < columns_; c += width_) {
      const auto left = [&](int64_t i) { return make_load(scores_, {a_.dtype, 1}, {simplify(a_.key + Expr(i * pitch_))}); };
      const auto right = [&](int64_t j) { return make_load(values_, vector(), {place(a_.key * Expr(columns_) + Expr(c + j * lanes_))}); };
      append(body,
             multiply(a_.key, low, high, std::min(tile_.vectors, (columns_ - c) / lanes_), left, right, [&](int64_t i, int64_t j, const Expr& sum) {
               const Expr at = place(Expr(i * columns_ + c + j * lanes_));
               return Stmt::store(sums_, at, single ? sum : make_load(sums_, vector(), {at}) + sum);
             }));
    }
    if (single) return body;
    const Expr z = make_place("z", Dim(tile_.rows * columns_));
    Body out = loop(z, Expr(0), Expr(tile_.rows * columns_), one(Stmt::store(sums_, place(z), wide(0))), lanes_);
    append(out, loop(chain, Expr(0), Expr(Dim::ceil_div(a_.keys, max_chain)), std::move(body)));
    return out;
  }

  Body over_blocks(const Expr& low, const Expr& high) {
    const Expr block = make_place("block", blocks_), m0 = make_place("m0", a_.rows), first = make_place("first", a_.rows),
               i = make_place("i", tile_.rows), behind = simplify(Expr(Dim::ceil_div(a_.keys, lanes_) * lanes_));
    // The last block moves up to end at the last row; only its new rows are stored.
    Body body = scores(m0);
    append(body, loop(i, Expr(0), Expr(tile_.rows),
                      softmax(i, behind, {}, [&](const Expr& v, const Expr& e) { return Stmt::store(scores_, place(i * Expr(pitch_) + v), e); })));
    append(body, weigh());
    append(body, epilogue(m0, first, min(first + Expr(tile_.rows), Expr(a_.rows))));
    body = with_let(m0, min(first, Expr(a_.rows - tile_.rows)), std::move(body));
    body = with_let(first, simplify(block * Expr(tile_.rows)), std::move(body));
    return loop(block, low, high, std::move(body));
  }
};

}  // namespace

void emit_attention_vectors(PendingProgram& program, const Region& region, Attention attention) {
  VectorAttention(program, region, std::move(attention)).run();
}

}  // namespace mica::lower
