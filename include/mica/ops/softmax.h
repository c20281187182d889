#pragma once
#include "mica/ops/rules.h"

namespace mica {

/// softmax(x)[i] = exp(x[i]) / sum over j of exp(x[j]), with j along `axis`. The maximum is subtracted first, so large inputs do not overflow.
/// With `safe`, a row that is -inf throughout gives 0 instead of NaN, as attention has it for rows that are masked out.
struct Softmax {
  static constexpr OpSpec spec = {.signature = "softmax(x, axis, safe)",
                                  .samples = {"x=f32[4, 7]", "x=f32[2, 3, 5], axis=1", "x=f16[1, 1024]", "x=f32[3, 1]", "x=f32[2, 0]",
                                              "x=f32[3, 4] in 500..900", "x=f32[]", "x=f64[5], axis=0"}};
  Value x;
  int64_t axis = -1;
  bool safe = false;
  static Result<TensorType> infer(const Softmax& op, const Infer& ctx);
  static Expr define(const Softmax& op, Define& d);
};

/// log(softmax(x)), without taking the exponential apart: x - max - log(sum of exp(x - max)).
struct LogSoftmax {
  static constexpr OpSpec spec = {.signature = "log_softmax(x, axis)",
                                  .samples = {"x=f32[4, 7]", "x=f32[2, 3, 5], axis=1", "x=f16[1, 1024]", "x=f32[3, 4] in 500..900", "x=f32[]"}};
  Value x;
  int64_t axis = -1;
  static Result<TensorType> infer(const LogSoftmax& op, const Infer& ctx);
  static Expr define(const LogSoftmax& op, Define& d);
};

using SoftmaxOps = OpList<Softmax, LogSoftmax>;

}  // namespace mica
