// What becomes one kernel, and what must not.
#include "../../../passes/lower/region.h"
#include "lowered.h"

namespace mica {
namespace {

using test::expect_lowered;
using test::Labels;
using test::labels;
using test::lower;

TEST(fuse_regions, takes_pointwise_work_into_the_contraction_before_it) {
  constexpr auto text = R"(graph(%x: f32[5, 40], %r: f32[5, 33]) {
    %w = constant random<1> : f32[33, 40] %b = constant random<2> : f32[33]
    %a = linear(%x, %w, bias=%b) %c = relu(%a) %d = add(%c, %r) return %d })";
  EXPECT_EQ(labels(lower(text)), (Labels{"linear_relu_add"}));
  expect_lowered(text);
}

TEST(fuse_regions, keeps_two_anchors_apart) {
  constexpr auto text = R"(graph(%x: f32[5, 40]) {
    %w = constant random<1> : f32[33, 40]
    %a = linear(%x, %w) %b = relu(%a) %c = softmax(%b, axis=-1) %d = exp(%c) return %d })";
  EXPECT_EQ(labels(lower(text)), (Labels{"linear", "softmax_relu_exp"}));
  expect_lowered(text);
}

TEST(fuse_regions, stores_an_anchor_that_is_read_twice) {
  constexpr auto text = R"(graph(%x: f32[5, 40]) {
    %w = constant random<1> : f32[33, 40]
    %a = linear(%x, %w) %b = relu(%a) %c = softmax(%a, axis=-1) %d = add(%b, %c) return %d })";
  EXPECT_EQ(labels(lower(text)).size(), 2u);
  EXPECT_EQ(labels(lower(text))[0], "linear");
  expect_lowered(text);
}

TEST(fuse_regions, stores_a_pointwise_value_that_is_read_twice) {
  constexpr auto text = R"(graph(%x: f32[5, 40]) {
    %e = exp(%x) %a = sum(%e, axes=[1], keepdim=false) %b = sum(%e, axes=[0], keepdim=false) return %a, %b })";
  EXPECT_EQ(labels(lower(text)), (Labels{"exp", "sum", "sum"}));
  expect_lowered(text);
}

TEST(fuse_regions, stores_what_a_contraction_reads) {
  constexpr auto text = R"(graph(%x: f32[5, 40]) {
    %w = constant random<1> : f32[33, 40]
    %a = relu(%x) %b = linear(%a, %w) return %b })";
  EXPECT_EQ(labels(lower(text)), (Labels{"relu", "linear"}));
  expect_lowered(text);
}

TEST(fuse_regions, takes_pointwise_work_into_the_reduction_after_it) {
  constexpr auto text = R"(graph(%x: f32[4, 6, 20], %m: f32[6, 20]) {
    %s = constant dense<0.125> : f32[]
    %a = mul(%x, %s) %b = add(%a, %m) %c = softmax(%b, axis=-1) return %c })";
  EXPECT_EQ(labels(lower(text)).size(), 1u);
  expect_lowered(text);
}

TEST(fuse_regions, work_on_a_broadcast_value_has_a_kernel_where_it_would_be_repeated_long) {
  constexpr auto text = R"(graph(%x: f32[{}, 64], %v: f32[1, 64]) {{
    %s = rsqrt(%v) %a = mul(%x, %s) return %a }})";
  EXPECT_EQ(labels(lower(fmt::format(text, 4096))), (Labels{"rsqrt", "mul"}));
  EXPECT_EQ(labels(lower(fmt::format(text, 16))), (Labels{"rsqrt_mul"}));
}

TEST(fuse_regions, epilogue_through_reshape_and_permute) {
  constexpr auto text = R"(graph(%x: f32[2, 7, 24], %r: f32[2, 4, 7, 6]) {
    %w = constant random<1> : f32[24, 24]
    %a = linear(%x, %w) %b = reshape(%a, shape=[2, 7, 4, 6]) %c = permute(%b, axes=[0, 2, 1, 3]) %d = add(%c, %r) return %d })";
  EXPECT_EQ(labels(lower(text)).size(), 1u);
  expect_lowered(text);
}

TEST(fuse_regions, a_schedule_does_not_scatter_its_vectors) {
  // Channels lie innermost for the convolution; the result, whose places do, is stored by a kernel that turns the axes.
  const Graph graph = test::optimised(R"(graph(%x: f32[1, 24, 6, 6]) {
    %w = constant random<1> : f32[32, 24, 1, 1]
    %a = conv(%x, %w, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) %b = relu(%a) return %b })");
  const Labels all = labels(lower(graph));
  ASSERT_GE(all.size(), 2u);
  EXPECT_EQ(all[all.size() - 2], "conv_relu");
  EXPECT_EQ(all.back(), "relayout");
}

