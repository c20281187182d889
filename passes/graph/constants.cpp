#include "constants.h"

#include <cstring>

namespace mica {

std::optional<double> splat_value(const Graph& graph, Value v) {
  if (!graph.is_constant(v)) return std::nullopt;
  const auto bytes = graph.constant(v).bytes;
  const TensorType& type = graph.type(v);
  const auto size = static_cast<size_t>(size_of(type.dtype));
  if (bytes.size() < size || std::memcmp(bytes.data(), bytes.data() + size, bytes.size() - size) != 0) return std::nullopt;
  const HostTensor one = to_host({type.dtype, {}, {}}, bytes.first(size));
  if (!is_float(type.dtype)) return static_cast<double>(one.integer[0]);
  return one.real[0];
}

HostTensor constant_tensor(const Graph& graph, Value v) { return to_host(graph.type(v), graph.constant(v).bytes); }

Value make_constant(Rewriter& rw, const TensorType& type, std::vector<double> elements, std::string name) {
  HostTensor t;
  t.dtype = DType::f64;
  t.shape = type.shape;
  t.real = std::move(elements);
  return rw.constant(type, ConstantData::own(from_host(t, type), std::move(name)));
}

namespace {
/// `type` with another size of axis 0.
TensorType resized(const TensorType& type, int64_t size) {
  std::vector<Dim> dims = type.shape.dims();
  dims.at(0) = Dim(size);
  return {type.dtype, Shape(std::move(dims)), {}};
}
}  // namespace

Value constant_part(Rewriter& rw, Value v, int64_t start, int64_t count) {
  const TensorType whole = rw.type(v), type = resized(whole, count);
  const int64_t each = whole.bytes() / std::max<int64_t>(whole.shape[0], 1);
  ConstantData data = rw.graph().constant(v);  // shares the storage
  data.bytes = data.bytes.subspan(static_cast<size_t>(start * each), static_cast<size_t>(count * each));
  return rw.constant(type, std::move(data));
}

Value joined_constant(Rewriter& rw, const std::vector<Value>& parts) {
  std::vector<std::byte> bytes;
  int64_t size = 0;
  for (const Value v : parts) {
    const auto part = rw.graph().constant(v).bytes;
    bytes.insert(bytes.end(), part.begin(), part.end());
    size += rw.type(v).shape[0];
  }
  const TensorType type = resized(rw.type(parts.at(0)), size);
  return rw.constant(type, ConstantData::own(std::move(bytes), name_of_value(rw.graph(), parts[0])));
}

std::string name_of_value(const Graph& graph, Value v) { return graph.values[v.id].name; }

}  // namespace mica
