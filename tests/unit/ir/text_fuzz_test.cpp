// Damaged text: whatever it says, the parser and the verifier answer with an error or a graph, never with a crash.
#include "../graph_test.h"

namespace mica {
namespace {

constexpr std::string_view texts[] = {
    R"mica(graph(%x: f32[1, 3, 8, 8], %i: i64[4]) {
  %w = constant random<1> : f32[4, 3, 3, 3]
  %b = constant dense<1.0, -0.5, inf, 4.0> : f32[4]
  %c = conv(%x, %w, %b, stride=[1, 2], padding=[1, 1], dilation=[1, 1], groups=1)
  %n = batch_norm(%c, %b, %b, %b, %b, eps=0.001)
  %p = max_pool(%n, kernel=[2, 2], stride=[2, 2], padding=[0, 0], dilation=[1, 1])
  %r = reshape(%p, shape=[1, -1])
  %s = slice(%r, axis=1, start=1, end=9, step=2)
  %t = cat([%s, %r], axis=1)
  %e = embedding(%t, %i)
  %u = softmax(%e, axis=-1)
  return %u "y"
}
)mica",
    R"mica(graph(%q: f32[1, 2, 3, 4], %k: f32[1, 2, 5, 4]) {
  %a = scaled_dot_product_attention(%q, %k, %k, causal=true)
  %m = mean(%a, axes=[1, -1], keepdim=false)
  %l = layer_norm(%a, axes=2, eps=1e-05)
  %p = permute(%l, axes=[0, 2, 1, 3])
  %s = matmul(%p, %p)
  %g = gather(%s, axis=1, index=%s)
  %c = cast(%m, dtype=f16)
  return %c, %g
}
)mica"};

TEST(text_fuzz, damaged_text_never_crashes) {
  std::mt19937 generate(1);
  const auto below = [&](size_t n) { return generate() % n; };
  constexpr std::string_view pieces[] = {"[",
                                         "]",
                                         "(",
                                         ")",
                                         "%x",
                                         "-1",
                                         "0",
                                         "99999999999999999999",
                                         "=",
                                         ",",
                                         "i64",
                                         "f16[]",
                                         "none",
                                         "\"",
                                         "//",
                                         "{",
                                         "}",
                                         "1e999",
                                         "nan",
                                         ":",
                                         "@10",
                                         "9223372036854775807",
                                         "-9223372036854775808"};
  int parsed = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text(texts[round % std::size(texts)]);
    for (size_t edits = 1 + below(3); edits > 0; --edits) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0: text.erase(at, 1 + below(4)); break;
        case 1: text.insert(at, pieces[below(std::size(pieces))]); break;
        case 2: text[at] = static_cast<char>('0' + below(10)); break;
        default: text.replace(at, 1, pieces[below(std::size(pieces))]);
      }
    }
    Diagnostics d;
    const auto graph = parse_graph(text, "fuzz.mica", d);
    if (!graph) {
      EXPECT_TRUE(d.has_errors()) << text;
      continue;
    }
    ++parsed;
    verify(*graph, d);
    Diagnostics again;
    const std::string printed = to_string(*graph);
    const auto back = parse_graph(to_string(*graph, {.elide_constants = true}), "again.mica", again);
    if (back) { EXPECT_EQ(to_string(*back), printed); }
  }
  EXPECT_GT(parsed, 100);
}

}  // namespace
}  // namespace mica
