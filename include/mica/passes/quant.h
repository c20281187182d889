#pragma once
// The passes of passes/quant, each a file of the same name whose comment shows before => after.
#include "mica/pass/pass.h"

namespace mica {

extern const Pass lower_precision;

/// Where a target multiplies no pairs of the narrow dtype, only the weights of contractions are rounded, and held in it where their kernels can widen
/// them. Values stay wide: each time that one is read it would have to be widened for every sum that it goes into.
bool only_weights(const Precision& precision, const Target& target);

}  // namespace mica
