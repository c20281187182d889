// Operands that do not fit: each is refused with a named error, never a crash.
#include <gtest/gtest.h>

#include <algorithm>

#include "mica/ops/control.h"
#include "mica/ops/detection.h"
#include "mica/ops/measure.h"
#include "mica/ops/sample.h"

namespace mica {
namespace {

struct Wrong {
  std::string_view op, sample, error;
};

constexpr Wrong all_wrong[] = {
    {"add", "x=f32[2, 3], y=f32[4]", "broadcast-mismatch"},
    {"select_at", "x=f32[3], index=i64[2] in 0..3", "index-rank"},
    {"select_at", "x=f32[3], index=f32[]", "index-dtype"},
    {"update_at", "x=f32[3, 2], row=f32[3], index=i64[] in 0..3", "row-type"},
    {"update_at", "x=f32[3, 2], row=f32[2], index=i64[] in 0..3, axis=2", "axis-out-of-range"},
    {"sub", "x=bool[2], y=bool[2]", "sub-on-bool"},
    {"bitwise_and", "x=f32[2], y=i64[2]", "bitwise-on-float"},
    {"softmax", "x=f32[2, 3], axis=2", "axis-out-of-range"},
    {"softmax", "x=i64[2, 3]", "needs-float"},
    {"sum", "x=f32[2, 3], axes=[1, -1]", "axis-twice"},
    {"amax", "x=f32[2, 0], axes=[1]", "reduce-empty"},
    {"argmax", "x=f32[2, 0], axis=1", "reduce-empty"},
    {"mean", "x=i64[2], axes=[0]", "needs-float"},
    {"matmul", "a=f32[2, 3], b=f32[4, 5]", "matmul-mismatch"},
    {"matmul", "a=f32[3], b=f32[3, 5]", "needs-matrix"},
    {"matmul", "a=f32[2, 3], b=f16[3, 5]", "dtype-mismatch"},
    {"linear", "x=f32[2, 3], weight=f32[5, 4]", "linear-mismatch"},
    {"linear", "x=f32[2, 3], weight=f32[5, 3], bias=f32[4]", "linear-bias"},
    {"lstm_scan", "x=f32[3, 2, 8], h=f32[2, 2], c=f32[2, 3], weight=f32[8, 2]", "rnn-mismatch"},
    {"lstm_scan", "x=f32[3, 2, 12], h=f32[2, 2], c=f32[2, 3], weight=f32[12, 2]", "rnn-mismatch"},
    {"lstm_scan", "x=f32[0, 2, 8], h=f32[2, 2], c=f32[2, 2], weight=f32[8, 2]", "rnn-empty"},
    {"gru_scan", "x=f32[3, 2, 6], h=f64[2, 2], weight=f32[6, 2]", "dtype-mismatch"},
    {"gru_scan", "x=f32[3, 2, 6], h=f32[2, 2], weight=f32[6, 2], bias=f32[2]", "rnn-mismatch"},
    {"rnn_scan", "x=f32[3, 2], h=f32[2, 2], weight=f32[2, 2]", "rnn-mismatch"},
    {"rnn_scan", "x=f32[3, 2, 2], h=f32[2, 2], weight=i64[2, 2]", "needs-float"},
    {"conv", "x=f32[1, 3, 8, 8], weight=f32[4, 4, 3, 3], stride=[1, 1], padding=[0, 0], dilation=[1, 1]", "conv-channel-mismatch"},
    {"conv", "x=f32[1, 3, 2, 2], weight=f32[4, 3, 3, 3], stride=[1, 1], padding=[0, 0], dilation=[1, 1]", "conv-kernel-too-large"},
    {"conv", "x=f32[1, 3, 8, 8], weight=f32[4, 3, 3, 3], stride=[1], padding=[0, 0], dilation=[1, 1]", "conv-attributes"},
    {"conv", "x=f32[1, 3, 8, 8], weight=f32[4, 3, 3, 3], stride=[0, 1], padding=[0, 0], dilation=[1, 1]", "conv-attributes"},
    {"conv", "x=f32[1, 3, 8, 8], weight=f32[4, 3, 3, 3], stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=2", "conv-groups"},
    {"conv", "x=f32[3, 8], weight=f32[4, 3], stride=[], padding=[], dilation=[]", "conv-rank"},
    {"max_pool", "x=f32[1, 3, 8, 8], kernel=[2, 2], stride=[2, 2], padding=[2, 2], dilation=[1, 1]", "pool-padding"},
    {"max_pool", "x=f32[1, 3, 2, 2], kernel=[3, 3], stride=[2, 2], padding=[0, 0], dilation=[1, 1]", "pool-kernel-too-large"},
    {"max_pool", "x=f32[1, 3, 2, 2], kernel=[2, 2], stride=[0, 2], padding=[0, 0], dilation=[1, 1]", "pool-attributes"},
    {"max_pool", "x=f32[3], kernel=[2, 2], stride=[2, 2], padding=[0, 0], dilation=[1, 1]", "pool-rank"},
    {"adaptive_avg_pool", "x=f32[1, 3, 0, 2], size=[1, 1]", "pool-empty"},
    {"batch_norm", "x=f32[2, 3], mean=f32[4], var=f32[3]", "norm-parameter"},
    {"batch_norm", "x=f32[3], mean=f32[3], var=f32[3]", "norm-rank"},
    {"layer_norm", "x=f32[3], axes=2", "norm-axes"},
    {"group_norm", "x=f32[2, 6], groups=4", "norm-groups"},
    {"scaled_dot_product_attention", "query=f32[2, 3, 4], key=f32[2, 3, 5], value=f32[2, 3, 5]", "attention-mismatch"},
    {"scaled_dot_product_attention", "query=f32[2, 3, 4], key=f32[2, 3, 4], value=f32[2, 3, 4], mask=f32[5]", "attention-mask"},
    {"scaled_dot_product_attention", "query=f32[1, 4, 3, 8], key=f32[1, 3, 3, 8], value=f32[1, 3, 3, 8], gqa=true", "attention-groups"},
    {"reshape", "x=f32[2, 3], shape=[4]", "reshape-elements"},
    {"reshape", "x=f32[2, 3], shape=[-2, -3]", "reshape-negative-size"},
    {"permute", "x=f32[2, 3], axes=[0]", "permute-rank"},
    {"expand", "x=f32[2, 3], shape=[2, 4]", "expand-mismatch"},
    {"expand", "x=f32[2, 3], shape=[-1, 2, 3]", "expand-negative-size"},
    {"slice", "x=f32[], start=0", "slice-of-scalar"},
    {"slice", "x=f32[3], step=0", "slice-step"},
    {"cat", "xs=[f32[2, 3], f32[2, 4]], axis=0", "cat-mismatch"},
    {"cat", "xs=[f32[], f32[]]", "cat-of-scalars"},
    {"cat", "xs=[]", "cat-of-nothing"},
    {"pad", "x=f32[3], before=[1, 2], after=[0, 0]", "pad-rank"},
    {"pad", "x=f32[3], before=[-4], after=[0]", "pad-amount"},
    {"reflection_pad", "x=f32[3], before=[3], after=[0]", "pad-amount"},
    {"roll", "x=f32[3], shifts=[1, 2], axes=[0]", "roll-mismatch"},
    {"tril", "x=f32[3]", "needs-matrix"},
    {"unfold", "x=f32[3], size=4", "unfold-window"},
    {"unfold", "x=f32[]", "unfold-of-scalar"},
    {"overlap_add", "x=f32[4, 3], size=3, step=2", "overlap-add-size"},
    {"slice_scatter", "x=f32[4], source=f32[3], start=2", "scatter-mismatch"},
    {"embedding", "weight=f32[4, 2], indices=f32[3]", "index-dtype"},
    {"embedding", "weight=f32[], indices=i64[3]", "embedding-weight"},
    {"index_select", "x=f32[4], index=i64[2, 2]", "index-rank"},
    {"gather", "x=f32[4, 2], axis=0, index=i64[3, 3]", "index-shape"},
    {"index", "x=f32[4], indices=[i64[2], i64[2]], axes=[0, 1]", "index-axes"},
    {"scatter", "x=f32[4], index=i64[2], source=i64[2]", "dtype-mismatch"},
    {"scatter", "x=f32[], index=i64[], source=f32[]", "scatter-of-scalar"},
    {"full", "shape=[-1], value=0", "negative-size"},
    {"arange", "count=2, dtype=bool", "arange-bool"},
    {"resample", "x=f32[2, 3], taps=f32[3, 1]", "resample-taps"},
    {"grid_sample", "x=f32[1, 2, 3, 4], grid=f32[1, 2, 3, 3]", "grid-shape"},
    {"grid_sample", "x=f32[1, 2, 3, 4], grid=f32[1, 2, 3, 2], mode=2", "grid-mode"},
    {"relu", "y=f32[2]", "sample-syntax"},
    {"relu", "x=f33[2]", "sample-syntax"},
    {"relu", "", "sample-syntax"},
};

TEST(InferErrors, AreNamed) {
  for (const Wrong& w : all_wrong) {
    SCOPED_TRACE(fmt::format("{}({})", w.op, w.sample));
    Diagnostics diagnostics;
    const OpInfo* op = find_op(w.op);
    ASSERT_NE(op, nullptr);
    EXPECT_FALSE(parse_sample(*op, w.sample, diagnostics));
    ASSERT_EQ(diagnostics.error_count(), 1u) << diagnostics.to_string();
    EXPECT_EQ(diagnostics.all()[0].name, w.error) << diagnostics.to_string();
  }
}

TEST(InferErrors, EveryOpHasSamples) {
  for (const OpInfo* op : all_ops()) {
    Diagnostics diagnostics;
    // A sample has no notation for regions, and a check has no result to compare: tests/unit/passes has programs of these.
    // The order that nms takes is a permutation, which a sample cannot draw: tests/numerics/nms_test.cpp.
    // What is measured stands in a graph with a symbol: tests/numerics/measured_test.cpp.
    const OpInfo* apart[] = {&op_info<If>, &op_info<Loop>, &op_info<Check>, &op_info<Nms>, &op_info<Measure>, &op_info<Nonzero>};
    if (std::ranges::find(apart, op) != std::end(apart)) continue;
    EXPECT_FALSE(op->spec->samples[1].empty()) << op->name() << " needs at least two samples";
    for (std::string_view text : op->spec->samples) {
      if (text.empty()) continue;
      EXPECT_TRUE(parse_sample(*op, text, diagnostics)) << diagnostics.to_string();
    }
  }
}

}  // namespace
}  // namespace mica
