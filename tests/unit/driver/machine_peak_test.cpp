// What `mica analyze` holds a step against. Run alone: ctest --preset release -R unit_driver
#include <gtest/gtest.h>

#include "mica/driver/analyze.h"

namespace mica {
namespace {

TEST(machine_peak, every_machine_multiplies_in_vectors) {
  const MachinePeak peak = probe_machine(2);
  EXPECT_GT(peak.flops[static_cast<size_t>(Arithmetic::vectors)], 1e8);
  EXPECT_GT(peak.bytes, 0);
}

}  // namespace
}  // namespace mica
