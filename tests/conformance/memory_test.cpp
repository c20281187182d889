// build/release/tests/bin/conformance --gtest_filter='*Memory*:*Guarded*'
// Programs whose every tensor stands between pages that cannot be touched, intermediates by --debug-memory and the caller's by the harness: a
// read or write outside ends the child. Every family of ops in turn; MICA_TEST_MEMORY=behind or before puts all other tests on this footing.
#include "conformance.h"
#include "guarded.h"

namespace mica::numerics {
namespace {

struct Guarded {
  Family family;
  Plan plan;
};
void PrintTo(const Guarded& g, std::ostream* out) { *out << g.family.name << " for " << g.plan.cpu; }

std::vector<Guarded> guarded_families() {
  std::vector<Guarded> all;
  for (const Family& f : other_families()) {
    all.push_back({f, {.cpu = "native", .memory = DebugMemory::behind}});
    all.push_back({f, {.cpu = "x86-64-v3", .memory = DebugMemory::before}});
  }
  return all;
}

class GuardedFamilies : public testing::TestWithParam<Guarded> {};
TEST_P(GuardedFamilies, TouchNothingElse) {
  size_t judged = 0;
  for (const Group& g : GetParam().family.groups()) {
    // One dtype of each size.
    if (!g.name.ends_with(" f32") && !g.name.ends_with(" i64") && !g.name.ends_with(" f16") && !g.name.ends_with(" u8")) continue;
    const Outcome out = run_group(g, GetParam().plan);
    judged += out.judged;
    EXPECT_TRUE(out.failures.empty()) << g.name << ": " << out.failures.size() << " cases fail, the first\n" << out.failures.front();
  }
  EXPECT_GT(judged, 0u);
}
INSTANTIATE_TEST_SUITE_P(ops, GuardedFamilies, testing::ValuesIn(guarded_families()), [](const auto& info) {
  return fmt::format("{}_{}", info.param.family.name, info.param.plan.memory == DebugMemory::behind ? "behind" : "before");
});

class Memory : public Judged {
 protected:
  /// What running the program between guards says; empty when all is well.
  std::string fault(std::string_view body, DebugMemory memory, Defect defect) {
    std::vector<SampleInput> inputs = *parse_sample_inputs("x=f32[1, 2, 5, 8]", diagnostics);
    if (raw_.empty()) judge_program(inputs, {}, body, "memory", 3);
    Options options;
    options.model = file_;
    options.output = std::filesystem::path(file_).replace_extension(".so");
    options.load = options_;
    options.cpu = "x86-64-v3";
    options.debug_memory = memory;
    options.debug_defect = defect;
    Diagnostics told;
    if (compile(options, told)) (void)run_library(options.output, raw_, 3, memory, told);
    std::filesystem::remove(options.output);
    return told.to_string();
  }
};

// The defect lets a window read a row behind its tensor's end.
constexpr std::string_view on_input = "return torch.avg_pool2d(x, [3, 3], [1, 1], [1, 1])";
constexpr std::string_view on_intermediate = "return torch.avg_pool2d(torch.softmax(x, 3), [3, 3], [1, 1], [1, 1])";

TEST_F(Memory, AReadBehindAnInputIsSeen) {
  EXPECT_EQ(fault(on_input, DebugMemory::behind, Defect::none), "");
  EXPECT_NE(fault(on_input, DebugMemory::behind, Defect::upper_bound).find("signal 11"), std::string::npos);
}
TEST_F(Memory, AReadBehindAnIntermediateIsSeen) {
  EXPECT_EQ(fault(on_intermediate, DebugMemory::behind, Defect::none), "");
  EXPECT_NE(fault(on_intermediate, DebugMemory::behind, Defect::upper_bound).find("signal 11"), std::string::npos);
}

}  // namespace
}  // namespace mica::numerics
