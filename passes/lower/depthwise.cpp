// The schedule of depthwise convolutions and pooling: a vector of channels times a few neighbouring outputs of one row. For each row of the filter
// its taps lie in registers, and every input is read once, for all the outputs that it belongs to.
//
// No input is padded. Rows of the filter outside the image are left out by the bounds of the loop over them. Along the last axis the
// outputs come in tiles: those whose inputs are all inside are one loop, each of those at the border is written out, without the taps that
// fall outside. Where the last axis depends on a symbol, outputs at the border are made one by one, with bounds for the taps.
//
// Pooling is the same without a filter, and takes fewer steps: a column of the window, of which neighbouring outputs have many in common, is made one
// value first.
//
// A convolution with several channels a group takes as many steps a tap as those are. Where a vector has room for several groups, its lanes are the
// results of whole groups, and in step i each of them is multiplied by input i of its own group: by lanes picked from one vector of inputs. Where it
// has not, the input is broadcast.
//
// Where somebody takes the mean of each channel of the result (squeeze-excite), each task also adds up what it stores.
#include "depthwise.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "contraction.h"
#include "mica/ops/conv.h"
#include "mica/ops/pool.h"
#include "mica/support/narrow_float.h"
#include "place_sums.h"

namespace mica::lower {

namespace {

constexpr int64_t wanted_tasks = 64;    ///< enough for an even split over many threads
constexpr int64_t least_rows = 4;       ///< of a task, where there are so many: each task reads the rows around its own too
constexpr int64_t widest_filter = 64;   ///< taps of a row that are written out
constexpr int64_t held_taps = 7;        ///< of a row in registers at a time
constexpr int64_t widest_tile = 16;     ///< outputs
constexpr int64_t longest_code = 6000;  ///< multiply-adds written out for one kernel
constexpr int64_t anywhere = int64_t{1} << 40;

using Body = std::vector<Stmt>;

/// Outputs [first, first + width) of a row.
struct Tile {
  int64_t first, width;
};

class DepthwiseLowering {
 public:
  DepthwiseLowering(PendingProgram& program, const Region& region, Depthwise d)
      : program_(program), graph_(*program.graph), region_(region), d_(std::move(d)), last_(d_.axes.back()), emit_(program, region) {}

  void run() {
    lanes_ = emit_.target().lanes(size_of(d_.sums()));
    choose_lanes();
    rows_ = d_.outputs() / last_.outputs;
    choose_tile();
    choose_blocks();
    image_ = make_place("image", d_.images);
    n_ = make_place("n", d_.channels);
    std::vector<Expr> anchor = {image_, n_};
    for (const DepthwiseAxis& axis : d_.axes) {
      places_.push_back(make_place("o", axis.outputs));
      anchor.push_back(places_.back());
    }
    a_ = emit_.buffer_of(d_.a);
    if (d_.b) b_ = filter();
    stored_ = make_epilogue(emit_, region_, anchor, d_.dtype, d_.bias, n_);
    if (d_.pools) stored_.value = simplify(substitute(stored_.value, {{stored_.sum, pooled(stored_.sum, anchor)}}));
    if (is_summed_up(anchor)) {
      const Value sums = program_.add_temporary({d_.sums(), {d_.images * blocks_ * d_.channels}, {}});
      program_.place_sums[program_.global(region_.output).id] = {sums, blocks_.size()};
      place_sums_ = emit_.temporary(sums, true);
    }
    emit();
  }

 private:
  PendingProgram& program_;
  const Graph& graph_;
  const Region& region_;
  Depthwise d_;
  DepthwiseAxis last_;
  Emitter emit_;
  int32_t lanes_ = 1;
  Dim rows_ = 1;                    ///< of outputs, over all axes but the last
  int64_t vectors_ = 1, tile_ = 1;  ///< vectors of channels and outputs that are made at a time
  int64_t groups_ = 1;              ///< of `vectors_` vectors
  Dim blocks_ = 1;                  ///< of rows; a task is an image, a block, a group
  // Where groups have several channels:
  bool picks_ = false;      ///< lanes of whole groups; else each vector is a piece of one group
  int64_t step_ = 1;        ///< channels from one vector to the next
  int64_t input_step_ = 1;  ///< the same of inputs
  int64_t pieces_ = 1;      ///< of `vectors_` vectors, of a group that is in pieces
  bool stages_ = false;     ///< inputs of a row are made ready on the stack
  uint32_t a_ = 0, b_ = 0, staging_ = 0;
  Expr image_, n_, group_, channel_, in_channel_, row_, filter_;
  std::vector<Expr> places_;
  Epilogue stored_;
  std::optional<uint32_t> place_sums_;  ///< PlaceSums, where they are wanted
  uint32_t row_sum_ = 0, block_sum_ = 0;

