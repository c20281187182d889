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

std::string name_of_value(const Graph& graph, Value v) { return graph.values[v.id].name; }

}  // namespace mica
