// build/release/tests/bin/numerics --gtest_filter='All/Sized.*'
// Scripted programs that decide on sizes which are known when the model runs: one graph and one library for a range of sizes, against LibTorch at
// the least, at the greatest and at one between.
#include "judge.h"

namespace mica::numerics {
namespace {

struct Program {
  std::string_view name, inputs;  ///< N in a shape stands for the size
  int64_t low, between, high;
  std::string_view source;
};

constexpr Program all_programs[] = {
    // ---- branches ----
    {"branch_on_size", "x=f32[N, 3]", 2, 4, 9, "def forward(self, x):\n  if x.shape[0] > 4:\n    return x * 2\n  return x - 1\n"},
    {"branch_on_equal_sizes", "x=f32[N, 3]", 2, 3, 9,
     "def forward(self, x):\n  if x.shape[0] == x.shape[1]:\n    return x @ torch.ones([3, 3])\n  return x - 1\n"},
    {"branch_on_equal_shapes", "x=f32[N, 3], y=f32[3, 3]", 2, 3, 9,
     "def forward(self, x, y):\n  if x.shape == y.shape:\n    return x.sum() + y.sum()\n  return x.sum()\n"},
    {"branch_on_numel", "x=f32[N, 3]", 2, 4, 6,
     "def forward(self, x):\n  x = x[3:]\n  if x.numel() == 0:\n    return torch.ones([2])\n  return x.sum(0)[:2]\n"},
    {"branch_on_even", "x=f32[N, 3]", 2, 5, 8,
     "def forward(self, x):\n  n = x.size(0)\n  if n % 2 == 0 and n > 3:\n    x = x + n\n  return x * (n // 2)\n"},
    {"branch_on_truth", "x=f32[N, 3]", 2, 3, 5, "def forward(self, x):\n  n = x.size(0) - 2\n  return x.sum() + (1 if n else 2)\n"},
    {"branch_merges_sizes", "x=f32[N, 3]", 2, 5, 8,
     "def forward(self, x):\n  n = x.size(0)\n  if n > 4:\n    k = n - 4\n  else:\n    k = 1\n  return x * k\n"},
    {"assert_on_size", "x=f32[N, 3]", 4, 6, 8, "def forward(self, x):\n  assert x.size(0) % 2 == 0, 'odd: {}'.format(x.size(0))\n  return x + 1\n"},
    // ---- numbers ----
    {"float_of_size", "x=f32[N, 3]", 2, 5, 8, "def forward(self, x):\n  h = float(x.size(0))\n  return x / h + h ** 0.5 + torch.log(h)\n"},
    {"least_of_sizes", "x=f32[N, 3]", 2, 5, 8, "def forward(self, x):\n  return x[:min(x.size(0), 4)] * max(x.size(0), 5) + min([x.size(0), 7])\n"},
    {"half_of_size", "x=f32[N, 3]", 2, 5, 8,
     "def forward(self, x):\n  h = x.size(0)\n  a = int(h / 2)\n  b = int(torch.ceil(float(h) / 3)) * 2\n  c = torch.floor(h * 0.5) + int(h * "
     "1.25)\n  return "
     "torch.zeros([a, b]), torch.ones([c]), x[a:]\n"},
    {"sum_of_shape", "x=f32[N, 3]", 2, 5, 8, "def forward(self, x):\n  return x * sum(x.shape)\n"},
    {"scale_of_sizes", "x=f32[N, 3]", 2, 5, 8, "def forward(self, x):\n  r = x.size(1) / x.size(0)\n  return x * r + round(r * 10) - int(r * 7.5)\n"},
    {"size_in_tensor", "x=f32[N, 3]", 2, 5, 8,
     "def forward(self, x):\n  n = x.size(0)\n  return torch.tensor([n, 2 * n]), torch.tensor(n / 2), torch.full([2], n), torch.tensor(n) + x\n"},
    {"size_is_result", "x=f32[N, 3]", 2, 5, 8,
     "def forward(self, x):\n  n = x.size(0)\n  return x + 1, n, n / 2, n > 4, float(x.sum()), x.sum() > 0, 7\n"},
    // ---- loops ----
    {"loop_while_less", "x=f32[N, 3]", 1, 4, 7, "def forward(self, x):\n  n = 1\n  while n < x.size(0):\n    n = n * 2\n  return x + n\n"},
};

class Sized : public Judged, public testing::WithParamInterface<Program> {
 protected:
  std::vector<SampleInput> inputs(int64_t size) { return inputs_at(GetParam().inputs, size); }
  /// The range of sizes, as two samples give it.
  LoadOptions range() {
    LoadOptions options;
    for (const int64_t size : {GetParam().low, GetParam().high}) {
      for (const SampleInput& in : inputs(size)) options.inputs.push_back({in.name, in.type.shape, in.type.dtype, std::nullopt, in.name});
    }
    EXPECT_TRUE(resolve_symbols(options, diagnostics)) << diagnostics.to_string();
    return options;
  }
};

TEST_P(Sized, MatchesLibTorch) {
  const Program& p = GetParam();
  for (const int64_t size : {p.low, p.between, p.high}) {
    SCOPED_TRACE(size);
    raw_.clear(), host_.clear(), judged_.clear(), eager_.clear(), options_ = {};
    judge(std::string(p.source), inputs(size), fmt::format("sized_{}", p.name), 3);
    if (HasFatalFailure()) return;
    if (library_.empty()) {
      options_ = range();
      compile_library({});
      if (HasFatalFailure()) return;
    }
    expect_library({});
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Sized, testing::ValuesIn(all_programs), [](const auto& p) { return std::string(p.param.name); });

}  // namespace
}  // namespace mica::numerics