  // ---- choices ----
  bool broadcasts() const { return d_.grouped() && !picks_; }
  void choose_lanes() {
    step_ = input_step_ = lanes_;
    if (!d_.grouped()) return;
    const int64_t whole = lanes_ / std::max(d_.group_inputs, d_.group_outputs);
    picks_ = whole > 1;
    if (picks_) step_ = whole * d_.group_outputs, input_step_ = whole * d_.group_inputs;
    else input_step_ = 0;
  }
  int64_t width() const { return vectors_ * lanes_; }
  int64_t held() const { return std::min(last_.taps, held_taps); }
  /// Positions of the last axis that a tile reads, from its first tap on.
  std::vector<int64_t> positions(int64_t outputs) const {
    std::set<int64_t> all;
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t q = 0; q < last_.taps; ++q) all.insert(o * last_.stride + q * last_.dilation);
    return {all.begin(), all.end()};
  }
  /// Outputs of a tile whose sums, taps and inputs fit the registers.
  int64_t most_outputs(int64_t vectors) const {
    if (d_.pools) {
      int64_t outputs = 1;
      const auto room = static_cast<size_t>((emit_.target().vector_registers - 2) / vectors - 1);
      while (outputs < widest_tile && positions(outputs + 1).size() <= room) ++outputs;
      return outputs;
    }
    const int64_t registers = (emit_.target().vector_registers - 2) / vectors - held() - 1;
    return std::clamp<int64_t>(registers, 1, widest_tile);
  }
  /// What is read and written does not stay in the second cache.
  bool streams() const {
    const int64_t elements = d_.inputs().typical() * d_.input_channels() + d_.outputs().typical() * d_.channels;
    return elements * size_of(d_.dtype) > emit_.target().l2_bytes / 2;
  }

  /// One vector of channels and a wide tile takes the fewest loads. Two, where few sums would wait for each other. As many as lie side by
  /// side where memory is read, which is fast from one end to the other only.
  void choose_vectors(int64_t all) {
    vectors_ = 1;
    if (streams()) {
      for (const int64_t v : {4, 3, 5, 2}) {
        if (all % v == 0 && most_outputs(v) > 1 && vectors_ == 1) vectors_ = v;
      }
    } else if (2 * even_tile(1) <= widest_tile && (all % 2 == 0 || all >= 8) && most_outputs(2) >= even_tile(1)) {
      vectors_ = 2;
    }
  }
  int64_t even_tile(int64_t vectors) const {
    const int64_t outputs = last_.outputs.typical();
    return ceil_div(outputs, ceil_div(outputs, most_outputs(vectors)));
  }

  void choose_tile() {
    const int64_t all = ceil_div(broadcasts() ? d_.group_outputs : d_.channels, step_);
    if (!d_.grouped()) choose_vectors(all);
    std::vector<int64_t> candidates = {vectors_};
    for (const int64_t v : {1, 2, 3, 4}) {
      if (v <= all && most_outputs(v) > 1) candidates.push_back(v);
    }
    vectors_ = program_.choose("vectors", candidates);
    tile_ = last_.outputs.is_static() ? even_tile(vectors_) : std::min<int64_t>(8, most_outputs(vectors_));
    if (last_.outputs.is_static()) tile_ = program_.choose("outputs", {tile_, ceil_div(tile_, 2)});
    groups_ = pieces_ = ceil_div(all, vectors_);
    if (broadcasts()) groups_ *= d_.groups();
    stages_ = picks_ || (d_.grouped() && d_.dtype != d_.sums());
  }

  void choose_blocks() {
    blocks_ = Dim::max(Dim::min(Dim::ceil_div(wanted_tasks, d_.images * groups_), Dim::ceil_div(rows_, least_rows)), 1);
    if (!blocks_.is_static() || !rows_.is_static()) return;
    const auto at_most = [&](int64_t n) { return std::clamp<int64_t>(n, 1, rows_); };
    blocks_ = program_.choose("blocks", {at_most(blocks_), at_most(blocks_ * 2), at_most(blocks_ / 2), at_most(blocks_ / 4)});
  }
  /// Some kernel reads the sums over all places of what is stored, which is stored place by place.
  bool is_summed_up(const std::vector<Expr>& anchor) const {
    const TensorType& type = graph_.type(region_.output);
    const auto where = store_indices(graph_, region_, anchor);
    if (type.dtype != d_.sums() || !blocks_.is_static() || type.rank() != static_cast<int64_t>(anchor.size())) return false;
    for (size_t a = 0; a < anchor.size(); ++a)
      if (!equivalent((*where)[a], anchor[a])) return false;
    for (const Node& n : graph_.nodes) {
      bool reads = false, sums = false;
      n.for_operands([&](Value v) { reads |= v == region_.output; });
      if (!reads || !n.info->define || n.results.size() != 1) continue;
      Define define(graph_, n, 0);
      visit(n.info->define(n, define), [&](const Expr& e) { sums |= is_place_sum(graph_, e, region_.output); });
      if (sums) return true;
    }
    return false;
  }
  /// Threads share what whoever made the map has shared, so that each finds most of what it reads in its own cache.
  bool rows_first() const {
    if (d_.images != 1 || groups_ == 1 || blocks_ == 1) return d_.outputs().typical() > d_.channels;
    return !program_.made_by_channels(d_.a);
  }

