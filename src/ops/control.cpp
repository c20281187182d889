#include "mica/ops/control.h"

namespace mica {

namespace {

bool same_type(const TensorType& a, const TensorType& b) { return a.dtype == b.dtype && a.shape == b.shape; }
std::string bare(const TensorType& t) { return TensorType{t.dtype, t.shape, {}}.to_string(); }

Result<void> require_scalar(const Infer& ctx, Value v, DType dtype, std::string_view what) {
  const TensorType wanted{dtype, {}, {}};
  if (same_type(ctx.type(v), wanted)) return {};
  return ctx.error("control-scalar", "{} must be {}, not {}", what, wanted.to_string(), bare(ctx.type(v)));
}

std::vector<TensorType> types_of(const Graph& graph, const std::vector<Value>& values) {
  std::vector<TensorType> types;
  for (const Value v : values) types.push_back(graph.type(v));
  return types;
}

/// `given` are the types of a region's inputs or outputs, `wanted` what must stand there.
Result<void> require_types(const Infer& ctx, std::string_view what, const std::vector<TensorType>& given, const std::vector<TensorType>& wanted) {
  if (given.size() != wanted.size()) return ctx.error("region-signature", "{}: {} where {} are needed", what, given.size(), wanted.size());
  for (size_t i = 0; i < given.size(); ++i)
    if (!same_type(given[i], wanted[i]))
      return ctx.error("region-signature", "{}: number {} is {}, not {}", what, i, bare(given[i]), bare(wanted[i]));
  return {};
}

void append_types(std::vector<TensorType>& types, const Graph& graph, const Values& values) {
  for (const Value v : values.items) types.push_back({graph.type(v).dtype, graph.type(v).shape, {}});
}

}  // namespace

Result<std::vector<TensorType>> If::infer(const If& op, const Infer& ctx) {
  if (!op.then.graph || !op.otherwise.graph) return ctx.error("region-missing", "needs both regions, `then` and `otherwise`");
  if (!require_scalar(ctx, op.condition, DType::b8, "the condition")) return Failure{};
  std::vector<TensorType> captures;
  append_types(captures, ctx.graph(), op.captures);
  std::vector<TensorType> results;
  append_types(results, *op.then.graph, op.then.graph->outputs);
  if (!require_types(ctx, "inputs of `then`", types_of(*op.then.graph, op.then.graph->inputs), captures) ||
      !require_types(ctx, "inputs of `otherwise`", types_of(*op.otherwise.graph, op.otherwise.graph->inputs), captures) ||
      !require_types(ctx, "outputs of `otherwise`, as those of `then`", types_of(*op.otherwise.graph, op.otherwise.graph->outputs), results))
    return Failure{};
  return results;
}

Result<std::vector<TensorType>> Loop::infer(const Loop& op, const Infer& ctx) {
  if (!op.body.graph) return ctx.error("region-missing", "needs a region, `body`");
  if (op.trips && !require_scalar(ctx, *op.trips, DType::i64, "the number of trips")) return Failure{};
  if (op.condition && !require_scalar(ctx, *op.condition, DType::b8, "the condition")) return Failure{};
  const Graph& body = *op.body.graph;
  std::vector<TensorType> inputs = {{DType::i64, {}, {}}}, outputs = {{DType::b8, {}, {}}}, results;
  append_types(results, ctx.graph(), op.carried);
  inputs.insert(inputs.end(), results.begin(), results.end());
  outputs.insert(outputs.end(), results.begin(), results.end());
  append_types(inputs, ctx.graph(), op.captures);
  if (!require_types(ctx, "inputs of the body (trip, carried, captures)", types_of(body, body.inputs), inputs) ||
      !require_types(ctx, "outputs of the body (go on, carried)", types_of(body, body.outputs), outputs))
    return Failure{};
  return results;
}

Result<std::vector<TensorType>> Check::infer(const Check& op, const Infer& ctx) {
  if (!require_scalar(ctx, op.condition, DType::b8, "the condition")) return Failure{};
  return std::vector<TensorType>{};
}

}  // namespace mica
