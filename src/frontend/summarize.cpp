// What a `.pt` holds, without shapes.
#include <ATen/ATen.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <set>

#include "binding.h"
#include "module.h"

namespace mica {
namespace {

using namespace frontend;

/// Counts the operators of a method and of all that it calls, once for each call.
class Counter {
 public:
  void count(torch::jit::Function& function, const c10::IValue* self, int depth = 0) {
    if (depth > 256 || !function.isGraphFunction()) return;
    const auto graph = torch::jit::toGraphFunction(function).graph();
    std::map<const torch::jit::Value*, c10::IValue> objects;
    if (self) objects[graph->inputs()[0]] = *self;
    block(*graph->block(), objects, depth);
  }
  std::map<std::string, int64_t> ops;

 private:
  void block(const torch::jit::Block& b, std::map<const torch::jit::Value*, c10::IValue>& objects, int depth) {
    for (const torch::jit::Node* node : b.nodes()) {
      const auto kind = node->kind();
      const auto object = node->inputs().empty() ? objects.end() : objects.find(node->inputs()[0]);
      if (kind == c10::prim::GetAttr && object != objects.end()) {
        const c10::IValue value = object->second.toObject()->getAttr(node->s(c10::attr::name));
        if (value.isObject()) objects[node->output()] = value;
      } else if (kind == c10::prim::CallMethod && object != objects.end()) {
        const c10::IValue self = object->second;
        if (auto* function = self.toObject()->type()->findMethod(node->s(c10::attr::name))) count(*function, &self, depth + 1);
      } else if (kind == c10::prim::CallFunction) {
        count(*node->inputs()[0]->type()->expectRef<c10::FunctionType>().function(), nullptr, depth + 1);
      } else if (!kind.is_prim()) {
        const auto* op = node->maybeOperator();
        ++ops[op ? full_name(op->schema()) : kind.toQualString()];
      }
      for (const torch::jit::Block* inner : node->blocks()) block(*inner, objects, depth);
    }
  }
};

c10::OperatorName name_of_operator(const std::string& full) {
  const size_t dot = full.find('.');
  return {full.substr(0, dot), dot == std::string::npos ? std::string() : full.substr(dot + 1)};
}

/// Operators on Python values only, which the importer computes itself.
bool is_python(const std::string& name) {
  const auto op = torch::jit::findOperatorFor(name_of_operator(name));
  if (!op) return false;
  const auto tensor = [](const c10::Argument& a) { return a.type()->str().find("Tensor") != std::string::npos; };
  const auto& schema = op->schema();
  if (schema.name() == "aten::warn") return true;
  if (!std::any_of(schema.returns().begin(), schema.returns().end(), tensor)) return true;
  return false;
}

}  // namespace

Result<ModelSummary> summarize_torchscript(const std::filesystem::path& file, Diagnostics& diagnostics) {
  auto module = open_module(file, diagnostics);
  if (!module) return Failure{};
  try {
    const auto method = find_method(*module, "forward", diagnostics);
    if (!method) return Failure{};
    ModelSummary summary;
    summary.signature = signature_of(*method);
    const auto& parameters = method->function().getSchema().arguments();
    const auto recorded = module->retrieve_traced_inputs();
    if (const auto it = recorded.find("forward"); it != recorded.end()) {
      for (size_t i = 0; i < it->value().size(); ++i) {
        const c10::IValue value = it->value().get(i);
        const std::string name = i + 1 < parameters.size() ? parameters[i + 1].name() : fmt::format("{}", i);
        std::vector<at::Tensor> tensors;
        flatten(value, tensors);
        for (size_t k = 0; k < tensors.size(); ++k)
          summary.traced_inputs.emplace_back(tensors.size() == 1 ? name : fmt::format("{}.{}", name, k), describe(tensors[k]));
      }
    }
    Counter counter;
    const c10::IValue self = module->_ivalue();
    counter.count(method->function(), &self);
    summary.ops.assign(counter.ops.begin(), counter.ops.end());
    std::stable_sort(summary.ops.begin(), summary.ops.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    for (const auto& [op, count] : summary.ops) {
      if (!is_importable(op) && !is_python(op)) summary.unsupported.push_back(op);
    }
    std::set<const void*> seen;
    for (const at::Tensor& p : module->parameters()) {
      if (!seen.insert(p.unsafeGetTensorImpl()).second) continue;
      summary.parameters += p.numel();
      summary.parameter_bytes += static_cast<int64_t>(p.nbytes());
    }
    return summary;
  } catch (const std::exception& e) {
    diagnostics.error("load-failed", "{} could not be read: LibTorch says: {}", file.string(), first_line(e))
        .help("check that torch.jit.load reads it");
    return Failure{};
  }
}

}  // namespace mica
