#pragma once
// The passes of passes/graph, each a file of the same name whose comment shows before => after.
#include "mica/pass/pass.h"

namespace mica {

extern const Pass canonicalize_matmul;
extern const Pass canonicalize_pooling;
extern const Pass decompose;
extern const Pass eliminate_common_subexpressions;
extern const Pass eliminate_dead_code;
extern const Pass fold_batch_norm;
extern const Pass fold_constants;
extern const Pass fold_padding;
extern const Pass merge_grouped_convolutions;
extern const Pass recognize_activations;
extern const Pass simplify_algebra;
extern const Pass simplify_control;
extern const Pass simplify_views;
extern const Pass transposed_convolutions;

}  // namespace mica
