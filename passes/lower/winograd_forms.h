#pragma once
// Winograd's F(m x m, 3 x 3) for several m: what turns a tile of inputs and a filter into products, and those into m x m results. Large tiles take
// fewer products for a result, small ones fewer weights and less of a tile that hangs over a map's edge.
#include <array>
#include <vector>

#include "mica/ir/expr.h"

namespace mica::lower {

constexpr int64_t winograd_taps = 3;

struct WinogradForm {
  int64_t out;  ///< results of a tile along an axis
  int64_t in() const { return out + winograd_taps - 1; }
  int64_t products() const { return in() * in(); }
  /// G: the filter's polynomial at the points, divided by the product of the point's distances to the others. `in()` rows.
  std::vector<std::array<double, winograd_taps>> filter;
  /// B^T d of `in()` vectors: rows are the coefficients of M(x) / (x - point), where M has all points as roots; the last one those of M.
  std::vector<Expr> (*input)(const std::vector<Expr>& d);
  /// A^T m, `out` vectors: powers of the points.
  std::vector<Expr> (*output)(const std::vector<Expr>& m);
};

/// All of them, from the largest tile to the smallest.
const std::vector<WinogradForm>& winograd_forms();

}  // namespace mica::lower
