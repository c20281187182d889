#pragma once
// Writes small `.pt` files from TorchScript source, so that tests need neither Python nor files in the repository. No torch type appears here.
#include "mica/frontend/eager.h"
namespace mica {
/// An attribute: "n", "int", "3"; the value is an expression of TorchScript.
struct ScriptAttribute {
  std::string name, type, value;
};
/// A module: its methods as TorchScript source, its tensors, its submodules.
struct ScriptModule {
  std::string source;                                         ///< "def forward(self, x):\n  return torch.relu(x + self.w)\n"
  std::vector<std::pair<std::string, RawTensor>> parameters;  ///< by name
  std::vector<std::pair<std::string, ScriptModule>> children;
  bool training = false;
  std::vector<ScriptAttribute> attributes = {};
};
/// Compiles and saves; `traced_inputs` are stored as torch.jit.trace would. Fails with LibTorch's message.
Result<void> write_script(const std::filesystem::path& file, const ScriptModule& module, const std::vector<RawTensor>& traced_inputs,
                          Diagnostics& diagnostics);
}  // namespace mica
