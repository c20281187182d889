#pragma once
// The one op that changes where elements lie without changing what they are. Only the layout pass makes it.
#include <algorithm>

#include "mica/ops/op.h"

namespace mica {

/// result[i...] = x[i...], with the result's axes in memory in the given order, outermost first.
struct Relayout {
  static constexpr OpSpec spec = {
      .signature = "relayout(x, order)",
      .samples = {"x=f32[1, 3, 5, 4], order=[0, 2, 3, 1]", "x=f32[2, 7], order=[1, 0]", "x=i64[3], order=[0]"},
      .traits = Trait::pure | Trait::view,
  };
  Value x;
  Ints order;
  static Result<TensorType> infer(const Relayout& op, const Infer& ctx) {
    TensorType type = ctx.type(op.x);
    std::vector<int64_t> sorted = op.order.items;
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i < sorted.size(); ++i) {
      if (sorted[i] != static_cast<int64_t>(i)) return ctx.error("relayout-order", "order is not a permutation of the axes of {}", type.to_string());
    }
    if (op.order.size() != static_cast<size_t>(type.rank()))
      return ctx.error("relayout-order", "order has {} entries for {}", op.order.size(), type.to_string());
    type.layout.order.assign(op.order.items.begin(), op.order.items.end());
    if (type.layout.is_identity()) type.layout = {};
    return type;
  }
  static Expr define(const Relayout& op, Define& d) { return d[op.x]; }
};

using RelayoutOps = OpList<Relayout>;

}  // namespace mica
