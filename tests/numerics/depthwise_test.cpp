// build/release/tests/bin/numerics --gtest_filter='*Depthwise*'
// Depthwise convolutions, and those with few channels a group, around the edges of their tiles, compiled, against LibTorch: every width of a tile and
// one off, kernels even and odd and larger than the image, strides, dilation, padding on one side, channels that fill no vector, and sizes that are
// known at run time only.
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
  int64_t group_inputs = 1, group_outputs = 1;  ///< channels of a group
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
  // Groups that fill a vector, leave a part of it, or take several; whose number is one off; of more results than inputs and the other way round.
  const auto group = [&](std::string name, int64_t groups, int64_t inputs, int64_t outputs, int64_t width) -> Case& {
    Case& c = add("groups_" + name, {1, groups * inputs, 5, width}, both(3), both(1), both(1), both(1));
    c.group_inputs = inputs, c.group_outputs = outputs;
    return c;
  };
  for (int64_t n : {2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 33}) group(fmt::format("of_{}", n), 5 + n % 4, n, n, 9 + n % 8);
  for (int64_t n : {1, 2, 3, 5}) group(fmt::format("wider_{}", n), 7, n, 2 * n, 13), group(fmt::format("narrower_{}", n), 9, 3 * n, n, 14);
  group("one_to_many", 6, 1, 19, 8);
  group("many_to_one", 6, 19, 1, 8);
  group("stride", 32, 4, 4, 23).stride = both(2);
  group("stride_3", 6, 8, 8, 23).stride = {2, 3};
  group("dilation", 16, 4, 4, 21).dilation = both(2);
  group("wide_filter", 9, 3, 3, 30).kernel = {3, 11};
  group("no_padding", 9, 2, 2, 31).padding = both(0);
  group("long_chain", 5, 40, 8, 12);
  group("kernel_1", 12, 4, 4, 12).kernel = both(1);
  group("mean", 12, 4, 4, 14).result = "y * torch.sigmoid(y.mean([2, 3], True))";
  group("map_1", 12, 2, 2, 1).x = {2, 24, 1, 1};
  group("input_itself", 8, 4, 4, 11).before = "x";
  group("flat", 8, 4, 4, 11).result = "y.flatten(2).transpose(1, 2) * 2";
  for (const char* dtype : {"f64", "f16", "bf16"}) {
    for (int64_t n : {2, 3, 4, 12}) group(fmt::format("in_{}_of_{}", dtype, n), 9, n, n, 17).dtype = dtype;
  }
  return cases;
}

std::string list(const std::vector<int64_t>& items) { return fmt::format("[{}]", fmt::join(items, ", ")); }

class Depthwise : public Judged, public testing::WithParamInterface<Case> {
 protected:
  void judge_case() {
    const Case& c = GetParam();
    const int64_t channels = c.before.find("permute") == std::string::npos ? c.x[1] : c.x.back();
    const auto inputs = parse_sample_inputs(fmt::format("x={}{} in -1..1", c.dtype, list(c.x)), diagnostics);
    const int64_t groups = channels / c.group_inputs;
    std::vector<int64_t> weight = {groups * c.group_outputs, c.group_inputs};
    weight.insert(weight.end(), c.kernel.begin(), c.kernel.end());
    const auto weights = parse_sample_inputs(fmt::format("w={0}{1} in -1..1, b={0}[{2}]", c.dtype, list(weight), weight[0]), diagnostics);
    ASSERT_TRUE(inputs && weights) << diagnostics.to_string();
    const std::string body = fmt::format("h = {}; y = torch.conv{}d(h, w, b, {}, {}, {}, {}); return {}", c.before, c.kernel.size(), list(c.stride),
                                         list(c.padding), list(c.dilation), groups, c.result);
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
