/// Takes adaptive pooling for what its sizes make it:
///   adaptive_avg_pool(%x : f32[1, 8, 7, 7], size=[1, 1])     =>  mean(%x, axes=[2, 3], keepdim=true)
///   adaptive_avg_pool(%x : f32[1, 8, 8, 8], size=[4, 4])     =>  avg_pool(%x, kernel=[2, 2], stride=[2, 2])
///   adaptive_max_pool(%x : f32[1, 8, 8, 8], size=[4, 4])     =>  max_pool(%x, kernel=[2, 2], stride=[2, 2])
///   adaptive_avg_pool(%x : f32[1, 8, 7, 7], size=[7, 7])     =>  %x
/// From here on adaptive pooling has windows of different sizes.
#include "mica/ops/pool.h"
#include "mica/ops/reduce.h"
#include "mica/passes/graph.h"

namespace mica {

namespace {

/// Windows of one size, side by side, along the last axes.
struct Windows {
  std::vector<Dim> kernel;
  Ints no_padding;
  Ints fixed_kernel() const { return Ints(Shape(kernel).sizes()); }
  bool whole = true;   ///< one window a plane
  bool single = true;  ///< of one element each
};

std::optional<Windows> equal_windows(const Shape& x, const Shape& y, size_t spatial) {
  Windows w;
  for (size_t i = 0; i < spatial; ++i) {
    const int64_t axis = x.rank() - static_cast<int64_t>(spatial - i);
    if (y[axis] == 0 || x[axis] % y[axis] != 0 || x[axis] == 0) return std::nullopt;
    w.kernel.push_back(x[axis] / y[axis]);
    w.no_padding.items.push_back(0);
    w.whole &= y[axis] == 1;
    w.single &= x[axis] == y[axis];
  }
  return w;
}

bool average(Rewriter& rw, const AdaptiveAvgPool& op) {
  const Shape x = rw.type(op.x).shape;
  const auto w = equal_windows(x, rw.type(rw.at().result()).shape, op.size.size());
  if (!w) return false;
  if (w->single) return rw.replace(op.x), true;
  if (!w->whole)
    return rw.replace(rw.create(AvgPool{.x = op.x, .kernel = w->fixed_kernel(), .stride = w->fixed_kernel(), .padding = w->no_padding})), true;
  Ints axes;
  for (int64_t axis = x.rank() - static_cast<int64_t>(op.size.size()); axis < x.rank(); ++axis) axes.items.push_back(axis);
  return rw.replace(rw.create(Mean{op.x, axes, true})), true;
}

bool maximum(Rewriter& rw, const AdaptiveMaxPool& op) {
  const auto w = equal_windows(rw.type(op.x).shape, rw.type(rw.at().result()).shape, op.size.size());
  if (!w) return false;
  if (w->single) return rw.replace(op.x), true;
  return rw.replace(rw.create(MaxPool{.x = op.x,
                                      .kernel = w->fixed_kernel(),
                                      .stride = w->fixed_kernel(),
                                      .padding = w->no_padding,
                                      .dilation = std::vector<int64_t>(op.size.size(), 1)})),
         true;
}

}  // namespace

constinit const Pass canonicalize_pooling = {
    .name = "canonicalize_pooling", .summary = "Take adaptive pooling for what its sizes make it", .run = rewrite_rules<average, maximum>};

}  // namespace mica
