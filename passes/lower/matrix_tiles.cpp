// The schedule of contractions (contraction.h) for targets with matrix registers: blocks of accumulators stay in them while k goes by, then pass
// through a small buffer to the epilogue, which reads them as vectors.
//
// A tile is loaded from rows at one distance. Where A is like that (linear layers, matrix products, 1x1 convolutions) its tiles come straight from
// memory, and the last block of rows moves up to end at the last row, so that nothing behind it is read; only its new rows are stored.
// A convolution over a plane copies the band of the input that a task needs, with the padding around it, and multiplies as if its outputs were as
// many in a row as the band is wide: then rows of A are at one distance for every tap. What lies between two rows of outputs is not stored. With a
// stride, the band is cut into pieces of the positions that are so far from each other, one for each place of a tap: in a piece neighbours are
// neighbours. Where the panels go in groups, each task would copy the band again: a step in front copies all of the plane once. Else the rows of a
// block are gathered first, all taps side by side and zeros behind them, once for all the panels of a task. So k has no tail there. B is packed in
// pairs of k, tile by tile, at compile time or, where it is computed, by the task.
//
// Where a thread goes through B once, it waits for it: multiplying takes less time than reading. So each block of rows asks for its share of the
// panel behind, in several places of it in turn: the hardware follows streams, one a page, and a single one does not ask for as much as memory can
// give.
#include <algorithm>
#include <tuple>

#include "contraction_operands.h"

namespace mica::lower {

namespace {

constexpr int64_t least_products = 1 << 13;    ///< of a batch entry; below, giving the registers their shapes costs as much
constexpr int64_t gathered_bytes = 224 << 10;  ///< stack for the rows of a block
constexpr int64_t packed_bytes = 128 << 10;    ///< stack for a panel of B that is computed
constexpr int64_t wanted_tasks = 64;
constexpr int64_t ahead_streams = 4;  ///< places of the next panel that a step asks for lines from
constexpr int64_t most_ahead = 4;     ///< lines of each; a step reads 64 itself
constexpr int64_t cache_line = 64;
constexpr double step_cycles = 2000;  ///< that one more step takes: threads wait for each other
constexpr int64_t least_step = 16;    ///< elements of k in a tile; with fewer, gathering A to fill them is faster

/// What the registers hold: `row_tiles` x `vectors` accumulators, of `rows` rows in all.
struct Block {
  int64_t rows = 1, row_tiles = 1, vectors = 1;
};

Block choose_block(const Dim& rows, int64_t n, const MatrixTiles& tiles) {
  const int64_t most_rows = 2 * tiles.rows, columns = tiles.row_bytes / 4, m = rows.is_static() ? rows.size() : rows.high();
  Block b;
  b.rows = m <= most_rows ? m : rows.is_static() ? ceil_div(m, ceil_div(m, most_rows)) : most_rows;
  b.row_tiles = ceil_div(b.rows, tiles.rows);
  b.vectors = std::min<int64_t>(b.row_tiles == 1 ? 4 : 2, ceil_div(n, columns));
  return b;
}

class MatrixTileLowering {
 public:
  MatrixTileLowering(PendingProgram& program, const Region& region, Contraction c)
      : program_(program), region_(region), target_(*program.target), c_(std::move(c)), flat_(c_), emit_(program, region) {}

  /// False when it does not fit; then nothing was made.
  bool run() {
    lanes_ = target_.tiles.row_bytes / 4;
    block_ = choose_block(c_.m, c_.n.size(), target_.tiles);
    if (choose_bands()) {
      if (!program_.choose("matrix registers", true)) return false;
      prepare();
      emit_bands();
      return true;
    }
    if (!choose_depth()) return false;
    width_ = block_.vectors * lanes_;
    panels_ = ceil_div(c_.n.size(), width_);
    blocks_ = Dim::ceil_div(c_.m, block_.rows);
    if (!c_.packed && steps_ * depth_ * width_ * 2 > packed_bytes) return false;
    choose_tasks();
    if (!program_.choose("matrix registers", true)) return false;
    prepare();
    emit();
    return true;
  }

 private:
  PendingProgram& program_;
  const Region& region_;
  const Target& target_;
  Contraction c_;
  Contraction flat_;  ///< as it is packed and multiplied: where A is gathered, its taps are part of k
  Emitter emit_;
  int32_t lanes_ = 16;
  Block block_;
  bool gather_ = false;
  /// Rows of outputs that a task multiplies, in `bands_` of all; the band's rows of A, and how many outputs wide it is.
  int64_t band_ = 0, bands_ = 0, band_rows_ = 0, band_width_ = 0;
  Value shared_;                    ///< the copy of the whole plane, where tasks share one
  int64_t copied_ = 0;              ///< rows of outputs that a copy is for
  int64_t depth_ = 32, steps_ = 1;  ///< elements of k in a tile, and tiles along k
  int64_t pitch_ = 0;               ///< elements from one gathered row to the next
  int64_t width_ = 32, panels_ = 1;
  int64_t group_ = 1, groups_ = 1;  ///< panels of a task
  Dim blocks_ = 1, shares_ = 1;     ///< blocks of rows, and in how many shares tasks take them
  bool panels_outer_ = true;
  std::optional<RowOffsets> rows_;
  uint32_t a_ = 0, b_ = 0, sums_ = 0, gathered_ = 0;
  Expr panel_;
  Expr top_, new_row_;  ///< of a band: its first row of outputs, and the first that the band before it does not store
  Epilogue stored_;
  bool asks_ahead_ = false, asks_for_result_ = false;
  int64_t blocks_ahead_ = 1;  ///< that share the asking
  Expr block_at_;             ///< the block of rows at hand
  Expr asked_;                ///< element of the next panel that the first step of the block at hand asks for

