// build/release/tests/bin/unit_ir --gtest_filter='Dim.*'
// Sizes that depend on symbols: one normal form, comparisons over the whole range, and a refusal where there is no single answer.
#include "mica/ir/dim.h"

#include <gtest/gtest.h>

#include "../graph_test.h"
#include "mica/ir/quotient.h"
#include "mica/ir/text.h"

namespace mica {
namespace {

const Dim S = Dim::symbol(0, "S", 16, 512), B = Dim::symbol(1, "B", 1, 8), H = Dim::symbol(2, "H", 160, 512);

TEST(Dim, equal_sizes_compare_equal_however_they_were_computed) {
  EXPECT_EQ(S * B * 768, 768 * (B * S));
  EXPECT_EQ((S + 1) * 2 - 2, S * 2);
  EXPECT_EQ(B * S * 768 / 64, B * S * 12);
  EXPECT_EQ(B * S / S, B);
  EXPECT_EQ(B * S % S, 0);
  EXPECT_EQ((S * 2 + 1) / 2, S);
  EXPECT_EQ(((H - 1) / 2 + 1 - 1) / 2 + 1, (H - 1) / 4 + 1);
  EXPECT_NE(S, B);
  EXPECT_NE(S, 512);
  EXPECT_NE(S + 1, S);
}

TEST(Dim, comparisons_have_one_answer_over_the_range_or_none) {
  EXPECT_TRUE(S > 15 && S >= 16 && S <= 512 && 513 > S);
  EXPECT_FALSE(S > 512);
  EXPECT_TRUE(B * S >= S);
  EXPECT_TRUE(B < S);
  EXPECT_THROW((void)(S < 128), SymbolicSize);
  EXPECT_THROW((void)(B > 1), SymbolicSize);
  EXPECT_TRUE(Dim::surely_less(S, 513));
  EXPECT_FALSE(Dim::surely_less(S, 512));
  try {
    (void)(S < 128);
  } catch (const SymbolicSize& e) { EXPECT_STREQ(e.what(), "S < 128 (S=16..512)"); }
}

TEST(Dim, asked_for_an_integer_it_refuses) {
  EXPECT_THROW((void)S.size(), SymbolicSize);
  EXPECT_THROW((void)static_cast<int64_t>(B * 2), SymbolicSize);
  EXPECT_EQ(Dim(7).size(), 7);
  EXPECT_EQ((S - S + 7).size(), 7);
  EXPECT_EQ(Dim::symbol(0, "N", 4, 4).size(), 4) << "a range of one size is that size";
}

TEST(Dim, minimum_and_maximum_vanish_where_the_range_decides) {
  EXPECT_EQ(Dim::min(S, 512), S);
  EXPECT_EQ(Dim::max(S, 1), S);
  EXPECT_EQ(Dim::min(S, 16), 16);
  const Dim open = Dim::min(S, 128);
  EXPECT_EQ(open.at({64, 1, 0}), 64);
  EXPECT_EQ(open.at({300, 1, 0}), 128);
}

TEST(Dim, quotients_are_exact_whatever_the_sizes_or_none) {
  const Dim a = Dim::symbol(0, "A", 0, 50), b = Dim::symbol(1, "B", 0, 9), rows = Dim::min(a, 7);
  EXPECT_EQ(exact_quotient(rows * 364, rows), Dim(364));
  EXPECT_EQ(exact_quotient(rows * 364, rows * 4), Dim(91));
  EXPECT_EQ(exact_quotient(a * b * 6 + a * 4, a * 2), b * 3 + 2);
  EXPECT_EQ(exact_quotient((a + b) * 12, a + b), Dim(12));
  EXPECT_EQ(exact_quotient((a + 1) * (b + 2), b + 2), a + 1);
  EXPECT_EQ(exact_quotient(12, 4), Dim(3));
  EXPECT_FALSE(exact_quotient(rows * 363, rows * 4));
  EXPECT_FALSE(exact_quotient(a * 4 + 1, a));
  EXPECT_FALSE(exact_quotient(a, b));
  EXPECT_FALSE(exact_quotient(13, 4));
  EXPECT_FALSE(exact_quotient(a, 0));
}

TEST(Dim, bounds_and_values) {
  EXPECT_EQ((S * B + 1).low(), 17);
  EXPECT_EQ((S * B + 1).high(), 4097);
  EXPECT_EQ((S - S / 16 * 16).high(), 15);
  EXPECT_EQ(((S + 3) / 4 * B).at({17, 2}), 10);
  EXPECT_EQ((S * B).typical(), 4096);
  EXPECT_EQ(Dim::ceil_div(S, 6).at({19}), 4);
}

/// Every expression of sizes has the value that plain arithmetic gives, at every place of the range.
TEST(Dim, the_normal_form_keeps_the_value) {
  const Dim a = Dim::symbol(0, "A", 1, 9), b = Dim::symbol(1, "B", 1, 7);
  struct Case {
    Dim dim;
    int64_t (*value)(int64_t, int64_t);
  };
  const Case cases[] = {
      {(a * b * 6 + 5) / 6, [](int64_t x, int64_t y) { return (x * y * 6 + 5) / 6; }},
      {(a * b - 1) / b, [](int64_t x, int64_t y) { return (x * y - 1) / y; }},
      {(a * b - 1) % b, [](int64_t x, int64_t y) { return (x * y - 1) % y; }},
      {(a * a + b) / a * a, [](int64_t x, int64_t y) { return (x * x + y) / x * x; }},
      {(a + b) * (a + b) - a * a, [](int64_t x, int64_t y) { return (x + y) * (x + y) - x * x; }},
      {((a + 7) / 8 * b + 3) % 4, [](int64_t x, int64_t y) { return ((x + 7) / 8 * y + 3) % 4; }},
      {Dim::max(a, b) * 3 - Dim::min(a, b), [](int64_t x, int64_t y) { return std::max(x, y) * 3 - std::min(x, y); }},
      {(a * 4 + b) % 4 + (a * 4 + b) / 4 * 4, [](int64_t x, int64_t y) { return x * 4 + y; }},
      {(b * a + a - 1) / a, [](int64_t x, int64_t y) { return (y * x + x - 1) / x; }},
  };
  for (const Case& c : cases) {
    for (int64_t x = 1; x <= 9; ++x) {
      for (int64_t y = 1; y <= 7; ++y) EXPECT_EQ(c.dim.at({x, y}), c.value(x, y)) << c.dim.to_string() << " at A=" << x << ", B=" << y;
    }
  }
}

/// Indices of loops whose extents are symbols: merging axes and taking them apart again leaves plain strides.
TEST(Dim, indices_over_symbolic_extents) {
  const Expr b = make_index("b", B), s = make_index("s", S), c = make_index("c", 768);
  const Expr flat = simplify(b * Expr(S * 768) + s * Expr(768) + c);
  const Expr merged = make_index("t", B * S * 768);
  EXPECT_TRUE(equivalent(simplify(floordiv(flat, Expr(S * 768))), b));
  EXPECT_TRUE(equivalent(simplify(floormod(floordiv(flat, Expr(768)), S)), s));
  EXPECT_TRUE(equivalent(simplify(floordiv(merged, Expr(S * 768)) * Expr(S * 768) + floormod(merged, Expr(S * 768))), merged));
  EXPECT_EQ(constant_int(simplify(flat < Expr(B * S * 768))), 1);
  EXPECT_EQ(constant_int(simplify(s < Expr(S))), 1);
  EXPECT_FALSE(constant_int(simplify(s < Expr(100))).has_value());
}

TEST(Dim, a_graph_with_symbols_reads_back_as_it_is_written) {
  constexpr const char* text = R"(graph<S=16..512, B=1..8>(%x: f32[B, S, 64], %m: f32[(S + 1) / 2, min(S, 128)]) {
  %0 = reshape(%x, shape=[S * B, 64]) : f32[S * B, 64]
  %1 = slice(%x, axis=1, end=S - 1) : f32[B, S - 1, 64]
  return %0, %1
}
)";
  Diagnostics d;
  const auto graph = parse_graph(text, "test", d);
  ASSERT_TRUE(graph) << d.to_string();
  EXPECT_EQ(to_string(*graph, {.locations = false}), text);
}

TEST(Dim, inference_refuses_what_the_range_leaves_open) {
  Diagnostics d;
  EXPECT_FALSE(parse_graph("graph<S=16..512>(%x: f32[S]) {\n  %0 = reshape(%x, shape=[S / 2, 2])\n  return %0\n}", "test", d));
  EXPECT_FALSE(parse_graph("graph<S=16..512>(%x: f32[S], %y: f32[100]) {\n  %0 = add(%x, %y)\n  return %0\n}", "test", d));
}

}  // namespace
}  // namespace mica
