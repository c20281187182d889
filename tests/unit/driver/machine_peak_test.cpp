// What `mica analyze` holds a step against. Run alone: ctest --preset release -R unit_driver
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <vector>

#include "mica/driver/analyze.h"

namespace mica {
namespace {

/// Bytes a second of a plain sum over 32 MiB, the best of some passes.
double plain_read_rate() {
  const std::vector<uint64_t> words(size_t{4} << 20, 1);
  double best = 0;
  volatile uint64_t keep = 0;
  for (int pass = 0; pass < 10; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    keep = std::accumulate(words.begin(), words.end(), uint64_t{0});
    best = std::max(
        best, static_cast<double>(words.size() * sizeof(uint64_t)) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

TEST(machine_peak, a_plain_loop_does_not_read_much_faster_than_the_peak) {
  const double plain = plain_read_rate();
  EXPECT_GT(probe_machine(1).bytes, 0.7 * plain);
}

TEST(machine_peak, every_machine_multiplies_in_vectors) {
  const MachinePeak peak = probe_machine(2);
  EXPECT_GT(peak.flops[static_cast<size_t>(Arithmetic::vectors)], 1e8);
  EXPECT_GT(peak.bytes, 0);
}

}  // namespace
}  // namespace mica
