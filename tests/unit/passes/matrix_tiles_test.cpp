// Contractions by matrix registers, on the kernel interpreter: every way in which rows, columns and k end, on any machine.
#include "lowered.h"

namespace mica {
namespace {

using test::LowerPlan;
using test::optimised;

constexpr LowerPlan tiled = {"sapphirerapids"};

bool has_tiles(const Program& p) {
  return std::ranges::any_of(p.kernels, [](const Kernel& k) { return !k.tiles.empty(); });
}

/// Inputs that 16 bits hold exactly, so that all that is rounded is the result.
std::vector<HostTensor> coarse_inputs(const Graph& graph) {
  std::vector<HostTensor> inputs = test::random_inputs(graph);
  for (HostTensor& t : inputs)
    for (double& x : t.real) x = std::round(16 * x) / 16;
  return inputs;
}

void expect_tiled(const std::string& text, const LowerPlan& plan = tiled) {
  SCOPED_TRACE(text);
  const Graph graph = optimised(text);
  EXPECT_TRUE(has_tiles(test::lower(graph, plan)));
  test::expect_lowered(graph, coarse_inputs(graph), plan, 1e-2);
}

std::string linear(int64_t m, int64_t k, int64_t n) {
  return fmt::format(
      "graph(%x: bf16[{}, {}]) {{ %w = constant random<1> : bf16[{}, {}] %b = constant random<2> : f32[{}] %y = linear(%x, %w, bias=%b) "
      "return %y }}",
      m, k, n, k, n);
}

std::string conv(std::string_view x, std::string_view weight, std::string_view rest) {
  return fmt::format("graph(%x: bf16{}) {{ %w = constant random<1> : bf16{} %a = conv(%x, %w, {}) return %a }}", x, weight, rest);
}

TEST(matrix_tiles, rows_end_anywhere) {
  for (int64_t m : {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 97}) expect_tiled(linear(m, 96, 96));
}

TEST(matrix_tiles, columns_end_anywhere) {
  for (int64_t n : {1, 15, 16, 17, 31, 33, 48, 49, 63, 64, 65, 80, 100}) {
    expect_tiled(linear(40, 224, n));
    expect_tiled(linear(9, 1024, n));
  }
}

TEST(matrix_tiles, k_ends_anywhere) {
  for (int64_t k : {16, 17, 31, 32, 33, 34, 40, 48, 62, 64, 65, 96, 184, 257}) expect_tiled(linear(37, k, 40));
}

TEST(matrix_tiles, what_lies_behind_a_row_is_not_multiplied) {
  // Infinity here: zeros that stand in the packed B would make NaN of it.
  for (int64_t k : {33, 40, 100}) {
    const Graph graph = test::parse(linear(40, k, 32));
    std::vector<HostTensor> inputs = coarse_inputs(graph);
    inputs[0].real[static_cast<size_t>(k)] = INFINITY;
    const auto bytes = test::run_program(test::lower(graph, tiled), graph, inputs);
    const HostTensor y = to_host(graph.type(graph.outputs[0]), bytes[0]);
    for (int64_t m = 0; m < 40; ++m) { EXPECT_TRUE(m == 1 || std::isfinite(y.real[static_cast<size_t>(m * 32)])) << m << " of " << k; }
  }
}

TEST(matrix_tiles, convolutions) {
  for (const std::string& text : {conv("[1, 16, 7, 7]", "[33, 16, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1]"),
                                  conv("[2, 64, 7, 5]", "[48, 64, 1, 1]", "stride=[1, 1], padding=[0, 0], dilation=[1, 1]"),
                                  conv("[1, 37, 9, 8]", "[19, 37, 3, 3]", "stride=[2, 1], padding=[2, 1], dilation=[2, 1]"),
                                  conv("[1, 40, 8, 8]", "[24, 40, 1, 1]", "stride=[2, 2], padding=[0, 0], dilation=[1, 1]"),
                                  conv("[2, 24, 6, 6]", "[36, 8, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=3"),
                                  conv("[1, 3, 19, 18]", "[16, 3, 7, 7]", "stride=[2, 2], padding=[3, 3], dilation=[1, 1]"),
                                  conv("[1, 32, 16]", "[32, 32, 5]", "stride=[1], padding=[0], dilation=[1]"),
                                  conv("[1, 32, 4, 4, 4]", "[16, 32, 2, 2, 2]", "stride=[1, 1, 1], padding=[1, 1, 1], dilation=[1, 1, 1]")})
    expect_tiled(text);
}

TEST(matrix_tiles, convolutions_with_strides_take_planes_apart) {
  for (const std::string& text : {conv("[1, 32, 14, 14]", "[40, 32, 3, 3]", "stride=[2, 2], padding=[1, 1], dilation=[1, 1]"),
                                  conv("[2, 32, 13, 11]", "[33, 32, 3, 3]", "stride=[2, 3], padding=[1, 0], dilation=[1, 1]"),
                                  conv("[1, 64, 17, 12]", "[40, 32, 5, 3]", "stride=[3, 2], padding=[2, 2], dilation=[1, 1], groups=2"),
                                  conv("[1, 32, 12, 15]", "[16, 32, 2, 3]", "stride=[3, 2], padding=[0, 1], dilation=[2, 3]"),
                                  conv("[1, 16, 20, 9]", "[16, 16, 2, 2]", "stride=[4, 5], padding=[1, 1], dilation=[1, 1]"),
                                  conv("[1, 32, 9, 30]", "[16, 32, 1, 7]", "stride=[1, 4], padding=[0, 3], dilation=[1, 1]")}) {
    expect_tiled(text);
    expect_tiled(text, {"sapphirerapids", true, WinogradUse::automatic, 1 << 12});
  }
}

TEST(matrix_tiles, tasks_share_the_copy_of_a_plane_that_the_cache_holds) {
  const Graph graph = optimised(conv("[2, 64, 14, 14]", "[96, 64, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1]"));
  const auto copies = [&](const LowerPlan& plan) {
    const Program program = test::lower(graph, plan);
    return std::ranges::count_if(program.kernels, [](const Kernel& k) { return k.name.find("_padded") != std::string::npos; });
  };
  EXPECT_EQ(copies(tiled), 1);
  EXPECT_EQ(copies({"sapphirerapids", true, WinogradUse::automatic, 1 << 12}), 0);
}

TEST(matrix_tiles, a_residual_in_place_is_added_once) {
  // The last block of rows overlaps the one before; what both compute is stored by one of them.
  expect_tiled(
      "graph(%x: bf16[50, 64], %r: bf16[50, 64]) { %w = constant random<1> : bf16[64, 64] %s = relu(%r) %y = linear(%x, %w) %z = add(%y, %s) return "
      "%z }");
}

TEST(matrix_tiles, products_of_computed_matrices) {
  for (const char* text : {"graph(%a: bf16[2, 37, 64], %b: bf16[2, 64, 40]) { %c = matmul(%a, %b) return %c }",
                           "graph(%a: bf16[3, 17, 33], %b: bf16[3, 33, 21]) { %c = matmul(%a, %b) return %c }",
                           "graph(%a: bf16[2, 1, 40, 48], %b: bf16[3, 48, 16]) { %c = matmul(%a, %b) return %c }",
                           "graph(%a: bf16[2, 33, 64], %b: bf16[2, 33, 64]) { %t = permute(%b, axes=[0, 2, 1]) %c = matmul(%a, %t) return %c }"})
    expect_tiled(text);
}

TEST(matrix_tiles, little_cache_makes_other_tasks) {
  expect_tiled(linear(200, 64, 96), {"sapphirerapids", true, WinogradUse::automatic, 1 << 12});
  expect_tiled(conv("[1, 32, 14, 14]", "[96, 32, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1]"),
               {"sapphirerapids", true, WinogradUse::automatic, 1 << 12});
}

size_t count(const std::string& text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(matrix_tiles, blocks_of_rows_ask_for_the_panel_behind) {
  // Four blocks of three steps each; a panel of 96 * 32 pairs of bytes, whose lines they ask for in four places.
  const std::string text = linear(100, 96, 320);
  EXPECT_EQ(count(to_string(test::lower(optimised(text), tiled).kernels.back()), "prefetch"), 6 * 1024 / 64 / (4 * 3));
  expect_tiled(text);
  // Threads share the rows, or no block is left to ask while another is multiplied.
  for (const std::string& other : {linear(640, 96, 96), linear(30, 96, 320)})
    EXPECT_EQ(count(to_string(test::lower(optimised(other), tiled).kernels.back()), "prefetch"), 0U) << other;
}

TEST(matrix_tiles, convolutions_of_small_planes_ask_for_the_panel_behind) {
  const auto asks = [](const std::string& text) {
    return count(to_string(test::last_kernel(test::lower(optimised(text), tiled), "conv")), "prefetch");
  };
  // One band of two blocks, in 9 taps of two steps: a panel has 576 lines.
  const std::string plane = conv("[1, 64, 7, 7]", "[96, 64, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[1, 1]");
  EXPECT_EQ(asks(plane), 576U / (2 * 18));
  expect_tiled(plane);
  EXPECT_EQ(asks(conv("[1, 64, 14, 14]", "[96, 64, 3, 3]", "stride=[2, 2], padding=[1, 1], dilation=[1, 1]")), 576U / (2 * 18));
  // Rows that are gathered, in two blocks whose panels are read again for each: the first asks for all.
  const std::string gathered = conv("[1, 64, 98]", "[96, 64, 9]", "stride=[2], padding=[4], dilation=[1]");
  EXPECT_EQ(asks(gathered), 576U / 18);
  expect_tiled(gathered);
  EXPECT_EQ(asks(conv("[1, 64, 56, 56]", "[96, 64, 3, 3]", "stride=[2, 2], padding=[1, 1], dilation=[1, 1]")), 0U) << "panels stay in the cache";
}

TEST(matrix_tiles, rows_ask_for_what_the_panel_behind_stores_of_a_large_result) {
  const LowerPlan small{"sapphirerapids", true, WinogradUse::automatic, 1 << 13};
  const std::string text = linear(30, 96, 320);
  EXPECT_EQ(count(to_string(test::lower(optimised(text), small).kernels.back()), "prefetch"), 2U);
  expect_tiled(text, small);
}

TEST(matrix_tiles, a_depthwise_convolution_goes_the_way_of_the_one_before) {
  const auto pair = [](int64_t channels, std::string_view plane) {
    return fmt::format(
        "graph(%x: bf16[1, 64, {}]) {{ %w = constant random<1> : bf16[{}, 64, 1, 1] %a = conv(%x, %w, stride=[1, 1], padding=[0, 0], dilation=[1, "
        "1]) "
        "%r = relu(%a) %v = constant random<2> : bf16[{}, 1, 3, 3] %y = conv(%r, %v, groups={}, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) "
        "return %y }}",
        plane, channels, channels, channels);
  };
  const auto by_channels = [&](const std::string& text) {
    const std::string kernel = to_string(test::last_kernel(test::lower(optimised(text), tiled), "conv"));
    const size_t group = kernel.find("let group."), block = kernel.find("let block.");
    EXPECT_TRUE(group != std::string::npos && block != std::string::npos) << kernel;
    return group < block;
  };
  EXPECT_TRUE(by_channels(pair(960, "16, 8")));
  EXPECT_FALSE(by_channels(pair(128, "48, 48")));
}

TEST(matrix_tiles, are_left_where_they_do_not_pay) {
  EXPECT_FALSE(has_tiles(test::lower(linear(4, 32, 16), tiled)));
  EXPECT_FALSE(has_tiles(test::lower(linear(64, 64, 64), {"cooperlake"})));
  EXPECT_FALSE(has_tiles(test::lower("graph(%x: f32[64, 64]) { %w = constant random<1> : f32[64, 64] %y = linear(%x, %w) return %y }", tiled)));
}

}  // namespace
}  // namespace mica
