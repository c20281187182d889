#include "mica/frontend/script.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/frontend/sugared_value.h>

#include "constants.h"
#include "module.h"
#include "torchvision.h"

namespace mica {
namespace {

/// What names in the source mean: `torch.f`, and `torchvision.f` for the operators of torchvision.
struct Names : torch::jit::Resolver {
  std::shared_ptr<torch::jit::SugaredValue> resolveValue(const std::string& name, torch::jit::GraphFunction& function,
                                                         const torch::jit::SourceRange& where) override {
    if (name == "torchvision") return std::make_shared<torch::jit::BuiltinModule>("torchvision");
    return torch::jit::nativeResolver()->resolveValue(name, function, where);
  }
};

torch::jit::Module build(const ScriptModule& from, const std::string& name, const std::shared_ptr<torch::jit::CompilationUnit>& unit) {
  torch::jit::Module module(c10::QualifiedName("__torch__." + name), unit);
  module.register_attribute("training", c10::BoolType::get(), from.training);
  for (const auto& [key, value] : from.parameters) {
    const at::Tensor tensor = frontend::tensor_of(value);
    module.register_parameter(key, tensor, /*is_buffer=*/!tensor.is_floating_point());
  }
  for (const ScriptAttribute& a : from.attributes) {
    torch::jit::CompilationUnit values;
    values.define(std::nullopt, fmt::format("def make() -> {}:\n  return {}\n", a.type, a.value), std::make_shared<Names>(), nullptr);
    torch::jit::Function& make = values.get_function(c10::QualifiedName("make"));
    module.register_attribute(a.name, make.getSchema().returns()[0].type(), make({}));
  }
  for (const auto& [key, child] : from.children) module.register_module(key, build(child, name + "_" + key, unit));
  module.define(from.source, std::make_shared<Names>());
  return module;
}

}  // namespace

Result<void> write_script(const std::filesystem::path& file, const ScriptModule& from, const std::vector<RawTensor>& traced_inputs,
                          Diagnostics& diagnostics) {
  try {
    frontend::register_torchvision();
    torch::jit::Module module = build(from, "Model", std::make_shared<torch::jit::CompilationUnit>());
    std::vector<c10::IValue> inputs;
    for (const RawTensor& raw : traced_inputs) inputs.emplace_back(frontend::tensor_of(raw));
    module.store_traced_inputs("forward", inputs);
    module.save(file.string());
    return {};
  } catch (const std::exception& e) {
    std::string text = e.what();
    diagnostics.error("script", "the TorchScript source does not compile: {}", text.substr(0, text.find("\nException raised")));
    return Failure{};
  }
}

}  // namespace mica
