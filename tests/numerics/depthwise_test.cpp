// build/release/tests/bin/numerics --gtest_filter='*Depthwise*'
// Depthwise convolutions around the edges of their tiles, compiled, against LibTorch: every width of a tile and one off, kernels even and odd
// and larger than the image, strides, dilation, padding on one side, channels that fill no vector, and sizes that are known at run time only.
#include "judge.h"

namespace mica::numerics {
namespace {

struct Case {
  std::string name;
  std::vector<int64_t> x;       ///< [N, C, spatial...]
  std::vector<int64_t> kernel;  ///< one an axis; so the lists below
  std::vector<int64_t> stride, padding, dilation;
  std::string result = "torch.relu(y)";
  std::string dtype = "f32";
  std::string before = "torch.tanh(x)";
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<int64_t> both(int64_t v) { return {v, v}; }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const auto add = [&](std::string name, std::vector<int64_t> x, std::vector<int64_t> k, std::vector<int64_t> s, std::vector<int64_t> p,
                       std::vector<int64_t> d) -> Case& {
    cases.push_back({.name = std::move(name),
                     .x = std::move(x),
                     .kernel = std::move(k),
                     .stride = std::move(s),
                     .padding = std::move(p),
                     .dilation = std::move(d)});
    return cases.back();
  };
  // Widths of one tile and of two, with kernels of 1 to 7.
  for (int64_t w = 1; w <= 16; ++w) add(fmt::format("width_{}", w), {1, 19, 5, w}, both(1 + w % 7), {1, 1 + w % 3}, both((1 + w % 7) / 2), {1, 1});
  for (int64_t w : {17, 27, 28, 29, 43, 57})
    add(fmt::format("width_{}", w), {1, 33, 3, w}, {3, 3 + w % 5}, {1, 1}, {1, (3 + w % 5) / 2}, {1, 1}).result =
        w % 5 % 2 == 0 ? "torch.silu(y) + h" : "torch.hardswish(y)";
  for (int64_t k = 1; k <= 7; ++k) {
    for (int64_t s = 1; s <= 3; ++s) add(fmt::format("kernel_{}_stride_{}", k, s), {2, 16 * k + s, 9, 15}, both(k), both(s), both(k / 2), both(1));
  }
  for (int64_t d = 2; d <= 4; ++d) add(fmt::format("dilation_{}", d), {1, 48, 13, 20}, both(3), {1, d - 1}, both(d), both(d));
  add("map_1", {3, 130, 1, 1}, both(3), both(1), both(1), both(1));
  add("map_7", {1, 160, 7, 7}, both(5), both(1), both(2), both(1));
  add("map_14", {1, 37, 14, 14}, both(7), both(2), both(3), both(1));
  add("no_padding", {1, 24, 12, 31}, both(3), both(1), both(0), both(1));
  add("wide_padding", {1, 17, 4, 5}, both(3), both(1), both(6), both(1));
  add("kernel_of_11", {1, 20, 13, 30}, {11, 11}, both(1), {5, 5}, both(1));
  add("long_chain", {1, 18, 9, 20}, {17, 19}, both(1), {8, 9}, both(1));
  add("kernel_wider_than_code", {1, 5, 3, 90}, {1, 70}, both(1), {0, 35}, both(1));
  add("far_dilation", {1, 16, 5, 200}, {3, 3}, both(1), {1, 40}, {1, 40});
  add("streams", {1, 96, 60, 61}, both(3), both(2), both(1), both(1)).result = "torch.silu(y)";
  add("streams_5_vectors", {1, 72, 50, 56}, both(5), both(1), both(2), both(1));
  add("one_axis", {2, 40, 77}, {5}, {1}, {2}, {1});
  add("one_axis_stride", {1, 16, 50}, {4}, {3}, {1}, {2});
  add("three_axes", {1, 20, 4, 5, 9}, {3, 2, 3}, {1, 2, 1}, {1, 0, 1}, {1, 1, 1});
  add("input_itself", {1, 16, 9, 10}, both(3), both(1), both(1), both(1)).before = "x";
  add("channels_last", {1, 9, 10, 48}, both(3), both(1), both(1), both(1)).before = "x.permute(0, 3, 1, 2)";
  add("slice", {1, 64, 9, 10}, both(3), both(1), both(1), both(1)).before = "torch.tanh(x)[:, :, 1:, 2:]";
  add("mean", {1, 24, 14, 14}, both(3), both(1), both(1), both(1)).result = "y * torch.sigmoid(y.mean([2, 3], True))";
  add("flat", {1, 24, 6, 5}, both(3), both(1), both(1), both(1)).result = "y.flatten(2).transpose(1, 2) * 2";
  for (const char* dtype : {"f64", "f16", "bf16"}) add(fmt::format("in_{}", dtype), {1, 40, 9, 17}, both(3), both(1), both(1), both(1)).dtype = dtype;
  return cases;
}

std::string list(const std::vector<int64_t>& items) { return fmt::format("[{}]", fmt::join(items, ", ")); }

class Depthwise : public Judged, public testing::WithParamInterface<Case> {
 protected:
  void judge_case() {
    const Case& c = GetParam();
    const int64_t channels = c.before.find("permute") == std::string::npos ? c.x[1] : c.x.back();
    const auto inputs = parse_sample_inputs(fmt::format("x={}{} in -1..1", c.dtype, list(c.x)), diagnostics);
    std::vector<int64_t> weight = {channels, 1};
    weight.insert(weight.end(), c.kernel.begin(), c.kernel.end());
    const auto weights = parse_sample_inputs(fmt::format("w={0}{1} in -1..1, b={0}[{2}]", c.dtype, list(weight), channels), diagnostics);
    ASSERT_TRUE(inputs && weights) << diagnostics.to_string();
    const std::string body = fmt::format("h = {}; y = torch.conv{}d(h, w, b, {}, {}, {}, {}); return {}", c.before, c.kernel.size(), list(c.stride),
                                         list(c.padding), list(c.dilation), channels, c.result);
    judge_program(*inputs, *weights, body, "depthwise_" + c.name, 7);
  }
};

TEST_P(Depthwise, avx512) {
  judge_case();
  if (!HasFailure()) expect_compiled({.cpu = "native"});
}
TEST_P(Depthwise, avx2) {
  judge_case();
  if (!HasFailure()) expect_compiled({.cpu = "x86-64-v3"});
}
/// Nothing outside a tensor is read, not even by lanes that nobody wants.
TEST_P(Depthwise, guarded) {
  judge_case();
  if (!HasFailure()) expect_compiled({.cpu = GetParam().x.size() % 2 ? "x86-64-v2" : "native", .memory = DebugMemory::behind});
}

INSTANTIATE_TEST_SUITE_P(all, Depthwise, testing::ValuesIn(all_cases()), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mica::numerics