  // ---- decisions ----
  /// Elements of k in a tile that divide k.
  int64_t whole_depth() const {
    int64_t depth = target_.tiles.row_bytes / 2;
    while (depth > 2 && c_.k.size() % depth != 0) depth -= 2;
    return depth;
  }

  /// A band of the plane for each task, and the panels that it is multiplied by.
  struct Bands {
    int64_t rows = 0, count = 0;  ///< of outputs, in so many bands
    int64_t outputs = 0;          ///< from its first to its last
    Block block;
    int64_t panels = 1, groups = 1;
    bool shared = false;  ///< one copy for all groups
    double time = 0;      ///< in cycles, of the thread with most to do: the sum over some numbers of threads
  };
  int64_t band_row() const { return band_width_ * c_.plane->channels; }  ///< elements
  int64_t entries() const {
    int64_t all = 1;
    for (const Expr& v : c_.batch) all *= extent_end(v).size();
    return all;
  }
  int64_t piece_rows(int64_t rows) const { return ceil_div(c_.plane->rows_of(rows), c_.plane->stride_rows); }
  int64_t band_bytes(int64_t rows) const { return piece_rows(rows) * c_.plane->stride_rows * c_.plane->stride_columns * band_row() * 2; }

  /// All that are worth a thought, the one that should take the least time first. Empty where it is no plane, or its taps do not make up for the
  /// copy.
  std::vector<Bands> rank_bands() const {
    std::vector<Bands> ranked;
    if (!c_.plane || !c_.packed || c_.taps == 1 || c_.k.size() % depth_ != 0 || depth_ < std::min<int64_t>(least_step, c_.k.size())) return ranked;
    const Plane& p = *c_.plane;
    int64_t images = 1;
    for (const Expr& v : c_.batch) images *= std::max<int64_t>(1, extent_end(v).typical());
    for (int64_t count = 1; count <= p.out_rows; ++count) {
      Bands b;
      b.rows = ceil_div(p.out_rows, count), b.count = count, b.outputs = (b.rows - 1) * band_width_ + p.out_columns;
      if (ceil_div(p.out_rows, b.rows) != count || band_bytes(b.rows) > gathered_bytes) continue;
      b.block = choose_block(b.outputs, c_.n.size(), target_.tiles);
      b.panels = ceil_div(c_.n.size(), b.block.vectors * lanes_);
      const auto copy = static_cast<double>(band_bytes(b.rows)) / 16, steps = static_cast<double>(c_.taps * (c_.k.size() / depth_));
      const auto first_read = static_cast<double>(c_.taps * c_.k.size() * b.block.vectors * target_.tiles.row_bytes / 2) / 16;
      const auto of_block = static_cast<double>(b.block.row_tiles * b.block.vectors) * (steps * 16 + 60);
      const double of_panel = first_read + static_cast<double>(ceil_div(b.outputs, b.block.rows)) * of_block;
      const bool can_share = images * band_bytes(p.out_rows) <= target_.l2_bytes / 2;
      std::tie(b.groups, b.time) = least_over_threads(1, b.panels, 1, [&](int64_t groups, int64_t threads) {
        const double multiplying = static_cast<double>(ceil_div(b.panels, groups)) * of_panel;
        const auto tasks = static_cast<double>(ceil_div(images * count * groups, threads));
        if (!can_share) return (copy + multiplying) * tasks;
        return multiplying * tasks + static_cast<double>(images * band_bytes(p.out_rows)) / static_cast<double>(16 * threads) + step_cycles;
      });
      b.shared = can_share;
      ranked.push_back(b);
    }
    std::ranges::stable_sort(ranked, [](const Bands& x, const Bands& y) { return x.time < y.time; });
    ranked.resize(std::min<size_t>(ranked.size(), 4));
    return ranked;
  }

  bool choose_bands() {
    depth_ = whole_depth();
    if (c_.plane) band_width_ = ceil_div(c_.plane->columns_of(c_.plane->out_columns), c_.plane->stride_columns);
    const std::vector<Bands> ranked = rank_bands();
    if (ranked.empty() || !program_.choose("copies a band", true)) return false;
    const Bands b = program_.choose("bands", ranked, [](const Bands& x) { return fmt::format("{} rows", x.rows); });
    const auto at_most = [&](int64_t n) { return std::clamp<int64_t>(n, 1, b.panels); };
    groups_ = program_.choose("groups of panels", {b.groups, at_most(b.groups * 2), at_most(b.groups / 2)});
    band_ = b.rows, bands_ = b.count, band_rows_ = b.outputs, block_ = b.block, panels_ = b.panels;
    steps_ = c_.k.size() / depth_;
    width_ = block_.vectors * lanes_;
    group_ = ceil_div(panels_, groups_);
    groups_ = ceil_div(panels_, group_);
    blocks_ = ceil_div(band_rows_, block_.rows);
    pitch_ = c_.plane->channels;
    copied_ = b.shared ? c_.plane->out_rows : band_;
    if (b.shared) shared_ = program_.add_temporary({c_.dtype, {entries() * (band_bytes(copied_) / 2)}, {}});
    panels_outer_ = panels_ * panel_bytes() > c_.m.size() * c_.k.size() * 2;
    if (groups_ > 1 && bands_ > 1) panels_outer_ = program_.choose("panels outside", panels_outer_);
    choose_asking(blocks_.size());
    return true;
  }

