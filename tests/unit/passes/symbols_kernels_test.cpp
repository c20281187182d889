// build/release/tests/bin/unit_passes --gtest_filter='SymbolsKernels.*'
// Ops in kernel form, indices from data and loops over a range of sizes that may begin at none.
#include "ranged.h"

namespace mica {
namespace {

using namespace test;

/// An index is checked against the size of this run, not against the greatest.
TEST(SymbolsKernels, an_index_beyond_the_size_at_hand_is_a_fault) {
  for (const char* op : {"%0 = index_select(%x, axis=0, index=%i)", "%0 = index(%x, indices=[%i], axes=[0])",
                         "%1 = reshape(%i, shape=[1, 1])\n  %2 = expand(%1, shape=[1, 3])\n  %3 = constant splat<1.0> : f32[1, 3]\n"
                         "  %0 = scatter(%x, axis=0, index=%2, source=%3)"}) {
    const std::string text = fmt::format("graph<S=0..20>(%x: f32[S, 3]) {{\n  %i = constant dense<4> : i64[1]\n  {}\n  return %0\n}}", op);
    const Graph symbolic = parse(text);
    for (const LowerPlan& plan : all_plans) {
      const Program p = lower(symbolic, plan);
      for (const int64_t size : {0, 1, 4, 5, 20}) {
        SCOPED_TRACE(fmt::format("{} at {}", op, size));
        const Graph graph = parse(at_sizes(text, symbolic.symbols.all(), {size}));
        KernelFault fault;
        (void)run_program(p, graph, random_inputs(graph), nullptr, {size}, &fault);
        EXPECT_EQ(fault.code, size <= 4);
        if (fault.code) { EXPECT_EQ(fault.value, 4); }
      }
    }
  }
}

TEST(SymbolsKernels, a_loop_as_often_as_a_size_says) {
  expect_range(R"(graph<S=0..9, B=1..40>(%x: f32[S, B], %y: f32[B]) {
  %n = size_value(size=S, dtype=i64)
  %0 = loop(%n, carried=[%y], captures=[%x], body=graph(%i: i64[], %a: f32[B], %x: f32[S, B]) {
    %true = constant dense<true> : bool[]
    %r = select_at(%x, index=%i, axis=0) %s = add(%a, %r) %t = tanh(%s)
    return %true, %t
  })
  return %0
})",
               {{0, 1}, {1, 40}, {9, 17}, {3, 33}});
}

/// Ops in kernel form: every size from none on.
TEST(SymbolsKernels, sorting_of_every_length) {
  expect_range("graph<S=0..40>(%x: f32[2, S]) {\n  %0, %1 = sort(%x, axis=1)\n  return %0, %1\n}", each(0, 40));
  expect_range("graph<S=0..40>(%x: i64[S, 3]) {\n  %0, %1 = sort(%x, axis=1, descending=true)\n  return %0, %1\n}", {{0}, {1}, {40}});
  expect_range("graph<S=0..90>(%x: f32[2, S]) {\n  %0, %1 = sort(%x, axis=1, count=min(S, 7))\n  return %0, %1\n}", each(0, 90));
  expect_range("graph<S=8..90>(%x: f32[S]) {\n  %0, %1 = sort(%x, axis=0, count=S / 8)\n  return %0, %1\n}", {{8}, {16}, {17}, {90}});
}

TEST(SymbolsKernels, scans_of_every_length) {
  for (const char* op : {"cumsum", "cumprod", "logcumsumexp"})
    expect_range(fmt::format("graph<S=0..20, B=0..3>(%x: f32[B, S, 2]) {{\n  %0 = {}(%x, axis=1)\n  return %0\n}}", op),
                 {{0, 0}, {0, 2}, {1, 0}, {1, 3}, {20, 2}});
  expect_range("graph<S=0..20, B=0..3>(%x: f32[B, S]) {\n  %0, %1 = cummax(%x, axis=1)\n  return %0, %1\n}", {{0, 2}, {1, 0}, {1, 3}, {20, 2}});
}

TEST(SymbolsKernels, scatter_of_every_size) {
  expect_range(R"(graph<S=0..70, K=0..9>(%x: f32[5, S], %s: f32[K, S]) {
  %0 = arange(count=K, dtype=i64)
  %five = constant dense<5> : i64[]
  %1 = remainder(%0, %five)
  %2 = reshape(%1, shape=[K, 1])
  %3 = expand(%2, shape=[K, S])
  %4 = scatter(%x, axis=0, index=%3, source=%s, reduce="sum")
  return %4
})",
               {{0, 0}, {0, 4}, {1, 9}, {70, 1}, {65, 9}, {64, 0}});
  expect_range(R"(graph<S=0..9>(%x: f32[S, 3], %s: f32[S, 3]) {
  %0 = arange(count=S, dtype=i64)
  %1 = reshape(%0, shape=[S, 1])
  %2 = expand(%1, shape=[S, 3])
  %3 = flip(%2, axes=[0])
  %4 = scatter(%x, axis=0, index=%3, source=%s, reduce="amax", include_self=false)
  return %4
})",
               each(0, 9));
}

TEST(SymbolsKernels, suppression_of_any_number_of_boxes) {
  expect_range(R"(graph<N=0..20>(%x: f32[N, 4]) {
  %0 = cumsum(%x, axis=1)
  %1 = arange(count=N, dtype=i64)
  %2, %3 = nms(%0, order=%1, threshold=0.3)
  return %2, %3
})",
               each(0, 20));
  expect_range(R"(graph<K=0..9, C=1..40>(%x: f32[1, C, 6, 7], %r: f32[K, 4]) {
  %0 = exp(%r)
  %1 = cumsum(%0, axis=1)
  %2 = pad(%1, before=[0, 1], after=[0, 0])
  %3 = roi_align(%x, rois=%2, scale=1, height=2, width=3, samples=2)
  return %3
})",
               {{0, 1}, {1, 40}, {9, 33}, {4, 32}});
}

TEST(SymbolsKernels, reads_at_given_places) {
  expect_range(R"(graph<S=1..20, K=0..5>(%x: f32[S, 3], %k: f32[K]) {
  %0 = arange(count=K, dtype=i64)
  %s = size_value(size=S, dtype=i64)
  %1 = remainder(%0, %s)
  %2 = index_select(%x, axis=0, index=%1)
  %3 = tanh(%2)
  %4 = exp(%k)
  return %3, %4
})",
               {{1, 0}, {1, 5}, {20, 5}, {3, 4}});
}

TEST(SymbolsKernels, recurrence_over_any_number_of_steps) {
  expect_range(R"(graph<T=1..9>(%x: f32[T, 2, 24], %h: f32[2, 6], %c: f32[2, 6]) {
  %w = constant random<1> : f32[24, 6]
  %0, %1 = lstm_scan(%x, %h, %c, %w)
  %2, %3 = lstm_scan(%x, %h, %c, %w, reverse=true)
  return %0, %1, %2, %3
})",
               each(1, 9));
  expect_range(R"(graph<T=1..9, B=0..5>(%x: f32[T, B, 18], %h: f32[B, 6]) {
  %w = constant random<1> : f32[18, 6]
  %0 = gru_scan(%x, %h, %w)
  return %0
})",
               {{1, 0}, {1, 5}, {9, 1}, {4, 3}});
}

}  // namespace
}  // namespace mica
