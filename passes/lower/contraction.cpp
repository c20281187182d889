// The schedule of contractions (contraction.h): register tiles, packed panels, chains of bounded length, an epilogue on the sums.
#include "contraction.h"

#include <algorithm>
#include <cmath>

#include "contraction_operands.h"
#include "register_tile.h"

namespace mica::lower {

namespace {

constexpr int64_t partial_bytes = 48 << 10;  ///< stack for the partial sums of a task
constexpr int64_t wanted_tasks = 64;         ///< enough for an even split over many threads
/// Longer chains for operands of 16 bits: what a sum in f32 loses over them is far below what the operands have lost.
constexpr int64_t narrow_chains = 16;
constexpr double far_bytes = 10;    ///< a cycle from behind the second cache
constexpr double foreign = 2;       ///< as much longer takes what another core has just made
constexpr double tile_cycles = 30;  ///< of a tile beside its steps and its sums
constexpr int64_t cache_line = 64;
/// Of B that a turn of the loop over k asks for at most: a tile that reads more than this has too few others to share it with.
constexpr int64_t most_lines = 4;
constexpr int64_t most_along_k = 4;           ///< columns that are multiplied along k
constexpr int64_t longest_gathered = 1024;    ///< elements of one of them, where B is computed
constexpr int64_t fewest_rows_gathered = 32;  ///< which are to make up for reading it

// ---- the tile ----
/// A register tile of `rows` x (`vectors` * lanes) that leaves a few registers free (measured: no spills with LLVM 19).
struct Tile {
  int64_t rows = 1, vectors = 1;
};

/// Columns behind the last whole vector of them that are multiplied along k, a vector of its steps at a time. In a vector of columns they would take
/// as long as a full one.
int64_t columns_along_k(const Contraction& c, int32_t lanes) {
  if (!c.along_k || c.gate || !c.n.is_static() || !c.k.is_static() || c.n.size() < lanes) return 0;
  const int64_t columns = c.n % lanes, steps = c.taps * ceil_div(c.k, lanes);
  if (columns == 0 || columns > most_along_k || steps > c.chain) return 0;
  // A B that is computed is first read column by column, for each block of rows.
  if (!c.packed && (c.k.size() > longest_gathered || c.m.typical() < fewest_rows_gathered)) return 0;
  // Per row, at two a cycle: multiply-adds and loads, the sums over the lanes, and a tile of its own. 512 rows of 64 and 128 steps took 0.81 to 0.97
  // of the time, those of 32 up to 1.3 times as long.
  constexpr int64_t over_lanes = 12, own_tile = 16;
  return (columns + 1) * steps + columns * over_lanes + own_tile < c.taps * c.k.size() ? columns : 0;
}

/// All that are worth a thought, the one that should take the least time first.
std::vector<Tile> rank_tiles(const Contraction& c, const Target& target, int32_t lanes) {
  // Every row takes a pointer of its own: 14 of them do not fit 16 general registers beside the counters.
  const std::vector<Tile> shapes =
      target.vector_registers >= 32 ? std::vector<Tile>{{6, 4}, {8, 3}, {5, 5}, {12, 2}, {10, 1}} : std::vector<Tile>{{3, 4}, {4, 3}, {6, 2}, {8, 1}};
  const auto steps = static_cast<double>(c.k.typical() * c.taps);
  const Dim columns = c.n - columns_along_k(c, lanes);
  std::vector<Tile> ranked;
  double best_cost = 1e300;
  for (const Tile& s : shapes) {
    const int64_t width = s.vectors * lanes, m = c.m.typical(), n = columns.typical();
    if (target.vector_registers < 32 && s.vectors == 4) continue;
    if (s.vectors > 1 && (s.vectors - 1) * lanes >= n) continue;
    const int64_t panels = ceil_div(n, width), tiles = ceil_div(m, s.rows);
    const double rows = static_cast<double>(ceil_div(m, tiles));
    // Per k step of a tile: rows * vectors multiply-adds at two a cycle, vectors + rows loads at two a cycle, the four cycles that one multiply-add
    // waits for another, and the loop itself. Per tile: where its rows are, its epilogue, loops that are left.
    const auto cycles = [&](int64_t vectors) {
      const auto v = static_cast<double>(vectors);
      return (std::max({rows * v / 2, (rows + v) / 2, 4.0}) + 0.5) * steps + 2 * rows * v + tile_cycles;
    };
    const double row = cycles(s.vectors) * static_cast<double>(panels - 1) + cycles(last_vectors(columns, s.vectors, lanes));
    const double cost = row * static_cast<double>(tiles);
    const Tile tile = {c.m.is_static() ? ceil_div(m, tiles) : std::min(s.rows, m), s.vectors};
    const bool best = cost < best_cost * 0.995;
    if (best) best_cost = cost;
    ranked.insert(best ? ranked.begin() : ranked.end(), tile);
  }
  return ranked;
}

class ContractionLowering {
 public:
  ContractionLowering(PendingProgram& program, const Region& region, Contraction c)
      : program_(program), graph_(*program.graph), region_(region), c_(std::move(c)), emit_(program, region) {}

  void run() {
    lanes_ = emit_.target().lanes(size_of(c_.sums()));
    group_ = c_.dtype == DType::bf16 ? 2 : 1;
    tile_ = program_.choose(knob("tile"), rank_tiles(c_, emit_.target(), lanes_),
                            [](const Tile& t) { return fmt::format("{} rows, {} vectors", t.rows, t.vectors); });
    width_ = tile_.vectors * lanes_;
    vectors_ = tile_.vectors;
    rest_ = columns_along_k(c_, lanes_);
    columns_ = c_.n - rest_;
    panels_ = Dim::ceil_div(columns_, width_);
    tiles_ = Dim::ceil_div(c_.m, tile_.rows);
    tall_ = c_.m - tiles_ * (tile_.rows - 1);
    choose_chunks();
    choose_blocks();
    prepare_operands();
    prepare_epilogue();
    emit();
  }