  // ---- operands ----
  /// The channel that a lane of a group of vectors is; below 0: none.
  int64_t channel_of(int64_t group, int64_t lane) const {
    const int64_t vector = lane / lanes_, of_vector = lane % lanes_;
    if (of_vector >= step_) return -1;
    const int64_t first = broadcasts() ? group % pieces_ * vectors_ * step_ : group * vectors_ * step_, n = first + vector * step_ + of_vector;
    if (broadcasts()) return n < d_.group_outputs ? group / pieces_ * d_.group_outputs + n : -1;
    return n < d_.channels ? n : -1;
  }
  /// Taps of a group of vectors, one row of vectors a tap and input, in what is computed in.
  template <class From, class To, class Convert> std::vector<std::byte> pack(const From* source, Convert&& convert) const {
    const int64_t taps = d_.taps();
    std::vector<std::byte> bytes(static_cast<size_t>(groups_ * d_.products() * width()) * sizeof(To));
    To* out = reinterpret_cast<To*>(bytes.data());
    for (int64_t g = 0; g < groups_; ++g) {
      for (int64_t t = 0; t < taps; ++t) {
        for (int64_t i = 0; i < d_.group_inputs; ++i) {
          for (int64_t j = 0; j < width(); ++j, ++out) {
            const int64_t n = channel_of(g, j);
            *out = n >= 0 ? convert(source[(n * d_.group_inputs + i) * taps + t]) : To(0);
          }
        }
      }
    }
    return bytes;
  }

  uint32_t filter() {
    const auto same = [](auto x) { return x; };
    const ConstantData& data = graph_.constant(*d_.b);
    std::vector<std::byte> bytes;
    if (d_.dtype == DType::f64) bytes = pack<double, double>(data.as<double>().data(), same);
    else if (d_.dtype == DType::f32) bytes = pack<float, float>(data.as<float>().data(), same);
    else {
      const bool bf16 = d_.dtype == DType::bf16;
      bytes = pack<uint16_t, float>(data.as<uint16_t>().data(), [&](uint16_t x) { return static_cast<float>(bf16 ? from_bf16(x) : from_f16(x)); });
    }
    const auto elements = static_cast<int64_t>(bytes.size()) / size_of(d_.sums());
    return emit_.weight_buffer(program_.add_weight(std::move(bytes), data.name), d_.sums(), elements);
  }

  // ---- expressions ----
  /// What pooling makes of the `sum` of a window (which may be its maximum), over the result's indices.
  Expr pooled(const Expr& sum, const std::vector<Expr>& at) const {
    Define d(graph_, *region_.anchor, 0);
    Expr meaning = rewrite(region_.anchor->info->define(*region_.anchor, d), [&](const Expr& n) { return n->op == ExprOp::reduce ? sum : Expr(); });
    if (meaning->type.dtype != d_.sums()) meaning = meaning->args[0];  // the epilogue rounds
    std::vector<VarBinding> bindings;
    for (size_t a = 0; a < at.size(); ++a) bindings.push_back({d.indices()[a], at[a]});
    return substitute(meaning, bindings);
  }
  ExprType vector_type() const { return {d_.sums(), lanes_}; }
  Expr vector_at(uint32_t buffer, int64_t i) const { return make_load(buffer, vector_type(), {Expr(i)}); }
  /// First channel of vector `j`, and its lanes that are channels; empty: all of them.
  Expr column(int64_t j) const { return simplify(channel_ + Expr(j * step_)); }
  Expr mask(int64_t j) const {
    if (broadcasts()) {
      const Expr end = simplify((floordiv(channel_, d_.group_outputs) + Expr(1)) * Expr(d_.group_outputs));
      return d_.group_outputs % (vectors_ * step_) ? tail_mask(column(j), end, lanes_) : Expr();
    }
    const bool tail = d_.channels % (vectors_ * step_) != 0;
    if (step_ == lanes_) return tail ? tail_mask(column(j), Expr(d_.channels), lanes_) : Expr();
    const Expr end = simplify(column(j) + Expr(step_));
    return tail_mask(column(j), tail ? min(end, Expr(d_.channels)) : end, lanes_);
  }
  /// Some vector of inputs is not all channels.
  bool input_is_masked() const { return input_step_ < lanes_ || d_.input_channels() % (vectors_ * input_step_) != 0; }
  /// A vector of inputs of the row at hand, `position` elements of the last axis from where the tile's first tap is.
  Expr input(const Expr& position, int64_t j) const {
    const Expr at = simplify(row_ + position * Expr(last_.step) + Expr(j * input_step_));
    const Expr channel = simplify(in_channel_ + Expr(j * input_step_));
    const Expr channels = input_is_masked() ? tail_mask(channel, Expr(d_.input_channels()), lanes_) : Expr();
    return convert(d_.sums(), make_load(a_, {d_.dtype, lanes_}, {make_ramp(at, Expr(1), lanes_)}, channels));
  }
  /// What the lanes of vector `j` are multiplied by in step `i` of a tap; `place` of the staged inputs, where they are.
  Expr factor(const Expr& position, int64_t place, const Expr& i, int64_t j) const {
    if (!d_.grouped()) return input(position, j);
    const auto read = [&](const Expr& at) {
      if (stages_) return make_load(staging_, {d_.sums(), at->type.lanes}, {at});
      return convert(d_.sums(), make_load(a_, {d_.dtype, at->type.lanes}, {at}));
    };
    const Expr from = stages_ ? Expr(place * staged()) + i : simplify(row_ + position * Expr(last_.step) + i);
    if (!picks_) return make_broadcast(read(simplify(from)), lanes_);
    const auto number = [&](int64_t x) { return make_broadcast(Expr(x), lanes_); };
    Expr group = floordiv(make_ramp(Expr(0), Expr(1), lanes_), number(d_.group_outputs));
    if (step_ < lanes_) group = floormod(group, number(step_ / d_.group_outputs));  // lanes behind the last whole group: anything near
    return read(make_broadcast(simplify(from + Expr(j * lanes_)), lanes_) + group * number(d_.group_inputs));
  }
  Expr tap(const Expr& q, const Expr& i, int64_t j) const {
    const Expr at = filter_ + (q * Expr(d_.group_inputs) + i) * Expr(width()) + Expr(j * lanes_);
    return make_load(b_, vector_type(), {make_ramp(simplify(at), Expr(1), lanes_)});
  }
  /// The steps of a tap.
  template <class Step> Body over_inputs(Step&& step) const {
    if (d_.group_inputs == 1) return step(Expr(0));
    if (broadcasts()) {
      const Expr i = make_index("i", d_.group_inputs);
      return one(Stmt::loop(i, Expr(0), Expr(d_.group_inputs), Expr(1), step(i)));
    }
    Body out;
    for (int64_t i = 0; i < d_.group_inputs; ++i) append(out, step(Expr(i)));
    return out;
  }

