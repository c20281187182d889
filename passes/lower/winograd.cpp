// Convolutions of stride 1 by Winograd's F(m x m, r x r) (Lavin and Gray, "Fast algorithms for convolutional neural networks", arXiv 1509.09308),
// with the tiles of winograd_forms.h, which may differ along the axes (1x7, 3x1): for m = 4 and r = 3, 36 products where the definition has 144.
// Three kernels, in a loop over chunks of tiles so that what lies between them stays in the caches:
//   V[e, tile, c] = (B^T d B)[e] of the tile's (m + r - 1)^2 inputs d     e = 0 .. (m + r - 1)^2 - 1
//   M[e, tile, n] = sum over c of V[e, tile, c] * U[e, c, n]              as many matrix products; U = G g G^T is made when the library is loaded
//   m x m results = A^T M A, and the region's epilogue
#include <algorithm>
#include <cmath>
#include <utility>

#include "contraction_operands.h"
#include "mica/ops/conv.h"
#include "winograd_forms.h"

namespace mica::lower {

namespace {

constexpr int64_t longest_chain = 128;  ///< channels of one accumulator: the transforms' rounding errors add to those of the sum

Expr number(const ExprType& type, double value) { return make_broadcast(imm(type.dtype, value), type.lanes); }

/// sum of c[i] * x[i] without what is 0.
Expr combination(const std::vector<double>& c, const std::vector<Expr>& x) {
  Expr sum;
  for (size_t i = 0; i < c.size(); ++i) {
    if (c[i] == 0) continue;
    const Expr factor = number(x[i]->type, c[i]);
    sum = sum ? fma(factor, x[i], sum) : c[i] == 1 ? x[i] : x[i] * factor;
  }
  return sum;
}

/// One convolution in one of the forms. Places of tiles are numbered through all images.
struct Winograd {
  std::optional<WinogradTile> form = {};
  Conv op = {};
  DType dtype = DType::f32;
  Value base;                ///< holds the input
  std::vector<Dim> strides;  ///< of its axes, in elements
  Dim offset = 0;
  Dim images, height, width, out_height, out_width;
  int64_t channels = 1, outputs = 1;
  bool padded = false;
  Dim tiles_x, tiles_y, tiles;
  int64_t chunk = 1;  ///< tiles of one trip
  Dim trips = 1;
};

bool fits(const Graph& graph, const Conv& op) {
  const auto all = [](const Ints& list, int64_t value) { return std::ranges::all_of(list.items, [&](int64_t i) { return i == value; }); };
  const TensorType& x = graph.type(op.x);
  if (x.dtype != DType::f32 || x.rank() != 4 || op.groups != 1 || !all(op.stride, 1) || !all(op.dilation, 1)) return false;
  return graph.is_constant(op.weight) && x.shape[1].is_static();
}

/// Time of one convolution on a core in vector multiply-adds: a model of what was measured, good to compare the forms.
struct Cost {
  Dim direct, winograd;
  /// Where the direct form surely takes longer, by a margin.
  Dim gain() const { return direct * 9 - winograd * 10; }
};

Cost estimate(const Winograd& w, const Target& target) {
  const int64_t lanes = target.lanes(size_of(w.dtype)), in_vectors = ceil_div(w.channels, lanes), out_vectors = ceil_div(w.outputs, lanes);
  // The transforms wait for V and M on their way through the second cache.
  constexpr int64_t input_vector = 30, output_vector = 26;
  constexpr double bytes_per_step = 3.5;
  const int64_t products = w.form->products(), taps = w.form->y->taps * w.form->x->taps,
                more_weights = (products - taps) * w.channels * w.outputs * size_of(w.dtype);
  const Dim places = w.images * w.out_height * w.out_width;
  const int64_t tile = products * (w.channels * out_vectors + in_vectors * input_vector + out_vectors * output_vector);
  return {places * (taps * w.channels * out_vectors), w.tiles * tile + Dim(std::llround(static_cast<double>(more_weights) / bytes_per_step))};
}

enum class Choice : uint8_t { direct, winograd, by_size };

/// The faster form, by the sizes at the ends of the symbols' ranges: where they do not agree the run decides.
Choice choose(const Dim& gain, const Symbols& symbols) {
  bool always = true, never = true;
  for (const bool high : {false, true}) {
    std::vector<int64_t> sizes;
    for (const Symbol& s : symbols.all()) sizes.push_back(high ? s.high : s.low);
    (gain.at(sizes) > 0 ? never : always) = false;
  }
  return always ? Choice::winograd : never ? Choice::direct : Choice::by_size;
}

/// Tiles of a chunk. Small weights stay in the second cache of a core, with V and M of a chunk in the half of it; large ones pass through it once a
/// chunk, so V and M may fill the second caches of two cores. Fewer than 24 tiles are not worth the barriers of a trip. With 64 channels on 56 x 56
/// places the small chunks take 0.81 of the time of the large ones, with 32 on 112 x 112 0.76; with 128 and more they would take longer.
void choose_chunk(const PendingProgram& program, Winograd& w) {
  const int64_t product = w.form->products() * size_of(w.dtype), cache = program.target->l2_bytes;
  const int64_t tile_bytes = product * (w.channels + w.outputs), weight_bytes = product * w.channels * w.outputs;
  const int64_t most = std::max<int64_t>(24, (weight_bytes <= cache / 3 ? cache / 2 - weight_bytes : 2 * cache) / tile_bytes);
  if (w.tiles.is_static()) {
    std::vector<int64_t> chunks;
    for (const int64_t tiles : {most, most / 2, 2 * most, 4 * most}) chunks.push_back(ceil_div(w.tiles.size(), ceil_div(w.tiles.size(), tiles)));
    w.chunk = program.choose("winograd chunk", chunks);
  } else {
    w.chunk = std::min(most, w.tiles.high());
  }
  w.trips = Dim::ceil_div(w.tiles, w.chunk);
}

std::optional<Winograd> describe(const PendingProgram& program, const Region& region, const Contraction& direct) {
  const Graph& graph = *program.graph;
  const auto conv = match<Conv>(*region.anchor);
  if (!conv || !fits(graph, *conv)) return std::nullopt;
  Winograd w;
  w.op = *conv;
  w.dtype = direct.dtype;
  w.base = direct.a;
  w.padded = direct.padded;
  const TensorType& x = graph.type(conv->x);
  const Shape& out = graph.type(region.anchor_value).shape;
  Access access = resolve_access(graph, conv->x, 1);
  if (access.base != direct.a) access = direct_access(graph, conv->x);
  const LinearIndex at = linear_index(access.flat, access.vars).value();
  w.strides = at.strides;
  w.offset = at.offset;
  w.channels = x.shape[1];
  w.outputs = out[1];
  w.height = x.shape[2], w.width = x.shape[3], w.out_height = out[2], w.out_width = out[3];
  w.images = x.shape[0];
  if ((w.images * w.out_height * w.out_width).low() < 1) return std::nullopt;
  return w;
}

/// The convolution in all forms, the one first that should take the least time.
std::vector<Winograd> in_all_forms(const Graph& graph, const Winograd& w, const Target& target) {
  const Shape& filter = graph.type(w.op.weight).shape;
  std::vector<Winograd> all;
  for (const WinogradTile& form : winograd_tiles(filter[2].size(), filter[3].size())) {
    Winograd& in = all.emplace_back(w);
    in.form = form;
    in.tiles_y = Dim::ceil_div(w.out_height, form.y->out);
    in.tiles_x = Dim::ceil_div(w.out_width, form.x->out);
    in.tiles = w.images * in.tiles_y * in.tiles_x;
  }
  std::ranges::stable_sort(all, {}, [&](const Winograd& x) { return estimate(x, target).winograd.typical(); });
  return all;
}

using Body = std::vector<Stmt>;

class WinogradLowering {
 public:
  WinogradLowering(PendingProgram& program, const Region& region, Winograd w, const Contraction& direct)
      : program_(program),
        graph_(*program.graph),
        region_(region),
        w_(std::move(w)),
        direct_(direct),
        lanes_(program.target->lanes(size_of(w_.dtype))) {}

