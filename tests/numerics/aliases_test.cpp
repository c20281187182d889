// build/release/tests/bin/numerics --gtest_filter='Aliases.*'
// Operators that give out the tensor itself, a view of it, or a copy, as the dtype, the layout and the operator's own rule decide: which of them it
// was is seen after a write through either name. Whole numbers, so that the judge is LibTorch in the program's own dtypes (in fp64 every conversion
// between floats would give the tensor itself) and every element has to be equal.
#include <unistd.h>

#include "judge.h"

namespace mica::numerics {
namespace {

/// What is made of the tensor `b`; of these Mica has to follow every one.
constexpr std::string_view followed[] = {
    "b.to(6)",
    "b.to(5)",
    "b.to(15)",
    "b.to(4)",
    "b.to(3)",
    "b.to(dtype=6, copy=True)",
    "b.to(dtype=3, copy=True)",
    "b.to(b)",
    "b.to(i)",
    "b.to(torch.device(\"cpu\"))",
    "b.to(torch.device(\"cpu\"), 6)",
    "b.cpu()",
    "b.float()",
    "b.half()",
    "b.double()",
    "b.int()",
    "b.long()",
    "b.bool()",
    "b.type_as(i)",
    "b.type_as(b)",
    "torch._cast_Float(b)",
    "torch._cast_Int(b)",
    "torch.as_tensor(b)",
    "b.data",
    "b.detach()",
    "b.clone()",
    "torch.alias(b)",
    "torch.positive(b * 1)",
    "torch.dropout(b, 0.5, False)",
    "torch.feature_dropout(b, 0.5, False)",
    "torch.alpha_dropout(b, 0.5, False)",
    "torch.feature_alpha_dropout(b, 0.5, False)",
    "b.contiguous()",
    "b.transpose(0, 1).contiguous()",
    "b.to(memory_format=2)",
    "b.contiguous(memory_format=2)",
    "b.contiguous(memory_format=2).contiguous()",
    "b.reshape([-1])",
    "b.reshape([2, 3, 4])",
    "b.transpose(0, 1).reshape([-1])",
    "b.transpose(2, 3).reshape([6, 4])",
    "b.transpose(1, 2).reshape([6, 2, 2])",
    "b.flatten()",
    "b.flatten(1, 2)",
    "b.transpose(1, 2).flatten(1, 2)",
    "b.ravel()",
    "b.reshape_as(b)",
    "b.view_as(b)",
    "b.expand_as(b)",
    "b.expand([-1, -1, -1, -1])",
    "torch.atleast_1d(b)",
    "torch.atleast_2d(b)",
    "torch.atleast_3d(b)",
    "torch.atleast_3d(b[0, 0])",
    "torch.unsafe_chunk(b, 2, 1)[1]",
    "torch.unsafe_split(b, 2, 1)[0]",
    "torch.tensor_split(b, [1, 2], 1)[2]",
    "b.half().float()",
    "b.int().int()",
    "b.squeeze().unsqueeze(0)",
    "b[:].to(6).view([-1])",
    "b.float().transpose(0, 1)",
};
/// Of these it may say that it cannot.
constexpr std::string_view perhaps[] = {
    "torch.broadcast_tensors([b, i])[0]",
    "torch.broadcast_tensors([b, i])[1]",
    "torch.einsum(\"abcd->dcba\", [b])",
    "torch.einsum(\"abcd,abcd->abcd\", [b, b])",
    "torch.meshgrid([b.view([-1]), i.view([-1])])[0]",
    "torch.atleast_2d([b, i])[0]",
    "torch.tensor_split(b, [2, 1], 1)[2]",
    "torch.tensor_split(b, [2, 1], 1)[0]",
    "b.view(dtype=3)",
};
/// What is done in place to the tensor or to what was made of it.
constexpr std::string_view writes[] = {"b.add_(1)", "b[0, 1] = 0", "b.zero_()", "c.add_(1)", "c.fill_(0)"};

class Aliases : public testing::TestWithParam<DType> {
 protected:
  ~Aliases() override {
    std::error_code ignored;
    std::filesystem::remove(file_, ignored);
  }

