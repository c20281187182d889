#pragma once
// Conversions between double and the 16-bit float formats, rounded once, to nearest even.
#include <bit>
#include <cmath>
#include <cstdint>

namespace mica {

/// x as a float with `exponent_bits` and `mantissa_bits` (sign on top), rounded to nearest even; NaN becomes the quiet NaN.
inline uint16_t to_narrow_float(double x, int exponent_bits, int mantissa_bits) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const auto sign = static_cast<uint16_t>((bits >> 63) << (exponent_bits + mantissa_bits));
  const int greatest = (1 << exponent_bits) - 1, bias = greatest >> 1;
  const auto infinity = static_cast<uint16_t>(greatest << mantissa_bits);
  if (std::isnan(x)) return static_cast<uint16_t>(sign | infinity | (1 << (mantissa_bits - 1)));
  if (std::isinf(x)) return sign | infinity;
  const int raw = static_cast<int>((bits >> 52) & 0x7ff);
  if (raw == 0) return sign;  // doubles below 2^-1022 are far below half of the least subnormal
  int exponent = raw - 1023 + bias;
  if (exponent >= greatest) return sign | infinity;
  const uint64_t mantissa = (bits & ((uint64_t{1} << 52) - 1)) | (uint64_t{1} << 52);
  int shift = 52 - mantissa_bits;
  if (exponent <= 0) {
    shift += 1 - exponent;
    exponent = 1;  // subnormal: the leading bit is not implied, so it adds nothing below
  }
  if (shift > 54) return sign;
  uint64_t kept = mantissa >> shift;
  const uint64_t rest = mantissa & ((uint64_t{1} << shift) - 1), half = uint64_t{1} << (shift - 1);
  if (rest > half || (rest == half && (kept & 1))) ++kept;
  // A carry out of the mantissa moves into the exponent, up to infinity, as it should.
  return static_cast<uint16_t>(sign + ((static_cast<uint64_t>(exponent) - 1) << mantissa_bits) + kept);
}

inline double from_narrow_float(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int greatest = (1 << exponent_bits) - 1, bias = greatest >> 1;
  const int exponent = (bits >> mantissa_bits) & greatest;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  double value;
  if (exponent == greatest) value = mantissa ? std::nan("") : INFINITY;
  else if (exponent == 0) value = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  else value = std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  return (bits >> (exponent_bits + mantissa_bits)) & 1 ? -value : value;
}

inline uint16_t to_f16(double x) { return to_narrow_float(x, 5, 10); }
inline uint16_t to_bf16(double x) { return to_narrow_float(x, 8, 7); }
inline double from_f16(uint16_t bits) { return from_narrow_float(bits, 5, 10); }
inline double from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

}  // namespace mica
