// The meaning of a graph, node by node: an op's expressions are evaluated at every point of its results, the ops that it
// decomposes into are run in its place, or its loop nest is run.
#include "mica/ir/interpret.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "evaluate.h"
#include "mica/kernel/interpret.h"
#include "mica/ops/control.h"
#include "mica/ops/kernel_builder.h"
#include "mica/ops/measure.h"
#include "mica/support/narrow_float.h"

namespace mica {

namespace {

using Tensor = std::shared_ptr<const HostTensor>;

template <class T> T element(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

/// Calls f(place of the element in memory) for every element in row-major logical order.
template <class F> void for_places(const TensorType& type, F&& f) {
  const int64_t n = type.shape.elements();
  if (type.layout.is_identity()) {
    for (int64_t i = 0; i < n; ++i) f(i);
    return;
  }
  const std::vector<int64_t> sizes = type.shape.sizes();
  const std::vector<Dim> dims = type.strides();
  const std::vector<int64_t> strides(dims.begin(), dims.end());
  std::vector<int64_t> index(sizes.size());
  int64_t place = 0;
  for (int64_t i = 0; i < n; ++i) {
    f(place);
    for (size_t axis = sizes.size(); axis-- > 0;) {
      place += strides[axis];
      if (++index[axis] < sizes[axis]) break;
      place -= strides[axis] * sizes[axis];
      index[axis] = 0;
    }
  }
}

double read_real(DType t, const std::byte* p) {
  switch (t) {
    case DType::f64: return element<double>(p);
    case DType::f32: return element<float>(p);
    case DType::f16: return from_f16(element<uint16_t>(p));
    default: return from_bf16(element<uint16_t>(p));
  }
}

int64_t read_integer(DType t, const std::byte* p) {
  switch (t) {
    case DType::i64: return element<int64_t>(p);
    case DType::i32: return element<int32_t>(p);
    case DType::i16: return element<int16_t>(p);
    case DType::i8: return element<int8_t>(p);
    case DType::u8: return element<uint8_t>(p);
    default: return element<uint8_t>(p) != 0;
  }
}

void write_real(DType t, double x, std::byte* p) {
  const auto put = [p](auto v) { std::memcpy(p, &v, sizeof v); };
  switch (t) {
    case DType::f64: return put(x);
    case DType::f32: return put(static_cast<float>(x));
    case DType::f16: return put(to_f16(x));
    default: return put(to_bf16(x));
  }
}

class Interpreter {
 public:
  Interpreter(const Graph& graph, Diagnostics& diagnostics) : graph_(graph), diagnostics_(diagnostics), values_(graph.values.size()) {}
  void set(Value v, Tensor t) { values_[v.id] = std::move(t); }
  /// The symbols that an input's shape gives.
  void learn(const Shape& symbolic, const Shape& is);
  /// The values of `outputs`, after running every node.
  Result<std::vector<HostTensor>> run(const std::vector<Value>& outputs);
  Result<std::vector<HostTensor>> run_node(const Node& n);

 private:
  const Tensor& get(Value v);
  /// The node with its symbols' values in the place of the symbols.
  Result<std::vector<HostTensor>> run_sized(const Node& n);
  Result<std::vector<HostTensor>> run_expressions(const Node& n);
  Result<std::vector<HostTensor>> run_decomposition(const Node& n);
  Result<std::vector<HostTensor>> run_kernel(const Node& n);
  Result<std::vector<HostTensor>> run_if(const If& op);
  Result<std::vector<HostTensor>> run_loop(const Loop& op);
  Result<std::vector<HostTensor>> run_region(const Graph& region, const std::vector<Tensor>& inputs);
  std::vector<Tensor> get_all(const Values& values);
  Failure failed(const Node& n, std::string_view name, const std::string& message);

  const Graph& graph_;
  Diagnostics& diagnostics_;
  std::vector<Tensor> values_;
  std::vector<int64_t> sizes_;  ///< of the symbols, as far as they are known
};

const Tensor& Interpreter::get(Value v) {
  Tensor& t = values_[v.id];
  if (!t && graph_.is_constant(v)) t = std::make_shared<const HostTensor>(to_host(graph_.type(v), graph_.constant(v).bytes));
  MICA_CHECK(t, "a value is read before it is made");
  return t;
}

Failure Interpreter::failed(const Node& n, std::string_view name, const std::string& message) {
  diagnostics_.error(name, "{}: {}", n.info->name(), message).at(graph_.location(n));
  return Failure{};
}

void Interpreter::learn(const Shape& symbolic, const Shape& is) {
  sizes_.resize(graph_.symbols.size());
  for (int64_t a = 0; a < symbolic.rank(); ++a)
    if (const int32_t id = symbolic[a].symbol_id(); id >= 0) sizes_[static_cast<size_t>(id)] = is[a];
}

Result<std::vector<HostTensor>> Interpreter::run_sized(const Node& n) {
  Graph inner;
  Node copy = n;
  std::vector<std::pair<Value, Tensor>> given;
  copy.map_operands([&](Value v) {
    if (graph_.is_constant(v)) return inner.add_constant(graph_.type(v), graph_.constant(v));
    TensorType type = graph_.type(v);
    type.shape = get(v)->shape;
    given.emplace_back(inner.add_value(type), get(v));
    return given.back().first;
  });
  const auto fix = [&](Dim& d) { d = d.at(sizes_); };
  for (Attr& a : copy.fields) {
    if (auto d = std::get_if<Dim>(&a)) fix(*d);
    else if (auto ds = std::get_if<Dims>(&a)) std::ranges::for_each(ds->items, fix);
  }
  inner.locations.push_back(graph_.location(n));
  copy.location = 1;
  const auto types = n.info->infer(copy, Infer(inner, copy, diagnostics_));
  if (!types) return Failure{};
  for (size_t r = 0; r < types->size(); ++r) {
    TensorType type = (*types)[r];
    const TensorType& symbolic = graph_.type(n.results[r]);
    for (int64_t a = 0; a < type.rank(); ++a) MICA_CHECK(type.shape[a] == symbolic.shape[a].at(sizes_), n.info->name());
    type.layout = symbolic.layout;
    copy.results[r] = inner.add_value(std::move(type));
  }
  Interpreter next(inner, diagnostics_);
  for (auto& [v, t] : given) next.set(v, t);
  return next.run_node(copy);
}

Result<std::vector<HostTensor>> Interpreter::run_expressions(const Node& n) {
  Sources sources;
  n.for_operands([&](Value v) { sources[v.id] = get(v).get(); });
  std::vector<HostTensor> out;
  for (size_t r = 0; r < n.results.size(); ++r) {
    Define d(graph_, n, r);
    const Expr e = n.info->define(n, d);
    std::optional<Fault> fault;
    HostTensor t = evaluate(e, d.indices(), sources, fault);
    if (fault) return failed(n, "index-out-of-range", fmt::format("{}: {} is not in 0..{}", fault->text, fault->value, fault->limit - 1));
    const TensorType& type = graph_.type(n.results[r]);
    MICA_CHECK(t.shape == type.shape && is_float(t.dtype) == is_float(type.dtype), n.info->name());
    t.dtype = type.dtype;
    out.push_back(std::move(t));
  }
  return out;
}

Result<std::vector<HostTensor>> Interpreter::run_decomposition(const Node& n) {
  // The op in a graph of its own: operands that are constants stay so, since a decomposition may look at them.
  Graph inner;
  Node copy = n;
  std::vector<std::pair<Value, Tensor>> given;
  copy.map_operands([&](Value v) {
    const Value in = graph_.is_constant(v) ? inner.add_constant(graph_.type(v), graph_.constant(v)) : inner.add_value(graph_.type(v));
    given.emplace_back(in, get(v));
    return in;
  });
  copy.results.clear();
  inner.locations.push_back(graph_.location(n));
  copy.location = 1;
  Builder builder(inner, diagnostics_);
  builder.location = 1;
  const size_t errors = diagnostics_.error_count();
  const std::vector<Value> results = n.info->decompose(copy, builder);
  if (diagnostics_.error_count() != errors) return Failure{};
  MICA_CHECK(results.size() == n.results.size(), n.info->name());
  inner.renumber();
  Interpreter next(inner, diagnostics_);
  for (auto& [v, t] : given) next.set(v, t);
  return next.run(results);
}

/// The loop nest on f64 in place of every floating dtype, row-major, by the kernel interpreter.
Result<std::vector<HostTensor>> Interpreter::run_kernel(const Node& n) {
  Graph inner;
  Node copy = n;
  const auto wide = [](TensorType t) { return TensorType{is_float(t.dtype) ? DType::f64 : t.dtype, t.shape, {}}; };
  std::vector<std::vector<std::byte>> memory;
  std::map<uint32_t, size_t> place;  // by id in `inner`
  copy.map_operands([&](Value v) {
    const Value in = inner.add_value(wide(graph_.type(v)));
    place[in.id] = memory.size();
    memory.push_back(from_host(*get(v), inner.type(in)));
    return in;
  });
  for (Value& r : copy.results) {
    r = inner.add_value(wide(graph_.type(r)));
    place[r.id] = memory.size();
    memory.emplace_back(static_cast<size_t>(inner.type(r).bytes()));
  }
  KernelBuilder builder(inner, copy);
  n.info->kernel(copy, builder);
  std::vector<std::vector<std::byte>> scratch;
  std::vector<std::byte*> params;
  for (const KernelParam& p : builder.params()) {
    if (p.kind == KernelParam::Kind::scratch) params.push_back(scratch.emplace_back(static_cast<size_t>(p.elements * size_of(p.dtype))).data());
    else params.push_back(memory[place.at(p.value.id)].data());
  }
  KernelFault fault;
  if (!mica::interpret(builder.kernel(), params, 0, builder.kernel().tasks, fault, diagnostics_)) return Failure{};
  if (fault.code) return failed(n, "index-out-of-range", fmt::format("{}: {}", builder.faults().at(static_cast<size_t>(fault.site)), fault.value));
  std::vector<HostTensor> out;
  for (size_t r = 0; r < n.results.size(); ++r) {
    out.push_back(to_host(inner.type(copy.results[r]), memory[place.at(copy.results[r].id)]));
    out.back().dtype = graph_.type(n.results[r]).dtype;
  }
  return out;
}

std::vector<Tensor> Interpreter::get_all(const Values& values) {
  std::vector<Tensor> out;
  for (const Value v : values.items) out.push_back(get(v));
  return out;
}

Result<std::vector<HostTensor>> Interpreter::run_region(const Graph& region, const std::vector<Tensor>& inputs) {
  Interpreter inner(region, diagnostics_);
  inner.sizes_ = sizes_;
  for (size_t i = 0; i < inputs.size(); ++i) inner.set(region.inputs[i], inputs[i]);
  return inner.run(region.outputs);
}

Result<std::vector<HostTensor>> Interpreter::run_if(const If& op) {
  return run_region(get(op.condition)->integer[0] ? *op.then.graph : *op.otherwise.graph, get_all(op.captures));
}

Result<std::vector<HostTensor>> Interpreter::run_loop(const Loop& op) {
  const int64_t trips = op.trips ? get(*op.trips)->integer[0] : INT64_MAX;
  bool go_on = !op.condition || get(*op.condition)->integer[0];
  std::vector<Tensor> carried = get_all(op.carried);
  const std::vector<Tensor> captures = get_all(op.captures);
  for (int64_t i = 0; i < trips && go_on; ++i) {
    HostTensor trip{DType::i64, {}, {}, {i}};
    std::vector<Tensor> inputs = {std::make_shared<const HostTensor>(std::move(trip))};
    inputs.insert(inputs.end(), carried.begin(), carried.end());
    inputs.insert(inputs.end(), captures.begin(), captures.end());
    auto outputs = run_region(*op.body.graph, inputs);
    if (!outputs) return Failure{};
    go_on = (*outputs)[0].integer[0];
    for (size_t k = 0; k < carried.size(); ++k) carried[k] = std::make_shared<const HostTensor>(std::move((*outputs)[k + 1]));
  }
  std::vector<HostTensor> out;
  for (const Tensor& t : carried) out.push_back(*t);
  return out;
}

Result<std::vector<HostTensor>> Interpreter::run_node(const Node& n) {
  if (const auto branch = match<If>(n)) return run_if(*branch);
  if (const auto loop = match<Loop>(n)) return run_loop(*loop);
  if (const auto check = match<Check>(n)) {
    if (!get(check->condition)->integer[0]) return failed(n, "check-failed", check->message);
    return std::vector<HostTensor>{};
  }
  if (const auto measure = match<Measure>(n)) {
    sizes_.resize(graph_.symbols.size());
    const int64_t size = sizes_[*measured_by(n)] = get(measure->count)->integer[0];
    if (size < 0 || size > measure->size.high()) return failed(n, "measure-range", fmt::format("{} is {}", measure->size, size));
    return std::vector<HostTensor>{};
  }
  bool symbolic = false;
  if (!graph_.symbols.empty()) {
    for_mentions(graph_, n, [&](uint32_t) { symbolic = true; });
    n.for_operands([&](Value v) { symbolic |= !graph_.type(v).shape.is_static(); });
  }
  if (symbolic) return run_sized(n);
  if (n.info->define) return run_expressions(n);
  if (n.info->decompose) return run_decomposition(n);
  if (n.info->kernel) return run_kernel(n);
  return failed(n, "op-without-meaning", "has neither expressions nor a decomposition nor a kernel, so it cannot be interpreted");
}

Result<std::vector<HostTensor>> Interpreter::run(const std::vector<Value>& outputs) {
  // A value is dropped after its last use.
  std::vector<uint32_t> left = graph_.count_uses();
  for (const Value v : outputs) ++left[v.id];
  for (const Node& n : graph_.nodes) {
    auto results = run_node(n);
    if (!results) return Failure{};
    for (size_t r = 0; r < n.results.size(); ++r) values_[n.results[r].id] = std::make_shared<const HostTensor>(std::move((*results)[r]));
    n.for_operands([&](Value v) {
      if (--left[v.id] == 0) values_[v.id].reset();
    });
  }
  std::vector<HostTensor> out;
  for (const Value v : outputs) out.push_back(*get(v));
  return out;
}

}  // namespace

HostTensor to_host(const TensorType& type, std::span<const std::byte> bytes) {
  MICA_CHECK(static_cast<int64_t>(bytes.size()) == type.bytes());
  HostTensor out;
  out.dtype = type.dtype;
  out.shape = type.shape;
  const int64_t n = type.shape.elements(), size = size_of(type.dtype);
  int64_t i = 0;
  if (is_float(type.dtype)) {
    out.real.resize(n);
    for_places(type, [&](int64_t place) { out.real[i++] = read_real(type.dtype, bytes.data() + place * size); });
  } else {
    out.integer.resize(n);
    for_places(type, [&](int64_t place) { out.integer[i++] = read_integer(type.dtype, bytes.data() + place * size); });
  }
  return out;
}

std::vector<std::byte> from_host(const HostTensor& tensor, const TensorType& type) {
  MICA_CHECK(tensor.shape == type.shape);
  std::vector<std::byte> out(type.bytes());
  const int64_t size = size_of(type.dtype);
  const bool real = is_float(tensor.dtype);
  int64_t i = 0;
  for_places(type, [&](int64_t place) {
    std::byte* to = out.data() + place * size;
    if (is_float(type.dtype)) write_real(type.dtype, real ? tensor.real[i] : static_cast<double>(tensor.integer[i]), to);
    else {
      const int64_t v = real ? static_cast<int64_t>(tensor.real[i]) : tensor.integer[i];
      if (is_bool(type.dtype)) *to = std::byte{v != 0};
      else std::memcpy(to, &v, size);  // little-endian: the low bytes, so it wraps
    }
    ++i;
  });
  return out;
}

Result<std::vector<HostTensor>> interpret(const Graph& graph, const std::vector<HostTensor>& inputs, Diagnostics& diagnostics,
                                          std::vector<HostTensor>* states) {
  MICA_CHECK(inputs.size() == graph.inputs.size(), "interpret: one tensor for each input");
  Interpreter run(graph, diagnostics);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& type = graph.type(graph.inputs[i]);
    run.learn(type.shape, inputs[i].shape);
    MICA_CHECK((inputs[i].shape == type.shape || !type.shape.is_static()) && is_float(inputs[i].dtype) == is_float(type.dtype),
               "interpret: an input of another type");
    run.set(graph.inputs[i], std::make_shared<const HostTensor>(inputs[i]));
  }
  for (size_t i = 0; i < graph.states.size(); ++i) {
    const State& s = graph.states[i];
    run.set(s.input, std::make_shared<const HostTensor>(states ? states->at(i) : to_host(graph.type(s.initial), graph.constant(s.initial).bytes)));
  }
  std::vector<Value> wanted;
  graph.for_results([&](Value v) { wanted.push_back(v); });
  auto results = run.run(wanted);
  if (!results) return Failure{};
  const auto end = results->begin() + static_cast<int64_t>(graph.outputs.size());
  if (states) states->assign(std::make_move_iterator(end), std::make_move_iterator(results->end()));
  results->erase(end, results->end());
  return results;
}

Result<std::vector<HostTensor>> interpret_node(const Graph& graph, const Node& node, const std::vector<const HostTensor*>& operands,
                                               Diagnostics& diagnostics) {
  Interpreter run(graph, diagnostics);
  size_t i = 0;
  // The caller keeps the operands alive.
  node.for_operands([&](Value v) { run.set(v, Tensor(Tensor(), operands[i++])); });
  MICA_CHECK(i == operands.size(), "interpret_node: one tensor for each operand");
  return run.run_node(node);
}

}  // namespace mica