  // ---- inputs on the stack ----
  /// Elements of a position there.
  int64_t staged() const { return broadcasts() ? ceil_div(d_.group_inputs, lanes_) * lanes_ : vectors_ * lanes_; }
  /// Fills it with the inputs of some positions.
  Body stage(const std::vector<Expr>& positions) {
    staging_ = emit_.local("staging", {d_.sums(), 1}, static_cast<int64_t>(positions.size()) * staged(), Memory::stack);
    Body out;
    int64_t to = 0;
    for (const Expr& p : positions) {
      for (int64_t j = 0; j < staged() / lanes_; ++j, to += lanes_) {
        Expr x;
        if (broadcasts()) {
          const Expr first(j * lanes_), at = simplify(row_ + p * Expr(last_.step) + first);
          const Expr mask = (j + 1) * lanes_ > d_.group_inputs ? tail_mask(first, Expr(d_.group_inputs), lanes_) : Expr();
          x = convert(d_.sums(), make_load(a_, {d_.dtype, lanes_}, {make_ramp(at, Expr(1), lanes_)}, mask));
        } else {
          x = input(p, j);
        }
        out.push_back(Stmt::store(staging_, make_ramp(Expr(to), Expr(1), lanes_), x));
      }
    }
    return out;
  }

  // ---- one tile ----
  struct Sums {
    uint32_t buffer;
    int64_t outputs;
    uint32_t columns = 0;  ///< of pooling: what each position's part of the window comes to, in the order of positions()
  };
  Expr neutral() const { return d_.pools ? reduce_identity(*d_.pools, d_.sums()) : imm(d_.sums(), 0); }
  Body cleared(uint32_t sums, int64_t outputs) const { return filled(sums, outputs, imm(d_.sums(), 0)); }
  Body filled(uint32_t buffer, int64_t outputs, const Expr& number) const {
    Body out;
    for (int64_t i = 0; i < outputs * vectors_; ++i) out.push_back(Stmt::store(buffer, Expr(i), make_broadcast(number, lanes_)));
    return out;
  }

  /// One row of a window for a tile.
  template <class Inside> Body pool_row(const Sums& sums, Inside&& inside) {
    Body out;
    const std::vector<int64_t> all = positions(sums.outputs);
    for (size_t p = 0; p < all.size(); ++p) {
      for (int64_t j = 0; inside(all[p]) && j < vectors_; ++j) {
        const int64_t i = static_cast<int64_t>(p) * vectors_ + j;
        out.push_back(Stmt::store(sums.columns, Expr(i), reduce_combine(*d_.pools, vector_at(sums.columns, i), input(Expr(all[p]), j))));
      }
    }
    return out;
  }
  /// Windows of columns.
  Body join_columns(const Sums& sums) const {
    Body out;
    const std::vector<int64_t> all = positions(sums.outputs);
    for (int64_t o = 0; o < sums.outputs; ++o) {
      for (int64_t j = 0; j < vectors_; ++j) {
        Expr value;
        for (int64_t q = 0; q < last_.taps; ++q) {
          const int64_t p = std::ranges::lower_bound(all, o * last_.stride + q * last_.dilation) - all.begin();
          const Expr column = vector_at(sums.columns, p * vectors_ + j);
          value = value ? reduce_combine(*d_.pools, value, column) : column;
        }
        out.push_back(Stmt::store(sums.buffer, Expr(o * vectors_ + j), value));
      }
    }
    return out;
  }

