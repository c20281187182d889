// Winograd convolutions by the kernel interpreter: borders, chunks of tiles that do not come out even, epilogues.
#include "lowered.h"

#include <cmath>

namespace mica {
namespace {

using test::optimised;

constexpr test::LowerPlan always[] = {{"x86-64-v4", true, WinogradUse::always}, {"x86-64-v3", true, WinogradUse::always}};

bool uses_winograd(const Graph& graph, const test::LowerPlan& plan) {
  const Program p = test::lower(graph, plan);
  return std::ranges::any_of(p.kernels, [](const Kernel& k) { return k.name.find("winograd") != std::string::npos; });
}

/// Answers with this form wherever it is asked for one.
Chooser taking(const Graph& graph, test::LowerPlan plan, const std::string& form) {
  Chooser asked;
  plan.chooser = &asked;
  test::lower(graph, plan);
  Answers answers;
  for (const ChoiceSubject& subject : asked.subjects()) {
    if (std::ranges::any_of(subject.choices, [](const Choice& c) { return c.knob == "form"; })) answers[subject.description]["form"] = form;
  }
  return Chooser(std::move(answers));
}

/// A pointwise convolution first: what the one with more taps reads has a place of its own, as within a model.
std::string model(std::string_view x, int channels, int outputs, std::string_view rest, std::string_view result = "%a",
                  std::string_view taps = "3, 3") {
  return fmt::format(
      "graph(%x: f32{}) {{ %p = constant random<3> : f32[{}, 2, 1, 1] %h = conv(%x, %p, stride=[1, 1], padding=[0, 0], dilation=[1, 1]) "
      "%w = constant random<1> : f32[{}, {}, {}] %b = constant random<2> : f32[{}] "
      "%a = conv(%h, %w, bias=%b, stride=[1, 1], {}, dilation=[1, 1]) %r = relu(%a) %s = add(%r, %a) return {} }}",
      x, channels, outputs, channels, taps, outputs, rest, result);
}

TEST(winograd, equals_the_convolution) {
  for (const std::string& text : {model("[1, 2, 8, 8]", 16, 16, "padding=[1, 1]"), model("[2, 2, 5, 7]", 5, 17, "padding=[1, 1]"),
                                  model("[1, 2, 7, 6]", 35, 18, "padding=[1, 1]", "%r"), model("[1, 2, 9, 6]", 9, 8, "padding=[0, 0]"),
                                  model("[3, 2, 4, 3]", 16, 3, "padding=[2, 0]"), model("[1, 2, 3, 3]", 4, 4, "padding=[0, 0]"),
                                  model("[1, 2, 6, 6]", 7, 5, "padding=[0, 1], padding_end=[1, 0]"),
                                  model("[1, 2, 11, 13]", 16, 24, "padding=[1, 1]", "%r"), model("[1, 2, 7, 5]", 8, 8, "padding=[1, 1]", "%s")}) {
    SCOPED_TRACE(text);
    const Graph graph = optimised(text);
    for (const test::LowerPlan& plan : always) {
      for (const char* form : {"winograd 4x4", "winograd 3x3", "winograd 2x2"}) {
        SCOPED_TRACE(form);
        Chooser chooser = taking(graph, plan, form);
        test::LowerPlan with = plan;
        with.chooser = &chooser;
        EXPECT_TRUE(uses_winograd(graph, with));
        test::expect_lowered(graph, test::random_inputs(graph), with, 1e-4);
        EXPECT_EQ(chooser.count().answered, 1u);
      }
    }
  }
}

TEST(winograd, has_a_form_for_each_axis) {
  const auto check = [](const std::string& text, const std::vector<std::string>& forms) {
    const Graph graph = optimised(text);
    for (const test::LowerPlan& plan : always) {
      for (const std::string& form : forms) {
        SCOPED_TRACE(text + form);
        Chooser chooser = taking(graph, plan, form);
        test::LowerPlan with = plan;
        with.chooser = &chooser;
        EXPECT_TRUE(uses_winograd(graph, with));
        test::expect_lowered(graph, test::random_inputs(graph), with, 1e-4);
        EXPECT_EQ(chooser.count().answered, forms.size() > 1 ? 1u : 0u) << "there is no other";
      }
    }
  };
  check(model("[1, 2, 6, 9]", 16, 16, "padding=[0, 3]", "%r", "1, 7"), {"winograd 1x2"});
  check(model("[2, 2, 9, 4]", 5, 17, "padding=[2, 0], padding_end=[3, 0]", "%s", "7, 1"), {"winograd 2x1"});
  check(model("[1, 2, 5, 8]", 9, 8, "padding=[2, 2]", "%a", "5, 5"), {"winograd 2x2"});
  check(model("[1, 2, 3, 9]", 8, 20, "padding=[0, 1]", "%a", "1, 3"), {"winograd 1x4", "winograd 1x3", "winograd 1x2"});
  check(model("[1, 2, 8, 7]", 8, 8, "padding=[2, 1]", "%a", "5, 3"), {"winograd 2x4", "winograd 2x3", "winograd 2x2"});
  for (const char* taps : {"1, 1", "7, 7", "1, 4"})
    EXPECT_FALSE(uses_winograd(optimised(model("[1, 2, 12, 12]", 64, 64, "padding=[0, 0]", "%a", taps)), always[0])) << taps;
}

TEST(winograd, takes_tiles_by_what_they_cost) {
  const auto products = [](std::string_view x, int channels, int outputs) -> int64_t {
    const Program p = test::lower(optimised(model(x, channels, outputs, "padding=[1, 1]")), {"x86-64-v4", true, WinogradUse::automatic});
    const auto at = std::ranges::find_if(p.kernels, [](const Kernel& k) { return k.name.starts_with("conv_winograd_product"); });
    return at == p.kernels.end() ? 0 : std::llround(at->flops / (2.0 * channels * outputs));
  };
  EXPECT_EQ(products("[1, 2, 28, 28]", 128, 128), 7 * 7 * 36) << "many results share the weights";
  EXPECT_EQ(products("[1, 2, 14, 14]", 256, 256), 5 * 5 * 25) << "fewer weights, and no tile hangs over the edge by half";
}

TEST(winograd, goes_over_tiles_in_chunks) {
  // 25 tiles, 12 of which fit the caches at a time.
  const test::LowerPlan small{"x86-64-v4", true, WinogradUse::always, /*l2_bytes=*/1 << 10};
  const Graph graph = optimised(model("[1, 2, 20, 18]", 5, 8, "padding=[1, 1]", "%s"));
  EXPECT_TRUE(std::ranges::any_of(test::lower(graph, small).steps, [](const Step& s) { return s.kind == Step::Kind::loop; }));
  test::expect_lowered(graph, test::random_inputs(graph), small, 1e-4);
}

TEST(winograd, is_chosen_where_it_saves_time) {
  const test::LowerPlan automatic{"x86-64-v4", true, WinogradUse::automatic}, off{"x86-64-v4", true, WinogradUse::off};
  const Graph large = optimised(model("[1, 2, 56, 56]", 64, 64, "padding=[1, 1]"));
  EXPECT_TRUE(uses_winograd(large, automatic));
  EXPECT_FALSE(uses_winograd(large, off));
  EXPECT_FALSE(uses_winograd(optimised(model("[1, 2, 56, 56]", 3, 64, "padding=[1, 1]")), automatic)) << "the transforms cost more than they save";
  EXPECT_FALSE(uses_winograd(optimised(model("[1, 2, 3, 3]", 320, 320, "padding=[1, 1]")), automatic)) << "four times the weights for one tile";
}

}  // namespace
}  // namespace mica
