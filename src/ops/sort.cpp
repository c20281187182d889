// Sorting, line by line. A task takes some lines and has memory for one: a stable merge sort of (key, place) pairs between two halves
// of it, or, where few of many are asked for, a short sorted list into which elements are inserted.
#include "mica/ops/sort.h"

#include <algorithm>

#include "mica/ops/kernel_builder.h"

namespace mica {

namespace {

constexpr int64_t most_tasks = 64;
constexpr int64_t longest_list = 64;  ///< elements that are kept by insertion

/// True when a stands before b in the order; never for equal ones.
Expr before(const Expr& a, const Expr& b, bool descending) {
  const DType t = a->type.dtype;
  const DType w = is_bool(t) ? DType::i64 : working(t);
  const Expr x = convert(w, a), y = convert(w, b);
  const Expr less = descending ? y < x : x < y;
  if (!is_float(w)) return less;
  const Expr x_nan = make_unary(ExprOp::isnan, x), y_nan = make_unary(ExprOp::isnan, y);
  return less || (descending ? x_nan && logical_not(y_nan) : y_nan && logical_not(x_nan));
}

class Sorter {
 public:
  Sorter(const Sort& op, KernelBuilder& b)
      : op_(op), b_(b), in_(b.shape(op.x), op.axis), out_(b.shape(b.result(0)), op.axis), dtype_(b.type(op.x).dtype), n_(in_.length) {}

  void run() {
    const Dim tasks = Dim::min(in_.count, most_tasks) * unless_empty(out_.length);
    if (tasks == 0) return b_.run(make_place("task", 0), 0, {});
    const Dim lines = Dim::ceil_div(in_.count, Dim::max(tasks, 1));
    const bool by_insertion = out_.length.high() <= longest_list && out_.length.typical() * 4 <= n_.typical();
    if (!by_insertion) {
      keys_ = b_.scratch(dtype_, tasks * 2 * n_);
      places_ = b_.scratch(DType::i32, tasks * 2 * n_);
      cursor_ = b_.local("cursor", DType::i64);
    } else {
      keys_ = b_.local("keys", dtype_, std::max<int64_t>(out_.length.high(), 2));
      places_ = b_.local("places", DType::i32, std::max<int64_t>(out_.length.high(), 2));
      cursor_ = b_.local("rank", DType::i64);
    }
    const Expr task = make_place("task", tasks);
    const Expr first = task * Expr(lines);
    b_.run(task, tasks, {for_range("line", first, min(first + Expr(lines), Expr(in_.count)), in_.count, [&](const Expr& line) {
             return by_insertion ? choose(line) : merge(line, task * Expr(2 * n_));
           })});
  }

 private:
  /// Stores the first elements of the line, which stand from `from` on.
  Stmt finish(const Expr& line, const Expr& from) {
    return for_each("i", out_.length, [&](const Expr& i) {
      const std::vector<Expr> where = out_.at(line, i);
      return Stmts{b_.store(b_.result(0), where, b_.load(keys_, from + i)),
                   b_.store(b_.result(1), where, cast(DType::i64, b_.load(places_, from + i)))};
    });
  }
  Stmts put(const Expr& at, const Expr& key, const Expr& place) const {
    return {KernelBuilder::store(keys_, at, key), KernelBuilder::store(places_, at, cast(DType::i32, place))};
  }

  /// Runs of 1, 2, 4 ... elements are merged from one half of the memory at `base` into the other.
  Stmts merge(const Expr& line, const Expr& base) {
    // As many as it takes until a run is the whole line.
    Expr passes(0);
    int64_t most = 0;
    for (; (int64_t{1} << most) < n_.high(); ++most) passes = passes + select(simplify(Expr(int64_t{1} << most) < Expr(n_)), Expr(1), Expr(0));
    Stmts body;
    body.push_back(for_each("i", n_, [&](const Expr& i) { return put(base + i, b_.load(op_.x, in_.at(line, i)), i); }));
    body.push_back(for_range("pass", Expr(0), passes, most, [&](const Expr& pass) {
      const Expr even = floormod(pass, Expr(2)) * Expr(n_);
      return Stmts{let_place("width", make_binary(ExprOp::shl, Expr(1), pass), n_,
                             [&](const Expr& width) { return Stmts{merge_runs(width, base + even, base + Expr(n_) - even)}; })};
    }));
    body.push_back(finish(line, base + floormod(passes, Expr(2)) * Expr(n_)));
    return body;
  }