  /// One row of the filter for a tile. `inside(p)`: whether the input at position p of the tile exists.
  template <class Inside> Body filter_row(const Sums& sums, Inside&& inside) {
    Body out;
    for (int64_t from = 0; from < last_.taps; from += held()) {
      const int64_t to = std::min(last_.taps, from + held());
      const int64_t reads = broadcasts() ? 1 : vectors_;
      const uint32_t taps = emit_.local("taps", vector_type(), (to - from) * vectors_, Memory::registers);
      const uint32_t read = emit_.local("read", vector_type(), reads, Memory::registers);
      std::set<int64_t> positions;
      std::vector<bool> used(static_cast<size_t>(to), false);
      for (int64_t q = from; q < to; ++q) {
        for (int64_t o = 0; o < sums.outputs; ++o) {
          const int64_t p = o * last_.stride + q * last_.dilation;
          if (inside(p)) positions.insert(p), used[static_cast<size_t>(q)] = true;
        }
      }
      if (positions.empty()) continue;
      if (stages_) append(out, stage({positions.begin(), positions.end()}));
      append(
          out, over_inputs([&](const Expr& i) {
            Body step;
            for (int64_t q = from; q < to; ++q) {
              for (int64_t j = 0; used[static_cast<size_t>(q)] && j < vectors_; ++j)
                step.push_back(Stmt::store(taps, Expr((q - from) * vectors_ + j), tap(Expr(q), i, j)));
            }
            int64_t place = 0;
            for (const int64_t p : positions) {
              for (int64_t j = 0; j < reads; ++j) step.push_back(Stmt::store(read, Expr(j), factor(Expr(p), place, i, j)));
              ++place;
              for (int64_t q = from; q < to; ++q) {
                const int64_t first_tap = p - q * last_.dilation, o = first_tap / last_.stride;
                if (first_tap < 0 || first_tap % last_.stride != 0 || o >= sums.outputs) continue;
                for (int64_t j = 0; j < vectors_; ++j) {
                  const int64_t at = o * vectors_ + j;
                  const Expr x = vector_at(read, std::min(j, reads - 1));
                  step.push_back(Stmt::store(sums.buffer, Expr(at), fma(x, vector_at(taps, (q - from) * vectors_ + j), vector_at(sums.buffer, at))));
                }
              }
            }
            return step;
          }));
    }
    return out;
  }

  /// The same for one output, whose taps are those of [low, high).
  Body filter_row_between(const Sums& sums, const Expr& low, const Expr& high) {
    const Expr q = make_index("q", last_.taps);
    const Expr position = simplify(q * Expr(last_.dilation));
    Body body = stages_ ? stage({position}) : Body();
    append(body, over_inputs([&](const Expr& i) {
             Body step;
             for (int64_t j = 0; j < vectors_; ++j) {
               const Expr read = factor(position, 0, i, j), sum = vector_at(sums.buffer, j);
               step.push_back(Stmt::store(sums.buffer, Expr(j), d_.pools ? reduce_combine(*d_.pools, sum, read) : fma(read, tap(q, i, j), sum)));
             }
             return step;
           }));
    return one(Stmt::loop(q, low, high, Expr(1), std::move(body)));
  }

  /// Taps of `axis` that lie inside for output `o`.
  static std::pair<Expr, Expr> taps_inside(const DepthwiseAxis& axis, const Expr& o) {
    if (!axis.leaves()) return {Expr(0), Expr(axis.taps)};
    const Expr before = simplify(Expr(axis.padding) - o * Expr(axis.stride)), d(axis.dilation);
    const Expr low = simplify(floordiv(before + d - Expr(1), d)), high = simplify(floordiv(before + Expr(axis.inputs) - Expr(1), d) + Expr(1));
    return {simplify(max(low, Expr(0))), simplify(min(high, Expr(axis.taps)))};
  }

  /// Outputs x .. x + outputs - 1 of a row, which `filter_row(sums)` adds up.
  template <class FilterRow> Body tile(const Expr& x, int64_t outputs, bool by_columns, FilterRow&& filter_row) {
    Sums sums{emit_.local("acc", vector_type(), outputs * vectors_, Memory::registers), outputs};
    const bool pools_columns = d_.pools && by_columns, long_chain = !d_.pools && d_.products() > max_chain;
    const auto columns = static_cast<int64_t>(positions(outputs).size());
    if (pools_columns) sums.columns = emit_.local("columns", vector_type(), columns * vectors_, Memory::registers);
    const uint32_t total = long_chain ? emit_.local("total", vector_type(), outputs * vectors_, Memory::registers) : 0;
    Body body = filter_row(sums);
    for (int64_t i = 0; long_chain && i < outputs * vectors_; ++i) {
      body.push_back(Stmt::store(total, Expr(i), vector_at(total, i) + vector_at(sums.buffer, i)));
      body.push_back(Stmt::store(sums.buffer, Expr(i), make_broadcast(imm(d_.sums(), 0), lanes_)));
    }
    // Where the row's inputs and taps begin, over the taps of the other axes.
    Expr at =
        Expr(d_.offset) + image_ * Expr(d_.image_step) + in_channel_ + simplify(x * Expr(last_.stride) - Expr(last_.padding)) * Expr(last_.step);
    Expr number = Expr(0);
    std::vector<Expr> taps;
    for (size_t a = 0; a + 1 < d_.axes.size(); ++a) {
      const DepthwiseAxis& axis = d_.axes[a];
      taps.push_back(make_index("r", axis.taps));
      at = at + (places_[a] * Expr(axis.stride) - Expr(axis.padding) + taps[a] * Expr(axis.dilation)) * Expr(axis.step);
      number = number * Expr(axis.taps) + taps[a];
    }
    const Expr filter_at = simplify((group_ * Expr(d_.taps()) + number * Expr(last_.taps)) * Expr(d_.group_inputs * width()));
    body = with_let(row_, simplify(at), with_let(filter_, filter_at, std::move(body)));
    for (size_t a = taps.size(); a-- > 0;) {
      const auto [low, high] = taps_inside(d_.axes[a], places_[a]);
      body = one(Stmt::loop(taps[a], low, high, Expr(1), std::move(body)));
    }
    Body out = pools_columns ? filled(sums.columns, columns, neutral()) : filled(sums.buffer, outputs, neutral());
    if (long_chain) append(out, cleared(total, outputs));
    append(out, std::move(body));
    if (pools_columns) append(out, join_columns(sums));
    append(out, store(x, outputs, long_chain ? total : sums.buffer));
    return out;
  }

