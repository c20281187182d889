#pragma once
// Seeded defects: slips of one line, each as a hasty change could make it, that most programs survive. They are there to measure the tests:
// a net that does not catch these does not catch real ones either (docs/correctness.md). None is on unless a debug option asks for it.
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace mica {

enum class Defect : uint8_t {
  none,
  // frontend
  unbind_write,
  stale_transpose,
  clone_aliases,
  unsqueeze_negative,
  group_bias,
  merged_number,
  // ops
  floor_division,
  window_count,
  pool_padding,
  norm_eps,
  gelu_form,
  broadcast_rank,
  integer_identity,
  promotion_pair,
  rank_zero,
  symbol_rounding,
  // graph passes
  permute_order,
  slice_step,
  cast_pair,
  merged_axis,
  // lowering
  row_tail,
  unrolled_maximum,
  early_reuse,
  lost_barrier,
  dilation_axis,
  upper_bound,
  carried_swap,
  loop_life,
  slot_size,
  state_order,
  // codegen
  unsigned_compare,
  strided_load,
  rounding_cast,
  task_split,
  trip_count,
  symbol_swap,
  // runtime
  empty_tensor,
};

struct DefectInfo {
  Defect id = Defect::none;
  std::string_view name, layer;
  std::string_view sentence;  ///< what goes wrong
};
/// All of them, by number from 1.
std::span<const DefectInfo> all_defects();
/// By name or number; empty when there is none.
std::optional<Defect> find_defect(std::string_view text);

namespace detail {
extern Defect chosen_defect;
}
/// True only while that defect was asked for. The one global of the compiler: ops and rules are handed no options, and must not be for this.
inline bool defect(Defect which) { return detail::chosen_defect == which; }

/// Turns a defect on for its lifetime; `none` leaves everything as it is. Compilations in other threads see it too.
class DefectScope {
 public:
  explicit DefectScope(Defect which) : before_(detail::chosen_defect) {
    if (which != Defect::none) detail::chosen_defect = which;
  }
  ~DefectScope() { detail::chosen_defect = before_; }
  DefectScope(const DefectScope&) = delete;
  DefectScope& operator=(const DefectScope&) = delete;

 private:
  Defect before_;
};

}  // namespace mica
