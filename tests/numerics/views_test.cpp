// build/release/tests/bin/numerics --gtest_filter='Views.*'
// Chains of views and a write through the last of them, while the base and the views before it are looked at before and after: every pair of view
// kinds, every write through every kind, and triples, as TorchScript, imported and interpreted, against LibTorch in fp64. A program that LibTorch
// refuses is not compared; one that Mica refuses has to be refused for a reason that is about views.
#include <unistd.h>

#include "judge.h"

namespace mica::numerics {
namespace {

/// What is made of the tensor `{}`.
constexpr std::string_view kinds[] = {
    "{}[1:]",
    "{}.select(0, 1)",
    "{}.transpose(0, 1)",
    "{}.view([-1])",
    "{}.unsqueeze(1)",
    "{}.narrow(1, 1, 2)",
    "{}.diagonal(0, 0, 1)",
    "{}.chunk(2, 1)[1]",
    "{}.unbind(0)[0]",
    "{}.expand([2, -1, -1, -1])",
    "{}[..., ::2]",
    "{}.flip([0]).squeeze(0)",
    "{}.unfold(0, 2, 1)",
    "{}.permute([2, 0, 1])",
    "{}.reshape([-1])",
    "{}.contiguous()",
    "{}.detach().squeeze()",
    "{}.as_strided([2, 2], [3, 1], 1)",
    "{}.unflatten(-1, [2, -1])",
    "{}.split([1, 2], 0)[1]",
};
/// What is done to it in place.
constexpr std::string_view writes[] = {
    "{}.add_(1.5)",
    "{}.mul_(-2)",
    "{}.copy_({} * 2 + 1)",
    "{}.fill_(3)",
    "{}.masked_fill_({} > 0, 0.25)",
    "{}.clamp_(max=0)",
    "{}[0] = 7.0",
    "{}.index_put_([torch.tensor([0])], torch.tensor(4.0))",
    "{}.sub_({}.sum())",
    "{}.zero_()",
};

std::string fill(std::string_view pattern, const std::string& name) {
  std::string text(pattern);
  for (size_t at; (at = text.find("{}")) != std::string::npos;) text.replace(at, 2, name);
  return text;
}

/// The views are v0, v1 ...; what is seen of each before the write is kept as s0, s1 ...
std::string program(const std::vector<std::string_view>& chain, std::string_view write) {
  std::string source = "def forward(self, x):\n  b = x * 1\n  w = b[:1]\n", before = "b", results = "b + 0, w + 0";
  for (size_t i = 0; i < chain.size(); ++i) {
    const std::string view = fmt::format("v{}", i);
    source += fmt::format("  {} = {}\n  s{} = {} * 2\n", view, fill(chain[i], before), i, view);
    results += fmt::format(", s{}, {} + 0", i, view);
    before = view;
  }
  return source + fmt::format("  {}\n  return {}\n", fill(write, before), results);
}

class Views : public testing::Test {
 protected:
  ~Views() override {
    std::error_code ignored;
    std::filesystem::remove(file_, ignored);
  }

  void check(const std::vector<std::string_view>& chain, std::string_view write) {
    const std::string source = program(chain, write);
    Diagnostics d;
    const RawTensor raw{input_.type, draw_inputs({input_}, 3)[0]};
    if (!write_script(file_, {.source = source, .parameters = {}, .children = {}}, {}, d)) FAIL() << source << d.to_string();
    LoadOptions options;
    options.inputs.push_back({input_.name, input_.type.shape, input_.type.dtype, std::nullopt, ""});
    auto eager = EagerModel::load(file_, EagerMode::fp64, 1, options, d);
    ASSERT_TRUE(eager) << source << d.to_string();
    Diagnostics refusal, found;
    const auto expected = eager->run({raw}, refusal);
    if (!expected) return;  // LibTorch does not do it
    const auto model = load_torchscript(file_, options, found);
    if (!model) return expect_reason(source, found);
    const auto got = interpret(model->graph, {to_host(raw.type, raw.bytes)}, found);
    ASSERT_TRUE(got) << source << found.to_string();
    ASSERT_EQ(got->size(), expected->size()) << source;
    for (size_t i = 0; i < got->size(); ++i) {
      const HostTensor judged = to_host((*expected)[i].type, (*expected)[i].bytes);
      ASSERT_EQ((*got)[i].shape, judged.shape) << source << "result " << i;
      for (size_t e = 0; e < judged.real.size(); ++e)
        ASSERT_NEAR((*got)[i].real[e], judged.real[e], 1e-9) << source << "result " << i << ", element " << e;
    }
    ++compared_;
  }

  void expect_reason(const std::string& source, const Diagnostics& found) {
    ++refused_;
    for (const Diagnostic& d : found.all()) {
      const bool about_views = d.name == "unclear-alias" || d.name == "write-through-view" || d.name == "as-strided" || d.name == "unclear-strides" ||
                               d.name == "input-written";
      EXPECT_TRUE(about_views) << source << found.to_string();
    }
  }

  SampleInput input_{"x", {DType::f32, Shape(std::vector<int64_t>{3, 4, 4}), {}}, -2, 2};
  std::filesystem::path file_ = std::filesystem::temp_directory_path() / fmt::format("mica_views_{}.pt", ::getpid());
  int compared_ = 0, refused_ = 0;
};

TEST_F(Views, every_write_through_every_view) {
  for (const auto kind : kinds)
    for (const auto write : writes) {
      check({kind}, write);
      if (HasFailure()) return;
    }
  EXPECT_GT(compared_, 2 * refused_) << refused_ << " refused";
}

TEST_F(Views, every_pair_of_views) {
  size_t turn = 0;
  for (const auto first : kinds)
    for (const auto second : kinds) {
      check({first, second}, writes[turn++ % std::size(writes)]);
      if (HasFailure()) return;
    }
  EXPECT_GT(compared_, refused_) << refused_ << " refused";
}

TEST_F(Views, triples_of_views) {
  size_t turn = 0;
  for (const auto first : kinds)
    for (size_t i = 0; i < std::size(kinds); ++i, ++turn) {
      check({first, kinds[i], kinds[(i * 7 + turn) % std::size(kinds)]}, writes[turn % std::size(writes)]);
      if (HasFailure()) return;
    }
  EXPECT_GT(compared_, 100) << refused_ << " refused";
}

}  // namespace
}  // namespace mica::numerics
