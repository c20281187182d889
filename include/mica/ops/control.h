#pragma once
// Control flow that depends on data. Regions are nested graphs: they see their own inputs and constants only, so what they read
// from outside is handed in as `captures`. An op with a region has an effect when something inside has one (ir/graph.h: is_pure).
#include "mica/ops/op.h"

namespace mica {

/// One of two regions, chosen by `condition`, a bool[]. Both take `captures` as inputs and yield values of the same types: the
/// results. The other one does not run.
struct If {
  static constexpr OpSpec spec = {.signature = "if(condition, captures, then, otherwise)"};
  Value condition;
  Values captures;
  Region then;
  Region otherwise;
  static Result<std::vector<TensorType>> infer(const If& op, const Infer& ctx);
};

/// i = 0; while (i < trips && condition) { condition, carried = body(i, carried, captures); ++i }
/// `trips`: i64[], absent: no bound. `condition`: bool[], absent: true. The body's inputs are i: i64[], the carried values, the
/// captures; its outputs are whether to go on: bool[], then the carried values. Results: the carried values in the end, whose
/// types never change.
struct Loop {
  static constexpr OpSpec spec = {.signature = "loop(trips, condition, carried, captures, body)"};
  OptValue trips;
  OptValue condition;
  Values carried;
  Values captures;
  Region body;
  static Result<std::vector<TensorType>> infer(const Loop& op, const Infer& ctx);
};

/// The run fails with MICA_ERR_VALUE and `message` when `condition`, a bool[], is false. It stays in its region, in its order.
struct Check {
  static constexpr OpSpec spec = {.signature = "check(condition, message)", .traits = Trait::none};
  Value condition;
  std::string message;
  static Result<std::vector<TensorType>> infer(const Check& op, const Infer& ctx);
};

using ControlOps = OpList<If, Loop, Check>;

}  // namespace mica