 private:
  PendingProgram& program_;
  const Graph& graph_;
  const Region& region_;
  Contraction c_;
  Emitter emit_;
  int32_t lanes_ = 1;
  int64_t group_ = 1;  ///< steps of k that one multiplication takes
  Tile tile_;
  int64_t width_ = 1;
  int64_t vectors_ = 1;       ///< of the panels that statements are made for: all, or the last one, which may be narrower
  bool all_columns_ = false;  ///< those panels are full
  int64_t rest_ = 0;          ///< columns that are multiplied along k, in the tasks of the last panel
  Dim columns_ = 1;           ///< the others
  Dim panels_ = 1;
  Dim tiles_ = 1, tall_ = 1;  ///< row tiles; the first `tall_` have tile_.rows rows, the rest one less (below 0: see over_tiles)
  int64_t chunk_taps_ = 1;    ///< of one accumulator chain
  Dim chunk_k_ = 1;
  int64_t tap_chunks_ = 1;
  Dim k_chunks_ = 1;
  Dim blocks_ = 1;           ///< groups of row tiles; a task is a batch entry, a block, a panel
  int64_t block_tiles_ = 1;  ///< most tiles of a block
  bool panel_outer_ = true;  ///< threads share the columns, else the rows
  uint32_t a_ = 0, b_ = 0, partial_ = 0, gathered_ = 0, widened_ = 0;
  std::optional<RowOffsets> rows_;
  Expr panel_, tap_;
  Expr chunk_tap_, chunk_low_;  ///< where the chunk at hand begins, of a B that is widened
  Epilogue stored_;

  bool asks_ahead_ = true;  ///< for a packed B

  /// A question about this contraction, which may be a step of a larger schedule.
  std::string knob(const char* what) const { return c_.inner ? c_.inner->name + " " + what : what; }
  bool single_chain() const { return tap_chunks_ == 1 && k_chunks_ == 1; }
  int64_t tiles_per_block() const { return tiles_.is_static() && blocks_.is_static() ? ceil_div(tiles_, blocks_) : block_tiles_; }

  void choose_chunks() {
    // A single row waits for B and has the time for more partial sums, which make up for its having no other accumulators.
    const int64_t longest = c_.dtype == c_.sums() ? c_.chain : c_.chain * narrow_chains;
    const int64_t chain = c_.m.is_static() && c_.m == 1 ? longest / 16 : longest;
    if (!c_.k.is_static()) {  // B is computed: one tap
      chunk_k_ = c_.k.high() <= chain ? c_.k : Dim(chain);
      k_chunks_ = c_.k.high() <= chain ? Dim(1) : Dim::max(Dim::ceil_div(c_.k, chain), 1);  // of nothing there is a sum, too
      return;
    }
    const int64_t steps = c_.taps * c_.k;
    if (steps <= chain) {
      chunk_taps_ = c_.taps;
      chunk_k_ = c_.k;
    } else if (c_.k <= chain) {
      chunk_taps_ = ceil_div(c_.taps, ceil_div(c_.taps, std::max<int64_t>(1, chain / c_.k)));
      chunk_k_ = c_.k;
    } else {
      chunk_taps_ = 1;
      const int64_t pieces = ceil_div(c_.k, chain);
      chunk_k_ = ceil_div(ceil_div(c_.k, pieces), 4) * 4;
    }
    tap_chunks_ = ceil_div(c_.taps, chunk_taps_);
    k_chunks_ = ceil_div(c_.k, chunk_k_);
  }

  void choose_blocks() {
    Dim outer = 1;
    for (const Expr& v : c_.batch) outer *= extent_end(v);
    const int64_t element = size_of(c_.dtype);
    int64_t block_rows =
        std::max<int64_t>(tile_.rows, (emit_.target().l2_bytes / 2) / std::max<int64_t>(1, c_.k.typical() * std::min<int64_t>(c_.taps, 2) * element));
    const int64_t sum = size_of(c_.sums());
    if (!single_chain()) block_rows = std::min(block_rows, std::max<int64_t>(tile_.rows, partial_bytes / (width_ * sum)));
    const bool narrow = b_type() != c_.dtype;
    const int64_t least_rows = (narrow ? 8 : 4) * tile_.rows;  // below this a panel of B is read, or widened, too often
    block_rows = std::max(block_rows, narrow ? least_rows : tile_.rows);
    blocks_ = Dim::max(Dim::ceil_div(c_.m, block_rows), 1);
    blocks_ = Dim::max(blocks_, Dim::min(Dim::ceil_div(wanted_tasks, outer * panels_), Dim::max(c_.m / least_rows, 1)));
    if (blocks_.is_static() && tiles_.is_static()) {
      blocks_ = std::clamp<int64_t>(blocks_, 1, tiles_);
      const auto fit = [&] { return single_chain() || tiles_per_block() * tile_.rows * width_ * sum <= partial_bytes; };
      while (!fit() && blocks_ < tiles_) blocks_ += 1;
      std::vector<int64_t> counts = {blocks_.size()};
      for (const int64_t more : {2 * counts[0], counts[0] / 2, counts[0] / 4, 4 * counts[0]}) {
        blocks_ = std::clamp<int64_t>(more, 1, tiles_);
        if (fit()) counts.push_back(blocks_);
      }
      blocks_ = program_.choose(knob("blocks"), counts);
    } else {
      // None of these is above the number of tiles. An even split gives a block at most block_tiles_ tiles.
      block_tiles_ = std::max<int64_t>(1, block_rows / tile_.rows);
      blocks_ = Dim::max(blocks_, Dim::ceil_div(tiles_, block_tiles_));
    }
    panel_outer_ = columns_shared(outer);
    if (blocks_ != 1 && panels_ != 1 && !(c_.inner && c_.inner->rows_outer)) panel_outer_ = program_.choose(knob("panels outside"), panel_outer_);
    if (tiles_ahead() >= 2) asks_ahead_ = program_.choose(knob("asks ahead"), true);
  }

