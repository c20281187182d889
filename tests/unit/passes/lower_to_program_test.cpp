// Whole graphs as programs.
#include "lowered.h"

namespace mica {
namespace {

TEST(lower_to_program, inputs_then_outputs_are_the_callers_buffers) {
  const Program p = test::lower("graph(%x: f32[5], %y: f32[5]) { %a = add(%x, %y) %b = sub(%x, %y) return %b, %a }");
  ASSERT_EQ(p.steps.size(), 2u);
  std::set<uint32_t> written;
  for (const Step& s : p.steps) {
    for (const test::Touched& t : test::touched(p, s)) {
      EXPECT_EQ(t.space, Binding::Space::io);
      if (t.written) written.insert(t.io);
      else EXPECT_LT(t.io, 2u);
    }
  }
  EXPECT_EQ(written, (std::set<uint32_t>{2, 3}));
  EXPECT_EQ(p.arena_bytes, 0);
}

TEST(lower_to_program, the_same_graph_gives_the_same_text) {
  constexpr auto text = R"(graph(%x: f32[1, 9, 48]) {
    %w = constant random<1> : f32[48, 48] %a = linear(%x, %w) %b = softmax(%a, axis=-1) %c = linear(%b, %w) return %c })";
  EXPECT_EQ(to_string(test::lower(text)), to_string(test::lower(text)));
}

TEST(lower_to_program, nothing_is_left_for_an_empty_result) {
  EXPECT_TRUE(test::lower("graph(%x: f32[0, 4]) { %a = exp(%x) return %a }").steps.empty());
}

TEST(lower_to_program, attention) {
  test::expect_lowered(test::optimised(R"(graph(%x: f32[1, 7, 24]) {
    %w = constant random<1> : f32[72, 24] %b = constant random<2> : f32[72] %s = constant dense<0.35> : f32[]
    %p = linear(%x, %w, bias=%b) %r = reshape(%p, shape=[1, 7, 3, 4, 6]) %t = permute(%r, axes=[2, 0, 3, 1, 4])
    %q0 = slice(%t, axis=0, start=0, end=1, step=1) %q = reshape(%q0, shape=[1, 4, 7, 6])
    %k0 = slice(%t, axis=0, start=1, end=2, step=1) %k = reshape(%k0, shape=[1, 4, 7, 6])
    %v0 = slice(%t, axis=0, start=2, end=3, step=1) %v = reshape(%v0, shape=[1, 4, 7, 6])
    %kt = permute(%k, axes=[0, 1, 3, 2]) %m = matmul(%q, %kt) %ms = mul(%m, %s) %z = softmax(%ms, axis=-1) %o = matmul(%z, %v)
    %ot = permute(%o, axes=[0, 2, 1, 3]) %y = reshape(%ot, shape=[1, 7, 24]) %n = add(%y, %x) %l = layer_norm(%n, axes=1) return %l })"));
}

TEST(lower_to_program, residual_block) {
  test::expect_lowered(test::optimised(R"(graph(%x: f32[2, 16, 6, 6]) {
    %w = constant random<1> : f32[16, 16, 3, 3] %d = constant random<2> : f32[16, 1, 3, 3] %e = constant random<3> : f32[4, 16, 1, 1] %f = constant random<4> : f32[16, 4, 1, 1]
    %a = conv(%x, %w, stride=[1, 1], padding=[1, 1], dilation=[1, 1]) %b = relu(%a)
    %c = conv(%b, %d, stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=16) %g = adaptive_avg_pool(%c, size=[1, 1])
    %h = conv(%g, %e, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) %i = relu(%h) %j = conv(%i, %f, stride=[1, 1], padding=[0, 0], dilation=[1, 1])
    %k = sigmoid(%j) %l = mul(%c, %k) %m = add(%l, %x) %n = relu(%m) return %n })"));
}

}  // namespace
}  // namespace mica
