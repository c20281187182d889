#pragma once
// What floats are computed in below their own precision (`--precision`).
#include <array>
#include <optional>
#include <string_view>

#include "mica/support/dtype.h"

namespace mica {

/// Values of dtype `wide` that contractions make, and what is computed from them, are stored in `narrow`; arithmetic is in `wide`.
struct Precision {
  DType wide = DType::f32;
  DType narrow = DType::f32;
};

/// The value of --precision under which nothing is lowered.
inline constexpr std::string_view full_precision = "f32";
struct NamedPrecision {
  std::string_view name;
  Precision precision;
};
/// The other values of --precision that this Mica builds.
inline constexpr std::array<NamedPrecision, 1> lower_precisions = {{{"bf16", {DType::f32, DType::bf16}}}};

/// None for full_precision and for names that are not built.
constexpr std::optional<Precision> find_precision(std::string_view name) {
  for (const NamedPrecision& p : lower_precisions)
    if (p.name == name) return p.precision;
  return std::nullopt;
}

}  // namespace mica
