// build/release/tests/bin/numerics --gtest_filter='All/Stateful.*'
// Modules that keep something from run to run, whatever method is compiled: several runs of one context, a reset, the same runs again, against
// LibTorch, which does them in one go.
#include <unistd.h>

#include "judge.h"
#include "mica/driver/numerics.h"
#include "mica/driver/so_model.h"

namespace mica::numerics {
namespace {

struct Program {
  std::string_view name;
  std::string_view attributes;   ///< "n: int = 0; cache: Tensor = torch.zeros([2])"
  std::string_view inputs;       ///< N in a shape stands for the size of the run
  std::vector<int64_t> sizes;    ///< one a run
  std::string_view source;       ///< of the method `forward`, and others
  std::string_view states = {};  ///< --state
  std::string_view method = "forward";
};

const Program all_programs[] = {
    {"counter",
     "n: int = 0; total: float = 0.5; even: bool = True",
     "x=f32[3]",
     {1, 1, 1, 1},
     "def forward(self, x):\n  self.n += 1\n  self.total = self.total * 0.5 + 2\n  self.even = not self.even\n"
     "  return x / self.n, self.n, self.total, self.even\n"},
    {"running_mean",
     "mean: Tensor = torch.zeros([3]); count: Tensor = torch.zeros([], dtype=4)",
     "x=f32[2, 3]",
     {1, 1, 1},
     "def forward(self, x):\n  self.count += 1\n  self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)\n  return (x - self.mean) / self.count\n"},
    {"streaming_convolution",
     "cache: Tensor = torch.zeros([1, 4, 2]); w: Tensor = torch.ones([4, 4, 3])",
     "x=f32[1, 4, 5]",
     {1, 1, 1},
     "def forward(self, x):\n  x = torch.cat([self.cache, x], 2)\n  self.cache = x[:, :, -2:]\n  return torch.conv1d(x, self.w)\n"},
    {"streaming_chunks_of_any_size",
     "cache: Tensor = torch.zeros([1, 2, 4])",
     "x=f32[1, N, 4]",
     {2, 3, 1, 3},
     "def forward(self, x):\n  y = torch.cat([self.cache, x], 1)\n  self.cache = y[:, -2:]\n  return y.cumsum(1)\n"},
    {"cache_that_grows",
     "k: Tensor = torch.zeros([1, 0, 4]); v: Tensor = torch.zeros([1, 0, 4])",
     "x=f32[1, 1, 4]",
     {1, 1, 1, 1, 1},
     "def forward(self, x):\n  self.k = torch.cat([self.k, x * 2], 1)\n  self.v = torch.cat([self.v, x - 1], 1)\n"
     "  return torch.softmax(x @ self.k.transpose(1, 2), -1) @ self.v\n",
     "k:1x8x4 v:1x8x4"},
    {"cache_that_grows_by_chunks",
     "k: Tensor = torch.zeros([1, 0, 4])",
     "x=f32[1, N, 4]",
     {2, 3, 1},
     "def forward(self, x):\n  self.k = torch.cat([self.k, x * 2], 1)\n  return torch.softmax(x @ self.k.transpose(1, 2), -1) @ self.k, "
     "self.k.size(1)\n",
     "k:1x8x4"},
    {"window",
     "k: Tensor = torch.zeros([1, 0, 4])",
     "x=f32[1, 1, 4]",
     {1, 1, 1, 1, 1, 1},
     "def forward(self, x):\n  self.k = torch.cat([self.k, x * 2], 1)[:, -3:]\n  return torch.softmax(x @ self.k.transpose(1, 2), -1) @ self.k, "
     "self.k\n"},
    {"none_at_first",
     "prev: Optional[Tensor] = None",
     "x=f32[2, 3]",
     {1, 1, 1},
     "def forward(self, x):\n  p = self.prev\n  if p is None:\n    y = x\n  else:\n    y = x - p\n  self.prev = x\n  return y\n"},
    {"none_at_first_then_of_any_size",
     "prev: Optional[Tensor] = None",
     "x=f32[1, N, 4]",
     {2, 3, 1, 3},
     "def forward(self, x):\n  p = self.prev\n  if p is not None:\n    y = torch.cat([p, x], 1)\n  else:\n    y = x\n  self.prev = x\n  return y\n"},
    {"none_at_first_then_grows",
     "prev: Optional[Tensor] = None",
     "x=f32[1, 1, 4]",
     {1, 1, 1, 1},
     "def forward(self, x):\n  p = self.prev\n  if p is not None:\n    x = torch.cat([p, x], 1)\n  self.prev = x\n  return x.sum(1), x\n",
     "prev:1x6x4"},
    {"none_or_a_pair",
     "state: Optional[Tuple[Tensor, Tensor]] = None",
     "x=f32[2, 3]",
     {1, 1, 1},
     "def forward(self, x):\n  s = self.state\n  if s is None:\n    a, b = torch.zeros([2, 3]), torch.ones([2, 3])\n  else:\n    a, b = s\n"
     "  a = torch.tanh(a + x)\n  b = b * a\n  self.state = (a, b)\n  return a + b\n"},
    {"cache_at_a_place",
     "pos: int = 0; k: Tensor = torch.zeros([1, 8, 4])",
     "x=f32[1, 1, 4]",
     {1, 1, 1},
     "def forward(self, x):\n  self.k[:, self.pos:self.pos + 1] = x\n  self.pos += 1\n  c = self.k[:, :self.pos]\n"
     "  return torch.softmax(x @ c.transpose(1, 2), -1) @ c\n"},
    {"ring",
     "i: int = 0; ring: Tensor = torch.zeros([3, 2])",
     "x=f32[2]",
     {1, 1, 1, 1, 1},
     "def forward(self, x):\n  self.ring[self.i % 3] = x\n  self.i += 1\n  return self.ring.mean(0)\n"},
    {"list_of_caches",
     "caches: List[Tensor] = [torch.zeros([2, 4]), torch.ones([2, 4])]",
     "x=f32[2, 4]",
     {1, 1, 1},
     "def forward(self, x):\n  new : List[Tensor] = []\n  for c in self.caches:\n    x = torch.tanh(x + c)\n    new.append(x)\n  self.caches = new\n"
     "  return x\n"},
    {"list_of_the_last",
     "last: List[Tensor] = []",
     "x=f32[2]",
     {1, 1, 1, 1, 1},
     "def forward(self, x):\n  self.last.append(x)\n  if len(self.last) > 2:\n    self.last.pop(0)\n  return torch.stack(self.last).sum(0), "
     "len(self.last)\n",
     "last:3x2"},
    {"dict",
     "d: Dict[str, Tensor] = {'a': torch.zeros([4])}",
     "x=f32[2, 4]",
     {1, 1, 1},
     "def forward(self, x):\n  self.d['a'] = self.d['a'] + x[0]\n  return self.d['a'] + x\n"},
    {"kept_when_better",
     "best: Tensor = torch.full([], -1000.0); since: int = 0",
     "x=f32[2, 4]",
     {1, 1, 1, 1},
     "def forward(self, x):\n  s = x.sum()\n  if bool(s > self.best):\n    self.best = s\n    self.since = 0\n  else:\n    self.since += 1\n"
     "  return self.best, self.since >= 2\n"},
    {"resets_itself",
     "h: Tensor = torch.zeros([2]); c: int = 0",
     "x=f32[2]",
     {1, 1, 1, 1, 1},
     "def clear(self):\n  self.h = torch.zeros([2])\n  self.c = 0\n\ndef forward(self, x):\n  if self.c >= 2:\n    self.clear()\n  self.h = self.h + "
     "x\n"
     "  self.c += 1\n  return self.h\n"},
    {"another_method",
     "h: Tensor = torch.zeros([2, 4])",
     "x=f32[2, 4]",
     {1, 1, 1},
     "def step(self, x):\n  self.h = torch.tanh(self.h + x)\n  return self.h\n\ndef forward(self, x):\n  return x\n",
     {},
     "step"},
    {"first_run_calibrates",
     "ready: bool = False; scale: Tensor = torch.ones([3])",
     "x=f32[2, 3]",
     {1, 1, 1},
     "def forward(self, x):\n  if not self.ready:\n    self.scale = x.abs().amax(0) + 1\n    self.ready = True\n  return x / self.scale\n"},
};

std::vector<std::string> split(std::string_view text, std::string_view at) {
  std::vector<std::string> parts;
  for (size_t end = 0; end != std::string_view::npos && !text.empty();) {
    end = text.find(at);
    parts.emplace_back(text.substr(0, end));
    if (end != std::string_view::npos) text.remove_prefix(end + at.size());
  }
  return parts;
}

class Stateful : public Judged, public testing::WithParamInterface<Program> {
 protected:
  std::vector<SampleInput> inputs(int64_t size) { return inputs_at(GetParam().inputs, size); }
  /// Saves the module, with a method that does all runs one after the other.
  void save() {
    const Program& p = GetParam();
    std::string drive = "\ndef drive(self", calls;
    for (size_t run = 0; run < p.sizes.size(); ++run) {
      std::string names;
      for (const SampleInput& in : inputs(1)) names += fmt::format("{}{}_{}", names.empty() ? "" : ", ", in.name, run);
      drive += ", " + names;
      calls += fmt::format("  r{} = self.{}({})\n", run, p.method, names);
    }
    drive += "):\n" + calls + "  return ";
    for (size_t run = 0; run < p.sizes.size(); ++run) drive += fmt::format("{}r{}", run ? ", " : "", run);
    ScriptModule module{.source = std::string(p.source) + drive + "\n", .parameters = {}, .children = {}};
    for (const std::string& text : split(p.attributes, "; ")) {
      const size_t colon = text.find(": "), equals = text.find(" = ");
      module.attributes.push_back({text.substr(0, colon), text.substr(colon + 2, equals - colon - 2), text.substr(equals + 3)});
    }
    file_ = std::filesystem::temp_directory_path() / fmt::format("mica_state_{}_{}.pt", ::getpid(), p.name);
    ASSERT_TRUE(write_script(file_, module, {}, diagnostics)) << diagnostics.to_string();
  }
  /// What LibTorch gives for all runs.
  std::vector<RawTensor> driven(EagerMode mode) {
    LoadOptions options;
    options.method = "drive";
    std::vector<RawTensor> all;
    for (size_t run = 0; run < runs_.size(); ++run) {
      const auto in = inputs(GetParam().sizes[run]);
      for (size_t i = 0; i < in.size(); ++i) {
        options.inputs.push_back({fmt::format("{}_{}", in[i].name, run), in[i].type.shape, in[i].type.dtype, std::nullopt, ""});
        all.push_back(runs_[run][i]);
      }
    }
    auto model = EagerModel::load(file_, mode, 1, options, diagnostics);
    EXPECT_TRUE(model) << diagnostics.to_string();
    auto outputs = model ? model->run(all, diagnostics) : Result<std::vector<RawTensor>>(Failure{});
    EXPECT_TRUE(outputs) << diagnostics.to_string();
    return outputs ? std::move(*outputs) : std::vector<RawTensor>();
  }
  std::vector<std::vector<RawTensor>> runs_;
};

TEST_P(Stateful, RunsAsLibTorch) {
  const Program& p = GetParam();
  save();
  if (HasFatalFailure()) return;
  for (size_t run = 0; run < p.sizes.size(); ++run) {
    const auto in = inputs(p.sizes[run]);
    const auto bytes = draw_inputs(in, 11 + run);
    runs_.emplace_back();
    for (size_t i = 0; i < in.size(); ++i) runs_.back().push_back({in[i].type, bytes[i]});
  }
  const std::vector<RawTensor> exact = driven(EagerMode::fp64), eager = driven(EagerMode::eager);
  options_ = {};
  options_.method = p.method;
  const int64_t low = *std::min_element(p.sizes.begin(), p.sizes.end()), high = *std::max_element(p.sizes.begin(), p.sizes.end());
  for (const int64_t size : low == high ? std::vector<int64_t>{low} : std::vector<int64_t>{low, high}) {
    for (const SampleInput& in : inputs(size)) options_.inputs.push_back({in.name, in.type.shape, in.type.dtype, std::nullopt, in.name});
  }
  ASSERT_TRUE(resolve_symbols(options_, diagnostics)) << diagnostics.to_string();
  for (const std::string& text : split(p.states, " ")) {
    auto spec = parse_state_spec(text, diagnostics);
    ASSERT_TRUE(spec) << diagnostics.to_string();
    options_.states.push_back(*spec);
  }
  compile_library({});
  if (HasFatalFailure()) return;
  for (const int threads : {1, 3}) {
    auto model = SoModel::load(library_, {.threads = threads}, diagnostics);
    ASSERT_TRUE(model) << diagnostics.to_string();
    for (int round = 0; round < 2; ++round) {
      size_t next = 0;
      ASSERT_EQ(model->reset(), 0) << model->last_error();
      for (size_t run = 0; run < runs_.size(); ++run) {
        SCOPED_TRACE(fmt::format("{} threads, round {}, run {}", threads, round, run));
        auto outputs = model->run(runs_[run], diagnostics);
        ASSERT_TRUE(outputs) << diagnostics.to_string();
        for (const RawTensor& out : *outputs) {
          ASSERT_LT(next, exact.size());
          const OutputVerdict v = judge_output("output", out, eager[next], exact[next], false);
          EXPECT_TRUE(v.pass) << v.reason << ": rmse " << v.mica.rmse << " against eager's " << v.eager.rmse << ", limit " << v.limit;
          ++next;
        }
      }
      EXPECT_EQ(next, exact.size());
    }
  }
}

/// The error of a module with an attribute `k` that starts as f32[1, 0, 4].
class StateLimits : public Judged {
 protected:
  std::string error_of(const std::string& source, const std::vector<std::string>& states) {
    file_ = std::filesystem::temp_directory_path() / fmt::format("mica_state_limits_{}.pt", ::getpid());
    const ScriptModule module{
        .source = source, .parameters = {}, .children = {}, .training = false, .attributes = {{"k", "Tensor", "torch.zeros([1, 0, 4])"}}};
    EXPECT_TRUE(write_script(file_, module, {}, diagnostics)) << diagnostics.to_string();
    LoadOptions options;
    options.inputs.push_back({"x", Shape{1, 1, 4}, DType::f32, std::nullopt, "x:1x1x4"});
    Diagnostics d;
    for (const std::string& text : states) {
      auto spec = parse_state_spec(text, d);
      if (!spec) return d.all().back().name;
      options.states.push_back(*spec);
    }
    (void)load_torchscript(file_, options, d);
    return d.error_count() ? d.all().back().name : "";
  }
};
constexpr const char* grows = "def forward(self, x):\n  self.k = torch.cat([self.k, x], 1)\n  return self.k.sum(1)\n";
constexpr const char* keeps = "def forward(self, x):\n  self.k = torch.cat([self.k, x], 1)[:, -2:]\n  return self.k.sum(1)\n";

TEST_F(StateLimits, what_they_are_for) {
  EXPECT_EQ(error_of(grows, {}), "growing-state");
  EXPECT_EQ(error_of(grows, {"k:1x9x4"}), "");
  EXPECT_EQ(error_of(keeps, {}), "");
  EXPECT_EQ(error_of(keeps, {"other:1x9x4"}), "state-unused");
  for (const char* text : {"k", "k:", "1x2", "k:1xSx4", "k:1x4:i64", "k=3"}) EXPECT_EQ(error_of(grows, {text}), "state-spec") << text;
}

TEST_F(StateLimits, a_run_that_would_pass_them_fails) {
  ASSERT_EQ(error_of(grows, {"k:1x2x4"}), "");
  options_.inputs = {{"x", Shape{1, 1, 4}, DType::f32, std::nullopt, "x:1x1x4"}};
  options_.states = {*parse_state_spec("k:1x2x4", diagnostics)};
  compile_library({});
  if (HasFatalFailure()) return;
  auto model = SoModel::load(library_, {.threads = 1}, diagnostics);
  ASSERT_TRUE(model);
  model->bind({{TensorType{DType::f32, Shape{1, 1, 4}, {}}, std::vector<std::byte>(16)}});
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(model->reset(), 0);
    EXPECT_EQ(model->run_bound(), 0);
    EXPECT_EQ(model->run_bound(), 0);
    EXPECT_NE(model->run_bound(), 0);
    EXPECT_NE(model->last_error().find("'k' has become larger than 2"), std::string::npos) << model->last_error();
  }
}

INSTANTIATE_TEST_SUITE_P(All, Stateful, testing::ValuesIn(all_programs), [](const auto& p) { return std::string(p.param.name); });

}  // namespace
}  // namespace mica::numerics
