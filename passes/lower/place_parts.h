#pragma once
// Values that lie within the memory of a concatenation.
#include <map>

#include "region.h"

namespace mica::lower {

/// Where a value lies that is a part of another's memory.
struct Part {
  Value whole;        ///< that other value, which may be a part itself
  int64_t axis = 0;   ///< along which it was cut
  int64_t first = 0;  ///< of the whole's places on that axis, so many from here on
  int64_t count = 0;
  int64_t offset = 0;  ///< of the first element in the whole's memory, in elements
};

/// The values of a graph that are made where a concatenation wants them, by id.
std::map<uint32_t, Part> place_parts(const Graph& graph);
/// The graph with layouts that say so.
Graph with_parts(const Graph& graph, const std::map<uint32_t, Part>& parts);

}  // namespace mica::lower