  Body store(const Expr& x, int64_t outputs, uint32_t sums) const {
    Body out;
    for (int64_t i = 0; i < outputs; ++i) {
      const std::vector<VarBinding> here{{places_.back(), simplify(x + Expr(i))}};
      const Expr value = simplify(substitute(stored_.value, here)), index = simplify(substitute(stored_.index, here));
      for (int64_t j = 0; j < vectors_; ++j) {
        const Expr sum = vector_at(sums, i * vectors_ + j);
        Expr result = vectorize(substitute(value, {{stored_.sum, sum}}), n_, column(j), lanes_, mask(j));
        if (place_sums_) {  // the result takes the place of the sum that it is made of
          out.push_back(Stmt::store(sums, Expr(i * vectors_ + j), make_broadcast(result, lanes_)));
          result = sum;
        }
        out.push_back(vector_store(stored_.buffer, index, result, n_, column(j), lanes_, mask(j)));
      }
    }
    for (int64_t j = 0; place_sums_ && j < vectors_; ++j) {
      std::vector<Expr> terms = {vector_at(row_sum_, j)};
      for (int64_t i = 0; i < outputs; ++i) terms.push_back(vector_at(sums, i * vectors_ + j));
      out.push_back(Stmt::store(row_sum_, Expr(j), in_pairs(std::move(terms))));
    }
    return out;
  }

  static Expr in_pairs(std::vector<Expr> terms) {
    for (; terms.size() > 1; terms.resize((terms.size() + 1) / 2)) {
      for (size_t i = 0; 2 * i + 1 < terms.size(); ++i) terms[i] = terms[2 * i] + terms[2 * i + 1];
      if (terms.size() % 2) terms[terms.size() / 2] = terms.back();
    }
    return terms[0];
  }

  /// The rows of a task with the sums of what they store, row by row, so that no lane adds up a long chain.
  Body with_place_sums(const Expr& block, const Expr& row, const Expr& low, const Expr& high, Body line) {
    Body inner = cleared(row_sum_, 1);
    append(inner, std::move(line));
    for (int64_t j = 0; j < vectors_; ++j) inner.push_back(Stmt::store(block_sum_, Expr(j), vector_at(block_sum_, j) + vector_at(row_sum_, j)));
    Body out = cleared(block_sum_, 1);
    out.push_back(Stmt::loop(row, low, high, Expr(1), std::move(inner)));
    for (int64_t j = 0; j < vectors_; ++j) {
      const Expr at = simplify((image_ * Expr(blocks_) + block) * Expr(d_.channels) + column(j));
      out.push_back(Stmt::store(*place_sums_, make_ramp(at, Expr(1), lanes_), vector_at(block_sum_, j), mask(j)));
    }
    return out;
  }

  // ---- a row of tiles ----
  /// Inputs of a tile at `first` begin at this position.
  int64_t position(int64_t first) const { return first * last_.stride - last_.padding; }
  bool inside(const Tile& t) const {
    return position(t.first) >= 0 && position(t.first + t.width - 1) + (last_.taps - 1) * last_.dilation < last_.inputs;
  }

  /// Tiles of even widths, the wide ones first.
  std::vector<Tile> tiles() const {
    const int64_t all = last_.outputs, count = ceil_div(all, tile_);
    std::vector<Tile> out;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t first = out.empty() ? 0 : out.back().first + out.back().width;
      out.push_back({first, ceil_div(all - first, count - i)});
    }
    return out;
  }

  /// Empty where too much would be written out.
  std::optional<Body> row_of_known_tiles() {
    const std::vector<Tile> all = tiles();
    Body out;
    int64_t code = 0;
    for (size_t i = 0; i < all.size();) {
      const Tile t = all[i];
      size_t end = i + 1;
      while (inside(t) && end < all.size() && all[end].width == t.width && inside(all[end])) ++end;
      if ((code += t.width * last_.taps * vectors_ * (picks_ ? d_.group_inputs : 1)) > longest_code) return std::nullopt;
      const int64_t from = position(t.first), inputs = last_.inputs;
      const bool whole = inside(t);
      const auto exists = [=](int64_t p) { return whole || (from + p >= 0 && from + p < inputs); };
      const auto sum_up = [&](const Sums& sums) { return d_.pools ? pool_row(sums, exists) : filter_row(sums, exists); };
      if (end == i + 1) {
        append(out, tile(Expr(t.first), t.width, true, sum_up));
      } else {
        const Expr x = make_var("x", t.first, all[end - 1].first + 1);
        out.push_back(Stmt::loop(x, Expr(t.first), Expr(all[end - 1].first + 1), Expr(t.width), tile(x, t.width, true, sum_up)));
      }
      i = end;
    }
    return out;
  }