  void run() {
    v_ = add_products(w_.channels);
    m_ = add_products(w_.outputs);
    if (w_.trips != 1) trip_ = program_.add_trip();
    const size_t first = program_.steps.size();
    transform_input();
    multiply();
    transform_output();
    if (w_.trips != 1) program_.repeat(first, w_.trips);
  }

 private:
  PendingProgram& program_;
  const Graph& graph_;
  const Region& region_;
  Winograd w_;
  const Contraction& direct_;
  const WinogradForm &y_ = *w_.form->y, &x_ = *w_.form->x;
  int64_t in_y_ = y_.in(), in_x_ = x_.in(), products_ = w_.form->products();
  int32_t lanes_;
  Value v_, m_;
  std::optional<Value> trip_;

  ExprType vector_type() const { return {w_.dtype, lanes_}; }

  // ---- what lies between the kernels: [products, chunk, columns] ----
  /// Elements from one product to the next. The line between them keeps their streams from falling into one set of a cache.
  int64_t pitch(int64_t columns) const { return w_.chunk * row(columns) + lanes_; }
  /// Elements of a tile's row: whole vectors, so that none lies across two lines of a cache.
  int64_t row(int64_t columns) const { return ceil_div(columns, lanes_) * lanes_; }
  Value add_products(int64_t columns) { return program_.add_temporary({w_.dtype, {products_ * pitch(columns)}, {}}); }
  Expr product_at(int64_t product, const Expr& tile, const Expr& column, int64_t columns) const {
    return make_ramp(simplify(Expr(product * pitch(columns)) + tile * Expr(row(columns)) + column), Expr(1), lanes_);
  }