TEST(fuse_regions, no_epilogue_through_a_slice_or_a_broadcast) {
  constexpr auto sliced = R"(graph(%x: f32[8, 24]) {
    %w = constant random<1> : f32[24, 24]
    %a = linear(%x, %w) %b = slice(%a, axis=0, start=1, end=5, step=1) %c = relu(%b) return %c })";
  EXPECT_EQ(labels(lower(sliced)).size(), 2u);
  expect_lowered(sliced);
  constexpr auto broadcast = R"(graph(%x: f32[1, 24], %y: f32[5, 24]) {
    %w = constant random<1> : f32[24, 24]
    %a = linear(%x, %w) %b = add(%a, %y) return %b })";
  EXPECT_EQ(labels(lower(broadcast)).size(), 2u);
  expect_lowered(broadcast);
}

TEST(fuse_regions, no_epilogue_over_two_places_of_one_anchor) {
  constexpr auto text = R"(graph(%x: f32[24, 24]) {
    %w = constant random<1> : f32[24, 24]
    %a = linear(%x, %w) %t = permute(%a, axes=[1, 0]) %b = add(%a, %t) return %b })";
  EXPECT_EQ(labels(lower(text)).size(), 2u);
  expect_lowered(text);
}

TEST(fuse_regions, outputs_are_stored_though_they_are_read_again) {
  constexpr auto text = R"(graph(%x: f32[5, 40]) {
    %w = constant random<1> : f32[33, 40]
    %a = linear(%x, %w) %b = relu(%a) return %a, %b })";
  EXPECT_EQ(labels(lower(text)), (Labels{"linear", "relu"}));
  expect_lowered(text);
}

TEST(fuse_regions, reads_transposed_and_sliced_operands_in_place) {
  constexpr auto text = R"(graph(%x: f32[2, 9, 96], %k: f32[2, 4, 8, 9]) {
    %q = slice(%x, axis=2, start=32, end=64, step=1) %h = reshape(%q, shape=[2, 9, 4, 8]) %p = permute(%h, axes=[0, 2, 1, 3])
    %a = matmul(%p, %k) return %a })";
  EXPECT_EQ(labels(lower(text)), (Labels{"matmul"}));
  expect_lowered(text);
}

TEST(fuse_regions, a_view_without_an_arithmetic_address_is_copied) {
  constexpr auto text = R"(graph(%x: f32[6, 10], %k: f32[15, 9]) {
    %p = permute(%x, axes=[1, 0]) %h = reshape(%p, shape=[4, 15]) %a = matmul(%h, %k) return %a })";
  EXPECT_EQ(labels(lower(text)).back(), "matmul");
  expect_lowered(text);
}

TEST(fuse_regions, one_kernel_for_each_part_of_a_concatenation) {
  constexpr auto text = R"(graph(%x: f32[2, 3, 5], %y: f32[2, 4, 5], %z: f32[2, 1, 5]) {
    %a = exp(%x) %c = cat([%a, %y, %z], axis=1) %d = relu(%c) %s = sum(%c, axes=[1], keepdim=false) return %d, %s })";
  const Program p = lower(text);
  ASSERT_EQ(p.steps.size(), 5u);
  // The parts run at once; what reads the whole waits.
  EXPECT_FALSE(p.steps[1].barrier);
  EXPECT_FALSE(p.steps[2].barrier);
  EXPECT_TRUE(p.steps[3].barrier);
  expect_lowered(text);
}

TEST(fuse_regions, a_copy_to_the_same_place_is_no_kernel) {
  constexpr auto text = R"(graph(%x: f32[3, 40], %m: f32[3, 40]) {
    %e = exp(%x) %c = cast(%e, dtype=f32) %n = neg(%e)
    %a = sum(%c, axes=[0], keepdim=false) %b = softmax(%c, axis=-1) %d = softmax(%n, axis=-1) return %a, %b, %d })";
  EXPECT_EQ(labels(lower(text)), (Labels{"exp", "sum", "softmax", "neg_softmax"}));
  expect_lowered(text);
}

TEST(fuse_regions, a_result_given_twice_and_a_constant_result) {
  expect_lowered(test::optimised(R"(graph(%x: f32[3, 40]) { %e = exp(%x) %w = constant random<1> : f32[3] return %e, %e, %w, %x })"));
}

TEST(fuse_regions, store_indices_follow_the_way_to_the_root) {
  const Graph graph = test::parse(R"(graph(%x: f32[2, 7, 24]) {
    %w = constant random<1> : f32[24, 24]
    %a = linear(%x, %w) %b = reshape(%a, shape=[14, 24]) %c = permute(%b, axes=[1, 0]) %d = relu(%c) return %d })");
  const auto regions = lower::fuse_regions(graph, true);
  ASSERT_EQ(regions.size(), 1u);
  const auto vars = lower::index_vars(graph.type(regions[0].anchor_value).shape);
  const auto where = lower::store_indices(graph, regions[0], vars);
  ASSERT_TRUE(where);
  ASSERT_EQ(where->size(), 2u);
  EXPECT_TRUE(equivalent((*where)[0], vars[2]));
  EXPECT_TRUE(equivalent((*where)[1], simplify(vars[0] * Expr(7) + vars[1])));
}

}  // namespace
}  // namespace mica
