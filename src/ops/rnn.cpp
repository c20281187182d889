#include "mica/ops/rnn.h"

#include "mica/ops/kernel_builder.h"

namespace mica {

namespace {

/// What the operands of a scan must have in common.
struct Scan {
  Value x, h, weight;
  int64_t gates;
};

Result<TensorType> infer_scan(const Infer& ctx, const Scan& s, std::initializer_list<Value> states, std::initializer_list<Value> parameters) {
  const TensorType &x = ctx.type(s.x), &h = ctx.type(s.h), &weight = ctx.type(s.weight);
  if (!require_float(ctx, s.x)) return Failure{};
  if (x.rank() != 3 || h.rank() != 2 || weight.rank() != 2) {
    return ctx.error("rnn-mismatch", "takes steps of rank 3, a state of rank 2 and a weight of rank 2, not {}, {} and {}", x.to_string(),
                     h.to_string(), weight.to_string());
  }
  if (x.shape[0].low() < 1) return ctx.error("rnn-empty", "the sequence {} may have no steps", x.to_string());
  const bool fits = x.shape.dim(1) == h.shape.dim(0) && x.shape.dim(2) == weight.shape.dim(0) && weight.shape[0] % s.gates == 0 &&
                    h.shape.dim(1) == weight.shape.dim(1);
  if (!fits) {
    return ctx.error("rnn-mismatch", "steps {}, state {} and weight {} do not fit each other", x.to_string(), h.to_string(), weight.to_string());
  }
  for (const Value v : states) {
    if (ctx.type(v).dtype != x.dtype)
      return ctx.error("dtype-mismatch", "steps {} and state {} must have one dtype", x.to_string(), ctx.type(v).to_string());
  }
  for (const Value v : parameters) {
    if (!is_float(ctx.type(v).dtype)) return ctx.error("needs-float", "parameter {} is not of floats", ctx.type(v).to_string());
  }
  return TensorType{x.dtype, Shape(std::vector<Dim>{x.shape.dim(0), x.shape.dim(1), h.shape.dim(1)}), {}};
}

/// Without gates of its own width a state has as many columns as the weight has rows a gate.
Result<void> require_square(const Infer& ctx, const Scan& s) {
  if (ctx.shape(s.weight)[0] == s.gates * ctx.shape(s.weight)[1]) return {};
  return ctx.error("rnn-mismatch", "weight {} does not have {} rows a column", ctx.type(s.weight).to_string(), s.gates);
}

/// The loop nest of a scan: a task is a row, which goes through the steps. Sums are taken in f64.
class Nest {
 public:
  Nest(KernelBuilder& builder, Value x, Value h, Value weight, int64_t gates, bool reverse)
      : b_(builder),
        x_(x),
        h_(h),
        weight_(weight),
        gates_(gates),
        steps_(b_.shape(x)[0]),
        rows_(b_.shape(x)[1]),
        hidden_(b_.shape(weight)[0] / gates),
        width_(b_.shape(h)[1]),
        reverse_(reverse),
        type_(working(b_.type(x).dtype)) {
    row_ = make_place("row", rows_);
  }
  int64_t hidden() const { return hidden_; }
  int64_t width() const { return width_; }
  const Dim& rows() const { return rows_; }
  DType type() const { return type_; }
  const Expr& row() const { return row_; }
  /// In the dtype that is counted in.
  Expr load(Value v, const std::vector<Expr>& where) const { return convert(type_, b_.load(v, where)); }
  Stmt store(Value v, const std::vector<Expr>& where, const Expr& value) const { return b_.store(v, where, convert(b_.type(v).dtype, value)); }
  Expr input(int64_t gate, const Expr& unit) const { return load(x_, {t_, row_, gate_row(gate, unit)}); }
  Expr sum(int64_t gate) const { return convert(type_, b_.load(sums_[static_cast<size_t>(gate)])); }
  Expr gate_row(int64_t gate, const Expr& unit) const { return simplify(unit + Expr(gate * hidden_)); }
  /// The state that this step begins with, and the place of what it ends with.
  Expr before(const Expr& unit) const { return first_ ? load(h_, {row_, unit}) : load(b_.result(), {before_, row_, unit}); }
  std::vector<Expr> after(const Expr& unit) const { return {t_, row_, unit}; }
  bool first() const { return first_; }

  /// total = sum over k < extent of term(k).
  template <class F> Stmts total(uint32_t total, int64_t extent, F&& term) const {
    Stmts body{KernelBuilder::store(total, Expr(0), imm(DType::f64, 0))};
    body.push_back(for_each(
        "k", extent, [&](const Expr& k) { return Stmts{KernelBuilder::store(total, Expr(0), b_.load(total) + convert(DType::f64, term(k)))}; }));
    return body;
  }

  /// `cell(unit)` for every unit of every step, its sums over the state at hand; `finish()` at the end of a step.
  template <class Cell, class Finish> void run(Cell&& cell, Finish&& finish) {
    for (int64_t g = 0; g < gates_; ++g) sums_.push_back(b_.local("sum", DType::f64));
    const auto step = [&](const Expr& i, bool first) {
      first_ = first;
      t_ = reverse_ ? simplify(Expr(steps_ - 1) - i) : i;
      before_ = simplify(t_ + Expr(reverse_ ? 1 : -1));
      Stmts body{for_each("unit", hidden_, [&](const Expr& unit) {
        Stmts of_unit;
        for (int64_t g = 0; g < gates_; ++g) {
          const auto term = [&](const Expr& k) { return before(k) * load(weight_, {gate_row(g, unit), k}); };
          for (Stmt& s : total(sums_[static_cast<size_t>(g)], width_, term)) of_unit.push_back(std::move(s));
        }
        for (Stmt& s : cell(unit)) of_unit.push_back(std::move(s));
        return of_unit;
      })};
      for (Stmt& s : finish()) body.push_back(std::move(s));
      return body;
    };
    Stmts all = step(Expr(0), true);
    if (steps_ != 1) all.push_back(for_range("step", Expr(1), Expr(steps_), steps_, [&](const Expr& i) { return step(i, false); }));
    b_.run(row_, rows_, std::move(all));
  }
  template <class Cell> void run(Cell&& cell) {
    run(cell, [] { return Stmts{}; });
  }

