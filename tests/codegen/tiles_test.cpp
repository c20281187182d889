// Matrix registers: compiled code against the kernel interpreter, bit for bit.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "compiled_program.h"
#include "mica/kernel/interpret.h"
#include "mica/kernel/text.h"
#include "mica/kernel/verify.h"
#include "mica/support/narrow_float.h"

namespace mica::test {
namespace {

/// Two accumulators of `rows` rows over three steps of `depth` elements of k, b in pairs; then both are stored.
std::string product(int64_t rows, int64_t depth) {
  return fmt::format(
      R"(kernel product(%0 a: bf16[{0}] read align 64, %1 b: bf16[{1}] read align 64, %2 y: f32[{2}] write align 64) tasks t.1 in [0, 1) {{
  local tile 0 has {3} rows of 64 bytes
  local tile 1 has {3} rows of 32 bytes
  local tile 2 has {3} rows of {4} bytes
  local tile 3 has {5} rows of 64 bytes
  local tile 4 has {5} rows of 32 bytes
  tile 0 = 0
  tile 1 = 0
  for k.2 in [0, 3) step 1 {{
    tile 2 = load %0[(k.2 * {6})] rows {7}
    tile 3 = load %1[(k.2 * {8})] rows 48
    tile 4 = load %1[((k.2 * {8}) + 32)] rows 48
    tile 0 += dot2(2, 3)
    tile 1 += dot2(2, 4)
  }}
  tile 0 store %2[0] rows 24
  tile 1 store %2[16] rows 24
}}
)",
      rows * (3 * depth + 2), 3 * depth * 24, rows * 24, rows, 2 * depth, depth / 2, depth, 3 * depth + 2, depth * 24);
}

std::vector<uint16_t> noise(size_t count, uint64_t seed) {
  std::vector<uint16_t> values(count);
  for (uint16_t& v : values) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    v = to_bf16(static_cast<float>(static_cast<double>(seed >> 33) * 0x1p-30 - 1));
  }
  return values;
}

class MatrixTiles : public testing::TestWithParam<std::pair<int64_t, int64_t>> {};

TEST_P(MatrixTiles, agree_with_the_interpreter) {
  const Target target = native_target();
  if (!target.tiles.dot_bf16) GTEST_SKIP() << "this machine has no matrix registers, or the system refuses them";
  const auto [rows, depth] = GetParam();
  Diagnostics diagnostics;
  const auto kernel = parse_kernel(product(rows, depth), diagnostics);
  ASSERT_TRUE(kernel && verify_kernel(*kernel, diagnostics)) << diagnostics.to_string();
  std::vector<uint16_t> a = noise(static_cast<size_t>(kernel->buffers[0].elements.size()), 1),
                        b = noise(static_cast<size_t>(kernel->buffers[1].elements.size()), 2);
  std::vector<float> y(static_cast<size_t>(kernel->buffers[2].elements.size()), -1), expected = y;
  const auto bytes = [](auto& v) { return reinterpret_cast<std::byte*>(v.data()); };
  KernelFault fault;
  ASSERT_TRUE(interpret(*kernel, {bytes(a), bytes(b), bytes(expected)}, 0, 1, fault, diagnostics)) << diagnostics.to_string();
  CompiledProgram program(program_of(*kernel), target);
  program.run({a.data(), b.data(), y.data()});
  EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MatrixTiles,
                         testing::Values(std::pair{16, 32}, std::pair{1, 32}, std::pair{7, 18}, std::pair{16, 2}, std::pair{3, 30}));

}  // namespace
}  // namespace mica::test