  /// Threads share the columns or the rows, whichever takes two of them less: multiplying, where one gets more than its half, and waiting for what is
  /// read. B comes from far, and half of A from where the other thread made it, or a quarter where a thread takes its half of the rows of what was
  /// made by channels.
  bool columns_shared(const Dim& outer) const {
    const double m = static_cast<double>(c_.m.typical()), n = static_cast<double>(c_.n.typical()), k = static_cast<double>(c_.k.typical()),
                 element = static_cast<double>(size_of(c_.dtype));
    const double a_bytes = m * k * element, b_bytes = n * k * static_cast<double>(c_.taps * size_of(c_.held_in()));
    if (outer != 1 || !panels_.is_static() || c_.inner) return b_bytes > a_bytes || a_bytes < static_cast<double>(emit_.target().l2_bytes) / 2;
    const double multiply = m * n * k * static_cast<double>(c_.taps) / (2.0 * lanes_);
    const auto blocks = static_cast<double>(blocks_.typical()), panels = static_cast<double>(panels_.size()),
               vectors = static_cast<double>(tile_.vectors);
    const double all = vectors * (panels - 1) + static_cast<double>(last_vectors(columns_, tile_.vectors, lanes_));
    const double half = std::min(std::ceil(panels * blocks / 2) / blocks * vectors, all) / all;
    const double columns = multiply * half + (b_bytes / 2 + a_bytes / 2 * foreign) / far_bytes;
    const bool by_channels = program_.made_by_channels(c_.a);
    const double rows = multiply * std::ceil(blocks / 2) / blocks + (b_bytes + (by_channels ? a_bytes / 4 * foreign : 0)) / far_bytes;
    return columns < rows;
  }

  void prepare_operands() {
    rows_.emplace(emit_, c_);
    a_ = c_.inner ? emit_.temporary(c_.inner->a, false) : emit_.buffer_of(c_.a);
    if (c_.inner) b_ = emit_.prepared_buffer(c_.inner->b(width_, rest_), c_.dtype, behind_panels() + c_.groups * rest_ * long_k(), false);
    else if (c_.gate) b_ = emit_.temporary(gated_b(), false);
    else if (c_.packed) b_ = pack_b(emit_, c_, {width_, group_, Dim::ceil_div(c_.k, group_).size()}, rest_);
    else b_ = emit_.buffer_of(c_.b);
  }

  /// A packed B for each image, times the gate: a small kernel before this one.
  Value gated_b() {
    const TensorType& gate = graph_.type(*c_.gate);
    const Expr image = c_.batch[0], panel = var("panel", panels_), k = var("k", c_.k);
    const Dim images = extent_end(image);
    const int64_t elements = panels_.size() * c_.k.size() * width_;
    const Value product = program_.add_temporary({c_.dtype, {images * elements}, {}});
    Emitter emit(program_, region_);
    emit.kernel().name += "_gate";
    const uint32_t b = pack_b(emit, c_, {width_, group_, c_.k.size()}), factors = emit.buffer_of(*c_.gate), to = emit.temporary(product, true);
    std::vector<Expr> at(static_cast<size_t>(gate.rank()), Expr(0));
    at[0] = gate.shape[0] == 1 ? Expr(0) : image;
    at[1] = k;
    const Expr factor = make_broadcast(make_load(factors, {c_.dtype, 1}, {flat_index(gate, at)}), lanes_), row = panel * Expr(c_.k) + k;
    std::vector<Stmt> body;
    for (int64_t j = 0; j < tile_.vectors; ++j) {
      const Expr from = simplify(row * Expr(width_) + Expr(j * lanes_));
      const Expr x = convert(c_.dtype, make_load(b, {c_.held_in(), lanes_}, {make_ramp(from, Expr(1), lanes_)}));
      body.push_back(Stmt::store(to, make_ramp(simplify(image * Expr(elements) + from), Expr(1), lanes_), x * factor));
    }
    body = one(Stmt::loop(k, Expr(0), Expr(c_.k), Expr(1), std::move(body)));
    const Expr task = make_index("task", images * panels_);
    body = with_let(panel, simplify(floormod(task, panels_)), std::move(body));
    body = with_let(image, simplify(floordiv(task, panels_)), std::move(body));
    emit.finish(task, images * panels_, std::move(body));
    return product;
  }

  void prepare_epilogue() {
    if (!c_.inner) {
      stored_ = make_epilogue(emit_, region_, c_.result, c_.dtype, c_.bias, c_.bias_index);
      return;
    }
    stored_.sum = stored_.value = make_var("accumulator", 0, 1, c_.sums());
    stored_.index = c_.inner->at;
    stored_.buffer = emit_.temporary(c_.inner->result, true);
    emit_.kernel().name = c_.inner->name;
  }

  /// Element of B for step `k` (in units of group_ where B is packed) and the first column of a vector.
  Expr b_offset(const Expr& k, int64_t vector) const {
    const Expr column(vector * lanes_);
    if (!c_.packed) return simplify(c_.b_base + k * Expr(c_.b_row) + panel_ * Expr(width_) + column);
    return simplify((packed_row(tap_, k) * Expr(width_) + column) * Expr(group_));
  }
  /// Number of the packed row (width_ * group_ elements) of a tap and a step of k.
  Expr packed_row(const Expr& tap, const Expr& k) const {
    return ((c_.group * Expr(panels_) + panel_) * Expr(c_.taps) + tap) * Expr(Dim::ceil_div(c_.k, group_)) + k;
  }