 private:
  KernelBuilder& b_;
  Value x_, h_, weight_;
  int64_t gates_;
  Dim steps_, rows_;
  int64_t hidden_, width_;
  bool reverse_, first_ = true;
  DType type_;
  Expr row_, t_, before_;
  std::vector<uint32_t> sums_;
};

}  // namespace

Result<std::vector<TensorType>> LstmScan::infer(const LstmScan& op, const Infer& ctx) {
  const Scan scan{op.x, op.h, op.weight, 4};
  const auto out = infer_scan(ctx, scan, {op.h, op.c}, {op.weight, op.projection ? *op.projection : op.weight});
  if (!out) return Failure{};
  const TensorType& c = ctx.type(op.c);
  const int64_t hidden = ctx.shape(op.weight)[0] / 4;
  if (c.shape != Shape{ctx.shape(op.h)[0], hidden})
    return ctx.error("rnn-mismatch", "cell state {} does not fit weight {}", c.to_string(), ctx.type(op.weight).to_string());
  if (!op.projection) {
    if (!require_square(ctx, scan)) return Failure{};
  } else if (ctx.shape(*op.projection) != Shape{ctx.shape(op.h)[1], hidden}) {
    return ctx.error("rnn-mismatch", "projection {} does not fit weight {}", ctx.type(*op.projection).to_string(), ctx.type(op.weight).to_string());
  }
  return std::vector<TensorType>{*out, TensorType{c.dtype, c.shape, {}}};
}

void LstmScan::kernel(const LstmScan& op, KernelBuilder& b) {
  Nest n(b, op.x, op.h, op.weight, 4, op.reverse);
  const Value last_c = b.result(1);
  // The cell's output, where it is not the state yet.
  const uint32_t output = op.projection ? b.scratch(n.type(), Dim::max(n.rows() * n.hidden(), 1)) : 0;
  const auto slot = [&](const Expr& unit) { return simplify(n.row() * Expr(n.hidden()) + unit); };
  const auto cell = [&](const Expr& unit) {
    const auto gate = [&](int64_t g) { return n.input(g, unit) + n.sum(g); };
    const Expr c = n.load(n.first() ? op.c : last_c, {n.row(), unit});
    return Stmts{let("c", sigmoid(gate(1)) * c + sigmoid(gate(0)) * tanh(gate(2)), [&](const Expr& fresh) {
      const Expr y = sigmoid(gate(3)) * tanh(fresh);
      return Stmts{n.store(last_c, {n.row(), unit}, fresh),
                   op.projection ? KernelBuilder::store(output, slot(unit), y) : n.store(b.result(), n.after(unit), y)};
    })};
  };
  if (!op.projection) return n.run(cell);
  const uint32_t total = b.local("total", DType::f64);
  n.run(cell, [&] {
    return Stmts{for_each("column", n.width(), [&](const Expr& column) {
      Stmts body = n.total(total, n.hidden(), [&](const Expr& k) { return b.load(output, slot(k)) * n.load(*op.projection, {column, k}); });
      body.push_back(n.store(b.result(), n.after(column), convert(n.type(), b.load(total))));
      return body;
    })};
  });
}

Result<TensorType> GruScan::infer(const GruScan& op, const Infer& ctx) {
  const Scan scan{op.x, op.h, op.weight, 3};
  const auto out = infer_scan(ctx, scan, {op.h}, {op.weight, op.bias ? *op.bias : op.weight});
  if (!out || !require_square(ctx, scan)) return Failure{};
  if (op.bias && ctx.shape(*op.bias) != Shape{ctx.shape(op.weight)[0]})
    return ctx.error("rnn-mismatch", "bias {} does not fit weight {}", ctx.type(*op.bias).to_string(), ctx.type(op.weight).to_string());
  return *out;
}

void GruScan::kernel(const GruScan& op, KernelBuilder& b) {
  Nest n(b, op.x, op.h, op.weight, 3, op.reverse);
  n.run([&](const Expr& unit) {
    const auto hidden = [&](int64_t g) { return op.bias ? n.sum(g) + n.load(*op.bias, {n.gate_row(g, unit)}) : n.sum(g); };
    const auto gate = [&](int64_t g) { return sigmoid(n.input(g, unit) + hidden(g)); };
    return Stmts{let("fresh", tanh(n.input(2, unit) + gate(0) * hidden(2)),
                     [&](const Expr& fresh) { return Stmts{n.store(b.result(), n.after(unit), fresh + gate(1) * (n.before(unit) - fresh))}; })};
  });
}

Result<TensorType> RnnScan::infer(const RnnScan& op, const Infer& ctx) {
  const Scan scan{op.x, op.h, op.weight, 1};
  const auto out = infer_scan(ctx, scan, {op.h}, {op.weight});
  if (!out || !require_square(ctx, scan)) return Failure{};
  return *out;
}

void RnnScan::kernel(const RnnScan& op, KernelBuilder& b) {
  Nest n(b, op.x, op.h, op.weight, 1, op.reverse);
  n.run([&](const Expr& unit) {
    const Expr sum = n.input(0, unit) + n.sum(0);
    return Stmts{n.store(b.result(), n.after(unit), op.relu ? max_nan(sum, like(sum, 0)) : tanh(sum))};
  });
}

}  // namespace mica
