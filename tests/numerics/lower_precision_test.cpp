// --precision bf16 on programs of f32: LibTorch with the program in bf16 is the yardstick, fp64 the judge.
#include "judge.h"

namespace mica::numerics {
namespace {

struct Case {
  std::string_view name, inputs, weights, body;
};

constexpr Case all_cases[] = {
    {"conv_3x3", "x=f32[1, 32, 14, 13]", "w=f32[48, 32, 3, 3], b=f32[48]", "return torch.relu(torch.conv2d(x, w, b, [1, 1], [1, 1]))"},
    {"conv_image", "x=f32[1, 3, 33, 32]", "w=f32[16, 3, 7, 7], b=f32[16]", "return torch.conv2d(x, w, b, [2, 2], [3, 3])"},
    {"conv_odd_channels", "x=f32[2, 37, 9, 7]", "w=f32[19, 37, 3, 3]",
     "h = torch.conv2d(torch.tanh(x), w, None, [1, 1], [1, 1]); return torch.gelu(h)"},
    {"conv_1x1_residual", "x=f32[1, 64, 8, 8]", "w=f32[64, 64, 1, 1]", "h = torch.tanh(x); return torch.relu(torch.conv2d(h, w) + h)"},
    {"conv_stride_dilation", "x=f32[1, 16, 15, 14]", "w=f32[24, 16, 3, 3], b=f32[24]", "return torch.conv2d(x, w, b, [2, 1], [2, 2], [2, 2])"},
    {"conv_groups", "x=f32[1, 24, 8, 8]", "w=f32[36, 8, 3, 3]", "return torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 3)"},
    {"conv_depthwise", "x=f32[1, 33, 10, 9]", "w=f32[33, 1, 3, 3], v=f32[20, 33, 1, 1]",
     "return torch.conv2d(torch.hardswish(torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 33)), v)"},
    {"conv_two", "x=f32[1, 8, 12, 12]", "w=f32[32, 8, 3, 3], v=f32[16, 32, 3, 3]",
     "h = torch.relu(torch.conv2d(x, w, None, [1, 1], [1, 1])); return torch.max_pool2d(torch.conv2d(h, v, None, [1, 1], [1, 1]), [2, 2])"},
    {"conv_mean_scale", "x=f32[1, 16, 7, 7]", "w=f32[40, 16, 3, 3]",
     "y = torch.conv2d(x, w, None, [1, 1], [1, 1]); return y * torch.sigmoid(y.mean([2, 3], True))"},
    {"conv_transpose", "x=f32[1, 12, 5, 6]", "w=f32[12, 10, 3, 3]", "return torch.conv_transpose2d(x, w, None, [2, 2], [1, 1])"},
    {"conv_1d", "x=f32[2, 7, 40]", "w=f32[9, 7, 5]", "return torch.conv1d(x, w, None, [1], [2])"},
    {"linear", "x=f32[5, 64]", "w=f32[33, 64], b=f32[33]", "return torch.linear(x, w, b)"},
    {"linear_odd", "x=f32[3, 7, 101]", "w=f32[20, 101], b=f32[20]", "return torch.linear(x, w, b)"},
    {"linear_one", "x=f32[4, 1]", "w=f32[20, 1]", "return torch.linear(x, w)"},
    {"linear_three", "x=f32[1, 3]", "w=f32[70, 3], b=f32[70]", "return torch.linear(x, w, b)"},
    {"linear_long", "x=f32[2, 5000]", "w=f32[17, 5000]", "return torch.linear(x, w)"},
    {"linear_row", "x=f32[1, 771]", "w=f32[130, 771]", "return torch.linear(x, w)"},
    {"linear_chains", "x=f32[50, 700]", "w=f32[43, 700], b=f32[43]", "return torch.relu(torch.linear(x, w, b))"},
    {"linear_odd_chains", "x=f32[23, 523]", "w=f32[18, 523]", "return torch.linear(x, w)"},
    {"conv_chains", "x=f32[1, 70, 9, 11]", "w=f32[35, 70, 3, 3]", "return torch.conv2d(x, w, None, [2, 2], [1, 1])"},
    {"conv_gated", "x=f32[2, 16, 14, 14]", "w=f32[24, 16, 3, 3], v=f32[33, 24, 1, 1]",
     "y = torch.relu(torch.conv2d(x, w, None, [1, 1], [1, 1])); return torch.conv2d(y * torch.sigmoid(y.mean([2, 3], True)), v)"},
    {"feed_forward", "x=f32[2, 9, 48]", "w=f32[96, 48], b=f32[96], v=f32[48, 96], g=f32[48], c=f32[48]",
     "h = torch.linear(torch.gelu(torch.linear(x, w, b)), v); return torch.layer_norm(x + h, [48], g, c)"},
    {"layer_norm_first", "x=f32[9, 40] in 3..5", "g=f32[40], b=f32[40], w=f32[24, 40]", "return torch.linear(torch.layer_norm(x, [40], g, b), w)"},
    {"softmax_of_linear", "x=f32[6, 32]", "w=f32[50, 32]", "return torch.softmax(torch.linear(x, w), -1)"},
    {"attention", "x=f32[2, 4, 11, 16]", "w=f32[16, 16]", "q = torch.linear(x, w); return torch.scaled_dot_product_attention(q, x, q)"},
    {"attention_mask", "x=f32[1, 3, 17, 24], m=f32[17, 17]", "w=f32[24, 24]",
     "q = torch.linear(x, w); return torch.scaled_dot_product_attention(q, q, x, m)"},
    {"linear_32_rows", "x=f32[32, 64]", "w=f32[32, 64], b=f32[32]", "return torch.linear(x, w, b)"},
    {"linear_33_rows", "x=f32[33, 66]", "w=f32[33, 66], b=f32[33]", "return torch.relu(torch.linear(x, w, b))"},
    {"linear_31_rows", "x=f32[31, 62]", "w=f32[31, 62]", "return torch.linear(x, w)"},
    {"linear_17_rows", "x=f32[17, 127]", "w=f32[65, 127]", "return torch.linear(x, w)"},
    {"linear_197_rows", "x=f32[1, 197, 96]", "w=f32[112, 96], b=f32[112]", "y = torch.gelu(torch.linear(x, w, b)); return y + torch.tanh(y)"},
    {"conv_map_7x7", "x=f32[1, 64, 7, 7]", "w=f32[48, 64, 3, 3], v=f32[80, 48, 1, 1]",
     "return torch.conv2d(torch.relu(torch.conv2d(x, w, None, [1, 1], [1, 1])), v)"},
    {"conv_map_1x1", "x=f32[3, 120, 1, 1]", "w=f32[131, 120, 1, 1]", "return torch.conv2d(x, w)"},
    {"conv_prime", "x=f32[1, 67, 13, 11]", "w=f32[71, 67, 3, 3]", "return torch.conv2d(x, w, None, [1, 1], [1, 1])"},
    {"conv_stride_1x1", "x=f32[1, 48, 14, 14]", "w=f32[64, 48, 1, 1], b=f32[64]", "return torch.conv2d(x, w, b, [2, 2])"},
    {"conv_groups_wide", "x=f32[1, 96, 9, 9]", "w=f32[64, 48, 3, 3]", "return torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 2)"},
    {"conv_plane_bands", "x=f32[2, 64, 29, 31]", "w=f32[80, 64, 3, 3], b=f32[80]",
     "h = torch.tanh(x); return torch.relu(torch.conv2d(h, w, b, [1, 1], [1, 1]) + torch.conv2d(h, w, b, [1, 1], [1, 1]))"},
    {"conv_plane_large", "x=f32[1, 32, 113, 57]", "w=f32[32, 32, 3, 3]", "return torch.conv2d(torch.relu(x), w, None, [1, 1], [1, 1])"},
    {"conv_plane_dilated", "x=f32[1, 32, 19, 17]", "w=f32[48, 32, 3, 3]", "return torch.conv2d(x, w, None, [1, 1], [3, 2], [3, 2])"},
    {"conv_plane_wide_padding", "x=f32[1, 48, 6, 5]", "w=f32[33, 48, 3, 3]", "return torch.conv2d(x, w, None, [1, 1], [4, 5])"},
    {"conv_plane_valid", "x=f32[1, 32, 35, 35]", "w=f32[64, 32, 3, 3]", "return torch.conv2d(x, w)"},
    {"conv_plane_column", "x=f32[1, 96, 17, 17]", "w=f32[64, 96, 7, 1]", "return torch.conv2d(x, w, None, [1, 1], [3, 0])"},
    {"conv_plane_row", "x=f32[1, 96, 17, 17]", "w=f32[64, 96, 1, 7]", "return torch.conv2d(x, w, None, [1, 1], [0, 3])"},
    {"conv_plane_row_padded", "x=f32[2, 32, 14, 16]", "w=f32[2, 16, 1, 2]", "return torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 2)"},
    {"conv_plane_column_padded", "x=f32[1, 32, 14, 16]", "w=f32[48, 32, 3, 1]", "return torch.conv2d(x, w, None, [1, 1], [2, 1])"},
    {"attention_197", "x=f32[1, 2, 197, 32]", "w=f32[32, 32]", "q = torch.linear(x, w); return torch.scaled_dot_product_attention(q, x, q)"},
    {"attention_causal", "x=f32[2, 3, 49, 64]", "w=f32[64, 64]",
     "q = torch.linear(x, w); return torch.scaled_dot_product_attention(q, x, q, None, 0.0, True)"},
    {"attention_key_1", "x=f32[3, 20, 32], y=f32[3, 1, 32]", "", "return torch.scaled_dot_product_attention(x, y, y)"},
    {"attention_keys_50", "x=f32[1, 2, 50, 17], m=bool[50, 50]", "w=f32[33, 17]",
     "return torch.scaled_dot_product_attention(x, x * 2, torch.linear(x, w), m)"},
    {"attention_of_windows", "x=f32[8, 49, 96]", "w=f32[288, 96], b=f32[288], a=f32[1, 3, 49, 49], m=f32[4, 49, 49]",
     "q, k, v = torch.linear(x, w, b).view(8, 49, 3, 3, 32).permute(2, 0, 3, 1, 4).unbind(0); s = torch.matmul(q * 0.1, k.transpose(-2, -1)) + a; s "
     "= "
     "(s.view(2, 4, 3, 49, 49) + m.unsqueeze(1).unsqueeze(0)).view(-1, 3, 49, 49); return torch.softmax(s, "
     "-1).matmul(v).transpose(1, 2).reshape(8, 49, 96)"},
    {"attention_masked_rows", "q=f32[3, 20, 32], k=f32[3, 33, 32], v=f32[3, 33, 40], m=bool[3, 20, 33]", "",
     "z = torch.matmul(q, k.transpose(1, 2)).masked_fill(m, float(\"-inf\")); return torch.matmul(torch.softmax(z, -1), v)"},
    {"matmul_odd", "x=f32[3, 7, 13], y=f32[3, 13, 21]", "", "return torch.matmul(x, y)"},
    {"matmul_transposed", "x=f32[2, 7, 16], y=f32[2, 9, 16]", "", "return torch.matmul(x, y.transpose(1, 2))"},
    {"matmul_broadcast", "x=f32[4, 1, 5, 6], y=f32[3, 6, 70]", "", "return torch.matmul(x, y)"},
    {"cat_of_two", "x=f32[5, 16]", "w=f32[8, 16]", "y = torch.linear(x, w); return torch.cat([y, x, torch.tanh(y)], 1)"},
    {"two_outputs", "x=f32[5, 16]", "w=f32[8, 16]", "y = torch.linear(x, w); return (y, torch.sort(y)[0], x + 1)"},
    {"one_value_two_readers", "x=f32[5, 16]", "w=f32[16, 16]",
     "y = torch.relu(torch.linear(x, w)); return torch.linear(y, w) + torch.linear(torch.exp(-y), w) + y"},
    {"no_contraction", "x=f32[5, 16]", "", "return torch.softmax(x * 3, -1)"},
    {"recurrent", "x=f32[6, 1, 20]", "i=f32[32, 20], h=f32[32, 8], b=f32[32], c=f32[32]",
     "s = torch.zeros([1, 1, 8]); return torch.lstm(x, [s, s], [i, h, b, c], True, 1, 0., False, False, False)[0]"},
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class LowerPrecision : public Judged, public testing::WithParamInterface<Case> {
 protected:
  void judge_case() {
    const Case& c = GetParam();
    const auto inputs = parse_sample_inputs(c.inputs, diagnostics), weights = parse_sample_inputs(c.weights, diagnostics);
    ASSERT_TRUE(inputs && weights) << diagnostics.to_string();
    judge_program(*inputs, *weights, c.body, fmt::format("precision_{}", c.name), 5);
  }
};

TEST_P(LowerPrecision, native) {
  judge_case();
  expect_compiled({.precision = "bf16"});
}
TEST_P(LowerPrecision, avx2) {
  judge_case();
  expect_compiled({.cpu = "x86-64-v3", .precision = "bf16"});
}
TEST_P(LowerPrecision, no_schedules) {
  judge_case();
  expect_compiled({.schedules = false, .precision = "bf16"});
}
TEST_P(LowerPrecision, guarded) {
  judge_case();
  expect_compiled({.precision = "bf16", .memory = DebugMemory::behind});
}

INSTANTIATE_TEST_SUITE_P(all, LowerPrecision, testing::ValuesIn(all_cases), [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mica::numerics
