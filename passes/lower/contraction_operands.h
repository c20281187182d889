#pragma once
// The operands of a contraction in its kernel, whatever schedule multiplies them: where rows of A begin, how a constant B is packed.
#include "contraction.h"

namespace mica::lower {

/// Where each row of A begins for each tap. Makes the tables that it reads.
class RowOffsets {
 public:
  RowOffsets(Emitter& emit, const Contraction& c);

  /// Output position of row m along each spatial axis, where offsets are computed from it; else nothing. It does not depend on the tap.
  std::vector<Expr> places(const Expr& m) const;
  /// Offset of row m for a tap, the batch included; `places`: of places(m), or variables that have their values.
  Expr at(const Expr& m, const std::vector<Expr>& places, const Expr& tap) const;

 private:
  Expr at_places(const std::vector<Expr>& places, const Expr& tap) const;
  Expr sum_of_axes(const Expr& m, const Expr& tap) const;
  uint32_t table(const std::vector<int32_t>& entries, const char* name);

  Emitter& emit_;
  const Contraction& c_;
  Dim zero_row_ = 0;
  uint32_t rows_ = 0, taps_ = 0;
  std::vector<uint32_t> axes_;
};

/// Panels of `width` columns, in each of them for each tap `steps` steps of k, `group` elements of k side by side for a column. What is
/// past the end of n or k is zero. With tiles, which divide both, a tap of a panel is tiles of so many steps and columns, those of the same steps
/// side by side.
struct Packing {
  int64_t width = 1, group = 1, steps = 1;
  int64_t tile_steps = steps, tile_width = width;
};
/// The parameter that holds a constant B so. Its last `rest` columns are not in panels but behind them, each for itself, [groups, rest, taps, k],
/// where k is padded to whole vectors.
uint32_t pack_b(Emitter& emit, const Contraction& c, const Packing& packing, int64_t rest = 0);

/// Whether a constant B has no digits beyond those of the dtype that weights were rounded to: it is held in that then.
std::optional<DType> narrow_weights(const PendingProgram& program, const Contraction& c);

/// Of the panels of `vectors` vectors that n columns take, the vectors of the last one that hold columns; all where n depends on symbols.
int64_t last_vectors(const Dim& n, int64_t vectors, int32_t lanes);
/// Multiplications and additions of the whole.
double flops_of(const Contraction& c);

/// A pair of elements as one integer, the first in its low half; zero where `second` is empty.
Expr pair_bits(const Expr& first, const Expr& second);

}  // namespace mica::lower
