#pragma once
// The passes of passes/quant, each a file of the same name whose comment shows before => after.
#include "mica/pass/pass.h"

namespace mica {

extern const Pass lower_precision;

}  // namespace mica
