// Every operator on every dtype and pair of dtypes, with tensors, rank-0 tensors and Python numbers as operands: what the importer makes of it,
// against what LibTorch gives in the working dtype. Result dtypes are LibTorch's, integers and bools exact, floats within what the dtype rounds.
// Where LibTorch refuses a case, nothing is asked.
#include <algorithm>
#include <cmath>

#include "judge.h"
#include "mica/driver/compile.h"
#include "mica/driver/so_model.h"
#include "mica/frontend/eager.h"
#include "mica/ir/verify.h"

namespace mica::numerics {
namespace {

constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64, DType::i32, DType::i16, DType::i8, DType::u8, DType::b8};

/// An expression in x and y; `divides`: y holds no zero, since LibTorch raises on an integer division by it.
struct Operator {
  std::string_view name, text;
  bool divides = false;
};

constexpr Operator binary_operators[] = {
    {"add", "torch.add(x, y)"},
    {"add_alpha", "torch.add(x, y, alpha=2)"},
    {"sub", "torch.sub(x, y)"},
    {"rsub", "torch.rsub(x, y)"},
    {"mul", "torch.mul(x, y)"},
    {"div", "torch.div(x, y)"},
    {"div_floor", "torch.div(x, y, rounding_mode=\"floor\")", true},
    {"div_trunc", "torch.div(x, y, rounding_mode=\"trunc\")", true},
    {"floor_divide", "torch.floor_divide(x, y)", true},
    {"remainder", "torch.remainder(x, y)", true},
    {"fmod", "torch.fmod(x, y)", true},
    {"pow", "torch.pow(x, torch.abs(y))"},
    {"float_power", "torch.float_power(x, y)"},
    {"minimum", "torch.minimum(x, y)"},
    {"maximum", "torch.maximum(x, y)"},
    {"fmin", "torch.fmin(x, y)"},
    {"fmax", "torch.fmax(x, y)"},
    {"eq", "torch.eq(x, y)"},
    {"ne", "torch.ne(x, y)"},
    {"lt", "torch.lt(x, y)"},
    {"le", "torch.le(x, y)"},
    {"gt", "torch.gt(x, y)"},
    {"ge", "torch.ge(x, y)"},
    {"logical_and", "torch.logical_and(x, y)"},
    {"logical_or", "torch.logical_or(x, y)"},
    {"logical_xor", "torch.logical_xor(x, y)"},
    {"bitwise_and", "torch.bitwise_and(x, y)"},
    {"bitwise_or", "torch.bitwise_or(x, y)"},
    {"bitwise_xor", "torch.bitwise_xor(x, y)"},
    {"shift_left", "torch.bitwise_left_shift(x, torch.abs(y))"},
    {"shift_right", "torch.bitwise_right_shift(x, torch.abs(y))"},
    {"atan2", "torch.atan2(x, y)"},
    {"hypot", "torch.hypot(x, y)"},
    {"copysign", "torch.copysign(x, y)"},
    {"logaddexp", "torch.logaddexp(x, y)"},
    {"logaddexp2", "torch.logaddexp2(x, y)"},
    {"xlogy", "torch.xlogy(x, y)"},
    {"heaviside", "torch.heaviside(x, y)"},
    {"where", "torch.where(x > 0, x, y)"},
    {"masked_fill", "torch.masked_fill(x, x > 1, y)"},
    {"isclose", "torch.isclose(x, y)"},
    {"clamp_min", "torch.clamp_min(x, y)"},
    {"clamp_max", "torch.clamp_max(x, y)"},
    {"clamp", "torch.clamp(x, y, None)"},
    {"lerp", "torch.lerp(x, y, 0.25)"},
    {"addcmul", "torch.addcmul(x, y, y, value=2)"},
    {"addcdiv", "torch.addcdiv(x, y, y)"},
    {"cat", "torch.cat([x, y])"},
    {"stack", "torch.stack([x, y])"},
    {"in_place_add", "torch.clone(x).add_(y)"},
    {"in_place_mul", "torch.clone(x).mul_(y)"},
    {"in_place_div", "torch.clone(x).div_(y)"},
    {"copy", "torch.clone(x).copy_(y)"},
    {"type_as", "x.type_as(y)"},
    {"true_divide", "torch.true_divide(x, y)"},
    {"dot", "torch.dot(x, y)"},
    {"outer", "torch.outer(x, y)"},
    {"matmul", "torch.matmul(x, y)"},
    {"not_equal", "torch.not_equal(x, y)"},
    {"isin", "torch.isin(x, y)"},
};

constexpr std::string_view unary_expressions[] = {
    "torch.abs(x)",
    "torch.neg(x)",
    "torch.positive(x)",
    "torch.sign(x)",
    "torch.sgn(x)",
    "torch.signbit(x)",
    "torch.reciprocal(x)",
    "torch.sqrt(torch.abs(x))",
    "torch.rsqrt(torch.abs(x))",
    "torch.square(x)",
    "torch.exp(x)",
    "torch.exp2(x)",
    "torch.expm1(x)",
    "torch.log(torch.abs(x))",
    "torch.log2(torch.abs(x))",
    "torch.log10(torch.abs(x))",
    "torch.log1p(torch.abs(x))",
    "torch.sin(x)",
    "torch.cos(x)",
    "torch.tan(x)",
    "torch.atan(x)",
    "torch.asin(x / 128)",
    "torch.acos(x / 128)",
    "torch.sinh(x)",
    "torch.cosh(x)",
    "torch.tanh(x)",
    "torch.asinh(x)",
    "torch.acosh(torch.abs(x) + 1)",
    "torch.atanh(x / 128)",
    "torch.erf(x)",
    "torch.erfc(x)",
    "torch.erfinv(x / 128)",
    "torch.lgamma(torch.abs(x) + 1)",
    "torch.digamma(torch.abs(x) + 1)",
    "torch.sigmoid(x)",
    "torch.logit(x / 128, 0.1)",
    "torch.relu(x)",
    "torch.relu6(x)",
    "torch.selu(x)",
    "torch.celu(x)",
    "torch.elu(x)",
    "torch.silu(x)",
    "torch.mish(x)",
    "torch.gelu(x)",
    "torch.hardswish(x)",
    "torch.hardsigmoid(x)",
    "torch.hardtanh(x)",
    "torch.hardtanh(x, -2, 3)",
    "torch.leaky_relu(x)",
    "torch.softplus(x)",
    "torch.softshrink(x)",
    "torch.hardshrink(x)",
    "torch.log_sigmoid(x)",
    "torch.threshold(x, 1, 20)",
    "torch.floor(x)",
    "torch.ceil(x)",
    "torch.round(x)",
    "torch.round(x, decimals=1)",
    "torch.trunc(x)",
    "torch.frac(x)",
    "torch.isnan(x)",
    "torch.isinf(x)",
    "torch.isfinite(x)",
    "torch.isposinf(x)",
    "torch.isneginf(x)",
    "torch.isreal(x)",
    "torch.logical_not(x)",
    "torch.bitwise_not(x)",
    "torch.deg2rad(x)",
    "torch.rad2deg(x)",
    "torch.nan_to_num(x)",
    "torch.nan_to_num(x, 1.0, 2.0, 3.0)",
    "torch.sinc(x)",
    "torch.special_entr(x)",

    "torch.special_ndtr(x)",

    "torch.sum(x)",
    "torch.sum(x, [0])",
    "torch.sum(x, dtype=6)",
    "torch.sum(x, dtype=3)",
    "torch.mean(x)",
    "torch.mean(x, dtype=6)",
    "torch.prod(torch.slice(x, 0, 0, 3))",
    "torch.prod(torch.slice(x, 0, 0, 3), dtype=6)",
    "torch.nansum(x)",
    "torch.nanmean(x)",
    "torch.amax(x)",
    "torch.amin(x)",
    "torch.max(x)",
    "torch.min(x)",
    "torch.max(x, 0)",
    "torch.min(x, 0)",
    "torch.argmax(x)",
    "torch.argmin(x, 0)",
    "torch.any(x)",
    "torch.any(x, 0)",
    "torch.all(x)",
    "torch.all(x, 0)",
    "torch.count_nonzero(x)",
    "torch.cumsum(x, 0)",
    "torch.cumsum(x, 0, dtype=6)",
    "torch.cumprod(torch.slice(x, 0, 0, 3), 0)",
    "torch.cummax(x, 0)",
    "torch.cummin(x, 0)",

    "torch.logsumexp(x, 0)",
    "torch.var(x, 0)",
    "torch.std(x, 0, correction=0)",
    "torch.var_mean(x, [0])",
    "torch.std_mean(x, [0])",
    "torch.median(x)",
    "torch.median(x, 0)[0]",

    "torch.kthvalue(x, 2)[0]",

    "torch.sort(x, stable=True)",
    "torch.sort(x, stable=True, dim=0, descending=True)",
    "torch.argsort(x, stable=True)",
    "torch.topk(x, 3)[0]",
    "torch.topk(x, 3, 0, False)[0]",
    "torch.msort(x)",
    "torch.norm(x)",
    "torch.norm(x, 1)",
    "torch.linalg_vector_norm(x)",
    "torch.linalg_vector_norm(x, 1.5)",
    "torch.softmax(x, 0)",
    "torch.softmax(x, 0, 6)",
    "torch.log_softmax(x, 0)",
    "torch.softmax(x, 0, 7)",
    "torch.clamp(x, -1, 2)",
    "torch.clamp(x, -1.5, 2.5)",
    "torch.clamp_min(x, 1)",
    "torch.clamp_max(x, 0.5)",
    "torch.pow(x, 2)",
    "torch.pow(x, 3)",
    "torch.pow(x, 2.5)",
    "torch.pow(x, 0.5)",
    "torch.pow(x, 1)",
    "torch.pow(x, 0)",
    "torch.pow(2, torch.abs(x) / 16)",
    "torch.pow(2.5, x / 16)",
    "torch.pow(x, -1.0)",
    "torch.float_power(x, 2)",
    "x.to(7)",
    "x.to(6)",
    "x.to(5)",
    "x.to(15)",
    "x.to(11)",
    "torch.clone(x).fill_(3)",
    "torch.clone(x).zero_()",
    "torch.zeros_like(x)",
    "torch.ones_like(x)",
    "torch.full_like(x, 2)",
    "torch.full_like(x, 2.5)",
    "torch.full_like(x, True)",
    "x.new_zeros([2])",
    "x.new_ones([2])",
    "x.new_full([2], 3.5)",
    "torch.diff(x)",
    "torch.flip(x, [0])",
    "torch.roll(x, 3, 0)",
    "torch.tril(torch.reshape(x, [2, -1]))",
    "torch.diag(x)",
    "torch.repeat_interleave(x, 2)",

    "torch.threshold(x, 0.5, 1.5)",
    "torch.masked_fill(x, x > 1, 2)",
    "torch.masked_fill(x, x > 1, 2.5)",
    "torch.where(x > 1, x, 2)",
    "torch.where(x > 1, 2.5, x)",
    "torch.where(x > 1, x, True)",
    "torch.rsub(x, 1)",
    "torch.rsub(x, 1.5)",
    "torch.constant_pad_nd(x, [1, 2], 3)",
    "torch.constant_pad_nd(x, [1, 2], 2.5)",
    "torch.eq(x, 1.5)",
    "torch.lt(x, -1)",
    "torch.isin(x, 3)",
    "torch.index_add(x, 0, torch.arange(2), torch.slice(x, 0, 0, 2))",
    "torch.index_fill(x, 0, torch.arange(2), 3)",
    "torch.scatter_add(x, 0, torch.zeros([4], dtype=4), torch.slice(x, 0, 0, 4))",
    "torch.scatter(x, 0, torch.arange(3), 2)",
    "torch.scatter_reduce(x, 0, torch.zeros([4], dtype=4), torch.slice(x, 0, 0, 4), \"mean\")",
    "torch.scatter_reduce(x, 0, torch.zeros([4], dtype=4), torch.slice(x, 0, 0, 4), \"amin\", include_self=False)",
    "torch.scatter_reduce(x, 0, torch.zeros([3], dtype=4), torch.slice(x, 0, 0, 3), \"prod\")",
    "torch.index_put(x, [torch.zeros([3], dtype=4)], torch.slice(x, 0, 0, 3), True)",
    "torch.bucketize(x, torch.arange(5))",
    "torch.searchsorted(torch.arange(5), x)",
    "torch.conj(x)",
    "torch.real(x)",
    "torch.hardtanh(x, -1.5, 1.5)",
    "torch.prelu(x, torch.slice(x, 0, 2, 3))",
    "torch.glu(x)",
    "torch.embedding(torch.reshape(x, [-1, 1]), torch.arange(2))",
    "torch.addcmul(x, x, x)",

    "torch.std(x)",
    "torch.aminmax(x)",
    "torch.ldexp(x, x / 16)",
};

/// Numbers that tell categories, signs, wrapping and halves apart.
std::vector<double> values_of(DType t, bool divisor) {
  std::vector<double> v;
  if (is_float(t)) v = {-2.5, -1, 0.5, 1, 2, 3.75, -7, 12, 1.5, -0.25, 100, 3};
  else if (is_bool(t)) v = {1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1};
  else if (t == DType::u8) v = {1, 2, 3, 200, 7, 0, 255, 12, 5, 4, 100, 2};
  else v = {-2, -1, 1, 2, 3, 0, -7, 12, 5, -128, 100, 3};
  if (!divisor) return v;
  for (double& x : v) x = x == 0 ? 1 : x;
  std::rotate(v.begin(), v.begin() + 5, v.end());
  return v;
}

RawTensor tensor_of(DType t, const Shape& shape, bool divisor) {
  RawTensor raw{{t, shape, {}}, {}};
  const std::vector<double> values = values_of(t, divisor);
  for (int64_t i = 0; i < shape.elements(); ++i) {
    const auto one = scalar_bytes(t, values[static_cast<size_t>(i) % values.size()]);
    raw.bytes.insert(raw.bytes.end(), one.begin(), one.end());
  }
  return raw;
}

double unit(DType t) { return t == DType::f64 ? 1e-6 : t == DType::f32 ? 1e-5 : t == DType::f16 ? 4e-3 : t == DType::bf16 ? 3.2e-2 : 0; }

/// Empty when they agree.
std::string difference(const RawTensor& got, const RawTensor& expected) {
  if (got.type.dtype != expected.type.dtype || got.type.shape != expected.type.shape)
    return fmt::format("{}, but LibTorch gives {}", got.type.to_string(), expected.type.to_string());
  const HostTensor a = to_host(got.type, got.bytes), b = to_host(expected.type, expected.bytes);
  for (size_t i = 0; i < b.integer.size(); ++i)
    if (a.integer[i] != b.integer[i])
      return fmt::format("{}: element {} is {}, but LibTorch gives {}", got.type.to_string(), i, a.integer[i], b.integer[i]);
  for (size_t i = 0; i < b.real.size(); ++i) {
    const double x = a.real[i], y = b.real[i];
    if ((std::isnan(x) && std::isnan(y)) || x == y) continue;
    if (!(std::fabs(x - y) <= unit(got.type.dtype) * std::max(1.0, std::fabs(y))))
      return fmt::format("{}: element {} is {}, but LibTorch gives {}", got.type.to_string(), i, x, y);
  }
  return {};
}

/// A rank-0 tensor where TorchScript asks for a number becomes one that is known only when the model runs.
constexpr std::string_view allowed_refusal = "[data-dependent]";

enum class Outcome : uint8_t { same, refused_by_both, refused, different };

class Promotion : public testing::Test {
 protected:
  ~Promotion() override {
    std::error_code ignored;
    std::filesystem::remove(file_, ignored);
  }

