// Attention as one kernel, on the kernel interpreter: masks, odd lengths, broadcasts, what must stay apart; by vectors, and by matrix registers.
#include "lowered.h"
#include "ranged.h"

namespace mica {
namespace {

using test::LowerPlan;
using test::optimised;

bool is_fused(const Program& p) {
  return std::ranges::any_of(p.kernels, [](const Kernel& k) { return k.name.starts_with("attention_"); });
}

void expect_fused(const std::string& text) {
  SCOPED_TRACE(text);
  const Graph graph = optimised(text);
  EXPECT_TRUE(is_fused(test::lower(graph)));
  for (const LowerPlan& plan : test::all_plans) test::expect_lowered(graph, test::random_inputs(graph), plan, 1e-4);
}

void expect_apart(const std::string& text) {
  SCOPED_TRACE(text);
  const Graph graph = optimised(text);
  EXPECT_FALSE(is_fused(test::lower(graph)));
  test::expect_lowered(graph, test::random_inputs(graph), {}, 1e-4);
}

constexpr LowerPlan tiled = {"sapphirerapids"};

/// Inputs that 16 bits hold exactly.
std::vector<HostTensor> coarse_inputs(const Graph& graph) {
  std::vector<HostTensor> inputs = test::random_inputs(graph);
  for (HostTensor& t : inputs)
    for (double& x : t.real) x = std::round(16 * x) / 16;
  return inputs;
}

/// In bf16, by matrix registers. What is rounded are the exponentials and the result.
void expect_tiled(const std::string& text, double tolerance = 1e-2) {
  SCOPED_TRACE(text);
  const Graph graph = optimised(text);
  const Program p = test::lower(graph, tiled);
  EXPECT_TRUE(is_fused(p));
  EXPECT_TRUE(std::ranges::any_of(p.kernels, [](const Kernel& k) { return !k.tiles.empty(); }));
  test::expect_lowered(graph, coarse_inputs(graph), tiled, tolerance);
}

std::string attention(int64_t rows, int64_t keys, int64_t depth, int64_t columns, std::string_view rest = "") {
  return fmt::format(
      "graph(%q: f32[1, 2, {}, {}], %k: f32[1, 2, {}, {}], %v: f32[1, 2, {}, {}]) {{ %y = scaled_dot_product_attention(%q, %k, %v{}) return %y }}",
      rows, depth, keys, depth, keys, columns, rest);
}
std::string narrow(std::string text) {
  for (size_t at = 0; (at = text.find("f32", at)) != std::string::npos;) text.replace(at, 3, "bf16");
  return text;
}

TEST(attention, lengths_end_anywhere) {
  for (int64_t rows : {16, 17, 19, 24, 49}) expect_fused(attention(rows, 33, 8, 8));
  for (int64_t keys : {15, 16, 17, 63, 64, 65, 130}) expect_fused(attention(20, keys, 8, 8));
  for (int64_t size : {1, 3, 17, 72}) expect_fused(attention(20, 21, size, 80 - size));
  expect_fused(attention(16, 300, 4, 5));
}

TEST(attention, causal) { expect_fused(attention(35, 35, 8, 8, ", causal=true")); }

TEST(attention, rows_that_are_masked_out_give_zero) {
  expect_fused(
      "graph(%q: f32[2, 2, 20, 8], %k: f32[2, 2, 18, 8], %v: f32[2, 2, 18, 8], %m: bool[2, 1, 20, 18]) {"
      " %y = scaled_dot_product_attention(%q, %k, %v, mask=%m) return %y }");
}

TEST(attention, written_out_with_views_between) {
  expect_fused(
      "graph(%q: f32[4, 3, 21, 8], %k: f32[4, 3, 21, 8], %v: f32[4, 3, 21, 8], %bias: f32[1, 3, 21, 21], %mask: f32[2, 1, 21, 21]) {"
      " %t = permute(%k, axes=[0, 1, 3, 2]) %s = matmul(%q, %t) %b = add(%s, %bias) %r = reshape(%b, shape=[2, 2, 3, 21, 21])"
      " %u = reshape(%mask, shape=[1, 2, 1, 21, 21]) %a = add(%r, %u) %f = reshape(%a, shape=[4, 3, 21, 21]) %p = softmax(%f, axis=3)"
      " %y = matmul(%p, %v) %z = permute(%y, axes=[0, 2, 1, 3]) %w = relu(%z) return %w }");
}

TEST(attention, heads_are_shared) {
  expect_fused(
      "graph(%q: f32[1, 4, 18, 8], %k: f32[1, 1, 19, 8], %v: f32[1, 1, 19, 8]) {"
      " %t = permute(%k, axes=[0, 1, 3, 2]) %s = matmul(%q, %t) %p = softmax(%s) %y = matmul(%p, %v) return %y }");
}

TEST(attention, what_somebody_else_reads_is_computed_apart) {
  const std::string begin = "graph(%q: f32[20, 8], %k: f32[8, 20], %v: f32[20, 8]) { %s = matmul(%q, %k) %p = softmax(%s) %y = matmul(%p, %v) ";
  expect_fused(begin + "return %y }");
  expect_apart(begin + "return %y, %p }");
  expect_apart(begin + "return %y, %s }");
}

TEST(attention, softmax_along_another_axis_is_none) {
  expect_apart(
      "graph(%q: f32[20, 8], %k: f32[8, 20], %v: f32[20, 8]) { %s = matmul(%q, %k) %p = softmax(%s, axis=0) %y = matmul(%p, %v) return %y }");
}

TEST(attention, few_rows_and_many_keys_stay_apart) {
  expect_apart(attention(20, 1, 8, 8));  // a product with one step is none
  expect_apart(attention(4, 20, 8, 8));
  expect_apart(attention(16, 3000, 4, 4));
}

TEST(attention, vectors_stay_apart_in_16_bits) {
  const Graph graph = optimised(narrow(attention(20, 20, 8, 8)));
  EXPECT_FALSE(is_fused(test::lower(graph)));
  test::expect_lowered(graph, coarse_inputs(graph), {}, 2e-2);
}

TEST(attention, sizes_that_are_symbols) {
  const auto keys = [](int64_t least) {
    return fmt::format(
        "graph<S={}..40>(%q: f32[1, 2, 20, 8], %k: f32[1, 2, 8, S], %v: f32[1, 2, S, 8]) {{ %s = matmul(%q, %k) %p = softmax(%s) "
        "%y = matmul(%p, %v) return %y }}",
        least);
  };
  EXPECT_TRUE(is_fused(test::lower(keys(1))));
  test::expect_range(keys(1), {{1}, {2}, {15}, {16}, {17}, {33}, {40}}, 1e-4);
  // Where there may be none, the sum over them is 0, not NaN: as kernels of their own have it.
  EXPECT_FALSE(is_fused(test::lower(keys(0))));
  const std::string rows =
      "graph<S=16..70>(%q: f32[1, 2, S, 8], %k: f32[1, 2, 8, 19], %v: f32[1, 2, 19, 8]) { %s = matmul(%q, %k) %p = softmax(%s) "
      "%y = matmul(%p, %v) return %y }";
  EXPECT_TRUE(is_fused(test::lower(rows)));
  test::expect_range(rows, {{16}, {17}, {31}, {32}, {47}, {70}}, 1e-4);
}

/// Scores of one query with each key, as a mask that is added has it.
HostTensor output_with(const std::string& text, const LowerPlan& plan, const std::vector<double>& mask) {
  const Graph graph = optimised(text);
  EXPECT_TRUE(is_fused(test::lower(graph, plan)));
  std::vector<HostTensor> inputs = test::random_inputs(graph);
  std::copy(mask.begin(), mask.end(), inputs[3].real.begin());
  const auto bytes = test::run_program(test::lower(graph, plan), graph, inputs);
  return to_host(graph.type(graph.outputs[0]), bytes[0]);
}

/// Rows of an added mask: all -inf; -inf but for a NaN; one +inf; one -inf; the last is left as it is.
void expect_not_finite(const std::string& type, const LowerPlan& plan) {
  const double inf = INFINITY;
  std::vector<double> mask;
  for (int64_t key = 0; key < 18; ++key) mask.push_back(-inf);
  for (int64_t key = 0; key < 18; ++key) mask.push_back(key == 3 ? NAN : -inf);
  for (int64_t key = 0; key < 18; ++key) mask.push_back(key == 17 ? inf : 1);
  for (int64_t key = 0; key < 18; ++key) mask.push_back(key == 17 ? -inf : 1);
  const std::string begin = fmt::format("graph(%q: {0}[20, 8], %k: {0}[18, 8], %v: {0}[18, 8], %m: {0}[20, 18]) {{", type);
  for (const bool safe : {false, true}) {
    SCOPED_TRACE(fmt::format("{}, safe {}", type, safe));
    const HostTensor y = output_with(begin + fmt::format(" %t = permute(%k, axes=[1, 0]) %s = matmul(%q, %t) %a = add(%s, %m) "
                                                         "%p = softmax(%a, safe={}) %y = matmul(%p, %v) return %y }}",
                                                         safe),
                                     plan, mask);
    for (size_t c = 0; c < 8; ++c) {
      if (safe) EXPECT_EQ(y.real[c], 0);
      else EXPECT_TRUE(std::isnan(y.real[c]));
      EXPECT_TRUE(std::isnan(y.real[8 + c]));
      EXPECT_TRUE(std::isnan(y.real[16 + c]));
      for (size_t row = 3; row < 20; ++row) EXPECT_TRUE(std::isfinite(y.real[8 * row + c])) << row;
    }
  }
}

TEST(attention, rows_that_are_not_finite) {
  for (const LowerPlan& plan : {LowerPlan{"x86-64-v4"}, LowerPlan{"x86-64-v3"}, LowerPlan{"x86-64-v2"}}) expect_not_finite("f32", plan);
  expect_not_finite("bf16", tiled);
}

TEST(attention, registers_lengths_end_anywhere) {
  for (int64_t rows : {16, 17, 31, 32, 33, 49, 64, 65}) expect_tiled(narrow(attention(rows, 33, 32, 32)));
  for (int64_t keys : {2, 7, 15, 16, 17, 31, 32, 33, 49, 50, 64, 65, 197}) expect_tiled(narrow(attention(20, keys, 32, 32)));
  for (int64_t size : {1, 3, 17, 32, 33, 72, 79}) expect_tiled(narrow(attention(20, 21, size, 80 - size)));
}

TEST(attention, registers_with_masks_and_views) {
  expect_tiled(narrow(attention(35, 35, 32, 32, ", causal=true")));
  expect_tiled(
      "graph(%q: bf16[2, 2, 20, 8], %k: bf16[2, 2, 18, 8], %v: bf16[2, 2, 18, 8], %m: bool[2, 1, 20, 18]) {"
      " %y = scaled_dot_product_attention(%q, %k, %v, mask=%m) return %y }");
  expect_tiled(
      "graph(%q: bf16[1, 20, 3, 16], %k: bf16[1, 18, 3, 16], %v: bf16[1, 18, 3, 16], %m: f32[1, 1, 1, 18]) {"
      " %a = permute(%q, axes=[0, 2, 1, 3]) %b = permute(%k, axes=[0, 2, 3, 1]) %c = permute(%v, axes=[0, 2, 1, 3])"
      " %s = matmul(%a, %b) %i = add(%s, %m) %n = cast(%i, dtype=bf16) %p = softmax(%n) %y = matmul(%p, %c) %o = permute(%y, axes=[0, 2, 1, 3])"
      " %r = reshape(%o, shape=[1, 20, 48]) return %r }");
  expect_tiled(
      "graph(%q: bf16[1, 4, 18, 8], %k: bf16[1, 1, 19, 8], %v: bf16[1, 1, 19, 8]) {"
      " %t = permute(%k, axes=[0, 1, 3, 2]) %s = matmul(%q, %t) %p = softmax(%s) %y = matmul(%p, %v) return %y }");
}

TEST(attention, registers_with_operands_in_either_order) {
  for (int64_t keys : {15, 33, 64})
    for (int64_t size : {8, 32, 45})
      expect_tiled(
          fmt::format("graph(%q: bf16[2, {1}, 20], %k: bf16[2, {1}, {0}], %v: bf16[2, {1}, {0}]) {{ %a = permute(%q, axes=[0, 2, 1]) %c = "
                      "permute(%v, axes=[0, 2, 1])"
                      " %s = matmul(%a, %k) %p = softmax(%s) %y = matmul(%p, %c) return %y }}",
                      keys, size));
}

TEST(attention, registers_hold_what_fits_the_stack) {
  const Graph graph = optimised(narrow(attention(32, 4000, 64, 64)));
  EXPECT_FALSE(is_fused(test::lower(graph, tiled)));
}

}  // namespace
}  // namespace mica
