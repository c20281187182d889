#include "mica/ops/rules.h"

#include <gtest/gtest.h>

namespace mica {
namespace {

TensorType tensor(DType dtype, std::initializer_list<int64_t> sizes) { return {dtype, Shape(sizes), {}}; }
DType promoted(std::initializer_list<TensorType> types) { return promote_types(std::span(types.begin(), types.size())); }

TEST(Rules, RankZeroOperandsCountByCategory) {
  EXPECT_EQ(promoted({tensor(DType::f16, {2}), tensor(DType::f32, {})}), DType::f16);
  EXPECT_EQ(promoted({tensor(DType::i32, {2}), tensor(DType::i64, {})}), DType::i32);
  EXPECT_EQ(promoted({tensor(DType::i64, {2}), tensor(DType::f16, {})}), DType::f16);
  EXPECT_EQ(promoted({tensor(DType::b8, {2}), tensor(DType::u8, {})}), DType::u8);
  EXPECT_EQ(promoted({tensor(DType::f16, {}), tensor(DType::f32, {})}), DType::f32);
  EXPECT_EQ(promoted({tensor(DType::f16, {1}), tensor(DType::bf16, {1})}), DType::f32);
  EXPECT_EQ(promoted({tensor(DType::u8, {1}), tensor(DType::i8, {1})}), DType::i16);
}

TEST(Rules, ShapesBroadcastFromTheRight) {
  const Shape ok[] = {Shape({2, 1, 5}), Shape({3, 1}), Shape({})}, empty[] = {Shape({0}), Shape({1})}, wrong[] = {Shape({2}), Shape({3})};
  EXPECT_EQ(broadcast_shapes(ok), Shape({2, 3, 5}));
  EXPECT_EQ(broadcast_shapes(empty), Shape({0}));
  EXPECT_FALSE(broadcast_shapes(wrong));
}

/// Splitting and merging axes must not leave divisions that the sizes make unnecessary.
TEST(Rules, ReshapeIndicesStayAffineWithinGroups) {
  const Shape from({2, 12, 7}), to({2, 1, 3, 4, 7});
  std::vector<Expr> where;
  for (int64_t n : to.sizes()) where.push_back(make_var("i", 0, n));
  const auto index = reshape_index(from, to, where);
  ASSERT_EQ(index.size(), 3u);
  EXPECT_TRUE(index[0].same(where[0]));
  EXPECT_TRUE(equivalent(simplify(index[1]), simplify(where[2] * Expr(4) + where[3])));
  EXPECT_TRUE(index[2].same(where[4]));
}

/// A size of 0 to 1 is its own square, so a reshape may repeat it: that axis has one index where there are elements at all.
TEST(Rules, ReshapeIndicesOfSizesThatAreAtMostOne) {
  const Dim rows = Dim::symbol(0, "A", 1, 8), one = Dim::symbol(1, "B", 0, 1);
  const Expr i = make_var("i", 0, 8), j = make_var("j", 0, 1), k = make_var("k", 0, 1);
  const auto longer = reshape_index(Shape({rows, one, Dim(1)}), Shape({rows, one, one}), {i, j, k});
  ASSERT_EQ(longer.size(), 3u);
  EXPECT_TRUE(longer[0].same(i));
  EXPECT_TRUE(longer[1].same(j));
  const auto shorter = reshape_index(Shape({rows, one, one}), Shape({rows, one}), {i, j});
  ASSERT_EQ(shorter.size(), 3u);
  EXPECT_TRUE(shorter[0].same(i));
}

TEST(Rules, ConversionToBoolComparesWithZero) {
  EXPECT_EQ(convert(DType::b8, make_load(0, {DType::f32, 1}, {Expr(0)}))->op, ExprOp::ne);
  EXPECT_EQ(convert(DType::f32, make_load(0, {DType::i64, 1}, {Expr(0)}))->op, ExprOp::cast);
}

}  // namespace
}  // namespace mica
