#include "mica/ops/detection.h"

#include <algorithm>

#include "mica/ops/kernel_builder.h"

namespace mica {

Result<TensorType> RoiAlign::infer(const RoiAlign& op, const Infer& ctx) {
  const TensorType &x = ctx.type(op.x), &rois = ctx.type(op.rois);
  if (x.rank() != 4 || rois.rank() != 2 || rois.shape[1] != 5)
    return ctx.error("roi-shape", "takes a map [N, C, H, W] and regions [K, 5], not {} and {}", x.to_string(), rois.to_string());
  if (!require_float(ctx, op.x)) return Failure{};
  if (rois.dtype != x.dtype) return ctx.error("dtype-mismatch", "map {} and regions {} must have one dtype", x.to_string(), rois.to_string());
  if (op.height < 1 || op.width < 1) return ctx.error("roi-size", "a grid of {} x {} has no cells", op.height, op.width);
  return TensorType{x.dtype, Shape({rois.shape.dim(0), x.shape.dim(1), Dim(op.height), Dim(op.width)}), {}};
}

namespace {

constexpr int64_t most_channels = 32;  ///< of one task: a sample's place and weights are worked out once for them

/// One axis of a bilinear sample: the two pixels and their weights; `inside` is false far outside of the map.
struct Tap {
  Expr low, high, low_weight, high_weight, inside;
};

Tap tap_at(const Expr& at, const Dim& extent) {
  const DType w = at->type.dtype;
  const Expr p = max(at, imm(w, 0));
  const Expr size(extent), end = cast(w, size);
  const Expr whole = min(cast(DType::i64, min(p, end)), size - Expr(1));
  const Expr last = size - Expr(1) <= whole;
  const Expr part = select(last, imm(w, 0), p - cast(w, whole));
  return {whole, min(whole + Expr(1), size - Expr(1)), imm(w, 1) - part, part, imm(w, -1) <= at && at <= end};
}

class RoiAligner {
 public:
  RoiAligner(const RoiAlign& op, KernelBuilder& b) : op_(op), b_(b), map_(b.shape(op.x)), dtype_(b.type(op.x).dtype), w_(working(dtype_)) {}

  void run() {
    const Dim &regions = b_.shape(op_.rois)[0], blocks = Dim::ceil_div(map_[1], most_channels), tasks = regions * blocks;
    const Expr task = make_place("task", tasks);
    if (tasks == 0) return b_.run(task, 0, {});
    sums_ = b_.local("sums", w_, most_channels);
    roi_ = floordiv(task, Expr(blocks));
    const Expr first = floormod(task, Expr(blocks)) * Expr(most_channels);
    channel_ = [this, first](const char* name, auto&& body) {
      const Expr count = min(Expr(map_[1]) - first, Expr(most_channels));
      return for_range(name, Expr(0), count, most_channels, [&](const Expr& c) { return body(c, first + c); });
    };
    const Expr offset = imm(w_, op_.aligned ? 0.5 : 0), scale = imm(w_, op_.scale);
    const auto edge = [&](int64_t i) { return convert(w_, b_.load(op_.rois, {roi_, Expr(i)})) * scale - offset; };
    const auto extent = [&](const Expr& low, const Expr& high) { return op_.aligned ? high - low : max(high - low, imm(w_, 1)); };
    b_.run(task, tasks, {let_place("image", image(), map_[0], [&](const Expr& image) {
             return Stmts{let("x0", edge(1), [&](const Expr& x0) {
               return Stmts{let("y0", edge(2), [&](const Expr& y0) {
                 return Stmts{let("w", extent(x0, edge(3)) / imm(w_, static_cast<double>(op_.width)), [&](const Expr& w) {
                   return Stmts{let("h", extent(y0, edge(4)) / imm(w_, static_cast<double>(op_.height)),
                                    [&](const Expr& h) { return cells(image, {y0, h}, {x0, w}); })};
                 })};
               })};
             })};
           })});
  }

