// Convolutions in Winograd's form, compiled, against LibTorch: held to k = 8 where all else is held to 2.
#include "judge.h"

namespace mica::numerics {
namespace {

struct Case {
  std::string_view name, x, weight;
  std::string_view padding;
  std::string_view result = "y";
};

constexpr Case all_cases[] = {
    {"map_56", "[1, 64, 56, 56]", "[64, 64, 3, 3]", "1, 1"},
    {"map_28_relu", "[1, 128, 28, 28]", "[128, 128, 3, 3]", "1, 1", "torch.relu(y)"},
    {"map_7", "[1, 256, 7, 7]", "[256, 256, 3, 3]", "1, 1"},
    {"map_3", "[2, 32, 3, 3]", "[32, 32, 3, 3]", "1, 1"},
    {"row", "[1, 48, 1, 37]", "[40, 48, 3, 3]", "1, 1"},
    {"column", "[1, 40, 29, 2]", "[48, 40, 3, 3]", "1, 1"},
    {"prime_channels", "[3, 37, 13, 11]", "[61, 37, 3, 3]", "1, 1", "torch.gelu(y)"},
    {"few_channels", "[1, 5, 9, 10]", "[3, 5, 3, 3]", "1, 1"},
    {"no_padding", "[2, 24, 14, 15]", "[33, 24, 3, 3]", "0, 0"},
    {"one_result", "[1, 16, 3, 3]", "[16, 16, 3, 3]", "0, 0"},
    {"wide_padding", "[1, 16, 6, 5]", "[24, 16, 3, 3]", "2, 2"},
    {"residual", "[1, 64, 20, 20]", "[64, 64, 3, 3]", "1, 1", "torch.relu(y + h)"},
    {"channel_mean", "[1, 32, 12, 12]", "[32, 32, 3, 3]", "1, 1", "y * torch.sigmoid(y.mean([2, 3], True))"},
    {"flat", "[2, 32, 10, 9]", "[32, 32, 3, 3]", "1, 1", "torch.flatten(y, 2).transpose(1, 2)"},
    {"long_chains", "[1, 600, 9, 8]", "[64, 600, 3, 3]", "1, 1"},
    {"taps_1x7", "[1, 192, 17, 17]", "[192, 192, 1, 7]", "0, 3", "torch.relu(y)"},
    {"taps_7x1", "[2, 128, 17, 16]", "[160, 128, 7, 1]", "3, 0"},
    {"taps_7x1_unpadded", "[1, 20, 9, 5]", "[37, 20, 7, 1]", "0, 0"},
    {"taps_5x5", "[1, 48, 35, 35]", "[64, 48, 5, 5]", "2, 2", "torch.relu(y)"},
    {"taps_5x5_borders", "[2, 17, 6, 9]", "[19, 17, 5, 5]", "1, 3"},
    {"taps_1x3", "[1, 384, 8, 8]", "[384, 384, 1, 3]", "0, 1"},
    {"taps_3x1", "[1, 33, 7, 10]", "[40, 33, 3, 1]", "1, 0", "torch.relu(y + y)"},
    {"taps_5x3", "[1, 64, 11, 12]", "[32, 64, 5, 3]", "2, 1"},
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Winograd : public Judged, public testing::WithParamInterface<Case> {
 protected:
  void judge_case() {
    const Case& c = GetParam();
    const std::string_view outputs = c.weight.substr(1, c.weight.find(',') - 1);
    const auto inputs = parse_sample_inputs(fmt::format("x=f32{} in -1..1", c.x), diagnostics);
    const auto weights = parse_sample_inputs(fmt::format("w=f32{} in -1..1, b=f32[{}]", c.weight, outputs), diagnostics);
    ASSERT_TRUE(inputs && weights) << diagnostics.to_string();
    // What is computed before the convolution gives what it reads a place of its own.
    const std::string body = fmt::format("h = torch.tanh(x); y = torch.conv2d(h, w, b, [1, 1], [{}]); return {}", c.padding, c.result);
    judge_program(*inputs, *weights, body, fmt::format("winograd_{}", c.name), 3);
  }
};

TEST_P(Winograd, avx512) {
  judge_case();
  expect_compiled({.cpu = "native", .winograd = WinogradUse::always});
}
TEST_P(Winograd, avx2) {
  judge_case();
  expect_compiled({.cpu = "x86-64-v3", .winograd = WinogradUse::always});
}
TEST_P(Winograd, off) {
  judge_case();
  expect_compiled({.winograd = WinogradUse::off});
}

INSTANTIATE_TEST_SUITE_P(all, Winograd, testing::ValuesIn(all_cases), [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mica::numerics
