#pragma once
// Loads TorchScript. No torch type appears here.
#include <filesystem>
#include <optional>
#include "mica/ir/graph.h"
namespace mica {
/// `--input [NAME:]SHAPE[:DTYPE]` or NAME=NUMBER, parsed.
struct InputSpec {
  std::string name;  ///< empty: by position
  Shape shape;
  std::optional<DType> dtype;          ///< none: the trace's, else f32
  std::optional<Scalar> number;        ///< a Python scalar argument: becomes a constant
  std::string text;                    ///< as the user wrote it
  std::vector<std::string> symbols{};  ///< one an axis where any is symbolic: its symbol's name, or empty
};
/// "x:1x3x224x224:f32", "1x3x224x224", "ids:1x128:i64", "x:scalar:f32", "sr=16000".
Result<InputSpec> parse_input_spec(const std::string& text, Diagnostics& diagnostics);

/// "cache:1x256x64".
Result<InputSpec> parse_state_spec(const std::string& text, Diagnostics& diagnostics);

/// "S=16..512" or "S=128".
Result<Symbol> parse_dim_spec(const std::string& text, Diagnostics& diagnostics);

struct LoadOptions {
  std::vector<InputSpec> inputs;
  std::vector<Symbol> symbols;  ///< the ranges of `--dim`
  std::string method = "forward";
  std::vector<InputSpec> states;  ///< how large attributes can become that differ in size from run to run
};
/// Puts the symbols' ranges into the shapes of the inputs. Two inputs of one name are samples: an axis on which they differ becomes a symbol
/// over the range between them, and axes with the same two sizes become the same symbol.
Result<void> resolve_symbols(LoadOptions& options, Diagnostics& diagnostics);

struct LoadedModel {
  Graph graph;
  std::vector<std::vector<std::byte>>
      traced_inputs;  ///< data of the archive's traced inputs, one per graph input; empty when it has none or other shapes were asked for
};
/// Imports a `.pt`: load, eval, freeze, inline, alias analysis to SSA, shapes from `options.inputs` or the archive's traced inputs.
/// All unsupported ops are reported at once, with counts and source lines.
Result<LoadedModel> load_torchscript(const std::filesystem::path& file, const LoadOptions& options, Diagnostics& diagnostics);

/// What a `.pt` holds, for `mica inspect` and `mica check`; no shapes are needed.
struct ModelSummary {
  std::string signature;                                           ///< "forward(x: Tensor, mask: Optional[Tensor]) -> Tensor"
  std::vector<std::pair<std::string, std::string>> traced_inputs;  ///< name, "f32[1, 3, 224, 224]"
  std::vector<std::pair<std::string, int64_t>> ops;                ///< op => count, most frequent first
  std::vector<std::string> unsupported;
  int64_t parameters = 0, parameter_bytes = 0;
};
Result<ModelSummary> summarize_torchscript(const std::filesystem::path& file, Diagnostics& diagnostics);
}  // namespace mica
