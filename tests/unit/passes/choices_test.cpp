// Forms that schedules offer: how they are asked for, and that each of them computes the same. Run alone: ctest --preset release -R unit_passes
#include "mica/pass/choices.h"

#include "../../../passes/lower/emit.h"
#include "lowered.h"

namespace mica {
namespace {

using test::LowerPlan;
using test::optimised;

TEST(choices, the_first_candidate_is_taken_unless_another_is_told) {
  Chooser chooser({{"kernel", {{"tile", "b"}, {"order", "gone"}}}});
  const uint32_t kernel = chooser.subject("kernel"), other = chooser.subject("other");
  EXPECT_EQ(chooser.subject("kernel"), kernel);
  EXPECT_EQ(chooser.choose(kernel, "tile", {"a", "b"}), 1u);
  EXPECT_EQ(chooser.choose(kernel, "order", {"a", "b"}), 0u) << "a candidate that is not offered is no answer";
  EXPECT_EQ(chooser.choose(other, "tile", {"a", "b"}), 0u);
  EXPECT_EQ(chooser.choose(kernel, "tile", {"a", "b"}), 1u);
  ASSERT_EQ(chooser.subjects().size(), 2u);
  EXPECT_EQ(chooser.subjects()[kernel].choices.size(), 2u) << "a knob is kept once";
  EXPECT_EQ(chooser.subjects()[kernel].choices[0].taken, 1u);
  const Chooser::Count count = chooser.count();
  EXPECT_EQ(count.asked, 2u);
  EXPECT_EQ(count.answered, 1u);
  EXPECT_EQ(count.changed, 1u);
}

std::string conv(std::string_view x, std::string_view weight, std::string_view rest, std::string_view name = "c") {
  return fmt::format("graph(%x: {0}{1}) {{ %{3} = constant random<1> : {0}{2} %h = relu(%x) %y = conv(%h, %{3}, {4}) %r = relu(%y) return %r }}",
                     x.substr(0, x.find('[')), x.substr(x.find('[')), weight, name, rest);
}
constexpr std::string_view same = "stride=[1, 1], padding=[1, 1], dilation=[1, 1]";

/// What is asked for the kernels of a graph.
std::vector<ChoiceSubject> asked(const Graph& graph, LowerPlan plan, Answers answers = {}) {
  Chooser chooser(std::move(answers));
  plan.chooser = &chooser;
  (void)test::lower(graph, plan);
  return chooser.subjects();
}

TEST(choices, a_description_has_shapes_and_no_names) {
  const auto description = [](const std::string& text) { return asked(optimised(text), {}).at(0).description; };
  const std::string one = description(conv("f32[1, 8, 6, 6]", "[8, 8, 3, 3]", same, "layer1"));
  EXPECT_EQ(one, description(conv("f32[1, 8, 6, 6]", "[8, 8, 3, 3]", same, "layer2")));
  EXPECT_NE(one, description(conv("f32[1, 8, 6, 7]", "[8, 8, 3, 3]", same)));
  EXPECT_NE(one, description(conv("f32[1, 8, 6, 6]", "[8, 8, 3, 3]", "stride=[1, 1], padding=[1, 1], dilation=[2, 2]")));
  EXPECT_EQ(one.find("layer"), std::string::npos) << one;
  EXPECT_EQ(one.find('\n'), std::string::npos) << one;
}

TEST(choices, steps_know_what_was_asked_for_them) {
  Chooser chooser;
  LowerPlan plan;
  plan.chooser = &chooser;
  const Program p = test::lower(optimised(conv("f32[1, 64, 20, 20]", "[64, 64, 3, 3]", same)), plan);
  int64_t steps = 0;
  for_calls(p.steps, [&](const Step& s) { steps += s.subject == 0; });
  EXPECT_EQ(steps, 3) << "Winograd's three kernels\n" << to_string(p);
}

/// Every candidate of every question, one at a time, is right. The knobs that were turned, for whoever wants to know.
std::set<std::string> expect_all_forms(const std::string& text, const LowerPlan& plan, double tolerance = 1e-4) {
  SCOPED_TRACE(text);
  const Graph graph = optimised(text);
  std::vector<HostTensor> inputs = test::random_inputs(graph);
  for (HostTensor& t : inputs)
    for (double& x : t.real) x = std::round(16 * x) / 16;
  std::set<std::string> knobs;
  std::vector<Answers> open = {{}};
  std::set<Answers> known = {{}};
  for (size_t i = 0; i < open.size(); ++i) {
    const Answers answers = open[i];
    Chooser chooser(answers);
    LowerPlan with = plan;
    with.chooser = &chooser;
    test::expect_lowered(graph, inputs, with, tolerance);
    for (const ChoiceSubject& s : chooser.subjects()) {
      for (const Choice& c : s.choices) {
        knobs.insert(c.knob);
        EXPECT_GE(c.candidates.size(), 2u) << c.knob;
        EXPECT_EQ(std::set<std::string>(c.candidates.begin(), c.candidates.end()).size(), c.candidates.size()) << c.knob;
        // One knob away from the first forms, or two where another form asks questions of its own.
        const bool deep = answers.empty() || (answers.begin()->second.size() == 1 && answers.begin()->second.contains("form"));
        for (const std::string& candidate : c.candidates) {
          Answers next = answers;
          next[s.description][c.knob] = candidate;
          if (deep && candidate != c.candidates[c.taken] && known.insert(next).second) open.push_back(next);
        }
        const auto told = answers.find(s.description);
        if (told != answers.end() && told->second.contains(c.knob)) { EXPECT_EQ(c.candidates[c.taken], told->second.at(c.knob)); }
      }
    }
    if (testing::Test::HasFailure()) ADD_FAILURE() << fmt::format("{}", i ? "with answers" : "with the first candidates");
    if (testing::Test::HasFailure()) return knobs;
  }
  return knobs;
}

TEST(choices, every_form_of_a_convolution_is_right) {
  for (const char* cpu : {"x86-64-v4", "x86-64-v3"}) {
    const auto knobs = expect_all_forms(conv("f32[2, 7, 10, 11]", "[34, 7, 3, 3]", same), {cpu});
    for (const char* knob : {"form", "tile", "blocks", "panels outside", "asks ahead", "conv_winograd_product tile"})
      EXPECT_TRUE(knobs.contains(knob)) << knob;
    expect_all_forms(conv("f32[1, 20, 9, 11]", "[66, 20, 1, 1]", "stride=[2, 2], padding=[0, 0], dilation=[1, 1]"), {cpu});
    const LowerPlan small{cpu, true, WinogradUse::automatic, /*l2_bytes=*/1 << 12};
    EXPECT_TRUE(expect_all_forms(conv("f32[1, 4, 22, 21]", "[4, 4, 3, 3]", same), small).contains("winograd chunk"));
  }
}

TEST(choices, every_form_of_a_product_is_right) {
  for (const char* cpu : {"x86-64-v4", "x86-64-v3"}) {
    // More than one chain of sums; one row; an operand that is computed.
    expect_all_forms("graph(%x: f32[37, 600]) { %w = constant random<1> : f32[70, 600] %y = linear(%x, %w) %r = relu(%y) return %r }", {cpu});
    expect_all_forms("graph(%x: f32[1, 300]) { %w = constant random<1> : f32[70, 300] %y = linear(%x, %w) return %y }", {cpu});
    expect_all_forms("graph(%x: f32[3, 13, 20], %z: f32[3, 20, 70]) { %y = matmul(%x, %z) return %y }", {cpu});
  }
}

TEST(choices, every_form_of_a_depthwise_convolution_is_right) {
  const auto depthwise = [](std::string_view x, int channels, std::string_view rest, std::string_view result) {
    return fmt::format(
        "graph(%x: f32{}) {{ %w = constant random<1> : f32[{}, 1, 3, 3] %h = relu(%x) %y = conv(%h, %w, groups={}, {}) %m = mean(%y, axes=[2, 3]) "
        "%n = reshape(%m, shape=[2, {}, 1, 1]) %z = mul(%y, %n) return {} }}",
        x, channels, channels, rest, channels, result);
  };
  for (const char* cpu : {"x86-64-v4", "x86-64-v3"}) {
    const auto knobs = expect_all_forms(depthwise("[2, 72, 19, 21]", 72, same, "%y"), {cpu});
    for (const char* knob : {"vectors", "outputs", "blocks", "rows outside"}) EXPECT_TRUE(knobs.contains(knob)) << knob;
    expect_all_forms(depthwise("[2, 33, 15, 14]", 33, "stride=[2, 2], padding=[1, 1], dilation=[1, 1]", "%z"), {cpu});
  }
}

TEST(choices, every_form_by_matrix_registers_is_right) {
  const auto knobs = expect_all_forms("graph(%x: bf16[100, 96]) { %w = constant random<1> : bf16[200, 96] %y = linear(%x, %w) return %y }",
                                      {"sapphirerapids"}, 1e-2);
  for (const char* knob : {"matrix registers", "shares"}) EXPECT_TRUE(knobs.contains(knob)) << knob;
  const auto by_bands = expect_all_forms(conv("bf16[1, 32, 20, 20]", "[130, 32, 3, 3]", same), {"sapphirerapids"}, 1e-2);
  for (const char* knob : {"copies a band", "bands", "groups of panels", "panels outside"}) EXPECT_TRUE(by_bands.contains(knob)) << knob;
  const char* strided = "stride=[2, 2], padding=[1, 1], dilation=[1, 1]";
  EXPECT_TRUE(expect_all_forms(conv("bf16[1, 40, 20, 20]", "[130, 40, 3, 3]", strided), {"sapphirerapids"}, 1e-2).contains("groups of panels"));
}

}  // namespace
}  // namespace mica
