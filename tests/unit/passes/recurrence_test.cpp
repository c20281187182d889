// Recurrent layers by the kernel interpreter: edges of tiles and vectors, states in and out, both directions, the loop nest of the op.
#include "lowered.h"

namespace mica {
namespace {

using test::expect_lowered;
using test::optimised;

struct Layer {
  const char* op;
  int64_t gates, steps, rows, hidden;
  const char* rest;
};

std::string layer(const Layer& l) {
  const bool lstm = std::string_view(l.op) == "lstm_scan";
  return fmt::format(
      "graph(%x: f32[{0}, {1}, {2}], %h: f32[{1}, {3}], %c: f32[{1}, {3}]) {{ %w = constant random<1> : f32[{2}, {3}] %b = constant random<2> : "
      "f32[{2}] {4} = {5}(%x, %h{6}, %w{7}) return {4} }}",
      l.steps, l.rows, l.gates * l.hidden, l.hidden, lstm ? "%a, %z" : "%a", l.op, lstm ? ", %c" : "", l.rest);
}

TEST(recurrence, kinds_and_edges) {
  for (const Layer& l : {Layer{"lstm_scan", 4, 3, 1, 17, ""}, Layer{"lstm_scan", 4, 1, 2, 16, ""}, Layer{"lstm_scan", 4, 4, 9, 5, ", reverse=true"},
                         Layer{"gru_scan", 3, 3, 1, 33, ", bias=%b"}, Layer{"gru_scan", 3, 2, 13, 4, ", reverse=true"},
                         Layer{"rnn_scan", 1, 3, 1, 33, ""}, Layer{"rnn_scan", 1, 3, 11, 18, ", relu=true, reverse=true"}}) {
    SCOPED_TRACE(layer(l));
    expect_lowered(layer(l));
  }
}

TEST(recurrence, projected) {
  expect_lowered(
      "graph(%x: f32[3, 2, 44], %h: f32[2, 5], %c: f32[2, 11]) { %w = constant random<1> : f32[44, 5] %p = constant random<2> : f32[5, 11] "
      "%a, %z = lstm_scan(%x, %h, %c, %w, projection=%p) return %a, %z }");
}

/// Chains of additions are cut: the sum over a long state is taken in pieces.
TEST(recurrence, long_states) { expect_lowered(layer({"rnn_scan", 1, 2, 5, 260, ""}), 2e-4); }

/// Its size does not depend on the number of steps.
TEST(recurrence, one_kernel_for_all_steps) {
  for (const int64_t steps : {2, 500}) {
    const Program p = test::lower(layer({"gru_scan", 3, steps, 1, 16, ""}));
    ASSERT_EQ(p.steps.size(), 1u);
    EXPECT_EQ(p.steps[0].kind, Step::Kind::loop);
    EXPECT_EQ(p.steps[0].body.size(), 1u);
    EXPECT_EQ(p.kernels.size(), 1u);
  }
}

/// The last state is read where the steps stand; another kernel between two layers only for the product.
TEST(recurrence, keeps_other_results_out_of_memory) {
  const Graph graph = optimised(
      "graph(%x: f32[6, 1, 12], %h: f32[1, 3], %c: f32[1, 3]) { %w = constant random<1> : f32[12, 3] %a, %z = lstm_scan(%x, %h, %c, %w) return %z }");
  EXPECT_EQ(test::lower(graph).steps.size(), 1u);
  expect_lowered(graph);
}

}  // namespace
}  // namespace mica
