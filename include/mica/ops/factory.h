#pragma once
// Tensors out of nothing.
#include "mica/ops/rules.h"

namespace mica {

/// A tensor of one value.
struct Full {
  static constexpr OpSpec spec = {.signature = "full(shape, value, dtype)",
                                  .samples = {"shape=[2, 3], value=1.5, dtype=f32", "shape=[], value=7, dtype=i64",
                                              "shape=[0, 4], value=0, dtype=f16", "shape=[3], value=1, dtype=bool"}};
  Dims shape;
  Scalar value;
  DType dtype = DType::f32;
  static Result<TensorType> infer(const Full& op, const Infer& ctx);
  static Expr define(const Full& op, Define& d);
};

/// start, start + step, ...: `count` numbers. Floats are computed in f64 and rounded once.
struct Arange {
  static constexpr OpSpec spec = {.signature = "arange(count, start, step, dtype)",
                                  .samples = {"count=5", "count=4, start=2, step=3, dtype=i32", "count=3, start=0.5, step=0.25, dtype=f32", "count=0",
                                              "count=4, start=3, step=-1"}};
  Dim count = 0;
  Scalar start;
  Scalar step = Scalar(1);
  DType dtype = DType::i64;
  static Result<TensorType> infer(const Arange& op, const Infer& ctx);
  static Expr define(const Arange& op, Define& d);
};

/// A size as a number: what x.size(0) gives where the model computes with it.
struct SizeValue {
  static constexpr OpSpec spec = {.signature = "size_value(size, dtype)", .samples = {"size=5", "size=7, dtype=f32"}};
  Dim size = 0;
  DType dtype = DType::i64;
  static Result<TensorType> infer(const SizeValue& op, const Infer& ctx);
  static Expr define(const SizeValue& op, Define& d);
};

using FactoryOps = OpList<Full, Arange, SizeValue>;

}  // namespace mica