  bool ragged() const { return !all_columns_ && columns_ % width_ != 0; }
  /// Lanes of vector `j` of the panel that are columns of the result; empty where all of them are.
  Expr column_mask(int64_t j) const {
    if (!ragged() || (columns_.is_static() && (j + 1 < vectors_ || columns_ % lanes_ == 0))) return {};
    return tail_mask(simplify(panel_ * Expr(width_) + Expr(j * lanes_)), Expr(columns_), lanes_);
  }

  // ---- statements ----
  /// What is asked for of a packed B while a tile is multiplied. Weights come from far: the first tile that meets a chunk of them would wait
  /// for every line, since no prefetcher of the hardware follows a stream that the other tiles do not touch. So each tile of a block asks
  /// for its share of the chunk behind, which by then is in the second cache.
  struct Ahead {
    Expr first;         ///< element that the tile's first step asks for
    int64_t lines = 0;  ///< a turn of the loop over k; 0: nothing is asked for
    int64_t step = 0;   ///< elements that a step goes on
  };
  bool two_at_a_time() const { return !c_.k.is_static() || c_.k / group_ > 2; }
  DType b_type() const { return c_.packed && !c_.gate && !c_.inner ? c_.held_in() : c_.dtype; }
  int64_t line() const { return cache_line / size_of(b_type()); }

  /// Tiles that share the asking.
  int64_t tiles_ahead() const { return c_.packed ? tiles_.typical() / std::max<int64_t>(1, blocks_.typical()) : 0; }
  /// `tile`: number within the block.
  Ahead ahead_of(const Expr& tile, const Expr& tap_high, const Expr& k_high) const {
    const int64_t tiles = tiles_ahead();
    if (tiles < 2 || !asks_ahead_) return {};
    const int64_t turn = two_at_a_time() ? 2 : 1, turns = std::max<int64_t>(1, chunk_taps_ * (chunk_k_.size() / group_) / turn);
    const int64_t lines = ceil_div(chunk_taps_ * ceil_div(chunk_k_.size(), group_) * width_ * group_, line());
    Ahead a;
    a.lines = std::clamp<int64_t>(ceil_div(lines, turns * tiles), 1, most_lines);
    a.step = a.lines * line() / turn;
    const int64_t share = a.lines * turns;
    const Expr next = packed_row(tap_high - Expr(1), simplify(floordiv(k_high + Expr(group_ - 1), group_)));
    a.first = simplify(next * Expr(width_ * group_) + min(tile, Expr(ceil_div(lines, share) - 1)) * Expr(share * line()));
    return a;
  }

  /// acc += A * B over one chunk of taps and k. `tile`: of its block.
  std::vector<Stmt> accumulate(const Accumulators& acc, const Expr& m0, const Expr& tile, const Expr& tap_low, const Expr& tap_high,
                               const Expr& k_low, const Expr& k_high) {
    std::vector<Stmt> out = acc.clear();
    Ahead ahead = ahead_of(tile, tap_high, k_high);
    const Expr first = make_index("ahead", int64_t{1} << 40), asked = ahead.first;
    const Expr taps_done = c_.taps > 1 ? (tap_ - tap_low) * Expr(Dim::ceil_div(c_.k, group_)) : Expr(0);
    if (ahead.lines) ahead.first = simplify(first + (taps_done - floordiv(k_low, group_)) * Expr(ahead.step));
    std::vector<Stmt> inner = at_rows(m0, acc.rows, tap_low, tap_high,
                                      [&](const std::vector<Expr>& offsets) { return multiply_loops(acc, offsets, k_low, k_high, ahead); });
    if (asked) inner = with_let(first, asked, std::move(inner));
    append(out, std::move(inner));
    return out;
  }

  /// `make(where each of the rows from m0 on begins)` for the taps of [tap_low, tap_high).
  template <class Make> std::vector<Stmt> at_rows(const Expr& m0, int64_t rows, const Expr& tap_low, const Expr& tap_high, Make&& make) {
    std::vector<Expr> offsets;
    for (int64_t i = 0; i < rows; ++i) offsets.push_back(make_var(fmt::format("row{}", i), 0, int64_t{1} << 40));
    std::vector<Stmt> inner = make(offsets);
    std::vector<std::pair<Expr, Expr>> hoisted;  // what does not depend on the tap
    for (int64_t i = rows; i-- > 0;) {
      const Expr m = simplify(m0 + Expr(i));
      std::vector<Expr> places;
      for (const Expr& place : rows_->places(m)) {
        hoisted.emplace_back(make_var("place", 0, int64_t{1} << 40), place);
        places.push_back(hoisted.back().first);
      }
      inner = with_let(offsets[i], rows_->at(m, places, tap_), std::move(inner));
    }
    if (c_.taps > 1) inner = one(Stmt::loop(tap_, tap_low, tap_high, Expr(1), std::move(inner)));
    for (auto& [place, value] : hoisted) inner = with_let(place, value, std::move(inner));
    return inner;
  }

