#pragma once
// Runs a `.pt` in LibTorch: the judge (fp64) and the yardstick (working dtype) of `verify`, and the contenders of `bench`. No torch type appears
// here.
#include <filesystem>
#include "mica/frontend/torchscript.h"
namespace mica {
/// Dense row-major bytes with their type.
struct RawTensor {
  TensorType type;
  std::vector<std::byte> bytes;
};
enum class EagerMode : uint8_t {
  fp64,    ///< parameters and floating inputs converted to f64: the judge
  eager,   ///< as loaded, interpreted by the JIT without freezing or fusion
  bf16,    ///< the same with parameters and inputs of f32 in bf16: the yardstick of a lower precision. Where operators do not take the mixture
           ///< with what the program makes in f32, dtypes and constants in its text become bf16 as well
  frozen,  ///< torch.jit.freeze + optimised execution
};
/// A model loaded in LibTorch for repeated runs. Outputs are flattened in the order of Mica's outputs.
class EagerModel {
 public:
  static Result<EagerModel> load(const std::filesystem::path& file, EagerMode mode, int threads, const LoadOptions& options,
                                 Diagnostics& diagnostics);
  Result<std::vector<RawTensor>> run(const std::vector<RawTensor>& inputs, Diagnostics& diagnostics);
  /// Runs once on inputs set before by `set_inputs`, discarding outputs; seconds. For timing without conversion costs.
  Result<void> set_inputs(const std::vector<RawTensor>& inputs, Diagnostics& diagnostics);
  double time_once();
  EagerModel(EagerModel&&) noexcept;
  ~EagerModel();
 private:
  EagerModel();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
}  // namespace mica