  bool choose_depth() {
    const int64_t k = c_.k.size(), most = target_.tiles.row_bytes / 2;
    const bool even_rows = !c_.padded && c_.rows.empty() && c_.row_axes.empty() && c_.spatial.empty() && !(c_.m.low() < block_.rows);
    depth_ = whole_depth();
    gather_ = !even_rows || k % depth_ != 0 || depth_ < std::min(least_step, k);
    if (!gather_) {
      steps_ = k / depth_;
      return true;
    }
    flat_.taps = 1;
    flat_.k = c_.taps * k;
    if (c_.packed) {
      flat_.b_at = [at = c_.b_at, k](int64_t g, int64_t, int64_t kk, int64_t n) { return at(g, kk / k, kk % k, n); };
    }
    const int64_t steps = ceil_div(flat_.k.size(), most);
    depth_ = ceil_div(ceil_div(flat_.k.size(), steps), 2) * 2;
    steps_ = steps;
    // Whole vectors are stored, and an odd number of lines between rows keeps them out of one set of a cache.
    const int64_t stored = (c_.taps - 1) * k + ceil_div(k, most) * most;
    pitch_ = (ceil_div(std::max(stored, steps_ * depth_), most) | 1) * most;
    const auto bytes = [&] { return block_.rows * pitch_ * 2; };
    if (bytes() > gathered_bytes && block_.row_tiles > 1) block_ = {target_.tiles.rows, 1, block_.vectors};
    return bytes() <= gathered_bytes;
  }

  int64_t panel_bytes() const { return flat_.taps * steps_ * depth_ * width_ * 2; }

  /// Who takes what: threads share the panels where B is more than A, else the rows; so each reads its part of the larger operand.
  void choose_tasks() {
    Dim outer = 1;
    for (const Expr& v : c_.batch) outer *= extent_end(v);
    const int64_t blocks = std::max<int64_t>(1, blocks_.is_static() ? blocks_.size() : ceil_div(c_.m.typical(), block_.rows));
    const int64_t entries = std::max<int64_t>(1, outer.is_static() ? outer.size() : outer.typical());
    const int64_t a_bytes = c_.m.typical() * c_.k.size() * 2, b_bytes = panels_ * panel_bytes();
    panels_outer_ = b_bytes > a_bytes * (program_.made_by_channels(c_.a) ? 1 : 2);
    // Panels of a task are read once a block of rows: they stay in the second cache, beside the rows.
    const int64_t most = std::clamp<int64_t>(target_.l2_bytes * 5 / 8 / panel_bytes(), 1, panels_);
    groups_ = panels_;
    if (c_.packed && gather_) groups_ = groups_for(most, entries * blocks);
    else if (c_.packed && !panels_outer_) groups_ = ceil_div(panels_, most);
    const auto at_most = [&](int64_t n) { return std::clamp<int64_t>(n, 1, panels_); };
    if (c_.packed) groups_ = program_.choose("groups of panels", {groups_, at_most(groups_ * 2), at_most(groups_ / 2), 1});
    group_ = ceil_div(panels_, groups_);
    groups_ = ceil_div(panels_, group_);
    if (groups_ > 1) panels_outer_ = program_.choose("panels outside", panels_outer_);
    const int64_t shared = ceil_div(c_.m.typical() * c_.k.size() * 2, target_.l2_bytes / 2), wanted = ceil_div(wanted_tasks, entries * groups_);
    const int64_t least = !c_.packed ? 8 : group_ == 1 ? 2 : 1;  // blocks that make up for reading or packing a panel
    const int64_t shares = std::max(shared, std::min(wanted, std::max<int64_t>(1, blocks / least)));
    shares_ = blocks_.is_static() ? Dim(std::min(shares, blocks)) : Dim::max(Dim::min(Dim(shares), blocks_), 1);
    choose_asking(blocks);
    if (!shares_.is_static()) return;
    const auto within = [&](int64_t n) { return std::clamp<int64_t>(n, 1, blocks); };
    shares_ = program_.choose("shares", {within(shares_), within(shares_ * 2), within(shares_ / 2), within(shares_ / 4)});
  }