  static RawTensor small_numbers(const TensorType& type) {
    HostTensor whole{.dtype = type.dtype, .shape = type.shape, .real = {}, .integer = {}};
    for (int64_t i = 0; i < type.shape.elements().size(); ++i) {
      const int64_t value = i % 5 + (i == 7);
      if (is_float(type.dtype)) whole.real.push_back(static_cast<double>(value));
      else whole.integer.push_back(is_bool(type.dtype) ? value % 2 : value);
    }
    return {type, from_host(whole, type)};
  }

  /// False when Mica refuses the program, or LibTorch.
  bool check(std::string_view made, std::string_view write) {
    const std::string source = fmt::format(
        "def forward(self, x, y):\n  b = x.clone()\n  i = y.clone()\n  c = {}\n  s = c + 0\n  {}\n  return b + 0, c + 0, s\n", made, write);
    return same(source, source);
  }

  /// The same of a program and another that says what it should do, for LibTorch.
  bool same(const std::string& source, const std::string& meant) {
    Diagnostics d, found;
    if (!write_script(file_, {.source = meant, .parameters = {}, .children = {}}, {}, d)) return false;
    const Shape shape(std::vector<int64_t>{2, 3, 2, 2});
    const std::vector<RawTensor> inputs = {small_numbers({GetParam(), shape, {}}), small_numbers({DType::i32, shape, {}})};
    LoadOptions options;
    options.inputs = {{"x", shape, GetParam(), std::nullopt, ""}, {"y", shape, DType::i32, std::nullopt, ""}};
    auto eager = EagerModel::load(file_, EagerMode::eager, 1, options, d);
    const auto expected = eager ? eager->run(inputs, d) : Result<std::vector<RawTensor>>(Failure{});
    if (!expected || !write_script(file_, {.source = source, .parameters = {}, .children = {}}, {}, d)) return false;
    const auto model = load_torchscript(file_, options, found);
    if (!model) {
      told_ = source + found.to_string();
      return false;
    }
    const auto got = interpret(model->graph, {to_host(inputs[0].type, inputs[0].bytes), to_host(inputs[1].type, inputs[1].bytes)}, found);
    EXPECT_TRUE(got) << source << found.to_string();
    for (size_t r = 0; got && r < got->size(); ++r) {
      const HostTensor judged = to_host((*expected)[r].type, (*expected)[r].bytes);
      EXPECT_EQ((*got)[r].dtype, judged.dtype) << source << "result " << r;
      EXPECT_EQ((*got)[r].shape, judged.shape) << source << "result " << r;
      EXPECT_EQ((*got)[r].real, judged.real) << source << "result " << r;
      EXPECT_EQ((*got)[r].integer, judged.integer) << source << "result " << r;
    }
    return true;
  }

  std::filesystem::path file_ = std::filesystem::temp_directory_path() / fmt::format("mica_aliases_{}.pt", ::getpid());
  std::string told_;
};

TEST_P(Aliases, are_the_tensor_itself_or_a_copy_as_in_eager) {
  int compared = 0;
  for (const auto made : followed)
    for (const auto write : writes) {
      told_.clear();
      compared += check(made, write);
      EXPECT_EQ(told_, "");
      if (HasFailure()) return;
    }
  EXPECT_GT(compared, 200);
}

TEST_P(Aliases, are_followed_or_refused) {
  for (const auto made : perhaps)
    for (const auto write : writes) {
      check(made, write);
      if (HasFailure()) return;
    }
}

/// From the memory that is written: as if the source had been copied first.
TEST_P(Aliases, writes_read_all_of_their_source_first) {
  for (const char* write :
       {"b[:, 1:] = b[:, :-1]", "b[:, :-1] = b[:, 1:]", "b[:, :2] = b.transpose(0, 1)[:2]", "b[:] = b[1:, :, 1:]", "b[:, 1:] += b[:, :-1]"}) {
    const std::string start = "def forward(self, x, y):\n  b = x.clone()\n  ", end = "\n  return b + 0\n";
    told_.clear();
    EXPECT_TRUE(same(start + write + end, start + write + ".clone()" + end)) << write << told_;
  }
}

INSTANTIATE_TEST_SUITE_P(, Aliases, testing::Values(DType::f32, DType::f16, DType::f64, DType::i32, DType::b8),
                         [](const auto& param) { return std::string(name_of(param.param)); });

}  // namespace
}  // namespace mica::numerics
