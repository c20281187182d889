// Operators that cannot be imported say why, under a name, and give a way out.
#include <gtest/gtest.h>

#include "mica/ops/import.h"

namespace mica {
namespace {

class ImportErrors : public testing::Test {
 protected:
  Value input(DType dtype, std::initializer_list<int64_t> sizes) { return graph.add_input({dtype, Shape(sizes), {}}, "x"); }
  /// The name of the only error that the import reports.
  std::string error_of(const std::string& op, std::vector<ImportArg> args) {
    Diagnostics diagnostics;
    Builder builder(graph, diagnostics);
    ImportContext context(op, std::move(args), builder);
    EXPECT_FALSE(import_op(context));
    EXPECT_EQ(diagnostics.error_count(), 1u) << diagnostics.to_string();
    EXPECT_EQ(context.op, op);
    return diagnostics.all().empty() ? "" : diagnostics.all()[0].name;
  }
  Graph graph;
};

TEST_F(ImportErrors, AreNamed) {
  const Value x = input(DType::f32, {2, 3}), m = input(DType::b8, {2, 3});
  EXPECT_EQ(error_of("aten::no_such_op", {{"self", x}}), "unsupported-op");
  EXPECT_EQ(error_of("aten::dropout", {{"input", x}, {"p", 0.5}, {"train", true}}), "dropout-training");
  EXPECT_EQ(error_of("aten::batch_norm", {{"input", x}, {"training", true}, {"running_mean", x}, {"running_var", x}}), "batch-norm-training");
  EXPECT_EQ(error_of("aten::batch_norm", {{"input", x}, {"training", false}}), "batch-norm-statistics");
  EXPECT_EQ(error_of("aten::rand", {{"size", std::vector<int64_t>{2}}}), "random-op");
  EXPECT_EQ(error_of("aten::nonzero", {{"self", input(DType::f32, {})}}), "data-dependent-size");
  EXPECT_EQ(error_of("aten::unique_dim", {{"self", input(DType::f32, {2, 99})}, {"dim", int64_t{0}}}), "unique-columns");
  EXPECT_EQ(error_of("aten::repeat_interleave.self_Tensor", {{"self", x}, {"repeats", input(DType::i64, {2})}, {"dim", int64_t{0}}}),
            "data-dependent-size");
  EXPECT_EQ(error_of("aten::masked_select", {{"self", x}, {"mask", input(DType::b8, {4})}}), "broadcast-mismatch");
  EXPECT_EQ(error_of("aten::index.Tensor", {{"self", x}, {"indices", Values({input(DType::b8, {3})})}}), "mask-shape");
  EXPECT_EQ(error_of("aten::index.Tensor", {{"self", x}, {"indices", Values({input(DType::b8, {})})}}), "data-dependent-size");
  EXPECT_EQ(error_of("aten::index.Tensor", {{"self", x}, {"indices", Values({m, m})}}), "mask-shape");
  EXPECT_EQ(error_of("aten::to.dtype", {{"self", x}, {"dtype", int64_t{9}}}), "unsupported-dtype");
  EXPECT_EQ(error_of("aten::relu", {}), "import-argument");
  EXPECT_EQ(error_of("aten::softmax.int", {{"self", x}, {"dim", int64_t{5}}}), "axis-out-of-range");
  EXPECT_EQ(error_of("aten::add.Tensor", {{"self", x}, {"other", input(DType::f32, {4})}}), "broadcast-mismatch");
  EXPECT_EQ(error_of("aten::add_.Tensor", {{"self", input(DType::f32, {3})}, {"other", x}}), "in-place-shape");
  EXPECT_EQ(error_of("aten::select.int", {{"self", x}, {"dim", int64_t{0}}, {"index", int64_t{2}}}), "select-out-of-range");
  EXPECT_EQ(error_of("aten::narrow", {{"self", x}, {"dim", int64_t{0}}, {"start", int64_t{1}}, {"length", int64_t{2}}}), "narrow-range");
  EXPECT_EQ(error_of("aten::split_with_sizes", {{"self", x}, {"split_sizes", std::vector<int64_t>{1, 3}}, {"dim", int64_t{1}}}), "split-sizes");
  EXPECT_EQ(error_of("aten::einsum", {{"equation", std::string("ij,jk->i")}, {"tensors", Values({x})}}), "einsum-equation");
  EXPECT_EQ(error_of("aten::layer_norm", {{"input", x}, {"normalized_shape", std::vector<int64_t>{4}}}), "norm-shape");
  EXPECT_EQ(error_of("aten::gelu", {{"self", x}, {"approximate", std::string("x")}}), "gelu-form");
  EXPECT_EQ(error_of("aten::div.Tensor_mode", {{"self", x}, {"other", x}, {"rounding_mode", std::string("up")}}), "rounding-mode");
  EXPECT_EQ(error_of("aten::pad", {{"self", x}, {"pad", std::vector<int64_t>{1, 1}}, {"mode", std::string("x")}}), "pad-mode");
  EXPECT_EQ(error_of("aten::topk", {{"self", x}, {"k", int64_t{4}}, {"dim", int64_t{1}}}), "sort-count");
  EXPECT_EQ(error_of("aten::arange", {{"end", int64_t{3}}, {"step", int64_t{0}}}), "arange-step");
  EXPECT_EQ(error_of("aten::arange", {{"start", int64_t{4}}, {"end", int64_t{3}}}), "arange-bounds");
  EXPECT_EQ(error_of("aten::one_hot", {{"self", input(DType::i64, {2})}, {"num_classes", int64_t{-1}}}), "data-dependent-size");
}

/// What would differ over the range of a size, or cannot be made for all of it.
TEST_F(ImportErrors, OfSymbolicSizes) {
  graph.symbols = {{"S", 3, 40}};
  const Value x = graph.add_input({DType::f32, {graph.symbol(0), 2}, {}}, "x");
  EXPECT_EQ(error_of("aten::split.Tensor", {{"self", x}, {"split_size", int64_t{4}}}), "split-count");
  EXPECT_EQ(error_of("aten::chunk", {{"self", x}, {"chunks", int64_t{4}}}), "split-count");
  EXPECT_EQ(error_of("aten::unbind.int", {{"self", x}}), "split-count");
  EXPECT_EQ(error_of("aten::split_with_sizes", {{"self", x}, {"split_sizes", Dims{4, graph.symbol(0) - 4}}}), "split-sizes");
  const Value map = graph.add_input({DType::f32, {1, 1, graph.symbol(0), 2}, {}}, "map");
  const auto resize = [&](const char* op, std::vector<double> factors) {
    return error_of(op, {{"input", map}, {"align_corners", false}, {"scale_factors", std::move(factors)}});
  };
  EXPECT_EQ(resize("aten::_upsample_bilinear2d_aa.vec", {0.5, 1}), "resample-antialias");
  EXPECT_EQ(resize("aten::upsample_bilinear2d.vec", {0.1, 1}), "upsample-size");
}

TEST(Spellings, AreRead) {
  const auto s = parse_spellings("aten::softmax.int(self=x, dim=axis, dtype=!); aten::exp(self=x)");
  ASSERT_EQ(s.size(), 2u);
  EXPECT_EQ(s[0].op, "aten::softmax.int");
  ASSERT_EQ(s[0].args.size(), 3u);
  EXPECT_EQ(s[0].args[1].first, "dim");
  EXPECT_EQ(s[0].args[1].second, "axis");
  EXPECT_EQ(s[1].op, "aten::exp");
}

TEST(Spellings, InPlaceNamesAreThoseOfTheirTwins) {
  EXPECT_TRUE(is_importable("aten::add_.Tensor"));
  EXPECT_TRUE(is_importable("aten::relu_"));
  EXPECT_TRUE(is_importable("aten::__and__.Tensor"));
  EXPECT_TRUE(is_importable("aten::__iand__.Tensor"));
  EXPECT_FALSE(is_importable("aten::__is__"));
  EXPECT_FALSE(is_importable("aten::no_such_op_"));
}

/// Every field that a spelling names exists; the numerics tests then run it.
TEST(Spellings, NameFields) {
  for (const OpInfo* op : all_ops()) {
    for (const Spelling& s : parse_spellings(op->spec->torch)) {
      EXPECT_TRUE(is_importable(s.op)) << s.op;
      for (const auto& [arg, field] : s.args) {
        const auto& p = op->spec->signature.params;
        EXPECT_TRUE(field == "!" || field == "_" ||
                    std::find(p.begin(), p.begin() + op->spec->signature.count, field) != p.begin() + op->spec->signature.count)
            << op->name() << " has no field " << field;
      }
    }
  }
}

TEST(Spellings, DtypesAreTorchs) {
  for (int64_t code : {0, 1, 2, 3, 4, 5, 6, 7, 11, 15}) {
    ASSERT_TRUE(dtype_from_torch(code)) << code;
    EXPECT_EQ(dtype_to_torch(*dtype_from_torch(code)), code);
  }
  EXPECT_FALSE(dtype_from_torch(9));
}

}  // namespace
}  // namespace mica
