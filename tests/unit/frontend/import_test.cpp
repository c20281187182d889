// build/release/tests/bin/unit_frontend --gtest_filter='Import.*'
// Small TorchScript programs, imported and run by the graph interpreter, against LibTorch in fp64.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "mica/frontend/script.h"
#include "mica/ir/interpret.h"
#include "mica/ir/verify.h"

namespace mica {
namespace {

RawTensor make(DType dtype, std::vector<int64_t> sizes, uint64_t seed = 1) {
  const TensorType type{.dtype = dtype, .shape = Shape(sizes), .layout = {}};
  std::mt19937_64 random(seed);
  HostTensor t{.dtype = dtype, .shape = type.shape, .real = {}, .integer = {}};
  for (int64_t i = 0; i < type.shape.elements(); ++i) {
    if (is_float(dtype)) t.real.push_back(static_cast<float>(std::uniform_real_distribution<double>(-1, 1)(random)));
    else t.integer.push_back(static_cast<int64_t>(random() % (is_bool(dtype) ? 2 : 3)));
  }
  return {type, from_host(t, type)};
}
RawTensor f32(std::vector<int64_t> sizes, uint64_t seed = 1) { return make(DType::f32, std::move(sizes), seed); }
RawTensor i64(std::vector<int64_t> sizes, uint64_t seed = 1) { return make(DType::i64, std::move(sizes), seed); }

std::filesystem::path scratch() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  return std::filesystem::path(testing::TempDir()) / (std::string("mica_") + info->test_suite_name() + "_" + info->name() + ".pt");
}

LoadedModel import(const ScriptModule& module, const std::vector<RawTensor>& inputs, Diagnostics& d) {
  EXPECT_TRUE(write_script(scratch(), module, inputs, d)) << d.to_string();
  auto model = load_torchscript(scratch(), {}, d);
  return model ? std::move(*model) : LoadedModel{};
}

/// Imports, verifies, interprets, and compares every output with LibTorch in fp64.
LoadedModel check(const ScriptModule& module, const std::vector<RawTensor>& inputs) {
  Diagnostics d;
  LoadedModel model = import(module, inputs, d);
  EXPECT_FALSE(d.has_errors()) << d.to_string();
  if (d.has_errors()) return model;
  EXPECT_TRUE(verify(model.graph, d)) << d.to_string();
  std::vector<HostTensor> host;
  for (const RawTensor& raw : inputs) host.push_back(to_host(raw.type, raw.bytes));
  const auto got = interpret(model.graph, host, d);
  auto judge = EagerModel::load(scratch(), EagerMode::fp64, 1, {}, d);
  const auto want = judge ? judge->run(inputs, d) : Result<std::vector<RawTensor>>(Failure{});
  std::filesystem::remove(scratch());
  EXPECT_TRUE(got && want) << d.to_string();
  if (!got || !want) return model;
  EXPECT_EQ(got->size(), want->size());
  for (size_t i = 0; i < got->size() && i < want->size(); ++i) {
    const HostTensor a = (*got)[i], b = to_host((*want)[i].type, (*want)[i].bytes);
    EXPECT_EQ(a.shape, b.shape) << a.shape.to_string() << " against " << b.shape.to_string();
    EXPECT_EQ(a.integer, b.integer);
    EXPECT_EQ(a.real.size(), b.real.size());
    for (size_t k = 0; k < a.real.size() && k < b.real.size(); ++k)
      EXPECT_NEAR(a.real[k], b.real[k], 1e-9 * std::max(1.0, std::abs(b.real[k]))) << "output " << i << " element " << k;
  }
  return model;
}
LoadedModel check(const std::string& source, const std::vector<RawTensor>& inputs) {
  return check(ScriptModule{.source = source, .parameters = {}, .children = {}}, inputs);
}

/// The name of the only error that importing gives.
std::string error_of(const ScriptModule& module, const std::vector<RawTensor>& inputs, int exit_code) {
  Diagnostics d;
  import(module, inputs, d);
  std::filesystem::remove(scratch());
  EXPECT_EQ(d.exit_code(), exit_code) << d.to_string();
  for (const Diagnostic& e : d.all()) {
    if (e.severity != Severity::error) continue;
    EXPECT_FALSE(e.helps.empty()) << e.to_string();
    return e.name;
  }
  return "";
}
std::string error_of(const std::string& source, const std::vector<RawTensor>& inputs, int exit_code) {
  return error_of(ScriptModule{.source = source, .parameters = {}, .children = {}}, inputs, exit_code);
}

TEST(Import, Arithmetic) { check("def forward(self, x, y):\n  return torch.relu(x * 2 + y) - 1.5\n", {f32({2, 3}), f32({3}, 2)}); }

TEST(Import, ParametersAndSubmodules) {
  const ScriptModule inner{.source = "def forward(self, x):\n  return x * self.w\n", .parameters = {{"w", f32({3}, 5)}}, .children = {}};
  const auto model = check({.source = "def forward(self, x):\n  return self.inner.forward(x) + self.inner.forward(x + 1)\n",
                            .parameters = {},
                            .children = {{"inner", inner}}},
                           {f32({2, 3})});
  int parameters = 0;
  for (const ConstantData& c : model.graph.constants) parameters += c.name == "inner.w";
  EXPECT_EQ(parameters, 1) << "a parameter that is used twice is one constant";
  bool located = false;
  for (const Node& n : model.graph.nodes) located = located || model.graph.location(n).module_path == "inner";
  EXPECT_TRUE(located);
}

TEST(Import, SizesFold) {
  check(
      "def forward(self, x):\n  b, n = x.size(0), x.size(1)\n  return x.view([b, n // 2, 2]).transpose(1, 2).reshape([b, -1]) / (float(n) ** 2 / "
      "9)\n",
      {f32({2, 6})});
}

TEST(Import, LoopsAndBranches) {
  check(
      "def forward(self, x):\n"
      "  parts : List[Tensor] = []\n"
      "  for i in range(3):\n"
      "    if i % 2 == 0:\n"
      "      parts.append(x + i)\n"
      "    else:\n"
      "      parts.append(x * i)\n"
      "  k = 0\n"
      "  while k < len(parts) - 1:\n"
      "    k += 1\n"
      "  return torch.cat(parts, 1) + k\n",
      {f32({2, 3})});
}

TEST(Import, InPlaceOnTheTensorItself) {
  check("def forward(self, x):\n  y = x * 2\n  z = y\n  y.add_(1)\n  y.relu_()\n  return y + z\n", {f32({2, 3})});
}
TEST(Import, InPlaceThroughSlice) { check("def forward(self, x):\n  y = x + 0\n  y[:, 1:3] = y[:, 0:2] * 10\n  return y\n", {f32({2, 4})}); }
TEST(Import, InPlaceThroughSelect) { check("def forward(self, x):\n  y = x + 0\n  y[1].mul_(3)\n  y[0, 2] = 7\n  return y\n", {f32({2, 4})}); }
TEST(Import, InPlaceThroughTranspose) { check("def forward(self, x):\n  y = x + 0\n  y.t()[1:3].add_(5)\n  return y\n", {f32({2, 4})}); }
TEST(Import, InPlaceThroughPermuteAndView) {
  check("def forward(self, x):\n  y = x + 0\n  v = y.view([2, 2, 2]).permute([2, 0, 1])\n  v[0].zero_()\n  return y, v\n", {f32({2, 4})});
}
TEST(Import, ViewsSeeLaterWrites) {
  check("def forward(self, x):\n  y = x + 0\n  v = y[0]\n  y.mul_(2)\n  y[:, 0] = 9\n  return v + 1\n", {f32({2, 4})});
}
TEST(Import, ViewsSeeWritesOfOtherViews) {
  check("def forward(self, x):\n  y = x + 0\n  a = y[:, :2]\n  b = y[:, 1:]\n  a.add_(100)\n  b.mul_(2)\n  return a, b, y\n", {f32({2, 4})});
}
TEST(Import, ChunksAreViews) {
  check("def forward(self, x):\n  y = x + 0\n  a, b = torch.chunk(y, 2, 1)\n  a.add_(1)\n  b.mul_(a)\n  return y\n", {f32({2, 4})});
}
TEST(Import, UnbindIsViews) { check("def forward(self, x):\n  y = x + 0\n  p = torch.unbind(y, 0)\n  p[1].add_(1)\n  return y\n", {f32({2, 4})}); }
TEST(Import, SqueezeIsAView) {
  check("def forward(self, x):\n  y = x + 0\n  y.unsqueeze(0).squeeze(0).unsqueeze(2).add_(1)\n  return y\n", {f32({2, 4})});
}
TEST(Import, CloneIsNoView) { check("def forward(self, x):\n  y = x + 0\n  c = y.clone()\n  y.add_(1)\n  return c, y\n", {f32({2, 4})}); }
TEST(Import, DropoutInEvalIsTheSameTensor) {
  check("def forward(self, x):\n  y = x + 0\n  d = torch.dropout(y, 0.5, False)\n  d.add_(1)\n  return y\n", {f32({2, 4})});
}
TEST(Import, ReshapeThenWriteThroughIt) {
  check("def forward(self, x):\n  y = (x + 0).transpose(0, 1).reshape([-1])\n  y.add_(1)\n  return y\n", {f32({2, 4})});
}
TEST(Import, CopiesOfKnownLayouts) {
  check("def forward(self, x):\n  y = (x + 0).transpose(0, 1)\n  r = y.reshape([-1])\n  y.add_(1)\n  return r\n", {f32({2, 4})});
  check("def forward(self, x):\n  y = (x + 0).transpose(0, 1)\n  r = y.contiguous()\n  r.add_(1)\n  return y\n", {f32({2, 4})});
}
TEST(Import, WriteThroughExpand) {
  EXPECT_EQ(error_of("def forward(self, x):\n  y = x + 0\n  y.expand([3, 4]).add_(1)\n  return y\n", {f32({1, 4})}, 3), "write-through-view");
}

TEST(Import, ViewsByTheirSchema) { check("def forward(self, x):\n  y = x + 0\n  d = torch.diagonal(y)\n  y.mul_(2)\n  return d\n", {f32({4, 4})}); }

TEST(Import, InputsAreNotWritten) {
  Diagnostics d;
  const auto model = import({.source = "def forward(self, x):\n  x.add_(1)\n  return x * 2\n", .parameters = {}, .children = {}}, {f32({2})}, d);
  EXPECT_FALSE(d.has_errors());
  ASSERT_EQ(d.all().size(), 1u);
  EXPECT_EQ(d.all()[0].name, "input-written");
  EXPECT_EQ(model.graph.outputs.size(), 1u);
}

TEST(Import, ConstantsFold) {
  check(
      "def forward(self, x):\n  n = x.size(1)\n  m = torch.tril(torch.ones([n, n]))\n  a = torch.arange(n)\n  return x.masked_fill(m == 0, -1.0) + "
      "a\n",
      {f32({4, 4})});
}
TEST(Import, ConstantsWrittenInPlace) {
  check("def forward(self, x):\n  m = torch.zeros([4, 4])\n  m[0:2] = 1.0\n  m[:, 3] = 2.0\n  m[1, 1] += 5.0\n  return x + m\n", {f32({4, 4})});
}
TEST(Import, InputWrittenIntoConstant) { check("def forward(self, x):\n  m = torch.zeros([4, 4])\n  m[1:3] = x\n  return m\n", {f32({2, 4})}); }
TEST(Import, ScaleFromTensorArithmetic) { check("def forward(self, x):\n  s = torch.tensor(3.0).sqrt()\n  return x / s\n", {f32({2})}); }
TEST(Import, NumberFromTensor) { check("def forward(self, x):\n  k = int(torch.tensor([3, 4]).sum())\n  return x.repeat([k])\n", {f32({2})}); }

TEST(Import, Containers) {
  const auto model =
      check("def forward(self, x):\n  d : Dict[str, Tensor] = {}\n  d['a'] = x + 1\n  d['b'] = x * 2\n  t = (d['a'], [d['b'], x])\n  return d, t\n",
            {f32({2})});
  EXPECT_EQ(model.graph.output_names, (std::vector<std::string>{"out.0.a", "out.0.b", "out.1.0", "out.1.1.0", "out.1.1.1"}));
  EXPECT_EQ(model.graph.output_structure.text, "({'a': 0, 'b': 1}, (2, [3, 4]))");
}
TEST(Import, NumbersAsResults) {
  const auto model = check("def forward(self, x):\n  return x + 1, [int(x[0]), 2], float(x[1]), {'a': True}, 'text', None\n", {f32({2})});
  EXPECT_EQ(model.graph.output_structure.text, "(0, [1, 2], 3, {'a': 4}, 'text', None)");
}
TEST(Import, SingleOutputName) {
  const auto model = check("def forward(self, x):\n  return x + 1\n", {f32({2})});
  EXPECT_EQ(model.graph.output_names, std::vector<std::string>{"out"});
  EXPECT_EQ(model.graph.input_structure.text, "(x,)");
  EXPECT_TRUE(model.traced_inputs.empty()) << "PyTorch stores the shapes of traced inputs, not their data";
}

TEST(Import, OptionalArguments) {
  check(
      "def helper(self, x, m : Optional[Tensor] = None):\n  if m is not None:\n    return x + m\n  return x\ndef forward(self, x):\n  return "
      "self.helper(x) * self.helper(x, x)\n",
      {f32({2})});
}
TEST(Import, DtypesAndPromotion) { check("def forward(self, i, x):\n  return i + x, i * 2, (x > 0).to(6), i.to(6) / 4\n", {i64({3}), f32({3})}); }

TEST(Import, NumbersFromSlicesOfConstants) {
  check("def forward(self, x):\n  n = torch.arange(x.size(0))\n  k = int(torch.cat([n[3:], n[:-1][::2]])[1])\n  return x[:k] + k\n", {f32({8, 2})});
}

TEST(Import, MessagesWithNumbers) {
  check(
      "def forward(self, x):\n  text = 'expected {} but got {}'.format(2, x.size(0))\n  if text != 'expected 2 but got 3':\n    return x\n  return x "
      "+ 1\n",
      {f32({3})});
}

TEST(Import, ConstantsOfEqualSizeStayApart) {
  // Each call makes a constant that is gone when it returns; the memory of one may be that of the next.
  ScriptModule m{
      .source = "def mixed(self, x, p):\n  return x * 0.5 + torch.cat([p, p]).t()\ndef forward(self, x):\n", .parameters = {}, .children = {}};
  for (int i = 0; i < 8; ++i) {
    const std::string name = "p" + std::to_string(i);
    m.source += "  x = self.mixed(x, self." + name + ")\n";
    m.parameters.emplace_back(name, f32({32, 16}, static_cast<uint64_t>(i) + 1));
  }
  m.source += "  return x\n";
  check(m, {f32({16, 64})});
}

TEST(Import, Asserts) {
  check("def forward(self, x):\n  assert x.dim() == 2\n  if x.size(0) > 5:\n    assert x.size(0) < 5, 'too many'\n  return x + 1\n", {f32({2, 3})});
  EXPECT_EQ(error_of("def forward(self, x):\n  assert x.size(0) < 2, 'too many'\n  return x + 1\n", {f32({2, 3})}, 1), "model-raises");
}

TEST(Import, DataDependentSizes) {
  EXPECT_EQ(error_of("def forward(self, x):\n  return torch.zeros([int(x[0])])\n", {f32({2})}, 3), "data-dependent");
  EXPECT_EQ(error_of("def forward(self, x):\n  return torch.topk(x, int(x[0]))[0]\n", {f32({2})}, 3), "data-dependent");
  EXPECT_EQ(error_of("def forward(self, x):\n  return torch.full([2], 1.0), str(int(x[0]))\n", {f32({2})}, 3), "data-dependent");
  EXPECT_EQ(error_of("def forward(self, x):\n  return x * x.item()\n", {f32({2})}, 1), "not-one-element");
}
TEST(Import, StridesAsPyTorchHasThem) {
  check(
      "def forward(self, x):\n  y = x.relu()\n  if y.t().is_contiguous() or not y[1:].is_contiguous() or y[:, 1:].is_contiguous():\n    return x\n  "
      "return y * "
      "y.t().stride(1) + y[1:].stride()[0]\n",
      {f32({3, 4})});
  check("def forward(self, x):\n  y = (x + 1)[1:]\n  return y.as_strided([2, 2], [1, 2]), y.as_strided([2], [1], 0)\n", {f32({3, 4})});
  EXPECT_EQ(error_of("def forward(self, x):\n  return torch.einsum('ij->ji', [x]).as_strided([2], [1])\n", {f32({3, 4})}, 3), "as-strided");
  EXPECT_EQ(error_of("def forward(self, x):\n  y = x.t() + 1\n  if y.is_contiguous():\n    return x\n  return y\n", {f32({3, 4})}, 3),
            "unclear-strides");
}
TEST(Import, BranchesDiffer) {
  Diagnostics d;
  import({.source = "def forward(self, x):\n  if x[0] > 0:\n    y = x.long()\n  else:\n    y = x\n  return y\n", .parameters = {}, .children = {}},
         {f32({2})}, d);
  EXPECT_EQ(d.exit_code(), 3);
  EXPECT_NE(d.to_string().find("'y' is i64[2] in one branch and f32[2] in the other [branches-differ]"), std::string::npos) << d.to_string();
  EXPECT_EQ(error_of("def forward(self, x):\n  l = [x]\n  if x[0] > 0:\n    l.append(x.long())\n  return torch.cat(l)\n", {f32({2})}, 3),
            "branches-differ");
  EXPECT_EQ(
      error_of("def forward(self, x):\n  l = [x]\n  for i in range(int(x[0])):\n    l.append(x.long())\n  return torch.cat(l)\n", {f32({2})}, 3),
      "branches-differ");
}
TEST(Import, OneOfSeveralWritten) {
  EXPECT_EQ(error_of("def forward(self, x):\n  a, b = x + 1, x + 2\n  y = a\n  if x[0] > 0:\n    y = b\n  y.add_(1)\n  return a\n", {f32({2})}, 3),
            "unclear-alias");
  EXPECT_EQ(error_of("def forward(self, x):\n  a, b = x + 1, x + 2\n  y = a\n  if x[0] > 0:\n    y = b\n  a.add_(1)\n  return y\n", {f32({2})}, 3),
            "unclear-alias");
  check("def forward(self, x):\n  a, b = x + 1, x + 2\n  y = a\n  if x[0] > 0:\n    y = b\n  y.add_(1)\n  return y\n", {f32({2})});
  EXPECT_EQ(
      error_of("def forward(self, x):\n  a, b = [x], [x + 1]\n  y = a\n  if x[0] > 0:\n    y = b\n  y[0] = x * 2\n  return a[0]\n", {f32({2})}, 3),
      "unclear-alias");
}
TEST(Import, NarrowFromTheEnd) { check("def forward(self, x):\n  y = x + 0\n  torch.narrow(y, 0, -3, 2).add_(1)\n  return y\n", {f32({5})}); }

TEST(Import, TrainingBakedIn) {
  EXPECT_EQ(error_of("def forward(self, x):\n  return torch.dropout(x, 0.5, True)\n", {f32({2})}, 1), "training-mode-baked");
  const ScriptModule bn{.source = "def forward(self, x):\n  return torch.batch_norm(x, None, None, self.mean, self.var, True, 0.1, 1e-5, False)\n",
                        .parameters = {{"mean", f32({3})}, {"var", f32({3})}},
                        .children = {}};
  EXPECT_EQ(error_of(bn, {f32({2, 3, 4})}, 1), "training-mode-baked");
  // Statistics that are kept nowhere are not training: a weight that is standardised on its way into a convolution.
  check({.source = "def forward(self, x):\n  w = torch.batch_norm(self.w.reshape(1, 4, -1), self.g, None, None, None, True, 0.0, 1e-6, "
                   "False).reshape_as(self.w)\n  return torch.conv2d(x, w)\n",
         .parameters = {{"w", f32({4, 3, 2, 2})}, {"g", f32({4})}},
         .children = {}},
        {f32({1, 3, 5, 5})});
}

TEST(Import, TrainingModeIsLeft) {
  Diagnostics d;
  const ScriptModule m{
      .source = "def forward(self, x):\n  return torch.dropout(x, 0.5, self.training) + 1\n", .parameters = {}, .children = {}, .training = true};
  import(m, {f32({2})}, d);
  EXPECT_FALSE(d.has_errors()) << d.to_string();
  ASSERT_EQ(d.all().size(), 1u);
  EXPECT_EQ(d.all()[0].name, "training-mode");
  EXPECT_EQ(d.all()[0].severity, Severity::note);
}

TEST(Import, StateOfTheModule) {
  const ScriptModule m{
      .source = "def forward(self, x):\n  self.count.add_(1)\n  return x + self.count\n", .parameters = {{"count", f32({1})}}, .children = {}};
  const LoadedModel model = check(m, {f32({2})});
  ASSERT_EQ(model.graph.states.size(), 1u);
  EXPECT_EQ(model.graph.states[0].name, "count");
}

TEST(Import, AllUnsupportedOpsAtOnce) {
  Diagnostics d;
  import({.source = "def forward(self, x):\n  a = torch.linalg_qr(x)[0]\n  b = torch.linalg_qr(x + 1)[1]\n  c = torch.linalg_eigvalsh(x)\n  return a "
                    "+ b + c\n",
          .parameters = {},
          .children = {}},
         {f32({3, 3})}, d);
  std::filesystem::remove(scratch());
  EXPECT_EQ(d.exit_code(), 3);
  EXPECT_EQ(d.error_count(), 2u) << d.to_string();
  EXPECT_NE(d.to_string().find("aten::linalg_qr is not supported (used 2 times) [unsupported-op]"), std::string::npos) << d.to_string();
  EXPECT_NE(d.to_string().find("aten::linalg_eigvalsh is not supported (used once)"), std::string::npos) << d.to_string();
}

TEST(Import, AListThatGrowsInAWhile) {
  check(
      "def forward(self, x):\n  out : List[Tensor] = []\n  y = x\n  while float(y.abs().sum()) > 0.1 and len(out) < 20:\n    y = y * 0.5\n    "
      "out.append(y)\n  return torch.stack(out).sum(0)\n",
      {f32({3})});
}

TEST(Import, WhatCannotBeEvaluatedIsNamed) {
  for (const char* source : {"def forward(self, x):\n  l = [x, x + 1]\n  return l[::0][0]\n",
                             "def forward(self, x):\n  if len([x, x][::0]) == 1:\n    x = x + 1\n  return x\n",
                             "def forward(self, x):\n  x.add_([x, x + 1][::0][0])\n  return x\n"}) {
    Diagnostics d;
    import({.source = source, .parameters = {}, .children = {}}, {f32({3})}, d);
    std::filesystem::remove(scratch());
    EXPECT_EQ(d.exit_code(), 3);
    EXPECT_NE(d.to_string().find("aten::slice is not supported with these arguments [unsupported-use]"), std::string::npos) << d.to_string();
  }
}

TEST(Import, WhatReadsAnUnsupportedResultIsNotReported) {
  Diagnostics d;
  import({.source = "def forward(self, x):\n  n = int(torch.linalg_det(x))\n  return x.reshape([n * 2, -1])[:n] + torch.zeros([n])\n",
          .parameters = {},
          .children = {}},
         {f32({3, 3})}, d);
  std::filesystem::remove(scratch());
  EXPECT_EQ(d.exit_code(), 3);
  EXPECT_EQ(d.error_count(), 1u) << d.to_string();
  EXPECT_EQ(d.to_string().find("aten::Int"), std::string::npos) << d.to_string();
}

// ---- inputs ----

Result<LoadedModel> load_with(const ScriptModule& module, const std::vector<std::string>& specs, const std::vector<RawTensor>& traced,
                              Diagnostics& d) {
  EXPECT_TRUE(write_script(scratch(), module, traced, d)) << d.to_string();
  LoadOptions options;
  for (const std::string& s : specs) {
    auto spec = parse_input_spec(s, d);
    if (spec) options.inputs.push_back(*spec);
  }
  auto model = load_torchscript(scratch(), options, d);
  std::filesystem::remove(scratch());
  return model;
}
const ScriptModule two{
    .source = "def forward(self, x, y, n : int = 2, m : Optional[Tensor] = None):\n  z = x + y * n\n  if m is not None:\n    z = z + m\n  return z\n",
    .parameters = {},
    .children = {}};

TEST(Inputs, ByPosition) {
  Diagnostics d;
  const auto model = load_with(two, {"2x3", "3"}, {}, d);
  ASSERT_TRUE(model) << d.to_string();
  EXPECT_EQ(model->graph.inputs.size(), 2u);
  EXPECT_EQ(model->graph.type(model->graph.inputs[1]).to_string(), "f32[3]");
  EXPECT_TRUE(model->traced_inputs.empty());
}
TEST(Inputs, ByNameAndNumber) {
  Diagnostics d;
  const auto model = load_with(two, {"y:3:f32", "n=5", "x:2x3", "m:1"}, {}, d);
  ASSERT_TRUE(model) << d.to_string();
  EXPECT_EQ(model->graph.input_structure.text, "(x, y, 5, m)");
}
TEST(Inputs, DtypeOfTheTrace) {
  Diagnostics d;
  const auto model = load_with(two, {"x:4x3"}, {i64({2, 3}), i64({3})}, d);
  ASSERT_TRUE(model) << d.to_string();
  EXPECT_EQ(model->graph.type(model->graph.inputs[0]).to_string(), "i64[4, 3]");
  EXPECT_TRUE(model->traced_inputs.empty());
}

/// What is said of a traced program whose sample had 16 steps, compiled for 4 to 16 of them.
std::string said_of_trace(const std::string& source, const std::string& spec = "x:2xSx16") {
  Diagnostics d;
  const ScriptModule module{.source = source, .parameters = {}, .children = {}};
  EXPECT_TRUE(write_script(scratch(), module, {f32({2, 16, 16})}, d)) << d.to_string();
  LoadOptions options;
  options.inputs.push_back(*parse_input_spec(spec, d));
  if (spec.find('S') != std::string::npos) options.symbols = {{"S", 4, 16}};
  EXPECT_TRUE(resolve_symbols(options, d)) << d.to_string();
  (void)load_torchscript(scratch(), options, d);
  std::filesystem::remove(scratch());
  return d.to_string();
}

TEST(Inputs, NumbersThatATraceHolds) {
  // The program compiles, but what it says for another length is not what the model means.
  const std::string sliced = said_of_trace("def forward(self, x):\n  return x * torch.arange(16)[0:3].sum(), x[:, :16]\n");
  EXPECT_NE(sliced.find("warning: aten::arange: the number 16 may be the size of S, and does not vary with it [baked-size]"), std::string::npos)
      << sliced;
  EXPECT_NE(sliced.find("aten::slice: the number 16 may be the size of S"), std::string::npos) << sliced;
  EXPECT_NE(sliced.find("axis 1 of 'x' had 16 elements when the model was traced"), std::string::npos) << sliced;
  EXPECT_NE(said_of_trace("def forward(self, x):\n  return x.sum(1) / 16\n").find("aten::div: the number 16 may be"), std::string::npos);
  // A size that is taken from the tensor varies with it, and where the axis does not vary there is nothing to say.
  const std::string good = said_of_trace("def forward(self, x):\n  return x * torch.arange(x.size(1)).sum(), x[:, :3], x / 4\n");
  EXPECT_EQ(good.find("baked-size"), std::string::npos) << good;
  const std::string fixed = said_of_trace("def forward(self, x):\n  return x.view(2, 16, 16) * torch.arange(16)\n", "x:2x16x16");
  EXPECT_EQ(fixed.find("baked-size"), std::string::npos) << fixed;
}

TEST(Inputs, WrongName) {
  Diagnostics d;
  EXPECT_FALSE(load_with(two, {"q:2x3"}, {f32({2, 3}), f32({3})}, d));
  EXPECT_NE(d.to_string().find("its inputs are: x, y, n, m"), std::string::npos) << d.to_string();
}
TEST(Inputs, TooMany) {
  Diagnostics d;
  EXPECT_FALSE(load_with(two, {"2x3", "3", "1", "1", "1"}, {}, d));
  EXPECT_EQ(d.all()[0].name, "too-many-inputs");
}
TEST(Inputs, MissingSaysWhatToFillIn) {
  Diagnostics d;
  EXPECT_FALSE(load_with(two, {}, {}, d));
  ASSERT_EQ(d.all().size(), 1u);
  EXPECT_EQ(d.all()[0].name, "missing-input");
  EXPECT_NE(d.to_string().find("fill in: --input x:SHAPE:DTYPE --input y:SHAPE:DTYPE"), std::string::npos) << d.to_string();
  EXPECT_NE(d.to_string().find("forward(x: Tensor, y: Tensor, n: int = 2, m: Optional[Tensor] = None) -> Tensor"), std::string::npos)
      << d.to_string();
}
TEST(Inputs, Containers) {
  Diagnostics d;
  const ScriptModule m{
      .source = "def forward(self, xs : List[Tensor], d : Dict[str, Tensor], t : Tuple[Tensor, Tensor]):\n  return xs[0] + xs[1] + d['k'] + t[1]\n",
      .parameters = {},
      .children = {}};
  const auto model = load_with(m, {"xs.0:2", "xs.1:2", "d.k:2", "t.0:2", "t.1:2"}, {}, d);
  ASSERT_TRUE(model) << d.to_string();
  EXPECT_EQ(model->graph.input_structure.text, "([xs.0, xs.1], {'k': d.k}, (t.0, t.1))");
  EXPECT_EQ(model->graph.inputs.size(), 5u);
}

}  // namespace
}  // namespace mica