  /// Lines of each stream that a step asks for, so that `blocks` blocks of rows ask for all of a panel.
  int64_t lines_ahead(int64_t blocks) const { return ceil_div(ceil_div(panel_bytes(), ahead_streams * cache_line), flat_.taps * steps_ * blocks); }
  /// A panel that is read once a task comes from far, and so do lines of a large result; other panels stay in the second cache. `blocks` of rows, or
  /// the only one where their panels are read again for each, share the asking.
  void choose_asking(int64_t blocks) {
    const bool alone = gather_ && blocks <= 2, once = bands_ ? bands_ == 1 : !gather_ && group_ == 1 && panels_outer_;
    blocks_ahead_ = alone ? 1 : blocks;
    asks_ahead_ = c_.packed && panels_ > 1 && (alone || (once && blocks > 1)) && lines_ahead(blocks_ahead_) <= (alone ? 2 * most_ahead : most_ahead);
    if (asks_ahead_) asks_ahead_ = program_.choose("asks ahead", true);
    const int64_t result = c_.m.typical() * c_.n.size() * size_of(program_.graph->type(region_.output).dtype);
    asks_for_result_ = once && !bands_ && c_.packed && panels_ > 1 && result > target_.l2_bytes;
  }

  /// In how many groups of at most `most` the panels go where each gathers its rows again: the sum over some numbers of threads of the time that the
  /// one with most to do takes. Gathering a block takes three quarters of what multiplying it by a panel does.
  int64_t groups_for(int64_t most, int64_t blocks) const {
    return least_over_threads(ceil_div(panels_, most), panels_, panels_,
                              [&](int64_t groups, int64_t threads) {
                                return (static_cast<double>(ceil_div(panels_, groups)) + 0.75) *
                                       static_cast<double>(threads * ceil_div(groups * blocks, threads));
                              })
        .first;
  }

  // ---- buffers ----
  uint32_t accumulator(int64_t i, int64_t j) const { return static_cast<uint32_t>(i * block_.vectors + j); }
  uint32_t left(int64_t i) const { return static_cast<uint32_t>(block_.row_tiles * block_.vectors + i); }
  /// With one row of accumulators a register can serve several vectors of B, one after the other.
  uint32_t right(int64_t j) const {
    const uint32_t first = left(block_.row_tiles), count = static_cast<uint32_t>(target_.tiles.registers) - first;
    return first + static_cast<uint32_t>(j) % count;
  }
  int64_t rows_of(int64_t i) const { return std::min<int64_t>(target_.tiles.rows, block_.rows - i * target_.tiles.rows); }

  void prepare() {
    Kernel& k = emit_.kernel();
    k.tiles.resize(std::min<size_t>(static_cast<size_t>(target_.tiles.registers), left(block_.row_tiles) + static_cast<size_t>(block_.vectors)));
    const auto depth = static_cast<int32_t>(depth_);
    for (int64_t i = 0; i < block_.row_tiles; ++i) {
      const auto rows = static_cast<int32_t>(rows_of(i));
      for (int64_t j = 0; j < block_.vectors; ++j) k.tiles[accumulator(i, j)] = {rows, 4 * lanes_};
      k.tiles[left(i)] = {rows, 2 * depth};
    }
    for (int64_t j = 0; j < block_.vectors; ++j) k.tiles[right(j)] = {depth / 2, 4 * lanes_};

    if (!bands_) rows_.emplace(emit_, c_);
    if (!shared_) a_ = emit_.buffer_of(c_.a);
    b_ = c_.packed ? pack_b(emit_, flat_, {width_, 2, steps_ * depth_ / 2, depth_ / 2, lanes_}) : emit_.buffer_of(c_.b);
    stored_ = make_epilogue(emit_, region_, c_.result, c_.dtype, c_.bias, c_.bias_index);
    sums_ = emit_.local("sums", {c_.sums(), 1}, block_.rows * width_, Memory::stack);
    if (gather_) gathered_ = emit_.local("gathered", {c_.dtype, 1}, block_.rows * pitch_, Memory::stack);
    if (shared_) gathered_ = emit_.temporary(shared_, false);
    else if (bands_) gathered_ = emit_.local("band", {c_.dtype, 1}, band_bytes(band_) / 2, Memory::stack);
  }

  // ---- statements ----
  using Body = std::vector<Stmt>;
  static Expr fresh(const char* name) { return make_var(name, 0, int64_t{1} << 40); }
  static Body loop(const Expr& v, const Expr& high, Body body) { return one(Stmt::loop(v, Expr(0), high, Expr(1), std::move(body))); }
  Expr column(int64_t j) const { return simplify(panel_ * Expr(width_) + Expr(j * lanes_)); }
  Expr column_mask(int64_t j) const { return c_.n.size() % width_ == 0 ? Expr() : tail_mask(column(j), Expr(c_.n), lanes_); }

