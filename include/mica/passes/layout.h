#pragma once
// The passes of passes/layout, in their order.
#include "mica/pass/pass.h"

namespace mica {

extern const Pass pad_narrow_convolutions;
extern const Pass choose_layout;

}  // namespace mica
