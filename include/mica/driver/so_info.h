#pragma once
// What a compiled model says of itself in its manifest; nothing of the library is loaded or run.
#include <filesystem>
#include <string>
#include <vector>

#include "mica/driver/draw_inputs.h"
#include "mica/driver/so_model.h"
#include "mica/driver/tensor_file.h"

namespace mica {

struct SoInfo {
  std::string name;
  std::vector<SoValue> inputs, outputs;
  std::vector<InputDraw> draws;          ///< one an input
  std::vector<std::string> input_specs;  ///< the --input flags that it was compiled with
  std::vector<std::string> dim_specs;    ///< the --dim flags
  std::vector<std::string> state_specs;  ///< the --state flags
  std::vector<Symbol> symbols;           ///< sizes that the inputs give
  std::vector<Symbol> measured;          ///< sizes that a run measures
  std::string method = "forward";
  std::string model_hash;
  std::string precision;  ///< the --precision that it was compiled with
  bool winograd = false;
  std::string manifest;  ///< JSON text, whole
};
Result<SoInfo> read_so_info(const std::filesystem::path& file, Diagnostics& diagnostics);

/// Where the inputs of a run come from.
struct InputSource {
  std::vector<std::string> given;              ///< as the user wrote them: "x=@a.npy", "@all.npz", "x=@all.npz:key", "scale=0.5"
  std::vector<std::vector<std::byte>> traced;  ///< the archive's own, one an input; or empty
  uint64_t seed = 0;
  std::vector<int64_t> sizes;  ///< of the symbols, for inputs that are drawn; empty: the greatest of each
};
struct InputSet {
  std::vector<RawTensor> tensors;
  std::vector<std::string> origins;  ///< one an input: "a.npy", "traced", "drawn (normal)"
};
/// Sizes of the symbols from `--dim S=128` flags; those not given: `otherwise(symbol)`. Reports what is no symbol or out of range.
Result<std::vector<int64_t>> choose_sizes(const SoInfo& info, const std::vector<std::string>& flags, int64_t (*otherwise)(const Symbol&),
                                          Diagnostics& diagnostics);
/// "S=128, B=2"
std::string sizes_text(const std::vector<Symbol>& symbols, const std::vector<int64_t>& sizes);

/// One tensor for every input: what the user gave, else what was traced, else drawn. Reports names that are no input, dtypes and shapes that do not
/// fit.
Result<InputSet> collect_inputs(const SoInfo& info, const InputSource& source, Diagnostics& diagnostics);

/// "x: f32[1, 3, 224, 224], mask: bool[1, 7]"
std::string signature_text(const std::vector<SoValue>& values);

}  // namespace mica