 private:
  /// Where a region begins along an axis, and how much of it one cell takes.
  struct Axis {
    Expr start, cell;
  };

  Expr image() {
    const std::string what = fmt::format("the image of a region is not one of {}", map_[0]);
    return b_.checked(b_.load(op_.rois, {roi_, Expr(0)}), map_[0], what);
  }
  Expr samples_in(const Axis& a) const { return op_.samples > 0 ? Expr(op_.samples) : cast(DType::i64, make_unary(ExprOp::ceil, a.cell)); }

  Stmts cells(const Expr& image, const Axis& y, const Axis& x) {
    return {let_place("rows", samples_in(y), int64_t{1} << 20, [&](const Expr& rows) {
      return Stmts{let_place("columns", samples_in(x), int64_t{1} << 20, [&](const Expr& columns) {
        return Stmts{for_range("i", Expr(0), Expr(op_.height), op_.height, [&](const Expr& i) {
          return Stmts{for_range("j", Expr(0), Expr(op_.width), op_.width, [&](const Expr& j) { return cell(image, y, x, rows, columns, i, j); })};
        })};
      })};
    })};
  }

  Stmts cell(const Expr& image, const Axis& y, const Axis& x, const Expr& rows, const Expr& columns, const Expr& i, const Expr& j) {
    const auto at = [&](const Axis& a, const Expr& cell, const Expr& sample, const Expr& count) {
      return a.start + cast(w_, cell) * a.cell + (cast(w_, sample) + imm(w_, 0.5)) * a.cell / cast(w_, count);
    };
    Stmts body{channel_("c", [&](const Expr& c, const Expr&) { return Stmts{KernelBuilder::store(sums_, c, imm(w_, 0))}; })};
    body.push_back(for_range("iy", Expr(0), rows, int64_t{1} << 20, [&](const Expr& iy) {
      return Stmts{for_range("ix", Expr(0), columns, int64_t{1} << 20, [&](const Expr& ix) {
        return Stmts{let("y", at(y, i, iy, rows), [&](const Expr& ya) {
          return Stmts{let("x", at(x, j, ix, columns), [&](const Expr& xa) { return sample(image, tap_at(ya, map_[2]), tap_at(xa, map_[3])); })};
        })};
      })};
    }));
    const Expr count = cast(w_, max(rows * columns, Expr(1)));
    body.push_back(channel_("c", [&](const Expr& c, const Expr& channel) {
      return Stmts{b_.store(b_.result(), {roi_, channel, i, j}, convert(dtype_, b_.load(sums_, c) / count))};
    }));
    return body;
  }

  /// Adds one bilinear sample to every channel's sum.
  Stmts sample(const Expr& image, const Tap& y, const Tap& x) {
    const auto pixel = [&](const Expr& channel, const Expr& row, const Expr& column) {
      return convert(w_, b_.load(op_.x, {image, channel, row, column}));
    };
    const auto named = [&](const char* name, const Expr& e, const Dim& limit, auto&& body) { return Stmts{let_place(name, e, limit, body)}; };
    Stmts inside = named("top", y.low, map_[2], [&](const Expr& top) {
      return named("bottom", y.high, map_[2], [&](const Expr& bottom) {
        return named("left", x.low, map_[3], [&](const Expr& left) {
          return named("right", x.high, map_[3], [&](const Expr& right) {
            return Stmts{channel_("c", [&](const Expr& c, const Expr& ch) {
              const Expr upper = y.low_weight * x.low_weight * pixel(ch, top, left) + y.low_weight * x.high_weight * pixel(ch, top, right);
              const Expr lower = y.high_weight * x.low_weight * pixel(ch, bottom, left) + y.high_weight * x.high_weight * pixel(ch, bottom, right);
              return Stmts{KernelBuilder::store(sums_, c, b_.load(sums_, c) + upper + lower)};
            })};
          });
        });
      });
    });
    // A map without pixels has no place inside.
    Expr condition = y.inside && x.inside;
    for (const int64_t axis : {0, 2, 3}) {
      if (!map_[axis].is_static() && map_[axis].low() == 0) condition = condition && exists(map_[axis]);
    }
    return {Stmt::branch(condition, std::move(inside))};
  }

