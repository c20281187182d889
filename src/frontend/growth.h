#pragma once
// A list that grows by one tensor in every pass of a loop.
#include "item.h"

namespace mica::frontend {

struct Growth {
  ListRef list;
  TensorType row;  ///< of what is appended
  Value rows;      ///< what the loop's body finds: a tensor of one row a pass
  Item appended;   ///< in the pass that was evaluated last; unknown when nothing was
};

}  // namespace mica::frontend