  /// Steps of k, two at a time, and one alone where their number is odd.
  std::vector<Stmt> multiply_loops(const Accumulators& acc, const std::vector<Expr>& offsets, const Expr& k_low, const Expr& k_high,
                                   const Ahead& ahead) {
    std::vector<Stmt> out;
    const Dim steps = c_.k / group_;
    const Expr low = simplify(floordiv(k_low, group_)), high = simplify(floordiv(k_high, group_)), k = make_index("k", c_.k);
    const bool twice = two_at_a_time(), even = twice && c_.k.is_static() && (chunk_k_ / group_) % 2 == 0 && steps % 2 == 0;
    std::vector<Stmt> body;
    for (int64_t i = 0; i < ahead.lines; ++i) body.push_back(Stmt::prefetch(b_, simplify(ahead.first + k * Expr(ahead.step) + Expr(i * line()))));
    append(body, multiply_step(acc, offsets, k));
    if (twice) {
      for (Stmt& s : multiply_step(acc, offsets, k + Expr(1))) body.push_back(std::move(s));
    }
    if (twice && !even) {
      const Expr last = make_index("k", c_.k), odd = simplify(low + floordiv(high - low, 2) * Expr(2));
      out.push_back(Stmt::loop(k, low, odd, Expr(2), std::move(body)));
      out.push_back(Stmt::loop(last, odd, high, Expr(1), multiply_step(acc, offsets, last)));
    } else if (steps != 0) {
      out.push_back(Stmt::loop(k, low, high, Expr(even ? 2 : 1), std::move(body)));
    }
    if (group_ == 1 || (c_.k.is_static() && c_.k % group_ == 0)) return out;
    const Expr rest = make_index("k", c_.k);
    out.push_back(Stmt::loop(rest, high, simplify(floordiv(k_high + Expr(group_ - 1), group_)), Expr(1), multiply_step(acc, offsets, rest, true)));
    return out;
  }

  Expr in_sums(const Expr& x) const { return convert(c_.sums(), x); }

  /// What a step multiplies: a vector of B (all of its pairs for dot2), and what of A goes to every lane. `alone`: of a pair only the first
  /// is there.
  Expr column_of(const Expr& k, int64_t j, const Expr& mask, bool alone) const {
    const auto row = [&](const Expr& at) { return make_load(b_, {b_type(), lanes_}, {make_ramp(b_offset(at, j), Expr(1), lanes_)}, mask); };
    if (widened_) return make_load(widened_, {c_.dtype, lanes_}, {widened_at(tap_, k, j)});
    if (group_ == 1) return in_sums(row(k));
    if (c_.packed) return make_load(b_, {c_.dtype, 2 * lanes_}, {make_ramp(b_offset(k, j), Expr(1), 2 * lanes_)});
    const Expr first = simplify(k * Expr(2));
    return bitcast(c_.dtype, pair_bits(row(first), alone ? Expr() : row(first + Expr(1))));
  }
  Expr spread_of(const Expr& row, const Expr& k, bool alone) const {
    if (group_ == 1) return make_broadcast(in_sums(make_load(a_, {c_.dtype, 1}, {row + k})), lanes_);
    const Expr first = row + k * Expr(2);
    const Expr pair = alone ? pair_bits(make_load(a_, {c_.dtype, 1}, {first}), {})
                            : bitcast(DType::i32, make_load(a_, {c_.dtype, 2}, {make_ramp(first, Expr(1), 2)}));
    return bitcast(c_.dtype, make_broadcast(pair, lanes_));
  }

  std::vector<Stmt> multiply_step(const Accumulators& acc, const std::vector<Expr>& offsets, const Expr& k, bool alone = false) {
    const bool masked_b = !c_.packed && ragged();
    std::vector<Expr> columns;
    for (int64_t j = 0; j < acc.vectors; ++j) columns.push_back(column_of(k, j, masked_b ? column_mask(j) : Expr(), alone));
    return acc.update([&](int64_t i, int64_t j, const Expr& sum) {
      const Expr a = spread_of(offsets[i], k, alone);
      return group_ == 1 ? fma(a, columns[j], sum) : make_dot(ExprOp::dot2, a, columns[j], sum);
    });
  }

  /// Stores the epilogue of a tile whose sums `sum(i, j)` gives.
  template <class Sum> std::vector<Stmt> epilogue(const Expr& m0, int64_t rows, Sum&& sum) {
    std::vector<Stmt> out;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < vectors_; ++j)
        out.push_back(store(simplify(m0 + Expr(i)), simplify(panel_ * Expr(width_) + Expr(j * lanes_)), sum(i, j), column_mask(j)));
    }
    return out;
  }
  /// The epilogue of a vector of sums of row `m` from `column` on.
  Stmt store(const Expr& m, const Expr& column, const Expr& sums, const Expr& mask) const {
    const std::vector<VarBinding> at{{c_.m_var, m}};
    const Expr value = substitute(simplify(substitute(stored_.value, at)), {{stored_.sum, sums}}), index = simplify(substitute(stored_.index, at));
    return vector_store(stored_.buffer, index, vectorize(value, c_.n_var, column, lanes_, mask), c_.n_var, column, lanes_, mask);
  }

  // ---- a packed B that is held narrow ----
  /// Where more than one tile multiplies a chunk of it, the chunk is widened once, into the first cache.
  bool widens() const { return b_type() != c_.dtype && (!tiles_.is_static() || tiles_per_block() > 1); }
  Expr widened_at(const Expr& tap, const Expr& k, int64_t vector) const {
    const Expr row = (tap - chunk_tap_) * Expr(chunk_k_) + k - chunk_low_;
    return simplify(row * Expr(tile_.vectors) + Expr(vector));
  }
  /// From here on steps read the chunk's widened copy, which these statements make.
  std::vector<Stmt> widen(const Expr& tap_low, const Expr& tap_high, const Expr& k_low, const Expr& k_high) {
    if (!widens()) return {};
    if (!widened_) widened_ = emit_.local("widened", {c_.dtype, lanes_}, chunk_taps_ * chunk_k_.size() * tile_.vectors, Memory::stack);
    chunk_tap_ = tap_low;
    chunk_low_ = k_low;
    const Expr tap = make_index("tap", c_.taps), k = make_index("k", c_.k);
    std::vector<Stmt> body;
    for (int64_t j = 0; j < vectors_; ++j) {
      const Expr from = simplify(packed_row(tap, k) * Expr(width_) + Expr(j * lanes_));
      const Expr x = in_sums(make_load(b_, {b_type(), lanes_}, {make_ramp(from, Expr(1), lanes_)}));
      body.push_back(Stmt::store(widened_, widened_at(tap, k, j), x));
    }
    body = one(Stmt::loop(k, k_low, k_high, Expr(1), std::move(body)));
    return one(Stmt::loop(tap, tap_low, tap_high, Expr(1), std::move(body)));
  }

