#include "judge.h"

#include <unistd.h>

#include <cmath>

#include "mica/ir/verify.h"

namespace mica::numerics {

namespace {

double roundoff(DType t) { return t == DType::f64 ? 1e-9 : t == DType::f32 ? 1e-6 : t == DType::f16 ? 2e-3 : t == DType::bf16 ? 1.6e-2 : 0; }

void expect_same(const HostTensor& got, const HostTensor& expected, double tolerance) {
  ASSERT_EQ(got.shape, expected.shape) << got.shape.to_string() << ", but LibTorch has " << expected.shape.to_string();
  ASSERT_EQ(is_float(got.dtype), is_float(expected.dtype));
  for (size_t i = 0; i < expected.real.size(); ++i) {
    const double a = got.real[i], b = expected.real[i];
    if (std::isnan(a) && std::isnan(b)) continue;
    if (std::isinf(b)) {
      ASSERT_EQ(a, b) << "element " << i;
      continue;
    }
    ASSERT_LE(std::fabs(a - b), tolerance * std::max(1.0, std::fabs(b))) << "element " << i << ": " << a << ", but LibTorch has " << b;
  }
  for (size_t i = 0; i < expected.integer.size(); ++i) ASSERT_EQ(got.integer[i], expected.integer[i]) << "element " << i;
}

}  // namespace

Judged::~Judged() {
  std::error_code ignored;
  std::filesystem::remove(file_, ignored);
  std::filesystem::remove(library_, ignored);
}

void Judged::judge(const std::string& source, const std::vector<SampleInput>& inputs, const std::string& name, uint64_t seed,
                   const std::vector<SampleInput>& weights) {
  SCOPED_TRACE(source);
  const auto bytes = draw_inputs(inputs, seed);
  for (size_t i = 0; i < bytes.size(); ++i) {
    raw_.push_back({inputs[i].type, bytes[i]});
    host_.push_back(to_host(inputs[i].type, bytes[i]));
    options_.inputs.push_back({inputs[i].name, inputs[i].type.shape, inputs[i].type.dtype, std::nullopt, inputs[i].name});
  }
  file_ = std::filesystem::temp_directory_path() / fmt::format("mica_{}_{}.pt", ::getpid(), name);
  ScriptModule module{.source = source, .parameters = {}, .children = {}};
  const auto weight_bytes = draw_inputs(weights, seed + 1);
  for (size_t i = 0; i < weights.size(); ++i) module.parameters.emplace_back(weights[i].name, RawTensor{weights[i].type, weight_bytes[i]});
  ASSERT_TRUE(write_script(file_, module, {}, diagnostics)) << diagnostics.to_string();
  auto exact = EagerModel::load(file_, EagerMode::fp64, 1, options_, diagnostics);
  ASSERT_TRUE(exact) << diagnostics.to_string();
  auto outputs = exact->run(raw_, diagnostics);
  ASSERT_TRUE(outputs) << diagnostics.to_string();
  exact_ = std::move(*outputs);
  for (const RawTensor& r : exact_) judged_.push_back(to_host(r.type, r.bytes));
  auto eager = EagerModel::load(file_, EagerMode::eager, 1, options_, diagnostics);
  ASSERT_TRUE(eager) << diagnostics.to_string();
  Diagnostics refused;
  if (auto working_outputs = eager->run(raw_, refused)) eager_ = std::move(*working_outputs);
}

void Judged::judge_program(const std::vector<SampleInput>& inputs, const std::vector<SampleInput>& weights, std::string_view body,
                           const std::string& name, uint64_t seed) {
  std::string source = "def forward(self";
  for (const SampleInput& in : inputs) source += ", " + in.name;
  source += "):\n";
  for (const SampleInput& w : weights) source += fmt::format("  {0} = self.{0}\n", w.name);
  for (size_t end = 0; end != std::string_view::npos;) {
    end = body.find("; ");
    source += fmt::format("  {}\n", body.substr(0, end));
    if (end != std::string_view::npos) body.remove_prefix(end + 2);
  }
  judge(source, inputs, name, seed, weights);
}

std::vector<SampleInput> Judged::inputs_at(std::string_view text, int64_t size) {
  std::string sized(text);
  for (size_t at; (at = sized.find('N')) != std::string::npos;) sized.replace(at, 1, std::to_string(size));
  auto made = parse_sample_inputs(sized, diagnostics);
  EXPECT_TRUE(made) << diagnostics.to_string();
  return made ? *made : std::vector<SampleInput>();
}

void Judged::compare(const std::vector<HostTensor>& got, double least) const {
  ASSERT_EQ(got.size(), judged_.size());
  for (size_t i = 0; i < got.size(); ++i) expect_same(got[i], judged_[i], std::max(least, roundoff(judged_[i].dtype)));
}

void Judged::expect_import() {
  auto model = load_torchscript(file_, options_, diagnostics);
  ASSERT_TRUE(model) << diagnostics.to_string();
  ASSERT_TRUE(verify(model->graph, diagnostics)) << diagnostics.to_string();
  auto got = interpret(model->graph, host_, diagnostics);
  ASSERT_TRUE(got) << diagnostics.to_string();
  compare(*got, 1e-6);
  for (size_t i = 0; i < eager_.size(); ++i) {
    const TensorType& type = model->graph.type(model->graph.outputs[i]);
    if (type.shape.is_static()) EXPECT_EQ(type.to_string(), eager_[i].type.to_string());
    else EXPECT_EQ(type.dtype, eager_[i].type.dtype);
  }
}

}  // namespace mica::numerics