  // ---- tiles ----
  /// First tile of this trip.
  Expr first_tile(Emitter& emit) const {
    if (!trip_) return Expr(0);
    return make_load(emit.temporary(*trip_, false), {DType::i64, 1}, {Expr(0)}) * Expr(w_.chunk);
  }
  bool whole_chunks() const { return w_.trips * w_.chunk == w_.tiles; }

  struct Place {
    Expr image, y, x;  ///< y, x: of the tile
  };
  /// `body` for the tile that is number `local` of this trip, if there is one.
  template <class F> Body at_tile(Emitter& emit, const Expr& local, F&& body) const {
    const Expr tile = make_index("tile", w_.trips * w_.chunk);
    const Dim& images = w_.images;
    const Place place{images == 1 ? Expr(0) : make_place("image", images), make_place("tile_y", w_.tiles_y), make_place("tile_x", w_.tiles_x)};
    Body inner = body(place);
    inner = with_let(place.x, simplify(floormod(tile, w_.tiles_x)), std::move(inner));
    const Expr row = simplify(floordiv(tile, w_.tiles_x));
    inner = with_let(place.y, images == 1 ? row : simplify(floormod(row, w_.tiles_y)), std::move(inner));
    if (images != 1) inner = with_let(place.image, simplify(floordiv(tile, w_.tiles_x * w_.tiles_y)), std::move(inner));
    if (!whole_chunks()) inner = one(Stmt::branch(tile < Expr(w_.tiles), std::move(inner)));
    return with_let(tile, simplify(first_tile(emit) + local), std::move(inner));
  }

  /// Groups of vectors of `columns`, so that there are tasks enough where there are few tiles.
  struct Groups {
    int64_t vectors, groups;
    Expr low(const Expr& group) const { return simplify(floordiv(group * Expr(vectors), groups)); }
  };
  Groups groups_of(int64_t columns) const {
    const int64_t vectors = ceil_div(columns, lanes_);
    return {vectors, std::clamp<int64_t>(ceil_div(64, w_.chunk), 1, vectors)};
  }

  /// One task a tile of the chunk and a group of vectors; `body(place, local tile, first column, mask)` for each vector.
  template <class Prepare> void finish(Emitter& emit, int64_t columns, Prepare&& prepare) {
    const Groups g = groups_of(columns);
    const Expr task = make_index("task", w_.chunk * g.groups), local = make_index("local", w_.chunk), group = make_index("group", g.groups);
    const Expr vector = make_index("vector", g.vectors), column = simplify(vector * Expr(lanes_));
    const Expr mask = columns % lanes_ ? tail_mask(column, Expr(columns), lanes_) : Expr();
    const auto over_columns = [&](Body body) { return one(Stmt::loop(vector, g.low(group), g.low(group + Expr(1)), Expr(1), std::move(body))); };
    Body body = at_tile(emit, local, [&](const Place& place) { return prepare(place, local, column, mask, over_columns); });
    body = with_let(group, simplify(floormod(task, g.groups)), std::move(body));
    body = with_let(local, simplify(floordiv(task, g.groups)), std::move(body));
    emit.finish(task, w_.chunk * g.groups, std::move(body));
  }

