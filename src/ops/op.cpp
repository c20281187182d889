#include "mica/ops/op.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "mica/support/defect.h"
#include "mica/support/narrow_float.h"

namespace mica {

Failure Infer::report(std::string_view name, std::string message) const {
  Diagnostic& d = diagnostics_.add(Severity::error, ErrorClass::user, name, fmt::format("{}: {}", node_.info->name(), message));
  const Location& where = graph_.location(node_);
  if (where.known()) d.at(where);
  return Failure{};
}

Diagnostic& report_symbolic(Diagnostics& diagnostics, std::string_view what, const SymbolicSize& size) {
  return diagnostics.unsupported("symbolic-size", "{} needs one fixed answer where the model's sizes vary: {}", what, size.what())
      .help(
          "compile for one size (--input NAME:SHAPE with numbers), or for a part of the range in which the answer is the same: --dim NAME=LOW..HIGH");
}

Failure Infer::refuse(const SymbolicSize& size) const {
  Diagnostic& d = report_symbolic(diagnostics_, node_.info->name(), size);
  const Location& where = graph_.location(node_);
  if (where.known()) d.at(where);
  return Failure{};
}

Define::Define(const Graph& graph, const Node& node, size_t result)
    : graph_(graph), node_(node), result_(result), result_type_(graph.type(node.result(result))) {
  for (int64_t axis = 0; axis < result_type_.rank(); ++axis) indices_.push_back(make_index(fmt::format("i{}", axis), result_type_.shape[axis]));
}

Expr Define::operator[](Value v) const {
  const Shape& from = shape(v);
  const int64_t skip = static_cast<int64_t>(indices_.size()) - from.rank();
  MICA_CHECK(skip >= 0, "define: an operand of higher rank than the result needs at()");
  const int64_t first = defect(Defect::broadcast_rank) && indices_.size() > 4 ? 0 : skip;
  std::vector<Expr> where;
  for (int64_t axis = 0; axis < from.rank(); ++axis) where.push_back(from[axis] == 1 ? Expr(0) : indices_[first + axis]);
  return at(v, std::move(where));
}

Expr Define::at(Value v, std::vector<Expr> where) const {
  MICA_CHECK(static_cast<int64_t>(where.size()) == shape(v).rank(), "define: one index for each axis of the operand");
  return make_load(v.id, ExprType{type(v).dtype, 1}, std::move(where));
}

Expr Define::reduce(ReduceOp op, int64_t axis, Expr e) const { return reduce(op, std::vector<int64_t>{axis}, std::move(e)); }

Expr Define::reduce(ReduceOp op, const std::vector<int64_t>& axes, Expr e) const {
  std::vector<Expr> vars;
  std::vector<VarBinding> bindings;
  for (const int64_t axis : axes) {
    vars.push_back(var(result_type_.shape[axis]));
    bindings.push_back({index(axis), vars.back()});
  }
  return make_reduce(op, std::move(vars), substitute(e, bindings));
}

Expr Define::var(const Dim& extent, std::string_view name) const { return make_index(std::string(name), extent); }

std::optional<uint32_t> measured_by(const Node& node) {
  if (!node.info->is(Trait::measures)) return std::nullopt;
  for (const Attr& a : node.fields)
    if (const auto* d = std::get_if<Dim>(&a); d && d->symbol_id() >= 0) return static_cast<uint32_t>(d->symbol_id());
  return std::nullopt;
}

void for_mentions(const Graph& graph, const Node& node, const std::function<void(uint32_t)>& f) {
  const auto shape = [&](const std::vector<Dim>& dims) {
    for (const Dim& d : dims) for_symbols(d, f);
  };
  for (const Value r : node.results) shape(graph.type(r).shape.dims());
  const auto own = measured_by(node);
  for (const Attr& a : node.fields) {
    if (const auto* d = std::get_if<Dim>(&a); d && !own) for_symbols(*d, f);
    else if (const auto* ds = std::get_if<Dims>(&a)) shape(ds->items);
    else if (const auto* r = std::get_if<Region>(&a); r && r->graph) {
      for (const Value v : r->graph->inputs) shape(r->graph->type(v).shape.dims());
      for (const Node& n : r->graph->nodes) for_mentions(*r->graph, n, f);
    }
  }
}

bool is_pure(const Node& node) {
  if (!node.info->is(Trait::pure) && !node.info->is(Trait::measures)) return false;
  for (const Attr& a : node.fields)
    if (const auto* r = std::get_if<Region>(&a); r && r->graph && !std::ranges::all_of(r->graph->nodes, is_pure)) return false;
  return true;
}

bool has_region(const Node& node) {
  return std::ranges::any_of(node.fields, [](const Attr& a) {
    const auto* r = std::get_if<Region>(&a);
    return r && r->graph;
  });
}

const OpInfo* find_op(std::string_view name) {
  for (const OpInfo* info : all_ops())
    if (info->name() == name) return info;
  return nullptr;
}

std::vector<Value> Builder::append(const OpInfo* info, std::vector<Attr> fields) {
  Node node{info, std::move(fields), {}, location};
  // A hole left by an inference that failed, and was reported, before.
  bool complete = true;
  for (const Attr& a : node.fields)
    if (auto v = std::get_if<Value>(&a)) complete &= static_cast<bool>(*v);
    else if (auto vs = std::get_if<Values>(&a))
      for (const Value item : vs->items) complete &= static_cast<bool>(item);
  if (!complete) return {};
  auto types = info->infer(node, Infer(graph_, node, diagnostics_));
  if (!types) return {};
  for (TensorType& t : *types) node.results.push_back(graph_.add_value(std::move(t)));
  for (const Value r : node.results) graph_.values[r.id].producer = static_cast<uint32_t>(graph_.nodes.size());
  graph_.nodes.push_back(node);
  return node.results;
}

namespace {
template <class T> std::vector<std::byte> bytes_of(T value) {
  std::vector<std::byte> out(sizeof(T));
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}
}  // namespace

std::vector<std::byte> scalar_bytes(DType dtype, double value) {
  switch (dtype) {
    case DType::f64: return bytes_of(value);
    case DType::f32: return bytes_of(static_cast<float>(value));
    case DType::f16: return bytes_of(to_f16(value));
    case DType::bf16: return bytes_of(to_bf16(value));
    case DType::i64: return bytes_of(static_cast<int64_t>(value));
    case DType::i32: return bytes_of(static_cast<int32_t>(static_cast<int64_t>(value)));
    case DType::i16: return bytes_of(static_cast<int16_t>(static_cast<int64_t>(value)));
    case DType::i8: return bytes_of(static_cast<int8_t>(static_cast<int64_t>(value)));
    case DType::u8: return bytes_of(static_cast<uint8_t>(static_cast<int64_t>(value)));
    case DType::b8: return bytes_of(static_cast<uint8_t>(value != 0));
  }
  return {};
}

Value Builder::scalar(DType dtype, double value) { return graph_.add_constant({dtype, {}, {}}, ConstantData::own(scalar_bytes(dtype, value))); }

Value Builder::constant_ints(const std::vector<int64_t>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(int64_t));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return graph_.add_constant({DType::i64, {static_cast<int64_t>(values.size())}, {}}, ConstantData::own(std::move(bytes)));
}

}  // namespace mica
