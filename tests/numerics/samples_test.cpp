// Every sample of every op: Mica's meaning of it (interpreted in fp64) and the import of its TorchScript spelling against LibTorch in fp64.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "mica/frontend/script.h"
#include "mica/ir/interpret.h"
#include "mica/ir/verify.h"
#include "programs.h"

namespace mica::numerics {
namespace {

struct Case {
  const OpInfo* op;
  std::string_view sample;
  size_t number;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const OpInfo* op : all_ops()) {
    for (size_t i = 0; i < op->spec->samples.size() && !op->spec->samples[i].empty(); ++i) cases.push_back({op, op->spec->samples[i], i});
  }
  return cases;
}

void PrintTo(const Case& c, std::ostream* out) { *out << c.op->name() << "(" << c.sample << ")"; }

/// Largest distance that rounding to a dtype explains, relative to the larger of 1 and the value.
double roundoff(DType t) { return t == DType::f64 ? 1e-9 : t == DType::f32 ? 1e-6 : t == DType::f16 ? 2e-3 : t == DType::bf16 ? 1.6e-2 : 0; }

void expect_same(const HostTensor& got, const HostTensor& expected, double tolerance) {
  ASSERT_EQ(got.shape, expected.shape);
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

class Samples : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    auto sample = parse_sample(*GetParam().op, GetParam().sample, diagnostics);
    ASSERT_TRUE(sample) << diagnostics.to_string();
    sample_ = std::move(*sample);
    const std::string source = program_of(sample_);
    ASSERT_FALSE(source.empty()) << "tests/numerics/programs.cpp has no program for " << GetParam().op->name();
    SCOPED_TRACE(source);
    const auto bytes = draw_inputs(sample_, 17 + GetParam().number);
    for (size_t i = 0; i < bytes.size(); ++i) {
      raw_.push_back({sample_.inputs[i].type, bytes[i]});
      host_.push_back(to_host(sample_.inputs[i].type, bytes[i]));
    }
    file_ = std::filesystem::temp_directory_path() / fmt::format("mica_{}_{}_{}.pt", ::getpid(), GetParam().op->name(), GetParam().number);
    ASSERT_TRUE(write_script(file_, {.source = source, .parameters = {}, .children = {}}, {}, diagnostics)) << source << diagnostics.to_string();
    for (const SampleInput& in : sample_.inputs) options_.inputs.push_back({in.name, in.type.shape, in.type.dtype, std::nullopt, in.name});
    auto judge = EagerModel::load(file_, EagerMode::fp64, 1, options_, diagnostics);
    ASSERT_TRUE(judge) << source << diagnostics.to_string();
    auto outputs = judge->run(raw_, diagnostics);
    ASSERT_TRUE(outputs) << source << diagnostics.to_string();
    for (const RawTensor& r : *outputs) judged_.push_back(to_host(r.type, r.bytes));
  }
  void TearDown() override { std::filesystem::remove(file_); }

  void compare(const std::vector<HostTensor>& got, double least) {
    ASSERT_EQ(got.size(), judged_.size());
    for (size_t i = 0; i < got.size(); ++i) expect_same(got[i], judged_[i], std::max(least, roundoff(judged_[i].dtype)));
  }

  Diagnostics diagnostics;
  Sample sample_;
  std::vector<RawTensor> raw_;
  std::vector<HostTensor> host_, judged_;
  std::filesystem::path file_;
  LoadOptions options_;
};

/// The op's own meaning.
TEST_P(Samples, Define) {
  ASSERT_TRUE(verify(sample_.graph, diagnostics)) << diagnostics.to_string();
  auto got = interpret(sample_.graph, host_, diagnostics);
  ASSERT_TRUE(got) << diagnostics.to_string();
  // Decompositions hold constants in the working dtype.
  compare(*got, GetParam().op->decompose ? 1e-6 : 1e-9);
}

/// What the importer makes of the TorchScript spelling, and that it infers LibTorch's dtypes.
TEST_P(Samples, Import) {
  auto model = load_torchscript(file_, options_, diagnostics);
  ASSERT_TRUE(model) << diagnostics.to_string();
  ASSERT_TRUE(verify(model->graph, diagnostics)) << diagnostics.to_string();
  auto got = interpret(model->graph, host_, diagnostics);
  ASSERT_TRUE(got) << diagnostics.to_string();
  compare(*got, 1e-6);
  auto eager = EagerModel::load(file_, EagerMode::eager, 1, options_, diagnostics);
  ASSERT_TRUE(eager) << diagnostics.to_string();
  Diagnostics refused;  // LibTorch has no f16 kernel of some ops
  if (auto outputs = eager->run(raw_, refused)) {
    for (size_t i = 0; i < outputs->size(); ++i) {
      const TensorType &expected = (*outputs)[i].type, &imported = model->graph.type(model->graph.outputs[i]), &own = sample_.graph.type(sample_.graph.outputs[i]);
      EXPECT_EQ(imported.to_string(), expected.to_string());
      // Layouts are Mica's own affair.
      EXPECT_EQ((TensorType{own.dtype, own.shape, {}}).to_string(), expected.to_string());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(ops, Samples, testing::ValuesIn(all_cases()), [](const auto& info) { return fmt::format("{}_{}", info.param.op->name(), info.param.number); });

}  // namespace
}  // namespace mica::numerics
