// build/release/tests/bin/unit_passes --gtest_filter='Symbols.*'
// One program for a range of sizes: at every size it computes what the graph with that size means.
#include "ranged.h"

namespace mica {
namespace {

using namespace test;

TEST(Symbols, pointwise_work_of_every_length) {
  expect_range("graph<S=1..70>(%x: f32[S], %y: f32[S]) {\n  %0 = add(%x, %y)\n  %1 = tanh(%0)\n  return %1\n}", each(1, 70));
  expect_range("graph<S=1..40, B=1..3>(%x: f32[B, S, 5]) {\n  %0 = exp(%x)\n  return %0\n}", {{1, 1}, {7, 3}, {40, 2}, {33, 1}});
}

TEST(Symbols, rows_of_every_length) {
  expect_range("graph<S=1..70>(%x: f32[3, S]) {\n  %0 = softmax(%x, axis=1)\n  return %0\n}", each(1, 70));
  expect_range("graph<S=1..70>(%x: f32[S, 48], %w: f32[48]) {\n  %0 = layer_norm(%x, %w, axes=1)\n  return %0\n}", {{1}, {2}, {17}, {70}});
  expect_range("graph<S=1..70>(%x: f32[2, S, 9]) {\n  %0 = mean(%x, axes=[1])\n  return %0\n}", {{1}, {2}, {17}, {70}});
}

TEST(Symbols, a_linear_layer_with_any_number_of_rows) {
  expect_range(R"(graph<S=1..45>(%x: f32[S, 40]) {
  %w = constant random<1> : f32[50, 40]
  %b = constant random<2> : f32[50]
  %0 = linear(%x, %w, %b)
  %1 = relu(%0)
  return %1
})",
               each(1, 45));
  expect_range(R"(graph<B=1..4, S=16..45>(%x: f32[B, S, 300]) {
  %w = constant random<1> : f32[20, 300]
  %0 = linear(%x, %w)
  return %0
})",
               {{1, 16}, {3, 19}, {4, 45}, {2, 33}});
}

TEST(Symbols, products_whose_every_size_varies) {
  for (const char* type : {"S=1..40", "S=250..270"}) {
    const bool small = std::string(type) == "S=1..40";
    // Chains of more than 256 steps are cut; one matrix is enough for the interpreter's patience.
    const int64_t batch = small ? 2 : 1, columns = small ? 0 : 3;
    const std::string n = columns ? std::to_string(columns) : "S";
    expect_range(
        fmt::format("graph<{}>(%a: f32[{}, S, S], %b: f32[{}, S, {}]) {{\n  %0 = matmul(%a, %b)\n  return %0\n}}", type, batch, batch, n),
        small ? std::vector<std::vector<int64_t>>{{1}, {2}, {15}, {16}, {17}, {40}} : std::vector<std::vector<int64_t>>{{250}, {257}, {270}});
  }
}

TEST(Symbols, attention) {
  expect_range(R"(graph<B=1..3, S=1..37>(%x: f32[B, S, 24], %m: bool[B, S]) {
  %w = constant random<1> : f32[24, 24]
  %q = linear(%x, %w)
  %q1 = reshape(%q, shape=[B, S, 3, 8])
  %q2 = permute(%q1, axes=[0, 2, 1, 3])
  %k2 = permute(%q1, axes=[0, 2, 3, 1])
  %s = matmul(%q2, %k2)
  %m1 = reshape(%m, shape=[B, 1, 1, S])
  %low = constant dense<-100.0> : f32[]
  %s1 = where(%m1, %s, %low)
  %p = softmax(%s1, axis=3)
  %y = matmul(%p, %q2)
  %y1 = permute(%y, axes=[0, 2, 1, 3])
  %y2 = reshape(%y1, shape=[B, S, 24])
  %y3 = linear(%y2, %w)
  %y4 = add(%y3, %x)
  return %y4
})",
               {{1, 1}, {3, 37}, {2, 16}, {3, 9}, {1, 33}});
}

TEST(Symbols, sizes_that_follow_from_symbols) {
  expect_range(R"(graph<S=2..40>(%x: f32[4, S]) {
  %0 = slice(%x, axis=1, end=S - 1)
  %1 = slice(%x, axis=1, start=1)
  %2 = cat([%0, %1], axis=1)
  %3 = sub(%1, %0)
  return %2, %3
})",
               {{2}, {3}, {17}, {40}});
  expect_range(
      "graph<S=2..40>(%x: f32[S]) {\n  %0 = arange(count=S, dtype=f32)\n  %1 = mul(%x, %0)\n  %2 = size_value(size=S, dtype=f32)\n"
      "  %3 = add(%1, %2)\n  return %3\n}",
      {{2}, {17}, {40}});
}

TEST(Symbols, convolution_and_pooling_over_any_image) {
  expect_range(R"(graph<H=5..19, W=5..14>(%x: f32[1, 3, H, W]) {
  %w = constant random<1> : f32[8, 3, 3, 3]
  %0 = conv(%x, %w, stride=[2, 2], padding=[1, 1], dilation=[1, 1])
  %1 = relu(%0)
  %2 = max_pool(%1, kernel=[3, 3], stride=[2, 2], padding=[1, 1], dilation=[1, 1])
  %3 = mean(%2, axes=[2, 3])
  return %3
})",
               {{5, 5}, {19, 14}, {6, 13}, {8, 8}});
}

/// Values share memory by their lives, at every size, and no more than the plan says is used.
TEST(Symbols, the_workspace_is_as_large_as_the_sizes_ask_for) {
  const Program p = lower(R"(graph<S=16..512>(%x: f32[S, 64]) {
  %w = constant random<1> : f32[64, 64]
  %0 = linear(%x, %w)
  %1 = linear(%0, %w)
  %2 = linear(%1, %w)
  %3 = linear(%2, %w)
  return %3
})");
  ASSERT_EQ(p.slots.size(), 2u);
  for (const Dim& bytes : p.slots) {
    EXPECT_EQ(bytes.at({16}), 16 * 64 * 4);
    EXPECT_EQ(bytes.at({512}), 512 * 64 * 4);
  }
  EXPECT_EQ(p.arena_bytes, 2 * 512 * 64 * 4);
}

}  // namespace
}  // namespace mica
