// build/release/tests/bin/conformance
// Every op on every dtype that LibTorch takes it on, on shapes around the edges. MICA_CONFORMANCE_COUNT=1 prints how many cases were judged.
#include <cstdlib>

#include "conformance.h"

namespace mica::numerics {

static void PrintTo(const Family& f, std::ostream* out) { *out << f.name; }

namespace {

/// The plans take turns, so that every op meets every width of vectors.
Plan plan_of(size_t turn) {
  static constexpr const char* cpus[] = {"native", "x86-64-v3", "x86-64-v2"};
  Plan plan{.cpu = cpus[turn % 3]};
  if (const char* cpu = std::getenv("MICA_TEST_CPU")) plan.cpu = cpu;
  if (const char* defect = std::getenv("MICA_TEST_DEFECT")) plan.defect = find_defect(defect).value();
  if (const char* memory = std::getenv("MICA_TEST_MEMORY"))
    plan.memory = std::string_view(memory) == "before" ? DebugMemory::before : DebugMemory::behind;
  return plan;
}

void expect_right(const std::vector<Group>& groups, size_t turn) {
  size_t judged = 0, refused = 0, declined = 0;
  for (const Group& g : groups) {
    const Plan plan = plan_of(turn++);
    const Outcome out = run_group(g, plan);
    judged += out.judged;
    refused += out.refused;
    declined += out.declined;
    std::string text;
    for (size_t i = 0; i < out.failures.size() && i < 5; ++i) text += "  " + out.failures[i] + "\n";
    EXPECT_TRUE(out.failures.empty()) << g.name << ", for " << plan.cpu << ": " << out.failures.size() << " of " << out.judged << " cases fail\n"
                                      << text;
  }
  EXPECT_GT(judged, 0u);
  if (std::getenv("MICA_CONFORMANCE_COUNT"))
    std::cout << "judged " << judged << ", refused by LibTorch " << refused << ", declined by Mica " << declined << "\n";
}

struct Named {
  const OpInfo* op;
};
void PrintTo(const Named& n, std::ostream* out) { *out << n.op->name(); }
std::vector<Named> pointwise_ops() {
  std::vector<Named> all;
  for (const OpInfo* op : all_ops())
    if (!pointwise_groups(*op).empty()) all.push_back({op});
  return all;
}

class Pointwise : public testing::TestWithParam<Named> {};
TEST_P(Pointwise, Conforms) {
  size_t turn = 0;
  for (const char c : GetParam().op->name()) turn += static_cast<unsigned char>(c);
  expect_right(pointwise_groups(*GetParam().op), turn);
}
INSTANTIATE_TEST_SUITE_P(ops, Pointwise, testing::ValuesIn(pointwise_ops()), [](const auto& info) { return std::string(info.param.op->name()); });

class Families : public testing::TestWithParam<Family> {};
TEST_P(Families, Conforms) { expect_right(GetParam().groups(), 0); }
INSTANTIATE_TEST_SUITE_P(ops, Families, testing::ValuesIn(other_families().begin(), other_families().end()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mica::numerics
