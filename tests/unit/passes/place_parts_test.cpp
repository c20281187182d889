// build/release/tests/bin/unit_passes --gtest_filter='PlaceParts.*'
// Concatenations whose operands are made where they stand in the result.
#include "../../../passes/lower/place_parts.h"

#include "lowered.h"
#include "ranged.h"

namespace mica {
namespace {

using namespace test;

/// Names of the parts of a graph, with where they lie.
std::vector<std::string> parts_of(const Graph& graph) {
  std::vector<std::string> list;
  for (const auto& [id, part] : lower::place_parts(graph))
    list.push_back(fmt::format("{}: {} [{}, {}) + {}", id, part.whole.id, part.first, part.first + part.count, part.offset));
  return list;
}

size_t copies(const Program& p) {
  return static_cast<size_t>(std::ranges::count_if(labels(p), [](const std::string& l) { return l.find("cat") != l.npos; }));
}

void expect_copies(std::string_view text, size_t number) {
  const Graph graph = optimised(text);
  EXPECT_EQ(copies(test::lower(graph)), number) << to_string(graph);
  expect_lowered(graph);
}

TEST(PlaceParts, convolutions_store_where_the_concatenation_wants_them) {
  expect_copies(R"(graph(%x: f32[2, 5, 6, 7]) {
    %v = constant random<1> : f32[16, 5, 3, 3] %w = constant random<2> : f32[7, 5, 1, 1] %u = constant random<3> : f32[9, 23, 3, 3]
    %a = conv(%x, %v, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) %b = relu(%a)
    %c = conv(%x, %w, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) %d = sigmoid(%c)
    %e = cat([%b, %d], axis=1)
    %f = conv(%e, %u, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) return %f
  })",
                0);
}

/// Each layer reads all that is there and appends to it. Zeros for padding stand behind the whole.
TEST(PlaceParts, what_grows_is_one_value) {
  constexpr auto text = R"(graph(%x: f32[1, 5, 5, 6]) {
    %v = constant random<1> : f32[8, 5, 3, 3] %w1 = constant random<2> : f32[4, 8, 3, 3] %w2 = constant random<3> : f32[4, 12, 3, 3]
    %w3 = constant random<4> : f32[4, 16, 1, 1] %w4 = constant random<5> : f32[3, 20, 1, 1]
    %a = conv(%x, %v, stride=[1, 1], padding=[1, 1], dilation=[1, 1])
    %b = conv(%a, %w1, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) %ab = cat([%a, %b], axis=1)
    %c = conv(%ab, %w2, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) %abc = cat([%a, %b, %c], axis=1) %r = relu(%abc)
    %d = conv(%r, %w3, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) %abcd = cat([%a, %b, %c, %d], axis=1)
    %e = conv(%abcd, %w4, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) return %e
  })";
  expect_copies(text, 0);
  EXPECT_EQ(parts_of(optimised(text)).size(), 6u);  // a, b, c, d, ab, abc
}

TEST(PlaceParts, a_concatenation_within_another_along_another_axis) {
  expect_copies(R"(graph(%x: f32[4, 6, 10], %y: f32[4, 6, 10]) {
    %a = exp(%x) %b = tanh(%y) %c = cat([%a, %b], axis=1) %d = sigmoid(%x) %e = relu(%y) %f = cat([%d, %e], axis=1)
    %g = cat([%c, %f], axis=0) %s = softmax(%g, axis=-1) return %s
  })",
                0);
}

TEST(PlaceParts, an_operand_in_two_results_has_one_place) {
  expect_copies(R"(graph(%x: f32[4, 6], %y: f32[4, 10]) {
    %a = exp(%x) %b = tanh(%y) %c = cat([%a, %b], axis=1) %d = cat([%b, %a, %a], axis=1)
    %s = softmax(%c, axis=-1) %t = softmax(%d, axis=-1) return %s, %t
  })",
                2 + 1);  // b and the first a have their places in d: c is copied, and the second a
}

/// The caller's buffers, constants and views are copied.
TEST(PlaceParts, what_nobody_makes_is_copied) {
  expect_copies(R"(graph(%x: f32[4, 6], %y: f32[4, 10]) {
    %k = constant random<1> : f32[4, 3] %a = exp(%y) %v = reshape(%a, shape=[4, 10]) %p = permute(%x, axes=[1, 0]) %q = reshape(%p, shape=[4, 6])
    %c = cat([%x, %k, %q, %v], axis=1) %s = softmax(%c, axis=-1) return %s
  })",
                3);
}

TEST(PlaceParts, results_stay_dense) {
  expect_copies(R"(graph(%x: f32[4, 6], %y: f32[4, 10]) {
    %a = exp(%x) %b = tanh(%y) %c = cat([%a, %b], axis=1) return %c, %a
  })",
                2);
}

/// Kernels that ops bring with them take memory to be dense.
TEST(PlaceParts, what_a_kernel_form_reads_stays_dense) {
  constexpr auto text = R"(graph(%x: f32[4, 6], %y: f32[4, 10]) {
    %a = exp(%x) %b = tanh(%y) %c = cat([%a, %b], axis=1) %d = cumsum(%a, axis=1) %s = softmax(%c, axis=-1) return %s, %d
  })";
  expect_copies(text, 1);
}

TEST(PlaceParts, sizes_that_are_symbols) {
  expect_optimised_range(R"(graph<B=0..3, H=1..6>(%x: f32[B, 5, H, 4]) {
  %v = constant random<1> : f32[6, 5, 3, 3]
  %w = constant random<2> : f32[5, 6, 1, 1]
  %u = constant random<3> : f32[4, 11, 3, 3]
  %a = conv(%x, %v, stride=[1, 1], padding=[1, 1], dilation=[1, 1])
  %b = conv(%a, %w, stride=[1, 1], padding=[0, 0], dilation=[1, 1])
  %c = cat([%a, %b], axis=1)
  %d = conv(%c, %u, stride=[1, 1], padding=[1, 1], dilation=[1, 1])
  %e = cat([%a, %b, %d], axis=1)
  %s = softmax(%e, axis=1)
  return %s
})",
                         {{0, 1}, {1, 1}, {3, 5}});
}

/// A small value that is made early and read late does not keep memory for all of the result so long.
TEST(PlaceParts, what_is_made_long_before_is_copied) {
  const auto text = [](const char* early) {
    return fmt::format(R"(graph(%x: f32[8, 6], %y: f32[8, 90]) {{
    {} %b = exp(%y) %c = softmax(%b, axis=-1) %d = softmax(%c, axis=-1) %e = softmax(%d, axis=-1) %f = softmax(%e, axis=-1)
    %g = cat([%a, %f], axis=1) %s = softmax(%g, axis=-1) return %s }})",
                       early);
  };
  expect_copies(text("%p = permute(%x, axes=[1, 0]) %q = reshape(%p, shape=[8, 6]) %a = exp(%q)"), 1);
  const Graph graph = optimised(text("%a = exp(%x)"));
  EXPECT_EQ(parts_of(graph).size(), 1u);
}

}  // namespace
}  // namespace mica
