#pragma once
// A method's arguments as a tree whose leaves are the graph's inputs, and its result as a flat list of tensors. The importer and the eager
// runner share both, so that inputs and outputs have the same order.
#include <torch/csrc/jit/api/module.h>

#include "evaluator.h"
#include "mica/frontend/torchscript.h"

namespace mica::frontend {

/// One argument: an input of the graph, a Python value, or a container of such.
struct Argument {
  enum class Kind : uint8_t { input, literal, tuple, list, dict };
  Kind kind = Kind::literal;
  size_t input = 0;
  c10::IValue literal;
  c10::TypePtr type;
  std::vector<Argument> children;
  std::vector<c10::IValue> keys;  ///< of a dict
};

struct BoundInput {
  std::string name;
  TensorType type;
  at::Tensor traced;                  ///< data from the archive; undefined when there is none of this type
  std::vector<int64_t> traced_sizes;  ///< of the tensor that the model was traced with, whatever its type; empty without one
};

struct Binding {
  std::vector<Argument> arguments;  ///< self is not among them
  std::vector<BoundInput> inputs;
  std::string structure;  ///< "(x, {'mask': mask})"
  bool has_traced_data = false;
};

/// Matches `--input` specs by name or position, then the archive's traced inputs, then defaults; what is missing is reported with the signature.
Result<Binding> bind_inputs(const torch::jit::Module& module, const torch::jit::Method& method, const LoadOptions& options, Diagnostics& diagnostics);

Item item_of(const Argument& argument, const std::vector<Item>& inputs);
c10::IValue ivalue_of(const Argument& argument, const std::vector<at::Tensor>& inputs);

/// "forward(x: Tensor, mask: Optional[Tensor] = None) -> Tensor"
std::string signature_of(const torch::jit::Method& method);
/// "f32[1, 3, 224, 224]"
std::string describe(const at::Tensor& tensor);

struct NamedTensor {
  std::string name;
  Tensor tensor;
};
/// The tensors of a result in order, named "out", "out.0", "out.logits"; `structure` becomes their nesting as text.
std::vector<NamedTensor> flatten(const Item& result, std::string& structure);
void flatten(const c10::IValue& result, std::vector<at::Tensor>& out);

}  // namespace mica::frontend