  /// Tiles and pieces of them where all inputs are inside, single outputs on both sides.
  Body row_of_any_tiles() {
    const auto singles = [&](const Expr& low, const Expr& high) {
      const Expr x = make_place("x", last_.outputs);
      const auto [from, to] = taps_inside(last_, x);
      return Stmt::loop(x, low, high, Expr(1),
                        tile(x, 1, false, [&, from = from, to = to](const Sums& sums) { return filter_row_between(sums, from, to); }));
    };
    const Expr all(last_.outputs), reach((last_.taps - 1) * last_.dilation);
    const Expr left = make_index("left", last_.outputs + 1), right = make_index("right", last_.outputs + 1);
    Body out;
    out.push_back(singles(Expr(0), left));
    Expr done = left;
    const auto whole = [](int64_t) { return true; };
    const auto sum_up = [&](const Sums& sums) { return d_.pools ? pool_row(sums, whole) : filter_row(sums, whole); };
    for (int64_t piece = tile_; piece > 0; piece = piece == tile_ ? std::bit_floor(static_cast<uint64_t>(piece - 1)) : piece / 2) {
      const Expr x = make_place("x", last_.outputs);
      const Expr end = simplify(done + floordiv(right - done, piece) * Expr(piece));
      out.push_back(Stmt::loop(x, done, end, Expr(piece), tile(x, piece, true, sum_up)));
      done = end;
    }
    out.push_back(singles(right, all));
    const Expr first = min(Expr(ceil_div(std::max<int64_t>(last_.padding, 0), last_.stride)), all);
    const Expr behind = simplify(floordiv(Expr(last_.inputs) + Expr(last_.padding) - reach - Expr(1), last_.stride) + Expr(1));
    out = with_let(right, simplify(max(left, min(behind, all))), std::move(out));
    return with_let(left, simplify(first), std::move(out));
  }

  void emit() {
    const Expr block = make_place("block", blocks_), group = make_place("group", groups_), row = make_place("row", rows_);
    group_ = group;
    channel_ = make_place("channel", (broadcasts() ? d_.channels : groups_ * vectors_ * step_));
    in_channel_ = d_.grouped() ? make_place("input", groups_ * vectors_ * input_step_ + d_.input_channels()) : channel_;
    row_ = make_var("at", -anywhere, anywhere);
    filter_ = make_var("filter", 0, anywhere);
    if (place_sums_) {
      row_sum_ = emit_.local("row_sum", vector_type(), vectors_, Memory::stack);
      block_sum_ = emit_.local("block_sum", vector_type(), vectors_, Memory::stack);
    }
    std::optional<Body> line;
    if (last_.outputs.is_static() && last_.inputs.is_static()) line = row_of_known_tiles();
    Body body = line ? std::move(*line) : row_of_any_tiles();
    Dim inner = 1;
    for (size_t a = d_.axes.size() - 1; a-- > 0;) {
      const Expr place = floordiv(row, inner);
      body = with_let(places_[a], simplify(a == 0 ? place : floormod(place, d_.axes[a].outputs)), std::move(body));
      inner *= d_.axes[a].outputs;
    }
    const Expr low = simplify(floordiv(block * Expr(rows_), blocks_)), high = simplify(floordiv((block + Expr(1)) * Expr(rows_), blocks_));
    if (place_sums_) body = with_place_sums(block, row, low, high, std::move(body));
    else body = one(Stmt::loop(row, low, high, Expr(1), std::move(body)));
    const Expr piece = broadcasts() ? floormod(group, pieces_) : group, of_group = broadcasts() ? floordiv(group, pieces_) : Expr(0);
    if (d_.grouped()) {
      const Expr at = broadcasts() ? of_group * Expr(d_.group_inputs) : group * Expr(vectors_ * input_step_);
      body = with_let(in_channel_, simplify(at), std::move(body));
    }
    body = with_let(channel_, simplify(of_group * Expr(d_.group_outputs) + piece * Expr(vectors_ * step_)), std::move(body));
    emit_.kernel().flops = 2.0 * static_cast<double>(d_.images.typical()) * static_cast<double>(d_.outputs().typical()) *
                           static_cast<double>(d_.channels * d_.products());
    const bool rows = program_.choose("rows outside", rows_first());
    if (!rows) program_.by_channels.insert(program_.storage_of(region_.output).root.id);
    emit_.finish_over({image_, rows ? block : group, rows ? group : block}, std::move(body));
  }
};

}  // namespace