  /// Runs one expression both ways.
  Outcome run(const std::string& expression, const std::vector<std::pair<std::string, RawTensor>>& inputs, std::string& reason) {
    std::string source = "def forward(self";
    LoadOptions options;
    std::vector<RawTensor> raw;
    for (const auto& [name, t] : inputs) {
      source += ", " + name;
      options.inputs.push_back({name, t.type.shape, t.type.dtype, std::nullopt, name});
      raw.push_back(t);
    }
    source += fmt::format("):\n  return {}\n", expression);
    Diagnostics theirs, ours;
    if (!write_script(file_, {.source = source, .parameters = {}, .children = {}}, {}, theirs)) return Outcome::refused_by_both;
    auto eager = EagerModel::load(file_, EagerMode::eager, 1, options, theirs);
    auto expected = eager ? eager->run(raw, theirs) : Result<std::vector<RawTensor>>(Failure{});
    if (!expected) return Outcome::refused_by_both;
    auto model = load_torchscript(file_, options, ours);
    if (!model) {
      reason = ours.to_string();
      return reason.find(allowed_refusal) == std::string::npos ? Outcome::refused : Outcome::refused_by_both;
    }
    EXPECT_TRUE(verify(model->graph, ours)) << ours.to_string();
    std::vector<HostTensor> host;
    for (const RawTensor& t : raw) host.push_back(to_host(t.type, t.bytes));
    host.resize(model->graph.inputs.size());
    auto got = interpret(model->graph, host, ours);
    if (!got) return reason = ours.to_string(), Outcome::different;
    if (got->size() != expected->size()) return reason = "another number of results", Outcome::different;
    for (size_t i = 0; i < got->size(); ++i) {
      const TensorType type = model->graph.type(model->graph.outputs[i]);
      reason = difference({type, from_host((*got)[i], type)}, (*expected)[i]);
      if (!reason.empty()) return Outcome::different;
    }
    return Outcome::same;
  }

