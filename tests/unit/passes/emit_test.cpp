// Building blocks of kernels: vectors of expressions, masks, constants held once.
#include "../../../passes/lower/emit.h"

#include "lowered.h"

namespace mica::lower {
namespace {

TEST(emit, a_contiguous_load_becomes_a_ramp) {
  const Expr i = make_var("i", 0, 64), base = make_var("base", 0, 64);
  const Expr e = vectorize(make_load(0, {DType::f32, 1}, {i + Expr(3)}), i, base, 8, {});
  ASSERT_EQ(e->op, ExprOp::load);
  EXPECT_EQ(e->type.lanes, 8);
  ASSERT_EQ(e->args[0]->op, ExprOp::ramp);
  EXPECT_TRUE(equivalent(e->args[0]->args[1], Expr(1)));
}

TEST(emit, what_does_not_depend_on_the_lane_stays_scalar) {
  const Expr i = make_var("i", 0, 64), k = make_var("k", 0, 9), base = make_var("base", 0, 64);
  const Expr e = vectorize(make_load(0, {DType::f32, 1}, {k}) * make_load(1, {DType::f32, 1}, {i}), i, base, 8, {});
  EXPECT_EQ(e->type.lanes, 8);
  int scalar_loads = 0;
  visit(e, [&](const Expr& n) { scalar_loads += n->op == ExprOp::load && n->type.lanes == 1; });
  EXPECT_EQ(scalar_loads, 1);
}

TEST(emit, masks_reach_every_vector_load) {
  const Expr i = make_var("i", 0, 20), base(16);
  const Expr e =
      vectorize(make_load(0, {DType::f32, 1}, {i}) + make_load(1, {DType::f32, 1}, {i * Expr(2)}), i, base, 8, tail_mask(base, Expr(20), 8));
  visit(e, [&](const Expr& n) {
    if (n->op != ExprOp::load) return;
    EXPECT_TRUE(n->masked);
  });
}

TEST(emit, equal_weights_are_held_once) {
  PendingProgram p;
  const std::vector<std::byte> bytes(64, std::byte{1}), other(64, std::byte{2});
  const uint32_t a = p.add_weight(bytes, "a");
  EXPECT_EQ(p.add_weight(bytes, "b"), a);
  EXPECT_NE(p.add_weight(other, "c"), a);
  EXPECT_EQ(p.weights.size(), 2u);
}

TEST(emit, equal_fault_sites_are_one) {
  PendingProgram p;
  EXPECT_EQ(p.add_fault_site("x"), 0);
  EXPECT_EQ(p.add_fault_site("y"), 1);
  EXPECT_EQ(p.add_fault_site("x"), 0);
}

TEST(emit, zeros_stand_behind_values_of_the_arena_only) {
  const Graph graph = test::parse("graph(%x: f32[4, 4]) { %w = constant random<1> : f32[4, 4] %a = linear(%x, %w) %b = linear(%a, %w) return %b }");
  PendingProgram p;
  p.enter(graph);
  EXPECT_FALSE(p.can_have_tail(graph.inputs[0]));
  EXPECT_FALSE(p.can_have_tail(graph.outputs[0]));
  const Value a = graph.nodes[0].results[0];
  EXPECT_TRUE(p.can_have_tail(a));
  EXPECT_EQ(p.zero_tail(a, 3), 16);
  EXPECT_EQ(p.zero_tail(a, 2), 16);
  EXPECT_EQ(p.tails.at(a.id).elements, 3);
}

}  // namespace
}  // namespace mica::lower
