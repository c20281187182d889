// The micro-kernel that speed stands on: register tiles become SSA values, run near the hardware's peak and never spill.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

#include "compiled_program.h"

namespace mica::test {
namespace {

/// C[rows x cols] = A[rows x depth] * B packed [depth][cols], one register tile, `repeat` tasks that do the same.
Kernel tile_kernel(int64_t rows, int64_t vectors, int64_t lanes, int64_t depth, int64_t unroll, int64_t tasks) {
  const auto f32 = [](int64_t n) { return ExprType{DType::f32, static_cast<int32_t>(n)}; };
  Kernel k;
  k.name = "tile_" + std::to_string(rows) + "x" + std::to_string(vectors * lanes);
  k.task = make_var("task", 0, tasks);
  k.tasks = tasks;
  const int64_t cols = vectors * lanes;
  const uint32_t a = k.add_buffer({.name = "a", .element = f32(1), .elements = rows * depth});
  const uint32_t b = k.add_buffer({.name = "b", .element = f32(1), .elements = depth * cols});
  const uint32_t c = k.add_buffer({.name = "c", .element = f32(1), .elements = rows * cols, .written = true});
  const uint32_t acc = k.add_buffer({.name = "acc", .element = f32(lanes), .elements = rows * vectors, .memory = Memory::registers});
  const Expr m = make_var("m", 0, rows), n = make_var("n", 0, vectors), kk = make_var("k", 0, depth), u = make_var("u", 0, unroll);
  const auto unrolled = [](Expr var, Expr high, std::vector<Stmt> body) { return Stmt::loop(var, 0, high, 1, std::move(body), ForKind::unrolled); };
  const Expr at = m * vectors + n;
  const Expr av = make_broadcast(make_load(a, f32(1), {m * depth + (kk + u)}), static_cast<int32_t>(lanes));
  const Expr bv = make_load(b, f32(lanes), {make_ramp((kk + u) * cols + n * lanes, 1, static_cast<int32_t>(lanes))});
  k.body.push_back(
      unrolled(m, rows, {unrolled(n, vectors, {Stmt::store(acc, at, make_broadcast(imm(DType::f32, 0), static_cast<int32_t>(lanes)))})}));
  k.body.push_back(Stmt::loop(
      kk, 0, depth, unroll,
      {unrolled(u, unroll, {unrolled(m, rows, {unrolled(n, vectors, {Stmt::store(acc, at, fma(av, bv, make_load(acc, f32(lanes), {at})))})})})}));
  k.body.push_back(unrolled(
      m, rows,
      {unrolled(n, vectors, {Stmt::store(c, make_ramp(m * cols + n * lanes, 1, static_cast<int32_t>(lanes)), make_load(acc, f32(lanes), {at}))})}));
  return k;
}

struct TileCase {
  int64_t rows, vectors, unroll;
};

class Tile : public testing::TestWithParam<TileCase> {};

TEST_P(Tile, computes_without_spills) {
  const auto [rows, vectors, unroll] = GetParam();
  const Target target = native_target();
  const int64_t lanes = target.lanes(4), depth = 256, cols = vectors * lanes, tasks = 20000;
  if (lanes < 16) GTEST_SKIP() << "tile chosen for 512-bit registers";
  CompiledProgram program(program_of(tile_kernel(rows, vectors, lanes, depth, unroll, tasks)), target);
  EXPECT_TRUE(program.result().spills.empty()) << program.result().spills.front();
  std::vector<float> a(static_cast<size_t>(rows * depth)), b(static_cast<size_t>(depth * cols)), c(static_cast<size_t>(rows * cols));
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(static_cast<int>(i * 7 % 23) - 11) / 8;
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(static_cast<int>(i * 5 % 19) - 9) / 8;
  double best = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    program.run({a.data(), b.data(), c.data()});
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < cols; ++n) {
      double expected = 0;
      for (int64_t k = 0; k < depth; ++k) expected += double(a[static_cast<size_t>(m * depth + k)]) * b[static_cast<size_t>(k * cols + n)];
      ASSERT_EQ(c[static_cast<size_t>(m * cols + n)], static_cast<float>(expected)) << m << ", " << n;
    }
  }
  RecordProperty("gflops", std::to_string(2e-9 * double(rows * cols * depth * tasks) / best));
  printf("  %ldx%ld u%ld: %.1f GFLOP/s\n", rows, cols, unroll, 2e-9 * double(rows * cols * depth * tasks) / best);
}

TEST(Spills, of_a_tile_that_does_not_fit_are_reported) {
  Diagnostics diagnostics;
  const auto target = make_target("x86-64-v4", "", diagnostics);
  const Program program = program_of(tile_kernel(12, 4, 16, 256, 1, 1));
  const auto code = generate_code(program, *target, {}, diagnostics);
  ASSERT_TRUE(code);
  ASSERT_FALSE(code->spills.empty());
  EXPECT_EQ(code->spills[0].substr(0, 12), "tile_12x64: ");
  EXPECT_NE(code->spills[0].find("in an innermost loop"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Tile,
                         testing::Values(TileCase{6, 4, 1}, TileCase{6, 4, 2}, TileCase{8, 3, 1}, TileCase{8, 3, 2}, TileCase{9, 3, 1},
                                         TileCase{1, 4, 1}));

}  // namespace
}  // namespace mica::test