  // ---- V ----
  void transform_input() {
    const Expr zeros = w_.padded ? Expr(program_.zero_tail(w_.base, w_.channels)) : Expr();
    Emitter emit(program_, region_);
    emit.kernel().name += "_winograd_input";
    const uint32_t x = emit.buffer_of(w_.base), v = emit.temporary(v_, true);
    emit.mark_partial();
    finish(emit, w_.channels, [&](const Place& place, const Expr& local, const Expr& column, const Expr& mask, const auto& over_columns) {
      const Expr y0 = simplify(place.y * Expr(y_.out) - Expr(w_.op.padding[0])), x0 = simplify(place.x * Expr(x_.out) - Expr(w_.op.padding[1]));
      const Expr base = simplify(Expr(w_.offset) + place.image * Expr(w_.strides[0]) + y0 * Expr(w_.strides[2]) + x0 * Expr(w_.strides[3]));
      const Expr corner = make_var("corner", -(int64_t{1} << 40), int64_t{1} << 40);
      Body inside = over_columns(input_tile(emit, x, v, local, column, mask, [&](int64_t r, int64_t q) {
        return corner + Expr(w_.strides[2]) * Expr(r) + Expr(w_.strides[3]) * Expr(q);
      }));
      inside = with_let(corner, base, std::move(inside));
      const Expr whole =
          y0 >= Expr(0) && x0 >= Expr(0) && simplify(y0 + Expr(in_y_)) <= Expr(w_.height) && simplify(x0 + Expr(in_x_)) <= Expr(w_.width);
      return one(Stmt::branch(whole, std::move(inside), border(emit, x, v, local, column, mask, over_columns, base, y0, x0, zeros)));
    });
  }

  /// The tile where some inputs lie outside: those are read from a row of zeros. What is right of the results that are wanted counts as outside too.
  template <class Over>
  Body border(Emitter& emit, uint32_t x, uint32_t v, const Expr& local, const Expr& column, const Expr& mask, const Over& over_columns,
              const Expr& base, const Expr& y0, const Expr& x0, const Expr& zeros) {
    std::vector<Expr> offsets;
    for (int64_t i = 0; i < products_; ++i) offsets.push_back(make_var(fmt::format("at{}", i), 0, int64_t{1} << 40));
    Body body = over_columns(input_tile(emit, x, v, local, column, mask, [&](int64_t r, int64_t q) { return offsets[r * in_x_ + q]; }));
    for (int64_t i = products_; i-- > 0;) {
      const Expr r(i / in_x_), q(i % in_x_), y = simplify(y0 + r), column_at = simplify(x0 + q);
      const Expr valid = y >= Expr(0) && y < Expr(w_.height) && column_at >= Expr(0) && column_at < Expr(w_.width);
      const Expr at = simplify(base + r * Expr(w_.strides[2]) + q * Expr(w_.strides[3]));
      // Without padding only results that nobody wants depend on what lies outside: any element will do.
      body = with_let(offsets[i], select(valid, at, zeros ? zeros : Expr(w_.offset)), std::move(body));
    }
    return body;
  }

  template <class At> Body input_tile(Emitter& emit, uint32_t x, uint32_t v, const Expr& local, const Expr& column, const Expr& mask, At&& at) {
    const uint32_t half = emit.local("half", vector_type(), products_, Memory::registers);
    Body body;
    for (int64_t q = 0; q < in_x_; ++q) {
      std::vector<Expr> d(in_y_);
      for (int64_t r = 0; r < in_y_; ++r) d[r] = make_load(x, vector_type(), {make_ramp(simplify(at(r, q) + column), Expr(1), lanes_)}, mask);
      column_of(emit, body, d);
      const std::vector<Expr> t = y_.input(d);
      for (int64_t r = 0; r < in_y_; ++r) body.push_back(Stmt::store(half, Expr(r * in_x_ + q), t[r]));
    }
    for (int64_t r = 0; r < in_y_; ++r) {
      std::vector<Expr> d(in_x_);
      for (int64_t q = 0; q < in_x_; ++q) d[q] = make_load(half, vector_type(), {Expr(r * in_x_ + q)});
      const std::vector<Expr> t = x_.input(d);
      for (int64_t q = 0; q < in_x_; ++q) body.push_back(Stmt::store(v, product_at(r * in_x_ + q, local, column, w_.channels), t[q]));
    }
    return body;
  }

