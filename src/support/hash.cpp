#include "mica/support/hash.h"

#include <fmt/format.h>

#include <bit>

namespace mica {

namespace {
constexpr uint64_t p1 = 0x9E3779B185EBCA87, p2 = 0xC2B2AE3D27D4EB4F, p3 = 0x165667B19E3779F9, p4 = 0x85EBCA77C2B2AE63, p5 = 0x27D4EB2F165667C5;
template <class T> uint64_t read(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
uint64_t round_of(uint64_t acc, uint64_t lane) { return std::rotl(acc + lane * p2, 31) * p1; }
}  // namespace

uint64_t hash64(std::span<const std::byte> data, uint64_t seed) {
  const std::byte* p = data.data();
  const std::byte* end = p + data.size();
  uint64_t h;
  if (data.size() >= 32) {
    uint64_t a = seed + p1 + p2, b = seed + p2, c = seed, d = seed - p1;
    for (; end - p >= 32; p += 32) {
      a = round_of(a, read<uint64_t>(p));
      b = round_of(b, read<uint64_t>(p + 8));
      c = round_of(c, read<uint64_t>(p + 16));
      d = round_of(d, read<uint64_t>(p + 24));
    }
    h = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
    for (const uint64_t lane : {a, b, c, d}) h = (h ^ round_of(0, lane)) * p1 + p4;
  } else {
    h = seed + p5;
  }
  h += data.size();
  for (; end - p >= 8; p += 8) h = std::rotl(h ^ round_of(0, read<uint64_t>(p)), 27) * p1 + p4;
  for (; end - p >= 4; p += 4) h = std::rotl(h ^ (read<uint32_t>(p) * p1), 23) * p2 + p3;
  for (; p < end; ++p) h = std::rotl(h ^ (static_cast<uint64_t>(*p) * p5), 11) * p1;
  h = (h ^ (h >> 33)) * p2;
  h = (h ^ (h >> 29)) * p3;
  return h ^ (h >> 32);
}

std::string hash_key(std::span<const std::byte> data) { return fmt::format("{:016x}{:016x}", hash64(data, 0), hash64(data, 0x6d696361)); }

}  // namespace mica
