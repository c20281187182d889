#pragma once
// Winograd's F(m, r) for several m and r, along one axis: what turns a tile of inputs and a filter of r taps into products, and those into m results.
// Large tiles take fewer products for a result, small ones fewer weights and less of a tile that hangs over a map's edge.
#include <vector>

#include "mica/ir/expr.h"

namespace mica::lower {

struct WinogradForm {
  int64_t out;   ///< results of a tile
  int64_t taps;  ///< of the filter
  int64_t in() const { return out + taps - 1; }
  /// G: the filter's polynomial at the points, divided by the product of the point's distances to the others; `in()` rows of `taps`.
  std::vector<std::vector<double>> filter;
  /// B^T d of `in()` vectors: rows are the coefficients of M(x) / (x - point), where M has all points as roots; the last one those of M.
  std::vector<Expr> (*input)(const std::vector<Expr>& d);
  /// A^T m, `out` vectors: powers of the points.
  std::vector<Expr> (*output)(const std::vector<Expr>& m);
};

/// A form for each axis of a plane. Along an axis where the filter has one tap, results are products.
struct WinogradTile {
  const WinogradForm *y, *x;
  int64_t products() const { return y->in() * x->in(); }
};

/// All for a filter of so many taps along both axes, large ones first. Empty where there is none whose rounding errors are small enough.
std::vector<WinogradTile> winograd_tiles(int64_t taps_y, int64_t taps_x);

}  // namespace mica::lower