  /// Reads a tile's line of vectors once, into registers.
  void column_of(Emitter& emit, Body& body, std::vector<Expr>& d) {
    const auto length = static_cast<int64_t>(d.size());
    const uint32_t read = emit.local("read", vector_type(), length, Memory::registers);
    for (int64_t i = 0; i < length; ++i) {
      body.push_back(Stmt::store(read, Expr(i), d[i]));
      d[i] = make_load(read, vector_type(), {Expr(i)});
    }
  }

  // ---- M ----
  void multiply() {
    Contraction c;
    c.dtype = w_.dtype;
    c.m = w_.chunk, c.n = w_.outputs, c.k = w_.channels;
    c.m_var = var("m", c.m), c.n_var = var("n", c.n);
    const Expr product = var("product", products_);
    c.batch = {product};
    c.groups = products_;
    c.group = product;
    c.a_base = product * Expr(pitch(w_.channels));
    c.a_row = row(w_.channels);
    c.b = w_.op.weight;
    c.packed = true;
    c.chain = longest_chain;
    Inner inner;
    inner.a = v_, inner.result = m_;
    inner.at = simplify(product * Expr(pitch(w_.outputs)) + c.m_var * Expr(row(w_.outputs)) + c.n_var);
    inner.b = [this](int64_t width, int64_t rest) { return transform_filter(width, rest); };
    inner.name = "conv_winograd_product";
    if (!whole_chunks()) inner.rows = [this](Emitter& emit) { return simplify(min(Expr(w_.chunk), Expr(w_.tiles) - first_tile(emit))); };
    inner.rows_outer = w_.channels * w_.outputs < w_.chunk * (w_.channels + w_.outputs);
    c.inner = std::move(inner);
    emit_contraction(program_, region_, std::move(c));
  }

