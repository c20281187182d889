#pragma once
// Contractions: convolutions (any kernel, stride, dilation, groups), linear layers and matrix products as one kernel shape,
// a batch-reduce GEMM (Georganas et al., "High-performance deep learning via a single building block", arXiv 1906.06440):
//   result[m, n] = epilogue(sum over taps t, k of A[row(m, t) + k] * B[t, k, n])
// A is read in place: row(m, t) is affine in m, or stands in a table of offsets, where a tap outside the image points to a row of
// zeros behind the value. B is packed once, at compile time, into panels as wide as a register tile; a B that is computed at run
// time is read in rows.
// Operands of 16 bits are multiplied and added up in f32. Where the kernel language has a dot product of their pairs (bf16), k goes
// in pairs: a packed B holds the elements of k and k + 1 of a column side by side, with a zero behind an odd k.
#include <functional>

#include "emit.h"
#include "mica/ops/rules.h"

namespace mica::lower {

/// One spatial axis of a convolution's rows: an entry per (output position, kernel position), far below zero where the tap is outside.
struct RowAxis {
  int64_t outputs = 1, taps = 1;
  std::vector<int32_t> offsets;
};
inline constexpr int32_t outside = -(1 << 29);  ///< a sum with one of these is negative whatever the rest

/// One spatial axis of a convolution whose sizes depend on symbols: there is no table, offsets are computed from the output position.
struct SpatialAxis {
  Dim outputs, inputs;
  Dim step;  ///< elements from one input position to the next
  int64_t taps = 1, stride = 1, padding = 0, dilation = 1;
};

/// A convolution over a plane whose sizes are known, for schedules that copy its input with the padding around it. There a tap is at one distance
/// for all outputs. Elements of a position are `k` in all, side by side (with taps of a row in k, so are positions).
struct Plane {
  int64_t rows = 1, columns = 1;  ///< of the input
  int64_t out_rows = 1, out_columns = 1;
  int64_t row_step = 0, column_step = 0;        ///< elements of the input
  int64_t channels = 1;                         ///< that a position gives
  int64_t taps = 1;                             ///< along a row, that are not in k
  int64_t rows_before = 0, columns_before = 0;  ///< of padding
  int64_t stride_rows = 1, stride_columns = 1;  ///< positions from one output to the next
  int64_t tap_rows = 1, tap_columns = 1;        ///< positions from one tap to the next
  int64_t more_rows = 0, more_columns = 0;      ///< positions that the kernel covers, less 1
  /// Positions that so many outputs in a column or a row read.
  int64_t rows_of(int64_t outputs) const { return (outputs - 1) * stride_rows + more_rows + 1; }
  int64_t columns_of(int64_t outputs) const { return (outputs - 1) * stride_columns + more_columns + 1; }
};

/// What a contraction reads and writes that is a step of a larger schedule: memory of that schedule's own, numbered through.
struct Inner {
  Value a, result;
  Expr at;  ///< element of `result`, over batch, m_var, n_var
  /// Makes what holds B in panels of so many columns, [groups, panels, k, width], when the library is loaded: a number of PendingProgram::prepared.
  /// The last `rest` columns stand behind them, each for itself: [groups, rest, k], k as whole vectors.
  std::function<uint32_t(int64_t width, int64_t rest)> b;
  std::string name;                    ///< of the kernel
  std::function<Expr(Emitter&)> rows;  ///< of the m rows so many are wanted; empty: all
  bool rows_outer = false;             ///< each thread takes rows, through the whole batch; else it takes a share of the batch, with all rows
};

/// The number in [low, high] for which the sum of `time(number, threads)` over some numbers of threads is least, and that sum. A greater number has
/// to be better by a thousandth. `none` where there is no such number.
template <class Time> std::pair<int64_t, double> least_over_threads(int64_t low, int64_t high, int64_t none, Time&& time) {
  std::pair<int64_t, double> best{none, 1e300};
  for (int64_t number = low; number <= high; ++number) {
    double sum = 0;
    for (int64_t threads = 1; threads <= 16; threads *= 2) sum += time(number, threads);
    if (sum < best.second * 0.999) best = {number, sum};
  }
  return best;
}

/// One contraction, whatever op it came from.
struct Contraction {
  DType dtype = DType::f32;  ///< of A, B and the result
  DType sums() const { return working(dtype); }
  std::vector<Expr> batch;  ///< variables of the outer index space
  Dim m = 1, n = 1, k = 1;  ///< k, and n where B is packed, are static then
  int64_t taps = 1;
  std::vector<Expr> result;  ///< indices of the anchor's result, over `batch`, `m_var`, `n_var`
  Expr m_var, n_var;
  // A
  Value a;
  Expr a_base;                       ///< over `batch`
  Dim a_row = 0;                     ///< row(m, 0) = a_row * m when there is no table
  std::vector<int32_t> rows;         ///< m entries, or m * taps when `padded`; an entry of -1 is a row of zeros
  std::vector<int32_t> tap_offsets;  ///< one per tap, when rows are not padded
  bool padded = false;
  std::vector<RowAxis> row_axes;     ///< instead of `rows` where that table would be large: row(m, t) is a sum over the spatial axes
  std::vector<SpatialAxis> spatial;  ///< instead of all tables
  std::optional<Plane> plane;        ///< beside the tables, where it is one
  // B
  Value b;  ///< read in rows: element b_base + k * b_row + n
  bool packed = false;
  std::optional<DType> held;  ///< of a packed B in memory, where its elements have no digits beyond a narrower dtype; else `dtype`
  DType held_in() const { return held.value_or(dtype); }
  Expr b_base;
  Dim b_row = 0;
  /// Element (tap, k, n) of a constant B for batch group `g`, as an index into the constant.
  std::function<int64_t(int64_t g, int64_t tap, int64_t k, int64_t n)> b_at;
  int64_t groups = 1;
  Expr group;  ///< over `batch`; which packed B
  /// B's steps of k are multiplied by these, [batch or 1, k, 1...], before they are used: what the op itself would multiply A by.
  OptValue gate;
  OptValue bias;
  Expr bias_index;             ///< over batch, n_var
  int64_t chain = max_chain;   ///< steps of k that one accumulator may take
  bool along_k = true;         ///< a few columns behind whole vectors may be multiplied along k
  std::optional<Inner> inner;  ///< instead of the graph's values
};

/// The contraction that a node is, if it is one that can be scheduled (describe_contraction.cpp).
std::optional<Contraction> describe(const Graph& graph, const Node& node);
/// Columns of a panel in the kernel of one.
int64_t panel_width(const Contraction& contraction, const Target& target);
/// The kernel of one.
void emit_contraction(PendingProgram& program, const Region& region, Contraction contraction);
/// The same convolution with fewer products (winograd.cpp). False when it does not have the form or nothing would be won.
bool lower_winograd(PendingProgram& program, const Region& region, const Contraction& direct);
/// The kernel of one by the target's matrix registers (matrix_tiles.cpp). False where it has none for these operands, or they do not fit.
bool lower_matrix_tiles(PendingProgram& program, const Region& region, const Contraction& c);

/// What a region stores for an element of its anchor, which is a sum and a bias.
struct Epilogue {
  Expr sum;             ///< a variable
  Expr value;           ///< over the anchor's indices and `sum`
  Expr index;           ///< where in `buffer`, over the anchor's indices
  uint32_t buffer = 0;  ///< the region's output
};
/// `anchor`: indices of the anchor's element, of `dtype`; `bias_index`: over them.
Epilogue make_epilogue(Emitter& emit, const Region& region, const std::vector<Expr>& anchor, DType dtype, const OptValue& bias,
                       const Expr& bias_index);

inline Expr var(const char* name, const Dim& extent) { return make_place(name, extent); }

}  // namespace mica::lower
