#pragma once
#include "mica/artifact/image.h"
#include "mica/driver/compile.h"

namespace mica {

/// All that a library is made of beside its code.
struct LibraryParts {
  const Options& options;
  const Graph& graph;
  const Program& program;
  const Target& target;
  const std::string& hash;  ///< of the model's file
  const Chooser& chooser;   ///< that answered the program's schedules
};
artifact::Image make_image(const LibraryParts& parts, std::vector<std::string> objects);

}  // namespace mica
