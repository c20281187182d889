#pragma once
// Random draws that are the same on every machine for the same seed.
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>
#include <span>
#include <vector>

namespace mica::fuzz {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 0x1234567) {
    for (int i = 0; i < 3; ++i) bits();
  }
  uint64_t bits() {  // SplitMix64 (Steele, Lea, Flood, 2014)
    uint64_t x = state_ += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }
  /// low, ..., high
  int64_t between(int64_t low, int64_t high) { return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1)); }
  bool chance(double p) { return unit() < p; }
  double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double normal() { return std::sqrt(-2 * std::log(1 - unit())) * std::cos(2 * std::numbers::pi * unit()); }  // Box and Muller, 1958
  template <class T> const T& one_of(const std::vector<T>& list) { return list[bits() % list.size()]; }
  template <class T> T one_of(std::initializer_list<T> list) { return list.begin()[bits() % list.size()]; }

 private:
  uint64_t state_;
};

}  // namespace mica::fuzz
