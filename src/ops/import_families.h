#pragma once
// The tables of import functions, one a family, and what the functions share.
#include "mica/ops/import.h"

namespace mica {

std::span<const ImportEntry> import_pointwise();
std::span<const ImportEntry> import_view();
std::span<const ImportEntry> import_reduce();
std::span<const ImportEntry> import_matmul();
std::span<const ImportEntry> import_nn();
std::span<const ImportEntry> import_index();
std::span<const ImportEntry> import_factory();
std::span<const ImportEntry> import_resample();
std::span<const ImportEntry> import_rnn();
std::span<const ImportEntry> import_meta();
std::span<const ImportEntry> import_compose();
std::span<const ImportEntry> import_measure();
std::span<const ImportEntry> import_unique();

using Imported = std::vector<ImportValue>;

/// `name` as an operand beside the tensor `beside`: a tensor as it is; a Python number as a rank-0 constant that promotes as torch has it.
Value operand(ImportContext& ctx, std::string_view name, Value beside);
/// The same for a number at hand.
Value number(ImportContext& ctx, const Scalar& s, Value beside);
/// A rank-0 constant of exactly this dtype.
Value constant(ImportContext& ctx, DType dtype, const Scalar& s);
Value constant_tensor(ImportContext& ctx, DType dtype, const Shape& shape, const std::vector<double>& values);
Value cast_to(ImportContext& ctx, Value v, DType dtype);  ///< v itself where it has the dtype
Value reshape_to(ImportContext& ctx, Value v, Dims sizes);
Value expand_to(ImportContext& ctx, Value v, const Shape& shape);
Value permute_to(ImportContext& ctx, Value v, std::vector<int64_t> axes);
Value unsqueeze_at(ImportContext& ctx, Value v, int64_t axis);  ///< axis from the front
Value squeeze_at(ImportContext& ctx, Value v, int64_t axis);
Value swap_axes(ImportContext& ctx, Value v, int64_t a, int64_t b);
Value size_number(ImportContext& ctx, const Dim& size);  ///< i64[]

// ---- sizes that depend on data (import_measure.cpp) ----
/// Where x is not zero, in row-major order: i64[U] of places in x taken as one line, with U measured. The same x gives the same U.
Value nonzero_places(ImportContext& ctx, Value x);
/// The same as one index an axis of x.
std::vector<Value> nonzero_columns(ImportContext& ctx, Value x);
/// v, with a symbol of its own for a size that has become a long sum of others.
Value settle_size(ImportContext& ctx, Value v, int64_t axis);
/// x[mask] = values, or += : x's first axes are the mask's, and values are broadcast to [U, the other axes of x].
Value put_at_mask(ImportContext& ctx, Value x, Value mask, Value values, bool add);

}  // namespace mica
