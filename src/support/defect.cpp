#include "mica/support/defect.h"

#include <charconv>
#include <iterator>

namespace mica {

namespace detail {
constinit Defect chosen_defect = Defect::none;
}

namespace {

constexpr DefectInfo defects[] = {
    {Defect::unbind_write, "unbind-write", "frontend", "what is written through a row of unbind does not reach the tensor"},
    {Defect::stale_transpose, "stale-transpose", "frontend", "a transposed view that was read before keeps its contents after the tensor is written"},
    {Defect::clone_aliases, "clone-aliases", "frontend", "clone gives the same tensor, so that in-place operators change both"},
    {Defect::unsqueeze_negative, "unsqueeze-negative", "frontend", "unsqueeze counts a negative axis without the one that it adds"},
    {Defect::group_bias, "group-bias", "frontend", "the bias of a grouped convolution is dropped"},
    {Defect::merged_number, "merged-number", "frontend", "a number that both branches of an if set is the first one's after either"},
    {Defect::floor_division, "floor-division", "ops", "integer floor division truncates"},
    {Defect::window_count, "window-count", "ops", "an average that leaves padding out counts it when there is one element of it"},
    {Defect::pool_padding, "pool-padding", "ops", "the padding of max_pool is 0, not the least number"},
    {Defect::norm_eps, "norm-eps", "ops", "layer_norm adds eps to the deviation, not to the variance"},
    {Defect::gelu_form, "gelu-form", "ops", "gelu takes the erf form whatever it is asked for"},
    {Defect::broadcast_rank, "broadcast-rank", "ops", "operands of lower rank are aligned on the left where the result has more than four axes"},
    {Defect::integer_identity, "integer-identity", "ops", "the greatest of integers starts at 0"},
    {Defect::promotion_pair, "promotion-pair", "ops", "u8 with i32 gives u8"},
    {Defect::rank_zero, "rank-zero", "ops", "an operand of rank 0 takes part in promotion like any other"},
    {Defect::symbol_rounding, "symbol-rounding", "ops", "a size that depends on symbols is rounded up when it is divided"},
    {Defect::permute_order, "permute-order", "passes", "two permutations are composed in the wrong order"},
    {Defect::slice_step, "slice-step", "passes", "a slice of a slice forgets the inner step where it begins"},
    {Defect::cast_pair, "cast-pair", "passes", "a float converted to an integer and back is taken for itself"},
    {Defect::merged_axis, "merged-axis", "passes", "equal nodes are merged without a look at their axis"},
    {Defect::row_tail, "row-tail", "lowering", "the last lanes of a row's maximum, which read 0, are not left out"},
    {Defect::unrolled_maximum, "unrolled-maximum", "lowering", "several accumulators of a maximum are joined by a minimum"},
    {Defect::early_reuse, "early-reuse", "lowering", "a value's memory is given away in the step that reads it last"},
    {Defect::lost_barrier, "lost-barrier", "lowering", "no barrier is placed for what the last operand needs"},
    {Defect::dilation_axis, "dilation-axis", "lowering", "the schedule of convolutions takes the last axis as not dilated"},
    {Defect::upper_bound, "upper-bound", "lowering", "an index that may reach a bound is taken to stay below it"},
    {Defect::carried_swap, "carried-swap", "lowering", "two values that a loop carries and that change places are not put aside"},
    {Defect::loop_life, "loop-life", "lowering", "what a loop reads from outside is kept until the trip's last reader, not until the loop's end"},
    {Defect::slot_size, "slot-size", "lowering", "memory that several values of symbolic sizes share is as large as the first of them"},
    {Defect::state_order, "state-order", "lowering", "what is kept between runs may be written before the last step that reads it"},
    {Defect::unsigned_compare, "unsigned-compare", "codegen", "unsigned numbers are compared as signed ones"},
    {Defect::strided_load, "strided-load", "codegen", "a strided load forgets that its last vector was moved back"},
    {Defect::rounding_cast, "rounding-cast", "codegen", "floats are rounded to the nearest integer, not towards zero"},
    {Defect::task_split, "task-split", "codegen", "tasks that the number of threads does not divide are left out"},
    {Defect::trip_count, "trip-count", "codegen", "a loop whose trips are counted while it runs ends one trip early"},
    {Defect::symbol_swap, "symbol-swap", "codegen", "how many tasks a kernel has is computed with the first symbol for all"},
    {Defect::empty_tensor, "empty-tensor", "runtime", "a tensor without elements is taken for one without data"},
};

constexpr bool in_order() {
  for (size_t i = 0; i < std::size(defects); ++i)
    if (static_cast<size_t>(defects[i].id) != i + 1) return false;
  return true;
}
static_assert(in_order(), "number i stands at place i - 1");

}  // namespace

std::span<const DefectInfo> all_defects() { return defects; }

std::optional<Defect> find_defect(std::string_view text) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool numbered = error == std::errc() && end == text.data() + text.size();
  for (const DefectInfo& d : defects)
    if (d.name == text || (numbered && static_cast<size_t>(d.id) == number)) return d.id;
  return std::nullopt;
}

}  // namespace mica