  // ---- the columns that are multiplied along k ----
  /// Elements of k that a vector takes, and of a column in memory.
  int64_t step_k() const { return lanes_ * group_; }
  int64_t long_k() const { return rest_ ? ceil_div(c_.k, step_k()) * step_k() : 0; }
  /// Elements of a packed B before those columns.
  int64_t behind_panels() const { return c_.groups * panels_.size() * c_.taps * Dim::ceil_div(c_.k, group_).size() * width_ * group_; }

  /// Reads these columns of a B that is computed.
  std::vector<Stmt> gather_rest() {
    if (c_.packed) return {};
    gathered_ = emit_.local("columns", {c_.dtype, 1}, rest_ * long_k(), Memory::stack);
    const Expr k = make_index("k", c_.k);
    std::vector<Stmt> body;
    for (int64_t c = 0; c < rest_; ++c) {
      const Expr from = simplify(c_.b_base + k * Expr(c_.b_row) + Expr(columns_) + Expr(c));
      body.push_back(Stmt::store(gathered_, Expr(c * long_k()) + k, make_load(b_, {c_.dtype, 1}, {from})));
    }
    return one(Stmt::loop(k, Expr(0), Expr(c_.k), Expr(1), std::move(body)));
  }

  Expr rest_vector(const Expr& k, int64_t c, const Expr& mask) const {
    const ExprType type{b_type(), static_cast<int32_t>(step_k())};
    if (!c_.packed) return make_load(gathered_, type, {make_ramp(simplify(Expr(c * long_k()) + k), Expr(1), type.lanes)}, mask);
    const Expr column = (c_.group ? c_.group : Expr(0)) * Expr(rest_) + Expr(c);
    const Expr at = Expr(behind_panels()) + (column * Expr(c_.taps) + tap_) * Expr(long_k()) + k;
    return make_load(b_, type, {make_ramp(simplify(at), Expr(1), type.lanes)}, mask);
  }

  /// A vector of steps of k for some rows and all of these columns.
  std::vector<Stmt> rest_step(uint32_t acc, const std::vector<Expr>& offsets, const Expr& k, const Expr& mask) {
    const ExprType type{c_.dtype, static_cast<int32_t>(step_k())};
    const auto whole = [&](const Expr& x) { return group_ == 1 ? in_sums(x) : x; };
    std::vector<Expr> columns;
    for (int64_t c = 0; c < rest_; ++c) columns.push_back(whole(rest_vector(k, c, mask)));
    std::vector<Stmt> out;
    for (size_t i = 0; i < offsets.size(); ++i) {
      const Expr a = whole(make_load(a_, type, {make_ramp(simplify(offsets[i] + k), Expr(1), type.lanes)}, mask));
      for (int64_t c = 0; c < rest_; ++c) {
        const Expr at(static_cast<int64_t>(i) * rest_ + c), sum = make_load(acc, {c_.sums(), lanes_}, {at});
        out.push_back(Stmt::store(acc, at, group_ == 1 ? fma(a, columns[c], sum) : make_dot(ExprOp::dot2, a, columns[c], sum)));
      }
    }
    return out;
  }

  /// Sums and epilogue for `rows` rows from m0 on.
  std::vector<Stmt> rest_of_rows(const Expr& m0, int64_t rows) {
    const ExprType vector{c_.sums(), lanes_};
    const uint32_t acc = emit_.local("along", vector, rows * rest_, Memory::registers), total = emit_.local("total", vector, rows, Memory::registers);
    std::vector<Stmt> out;
    for (int64_t i = 0; i < rows * rest_; ++i) out.push_back(Stmt::store(acc, Expr(i), make_broadcast(imm(c_.sums(), 0), lanes_)));
    append(out, at_rows(m0, rows, Expr(0), Expr(c_.taps), [&](const std::vector<Expr>& offsets) {
             const int64_t whole = c_.k.size() / step_k() * step_k();
             const Expr k = make_index("k", c_.k);
             std::vector<Stmt> body;
             if (whole) body = one(Stmt::loop(k, Expr(0), Expr(whole), Expr(step_k()), rest_step(acc, offsets, k, {})));
             if (whole < c_.k.size())
               append(body, rest_step(acc, offsets, Expr(whole), tail_mask(Expr(whole), Expr(c_.k), static_cast<int32_t>(step_k()))));
             return body;
           }));
    for (int64_t i = 0; i < rows; ++i) {
      Expr sums;
      for (int64_t c = 0; c < rest_; ++c) {
        const Expr sum = make_broadcast(make_horizontal(ReduceOp::sum, make_load(acc, vector, {Expr(i * rest_ + c)})), lanes_);
        sums = sums ? select(equal(make_ramp(Expr(0), Expr(1), lanes_), make_broadcast(Expr(c), lanes_)), sum, sums) : sum;
      }
      out.push_back(Stmt::store(total, Expr(i), sums));
    }
    const Expr mask = tail_mask(Expr(columns_), Expr(c_.n), lanes_);
    for (int64_t i = 0; i < rows; ++i) out.push_back(store(simplify(m0 + Expr(i)), Expr(columns_), make_load(total, vector, {Expr(i)}), mask));
    return out;
  }

  /// As many rows at a time as have their sums in registers.
  std::vector<Stmt> along_k(const Expr& low, const Expr& high) {
    std::vector<Stmt> out = gather_rest();
    const int64_t most = std::max<int64_t>(1, (emit_.target().vector_registers - 4 - rest_) / rest_);
    append(out, over_tiles(low, high, [&](const Expr& m0, int64_t rows, const Expr&) {
             std::vector<Stmt> body;
             for (int64_t i = 0, parts = ceil_div(rows, most); i < parts; ++i) {
               const int64_t first = rows * i / parts, end = rows * (i + 1) / parts;
               append(body, rest_of_rows(simplify(m0 + Expr(first)), end - first));
             }
             return body;
           }));
    if (c_.taps == 1) out = with_let(tap_, Expr(0), std::move(out));
    return panels_ == 1 ? std::move(out) : one(Stmt::branch(equal(panel_, Expr(panels_ - 1)), std::move(out)));
  }

