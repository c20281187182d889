#pragma once
#include <filesystem>
#include "mica/ops/op.h"
namespace mica {
struct PrintOptions {
  bool elide_constants = true;  ///< print `dense<...>` for constants above 16 elements; else refer to the weights file by hash
  bool locations = false;
};
/// The text form of a graph (docs/ir.md).
std::string to_string(const Graph& graph, const PrintOptions& options = {});
/// Reads it back. Errors carry line and column of `file_name`.
Result<Graph> parse_graph(std::string_view text, const std::string& file_name, Diagnostics& diagnostics);
/// Writes FILE and FILE.weights (constants keyed by hash); reads them back.
Result<void> write_graph(const Graph& graph, const std::filesystem::path& file, Diagnostics& diagnostics);
Result<Graph> read_graph(const std::filesystem::path& file, Diagnostics& diagnostics);
}  // namespace mica
