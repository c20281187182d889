// Every sample of every op: Mica's meaning of it (interpreted in fp64) and the import of its TorchScript spelling against LibTorch in fp64.
#include "judge.h"
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

class Samples : public Judged, public testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    auto sample = parse_sample(*GetParam().op, GetParam().sample, diagnostics);
    ASSERT_TRUE(sample) << diagnostics.to_string();
    sample_ = std::move(*sample);
    const std::string source = program_of(sample_);
    ASSERT_FALSE(source.empty()) << "tests/numerics/programs.cpp has no program for " << GetParam().op->name();
    judge(source, sample_.inputs, fmt::format("{}_{}", GetParam().op->name(), GetParam().number), 17 + GetParam().number);
  }
  Sample sample_;
};

/// The op's own meaning, and the types that it infers (layouts are Mica's own affair).
TEST_P(Samples, Define) {
  ASSERT_TRUE(verify(sample_.graph, diagnostics)) << diagnostics.to_string();
  auto got = interpret(sample_.graph, host_, diagnostics);
  ASSERT_TRUE(got) << diagnostics.to_string();
  // Decompositions hold constants in the working dtype.
  compare(*got, GetParam().op->decompose ? 1e-6 : 1e-9);
  for (size_t i = 0; i < eager_.size(); ++i) {
    const TensorType& own = sample_.graph.type(sample_.graph.outputs[i]);
    EXPECT_EQ((TensorType{own.dtype, own.shape, {}}).to_string(), eager_[i].type.to_string());
  }
}

/// What the importer makes of the TorchScript spelling.
TEST_P(Samples, Import) { expect_import(); }

/// What comes out of the compiled library.
TEST_P(Samples, Compiled) { expect_compiled(); }

INSTANTIATE_TEST_SUITE_P(ops, Samples, testing::ValuesIn(all_cases()),
                         [](const auto& info) { return fmt::format("{}_{}", info.param.op->name(), info.param.number); });

}  // namespace
}  // namespace mica::numerics