  // ---- U ----
  /// Up to four times as large as the filter, so it is made when the library is loaded; in fp64, so that U is rounded once. The file has the filter
  /// as the direct form reads it, which may stand beside this one.
  uint32_t transform_filter(int64_t width, int64_t rest) {
    const int64_t in_panels = w_.outputs - rest, panels = ceil_div(in_panels, width), places = y_.taps * x_.taps;
    const int64_t behind = products_ * panels * w_.channels * width, long_k = row(w_.channels), elements = behind + products_ * rest * long_k;
    const int64_t from_width = panel_width(direct_, *program_.target), from_panels = ceil_div(w_.outputs, from_width);
    const auto prepared = static_cast<uint32_t>(program_.prepared.size());
    program_.prepared.push_back(elements * size_of(w_.dtype));
    Emitter emit(program_, region_);
    emit.kernel().name = "conv_winograd_weights";
    const uint32_t g = pack_b(emit, direct_, {from_width, 1, direct_.k.size()});
    const uint32_t u = emit.prepared_buffer(prepared, w_.dtype, elements, true);
    const int32_t lanes = program_.target->lanes(size_of(DType::f64));
    const ExprType wide{DType::f64, lanes};
    const uint32_t tap = emit.local("tap", wide, places, Memory::registers), half = emit.local("half", wide, in_y_ * x_.taps, Memory::registers);
    // A task is a channel of one of the file's panels.
    const Expr task = make_index("task", from_panels * w_.channels), column = make_index("column", from_width);
    const Expr from = make_index("from", from_panels), channel = make_index("channel", w_.channels), n = make_index("n", from_panels * from_width);
    Body body;
    for (int64_t i = 0; i < places; ++i) {
      const Expr at = simplify(((from * Expr(places) + Expr(i)) * Expr(w_.channels) + channel) * Expr(from_width) + column);
      body.push_back(Stmt::store(tap, Expr(i), cast(DType::f64, make_load(g, {direct_.held_in(), lanes}, {make_ramp(at, Expr(1), lanes)}))));
    }
    const auto line = [&](uint32_t buffer, int64_t count, int64_t first, int64_t step) {
      std::vector<Expr> x(count);
      for (int64_t i = 0; i < count; ++i) x[i] = make_load(buffer, wide, {Expr(first + i * step)});
      return x;
    };
    for (int64_t i = 0; i < in_y_; ++i) {
      for (int64_t q = 0; q < x_.taps; ++q)
        body.push_back(Stmt::store(half, Expr(i * x_.taps + q), combination(y_.filter[i], line(tap, y_.taps, q, x_.taps))));
    }
    const Expr panel = simplify(floordiv(n, width)), inside = simplify(floormod(n, width));
    Body to_panels, to_rest;
    const Expr mask = rest ? tail_mask(n, Expr(w_.outputs), lanes) : Expr();
    for (int64_t e = 0; e < products_; ++e) {
      const Expr value = cast(w_.dtype, combination(x_.filter[e % in_x_], line(half, x_.taps, e / in_x_ * x_.taps, 1)));
      const Expr at = simplify(((Expr(e * panels) + panel) * Expr(w_.channels) + channel) * Expr(width) + inside);
      to_panels.push_back(Stmt::store(u, make_ramp(at, Expr(1), lanes), value));
      const Expr alone = simplify(Expr(behind + (e * rest - in_panels) * long_k) + n * Expr(long_k) + channel);
      if (rest) to_rest.push_back(Stmt::store(u, make_ramp(alone, Expr(long_k), lanes), value, mask));
    }
    if (rest) append(body, one(Stmt::branch(n < Expr(in_panels), std::move(to_panels), std::move(to_rest))));
    else append(body, std::move(to_panels));
    if (from_panels * from_width > panels * width) body = one(Stmt::branch(n < Expr(rest ? w_.outputs : panels * width), std::move(body)));
    body = with_let(n, simplify(from * Expr(from_width) + column), std::move(body));
    body = one(Stmt::loop(column, Expr(0), Expr(from_width), Expr(lanes), std::move(body)));
    body = with_let(channel, simplify(floormod(task, w_.channels)), std::move(body));
    emit.finish_at_load(task, from_panels * w_.channels, with_let(from, simplify(floordiv(task, w_.channels)), std::move(body)));
    return prepared;
  }

