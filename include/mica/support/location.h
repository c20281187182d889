#pragma once
#include <string>

namespace mica {

/// Where an op stands in the user's model. Every op carries one; a rewrite keeps it.
struct Location {
  std::string file;         ///< Python source file as recorded in the archive; empty when unknown
  int line = 0;             ///< 1-based; 0 when unknown
  int column = 0;           ///< 1-based; 0 when unknown
  std::string source;       ///< the source line, for the snippet under an error; may be empty
  int length = 0;           ///< characters of `source` from `column` that the op spans
  std::string module_path;  ///< "layer1.0.conv1"; empty at the top

  bool known() const { return !file.empty() || !module_path.empty(); }
  /// "model/resnet.py:42:16, in layer1.0.conv1"
  std::string to_string() const;
};

}  // namespace mica
