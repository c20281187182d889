#pragma once
#include "mica/ops/op.h"
namespace mica {
/// A tensor of the interpreter: dense row-major in the logical order, whatever the type's layout. Floats as double, integers and bool as int64.
struct HostTensor {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<double> real;      ///< floats
  std::vector<int64_t> integer;  ///< integers and bool
  int64_t elements() const { return shape.elements(); }
};
/// Raw bytes (in `type`'s dtype and layout) to a HostTensor and back; conversion to narrow floats rounds to nearest even, to integers wraps.
HostTensor to_host(const TensorType& type, std::span<const std::byte> bytes);
std::vector<std::byte> from_host(const HostTensor& tensor, const TensorType& type);
/// Runs a graph point by point from the ops' `define`: floats in fp64 throughout, integers exact in their own dtype.
/// Fails (reported) on an index out of range, a check that does not hold, or an op without meaning.
/// `states`, one for each of the graph's, are read and replaced; null: the run begins with their initial values.
Result<std::vector<HostTensor>> interpret(const Graph& graph, const std::vector<HostTensor>& inputs, Diagnostics& diagnostics,
                                          std::vector<HostTensor>* states = nullptr);
/// The results of one node, whose operands are given; what constant folding uses.
Result<std::vector<HostTensor>> interpret_node(const Graph& graph, const Node& node, const std::vector<const HostTensor*>& operands,
                                               Diagnostics& diagnostics);
}  // namespace mica