  /// What LibTorch gives for one expression, if it takes it.
  Result<std::vector<RawTensor>> eager(const std::string& expression, const std::vector<std::pair<std::string, RawTensor>>& inputs) {
    Diagnostics ignored;
    LoadOptions options;
    std::vector<RawTensor> raw;
    std::string source = "def forward(self";
    for (const auto& [name, t] : inputs) {
      source += ", " + name;
      options.inputs.push_back({name, t.type.shape, t.type.dtype, std::nullopt, name});
      raw.push_back(t);
    }
    source += fmt::format("):\n  return {}\n", expression);
    if (!write_script(file_, {.source = source, .parameters = {}, .children = {}}, {}, ignored)) return Failure{};
    auto model = EagerModel::load(file_, EagerMode::eager, 1, options, ignored);
    if (!model) return Failure{};
    return model->run(raw, ignored);
  }

  /// All expressions as the outputs of one library, against LibTorch's; those that it refuses are left out.
  void expect_compiled(const std::vector<std::string>& expressions, const std::vector<std::pair<std::string, RawTensor>>& inputs) {
    Diagnostics d;
    std::vector<RawTensor> expected, raw;
    std::vector<std::string> of;  // the expression of each output
    std::string source = "def forward(self", results;
    Options options;
    for (const auto& [name, t] : inputs) {
      source += ", " + name;
      options.load.inputs.push_back({name, t.type.shape, t.type.dtype, std::nullopt, name});
      raw.push_back(t);
    }
    source += "):\n";
    size_t count = 0;
    for (const std::string& expression : expressions) {
      const auto outputs = eager(expression, inputs);
      if (!outputs) continue;
      source += fmt::format("  v{} = {}\n", count, expression);
      results += fmt::format("{}v{}", count ? ", " : "", count);
      ++count;
      for (const RawTensor& t : *outputs) {
        expected.push_back(t);
        of.push_back(expression);
      }
    }
    if (!count) return;
    source += fmt::format("  return ({},)\n", results);
    ASSERT_TRUE(write_script(file_, {.source = source, .parameters = {}, .children = {}}, {}, d)) << d.to_string();
    options.model = file_;
    options.output = std::filesystem::path(file_).replace_extension(".so");
    options.jobs = 1;
    ASSERT_TRUE(compile(options, d)) << d.to_string();
    auto model = SoModel::load(options.output, {.threads = 1, .copy_weights = false}, d);
    std::filesystem::remove(options.output);
    ASSERT_TRUE(model) << d.to_string();
    const auto got = model->run(raw, d);
    ASSERT_TRUE(got) << d.to_string();
    ASSERT_EQ(got->size(), expected.size());
    for (size_t i = 0; i < got->size(); ++i) EXPECT_EQ(difference((*got)[i], expected[i]), "") << of[i];
  }

