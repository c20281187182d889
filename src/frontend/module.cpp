#include "module.h"

#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/csrc/jit/serialization/import_read.h>

#include <ATen/ATen.h>

#include "archive.h"
#include "torchvision.h"

namespace mica::frontend {
namespace {

/// LibTorch words a missing operator as "Unknown builtin op: torchvision::nms."; the name is what the user needs.
std::string unknown_operator(const std::string& message) {
  constexpr std::string_view lead = "Unknown builtin op: ";
  const size_t at = message.find(lead);
  if (at == std::string::npos) return {};
  const size_t start = at + lead.size();
  const size_t end = message.find_first_of(" \n", start);
  std::string name = message.substr(start, end - start);
  while (!name.empty() && name.back() == '.') name.pop_back();
  return name;
}

void explain_load_failure(const std::filesystem::path& file, const std::exception& e, Diagnostics& diagnostics) {
  const std::string message = e.what();
  if (const std::string name = unknown_operator(message); !name.empty()) {
    diagnostics.unsupported("unknown-operator", "{} uses the operator {}, which comes from an extension of PyTorch", file.string(), name)
        .note("Mica knows the operators of PyTorch itself")
        .help("replace it in the model by PyTorch's own operators, or save the part of the model before it");
    return;
  }
  auto& d = diagnostics.error("load-failed", "{} could not be loaded as TorchScript: {}", file.string(), first_line(e));
  if (message.find("keyword attribute 'value' is undefined") != std::string::npos || message.find("mkldnn") != std::string::npos) {
    d.help("save the model before torch.jit.optimize_for_inference: what that makes cannot be loaded again");
    return;
  }
  d.help("check that torch.jit.load reads it; if it was saved by a newer PyTorch, save it again with 2.13 or older");
}

/// The same with tensors of the meta device: their sizes and dtypes, and no memory.
c10::IValue without_data(const c10::IValue& value) {
  if (value.isTensor()) {
    const at::Tensor& t = value.toTensor();
    return t.defined() ? c10::IValue(at::empty(t.sizes(), t.options().device(at::kMeta))) : value;
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> items;
    for (const c10::IValue& i : value.toTupleRef().elements()) items.push_back(without_data(i));
    return c10::ivalue::Tuple::create(std::move(items));
  }
  if (value.isList()) {
    const auto list = value.toList();
    c10::impl::GenericList items(list.elementType());
    for (size_t i = 0; i < list.size(); ++i) items.push_back(without_data(list.get(i)));
    return items;
  }
  if (value.isGenericDict()) {
    const auto dict = value.toGenericDict();
    c10::impl::GenericDict items(dict.keyType(), dict.valueType());
    for (const auto& e : dict) items.insert(e.key(), without_data(e.value()));
    return items;
  }
  return value;
}

/// torch.jit.trace stores its example inputs, by method: shapes and dtypes, while the records of their data are empty. LibTorch's loader does not
/// hand them out, so the record is read here.
void read_traced_inputs(const std::filesystem::path& file, torch::jit::Module& module) {
  caffe2::serialize::PyTorchStreamReader reader(file.string());
  if (!reader.hasRecord("traced_inputs.pkl")) return;
  try {
    const c10::IValue value =
        torch::jit::readArchiveAndTensors("traced_inputs", "", "traced_inputs/", std::nullopt, std::nullopt, at::Device(at::kCPU), reader);
    if (!value.isGenericDict()) return;
    for (const auto& entry : value.toGenericDict()) {
      if (!entry.key().isString() || !entry.value().isList()) continue;
      const auto list = entry.value().toList();
      std::vector<c10::IValue> inputs;
      for (size_t i = 0; i < list.size(); ++i) inputs.push_back(without_data(list.get(i)));
      module.store_traced_inputs(entry.key().toStringRef(), std::move(inputs));
    }
  } catch (const std::exception&) {
    // Without them the shapes come from --input, as the error about missing inputs says.
  }
}

}  // namespace

std::string first_line(const std::exception& e) {
  std::string text;
  if (const auto* error = dynamic_cast<const c10::Error*>(&e)) text = error->what_without_backtrace();
  else text = e.what();
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  // The interpreter prints the model's stack first and the reason last: "RuntimeError: expected ...".
  if (const size_t reason = text.rfind("\nRuntimeError: "); reason != std::string::npos) text = text.substr(reason + 15);
  while (!text.empty() && (text[0] == '\n' || text[0] == ' ')) text.erase(0, 1);
  text = text.substr(0, text.find('\n'));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text.empty() ? "no reason given" : text;
}

Result<torch::jit::Module> open_module(const std::filesystem::path& file, Diagnostics& diagnostics) {
  if (!check_archive(file, diagnostics)) return Failure{};
  register_torchvision();
  try {
    auto unit = std::make_shared<torch::jit::CompilationUnit>();
    torch::jit::Module module = torch::jit::import_ir_module(unit, file.string(), at::Device(at::kCPU), /*load_debug_files=*/true);
    read_traced_inputs(file, module);
    if (module.hasattr("training") && module.is_training()) {
      module.eval();
      diagnostics.note("training-mode", "the model was saved in training mode; Mica compiles it in evaluation mode")
          .help("call model.eval() before saving, to make this explicit");
    } else {
      module.eval();  // submodules have flags of their own
    }
    return module;
  } catch (const std::exception& e) {
    explain_load_failure(file, e, diagnostics);
    return Failure{};
  }
}

Result<torch::jit::Method> find_method(const torch::jit::Module& module, const std::string& name, Diagnostics& diagnostics) {
  if (auto method = module.find_method(name)) return *method;
  std::string names;
  for (const auto& method : module.get_methods()) names += (names.empty() ? "" : ", ") + method.name();
  auto& d = diagnostics.error("no-such-method", "the model has no method '{}'", name);
  if (names.empty()) d.note("it has no methods at all: forward was not scripted or traced");
  else d.note("it has: " + names);
  d.help("name one of them by --method, or give the module a forward()");
  return Failure{};
}

}  // namespace mica::frontend
