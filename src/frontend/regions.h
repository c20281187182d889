#pragma once
// Nodes that were evaluated apart, as nested graphs.
#include <vector>

#include "mica/ir/graph.h"

namespace mica::frontend {

/// Adds to `captures` what `nodes` and `yields` read of the graph around them: values that none of the nodes makes and that are neither constants
/// nor `parameters`.
void find_captures(const Graph& outer, const std::vector<Node>& nodes, const std::vector<Value>& yields, const std::vector<Value>& parameters,
                   std::vector<Value>& captures);

/// A region of `nodes`, whose values are those of `outer`; `inputs` become its inputs. Constants become its own.
Region make_region(const Graph& outer, const std::vector<Node>& nodes, const std::vector<Value>& inputs, const std::vector<Value>& yields);

}  // namespace mica::frontend
