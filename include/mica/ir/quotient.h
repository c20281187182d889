#pragma once
#include <optional>

#include "mica/ir/dim.h"

namespace mica {

/// The size q with q * by == x for all values of the symbols, by division of polynomials: (a * 4 + a * b) / a is 4 + b. Nothing where a term is left
/// over. Where `by` is 0, so is x, and q means nothing; the caller sees to that.
std::optional<Dim> exact_quotient(const Dim& x, const Dim& by);

}  // namespace mica
