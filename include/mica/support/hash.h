#pragma once
// XXH64 (Yann Collet's xxHash, 64 bits), and a 128-bit key made of two of them. Not for adversaries; for telling weights apart.
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace mica {

uint64_t hash64(std::span<const std::byte> data, uint64_t seed = 0);
/// 32 hexadecimal digits.
std::string hash_key(std::span<const std::byte> data);

}  // namespace mica
