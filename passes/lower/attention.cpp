// What the schedules of attention share (attention.h): operands, shares of the rows, softmax of a row, what is stored.
#include "attention.h"

namespace mica::lower {

namespace {

constexpr int64_t least_rows = 16;  ///< of a task
constexpr double log2_e = 1.44269504088896341;

/// 2^t for t <= 0 with a relative error below 3e-6, for factors of which 16 bits are kept. 0 below 2^-125; NaN of NaN.
Expr power_of_two(const Expr& t) {
  const auto number = [&](double x) { return make_broadcast(imm(t->type.dtype, x), t->type.lanes); };
  // Rounds t to an integer and leaves it, with an exponent's bias, in the low bits.
  constexpr double magic = 0x1.8p23 + 127;
  const Expr shifted = t + number(magic), f = t - (shifted - number(magic));
  Expr p = number(0.009570100482822735);
  for (const double c : {0.05591786020884932, 0.24024744863149278, 0.6931218147573082, 0.999999261435078}) p = fma(p, f, number(c));
  const Expr places = make_broadcast(imm_i(DType::i32, 23), t->type.lanes);
  return select(t < number(-125), number(0), p * bitcast(DType::f32, make_binary(ExprOp::shl, bitcast(DType::i32, shifted), places)));
}

}  // namespace

AttentionLowering::AttentionLowering(PendingProgram& program, const Region& region, Attention a)
    : region_(region), a_(std::move(a)), emit_(program, region), lanes_(program.target->lanes(size_of(a_.sums()))) {}

void AttentionLowering::choose_shares(int64_t packing_rows) {
  int64_t entries = 1;
  for (const Expr& v : a_.batch) entries *= std::max<int64_t>(1, extent_end(v).typical());
  const int64_t rows = a_.rows.typical();
  const auto [best, time] = least_over_threads(1, std::max<int64_t>(1, rows / least_rows), 1, [&](int64_t shares, int64_t threads) {
    return static_cast<double>(threads * ceil_div(shares * entries, threads) * (ceil_div(rows, shares) + packing_rows));
  });
  blocks_ = Dim::ceil_div(a_.rows, block_);
  shares_ = blocks_.is_static() ? Dim(std::min(best, blocks_.size())) : Dim::max(Dim::min(Dim(best), blocks_), 1);
}

void AttentionLowering::prepare() {
  query_ = emit_.buffer_of(a_.query);
  key_ = emit_.buffer_of(a_.keys_value);
  value_ = emit_.buffer_of(a_.value);
  std::vector<Expr> anchor = a_.batch;
  anchor.push_back(a_.row);
  anchor.push_back(a_.column);
  stored_ = make_epilogue(emit_, region_, anchor, a_.dtype, {}, {});
  a_.score = emit_.flatten(simplify(a_.score));
  scores_ = emit_.local("scores", {a_.sums(), 1}, block_ * pitch_, Memory::stack);
  sums_ = emit_.local("sums", {a_.sums(), 1}, block_ * columns_, Memory::stack);
  factors_ = emit_.local("factors", {a_.sums(), 1}, block_, Memory::stack);
}

Expr AttentionLowering::loaded(uint32_t buffer, const Expr& index, const Expr& lane, const Expr& base, int32_t lanes, const Expr& mask) const {
  const Expr value = vectorize(make_load(buffer, {a_.dtype, 1}, {index}), lane, base, lanes, mask);
  if (value->type.lanes == lanes || !mask) return make_broadcast(value, lanes);
  return select(mask, make_broadcast(value, lanes), make_broadcast(imm(a_.dtype, 0), lanes));  // along the lanes there is one element
}

Expr AttentionLowering::score(const Expr& row, const Expr& first, const Expr& sum, const Expr& mask) const {
  const Expr bound = substitute(simplify(substitute(a_.score, {{a_.row, row}})), {{a_.sum, sum}});
  const Expr value = make_broadcast(vectorize(bound, a_.key, first, lanes_, mask), lanes_);
  return mask ? select(mask, value, wide(-__builtin_inf())) : value;
}

/// The greatest score of a row, lane by lane. A NaN may get lost here: the sum of the exponentials has it.
AttentionLowering::Body AttentionLowering::maximum(const Expr& i, const Expr& behind, const Expr& row, uint32_t most) const {
  const auto step = [&](const Expr& v, const Expr& mask) {
    const Expr at = place(i * Expr(pitch_) + v), now = make_load(most, vector(), {Expr(0)});
    Expr x = make_load(scores_, vector(), {at});
    Body body;
    if (row) {
      body.push_back(Stmt::store(scores_, at, score(row, v, x, mask)));
      x = make_load(scores_, vector(), {at});
    }
    body.push_back(Stmt::store(most, Expr(0), max(x, now)));
    return body;
  };
  Body out = one(Stmt::store(most, Expr(0), wide(-__builtin_inf())));
  const Expr v = make_place("v", Dim(pitch_));
  if (!row) {
    append(out, loop(v, Expr(0), behind, step(v, {}), lanes_));
    return out;
  }
  const int64_t whole = a_.keys.size() / lanes_ * lanes_, end = *constant_int(behind);
  if (whole > 0) append(out, loop(v, Expr(0), Expr(whole), step(v, {}), lanes_));
  for (int64_t first = whole; first < end; first += lanes_) append(out, step(Expr(first), tail_mask(Expr(first), Expr(a_.keys), lanes_)));
  return out;
}

AttentionLowering::Body AttentionLowering::softmax(const Expr& i, const Expr& behind, const Expr& row,
                                                   const std::function<Stmt(const Expr&, const Expr&)>& keep) {
  const DType sums = a_.sums();
  const Expr top = make_var("top", 0, 1, sums), base = make_var("base", 0, 1, sums), v = make_place("v", Dim(pitch_));
  const uint32_t most = emit_.local("most", vector(), 1, Memory::registers), total = emit_.local("total", vector(), 1, Memory::registers),
                 power = emit_.local("power", vector(), 1, Memory::registers);
  const auto load = [&](uint32_t b) { return make_load(b, vector(), {Expr(0)}); };
  const bool narrow = a_.dtype != sums;  // then the base is in powers of 2
  const Expr x = make_load(scores_, vector(), {place(i * Expr(pitch_) + v)}), low = make_broadcast(base, lanes_);
  Body step = one(Stmt::store(power, Expr(0), narrow ? power_of_two(fma(x, wide(log2_e), -low)) : exp(x - low)));
  step.push_back(Stmt::store(total, Expr(0), load(total) + load(power)));
  step.push_back(keep(v, load(power)));
  Body body = one(Stmt::store(total, Expr(0), wide(0)));
  append(body, loop(v, Expr(0), behind, std::move(step), lanes_));
  // Where all scores are -inf their exponentials are NaN, or, from a base of 0, add up to 0.
  const Expr sum = make_var("sum", 0, 1, sums), inverse = imm(sums, 1) / sum;
  append(body, with_let(sum, make_horizontal(ReduceOp::sum, load(total)),
                        one(Stmt::store(factors_, i, a_.safe ? select(equal(sum, imm(sums, 0)), imm(sums, 0), inverse) : inverse))));
  const Expr finite = a_.safe ? select(equal(top, imm(sums, -__builtin_inf())), imm(sums, 0), top) : top;
  body = with_let(base, narrow ? finite * imm(sums, log2_e) : finite, std::move(body));
  Body out = maximum(i, behind, row, most);
  append(out, with_let(top, make_horizontal(ReduceOp::max, load(most)), std::move(body)));
  return out;
}

AttentionLowering::Body AttentionLowering::epilogue(const Expr& m0, const Expr& first, const Expr& end) {
  Body body;
  const int64_t columns = ceil_div(a_.columns, lanes_) * lanes_;
  for (int64_t c = 0; c < columns; c += lanes_) {
    const Expr i = a_.row - m0, mask = column_mask(c);
    const Expr sum = make_load(sums_, vector(), {place(i * Expr(columns_) + Expr(c))}) *
                     make_broadcast(make_load(factors_, {a_.sums(), 1}, {simplify(i)}), lanes_);
    const Expr value = vectorize(substitute(stored_.value, {{stored_.sum, sum}}), a_.column, Expr(c), lanes_, mask);
    body.push_back(vector_store(stored_.buffer, stored_.index, value, a_.column, Expr(c), lanes_, mask));
  }
  return loop(a_.row, first, end, std::move(body));
}

void AttentionLowering::finish(Body pack, const std::function<Body(const Expr& low, const Expr& high)>& blocks) {
  const Expr share = make_place("share", shares_), low = fresh("low"), high = fresh("high");
  Body task = std::move(pack);
  append(task, blocks(low, high));
  task = with_let(high, simplify(floordiv((share + Expr(1)) * Expr(blocks_), shares_)), std::move(task));
  task = with_let(low, simplify(floordiv(share * Expr(blocks_), shares_)), std::move(task));
  double products = static_cast<double>(a_.rows.typical() * a_.keys.typical()) * static_cast<double>(a_.depths + a_.columns);
  for (const Expr& v : a_.batch) products *= static_cast<double>(extent_end(v).typical());
  emit_.kernel().flops = 2 * products;
  emit_.kernel().name = "attention_" + emit_.kernel().name;
  std::vector<Expr> order = a_.batch;
  order.push_back(share);
  emit_.finish_over(order, std::move(task));
}

bool lower_attention(PendingProgram& program, const Region& region) {
  auto a = region.anchor ? describe_attention(*program.graph, *region.anchor, program.target) : std::nullopt;
  if (!a) return false;
  const bool tiles = a->dtype != a->sums();
  (tiles ? emit_attention_tiles : emit_attention_vectors)(program, region, std::move(*a));
  return true;
}

}  // namespace mica::lower
