// Where values live, and when threads wait for each other.
#include "lowered.h"

namespace mica {
namespace {

using test::expect_lowered;
using test::lower;

TEST(plan_memory, a_chain_needs_two_buffers) {
  const Program p = lower(R"(graph(%x: f32[64, 64]) {
    %w = constant random<1> : f32[64, 64]
    %a = linear(%x, %w) %b = linear(%a, %w) %c = linear(%b, %w) %d = linear(%c, %w) return %d })");
  ASSERT_EQ(p.steps.size(), 4u);
  EXPECT_EQ(p.arena_bytes, 2 * 64 * 64 * 4);
  EXPECT_EQ(p.arena_lower_bound, p.arena_bytes);
  for (size_t i = 1; i < p.steps.size(); ++i) EXPECT_TRUE(p.steps[i].barrier);
}

TEST(plan_memory, independent_steps_do_not_wait) {
  constexpr auto text = R"(graph(%x: f32[6, 40], %y: f32[6, 40]) {
    %v = constant random<1> : f32[40, 40] %w = constant random<2> : f32[40, 40]
    %a = linear(%x, %v) %b = linear(%y, %w) %c = linear(%x, %w) %d = add(%a, %b) %e = softmax(%d, axis=-1) return %e, %c })";
  const Program p = lower(text);
  EXPECT_EQ(std::count_if(p.steps.begin(), p.steps.end(), [](const Step& s) { return s.barrier; }), 1);
  expect_lowered(text);
}

TEST(plan_memory, a_value_that_lives_long_keeps_its_bytes) {
  expect_lowered(R"(graph(%x: f32[12, 40]) {
    %w = constant random<1> : f32[40, 40]
    %a = linear(%x, %w) %b = softmax(%a, axis=-1) %c = linear(%b, %w) %d = softmax(%c, axis=0) %e = linear(%d, %w) %f = add(%e, %a) %g = add(%f, %b)
    %h = layer_norm(%g, axes=1) return %h })");
}

TEST(plan_memory, branches_of_many_sizes) {
  expect_lowered(R"(graph(%x: f32[1, 16, 5, 4]) {
    %w = constant random<1> : f32[8, 16, 1, 1] %v = constant random<2> : f32[12, 8, 3, 3] %u = constant random<3> : f32[8, 16, 3, 3]
    %a = conv(%x, %w, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) %b = relu(%a)
    %c = conv(%b, %v, stride=[1, 1], padding=[1, 1], dilation=[1, 1])
    %d = conv(%x, %u, stride=[1, 1], padding=[1, 1], dilation=[1, 1])
    %e = max_pool(%x, kernel=[3, 3], stride=[1, 1], padding=[1, 1], dilation=[1, 1])
    %f = cat([%c, %d, %e, %b], axis=1) return %f })");
}

TEST(plan_memory, zeros_behind_a_value_are_written_in_every_run) {
  const Graph graph = test::optimised(R"(graph(%x: f32[2, 16, 4, 5]) {
    %w = constant random<1> : f32[16, 16, 3, 3] %v = constant random<2> : f32[24, 16, 3, 3]
    %a = conv(%x, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) %b = relu(%a)
    %c = conv(%b, %v, stride=[2, 2], padding=[1, 1], dilation=[1, 1]) return %c })");
  const Program p = lower(graph);
  EXPECT_EQ(std::count_if(p.steps.begin(), p.steps.end(), [](const Step& s) { return s.label == "zeros for padding"; }), 2);
  expect_lowered(graph);
}

TEST(plan_memory, equal_kernels_are_one) {
  const Program p = lower(R"(graph(%x: f32[6, 40]) {
    %v = constant random<1> : f32[40, 40] %w = constant random<2> : f32[40, 40]
    %a = linear(%x, %v) %b = linear(%a, %w) %c = linear(%b, %v) %d = linear(%c, %w) %e = linear(%d, %v) return %e })");
  // Of those that read or write the caller's buffers, less is known about alignment.
  EXPECT_EQ(p.steps.size(), 5u);
  EXPECT_EQ(p.kernels.size(), 3u);
  EXPECT_EQ(p.weights.size(), 2u);
}

TEST(plan_memory, every_value_starts_at_a_cache_line) {
  const Program p = lower(R"(graph(%x: f32[3, 5]) {
    %a = softmax(%x, axis=-1) %b = softmax(%a, axis=0) %c = softmax(%b, axis=-1) %d = add(%c, %a) %e = softmax(%d, axis=0) return %e })");
  for (const Step& s : p.steps) {
    for (const Binding& b : s.bindings) EXPECT_EQ(b.offset % 64, 0);
  }
}

}  // namespace
}  // namespace mica
