// The order of the passes on the graph, each with the reason for its place and what is true from there on.
#include "mica/pass/pipeline.h"

#include "mica/passes/graph.h"
#include "mica/passes/layout.h"
#include "mica/passes/quant.h"

namespace mica {

namespace {

constexpr const Pass* graph_passes[] = {
    // Whatever the frontend made for nobody (unused results, whole constant tables) is not worth a look.
    &eliminate_dead_code,
    // From here on the nodes of a region see constants as constants.
    &simplify_control,
    // Composite ops first: all later passes see the ops that do the work. From here on there is nothing to decompose.
    &decompose,
    // Tracing and scripting leave chains of views and neutral arithmetic between layers; without them producers and consumers
    // stand next to each other, which all folding below relies on. From here on views are single and have explicit shapes.
    &simplify_views,
    &simplify_algebra,
    // From here on what depends on constants alone is a constant: parameters that the model computes count as parameters below.
    &fold_constants,
    // Conditions and trip counts may be known now. From here on an `if` or a loop depends on the run's data.
    &simplify_control,
    // While a formula is as the model wrote it. From here on an activation is one op with one operand.
    &recognize_activations,
    // Before batch_norm is folded: behind a concatenation it would have to be split first.
    &merge_grouped_convolutions,
    // A layer in front of a batch_norm must have that one user only; merging equal nodes before would add users, so it comes later.
    // From here on there is no batch_norm with constant parameters in 32 or 64 bits.
    &fold_batch_norm,
    // Behind the folding of batch_norm, which knows both kinds. From here on a transposed convolution with constant weights is a convolution.
    &transposed_convolutions,
    // From here on a zero padding before a convolution is the convolution's own.
    &fold_padding,
    // From here on a product with a constant matrix is `linear`, with its bias.
    &canonicalize_matmul,
    // From here on adaptive pooling has windows of different sizes.
    &canonicalize_pooling,
    // The passes above leave permuted weights and joined biases to be computed, and views that now meet.
    &fold_constants,
    &simplify_views,
    &simplify_algebra,
    // From here on nothing is computed or held twice.
    &eliminate_common_subexpressions,
    // Old weights give their memory back. From here on values are numbered without gaps and every one is used.
    &eliminate_dead_code,
    // When all arithmetic on constants is done, in full precision. Behind it nothing may merge equal nodes: every reader of a narrow value
    // has a cast of its own. From here on a value's dtype is the one that memory holds.
    &lower_precision,
    // Layouts last: they concern kernels, and no pass above needs to know of them. The pad must be an op of its own before the copy
    // that changes an input's layout is made, since it rides on that copy.
    &pad_narrow_convolutions,
    // From here on convolutions read and write channels-last, and every output is made by a node of its own in row-major order.
    &choose_layout,
};

/// By name, each once.
constexpr const Pass* passes_by_name[] = {
    &canonicalize_matmul,   &canonicalize_pooling, &choose_layout,    &decompose,       &eliminate_common_subexpressions, &eliminate_dead_code,
    &fold_batch_norm,       &fold_constants,       &fold_padding,     &lower_precision, &merge_grouped_convolutions,      &pad_narrow_convolutions,
    &recognize_activations, &simplify_algebra,     &simplify_control, &simplify_views,  &transposed_convolutions,
};

}  // namespace

std::span<const Pass* const> all_passes() { return passes_by_name; }

Result<void> run_graph_pipeline(Graph& graph, PassContext& context, const PipelineOptions& options) {
  return run_passes(graph_passes, graph, context, options);
}

}  // namespace mica
