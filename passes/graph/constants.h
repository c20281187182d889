#pragma once
// Looking into constants and making them, for the passes of this folder.
#include <optional>

#include "mica/ir/interpret.h"
#include "mica/pass/pass.h"

namespace mica {

/// The one value that all elements of the constant v have; nothing when v is no constant, is empty or varies.
std::optional<double> splat_value(const Graph& graph, Value v);
/// A constant's elements as doubles.
HostTensor constant_tensor(const Graph& graph, Value v);
/// A constant of `type` from doubles in row-major order, each rounded once.
Value make_constant(Rewriter& rw, const TensorType& type, std::vector<double> elements, std::string name);
/// Elements start .. start + count along axis 0 of a constant.
Value constant_part(Rewriter& rw, Value v, int64_t start, int64_t count);
/// Constants of equal dtype and trailing sizes, one behind the other along axis 0.
Value joined_constant(Rewriter& rw, const std::vector<Value>& parts);
/// `name` of the value, for the name of a constant made from it.
std::string name_of_value(const Graph& graph, Value v);

}  // namespace mica