  /// Rows [first, end) of A, one behind the other from `first` on.
  Body gather(const Expr& first, const Expr& end) {
    const int64_t k = c_.k.size(), vector = target_.tiles.row_bytes / 2, stored = (c_.taps - 1) * k + ceil_div(k, vector) * vector;
    const Expr m = make_index("row", c_.m), tap = var("tap", c_.taps), chunk = var("chunk", ceil_div(k, vector)), from = fresh("from"),
               to = fresh("to");
    const ExprType type{c_.dtype, static_cast<int32_t>(vector)};
    const Expr at = simplify(chunk * Expr(vector)), mask = k % vector ? tail_mask(at, Expr(k), type.lanes) : Expr();
    const auto place = [&](const Expr& e) { return make_ramp(simplify(e), Expr(1), type.lanes); };
    Body body = one(Stmt::store(gathered_, place(to + tap * Expr(k) + at), make_load(a_, type, {place(from + at)}, mask)));
    body = k > vector ? loop(chunk, Expr(ceil_div(k, vector)), std::move(body)) : with_let(chunk, Expr(0), std::move(body));
    std::vector<Expr> places;
    const std::vector<Expr> values = rows_->places(m);
    for (size_t i = 0; i < values.size(); ++i) places.push_back(fresh("place"));
    body = with_let(from, rows_->at(m, places, tap), std::move(body));
    body = c_.taps > 1 ? loop(tap, Expr(c_.taps), std::move(body)) : with_let(tap, Expr(0), std::move(body));
    for (size_t i = values.size(); i-- > 0;) body = with_let(places[i], values[i], std::move(body));
    if (stored < steps_ * depth_) {
      Body zeros =
          one(Stmt::store(gathered_, place(to + Expr(std::max<int64_t>(0, steps_ * depth_ - vector))), make_broadcast(imm(c_.dtype, 0), type.lanes)));
      append(zeros, std::move(body));
      body = std::move(zeros);
    }
    body = with_let(to, simplify((m - first) * Expr(pitch_)), std::move(body));
    return one(Stmt::loop(m, first, end, Expr(1), std::move(body)));
  }

  struct Copy {
    uint32_t a = 0, band = 0;  ///< buffers
  };
  /// `length` elements of A, or zeros, to the band.
  Body fill(const Copy& copy, const Expr& to, const Expr& from, int64_t length) const {
    const int64_t vector = target_.tiles.row_bytes / 2;
    const ExprType type{c_.dtype, static_cast<int32_t>(vector)};
    const auto at = [&](const Expr& chunk, const Expr& mask) {
      const auto place = [&](const Expr& e) { return make_ramp(simplify(e + chunk * Expr(vector)), Expr(1), type.lanes); };
      const Expr value = from ? make_load(copy.a, type, {place(from)}, mask) : make_broadcast(imm(c_.dtype, 0), type.lanes);
      return Stmt::store(copy.band, place(to), value, mask);
    };
    const int64_t whole = length / vector;
    Body body;
    if (whole > 0) {
      const Expr chunk = var("chunk", whole);
      body = loop(chunk, Expr(whole), one(at(chunk, {})));
    }
    if (length % vector) body.push_back(at(Expr(whole), tail_mask(Expr(0), Expr(length % vector), type.lanes)));
    return body;
  }

  /// Row y of those that are copied for outputs from row `top` on, with the padding beside it, to a copy that begins at `start`.
  Body copy_row(const Copy& copy, const Expr& top, const Expr& y, const Expr& start) const {
    const Plane& p = *c_.plane;
    const int64_t highest = p.rows_of(p.out_rows) - p.rows_before, piece = piece_rows(copied_) * band_row();
    const Expr row = make_var("row", -p.rows_before, highest), to = fresh("to"), from = fresh("from");
    Body inside, outside;
    for (int64_t i = 0; i < p.stride_columns; ++i) {
      append(inside, copy_columns(copy, i, simplify(to + Expr(i * piece)), from));
      append(outside, fill(copy, simplify(to + Expr(i * piece)), {}, band_row()));
    }
    inside = with_let(from, simplify(c_.a_base + row * Expr(p.row_step)), std::move(inside));
    if (p.rows_before > 0 || highest > p.rows)
      inside = one(Stmt::branch(row >= Expr(0) && row < Expr(p.rows), std::move(inside), std::move(outside)));
    inside = with_let(to, simplify(start + row_in_band(y)), std::move(inside));
    return with_let(row, simplify(top * Expr(p.stride_rows) + y - Expr(p.rows_before)), std::move(inside));
  }

  /// Where the copy of a batch entry begins.
  Expr shared_at() const {
    Expr entry(0);
    for (const Expr& v : c_.batch) entry = entry * Expr(extent_end(v)) + v;
    return simplify(entry * Expr(band_bytes(copied_) / 2));
  }

  /// The step that copies the plane for all tasks.
  void emit_shared_copy() {
    Emitter emit(program_, region_);
    emit.kernel().name += "_padded";
    const Copy copy{emit.buffer_of(c_.a), emit.temporary(shared_, true)};
    std::vector<Expr> order = c_.batch;
    order.push_back(var("y", c_.plane->rows_of(copied_)));
    emit.finish_over(order, copy_row(copy, Expr(0), order.back(), shared_at()));
  }

  /// Of a row of the plane, which begins at `from`, the columns of piece `i` of its row of pieces, with the padding beside them.
  Body copy_columns(const Copy& copy, int64_t i, const Expr& to, const Expr& from) const {
    const Plane& p = *c_.plane;
    const int64_t low = ceil_div(std::max<int64_t>(0, p.columns_before - i), p.stride_columns);
    const int64_t high = std::min(band_width_, ceil_div(p.columns + p.columns_before - i, p.stride_columns));
    const int64_t first = low * p.stride_columns + i - p.columns_before, step = p.column_step * p.stride_columns;
    Body body;
    if (low > 0) append(body, fill(copy, to, {}, low * p.channels));
    const Expr begin = simplify(to + Expr(low * p.channels)), source = simplify(from + Expr(first * p.column_step));
    if (step == p.channels) append(body, fill(copy, begin, source, (high - low) * p.channels));
    else {
      const Expr column = var("column", high - low);
      append(body, loop(column, Expr(high - low),
                        fill(copy, simplify(begin + column * Expr(p.channels)), simplify(source + column * Expr(step)), p.channels)));
    }
    if (high < band_width_) append(body, fill(copy, simplify(to + Expr(high * p.channels)), {}, (band_width_ - high) * p.channels));
    return body;
  }

