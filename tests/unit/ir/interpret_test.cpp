#include "mica/ir/interpret.h"

#include <chrono>

#include "../graph_test.h"
#include "mica/support/narrow_float.h"

namespace mica {
namespace {

using test::parse;

HostTensor reals(Shape shape, std::vector<double> v, DType dtype = DType::f32) {
  HostTensor t;
  t.dtype = dtype;
  t.shape = std::move(shape);
  t.real = std::move(v);
  return t;
}
HostTensor integers(Shape shape, std::vector<int64_t> v, DType dtype = DType::i64) {
  HostTensor t;
  t.dtype = dtype;
  t.shape = std::move(shape);
  t.integer = std::move(v);
  return t;
}

TEST(interpret, softmax) {
  const Graph g = parse("graph(%x: f32[2, 3]) { %y = softmax(%x, axis=1) return %y }");
  const auto y = test::run(g, {reals({2, 3}, {0, 1, 2, 1000, 1000, -1000})})[0].real;
  const double s = 1 + std::exp(1) + std::exp(2);
  EXPECT_NEAR(y[0], 1 / s, 1e-15);
  EXPECT_NEAR(y[2], std::exp(2) / s, 1e-15);
  EXPECT_EQ(y[3], 0.5);
  EXPECT_EQ(y[5], 0);
}

TEST(interpret, convolution_with_padding_stride_and_groups) {
  const Graph g = parse(
      "graph(%x: f32[1, 2, 4, 4], %w: f32[4, 1, 3, 3], %b: f32[4]) { %y = conv(%x, %w, %b, stride=[2, 1], padding=[1, 0], dilation=[1, 1], groups=2) "
      "return %y }");
  const auto inputs = test::random_inputs(g);
  const auto y = test::run(g, inputs)[0];
  ASSERT_EQ(y.shape, Shape({1, 4, 2, 2}));
  for (int64_t o = 0; o < 4; ++o)
    for (int64_t p = 0; p < 2; ++p)
      for (int64_t q = 0; q < 2; ++q) {
        double sum = 0;
        for (int64_t i = 0; i < 3; ++i)
          for (int64_t j = 0; j < 3; ++j) {
            const int64_t row = p * 2 - 1 + i, column = q + j;
            if (row < 0 || row >= 4 || column >= 4) continue;
            sum += inputs[0].real[(o / 2 * 4 + row) * 4 + column] * inputs[1].real[(o * 3 + i) * 3 + j];
          }
        EXPECT_NEAR(y.real[(o * 2 + p) * 2 + q], sum + inputs[2].real[o], 1e-14);
      }
}

TEST(interpret, integers_wrap_in_their_own_type) {
  const Graph g = parse("graph(%x: u8[2], %y: i32[1]) { %a = add(%x, %x) %b = mul(%y, %y) return %a, %b }");
  const auto out = test::run(g, {integers({2}, {200, 3}, DType::u8), integers({1}, {65536}, DType::i32)});
  EXPECT_EQ(out[0].integer, (std::vector<int64_t>{144, 6}));
  EXPECT_EQ(out[1].integer, (std::vector<int64_t>{0}));
}

TEST(interpret, index_out_of_range_is_a_fault) {
  const Graph g = parse("graph(%w: f32[4, 2], %i: i64[2]) { %y = embedding(%w, %i) return %y }");
  Diagnostics d;
  EXPECT_FALSE(interpret(g, {reals({4, 2}, std::vector<double>(8, 1.0)), integers({2}, {1, 4})}, d));
  ASSERT_EQ(d.error_count(), 1u);
  EXPECT_EQ(d.all()[0].name, "index-out-of-range");
}

TEST(interpret, decompositions_run) {
  const Graph g = parse("graph(%q: f32[1, 2, 3, 4], %k: f32[1, 2, 5, 4]) { %y = scaled_dot_product_attention(%q, %k, %k) return %y }");
  const auto y = test::run(g, test::random_inputs(g));
  EXPECT_EQ(y[0].shape, Shape({1, 2, 3, 4}));
  EXPECT_TRUE(std::isfinite(y[0].real[7]));
}

TEST(interpret, empty_tensors) {
  const Graph g = parse("graph(%x: f32[0, 3]) { %a = relu(%x) %b = sum(%x, axes=[0]) return %a, %b }");
  const auto y = test::run(g, {reals({0, 3}, {})});
  EXPECT_TRUE(y[0].real.empty());
  EXPECT_EQ(y[1].real, (std::vector<double>{0, 0, 0}));
}

TEST(interpret, every_op_runs_on_many_blocks) {
  // 3 x 1000 points: more than one block of points, and not a multiple of one.
  const Graph g = parse(
      "graph(%x: f32[3, 1000]) { %a = permute(%x, axes=[1, 0]) %b = mean(%a, axes=[0]) %c = layer_norm(%a) %d = matmul(%x, %a) return %a, %b, %c, %d "
      "}");
  const auto in = test::random_inputs(g);
  const auto out = test::run(g, in);
  double mean = 0, dot = 0;
  for (int i = 0; i < 1000; ++i) mean += in[0].real[1000 + i] / 1000, dot += in[0].real[i] * in[0].real[2000 + i];
  EXPECT_EQ(out[0].real[3 * 999 + 2], in[0].real[2999]);
  EXPECT_NEAR(out[1].real[1], mean, 1e-13);
  EXPECT_NEAR(out[3].real[2], dot, 1e-12);
}

TEST(interpret, conversion_of_bytes) {
  const TensorType type{DType::f32, {2, 3}, {{1, 0}}};
  const float memory[] = {0, 3, 1, 4, 2, 5};
  const auto bytes = std::as_bytes(std::span(memory));
  const HostTensor t = to_host(type, bytes);
  EXPECT_EQ(t.real, (std::vector<double>{0, 1, 2, 3, 4, 5}));
  EXPECT_TRUE(std::ranges::equal(from_host(t, type), bytes));
}

TEST(narrow_float, rounds_to_nearest_even) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    if (!std::isnan(from_f16(b))) { EXPECT_EQ(to_f16(from_f16(b)), b); }
    if (!std::isnan(from_bf16(b))) { EXPECT_EQ(to_bf16(from_bf16(b)), b); }
  }
  EXPECT_EQ(to_f16(1 + 1 / 2048.0), 0x3c00);  // a tie, to even
  EXPECT_EQ(to_f16(1 + 3 / 2048.0), 0x3c02);  // a tie, to even
  EXPECT_EQ(to_f16(1 + 1 / 2048.0 + 1e-12), 0x3c01);
  EXPECT_EQ(to_f16(65520.0), 0x7c00);
  EXPECT_EQ(to_f16(65519.9), 0x7bff);
  EXPECT_EQ(to_f16(std::ldexp(1.0, -25)), 0);
  EXPECT_EQ(to_f16(std::ldexp(1.1, -25)), 1);
  EXPECT_EQ(to_f16(-INFINITY), 0xfc00);
}

TEST(interpret, weights_of_25_million_elements_in_seconds) {
  const Graph g = parse("graph(%x: f32[512, 512, 3, 3], %s: f32[512, 1, 1, 1]) { %a = mul(%x, %s) %b = permute(%a, axes=[0, 2, 3, 1]) return %b }");
  const auto in = test::random_inputs(g);
  const auto start = std::chrono::steady_clock::now();
  test::run(g, in);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  RecordProperty("ns_per_element_and_op", std::to_string(took.count() * 1e9 / (2 * 512 * 512 * 9)));
  EXPECT_LT(took.count(), 5.0);
}

}  // namespace
}  // namespace mica
