// build/release/tests/bin/numerics --gtest_filter='All/Measured.*'
// Programs with sizes that depend on data, of which none, one, some and all elements are found: interpreted and compiled, against LibTorch.
#include "judge.h"

namespace mica::numerics {
namespace {

struct Program {
  std::string_view name, inputs, source;
};

constexpr Program all_programs[] = {
    // ---- what is found ----
    {"nonzero", "x=f32[17]", "def forward(self, x):\n  return torch.nonzero(x > 0)\n"},
    {"nonzero_none", "x=f32[17]", "def forward(self, x):\n  return torch.nonzero(x > 99)\n"},
    {"nonzero_all", "x=f32[17]", "def forward(self, x):\n  return torch.nonzero(x > -99)\n"},
    {"nonzero_one", "x=f32[17]", "def forward(self, x):\n  return torch.nonzero(x >= x.max())\n"},
    {"nonzero_of_numbers", "x=i64[3, 5] in 0..2", "def forward(self, x):\n  return torch.nonzero(x), torch.nonzero(x.half())\n"},
    {"nonzero_three_axes", "x=f32[3, 4, 5]", "def forward(self, x):\n  return torch.nonzero(x > 0.5)\n"},
    {"where_indices", "x=f32[3, 4]", "def forward(self, x):\n  i, j = torch.where(x > 0)\n  return i, j, x[i, j]\n"},
    {"nonzero_empty", "x=f32[0, 4]", "def forward(self, x):\n  return torch.nonzero(x)\n"},
    // ---- masks ----
    {"masked", "x=f32[31]", "def forward(self, x):\n  return x[x > 0] * 2\n"},
    {"masked_none", "x=f32[31]", "def forward(self, x):\n  return x[x > 99] * 2 + 1\n"},
    {"masked_all", "x=f32[31]", "def forward(self, x):\n  return x[x > -99].exp()\n"},
    {"masked_rows", "x=f32[9, 4]", "def forward(self, x):\n  return x[x[:, 0] > 0]\n"},
    {"masked_columns", "x=f32[3, 9]", "def forward(self, x):\n  return x[:, x[0] > 0] - 1\n"},
    {"masked_matrix", "x=f32[5, 6]", "def forward(self, x):\n  return x[x > 0]\n"},
    {"masked_middle", "x=f32[2, 3, 4, 2]", "def forward(self, x):\n  return x[:, x[0, :, :, 0] > 0]\n"},
    {"masked_twice", "x=f32[31], y=f32[31]", "def forward(self, x, y):\n  return x[x > 0] + y[x > 0]\n"},
    {"masked_bytes", "x=f32[8], m=u8[8] in 0..2", "def forward(self, x, m):\n  return x[m != 0]\n"},
    {"masked_select", "x=f32[5, 6], m=bool[6]", "def forward(self, x, m):\n  return torch.masked_select(x, m)\n"},
    {"mask_of_a_mask", "x=f32[64]", "def forward(self, x):\n  y = x[x > 0]\n  z = y[y < 1]\n  return z * z, y.sum() + z.sum()\n"},
    {"halves", "x=f16[40]", "def forward(self, x):\n  return x[x > 0] * 3, x[x < 0].sum()\n"},
    {"integers", "x=i32[40]", "def forward(self, x):\n  return x[x > 4] * 3, x[x < 2].sum()\n"},
    // ---- what consumes them ----
    {"counts", "x=f32[31]", "def forward(self, x):\n  y = x[x > 0]\n  n = y.shape[0]\n  return y * n, torch.tensor(n), y / y.numel()\n"},
    {"linear", "x=f32[21, 8], w=f32[5, 8], b=f32[5]",
     "def forward(self, x, w, b):\n  y = x[x[:, 0] > 0]\n  return torch.relu(torch.linear(y, w, b))\n"},
    {"linear_none", "x=f32[21, 8], w=f32[5, 8]", "def forward(self, x, w):\n  return torch.linear(x[x[:, 0] > 99], w)\n"},
    {"linear_all", "x=f32[21, 8], w=f32[5, 8]", "def forward(self, x, w):\n  return torch.linear(x[x[:, 0] > -99], w)\n"},
    {"softmax_rows", "x=f32[21, 8]", "def forward(self, x):\n  return torch.softmax(x[x[:, 0] > 0], 1)\n"},
    {"reduced", "x=f32[21, 8]", "def forward(self, x):\n  y = x[x[:, 0] > 0]\n  return y.sum(0), y.mean(1), y.sum(), y.amax(1)\n"},
    {"sum_of_none", "x=f32[21]", "def forward(self, x):\n  y = x[x > 99]\n  return y.sum(), y.prod(), torch.any(y > 0)\n"},
    {"concatenated", "x=f32[21], y=f32[5]", "def forward(self, x, y):\n  return torch.cat([x[x > 0], y, x[x < 0.5]])\n"},
    {"gathered", "x=f32[21, 3], y=f32[21, 2]",
     "def forward(self, x, y):\n  i = torch.nonzero(x[:, 0] > 0).squeeze(1)\n  return x[i], y[i, 1], y.index_select(0, i)\n"},
    {"transposed", "x=f32[21, 8]", "def forward(self, x):\n  return x[x[:, 0] > 0].t() * 2\n"},
    {"reshaped", "x=f32[21, 8]", "def forward(self, x):\n  return x[x[:, 0] > 0].reshape(-1, 2, 4) + 1\n"},
    {"full_of_its_size", "x=f32[21]",
     "def forward(self, x):\n  y = x[x > 0]\n  return torch.full([y.shape[0]], 3.0), torch.zeros_like(y), torch.arange(y.shape[0])\n"},
    {"product_with_itself", "x=f32[33, 8]", "def forward(self, x):\n  y = x[x[:, 0] > 0]\n  return torch.matmul(y, y.t())\n"},
    {"outer_of_two", "x=f32[13]", "def forward(self, x):\n  a = x[x > 0]\n  b = x[x < 0.3]\n  return a.unsqueeze(1) * b.unsqueeze(0)\n"},
    // ---- writes ----
    {"put_number", "x=f32[5, 6]", "def forward(self, x):\n  y = x.clone()\n  y[y > 0] = 7.0\n  return y\n"},
    {"put_rows", "x=f32[9, 4]", "def forward(self, x):\n  y = x.clone()\n  m = x[:, 0] > 0\n  y[m] = x[m] * 2\n  return y\n"},
    {"put_none", "x=f32[9, 4]", "def forward(self, x):\n  y = x.clone()\n  m = x[:, 0] > 99\n  y[m] = x[m] * 2\n  return y\n"},
    {"put_all", "x=f32[9, 4]", "def forward(self, x):\n  y = x.clone()\n  m = x[:, 0] > -99\n  y[m] = x[m] * 2\n  return y\n"},
    {"put_one_row", "x=f32[9, 4], v=f32[4]", "def forward(self, x, v):\n  y = x.clone()\n  y[x[:, 0] > 0] = v\n  return y\n"},
    {"put_some", "x=f32[5, 6]", "def forward(self, x):\n  y = x.clone()\n  y[y > 0] += 1\n  y[y < 0] *= 2\n  return y\n"},
    {"best_of_what_is_found", "x=f32[40]",
     "def forward(self, x):\n  y = x[x > 1]\n  n = min(y.shape[0], 10)\n  v, i = y.topk(n)\n  return v, i, y[i] - v\n"},
    {"sums_of_sizes", "x=f32[8, 5]",
     "def forward(self, x):\n  p = [x[i][x[i] > 0] for i in range(6)]\n  q = [x[i][x[i] > 0] * 2 for i in range(6)]\n  return torch.cat(p) + "
     "torch.cat(q)\n"},
    // ---- control flow ----
    {"branches_of_two_sizes", "x=f32[12, 4]",
     "def forward(self, x):\n  if x.sum() > 0:\n    y = x[x[:, 0] > 0]\n  else:\n    y = x[:5] * 2\n  return y + 1, torch.tensor(y.shape[0])\n"},
    {"branch_of_nothing", "x=f32[12]",
     "def forward(self, x):\n  if x.sum() > 99:\n    y = x * 2\n  else:\n    y = torch.zeros([0])\n  return torch.cat([y, x[:2]])\n"},
    {"branch_yields_two", "x=f32[12, 2], y=f32[12]",
     "def forward(self, x, y):\n  if x.sum() > 0:\n    m = y > 0\n    x = x[m]\n    y = y[m]\n  return x * y.unsqueeze(1)\n"},
    {"measured_in_branch", "x=f32[12]", "def forward(self, x):\n  s = x.sum()\n  if s > 0:\n    s = x[x > 0.5].sum() * 2\n  return s\n"},
    {"branches_nested", "x=f32[12]",
     "def forward(self, x):\n  y = x\n  if x.sum() > 0:\n    y = x[x > 0]\n    if x[0] > 0:\n      y = y[y > 0.5]\n  return y * 2\n"},
    {"branches_of_two_ranks", "x=f32[12, 4]",
     "def forward(self, x):\n  y = x[x[:, 0] > 0.8]\n  n = y.shape[0]\n  if n > 2:\n    y = y.reshape(n, -1, 2)\n  if y.dim() == 3:\n    y = y[:, 1] "
     "* 2\n"
     "  else:\n    y = y[:, 1:3] - 1\n  return y, y.reshape(-1, 2).sum(0)\n"},
    {"branches_of_two_dtypes", "x=f32[12]",
     "def forward(self, x):\n  y = x\n  if x.sum() > 0:\n    y = x > 0\n  z = y * 2\n  return z.float() + 1\n"},
    {"evenly_in_one_branch", "x=f32[9, 6]",
     "def forward(self, x):\n  y = x[x[:, 0] > 1.2]\n  n = y.shape[0]\n  if n > 0:\n    y = y.reshape(n, -1, 2)\n  z = y[:, 1:].reshape(-1, 4)\n  "
     "return z * 2\n"},
    {"none_of_none_in_a_branch", "x=f32[30, 4]",
     "def forward(self, x):\n  y = x[:1]\n  if x.sum() > -9999:\n    z = x[x[:, 0] > 99]\n    y = z[torch.where(z.sum(1) > 0)[0]]\n  return y * 2\n"},
    {"some_of_some_in_a_branch", "x=f32[30, 4]",
     "def forward(self, x):\n  y = x[:1]\n  if x.sum() > -9999:\n    z = x[x[:, 0] > 1.5]\n    y = z[torch.where(z.sum(1) > 0)[0]]\n  return y * "
     "2\n"},
    {"none_of_none_padded", "x=f32[30, 4]",
     "def forward(self, x):\n  z = x[x[:, 0] > 99]\n  y = z[torch.where(z.sum(1) > 0)[0]]\n  return torch.constant_pad_nd(y, [1, 0, 0, 3], 2.0)\n"},
    // ---- different elements ----
    {"unique", "x=i64[40] in 0..9", "def forward(self, x):\n  u, i, c = torch._unique2(x, True, True, True)\n  return u, i, c, u[i] - x\n"},
    {"unique_alone", "x=f32[5, 6]", "def forward(self, x):\n  return torch._unique2(torch.floor(x), True, False, False)[0] * 2\n"},
    {"unique_matrix", "x=i64[5, 6] in 0..7", "def forward(self, x):\n  u, i, c = torch._unique2(x, True, True, True)\n  return u, i, c\n"},
    {"unique_bools", "x=bool[9]", "def forward(self, x):\n  u, i, c = torch._unique2(x, True, True, True)\n  return u, i, c\n"},
    {"unique_of_one", "x=f16[1]", "def forward(self, x):\n  u, i, c = torch._unique2(x, True, True, True)\n  return u, i, c\n"},
    {"unique_of_none", "x=i32[0]", "def forward(self, x):\n  u, i, c = torch._unique2(x, True, True, True)\n  return u, i, c\n"},
    {"unique_of_measured", "x=i64[30] in 0..9", "def forward(self, x):\n  u, i, c = torch._unique2(x[x > 4], True, True, True)\n  return u, i, c\n"},
    {"unique_nans", "x=f32[6]", "def forward(self, x):\n  y = torch.cat([x, x, x * float('nan')])\n  return torch._unique2(y, True, False, True)\n"},
    {"unique_consecutive", "x=i64[40] in 0..2", "def forward(self, x):\n  u, i, c = torch.unique_consecutive(x, True, True)\n  return u, i, c\n"},
    {"unique_consecutive_rows", "x=i64[3, 20] in 0..2",
     "def forward(self, x):\n  u, i, c = torch.unique_consecutive(x[:2], True, True, 1)\n  return u, i, c\n"},
    {"unique_rows", "x=i64[40, 3] in 0..2", "def forward(self, x):\n  u, i, c = torch.unique_dim(x, 0, True, True, True)\n  return u, i, c\n"},
    {"unique_columns", "x=i64[2, 12, 2] in 0..2", "def forward(self, x):\n  u, i, c = torch.unique_dim(x, 1, True, True, True)\n  return u, i, c\n"},
    {"unique_walked", "x=i64[24] in 0..5, y=f32[24]",
     "def forward(self, x, y):\n  kept = torch.zeros_like(x, dtype=11)\n  for c in torch._unique2(x, True, False, False)[0]:\n"
     "    at = torch.where(x == c)[0]\n    best = y[at] >= y[at].max()\n    kept[at[best]] = True\n  return torch.where(kept)[0], y[kept]\n"},
    // ---- sizes that divide out ----
    {"rows_times_a_number", "x=f32[21, 8]",
     "def forward(self, x):\n  y = x[x[:, 0] > -9]\n  y = torch.cat([y, x[:1]])\n  n = y.shape[0]\n  z = y.reshape(n, -1)\n"
     "  return (z[:, 0::4] - z[:, 3::4]).reshape(n, -1, 2)\n"},
    {"rows_that_may_be_none", "x=f32[21, 8]",
     "def forward(self, x):\n  y = x[x[:, 0] > 0]\n  n = y.shape[0]\n  if n > 0:\n    y = y.reshape(n, -1)\n  return y[:, 0::4] - y[:, 3::4]\n"},
    {"put_counted", "x=f32[6], v=f32[6]", "def forward(self, x, v):\n  y = x.clone()\n  y[x > -99] = v\n  return y\n"},
};

class Measured : public Judged, public testing::WithParamInterface<Program> {};

TEST_P(Measured, MatchesLibTorch) {
  const Program& program = GetParam();
  const auto inputs = parse_sample_inputs(program.inputs, diagnostics);
  ASSERT_TRUE(inputs) << diagnostics.to_string();
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    raw_.clear(), host_.clear(), judged_.clear(), options_ = {};
    judge(std::string(program.source), *inputs, fmt::format("measured_{}", program.name), seed);
    if (HasFatalFailure()) return;
    expect_import();
    if (HasFailure()) return;
  }
  expect_compiled();
}

INSTANTIATE_TEST_SUITE_P(All, Measured, testing::ValuesIn(all_programs), [](const auto& p) { return std::string(p.param.name); });

}  // namespace
}  // namespace mica::numerics
