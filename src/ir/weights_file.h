#pragma once
// FILE.weights beside FILE: the bytes of large constants by key (support/hash.h). Little-endian:
//   "MICAWGT1", u64 count, count x {char key[32], u64 offset, u64 size}, then the data, each at a multiple of 64 bytes.
#include <filesystem>
#include <map>
#include <string>

#include "mica/ir/graph.h"

namespace mica {

class WeightsFile {
 public:
  /// Maps the file; the bytes that `find` gives keep the mapping alive.
  static Result<WeightsFile> open(const std::filesystem::path& file, Diagnostics& diagnostics);
  /// Null `bytes` (and no `keep`) when there is no such key.
  ConstantData find(const std::string& key) const;

 private:
  std::shared_ptr<const void> mapping_;
  std::map<std::string, std::span<const std::byte>> index_;
};

/// Constants that text refers to by key: longer than this many elements and not all alike.
inline constexpr int64_t inline_elements = 16;
bool is_external(const TensorType& type, std::span<const std::byte> bytes);
/// True when all elements have the same bytes.
bool is_splat(const TensorType& type, std::span<const std::byte> bytes);
/// Writes the external constants of a graph and its regions; nothing, and an old file removed, when there are none.
Result<void> write_weights(const Graph& graph, const std::filesystem::path& file, Diagnostics& diagnostics);

/// parse_graph with a file of weights at hand; `weights` may be null.
Result<Graph> parse_graph_with(std::string_view text, const std::string& file_name, const WeightsFile* weights, Diagnostics& diagnostics);

}  // namespace mica