  Stmt merge_runs(const Expr& width, const Expr& from, const Expr& to) {
    const Expr low = make_place("low", n_), n(n_);
    Stmts merged{let_place("mid", min(low + width, n), n_ + 1, [&](const Expr& mid) {
      return Stmts{let_place("high", min(mid + width, n), n_ + 1, [&](const Expr& high) {
        return Stmts{KernelBuilder::store(cursor_, Expr(0), low),
                     for_range("k", low, high, n_, [&](const Expr& k) { return step(k, mid, high, from, to); })};
      })};
    })};
    return Stmt::loop(low, Expr(0), n, width * Expr(2), std::move(merged));
  }

  /// The next element: of the left run unless the right one's stands before it.
  Stmts step(const Expr& k, const Expr& mid, const Expr& high, const Expr& from, const Expr& to) {
    return {let_place("i", b_.load(cursor_), n_ + 1, [&](const Expr& i) {
      return Stmts{let_place("j", mid + k - i, 2 * n_ + 1, [&](const Expr& j) {
        // Of a run that is used up the last element is looked at in vain.
        const Expr left = from + min(i, Expr(n_ - 1)), right = from + min(j, Expr(n_ - 1));
        return Stmts{let("a", b_.load(keys_, left), [&](const Expr& a) {
          return Stmts{let("b", b_.load(keys_, right), [&](const Expr& b) {
            return Stmts{let("take", i < mid && (high <= j || logical_not(before(b, a, op_.descending))), [&](const Expr& take) {
              Stmts s = put(to + k, select(take, a, b), select(take, b_.load(places_, left), b_.load(places_, right)));
              s.push_back(KernelBuilder::store(cursor_, Expr(0), i + select(take, Expr(1), Expr(0))));
              return s;
            })};
          })};
        })};
      })};
    })};
  }

  /// A list of the best so far, in order; an element that belongs into it moves the later ones up.
  Stmts choose(const Expr& line) {
    const Dim& m = out_.length;
    Stmts body;
    body.push_back(for_each("i", n_, [&](const Expr& i) {
      return Stmts{let("key", b_.load(op_.x, in_.at(line, i)), [&](const Expr& key) {
        const Expr worst = b_.load(keys_, Expr(m - 1));
        return Stmts{let_place("filled", min(i, Expr(m)), m + 1, [&](const Expr& filled) {
          return Stmts{Stmt::branch(filled < Expr(m) || before(key, worst, op_.descending), insert(i, key, filled))};
        })};
      })};
    }));
    body.push_back(finish(line, Expr(0)));
    return body;
  }

  Stmts insert(const Expr& i, const Expr& key, const Expr& filled) {
    const Dim& m = out_.length;
    Stmts body;
    body.push_back(KernelBuilder::store(cursor_, Expr(0), Expr(0)));
    body.push_back(for_range("q", Expr(0), filled, m, [&](const Expr& q) {
      const Expr stays = logical_not(before(key, b_.load(keys_, q), op_.descending));
      return Stmts{KernelBuilder::store(cursor_, Expr(0), b_.load(cursor_) + select(stays, Expr(1), Expr(0)))};
    }));
    body.push_back(let_place("rank", b_.load(cursor_), m, [&](const Expr& rank) {
      return Stmts{let_place("last", min(filled, Expr(m - 1)), m, [&](const Expr& last) {
        Stmts moved{for_range("up", Expr(0), last - rank, m, [&](const Expr& up) {
          return put(last - up, b_.load(keys_, last - up - Expr(1)), b_.load(places_, last - up - Expr(1)));
        })};
        for (Stmt& s : put(rank, key, i)) moved.push_back(std::move(s));
        return moved;
      })};
    }));
    return body;
  }

  const Sort& op_;
  KernelBuilder& b_;
  Lines in_, out_;
  DType dtype_;
  Dim n_;
  uint32_t keys_ = 0, places_ = 0, cursor_ = 0;
};

}  // namespace

Result<std::vector<TensorType>> Sort::infer(const Sort& op, const Infer& ctx) {
  const TensorType& x = ctx.type(op.x);
  const auto axis = normal_axis(ctx, op.axis, x.rank());
  if (!axis) return Failure{};
  std::vector<Dim> dims = x.shape.dims();
  if (x.rank() && op.count != -1) {
    if (op.count < 0 || op.count > x.shape[*axis])
      return ctx.error("sort-count", "{} elements are not to be had from axis {} of {}", op.count, *axis, x.to_string());
    dims[*axis] = op.count;
  }
  if (x.rank() && x.shape[*axis].high() > INT32_MAX) return ctx.error("sort-size", "axis {} of {} is too long to sort", *axis, x.to_string());
  return std::vector<TensorType>{{x.dtype, Shape(dims), {}}, {DType::i64, Shape(dims), {}}};
}

void Sort::kernel(const Sort& op, KernelBuilder& b) { Sorter(op, b).run(); }

}  // namespace mica
