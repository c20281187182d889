// Every pass: it fires where it should, not where it must not, and what it leaves computes the same.
#include <fmt/format.h>

#include "../graph_test.h"
#include "mica/pass/pipeline.h"

namespace mica {
namespace {

/// The text after pass `name`; `tolerance` 0 asks for equal results.
std::string after(std::string_view name, std::string_view text, double tolerance = 0) {
  Graph graph = test::parse(text);
  const auto inputs = test::random_inputs(graph);
  const auto before = test::run(graph, inputs);
  Diagnostics d;
  PassContext context{.target = nullptr, .diagnostics = &d};
  EXPECT_TRUE(run_pass_by_name(name, graph, context)) << d.to_string();
  Diagnostics found;
  EXPECT_TRUE(verify(graph, found)) << found.to_string();
  test::expect_same(before, test::run(graph, inputs), tolerance);
  return to_string(graph);
}

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }
int count(const std::string& text, std::string_view part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(eliminate_dead_code, removes_what_no_output_needs) {
  const std::string t =
      after("eliminate_dead_code",
            "graph(%x: f32[2], %unused: f32[3]) { %w = constant dense<1.0> : f32[1] %a = exp(%x) %b = add(%a, %w) %c = relu(%x) return %c }");
  EXPECT_FALSE(holds(t, "exp"));
  EXPECT_FALSE(holds(t, "constant"));
  EXPECT_TRUE(holds(t, "%unused"));
  EXPECT_TRUE(holds(t, "relu"));
}

TEST(eliminate_common_subexpressions, merges_equal_nodes_and_constants) {
  const std::string t = after("eliminate_common_subexpressions",
                              "graph(%x: f32[2]) { %v = constant dense<1.0, 2.0> : f32[2] %w = constant dense<1.0, 2.0> : f32[2] %a = add(%x, %v) %b "
                              "= add(%x, %w) %c = mul(%a, %b) return %c }");
  EXPECT_EQ(count(t, "add("), 1);
  EXPECT_EQ(count(t, "constant"), 1);
}

TEST(eliminate_common_subexpressions, keeps_the_sign_of_zero_and_other_attributes) {
  const std::string t = after("eliminate_common_subexpressions",
                              "graph(%x: f32[2, 3]) { %v = constant dense<0.0> : f32[] %w = constant dense<-0.0> : f32[] %a = div(%x, %v) %b = "
                              "div(%x, %w) %c = softmax(%x, axis=0) %d = softmax(%x, axis=1) return %a, %b, %c, %d }");
  EXPECT_EQ(count(t, "div("), 2);
  EXPECT_EQ(count(t, "softmax("), 2);
}

TEST(simplify_control, decides_what_is_known) {
  const std::string t = after("simplify_control", R"(
    graph(%x: f32[3], %c: bool[]) {
    %no = constant dense<false> : bool[] %one = constant dense<1> : i64[] %w = constant dense<1.0, 2.0, 3.0> : f32[3]
    %a = if(%no, [%x, %w], then=graph(%x: f32[3], %w: f32[3]) { %r = exp(%x) return %r },
            otherwise=graph(%x: f32[3], %w: f32[3]) { %r = mul(%x, %w) return %r })
    %b = loop(%one, carried=[%a], captures=[%w], body=graph(%i: i64[], %a: f32[3], %w: f32[3]) { %c = constant dense<true> : bool[] %r = add(%a, %w) return %c, %r })
    %d = loop(condition=%no, carried=[%b], body=graph(%i: i64[], %a: f32[3]) { %t = constant dense<true> : bool[] %r = neg(%a) return %t, %r })
    return %d })");
  EXPECT_FALSE(holds(t, "loop("));
  EXPECT_FALSE(holds(t, "if("));
  EXPECT_FALSE(holds(t, "exp("));
  EXPECT_FALSE(holds(t, "neg("));
}

TEST(simplify_control, hands_regions_only_what_they_use) {
  // Two values that change places every trip; one that only serves itself; one that stays; a constant, through two regions.
  const std::string t = after("simplify_control", R"(
    graph(%n: i64[], %c: bool[], %x: f32[3], %y: f32[3]) {
    %w = constant dense<1.0, 2.0, 3.0> : f32[3]
    %p, %q, %alone, %same = loop(%n, carried=[%x, %y, %x, %y], captures=[%w, %c],
        body=graph(%i: i64[], %p: f32[3], %q: f32[3], %o: f32[3], %s: f32[3], %w: f32[3], %c: bool[]) {
      %t = constant dense<true> : bool[]
      %r, %u = if(%c, [%q, %w, %s], then=graph(%q: f32[3], %w: f32[3], %s: f32[3]) { %r = mul(%q, %w) return %r, %s },
                  otherwise=graph(%q: f32[3], %w: f32[3], %s: f32[3]) { %r = add(%q, %s) return %r, %s })
      %o2 = exp(%o)
      return %t, %r, %p, %o2, %u
    })
    return %p, %q, %same })");
  EXPECT_FALSE(holds(t, "exp("));
  EXPECT_TRUE(holds(t, "if(%c, [%q, %s]")) << t;
}

TEST(fold_constants, computes_what_is_constant) {
  const std::string t =
      after("fold_constants", "graph(%x: f32[2]) { %w = constant dense<1.0, 2.0> : f32[2] %a = mul(%w, %w) %b = exp(%a) %c = add(%x, %b) return %c }",
            1e-6);
  EXPECT_FALSE(holds(t, "mul("));
  EXPECT_FALSE(holds(t, "exp("));
  EXPECT_TRUE(holds(t, "dense<2.7182817, 54.59815>"));
}

TEST(fold_constants, permutes_weights_but_does_not_expand_them) {
  const std::string t = after("fold_constants",
                              "graph(%x: f32[3, 1000], %y: f32[100, 1000]) { %w = constant random<3> : f32[1000, 5] %p = permute(%w, axes=[1, 0]) %l "
                              "= linear(%x, %p) %v = constant random<4> : f32[1000] %e = "
                              "expand(%v, shape=[100, 1000]) %s = add(%y, %e) return %l, %s }");
  EXPECT_FALSE(holds(t, "permute("));
  EXPECT_TRUE(holds(t, "expand("));
}

TEST(fold_constants, leaves_faults_to_the_run) {
  Graph g = test::parse("graph() { %w = constant dense<1.0, 2.0> : f32[2, 1] %i = constant dense<5> : i64[1] %a = embedding(%w, %i) return %a }");
  Diagnostics d;
  PassContext context{.target = nullptr, .diagnostics = &d};
  ASSERT_TRUE(run_pass_by_name("fold_constants", g, context));
  EXPECT_EQ(g.nodes.size(), 1u);
  EXPECT_FALSE(d.has_errors());
}

constexpr const char* norm_parameters =
    " %g = constant dense<0.5, -1.5, 2.0, 1.0> : f32[4] %b = constant dense<0.1, 0.2, 0.3, 0.4> : f32[4] %m = constant dense<0.5, 0.25, -1.0, 0.0> : "
    "f32[4] %v = constant dense<1.0, 0.5, 2.0, 0.25> : f32[4] ";

TEST(fold_batch_norm, into_the_convolution_before_it) {
  const std::string t = after("fold_batch_norm",
                              std::string("graph(%x: f32[1, 3, 6, 6]) {") + norm_parameters +
                                  "%w = constant random<1> : f32[4, 3, 3, 3] %c = conv(%x, %w, %b, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) "
                                  "%y = batch_norm(%c, %g, %b, %m, %v) return %y }",
                              1e-5);
  EXPECT_FALSE(holds(t, "batch_norm"));
  EXPECT_FALSE(holds(t, "mul("));
}

TEST(fold_batch_norm, into_grouped_and_transposed_convolutions_and_linear) {
  const std::string t = after("fold_batch_norm",
                              std::string("graph(%x: f32[2, 4, 5, 5], %z: f32[3, 6]) {") + norm_parameters +
                                  "%w = constant random<1> : f32[4, 2, 3, 3] %c = conv(%x, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1], "
                                  "groups=2) %y = batch_norm(%c, %g, %b, %m, %v)"
                                  "%t = constant random<2> : f32[4, 2, 2, 2] %d = conv_transpose(%x, %t, stride=[2, 2], padding=[0, 0], "
                                  "output_padding=[0, 0], dilation=[1, 1], groups=2) %u = batch_norm(%d, %g, %b, %m, %v)"
                                  "%l = constant random<3> : f32[4, 6] %e = linear(%z, %l) %k = batch_norm(%e, %g, %b, %m, %v) return %y, %u, %k }",
                              1e-5);
  EXPECT_FALSE(holds(t, "batch_norm"));
  EXPECT_FALSE(holds(t, "mul("));
}

TEST(fold_batch_norm, into_the_convolution_behind_it_without_padding) {
  const std::string text = std::string("graph(%x: f32[1, 4, 6, 6]) {") + norm_parameters +
                           "%n = batch_norm(%x, %g, %b, %m, %v) %w = constant random<1> : f32[6, 2, 3, 3] %y = conv(%n, %w, stride=[1, 1], "
                           "padding=[PAD], dilation=[1, 1], groups=2) return %y }";
  std::string plain = text, padded = text;
  plain.replace(text.find("PAD"), 3, "0, 0");
  padded.replace(text.find("PAD"), 3, "1, 1");
  const std::string folded = after("fold_batch_norm", plain, 1e-5);
  EXPECT_FALSE(holds(folded, "mul("));
  const std::string kept = after("fold_batch_norm", padded, 1e-5);
  EXPECT_TRUE(holds(kept, "mul("));
  EXPECT_FALSE(holds(kept, "batch_norm"));
}

TEST(fold_batch_norm, becomes_scale_and_shift_when_the_convolution_has_another_user) {
  const std::string t = after("fold_batch_norm",
                              std::string("graph(%x: f32[1, 3, 6, 6]) {") + norm_parameters +
                                  "%w = constant random<1> : f32[4, 3, 1, 1] %c = conv(%x, %w, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) %y = "
                                  "batch_norm(%c, %g, %b, %m, %v) return %y, %c }",
                              1e-5);
  EXPECT_TRUE(holds(t, "mul("));
  EXPECT_FALSE(holds(t, "batch_norm"));
}

TEST(fold_batch_norm, into_concatenated_convolutions) {
  const std::string t = after("fold_batch_norm",
                              std::string("graph(%x: f32[1, 2, 6, 6]) {") + norm_parameters +
                                  "%k = constant random<1> : f32[1, 2, 1, 1] %w = constant random<2> : f32[3, 2, 3, 3] %c = conv(%x, %k, stride=[1, "
                                  "1], padding=[0, 0], dilation=[1, 1]) "
                                  "%d = conv(%x, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) %e = cat([%c, %d], axis=1) %y = batch_norm(%e, "
                                  "%g, %b, %m, %v) return %y }",
                              1e-5);
  EXPECT_FALSE(holds(t, "batch_norm"));
  EXPECT_FALSE(holds(t, "mul("));
}

TEST(merge_grouped_convolutions, parts_in_order) {
  constexpr std::string_view text =
      "graph(%x: f32[1, 4, 5, 5]) { %v = constant random<1> : f32[3, 2, 3, 3] %w = constant random<2> : f32[3, 2, 3, 3] %p = constant dense<1.0, "
      "2.0, 3.0> : f32[3] "
      "%a = slice(%x, axis=1, end=2) %b = slice(%x, axis=1, start=2) %c = conv(%a, %v, %p, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) "
      "%d = conv(%b, %w, %p, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) %y = cat([%c, %d], axis=1) return %y }";
  EXPECT_TRUE(holds(after("merge_grouped_convolutions", text, 1e-12), "groups=2"));
  std::string swapped(text);
  swapped.replace(swapped.find("[%c, %d]"), 8, "[%d, %c]");
  EXPECT_FALSE(holds(after("merge_grouped_convolutions", swapped), "groups=2"));
}

TEST(transposed_convolutions, every_stride_and_edge) {
  const auto text = [](std::string_view x, std::string_view weight, int channels, std::string_view rest) {
    return fmt::format(
        "graph(%x: f64{}) {{ %w = constant random<1> : f64{} %b = constant random<2> : f64[{}] %y = conv_transpose(%x, %w, %b, {}) return %y }}", x,
        weight, channels, rest);
  };
  for (const std::string& t :
       {text("[2, 3, 4, 5]", "[3, 4, 3, 3]", 4, "stride=[2, 2], padding=[1, 1], output_padding=[1, 1], dilation=[1, 1]"),
        text("[1, 3, 4, 5]", "[3, 2, 4, 4]", 2, "stride=[2, 2], padding=[1, 1], output_padding=[0, 0], dilation=[1, 1]"),
        text("[1, 4, 3, 3]", "[4, 3, 2, 2]", 6, "stride=[2, 2], padding=[0, 0], output_padding=[0, 0], dilation=[1, 1], groups=2"),
        text("[1, 4, 3, 5]", "[4, 1, 5, 4]", 4, "stride=[3, 2], padding=[2, 0], output_padding=[2, 1], dilation=[1, 1], groups=4"),
        text("[1, 2, 6]", "[2, 3, 4]", 3, "stride=[1], padding=[2], output_padding=[0], dilation=[2]"),
        text("[1, 2, 5]", "[2, 3, 8]", 3, "stride=[3], padding=[4], output_padding=[2], dilation=[1]"),
        text("[1, 2, 3, 4, 2]", "[2, 3, 3, 2, 1]", 3, "stride=[2, 1, 2], padding=[1, 0, 0], output_padding=[0, 0, 1], dilation=[1, 2, 1]")}) {
    SCOPED_TRACE(t);
    EXPECT_FALSE(holds(after("transposed_convolutions", t, 1e-12), "conv_transpose"));
  }
  // A stride with a dilation, and results that no input reaches.
  for (const std::string& t : {text("[1, 2, 5]", "[2, 3, 3]", 3, "stride=[2], padding=[1], output_padding=[0], dilation=[2]"),
                               text("[1, 2, 5]", "[2, 3, 1]", 3, "stride=[2], padding=[1], output_padding=[0], dilation=[1]")})
    EXPECT_TRUE(holds(after("transposed_convolutions", t), "conv_transpose")) << t;
}

TEST(recognize_activations, written_out) {
  const std::string t = after(
      "recognize_activations",
      "graph(%a: f32[5], %b: f32[5]) { %half = constant dense<0.5> : f32[] %1 = constant dense<1.0> : f32[] %c = constant dense<0.7978846> : f32[] "
      "%k = constant dense<0.044715> : f32[] "
      "%3 = constant dense<3.0> : f32[] %r = constant dense<1.4142135> : f32[] %x = mul(%a, %b) "
      "%p = pow(%x, %3) %kp = mul(%p, %k) %s = add(%x, %kp) %cs = mul(%s, %c) %t = tanh(%cs) %t1 = add(%t, %1) %h = mul(%x, %half) %y = mul(%h, %t1) "
      "%d = div(%x, %r) %e = erf(%d) %e1 = add(%1, %e) %xe = mul(%x, %e1) %z = mul(%xe, %half) "
      "%g = sigmoid(%x) %u = mul(%g, %x) %g2 = sigmoid(%a) %v = mul(%g2, %x) return %y, %z, %u, %v }",
      1e-6);
  EXPECT_EQ(count(t, "gelu(%x, tanh=true)"), 1) << t;
  EXPECT_EQ(count(t, "gelu(%x)"), 1) << t;
  EXPECT_EQ(count(t, "silu(%x)"), 1);
  EXPECT_EQ(count(t, "sigmoid(%a)"), 1);
}

TEST(canonicalize_matmul, rows_are_reshaped_before) {
  const std::string t = after("canonicalize_matmul",
                              "graph(%x: f32[2, 3, 8]) { %w = constant random<1> : f32[5, 8] %a = reshape(%x, shape=[6, 8]) %b = linear(%a, %w) %c = "
                              "reshape(%b, shape=[2, 3, 5]) %d = linear(%x, %w) %e = reshape(%d, shape=[6, 5, 1]) return %c, %e }");
  EXPECT_FALSE(holds(t, "f32[6, 5]")) << t;
  EXPECT_TRUE(holds(t, "f32[6, 5, 1]"));
}

TEST(fold_constants, permutes_bytes) {
  after("fold_constants",
        "graph() { %a = constant random<1> : f32[3, 40, 35] %b = permute(%a, axes=[2, 0, 1]) %c = permute(%a, axes=[1, 0, 2]) %d = permute(%a, "
        "axes=[0, 2, 1]) %e = permute(%a, axes=[2, 1, 0]) "
        "%f = constant random<2> : f16[2, 3, 4, 5] %g = permute(%f, axes=[3, 1, 0, 2]) %h = permute(%f, axes=[1, 0, 3, 2]) %i = constant random<3> : "
        "u8[70, 3] %j = permute(%i, axes=[1, 0]) return %b, %c, %d, %e, %g, %h, %j }");
}

TEST(canonicalize_pooling, by_size) {
  const std::string t = after("canonicalize_pooling",
                              "graph(%x: f32[1, 3, 8, 6], %u: f32[3, 8]) { %a = adaptive_avg_pool(%x, size=[1, 1]) %b = adaptive_avg_pool(%x, "
                              "size=[4, 3]) %c = adaptive_max_pool(%x, size=[2, 6]) "
                              "%d = adaptive_avg_pool(%x, size=[8, 6]) %e = adaptive_avg_pool(%x, size=[3, 5]) %f = adaptive_avg_pool(%u, size=[1]) "
                              "return %a, %b, %c, %d, %e, %f }",
                              1e-12);
  EXPECT_EQ(count(t, "mean("), 2);
  EXPECT_EQ(count(t, " avg_pool("), 1);
  EXPECT_EQ(count(t, " max_pool("), 1);
  EXPECT_EQ(count(t, "adaptive_avg_pool("), 1);
  EXPECT_TRUE(holds(t, "return %a, %b, %c, %x,"));
}

TEST(simplify_views, chains) {
  const std::string t = after("simplify_views",
                              "graph(%x: f32[2, 3, 4]) { %a = reshape(%x, shape=[6, 4]) %b = reshape(%a, shape=[-1]) %p = permute(%x, axes=[1, 2, "
                              "0]) %q = permute(%p, axes=[2, 0, 1]) %e = expand(%x, shape=[-1, 3, 4]) %r = "
                              "slice(%x, axis=-1, start=0, end=100) return %b, %q, %e, %r }");
  EXPECT_TRUE(holds(t, "reshape(%x, shape=[24])"));
  EXPECT_EQ(count(t, "reshape("), 1);
  EXPECT_FALSE(holds(t, "permute("));
  EXPECT_FALSE(holds(t, "expand("));
  EXPECT_FALSE(holds(t, "slice("));
}

TEST(simplify_views, permute_of_axes_of_size_one_is_a_reshape) {
  EXPECT_TRUE(holds(after("simplify_views", "graph(%x: f32[2, 1, 4]) { %a = permute(%x, axes=[1, 0, 2]) return %a }"), "reshape("));
  EXPECT_TRUE(holds(after("simplify_views", "graph(%x: f32[2, 3, 4]) { %a = permute(%x, axes=[1, 0, 2]) return %a }"), "permute("));
}

TEST(simplify_views, slices_and_concatenations) {
  const std::string t =
      after("simplify_views",
            "graph(%x: f32[2, 9], %y: f32[2, 5]) { %a = slice(%x, axis=1, start=1, end=9, step=2) %b = slice(%a, axis=1, start=1, step=2) %c = "
            "cat([%x, %y], axis=1) %d = slice(%c, axis=1, start=10, end=-1) "
            "%e = slice(%c, axis=1, start=8, end=10) %f = cat([%y, %y], axis=1) %g = cat([%f, %x], axis=-1) return %b, %d, %e, %g }");
  EXPECT_TRUE(holds(t, "slice(%x, axis=1, start=3, end=8, step=4)"));
  EXPECT_TRUE(holds(t, "slice(%y, axis=1, start=1, end=4)"));
  EXPECT_TRUE(holds(t, "cat([%y, %y, %x], axis=1)"));
}

TEST(simplify_views, expanded_operands_broadcast_by_themselves) {
  const std::string t = after("simplify_views",
                              "graph(%x: f32[4], %y: f32[3, 4], %s: f32[]) { %e = expand(%x, shape=[3, 4]) %a = add(%e, %y) %f = expand(%x, "
                              "shape=[3, 4]) %b = add(%f, %s) return %a, %b }");
  EXPECT_TRUE(holds(t, "add(%x, %y)"));
  EXPECT_EQ(count(t, "expand("), 1) << "without it, the second sum would have another shape";
}

TEST(simplify_views, computes_before_repeating) {
  const std::string t = after("simplify_views",
                              "graph(%m: f32[2, 1, 1, 5], %s: f32[2, 3, 4, 5]) { %1 = constant dense<1.0> : f32[] %e = expand(%m, shape=[2, 1, 4, "
                              "5]) %c = cast(%e, dtype=bool) %d = sub(%1, %e) %w = where(%c, %1, %d) %y = add(%s, %w) return %y }");
  EXPECT_FALSE(holds(t, "expand("));
  EXPECT_TRUE(count(t, "[2, 1, 1, 5]") >= 4) << t;
  EXPECT_FALSE(holds(t, "[2, 1, 4, 5]"));
}

TEST(simplify_algebra, neutral_operands) {
  const std::string t = after("simplify_algebra",
                              "graph(%x: f32[2], %i: i64[2]) { %1 = constant dense<1.0> : f32[] %0 = constant dense<0.0> : f32[] %m = constant "
                              "dense<-0.0> : f32[] %z = constant dense<0> : i64[] "
                              "%a = mul(%x, %1) %b = div(%a, %1) %c = sub(%b, %0) %d = add(%c, %m) %e = add(%i, %z) return %d, %e }");
  EXPECT_FALSE(holds(t,
                     "("
                     "%x,"));
  EXPECT_TRUE(holds(t, "return %x, %i"));
}

TEST(simplify_algebra, keeps_what_is_not_neutral) {
  const std::string t =
      after("simplify_algebra",
            "graph(%x: f32[2], %i: i64[2]) { %1 = constant dense<1.0> : f32[] %0 = constant dense<0.0> : f32[] %w = constant splat<1.0> : f32[3, 2] "
            "%a = add(%x, %0) %b = mul(%i, %1) %c = mul(%x, %w) return %a, %b, %c }");
  EXPECT_TRUE(holds(t, "add("));
  EXPECT_EQ(count(t, "mul("), 2);
}

TEST(simplify_algebra, powers_and_quotients) {
  const std::string t = after("simplify_algebra",
                              "graph(%x: f32[2]) { %2 = constant dense<2.0> : f32[] %3 = constant dense<3.0> : f32[] %8 = constant dense<8.0> : "
                              "f32[] %7 = constant dense<7.0> : f32[] "
                              "%a = pow(%x, %2) %b = pow(%x, %3) %c = div(%x, %8) %d = div(%x, %7) return %a, %b, %c, %d }",
                              1e-9);
  EXPECT_FALSE(holds(t, "pow("));
  EXPECT_EQ(count(t, "div("), 1);
  EXPECT_TRUE(holds(t, "dense<0.125>"));
}

TEST(simplify_algebra, inverses_and_casts) {
  const std::string t = after("simplify_algebra",
                              "graph(%x: f32[2], %i: i64[2], %b: bool[2]) { %a = neg(%x) %c = neg(%a) %d = logical_not(%b) %e = logical_not(%d) %f = "
                              "cast(%x, dtype=f64) %g = cast(%f, dtype=f32) %h = cast(%i, dtype=f32) %j = "
                              "cast(%h, dtype=f64) %k = relu(%x) %l = relu(%k) return %c, %e, %g, %j, %l }");
  EXPECT_FALSE(holds(t, "neg("));
  EXPECT_FALSE(holds(t, "logical_not("));
  EXPECT_EQ(count(t, "cast("), 2) << "f32 does not hold every i64";
  EXPECT_EQ(count(t, "relu("), 1);
}

TEST(canonicalize_matmul, products_with_constants) {
  const std::string t =
      after("canonicalize_matmul",
            "graph(%x: f32[2, 3, 8], %y: f32[8, 5]) { %w = constant random<1> : f32[8, 5] %b = constant dense<1.0, 2.0, 3.0, 4.0, 5.0> : f32[5] %m = "
            "matmul(%x, %w) %s = add(%b, %m) "
            "%v = constant random<2> : f32[5, 8] %p = permute(%v, axes=[1, 0]) %n = matmul(%x, %p) %d = matmul(%x, %y) return %s, %n, %d }");
  EXPECT_EQ(count(t, "linear("), 2);
  EXPECT_EQ(count(t, "matmul("), 1) << "a product of two inputs stays";
  EXPECT_FALSE(holds(t, "add("));
}

TEST(canonicalize_matmul, biases) {
  const std::string t = after("canonicalize_matmul",
                              "graph(%x: f32[1, 3, 4, 4], %z: f32[4, 4]) { %w = constant random<1> : f32[4, 3, 1, 1] %b = constant dense<1.0, 2.0, "
                              "3.0, 4.0> : f32[4, 1, 1] %r = constant dense<1.0, 2.0, 3.0, 4.0> : f32[4] "
                              "%c = conv(%x, %w, %r, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) %s = add(%c, %b) %k = conv(%x, %w, stride=[1, "
                              "1], padding=[0, 0], dilation=[1, 1]) %u = add(%k, %r) return %s, %u }",
                              1e-9);
  EXPECT_EQ(count(t, "conv("), 2);
  EXPECT_EQ(count(t, "f32[1, 4, 4, 4]"), 3) << "a bias along the last axis is not one of the channels\n" << t;
}

TEST(fold_padding, into_the_convolution) {
  const std::string t = after("fold_padding",
                              "graph(%x: f32[1, 3, 6, 6]) { %w = constant random<1> : f32[4, 3, 3, 3] %p = pad(%x, before=[0, 0, 0, 1], after=[0, 0, "
                              "1, 2]) %c = conv(%p, %w, stride=[2, 2], padding=[0, 1], dilation=[1, 1]) "
                              "%q = pad(%x, before=[0, 0, 1, 1], after=[0, 0, 1, 1], value=1.0) %d = conv(%q, %w, stride=[1, 1], padding=[0, 0], "
                              "dilation=[1, 1]) return %c, %d }");
  EXPECT_TRUE(holds(t, "padding=[0, 2], padding_end=[1, 3]"));
  EXPECT_EQ(count(t, "pad("), 1) << "padding with ones stays";
}

TEST(decompose, composite_ops) {
  const std::string t = after("decompose", "graph(%x: f32[2, 4, 3]) { %y = group_norm(%x, groups=2) return %y }", 1e-12);
  EXPECT_FALSE(holds(t, "group_norm"));
}

TEST(pipeline, a_small_network) {
  Graph g = test::parse(std::string("graph(%x: f32[1, 3, 8, 8]) {") + norm_parameters +
                        "%w = constant random<1> : f32[4, 3, 3, 3] %c = conv(%x, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) %n = "
                        "batch_norm(%c, %g, %b, %m, %v) %r = relu(%n) "
                        "%f = reshape(%r, shape=[1, -1]) %u = constant random<2> : f32[256, 10] %o = matmul(%f, %u) %k = constant random<3> : "
                        "f32[10] %s = add(%o, %k) %p = softmax(%s) return %p \"p\" }");
  const auto inputs = test::random_inputs(g);
  const auto before = test::run(g, inputs);
  Diagnostics d;
  PassContext context{.target = nullptr, .diagnostics = &d};
  std::vector<std::string> seen;
  int timed = 0;
  PipelineOptions options;
  options.print_after = {"fold_batch_norm"};
  options.print = [&](std::string_view pass, const Graph&) { seen.emplace_back(pass); };
  options.timing = [&](std::string_view, double) { ++timed; };
  options.observe = [&](std::string_view pass, const Graph& a, const Graph& b) {
    SCOPED_TRACE(std::string(pass));
    test::expect_same(test::run(a, inputs), test::run(b, inputs), 1e-5);
  };
  ASSERT_TRUE(run_graph_pipeline(g, context, options)) << d.to_string();
  test::expect_same(before, test::run(g, inputs), 1e-5);
  EXPECT_EQ(seen, std::vector<std::string>{"fold_batch_norm"});
  EXPECT_GT(timed, 10);
  const std::string t = to_string(g);
  EXPECT_FALSE(holds(t, "batch_norm") || holds(t, "matmul") || holds(t, "add(") || holds(t, "permute(")) << t;
}

TEST(pipeline, unknown_names_are_errors) {
  Graph g = test::parse("graph(%x: f32[2]) { return %x }");
  Diagnostics d;
  PassContext context{.target = nullptr, .diagnostics = &d};
  EXPECT_FALSE(run_pass_by_name("fold_everything", g, context));
  EXPECT_EQ(d.all()[0].name, "unknown-pass");
  PipelineOptions options;
  options.disabled = {"nothing"};
  EXPECT_FALSE(check_pass_names(options, d));
}

}  // namespace
}  // namespace mica