  void expect(const std::string& expression, const std::vector<std::pair<std::string, RawTensor>>& inputs) {
    std::string reason, types;
    for (const auto& [name, t] : inputs) types += fmt::format("{}={} ", name, t.type.to_string());
    switch (run(expression, inputs, reason)) {
      case Outcome::same: ++same_; return;
      case Outcome::refused_by_both: ++neither_; return;
      case Outcome::refused: ADD_FAILURE() << types << expression << ": refused: " << reason; return;
      case Outcome::different: ADD_FAILURE() << types << expression << ": " << reason; return;
    }
  }

  std::filesystem::path file_ = std::filesystem::temp_directory_path() / fmt::format("mica_promotion_{}.pt", ::getpid());
  int same_ = 0, neither_ = 0;
};

/// The expression with other words for x and y.
std::string with_operands(std::string_view text, std::string_view x, std::string_view y) {
  std::string out;
  bool word = false;  // within a name
  for (const char c : text) {
    const bool operand = (c == 'x' || c == 'y') && !word;
    out += operand ? (c == 'x' ? x : y) : std::string_view(&c, 1);
    word = std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
  }
  return out;
}

class Binary : public Promotion, public testing::WithParamInterface<Operator> {};
void PrintTo(const Operator& o, std::ostream* out) { *out << o.text; }

TEST_P(Binary, tensors) {
  const std::string text(GetParam().text);
  for (const DType a : all_dtypes)
    for (const DType b : all_dtypes) {
      const RawTensor x = tensor_of(a, Shape({12}), false), y = tensor_of(b, Shape({12}), GetParam().divides);
      expect(text, {{"x", x}, {"y", y}});
      expect(text, {{"x", x}, {"y", tensor_of(b, Shape(std::vector<int64_t>{}), true)}});
      expect(text, {{"x", tensor_of(a, Shape(std::vector<int64_t>{}), false)}, {"y", y}});
    }
  EXPECT_GT(same_, 0);
}

/// Pairs of one dtype, and those in which one operand has to be converted.
TEST_P(Binary, compiled) {
  std::vector<std::pair<std::string, RawTensor>> inputs;
  std::vector<std::string> expressions;
  for (const DType t : all_dtypes) {
    inputs.emplace_back(fmt::format("x_{}", name_of(t)), tensor_of(t, Shape({12}), false));
    inputs.emplace_back(fmt::format("y_{}", name_of(t)), tensor_of(t, Shape({12}), GetParam().divides));
  }
  for (const DType a : all_dtypes)
    for (const DType b : all_dtypes) {
      if (a != b && a != DType::f32 && b != DType::i64 && b != DType::u8) continue;
      expressions.push_back(with_operands(GetParam().text, fmt::format("x_{}", name_of(a)), fmt::format("y_{}", name_of(b))));
    }
  expect_compiled(expressions, inputs);
}

TEST_P(Binary, numbers) {
  for (const DType t : all_dtypes)
    for (const std::string_view number : {"2", "-3", "1.5", "True"})
      for (const bool first : {false, true})
        for (const bool scalar : {false, true}) {
          const std::string text = with_operands(GetParam().text, first ? number : "x", first ? "y" : number);
          expect(text, {{first ? "y" : "x", tensor_of(t, scalar ? Shape(std::vector<int64_t>{}) : Shape({12}), first && GetParam().divides)}});
        }
}

INSTANTIATE_TEST_SUITE_P(ops, Binary, testing::ValuesIn(binary_operators), [](const auto& info) { return std::string(info.param.name); });

class Unary : public Promotion, public testing::WithParamInterface<DType> {};

TEST_P(Unary, expressions) {
  for (const std::string_view text : unary_expressions) {
    expect(std::string(text), {{"x", tensor_of(GetParam(), Shape({12}), false)}});
    expect(std::string(text), {{"x", tensor_of(GetParam(), Shape(std::vector<int64_t>{}), false)}});
  }
  EXPECT_GT(same_, 100);
}

TEST_P(Unary, compiled) {
  expect_compiled({std::begin(unary_expressions), std::end(unary_expressions)}, {{"x", tensor_of(GetParam(), Shape({12}), false)}});
}

INSTANTIATE_TEST_SUITE_P(dtypes, Unary, testing::ValuesIn(all_dtypes), [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace mica::numerics