  /// Tile of B for a step of k and a vector of a panel that begins at `first`.
  Expr b_tile(const Expr& first, const Expr& step, int64_t j) const {
    return simplify(first + (step * Expr(block_.vectors) + Expr(j)) * Expr(depth_ * lanes_));
  }

  /// A panel of a computed B, as a constant one is packed.
  Body pack_panel(uint32_t to) {
    const int64_t k = c_.k.size(), pairs = steps_ * depth_ / 2;
    const auto row = [&](const Expr& at, int64_t j) {
      const Expr index = simplify(c_.b_base + at * Expr(c_.b_row) + column(j));
      return make_load(b_, {c_.dtype, lanes_}, {make_ramp(index, Expr(1), lanes_)}, column_mask(j));
    };
    const auto store = [&](const Expr& pair, auto&& value) {
      Body body;
      for (int64_t j = 0; j < block_.vectors; ++j) {
        const Expr place = simplify(b_tile(Expr(0), floordiv(pair, depth_ / 2), j) + floormod(pair, depth_ / 2) * Expr(2 * lanes_));
        body.push_back(Stmt::store(to, make_ramp(place, Expr(1), 2 * lanes_), value(j)));
      }
      return body;
    };
    const Expr pair = var("pair", pairs), first = simplify(pair * Expr(2));
    Body out = one(Stmt::loop(pair, Expr(0), Expr(k / 2), Expr(1),
                              store(pair, [&](int64_t j) { return bitcast(c_.dtype, pair_bits(row(first, j), row(first + Expr(1), j))); })));
    if (k % 2) append(out, store(Expr(k / 2), [&](int64_t j) { return bitcast(c_.dtype, pair_bits(row(Expr(k - 1), j), {})); }));
    const Expr rest = var("pair", pairs);
    if (ceil_div(k, 2) < pairs) {
      const Expr zero = make_broadcast(imm(c_.dtype, 0), 2 * lanes_);
      out.push_back(Stmt::loop(rest, Expr(ceil_div(k, 2)), Expr(pairs), Expr(1), store(rest, [&](int64_t) { return zero; })));
    }
    return out;
  }

  /// Where the band holds the first position of row y of those that it reads.
  Expr row_in_band(const Expr& y) const {
    const Plane& p = *c_.plane;
    const Expr piece = floormod(y, p.stride_rows) * Expr(p.stride_columns * piece_rows(copied_));
    return simplify((piece + floordiv(y, p.stride_rows)) * Expr(band_row()));
  }
  /// Element of the band that a tap of its row `m` begins at.
  Expr in_band(const Expr& m, const Expr& tap) const {
    const Plane& p = *c_.plane;
    const Expr down = row_in_band(floordiv(tap, p.taps) * Expr(p.tap_rows)), x = floormod(tap, p.taps) * Expr(p.tap_columns);
    const Expr along = floormod(x, p.stride_columns) * Expr(piece_rows(copied_) * band_row()) + floordiv(x, p.stride_columns) * Expr(p.channels);
    const Expr start = shared_ ? simplify(shared_at() + top_ * Expr(band_row())) : Expr(0);
    return simplify(start + m * Expr(pitch_) + down + along);
  }

  int64_t elements_ahead() const { return lines_ahead(blocks_ahead_) * cache_line / 2; }
  /// What `asked_` is for a block: those behind the last one that is needed ask again for what it asks for.
  Expr first_asked(const Expr& b_first, const Expr& block) const {
    const int64_t share = flat_.taps * steps_ * elements_ahead(), needed = ceil_div(panel_bytes() / 2, ahead_streams * share);
    return simplify(b_first + Expr(panel_bytes() / 2) + min(block, Expr(needed - 1)) * Expr(share));
  }
  Body ask_ahead(uint32_t b, const Expr& step) const {
    Body body;
    if (!asks_ahead_) return body;
    for (int64_t at = 0; at < elements_ahead(); at += cache_line / 2) {
      for (int64_t stream = 0; stream < ahead_streams; ++stream) {
        const int64_t place = stream * (panel_bytes() / 2 / ahead_streams) + at;
        body.push_back(Stmt::prefetch(b, simplify(asked_ + step * Expr(elements_ahead()) + Expr(place))));
      }
    }
    return body;
  }

