// build/release/tests/bin/numerics --gtest_filter='All/Script.*'
// Scripted programs as people write them, whose branches, loops, indices and numbers depend on data: interpreted and compiled, against LibTorch.
#include "judge.h"

namespace mica::numerics {
namespace {

struct Scripted {
  std::string_view name, inputs, source;
};

constexpr Scripted all_scripts[] = {
    // ---- numbers ----
    {"item_scales", "x=f32[2, 3]", "def forward(self, x):\n  return x * x.max().item()\n"},
    {"int_of_tensor", "x=f32[3] in 1..9", "def forward(self, x):\n  n = int(x.sum())\n  return x + n\n"},
    {"number_arithmetic", "i=i64[] in 3..9, x=f32[4]",
     "def forward(self, i, x):\n  n = int(i)\n  a = (n * 7 + 3) // 4 - n % 5\n  b = n / 3 + 0.5\n  return x * b + a, x - (-n // 2), x + (-n % 3)\n"},
    {"number_comparison", "i=i64[] in 3..9, x=f32[4]",
     "def forward(self, i, x):\n  f = float(i)\n  n = int(f / 2)\n  return x * abs(-f) + min(f, 4.0) + max(n, 3) + float(n < 3)\n"},
    {"number_power", "i=i64[] in 1..4, x=f32[4]", "def forward(self, i, x):\n  n = int(i)\n  return x * (n ** 2) + float(n) ** 0.5\n"},
    {"number_of_float_mod", "x=f32[] in -9..9", "def forward(self, x):\n  f = float(x)\n  return x * (f % 2.5) + f // 2.5\n"},
    {"number_into_int_tensor", "x=f32[] in 1..2, i=i64[4]",
     "def forward(self, x, i):\n  f = float(x)\n  n = int(x)\n  return i * f, i * n, i // n\n"},
    {"number_on_half", "x=f16[4]", "def forward(self, x):\n  f = float(x[0])\n  return x * f\n"},
    {"number_in_full", "i=i64[] in 1..9",
     "def forward(self, i):\n  n = int(i)\n  return torch.full([2, 3], n), torch.full([2], float(n)), torch.zeros([3]).fill_(n)\n"},
    {"number_in_clamp", "x=f32[6], m=f32[] in 0..1", "def forward(self, x, m):\n  f = float(m)\n  return torch.clamp(x, -f, f), x.clamp(max=f)\n"},
    {"number_in_tensor", "i=i64[] in 1..9",
     "def forward(self, i):\n  n = int(i)\n  return torch.tensor(n), torch.tensor([n, 2 * n, 5]), torch.tensor(n * 0.5)\n"},
    {"number_in_masked_fill", "x=f32[6]",
     "def forward(self, x):\n  f = x.min().item()\n  return x.masked_fill(x > 0, f), torch.where(x > 0, x, f)\n"},
    {"number_as_alpha", "x=f32[6]", "def forward(self, x):\n  f = float(x[0])\n  return torch.add(x, x, alpha=f), x.pow(2).sub(x, alpha=f)\n"},
    {"bool_logic", "x=f32[3]",
     "def forward(self, x):\n  a = bool(x[0] > 0)\n  b = bool(x[1] > 0)\n  c = (a and b) or not a\n  if c:\n    return x\n  return -x\n"},
    {"sum_of_numbers", "x=f32[3]",
     "def forward(self, x):\n  ns : List[float] = [float(x[0]), float(x[1]), 2.0]\n  return x * sum(ns) + min(ns) + max(ns)\n"},
    {"size_from_tensors", "x=f32[3, 12, 18]",
     "def forward(self, x):\n  s = torch._shape_as_tensor(x)[-2:]\n  f = torch.min(9.0 / torch.min(s).to(7), 15.0 / torch.max(s).to(6))\n"
     "  f = f.detach().to(torch.device('cpu'), 6, False, True)\n  n = int(torch.floor(torch.tensor(x.size(2)).to(6) * f))\n"
     "  return x[:, :, :n] * 2\n"},
    // ---- indices ----
    {"select_at", "x=f32[5, 3], i=i64[] in 0..5", "def forward(self, x, i):\n  return x[int(i)] * 2\n"},
    {"select_from_the_end", "x=f32[5, 3], i=i64[] in -5..0", "def forward(self, x, i):\n  return x[:, 1:][int(i)]\n"},
    {"update_at", "x=f32[5, 3], i=i64[] in 0..5",
     "def forward(self, x, i):\n  y = x.clone()\n  y[int(i)] = 7.0\n  y[int(i), 1] += 2.0\n  return y\n"},
    {"update_column", "x=f32[5, 3], i=i64[] in 0..3",
     "def forward(self, x, i):\n  y = x.clone()\n  n = int(i)\n  y[:, n].mul_(2)\n  y.t()[n, 2:4].add_(1)\n  return y\n"},
    {"list_at", "x=f32[3], i=i64[] in 0..3",
     "def forward(self, x, i):\n  xs = [x, x * 2, x + 1]\n  ns = [3, 5, 7]\n  n = int(i)\n  return xs[n] * ns[n]\n"},
    // ---- branches ----
    {"branch_on_sum", "x=f32[2, 3]", "def forward(self, x):\n  if x.sum() > 0:\n    y = x * 2\n  else:\n    y = x - 1\n  return y\n"},
    {"branch_without_else", "x=f32[2, 3]", "def forward(self, x):\n  y = x\n  if x.sum() > 0:\n    y = y * 2\n  return y + 1\n"},
    {"branch_merges_numbers", "x=f32[3]",
     "def forward(self, x):\n  if bool(x[0] > 0):\n    a, b, c = 1, 2.5, True\n  else:\n    a, b, c = 4, 0.5, False\n  if c:\n    a += 1\n  return x "
     "* a + b\n"},
    {"branches_nested", "x=f32[3]",
     "def forward(self, x):\n  if x[0] > 0:\n    if x[1] > 0:\n      y = x + 1\n    else:\n      y = x + 2\n  elif x[2] > 0:\n    y = x + 3\n  "
     "else:\n    y = x + 4\n  "
     "return y\n"},
    {"branch_returns_early", "x=f32[3]",
     "def forward(self, x):\n  if x[0] > 0:\n    return x * 2\n  y = x + 1\n  if x[1] > 0:\n    return y\n  return y * y\n"},
    {"branch_writes_in_place", "x=f32[2, 3]",
     "def forward(self, x):\n  y = x + 0\n  v = y[0]\n  if x.sum() > 0:\n    y.mul_(2)\n    y[:, 1] = 9.0\n  else:\n    v.add_(1)\n  return y, v\n"},
    {"branch_changes_list", "x=f32[3]",
     "def forward(self, x):\n  xs = [x, x + 1]\n  if x[0] > 0:\n    xs[0] = x * 2\n  else:\n    xs[1] = x * 3\n  return xs[0] + xs[1]\n"},
    {"branches_append_alike", "x=f32[3]",
     "def forward(self, x):\n  xs : List[Tensor] = []\n  if x[0] > 0:\n    xs.append(x * 2)\n  else:\n    xs.append(x * 3)\n  return "
     "torch.cat(xs)\n"},
    {"branch_changes_dict", "x=f32[3]",
     "def forward(self, x):\n  d = {'a': x, 'b': x + 1}\n  if x[0] > 0:\n    d['a'] = x * 2\n  else:\n    d['b'] = d['a'] * 3\n  return d['a'] - "
     "d['b']\n"},
    {"branch_yields_tuple", "x=f32[3]",
     "def two(self, x):\n  if x[0] > 0:\n    return x, x + 1, 3\n  return x * 2, x, 4\ndef forward(self, x):\n  a, b, n = self.two(x)\n  return a + "
     "b * n\n"},
    {"branch_in_function", "x=f32[3], y=f32[3]",
     "def pick(self, x, s : float):\n  if x.mean() > 0:\n    return x * s\n  return torch.zeros_like(x)\ndef forward(self, x, y):\n  return "
     "self.pick(x, 2.0) + "
     "self.pick(y, 3.0)\n"},
    {"branch_on_equal", "x=f32[3]", "def forward(self, x):\n  if torch.equal(x, x * 1):\n    return x + 1\n  return x\n"},
    {"branch_on_any", "x=f32[3]", "def forward(self, x):\n  if torch.any(x > 1.5):\n    x = x / x.abs().max()\n  return x\n"},
    {"optional_refined", "x=f32[3]",
     "def f(self, x, m : Optional[Tensor] = None):\n  if m is not None and bool(x[0] > 0):\n    return x + m\n  return x\ndef forward(self, x):\n  "
     "return self.f(x, "
     "x * 2) + self.f(x)\n"},
    {"assert_holds", "x=f32[3]", "def forward(self, x):\n  assert x.sum() < 100, 'sum is {}'.format(x.sum())\n  return x + 1\n"},
    {"assert_in_branch", "x=f32[3]",
     "def forward(self, x):\n  if x[0] > 0:\n    assert x.abs().max() < 50, 'too large'\n    y = x * 2\n  else:\n    y = x\n  return y\n"},
    {"dead_local_differs", "x=f32[3]",
     "def forward(self, x):\n  if x[0] > 0:\n    t = x[:2]\n    y = x + t.sum()\n  else:\n    t = x[:1]\n    y = x - t.sum()\n  return y\n"},
    // ---- loops ----
    {"while_doubles", "x=f32[3] in 0.1..1", "def forward(self, x):\n  while x.sum() < 10:\n    x = x * 2\n  return x\n"},
    {"for_dynamic", "x=f32[3], n=i64[] in 0..6", "def forward(self, x, n):\n  for i in range(int(n)):\n    x = x + i\n  return x\n"},
    {"for_from_to", "x=f32[3], n=i64[] in 3..9",
     "def forward(self, x, n):\n  s = 0\n  for i in range(1, int(n), 2):\n    s += i\n    x = x * 0.5 + s\n  return x * s\n"},
    {"for_backwards", "x=f32[9], n=i64[] in 3..9",
     "def forward(self, x, n):\n  y = torch.zeros([1])\n  for i in range(int(n) - 1, -1, -1):\n    y = y * 0.5 + x[i]\n  return y\n"},
    {"break_on_data", "x=f32[6, 3]",
     "def forward(self, x):\n  y = torch.zeros([3])\n  for i in range(6):\n    y = y + x[i]\n    if y.sum() > 1:\n      break\n  return y\n"},
    {"continue_on_data", "x=f32[6, 3]",
     "def forward(self, x):\n  y = torch.zeros([3])\n  for i in range(6):\n    if x[i].sum() < 0:\n      continue\n    y = y + x[i]\n  return y\n"},
    {"return_from_loop", "x=f32[6]",
     "def find(self, x):\n  for i in range(x.size(0)):\n    if x[i] > 0.5:\n      return i\n  return -1\ndef forward(self, x):\n  return x * "
     "self.find(x)\n"},
    {"loop_writes_in_place", "x=f32[5, 3], n=i64[] in 1..5",
     "def forward(self, x, n):\n  y = torch.zeros_like(x)\n  for i in range(int(n)):\n    y[i] = x[i] * i\n    y[:, 0] += 1\n  return y\n"},
    {"loop_with_branch", "x=f32[3], n=i64[] in 3..9",
     "def forward(self, x, n):\n  for i in range(int(n)):\n    if i % 2 == 0:\n      x = x + 1\n    else:\n      x = x * 0.5\n  return x\n"},
    {"loops_nested", "x=f32[3], n=i64[] in 1..5",
     "def forward(self, x, n):\n  c = 0\n  for i in range(int(n)):\n    for j in range(i):\n      x = x + j\n      c += 1\n  return x + c\n"},
    {"loop_swaps", "x=f32[3], n=i64[] in 1..9",
     "def forward(self, x, n):\n  a, b = x, x + 1\n  for i in range(int(n)):\n    a, b = b, a + b * 0.1\n  return a, b\n"},
    {"loop_changes_list", "x=f32[3], n=i64[] in 1..9",
     "def forward(self, x, n):\n  s = [x, x * 0]\n  for i in range(int(n)):\n    s[0] = s[0] * 0.5\n    s[1] = s[1] + s[0]\n  return s[0], s[1]\n"},
    {"loop_carries_tuple", "x=f32[3], n=i64[] in 1..9",
     "def step(self, s : Tuple[Tensor, Tensor]) -> Tuple[Tensor, Tensor]:\n  h, c = s\n  return torch.tanh(h + c), c * 0.9\ndef forward(self, x, "
     "n):\n  s = (x, x + 1)\n "
     " for i in range(int(n)):\n    s = self.step(s)\n  return s[0] + s[1]\n"},
    {"flag_of_first_pass", "x=f32[3], n=i64[] in 1..9",
     "def forward(self, x, n):\n  first = True\n  y = x\n  for i in range(int(n)):\n    if first:\n      y = x * 3\n      first = False\n    else:\n "
     "     y = y - 1\n  return y\n"},
    {"newton", "x=f32[] in 2..50",
     "def forward(self, x):\n  y = x\n  steps = 0\n  while (y * y - x).abs() > 0.001 and steps < 100:\n    y = 0.5 * (y + x / y)\n    steps += 1\n  "
     "return y\n"},
    {"greedy_decode", "x=f32[4, 4], i=i64[] in 0..4",
     "def forward(self, x, i):\n  out = torch.zeros([6], dtype=4)\n  t = i\n  for k in range(6):\n    out[k] = t\n    t = x[int(t)].argmax()\n  "
     "return out\n"},
    {"long_loop", "x=f32[3], w=f32[3, 3] in -0.5..0.5",
     "def forward(self, x, w):\n  for i in range(3000):\n    x = torch.tanh(torch.mv(w, x) + 0.1)\n  return x\n"},
    {"check_in_loop", "x=f32[3], n=i64[] in 1..9",
     "def forward(self, x, n):\n  for i in range(int(n)):\n    assert x.abs().max() < 1000, 'diverges'\n    x = x * 1.1\n  return x\n"},
    // ---- Python ----
    {"comprehension", "x=f32[2, 3]", "def forward(self, x):\n  ys = [x * i for i in range(3)]\n  return torch.stack([y + 1 for y in ys])\n"},
    {"zip_enumerate", "x=f32[2, 3]",
     "def forward(self, x):\n  y = x\n  for i, (a, b) in enumerate(zip([1, 2], [3.0, 4.0])):\n    y = y * a + b * i\n  return y\n"},
    {"lists", "x=f32[3]",
     "def forward(self, x):\n  l = [3, 1, 2]\n  l.sort()\n  l.insert(0, 9)\n  l.extend([5, 6])\n  l.reverse()\n  p = l.pop()\n  l.remove(5)\n  del "
     "l[0]\n  m = l[1:] + [p] * 2\n "
     " return x * len(m) + m[0] + m[-1] + l.index(2) + l.count(1) + sum(m)\n"},
    {"lists_backwards", "x=f32[3]",
     "def forward(self, x):\n  l = [1, 2, 3, 4, 5]\n  y = x\n  for p in [l[::-1], l[3:0:-2], l[-2::-1], l[:1:-1], l[0:4:-1]]:\n    for n in p:\n     "
     " y = y * "
     "2 + n\n  return y\n"},
    {"tensor_is_tensor", "x=f32[3]",
     "def forward(self, x):\n  y = x\n  z = x + 0\n  l = [x]\n  n = 0\n  if x is y and l[0] is x:\n    n += 1\n  if x is z or x is not y or x is "
     "x[:2]:\n    n += 10\n"
     "  return x * n\n"},
    {"dicts", "x=f32[3]",
     "def forward(self, x):\n  d : Dict[str, int] = {'a': 1}\n  d['b'] = 2\n  d.update({'c': 3})\n  d.setdefault('d', 4)\n  n = d.pop('a') + "
     "d.get('z', 7) + len(d)\n  for k, v in "
     "d.items():\n    n += v * len(k)\n  if 'b' in d:\n    n += 1\n  e : Dict[int, Tensor] = {1: x, 2: x + 1}\n  for v in d.values():\n    n += v\n  "
     "return e[1] * n + e[2] + "
     "len(list(d.keys()))\n"},
    {"strings", "x=f32[3]",
     "def forward(self, x):\n  s = 'a,b'.upper().split(',')\n  t = '-'.join(s)\n  n = 0\n  if t == 'A-B' and t.startswith('A') and 'B' in t:\n    n "
     "= len(t)\n  return x * n\n"},
    {"defaults", "x=f32[3]",
     "def f(self, x, a : int = 2, b : float = 0.5):\n  return x * a + b\ndef forward(self, x):\n  l : List[Tensor] = []\n  "
     "l.append(self.f(x))\n  "
     "l.append(self.f(x, b=1.5))\n  return torch.cat(l)\n"},
    {"unpack_shape", "x=f32[2, 3]", "def forward(self, x):\n  b, n = x.shape\n  a, rest = 1, [2, 3]\n  return x.view([n, b]) * a + rest[1]\n"},
    {"isinstance_refines", "x=f32[3]",
     "def f(self, x, v : Union[int, float]):\n  if isinstance(v, int):\n    return x + v\n  return x * v\ndef forward(self, x):\n  return self.f(x, "
     "2) + self.f(x, 2.5)\n"},
    // ---- None on some ways only ----
    {"optional_after_branch", "x=f32[3]",
     "def forward(self, x):\n  y : Optional[Tensor] = None\n  if x[0] > 0:\n    y = x * 2\n  if y is not None:\n    return x + y\n  return x - 1\n"},
    {"optional_number", "x=f32[3]",
     "def forward(self, x):\n  n : Optional[int] = None\n  if x[0] > 0:\n    n = int(x[1] * 10)\n  if n is None:\n    n = 7\n  return x * n\n"},
    {"optional_in_loop", "x=f32[3], n=i64[] in 0..5",
     "def forward(self, x, n):\n  best : Optional[Tensor] = None\n  y = x\n  for i in range(int(n)):\n    y = y * 1.5\n    if best is None:\n      "
     "best = y\n   "
     " else:\n      best = torch.maximum(best, y - 1)\n  if best is None:\n    return x\n  return best\n"},
    {"optional_set_to_none", "x=f32[3]",
     "def forward(self, x):\n  y : Optional[Tensor] = x + 1\n  if x[0] > 0:\n    y = None\n  z = x\n  if y is None or bool(x[1] > 0):\n    z = z + "
     "3\n  if y is not "
     "None:\n    z = z + y\n  return z\n"},
    {"optional_in_list", "x=f32[3]",
     "def forward(self, x):\n  ys : List[Optional[Tensor]] = [x, None]\n  if x[0] > 0:\n    ys[1] = x * 2\n  z = x\n  for y in ys:\n    if y is not "
     "None:\n      z = "
     "z + y\n  return z\n"},
    {"optional_passed_on", "x=f32[3]",
     "def f(self, x, m : Optional[Tensor]):\n  if m is not None:\n    return x * m\n  return x\ndef forward(self, x):\n  m : Optional[Tensor] = "
     "None\n  if x[0] > "
     "0:\n    m = x + 1\n  return self.f(x, m)\n"},
};

class Script : public Judged, public testing::WithParamInterface<Scripted> {};

TEST_P(Script, MatchesLibTorch) {
  const Scripted& script = GetParam();
  const auto inputs = parse_sample_inputs(script.inputs, diagnostics);
  ASSERT_TRUE(inputs) << diagnostics.to_string();
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    raw_.clear(), host_.clear(), judged_.clear(), options_ = {};
    judge(std::string(script.source), *inputs, fmt::format("script_{}", script.name), seed);
    if (HasFatalFailure()) return;
    expect_import();
    if (HasFailure()) return;
  }
  expect_compiled();
}

INSTANTIATE_TEST_SUITE_P(All, Script, testing::ValuesIn(all_scripts), [](const auto& p) { return std::string(p.param.name); });

}  // namespace
}  // namespace mica::numerics
