// The generic road by the kernel interpreter: which axis the lanes run along, tails, staging, chains of additions.
#include "lowered.h"

namespace mica {
namespace {

using test::expect_lowered;
using test::lower;

int count(const std::string& text, std::string_view part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}
bool stages(const Program& p) {
  for (const Buffer& b : p.kernels[0].buffers) {
    if (b.memory == Memory::stack) return true;
  }
  return false;
}

TEST(generic, extents_around_the_vector_width) {
  for (int64_t n : {1, 3, 4, 5, 15, 16, 17, 64, 65, 300}) {
    SCOPED_TRACE(n);
    expect_lowered(fmt::format("graph(%x: f32[{0}], %y: f32[{0}]) {{ %a = exp(%x) %b = add(%a, %y) return %b }}", n));
    expect_lowered(fmt::format("graph(%x: f32[3, {0}]) {{ %a = softmax(%x, axis=1) return %a }}", n));
    expect_lowered(fmt::format("graph(%x: f32[{0}, 3]) {{ %a = softmax(%x, axis=0) return %a }}", n));
    expect_lowered(fmt::format("graph(%x: f32[2, 5, {0}]) {{ %a = amax(%x, axes=[1], keepdim=false) return %a }}", n));
    expect_lowered(fmt::format("graph(%x: f32[{0}, 6]) {{ %a = mean(%x, axes=[0, 1], keepdim=false) return %a }}", n));
  }
}

TEST(generic, a_row_is_computed_once) {
  EXPECT_TRUE(stages(lower("graph(%x: f32[4, 100]) { %a = softmax(%x, axis=-1) return %a }")));
  EXPECT_FALSE(stages(lower("graph(%x: f32[4, 100]) { %a = amax(%x, axes=[1], keepdim=false) return %a }")));
}

TEST(generic, lanes_run_along_the_axis_that_is_contiguous) {
  // Sums over axis 0 hold neighbouring columns in a vector: no horizontal reduction is left.
  EXPECT_EQ(count(to_string(lower("graph(%x: f32[50, 64]) { %a = sum(%x, axes=[0], keepdim=false) return %a }")), "horizontal"), 0);
}

TEST(generic, axes_that_change_places) {
  for (int64_t rows : {1, 15, 16, 65, 130}) {
    for (int64_t columns : {2, 16, 49, 70}) {
      SCOPED_TRACE(fmt::format("{} x {}", rows, columns));
      expect_lowered(fmt::format("graph(%x: f32[2, {}, {}]) {{ %p = permute(%x, axes=[2, 0, 1]) %a = relu(%p) return %a }}", rows, columns));
    }
  }
  // The lines that a vector's lanes come from are used up before the next vectors are read.
  const std::string text = to_string(lower("graph(%x: f32[256, 256]) { %p = permute(%x, axes=[1, 0]) %a = relu(%p) return %a }"));
  EXPECT_LT(text.find("for v."), text.find("for i")) << text;
}

TEST(generic, long_sums_are_cut) {
  expect_lowered("graph(%x: f32[2, 9000]) { %a = sum(%x, axes=[1], keepdim=false) return %a }", 2e-4);
  expect_lowered("graph(%x: f32[700, 20]) { %a = sum(%x, axes=[0], keepdim=false) return %a }", 1e-4);
  expect_lowered("graph(%x: f32[3, 300, 7]) { %a = mean(%x, axes=[0, 1], keepdim=true) return %a }");
}

TEST(generic, masks_guard_what_lies_outside) {
  expect_lowered("graph(%x: f32[3, 5]) { %a = pad(%x, before=[1, 2], after=[0, 3], value=0.5) %b = exp(%a) return %b }");
  expect_lowered("graph(%x: f32[3, 5]) { %a = pad(%x, before=[-1, 2], after=[2, -1]) return %a }");
  expect_lowered("graph(%x: f32[1, 5, 6, 7]) { %a = max_pool(%x, kernel=[3, 3], stride=[2, 2], padding=[1, 1], dilation=[1, 1]) return %a }");
  expect_lowered("graph(%x: f32[1, 5, 6, 7]) { %a = avg_pool(%x, kernel=[3, 3], stride=[2, 2], padding=[1, 1]) return %a }");
}

/// What is divided by 2 and more lanes at a time would be gathered; group by group, lanes are read side by side.
TEST(generic, channels_shuffled_between_groups) {
  for (int64_t groups : {2, 3, 4, 5, 8}) {
    const std::string text = fmt::format(R"(graph(%x: f32[3, {0}]) {{
      %a = reshape(%x, shape=[3, {1}, 23]) %b = permute(%a, axes=[0, 2, 1]) %c = reshape(%b, shape=[3, {0}]) %d = neg(%c) return %d }})",
                                         groups * 23, groups);
    EXPECT_EQ(count(to_string(lower(text)), "// broadcast") == 0, groups <= 4) << to_string(lower(text));
    expect_lowered(text);
  }
}

TEST(generic, indices_are_data) {
  expect_lowered("graph(%w: f32[3, 21], %i: i64[2, 4]) { %a = embedding(%w, %i) %b = relu(%a) return %b }");
  expect_lowered("graph(%x: f32[3, 21], %i: i64[2, 21]) { %a = gather(%x, axis=0, index=%i) return %a }");
}

TEST(generic, mixed_types) {
  expect_lowered(
      "graph(%x: f16[5, 21], %y: f16[21]) { %a = cast(%x, dtype=f32) %b = softmax(%a, axis=-1) %c = cast(%b, dtype=f16) %d = mul(%c, %y) return %d }",
      2e-3);
  expect_lowered("graph(%x: i64[5, 21], %m: bool[21]) { %a = cast(%x, dtype=f32) %n = neg(%a) %b = where(%m, %a, %n) return %b }");
  expect_lowered("graph(%x: i64[5, 21]) { %a = sum(%x, axes=[1], keepdim=false) return %a }");
}

TEST(generic, convolutions_and_products_without_a_schedule) {
  expect_lowered(R"(graph(%x: f32[2, 6, 5, 7], %w: f32[4, 3, 3, 3]) {
    %a = conv(%x, %w, stride=[2, 1], padding=[1, 1], dilation=[1, 1], groups=2) %b = relu(%a) return %b })");
  expect_lowered("graph(%x: f32[6, 40], %w: f32[33, 40], %b: f32[33]) { %a = linear(%x, %w, bias=%b) return %a }");
}

TEST(generic, empty_and_scalar) {
  expect_lowered("graph(%x: f32[]) { %a = exp(%x) return %a }");
  expect_lowered("graph(%x: f32[0, 3]) { %a = exp(%x) return %a }");
  expect_lowered("graph(%x: f32[0, 3]) { %a = sum(%x, axes=[0], keepdim=false) return %a }");
}

}  // namespace
}  // namespace mica