  /// Sums of a block whose first row is `m0` with `vectors` vectors of a panel, which lies in `b` from `b_first` on.
  Body multiply(const Expr& m0, uint32_t b, const Expr& b_first, int64_t vectors) {
    Body out;
    for (int64_t i = 0; i < block_.row_tiles; ++i) {
      for (int64_t j = 0; j < vectors; ++j) out.push_back(Stmt::tile_zero(accumulator(i, j)));
    }
    const Expr tap = var("tap", c_.taps), step = var("step", steps_), a_first = fresh("a");
    const Expr row_step = gather_ || bands_ ? Expr(pitch_) : Expr(c_.a_row);
    const uint32_t a = gather_ || bands_ ? gathered_ : a_;
    const Expr b_step = gather_ ? step : simplify(tap * Expr(steps_) + step);
    Body body = ask_ahead(b, b_step);
    for (int64_t i = 0; i < block_.row_tiles; ++i) {
      const Expr a_at = simplify(a_first + Expr(i * target_.tiles.rows) * row_step + step * Expr(depth_));
      body.push_back(Stmt::tile_load(left(i), a, a_at, row_step));
      for (int64_t j = 0; j < vectors; ++j) {
        if (i == 0) body.push_back(Stmt::tile_load(right(j), b, b_tile(b_first, b_step, j), Expr(2 * lanes_)));
        body.push_back(Stmt::tile_dot(accumulator(i, j), left(i), right(j)));
      }
    }
    body = loop(step, Expr(steps_), std::move(body));
    body = with_let(a_first, gather_ ? Expr(0) : bands_ ? in_band(m0, tap) : rows_->at(m0, {}, tap), std::move(body));
    if (!gather_ && c_.taps > 1) body = loop(tap, Expr(c_.taps), std::move(body));
    else body = with_let(tap, Expr(0), std::move(body));
    append(out, std::move(body));
    for (int64_t i = 0; i < block_.row_tiles; ++i) {
      for (int64_t j = 0; j < vectors; ++j)
        out.push_back(Stmt::tile_store(accumulator(i, j), sums_, Expr(i * target_.tiles.rows * width_ + j * lanes_), Expr(width_)));
    }
    return out;
  }

  /// Stores rows [first, end) of the block that begins at m0; of a band those that are outputs nobody else stores.
  Body epilogue(const Expr& m0, const Expr& first, const Expr& end, int64_t vectors) {
    Body body;
    const Expr at = bands_ ? make_var("at", 0, band_rows_) : c_.m_var;
    for (int64_t j = 0; j < vectors; ++j) {
      const Expr mask = column_mask(j);
      const Expr sum = make_load(sums_, {c_.sums(), lanes_}, {make_ramp(simplify((at - m0) * Expr(width_) + Expr(j * lanes_)), Expr(1), lanes_)});
      const Expr value = substitute(stored_.value, {{stored_.sum, sum}});
      body.push_back(
          vector_store(stored_.buffer, stored_.index, vectorize(value, c_.n_var, column(j), lanes_, mask), c_.n_var, column(j), lanes_, mask));
      if (asks_for_result_)
        body.push_back(Stmt::prefetch(stored_.buffer, simplify(substitute(stored_.index, {{c_.n_var, column(j) + Expr(width_)}}))));
    }
    return bands_ ? over_rows(at, first, end, std::move(body)) : one(Stmt::loop(at, first, end, Expr(1), std::move(body)));
  }

  /// `body` for the positions `at` from `first` to `end` of a band that are outputs nobody else stores, row by row of the outputs.
  Body over_rows(const Expr& at, const Expr& first, const Expr& end, Body body) const {
    const Plane& p = *c_.plane;
    const Expr line = make_index("line", band_), column = make_index("column", p.out_columns), start = make_index("start", band_rows_ + 1);
    body = with_let(c_.m_var, simplify((top_ + line) * Expr(p.out_columns) + column), std::move(body));
    body = with_let(at, simplify(start + column), std::move(body));
    body = one(Stmt::loop(column, max(first - start, Expr(0)), min(end - start, Expr(p.out_columns)), Expr(1), std::move(body)));
    body = with_let(start, simplify(line * Expr(band_width_)), std::move(body));
    Expr low = floordiv(first, band_width_);
    if (p.out_rows % band_ != 0) low = max(low, new_row_ - top_);
    return one(Stmt::loop(line, low, simplify(floordiv(end - Expr(1), band_width_) + Expr(1)), Expr(1), std::move(body)));
  }

  /// A panel for the block of rows from m0 on, of which [first, end) are stored.
  Body panel(const Expr& m0, const Expr& first, const Expr& end, uint32_t b) {
    const Expr entry = simplify(c_.group * Expr(panels_) + panel_);
    const Expr b_first = c_.packed ? simplify(entry * Expr(flat_.taps * steps_ * depth_ * width_)) : Expr(0);
    const auto with = [&](int64_t vectors) {
      Body body = multiply(m0, b, b_first, vectors);
      if (asks_ahead_) body = with_let(asked_, first_asked(b_first, blocks_ahead_ > 1 ? block_at_ : Expr(0)), std::move(body));
      append(body, epilogue(m0, first, end, vectors));
      return body;
    };
    const int64_t in_last = last_vectors(c_.n, block_.vectors, lanes_);
    if (in_last == block_.vectors) return with(block_.vectors);
    if (panels_ == 1) return with(in_last);
    return one(Stmt::branch(panel_ < Expr(panels_ - 1), with(block_.vectors), with(in_last)));
  }