  const RoiAlign& op_;
  KernelBuilder& b_;
  Shape map_;
  DType dtype_, w_;
  uint32_t sums_ = 0;
  Expr roi_;
  std::function<Stmt(const char*, const std::function<Stmts(const Expr&, const Expr&)>&)> channel_;  ///< a loop over the task's channels
};

}  // namespace

void RoiAlign::kernel(const RoiAlign& op, KernelBuilder& b) { RoiAligner(op, b).run(); }

Result<std::vector<TensorType>> Nms::infer(const Nms& op, const Infer& ctx) {
  const TensorType &boxes = ctx.type(op.boxes), &order = ctx.type(op.order);
  if (boxes.rank() != 2 || boxes.shape[1] != 4 || !is_float(boxes.dtype))
    return ctx.error("nms-boxes", "takes floating boxes [N, 4], not {}", boxes.to_string());
  if (order.rank() != 1 || order.dtype != DType::i64 || order.shape.dim(0) != boxes.shape.dim(0))
    return ctx.error("nms-order", "takes the order of boxes {} as i64[N], not {}", boxes.to_string(), order.to_string());
  return std::vector<TensorType>{{DType::i64, order.shape, {}}, {DType::i64, Shape(std::vector<int64_t>{}), {}}};
}

/// A box is read in order and compared with those that were kept; there is one task, since each decision hangs on those before it.
void Nms::kernel(const Nms& op, KernelBuilder& b) {
  const Dim& n = b.shape(op.boxes)[0];
  const DType w = working(b.type(op.boxes).dtype);
  const Value keep = b.result(0), count = b.result(1);
  const uint32_t good = b.local("good", DType::b8);
  const auto corner = [&](const Expr& box, int64_t i) { return convert(w, b.load(op.boxes, {box, Expr(i)})); };
  const auto area = [&](const Expr& box) { return (corner(box, 2) - corner(box, 0)) * (corner(box, 3) - corner(box, 1)); };
  const auto side = [&](const Expr& p, const Expr& q, int64_t low, int64_t high) {
    return max(min(corner(p, high), corner(q, high)) - max(corner(p, low), corner(q, low)), imm(w, 0));
  };
  const auto place = [&](const Expr& i) {
    return b.checked(b.load(op.order, {i}), n, fmt::format("the order names a box that is not one of {}", n));
  };

  Stmts body{b.store(count, {}, Expr(0))};
  body.push_back(for_each("i", n, [&](const Expr& i) { return Stmts{b.store(keep, {i}, Expr(-1))}; }));
  body.push_back(for_each("i", n, [&](const Expr& i) {
    return Stmts{let_place("box", place(i), n, [&](const Expr& box) {
      return Stmts{let_place("kept", b.load(count, {}), n, [&](const Expr& kept) {
        Stmts s{KernelBuilder::store(good, Expr(0), imm(DType::b8, 1))};
        s.push_back(for_range("k", Expr(0), kept, n, [&](const Expr& k) {
          return Stmts{let_place("other", b.load(keep, {k}), n, [&](const Expr& other) {
            const Expr both = side(other, box, 0, 2) * side(other, box, 1, 3);
            const Expr overlap = both / (area(other) + area(box) - both);
            return Stmts{KernelBuilder::store(good, Expr(0), b.load(good) && logical_not(imm(w, op.threshold) < overlap))};
          })};
        }));
        s.push_back(Stmt::branch(b.load(good), {b.store(keep, {kept}, box), b.store(count, {}, kept + Expr(1))}));
        return s;
      })};
    })};
  }));
  b.run(make_var("task", 0, 1), 1, std::move(body));
}

}  // namespace mica