  // ---- results ----
  void transform_output() {
    const Shape& out = graph_.type(region_.anchor_value).shape;
    const Expr image = make_place("image", out[0]), n = make_place("n", out[1]), y = make_place("y", out[2]), x = make_place("x", out[3]);
    Emitter emit(program_, region_);
    emit.kernel().name += "_winograd_output";
    const uint32_t m = emit.temporary(m_, false);
    const Epilogue stored = make_epilogue(emit, region_, {image, n, y, x}, w_.dtype, w_.op.bias, n);
    emit.mark_partial();
    finish(emit, w_.outputs, [&](const Place& place, const Expr& local, const Expr& column, const Expr& mask, const auto& over_columns) {
      const uint32_t half = emit.local("half", vector_type(), y_.out * in_x_, Memory::stack);
      Body body;
      for (int64_t q = 0; q < in_x_; ++q) {
        std::vector<Expr> d(in_y_);
        for (int64_t r = 0; r < in_y_; ++r) d[r] = make_load(m, vector_type(), {product_at(r * in_x_ + q, local, column, w_.outputs)});
        column_of(emit, body, d);
        const std::vector<Expr> t = y_.output(d);
        for (int64_t r = 0; r < y_.out; ++r) body.push_back(Stmt::store(half, Expr(r * in_x_ + q), t[r]));
      }
      const Expr r = make_index("r", y_.out), row = simplify(place.y * Expr(y_.out) + r);
      const uint32_t read = emit.local("read", vector_type(), in_x_, Memory::registers);
      Body line;
      std::vector<Expr> d(in_x_);
      for (int64_t q = 0; q < in_x_; ++q) {
        line.push_back(Stmt::store(read, Expr(q), make_load(half, vector_type(), {simplify(r * Expr(in_x_) + Expr(q))})));
        d[q] = make_load(read, vector_type(), {Expr(q)});
      }
      const std::vector<Expr> t = x_.output(d);
      for (int64_t q = 0; q < x_.out; ++q) {
        const Expr at = simplify(place.x * Expr(x_.out) + Expr(q));
        const std::vector<VarBinding> here{{image, place.image}, {y, row}, {x, at}};
        const Expr bound = substitute(simplify(substitute(stored.value, here)), {{stored.sum, t[q]}});
        Body store = one(vector_store(stored.buffer, simplify(substitute(stored.index, here)), vectorize(bound, n, column, lanes_, mask), n, column,
                                      lanes_, mask));
        if (w_.out_width % x_.out != 0) store = one(Stmt::branch(at < Expr(w_.out_width), std::move(store)));
        append(line, std::move(store));
      }
      const bool ragged = w_.out_height % y_.out != 0;
      const Expr rows = ragged ? simplify(min(Expr(y_.out), Expr(w_.out_height) - place.y * Expr(y_.out))) : Expr(y_.out);
      body.push_back(Stmt::loop(r, Expr(0), rows, Expr(1), std::move(line)));
      return over_columns(std::move(body));
    });
  }
};

/// The step that writes whether `gain` is positive.
PendingStep decide(Value to, const Dim& gain, const std::string& label) {
  PendingStep step;
  step.label = label + ": which form";
  step.operands = {{Operand::Kind::value, to, 0}};
  Kernel& k = step.kernel;
  k.name = "decide";
  k.buffers = {{"to", {DType::b8, 1}, 1}};
  k.buffers[0].written = true;
  k.task = make_var("task", 0, 1);
  k.body.push_back(Stmt::store(0, 0, Expr(gain) > Expr(0)));
  return step;
}

/// The steps that `emit` appends, taken off again.
template <class Emit> std::vector<PendingStep> steps_of(PendingProgram& program, Emit&& emit) {
  std::vector<PendingStep> outer = std::exchange(program.steps, {});
  emit();
  return std::exchange(program.steps, std::move(outer));
}

}  // namespace

bool lower_winograd(PendingProgram& program, const Region& region, const Contraction& direct) {
  const WinogradUse use = program.options.winograd;
  if (use == WinogradUse::off) return false;
  auto w = describe(program, region, direct);
  if (!w) return false;
  std::vector<Winograd> forms = in_all_forms(*program.graph, *w, *program.target);
  if (forms.empty()) return false;
  const Dim gain = estimate(forms[0], *program.target).gain();
  Choice choice = use == WinogradUse::always ? Choice::winograd : choose(gain, program.graph->symbols);
  *w = forms[0];
  if (gain.is_static()) {
    // The direct form has no tiles of its own.
    if (use == WinogradUse::automatic) forms.insert(choice == Choice::direct ? forms.begin() : forms.begin() + 1, Winograd{});
    *w = program.choose("form", forms,
                        [](const Winograd& x) { return x.form ? fmt::format("winograd {}x{}", x.form->y->out, x.form->x->out) : "direct"; });
    choice = w->form ? Choice::winograd : Choice::direct;
  }
  if (choice == Choice::direct) return false;
  choose_chunk(program, *w);
  Contraction packed = direct;  // where both forms share a file's weights, in panels alone
  if (choice == Choice::by_size) packed.along_k = false;
  const auto here = [&] { WinogradLowering(program, region, *w, packed).run(); };
  if (choice == Choice::winograd) return here(), true;
  // What is fast at one size says nothing of the others, and both forms share a file's weights only where they pack them alike.
  const int32_t subject = std::exchange(program.subject, -1);
  PendingStep branch;
  branch.kind = Step::Kind::branch;
  branch.condition = Operand{Operand::Kind::value, program.add_temporary({DType::b8, {}, {}}), 0};
  branch.body = steps_of(program, here);
  branch.otherwise = steps_of(program, [&] { emit_contraction(program, region, packed); });
  branch.label = branch.otherwise.back().label;
  program.steps.push_back(decide(branch.condition->value, gain, branch.label));
  program.steps.push_back(std::move(branch));
  program.subject = subject;
  return true;
}

}  // namespace mica::lower
