// Programs that failed once, as the reducer left them: every file of tests/fuzz/cases.
//   build/release/tests/bin/fuzz_cases --gtest_filter=cases/Case.passes/NAME
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "oracle.h"

namespace mica::fuzz {

namespace {

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(MICA_SOURCE_DIR "/tests/fuzz/cases")) names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

class Case : public testing::TestWithParam<std::string> {};

TEST_P(Case, passes) {
  std::ifstream file(fmt::format("{}/tests/fuzz/cases/{}.txt", MICA_SOURCE_DIR, GetParam()));
  const auto program = parse_case({std::istreambuf_iterator<char>(file), {}});
  ASSERT_TRUE(program);
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("mica_case_{}_{}", ::getpid(), GetParam());
  std::filesystem::create_directories(folder);
  std::string why;
  const auto expected = run_eager(*program, folder, why);
  EXPECT_TRUE(expected) << why;
  for (const char* name : {"plain", "generic", "v3"}) {
    if (!expected) break;
    const Verdict v = judge(*program, *expected, *make_config(name, 0), folder);
    EXPECT_EQ(v.outcome, Outcome::passed) << name << ": " << v.kind << " " << v.detail;
  }
  std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(cases, Case, testing::ValuesIn(case_names()), [](const auto& info) { return info.param; });

TEST(Program, text_round_trip) {
  const std::string text =
      "# whole\n# x0: i64[2, 1] = 3 -4\n# w1: f32[] = 0.5\ndef forward(self, x0):\n  w1 = self.w1\n  v0 = x0 + w1\n  if True:\n"
      "    v1 = v0 * 2\n  else:\n    v1 = v0\n  return v0, v1\n";
  const auto program = parse_case(text);
  ASSERT_TRUE(program);
  EXPECT_EQ(case_text(*program, ""), text);
  ASSERT_EQ(program->statements.size(), 2U);
  EXPECT_EQ(program->statements[0].reads, (std::vector<std::string>{"x0", "w1"}));
  EXPECT_EQ(program->statements[1].defines, (std::vector<std::string>{"v1"}));
}

/// What LibTorch makes of a write from elements that it writes to at another place depends on the order in which it goes.
TEST(Scene, refuses_what_reads_where_it_writes) {
  Scene scene(1, true, false);
  RawTensor numbers{{DType::f32, Shape(std::vector<int64_t>{4, 4}), {}}, std::vector<std::byte>(16 * sizeof(float))};
  scene.add_leaf({"w0", numbers});
  const auto applies = [&](std::string text, uint32_t flags) {
    Statement s{.text = std::move(text), .flags = flags | exact | whole, .reads = {}, .defines = {}, .op = "some"};
    find_variables(s);
    return scene.apply(s);
  };
  for (const char* view : {"v0 = w0.clone()", "v1 = v0[0:2]", "v2 = v0[2:4]", "v3 = v0[1:3]", "v4 = v0[::2, 1]"})
    ASSERT_TRUE(applies(view, 0)) << view;
  for (const char* apart : {"v1.copy_(v2)", "v1 += v2", "v0[2:4] = v1", "v0[0:2, 1:] -= v2[:, 1:]", "v1.mul_(v1)", "v0.copy_(v0)", "v0[1:3] = v3"})
    EXPECT_TRUE(applies(apart, writes)) << apart << ": " << scene.why();
  for (const char* across : {"v1.copy_(v3)", "v3 += v2", "v0[0:2] = v3", "v0.copy_(v4)", "v2.add_(v0[3])"})
    EXPECT_FALSE(applies(across, writes)) << across;
}

}  // namespace

}  // namespace mica::fuzz