  /// `body(first row, rows, row within the block)` for the tiles [low, high), tall ones first. A row within the block counts tile_.rows
  /// for every tile.
  template <class Body> std::vector<Stmt> over_tiles(const Expr& low, const Expr& high, Body&& body) {
    const int64_t r = tile_.rows;
    std::vector<Stmt> out;
    const auto tiles = [&](const Expr& t, const Expr& from, const Expr& to, const Expr& first, int64_t rows) {
      out.push_back(Stmt::loop(t, from, to, Expr(1), body(simplify(first), rows, simplify((t - low) * Expr(r)))));
    };
    if (tall_ == tiles_) {
      const Expr t = var("tile", tiles_);
      tiles(t, low, high, t * Expr(r), r);
      return out;
    }
    if (tall_.is_static() ? tall_ > 0 : true) {
      const Expr t = tall_.is_static() ? var("tile", tall_) : var("tile", tiles_);
      tiles(t, low, min(high, Expr(tall_)), t * Expr(r), r);
    }
    const Expr t = tall_.is_static() ? make_var("tile", tall_, tiles_) : var("tile", tiles_);
    if (r > 1) tiles(t, max(low, Expr(tall_)), high, t * Expr(r - 1) + Expr(tall_), r - 1);
    if (tall_.is_static() || tall_.low() >= 0) return out;
    // Too few rows to make tiles of r and r - 1 of them: whole tiles, then what is left in powers of two.
    std::vector<Stmt> balanced = std::move(out);
    out.clear();
    const Dim whole = c_.m / r, rest = c_.m % r;
    const Expr w = var("tile", tiles_);
    tiles(w, low, min(high, Expr(whole)), w * Expr(r), r);
    for (int64_t piece = int64_t{1} << 30; piece > 0; piece /= 2) {
      if (piece >= r) continue;
      // Rows of the rest that larger pieces have taken.
      const Expr taken = simplify(floordiv(rest, 2 * piece) * Expr(2 * piece));
      std::vector<Stmt> one_piece = body(simplify(Expr(whole) * Expr(r) + taken), piece, simplify((Expr(whole) - low) * Expr(r) + taken));
      out.push_back(Stmt::branch(Expr(whole) < high && simplify(taken + Expr(piece)) <= Expr(rest), std::move(one_piece)));
    }
    std::vector<Stmt> choice;
    choice.push_back(Stmt::branch(Expr(tall_) >= Expr(0), std::move(balanced), std::move(out)));
    return choice;
  }

  /// The number of a tile in its block, from its row there.
  Expr tile_of(const Expr& row) const { return simplify(floordiv(row, tile_.rows)); }

  std::vector<Stmt> one_chain(const Expr& low, const Expr& high) {
    std::vector<Stmt> out = widen(Expr(0), Expr(c_.taps), Expr(0), Expr(c_.k));
    append(out, over_tiles(low, high, [&](const Expr& m0, int64_t rows, const Expr& row) {
             const Accumulators acc = Accumulators::make(emit_, rows, vectors_, {c_.sums(), lanes_});
             std::vector<Stmt> body = accumulate(acc, m0, tile_of(row), Expr(0), Expr(c_.taps), Expr(0), Expr(c_.k));
             for (Stmt& s : epilogue(m0, rows, [&](int64_t i, int64_t j) { return acc.load(i, j); })) body.push_back(std::move(s));
             return body;
           }));
    return out;
  }

  /// Chains of at most max_chain steps are added up in a partial-sum buffer of the task; the last one goes on to the epilogue.
  std::vector<Stmt> many_chains(const Expr& low, const Expr& high) {
    const int64_t tile_vectors = tile_.rows * vectors_;
    if (!partial_) partial_ = emit_.local("partial", {c_.sums(), lanes_}, tiles_per_block() * tile_vectors, Memory::stack);
    const auto slot = [&](const Expr& row, int64_t i, int64_t j) { return simplify(row * Expr(vectors_) + Expr(i * vectors_ + j)); };
    const auto load = [&](const Expr& at) { return make_load(partial_, {c_.sums(), lanes_}, {at}); };
    const Expr tc = var("tap_chunk", tap_chunks_), kc = var("k_chunk", k_chunks_);
    const Expr tap_low = simplify(tc * Expr(chunk_taps_)), k_low = simplify(kc * Expr(chunk_k_));
    const Expr tap_high =
        tap_chunks_ * chunk_taps_ == c_.taps ? simplify(tap_low + Expr(chunk_taps_)) : min(tap_low + Expr(chunk_taps_), Expr(c_.taps));
    const Expr k_high = k_chunks_ == 1                 ? Expr(c_.k)
                        : k_chunks_ * chunk_k_ == c_.k ? simplify(k_low + Expr(chunk_k_))
                                                       : min(k_low + Expr(chunk_k_), Expr(c_.k));
    const Expr more = Expr(0) < simplify(tc + kc), last = equal(tc, Expr(tap_chunks_ - 1)) && equal(kc, Expr(k_chunks_ - 1));
    std::vector<Stmt> chains = widen(tap_low, tap_high, k_low, k_high);
    append(chains, over_tiles(low, high, [&](const Expr& m0, int64_t rows, const Expr& row) {
             const Accumulators acc = Accumulators::make(emit_, rows, vectors_, {c_.sums(), lanes_});
             std::vector<Stmt> body = accumulate(acc, m0, tile_of(row), tap_low, tap_high, k_low, k_high), kept;
             body.push_back(Stmt::branch(more, acc.update([&](int64_t i, int64_t j, const Expr& sum) { return load(slot(row, i, j)) + sum; })));
             for (int64_t i = 0; i < rows; ++i) {
               for (int64_t j = 0; j < vectors_; ++j) kept.push_back(Stmt::store(partial_, slot(row, i, j), acc.load(i, j)));
             }
             body.push_back(Stmt::branch(last, epilogue(m0, rows, [&](int64_t i, int64_t j) { return acc.load(i, j); }), std::move(kept)));
             return body;
           }));
    if (c_.taps == 1) chains = with_let(tap_, Expr(0), std::move(chains));
    return loop(tc, tap_chunks_, loop(kc, k_chunks_, std::move(chains)));
  }