namespace {

/// Where both read x, and what both make.
std::optional<Depthwise> describe_windows(const Graph& graph, const Node& node, Value x, int64_t axes) {
  const TensorType& type = graph.type(x);
  if (type.rank() < 3 || type.rank() != axes + 2 || !is_float(type.dtype) || !type.shape[1].is_static()) return std::nullopt;
  if (graph.type(node.results[0]).shape.elements() == 0) return std::nullopt;
  const Access access = resolve_access(graph, x, 1);
  const LinearIndex at = linear_index(access.flat, access.vars).value();
  if (at.strides[1] != 1 || graph.type(access.base).dtype != type.dtype) return std::nullopt;
  Depthwise d;
  d.dtype = type.dtype;
  d.a = access.base;
  d.images = type.shape[0];
  d.image_step = at.strides[0];
  d.offset = at.offset;
  d.channels = graph.type(node.results[0]).shape[1];
  const Shape& out = graph.type(node.results[0]).shape;
  for (int64_t s = 0; s < axes; ++s) d.axes.push_back({out[s + 2], type.shape[s + 2], at.strides[static_cast<size_t>(s) + 2]});
  return d;
}

/// A grouped convolution should take less time here than as a contraction, whose panels hold one group each.
bool suits(const Depthwise& d, const Target& target) {
  constexpr int64_t least_contracted = 4;  // inputs of a group; with fewer there is no contraction
  constexpr int64_t most = 64;             // channels of a group: contractions fill their tiles then
  const int64_t lanes = target.lanes(size_of(d.sums())), taps = d.axes.back().taps;
  if (d.group_inputs * taps > max_chain) return false;
  if (d.group_inputs < least_contracted) return true;
  const bool bf16 = d.dtype == DType::bf16;
  if (bf16 && target.tiles.dot_bf16) return false;
  if (std::max(d.group_inputs, d.group_outputs) <= lanes / 2) return true;
  if (d.group_inputs > most || d.group_outputs > most || taps == 1) return false;
  // Operands of 16 bits are made wide once a row, those of a contraction in every step. Those that need not be: measured 0.57 of the time where a
  // group is one vector, 1.0 to 1.1 where it is several.
  return d.dtype != d.sums() ? !(bf16 && target.dot_bf16) : d.group_outputs <= lanes;
}

std::optional<Depthwise> describe_convolution(const Graph& graph, const Node& node, const Conv& conv, const Target* target) {
  if (!graph.is_constant(conv.weight)) return std::nullopt;
  const TensorType& xt = graph.type(conv.x);
  const Shape &x = xt.shape, &w = graph.type(conv.weight).shape;
  if (xt.rank() < 3 || graph.type(conv.weight).dtype != xt.dtype || !x[1].is_static()) return std::nullopt;
  const bool grouped = x[1] != conv.groups || w[0] != conv.groups;
  if (conv.groups < 2 || w.elements() == 0 || (grouped && !target)) return std::nullopt;
  std::optional<Depthwise> d = describe_windows(graph, node, conv.x, xt.rank() - 2);
  if (!d) return d;
  d->b = conv.weight;
  d->bias = conv.bias;
  d->group_inputs = x[1].size() / conv.groups, d->group_outputs = w[0].size() / conv.groups;
  for (size_t s = 0; s < d->axes.size(); ++s) {
    DepthwiseAxis& axis = d->axes[s];
    axis.taps = w[static_cast<int64_t>(s) + 2], axis.stride = conv.stride[s], axis.padding = conv.padding[s], axis.dilation = conv.dilation[s];
  }
  if (grouped && !suits(*d, *target)) return std::nullopt;
  return d;
}

/// Channels that are worth lanes; with fewer, those of the generic road go along the last axis.
constexpr int64_t least_pooled_channels = 8;

template <class Pool>
std::optional<Depthwise> describe_pooling(const Graph& graph, const Node& node, const Pool& pool, ReduceOp op, const Ints* dilation) {
  std::optional<Depthwise> d = describe_windows(graph, node, pool.x, static_cast<int64_t>(pool.kernel.size()));
  if (!d || d->channels < least_pooled_channels) return std::nullopt;
  d->pools = op;
  for (size_t s = 0; s < d->axes.size(); ++s) {
    DepthwiseAxis& axis = d->axes[s];
    axis.taps = pool.kernel[s], axis.stride = pool.stride[s], axis.padding = pool.padding[s], axis.dilation = dilation ? (*dilation)[s] : 1;
  }
  return d;
}

}  // namespace

std::optional<Depthwise> describe_depthwise(const Graph& graph, const Node& node, const Target* target) {
  std::optional<Depthwise> d;
  if (const auto conv = match<Conv>(node)) d = describe_convolution(graph, node, *conv, target);
  else if (const auto most = match<MaxPool>(node)) d = describe_pooling(graph, node, *most, ReduceOp::max, &most->dilation);
  else if (const auto mean = match<AvgPool>(node)) d = describe_pooling(graph, node, *mean, ReduceOp::sum, nullptr);
  if (d && d->axes.back().taps > widest_filter) return std::nullopt;
  return d;
}

bool lower_depthwise(PendingProgram& program, const Region& region) {
  auto d = region.anchor ? describe_depthwise(*program.graph, *region.anchor, program.target) : std::nullopt;
  if (!d) return false;
  DepthwiseLowering(program, region, std::move(*d)).run();
  return true;
}

}  // namespace mica::lower
