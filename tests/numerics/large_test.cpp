// Sizes that reach the schedules, their tails and several threads, and fused chains: compiled, against LibTorch.
#include "judge.h"

namespace mica::numerics {
namespace {

struct Program {
  std::string_view name, inputs, body;  ///< body: the lines of forward, "y = ...; return y" separated by ';'
};

constexpr Program all_programs[] = {
    {"conv_3x3", "x=f32[1, 64, 28, 28] in -1..1, w=f32[64, 64, 3, 3] in -1..1, b=f32[64]", "return torch.conv2d(x, w, b, [1, 1], [1, 1])"},
    {"conv_3x3_relu_add", "x=f32[2, 32, 14, 14] in -1..1, w=f32[48, 32, 3, 3] in -1..1, b=f32[48], r=f32[2, 48, 14, 14]",
     "return torch.relu(torch.conv2d(x, w, b, [1, 1], [1, 1]) + r)"},
    {"conv_1x1", "x=f32[1, 96, 14, 14] in -1..1, w=f32[70, 96, 1, 1] in -1..1", "return torch.conv2d(x, w)"},
    {"conv_1x1_stride", "x=f32[1, 64, 15, 15] in -1..1, w=f32[130, 64, 1, 1] in -1..1", "return torch.conv2d(x, w, None, [2, 2])"},
    {"conv_stem", "x=f32[1, 3, 64, 64] in -1..1, w=f32[32, 3, 7, 7] in -1..1, b=f32[32]",
     "return torch.max_pool2d(torch.relu(torch.conv2d(x, w, b, [2, 2], [3, 3])), [3, 3], [2, 2], [1, 1])"},
    {"conv_patches", "x=f32[1, 3, 64, 64] in -1..1, w=f32[96, 3, 16, 16] in -1..1, b=f32[96]",
     "return torch.conv2d(x, w, b, [16, 16]).flatten(2).transpose(1, 2)"},
    {"conv_dilated", "x=f32[1, 24, 20, 20] in -1..1, w=f32[40, 24, 3, 3] in -1..1", "return torch.conv2d(x, w, None, [1, 1], [2, 2], [2, 2])"},
    {"conv_grouped", "x=f32[1, 32, 14, 14] in -1..1, w=f32[64, 8, 3, 3] in -1..1", "return torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 4)"},
    {"conv_depthwise_3", "x=f32[1, 72, 28, 28] in -1..1, w=f32[72, 1, 3, 3] in -1..1, b=f32[72]",
     "return torch.silu(torch.conv2d(x, w, b, [1, 1], [1, 1], [1, 1], 72))"},
    {"conv_depthwise_5_stride", "x=f32[1, 40, 29, 29] in -1..1, w=f32[40, 1, 5, 5] in -1..1",
     "return torch.conv2d(x, w, None, [2, 2], [2, 2], [1, 1], 40)"},
    {"conv_depthwise_7", "x=f32[2, 96, 14, 14] in -1..1, w=f32[96, 1, 7, 7] in -1..1, b=f32[96]",
     "return torch.conv2d(x, w, b, [1, 1], [3, 3], [1, 1], 96)"},
    {"conv_1xn", "x=f32[1, 32, 17, 17] in -1..1, w=f32[48, 32, 1, 7] in -1..1", "return torch.conv2d(x, w, None, [1, 1], [0, 3])"},
    {"conv_chain", "x=f32[1, 16, 20, 20] in -1..1, a=f32[32, 16, 3, 3] in -1..1, b=f32[16, 32, 1, 1] in -1..1",
     "y = torch.relu(torch.conv2d(x, a, None, [1, 1], [1, 1])); return torch.conv2d(y, b) + x"},
    {"conv_1d", "x=f32[1, 40, 200] in -1..1, w=f32[64, 40, 3] in -1..1, b=f32[64]", "return torch.gelu(torch.conv1d(x, w, b, [1], [1]))"},
    {"conv_3d", "x=f32[1, 8, 6, 12, 12] in -1..1, w=f32[16, 8, 3, 3, 3] in -1..1", "return torch.conv3d(x, w, None, [1, 1, 1], [1, 1, 1])"},
    {"conv_f16", "x=f16[1, 32, 14, 14] in -1..1, w=f16[32, 32, 3, 3] in -1..1", "return torch.conv2d(x, w, None, [1, 1], [1, 1])"},
    {"conv_transpose", "x=f32[1, 32, 10, 10] in -1..1, w=f32[32, 24, 4, 4] in -1..1, b=f32[24]",
     "return torch.conv_transpose2d(x, w, b, [2, 2], [1, 1])"},
    {"linear", "x=f32[128, 768] in -1..1, w=f32[300, 768] in -1..1, b=f32[300]", "return torch.linear(x, w, b)"},
    {"linear_gelu", "x=f32[1, 50, 96] in -1..1, w=f32[384, 96] in -1..1, b=f32[384]", "return torch.gelu(torch.linear(x, w, b))"},
    {"linear_row", "x=f32[1, 2048] in -1..1, w=f32[1000, 2048] in -1..1, b=f32[1000]", "return torch.linear(x, w, b)"},
    {"linear_residual", "x=f32[64, 256] in -1..1, w=f32[256, 256] in -1..1, r=f32[64, 256]", "return torch.linear(x, w) + r"},
    {"linear_bf16", "x=bf16[17, 200] in -1..1, w=bf16[33, 200] in -1..1", "return torch.linear(x, w)"},
    {"matmul_square", "a=f32[200, 300] in -1..1, b=f32[300, 150] in -1..1", "return torch.matmul(a, b)"},
    {"matmul_batched", "a=f32[12, 50, 64] in -1..1, b=f32[12, 64, 50] in -1..1", "return torch.matmul(a, b)"},
    {"matmul_transposed", "a=f32[12, 50, 64] in -1..1, b=f32[12, 50, 64] in -1..1", "return torch.matmul(a, b.transpose(1, 2)) * 0.125"},
    {"attention", "q=f32[1, 4, 65, 32], k=f32[1, 4, 65, 32], v=f32[1, 4, 65, 32]", "return torch.scaled_dot_product_attention(q, k, v)"},
    {"attention_causal", "q=f32[2, 3, 40, 64], k=f32[2, 3, 40, 64], v=f32[2, 3, 40, 64]",
     "return torch.scaled_dot_product_attention(q, k, v, None, 0.0, True)"},
    {"attention_projected", "x=f32[2, 33, 96] in -1..1, w=f32[288, 96] in -1..1, b=f32[288]",
     "q, k, v = torch.linear(x, w, b).view(2, 33, 3, 4, 24).permute(2, 0, 3, 1, 4).unbind(0); return torch.softmax(torch.matmul(q, k.transpose(-1, "
     "-2)) * 0.2, -1).matmul(v).transpose(1, 2).reshape(2, 33, 96)"},
    {"attention_key_1", "q=f32[2, 18, 24], k=f32[2, 1, 24], v=f32[2, 1, 24]", "return torch.scaled_dot_product_attention(q, k, v)"},
    {"attention_keys_7", "q=f32[2, 3, 20, 13], k=f32[2, 3, 7, 13], v=f32[2, 3, 7, 5], m=f32[20, 7]",
     "return torch.scaled_dot_product_attention(q, k, v, m, 0.0, False, scale=0.4)"},
    {"attention_keys_49", "q=f32[1, 3, 49, 32], k=f32[1, 3, 49, 32], v=f32[1, 3, 49, 32], m=bool[1, 1, 49, 49]",
     "return torch.scaled_dot_product_attention(q, k, v, m)"},
    {"attention_keys_50", "q=f32[1, 50, 2, 17], k=f32[1, 50, 2, 17], v=f32[1, 50, 2, 33]",
     "return torch.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)"},
    {"attention_of_windows", "x=f32[8, 49, 96] in -1..1, w=f32[288, 96] in -1..1, b=f32[288], a=f32[1, 3, 49, 49], m=f32[4, 49, 49]",
     "q, k, v = torch.linear(x, w, b).view(8, 49, 3, 3, 32).permute(2, 0, 3, 1, 4).unbind(0); s = torch.matmul(q * 0.1, k.transpose(-2, -1)) + a; s "
     "= "
     "(s.view(2, 4, 3, 49, 49) + m.unsqueeze(1).unsqueeze(0)).view(-1, 3, 49, 49); return torch.softmax(s, "
     "-1).matmul(v).transpose(1, 2).reshape(8, 49, 96)"},
    {"attention_masked_rows", "q=f64[3, 20, 8], k=f64[3, 33, 8], v=f64[3, 33, 8], m=bool[3, 1, 33]",
     "z = torch.matmul(q, k.transpose(1, 2)).masked_fill(m, float(\"-inf\")); return torch.matmul(torch.softmax(z, -1), v), "
     "torch.scaled_dot_product_attention(q, k, v, torch.zeros_like(z) > 1)"},
    {"softmax_rows", "x=f32[300, 197]", "return torch.softmax(x, -1)"},
    {"softmax_columns", "x=f32[197, 50]", "return torch.softmax(x, 0)"},
    {"log_softmax_long", "x=f32[3, 5000]", "return torch.log_softmax(x, -1)"},
    {"layer_norm", "x=f32[130, 768], w=f32[768], b=f32[768], r=f32[130, 768]", "return torch.layer_norm(x + r, [768], w, b, 1e-6)"},
    {"group_norm", "x=f32[2, 32, 14, 14], w=f32[32], b=f32[32]", "return torch.silu(torch.group_norm(x, 8, w, b))"},
    {"group_norm_wide_groups", "x=f32[2, 160, 9, 7], w=f32[160], b=f32[160]", "return torch.group_norm(x, 2, w, b), torch.group_norm(x, 1, w)"},
    {"group_norm_far_from_zero", "x=f32[1, 12, 20, 11] in 100..101",
     "return torch.group_norm(x, 4), torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False)"},
    {"group_norm_behind_conv", "x=f32[1, 3, 17, 13], k=f32[48, 3, 3, 3] in -1..1, w=f32[48], b=f32[48], p=f32[8, 48, 1, 1] in -1..1",
     "return torch.conv2d(torch.silu(torch.group_norm(torch.conv2d(x, k), 8, w, b)), p)"},
    {"batch_norm_relu", "x=f32[2, 37, 14, 14], w=f32[37], b=f32[37], m=f32[37], v=f32[37] in 0.5..2",
     "return torch.relu(torch.batch_norm(x, w, b, m, v, False, 0.1, 1e-5, False))"},
    {"squeeze_excite", "x=f32[1, 48, 14, 14], a=f32[12, 48, 1, 1] in -1..1, b=f32[48, 12, 1, 1] in -1..1",
     "s = torch.adaptive_avg_pool2d(x, [1, 1]); return x * torch.sigmoid(torch.conv2d(torch.relu(torch.conv2d(s, a)), b))"},
    {"squeeze_excite_projected",
     "x=f32[2, 40, 14, 15] in -1..1, w=f32[40, 1, 3, 3] in -1..1, a=f32[12, 40, 1, 1] in -1..1, b=f32[40, 12, 1, 1] in -1..1, p=f32[24, 40, 1, 1] in "
     "-1..1, m=f32[24]",
     "y = torch.silu(torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 40)); g = torch.sigmoid(torch.conv2d(torch.relu(torch.conv2d("
     "torch.adaptive_avg_pool2d(y, [1, 1]), a)), b)); z = torch.conv2d(y * g, p, m); return z, torch.hardswish(z) + 1"},
    {"gate_of_all_images", "x=f32[3, 33, 9, 16] in -1..1, g=f32[1, 33, 1, 1] in -1..1, p=f32[16, 33, 1, 1] in -1..1",
     "return torch.relu(torch.conv2d(g * torch.tanh(x), p))"},
    {"gate_in_f64", "x=f64[2, 20, 8, 8] in -1..1, g=f64[2, 20, 1, 1] in -1..1, p=f64[7, 20, 1, 1] in -1..1",
     "return torch.conv2d(torch.tanh(x) * g, p)"},
    {"gate_along_one_axis", "x=f32[2, 300, 200] in -1..1, g=f32[2, 300, 1] in -1..1, p=f32[40, 300, 1] in -1..1",
     "return torch.conv1d(torch.tanh(x) * g, p)"},
    {"gated_value_read_twice", "x=f32[1, 24, 12, 12] in -1..1, g=f32[1, 24, 1, 1] in -1..1, p=f32[8, 24, 1, 1] in -1..1",
     "y = torch.tanh(x) * g; return torch.conv2d(y, p), y"},
    {"gate_before_a_stride", "x=f32[1, 24, 13, 12] in -1..1, g=f32[1, 24, 1, 1] in -1..1, p=f32[8, 24, 1, 1] in -1..1",
     "return torch.conv2d(torch.tanh(x) * g, p, None, [2, 2]), torch.conv2d(torch.exp(x) * g, p, None, [1, 1], [1, 1])"},
    {"places_summed_up", "x=f32[2, 70, 20, 19] in -1..1, w=f32[70, 1, 5, 5] in -1..1",
     "y = torch.conv2d(x, w, None, [2, 2], [2, 2], [1, 1], 70); return y, y.mean([2, 3]), y.sum([2, 3], True), y.mean([0, 2, 3]), y.sum([3])"},
    {"pool_all", "x=f32[2, 64, 7, 7]", "return torch.adaptive_avg_pool2d(x, [1, 1]).flatten(1)"},
    {"pool_avg", "x=f32[1, 40, 17, 17]", "return torch.avg_pool2d(x, [3, 3], [1, 1], [1, 1])"},
    {"pool_max_channels", "x=f32[1, 65, 35, 35]", "return torch.max_pool2d(x, [3, 3], [2, 2])"},
    {"sum_all", "x=f32[100, 1000]", "return x.sum() + x.mean()"},
    {"sum_columns", "x=f32[1000, 70]", "return x.sum([0])"},
    {"mean_middle", "x=f32[3, 100, 40]", "return x.mean([1], True)"},
    {"var_rows", "x=f32[50, 1000] in 9..11", "return torch.var(x, [1])"},
    {"argmax_rows", "x=f32[40, 1000]", "return torch.argmax(x, 1)"},
    {"cat_channels", "x=f32[1, 20, 14, 14], y=f32[1, 33, 14, 14]", "return torch.relu(torch.cat([x, y, x * 2], 1))"},
    {"permute_chain", "x=f32[2, 30, 17, 40]", "return x.permute(0, 2, 3, 1).reshape(2, -1, 30).transpose(1, 2).contiguous() + 1"},
    {"windows", "x=f32[2, 16, 16, 24]",
     "y = torch.roll(x, [-2, -2], [1, 2]).view(2, 4, 4, 4, 4, 24).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 24); return torch.softmax(y, -1)"},
    {"embedding_sum", "w=f32[1000, 96], i=i64[2, 50] in 0..1000, p=f32[50, 96]", "return torch.embedding(w, i) + p"},
    {"upsample", "x=f32[1, 24, 13, 17]", "return torch.upsample_bilinear2d(x, [26, 40], False)"},
    {"pointwise_broadcast", "x=f32[7, 1, 130], y=f32[33, 1], z=f32[130]", "return torch.tanh(x * y + z) * torch.exp(-torch.abs(x))"},
    {"pointwise_f16", "x=f16[33, 130], y=f16[130]", "return torch.sigmoid(x) * y + 0.1"},
    {"in_place_windows", "x=f32[1, 3, 20, 20]", "y = torch.zeros([1, 3, 24, 24]); y[:, :, 2:22, 2:22] = x; y[:, 0] += 1; return y * 2"},
    {"two_results", "x=f32[64, 100], w=f32[50, 100]", "h = torch.relu(torch.linear(x, w)); return h, h.sum([1]), torch.softmax(h, -1)"},
};

class Large : public Judged, public testing::WithParamInterface<Program> {};
void PrintTo(const Program& p, std::ostream* out) { *out << p.body; }

TEST_P(Large, Compiled) {
  const auto inputs = parse_sample_inputs(GetParam().inputs, diagnostics);
  ASSERT_TRUE(inputs) << diagnostics.to_string();
  judge_program(*inputs, {}, GetParam().body, std::string(GetParam().name), 3);
  if (!HasFailure()) expect_compiled();
}

/// The same with all but activations as parameters, as real models have it: weights are packed, batch norm is folded.
TEST_P(Large, CompiledWithWeights) {
  auto all = parse_sample_inputs(GetParam().inputs, diagnostics);
  ASSERT_TRUE(all) << diagnostics.to_string();
  std::vector<SampleInput> inputs, weights;
  const bool product = GetParam().name.starts_with("matmul") || (GetParam().name.starts_with("attention") && !GetParam().inputs.starts_with("x="));
  for (const SampleInput& in : *all)
    (!product && std::string_view("wbampv").find(in.name) != std::string_view::npos ? weights : inputs).push_back(in);
  if (weights.empty()) GTEST_SKIP() << "has no weights";
  judge_program(inputs, weights, GetParam().body, fmt::format("{}_weights", GetParam().name), 3);
  if (!HasFailure()) expect_compiled();
}

INSTANTIATE_TEST_SUITE_P(programs, Large, testing::ValuesIn(all_programs), [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mica::numerics
