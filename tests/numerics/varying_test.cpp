// build/release/tests/bin/numerics --gtest_filter='All/Varying.*'
// Scripted programs in which sizes and the lengths of lists depend on data: one library, several inputs, against LibTorch.
#include "judge.h"

namespace mica::numerics {
namespace {

struct Program {
  std::string_view name, inputs, source;
};

constexpr Program all_programs[] = {
    // ---- slices ----
    {"slice_to", "x=f32[4, 3], n=i64[] in -6..7", "def forward(self, x, n):\n  return x[:int(n)] * 2, x[int(n):].sum(0)\n"},
    {"slice_between", "x=f32[6, 3], n=i64[] in -7..8, m=i64[] in -7..8",
     "def forward(self, x, n, m):\n  return x[int(n):int(m)] + 1, x[:, :2][int(n):4], x[1:int(m)]\n"},
    {"slice_by_steps", "x=f32[7], n=i64[] in 0..9", "def forward(self, x, n):\n  return x[:int(n):2], x[int(n)::3]\n"},
    {"slice_of_fixed_length", "x=f32[6, 2], n=i64[] in 0..5",
     "def forward(self, x, n):\n  k = int(n)\n  return x[k:k + 2].sum(0), x.narrow(0, k, 1) * 3\n"},
    {"slices_of_one_length", "x=f32[4, 3], y=f32[4, 3], n=i64[] in 0..6", "def forward(self, x, y, n):\n  return x[:int(n)] * y[:int(n)]\n"},
    {"write_to_slice", "x=f32[4, 3], n=i64[] in 0..5",
     "def forward(self, x, n):\n  y = torch.zeros_like(x)\n  y[:int(n)] = x[:int(n)] * 2\n  y[int(n):, 1] += 5\n  y[:, 1:][int(n):].mul_(3)\n  "
     "return y\n"},
    {"write_of_fixed_length", "x=f32[6, 2], y=f32[2, 2], n=i64[] in 0..5",
     "def forward(self, x, y, n):\n  z = x + 0\n  z[int(n):int(n) + 2] = y\n  return z\n"},
    {"mask_by_lengths", "x=f32[3, 4], n=i64[3] in 0..5",
     "def forward(self, x, n):\n  m = torch.zeros([3, 4])\n  for i in range(3):\n    m[i, :int(n[i])] = 1\n  return x * m\n"},
    // ---- lists ----
    {"list_grows_in_a_branch", "x=f32[6]",
     "def forward(self, x):\n  ys : List[Tensor] = [x[0] * 0]\n  for i in range(6):\n    if x[i] > 0:\n      ys.append(x[i] * 2)\n  return "
     "torch.stack(ys), "
     "len(ys), ys[-1]\n"},
    {"list_of_numbers_grows", "x=f32[6] in -2..3",
     "def forward(self, x):\n  out : List[int] = [7]\n  prev = -1\n  for i in range(6):\n    v = int(x[i])\n    if v != prev and v != 0:\n      "
     "out.append(v)\n"
     "    prev = v\n  return torch.tensor(out), sum(out), max(out), 1 in out, len(out)\n"},
    {"list_grows_in_while", "x=f32[3]",
     "def forward(self, x):\n  ys = [x]\n  while bool(x.abs().max() > 0.1):\n    x = x * 0.5\n    ys.append(x)\n  return torch.stack(ys), "
     "torch.cat(ys)\n"},
    {"list_length_ends_while", "x=f32[5, 5], t=i64[] in 0..5",
     "def forward(self, x, t):\n  out : List[int] = []\n  k = int(t)\n  while len(out) < 4 and (len(out) == 0 or k != 2):\n    k = "
     "int(x[k].argmax())\n"
     "    out.append(k)\n  return torch.tensor(out)\n"},
    {"list_is_popped", "x=f32[4], n=i64[] in 1..4",
     "def forward(self, x, n):\n  ys = [x, x + 1]\n  for i in range(int(n)):\n    ys.append(x * i)\n    ys.pop(0)\n  a = ys.pop()\n  ys.insert(0, "
     "a)\n"
     "  ys[0] = ys[0] + 1\n  return torch.stack(ys), a\n"},
    {"list_is_extended", "x=f32[4], n=i64[] in 0..4",
     "def forward(self, x, n):\n  a = [x]\n  for i in range(int(n)):\n    a.extend([x * i, x - i])\n  b = a[1:]\n  y = x\n  for z in b:\n    y = y + "
     "z\n"
     "  return y, torch.stack(a)\n"},
    // ---- sizes in loops ----
    {"loop_concatenates", "x=f32[2, 3], n=i64[] in 0..5",
     "def forward(self, x, n):\n  y = x\n  for i in range(int(n)):\n    y = torch.cat([y, y[-1:] * 0.5])\n  return y, y.sum(0)\n"},
    {"loop_drops", "x=f32[6], n=i64[] in 0..5", "def forward(self, x, n):\n  for i in range(int(n)):\n    x = x[1:]\n  return x * 2\n"},
    {"loop_keeps_a_window", "x=f32[5, 2], n=i64[] in 1..6",
     "def forward(self, x, n):\n  w = x[:1]\n  s = torch.zeros([2])\n  for i in range(int(n)):\n    w = torch.cat([w, x[i:i + 1]])[-3:]\n    s = s + "
     "w.mean(0)\n"
     "  return s, w\n"},
    {"decoder", "x=f32[6, 6], t=i64[1] in 0..6",
     "def forward(self, x, t):\n  ids = t\n  for i in range(100):\n    k = x[ids].mean(0).argmax(0, keepdim=True)\n    if int(k) == 3 or ids.size(0) "
     "> 8:\n"
     "      break\n    ids = torch.cat([ids, k])\n  return ids\n"},
    // ---- set on some ways only ----
    {"continue_and_break", "x=f32[6]",
     "def forward(self, x):\n  t = torch.zeros([])\n  for i in range(6):\n    if x[i] < 0:\n      continue\n    t = t + x[i]\n    if t > 1.5:\n      "
     "break\n"
     "  return t\n"},
    {"return_in_loop", "x=f32[6]", "def forward(self, x):\n  for i in range(6):\n    if x[i] > 0.5:\n      return x[i] * 2\n  return x.sum()\n"},
};

class Varying : public Judged, public testing::WithParamInterface<Program> {};

TEST_P(Varying, MatchesLibTorch) {
  const Program& p = GetParam();
  const auto inputs = parse_sample_inputs(p.inputs, diagnostics);
  ASSERT_TRUE(inputs) << diagnostics.to_string();
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    raw_.clear(), host_.clear(), judged_.clear(), eager_.clear(), options_ = {};
    judge(std::string(p.source), *inputs, fmt::format("varying_{}", p.name), seed);
    if (HasFatalFailure()) return;
    if (library_.empty()) compile_library({});
    if (HasFatalFailure()) return;
    expect_library({});
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Varying, testing::ValuesIn(all_programs), [](const auto& p) { return std::string(p.param.name); });

}  // namespace
}  // namespace mica::numerics
