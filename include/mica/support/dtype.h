#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace mica {

/// Element types. `b8` is bool: one byte, 0 or 1.
enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u8, b8 };

constexpr int64_t size_of(DType t) {
  constexpr int64_t bytes[] = {8, 4, 2, 2, 8, 4, 2, 1, 1, 1};
  return bytes[static_cast<int>(t)];
}
constexpr std::string_view name_of(DType t) {
  constexpr std::string_view names[] = {"f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool"};
  return names[static_cast<int>(t)];
}
constexpr bool is_float(DType t) { return t <= DType::bf16; }
constexpr bool is_bool(DType t) { return t == DType::b8; }
constexpr bool is_integer(DType t) { return !is_float(t) && !is_bool(t); }
constexpr bool is_signed(DType t) { return t != DType::u8 && t != DType::b8; }

/// "f32" => DType::f32; also takes torch's spellings ("float32", "float", "long", "int64", "bool", ...).
std::optional<DType> parse_dtype(std::string_view text);

/// PyTorch's type promotion for two tensors of rank > 0 (torch.promote_types).
DType promote(DType a, DType b);

}  // namespace mica