  static std::vector<Stmt> loop(const Expr& v, const Dim& extent, std::vector<Stmt> body) {
    if (extent == 1) return with_let(v, Expr(0), std::move(body));
    return one(Stmt::loop(v, Expr(0), Expr(extent), Expr(1), std::move(body)));
  }

  /// `high`, or the number of tiles that have wanted rows where that is less.
  Expr wanted_tiles(const Expr& high) {
    if (!c_.inner || !c_.inner->rows) return high;
    const Expr rows = c_.inner->rows(emit_), r(tile_.rows), tall(tall_);
    Expr tiles = simplify(floordiv(rows + r - Expr(1), r));
    if (tall_ != tiles_) {
      const Expr in_tall = tall * r, shorter = r - Expr(1);
      tiles = select(rows <= in_tall, tiles, simplify(tall + floordiv(rows - in_tall + shorter - Expr(1), shorter)));
    }
    return min(high, tiles);
  }

  /// The statements of `make` for full panels, and again for the last one where that is narrower.
  template <class Make> std::vector<Stmt> over_panels(Make&& make) {
    if (!columns_.is_static() || panels_ == 1 || columns_ % width_ == 0) return make();
    all_columns_ = true;
    std::vector<Stmt> full = make();
    all_columns_ = false;
    vectors_ = last_vectors(columns_, tile_.vectors, lanes_);
    return one(Stmt::branch(panel_ < Expr(panels_ - 1), std::move(full), make()));
  }

  void emit() {
    panel_ = var("panel", panels_);
    tap_ = var("tap", c_.taps);
    const Expr block = var("block", blocks_);
    const Expr low = simplify(floordiv(block * Expr(tiles_), blocks_)), high = simplify(floordiv((block + Expr(1)) * Expr(tiles_), blocks_));
    const Expr low_var = make_index("low", tiles_ + 1), high_var = make_index("high", tiles_ + 1);
    std::vector<Stmt> body = over_panels([&] { return single_chain() ? one_chain(low_var, high_var) : many_chains(low_var, high_var); });
    if (c_.taps == 1 && single_chain()) body = with_let(tap_, Expr(0), std::move(body));
    if (rest_) append(body, along_k(low_var, high_var));
    body = with_let(low_var, low, with_let(high_var, wanted_tiles(high), std::move(body)));
    // task = (batch..., panel, block), (batch..., block, panel) or (block, batch..., panel)
    std::vector<Expr> order = c_.batch;
    const bool rows_outer = c_.inner && c_.inner->rows_outer;
    order.insert(rows_outer ? order.begin() : order.end(), block);
    order.insert(!rows_outer && panel_outer_ ? order.end() - 1 : order.end(), panel_);
    emit_.kernel().flops = flops_of(c_);
    if (panel_outer_ && !c_.inner) program_.by_channels.insert(program_.storage_of(region_.output).root.id);
    emit_.finish_over(order, std::move(body));
  }
};

}  // namespace

Epilogue make_epilogue(Emitter& emit, const Region& region, const std::vector<Expr>& anchor, DType dtype, const OptValue& bias,
                       const Expr& bias_index) {
  const Graph& graph = emit.graph();
  const std::optional<std::vector<Expr>> where = store_indices(graph, region, anchor);
  MICA_CHECK(where.has_value());
  const uint32_t id = region.anchor_value.id;
  Epilogue out;
  out.sum = make_var("sum", 0, 1, working(dtype));
  Expr value =
      region.output == region.anchor_value ? make_load(id, {dtype, 1}, anchor) : Inliner(graph, region.inlined).expand(region.output, *where);
  Expr sum = out.sum;
  if (bias) sum = sum + convert(working(dtype), make_load((*bias).id, {graph.type(*bias).dtype, 1}, {bias_index}));
  sum = convert(dtype, sum);
  value = rewrite(value, [&](const Expr& n) -> Expr { return n->op == ExprOp::load && n->id == id ? sum : Expr(); });
  out.buffer = emit.output(region.output);
  out.value = emit.flatten(simplify(value));
  out.index = flat_index(graph.type(region.output), *where);
  return out;
}

int64_t panel_width(const Contraction& c, const Target& target) {
  const int32_t lanes = target.lanes(size_of(c.sums()));
  return rank_tiles(c, target, lanes).front().vectors * lanes;
}

void emit_contraction(PendingProgram& program, const Region& region, Contraction contraction) {
  ContractionLowering(program, region, std::move(contraction)).run();
}

bool lower_contraction(PendingProgram& program, const Region& region) {
  auto c = region.anchor ? describe(*program.graph, *region.anchor) : std::nullopt;
  if (!c) return false;
  MICA_CHECK(!c->padded || program.can_have_tail(c->a), "a padded operand lives in the arena");
  c->held = narrow_weights(program, *c);
  if (!lower_winograd(program, region, *c) && !lower_matrix_tiles(program, region, *c)) emit_contraction(program, region, std::move(*c));
  return true;
}

}  // namespace mica::lower
