#pragma once
// Sizes that depend on data. Whatever finds how many of something there are (nonzero, nms) writes into a result that holds the greatest
// number, and gives the count besides. `measure` makes a size of that count: a symbol of the graph, which from there on may stand in types;
// `head` is the part that was written. So kernels know their buffers' bounds, and memory is planned as if every measured size were the
// greatest that it can be.
//   %all, %count = nonzero(%x) : i64[12], i64[]
//   measure(%count, size=U0)
//   %places = head(%all, size=U0) : i64[U0]
#include "mica/ops/rules.h"

namespace mica {

/// Gives the symbol `size` its value, which must be in its range. It stays as long as anything mentions the symbol, and is the only one that
/// measures it; what mentions the symbol stands behind it or in a region behind it.
struct Measure {
  static constexpr OpSpec spec = {.signature = "measure(count, size)", .traits = Trait::measures};
  Value count;
  Dim size;
  static Result<std::vector<TensorType>> infer(const Measure& op, const Infer& ctx);
};

/// The first `size` elements along the axis; there are at least as many.
struct Head {
  static constexpr OpSpec spec = {.signature = "head(x, size, axis)",
                                  .samples = {"x=f32[4, 7], size=2", "x=i64[5], size=5", "x=f16[3, 2], size=0", "x=f32[4, 7], size=3, axis=1"},
                                  .traits = Trait::pure | Trait::view};
  Value x;
  Dim size;
  int64_t axis = 0;
  static Result<TensorType> infer(const Head& op, const Infer& ctx);
  static Expr define(const Head& op, Define& d) { return d.at(op.x, d.indices()); }
};

/// x with zeros behind it along the axis, up to `size`, which is at least as much.
struct Grow {
  static constexpr OpSpec spec = {.signature = "grow(x, size, axis)",
                                  .samples = {"x=f32[2, 3], size=5", "x=i64[4], size=4", "x=bool[0], size=3", "x=f32[2, 3], size=4, axis=1"}};
  Value x;
  Dim size;
  int64_t axis = 0;
  static Result<TensorType> infer(const Grow& op, const Infer& ctx);
  static Expr define(const Grow& op, Define& d);
};

/// Where x, of rank 1, is not zero: the places in order, at the front of as many as x has, and how many they are. What stands behind them has no
/// meaning. NaN is not zero.
struct Nonzero {
  static constexpr OpSpec spec = {.signature = "nonzero(x)"};
  Value x;
  static Result<std::vector<TensorType>> infer(const Nonzero& op, const Infer& ctx);
  static void kernel(const Nonzero& op, KernelBuilder& b);
};

/// Whether two values are computed alike from the same ones, as far as a few steps tell: masks and bounds are often written twice.
bool computed_alike(const Graph& graph, Value a, Value b, int depth = 6);

using MeasureOps = OpList<Measure, Head, Grow, Nonzero>;

}  // namespace mica
