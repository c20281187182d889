// The batch-reduce GEMM by the kernel interpreter: layouts of operands, edges of tiles, chains of additions.
#include "../../../passes/lower/region.h"
#include "lowered.h"

namespace mica {
namespace {

using test::expect_lowered;
using test::lower;
using test::optimised;

bool scheduled(std::string_view text, std::string_view op) {
  const Graph graph = test::parse(text);
  for (const Node& n : graph.nodes) {
    if (n.info->name() == op) return lower::has_schedule(graph, n);
  }
  ADD_FAILURE() << "no " << op;
  return false;
}

std::string conv(std::string_view x, std::string_view weight, std::string_view rest) {
  return fmt::format(
      "graph(%x: f32{}) {{ %w = constant random<1> : f32{} %b = constant random<2> : f32[{}] %a = conv(%x, %w, bias=%b, {}) return %a }}", x, weight,
      std::atoll(weight.data() + 1), rest);
}

/// Inputs that 16 bits hold exactly, so that all that is rounded is the result.
std::vector<HostTensor> coarse_inputs(const Graph& graph) {
  std::vector<HostTensor> inputs = test::random_inputs(graph);
  for (HostTensor& t : inputs)
    for (double& x : t.real) x = std::round(16 * x) / 16;
  return inputs;
}

TEST(contraction, takes_convolutions_with_channels_last) {
  constexpr auto plain =
      "graph(%x: f32[1, 32, 4, 4]) { %w = constant random<1> : f32[8, 32, 1, 1] %a = conv(%x, %w, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) "
      "return %a }";
  EXPECT_FALSE(scheduled(plain, "conv"));
  const Graph laid_out = optimised(plain);
  for (const Node& n : laid_out.nodes) {
    if (n.info->name() != "conv") continue;
    EXPECT_TRUE(lower::has_schedule(laid_out, n));
  }
}

TEST(contraction, takes_constant_weights_and_leaves_integers) {
  EXPECT_TRUE(scheduled("graph(%x: f32[5, 40]) { %w = constant random<1> : f32[33, 40] %a = linear(%x, %w) return %a }", "linear"));
  EXPECT_FALSE(scheduled("graph(%x: f32[5, 40], %w: f32[33, 40]) { %a = linear(%x, %w) return %a }", "linear"));
  EXPECT_TRUE(scheduled("graph(%x: f32[5, 40], %w: f32[40, 33]) { %a = matmul(%x, %w) return %a }", "matmul"));
  EXPECT_FALSE(scheduled("graph(%x: i64[5, 40], %w: i64[40, 33]) { %a = matmul(%x, %w) return %a }", "matmul"));
}

TEST(contraction, convolutions) {
  for (const auto& text : {conv("[1, 16, 5, 4]", "[17, 16, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1]"),
                           conv("[2, 5, 6, 5]", "[9, 5, 3, 1]", "stride=[2, 1], padding=[1, 0], dilation=[1, 1]"),
                           conv("[1, 16, 7, 7]", "[7, 16, 3, 3]", "stride=[3, 2], padding=[2, 2], dilation=[2, 1]"),
                           conv("[2, 33, 3, 3]", "[33, 1, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=33"),
                           conv("[1, 12, 4, 4]", "[24, 1, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=12"),
                           conv("[1, 12, 4, 4]", "[9, 4, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=3"),
                           conv("[1, 4, 5, 5]", "[3, 4, 2, 2]", "stride=[1, 1], padding=[0, 0], padding_end=[1, 1], dilation=[1, 1]")}) {
    SCOPED_TRACE(text);
    expect_lowered(optimised(text));
  }
}

TEST(contraction, a_padded_view_of_an_input) {
  // Zeros cannot stand behind the caller's buffer, whatever view the convolution sees.
  expect_lowered(optimised(R"(graph(%x: f32[1, 5, 4, 16]) {
    %w = constant random<1> : f32[8, 16, 3, 3] %p = permute(%x, axes=[0, 3, 1, 2])
    %a = conv(%p, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) return %a })"));
}

TEST(contraction, a_padded_convolution_of_an_output) {
  expect_lowered(optimised(R"(graph(%x: f32[1, 16, 5, 4]) {
    %w = constant random<1> : f32[16, 16, 3, 3] %r = relu(%x)
    %a = conv(%r, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) return %r, %a })"));
}

TEST(contraction, panels_of_five_vectors_and_one_off) {
  for (const int64_t n : {65, 72, 80, 81}) {
    for (const int64_t m : {4, 5, 6, 26})
      expect_lowered(fmt::format("graph(%x: f32[{}, 24]) {{ %w = constant random<1> : f32[{}, 24] %a = linear(%x, %w) return %a }}", m, n));
  }
}

TEST(contraction, a_few_columns_behind_whole_vectors_are_multiplied_along_k) {
  const auto along = [](const Graph& graph) {
    const Program p = lower(graph);
    return std::ranges::any_of(p.kernels, [](const Kernel& k) { return to_string(k).find("horizontal") != std::string::npos; });
  };
  const auto linear = [](int64_t m, int64_t k, int64_t n) {
    return fmt::format(
        "graph(%x: f32[{0}, {1}]) {{ %w = constant random<1> : f32[{2}, {1}] %b = constant random<2> : f32[{2}] "
        "%y = linear(%x, %w, bias=%b) %r = relu(%y) return %r }}",
        m, k, n);
  };
  for (const auto& text : {linear(7, 64, 17), linear(13, 70, 66), linear(3, 300, 83), linear(5, 96, 131),
                           conv("[1, 32, 5, 4]", "[17, 32, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1]"),
                           conv("[2, 70, 3, 3]", "[34, 35, 3, 3]", "stride=[2, 1], padding=[1, 1], dilation=[1, 1], groups=2"),
                           std::string("graph(%x: f64[7, 40]) { %w = constant random<1> : f64[9, 40] %y = linear(%x, %w) return %y }"),
                           std::string("graph(%a: f32[2, 33, 67], %b: f32[2, 67, 49]) { %c = matmul(%a, %b) return %c }")}) {
    SCOPED_TRACE(text);
    const Graph graph = optimised(text);
    EXPECT_TRUE(along(graph));
    expect_lowered(graph);
  }
  for (const char* dtype : {"bf16", "f16"}) {
    for (int64_t k : {96, 99}) {
      const Graph graph =
          optimised(fmt::format("graph(%x: {0}[7, {1}]) {{ %w = constant random<1> : {0}[35, {1}] %y = linear(%x, %w) return %y }}", dtype, k));
      SCOPED_TRACE(dtype);
      EXPECT_TRUE(along(graph));
      expect_lowered(graph, coarse_inputs(graph), 1e-2);
    }
  }
  // A lane may add up no more than a chain; and it is to be worth it.
  for (const auto& text : {linear(7, 8192, 17), linear(7, 16, 17), linear(7, 64, 24), linear(7, 64, 3)}) EXPECT_FALSE(along(optimised(text))) << text;
}

TEST(contraction, chains_are_cut_at_256_additions) {
  const auto text = [](int64_t k) {
    return fmt::format("graph(%x: f32[3, {0}]) {{ %w = constant random<1> : f32[5, {0}] %a = linear(%x, %w) return %a }}", k);
  };
  EXPECT_EQ(to_string(lower(text(256))).find("partial"), std::string::npos);
  const auto has_partial = [](const Program& p) {
    for (const Buffer& b : p.kernels[0].buffers) {
      if (b.memory == Memory::stack) return true;
    }
    return false;
  };
  EXPECT_FALSE(has_partial(lower(text(255))));
  EXPECT_FALSE(has_partial(lower(text(256))));
  EXPECT_TRUE(has_partial(lower(text(257))));
  for (int64_t k : {1, 255, 256, 257, 513}) expect_lowered(text(k));
}

/// Whether neighbouring tasks of the last convolution take the blocks of one panel, so that threads share the columns, and not the other way round.
bool shares_columns(const Program& p) {
  const std::string text = to_string(test::last_kernel(p, "conv"));
  const auto line = [&](const char* name) {
    const size_t at = text.find(name);
    EXPECT_NE(at, std::string::npos) << text;
    return text.substr(at, text.find('\n', at) - at);
  };
  const bool by_panel = line("let panel.").find('/') != std::string::npos, by_block = line("let block.").find('/') != std::string::npos;
  EXPECT_NE(by_panel, by_block) << text;
  return by_panel;
}

TEST(contraction, threads_share_the_rows_of_a_wide_image_and_the_columns_of_a_long_filter) {
  constexpr auto plain = "stride=[1, 1], padding=[0, 0], dilation=[1, 1]";
  EXPECT_FALSE(shares_columns(lower(optimised(conv("[1, 24, 32, 32]", "[120, 24, 1, 1]", plain)))));
  EXPECT_TRUE(shares_columns(lower(optimised(conv("[1, 64, 16, 8]", "[960, 64, 1, 1]", plain)))));
}

TEST(contraction, operands_of_16_bits) {
  for (const char* dtype : {"bf16", "f16"}) {
    for (const char* text :
         {"graph(%x: T[3, 40]) { %w = constant random<1> : T[35, 40] %b = constant random<2> : f32[35] %y = linear(%x, %w, bias=%b) return %y }",
          "graph(%x: T[7, 41]) { %w = constant random<1> : T[70, 41] %y = linear(%x, %w) return %y }",
          "graph(%x: T[7, 1]) { %w = constant random<1> : T[17, 1] %y = linear(%x, %w) return %y }",
          "graph(%x: T[1, 4803]) { %w = constant random<1> : T[5, 4803] %y = linear(%x, %w) return %y }",
          "graph(%a: T[2, 7, 5], %b: T[2, 5, 19]) { %c = matmul(%a, %b) return %c }",
          "graph(%a: T[9, 6], %b: T[6, 33]) { %c = matmul(%a, %b) return %c }",
          "graph(%x: T[1, 5, 6, 7]) { %w = constant random<1> : T[9, 5, 3, 3] "
          "%c = conv(%x, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) return %c }",
          "graph(%x: T[1, 20, 6, 7]) { %w = constant random<1> : T[20, 1, 3, 3] "
          "%c = conv(%x, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=20) return %c }"}) {
      std::string typed = text;
      for (size_t at = 0; (at = typed.find("T[", at)) != std::string::npos;) typed.replace(at, 1, dtype);
      SCOPED_TRACE(typed);
      const Graph graph = optimised(typed);
      expect_lowered(graph, coarse_inputs(graph), 1e-2);
    }
  }
}

TEST(contraction, a_pair_of_an_odd_row_ends_with_it) {
  // What lies behind a row, infinity here, is not multiplied: not even by the zero that stands in the packed B.
  const Graph graph = test::parse("graph(%x: bf16[2, 3]) { %w = constant random<1> : bf16[5, 3] %y = linear(%x, %w) return %y }");
  std::vector<HostTensor> inputs = coarse_inputs(graph);
  inputs[0].real[3] = INFINITY;
  const auto bytes = test::run_program(lower(graph), graph, inputs);
  const HostTensor y = to_host(graph.type(graph.outputs[0]), bytes[0]);
  for (int64_t n = 0; n < 5; ++n) EXPECT_TRUE(std::isfinite(y.real[n])) << n;
}

TEST(contraction, counts_its_arithmetic) {
  const Program p = lower("graph(%x: f32[2, 3, 40]) { %w = constant random<1> : f32[17, 40] %a = linear(%x, %w) return %a }");
  ASSERT_EQ(p.kernels.size(), 1u);
  EXPECT_EQ(p.kernels[0].flops, 2.0 * 6 * 17 * 40);
}

TEST(contraction, matrix_products) {
  for (const char* text : {"graph(%a: f32[7, 5], %b: f32[5, 17]) { %c = matmul(%a, %b) return %c }",
                           "graph(%a: f32[2, 1, 7, 5], %b: f32[3, 5, 17]) { %c = matmul(%a, %b) return %c }",
                           "graph(%a: f32[3, 7, 5], %b: f32[2, 1, 5, 6]) { %c = matmul(%a, %b) return %c }",
                           "graph(%a: f32[7, 5], %b: f32[2, 5, 6]) { %c = matmul(%a, %b) return %c }",
                           "graph(%a: f32[3, 1, 1], %b: f32[3, 1, 1]) { %c = matmul(%a, %b) return %c }",
                           "graph(%a: f32[2, 7, 5], %b: f32[2, 6, 5]) { %t = permute(%b, axes=[0, 2, 1]) %c = matmul(%a, %t) return %c }",
                           "graph(%a: f32[2, 5, 7], %b: f32[2, 5, 6]) { %t = permute(%a, axes=[0, 2, 1]) %c = matmul(%t, %b) return %c }",
                           "graph(%a: f32[2, 7, 5]) { %b = constant random<1> : f32[5, 6] %c = matmul(%a, %b) return %c }",
                           "graph(%a: f32[2, 7, 5]) { %b = constant random<1> : f32[2, 5, 6] %c = matmul(%a, %b) return %c }",
                           "graph(%b: f32[2, 5, 6]) { %a = constant random<1> : f32[7, 5] %c = matmul(%a, %b) return %c }",
                           "graph(%a: f64[3, 300], %b: f64[300, 9]) { %c = matmul(%a, %b) return %c }"}) {
    SCOPED_TRACE(text);
    expect_lowered(text);
    expect_lowered(optimised(text));
  }
}

}  // namespace
}  // namespace mica
