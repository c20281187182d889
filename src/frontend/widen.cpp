#include "widen.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/runtime/operator.h>

namespace mica::frontend {

namespace jit = torch::jit;

bool narrow_float(at::ScalarType type) { return type == at::kFloat || type == at::kHalf || type == at::kBFloat16; }

bool converts(at::ScalarType from, at::ScalarType to) { return to == at::kDouble ? narrow_float(from) : from == at::kFloat; }

void convert_floats(jit::Block& block, at::ScalarType to) {
  for (jit::Node* node : block.nodes()) {
    for (jit::Block* inner : node->blocks()) convert_floats(*inner, to);
    if (node->kind() == c10::prim::Constant) {
      const auto value = jit::toIValue(node->output());
      if (value && value->isTensor() && value->toTensor().defined() && converts(value->toTensor().scalar_type(), to)) {
        jit::WithInsertPoint here(node);
        node->output()->replaceAllUsesWith(block.owningGraph()->insertConstant(value->toTensor().to(to)));
      }
      continue;
    }
    const jit::Operator* op = node->maybeOperator();
    if (!op) continue;
    const auto& arguments = op->schema().arguments();
    for (size_t i = 0; i < node->inputs().size() && i < arguments.size(); ++i) {
      if (arguments[i].name() != "dtype") continue;
      const auto value = jit::toIValue(node->inputs()[i]);
      if (!value || !value->isInt() || !converts(static_cast<at::ScalarType>(value->toInt()), to)) continue;
      jit::WithInsertPoint here(node);
      node->replaceInput(i, block.owningGraph()->insertConstant(static_cast<int64_t>(to)));
    }
  }
}

DefaultDouble::DefaultDouble(bool on) : before_(c10::get_default_dtype()), on_(on) {
  if (on_) c10::set_default_dtype(caffe2::TypeMeta::fromScalarType(at::kDouble));
}
DefaultDouble::~DefaultDouble() {
  if (on_) c10::set_default_dtype(before_);
}

}  // namespace mica::frontend