  Body over_blocks(const Expr& low, const Expr& high, const Expr& panel_low, const Expr& panel_high, uint32_t b) {
    const Expr block = var("block", blocks_), m0 = make_index("m0", c_.m), first = make_index("first", c_.m), end = make_index("end", c_.m + 1);
    const bool whole = c_.m % block_.rows == 0;
    const Expr begin = simplify(block * Expr(block_.rows)), behind = simplify(begin + Expr(block_.rows));
    block_at_ = block;
    asked_ = fresh("asked");
    Body body = panel(m0, first, end, b);
    body = group_ == 1 ? with_let(panel_, panel_low, std::move(body)) : one(Stmt::loop(panel_, panel_low, panel_high, Expr(1), std::move(body)));
    if (gather_) {
      Body gathered = gather(first, end);
      append(gathered, std::move(body));
      body = std::move(gathered);
    }
    body = with_let(end, whole ? behind : min(behind, Expr(c_.m)), std::move(body));
    body = with_let(m0, gather_ || whole ? first : min(first, Expr(c_.m - block_.rows)), std::move(body));
    body = with_let(first, begin, std::move(body));
    return one(Stmt::loop(block, low, high, Expr(1), std::move(body)));
  }

  /// A task is a batch entry, a group of panels and some rows.
  void finish(const Expr& group, const Expr& rows, Body body) {
    std::vector<Expr> order = c_.batch;
    order.push_back(panels_outer_ ? group : rows);
    order.push_back(panels_outer_ ? rows : group);
    emit_.kernel().flops = flops_of(c_);
    if (panels_outer_ && groups_ > 1) program_.by_channels.insert(program_.storage_of(region_.output).root.id);
    emit_.finish_over(order, std::move(body));
  }

  void emit_bands() {
    const Plane& p = *c_.plane;
    panel_ = var("panel", panels_);
    top_ = make_index("top", p.out_rows);
    new_row_ = make_index("new_row", p.out_rows);
    const int64_t blocks = blocks_.size();
    const Expr band = var("band", bands_), group = var("panels", groups_), block = var("block", blocks), m0 = make_index("m0", band_rows_),
               first = make_index("first", band_rows_), end = make_index("end", band_rows_ + 1);
    block_at_ = block;
    asked_ = fresh("asked");
    Body body = panel(m0, first, end, b_);
    body = with_let(end, min(first + Expr(block_.rows), Expr(band_rows_)), std::move(body));
    body = with_let(m0, min(first, Expr(band_rows_ - block_.rows)), std::move(body));
    body = with_let(first, simplify(block * Expr(block_.rows)), std::move(body));
    body = loop(block, Expr(blocks), std::move(body));
    const Expr low = simplify(group * Expr(group_)), high = min(simplify((group + Expr(1)) * Expr(group_)), Expr(panels_));
    body = one(Stmt::loop(panel_, low, high, Expr(1), std::move(body)));
    if (shared_) emit_shared_copy();
    else {
      const Expr y = var("y", p.rows_of(band_));
      Body copied = one(Stmt::loop(y, Expr(0), Expr(p.rows_of(band_)), Expr(1), copy_row({a_, gathered_}, top_, y, Expr(0))));
      append(copied, std::move(body));
      body = std::move(copied);
    }
    body = with_let(top_, min(new_row_, Expr(p.out_rows - band_)), std::move(body));
    body = with_let(new_row_, simplify(band * Expr(band_)), std::move(body));
    finish(group, band, std::move(body));
  }

  void emit() {
    panel_ = var("panel", panels_);
    const Expr share = var("share", shares_), group = var("panels", groups_);
    const Expr low = make_index("low", blocks_ + 1), high = make_index("high", blocks_ + 1);
    const Expr panel_low = make_index("panel_low", panels_), panel_high = make_index("panel_high", panels_ + 1);
    Body body;
    if (c_.packed) {
      body = over_blocks(low, high, panel_low, panel_high, b_);
    } else {
      const uint32_t packed = emit_.local("packed", {c_.dtype, 1}, steps_ * depth_ * width_, Memory::stack);
      body = with_let(panel_, panel_low, pack_panel(packed));
      append(body, over_blocks(low, high, panel_low, panel_high, packed));
    }
    body = with_let(high, simplify(floordiv((share + Expr(1)) * Expr(blocks_), shares_)), std::move(body));
    body = with_let(low, simplify(floordiv(share * Expr(blocks_), shares_)), std::move(body));
    body = with_let(panel_high, min(simplify((group + Expr(1)) * Expr(group_)), Expr(panels_)), std::move(body));
    body = with_let(panel_low, simplify(group * Expr(group_)), std::move(body));
    finish(group, share, std::move(body));
  }
};

/// What the registers multiply, and enough of it.
bool fits(const Contraction& c, const Target& target) {
  if (!target.tiles.dot_bf16 || c.dtype != DType::bf16 || c.inner || !c.k.is_static() || !c.n.is_static()) return false;
  return c.m.typical() * c.n.size() * c.k.size() * c.taps >= least_products && (c.packed || c.taps == 1);
}

}  // namespace

bool lower_matrix_tiles(PendingProgram& program, const Region& region, const Contraction& c) {
  return fits(c, *program.target) && MatrixTileLowering(program, region, c).run();
}

}  // namespace mica::lower
